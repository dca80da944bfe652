//! Connections to the pool: reuse, retry, replacement and the connect timeout, against a server that follows a script.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use btcpool_exporter::model::{Endpoint, Reason};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{client::Asking, harness};

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Reply {
    /// Answers with this status and keeps the connection open.
    Status(u16),
    /// Closes the connection (FIN) without an answer.
    Close,
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
            Reply::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Reply::Stall => std::future::pending().await,
        }
    }
}

/// The requests that were counted, by code, and the failures, by reason; both without zeros.
fn counted(asking: &Asking) -> (Vec<(String, u64)>, Vec<(Reason, u64)>) {
    let figures = asking.telemetry.snapshot();
    let requests = figures.requests.iter().map(|((_, code), count)| (format!("{code:?}"), *count)).collect();
    let failures = figures.request_failures.iter().filter(|(_, count)| **count > 0);
    (requests, failures.map(|((_, reason), count)| (*reason, *count)).collect())
}

/// How many requests to `main_stat` were counted, and how many of them failed.
fn totals(asking: &Asking) -> (u64, u64) {
    let (requests, failures) = counted(asking);
    (requests.iter().map(|(_, count)| count).sum(), failures.iter().map(|(_, count)| count).sum())
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
        (1, _) => Reply::Close,
        _ => Reply::Stall,
    });
    let server = server.await;
    let asking = Asking::with(&server.base_url(), "timeout: 1s");
    asking.client.main_stat().await.unwrap();
    let begin = Instant::now();
    let error = asking.client.main_stat().await.unwrap_err();
    assert_eq!(error.to_string(), "no complete answer within 1s; is the pool slow, or api.timeout too short?");
    assert!(begin.elapsed() < Duration::from_millis(1900), "{:?}", begin.elapsed());
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
