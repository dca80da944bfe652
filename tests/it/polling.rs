//! Cadences, honesty under failure, and accounts that do not touch each other.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use btcpool_exporter::{
    Exporter,
    clock::Clock,
    config::{Config, Overrides},
    history::{History as _, Income, IncomeDay, Payment, Payments, PayoutAddress, Period, day_start, pool_day},
    model::{Coins, Id, UnixSeconds},
};
use jiff::{civil::Date, tz::Offset};
use serde_json::json;
use wiremock::{Request, ResponseTemplate};

use crate::{
    harness::{self, ENDPOINTS, Pool, Running, query, sample},
    parser::series,
};

const WRONG_KEY: &str = "ffffff-000000-ffffff-000000-ffffff";

fn value(running: &std::collections::BTreeMap<String, f64>, series: &str) -> Option<f64> {
    running.get(series).copied()
}

#[tokio::test]
async fn refused_key_leaves_other_accounts_complete() {
    let pool = Pool::start().await;
    pool.answers("main_stat", sample("main_stat")).await;
    for endpoint in &ENDPOINTS[1..] {
        let refused = ResponseTemplate::new(401).set_body_string("{\"status\":\"ERROR\"}");
        pool.responds_to(WRONG_KEY, endpoint, refused).await;
        pool.answers(endpoint, sample(endpoint)).await;
    }
    let accounts = format!(
        "accounts:\n  one: {{ api_key: {0} }}\n  two: {{ api_key: {0} }}\n  wrong: {{ api_key: {WRONG_KEY} }}\n",
        harness::KEY
    );
    let running = Running::start_ready(harness::config(&pool.base_url(), &accounts)).await;
    let seen = series(&running.scrape().await);
    for account in ["one", "two"] {
        let own = |name: &str| format!("{name}{{account=\"{account}\",currency=\"BTC\"}}");
        assert_eq!(value(&seen, &own("btcpool_account_workers_listed")), Some(6.0));
        assert_eq!(value(&seen, &own("btcpool_account_balance_coins")), Some(0.00015744));
    }
    let of = |account: &str| seen.iter().filter(|(name, _)| name.contains(&format!("account={account:?}"))).count();
    assert_eq!(of("one"), of("two"));
    for endpoint in &ENDPOINTS[1..] {
        let slot = |account| format!("account=\"{account}\",currency=\"BTC\",endpoint=\"{endpoint}\"");
        assert_eq!(value(&seen, &format!("btcpool_up{{{}}}", slot("one"))), Some(1.0));
        assert_eq!(value(&seen, &format!("btcpool_up{{{}}}", slot("wrong"))), Some(0.0));
        let error = format!("btcpool_poll_error{{{},reason=\"auth\"}}", slot("wrong"));
        assert_eq!(value(&seen, &error), Some(1.0), "{seen:#?}");
    }
    assert_eq!(seen.keys().filter(|name| name.starts_with("btcpool_poll_error")).count(), 4);
    // Nothing is said of the account whose key is refused, but how its polling goes.
    let told = seen.keys().filter(|name| name.contains("account=\"wrong\"") && !name.contains("endpoint="));
    assert_eq!(told.collect::<Vec<_>>(), ["btcpool_account_info{account=\"wrong\"}"]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn main_stat_is_requested_once_without_key() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let accounts: String = (0..5).map(|n| format!("  a{n}: {{ api_key: {} }}\n", harness::KEY)).collect();
    let config = harness::config(&pool.base_url(), &format!("accounts:\n{accounts}"));
    Exporter::new(config, Clock::system()).unwrap().poller.once().await;
    let requests = pool.requests("main_stat").await;
    assert_eq!(requests.len(), 1);
    assert!(!requests[0].headers.contains_key("x-api-key"));
    assert_eq!(pool.requests("summary_data").await.len(), 5);
}

#[tokio::test]
async fn values_stay_until_stale_and_recover() {
    let pool = Pool::start().await;
    let broken = Arc::new(AtomicBool::new(false));
    let state = broken.clone();
    pool.responds("main_stat", move |_: &Request| match state.load(Ordering::SeqCst) {
        true => ResponseTemplate::new(500),
        false => ResponseTemplate::new(200).set_body_string(sample("main_stat")),
    })
    .await;
    let yaml = format!(
        "api: {{ base_url: {}, requests_per_second: 1000 }}\npolling: {{ live: {{ interval: 1s, stale_after: 6s }} }}",
        pool.base_url()
    );
    let running = Running::start_ready(Config::from_yaml("test", &yaml, &Overrides::default()).unwrap()).await;
    let up = |value: u8| format!("btcpool_up{{endpoint=\"main_stat\"}} {value}");
    let miners = "btcpool_pool_miners{currency=\"BTC\"} 1853";
    broken.store(true, Ordering::SeqCst);
    let failing = running.until("/metrics", |_, text| text.contains(&up(0))).await;
    let began = Instant::now();
    assert!(failing.contains(miners), "the old answer left at the first error");
    assert!(failing.contains("btcpool_poll_error{endpoint=\"main_stat\",reason=\"http_5xx\"} 1"));
    let stale = running.until("/metrics", |_, text| !text.contains(miners)).await;
    // It failed about an interval after the last good answer, so that most of the six seconds were left.
    assert!(began.elapsed() > Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(stale.contains(&up(0)) && stale.contains("btcpool_last_success_timestamp_seconds{endpoint=\"main_stat\"}"));
    broken.store(false, Ordering::SeqCst);
    let healed = running.until("/metrics", |_, text| text.contains(&up(1))).await;
    assert!(healed.contains(miners) && !healed.contains("btcpool_poll_error"));
    // What went wrong is still told to whoever comes to look.
    let page = running.get("/").await.1;
    let (_, past) = page.split_once("<h2 id=\"past-title\">").unwrap();
    assert!(past.contains("<code>http_5xx</code>") && past.contains("the pool answered HTTP 500"), "{past}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn retry_after_pauses_all_polls() {
    let pool = Pool::start().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = asked.clone();
    pool.responds("main_stat", move |_: &Request| {
        times.lock().unwrap().push(Instant::now());
        ResponseTemplate::new(429).insert_header("retry-after", "5")
    })
    .await;
    let yaml =
        format!("api: {{ base_url: {} }}\npolling: {{ live: {{ interval: 4s, stale_after: 60s }} }}", pool.base_url());
    let running = Running::start_ready(Config::from_yaml("test", &yaml, &Overrides::default()).unwrap()).await;
    let failures = "btcpool_exporter_poll_failures_total{endpoint=\"main_stat\"} 2";
    running.until("/metrics", |_, text| text.contains(failures)).await;
    running.stop().await.unwrap();
    // The tick of the fourth second is let pass, and nobody waits at the door for the fifth: the eighth's asks.
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2);
    assert!(asked[1] - asked[0] > Duration::from_millis(6500), "{:?}", asked[1] - asked[0]);
}

/// A pool that answers one method in its own way, and notes when it was asked.
async fn timed(pool: &Pool, endpoint: &str, key: &str, response: ResponseTemplate) -> Arc<Mutex<Vec<Instant>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = asked.clone();
    pool.responds_to(key, endpoint, move |_: &Request| {
        times.lock().unwrap().push(Instant::now());
        response.clone()
    })
    .await;
    asked
}

/// Waits until so many requests came; the times between them.
async fn gaps(asked: &Mutex<Vec<Instant>>, count: usize) -> Vec<Duration> {
    let begin = Instant::now();
    loop {
        let times = asked.lock().unwrap().clone();
        if times.len() >= count {
            return times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        }
        assert!(begin.elapsed() < harness::PATIENCE, "only {} of {count} requests came", times.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn refused_key_is_retried_once_then_rarely() {
    let pool = Pool::start().await;
    let asked = timed(&pool, "summary_data", harness::KEY, ResponseTemplate::new(401)).await;
    let running = Running::start(harness::config(&pool.base_url(), &harness::one_account())).await;
    // The interval is a second; between half and all of fifteen intervals is what a refused key waits.
    let gaps = gaps(&asked, 3).await;
    running.stop().await.unwrap();
    assert!(gaps[1] > Duration::from_millis(7400), "{gaps:?}");
}

#[tokio::test]
async fn stalled_account_leaves_room_for_others() {
    let pool = Pool::start().await;
    let stalled = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
    let asked = Arc::new(Mutex::new(Vec::new()));
    for endpoint in &ENDPOINTS[1..] {
        let (times, stalled) = (asked.clone(), stalled.clone());
        pool.responds(endpoint, move |_: &Request| {
            times.lock().unwrap().push(Instant::now());
            stalled.clone()
        })
        .await;
    }
    let config = harness::config_with(&pool.base_url(), "concurrency: 2, timeout: 1s", &harness::one_account());
    let running = Running::start(config).await;
    // The first polls of the four slots may take both places. From then on one place is kept free, so that the next
    // failing slot asks only when the one before it has run into its timeout.
    let gaps = gaps(&asked, 8).await;
    running.stop().await.unwrap();
    assert!(gaps[4..7].iter().all(|&gap| gap > Duration::from_millis(900)), "{gaps:?}");
}

#[tokio::test]
async fn rate_limit_slows_every_account() {
    let pool = Pool::start().await;
    pool.responds("main_stat", ResponseTemplate::new(429)).await;
    let asked = timed(&pool, "summary_data", harness::KEY, ResponseTemplate::new(500)).await;
    let accounts: String = (0..40).map(|n| format!("  a{n}: {{ api_key: {} }}\n", harness::KEY)).collect();
    let api = "requests_per_second: 8, concurrency: 1";
    let config = harness::config_with(&pool.base_url(), api, &format!("accounts:\n{accounts}"));
    let running = Running::start(config).await;
    // main_stat is the first to be asked, and refused. Eight a second would be the rate.
    let begin = Instant::now();
    gaps(&asked, 6).await;
    let requests = pool.0.received_requests().await.unwrap().len() as f64;
    let elapsed = begin.elapsed().as_secs_f64();
    running.stop().await.unwrap();
    // Half of the rate, after a burst of a second's worth.
    assert!(requests <= 8.0 + 4.0 * (elapsed + 1.0), "{requests} requests in {elapsed} s");
}

/// A history of 400 days until today, which tells what it was asked for.
fn history(request: &Request) -> ResponseTemplate {
    let today = pool_day(jiff::Timestamp::now(), Offset::constant(8));
    let from: Date = query(request, "from").map_or(Date::MIN, |from| from.parse().unwrap());
    let mut days = Vec::new();
    let mut date = today;
    for _ in 0..400 {
        if date >= from {
            days.push(json!({"date": date.to_string(), "hashrate": "1", "pps_profit": "0.1", "pplns_profit": "0",
                "total_profit": "0.1"}));
        }
        date = date.yesterday().unwrap();
    }
    let (offset, limit) = (harness::number(request, "offset"), harness::number(request, "limit"));
    let page: Vec<_> = days.iter().skip(offset).take(limit).collect();
    ResponseTemplate::new(200).set_body_json(json!({"status": "OK", "data": page, "total": days.len()}))
}

#[tokio::test]
async fn finished_days_are_not_read_again() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let pool_with_history = Pool::start().await;
    for endpoint in ["main_stat", "summary_data", "payment_history", "workers"] {
        pool_with_history.answers(endpoint, sample(endpoint)).await;
    }
    pool_with_history.responds("profit_history", history).await;
    let running = Running::start_ready(harness::config(&pool_with_history.base_url(), &harness::one_account())).await;
    let polls = "btcpool_exporter_polls_total{account=\"farm\",currency=\"BTC\",endpoint=\"profit_history\"} 3";
    let text = running.until("/metrics", |_, text| text.contains(polls)).await;
    running.stop().await.unwrap();
    let requests = pool_with_history.requests("profit_history").await;
    let from: Vec<_> = requests.iter().map(|request| query(request, "from")).collect();
    // Four pages of a hundred for the first read; then one request for the days that may still change.
    assert_eq!(from[..4], [None, None, None, None]);
    let today = pool_day(jiff::Timestamp::now(), Offset::constant(8));
    let resumed: Date = from[4].as_deref().unwrap().parse().unwrap();
    assert!((today - resumed).get_days() >= 2, "{resumed}");
    assert!(from[4..].iter().all(|from| *from == Some(resumed.to_string())), "{from:?}");
    // The published payments are of May 2023; the newest, at UTC+8, of the second.
    let payments = pool_with_history.requests("payment_history").await;
    assert_eq!(payments.iter().find_map(|request| query(request, "from")).as_deref(), Some("2023-04-29"));
    // The sums are those of the whole history all the same.
    let sums = ["period=\"7d\"} 0.7\n", "period=\"30d\"} 3.0\n", "period=\"all\"} 39.9\n"];
    assert!(sums.iter().all(|sum| text.contains(sum)), "{text}");
}

fn day(date: &str, total: Option<i64>) -> (Date, IncomeDay) {
    let date: Date = date.parse().unwrap();
    let total = total.map(Coins::from_units);
    (date, IncomeDay { date, hashrate: None, pps: total, pplns: Some(Coins::default()), total })
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

/// An income whose rows were read on a day.
fn income<const N: usize>(days: [(Date, IncomeDay); N], read_on: &str) -> Income {
    Income { days: days.into(), unread: 0, read_on: date(read_on) }
}

#[test]
fn partial_read_applies_corrections() {
    let today = date("2024-01-07");
    let mut all = income([day("2024-01-01", Some(1)), day("2024-01-05", Some(5))], "2024-01-06");
    assert_eq!(all.resume_from(today), Some(date("2024-01-02")));
    all.merge(date("2024-01-02"), income([day("2024-01-05", Some(6)), day("2024-01-06", Some(2))], "2024-01-07"));
    all.read_on(today);
    assert_eq!(all.sum(Period::All, today), Some(Coins::from_units(9)));
    // What could not be read makes the sum unknown, and the next read complete.
    all.merge(date("2024-01-03"), income([day("2024-01-06", None)], "2024-01-07"));
    assert_eq!((all.sum(Period::All, today), all.resume_from(today)), (None, None));
    assert_eq!(all.sum(Period::Week, date("2024-01-30")), Some(Coins::default()));
    assert_eq!((Income::default().resume_from(today), Payments::default().resume_from(today)), (None, None));
}

#[test]
fn removed_row_leaves_with_the_next_read() {
    let mut days =
        income([day("2024-01-03", Some(3)), day("2024-01-05", Some(5)), day("2024-01-06", Some(6))], "2024-01-07");
    // The fifth is withdrawn. The third is at the edge of what was asked for, where nothing can be concluded.
    days.merge(date("2024-01-03"), income([day("2024-01-06", Some(6))], "2024-01-07"));
    assert_eq!(days.days.keys().copied().collect::<Vec<_>>(), [date("2024-01-03"), date("2024-01-06")]);

    let payment = |created: i64| Payment {
        amount: Some(Coins::from_units(1)),
        created: Some(UnixSeconds(created)),
        address: Some(PayoutAddress::new("somewhere")),
    };
    let row = |id: &str, created| (Id::new(id).unwrap(), payment(created));
    let day = 86_400;
    let mut payments =
        Payments { by_id: [row("1", 1000 * day), row("2", 1004 * day), row("3", 1005 * day)].into(), unread: 0 };
    let from = payments.resume_from(date("2030-01-01")).unwrap();
    payments.merge(from, Payments { by_id: [row("2", 1004 * day)].into(), unread: 0 });
    assert_eq!((payments.count(), payments.last().unwrap().created), (Some(2), UnixSeconds(1004 * day)));
}

#[test]
fn future_row_does_not_hide_today() {
    let today = date("2024-01-07");
    let rows = [day("2024-01-06", Some(1)), day("2024-01-07", Some(1)), day("2099-01-01", Some(9))];
    let all = income(rows, "2024-01-07");
    assert_eq!(all.resume_from(today), Some(date("2024-01-04")));
    assert_eq!(all.sum(Period::All, today), Some(Coins::from_units(1)));
}

#[test]
fn running_day_is_unknown_after_midnight() {
    let rows = [day("2024-01-05", Some(5)), day("2024-01-06", Some(6)), day("2024-01-07", Some(1))];
    let mut all = income(rows, "2024-01-07");
    let last = |income: &Income, today| income.last_day(date(today)).map(|day| day.date);
    assert_eq!(last(&all, "2024-01-07"), Some(date("2024-01-06")));
    assert_eq!(all.sum(Period::Week, date("2024-01-07")), Some(Coins::from_units(11)));
    // The clock strikes twelve; the seventh's row is still the one of its last evening.
    assert_eq!(last(&all, "2024-01-08"), None);
    assert_eq!(Period::ALL.map(|period| all.sum(period, date("2024-01-08"))), [None; 3]);
    all.merge(
        date("2024-01-04"),
        income([day("2024-01-05", Some(5)), day("2024-01-06", Some(6)), day("2024-01-07", Some(7))], "2024-01-08"),
    );
    all.read_on(date("2024-01-08"));
    assert_eq!(last(&all, "2024-01-08"), Some(date("2024-01-07")));
    assert_eq!(all.sum(Period::Week, date("2024-01-08")), Some(Coins::from_units(18)));
}

#[tokio::test]
async fn income_is_read_soon_after_midnight() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    // The first of many accounts has its place early in the half minute over which the reads are spread.
    let others: String = (0..20).map(|n| format!("  z{n}: {{ api_key: {} }}\n", harness::KEY)).collect();
    let yaml = format!(
        "api: {{ base_url: {}, requests_per_second: 1000 }}\naccounts:\n  farm: {{ api_key: {} }}\n{others}",
        pool.base_url(),
        harness::KEY
    );
    let config = Config::from_yaml("test", &yaml, &Overrides::default()).unwrap();
    // Three seconds before midnight at UTC+8; the histories' interval is a quarter of an hour.
    let clock = Clock::simulated("2024-01-07T15:59:57Z".parse().unwrap(), 1.0);
    let running = Running::builder(config).clock(clock).start().await;
    let polls = |endpoint: &str, count: u8| {
        format!("btcpool_exporter_polls_total{{account=\"farm\",currency=\"BTC\",endpoint=\"{endpoint}\"}} {count}\n")
    };
    let text = running.until("/metrics", |_, text| text.contains(&polls("profit_history", 2))).await;
    assert!(text.contains(&polls("payment_history", 1)), "{text}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn day_that_ends_during_a_read_is_read_again() {
    const SLOW_KEY: &str = "1a2b3c-4d5e6f-708192-a3b4c5-d6e7f8";
    let pool = Pool::start().await;
    let slow = ResponseTemplate::new(200).set_body_json(json!({ "status": "OK", "data": [], "total": 0 }));
    pool.responds_to(SLOW_KEY, "profit_history", slow.set_delay(Duration::from_secs(5))).await;
    pool.answers_samples().await;
    let others: String = (0..20).map(|n| format!("  z{n}: {{ api_key: {} }}\n", harness::KEY)).collect();
    let yaml = format!(
        "api: {{ base_url: {}, requests_per_second: 1000 }}\n\
         polling: {{ history: {{ interval: 12h, stale_after: 24h }} }}\n\
         accounts:\n  farm: {{ api_key: {SLOW_KEY} }}\n{others}",
        pool.base_url()
    );
    let config = Config::from_yaml("test", &yaml, &Overrides::default()).unwrap();
    // Two seconds before midnight at UTC+8: the first read ends when the day is final, but began before.
    let clock = Clock::simulated("2024-01-07T15:59:58Z".parse().unwrap(), 1.0);
    let running = Running::builder(config).clock(clock).start().await;
    let polls = "btcpool_exporter_polls_total{account=\"farm\",currency=\"BTC\",endpoint=\"profit_history\"} 2\n";
    running.until("/metrics", |_, text| text.contains(polls)).await;
    running.stop().await.unwrap();
}

#[test]
fn newest_day_is_unknown_with_an_unread_row() {
    let mut income = income([day("2024-01-01", Some(1)), day("2024-01-05", Some(5))], "2024-01-09");
    let last = |income: &Income, today: &str| income.last_day(date(today)).map(|day| day.date.to_string());
    assert_eq!(last(&income, "2024-01-05").as_deref(), Some("2024-01-01"));
    assert_eq!(last(&income, "2024-01-09").as_deref(), Some("2024-01-05"));
    income.unread = 1;
    assert_eq!(last(&income, "2024-01-09"), None);
    // Nothing that is over can be newer than yesterday.
    assert_eq!(last(&income, "2024-01-06").as_deref(), Some("2024-01-05"));
}

#[test]
fn pool_day_starts_at_the_configured_offset() {
    for (offset, before, after, day) in [
        (8, "2023-12-31T15:59:59Z", "2023-12-31T16:00:00Z", "2024-01-01"),
        (5, "2024-02-28T18:59:59Z", "2024-02-28T19:00:00Z", "2024-02-29"),
        (0, "2023-12-31T23:59:59Z", "2024-01-01T00:00:00Z", "2024-01-01"),
    ] {
        let offset = Offset::constant(offset);
        let [before, after] = [before, after].map(|text| text.parse().unwrap());
        let day: Date = day.parse().unwrap();
        assert_eq!(pool_day(before, offset), day.yesterday().unwrap());
        assert_eq!(pool_day(after, offset), day);
        assert_eq!(day_start(day, offset).unwrap().0, after.as_second());
    }
}

#[tokio::test]
async fn disabled_workers_are_not_requested() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let accounts = format!("accounts: {{ farm: {{ api_key: {}, workers: {{ enabled: no }} }} }}", harness::KEY);
    let running = Running::start_ready(harness::config(&pool.base_url(), &accounts)).await;
    let (_, text) = running.get("/metrics").await;
    assert!(pool.requests("workers").await.is_empty());
    assert!(!text.contains("endpoint=\"workers\"} 1") && !text.contains("btcpool_account_workers_listed"));
    assert!(text.contains("btcpool_account_workers{"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn slots_keep_their_phase_in_the_interval() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let yaml = format!(
        "api: {{ base_url: {}, requests_per_second: 1000, concurrency: 50 }}\n\
         polling: {{ live: {{ interval: 3s, stale_after: 9s }}, history: {{ interval: 3s, stale_after: 9s }} }}\n\
         accounts:\n{}",
        pool.base_url(),
        (0..6).map(|n| format!("  a{n}: {{ api_key: {} }}\n", harness::KEY)).collect::<String>()
    );
    let running = Running::start_ready(Config::from_yaml("test", &yaml, &Overrides::default()).unwrap()).await;
    let polled_twice = |text: &str| {
        let polls = text.lines().filter(|line| line.starts_with("btcpool_exporter_polls_total"));
        polls.clone().count() == 25 && polls.into_iter().all(|line| !line.ends_with(" 0") && !line.ends_with(" 1"))
    };
    // The first round came at once; the second takes an interval, so that it cannot be done at once.
    let begin = Instant::now();
    let ready = running.get("/metrics").await.1;
    assert!(!polled_twice(&ready));
    running.until("/metrics", |_, text| polled_twice(text)).await;
    assert!(begin.elapsed() > Duration::from_secs(2), "{:?}", begin.elapsed());
    running.stop().await.unwrap();
}
