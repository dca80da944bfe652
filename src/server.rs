//! The serving side: the exposition, the status page, health, discovery. A request never calls the pool.

mod connections;
mod exposition;
mod login_queue;
pub mod negotiation;
pub mod page;
mod refusals;
mod terms;
mod tls;
mod users;
pub mod web_config;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr},
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{Extension, RawQuery, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header},
    middleware::Next,
    response::IntoResponse as _,
    routing::{get, post},
};
use futures_util::future::BoxFuture;
use hyper::body::{Frame, SizeHint};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

use crate::{
    budget::Budget,
    clock::Clock,
    collector::{
        Own, Scope,
        kept::{Encoding, Rendition},
    },
    config::{Config, ListenAddress},
    demand::Demand,
    model::AccountName,
    store::Store,
    telemetry::Telemetry,
};
pub use connections::{DRAIN_TIMEOUT, Limits, Server};
use exposition::Expositions;
pub use terms::{Terms, Web};

/// How old the heartbeat may be: it beats every second.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);

/// Expositions are made anew no more often because of polls; a scrape does not wait for that.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// Connections that the kernel holds until they are accepted; the number that tokio and Rust's library use.
const BACKLOG: u32 = 1024;

/// What the handlers share.
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
    /// Requests answered at a time; `None`: any number.
    places: Option<Arc<Semaphore>>,
    /// `None`: nobody may have the configuration taken up anew over HTTP.
    reload: Option<Reload>,
}

/// Takes up the configuration anew, or says why not.
pub type Reload = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What is served.
#[derive(Debug, Clone)]
struct Shown {
    config: Arc<Config>,
    store: Arc<Store>,
    budget: Arc<Budget>,
    expositions: Arc<Expositions>,
}

impl Shown {
    fn new(config: Arc<Config>, store: Arc<Store>, budget: Arc<Budget>, clock: Clock) -> Self {
        let expositions = Arc::new(Expositions::new(config.clone(), store.clone(), clock));
        Self { config, store, budget, expositions }
    }
}

impl App {
    /// What the handlers of an exporter need.
    pub fn new(
        config: Arc<Config>,
        store: Arc<Store>,
        telemetry: Arc<Telemetry>,
        clock: Clock,
        budget: Arc<Budget>,
        reload: Option<Reload>,
    ) -> Self {
        let max = config.web.max_requests;
        let places = (max > 0).then(|| Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))));
        let (beat, ready) = (AtomicU64::new(0), AtomicBool::new(false));
        let telemetry_path = config.web.telemetry_path.clone();
        let shown = RwLock::new(Shown::new(config, store, budget, clock));
        Self { shown, telemetry_path, telemetry, clock, started: Instant::now(), beat, ready, places, reload }
    }

    /// Serves another configuration's accounts from now on.
    pub fn show(&self, config: Arc<Config>, store: Arc<Store>, budget: Arc<Budget>) {
        // What was ready stays it, although what is new was not polled yet.
        self.is_ready();
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Shown::new(config, store, budget, self.clock);
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
            self.ready.fetch_or(self.shown().store.tally().waiting == 0, Ordering::Relaxed);
        }
        self.ready.load(Ordering::Relaxed)
    }

    /// Whether the main loop has turned of late.
    pub fn is_healthy(&self) -> bool {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(beat) < HEARTBEAT_LIMIT
    }

    /// Makes the expositions anew when polls end, so that no scrape has to; ends never.
    pub async fn keep_expositions(&self) {
        let mut changes = self.shown().store.changes.watch();
        // The other end is in the store that is shown, and in all that follow it.
        while changes.changed().await.is_ok() {
            self.shown().expositions.refresh().await;
            // Polls that end together are one change.
            tokio::time::sleep(REFRESH_EVERY).await;
        }
    }
}

/// The routes.
pub fn router(app: Arc<App>) -> Router {
    let limited = axum::middleware::from_fn_with_state(app.clone(), limit);
    Router::new()
        .route("/", get(status_page))
        .route("/sd", get(discovery))
        .layer(CompressionLayer::new().gzip(true))
        // Packs by itself.
        .route(&app.telemetry_path, get(metrics))
        // Behind the compression: what it has not packed yet is not handed over.
        .route_layer(limited)
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload))
        .fallback(|| async { text(StatusCode::NOT_FOUND, "There is nothing here; / shows what there is.\n") })
        .layer(axum::middleware::map_response(async |response| harden(response)))
        .with_state(app)
}

