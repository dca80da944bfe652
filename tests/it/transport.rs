//! Connections to the pool: reuse, retry, replacement and the connect timeout, against a server that follows a script.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use btcpool_exporter::{
    model::{Endpoint, Reason, Target},
    telemetry::Telemetry,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tracing::field::Visit;
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

use crate::{
    client::Asking,
    harness::{self, KEY, Program, program, run},
};

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Reply {
    /// Answers with this status and keeps the connection open.
    Status(u16),
    /// Closes the connection (FIN) without an answer.
    Close,
    /// The same after this time.
    CloseLater(Duration),
    /// Closes the connection in the middle of the response's head.
    CutHead,
    /// Resets the connection (RST) without an answer.
    Reset,
    /// Never answers.
    Stall,
}

/// A server, and the requests that it received: the number of the connection, the number of the request on it.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Server {
    /// Starts a server that answers by connection and request, both counted from 1.
    async fn start(script: impl Fn(usize, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, seen) = (Arc::new(script), requests.clone());
        tokio::spawn(async move {
            for connection in 1.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, connection, script.clone(), seen.clone()));
            }
        });
        Self { address, requests }
    }

    fn base_url(&self) -> String {
        format!("http://{}/ru/api", self.address)
    }

    fn requests(&self) -> Vec<(usize, usize)> {
        self.requests.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    script: Arc<impl Fn(usize, usize) -> Reply>,
    seen: Arc<Mutex<Vec<(usize, usize)>>>,
) {
    for request in 1.. {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        seen.lock().unwrap().push((connection, request));
        match script(connection, request) {
            Reply::Status(status) => {
                let body = harness::sample("main_stat");
                let answer = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            Reply::Close => return,
            Reply::CloseLater(wait) => return tokio::time::sleep(wait).await,
            Reply::CutHead => return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await.unwrap(),
            Reply::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Reply::Stall => std::future::pending().await,
        }
    }
}

/// How many requests to `main_stat` were counted, and how many of them failed.
fn totals(asking: &Asking) -> (u64, u64) {
    let figures = asking.telemetry.snapshot();
    (figures.requests.values().sum(), figures.request_failures.values().sum())
}

#[tokio::test]
async fn request_on_a_dying_reused_connection_is_retried_once() {
    for death in [Reply::Close, Reply::Reset] {
        let server = Server::start(move |connection, request| match (connection, request) {
            (1, 2) => death,
            _ => Reply::Status(200),
        });
        let server = server.await;
        let asking = Asking::of(&server.base_url());
        for _ in 0..3 {
            asking.client.main_stat().await.unwrap_or_else(|error| panic!("{death:?}: {error}"));
        }
        assert_eq!(server.requests(), [(1, 1), (1, 2), (2, 1), (2, 2)], "{death:?}");
        assert_eq!(totals(&asking), (3, 0), "{death:?}");
    }
}

#[tokio::test]
async fn request_on_a_fresh_connection_is_not_retried() {
    for death in [Reply::Close, Reply::Reset] {
        let server = Server::start(move |_, _| death).await;
        let asking = Asking::of(&server.base_url());
        for _ in 0..2 {
            assert_eq!(asking.client.main_stat().await.unwrap_err().reason(), Reason::Connect, "{death:?}");
        }
        assert_eq!(server.requests(), [(1, 1), (2, 1)], "{death:?}");
        assert_eq!(totals(&asking), (2, 2), "{death:?}");
    }
}

#[tokio::test]
async fn cut_head_on_a_reused_connection_is_retried() {
    let server = Server::start(|connection, request| match (connection, request) {
        (1, 2) => Reply::CutHead,
        _ => Reply::Status(200),
    });
    let server = server.await;
    let asking = Asking::of(&server.base_url());
    asking.client.main_stat().await.unwrap();
    asking.client.main_stat().await.unwrap();
    assert_eq!(server.requests(), [(1, 1), (1, 2), (2, 1)]);
    assert_eq!(totals(&asking), (2, 0));
}

#[tokio::test]
async fn retry_is_not_retried() {
    let server = Server::start(|connection, request| match (connection, request) {
        (1, 1) => Reply::Status(200),
        _ => Reply::Close,
    });
    let server = server.await;
    let asking = Asking::of(&server.base_url());
    asking.client.main_stat().await.unwrap();
    assert_eq!(asking.client.main_stat().await.unwrap_err().reason(), Reason::Connect);
    assert_eq!(server.requests(), [(1, 1), (1, 2), (2, 1)]);
    assert_eq!(totals(&asking), (2, 1));
}

#[tokio::test]
async fn retry_runs_under_the_same_timeout() {
    let server = Server::start(|connection, request| match (connection, request) {
        (1, 1) => Reply::Status(200),
        (1, _) => Reply::CloseLater(Duration::from_millis(600)),
        _ => Reply::Stall,
    });
    let server = server.await;
    let asking = Asking::with(&server.base_url(), "timeout: 1s");
    asking.client.main_stat().await.unwrap();
    let begin = Instant::now();
    let error = asking.client.main_stat().await.unwrap_err();
    assert_eq!(error.to_string(), "no complete answer within 1s; is the pool slow, or api.timeout too short?");
    // A second whole timeout would end after 1.6 s.
    assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
    assert_eq!(server.requests(), [(1, 1), (1, 2), (2, 1)]);
}

#[tokio::test]
async fn connection_is_closed_after_a_server_error() {
    let server = Server::start(|connection, _| Reply::Status(if connection == 1 { 503 } else { 200 })).await;
    let asking = Asking::of(&server.base_url());
    assert_eq!(asking.client.main_stat().await.unwrap_err().reason(), Reason::Http5xx);
    asking.client.main_stat().await.unwrap();
    asking.client.main_stat().await.unwrap();
    assert_eq!(server.requests(), [(1, 1), (2, 1), (2, 2)]);
}

#[tokio::test]
async fn connection_is_used_for_two_minutes_at_most() {
    let server = Server::start(|_, _| Reply::Status(200)).await;
    let asking = Asking::of(&server.base_url());
    // Requests every 40 seconds: no connection is ever idle long enough to be closed for that.
    for _ in 0..7 {
        asking.client.main_stat().await.unwrap();
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(40)).await;
        tokio::time::resume();
    }
    assert_eq!(server.requests(), [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1)]);
}

