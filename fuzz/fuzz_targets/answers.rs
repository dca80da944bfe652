//! Any text as an answer of the pool, to each of the five endpoints. Whatever comes out can be shown: nothing negative
//! but amounts, nothing infinite, no name that is too long or plays tricks.

#![no_main]

use std::fmt::Debug;

use btcpool_exporter::{
    client::FetchError,
    config::RejectRateUnit,
    model::{Endpoint, Hashrate, HashrateWindows, Id, Ratio, UnixSeconds, plays_tricks},
    wire::{self, Anomalies, AnswerError, MAX_NAME_CHARACTERS, Page, Worker},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The client reads an answer's bytes in this way, too.
    let text = String::from_utf8_lossy(bytes);
    let mut anomalies = Anomalies::default();
    if let Some(stats) = shown(wire::main_stat(&text, &mut anomalies)) {
        assert!(stats.is_sorted_by(|(before, _), (after, _)| before < after), "{stats:?}");
        for (_, coin) in &stats {
            assert!(coin.miners.is_none_or(|miners| miners <= 1 << 53), "{coin:?}");
            ratio(coin.fee);
            hashrate(coin.pool_hashrate);
            hashrate(coin.network_hashrate);
            assert!(coin.network_difficulty.is_none_or(|figure| figure.is_finite() && figure >= 0.0), "{coin:?}");
        }
    }
    known(Endpoint::MainStat, &anomalies);

    let mut anomalies = Anomalies::default();
    if let Some(summary) = shown(wire::summary_data(&text, &mut anomalies)) {
        assert!([summary.active_workers, summary.inactive_workers].iter().flatten().all(|&count| count <= 1 << 53));
        windows(summary.hashrate);
    }
    known(Endpoint::SummaryData, &anomalies);

    let mut anomalies = Anomalies::default();
    if let Some(rows) = page(&text, &mut anomalies, wire::profit_history) {
        for (date, day) in rows.into_iter().flatten() {
            assert_eq!(date, day.date);
            hashrate(day.hashrate);
        }
    }
    known(Endpoint::ProfitHistory, &anomalies);

    let mut anomalies = Anomalies::default();
    if let Some(rows) = page(&text, &mut anomalies, wire::payment_history) {
        for (row_id, payment) in rows.into_iter().flatten() {
            id(&row_id);
            time(payment.created);
        }
    }
    known(Endpoint::PaymentHistory, &anomalies);

    for unit in [RejectRateUnit::Ratio, RejectRateUnit::Percent] {
        let mut anomalies = Anomalies::default();
        if let Some(rows) = page(&text, &mut anomalies, |text, anomalies| wire::workers(text, unit, anomalies)) {
            for (row_id, worker) in rows.into_iter().flatten() {
                assert_eq!(row_id, worker.id);
                id(&row_id);
                assert!(worker.name.chars().count() <= MAX_NAME_CHARACTERS, "{worker:?}");
                assert!(worker.name.chars().all(showable), "{worker:?}");
                windows(worker.hashrate);
                ratio(worker.reject_ratio);
                time(worker.last_active);
                figures(worker);
            }
        }
        known(Endpoint::Workers, &anomalies);
    }
});

/// What came of it; or an error that says something.
fn shown<T>(result: Result<T, AnswerError>) -> Option<T> {
    result.map_err(|error| assert!(!FetchError::of(error, str::to_owned).to_string().is_empty())).ok()
}

/// A list's rows. The quick way, which most lists take, and the lenient one, to which a mark before the text leads, read
/// the same.
fn page<K: Debug, T: Debug>(
    text: &str,
    anomalies: &mut Anomalies,
    read: impl Fn(&str, &mut Anomalies) -> Result<Page<K, T>, AnswerError>,
) -> Option<Vec<Option<(K, T)>>> {
    let result = read(text, anomalies);
    // Only one mark is taken.
    if !text.starts_with('\u{FEFF}') {
        let mut counted = Anomalies::default();
        let lenient = read(&format!("\u{FEFF}{text}"), &mut counted);
        assert_eq!((format!("{result:?}"), &*anomalies), (format!("{lenient:?}"), &counted));
    }
    let page = shown(result)?;
    assert!(page.total.is_none_or(|total| total <= 1 << 53));
    Some(page.rows)
}

fn showable(c: char) -> bool {
    !plays_tricks(c)
}

fn id(id: &Id) {
    assert!((1..=64).contains(&id.as_str().chars().count()), "{id:?}");
    assert!(id.as_str().chars().all(showable), "{id:?}");
}

fn windows(windows: HashrateWindows) {
    [windows.ten_minutes, windows.one_hour, windows.day].into_iter().for_each(hashrate);
}

fn hashrate(hashrate: Option<Hashrate>) {
    // Negative zero is 0.
    let good = |it: Hashrate| it.as_f64().is_finite() && it.as_f64().is_sign_positive();
    assert!(hashrate.is_none_or(good), "{hashrate:?}");
}

fn ratio(ratio: Option<Ratio>) {
    assert!(ratio.is_none_or(|it| (0.0..=1.0).contains(&it.as_f64())), "{ratio:?}");
}

fn time(time: Option<UnixSeconds>) {
    assert!(time.is_none_or(|it| (1..253_402_300_800).contains(&it.0)), "{time:?}");
}

/// Whatever figures a worker has, also those that are not named above: as one would print them.
fn figures(worker: Worker) {
    let figures = format!("{:?}", Worker { name: "".into(), id: Id::new("1").unwrap(), ..worker });
    assert!(!["NaN", "inf", "(-"].iter().any(|odd| figures.contains(odd)), "{figures}");
}

/// Every anomaly is counted under a name that exists from the start.
fn known(endpoint: Endpoint, anomalies: &Anomalies) {
    for (field, count) in anomalies.counts() {
        assert!(count > 0 && wire::fields(endpoint).any(|name| name == field), "{endpoint:?} {field} {count}");
    }
}
