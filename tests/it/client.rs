//! The client against a real HTTP server: what each endpoint's answer becomes, what each failure is called.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use btcpool_exporter::{
    budget::Budget,
    client::{FetchError, PoolClient},
    clock::Clock,
    collector::{Moment, Scope, View},
    config::{ApiKey, RejectRateUnit},
    history::Period,
    model::{Coins, Currency, Endpoint, Hashrate, HashrateWindows, Reason, Target},
    store::Store,
    telemetry::{Code, Telemetry},
    wire::{self, Anomalies},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use wiremock::ResponseTemplate;

use crate::harness::{self, KEY, Pool, Running};

/// A client of a pool, and what it counts.
pub struct Asking {
    pub client: PoolClient,
    pub telemetry: Arc<Telemetry>,
    pub target: Target,
    pub key: ApiKey,
}

impl Asking {
    pub fn of(base_url: &str) -> Self {
        Self::with(base_url, "concurrency: 8")
    }

    /// With keys of the configuration's `api`.
    pub fn with(base_url: &str, api: &str) -> Self {
        let config = harness::config_with(base_url, api, &harness::one_account());
        let telemetry = Arc::new(Telemetry::new(Clock::system().now()));
        let budget = Arc::new(Budget::new(config.api.concurrency, config.api.requests_per_second));
        let client = PoolClient::new(config.api.clone(), budget, telemetry.clone(), Clock::system()).unwrap();
        let (target, account) = config.targets().next().unwrap();
        Self { client, telemetry, key: account.key.clone(), target }
    }

    /// The anomalies that were counted, without the zeros.
    pub fn anomalies(&self) -> Vec<(String, u64)> {
        let counted = self.telemetry.snapshot().anomalies.into_iter().filter(|(_, count)| *count > 0);
        counted.map(|((endpoint, field), count)| (format!("{endpoint} {field}"), count)).collect()
    }
}

#[tokio::test]
async fn published_samples_decode_exactly() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let asking = Asking::of(&pool.base_url());
    let Asking { client, target, key, .. } = &asking;

    let stats = client.main_stat().await.unwrap();
    let stats: Vec<_> = stats
        .iter()
        .map(|(currency, coin)| {
            let hashrates = [coin.pool_hashrate, coin.network_hashrate].map(|rate| rate.unwrap().as_f64());
            (*currency, coin.miners, coin.fee.unwrap().as_f64(), hashrates, coin.network_difficulty)
        })
        .collect();
    let expected = vec![
        (Currency::Btc, Some(1853), 0.01, [109_444_141_315_644_889.0, 4.4014015804097e20], Some(52_391_178_981_379.0)),
        (Currency::Bch, Some(5), 0.01, [293_906_788_182_043.0, 2.89e18], Some(404_189_587_524.26)),
        (Currency::Ltc, Some(5), 0.01, [2_419_498_243.0, 700_700_000_000_000.0], Some(26_922_009.073457)),
    ];
    assert_eq!(stats, expected);

    let summary = client.summary_data(target, key).await.unwrap();
    assert_eq!((summary.active_workers, summary.inactive_workers), (Some(0), Some(0)));
    assert_eq!(summary.balance.unwrap().units(), 15_744);
    assert_eq!(summary.hashrate.ten_minutes.unwrap().as_f64(), 0.0);
    assert_eq!(summary.hashrate.one_hour.unwrap().as_f64(), 0.0);
    assert_eq!(summary.hashrate.day.unwrap().as_f64(), 0.0);

    let payments = client.payment_history(target, key, None).await.unwrap();
    assert_eq!((payments.by_id.len(), payments.unread), (2, 0));
    let rows: Vec<_> = payments
        .by_id
        .iter()
        .map(|(id, row)| (id.as_str(), row.amount.unwrap().units(), row.created.unwrap().0))
        .collect();
    assert_eq!(rows, [("38409239", 137_954, 1_682_845_283), ("38518124", 149_377, 1_683_017_935)]);

    let income = client.profit_history(target, key, None).await.unwrap();
    let rows: Vec<_> = income
        .days
        .values()
        .map(|day| {
            let coins = [day.pplns, day.pps, day.total].map(|coins| coins.unwrap().units());
            (day.date.to_string(), day.hashrate.unwrap().as_f64(), coins)
        })
        .collect();
    let expected = [
        ("2023-04-26", 293286989405200.68, [3050, 73035, 76085]),
        ("2023-04-27", 291413747372693.43, [3200, 72572, 75772]),
        ("2023-04-28", 241351761280465.71, [1091, 60104, 61195]),
        ("2023-04-29", 291197102859368.68, [3456, 72518, 75974]),
        ("2023-04-30", 291037470060076.75, [3347, 72479, 75826]),
        ("2023-05-01", 290051167407308.81, [2535, 72229, 74764]),
        ("2023-05-02", 168986792658595.09, [3837, 42082, 45919]),
    ];
    assert_eq!(rows, expected.map(|(date, hashrate, coins)| (date.to_owned(), hashrate, coins)));

    let workers = client.workers(target, key, usize::MAX).await.unwrap();
    let rows: Vec<_> = workers
        .list
        .iter()
        .map(|worker| (worker.id.as_str(), &*worker.name, worker.last_active.unwrap().0, worker.active))
        .collect();
    let expected = [
        ("23890169", "9be6", 1683024000, Some(false)),
        ("23890170", "1x5", 1683024000, Some(false)),
        ("23890171", "8d77", 1683024000, Some(false)),
        ("23890172", "897", 1683024000, Some(false)),
        ("23890575", "6094", 1683024000, Some(false)),
        ("24032703", "worker1", 1681255059, Some(false)),
    ];
    assert_eq!(rows, expected);
    assert_eq!(workers.reported, Some(6));
    assert!(workers.list.iter().all(|worker| worker.reject_ratio.unwrap().as_f64() == 0.0));
    // Both histories say that there are more rows than their samples hold. What the pool tells of workers only since
    // its samples were published is missing in them, and nothing else.
    let mut anomalies = BTreeMap::from(["profit_history total", "payment_history total"].map(|at| (at.to_owned(), 1)));
    let sample: Value = serde_json::from_str(&harness::sample("workers")).unwrap();
    for field in harness::worker_figures() {
        let rows = sample["data"].as_array().unwrap().iter();
        let lacking = rows.filter(|row| row.get(field).is_none()).count();
        if lacking > 0 {
            anomalies.insert(format!("workers {field}"), lacking as u64);
        }
    }
    assert_eq!(asking.anomalies().into_iter().collect::<BTreeMap<_, _>>(), anomalies);
}

