//! A simulated pool: farms whose figures follow from the time and a seed, behind a real HTTP server that speaks the
//! pool's API. The exporter polls it as it polls the real one; nothing is short-circuited.

mod api;
mod farm;
mod history;

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::Router;

pub use farm::{Account, Farm, Holding, Incident, Machine, Trouble};

use crate::clock::Clock;

/// The simulated pool. Cloning shares it.
#[derive(Clone, Debug)]
pub struct SimulatedPool {
    farm: Arc<Farm>,
    clock: Clock,
}

impl SimulatedPool {
    /// A pool whose machines and noise follow from `seed`, and whose time is that of `clock`.
    pub fn new(seed: u64, clock: Clock) -> Self {
        Self::of(Farm::new(seed, clock.now()), clock)
    }

    /// A pool where others mine.
    pub fn of(farm: Farm, clock: Clock) -> Self {
        Self { farm: Arc::new(farm), clock }
    }

    /// Who mines there.
    pub fn farm(&self) -> &Farm {
        &self.farm
    }

    /// The API under `/ru/api`.
    pub fn router(&self) -> Router {
        api::router(self.clone())
    }

    /// Where the API is when it is served at an address.
    pub fn base_url(&self, address: SocketAddr) -> String {
        format!("http://{address}/ru/api")
    }

    /// A configuration for an exporter of it, in the configuration file's form. The intervals are short, so that there
    /// is something to see, and the shorter the faster the pool's time runs.
    pub fn configuration(&self, base_url: &str, speed: f64) -> String {
        let seconds = |interval: f64| (interval / speed.max(1.0)).max(1.0).round();
        let (live, history) = (seconds(15.0), seconds(60.0));
        let mut yaml = format!(
            "api: {{ base_url: {base_url}, concurrency: 8, requests_per_second: 100 }}\n\
             polling:\n  live: {{ interval: {live}s, stale_after: {}s }}\n  \
             history: {{ interval: {history}s, stale_after: {}s }}\n\
             accounts:\n",
            live * 5.0,
            history * 8.0,
        );
        for account in &self.farm.accounts {
            let currencies: Vec<_> = account.holdings.iter().map(|holding| holding.currency.as_str()).collect();
            let expected: Vec<_> = (account.holdings.iter())
                .map(|holding| format!("{}: {} TH/s", holding.currency, holding.nominal_hashrate() / 1e12))
                .collect();
            yaml += &format!(
                "  {}:\n    api_key: \"{}\"\n    currencies: [{}]\n    labels: {{ site: {}, client: {} }}\n    \
                 expected_hashrate: {{ {} }}\n",
                account.name,
                account.key,
                currencies.join(", "),
                account.site,
                account.client,
                expected.join(", "),
            );
        }
        yaml
    }
}

impl fmt::Display for SimulatedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holdings = || self.farm.accounts.iter().flat_map(|account| &account.holdings);
        let machines: usize = holdings().map(|holding| holding.machines.len()).sum();
        write!(f, "{} accounts and {machines} workers", self.farm.accounts.len())
    }
}
