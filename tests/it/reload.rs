//! Taking up another configuration while running.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use btcpool_exporter::config::{Config, ConfigError, Overrides};
use wiremock::{Request, ResponseTemplate};

use crate::{
    harness::{self, KEY, Pool, Running, sample},
    parser::series,
};

const OTHER_KEY: &str = "f0e1d2-c3b4a5-968778-695a4b-3c2d1e";

const SUCCESSFUL: &str = "btcpool_exporter_config_last_reload_successful";
const LOADED: &str = "btcpool_exporter_config_last_reload_success_timestamp_seconds";

/// A configuration that tests change: what the file would hold.
#[derive(Clone)]
struct File(Arc<Mutex<String>>);

impl File {
    fn new(pool: &Pool, more: &str) -> Self {
        let file = Self(Arc::default());
        file.write(pool, more);
        file
    }

    /// Cadences so long that a slot polls once in a test, unless something makes it.
    fn write(&self, pool: &Pool, more: &str) {
        *self.0.lock().unwrap() = format!(
            "api: {{ base_url: \"{}\", requests_per_second: 1000 }}\n\
             polling:\n  live: {{ interval: 1h, stale_after: 2h }}\n  history: {{ interval: 1h, stale_after: 2h }}\n{more}",
            pool.base_url()
        );
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::from_yaml("test", &self.0.lock().unwrap(), &Overrides::default())
    }
}

/// An exporter of it that has polled everything once.
async fn running(file: &File) -> Running {
    let load = file.clone();
    Running::builder(file.load().unwrap()).load(move || load.load()).start_ready().await
}

fn polls(account: &str, endpoint: &str) -> String {
    format!("btcpool_exporter_polls_total{{account=\"{account}\",currency=\"BTC\",endpoint=\"{endpoint}\"}}")
}

