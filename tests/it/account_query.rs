//! `?account=` with many accounts and the longest query that fits a request's header.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, http::Request};
use btcpool_exporter::{
    Exporter,
    clock::Clock,
    server::{self, App},
};
use rustix::time::{ClockId, clock_gettime};
use tower::ServiceExt as _;

use crate::harness;

/// The longest header that the server reads.
const HEADER_BYTES: usize = 16 * 1024;

/// The handlers of an exporter with so many accounts; nothing is polled.
fn exporter(accounts: usize) -> Router {
    let accounts: String = (0..accounts).map(|n| format!("  {}: {{ api_key: 0a1b2c{n} }}\n", name(n))).collect();
    let config = harness::config("http://127.0.0.1:1", &format!("accounts:\n{accounts}"));
    let Exporter { config, store, telemetry, clock, poller, .. } = Exporter::new(config, Clock::system()).unwrap();
    server::router(Arc::new(App::new(config, store, telemetry, clock, poller.budget().clone(), None)))
}

/// Short names, so that many fit a query.
fn name(number: usize) -> String {
    format!("z{number:x}")
}

/// A query that names accounts, as many as fit.
fn query(names: impl Iterator<Item = String>) -> String {
    let mut query = String::new();
    for name in names {
        let parameter = format!("account={name}&");
        if query.len() + parameter.len() > HEADER_BYTES {
            break;
        }
        query += &parameter;
    }
    query
}

/// How much CPU time of the runtime's thread an answer takes, how much time it takes in all, and its accounts.
async fn cost(router: &Router, query: &str) -> (Duration, Duration, usize) {
    let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let request = Request::get(format!("/metrics?{query}")).body(Body::empty()).unwrap();
    let (before, begin) = (cpu(), Instant::now());
    let response = router.clone().oneshot(request).await.unwrap();
    let (cpu, took) = (cpu() - before, begin.elapsed());
    assert_eq!(response.status(), 200);
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (cpu, took, text.matches("\nbtcpool_account_info{").count())
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are what one wants to see of this test")]
async fn account_query_is_cheap_on_the_runtime_thread() {
    const ACCOUNTS: usize = 2000;
    let router = exporter(ACCOUNTS);
    let last = ACCOUNTS - 1;
    let queries = [
        ("one account, repeated", query(std::iter::repeat_with(|| name(last))), Some(1)),
        ("many accounts", query((0..ACCOUNTS).map(name)), None),
    ];
    for (what, query, expected) in queries {
        let named = query.matches("account=").count();
        let (cpu, took, answered) = cost(&router, &query).await;
        println!("{what}: {named} parameters, {cpu:?} on the runtime's thread, {took:?} in all");
        assert_eq!(answered, expected.unwrap_or(named), "{what}");
        // Some 10 ms where it is debug code; a hash for each pair of parameter and account takes seconds.
        assert!(cpu < Duration::from_millis(200), "{what}: {cpu:?}");
    }
}
