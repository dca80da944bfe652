//! What polling asks of the pool, and what is said when the budget cannot carry it.

use std::time::Duration;

use btcpool_exporter::{
    config::{Config, Overrides},
    demand::Demand,
    store::Store,
    wire::Workers,
};
use jiff::Timestamp;

use crate::harness;

#[test]
fn budget_below_demand_is_reported() {
    let accounts: String = (0..200).map(|n| format!("  a{n}: {{ api_key: {} }}\n", harness::KEY)).collect();
    let yaml = format!("accounts:\n{accounts}");
    let config = Config::from_yaml("test", &yaml, &Overrides::default()).unwrap();
    let demand = Demand::of(&config, &Store::new(&config));
    // Each minute 1 main_stat, 200 summaries, 200 first pages of workers; each quarter of an hour 400 histories.
    assert_eq!((demand.live, demand.history), (401, 400));
    assert_eq!(
        demand.complaint(&config).unwrap(),
        "polling needs 401 requests every 1m and 400 every 15m, 7.13 a second, but api.requests_per_second allows 5, so \
         that data will be older than the interval: set api.requests_per_second to 8, or lengthen polling.live.interval \
         to 1m26s and the other durations of polling in proportion, or divide the accounts (shard)"
    );
    let enough =
        Config::from_yaml("test", &format!("api: {{ requests_per_second: 8 }}\n{yaml}"), &Overrides::default());
    assert_eq!(demand.complaint(&enough.unwrap()), None);
}

/// What the complaint advises when every request is one too many.
fn advice(page_size: usize, accounts: &str, pages: usize) -> String {
    let yaml = format!("api: {{ requests_per_second: 0.001, page_size: {page_size} }}\n{accounts}");
    let config = Config::from_yaml("test", &yaml, &Overrides::default()).unwrap();
    let store = Store::new(&config);
    for slot in store.targets.values().filter_map(|slots| slots.workers.as_ref()) {
        let workers = Workers { pages, ..Workers::default() };
        slot.record(Timestamp::UNIX_EPOCH, Duration::ZERO, Ok(workers));
    }
    let complaint = Demand::of(&config, &store).complaint(&config).unwrap();
    let (_, advice) = complaint.split_once("in proportion").unwrap();
    let (needs, _) = complaint.split_once(", but").unwrap();
    format!("{needs}{advice}")
}

#[test]
fn demand_report_advises_what_helps() {
    let one = harness::one_account();
    for (accounts, pages, expected) in [
        ("", 1, "polling needs 1 request every 1m, 0.02 a second"),
        (&*one, 1, "polling needs 3 requests every 1m and 2 every 15m, 0.05 a second"),
        (&*one, 3, "polling needs 5 requests every 1m and 2 every 15m, 0.09 a second, or raise api.page_size"),
        (
            "accounts: { farm: { api_key: 0a1b2c, currencies: [BTC, LTC] } }",
            1,
            "polling needs 5 requests every 1m and 4 every 15m, 0.09 a second",
        ),
        (
            "accounts: { farm: { api_key: 0a1b2c }, shed: { api_key: 3d4e5f } }",
            1,
            "polling needs 5 requests every 1m and 4 every 15m, 0.09 a second, or divide the accounts (shard)",
        ),
    ] {
        assert_eq!(advice(100, accounts, pages), expected);
    }
    // No page is larger.
    assert_eq!(advice(10_000, &one, 3), "polling needs 5 requests every 1m and 2 every 15m, 0.09 a second");
}
