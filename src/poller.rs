//! When the pool is asked: tick, fetch, record. The only module that sees both the client and the store.
//!
//! Each slot has a `Job` of its own, so that none waits for another's failure and a poll never overlaps itself. All
//! of them start at once; from then on each keeps a place of its own in the interval. What holds them together is the
//! client's request budget.
//!
//! A slot that fails is asked more rarely (`backoff`), and polls in a side lane: a stalled account would otherwise
//! hold every place in flight for the length of a timeout.

mod backoff;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{civil::Date, tz::Offset};
use tokio::{
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet},
    time::{Interval, MissedTickBehavior},
};

use crate::{
    budget::Budget,
    client::{FetchError, PoolClient, proxy::Route},
    clock::Clock,
    config::{ApiKey, Config, Polling},
    history::{History, Income, Payments, final_before, next_final, pool_day},
    model::{Endpoint, PoolStats, Reason, Target},
    store::{Failure, Slot, Store, TargetSlots},
};
use backoff::Backoff;

/// How long a complete read of a history holds; between two, only the days that may still change are read.
const COMPLETE_READ_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Over how long the reads after the pool's midnight are spread.
const MIDNIGHT_SPREAD: Duration = Duration::from_secs(30);

/// How often a history is asked for that has to be had at once.
const ATTEMPTS: u32 = 4;

/// How long to wait before the second of them; each further pause is four times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Polls the pool into the store.
#[derive(Debug)]
pub struct Poller {
    config: Arc<Config>,
    store: Arc<Store>,
    terms: Arc<Terms>,
}

/// On which terms the pool is asked: all that polling a slot needs beside the slot. A task holds on to this, and not to
/// the configuration that it began under, whose accounts may be gone.
#[derive(Debug)]
struct Terms {
    client: PoolClient,
    /// The same for slots that fail: their lists are read page by page.
    careful: PoolClient,
    clock: Clock,
    polling: Polling,
    day_utc_offset: Offset,
    /// How many slots that fail poll at a time: half of the places in flight, so that the others get through.
    lane: Semaphore,
    /// Changes with each reload: whatever failed is worth asking at once.
    reloads: watch::Sender<()>,
}

/// The tasks that poll, by whose slots they poll; `None`: `main_stat`, which is nobody's.
#[derive(Debug, Default)]
pub struct Tasks {
    tasks: JoinSet<()>,
    of: BTreeMap<Option<Target>, TargetTasks>,
}

/// The tasks of one target.
#[derive(Debug)]
struct TargetTasks {
    /// What they poll into; `None` for `main_stat`.
    slots: Option<Arc<TargetSlots>>,
    /// How many workers are exported at most, by which their list is read.
    workers_max: Option<usize>,
    handles: Vec<AbortHandle>,
}

/// The polling of one slot.
#[derive(Debug)]
struct Job {
    endpoint: Endpoint,
    whose: Whose,
    /// When the history was last read completely.
    complete_read: Option<Instant>,
    backoff: Backoff,
    reloads: watch::Receiver<()>,
}

/// Whose slot is polled.
#[derive(Debug, Clone)]
enum Whose {
    /// Nobody's: `main_stat`.
    Pool(Arc<Slot<PoolStats>>),
    /// An account's.
    Owner(Owner),
}

#[derive(Debug, Clone)]
struct Owner {
    target: Target,
    key: ApiKey,
    /// How many workers are exported at most; `None` when they are not polled.
    workers_max: Option<usize>,
    slots: Arc<TargetSlots>,
}

impl Whose {
    const fn owner(&self) -> Option<&Owner> {
        match self {
            Self::Pool(_) => None,
            Self::Owner(owner) => Some(owner),
        }
    }
}

impl Poller {
    /// A poller of what the configuration names.
    pub fn new(config: Arc<Config>, client: PoolClient, store: Arc<Store>, clock: Clock) -> Self {
        let terms = Terms {
            careful: client.careful(),
            client,
            clock,
            polling: config.polling,
            day_utc_offset: config.api.day_utc_offset,
            lane: Semaphore::new(config.api.concurrency.div_ceil(2).min(Semaphore::MAX_PERMITS)),
            reloads: watch::Sender::new(()),
        };
        Self { config, store, terms: Arc::new(terms) }
    }

    /// The poller of another configuration. Without a new `client` it keeps this one's client and budget; a new client
    /// inherits the pause and the slower rate that the pool asked for.
    pub fn successor(&self, config: Arc<Config>, store: Arc<Store>, client: Option<PoolClient>) -> Self {
        self.terms.client.retain_targets(|target| store.targets.contains_key(target));
        if client.is_none() && config.polling == self.config.polling {
            return Self { config, store, terms: self.terms.clone() };
        }
        let client = client.unwrap_or_else(|| self.terms.client.clone());
        client.take_over(&self.terms.client);
        Self::new(config, client, store, self.terms.clock)
    }

