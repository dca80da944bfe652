//! What each command does, from the command line to its end.

mod backfill;
mod output;

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write as _},
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use listenfd::ListenFd;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};
use url::Url;

pub use self::backfill::backfill;
use self::output::Output;

use crate::{
    Exporter,
    cli::{self, Flags},
    client::{self, SetupError, health::Whose, proxy::Route},
    clock::Clock,
    collector::{self, Format, Moment, Scope, View},
    config::{self, Config, ConfigError, ListenAddress, LogFormat, LogLevel, Polling, duration_text, sources::Sources},
    demand::Demand,
    demo::SimulatedPool,
    notify::Manager,
    reload::Reloader,
    server::{self, Web, web_config::WebConfig},
};

/// So many polls that failed are named at the end of `once`; the log has them all.
const MOST_NAMED: usize = 3;

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong; nothing was done yet.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A proxy or trust roots that the environment names cannot be used; nothing was done yet.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A flag's value is wrong; nothing was done yet.
    #[error("{0}")]
    Usage(String),
    /// It went wrong while running.
    #[error("{0}")]
    Running(String),
}

impl Failure {
    /// The process' exit code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Running(_) => 1,
            Self::Config(_) | Self::Setup(_) | Self::Usage(_) => 2,
        }
    }

    fn running(error: impl std::fmt::Display) -> Self {
        Self::Running(error.to_string())
    }
}

/// Polls and serves until a signal comes. `sockets` are those that systemd handed over.
///
/// # Errors
///
/// [`Failure`].
pub async fn serve(flags: &Flags, sockets: ListenFd) -> Result<(), Failure> {
    let config = load(flags)?;
    let web = load_web(&config)?;
    start_log(&config);
    warn_of(&web);
    let mut exporter = Exporter::new(config, Clock::system())?;
    let config = exporter.config.clone();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        revision = env!("BTCPOOL_EXPORTER_REVISION"),
        accounts = config.accounts.len(),
        targets = config.targets().count(),
        shard = format!("{} of {}", config.shard.index, config.shard.count),
        pool = %config.api.base_url,
        proxy = %exporter.poller.route(),
        config = flags.config_file.as_ref().map(|path| path.display().to_string()),
        "starting",
    );
    if config.accounts_in_all_shards == 0 {
        tracing::info!("no account is configured, so that only statistics of the whole pool will be served");
    }
    if let Some(idle) = of_other_shards(&config) {
        tracing::warn!("{idle}, so that only statistics of the whole pool will be served");
    }
    let shutdown = stop_on_signals()?;
    // From here on a SIGHUP waits to be heard; unheard it would end the process.
    let hangups = tokio::signal::unix::signal(SignalKind::hangup()).map_err(Failure::running)?;
    let listeners = if config.web.systemd_socket { inherited(sockets)? } else { bind(&config, &shutdown).await? };
    exporter.web = web;
    exporter.manager = Manager::from_env();
    let (flags, environment) = (flags.clone(), environment()?);
    let watch = flags.enable_auto_reload;
    let load = move || Config::load(flags.config_file.as_deref(), environment.clone(), &flags.overrides());
    reload_on(hangups, exporter.reloader(load, watch));
    exporter.run(listeners, shutdown).await.map_err(Failure::running)?;
    tracing::info!("stopped");
    Ok(())
}

