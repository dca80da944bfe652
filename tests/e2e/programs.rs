//! Starts the programs, on this machine's loopback only, and ends them when they are dropped.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::support::program;
pub use crate::support::{
    PATIENCE, http_builder,
    pool::simulated::{Pool, SEED, key},
    program::{Ended, Program},
    until,
};

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The text behind `wanted` in the next line of a program's log that holds it.
async fn logged(program: &mut Program, wanted: &str) -> String {
    let line = program.until_log_async(wanted).await;
    line.split_once(wanted).unwrap().1.trim().to_owned()
}

/// The text behind `wanted` in the next line of a program's standard output that holds it.
pub async fn printed(program: &mut Program, wanted: &str) -> String {
    let line = program.output().until_async(wanted).await;
    line.split_once(wanted).unwrap().1.trim().to_owned()
}

/// An HTTP client that uses no proxy.
pub fn http() -> reqwest::Client {
    http_builder().timeout(Duration::from_secs(10)).build().unwrap()
}

/// The exporter with its simulated pool, as `demo` runs them.
pub struct Demo {
    /// Where the exporter is, without a path.
    pub url: String,
    /// Where the pool's API is.
    pub pool_url: Url,
    http: reqwest::Client,
    _process: Program,
    _directory: TempDir,
}

/// The formats of the exposition: how each is called, asked for and announced.
pub const CLASSIC: Format = Format {
    name: "classic",
    accept: "text/plain;version=0.0.4",
    announced: "text/plain; version=0.0.4; charset=utf-8",
};
pub const OPEN_METRICS: Format = Format {
    name: "openmetrics",
    accept: "application/openmetrics-text;version=1.0.0",
    announced: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

#[derive(Clone, Copy)]
pub struct Format {
    pub name: &'static str,
    accept: &'static str,
    announced: &'static str,
}

impl Demo {
    /// Starts it, and waits until everything was polled once.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = exporter_command();
        command.args(["demo", "--speed", "0", "--seed", &SEED.to_string(), "--web.listen-address", "127.0.0.1:0"]);
        let mut process = Program::start(command);
        let pool_url = printed(&mut process, "answers at ").await.parse().unwrap();
        let metrics = printed(&mut process, "  metrics      ").await;
        let url = metrics.strip_suffix("/metrics").unwrap().to_owned();
        let demo = Self { url, pool_url, http: http(), _process: process, _directory: directory };
        let begin = Instant::now();
        while !demo.is_ready().await {
            assert!(begin.elapsed() < PATIENCE, "the demo does not become ready:\n{}", demo._process.log());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        demo
    }

    async fn is_ready(&self) -> bool {
        self.http.get(format!("{}/-/ready", self.url)).send().await.is_ok_and(|response| response.status() == 200)
    }

    /// `HOST:PORT` of the exporter.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub async fn scrape(&self, format: Format) -> String {
        let request = self.http.get(format!("{}/metrics", self.url)).header(ACCEPT, format.accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], format.announced);
        response.text().await.unwrap()
    }
}

/// Clients that ask again and again, until they are stopped. What goes wrong with one of them ends the test.
#[derive(Default)]
pub struct Clients {
    stop: CancellationToken,
    turns: Vec<Arc<AtomicUsize>>,
    tasks: JoinSet<()>,
}

/// One client's turns.
pub struct Turns {
    stop: CancellationToken,
    begun: Arc<AtomicUsize>,
}

impl Clients {
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, client: impl FnOnce(Turns) -> F) {
        let begun = Arc::<AtomicUsize>::default();
        self.turns.push(begun.clone());
        self.tasks.spawn(client(Turns { stop: self.stop.clone(), begun }));
    }

    /// Waits until each of them has taken a whole turn that began after now.
    pub async fn have_a_turn(&mut self) {
        let begun =
            |turns: &[Arc<AtomicUsize>]| turns.iter().map(|turn| turn.load(Ordering::SeqCst)).collect::<Vec<_>>();
        let before = begun(&self.turns);
        let had_it = async || {
            if let Some(ended) = self.tasks.try_join_next() {
                ended.unwrap();
            }
            // One turn may have been under way.
            before.iter().zip(begun(&self.turns)).all(|(before, now)| now >= before + 2).then_some(())
        };
        until("every client's turn", had_it, || "").await;
    }

    /// Lets them finish.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

impl Turns {
    /// Whether there is another turn, after a breath.
    pub async fn next(&mut self) -> bool {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.begun.fetch_add(1, Ordering::SeqCst);
        !self.stop.is_cancelled()
    }
}

