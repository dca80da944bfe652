//! The matrix: every fault of the catalogue, at every endpoint that it makes sense for, against the program itself.
//!
//! Each run has a pool, an exporter and its accounts to itself. All slots of all accounts are watched from the first
//! poll to the last: those that have the fault must show it, and no other may. What a scrape must show is judged by the
//! clock before and after it, so that a slow machine changes nothing.
//!
//! `FAULTS=word cargo test --test faults matrix` runs the faults whose names hold the word.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    clock::Clock,
    demo::{Farm, SimulatedPool},
};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    canary::Canary,
    program::{Exporter, Scrape},
    support::{
        PATIENCE,
        catalogue::{ALL, CATALOGUE, Entry, Expect, Kind, MAX_BYTES, PAGE, Scope, Series, Shown, WORKERS},
        certificates::Authority,
        noon::noon,
        parser::Sample,
        pool::faulty::{Elsewhere, FaultyPool, Transport, Where},
        program::fields,
    },
};

/// Runs side by side.
const SIDE_BY_SIDE: usize = 16;

/// What the program may hold at the most, in KiB. It takes some 23 MiB as a rule; the unpacked bombs would be 80.
const MAX_MEMORY: u64 = 64 << 10;

/// `api.timeout` and `stale_after`, in seconds. The timeout is short only where it is what is looked at; and when the
/// pages of several lists stall at once, the last of them have waited for two others to time out: three timeouts must
/// fit in before the old values are stale.
fn times(entry: &Entry) -> (f64, f64) {
    if entry.takes_too_long() { (5.0, 24.0) } else { (30.0, 9.0) }
}

/// How many polls after a change have ended when it must show: the first may have begun before it, and what a history
/// lost may need another one.
const SETTLED: f64 = 4.0;

/// How exact the published times are, in seconds, and how much the program's two clocks may drift apart.
const EXACT: f64 = 0.05;

/// From one scrape to the next.
const BETWEEN_SCRAPES: Duration = Duration::from_millis(800);

/// How often a run is tried on a machine that is too slow for it.
const TRIES: usize = 5;

/// `concurrency`.
const CONCURRENCY: usize = 8;

/// `api.retry_after_max`, in seconds: longer than `stale_after`, so that the old values are seen to leave in the pause.
const RETRY_AFTER_MAX: u64 = 15;

/// How long a list without an end may be read.
const LONG_PATIENCE: Duration = Duration::from_secs(420);

/// Made-up keys.
const KEYS: [&str; 3] =
    ["Qz7Wx4-Vp2Ymk-Jr9Txb-Hn6Gcd-Lf3Sqw", "Ux5Zkq-Mw8Jyv-Gt3Pzr-Kd9Xhn-Yb4Vjs", "Xj6Hqm-Zr5Kwt-Vn8Lyg-Ps4Qxk-Wh9Tzd"];

/// One endpoint of one account; `main_stat` has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    endpoint: &'static str,
    account: Option<String>,
}

/// What a scrape shows of a slot.
#[derive(Clone, Debug, Default)]
struct Shows {
    up: Option<f64>,
    reasons: Vec<String>,
    last_success: Option<f64>,
    polls: f64,
    failures: f64,
    series: Series,
}

type Slots = BTreeMap<Slot, Shows>;

/// The endpoint that a family's samples come from, unless they come from the configuration or the program itself.
fn endpoint_of(family: &str) -> Option<&'static str> {
    let rest = family.strip_prefix("btcpool_")?;
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| rest.starts_with(prefix));
    if begins(&["network_block_subsidy", "account_expected", "account_info", "exporter_"]) {
        None
    } else if begins(&["pool_", "network_"]) {
        Some("main_stat")
    } else if begins(&["account_workers_", "worker_"]) {
        Some("workers")
    } else if begins(&["account_income"]) {
        Some("profit_history")
    } else if begins(&["account_pa", "account_last_payment"]) {
        Some("payment_history")
    } else if begins(&["account_workers", "account_hashrate", "account_balance"]) {
        Some("summary_data")
    } else {
        None
    }
}

