//! The pool's API: one private request, one thin typed method for each endpoint, and an error whose variants are what
//! one would do about it. Only this module knows HTTP on the pool's side.
//!
//! [`wire`] turns an answer's text into the [`model`](crate::model); [`paging`] reads lists that come in pages.

mod body;
pub mod health;
pub mod paging;
pub mod proxy;
mod transport;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::civil::Date;
use reqwest::{
    StatusCode,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    budget::{Budget, Permit},
    clock::Clock,
    config::{Api, ApiKey, RejectRateUnit, duration_text},
    history::{Income, Payments},
    model::{AccountName, Endpoint, PoolStats, Reason, Summary, Target, plays_tricks},
    telemetry::Telemetry,
    wire::{self, Anomalies, AnswerError, Page, Workers},
};
use body::UnpackError;
use paging::{Listing, ReadOptions};
use proxy::{Proxy, Route};
use transport::Transport;

/// The header that carries the key.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-api-key");

/// So many characters in a row of the key make a message of the pool unfit to be shown.
const PART_IN_MESSAGES: usize = 6;

/// The same for a worker's name. Thousands of names that are serial numbers would hold six characters by chance.
const PART_IN_NAMES: usize = 12;

/// So many bytes are made room for when an answer says that it will be as long.
const MOST_EXPECTED: usize = 1 << 20;

/// The log has as many anomalies at most, so that an API that changed does not flood it.
const MAX_LOGGED: usize = 1000;
/// The minimum of worker rows to read, however small `workers.max` is. What is cut can then be counted, and the order of a
/// list that is not much longer does not matter.
const MIN_WORKER_ROWS: usize = 20_000;

/// A history with more rows is not read: centuries of daily payouts.
const MAX_HISTORY_ROWS: usize = 200_000;

/// How much of the pool's own message is shown, in characters.
const MESSAGE_CHARACTERS: usize = 200;

