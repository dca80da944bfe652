//! Configuration files, the environment, and every broken rule.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use btcpool_exporter::{
    Exporter,
    clock::Clock,
    config::{self, Account, Config, ConfigError, Overrides, Shard},
    model::{AccountName, Currency},
    server::web_config::WebConfig,
};
use tempfile::TempDir;

/// A key that is nowhere to be seen.
const CANARY: &str = "0a1b2c-CANARY-c6d7e8";

/// The same, with as many digits as keys have where a name might be meant.
const CANARY_OF_DIGITS: &str = "0a1b2c-CANARY-3d4e5f-c6d7e8";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/config")
}

/// What the file and the variables give.
fn load(file: Option<&Path>, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Config::load(file, environment, &Overrides::default())
}

fn yaml(text: &str) -> Result<Config, ConfigError> {
    Config::from_yaml("test.yml", text, &Overrides::default())
}

/// What is wrong with the variables alone.
fn environment_error(environment: &[(&str, &str)]) -> String {
    load(None, environment).expect_err("this must be refused").to_string()
}

fn account<'a>(config: &'a Config, name: &str) -> &'a Account {
    &config.accounts[&name.parse::<AccountName>().unwrap()]
}

fn key<'a>(config: &'a Config, name: &str) -> &'a str {
    account(config, name).key.expose()
}

/// Every value of a configuration, a line for each.
fn values(config: &Config) -> String {
    let Config {
        api,
        polling,
        accounts,
        accounts_in_all_shards: _,
        block_subsidies,
        shard,
        web,
        log,
        sources: _,
        warnings,
    } = config;
    let mut lines = vec![
        format!("base_url {}", api.base_url),
        format!("timeout {:?}", api.timeout),
        format!("concurrency {}", api.concurrency),
        format!("requests_per_second {}", api.requests_per_second),
        format!("page_size {}", api.page_size),
        format!("max_response_bytes {}", api.max_response_bytes),
        format!("retry_after_max {:?}", api.retry_after_max),
        format!("reject_rate_unit {:?}", api.reject_rate_unit),
        format!("day_utc_offset {} s", api.day_utc_offset.seconds()),
        format!("live {:?} {:?}", polling.live.interval, polling.live.stale_after),
        format!("history {:?} {:?}", polling.history.interval, polling.history.stale_after),
    ];
    for (name, account) in accounts {
        let Account { key, currencies, labels, expected_hashrate, workers_max } = account;
        let hashrates: BTreeMap<_, _> = expected_hashrate.iter().map(|(c, h)| (c.as_str(), h.as_f64())).collect();
        lines.push(format!("account {name}"));
        lines.push(format!("  key {}", key.expose()));
        lines.push(format!("  currencies {:?}", currencies.iter().map(|c| c.as_str()).collect::<Vec<_>>()));
        lines.push(format!("  labels {labels:?}"));
        lines.push(format!("  expected_hashrate {hashrates:?}"));
        lines.push(format!("  workers_max {workers_max:?}"));
    }
    lines.extend(block_subsidies.iter().map(|(currency, coins)| format!("block_subsidy {currency} {coins}")));
    lines.push(format!("shard {} of {}", shard.index, shard.count));
    lines.extend(web.listen_addresses.iter().map(|address| format!("listen {address}")));
    lines.push(format!("telemetry_path {}", web.telemetry_path));
    lines.push(format!("max_requests {}", web.max_requests));
    lines.push(format!("web.config_file {:?}", web.config_file));
    lines.push(format!("enable_lifecycle {}, systemd_socket {}", web.enable_lifecycle, web.systemd_socket));
    lines.push(format!("log {:?} {:?}", log.level, log.format));
    lines.extend(warnings.iter().map(|warning| format!("warning {warning}")));
    lines.join("\n")
}

const DEFAULT_VALUES: &str = "\
base_url https://btcpool.kz/ru/api
timeout 15s
concurrency 4
requests_per_second 5
page_size 100
max_response_bytes 8388608
retry_after_max 300s
reject_rate_unit Ratio
day_utc_offset 28800 s
live 60s 300s
history 900s 7200s
block_subsidy BTC 3.125
block_subsidy BCH 3.125
block_subsidy LTC 6.25
shard 0 of 1
listen :10058
telemetry_path /metrics
max_requests 40
web.config_file None
enable_lifecycle false, systemd_socket false
log Info Logfmt";

#[test]
fn defaults_alone_are_valid() {
    assert_eq!(values(&load(None, &[]).unwrap()), DEFAULT_VALUES);
}

#[test]
fn empty_file_changes_nothing() {
    for text in ["", "# nothing\n", "---\n", "{}\n", "api:\npolling:\n  live:\naccounts:\ncoins: ~\nweb: null\n"] {
        assert_eq!(values(&yaml(text).unwrap()), DEFAULT_VALUES, "{text:?}");
    }
}