/// Binds an address that never completes a handshake: the queue of its listener is full.
async fn black_hole() -> (SocketAddr, TcpSocketsHeld) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    loop {
        let connecting = TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), connecting).await {
            Ok(client) => clients.push(client.unwrap()),
            Err(_) => return (address, (listener, clients)),
        }
    }
}

type TcpSocketsHeld = (TcpListener, Vec<TcpStream>);

#[tokio::test]
async fn connecting_takes_a_third_of_the_timeout_at_most() {
    let (address, _held) = black_hole().await;
    let asking = Asking::with(&format!("http://{address}/ru/api"), "timeout: 3s");
    let begin = Instant::now();
    let error = asking.client.main_stat().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no connection to the pool within 1s; check api.base_url, the network and the firewall (connecting may take a \
         third of api.timeout)"
    );
    assert_eq!(error.reason(), Reason::Timeout);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    let figures = asking.telemetry.snapshot();
    assert_eq!(figures.request_failures[&(Endpoint::MainStat, Reason::Timeout)], 1);
}

/// A command that runs the program for one account of a pool behind TLS, with these variables.
fn behind_tls(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = program(arguments);
    command.env("BTCPOOL__API__BASE_URL", "https://pool.invalid/ru/api").env("BTCPOOL__ACCOUNTS__FARM__API_KEY", KEY);
    command.env("BTCPOOL__API__TIMEOUT", "3s").envs(variables.iter().copied());
    command
}

/// Runs a command while this test goes on as the server.
async fn run_beside(command: Command) -> (Option<i32>, String, String) {
    tokio::task::spawn_blocking(move || run(command)).await.unwrap()
}

