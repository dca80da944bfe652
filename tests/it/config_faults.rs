//! Several faults of a configuration: all are reported, in the order of the layers and of the file.
//!
//! `five_faults*.yml` in `tests/fixtures/config/broken` and `tests/fixtures/web_config/broken` hold the files to it.

use std::fs;

use btcpool_exporter::config::{Config, Overrides};
use tempfile::TempDir;

use crate::harness::{Program, program, run};

fn variables(environment: &[(&str, &str)]) -> Vec<(String, String)> {
    environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

const TIMEOUT: &str = "is not a duration such as 15s, 5m or 1h30m";

#[test]
fn faults_are_in_the_order_of_the_layers() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.yml");
    fs::write(&file, "log: { format: xml }\napi: { timeout: soon }\n").unwrap();
    let environment = [
        ("BTCPOOL__WEB__TELEMETRY_PATH", "/sd"),
        ("BTCPOOL__API__CONCURRENCY", "many"),
        ("export BTCPOOL__API__PAGE_SIZE", "5"),
        ("BTCPOOL__WEB__LISTEN_ADDRESSES", "[\":1\", \":2]"),
        ("BTCPOOL__API____TIMEOUT", "1s"),
    ];
    let overrides = Overrides { max_requests: Some("all".to_owned()), ..Overrides::default() };
    let error = Config::load(Some(&file), variables(&environment), &overrides).unwrap_err().to_string();
    let place = file.display();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            &*format!("{place}:1:8: log.format: \"xml\" is not logfmt or json"),
            &*format!("{place}:2:8: api.timeout: \"soon\" {TIMEOUT}"),
            "BTCPOOL__API__CONCURRENCY: api.concurrency: \"many\" is not a whole number from 1 to 1000",
            "BTCPOOL__API__PAGE_SIZE: the variable's name must begin with BTCPOOL__; remove what is before it (an env \
             file's \"export\", a space, a byte-order mark)",
            "BTCPOOL__API____TIMEOUT: the variable's name has an empty part; keys are joined by \"__\"",
            "BTCPOOL__WEB__LISTEN_ADDRESSES: no valid YAML: unclosed quote",
            "BTCPOOL__WEB__TELEMETRY_PATH: web.telemetry_path: \"/sd\" is not a path such as /metrics, and none of the \
             exporter's own (/, /sd, /-/...)",
            "--web.max-requests: \"all\" is not a whole number from 0 to 1000000",
        ]
    );
}

/// Values of a file that is no YAML are unknown, but variables that cannot be read are named with it.
#[test]
fn a_syntax_error_does_not_hide_variables() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.yml");
    fs::write(&file, "web: [\n").unwrap();
    let environment = [("BTCPOOL__", "x"), ("BTCPOOL__API__TIMEOUT", "soon")];
    let error = Config::load(Some(&file), variables(&environment), &Overrides::default()).unwrap_err().to_string();
    let (first, second) = error.split_once('\n').unwrap();
    assert!(first.starts_with(&format!("{}:", file.display())) && first.contains("no valid YAML"), "{error}");
    assert_eq!(second, "BTCPOOL__: the variable's name has an empty part; keys are joined by \"__\"");
}

/// A variable that cannot be read is one fault: what it would have set is not missing.
#[test]
fn an_unread_variable_hides_no_key() {
    let environment =
        [("BTCPOOL__ACCOUNTS__FARM__CURRENCIES", "BTC"), ("export BTCPOOL__ACCOUNTS__FARM__API_KEY", "0a1b2c")];
    let error = Config::load(None, variables(&environment), &Overrides::default()).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("BTCPOOL__ACCOUNTS__FARM__API_KEY: the variable's name"), "{error}");
}

#[test]
fn the_program_prints_a_line_for_each_fault() {
    let mut check = program(&["check", "--log.level", "loud"]);
    check.env("BTCPOOL__API__TIMEOUT", "soon").env("BTCPOOL__API__TIMEUOT", "5s");
    let (code, output, errors) = run(check);
    let known = "base_url, timeout, concurrency, requests_per_second, page_size, max_response_bytes, retry_after_max, \
                 reject_rate_unit, day_utc_offset, allow_insecure_http";
    let expected = format!(
        "btcpool-exporter: BTCPOOL__API__TIMEOUT: api.timeout: \"soon\" {TIMEOUT}\n\
         btcpool-exporter: BTCPOOL__API__TIMEUOT: api.timeuot: unknown key; did you mean timeout? Known here: {known}\n\
         btcpool-exporter: --log.level: \"loud\" is not debug, info, warn or error\n"
    );
    assert_eq!((code, output.as_str(), errors), (Some(2), "", expected));
}

/// A reload logs all faults on one line.
#[test]
fn a_failed_reload_logs_all_faults() {
    let (listener, folder) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), TempDir::new().unwrap());
    let file = folder.path().join("config.yml");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let mut serve = program(&["serve", "--web.listen-address", "127.0.0.1:0", "--config.file", file]);
    serve.env("BTCPOOL__API__BASE_URL", format!("http://{}/", listener.local_addr().unwrap()));
    let mut exporter = Program::start(serve);
    exporter.address();
    fs::write(file, "api: { timeout: soon }\nlog: { level: loud }\n").unwrap();
    exporter.signal("HUP");
    let line = exporter.until_log("level=error");
    let error = format!(
        "{file}:1:8: api.timeout: \\\"soon\\\" {TIMEOUT}\\n{file}:2:8: log.level: \\\"loud\\\" is not debug, info, warn \
         or error"
    );
    assert!(line.ends_with(&format!("error=\"{error}\"")), "{line}\n{error}");
}
