//! What this program did: requests to the pool, and oddities in its answers. Plain figures; the
//! [`collector`](crate::collector) gives them their names.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

use crate::model::{Endpoint, Reason};

/// Upper bounds of the request durations' buckets, in seconds: from a pool next door to the default timeout and beyond.
pub const DURATION_BUCKETS: [f64; 11] = [0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 5.0, 10.0, 15.0, 30.0];

/// Counts what the program does. Shared by whoever does it.
#[derive(Debug)]
pub struct Telemetry {
    figures: Mutex<Figures>,
}

/// The figures at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// Requests by endpoint and code.
    pub requests: BTreeMap<(Endpoint, Code), u64>,
    /// Failed requests by endpoint and reason; those that can happen are there from the start.
    pub request_failures: BTreeMap<(Endpoint, Reason), u64>,
    /// How long requests took, by endpoint.
    pub durations: BTreeMap<Endpoint, Durations>,
    /// Fields that were not of the documented shape.
    pub anomalies: BTreeMap<(Endpoint, &'static str), u64>,
    /// Whether the last loading of the configuration went well.
    pub reload_succeeded: bool,
    /// When the configuration in use was loaded.
    pub reloaded_at: Timestamp,
    /// When the server's own certificate expires, if it has one.
    pub certificate_not_after: Option<Timestamp>,
}

/// The value of the label `code`. There are few of them, whatever statuses the pool sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// No answer came.
    None,
    /// A status that is registered with IANA, or that Cloudflare sends where the pool fails (520 to 530).
    Status(u16),
    /// The first digit of any other status.
    Class(u16),
}

impl From<Option<u16>> for Code {
    fn from(status: Option<u16>) -> Self {
        match status {
            None => Self::None,
            Some(
                status @ (100..=104
                | 200..=208
                | 226
                | 300..=305
                | 307
                | 308
                | 400..=417
                | 421..=426
                | 428
                | 429
                | 431
                | 451
                | 500..=508
                | 510
                | 511
                | 520..=527
                | 530),
            ) => Self::Status(status),
            Some(status) => Self::Class(status / 100),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Status(status) => write!(f, "{status}"),
            Self::Class(digit) => write!(f, "{digit}xx"),
        }
    }
}

/// A histogram of durations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// How many fell into each of [`DURATION_BUCKETS`] (not cumulated), and beyond the last.
    pub buckets: [u64; DURATION_BUCKETS.len() + 1],
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Durations {
    fn observe(&mut self, seconds: f64) {
        let bucket = DURATION_BUCKETS.iter().position(|&bound| seconds <= bound).unwrap_or(DURATION_BUCKETS.len());
        self.buckets[bucket] += 1;
        self.sum += seconds;
    }
}

impl Telemetry {
    /// Nothing done yet, but the configuration loaded at that time.
    pub fn new(loaded_at: Timestamp) -> Self {
        let requests = Reason::ALL.into_iter().filter(|&reason| reason != Reason::Incomplete);
        let failures = requests.flat_map(|reason| Endpoint::ALL.map(|endpoint| ((endpoint, reason), 0)));
        Self {
            figures: Mutex::new(Figures {
                requests: BTreeMap::new(),
                request_failures: failures.collect(),
                durations: Endpoint::ALL.map(|endpoint| (endpoint, Durations::default())).into(),
                anomalies: BTreeMap::new(),
                reload_succeeded: true,
                reloaded_at: loaded_at,
                certificate_not_after: None,
            }),
        }
    }

    /// A request was answered with that status, or not at all.
    pub fn request(&self, endpoint: Endpoint, status: Option<u16>, took: Duration) {
        let mut figures = self.figures();
        *figures.requests.entry((endpoint, status.into())).or_default() += 1;
        figures.durations.entry(endpoint).or_default().observe(took.as_secs_f64());
    }

    /// A request failed.
    pub fn request_failed(&self, endpoint: Endpoint, reason: Reason) {
        *self.figures().request_failures.entry((endpoint, reason)).or_default() += 1;
    }

    /// So many values of a field were left out; none is a beginning.
    pub fn anomalies(&self, endpoint: Endpoint, field: &'static str, count: u64) {
        *self.figures().anomalies.entry((endpoint, field)).or_default() += count;
    }

    /// A configuration was loaded at that time and is in use; `None`: it was not fit for use.
    pub fn reloaded(&self, at: Option<Timestamp>) {
        let mut figures = self.figures();
        figures.reload_succeeded = at.is_some();
        figures.reloaded_at = at.unwrap_or(figures.reloaded_at);
    }

    /// Clients are served with a certificate that expires then; `None`: without one.
    pub fn serves_until(&self, not_after: Option<Timestamp>) {
        self.figures().certificate_not_after = not_after;
    }

    /// The figures now.
    pub fn snapshot(&self) -> Figures {
        self.figures().clone()
    }

    fn figures(&self) -> std::sync::MutexGuard<'_, Figures> {
        // Nothing between lock and unlock can panic, so a poisoned lock holds sound figures all the same.
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
