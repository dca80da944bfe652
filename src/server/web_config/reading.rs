//! From raw text to a valid web configuration: the shape of the file, and every rule on its values.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    time::Duration,
};

use axum::http::{HeaderName, HeaderValue, header};
use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        SupportedKxGroup,
        ring::{self, cipher_suite, kx_group},
    },
    version::{TLS12, TLS13},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{BcryptHash, ClientAuth, Pem, RateLimit, TLS, Tls, WebConfig, pem::PemSource};
use crate::config::{
    ConfigError,
    layer::{Layer, shown_key},
    reading::Reader,
    unknown::unknown_key,
};

/// Reads YAML text. `name` stands for it in errors; files that it names are looked for from `directory`.
pub fn web_config(name: &str, text: &str, directory: &Path) -> Result<WebConfig, ConfigError> {
    let layers = [Layer::yaml(name, text)?];
    let [layer] = &layers;
    let reader = Reader::new(&layers);
    reader.sections_are_mappings()?;
    let raw: RawWebConfig = reader.extract()?;
    let mut border = Border { reader, layer, directory, warnings: Vec::new() };
    let tls = border.tls(&raw.tls_server_config)?;
    let http2 = border.truth(&["http_server_config", "http2"], &raw.http_server_config.http2)?;
    let headers = border.headers(&raw.http_server_config.headers)?;
    let users = border.users(&raw.basic_auth_users)?;
    let rate_limit = border.rate_limit(&raw.rate_limit)?;
    Ok(WebConfig { tls, http2, headers, users, rate_limit, warnings: border.warnings })
}

