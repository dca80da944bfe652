//! From raw text to valid values: every rule on them, in the order of the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::IpAddr,
    path::Path,
    time::Duration,
};

use figment::value::Value;
use secrecy::{ExposeSecret as _, ExposeSecretMut as _, SecretBox};
use url::Url;

use super::{
    Account, Api, ApiKey, Cadence, Config, ConfigError, DEFAULTS, Log, LogFormat, LogLevel, Overrides, Polling,
    RejectRateUnit, Shard, Web,
    layer::{Layer, shown_path},
    section::{Entry, IN_QUOTES, Reader, Section, all, quotes_hint},
    sources::Sources,
    units,
};
use crate::model::{AccountName, Currency};

/// The shortest interval or pause.
const SECOND: Duration = Duration::from_secs(1);

/// The longest interval or staleness: beyond any use, and well within what the system's clock can add up.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The longest `api.retry_after_max`.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// The most processes that can share the accounts.
const MOST_SHARDS: usize = 100_000;

/// The layers of a configuration, from the defaults to the command line.
pub fn layers(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
    sources: &mut Sources,
) -> Result<Vec<Layer>, ConfigError> {
    let defaults = Layer::yaml("defaults", DEFAULTS)?;
    let file = file.map_or_else(|| Ok(Layer::new("no file")), |path| Layer::file(path, sources));
    let environment = Layer::environment(environment);
    match file {
        Ok(file) => Ok(vec![defaults, file, environment, command_line(overrides)?]),
        // Without the file nothing can be said of the values, but variables that cannot be read are known.
        Err(error) => Err(ConfigError::all(environment.faults(2).chain([error.clone()])).unwrap_or(error)),
    }
}

/// A whole configuration of layers, each of which goes over the one before. `sources` are the files that they were read
/// from.
pub fn config(mut layers: Vec<Layer>, mut sources: Sources) -> Result<Config, ConfigError> {
    let faults = one_key_each(&mut layers).into_iter().chain(faults_of(&layers)).collect();
    let reader = Reader::new(&layers, faults);
    let mut warnings = Vec::new();
    let mut root = reader.root();
    let config = all!(Config {
        api: root.take("api").section(api),
        polling: root.take("polling").section(polling),
        accounts: accounts(root.take("accounts"), &mut sources, &mut warnings),
        accounts_in_all_shards: Some(0),
        block_subsidies: block_subsidies(root.take("coins")),
        shard: root.take("shard").section(shard),
        web: root.take("web").section(web_section),
        log: root.take("log").section(log),
        sources: Some(mem::take(&mut sources)),
        warnings: Some(mem::take(&mut warnings)),
    });
    root.refuse_unknown();
    let mut config = reader.finish(config)?;
    config.warnings.extend(shared_keys(&config.accounts));
    config.accounts_in_all_shards = config.accounts.len();
    let shard = config.shard;
    config.accounts.retain(|name, _| shard.holds(name));
    Ok(config)
}

/// Only the serving side; nothing of the accounts is read.
pub fn web(layers: &[Layer]) -> Result<Web, ConfigError> {
    let reader = Reader::new(layers, faults_of(layers).collect());
    let web = reader.root().take("web").section(web_section);
    reader.finish(web)
}

/// What is wrong with variables.
fn faults_of(layers: &[Layer]) -> impl Iterator<Item = ConfigError> {
    layers.iter().enumerate().flat_map(|(number, layer)| layer.faults(number))
}