/// Why the pool's answer could not be had. The text is for the log: it never holds a key, and of the answer only the
/// pool's own message or a redirect's target, cleaned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// No complete answer within `api.timeout`.
    #[error("no complete answer within {}; is the pool slow, or api.timeout too short?", duration_text(*.0))]
    Timeout(Duration),
    /// No connection within the part of `api.timeout` that connecting may take.
    #[error(
        "no connection {} within {}; check {}, the network and the firewall (connecting may take a third of api.timeout)",
        to_pool(proxy.as_deref()),
        duration_text(*limit),
        addresses_to_check(proxy.as_deref())
    )]
    ConnectTimeout {
        /// How long connecting may take.
        limit: Duration,
        /// The proxy on the way.
        proxy: Option<Arc<Proxy>>,
    },
    /// Refused, unreachable, reset, cut before the promised length, or no HTTP.
    #[error(
        "the connection {} failed: {cause}; check {}, the network and the firewall",
        to_pool(proxy.as_deref()),
        addresses_to_check(proxy.as_deref())
    )]
    Connect {
        /// What happened.
        cause: String,
        /// The proxy on the way.
        proxy: Option<Arc<Proxy>>,
    },
    /// The proxy is not reached, or opens no connection to the pool.
    #[error("the connection to the proxy {} failed: {cause}; check {}", proxy.address, proxy.variable)]
    ProxyConnect {
        /// What happened.
        cause: String,
        /// The proxy.
        proxy: Arc<Proxy>,
    },
    /// The host's name cannot be resolved: the proxy's, where there is one.
    #[error(
        "the host name of {} cannot be resolved: {cause}; check {} and this machine's DNS",
        first_hop(proxy.as_deref()),
        proxy.as_ref().map_or("api.base_url", |proxy| proxy.variable)
    )]
    Dns {
        /// What happened.
        cause: String,
        /// The proxy whose name it is.
        proxy: Option<Arc<Proxy>>,
    },
    /// No trusted TLS connection to the pool.
    #[error(
        "no trusted TLS connection {}: {cause}; check this machine's clock and CA certificates{}",
        to_pool(proxy.as_deref()),
        if proxy.is_some() { " (a proxy that inspects TLS has a CA of its own)" } else { "" }
    )]
    Tls {
        /// What happened.
        cause: String,
        /// The proxy on the way.
        proxy: Option<Arc<Proxy>>,
    },
    /// No trusted TLS connection to the proxy.
    #[error(
        "no trusted TLS connection to the proxy {}: {cause}; check whether {} should begin with http:// or https://, and \
         this machine's clock and CA certificates",
        proxy.address,
        proxy.variable
    )]
    ProxyTls {
        /// What happened.
        cause: String,
        /// The proxy.
        proxy: Arc<Proxy>,
    },
    /// 401 or 403.
    #[error("the pool refused {} (HTTP {status}); {}", what_was_refused(*with_key), what_to_check(*with_key))]
    Auth {
        /// The status.
        status: u16,
        /// Whether a key was sent.
        with_key: bool,
    },
    /// 429.
    #[error("the pool says it is asked too often (HTTP 429); lower api.requests_per_second or lengthen the intervals")]
    RateLimited {
        /// For how long it wants to be left alone, if it said.
        retry_after: Option<Duration>,
    },
    /// Another status from 400 on.
    #[error("the pool answered HTTP {status}{}", what_may_be_behind(*status))]
    Http {
        /// The status.
        status: u16,
        /// For how long it wants to be left alone, if it said.
        retry_after: Option<Duration>,
    },
    /// A redirect, which is not followed: the key would go along.
    #[error("the pool redirects (HTTP {status}) to {target}; if the API has moved there, change api.base_url")]
    Redirect {
        /// The status.
        status: u16,
        /// Host and path, cleaned.
        target: String,
    },
    /// An empty body, or one that does not begin as JSON.
    #[error("the answer is {0}, not JSON; does api.base_url still lead to the API?")]
    NotJson(&'static str),
    /// Begins as JSON, and is broken, cut, or of the wrong shape.
    #[error("the answer is not of the documented shape: {0}")]
    Decode(String),
    /// More than `api.max_response_bytes` after decompression.
    #[error("the answer has more than {0} bytes; lower api.page_size, or raise api.max_response_bytes")]
    BodyTooLarge(usize),
    /// `status` was not `OK`.
    #[error("the pool reports an error: {0}")]
    Api(String),
    /// A page of several could not be had, so the list is not whole.
    #[error("the list is not complete: {0}")]
    Incomplete(String),
    /// The list has more pages or rows than are read.
    #[error("the list is not complete: {0}")]
    TooLong(String),
}

impl FetchError {
    /// Of an answer that is none; `clean` makes the pool's words fit to be shown.
    pub fn of(error: AnswerError, clean: impl FnOnce(&str) -> String) -> Self {
        match error {
            AnswerError::NotJson(looks) => Self::NotJson(looks),
            AnswerError::Shape(error) => Self::Decode(error.to_string()),
            AnswerError::Api(words) => Self::Api(clean(&words)),
        }
    }

