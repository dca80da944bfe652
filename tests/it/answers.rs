//! Unusual answers that are still readable: lists with odd rows, compressed bodies, signed amounts.

use std::{collections::BTreeMap, io::Write as _, time::Instant};

use btcpool_exporter::{
    Exporter,
    clock::Clock,
    collector::{Format, Moment, Scope, View, render},
    config::Config,
    model::Reason,
    store::Store,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use crate::{
    client::Asking,
    harness::{self, Pool, number},
    parser::{self, series},
};

/// An exporter, and its series after each poll.
pub struct Polled {
    exporter: Exporter,
    clock: Clock,
}

impl Polled {
    pub fn new(config: Config, clock: Clock) -> Self {
        Self { exporter: Exporter::new(config, clock).unwrap(), clock }
    }

    /// Polls every endpoint once, and returns the series of the account `farm` and of no other label, by their short
    /// names: `workers_listed`, `up{endpoint="workers"}`, `worker_active{worker="w",worker_id="1"}`.
    pub async fn poll(&self) -> BTreeMap<String, f64> {
        let exporter = &self.exporter;
        exporter.poller.once().await;
        let now = Moment { wall: self.clock.now(), monotonic: Instant::now() };
        let view = View::take(&exporter.config, &exporter.store, &exporter.telemetry, &Scope::All, now);
        let text = render(view, Format::Classic).unwrap();
        let series = series(&parser::parse(&text, Format::Classic).unwrap());
        let short = |name: &str| {
            let name = name.strip_prefix("btcpool_")?;
            let name = name.strip_prefix("account_").unwrap_or(name);
            let name = name.replace("account=\"farm\",currency=\"BTC\"", "").replace("{,", "{").replace("{}", "");
            Some(name)
        };
        series.into_iter().filter_map(|(name, value)| Some((short(&name)?, value))).collect()
    }

    pub fn store(&self) -> &Store {
        &self.exporter.store
    }

    /// The anomalies that were counted, without the zeros.
    pub fn anomalies(&self) -> BTreeMap<String, u64> {
        let counted = self.exporter.telemetry.snapshot().anomalies.into_iter().filter(|(_, count)| *count > 0);
        counted.map(|((endpoint, field), count)| (format!("{endpoint} {field}"), count)).collect()
    }
}

/// A pool with the published samples, but for one endpoint's answer.
async fn pool_with(endpoint: &str, body: String) -> Pool {
    let pool = Pool::start().await;
    pool.answers(endpoint, body).await;
    pool.answers_samples().await;
    pool
}

/// Polls a pool once whose answer of one endpoint is this.
async fn poll_with(endpoint: &str, body: impl ToString) -> (BTreeMap<String, f64>, BTreeMap<String, u64>) {
    let pool = pool_with(endpoint, body.to_string()).await;
    let clock = Clock::simulated("2024-03-04T04:00:00Z".parse().unwrap(), 0.0);
    let polled = Polled::new(harness::config(&pool.base_url(), &harness::one_account()), clock);
    let series = polled.poll().await;
    let mut anomalies = polled.anomalies();
    // The published samples have some of their own.
    anomalies.retain(|field, _| field.starts_with(endpoint));
    (series, anomalies)
}

fn worker(id: u64) -> Value {
    json!({"hashrate_10min": "1", "hashrate_1hour": "2", "hashrate_24hour": "3", "last_active": "1700000000",
        "reject_rate": "0.01", "worker_id": id.to_string(), "worker_name": "w", "worker_status": "1"})
}

fn day(date: &str, coins: &str) -> Value {
    json!({"date": date, "hashrate": "7", "pps_profit": coins, "pplns_profit": "0", "total_profit": coins})
}

fn payment(id: u64, coins: &str) -> Value {
    json!({"payment_id": id.to_string(), "amount": coins, "created_time": (1_700_000_000 + id * 86_400).to_string(),
        "address": "an-address"})
}

fn answer(data: &Value, total: u64) -> Value {
    json!({"status": "OK", "data": data, "total": total})
}

fn up(series: &BTreeMap<String, f64>, endpoint: &str) -> f64 {
    series[&format!("up{{endpoint=\"{endpoint}\"}}")]
}

const ODD: &str = r#"null, 7, "x", "\ud800", 1e999, true, [], [{"worker_id":"9"}]"#;

#[tokio::test]
async fn rows_that_are_no_objects_are_left_out() {
    let list = |rows: &[Value]| {
        let rows: Vec<_> = rows.iter().map(Value::to_string).collect();
        format!(r#"{{"status":"OK","data":[{},{ODD},{}],"total":10}}"#, rows[0], rows[1])
    };
    let (series, anomalies) = poll_with("workers", list(&[worker(1), worker(2)])).await;
    assert_eq!((up(&series, "workers"), series["workers_listed"]), (1.0, 2.0));
    assert_eq!(anomalies, BTreeMap::from([("workers worker_id".to_owned(), 8)]));

    let (series, anomalies) =
        poll_with("profit_history", list(&[day("2024-03-03", "1"), day("2024-03-04", "2")])).await;
    assert_eq!(up(&series, "profit_history"), 1.0);
    assert_eq!(anomalies, BTreeMap::from([("profit_history date".to_owned(), 8)]));
    let income: Vec<_> =
        series.iter().filter(|(name, _)| name.starts_with("income_")).map(|(name, _)| &**name).collect();
    assert_eq!(
        income,
        [
            "income_last_day_coins{scheme=\"pplns\"}",
            "income_last_day_coins{scheme=\"pps\"}",
            "income_last_day_hashrate_hashes_per_second",
            "income_last_day_timestamp_seconds",
            "income_today_coins{scheme=\"pplns\"}",
            "income_today_coins{scheme=\"pps\"}",
        ]
    );

    let (series, anomalies) = poll_with("payment_history", list(&[payment(1, "1"), payment(2, "2")])).await;
    assert_eq!(up(&series, "payment_history"), 1.0);
    assert_eq!(anomalies, BTreeMap::from([("payment_history payment_id".to_owned(), 8)]));
    assert!(!series.keys().any(|name| name.starts_with("pa") || name.starts_with("last_payment")), "{series:?}");
}

#[tokio::test]
async fn a_later_page_without_an_object_does_not_hide_the_list() {
    let pool = Pool::start().await;
    pool.responds("workers", |request: &Request| {
        let rows = match number(request, "offset") {
            0 => (1..=100).map(worker).collect::<Vec<_>>().into(),
            _ => json!([null]),
        };
        ResponseTemplate::new(200).set_body_json(answer(&rows, 101))
    })
    .await;
    pool.answers_samples().await;
    let polled = Polled::new(harness::config(&pool.base_url(), &harness::one_account()), Clock::system());
    let series = polled.poll().await;
    assert_eq!((up(&series, "workers"), series["workers_listed"]), (1.0, 100.0));
    assert_eq!(polled.anomalies()["workers worker_id"], 1);
}

#[tokio::test]
async fn a_list_without_any_object_is_refused() {
    for (data, error) in [
        ("[1,{\"worker_id\":\"1\"},2]", None),
        ("[1,2,3]", Some("data[0]: expected an object, found a number")),
        ("[null]", Some("data[0]: expected an object, found null")),
        ("{\"404\":\"not found\"}", Some("data[0]: expected an object, found a string")),
        ("{\"rows\":[]}", Some("data: expected a list, found an object that is not empty")),
        ("{\"0\":{\"worker_id\":\"1\"},\"x\":{}}", Some("data: expected a list, found an object that is not empty")),
        ("{\"\":{}}", Some("data: expected a list, found an object that is not empty")),
        ("{\"1.0\":{}}", Some("data: expected a list, found an object that is not empty")),
    ] {
        let pool = pool_with("workers", format!("{{\"status\":\"OK\",\"data\":{data}}}")).await;
        let asking = Asking::of(&pool.base_url());
        let result = asking.client.workers(&asking.target, &asking.key, usize::MAX).await;
        let told = result.map(|_| ()).map_err(|error| (error.reason(), error.to_string()));
        let expected = error.map(|error| format!("the answer is not of the documented shape: {error}"));
        assert_eq!(told, expected.map_or(Ok(()), |error| Err((Reason::Decode, error))), "{data}");
    }
}

#[tokio::test]
async fn an_object_with_numbers_for_keys_is_a_list() {
    let numbered = |rows: [Value; 2]| {
        let [first, second] = rows;
        answer(&json!({"0": first, "2": second}), 2)
    };
    let (series, anomalies) = poll_with("workers", numbered([worker(7), worker(5)])).await;
    assert_eq!((up(&series, "workers"), series["workers_listed"]), (1.0, 2.0));
    assert_eq!(series["worker_active{worker=\"w\",worker_id=\"5\"}"], 1.0);
    assert_eq!(anomalies, BTreeMap::new());
    let (series, _) = poll_with("profit_history", numbered([day("2024-03-03", "1"), day("2024-03-02", "2")])).await;
    assert_eq!(series["income_coins{period=\"all\"}"], 3.0);
    let (series, _) = poll_with("payment_history", numbered([payment(1, "1"), payment(2, "2")])).await;
    assert_eq!((series["payments"], series["paid_coins"]), (2.0, 3.0));

    let (series, anomalies) = poll_with("workers", answer(&json!({"0": null, "1": worker(5), "17": "x"}), 3)).await;
    assert_eq!(series["workers_listed"], 1.0);
    assert_eq!(anomalies, BTreeMap::from([("workers worker_id".to_owned(), 2)]));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Reads `summary_data` from a body with a Content-Encoding; the balance's units, or reason and message.
async fn balance(encoding: &str, body: Vec<u8>) -> Result<i64, (Reason, String)> {
    let pool = Pool::start().await;
    let answer = ResponseTemplate::new(200).insert_header("content-encoding", encoding).set_body_bytes(body);
    pool.responds("summary_data", answer).await;
    let asking = Asking::with(&pool.base_url(), "max_response_bytes: 64KiB");
    let summary = asking.client.summary_data(&asking.target, &asking.key).await;
    let accepted = pool.requests("summary_data").await[0].headers["accept-encoding"].clone();
    assert_eq!(accepted, "gzip");
    summary.map(|summary| summary.balance.unwrap().units()).map_err(|error| (error.reason(), error.to_string()))
}

#[tokio::test]
async fn gzip_is_read_as_curl_and_go_read_it() {
    let body = harness::sample("summary_data").into_bytes();
    let (front, back) = body.split_at(40);
    let whole = gzip(&body);
    for (what, encoding, sent) in [
        ("one member", "gzip", whole.clone()),
        ("two members", "gzip", [gzip(front), gzip(back)].concat()),
        ("an empty member", "gzip", [gzip(b""), gzip(&body), gzip(b"")].concat()),
        ("zeros behind it", "gzip", [&*whole, &[0; 512]].concat()),
        ("something behind it", "gzip", [&*whole, b"\r\n<!-- cached -->"].concat()),
        ("its old name", "x-gzip", whole.clone()),
        ("in capitals", "GZIP", whole.clone()),
        ("twice", "gzip, x-gzip", gzip(&whole)),
        ("with identity", "identity,gzip", whole),
        ("not at all", "identity", body.clone()),
    ] {
        assert_eq!(balance(encoding, sent).await, Ok(15_744), "{what}");
    }
}

#[tokio::test]
async fn broken_gzip_says_so() {
    let body = harness::sample("summary_data").into_bytes();
    let whole = gzip(&body);
    let second = [gzip(&body[..40]), gzip(&body[40..])].concat();
    let mut damaged = second.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    for (what, sent) in [
        ("no gzip", body),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("cut in the checksum", whole[..whole.len() - 3].to_vec()),
        ("cut in the second member", second[..second.len() - 20].to_vec()),
        ("a wrong checksum in the second member", damaged),
        ("more members than are read", gzip(b"").repeat(1001)),
    ] {
        let (reason, message) = balance("gzip", sent).await.unwrap_err();
        assert_eq!(reason, Reason::Decode, "{what}");
        let begin = "the answer is not of the documented shape: its compression is broken (";
        assert!(message.starts_with(begin), "{what}: {message}");
    }
    assert_eq!(balance("gzip", Vec::new()).await.unwrap_err().0, Reason::NotJson);
}

#[tokio::test]
async fn unpacking_stops_at_the_limit() {
    let zeros = vec![b' '; 16 << 20];
    let body = harness::sample("summary_data").into_bytes();
    for (what, encoding, sent) in [
        ("the first member", "gzip", gzip(&zeros)),
        ("the second member", "gzip", [gzip(&body), gzip(&zeros)].concat()),
        ("members that fit only one by one", "gzip", gzip(&zeros[..20 << 10]).repeat(4)),
        ("the inner one of two", "gzip, gzip", gzip(&gzip(&zeros))),
        ("what is not unpacked", "gzip", [gzip(&body), vec![0; 1 << 20]].concat()),
    ] {
        let (reason, message) = balance(encoding, sent).await.unwrap_err();
        assert_eq!(reason, Reason::BodyTooLarge, "{what}: {message}");
    }
}

#[tokio::test]
async fn negative_zero_is_zero() {
    let zeros = ["-0.00000000", "-0", "-0.0", "-.0", "-0e5"];
    for zero in zeros {
        let summary = json!({"active_workers": zero, "unactive_workers": zero, "hashrate_10min": zero,
            "hashrate_1hour": zero, "hashrate_24hour": zero, "balance": zero});
        let (series, anomalies) = poll_with("summary_data", json!({"status": "OK", "data": summary})).await;
        for name in ["workers{state=\"active\"}", "hashrate_hashes_per_second{window=\"1h\"}", "balance_coins"] {
            assert_eq!(series[name].to_bits(), 0, "{zero}: {name}");
        }
        let mut machine = worker(1);
        for field in ["hashrate_10min", "hashrate_1hour", "reject_rate", "last_active"] {
            machine[field] = zero.into();
        }
        let (series, odd) = poll_with("workers", json!({"status": "OK", "data": [machine], "total": 1})).await;
        let of_worker = "worker=\"w\",worker_id=\"1\"";
        assert_eq!(series[&format!("worker_reject_ratio{{{of_worker}}}")].to_bits(), 0, "{zero}");
        assert_eq!(series[&format!("worker_hashrate_hashes_per_second{{window=\"1h\",{of_worker}}}")].to_bits(), 0);
        // 0 is the pool's word for "never".
        assert!(!series.contains_key(&format!("worker_last_active_timestamp_seconds{{{of_worker}}}")));
        let (series, more) = poll_with("profit_history", answer(&json!([day("2024-03-03", zero)]), 1)).await;
        assert_eq!(series["income_last_day_coins{scheme=\"pps\"}"].to_bits(), 0, "{zero}");
        assert_eq!([anomalies, odd, more], [const { BTreeMap::new() }; 3], "{zero}");
    }
}

#[tokio::test]
async fn amounts_are_signed_and_other_figures_are_not() {
    let summary = json!({"active_workers": "-1", "unactive_workers": "-2", "hashrate_10min": "-1e-400",
        "hashrate_1hour": "-1", "hashrate_24hour": "3", "balance": "-0.00000012"});
    let (series, anomalies) = poll_with("summary_data", json!({"status": "OK", "data": summary})).await;
    assert_eq!(series["balance_coins"], -12e-8);
    let names = ["active_workers", "unactive_workers", "hashrate_10min", "hashrate_1hour"];
    assert_eq!(anomalies, names.map(|name| (format!("summary_data {name}"), 1)).into());
    assert!(!series.keys().any(|name| name.starts_with("workers{") || name.ends_with("window=\"1h\"}")), "{series:?}");

    let mut corrected = day("2024-03-02", "-0.00010000");
    corrected["pplns_profit"] = "-0.00000001".into();
    let days = json!([corrected, day("2024-03-03", "0.00030000"), day("2024-03-04", "-0.1")]);
    let (series, anomalies) = poll_with("profit_history", answer(&days, 3)).await;
    assert_eq!(anomalies, BTreeMap::new());
    for period in ["7d", "30d", "all"] {
        assert_eq!(series[&format!("income_coins{{period=\"{period}\"}}")], 0.0002);
    }
    assert_eq!(series["income_today_coins{scheme=\"pps\"}"], -0.1);

    let (series, anomalies) =
        poll_with("payment_history", answer(&json!([payment(1, "0.005"), payment(2, "-0.001")]), 2)).await;
    assert_eq!(anomalies, BTreeMap::new());
    assert_eq!((series["paid_coins"], series["last_payment_coins"]), (0.004, -0.001));
}