/// The file as it is written. Nothing of it is shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWebConfig {
    #[serde(default)]
    tls_server_config: RawTls,
    #[serde(default)]
    http_server_config: RawHttp,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, Text>,
    #[serde(default)]
    rate_limit: RawRateLimit,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawTls {
    cert_file: Text,
    key_file: Text,
    cert: Text,
    key: Text,
    client_auth_type: Text,
    client_ca_file: Text,
    client_ca: Text,
    client_allowed_sans: List,
    min_version: Text,
    max_version: Text,
    cipher_suites: List,
    prefer_server_cipher_suites: Text,
    curve_preferences: List,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawHttp {
    http2: Text,
    headers: BTreeMap<String, Text>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct RawRateLimit {
    interval: Text,
    burst: Text,
}

/// A scalar; `None` when its key is not there, or has no value, which is the same to exporter-toolkit.
#[derive(Default)]
struct Text(Option<String>);

impl Text {
    /// What is written, if anything is; exporter-toolkit takes "" for nothing in most places.
    fn filled(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a single value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Text, A::Error> {
                no_value(map, &self).map(|()| Text(None))
            }
        }

        deserializer.deserialize_any(TextVisitor)
    }
}

/// A list; `None` when its key is not there, or has no value.
#[derive(Default)]
struct List(Option<Vec<String>>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor;

        impl<'de> Visitor<'de> for ListVisitor {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(List(Some(list)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<List, A::Error> {
                no_value(map, &self).map(|()| List(None))
            }
        }

        deserializer.deserialize_any(ListVisitor)
    }
}

/// A key without a value comes as an empty mapping.
fn no_value<'de, A: MapAccess<'de>>(mut map: A, expected: &dyn serde::de::Expected) -> Result<(), A::Error> {
    match map.next_entry::<IgnoredAny, IgnoredAny>()? {
        None => Ok(()),
        Some(_) => Err(A::Error::invalid_type(serde::de::Unexpected::Map, expected)),
    }
}

/// Where raw text becomes valid.
struct Border<'a> {
    reader: Reader<'a>,
    layer: &'a Layer,
    directory: &'a Path,
    warnings: Vec<String>,
}

/// A name that exporter-toolkit knows, and what it stands for here; `None`: this exporter's TLS has it not.
type Known<T> = (&'static str, Option<T>);

/// Go's names of the cipher suites that Go holds to be secure. Those of TLS 1.3 are not for choosing.
static CIPHER_SUITES: [Known<&SupportedCipherSuite>; 13] = [
    ("TLS_AES_128_GCM_SHA256", Some(&cipher_suite::TLS13_AES_128_GCM_SHA256)),
    ("TLS_AES_256_GCM_SHA384", Some(&cipher_suite::TLS13_AES_256_GCM_SHA384)),
    ("TLS_CHACHA20_POLY1305_SHA256", Some(&cipher_suite::TLS13_CHACHA20_POLY1305_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Some(&cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", Some(&cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Some(&cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", Some(&cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", Some(&cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", Some(&cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", None),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", None),
];

/// exporter-toolkit's names of the curves.
static CURVES: [Known<&&dyn SupportedKxGroup>; 4] = [
    ("X25519", Some(&kx_group::X25519)),
    ("CurveP256", Some(&kx_group::SECP256R1)),
    ("CurveP384", Some(&kx_group::SECP384R1)),
    ("CurveP521", None),
];

/// The headers that may be set, and their values; empty: any.
const HEADERS: [(&str, HeaderName, &[&str]); 5] = [
    ("Content-Security-Policy", header::CONTENT_SECURITY_POLICY, &[]),
    ("Strict-Transport-Security", header::STRICT_TRANSPORT_SECURITY, &[]),
    ("X-Content-Type-Options", header::X_CONTENT_TYPE_OPTIONS, &["nosniff"]),
    ("X-Frame-Options", header::X_FRAME_OPTIONS, &["deny", "sameorigin"]),
    ("X-XSS-Protection", header::X_XSS_PROTECTION, &[]),
];

impl Border<'_> {
    fn warn(&mut self, path: &[&str], message: impl fmt::Display) {
        self.warnings.push(self.reader.error(path, message).to_string());
    }

    /// A truth as YAML 1.1 has them, which is what exporter-toolkit reads. All of them default to true.
    fn truth(&self, path: &[&str], text: &Text) -> Result<bool, ConfigError> {
        let Some(text) = &text.0 else { return Ok(true) };
        let quoted = self.layer.is_quoted(path);
        self.reader.read(path, text, "true or false (without quotes)", |text| match text {
            _ if quoted => None,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
            _ => None,
        })
    }

    fn tls(&mut self, raw: &RawTls) -> Result<Option<Tls>, ConfigError> {
        let versions = self.versions(raw)?;
        let cipher_suites = self.cipher_suites(&raw.cipher_suites, &versions)?;
        let path = [TLS, "curve_preferences"];
        let kx_groups = match self.known(&path, &raw.curve_preferences, &CURVES)? {
            Some(groups) => groups.into_iter().copied().collect(),
            None => ring::default_provider().kx_groups,
        };
        let prefer_server_cipher_suites =
            self.truth(&[TLS, "prefer_server_cipher_suites"], &raw.prefer_server_cipher_suites)?;
        let client_auth_type = self.client_auth_type(raw)?;
        let certificate = self.pem(("cert_file", &raw.cert_file), ("cert", &raw.cert));
        let key = self.pem(("key_file", &raw.key_file), ("key", &raw.key));
        let authorities = self.pem(("client_ca_file", &raw.client_ca_file), ("client_ca", &raw.client_ca));
        let client_allowed_sans = raw.client_allowed_sans.0.as_ref().map(|names| names.iter().cloned().collect());
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) if authorities.is_none() && client_auth_type.is_none() => {
                if raw.says_something() {
                    self.warn(&[TLS], "there is neither cert_file nor key_file, so nothing is encrypted");
                }
                return Ok(None);
            }
            (None, _) => return Err(self.reader.error(&[TLS], "has no certificate; set cert_file (or cert)")),
            (Some(_), None) => return Err(self.reader.error(&[TLS], "has no key; set key_file (or key)")),
        };
        let client_auth = match (client_auth_type.unwrap_or(ClientAuthType::NoCertificate), authorities) {
            (ClientAuthType::NoCertificate, None) => ClientAuth::None,
            (ClientAuthType::NoCertificate, Some(authorities)) => {
                let message = "nobody is asked for a certificate; set client_auth_type: RequireAndVerifyClientCert";
                return Err(self.reader.error(&[TLS, authorities.key], message));
            }
            (ClientAuthType::Unverified { required }, authorities) => ClientAuth::Unverified { required, authorities },
            (ClientAuthType::Verified { required }, Some(authorities)) => {
                ClientAuth::Verified { required, authorities }
            }
            (ClientAuthType::Verified { .. }, None) => {
                let message = "whose signature counts is not said; set client_ca_file (or client_ca)";
                return Err(self.reader.error(&[TLS, "client_auth_type"], message));
            }
        };
        let path = [TLS, "client_allowed_sans"];
        match (&client_allowed_sans, &client_auth) {
            (None, _) | (Some(_), ClientAuth::Verified { required: true, .. }) => {}
            (Some(_), ClientAuth::None) => {
                self.warn(&path, "keeps nobody out: client_auth_type asks for no certificate");
            }
            (Some(_), ClientAuth::Unverified { .. }) => {
                self.warn(&path, "keeps nobody out: client_auth_type lets clients sign their certificates themselves");
            }
            (Some(_), ClientAuth::Verified { required: false, .. }) => {
                self.warn(&path, "requires a certificate of every client, although client_auth_type does not");
            }
        }
        Ok(Some(Tls {
            certificate,
            key,
            client_auth,
            client_allowed_sans,
            versions,
            cipher_suites,
            kx_groups,
            prefer_server_cipher_suites,
        }))
    }

    /// PEM text that stands in a file or here; the file goes first.
    fn pem(&mut self, file: (&'static str, &Text), inline: (&'static str, &Text)) -> Option<Pem> {
        let (key, source) = match (file.1.filled(), inline.1.filled()) {
            (Some(path), other) => {
                if other.is_some() {
                    self.warn(&[TLS, inline.0], format!("is not looked at: {} is set, too", file.0));
                }
                (file.0, PemSource::File(self.directory.join(path)))
            }
            (None, Some(text)) => (inline.0, PemSource::Inline(text.into())),
            (None, None) => return None,
        };
        let place = self.reader.place(&[TLS.to_owned(), key.to_owned()]);
        Some(Pem { key, place, source })
    }

    fn client_auth_type(&self, raw: &RawTls) -> Result<Option<ClientAuthType>, ConfigError> {
        let Some(text) = raw.client_auth_type.filled() else { return Ok(None) };
        let expected = "NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven or \
                        RequireAndVerifyClientCert";
        let parse = |text: &str| match text {
            "NoClientCert" => Some(ClientAuthType::NoCertificate),
            "RequestClientCert" => Some(ClientAuthType::Unverified { required: false }),
            // The second name is an old one.
            "RequireAnyClientCert" | "RequireClientCert" => Some(ClientAuthType::Unverified { required: true }),
            "VerifyClientCertIfGiven" => Some(ClientAuthType::Verified { required: false }),
            "RequireAndVerifyClientCert" => Some(ClientAuthType::Verified { required: true }),
            _ => None,
        };
        self.reader.read(&[TLS, "client_auth_type"], text, expected, parse).map(Some)
    }

    fn versions(&mut self, raw: &RawTls) -> Result<Vec<&'static SupportedProtocolVersion>, ConfigError> {
        let version = |path: [&str; 2], text: &Text, default| match &text.0 {
            None => Ok(default),
            Some(text) => self.reader.read(&path, text, "TLS10, TLS11, TLS12 or TLS13", |text| match text {
                "TLS10" => Some(10),
                "TLS11" => Some(11),
                "TLS12" => Some(12),
                "TLS13" => Some(13),
                _ => None,
            }),
        };
        let (min_path, max_path) = ([TLS, "min_version"], [TLS, "max_version"]);
        let least = version(min_path, &raw.min_version, 12)?;
        let most = version(max_path, &raw.max_version, 13)?;
        if most < 12 {
            return Err(self
                .reader
                .error(&max_path, "TLS 1.0 and 1.1 are broken and not supported; use TLS12 or TLS13"));
        }
        if least > most {
            return Err(self.reader.error(&min_path, "is above max_version, so no version is left"));
        }
        if least < 12 {
            self.warn(&min_path, "TLS 1.0 and 1.1 are broken and not supported; the least version is TLS12");
        }
        let known = [(12, &TLS12), (13, &TLS13)];
        Ok(known.into_iter().filter(|(version, _)| (least..=most).contains(version)).map(|(_, tls)| tls).collect())
    }

    /// Every suite of TLS 1.3, and those of TLS 1.2 that were chosen.
    fn cipher_suites(
        &mut self,
        list: &List,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Vec<SupportedCipherSuite>, ConfigError> {
        let path = [TLS, "cipher_suites"];
        let mut suites = ring::default_provider().cipher_suites;
        if let Some(chosen) = self.known(&path, list, &CIPHER_SUITES)? {
            suites.retain(|suite| suite.version() == &TLS13);
            suites.extend(chosen.into_iter().filter(|suite| suite.version() == &TLS12).copied());
        }
        if suites.iter().any(|suite| versions.contains(&suite.version())) {
            return Ok(suites);
        }
        Err(self.reader.error(&path, "names no suite of TLS 1.2, and max_version allows no other version"))
    }

    /// What the names of a list stand for, each once; `None` when the list is empty or not there. Names that stand for
    /// nothing here are left out with a warning, as long as others remain.
    fn known<T: Copy>(
        &mut self,
        path: &[&str; 2],
        list: &List,
        known: &'static [Known<T>],
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(names) = list.0.as_ref().filter(|names| !names.is_empty()) else { return Ok(None) };
        let (mut found, mut unsupported) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            let index = index.to_string();
            let all: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            let expected = format!("one of {}", all.join(", "));
            let of_name = |text: &str| known.iter().find(|(name, _)| *name == text);
            let (name, value) = self.reader.read(&[path[0], path[1], &index], name, &expected, of_name)?;
            match value {
                _ if !seen.insert(name) => {}
                Some(value) => found.push(*value),
                None => unsupported.push(*name),
            }
        }
        let unsupported = unsupported.join(", ");
        if found.is_empty() {
            return Err(self.reader.error(path, format!("nothing of this is supported here: {unsupported}")));
        }
        if !unsupported.is_empty() {
            self.warn(path, format!("not supported here, and left out: {unsupported}"));
        }
        Ok(Some(found))
    }

    fn headers(&self, raw: &BTreeMap<String, Text>) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
        let mut headers = Vec::new();
        for (name, text) in raw {
            let path = ["http_server_config", "headers", name];
            let Some((_, header, values)) = HEADERS.iter().find(|(known, ..)| known == name) else {
                let message = unknown_key(name, &HEADERS.map(|(known, ..)| known));
                return Err(self.reader.error_as(&path, shown_key(name), message));
            };
            let text = text.0.as_deref().unwrap_or_default();
            if !values.is_empty() && !values.contains(&text) {
                let expected = values.join(" or ");
                return Err(self.reader.error(&path, format!("{text:?} is not {expected}")));
            }
            // A policy may be written over several lines.
            let line = text.replace(['\r', '\n'], " ");
            let line = line.trim();
            if !line.is_empty() {
                let value = HeaderValue::from_bytes(line.as_bytes());
                let message = "has a character that no header may hold";
                headers.push((header.clone(), value.map_err(|_| self.reader.error(&path, message))?));
            }
        }
        Ok(headers)
    }

    fn users(&mut self, raw: &BTreeMap<String, Text>) -> Result<BTreeMap<String, BcryptHash>, ConfigError> {
        let mut users = BTreeMap::new();
        for (name, hash) in raw {
            let path = ["basic_auth_users", name];
            // Name and hash may have changed places.
            let shown = if name.contains('$') { "(not shown)" } else { name };
            let hash = BcryptHash::parse(hash.0.as_deref().unwrap_or_default());
            let hash = hash.map_err(|message| self.reader.error_as(&path, shown, message))?;
            if name.contains(':') {
                let message = "can never log in: basic authentication ends a name at the first colon";
                self.warnings.push(self.reader.error_as(&path, shown, message).to_string());
            }
            users.insert(name.clone(), hash);
        }
        Ok(users)
    }

    fn rate_limit(&mut self, raw: &RawRateLimit) -> Result<Option<RateLimit>, ConfigError> {
        let interval_path = ["rate_limit", "interval"];
        let interval = raw.interval.0.as_ref().map_or(Ok(0), |text| {
            let quoted = self.layer.is_quoted(&interval_path);
            self.reader.read(&interval_path, text, "a duration such as 1s, 100ms or 1m30s", |text| {
                // exporter-toolkit takes a bare number for nanoseconds.
                text.parse().ok().filter(|_| !quoted).or_else(|| go_duration(text))
            })
        })?;
        let burst_path = ["rate_limit", "burst"];
        let burst: i64 = raw.burst.0.as_ref().map_or(Ok(0), |text| {
            let quoted = self.layer.is_quoted(&burst_path);
            self.reader.read(&burst_path, text, "a whole number (without quotes)", |text| {
                text.parse().ok().filter(|_| !quoted)
            })
        })?;
        let Ok(interval) = u64::try_from(interval) else {
            self.warn(&interval_path, "is below zero, so there is no limit");
            return Ok(None);
        };
        if interval == 0 {
            return Ok(None);
        }
        if raw.interval.0.as_ref().is_some_and(|text| text.trim().bytes().all(|byte| byte.is_ascii_digit())) {
            self.warn(&interval_path, "has no unit, and so is in nanoseconds");
        }
        if burst <= 0 {
            let path: &[&str] = if raw.burst.0.is_some() { &burst_path } else { &["rate_limit"] };
            self.warn(path, "every request will be refused; burst must be at least 1");
        }
        let burst = u32::try_from(burst.max(0)).unwrap_or(u32::MAX);
        Ok(Some(RateLimit { interval: Duration::from_nanos(interval), burst }))
    }
}

/// `client_auth_type`, before it is known whose signatures count.
#[derive(Clone, Copy)]
enum ClientAuthType {
    NoCertificate,
    Unverified { required: bool },
    Verified { required: bool },
}

impl RawTls {
    /// Whether anything is set at all.
    fn says_something(&self) -> bool {
        let Self { client_allowed_sans, cipher_suites, curve_preferences, .. } = self;
        let Self { min_version, max_version, prefer_server_cipher_suites, cert_file, key_file, cert, key, .. } = self;
        let empty = [cert_file, key_file, cert, key];
        [client_allowed_sans, cipher_suites, curve_preferences].iter().any(|list| list.0.is_some())
            || [min_version, max_version, prefer_server_cipher_suites].iter().any(|text| text.0.is_some())
            || empty.iter().any(|text| text.0.is_some())
    }
}

/// A duration as Go writes them, in nanoseconds: `1h30m`, `1.5s`, `-100ms`, `0`.
fn go_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0_i64;
    loop {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(unit_at);
        let next = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(next);
        let nanoseconds: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(nanoseconds)?)?;
        let mut place = nanoseconds;
        for digit in fraction.bytes() {
            place /= 10;
            total = total.checked_add(i64::from(digit - b'0') * place)?;
        }
        rest = behind;
        if rest.is_empty() {
            return Some(sign * total);
        }
    }
}