    /// How requests reach the pool.
    pub fn route(&self) -> &Route {
        self.terms.client.route()
    }

    /// What its requests come out of.
    pub fn budget(&self) -> &Arc<Budget> {
        self.terms.client.budget()
    }

    /// Polls everything once, and waits for all of it.
    pub async fn once(&self) {
        let mut polls = JoinSet::new();
        for mut job in self.jobs() {
            let terms = self.terms.clone();
            polls.spawn(async move {
                job.poll(&terms).await;
            });
        }
        while polls.join_next().await.is_some() {}
    }

    /// Starts polling for good: a task for each slot, none of which ends by itself. With `before`, tasks that poll what
    /// this poller would poll, too, go on undisturbed; the others end, and slots that fail are asked at once.
    pub fn spawn(&self, tasks: &mut Tasks, before: Option<&Self>) {
        let same = before.is_some_and(|before| Arc::ptr_eq(&before.terms, &self.terms));
        tasks.of.retain(|target, of| {
            let slots = target.as_ref().map(|target| self.store.targets.get(target));
            let kept = match (&of.slots, slots) {
                (Some(polled), Some(Some(wanted))) => Arc::ptr_eq(polled, wanted),
                (None, None) => true,
                _ => false,
            };
            let account = target.as_ref().and_then(|target| self.config.accounts.get(&target.account));
            let same_list = of.workers_max == account.and_then(|account| account.workers_max);
            let kept = same && kept && same_list;
            if !kept {
                of.handles.iter().for_each(AbortHandle::abort);
            }
            kept
        });
        self.terms.reloads.send_replace(());
        let jobs = self.jobs();
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX).max(1);
        let mut new = BTreeMap::<_, TargetTasks>::new();
        for (place, job) in (1_u32..).zip(jobs) {
            let owner = job.whose.owner();
            let target = owner.map(|owner| owner.target.clone());
            if tasks.of.contains_key(&target) {
                continue;
            }
            // The second poll comes at the slot's own place in the interval: never later than one interval from now.
            let phase = self.terms.polling.of(job.endpoint).interval.mul_f64(f64::from(place) / f64::from(count));
            let slots = owner.map(|owner| owner.slots.clone());
            let workers_max = owner.and_then(|owner| owner.workers_max);
            let handle = tasks.tasks.spawn(job.run(self.terms.clone(), phase));
            let of = new.entry(target).or_insert_with(|| TargetTasks { slots, workers_max, handles: Vec::new() });
            of.handles.push(handle);
        }
        tasks.of.append(&mut new);
    }

    /// Asks `summary_data` once for a target, storing nothing.
    ///
    /// # Errors
    ///
    /// As [`PoolClient::summary_data`].
    pub async fn probe(&self, target: &Target, key: &ApiKey) -> Result<(), FetchError> {
        self.terms.client.summary_data(target, key).await.map(|_| ())
    }

    /// Reads a target's histories, all of them, storing nothing. What may pass is tried again: a long reading of many
    /// accounts must not end at a connection that was cut once.
    ///
    /// # Errors
    ///
    /// Which of the two could not be read, and why.
    pub async fn histories(&self, target: &Target, key: &ApiKey) -> Result<(Income, Payments), (Endpoint, FetchError)> {
        let client = &self.terms.client;
        let income = async {
            let final_before = self.terms.final_before();
            let ask = || client.profit_history(target, key, None);
            let mut income = patiently(target, Endpoint::ProfitHistory, ask).await?;
            income.read_on(final_before);
            Ok(income)
        };
        let payments = patiently(target, Endpoint::PaymentHistory, || client.payment_history(target, key, None));
        tokio::try_join!(async { income.await.map_err(|error| (Endpoint::ProfitHistory, error)) }, async {
            payments.await.map_err(|error| (Endpoint::PaymentHistory, error))
        },)
    }

    fn jobs(&self) -> Vec<Job> {
        let job = |endpoint, whose| {
            let reloads = self.terms.reloads.subscribe();
            Job { endpoint, whose, complete_read: None, backoff: Backoff::default(), reloads }
        };
        let mut jobs = vec![job(Endpoint::MainStat, Whose::Pool(self.store.pool.clone()))];
        for (target, account) in self.config.targets() {
            let Some(slots) = self.store.targets.get(&target) else { continue };
            let workers_max = account.workers_max;
            let owner = Owner { target, key: account.key.clone(), workers_max, slots: slots.clone() };
            let mut endpoints = vec![Endpoint::SummaryData, Endpoint::ProfitHistory, Endpoint::PaymentHistory];
            endpoints.extend(slots.workers.as_ref().map(|_| Endpoint::Workers));
            jobs.extend(endpoints.into_iter().map(|endpoint| job(endpoint, Whose::Owner(owner.clone()))));
        }
        jobs
    }
}