/// Runs against a simulated pool.
///
/// # Errors
///
/// [`Failure`].
pub async fn demo(flags: &Flags, demo: &cli::Simulation) -> Result<(), Failure> {
    if flags.config_file.is_some() {
        return Err(Failure::Usage("demo brings its own configuration; leave --config.file out".to_owned()));
    }
    let ignored = [
        ("--web.enable-lifecycle", flags.enable_lifecycle),
        ("--web.systemd-socket", flags.systemd_socket),
        ("--config.enable-auto-reload", flags.enable_auto_reload),
    ];
    if let Some((flag, _)) = ignored.into_iter().find(|(_, given)| *given) {
        let message = format!("demo has nothing to reload and binds its own addresses; leave {flag} out");
        return Err(Failure::Usage(message));
    }
    if !(0.0..=100_000.0).contains(&demo.speed) {
        return Err(Failure::Usage("--speed must be from 0 to 100000".to_owned()));
    }
    let clock = Clock::simulated(Clock::system().now(), demo.speed);
    let pool = SimulatedPool::new(demo.seed, clock);
    let pool_listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::running)?;
    let base_url = pool.base_url(pool_listener.local_addr().map_err(Failure::running)?);
    let config = Config::from_yaml("demo", &pool.configuration(&base_url, demo.speed), &flags.overrides())?;
    let web = load_web(&config)?;
    start_log(&config);
    warn_of(&web);
    let shutdown = stop_on_signals()?;
    let listeners = bind(&config, &shutdown).await?;
    let scheme = if web.terms().tls.is_some() { "https" } else { "http" };
    let mut lines = vec![format!("A simulated pool with {pool} answers at {base_url}")];
    for (configured, listener) in config.web.listen_addresses.iter().zip(&listeners) {
        let port = listener.local_addr().map_err(Failure::running)?.port();
        let host = configured.host.clone().unwrap_or_else(|| "localhost".to_owned());
        let address = reachable(&ListenAddress { host: Some(host), port });
        lines.push(format!("  status page  {scheme}://{address}/"));
        lines.push(format!("  metrics      {scheme}://{address}{}", config.web.telemetry_path));
    }
    let refused = pool.farm().accounts.iter().find(|account| !account.key_valid).map(|account| {
        let name = &account.name;
        format!("The key of the account {name} is refused on purpose, to show what a failure looks like. ")
    });
    lines.push(format!("{}Ctrl-C stops the demo.\n", refused.unwrap_or_default()));
    print(&lines.join("\n"))?;
    let serving = tokio::spawn(server::serve(pool_listener, pool.router(), shutdown.clone()));
    let mut exporter = Exporter::new(config, clock)?;
    exporter.web = web;
    exporter.manager = Manager::from_env();
    exporter.run(listeners, shutdown).await.map_err(Failure::running)?;
    // Whoever asks the simulated pool yet has had as long as the exporter took to stop.
    serving.abort();
    Ok(())
}

