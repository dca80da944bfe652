//! The catalogue of faults: what a pool can do wrong, where, and what is then to be seen. It is data: the matrix runs
//! it, and the documentation prints it.

use std::{collections::BTreeMap, io::Write as _, sync::LazyLock, time::Duration};

use btcpool_exporter::{model::Endpoint, wire};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::pool::faulty::{Asked, Fault, Good, Step, head, http, json_type};

/// Rows of a worker list's first page; the list has [`WORKERS`].
pub const PAGE: usize = 20;

/// Workers of each account.
pub const WORKERS: usize = 24;

/// What `max_response_bytes` is.
pub const MAX_BYTES: usize = 1 << 20;

/// Series and their values.
pub type Series = BTreeMap<String, f64>;

pub const ALL: &[&str] = &["main_stat", "summary_data", "profit_history", "payment_history", "workers"];
const OBJECTS: &[&str] = &["main_stat", "summary_data"];
const LISTS: &[&str] = &["profit_history", "payment_history", "workers"];
const WORKER_LIST: &[&str] = &["workers"];
const AMOUNTS: &[&str] = &["summary_data", "profit_history", "payment_history"];

/// How many workers a pool lists that lists too many.
const LISTED_MILLIONS: u64 = 5_000_000;

/// One fault.
pub struct Entry {
    /// A short name.
    pub name: &'static str,
    /// What the pool does, in words.
    pub does: &'static str,
    /// The endpoints that it makes sense for.
    pub at: &'static [&'static str],
    pub scope: Scope,
    pub kind: Kind,
    pub expect: Expect,
}

impl Entry {
    /// Whether the fault is that an answer takes too long.
    pub fn takes_too_long(&self) -> bool {
        matches!(self.expect, Expect::Fails { request: "timeout", .. })
    }
}

/// Whom a fault concerns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One slot alone: each endpoint is run with an account of its own, all of them in one exporter.
    Slot,
    /// One slot alone, but everybody waits for the pool: each endpoint is run in an exporter of its own.
    Pause,
    /// The same, and the pool asks for a longer wait than `api.retry_after_max`.
    LongPause,
    /// The whole pool.
    Pool,
}

/// How a fault is made.
pub enum Kind {
    /// Answers are changed. The function is given the host and port of a place where nobody is to come.
    Answer(fn(&str) -> Fault),
    /// The same, behind TLS.
    AnswerBehindTls(fn(&str) -> Fault),
    /// The pool stops listening.
    Refuse,
    /// The name of the pool is no longer known.
    Forget,
    /// The pool's certificate is of an authority that nobody trusts.
    Untrusted,
    /// The pool's certificate is for another name.
    Misnamed,
    /// The pool's certificate expired.
    Expired,
    /// The pool speaks plain HTTP where TLS is expected.
    Unencrypted,
}

/// What is to be seen.
pub enum Expect {
    /// `btcpool_up` is 0, and the old values stay until they are stale.
    Fails {
        /// The label of `btcpool_poll_error`.
        reason: &'static str,
        /// The label of `btcpool_exporter_api_request_failures_total`; empty where no request failed by itself.
        request: &'static str,
        /// The label of `btcpool_exporter_api_requests_total`.
        code: &'static str,
    },
    /// `btcpool_up` stays 1.
    Shows {
        /// In words.
        seen: &'static str,
        /// The labels of `btcpool_exporter_schema_anomalies_total`, by endpoint.
        fields: fn(&str) -> &'static [&'static str],
        /// What the slot's series are, made from what they were.
        series: Shown,
    },
}

/// The series of a slot.
pub enum Shown {
    /// These, exactly.
    Exactly(fn(&str, &Series) -> Series),
    /// These, whatever their values.
    Names(fn(&str, &Series) -> Series),
}

const fn fails(reason: &'static str, code: &'static str) -> Expect {
    Expect::Fails { reason, request: reason, code }
}

/// A later page failed for that reason.
const fn incomplete(request: &'static str, code: &'static str) -> Expect {
    Expect::Fails { reason: "incomplete", request, code }
}

/// Everything as before.
const fn unchanged(seen: &'static str) -> Expect {
    Expect::Shows { seen, fields: |_| &[], series: Shown::Exactly(|_, before| before.clone()) }
}

const fn shows(
    seen: &'static str,
    fields: fn(&str) -> &'static [&'static str],
    series: fn(&str, &Series) -> Series,
) -> Expect {
    Expect::Shows { seen, fields, series: Shown::Exactly(series) }
}

const fn slot(
    name: &'static str,
    does: &'static str,
    at: &'static [&'static str],
    fault: fn(&str) -> Fault,
    expect: Expect,
) -> Entry {
    Entry { name, does, at, scope: Scope::Slot, kind: Kind::Answer(fault), expect }
}

const fn pause(name: &'static str, does: &'static str, fault: fn(&str) -> Fault, expect: Expect) -> Entry {
    Entry { name, does, at: &["summary_data", "workers"], scope: Scope::Pause, kind: Kind::Answer(fault), expect }
}

const fn long_pause(name: &'static str, does: &'static str, fault: fn(&str) -> Fault, expect: Expect) -> Entry {
    Entry { name, does, at: &["summary_data"], scope: Scope::LongPause, kind: Kind::Answer(fault), expect }
}

const fn whole(name: &'static str, does: &'static str, kind: Kind, expect: Expect) -> Entry {
    Entry { name, does, at: ALL, scope: Scope::Pool, kind, expect }
}

// How answers are made.

