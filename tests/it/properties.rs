//! Whatever an answer holds, nothing panics and the exposition parses; whatever a miner calls a machine, the name comes
//! through.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    collector::{Format, Moment, Scope, View, render},
    config::RejectRateUnit,
    history::{Income, Payments},
    model::{Coins, Endpoint, Id},
    store::Store,
    telemetry::Telemetry,
    wire::{self, Anomalies, Worker, Workers},
};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::{harness, parser};

/// Renders a store of one account that was filled somehow, in both formats, and parses both.
fn render_and_parse(fill: impl FnOnce(&Store)) -> Vec<parser::Family> {
    let config = harness::config("http://127.0.0.1:9/ru/api", &harness::one_account());
    let store = Store::new(&config);
    fill(&store);
    let telemetry = Telemetry::new(Timestamp::UNIX_EPOCH);
    let view = || {
        let now = Moment { wall: "2024-03-04T17:00:00Z".parse().unwrap(), monotonic: Instant::now() };
        View::take(&config, &store, &telemetry, &Scope::All, now)
    };
    let [classic, open_metrics] = [Format::Classic, Format::OpenMetrics].map(|format| {
        let text = render(view(), format).unwrap();
        parser::parse(&text, format).unwrap_or_else(|error| panic!("{error}\n{text}"))
    });
    let ours = |families: &[parser::Family]| {
        let mut series = parser::series(families);
        series.retain(|name, _| name.starts_with("btcpool_"));
        series
    };
    assert_eq!(ours(&classic), ours(&open_metrics));
    classic
}

/// Takes a text as the answer of every endpoint, and exports whatever came of it.
fn swallow(text: &str) {
    let mut anomalies = Anomalies::default();
    render_and_parse(|store| {
        let at = Timestamp::UNIX_EPOCH;
        let took = Duration::from_millis(1);
        let Some(slots) = store.targets.values().next() else { return };
        if let Ok(stats) = wire::main_stat(text, &mut anomalies) {
            store.pool.record(at, took, Ok(stats));
        }
        if let Ok(summary) = wire::summary_data(text, &mut anomalies) {
            slots.summary.record(at, took, Ok(summary));
        }
        if let Ok(page) = wire::profit_history(text, &mut anomalies) {
            let days = page.rows.into_iter().flatten().collect();
            slots.income.record(at, took, Ok(Income { days, ..Income::default() }));
        }
        if let Ok(page) = wire::payment_history(text, &mut anomalies) {
            let by_id = page.rows.into_iter().flatten().collect();
            slots.payments.record(at, took, Ok(Payments { by_id, unread: 0 }));
        }
        if let Ok(page) = wire::workers(text, RejectRateUnit::Ratio, &mut anomalies) {
            let distinct: std::collections::BTreeMap<_, _> = page.rows.into_iter().flatten().collect();
            let workers =
                Workers { list: distinct.into_values().collect(), reported: page.total, not_read: 0, pages: 1 };
            if let Some(slot) = &slots.workers {
                slot.record(at, took, Ok(workers));
            }
        }
    });
}

/// Reads a text as a list in the quick way, if that will have it, and in the lenient way: the mark before it is
/// something that only the latter takes. What comes of it is the same.
fn read_in_both_ways(text: &str) {
    let lenient = format!("\u{FEFF}{text}");
    let read = |text: &str| {
        let mut anomalies = [Anomalies::default(), Anomalies::default(), Anomalies::default()];
        let [income, payments, workers] = &mut anomalies;
        let lists = (
            wire::profit_history(text, income),
            wire::payment_history(text, payments),
            wire::workers(text, RejectRateUnit::Ratio, workers),
        );
        (format!("{lists:?}"), anomalies)
    };
    assert_eq!(read(text), read(&lenient), "{text}");
}

/// An answer to `workers` that is nearly what the pool sends.
fn list() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        8 => "\"[0-9]{1,15}\"",
        2 => "\"[ -!#-\\[\\]-~]{0,30}\"",
        1 => prop::sample::select(vec!["null", "7", "1e999", "\"a\\u0062\"", "\"\\ud800\"", "[]", "\"Ж\""]).prop_map(str::to_owned),
    ];
    let names = wire::fields(Endpoint::Workers).filter(|&name| name != "total").chain(["extra", "worker_n\\u0061me"]);
    let field = (prop::sample::select(names.collect::<Vec<_>>()), value)
        .prop_map(|(name, value)| format!("\"{name}\":{value}"));
    let row = prop::collection::vec(field, 4..10).prop_map(|fields| format!("{{{}}}", fields.join(",")));
    let odd = prop::sample::select(vec!["7", "null", "\"\\ud800\"", "1e999", "[{}]", "true", "{}"]);
    let row = prop_oneof![10 => row, 1 => odd.prop_map(str::to_owned)];
    let rest = prop::sample::select(vec![
        "",
        ",\"total\":\"3\"",
        ",\"total\":2",
        ",\"data\":[]",
        ",\"data\":{}",
        ",\"status\":\"no\"",
        ",",
    ]);
    let end = prop::sample::select(vec!["}", "}", "}", "} ", "}x", ""]);
    let key = prop::sample::select(vec!["0", "17", "\\u0030", "", "x", "\\ud800", "-1"]);
    let keyed = prop::collection::vec((key, row.clone()), 0..4).prop_map(|rows| {
        let rows: Vec<_> = rows.iter().map(|(key, row)| format!("\"{key}\":{row}")).collect();
        format!("{{{}}}", rows.join(","))
    });
    let data = prop_oneof![
        3 => prop::collection::vec(row, 0..4).prop_map(|rows| format!("[{}]", rows.join(","))),
        1 => keyed,
    ];
    (data, rest, end).prop_map(|(data, rest, end)| format!("{{\"status\":\"OK\",\"data\":{data}{rest}{end}"))
}