fn slots(scrape: &Scrape) -> Slots {
    let mut slots = Slots::new();
    for sample in &scrape.samples {
        let account = sample.label("account").map(str::to_owned);
        if let Some(endpoint) = endpoint_of(&sample.name) {
            slots.entry(Slot { endpoint, account }).or_default().series.insert(sample.series(), sample.value);
            continue;
        }
        let Some(endpoint) = ALL.iter().find(|endpoint| sample.label("endpoint") == Some(endpoint)) else { continue };
        let slot = || slots.entry(Slot { endpoint, account });
        match sample.name.as_str() {
            "btcpool_up" => slot().or_default().up = Some(sample.value),
            "btcpool_poll_error" => slot().or_default().reasons.extend(sample.label("reason").map(str::to_owned)),
            "btcpool_last_success_timestamp_seconds" => slot().or_default().last_success = Some(sample.value),
            "btcpool_exporter_polls_total" => slot().or_default().polls = sample.value,
            "btcpool_exporter_poll_failures_total" => slot().or_default().failures = sample.value,
            _ => {}
        }
    }
    slots
}

/// A counter's samples by endpoint and another label.
fn counts(scrape: &Scrape, family: &str, label: &str) -> BTreeMap<(String, String), f64> {
    let of = |sample: &Sample| Some((sample.label("endpoint")?.to_owned(), sample.label(label)?.to_owned()));
    let samples = scrape.samples.iter().filter(|sample| sample.name == family);
    samples.filter_map(|sample| Some((of(sample)?, sample.value))).collect()
}

/// What of a counter grew between two scrapes.
fn grown(before: &Scrape, after: &Scrape, family: &str, label: &str) -> BTreeSet<(String, String)> {
    let before = counts(before, family, label);
    let more = |(key, value): &(_, f64)| before.get(key).is_none_or(|before| before < value);
    counts(after, family, label)
        .into_iter()
        .filter(more)
        .filter(|(_, value)| *value > 0.0)
        .map(|(key, _)| key)
        .collect()
}

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The fault is there.
    Faulty,
    /// The pool is good again.
    Healing,
}

/// One run.
struct Run {
    entry: &'static Entry,
    /// The slots that have the fault.
    cells: BTreeSet<Slot>,
    exporter: Exporter,
    canary: Canary,
    /// Every line of every scrape and page that was searched already.
    searched: HashSet<String>,
    /// What the slots showed before the fault.
    before: Slots,
    /// The slots that were seen failing.
    failing: BTreeSet<Slot>,
    /// The slots that were seen with their old values while failing, and without them.
    kept: BTreeSet<Slot>,
    left: BTreeSet<Slot>,
    /// The slots that were seen up again.
    healed: BTreeSet<Slot>,
}

impl Run {
    /// Scrapes, and holds what is shown to what must be.
    async fn look(&mut self, phase: Phase) -> (Scrape, Slots) {
        let scrape = self.exporter.scrape().await;
        self.search(&scrape.text);
        let now = slots(&scrape);
        let slots: Vec<_> = self.before.keys().cloned().collect();
        assert!(now.keys().eq(slots.iter()), "slots came or went: {:?}", now.keys());
        for slot in slots {
            self.judge(&slot, &now[&slot], (scrape.begin, scrape.end), phase);
        }
        (scrape, now)
    }

