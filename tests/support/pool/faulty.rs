//! A pool that misbehaves on demand: a real server on loopback that has the simulated pool's good answers, and does to
//! them what a [`Fault`] says, byte by byte and in its own time.
//!
//! It reads requests and writes answers by hand, because no HTTP library would write what a broken pool writes.
//!
//! A test breaks the pool with [`FaultyPool::inject`] and [`FaultyPool::stop_listening`], mends it with
//! [`FaultyPool::heal`] and [`FaultyPool::listen_again`], and reads what came with [`FaultyPool::requests`] or, in a long
//! run, [`FaultyPool::take_requests`]. [`FaultyPool::rewrite`] replaces the good answers.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use btcpool_exporter::demo::SimulatedPool;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};
use tower::ServiceExt as _;

/// How long a good answer is kept and given again: the simulated pool makes its figures anew every five minutes, and
/// reckoning its books for each request would be most of what a test does.
const KEPT_FOR: Duration = Duration::from_secs(20);

/// The longest head of a request that is read.
const MAX_HEAD: usize = 64 << 10;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method of the API; empty when none was named.
    pub endpoint: String,
    /// Whose key came with it; `None` without a known key.
    pub account: Option<String>,
    /// The row from which on a list was asked for.
    pub offset: Option<usize>,
    /// How often this was asked before: the same endpoint, account and offset.
    pub before: usize,
    /// How many requests came on the same connection before it.
    pub earlier: usize,
    /// When it had come.
    pub at: Instant,
    /// The path and the query.
    pub target: String,
    /// Header names, lower-case, and values.
    pub headers: Vec<(String, String)>,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The key that came with it; empty when none did.
    pub fn key(&self) -> &str {
        self.header("x-api-key").unwrap_or_default()
    }
}

/// What the simulated pool would have answered.
#[derive(Clone, Debug)]
pub struct Good {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Good {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One thing to do with a connection.
#[derive(Clone, Debug)]
pub enum Step {
    /// Writes bytes.
    Send(Vec<u8>),
    /// Does nothing for a while.
    Wait(Duration),
    /// Does nothing until the other side hangs up.
    Stall,
    /// Writes bytes again and again, with a rest between, until the other side hangs up.
    Repeat(Vec<u8>, Duration),
    /// Ends the connection with a reset.
    Reset,
    /// Reads the next request from the same connection. Without it the connection is closed behind the last step.
    KeepAlive,
}

type Reply = dyn Fn(&Asked, Good) -> Vec<Step> + Send + Sync;

/// Makes a good answer of a good answer; also given the row from which on a list is wanted.
type Rewrite = dyn Fn(&Asked, Option<usize>, Good) -> Good + Send + Sync;

/// What becomes of a good answer.
#[derive(Clone)]
pub struct Fault {
    reply: Arc<Reply>,
    /// Whether `from` is ignored, so that a history is long enough for several pages.
    whole_history: bool,
    /// The row from which on a list is given, instead of the one asked for.
    offset: fn(&Asked) -> Option<usize>,
}

impl Fault {
    /// Complete control: the steps that stand for the good answer.
    pub fn steps(reply: impl Fn(&Asked, Good) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self { reply: Arc::new(reply), whole_history: false, offset: |asked| asked.offset }
    }

    /// Another answer, well-formed as HTTP.
    pub fn answer(
        reply: impl Fn(&Asked, Good) -> (u16, Vec<(String, String)>, Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        Self::steps(move |asked, good| {
            let (status, headers, body) = reply(asked, good);
            vec![Step::Send(http(status, &headers, &body)), Step::KeepAlive]
        })
    }

    /// Another body under HTTP 200.
    pub fn body(reply: impl Fn(&Asked, Good) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::answer(move |asked, good| (200, vec![json_type()], reply(asked, good)))
    }

    /// The good answer's JSON, edited.
    pub fn json(edit: impl Fn(&Asked, &mut Value) + Send + Sync + 'static) -> Self {
        Self::body(move |asked, good| {
            let mut json = good.json();
            edit(asked, &mut json);
            json.to_string().into_bytes()
        })
    }

    /// The same, of a pool that ignores `from`.
    pub fn of_whole_history(self) -> Self {
        Self { whole_history: true, ..self }
    }

    /// The same, of a pool that gives the rows from another one on.
    pub fn at_offset(self, offset: fn(&Asked) -> Option<usize>) -> Self {
        Self { offset, ..self }
    }
}

/// The header of JSON.
pub fn json_type() -> (String, String) {
    ("content-type".to_owned(), "application/json".to_owned())
}

/// An answer as bytes, with the length of its body.
pub fn http(status: u16, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head(status, headers);
    bytes.truncate(bytes.len() - 2);
    bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
    bytes.extend(body);
    bytes
}

/// An answer's head as bytes, without a length: the body ends when the connection does.
pub fn head(status: u16, headers: &[(String, String)]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} -\r\n").into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    bytes.extend(b"\r\n");
    bytes
}

/// Which requests a fault is for; `None` means all.
#[derive(Clone, Debug, Default)]
pub struct Where {
    /// Of one method.
    pub endpoint: Option<String>,
    /// Of one account.
    pub account: Option<String>,
}

impl Where {
    /// Requests of one method, and of one account unless nobody is named.
    pub fn at(endpoint: &str, account: Option<&str>) -> Self {
        Self { endpoint: Some(endpoint.to_owned()), account: account.map(str::to_owned) }
    }

