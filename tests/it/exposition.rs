//! The whole exposition, in both formats, against golden files.
//!
//! `UPDATE=1 cargo test --test it exposition` writes them anew; read the difference before you commit it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    collector::{CATALOGUE, Format, Moment, Scope, View, render},
    config::{Config, RejectRateUnit},
    history::{Income, IncomeDay, Payment, Payments, PayoutAddress},
    model::{CoinStats, Coins, Currency, Endpoint, Hashrate, HashrateWindows, Id, Ratio, Reason, Summary, UnixSeconds},
    store::{Failure, Store, TargetSlots},
    telemetry::Telemetry,
    wire::{self, Anomalies, Worker, Workers},
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    harness,
    parser::{self, series},
    support::golden,
};

/// 2024-03-05 01:00 at UTC+8: not yet the fifth in UTC.
pub const NOW: &str = "2024-03-04T17:00:00Z";

fn configuration() -> Config {
    harness::config_with(
        "http://127.0.0.1:9/ru/api",
        "day_utc_offset: \"+08:00\"",
        &format!(
            "accounts:\n  farm_a:\n    api_key: {key}\n    currencies: [BTC, LTC]\n    \
             labels: {{ site: Ekibastuz, client: 'Acme \"Hash\" \\ Co' }}\n    \
             expected_hashrate: {{ BTC: 12 PH/s }}\n    workers: {{ max: 3 }}\n  \
             гараж: {{ api_key: {key}, workers: {{ enabled: false }} }}\n",
            key = harness::KEY
        ),
    )
}

fn hashrate(value: f64) -> Option<Hashrate> {
    Hashrate::new(value)
}

fn windows(ten_minutes: f64, one_hour: f64, day: f64) -> HashrateWindows {
    HashrateWindows { ten_minutes: hashrate(ten_minutes), one_hour: hashrate(one_hour), day: hashrate(day) }
}

/// What is told of workers beyond this is not in the golden files:
/// [`worker_fields_are_exported_independently`] is for all of it.
fn worker(id: &str, name: &str) -> Worker {
    Worker {
        hashrate: windows(1.5e14, 141e12, 1.4e14),
        reject_ratio: Ratio::new(0.0012),
        last_active: Some(UnixSeconds(1_709_571_000)),
        active: Some(true),
        ..Worker::new(Id::new(id).unwrap(), name)
    }
}

fn day(date: &str, pps: i64, pplns: i64) -> IncomeDay {
    let coins = |units| Some(Coins::from_units(units));
    IncomeDay {
        date: date.parse().unwrap(),
        hashrate: hashrate(293_286_989_405_200.68),
        pps: coins(pps),
        pplns: coins(pplns),
        total: coins(pps + pplns),
    }
}

fn income(days: &[IncomeDay]) -> Income {
    let days = days.iter().map(|day| (day.date, day.clone())).collect();
    Income { days, unread: 0, read_on: "2024-03-05".parse().unwrap() }
}

fn payments(rows: &[(&str, i64, i64, &str)]) -> Payments {
    let row = |&(id, amount, created, address): &(&str, i64, i64, &str)| {
        let payment = Payment {
            amount: Some(Coins::from_units(amount)),
            created: Some(UnixSeconds(created)),
            address: Some(PayoutAddress::new(address)),
        };
        (Id::new(id).unwrap(), payment)
    };
    Payments { by_id: rows.iter().map(row).collect(), unread: 0 }
}

/// What an exporter of `configuration` knows after a while: most of everything, and some trouble.
pub struct Known {
    pub config: Config,
    pub store: Store,
    pub telemetry: Telemetry,
}

