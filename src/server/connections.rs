//! Connections: taken in, watched over, and ended before they can hold the server open.
//!
//! A connection may be silent, send half a header, shake hands for ever, or not read its answer: each of these has a
//! deadline. When there are as many connections as are allowed, the one that has waited longest without asking
//! anything gives way to the next, so that no crowd of them keeps a scrape out.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Extensions, Request, Response},
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{refusals::Refusals, terms::Web, tls};

/// How long open connections are waited for at the end.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a request's header; and what is written ahead of a client that reads slowly.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Requests at a time on one connection.
const MAX_STREAMS: u32 = 32;

/// An answer is handed over in pieces of so many bytes, so that it is known when a client has taken most of it. Each is a
/// call of the system at least, and of a plain connection it is known besides when the last one is written.
const fn piece(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Http1 => 512 * 1024,
        Protocol::Http2 => LAST_PIECE,
    }
}

/// The last one has no more bytes than this.
const LAST_PIECE: usize = 64 * 1024;

/// How often room is made while a new connection waits for it.
const MAKE_ROOM_EVERY: Duration = Duration::from_millis(50);

/// What clients may take of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, on all listeners together. A process may have 1024 files open where nobody changed that.
    pub connections: usize,
    /// From connecting to the end of the first request's header, shaking hands included; and from the first byte of a
    /// later header to its last.
    pub header: Duration,
    /// From a request's header to the last byte of its answer.
    pub answer: Duration,
    /// From an answer to the next request: longer than from one scrape to the next.
    pub rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            header: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            rest: Duration::from_secs(150),
        }
    }
}

/// Serves what a router answers, on the terms of a web configuration, on any number of listeners.
#[derive(Debug, Clone)]
pub struct Server {
    router: Router,
    web: Arc<Web>,
    connections: Arc<Connections>,
    refusals: Arc<Refusals>,
}

impl Server {
    /// A server of these routes.
    pub fn new(router: Router, web: Arc<Web>, limits: Limits) -> Self {
        Self { router, web, connections: Arc::new(Connections::new(limits)), refusals: Arc::default() }
    }

    /// Serves connections of one listener until `shutdown`, and then those that are open until they are done.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        loop {
            let accept = async {
                let (stream, peer) = listener.accept().await?;
                Ok::<_, io::Error>((stream, peer, self.connections.admit().await))
            };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept => accepted,
            };
            // Ended ones are let go as new ones come.
            while tasks.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer, place)) => {
                    tasks.spawn(self.clone().attend(stream, peer, place, shutdown.clone()));
                }
                // Whoever connected has gone already.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {
                }
                Err(error) => {
                    // Trying again at once would only burn the processor.
                    tracing::warn!(%error, "a connection could not be accepted{}", remedy(&error));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }

    /// One connection, from its beginning to its end.
    async fn attend(self, stream: TcpStream, peer: SocketAddr, place: Place, shutdown: CancellationToken) {
        // An answer is one write; waiting for more would only delay it.
        let _ = stream.set_nodelay(true);
        let activity = place.activity.clone();
        let Some(config) = self.web.terms().tls.clone() else {
            return self.speak(stream, peer, Protocol::Http1, &activity, &shutdown).await;
        };
        let accepted = tokio::select! {
            accepted = TlsAcceptor::from(config).accept(stream).into_fallible() => accepted,
            _ = activity.overdue() => return,
            () = activity.evicted.cancelled() => return,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok(stream) => {
                let protocol = match stream.get_ref().1.alpn_protocol() {
                    Some(tls::HTTP_2) => Protocol::Http2,
                    _ => Protocol::Http1,
                };
                self.speak(stream, peer, protocol, &activity, &shutdown).await;
            }
            Err((error, stream)) => {
                match tls::refusal_reason(&error) {
                    Some(reason) => self.refusals.log(peer, &reason),
                    None => tracing::debug!(%peer, %error, "TLS handshake failed"),
                }
                tokio::select! {
                    () = hear_out(stream) => {}
                    _ = activity.overdue() => {}
                    () = activity.evicted.cancelled() => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }

    async fn speak(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        protocol: Protocol,
        activity: &Arc<Activity>,
        shutdown: &CancellationToken,
    ) {
        let service = service_fn(|request: Request<Incoming>| {
            let under_way = activity.begin(protocol);
            let terms = self.web.terms();
            let router = self.router.clone();
            async move {
                let response = terms.answer(router, request.map(Body::new), peer.ip()).await;
                let (mut parts, body) = response.into_parts();
                let held = std::mem::take(&mut parts.extensions);
                Ok::<_, Infallible>(Response::from_parts(parts, Answer { body, rest: Bytes::new(), held, under_way }))
            }
        });
        let stream = TokioIo::new(Watched { stream, activity: activity.clone(), protocol });
        match protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                // The watch over the connection tells a header that is slow from a connection that rests.
                builder.header_read_timeout(None).max_buf_size(MAX_HEADER_BYTES);
                drive(builder.serve_connection(stream, service), activity, shutdown).await;
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
                builder.max_header_list_size(MAX_HEADER_BYTES as u32).max_send_buf_size(piece(protocol));
                drive(builder.serve_connection(stream, service), activity, shutdown).await;
            }
        }
    }
}

