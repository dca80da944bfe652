//! The fast way to the exposition against the plain one: the same bytes, whatever a store holds.
//!
//! `STORES=10000 cargo test --test it kept` tries so many random stores; without it, it tries sixty.

use std::{
    fmt::Write as _,
    io::Read as _,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    collector::{
        Format, Moment, Own, Scope, View,
        kept::{Encoding, Rendition},
        render,
    },
    config::{Config, RejectRateUnit},
    history::{Income, IncomeDay, Payment, Payments, PayoutAddress},
    model::{CoinStats, Coins, Currency, Endpoint, Hashrate, HashrateWindows, Id, Ratio, Reason, Summary, UnixSeconds},
    store::{Failure, Slot, Store},
    telemetry::Telemetry,
    wire::{self, Anomalies, Workers},
};
use fastrand::Rng;
use flate2::read::GzDecoder;
use jiff::{Span, Timestamp, civil::date};

use crate::{harness, parser};

const FORMATS: [Format; 2] = [Format::Classic, Format::OpenMetrics];

/// Something, or nothing.
fn perhaps<T>(random: &mut Rng, value: impl FnOnce(&mut Rng) -> Option<T>) -> Option<T> {
    if random.u8(..4) == 0 { None } else { value(random) }
}

/// Numbers of every kind that a figure can be.
fn number(random: &mut Rng) -> f64 {
    match random.u8(..8) {
        0 => 0.0,
        1 => -0.0,
        2 => random.f64(),
        3 => f64::from_bits(random.u64(..)),
        4 => 10_f64.powi(random.i32(-300..300)),
        5 => (random.u64(..) >> random.u32(..64)) as f64,
        6 => f64::from(random.u32(..)) / 100.0,
        _ => random.u64(..1 << 53) as f64,
    }
}

fn text(random: &mut Rng) -> String {
    let letters = ['a', 'Ж', '"', '\\', '\n', '{', '}', ',', '=', ' ', '#', '0', '…'];
    (0..random.usize(..12)).filter_map(|_| random.choice(letters)).collect()
}

fn windows(random: &mut Rng) -> HashrateWindows {
    let mut hashrate = || perhaps(random, |random| Hashrate::new(number(random).abs()));
    HashrateWindows { ten_minutes: hashrate(), one_hour: hashrate(), day: hashrate() }
}

fn coins(random: &mut Rng) -> Option<Coins> {
    perhaps(random, |random| Some(Coins::from_units(random.i64(-1_000_000..1_000_000_000_000))))
}

fn summary(random: &mut Rng) -> Summary {
    Summary {
        active_workers: perhaps(random, |random| Some(random.u64(..))),
        inactive_workers: perhaps(random, |random| Some(random.u64(..))),
        hashrate: windows(random),
        balance: coins(random),
    }
}

/// What the pool could tell in some field of a worker: no number is good for all of them, and each is for some.
fn told(random: &mut Rng) -> String {
    match random.u8(..8) {
        0 => "0".to_owned(),
        1 => "1".to_owned(),
        2 | 3 => random.f64().to_string(),
        4 | 5 => random.u32(..).to_string(),
        6 => format!("{:e}", number(random)),
        _ => String::new(),
    }
}

/// Through the pool's own form, so that there are figures in every field that is read.
fn workers(random: &mut Rng) -> Workers {
    // Now and then so many that they are a group by themselves.
    let most = if random.u8(..20) == 0 { 400 } else { 6 };
    let mut answer = "{\"status\":\"OK\",\"data\":[".to_owned();
    for number_of in 0..random.usize(..most) {
        let comma = if number_of == 0 { "" } else { "," };
        write!(answer, "{comma}{{\"worker_id\":\"{}\"", 1000 + number_of).unwrap();
        for field in harness::worker_figures() {
            write!(answer, ",\"{field}\":\"{}\"", told(random)).unwrap();
        }
        answer.push('}');
    }
    answer.push_str("]}");
    let page = wire::workers(&answer, RejectRateUnit::Ratio, &mut Anomalies::default()).unwrap();
    let mut list: Vec<_> = page.rows.into_iter().flatten().map(|(_, worker)| worker).collect();
    // As no pool could tell them: what would make a line break is taken out of those.
    list.iter_mut().for_each(|worker| worker.name = text(random).into());
    Workers { list, reported: perhaps(random, |random| Some(random.u64(..))), not_read: 0, pages: 1 }
}