impl Known {
    pub fn fill() -> Self {
        let config = configuration();
        let at: Timestamp = "2024-03-04T16:59:30Z".parse().unwrap();
        let took = Duration::from_millis(1250);
        let telemetry = Telemetry::new("2024-03-04T12:00:00Z".parse().unwrap());
        let store = Store::new(&config);

        let btc = CoinStats {
            miners: Some(1853),
            fee: Ratio::new(0.01),
            pool_hashrate: hashrate(109_444_141_315_644_889.0),
            network_hashrate: hashrate(4.4014015804097e20),
            network_difficulty: Some(52_391_178_981_379.0),
        };
        let ltc = CoinStats { miners: Some(5), ..CoinStats::default() };
        store.pool.record(at, took, Ok(vec![(Currency::Btc, btc), (Currency::Ltc, ltc)]));

        let slots: Vec<&TargetSlots> = store.targets.values().map(|slots| &**slots).collect();
        let [farm_btc, farm_ltc, garage] = slots[..] else { panic!("three targets are configured") };
        let summary = Summary {
            active_workers: Some(3),
            inactive_workers: Some(1),
            hashrate: windows(5.6e14, 564e12, 5.5e14),
            balance: Some(Coins::from_units(15_744)),
        };
        farm_btc.summary.record(at, took, Ok(summary));
        let last = [day("2024-02-04", 5, 1), day("2024-02-28", 70_000, 300), day("2024-03-03", 72_000, 400)];
        let more = [day("2023-12-31", 1_000_000, 0), day("2024-03-04", 71_234, 567), day("2024-03-05", 3_000, 20)];
        farm_btc.income.record(at, took, Ok(income(&[last, more].concat())));
        let rows = [
            ("97", 149_377, 1_683_017_935, "an-address"),
            ("98", 120_000, 1_709_100_000, "an-address"),
            ("99", 130_001, 1_709_310_000, "an-address"),
            ("100", 137_954, 1_709_500_000, "an-address"),
            ("101", 200_000, 1_709_500_000, "another-address"),
        ];
        farm_btc.payments.record(at, took, Ok(payments(&rows)));
        let mut quiet = worker("1000", "h1-r01-p04");
        (quiet.hashrate, quiet.active, quiet.reject_ratio) = (windows(0.0, 0.0, 1.0), Some(false), None);
        let list = vec![
            worker("998", "two of one name"),
            worker("999", "two of one name"),
            quiet,
            worker("1001", "cut by the cap"),
        ];
        if let Some(slot) = &farm_btc.workers {
            slot.record(at, took, Ok(Workers { list, reported: Some(5), not_read: 0, pages: 1 }));
        }

        // LTC fails throughout; it never had an answer.
        let failure = |reason, message: &str| Failure { reason, message: message.to_owned() };
        farm_ltc.summary.record(at, took, Err(failure(Reason::ApiError, "no such currency")));
        farm_ltc.income.record(at, took, Ok(Income::default()));
        farm_ltc.payments.record(at, took, Ok(Payments::default()));
        if let Some(slot) = &farm_ltc.workers {
            let mut hostile = worker("7", "quote \" backslash \\ break \n end");
            hostile.hashrate = windows(9.5e9, f64::NAN, 9.25e9);
            slot.record(at, took, Ok(Workers { list: vec![hostile], reported: None, not_read: 0, pages: 1 }));
        }

        // A balance, and then a failure that leaves it standing.
        let summary = Summary { balance: Some(Coins::from_units(-1)), ..Summary::default() };
        garage.summary.record(at, took, Ok(summary));
        garage.summary.record(at, Duration::from_secs(15), Err(failure(Reason::Timeout, "no answer")));

        telemetry.request(Endpoint::MainStat, Some(200), Duration::from_millis(130));
        telemetry.request(Endpoint::Workers, Some(502), Duration::from_millis(900));
        telemetry.request(Endpoint::Workers, None, Duration::from_secs(31));
        telemetry.request_failed(Endpoint::Workers, Reason::Http5xx);
        telemetry.request_failed(Endpoint::Workers, Reason::Timeout);
        telemetry.anomalies(Endpoint::Workers, "reject_rate", 3);
        telemetry.serves_until(Some("2025-01-31T23:59:59Z".parse().unwrap()));
        Self { config, store, telemetry }
    }

    fn view(&self, scope: &Scope, age: Duration) -> View {
        let now = Moment { wall: NOW.parse().unwrap(), monotonic: Instant::now() + age };
        View::take(&self.config, &self.store, &self.telemetry, scope, now)
    }