    fn holds(&self, asked: &Asked) -> bool {
        let endpoint = self.endpoint.as_ref().is_none_or(|endpoint| *endpoint == asked.endpoint);
        endpoint && (self.account.is_none() || self.account == asked.account)
    }
}

/// How connections are spoken on.
#[derive(Clone)]
pub enum Transport {
    /// In the open.
    Plain,
    /// Behind TLS, with that certificate.
    Tls(Arc<ServerConfig>),
}

/// The pool. It ends when this is dropped.
pub struct FaultyPool {
    shared: Arc<Shared>,
    address: SocketAddr,
    listening: tokio::sync::Mutex<Listening>,
}

/// Endpoint, account and offset.
type Question = (String, Option<String>, Option<usize>);

struct Shared {
    simulated: SimulatedPool,
    router: Router,
    faults: Mutex<Vec<(Where, Fault)>>,
    rewrite: Mutex<Option<Arc<Rewrite>>>,
    requests: Mutex<Vec<Asked>>,
    /// How many requests ended without an answer on a connection that had been used before, by endpoint.
    unanswered: Mutex<HashMap<String, usize>>,
    /// How often each endpoint was asked by an account from an offset on.
    seen: Mutex<HashMap<Question, usize>>,
    /// Good answers by key and query.
    kept: Mutex<HashMap<(String, String), (Instant, Good)>>,
    transport: Mutex<Transport>,
    /// Changes when every open connection is to end.
    cut: watch::Sender<()>,
}

enum Listening {
    Accepting(JoinHandle<()>),
    /// Bound, so that nobody else takes the port, but refusing.
    Refusing(Option<TcpSocket>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultyPool {
    /// Serves a simulated pool in the open, well.
    pub async fn start(simulated: SimulatedPool) -> Self {
        Self::start_with(simulated, Transport::Plain).await
    }

    /// Serves a simulated pool, well.
    pub async fn start_with(simulated: SimulatedPool, transport: Transport) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            router: simulated.router(),
            simulated,
            faults: Mutex::default(),
            rewrite: Mutex::default(),
            requests: Mutex::default(),
            unanswered: Mutex::default(),
            seen: Mutex::default(),
            kept: Mutex::default(),
            transport: Mutex::new(transport),
            cut: watch::Sender::new(()),
        });
        let accepting = tokio::spawn(accept(shared.clone(), listener));
        Self { shared, address, listening: tokio::sync::Mutex::new(Listening::Accepting(accepting)) }
    }

    /// Where the API is, spoken to in the open.
    pub fn base_url(&self) -> String {
        self.base_url_of("http", "127.0.0.1")
    }

    /// Where the API is, by another scheme and another name of this machine.
    pub fn base_url_of(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/ru/api", self.address.port())
    }

    /// From now on those requests are answered with the fault; an earlier fault for the same requests goes first.
    pub fn inject(&self, place: Where, fault: Fault) {
        lock(&self.shared.faults).push((place, fault));
    }

    /// From now on every answer is good again.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// From now on good answers are what this makes of them, and faults are made of those.
    pub fn rewrite(&self, rewrite: impl Fn(&Asked, Option<usize>, Good) -> Good + Send + Sync + 'static) {
        *lock(&self.shared.rewrite) = Some(Arc::new(rewrite));
    }

    /// Every request that came since the last taking, in order; they are kept no longer.
    pub fn take_requests(&self) -> Vec<Asked> {
        std::mem::take(&mut lock(&self.shared.requests))
    }

    /// Every request that came, in order.
    pub fn requests(&self) -> Vec<Asked> {
        lock(&self.shared.requests).clone()
    }

