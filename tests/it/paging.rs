//! Lists that come in pages, from servers that are honest, short, forgetful, or lying.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use btcpool_exporter::{
    client::{
        FetchError,
        paging::{Listing, MAX_PAGES, ReadOptions, read_all},
    },
    model::Reason,
    wire::Page,
};
use serde_json::{Value, json};
use wiremock::{Request, Respond, ResponseTemplate};

use crate::{
    client::Asking,
    harness::{self, Pool, number},
};

/// A list of workers with ids from 1 on, newest first, which may change with each request.
#[derive(Clone)]
struct List {
    ids: Arc<Mutex<Vec<u64>>>,
    requests: Arc<AtomicUsize>,
    /// What the pool says `total` is, given the truth.
    total: fn(usize) -> Value,
    /// The rows at an offset, given the list, the offset, and the limit.
    rows: fn(&[u64], usize, usize) -> Vec<u64>,
    /// What happens to the list after so many requests.
    then: fn(&mut Vec<u64>, usize),
}

impl List {
    fn of(workers: u64) -> Self {
        Self {
            ids: Arc::new(Mutex::new((1..=workers).rev().collect())),
            requests: Arc::default(),
            total: |total| json!(total),
            rows: |ids, offset, limit| ids.iter().copied().skip(offset).take(limit).collect(),
            then: |_, _| {},
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Respond for List {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut ids = self.ids.lock().unwrap();
        let (offset, limit) = (number(request, "offset"), number(request, "limit"));
        let rows = (self.rows)(&ids, offset, limit);
        let data: Vec<_> = rows.iter().map(|id| json!({"worker_id": id.to_string(), "worker_name": "w"})).collect();
        // The echo is wrong on purpose: the published samples' is, too.
        let mut body = json!({"status": "OK", "data": data, "count": 1, "offset": 5, "limit": 10});
        body["total"] = (self.total)(ids.len());
        if body["total"] == json!("missing") {
            body.as_object_mut().unwrap().remove("total");
        }
        (self.then)(&mut ids, self.requests.fetch_add(1, Ordering::SeqCst) + 1);
        ResponseTemplate::new(200).set_body_json(body)
    }
}

/// Reads the list as workers; the ids, the reported total, the requests made, and how often `total` was an anomaly.
async fn read(list: List, page_size: usize, concurrency: usize) -> (BTreeSet<u64>, Option<u64>, usize, u64) {
    let pool = Pool::start().await;
    pool.responds("workers", list.clone()).await;
    let asking = Asking::with(&pool.base_url(), &format!("page_size: {page_size}, concurrency: {concurrency}"));
    let workers = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap();
    let ids: BTreeSet<u64> = workers.list.iter().map(|worker| worker.id.as_str().parse().unwrap()).collect();
    assert_eq!(ids.len(), workers.list.len(), "a worker is listed twice");
    let total = asking.anomalies().into_iter().find(|(field, _)| field == "workers total").map_or(0, |(_, n)| n);
    (ids, workers.reported, list.requests(), total)
}

fn ids(range: std::ops::RangeInclusive<u64>) -> BTreeSet<u64> {
    range.collect()
}

#[tokio::test]
async fn sequential_client_reads_page_by_page() {
    const DELAY: Duration = Duration::from_millis(100);
    let pool = Pool::start().await;
    let (list, asked) = (List::of(60), Arc::new(Mutex::new(Vec::new())));
    let seen = asked.clone();
    pool.responds("workers", move |request: &Request| {
        seen.lock().unwrap().push(Instant::now());
        list.respond(request).set_delay(DELAY)
    })
    .await;
    let asking = Asking::with(&pool.base_url(), "page_size: 10, concurrency: 4");
    asking.client.careful().workers(&asking.target, &asking.key, usize::MAX).await.unwrap();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 6);
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= DELAY), "{asked:?}");
}

