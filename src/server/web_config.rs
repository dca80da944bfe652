//! The web configuration: the file that every exporter of Prometheus' ecosystem takes by `--web.config.file`. TLS,
//! client certificates, basic authentication, headers and the rate limit, as exporter-toolkit defines them.
//!
//! [`WebConfig::from_yaml`] reads text and touches no file; what the certificates' files hold comes by [`Tls::load`],
//! so that it can be read again when it has changed. Where exporter-toolkit takes something that this exporter's TLS
//! has not (TLS 1.0 and 1.1, CBC ciphers, the curve P-521), the rest of what is asked for is honoured with a warning, as
//! long as there is a rest, and is an error otherwise. What would leave the exporter unreachable, or open to clients
//! that it was told to check, is an error, too.

mod bcrypt_hash;
mod pem;
mod reading;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use axum::http::{HeaderName, HeaderValue};
use rustls::{
    RootCertStore, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, SupportedKxGroup, ring},
    pki_types::CertificateDer,
    sign::CertifiedKey,
};

use crate::config::{ConfigError, sources::Sources};
pub use bcrypt_hash::BcryptHash;
pub use pem::Pem;

/// The section of everything about TLS.
const TLS: &str = "tls_server_config";

/// The whole web configuration, valid.
#[derive(Debug)]
pub struct WebConfig {
    /// `tls_server_config`; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 may be spoken, over TLS.
    pub http2: bool,
    /// Headers that every answer carries. One that is written without a value is not among them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who may ask, by name; empty: everybody.
    pub users: BTreeMap<String, BcryptHash>,
    /// `rate_limit`; `None`: no limit.
    pub rate_limit: Option<RateLimit>,
    /// What is allowed but unwise or cannot be honoured in full, for the log.
    pub warnings: Vec<String>,
}

/// How connections are encrypted, and whose are taken.
#[derive(Debug)]
pub struct Tls {
    /// The server's certificate, and those between it and its authority.
    pub certificate: Pem,
    /// Its key.
    pub key: Pem,
    /// What is asked of clients.
    pub client_auth: ClientAuth,
    /// Of these names (DNS, IP address, e-mail address or URI, to the letter) a client's certificate must bear one;
    /// `None`: any will do.
    pub client_allowed_sans: Option<BTreeSet<String>>,
    /// The versions of TLS that are spoken; at least one.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// The cipher suites, the preferred first; at least one for the newest of `versions`.
    pub cipher_suites: Vec<SupportedCipherSuite>,
    /// The groups of the key exchange, the preferred first; at least one.
    pub kx_groups: Vec<&'static dyn SupportedKxGroup>,
    /// Whether this server's order of preference counts, or the client's.
    pub prefer_server_cipher_suites: bool,
}

/// What is asked of clients.
#[derive(Debug)]
pub enum ClientAuth {
    /// No certificate: `NoClientCert`.
    None,
    /// A certificate, which nobody need have signed: `RequestClientCert`, `RequireAnyClientCert`.
    Unverified {
        /// Whether a client without one is turned away.
        required: bool,
        /// Authorities that could sign one; a hint to the client, no more.
        authorities: Option<Pem>,
    },
    /// A certificate that an authority has signed: `VerifyClientCertIfGiven`, `RequireAndVerifyClientCert`.
    Verified {
        /// Whether a client without one is turned away.
        required: bool,
        /// The authorities.
        authorities: Pem,
    },
}

/// What the files of a [`Tls`] held when they were read.
#[derive(Debug)]
pub struct Credentials {
    /// The server's certificate and its key, which belong together.
    pub certified_key: Arc<CertifiedKey>,
    /// The authorities that may sign clients' certificates; `None`: there is no `client_ca_file`.
    pub authorities: Option<Authorities>,
}

/// What `client_ca_file` holds; not empty.
#[derive(Debug)]
pub struct Authorities {
    /// The certificates.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The same, as trust anchors.
    pub store: Arc<RootCertStore>,
}

/// How often may be asked, all clients together: a bucket of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// From one token to the next; not zero.
    pub interval: Duration,
    /// How many tokens the bucket holds. 0: every request is refused.
    pub burst: u32,
}

impl WebConfig {
    /// Reads the file; not those that it names. `sources` is told what was read.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or everything that is wrong with it.
    pub fn read(file: &Path, sources: &mut Sources) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            ConfigError::new(name.as_str(), format!("the web configuration file cannot be read: {error}"))
        })?;
        sources.add(file, text.as_bytes());
        Self::from_yaml(&name, &text, file.parent().unwrap_or(Path::new("")))
    }

    /// Reads YAML text. `name` stands for it in errors; files that it names are looked for from `directory`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub fn from_yaml(name: &str, text: &str, directory: &Path) -> Result<Self, ConfigError> {
        reading::web_config(name, text, directory)
    }
}

impl Tls {
    /// The cryptography that was chosen, for a server.
    pub fn provider(&self) -> CryptoProvider {
        let (cipher_suites, kx_groups) = (self.cipher_suites.clone(), self.kx_groups.clone());
        CryptoProvider { cipher_suites, kx_groups, ..ring::default_provider() }
    }

    /// Reads the certificates and the key, and sees that they fit together. `sources` is told what was read.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, holds something else, or the key is another certificate's.
    pub fn load(&self, sources: &mut Sources) -> Result<Credentials, ConfigError> {
        let chain = self.certificate.certificates(sources);
        let private = self.key.private_key(sources).and_then(|key| {
            let private = ring::default_provider().key_provider.load_private_key(key);
            private.map_err(|_| {
                let message = "the private key is none that is supported: RSA from 2048 to 4096 bits, ECDSA over P-256 or \
                               P-384, Ed25519";
                self.key.error(message)
            })
        });
        let authorities = self.authorities(sources);
        let faults = [chain.as_ref().err(), private.as_ref().err(), authorities.as_ref().err()];
        if let Some(error) = ConfigError::all(faults.into_iter().flatten().cloned()) {
            return Err(error);
        }
        let (chain, private, authorities) = (chain?, private?, authorities?);
        let certified_key = CertifiedKey::new(chain, private);
        match certified_key.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let message = format!("the private key does not belong to the certificate of {}", self.certificate.key);
                return Err(self.key.error(&message));
            }
            Err(_) => return Err(self.certificate.error("the first certificate is none that can be understood")),
        }
        Ok(Credentials { certified_key: Arc::new(certified_key), authorities })
    }

    /// The authorities whose signature on a client's certificate counts, if some were named.
    fn authorities(&self, sources: &mut Sources) -> Result<Option<Authorities>, ConfigError> {
        let pem = match &self.client_auth {
            ClientAuth::None | ClientAuth::Unverified { authorities: None, .. } => return Ok(None),
            ClientAuth::Unverified { authorities: Some(pem), .. } | ClientAuth::Verified { authorities: pem, .. } => {
                pem
            }
        };
        let certificates = pem.certificates(sources)?;
        let mut store = RootCertStore::empty();
        for certificate in &certificates {
            let error = |_| pem.error("holds a certificate that cannot be understood");
            store.add(certificate.clone()).map_err(error)?;
        }
        Ok(Some(Authorities { certificates, store: Arc::new(store) }))
    }
}
