//! TLS, by rustls: from a web configuration to what a connection is accepted with.

use std::{collections::BTreeSet, io, net::IpAddr, sync::Arc};

use jiff::Timestamp;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, ServerConfig, SignatureScheme,
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
    Certificate, Version,
    der::{Decode as _, asn1::ObjectIdentifier},
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName, name::GeneralName},
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

/// The verifier of clients' certificates; `None`: no certificate is requested.
fn client_verifier(
    tls: &Tls,
    credentials: &Credentials,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    let names = tls.client_allowed_sans.clone();
    // A client that must have a name must have a certificate with it.
    let mandatory = |required: bool| required || names.is_some();
    let (verifier, trusted): (Arc<dyn ClientCertVerifier>, _) = match (&tls.client_auth, &credentials.authorities) {
        (ClientAuth::None, _) => return Ok(None),
        (ClientAuth::Unverified { required, .. }, authorities) => {
            let hints = authorities.as_ref().map(|authorities| authorities.store.subjects()).unwrap_or_default();
            let (provider, required) = (provider.clone(), mandatory(*required));
            (Arc::new(AnyCertificate { provider, hints, required }), Vec::new())
        }
        (ClientAuth::Verified { required, .. }, Some(authorities)) => {
            let builder = WebPkiClientVerifier::builder_with_provider(authorities.store.clone(), provider.clone());
            let builder = if mandatory(*required) { builder } else { builder.allow_unauthenticated() };
            let verifier = builder.build().map_err(|error| Error::General(error.to_string()))?;
            (verifier, authorities.certificates.clone())
        }
        (ClientAuth::Verified { .. }, None) => return Err(Error::General("no authority is named".to_owned())),
    };
    Ok(Some(Arc::new(ClientVerifier { verifier, trusted, names })))
}

/// Accepts any certificate, as long as the client has its key.
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

/// Accepts what another verifier accepts, and certificates that are trusted themselves, if they have an allowed name.
#[derive(Debug)]
struct ClientVerifier {
    verifier: Arc<dyn ClientCertVerifier>,
    /// The certificates of `client_ca_file`. As Go's, and unlike the verifier below, this one lets a client show one of
    /// them, also where it is an authority's (which `openssl req -x509` makes by default).
    trusted: Vec<CertificateDer<'static>>,
    /// `None`: any name will do.
    names: Option<BTreeSet<String>>,
}

impl ClientCertVerifier for ClientVerifier {
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
        // The verifier below is more lenient: it takes certificates with a longer serial number than the standard allows.
        let parsed = Certificate::from_der(certificate).ok();
        // The signature of the handshake could not be verified with one of version 1.
        if parsed.as_ref().is_some_and(|parsed| parsed.tbs_certificate().version() != Version::V3) {
            return Err(refusal(Refusal::Version));
        }
        let verified = match (self.verifier.verify_client_cert(certificate, intermediates, now), &parsed) {
            (Ok(verified), _) => verified,
            (Err(_), Some(parsed)) if self.trusted.contains(certificate) => verify_trusted(parsed, now)?,
            (Err(_), Some(parsed)) if is_authority(parsed) => return Err(refusal(Refusal::Authority)),
            (Err(error), _) => return Err(error),
        };
        let Some(allowed) = &self.names else { return Ok(verified) };
        let names = parsed.as_ref().and_then(names).ok_or(CertificateError::BadEncoding)?;
        if names.iter().any(|name| allowed.contains(name)) {
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

/// Verifies what remains to be verified of a certificate that is trusted itself: when it is valid, and what for.
fn verify_trusted(certificate: &Certificate, now: UnixTime) -> Result<ClientCertVerified, Error> {
    const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
    const ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
    let certificate = certificate.tbs_certificate();
    let (validity, now) = (certificate.validity(), now.as_secs());
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    match certificate.get_extension() {
        Err(_) => Err(CertificateError::BadEncoding.into()),
        Ok(Some((_, ExtendedKeyUsage(usages)))) if !usages.iter().any(|usage| [CLIENT_AUTH, ANY].contains(usage)) => {
            Err(CertificateError::InvalidPurpose.into())
        }
        Ok(_) => Ok(ClientCertVerified::assertion()),
    }
}

fn is_authority(certificate: &Certificate) -> bool {
    let constraints = certificate.tbs_certificate().get_extension::<BasicConstraints>();
    constraints.is_ok_and(|constraints| constraints.is_some_and(|(_, constraints)| constraints.ca))
}

/// Why a certificate is refused where rustls has no error of its own for it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("X.509 version 1 is not supported; issue a certificate of version 3")]
    Version,
    #[error("a CA certificate (CA:TRUE) that is not in client_ca_file")]
    Authority,
}

fn refusal(refusal: Refusal) -> Error {
    CertificateError::Other(OtherError(Arc::new(refusal))).into()
}

/// Why a client's certificate was refused, if that is what ended a handshake. The same reason has the same words, so that
/// it can be told from others.
pub fn refusal_reason(error: &io::Error) -> Option<String> {
    let Error::InvalidCertificate(error) = error.get_ref()?.downcast_ref()? else { return None };
    Some(match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "not valid yet".to_owned(),
        CertificateError::UnknownIssuer => "not signed by an authority of client_ca_file".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "not for client authentication".to_owned()
        }
        CertificateError::ApplicationVerificationFailure => "none of client_allowed_sans".to_owned(),
        CertificateError::BadSignature => {
            "signature verification failed: another authority of the same name, or the key of another certificate"
                .to_owned()
        }
        CertificateError::Other(error) => error.to_string(),
        other => other.to_string(),
    })
}

/// The names of a certificate, as exporter-toolkit writes them; `None` when they cannot be decoded.
fn names(certificate: &Certificate) -> Option<Vec<String>> {
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