#[tokio::test]
async fn all_of_1234_workers_at_50_a_page() {
    let pool = Pool::start().await;
    pool.responds("workers", List::of(1234)).await;
    let asking = Asking::with(&pool.base_url(), "page_size: 50, concurrency: 4");
    let workers = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap();
    let listed: Vec<u64> = workers.list.iter().map(|worker| worker.id.as_str().parse().unwrap()).collect();
    assert_eq!(listed, (1..=1234).collect::<Vec<_>>());
    assert_eq!(workers.reported, Some(1234));
    // Nothing but ids and names is told of them.
    let missing: BTreeMap<_, _> = harness::worker_figures().map(|field| (format!("workers {field}"), 1234)).collect();
    assert_eq!(asking.anomalies().into_iter().collect::<BTreeMap<_, _>>(), missing);
    let mut offsets: Vec<_> = pool.requests("workers").await.iter().map(|request| number(request, "offset")).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..25).map(|page| page * 50).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_page_is_one_request() {
    assert_eq!(read(List::of(50), 50, 4).await, (ids(1..=50), Some(50), 1, 0));
    assert_eq!(read(List::of(0), 50, 4).await, (BTreeSet::new(), Some(0), 1, 0));
}

#[tokio::test]
async fn smaller_pages_are_accepted() {
    let list = List { rows: |ids, offset, _| ids.iter().copied().skip(offset).take(30).collect(), ..List::of(202) };
    assert_eq!(read(list, 100, 4).await, (ids(1..=202), Some(202), 7, 0));
}

#[tokio::test]
async fn short_page_is_filled() {
    // Every page after the first lacks its last rows.
    let rows = |ids: &[u64], offset: usize, limit: usize| {
        ids.iter().copied().skip(offset).take(if offset == 0 { limit } else { limit * 2 / 3 }).collect()
    };
    let (found, reported, requests, anomalies) = read(List { rows, ..List::of(500) }, 90, 4).await;
    assert_eq!((found, reported, anomalies), (ids(1..=500), Some(500), 0));
    assert!(requests < 20, "{requests}");
}

#[tokio::test]
async fn ignored_offset_ends_the_list() {
    let list = List { rows: |ids, _, limit| ids.iter().copied().take(limit).collect(), ..List::of(1000) };
    let (found, reported, requests, anomalies) = read(list, 100, 4).await;
    assert_eq!((found, reported, anomalies), (ids(901..=1000), Some(1000), 1));
    // Twice: rows are missing at the end, so that it is read once more. Never for ever.
    assert!(requests <= 2 * (1 + 4 + 4), "{requests}");
}

#[tokio::test]
async fn the_total_may_be_too_small() {
    // A page brings more rows than there can be, so that the total proves nothing; only an empty page does.
    let list = List { total: |_| json!(7), ..List::of(230) };
    assert_eq!(read(list, 100, 4).await, (ids(1..=230), Some(7), 4, 1));
    let zero = List { total: |_| json!(0), ..List::of(30) };
    assert_eq!(read(zero, 100, 4).await, (ids(1..=30), Some(0), 2, 1));
}

#[tokio::test]
async fn the_total_may_be_too_large() {
    let list = List { total: |total| json!(total + 2), ..List::of(202) };
    assert_eq!(read(list, 100, 4).await, (ids(1..=202), Some(204), 8, 1));
    let (found, reported, requests, anomalies) =
        read(List { total: |_| json!(1_u64 << 53), ..List::of(202) }, 100, 4).await;
    assert_eq!((found, reported, anomalies), (ids(1..=202), Some(1 << 53), 1));
    assert!(requests <= 20, "{requests}");
}

#[tokio::test]
async fn the_total_may_be_missing_or_unreadable() {
    for (total, anomalies) in
        [(json!("missing"), 4), (json!(null), 0), (json!(-1), 4), (json!("many"), 4), (json!(true), 4)]
    {
        // A function pointer carries nothing, so that the odd totals travel by name.
        let list = match total {
            Value::Null => List { total: |_| json!(null), ..List::of(202) },
            Value::Bool(_) => List { total: |_| json!(true), ..List::of(202) },
            Value::Number(_) => List { total: |_| json!(-1), ..List::of(202) },
            ref text if text == "many" => List { total: |_| json!("many"), ..List::of(202) },
            _ => List { total: |_| json!("missing"), ..List::of(202) },
        };
        // Three pages and the empty one that proves the end.
        assert_eq!(read(list, 100, 4).await, (ids(1..=202), None, 4, anomalies), "{total}");
    }
    let text = List { total: |total| json!(total.to_string()), ..List::of(202) };
    assert_eq!(read(text, 100, 4).await, (ids(1..=202), Some(202), 3, 0));
}