/// A server that answers what it reads on a connection with these bytes, one after the other, and keeps it open.
async fn answers(answers: &'static [&'static [u8]]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let _ = stream.read(&mut [0; 65536]).await.unwrap();
                stream.write_all(answer).await.unwrap();
            }
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn failing_proxy_is_named_without_its_credentials() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refusing = answers(&[b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"]).await;
    let forbidding = answers(&[b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"]).await;
    let tunnel = answers(&[b"HTTP/1.1 200 OK\r\n\r\n", b"no TLS here"]).await;
    let silent = answers(&[]).await;
    let tls = |to: &str, cause: &str| format!("tls: no trusted TLS connection to {to}: {cause}");
    let corrupt = "received corrupt message of type InvalidContentType";
    for (proxy, expected) in [
        (
            format!("http://user:hidden@{closed}"),
            format!(
                "connect: the connection to the proxy {closed} failed: Connection refused (os error 111); check \
                 HTTPS_PROXY"
            ),
        ),
        (
            format!("http://user:hidden@{refusing}"),
            format!(
                "connect: the connection to the proxy {refusing} failed: tunnel error: proxy authorization required; \
                 check HTTPS_PROXY"
            ),
        ),
        (
            format!("http://{forbidding}"),
            format!(
                "connect: the connection to the proxy {forbidding} failed: tunnel error: unsuccessful; check HTTPS_PROXY"
            ),
        ),
        (
            format!("https://user:hidden@{refusing}"),
            tls(&format!("the proxy {refusing}"), corrupt)
                + "; check whether HTTPS_PROXY should begin with http:// or https://, and this machine's clock and CA \
                   certificates",
        ),
        (
            format!("http://user:hidden@{tunnel}"),
            tls(&format!("the pool through the proxy {tunnel}"), corrupt)
                + "; check this machine's clock and CA certificates (a proxy that inspects TLS has a CA of its own)",
        ),
        (
            format!("http://{silent}"),
            format!(
                "timeout: no connection to the pool through the proxy {silent} within 1s; check HTTPS_PROXY, \
                 api.base_url, the network and the firewall (connecting may take a third of api.timeout)"
            ),
        ),
    ] {
        let (code, output, errors) = run_beside(behind_tls(&["check", "--probe"], &[("HTTPS_PROXY", &proxy)])).await;
        let address = proxy.rsplit_once(['/', '@']).unwrap().1;
        assert!(output.contains(&format!("\nproxy       {address} (HTTPS_PROXY)\n")), "{output}");
        assert_eq!(output.lines().last(), Some(format!("farm BTC: {expected}").as_str()), "{proxy}\n{errors}");
        assert_eq!(code, Some(1), "{proxy}: {errors}");
        assert!(!format!("{output}{errors}").contains("hidden"), "{output}{errors}");
    }
    let variables = [("all_proxy", "http://user:hidden@proxy.invalid:3128")];
    let (_, output, _) = run_beside(behind_tls(&["check", "--probe"], &variables)).await;
    let (begin, end) = output.lines().last().unwrap().split_once(" resolved: ").unwrap();
    assert_eq!(begin, "farm BTC: dns: the host name of the proxy proxy.invalid:3128 cannot be");
    assert!(end.ends_with("; check all_proxy and this machine's DNS"), "{output}");
}

#[test]
fn check_and_log_name_the_proxy() {
    let variables = [("HTTPS_PROXY", "http://user:hidden@127.0.0.1:9"), ("NO_PROXY", "pool.invalid")];
    for (variables, expected) in [
        (&variables[..0], "none"),
        (&variables[..1], "127.0.0.1:9 (HTTPS_PROXY)"),
        (&variables[..], "none: HTTPS_PROXY is set, but NO_PROXY excludes pool.invalid"),
    ] {
        let (code, output, errors) = run(behind_tls(&["check"], variables));
        assert_eq!((code, errors.as_str()), (Some(0), ""));
        assert!(output.contains(&format!("\nproxy       {expected}\n")), "{expected}\n{output}");
        let mut serve = Program::start(behind_tls(&["serve", "--web.listen-address", "127.0.0.1:0"], variables));
        let starting = serve.until_log("message=starting");
        let shown = if expected.contains(' ') { format!("{expected:?}") } else { expected.to_owned() };
        assert!(
            starting.contains(&format!(" proxy={shown} ")) || starting.ends_with(&format!(" proxy={shown}")),
            "{starting}"
        );
    }
}

/// A certificate that trust roots may hold.
fn authority() -> String {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

/// Runs `serve`, `check` and `once`: each must refuse the environment before anything is bound, with the same message.
fn refused(variables: &[(&str, &str)]) -> String {
    let mut messages = Vec::new();
    for command in [&["serve", "--web.listen-address", "127.0.0.1:0"][..], &["check"], &["once"]] {
        let (code, output, errors) = run(behind_tls(command, variables));
        assert_eq!((code, output.as_str()), (Some(2), ""), "{command:?} {variables:?}: {errors}");
        assert!(!errors.contains("listening") && !errors.contains("hidden"), "{errors}");
        messages.push(errors.lines().last().unwrap_or_default().to_owned());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
    messages.remove(0)
}

#[test]
fn unusable_proxy_is_refused_before_anything_is_bound() {
    let example = "write it as http://proxy.example:3128 or http://USER:PASSWORD@proxy.example:3128";
    for (variable, value, problem) in [
        (
            "HTTPS_PROXY",
            "socks5://u:hidden@127.0.0.1:9",
            "a proxy of the scheme \"socks5\" is not supported, only http and https",
        ),
        ("https_proxy", "ftp://127.0.0.1:9", "a proxy of the scheme \"ftp\" is not supported, only http and https"),
        ("all_proxy", " http://u:hidden@127.0.0.1:9", "the proxy's address has a blank or a control character in it"),
        ("ALL_PROXY", "http://[::bad", "the proxy's address is broken (invalid IPv6 address)"),
    ] {
        let expected = format!("btcpool-exporter: {variable}: {problem}; {example}");
        assert_eq!(refused(&[(variable, value)]), expected);
    }
}

#[test]
fn unusable_trust_roots_are_refused_before_anything_is_bound() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (empty, text, missing, bare) = (path("empty.pem"), path("text.pem"), path("missing"), path("bare"));
    fs::write(&empty, "").unwrap();
    fs::write(&text, "no certificate\n").unwrap();
    fs::create_dir(&bare).unwrap();
    let list = format!("{bare}:{missing}");
    let absent = format!("{missing}: No such file or directory (os error 2)");
    for (variable, value, problem) in [
        ("SSL_CERT_FILE", missing.as_str(), absent.clone()),
        ("SSL_CERT_FILE", &bare, format!("{bare}: Is a directory (os error 21)")),
        ("SSL_CERT_FILE", &empty, format!("no certificate in {empty}")),
        ("SSL_CERT_FILE", &text, format!("no certificate in {text}")),
        ("SSL_CERT_FILE", "", "the value is empty".to_owned()),
        ("SSL_CERT_DIR", &missing, absent.clone()),
        ("SSL_CERT_DIR", &bare, format!("no certificate in {bare}")),
        ("SSL_CERT_DIR", &list, absent),
    ] {
        let expected = format!(
            "btcpool-exporter: {variable}: {problem}; name PEM certificates, or unset the variable to use those of the \
             system"
        );
        let trusted = path("authority.pem");
        fs::write(&trusted, authority()).unwrap();
        let other = if variable == "SSL_CERT_FILE" { ("UNUSED", "") } else { ("SSL_CERT_FILE", trusted.as_str()) };
        assert_eq!(refused(&[other, (variable, value)]), expected, "{value}");
    }
}

/// A reload reads the trust roots again, from a disk that may not answer. Signals are heard all the same.
#[test]
fn reload_reads_trust_roots_beside_the_main_loop() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (roots, config) = (path("roots.pem"), path("btcpool.yml"));
    fs::write(&roots, authority()).unwrap();
    let settings = |timeout: &str| format!("api: {{ base_url: \"https://127.0.0.1:9/ru/api\", timeout: {timeout} }}\n");
    fs::write(&config, settings("15s")).unwrap();
    let mut command = program(&["--web.listen-address", "127.0.0.1:0", "--config.file", config.to_str().unwrap()]);
    command.env("SSL_CERT_FILE", &roots).env_remove("SSL_CERT_DIR");
    let mut exporter = Program::start(command);
    exporter.until_log("everything was polled once");
    fs::remove_file(&roots).unwrap();
    assert!(Command::new("mkfifo").arg(&roots).status().unwrap().success());
    fs::write(&config, settings("14s")).unwrap();
    exporter.signal("HUP");
    // Opening the pipe waits until the exporter has opened it. Nothing is ever written into it.
    let _stalled = fs::OpenOptions::new().write(true).open(&roots).unwrap();
    exporter.signal("TERM");
    assert_eq!(exporter.end().0, Some(0), "{}", exporter.log());
}

#[test]
fn statuses_that_are_not_registered_share_a_code() {
    let registered = [200, 404, 429, 500, 502, 503, 511];
    let statuses: Vec<u16> = (200..1000).filter(|status| ![204, 205, 304].contains(status)).collect();
    let telemetry = Telemetry::new("2026-05-05T04:00:00Z".parse().unwrap());
    for &status in &statuses {
        telemetry.request(Endpoint::MainStat, Some(status), Duration::ZERO);
    }
    let codes: Vec<_> = telemetry.snapshot().requests.keys().map(|(_, code)| code.to_string()).collect();
    assert!(registered.iter().all(|status| codes.contains(&status.to_string())), "{codes:?}");
    let classes: Vec<_> = codes.iter().filter(|code| code.ends_with("xx")).map(String::as_str).collect();
    assert_eq!(classes, ["2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"]);
    assert!(codes.len() < 80, "{}", codes.len());
    assert_eq!(telemetry.snapshot().requests.values().sum::<u64>(), statuses.len() as u64);
}

/// Collects what is logged about unexpected values.
#[derive(Clone, Default)]
struct Anomalies(Arc<Mutex<Vec<String>>>);

/// The fields of an event, as text.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: tracing::Subscriber> Layer<S> for Anomalies {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let (Some(account), Some(field)) = (fields.0.get("account"), fields.0.get("field")) {
            self.0.lock().unwrap().push(format!("{account} {field}").replace('"', ""));
        } else if fields.0["message"].contains("many unexpected values") {
            self.0.lock().unwrap().push(fields.0["message"].clone());
        }
    }
}

