//! What a worker costs on its way from the pool's answer to a scrape: decoding, writing, packing; and what a scrape costs
//! when nothing has changed, or one account of fifty.
//!
//! `cargo bench --bench exposition` prints the median of each over its rounds.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks, and may fail")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    client::wire::{self, Anomalies},
    clock::Clock,
    collector::{
        Format, Moment, Own, Scope, View,
        kept::{Encoding, Rendition},
        render,
    },
    config::{Config, Overrides, RejectRateUnit},
    model::Workers,
    store::Store,
    telemetry::Telemetry,
};

const ACCOUNTS: usize = 50;
const WORKERS: usize = 10_000;
const PAGE: usize = 100;
const ROUNDS: usize = 21;

/// A page in the pool's own form; the figures follow from the round.
fn page(offset: usize, round: usize) -> String {
    let rows: Vec<_> = (offset..offset + PAGE)
        .map(|n| {
            let hashrate = |windows: usize| 140_000_000_000_000 + (n * 7919 + round * 104_729 + windows * 31) % 10_000_000 * 1_000_003;
            format!(
                r#"{{"hashrate_10min":"{}","hashrate_1hour":"{}","hashrate_24hour":"{}","last_active":"{}","reject_rate":"0.{:08}","worker_id":"{}","worker_name":"rack{:03}-s19-{:03}","worker_status":"1"}}"#,
                hashrate(1), hashrate(2), hashrate(3), 1_709_571_000 + round, (n * 37 + round) % 1_000_000, 24_000_000 + n, n / 100, n % 100
            )
        })
        .collect();
    format!(
        r#"{{"status":"OK","data":[{}],"count":{},"offset":{offset},"limit":{PAGE},"total":{WORKERS}}}"#,
        rows.join(","),
        rows.len()
    )
}

fn decode(text: &str) -> Vec<btcpool_exporter::model::Worker> {
    let answer = wire::open(text).ok().unwrap();
    let mut anomalies = Anomalies::default();
    let rows = wire::workers(answer.data().ok().unwrap(), RejectRateUnit::Ratio, &mut anomalies).ok().unwrap();
    rows.into_iter().flatten().map(|(_, worker)| worker).collect()
}

/// The median of the rounds, which are told their numbers.
fn median(mut round: impl FnMut(usize) -> Duration) -> f64 {
    let mut times: Vec<_> = (0..ROUNDS).map(|number| round(number).as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    black_box(work());
    began.elapsed()
}

fn main() {
    let accounts: String = (0..ACCOUNTS).map(|n| format!("  farm_{n:02}: {{ api_key: 0a1b2c }}\n")).collect();
    let config = Config::from_yaml("bench", &format!("accounts:\n{accounts}"), &Overrides::default()).unwrap();
    let store = Store::new(&config);
    let telemetry = Telemetry::new(Clock::system().now());
    let slots: Vec<_> = store.targets.values().cloned().collect();
    let share = WORKERS / ACCOUNTS;
    let poll = |account: usize, round: usize| {
        let list = (0..share).step_by(PAGE).flat_map(|offset| decode(&page(account * share + offset, round))).collect();
        let workers = Workers { list, reported: Some(share as u64), pages: share / PAGE };
        slots[account].workers.as_ref().unwrap().record(Clock::system().now(), Duration::ZERO, Ok(workers));
    };
    let view = || {
        let now = Moment { wall: Clock::system().now(), monotonic: Instant::now() };
        View::known(&config, &store, &Scope::All, now)
    };
    let new =
        |encoding, before: Option<&Rendition>| Rendition::new(&view(), Format::OpenMetrics, encoding, before).unwrap();
    (0..ACCOUNTS).for_each(|account| poll(account, 0));

    let pages: Vec<_> = (0..WORKERS).step_by(PAGE).map(|offset| page(offset, 0)).collect();
    let decoding = median(|_| timed(|| pages.iter().map(|page| decode(page).len()).sum::<usize>()));
    let reference = median(|_| {
        let now = Moment { wall: Clock::system().now(), monotonic: Instant::now() };
        let view = View::take(&config, &store, &telemetry, &Scope::All, now);
        timed(|| render(view, Format::OpenMetrics))
    });
    let writing = median(|_| timed(|| new(Encoding::Identity, None)));
    let packing = median(|_| timed(|| new(Encoding::Gzip, None)));
    let mut kept = Arc::new(new(Encoding::Gzip, None));
    let scrape = median(|_| timed(|| kept.with(Some(&Own::read(&telemetry))).unwrap()));
    let figures = median(|_| timed(|| Own::read(&telemetry)));
    let one = median(|round| {
        poll(round % ACCOUNTS, round + 1);
        let mut next = None;
        let took = timed(|| next = Some(new(Encoding::Gzip, Some(&kept))));
        kept = Arc::new(next.unwrap());
        took
    });
    let all = median(|round| {
        (0..ACCOUNTS).for_each(|account| poll(account, 100 + round));
        timed(|| new(Encoding::Gzip, Some(&kept)))
    });
    let length = |encoding| new(encoding, None).with(None).unwrap().iter().map(bytes::Bytes::len).sum::<usize>();
    println!("{WORKERS} workers of {ACCOUNTS} accounts, medians of {ROUNDS} rounds");
    println!("text                {:9} bytes, packed {} bytes", length(Encoding::Identity), length(Encoding::Gzip));
    println!("decode              {:9.0} ns a worker", decoding / WORKERS as f64 * 1e9);
    println!("write               {:9.0} ns a worker", writing / WORKERS as f64 * 1e9);
    println!("write, plain way    {:9.0} ns a worker", reference / WORKERS as f64 * 1e9);
    println!("write and pack all  {:9.2} ms", packing * 1e3);
    println!("all changed         {:9.2} ms", all * 1e3);
    println!("one account changed {:9.2} ms", one * 1e3);
    println!(
        "scrape, unchanged   {:9.1} us, of which {:.1} us are figures of the process and counters",
        scrape * 1e6,
        figures * 1e6
    );
}
