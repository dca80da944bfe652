//! Taking up another configuration while running: because someone asks for it, or because files have changed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::spawn_blocking,
};

use crate::{
    client::SetupError,
    clock::Clock,
    config::{Config, ConfigError, sources::Sources},
    notify::Manager,
    server::{Terms, Web},
    telemetry::Telemetry,
};

/// How often the files of the web configuration are looked at.
pub const WEB_EVERY: Duration = Duration::from_secs(1);

/// How often the files of the configuration are looked at, where that is wanted.
pub const CONFIG_EVERY: Duration = Duration::from_secs(5);

/// Another configuration, and whom to tell whether it is in use now.
pub type Reload = (Config, oneshot::Sender<Result<(), SetupError>>);

/// How a configuration is loaded.
type Load = dyn Fn() -> Result<Config, ConfigError> + Send + Sync;

/// Has a running exporter take up its configuration anew. Cloning shares it.
#[derive(Clone)]
pub struct Reloader {
    load: Arc<Load>,
    web: Arc<Web>,
    manager: Manager,
    reloads: mpsc::Sender<Reload>,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    /// Held by whoever reloads: one at a time, so that the last one asked for is the last one taken up.
    state: Arc<Mutex<State>>,
    /// The number of reloads that have begun because someone asked for them.
    begun: Arc<AtomicU64>,
}

/// How it stands between the files and what is in use.
struct State {
    /// What the configuration in use was read from; `None`: nobody watches it.
    watched: Option<Sources>,
    /// Why the configuration that the files hold now is not in use.
    config_error: Option<String>,
    /// Why the web configuration that the files hold now is not in use.
    web_error: Option<String>,
    /// Whether someone asked for a reload that nothing but `web_error` stood in the way of.
    waits_for_web: bool,
    /// The number of the last reload that someone asked for, and its result.
    last: Option<(u64, Result<(), ReloadError>)>,
}

impl State {
    /// Says what is wrong with the web configuration where something else is to be said of the other one, unless it was
    /// said `before`.
    fn say_what_is_behind(&self, said: Option<&String>, before: Option<&String>) {
        if let Some(error) = self.web_error.as_ref().filter(|&error| Some(error) != said && Some(error) != before) {
            tracing::error!(error, "the web configuration was not taken up either; the one before stays in use");
        }
    }
}

/// What is said where a reload came to no end.
pub const BROKEN_OFF: &str = "the reload ended halfway, which is a bug; please report it with the log";

