//! How much polling asks of the pool, against what the request budget allows.

use std::time::Duration;

use crate::{
    config::{Config, duration_text},
    store::{Slot, Store},
    wire::Workers,
};

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
        let rate =
            if needed <= 1000.0 { format!("set api.requests_per_second to {needed}, or ") } else { String::new() };
        Some(format!(
            "polling needs {} requests every {} and {} every {}, {:.2} a second, but api.requests_per_second allows \
             {allowed}, so that data will be older than the interval: {rate}lengthen polling.live.interval to {} and the \
             other durations of polling in proportion, or raise api.page_size, or divide the accounts (shard)",
            self.live,
            duration_text(live),
            self.history,
            duration_text(history),
            self.per_second,
            duration_text(longer),
        ))
    }
}
