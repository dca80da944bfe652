//! A Prometheus exporter for the BTCpool.kz mining pool.
//!
//! ```text
//!                 every interval                          at each scrape
//!   config ──► poller ──► client ──► the pool's API     server ◄── Prometheus
//!                │           │ wire                        │ render
//!                ▼           ▼                             ▼
//!              store ◄──── model ─────────────────────► collector
//!                                                          ▲
//!   poller, client ──► telemetry ──────────────────────────┘
//! ```
//!
//! A background [`poller`] asks the five methods of the API for each account and currency through the [`client`], under
//! one request [`budget`], and puts each answer, as [`model`] and [`history`] have it, into a slot of the [`store`].
//! When a scrape comes, the [`collector`] draws the exposition from what the store holds and is not stale; the
//! [`server`] never calls the pool. [`demo`] is a simulated pool that speaks the same API.

#![forbid(unsafe_code)]

pub mod budget;
pub mod cli;
pub mod client;
pub mod clock;
pub mod collector;
pub mod commands;
pub mod config;
pub mod demo;
pub mod history;
pub mod model;
pub mod poller;
pub mod process;
pub mod server;
pub mod store;
pub mod telemetry;

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::Budget,
    client::{PoolClient, SetupError},
    clock::Clock,
    config::{Config, ConfigError},
    poller::{Demand, Poller, Tasks},
    server::App,
    store::Store,
    telemetry::Telemetry,
};

/// Why the exporter stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task that should run for ever ended.
    #[error("{0} ended by itself, which is a defect; stopping, so that a supervisor can start afresh")]
    TaskEnded(&'static str),
}

/// The parts of an exporter, wired up and not yet running.
#[derive(Debug)]
pub struct Exporter {
    /// What it is to do.
    pub config: Arc<Config>,
    /// What it knows.
    pub store: Arc<Store>,
    /// What it did.
    pub telemetry: Arc<Telemetry>,
    /// What time it is.
    pub clock: Clock,
    /// Who asks the pool.
    pub poller: Arc<Poller>,
    reloads: (mpsc::Sender<Reload>, mpsc::Receiver<Reload>),
}

/// Another configuration, and whom to tell whether it is in use now.
type Reload = (Config, oneshot::Sender<Result<(), SetupError>>);

/// How a configuration is loaded.
pub type Load = dyn Fn() -> Result<Config, ConfigError> + Send + Sync;

/// Has a running exporter take up its configuration anew.
#[derive(Clone)]
pub struct Reloader {
    load: Arc<Load>,
    reloads: mpsc::Sender<Reload>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    /// One at a time, so that the last one asked for is the last one taken up.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Why a configuration was not taken up; the one in use stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Loading it did not come to an end.
    #[error("it could not be read, which is a defect: please report what the log says")]
    Unread,
    /// The exporter is about to stop.
    #[error("the exporter is stopping")]
    Stopping,
}

impl Reloader {
    /// Loads the configuration and takes it up, or leaves everything as it is. What came of it is logged and measured
    /// here.
    ///
    /// # Errors
    ///
    /// [`ReloadError`].
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let _turn = self.turn.lock().await;
        let result = self.take_up().await;
        match &result {
            Ok(()) => {
                self.telemetry.reloaded(Some(self.clock.now()));
                tracing::info!("the configuration was loaded anew");
            }
            Err(error) => {
                self.telemetry.reloaded(None);
                tracing::error!(%error, "the configuration was not taken up; the one before stays in use");
            }
        }
        result
    }

    async fn take_up(&self) -> Result<(), ReloadError> {
        let load = self.load.clone();
        // Files may be slow to read.
        let config = tokio::task::spawn_blocking(move || load()).await.map_err(|_| ReloadError::Unread)??;
        let (reply, replied) = oneshot::channel();
        self.reloads.send((config, reply)).await.map_err(|_| ReloadError::Stopping)?;
        Ok(replied.await.map_err(|_| ReloadError::Stopping)??)
    }
}