    /// The label's value.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Timeout(_) | Self::ConnectTimeout { .. } => Reason::Timeout,
            Self::Connect { .. } | Self::ProxyConnect { .. } => Reason::Connect,
            Self::Dns { .. } => Reason::Dns,
            Self::Tls { .. } | Self::ProxyTls { .. } => Reason::Tls,
            Self::Auth { .. } => Reason::Auth,
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::Http { status: 500.., .. } => Reason::Http5xx,
            Self::Http { .. } => Reason::Http4xx,
            Self::Redirect { .. } => Reason::Redirect,
            Self::NotJson(_) => Reason::NotJson,
            Self::Decode(_) => Reason::Decode,
            Self::BodyTooLarge(_) => Reason::BodyTooLarge,
            Self::Api(_) => Reason::ApiError,
            Self::Incomplete(_) | Self::TooLong(_) => Reason::Incomplete,
        }
    }

    /// Whether the same question may be answered a little later.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::ConnectTimeout { .. } => true,
            Self::Connect { .. } | Self::ProxyConnect { .. } | Self::Dns { .. } => true,
            Self::RateLimited { .. } | Self::Incomplete(_) => true,
            Self::Http { status, .. } => *status >= 500,
            _ => false,
        }
    }

    /// Whether the pool says that it is asked too much, or is overloaded.
    const fn is_overload(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Http { status: 503, .. })
    }

    /// For how long the pool wants to be left alone.
    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Http { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Asks the pool. Cloning shares everything.
#[derive(Debug, Clone)]
pub struct PoolClient {
    transport: Arc<Transport>,
    api: Api,
    budget: Arc<Budget>,
    telemetry: Arc<Telemetry>,
    /// Reads the dates of Retry-After.
    clock: Clock,
    /// Anomalies that were logged: further ones of the same account and field are only counted.
    logged: Arc<Mutex<HashSet<Logged>>>,
    /// How the last reading of each list ended that lacked rows or was read twice.
    unsettled: Arc<Mutex<HashMap<ListKey, Unsettled>>>,
}

/// A list of a target, whole or from a day on.
type ListKey = (Endpoint, Target, bool);

/// How the last reading of a list ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Unsettled {
    /// Rows that the pool reports and did not give.
    missing: u64,
    /// Whether the list was read twice.
    was_read_twice: bool,
}

/// An anomaly in the log: endpoint, account and field.
type Logged = (Endpoint, Option<AccountName>, &'static str);

/// What is asked, beside the method.
#[derive(Clone, Copy)]
struct Question<'a> {
    endpoint: Endpoint,
    /// Whose figures; `main_stat` is about nobody.
    target: Option<(&'a Target, &'a ApiKey)>,
    /// Offset and limit, in rows.
    page: Option<(usize, usize)>,
    /// The first day wanted.
    from: Option<Date>,
}

/// A request that was sent: it is counted when this is dropped, so that one that is given up halfway is counted, too.
struct Counted<'a> {
    telemetry: &'a Telemetry,
    endpoint: Endpoint,
    status: Option<StatusCode>,
    begin: Instant,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.telemetry.request(self.endpoint, self.status.map(|status| status.as_u16()), self.begin.elapsed());
    }
}

const fn what_was_refused(with_key: bool) -> &'static str {
    if with_key { "the key" } else { "to answer" }
}

/// The way to the pool, in a message.
fn to_pool(proxy: Option<&Proxy>) -> String {
    proxy.map_or_else(|| "to the pool".to_owned(), |proxy| format!("to the pool through the proxy {}", proxy.address))
}

/// Whose name is resolved, in a message.
fn first_hop(proxy: Option<&Proxy>) -> String {
    proxy.map_or_else(|| "the pool".to_owned(), |proxy| format!("the proxy {}", proxy.address))
}

/// What to check when a connection fails.
fn addresses_to_check(proxy: Option<&Proxy>) -> String {
    proxy.map_or_else(|| "api.base_url".to_owned(), |proxy| format!("{}, api.base_url", proxy.variable))
}

/// Where to look after a status.
const fn what_may_be_behind(status: u16) -> &'static str {
    match status {
        404 | 410 => "; does api.base_url still lead to the API?",
        500.. => "; the trouble is at the pool",
        _ => "",
    }
}

const fn what_to_check(with_key: bool) -> &'static str {
    if with_key {
        "is it the key of this account, and is this IP address allowed to use it?"
    } else {
        "is this IP address blocked?"
    }
}

/// The HTTP client cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A variable of the environment that names a proxy or trust roots cannot be used.
    #[error("{variable}: {problem}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// Why, and what to write. It never holds a proxy's credentials.
        problem: String,
    },
    /// The system has no trust roots.
    #[error("this machine has no CA certificates{0}; are they installed (Debian: ca-certificates)?")]
    NoTrustRoots(String),
    /// The HTTP library refuses.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
}

impl PoolClient {
    /// A client for one pool.
    ///
    /// # Errors
    ///
    /// When the trust roots or the proxy that the environment names cannot be used.
    pub fn new(api: Api, budget: Arc<Budget>, telemetry: Arc<Telemetry>, clock: Clock) -> Result<Self, SetupError> {
        let transport = Arc::new(Transport::new(&api)?);
        // What may be odd one day is counted from the start, so that its first time is an increase.
        for endpoint in Endpoint::ALL {
            wire::fields(endpoint).for_each(|field| telemetry.anomalies(endpoint, field, 0));
        }
        Ok(Self { transport, api, budget, telemetry, clock, logged: Arc::default(), unsettled: Arc::default() })
    }