/// Polls everything once and writes the exposition in the classic format.
///
/// # Errors
///
/// [`Failure`]; `Running` when any endpoint failed, after everything else was written.
pub async fn once(flags: &Flags, output: &Path) -> Result<(), Failure> {
    let config = load(flags)?;
    let output = Output::parse(output)?;
    let file = match &output {
        Output::Standard => None,
        Output::File(place) => {
            let file = output.temporary_file(place);
            // node_exporter, which runs as another user, reads it.
            Some(file.and_then(|file| file.make_readable().map(|()| file)).map_err(|error| output.refuse(&error))?)
        }
    };
    start_log(&config);
    let exporter = Exporter::new(config, Clock::system())?;
    // However long it takes, what came first is not stale at its end: nothing newer will come.
    let begin = std::time::Instant::now();
    exporter.poller.once().await;
    let now = Moment { wall: exporter.clock.now(), monotonic: begin };
    // node_exporter, which may read this, has process_* metrics of its own.
    let view = View::take(&exporter.config, &exporter.store, &exporter.telemetry, &Scope::WithoutProcess, now);
    let of_pool = view.common.iter().map(|common| (String::new(), &common.poll));
    let of_targets =
        view.targets.iter().flat_map(|of| of.polls.iter().map(move |poll| (format!("{} ", of.target), poll)));
    let polls: Vec<_> = of_pool.chain(of_targets).collect();
    let failures = polls.iter().filter_map(|(whose, poll)| {
        let reason = match &poll.last {
            Some(outcome) => outcome.error.as_ref()?.reason.as_str(),
            None => "not polled",
        };
        Some(format!("{whose}{} ({reason})", poll.endpoint))
    });
    let (failures, all): (Vec<_>, _) = (failures.collect(), polls.len());
    let text = collector::render(view, Format::Classic).map_err(Failure::running)?;
    match file {
        None => print(&text)?,
        Some(file) => {
            let written = file.replace(move |out| out.write_all(text.as_bytes())).await;
            written.map_err(|error| output.failed(&error))?;
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let named = failures.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = match failures.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Err(Failure::Running(format!("{} of {all} polls failed: {named}{more}", failures.len())))
}

/// Prints what would be polled; with `probe` it also asks each account's summary once.
///
/// # Errors
///
/// [`Failure`]; `Running` when a probe failed.
pub async fn check(flags: &Flags, probe: bool) -> Result<(), Failure> {
    let config = load(flags)?;
    let web = load_web(&config)?;
    // What is unwise is part of what is printed.
    start_log_to(&config, io::stderr);
    let exporter = Exporter::new(config, Clock::system())?;
    print(&summary(flags, &exporter.config, exporter.poller.route(), &web.terms(), &environment()?))?;
    if !probe {
        return Ok(());
    }
    let (mut failed, mut all) = (0, 0);
    for (target, account) in exporter.config.targets() {
        all += 1;
        let line = match exporter.poller.probe(&target, &account.key).await {
            Ok(()) => format!("{target}: ok\n"),
            Err(error) => {
                failed += 1;
                format!("{target}: {}: {error}\n", error.reason().as_str())
            }
        };
        print(&line)?;
    }
    match (failed, all) {
        (0, 0) => print("nothing to probe: no account is configured here\n"),
        (0, _) => Ok(()),
        _ => Err(Failure::Running(format!("{failed} of {all} probes failed; the lines above say why"))),
    }
}

/// What a configuration means, for people: fit to be shown to others, as nothing of it is secret.
fn summary(
    flags: &Flags,
    config: &Config,
    route: &Route,
    terms: &server::Terms,
    environment: &[(String, String)],
) -> String {
    let file = flags.config_file.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    let api = &config.api;
    let mut lines = vec![
        format!(
            "btcpool-exporter {} (revision {}, {} {})",
            env!("CARGO_PKG_VERSION"),
            env!("BTCPOOL_EXPORTER_REVISION"),
            env::consts::OS,
            env::consts::ARCH,
        ),
        format!("The configuration is valid (file: {file})"),
    ];
    let variables = environment.iter().map(|(name, _)| name).filter(|name| name.starts_with(config::layer::ENV_PREFIX));
    let variables: BTreeSet<_> = variables.map(|name| config::layer::shown_variable(name)).collect();
    if !variables.is_empty() {
        lines.push(format!("environment {}", variables.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let Polling { live, history } = config.polling;
    lines.extend([
        format!(
            "pool        {}; timeout {}, {} requests at a time, {} rows a page, reject_rate in {}",
            api.base_url,
            duration_text(api.timeout),
            api.concurrency,
            api.page_size,
            api.reject_rate_unit.as_str(),
        ),
        format!("proxy       {route}"),
        format!("live        every {}, shown for {}", duration_text(live.interval), duration_text(live.stale_after)),
        format!(
            "history     every {}, shown for {}; the pool's day begins at UTC{}",
            duration_text(history.interval),
            duration_text(history.stale_after),
            api.day_utc_offset
        ),
    ]);
    let shard = if config.shard.count > 1 {
        format!(" of {} (shard {} of {})", config.accounts_in_all_shards, config.shard.index, config.shard.count)
    } else {
        String::new()
    };
    lines.push(format!("accounts    {}{shard}", config.accounts.len()));
    for (name, account) in &config.accounts {
        let currencies: Vec<_> = account.currencies.iter().map(|currency| currency.as_str()).collect();
        let workers = match account.workers_max {
            Some(max) => format!("at most {max} workers"),
            None => "no workers".to_owned(),
        };
        lines.push(format!("  {name}: {}; {workers}", currencies.join(", ")));
        for (currency, expected) in &account.expected_hashrate {
            lines.push(format!("    {currency} expected at {expected}"));
        }
    }
    let demand = Demand::of(config, &crate::store::Store::new(config));
    lines.push(format!(
        "requests    at least {} each live interval and {} each history interval: {:.2} a second, of {} allowed",
        demand.live, demand.history, demand.per_second, api.requests_per_second
    ));
    lines.extend(serving(config, terms));
    let warnings = [&config.warnings[..], &terms.warnings].concat().into_iter();
    let warnings = warnings.chain(of_other_shards(config)).chain(demand.complaint(config));
    lines.extend(warnings.map(|warning| format!("warning     {warning}")));
    lines.join("\n") + "\n"
}

/// Says so where there are accounts, and none of them is this process' own.
fn of_other_shards(config: &Config) -> Option<String> {
    let (all, shard) = (config.accounts_in_all_shards, config.shard);
    let none = all > 0 && config.accounts.is_empty();
    none.then(|| format!("none of the {all} accounts falls to shard {} of {}", shard.index, shard.count))
}

/// The serving side, and the log.
fn serving(config: &Config, terms: &server::Terms) -> [String; 3] {
    let web = &config.web;
    let addresses = if web.systemd_socket {
        "sockets of systemd".to_owned()
    } else {
        web.listen_addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let requests = match web.max_requests {
        0 => "any number of requests".to_owned(),
        most => format!("at most {most} requests"),
    };
    let lifecycle = if web.enable_lifecycle { "on" } else { "off" };
    let web_config = match &web.config_file {
        None => "none: plain HTTP, for everybody".to_owned(),
        Some(file) => format!("{}, {} TLS", file.display(), if terms.tls.is_some() { "with" } else { "without" }),
    };
    [
        format!(
            "web         {addresses}; metrics at {}, {requests} at a time, POST /-/reload is {lifecycle}",
            web.telemetry_path
        ),
        format!("web config  {web_config}"),
        format!("log         {}, {}", config.log.level.as_str(), config.log.format.as_str()),
    ]
}

/// Asks a running exporter whether it is healthy.
///
/// # Errors
///
/// [`Failure`]; `Running` when it is not, or does not answer.
pub async fn health(flags: &Flags, url: Option<Url>) -> Result<(), Failure> {
    let (url, other, whose) = match url {
        Some(url) => (url, None, Whose::Any),
        None => {
            let web = config::load_web(flags.config_file.as_deref(), environment()?, &flags.overrides())?;
            let address = web.listen_addresses.first().cloned().unwrap_or_default();
            // Its certificates are not looked at: whoever asks may not be allowed to read them.
            let config = web.config_file.as_deref().map(|file| WebConfig::read(file, &mut Sources::default()));
            let scheme = if config.transpose()?.is_some_and(|config| config.tls.is_some()) { "https" } else { "http" };
            let url = |address: ListenAddress| {
                let error = |_| Failure::Usage(format!("{address} is no address that can be asked"));
                Url::parse(&format!("{scheme}://{address}/-/healthy")).map_err(error)
            };
            // A socket that systemd binds may take IPv6 alone.
            let ipv6 = address.host.is_none().then(|| ListenAddress { host: Some("::1".to_owned()), ..address });
            (url(reachable(&address))?, ipv6.map(url).transpose()?, Whose::Own)
        }
    };
    client::health::ask_either(url, other, whose).await.map_err(|(mut url, error)| {
        // Both fail only where there is no host, and then there is neither of the two.
        let _ = (url.set_username(""), url.set_password(None));
        Failure::Running(format!("{url}: {error}"))
    })?;
    print("healthy\n")
}

/// Where something that listens there can be asked: a wildcard means this machine.
fn reachable(address: &ListenAddress) -> ListenAddress {
    let host = match address.host.as_deref() {
        None => "127.0.0.1".to_owned(),
        Some(host) => match host.parse() {
            Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            // A listener on every IPv6 address takes IPv4, too, unless the system says otherwise.
            Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "::1".to_owned(),
            _ => host.to_owned(),
        },
    };
    ListenAddress { host: Some(host), port: address.port }
}

fn load(flags: &Flags) -> Result<Config, Failure> {
    Ok(Config::load(flags.config_file.as_deref(), environment()?, &flags.overrides())?)
}

/// The environment's variables that are text; of ours, every one must be.
fn environment() -> Result<Vec<(String, String)>, Failure> {
    let mut variables = Vec::new();
    for (name, value) in env::vars_os() {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => variables.push((name, value)),
            (Ok(name), Err(_)) if name.starts_with(config::layer::ENV_PREFIX) => {
                return Err(Failure::Usage(format!("{name}: the variable's value is not UTF-8 text")));
            }
            _ => {}
        }
    }
    Ok(variables)
}

/// Reads the web configuration.
fn load_web(config: &Config) -> Result<Arc<Web>, Failure> {
    Ok(Arc::new(Web::load(config.web.config_file.as_deref())?))
}

/// Says what is unwise in the web configuration.
fn warn_of(web: &Web) {
    for warning in &web.terms().warnings {
        tracing::warn!("{warning}");
    }
}

/// The sockets that systemd handed over; at least one.
fn inherited(mut sockets: ListenFd) -> Result<Vec<TcpListener>, Failure> {
    let failure = |error: io::Error| Failure::Running(format!("--web.systemd-socket: {error}"));
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        if let Some(socket) = sockets.take_tcp_listener(index).map_err(failure)? {
            socket.set_nonblocking(true).map_err(failure)?;
            listeners.push(TcpListener::from_std(socket).map_err(failure)?);
        }
    }
    if listeners.is_empty() {
        let message = "--web.systemd-socket: no socket was handed over; start the .socket unit, not the service alone";
        return Err(Failure::Running(message.to_owned()));
    }
    listeners.iter().for_each(say_listening);
    Ok(listeners)
}

fn say_listening(listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
}

/// Binds every address, unless it is time to stop: a host's name may take long to resolve.
async fn bind(config: &Config, shutdown: &CancellationToken) -> Result<Vec<TcpListener>, Failure> {
    let mut listeners = Vec::new();
    for address in &config.web.listen_addresses {
        let bound = tokio::select! {
            bound = server::bind(address) => bound,
            () = shutdown.cancelled() => break,
        };
        let listener = bound.map_err(|error| {
            let hint = "choose another address with --web.listen-address";
            Failure::Running(format!("cannot listen on {address}: {error}; {hint}"))
        })?;
        say_listening(&listener);
        listeners.push(listener);
    }
    Ok(listeners)
}

/// A token that the first SIGTERM or SIGINT cancels; a second one ends the process at once.
fn stop_on_signals() -> Result<CancellationToken, Failure> {
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate()).map_err(Failure::running)?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt()).map_err(Failure::running)?;
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let signal = next().await;
        tracing::info!(signal, "stopping; a second signal stops at once");
        token.cancel();
        next().await;
        std::process::exit(1);
    });
    Ok(shutdown)
}

