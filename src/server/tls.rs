//! TLS, by rustls: from a web configuration to what a connection is accepted with.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::SingleCertAndKey,
};
use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::web_config::{ClientAuth, Credentials, Tls};

/// The name of HTTP/2 among the protocols that client and server agree upon.
pub const HTTP_2: &[u8] = b"h2";

const HTTP_1_1: &[u8] = b"http/1.1";

/// What connections are accepted with.
///
/// # Errors
///
/// When the certificates or the choice of versions and ciphers are not fit for it.
pub fn server_config(tls: &Tls, credentials: &Credentials, http2: bool) -> Result<ServerConfig, Error> {
    let provider = Arc::new(tls.provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&tls.versions)?;
    let builder = match client_verifier(tls, credentials, &provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified_key.clone())));
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    config.alpn_protocols = if http2 { vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()] } else { vec![HTTP_1_1.to_vec()] };
    Ok(config)
}

/// When a certificate expires, if it says so legibly.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let validity = *Certificate::from_der(certificate).ok()?.tbs_certificate().validity();
    let since_1970 = validity.not_after.to_unix_duration();
    Timestamp::UNIX_EPOCH.checked_add(since_1970).ok()
}

/// Who looks at the clients' certificates; `None`: nobody asks for any.
fn client_verifier(
    tls: &Tls,
    credentials: &Credentials,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    let hints = credentials.authorities.as_ref().map(|store| store.subjects()).unwrap_or_default();
    // Whoever must bear a name must have a certificate to bear it in.
    let named = tls.client_allowed_sans.is_some();
    let verifier: Arc<dyn ClientCertVerifier> = match (&tls.client_auth, &credentials.authorities) {
        (ClientAuth::None, _) => return Ok(None),
        (ClientAuth::Unverified { required, .. }, _) => {
            Arc::new(AnyCertificate { provider: provider.clone(), hints, required: *required || named })
        }
        (ClientAuth::Verified { required, .. }, Some(authorities)) => {
            let builder = WebPkiClientVerifier::builder_with_provider(authorities.clone(), provider.clone());
            let builder = if *required || named { builder } else { builder.allow_unauthenticated() };
            builder.build().map_err(|error| Error::General(error.to_string()))?
        }
        (ClientAuth::Verified { .. }, None) => return Err(Error::General("no authority is named".to_owned())),
    };
    Ok(Some(match &tls.client_allowed_sans {
        None => verifier,
        Some(names) => Arc::new(NamedClients { verifier, names: names.clone() }),
    }))
}

/// Takes any certificate, as long as the client has its key.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    hints: Vec<DistinguishedName>,
    required: bool,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Takes what another verifier takes, if it bears one of these names.
#[derive(Debug)]
struct NamedClients {
    verifier: Arc<dyn ClientCertVerifier>,
    names: BTreeSet<String>,
}

impl ClientCertVerifier for NamedClients {
    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(certificate, intermediates, now)?;
        let names = names(certificate).ok_or(CertificateError::BadEncoding)?;
        if names.iter().any(|name| self.names.contains(name)) {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The names that a certificate bears, as exporter-toolkit writes them; `None` when it cannot be understood.
fn names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let Some((_, SubjectAltName(names))) = certificate.tbs_certificate().get_extension().ok()? else {
        return Some(Vec::new());
    };
    let shown = names.into_iter().filter_map(|name| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) | GeneralName::UniformResourceIdentifier(name) => {
            Some(name.to_string())
        }
        GeneralName::IpAddress(octets) => match octets.as_bytes() {
            bytes if bytes.len() == 4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::from(octets).to_string()),
            bytes => <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::from(octets).to_canonical().to_string()),
        },
        _ => None,
    });
    Some(shown.collect())
}
