//! When the pool is asked: tick, fetch, record. The only module that sees both the client and the store.
//!
//! Each slot has a `Job` of its own, so that none waits for another's failure and a poll never overlaps itself. All
//! of them start at once; from then on each keeps a place of its own in the interval. What holds them together is the
//! client's request budget.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, civil::Date};
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior},
};

use crate::{
    client::{FetchError, PoolClient},
    clock::Clock,
    config::{ApiKey, Cadence, Config},
    history::{History, day_start, pool_day},
    model::{Endpoint, Target, Workers},
    store::{Failure, Slot, Store, TargetSlots},
};

/// How long a complete read of a history holds; between two, only the days that may still change are read.
const COMPLETE_READ_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Over how long the reads after the pool's midnight are spread.
const MIDNIGHT_SPREAD: Duration = Duration::from_secs(30);

/// Polls the pool into the store.
#[derive(Debug)]
pub struct Poller {
    config: Arc<Config>,
    client: PoolClient,
    store: Arc<Store>,
    clock: Clock,
}

/// The polling of one slot.
#[derive(Debug)]
struct Job {
    endpoint: Endpoint,
    /// Whose slot; `None` for `main_stat`.
    owner: Option<Owner>,
    /// When the history was last read completely.
    complete_read: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Owner {
    target: Target,
    key: ApiKey,
    slots: Arc<TargetSlots>,
}

impl Poller {
    /// A poller of what the configuration names.
    pub const fn new(config: Arc<Config>, client: PoolClient, store: Arc<Store>, clock: Clock) -> Self {
        Self { config, client, store, clock }
    }

    /// Polls everything once, and waits for all of it.
    pub async fn once(self: &Arc<Self>) {
        let mut polls = JoinSet::new();
        for mut job in self.jobs() {
            let poller = self.clone();
            polls.spawn(async move { job.poll(&poller).await });
        }
        while polls.join_next().await.is_some() {}
    }

    /// Starts polling for good: a task for each slot, none of which ends by itself.
    pub fn spawn(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let jobs = self.jobs();
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX).max(1);
        for (place, mut job) in (1_u32..).zip(jobs) {
            let poller = self.clone();
            let cadence = self.cadence(job.endpoint);
            // The second poll comes at the slot's own place in the interval: never later than one interval from now.
            let phase = cadence.interval.mul_f64(f64::from(place) / f64::from(count));
            tasks.spawn(async move {
                let mut ticks = ticks(phase, cadence.interval);
                job.poll(&poller).await;
                loop {
                    tokio::select! {
                        _ = ticks.tick() => {}
                        // At midnight a running day becomes the last one, and its final figures are wanted soon.
                        () = poller.after_midnight(phase), if job.endpoint == Endpoint::ProfitHistory => {}
                    }
                    // While the pool wants to be left alone nobody asks; the first tick after that does.
                    if poller.client.pause_left().is_none() {
                        job.poll(&poller).await;
                    }
                }
            });
        }
    }

    /// Asks `summary_data` once for a target, storing nothing.
    ///
    /// # Errors
    ///
    /// As [`PoolClient::summary_data`].
    pub async fn probe(&self, target: &Target, key: &ApiKey) -> Result<(), FetchError> {
        self.client.summary_data(target, key).await.map(|_| ())
    }

    fn jobs(&self) -> Vec<Job> {
        let mut jobs = vec![Job { endpoint: Endpoint::MainStat, owner: None, complete_read: None }];
        for (target, account) in self.config.targets() {
            let Some(slots) = self.store.targets.get(&target) else { continue };
            let owner = Owner { target, key: account.key.clone(), slots: slots.clone() };
            let mut endpoints = vec![Endpoint::SummaryData, Endpoint::ProfitHistory, Endpoint::PaymentHistory];
            endpoints.extend(slots.workers.as_ref().map(|_| Endpoint::Workers));
            for endpoint in endpoints {
                jobs.push(Job { endpoint, owner: Some(owner.clone()), complete_read: None });
            }
        }
        jobs
    }

    /// The pool's calendar day.
    fn today(&self) -> Date {
        pool_day(self.clock.now(), self.config.api.day_utc_offset)
    }