/// What helps where no connection is taken any more.
fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE) => "; allow more open files (LimitNOFILE of the service, or ulimit -n)",
        _ => "",
    }
}

/// Waits until a client that was told to go has gone. Closed with something left unread, a connection is reset, and the
/// client may never read why it was turned away.
async fn hear_out(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut unread = [0; 4096];
    while let Ok(1..) = stream.read(&mut unread).await {}
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Has a connection do its work until it ends, is overdue, has to give way, or the server ends.
async fn drive(connection: impl GracefulConnection, activity: &Activity, shutdown: &CancellationToken) {
    let mut connection = pin!(connection);
    tokio::select! {
        // What a client did wrong is the client's matter.
        _ = connection.as_mut() => return,
        () = activity.evicted.cancelled() => return,
        overdue = activity.overdue() => match overdue {
            Overdue::Rest => {}
            Overdue::Header | Overdue::Answer => return,
        },
        () = shutdown.cancelled() => {}
    }
    // A client that asks at this very moment gets its answer, or hears that it must ask elsewhere.
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, connection).await;
}

/// The connections that are open.
#[derive(Debug)]
struct Connections {
    limits: Limits,
    places: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: BTreeMap<u64, Arc<Activity>>,
}

impl Connections {
    fn new(limits: Limits) -> Self {
        Self { limits, places: Arc::new(Semaphore::new(limits.connections)), open: Mutex::default() }
    }

    /// A place for one more; whoever waits longest without having asked anything gives it up where there is none.
    async fn admit(self: &Arc<Self>) -> Place {
        let permit = loop {
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                break permit;
            }
            self.make_room();
            let freed = self.places.clone().acquire_owned();
            if let Ok(Ok(permit)) = tokio::time::timeout(MAKE_ROOM_EVERY, freed).await {
                break permit;
            }
        };
        let activity = Arc::new(Activity::new(self.limits));
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, activity.clone());
        drop(open);
        Place { number, activity, connections: self.clone(), _permit: permit }
    }

    fn make_room(&self) {
        let open = self.open();
        let waiting = open.by_number.values().filter(|activity| !activity.evicted.is_cancelled());
        let waiting: Vec<_> = waiting.collect();
        let longest = waiting.iter().filter_map(|activity| Some((activity.waiting()?, activity)));
        let longest = longest.min_by_key(|&(waiting, _)| waiting).map(|(_, activity)| activity);
        // Where nobody waits, the oldest answer goes that should long have been taken.
        let slowest = || {
            let answers = waiting.iter().filter_map(|activity| Some((activity.doing().oldest()?, activity)));
            let slow = answers.filter(|(began, _)| began.elapsed() > self.limits.header);
            slow.min_by_key(|&(began, _)| began).map(|(_, activity)| activity)
        };
        if let Some(activity) = longest.or_else(slowest) {
            activity.evicted.cancel();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing between lock and unlock leaves it half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among those that are allowed; free again when this is dropped.
struct Place {
    number: u64,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().by_number.remove(&self.number);
    }
}

/// What a connection is doing, and by when it must have done it.
#[derive(Debug)]
struct Activity {
    limits: Limits,
    doing: Mutex<Doing>,
    /// It has to give way to another.
    evicted: CancellationToken,
}

#[derive(Debug)]
struct Doing {
    next: u64,
    /// The requests whose answers are not handed over yet: when each came.
    requests: BTreeMap<u64, Instant>,
    /// The oldest request whose answer was handed over, but not written out to the last byte.
    unwritten: Option<Instant>,
    /// What it does when there is no request.
    between: Between,
    since: Instant,
}

/// In this order they give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Between {
    /// It has asked nothing yet.
    First,
    /// It has begun to ask again.
    Header,
    /// It rests.
    Rest,
}

/// What a connection did not do in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overdue {
    /// Send a header.
    Header,
    /// Ask again.
    Rest,
    /// Take its answer.
    Answer,
}

