//! The exporter as a process, scraped.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use crate::support::{
    http_builder,
    parser::{self, Format, Sample},
    program::{self, Program},
};

/// The longest that a scrape may take.
const SCRAPE_DEADLINE: Duration = Duration::from_secs(20);

/// A running exporter.
pub struct Exporter {
    pub process: Program,
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

impl Exporter {
    /// Starts it with a configuration, which is put into the directory; `wrapper` is a command that runs it.
    pub async fn start(directory: &Path, configuration: &str, wrapper: &[String], trust: Option<&Path>) -> Self {
        let file = directory.join("btcpool.yml");
        std::fs::write(&file, configuration).unwrap();
        let program = env!("CARGO_BIN_EXE_btcpool-exporter").to_owned();
        let words: Vec<_> = wrapper.iter().cloned().chain([program]).collect();
        let mut command = program::exporter(&words[0]);
        command.args(&words[1..]).arg("serve").arg("--config.file").arg(&file);
        command.args(["--web.listen-address", "127.0.0.1:0", "--log.level", "debug"]);
        if let Some(file) = trust {
            command.env("SSL_CERT_FILE", file).env_remove("SSL_CERT_DIR");
        }
        let mut process = Program::start(command);
        let url = format!("http://{}", process.address_async().await);
        // An idle connection may just be closed by the exporter.
        let client = http_builder().pool_max_idle_per_host(0).tls_certs_only([]).timeout(SCRAPE_DEADLINE);
        Self { process, client: client.build().unwrap(), url, scrapes: 0 }
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
        self.process.assert_alive();
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
}