impl Terms {
    /// The pool's calendar day.
    fn today(&self) -> Date {
        pool_day(self.clock.now(), self.day_utc_offset)
    }

    /// Before which of the pool's days all days are final now.
    fn final_before(&self) -> Date {
        final_before(self.clock.now(), self.day_utc_offset)
    }

    /// Waits until a day is final that was not when the last read began, and a part of [`MIDNIGHT_SPREAD`] longer: the
    /// accounts keep their places.
    async fn after_midnight(&self, phase: Duration, read_before: Date) {
        let wait = if self.final_before() > read_before {
            // The day became final during the read.
            Some(Duration::ZERO)
        } else {
            next_final(self.clock.now(), self.day_utc_offset).and_then(|at| self.clock.until(at))
        };
        match wait {
            Some(wait) => {
                let place = phase.div_duration_f64(self.polling.history.interval);
                tokio::time::sleep(wait + MIDNIGHT_SPREAD.mul_f64(place)).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Runs a poll, puts its result into the slot, and says in the log what changed. This is the one place where a
    /// failed poll is handled. Tells how long to wait for the next one, if not until the next tick.
    async fn record<T>(
        &self,
        slot: &Slot<T>,
        endpoint: Endpoint,
        target: Option<&Target>,
        backoff: &mut Backoff,
        poll: impl Future<Output = Result<T, FetchError>>,
    ) -> Option<Duration> {
        let begin = Instant::now();
        let result = poll.await;
        let took = begin.elapsed();
        let failure = result.as_ref().err().map(|error| (error.reason(), error.to_string()));
        let result = result.map_err(|error| Failure { reason: error.reason(), message: error.to_string() });
        let before = slot.record(self.clock.now(), took, result).and_then(|outcome| outcome.error);
        let account = target.map(|target| target.account.as_str());
        let currency = target.map(|target| target.currency.as_str());
        let Some((reason, error)) = failure else {
            *backoff = Backoff::default();
            match before {
                Some(before) => {
                    let reason = before.reason.as_str();
                    tracing::info!(account, currency, %endpoint, after = reason, "the poll succeeds again");
                }
                None => {
                    let milliseconds = took.as_millis() as u64;
                    tracing::debug!(account, currency, %endpoint, milliseconds, "the poll succeeded");
                }
            }
            return None;
        };
        let wait = backoff.failed(reason, self.polling.of(endpoint).interval, fastrand::f64());
        let seconds = wait.map(|wait| wait.as_secs());
        // The same trouble again is in the metrics; the log tells its beginning and its end. A refused key is something
        // that a person has to mend, and is asked about so rarely that it can be told each time.
        let repeated = before.is_some_and(|before| before.reason == reason) && reason != Reason::Auth;
        let reason = reason.as_str();
        if repeated {
            tracing::debug!(account, currency, %endpoint, reason, error, next_in_seconds = seconds, "the poll failed again");
        } else {
            tracing::warn!(account, currency, %endpoint, reason, error, next_in_seconds = seconds, "the poll failed");
        }
        wait
    }
}

impl Job {
    /// Polls for good.
    async fn run(mut self, terms: Arc<Terms>, phase: Duration) {
        let mut ticks = ticks(phase, terms.polling.of(self.endpoint).interval);
        let mut read_before = terms.final_before();
        let mut wait = self.poll(&terms).await;
        loop {
            if let Some(wait) = wait {
                ticks.reset_after(wait);
            }
            let failing = self.backoff.is_failing();
            let mut reloaded = false;
            tokio::select! {
                _ = ticks.tick() => {}
                // At midnight a running day becomes the last one, and its final figures are wanted soon.
                () = terms.after_midnight(phase, read_before), if self.endpoint == Endpoint::ProfitHistory && !failing => {}
                Ok(()) = self.reloads.changed(), if failing => reloaded = true,
            }
            if reloaded {
                self.backoff.forgive();
                // The cadence begins anew: the next tick may have been far off.
                ticks.reset();
            }
            read_before = terms.final_before();
            // While the pool wants to be left alone nobody asks; the first tick after that does.
            wait = match terms.client.pause_left() {
                None => self.poll(&terms).await,
                Some(pause) => reloaded.then_some(pause),
            };
        }
    }

    /// Polls once. Tells how long to wait for the next time, if not until the next tick.
    async fn poll(&mut self, terms: &Terms) -> Option<Duration> {
        // A reload from here on has this slot asked once more, if it fails.
        self.reloads.mark_unchanged();
        // Nobody closes the semaphore.
        let (client, _lane) = match self.backoff.is_failing() {
            true => (&terms.careful, terms.lane.acquire().await.ok()),
            false => (&terms.client, None),
        };
        let (endpoint, backoff) = (self.endpoint, &mut self.backoff);
        let Owner { target, key, workers_max, slots } = match &self.whose {
            Whose::Pool(slot) => return terms.record(slot, endpoint, None, backoff, client.main_stat()).await,
            Whose::Owner(owner) => owner,
        };
        let whose = Some(target);
        match endpoint {
            Endpoint::MainStat => None,
            Endpoint::SummaryData => {
                terms.record(&slots.summary, endpoint, whose, backoff, client.summary_data(target, key)).await
            }
            Endpoint::Workers => match (&slots.workers, *workers_max) {
                (Some(slot), Some(max)) => {
                    terms.record(slot, endpoint, whose, backoff, client.workers(target, key, max)).await
                }
                _ => None,
            },
            Endpoint::ProfitHistory => {
                let read = |from| client.profit_history(target, key, from);
                let poll = read_further(&mut self.complete_read, &slots.income, terms, read);
                terms.record(&slots.income, endpoint, whose, backoff, poll).await
            }
            Endpoint::PaymentHistory => {
                let read = |from| client.payment_history(target, key, from);
                let poll = read_further(&mut self.complete_read, &slots.payments, terms, read);
                terms.record(&slots.payments, endpoint, whose, backoff, poll).await
            }
        }
    }
}

impl Tasks {
    /// Waits until one of them ends by itself, which is a defect.
    pub async fn ended(&mut self) {
        while let Some(Err(error)) = self.tasks.join_next().await {
            // The target of a task that was aborted left the configuration.
            if !error.is_cancelled() {
                break;
            }
        }
    }

    /// Ends them all; a poll that is under way is given up.
    pub async fn end(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Asks up to [`ATTEMPTS`] times, as long as it fails in a way that may pass.
async fn patiently<T, Asking: Future<Output = Result<T, FetchError>>>(
    target: &Target,
    endpoint: Endpoint,
    ask: impl Fn() -> Asking,
) -> Result<T, FetchError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        let error = match ask().await {
            Err(error) if error.may_pass() => error,
            result => return result,
        };
        let (account, currency) = (target.account.as_str(), target.currency.as_str());
        let (reason, seconds) = (error.reason().as_str(), pause.as_secs());
        tracing::warn!(account, currency, %endpoint, reason, %error, seconds, "trying again after a pause");
        tokio::time::sleep(pause).await;
        pause *= 4;
    }
    ask().await
}

/// Reads a history: on from where it may still change, or completely when it is time for that, or when nothing else
/// will do.
async fn read_further<H: History, Reading: Future<Output = Result<H, FetchError>>>(
    complete_read: &mut Option<Instant>,
    slot: &Slot<H>,
    terms: &Terms,
    read: impl FnOnce(Option<Date>) -> Reading,
) -> Result<H, FetchError> {
    let final_before = terms.final_before();
    let known = slot.snapshot().good.map(|good| good.value);
    let resume = known.as_ref().and_then(|known| known.resume_from(terms.today()));
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
    history.read_on(final_before);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn missed_tick_comes_late_without_burst() {
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
    fn history_is_complete_first_and_daily() {
        let now = Instant::now();
        let day = "2024-01-02".parse().ok();
        assert_eq!(resume_day(None, now, day), None);
        assert_eq!(resume_day(Some(now), now + Duration::from_secs(86_399), day), day);
        assert_eq!(resume_day(Some(now), now + Duration::from_secs(86_400), day), None);
        assert_eq!(resume_day(Some(now), now, None), None);
    }

    #[test]
    fn days_are_read_when_they_are_final() {
        for (now, next) in [
            ("2024-03-04T12:00:00Z", "2024-03-04T16:00:01Z"),
            ("2024-03-04T16:00:00.3Z", "2024-03-04T16:00:01Z"),
            ("2024-03-04T16:00:01Z", "2024-03-05T16:00:01Z"),
        ] {
            assert_eq!(next_final(now.parse().unwrap(), Offset::constant(8)), next.parse().ok(), "{now}");
        }
    }
}
