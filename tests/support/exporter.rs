//! The exporter in this process.

use std::{cell::RefCell, path::Path, sync::Arc};

use btcpool_exporter::{
    RunError,
    clock::Clock,
    collector::Format,
    config::{Config, ConfigError},
    reload::{ReloadError, Reloader},
    server::Web,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    PATIENCE,
    parser::{self, Family},
    until,
};

/// Loads the configuration for a reload.
type Load = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// How an exporter is started.
pub struct Builder {
    config: Config,
    clock: Clock,
    web: Web,
    load: Load,
    watch: bool,
}

impl Builder {
    /// Uses another clock than the system's.
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Uses a web configuration file.
    pub fn web_file(self, file: &Path) -> Self {
        Self { web: Web::load(Some(file)).unwrap_or_else(|error| panic!("{error}")), ..self }
    }

    /// Sets what a reload loads: the same configuration by default.
    pub fn load(self, load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Self {
        Self { load: Box::new(load), ..self }
    }

    /// Sets whether the exporter watches the files of its configuration.
    pub fn watch(self, watch: bool) -> Self {
        Self { watch, ..self }
    }

    /// Starts the exporter.
    pub async fn start(self) -> Running {
        let Self { config, clock, web, load, watch } = self;
        let mut exporter = btcpool_exporter::Exporter::new(config, clock).unwrap();
        exporter.web = Arc::new(web);
        let reloader = exporter.reloader(load, watch);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(exporter.run(vec![listener], shutdown.clone()));
        Running { url, shutdown, task, reloader }
    }

    /// Starts the exporter, and waits until it has polled everything once.
    pub async fn start_ready(self) -> Running {
        let exporter = self.start().await;
        exporter.until("/-/ready", |status, _| status == 200).await;
        exporter
    }
}

/// A running exporter.
pub struct Running {
    pub url: String,
    pub shutdown: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
    reloader: Reloader,
}

impl Running {
    /// An exporter with the defaults: the system's clock, no web configuration, no watched files.
    pub fn builder(config: Config) -> Builder {
        let again = config.clone();
        let load = Box::new(move || Ok(again.clone()));
        Builder { config, clock: Clock::system(), web: Web::load(None).unwrap(), load, watch: false }
    }

    /// Starts an exporter with the defaults.
    pub async fn start(config: Config) -> Self {
        Self::builder(config).start().await
    }

    /// Starts an exporter with the defaults, and waits until it has polled everything once.
    pub async fn start_ready(config: Config) -> Self {
        Self::builder(config).start_ready().await
    }

    pub async fn reload(&self) -> Result<(), ReloadError> {
        self.reloader.reload().await
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = super::http().get(format!("{}{path}", self.url)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Requests a page until its status and body are as wanted. Returns the body.
    pub async fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let last = RefCell::<String>::default();
        let look = async || {
            let (status, body) = self.get(path).await;
            if wanted(status, &body) {
                return Some(body);
            }
            *last.borrow_mut() = format!("at last {status}: {body}");
            None
        };
        until(path, look, || last.borrow().clone()).await
    }

    /// Scrapes `/metrics` in the classic format.
    pub async fn scrape(&self) -> Vec<Family> {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        parser::parse(&text, Format::Classic).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// Stops the exporter, and waits for its end.
    pub async fn stop(self) -> Result<(), RunError> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.unwrap_or_else(|_| panic!("the exporter does not stop")).unwrap()
    }
}
