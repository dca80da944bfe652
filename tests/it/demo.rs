//! The simulated pool, polled as the real one.

use btcpool_exporter::{
    Exporter,
    clock::Clock,
    collector::{Format, Moment, Scope, View, render},
    config::{Config, Overrides},
    demo::SimulatedPool,
    model::Currency,
    server,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::parser::{self, series};

const NOON: &str = "2026-05-05T04:00:00Z";

/// Serves a simulated pool, polls everything of it once, and gives what an exporter then shows.
async fn polled(seed: u64, at: &str) -> (SimulatedPool, std::collections::BTreeMap<String, f64>) {
    let clock = Clock::simulated(at.parse().unwrap(), 0.0);
    let pool = SimulatedPool::new(seed, clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = pool.base_url(listener.local_addr().unwrap());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server::serve(listener, pool.router(), shutdown.clone()));
    let config = Config::from_yaml("demo", &pool.configuration(&base_url, 1.0), &Overrides::default()).unwrap();
    let exporter = Exporter::new(config, clock).unwrap();
    exporter.poller.once().await;
    let now = Moment { wall: clock.now(), monotonic: std::time::Instant::now() };
    let view = View::take(&exporter.config, &exporter.store, &exporter.telemetry, &Scope::WithoutProcess, now);
    let text = render(view, Format::Classic).unwrap();
    shutdown.cancel();
    serving.await.unwrap();
    (pool, series(&parser::parse(&text, Format::Classic).unwrap()))
}

fn without_durations(mut series: std::collections::BTreeMap<String, f64>) -> std::collections::BTreeMap<String, f64> {
    series.retain(|name, _| !name.contains("_duration_seconds") && !name.contains("_last_reload_"));
    series
}

#[tokio::test]
async fn same_seed_gives_the_same_farm() {
    let (_, first) = polled(7, NOON).await;
    let (_, again) = polled(7, NOON).await;
    let (_, other) = polled(8, NOON).await;
    assert_eq!(without_durations(first.clone()), without_durations(again));
    assert_ne!(without_durations(first), without_durations(other));
}

#[tokio::test]
async fn demo_shows_every_machine() {
    let (pool, seen) = polled(1, NOON).await;
    let now = NOON.parse::<jiff::Timestamp>().unwrap().as_second();
    let farm = pool.farm();
    let mut machines = 0;
    for account in farm.accounts.iter().filter(|account| account.key_valid) {
        for holding in &account.holdings {
            let own = format!("account={:?},currency=\"{}\"", account.name, holding.currency);
            let listed = seen[&format!("btcpool_account_workers_listed{{{own}}}")];
            assert_eq!(listed, holding.machines.len() as f64);
            assert_eq!(seen[&format!("btcpool_account_workers_reported{{{own}}}")], listed);
            for machine in &holding.machines {
                machines += 1;
                let labels = |window| {
                    let worker = format!("worker={:?},worker_id=\"{}\"", machine.name, machine.id);
                    format!("btcpool_worker_hashrate_hashes_per_second{{{own},window=\"{window}\",{worker}}}")
                };
                let reading = farm.read(machine, now);
                for (window, hashrate) in [("10m", reading.ten_minutes), ("1h", reading.hour), ("24h", reading.day)] {
                    assert_eq!(seen.get(&labels(window)), Some(&hashrate), "{}", labels(window));
                }
            }
        }
    }
    assert!(machines > 390, "{machines}");
    // The account whose key is refused shows how its polling goes, and nothing else.
    let refused: Vec<_> = seen.keys().filter(|name| name.contains("former_client")).collect();
    assert!(refused.iter().any(|name| name.contains("reason=\"auth\"")));
    assert!(!refused.iter().any(|name| name.contains("btcpool_worker_")), "{refused:#?}");
}

#[tokio::test]
async fn demo_has_what_real_farms_have() {
    let (pool, seen) = polled(1, NOON).await;
    let currencies: std::collections::BTreeSet<_> =
        pool.farm().accounts.iter().flat_map(|account| &account.holdings).map(|holding| holding.currency).collect();
    assert_eq!(currencies.into_iter().collect::<Vec<_>>(), Currency::ALL);
    let twins = seen.keys().filter(|name| name.starts_with("btcpool_worker_active") && name.contains("S19jPro.0587"));
    assert_eq!(twins.count(), 2, "two workers of one name");
    assert!(seen.keys().any(|name| name.contains("Гараж")));
    // 400 days are over, less the one that is missing from the books.
    let payments: Vec<_> = seen.iter().filter(|(name, _)| name.starts_with("btcpool_account_payments{")).collect();
    assert!(payments.iter().all(|(_, count)| (100.0..400.0).contains(*count)), "{payments:?}");
    for name in ["btcpool_account_income_today_coins", "btcpool_account_income_last_day_coins"] {
        let family = seen.iter().filter(|(series, _)| series.starts_with(name));
        assert_eq!(family.clone().count(), 10);
        assert!(family.into_iter().all(|(_, coins)| *coins > 0.0));
    }
}

#[test]
fn rack_dies_and_worker_is_removed() {
    let began: jiff::Timestamp = NOON.parse().unwrap();
    let pool = SimulatedPool::new(1, Clock::simulated(began, 0.0));
    let farm = pool.farm();
    let hall = &farm.accounts[0].holdings[0];
    let at = |minutes: i64| began.as_second() + minutes * 60;
    let rack = |minutes| {
        let machines = hall.machines.iter().filter(|machine| machine.name.starts_with("h1-r07-"));
        machines.map(|machine| farm.read(machine, at(minutes)).ten_minutes).sum::<f64>()
    };
    assert!(rack(0) > 1e15 && rack(10) > 1e15);
    // Ten minutes after its last share a machine's ten-minute figure is zero.
    assert_eq!(rack(20), 0.0);
    assert_eq!(rack(30), 0.0);
    assert!(rack(40) > 1e15);
    let dead = hall.machines.iter().find(|machine| machine.name == "h1-r07-p01").unwrap();
    assert_eq!(farm.read(dead, at(25)).last_active, at(10));
    assert_eq!(farm.read(dead, at(60)).last_active, at(60));
    let listed = |minutes| hall.machines.iter().filter(|machine| farm.is_listed(machine, at(minutes))).count();
    assert_eq!([listed(0), listed(59), listed(60), listed(239), listed(240)], [200, 200, 199, 199, 200]);
}

#[test]
fn demo_time_can_run_fast_or_stand_still() {
    let at = NOON.parse().unwrap();
    let (fast, still) = (Clock::simulated(at, 1e6), Clock::simulated(at, 0.0));
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert!(fast.now().as_second() - at.as_second() >= 2000);
    assert_eq!(still.now(), at);
}
