//! Reloads: what changes is taken up, what does not goes on, and no scrape sees anything between.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use btcpool_exporter::reload::CONFIG_EVERY;
use reqwest::header::ACCEPT;
use tempfile::TempDir;

use crate::{
    programs::{Clients, Exporter, PATIENCE, Pool, exporter_command, http, http_builder, key, run, until},
    support::parser::{self, Format},
};

const RELOADS: usize = 100;

/// The accounts that no reload touches.
const UNTOUCHED: [&str; 2] = ["stays", "stays_by_file"];

/// What the pool knows: the accounts, and whom `moves` moves to and from.
const FARMS: [(&str, usize); 7] = [
    ("stays", 3),
    ("stays_by_file", 2),
    ("relabelled", 1),
    ("comes_and_goes", 1),
    ("moves", 1),
    ("moved", 4),
    ("sometimes_without_workers", 1),
];

const SUCCESSFUL: &str = "btcpool_exporter_config_last_reload_successful";

/// Every series of a scrape and its value.
type Scrape = BTreeMap<String, f64>;

/// The configuration's file and the keys' files.
struct Files {
    directory: TempDir,
    pool: Pool,
}

impl Files {
    fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), pool: Pool::start(&FARMS) };
        files.write("stays_by_file.key", &key("stays_by_file"));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, contents: &str) {
        fs::write(self.path(name), contents).unwrap();
    }

    fn configuration(&self) -> String {
        self.path("btcpool.yml").to_str().unwrap().to_owned()
    }

    /// Writes the configuration of these accounts.
    fn configure(&self, accounts: &str) {
        self.write("btcpool.yml", &format!("{}accounts:\n{accounts}", self.pool.configuration()));
    }

    /// An account of which the key is in a file.
    fn by_file(&self, name: &str) -> String {
        format!("  {name}: {{ api_key_file: {} }}\n", self.path(&format!("{name}.key")).display())
    }

    async fn exporter(&self, flags: &[&str]) -> Exporter {
        let exporter = Exporter::start(&[&["--config.file", &self.configuration()], flags].concat()).await;
        exporter.until_said("everything was polled once", 1).await;
        exporter
    }

    /// What `check` says of the configuration, which is bad.
    fn complaint(&self) -> String {
        let mut check = exporter_command();
        check.args(["check", "--config.file", &self.configuration()]);
        let ended = run(check, "");
        assert_eq!((ended.status.code(), ended.output.as_str()), (Some(2), ""), "{}", ended.errors);
        ended.errors.strip_prefix("btcpool-exporter: ").unwrap().to_owned()
    }
}

/// One account, with other keys than its own.
fn account(name: &str, more: &str) -> String {
    format!("  {name}: {{ api_key: {}{more} }}\n", key(name))
}

/// The accounts between two reloads.
struct Round(usize);

impl Round {
    fn is_there(&self, account: &str) -> bool {
        account != "comes_and_goes" || self.0.is_multiple_of(3)
    }

    /// Of how many machines the pool tells an account; `None`: it is not asked.
    fn machines(&self, account: &str) -> Option<usize> {
        let farm = match account {
            "moves" if self.0 % 4 < 2 => "moved",
            "sometimes_without_workers" if self.0 % 3 == 1 => return None,
            account => account,
        };
        FARMS.iter().find(|(name, _)| *name == farm).map(|(_, machines)| *machines)
    }

    fn accounts(&self, files: &Files) -> String {
        let mut accounts = account("stays", ", labels: { site: Ekibastuz }, expected_hashrate: { BTC: 1 PH/s }");
        accounts += &files.by_file("stays_by_file");
        accounts += &account("relabelled", &format!(", labels: {{ round: \"{}\" }}", self.0));
        if self.is_there("comes_and_goes") {
            accounts += &account("comes_and_goes", "");
        }
        let farm = if self.machines("moves") == self.machines("moved") { "moved" } else { "moves" };
        let _ = writeln!(accounts, "  moves: {{ api_key: {} }}", key(farm));
        let workers = self.machines("sometimes_without_workers").is_some();
        accounts += &account("sometimes_without_workers", &format!(", workers: {{ enabled: {workers} }}"));
        accounts
    }

