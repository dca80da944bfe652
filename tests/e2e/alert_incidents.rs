//! Incidents at the simulated pool, and who is told of them, when: the shipped rules in a real Prometheus, the shipped
//! routing and inhibition in a real Alertmanager, the released exporter.
//!
//! Everything happens sixty times as fast as it would: the pool's time, the exporter's intervals and `stale_after`, every
//! duration and threshold of the rules, Prometheus' intervals and look-back, Alertmanager's waits. Calendar days are not
//! scaled, so that BTCpoolNoIncome and the income of days do not take part; promtool tests them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path as Segment, Query, State},
    http::{HeaderMap, HeaderName, Request},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use btcpool_exporter::{
    clock::Clock,
    demo::{Farm, Incident, SimulatedPool, Trouble},
    server,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::ServiceExt as _;

use crate::{
    past::{self, seconds},
    programs::{Alertmanager, Exporter, Prometheus, key},
    scraping::prometheus,
    support::{
        noon::noon,
        pool::reader::{Labels, number},
    },
};

/// How much faster everything happens.
const FACTOR: i64 = 60;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// The accounts, and how many machines each has.
const ACCOUNTS: [(&str, usize); 6] =
    [("hall", 100), ("shed", 20), ("garage", 3), ("former", 5), ("unpaid", 5), ("yard", 30)];

/// What happens: to whom, from which minute of the pool's time to which, and the alert that somebody must get.
struct Story {
    what: &'static str,
    trouble: Trouble,
    account: &'static str,
    machines: &'static str,
    minutes: (i64, i64),
    alert: &'static str,
    /// Labels of the alert besides its name and severity.
    labels: &'static [(&'static str, &'static str)],
    /// So many minutes after the beginning it must have come.
    within: i64,
}

/// So long before the first minute everything begins, in minutes. What is told before that minute does not count:
/// Prometheus takes up to five seconds to find its targets, which would be five minutes without an exporter.
const LEAD: i64 = 40;

/// No end that is seen.
const OPEN: i64 = 100_000;

const STORIES: [Story; 8] = [
    Story {
        what: "the pool's API is out for an hour",
        trouble: Trouble::ApiOut,
        account: "",
        machines: "",
        minutes: (20, 80),
        alert: "BTCpoolApiDown",
        labels: &[],
        within: 20,
    },
    Story {
        what: "a rack of ten dies in a hall of a hundred",
        trouble: Trouble::Stopped,
        account: "hall",
        machines: "hall.01",
        minutes: (105, OPEN),
        alert: "BTCpoolWorkersSilent",
        labels: &[("account", "hall"), ("currency", "BTC")],
        within: 35,
    },
    Story {
        what: "one machine throttles to 40 %",
        trouble: Trouble::Throttled(0.4),
        account: "shed",
        machines: "shed.007",
        minutes: (-LEAD, OPEN),
        alert: "BTCpoolWorkerSlow",
        labels: &[("account", "shed"), ("currency", "BTC"), ("worker", "shed.007"), ("worker_id", "25000106")],
        within: 300,
    },
    Story {
        what: "a whole farm loses power",
        trouble: Trouble::Stopped,
        account: "garage",
        machines: "",
        minutes: (105, OPEN),
        alert: "BTCpoolAccountDown",
        labels: &[("account", "garage"), ("currency", "BTC")],
        within: 35,
    },
    Story {
        what: "a key is revoked",
        trouble: Trouble::KeyRefused,
        account: "former",
        machines: "",
        minutes: (105, OPEN),
        alert: "BTCpoolKeyRefused",
        labels: &[("account", "former")],
        within: 20,
    },
    Story {
        what: "a payout is late",
        trouble: Trouble::Unpaid,
        account: "unpaid",
        machines: "",
        minutes: (-10 * DAY / MINUTE, OPEN),
        alert: "BTCpoolPayoutLate",
        labels: &[("account", "unpaid"), ("currency", "BTC")],
        within: 120,
    },
    Story {
        what: "a machine leaves the list",
        trouble: Trouble::Unlisted,
        account: "yard",
        machines: "yard.03",
        minutes: (105, OPEN),
        alert: "BTCpoolWorkerVanished",
        labels: &[("account", "yard"), ("currency", "BTC")],
        within: 60,
    },
    Story {
        what: "the whole pool drops to 60 %",
        trouble: Trouble::PoolWeak(0.6),
        account: "",
        machines: "",
        minutes: (150, OPEN),
        alert: "BTCpoolPoolHashrateLow",
        labels: &[("currency", "BTC")],
        within: 45,
    },
];

/// When the payout that is awaited counts as late, in minutes.
const LATE: i64 = 100;

/// How long it goes on at the least after the last incident began, in minutes: what should not come may come late.
const AFTERMATH: i64 = 60;

/// The pool, sixty times as fast. Its times are told as they would be if it were not: an age of an hour is one of a
/// minute.
#[derive(Clone)]
struct FastPool {
    pool: SimulatedPool,
    clock: Clock,
    /// The pool's time at the beginning, and the machine's.
    began: (i64, f64),
    /// By how much the payouts of an account are told later than they were made.
    shift: (String, i64),
}

impl FastPool {
    fn told(&self, at: i64) -> i64 {
        (self.began.1 + (at - self.began.0) as f64 / FACTOR as f64).round() as i64
    }

    fn router(self) -> Router {
        let asked = |State(pool): State<Self>,
                     Query(mut parameters): Query<BTreeMap<String, String>>,
                     headers: HeaderMap| async move {
            let method = parameters.get("method").cloned().unwrap_or_default();
            if method == "payment_history" {
                // Dates that were made of times that are not the pool's.
                parameters.retain(|name, _| !["from", "to"].contains(&name.as_str()));
            }
            pool.answer(&method, &parameters, headers).await
        };
        Router::new().route("/ru/api", get(asked)).with_state(self)
    }

    /// What the pool itself answers.
    async fn ask(&self, parameters: &BTreeMap<String, String>, headers: HeaderMap) -> Response {
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::get(format!("/ru/api?{}", query.join("&"))).body(Body::empty()).unwrap();
        *request.headers_mut() = headers;
        self.pool.router().oneshot(request).await.unwrap()
    }

    async fn answer(&self, method: &str, parameters: &BTreeMap<String, String>, headers: HeaderMap) -> Response {
        let shifted = headers.get("x-api-key").is_some_and(|given| given.as_bytes() == key(&self.shift.0).as_bytes());
        let response = self.ask(parameters, headers).await;
        let (field, later) = match method {
            "workers" => ("last_active", 0),
            "payment_history" => ("created_time", if shifted { self.shift.1 } else { 0 }),
            _ => return response,
        };
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else { return (parts, body).into_response() };
        for row in answer["data"].as_array_mut().into_iter().flatten() {
            row[field] = self.told(number(row, field) as i64 + later).to_string().into();
        }
        (parts.status, Json(answer)).into_response()
    }

    /// Payouts to an account by the pool's own time, newest first.
    async fn payouts(&self, account: &str) -> Vec<i64> {
        let parameters = [("method", "payment_history"), ("currency", "BTC"), ("limit", "200")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), key(account).parse().unwrap())]);
        let body = self.ask(&parameters.into(), headers).await.into_body();
        let answer: Value = serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap();
        answer["data"].as_array().unwrap().iter().map(|row| number(row, "created_time") as i64).collect()
    }
}

