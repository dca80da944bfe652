//! Clients' certificates: which are taken, and what the log says of the others.

use std::{fs, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    SigningKey as _, date_time_ymd,
};
use rustls::{
    ClientConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    harness::{PATIENCE, Program, program},
    secure::Anybody,
};

/// A certificate with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    /// Signed by itself.
    fn own(parameters: &CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: parameters.self_signed(&key).unwrap().der().clone(), key }
    }

    fn signed_by(parameters: &CertificateParams, issuer: &Issuer<'_, &KeyPair>) -> Self {
        let key = KeyPair::generate().unwrap();
        Self { certificate: parameters.signed_by(&key, issuer).unwrap().der().clone(), key }
    }

    /// The same without extensions and as of version 1, signed anew.
    fn version_1(self, issuer: Option<&KeyPair>) -> Self {
        let [begin, signature_algorithm, _] = elements(content(&self.certificate))[..] else {
            panic!("no certificate")
        };
        // The first element is the version, the last one the extensions.
        let fields = elements(content(begin));
        let begin = der(0x30, &fields[1..fields.len() - 1].concat());
        let signature = issuer.unwrap_or(&self.key).sign(&begin).unwrap();
        let signature = der(0x03, &[&[0], &signature[..]].concat());
        let certificate = der(0x30, &[&begin, signature_algorithm, &signature].concat());
        Self { certificate: certificate.into(), key: self.key }
    }

    fn pem(&self) -> String {
        use base64::Engine as _;
        let text = base64::prelude::BASE64_STANDARD.encode(&self.certificate);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }
}

/// An element of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match u16::try_from(content.len()).unwrap().to_be_bytes() {
        [0, short @ ..0x80] => vec![short],
        [0, low] => vec![0x81, low],
        [high, low] => vec![0x82, high, low],
    };
    [&[tag], &length[..], content].concat()
}

/// How long an element's header and its content are.
fn lengths(element: &[u8]) -> (usize, usize) {
    match element[1] {
        short @ ..0x80 => (2, short.into()),
        long => {
            let bytes = usize::from(long & 0x7f);
            (2 + bytes, element[2..2 + bytes].iter().fold(0, |length, &byte| length << 8 | usize::from(byte)))
        }
    }
}

fn content(element: &[u8]) -> &[u8] {
    let (header, length) = lengths(element);
    &element[header..header + length]
}

fn elements(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (header, length) = lengths(rest);
        let (element, behind) = rest.split_at(header + length);
        elements.push(element);
        rest = behind;
    }
    elements
}

fn parameters(authority: bool) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = vec![SanType::DnsName("prometheus".try_into().unwrap())];
    parameters.distinguished_name.push(DnType::CommonName, "prometheus");
    if authority {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    parameters
}

/// Whether the exporter at an address answers who shows a certificate.
async fn is_answered(address: &str, identity: Option<&Identity>) -> bool {
    let mut answered = Vec::new();
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
                let key = ring::sign::any_supported_type(&key).unwrap();
                let certified = CertifiedKey::new(vec![certificate.clone()], key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        let ask = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
            stream.write_all(b"GET /-/healthy HTTP/1.0\r\n\r\n").await.ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok()?;
            Some(answer.starts_with(b"HTTP/1.0 200 OK\r\n"))
        };
        answered.push(tokio::time::timeout(PATIENCE, ask).await.expect("there is no answer") == Some(true));
    }
    assert_eq!(answered[0], answered[1], "TLS 1.2 and 1.3 differ");
    answered[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_go_takes_are_taken_and_refusals_are_logged() {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = parameters(true);
    authority.distinguished_name.push(DnType::CommonName, "authority");
    let issuer = Issuer::from_params(&authority, &authority_key);
    let authority = authority.self_signed(&authority_key).unwrap();
    let expired = |mut parameters: CertificateParams| {
        (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        parameters
    };
    let server_only = |mut parameters: CertificateParams| {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters
    };
    let nameless = |mut parameters: CertificateParams| {
        parameters.subject_alt_names = Vec::new();
        parameters
    };
    let strange = |mut parameters: CertificateParams| {
        parameters.distinguished_name.push(DnType::CommonName, "stranger");
        parameters
    };
    let signature =
        "signature verification failed: another authority of the same name, or the key of another certificate";
    let unknown = "not signed by an authority of client_ca_file";
    let version = "X.509 version 1 is not supported; issue a certificate of version 3";
    let own = |parameters: CertificateParams| Identity::own(&parameters);
    let signed = |parameters: CertificateParams| Identity::signed_by(&parameters, &issuer);
    // What a client shows, whether that is in client_ca_file, and why it is refused.
    let rows = [
        ("own, no authority", own(parameters(false)), true, None),
        ("own, authority", own(parameters(true)), true, None),
        ("signed", signed(parameters(false)), false, None),
        ("own, expired", own(expired(parameters(true))), true, Some("expired")),
        ("own, for servers", own(server_only(parameters(true))), true, Some("not for client authentication")),
        ("own, version 1", own(parameters(false)).version_1(None), true, Some(version)),
        ("signed, version 1", signed(parameters(false)).version_1(Some(&authority_key)), false, Some(version)),
        ("signed, expired", signed(expired(parameters(false))), false, Some("expired")),
        ("signed, for servers", signed(server_only(parameters(false))), false, Some("not for client authentication")),
        ("signed, no name", signed(nameless(parameters(false))), false, Some("none of client_allowed_sans")),
        ("own, no name", own(nameless(parameters(true))), true, Some("none of client_allowed_sans")),
        ("stranger", own(strange(parameters(false))), false, Some(unknown)),
        ("stranger with the name of another", own(parameters(false)), false, Some(signature)),
        (
            "strange authority",
            own(parameters(true)),
            false,
            Some("a CA certificate (CA:TRUE) that is not in client_ca_file"),
        ),
    ];

    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    let trusted = rows.iter().filter(|(_, _, trusted, _)| *trusted).map(|(_, identity, ..)| identity.pem());
    write("ca.crt", &(authority.pem() + &trusted.collect::<String>()));
    let server = Identity::own(&parameters(false));
    write("server.crt", &server.pem());
    write("server.key", &server.key.serialize_pem());
    write(
        "web.yml",
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  client_ca_file: ca.crt\n  \
         client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [prometheus]\n",
    );
    let file = directory.path().join("web.yml");
    let arguments = ["demo", "--web.listen-address", "127.0.0.1:0", "--web.config.file", file.to_str().unwrap()];
    let mut demo = Program::start(program(&arguments));
    let address = demo.address();

    assert!(!is_answered(&address, None).await);
    let mut expected = Vec::new();
    for (what, identity, _, refused) in &rows {
        assert_eq!(is_answered(&address, Some(identity)).await, refused.is_none(), "{what}");
        // Each reason is logged once a minute for each address.
        if let Some(reason) = refused.filter(|reason| !expected.contains(reason)) {
            expected.push(reason);
        }
    }
    demo.signal("TERM");
    assert_eq!(demo.end().0, Some(0), "{}", demo.log());
    let log = demo.log();
    let lines = log.lines().filter(|line| line.contains("client certificate"));
    let lines: Vec<_> = lines
        .map(|line| {
            let (begin, rest) = line.split_once(" peer=127.0.0.1:").unwrap_or_else(|| panic!("no peer: {line}"));
            assert!(begin.ends_with("level=info message=\"client certificate refused\""), "{line}");
            let (_port, reason) = rest.split_once(" reason=").unwrap_or_else(|| panic!("no reason: {line}"));
            reason.trim_matches('"').to_owned()
        })
        .collect();
    assert_eq!(lines, expected, "{log}");
}
