//! Connections to the pool: how they are made, reused and replaced.
//!
//! A [`Channel`] is an HTTP client that holds one connection at most and serves one request at a time. So the age of each
//! connection is known, and whether a request went out on a connection that had served others before. A connection pool
//! that all requests share tells neither.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use reqwest::header::HeaderMap;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::ErrorKind;
use tokio::time::Instant;
use tower::{Layer, Service};
use url::Url;

use super::{SetupError, innermost, proxy::Route};
use crate::config::Api;

/// No request starts on a connection that is older. The name is looked up again for each new connection, so a pool that
/// moves to another address is followed within this time.
const MAX_AGE: Duration = Duration::from_secs(120);

/// Connecting (name, TCP, proxy, TLS) may take this part of `api.timeout`. It is divided among the addresses of the name,
/// so that a silent first address leaves time for the second.
const CONNECT_PART: u32 = 3;

/// The variable that names a file of trust roots.
const CERT_FILE: &str = "SSL_CERT_FILE";

/// The variable that names folders of trust roots.
const CERT_DIR: &str = "SSL_CERT_DIR";

/// Makes requests, and keeps channels for the next ones.
pub(super) struct Transport {
    route: Route,
    tls: ClientConfig,
    timeout: Duration,
    /// Channels without a request; the last one was used last.
    idle: Mutex<Vec<Channel>>,
}

/// A client with one connection at most, for one request at a time.
pub(super) struct Channel {
    http: reqwest::Client,
    created: Instant,
    /// The number of connection attempts.
    connects: Arc<AtomicU64>,
}

impl Transport {
    /// Reads the proxy variables and the trust roots.
    ///
    /// # Errors
    ///
    /// When either cannot be used.
    pub fn new(api: &Api) -> Result<Self, SetupError> {
        let route = Route::from_env(&api.base_url)?;
        // Plain HTTP needs no trust roots, which a small container may lack.
        let roots = if api.base_url.scheme() == "http" { RootCertStore::empty() } else { trust_roots()? };
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let tls = tls.with_safe_default_protocol_versions().map_err(|error| SetupError::Client(error.to_string()))?;
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let transport = Self { route, tls, timeout: api.timeout, idle: Mutex::default() };
        // What would fail for every request fails now.
        let channel = transport.new_channel().map_err(|error| SetupError::Client(innermost(&error, None)))?;
        transport.release(channel);
        Ok(transport)
    }

    /// How requests reach the pool.
    pub const fn route(&self) -> &Route {
        &self.route
    }

    /// How long connecting may take.
    pub fn connect_timeout(&self) -> Duration {
        self.timeout / CONNECT_PART
    }

    /// Sends a GET and waits for the head of the response.
    ///
    /// A server that closes an idle connection may do so at the very moment when the next request is on its way. So a
    /// request that ends on a reused connection before a complete head of a response came is sent once more, on a new
    /// connection and within the same timeout. (The HTTP library itself sends only those again of which nothing was written
    /// yet.) All requests are GETs, so that sending one twice does no harm.
    ///
    /// # Errors
    ///
    /// When no response came.
    pub async fn get(&self, url: &Url, headers: &HeaderMap) -> Result<(reqwest::Response, Channel), reqwest::Error> {
        let begin = Instant::now();
        let channel = match self.take() {
            Some(channel) => channel,
            None => self.new_channel()?,
        };
        let connects = channel.connects();
        let error = match channel.get(url, headers, self.timeout).await {
            Ok(response) => return Ok((response, channel)),
            Err(error) => error,
        };
        let reused = channel.connects() == connects;
        drop(channel);
        let left = self.timeout.saturating_sub(begin.elapsed());
        if !(reused && ended_without_response(&error)) || left.is_zero() {
            return Err(error);
        }
        let channel = self.new_channel()?;
        let response = channel.get(url, headers, left).await?;
        Ok((response, channel))
    }

    /// Keeps a channel for the next request. One whose last request failed is dropped instead, and its connection with it.
    pub fn release(&self, channel: Channel) {
        self.idle().push(channel);
    }

    /// The channel that was used last, unless its connection may be too old.
    fn take(&self) -> Option<Channel> {
        let mut idle = self.idle();
        idle.retain(|channel| channel.created.elapsed() < MAX_AGE);
        idle.pop()
    }

