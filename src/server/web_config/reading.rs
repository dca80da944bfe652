//! From raw text to a valid web configuration: the shape of the file, and every rule on its values.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
    time::Duration,
};

use super::{BcryptHash, ClientAuth, Pem, RateLimit, TLS, Tls, WebConfig, pem::PemSource};
use crate::config::{
    ConfigError,
    layer::{Layer, shown_key},
    section::{Entry, Reader, Section, all},
    unknown::unknown_key,
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

/// Reads YAML text. `name` stands for it in errors; files that it names are looked for from `directory`.
pub fn web_config(name: &str, text: &str, directory: &Path) -> Result<WebConfig, ConfigError> {
    let layers = [Layer::yaml(name, text)?];
    let [layer] = &layers;
    let reader = Reader::new(&layers, Vec::new());
    let mut border = Border { reader: &reader, layer, directory, warnings: Vec::new() };
    let mut root = reader.root();
    let tls = root.take(TLS).or_empty().section(|tls| border.tls(tls));
    let http = root.take("http_server_config").or_empty().section(|http| border.http(http));
    let users = border.users(root.take("basic_auth_users").or_empty());
    let rate_limit = root.take("rate_limit").or_empty().section(|limit| border.rate_limit(limit));
    root.refuse_unknown();
    let warnings = Some(border.warnings);
    let (http2, headers) = http.unzip();
    let config = all!(WebConfig { tls, http2, headers, users, rate_limit, warnings });
    reader.finish(config)
}

/// Where raw text becomes valid.
struct Border<'a> {
    reader: &'a Reader<'a>,
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

/// A text of the file; `None` when its key is not there, or has no value, which is the same to exporter-toolkit.
type Text = Option<String>;

/// What is written, if anything is; exporter-toolkit takes "" for nothing in most places.
fn filled(text: &Text) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

impl Border<'_> {
    fn warn(&mut self, path: &[&str], message: impl fmt::Display) {
        self.warnings.push(self.reader.error(path, message).to_string());
    }

    /// A truth as YAML 1.1 has them, which is what exporter-toolkit reads. All of them default to true.
    fn truth(&self, path: &[&str], entry: Entry<'_>) -> Option<bool> {
        let Some(text) = text(entry)? else { return Some(true) };
        let quoted = self.layer.is_quoted(path);
        self.reader.parse(path, &text, "true or false (without quotes)", |text| match text {
            _ if quoted => None,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
            _ => None,
        })
    }

    /// The outer `None` is a fault, the inner one is plain HTTP.
    fn tls(&mut self, section: &mut Section<'_>) -> Option<Option<Tls>> {
        let keys = ["cert_file", "key_file", "cert", "key", "client_auth_type", "client_ca_file", "client_ca"];
        let [cert_file, key_file, cert, key, auth_type, ca_file, ca] = keys.map(|key| text(section.take(key)));
        let sans = list(section.take("client_allowed_sans"));
        let (min_version, max_version) = (text(section.take("min_version")), text(section.take("max_version")));
        let suites = list(section.take("cipher_suites"));
        let prefers = section.take("prefer_server_cipher_suites");
        let curves = list(section.take("curve_preferences"));
        // Whether anything is set at all, beside what is asked of clients.
        let says_something = prefers.has_value()
            || [&cert_file, &key_file, &cert, &key, &min_version, &max_version].iter().any(|it| **it != Some(None))
            || [&sans, &suites, &curves].iter().any(|list| **list != Some(None));

        let versions = min_version.zip(max_version).and_then(|(min, max)| self.versions(&min, &max));
        let cipher_suites = suites.and_then(|names| self.cipher_suites(names.as_deref(), versions.as_deref()));
        let kx_groups = curves.and_then(|names| self.known(&[TLS, "curve_preferences"], names.as_deref(), &CURVES));
        let kx_groups = kx_groups.map(|groups| match groups {
            Some(groups) => groups.into_iter().copied().collect(),
            None => ring::default_provider().kx_groups,
        });
        let prefer_server_cipher_suites = self.truth(&[TLS, "prefer_server_cipher_suites"], prefers);
        let client_auth_type = auth_type.and_then(|text| self.client_auth_type(filled(&text)));
        let certificate = cert_file.zip(cert).map(|(file, text)| self.pem(("cert_file", &file), ("cert", &text)));
        let key = key_file.zip(key).map(|(file, text)| self.pem(("key_file", &file), ("key", &text)));
        let authorities = ca_file.zip(ca).map(|(file, text)| self.pem(("client_ca_file", &file), ("client_ca", &text)));

        // What is missing is said of what could be read only.
        let nothing_encrypted = matches!(
            (&certificate, &key, &authorities, &client_auth_type),
            (Some(None), Some(None), Some(None), Some(None))
        );
        if nothing_encrypted {
            if says_something {
                self.warn(&[TLS], "there is neither cert_file nor key_file, so nothing is encrypted");
            }
            // The rest was read for its faults.
            let rest = (versions, cipher_suites, kx_groups, prefer_server_cipher_suites, sans);
            return matches!(rest, (Some(_), Some(_), Some(_), Some(_), Some(_))).then_some(None);
        }
        let certificate = certificate.and_then(|certificate| {
            certificate.or_else(|| self.reader.fault(&[TLS], "has no certificate; set cert_file (or cert)"))
        });
        let key = match key {
            Some(None) if certificate.is_some() => self.reader.fault(&[TLS], "has no key; set key_file (or key)"),
            key => key.flatten(),
        };
        // Without a certificate nobody can be asked for one.
        let client_auth = client_auth_type.zip(authorities).filter(|_| certificate.is_some() && key.is_some());
        let client_auth = client_auth.and_then(|(kind, authorities)| {
            self.client_auth(kind.unwrap_or(ClientAuthType::NoCertificate), authorities)
        });
        let client_allowed_sans = sans.map(|names| names.map(BTreeSet::from_iter));
        if let (Some(Some(_)), Some(client_auth)) = (&client_allowed_sans, &client_auth) {
            self.warn_about_sans(client_auth);
        }
        let tls = all!(Tls {
            certificate,
            key,
            client_auth,
            client_allowed_sans,
            versions,
            cipher_suites,
            kx_groups,
            prefer_server_cipher_suites,
        });
        tls.map(Some)
    }

    fn client_auth(&self, kind: ClientAuthType, authorities: Option<Pem>) -> Option<ClientAuth> {
        match (kind, authorities) {
            (ClientAuthType::NoCertificate, None) => Some(ClientAuth::None),
            (ClientAuthType::NoCertificate, Some(authorities)) => {
                let message = "nobody is asked for a certificate; set client_auth_type: RequireAndVerifyClientCert";
                self.reader.fault(&[TLS, authorities.key], message)
            }
            (ClientAuthType::Unverified { required }, authorities) => {
                Some(ClientAuth::Unverified { required, authorities })
            }
            (ClientAuthType::Verified { required }, Some(authorities)) => {
                Some(ClientAuth::Verified { required, authorities })
            }
            (ClientAuthType::Verified { .. }, None) => {
                let message = "whose signature counts is not said; set client_ca_file (or client_ca)";
                self.reader.fault(&[TLS, "client_auth_type"], message)
            }
        }
    }

    fn warn_about_sans(&mut self, client_auth: &ClientAuth) {
        let message = match client_auth {
            ClientAuth::Verified { required: true, .. } => return,
            ClientAuth::None => "keeps nobody out: client_auth_type asks for no certificate",
            ClientAuth::Unverified { .. } => {
                "keeps nobody out: client_auth_type lets clients sign their certificates themselves"
            }
            ClientAuth::Verified { required: false, .. } => {
                "requires a certificate of every client, although client_auth_type does not"
            }
        };
        self.warn(&[TLS, "client_allowed_sans"], message);
    }

    /// PEM text that stands in a file or here; the file goes first.
    fn pem(&mut self, file: (&'static str, &Text), inline: (&'static str, &Text)) -> Option<Pem> {
        let (key, source) = match (filled(file.1), filled(inline.1)) {
            (Some(path), other) => {
                if other.is_some() {
                    self.warn(&[TLS, inline.0], format!("is not looked at: {} is set, too", file.0));
                }
                (file.0, PemSource::File(self.directory.join(path)))
            }
            (None, Some(text)) => (inline.0, PemSource::Inline(text.into())),
            (None, None) => return None,
        };
        let place = self.reader.place(&[TLS, key]);
        Some(Pem { key, place, source })
    }

    /// The outer `None` is a fault, the inner one is no value.
    fn client_auth_type(&self, text: Option<&str>) -> Option<Option<ClientAuthType>> {
        let Some(text) = text else { return Some(None) };
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
        self.reader.parse(&[TLS, "client_auth_type"], text, expected, parse).map(Some)
    }

    fn versions(&mut self, min: &Text, max: &Text) -> Option<Vec<&'static SupportedProtocolVersion>> {
        let version = |path: [&str; 2], text: &Text, default| match text {
            None => Some(default),
            Some(text) => self.reader.parse(&path, text, "TLS10, TLS11, TLS12 or TLS13", |text| match text {
                "TLS10" => Some(10),
                "TLS11" => Some(11),
                "TLS12" => Some(12),
                "TLS13" => Some(13),
                _ => None,
            }),
        };
        let (min_path, max_path) = ([TLS, "min_version"], [TLS, "max_version"]);
        let (least, most) = (version(min_path, min, 12), version(max_path, max, 13));
        let (least, most) = (least?, most?);
        if most < 12 {
            return self.reader.fault(&max_path, "TLS 1.0 and 1.1 are broken and not supported; use TLS12 or TLS13");
        }
        if least > most {
            return self.reader.fault(&min_path, "is above max_version, so no version is left");
        }
        if least < 12 {
            self.warn(&min_path, "TLS 1.0 and 1.1 are broken and not supported; the least version is TLS12");
        }
        let known = [(12, &TLS12), (13, &TLS13)];
        Some(known.into_iter().filter(|(version, _)| (least..=most).contains(version)).map(|(_, tls)| tls).collect())
    }

    /// Every suite of TLS 1.3, and those of TLS 1.2 that were chosen. `versions` is `None` if they could not be read.
    fn cipher_suites(
        &mut self,
        names: Option<&[String]>,
        versions: Option<&[&'static SupportedProtocolVersion]>,
    ) -> Option<Vec<SupportedCipherSuite>> {
        let path = [TLS, "cipher_suites"];
        let mut suites = ring::default_provider().cipher_suites;
        if let Some(chosen) = self.known(&path, names, &CIPHER_SUITES)? {
            suites.retain(|suite| suite.version() == &TLS13);
            suites.extend(chosen.into_iter().filter(|suite| suite.version() == &TLS12).copied());
        }
        let versions = versions?;
        if suites.iter().any(|suite| versions.contains(&suite.version())) {
            return Some(suites);
        }
        self.reader.fault(&path, "names no suite of TLS 1.2, and max_version allows no other version")
    }

    /// What the names of a list stand for, each once; the inner `None` when the list is empty or not there. Names that
    /// stand for nothing here are left out with a warning, as long as others remain.
    fn known<T: Copy>(
        &mut self,
        path: &[&str; 2],
        names: Option<&[String]>,
        known: &'static [Known<T>],
    ) -> Option<Option<Vec<T>>> {
        let Some(names) = names.filter(|names| !names.is_empty()) else { return Some(None) };
        let all: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", all.join(", "));
        let read = names.iter().enumerate().map(|(index, name)| {
            let index = index.to_string();
            let of_name = |text: &str| known.iter().find(|(name, _)| *name == text);
            self.reader.parse(&[path[0], path[1], &index], name, &expected, of_name)
        });
        // All of them, for each has its fault.
        let read: Vec<_> = read.collect();
        let (mut found, mut unsupported) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for named in read {
            let (name, value) = named?;
            match value {
                _ if !seen.insert(name) => {}
                Some(value) => found.push(*value),
                None => unsupported.push(*name),
            }
        }
        let unsupported = unsupported.join(", ");
        if found.is_empty() {
            return self.reader.fault(path, format!("nothing of this is supported here: {unsupported}"));
        }
        if !unsupported.is_empty() {
            self.warn(path, format!("not supported here, and left out: {unsupported}"));
        }
        Some(Some(found))
    }

    /// Whether HTTP/2 may be spoken, and the headers.
    fn http(&self, http: &mut Section<'_>) -> Option<(bool, Vec<(HeaderName, HeaderValue)>)> {
        let http2 = self.truth(&["http_server_config", "http2"], http.take("http2"));
        let headers = http.take("headers").or_empty().map(|name, entry| self.header(name, entry));
        // In the order of their names.
        http2.zip(headers.map(|headers| headers.into_values().flatten().collect()))
    }

    /// A header; the inner `None` when it is written without a value.
    fn header(&self, name: &str, entry: Entry<'_>) -> Option<(String, Option<(HeaderName, HeaderValue)>)> {
        let path = ["http_server_config", "headers", name];
        let Some((_, header, values)) = HEADERS.iter().find(|(known, ..)| *known == name) else {
            let message = unknown_key(name, &HEADERS.map(|(known, ..)| known));
            self.reader.record(self.reader.error_as(&path, shown_key(name), message));
            return None;
        };
        let text = text(entry)?.unwrap_or_default();
        if !values.is_empty() && !values.contains(&text.as_str()) {
            let expected = values.join(" or ");
            return self.reader.fault(&path, format!("{text:?} is not {expected}"));
        }
        // A policy may be written over several lines.
        let line = text.replace(['\r', '\n'], " ");
        let line = line.trim();
        if line.is_empty() {
            return Some((name.to_owned(), None));
        }
        match HeaderValue::from_bytes(line.as_bytes()) {
            Ok(value) => Some((name.to_owned(), Some((header.clone(), value)))),
            Err(_) => self.reader.fault(&path, "has a character that no header may hold"),
        }
    }

    fn users(&mut self, users: Entry<'_>) -> Option<BTreeMap<String, BcryptHash>> {
        users.map(|name, entry| {
            let path = ["basic_auth_users", name];
            // Name and hash may have changed places.
            let shown = if name.contains('$') { "(not shown)" } else { name };
            let hash = match BcryptHash::parse(&text(entry)?.unwrap_or_default()) {
                Ok(hash) => hash,
                Err(message) => {
                    self.reader.record(self.reader.error_as(&path, shown, message));
                    return None;
                }
            };
            if name.contains(':') {
                let message = "can never log in: basic authentication ends a name at the first colon";
                self.warnings.push(self.reader.error_as(&path, shown, message).to_string());
            }
            Some((name.to_owned(), hash))
        })
    }

    /// The outer `None` is a fault, the inner one no limit.
    fn rate_limit(&mut self, section: &mut Section<'_>) -> Option<Option<RateLimit>> {
        let (interval_path, burst_path) = (["rate_limit", "interval"], ["rate_limit", "burst"]);
        let (interval_text, burst_text) = (text(section.take("interval")), text(section.take("burst")));
        let interval = interval_text.as_ref().and_then(|text| {
            let Some(text) = text else { return Some(0) };
            let quoted = self.layer.is_quoted(&interval_path);
            self.reader.parse(&interval_path, text, "a duration such as 1s, 100ms or 1m30s", |text| {
                // exporter-toolkit takes a bare number for nanoseconds.
                text.parse().ok().filter(|_| !quoted).or_else(|| go_duration(text))
            })
        });
        let burst = burst_text.as_ref().and_then(|text| {
            let Some(text) = text else { return Some(0_i64) };
            let quoted = self.layer.is_quoted(&burst_path);
            self.reader.parse(&burst_path, text, "a whole number (without quotes)", |text| {
                text.parse().ok().filter(|_| !quoted)
            })
        });
        let (interval, burst, interval_text, burst_text) = (interval?, burst?, interval_text?, burst_text?);
        let Ok(interval) = u64::try_from(interval) else {
            self.warn(&interval_path, "is below zero, so there is no limit");
            return Some(None);
        };
        if interval == 0 {
            return Some(None);
        }
        if interval_text.is_some_and(|text| text.trim().bytes().all(|byte| byte.is_ascii_digit())) {
            self.warn(&interval_path, "has no unit, and so is in nanoseconds");
        }
        if burst <= 0 {
            let path: &[&str] = if burst_text.is_some() { &burst_path } else { &["rate_limit"] };
            self.warn(path, "every request will be refused; burst must be at least 1");
        }
        let burst = u32::try_from(burst.max(0)).unwrap_or(u32::MAX);
        Some(Some(RateLimit { interval: Duration::from_nanos(interval), burst }))
    }
}

/// The text of a key, if it has one. The outer `None` is a fault.
fn text(entry: Entry<'_>) -> Option<Text> {
    entry.unless_empty().optional()
}

/// The list of a key, if it has one. The outer `None` is a fault.
fn list(entry: Entry<'_>) -> Option<Option<Vec<String>>> {
    entry.unless_empty().list()
}

/// `client_auth_type`, before it is known whose signatures count.
#[derive(Clone, Copy)]
enum ClientAuthType {
    NoCertificate,
    Unverified { required: bool },
    Verified { required: bool },
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