fn income(random: &mut Rng) -> Income {
    let days = (0..random.i32(..40)).map(|back| {
        let date = date(2024, 3, 5).checked_sub(Span::new().days(back)).unwrap();
        let hashrate = perhaps(random, |random| Hashrate::new(number(random).abs()));
        (date, IncomeDay { date, hashrate, pps: coins(random), pplns: coins(random), total: coins(random) })
    });
    Income { days: days.collect(), unread: random.u64(..2), read_on: date(2024, 3, 5) }
}

fn payments(random: &mut Rng) -> Payments {
    let rows = (0..random.u32(..20)).map(|id| {
        let payment = Payment {
            amount: coins(random),
            created: perhaps(random, |random| Some(UnixSeconds(random.i64(1_600_000_000..1_700_000_000)))),
            address: perhaps(random, |random| Some(PayoutAddress::new(&text(random)))),
        };
        (Id::new(&id.to_string()).unwrap(), payment)
    });
    Payments { by_id: rows.collect(), unread: random.u64(..2) }
}

fn pool(random: &mut Rng) -> Vec<(Currency, CoinStats)> {
    let coins = Currency::ALL.into_iter().filter_map(|currency| {
        let stats = |random: &mut Rng| CoinStats {
            miners: perhaps(random, |random| Some(random.u64(..))),
            fee: perhaps(random, |random| Ratio::new(random.f64())),
            pool_hashrate: perhaps(random, |random| Hashrate::new(number(random).abs())),
            network_hashrate: perhaps(random, |random| Hashrate::new(number(random).abs())),
            network_difficulty: perhaps(random, |random| Some(number(random))),
        };
        perhaps(random, |random| Some((currency, stats(random))))
    });
    coins.collect()
}

/// What a poll of a slot brings, if there is one.
fn poll<T>(random: &mut Rng, slot: &Slot<T>, answer: impl FnOnce(&mut Rng) -> T) {
    let at = Timestamp::from_millisecond(random.i64(1_600_000_000_000..1_709_000_000_000)).unwrap();
    let took = Duration::from_micros(random.u64(..40_000_000));
    match random.u8(..4) {
        0 => {}
        1 => {
            let failure = Failure { reason: random.choice(Reason::ALL).unwrap(), message: text(random) };
            slot.record(at, took, Err(failure));
        }
        _ => {
            slot.record(at, took, Ok(answer(random)));
        }
    }
}

/// Polls of some of the slots.
fn polls(random: &mut Rng, store: &Store, telemetry: &Telemetry) {
    poll(random, &store.pool, pool);
    for slots in store.targets.values().filter(|_| random.bool()).collect::<Vec<_>>() {
        poll(random, &slots.summary, summary);
        poll(random, &slots.income, income);
        poll(random, &slots.payments, payments);
        if let Some(slot) = &slots.workers {
            poll(random, slot, workers);
        }
    }
    for endpoint in Endpoint::ALL {
        let status = perhaps(random, |random| Some(random.u16(100..600)));
        telemetry.request(endpoint, status, Duration::from_micros(random.u64(..40_000_000)));
        telemetry.request_failed(endpoint, random.choice(Reason::ALL).unwrap());
        telemetry.anomalies(endpoint, "a_field", random.u64(..3));
    }
    telemetry.serves_until(perhaps(random, |_| Some(Timestamp::UNIX_EPOCH)));
}

fn configuration(random: &mut Rng) -> Config {
    let accounts = (0..random.u8(1..6)).map(|number| {
        let most = random.u8(1..8);
        format!(
            "  {name}: {{ api_key: {key}, currencies: [{currencies}], labels: {{ site: \"Экибастуз {number}\" }}, \
             expected_hashrate: {{ BTC: 12 GH/s }}, workers: {{ enabled: {workers}, max: {max} }} }}\n",
            name = ["farm_a", "гараж", "a \\ b", "'\"quoted\"'", "z"][usize::from(number)],
            key = harness::KEY,
            currencies = random.choice(["BTC", "LTC, BTC", "BTC, BCH, LTC"]).unwrap(),
            workers = random.u8(..5) > 0,
            max = if random.bool() { 20_000 } else { most.into() },
        )
    });
    harness::config("http://127.0.0.1:9/ru/api", &format!("accounts:\n{}", accounts.collect::<String>()))
}

/// The whole of what is sent.
fn sent(rendition: &Rendition, own: Option<&Own>) -> Vec<u8> {
    rendition.with(own).unwrap().concat()
}