    /// Every `btcpool_account_info` that there must be.
    fn infos(&self) -> BTreeSet<String> {
        let plain = ["stays_by_file", "comes_and_goes", "moves", "sometimes_without_workers"];
        let plain = plain.into_iter().filter(|account| self.is_there(account));
        plain
            .map(|account| format!("account=\"{account}\""))
            .chain([
                "account=\"stays\",site=\"Ekibastuz\"".to_owned(),
                format!("account=\"relabelled\",round=\"{}\"", self.0),
            ])
            .map(|labels| format!("btcpool_account_info{{{labels}}}"))
            .collect()
    }

    /// Holds a scrape to be of these accounts, some of which may not be polled yet.
    fn hold(&self, scrape: &Scrape) {
        let infos = scrape.keys().filter(|series| series.starts_with("btcpool_account_info{")).cloned();
        assert_eq!(infos.collect::<BTreeSet<_>>(), self.infos(), "after reload {}", self.0);
        for (account, _) in FARMS {
            let told = scrape.get(&listed(account)).map(|&listed| listed as usize);
            let expected = self.machines(account).filter(|_| account != "moved" && self.is_there(account));
            assert!(told.is_none() || told == expected, "after reload {} {account} has {told:?} machines", self.0);
            let series = scrape.keys().filter(|series| series.contains(&format!("account=\"{account}\""))).count();
            assert_eq!(series > 0, account != "moved" && self.is_there(account), "after reload {}: {account}", self.0);
        }
    }

    /// Whether a scrape tells everything of these accounts.
    fn is_complete(&self, scrape: &Scrape) -> bool {
        let wanted = FARMS.iter().filter(|(account, _)| *account != "moved" && self.is_there(account));
        wanted.clone().all(|(account, _)| scrape.get(&listed(account)).map(|&n| n as usize) == self.machines(account))
    }
}

fn listed(account: &str) -> String {
    format!("btcpool_account_workers_listed{{account=\"{account}\",currency=\"BTC\"}}")
}