fn header(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// A body that has nothing to do with the good one.
fn text(body: &'static str) -> Fault {
    Fault::body(move |_, _| body.into())
}

/// A status with a body that quotes the key, and further headers.
fn status(status: u16, headers: &[(&str, &str)]) -> Fault {
    let headers: Vec<_> = headers.iter().map(|(name, value)| header(name, *value)).collect();
    Fault::answer(move |asked, _| (status, headers.clone(), format!("<h1>{status}</h1> {}", asked.key()).into()))
}

fn redirect(code: u16, location: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Fault {
    Fault::answer(move |asked, _| (code, vec![header("location", location(asked))], Vec::new()))
}

/// Puts something else into `data`.
fn data(value: impl Fn() -> Value + Send + Sync + 'static) -> Fault {
    Fault::json(move |_, answer| answer["data"] = value())
}

/// Edits each row of a list, or each object with figures.
fn rows(answer: &mut Value, mut edit: impl FnMut(usize, &mut Value)) {
    match &mut answer["data"] {
        Value::Array(rows) => rows.iter_mut().enumerate().for_each(|(index, row)| edit(index, row)),
        Value::Object(coins) if coins.contains_key("BTC") => coins.values_mut().for_each(|coin| edit(0, coin)),
        object => edit(0, object),
    }
}

/// The fields that hold figures: those that are read, but for what says whose they are, and a list's own count.
fn figures(endpoint: &str) -> &'static [&'static str] {
    const OTHERS: [&str; 9] =
        ["BTC", "BCH", "LTC", "date", "payment_id", "address", "worker_id", "worker_name", "total"];
    static FIGURES: LazyLock<BTreeMap<&str, Vec<&str>>> = LazyLock::new(|| {
        let figures = |endpoint| wire::fields(endpoint).filter(|field| !OTHERS.contains(field)).collect();
        Endpoint::ALL.map(|endpoint| (endpoint.as_str(), figures(endpoint))).into()
    });
    &FIGURES[endpoint]
}

/// The fields of a worker, but for the id.
fn all_but_the_id() -> &'static [&'static str] {
    static FIELDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        wire::fields(Endpoint::Workers).filter(|field| !["worker_id", "total"].contains(field)).collect()
    });
    &FIELDS
}

/// Puts something else into every figure.
fn each_figure(value: fn(&str, usize) -> Value) -> Fault {
    Fault::json(move |asked, answer| {
        rows(answer, |_, row| {
            for (index, field) in figures(&asked.endpoint).iter().enumerate() {
                row[*field] = value(field, index);
            }
        });
    })
}

/// What is left when no figure can be read.
fn without_figures(endpoint: &str, before: &Series) -> Series {
    let kept: &[&str] = match endpoint {
        "profit_history" => &["btcpool_account_income_last_day_timestamp_seconds{"],
        "payment_history" => &["btcpool_account_payments{"],
        "workers" => &["btcpool_account_workers_"],
        _ => &[],
    };
    before.clone().into_iter().filter(|(name, _)| kept.iter().any(|kept| name.starts_with(kept))).collect()
}

/// Makes another text of every amount.
fn each_amount(change: fn(&str) -> String) -> Fault {
    Fault::json(move |_, answer| {
        rows(answer, |_, row| {
            for field in ["balance", "pps_profit", "pplns_profit", "total_profit", "amount"] {
                if let Some(amount) = row[field].as_str() {
                    row[field] = change(amount).into();
                }
            }
        });
    })
}

/// Puts something into one field of every worker.
fn each_worker(field: &'static str, value: &'static str) -> Fault {
    Fault::json(move |_, answer| rows(answer, |_, row| row[field] = value.into()))
}

/// Without the families that begin so.
fn without(before: &Series, family: &str) -> Series {
    before.clone().into_iter().filter(|(name, _)| !name.starts_with(family)).collect()
}

/// Changes the values of the families that begin so.
fn with_values(before: &Series, family: &str, change: impl Fn(f64) -> f64) -> Series {
    let changed = |(name, value): (String, f64)| {
        let value = if name.starts_with(family) { change(value) } else { value };
        (name, value)
    };
    before.clone().into_iter().map(changed).collect()
}

/// The ids of the workers, in the list's order: newest first.
fn worker_ids(before: &Series) -> Vec<String> {
    let id = |name: &String| name.split_once("worker_id=\"")?.1.split_once('"').map(|(id, _)| id.to_owned());
    let ids: std::collections::BTreeSet<_> = before.keys().filter_map(id).collect();
    ids.into_iter().rev().collect()
}

/// Every worker but the list's first one.
fn without_first_worker(before: &Series) -> Series {
    let first = format!("worker_id=\"{}\"", worker_ids(before)[0]);
    let others = before.clone().into_iter().filter(|(name, _)| !name.contains(&first)).collect();
    with_values(&others, "btcpool_account_workers_listed", |listed| listed - 1.0)
}

/// Only so many of the list's workers, and what the list says of their number.
fn first_workers(before: &Series, listed: usize, reported: Option<f64>) -> Series {
    let left: Vec<_> = worker_ids(before).into_iter().skip(listed).map(|id| format!("worker_id=\"{id}\"")).collect();
    let series = before.clone().into_iter().filter(|(name, _)| !left.iter().any(|id| name.contains(id)));
    let series = with_values(&series.collect(), "btcpool_account_workers_listed", |_| listed as f64);
    match reported {
        Some(reported) => with_values(&series, "btcpool_account_workers_reported", |_| reported),
        None => without(&series, "btcpool_account_workers_reported"),
    }
}

/// Names as nobody should choose them, and what is to be seen of them; they go to the list's first workers.
fn hostile_names() -> [(String, String); 6] {
    let long = "长x".repeat(5 << 10);
    [
        ("say \"hi\" \\n {a=\"b\"} # EOF".into(), "say \"hi\" \\n {a=\"b\"} # EOF".into()),
        ("two\nlines\r\nbtcpool_up 7\n".into(), "two\u{FFFD}lines\u{FFFD}\u{FFFD}btcpool_up 7\u{FFFD}".into()),
        ("nul\0tab\tbell\u{7}".into(), "nul\u{FFFD}tab\u{FFFD}bell\u{FFFD}".into()),
        ("a\u{202E}b\u{200F}c\u{2066}d".into(), "a\u{FFFD}b\u{FFFD}c\u{FFFD}d".into()),
        ("<script>alert(1)</script>".into(), "<script>alert(1)</script>".into()),
        (long.clone(), long.chars().take(128).collect()),
    ]
}

/// The first workers have other names.
fn renamed(before: &Series, names: &[String]) -> Series {
    let ids = worker_ids(before);
    let rename = |(series, value): (String, f64)| {
        let place = ids.iter().position(|id| series.contains(&format!("worker_id=\"{id}\"")));
        let Some(name) = place.and_then(|place| names.get(place)) else { return (series, value) };
        let (front, rest) = series.split_once(",worker=\"").unwrap();
        let rest = rest.split_once(",worker_id=").unwrap().1;
        (format!("{front},worker={name:?},worker_id={rest}"), value)
    };
    before.clone().into_iter().map(rename).collect()
}

/// Edits the numbers around a list.
fn envelope(edit: fn(&mut Value)) -> Fault {
    Fault::json(move |_, answer| edit(answer))
}

/// A page behind the first one is broken.
fn later_page(reply: impl Fn(&Asked, Good) -> Vec<Step> + Send + Sync + 'static) -> Fault {
    let fault = Fault::steps(move |asked, good| match asked.offset {
        Some(1..) => reply(asked, good),
        _ => well(&good),
    });
    fault.of_whole_history()
}

