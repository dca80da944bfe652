//! How long a complete poll of 10,000 workers takes against a pool that needs 50 ms for each request.
//!
//! `cargo bench --bench poll` prints the rounds, their median, and what the round trips alone would take.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks, and may fail")]

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::Query, routing::get};
use btcpool_exporter::{
    budget::Budget,
    client::PoolClient,
    clock::Clock,
    config::{Config, Overrides},
    server,
    telemetry::Telemetry,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const WORKERS: usize = 10_000;
const PAGE: usize = 100;
const CONCURRENCY: usize = 8;
const ROUND_TRIP: Duration = Duration::from_millis(50);
const ROUNDS: usize = 7;

async fn page(Query(parameters): Query<HashMap<String, String>>) -> String {
    let number = |name: &str| parameters[name].parse::<usize>().unwrap();
    let rows: Vec<_> = (number("offset")..WORKERS.min(number("offset") + number("limit")))
        .map(|n| {
            format!(
                r#"{{"hashrate_10min":"14{n}00000000","hashrate_1hour":"141{n}0000000","hashrate_24hour":"139{n}0000000","last_active":"1709571000","reject_rate":"0.00120000","worker_id":"{}","worker_name":"h1-r{:03}-p{:03}","worker_status":"1"}}"#,
                24_000_000 + n,
                n / 100,
                n % 100
            )
        })
        .collect();
    let data = rows.join(",");
    tokio::time::sleep(ROUND_TRIP).await;
    format!(r#"{{"status":"OK","data":[{data}],"count":{},"total":{WORKERS}}}"#, rows.len())
}

#[tokio::main]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/ru/api", get(page));
    tokio::spawn(server::serve(listener, router, CancellationToken::new()));
    let yaml = format!(
        "api: {{ base_url: http://{address}/ru/api, concurrency: {CONCURRENCY}, requests_per_second: 1000 }}\n\
         accounts: {{ farm: {{ api_key: 0a1b2c }} }}"
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
        let workers = client.workers(&target, &account.key).await.unwrap();
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
