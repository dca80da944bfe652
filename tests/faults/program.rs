//! The exporter as a process of its own, and what it lets out.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::parser::{self, Format, Sample};

/// The longest that anything may take that should come at once, on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The longest that a scrape may take.
const SCRAPE_DEADLINE: Duration = Duration::from_secs(20);

/// A running exporter. It is killed when this is dropped.
pub struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
    client: reqwest::Client,
    url: String,
    scrapes: usize,
}

/// One scrape.
pub struct Scrape {
    /// When it was asked for, in Unix seconds.
    pub begin: f64,
    /// When it had come.
    pub end: f64,
    pub samples: Vec<Sample>,
    pub text: String,
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The fields of a line of the log.
pub fn fields(line: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut rest = line;
    while let Some((name, after)) = rest.split_once('=') {
        let mut value = String::new();
        rest = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut characters = quoted.char_indices();
                loop {
                    match characters.next() {
                        Some((_, '\\')) => value.extend(characters.next().map(|(_, escaped)| escaped)),
                        Some((end, '"')) => break &quoted[end + 1..],
                        Some((_, character)) => value.push(character),
                        None => break "",
                    }
                }
            }
            None => {
                let end = after.find(' ').unwrap_or(after.len());
                value.push_str(&after[..end]);
                &after[end..]
            }
        };
        fields.insert(name.trim_start().to_owned(), value);
        rest = rest.trim_start();
    }
    fields
}

impl Program {
    /// Starts it with a configuration, which is put into the directory; `wrapper` is a command that runs it.
    pub async fn start(directory: &Path, configuration: &str, wrapper: &[String], trust: Option<&Path>) -> Self {
        // Fails when it is installed already, which is as good.
        let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let file = directory.join("btcpool.yml");
        std::fs::write(&file, configuration).unwrap();
        let program = env!("CARGO_BIN_EXE_btcpool-exporter").to_owned();
        let words: Vec<_> = wrapper.iter().cloned().chain([program]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("serve").arg("--config.file").arg(&file);
        command.args(["--web.listen-address", "127.0.0.1:0", "--log.level", "debug"]);
        // Nothing of this process' environment that it would read.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("BTCPOOL") || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        if let Some(file) = trust {
            command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        // A connection that is kept may just be closed from the other side.
        let client = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .no_proxy()
            .tls_certs_only([])
            .timeout(SCRAPE_DEADLINE)
            .build()
            .unwrap();
        let mut program = Self { child, log, client, url: String::new(), scrapes: 0 };
        let begin = Instant::now();
        let address = loop {
            let log = program.log();
            let line = log.lines().map(fields).find(|line| line.get("message").is_some_and(|text| text == "listening"));
            if let Some(address) = line.and_then(|line| line.get("address").cloned()) {
                break address;
            }
            program.lives();
            assert!(begin.elapsed() < PATIENCE, "it never says where it listens:\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        program.url = format!("http://{address}");
        program
    }

    /// The log as far as it was written.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails when the process has ended.
    pub fn lives(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("it ended, {status}:\n{}", self.log());
        }
    }

    /// Asks for a page that must be there.
    pub async fn get(&self, path: &str, accept: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.url)).header("accept", accept);
        let response = request.send().await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// Scrapes it, in the two formats by turns.
    pub async fn scrape(&mut self) -> Scrape {
        self.lives();
        self.scrapes += 1;
        let (format, accept) = match self.scrapes % 2 {
            0 => (Format::Classic, "text/plain"),
            _ => (Format::OpenMetrics, "application/openmetrics-text; version=1.0.0"),
        };
        let begin = unix_now();
        let text = self.get("/metrics", accept).await;
        let end = unix_now();
        let families = parser::parse(&text, format).unwrap_or_else(|error| panic!("{error}\n{text}"));
        // A counter has `_total` in both.
        let samples = families.into_iter().flat_map(|family| family.samples).collect();
        Scrape { begin, end, samples, text }
    }

    /// The most memory that it ever held, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Stops it, and waits until it has.
    pub async fn stop(&mut self) {
        let id = self.child.id().unwrap().to_string();
        let kill = Command::new("kill").args(["-s", "TERM", &id]).status().await.unwrap();
        assert!(kill.success());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log())).unwrap();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}