/// Scrapes in one of the two formats.
async fn scrape(http: &reqwest::Client, url: &str, format: Format) -> Scrape {
    let accept = if format == Format::Classic { "text/plain" } else { "application/openmetrics-text; version=1.0.0" };
    let response = http.get(url).header(ACCEPT, accept).send().await.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    parser::series(&parser::parse(&text, format).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

/// What is known of the untouched accounts. All of it must be there, and stay as it is, because the pool's time stands
/// still; but that their polling goes on.
fn untouched(scrape: &Scrape) -> Scrape {
    const OF_POLLING: [&str; 4] = [
        "btcpool_exporter_polls_total{",
        "btcpool_exporter_poll_failures_total{",
        "btcpool_exporter_poll_duration_seconds{",
        "btcpool_last_success_timestamp_seconds{",
    ];
    let ours = |series: &&String| UNTOUCHED.iter().any(|account| series.contains(&format!("account=\"{account}\"")));
    let value =
        |series: &String| if OF_POLLING.iter().any(|name| series.starts_with(name)) { 0.0 } else { scrape[series] };
    scrape.keys().filter(ours).map(|series| (series.clone(), value(series))).collect()
}

/// What may only grow: everything that counts, but of accounts that reloads touch.
fn counters(scrape: &Scrape) -> Scrape {
    let counts = |name: &str| ["_total", "_bucket", "_count", "_sum"].iter().any(|suffix| name.ends_with(suffix));
    let grows = |series: &&String| {
        let name = series.split('{').next().unwrap();
        let whose = series.split_once("account=\"").map(|(_, rest)| rest.split('"').next().unwrap());
        counts(name) && whose.is_none_or(|account| UNTOUCHED.contains(&account))
    };
    scrape.keys().filter(grows).map(|series| (series.clone(), scrape[series])).collect()
}

/// Holds that no counter was lost and none went down.
fn only_grew(before: &Scrape, now: &Scrape) {
    let lost: Vec<_> =
        before.iter().filter(|(series, before)| now.get(*series).is_none_or(|now| now < before)).collect();
    assert!(lost.is_empty(), "{lost:?} went down");
}

/// Clients that scrape all the while, each in its own way, and hold that nothing happens to the untouched accounts.
fn clients(exporter: &Exporter, expected: &Scrape) -> Clients {
    let mut clients = Clients::default();
    for (kept_connections, format) in [(1, Format::Classic), (1, Format::OpenMetrics), (0, Format::OpenMetrics)] {
        let (url, expected) = (exporter.url("/metrics"), expected.clone());
        let http = http_builder().timeout(PATIENCE).pool_max_idle_per_host(kept_connections).build().unwrap();
        clients.spawn(async move |mut turns| {
            let mut before = Scrape::new();
            while turns.next().await {
                let scrape = scrape(&http, &url, format).await;
                let found = untouched(&scrape);
                if found != expected {
                    let odd = |a: &Scrape, b: &Scrape| {
                        a.iter()
                            .filter(|(s, v)| b.get(*s) != Some(*v))
                            .map(|(s, v)| format!("{s} {v}"))
                            .collect::<Vec<_>>()
                    };
                    panic!("wrong {:#?}, missing {:#?}", odd(&found, &expected), odd(&expected, &found));
                }
                let now = counters(&scrape);
                only_grew(&before, &now);
                before = now;
            }
        });
    }
    clients
}

/// Bad configurations, by turns.
fn spoil(files: &Files, round: usize) {
    let accounts = Round(round).accounts(files);
    match round % 4 {
        0 => files.configure(&(accounts + "  typing_error: { api_keyfile: nowhere }\n")),
        1 => files.configure(&(accounts + &files.by_file("keyless"))),
        2 => files.configure(&(accounts + "  [")),
        _ => files.configure(&(accounts + &account("stays", ""))),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_lose_no_scrape_and_no_series() {
    let files = Files::new();
    let mut round = Round(0);
    files.configure(&round.accounts(&files));
    let exporter = files.exporter(&["--web.enable-lifecycle"]).await;
    let (http, metrics) = (http(), exporter.url("/metrics"));
    let begin = scrape(&http, &metrics, Format::Classic).await;
    let expected = untouched(&begin);
    assert!(expected.len() > 100, "{expected:#?}");
    let mut clients = clients(&exporter, &expected);

    for reload in 1..=RELOADS {
        let bad = reload % 5 == 0;
        if bad {
            spoil(&files, reload / 5);
        } else {
            round = Round(reload);
            files.configure(&round.accounts(&files));
        }
        if reload % 2 == 0 {
            let response = http.post(exporter.url("/-/reload")).send().await.unwrap();
            let answer = (response.status().as_u16(), response.text().await.unwrap());
            let expected = if bad {
                let complaint = files.complaint();
                (500, format!("The configuration was not taken up; the one before stays in use: {complaint}"))
            } else {
                (200, "The configuration was loaded anew.\n".to_owned())
            };
            assert_eq!(answer, expected, "reload {reload}");
        } else {
            exporter.signal("HUP");
            let outcome = if bad { "the configuration was not taken up" } else { "the configuration was loaded anew" };
            let times = if bad { reload / 5 } else { reload - reload / 5 };
            exporter.until_said(&format!("message=\"{outcome}"), times).await;
        }
        let scraped = scrape(&http, &metrics, Format::Classic).await;
        round.hold(&scraped);
        assert_eq!(scraped[SUCCESSFUL], if bad { 0.0 } else { 1.0 }, "reload {reload}");
        clients.have_a_turn().await;
    }

    // What was asked for at last comes to be known.
    let complete = async || {
        let scrape = scrape(&http, &metrics, Format::Classic).await;
        round.is_complete(&scrape).then_some(scrape)
    };
    let end = until("the last configuration's answers", complete, || exporter.log()).await;
    round.hold(&end);
    clients.stop().await;
    only_grew(&counters(&begin), &counters(&end));
    for account in UNTOUCHED {
        let polls = |scrape: &Scrape, endpoint: &str| {
            scrape[&format!(
                "btcpool_exporter_polls_total{{account=\"{account}\",currency=\"BTC\",endpoint=\"{endpoint}\"}}"
            )]
        };
        for endpoint in ["summary_data", "workers"] {
            assert!(polls(&end, endpoint) > polls(&begin, endpoint), "{account} is polled no more for {endpoint}");
        }
        // No reload has the pool asked again: once an hour, and once more if its day begins just now.
        for endpoint in ["profit_history", "payment_history"] {
            assert!(polls(&end, endpoint) <= polls(&begin, endpoint) + 1.0, "{account} was asked anew for {endpoint}");
        }
    }
}

#[tokio::test]
async fn http_reload_needs_permission() {
    let files = Files::new();
    files.configure(&account("stays", ""));
    let (closed, open) = (files.exporter(&[]).await, files.exporter(&["--web.enable-lifecycle"]).await);
    files.configure(&account("relabelled", ""));
    let http = http();
    let answer = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let off = "Reloading over HTTP is off: start with --web.enable-lifecycle, or send SIGHUP.\n";
    let reload = |exporter: &Exporter| exporter.url("/-/reload");
    assert_eq!(answer(http.post(reload(&closed))).await, (403, off.to_owned()));
    assert_eq!(answer(http.get(reload(&closed))).await.0, 405);
    assert_eq!(answer(http.get(reload(&open))).await.0, 405);
    let other_site = http.post(reload(&open)).header("sec-fetch-site", "cross-site");
    assert_eq!(answer(other_site).await, (403, "Another site's page may not do this.\n".to_owned()));
    for exporter in [&closed, &open] {
        let scrape = scrape(&http, &exporter.url("/metrics"), Format::Classic).await;
        assert_eq!((scrape.get(&listed("stays")), scrape.get(&listed("relabelled"))), (Some(&3.0), None));
    }
    assert_eq!(answer(http.post(reload(&open))).await, (200, "The configuration was loaded anew.\n".to_owned()));
    let scrape = scrape(&http, &open.url("/metrics"), Format::Classic).await;
    assert!(!scrape.keys().any(|series| series.contains("account=\"stays\"")));
}

#[tokio::test]
async fn changed_files_reload_without_a_signal() {
    const COMPLAINT: &str =
        "message=\"the configuration has changed, and was not taken up; the one before stays in use\"";
    let files = Files::new();
    let by_file = files.by_file("stays_by_file");
    files.configure(&by_file);
    let exporter = files.exporter(&["--config.enable-auto-reload"]).await;
    let (http, metrics) = (http(), exporter.url("/metrics"));
    let machines = async |account: &str| {
        scrape(&http, &metrics, Format::Classic).await.get(&listed(account)).map(|&listed| listed as usize)
    };
    let until_listed = async |account: &str, wanted: usize| {
        let are_listed = async || (machines(account).await == Some(wanted)).then_some(());
        until(&format!("{wanted} machines of {account}"), are_listed, || exporter.log()).await;
    };
    let succeeded = async || scrape(&http, &metrics, Format::Classic).await[SUCCESSFUL];
    until_listed("stays_by_file", 2).await;

    // Both files at once: they are looked at together.
    files.configure(&(by_file.clone() + &account("stays", "")));
    until_listed("stays", 3).await;
    assert_eq!((machines("stays_by_file").await, succeeded().await), (Some(2), 1.0));

    // Another key is another account.
    files.write("stays_by_file.key", &key("moved"));
    until_listed("stays_by_file", 4).await;

    files.configure(&(by_file.clone() + &account("stays", ", label: {}")));
    exporter.until_said(COMPLAINT, 1).await;
    assert_eq!((succeeded().await, machines("stays").await, machines("stays_by_file").await), (0.0, Some(3), Some(4)));
    // Long enough for two more looks. On a slow machine there may be fewer, which lets pass what another would not.
    tokio::time::sleep(CONFIG_EVERY * 2 + CONFIG_EVERY / 5).await;
    assert_eq!(exporter.said(COMPLAINT), 1, "{}", exporter.log());
    assert_eq!((succeeded().await, machines("stays").await, machines("stays_by_file").await), (0.0, Some(3), Some(4)));

    files.configure(&(by_file.clone() + &account("comes_and_goes", "")));
    until_listed("comes_and_goes", 1).await;
    assert_eq!((succeeded().await, machines("stays").await, machines("stays_by_file").await), (1.0, None, Some(4)));
    assert_eq!(exporter.said(COMPLAINT), 1, "{}", exporter.log());
}
