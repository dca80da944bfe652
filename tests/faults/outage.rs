//! The return of a pool that was away: nobody storms it.

use std::time::{Duration, Instant};

use btcpool_exporter::{
    clock::Clock,
    demo::{Farm, SimulatedPool},
};

use crate::{
    program::Exporter,
    support::{PATIENCE, parser::Sample, pool::faulty::FaultyPool},
};

const ACCOUNTS: usize = 200;

/// Requests in a second that the budget allows; polling needs more than half of it.
const RATE: usize = 150;

/// The live interval, in seconds: two requests for each account.
const INTERVAL: u64 = 5;

/// How many intervals the pool is away.
const OUTAGE: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn recovery_of_200_accounts_is_no_storm() {
    let key = |n: usize| format!("0f1e2d-3c4b5a-{n:06}");
    let accounts = (0..ACCOUNTS).map(|n| (format!("account_{n:03}"), key(n), 3));
    let clock = Clock::system();
    let pool = FaultyPool::start(SimulatedPool::of(Farm::of(1, clock.now(), accounts), clock)).await;
    let mut configuration = format!(
        "api: {{ base_url: \"{}\", requests_per_second: {RATE}, concurrency: 16, page_size: 200 }}\n\
         polling:\n  live: {{ interval: {INTERVAL}s, stale_after: 1h }}\n  \
         history: {{ interval: 30m, stale_after: 1h }}\naccounts:\n",
        pool.base_url()
    );
    for n in 0..ACCOUNTS {
        configuration += &format!("  account_{n:03}: {{ api_key: \"{}\" }}\n", key(n));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut exporter = Exporter::start(directory.path(), &configuration, &[], None).await;
    // Of the live cadence; a history that failed when the pool went is asked half an hour later.
    let slots = (1 + 2 * ACCOUNTS) as f64;
    until_up(&mut exporter, slots).await;

    pool.stop_listening().await;
    let asked = pool.requests().len();
    let began = Instant::now();
    // Every slot of the live cadence has failed, and again and again, when ten intervals are over.
    tokio::time::sleep(Duration::from_secs(INTERVAL * OUTAGE)).await;
    let failures = failures(&mut exporter).await;
    let returned = Instant::now();
    pool.listen_again().await;
    until_up(&mut exporter, slots).await;
    let healed = returned.elapsed();
    // And a while after it, in which they all are back in their cadence.
    tokio::time::sleep(Duration::from_secs(2 * INTERVAL)).await;
    exporter.process.stop().await;

    let times: Vec<_> = pool.requests()[asked..].iter().map(|request| request.at - returned).collect();
    let mut seconds = vec![0_usize; times.last().unwrap().as_secs() as usize + 1];
    for time in &times {
        seconds[time.as_secs() as usize] += 1;
    }
    // The most within any second, not only within whole ones.
    let mut first = 0;
    let peak = (0..times.len()).map(|last| {
        while times[last] - times[first] >= Duration::from_secs(1) {
            first += 1;
        }
        last - first + 1
    });
    let peak = peak.max().unwrap();
    let away = (returned - began).as_secs_f64();
    println!(
        "{ACCOUNTS} accounts, {away:.0} s of outage with {failures} failed polls; all up again after {:.1} s\n\
         requests in each second after the return: {seconds:?}\n\
         at most {peak} in any second; the budget is {RATE} a second after a burst of as many",
        healed.as_secs_f64()
    );
    assert!(peak <= 2 * RATE, "{peak} requests within a second");
    // Asked at the full cadence all the while, it would have been all of them; and it was not given up.
    let (least, most) = (ACCOUNTS as u64 * 2, ACCOUNTS as u64 * 2 * OUTAGE * 8 / 10);
    assert!((least..most).contains(&failures), "{failures} failed polls during the outage");
}

/// Waits until that many slots are up.
async fn until_up(exporter: &mut Exporter, slots: f64) {
    let begin = Instant::now();
    loop {
        let scrape = exporter.scrape().await;
        let live = |sample: &&Sample| {
            sample.name == "btcpool_up" && sample.label("endpoint").is_some_and(|name| !name.ends_with("_history"))
        };
        let up: f64 = scrape.samples.iter().filter(live).map(|sample| sample.value).sum();
        if up == slots {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "only {up} of {slots} slots are up");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Polls that failed.
async fn failures(exporter: &mut Exporter) -> u64 {
    let scrape = exporter.scrape().await;
    let failed = scrape.samples.iter().filter(|sample| sample.name == "btcpool_exporter_poll_failures_total");
    failed.map(|sample| sample.value as u64).sum()
}
