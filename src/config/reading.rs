//! From raw text to valid values: every rule on them, in the order of the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment,
    error::{Actual, Kind},
    value::Value,
};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use url::Url;

use super::{
    Account, Api, ApiKey, Cadence, Config, ConfigError, DEFAULTS, Log, LogFormat, LogLevel, Overrides, Polling,
    RejectRateUnit, Shard, Web,
    layer::{KeyPath, Layer, may_be_key, shown_key, shown_path},
    shape::{RawAccount, RawApi, RawCadence, RawCoin, RawConfig, RawWeb},
    sources::Sources,
    units,
    unknown::{SECTIONS, WEB_SECTIONS, misnamed, unknown_key, unknown_section},
};
use crate::model::{AccountName, Currency};

/// The longest interval or staleness: beyond any use, and well within what the system's clock can add up.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The layers of a configuration, from the defaults to the command line.
pub fn layers(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
    sources: &mut Sources,
) -> Result<Vec<Layer>, ConfigError> {
    let mut layers = vec![Layer::yaml("defaults", DEFAULTS)?];
    if let Some(path) = file {
        layers.push(Layer::file(path, sources)?);
    }
    layers.push(Layer::environment(environment)?);
    layers.push(command_line(overrides)?);
    Ok(layers)
}

/// A whole configuration of layers, each of which goes over the one before. `sources` are the files that they were read
/// from.
pub fn config(mut layers: Vec<Layer>, sources: Sources) -> Result<Config, ConfigError> {
    one_key_each(&mut layers)?;
    let reader = Reader::new(&layers);
    reader.sections_are_mappings()?;
    reader.config(reader.extract()?, sources)
}

/// Only the serving side; nothing of the accounts is read.
pub fn web(layers: &[Layer]) -> Result<Web, ConfigError> {
    /// Not figment's `extract_inner`, whose errors have their path in another order.
    #[derive(Deserialize)]
    struct OnlyWeb {
        web: RawWeb,
    }
    let reader = Reader::new(layers);
    reader.web(&reader.extract::<OnlyWeb>()?.web)
}

/// Refuses `api_key` beside `api_key_file` in one layer, and lets a later layer's replace an earlier layer's,
/// whichever of the two it is.
fn one_key_each(layers: &mut [Layer]) -> Result<(), ConfigError> {
    const KEYS: [&str; 2] = ["api_key", "api_key_file"];
    let mut set_later: BTreeSet<String> = BTreeSet::new();
    for layer in layers.iter_mut().rev() {
        let Some(Value::Dict(_, accounts)) = layer.values_mut().get_mut("accounts") else { continue };
        let mut both = None;
        for (name, account) in accounts.iter_mut() {
            let Value::Dict(_, account) = account else { continue };
            if KEYS.iter().all(|key| account.contains_key(*key)) {
                both = Some(name.clone());
            } else if set_later.contains(name) {
                account.retain(|key, _| !KEYS.contains(&key.as_str()));
            } else if KEYS.iter().any(|key| account.contains_key(*key)) {
                set_later.insert(name.clone());
            }
        }
        if let Some(name) = both {
            let path = ["accounts".to_owned(), name, "api_key".to_owned()];
            // A variable that holds the whole account is the place of the account only.
            let place = (0..=path.len()).rev().find_map(|length| layer.place(&path[..length]));
            let message = format!(
                "{}: has both api_key and api_key_file; remove one of them",
                shown_path(&path[..path.len() - 1])
            );
            return Err(ConfigError::new(place.unwrap_or("configuration"), message));
        }
    }
    Ok(())
}

/// The command line as a layer.
pub fn command_line(overrides: &Overrides) -> Result<Layer, ConfigError> {
    let mut layer = Layer::new("command line");
    if !overrides.listen_addresses.is_empty() {
        let addresses: Vec<Value> = overrides.listen_addresses.iter().map(|text| Value::from(text.as_str())).collect();
        layer.set(&["web", "listen_addresses"], "--web.listen-address", Value::from(addresses))?;
    }
    for (path, flag, text) in [
        (["web", "telemetry_path"], "--web.telemetry-path", &overrides.telemetry_path),
        (["web", "max_requests"], "--web.max-requests", &overrides.max_requests),
        (["web", "config_file"], "--web.config.file", &overrides.web_config_file),
        (["log", "level"], "--log.level", &overrides.log_level),
        (["log", "format"], "--log.format", &overrides.log_format),
    ] {
        if let Some(text) = text {
            layer.set(&path, flag, Value::from(text.as_str()))?;
        }
    }
    for (path, flag, given) in [
        (["web", "enable_lifecycle"], "--web.enable-lifecycle", overrides.enable_lifecycle),
        (["web", "systemd_socket"], "--web.systemd-socket", overrides.systemd_socket),
    ] {
        if given {
            layer.set(&path, flag, Value::from("true"))?;
        }
    }
    Ok(layer)
}