#[tokio::test]
async fn key_is_sent_only_in_its_header() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let Asking { client, target, key, .. } = Asking::of(&pool.base_url());
    client.main_stat().await.unwrap();
    client.summary_data(&target, &key).await.unwrap();
    client.workers(&target, &key, usize::MAX).await.unwrap();

    let main_stat = &pool.requests("main_stat").await[0];
    assert_eq!(main_stat.url.query(), Some("v=1&method=main_stat"));
    assert!(!main_stat.headers.contains_key("x-api-key"));
    let summary = &pool.requests("summary_data").await[0];
    assert_eq!(summary.url.query(), Some("v=1&method=summary_data&currency=BTC"));
    let headers: Vec<_> = summary.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(!headers.contains(&"referer"), "{headers:?}");
    let with_key: Vec<_> = summary.headers.iter().filter(|(_, value)| value.as_bytes() == KEY.as_bytes()).collect();
    assert_eq!(with_key.len(), 1);
    assert_eq!(with_key[0].0, "x-api-key");
    let workers = &pool.requests("workers").await[0];
    assert_eq!(workers.url.query(), Some("v=1&method=workers&currency=BTC&offset=0&limit=100"));
}

#[tokio::test]
async fn bad_responses_have_their_reason() {
    let ok = |body: &str| ResponseTemplate::new(200).set_body_raw(body.as_bytes(), "text/html");
    let deep = format!("{{\"status\":\"OK\",\"data\":{}", "[".repeat(100_000));
    let long = format!("{{\"status\":\"OK\",\"data\":\"{}\"}}", "x".repeat(2 << 20));
    let endless = "a pool's message ".repeat(50);
    let table: &[(ResponseTemplate, Reason, &str)] = &[
        (ResponseTemplate::new(401), Reason::Auth, "the pool refused the key (HTTP 401)"),
        (
            ResponseTemplate::new(403),
            Reason::Auth,
            "the pool refused the key (HTTP 403); is it the key of this account",
        ),
        (
            ResponseTemplate::new(404),
            Reason::Http4xx,
            "the pool answered HTTP 404; does api.base_url still lead to the API?",
        ),
        (ResponseTemplate::new(500), Reason::Http5xx, "the pool answered HTTP 500"),
        (ResponseTemplate::new(502), Reason::Http5xx, "the pool answered HTTP 502; the trouble is at the pool"),
        (ResponseTemplate::new(429), Reason::RateLimited, "HTTP 429"),
        (ResponseTemplate::new(301), Reason::Redirect, "(HTTP 301) to nowhere"),
        (
            ResponseTemplate::new(302).insert_header("location", "https://new.example:8443/api?key=1"),
            Reason::Redirect,
            "(HTTP 302) to https://new.example:8443/api; if the API has moved there, change api.base_url",
        ),
        (ok(""), Reason::NotJson, "the answer is empty, not JSON"),
        (ok("  \n"), Reason::NotJson, "the answer is empty, not JSON"),
        (ok("<html>Just a moment</html>"), Reason::NotJson, "the answer is an HTML or XML page, not JSON"),
        (ok("404 page not found"), Reason::NotJson, "the answer is something else, not JSON"),
        (ok("nothing"), Reason::NotJson, "the answer is something else, not JSON"),
        (ok("null"), Reason::Decode, "the answer: expected an object, found null"),
        (ok("[]"), Reason::Decode, "the answer: expected an object, found a list"),
        (ok("12"), Reason::Decode, "the answer: expected an object, found a number"),
        (ok("{\"status\":\"OK\",\"data\":{\"bal"), Reason::Decode, "EOF while parsing a string"),
        (ok("{\"status\":\"OK\",\"data\":{}} trailing"), Reason::Decode, "trailing characters"),
        (ok(&deep), Reason::Decode, "it is no valid JSON"),
        (ok("{\"data\":{}}"), Reason::Decode, "status: expected a string, found none"),
        (ok("{\"status\":null,\"data\":{}}"), Reason::Decode, "status: expected a string, found none"),
        (ok("{\"status\":false,\"message\":\"invalid\"}"), Reason::ApiError, "status false: invalid"),
        (ok("{\"status\":0}"), Reason::ApiError, "status 0, without a message"),
        (ok("{\"message\":\"Unauthenticated.\"}"), Reason::ApiError, "no status: Unauthenticated."),
        (ok("{\"status\":\"OK\"}"), Reason::Decode, "data: expected a value, found nothing"),
        (ok("{\"status\":\"OK\",\"data\":null}"), Reason::Decode, "data: expected an object, found null"),
        (ok("{\"status\":\"OK\",\"data\":false}"), Reason::Decode, "data: expected an object, found true or false"),
        (ok("{\"status\":\"OK\",\"data\":[]}"), Reason::Decode, "data: expected an object, found a list"),
        (ok("{\"status\":\"OK\",\"data\":{}}"), Reason::Decode, "data: expected at least one known field, found none"),
        (ok("{\"status\":\"OK\",\"data\":{\"x\":1}}"), Reason::Decode, "at least one known field"),
        (ok("{\"status\":\"ERROR\"}"), Reason::ApiError, "the pool reports an error: status ERROR, without a message"),
        (
            ok("{\"status\":\"error\",\"message\":\"bad\\u0000 \\u202ekey\"}"),
            Reason::ApiError,
            "the pool reports an error: status error: bad   key",
        ),
        (ok("{\"status\":\"E\",\"message\":\"\",\"error\":\"why\"}"), Reason::ApiError, "status E: why"),
        (ok("{\"status\":\"ok\",\"data\":\"no\"}"), Reason::ApiError, "status ok: no"),
        (ok(&format!("{{\"status\":\"E\",\"error\":\"your key is {KEY}\"}}")), Reason::ApiError, "message withheld"),
        (ok("{\"status\":\"E\",\"msg\":\"no 3D4E5F here\"}"), Reason::ApiError, "message withheld"),
        (ok(&long), Reason::BodyTooLarge, "1048576 bytes; lower api.page_size, or raise api.max_response_bytes"),
    ];
    for (answer, reason, message) in table {
        let pool = Pool::start().await;
        pool.responds("summary_data", answer.clone()).await;
        let asking = Asking::with(&pool.base_url(), "max_response_bytes: 1MiB");
        let error = asking.client.summary_data(&asking.target, &asking.key).await.expect_err(message);
        assert_eq!((error.reason(), true), (*reason, error.to_string().contains(message)), "{error}");
        assert!(!error.to_string().contains(&KEY[..6]), "{error}");
        let failures = asking.telemetry.snapshot().request_failures;
        let counted: Vec<_> = failures.into_iter().filter(|(_, count)| *count > 0).map(|(key, _)| key.1).collect();
        assert_eq!(counted, [*reason]);
    }

    let pool = Pool::start().await;
    pool.answers("summary_data", format!("{{\"status\":\"E\",\"message\":{endless:?}}}")).await;
    let asking = Asking::of(&pool.base_url());
    let error = asking.client.summary_data(&asking.target, &asking.key).await.unwrap_err();
    let FetchError::Api(message) = error else { panic!("{error}") };
    assert_eq!(message.chars().count(), 201);
    assert!(message.ends_with('…'));
}

