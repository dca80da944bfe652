//! The log of refused clients, bounded whatever clients do.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often the same reason is logged for the same address.
const EVERY: Duration = Duration::from_secs(60);

/// The most lines in that time.
const MAX_LINES: usize = 64;

/// What was logged of late, and when.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<(IpAddr, String), Instant>>);

impl Refusals {
    /// Logs why a client's certificate is refused, at most once a minute for each address and reason.
    pub fn log(&self, peer: SocketAddr, reason: &str) {
        if self.is_due(peer.ip(), reason, Instant::now()) {
            tracing::info!(%peer, reason, "client certificate refused");
        }
    }

    fn is_due(&self, peer: IpAddr, reason: &str, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logged.retain(|_, at| now.saturating_duration_since(*at) < EVERY);
        let key = (peer, reason.to_owned());
        if logged.len() >= MAX_LINES || logged.contains_key(&key) {
            return false;
        }
        logged.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_logged_once_a_minute_for_each_address_and_reason() {
        let (refusals, begin) = (Refusals::default(), Instant::now());
        let due = |address: u32, reason: &str, seconds: u64| {
            refusals.is_due(IpAddr::V4(address.into()), reason, begin + Duration::from_secs(seconds))
        };
        assert!(due(1, "expired", 0));
        assert!(!due(1, "expired", 1));
        assert!(due(2, "expired", 1) && due(1, "other", 1));
        // What is not logged does not put off the next line.
        assert!(!due(1, "expired", 59));
        assert!(due(1, "expired", 60));
        // A crowd gets so many lines and no more.
        assert_eq!((100..1000).filter(|&address| due(address, "expired", 130)).count(), MAX_LINES);
        assert!(due(1, "expired", 190));
    }
}
