//! A day of the pool in five minutes: the exporter as a process of its own, under a clock that runs 288 times as fast,
//! against a pool whose workers come, go and are renamed, and which fails in every way that it can; scraped throughout.
//!
//! | module | what it holds |
//! |---|---|
//! | `exporter` | the exporter's process: this program again, started with an argument |
//! | `churn` | who mines at which moment, and the pool's worker lists made of it |
//! | `storm` | which faults the pool has when |
//! | `watch` | reads expositions, and holds each to the one before it |
//! | `ledger` | what the pool saw |
//!
//! `support` has the pool, its faults and the parser of expositions.
//!
//! A run is made of rounds. In each a storm goes through every fault of the catalogue, and then the pool is well and
//! its workers stay as they are until the exporter shows exactly them. At the end nothing may have grown.
//!
//! `SOAK_MINUTES` makes a run longer or shorter than five minutes, `SOAK_SEED` repeats the faults of another run.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test talks, and ends where it cannot go on"
)]

mod churn;
mod exporter;
mod ledger;
mod storm;
#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
mod watch;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    clock::Clock,
    demo::{Farm, SimulatedPool},
};
use jiff::Timestamp;

use churn::Churn;
use exporter::{Child, SPEED};
use ledger::Ledger;
use storm::Storm;
use support::{
    PATIENCE, catalogue,
    pool::faulty::{Asked, Elsewhere, Fault, FaultyPool, Where},
};
use watch::Watch;

/// How many accounts there are, beside the large one and the guest.
const SMALL_ACCOUNTS: usize = 20;

/// The workers of a small account, and of the large one, when all are there.
const SMALL: usize = 30;
const LARGE: usize = 1000;

/// Requests in flight.
const CONCURRENCY: usize = 16;

/// The slots of an account.
const SLOTS: usize = 4;

/// When the simulated day begins; the pool's midnight, at UTC+8, is in its middle third.
const BEGIN: &str = "2026-03-01T00:00:00Z";

/// How long a round is, about.
const ROUND: Duration = Duration::from_secs(30);

/// How long of a round the pool is well.
const CALM: Duration = Duration::from_secs(8);

/// How much the resident memory may grow from the second tenth of a run to its last. Each round has lists that never
/// end and bodies as long as may be, and what they were held in is kept by the allocator, more or less of it by chance;
/// the exporter has some 25 MiB. A leak of half a KiB for each poll comes to more within five minutes.
const GROWTH_RATIO: f64 = 1.1;
const GROWTH_BYTES: f64 = (4 << 20) as f64;

/// An account of the pool.
struct Account {
    name: String,
    key: String,
    workers: usize,
}

fn accounts() -> Vec<Account> {
    let key = |n: usize| format!("0f1e2d-3c4b5a-{n:06}");
    let small = (1..=SMALL_ACCOUNTS).map(|n| Account { name: format!("small_{n:02}"), key: key(n), workers: SMALL });
    let large = Account { name: "large".to_owned(), key: key(998), workers: LARGE };
    // It comes and goes with the configuration.
    let guest = Account { name: GUEST.to_owned(), key: key(999), workers: SMALL };
    small.chain([large, guest]).collect()
}

const GUEST: &str = "guest";

/// The configuration; it has the guest or has not, and tells its own turn in a label.
fn configuration(base_url: &str, accounts: &[Account], with_guest: bool, turn: usize) -> String {
    let mut yaml = format!(
        "api: {{ base_url: \"{base_url}\", timeout: 2s, concurrency: {CONCURRENCY}, requests_per_second: 1000, \
         page_size: {}, max_response_bytes: {} }}\n\
         polling:\n  live: {{ interval: 1s, stale_after: 8s }}\n  history: {{ interval: 3s, stale_after: 24s }}\n\
         accounts:\n",
        catalogue::PAGE,
        catalogue::MAX_BYTES,
    );
    for account in accounts.iter().filter(|account| with_guest || account.name != GUEST) {
        yaml += &format!("  {}: {{ api_key: \"{}\", labels: {{ turn: \"{turn}\" }} }}\n", account.name, account.key);
    }
    yaml
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.get(1).map(String::as_str) {
        Some(exporter::ARGUMENT) => runtime.block_on(exporter::run(&arguments[2..])),
        // What cargo hands on to every test: a name that is looked for, options of the usual harness.
        Some("--list") => {}
        _ => runtime.block_on(soak()),
    }
}

/// A number from the environment.
fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