#[tokio::test]
async fn added_worker_during_paging_loses_none() {
    // One after another, so that the second page is asked for after the shift.
    let then = |ids: &mut Vec<u64>, requests: usize| {
        if requests == 1 {
            ids.insert(0, 9999);
        }
    };
    let mut expected = ids(1..=250);
    expected.insert(9999);
    let (found, reported, requests, anomalies) = read(List { then, ..List::of(250) }, 100, 1).await;
    assert_eq!((found, reported, anomalies), (expected, Some(251), 0));
    assert_eq!(requests, 6);
}

#[tokio::test]
async fn removed_worker_during_paging_loses_none() {
    // Were the list read once, the row that slides over the page's edge would be missed, and the count would still fit.
    let then = |ids: &mut Vec<u64>, requests: usize| {
        if requests == 1 {
            ids.retain(|&id| id != 245);
        }
    };
    let mut expected = ids(1..=250);
    expected.remove(&245);
    let (found, reported, requests, anomalies) = read(List { then, ..List::of(250) }, 100, 1).await;
    assert_eq!((found, reported, anomalies), (expected, Some(249), 0));
    assert_eq!(requests, 6);
}

#[tokio::test]
async fn unstable_list_is_read_twice() {
    let then = |ids: &mut Vec<u64>, requests: usize| ids.insert(0, 10_000 + requests as u64);
    let (found, _, requests, _) = read(List { then, ..List::of(250) }, 100, 1).await;
    assert!(found.is_superset(&ids(1..=250)), "a worker that was always there is missing");
    assert!(requests <= 8, "{requests}");
}

#[tokio::test]
async fn endless_list_is_given_up() {
    let rows = |_: &[u64], offset: usize, limit: usize| (0..limit).map(|n| (offset + n) as u64).collect();
    let list = List { rows, total: |_| json!(null), ..List::of(0) };
    let pool = Pool::start().await;
    pool.responds("workers", list.clone()).await;
    // The request budget of the tests, 1000 a second, is what this takes its time for.
    let asking = Asking::with(&pool.base_url(), "page_size: 1");
    let error = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap_err();
    let told = format!("it does not end within {MAX_PAGES} pages; raise api.page_size");
    assert_eq!(error, FetchError::TooLong(told));
    assert_eq!(list.requests(), MAX_PAGES + 1);

    // Where the pool gives fewer rows than it is asked for, asking for more would help nobody.
    let one_row = List { rows: |_, offset, _| vec![offset as u64], ..list };
    let pool = Pool::start().await;
    pool.responds("workers", one_row).await;
    let asking = Asking::with(&pool.base_url(), "page_size: 2");
    let error = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap_err();
    assert_eq!(error, FetchError::TooLong(format!("it does not end within {MAX_PAGES} pages")));
}

#[tokio::test]
async fn failed_page_makes_the_list_incomplete() {
    struct Failing;
    impl Respond for Failing {
        fn respond(&self, request: &Request) -> ResponseTemplate {
            match number(request, "offset") {
                200 => ResponseTemplate::new(502),
                _ => List::of(1000).respond(request),
            }
        }
    }
    let pool = Pool::start().await;
    pool.responds("workers", Failing).await;
    let asking = Asking::with(&pool.base_url(), "page_size: 100, concurrency: 3");
    let error = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the list is not complete: the page at offset 200 failed: the pool answered HTTP 502; the trouble \
         is at the pool"
    );
    assert_eq!(error.reason(), Reason::Incomplete);
    // The page's failure is counted under its own reason, and every request that was made is counted.
    let figures = asking.telemetry.snapshot();
    let failures: Vec<_> = figures.request_failures.iter().filter(|(_, count)| **count > 0).collect();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].0.1, Reason::Http5xx);
    let counted: u64 = figures.requests.values().sum();
    assert_eq!(counted as usize, pool.requests("workers").await.len());
    assert!(counted < 10, "{counted} pages were asked for though one had failed");
}

