//! The program itself, as a process: commands, flags, exit codes, signals.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use wiremock::ResponseTemplate;

use crate::{
    harness::{self, ENDPOINTS, KEY, PATIENCE, Pool, Program, program, run, sample},
    parser::{self, Format},
    support::until,
};

/// The longest that the program may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Runs a command to its end while a pool of this process answers it.
async fn run_beside(command: Command) -> (Option<i32>, String, String) {
    tokio::task::spawn_blocking(|| run(command)).await.unwrap()
}

/// A command with variables of the environment.
fn with(mut command: Command, environment: &[(&str, &str)]) -> Command {
    command.envs(environment.iter().copied());
    command
}

/// `serve`, which polls the pool's statistics from `base_url` and listens somewhere on loopback.
fn serve(base_url: &str, more: &[&str]) -> Command {
    let arguments = [&["serve", "--web.listen-address", "127.0.0.1:0"], more].concat();
    with(program(&arguments), &[("BTCPOOL__API__BASE_URL", base_url), ("BTCPOOL__API__TIMEOUT", "60s")])
}

fn write(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A port of loopback on which nobody listens.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The series of an exposition in the classic format, which must be valid.
fn series(text: &str) -> BTreeMap<String, f64> {
    parser::series(&parser::parse(text, Format::Classic).unwrap_or_else(|error| panic!("{error}\n{text}")))
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn version() {
    let line = format!("btcpool-exporter {}\n", env!("CARGO_PKG_VERSION"));
    for command in [&[][..], &["check"]] {
        assert_eq!(run(program(&[command, &["-V"]].concat())), (Some(0), line.clone(), String::new()));
        let (code, output, errors) = run(program(&[command, &["--version"]].concat()));
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        let rest: Vec<_> = output.strip_prefix(&line).expect("the first line is the same").lines().collect();
        let [revision, compiler] = rest[..] else { panic!("{output}") };
        assert!(revision.starts_with("revision ") && compiler.starts_with("rustc "), "{output}");
    }
}

#[test]
fn help_names_every_command_and_flag() {
    let (code, help, errors) = run(program(&["--help"]));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let words: BTreeSet<_> = help.split_whitespace().collect();
    for word in ["serve", "check", "once", "backfill", "demo", "health"] {
        assert!(words.contains(word), "{word}\n{help}");
        let (code, of_command, _) = run(program(&[word, "--help"]));
        assert_eq!(code, Some(0));
        // The flags of every command are flags of each, and its own stand above them.
        assert!(of_command.contains("--config.file <FILE>"), "{of_command}");
        let headings: Vec<_> =
            of_command.lines().filter(|line| !line.starts_with(' ') && line.ends_with(':')).collect();
        assert_eq!(headings, ["Options:", "Configuration:", "Serving:", "Log:"], "{of_command}");
    }
    for flag in [
        "--config.file",
        "--web.listen-address",
        "--web.telemetry-path",
        "--web.max-requests",
        "--web.config.file",
        "--web.enable-lifecycle",
        "--web.systemd-socket",
        "--config.enable-auto-reload",
        "--log.level",
        "--log.format",
        "--help",
        "--version",
    ] {
        assert!(words.contains(flag), "{flag}\n{help}");
    }
    // No secret is ever taken from the command line, where every user of the machine could read it.
    assert!(!help.contains("--api"), "{help}");
}

#[test]
fn bad_usage_is_refused() {
    for (arguments, expected) in [
        (&["--no-such-flag"][..], "error: unexpected argument '--no-such-flag' found"),
        (&["serve", "--api-key", "0a1b2c"], "error: unexpected argument '--api-key' found"),
        (&["no-such-command"], "error: unrecognized subcommand 'no-such-command'"),
        (&["serve", "--probe"], "error: unexpected argument '--probe' found"),
        (
            &["health", "--url", "nowhere"],
            "error: invalid value 'nowhere' for '--url <URL>': relative URL without a base",
        ),
        (
            &["demo", "--config.file", "config.yml"],
            "btcpool-exporter: demo brings its own configuration; leave --config.file out",
        ),
        (
            &["demo", "--web.enable-lifecycle"],
            "btcpool-exporter: demo has nothing to reload and binds its own addresses; leave --web.enable-lifecycle out",
        ),
        (
            &["--web.systemd-socket", "demo"],
            "btcpool-exporter: demo has nothing to reload and binds its own addresses; leave --web.systemd-socket out",
        ),
        (
            &["demo", "--config.enable-auto-reload"],
            "btcpool-exporter: demo has nothing to reload and binds its own addresses; leave --config.enable-auto-reload \
             out",
        ),
        (&["demo", "--speed=-1"], "btcpool-exporter: --speed must be from 0 to 100000"),
        (&["demo", "--speed=NaN"], "btcpool-exporter: --speed must be from 0 to 100000"),
        (
            &["serve", "--log.level", "loud"],
            "btcpool-exporter: --log.level: \"loud\" is not debug, info, warn or error",
        ),
    ] {
        let (code, output, errors) = run(program(arguments));
        let first = errors.lines().next().unwrap_or_default();
        assert_eq!((code, output.as_str(), first), (Some(2), "", expected), "{errors}");
    }
}

#[test]
fn invalid_thread_count_is_refused() {
    for text in ["x", "", "0", "-1", "1.5"] {
        let result = run(with(program(&["check"]), &[("TOKIO_WORKER_THREADS", text)]));
        let expected = format!("btcpool-exporter: TOKIO_WORKER_THREADS: {text:?} is not a whole number above 0\n");
        assert_eq!(result, (Some(2), String::new(), expected));
    }
    assert_eq!(run(with(program(&["check"]), &[("TOKIO_WORKER_THREADS", "1")])).0, Some(0));
}

/// The address is taken already, so a program that bound before it looked would say so instead.
#[test]
fn bad_configuration_is_refused_before_binding() {
    let folder = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let file = write(&folder, "config.yml", "api:\n  timeout: 15\n");
    let missing = folder.path().join("missing.yml");
    let missing = missing.to_str().unwrap();
    for command in ["serve", "check", "once", "health"] {
        let arguments = [command, "--web.listen-address", &address];
        let asks_only = command == "health";
        // Who asks for health needs the serving side's configuration only.
        if !asks_only {
            let why = "api.timeout: \"15\" is not a duration such as 15s, 5m or 1h30m";
            let result = run(program(&[&arguments[..], &["--config.file", &file]].concat()));
            let expected = format!("btcpool-exporter: {file}:2:3: {why}\n");
            assert_eq!(result, (Some(2), String::new(), expected), "{command}");
        }

        let result = run(program(&[&arguments[..], &["--config.file", missing]].concat()));
        let why = "the configuration file cannot be read: No such file or directory (os error 2)";
        let expected = format!("btcpool-exporter: {missing}: {why}\n");
        assert_eq!(result, (Some(2), String::new(), expected), "{command}");

        let result = run(with(program(&arguments), &[("BTCPOOL__WEB__MAX_REQUESTS", "many")]));
        let why = "web.max_requests: \"many\" is not a whole number from 0 to 1000000";
        let expected = format!("btcpool-exporter: BTCPOOL__WEB__MAX_REQUESTS: {why}\n");
        assert_eq!(result, (Some(2), String::new(), expected), "{command}");
    }
    // Of the web configuration those read who serve by it, or look for who does.
    let web = write(&folder, "web.yml", "tls_server_config: { cert_fil: server.crt }\n");
    for command in ["serve", "demo", "check", "health"] {
        let result = run(program(&[command, "--web.listen-address", &address, "--web.config.file", &web]));
        let begin =
            format!("btcpool-exporter: {web}:1:22: tls_server_config.cert_fil: unknown key; did you mean cert_file?");
        assert_eq!((result.0, result.1.as_str(), result.2.starts_with(&begin)), (Some(2), "", true), "{}", result.2);
    }
}

#[test]
fn non_text_variable_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let garbage = std::ffi::OsStr::from_bytes(b"\xff");
    let mut command = program(&["check"]);
    command.env("BTCPOOL__API__TIMEOUT", garbage);
    let expected = "btcpool-exporter: BTCPOOL__API__TIMEOUT: the variable's value is not UTF-8 text\n";
    assert_eq!(run(command), (Some(2), String::new(), expected.to_owned()));
    // One that is not ours is nobody's concern.
    let mut command = program(&["check"]);
    command.env("BTCPOOL_EXPORTER_PORT", garbage).env("LESS", garbage);
    assert_eq!(run(command).0, Some(0));
}

const SMALL: &str = "\
accounts:
  farm_a:
    api_key: 0a1b2c
    currencies: [BTC, LTC]
    expected_hashrate: { BTC: 12 PH/s }
  farm_b:
    api_key: 3d4e5f
    workers: { enabled: false }
";

#[test]
fn check_reports_what_is_polled() {
    let folder = TempDir::new().unwrap();
    let file = write(&folder, "config.yml", SMALL);
    let expected = format!(
        "{}The configuration is valid (file: {file})
pool        https://btcpool.kz/ru/api; timeout 15s, 4 requests at a time, 100 rows a page, reject_rate in ratio
live        every 1m, shown for 5m
history     every 15m, shown for 2h; the pool's day begins at UTC+08
accounts    2
  farm_a: BTC, LTC; at most 20000 workers
    BTC expected at 12.0 PH/s
  farm_b: BTC; no workers
requests    at least 6 each live interval and 6 each history interval: 0.11 a second, of 5 allowed
web         :10058; metrics at /metrics, at most 40 requests at a time, POST /-/reload is off
web config  none: plain HTTP, for everybody
log         info, logfmt
",
        program_line()
    );
    assert_eq!(run(program(&["--config.file", &file, "check"])), (Some(0), expected.clone(), String::new()));
    // Flags may stand before the command, behind it, and on both sides of it.
    assert_eq!(run(program(&["check", "--config.file", &file])), (Some(0), expected.clone(), String::new()));
    let split = ["--log.level=error", "check", "--config.file", &file];
    let quieter = expected.replace("log         info", "log         error");
    assert_eq!(run(program(&split)), (Some(0), quieter, String::new()));
}

#[test]
fn check_without_a_configuration() {
    let expected = "\
The configuration is valid (file: none)
pool        https://btcpool.kz/ru/api; timeout 15s, 4 requests at a time, 100 rows a page, reject_rate in ratio
live        every 1m, shown for 5m
history     every 15m, shown for 2h; the pool's day begins at UTC+08
accounts    0
requests    at least 1 each live interval and 0 each history interval: 0.02 a second, of 5 allowed
web         :10058; metrics at /metrics, at most 40 requests at a time, POST /-/reload is off
web config  none: plain HTTP, for everybody
log         info, logfmt
";
    assert_eq!(run(program(&["check"])), (Some(0), program_line() + expected, String::new()));
}

/// The first line: what is asked for when something is reported.
fn program_line() -> String {
    let (code, output, _) = run(program(&["check"]));
    let line = output.lines().next().unwrap_or_default().to_owned();
    let begin = format!("btcpool-exporter {} (revision ", env!("CARGO_PKG_VERSION"));
    let end = format!(", {} {})", std::env::consts::OS, std::env::consts::ARCH);
    assert!(code == Some(0) && line.starts_with(&begin) && line.ends_with(&end), "{output}");
    line + "\n"
}

/// Variables are named and not quoted; the serving side is told of with what differs from one system to another.
#[test]
fn check_reports_environment_and_web() {
    let folder = TempDir::new().unwrap();
    let web = write(&folder, "web.yml", "tls_server_config: { prefer_server_cipher_suites: true }\n");
    let environment = [
        ("BTCPOOL__ACCOUNTS__FARM_A__API_KEY", KEY),
        ("BTCPOOL__API__REJECT_RATE_UNIT", "percent"),
        ("BTCPOOL__WEB__MAX_REQUESTS", "0"),
        ("BTCPOOL_EXPORTER_PORT", "tcp://10.0.0.1:10058"),
    ];
    let flags = ["--web.config.file", &web, "--web.enable-lifecycle", "--log.format", "json", "--log.level", "warn"];
    let listen = ["--web.listen-address", ":1", "--web.listen-address", "[::1]:2"];
    let command = program(&[&["check"][..], &flags, &listen].concat());
    let (code, output, errors) = run(with(command, &environment));
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{output}");
    let warning = "there is neither cert_file nor key_file, so nothing is encrypted";
    for line in [
        "environment BTCPOOL__ACCOUNTS__FARM_A__API_KEY, BTCPOOL__API__REJECT_RATE_UNIT, BTCPOOL__WEB__MAX_REQUESTS",
        "pool        https://btcpool.kz/ru/api; timeout 15s, 4 requests at a time, 100 rows a page, reject_rate in percent",
        "web         :1, [::1]:2; metrics at /metrics, any number of requests at a time, POST /-/reload is on",
        &format!("web config  {web}, without TLS"),
        "log         warn, json",
        &format!("warning     {web}:1:1: tls_server_config: {warning}"),
    ] {
        assert!(output.lines().any(|found| found == line), "{line}\n{output}");
    }
    assert!(!output.contains(&KEY[..6]), "{output}");
}

/// farm_b is in shard 0 of 2 and farm_a in shard 1 (see `config`).
#[test]
fn check_reports_shards_and_warnings() {
    let folder = TempDir::new().unwrap();
    let file = write(&folder, "config.yml", SMALL);
    let shard = [
        ("BTCPOOL__SHARD", "{index: 0, count: 2}"),
        ("BTCPOOL__API__REQUESTS_PER_SECOND", "0.01"),
        ("BTCPOOL__API__DAY_UTC_OFFSET", "-03:30"),
    ];
    let expected = format!(
        "{}The configuration is valid (file: {file})
environment BTCPOOL__API__DAY_UTC_OFFSET, BTCPOOL__API__REQUESTS_PER_SECOND, BTCPOOL__SHARD
pool        https://btcpool.kz/ru/api; timeout 15s, 4 requests at a time, 100 rows a page, reject_rate in ratio
live        every 1m, shown for 5m
history     every 15m, shown for 2h; the pool's day begins at UTC-03:30
accounts    1 of 2 (shard 0 of 2)
  farm_b: BTC; no workers
requests    at least 2 each live interval and 2 each history interval: 0.04 a second, of 0.01 allowed
web         :10058; metrics at /metrics, at most 40 requests at a time, POST /-/reload is off
web config  none: plain HTTP, for everybody
log         info, logfmt
warning     polling needs 2 requests every 1m and 2 every 15m, 0.04 a second, but api.requests_per_second allows \
         0.01, so that data will be older than the interval: set api.requests_per_second to 1, or lengthen \
         polling.live.interval to 3m34s and the other durations of polling in proportion
",
        program_line()
    );
    let result = run(with(program(&["check", "--config.file", &file]), &shard));
    assert_eq!(result, (Some(0), expected, String::new()));
}

/// No account of a few is in the first of very many shards.
#[test]
fn empty_shard_is_reported() {
    let (_listener, base_url) = silent();
    let environment = [
        ("BTCPOOL__ACCOUNTS__FARM__API_KEY", KEY),
        ("BTCPOOL__SHARD", "{index: 0, count: 100000}"),
        ("BTCPOOL__API__BASE_URL", &base_url),
    ];
    let told = "none of the 1 accounts falls to shard 0 of 100000";
    let (code, output, _) = run(with(program(&["check"]), &environment));
    assert_eq!((code, last_line(&output)), (Some(0), &*format!("warning     {told}")));
    let mut exporter = Program::start(with(program(&["--web.listen-address", "127.0.0.1:0"]), &environment));
    exporter
        .until_log(&format!("level=warn message=\"{told}, so that only statistics of the whole pool will be served"));
    // Before that a signal would end it in another way.
    exporter.address();
    exporter.signal("TERM");
    assert_eq!(exporter.end().0, Some(0));
}

#[test]
fn check_warns_of_exposed_key_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let file = write(&folder, "key", KEY);
    fs::set_permissions(Path::new(&file), fs::Permissions::from_mode(0o644)).unwrap();
    let environment = [("BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", file.as_str())];
    let (code, output, log) = run(with(program(&["check"]), &environment));
    let why = "can be read by group or others (mode 644); chmod 600 it";
    let expected = format!("warning     accounts.farm.api_key_file: {file} {why}");
    assert_eq!((code, last_line(&output), log.as_str()), (Some(0), &*expected, ""));
    // Who polls says it in the log.
    let base_url = format!("http://127.0.0.1:{}/", closed_port());
    let environment = [environment[0], ("BTCPOOL__API__BASE_URL", &base_url)];
    let (_, _, log) = run(with(program(&["once"]), &environment));
    let (_, line) = log.lines().next().and_then(|line| line.split_once(" level=")).unwrap();
    assert_eq!(line, format!("warn message=\"accounts.farm.api_key_file: {file} {why}\""));
}

