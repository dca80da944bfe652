//! The web configuration at work: TLS, clients' certificates, users, the rate limit, headers.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, http::StatusCode, routing::get};
use btcpool_exporter::{
    client::health::{self, Whose},
    server::{Limits, Server, Web},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, ProtocolVersion, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::harness::{self, PATIENCE, Pool, Running};

/// A server of `/`, on the terms of a web configuration.
struct Served {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    web: Arc<Web>,
}

impl Served {
    async fn start(file: &Path) -> Self {
        let web = Arc::new(Web::load(Some(file)).unwrap_or_else(|error| panic!("{error}")));
        let ill = || async { (StatusCode::SERVICE_UNAVAILABLE, "ill") };
        let router = Router::new().route("/", get(|| async { "well" })).route("/-/healthy", get(ill));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(Server::new(router, web.clone(), Limits::default()).serve(listener, shutdown.clone()));
        Self { address, shutdown, web }
    }

    async fn get(&self, path: &str, user: Option<(&str, &str)>) -> reqwest::Response {
        let request = harness::http().get(format!("http://{}{path}", self.address));
        match user {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        }
        .send()
        .await
        .unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A certificate with its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// An authority whose certificate is `ca.crt`, a server's `server.crt` and `server.key`, in a directory.
struct Site {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Site {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let site = Self { directory: tempfile::tempdir().unwrap(), authority };
        site.write("ca.crt", &site.authority.pem());
        let server = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
        site.write("server.crt", &certificate.signed_by(&server, &site.authority).unwrap().pem());
        site.write("server.key", &server.serialize_pem());
        site
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// The web configuration of this site, with a text below its `tls_server_config`.
    fn web(&self, tls: &str) -> std::path::PathBuf {
        let text = format!("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{tls}");
        self.write("web.yml", &text);
        self.directory.path().join("web.yml")
    }

    /// A client's certificate with these names; signed by the authority, or by itself.
    fn client(&self, names: Vec<SanType>, signed: bool) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = names;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "client");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate =
            if signed { parameters.signed_by(&key, &self.authority) } else { parameters.self_signed(&key) };
        Identity { certificate: certificate.unwrap().der().clone(), key }
    }
}

/// Takes whatever the server shows: this is about what the server takes.
#[derive(Debug)]
pub struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How a client comes.
struct Client<'a> {
    identity: Option<&'a Identity>,
    versions: &'a [&'static SupportedProtocolVersion],
    protocols: &'a [&'a [u8]],
}

const PLAIN: Client<'_> = Client { identity: None, versions: &[&TLS12, &TLS13], protocols: &[] };

/// What a client got.
#[derive(Debug, PartialEq)]
struct Got {
    version: ProtocolVersion,
    protocol: Option<Vec<u8>>,
    certificate: CertificateDer<'static>,
}

impl Client<'_> {
    /// Asks for `/`; nothing when the server does not answer.
    async fn ask(&self, served: &Served) -> Option<Got> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(self.versions).unwrap();
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody));
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        let stream = TcpStream::connect(served.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
        let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        // Of HTTP/2 it is enough here that it was agreed upon.
        if protocol.as_deref() != Some(b"h2") {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.ok()?;
            let mut answer = Vec::new();
            // Of TLS 1.3 only the answer tells whether the server took the client's certificate.
            let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
            read.expect("there is no answer").ok()?;
            assert!(answer.ends_with(b"well"), "{answer:?}");
        }
        let connection = stream.get_ref().1;
        let certificate = connection.peer_certificates().unwrap()[0].clone();
        Some(Got { version: connection.protocol_version().unwrap(), protocol, certificate })
    }
}