fn unpacked(packed: &[u8]) -> String {
    let mut text = String::new();
    let mut decoder = GzDecoder::new(packed);
    decoder.read_to_string(&mut text).unwrap();
    // One member, and nothing behind it.
    assert!(decoder.into_inner().is_empty());
    text
}

fn first_difference(fast: &str, plain: &str) -> Option<(usize, String, String)> {
    let lines = fast.split_inclusive('\n').zip(plain.split_inclusive('\n')).enumerate();
    let mut different = lines.filter(|(_, (fast, plain))| fast != plain);
    let ends = || (0, format!("{} bytes", fast.len()), format!("{} bytes", plain.len()));
    let line = different.next().map(|(number, (fast, plain))| (number + 1, fast.to_owned(), plain.to_owned()));
    line.or_else(|| (fast.len() != plain.len()).then(ends))
}

#[test]
fn encoders_agree_on_any_store() {
    let stores: u64 = std::env::var("STORES").map_or(60, |stores| stores.parse().unwrap());
    for seed in 0..stores {
        let mut random = Rng::with_seed(seed);
        let config = configuration(&mut random);
        let store = Store::new(&config);
        let telemetry = Telemetry::new(Timestamp::UNIX_EPOCH);
        let mut before: [[Option<Rendition>; 2]; 2] = Default::default();
        // Polls come, and what was written before is kept where it is the same.
        for _ in 0..3 {
            polls(&mut random, &store, &telemetry);
            let names: Vec<_> = config.accounts.keys().cloned().collect();
            let scope = match random.u8(..6) {
                0 => Scope::WithoutProcess,
                1 => Scope::Accounts(names.into_iter().filter(|_| random.bool()).collect()),
                _ => Scope::All,
            };
            let age = Duration::from_secs(random.u64(..20_000));
            let wall = "2024-03-05T00:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(random.u64(..86_400));
            let now = Moment { wall, monotonic: Instant::now() + age };
            for (place, format) in FORMATS.into_iter().enumerate() {
                let view = View::take(&config, &store, &telemetry, &scope, now);
                let new = |encoding, before| Rendition::new(&view, format, encoding, before).unwrap();
                let [plain_before, packed_before] = before[place].each_ref().map(Option::as_ref);
                let plain = new(Encoding::Identity, plain_before);
                let packed = new(Encoding::Gzip, packed_before);
                let own = view.own.as_ref();
                let (fast, unpacked) = (sent(&plain, own), unpacked(&sent(&packed, own)));
                before[place] = [Some(plain), Some(packed)];
                let fast = String::from_utf8(fast).unwrap();
                let reference = render(view, format).unwrap();
                assert_eq!(first_difference(&fast, &reference), None, "seed {seed}, {format:?}");
                assert_eq!(first_difference(&unpacked, &reference), None, "seed {seed}, {format:?}, packed");
                if !fast.is_empty() {
                    parser::parse(&fast, format).unwrap_or_else(|error| panic!("seed {seed}, {format:?}: {error}"));
                }
            }
        }
    }
}

#[test]
fn cache_expires_at_staleness_or_midnight() {
    let yaml = format!("accounts: {{ farm: {{ api_key: {} }} }}", harness::KEY);
    let config = Config::from_yaml("test", &yaml, &Default::default()).unwrap();
    let store = Store::new(&config);
    let wall: Timestamp = "2024-03-05T00:00:00Z".parse().unwrap();
    let rendition = |now: Instant| {
        let view = View::known(&config, &store, &Scope::All, Moment { wall, monotonic: now });
        (Rendition::new(&view, Format::Classic, Encoding::Gzip, None).unwrap(), view.today)
    };
    let (empty, today) = rendition(Instant::now());
    assert!(empty.holds(Instant::now() + Duration::from_secs(1_000_000), today));
    let slots = store.targets.values().next().unwrap();
    let before = Instant::now();
    slots.summary.record(wall, Duration::ZERO, Ok(Summary::default()));
    slots.income.record(wall, Duration::ZERO, Ok(Income::default()));
    let after = Instant::now();
    let (full, today) = rendition(after);
    let live = config.polling.live.stale_after;
    assert!(full.holds(before + live - Duration::from_millis(1), today));
    assert!(!full.holds(after + live, today));
    assert!(!full.holds(after, today.tomorrow().unwrap()));
    // What is stale is out of it, and no reason to make it anew.
    let (rest, today) = rendition(after + live);
    let history = config.polling.history.stale_after;
    assert!(rest.holds(before + history - Duration::from_millis(1), today));
    assert!(!rest.holds(after + history, today));
}