impl Exporter {
    /// Wires up an exporter.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub fn new(config: Config, clock: Clock) -> Result<Self, SetupError> {
        let config = Arc::new(config);
        let telemetry = Arc::new(Telemetry::new(clock.now()));
        let store = Arc::new(Store::new(&config));
        let client = client(&config, &telemetry, clock)?;
        let poller = Arc::new(Poller::new(config.clone(), client, store.clone(), clock));
        Ok(Self { config, store, telemetry, clock, poller, reloads: mpsc::channel(1) })
    }

    /// A handle by which the running exporter takes up what `load` loads.
    pub fn reloader(&self, load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static) -> Reloader {
        Reloader {
            load: Arc::new(load),
            reloads: self.reloads.0.clone(),
            telemetry: self.telemetry.clone(),
            clock: self.clock,
            turn: Arc::default(),
        }
    }

    /// Polls and serves until `shutdown`; the caller has bound the listeners.
    ///
    /// # Errors
    ///
    /// When one of the tasks ends before `shutdown`.
    pub async fn run(mut self, listeners: Vec<TcpListener>, shutdown: CancellationToken) -> Result<(), RunError> {
        let mut complaint = self.complain(None);
        let mut ready = false;
        let mut polling = Tasks::default();
        self.poller.spawn(&mut polling, None);
        let app = Arc::new(App::new(self.config.clone(), self.store.clone(), self.telemetry.clone(), self.clock));
        let mut serving = JoinSet::new();
        for listener in listeners {
            serving.spawn(server::serve(listener, server::router(app.clone()), shutdown.clone()));
        }
        let result = loop {
            app.beat();
            tokio::select! {
                // In this order: at the end the listeners end, too, and that is no defect then.
                biased;
                () = shutdown.cancelled() => break Ok(()),
                () = polling.ended() => break Err(RunError::TaskEnded("a poller")),
                _ = serving.join_next(), if !serving.is_empty() => break Err(RunError::TaskEnded("a listener")),
                // This exporter has a sender of its own, so that there is always one to come.
                Some((config, reply)) = self.reloads.1.recv() => {
                    let result = self.take_up(config, &mut polling);
                    if result.is_ok() {
                        app.show(self.config.clone(), self.store.clone());
                        complaint = self.complain(complaint.as_deref());
                    }
                    // Whoever asked may be gone.
                    let _ = reply.send(result);
                }
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            if !ready && app.is_ready() {
                ready = true;
                tracing::info!("everything was polled once");
                complaint = self.complain(complaint.as_deref());
            }
        };
        // A poll that is under way is given up; its answer would be seen by nobody.
        polling.end().await;
        shutdown.cancel();
        let drained = async { while serving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(server::DRAIN_TIMEOUT, drained).await;
        result
    }

    /// Goes on under another configuration; what is polled under both is polled on, and what is known of it stays.
    fn take_up(&mut self, mut config: Config, polling: &mut Tasks) -> Result<(), SetupError> {
        let before = &self.config;
        let store = Arc::new(self.store.successor(before, &config));
        if config.web != before.web || config.log != before.log {
            tracing::warn!("what changed under web and log is taken up at the next start only");
            (config.web, config.log) = (before.web.clone(), before.log);
        }
        for warning in config.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        let config = Arc::new(config);
        let client = || client(&config, &self.telemetry, self.clock);
        let poller = Arc::new(self.poller.successor(config.clone(), store.clone(), client)?);
        poller.spawn(polling, Some(&self.poller));
        (self.config, self.store, self.poller) = (config, store, poller);
        Ok(())
    }

    /// Warns when the budget cannot carry the polling, unless that was said. Tells what there is to say.
    fn complain(&self, said: Option<&str>) -> Option<String> {
        let complaint = Demand::of(&self.config, &self.store).complaint(&self.config);
        if let Some(complaint) = complaint.as_deref().filter(|&complaint| said != Some(complaint)) {
            tracing::warn!("{complaint}");
        }
        complaint
    }
}

/// A client with a budget of its own.
fn client(config: &Config, telemetry: &Arc<Telemetry>, clock: Clock) -> Result<PoolClient, SetupError> {
    let budget = Arc::new(Budget::new(config.api.concurrency, config.api.requests_per_second));
    PoolClient::new(config.api.clone(), budget, telemetry.clone(), clock)
}