#[tokio::test]
async fn failure_is_reported_before_its_pause() {
    struct Limiting;
    impl Respond for Limiting {
        fn respond(&self, request: &Request) -> ResponseTemplate {
            match number(request, "offset") {
                0 => List::of(1000).respond(request),
                _ => ResponseTemplate::new(429).insert_header("retry-after", "300"),
            }
        }
    }
    let pool = Pool::start().await;
    pool.responds("workers", Limiting).await;
    // So few a second that further pages wait for their turn when the first refusal comes.
    let asking = Asking::with(&pool.base_url(), "page_size: 100, concurrency: 4, requests_per_second: 2");
    let reading = asking.client.workers(&asking.target, &asking.key, usize::MAX);
    let error = tokio::time::timeout(harness::PATIENCE, reading).await.expect("the failure waits").unwrap_err();
    assert_eq!(error.reason(), Reason::Incomplete);
    assert!(asking.client.pause_left().is_some());
    // Two on a machine that is quick; never all ten, of which most waited.
    assert!(pool.requests("workers").await.len() < 10);
}

#[tokio::test]
async fn rows_without_an_id_do_not_end_the_list() {
    struct Nameless;
    impl Respond for Nameless {
        fn respond(&self, request: &Request) -> ResponseTemplate {
            let (offset, limit) = (number(request, "offset"), number(request, "limit"));
            let rows: Vec<_> = (offset..300.min(offset + limit))
                .map(|n| if (100..200).contains(&n) { json!({}) } else { json!({"worker_id": n.to_string()}) })
                .collect();
            ResponseTemplate::new(200).set_body_json(json!({"status": "OK", "data": rows, "total": 300}))
        }
    }
    let pool = Pool::start().await;
    pool.responds("workers", Nameless).await;
    let asking = Asking::with(&pool.base_url(), "page_size: 100");
    let workers = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap();
    assert_eq!((workers.list.len(), workers.reported), (200, Some(300)));
    let counted: Vec<_> = asking.anomalies().into_iter().filter(|(field, _)| field.ends_with("worker_id")).collect();
    assert_eq!(counted, [("workers worker_id".to_owned(), 100)]);
    assert_eq!(pool.requests("workers").await.len(), 3);
}

#[tokio::test]
async fn failed_first_page_keeps_its_reason() {
    let pool = Pool::start().await;
    pool.responds("workers", ResponseTemplate::new(502)).await;
    let asking = Asking::of(&pool.base_url());
    let error = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Http5xx);
}

#[tokio::test]
async fn partial_history_names_its_first_day() {
    let pool = Pool::start().await;
    let days = |request: &Request| {
        let all: Vec<_> =
            (1..=30).map(|day| json!({"date": format!("2024-01-{day:02}"), "total_profit": "1"})).collect();
        let (offset, limit) = (number(request, "offset"), number(request, "limit"));
        let page: Vec<_> = all.iter().skip(offset).take(limit).collect();
        ResponseTemplate::new(200).set_body_json(json!({"status": "OK", "data": page, "total": 30}))
    };
    pool.responds("profit_history", days).await;
    let asking = Asking::with(&pool.base_url(), "page_size: 7");
    let from = "2024-01-01".parse().unwrap();
    let income = asking.client.profit_history(&asking.target, &asking.key, Some(from)).await.unwrap();
    assert_eq!((income.days.len(), income.unread), (30, 0));
    let requests = pool.requests("profit_history").await;
    assert_eq!(requests.len(), 5);
    assert!(requests.iter().all(|request| harness::query(request, "from").as_deref() == Some("2024-01-01")));
}

#[tokio::test(start_paused = true)]
async fn pages_are_concurrent_within_the_limit() {
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let fetch = |offset: usize, _| {
        let (now, most) = (&now, &most);
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let rows = (offset..offset + 100).map(|row| Some((row, ()))).collect();
            Ok(Page { rows, total: Some(10_000), without_objects: None })
        }
    };
    let options = ReadOptions { page_size: 100, concurrency: 8, max_rows: usize::MAX, known_missing: 0 };
    let begin = tokio::time::Instant::now();
    let listing: Listing<usize, ()> = read_all(fetch, options).await.unwrap();
    assert_eq!((listing.rows.len(), most.load(Ordering::SeqCst)), (10_000, 8));
    // One round trip for the first page, and those of 99 more, eight at a time.
    assert_eq!(begin.elapsed().as_millis().div_ceil(50), 1 + 99_u128.div_ceil(8));
}