    /// How many requests to an endpoint ended without an answer on a connection that had been used before. The client
    /// makes each of them once more, and counts both as one.
    pub fn unanswered(&self, endpoint: &str) -> usize {
        lock(&self.shared.unanswered).get(endpoint).copied().unwrap_or_default()
    }

    /// From now on connections are spoken on so; the open ones are ended.
    pub fn speak(&self, transport: Transport) {
        *lock(&self.shared.transport) = transport;
        self.cut_connections();
    }

    /// Ends every open connection.
    pub fn cut_connections(&self) {
        self.shared.cut.send_replace(());
    }

    /// From now on connections are refused; the open ones are ended.
    pub async fn stop_listening(&self) {
        let mut listening = self.listening.lock().await;
        let Listening::Accepting(accepting) = &mut *listening else { return };
        accepting.abort();
        let _ = accepting.await;
        self.cut_connections();
        let begin = Instant::now();
        *listening = loop {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            match socket.bind(self.address) {
                Ok(()) => break Listening::Refusing(Some(socket)),
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(60), "the port is not given back: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
    }

    /// Accepts connections again, at the same address.
    pub async fn listen_again(&self) {
        let mut listening = self.listening.lock().await;
        if let Listening::Refusing(socket) = &mut *listening
            && let Some(socket) = socket.take()
        {
            let listener = socket.listen(1024).unwrap();
            *listening = Listening::Accepting(tokio::spawn(accept(self.shared.clone(), listener)));
        }
    }
}

impl Drop for FaultyPool {
    fn drop(&mut self) {
        if let Listening::Accepting(accepting) = self.listening.get_mut() {
            accepting.abort();
        }
        self.cut_connections();
    }
}

/// A connection, in the open or not.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Connection for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Connection for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    while let Ok((tcp, _)) = listener.accept().await {
        let shared = shared.clone();
        let mut cut = shared.cut.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = shared.serve(tcp) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

impl Shared {
    async fn serve(&self, tcp: TcpStream) {
        let _ = tcp.set_nodelay(true);
        let transport = lock(&self.transport).clone();
        let mut connection: Box<dyn Connection> = match transport {
            Transport::Plain => Box::new(tcp),
            Transport::Tls(config) => match TlsAcceptor::from(config).accept(tcp).await {
                Ok(tls) => Box::new(tls),
                // Whoever does not like the certificate leaves.
                Err(_) => return,
            },
        };
        let mut read = Vec::new();
        let mut earlier = 0;
        while let Some(asked) = self.read_request(&mut connection, &mut read, earlier).await {
            earlier += 1;
            let endpoint = asked.endpoint.clone();
            let steps = self.steps(asked).await;
            if earlier > 1 && matches!(steps[..], [] | [Step::Reset, ..]) {
                *lock(&self.unanswered).entry(endpoint).or_default() += 1;
            }
            if !carry_out(steps, &mut connection).await {
                break;
            }
        }
        let _ = connection.shutdown().await;
    }

    /// Reads one head; `None` when the other side hangs up, or sends what no client of this pool would.
    async fn read_request(
        &self,
        connection: &mut Box<dyn Connection>,
        read: &mut Vec<u8>,
        earlier: usize,
    ) -> Option<Asked> {
        let end = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if read.len() > MAX_HEAD || connection.read_buf(read).await.ok()? == 0 {
                return None;
            }
            if !read.starts_with(b"GET ") && read.len() >= 4 {
                // As a server does with what it takes for a broken request: TLS, where it expects none.
                let _ = connection.write_all(&http(400, &[], b"Bad Request")).await;
                return None;
            }
        };
        let head = String::from_utf8(read.drain(..end + 4).collect()).ok()?;
        let mut lines = head.lines();
        let target = lines.next()?.strip_prefix("GET ")?.split(' ').next()?.to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let parameters = parameters(&target);
        let parameter = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let endpoint = parameter("method").cloned().unwrap_or_default();
        let offset = parameter("offset").and_then(|offset| offset.parse().ok());
        let mut asked =
            Asked { endpoint, account: None, offset, before: 0, earlier, at: Instant::now(), target, headers };
        asked.account = self.simulated.farm().owner(asked.key()).map(|account| account.name.clone());
        self.count(&mut asked);
        Some(asked)
    }

    fn count(&self, asked: &mut Asked) {
        let same = (asked.endpoint.clone(), asked.account.clone(), asked.offset);
        let mut seen = lock(&self.seen);
        let before = seen.entry(same).or_default();
        asked.before = *before;
        *before += 1;
        lock(&self.requests).push(asked.clone());
    }

    fn fault_for(&self, asked: &Asked) -> Option<Fault> {
        let faults = lock(&self.faults);
        faults.iter().find(|(place, _)| place.holds(asked)).map(|(_, fault)| fault.clone())
    }

    /// What is done about a request.
    async fn steps(&self, asked: Asked) -> Vec<Step> {
        match self.fault_for(&asked) {
            None => {
                let good = self.good(&asked, asked.offset, false).await;
                vec![Step::Send(http(good.status, &[json_type()], &good.body)), Step::KeepAlive]
            }
            Some(fault) => {
                let good = self.good(&asked, (fault.offset)(&asked), fault.whole_history).await;
                (fault.reply)(&asked, good)
            }
        }
    }

    /// The good answer.
    async fn good(&self, asked: &Asked, offset: Option<usize>, whole_history: bool) -> Good {
        let good = self.simulated_answer(asked, offset, whole_history).await;
        let rewrite = lock(&self.rewrite).clone();
        match rewrite {
            Some(rewrite) => rewrite(asked, offset, good),
            None => good,
        }
    }

    /// The simulated pool's own answer.
    async fn simulated_answer(&self, asked: &Asked, offset: Option<usize>, whole_history: bool) -> Good {
        let path = asked.target.split('?').next().unwrap_or_default();
        let query = query(asked, offset, whole_history);
        let place = (asked.key().to_owned(), query.clone());
        let kept = lock(&self.kept).get(&place).filter(|(at, _)| at.elapsed() < KEPT_FOR).map(|(_, good)| good.clone());
        if let Some(good) = kept {
            return good;
        }
        let mut request = Request::get(format!("{path}?{query}"));
        if let Some(key) = asked.header("x-api-key") {
            request = request.header("x-api-key", key);
        }
        let request = request.body(Body::empty()).unwrap();
        let Ok(response) = self.router.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let good = Good { status, body: to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec() };
        let mut kept = lock(&self.kept);
        kept.retain(|_, (at, _)| at.elapsed() < KEPT_FOR);
        kept.insert(place, (Instant::now(), good.clone()));
        good
    }
}

/// What is asked of the simulated pool.
fn query(asked: &Asked, offset: Option<usize>, whole_history: bool) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters(&asked.target) {
        match (name.as_str(), offset) {
            ("from", _) if whole_history => {}
            ("offset", Some(offset)) => drop(query.append_pair(&name, &offset.to_string())),
            _ => drop(query.append_pair(&name, &value)),
        }
    }
    query.finish()
}

fn parameters(target: &str) -> Vec<(String, String)> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// Does one step after the other; tells whether the connection is to be read from again.
async fn carry_out(steps: Vec<Step>, connection: &mut Box<dyn Connection>) -> bool {
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if connection.write_all(&bytes).await.is_err() || connection.flush().await.is_err() {
                    return false;
                }
            }
            Step::Wait(time) => {
                if hung_up_within(connection, time).await {
                    return false;
                }
            }
            Step::Stall => {
                hung_up_within(connection, Duration::MAX).await;
                return false;
            }
            Step::Repeat(bytes, rest) => loop {
                if connection.write_all(&bytes).await.is_err() || connection.flush().await.is_err() {
                    return false;
                }
                if !rest.is_zero() && hung_up_within(connection, rest).await {
                    return false;
                }
            },
            Step::Reset => {
                let _ = connection.tcp().set_zero_linger();
                return false;
            }
            Step::KeepAlive => return true,
        }
    }
    false
}

/// Waits, and tells whether the other side hung up meanwhile. Nobody sends a second request before the first answer.
async fn hung_up_within(connection: &mut Box<dyn Connection>, time: Duration) -> bool {
    let mut byte = [0];
    tokio::time::timeout(time, connection.read(&mut byte)).await.is_ok()
}

/// A place to which a pool may point, and where nobody is to come: it keeps whatever it is sent.
pub struct Elsewhere {
    address: SocketAddr,
    received: Arc<Mutex<Vec<u8>>>,
    accepting: JoinHandle<()>,
}

impl Elsewhere {
    /// Listens.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = received.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let kept = kept.clone();
                lock(&kept).extend(b"(a connection)");
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(count @ 1..) = tcp.read(&mut buffer).await {
                        lock(&kept).extend(&buffer[..count]);
                    }
                });
            }
        });
        Self { address, received, accepting }
    }

    /// Host and port.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Everything that came.
    pub fn received(&self) -> Vec<u8> {
        lock(&self.received).clone()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
