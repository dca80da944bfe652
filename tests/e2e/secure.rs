//! Behind TLS, client certificates and passwords: who is let in and who is not, with real curl and real Prometheus; and
//! what is replaced while it serves is taken up, at nobody's cost.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use reqwest::tls::TlsInfo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    task::spawn_blocking,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    programs::{Clients, Ended, Exporter, PATIENCE, Pool, Prometheus, exporter_command, http_builder, key, run, until},
    scraping::{prometheus, prometheus_3, query, series},
    support::{
        parser::{self, Format},
        pool::reader::{Series, labels, text},
    },
};

/// The pool's one account.
const FARM: (&str, usize) = ("farm", 3);

/// Two users, and what bcrypt makes of their passwords at its lowest cost.
const PASSWORD: &str = "correct horse";
const HASH: &str = "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";
const OTHER_PASSWORD: &str = "battery staple";
const OTHER_HASH: &str = "$2y$04$zyxwvutsrqponmlkjihgfeEj9hZ0r426ruQozKPdS8ZvkuJvyAjnm";

/// What whoever is not known is told.
const WHO: &str = "A user's name and password are needed, as the web configuration has them.\n";

/// An authority that exists for one test only.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Identity {
    certificate: String,
    key: String,
    /// The certificate as it is sent.
    der: Vec<u8>,
    /// When it expires; no two expire at once.
    ends: i64,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn server(&self) -> Identity {
        self.issue(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> Identity {
        self.issue(&["prometheus"], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut parameters = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let parameters = parameters.as_mut().unwrap();
        parameters.extended_key_usages = vec![usage];
        static ISSUED: AtomicU64 = AtomicU64::new(0);
        let number = ISSUED.fetch_add(1, Ordering::Relaxed);
        parameters.not_after = date_time_ymd(2100, 1, 1) + Duration::from_secs(number);
        let ends = parameters.not_after.unix_timestamp();
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        Identity { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec(), ends }
    }
}

/// Three exporters, each of which lets others in, and what their clients need.
struct Doors {
    /// Whoever trusts its certificate.
    tls: Exporter,
    /// Whoever has a certificate besides.
    mutual: Exporter,
    /// Whoever has a password besides.
    named: Exporter,
    directory: TempDir,
    _pool: Pool,
}

impl Doors {
    async fn open() -> Self {
        let pool = Pool::start(&[FARM]);
        let directory = tempfile::tempdir().unwrap();
        let (authority, clients, stranger) =
            (Authority::new("servers"), Authority::new("clients"), Authority::new("strangers"));
        let (server, client, nobody) = (authority.server(), clients.client(), stranger.client());
        let tls = "tls_server_config: { cert_file: server.crt, key_file: server.key";
        for (name, contents) in [
            ("btcpool.yml", &configuration(&pool)),
            ("servers.crt", &authority.pem()),
            ("clients.crt", &clients.pem()),
            ("strangers.crt", &stranger.pem()),
            ("server.crt", &server.certificate),
            ("server.key", &server.key),
            ("client.crt", &client.certificate),
            ("client.key", &client.key),
            ("stranger.crt", &nobody.certificate),
            ("stranger.key", &nobody.key),
            ("password", &PASSWORD.to_owned()),
            ("tls.yml", &format!("{tls} }}\n")),
            (
                "mutual.yml",
                &format!("{tls}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: clients.crt }}\n"),
            ),
            ("named.yml", &format!("{tls} }}\nbasic_auth_users: {{ prometheus: {HASH} }}\n")),
        ] {
            fs::write(directory.path().join(name), contents).unwrap();
        }
        let open = async |web: &str| exporter(directory.path(), web).await;
        let (tls, mutual, named) = (open("tls.yml").await, open("mutual.yml").await, open("named.yml").await);
        Self { tls, mutual, named, directory, _pool: pool }
    }

    /// The path of a file.
    fn file(&self, name: &str) -> String {
        shown(&self.directory.path().join(name))
    }
}

/// A configuration of the pool's one account.
fn configuration(pool: &Pool) -> String {
    format!("{}accounts: {{ {}: {{ api_key: {} }} }}\n", pool.configuration(), FARM.0, key(FARM.0))
}

/// An exporter with a web configuration, and the configuration beside it.
async fn exporter(directory: &Path, web: &str) -> Exporter {
    let (config, web) = (shown(&directory.join("btcpool.yml")), shown(&directory.join(web)));
    let exporter = Exporter::start(&["--config.file", &config, "--web.config.file", &web]).await;
    exporter.until_said("everything was polled once", 1).await;
    exporter
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Asks with curl: the body, and what it says: the status and the version of HTTP, or why there is none.
fn curl(url: &str, arguments: &[&str]) -> Ended {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]);
    curl.args(["--write-out", "%{stderr}%{http_code} HTTP/%{http_version}"]).args(arguments).arg(url);
    run(curl, "")
}

/// Whether a text is an exposition with every worker of the farm.
fn is_exposition(text: &str) -> bool {
    let families = parser::parse(text, Format::Classic).unwrap_or_else(|error| panic!("{error}\n{text}"));
    parser::series(&families).get("btcpool_account_workers_listed{account=\"farm\",currency=\"BTC\"}")
        == Some(&(FARM.1 as f64))
}

#[tokio::test]
async fn curl_needs_the_right_credentials() {
    let doors = Doors::open().await;
    let trust: &[&str] = &["--cacert", &doors.file("servers.crt")];
    let client: &[&str] = &["--cert", &doors.file("client.crt"), "--key", &doors.file("client.key")];
    let stranger: &[&str] = &["--cert", &doors.file("stranger.crt"), "--key", &doors.file("stranger.key")];
    let password = format!("prometheus:{PASSWORD}");
    let user: &[&str] = &["--user", &password];
    let tls_1_2: &[&str] = &["--tlsv1.2", "--tls-max", "1.2"];
    // Debian's OpenSSL speaks no TLS 1.1 unless it is told to think nothing of security.
    let careless: &[&str] = &["--ciphers", "DEFAULT@SECLEVEL=0"];
    let tls_1_1: &[&str] = &["--tlsv1.1", "--tls-max", "1.1"];

    for (door, arguments, answer) in [
        (&doors.tls, vec![trust], "200 HTTP/2"),
        (&doors.tls, vec![trust, &["--http2"]], "200 HTTP/2"),
        (&doors.tls, vec![trust, &["--http1.1"]], "200 HTTP/1.1"),
        (&doors.tls, vec![trust, &["--tlsv1.3"]], "200 HTTP/2"),
        (&doors.tls, vec![trust, tls_1_2, careless], "200 HTTP/2"),
        (&doors.mutual, vec![trust, client, &["--http2"]], "200 HTTP/2"),
        (&doors.mutual, vec![trust, client, &["--http1.1"]], "200 HTTP/1.1"),
        (&doors.mutual, vec![trust, client, tls_1_2], "200 HTTP/2"),
        (&doors.named, vec![trust, user, &["--http2"]], "200 HTTP/2"),
        (&doors.named, vec![trust, user, &["--http1.1"]], "200 HTTP/1.1"),
        (&doors.named, vec![trust, &["--user", "prometheus:wrong"], &["--http2"]], "401 HTTP/2"),
        (&doors.named, vec![trust, &["--user", "prometheus:wrong"], &["--http1.1"]], "401 HTTP/1.1"),
        (&doors.named, vec![trust, &["--user", &format!("nobody:{PASSWORD}")]], "401 HTTP/2"),
        (&doors.named, vec![trust], "401 HTTP/2"),
    ] {
        let arguments = arguments.concat();
        let ended = curl(&format!("https://{}/metrics", door.address), &arguments);
        assert_eq!((ended.status.code(), ended.errors.as_str()), (Some(0), answer), "{arguments:?}");
        if answer.starts_with("200") {
            assert!(is_exposition(&ended.output), "{arguments:?}: {}", ended.output);
        } else {
            assert_eq!(ended.output, WHO, "{arguments:?}");
        }
    }

    let elsewhere: &[&str] = &["--connect-to", &format!("elsewhere.example:443:{}", doors.tls.address)];
    let [tls, mutual, named] =
        [&doors.tls, &doors.mutual, &doors.named].map(|door| format!("https://{}/metrics", door.address));
    let others: &[&str] = &["--cacert", &doors.file("strangers.crt")];
    for (url, arguments, why) in [
        // Without the extension of TLS 1.2 that it has to have.
        (&tls, vec![trust, tls_1_1, careless], "alert handshake failure"),
        (&tls, vec![others], "unable to get local issuer certificate"),
        (&tls, vec![], "unable to get local issuer certificate"),
        (&"https://elsewhere.example/metrics".to_owned(), vec![trust, elsewhere], "no alternative certificate subject"),
        (&mutual, vec![trust], "alert certificate required"),
        (&mutual, vec![trust, tls_1_2], "alert certificate required"),
        (&mutual, vec![trust, stranger], "alert unknown ca"),
        (&mutual, vec![trust, stranger, tls_1_2], "alert unknown ca"),
        (&named, vec![trust, user, tls_1_1, careless], "alert handshake failure"),
    ] {
        let arguments = arguments.concat();
        let ended = curl(url, &arguments);
        let refused = !ended.status.success() && ended.errors.contains(why) && ended.errors.ends_with("000 HTTP/0");
        assert!(refused && ended.output.is_empty(), "{arguments:?}: {} {}", ended.status, ended.errors);
    }
    let ended = curl(&format!("http://{}/metrics", doors.tls.address), &[]);
    assert!(!ended.status.success() && ended.output.is_empty(), "in the open: {}{}", ended.output, ended.errors);
}

#[tokio::test]
async fn prometheus_needs_the_right_credentials() {
    is_let_in_with_what_is_needed(prometheus()).await;
}

#[tokio::test]
async fn prometheus_3_needs_the_right_credentials() {
    is_let_in_with_what_is_needed(prometheus_3()).await;
}

async fn is_let_in_with_what_is_needed(program: PathBuf) {
    let doors = Doors::open().await;
    let trust = format!("ca_file: {}, server_name: localhost", doors.file("servers.crt"));
    let identity = |name: &str| {
        format!(", cert_file: {}, key_file: {}", doors.file(&format!("{name}.crt")), doors.file(&format!("{name}.key")))
    };
    let user = format!(", basic_auth: {{ username: prometheus, password_file: {} }}", doors.file("password"));
    let wrong = ", basic_auth: { username: prometheus, password: wrong }".to_owned();
    let nothing = String::new;
    // The job, where to, its TLS, the rest, and why it is not let in.
    let jobs = [
        ("tls", &doors.tls, trust.clone(), nothing(), None),
        ("tls_by_address", &doors.tls, format!("ca_file: {}", doors.file("servers.crt")), nothing(), None),
        ("tls_http_1", &doors.tls, trust.clone(), ", enable_http2: false".to_owned(), None),
        (
            "tls_of_others",
            &doors.tls,
            format!("ca_file: {}, server_name: localhost", doors.file("strangers.crt")),
            nothing(),
            Some("certificate signed by unknown authority"),
        ),
        (
            "tls_named_otherwise",
            &doors.tls,
            format!("ca_file: {}, server_name: elsewhere.example", doors.file("servers.crt")),
            nothing(),
            Some("certificate is valid for localhost, not elsewhere.example"),
        ),
        ("mutual", &doors.mutual, trust.clone() + &identity("client"), nothing(), None),
        (
            "mutual_without",
            &doors.mutual,
            trust.clone() + ", max_version: TLS12",
            nothing(),
            Some("remote error: tls: certificate required"),
        ),
        // Whose request is on its way before it is refused.
        (
            "mutual_without_1_3",
            &doors.mutual,
            trust.clone(),
            nothing(),
            Some("remote error: tls: certificate required"),
        ),
        (
            "mutual_stranger",
            &doors.mutual,
            trust.clone() + &identity("stranger") + ", max_version: TLS12",
            nothing(),
            Some("remote error: tls: unknown certificate authority"),
        ),
        ("named", &doors.named, trust.clone(), user, None),
        ("named_wrong", &doors.named, trust.clone(), wrong, Some("HTTP status 401 Unauthorized")),
        ("named_without", &doors.named, trust.clone(), nothing(), Some("HTTP status 401 Unauthorized")),
    ];
    let job = |(name, door, tls, more, _): &(&str, &Exporter, String, String, _)| {
        format!(
            "  - {{ job_name: {name}, scheme: https, static_configs: [ {{ targets: [\"{}\"] }} ], tls_config: {{ {tls} \
             }}{more} }}\n",
            door.address
        )
    };
    let configs: String = jobs.iter().map(job).collect();
    let prometheus = Prometheus::start(&program, &configs).await;

    let health = |answer: &serde_json::Value| -> BTreeMap<String, (String, String)> {
        let targets = answer["activeTargets"].as_array().unwrap().iter();
        let told = |target, field| text(target, field).to_owned();
        targets
            .map(|target| (told(target, "scrapePool"), (told(target, "health"), told(target, "lastError"))))
            .collect()
    };
    let as_expected = |answer: &serde_json::Value| {
        let health = health(answer);
        jobs.iter().all(|(name, .., why)| match (health.get(*name), why) {
            (Some((health, error)), None) => health == "up" && error.is_empty(),
            (Some((health, error)), Some(why)) => health == "down" && !error.is_empty() && error.contains(why),
            (None, _) => false,
        })
    };
    prometheus.until("/api/v1/targets", &[("state", "active")], as_expected).await;

    // A target is called up a moment before its series can be asked for.
    let told = |value: f64, let_in: bool| {
        jobs.iter()
            .filter(move |(.., why)| why.is_none() == let_in)
            .map(move |(name, ..)| (labels([("to", *name)]), value))
    };
    let up: Series = told(1.0, true).chain(told(0.0, false)).collect();
    let promql = r#"label_replace(up, "to", "$1", "job", "(.*)")"#;
    prometheus.until("/api/v1/query", &[("query", promql)], |answer| series(answer) == up).await;
    let listed: Series = told(FARM.1 as f64, true).collect();
    let promql = r#"sum by (to) (label_replace(btcpool_account_workers_listed, "to", "$1", "job", "(.*)"))"#;
    assert_eq!(query(&prometheus, promql).await, listed);
}

#[tokio::test]
async fn health_needs_nothing_but_the_flags() {
    let doors = Doors::open().await;
    let health = |address: SocketAddr, web: Option<&str>| {
        let mut command = exporter_command();
        command.args(["health", "--web.listen-address", &address.to_string()]);
        command.args(web.iter().flat_map(|name| ["--web.config.file".to_owned(), doors.file(name)]));
        let ended = run(command, "");
        (ended.status.code(), ended.output)
    };
    let healthy = (Some(0), "healthy\n".to_owned());
    for (door, web) in [(&doors.tls, "tls.yml"), (&doors.mutual, "mutual.yml"), (&doors.named, "named.yml")] {
        assert_eq!(health(door.address, Some(web)), healthy, "{web}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, web) in [(doors.tls.address, None), (nobody, Some("tls.yml"))] {
        assert_eq!(health(address, web), (Some(1), String::new()), "{address} {web:?}");
    }
}

/// A connection, spoken on by hand, so that it is known to be the same one.
struct Line(BufReader<TlsStream<TcpStream>>);

impl Line {
    /// Connects to whoever has a certificate of that authority.
    async fn open(address: SocketAddr, authority: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Self(BufReader::new(connector.connect(name, tcp).await.unwrap()))
    }

    /// The certificate that was shown when it was opened.
    fn certificate(&self) -> Vec<u8> {
        self.0.get_ref().get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Asks for the metrics, as a user if one is named: the status and the body.
    async fn ask(&mut self, user: Option<(&str, &str)>) -> (u16, String) {
        let user = user.map(|(name, password)| STANDARD.encode(format!("{name}:{password}")));
        let user = user.map_or_else(String::new, |encoded| format!("authorization: Basic {encoded}\r\n"));
        let request = format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\n{user}\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
        let (mut head, mut length) = (Vec::new(), None);
        while head.last().is_none_or(|line| line != "\r\n") {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "the connection was closed: {head:?}");
            if let Some((name, value)) = line.split_once(": ").filter(|(name, _)| *name == "content-length") {
                length = Some(value.trim().parse().unwrap_or_else(|_| panic!("{name}: {value}")));
            }
            head.push(line);
        }
        let mut body = vec![0; length.unwrap_or_else(|| panic!("no length: {head:?}"))];
        self.0.read_exact(&mut body).await.unwrap();
        let status = head[0].split(' ').nth(1).unwrap().parse().unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}

#[tokio::test]
async fn users_change_on_open_connections() {
    let pool = Pool::start(&[FARM]);
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    let server = authority.server();
    let write = |name: &str, contents: &str| fs::write(directory.path().join(name), contents).unwrap();
    let users = |users: &str| {
        let tls = "tls_server_config: { cert_file: server.crt, key_file: server.key }";
        write("web.yml", &format!("{tls}\nbasic_auth_users: {{ {users} }}\n"));
    };
    let refused = (401, WHO.to_owned());
    let is_answered = |(status, body): &(u16, String)| *status == 200 && is_exposition(body);
    write("btcpool.yml", &configuration(&pool));
    write("server.crt", &server.certificate);
    write("server.key", &server.key);
    users(&format!("old: {HASH}"));
    let exporter = exporter(directory.path(), "web.yml").await;
    let open = async || Line::open(exporter.address, &authority.pem()).await;

    let (mut of_old, mut of_new) = (open().await, open().await);
    let (old, new) = (Some(("old", PASSWORD)), Some(("new", OTHER_PASSWORD)));
    assert!(is_answered(&of_old.ask(old).await));
    assert_eq!(of_new.ask(new).await, refused);

    users(&format!("old: {HASH}, new: {OTHER_HASH}"));
    let let_in = async || is_answered(&of_new.ask(new).await).then_some(());
    until("the new user", let_in, || exporter.log()).await;
    assert!(is_answered(&of_old.ask(old).await));

    users(&format!("new: {OTHER_HASH}"));
    let turned_away = async || (of_old.ask(old).await == refused).then_some(());
    until("the end of the old user", turned_away, || exporter.log()).await;
    assert!(is_answered(&of_new.ask(new).await));
    assert_eq!(open().await.ask(old).await, refused);
    // The other's password does not do, nor does none.
    assert_eq!(of_new.ask(Some(("new", PASSWORD))).await, refused);
    assert_eq!(of_new.ask(None).await, refused);

    // Whoever breaks the file keeps nobody out, and lets nobody in.
    users(&format!("new: {OTHER_HASH}, old: {PASSWORD}"));
    exporter.until_said("the web configuration was not taken up", 1).await;
    assert!(is_answered(&of_new.ask(new).await));
    assert_eq!(of_old.ask(old).await, refused);
    assert!(!exporter.log().contains(PASSWORD), "{}", exporter.log());
}

/// How the files of a certificate and its key are replaced.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Both are written over, one right after the other.
    InPlace,
    /// First the certificate; its key when the exporter has complained that they do not belong together.
    CertificateFirst,
    /// The other way round.
    KeyFirst,
    /// New files are moved to their places.
    Moved,
    /// The directory that both are in is replaced by moving a link, and is gone then: what Kubernetes does with a
    /// mounted secret, such as cert-manager's.
    Relinked,
}

/// An exporter of which the certificate is replaced.
struct Rotation {
    exporter: Exporter,
    authority: Authority,
    /// Every certificate that the exporter was given.
    issued: Arc<Mutex<Vec<Vec<u8>>>>,
    directory: TempDir,
    http: reqwest::Client,
    _pool: Pool,
}

impl Rotation {
    async fn start() -> Self {
        let pool = Pool::start(&[FARM]);
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("servers");
        let server = authority.server();
        let issued = Arc::new(Mutex::new(vec![server.der.clone()]));
        let path = |name: &str| directory.path().join(name);
        fs::write(path("btcpool.yml"), configuration(&pool)).unwrap();
        fs::write(path("servers.crt"), authority.pem()).unwrap();
        fs::write(path("web.yml"), "tls_server_config: { cert_file: tls.crt, key_file: tls.key }\n").unwrap();
        fs::create_dir(path("..0")).unwrap();
        fs::write(path("..0/tls.crt"), &server.certificate).unwrap();
        fs::write(path("..0/tls.key"), &server.key).unwrap();
        symlink("..0", path("..data")).unwrap();
        symlink("..data/tls.crt", path("tls.crt")).unwrap();
        symlink("..data/tls.key", path("tls.key")).unwrap();
        let exporter = exporter(directory.path(), "web.yml").await;
        // Connects anew each time.
        let http = client(&authority).pool_max_idle_per_host(0).build().unwrap();
        Self { exporter, authority, issued, directory, http, _pool: pool }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self) -> String {
        format!("https://{}/metrics", self.exporter.address)
    }

    /// Whether the exporter says that what it was last given is in use, and when the certificate in use expires.
    async fn in_use(&self) -> (bool, i64) {
        let text = self.http.get(self.url()).send().await.unwrap().text().await.unwrap();
        let value = |family: &str| -> f64 {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix(' '));
            values.next().unwrap().parse().unwrap()
        };
        let ends = value("btcpool_exporter_web_certificate_not_after_timestamp_seconds");
        (value("btcpool_exporter_config_last_reload_successful") == 1.0, ends as i64)
    }

    /// Gives it another certificate; gives that back, and when it expires.
    async fn replace(&self, manner: Manner) -> (Vec<u8>, i64) {
        const COMPLAINT: &str = "message=\"the web configuration was not taken up";
        let before = self.in_use().await;
        let Identity { certificate, key, der, ends } = self.authority.server();
        let turn = {
            let mut issued = self.issued.lock().unwrap();
            issued.push(der.clone());
            issued.len() - 1
        };
        let (certificate, key) = (("tls.crt", certificate), ("tls.key", key));
        match manner {
            Manner::InPlace => {
                for (name, contents) in [certificate, key] {
                    fs::write(self.path(name), contents).unwrap();
                }
            }
            Manner::CertificateFirst | Manner::KeyFirst => {
                let mut files = [certificate, key];
                if let Manner::KeyFirst = manner {
                    files.reverse();
                }
                let [(first, contents), (second, later)] = files;
                let complaints = self.exporter.said(COMPLAINT);
                fs::write(self.path(first), contents).unwrap();
                self.exporter.until_said(COMPLAINT, complaints + 1).await;
                assert_eq!(self.in_use().await, (false, before.1));
                fs::write(self.path(second), later).unwrap();
            }
            Manner::Moved => {
                for (name, contents) in [key, certificate] {
                    fs::write(self.path("new"), contents).unwrap();
                    fs::rename(self.path("new"), self.path(name)).unwrap();
                }
            }
            Manner::Relinked => {
                let (before, now) = (format!("..{}", turn - 1), format!("..{turn}"));
                fs::create_dir(self.path(&now)).unwrap();
                for (name, contents) in [certificate, key] {
                    fs::write(self.path(&now).join(name), contents).unwrap();
                }
                symlink(now, self.path("..data_tmp")).unwrap();
                fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
                fs::remove_dir_all(self.path(&before)).unwrap();
            }
        }
        (der, ends)
    }

    /// Who scrapes meanwhile.
    fn clients(&self) -> Clients {
        let mut clients = Clients::default();
        let (http, url, issued) = (self.http.clone(), self.url(), self.issued.clone());
        clients.spawn(async move |mut turns| {
            let mut newest = 0;
            while turns.next().await {
                let response = http.get(&url).send().await.unwrap_or_else(|error| panic!("connecting anew: {error:?}"));
                let shown = response.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec();
                let turn = issued.lock().unwrap().iter().position(|issued| *issued == shown).unwrap();
                assert!(turn >= newest, "certificate {turn} is shown after {newest}");
                newest = turn;
                assert!(response.status() == 200 && is_exposition(&response.text().await.unwrap()));
            }
        });
        let (http, url) = (client(&self.authority).build().unwrap(), self.url());
        clients.spawn(async move |mut turns| {
            while turns.next().await {
                let response = http.get(&url).send().await.unwrap_or_else(|error| panic!("keeping on: {error:?}"));
                assert!(response.status() == 200 && is_exposition(&response.text().await.unwrap()));
            }
        });
        let (authority, url) = (shown(&self.path("servers.crt")), self.url());
        clients.spawn(async move |mut turns| {
            while turns.next().await {
                let (authority, url) = (authority.clone(), url.clone());
                let asked = spawn_blocking(move || curl(&url, &["--http2", "--cacert", &authority])).await;
                let ended = asked.unwrap();
                assert_eq!((ended.status.code(), ended.errors.as_str()), (Some(0), "200 HTTP/2"));
                assert!(is_exposition(&ended.output));
            }
        });
        clients
    }
}

fn client(authority: &Authority) -> reqwest::ClientBuilder {
    let root = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    http_builder().timeout(PATIENCE).tls_certs_only([root]).tls_info(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_rotates_without_failed_scrapes() {
    let manners = [Manner::InPlace, Manner::CertificateFirst, Manner::Moved, Manner::KeyFirst];
    no_scrape_fails(&manners.repeat(3), prometheus()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn symlinked_certificate_rotates() {
    no_scrape_fails(&[Manner::Relinked; 8], prometheus_3()).await;
}

async fn no_scrape_fails(manners: &[Manner], program: PathBuf) {
    let rotation = Rotation::start().await;
    // As many that scrape at moments of their own. Their timeout is no shorter than their interval: a machine that has
    // much to do is no failure.
    const JOBS: usize = 5;
    let job = |number| {
        let (address, trust) = (rotation.exporter.address, shown(&rotation.path("servers.crt")));
        format!(
            "  - {{ job_name: job_{number}, scrape_interval: 5s, scrape_timeout: 5s, scheme: https, tls_config: {{ \
             ca_file: {trust} }}, static_configs: [ {{ targets: [\"{address}\"] }} ] }}\n"
        )
    };
    let prometheus = Prometheus::start(&program, &(0..JOBS).map(job).collect::<String>()).await;
    let mut clients = rotation.clients();
    let mut lines = Vec::new();
    for &manner in manners {
        let (certificate, ends) = rotation.replace(manner).await;
        let connect = async || {
            let line = Line::open(rotation.exporter.address, &rotation.authority.pem()).await;
            (line.certificate() == certificate).then_some(line)
        };
        lines.push(until("the new certificate", connect, || rotation.exporter.log()).await);
        assert_eq!(rotation.in_use().await, (true, ends), "{manner:?}");
        // What was opened under another certificate goes on.
        for line in &mut lines {
            let (status, body) = line.ask(None).await;
            assert!(status == 200 && is_exposition(&body), "{manner:?}");
        }
        clients.have_a_turn().await;
    }
    // Every job has scraped more than once.
    let scraped = |answer: &serde_json::Value| {
        let counts = series(answer);
        counts.len() == 1 && counts.values().all(|&least| least >= 3.0)
    };
    let least = format!("min(count_over_time(up[1h])) and count(up) == {JOBS}");
    prometheus.until("/api/v1/query", &[("query", &least)], scraped).await;
    clients.stop().await;
    let failed = query(&prometheus, "count(min_over_time(up[1h]) < 1)").await;
    assert_eq!(failed, Series::new(), "{:?}", prometheus.ask("/api/v1/targets", &[]).await);
}
