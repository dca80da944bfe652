//! What time it is: the system's, or a simulated pool's whose time runs at another speed.
//!
//! Only wall-clock readings go through here (the pool's calendar day, timestamps that are published). Ages and
//! deadlines are taken from the monotonic clock, which nobody can set.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;

/// Tells the wall-clock time.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    /// The system's own clock.
    System,
    /// One that runs by itself.
    Simulated(Simulated),
    /// One that is set by hand, in milliseconds since 1970.
    Set(&'static AtomicI64),
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
        Self(Source::System)
    }

    /// A clock that shows `at` now and then runs at `speed` (1: real time, 0: stands still).
    pub fn simulated(at: Timestamp, speed: f64) -> Self {
        Self(Source::Simulated(Simulated { began: Instant::now(), at, speed }))
    }

    /// A clock that shows what it is told to, to the millisecond; and how it is told. It is never freed: it is made for
    /// simulations, which have one.
    pub fn set_by_hand(at: Timestamp) -> (Self, impl Fn(Timestamp) + Clone + Send + Sync) {
        let now: &'static AtomicI64 = Box::leak(Box::new(AtomicI64::new(at.as_millisecond())));
        (Self(Source::Set(now)), move |at: Timestamp| now.store(at.as_millisecond(), Ordering::Relaxed))
    }

    /// How long it really takes until this clock shows `at`; zero when it is past, `None` when it will never be.
    pub fn until(&self, at: Timestamp) -> Option<Duration> {
        let wait = Duration::try_from(at.duration_since(self.now())).unwrap_or_default();
        match self.0 {
            Source::System => Some(wait),
            Source::Set(_) => (wait == Duration::ZERO).then_some(wait),
            Source::Simulated(Simulated { speed, .. }) => Duration::try_from_secs_f64(wait.as_secs_f64() / speed).ok(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self.0 {
            // A system clock outside jiff's range (years -9999 to 9999) is taken as its end.
            Source::System => Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::MAX),
            Source::Set(now) => Timestamp::from_millisecond(now.load(Ordering::Relaxed)).unwrap_or(Timestamp::MAX),
            Source::Simulated(Simulated { began, at, speed }) => {
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