/// Each of the signals has the configuration taken up anew.
fn reload_on(mut signals: Signal, reloader: Reloader) {
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            // What came of it is in the log and in the metrics.
            let _ = reloader.reload().await;
        }
    });
}

/// A command that ends by itself, unless a signal ends it before. As the first process of a container nothing else
/// would.
///
/// # Errors
///
/// The command's own; `Running` when a signal came.
pub async fn unless_stopped(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut terminate = tokio::signal::unix::signal(SignalKind::terminate()).map_err(Failure::running)?;
    let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt()).map_err(Failure::running)?;
    tokio::select! {
        result = command => result,
        _ = terminate.recv() => Err(Failure::Running("stopped by SIGTERM before the end".to_owned())),
        _ = interrupt.recv() => Err(Failure::Running("stopped by SIGINT before the end".to_owned())),
    }
}

/// Starts the log, on standard error, with what is unwise in the configuration.
fn start_log(config: &Config) {
    start_log_to(config, io::stderr);
    warn_of_config(config);
}

/// Says what is unwise in the configuration.
fn warn_of_config(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// Starts the log. Libraries are heard from warnings on only.
fn start_log_to(config: &Config, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let level = match config.log.level {
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Error => tracing::Level::ERROR,
    };
    let filter =
        Targets::new().with_default(level.min(tracing::Level::WARN)).with_target(env!("CARGO_CRATE_NAME"), level);
    let registry = tracing_subscriber::registry();
    // Fails only where a log runs already, which then goes on.
    let _ = match config.log.format {
        LogFormat::Logfmt => {
            let layer = tracing_logfmt::builder().with_span_name(false).with_target(false).layer();
            registry.with(layer.with_writer(writer).with_filter(filter)).try_init()
        }
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            registry.with(layer.with_writer(writer).with_filter(filter)).try_init()
        }
    };
}

/// Writes to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // Whoever read this has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|error| Failure::Running(format!("cannot write to standard output: {error}"))),
    }
}
