//! How long a complete poll of 10,000 workers takes against a pool that needs 50 ms for each request.
//!
//! `cargo bench --bench poll` prints the rounds, their median, and what the round trips alone would take.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks, and may fail")]

mod pool;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use btcpool_exporter::{
    budget::Budget,
    client::PoolClient,
    clock::Clock,
    config::{Config, Overrides},
    telemetry::Telemetry,
};
use pool::{PAGE, Pool};

const WORKERS: usize = 10_000;
const CONCURRENCY: usize = 8;
const ROUND_TRIP: Duration = Duration::from_millis(50);
const ROUNDS: usize = 7;

#[tokio::main]
async fn main() {
    let pool = Pool::start().await;
    pool.workers.store(WORKERS, Ordering::Relaxed);
    pool.delay.store(ROUND_TRIP.as_millis() as u64, Ordering::Relaxed);
    let yaml = format!(
        "api: {{ base_url: http://{}/ru/api, concurrency: {CONCURRENCY}, requests_per_second: 1000 }}\n\
         accounts: {{ farm: {{ api_key: 0a1b2c }} }}",
        pool.address
    );
    let config = Config::from_yaml("bench", &yaml, &Overrides::default()).unwrap();
    let (target, account) = config.targets().next().unwrap();
    let budget = Arc::new(Budget::new(config.api.concurrency, config.api.requests_per_second));
    let telemetry = Arc::new(Telemetry::new(Clock::system().now()));
    let client = PoolClient::new(config.api.clone(), budget, telemetry, Clock::system()).unwrap();

    let pages = WORKERS.div_ceil(PAGE) as f64;
    let round_trips = ROUND_TRIP.as_secs_f64() * (1.0 + (pages - 1.0) / CONCURRENCY as f64);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let workers = client.workers(&target, &account.key, usize::MAX).await.unwrap();
        rounds.push(begin.elapsed().as_secs_f64());
        assert_eq!(workers.list.len(), WORKERS);
    }
    rounds.sort_by(f64::total_cmp);
    let median = rounds[ROUNDS / 2];
    println!("{WORKERS} workers, {PAGE} a page, {ROUND_TRIP:?} a request, concurrency {CONCURRENCY}");
    println!("rounds       {}", rounds.iter().map(|r| format!("{r:.3}")).collect::<Vec<_>>().join(" "));
    println!("median       {median:.3} s");
    println!("round trips  {round_trips:.3} s");
    println!("ratio        {:.2}", median / round_trips);
}
