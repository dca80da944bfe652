//! The configuration: layers of text in, a validated [`Config`] out. Whoever holds a `Config` holds a valid one.
//!
//! Layers, each over the one before: [`DEFAULTS`], the file, the environment, the command line. Errors name the place
//! (file, line and column, or the variable), the key, and the way out. No error quotes a key of the pool.

pub mod layer;
mod reading;
pub(crate) mod section;
pub mod sources;
pub(crate) mod units;
pub(crate) mod unknown;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use jiff::tz::Offset;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

pub(crate) use units::{duration_text, utc_offset_text};

use crate::model::{AccountName, Currency, Endpoint, Hashrate, Target, plays_tricks};
use layer::{Layer, Place};
use sources::Sources;

/// The default configuration, in the file's own form.
pub const DEFAULTS: &str = include_str!("config/defaults.yml");

/// Everything that can be configured, valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// How the pool is asked.
    pub api: Api,
    /// How often, and how long an answer is worth showing.
    pub polling: Polling,
    /// The accounts of this process' shard, by name.
    pub accounts: BTreeMap<AccountName, Account>,
    /// The number of accounts in the configuration, those of other shards included.
    pub accounts_in_all_shards: usize,
    /// What a block of each coin pays its finder, in coins, fees aside.
    pub block_subsidies: BTreeMap<Currency, f64>,
    /// Which of the accounts are this process' own.
    pub shard: Shard,
    /// The serving side.
    pub web: Web,
    /// The log.
    pub log: Log,
    /// The files that it was read from, those of keys, too.
    pub sources: Sources,
    /// What is allowed but unwise, for the log.
    pub warnings: Vec<String>,
}

/// How the pool is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Scheme, host and path; the query is ours.
    pub base_url: Url,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    /// Requests in flight, all accounts together.
    pub concurrency: usize,
    /// One budget for all accounts together; a burst is one second's worth.
    pub requests_per_second: f64,
    /// `limit` of the paged methods, in rows.
    pub page_size: usize,
    /// Bound on one answer, in bytes after decompression.
    pub max_response_bytes: usize,
    /// The longest Retry-After that is obeyed.
    pub retry_after_max: Duration,
    /// What the pool's `reject_rate` is told in.
    pub reject_rate_unit: RejectRateUnit,
    /// When the pool's day begins.
    pub day_utc_offset: Offset,
}

impl Api {
    /// The most rows that a page may be asked to have.
    pub const LARGEST_PAGE: usize = 10_000;
}

/// What the pool's `reject_rate` is told in: its documentation does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectRateUnit {
    /// 0 to 1.
    Ratio,
    /// 0 to 100.
    Percent,
}

impl RejectRateUnit {
    /// As the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Percent => "percent",
        }
    }
}

/// The two cadences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polling {
    /// `main_stat`, `summary_data` and `workers`.
    pub live: Cadence,
    /// `profit_history` and `payment_history`.
    pub history: Cadence,
}

impl Polling {
    /// The cadence of an endpoint.
    pub const fn of(&self, endpoint: Endpoint) -> Cadence {
        match endpoint {
            Endpoint::MainStat | Endpoint::SummaryData | Endpoint::Workers => self.live,
            Endpoint::ProfitHistory | Endpoint::PaymentHistory => self.history,
        }
    }
}

/// How often something is asked for, and for how long its last good answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// From one poll to the next.
    pub interval: Duration,
    /// Age at which the last good answer leaves the exposition; more than `interval`.
    pub stale_after: Duration,
}

/// One account (or child account) of the pool.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its key.
    pub key: ApiKey,
    /// What it mines; not empty, each once.
    pub currencies: BTreeSet<Currency>,
    /// Labels of `btcpool_account_info`, by name.
    pub labels: BTreeMap<String, String>,
    /// What it ought to deliver.
    pub expected_hashrate: BTreeMap<Currency, Hashrate>,
    /// How many workers are exported at the most; `None`: workers are not asked for at all.
    pub workers_max: Option<usize>,
}

impl Account {
    /// What is polled for the account of this name, in order.
    pub fn targets(&self, name: &AccountName) -> impl Iterator<Item = (Target, &Self)> {
        self.currencies.iter().map(move |&currency| (Target { account: name.clone(), currency }, self))
    }
}

