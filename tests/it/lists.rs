//! Lists that are short for good, and lists that are longer than anything that is exported.

use std::ops::Range;

use btcpool_exporter::{
    client::{
        FetchError,
        paging::{ReadOptions, read_all},
    },
    clock::Clock,
    demand::Demand,
    store::Store,
    wire::Page,
};
use serde_json::{Value, json};
use wiremock::{Request, Respond, ResponseTemplate};

use crate::{
    answers::Polled,
    client::Asking,
    harness::{self, Pool, Running, number},
};

/// Serves numbered rows, and says that there are `total`.
struct Numbered {
    rows: Range<usize>,
    total: Value,
    row: fn(usize) -> Value,
}

impl Respond for Numbered {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let (offset, limit) = (number(request, "offset"), number(request, "limit"));
        let rows: Vec<_> = self.rows.clone().skip(offset).take(limit).map(self.row).collect();
        ResponseTemplate::new(200).set_body_json(json!({"status": "OK", "data": rows, "total": self.total}))
    }
}

fn worker(id: usize) -> Value {
    json!({"worker_id": id.to_string(), "worker_name": "w", "worker_status": "1"})
}

fn payment(id: usize) -> Value {
    json!({"payment_id": id.to_string(), "amount": "1", "created_time": (86_400 * id).to_string(), "address": "a"})
}

/// A pool with the published samples, but for one endpoint's list.
async fn pool_with(endpoint: &str, list: Numbered) -> Pool {
    let pool = Pool::start().await;
    pool.responds(endpoint, list).await;
    pool.answers_samples().await;
    pool
}

/// How many requests each of some polls makes of an endpoint.
async fn requests(pool: &Pool, endpoint: &str, polled: &Polled, polls: usize) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut before = 0;
    for _ in 0..polls {
        polled.poll().await;
        let now = pool.requests(endpoint).await.len();
        counts.push(now - before);
        before = now;
    }
    counts
}

#[tokio::test]
async fn a_list_short_for_good_is_read_once_a_poll() {
    let pool = pool_with("workers", Numbered { rows: 1..201, total: json!(202), row: worker }).await;
    let polled = Polled::new(harness::config(&pool.base_url(), &harness::one_account()), Clock::system());
    // Three pages: a hundred rows, a hundred, none.
    assert_eq!(requests(&pool, "workers", &polled, 4).await, [6, 3, 3, 3]);
    let series = polled.poll().await;
    assert_eq!((series["workers_listed"], series["workers_reported"]), (200.0, 202.0));
    // Every poll counts it.
    assert_eq!(polled.anomalies()["workers total"], 5);
}

#[tokio::test]
async fn a_history_short_for_good_is_read_once_a_poll() {
    // Payouts of 1970: each poll reads all of them, because the days that may still change are none of theirs.
    let pool = pool_with("payment_history", Numbered { rows: 1..101, total: json!(103), row: payment }).await;
    let polled = Polled::new(harness::config(&pool.base_url(), &harness::one_account()), Clock::system());
    assert_eq!(requests(&pool, "payment_history", &polled, 3).await, [4, 2, 2]);
}