/// Why a configuration was not taken up; the one in use stays.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReloadError {
    /// It is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The client could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Loading it did not come to an end.
    #[error("{BROKEN_OFF}")]
    Unread,
    /// The exporter is about to stop.
    #[error("the exporter is stopping")]
    Stopping,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Reloader {
    /// A handle to an exporter that hears `reloads`. `watched` is what its configuration was read from, if that is to be
    /// watched.
    pub(crate) fn new(
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        web: Arc<Web>,
        manager: Manager,
        reloads: mpsc::Sender<Reload>,
        telemetry: Arc<Telemetry>,
        clock: Clock,
        watched: Option<Sources>,
    ) -> Self {
        let state = State { watched, config_error: None, web_error: None, waits_for_web: false, last: None };
        let state = Arc::new(Mutex::new(state));
        Self { load: Arc::new(load), web, manager, reloads, telemetry, clock, state, begun: Arc::default() }
    }

    /// Loads the configuration and the web configuration and takes both up, or leaves everything as it is. What came of
    /// it is logged and measured here. Requests that arrive during a reload share the next one.
    ///
    /// # Errors
    ///
    /// [`ReloadError`].
    pub async fn reload(&self) -> Result<(), ReloadError> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut state = self.state.lock().await;
        // One that began later has read what the files hold now.
        if let Some((_, result)) = state.last.as_ref().filter(|&&(number, _)| number > begun) {
            return result.clone();
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        // What the watch takes up by itself, nobody waits for.
        self.manager.reloading();
        let result = self.as_asked(&mut state).await;
        // In any case: what was not taken up left everything as it was.
        self.manager.ready();
        state.last = Some((number, result.clone()));
        result
    }

    async fn as_asked(&self, state: &mut State) -> Result<(), ReloadError> {
        let before = state.web_error.clone();
        let result = self.take_up(state).await;
        match &result {
            Ok(()) => self.taken_up(state, "the configuration was loaded anew"),
            Err(error) => {
                tracing::error!(%error, "the configuration was not taken up; the one before stays in use");
                let error = Some(error.to_string());
                state.say_what_is_behind(error.as_ref(), before.as_ref());
                // What only the web configuration stands in the way of is done when that is mended, which is watched.
                state.waits_for_web = error == state.web_error;
                state.config_error = error.filter(|_| !state.waits_for_web);
                self.telemetry.reloaded(None);
            }
        }
        result
    }

    async fn take_up(&self, state: &mut State) -> Result<(), ReloadError> {
        let (load, web) = (self.load.clone(), self.web.clone());
        // Files may be slow to read.
        let read = spawn_blocking(move || (load(), web.read_anew())).await;
        let (config, terms) = read.map_err(|_| ReloadError::Unread)?;
        // Whose fault it is, is noted where it is mended: the watch over the web configuration knows of its own only.
        state.web_error = terms.as_ref().err().map(ToString::to_string);
        let (config, terms) = (config?, terms?);
        let sources = config.sources.clone();
        let (reply, replied) = oneshot::channel();
        self.reloads.send((config, reply)).await.map_err(|_| ReloadError::Stopping)?;
        replied.await.map_err(|_| ReloadError::Stopping)??;
        if let Some(terms) = terms {
            self.serve_on(terms);
        }
        if let Some(watched) = &mut state.watched {
            *watched = sources;
        }
        (state.config_error, state.web_error, state.waits_for_web) = (None, None, false);
        Ok(())
    }

    /// Watches the files for as long as it is polled.
    pub async fn watch(self) {
        let mut ticks: u32 = 0;
        let ticks_of_config = (CONFIG_EVERY.as_millis() / WEB_EVERY.as_millis()) as u32;
        loop {
            tokio::time::sleep(WEB_EVERY).await;
            ticks = ticks.wrapping_add(1);
            let mut state = self.state.lock().await;
            self.watch_web(&mut state).await;
            if ticks.is_multiple_of(ticks_of_config) {
                self.watch_config(&mut state).await;
            }
        }
    }

    /// Takes up the web configuration if its files have changed. What is wrong with it is said once.
    async fn watch_web(&self, state: &mut State) {
        let web = self.web.clone();
        let Ok(read) = spawn_blocking(move || web.read_anew()).await else { return };
        match read {
            // Unchanged, or as it was before someone broke it.
            Ok(None) if state.web_error.is_none() => {}
            Ok(terms) => {
                state.web_error = None;
                if std::mem::take(&mut state.waits_for_web) {
                    // What comes of it is said there.
                    let _ = self.as_asked(state).await;
                    return;
                }
                if let Some(terms) = terms {
                    self.serve_on(terms);
                }
                self.taken_up(state, "the web configuration was loaded anew");
            }
            Err(error) => {
                let error = error.to_string();
                if state.web_error.as_ref() != Some(&error) {
                    tracing::error!(error, "the web configuration was not taken up; the one before stays in use");
                    self.telemetry.reloaded(None);
                    state.web_error = Some(error);
                }
            }
        }
    }

    /// Takes up the configuration if its files have changed, or if what they hold was not fit for use when it was last
    /// read: a file that it names may have come since. What is wrong with it is said once.
    async fn watch_config(&self, state: &mut State) {
        let Some(watched) = state.watched.clone() else { return };
        let changed = spawn_blocking(move || watched.have_changed()).await.unwrap_or(false);
        if !changed && state.config_error.is_none() {
            return;
        }
        let before = state.web_error.clone();
        match self.take_up(state).await {
            Ok(()) => self.taken_up(state, "the configuration has changed, and was loaded anew"),
            Err(error) => {
                let error = Some(error.to_string());
                state.say_what_is_behind(error.as_ref(), before.as_ref());
                state.waits_for_web = error == state.web_error;
                let said = if state.waits_for_web { &before } else { &state.config_error };
                if *said != error {
                    let error = error.as_deref();
                    tracing::error!(
                        error,
                        "the configuration has changed, and was not taken up; the one before stays in use"
                    );
                    self.telemetry.reloaded(None);
                }
                state.config_error = error.filter(|_| !state.waits_for_web);
            }
        }
    }

    fn serve_on(&self, terms: Terms) {
        for warning in &terms.warnings {
            tracing::warn!("{warning}");
        }
        self.telemetry.serves_until(terms.certificate_not_after);
        self.web.take_up(terms);
    }

    /// What is in use is what the files hold, unless the other of the two configurations is not.
    fn taken_up(&self, state: &mut State, message: &'static str) {
        tracing::info!("{message}");
        if state.config_error.is_none() && state.web_error.is_none() {
            self.telemetry.reloaded(Some(self.clock.now()));
        }
    }
}
