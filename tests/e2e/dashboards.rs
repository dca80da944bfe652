//! The shipped rules and dashboards on a day of the demo's farms: each recording rule has a result, each query of each
//! panel has data.
//!
//! `PAST_DIR=/tmp/past PAST_HOURS=48 cargo test --features e2e --test e2e dashboards` leaves the data there, for looking
//! at the dashboards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use btcpool_exporter::demo::{Farm, Incident, Trouble};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    past::{self, Span},
    programs::Prometheus,
    scraping::prometheus,
};

const HOUR: i64 = 3600;

/// Panels of the demo that have nothing to show, and why that is right.
const NOTHING_TO_SHOW: [(&str, &str); 1] = [("Certificate ends in", "the demo speaks plain HTTP")];

/// Alerts whose expressions have no result on that day, in order: what they are about does not happen there. Their own
/// tests, in `deploy/prometheus/tests`, raise each.
const DOES_NOT_HAPPEN: [&str; 11] = [
    "BTCpoolAccountUnwatched",
    "BTCpoolCertificateExpiring",
    "BTCpoolExporterDown",
    "BTCpoolFeeHigh",
    "BTCpoolListShort",
    "BTCpoolNoIncome",
    "BTCpoolPayoutAddressChanged",
    "BTCpoolRejectsHigh",
    "BTCpoolReloadFailed",
    "BTCpoolUnitsOff",
    "BTCpoolWorkersCut",
];

/// The demo's farms, and what happens to them besides: an outage of the API, a few failed polls, answers that cannot be
/// read, a power cut, a machine that gets too hot, and a pool that was weak for a while.
fn farms(from: i64, to: i64) -> Farm {
    let mut farm = Farm::new(1, Timestamp::from_second(from).unwrap());
    let incident = |trouble, account: &str, begin: i64, lasting: i64| Incident {
        trouble,
        account: account.to_owned(),
        machines: String::new(),
        from: begin,
        to: begin + lasting,
    };
    farm.incidents = vec![
        incident(Trouble::ApiOut, "", to - 9 * HOUR, HOUR / 2),
        incident(Trouble::ApiOut, "", to - 4 * HOUR, 200),
        incident(Trouble::Stopped, "garage", to - 50 * 60, 2 * HOUR),
        incident(Trouble::Garbled, "garage", to - 12 * HOUR, 2 * HOUR),
        incident(Trouble::PoolWeak(0.55), "", to - 7 * HOUR, HOUR),
        Incident {
            machines: "h1-r03-p05".to_owned(),
            ..incident(Trouble::Throttled(0.4), "ekibastuz_hall_1", to - 6 * HOUR, 12 * HOUR)
        },
        incident(Trouble::Unpaid, "karaganda_scrypt", to - 20 * 24 * HOUR, 100 * 24 * HOUR),
    ];
    farm
}

/// What a dashboard's query asks once its variables have values.
fn filled_in(expr: &str, variables: &BTreeMap<String, String>) -> String {
    let mut filled = expr.to_owned();
    let built_in = [("__rate_interval", "10m"), ("__range", "1d"), ("__interval", "5m")];
    let values = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(built_in);
    let mut values: Vec<_> = values.collect();
    // Longer names first: one may be the beginning of another.
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in values {
        for spelling in [format!("${{{name}:regex}}"), format!("${{{name}}}"), format!("${name}")] {
            filled = filled.replace(&spelling, value);
        }
    }
    assert!(!filled.contains('$'), "{filled}");
    filled
}

fn variables(dashboard: &Value) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let value = match variable["type"].as_str().unwrap() {
            "datasource" => continue,
            "textbox" | "constant" => variable["query"].as_str().unwrap(),
            _ if variable["includeAll"] == true => ".*",
            _ => match name {
                "account" => "ekibastuz_hall_1",
                "currency" => "BTC",
                "job" => "btcpool",
                "instance" => "localhost:10058",
                other => panic!("{other}: which value?"),
            },
        };
        variables.insert(name.to_owned(), value.to_owned());
    }
    variables
}

/// The panels, those of rows too: title and queries.
fn panels(value: &Value, found: &mut Vec<(String, Vec<Value>)>) {
    for panel in value["panels"].as_array().into_iter().flatten() {
        if let Some(targets) = panel["targets"].as_array() {
            found.push((panel["title"].as_str().unwrap().to_owned(), targets.clone()));
        }
        panels(panel, found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_panels_have_demo_data() {
    let hours: i64 = std::env::var("PAST_HOURS").map_or(26, |hours| hours.parse().unwrap());
    let from = past::hours_before(Timestamp::now(), hours);
    let span = Span { from, to: from + hours * HOUR, step: 150, scrapes_per_poll: 2, own_figures: true };
    let folder = tempfile::tempdir().unwrap();
    let data = std::env::var_os("PAST_DIR").map_or_else(|| folder.path().join("data"), PathBuf::from);
    let past = past::live(farms(span.from, span.to), span, &prometheus(), &data).await;
    let records: BTreeSet<_> =
        past::groups().iter().flat_map(|group| &group.rules).filter_map(|rule| rule.record.clone()).collect();
    let (without, silent): (BTreeSet<_>, BTreeSet<_>) =
        past.empty.iter().cloned().partition(|name| records.contains(name));
    assert_eq!(without, BTreeSet::new(), "recording rules without a result");
    let fired: BTreeMap<_, usize> = past.alerts.iter().fold(BTreeMap::new(), |mut fired, alert| {
        *fired.entry(alert.name.as_str()).or_default() += 1;
        fired
    });
    println!(
        "{} recording rules have results; alerts that fired: {fired:?}; that had nothing to tell: {silent:?}",
        records.len()
    );
    assert_eq!(silent, DOES_NOT_HAPPEN.map(str::to_owned).into(), "alerts without a result");

    let prometheus = Prometheus::start_on(&prometheus(), Some(&data), "  []\n").await;
    let (mut asked, mut empty) = (0, BTreeSet::new());
    for name in ["fleet", "account", "income", "pool", "exporter"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("grafana/dashboards/en/{name}.json"));
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        let variables = variables(&dashboard);
        let mut found = Vec::new();
        panels(&dashboard, &mut found);
        for (title, targets) in found {
            let mut has_data = false;
            for target in targets {
                let expr = filled_in(target["expr"].as_str().unwrap(), &variables);
                // Over the day, whatever the panel shows of it: what is only now and then there was there some time. And as
                // long before it as the panels of days and months look ahead.
                let (begin, end) = ((span.to - 38 * HOUR).to_string(), (span.to - 150).to_string());
                let range = [("query", expr.as_str()), ("start", &begin), ("end", &end), ("step", "300")];
                let answer = past::ask(&prometheus, "/api/v1/query_range", &range).await;
                has_data |= !answer["result"].as_array().unwrap().is_empty();
                asked += 1;
            }
            if !has_data {
                empty.insert(title);
            }
        }
    }
    println!("{asked} queries of panels asked; panels without data: {empty:?}");
    let expected: BTreeSet<_> = NOTHING_TO_SHOW.iter().map(|(title, _)| (*title).to_owned()).collect();
    assert_eq!(empty, expected, "panels without data");
}