    fn judge(&mut self, slot: &Slot, now: &Shows, (begin, end): (f64, f64), phase: Phase) {
        let before = &self.before[slot];
        let is_cell = self.cells.contains(slot);
        // The old values, or nothing, by their age.
        let last_success = now.last_success.unwrap_or_else(|| panic!("{slot:?} never succeeded"));
        let (_, stale_after) = times(self.entry);
        let fresh = end < last_success + stale_after - EXACT;
        let stale = begin > last_success + stale_after + EXACT;
        if fresh {
            let good = is_same(&now.series, &before.series)
                || (is_cell && self.shown(slot).is_some_and(|shown| shown.holds(&now.series)));
            // A poll that was under way may have seen something of both; and histories are read in parts.
            let between = is_cell
                && match &self.entry.expect {
                    Expect::Shows { .. } => phase == Phase::Healing || now.polls < before.polls + SETTLED,
                    // A list without an end has an end for who knows its total from before.
                    Expect::Fails { request, .. } => request.is_empty() && !self.failing.contains(slot),
                };
            assert!(good || between, "{slot:?}: {}", difference(&now.series, &before.series));
        } else if stale {
            assert_eq!(now.series, Series::new(), "{slot:?} shows values {:.2} s old", begin - last_success);
        }
        let Expect::Fails { reason, .. } = self.entry.expect else {
            assert_eq!((now.up, &*now.reasons), (Some(1.0), &[][..]), "{slot:?}");
            return;
        };
        let up = now.up == Some(1.0);
        if !is_cell {
            assert!(up && now.reasons.is_empty() && now.failures == before.failures, "{slot:?}: {}", brief(now));
            return;
        }
        let reasons = if up { vec![] } else { vec![reason.to_owned()] };
        // The poll that was under way when things changed may have seen something of both.
        let on_the_way = now.failures == before.failures + 1.0 || phase == Phase::Healing;
        let transitional = on_the_way && now.reasons.iter().all(|seen| self.on_the_way().contains(&seen.as_str()));
        assert!(now.reasons == reasons || (!up && transitional), "{slot:?}: {}", brief(now));
        assert!(up || now.up == Some(0.0), "{slot:?}: {}", brief(now));
        match phase {
            Phase::Faulty => {
                assert!(!up || !self.failing.contains(slot), "{slot:?} was up in between");
                if !up {
                    self.failing.insert(slot.clone());
                    assert!(now.failures > before.failures && now.polls > before.polls, "{slot:?}: {}", brief(now));
                    if fresh {
                        self.kept.insert(slot.clone());
                    }
                    if stale {
                        self.left.insert(slot.clone());
                    }
                }
            }
            Phase::Healing => {
                assert!(up || !self.healed.contains(slot), "{slot:?} failed again");
                if up {
                    self.healed.insert(slot.clone());
                }
            }
        }
    }

    /// Reasons that may be seen once while things change.
    fn on_the_way(&self) -> &'static [&'static str] {
        // Of a list some pages came before the change; connections are cut when the whole pool changes.
        if self.entry.scope == Scope::Pool { &["incomplete", "connect"] } else { &["incomplete"] }
    }

    /// What a slot should show while the fault is there and does not make it fail.
    fn shown(&self, slot: &Slot) -> Option<ShownSeries> {
        let Expect::Shows { series, .. } = &self.entry.expect else { return None };
        let before = &self.before[slot].series;
        Some(match series {
            Shown::Exactly(make) => ShownSeries { series: make(slot.endpoint, before), exactly: true },
            Shown::Names(make) => ShownSeries { series: make(slot.endpoint, before), exactly: false },
        })
    }

    /// Searches a text for the keys, each line once.
    fn search(&mut self, text: &str) {
        for line in text.lines() {
            if self.searched.insert(line.to_owned())
                && let Some(found) = self.canary.found_in(line)
            {
                panic!("{found} in: {line}");
            }
        }
    }

    async fn search_pages(&mut self) {
        for path in ["/", "/sd"] {
            let page = self.exporter.get(path, "*/*").await;
            self.search(&page);
        }
    }
}

struct ShownSeries {
    series: Series,
    exactly: bool,
}

impl ShownSeries {
    fn holds(&self, now: &Series) -> bool {
        if self.exactly { is_same(now, &self.series) } else { now.keys().eq(self.series.keys()) }
    }
}

/// What a slot shows, without its values.
fn brief(shows: &Shows) -> String {
    format!("{:?}", Shows { series: Series::new(), ..shows.clone() })
}

fn is_same(one: &Series, other: &Series) -> bool {
    one == other
}

/// Where two collections of series differ, not more than a few lines of it.
fn difference(now: &Series, expected: &Series) -> String {
    let mut text = String::new();
    let surplus = now.iter().filter(|(name, value)| expected.get(*name) != Some(value)).map(|line| ("shown", line));
    let missing = expected.iter().filter(|(name, value)| now.get(*name) != Some(value)).map(|line| ("expected", line));
    for (what, (name, value)) in surplus.take(8).chain(missing.take(8)) {
        let _ = write!(text, "\n  {what}: {name} {value}");
    }
    format!("{} series where {} are expected:{text}", now.len(), expected.len())
}