#[test]
fn every_key_is_read() {
    let config = load(Some(&fixtures().join("full.yml")), &[]).unwrap();
    assert_eq!(
        values(&config),
        "\
base_url https://pool.example/en/api
timeout 20s
concurrency 3
requests_per_second 2.5
page_size 50
max_response_bytes 4194304
retry_after_max 90s
reject_rate_unit Percent
day_utc_offset -12600 s
live 30s 150s
history 3600s 3601s
account farm_a
  key 0a1b2c-3d4e5f-607182-93a4b5-c6d7e8
  currencies [\"BTC\", \"LTC\"]
  labels {\"client\": \"Acme, \\\"Öl\\\" & Co\", \"site\": \"Ekibastuz\"}
  expected_hashrate {\"BTC\": 1.2e16, \"LTC\": 9500000000.0}
  workers_max Some(500)
account Ферма Б
  key 00112233445566
  currencies [\"BTC\"]
  labels {}
  expected_hashrate {}
  workers_max None
block_subsidy BTC 1.5625
block_subsidy BCH 1.5625
block_subsidy LTC 3.125
shard 0 of 1
listen 127.0.0.1:10058
listen [::1]:10059
listen exporter.example:1
listen :0
telemetry_path /pool/metrics
max_requests 0
web.config_file Some(\"web.yml\")
enable_lifecycle true, systemd_socket true
log Debug Json"
    );
}

#[test]
fn an_account_needs_a_key_only() {
    let config = yaml("accounts: { farm: { api_key: 0a1b2c } }").unwrap();
    let farm = account(&config, "farm");
    assert_eq!(farm.currencies.iter().map(|currency| currency.as_str()).collect::<Vec<_>>(), ["BTC"]);
    assert_eq!((farm.workers_max, farm.labels.len(), farm.expected_hashrate.len()), (Some(20_000), 0, 0));
}

/// What is known stands in the end of the error, which is left out here.
#[test]
fn accounts_with_one_key_are_warned_of() {
    let accounts = "{ a: { api_key: 0a1b2c }, b: { api_key: 3d4e5f }, c: { api_key: 0a1b2c }, d: { api_key: 607182 }, \
                    e: { api_key: 3d4e5f }, f: { api_key: 3d4e5f }, g: { api_key: 3d4e5f } }";
    let config = yaml(&format!("accounts: {accounts}")).unwrap();
    let figures = "with the figures of the one account that the key belongs to";
    assert_eq!(
        config.warnings,
        [
            format!("accounts.c has the same key as accounts.a: the pool answers both {figures}"),
            format!("accounts.e has the same key as accounts.b and 2 more: the pool answers all of them {figures}"),
        ]
    );
}

#[test]
fn unknown_keys_get_a_suggestion() {
    for (text, expected) in [
        ("accounts: { farm: { key: k } }", "unknown key; did you mean api_key?"),
        ("accounts: { farm: { api_keyfile: k } }", "unknown key; did you mean api_key_file?"),
        ("accounts: { farm: { hashrate: k } }", "unknown key; did you mean expected_hashrate?"),
        ("api: { url: x }", "unknown key; did you mean base_url?"),
        ("api: { timeout_seconds: 1 }", "unknown key; did you mean timeout?"),
        ("logging: {}", "unknown key; did you mean log?"),
        ("API: {}", "unknown key; did you mean api?"),
        ("accounts: { farm: { Api_Key: k } }", "unknown key; did you mean api_key?"),
        ("api: { BASEURL: x }", "unknown key; did you mean base_url?"),
        ("timeout: 1s", "unknown key here; it belongs under api."),
        ("interval: 1s", "unknown key."),
        ("listen_addresses: [\":1\"]", "unknown key here; it belongs under web."),
        ("api_key: k", "unknown key here; it belongs under an account's name under accounts."),
        (
            "basic_auth_users: { a: b }",
            "unknown key here; it belongs to the web configuration, the file that --web.config.file names.",
        ),
        (
            "rate_limit: {}",
            "unknown key here; it belongs to the web configuration, the file that --web.config.file names.",
        ),
    ] {
        let error = yaml(text).unwrap_err().to_string();
        let (told, _) = error.split_once(" Known here: ").unwrap();
        assert!(told.ends_with(&format!(": {expected}")), "{text}: {error}");
    }
    for section in ["api", "polling", "accounts", "coins", "shard", "web", "log"] {
        let file = WebConfig::from_yaml("web.yml", &format!("{section}: {{}}"), Path::new(""));
        let expected = format!(
            "web.yml:1:1: {section}: unknown key here; it belongs to the exporter's configuration (--config.file). Known \
             here: tls_server_config, http_server_config, basic_auth_users, rate_limit"
        );
        assert_eq!(file.unwrap_err().to_string(), expected);
    }
}

/// The errors that a fixture's first lines tell.
pub fn told_errors(text: &str) -> String {
    let errors: Vec<_> = text.lines().map_while(|line| line.strip_prefix("# error: ")).collect();
    assert!(!errors.is_empty(), "the first line tells the error");
    errors.join("\n")
}

/// Each file breaks rules, one as a rule, and tells in its first lines all errors.
#[test]
fn broken_files_are_refused() {
    let mut paths: Vec<_> =
        fs::read_dir(fixtures().join("broken")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 100, "the fixtures are not where they should be");
    let mut wrong = String::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let expected = told_errors(&text).replace("{file}", &path.display().to_string());
        let got = load(Some(&path), &[]).map_or_else(|error| error.to_string(), |_| "it was accepted".to_owned());
        if got != expected {
            wrong += &format!("expected  {expected}\ngot       {got}\n\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let folder = TempDir::new().unwrap();
    let (missing, binary) = (folder.path().join("missing.yml"), folder.path().join("binary.yml"));
    fs::write(&binary, b"api: \xff\n").unwrap();
    for (path, why) in [
        (missing.as_path(), "No such file or directory (os error 2)"),
        (folder.path(), "Is a directory (os error 21)"),
        (binary.as_path(), "stream did not contain valid UTF-8"),
    ] {
        let expected = format!("{}: the configuration file cannot be read: {why}", path.display());
        assert_eq!(load(Some(path), &[]).unwrap_err().to_string(), expected);
    }
}

#[test]
fn plain_http_needs_loopback_or_permission() {
    for host in ["localhost", "LOCALHOST", "127.0.0.1:8080", "127.255.0.9", "[::1]:8080"] {
        let config = yaml(&format!("api: {{ base_url: \"http://{host}/ru/api\" }}")).unwrap();
        assert_eq!(config.api.base_url.as_str(), format!("http://{}/ru/api", host.to_lowercase()));
    }
    let told = yaml("api: { base_url: \"http://btcpool.kz/ru/api\", allow_insecure_http: true }").unwrap();
    assert_eq!(told.api.base_url.as_str(), "http://btcpool.kz/ru/api");
}

#[test]
fn values_may_be_written_in_several_ways() {
    for (text, seconds) in [("1s", 1.0), ("1500ms", 1.5), ("1h30m", 5400.0), ("2 minutes", 120.0), (" 7s ", 7.0)] {
        let config = yaml(&format!("polling: {{ history: {{ interval: \"{text}\", stale_after: 8784h }} }}")).unwrap();
        assert_eq!(config.polling.history.interval, Duration::from_secs_f64(seconds), "{text}");
    }
    for (text, bytes) in [("1024", 1024), ("1KiB", 1024), ("500 kB", 500_000), ("1.5MiB", 1_572_864), ("1GiB", 1 << 30)]
    {
        let config = yaml(&format!("api: {{ max_response_bytes: {text} }}")).unwrap();
        assert_eq!(config.api.max_response_bytes, bytes, "{text}");
    }
    for (text, truth) in [("true", true), ("True", true), ("YES", true), ("On", true), ("FALSE", false), ("No", false)]
    {
        let config = yaml(&format!("web: {{ enable_lifecycle: {text} }}")).unwrap();
        assert_eq!(config.web.enable_lifecycle, truth, "{text}");
    }
    for (level, format, expected) in
        [("WARN", "JSON", "Warn Json"), ("warning", "Logfmt", "Warn Logfmt"), ("Debug", "json", "Debug Json")]
    {
        let config = yaml(&format!("log: {{ level: {level}, format: {format} }}")).unwrap();
        assert_eq!(format!("{:?} {:?}", config.log.level, config.log.format), expected);
    }
    for (text, seconds) in [
        ("+08:00", 28_800),
        ("08:00", 28_800),
        ("-03:30", -12_600),
        ("00:00", 0),
        ("-12:00", -43_200),
        ("+14:00", 50_400),
    ] {
        for text in [text.to_owned(), format!("\"{text}\"")] {
            let config = yaml(&format!("api: {{ day_utc_offset: {text} }}")).unwrap();
            assert_eq!(config.api.day_utc_offset.seconds(), seconds, "{text}");
        }
    }
    for (text, hashes) in [
        ("12 PH/s", 12e15),
        ("950TH/s", 950e12),
        ("3.5 GH", 3.5e9),
        ("1e15", 1e15),
        ("7 MH/s", 7e6),
        ("8 kh/s", 8e3),
        ("0.4 EH/s", 4e17),
        ("600", 600.0),
    ] {
        let text = format!("accounts: {{ farm: {{ api_key: 0a1b2c, expected_hashrate: {{ BTC: {text} }} }} }}");
        let config = yaml(&text).unwrap();
        let hashrates: Vec<_> = account(&config, "farm").expected_hashrate.values().map(|h| h.as_f64()).collect();
        assert_eq!(hashrates, [hashes], "{text}");
    }
}

#[test]
fn limits_are_inside() {
    let longest = "ж".repeat(64);
    let key = "k".repeat(4096);
    let config = yaml(&format!(
        "api: {{ timeout: 600s, concurrency: 1, requests_per_second: 1000, page_size: 1, max_response_bytes: 1KiB }}\n\
         polling: {{ live: {{ interval: 1s, stale_after: 1001ms }} }}\n\
         accounts: {{ {longest}: {{ api_key: {key}, workers: {{ max: 1 }} }} }}"
    ))
    .unwrap();
    assert_eq!(account(&config, &longest).workers_max, Some(1));
    assert_eq!(config.polling.live.interval.as_secs(), 1);
    assert_eq!(yaml("shard: { index: 99999, count: 100000 }").unwrap().shard.index, 99_999);
}

#[test]
fn each_layer_goes_over_the_one_before() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.yml");
    fs::write(
        &file,
        "web: { listen_addresses: [\":1\"], telemetry_path: /file, max_requests: 1 }\n\
         log: { level: warn, format: json }\n\
         polling: { live: { interval: 10s } }\n",
    )
    .unwrap();
    let environment: Vec<_> = [
        ("BTCPOOL__WEB__LISTEN_ADDRESSES", ":2,[::1]:2"),
        ("BTCPOOL__WEB__TELEMETRY_PATH", "/environment"),
        ("BTCPOOL__LOG__LEVEL", "error"),
        ("BTCPOOL__POLLING__LIVE__STALE_AFTER", "20s"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    let overrides = Overrides {
        listen_addresses: vec![":3".to_owned(), "localhost:4".to_owned()],
        log_level: Some("debug".to_owned()),
        ..Overrides::default()
    };
    let differing = |config: &Config| {
        let (values, defaults) = (values(config), DEFAULT_VALUES.lines().collect::<Vec<_>>());
        values.lines().filter(|line| !defaults.contains(line)).map(str::to_owned).collect::<Vec<_>>()
    };
    let from_file = Config::load(Some(&file), [], &Overrides::default()).unwrap();
    let listed = ["live 10s 300s", "listen :1", "telemetry_path /file", "max_requests 1", "log Warn Json"];
    assert_eq!(differing(&from_file), listed);

    let with_environment = Config::load(Some(&file), environment.clone(), &Overrides::default()).unwrap();
    let listed = [
        "live 10s 20s",
        "listen :2",
        "listen [::1]:2",
        "telemetry_path /environment",
        "max_requests 1",
        "log Error Json",
    ];
    assert_eq!(differing(&with_environment), listed);

    let with_flags = Config::load(Some(&file), environment.clone(), &overrides).unwrap();
    let listed = [
        "live 10s 20s",
        "listen :3",
        "listen localhost:4",
        "telemetry_path /environment",
        "max_requests 1",
        "log Debug Json",
    ];
    assert_eq!(differing(&with_flags), listed);

    // Who asks for health looks for the exporter in the same layers.
    let web = config::load_web(Some(&file), environment, &overrides).unwrap();
    assert_eq!(format!("{web:?}"), format!("{:?}", with_flags.web));
}

#[test]
fn every_flag_goes_over_the_configuration() {
    let overrides = Overrides {
        listen_addresses: vec!["localhost:1".to_owned()],
        telemetry_path: Some("/flag".to_owned()),
        max_requests: Some("7".to_owned()),
        web_config_file: Some("web.yml".to_owned()),
        enable_lifecycle: true,
        systemd_socket: true,
        log_level: Some("error".to_owned()),
        log_format: Some("json".to_owned()),
    };
    let file = fixtures().join("full.yml");
    let config = Config::load(Some(&file), [], &overrides).unwrap();
    let ends = "listen localhost:1\ntelemetry_path /flag\nmax_requests 7\nweb.config_file Some(\"web.yml\")\n\
                enable_lifecycle true, systemd_socket true\nlog Error Json";
    assert!(values(&config).ends_with(&format!("shard 0 of 1\n{ends}")), "{}", values(&config));
}

#[test]
fn differing_web_and_log_keys_are_named() {
    let defaults = yaml("").unwrap();
    let other = yaml(
        "web: { listen_addresses: [\":1\"], telemetry_path: /m, max_requests: 1, config_file: w, enable_lifecycle: on,\n  \
         systemd_socket: on }\nlog: { level: warn, format: json }\n",
    )
    .unwrap();
    let differing = |one: &Config, other: &Config| {
        one.web.differing_keys(&other.web).chain(one.log.differing_keys(&other.log)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        differing(&other, &defaults),
        "web.listen_addresses web.telemetry_path web.max_requests web.config_file web.enable_lifecycle web.systemd_socket \
         log.level log.format"
    );
    assert_eq!(differing(&other, &other.clone()), "");
}

#[test]
fn a_wrong_flag_is_named() {
    let wrong = || Some("x y".to_owned());
    let rows = [
        (
            Overrides { listen_addresses: vec![":1".to_owned(), "x".to_owned()], ..Overrides::default() },
            "--web.listen-address: \"x\" is not an address to listen on, such as :10058, \
             127.0.0.1:10058 or [::1]:10058",
        ),
        (
            Overrides { telemetry_path: wrong(), ..Overrides::default() },
            "--web.telemetry-path: \"x y\" is not a path such as /metrics, and none of the \
             exporter's own (/, /sd, /-/...)",
        ),
        (
            Overrides { max_requests: wrong(), ..Overrides::default() },
            "--web.max-requests: \"x y\" is not a whole number from 0 to 1000000",
        ),
        (
            Overrides { log_level: wrong(), ..Overrides::default() },
            "--log.level: \"x y\" is not debug, info, warn or error",
        ),
        (Overrides { log_format: wrong(), ..Overrides::default() }, "--log.format: \"x y\" is not logfmt or json"),
    ];
    for (overrides, expected) in rows {
        assert_eq!(Config::load(None, [], &overrides).unwrap_err().to_string(), expected);
    }
}

#[test]
fn accounts_from_the_environment_alone() {
    let config = load(
        None,
        &[
            ("BTCPOOL__ACCOUNTS__FARM_A__API_KEY", "0a1b2c"),
            ("BTCPOOL__ACCOUNTS__FARM_A__CURRENCIES", "BTC,LTC"),
            ("BTCPOOL__ACCOUNTS__FARM_A__EXPECTED_HASHRATE__LTC", "9 GH/s"),
            ("BTCPOOL__ACCOUNTS__FARM_A__LABELS__SITE", "Ekibastuz"),
            ("BTCPOOL__ACCOUNTS__FARM_A__WORKERS__MAX", "5"),
            ("BTCPOOL__ACCOUNTS__FARM_B", "{api_key: 3d4e5f, workers: {enabled: false}}"),
            ("BTCPOOL__COINS__BTC__BLOCK_SUBSIDY", "1.5625"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    let differing: Vec<_> =
        values(&config).lines().filter(|line| !DEFAULT_VALUES.contains(*line)).map(str::to_owned).collect();
    assert_eq!(
        differing,
        [
            "account farm_a",
            "  key 0a1b2c",
            "  currencies [\"BTC\", \"LTC\"]",
            "  labels {\"site\": \"Ekibastuz\"}",
            "  expected_hashrate {\"LTC\": 9000000000.0}",
            "  workers_max Some(5)",
            "account farm_b",
            "  key 3d4e5f",
            "  currencies [\"BTC\"]",
            "  labels {}",
            "  expected_hashrate {}",
            "  workers_max None",
            "block_subsidy BTC 1.5625",
        ]
    );
}

#[test]
fn environment_lists_have_two_forms() {
    for text in ["BTC,LTC", " LTC , BTC ,", "[BTC, LTC]", "[\"LTC\", 'BTC', LTC]"] {
        let config =
            load(None, &[("BTCPOOL__ACCOUNTS__A__API_KEY", "k"), ("BTCPOOL__ACCOUNTS__A__CURRENCIES", text)]).unwrap();
        let currencies: Vec<_> = account(&config, "a").currencies.iter().map(|c| c.as_str()).collect();
        assert_eq!(currencies, ["BTC", "LTC"], "{text}");
    }
}

/// Kubernetes injects variables for each service: of a service called `btcpool-exporter`, or only `btcpool`.
#[test]
fn single_underscore_variables_are_ignored() {
    let injected = [
        ("BTCPOOL_EXPORTER_PORT", "tcp://10.0.0.1:10058"),
        ("BTCPOOL_EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("BTCPOOL_EXPORTER_PORT_10058_TCP_ADDR", "10.0.0.1"),
        ("BTCPOOL_PORT", "tcp://10.0.0.1:10058"),
        ("BTCPOOL_API__TIMEOUT", "1s"),
        ("XBTCPOOL__API__TIMEOUT", "1s"),
        ("btcpool__api__timeout", "1s"),
    ];
    assert_eq!(values(&load(None, &injected).unwrap()), DEFAULT_VALUES);
}

#[test]
fn wrong_variables_are_named() {
    let api_keys = "base_url, timeout, concurrency, requests_per_second, page_size, max_response_bytes, \
                    retry_after_max, reject_rate_unit, day_utc_offset, allow_insecure_http";
    let unknown =
        format!("BTCPOOL__API__TIMEUOT: api.timeuot: unknown key; did you mean timeout? Known here: {api_keys}");
    let rows: [(&[(&str, &str)], &str); 19] = [
        (&[("BTCPOOL__API__TIMEUOT", "1s")], &unknown),
        (
            &[("BTCPOOL__ACOUNTS__FARM__API_KEY", "k")],
            "BTCPOOL__ACOUNTS__FARM__API_KEY: acounts: unknown key; did you mean accounts? Known here: api, polling, \
             accounts, coins, shard, web, log",
        ),
        (
            &[("BTCPOOL__API_TIMEOUT", "1s")],
            "BTCPOOL__API_TIMEOUT: api_timeout: unknown key; did you mean BTCPOOL__API__TIMEOUT? Keys are joined by two \
             underscores",
        ),
        (
            &[("BTCPOOL__POLLING__LIVE_INTERVAL", "1s")],
            "BTCPOOL__POLLING__LIVE_INTERVAL: polling.live_interval: unknown key; did you mean \
             BTCPOOL__POLLING__LIVE__INTERVAL? Keys are joined by two underscores",
        ),
        (
            &[("BTCPOOL__API__PAGE__SIZE", "1s")],
            "BTCPOOL__API__PAGE__SIZE: api.page: unknown key; did you mean BTCPOOL__API__PAGE_SIZE? Keys are joined by \
             two underscores",
        ),
        (
            &[("BTCPOOL__ACCOUNTS__FARM_A_API_KEY", "k")],
            "BTCPOOL__ACCOUNTS__FARM_A_API_KEY: accounts.farm_a_api_key: expected keys with values, found a single \
             value; did you mean BTCPOOL__ACCOUNTS__FARM_A__API_KEY? Keys are joined by two underscores",
        ),
        (
            &[("BTCPOOL__ACCOUNTS_FARM_A__API_KEY_FILE", "k")],
            "BTCPOOL__ACCOUNTS_FARM_A__API_KEY_FILE: accounts_farm_a: unknown key; did you mean \
             BTCPOOL__ACCOUNTS__FARM_A__API_KEY_FILE? Keys are joined by two underscores",
        ),
        (
            &[("BTCPOOL__API__TIMEOUT", "1")],
            "BTCPOOL__API__TIMEOUT: api.timeout: \"1\" is not a duration such as 15s, 5m or 1h30m",
        ),
        (
            &[("BTCPOOL__API__TIMEOUT", "")],
            "BTCPOOL__API__TIMEOUT: api.timeout: \"\" is not a duration such as 15s, 5m or 1h30m",
        ),
        (&[("BTCPOOL__API", "1s")], "BTCPOOL__API: api: expected keys with values, found a single value"),
        (
            &[("BTCPOOL__API__TIMEOUT__X", "1s")],
            "BTCPOOL__API__TIMEOUT__X: api.timeout: expected a single value, found keys with values",
        ),
        (
            &[("BTCPOOL__ACCOUNTS__FARM__CURRENCIES", "BTC"), ("BTCPOOL__ACCOUNTS__OTHER__API_KEY", "k")],
            "BTCPOOL__ACCOUNTS__FARM__CURRENCIES: accounts.farm: has no key; set api_key_file (or api_key)",
        ),
        (&[("BTCPOOL__", "1s")], "BTCPOOL__: the variable's name has an empty part; keys are joined by \"__\""),
        (
            &[("BTCPOOL__API____TIMEOUT", "1s")],
            "BTCPOOL__API____TIMEOUT: the variable's name has an empty part; keys are joined by \"__\"",
        ),
        (
            &[("BTCPOOL__API__TIMEOUT", "1s"), ("BTCPOOL__api__timeout", "1s")],
            "BTCPOOL__api__timeout: another variable sets this key already, or one above or under it",
        ),
        (
            &[("BTCPOOL__API", "{timeout: 1s}"), ("BTCPOOL__API__TIMEOUT", "1s")],
            "BTCPOOL__API__TIMEOUT: another variable sets this key already, or one above or under it",
        ),
        (
            &[("BTCPOOL__WEB__LISTEN_ADDRESSES", "[\":1\", \":2]")],
            "BTCPOOL__WEB__LISTEN_ADDRESSES: no valid YAML: unclosed quote",
        ),
        (
            &[("BTCPOOL__ACCOUNTS__FARM__API_KEY", "k"), ("BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", "/k")],
            "BTCPOOL__ACCOUNTS__FARM__API_KEY: accounts.farm: has both api_key and api_key_file; remove one of them",
        ),
        (
            &[("BTCPOOL__ACCOUNTS__FARM", "{api_key: k, api_key_file: /k}")],
            "BTCPOOL__ACCOUNTS__FARM: accounts.farm: has both api_key and api_key_file; remove one of them",
        ),
    ];
    for (environment, expected) in rows {
        assert_eq!(environment_error(environment), expected);
    }
}

/// The serving side is read alone when only the exporter's address is wanted, and its errors are the same.
#[test]
fn web_only_load_names_its_errors() {
    let variables = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let error = config::load_web(None, variables("BTCPOOL__WEB__MAX_REQUEST", "1"), &Overrides::default());
    assert_eq!(
        error.unwrap_err().to_string(),
        "BTCPOOL__WEB__MAX_REQUEST: web.max_request: unknown key; did you mean max_requests? Known here: \
         listen_addresses, telemetry_path, max_requests, config_file, enable_lifecycle, systemd_socket"
    );
    // A key file that only the exporter can read is no reason not to find the exporter.
    let file = "BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE";
    assert!(config::load_web(None, variables(file, "/no/such/file"), &Overrides::default()).is_ok());
}

#[test]
fn later_layer_replaces_a_key() {
    let folder = TempDir::new().unwrap();
    let key_file = folder.path().join("key");
    fs::write(&key_file, "from-the-key-file\n").unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let key_file = key_file.to_str().unwrap();
    let write = |text: &str| {
        let file = folder.path().join("config.yml");
        fs::write(&file, text).unwrap();
        file
    };
    let rows = [
        // The file that is replaced does not even exist.
        (
            "api_key_file: /no/such/file",
            "BTCPOOL__ACCOUNTS__FARM__API_KEY",
            "from-the-environment",
            "from-the-environment",
        ),
        ("api_key: from-yaml", "BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", key_file, "from-the-key-file"),
        ("api_key: from-yaml", "BTCPOOL__ACCOUNTS__FARM__API_KEY", "from-the-environment", "from-the-environment"),
        ("api_key_file: /no/such/file", "BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", key_file, "from-the-key-file"),
        ("api_key: from-yaml", "BTCPOOL__ACCOUNTS__FARM", "{api_key: in-braces}", "in-braces"),
    ];
    for (line, name, value, expected) in rows {
        let file = write(&format!("accounts:\n  farm:\n    {line}\n    currencies: [LTC]\n"));
        let config = load(Some(&file), &[(name, value)]).unwrap();
        assert_eq!(key(&config, "farm"), expected, "{line}, {name}={value}");
        assert_eq!(account(&config, "farm").currencies.iter().map(|c| c.as_str()).collect::<Vec<_>>(), ["LTC"]);
    }

    // Another account keeps its own.
    let file = write("accounts: { farm: { api_key: from-yaml }, other: { api_key: its-own } }");
    let config = load(Some(&file), &[("BTCPOOL__ACCOUNTS__FARM__API_KEY", "from-the-environment")]).unwrap();
    assert_eq!((key(&config, "farm"), key(&config, "other")), ("from-the-environment", "its-own"));

    // Both in one layer are a mistake in that layer, whatever comes later.
    let file = write("accounts:\n  farm:\n    api_key: k\n    api_key_file: /k\n");
    let error = load(Some(&file), &[("BTCPOOL__ACCOUNTS__FARM__API_KEY", "k")]).unwrap_err().to_string();
    let both = "accounts.farm: has both api_key and api_key_file; remove one of them";
    assert_eq!(error, format!("{}:3:5: {both}", file.display()));
}

/// What YAML takes for a number, a truth or a date is a key to the letter.
#[test]
fn keys_are_kept_to_the_letter() {
    for text in [
        "00112233445566",
        "007",
        "0",
        "-0",
        "+5",
        "0x1F",
        "0o17",
        "1_000",
        "1.50",
        "1e5",
        "1e999",
        ".inf",
        ".nan",
        "99999999999999999999999999999999999999999999999999",
        "true",
        "no",
        "12:30:00",
        "2026-01-01",
    ] {
        // The letters before it take more bytes than characters; places must be counted in bytes.
        let config =
            yaml(&format!("# Ферма\naccounts: {{ Ферма: {{ api_key: {text} , currencies: [BTC] }} }}")).unwrap();
        assert_eq!(key(&config, "Ферма"), text);
        let block =
            yaml(&format!("accounts:\r\n  farm:\r\n    api_key: {text} # its key\r\n    workers:\r\n")).unwrap();
        assert_eq!(key(&block, "farm"), text);
        let marked = yaml(&format!("\u{FEFF}accounts: {{ farm: {{ api_key: {text} }} }}")).unwrap();
        assert_eq!(key(&marked, "farm"), text);
        let variable = load(None, &[("BTCPOOL__ACCOUNTS__FARM__API_KEY", text)]).unwrap();
        assert_eq!(key(&variable, "farm"), text);
        let braces = load(None, &[("BTCPOOL__ACCOUNTS", &format!("{{farm: {{api_key: {text}}}}}"))]).unwrap();
        assert_eq!(key(&braces, "farm"), text);
    }
    for text in ["[abc]", "{abc}", "a#b:c", "a'b"] {
        let variable = load(None, &[("BTCPOOL__ACCOUNTS__FARM__API_KEY", text)]).unwrap();
        assert_eq!(key(&variable, "farm"), text);
    }
    let shared = yaml("accounts:\n  a: &a { api_key: 007 }\n  b: *a\n  c: { api_key: !!str 007 }\n").unwrap();
    assert_eq!(["a", "b", "c"].map(|name| key(&shared, name)), ["007"; 3]);
}

#[test]
fn labels_are_kept_to_the_letter() {
    let config = yaml("accounts: { farm: { api_key: k, labels: { rack: 007, on: yes, empty: \"\" } } }").unwrap();
    let labels: Vec<_> =
        account(&config, "farm").labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["empty=", "on=yes", "rack=007"]);
}

fn with_key_file(path: &Path) -> Result<Config, ConfigError> {
    load(None, &[("BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", path.to_str().unwrap())])
}

#[test]
fn key_files_are_read() {
    let folder = TempDir::new().unwrap();
    let longest = "k".repeat(4096);
    let longest_line = format!("{}\n", "k".repeat(4095));
    for (content, expected) in [
        ("0a1b2c", "0a1b2c"),
        ("0a1b2c\n", "0a1b2c"),
        ("0a1b2c\r\n", "0a1b2c"),
        ("00112233\n", "00112233"),
        (longest.as_str(), longest.as_str()),
        (longest_line.as_str(), &longest[..4095]),
    ] {
        let path = folder.path().join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let config = with_key_file(&path).unwrap();
        assert_eq!((key(&config, "farm"), config.warnings.as_slice()), (expected, [].as_slice()));
    }
    // Kubernetes mounts a secret as a link to a link.
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    fs::write(folder.path().join("key"), "linked\n").unwrap();
    symlink("key", &first).unwrap();
    symlink("first", &second).unwrap();
    assert_eq!(key(&with_key_file(&second).unwrap(), "farm"), "linked");
}

#[test]
fn unusable_key_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let dangling = folder.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    let large = "has more than 4 KiB, which no key has";
    for (path, why) in [
        (folder.path().join("missing"), " cannot be read: No such file or directory (os error 2)".to_owned()),
        (dangling, " cannot be read: No such file or directory (os error 2)".to_owned()),
        (folder.path().to_owned(), " is not a regular file".to_owned()),
        // It would never end.
        (PathBuf::from("/dev/zero"), " is not a regular file".to_owned()),
        (file("empty", b""), ": the key is empty".to_owned()),
        (file("blank", b"\r\n\n"), ": the key is empty".to_owned()),
        (file("large", &[b'k'; 4097]), format!(" {large}")),
        (file("large-line", format!("{}\n", "k".repeat(4096)).as_bytes()), format!(" {large}")),
        (file("binary", b"\xff\x00"), " is not text".to_owned()),
        (
            file("two-lines", b"0a1b2c\n3d4e5f\n"),
            ": the key has a space, a line break or another character that no key has".to_owned(),
        ),
        (
            file("indented", b" 0a1b2c\n"),
            ": the key has a space, a line break or another character that no key has".to_owned(),
        ),
    ] {
        let place = "BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE: accounts.farm.api_key_file";
        let expected = format!("{place}: {}{why}", path.display());
        assert_eq!(with_key_file(&path).unwrap_err().to_string(), expected);
    }
}

#[test]
fn exposed_key_file_warns() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, "0a1b2c\n").unwrap();
    // A link's own mode is always 777 and means nothing.
    let link = folder.path().join("link");
    symlink("key", &link).unwrap();
    for (mode, warned) in
        [(0o644, true), (0o640, true), (0o604, true), (0o440, true), (0o600, false), (0o400, false), (0o700, false)]
    {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for shown in [&path, &link] {
            let text = "can be read by group or others";
            let expected =
                format!("accounts.farm.api_key_file: {} {text} (mode {mode:o}); chmod 600 it", shown.display());
            let expected: Vec<_> = warned.then_some(expected).into_iter().collect();
            assert_eq!(with_key_file(shown).unwrap().warnings, expected);
        }
    }
}

#[test]
fn errors_quote_only_what_is_no_key() {
    let key = "0a1b2c-3d4e5f-607182-93a4b5-c6d7e8";
    let hidden = "the value (not shown: it may be a key)";
    for (text, expected) in [
        (
            format!("farm: {{ api_key: k, currencies: [{key}] }}"),
            format!("accounts.farm.currencies: {hidden} is not a currency of the pool: BTC, BCH or LTC"),
        ),
        (
            format!("farm: {{ api_key: k, workers: {{ max: {key} }} }}"),
            format!("accounts.farm.workers.max: {hidden} is not a whole number from 1 to 10000000"),
        ),
        (
            "farm: { api_key: k, currencies: [a-currency-of-no-pool-1] }".to_owned(),
            "accounts.farm.currencies: \"a-currency-of-no-pool-1\" is not a currency of the pool: BTC, BCH or LTC"
                .to_owned(),
        ),
        (format!("{key}: {{}}"), "accounts.(not shown): has no key; set api_key_file (or api_key)".to_owned()),
        (
            "Ekibastuz-container-0123: {}".to_owned(),
            "accounts.Ekibastuz-container-0123: has no key; set api_key_file (or api_key)".to_owned(),
        ),
    ] {
        let error = yaml(&format!("accounts:\n  {text}\n")).unwrap_err().to_string();
        let (_, message) = error.split_once(": ").unwrap();
        assert_eq!(message, expected);
    }
}

/// Ways to get a key into the wrong place.
#[test]
fn nothing_that_holds_a_key_prints_it() {
    let key = "Qz7Wx4-Vp2Ymk-Jr9Txb";
    let yaml = format!("accounts: {{ farm: {{ api_key: {key} }} }}");
    let config = Config::from_yaml("test", &yaml, &Overrides::default()).unwrap();
    // What a panic or a log line would print of them.
    let printed = format!("{config:#?} {:#?}", Exporter::new(config.clone(), Clock::system()).unwrap());
    assert!(printed.contains("farm"));
    assert!(key.as_bytes().windows(6).all(|part| !printed.contains(std::str::from_utf8(part).unwrap())), "{printed}");
}

#[test]
fn no_error_shows_a_key() {
    let files = [
        "accounts: { farm: { api_key: CANARY and more } }",
        "accounts:\n  farm:\n    api_kye: CANARY\n",
        "accounts:\n  farm: CANARY\n",
        "accounts:\n  farm: { CANARY }\n",
        "accounts:\n  farm:\n    CANARY:\n",
        "accounts: CANARY\n",
        "CANARY\n",
        "- CANARY\n",
        "accounts:\n  - CANARY\n",
        "accounts:\n  farm:\n    - CANARY\n",
        "accounts:\n  farm:\n    api_key CANARY\n",
        "accounts:\n  farm:\n    api_key CANARY\n    currencies: [BTC]\n",
        "accounts:\n  farm:\n    api_key: [CANARY]\n",
        "accounts:\n  farm:\n    api_key: { CANARY: x }\n",
        "accounts:\n  farm:\n    api_key: { file: CANARY }\n",
        "accounts:\n  farm:\n    api_key: \"CANARY\n",
        "accounts:\n  farm:\n    api_key: 'CANARY\n    currencies: [BTC]\n",
        "accounts:\n  farm:\n    api_key: *CANARY\n",
        "accounts:\n  farm:\n    api_key: @CANARY\n",
        "accounts:\n  farm:\n    api_key: CANARY: x\n",
        "accounts:\n  farm:\n    api_key: !CANARY!x y\n",
        "accounts:\n  farm: { api_key: CANARY\n",
        "accounts:\n  farm: { api_key: CANARY ]\n",
        // The key on a line of its own.
        "accounts:\n  farm:\n    api_key:\n      *CANARY\n",
        "accounts:\n  farm:\n    api_key:\n      @CANARY\n",
        "accounts:\n  farm:\n    api_key:\n      !!int CANARY\n",
        "accounts:\n  farm:\n    api_key:\n      !!binary CANARY\n",
        "accounts:\n  farm:\n    api_key:\n      !CANARY!x y\n",
        "accounts:\n  farm:\n    api_key:\n      |CANARY\n",
        "accounts:\n  farm:\n    api_key:\n      \"\\uCANARY\"\n",
        "accounts:\n  farm:\n    api_key:\n      CANARY: x: y\n",
        "accounts:\n  farm:\n    api_key:\n    CANARY: x: y\n",
        "accounts:\n  farm:\n    <<: CANARY\n",
        "accounts: { farm: { api_key: CANARY, api_key: CANARY } }",
        "accounts: { farm: { api_key: CANARY, api_key_file: CANARY } }",
        "accounts: { farm: { api_key: CANARY, currencies: [DOGE] } }",
        "accounts: { farm: { api_key: CANARY, expected_hashrate: { BTC: 0 } } }",
        "accounts: { farm: { api_key_file: CANARY } }",
        "accounts: { farm: { api_key_file: [CANARY] } }",
        "accounts: { farm: { workers: CANARY } }",
        "accounts: { farm: { labels: CANARY } }",
        "accounts: { farm: { expected_hashrate: CANARY } }",
        // Where a currency, a hashrate, a number or a truth belongs.
        "accounts: { farm: { api_key: k, currencies: [CANARY] } }",
        "accounts: { farm: { api_key: k, currencies: CANARY } }",
        "accounts: { farm: { api_key: k, currencies: [\"BTC CANARY\"] } }",
        "accounts: { farm: { api_key: k, expected_hashrate: { BTC: CANARY } } }",
        "accounts: { farm: { api_key: k, expected_hashrate: { CANARY: 1 TH/s } } }",
        "accounts: { farm: { api_key: k, labels: { CANARY: x } } }",
        "accounts: { farm: { api_key: k, labels: { CANARY: [x] } } }",
        "accounts: { farm: { api_key: k, workers: { max: CANARY } } }",
        "accounts: { farm: { api_key: k, workers: { enabled: CANARY } } }",
        // Where an account's name belongs.
        "accounts: { DIGITS: { currencies: [BTC] } }",
        "accounts: { DIGITS: { api_key: a b } }",
        "accounts: { DIGITS: { api_kye: x } }",
        "accounts: { DIGITS: { api_key: k, api_key_file: k } }",
        "accounts: { DIGITS: { api_key: k, currencies: [DOGE] } }",
        "accounts: { DIGITS: { api_key_file: /no/such/file } }",
        "accounts:\n  DIGITS:\n",
        "accounts:\n  DIGITS: x\n",
        "accounts:\n  DIGITS: [x]\n",
        "api: { base_url: \"https://CANARY@btcpool.kz/ru/api\" }",
        "api: { base_url: \"https://btcpool.kz/ru/api?api_key=CANARY\" }",
        "api: { base_url: \"http://CANARY:80:80/\" }",
        "api: { api_key: CANARY }",
        "api_key: CANARY",
        "keys: { farm: CANARY }",
    ];
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.yml");
    for text in files {
        let text = text.replace("CANARY", CANARY).replace("DIGITS", CANARY_OF_DIGITS);
        fs::write(&file, &text).unwrap();
        let Err(error) = load(Some(&file), &[]) else { panic!("this was accepted:\n{text}") };
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}\n{text}");
        let web = config::load_web(Some(&file), [], &Overrides::default());
        assert!(!format!("{web:?}").contains("CANARY"), "{web:?}\n{text}");
    }
    for (name, value) in [
        ("BTCPOOL__ACCOUNTS", "CANARY"),
        ("BTCPOOL__ACCOUNTS", "{farm: CANARY}"),
        ("BTCPOOL__ACCOUNTS__FARM", "CANARY"),
        ("BTCPOOL__ACCOUNTS__FARM", "[CANARY]"),
        ("BTCPOOL__ACCOUNTS__FARM", "{api_key: [CANARY]}"),
        ("BTCPOOL__ACCOUNTS__FARM", "{api_key: \"CANARY}"),
        ("BTCPOOL__ACCOUNTS__FARM", "{api_key: *CANARY}"),
        ("BTCPOOL__ACCOUNTS__FARM", "{api_kye: CANARY}"),
        ("BTCPOOL__ACCOUNTS__FARM", "{@CANARY}"),
        ("BTCPOOL__ACCOUNTS__FARM__API_KEY", "CANARY CANARY"),
        ("BTCPOOL__ACCOUNTS__FARM__API_KYE", "CANARY"),
        ("BTCPOOL__ACCOUNTS__FARM__API_KEY__X", "CANARY"),
        ("BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", "CANARY"),
        ("BTCPOOL__ACCOUNTS__API_KEY", "CANARY"),
        ("BTCPOOL__API_KEY", "CANARY"),
        ("BTCPOOL__FARM_API_KEY", "CANARY"),
    ] {
        // A key of digits alone arrives as a number.
        for key in [CANARY, "4839201755661209348"] {
            let value = value.replace("CANARY", key);
            let Err(error) = load(None, &[(name, &value)]) else { panic!("this was accepted: {name}={value}") };
            let shown = format!("{error} {error:?}");
            let mut parts = key.as_bytes().windows(6).map(|part| std::str::from_utf8(part).unwrap());
            assert!(parts.all(|part| !shown.contains(part)), "{error}\n{name}={value}");
        }
    }
    for (name, value) in [
        ("BTCPOOL__ACCOUNTS__DIGITS__CURRENCIES", "BTC"),
        ("BTCPOOL__ACCOUNTS__DIGITS", "x"),
        ("BTCPOOL__ACCOUNTS__DIGITS____", "x"),
        ("BTCPOOL__ACCOUNTS__FARM__CURRENCIES", CANARY),
        ("BTCPOOL__DIGITS", "x"),
    ] {
        let name = name.replace("DIGITS", CANARY_OF_DIGITS);
        let error = environment_error(&[("BTCPOOL__ACCOUNTS__FARM__API_KEY", "k"), (&name, value)]);
        assert!(!error.contains("CANARY") && !error.contains("canary"), "{error}\n{name}={value}");
    }
    // What stands in a key file is shown as little as what stands in the configuration.
    for content in ["CANARY CANARY", "CANARY\nCANARY", "CANARY\u{e9}"] {
        let path = folder.path().join("secret");
        fs::write(&path, content.replace("CANARY", CANARY)).unwrap();
        let error = with_key_file(&path).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
}

#[test]
fn printed_configuration_shows_no_key() {
    let folder = TempDir::new().unwrap();
    let (file, key_file) = (folder.path().join("config.yml"), folder.path().join("secret"));
    fs::write(&key_file, CANARY).unwrap();
    fs::write(
        &file,
        format!("accounts: {{ a: {{ api_key: {CANARY} }}, b: {{ api_key_file: {} }} }}", key_file.display()),
    )
    .unwrap();
    let config = load(Some(&file), &[("BTCPOOL__ACCOUNTS__C__API_KEY", CANARY)]).unwrap();
    assert_eq!(["a", "b", "c"].map(|name| key(&config, name)), [CANARY; 3]);
    let printed = format!("{config:?} {config:#?}");
    assert_eq!(printed.matches("REDACTED").count(), 6, "{printed}");
    assert!(!printed.contains("CANARY"), "{printed}");
}

#[test]
fn shards_divide_the_accounts() {
    let names: Vec<_> = (0..100).map(|number| format!("farm_{number}")).collect();
    let accounts: String = names.iter().map(|name| format!("  {name}: {{ api_key: 0a1b2c }}\n")).collect();
    for count in [1, 2, 3, 7] {
        let mut own = Vec::new();
        for index in 0..count {
            let config = yaml(&format!("shard: {{ index: {index}, count: {count} }}\naccounts:\n{accounts}")).unwrap();
            assert_eq!(config.accounts_in_all_shards, names.len());
            let these: Vec<_> = config.accounts.keys().map(ToString::to_string).collect();
            let targets: Vec<_> = config.targets().map(|(target, _)| target.account.to_string()).collect();
            assert_eq!(these, targets);
            assert!(!these.is_empty(), "shard {index} of {count} has nothing to do");
            own.extend(these);
        }
        own.sort();
        let mut all = names.clone();
        all.sort();
        assert_eq!(own, all, "{count} shards");
    }
}

/// The values are Python's: `int.from_bytes(hashlib.md5(name.encode()).digest()[8:], "big")`.
#[test]
fn the_shard_is_prometheus_hashmod() {
    let rows: [(&str, u64); 5] = [
        ("farm_a", 9_690_386_387_131_101_499),
        ("farm_b", 8_910_971_524_254_250_378),
        ("farm", 18_081_241_986_867_015_477),
        ("Ферма 1", 13_781_295_616_772_851_265),
        ("x", 17_710_500_428_000_290_726),
    ];
    for (name, hash) in rows {
        let name: AccountName = name.parse().unwrap();
        for count in [1, 2, 3, 7, 100, 100_000] {
            for index in 0..count.min(1000) {
                assert_eq!(Shard { index, count }.holds(&name), index == hash % count, "{name}: {index} of {count}");
            }
            assert!(Shard { index: hash % count, count }.holds(&name), "{name}: {count}");
        }
    }
}

/// A variable whose name stands for the file's own key goes over it, however it is spelled.
#[test]
fn coins_are_layered_labels_verbatim() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.yml");
    let account = "accounts: { farm: { api_key: 0a1b2c, expected_hashrate: { BTC: 1 PH/s } } }\n";
    fs::write(&file, format!("coins: {{ BTC: {{ block_subsidy: 1 }} }}\n{account}")).unwrap();
    let environment = [
        ("BTCPOOL__COINS__BTC__BLOCK_SUBSIDY", "2"),
        ("BTCPOOL__ACCOUNTS__FARM__EXPECTED_HASHRATE__BTC", "3 TH/s"),
        ("BTCPOOL__ACCOUNTS__FARM__LABELS__RACK", "[rack 3]"),
        ("BTCPOOL__ACCOUNTS__FARM__LABELS__ROOM", "{x}"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::load(Some(&file), environment, &Overrides::default()).unwrap();
    assert_eq!(config.block_subsidies[&Currency::Btc], 2.0);
    let account = config.accounts.values().next().unwrap();
    assert_eq!(account.expected_hashrate[&Currency::Btc].as_f64(), 3e12);
    let labels: Vec<_> = account.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("rack", "[rack 3]"), ("room", "{x}")]);
}