/// Binds an address to listen on. Without a host, and for `[::]`, it is every address of the machine, IPv6 and IPv4.
///
/// # Errors
///
/// When it cannot be bound.
pub async fn bind(address: &ListenAddress) -> io::Result<TcpListener> {
    match &address.host {
        Some(host) if host.parse() == Ok(Ipv6Addr::UNSPECIFIED) => bind_every_address(address.port),
        Some(host) => TcpListener::bind((host.as_str(), address.port)).await,
        None => match bind_every_address(address.port) {
            // A machine without IPv6 has IPv4.
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port)).await
            }
            bound => bound,
        },
    }
}

/// Binds an IPv6 socket that takes IPv4 connections too, whatever `net.ipv6.bindv6only` says.
fn bind_every_address(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    socket.set_reuseaddr(true)?;
    rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}

/// Serves connections of one listener until `shutdown`: plain HTTP, for everybody.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    Server::new(router, Arc::new(Web::plain()), Limits::default()).serve(listener, shutdown).await;
}

/// Lets only so many requests be answered at a time. A request counts until its answer is handed over: whatever lies in
/// an answer's extensions is held so long.
async fn limit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response<Body> {
    let place = match app.places.clone().map(Semaphore::try_acquire_owned) {
        Some(Err(_)) => {
            let message = "As many requests as --web.max-requests allows are being answered; try again.\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, message);
        }
        Some(Ok(place)) => Some(Place(Arc::new(place))),
        None => None,
    };
    // What goes on in another thread goes on when the client has left, and holds the place as long.
    request.extensions_mut().insert(place.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(place);
    response
}

/// A place among the requests that are answered; `None` where any number may be.
type Placed = Option<Place>;

#[derive(Clone)]
struct Place(#[expect(dead_code, reason = "held for its drop")] Arc<OwnedSemaphorePermit>);

async fn metrics(
    State(app): State<Arc<App>>,
    Extension(place): Extension<Placed>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let shown = app.shown();
    let Ok(scope) = scope(&shown.config, query.as_deref().unwrap_or_default()) else {
        let message =
            "No account of this name is configured here, or it belongs to another shard; / lists those that are.\n";
        return text(StatusCode::NOT_FOUND, message);
    };
    let whole = scope == Scope::All;
    let (format, encoding) = (negotiation::format(&headers), negotiation::encoding(&headers));
    let expositions = shown.expositions;
    let rendition = match &scope {
        Scope::All | Scope::WithoutProcess => expositions.current(format, encoding).await,
        Scope::Accounts(_) => {
            let rendering = tokio::task::spawn_blocking(move || {
                let _place = place;
                Rendition::new(&expositions.view(&scope), format, encoding, None).map(Arc::new)
            });
            rendering.await.unwrap_or(Err(fmt::Error))
        }
    };
    // Files of /proc are read on the spot: they are no disk's, and another thread would cost more.
    let parts = rendition.and_then(|rendition| rendition.with(whole.then(|| Own::read(&app.telemetry)).as_ref()));
    let Ok(parts) = parts else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "The exposition could not be written.\n");
    };
    let mut response = Response::new(Body::new(Parts::new(parts)));
    let content_type = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if encoding == Encoding::Gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A body that is there already.
struct Parts {
    parts: std::vec::IntoIter<Bytes>,
    left: u64,
}

impl Parts {
    fn new(parts: Vec<Bytes>) -> Self {
        let left = parts.iter().map(|part| part.len() as u64).sum();
        Self { parts: parts.into_iter(), left }
    }
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.parts.next();
        self.left -= part.as_ref().map_or(0, |part| part.len() as u64);
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The scope of a query: the accounts that `?account=` names, each once; an error for an unknown one.
fn scope(config: &Config, query: &str) -> Result<Scope, ()> {
    let mut names = BTreeSet::new();
    for (_, value) in url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "account") {
        let name: AccountName = value.parse().map_err(|_| ())?;
        if !config.accounts.contains_key(&name) {
            return Err(());
        }
        names.insert(name);
    }
    Ok(if names.is_empty() { Scope::All } else { Scope::Accounts(names) })
}

async fn status_page(
    State(app): State<Arc<App>>,
    Extension(place): Extension<Placed>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response<Body> {
    let wanted = page::Wanted::of(query.as_deref().unwrap_or_default(), negotiation::language(&headers));
    // Of thousands of targets it takes milliseconds, which a scrape need not wait for.
    let drawing = tokio::task::spawn_blocking(move || {
        let _place = place;
        let Shown { config, store, budget, expositions } = app.shown();
        let subject = page::Subject {
            config: &config,
            view: &expositions.view(&Scope::All),
            figures: &app.telemetry.snapshot(),
            usage: budget.usage(),
            demand: Demand::of(&config, &store),
            now: app.clock.now(),
            up: app.started.elapsed(),
        };
        page::render(&subject, &wanted)
    });
    match drawing.await {
        Ok(Ok(page)) => {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::VARY, "accept-language"),
                (header::CONTENT_SECURITY_POLICY, page::content_security_policy()),
            ];
            (headers, page).into_response()
        }
        _ => text(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be written.\n"),
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
async fn discovery(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let address = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    let Some(host) = asked(&uri, &headers).filter(|host| !host.is_empty() && host.chars().all(address)) else {
        return text(
            StatusCode::BAD_REQUEST,
            "The Host header is missing, is not an address, or differs from the request line.\n",
        );
    };
    let config = app.shown().config;
    let groups = config.accounts.iter().map(|(name, account)| {
        let name = name.as_str().to_owned();
        let own = [("__param_account".to_owned(), name.clone()), ("__meta_btcpool_account".to_owned(), name)];
        let labels = account.labels.iter().map(|(name, value)| (format!("__meta_btcpool_label_{name}"), value.clone()));
        let labels: BTreeMap<_, _> = own.into_iter().chain(labels).collect();
        serde_json::json!({ "targets": [host], "labels": labels })
    });
    let body = serde_json::Value::Array(groups.collect()).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Takes up the configuration anew, for whoever may.
async fn reload(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let Some(reload) = &app.reload else {
        let message = "Reloading over HTTP is off: start with --web.enable-lifecycle, or send SIGHUP.\n";
        return text(StatusCode::FORBIDDEN, message);
    };
    // A browser says so when another site's page has it ask; over plain HTTP only by the origin.
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let origin = headers.get(header::ORIGIN).map(|origin| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        origin.map(|(_, address)| address)
    });
    let own = asked(&uri, &headers);
    if site.is_some_and(|site| site != b"same-origin" && site != b"none")
        || origin.is_some_and(|origin| origin.is_none() || origin != own)
    {
        return text(StatusCode::FORBIDDEN, "Another site's page may not do this.\n");
    }
    match reload().await {
        Ok(()) => text(StatusCode::OK, "The configuration was loaded anew.\n"),
        Err(error) => {
            let message = format!("The configuration was not taken up; the one before stays in use: {error}\n");
            text(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
    }
}

/// The address that a client asked: of the request line, as HTTP/2 and proxies have it, or of the Host header. `None` when
/// there is none, or both and they differ.
fn asked<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let authority = uri.authority().map(|authority| authority.as_str());
    match (authority, headers.get(header::HOST)) {
        (None, None) => None,
        (Some(authority), None) => Some(authority),
        (authority, Some(host)) => {
            let host = host.to_str().ok()?;
            authority.is_none_or(|authority| authority.eq_ignore_ascii_case(host)).then_some(host)
        }
    }
}

fn text(status: StatusCode, message: impl Into<Body>) -> Response<Body> {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], message.into()).into_response()
}

/// Headers that keep a browser from doing more with an answer than show it.
fn harden(mut response: Response<Body>) -> Response<Body> {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in HEADERS {
        // The status page has a policy of its own, for its style and its script.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
