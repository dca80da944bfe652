//! A pool that answers at once, or after a time: accounts of as many workers each, whose figures are others in each round.

#![allow(dead_code, reason = "each benchmark uses another part")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Query, http::HeaderMap, routing::get};
use btcpool_exporter::server;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How many workers come on a page.
pub const PAGE: usize = 100;

/// A page of a list of `total` workers, from `offset` on, in the pool's own form. The figures follow from the round.
///
/// The fields stay as they are, so that what is measured is the same from version to version. One that is read and is
/// not among them is counted as an anomaly, of which nothing here takes notice.
pub fn page(account: usize, offset: usize, total: usize, round: usize) -> String {
    let rows: Vec<_> = (offset..total.min(offset + PAGE))
        .map(|n| {
            let hashrate = |window: usize| {
                140_000_000_000_000 + (n * 7919 + round * 104_729 + window * 31) % 10_000_000 * 1_000_003
            };
            format!(
                r#"{{"hashrate_10min":"{}","hashrate_1hour":"{}","hashrate_24hour":"{}","last_active":"{}","reject_rate":"0.{:08}","worker_id":"{}","worker_name":"rack{:03}-s19-{:03}","worker_status":"1"}}"#,
                hashrate(1),
                hashrate(2),
                hashrate(3),
                1_709_571_000 + round,
                (n * 37 + round) % 1_000_000,
                24_000_000 + account * 10_000 + n,
                account * 100 + n / 100,
                n % 100
            )
        })
        .collect();
    format!(
        r#"{{"status":"OK","data":[{}],"count":{},"offset":{offset},"limit":{PAGE},"total":{total}}}"#,
        rows.join(","),
        rows.len()
    )
}

/// A pool that is served.
#[derive(Clone)]
pub struct Pool {
    /// Where.
    pub address: SocketAddr,
    /// How many workers an account has.
    pub workers: Arc<AtomicUsize>,
    /// How long each answer takes, in milliseconds.
    pub delay: Arc<AtomicU64>,
    /// Requests for pages of workers.
    pub asked: Arc<AtomicUsize>,
}

impl Pool {
    /// Serves one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pool = Self { address, workers: Arc::default(), delay: Arc::default(), asked: Arc::default() };
        let answer = {
            let pool = pool.clone();
            async move |Query(query): Query<Vec<(String, String)>>, headers: HeaderMap| {
                pool.answer(query, headers).await
            }
        };
        let router = Router::new().route("/ru/api", get(answer));
        tokio::spawn(server::serve(listener, router, CancellationToken::new()));
        pool
    }

    async fn answer(self, query: Vec<(String, String)>, headers: HeaderMap) -> String {
        let of = |name: &str| query.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value);
        let delay = Duration::from_millis(self.delay.load(Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match of("method") {
            "workers" => {
                let asked = self.asked.fetch_add(1, Ordering::Relaxed);
                let key = headers.get("x-api-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
                let account = usize::from_str_radix(key.get(6..).unwrap_or_default(), 16).unwrap_or_default();
                page(account, of("offset").parse().unwrap_or_default(), self.workers.load(Ordering::Relaxed), asked)
            }
            "main_stat" => r#"{"status":"OK","data":{"BTC":{"miners":"1","fee":"1.5","poolHs":"1","networkHs":"1","networkDiff":"1"}}}"#.to_owned(),
            "summary_data" => r#"{"status":"OK","data":{"active_workers":"200","unactive_workers":"0","hashrate_10min":"28000000000000000","hashrate_1hour":"28000000000000000","hashrate_24hour":"28000000000000000","balance":"0.01234567"}}"#.to_owned(),
            _ => r#"{"status":"OK","data":[],"total":"0"}"#.to_owned(),
        }
    }
}

/// A configuration for so many accounts of it.
pub fn configuration(address: SocketAddr, accounts: usize, live: &str) -> String {
    let accounts: String = (0..accounts).map(|n| format!("  farm_{n:03}: {{ api_key: 0a1b2c{n:04x} }}\n")).collect();
    format!(
        "api: {{ base_url: http://{address}/ru/api, concurrency: 8, requests_per_second: 1000 }}\n\
         polling:\n  live: {{ interval: {live}, stale_after: 5h }}\n  history: {{ interval: 1h, stale_after: 5h }}\n\
         accounts:\n{accounts}"
    )
}
