//! The serving side: the exposition, the status page, health, discovery. A request never calls the pool.

pub mod negotiation;
mod page;
pub mod web_config;

use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
    response::IntoResponse as _,
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

use crate::{
    clock::Clock,
    collector::{self, Moment, Scope, View},
    config::{Config, ListenAddress},
    model::AccountName,
    store::Store,
    telemetry::Telemetry,
};

/// How long a client may take to send the header of a request.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long open connections are waited for at the end.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections at a time on one listener; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 1024;

/// Bytes of a request's header.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// How old the heartbeat may be: it beats every second.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    /// Replaced at a reload.
    shown: RwLock<Shown>,
    /// Where the exposition is; not changed by a reload.
    telemetry_path: String,
    telemetry: Arc<Telemetry>,
    clock: Clock,
    started: Instant,
    /// Milliseconds from `started` to the last turn of the program's main loop.
    beat: AtomicU64,
    ready: AtomicBool,
    /// Scrapes at a time; `None`: any number.
    scrapes: Option<Arc<Semaphore>>,
}

/// What is served.
#[derive(Debug, Clone)]
struct Shown {
    config: Arc<Config>,
    store: Arc<Store>,
}

impl App {
    /// What the handlers of an exporter need.
    pub fn new(config: Arc<Config>, store: Arc<Store>, telemetry: Arc<Telemetry>, clock: Clock) -> Self {
        let max = config.web.max_requests;
        let scrapes = (max > 0).then(|| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))));
        let (beat, ready) = (AtomicU64::new(0), AtomicBool::new(false));
        let telemetry_path = config.web.telemetry_path.clone();
        let shown = RwLock::new(Shown { config, store });
        Self { shown, telemetry_path, telemetry, clock, started: Instant::now(), beat, ready, scrapes }
    }

    /// Serves another configuration's accounts from now on.
    pub fn show(&self, config: Arc<Config>, store: Arc<Store>) {
        // What was ready stays it, although what is new was not polled yet.
        self.is_ready();
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Shown { config, store };
    }

    fn shown(&self) -> Shown {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The main loop turns.
    pub fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(now, Ordering::Relaxed);
    }

    /// Whether everything was polled once; from then on for ever, whatever else comes to be polled.
    pub fn is_ready(&self) -> bool {
        if !self.ready.load(Ordering::Relaxed) {
            let Shown { store, .. } = self.shown();
            let polled = store.pool.attempted() && store.targets.values().all(|slots| slots.attempted());
            self.ready.fetch_or(polled, Ordering::Relaxed);
        }
        self.ready.load(Ordering::Relaxed)
    }

    fn is_healthy(&self) -> bool {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(beat) < HEARTBEAT_LIMIT
    }

    fn view(&self, Shown { config, store }: &Shown, scope: &Scope) -> View {
        let now = Moment { wall: self.clock.now(), monotonic: Instant::now() };
        View::take(config, store, &self.telemetry, scope, now)
    }
}

/// The routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(&app.telemetry_path, get(metrics))
        .route("/", get(status_page))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/sd", get(discovery))
        .fallback(|| async { text(StatusCode::NOT_FOUND, "There is nothing here; / shows what there is.\n") })
        .layer(CompressionLayer::new().gzip(true))
        .layer(axum::middleware::map_response(harden))
        .with_state(app)
}

/// Binds an address to listen on; without a host every address of the machine, IPv6 and IPv4.
///
/// # Errors
///
/// When it cannot be bound.
pub async fn bind(address: &ListenAddress) -> std::io::Result<TcpListener> {
    match &address.host {
        Some(host) => TcpListener::bind((host.as_str(), address.port)).await,
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, address.port)).await {
            // A machine without IPv6 has IPv4.
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port)).await
            }
            bound => bound,
        },
    }
}

