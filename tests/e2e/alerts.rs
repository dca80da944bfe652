//! The alert rules over hours of the simulated pool's life: none cries over a healthy farm.

use std::collections::BTreeMap;

use btcpool_exporter::demo::{Farm, Incident, Trouble};
use jiff::Timestamp;

use crate::{
    past::{self, Span},
    programs::Prometheus,
    scraping::{prometheus, query},
};

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// Accounts of one and of thirty machines. One machine in twelve reboots on a day, for two to ten minutes.
fn healthy(from: i64, days: i64) -> Farm {
    let accounts = [("garage", 1), ("hall", 30)];
    let key = |name: &str| format!("{name}-healthy-healthy");
    let accounts = accounts.map(|(name, machines)| (name.to_owned(), key(name), machines));
    let mut farm = Farm::of(3, Timestamp::from_second(from).unwrap(), accounts);
    farm.stops = (2 * MINUTE, 10 * MINUTE);
    farm.days = 60;
    // The API is out for a moment now and then, some thirty times a day; not at two polls in a row, which are five
    // minutes apart here.
    let turns = (0..days * DAY / 300).step_by(2).filter(|&turn| farm.chance([turn.unsigned_abs(), 0, 99]) < 0.2);
    let hiccup = |turn: i64| Incident {
        trouble: Trouble::ApiOut,
        account: String::new(),
        machines: String::new(),
        from: from + turn * 300,
        to: from + turn * 300 + 2 * MINUTE,
    };
    farm.incidents = turns.map(hiccup).collect();
    farm
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_week_raises_nothing() {
    let program = prometheus();
    const DAYS: i64 = 7;
    let from = past::hours_before(Timestamp::now(), DAYS * 24);
    let span = Span { from, to: from + DAYS * DAY, step: 150, scrapes_per_poll: 2, own_figures: false };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let past = past::live(healthy(from, DAYS), span, &program, &data).await;

    let prometheus = Prometheus::start_on(&program, Some(&data), "  []\n").await;
    // It was no week of silence: workers rebooted, polls failed, everything that can be compared was.
    let over =
        |of: &str, resolution: &str| format!("sum(count_over_time(({of})[{}d{resolution}] @ {}))", DAYS, span.to);
    let seen = async |promql: String| query(&prometheus, &promql).await.values().sum::<f64>();
    let stopped = "btcpool_worker_hashrate_hashes_per_second{window=\"10m\"} \
                   < ignoring (window) 0.5 * btcpool_worker_hashrate_hashes_per_second{window=\"24h\"}";
    let idle = seen(over(stopped, ":150s")).await;
    let failures = seen(over("btcpool_up == 0", ":150s")).await;
    assert!(idle > 10.0 && failures > 100.0, "{idle} readings at less than half, {failures} failed polls");
    let fired = past.alerts.iter().fold(BTreeMap::<_, usize>::new(), |mut fired, alert| {
        *fired.entry(&alert.name).or_default() += 1;
        fired
    });
    println!(
        "a healthy week of 31 machines: {idle} readings at less than half, {failures} failed polls, {} false alarms {fired:?}",
        past.alerts.len()
    );
    assert_eq!(past.alerts, [], "false alarms");
}
