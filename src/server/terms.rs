//! On what terms clients are served: what a web configuration means for connections and requests.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use rustls::ServerConfig;

use super::{
    harden, text, tls,
    users::{Admission, Users},
    web_config::{RateLimit, WebConfig},
};
use crate::config::{ConfigError, sources::Sources};

/// The path that is told to be ill even to strangers.
const HEALTHY: &str = "/-/healthy";

/// Paths without a rate limit: a stranger who uses it up must not have the exporter restarted by its probes.
const PROBES: [&str; 2] = [HEALTHY, "/-/ready"];

/// The terms in use, and where they are written.
#[derive(Debug)]
pub struct Web {
    file: Option<PathBuf>,
    terms: RwLock<Arc<Terms>>,
}

/// On what terms clients are served.
#[derive(Debug, Default)]
pub struct Terms {
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// When the certificate expires, if there is one.
    pub certificate_not_after: Option<Timestamp>,
    /// What is allowed but unwise, for the log.
    pub warnings: Vec<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// `None`: everybody may ask.
    users: Option<Users>,
    limit: Option<Limiter>,
    /// The same limit for passwords that clients try on [`PROBES`], so that those paths are not the way to guess one.
    probe_logins: Option<Limiter>,
    sources: Sources,
}

impl Web {
    /// Plain HTTP, for everybody.
    pub fn plain() -> Self {
        Self { file: None, terms: RwLock::default() }
    }

    /// The terms of a web configuration's file; without one those of [`Web::plain`].
    ///
    /// # Errors
    ///
    /// When the file, or one that it names, is not as it should be.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let terms = file.map(Terms::read).transpose()?.unwrap_or_default();
        Ok(Self { file: file.map(Path::to_owned), terms: RwLock::new(Arc::new(terms)) })
    }

    /// The terms in use.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the files hold something else than they did. Reads them.
    pub fn has_changed(&self) -> bool {
        self.terms().sources.have_changed()
    }

    /// Reads the files anew, if they hold something else; what is in use stays until [`Web::take_up`].
    ///
    /// # Errors
    ///
    /// As [`Web::load`].
    pub fn read_anew(&self) -> Result<Option<Terms>, ConfigError> {
        match &self.file {
            Some(file) if self.has_changed() => Terms::read(file).map(Some),
            _ => Ok(None),
        }
    }

    /// Serves on other terms from now on. Connections that are open stay as they are; requests on them do not.
    pub fn take_up(&self, mut terms: Terms) {
        let mut current = self.terms.write().unwrap_or_else(PoisonError::into_inner);
        if let (Some(users), Some(before)) = (&mut terms.users, &current.users) {
            users.inherit(before);
        }
        *current = Arc::new(terms);
    }
}