#[tokio::test]
async fn client_auth_types_admit_whom_they_should() {
    let site = Site::new();
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let (signed, own) = (site.client(vec![dns("prometheus")], true), site.client(vec![dns("prometheus")], false));
    for (kind, ca, without, with_own, with_signed) in [
        ("NoClientCert", false, true, true, true),
        ("RequestClientCert", false, true, true, true),
        ("RequireAnyClientCert", false, false, true, true),
        ("VerifyClientCertIfGiven", true, true, false, true),
        ("RequireAndVerifyClientCert", true, false, false, true),
    ] {
        let ca = if ca { "  client_ca_file: ca.crt\n" } else { "" };
        let served = Served::start(&site.web(&format!("  client_auth_type: {kind}\n{ca}"))).await;
        for versions in [&[&TLS12][..], &[&TLS13]] {
            for (identity, expected) in [(None, without), (Some(&own), with_own), (Some(&signed), with_signed)] {
                let client = Client { identity, versions, protocols: &[] };
                let signer = identity.map(|identity| std::ptr::eq(identity, &raw const signed));
                assert_eq!(client.ask(&served).await.is_some(), expected, "{kind}, {versions:?}, {signer:?}");
            }
        }
    }
}

#[tokio::test]
async fn client_certificate_needs_an_allowed_name() {
    let site = Site::new();
    let names = "client_allowed_sans: [prometheus.example, 10.1.2.3, '::1', ops@farm.example, 'spiffe://farm/prom']";
    let verified = format!("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  {names}\n");
    let optional = format!("  client_auth_type: VerifyClientCertIfGiven\n  client_ca_file: ca.crt\n  {names}\n");
    let any = format!("  client_auth_type: RequireAnyClientCert\n  {names}\n");
    let rows = [
        (vec![SanType::DnsName("prometheus.example".try_into().unwrap())], true),
        (vec![SanType::DnsName("other".try_into().unwrap()), SanType::IpAddress([10, 1, 2, 3].into())], true),
        (vec![SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into())], true),
        (vec![SanType::Rfc822Name("ops@farm.example".try_into().unwrap())], true),
        (vec![SanType::URI("spiffe://farm/prom".try_into().unwrap())], true),
        (vec![SanType::DnsName("prometheus.example.org".try_into().unwrap())], false),
        (vec![SanType::DnsName("Prometheus.example".try_into().unwrap())], false),
        (vec![SanType::IpAddress([10, 1, 2, 4].into())], false),
        (vec![], false),
    ];
    for (tls, signed_only) in [(&verified, true), (&optional, true), (&any, false)] {
        let served = Served::start(&site.web(tls)).await;
        for (names, expected) in &rows {
            for signed in [true, false] {
                let client = site.client(names.clone(), signed);
                let got = Client { identity: Some(&client), ..PLAIN }.ask(&served).await;
                assert_eq!(got.is_some(), *expected && (signed || !signed_only), "{tls}: {names:?}, {signed}");
            }
        }
        assert_eq!(PLAIN.ask(&served).await, None, "{tls}: whoever has no certificate bears no name");
    }
}