/// A simulated pool whose time stands still at noon, and how the exporter must count days so that it is noon there.
fn pool_at_noon(accounts: &[(String, String)]) -> (SimulatedPool, String) {
    let (noon, day_utc_offset) = noon();
    let accounts = accounts.iter().map(|(name, key)| (name.clone(), key.clone(), WORKERS));
    (SimulatedPool::of(Farm::of(7, noon, accounts), Clock::simulated(noon, 0.0)), day_utc_offset)
}

/// The host that has a name in its own namespace only.
const HOST: &str = "pool.invalid";

/// A command that runs another with its own idea of names, kept in a directory; `None` where that cannot be had.
async fn own_names(directory: &Path) -> Option<Vec<String>> {
    let script = "mount --bind \"$0/hosts\" /etc/hosts && mount --bind \"$0/nsswitch.conf\" /etc/nsswitch.conf && \
                  exec \"$@\"";
    std::fs::write(directory.join("nsswitch.conf"), "hosts: files\n").unwrap();
    remember(directory, true);
    let words = ["unshare", "--map-root-user", "--mount", "sh", "-c", script];
    let mut words: Vec<_> = words.into_iter().map(str::to_owned).collect();
    words.push(directory.to_str()?.to_owned());
    let mut probe = tokio::process::Command::new(&words[0]);
    probe.args(&words[1..]).args(["getent", "hosts", HOST]).stdout(std::process::Stdio::null());
    probe.stderr(std::process::Stdio::null());
    probe.status().await.is_ok_and(|status| status.success()).then_some(words)
}

/// Whether the pool's name is known. The file stays the same one: it is mounted.
fn remember(directory: &Path, known: bool) {
    let line = if known { format!("127.0.0.1 {HOST}\n") } else { String::new() };
    std::fs::write(directory.join("hosts"), format!("127.0.0.1 localhost\n{line}")).unwrap();
}

/// What a run found.
struct Found {
    peak_memory: u64,
    took: Duration,
    note: &'static str,
}