impl Terms {
    fn read(file: &Path) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        let config = WebConfig::read(file, &mut sources)?;
        let error = |error: String| ConfigError::new(file.display().to_string().as_str(), error);
        let mut certificate_not_after = None;
        let tls = match &config.tls {
            None => None,
            Some(tls) => {
                let credentials = tls.load(&mut sources)?;
                certificate_not_after = credentials.certified_key.end_entity_cert().ok().and_then(tls::not_after);
                let config = tls::server_config(tls, &credentials, config.http2)
                    .map_err(|cause| error(format!("tls_server_config: not fit for use: {cause}")))?;
                Some(Arc::new(config))
            }
        };
        let open = config.users.is_empty();
        let users = Users::new(config.users);
        if users.is_none() && !open {
            return Err(error("basic_auth_users: the system gives no random numbers".to_owned()));
        }
        let [limit, probe_logins] = [config.rate_limit, config.rate_limit].map(|limit| limit.map(Limiter::new));
        Ok(Self {
            tls,
            certificate_not_after,
            warnings: config.warnings,
            headers: config.headers,
            users,
            limit,
            probe_logins,
            sources,
        })
    }

    /// Answers a request from an address, or says why not.
    pub async fn answer(&self, router: Router, request: Request<Body>, peer: IpAddr) -> Response<Body> {
        let refusal = if has_one_host(&request) {
            self.refuse(request.uri().path(), request.headers(), peer).await
        } else {
            Some(harden(text(StatusCode::BAD_REQUEST, "A request must have one Host header.\n")))
        };
        let mut response = match refusal {
            None => route(router, request).await,
            Some(refusal) if request.uri().path() == HEALTHY && refusal.status() == StatusCode::UNAUTHORIZED => {
                // Whoever only asks for the health has no password; that the program is ill is not kept from them.
                match route(router, request).await {
                    ill if ill.status().is_server_error() => ill,
                    _ => refusal,
                }
            }
            Some(refusal) => refusal,
        };
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }

    async fn refuse(&self, path: &str, headers: &HeaderMap, peer: IpAddr) -> Option<Response<Body>> {
        let limited = || {
            let message = "More requests than the rate limit of the web configuration allows; try again later.\n";
            Some(harden(text(StatusCode::TOO_MANY_REQUESTS, message)))
        };
        let allows = |limit: &Option<Limiter>| limit.as_ref().is_none_or(|limit| limit.allow(Instant::now()));
        let is_probe = PROBES.contains(&path);
        if !is_probe && !allows(&self.limit) {
            return limited();
        }
        let users = self.users.as_ref()?;
        match users.admit(headers.get(header::AUTHORIZATION), peer, || !is_probe || allows(&self.probe_logins)).await {
            Admission::Granted => return None,
            Admission::Refused => {}
            Admission::Limited => return limited(),
            Admission::Busy => {
                let message = "Too many logins are waiting. Try again later.\n";
                return Some(harden(text(StatusCode::SERVICE_UNAVAILABLE, message)));
            }
        }
        let message = "A user's name and password are needed, as the web configuration has them.\n";
        let mut refusal = harden(text(StatusCode::UNAUTHORIZED, message));
        let challenge = HeaderValue::from_static("Basic realm=\"btcpool-exporter\", charset=\"UTF-8\"");
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        Some(refusal)
    }
}

/// Whether it is clear which host a request is for: HTTP/1.1 demands a Host header, and none allows two.
fn has_one_host(request: &Request<Body>) -> bool {
    match request.headers().get_all(header::HOST).iter().count() {
        0 => request.version() != Version::HTTP_11,
        1 => true,
        _ => false,
    }
}

async fn route(router: Router, request: Request<Body>) -> Response<Body> {
    match TowerToHyperService::new(router).call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// How often may be asked: a bucket of tokens, kept as the moment at which it will be full.
#[derive(Debug)]
struct Limiter {
    limit: RateLimit,
    full_at: Mutex<Instant>,
}

impl Limiter {
    fn new(limit: RateLimit) -> Self {
        Self { limit, full_at: Mutex::new(Instant::now()) }
    }

    /// Takes a token, if there is one.
    fn allow(&self, now: Instant) -> bool {
        let RateLimit { interval, burst } = self.limit;
        let whole = interval.checked_mul(burst).unwrap_or(Duration::MAX);
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(then) = (*full_at).max(now).checked_add(interval) else { return false };
        let allowed = then.saturating_duration_since(now) <= whole;
        if allowed {
            *full_at = then;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn verified_passwords_outlive_a_change_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("web.yml");
        // A hash of "a", which takes more than a moment to compute.
        let users =
            "basic_auth_users: { alice: $2a$08$cfcvVd2aQ8CMvoMpP2EBfeodLEkkFJ9umNEfPD18.hUF62qqlC/V. }\n".to_owned();
        std::fs::write(&file, &users).unwrap();
        let web = Web::load(Some(&file)).unwrap();
        let alice = HeaderValue::from_static("Basic YWxpY2U6YQ==");
        let (terms, peer) = (web.terms(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(terms.users.as_ref().unwrap().admit(Some(&alice), peer, || true).await, Admission::Granted);
        std::fs::write(&file, users + "rate_limit: { interval: 1s, burst: 20 }\n").unwrap();
        web.take_up(web.read_anew().unwrap().unwrap());
        let terms = web.terms();
        assert!(terms.limit.is_some());
        assert_eq!(
            terms.users.as_ref().unwrap().admit(Some(&alice), peer, || true).now_or_never(),
            Some(Admission::Granted)
        );
    }
}