async fn soak() {
    let minutes: f64 = setting("SOAK_MINUTES").unwrap_or(5.0);
    let seed: u64 = setting("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    let duration = Duration::from_secs_f64(minutes * 60.0);
    let rounds = (duration.as_secs_f64() / ROUND.as_secs_f64()).round().max(2.0) as u32;
    println!("{minutes} minutes in {rounds} rounds; SOAK_SEED={seed}");

    let accounts = accounts();
    let begin: Timestamp = BEGIN.parse().unwrap();
    let clock = Clock::simulated(begin, SPEED);
    let started = exporter::unix_now();
    // The list of workers comes from the churn; what else there is follows from a few machines.
    let farm = accounts.iter().map(|account| (account.name.clone(), account.key.clone(), 5));
    let pool = FaultyPool::start(SimulatedPool::of(Farm::of(seed, begin, farm), clock)).await;
    let churn = Arc::new(Churn::new(clock, accounts.iter().map(|account| (account.name.clone(), account.workers))));
    let rewriting = churn.clone();
    pool.rewrite(move |asked, offset, good| rewriting.rewrite(asked, offset, good));
    let elsewhere = Elsewhere::start().await;
    let mut storm = Storm::new(seed, &elsewhere.authority(), accounts.iter().map(|account| account.name.clone()));
    println!("{} faults in each round; left out: {}", storm.faults(), storm.left_out().join("; "));

    let directory = tempfile::tempdir().unwrap();
    let configure = |with_guest, turn| configuration(&pool.base_url(), &accounts, with_guest, turn);
    let mut child = Child::start(directory.path(), &configure(false, 0), started).await;
    let mut watch = Watch::new(child.url(), accounts.iter().map(|account| account.name.clone()));
    let mut ledger = Ledger::default();
    let mut soak = Soak { pool: &pool, churn: &churn, baseline: None, changes: Changes::default(), shown_last: None };

    // Everything was polled, and all places in flight were used, before anything is compared.
    soak.calm(&mut child, &mut watch, &mut ledger, false).await;
    let run = Instant::now();
    watch.begin_run(run);
    for round in 1..=rounds {
        let end = duration.mul_f64(f64::from(round) / f64::from(rounds)).saturating_sub(CALM);
        storm.begin_round(end.saturating_sub(run.elapsed()), round % 3 == 1);
        while run.elapsed() < end {
            storm.go_on(&pool);
            ledger.take(&pool);
            watch.look_when_due().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let with_guest = round % 2 == 1 && round < rounds;
        child.configure(&configure(with_guest, round as usize)).await;
        let healed = soak.calm(&mut child, &mut watch, &mut ledger, with_guest).await;
        println!(
            "round {round:2}: {} faults so far, {} requests, {} workers; all well after {:.1} s",
            storm.begun(),
            ledger.total(),
            soak.shown_last.as_ref().map_or(0, BTreeSet::len),
            healed.as_secs_f64()
        );
        // What is left of the round is calm, too.
        let end = end + CALM;
        while run.elapsed() < end {
            watch.look_when_due().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let took = run.elapsed();
    let log = child.stop().await;

    let changes = &soak.changes;
    println!(
        "\n{:.1} simulated hours in {:.0} s: {} faults, {} requests, {} polls ({} failed), {} scrapes, {} series at most",
        took.as_secs_f64() * SPEED / 3600.0,
        took.as_secs_f64(),
        storm.begun(),
        ledger.total(),
        watch.polls,
        watch.failures,
        watch.scrapes,
        watch.most_series,
    );
    println!(
        "seen from calm to calm: {} workers came, {} went, {} were renamed; {} times was the guest's account there",
        changes.came,
        changes.went,
        changes.renamed,
        rounds / 2
    );
    println!(
        "log: {} lines, {} warnings, {} errors",
        log.lines().count(),
        log.lines().filter(|line| level(line) == Some("level=warn")).count(),
        log.lines().filter(|line| level(line) == Some("level=error")).count(),
    );
    let tenths = watch.tenths(duration);
    println!(
        "\n| of the run | resident memory, MiB (median) | descriptors (median) | processor, s |\n|---|---|---|---|"
    );
    for (index, tenth) in tenths.iter().enumerate() {
        println!(
            "| {} % | {:.1} | {} | {:.1} |",
            (index + 1) * 10,
            tenth.memory / f64::from(1 << 20),
            tenth.descriptors,
            tenth.processor
        );
    }

    // What is no line of the log at all is what a panic writes.
    let fine = |line: &&str| matches!(level(line), Some("level=info" | "level=warn"));
    let bad: Vec<_> = log.lines().filter(|line| !fine(line)).collect();
    assert!(bad.is_empty(), "the log:\n{}", bad.join("\n"));
    let (second, last) = (tenths[1].memory, tenths[9].memory);
    assert!(last <= second * GROWTH_RATIO + GROWTH_BYTES, "memory grew from {second} to {last} bytes");
    let least = (minutes * 20.0) as usize;
    assert!(changes.came > least && changes.went > least && changes.renamed > least, "that was no churn: {changes:?}");
    assert_eq!(elsewhere.received(), b"", "a redirect was followed");
    println!("\nnothing grew, nothing lingered, and everything adds up");
}

/// The level of a line of the log: its second field. What the pool says may look like one, too, further behind.
fn level(line: &str) -> Option<&str> {
    line.starts_with("ts=").then(|| line.split(' ').nth(1)).flatten()
}

/// What became of the workers.
#[derive(Debug, Default)]
struct Changes {
    came: usize,
    went: usize,
    renamed: usize,
}

impl Changes {
    fn note(&mut self, before: &BTreeSet<churn::Shown>, now: &BTreeSet<churn::Shown>) {
        let ids = |shown: &BTreeSet<churn::Shown>| -> BTreeSet<u64> { shown.iter().map(|worker| worker.id).collect() };
        let (ids_before, ids_now) = (ids(before), ids(now));
        self.came += ids_now.difference(&ids_before).count();
        self.went += ids_before.difference(&ids_now).count();
        self.renamed += now.difference(before).filter(|worker| ids_before.contains(&worker.id)).count();
    }
}

struct Soak<'a> {
    pool: &'a FaultyPool,
    churn: &'a Churn,
    /// Descriptors and tasks at the first quiet moment, without connections to the pool and without the guest.
    baseline: Option<(f64, usize)>,
    changes: Changes,
    /// The workers shown at the last quiet moment; the guest's are left out.
    shown_last: Option<BTreeSet<churn::Shown>>,
}

impl Soak<'_> {
    /// The pool is well, and nobody comes or goes, until the exporter shows exactly what there is, and its books agree
    /// with the pool's. Tells how long it took until everything was well.
    async fn calm(&mut self, child: &mut Child, watch: &mut Watch, ledger: &mut Ledger, with_guest: bool) -> Duration {
        self.pool.heal();
        self.churn.freeze();
        let begin = Instant::now();
        let wanted = self.churn.workers(|account| with_guest || account != GUEST);
        until("exactly what the pool has is shown", async || {
            let scrape = watch.scrape().await;
            scrape.is_exactly(&wanted, SMALL_ACCOUNTS + 1 + usize::from(with_guest))
        })
        .await;
        let healed = begin.elapsed();
        // The pool wants to be left alone for a moment, so that nothing is in flight. Unlike 429 and 503 this leaves the
        // exporter its rate.
        let alone = |_: &Asked, _| (500, vec![("retry-after".to_owned(), "8".to_owned())], Vec::new());
        self.pool.inject(Where::at("main_stat", None), Fault::answer(alone));
        until("the pool is left alone", async || match watch.scrape().await.fails("main_stat") {
            true => Ok(()),
            false => Err("main_stat is well".to_owned()),
        })
        .await;
        self.pool.heal();
        until("the books agree", async || {
            // None is in flight, and none came meanwhile, when all three are the same.
            ledger.take(self.pool);
            let before = ledger.total();
            let scrape = watch.scrape().await;
            ledger.take(self.pool);
            if ledger.total() != before {
                return Err("requests came meanwhile".to_owned());
            }
            ledger.compare(&scrape, GUEST)
        })
        .await;
        let mut first = None;
        let guest_tasks = if with_guest { SLOTS } else { 0 };
        let baseline = self.baseline;
        until("descriptors and tasks are as at the beginning", async || {
            let connections = child.connections_to(&self.pool.base_url());
            let tasks = child.tasks().await;
            let scrape = watch.scrape().await;
            let descriptors = scrape.value("process_open_fds");
            if connections != child.connections_to(&self.pool.base_url()) {
                return Err("a connection to the pool came or went meanwhile".to_owned());
            }
            if connections > CONCURRENCY {
                return Err(format!("{connections} connections to the pool"));
            }
            // Each connection to the pool is a descriptor and a task, and how many are kept open is chance.
            let Some(tasks) = tasks.checked_sub(connections + guest_tasks) else {
                return Err(format!("only {tasks} tasks, with {connections} connections to the pool"));
            };
            let now = (descriptors - connections as f64, tasks);
            match baseline {
                None => {
                    // Twice the same in a row, for a beginning.
                    let settled = first.replace(now) == Some(now);
                    if settled { Ok(()) } else { Err(format!("not settled: {now:?}")) }
                }
                Some(baseline) if baseline == now => Ok(()),
                Some(baseline) => Err(format!("{now:?} instead of {baseline:?}, descriptors and tasks")),
            }
        })
        .await;
        if self.baseline.is_none() {
            println!("at the beginning, connections to the pool apart: {first:?} descriptors and tasks");
            self.baseline = first;
        }
        let shown: BTreeSet<_> = wanted.into_iter().filter(|worker| worker.account != GUEST).collect();
        if let Some(before) = &self.shown_last {
            self.changes.note(before, &shown);
        }
        self.shown_last = Some(shown);
        self.churn.thaw();
        healed
    }
}

/// Tries until it is as wanted. A failure shows every reason that there was.
async fn until(what: &str, mut attempt: impl AsyncFnMut() -> Result<(), String>) {
    let reasons = RefCell::new(BTreeSet::new());
    let look = async || match attempt().await {
        Ok(()) => Some(()),
        Err(why) => {
            reasons.borrow_mut().insert(why);
            // A random interval, so as not to meet the same poll again and again.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(20..120))).await;
            None
        }
    };
    support::until(what, look, || format!("{:#?}", reasons.borrow())).await;
}
