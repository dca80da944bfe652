//! More than one exporter, more than one Prometheus: each account is there exactly once, and none is lost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    programs::{Exporter, Pool, Prometheus, http, key},
    scraping::{prometheus, prometheus_3, query, series},
    support::{
        parser::{self, Format},
        pool::reader::{Series, labels, text},
    },
};

/// Some names that are hard to hash in the same way.
const ACCOUNTS: [(&str, usize); 12] = [
    ("ekibastuz_hall_1", 3),
    ("ekibastuz_hall_2", 2),
    ("pavlodar", 2),
    ("karaganda", 1),
    ("гараж", 2),
    ("farm & co", 1),
    ("a", 1),
    ("Farm-7.kz", 2),
    ("client \"x\"", 1),
    ("矿场", 1),
    ("back\\slash", 1),
    ("temirtau", 3),
];

/// How often a Prometheus scrapes. A scrape may take as long, so that a machine that has much to do is no failure.
const EVERY: &str = "scrape_interval: 3s, scrape_timeout: 3s";

/// Exporters of the same file.
struct Site {
    directory: TempDir,
    _pool: Pool,
}

impl Site {
    fn new() -> Self {
        let pool = Pool::start(&ACCOUNTS);
        let directory = tempfile::tempdir().unwrap();
        let mut yaml = pool.configuration() + "accounts:\n";
        for (name, _) in ACCOUNTS {
            let _ = writeln!(yaml, "  {}: {{ api_key: {} }}", Value::from(name), key(name));
        }
        fs::write(directory.path().join("btcpool.yml"), yaml).unwrap();
        Self { directory, _pool: pool }
    }

    /// An exporter that has polled everything once; a shard, if it is told which of two.
    async fn exporter(&self, address: &str, shard: Option<usize>) -> Exporter {
        let file = self.directory.path().join("btcpool.yml");
        let index = shard.map(|index| index.to_string());
        let environment: Vec<_> = (index.iter())
            .flat_map(|index| [("BTCPOOL__SHARD__INDEX", index.as_str()), ("BTCPOOL__SHARD__COUNT", "2")])
            .collect();
        let exporter = Exporter::start_at(address, &["--config.file", file.to_str().unwrap()], &environment).await;
        exporter.until_said("everything was polled once", 1).await;
        exporter
    }
}

const ANYWHERE: &str = "127.0.0.1:0";

/// The accounts of which an exporter shows every worker.
async fn accounts_of(exporter: &Exporter) -> BTreeSet<String> {
    let text = http().get(exporter.url("/metrics")).send().await.unwrap().text().await.unwrap();
    let families = parser::parse(&text, Format::Classic).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let samples = || families.iter().flat_map(|family| &family.samples);
    let named = |metric: &str| {
        let samples = samples().filter(|sample| sample.name == metric);
        samples.map(|sample| (sample.label("account").unwrap().to_owned(), sample.value)).collect::<BTreeMap<_, _>>()
    };
    let listed = named("btcpool_account_workers_listed");
    assert!(named("btcpool_account_info").keys().eq(listed.keys()), "{text}");
    let machines: BTreeMap<_, _> = ACCOUNTS.into_iter().collect();
    for (account, listed) in &listed {
        assert_eq!(*listed, machines[account.as_str()] as f64, "{account}");
    }
    listed.into_keys().collect()
}

/// Each of the accounts with that many.
fn each<'a>(accounts: impl IntoIterator<Item = &'a String>, count: impl Fn(&str) -> f64) -> Series {
    accounts.into_iter().map(|account| (labels([("account", account.as_str())]), count(account))).collect()
}

/// Holds the two to be a division of all accounts, and neither to be empty.
fn hold_division(parts: [&BTreeSet<String>; 2]) -> BTreeSet<String> {
    let all: BTreeSet<_> = ACCOUNTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let [one, other] = parts;
    assert!(one.is_disjoint(other) && !one.is_empty() && !other.is_empty(), "{one:?} {other:?}");
    assert_eq!(one | other, all);
    all
}