    /// Statistics of the whole pool. Sends no key.
    ///
    /// # Errors
    ///
    /// [`FetchError`], as for every method here.
    pub async fn main_stat(&self) -> Result<PoolStats, FetchError> {
        self.ask(Question::about_nobody(Endpoint::MainStat), wire::main_stat).await
    }

    /// One account's figures of one currency.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn summary_data(&self, target: &Target, key: &ApiKey) -> Result<Summary, FetchError> {
        self.ask(Question::about(Endpoint::SummaryData, target, key), wire::summary_data).await
    }

    /// Returns the workers, from as many pages as there are. `max` is how many of them are exported at most: of a longer
    /// list twice as many rows are read, and at least 20,000.
    ///
    /// # Errors
    ///
    /// [`FetchError`]; `Incomplete` when a page after the first could not be had.
    pub async fn workers(&self, target: &Target, key: &ApiKey, max: usize) -> Result<Workers, FetchError> {
        let unit = self.api.reject_rate_unit;
        let question = Question::about(Endpoint::Workers, target, key);
        let max_rows = max.saturating_mul(2).max(MIN_WORKER_ROWS);
        let decode = move |text: &str, anomalies: &mut Anomalies| wire::workers(text, unit, anomalies);
        let (listing, pages) = self.list(question, max_rows, decode).await?;
        if listing.is_cut && self.is_first(&question, "workers.max") {
            tracing::warn!(
                account = target.account.as_str(),
                currency = target.currency.as_str(),
                endpoint = %question.endpoint,
                reported = listing.reported,
                read = listing.received(),
                max,
                "the worker list is longer than workers.max allows to read; the rest is dropped (logged once for each account)",
            );
        }
        let (reported, not_read) = (listing.reported, listing.not_read());
        let mut list: Vec<_> = listing.rows.into_sorted().into_iter().map(|(_, worker)| worker).collect();
        // The list is held until the next one comes.
        list.shrink_to_fit();
        // Miners choose the names; a key that one pasted there is kept out of the labels all the same.
        let parts = KeyParts::new(key, PART_IN_NAMES);
        for worker in list.iter_mut().filter(|worker| parts.are_in(&worker.name)) {
            worker.name = "(name withheld: it quotes the key)".into();
        }
        Ok(Workers { list, reported, not_read, pages })
    }

    /// Income by day, from `from` on; without it, all there is.
    ///
    /// # Errors
    ///
    /// As for [`PoolClient::workers`].
    pub async fn profit_history(
        &self,
        target: &Target,
        key: &ApiKey,
        from: Option<Date>,
    ) -> Result<Income, FetchError> {
        let question = Question { from, ..Question::about(Endpoint::ProfitHistory, target, key) };
        let listing = self.history(question, wire::profit_history).await?;
        Ok(Income {
            unread: listing.left_out,
            days: listing.rows.into_sorted().into_iter().collect(),
            ..Income::default()
        })
    }

    /// Payouts, from `from` on; without it, all there are.
    ///
    /// # Errors
    ///
    /// As for [`PoolClient::workers`].
    pub async fn payment_history(
        &self,
        target: &Target,
        key: &ApiKey,
        from: Option<Date>,
    ) -> Result<Payments, FetchError> {
        let question = Question { from, ..Question::about(Endpoint::PaymentHistory, target, key) };
        let listing = self.history(question, wire::payment_history).await?;
        Ok(Payments { unread: listing.left_out, by_id: listing.rows.into_sorted().into_iter().collect() })
    }

    /// What its requests come out of.
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// How its requests reach the pool.
    pub fn route(&self) -> &Route {
        self.transport.route()
    }

    /// For how long the pool wants to be left alone yet.
    pub fn pause_left(&self) -> Option<Duration> {
        self.budget.pause_left()
    }

    /// The same, but a list's pages are asked for one after the other.
    pub fn careful(&self) -> Self {
        Self { api: Api { concurrency: 1, ..self.api.clone() }, ..self.clone() }
    }

    /// Keeps to what the pool said to another client of being asked too much.
    pub fn take_over(&self, before: &Self) {
        self.budget.take_over(&before.budget);
    }

    /// Forgets how the lists of all other targets ended.
    pub fn retain_targets(&self, is_kept: impl Fn(&Target) -> bool) {
        self.unsettled().retain(|(_, target, _), _| is_kept(target));
    }

    /// Reads a history. One that is cut would make its sums too small.
    async fn history<K: Ord, T>(
        &self,
        question: Question<'_>,
        decode: impl Fn(&str, &mut Anomalies) -> Result<Page<K, T>, AnswerError> + Copy,
    ) -> Result<Listing<K, T>, FetchError> {
        let (listing, _) = self.list(question, MAX_HISTORY_ROWS, decode).await?;
        if listing.is_cut {
            return Err(FetchError::TooLong(format!("it has more than {MAX_HISTORY_ROWS} rows")));
        }
        Ok(listing)
    }

    /// Reads a list, but not many more rows than `max_rows`; returns how many requests a poll of it takes, too.
    async fn list<K: Ord, T>(
        &self,
        question: Question<'_>,
        max_rows: usize,
        decode: impl Fn(&str, &mut Anomalies) -> Result<Page<K, T>, AnswerError> + Copy,
    ) -> Result<(Listing<K, T>, usize), FetchError> {
        let fetch = |offset, given_up: CancellationToken| async move {
            let question = Question { page: Some((offset, self.api.page_size)), ..question };
            let permit = tokio::select! {
                permit = self.budget.acquire() => permit,
                () = given_up.cancelled() => return Err(FetchError::Incomplete("it was given up".to_owned())),
            };
            let decode = |text: &str, anomalies: &mut Anomalies| {
                let page = decode(text, anomalies)?;
                if offset == 0 { page.into_first() } else { Ok(page) }
            };
            self.ask_now(permit, question, decode).await
        };
        let list_key = question.target.map(|(target, _)| (question.endpoint, target.clone(), question.from.is_some()));
        let before = list_key.as_ref().and_then(|key| self.unsettled().get(key).copied()).unwrap_or_default();
        let options = ReadOptions {
            page_size: self.api.page_size,
            concurrency: self.api.concurrency,
            max_rows,
            known_missing: before.missing,
        };
        let listing = paging::read_all(fetch, options).await?;
        let now = Unsettled { missing: listing.missing(), was_read_twice: listing.first_pages.is_some() };
        if let Some(key) = list_key {
            if now == Unsettled::default() {
                self.unsettled().remove(&key);
            } else {
                self.unsettled().insert(key, now);
            }
        }
        // A second reading is an exception, unless the list never holds still.
        let again = listing.first_pages.filter(|_| before.was_read_twice).unwrap_or(0);
        let pages = listing.pages + again;
        if let Some(reported) = listing.reported.filter(|_| listing.total_is_wrong()) {
            self.telemetry.anomalies(question.endpoint, "total", 1);
            if self.is_first(&question, "total") {
                tracing::warn!(
                    account = question.target.map(|(target, _)| target.account.as_str()),
                    currency = question.target.map(|(target, _)| target.currency.as_str()),
                    endpoint = %question.endpoint,
                    reported,
                    received = listing.received(),
                    "the pool reports another total than it gives rows; what came is shown (further cases are only counted)",
                );
            }
        }
        Ok((listing, pages))
    }

    fn unsettled(&self) -> std::sync::MutexGuard<'_, HashMap<ListKey, Unsettled>> {
        // Nothing between lock and unlock can panic, so a poisoned lock holds a sound map all the same.
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the budget, and asks.
    async fn ask<T>(
        &self,
        question: Question<'_>,
        decode: impl Fn(&str, &mut Anomalies) -> Result<T, AnswerError>,
    ) -> Result<T, FetchError> {
        let permit = self.budget.acquire().await;
        self.ask_now(permit, question, decode).await
    }

    /// Makes one request and decodes its answer; counts both, and what was odd about them.
    async fn ask_now<T>(
        &self,
        permit: Permit,
        question: Question<'_>,
        decode: impl Fn(&str, &mut Anomalies) -> Result<T, AnswerError>,
    ) -> Result<T, FetchError> {
        let begin = Instant::now();
        let mut request = Counted { telemetry: &self.telemetry, endpoint: question.endpoint, status: None, begin };
        let body = self.send(&question, &mut request.status).await;
        drop(request);
        drop(permit);
        let result = body.and_then(|body| {
            let mut anomalies = Anomalies::default();
            // Bytes that are no UTF-8 (a worker's name, say) cost their own characters and not the whole answer.
            let text = str::from_utf8(&body).map_or_else(|_| String::from_utf8_lossy(&body), Cow::Borrowed);
            let value = decode(&text, &mut anomalies).map_err(|error| {
                FetchError::of(error, |message| clean(message, question.target.map(|(_, key)| key)))
            })?;
            self.report(&question, &anomalies);
            Ok(value)
        });
        match &result {
            Ok(_) => tracing::debug!(
                endpoint = %question.endpoint,
                account = question.target.map(|(target, _)| target.account.as_str()),
                currency = question.target.map(|(target, _)| target.currency.as_str()),
                offset = question.page.map(|(offset, _)| offset),
                milliseconds = begin.elapsed().as_millis() as u64,
                "the pool answered",
            ),
            Err(error) => {
                self.telemetry.request_failed(question.endpoint, error.reason());
                if error.is_overload() {
                    self.budget.slow_down();
                }
                if let Some(pause) = error.retry_after() {
                    self.budget.pause(pause.min(self.api.retry_after_max));
                }
            }
        }
        result
    }

    /// Sends the request and reads the body; whatever the status, it is noted in `status` once it came.
    async fn send(&self, question: &Question<'_>, status: &mut Option<StatusCode>) -> Result<Vec<u8>, FetchError> {
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))]);
        let key = question.target.map(|(_, key)| key);
        if let Some(key) = key {
            // The configuration has made sure that the key fits a header.
            let mut value = HeaderValue::from_str(key.expose()).map_err(|_| FetchError::Connect {
                cause: "the key does not fit into a header".to_owned(),
                proxy: None,
            })?;
            value.set_sensitive(true);
            headers.insert(KEY_HEADER, value);
        }
        let answer = self.transport.get(&self.url(question), &headers).await;
        let (mut response, channel) = answer.map_err(|error| self.transport_error(&error, key))?;
        let code = response.status();
        *status = Some(code);
        // After any other status than 2xx the connection is closed: the next request may reach another address.
        match code.as_u16() {
            200..=299 => {}
            status @ (401 | 403) => return Err(FetchError::Auth { status, with_key: question.target.is_some() }),
            429 => return Err(FetchError::RateLimited { retry_after: self.retry_after(response.headers()) }),
            status @ 400.. => {
                return Err(FetchError::Http { status, retry_after: self.retry_after(response.headers()) });
            }
            status => {
                return Err(FetchError::Redirect { status, target: self.redirect_target(response.headers(), key) });
            }
        }
        let limit = self.api.max_response_bytes;
        let layers = body::gzip_layers(response.headers());
        // Compression makes nothing much longer; and what it leaves behind the data is not unpacked.
        let packed_limit = if layers == 0 { limit } else { limit.saturating_mul(2) };
        let expected = response.content_length().and_then(|length| usize::try_from(length).ok());
        let mut body = Vec::with_capacity(expected.unwrap_or(0).min(limit).min(MOST_EXPECTED));
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport_error(&error, key))? {
            if body.len() + chunk.len() > packed_limit {
                return Err(FetchError::BodyTooLarge(limit));
            }
            body.extend_from_slice(&chunk);
        }
        self.transport.release(channel);
        body::unpack(body, layers, limit).map_err(|error| match error {
            UnpackError::TooLarge => FetchError::BodyTooLarge(limit),
            UnpackError::Broken(error) => FetchError::Decode(format!("its compression is broken ({error})")),
        })
    }

    fn url(&self, question: &Question<'_>) -> Url {
        let mut url = self.api.base_url.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("v", "1").append_pair("method", question.endpoint.as_str());
            if let Some((target, _)) = question.target {
                query.append_pair("currency", target.currency.as_str());
            }
            if let Some(from) = question.from {
                query.append_pair("from", &from.to_string());
            }
            if let Some((offset, limit)) = question.page {
                query.append_pair("offset", &offset.to_string()).append_pair("limit", &limit.to_string());
            }
        }
        url
    }

    /// Sorts what went wrong between us and the pool.
    fn transport_error(&self, error: &reqwest::Error, key: Option<&ApiKey>) -> FetchError {
        // A certificate, for one, may say anything.
        let cause = innermost(error, key);
        let proxy = self.transport.route().proxy().cloned();
        let chain = || std::iter::successors(error.source(), |&error| error.source());
        if error.is_timeout() && error.is_connect() {
            FetchError::ConnectTimeout { limit: self.transport.connect_timeout(), proxy }
        } else if error.is_timeout() {
            FetchError::Timeout(self.api.timeout)
        } else if error.is_dns() {
            FetchError::Dns { cause, proxy }
        } else if chain().any(is_tls) {
            // An error of the tunnel comes before TLS with the pool begins, so it is about TLS with the proxy.
            match proxy {
                Some(proxy) if chain().any(is_tunnel) => FetchError::ProxyTls { cause, proxy },
                proxy => FetchError::Tls { cause, proxy },
            }
        } else {
            match proxy {
                Some(proxy) if chain().any(is_tunnel) => FetchError::ProxyConnect { cause, proxy },
                proxy => FetchError::Connect { cause, proxy },
            }
        }
    }

    /// Reads Retry-After: seconds, or a date.
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // More digits than fit mean longer than anything that is obeyed.
            return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
        }
        let date = httpdate::parse_http_date(text).ok()?;
        let now = std::time::SystemTime::from(self.clock.now());
        Some(date.duration_since(now).unwrap_or_default())
    }

    /// Where a redirect points, without its query; it might repeat the key.
    fn redirect_target(&self, headers: &HeaderMap, key: Option<&ApiKey>) -> String {
        let target = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| self.api.base_url.join(text).ok())
            .map(|url| format!("{}{}", url.origin().ascii_serialization(), url.path()));
        target.map_or_else(|| "nowhere".to_owned(), |target| clean(&target, key))
    }

    /// Counts the values of an answer that are not as documented, and logs the first of each account and field.
    fn report(&self, question: &Question<'_>, anomalies: &Anomalies) {
        let account = question.target.map(|(target, _)| target.account.as_str());
        let currency = question.target.map(|(target, _)| target.currency.as_str());
        let endpoint = question.endpoint;
        for (field, count) in anomalies.counts() {
            self.telemetry.anomalies(endpoint, field, count);
            if self.is_first(question, field) {
                tracing::warn!(
                    account, currency, %endpoint, field, count,
                    "unexpected value in an API response; field skipped (further ones of this account are only counted)",
                );
            }
        }
        let percent = anomalies.reject_rate_above_one() && self.api.reject_rate_unit == RejectRateUnit::Ratio;
        if percent && self.is_first(question, "reject_rate above 1") {
            tracing::warn!(
                account, currency, %endpoint,
                "a reject_rate is above 1, so the pool tells it in percent: set api.reject_rate_unit: percent",
            );
        }
    }

    /// Whether this anomaly is to be logged: it is the first of its account and field, and the log does not have
    /// [`MAX_LOGGED`] others.
    fn is_first(&self, question: &Question<'_>, what: &'static str) -> bool {
        let account = question.target.map(|(target, _)| target.account.clone());
        let (first, full) = {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            let room = logged.len() < MAX_LOGGED;
            let first = room && logged.insert((question.endpoint, account, what));
            (first, first && logged.len() == MAX_LOGGED)
        };
        if full {
            tracing::warn!(
                anomalies = MAX_LOGGED,
                "many unexpected values in API responses; further ones are only counted \
                 (btcpool_exporter_schema_anomalies_total)"
            );
        }
        first
    }
}

