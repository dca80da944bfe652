//! A Prometheus exporter for the BTCpool.kz mining pool.
//!
//! ```text
//!                 every interval                          at each scrape
//!   config ──► poller ──► client ──► the pool's API     server ◄── Prometheus
//!                │           │ wire                        │ rendition
//!                ▼           ▼                             ▼
//!              store ◄──── model ─────────────────────► collector
//!                                                          ▲
//!           client ──► telemetry ──────────────────────────┘
//! ```
//!
//! A background [`poller`] asks the five methods of the API for each account and currency through the [`client`], under
//! one request [`budget`], and puts each answer, as [`model`] and [`history`] have it, into a slot of the [`store`].
//! When a scrape comes, the [`collector`] draws the exposition from what the store holds and is not stale; the
//! [`server`] never calls the pool. [`backfill`] draws the same series as they stood on the days before, out of the same
//! histories. [`demo`] is a simulated pool that speaks the same API.

pub mod backfill;
pub mod budget;
pub mod cli;
pub mod client;
pub mod clock;
pub mod collector;
pub mod commands;
pub mod config;
pub mod demand;
pub mod demo;
pub mod history;
pub mod model;
pub mod notify;
pub mod poller;
pub mod process;
pub mod reload;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod wire;

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::Budget,
    client::{PoolClient, SetupError},
    clock::Clock,
    config::{Config, ConfigError},
    demand::Demand,
    notify::Manager,
    poller::{Poller, Tasks},
    reload::{Reload, Reloader},
    server::{App, Limits, Server, Web},
    store::{Store, Tally},
    telemetry::Telemetry,
};

/// Why the exporter stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A task that should run for ever ended.
    #[error(
        "{0} ended by itself, which is a bug; stopping, so that a supervisor starts the exporter again. Please report it \
         with the log"
    )]
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
    /// How its clients are served.
    pub web: Arc<Web>,
    /// Who is told how it goes.
    pub manager: Manager,
    reloads: (mpsc::Sender<Reload>, mpsc::Receiver<Reload>),
    reloader: Option<Reloader>,
}