/// `None`: it has to be done again, because the machine was too slow for it.
async fn run(entry: &'static Entry, endpoints: &[&'static str]) -> Option<Found> {
    let began = Instant::now();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    // Two accounts share the endpoints that have the fault, so that each has sound ones, too; a third has none.
    let cell = |endpoint: &&'static str| match *endpoint {
        "main_stat" => Slot { endpoint: "main_stat", account: None },
        "summary_data" | "payment_history" => Slot { endpoint, account: Some("broken".to_owned()) },
        endpoint => Slot { endpoint, account: Some("broken_too".to_owned()) },
    };
    let mut cells: BTreeSet<_> = endpoints.iter().map(cell).collect();
    let names: BTreeSet<_> = cells.iter().filter_map(|slot| slot.account.clone()).chain(["sound".to_owned()]).collect();
    let accounts: Vec<_> = names.into_iter().zip(KEYS.map(str::to_owned)).collect();
    if entry.scope == Scope::Pool {
        let each = |account: &str| {
            ALL[1..].iter().map(|&endpoint| Slot { endpoint, account: Some(account.to_owned()) }).collect::<Vec<_>>()
        };
        cells = accounts.iter().flat_map(|(account, _)| each(account)).collect();
        cells.insert(Slot { endpoint: "main_stat", account: None });
    }

    let (simulated, day_utc_offset) = pool_at_noon(&accounts);
    let authority = Authority::new();
    let stranger = Authority::new();
    let trusted = Transport::Tls(authority.server("localhost", false));
    let tls = !matches!(entry.kind, Kind::Answer(_) | Kind::Refuse | Kind::Forget);
    let pool = FaultyPool::start_with(simulated, if tls { trusted.clone() } else { Transport::Plain }).await;
    let elsewhere = Elsewhere::start().await;
    let trust = directory.join("authority.pem");
    std::fs::write(&trust, authority.pem()).unwrap();

    let mut wrapper = Vec::new();
    let base_url = match entry.kind {
        Kind::Forget => match own_names(directory).await {
            Some(words) => {
                wrapper = words;
                pool.base_url_of("http", HOST)
            }
            None => {
                if cfg!(feature = "e2e") {
                    panic!("no namespaces here, so that a name cannot be forgotten");
                }
                return Some(Found {
                    peak_memory: 0,
                    took: began.elapsed(),
                    note: "not run: no mount namespaces here",
                });
            }
        },
        _ if tls => pool.base_url_of("https", "localhost"),
        _ => pool.base_url(),
    };
    let (timeout, stale_after) = times(entry);
    let mut configuration = format!(
        "api: {{ base_url: \"{base_url}\", timeout: {timeout}s, concurrency: {CONCURRENCY}, requests_per_second: 1000, page_size: {PAGE}, \
         max_response_bytes: {MAX_BYTES}, retry_after_max: {RETRY_AFTER_MAX}s, day_utc_offset: \"{day_utc_offset}\", allow_insecure_http: true }}\n\
         polling:\n  live: {{ interval: 1s, stale_after: {stale_after}s }}\n  \
         history: {{ interval: 1s, stale_after: {stale_after}s }}\naccounts:\n"
    );
    for (name, key) in &accounts {
        let _ = writeln!(configuration, "  {name}: {{ api_key: \"{key}\" }}");
    }
    let exporter = Exporter::start(directory, &configuration, &wrapper, tls.then_some(&*trust)).await;
    let canary = Canary::of(accounts.iter().map(|(_, key)| key.as_str()));
    let mut run = Run {
        entry,
        cells,
        exporter,
        canary,
        searched: HashSet::new(),
        before: Slots::new(),
        failing: BTreeSet::new(),
        kept: BTreeSet::new(),
        left: BTreeSet::new(),
        healed: BTreeSet::new(),
    };

    // Until everything is there and has been polled twice: the second reading of a history is a shorter one.
    let begin = Instant::now();
    let first = loop {
        let scrape = run.exporter.scrape().await;
        let slots = slots(&scrape);
        let complete = |shows: &Shows| shows.up == Some(1.0) && shows.polls >= 2.0 && !shows.series.is_empty();
        if slots.len() == 1 + 4 * accounts.len() && slots.values().all(complete) {
            run.before = slots;
            break scrape;
        }
        assert!(
            begin.elapsed() < 2 * PATIENCE,
            "it never begins well:\n{}\n{}",
            scrape.text,
            run.exporter.process.log()
        );
        tokio::time::sleep(BETWEEN_SCRAPES / 2).await;
    };

    match entry.kind {
        Kind::Answer(fault) | Kind::AnswerBehindTls(fault) => {
            for slot in &run.cells {
                pool.inject(Where::at(slot.endpoint, slot.account.as_deref()), fault(&elsewhere.authority()));
            }
        }
        Kind::Refuse => pool.stop_listening().await,
        Kind::Forget => {
            remember(directory, false);
            pool.cut_connections();
        }
        Kind::Untrusted => pool.speak(Transport::Tls(stranger.server("localhost", false))),
        Kind::Misnamed => pool.speak(Transport::Tls(authority.server("elsewhere.invalid", false))),
        Kind::Expired => pool.speak(Transport::Tls(authority.server("localhost", true))),
        Kind::Unencrypted => pool.speak(Transport::Plain),
    }
    let injected = first.end;

    // Until everything that there is to see was seen.
    let begin = Instant::now();
    let mut pages = false;
    let last = loop {
        tokio::time::sleep(BETWEEN_SCRAPES).await;
        let (scrape, now) = run.look(Phase::Faulty).await;
        // Others go on, unless everybody has to wait.
        let others = entry.scope != Scope::Slot
            || now.iter().all(|(slot, shows)| run.cells.contains(slot) || shows.last_success > Some(injected + 2.0));
        let seen = match &entry.expect {
            // Whoever reads a list without an end may be at it until the old values are stale.
            Expect::Fails { request, .. } => run.left == run.cells && (run.kept == run.cells || request.is_empty()),
            Expect::Shows { .. } => {
                run.cells.iter().all(|slot| now[slot].polls >= run.before[slot].polls + SETTLED + 2.0)
            }
        };
        if !pages && run.failing == run.cells {
            pages = true;
            run.search_pages().await;
        }
        if others && seen {
            break scrape;
        }
        if others && matches!(entry.expect, Expect::Fails { .. }) && run.left == run.cells {
            // No scrape came between the failure and the end of the old values: the machine has too much else to do.
            return None;
        }
        // A list without an end is given up after two thousand pages.
        let patience = match &entry.expect {
            Expect::Fails { request: "", .. } => LONG_PATIENCE,
            _ => 2 * PATIENCE,
        };
        assert!(
            begin.elapsed() < patience,
            "not seen within {:?}: failing {:?}, kept {:?}, gone {:?}, others go on: {others}\n{}",
            begin.elapsed(),
            run.failing,
            run.kept,
            run.left,
            run.exporter.process.log()
        );
    };
    run.search_pages().await;
    for slot in run.cells.clone() {
        if let Some(shown) = run.shown(&slot) {
            let now = &slots(&last)[&slot].series;
            assert!(shown.holds(now), "{slot:?}: {}", difference(now, &shown.series));
        }
    }
    judge_counters(&run, &first, &last);

    judge_requests(&mut run, &pool).await;

    // And back again.
    pool.heal();
    match entry.kind {
        Kind::Answer(_) | Kind::AnswerBehindTls(_) => {}
        Kind::Refuse => pool.listen_again().await,
        Kind::Forget => remember(directory, true),
        Kind::Untrusted | Kind::Misnamed | Kind::Expired | Kind::Unencrypted => pool.speak(trusted),
    }
    let begin = Instant::now();
    loop {
        let (_, now) = run.look(Phase::Healing).await;
        let well = |(slot, shows): (&Slot, &Shows)| shows.up == Some(1.0) && shows.series == run.before[slot].series;
        let fails = matches!(entry.expect, Expect::Fails { .. });
        if now.iter().all(well) && (!fails || run.healed == run.cells) {
            break;
        }
        assert!(begin.elapsed() < 2 * PATIENCE, "it does not heal:\n{}", run.exporter.process.log());
        tokio::time::sleep(BETWEEN_SCRAPES).await;
    }
    run.search_pages().await;
    let peak_memory = run.exporter.process.peak_memory();
    run.exporter.process.stop().await;
    let log = run.exporter.process.log();
    run.search(&log);
    judge_log(&run, &log);
    assert!(peak_memory < MAX_MEMORY, "it held {peak_memory} KiB");
    assert_eq!(String::from_utf8_lossy(&elsewhere.received()), "", "somebody came where nobody should");
    Some(Found { peak_memory, took: began.elapsed(), note: "" })
}