impl<'a> Question<'a> {
    const fn about_nobody(endpoint: Endpoint) -> Self {
        Self { endpoint, target: None, page: None, from: None }
    }

    const fn about(endpoint: Endpoint, target: &'a Target, key: &'a ApiKey) -> Self {
        Self { endpoint, target: Some((target, key)), page: None, from: None }
    }
}

/// The builder of every HTTP client here.
fn builder() -> reqwest::ClientBuilder {
    // Fails when another provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("btcpool-exporter/", env!("CARGO_PKG_VERSION")))
        // reqwest would send the key along to wherever a redirect points.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
}

/// Whether an error is one of the tunnel through a proxy, whose type is private to the HTTP library.
fn is_tunnel(error: &(dyn std::error::Error + 'static)) -> bool {
    error.to_string().starts_with("tunnel error: ")
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // rustls' own error travels inside an io::Error, whose source() skips the error that it wraps.
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>() || is_tls(inner))
}

/// The last cause in a chain of errors: the one that says what happened. reqwest's own text would carry the URL.
fn innermost(error: &reqwest::Error, key: Option<&ApiKey>) -> String {
    let mut last: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(next) = last.and_then(std::error::Error::source) {
        last = Some(next);
    }
    last.map_or_else(|| "the request could not be made".to_owned(), |error| clean(&error.to_string(), key))
}