#[tokio::test]
async fn tls_versions_and_protocols_are_configured() {
    let site = Site::new();
    let (both, h2) = ([&b"h2"[..], b"http/1.1"], [&b"h2"[..]]);
    for (tls, with_12, with_13) in
        [("", true, true), ("  min_version: TLS13\n", false, true), ("  max_version: TLS12\n", true, false)]
    {
        let served = Served::start(&site.web(tls)).await;
        for (versions, expected) in [(&[&TLS12][..], with_12), (&[&TLS13], with_13)] {
            assert_eq!(Client { versions, ..PLAIN }.ask(&served).await.is_some(), expected, "{tls} {versions:?}");
        }
    }
    let served = Served::start(&site.web("")).await;
    let got = Client { protocols: &both[1..], ..PLAIN }.ask(&served).await.unwrap();
    assert_eq!((got.version, got.protocol.as_deref()), (ProtocolVersion::TLSv1_3, Some(&b"http/1.1"[..])));
    let got = Client { protocols: &both, ..PLAIN }.ask(&served).await.unwrap();
    assert_eq!(got.protocol.as_deref(), Some(&b"h2"[..]));
    let served = Served::start(&site.web("http_server_config: { http2: false }\n")).await;
    let got = Client { protocols: &both, ..PLAIN }.ask(&served).await.unwrap();
    assert_eq!(got.protocol.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(Client { protocols: &h2, ..PLAIN }.ask(&served).await, None);
}

/// Whoever shakes hands for ever is closed like whoever says nothing.
#[tokio::test]
async fn handshake_has_a_deadline() {
    let site = Site::new();
    let web = Arc::new(Web::load(Some(&site.web(""))).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { header: Duration::from_millis(300), ..Limits::default() };
    tokio::spawn(Server::new(Router::new(), web, limits).serve(listener, CancellationToken::new()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The beginning of a handshake's first record.
    stream.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let begin = Instant::now();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is still open");
    assert!(begin.elapsed() > limits.header / 2);

    // And so is whoever agrees upon HTTP/2, begins it, and asks nothing.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().dangerous();
    let mut config = builder.with_custom_certificate_verifier(Arc::new(Anybody)).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let empty_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &empty_settings].concat()).await.unwrap();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("it is still open");
}

/// `alice` with `hunter2`, `bob` with `a:b`, and `long` with 80 times `x`, of which bcrypt looks at 72.
const USERS: &str = "basic_auth_users:\n  \
    alice: @ALICE@\n  bob: @BOB@\n  long: @LONG@\n";

/// Users with passwords under a cheap hash.
fn users(directory: &TempDir, cost: u32) -> std::path::PathBuf {
    let hash = |password: &str| bcrypt_text(password, cost);
    let text = USERS.replace("@ALICE@", &hash("hunter2")).replace("@BOB@", &hash("a:b"));
    let file = directory.path().join("web.yml");
    fs::write(&file, text.replace("@LONG@", &hash(&"x".repeat(72)))).unwrap();
    file
}

/// A password's hash as a file has it, made without the code under test.
fn bcrypt_text(password: &str, cost: u32) -> String {
    let mut bytes = password.as_bytes().to_vec();
    bytes.push(0);
    bytes.truncate(72);
    let salt = [7; 16];
    let digest = bcrypt::bcrypt(cost, salt, &bytes);
    let base64 = |bytes: &[u8]| {
        const ALPHABET: &[u8] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let sixes = bits.as_bytes().chunks(6).map(|six| format!("{:0<6}", std::str::from_utf8(six).unwrap()));
        sixes.map(|six| char::from(ALPHABET[usize::from_str_radix(&six, 2).unwrap()])).collect::<String>()
    };
    format!("$2y${cost:02}${}{}", base64(&salt), base64(&digest[..23]))
}

#[tokio::test]
async fn basic_auth_needs_the_password() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(&users(&directory, 4)).await;
    let long = "x".repeat(80);
    // Twice, so that what is remembered decides, too.
    for _ in 0..2 {
        for (user, expected) in [
            (Some(("alice", "hunter2")), 200),
            (Some(("bob", "a:b")), 200),
            (Some(("long", &*long)), 200),
            (Some(("alice", "hunter3")), 401),
            (Some(("alice", "")), 401),
            (Some(("alice", "hunter2\0")), 401),
            (Some(("Alice", "hunter2")), 401),
            (Some(("alic", "ehunter2")), 401),
            (Some(("alicehunter2", "")), 401),
            (Some(("bob", "a")), 401),
            (Some(("carol", "hunter2")), 401),
            (Some(("", "")), 401),
            (None, 401),
        ] {
            let response = served.get("/", user).await;
            let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
            let challenged =
                (expected == 401).then(|| "Basic realm=\"btcpool-exporter\", charset=\"UTF-8\"".to_owned());
            assert_eq!((response.status().as_u16(), challenge), (expected, challenged), "{user:?}");
        }
    }
    let client = harness::http();
    for (header, expected) in [
        ("Basic YWxpY2U6aHVudGVyMg==", 200),
        ("basic YWxpY2U6aHVudGVyMg==", 200),
        ("Basic  YWxpY2U6aHVudGVyMg== ", 200),
        ("Basic YWxpY2U6aHVudGVyMg", 401),
        ("Basic YWxpY2U", 401),
        ("Basic", 401),
        ("Bearer YWxpY2U6aHVudGVyMg==", 401),
        ("Basic \u{e9}", 401),
    ] {
        let request = client.get(format!("http://{}/", served.address)).header("authorization", header);
        assert_eq!(request.send().await.unwrap().status(), expected, "{header}");
    }
}

#[tokio::test]
async fn unknown_user_takes_as_long_as_known() {
    let directory = tempfile::tempdir().unwrap();
    // Dear enough that nothing else of a request counts beside it.
    let served = Served::start(&users(&directory, 8)).await;
    let took = async |name: &str| {
        let begin = Instant::now();
        assert_eq!(served.get("/", Some((name, "wrong"))).await.status(), 401);
        begin.elapsed()
    };
    took("alice").await;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        known.push(took("alice").await);
        unknown.push(took("mallory").await);
    }
    known.sort();
    unknown.sort();
    let (known, unknown) = (known[4], unknown[4]);
    assert!(unknown * 2 > known && known * 2 > unknown, "known {known:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn rate_limit_bounds_requests() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yml");
    fs::write(&file, "rate_limit: { interval: 1h, burst: 3 }\n").unwrap();
    let served = Served::start(&file).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(served.get("/", None).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);

    fs::write(&file, "rate_limit: { interval: 200ms, burst: 1 }\n").unwrap();
    let served = Served::start(&file).await;
    let begin = Instant::now();
    let mut answered = 0_u32;
    while answered < 5 {
        answered += u32::from(served.get("/", None).await.status() == 200);
    }
    assert!(begin.elapsed() >= Duration::from_millis(200) * 4, "five in {:?}", begin.elapsed());
}