#[test]
fn figures_are_finite_and_not_negative() {
    for (text, expected) in [
        ("\"1.5\"", Some(1.5)),
        ("2e3", Some(2000.0)),
        ("\".5\"", Some(0.5)),
        ("\"+7\"", Some(7.0)),
        ("\" 8 \"", Some(8.0)),
        ("\"-1\"", None),
        ("-1", None),
        ("\"inf\"", None),
        ("\"NaN\"", None),
        ("\"infinity\"", None),
        ("1e999", None),
        ("\"\"", None),
        ("\"1,5\"", None),
    ] {
        let text = format!("{{\"status\":\"OK\",\"data\":{{\"BTC\":{{\"networkDiff\":{text},\"miners\":\"1\"}}}}}}");
        let mut anomalies = Anomalies::default();
        let stats = wire::main_stat(&text, &mut anomalies).unwrap();
        assert_eq!(stats[0].1.network_difficulty, expected, "{text}");
        let odd = anomalies.counts().any(|(field, _)| field == "networkDiff");
        assert_eq!(odd, expected.is_none(), "{text}");
    }
}

#[tokio::test]
async fn response_length_limit_is_exact() {
    for (length, fits) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let pool = Pool::start().await;
        let mut body = harness::sample("summary_data").trim_end().to_owned();
        body += &" ".repeat(length - body.len());
        pool.answers("summary_data", body).await;
        let asking = Asking::with(&pool.base_url(), "max_response_bytes: 1MiB");
        let result = asking.client.summary_data(&asking.target, &asking.key).await;
        assert_eq!(
            result.map(|_| ()).map_err(|error| error.reason()),
            if fits { Ok(()) } else { Err(Reason::BodyTooLarge) }
        );
    }
}