    /// The exposition without what differs from run to run: the process, and what it was built of.
    fn render(&self, format: Format) -> String {
        render(self.view(&Scope::WithoutProcess, Duration::ZERO), format)
            .unwrap()
            .replace(env!("CARGO_PKG_VERSION"), "VERSION")
            .lines()
            .map(|line| match line.split_once(",revision=") {
                Some((line, _)) => format!("{line},revision=\"REVISION\",rustc=\"RUSTC\"}} 1\n"),
                None => format!("{line}\n"),
            })
            .collect()
    }
}

/// Compares a text with a golden file.
pub fn golden(name: &str, found: &str) {
    golden::check(Path::new("tests/fixtures/golden").join(name), found);
}

#[test]
fn classic_golden() {
    let text = Known::fill().render(Format::Classic);
    parser::parse(&text, Format::Classic).unwrap();
    golden("exposition.txt", &text);
}

#[test]
fn openmetrics_golden() {
    let text = Known::fill().render(Format::OpenMetrics);
    parser::parse(&text, Format::OpenMetrics).unwrap();
    golden("exposition.om.txt", &text);
}

#[test]
#[should_panic(expected = "must_fail.txt:3:")]
fn golden_file_that_differs_fails() {
    // One digit of its third line is another.
    assert!(!golden::updating(), "must_fail.txt:3: is not written anew");
    golden("must_fail.txt", &Known::fill().render(Format::Classic));
}

#[test]
fn both_formats_hold_the_same_samples() {
    let known = Known::fill();
    let classic = parser::parse(&known.render(Format::Classic), Format::Classic).unwrap();
    let open_metrics = parser::parse(&known.render(Format::OpenMetrics), Format::OpenMetrics).unwrap();
    assert_eq!(series(&classic), series(&open_metrics));
}

#[test]
fn stale_series_leave_and_status_stays() {
    let known = Known::fill();
    let names = |age| -> Vec<String> {
        let text = render(known.view(&Scope::WithoutProcess, age), Format::Classic).unwrap();
        parser::parse(&text, Format::Classic).unwrap().into_iter().map(|family| family.name).collect()
    };
    let just_before = names(Duration::from_secs(3599));
    let after = names(Duration::from_secs(3601));
    // All that the pool said leaves. What the configuration says, and how the polling goes, stays.
    let stays = |name: &&String| {
        name.starts_with("btcpool_exporter_")
            || [
                "btcpool_network_block_subsidy_coins",
                "btcpool_account_info",
                "btcpool_account_expected_hashrate_hashes_per_second",
                "btcpool_up",
                "btcpool_last_success_timestamp_seconds",
                "btcpool_poll_error",
            ]
            .contains(&name.as_str())
    };
    let (stay, leave): (Vec<_>, Vec<_>) = just_before.iter().partition(stays);
    assert_eq!(after.iter().collect::<Vec<_>>(), stay);
    for part in ["pool", "network", "account", "worker"] {
        assert!(leave.iter().any(|name| name.starts_with(&format!("btcpool_{part}_"))), "{part}: {leave:?}");
    }
}

/// What is exported of a worker of which the pool sends that row.
fn of_worker(row: &Map<String, Value>) -> BTreeMap<String, f64> {
    let config = harness::config("http://127.0.0.1:9/ru/api", &harness::one_account());
    let store = Store::new(&config);
    let answer = json!({ "status": "OK", "data": [row], "total": 1 }).to_string();
    let page = wire::workers(&answer, RejectRateUnit::Ratio, &mut Anomalies::default()).unwrap();
    let list = page.rows.into_iter().flatten().map(|(_, worker)| worker).collect();
    let slot = store.targets.values().next().and_then(|slots| slots.workers.as_ref()).unwrap();
    slot.record(Timestamp::UNIX_EPOCH, Duration::ZERO, Ok(Workers { list, reported: None, not_read: 0, pages: 1 }));
    let now = Moment { wall: NOW.parse().unwrap(), monotonic: Instant::now() };
    let text = render(View::known(&config, &store, &Scope::All, now), Format::Classic).unwrap();
    let mut series = series(&parser::parse(&text, Format::Classic).unwrap());
    series.retain(|name, _| name.starts_with("btcpool_worker_"));
    series
}