    /// Waits until a little after the pool's next midnight: the accounts keep their places, within [`MIDNIGHT_SPREAD`].
    async fn after_midnight(&self, phase: Duration) {
        let midnight = self.today().tomorrow().ok().and_then(|day| day_start(day, self.config.api.day_utc_offset));
        let midnight = midnight.and_then(|at| Timestamp::from_second(at.0).ok());
        match midnight.and_then(|midnight| self.clock.until(midnight)) {
            Some(wait) => {
                let place = phase.div_duration_f64(self.config.polling.history.interval);
                tokio::time::sleep(wait + Duration::from_secs(1) + MIDNIGHT_SPREAD.mul_f64(place)).await;
            }
            None => std::future::pending().await,
        }
    }

    fn cadence(&self, endpoint: Endpoint) -> Cadence {
        match endpoint {
            Endpoint::MainStat | Endpoint::SummaryData | Endpoint::Workers => self.config.polling.live,
            Endpoint::ProfitHistory | Endpoint::PaymentHistory => self.config.polling.history,
        }
    }

    /// Runs a poll, puts its result into the slot, and says in the log what changed. This is the one place where a
    /// failed poll is handled.
    async fn record<T>(
        &self,
        slot: &Slot<T>,
        endpoint: Endpoint,
        target: Option<&Target>,
        poll: impl Future<Output = Result<T, FetchError>>,
    ) {
        let begin = Instant::now();
        let result = poll.await;
        let took = begin.elapsed();
        let failure = result.as_ref().err().map(|error| (error.reason().as_str(), error.to_string()));
        let result = result.map_err(|error| Failure { reason: error.reason(), message: error.to_string() });
        let before = slot.record(self.clock.now(), took, result).and_then(|outcome| outcome.error);
        let account = target.map(|target| target.account.as_str());
        let currency = target.map(|target| target.currency.as_str());
        match (failure, before) {
            // The same trouble again is in the metrics; the log tells its beginning and its end.
            (Some((reason, error)), Some(before)) if before.reason.as_str() == reason => {
                tracing::debug!(account, currency, %endpoint, reason, error, "the poll failed again");
            }
            (Some((reason, error)), _) => {
                tracing::warn!(account, currency, %endpoint, reason, error, "the poll failed");
            }
            (None, Some(before)) => {
                let reason = before.reason.as_str();
                tracing::info!(account, currency, %endpoint, after = reason, "the poll succeeds again");
            }
            (None, None) => tracing::debug!(account, currency, %endpoint, ?took, "the poll succeeded"),
        }
    }
}

impl Job {
    async fn poll(&mut self, poller: &Poller) {
        let client = &poller.client;
        let Some(Owner { target, key, slots }) = &self.owner else {
            return poller.record(&poller.store.pool, self.endpoint, None, client.main_stat()).await;
        };
        let whose = Some(target);
        match self.endpoint {
            Endpoint::MainStat => {}
            Endpoint::SummaryData => {
                poller.record(&slots.summary, self.endpoint, whose, client.summary_data(target, key)).await;
            }
            Endpoint::Workers => {
                if let Some(slot) = &slots.workers {
                    poller.record(slot, self.endpoint, whose, client.workers(target, key)).await;
                }
            }
            Endpoint::ProfitHistory => {
                let read = |from| client.profit_history(target, key, from);
                let poll = read_on(&mut self.complete_read, &slots.income, poller.today(), read);
                poller.record(&slots.income, self.endpoint, whose, poll).await;
            }
            Endpoint::PaymentHistory => {
                let read = |from| client.payment_history(target, key, from);
                let poll = read_on(&mut self.complete_read, &slots.payments, poller.today(), read);
                poller.record(&slots.payments, self.endpoint, whose, poll).await;
            }
        }
    }
}

