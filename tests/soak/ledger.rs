//! What the pool saw.

use std::collections::BTreeMap;

use crate::{support::pool::faulty::FaultyPool, watch::Scrape};

/// Requests that came, by endpoint and whose key came along.
#[derive(Default)]
pub struct Ledger {
    requests: BTreeMap<(String, Option<String>), u64>,
}

impl Ledger {
    /// Takes up what came since the last time.
    pub fn take(&mut self, pool: &FaultyPool) {
        for asked in pool.take_requests() {
            *self.requests.entry((asked.endpoint, asked.account)).or_default() += 1;
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    /// Holds what the exporter counted against it. Polls of one account are not compared: they leave with it.
    pub fn compare(&self, scrape: &Scrape, but: &str) -> Result<(), String> {
        let mut seen = BTreeMap::new();
        for ((endpoint, _), count) in &self.requests {
            *seen.entry(endpoint.clone()).or_default() += count;
        }
        let counted = scrape.requests();
        if counted != seen {
            return Err(format!("the pool saw {seen:?}, counted were {counted:?}"));
        }
        // A poll of these is one request.
        let single = |endpoint: &str| ["main_stat", "summary_data"].contains(&endpoint);
        let mine = |(endpoint, account): &(String, Option<String>)| single(endpoint) && account.as_deref() != Some(but);
        let seen: BTreeMap<_, _> = self.requests.clone().into_iter().filter(|(slot, _)| mine(slot)).collect();
        let polls: BTreeMap<_, _> = scrape.polls().into_iter().filter(|(slot, _)| mine(slot)).collect();
        if polls != seen {
            return Err(format!("the pool saw {seen:?}, polls are {polls:?}"));
        }
        Ok(())
    }
}
