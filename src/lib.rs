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

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    budget::Budget,
    client::{PoolClient, SetupError},
    clock::Clock,
    config::Config,
    poller::{Demand, Poller},
    server::App,
    store::Store,
    telemetry::Telemetry,
};

/// Why the exporter stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The client could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
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
}

impl Exporter {
    /// Wires up an exporter.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub fn new(config: Config, clock: Clock) -> Result<Self, SetupError> {
        let config = Arc::new(config);
        let budget = Arc::new(Budget::new(config.api.concurrency, config.api.requests_per_second));
        let telemetry = Arc::new(Telemetry::new(clock.now()));
        let store = Arc::new(Store::new(&config));
        let client = PoolClient::new(config.api.clone(), budget, telemetry.clone(), clock)?;
        let poller = Arc::new(Poller::new(config.clone(), client, store.clone(), clock));
        Ok(Self { config, store, telemetry, clock, poller })
    }

    /// Polls and serves until `shutdown`; the caller has bound the listeners.
    ///
    /// # Errors
    ///
    /// When one of the tasks ends before `shutdown`.
    pub async fn run(self, listeners: Vec<TcpListener>, shutdown: CancellationToken) -> Result<(), RunError> {
        let demand = Demand::of(&self.config, &self.store);
        if let Some(complaint) = demand.complaint(&self.config) {
            tracing::warn!("{complaint}");
        }
        let mut polling = JoinSet::new();
        self.poller.spawn(&mut polling);
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
                _ = polling.join_next() => break Err(RunError::TaskEnded("a poller")),
                _ = serving.join_next(), if !serving.is_empty() => break Err(RunError::TaskEnded("a listener")),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            app.once_ready(|| {
                tracing::info!("everything was polled once");
                let known = Demand::of(&self.config, &self.store);
                if let Some(complaint) = known.complaint(&self.config).filter(|_| known != demand) {
                    tracing::warn!("{complaint}");
                }
            });
        };
        // A poll that is under way is given up; its answer would be seen by nobody.
        polling.shutdown().await;
        shutdown.cancel();
        let drained = async { while serving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(server::DRAIN_TIMEOUT, drained).await;
        result
    }
}