/// Reads a history: on from where it may still change, or completely when it is time for that, or when nothing else
/// will do.
async fn read_on<H: History, Reading: Future<Output = Result<H, FetchError>>>(
    complete_read: &mut Option<Instant>,
    slot: &Slot<H>,
    today: Date,
    read: impl FnOnce(Option<Date>) -> Reading,
) -> Result<H, FetchError> {
    let known = slot.snapshot().good.map(|good| good.value);
    let resume = known.as_ref().and_then(|known| known.resume_from(today));
    let mut history = match (resume_day(*complete_read, Instant::now(), resume), known) {
        (Some(from), Some(known)) => {
            let newer = read(Some(from)).await?;
            let mut history = H::clone(&known);
            history.merge(from, newer);
            history
        }
        _ => {
            let history = read(None).await?;
            *complete_read = Some(Instant::now());
            history
        }
    };
    history.read_on(today);
    Ok(history)
}

/// The day to read on from; `None` while the last complete read is a day ago, or there was none, or the history itself
/// asks for one.
fn resume_day(complete_read: Option<Instant>, now: Instant, resume: Option<Date>) -> Option<Date> {
    complete_read.filter(|&at| now.saturating_duration_since(at) < COMPLETE_READ_EVERY).and(resume)
}

/// Ticks at `phase` from now and every `interval` after that. A tick that is missed comes late and shifts the
/// following ones, so that there is never a burst.
fn ticks(phase: Duration, interval: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + phase, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How many requests polling needs, against how many it may make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand {
    /// Requests in one live interval.
    pub live: u64,
    /// Requests in one history interval, between two complete reads.
    pub history: u64,
    /// Both together, in requests a second.
    pub per_second: f64,
}

impl Demand {
    /// Reckons with the pages that each list of workers came in last, and with one where none came yet.
    pub fn of(config: &Config, store: &Store) -> Self {
        let pages = |workers: &Slot<Workers>| {
            let good = workers.snapshot().good;
            good.map_or(1, |good| good.value.pages.max(1) as u64)
        };
        let (mut live, mut history) = (1, 0);
        for slots in store.targets.values() {
            live += 1 + slots.workers.as_ref().map_or(0, pages);
            history += 2;
        }
        let polling = &config.polling;
        let per_second =
            live as f64 / polling.live.interval.as_secs_f64() + history as f64 / polling.history.interval.as_secs_f64();
        Self { live, history, per_second }
    }

    /// A sentence with the numbers and what to change, when the budget cannot carry the demand.
    pub fn complaint(&self, config: &Config) -> Option<String> {
        let allowed = config.api.requests_per_second;
        if self.per_second <= allowed {
            return None;
        }
        let live = config.polling.live.interval;
        let history = config.polling.history.interval;
        let factor = self.per_second / allowed;
        let longer = Duration::from_secs((live.as_secs_f64() * factor).ceil() as u64);
        let needed = self.per_second.ceil();
        let rate = if needed <= 1000.0 { format!("api.requests_per_second to {needed}, or ") } else { String::new() };
        Some(format!(
            "polling needs {} requests every {live:?} and {} every {history:?}, {:.1} a second, but \
             api.requests_per_second allows {allowed}: data will be older than the interval. Set \
             {rate}polling.live.interval to {longer:?} (and polling.history.interval and the stale_after of both in \
             proportion), or raise api.page_size, or poll fewer accounts here (shard)",
            self.live, self.history, self.per_second,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_missed_tick_comes_late_and_there_is_no_burst() {
        let begin = tokio::time::Instant::now();
        let mut ticks = ticks(Duration::from_secs(1), Duration::from_secs(10));
        let mut seen = Vec::new();
        for polling in [2, 35, 0, 0] {
            ticks.tick().await;
            seen.push(begin.elapsed().as_secs());
            tokio::time::sleep(Duration::from_secs(polling)).await;
        }
        // The second poll outlasts three ticks; it is followed by one, and by the next an interval later.
        assert_eq!(seen, [1, 11, 46, 56]);
    }

    #[test]
    fn a_history_is_read_completely_at_first_and_once_a_day() {
        let now = Instant::now();
        let day = "2024-01-02".parse().ok();
        assert_eq!(resume_day(None, now, day), None);
        assert_eq!(resume_day(Some(now), now + Duration::from_secs(86_399), day), day);
        assert_eq!(resume_day(Some(now), now + Duration::from_secs(86_400), day), None);
        assert_eq!(resume_day(Some(now), now, None), None);
    }
}