/// JSON of any shape, but with the API's own names, so that it gets somewhere.
fn json() -> impl Strategy<Value = String> {
    let names: BTreeSet<_> =
        Endpoint::ALL.into_iter().flat_map(wire::fields).chain(["status", "data", "other"]).collect();
    let name = prop::sample::select(names.into_iter().collect::<Vec<_>>());
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("\"OK\"".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("JSON", |n| n.is_finite()).prop_map(|n| format!("\"{n:e}\"")),
        "-?[0-9]{1,400}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?".prop_map(|n| format!("\"{n}\"")),
        "[1-9][0-9]{0,30}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]".prop_map(|date| format!("\"{date}\"")),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\\\\u[0-9a-fA-F]{4}".prop_map(|escape| format!("\"{escape}\"")),
    ];
    scalar.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((name.clone(), inner), 0..8).prop_map(|entries| {
                let entries: Vec<_> = entries.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_bytes_are_swallowed(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        swallow(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_json_is_swallowed(data in json()) {
        swallow(&data);
        swallow(&format!("{{\"status\":\"OK\",\"data\":{data},\"total\":{data}}}"));
    }

    #[test]
    fn rows_of_any_fields_are_swallowed(fields in prop::collection::vec(json(), 8)) {
        let names = ["worker_id", "worker_name", "hashrate_1hour", "reject_rate", "date", "payment_id", "amount",
            "total_profit"];
        let fields: Vec<_> = names.iter().zip(&fields).map(|(name, value)| format!("\"{name}\":{value}")).collect();
        swallow(&format!("{{\"status\":\"OK\",\"data\":[{{{}}}]}}", fields.join(",")));
    }

    #[test]
    fn a_cut_answer_is_swallowed(endpoint in prop::sample::select(harness::ENDPOINTS.to_vec()), cut in 0_usize..4000) {
        let sample = harness::sample(endpoint);
        swallow(&sample);
        swallow(&String::from_utf8_lossy(&sample.as_bytes()[..cut.min(sample.len())]));
    }

    #[test]
    fn fast_and_lenient_decoders_agree(text in list()) {
        read_in_both_ways(&text);
    }

    #[test]
    fn any_name_comes_through(name in any::<String>()) {
        let printable = wire::printable(&name);
        let worker = Worker { active: Some(true), ..Worker::new(Id::new("1").unwrap(), printable.clone()) };
        let families = render_and_parse(|store| {
            let slot = store.targets.values().next().and_then(|slots| slots.workers.as_ref()).unwrap();
            slot.record(Timestamp::UNIX_EPOCH, Duration::ZERO, Ok(Workers { list: vec![worker], reported: None, not_read: 0, pages: 1 }));
        });
        let active = families.iter().find(|family| family.name == "btcpool_worker_active").unwrap();
        prop_assert_eq!(active.samples[0].label("worker"), Some(&*printable));
        // What is kept is kept to the letter.
        let kept: String = name.chars().take(wire::MAX_NAME_CHARACTERS).collect();
        for (before, after) in kept.chars().zip(printable.chars()) {
            prop_assert!(before == after || after == char::REPLACEMENT_CHARACTER);
        }
        prop_assert_eq!(kept.chars().count(), printable.chars().count());
        prop_assert!(!printable.chars().any(char::is_control));
    }

    #[test]
    fn decimals_are_read_exactly(units in 0_i64..2_100_000_000_000_000, zeros in 0_usize..5) {
        let coins = Coins::from_units(units);
        prop_assert_eq!(Coins::parse(&coins.to_string()), Some(coins));
        prop_assert_eq!(Coins::parse(&format!("{coins}{}", "0".repeat(zeros))), Some(coins));
        prop_assert_eq!(Coins::parse(&format!("{units}E-8")), Some(coins));
        prop_assert_eq!(Coins::parse(&format!("-{coins}")), Some(Coins::from_units(-units)));
        // What is exported is the number nearest to the decimal.
        prop_assert_eq!(coins.as_f64(), coins.to_string().parse::<f64>().unwrap());
    }

    #[test]
    fn any_text_is_coins_or_not(text in any::<String>(), number in "[-+]?[0-9]{0,50}\\.?[0-9]{0,50}([eE][-+]?[0-9]{1,12})?") {
        let _ = Coins::parse(&text);
        let _ = Coins::parse(&number);
    }
}

#[test]
fn amounts_round_to_eight_places() {
    for (text, units) in [
        ("0.000000004", Some(0)),
        ("0.000000005", Some(1)),
        ("0.123456785", Some(12_345_679)),
        ("7.6E-5", Some(7600)),
        ("1e2", Some(10_000_000_000)),
        (".5", Some(50_000_000)),
        ("5.", Some(500_000_000)),
        ("", None),
        (".", None),
        ("-", None),
        ("1e", None),
        ("1.2.3", None),
        ("0x10", None),
        ("92233720368.54775807", Some(i64::MAX)),
        ("92233720368.54775808", None),
        ("1e-999999999", Some(0)),
        ("1e999999999", None),
        ("0e999999999", Some(0)),
    ] {
        assert_eq!(Coins::parse(text).map(Coins::units), units, "{text}");
    }
}