/// A server on a free port, until it is dropped.
async fn serve(router: Router) -> (String, DropGuard) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let end = CancellationToken::new();
    tokio::spawn(server::serve(listener, router, end.clone()));
    (address, end.drop_guard())
}

/// One alert that came to somebody.
#[derive(Clone, Debug)]
struct Got {
    at: SystemTime,
    receiver: String,
    status: String,
    labels: Labels,
}

/// Whoever is told.
#[derive(Clone, Default)]
struct Inbox {
    alerts: Arc<Mutex<Vec<Got>>>,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Inbox {
    fn router(&self) -> Router {
        let hook = |State(inbox): State<Self>, Segment(receiver): Segment<String>, Json(body): Json<Value>| async move {
            for alert in body["alerts"].as_array().unwrap() {
                inbox.alerts.lock().unwrap().push(Got {
                    at: SystemTime::now(),
                    receiver: receiver.clone(),
                    status: alert["status"].as_str().unwrap().to_owned(),
                    labels: serde_json::from_value(alert["labels"].clone()).unwrap(),
                });
            }
        };
        let telegram = |State(inbox): State<Self>, Json(body): Json<Value>| async move {
            inbox.messages.lock().unwrap().push(body);
            Json(
                json!({ "ok": true, "result": { "message_id": 1, "date": 0, "chat": { "id": 1, "type": "private" } } }),
            )
        };
        Router::new()
            .route("/hook/{receiver}", post(hook))
            .route("/{bot}/sendMessage", post(telegram))
            .with_state(self.clone())
    }

    fn alerts(&self) -> Vec<Got> {
        self.alerts.lock().unwrap().clone()
    }

    fn first(&self, story: &Story) -> Option<Got> {
        let wanted = story.labels.iter().copied().chain([("alertname", story.alert)]);
        let wanted: BTreeMap<_, _> = wanted.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.alerts().into_iter().find(|got| got.status == "firing" && without_severity(&got.labels) == wanted)
    }
}

fn without_severity(labels: &Labels) -> Labels {
    labels.iter().filter(|(name, _)| *name != "severity").map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A duration, sixty times as short.
fn scaled(duration: &str) -> String {
    format!("{}ms", seconds(duration) * 1000 / FACTOR)
}

/// PromQL whose durations are sixty times as short.
fn scaled_promql(expr: &str) -> String {
    let mut scaled_expr = String::new();
    let mut rest = expr;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_:.".contains(c);
        let end = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            c if c.is_ascii_digit() => {
                let is_digit_or_unit = |c: char| c.is_ascii_alphanumeric() || c == '.';
                rest.find(|c| !is_digit_or_unit(c)).unwrap_or(rest.len())
            }
            c if c.is_ascii_alphabetic() || c == '_' => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(end);
        let is_duration = first.is_ascii_digit() && token.ends_with(['s', 'm', 'h', 'd', 'w']);
        scaled_expr += &if is_duration { scaled(token) } else { token.to_owned() };
        rest = after;
    }
    scaled_expr
}

/// The shipped rules, sixty times as fast, as YAML.
fn scaled_rules() -> String {
    let mut groups = Vec::new();
    for group in past::groups() {
        let rules = group.rules.iter().map(|rule| {
            let mut expr = scaled_promql(&rule.expr);
            if rule
                .record
                .as_ref()
                .is_some_and(|name| name.starts_with("btcpool:threshold:") && name.ends_with("_seconds"))
            {
                let value: i64 =
                    expr.trim().strip_prefix("vector(").unwrap().strip_suffix(')').unwrap().parse().unwrap();
                expr = format!("vector({})", value as f64 / FACTOR as f64);
            }
            let mut made = json!({ "expr": expr, "labels": rule.labels });
            let mut set = |name: &str, value: &Option<String>, fast: bool| {
                if let Some(value) = value {
                    made[name] = if fast { scaled(value) } else { value.clone() }.into();
                }
            };
            set("record", &rule.record, false);
            set("alert", &rule.alert, false);
            set("for", &rule.lasting, true);
            set("keep_firing_for", &rule.keep_firing_for, true);
            if rule.alert.is_some() {
                made["annotations"] = json!(rule.annotations);
            }
            made
        });
        let rules: Vec<_> = rules.collect();
        let interval = scaled(group.interval.as_deref().unwrap_or("1m"));
        groups.push(json!({ "name": group.name, "interval": interval, "rules": rules }));
    }
    json!({ "groups": groups }).to_string()
}

/// The shipped configuration of Alertmanager, sixty times as fast, whose receivers are an inbox.
fn scaled_alertmanager(inbox: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alertmanager");
    let text = fs::read_to_string(folder.join("alertmanager.yml")).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    fn hasten(route: &mut Value) {
        for wait in ["group_wait", "group_interval", "repeat_interval"] {
            if let Some(value) = route[wait].as_str().map(scaled) {
                route[wait] = value.into();
            }
        }
        route["routes"].as_array_mut().into_iter().flatten().for_each(hasten);
    }
    hasten(&mut config["route"]);
    let mut named = 0;
    for receiver in config["receivers"].as_array_mut().unwrap() {
        let name = receiver["name"].as_str().unwrap().to_owned();
        let object = receiver.as_object_mut().unwrap();
        object.remove("email_configs");
        let hook = json!([{ "url": format!("http://{inbox}/hook/{name}"), "send_resolved": true }]);
        object.insert("webhook_configs".to_owned(), hook);
        for telegram in object.get_mut("telegram_configs").and_then(Value::as_array_mut).into_iter().flatten() {
            let telegram = telegram.as_object_mut().unwrap();
            telegram.remove("bot_token_file");
            telegram.insert("bot_token".to_owned(), "made-up".into());
            telegram.insert("api_url".to_owned(), format!("http://{inbox}").into());
            named += 1;
        }
    }
    assert!(named > 0, "nobody is told by Telegram");
    config["global"] = json!({ "resolve_timeout": scaled("5m") });
    for template in config["templates"].as_array_mut().unwrap() {
        let name = Path::new(template.as_str().unwrap()).file_name().unwrap().to_owned();
        *template = folder.join("templates").join(name).to_str().unwrap().into();
    }
    config.to_string()
}

#[test]
fn only_durations_are_scaled() {
    let promql = r#"last_over_time(a:b:1h{window="10m"}[35m]) offset 1d > 2 * 86400 + rate(x_10m[2d:5m]) / 1e15 or b[1h30m] == 0.5"#;
    let expected = r#"last_over_time(a:b:1h{window="10m"}[35000ms]) offset 1440000ms > 2 * 86400 + rate(x_10m[2880000ms:5000ms]) / 1e15 or b[90000ms] == 0.5"#;
    assert_eq!(scaled_promql(promql), expected);
}

/// The pool at its beginning: a fast clock at noon of the day that it is where the exporter counts days.
async fn pool() -> (FastPool, String) {
    let (noon, day_utc_offset) = noon();
    let accounts = ACCOUNTS.map(|(name, machines)| (name.to_owned(), key(name), machines));
    let mut farm = Farm::of(7, noon, accounts);
    farm.days = 60;
    farm.stops = (2 * MINUTE, 10 * MINUTE);
    let minute = |minute: i64| noon.as_second() + minute * MINUTE;
    farm.incidents = (STORIES.iter())
        .map(|story| Incident {
            trouble: story.trouble,
            account: story.account.to_owned(),
            machines: story.machines.to_owned(),
            from: minute(story.minutes.0),
            to: minute(story.minutes.1),
        })
        .collect();
    let clock = Clock::simulated(noon - SignedDuration::from_mins(LEAD), FACTOR as f64);
    let wall = Timestamp::now().as_millisecond() as f64 / 1000.0 + (LEAD * MINUTE / FACTOR) as f64;
    let pool = SimulatedPool::of(farm, clock);
    let mut pool = FastPool { pool, clock, began: (noon.as_second(), wall), shift: ("unpaid".to_owned(), 0) };
    // The awaited payout is late when 2.5 of the usual times between two have passed.
    let payouts = pool.payouts("unpaid").await;
    let mut between: Vec<_> = payouts.windows(2).map(|pair| pair[0] - pair[1]).take(30).collect();
    between.sort_unstable();
    let usual = (between[(between.len() - 1) / 2] + between[between.len() / 2]) / 2;
    pool.shift.1 = minute(LATE) - (payouts[0] + usual * 5 / 2);
    (pool, day_utc_offset)
}

/// A week of half-hourly hashrates of the machines that will be judged by their week.
fn week(pool: &FastPool) -> String {
    let shed = pool.pool.farm().accounts.iter().find(|account| account.name == "shed").unwrap();
    let mut text = String::new();
    for half_hour in (1..=7 * 48).rev() {
        let at = pool.began.0 - half_hour * 30 * MINUTE;
        let told = (pool.began.1 * 1000.0) as i64 - half_hour * 30 * MINUTE * 1000 / FACTOR;
        for machine in &shed.holdings[0].machines {
            let (hashrate, id, name) = (pool.pool.farm().read(machine, at).hour, machine.id, &machine.name);
            let labels = format!("account=\"shed\",currency=\"BTC\",worker=\"{name}\",worker_id=\"{id}\"");
            let _ = writeln!(text, "worker:btcpool_hashrate:1h{{{labels}}} {hashrate} {told}");
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incidents_notify_exactly_the_receivers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (pool, day_utc_offset) = pool().await;
    let history = week(&pool);
    let (history, _history) = serve(Router::new().route("/metrics", get(async || history))).await;
    let (api, _api) = serve(pool.clone().router()).await;
    let inbox = Inbox::default();
    let (hooks, _hooks) = serve(inbox.router()).await;

    // Histories are asked five times as often as they would be: the longest pause of a slot that fails is 5 intervals or 5
    // minutes, whichever is less, and the minutes are not scaled. So it is a quarter of an hour, as it would be.
    let mut configuration = format!(
        "api: {{ base_url: \"http://{api}/ru/api\", concurrency: 8, requests_per_second: 1000, \
         day_utc_offset: \"{day_utc_offset}\" }}\n\
         polling:\n  live: {{ interval: 1s, stale_after: 5s }}\n  history: {{ interval: 3s, stale_after: 2m }}\n\
         accounts:\n"
    );
    for account in &pool.pool.farm().accounts {
        let expected = account.holdings[0].nominal_hashrate() / 1e12;
        let (name, key) = (&account.name, &account.key);
        let _ = writeln!(
            configuration,
            "  {name}: {{ api_key: \"{key}\", expected_hashrate: {{ BTC: {expected} TH/s }} }}"
        );
    }
    fs::write(path("btcpool.yml"), configuration).unwrap();
    fs::write(path("alertmanager.yml"), scaled_alertmanager(&hooks)).unwrap();
    fs::write(path("rules.yml"), scaled_rules()).unwrap();

    let alertmanager = Alertmanager::start(&path("alertmanager.yml")).await;
    let exporter = Exporter::start(&["--config.file", path("btcpool.yml").to_str().unwrap()]).await;
    let config = |rules: bool| {
        let storage = "storage: { tsdb: { out_of_order_time_window: 12h } }\n";
        let global =
            format!("global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms }}\n{storage}");
        let job = |name: &str, address: &str, more: &str| {
            format!("  - {{ job_name: {name}, {more}static_configs: [ {{ targets: [\"{address}\"] }} ] }}\n")
        };
        if !rules {
            let slow = "honor_labels: true, scrape_interval: 10s, scrape_timeout: 10s, \
                        metric_relabel_configs: [ { action: labeldrop, regex: job|instance } ], ";
            return format!("{global}scrape_configs:\n{}", job("history", &history, slow));
        }
        let target = alertmanager.address();
        format!(
            "{global}rule_files: [ {} ]\nalerting: {{ alertmanagers: [ {{ static_configs: [ {{ targets: [\"{target}\"] }} ] }} ] }}\n\
             scrape_configs:\n{}",
            path("rules.yml").display(),
            job("btcpool", &exporter.address.to_string(), ""),
        )
    };
    // First what the past was like, then what is watched.
    let data = path("data");
    let flags = ["--query.lookback-delta=5s", "--rules.alert.resend-delay=1s"];
    let before = Prometheus::start_with(&prometheus(), Some(&data), &config(false), &flags).await;
    let there = |answer: &Value| answer["result"][0]["value"][1] == "6720";
    let everything = "sum(count_over_time(worker:btcpool_hashrate:1h[6h]))";
    before.until("/api/v1/query", &[("query", everything)], there).await;
    drop(before);
    let watching = Prometheus::start_with(&prometheus(), Some(&data), &config(true), &flags).await;

    let minute = || (pool.clock.now().as_second() - pool.began.0) / MINUTE;
    let all = || STORIES.iter().all(|story| inbox.first(story).is_some());
    let last = STORIES.iter().map(|story| story.minutes.0).max().unwrap() + AFTERMATH;
    let deadline = STORIES.iter().map(|story| begin_of(story) + story.within).max().unwrap().max(last);
    while minute() < last || (!all() && minute() < deadline) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let got = inbox.alerts();
    let minutes = |at: SystemTime| {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        (at - pool.began.1) * FACTOR as f64 / MINUTE as f64
    };
    println!("| incident | alert | to | after |\n|---|---|---|---|");
    let mut late = Vec::new();
    for story in &STORIES {
        let Some(first) = inbox.first(story) else {
            println!("| {} | {} | NOBODY | |", story.what, story.alert);
            late.push(story.what);
            continue;
        };
        let receivers: BTreeSet<_> =
            got.iter().filter(|got| got.labels == first.labels).map(|got| &*got.receiver).collect();
        let after = minutes(first.at) - begin_of(story) as f64;
        let receivers = receivers.into_iter().collect::<Vec<_>>().join(", ");
        println!(
            "| {} | {} | {receivers} | {:.0} s ({after:.0} min) |",
            story.what,
            story.alert,
            after * MINUTE as f64 / FACTOR as f64
        );
        if after > story.within as f64 || after < 0.0 {
            late.push(story.what);
        }
    }
    let wanted =
        |got: &&Got| STORIES.iter().any(|story| inbox.first(story).is_some_and(|first| first.labels == got.labels));
    let unwanted: Vec<_> = got
        .iter()
        .filter(|got| got.status == "firing" && !wanted(got) && minutes(got.at) >= 0.0)
        .map(|got| (minutes(got.at) as i64, &got.labels))
        .collect();
    println!("{} messages by Telegram; other alerts: {unwanted:?}", inbox.messages.lock().unwrap().len());
    let pending =
        watching.ask("/api/v1/query", &[("query", "count by (alertname, account, alertstate) (ALERTS)")]).await;
    assert!(
        late.is_empty() && unwanted.is_empty(),
        "late or missing: {late:?}; not wanted: {unwanted:#?}; now {pending:?}\n{}",
        exporter.log().lines().rev().take(20).collect::<Vec<_>>().join("\n")
    );
    assert!(!inbox.messages.lock().unwrap().is_empty(), "nothing came by Telegram");
    let is_over = |got: &Got| got.status == "resolved" && got.labels["alertname"] == "BTCpoolApiDown";
    assert!(got.iter().any(is_over), "nobody was told that the API answers again");
}

/// When there is something to tell.
fn begin_of(story: &Story) -> i64 {
    if story.trouble == Trouble::Unpaid { LATE } else { story.minutes.0 }
}
