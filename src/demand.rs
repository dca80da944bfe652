//! How much polling asks of the pool, against what the request budget allows.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    config::{Api, Config, duration_text},
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
    /// Whether a list came in more than one page.
    has_pages: bool,
    /// Accounts that are polled.
    accounts: usize,
}

impl Demand {
    /// Reckons with the pages that each list of workers came in last, and with one where none came yet.
    pub fn of(config: &Config, store: &Store) -> Self {
        let pages = |workers: &Slot<Workers>| {
            let good = workers.snapshot().good;
            good.map_or(1, |good| good.value.pages.max(1) as u64)
        };
        let (mut live, mut history, mut has_pages) = (1, 0, false);
        for slots in store.targets.values() {
            let pages = slots.workers.as_ref().map_or(0, pages);
            has_pages |= pages > 1;
            live += 1 + pages;
            history += 2;
        }
        let polling = &config.polling;
        let per_second =
            live as f64 / polling.live.interval.as_secs_f64() + history as f64 / polling.history.interval.as_secs_f64();
        let accounts: BTreeSet<_> = store.targets.keys().map(|target| &target.account).collect();
        Self { live, history, per_second, has_pages, accounts: accounts.len() }
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
        let histories = match self.history {
            0 => String::new(),
            requests => format!(" and {requests} every {}", duration_text(history)),
        };
        let mut ways = Vec::new();
        if needed <= 1000.0 {
            ways.push(format!("set api.requests_per_second to {needed}"));
        }
        ways.push(format!(
            "lengthen polling.live.interval to {} and the other durations of polling in proportion",
            duration_text(longer)
        ));
        if self.has_pages && config.api.page_size < Api::LARGEST_PAGE {
            ways.push("raise api.page_size".to_owned());
        }
        if self.accounts > 1 {
            ways.push("divide the accounts (shard)".to_owned());
        }
        Some(format!(
            "polling needs {} request{} every {}{histories}, {:.2} a second, but api.requests_per_second allows {allowed}, \
             so that data will be older than the interval: {}",
            self.live,
            if self.live == 1 { "" } else { "s" },
            duration_text(live),
            self.per_second,
            ways.join(", or ")
        ))
    }
}