#[tokio::test]
async fn reload_keeps_unchanged_accounts() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let account = |name: &str, key: &str, more: &str| format!("  {name}: {{ api_key: {key}{more} }}\n");
    let before = ["accounts:\n", &account("stays", KEY, ""), &account("leaves", KEY, ""), &account("moves", KEY, "")];
    let file = File::new(&pool, &before.concat());
    let running = running(&file).await;
    let first = series(&running.scrape().await);
    let loaded = first[LOADED];
    let stays = account("stays", KEY, ", labels: { site: Ekibastuz }, expected_hashrate: { BTC: 1 PH/s }");
    file.write(&pool, &["accounts:\n", &stays, &account("moves", OTHER_KEY, ""), &account("comes", KEY, "")].concat());
    running.reload().await.unwrap();
    // From the first moment on: everything of the account that stays is there, with what is configured anew.
    let seen = series(&running.scrape().await);
    let of = |seen: &std::collections::BTreeMap<String, f64>, account: &str| {
        let own = seen.iter().filter(|(name, _)| name.contains(&format!("account={account:?}")));
        own.map(|(name, value)| (name.clone(), *value)).collect::<Vec<_>>()
    };
    let mut expected = of(&first, "stays");
    expected.retain(|(name, _)| !name.starts_with("btcpool_account_info"));
    expected.push(("btcpool_account_info{account=\"stays\",site=\"Ekibastuz\"}".to_owned(), 1.0));
    let hashrate = "btcpool_account_expected_hashrate_hashes_per_second{account=\"stays\",currency=\"BTC\"}";
    expected.push((hashrate.to_owned(), 1e15));
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(of(&seen, "stays"), expected);
    assert_eq!(of(&seen, "leaves"), []);
    assert_eq!(running.get("/metrics?account=leaves").await.0, 404);
    assert_eq!(running.get("/-/ready").await.0, 200);
    assert_eq!(seen[SUCCESSFUL], 1.0);
    assert!(seen[LOADED] > loaded);
    // Another key may be another account's: nothing of before is shown for it. Both are asked at once.
    let complete = |text: &str| {
        let listed = |account| format!("workers_listed{{account=\"{account}\",currency=\"BTC\"}} 6");
        ["comes", "moves", "stays"].into_iter().all(|account| text.contains(&listed(account)))
    };
    let text = running.until("/metrics", |_, text| complete(text)).await;
    for account in ["comes", "moves", "stays"] {
        assert!(text.contains(&format!("{} 1\n", polls(account, "workers"))), "{account}: {text}");
    }
    assert_eq!(pool.requests("main_stat").await.len(), 1);
    let keys: Vec<_> = pool.requests("summary_data").await.iter().map(|r| r.headers["x-api-key"].clone()).collect();
    assert_eq!(keys.iter().filter(|key| *key == OTHER_KEY).count(), 1);
    assert_eq!(keys.iter().filter(|key| *key == KEY).count(), 4);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn removed_account_is_not_polled() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let file = File::new(&pool, "");
    let faster = |more: &str| {
        file.write(&pool, more);
        let text = file.0.lock().unwrap().replace("live: { interval: 1h", "live: { interval: 1s");
        *file.0.lock().unwrap() = text;
    };
    faster(&format!("accounts: {{ stays: {{ api_key: {KEY} }}, leaves: {{ api_key: {OTHER_KEY} }} }}\n"));
    let running = running(&file).await;
    faster(&harness::one_account().replace("farm", "stays"));
    running.reload().await.unwrap();
    let asked = async |key: &str| {
        let requests = pool.requests("summary_data").await;
        requests.iter().filter(|request| request.headers["x-api-key"] == key).count()
    };
    // One may have been on its way.
    let (left, stayed) = (asked(OTHER_KEY).await, asked(KEY).await);
    let begin = Instant::now();
    while asked(KEY).await < stayed + 3 {
        assert!(begin.elapsed() < harness::PATIENCE, "who stays is not asked about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(asked(OTHER_KEY).await <= left + 1, "who left is asked about");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn bad_reload_changes_only_its_metrics() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let file = File::new(&pool, &harness::one_account());
    let running = running(&file).await;
    let first = series(&running.scrape().await);
    file.write(&pool, &format!("accounts: {{ farm: {{ api_kay: {KEY} }} }}\n"));
    let error = running.reload().await.unwrap_err().to_string();
    let expected = "test:5:21: accounts.farm.api_kay: unknown key; did you mean api_key? \
        Known here: api_key, api_key_file, currencies, labels, expected_hashrate, workers";
    assert_eq!(error, expected);
    let failed = series(&running.scrape().await);
    let changed =
        failed.iter().filter(|(name, value)| first.get(*name) != Some(*value) && !name.starts_with("process_"));
    assert_eq!(changed.collect::<Vec<_>>(), [(&SUCCESSFUL.to_owned(), &0.0)]);
    assert_eq!(first.len(), failed.len());
    file.write(&pool, &harness::one_account());
    running.reload().await.unwrap();
    assert_eq!(series(&running.scrape().await)[SUCCESSFUL], 1.0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn reload_drops_values_with_a_new_meaning() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let other = Pool::start().await;
    other.answers("main_stat", sample("main_stat").replace("1853", "7")).await;
    let file = File::new(&pool, &harness::one_account());
    let running = running(&file).await;
    file.write(&other, &harness::one_account());
    running.reload().await.unwrap();
    let text = running.until("/metrics", |_, text| text.contains("btcpool_pool_miners{currency=\"BTC\"} 7\n")).await;
    assert!(!text.contains("btcpool_account_balance_coins"), "{text}");
    // A shorter timeout is another matter: what is known stays.
    let summary = "btcpool_pool_miners{currency=\"BTC\"} 7\n";
    file.write(&other, &format!("{}log: {{ level: debug }}\n", harness::one_account()));
    let shorter = file.0.lock().unwrap().replace("1000 }", "1000, timeout: 3s }");
    *file.0.lock().unwrap() = shorter;
    running.reload().await.unwrap();
    assert!(running.get("/metrics").await.1.contains(summary));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn refused_key_is_retried_after_a_reload() {
    let pool = Pool::start().await;
    pool.answers("main_stat", sample("main_stat")).await;
    pool.responds("summary_data", ResponseTemplate::new(401)).await;
    let file = File::new(&pool, &harness::one_account());
    let running = running(&file).await;
    for asked in 2..4 {
        running.reload().await.unwrap();
        let again = format!("{} {asked}\n", polls("farm", "summary_data"));
        running.until("/metrics", |_, text| text.contains(&again)).await;
    }
    assert_eq!(pool.requests("summary_data").await.len(), 3);
    // Who did not fail is not asked.
    assert_eq!(pool.requests("main_stat").await.len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn reloaded_slots_return_to_their_cadence() {
    let pool = Pool::start().await;
    pool.answers("main_stat", sample("main_stat")).await;
    let refused = Arc::new(AtomicBool::new(true));
    let state = refused.clone();
    pool.responds("summary_data", move |_: &Request| match state.load(Ordering::SeqCst) {
        true => ResponseTemplate::new(401),
        false => ResponseTemplate::new(200).set_body_string(sample("summary_data")),
    })
    .await;
    let file = File::new(&pool, &harness::one_account());
    let faster = file.0.lock().unwrap().replace("live: { interval: 1h", "live: { interval: 4s");
    *file.0.lock().unwrap() = faster;
    let running = running(&file).await;
    let asked = |count: u8| format!("{} {count}\n", polls("farm", "summary_data"));
    // After the second refusal the next poll would come after 30 s or more.
    running.until("/metrics", |_, text| text.contains(&asked(2))).await;
    refused.store(false, Ordering::SeqCst);
    let begin = Instant::now();
    running.reload().await.unwrap();
    running.until("/metrics", |_, text| text.contains(&asked(3))).await;
    running.until("/metrics", |_, text| text.contains(&asked(4))).await;
    assert!(begin.elapsed() < Duration::from_secs(28), "{:?}", begin.elapsed());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn reload_during_a_pause_polls_after_it() {
    let pool = Pool::start().await;
    pool.answers("main_stat", sample("main_stat")).await;
    let times = Arc::new(Mutex::new(Vec::new()));
    for endpoint in ["summary_data", "workers"] {
        let times = times.clone();
        pool.responds(endpoint, move |_: &Request| {
            let mut times = times.lock().unwrap();
            let before = times.iter().filter(|(asked, _)| *asked == endpoint).count();
            times.push((endpoint, Instant::now()));
            match (endpoint, before) {
                ("workers", 1) => ResponseTemplate::new(429).insert_header("retry-after", "5"),
                _ => ResponseTemplate::new(401),
            }
        })
        .await;
    }
    let file = File::new(&pool, &harness::one_account());
    let running = running(&file).await;
    running.reload().await.unwrap();
    let both = |count: u8| ["summary_data", "workers"].map(|endpoint| format!("{} {count}\n", polls("farm", endpoint)));
    running.until("/metrics", |_, text| both(2).iter().all(|polls| text.contains(polls))).await;
    running.reload().await.unwrap();
    running.until("/metrics", |_, text| both(3).iter().all(|polls| text.contains(polls))).await;
    running.stop().await.unwrap();
    let times = times.lock().unwrap().clone();
    let of = |wanted: &str| -> Vec<_> {
        times.iter().filter(|(endpoint, _)| *endpoint == wanted).map(|&(_, at)| at).collect()
    };
    let (summary, workers) = (of("summary_data"), of("workers"));
    for third in [summary[2], workers[2]] {
        assert!(third - workers[1] > Duration::from_millis(4900), "{:?}", third - workers[1]);
    }
}

#[tokio::test]
async fn pause_survives_a_new_budget() {
    let pool = Pool::start().await;
    let times = Arc::new(Mutex::new(Vec::new()));
    for (endpoint, answer) in [
        ("main_stat", ResponseTemplate::new(429).insert_header("retry-after", "4")),
        ("summary_data", ResponseTemplate::new(200).set_body_string(sample("summary_data"))),
    ] {
        let times = times.clone();
        pool.responds(endpoint, move |_: &Request| {
            times.lock().unwrap().push((endpoint, Instant::now()));
            answer.clone()
        })
        .await;
    }
    let file = File::new(&pool, "");
    let running = running(&file).await;
    file.write(&pool, &harness::one_account());
    let slower = file.0.lock().unwrap().replace("1000 }", "100 }");
    *file.0.lock().unwrap() = slower;
    running.reload().await.unwrap();
    running.until("/metrics", |_, text| text.contains(&format!("{} 1\n", polls("farm", "summary_data")))).await;
    running.stop().await.unwrap();
    let times = times.lock().unwrap().clone();
    let (first, summary) = (times[0], times.iter().find(|(endpoint, _)| *endpoint == "summary_data").unwrap());
    assert_eq!(first.0, "main_stat");
    assert!(summary.1 - first.1 > Duration::from_millis(3900), "{:?}", summary.1 - first.1);
}

/// An exporter of a configuration's file, which it may watch, on the terms of a web configuration's file.
async fn watching(directory: &std::path::Path, watch: bool) -> Running {
    let (file, web) = (directory.join("config.yml"), directory.join("web.yml"));
    let load = move || Config::load(Some(&file), [], &Overrides::default());
    Running::builder(load().unwrap()).load(load).web_file(&web).watch(watch).start_ready().await
}

#[tokio::test]
async fn http_reload_needs_the_flag() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let file = File::new(&pool, &harness::one_account());
    let off = running(&file).await;
    let client = harness::http();
    let post = async |running: &Running, site: Option<&str>| {
        let mut request = client.post(format!("{}/-/reload", running.url));
        if let Some(site) = site {
            request = request.header("sec-fetch-site", site);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let refused = "Reloading over HTTP is off: start with --web.enable-lifecycle, or send SIGHUP.\n";
    assert_eq!(post(&off, None).await, (403, refused.to_owned()));
    off.stop().await.unwrap();

    let with_lifecycle = |more: &str| format!("web: {{ enable_lifecycle: true }}\n{more}");
    file.write(&pool, &with_lifecycle(&harness::one_account()));
    let on = running(&file).await;
    assert_eq!(on.get("/-/reload").await.0, 405);
    file.write(&pool, &with_lifecycle("accounts: { other: { api_key: 1-2-3 } }\n"));
    assert_eq!(post(&on, Some("cross-site")).await, (403, "Another site's page may not do this.\n".to_owned()));
    assert_eq!(on.get("/metrics?account=farm").await.0, 200);
    let foreign = client.post(format!("{}/-/reload", on.url)).header("origin", "http://elsewhere.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    assert_eq!(on.get("/metrics?account=farm").await.0, 200);
    let own = client.post(format!("{}/-/reload", on.url)).header("origin", &on.url);
    assert_eq!(own.send().await.unwrap().status(), 200);
    assert_eq!(post(&on, Some("same-origin")).await, (200, "The configuration was loaded anew.\n".to_owned()));
    assert_eq!(on.get("/metrics?account=farm").await.0, 404);
    assert_eq!(on.get("/metrics?account=other").await.0, 200);
    file.write(&pool, &with_lifecycle("accounts: { farm: { api_key: 1-2-3, api_kay: 1 } }\n"));
    let why = "The configuration was not taken up; the one before stays in use: test:6:37: accounts.farm.api_kay: unknown \
               key; did you mean api_key? Known here: api_key, api_key_file, currencies, labels, expected_hashrate, \
               workers\n";
    assert_eq!(post(&on, None).await, (500, why.to_owned()));
    assert_eq!(series(&on.scrape().await)[SUCCESSFUL], 0.0);
    assert_eq!(on.get("/metrics?account=other").await.0, 200);
    on.stop().await.unwrap();
}

#[tokio::test]
async fn changed_files_are_reloaded() {
    let pool = Pool::start().await;
    pool.answers("main_stat", sample("main_stat")).await;
    for (key, balance) in [("1-1-1", "0.1"), ("2-2-2", "0.2")] {
        let body = format!("{{\"status\":\"OK\",\"data\":{{\"balance\":{balance}}}}}");
        pool.responds_to(key, "summary_data", ResponseTemplate::new(200).set_body_string(body)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let config = |more: &str| {
        let key = directory.path().join("key");
        let account = format!("accounts: {{ farm: {{ api_key_file: {}{more} }} }}\n", key.display());
        write("config.yml", &format!("api: {{ base_url: \"{}\" }}\n{account}", pool.base_url()));
    };
    write("key", "1-1-1\n");
    write("web.yml", "");
    config("");
    let running = watching(directory.path(), true).await;
    let has = async |line: &str| {
        running.until("/metrics", |_, text| text.lines().any(|found| found == line)).await;
    };
    let balance = |coins: &str| format!("btcpool_account_balance_coins{{account=\"farm\",currency=\"BTC\"}} {coins}");
    has(&balance("0.1")).await;
    write("key", "2-2-2\n");
    has(&balance("0.2")).await;
    config(", labels: { site: Almaty }");
    has("btcpool_account_info{account=\"farm\",site=\"Almaty\"} 1").await;
    // A file that is not fit for use changes nothing, until it is mended, or what it lacked has come.
    let text = std::fs::read_to_string(directory.path().join("config.yml")).unwrap();
    let later = directory.path().join("later");
    write("config.yml", &text.replace("/key,", "/later,").replace("Almaty", "Astana"));
    has(&format!("{SUCCESSFUL} 0")).await;
    has("btcpool_account_info{account=\"farm\",site=\"Almaty\"} 1").await;
    std::fs::write(&later, "1-1-1").unwrap();
    has("btcpool_account_info{account=\"farm\",site=\"Astana\"} 1").await;
    has(&format!("{SUCCESSFUL} 1")).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn changed_web_configuration_is_reloaded() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("config.yml", &format!("api: {{ base_url: \"{}\" }}\n", pool.base_url()));
    write("web.yml", "");
    let running = watching(directory.path(), false).await;
    let frame = async || {
        let response = harness::http().get(format!("{}/metrics", running.url)).send().await.unwrap();
        response.headers()["x-frame-options"].to_str().unwrap().to_owned()
    };
    let header = |value: &str| format!("http_server_config: {{ headers: {{ X-Frame-Options: {value} }} }}\n");
    let until = async |wanted: &str| {
        let begin = Instant::now();
        while frame().await != wanted {
            assert!(begin.elapsed() < harness::PATIENCE, "the header never was {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("DENY").await;
    write("web.yml", &header("sameorigin"));
    until("sameorigin").await;
    write("web.yml", &header("nonsense"));
    running.until("/metrics", |_, text| text.contains(&format!("{SUCCESSFUL} 0\n"))).await;
    assert_eq!(frame().await, "sameorigin");
    // A reload of the other configuration does not hide it: both are asked for, and both are taken up once this is mended.
    let account = format!("accounts: {{ farm: {{ api_key: {KEY} }} }}\n");
    write("config.yml", &format!("api: {{ base_url: \"{}\" }}\n{account}", pool.base_url()));
    let error = running.reload().await.unwrap_err().to_string();
    assert!(error.contains("web.yml:1:") && error.contains("\"nonsense\" is not deny or sameorigin"), "{error}");
    // Even as it was before.
    write("web.yml", &header("sameorigin"));
    let text = running.until("/metrics", |_, text| text.contains(&format!("{SUCCESSFUL} 1\n"))).await;
    assert!(text.contains("btcpool_account_info{account=\"farm\"} 1\n"), "{text}");
    write("web.yml", &header("deny"));
    until("deny").await;
    running.stop().await.unwrap();
}