/// Serves connections of one listener until `shutdown`, and then those that are open until they are done.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            // Nobody closes the semaphore.
            let place = places.clone().acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept => accepted,
        };
        // Ended ones are let go as new ones come.
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _peer)) => {
                // A response is one write; waiting for more would only delay it.
                let _ = stream.set_nodelay(true);
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .max_buf_size(MAX_HEADER_BYTES)
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
                let shutdown = shutdown.clone();
                connections.spawn(async move {
                    let mut connection = std::pin::pin!(connection);
                    tokio::select! {
                        // What a client did wrong is the client's matter.
                        _ = connection.as_mut() => {}
                        () = shutdown.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            let _ = connection.await;
                        }
                    }
                    drop(place);
                });
            }
            Err(error) => {
                // Out of file descriptors, for one: trying again at once would only burn the processor.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn metrics(State(app): State<Arc<App>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response<Body> {
    let _place = match app.scrapes.clone().map(Semaphore::try_acquire_owned) {
        Some(Err(_)) => {
            let message = "As many scrapes as --web.max-requests allows are being answered; try again.\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, message);
        }
        Some(Ok(place)) => Some(place),
        None => None,
    };
    let shown = app.shown();
    let Ok(scope) = scope(&shown.config, query.as_deref().unwrap_or_default()) else {
        return text(StatusCode::NOT_FOUND, "No such account is configured here.\n");
    };
    let format = negotiation::format(&headers);
    // Tens of milliseconds with ten thousand workers: not for a thread that has connections to look after.
    let rendered = tokio::task::spawn_blocking(move || collector::render(app.view(&shown, &scope), format)).await;
    match rendered {
        Ok(Ok(exposition)) => ([(header::CONTENT_TYPE, format.content_type())], exposition).into_response(),
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, "The exposition could not be written.\n"),
    }
}

/// What `?account=` narrows the exposition to; an error for an unknown account.
fn scope(config: &Config, query: &str) -> Result<Scope, ()> {
    let mut names = Vec::new();
    for (_, value) in url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "account") {
        let name: AccountName = value.parse().map_err(|_| ())?;
        if !config.own_accounts().any(|(known, _)| *known == name) {
            return Err(());
        }
        names.push(name);
    }
    Ok(if names.is_empty() { Scope::All } else { Scope::Accounts(names) })
}

async fn status_page(State(app): State<Arc<App>>) -> Response<Body> {
    let shown = app.shown();
    match page::render(&shown.config, &app.view(&shown, &Scope::All), app.clock.now()) {
        Ok(page) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be written.\n"),
    }
}

async fn healthy(State(app): State<Arc<App>>) -> Response<Body> {
    if app.is_healthy() {
        text(StatusCode::OK, "healthy\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "The program's main loop stands still.\n")
    }
}

async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    if app.is_ready() {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "Not everything was polled once yet.\n")
    }
}

/// HTTP service discovery: a target for each account, so that Prometheus can spread and relabel them.
async fn discovery(State(app): State<Arc<App>>, headers: HeaderMap) -> Response<Body> {
    let address = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.filter(|host| !host.is_empty() && host.chars().all(address)) else {
        return text(StatusCode::BAD_REQUEST, "The Host header does not name an address.\n");
    };
    let config = app.shown().config;
    let groups = config.own_accounts().map(|(name, account)| {
        let name = name.as_str().to_owned();
        let own = [("__param_account".to_owned(), name.clone()), ("__meta_btcpool_account".to_owned(), name)];
        let labels = account.labels.iter().map(|(name, value)| (format!("__meta_btcpool_label_{name}"), value.clone()));
        let labels: std::collections::BTreeMap<_, _> = own.into_iter().chain(labels).collect();
        serde_json::json!({ "targets": [host], "labels": labels })
    });
    let body = serde_json::Value::Array(groups.collect()).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn text(status: StatusCode, message: &'static str) -> Response<Body> {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], message).into_response()
}

/// Headers that keep a browser from doing more with an answer than show it.
async fn harden(mut response: Response<Body>) -> Result<Response<Body>, Infallible> {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