/// A key of the pool: text that fits a header, and is shown nowhere.
#[derive(Debug, Clone)]
pub struct ApiKey(SecretString);

impl ApiKey {
    /// The longest key that is taken, in bytes.
    const MAX_BYTES: usize = 4096;

    fn parse(text: &str) -> Result<Self, &'static str> {
        let key = text.trim_end_matches(['\r', '\n']);
        let error = if key.is_empty() {
            "the key is empty"
        } else if key.len() > Self::MAX_BYTES {
            "the key has more than 4096 bytes"
        } else if begins_with_name(key) {
            "the key begins with a name, as in a line of an env file; write only the key"
        } else if is_in_quotes(key) {
            "the key is in quotes; remove them (docker run --env-file, for one, keeps quotes)"
        } else if key.split_once([' ', '\t']).is_some_and(|(_, rest)| rest.trim_start().starts_with('#')) {
            "the key is followed by a comment; remove it (in an env file a comment has a line of its own)"
        } else if key.starts_with("${") || key.starts_with("$(") {
            "the key is a reference to a variable, which nothing replaces here; write the key itself"
        } else if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            "the key has a space, a line break or another character that no key has"
        } else {
            return Ok(Self(key.into()));
        };
        Err(error)
    }

    /// The key itself, for the request's header and for keeping it out of what is shown.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Whether a text begins or ends with a quotation mark. No valid value but a label does.
fn is_in_quotes(text: &str) -> bool {
    const QUOTES: [char; 7] = ['"', '\'', '`', '“', '”', '‘', '’'];
    text.starts_with(QUOTES) || text.ends_with(QUOTES)
}

/// Whether a key begins as a line of an env file or of YAML does: `export `, `API_KEY=`, `api_key: `.
fn begins_with_name(key: &str) -> bool {
    key.starts_with("export ")
        || key.split_once(['=', ':']).is_some_and(|(name, value)| {
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            is_name && !value.is_empty() && name.to_ascii_lowercase().ends_with("key")
        })
}

impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// Which part of the accounts is this process' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// This process' number, from 0.
    pub index: u64,
    /// How many processes share the accounts.
    pub count: u64,
}

impl Shard {
    /// Whether the account falls to this shard, by the hash that Prometheus' `hashmod` action makes of the name, so
    /// that a Prometheus can divide the accounts in the same way. A hash for each account: only for loading.
    pub fn holds(self, account: &AccountName) -> bool {
        use md5::{Digest as _, Md5};
        let digest: [u8; 16] = Md5::digest(account.as_str().as_bytes()).into();
        let [.., a, b, c, d, e, f, g, h] = digest;
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) % self.count == self.index
    }
}

/// The serving side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Where to listen.
    pub listen_addresses: Vec<ListenAddress>,
    /// Where the exposition is served.
    pub telemetry_path: String,
    /// Requests served at a time; 0: any number.
    pub max_requests: usize,
    /// The web configuration that exporter-toolkit defines; `None`: plain HTTP, for everybody.
    pub config_file: Option<PathBuf>,
    /// Whether `POST /-/reload` is heard.
    pub enable_lifecycle: bool,
    /// Whether to serve on the sockets that systemd hands over, in place of `listen_addresses`.
    pub systemd_socket: bool,
}

impl Web {
    /// The keys of what is not as there.
    pub fn differing_keys(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let Self { listen_addresses, telemetry_path, max_requests, config_file, enable_lifecycle, systemd_socket } =
            other;
        differing([
            ("web.listen_addresses", self.listen_addresses != *listen_addresses),
            ("web.telemetry_path", self.telemetry_path != *telemetry_path),
            ("web.max_requests", self.max_requests != *max_requests),
            ("web.config_file", self.config_file != *config_file),
            ("web.enable_lifecycle", self.enable_lifecycle != *enable_lifecycle),
            ("web.systemd_socket", self.systemd_socket != *systemd_socket),
        ])
    }
}

impl Log {
    /// The keys of what is not as there.
    pub fn differing_keys(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let Self { level, format } = other;
        differing([("log.level", self.level != *level), ("log.format", self.format != *format)])
    }
}