/// The good answer.
fn well(good: &Good) -> Vec<Step> {
    vec![Step::Send(http(good.status, &[json_type()], &good.body)), Step::KeepAlive]
}

/// The good answer's head and the first half of its body.
fn half(good: &Good) -> Vec<u8> {
    let mut bytes = http(200, &[json_type()], &good.body);
    bytes.truncate(bytes.len() - good.body.len() / 2);
    bytes
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(body: impl Fn(&Good) -> Vec<u8> + Send + Sync + 'static) -> Fault {
    Fault::answer(move |_, good| (200, vec![json_type(), header("content-encoding", "gzip")], body(&good)))
}

fn http_date(seconds_from_now: u64) -> String {
    httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(seconds_from_now))
}

const SECOND: Duration = Duration::from_secs(1);

/// Every fault, by the reason that one sees.
pub const CATALOGUE: &[Entry] = &[
    // The pool cannot be reached.
    whole("refused", "refuses connections", Kind::Refuse, fails("connect", "none")),
    whole("unresolvable name", "its host name cannot be resolved", Kind::Forget, fails("dns", "none")),
    whole(
        "unknown authority",
        "its certificate is of an authority that nobody trusts",
        Kind::Untrusted,
        fails("tls", "none"),
    ),
    whole("certificate for another name", "its certificate is for another host", Kind::Misnamed, fails("tls", "none")),
    whole("expired certificate", "its certificate has expired", Kind::Expired, fails("tls", "none")),
    whole("no TLS", "speaks plain HTTP where TLS is expected", Kind::Unencrypted, fails("tls", "none")),
    // The connection fails.
    slot("stalled", "never sends a byte", ALL, |_| Fault::steps(|_, _| vec![Step::Stall]), fails("timeout", "none")),
    slot(
        "stalled in the body",
        "sends half of the answer and no more",
        ALL,
        |_| Fault::steps(|_, good| vec![Step::Send(half(&good)), Step::Stall]),
        fails("timeout", "200"),
    ),
    slot(
        "dripping body",
        "sends a byte of the body each second",
        ALL,
        |_| Fault::steps(|_, _| vec![Step::Send(head(200, &[json_type()])), Step::Repeat(b" ".to_vec(), SECOND)]),
        fails("timeout", "200"),
    ),
    slot(
        "dripping head",
        "sends a byte of the head each second",
        ALL,
        |_| {
            Fault::steps(|_, _| {
                vec![Step::Send(b"HTTP/1.1 200 OK\r\nx: ".to_vec()), Step::Repeat(b"x".to_vec(), SECOND)]
            })
        },
        fails("timeout", "none"),
    ),
    slot(
        "endless head",
        "sends interim answers for ever",
        ALL,
        |_| {
            Fault::steps(|_, _| {
                vec![Step::Repeat(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec(), Duration::from_millis(100))]
            })
        },
        fails("timeout", "none"),
    ),
    slot("reset", "resets the connection", ALL, |_| Fault::steps(|_, _| vec![Step::Reset]), fails("connect", "none")),
    slot(
        "reset in the body",
        "resets the connection in the middle of the answer",
        ALL,
        |_| {
            Fault::steps(|_, good| {
                // A reset may overtake what was sent before it.
                vec![Step::Send(half(&good)), Step::Wait(SECOND / 4), Step::Reset]
            })
        },
        fails("connect", "200"),
    ),
    slot(
        "closed",
        "closes the connection without an answer",
        ALL,
        |_| Fault::steps(|_, _| vec![]),
        fails("connect", "none"),
    ),
    slot(
        "closed in the body",
        "closes the connection before the promised length",
        ALL,
        |_| Fault::steps(|_, good| vec![Step::Send(half(&good))]),
        fails("connect", "200"),
    ),
    slot(
        "chunks cut",
        "closes the connection before the last chunk",
        ALL,
        |_| {
            Fault::steps(|_, good| {
                let mut bytes = head(200, &[json_type(), header("transfer-encoding", "chunked")]);
                bytes.extend(format!("{:x}\r\n", good.body.len()).into_bytes());
                bytes.extend([&*good.body, b"\r\n"].concat());
                vec![Step::Send(bytes)]
            })
        },
        fails("connect", "200"),
    ),
    slot(
        "broken chunks",
        "sends chunks whose sizes are no numbers",
        ALL,
        |_| {
            Fault::steps(|_, _| {
                let mut bytes = head(200, &[json_type(), header("transfer-encoding", "chunked")]);
                bytes.extend(b"many\r\n{}\r\n0\r\n\r\n");
                vec![Step::Send(bytes)]
            })
        },
        fails("connect", "200"),
    ),
    slot(
        "no HTTP",
        "answers with something that is no HTTP",
        ALL,
        |_| Fault::steps(|asked, _| vec![Step::Send(format!("220 mail.example ESMTP {}\r\n", asked.key()).into())]),
        fails("connect", "none"),
    ),
    slot(
        "random bytes",
        "answers with random bytes",
        ALL,
        |_| {
            Fault::steps(|_, _| {
                vec![Step::Send((0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect())]
            })
        },
        fails("connect", "none"),
    ),
    slot(
        "ten thousand headers",
        "sends ten thousand headers",
        ALL,
        |_| Fault::answer(|_, good| (200, (0..10_000).map(|n| header(&format!("x-{n}"), "x")).collect(), good.body)),
        fails("connect", "none"),
    ),
    slot(
        "huge header",
        "sends a header of one MiB",
        ALL,
        |_| Fault::answer(|_, good| (200, vec![header("x", "x".repeat(1 << 20))], good.body)),
        fails("connect", "none"),
    ),
    slot(
        "impossible length",
        "promises a body of -1 bytes",
        ALL,
        |_| Fault::steps(|_, _| vec![Step::Send(head(200, &[header("content-length", "-1")]))]),
        fails("connect", "none"),
    ),
    // The pool refuses.
    slot("401", "answers 401 and quotes the key", ALL, |_| status(401, &[]), fails("auth", "401")),
    slot("403", "answers 403 and quotes the key", ALL, |_| status(403, &[]), fails("auth", "403")),
    pause(
        "429, in seconds",
        "answers 429 with `Retry-After: 2`",
        |_| status(429, &[("retry-after", "2")]),
        fails("rate_limited", "429"),
    ),
    pause(
        "429, a date",
        "answers 429 with a `Retry-After` that is a date",
        |_| Fault::answer(|_, _| (429, vec![header("retry-after", http_date(3))], vec![])),
        fails("rate_limited", "429"),
    ),
    pause(
        "429, a date gone by",
        "answers 429 with a `Retry-After` that is over",
        |_| status(429, &[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]),
        fails("rate_limited", "429"),
    ),
    pause("429", "answers 429 without `Retry-After`", |_| status(429, &[]), fails("rate_limited", "429")),
    pause(
        "429, nonsense",
        "answers 429 with `Retry-After: soon`",
        |_| status(429, &[("retry-after", "soon")]),
        fails("rate_limited", "429"),
    ),
    long_pause(
        "429, a day",
        "answers 429 with `Retry-After: 86400`",
        |_| status(429, &[("retry-after", "86400")]),
        fails("rate_limited", "429"),
    ),
    long_pause(
        "429, for ever",
        "answers 429 with a `Retry-After` of thirty digits",
        |_| status(429, &[("retry-after", "999999999999999999999999999999")]),
        fails("rate_limited", "429"),
    ),
    long_pause(
        "429, a far date",
        "answers 429 with a `Retry-After` in the year 9999",
        |_| status(429, &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")]),
        fails("rate_limited", "429"),
    ),
    slot("400", "answers 400", ALL, |_| status(400, &[]), fails("http_4xx", "400")),
    slot("404", "answers 404", ALL, |_| status(404, &[]), fails("http_4xx", "404")),
    slot("451", "answers 451", ALL, |_| status(451, &[]), fails("http_4xx", "451")),
    slot("500", "answers 500", ALL, |_| status(500, &[]), fails("http_5xx", "500")),
    slot(
        "502",
        "answers 502 with an HTML page",
        ALL,
        |_| status(502, &[("content-type", "text/html")]),
        fails("http_5xx", "502"),
    ),
    pause(
        "503, in seconds",
        "answers 503 with `Retry-After: 2`",
        |_| status(503, &[("retry-after", "2")]),
        fails("http_5xx", "503"),
    ),
    pause("503", "answers 503 without `Retry-After`", |_| status(503, &[]), fails("http_5xx", "503")),
    long_pause(
        "503, an hour",
        "answers 503 with `Retry-After: 3600`",
        |_| status(503, &[("retry-after", "3600")]),
        fails("http_5xx", "503"),
    ),
    slot("520", "answers 520, as a proxy in between does", ALL, |_| status(520, &[]), fails("http_5xx", "520")),
    // The pool points elsewhere.
    slot(
        "redirect to itself",
        "redirects (301) to the same address",
        ALL,
        |_| redirect(301, |asked| asked.target.clone()),
        fails("redirect", "301"),
    ),
    slot(
        "redirect to another host",
        "redirects (302) to another host, the key in path and query",
        ALL,
        |elsewhere| {
            let elsewhere = elsewhere.to_owned();
            redirect(302, move |asked| format!("http://{elsewhere}/{0}?key={0}", asked.key()))
        },
        fails("redirect", "302"),
    ),
    slot(
        "permanent redirect to another host",
        "redirects (308) to another host",
        ALL,
        |elsewhere| {
            let elsewhere = elsewhere.to_owned();
            redirect(308, move |asked| format!("//{elsewhere}{}", asked.target))
        },
        fails("redirect", "308"),
    ),
    Entry {
        name: "redirect to http",
        does: "redirects (301) from https to http",
        at: ALL,
        scope: Scope::Slot,
        kind: Kind::AnswerBehindTls(|elsewhere| {
            let elsewhere = elsewhere.to_owned();
            redirect(301, move |asked| format!("http://{elsewhere}{}", asked.target))
        }),
        expect: fails("redirect", "301"),
    },
    slot(
        "redirect to nowhere",
        "redirects (303) without saying where",
        ALL,
        |_| Fault::answer(|_, _| (303, vec![], vec![])),
        fails("redirect", "303"),
    ),
    slot(
        "304",
        "answers 304, which nobody asked for",
        ALL,
        |_| Fault::answer(|_, _| (304, vec![], vec![])),
        fails("redirect", "304"),
    ),
    // The answer is no JSON.
    slot(
        "HTML",
        "answers 200 with a challenge page that quotes the key",
        ALL,
        |_| {
            Fault::answer(|asked, _| {
                let page = format!("<!DOCTYPE html><title>Just a moment...</title>{}", asked.key());
                (200, vec![header("content-type", "text/html"), header("set-cookie", asked.key())], page.into())
            })
        },
        fails("not_json", "200"),
    ),
    slot("empty", "answers 200 with an empty body", ALL, |_| text(""), fails("not_json", "200")),
    slot(
        "204",
        "answers 204",
        ALL,
        |_| Fault::steps(|_, _| vec![Step::Send(head(204, &[])), Step::KeepAlive]),
        fails("not_json", "204"),
    ),
    slot("blank", "answers with blanks and line breaks", ALL, |_| text(" \r\n\t "), fails("not_json", "200")),
    slot("a word", "answers with a word", ALL, |_| text("Maintenance"), fails("not_json", "200")),
    slot(
        "a warning in front",
        "puts a PHP warning in front of the JSON",
        ALL,
        |_| Fault::body(|_, good| [b"<br />\n<b>Warning</b>: Division by zero", &*good.body].concat()),
        fails("not_json", "200"),
    ),
    slot(
        "unknown compression",
        "compresses in a way that nobody asked for",
        ALL,
        |_| Fault::answer(|_, _| (200, vec![header("content-encoding", "zstd")], vec![0x28, 0xb5, 0x2f, 0xfd, 4])),
        fails("not_json", "200"),
    ),
    // The answer is JSON of the wrong kind.
    slot(
        "truncated",
        "cuts the JSON in its middle",
        ALL,
        |_| Fault::body(|_, good| good.body[..good.body.len() / 2].to_vec()),
        fails("decode", "200"),
    ),
    slot(
        "a warning behind",
        "puts a PHP warning behind the JSON",
        ALL,
        |_| Fault::body(|_, good| [&*good.body, b"\n<b>Notice</b>: Undefined index"].concat()),
        fails("decode", "200"),
    ),
    slot("null", "answers `null`", ALL, |_| text("null"), fails("decode", "200")),
    slot("a list", "answers `[]`", ALL, |_| text("[]"), fails("decode", "200")),
    slot("a number", "answers `42`", ALL, |_| text("42"), fails("decode", "200")),
    slot("a string", "answers with a JSON string", ALL, |_| text("\"OK\""), fails("decode", "200")),
    slot(
        "no status",
        "leaves `status` out",
        ALL,
        |_| envelope(|answer| drop(answer.as_object_mut().unwrap().remove("status"))),
        fails("decode", "200"),
    ),
    slot(
        "no data",
        "leaves `data` out",
        ALL,
        |_| envelope(|answer| drop(answer.as_object_mut().unwrap().remove("data"))),
        fails("decode", "200"),
    ),
    slot("data null", "answers `data: null`", ALL, |_| data(|| Value::Null), fails("decode", "200")),
    slot("data false", "answers `data: false`", ALL, |_| data(|| false.into()), fails("decode", "200")),
    slot("data a string", "answers with a string as `data`", ALL, |_| data(|| "none".into()), fails("decode", "200")),
    slot(
        "data an empty list",
        "answers `data: []` where an object belongs",
        OBJECTS,
        |_| data(|| json!([])),
        fails("decode", "200"),
    ),
    slot(
        "data an empty object",
        "answers `data: {}` where figures belong",
        OBJECTS,
        |_| data(|| json!({})),
        fails("decode", "200"),
    ),
    slot(
        "data an object",
        "answers with an object where a list belongs",
        LISTS,
        |_| data(|| json!({ "rows": [] })),
        fails("decode", "200"),
    ),
    slot(
        "rows no objects",
        "answers with a list of numbers",
        LISTS,
        |_| data(|| json!([1, 2, 3])),
        fails("decode", "200"),
    ),
    slot(
        "too many rows",
        "gives more than 10,000 rows on a page",
        LISTS,
        |_| data(|| Value::Array(vec![json!({}); 10_001])),
        fails("decode", "200"),
    ),
    slot(
        "deeply nested",
        "nests 100,000 lists",
        ALL,
        |_| Fault::body(|_, _| format!("{{\"status\":\"OK\",\"data\":{}", "[".repeat(100_000)).into()),
        fails("decode", "200"),
    ),
    slot(
        "broken compression",
        "says gzip and sends something else",
        ALL,
        |_| gzipped(|good| good.body.clone()),
        fails("decode", "200"),
    ),
    slot(
        "cut compression",
        "cuts the compressed body",
        ALL,
        |_| {
            gzipped(|good| {
                let mut body = gzip(&good.body);
                body.truncate(body.len() / 2);
                body
            })
        },
        fails("decode", "200"),
    ),
    slot(
        "cut compression in parts",
        "cuts the second of two gzip members",
        ALL,
        |_| {
            gzipped(|good| {
                let mut body = [gzip(&good.body[..1]), gzip(&good.body[1..])].concat();
                body.truncate(body.len() - 9);
                body
            })
        },
        fails("decode", "200"),
    ),
    // The answer is too long.
    slot(
        "gzip bomb",
        "sends 16 MiB compressed to 70 KiB",
        ALL,
        |_| {
            static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
                let mut text = b"{\"status\":\"OK\",\"data\":[".to_vec();
                text.resize(16 << 20, b' ');
                gzip(&text)
            });
            gzipped(|_| BOMB.clone())
        },
        fails("body_too_large", "200"),
    ),
    slot(
        "gzip bomb in parts",
        "sends 64 gzip members of 64 KiB each",
        ALL,
        |_| {
            static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
                let begin = gzip(b"{\"status\":\"OK\",\"data\":[");
                [begin, gzip(&[b' '; 64 << 10]).repeat(64)].concat()
            });
            gzipped(|_| BOMB.clone())
        },
        fails("body_too_large", "200"),
    ),
    slot(
        "endless body",
        "never ends the body",
        ALL,
        |_| {
            Fault::steps(|_, _| {
                let begin = [head(200, &[json_type()]), b"{\"status\":\"OK\",\"data\":[".to_vec()].concat();
                vec![Step::Send(begin), Step::Repeat(vec![b' '; 64 << 10], Duration::ZERO)]
            })
        },
        fails("body_too_large", "200"),
    ),
    slot(
        "long body",
        "sends one byte more than `api.max_response_bytes`",
        ALL,
        |_| {
            Fault::body(|_, mut good| {
                good.body.resize(MAX_BYTES + 1, b' ');
                good.body
            })
        },
        fails("body_too_large", "200"),
    ),
    // The pool reports an error.
    slot(
        "an error",
        "answers 200 with another `status` and a message that quotes the key",
        ALL,
        |_| {
            Fault::body(|asked, _| {
                json!({ "status": "ERROR", "message": format!("wrong key {}", asked.key()) }).to_string().into()
            })
        },
        fails("api_error", "200"),
    ),
    slot(
        "an error with the data",
        "answers with `status: ERROR` and good data",
        ALL,
        |_| envelope(|answer| answer["status"] = "ERROR".into()),
        fails("api_error", "200"),
    ),
    slot(
        "status true",
        "answers `status: true`",
        ALL,
        |_| envelope(|answer| answer["status"] = true.into()),
        fails("api_error", "200"),
    ),
    slot(
        "a part of the key",
        "answers with an error whose message quotes a part of the key in capitals",
        ALL,
        |_| {
            Fault::body(|asked, _| {
                let part = asked.key().get(7..15).unwrap_or_default().to_ascii_uppercase();
                json!({ "status": part, "error": format!("key *{part}* unknown") }).to_string().into()
            })
        },
        fails("api_error", "200"),
    ),
    slot(
        "a hostile message",
        "answers with an error whose message holds line breaks and direction marks",
        ALL,
        |_| text("{\"status\":\"E\\nlevel=error account=x\",\"message\":\"a\\u0000b\\r\\nlevel=error\\u202e\\ud800\"}"),
        fails("api_error", "200"),
    ),
    // A later page fails.
    slot(
        "a later page 500",
        "answers 500 to a later page",
        LISTS,
        |_| later_page(|_, _| vec![Step::Send(http(500, &[], b"")), Step::KeepAlive]),
        incomplete("http_5xx", "500"),
    ),
    slot(
        "a later page stalls",
        "never sends a later page",
        LISTS,
        |_| later_page(|_, _| vec![Step::Stall]),
        incomplete("timeout", "none"),
    ),
    slot(
        "a later page cut",
        "closes the connection in the middle of a later page",
        LISTS,
        |_| later_page(|_, good| vec![Step::Send(half(&good))]),
        incomplete("connect", "200"),
    ),
    slot(
        "a later page HTML",
        "answers with HTML to a later page",
        LISTS,
        |_| later_page(|_, _| vec![Step::Send(http(200, &[], b"<html>")), Step::KeepAlive]),
        incomplete("not_json", "200"),
    ),
    slot(
        "a later page an error",
        "reports an error instead of a later page",
        LISTS,
        |_| later_page(|_, _| vec![Step::Send(http(200, &[], b"{\"status\":\"ERROR\"}")), Step::KeepAlive]),
        incomplete("api_error", "200"),
    ),
    slot(
        "a list without an end",
        "has ever new rows, and no `total`",
        WORKER_LIST,
        |_| {
            Fault::json(|asked, answer| {
                let first = asked.offset.unwrap_or(0);
                answer["data"] = json!([{ "worker_id": 1_000_000 + first }]);
                answer["total"] = Value::Null;
            })
        },
        incomplete("", "200"),
    ),
    // Answers that are odd and yet good.
    slot(
        "slow",
        "takes a second for each answer",
        ALL,
        |_| Fault::steps(|_, good| [vec![Step::Wait(SECOND)], well(&good)].concat()),
        unchanged("all values"),
    ),
    slot(
        "closed when reused",
        "closes each connection without an answer when a second request comes on it",
        ALL,
        |_| Fault::steps(|asked, good| if asked.earlier == 0 { well(&good) } else { vec![] }),
        unchanged("all values"),
    ),
    slot(
        "reset when reused",
        "resets each connection when a second request comes on it",
        ALL,
        |_| Fault::steps(|asked, good| if asked.earlier == 0 { well(&good) } else { vec![Step::Reset] }),
        unchanged("all values"),
    ),
    slot("compressed", "compresses with gzip", ALL, |_| gzipped(|good| gzip(&good.body)), unchanged("all values")),
    slot(
        "compressed in parts",
        "compresses with gzip in two members",
        ALL,
        |_| {
            gzipped(|good| {
                let (front, back) = good.body.split_at(good.body.len() / 2);
                [gzip(front), gzip(back)].concat()
            })
        },
        unchanged("all values"),
    ),
    slot(
        "compressed and padded",
        "compresses with gzip, calls it `x-gzip`, and sends zeros behind it",
        ALL,
        |_| {
            Fault::answer(|_, good| {
                let body = [&*gzip(&good.body), &[0; 64]].concat();
                (200, vec![json_type(), header("content-encoding", "x-gzip")], body)
            })
        },
        unchanged("all values"),
    ),
    slot(
        "HTTP/1.0",
        "answers as HTTP/1.0, without a length",
        ALL,
        |_| Fault::steps(|_, good| vec![Step::Send([b"HTTP/1.0 200 OK\r\n\r\n", &*good.body].concat())]),
        unchanged("all values"),
    ),
    slot(
        "interim answer",
        "sends `103 Early Hints` first",
        ALL,
        |_| Fault::steps(|_, good| [vec![Step::Send(head(103, &[]))], well(&good)].concat()),
        unchanged("all values"),
    ),
    slot(
        "wrong content type",
        "calls its JSON HTML, and repeats the key in headers",
        ALL,
        |_| {
            Fault::answer(|asked, good| {
                (200, vec![header("content-type", "text/html"), header("x-api-key", asked.key())], good.body)
            })
        },
        unchanged("all values"),
    ),
    slot(
        "byte-order mark",
        "puts a byte-order mark in front of the JSON",
        ALL,
        |_| Fault::body(|_, good| ["\u{FEFF}\r\n ".as_bytes(), &good.body].concat()),
        unchanged("all values"),
    ),
    slot(
        "clock ahead",
        "has a `Date` of the year 2999",
        ALL,
        |_| {
            Fault::answer(|_, good| {
                (200, vec![json_type(), header("date", "Tue, 01 Jan 2999 00:00:00 GMT")], good.body)
            })
        },
        unchanged("all values"),
    ),
    slot(
        "clock behind",
        "has a `Date` of the year 1994",
        ALL,
        |_| {
            Fault::answer(|_, good| {
                (200, vec![json_type(), header("date", "Sun, 06 Nov 1994 08:49:37 GMT")], good.body)
            })
        },
        unchanged("all values"),
    ),
    slot(
        "numbers",
        "sends figures as numbers instead of strings",
        ALL,
        |_| {
            Fault::json(|asked, answer| {
                rows(answer, |_, row| {
                    for field in figures(&asked.endpoint) {
                        let text = row[*field].as_str().map(str::to_owned);
                        let number = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
                        row[*field] = number.unwrap_or_else(|| row[*field].clone());
                    }
                });
            })
        },
        unchanged("all values"),
    ),
    slot(
        "more fields",
        "sends fields that nobody knows",
        ALL,
        |_| {
            Fault::json(|_, answer| {
                answer["debug"] = json!([{ "trace": [1, 2, { "a": null }] }]);
                rows(answer, |_, row| row["new"] = json!({ "nested": ["x", 1e300] }));
            })
        },
        unchanged("all values"),
    ),
    // Fields that cannot be read.
    slot(
        "fields null",
        "sends null in every figure",
        ALL,
        |_| each_figure(|_, _| Value::Null),
        shows("the values leave; null is not counted", |_| &[], without_figures),
    ),
    slot(
        "fields of a wrong type",
        "sends lists, objects and truths in every figure",
        ALL,
        |_| each_figure(|_, index| [json!([]), json!({ "a": 1 }), json!(true)][index % 3].clone()),
        shows("the values leave and are counted", figures, without_figures),
    ),
    slot(
        "impossible numbers",
        "sends NaN, infinities or 400 digits in every figure, and negative hashrates",
        ALL,
        |_| {
            each_figure(|field, index| {
                // Amounts may be below zero.
                if ["poolHs", "hashrate", "hashrate_1hour"].contains(&field) {
                    return "-1".into();
                }
                let odd = ["NaN".into(), "9".repeat(400), "inf".into(), "1e999".into(), String::new()];
                odd[index % odd.len()].clone().into()
            })
        },
        shows("the values leave and are counted", figures, without_figures),
    ),
    slot(
        "fields missing",
        "leaves the figures of the rows out",
        LISTS,
        |_| {
            Fault::json(|asked, answer| {
                rows(answer, |_, row| {
                    figures(&asked.endpoint).iter().for_each(|field| drop(row.as_object_mut().unwrap().remove(*field)));
                });
            })
        },
        shows("the values leave and are counted", figures, without_figures),
    ),
    slot(
        "no worker_id",
        "leaves the first worker's id out",
        WORKER_LIST,
        |_| {
            Fault::json(|asked, answer| {
                rows(answer, |index, row| {
                    if asked.offset == Some(0) && index == 0 {
                        row["worker_id"] = Value::Null;
                    }
                });
            })
        },
        shows("that worker leaves and is counted", |_| &["worker_id"], |_, before| without_first_worker(before)),
    ),
    slot(
        "a null row",
        "sends null in place of a list's first row",
        LISTS,
        |_| {
            Fault::json(|asked, answer| {
                rows(answer, |index, row| {
                    if asked.offset == Some(0) && index == 0 {
                        *row = Value::Null;
                    }
                });
            })
        },
        shows(
            "that row leaves and is counted; sums that lack it leave",
            |endpoint| match endpoint {
                "profit_history" => &["date"],
                "payment_history" => &["payment_id"],
                _ => &["worker_id"],
            },
            |endpoint, before| match endpoint {
                "profit_history" => without(before, "btcpool_account_income_coins{"),
                "payment_history" => Series::new(),
                _ => without_first_worker(before),
            },
        ),
    ),
    slot(
        "negative zero",
        "tells `-0.00000000` as every amount",
        AMOUNTS,
        |_| each_amount(|_| "-0.00000000".to_owned()),
        Expect::Shows { seen: "0", fields: |_| &[], series: Shown::Names(|_, before| before.clone()) },
    ),
    slot(
        "negative amounts",
        "tells every amount as a negative one",
        AMOUNTS,
        |_| each_amount(|amount| format!("-{amount}")),
        Expect::Shows {
            seen: "the amounts as told: corrections are booked so",
            fields: |_| &[],
            series: Shown::Names(|_, before| before.clone()),
        },
    ),
    slot(
        "reject rate in percent",
        "tells reject rates in percent",
        WORKER_LIST,
        |_| each_worker("reject_rate", "1.25"),
        shows(
            "reject rates leave and are counted; the log says which setting to change",
            |_| &["reject_rate"],
            |_, before| without(before, "btcpool_worker_reject_ratio"),
        ),
    ),
    slot(
        "unknown worker status",
        "has a status that nobody knows",
        WORKER_LIST,
        |_| each_worker("worker_status", "7"),
        shows(
            "the state leaves and is counted",
            |_| &["worker_status"],
            |_, before| without(before, "btcpool_worker_active"),
        ),
    ),
    slot(
        "never active",
        "tells 0 as the time of last activity",
        WORKER_LIST,
        |_| each_worker("last_active", "0"),
        shows(
            "the time is absent; that is no anomaly",
            |_| &[],
            |_, before| without(before, "btcpool_worker_last_active_timestamp_seconds"),
        ),
    ),
    slot(
        "active in the future",
        "tells a last activity in the year 2100",
        WORKER_LIST,
        |_| each_worker("last_active", "4102444800"),
        shows(
            "the time as told",
            |_| &[],
            |_, before| with_values(before, "btcpool_worker_last_active_timestamp_seconds", |_| 4_102_444_800.0),
        ),
    ),
    slot(
        "active long ago",
        "tells a last activity in the year 1970",
        WORKER_LIST,
        |_| each_worker("last_active", "86400"),
        shows(
            "the time as told",
            |_| &[],
            |_, before| with_values(before, "btcpool_worker_last_active_timestamp_seconds", |_| 86_400.0),
        ),
    ),
    slot(
        "milliseconds",
        "tells times in milliseconds",
        WORKER_LIST,
        |_| each_worker("last_active", "1735689600000"),
        shows(
            "the times leave and are counted",
            |_| &["last_active"],
            |_, before| without(before, "btcpool_worker_last_active_timestamp_seconds"),
        ),
    ),
    slot(
        "another unit",
        "multiplies every hashrate by a million",
        &["main_stat", "summary_data", "workers"],
        |_| {
            Fault::json(|asked, answer| {
                rows(answer, |_, row| {
                    for field in figures(&asked.endpoint)
                        .iter()
                        .filter(|field| field.contains("hashrate") || field.ends_with("Hs"))
                    {
                        let hashrate: f64 = row[*field].as_str().unwrap().parse().unwrap();
                        row[*field] = (hashrate * 1e6).to_string().into();
                    }
                });
            })
        },
        shows(
            "the values as told: a unit cannot be recognized",
            |_| &[],
            |_, before| {
                let changed = |(name, value): (String, f64)| {
                    let value = if name.contains("_hashrate_") { value * 1e6 } else { value };
                    (name, value)
                };
                before.clone().into_iter().map(changed).collect()
            },
        ),
    ),
    // Names that miners choose.
    slot(
        "hostile names",
        "has workers with quotes, line breaks, NUL, direction marks, HTML and 15 KiB in their names",
        WORKER_LIST,
        |_| {
            Fault::json(|asked, answer| {
                rows(answer, |index, row| {
                    if let Some((name, _)) = hostile_names().get(index).filter(|_| asked.offset == Some(0)) {
                        row["worker_name"] = name.clone().into();
                    }
                });
            })
        },
        shows(
            "the names, without control characters and direction marks, at most 128 characters",
            |_| &[],
            |_, before| renamed(before, &hostile_names().map(|(_, shown)| shown)),
        ),
    ),
    slot(
        "no UTF-8",
        "has a worker whose name is no UTF-8, and one with half a surrogate pair",
        WORKER_LIST,
        |_| {
            Fault::body(|asked, good| {
                let mut json = good.json();
                rows(&mut json, |index, row| match (asked.offset, index) {
                    (Some(0), 0) => row["worker_name"] = "(bytes)".into(),
                    (Some(0), 1) => row["worker_name"] = "(half)".into(),
                    _ => {}
                });
                let text = json.to_string().replace("(half)", "a\\ud83dz");
                let (front, back) = text.split_once("(bytes)").unwrap_or((&text, ""));
                let bytes: &[u8] = if back.is_empty() { b"" } else { b"a\xff\xfez" };
                [front.as_bytes(), bytes, back.as_bytes()].concat()
            })
        },
        shows(
            "U+FFFD in place of each broken part",
            |_| &[],
            // Half of a pair is three bytes that are no UTF-8.
            |_, before| renamed(before, &["a\u{FFFD}\u{FFFD}z".to_owned(), "a\u{FFFD}\u{FFFD}\u{FFFD}z".to_owned()]),
        ),
    ),
    // Lists.
    slot(
        "an empty list",
        "answers `data: []`",
        WORKER_LIST,
        |_| {
            envelope(|answer| {
                answer["data"] = json!([]);
                answer["total"] = 0.into();
            })
        },
        shows("no worker; the numbers are 0", |_| &[], |_, before| first_workers(before, 0, Some(0.0))),
    ),
    slot(
        "an empty object for a list",
        "answers `data: {}`",
        WORKER_LIST,
        |_| {
            envelope(|answer| {
                answer["data"] = json!({});
                answer["total"] = 0.into();
            })
        },
        shows("no worker; the numbers are 0", |_| &[], |_, before| first_workers(before, 0, Some(0.0))),
    ),
    slot(
        "an object for a list",
        "answers with an object whose keys are numbers in place of a list",
        LISTS,
        |_| {
            envelope(|answer| {
                let rows = answer["data"].as_array().unwrap().iter().enumerate();
                answer["data"] = rows.map(|(index, row)| ((2 * index).to_string(), row.clone())).collect();
            })
        },
        unchanged("all values"),
    ),
    slot(
        "an empty history",
        "answers `data: []` for the days that may still change",
        &["profit_history", "payment_history"],
        |_| {
            envelope(|answer| {
                answer["data"] = json!([]);
                answer["total"] = 0.into();
            })
        },
        Expect::Shows {
            seen: "the rows of those days leave, and what is made of them changes",
            fields: |_| &[],
            series: Shown::Names(|_, before| without(before, "btcpool_account_income_today_coins")),
        },
    ),
    slot(
        "short pages",
        "gives five rows a page, whatever is asked",
        WORKER_LIST,
        |_| envelope(|answer| answer["data"].as_array_mut().unwrap().truncate(5)),
        unchanged("all values"),
    ),
    slot(
        "echo lies",
        "repeats another offset, limit and count than asked",
        LISTS,
        |_| {
            envelope(|answer| {
                answer["offset"] = 7.into();
                answer["limit"] = 0.into();
                answer["count"] = (-1).into();
            })
        },
        unchanged("all values"),
    ),
    slot(
        "the same page for ever",
        "gives the first page at every offset",
        WORKER_LIST,
        |_| envelope(|_| {}).at_offset(|_| Some(0)),
        shows(
            "the first page; what is listed is less than what is reported",
            |_| &["total"],
            |_, before| first_workers(before, PAGE, Some(WORKERS as f64)),
        ),
    ),
    slot(
        "an empty later page",
        "has no rows behind the first page",
        WORKER_LIST,
        |_| {
            Fault::json(|asked, answer| {
                if asked.offset != Some(0) {
                    answer["data"] = json!([]);
                }
            })
        },
        shows(
            "the first page; what is listed is less than what is reported",
            |_| &["total"],
            |_, before| first_workers(before, PAGE, Some(WORKERS as f64)),
        ),
    ),
    slot(
        "a shift once",
        "loses a row between two pages every second time",
        WORKER_LIST,
        |_| {
            Fault::json(|_, _| {}).at_offset(|asked| {
                asked.offset.map(|offset| match offset {
                    0 => 0,
                    offset => offset + asked.before % 2,
                })
            })
        },
        unchanged("all values: the list is read once more"),
    ),
    slot(
        "a shift each time",
        "loses a row between two pages each time",
        WORKER_LIST,
        |_| {
            Fault::json(|_, _| {})
                .at_offset(|asked| asked.offset.map(|offset| if offset == 0 { 0 } else { offset + 1 }))
        },
        shows(
            "every worker but that one; what is listed is less than what is reported",
            |_| &["total"],
            |_, before| {
                let lost = format!("worker_id=\"{}\"", worker_ids(before)[PAGE]);
                let others = before.clone().into_iter().filter(|(name, _)| !name.contains(&lost)).collect();
                with_values(&others, "btcpool_account_workers_listed", |listed| listed - 1.0)
            },
        ),
    ),
    slot(
        "a shift forward",
        "repeats a row on the next page",
        WORKER_LIST,
        |_| Fault::json(|_, _| {}).at_offset(|asked| asked.offset.map(|offset| offset.saturating_sub(1))),
        unchanged("all values"),
    ),
    slot(
        "total too high",
        "reports five rows more than there are",
        WORKER_LIST,
        |_| envelope(|answer| answer["total"] = (WORKERS + 5).into()),
        shows(
            "every worker, and the number as reported",
            |_| &["total"],
            |_, before| first_workers(before, WORKERS, Some((WORKERS + 5) as f64)),
        ),
    ),
    slot(
        "total enormous",
        "reports 10^15 rows",
        WORKER_LIST,
        |_| envelope(|answer| answer["total"] = 1_000_000_000_000_000_u64.into()),
        shows(
            "every worker, and the number as reported",
            |_| &["total"],
            |_, before| first_workers(before, WORKERS, Some(1e15)),
        ),
    ),
    slot(
        "millions of workers",
        "lists five million workers, of which it tells ids only",
        WORKER_LIST,
        |_| {
            Fault::json(|asked, answer| {
                let first = asked.offset.unwrap_or(0);
                answer["data"] =
                    (first..first + 10_000).map(|id| json!({ "worker_id": (id + 1).to_string() })).collect();
                answer["total"] = LISTED_MILLIONS.into();
            })
        },
        shows(
            "the number as reported, most of them dropped; the log says so",
            |_| all_but_the_id(),
            |_, before| {
                let workers = without(before, "btcpool_worker_");
                let workers = with_values(&workers, "btcpool_account_workers_listed", |_| LISTED_MILLIONS as f64);
                let workers = with_values(&workers, "btcpool_account_workers_reported", |_| LISTED_MILLIONS as f64);
                with_values(&workers, "btcpool_account_workers_dropped", |_| (LISTED_MILLIONS - 20_000) as f64)
            },
        ),
    ),
    slot(
        "total too low",
        "reports two rows less than there are",
        WORKER_LIST,
        |_| envelope(|answer| answer["total"] = (WORKERS - 2).into()),
        shows(
            "every worker, and the number as reported",
            |_| &["total"],
            |_, before| first_workers(before, WORKERS, Some((WORKERS - 2) as f64)),
        ),
    ),
    slot(
        "total missing",
        "leaves `total` out",
        WORKER_LIST,
        |_| envelope(|answer| drop(answer.as_object_mut().unwrap().remove("total"))),
        shows(
            "every worker; the number reported leaves and is counted",
            |_| &["total"],
            |_, before| first_workers(before, WORKERS, None),
        ),
    ),
    slot(
        "total null",
        "answers `total: null`",
        WORKER_LIST,
        |_| envelope(|answer| answer["total"] = Value::Null),
        shows("every worker; the number reported leaves", |_| &[], |_, before| first_workers(before, WORKERS, None)),
    ),
    slot(
        "total no number",
        "answers `total: \"many\"`",
        WORKER_LIST,
        |_| envelope(|answer| answer["total"] = "many".into()),
        shows(
            "every worker; the number reported leaves and is counted",
            |_| &["total"],
            |_, before| first_workers(before, WORKERS, None),
        ),
    ),
];
