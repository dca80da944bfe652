//! What a worker costs on its way from the pool's answer to a scrape: decoding, writing, packing; and what a scrape costs
//! when nothing has changed, or one account of fifty.
//!
//! `cargo bench --bench exposition` prints the median of each over its rounds. `tests/bench/instructions` counts
//! instructions of the same.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark talks, and may fail")]

mod pool;

use std::{
    cell::LazyCell,
    hint::black_box,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    clock::Clock,
    collector::{
        Format, Moment, Own, Scope, View,
        kept::{Encoding, Rendition},
        render,
    },
    config::{Config, Overrides, RejectRateUnit},
    store::Store,
    telemetry::Telemetry,
    wire::{self, Anomalies, Workers},
};

use pool::{PAGE, page};

const ACCOUNTS: usize = 50;
const WORKERS: usize = 10_000;
const ROUNDS: usize = 21;

fn decode(text: &str) -> Vec<btcpool_exporter::wire::Worker> {
    let page = wire::workers(text, RejectRateUnit::Ratio, &mut Anomalies::default()).unwrap();
    page.rows.into_iter().flatten().map(|(_, worker)| worker).collect()
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    black_box(work());
    began.elapsed()
}

/// A piece of work: what is told of it, in which unit (how many make a second), and how long a round takes.
type Work<'a> = (&'static str, &'static str, f64, &'a mut dyn FnMut(usize) -> Duration);

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let accounts: String = (0..ACCOUNTS).map(|n| format!("  farm_{n:02}: {{ api_key: 0a1b2c }}\n")).collect();
    let config = Config::from_yaml("bench", &format!("accounts:\n{accounts}"), &Overrides::default()).unwrap();
    let store = Store::new(&config);
    let telemetry = Telemetry::new(Clock::system().now());
    let slots: Vec<_> = store.targets.values().cloned().collect();
    let share = WORKERS / ACCOUNTS;
    let answer = |account: usize, round: usize| {
        let list = (0..share).step_by(PAGE).flat_map(|offset| decode(&page(account, offset, share, round))).collect();
        Workers { list, reported: Some(share as u64), not_read: 0, pages: share / PAGE }
    };
    let record = |account: usize, workers: Workers| {
        slots[account].workers.as_ref().unwrap().record(Clock::system().now(), Duration::ZERO, Ok(workers));
    };
    let now = || Moment { wall: Clock::system().now(), monotonic: Instant::now() };
    let view = || View::known(&config, &store, &Scope::All, now());
    let new =
        |encoding, before: Option<&Rendition>| Rendition::new(&view(), Format::OpenMetrics, encoding, before).unwrap();
    (0..ACCOUNTS).for_each(|account| record(account, answer(account, 0)));

    let pages: Vec<_> = (0..WORKERS).step_by(PAGE).map(|offset| page(0, offset, WORKERS, 0)).collect();
    let unchanged = LazyCell::new(|| new(Encoding::Gzip, None));
    // As in the program, there is always one before: otherwise what is measured is how the system gives out memory.
    let (mut plain, mut packed, mut kept) = (None, None, None);
    let mut answers = Vec::new();
    let works: [Work<'_>; 7] = [
        ("decode", "ns a worker", 1e9 / WORKERS as f64, &mut |_| {
            timed(|| pages.iter().map(|page| decode(page).len()).sum::<usize>())
        }),
        ("write", "ns a worker", 1e9 / WORKERS as f64, &mut |_| timed(|| plain = Some(new(Encoding::Identity, None)))),
        ("reference", "ns a worker", 1e9 / WORKERS as f64, &mut |_| {
            let view = View::take(&config, &store, &telemetry, &Scope::All, now());
            timed(|| render(view, Format::OpenMetrics))
        }),
        ("everything", "ms, written and packed", 1e3, &mut |_| timed(|| packed = Some(new(Encoding::Gzip, None)))),
        ("account", "ms, one account of them changed", 1e3, &mut |round| {
            if answers.is_empty() {
                answers = (0..ROUNDS).map(|round| answer(round, round + 1)).collect();
            }
            record(round, std::mem::take(&mut answers[round]));
            timed(|| kept = Some(new(Encoding::Gzip, kept.as_ref())))
        }),
        ("scrape", "us, nothing changed", 1e6, &mut |_| {
            timed(|| unchanged.with(Some(&Own::read(&telemetry))).unwrap())
        }),
        ("figures", "us of it, reading the exporter's own figures", 1e6, &mut |_| timed(|| Own::read(&telemetry))),
    ];
    if let [name, rounds] = &arguments[..] {
        // For a program that counts instructions: nothing but the work, so many times.
        let (_, _, _, round) = works.into_iter().find(|(work, ..)| work == name).unwrap();
        (0..rounds.parse().unwrap()).for_each(|number| _ = round(number));
        return;
    }
    let length = |encoding| new(encoding, None).with(None).unwrap().iter().map(bytes::Bytes::len).sum::<usize>();
    println!("{WORKERS} workers of {ACCOUNTS} accounts, medians of {ROUNDS} rounds");
    println!("text        {:9} bytes, packed {}", length(Encoding::Identity), length(Encoding::Gzip));
    for (name, unit, scale, round) in works {
        let mut times: Vec<_> = (0..ROUNDS).map(|number| round(number).as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        println!("{name:11} {:9.2} {unit}", times[ROUNDS / 2] * scale);
    }
}
