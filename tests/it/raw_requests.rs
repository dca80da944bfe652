//! Requests as bytes: what old, odd and mistaken clients send.

use std::collections::BTreeMap;

use btcpool_exporter::collector::Format;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    harness::{self, PATIENCE, Pool, Running},
    parser,
};

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    status: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// Sends bytes, and reads every byte of the answer; `Connection: close` or HTTP/1.0 end it.
async fn send(running: &Running, request: &str) -> String {
    let mut stream = TcpStream::connect(running.url.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.unwrap_or_else(|_| panic!("still open after {request:?}: {:?}", String::from_utf8_lossy(&answer))).unwrap();
    String::from_utf8(answer).unwrap()
}

fn answer(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status, headers: lines.map(|line| header(line).unwrap()).collect(), body: body.to_owned() }
}

async fn running() -> (Pool, Running) {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let running = Running::start_ready(harness::config(&pool.base_url(), &harness::one_account())).await;
    (pool, running)
}

const NOTHING: &str = "There is nothing here; / shows what there is.\n";

#[tokio::test]
async fn odd_requests_get_the_right_status() {
    let (_pool, running) = running().await;
    let discovered = |target: &str| {
        let labels = r#"{"__meta_btcpool_account":"farm","__param_account":"farm"}"#;
        format!(r#"[{{"labels":{labels},"targets":["{target}"]}}]"#)
    };
    let no_address = "The Host header is missing, is not an address, or differs from the request line.\n";
    let no_host = "A request must have one Host header.\n";
    for (request, status, body) in [
        ("GET /-/healthy HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK", "healthy\n"),
        ("OPTIONS / HTTP/1.0\r\n\r\n", "HTTP/1.0 405 Method Not Allowed", ""),
        ("GET /metrics/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 Not Found", NOTHING),
        ("GET //metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404 Not Found", NOTHING),
        (
            "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
            "HTTP/1.1 200 OK",
            "healthy\n",
        ),
        (
            "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK",
            "healthy\n",
        ),
        (
            "GET /sd HTTP/1.1\r\nHost: [::1]:10058\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK",
            &discovered("[::1]:10058"),
        ),
        (
            "GET http://exporter.example:10058/sd HTTP/1.1\r\nHost: exporter.example:10058\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK",
            &discovered("exporter.example:10058"),
        ),
        (
            "GET /sd HTTP/1.1\r\nHost: exporter\".example\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request",
            no_address,
        ),
        (
            "GET http://other.example/sd HTTP/1.1\r\nHost: exporter.example:10058\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request",
            no_address,
        ),
        (
            "GET http://other.example/-/healthy HTTP/1.1\r\nHost: exporter.example\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 200 OK",
            "healthy\n",
        ),
        ("GET /-/healthy HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 Bad Request", no_host),
        (
            "GET http://exporter.example/-/healthy HTTP/1.1\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request",
            no_host,
        ),
        (
            "GET /-/healthy HTTP/1.1\r\nHost: x\r\nHost: x\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 400 Bad Request",
            no_host,
        ),
        ("GET /-/healthy HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", "HTTP/1.0 400 Bad Request", no_host),
        ("GET /sd HTTP/1.0\r\n\r\n", "HTTP/1.0 400 Bad Request", no_address),
        (
            "PROXY TCP4 192.0.2.1 192.0.2.2 56324 10058\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            "HTTP/1.1 400 Bad Request",
            "",
        ),
    ] {
        let got = answer(&send(&running, request).await);
        assert_eq!((&*got.status, &*got.body), (status, body), "{request:?}: {got:?}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn odd_requests_get_the_exposition() {
    let (_pool, running) = running().await;
    for request in [
        "GET /metrics HTTP/1.0\r\n\r\n",
        "GET http://exporter.example:10058/metrics HTTP/1.1\r\nHost: exporter.example:10058\r\nConnection: close\r\n\r\n",
        "GET /metrics?collect[]=cpu&name[]=up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    ] {
        let got = answer(&send(&running, request).await);
        assert!(got.status.ends_with(" 200 OK"), "{request:?}: {got:?}");
        assert_eq!(got.headers["content-length"], got.body.len().to_string(), "{request:?}");
        let families = parser::parse(&got.body, Format::Classic).unwrap_or_else(|error| panic!("{request:?}: {error}"));
        let series = parser::series(&families);
        assert_eq!(series["btcpool_up{account=\"farm\",currency=\"BTC\",endpoint=\"workers\"}"], 1.0, "{request:?}");
    }
    running.stop().await.unwrap();
}

/// The body of a request that needs none is read, not taken for the next request.
#[tokio::test]
async fn a_request_behind_a_body_is_answered() {
    let (_pool, running) = running().await;
    let body = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n";
    let request = format!(
        "GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}\
         GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let answers = send(&running, &request).await;
    let statuses: Vec<_> = answers.lines().filter(|line| line.contains("HTTP/1.1 ")).collect();
    assert_eq!(statuses, ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK"], "{answers}");
    assert!(answers.contains("healthy\n") && answers.ends_with("ready\n"), "{answers}");
    running.stop().await.unwrap();
}
