//! The end-to-end tests: the released program against the real programs that it is made for.
//!
//! | module | what it holds the exporter to |
//! |---|---|
//! | `exposition` | promtool, and the strict parsers of the Python client library, read both formats |
//! | `scraping` | Prometheus 2 and 3 scrape it, discover its accounts, and answer as the pool does |
//! | `secure` | curl and Prometheus get in through TLS, client certificates and passwords, and others do not; rotation |
//! | `reloading` | a hundred reloads, good and bad, while clients scrape |
//! | `scaling` | shards, pairs of Prometheis, discovery divided by hashes: each account exactly once |
//! | `web_config` | promtool takes and refuses the same web configurations |
//! | `backfill` | Prometheus on blocks of backfilled history answers as the pool's books do, to the last 1e-8 coin |
//! | `rules` | promtool checks and tests the rules, amtool checks the example for Alertmanager |
//! | `alerts` | a healthy week of the simulated pool raises nothing |
//! | `alert_incidents` | eight incidents, sixty times as fast, through a real Alertmanager: who is told, when, and of what else |
//! | `dashboards` | every rule and every query of a panel has data on a day of the demo |
//! | `documents` | every block of commands in the documents works as it stands there, or says why it is not run |
//! | `browser` | a real browser shows the status page, whatever the state, to whomever; axe-core finds nothing against it |
//!
//! `programs` starts the programs; `webdriver` drives the browser; `past` makes days that a Prometheus did not have to
//! wait for. `support` has the rest: its reader of the simulated pool's API shares nothing with the code under test.
//!
//! The demo runs at speed 0: the simulated time stands still, so that figures can be compared exactly. `tests/run`
//! installs the programs and builds the release first.

#![expect(clippy::panic, clippy::unwrap_used, reason = "this is how a test fails")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the tables are what some of them are run for")]

mod alert_incidents;
mod alerts;
mod backfill;
mod browser;
mod dashboards;
mod documents;
mod exposition;
mod past;
mod programs;
mod reloading;
mod rules;
mod scaling;
mod scraping;
mod secure;
#[allow(dead_code, reason = "each target uses a part of it")]
#[path = "../support/mod.rs"]
mod support;
mod web_config;
mod webdriver;

use std::{collections::BTreeMap, fmt::Debug};

/// Holds two collections to be the same, whatever the order, and shows only where they are not.
fn assert_same<T: Ord + Debug>(what: &str, found: impl IntoIterator<Item = T>, expected: impl IntoIterator<Item = T>) {
    let mut balance = BTreeMap::<T, i64>::new();
    for item in found {
        *balance.entry(item).or_default() += 1;
    }
    for item in expected {
        *balance.entry(item).or_default() -= 1;
    }
    let of_sign = |sign: i64| balance.iter().filter(move |(_, count)| count.signum() == sign).map(|(item, _)| item);
    let (surplus, missing): (Vec<_>, Vec<_>) = (of_sign(1).collect(), of_sign(-1).collect());
    assert!(surplus.is_empty() && missing.is_empty(), "{what}: wrong {surplus:#?}, missing {missing:#?}");
}
