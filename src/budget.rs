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

/// The longest Retry-After that is obeyed.
pub const MAX_PAUSE: Duration = Duration::from_secs(300);

/// The longest time from one request to the next: a year.
const LONGEST_SPACING: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The rate is halved at the most so often: to a sixteenth.
const MAX_HALVINGS: u32 = 4;

/// Complaints within this time of the last one belong to it: they answer requests that were under way already.
const ONE_COMPLAINT: Duration = Duration::from_secs(5);

/// How long without a complaint until the rate is doubled again.
const EASE_AFTER: Duration = Duration::from_secs(60);

/// Hands out permissions to make one request.
#[derive(Debug)]
pub struct Budget {
    /// Requests in flight; tokio's semaphore is fair.
    in_flight: Arc<Semaphore>,
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
        Self {
            in_flight: Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))),
            spacing,
            pace: Mutex::new(Pace { next: now, paused_until: now, halvings: 0, changed: now }),
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
                None => return Permit(permit),
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
            tracing::warn!(requests_per_second = self.rate(pace.halvings), "the pool is asked too much: asking slower");
        }
    }

    fn spacing(&self, halvings: u32) -> Duration {
        (self.spacing * (1 << halvings)).min(LONGEST_SPACING)
    }

    fn rate(&self, halvings: u32) -> f64 {
        self.spacing(halvings).as_secs_f64().recip()
    }

    /// Starts no request for that long, but not for longer than [`MAX_PAUSE`].
    pub fn pause(&self, pause: Duration) {
        let mut pace = self.pace();
        pace.paused_until = pace.paused_until.max(Instant::now() + pause.min(MAX_PAUSE));
        // Whoever was in a hurry before is not greeted with a burst; and who waits already keeps the turn that it has.
        let even = pace.paused_until + burst(self.spacing(pace.halvings));
        pace.next = pace.next.max(even);
    }

    /// Keeps to the pause and to the slower rate that another budget had come to.
    pub fn take_over(&self, before: &Self) {
        if std::ptr::eq(self, before) {
            return;
        }
        let (paused_until, halvings, changed) = {
            let before = before.pace();
            (before.paused_until, before.halvings, before.changed)
        };
        let mut pace = self.pace();
        (pace.halvings, pace.changed) = (halvings, changed);
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
    async fn a_burst_is_one_seconds_worth_and_then_the_rate_holds() {
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
    async fn a_pause_holds_everybody_and_is_bounded() {
        let budget = Budget::new(10, 1000.0);
        budget.pause(Duration::from_secs(86_400));
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
    async fn complaints_halve_the_rate_and_quiet_doubles_it_again() {
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
    async fn another_budget_keeps_to_the_pause_and_to_the_slower_rate() {
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
}
