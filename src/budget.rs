//! The one request budget: how many requests may be in flight and how many may start in a second, whoever asks.
//!
//! First come, first served, so that an account with a thousand pages cannot starve one with a single page. A pool that
//! says "not before" (Retry-After) or "too much" (429, 503) is heard for everybody: it counts by address, and all our
//! requests come from one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// The longest time from one request to the next: a year.
const LONGEST_SPACING: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The rate is halved at the most so often: to a sixteenth.
const MAX_HALVINGS: u32 = 4;

/// Complaints within this time of the last one belong to it: they answer requests that were under way already.
const ONE_COMPLAINT: Duration = Duration::from_secs(5);

/// How long without a complaint until the rate is doubled again.
const EASE_AFTER: Duration = Duration::from_secs(60);

/// Over how many seconds the requests of late are counted.
const RECENT_SECONDS: usize = 60;

/// Hands out permissions to make one request.
#[derive(Debug)]
pub struct Budget {
    /// Places in flight; tokio's semaphore is fair.
    in_flight: Arc<Semaphore>,
    /// How many places there are.
    concurrency: usize,
    /// From one start to the next at the configured rate.
    spacing: Duration,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    /// When the next request would start if all were spaced evenly (the "theoretical arrival time" of GCRA).
    next: Instant,
    /// No request starts before.
    paused_until: Instant,
    /// How often the rate is halved now.
    halvings: u32,
    /// When it was last changed, or complained of.
    changed: Instant,
    recent: Recent,
}

/// How many requests began in each of the last [`RECENT_SECONDS`].
#[derive(Debug, Clone)]
struct Recent {
    since: Instant,
    /// The second since then that was counted in last.
    newest: u64,
    counts: [u64; RECENT_SECONDS],
}

impl Recent {
    const fn new(since: Instant) -> Self {
        Self { since, newest: 0, counts: [0; RECENT_SECONDS] }
    }

    /// Where the counts of this second are, once those that are too old are dropped.
    fn place(&mut self, now: Instant) -> usize {
        let place = |second: u64| (second % RECENT_SECONDS as u64) as usize;
        let second = now.saturating_duration_since(self.since).as_secs();
        let oldest_kept = (second + 1).saturating_sub(RECENT_SECONDS as u64);
        for passed in (self.newest + 1).max(oldest_kept)..=second {
            self.counts[place(passed)] = 0;
        }
        self.newest = second;
        place(second)
    }

    fn note(&mut self, now: Instant) {
        let place = self.place(now);
        self.counts[place] += 1;
    }

    fn total(&mut self, now: Instant) -> u64 {
        self.place(now);
        self.counts.iter().sum()
    }
}

/// How much of the budget is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Requests that began within the last minute.
    pub last_minute: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Requests that may be in flight.
    pub concurrency: usize,
    /// Requests that may begin in a second now.
    pub per_second: f64,
    /// Whether that is less than configured, because the pool was asked too much.
    pub slowed: bool,
    /// For how long the pool wants to be left alone yet.
    pub pause_left: Option<Duration>,
}

