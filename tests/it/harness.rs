//! Configurations and rows for the tests of this target, and the parts of `support` that most of them use.

use std::process::Command;

use btcpool_exporter::{
    clock::Clock,
    config::{Config, Overrides},
    demo::{Farm, SimulatedPool},
    model::Endpoint,
    wire,
};
use serde_json::{Map, Value};
use tower::ServiceExt as _;

use crate::support::program;
pub use crate::support::{
    PATIENCE,
    exporter::Running,
    http,
    pool::mock::{ENDPOINTS, Pool, number, query, sample},
    program::Program,
};

/// A made-up key.
pub const KEY: &str = "0a1b2c-3d4e5f-607182-93a4b5-c6d7e8";

/// The fields of a worker's row that are read, but for those that say who it is.
pub fn worker_figures() -> impl Iterator<Item = &'static str> {
    wire::fields(Endpoint::Workers).filter(|name| !["worker_id", "worker_name", "total"].contains(name))
}

/// A worker's row as the simulated pool has it, whatever the fields: its figures are not zero, and no two are the same.
pub async fn good_worker() -> Map<String, Value> {
    let clock = Clock::simulated("2026-05-05T04:00:00Z".parse().unwrap(), 0.0);
    let farm = Farm::of(1, clock.now(), [("farm".to_owned(), KEY.to_owned(), 50)]);
    let request = axum::http::Request::get("/ru/api?method=workers&currency=BTC").header("x-api-key", KEY);
    let request = request.body(axum::body::Body::empty()).unwrap();
    let Ok(response) = SimulatedPool::of(farm, clock).router().oneshot(request).await;
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let mut rows = answer["data"].as_array().unwrap().iter().map(|row| row.as_object().unwrap());
    let telling = |row: &&Map<String, Value>| {
        let values = row.values().map(|value| value.as_str().unwrap());
        let mut numbers: Vec<f64> = values.filter_map(|text| text.parse().ok()).collect();
        numbers.sort_by(f64::total_cmp);
        !numbers.contains(&0.0) && numbers.windows(2).all(|pair| pair[0] != pair[1])
    };
    rows.find(telling).unwrap().clone()
}

/// A configuration that polls a pool as fast as is allowed; `more` goes below, in the file's form.
pub fn config(base_url: &str, more: &str) -> Config {
    config_with(base_url, "concurrency: 8, timeout: 5s", more)
}

/// The same with other keys of `api`; a thousand requests a second unless they say otherwise.
pub fn config_with(base_url: &str, api: &str, more: &str) -> Config {
    let rate = if api.contains("requests_per_second") { "" } else { "requests_per_second: 1000, " };
    let yaml = format!(
        "api: {{ base_url: \"{base_url}\", {rate}{api} }}\n\
         polling:\n  live: {{ interval: 1s, stale_after: 1h }}\n  history: {{ interval: 1s, stale_after: 1h }}\n\
         web: {{ listen_addresses: [\"127.0.0.1:0\"] }}\n{more}"
    );
    Config::from_yaml("test", &yaml, &Overrides::default()).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// The configuration of one account that mines BTC.
pub fn one_account() -> String {
    format!("accounts: {{ farm: {{ api_key: {KEY} }} }}\n")
}

/// A command that runs the exporter of this build.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = program::exporter(env!("CARGO_BIN_EXE_btcpool-exporter"));
    command.args(arguments);
    command
}

/// Runs a command to its end. Returns its exit code, standard output and standard error.
pub fn run(command: Command) -> (Option<i32>, String, String) {
    let ended = program::run(PATIENCE, command, "");
    (ended.status.code(), ended.output, ended.errors)
}