#[test]
fn field_names_may_be_escaped() {
    let text = "{\"st\\u0061tus\":\"OK\",\"d\\u0061ta\":{\"\\u0062alance\":\"0.5\",\"hashrate\\u005f1hour\":\"60\"}}";
    let summary = wire::summary_data(text, &mut Anomalies::default()).unwrap();
    let windows = HashrateWindows { one_hour: Hashrate::new(60.0), ..HashrateWindows::default() };
    assert_eq!((summary.balance, summary.hashrate), (Coins::parse("0.5"), windows));
}

#[test]
fn hashrate_windows_have_their_own_figures() {
    let row = "\"hashrate_10min\":\"10\",\"hashrate_1hour\":\"60\",\"hashrate_24hour\":\"1440\"";
    let expected =
        HashrateWindows { ten_minutes: Hashrate::new(10.0), one_hour: Hashrate::new(60.0), day: Hashrate::new(1440.0) };
    let mut anomalies = Anomalies::default();
    let text = format!("{{\"status\":\"OK\",\"data\":{{{row}}}}}");
    let summary = wire::summary_data(&text, &mut anomalies).unwrap();
    assert_eq!(summary.hashrate, expected);
    // The id in both of its forms: the quick way, and the other.
    for id in ["1", "\"1\""] {
        let text = format!("{{\"status\":\"OK\",\"data\":[{{\"worker_id\":{id},{row}}}]}}");
        let workers = wire::workers(&text, RejectRateUnit::Ratio, &mut anomalies).unwrap().rows;
        assert_eq!(workers[0].as_ref().unwrap().1.hashrate, expected);
    }
}

#[tokio::test]
async fn anomaly_counters_start_at_zero() {
    let asking = Asking::with("http://127.0.0.1:1/ru/api", "timeout: 5s");
    let counted = asking.telemetry.snapshot().anomalies;
    let fields: BTreeSet<_> =
        counted.iter().map(|((endpoint, field), count)| format!("{endpoint} {field} {count}")).collect();
    let of = |endpoint| wire::fields(endpoint).map(move |field| format!("{endpoint} {field} 0"));
    assert_eq!(fields, Endpoint::ALL.into_iter().flat_map(of).collect());
    // Of each kind of name there is one.
    for one in
        ["main_stat LTC 0", "main_stat fee 0", "summary_data balance 0", "profit_history total 0", "workers total 0"]
    {
        assert!(fields.contains(one), "{one}");
    }
}

