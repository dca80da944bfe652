//! Real Prometheus: what it answers is what the pool says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use btcpool_exporter::collector::CATALOGUE;
use serde_json::Value;

use crate::{
    assert_same,
    exposition::sample_lines,
    programs::{CLASSIC, Demo, Prometheus},
    support::pool::reader::{self, Labels, Said, Series, labels, number, sum, text},
};

/// The machine's own Prometheus.
pub fn prometheus() -> PathBuf {
    PathBuf::from("prometheus")
}

/// One of version 3, which is stricter with what it scrapes.
pub fn prometheus_3() -> PathBuf {
    let Some(program) = std::env::var_os("PROMETHEUS3_BIN") else {
        panic!("PROMETHEUS3_BIN must name the program of a Prometheus 3; tests/run fetches one");
    };
    program.into()
}

#[tokio::test]
async fn prometheus_answers_as_the_pool_does() {
    answers_as_the_pool_does(prometheus()).await;
}

#[tokio::test]
async fn prometheus_3_answers_as_the_pool_does() {
    answers_as_the_pool_does(prometheus_3()).await;
}

#[tokio::test]
async fn prometheus_discovers_each_account() {
    discovers_each_account_as_a_target(prometheus()).await;
}

#[tokio::test]
async fn prometheus_3_discovers_each_account() {
    discovers_each_account_as_a_target(prometheus_3()).await;
}

/// The series that PromQL gives, without the labels that Prometheus adds by itself.
pub fn series(answer: &Value) -> Series {
    let mut series = Series::new();
    for result in answer["result"].as_array().unwrap() {
        let mut labels: Labels = serde_json::from_value(result["metric"].clone()).unwrap();
        labels.retain(|name, _| !["__name__", "instance", "job"].contains(&name.as_str()));
        let value = result["value"][1].as_str().unwrap().parse().unwrap();
        let twice = series.insert(labels, value);
        assert_eq!(twice, None, "{result} is there twice");
    }
    series
}

pub async fn query(prometheus: &Prometheus, promql: &str) -> Series {
    series(&prometheus.ask("/api/v1/query", &[("query", promql)]).await.unwrap())
}

async fn answers_as_the_pool_does(program: PathBuf) {
    let demo = Demo::start().await;
    let target = format!("  - {{ job_name: btcpool, static_configs: [ {{ targets: [\"{}\"] }} ] }}\n", demo.address());
    let prometheus = Prometheus::start(&program, &target).await;
    let up = |answer: &Value| series(answer).values().eq([&1.0]);
    prometheus.until("/api/v1/query", &[("query", "up")], up).await;

    let said = reader::said(&demo.pool_url).await;
    let workers = said.iter().map(|said| said.workers.len()).sum::<usize>();
    assert_eq!((said.len(), workers), (5, 403), "the pool is as the demo is described");

    // Nothing was dropped on the way.
    let samples = sample_lines(&demo.scrape(CLASSIC).await) as f64;
    assert_eq!(
        query(&prometheus, "scrape_samples_post_metric_relabeling").await,
        Series::from([(labels([]), samples)])
    );

    for (promql, expected) in questions(&said) {
        // A float is shown as the shortest text that stands for it alone.
        let shown = |series: Series| series.into_iter().map(|(labels, value)| format!("{labels:?} {value}"));
        assert_same(promql, shown(query(&prometheus, promql).await), shown(expected));
    }

    // A hall's hashrate is more than a float holds exactly, and Prometheus adds up in an order of its own.
    let by_account =
        query(&prometheus, "sum by (account) (btcpool_worker_hashrate_hashes_per_second{window=\"1h\"})").await;
    let mut expected = Series::new();
    for said in &said {
        let sum: f64 = said.workers.iter().map(|worker| number(worker, "hashrate_1hour")).sum();
        *expected.entry(labels([("account", &*said.account)])).or_default() += sum;
    }
    assert!(by_account.keys().eq(expected.keys()), "{by_account:?}");
    for (account, sum) in expected {
        assert!((by_account[&account] / sum - 1.0).abs() < 1e-12, "{account:?}: {} for {sum}", by_account[&account]);
    }
}

/// What the pool says, as one number.
type Figure<'a> = &'a dyn Fn(&Said) -> f64;

