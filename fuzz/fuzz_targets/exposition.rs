//! Any content of the store: both formats are written, a strict parser reads them, and they say the same.
//!
//! The bytes are taken as a list of figures and names in the order in which they are asked for below; when they are at
//! an end, everything further is absent.

#![no_main]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    collector::{Format, Moment, Scope, View, render},
    config::{Config, Overrides, RejectRateUnit},
    history::{Income, IncomeDay, Payment, Payments, PayoutAddress},
    model::{CoinStats, Coins, Currency, Endpoint, Hashrate, HashrateWindows, Id, Ratio, Reason, Summary, UnixSeconds},
    store::{Failure, Slot, Store},
    telemetry::Telemetry,
    wire::{self, Anomalies, Workers},
};
use jiff::{Timestamp, civil::Date};
use libfuzzer_sys::{arbitrary::Unstructured, fuzz_target};

#[path = "../../tests/support/parser.rs"]
mod parser;

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(Unstructured::new(bytes));
    let Some(config) = config(&mut input) else { return };
    let store = Store::new(&config);
    let now: Timestamp =
        Timestamp::from_second(1_700_000_000 + i64::from(input.number::<u32>() % 100_000_000)).unwrap();
    let at = now - Duration::from_secs(60);
    let took = Duration::from_micros(input.number::<u32>().into());
    fill(&store.pool, at, took, &mut input, |input| Currency::ALL.into_iter().map(|it| (it, coin(input))).collect());
    for slots in store.targets.values() {
        fill(&slots.summary, at, took, &mut input, |input| Summary {
            active_workers: input.maybe(|input| input.number::<u64>() >> 11),
            inactive_workers: input.maybe(|input| input.number::<u64>() >> 11),
            hashrate: windows(input),
            balance: input.maybe(coins),
        });
        fill(&slots.income, at, took, &mut input, income);
        fill(&slots.payments, at, took, &mut input, payments);
        if let Some(slot) = &slots.workers {
            fill(slot, at, took, &mut input, workers);
        }
    }
    let telemetry = Telemetry::new(at);
    for _ in 0..input.number::<u8>() % 8 {
        let endpoint = Endpoint::ALL[usize::from(input.number::<u8>()) % Endpoint::ALL.len()];
        telemetry.request(
            endpoint,
            input.maybe(Input::number::<u16>),
            Duration::from_millis(input.number::<u16>().into()),
        );
        for field in wire::fields(endpoint).take(2) {
            telemetry.anomalies(endpoint, field, u64::from(input.number::<u32>()));
        }
    }

    let view = || {
        // What the process itself uses is another thing each time, and is not under test.
        View::take(&config, &store, &telemetry, &Scope::WithoutProcess, Moment { wall: now, monotonic: Instant::now() })
    };
    let [classic, open_metrics] = [Format::Classic, Format::OpenMetrics].map(|format| {
        let text = render(view(), format).unwrap();
        let families = parser::parse(&text, format).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut series: Vec<_> = parser::series(&families).into_iter().collect();
        series.retain(|(name, _)| !name.starts_with("process_"));
        // The words for a histogram's bounds may differ.
        series.into_iter().map(|(name, value)| (name.replace(".0\"", "\""), value.to_bits())).collect::<Vec<_>>()
    });
    assert_eq!(classic, open_metrics);
});

struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    fn number<T: libfuzzer_sys::arbitrary::Arbitrary<'a> + Default>(&mut self) -> T {
        self.0.arbitrary().unwrap_or_default()
    }

    fn text(&mut self) -> &'a str {
        self.0.arbitrary().unwrap_or_default()
    }

    fn maybe<T>(&mut self, some: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.number::<u8>() & 1 == 1).then(|| some(self))
    }
}

fn config(input: &mut Input<'_>) -> Option<Config> {
    // YAML reads what JSON writes.
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let (name, label, hashrate) = (quote(input.text()), quote(input.text()), input.number::<u32>());
    let text = format!(
        "accounts: {{ {name}: {{ api_key: a1b2c3, currencies: [BTC, LTC], labels: {{ site: {label} }}, \
         expected_hashrate: {{ BTC: {hashrate} TH/s }}, workers: {{ max: 3 }} }} }}"
    );
    Config::from_yaml("fuzz.yml", &text, &Overrides::default()).ok()
}