#[tokio::test]
async fn key_as_a_worker_name_is_redacted() {
    let pool = Pool::start().await;
    let names = [KEY, &format!("asic {}", &KEY[8..20].to_uppercase()), &KEY[8..20], &KEY[8..19], "asic"];
    let rows: Vec<_> =
        (names.iter().zip(1..)).map(|(name, id)| json!({"worker_id": id, "worker_name": name})).collect();
    pool.answers("workers", json!({"status": "OK", "data": rows, "total": 5}).to_string()).await;
    let asking = Asking::with(&pool.base_url(), "timeout: 5s");
    let workers = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap();
    let seen: Vec<_> = workers.list.iter().map(|worker| &*worker.name).collect();
    let withheld = "(name withheld: it quotes the key)";
    assert_eq!(seen, [withheld, withheld, withheld, &KEY[8..19], "asic"]);
}

#[tokio::test]
async fn gzip_bomb_is_stopped() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(b"{\"status\":\"OK\",\"data\":\"").unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 100_000);
    let pool = Pool::start().await;
    let answer = ResponseTemplate::new(200).insert_header("content-encoding", "gzip");
    pool.responds("main_stat", answer.set_body_bytes(bomb.clone())).await;
    let asking = Asking::with(&pool.base_url(), "max_response_bytes: 1MiB");
    assert_eq!(asking.client.main_stat().await, Err(FetchError::BodyTooLarge(1 << 20)));

    let pool = Pool::start().await;
    let answer = ResponseTemplate::new(200).insert_header("content-encoding", "gzip");
    pool.responds("main_stat", answer.set_body_bytes(b"this is no gzip".to_vec())).await;
    let error = Asking::of(&pool.base_url()).client.main_stat().await.unwrap_err();
    assert_eq!(error.reason(), Reason::Decode, "{error}");
}

/// A server that does with each connection what it is told.
async fn rude_server<F: Future<Output = ()> + Send>(
    behave: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            behave(stream).await;
        }
    });
    format!("http://{address}/ru/api")
}

#[tokio::test]
async fn transport_failures_have_their_reason() {
    let half = rude_server(|mut stream| async move {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"status\":").await;
    })
    .await;
    let closing = rude_server(|stream| async move { drop(stream) }).await;
    let silent = rude_server(|stream| async move {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(stream);
        });
    })
    .await;
    let other_protocol = rude_server(|mut stream| async move {
        let _ = stream.write_all(b"220 smtp.example ESMTP\r\n").await;
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await;
    })
    .await;
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/ru/api", listener.local_addr().unwrap())
    };
    let not_tls = closing.replace("http://", "https://");
    let plain_tls = other_protocol.replace("http://", "https://");
    for (base_url, reason, message) in [
        (half.as_str(), Reason::Connect, "the connection to the pool failed: "),
        (&closing, Reason::Connect, "the connection to the pool failed: "),
        (&other_protocol, Reason::Connect, "the connection to the pool failed: "),
        (&refused, Reason::Connect, "(os error 111); check api.base_url, the network and the firewall"),
        (&silent, Reason::Timeout, "no complete answer within 300ms"),
        ("https://no-such-host.invalid/ru/api", Reason::Dns, "; check api.base_url and this machine's DNS"),
        (&plain_tls, Reason::Tls, "; check this machine's clock and CA certificates"),
        (&not_tls, Reason::Connect, "the connection to the pool failed: "),
    ] {
        let timeout = if reason == Reason::Timeout { "300ms" } else { "20s" };
        let asking = Asking::with(base_url, &format!("timeout: {timeout}"));
        let error = asking.client.summary_data(&asking.target, &asking.key).await.expect_err(message);
        assert_eq!(error.reason(), reason, "{base_url}: {error}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(!error.to_string().contains("method="), "the URL is in the text: {error}");
        let requests = asking.telemetry.snapshot().requests;
        let code = Code::from((base_url == half).then_some(200));
        assert_eq!(requests.into_keys().map(|(_, code)| code).collect::<Vec<_>>(), [code], "{base_url}");
    }
}