/// Makes foreign text fit to be logged: one line, bounded, and nothing of the key.
fn clean(text: &str, key: Option<&ApiKey>) -> String {
    // A part of the key that begins behind this is not shown.
    let end = text.char_indices().nth(MESSAGE_CHARACTERS + PART_IN_MESSAGES).map_or(text.len(), |(end, _)| end);
    if key.is_some_and(|key| KeyParts::new(key, PART_IN_MESSAGES).are_in(&text[..end])) {
        return "(message withheld: it quotes the key)".to_owned();
    }
    let visible = |c: char| if plays_tricks(c) { ' ' } else { c };
    let mut cleaned: String = text.chars().map(visible).take(MESSAGE_CHARACTERS).collect();
    if text.chars().nth(MESSAGE_CHARACTERS).is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// Finds parts of a key in texts.
struct KeyParts<'a> {
    key: &'a [u8],
    length: usize,
    /// Which bytes the key has, in upper and in lower case.
    alphabet: [bool; 256],
}

impl<'a> KeyParts<'a> {
    /// So many characters in a row of the key, or all of a shorter one.
    fn new(key: &'a ApiKey, length: usize) -> Self {
        // A key is ASCII, so that bytes are characters.
        let key = key.expose().as_bytes();
        let mut alphabet = [false; 256];
        for byte in key {
            alphabet[usize::from(byte.to_ascii_lowercase())] = true;
            alphabet[usize::from(byte.to_ascii_uppercase())] = true;
        }
        Self { key, length: length.min(key.len()).max(1), alphabet }
    }

    /// Whether one of them is in the text, in whatever case.
    fn are_in(&self, text: &str) -> bool {
        let is_of_key = |part: &[u8]| self.key.windows(self.length).any(|own| own.eq_ignore_ascii_case(part));
        // Nearly no text has so many of the key's characters in a row at all, in whatever order.
        let runs = text.as_bytes().split(|&byte| !self.alphabet[usize::from(byte)]);
        runs.flat_map(|run| run.windows(self.length)).any(is_of_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_limit_needs_the_pools_word() {
        let of_status = |status| FetchError::Http { status, retry_after: None };
        let overloads = [FetchError::RateLimited { retry_after: None }, of_status(503)];
        assert!(overloads.iter().all(FetchError::is_overload));
        let others = [of_status(500), of_status(502), of_status(404), FetchError::NotJson("empty")];
        assert!(!others.iter().any(FetchError::is_overload));
    }
}