/// The exporter as a process of its own.
pub struct Exporter {
    /// Where it listens.
    pub address: SocketAddr,
    process: Program,
    _directory: TempDir,
}

impl Exporter {
    /// Starts it anywhere on this machine, and waits until it listens.
    pub async fn start(flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", flags, &[]).await
    }

    /// The same at an address, and with variables in its environment.
    pub async fn start_at(address: &str, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = exporter_command();
        command.args(["--web.listen-address", address]).args(flags).envs(environment.iter().copied());
        let mut process = Program::start(command);
        let address = process.address_async().await.parse().unwrap();
        Self { address, process, _directory: directory }
    }

    /// Its log as far as it was written.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// How many lines of the log hold a text.
    pub fn said(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until as many lines of the log hold a text.
    pub async fn until_said(&self, text: &str, times: usize) {
        until(text, async || (self.said(text) >= times).then_some(()), || self.log()).await;
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Ends it without a warning, and waits until it has ended.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Where a path is, for a client that speaks in the open.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A command that runs the program under test, with nothing of this process' environment that it would read.
pub fn exporter_command() -> Command {
    program::exporter(exporter())
}

/// The program under test: the release, which must have been built.
pub fn exporter() -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = || std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target"));
    let program = match std::env::var_os("BTCPOOL_EXPORTER_BIN") {
        Some(program) => repository.join(program),
        None => repository.join(target()).join("release/btcpool-exporter"),
    };
    assert!(
        program.is_file(),
        "{} is not there: run `cargo build --release`, or name the program in BTCPOOL_EXPORTER_BIN",
        program.display()
    );
    program
}

/// A Prometheus that scrapes what its configuration says.
pub struct Prometheus {
    url: String,
    http: reqwest::Client,
    process: Program,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts one with the given `scrape_configs`.
    pub async fn start(program: &Path, scrape_configs: &str) -> Self {
        Self::start_on(program, None, scrape_configs).await
    }

    /// Starts one on data that is there already.
    pub async fn start_on(program: &Path, data: Option<&Path>, scrape_configs: &str) -> Self {
        let text = format!("global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n{scrape_configs}");
        Self::start_with(program, data, &text, &[]).await
    }

    /// Starts one with a whole configuration and more flags.
    pub async fn start_with(program: &Path, data: Option<&Path>, configuration: &str, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("prometheus.yml");
        let data = data.map_or_else(|| directory.path().join("data"), Path::to_owned);
        std::fs::write(&config, configuration).unwrap();
        let mut command = program::command(program);
        command.args(flags);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        // By default what is older than 15 days is dropped.
        command.arg("--storage.tsdb.retention.time=100y");
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut process = Program::start(command);
        // Its first such line names the port 0 that it was given, under another message.
        let rest = logged(&mut process, "\"Listening on\"").await;
        let url = format!("http://{}", rest.rsplit_once("address=").unwrap().1);
        Self { url, http: http(), process, _directory: directory }
    }

    /// Asks its API; `None` while it is not ready.
    pub async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let url = Url::parse_with_params(&format!("{}{path}", self.url), parameters).unwrap();
        let response = self.http.get(url).send().await.unwrap();
        if response.status() == 503 {
            return None;
        }
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["status"], "success", "{path} {parameters:?}: {answer}");
        Some(answer["data"].clone())
    }

    /// Asks a question again and again, until the answer is as wanted.
    pub async fn until(&self, path: &str, parameters: &[(&str, &str)], wanted: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let answer = self.ask(path, parameters).await;
            if let Some(answer) = answer.clone().filter(|answer| wanted(answer)) {
                return answer;
            }
            let waited = begin.elapsed();
            assert!(
                waited < PATIENCE,
                "{path} {parameters:?} never came to the wanted answer; at last {answer:?}\n{}",
                self.process.log()
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// An Alertmanager that does what its configuration says.
pub struct Alertmanager {
    url: String,
    _process: Program,
    _directory: TempDir,
}

impl Alertmanager {
    pub async fn start(configuration: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = program::command("prometheus-alertmanager");
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.path={}", directory.path().join("data").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]);
        let mut process = Program::start(command);
        let rest = logged(&mut process, "\"Listening on\"").await;
        let url = rest.rsplit_once("address=").unwrap().1.to_owned();
        Self { url, _process: process, _directory: directory }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.url
    }
}

/// Runs a program to its end.
pub fn run(command: Command, input: &str) -> Ended {
    program::run(PATIENCE, command, input)
}

/// Runs a program that has much to do to its end.
pub fn run_long(command: Command) -> Ended {
    program::run(10 * PATIENCE, command, "")
}