#[tokio::test]
async fn retry_after_pauses_everybody() {
    let in_two_minutes = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(120));
    for (status, retry_after, least, most) in [
        (429, "30", 10, 30),
        (503, "30", 10, 30),
        (429, "999999999999999999999999999", 200, 300),
        (429, in_two_minutes.as_str(), 60, 120),
        (429, "Sun, 06 Nov 1994 08:49:37 GMT", 0, 0),
        (429, "soon", 0, 0),
    ] {
        let pool = Pool::start().await;
        pool.responds("main_stat", ResponseTemplate::new(status).insert_header("retry-after", retry_after)).await;
        let asking = Asking::of(&pool.base_url());
        asking.client.main_stat().await.unwrap_err();
        let left = asking.client.pause_left().map_or(0, |left| left.as_secs_f64().ceil() as u64);
        assert!((least..=most).contains(&left), "{retry_after}: {left} s");
    }
}

/// One worker with a field replaced; what becomes of it, and what is counted.
async fn worker_with(field: &str, json: &str, unit: &str) -> (Vec<btcpool_exporter::wire::Worker>, Vec<(String, u64)>) {
    let mut sample = harness::good_worker().await;
    for (field, figure) in [("hashrate_10min", "1"), ("hashrate_24hour", "3")] {
        sample[field] = figure.into();
    }
    assert!(sample.contains_key(field), "{field}");
    let fields = sample.iter().map(|(name, value)| match json {
        // The field is left out.
        "" if name == field => "\"other\":0".to_owned(),
        json if name == field => format!("\"{name}\":{json}"),
        _ => format!("\"{name}\":{value}"),
    });
    let row = fields.collect::<Vec<_>>().join(",");
    let pool = Pool::start().await;
    pool.answers("workers", format!("{{\"status\":\"OK\",\"data\":[{{{row}}}],\"total\":1}}")).await;
    let asking = Asking::with(&pool.base_url(), &format!("reject_rate_unit: {unit}"));
    let workers = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap();
    (workers.list, asking.anomalies())
}

#[tokio::test]
async fn unreadable_field_is_skipped_and_counted() {
    let huge = "9".repeat(400);
    let table: &[(&str, &str, Option<f64>, u64)] = &[
        ("hashrate_1hour", "\"109444141315644889\"", Some(109_444_141_315_644_889.0), 0),
        ("hashrate_1hour", "109444141315644889", Some(109_444_141_315_644_889.0), 0),
        ("hashrate_1hour", "\"4.4014015804097E+20\"", Some(4.4014015804097e20), 0),
        ("hashrate_1hour", "4.4e20", Some(4.4e20), 0),
        ("hashrate_1hour", "\" 12.5 \"", Some(12.5), 0),
        ("hashrate_1hour", "null", None, 0),
        ("hashrate_1hour", "", None, 1),
        ("hashrate_1hour", "\"\"", None, 1),
        ("hashrate_1hour", "\"-1\"", None, 1),
        ("hashrate_1hour", "\"NaN\"", None, 1),
        ("hashrate_1hour", "\"inf\"", None, 1),
        ("hashrate_1hour", "\"1e999\"", None, 1),
        ("hashrate_1hour", "1e999", None, 1),
        ("hashrate_1hour", huge.as_str(), None, 1),
        ("hashrate_1hour", "\"12 TH\"", None, 1),
        ("hashrate_1hour", "true", None, 1),
        ("hashrate_1hour", "[1]", None, 1),
        ("hashrate_1hour", "{\"a\":1}", None, 1),
        ("last_active", "1683024000", Some(1_683_024_000.0), 0),
        ("last_active", "\"0\"", None, 0),
        ("last_active", "\"1683024000000\"", None, 1),
        ("last_active", "\"1683024000.5\"", None, 1),
        ("last_active", "\"-5\"", None, 1),
        ("reject_rate", "\"0.00120000\"", Some(0.0012), 0),
        ("reject_rate", "1", Some(1.0), 0),
        ("reject_rate", "\"1.2\"", None, 1),
        ("reject_rate", "\"-0.1\"", None, 1),
        ("worker_status", "1", Some(1.0), 0),
        ("worker_status", "\"active\"", Some(1.0), 0),
        ("worker_status", "\"unactive\"", Some(0.0), 0),
        ("worker_status", "\"ONLINE\"", Some(1.0), 0),
        ("worker_status", "\"OFFLINE\"", Some(0.0), 0),
        ("worker_status", "\"DEAD\"", Some(0.0), 0),
        ("worker_status", "\"2\"", None, 1),
        ("worker_status", "null", None, 0),
    ];
    for &(field, json, value, count) in table {
        let (workers, anomalies) = worker_with(field, json, "ratio").await;
        let worker = &workers[0];
        let found = match field {
            "hashrate_1hour" => worker.hashrate.one_hour.map(|rate| rate.as_f64()),
            "last_active" => worker.last_active.map(|at| at.0 as f64),
            "reject_rate" => worker.reject_ratio.map(|ratio| ratio.as_f64()),
            _ => worker.active.map(|active| u64::from(active) as f64),
        };
        assert_eq!(found, value, "{field} {json}");
        let counted = if count > 0 { vec![(format!("workers {field}"), count)] } else { Vec::new() };
        assert_eq!(anomalies, counted, "{field} {json}");
        // Its neighbours are untouched.
        assert_eq!(worker.hashrate.ten_minutes.unwrap().as_f64(), 1.0);
        assert_eq!(worker.hashrate.day.unwrap().as_f64(), 3.0);
    }
    let (workers, anomalies) = worker_with("reject_rate", "\"1.2\"", "percent").await;
    assert_eq!((workers[0].reject_ratio.unwrap().as_f64(), anomalies), (0.012, Vec::new()));
    let (workers, anomalies) = worker_with("reject_rate", "\"100.1\"", "percent").await;
    assert_eq!((workers[0].reject_ratio, anomalies.len()), (None, 1));
}