    fn new_channel(&self) -> Result<Channel, reqwest::Error> {
        let connects = Arc::default();
        let mut builder = super::builder().no_proxy();
        if let Some(proxy) = self.route.proxy() {
            builder = builder.proxy(reqwest::Proxy::all(proxy.url().clone())?);
        }
        let http = builder
            .tls_backend_preconfigured(self.tls.clone())
            .connect_timeout(self.connect_timeout())
            .pool_max_idle_per_host(1)
            .connector_layer(CountConnects(Arc::clone(&connects)))
            .build()?;
        Ok(Channel { http, created: Instant::now(), connects })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        // Nothing between lock and unlock can panic, so a poisoned lock holds a sound list all the same.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("route", &self.route).finish_non_exhaustive()
    }
}

impl Channel {
    async fn get(
        &self,
        url: &Url,
        headers: &HeaderMap,
        timeout: Duration,
    ) -> Result<reqwest::Response, reqwest::Error> {
        self.http.get(url.clone()).headers(headers.clone()).timeout(timeout).send().await
    }

    fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }
}

/// Whether a request that was sent ended with its connection: closed, reset, or shut down by TLS. A response that is not
/// HTTP and a timeout are something else.
fn ended_without_response(error: &reqwest::Error) -> bool {
    let chain = std::iter::successors(std::error::Error::source(error), |&error| error.source());
    let ended = |error: &hyper::Error| !error.is_parse() && !error.is_timeout() && !error.is_user();
    let mut hyper = chain.filter_map(|error| error.downcast_ref());
    error.is_request() && !error.is_connect() && !error.is_timeout() && hyper.any(ended)
}

/// Counts the connections that a client begins.
#[derive(Clone)]
struct CountConnects(Arc<AtomicU64>);

/// A connector whose calls are counted.
#[derive(Clone)]
struct CountedConnector<S> {
    inner: S,
    connects: Arc<AtomicU64>,
}

impl<S> Layer<S> for CountConnects {
    type Service = CountedConnector<S>;

    fn layer(&self, inner: S) -> CountedConnector<S> {
        CountedConnector { inner, connects: self.0.clone() }
    }
}

impl<S: Service<R>, R> Service<R> for CountedConnector<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.inner.call(request)
    }
}

/// The certificates that `SSL_CERT_FILE` and `SSL_CERT_DIR` name; without either, those of the system.
fn trust_roots() -> Result<RootCertStore, SetupError> {
    let (file, dirs) = (env::var_os(CERT_FILE), env::var_os(CERT_DIR));
    let dirs: Option<Vec<_>> = dirs.map(|dirs| env::split_paths(&dirs).collect());
    let mut roots = RootCertStore::empty();
    if let Some(file) = &file {
        add_roots(&mut roots, Some(Path::new(file)), &[])
            .map_err(|problem| SetupError::Variable { variable: CERT_FILE, problem })?;
    }
    if let Some(dirs) = &dirs {
        add_roots(&mut roots, None, dirs).map_err(|problem| SetupError::Variable { variable: CERT_DIR, problem })?;
    }
    if file.is_none() && dirs.is_none() {
        let loaded = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(loaded.certs);
        if added == 0 {
            let why = loaded.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
            return Err(SetupError::NoTrustRoots(why));
        }
    }
    Ok(roots)
}

/// Adds the certificates of a file or of folders. A folder of a list may be missing, as on a machine of another
/// distribution, but one certificate must be found.
fn add_roots(roots: &mut RootCertStore, file: Option<&Path>, dirs: &[PathBuf]) -> Result<(), String> {
    const ADVICE: &str = "name PEM certificates, or unset the variable to use those of the system";
    let (mut added, mut problem) = (0, None);
    for path in file.into_iter().chain(dirs.iter().map(PathBuf::as_path)) {
        if path.as_os_str().is_empty() {
            // An empty part of a list.
            continue;
        }
        let loaded = match file {
            Some(file) => rustls_native_certs::load_certs_from_paths(Some(file), None),
            None => rustls_native_certs::load_certs_from_paths(None, Some(path)),
        };
        let unreadable = loaded.errors.iter().find_map(|error| match &error.kind {
            ErrorKind::Io { inner, path: of } if of == path => Some(inner),
            _ => None,
        });
        if let Some(error) = unreadable {
            problem.get_or_insert_with(|| format!("{}: {error}; {ADVICE}", path.display()));
        }
        added += roots.add_parsable_certificates(loaded.certs).0;
    }
    if added == 0 {
        if let Some(problem) = problem {
            return Err(problem);
        }
        let paths: Vec<_> = file.into_iter().chain(dirs.iter().map(PathBuf::as_path)).collect();
        let paths = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        let paths =
            if paths.is_empty() { "the value is empty".to_owned() } else { format!("no certificate in {paths}") };
        return Err(format!("{paths}; {ADVICE}"));
    }
    Ok(())
}