/// What the pool saw, against what the program says that it asked.
async fn judge_requests(run: &mut Run, pool: &FaultyPool) {
    let asked = |endpoint: &str| {
        let requests = pool.requests().iter().filter(|asked| asked.endpoint == endpoint).count();
        requests - pool.unanswered(endpoint)
    };
    let before: Vec<_> = ALL.iter().map(|endpoint| asked(endpoint)).collect();
    let scrape = run.exporter.scrape().await;
    let counted = counts(&scrape, "btcpool_exporter_api_requests_total", "code");
    for (endpoint, before) in ALL.iter().zip(before) {
        let counted: f64 = counted.iter().filter(|((of, _), _)| of == endpoint).map(|(_, count)| count).sum();
        let after = asked(endpoint) as f64;
        // Those that are on their way are not counted yet.
        let least = before as f64 - CONCURRENCY as f64;
        // Not every request reaches a pool that refuses connections.
        let most = if run.entry.scope == Scope::Pool { f64::INFINITY } else { after };
        assert!((least..=most).contains(&counted), "{endpoint}: {before} to {after} asked, {counted} counted");
    }
    for asked in pool.requests() {
        let whose = if asked.endpoint == "main_stat" { None } else { asked.account.as_deref() };
        assert_eq!(asked.header("x-api-key").is_some(), whose.is_some(), "{asked:?}");
    }
}

