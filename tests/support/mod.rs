//! What the test targets share. Each target includes it once: `#[path = "../support/mod.rs"] mod support;`.
//!
//! | module | content |
//! |---|---|
//! | `exporter` | the exporter in this process: a builder, scrapes, reloads |
//! | `program` | the exporter, or any other program, as a process: its log, signals, exit code, memory |
//! | `pool` | pools: `mock` (wiremock), `simulated` (well-behaved), `faulty` (broken on purpose), and a `reader` of the API |
//! | `catalogue` | every fault of the pool, and what the exporter shows of it |
//! | `parser` | a strict parser of both exposition formats |
//! | `golden` | comparison with files, and `UPDATE=1`, which writes them |
//! | `certificates` | a certificate authority for one test run |
//! | `web_files` | the files that the web configurations in `tests/fixtures` refer to |
//! | `noon` | a time of the simulated pool that is far from midnight |

pub mod catalogue;
pub mod certificates;
pub mod exporter;
pub mod golden;
pub mod noon;
pub mod parser;
pub mod pool;
pub mod program;
pub mod web_files;

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// The deadline of everything that should happen at once. Long, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The interval between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Polls a condition until it yields a value. Panics with `state` after [`PATIENCE`].
pub async fn until<T, S: Display>(
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
    state: impl FnOnce() -> S,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}:\n{}", state());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A client that uses no proxy and keeps no idle connection, which the server might close at any time.
pub fn http() -> reqwest::Client {
    http_builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap()
}

/// A builder of clients that use no proxy.
pub fn http_builder() -> reqwest::ClientBuilder {
    // Fails if another test was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}