/// One field after the other is taken from a good row: what leaves with it is what is made of it, with the number that
/// the pool told. So nothing here has to be said of a field that is added.
#[tokio::test]
async fn worker_fields_are_exported_independently() {
    let row = harness::good_worker().await;
    let all = of_worker(&row);
    let mut seen = BTreeSet::new();
    for (field, value) in &row {
        if ["worker_id", "worker_name"].contains(&field.as_str()) {
            continue;
        }
        let mut row = row.clone();
        row[field] = Value::Null;
        let left = of_worker(&row);
        row.remove(field);
        assert_eq!(of_worker(&row), left, "{field} is left out");
        let gone: BTreeMap<_, _> = all.iter().filter(|(series, _)| !left.contains_key(*series)).collect();
        let families: BTreeSet<_> = gone.keys().filter_map(|series| series.split('{').next()).collect();
        assert_eq!(families.len(), 1, "{field} is a matter of one family: {gone:?}");
        assert!(left.iter().all(|(series, value)| all.get(series) == Some(value)), "{field} changes others: {left:?}");
        // No two figures of the row are the same, so this one is not another's.
        let number = value.as_str().and_then(|text| text.parse::<f64>().ok());
        assert!(
            number.is_none_or(|number| gone.values().all(|shown| **shown == number)),
            "{field} is {value}: {gone:?}"
        );
        seen.extend(gone.into_keys().cloned());
    }
    assert!(all.keys().eq(&seen), "of no field: {all:?}");
    // The row has all that is read, so that the above is about all of it.
    let missing: Vec<_> = harness::worker_figures().filter(|field| !row.contains_key(*field)).collect();
    assert_eq!(missing, [] as [&str; 0], "the simulated pool does not serve it");
}

#[test]
fn account_exposition_holds_one_account() {
    let known = Known::fill();
    let scope = Scope::Accounts(["гараж".parse().unwrap()].into());
    let text = render(known.view(&scope, Duration::ZERO), Format::Classic).unwrap();
    let families = parser::parse(&text, Format::Classic).unwrap();
    let samples = families.iter().flat_map(|family| &family.samples);
    assert!(samples.clone().all(|sample| sample.label("account") == Some("гараж")), "{text}");
    // Of the whole exposition, it is exactly that account's part.
    let whole = parser::parse(&known.render(Format::Classic), Format::Classic).unwrap();
    let part = whole.iter().flat_map(|family| &family.samples).filter(|s| s.label("account") == Some("гараж"));
    assert_eq!(samples.map(|s| s.series()).collect::<Vec<_>>(), part.map(|s| s.series()).collect::<Vec<_>>());
}

#[test]
fn catalogue_families_are_sound() {
    let mut names = std::collections::BTreeSet::new();
    for family in CATALOGUE {
        assert!(names.insert(family.name), "{} is there twice", family.name);
        assert!(!family.help.ends_with('.') && !family.help.contains(['\n', '\\']), "{}", family.name);
        if let Some(unit) = family.unit {
            let stem = family.name.strip_suffix("_total").unwrap_or(family.name);
            assert!(stem.ends_with(&format!("_{unit}")), "{}", family.name);
        }
        // What it is made of is told by the API's own name.
        for endpoint in Endpoint::ALL {
            let made_of = family.help.split_once(&format!("({endpoint} ")).map(|(_, rest)| rest);
            let field = made_of.and_then(|rest| rest.split([' ', ',', ')']).next());
            let known: Vec<_> = wire::fields(endpoint).collect();
            assert!(
                field.is_none_or(|field| known.contains(&field)),
                "{}: {field:?} is no field of {endpoint}: {known:?}",
                family.name
            );
        }
        let counter = family.kind == btcpool_exporter::collector::Kind::Counter;
        assert_eq!(family.name.ends_with("_total"), counter, "{}", family.name);
    }
}