/// The counters of requests and of anomalies.
fn judge_counters(run: &Run, first: &Scrape, last: &Scrape) {
    let endpoints: BTreeSet<_> = run.cells.iter().map(|slot| slot.endpoint).collect();
    let mut failures = BTreeSet::new();
    let mut codes = BTreeSet::new();
    let mut anomalies = BTreeSet::new();
    let mut cut = BTreeSet::new();
    for endpoint in endpoints {
        let add = |set: &mut BTreeSet<_>, value: &str| set.insert((endpoint.to_owned(), value.to_owned()));
        match &run.entry.expect {
            Expect::Fails { request, code, .. } => {
                if !request.is_empty() {
                    add(&mut failures, request);
                }
                add(&mut codes, code);
                if run.entry.scope == Scope::Pool {
                    // Connections are cut when the whole pool changes.
                    cut.insert((endpoint.to_owned(), "connect".to_owned()));
                    add(&mut codes, "none");
                }
                // Fields are odd in rows that are given up in the end.
                if request.is_empty() {
                    anomalies = grown(first, last, "btcpool_exporter_schema_anomalies_total", "field");
                }
            }
            Expect::Shows { fields, .. } => {
                for field in fields(endpoint) {
                    add(&mut anomalies, field);
                }
            }
        }
    }
    let grown = |family, label| grown(first, last, family, label);
    let mut seen = grown("btcpool_exporter_api_request_failures_total", "reason");
    seen.retain(|seen| failures.contains(seen) || !cut.contains(seen));
    assert_eq!(seen, failures);
    let seen = grown("btcpool_exporter_api_requests_total", "code");
    let unexpected: Vec<_> = seen.iter().filter(|seen| seen.1 != "200" && !codes.contains(seen)).collect();
    assert!(codes.is_subset(&seen) && unexpected.is_empty(), "codes {seen:?} where {codes:?} are expected");
    assert_eq!(grown("btcpool_exporter_schema_anomalies_total", "field"), anomalies);
}

/// The log: each slot's trouble at its beginning and at its end, and no other trouble.
fn judge_log(run: &Run, log: &str) {
    let mut expected = BTreeMap::<_, usize>::new();
    let mut seen = BTreeMap::<_, usize>::new();
    for slot in &run.cells {
        let account = slot.account.clone().unwrap_or_default();
        match &run.entry.expect {
            Expect::Fails { reason, .. } => {
                *expected
                    .entry(("warn", slot.endpoint.to_owned(), account.clone(), (*reason).to_owned()))
                    .or_default() += 1;
                *expected.entry(("info", slot.endpoint.to_owned(), account, (*reason).to_owned())).or_default() += 1;
            }
            Expect::Shows { fields, .. } => {
                for field in fields(slot.endpoint) {
                    *expected
                        .entry(("warn", slot.endpoint.to_owned(), account.clone(), (*field).to_owned()))
                        .or_default() += 1;
                }
            }
        }
    }
    let mut others = Vec::new();
    for line in log.lines() {
        let fields = fields(line);
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let what = ["reason", "after", "field"].map(field).concat();
        match (field("level").as_str(), field("message").as_str()) {
            ("debug", _) => {}
            ("warn", _) if !what.is_empty() => {
                *seen.entry(("warn", field("endpoint"), field("account"), what)).or_default() += 1;
            }
            ("warn", message) if message.contains("reports another total") => {
                *seen.entry(("warn", field("endpoint"), field("account"), "total".to_owned())).or_default() += 1;
            }
            ("info", _) if !what.is_empty() => {
                *seen.entry(("info", field("endpoint"), field("account"), what)).or_default() += 1;
            }
            ("info", _) => {}
            // What concerns everybody.
            ("warn", message) if message.contains("percent") && run.entry.name.contains("percent") => {}
            ("warn", message) if message.contains("longer than workers.max") && run.entry.name.contains("millions") => {
            }
            ("warn", _) if matches!(run.entry.scope, Scope::Pause | Scope::LongPause) => {}
            _ => others.push(line),
        }
    }
    if matches!(run.entry.expect, Expect::Fails { reason: "auth", .. }) {
        // A refused key is said again and again.
        seen.iter_mut().filter(|(key, _)| key.0 == "warn").for_each(|(_, count)| *count = 1);
    }
    if matches!(run.entry.expect, Expect::Fails { request: "", .. }) {
        // Fields are odd in rows that are given up in the end.
        seen.retain(|key, _| key.0 != "warn" || expected.contains_key(key));
    }
    if let Expect::Fails { reason, .. } = run.entry.expect {
        // What was seen while things changed; once at each change.
        for &passing in run.on_the_way().iter().filter(|&&passing| passing != reason) {
            let those: Vec<_> = seen.keys().filter(|key| key.3 == passing).cloned().collect();
            for key in those {
                let slot =
                    Slot { endpoint: ALL.iter().find(|&&all| all == key.1).unwrap(), account: Some(key.2.clone()) };
                let slot = if key.2.is_empty() { Slot { account: None, ..slot } } else { slot };
                let count = seen.remove(&key).unwrap_or_default();
                assert!(run.cells.contains(&slot) && count <= 2, "the log says otherwise, {key:?}:\n{log}");
                if key.0 == "info" {
                    seen.insert((key.0, key.1, key.2, reason.to_owned()), count);
                }
            }
        }
        seen.iter_mut()
            .filter(|(key, _)| key.3 == reason && run.entry.scope == Scope::Pool)
            .for_each(|(_, count)| *count = (*count).min(1));
    }
    assert_eq!(seen, expected, "the log says otherwise:\n{log}");
    assert_eq!(others, Vec::<&str>::new(), "the log says more");
}