/// Refuses `api_key` beside `api_key_file` in one layer, and lets a later layer's replace an earlier layer's,
/// whichever of the two it is.
fn one_key_each(layers: &mut [Layer]) -> Vec<ConfigError> {
    const KEYS: [&str; 2] = ["api_key", "api_key_file"];
    let mut faults = Vec::new();
    let mut set_later: BTreeSet<String> = BTreeSet::new();
    for (number, layer) in layers.iter_mut().enumerate().rev() {
        let mut with_both = Vec::new();
        if let Some(Value::Dict(_, accounts)) = layer.values_mut().get_mut("accounts") {
            for (name, account) in accounts.iter_mut() {
                let Value::Dict(_, account) = account else { continue };
                if KEYS.iter().all(|key| account.contains_key(*key)) {
                    with_both.push(name.clone());
                }
                if set_later.contains(name) {
                    account.retain(|key, _| !KEYS.contains(&key.as_str()));
                } else if KEYS.iter().any(|key| account.contains_key(*key)) {
                    set_later.insert(name.clone());
                }
            }
        }
        for name in with_both {
            let path = ["accounts".to_owned(), name, "api_key".to_owned()];
            // A variable that holds the whole account is the place of the account only.
            let place = (0..=path.len()).rev().find_map(|length| layer.place(&path[..length])).cloned();
            let message = "has both api_key and api_key_file; remove one of them";
            let message = format!("{}: {message}", shown_path(&path[..path.len() - 1]));
            let place = place.unwrap_or_else(|| "configuration".into());
            faults.push(ConfigError::new(place.in_layer(number), message));
        }
    }
    faults
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

fn api(api: &mut Section<'_>) -> Option<Api> {
    let base_url = api.take("base_url").check(base_url);
    let plain_to_others = base_url.as_ref().is_some_and(|url| url.scheme() == "http" && !is_loopback(url));
    let read = all!(Api {
        base_url,
        timeout: api
            .take("timeout")
            .duration(Duration::from_millis(100)..=Duration::from_secs(600), "must be from 100ms to 10m"),
        concurrency: api.take("concurrency").integer(1..=1000),
        requests_per_second: api
            .take("requests_per_second")
            .parse("a number above 0 and at most 1000", |text| number(text).filter(|&n| n <= 1000.0)),
        page_size: api.take("page_size").integer(1..=Api::LARGEST_PAGE),
        max_response_bytes: api.take("max_response_bytes").parse("a size from 1KiB to 1GiB, such as 8MiB", |text| {
            units::bytes(text).filter(|n| (1 << 10..=1 << 30).contains(n))
        }),
        retry_after_max: api.take("retry_after_max").duration(SECOND..=LONGEST_PAUSE, "must be from 1s to 24h"),
        reject_rate_unit: api.take("reject_rate_unit").parse("ratio or percent", |text| match text {
            "ratio" => Some(RejectRateUnit::Ratio),
            "percent" => Some(RejectRateUnit::Percent),
            _ => None,
        }),
        day_utc_offset: api
            .take("day_utc_offset")
            .parse("an offset such as +08:00, from -12:00 to +14:00", units::utc_offset),
    });
    let allow_insecure_http = api.take("allow_insecure_http").truth();
    if plain_to_others && allow_insecure_http == Some(false) {
        let message = "http:// would send the keys unencrypted; use https://, or set api.allow_insecure_http: true";
        return api.fault("base_url", message);
    }
    read
}

fn base_url(text: &str) -> Result<Url, String> {
    let Ok(url) = Url::parse(text.trim()) else {
        return Err(format!("is not a URL such as https://btcpool.kz/ru/api{}", quotes_hint(text.trim())));
    };
    let error = if !url.username().is_empty() || url.password().is_some() {
        "must not hold a user or a password; keys belong under accounts"
    } else if url.query().is_some() || url.fragment().is_some() {
        "must end with the path: the part after \"?\" or \"#\" is the exporter's own"
    } else if url.host().is_none() {
        "has no host"
    } else if !["https", "http"].contains(&url.scheme()) {
        "must begin with https://"
    } else {
        return Ok(url);
    };
    Err(error.to_owned())
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn polling(polling: &mut Section<'_>) -> Option<Polling> {
    all!(Polling { live: polling.take("live").section(cadence), history: polling.take("history").section(cadence) })
}

fn cadence(cadence: &mut Section<'_>) -> Option<Cadence> {
    let (interval, stale_after) = (cadence.take("interval"), cadence.take("stale_after"));
    let (interval_text, stale_after_text) = (interval.raw().to_owned(), stale_after.raw().to_owned());
    let interval = interval.duration(SECOND..=Duration::MAX, "must be at least 1s");
    let stale_after = stale_after.duration(Duration::ZERO..=LONGEST, "must be at most 8784h (a year)");
    let (interval, stale_after) = (interval?, stale_after?);
    if interval >= stale_after {
        // The one that was set last is what to look at; the other may be a default.
        let (key, message) = if cadence.layer_of("interval") > cadence.layer_of("stale_after") {
            ("interval", format!("must be less than stale_after ({stale_after_text})"))
        } else {
            ("stale_after", format!("must be more than the interval ({interval_text})"))
        };
        let message = format!("{message}, or every answer would leave before the next one comes");
        return cadence.fault(key, message);
    }
    Some(Cadence { interval, stale_after })
}

fn accounts(
    accounts: Entry<'_>,
    sources: &mut Sources,
    warnings: &mut Vec<String>,
) -> Option<BTreeMap<AccountName, Account>> {
    let list =
        "expected the accounts' names as keys, found a list; write farm_a: { api_key_file: ... }, without a dash";
    accounts.map_or(list, |name, entry| {
        let parsed = name.parse::<AccountName>().map_or_else(|error| entry.fault(error), Some);
        let account = entry.section(|section| account(name, section, sources, warnings));
        Some((parsed?, account?))
    })
}

fn account(
    name: &str,
    account: &mut Section<'_>,
    sources: &mut Sources,
    warnings: &mut Vec<String>,
) -> Option<Account> {
    let (key, key_file) = (account.take("api_key"), account.take("api_key_file"));
    let has_key = key.is_set() || key_file.is_set();
    let key = if key.is_set() {
        key.check(ApiKey::parse)
    } else if key_file.is_set() {
        key_file.path().and_then(|file| match read_key_file(&file, sources) {
            Ok((key, warning)) => {
                warnings.extend(warning.map(|warning| format!("accounts.{name}.api_key_file: {warning}")));
                Some(key)
            }
            Err(error) => account.fault("api_key_file", error),
        })
    } else {
        None
    };
    let currencies: Option<BTreeSet<Currency>> = account
        .take("currencies")
        .or("BTC")
        .list_of("a currency of the pool: BTC, BCH or LTC", "is empty; name at least one of BTC, BCH and LTC", |text| {
            text.parse().ok()
        })
        .map(BTreeSet::from_iter);
    let labels = account.take("labels").or_empty().map(|key, value| label(name, key, value, warnings));
    let expected_hashrate = account.take("expected_hashrate").or_empty().map(|coin, entry| {
        let currency = currency_key(&entry, coin);
        if let (Some(currency), Some(currencies)) = (currency, &currencies)
            && !currencies.contains(&currency)
        {
            return entry.fault(format!("{currency} is not among the account's currencies; add it there"));
        }
        let hashrate = entry.parse("a hashrate such as 12 PH/s or 950 TH/s", units::hashrate);
        Some((currency?, hashrate?))
    });
    let workers_max = account.take("workers").or_empty().section(|workers| {
        let enabled = workers.take("enabled").or("true").truth();
        let max = workers.take("max").or("20000").integer(1..=10_000_000);
        Some(enabled?.then_some(max?))
    });
    if !has_key {
        return account.missing(&["api_key", "api_key_file"], "has no key; set api_key_file (or api_key)");
    }
    all!(Account { key, currencies, labels, expected_hashrate, workers_max })
}

fn label(account: &str, label: &str, entry: Entry<'_>, warnings: &mut Vec<String>) -> Option<(String, String)> {
    if !is_label_name(label) {
        return entry.fault("is no label name: letters, digits and _, not a digit first, not __ first");
    }
    if label == "account" {
        return entry.fault("the label account is the account's name already; use another");
    }
    let value = entry.text()?;
    if value.len() > 1 && value.starts_with('"') && value.ends_with('"') {
        let path = shown_path(&["accounts", account, "labels", label]);
        warnings.push(format!("{path}: {IN_QUOTES}, unless they belong to the label"));
    }
    Some((label.to_owned(), value))
}

fn block_subsidies(coins: Entry<'_>) -> Option<BTreeMap<Currency, f64>> {
    coins.map(|coin, entry| {
        let currency = currency_key(&entry, coin);
        let subsidy = entry.section(|coin| coin.take("block_subsidy").parse("a number of coins above 0", number));
        Some((currency?, subsidy?))
    })
}

/// A currency that is a key. Only capitals: were `btc` a key, too, the layers could not go over each other.
fn currency_key(entry: &Entry<'_>, key: &str) -> Option<Currency> {
    let exact = |text: &str| Currency::ALL.into_iter().find(|currency| currency.as_str() == text);
    entry.parse_key(key, "a currency of the pool, in capitals: BTC, BCH or LTC", exact)
}

/// A number above 0.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|&number: &f64| number.is_finite() && number > 0.0)
}

fn shard(shard: &mut Section<'_>) -> Option<Shard> {
    let index = shard.take("index");
    let count = shard.take("count").integer(1..=MOST_SHARDS);
    let most = count.unwrap_or(MOST_SHARDS) - 1;
    let index = index.check(|text| match text.trim().parse::<usize>() {
        Ok(index) if count.is_none() || index <= most => Ok(index as u64),
        Ok(index) => Err(format!("\"{index}\" is not below shard.count ({}); the index counts from 0", most + 1)),
        Err(_) => Err(format!("{text:?} is not a whole number from 0 to {most}{}", quotes_hint(text.trim()))),
    });
    Some(Shard { index: index?, count: count? as u64 })
}

fn web_section(web: &mut Section<'_>) -> Option<Web> {
    let address = "an address to listen on, such as :10058, 127.0.0.1:10058 or [::1]:10058";
    all!(Web {
        listen_addresses: web.take("listen_addresses").list_of(
            address,
            "is empty; name at least one address",
            |text| text.parse().ok()
        ),
        telemetry_path: web
            .take("telemetry_path")
            .parse("a path such as /metrics, and none of the exporter's own (/, /sd, /-/...)", telemetry_path),
        max_requests: web.take("max_requests").integer(0..=1_000_000),
        config_file: web.take("config_file").path().map(|file| Some(file).filter(|file| !file.as_os_str().is_empty())),
        enable_lifecycle: web.take("enable_lifecycle").truth(),
        systemd_socket: web.take("systemd_socket").truth(),
    })
}

fn telemetry_path(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    let valid = text.starts_with('/') && text.chars().all(plain) && !text.contains("//");
    let own = ["/", "/sd"].contains(&text) || text.starts_with("/-/");
    (valid && !own).then(|| text.to_owned())
}

fn log(log: &mut Section<'_>) -> Option<Log> {
    let levels = [
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
        ("warning", LogLevel::Warn),
        ("error", LogLevel::Error),
    ];
    let formats = [("logfmt", LogFormat::Logfmt), ("json", LogFormat::Json)];
    all!(Log {
        level: log.take("level").word("debug, info, warn or error", &levels),
        format: log.take("format").word("logfmt or json", &formats),
    })
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
    let unreadable = |error: std::io::Error| {
        // systemd provides a service's credentials there, while the service runs.
        let hint = if path.starts_with("/run/credentials") && error.kind() == std::io::ErrorKind::NotFound {
            "; systemd did not provide the file: the service is not running, its LoadCredential= does not name the file, or \
             LoadCredential= was switched off, as in LXC (docs/systemd.md, \"In an LXC container\")"
        } else {
            ""
        };
        format!("{shown} cannot be read: {error}{hint}")
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a regular file"));
    }
    let limit = ApiKey::MAX_BYTES as u64;
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // With its full capacity from the start, so that it never grows and leaves a copy behind; it is wiped when dropped.
    let mut content = SecretBox::new(Box::new(Vec::with_capacity(2 * ApiKey::MAX_BYTES)));
    file.take(limit + 1).read_to_end(content.expose_secret_mut()).map_err(unreadable)?;
    let content = content.expose_secret().as_slice();
    if content.len() as u64 > limit {
        return Err(format!("{shown} has more than 4 KiB, which no key has"));
    }
    sources.add(path, content);
    if content.starts_with(b"\xFF\xFE") || content.starts_with(b"\xFE\xFF") {
        return Err(format!("{shown} is UTF-16 text; save it as UTF-8 (in PowerShell: -Encoding ascii)"));
    }
    let text = std::str::from_utf8(content).map_err(|_| format!("{shown} is not text"))?;
    // Editors on Windows begin a file with a byte-order mark.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let key = ApiKey::parse(text).map_err(|error| format!("{shown}: {error}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_file_exposed_by_its_mode() {
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
