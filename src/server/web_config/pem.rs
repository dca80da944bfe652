//! Certificates and keys as PEM text, in files of their own or in the configuration itself.

use std::path::PathBuf;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};

use super::TLS;
use crate::config::{ConfigError, layer::Place, sources::Sources};

/// PEM text: certificates or a key, in a file of their own or in the configuration itself.
#[derive(Debug)]
pub struct Pem {
    /// The key of the configuration that names or holds it.
    pub key: &'static str,
    /// Where that key stands.
    pub(super) place: Place,
    pub(super) source: PemSource,
}

/// Where PEM text stands.
#[derive(Debug)]
pub(super) enum PemSource {
    /// In a file.
    File(PathBuf),
    /// In the configuration.
    Inline(SecretString),
}

impl Pem {
    /// Of a key that stands where its file's name belongs, nothing is shown.
    pub(super) fn error(&self, message: &str) -> ConfigError {
        let shown = match &self.source {
            PemSource::File(path) => path.to_str().filter(|text| !looks_like_pem(text)),
            PemSource::Inline(_) => None,
        };
        let shown = shown.map(|path| format!("{path}: ")).unwrap_or_default();
        ConfigError::new(self.place.clone(), format!("{TLS}.{}: {shown}{message}", self.key))
    }

    fn text(&self, sources: &mut Sources) -> Result<SecretBox<Vec<u8>>, ConfigError> {
        let bytes = match &self.source {
            PemSource::File(path) => {
                let bytes = std::fs::read(path).map_err(|error| self.error(&format!("cannot be read: {error}")))?;
                sources.add(path, &bytes);
                bytes
            }
            PemSource::Inline(text) => text.expose_secret().as_bytes().to_vec(),
        };
        Ok(SecretBox::new(Box::new(bytes)))
    }

    /// The certificates; at least one.
    pub(super) fn certificates(&self, sources: &mut Sources) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let text = self.text(sources)?;
        let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text.expose_secret()).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            Ok(_) => Err(self.error("holds no certificate (nothing between BEGIN CERTIFICATE and END CERTIFICATE)")),
            Err(_) => Err(self.error("is no valid PEM text")),
        }
    }

    pub(super) fn private_key(&self, sources: &mut Sources) -> Result<PrivateKeyDer<'static>, ConfigError> {
        let text = self.text(sources)?;
        PrivateKeyDer::from_pem_slice(text.expose_secret()).map_err(|error| match error {
            _ if is_encrypted(text.expose_secret()) => self.error(
                "the private key has a passphrase, which is not supported; remove it with: openssl pkey -in OLD -out NEW",
            ),
            pem::Error::NoItemsFound => {
                self.error("holds no private key (nothing between BEGIN PRIVATE KEY and END PRIVATE KEY)")
            }
            _ => self.error("is no valid PEM text"),
        })
    }
}

/// Whether PEM text says that what it holds is encrypted, in one of two ways: by its frame, or by a header within.
fn is_encrypted(text: &[u8]) -> bool {
    const WORD: &[u8] = b"ENCRYPTED";
    text.windows(WORD.len()).any(|part| part == WORD)
}

/// Whether a file's name may be no name but a key, with its lines and frame or without them.
fn looks_like_pem(text: &str) -> bool {
    let long = |part: &str| part.len() >= 40 && !part.contains(['.', '-', '_', ' ']);
    text.contains(['\n', '\r']) || text.contains("-----") || text.split('/').any(long)
}