/// What is asked, and what the answer has to be by what the pool says.
fn questions(said: &[Said]) -> Vec<(&'static str, Series)> {
    let each = |figure: Figure<'_>| -> Series { said.iter().map(|said| (said.labels(&[]), figure(said))).collect() };
    let each_of = |label: &str, figures: &[(&str, Figure<'_>)]| -> Series {
        let of = |said: &Said| -> Vec<_> {
            figures.iter().map(|(value, figure)| (said.labels(&[(label, value)]), figure(said))).collect()
        };
        said.iter().flat_map(of).collect()
    };
    let each_worker = |field: &str, more: &[(&str, &str)]| -> Series {
        let of = |said: &Said| -> Vec<_> {
            let workers = said.workers.iter();
            workers.map(|worker| (said.worker_labels(worker, more), number(worker, field))).collect()
        };
        said.iter().flat_map(of).collect()
    };
    let newest =
        |said: &Said| said.payments.iter().max_by_key(|payment| number(payment, "created_time") as i64).cloned();
    let mut by_account = Series::new();
    for said in said {
        let workers = number(&said.summary, "active_workers") + number(&said.summary, "unactive_workers");
        *by_account.entry(labels([("account", &*said.account)])).or_default() += workers;
    }
    let mut names = BTreeMap::<_, Vec<_>>::new();
    for said in said {
        for worker in &said.workers {
            let name = text(worker, "worker_name");
            names.entry((&said.account, name)).or_default().push(said.worker_labels(worker, &[]));
        }
    }
    let namesakes: Series =
        names.into_values().filter(|those| those.len() > 1).flatten().map(|one| (one, 1.0)).collect();
    assert_eq!(namesakes.len(), 2, "two workers have one name: {namesakes:?}");
    let (up, errors) = polling();

    // What is told of each worker, in one field: the one that the description names.
    let of_workers = CATALOGUE.iter().filter(|family| family.name.starts_with("btcpool_worker_"));
    let of_workers = of_workers.filter(|family| !family.labels.contains(&"window")).map(|family| {
        let field = family.help.split_once("(workers ").and_then(|(_, rest)| rest.split_once(')'));
        let (field, _) = field.unwrap_or_else(|| panic!("{} is of no field: {}", family.name, family.help));
        (family.name, each_worker(field, &[]))
    });

    let mut questions: Vec<_> = of_workers.collect();
    assert!(questions.len() >= 3, "{questions:?}");
    questions.extend([
        (
            "count by (account, currency) (btcpool_worker_hashrate_hashes_per_second{window=\"1h\"})",
            each(&|said| said.workers.len() as f64),
        ),
        ("btcpool_account_workers_listed", each(&|said| said.workers.len() as f64)),
        (
            "btcpool_account_workers",
            each_of(
                "state",
                &[
                    ("active", &|said| number(&said.summary, "active_workers")),
                    ("inactive", &|said| number(&said.summary, "unactive_workers")),
                ],
            ),
        ),
        ("sum by (account) (btcpool_account_workers)", by_account),
        (
            "btcpool_account_hashrate_hashes_per_second",
            each_of(
                "window",
                &[
                    ("10m", &|said| number(&said.summary, "hashrate_10min")),
                    ("1h", &|said| number(&said.summary, "hashrate_1hour")),
                    ("24h", &|said| number(&said.summary, "hashrate_24hour")),
                ],
            ),
        ),
        (
            "btcpool_worker_hashrate_hashes_per_second{window=\"10m\"}",
            each_worker("hashrate_10min", &[("window", "10m")]),
        ),
        (
            "btcpool_worker_hashrate_hashes_per_second{window=\"1h\"}",
            each_worker("hashrate_1hour", &[("window", "1h")]),
        ),
        (
            "btcpool_worker_hashrate_hashes_per_second{window=\"24h\"}",
            each_worker("hashrate_24hour", &[("window", "24h")]),
        ),
        ("btcpool_account_balance_coins", each(&|said| number(&said.summary, "balance"))),
        (
            "btcpool_account_income_coins{period!=\"all\"}",
            each_of("period", &[("7d", &|said| said.income_of(7)), ("30d", &|said| said.income_of(30))]),
        ),
        ("btcpool_account_payments", each(&|said| said.payments.len() as f64)),
        ("btcpool_account_paid_coins", each(&|said| sum(&said.payments, "amount"))),
        ("btcpool_account_last_payment_coins", each(&|said| sum(&newest(said), "amount"))),
        (
            "btcpool_account_last_payment_timestamp_seconds",
            each(&|said| number(&newest(said).unwrap(), "created_time")),
        ),
        (
            "group by (account, currency, worker, worker_id) (btcpool_worker_active) and on (account, worker) count by (account, worker) (btcpool_worker_active) > 1",
            namesakes,
        ),
        (
            "group by (worker) (btcpool_worker_active{account=\"garage\"})",
            ["Гараж-1", "Гараж-2", "asic \"старый\""].map(|name| (labels([("worker", name)]), 1.0)).into(),
        ),
        (
            "group by (worker) (btcpool_worker_active{worker=\"asic \\\"старый\\\"\"})",
            Series::from([(labels([("worker", "asic \"старый\"")]), 1.0)]),
        ),
        ("btcpool_up", up),
        ("btcpool_poll_error", errors),
    ]);
    questions
}

/// How every slot's polling must go: the former client's key is refused, everything else works.
fn polling() -> (Series, Series) {
    let mut up = Series::from([(labels([("endpoint", "main_stat")]), 1.0)]);
    let mut errors = Series::new();
    for account in &reader::twin().farm().accounts {
        for holding in &account.holdings {
            for endpoint in ["summary_data", "profit_history", "payment_history", "workers"] {
                let slot =
                    [("account", &*account.name), ("currency", holding.currency.as_str()), ("endpoint", endpoint)];
                let refused = account.name == "former_client";
                up.insert(labels(slot), if refused { 0.0 } else { 1.0 });
                if refused {
                    errors.insert(labels(slot.into_iter().chain([("reason", "auth")])), 1.0);
                }
            }
        }
    }
    (up, errors)
}

async fn discovers_each_account_as_a_target(program: PathBuf) {
    let demo = Demo::start().await;
    let discovery = format!(
        "  - job_name: btcpool\n    http_sd_configs: [ {{ url: \"{}/sd\" }} ]\n    relabel_configs:\n      \
         - {{ source_labels: [__meta_btcpool_account], target_label: instance }}\n      \
         - {{ source_labels: [__meta_btcpool_label_site], target_label: site }}\n",
        demo.url
    );
    let prometheus = Prometheus::start(&program, &discovery).await;
    let accounts: BTreeMap<_, _> = reader::twin()
        .farm()
        .accounts
        .iter()
        .map(|account| (account.name.to_owned(), account.site.to_owned()))
        .collect();
    assert_eq!(accounts.len(), 5);

    let all_up = |answer: &Value| {
        let targets = answer["activeTargets"].as_array().unwrap();
        targets.len() == accounts.len() && targets.iter().all(|target| target["health"] == "up")
    };
    let answer = prometheus.until("/api/v1/targets", &[("state", "active")], all_up).await;
    let targets: BTreeMap<_, _> = (answer["activeTargets"].as_array().unwrap().iter())
        .map(|target| (text(target, "scrapeUrl").to_owned(), target["labels"].clone()))
        .collect();
    let expected: BTreeMap<_, _> = (accounts.iter())
        .map(|(account, site)| {
            let labels = serde_json::json!({ "instance": account, "job": "btcpool", "site": site });
            (format!("{}/metrics?account={account}", demo.url), labels)
        })
        .collect();
    assert_eq!(targets, expected);

    // A target is called up a moment before its series can be asked for.
    let all_told = |answer: &Value| series(answer).values().eq([&(accounts.len() as f64)]);
    prometheus.until("/api/v1/query", &[("query", "count(up == 1)")], all_told).await;

    // Every series is the account's whose target it came from, and what belongs to no account is not told five times.
    let told = prometheus.ask("/api/v1/query", &[("query", "{__name__=~\"btcpool_.*\"}")]).await.unwrap();
    let told = told["result"].as_array().unwrap();
    let strangers: Vec<_> =
        told.iter().map(|one| &one["metric"]).filter(|one| one["account"] != one["instance"]).collect();
    assert_eq!(strangers, Vec::<&Value>::new());
    let names: BTreeSet<_> = told.iter().map(|one| text(&one["metric"], "account").to_owned()).collect();
    assert!(names.iter().eq(accounts.keys()), "{names:?}");

    // Together they tell what one whole scrape tells of the accounts.
    let whole = demo.scrape(CLASSIC).await;
    let of_accounts = whole.lines().filter(|line| !line.starts_with('#') && line.contains("account=")).count();
    assert_eq!(told.len(), of_accounts);
}