fn accounts(folder: &TempDir, pool: &Pool, accounts: &str) -> String {
    let text = format!("api: {{ base_url: \"{}\", requests_per_second: 1000 }}\n{accounts}", pool.base_url());
    write(folder, "config.yml", &text)
}

#[tokio::test(flavor = "multi_thread")]
async fn check_probes_each_account_and_currency() {
    let (pool, folder) = (Pool::start().await, TempDir::new().unwrap());
    let file = accounts(
        &folder,
        &pool,
        "accounts: { farm_a: { api_key: good, currencies: [BTC, LTC] }, farm_b: { api_key: bad } }",
    );
    pool.responds_to("good", "summary_data", ResponseTemplate::new(200).set_body_string(sample("summary_data"))).await;
    pool.responds_to("bad", "summary_data", ResponseTemplate::new(403)).await;
    let (code, output, errors) = run_beside(program(&["check", "--probe", "--config.file", &file])).await;
    let (_, probes) = output.split_once("log         info, logfmt\n").unwrap();
    assert_eq!(
        probes,
        "farm_a BTC: ok\n\
         farm_a LTC: ok\n\
         farm_b BTC: auth: the pool refused the key (HTTP 403); is it the key of this account, and is this IP address \
         allowed to use it?\n"
    );
    let summary = "btcpool-exporter: 1 of 3 probes failed; the lines above say why\n";
    assert_eq!((code, errors.as_str()), (Some(1), summary));
    // Once each, and nothing else.
    assert_eq!(pool.0.received_requests().await.unwrap().len(), 3);
    assert_eq!(pool.requests("summary_data").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_succeeds_when_probes_are_answered() {
    let (pool, folder) = (Pool::start().await, TempDir::new().unwrap());
    let file = accounts(&folder, &pool, "accounts: { farm_a: { api_key: good } }");
    pool.answers_samples().await;
    let (code, output, errors) = run_beside(program(&["--config.file", &file, "check", "--probe"])).await;
    assert_eq!((code, last_line(&output), errors.as_str()), (Some(0), "farm_a BTC: ok", ""));
}

#[test]
fn check_reports_nothing_to_probe() {
    let (code, output, errors) = run(program(&["check", "--probe"]));
    let expected = "nothing to probe: no account is configured here";
    assert_eq!((code, last_line(&output), errors.as_str()), (Some(0), expected, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_prints_everything() {
    let (pool, folder) = (Pool::start().await, TempDir::new().unwrap());
    let file = accounts(&folder, &pool, "accounts: { farm: { api_key: good } }");
    // The samples are excerpts: they hold fewer rows than they tell of, which leaves much out.
    for endpoint in ["profit_history", "payment_history"] {
        let mut answer: serde_json::Value = serde_json::from_str(&sample(endpoint)).unwrap();
        answer["total"] = answer["data"].as_array().unwrap().len().into();
        pool.answers(endpoint, answer.to_string()).await;
    }
    // And they are old: what the pool tells of workers only since then is not in them.
    let workers = serde_json::json!({ "status": "OK", "data": [harness::good_worker().await], "total": 1 });
    pool.answers("workers", workers.to_string()).await;
    pool.answers_samples().await;
    let (code, output, errors) = run_beside(program(&["once", "--config.file", &file])).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let series = series(&output);
    assert_eq!(
        ups(&series),
        [
            ("main_stat", 1.0),
            ("payment_history", 1.0),
            ("profit_history", 1.0),
            ("summary_data", 1.0),
            ("workers", 1.0)
        ]
    );
    // One of each endpoint, and nothing that node_exporter, which reads this, has already.
    for name in [
        "btcpool_pool_miners",
        "btcpool_account_balance_coins",
        "btcpool_account_last_payment_coins",
        "btcpool_account_income_last_day_coins",
        "btcpool_worker_active",
    ] {
        assert!(series.keys().any(|key| key.starts_with(name)), "{name}\n{output}");
    }
    let foreign: Vec<_> = series.keys().filter(|name| !name.starts_with("btcpool_")).collect();
    assert_eq!(foreign, Vec::<&String>::new());
    assert!(!output.contains("process_"), "{output}");
}

/// Whether each endpoint was polled well.
fn ups(series: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
    let ups = series.iter().filter(|(name, _)| name.starts_with("btcpool_up{"));
    let endpoint = |name: &'_ str| -> Option<&'static str> {
        ENDPOINTS.into_iter().find(|endpoint| name.contains(&format!("endpoint=\"{endpoint}\"")))
    };
    let mut ups: Vec<_> = ups.map(|(name, up)| (endpoint(name).unwrap(), *up)).collect();
    ups.sort_by_key(|(endpoint, _)| *endpoint);
    ups
}

/// What came first must not be stale by the time that the last answer is there.
#[tokio::test(flavor = "multi_thread")]
async fn once_waits_for_slow_answers() {
    let (pool, folder) = (Pool::start().await, TempDir::new().unwrap());
    let polling = "polling: { live: { interval: 1s, stale_after: 2s } }\naccounts: { farm: { api_key: good } }";
    let file = accounts(&folder, &pool, polling);
    let workers = serde_json::json!({ "status": "OK", "data": [harness::good_worker().await], "total": 1 });
    let slow = ResponseTemplate::new(200).set_body_json(workers).set_delay(Duration::from_secs(3));
    pool.responds("workers", slow).await;
    pool.answers_samples().await;
    let (code, output, errors) = run_beside(program(&["once", "--config.file", &file])).await;
    assert_eq!(code, Some(0), "{errors}");
    for name in ["btcpool_pool_miners{", "btcpool_account_balance_coins{", "btcpool_worker_active{"] {
        assert!(output.lines().any(|line| line.starts_with(name)), "{name} is not in {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_prints_what_succeeded_and_fails() {
    for (broken, ends) in [
        (&["workers"][..], "1 of 5 polls failed: farm BTC workers (http_5xx)"),
        (&["workers", "main_stat"], "2 of 5 polls failed: main_stat (http_5xx), farm BTC workers (http_5xx)"),
        (
            &["workers", "main_stat", "summary_data", "payment_history"],
            "4 of 5 polls failed: main_stat (http_5xx), farm BTC summary_data (http_5xx), farm BTC payment_history \
             (http_5xx), and 1 more",
        ),
    ] {
        let (pool, folder) = (Pool::start().await, TempDir::new().unwrap());
        let file = accounts(&folder, &pool, "accounts: { farm: { api_key: good } }");
        for endpoint in broken {
            pool.responds(endpoint, ResponseTemplate::new(500)).await;
        }
        pool.answers_samples().await;
        let (code, output, errors) = run_beside(program(&["once", "--config.file", &file])).await;
        assert_eq!((code, last_line(&errors)), (Some(1), &*format!("btcpool-exporter: {ends}")));
        assert_eq!(errors.matches("level=warn message=\"the poll failed\"").count(), broken.len(), "{errors}");
        let series = series(&output);
        let expected = ["main_stat", "payment_history", "profit_history", "summary_data", "workers"]
            .map(|endpoint| (endpoint, if broken.contains(&endpoint) { 0.0 } else { 1.0 }));
        assert_eq!(ups(&series), expected);
        let balance = series.keys().any(|name| name.starts_with("btcpool_account_balance_coins"));
        assert_eq!(balance, !broken.contains(&"summary_data"), "{output}");
        assert!(!series.keys().any(|name| name.starts_with("btcpool_worker_")), "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reject_rate_above_one_names_the_setting() {
    let row = |id: usize, rate: &str| {
        format!("{{\"worker_id\":\"{id}\",\"worker_name\":\"w{id}\",\"reject_rate\":\"{rate}\"}}")
    };
    let folder = TempDir::new().unwrap();
    let ratio = |worker: u8| {
        format!(
            "btcpool_worker_reject_ratio{{account=\"farm\",currency=\"BTC\",worker=\"w{worker}\",worker_id=\"{worker}\"}}"
        )
    };
    for (unit, rates, ratios, told) in [
        ("ratio", ["0.5", "3.5", "7"], [Some(0.5), None, None], 1),
        ("percent", ["0.5", "3.5", "7"], [Some(0.005), Some(0.035), Some(0.07)], 0),
        ("ratio", ["0", "1", "1.0"], [Some(0.0), Some(1.0), Some(1.0)], 0),
    ] {
        let pool = Pool::start().await;
        let rows: Vec<_> = rates.iter().zip(1..).map(|(rate, id)| row(id, rate)).collect();
        pool.answers("workers", format!("{{\"status\":\"OK\",\"data\":[{}],\"total\":3}}", rows.join(","))).await;
        pool.answers_samples().await;
        let file = accounts(&folder, &pool, "accounts: { farm: { api_key: good } }");
        let once = with(program(&["once", "--config.file", &file]), &[("BTCPOOL__API__REJECT_RATE_UNIT", unit)]);
        let (code, output, errors) = run_beside(once).await;
        assert_eq!(code, Some(0), "{errors}");
        let series = series(&output);
        assert_eq!([1, 2, 3].map(|worker| series.get(&ratio(worker)).copied()), ratios);
        let advice = "a reject_rate is above 1, so the pool tells it in percent: set api.reject_rate_unit: percent";
        assert_eq!(errors.matches(advice).count(), told, "{errors}");
    }
}

/// The pool may repeat the key in whatever it says.
#[tokio::test(flavor = "multi_thread")]
async fn log_never_holds_the_key() {
    const CANARY: &str = "0a1b2c-CANARY-c6d7e8";
    let folder = TempDir::new().unwrap();
    let echo = |status| ResponseTemplate::new(status).set_body_string(format!("<html>{CANARY}</html>"));
    let message = format!("{{\"status\": \"error\", \"message\": \"bad key {CANARY}\", \"error\": \"{CANARY}\"}}");
    let answers: [(&str, ResponseTemplate); 8] = [
        ("not JSON", echo(200)),
        ("refused", echo(401)),
        ("forbidden", echo(403)),
        ("busy", echo(429)),
        ("broken", echo(500)),
        (
            "moved",
            ResponseTemplate::new(302)
                .insert_header("Location", format!("https://{CANARY}.example/{CANARY}?k={CANARY}")),
        ),
        ("wrong shape", ResponseTemplate::new(200).set_body_string(format!("{{\"data\": \"{CANARY}\"}}"))),
        ("its own error", ResponseTemplate::new(200).set_body_string(message)),
    ];
    for (what, answer) in answers {
        let pool = Pool::start().await;
        for endpoint in ["summary_data", "profit_history", "payment_history", "workers"] {
            pool.responds(endpoint, answer.clone()).await;
        }
        pool.answers_samples().await;
        let file = accounts(&folder, &pool, &format!("accounts: {{ farm: {{ api_key: {CANARY} }} }}"));
        for command in [&["once"][..], &["check", "--probe"]] {
            let arguments = [command, &["--config.file", &file, "--log.level", "debug"]].concat();
            let (code, output, errors) = run_beside(program(&arguments)).await;
            assert_eq!(code, Some(1), "{what}: {output}\n{errors}");
            assert!(!output.contains("CANARY") && !errors.contains("CANARY"), "{what}: {output}\n{errors}");
        }
        let sent = pool.requests("summary_data").await;
        assert_eq!(sent[0].headers["x-api-key"], CANARY, "the key was not even sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_logged_when_they_begin() {
    let folder = TempDir::new().unwrap();
    let pool = Pool::start().await;
    pool.responds("summary_data", ResponseTemplate::new(500)).await;
    pool.responds("workers", ResponseTemplate::new(401)).await;
    pool.answers_samples().await;
    let polling = "polling: { live: { interval: 1s, stale_after: 1h }, history: { interval: 1h, stale_after: 2h } }\n";
    let text = format!("{polling}accounts: {{ farm: {{ api_key: some-key }} }}");
    let file = accounts(&folder, &pool, &text);
    let mut exporter = Program::start(program(&["--config.file", &file, "--web.listen-address", "127.0.0.1:0"]));
    let failed = |log: &str, endpoint: &str| {
        let line = format!("message=\"the poll failed\" account=farm currency=BTC endpoint={endpoint} ");
        log.matches(&line).count()
    };
    let polled = async || {
        let enough = pool.requests("summary_data").await.len() >= 4 && failed(&exporter.log(), "workers") >= 2;
        enough.then_some(())
    };
    until("repeated failures", polled, || exporter.log()).await;
    exporter.signal("TERM");
    assert_eq!(exporter.end().0, Some(0));
    assert_eq!(failed(&exporter.log(), "summary_data"), 1, "{}", exporter.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_without_configuration_shows_the_pool() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    // It is the command that is meant when none is given.
    let command =
        with(program(&["--web.listen-address", "127.0.0.1:0"]), &[("BTCPOOL__API__BASE_URL", &pool.base_url())]);
    let mut exporter = Program::start(command);
    let address = exporter.address();
    exporter.until_log("everything was polled once");
    // The client that asks here is not the exporter's, which brings this along.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let series = series(&text);
    assert_eq!(ups(&series), [("main_stat", 1.0)]);
    assert!(series.contains_key("btcpool_pool_miners{currency=\"BTC\"}"), "{text}");
    let of_accounts = |name: &&String| name.starts_with("btcpool_account") || name.starts_with("btcpool_worker");
    assert_eq!(series.keys().find(of_accounts), None);
    exporter.signal("TERM");
    assert_eq!(exporter.end().0, Some(0));
    let requests = pool.0.received_requests().await.unwrap();
    assert_eq!(requests.len(), pool.requests("main_stat").await.len());
    assert!(requests.iter().all(|request| !request.headers.contains_key("x-api-key")));
}

/// Something that accepts connections and never answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_url = format!("http://{}/ru/api", listener.local_addr().unwrap());
    (listener, base_url)
}

/// Waits for a request, and keeps it waiting as long as the stream lives.
fn stall(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    stream
}

#[test]
fn signal_stops_a_stalled_request() {
    for signal in ["TERM", "INT"] {
        let (listener, base_url) = silent();
        let mut exporter = Program::start(serve(&base_url, &[]));
        exporter.address();
        let _stalled = stall(&listener);
        exporter.signal(signal);
        let (code, took) = exporter.end();
        assert_eq!(code, Some(0), "{signal}: {}", exporter.log());
        assert!(took < STOP_LIMIT, "{signal}: {took:?}");
        assert!(last_line(&exporter.log()).ends_with("level=info message=stopped"), "{}", exporter.log());
        let stopping = format!("message=\"stopping; a second signal stops at once\" signal=SIG{signal}");
        assert!(exporter.log().contains(&stopping), "{}", exporter.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_stops_it_between_requests() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let mut exporter = Program::start(serve(&pool.base_url(), &[]));
    exporter.until_log("everything was polled once");
    exporter.signal("TERM");
    let (code, took) = exporter.end();
    assert_eq!(code, Some(0), "{}", exporter.log());
    assert!(took < STOP_LIMIT, "{took:?}");
}

/// A client that has sent half of its request.
fn half_a_request(address: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").unwrap();
    // A connection of which nothing was read yet is closed at once, so it must have been read; only the kernel knows.
    let (ours, theirs) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    let until = |local, remote, wanted: fn(&procfs::net::TcpNetEntry) -> bool| {
        let begin = Instant::now();
        let ends = |entry: &procfs::net::TcpNetEntry| entry.local_address == local && entry.remote_address == remote;
        while !procfs::net::tcp().unwrap().iter().any(|entry| ends(entry) && wanted(entry)) {
            assert!(begin.elapsed() < PATIENCE, "the request is not read");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(ours, theirs, |sent| sent.tx_queue == 0);
    until(theirs, ours, |accepted| accepted.inode != 0 && accepted.rx_queue == 0);
    client
}

#[test]
fn signal_stops_a_stalled_scrape() {
    let (_listener, base_url) = silent();
    let mut exporter = Program::start(serve(&base_url, &[]));
    let _client = half_a_request(&exporter.address());
    exporter.signal("TERM");
    let (code, took) = exporter.end();
    assert_eq!(code, Some(0), "{}", exporter.log());
    assert!(took < STOP_LIMIT, "{took:?}");
}

/// Its end waits for a stalled scrape, and so there is time for a second signal; the exit code tells the two apart.
#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_configuration_and_key_files() {
    const NEW_KEY: &str = "112233-445566-778899-aabbcc-ddeeff";
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let folder = TempDir::new().unwrap();
    let key = write(&folder, "key", KEY);
    let file = write(&folder, "config.yml", &format!("accounts: {{ farm: {{ api_key_file: {key} }} }}\n"));
    let mut exporter = Program::start(serve(&pool.base_url(), &["--config.file", &file]));
    exporter.until_log("everything was polled once");
    write(&folder, "config.yml", "accounts: { farm: { api_key_file: /nowhere/key } }\n");
    exporter.signal("HUP");
    let line = exporter.until_log("level=error");
    let error = format!(
        "message=\"the configuration was not taken up; the one before stays in use\" error=\"{file}:1:21: \
         accounts.farm.api_key_file: /nowhere/key cannot be read: No such file or directory (os error 2)\""
    );
    assert!(line.ends_with(&error), "{line}\n{error}");
    // The same account as at first, with another key in the key file, and something that has to wait.
    let waits = "web: { max_requests: 7 }\nlog: { level: debug }\n";
    write(&folder, "config.yml", &format!("accounts: {{ farm: {{ api_key_file: {key} }} }}\n{waits}"));
    write(&folder, "key", NEW_KEY);
    exporter.signal("HUP");
    let line = exporter.until_log("only after a restart");
    let told = "changes under web and log take effect only after a restart";
    assert!(line.ends_with(&format!("message=\"{told}\" keys=\"web.max_requests, log.level\"")), "{line}");
    exporter.until_log("the configuration was loaded anew");
    let asked_with = async |key: &str| {
        pool.requests("summary_data").await.iter().any(|request| request.headers["x-api-key"] == *key)
    };
    let begin = Instant::now();
    while !asked_with(NEW_KEY).await {
        assert!(begin.elapsed() < PATIENCE, "the new key is not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    exporter.signal("TERM");
    assert_eq!(exporter.end().0, Some(0), "{}", exporter.log());
    assert!(!exporter.log().contains(KEY) && !exporter.log().contains(NEW_KEY));
}

#[test]
fn core_dumps_are_disabled() {
    let (_pool, base_url) = silent();
    let mut exporter = Program::start(serve(&base_url, &[]));
    exporter.address();
    let limits = procfs::process::Process::new(exporter.id().cast_signed()).unwrap().limits().unwrap();
    let procfs::process::LimitValue::Value(bytes) = limits.max_core_file_size.soft_limit else {
        panic!("{limits:?}");
    };
    // One byte is what Linux takes for "none, and none into a pipe either".
    assert!(bytes <= 1, "{limits:?}");
}

#[test]
fn second_signal_stops_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let (_listener, base_url) = silent();
        let mut exporter = Program::start(serve(&base_url, &[]));
        let _client = half_a_request(&exporter.address());
        exporter.signal(first);
        exporter.until_log("stopping; a second signal stops at once");
        exporter.signal(second);
        let (code, _) = exporter.end();
        assert_eq!(code, Some(1), "{}", exporter.log());
        assert!(!exporter.log().contains("message=stopped"), "{}", exporter.log());
    }
}

#[tokio::test]
async fn socket_activation_serves() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // Standard input is the one file that a test can hand over; of systemd it would be the fourth.
    let mut command =
        with(serve(&pool.base_url(), &["--web.systemd-socket"]), &[("LISTEN_FDS", "1"), ("LISTEN_FDS_FIRST_FD", "0")]);
    command.stdin(std::os::fd::OwnedFd::from(socket));
    let mut program = Program::start(command);
    assert_eq!(program.address(), address.to_string());
    let response = harness::http().get(format!("http://{address}/-/healthy")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    program.signal("TERM");
    assert_eq!(program.end().0, Some(0));

    let (code, _, errors) = run_beside(serve(&pool.base_url(), &["--web.systemd-socket"])).await;
    let expected = "btcpool-exporter: --web.systemd-socket: no socket was handed over; start the .socket unit, not the \
                    service alone";
    assert_eq!((code, last_line(&errors)), (Some(1), expected));
}

#[test]
fn address_in_use_is_named() {
    let (_listener, base_url) = silent();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for address in [address.to_string(), format!("localhost:{}", address.port())] {
        let command = with(program(&["--web.listen-address", &address]), &[("BTCPOOL__API__BASE_URL", &base_url)]);
        let (code, output, errors) = run(command);
        let why = "Address already in use (os error 98); choose another address with --web.listen-address";
        let expected = format!("btcpool-exporter: cannot listen on {address}: {why}");
        assert_eq!((code, output.as_str(), last_line(&errors)), (Some(1), "", &*expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_log_is_json() {
    let pool = Pool::start().await;
    pool.responds("main_stat", ResponseTemplate::new(500)).await;
    let mut exporter = Program::start(serve(&pool.base_url(), &["--log.format", "json", "--log.level=debug"]));
    exporter.until_log("everything was polled once");
    exporter.signal("TERM");
    assert_eq!(exporter.end().0, Some(0), "{}", exporter.log());
    let mut messages = Vec::new();
    for line in exporter.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        messages.push(format!("{} {}", line["level"].as_str().unwrap(), line["message"].as_str().unwrap()));
        if messages.last().is_some_and(|message| message == "WARN the poll failed") {
            assert_eq!((&line["endpoint"], &line["reason"]), (&"main_stat".into(), &"http_5xx".into()));
        }
    }
    for message in ["INFO starting", "INFO listening", "WARN the poll failed", "INFO stopped"] {
        assert!(messages.iter().any(|said| said == message), "{message}\n{}", exporter.log());
    }
}

/// A poll that failed is a warning; how the program starts is information.
#[test]
fn log_level_filters_the_log() {
    let base_url = format!("http://127.0.0.1:{}/", closed_port());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (level, polls_failed, starts) in
        [("error", false, false), ("warn", true, false), ("info", true, true), ("debug", true, true)]
    {
        let said = |arguments: &[&str], message: &str| {
            let arguments = [arguments, &["--log.level", level]].concat();
            let (code, _, errors) = run(with(program(&arguments), &[("BTCPOOL__API__BASE_URL", &base_url)]));
            assert_eq!(code, Some(1), "{errors}");
            // Why it ends is said at any level.
            assert!(last_line(&errors).starts_with("btcpool-exporter: "), "{errors}");
            let silent = errors.lines().count() == 1;
            assert_eq!(silent, !errors.contains(message), "{errors}");
            !silent
        };
        assert_eq!(said(&["once"], "message=\"the poll failed\""), polls_failed, "{level}");
        assert_eq!(said(&["serve", "--web.listen-address", &address], "message=starting"), starts, "{level}");
    }
}

#[test]
fn health_finds_a_running_exporter() {
    let mut exporter = Program::start(program(&["demo", "--web.listen-address", ":0"]));
    let port = exporter.address().parse::<SocketAddr>().unwrap().port();
    let folder = TempDir::new().unwrap();
    // The accounts' part of the file is the exporter's own business.
    let file = write(
        &folder,
        "config.yml",
        &format!(
            "web: {{ listen_addresses: [\":{port}\"] }}\naccounts: {{ farm: {{ api_key_file: /no/such/file }} }}\n"
        ),
    );
    let healthy = (Some(0), "healthy\n".to_owned(), String::new());
    for address in
        [format!(":{port}"), format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}"), format!("localhost:{port}")]
    {
        assert_eq!(run(program(&["health", "--web.listen-address", &address])), healthy, "{address}");
    }
    assert_eq!(run(program(&["health", "--url", &format!("http://127.0.0.1:{port}/-/healthy")])), healthy);
    assert_eq!(run(program(&["health", "--config.file", &file])), healthy);
    let variable = [("BTCPOOL__WEB__LISTEN_ADDRESSES", &*format!("127.0.0.1:{port}"))];
    assert_eq!(run(with(program(&["health"]), &variable)), healthy);
    // What is asked for is there, and it is not a health check.
    let url = format!("http://127.0.0.1:{port}/no/such/page");
    let expected = format!("btcpool-exporter: {url}: it answered HTTP 404\n");
    assert_eq!(run(program(&["health", "--url", &url])), (Some(1), String::new(), expected.clone()));

    // Nor are the credentials that it is asked with anybody else's business.
    let with_password = url.replace("http://", "http://user:pass%20word@");
    assert_eq!(run(program(&["health", "--url", &with_password])).2, expected);

    exporter.signal("INT");
    let (code, took) = exporter.end();
    assert_eq!(code, Some(0), "{}", exporter.log());
    assert!(took < STOP_LIMIT, "{took:?}");
}

#[test]
fn health_fails_where_nobody_listens() {
    let port = closed_port();
    let failed = |hint: &str| {
        let why = "Connection refused (os error 111)";
        (Some(1), String::new(), format!("btcpool-exporter: http://127.0.0.1:{port}/-/healthy: {why}; {hint}\n"))
    };
    let own = failed("is the exporter running, with the same --config.file and --web.listen-address?");
    assert_eq!(run(program(&["health", "--web.listen-address", &format!(":{port}")])), own);
    let url = format!("http://127.0.0.1:{port}/-/healthy");
    assert_eq!(run(program(&["health", "--url", &url])), failed("is that the exporter's address?"));
}

/// Only the first address is asked: the others belong to the same process.
#[tokio::test(flavor = "multi_thread")]
async fn health_fails_when_the_exporter_says_so() {
    let sick = wiremock::MockServer::start().await;
    let answer = ResponseTemplate::new(503);
    wiremock::Mock::given(wiremock::matchers::path("/-/healthy")).respond_with(answer).mount(&sick).await;
    let address = sick.address().to_string();
    let arguments = ["health", "--web.listen-address", &address, "--web.listen-address", "127.0.0.1:1"];
    let (code, output, errors) = run_beside(program(&arguments)).await;
    let expected = format!("btcpool-exporter: http://{address}/-/healthy: it answered HTTP 503\n");
    assert_eq!((code, output.as_str(), errors), (Some(1), "", expected));
}

/// `once` is often run by a timer, whose manager ends it by a signal; nothing was polled completely then.
#[test]
fn once_prints_nothing_after_a_signal() {
    let (listener, base_url) = silent();
    let environment = [("BTCPOOL__API__BASE_URL", base_url.as_str()), ("BTCPOOL__API__TIMEOUT", "60s")];
    let mut once = Program::start(with(program(&["once"]), &environment));
    let _stalled = stall(&listener);
    once.signal("TERM");
    assert_eq!(once.end().0, Some(1));
    assert_eq!(last_line(&once.log()), "btcpool-exporter: stopped by SIGTERM before the end");
}

/// A pool on this machine needs no TLS, and a small container may have no certificates.
#[test]
fn demo_and_health_need_no_ca_certificates() {
    let port = closed_port();
    let address = format!("127.0.0.1:{port}");
    let bare = |arguments: &[&str]| {
        with(program(arguments), &[("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")])
    };
    let mut demo = Program::start(bare(&["demo", "--web.listen-address", &address]));
    demo.until_log("everything was polled once");
    let (code, output, _) = run(bare(&["health", "--web.listen-address", &address]));
    assert_eq!((code, output.as_str()), (Some(0), "healthy\n"));
    // A real pool cannot be trusted without them, and that is said at once.
    let (code, _, errors) = run(bare(&["once"]));
    assert_eq!(code, Some(1));
    assert!(last_line(&errors).ends_with("are CA certificates installed (Debian: ca-certificates)?"), "{errors}");
}

/// A flag that may come several times may come in both places.
#[test]
fn listen_addresses_before_and_after_the_command() {
    let (listener, base_url) = silent();
    let environment = [("BTCPOOL__API__BASE_URL", base_url.as_str())];
    let arguments = ["--web.listen-address", "127.0.0.1:0", "serve", "--web.listen-address", "127.0.0.1:0"];
    let mut serve = Program::start(with(program(&arguments), &environment));
    assert_ne!(serve.address(), serve.address());
    drop(listener);
}