#[tokio::test]
async fn another_shortage_is_read_again() {
    let pool = Pool::start().await;
    let polls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let poll = polls.clone();
    pool.responds("workers", move |request: &Request| {
        // The second poll finds the shortage of the first one, the third another one.
        let total = [202, 202, 203, 203][poll.load(std::sync::atomic::Ordering::SeqCst)];
        Numbered { rows: 1..201, total: json!(total), row: worker }.respond(request)
    })
    .await;
    pool.answers_samples().await;
    let polled = Polled::new(harness::config(&pool.base_url(), &harness::one_account()), Clock::system());
    let mut counts = Vec::new();
    for _ in 0..4 {
        let before = pool.requests("workers").await.len();
        polled.poll().await;
        counts.push(pool.requests("workers").await.len() - before);
        polls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
    assert_eq!(counts, [6, 3, 6, 3]);
}

#[tokio::test]
async fn a_list_longer_than_its_bound_is_cut() {
    // The bound is 20,000 rows. Without a total only a third page shows that there are more.
    for (total, pages, listed, dropped) in
        [(json!(1_000_000), 2, 1_000_000.0, 999_988.0), (json!(null), 3, 30_000.0, 29_988.0)]
    {
        let pool = pool_with("workers", Numbered { rows: 1..1_000_001, total, row: worker }).await;
        let accounts = format!("accounts: {{ farm: {{ api_key: {}, workers: {{ max: 12 }} }} }}", harness::KEY);
        let config = harness::config_with(&pool.base_url(), "page_size: 10000, concurrency: 1", &accounts);
        let polled = Polled::new(config, Clock::system());
        assert_eq!(requests(&pool, "workers", &polled, 2).await, [pages; 2]);
        let series = polled.poll().await;
        assert_eq!((series["workers_listed"], series["workers_dropped"]), (listed, dropped));
        assert_eq!(series.keys().filter(|name| name.starts_with("worker_active")).count(), 12);
        assert_eq!(series["up{endpoint=\"workers\"}"], 1.0);
        let wrong = polled.anomalies().contains_key("workers total");
        assert!(!wrong, "what was not read is no anomaly");
    }
}

#[tokio::test]
async fn a_list_of_just_the_bound_is_whole() {
    let pool = pool_with("workers", Numbered { rows: 1..20_001, total: json!(20_000), row: worker }).await;
    let accounts = format!("accounts: {{ farm: {{ api_key: {}, workers: {{ max: 12 }} }} }}", harness::KEY);
    let config = harness::config_with(&pool.base_url(), "page_size: 10000", &accounts);
    let polled = Polled::new(config, Clock::system());
    assert_eq!(requests(&pool, "workers", &polled, 1).await, [2]);
    let series = polled.poll().await;
    assert_eq!((series["workers_listed"], series["workers_dropped"]), (20_000.0, 19_988.0));
}

/// What the warning about the budget computes is what polls make.
#[tokio::test]
async fn the_demand_is_what_polls_make() {
    let config = harness::config("http://127.0.0.1:9/ru/api", &harness::one_account());
    assert_eq!(Demand::of(&config, &Store::new(&config)).live, 3);
    for (total, steady) in [(json!(200), 4), (json!(202), 5)] {
        let pool = pool_with("workers", Numbered { rows: 1..201, total, row: worker }).await;
        let config = harness::config(&pool.base_url(), &harness::one_account());
        let polled = Polled::new(config.clone(), Clock::system());
        polled.poll().await;
        for _ in 0..2 {
            let before = live_requests(&pool).await;
            polled.poll().await;
            assert_eq!(live_requests(&pool).await - before, steady);
            assert_eq!(Demand::of(&config, polled.store()).live, steady as u64);
        }
    }
}

/// The requests of the endpoints of the live interval.
async fn live_requests(pool: &Pool) -> usize {
    let mut count = 0;
    for endpoint in ["main_stat", "summary_data", "workers"] {
        count += pool.requests(endpoint).await.len();
    }
    count
}

#[tokio::test]
async fn a_list_without_pages_ends_although_rows_are_unreadable() {
    let pool = Pool::start().await;
    let rows = [json!(null), worker(1), json!({}), worker(2)];
    pool.answers("workers", json!({"status": "OK", "data": rows}).to_string()).await;
    pool.answers_samples().await;
    let polled = Polled::new(harness::config(&pool.base_url(), &harness::one_account()), Clock::system());
    assert_eq!(requests(&pool, "workers", &polled, 1).await, [2]);
    let series = polled.poll().await;
    assert_eq!((series["up{endpoint=\"workers\"}"], series["workers_listed"]), (1.0, 2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_list_is_logged() {
    let pool = pool_with("workers", Numbered { rows: 1..1_000_001, total: json!(1_000_000), row: worker }).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("btcpool.yml");
    let accounts = format!("accounts: {{ farm: {{ api_key: {}, workers: {{ max: 12 }} }} }}", harness::KEY);
    let api = format!("api: {{ base_url: \"{}\", page_size: 10000, requests_per_second: 1000 }}", pool.base_url());
    std::fs::write(&file, format!("{api}\n{accounts}\n")).unwrap();
    let command = harness::program(&["once", "--config.file", file.to_str().unwrap()]);
    let (code, text, log) = harness::run(command);
    assert_eq!(code, Some(0), "{log}");
    assert!(text.contains("btcpool_account_workers_dropped{account=\"farm\",currency=\"BTC\"} 999988\n"), "{text}");
    let line = log.lines().find(|line| line.contains("longer than workers.max")).unwrap_or_else(|| panic!("{log}"));
    for part in ["level=warn", "account=farm", "currency=BTC", "reported=1000000", "read=20000", "max=12"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn a_raised_maximum_reads_more() {
    let pool = pool_with("workers", Numbered { rows: 1..100_001, total: json!(100_000), row: worker }).await;
    let base_url = pool.base_url();
    let config = move |max: usize| {
        let accounts = format!("accounts: {{ farm: {{ api_key: {}, workers: {{ max: {max} }} }} }}", harness::KEY);
        harness::config_with(&base_url, "page_size: 10000", &accounts)
    };
    let raised = config(15_000);
    let running = Running::builder(config(12)).load(move || Ok(raised.clone())).start().await;
    let dropped = |count: usize| format!("workers_dropped{{account=\"farm\",currency=\"BTC\"}} {count}\n");
    running.until("/metrics", |_, text| text.contains(&dropped(99_988))).await;
    let read = |requests: &[Request]| requests.iter().map(|request| number(request, "offset")).max().unwrap();
    assert_eq!(read(&pool.requests("workers").await), 10_000);
    running.reload().await.unwrap();
    running.until("/metrics", |_, text| text.contains(&dropped(85_000))).await;
    let begin = std::time::Instant::now();
    while read(&pool.requests("workers").await) < 20_000 {
        assert!(begin.elapsed() < harness::PATIENCE, "the list is read as before");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_history_of_too_many_rows_is_refused() {
    let row = |id: usize| json!({"payment_id": id.to_string()});
    let pool = pool_with("payment_history", Numbered { rows: 1..200_002, total: json!(200_001), row }).await;
    let asking = Asking::with(&pool.base_url(), "page_size: 10000");
    let error = asking.client.payment_history(&asking.target, &asking.key, None).await.unwrap_err();
    assert_eq!(error, FetchError::TooLong("it has more than 200000 rows".to_owned()));
    assert_eq!(pool.requests("payment_history").await.len(), 20);
}

#[tokio::test]
async fn reading_stops_at_the_bound_or_the_end() {
    // Of a list of 1000 rows, in pages of 100: the total, the bound, the rows that came, whether it was cut, the pages.
    for (total, max_rows, received, is_cut, pages) in [
        (Some(1000), 1000, 1000, false, 10),
        (Some(1000), 999, 1000, false, 10),
        (Some(1000), 950, 1000, false, 10),
        (Some(1000), 900, 900, true, 9),
        (Some(1000), 1, 100, true, 1),
        (Some(2000), 1000, 1000, true, 10),
        (Some(450), 700, 800, true, 8),
        (None, 1000, 1000, false, 11),
        (None, 999, 1000, true, 10),
        (None, 300, 400, true, 4),
    ] {
        let fetch = |offset: usize, _| async move {
            let rows = (offset..(offset + 100).min(1000).max(offset)).map(|row| Some((row, ()))).collect();
            Ok(Page { rows, total, without_objects: None })
        };
        let options = ReadOptions { page_size: 100, concurrency: 1, max_rows, known_missing: 0 };
        let listing = read_all(fetch, options).await.unwrap();
        let found = (listing.received(), listing.is_cut, listing.pages);
        assert_eq!(found, (received, is_cut, pages), "{total:?} {max_rows}");
        let outstanding = total.unwrap_or(0).saturating_sub(received);
        let expected = if is_cut { (0, outstanding) } else { (outstanding, 0) };
        assert_eq!((listing.missing(), listing.not_read()), expected, "{total:?} {max_rows}");
    }
}