impl Exporter {
    /// Wires up an exporter that serves plain HTTP to everybody.
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
        let (web, manager) = (Arc::new(Web::plain()), Manager::default());
        Ok(Self { config, store, telemetry, clock, poller, web, manager, reloads: mpsc::channel(1), reloader: None })
    }

    /// A handle by which the running exporter takes up what `load` loads. While it runs it watches the files of the web
    /// configuration, and with `watch` those of the configuration, too, and takes up by itself what has changed.
    pub fn reloader(
        &mut self,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        watch: bool,
    ) -> Reloader {
        let (reloads, telemetry) = (self.reloads.0.clone(), self.telemetry.clone());
        let watched = watch.then(|| self.config.sources.clone());
        let (web, manager) = (self.web.clone(), self.manager.clone());
        let reloader = Reloader::new(load, web, manager, reloads, telemetry, self.clock, watched);
        self.reloader = Some(reloader.clone());
        reloader
    }

    /// Polls and serves until `shutdown`; the caller has bound the listeners.
    ///
    /// # Errors
    ///
    /// When one of the tasks ends before `shutdown`.
    pub async fn run(mut self, listeners: Vec<TcpListener>, shutdown: CancellationToken) -> Result<(), RunError> {
        let mut complaint = self.complain(None);
        self.telemetry.serves_until(self.web.terms().certificate_not_after);
        let mut ready = false;
        let mut polling = Tasks::default();
        self.poller.spawn(&mut polling, None);
        let app = Arc::new(self.app());
        let server = Server::new(server::router(app.clone()), self.web.clone(), Limits::default());
        let mut serving = JoinSet::new();
        for listener in listeners {
            serving.spawn(server.clone().serve(listener, shutdown.clone()));
        }
        let mut setups = JoinSet::new();
        let mut watching = JoinSet::new();
        if let Some(reloader) = self.reloader.take() {
            watching.spawn(reloader.watch());
        }
        let keeper = app.clone();
        watching.spawn(async move { keeper.keep_expositions().await });
        let judge = app.clone();
        watching.spawn(self.manager.clone().keep_alive(move || judge.is_healthy()));
        self.manager.ready();
        let result = loop {
            app.beat();
            if self.manager.listens() {
                self.manager.status(self.status());
            }
            tokio::select! {
                // In this order: at the end the listeners end, too, and that is no defect then.
                biased;
                () = shutdown.cancelled() => break Ok(()),
                () = polling.ended() => break Err(RunError::TaskEnded("a poller")),
                _ = serving.join_next(), if !serving.is_empty() => break Err(RunError::TaskEnded("a listener")),
                _ = watching.join_next() => break Err(RunError::TaskEnded("the watch over files, health or polls")),
                // This exporter has a sender of its own, so that there is always one to come.
                Some((config, reply)) = self.reloads.1.recv() => {
                    // Trust roots are read from disk, which may be slow. One reload is under way at a time.
                    let (telemetry, clock) = (self.telemetry.clone(), self.clock);
                    let new_client = config.api != self.config.api;
                    setups.spawn_blocking(move || {
                        let client = new_client.then(|| client(&config, &telemetry, clock)).transpose();
                        (config, client, reply)
                    });
                }
                // One that panicked has dropped its reply, which the reload hears.
                Some(Ok((config, client, reply))) = setups.join_next(), if !setups.is_empty() => {
                    let result = client.map(|client| self.take_up(config, client, &mut polling));
                    if result.is_ok() {
                        app.show(self.config.clone(), self.store.clone(), self.poller.budget().clone());
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
        // Nobody waits for a reload that is asked for now.
        self.reloads.1.close();
        while self.reloads.1.try_recv().is_ok() {}
        self.manager.stopping().await;
        // A poll that is under way is given up; its answer would be seen by nobody.
        polling.end().await;
        shutdown.cancel();
        let drained = async { while serving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(server::DRAIN_TIMEOUT, drained).await;
        result
    }

    /// What the server's handlers need.
    fn app(&self) -> App {
        let reloader = self.reloader.clone().filter(|_| self.config.web.enable_lifecycle);
        let reload = reloader.map(|reloader| -> server::Reload {
            Box::new(move || {
                let reloader = reloader.clone();
                // To its end, whether or not whoever asked waits for it.
                let reloading = tokio::spawn(async move { reloader.reload().await });
                Box::pin(async move {
                    match reloading.await {
                        Ok(result) => result.map_err(|error| error.to_string()),
                        Err(_) => Err(reload::BROKEN_OFF.to_owned()),
                    }
                })
            })
        });
        let (config, store, telemetry) = (self.config.clone(), self.store.clone(), self.telemetry.clone());
        App::new(config, store, telemetry, self.clock, self.poller.budget().clone(), reload)
    }

    /// How it goes, in one line.
    fn status(&self) -> String {
        let Tally { good, failed, waiting } = self.store.tally();
        let accounts = self.config.accounts.len();
        let reload = if self.telemetry.snapshot().reload_succeeded { "" } else { "; the last reload failed" };
        format!("accounts: {accounts}; endpoints: {good} answer, {failed} fail, {waiting} not asked yet{reload}")
    }

    /// Goes on under another configuration; what is polled under both is polled on, and what is known of it stays.
    /// With a `client` the pool is asked in another way.
    fn take_up(&mut self, mut config: Config, client: Option<PoolClient>, polling: &mut Tasks) {
        let before = &self.config;
        let store = Arc::new(self.store.successor(before, &config));
        if config.web != before.web || config.log != before.log {
            let keys = config.web.differing_keys(&before.web).chain(config.log.differing_keys(&before.log));
            let keys = keys.collect::<Vec<_>>().join(", ");
            tracing::warn!(keys, "changes under web and log take effect only after a restart");
            (config.web, config.log) = (before.web.clone(), before.log);
        }
        for warning in config.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        let config = Arc::new(config);
        let poller = Arc::new(self.poller.successor(config.clone(), store.clone(), client));
        poller.spawn(polling, Some(&self.poller));
        (self.config, self.store, self.poller) = (config, store, poller);
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