#[tokio::test]
async fn responses_have_configured_headers() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yml");
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: sameorigin\n    \
                   Strict-Transport-Security: max-age=1\n";
    let pool = Pool::start().await;
    pool.answers_samples().await;
    for (more, path, status) in [
        ("", "/", 200),
        ("", "/metrics", 200),
        ("", "/nowhere", 404),
        ("", "/-/reload", 405),
        ("rate_limit: { interval: 1h }\n", "/", 429),
        ("basic_auth_users: { alice: $2y$04$abcdefghijklmnopqrstuu5Zb3FhNJfyjDMgwqXOIB.vvOEhBUWEy }\n", "/", 401),
    ] {
        fs::write(&file, format!("{headers}{more}")).unwrap();
        let running = Running::builder(harness::config(&pool.base_url(), "")).web_file(&file).start().await;
        let response = harness::http().get(format!("{}{path}", running.url)).send().await.unwrap();
        assert_eq!(response.status(), status, "{more}{path}");
        let value = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let seen =
            ["x-frame-options", "strict-transport-security", "x-content-type-options", "cache-control"].map(value);
        assert_eq!(seen, ["sameorigin", "max-age=1", "nosniff", "no-store"], "{more}{path}");
        assert!(value("content-security-policy").starts_with("default-src 'none';"));
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn health_reaches_its_own_exporter() {
    let site = Site::new();
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let users = format!("basic_auth_users: {{ alice: {} }}\n", bcrypt_text("hunter2", 4));
    let mutual = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    for tls in ["", &*users, mutual, &format!("{mutual}  max_version: TLS12\n")] {
        let running = Running::builder(harness::config(&pool.base_url(), "")).web_file(&site.web(tls)).start().await;
        let url = running.url.replace("http://", "https://") + "/-/healthy";
        assert_eq!(health::ask(url.parse().unwrap(), Whose::Own).await, Ok(()), "{tls}");
        // Anybody else's has to be known, and to let itself be asked.
        assert!(health::ask(url.parse().unwrap(), Whose::Any).await.is_err(), "{tls}");
        running.stop().await.unwrap();
    }
    // An ill one says so to strangers, too.
    let served = Served::start(&site.web(&users)).await;
    let url = format!("https://{}", served.address);
    let ask = async |path: &str| health::ask(format!("{url}{path}").parse().unwrap(), Whose::Own).await;
    assert_eq!(ask("/-/healthy").await, Err("it answered HTTP 503".to_owned()));
    assert_eq!(ask("/").await, Ok(()));
    assert!(served.web.terms().tls.is_some());
}