#[tokio::test]
async fn row_without_id_is_skipped_and_counted() {
    for json in ["", "null", "\"\"", "[]", "\"a\\nb\""] {
        let (workers, anomalies) = worker_with("worker_id", json, "ratio").await;
        assert_eq!((workers.len(), anomalies), (0, vec![("workers worker_id".to_owned(), 1)]), "{json}");
    }
    let pool = Pool::start().await;
    let row = |date: &str| {
        format!(
            "{{\"hashrate\":\"1\",\"pplns_profit\":\"0\",\"pps_profit\":\"1\",\"total_profit\":\"1\",\"date\":{date}}}"
        )
    };
    let rows = [
        row("\"2023-04-26\""),
        row("\"0000-00-00\""),
        row("\"26.04.2023\""),
        row("null"),
        row("\"2023-04-27 00:00:00\""),
    ];
    pool.answers("profit_history", format!("{{\"status\":\"OK\",\"data\":[{}],\"total\":5}}", rows.join(","))).await;
    let asking = Asking::of(&pool.base_url());
    let income = asking.client.profit_history(&asking.target, &asking.key, None).await.unwrap();
    assert_eq!((income.days.len(), income.unread), (2, 3));
    assert_eq!(asking.anomalies(), [("profit_history date".to_owned(), 3)]);
    // A sum that might lack something is no sum.
    assert_eq!(income.sum(Period::All, "2023-05-01".parse().unwrap()), None);
}