impl Activity {
    fn new(limits: Limits) -> Self {
        let (requests, since) = (BTreeMap::new(), Instant::now());
        let doing = Mutex::new(Doing { next: 0, requests, unwritten: None, between: Between::First, since });
        Self { limits, doing, evicted: CancellationToken::new() }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    fn begin(self: &Arc<Self>, protocol: Protocol) -> UnderWay {
        let mut doing = self.doing();
        let number = doing.next;
        doing.next += 1;
        doing.requests.insert(number, Instant::now());
        drop(doing);
        UnderWay { number, protocol, activity: self.clone() }
    }

    /// Bytes have come. Those of HTTP/2 may be anything.
    fn received(&self, protocol: Protocol) {
        let mut doing = self.doing();
        if protocol == Protocol::Http1 && doing.between == Between::Rest && doing.is_waiting() {
            (doing.between, doing.since) = (Between::Header, Instant::now());
        }
    }

    /// Everything that was handed over is written.
    fn flushed(&self) {
        let mut doing = self.doing();
        if doing.unwritten.take().is_some() {
            doing.rest();
        }
    }

    /// What it waits with, and since when, unless there is a request.
    fn waiting(&self) -> Option<(Between, Instant)> {
        let doing = self.doing();
        doing.is_waiting().then_some((doing.between, doing.since))
    }

    /// Waits until it did not do in time what it should.
    async fn overdue(&self) -> Overdue {
        // A deadline that is set meanwhile is no nearer than this, so that nobody has to tell of it: to be woken for each
        // request would cost more than all the rest of a scrape that is kept.
        let shortest = self.limits.header.min(self.limits.answer).min(self.limits.rest);
        loop {
            let (deadline, overdue) = self.doing().deadline(self.limits);
            let now = Instant::now();
            if deadline <= now {
                return overdue;
            }
            tokio::time::sleep_until(deadline.min(now + shortest)).await;
        }
    }
}

impl Doing {
    fn is_waiting(&self) -> bool {
        self.requests.is_empty() && self.unwritten.is_none()
    }

    fn rest(&mut self) {
        if self.is_waiting() {
            (self.between, self.since) = (Between::Rest, Instant::now());
        }
    }

    /// When the oldest request came whose answer is not written out.
    fn oldest(&self) -> Option<Instant> {
        self.requests.values().copied().chain(self.unwritten).min()
    }

    fn deadline(&self, limits: Limits) -> (Instant, Overdue) {
        match (self.oldest(), self.between) {
            (Some(oldest), _) => (oldest + limits.answer, Overdue::Answer),
            (None, Between::First | Between::Header) => (self.since + limits.header, Overdue::Header),
            (None, Between::Rest) => (self.since + limits.rest, Overdue::Rest),
        }
    }
}

/// A request that is being answered, until its answer is handed over.
struct UnderWay {
    number: u64,
    protocol: Protocol,
    activity: Arc<Activity>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut doing = self.activity.doing();
        let Some(began) = doing.requests.remove(&self.number) else { return };
        match self.protocol {
            Protocol::Http1 => doing.unwritten = Some(doing.unwritten.map_or(began, |before| before.min(began))),
            // What waits for the client's window is no more than a piece, and no flush would tell when it is gone.
            Protocol::Http2 => doing.rest(),
        }
    }
}

/// An answer's body, in pieces. What a handler left in the answer's extensions is held until the last of them is handed
/// over.
struct Answer {
    body: Body,
    rest: Bytes,
    #[expect(dead_code, reason = "held for its drop")]
    held: Extensions,
    under_way: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let mut length = this.rest.len().min(piece(this.under_way.protocol));
        // With the last piece everything is handed over, and what is held is let go: that one is never large.
        if length > LAST_PIECE && length == this.rest.len() && this.body.is_end_stream() {
            length -= LAST_PIECE;
        }
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// A stream that tells what comes and when everything is written.
struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    protocol: Protocol,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            this.activity.received(this.protocol);
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = ready!(Pin::new(&mut this.stream).poll_flush(context));
        this.activity.flushed();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn last_chunk_of_a_response_is_small() {
        const K: usize = 1024;
        let lengths = |protocol, length: usize| {
            let under_way = Arc::new(Activity::new(Limits::default())).begin(protocol);
            let body = Body::from(vec![b'x'; length]);
            let mut answer = Answer { body, rest: Bytes::new(), held: Extensions::new(), under_way };
            let mut context = Context::from_waker(Waker::noop());
            let mut lengths = Vec::new();
            while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut answer).poll_frame(&mut context) {
                lengths.push(frame.into_data().unwrap().len());
            }
            lengths
        };
        assert_eq!(lengths(Protocol::Http1, 300 * K), [236 * K, 64 * K]);
        assert_eq!(lengths(Protocol::Http1, 1000 * K), [512 * K, 424 * K, 64 * K]);
        assert_eq!(lengths(Protocol::Http1, 64 * K), [64 * K]);
        assert_eq!(lengths(Protocol::Http2, 150 * K), [64 * K, 64 * K, 22 * K]);
    }
}
