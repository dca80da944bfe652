//! A simulated pool without faults, on a thread of its own.

use std::{net::TcpListener, thread};

use btcpool_exporter::{
    clock::Clock,
    demo::{Farm, SimulatedPool},
    server,
};
use tokio_util::sync::CancellationToken;

/// The seed of every simulated pool of the tests, and of `demo` where they start it.
pub const SEED: u64 = 7;

/// A simulated pool of accounts with a few machines each, whose time stands still long ago: no day begins in the middle
/// of a test, and what it says once it says always. It runs on a thread of its own, so that a test that waits for a
/// program does not hold it up, and ends when this is dropped.
pub struct Pool {
    pub base_url: String,
    shutdown: CancellationToken,
}

impl Pool {
    /// Accounts are a name, which has [`key`], and how many machines mine BTC.
    pub fn start(accounts: &[(&str, usize)]) -> Self {
        let noon = "2024-05-05T04:00:00Z".parse().unwrap();
        let accounts = accounts.iter().map(|&(name, machines)| (name.to_owned(), key(name), machines));
        let pool = SimulatedPool::of(Farm::of(SEED, noon, accounts), Clock::simulated(noon, 0.0));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let base_url = pool.base_url(listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let end = shutdown.clone();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                server::serve(tokio::net::TcpListener::from_std(listener).unwrap(), pool.router(), end).await;
            });
        });
        Self { base_url, shutdown }
    }

    /// The beginning of a configuration that asks this pool, every second unless it is about history.
    pub fn configuration(&self) -> String {
        format!(
            "api: {{ base_url: \"{}\", concurrency: 8, requests_per_second: 1000, timeout: 60s }}\n\
             polling:\n  live: {{ interval: 1s, stale_after: 1h }}\n  history: {{ interval: 1h, stale_after: 2h }}\n",
            self.base_url
        )
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The key of an account of [`Pool`]; made up.
pub fn key(account: &str) -> String {
    account.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join("-")
}