#[tokio::test]
async fn hostile_names_are_sanitized() {
    for (json, name) in [
        (r#""h1-r07-p03""#, "h1-r07-p03".to_owned()),
        (r#""  rig 1 \t""#, "  rig 1 \u{FFFD}".to_owned()),
        (r#""\u200erig2\n""#, "\u{FFFD}rig2\u{FFFD}".to_owned()),
        (r#""a\"b\\c""#, "a\"b\\c".to_owned()),
        (r#""a\nb\u0000c""#, "a\u{FFFD}b\u{FFFD}c".to_owned()),
        (r#""\u202Egnp.exe""#, "\u{FFFD}gnp.exe".to_owned()),
        (r#""half \uD83D pair""#, "half \u{FFFD}\u{FFFD}\u{FFFD} pair".to_owned()),
        (r#""\uD83D\uDE00 Гараж""#, "😀 Гараж".to_owned()),
        (r#"12345"#, "12345".to_owned()),
        (r#"null"#, String::new()),
    ] {
        let (workers, anomalies) = worker_with("worker_name", json, "ratio").await;
        assert_eq!((&*workers[0].name, anomalies.len()), (name.as_str(), 0), "{json}");
    }
    let (workers, _) = worker_with("worker_name", &format!("\"{}\"", "я".repeat(10_000)), "ratio").await;
    assert_eq!(&*workers[0].name, "я".repeat(128));
    let (workers, anomalies) = worker_with("worker_name", "[]", "ratio").await;
    assert_eq!((&*workers[0].name, anomalies.len()), ("", 1));
}

#[tokio::test]
async fn invalid_utf8_costs_only_itself() {
    let pool = Pool::start().await;
    let mut body = br#"{"status":"OK","data":[{"worker_id":"1","worker_name":"a"#.to_vec();
    body.extend([0xff, 0xfe]);
    body.extend(br#"b"}],"total":1}"#);
    pool.answers("workers", body).await;
    let asking = Asking::of(&pool.base_url());
    let workers = asking.client.workers(&asking.target, &asking.key, usize::MAX).await.unwrap();
    assert_eq!(&*workers.list[0].name, "a\u{FFFD}\u{FFFD}b");
}

#[tokio::test]
async fn empty_lists_have_two_spellings() {
    let too_many = format!("[{}{{}}]", "{},".repeat(10_000));
    let too_many_numbers = format!("[{}0]", "0,".repeat(100_000));
    let too_many_keys = format!("{{{}\"1\":{{}}}}", "\"0\":{},".repeat(10_000));
    for (data, expected) in [
        ("[]", Ok(0)),
        ("{}", Ok(0)),
        ("{ }", Ok(0)),
        ("null", Err("data: expected a list, found null")),
        ("false", Err("data: expected a list, found true or false")),
        ("\"\"", Err("data: expected a list, found a string")),
        ("{\"rows\":{}}", Err("data: expected a list, found an object that is not empty")),
        ("{\"1\":{\"worker_id\":\"1\"}}", Ok(1)),
        ("[{\"worker_id\":\"1\"},null]", Ok(1)),
        ("[{\"worker_id\":\"1\"},[\"2\"]]", Ok(1)),
        ("[3]", Err("data[0]: expected an object, found a number")),
        (too_many.as_str(), Err("data: more than 10000 rows on one page")),
        (too_many_numbers.as_str(), Err("data: more than 10000 rows on one page")),
        (too_many_keys.as_str(), Err("data: more than 10000 rows on one page")),
    ] {
        let pool = Pool::start().await;
        pool.answers("workers", format!("{{\"status\":\"OK\",\"data\":{data},\"total\":0}}")).await;
        let asking = Asking::of(&pool.base_url());
        match (asking.client.workers(&asking.target, &asking.key, usize::MAX).await, expected) {
            (Ok(workers), Ok(count)) => assert_eq!(workers.list.len(), count),
            (Err(error), Err(message)) => {
                assert_eq!((error.reason(), true), (Reason::Decode, error.to_string().contains(message)), "{error}");
            }
            (found, _) => panic!("{data}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn main_stat_reads_known_fields_of_each_coin() {
    let pool = Pool::start().await;
    let body = r#"{"status":"OK","data":{"BTC":{"miners":"7","fee":"2.5"},"BCH":null,"LTC":[],"DOGE":{"miners":"1"}}}"#;
    pool.answers("main_stat", body).await;
    let asking = Asking::of(&pool.base_url());
    let stats = asking.client.main_stat().await.unwrap();
    assert_eq!(stats.len(), 1);
    assert_eq!((stats[0].0, stats[0].1.miners, stats[0].1.fee.unwrap().as_f64()), (Currency::Btc, Some(7), 0.025));
    let expected = ["LTC", "networkDiff", "networkHs", "poolHs"].map(|field| (format!("main_stat {field}"), 1));
    assert_eq!(asking.anomalies(), expected);
}

#[tokio::test]
async fn main_stat_refusal_does_not_blame_a_key() {
    let pool = Pool::start().await;
    pool.responds("main_stat", ResponseTemplate::new(403)).await;
    let error = Asking::of(&pool.base_url()).client.main_stat().await.unwrap_err();
    assert_eq!(error.to_string(), "the pool refused to answer (HTTP 403); is this IP address blocked?");
}

#[tokio::test]
async fn view_holds_no_address() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let config = harness::config(&pool.base_url(), &harness::one_account());
    let running = Running::start_ready(config.clone()).await;
    for path in ["/metrics", "/", "/sd"] {
        let (_, body) = running.get(path).await;
        for secret in ["bc1q", "7f37726aca", KEY, "38518124"] {
            assert!(!body.contains(secret), "{path} holds {secret}");
        }
    }
    running.stop().await.unwrap();
    // Nor does what one would print of it while looking for a defect.
    let store = Store::new(&config);
    let telemetry = Telemetry::new(Clock::system().now());
    let now = Moment { wall: Clock::system().now(), monotonic: std::time::Instant::now() };
    let view = View::take(&config, &store, &telemetry, &Scope::All, now);
    assert!(!format!("{view:?} {config:?}").contains(&KEY[..6]));
}