/// Permission to make one request; the place in flight is free again when this is dropped.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    /// A budget of so many requests at a time and a second; both above 0.
    pub fn new(concurrency: usize, requests_per_second: f64) -> Self {
        // However small the rate is, a clock can be asked to wait for it.
        let spacing = Duration::from_secs_f64(requests_per_second.recip().min(LONGEST_SPACING.as_secs_f64()));
        let now = Instant::now();
        let concurrency = concurrency.min(Semaphore::MAX_PERMITS);
        let recent = Recent::new(now);
        Self {
            in_flight: Arc::new(Semaphore::new(concurrency)),
            concurrency,
            spacing,
            pace: Mutex::new(Pace { next: now, paused_until: now, halvings: 0, changed: now, recent }),
        }
    }

    /// Waits for permission. Dropping the future gives up the place in the queue.
    pub async fn acquire(&self) -> Permit {
        let permit = match self.in_flight.clone().acquire_owned().await {
            Ok(permit) => permit,
            // Nobody closes the semaphore: were it so, no request could ever be made again.
            Err(_closed) => std::future::pending().await,
        };
        loop {
            tokio::time::sleep_until(self.reserve(Instant::now())).await;
            // The pool may have asked for a pause meanwhile; then the queue forms anew behind it, at the even pace.
            match self.pause_left() {
                None => {
                    self.pace().recent.note(Instant::now());
                    return Permit(permit);
                }
                Some(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Takes the next start at or after `now`.
    fn reserve(&self, now: Instant) -> Instant {
        let mut pace = self.pace();
        while pace.halvings > 0 && now.saturating_duration_since(pace.changed) >= EASE_AFTER {
            pace.halvings -= 1;
            pace.changed += EASE_AFTER;
            tracing::info!(requests_per_second = self.rate(pace.halvings), "no further complaint: asking faster again");
        }
        let spacing = self.spacing(pace.halvings);
        let next = pace.next.max(now);
        pace.next = next + spacing;
        now.max(next.checked_sub(burst(spacing)).unwrap_or(now))
    }

    /// The pool is asked too much: the rate is halved for everybody, and doubled again minute by minute once there is
    /// no complaint any more.
    pub fn slow_down(&self) {
        let mut pace = self.pace();
        let now = Instant::now();
        if pace.halvings > 0 && now.saturating_duration_since(pace.changed) < ONE_COMPLAINT {
            return;
        }
        pace.changed = now;
        if pace.halvings < MAX_HALVINGS {
            pace.halvings += 1;
            tracing::warn!(
                requests_per_second = self.rate(pace.halvings),
                "the pool says it is asked too much; asking more slowly"
            );
        }
    }

    fn spacing(&self, halvings: u32) -> Duration {
        (self.spacing * (1 << halvings)).min(LONGEST_SPACING)
    }

    /// In three digits: it is for people.
    fn rate(&self, halvings: u32) -> f64 {
        let rate = self.spacing(halvings).as_secs_f64().recip();
        format!("{rate:.2e}").parse().unwrap_or(rate)
    }

    /// Starts no request for that long.
    pub fn pause(&self, pause: Duration) {
        let mut pace = self.pace();
        pace.paused_until = pace.paused_until.max(Instant::now() + pause);
        // Whoever was in a hurry before is not greeted with a burst; and who waits already keeps the turn that it has.
        let even = pace.paused_until + burst(self.spacing(pace.halvings));
        pace.next = pace.next.max(even);
    }

    /// Keeps to the pause and to the slower rate that another budget had come to.
    pub fn take_over(&self, before: &Self) {
        if std::ptr::eq(self, before) {
            return;
        }
        let (paused_until, halvings, changed, recent) = {
            let before = before.pace();
            (before.paused_until, before.halvings, before.changed, before.recent.clone())
        };
        let mut pace = self.pace();
        (pace.halvings, pace.changed, pace.recent) = (halvings, changed, recent);
        if paused_until > Instant::now() {
            pace.paused_until = paused_until;
            pace.next = paused_until + burst(self.spacing(halvings));
        }
    }

    /// How long the pool wants to be left alone yet.
    pub fn pause_left(&self) -> Option<Duration> {
        let left = self.pace().paused_until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// How much of it is used now.
    pub fn usage(&self) -> Usage {
        let now = Instant::now();
        let mut pace = self.pace();
        let pause = pace.paused_until.saturating_duration_since(now);
        Usage {
            last_minute: pace.recent.total(now),
            in_flight: self.concurrency - self.in_flight.available_permits(),
            concurrency: self.concurrency,
            per_second: self.rate(pace.halvings),
            slowed: pace.halvings > 0,
            pause_left: (!pause.is_zero()).then_some(pause),
        }
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        // Nothing between lock and unlock can panic, so a poisoned lock holds sound values all the same.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far starts may run ahead of the sustained rate: one second's worth of requests at once.
fn burst(spacing: Duration) -> Duration {
    Duration::from_secs(1).saturating_sub(spacing)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn starts(budget: &Budget, requests: usize) -> Vec<u128> {
        let begin = Instant::now();
        let mut starts = Vec::new();
        for _ in 0..requests {
            drop(budget.acquire().await);
            starts.push(begin.elapsed().as_millis());
        }
        starts
    }

    #[tokio::test(start_paused = true)]
    async fn burst_is_one_second_of_requests() {
        let budget = Budget::new(10, 4.0);
        assert_eq!(starts(&budget, 7).await, [0, 0, 0, 0, 250, 500, 750]);
    }

    #[tokio::test(start_paused = true)]
    async fn less_than_one_a_second_means_no_burst() {
        let budget = Budget::new(10, 0.5);
        assert_eq!(starts(&budget, 3).await, [0, 2000, 4000]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_in_flight_than_allowed() {
        let budget = Budget::new(2, 1000.0);
        let (_one, two) = (budget.acquire().await, budget.acquire().await);
        assert!(tokio::time::timeout(Duration::from_secs(9), budget.acquire()).await.is_err());
        drop(two);
        assert!(tokio::time::timeout(Duration::from_secs(9), budget.acquire()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everybody() {
        let budget = Budget::new(10, 1000.0);
        budget.pause(Duration::from_secs(300));
        budget.pause(Duration::from_secs(1));
        assert_eq!(starts(&budget, 1).await, [300_000]);
        assert_eq!(budget.pause_left(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_without_a_burst() {
        let budget = Arc::new(Budget::new(100, 4.0));
        let begin = Instant::now();
        // Twenty wait already when the pause comes, some of them for their turn of the rate.
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let budget = budget.clone();
                tokio::spawn(async move {
                    drop(budget.acquire().await);
                    begin.elapsed().as_millis()
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        budget.pause(Duration::from_secs(7));
        let mut starts = Vec::new();
        for start in waiting {
            starts.push(start.await.unwrap());
        }
        starts.sort_unstable();
        assert_eq!(starts[..8], [0, 0, 0, 0, 250, 500, 750, 1000]);
        let after: Vec<_> = (0..12).map(|n| 8100 + n * 250).collect();
        assert_eq!(starts[8..], after);
    }

    #[tokio::test(start_paused = true)]
    async fn rate_halves_on_refusals_and_recovers() {
        let budget = Budget::new(10, 4.0);
        budget.slow_down();
        // Of the same time, so no further one.
        budget.slow_down();
        assert_eq!(starts(&budget, 4).await, [0, 0, 500, 1000]);
        for _ in 0..9 {
            tokio::time::advance(ONE_COMPLAINT).await;
            budget.slow_down();
        }
        // A sixteenth of the rate is the least.
        assert_eq!(starts(&budget, 3).await, [0, 4000, 8000]);
        tokio::time::advance(EASE_AFTER).await;
        assert_eq!(starts(&budget, 3).await, [0, 2000, 4000]);
        tokio::time::advance(EASE_AFTER * 3).await;
        assert_eq!(starts(&budget, 6).await, [0, 0, 0, 0, 250, 500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_nothing_hurries_nobody() {
        let budget = Budget::new(10, 4.0);
        let begin = Instant::now();
        let mut starts = Vec::new();
        for _ in 0..8 {
            drop(budget.acquire().await);
            starts.push(begin.elapsed().as_millis());
            budget.pause(Duration::ZERO);
        }
        assert_eq!(starts, [0, 0, 250, 500, 750, 1000, 1250, 1500]);
    }

    #[tokio::test(start_paused = true)]
    async fn reconfigured_budget_keeps_pause_and_rate() {
        let (before, after) = (Budget::new(10, 4.0), Budget::new(10, 8.0));
        before.slow_down();
        before.pause(Duration::from_secs(5));
        after.take_over(&before);
        assert_eq!(starts(&after, 3).await, [5000, 5250, 5500]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_smallest_rate_is_a_year_apart() {
        let budget = Budget::new(1, f64::MIN_POSITIVE);
        assert_eq!(starts(&budget, 2).await, [0, 365 * 24 * 60 * 60 * 1000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_told_in_three_digits() {
        for (rate, told, halved) in [(5.0, 5.0, 2.5), (1000.0, 1000.0, 500.0), (0.3, 0.3, 0.15), (7.77777, 7.78, 3.89)]
        {
            let budget = Budget::new(1, rate);
            assert_eq!(budget.usage().per_second, told);
            budget.slow_down();
            assert_eq!(budget.usage().per_second, halved);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn usage_counts_the_last_minute_only() {
        let budget = Budget::new(3, 4.0);
        drop(budget.acquire().await);
        tokio::time::advance(Duration::from_secs(30)).await;
        let (_one, _two) = (budget.acquire().await, budget.acquire().await);
        let usage =
            Usage { last_minute: 3, in_flight: 2, concurrency: 3, per_second: 4.0, slowed: false, pause_left: None };
        assert_eq!(budget.usage(), usage);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(budget.usage().last_minute, 2);
        budget.slow_down();
        budget.pause(Duration::from_secs(7));
        let after = Budget::new(3, 4.0);
        after.take_over(&budget);
        let pause_left = Some(Duration::from_secs(7));
        let usage = Usage { last_minute: 2, in_flight: 0, per_second: 2.0, slowed: true, pause_left, ..usage };
        assert_eq!(after.usage(), usage);
        tokio::time::advance(Duration::from_secs(400)).await;
        assert_eq!(after.usage().last_minute, 0);
    }
}