/// Turns raw text into valid values, and knows where each text stood.
pub(crate) struct Reader<'a> {
    layers: &'a [Layer],
}

impl<'a> Reader<'a> {
    /// Reads what the layers hold.
    pub(crate) const fn new(layers: &'a [Layer]) -> Self {
        Self { layers }
    }

    /// The merged layers, in their raw form.
    pub(crate) fn extract<T: serde::de::DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let figment = self.layers.iter().fold(Figment::new(), |figment, layer| figment.merge(layer));
        figment.extract().map_err(|error| self.structure(&error))
    }

    /// The place of a key, or of one under it (a variable's name is the whole path), in the latest layer that has one;
    /// or else of the nearest key above it.
    pub(crate) fn place(&self, path: &[String]) -> String {
        let latest = || self.layers.iter().rev();
        let at = latest().find_map(|layer| layer.place(path).or_else(|| layer.place_under(path)));
        let above = |length: usize| latest().find_map(|layer| layer.place(&path[..length]));
        at.or_else(|| (0..path.len()).rev().find_map(above)).unwrap_or("configuration").to_owned()
    }

    /// serde would take a list for a section, entry by entry.
    pub(crate) fn sections_are_mappings(&self) -> Result<(), ConfigError> {
        for (section, value) in self.layers.iter().flat_map(Layer::values) {
            match (section.as_str(), value) {
                ("accounts", Value::Array(..)) => {
                    let message = "expected the accounts' names as keys, found a list; write farm_a: { api_key_file: ... }, \
                                   without a dash";
                    return Err(self.error(&[section], message));
                }
                (section, Value::Array(..)) if SECTIONS.contains(&section) || WEB_SECTIONS.contains(&section) => {
                    return Err(self.error(&[section], "expected keys with values, found a list"));
                }
                ("polling" | "accounts" | "coins", Value::Dict(_, entries)) => {
                    for (entry, value) in entries {
                        let workers = value.find_ref("workers");
                        for (path, value) in
                            [(&[section.as_str(), entry][..], Some(value)), (&[section, entry, "workers"], workers)]
                        {
                            if matches!(value, Some(Value::Array(..))) {
                                return Err(self.error(path, "expected keys with values, found a list"));
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is wrong with a key, at its place.
    pub(crate) fn error(&self, path: &[&str], message: impl fmt::Display) -> ConfigError {
        let owned: KeyPath = path.iter().map(|&key| key.to_owned()).collect();
        let place = self.place(&owned);
        // A flag says by itself which key it stands for.
        if place.starts_with("--") {
            return ConfigError::new(&place, message.to_string());
        }
        ConfigError::new(&place, format!("{}: {message}", shown_path(path)))
    }

    /// As [`Reader::error`], for a last key that may have to be shown as something else.
    pub(crate) fn error_as(&self, path: &[&str], last: &str, message: impl fmt::Display) -> ConfigError {
        let owned: KeyPath = path.iter().map(|&key| key.to_owned()).collect();
        let shown = [&path[..path.len().saturating_sub(1)], &[last]].concat();
        ConfigError::new(&self.place(&owned), format!("{}: {message}", shown_path(&shown)))
    }

    /// Says what figment found, without the value that it found: that might be a key.
    fn structure(&self, error: &figment::Error) -> ConfigError {
        let mut path: KeyPath = error.path.clone();
        let message = match &error.kind {
            Kind::UnknownField(key, expected) => {
                if path.last() != Some(key) {
                    path.push(key.clone());
                }
                let place = self.place(&path);
                let message = match misnamed(&place) {
                    Some(meant) => format!("unknown key; {meant}"),
                    None if path.len() == 1 => unknown_section(key, expected),
                    None => unknown_key(key, expected),
                };
                path.pop();
                path.push(shown_key(key).to_owned());
                return ConfigError::new(&place, format!("{}: {message}", shown_path(&path)));
            }
            Kind::MissingField(key) => {
                path.push(key.clone().into_owned());
                "is missing".to_owned()
            }
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                if self.layers.iter().any(|layer| layer.is_empty_key(&path)) {
                    "has no value; write one, or remove the key".to_owned()
                } else {
                    let meant = misnamed(&self.place(&path)).map(|meant| format!("; {meant}")).unwrap_or_default();
                    format!("expected {}, found {}{meant}", expectation(expected), kind_of(found))
                }
            }
            // A list with fewer entries than a section has keys.
            Kind::InvalidLength(..) => "expected keys with values, found a list".to_owned(),
            Kind::DuplicateField(key) => format!("{key} is set twice"),
            _ => "is not of the expected form".to_owned(),
        };
        ConfigError::new(&self.place(&path), format!("{}: {message}", shown_path(&path)))
    }

    /// Parses one text, or says what was expected of it.
    pub(crate) fn read<T>(
        &self,
        path: &[&str],
        text: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        parse(text.trim()).ok_or_else(|| {
            let secret = path.first() == Some(&"accounts") && may_be_key(text, 4);
            let shown = if secret { "the value (not shown: it may be a key)".to_owned() } else { format!("{text:?}") };
            self.error(path, format!("{shown} is not {expected}"))
        })
    }

    fn integer(&self, path: &[&str], text: &str, least: usize, most: usize) -> Result<usize, ConfigError> {
        let expected = format!("a whole number from {least} to {most}");
        self.read(path, text, &expected, |text| text.parse().ok().filter(|n| (least..=most).contains(n)))
    }

    fn truth(&self, path: &[&str], text: &str) -> Result<bool, ConfigError> {
        self.read(path, text, "true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    fn duration(&self, path: &[&str], text: &str) -> Result<Duration, ConfigError> {
        self.read(path, text, "a duration such as 15s, 5m or 1h30m", units::duration)
    }

    /// A currency that is a key. Only capitals: were `btc` a key, too, the layers could not go over each other.
    fn currency_key(&self, path: &[&str], text: &str) -> Result<Currency, ConfigError> {
        let exact = |text: &str| Currency::ALL.into_iter().find(|currency| currency.as_str() == text);
        self.read(path, text, "a currency of the pool, in capitals: BTC, BCH or LTC", exact)
    }

    fn currency(&self, path: &[&str], text: &str) -> Result<Currency, ConfigError> {
        self.read(path, text, "a currency of the pool: BTC, BCH or LTC", |text| text.parse().ok())
    }

    fn config(&self, raw: RawConfig, mut sources: Sources) -> Result<Config, ConfigError> {
        let mut warnings = Vec::new();
        let mut accounts = BTreeMap::new();
        for (name, account) in raw.accounts {
            let path = ["accounts", name.as_str()];
            let parsed: AccountName = name.parse().map_err(|error| self.error(&path, error))?;
            accounts.insert(parsed, self.account(&name, account, &mut sources, &mut warnings)?);
        }
        warnings.extend(shared_keys(&accounts));
        let mut block_subsidies = BTreeMap::new();
        for (coin, RawCoin { block_subsidy }) in &raw.coins {
            let currency = self.currency_key(&["coins", coin], coin)?;
            let expected = "a number of coins above 0";
            let parse = |text: &str| text.parse().ok().filter(|&n: &f64| n.is_finite() && n > 0.0);
            let subsidy = self.read(&["coins", coin, "block_subsidy"], block_subsidy, expected, parse)?;
            block_subsidies.insert(currency, subsidy);
        }
        let count = self.integer(&["shard", "count"], &raw.shard.count, 1, 100_000)?;
        let index = match raw.shard.index.trim().parse::<usize>() {
            Ok(index) if index >= count => {
                let message = format!("\"{index}\" is not below shard.count ({count}); the index counts from 0");
                return Err(self.error(&["shard", "index"], message));
            }
            _ => self.integer(&["shard", "index"], &raw.shard.index, 0, count - 1)?,
        };
        let shard = Shard { index: index as u64, count: count as u64 };
        let accounts_in_all_shards = accounts.len();
        accounts.retain(|name, _| shard.holds(name));
        Ok(Config {
            api: self.api(&raw.api)?,
            polling: Polling {
                live: self.cadence("live", &raw.polling.live)?,
                history: self.cadence("history", &raw.polling.history)?,
            },
            accounts,
            accounts_in_all_shards,
            block_subsidies,
            shard,
            web: self.web(&raw.web)?,
            log: Log {
                level: self.read(&["log", "level"], &raw.log.level, "debug, info, warn or error", |text| match text
                    .to_ascii_lowercase()
                    .as_str()
                {
                    "debug" => Some(LogLevel::Debug),
                    "info" => Some(LogLevel::Info),
                    "warn" | "warning" => Some(LogLevel::Warn),
                    "error" => Some(LogLevel::Error),
                    _ => None,
                })?,
                format: self.read(&["log", "format"], &raw.log.format, "logfmt or json", |text| {
                    match text.to_ascii_lowercase().as_str() {
                        "logfmt" => Some(LogFormat::Logfmt),
                        "json" => Some(LogFormat::Json),
                        _ => None,
                    }
                })?,
            },
            sources,
            warnings,
        })
    }

    fn api(&self, raw: &RawApi) -> Result<Api, ConfigError> {
        let insecure = self.truth(&["api", "allow_insecure_http"], &raw.allow_insecure_http)?;
        let rate_expected = "a number above 0 and at most 1000";
        Ok(Api {
            base_url: self.base_url(&raw.base_url, insecure)?,
            timeout: match self.duration(&["api", "timeout"], &raw.timeout)? {
                timeout if (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&timeout) => timeout,
                _ => return Err(self.error(&["api", "timeout"], "must be from 100ms to 10m")),
            },
            concurrency: self.integer(&["api", "concurrency"], &raw.concurrency, 1, 1000)?,
            requests_per_second: self.read(
                &["api", "requests_per_second"],
                &raw.requests_per_second,
                rate_expected,
                |text| text.parse().ok().filter(|&n: &f64| n > 0.0 && n <= 1000.0),
            )?,
            page_size: self.integer(&["api", "page_size"], &raw.page_size, 1, Api::LARGEST_PAGE)?,
            max_response_bytes: self.read(
                &["api", "max_response_bytes"],
                &raw.max_response_bytes,
                "a size from 1KiB to 1GiB, such as 8MiB",
                |text| units::bytes(text).filter(|n| (1 << 10..=1 << 30).contains(n)),
            )?,
            reject_rate_unit: self.read(
                &["api", "reject_rate_unit"],
                &raw.reject_rate_unit,
                "ratio or percent",
                |text| match text {
                    "ratio" => Some(RejectRateUnit::Ratio),
                    "percent" => Some(RejectRateUnit::Percent),
                    _ => None,
                },
            )?,
            day_utc_offset: self.read(
                &["api", "day_utc_offset"],
                &raw.day_utc_offset,
                "an offset such as +08:00, from -12:00 to +14:00",
                units::utc_offset,
            )?,
        })
    }

    fn base_url(&self, text: &str, allow_insecure: bool) -> Result<Url, ConfigError> {
        let path = ["api", "base_url"];
        let Ok(url) = Url::parse(text.trim()) else {
            return Err(self.error(&path, "is not a URL such as https://btcpool.kz/ru/api"));
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.error(&path, "must not hold a user or a password; keys belong under accounts"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                self.error(&path, "must end with the path: the part after \"?\" or \"#\" is the exporter's own")
            );
        }
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
            Some(url::Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
            None => return Err(self.error(&path, "has no host")),
        };
        match url.scheme() {
            "https" => Ok(url),
            "http" if loopback || allow_insecure => Ok(url),
            "http" => Err(self.error(
                &path,
                "http:// would send the keys unencrypted; use https://, or set api.allow_insecure_http: true",
            )),
            _ => Err(self.error(&path, "must begin with https://")),
        }
    }

    fn cadence(&self, name: &str, raw: &RawCadence) -> Result<Cadence, ConfigError> {
        let interval = self.duration(&["polling", name, "interval"], &raw.interval)?;
        let stale_after = self.duration(&["polling", name, "stale_after"], &raw.stale_after)?;
        if interval < Duration::from_secs(1) {
            return Err(self.error(&["polling", name, "interval"], "must be at least 1s"));
        }
        if stale_after > LONGEST {
            return Err(self.error(&["polling", name, "stale_after"], "must be at most 8784h (a year)"));
        }
        if interval >= stale_after {
            let layer = |key: &str| {
                let path = ["polling", name, key].map(str::to_owned);
                self.layers.iter().rposition(|layer| layer.place(&path).is_some())
            };
            // The one that was set last is what to look at; the other may be a default.
            let (key, message) = if layer("interval") > layer("stale_after") {
                ("interval", format!("must be less than stale_after ({})", raw.stale_after))
            } else {
                ("stale_after", format!("must be more than the interval ({})", raw.interval))
            };
            let message = format!("{message}, or every answer would leave before the next one comes");
            return Err(self.error(&["polling", name, key], message));
        }
        Ok(Cadence { interval, stale_after })
    }

    fn account(
        &self,
        name: &str,
        raw: RawAccount,
        sources: &mut Sources,
        warnings: &mut Vec<String>,
    ) -> Result<Account, ConfigError> {
        let key = match (raw.api_key, raw.api_key_file) {
            (Some(key), _) => {
                ApiKey::parse(key.expose_secret()).map_err(|error| self.error(&["accounts", name, "api_key"], error))?
            }
            (None, Some(file)) => {
                let path = ["accounts", name, "api_key_file"];
                let file = PathBuf::from(file.expose_secret());
                let (key, warning) = read_key_file(&file, sources).map_err(|error| self.error(&path, error))?;
                warnings.extend(warning.map(|warning| format!("accounts.{name}.api_key_file: {warning}")));
                key
            }
            (None, None) => {
                let message = "has no key; set api_key_file (or api_key)";
                return Err(self.error(&["accounts", name], message));
            }
        };
        let path = ["accounts", name, "currencies"];
        let mut currencies = BTreeSet::new();
        for text in raw.currencies.map_or_else(|| vec!["BTC".to_owned()], |list| list.0) {
            currencies.insert(self.currency(&path, &text)?);
        }
        if currencies.is_empty() {
            return Err(self.error(&path, "is empty; name at least one of BTC, BCH and LTC"));
        }
        for label in raw.labels.keys() {
            let path = ["accounts", name, "labels", label];
            if !is_label_name(label) {
                return Err(
                    self.error(&path, "is no label name: letters, digits and _, not a digit first, not __ first")
                );
            }
            if label == "account" {
                return Err(self.error(&path, "the label account is the account's name already; use another"));
            }
        }
        let mut expected_hashrate = BTreeMap::new();
        for (coin, text) in &raw.expected_hashrate {
            let path = ["accounts", name, "expected_hashrate", coin];
            let currency = self.currency_key(&path, coin)?;
            if !currencies.contains(&currency) {
                return Err(
                    self.error(&path, format!("{currency} is not among the account's currencies; add it there"))
                );
            }
            let hashrate = self.read(&path, text, "a hashrate such as 12 PH/s or 950 TH/s", units::hashrate)?;
            expected_hashrate.insert(currency, hashrate);
        }
        let path = ["accounts", name, "workers", "enabled"];
        let enabled = raw.workers.enabled.map_or(Ok(true), |text| self.truth(&path, &text))?;
        let path = ["accounts", name, "workers", "max"];
        let max = raw.workers.max.map_or(Ok(20_000), |text| self.integer(&path, &text, 1, 10_000_000))?;
        Ok(Account { key, currencies, labels: raw.labels, expected_hashrate, workers_max: enabled.then_some(max) })
    }

    fn web(&self, raw: &RawWeb) -> Result<Web, ConfigError> {
        let path = ["web", "listen_addresses"];
        let mut listen_addresses = Vec::new();
        for text in &raw.listen_addresses.0 {
            let expected = "an address to listen on, such as :10058, 127.0.0.1:10058 or [::1]:10058";
            listen_addresses.push(self.read(&path, text, expected, |text| text.parse().ok())?);
        }
        if listen_addresses.is_empty() {
            return Err(self.error(&path, "is empty; name at least one address"));
        }
        let own = ["/", "/sd"];
        let telemetry_path = self.read(
            &["web", "telemetry_path"],
            &raw.telemetry_path,
            "a path such as /metrics, and none of the exporter's own (/, /sd, /-/...)",
            |text| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
                let valid = text.starts_with('/') && text.chars().all(plain) && !text.contains("//");
                (valid && !own.contains(&text) && !text.starts_with("/-/")).then(|| text.to_owned())
            },
        )?;
        let max_requests = self.integer(&["web", "max_requests"], &raw.max_requests, 0, 1_000_000)?;
        let config_file = Some(&raw.config_file).filter(|file| !file.is_empty()).map(PathBuf::from);
        let enable_lifecycle = self.truth(&["web", "enable_lifecycle"], &raw.enable_lifecycle)?;
        let systemd_socket = self.truth(&["web", "systemd_socket"], &raw.systemd_socket)?;
        Ok(Web { listen_addresses, telemetry_path, max_requests, config_file, enable_lifecycle, systemd_socket })
    }
}

/// Reads a key from its file: a regular file (links are followed) of at most 4 KiB. The second value is a warning.
fn read_key_file(path: &Path, sources: &mut Sources) -> Result<(ApiKey, Option<String>), String> {
    use std::{
        io::Read as _,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    };
    // Someone may have written the key where its file's name belongs, so only what looks like a path is shown.
    let shown = match path.to_str() {
        Some(text) if text.contains('/') => text.to_owned(),
        _ => "the file".to_owned(),
    };
    let unreadable = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    let limit = ApiKey::MAX_BYTES as u64;
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(limit + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > limit {
        return Err(format!("{shown} has more than 4 KiB, which no key has"));
    }
    sources.add(path, &text);
    let text = String::from_utf8(text).map_err(|_| format!("{shown} is not text"))?;
    let key = ApiKey::parse(&text).map_err(|error| format!("{shown}: {error}"))?;
    let mode = metadata.permissions().mode() & 0o777;
    let warning = is_exposed(mode, metadata.uid(), rustix::process::geteuid().as_raw())
        .then(|| format!("{shown} can be read by group or others (mode {mode:o}); chmod 600 it"));
    Ok((key, warning))
}

/// Whether a key's file can be read by more than it has to. One that belongs to somebody else is ours to read only by its
/// group, and cannot be narrower, unless we are root: a Secret in Kubernetes is such a file.
const fn is_exposed(mode: u32, owner: u32, us: u32) -> bool {
    let wide = if owner == us || us == 0 { 0o044 } else { 0o004 };
    mode & wide != 0
}

/// Accounts that have one key, which is one account's: a slip, as a rule, by which its figures would be shown as another's.
fn shared_keys(accounts: &BTreeMap<AccountName, Account>) -> Vec<String> {
    let mut owners = BTreeMap::<_, Vec<_>>::new();
    for (name, account) in accounts {
        owners.entry(account.key.expose()).or_default().push(name);
    }
    let shared = owners.into_values().filter(|names| names.len() > 1);
    let mut warnings: Vec<_> = shared
        .map(|names| {
            let (others, all) = match names.len() - 2 {
                0 => (String::new(), "both"),
                more => (format!(" and {more} more"), "all of them"),
            };
            format!(
                "accounts.{} has the same key as accounts.{}{others}: the pool answers {all} with the figures of the one \
                 account that the key belongs to",
                names[1], names[0]
            )
        })
        .collect();
    // By key they would be in an order that tells something of the keys.
    warnings.sort();
    warnings
}

/// A Prometheus label name that is not reserved.
fn is_label_name(text: &str) -> bool {
    !text.starts_with("__")
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// serde's words for what was wanted, in ours.
fn expectation(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "a single value",
        "a map" | "map" => "keys with values",
        other if other.starts_with("struct ") => "keys with values",
        other => other,
    }
}

/// What kind of value was found; never the value.
const fn kind_of(found: &Actual) -> &'static str {
    match found {
        Actual::Seq => "a list",
        Actual::Map => "keys with values",
        _ => "a single value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_s_file_is_exposed_when_more_can_read_it_than_have_to() {
        for (mode, owner, exposed) in [
            (0o600, 7, false),
            (0o400, 7, false),
            (0o640, 7, true),
            (0o604, 7, true),
            (0o440, 0, false),
            (0o640, 8, false),
            (0o644, 0, true),
            (0o004, 8, true),
        ] {
            assert_eq!(is_exposed(mode, owner, 7), exposed, "{mode:o} of {owner}");
        }
        assert!(is_exposed(0o640, 8, 0));
    }
}