#[tokio::test]
async fn anomaly_is_logged_once_for_each_account_and_field() {
    let logged = Anomalies::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(logged.clone()));
    let pool = harness::Pool::start().await;
    pool.answers(
        "summary_data",
        r#"{"status":"OK","data":{"balance":"many","active_workers":1,"inactive_workers":-1}}"#,
    )
    .await;
    let asking = Asking::of(&pool.base_url());
    let other = |account: &str| Target { account: account.parse().unwrap(), ..asking.target.clone() };
    for account in ["farm", "b", "farm", "b", "c"] {
        asking.client.summary_data(&other(account), &asking.key).await.unwrap();
    }
    let mut expected: Vec<_> = logged.0.lock().unwrap().clone();
    expected.dedup();
    let of = |account: &str| logged.0.lock().unwrap().iter().filter(|line| line.starts_with(account)).count();
    let each = of("c ");
    assert!(each >= 2, "{expected:?}");
    assert_eq!((of("farm "), of("b ")), (each, each), "{expected:?}");
    // The log is bounded, whatever the API sends for however many accounts.
    for account in 0..1000 {
        asking.client.summary_data(&other(&format!("n{account}")), &asking.key).await.unwrap();
    }
    let lines = logged.0.lock().unwrap();
    assert_eq!(lines.len(), 1001, "1000 anomalies and the last word");
    let last = lines.iter().filter(|line| line.starts_with("many unexpected values")).count();
    assert_eq!(last, 1);
}
