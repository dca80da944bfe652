//! What time it is: the system's, or a simulated pool's whose time runs at another speed.
//!
//! Only wall-clock readings go through here (the pool's calendar day, timestamps that are published). Ages and
//! deadlines are taken from the monotonic clock, which nobody can set.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

/// Tells the wall-clock time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Where a simulated time began and how fast it runs; `None` for the system's own clock.
    simulated: Option<Simulated>,
}

#[derive(Clone, Copy, Debug)]
struct Simulated {
    began: Instant,
    at: Timestamp,
    speed: f64,
}

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self { simulated: None }
    }

    /// A clock that shows `at` now and then runs at `speed` (1: real time, 0: stands still).
    pub fn simulated(at: Timestamp, speed: f64) -> Self {
        Self { simulated: Some(Simulated { began: Instant::now(), at, speed }) }
    }

    /// How long it really takes until this clock shows `at`; zero when it is past, `None` when it will never be.
    pub fn until(&self, at: Timestamp) -> Option<Duration> {
        let wait = Duration::try_from(at.duration_since(self.now())).unwrap_or_default();
        match self.simulated {
            None => Some(wait),
            Some(Simulated { speed, .. }) => Duration::try_from_secs_f64(wait.as_secs_f64() / speed).ok(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self.simulated {
            // A system clock outside jiff's range (years -9999 to 9999) is taken as its end.
            None => Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MAX),
            Some(Simulated { began, at, speed }) => {
                let elapsed = Duration::try_from_secs_f64(began.elapsed().as_secs_f64() * speed);
                elapsed.ok().and_then(|elapsed| at.checked_add(elapsed).ok()).unwrap_or(Timestamp::MAX)
            }
        }
    }
}

/// Seconds since 1970 with fractions, as Prometheus has them.
pub fn unix_seconds(at: Timestamp) -> f64 {
    // Milliseconds are enough for a poll's time, and exact in a float, unlike nanoseconds.
    at.as_millisecond() as f64 / 1000.0
}
