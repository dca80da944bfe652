//! How long a slot that fails waits until it is asked again.
//!
//! One failure may be a passing one, so the next tick asks as always. From the second in a row on, a random wait is
//! added whose bound doubles each time ("full jitter": slots that failed together do not come back together). A refused
//! key is another matter: asking again does not mend it and may get the address banned, so it is asked rarely.

use std::time::Duration;

use crate::model::Reason;

/// However often a slot failed, it is asked again within so many of its intervals ...
const LONGEST_INTERVALS: u32 = 5;
/// ... and within this time, unless its interval is longer.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The same two bounds for a refused key.
const REFUSED_INTERVALS: u32 = 15;
const REFUSED: Duration = Duration::from_secs(15 * 60);

/// The failures of one slot in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    /// Whether the last poll failed.
    failing: bool,
    /// All in a row, as far as they count for the wait.
    failures: u32,
    /// Refusals of the key in a row at the end of these.
    refusals: u32,
}

impl Backoff {
    /// Notes a failure. Tells how long to wait from now on; `None`: until the next tick, as always. `chance` is from 0
    /// to 1.
    pub fn failed(&mut self, reason: Reason, interval: Duration, chance: f64) -> Option<Duration> {
        self.failing = true;
        self.failures = self.failures.saturating_add(1);
        self.refusals = if reason == Reason::Auth { self.refusals.saturating_add(1) } else { 0 };
        let bound = |intervals: u32, longest: Duration| (interval * intervals).min(longest).max(interval);
        // The first refusal is looked at once more before it is believed.
        if self.refusals > 1 {
            let longest = bound(REFUSED_INTERVALS, REFUSED);
            return Some(longest.mul_f64(0.5 + 0.5 * chance).max(interval));
        }
        if self.failures < 2 {
            return None;
        }
        let doubled = 2_u32.saturating_pow(self.failures - 1) - 1;
        let jitter = interval.saturating_mul(doubled).min(bound(LONGEST_INTERVALS, LONGEST) - interval);
        Some(interval + jitter.mul_f64(chance))
    }

    /// It is worth asking anew: what failed before does not lengthen the next wait.
    pub fn forgive(&mut self) {
        (self.failures, self.refusals) = (0, 0);
    }

    /// Whether the last poll failed.
    pub const fn is_failing(&self) -> bool {
        self.failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The waits after so many failures of a kind, in seconds, at the least and at the most.
    fn waits(reason: Reason, interval: Duration, failures: usize) -> Vec<Option<(u64, u64)>> {
        let (mut least, mut most) = (Backoff::default(), Backoff::default());
        let seconds = |wait: Duration| wait.as_secs();
        (0..failures)
            .map(|_| {
                let waits = (least.failed(reason, interval, 0.0), most.failed(reason, interval, 1.0));
                waits.0.map(seconds).zip(waits.1.map(seconds))
            })
            .collect()
    }

    #[test]
    fn the_bound_doubles_and_is_capped() {
        let live = waits(Reason::Timeout, MINUTE, 6);
        assert_eq!(live, [None, Some((60, 120)), Some((60, 240)), Some((60, 300)), Some((60, 300)), Some((60, 300))]);
        // A slow cadence is slow enough.
        assert_eq!(waits(Reason::Http5xx, 15 * MINUTE, 3), [None, Some((900, 900)), Some((900, 900))]);
    }

    #[test]
    fn refused_key_retries_once_then_rarely() {
        assert_eq!(waits(Reason::Auth, MINUTE, 3), [None, Some((450, 900)), Some((450, 900))]);
        assert_eq!(waits(Reason::Auth, 15 * MINUTE, 2), [None, Some((900, 900))]);
        assert_eq!(waits(Reason::Auth, Duration::from_secs(2), 2), [None, Some((15, 30))]);
    }

    #[test]
    fn refusals_do_not_shorten_the_backoff() {
        let mut backoff = Backoff::default();
        assert!(!backoff.is_failing());
        let mut next = |reason| backoff.failed(reason, MINUTE, 1.0).map(|wait| wait.as_secs());
        let waits = [Reason::Timeout, Reason::Auth, Reason::Timeout, Reason::Auth, Reason::Auth, Reason::Timeout]
            .map(&mut next);
        assert_eq!(waits, [None, Some(120), Some(240), Some(300), Some(900), Some(300)]);
        // After a reload it begins anew, and is no less in trouble.
        backoff.forgive();
        assert!(backoff.is_failing());
        assert_eq!(backoff.failed(Reason::Auth, MINUTE, 1.0), None);
        assert_eq!(backoff.failed(Reason::Auth, MINUTE, 1.0), Some(15 * MINUTE));
    }

    #[test]
    fn backoff_survives_any_outage() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            backoff.failed(Reason::Connect, MINUTE, 1.0);
        }
        backoff.failures = u32::MAX;
        assert_eq!(
            backoff.failed(Reason::Connect, Duration::from_secs(366 * 86_400), 1.0).unwrap().as_secs(),
            31_622_400
        );
    }
}
