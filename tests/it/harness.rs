//! Starts exporters and pools, and speaks of them in the domain's words.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use btcpool_exporter::{
    Exporter, RunError,
    clock::Clock,
    collector::Format,
    config::{Config, ConfigError, Overrides},
    demo::{Farm, SimulatedPool},
    model::Endpoint,
    reload::{ReloadError, Reloader},
    server::Web,
    wire,
};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use wiremock::{
    Mock, MockServer, Request, Respond, ResponseTemplate,
    matchers::{header, method, path, query_param},
};

use crate::parser::{self, Family};

/// The longest that a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A made-up key.
pub const KEY: &str = "0a1b2c-3d4e5f-607182-93a4b5-c6d7e8";

/// A pool that answers as it is told. Everything that it was not told of is a 404.
pub struct Pool(pub MockServer);

impl Pool {
    pub async fn start() -> Self {
        Self(MockServer::start().await)
    }

    pub fn base_url(&self) -> String {
        format!("{}/ru/api", self.0.uri())
    }

    /// Answers a method with a body, whatever else is asked.
    pub async fn answers(&self, endpoint: &str, body: impl Into<Vec<u8>>) {
        self.responds(endpoint, ResponseTemplate::new(200).set_body_raw(body, "application/json")).await;
    }

    /// Answers a method as `respond` likes.
    pub async fn responds(&self, endpoint: &str, respond: impl Respond + 'static) {
        let asked = Mock::given(method("GET")).and(path("/ru/api")).and(query_param("method", endpoint));
        asked.and(query_param("v", "1")).respond_with(respond).mount(&self.0).await;
    }

    /// Answers a method for one key only.
    pub async fn responds_to(&self, key: &str, endpoint: &str, respond: impl Respond + 'static) {
        let asked = Mock::given(method("GET")).and(path("/ru/api")).and(query_param("method", endpoint));
        asked.and(header("x-api-key", key)).respond_with(respond).mount(&self.0).await;
    }

    /// The requests that came for a method.
    pub async fn requests(&self, endpoint: &str) -> Vec<Request> {
        let requests = self.0.received_requests().await.unwrap_or_default();
        let wanted = |request: &Request| query(request, "method").as_deref() == Some(endpoint);
        requests.into_iter().filter(wanted).collect()
    }

    /// Answers every method with the pool's published samples.
    pub async fn answers_samples(&self) {
        for endpoint in ENDPOINTS {
            self.answers(endpoint, sample(endpoint)).await;
        }
    }
}

pub const ENDPOINTS: [&str; 5] = ["main_stat", "summary_data", "profit_history", "payment_history", "workers"];

/// The pool's published sample answer of a method (see fixtures/api/README.md).
pub fn sample(endpoint: &str) -> String {
    let file = format!("{}/tests/fixtures/api/{endpoint}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"))
}

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

/// A parameter of a request.
pub fn query(request: &Request, name: &str) -> Option<String> {
    request.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// A parameter of a request, as a number.
pub fn number(request: &Request, name: &str) -> usize {
    query(request, name).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {name} in {}", request.url))
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

/// An HTTP client that goes straight to where it is sent, on a connection of its own.
pub fn http() -> reqwest::Client {
    // Fails where another test was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap()
}

/// The configuration of one account that mines BTC.
pub fn one_account() -> String {
    format!("accounts: {{ farm: {{ api_key: {KEY} }} }}\n")
}

/// An exporter that runs in this process.
pub struct Running {
    pub url: String,
    pub shutdown: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
    reloader: Reloader,
}

impl Running {
    pub async fn start(config: Config) -> Self {
        Self::start_at(config, Clock::system()).await
    }

    /// Starts by another clock.
    pub async fn start_at(config: Config, clock: Clock) -> Self {
        let again = config.clone();
        Self::start_with(Exporter::new(config, clock).unwrap(), move || Ok(again.clone())).await
    }

    /// Starts with what a reload loads.
    pub async fn start_reloadable(
        config: Config,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(Exporter::new(config, Clock::system()).unwrap(), load).await
    }

    /// Starts on the terms of a web configuration.
    pub async fn start_secured(config: Config, web: &std::path::Path) -> Self {
        let again = config.clone();
        let mut exporter = Exporter::new(config, Clock::system()).unwrap();
        exporter.web = Arc::new(Web::load(Some(web)).unwrap_or_else(|error| panic!("{error}")));
        Self::start_with(exporter, move || Ok(again.clone())).await
    }

    /// Starts on the terms of a web configuration, whose files it watches; those of the configuration where `watch` says
    /// so.
    pub async fn start_watching(
        config: Config,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        web: &std::path::Path,
        watch: bool,
    ) -> Self {
        let mut exporter = Exporter::new(config, Clock::system()).unwrap();
        exporter.web = Arc::new(Web::load(Some(web)).unwrap_or_else(|error| panic!("{error}")));
        Self::run(exporter, load, watch).await
    }

    async fn start_with(
        exporter: Exporter,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> Self {
        Self::run(exporter, load, false).await
    }

    async fn run(
        mut exporter: Exporter,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        watch: bool,
    ) -> Self {
        let reloader = exporter.reloader(load, watch);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(exporter.run(vec![listener], shutdown.clone()));
        Self { url, shutdown, task, reloader }
    }

    pub async fn reload(&self) -> Result<(), ReloadError> {
        self.reloader.reload().await
    }

    /// Starts, and waits until everything was polled once.
    pub async fn start_ready(config: Config) -> Self {
        let running = Self::start(config).await;
        running.until("/-/ready", |status, _| status == 200).await;
        running
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::get(format!("{}{path}", self.url)).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Asks again and again until the answer is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let (status, body) = self.get(path).await;
            if wanted(status, &body) {
                return body;
            }
            assert!(begin.elapsed() < PATIENCE, "{path} never answered as wanted; at last {status}: {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn scrape(&self) -> Vec<Family> {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        parser::parse(&text, Format::Classic).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    pub async fn stop(self) -> Result<(), RunError> {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the exporter does not stop").unwrap()
    }
}

/// The program itself, as its own process.
pub struct Program {
    pub child: Child,
    lines: mpsc::Receiver<String>,
    pub log: String,
}

/// A command that runs the program, with nothing of this process' environment that it would read.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_btcpool-exporter"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["BTCPOOL", "NOTIFY_SOCKET", "WATCHDOG_"].iter().any(|begin| name.starts_with(begin));
        if ours || name.to_ascii_uppercase().ends_with("_PROXY") {
            command.env_remove(&*name);
        }
    }
    command
}

impl Program {
    /// Starts a command, whose log (standard error) is read from then on.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, log: String::new() }
    }

    /// Waits for a line of the log that holds a text, and gives it.
    pub fn until_log(&mut self, wanted: &str) -> String {
        let begin = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("the log never said {wanted:?}:\n{}", self.log);
            };
            self.log += &line;
            self.log.push('\n');
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// The address that the log says it listens on.
    pub fn address(&mut self) -> String {
        let line = self.until_log("message=listening");
        line.rsplit_once("address=").unwrap().1.trim().to_owned()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end; the exit code, and how long it took.
    pub fn end(&mut self) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(200)) {
                    self.log += &line;
                    self.log.push('\n');
                }
                return (status.code(), begin.elapsed());
            }
            assert!(begin.elapsed() < PATIENCE, "the program does not end:\n{}", self.log);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end: exit code, standard output, standard error.
pub fn run(mut command: Command) -> (Option<i32>, String, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let status = child.wait().unwrap();
    (status.code(), output, errors.join().unwrap())
}