/// The rows of the table: the catalogue, with what was found.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn matrix() {
    // Fails when it is installed already, which is as good.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let wanted = std::env::var("FAULTS").unwrap_or_default();
    let gate = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut runs = JoinSet::new();
    let mut places = BTreeMap::new();
    let began = Instant::now();
    for entry in CATALOGUE.iter().filter(|entry| entry.name.contains(&wanted)) {
        let sets: Vec<&'static [&'static str]> = match entry.scope {
            Scope::Slot => vec![entry.at],
            Scope::Pause | Scope::LongPause => entry.at.chunks(1).collect(),
            Scope::Pool => vec![&["workers"]],
        };
        for endpoints in sets {
            let gate = gate.clone();
            let handle = runs.spawn(async move {
                let _permit = gate.acquire().await.unwrap();
                for _ in 0..TRIES {
                    if let Some(found) = run(entry, endpoints).await {
                        return found;
                    }
                }
                panic!("no scrape came in time, {TRIES} times");
            });
            places.insert(handle.id(), format!("{} ({})", entry.name, endpoints.join(", ")));
        }
    }
    let total = runs.len();
    let (mut failed, mut peak, mut notes) = (Vec::new(), 0, Vec::new());
    while let Some(ended) = runs.join_next_with_id().await {
        match ended {
            Ok((id, found)) => {
                peak = peak.max(found.peak_memory);
                let note = if found.note.is_empty() { String::new() } else { format!(" ({})", found.note) };
                eprintln!("ok {:5.1} s {:6} KiB {}{note}", found.took.as_secs_f64(), found.peak_memory, places[&id]);
                if !found.note.is_empty() {
                    notes.push(format!("{}: {}", places[&id], found.note));
                }
            }
            Err(error) => {
                eprintln!("FAILED {}", places[&error.id()]);
                let place = places[&error.id()].clone();
                let panic = error.try_into_panic().ok();
                let text = panic.map_or_else(String::new, |panic| match panic.downcast::<String>() {
                    Ok(text) => *text,
                    Err(panic) => panic.downcast::<&str>().map_or_else(|_| String::new(), |text| (*text).to_owned()),
                });
                failed.push(format!("== {place}\n{text}"));
            }
        }
    }
    println!("{}", crate::docs::table());
    println!("{total} runs, {:.0} s, at the most {peak} KiB resident", began.elapsed().as_secs_f64());
    notes.iter().for_each(|note| println!("{note}"));
    assert!(failed.is_empty(), "{} of {total} failed:\n{}", failed.len(), failed.join("\n"));
}
