//! Connections that are silent, slow, many, or do not read.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::Extension, http::StatusCode, response::IntoResponse, routing::get};
use btcpool_exporter::server::{Limits, Server, Web};
use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_util::sync::CancellationToken;

use crate::harness::{self, PATIENCE, Pool, Running};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

const GENEROUS: Limits = Limits { connections: 100, header: NEVER, answer: NEVER, rest: NEVER };

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// More than what the kernel takes off a server's hands for a client that does not read.
const LARGE: usize = 32 << 20;

/// Counts how many of it there are, clones taken together.
#[derive(Clone)]
struct Held(#[expect(dead_code, reason = "held for its drop")] Arc<One>);

struct One(Arc<AtomicUsize>);

impl Held {
    fn one(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(Arc::new(One(counter.clone())))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A server of `/`, which is short, and `/large`; and how many of its answers are not handed over yet.
struct Served {
    address: std::net::SocketAddr,
    held: Arc<AtomicUsize>,
    shutdown: CancellationToken,
}

impl Served {
    async fn start(limits: Limits) -> Self {
        let held = Arc::new(AtomicUsize::new(0));
        let counter = held.clone();
        let large = move || async move { (Extension(Held::one(&counter)), vec![b'x'; LARGE]).into_response() };
        let router = Router::new().route("/", get(|| async { (StatusCode::OK, "short") })).route("/large", get(large));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(Server::new(router, Arc::new(Web::plain()), limits).serve(listener, shutdown.clone()));
        Self { address, held, shutdown }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until so many answers are not handed over.
    async fn until_held(&self, wanted: usize) {
        let begin = Instant::now();
        while self.held.load(Ordering::SeqCst) != wanted {
            assert!(begin.elapsed() < PATIENCE, "{} answers are held, not {wanted}", self.held.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Asks once, and reads the short answer.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"short") {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("there is no answer");
        assert_ne!(read.unwrap(), 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{:?}", String::from_utf8_lossy(&answer));
}

/// Waits until the server has closed a connection; how long that took, and what was read from it.
async fn closed(mut stream: impl AsyncRead + Unpin) -> (Duration, usize) {
    let begin = Instant::now();
    let mut rest = Vec::new();
    // Reset or ended: both are closed.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection is still open");
    (begin.elapsed(), rest.len())
}

/// Whether a connection is open still, as far as one can see without asking.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 1]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn incomplete_header_times_out() {
    let limits = Limits { header: Duration::from_millis(300), ..GENEROUS };
    let served = Served::start(limits).await;
    let silent = served.connect().await;
    let mut half = served.connect().await;
    half.write_all(&REQUEST[..20]).await.unwrap();
    let mut dripping = served.connect().await;
    let drip = async {
        // A byte now and then buys no time.
        for byte in REQUEST {
            if dripping.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        closed(dripping).await
    };
    let (silent, half, dripping) = tokio::join!(closed(silent), closed(half), drip);
    assert_eq!((silent.1, half.1, dripping.1), (0, 0, 0), "nothing was answered");
    assert!(silent.0 > limits.header / 2 && half.0 > limits.header / 2, "{silent:?} {half:?}: nobody was waited for");
}

#[tokio::test]
async fn idle_is_allowed_but_not_inside_a_header() {
    let served = Served::start(Limits { header: Duration::from_millis(200), ..GENEROUS }).await;
    let (mut resting, mut stopping) = (served.connect().await, served.connect().await);
    ask(&mut resting).await;
    ask(&mut stopping).await;
    stopping.write_all(&REQUEST[..20]).await.unwrap();
    assert_eq!(closed(stopping).await.1, 0);
    // By now the other has rested for longer than a header may take.
    ask(&mut resting).await;

    let served = Served::start(Limits { rest: Duration::from_millis(200), ..GENEROUS }).await;
    let mut resting = served.connect().await;
    ask(&mut resting).await;
    ask(&mut resting).await;
    assert_eq!(closed(resting).await.1, 0);
}

#[tokio::test]
async fn longest_idle_connection_is_evicted() {
    let served = Served::start(Limits { connections: 3, ..GENEROUS }).await;
    let mut resting = served.connect().await;
    ask(&mut resting).await;
    let first = served.connect().await;
    let mut second = served.connect().await;
    let mut third = served.connect().await;
    ask(&mut third).await;
    assert_eq!(closed(first).await.1, 0);
    // The others were spared.
    ask(&mut second).await;
    ask(&mut resting).await;
    // Now all three have asked; the one that has rested for longest goes.
    let mut fourth = served.connect().await;
    ask(&mut fourth).await;
    assert_eq!(closed(third).await.1, 0);
    assert!(is_open(&second) && is_open(&resting));
}

#[tokio::test]
async fn response_in_flight_is_not_evicted() {
    let served = Served::start(Limits { connections: 1, ..GENEROUS }).await;
    let mut busy = served.connect().await;
    busy.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    served.until_held(1).await;
    let mut next = served.connect().await;
    let (_, (_, read)) = tokio::join!(ask(&mut next), closed(busy));
    assert!(read > LARGE, "only {read} bytes of the answer came");
    assert_eq!(served.held.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn client_that_does_not_read_is_dropped() {
    let served = Served::start(Limits { answer: Duration::from_millis(500), ..GENEROUS }).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stalled = socket.connect(served.address).await.unwrap();
    stalled.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut begin = [0];
    assert_eq!(stalled.read(&mut begin).await.unwrap(), 1);
    // What it holds is free again although it has read only a byte.
    served.until_held(0).await;
    let (_, read) = closed(stalled).await;
    assert!(read < LARGE, "all of {read} bytes came");
    // Whoever reads gets everything.
    let served = Served::start(GENEROUS).await;
    let mut reading = served.connect().await;
    reading.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(closed(reading).await.1 > LARGE);
}

#[tokio::test]
async fn crowd_that_does_not_read_is_evicted() {
    let served = Served::start(Limits { connections: 2, header: Duration::from_millis(300), ..GENEROUS }).await;
    let mut crowd = Vec::new();
    for _ in 0..2 {
        let mut stalled = served.connect().await;
        stalled.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(stalled.read(&mut [0]).await.unwrap(), 1);
        crowd.push(stalled);
    }
    let mut next = served.connect().await;
    ask(&mut next).await;
}

#[tokio::test]
async fn oversized_header_is_refused() {
    let served = Served::start(GENEROUS).await;
    let mut stream = served.connect().await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(64 << 10));
    // It may be closed before everything is sent.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is still open");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn shutdown_finishes_responses_in_flight() {
    let served = Served::start(GENEROUS).await;
    let (silent, mut busy) = (served.connect().await, served.connect().await);
    let mut resting = served.connect().await;
    ask(&mut resting).await;
    busy.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    served.until_held(1).await;
    served.shutdown.cancel();
    let (busy, resting, _) = tokio::join!(closed(busy), closed(resting), closed(silent));
    assert!(busy.1 > LARGE, "only {} bytes of the answer came", busy.1);
    assert_eq!(resting.1, 0);
}

/// The exporter as it is, with its own limits.
#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figures are what one wants to see of this test")]
async fn silent_connections_block_no_scrape() {
    const CROWD: usize = 2000;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = 2 * CROWD as u64;
    if current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(maximum.map_or(wanted, |maximum| maximum.min(wanted))), maximum };
        setrlimit(Resource::Nofile, raised).unwrap();
    }
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let running = Running::start_ready(harness::config(&pool.base_url(), &harness::one_account())).await;
    let address = running.url.strip_prefix("http://").unwrap();
    let begin = Instant::now();
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            // The server may have closed it already.
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n").await;
        }
        let connected = Instant::now();
        crowd.push(tokio::spawn(async move { (closed(stream).await.1, connected.elapsed()) }));
    }
    let connected = begin.elapsed();
    let asked = Instant::now();
    assert_eq!(running.get("/metrics").await.0, 200);
    let scraped = asked.elapsed();
    let open = crowd.iter().filter(|client| !client.is_finished()).count();
    let ended: Vec<_> = join_all(crowd).await.into_iter().map(Result::unwrap).collect();
    let longest = ended.iter().map(|&(_, open)| open).max().unwrap();
    println!(
        "{CROWD} connections in {connected:.1?}; then a scrape in {scraped:.1?} while {open} of them were open; \
         none was open for longer than {longest:.1?}"
    );
    assert!(open > 0, "nobody was there");
    assert!(ended.iter().all(|&(read, _)| read == 0));
    running.stop().await.unwrap();
}