fn differing<const N: usize>(keys: [(&'static str, bool); N]) -> impl Iterator<Item = &'static str> {
    keys.into_iter().filter_map(|(key, differs)| differs.then_some(key))
}

/// `host:port`; without a host every address of the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenAddress {
    /// A name or an address; `None`: every address.
    pub host: Option<String>,
    /// 0: any free one.
    pub port: u16,
}

impl FromStr for ListenAddress {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (host, port) = text.rsplit_once(':').ok_or(())?;
        let port = port.parse().map_err(|_| ())?;
        let host = match host.strip_prefix('[') {
            Some(address) => {
                let address = address.strip_suffix(']').ok_or(())?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| ())?;
                address
            }
            None if host.contains([':', '/', ' ']) => return Err(()),
            None => host,
        };
        Ok(Self { host: (!host.is_empty()).then(|| host.to_owned()), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, ":{}", self.port),
        }
    }
}

/// The log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least severity that is written.
    pub level: LogLevel,
    /// How a line is written.
    pub format: LogFormat,
}

/// The least severity that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Every request.
    Debug,
    /// What a person may want to know.
    Info,
    /// What a person should look at.
    Warn,
    /// What stops the program.
    Error,
}

impl LogLevel {
    /// As the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object.
    Json,
}

impl LogFormat {
    /// As the configuration has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logfmt => "logfmt",
            Self::Json => "json",
        }
    }
}

/// What the command line says of the configuration; it goes over everything else.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--web.listen-address`, each; empty: not given.
    pub listen_addresses: Vec<String>,
    /// `--web.telemetry-path`.
    pub telemetry_path: Option<String>,
    /// `--web.max-requests`.
    pub max_requests: Option<String>,
    /// `--web.config.file`.
    pub web_config_file: Option<String>,
    /// `--web.enable-lifecycle`.
    pub enable_lifecycle: bool,
    /// `--web.systemd-socket`.
    pub systemd_socket: bool,
    /// `--log.level`.
    pub log_level: Option<String>,
    /// `--log.format`.
    pub log_format: Option<String>,
}

/// Everything that is wrong with the configuration, in the order of the file: where, what, and what to do. A line for
/// each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    faults: Vec<(Place, String)>,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (place, message)) in self.faults.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{}: {message}", place.text)?;
        }
        Ok(())
    }
}

impl ConfigError {
    /// One fault. Characters of the message that would play tricks with a terminal or the log are replaced.
    pub(crate) fn new(place: impl Into<Place>, message: impl Into<String>) -> Self {
        Self { faults: vec![(place.into(), message.into().replace(plays_tricks, "\u{FFFD}"))] }
    }

    /// All of them as one, if there are any.
    pub(crate) fn all(errors: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut faults: Vec<_> = errors.into_iter().flat_map(|error| error.faults).collect();
        // The sort is stable: faults of one place stay in the order of the rules.
        faults.sort_by(|(one, _), (other, _)| one.cmp(other));
        (!faults.is_empty()).then_some(Self { faults })
    }

    /// The same faults, each at another place.
    fn placed(mut self, place: impl Fn(Place) -> Place) -> Self {
        self.faults = self.faults.into_iter().map(|(at, message)| (place(at), message)).collect();
        self
    }
}

impl Config {
    /// Reads the file (if there is one) and the given environment, lays the command line over both, and validates.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let mut sources = Sources::default();
        let layers = reading::layers(file, environment, overrides, &mut sources)?;
        reading::config(layers, sources)
    }

    /// The same from YAML text in place of a file; for configurations that a program brings along.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn from_yaml(name: &str, text: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        let layers =
            vec![Layer::yaml("defaults", DEFAULTS)?, Layer::yaml(name, text)?, reading::command_line(overrides)?];
        reading::config(layers, Sources::default())
    }

    /// The account and currency pairs that this process polls, in order.
    pub fn targets(&self) -> impl Iterator<Item = (Target, &Account)> {
        self.accounts.iter().flat_map(|(name, account)| account.targets(name))
    }
}

/// Only the serving side, from the environment and the command line: where a running exporter is found. Nothing of the
/// accounts is read.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn load_web(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Web, ConfigError> {
    reading::web(&reading::layers(file, environment, overrides, &mut Sources::default())?)
}