#[tokio::test]
async fn prometheus_pair_has_each_account_once() {
    let site = Site::new();
    let mut shards = [site.exporter(ANYWHERE, Some(0)).await, site.exporter(ANYWHERE, Some(1)).await];
    let of_shards = [accounts_of(&shards[0]).await, accounts_of(&shards[1]).await];
    let all = hold_division([&of_shards[0], &of_shards[1]]);
    let addresses = [0, 1].map(|index: usize| shards[index].address.to_string());
    let config = format!("  - {{ job_name: btcpool, {EVERY}, static_configs: [ {{ targets: {addresses:?} }} ] }}\n");
    let pair = [Prometheus::start(&prometheus(), &config).await, Prometheus::start(&prometheus_3(), &config).await];
    // How often each account is there, and all of its workers.
    const INFOS: &str = "count by (account) (btcpool_account_info == 1)";
    const LISTED: &str = "sum by (account) (btcpool_account_workers_listed)";
    let machines: BTreeMap<_, _> = ACCOUNTS.into_iter().collect();
    let until_there = async |accounts: &BTreeSet<String>| {
        for prometheus in &pair {
            for (promql, expected) in
                [(INFOS, each(accounts, |_| 1.0)), (LISTED, each(accounts, |account| machines[account] as f64))]
            {
                let as_expected = |answer: &Value| series(answer) == expected;
                prometheus.until("/api/v1/query", &[("query", promql)], as_expected).await;
            }
        }
    };
    until_there(&all).await;

    let [first, _] = &mut shards;
    first.kill();
    until_there(&of_shards[1]).await;
    let again = site.exporter(&addresses[0], Some(0)).await;
    assert_eq!(again.address.to_string(), addresses[0]);
    until_there(&all).await;
    assert_eq!(accounts_of(&again).await, of_shards[0]);

    for prometheus in &pair {
        // Never more than once, and those of the other shard at every scrape of it.
        let most = query(prometheus, &format!("max_over_time(({INFOS})[1h:1s])")).await;
        assert_eq!(most, each(&all, |_| 1.0));
        let other = format!("instance=\"{}\"", addresses[1]);
        let failed = query(prometheus, &format!("min_over_time(up{{{other}}}[1h]) < 1")).await;
        assert_eq!(failed, Series::new());
        let least = format!(
            "sum by (account) (count_over_time(btcpool_account_info{{{other}}}[1h])) == on () group_left () \
             count_over_time(up{{{other}}}[1h])"
        );
        let always = query(prometheus, &least).await;
        assert!(always.keys().eq(each(&of_shards[1], |_| 1.0).keys()), "{always:?}");
    }
}

/// A Prometheus that keeps those of the discovered accounts whose hash, modulo two, is that.
async fn dividing(program: PathBuf, exporter: &Exporter, index: usize, source: &str) -> Prometheus {
    let config = format!(
        "  - job_name: btcpool\n    http_sd_configs: [ {{ url: \"{}\" }} ]\n    relabel_configs:\n      \
         - {{ action: hashmod, source_labels: [{source}], modulus: 2, target_label: __tmp_hash }}\n      \
         - {{ action: keep, source_labels: [__tmp_hash], regex: \"{index}\" }}\n      \
         - {{ source_labels: [__meta_btcpool_account], target_label: instance }}\n",
        exporter.url("/sd")
    );
    Prometheus::start(&program, &config).await
}

#[tokio::test]
async fn prometheus_hashmod_divides_like_shards() {
    let site = Site::new();
    let mut of_shards = Vec::new();
    for index in 0..2 {
        of_shards.push(accounts_of(&site.exporter(ANYWHERE, Some(index)).await).await);
    }
    let whole = site.exporter(ANYWHERE, None).await;
    assert_eq!(accounts_of(&whole).await, hold_division([&of_shards[0], &of_shards[1]]));
    let divided = [
        dividing(prometheus(), &whole, 0, "__meta_btcpool_account").await,
        dividing(prometheus_3(), &whole, 1, "__param_account").await,
    ];
    for (prometheus, accounts) in divided.iter().zip(&of_shards) {
        let all_up = |answer: &Value| {
            let targets = answer["activeTargets"].as_array().unwrap();
            !targets.is_empty() && targets.iter().all(|target| target["health"] == "up")
        };
        let answer = prometheus.until("/api/v1/targets", &[("state", "active")], all_up).await;
        let targets = answer["activeTargets"].as_array().unwrap().iter();
        let kept: Vec<_> = targets.map(|target| text(&target["labels"], "instance").to_owned()).collect();
        assert_eq!(kept.len(), accounts.len(), "{kept:?}");
        assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), *accounts);
        // Each target gives its own account alone, and only once.
        let infos = each(accounts, |_| 1.0);
        let promql =
            "count by (account) (label_replace(btcpool_account_info, \"target\", \"$1\", \"instance\", \"(.*)\"))";
        prometheus.until("/api/v1/query", &[("query", promql)], |answer| series(answer) == infos).await;
    }
}