fn fill<T>(
    slot: &Slot<T>,
    at: Timestamp,
    took: Duration,
    input: &mut Input<'_>,
    make: impl FnOnce(&mut Input<'_>) -> T,
) {
    let what = input.number::<u8>();
    if what & 1 == 1 {
        slot.record(at, took, Ok(make(input)));
    }
    if what & 2 == 2 {
        let reason = Reason::ALL[usize::from(what >> 2) % Reason::ALL.len()];
        slot.record(at, took, Err(Failure { reason, message: String::new() }));
    }
}

fn figure(input: &mut Input<'_>) -> Option<f64> {
    Some(f64::from_bits(input.number())).filter(|figure| figure.is_finite() && *figure >= 0.0)
}

fn hashrate(input: &mut Input<'_>) -> Option<Hashrate> {
    figure(input).and_then(Hashrate::new)
}

fn ratio(input: &mut Input<'_>) -> Option<Ratio> {
    figure(input).and_then(Ratio::new)
}

fn windows(input: &mut Input<'_>) -> HashrateWindows {
    HashrateWindows { ten_minutes: hashrate(input), one_hour: hashrate(input), day: hashrate(input) }
}

fn coins(input: &mut Input<'_>) -> Coins {
    Coins::from_units(i64::from_le_bytes(input.number::<[u8; 8]>()) & i64::MAX)
}

fn coin(input: &mut Input<'_>) -> CoinStats {
    CoinStats {
        miners: input.maybe(|input| input.number::<u64>() >> 11),
        fee: ratio(input),
        pool_hashrate: hashrate(input),
        network_hashrate: hashrate(input),
        network_difficulty: figure(input),
    }
}

fn income(input: &mut Input<'_>) -> Income {
    let mut days = BTreeMap::new();
    for _ in 0..input.number::<u8>() % 8 {
        let date = Date::new(2023, 11, 1).unwrap().saturating_add(jiff::Span::new().days(input.number::<u16>() % 1500));
        let [pps, pplns, total] = [(); 3].map(|()| input.maybe(coins));
        days.insert(date, IncomeDay { date, hashrate: hashrate(input), pps, pplns, total });
    }
    Income { days, unread: u64::from(input.number::<u8>() & 1), ..Income::default() }
}

fn payments(input: &mut Input<'_>) -> Payments {
    let mut by_id = BTreeMap::new();
    for _ in 0..input.number::<u8>() % 8 {
        let Some(id) = Id::new(input.text()) else { continue };
        let payment = Payment {
            amount: input.maybe(coins),
            created: input.maybe(time),
            address: input.maybe(|input| PayoutAddress::new(input.text())),
        };
        by_id.insert(id, payment);
    }
    Payments { by_id, unread: u64::from(input.number::<u8>() & 1) }
}

fn time(input: &mut Input<'_>) -> UnixSeconds {
    UnixSeconds(1 + i64::try_from(input.number::<u64>() % 253_402_300_799).unwrap())
}

/// What the pool could tell in some field of a worker: a whole number, a share, or anything else that a number can be.
fn told(input: &mut Input<'_>) -> serde_json::Value {
    match input.number::<u8>() % 4 {
        0 => serde_json::Value::Null,
        1 => input.number::<u32>().into(),
        2 => (f64::from(input.number::<u16>()) / f64::from(u16::MAX)).into(),
        _ => f64::from_bits(input.number()).into(),
    }
}

/// Through the pool's own form, so that there are figures in every field that is read.
fn workers(input: &mut Input<'_>) -> Workers {
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = (0..input.number::<u8>() % 8)
        .map(|_| {
            let fields = wire::fields(Endpoint::Workers).filter(|field| *field != "total");
            let mut value = |field| match field {
                "worker_id" | "worker_name" => input.text().into(),
                _ => told(input),
            };
            fields.map(|field| (field.to_owned(), value(field))).collect()
        })
        .collect();
    let answer = serde_json::json!({ "status": "OK", "data": rows }).to_string();
    let page = wire::workers(&answer, RejectRateUnit::Ratio, &mut Anomalies::default()).unwrap();
    let list: BTreeMap<_, _> = page.rows.into_iter().flatten().collect();
    let not_read = if input.number::<u8>() < 16 { input.number::<u64>() >> 11 } else { 0 };
    let reported = input.maybe(|input| input.number::<u64>() >> 11);
    Workers { list: list.into_values().collect(), reported, not_read, pages: 1 }
}
