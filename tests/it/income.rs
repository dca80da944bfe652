//! Days, sums and payouts: exact over many rows, right at every midnight, and what the audit makes of the published
//! samples.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use btcpool_exporter::{
    Exporter,
    clock::Clock,
    collector::{Format, Moment, Scope, View, render},
    config::Config,
    history::{Payment, Payments},
    model::{Coins, Currency, Id, UnixSeconds},
    wire::{self, Anomalies},
};
use jiff::{ToSpan as _, civil::Date};
use serde_json::{Value, json};
use wiremock::{Request, ResponseTemplate};

use crate::{
    harness::{self, Pool, number},
    parser::{self, series},
};

/// A list that can be changed, in pages.
#[derive(Clone, Default)]
struct List(Arc<Mutex<Vec<Value>>>);

impl List {
    fn set(&self, rows: Vec<Value>) {
        *self.0.lock().unwrap() = rows;
    }

    async fn serve(&self, pool: &Pool, endpoint: &str) {
        let list = self.clone();
        let respond = move |request: &Request| {
            let rows = list.0.lock().unwrap();
            let page: Vec<_> = rows.iter().skip(number(request, "offset")).take(number(request, "limit")).collect();
            ResponseTemplate::new(200).set_body_json(json!({"status": "OK", "data": page, "total": rows.len()}))
        };
        pool.responds(endpoint, respond).await;
    }
}

/// A row of `profit_history`.
fn day(date: Date, pps: i64, pplns: i64) -> Value {
    let text = |units| Coins::from_units(units).to_string();
    json!({"date": date.to_string(), "hashrate": "1000000000000000.25", "pps_profit": text(pps),
        "pplns_profit": text(pplns), "total_profit": text(pps + pplns)})
}

/// A row of `payment_history`.
fn payment(id: usize, units: i64, created: i64, address: &str) -> Value {
    json!({"payment_id": id.to_string(), "amount": Coins::from_units(units).to_string(), "tx": "a-transaction",
        "created_time": created.to_string(), "address": address})
}

/// What an exporter shows of the histories after a poll of everything at a moment, without what all series share.
async fn shown(config: &Config, at: &str) -> BTreeMap<String, f64> {
    let clock = Clock::simulated(at.parse().unwrap(), 0.0);
    let exporter = Exporter::new(config.clone(), clock).unwrap();
    exporter.poller.once().await;
    let now = Moment { wall: clock.now(), monotonic: Instant::now() };
    let view = View::take(&exporter.config, &exporter.store, &exporter.telemetry, &Scope::All, now);
    let text = render(view, Format::Classic).unwrap();
    assert!(!text.contains("an-address") && !text.contains("a-transaction"), "{text}");
    let series = series(&parser::parse(&text, Format::Classic).unwrap());
    let owner = "account=\"farm\",currency=\"BTC\"";
    let of_history = |(name, value): (String, f64)| {
        let name = name.strip_prefix("btcpool_account_")?;
        let wanted = ["income_", "payment", "paid_", "last_payment_", "payout_"];
        let short = name.replace(&format!("{owner},"), "").replace(&format!("{{{owner}}}"), "");
        wanted.iter().any(|part| name.starts_with(part)).then_some((short, value))
    };
    series.into_iter().filter_map(of_history).collect()
}

fn of<const N: usize>(expected: [(&str, f64); N]) -> BTreeMap<String, f64> {
    expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The decimal number nearest to which the exported one must be.
fn coins(units: i128) -> f64 {
    format!("{}.{:08}", units / 100_000_000, units % 100_000_000).parse().unwrap()
}

#[tokio::test]
async fn thousand_days_sum_exactly() {
    let pool = Pool::start().await;
    let (income, payments) = (List::default(), List::default());
    income.serve(&pool, "profit_history").await;
    payments.serve(&pool, "payment_history").await;
    let today: Date = "2024-03-01".parse().unwrap();
    // Amounts that no sum of floats gets right: of all sizes, with odd last digits.
    let amount = |n: i64| (n * n * 7_919 + 13) % 100_003 * 10_i64.pow(u32::try_from(n % 7).unwrap()) + n % 10;
    let mut rows = Vec::new();
    let mut expected = [0_i128; 3];
    // A thousand days before today, with a gap of ten, and today's.
    for n in (0..=1010).filter(|n| !(100..110).contains(n)) {
        let (pps, pplns) = (amount(n), amount(n + 5000));
        rows.push(day(today.checked_sub(n.days()).unwrap(), pps, pplns));
        for (sum, days) in expected.iter_mut().zip([7, 30, i64::MAX]) {
            *sum += if (1..=days).contains(&n) { i128::from(pps + pplns) } else { 0 };
        }
    }
    assert_eq!(rows.len(), 1001);
    income.set(rows.clone());
    // A payout a day, newest first; the newest of them at the same second as the one before it.
    let paid: Vec<_> = (0..1000)
        .map(|n| payment(5000 - n, amount(n as i64), 1_709_000_000 - (n as i64).max(1) * 86_400, "an-address"))
        .collect();
    let paid_sum: i128 = (0..1000).map(|n| i128::from(amount(n))).sum();
    payments.set(paid.clone());
    let config = harness::config_with(&pool.base_url(), "page_size: 70", &harness::one_account());
    let noon = "2024-03-01T04:00:00Z";
    let before = shown(&config, noon).await;
    let mut wanted = of([
        ("income_today_coins{scheme=\"pps\"}", coins(i128::from(amount(0)))),
        ("income_today_coins{scheme=\"pplns\"}", coins(i128::from(amount(5000)))),
        ("income_last_day_coins{scheme=\"pps\"}", coins(i128::from(amount(1)))),
        ("income_last_day_coins{scheme=\"pplns\"}", coins(i128::from(amount(5001)))),
        ("income_last_day_timestamp_seconds", 1_709_136_000.0),
        ("income_last_day_hashrate_hashes_per_second", 1_000_000_000_000_000.25),
        ("income_coins{period=\"7d\"}", coins(expected[0])),
        ("income_coins{period=\"30d\"}", coins(expected[1])),
        ("income_coins{period=\"all\"}", coins(expected[2])),
        ("payments", 1000.0),
        ("paid_coins", coins(paid_sum)),
        ("last_payment_coins", coins(i128::from(amount(0) + amount(1)))),
        ("last_payment_timestamp_seconds", 1_709_000_000.0 - 86_400.0),
        // Two payouts at once are one.
        ("payment_interval_seconds", 86_400.0),
        ("payout_address_changed", 0.0),
    ]);
    assert_eq!(before, wanted);

    // The pool corrects a day of three weeks ago by one unit, and pays out once more, elsewhere.
    let corrected = rows.iter().position(|row| row["date"] == "2024-02-09").unwrap();
    rows[corrected] = day("2024-02-09".parse().unwrap(), amount(21) + 1, amount(5021));
    income.set(rows);
    let newest = payment(6000, 1, 1_709_100_000, "another-address");
    payments.set([vec![newest], paid].concat());
    wanted.extend(of([
        ("income_coins{period=\"30d\"}", coins(expected[1] + 1)),
        ("income_coins{period=\"all\"}", coins(expected[2] + 1)),
        ("payments", 1001.0),
        ("paid_coins", coins(paid_sum + 1)),
        ("last_payment_coins", 1e-8),
        ("last_payment_timestamp_seconds", 1_709_100_000.0),
        ("payout_address_changed", 1.0),
    ]));
    assert_eq!(shown(&config, noon).await, wanted);
}

#[test]
fn payout_interval_is_the_recent_median() {
    const HOUR: i64 = 3600;
    let usual = |hours: &[i64]| {
        let row = |(id, &hours): (usize, &i64)| {
            let created = Some(UnixSeconds(1_700_000_000 + hours * HOUR));
            (Id::new(&id.to_string()).unwrap(), Payment { amount: None, created, address: None })
        };
        let by_id = hours.iter().enumerate().map(row).collect();
        Payments { by_id, unread: 0 }.usual_interval().map(|seconds| seconds / HOUR as f64)
    };
    assert_eq!(usual(&[]), None);
    assert_eq!(usual(&[0, 24, 48]), None, "three are too few");
    assert_eq!(usual(&[0, 24, 24, 48]), None, "and those that are made together are one");
    assert_eq!(usual(&[0, 24, 48, 96]), Some(24.0));
    assert_eq!(usual(&[0, 9000, 9024, 9048]), Some(24.0), "a year's rest before");
    assert_eq!(usual(&[96, 24, 0, 48]), Some(24.0), "in any order");
    assert_eq!(usual(&[0, 10, 30, 60, 100]), Some(25.0), "between the middle two");
    // Thirty intervals of two days hide what was before them.
    let daily = (0..40).map(|n| n * 24);
    let newer = (1..=30).map(|n| 39 * 24 + n * 48);
    assert_eq!(usual(&daily.chain(newer).collect::<Vec<_>>()), Some(48.0));

    // Parts do not count as payouts: the newest thirty intervals are ten of two days, and twenty of one.
    let in_parts = (1..=10).flat_map(|n| [39 * 24 + n * 48; 2]);
    assert_eq!(usual(&(0..40).map(|n| n * 24).chain(in_parts).collect::<Vec<_>>()), Some(24.0));

    let row = |created| Payment { amount: None, created, address: None };
    let rows = (1..=5).map(|n| (Id::new(&n.to_string()).unwrap(), row(Some(UnixSeconds(n * 86_400)))));
    let mut payments = Payments { by_id: rows.collect(), unread: 0 };
    assert_eq!(payments.usual_interval(), Some(86_400.0));
    payments.by_id.insert(Id::new("6").unwrap(), row(None));
    assert_eq!(payments.usual_interval(), None, "one has no readable time");
    payments.by_id.remove(&Id::new("6").unwrap());
    payments.unread = 1;
    assert_eq!(payments.usual_interval(), None, "one has no readable id");
}

/// The last second of a year and the first one in which it is final, as pools at three offsets have them.
#[tokio::test]
async fn running_day_ends_at_the_pools_midnight() {
    let date = |text: &str| text.parse::<Date>().unwrap();
    for (offset, before, after, new_year) in [
        ("+08:00", "2023-12-31T15:59:59Z", "2023-12-31T16:00:01Z", 1_704_038_400.0),
        ("+05:00", "2023-12-31T18:59:59Z", "2023-12-31T19:00:01Z", 1_704_049_200.0),
        ("00:00", "2023-12-31T23:59:59Z", "2024-01-01T00:00:01Z", 1_704_067_200.0),
    ] {
        let pool = Pool::start().await;
        let income = List::default();
        income.serve(&pool, "profit_history").await;
        let api = format!("day_utc_offset: \"{offset}\"");
        let config = harness::config_with(&pool.base_url(), &api, &harness::one_account());
        let mut rows =
            vec![day(date("2023-12-24"), 1, 0), day(date("2023-12-25"), 10, 0), day(date("2023-12-30"), 100, 5)];
        rows.push(day(date("2023-12-31"), 900, 40));
        income.set(rows.clone());
        let hashrate = ("income_last_day_hashrate_hashes_per_second", 1_000_000_000_000_000.25);
        let expected = of([
            ("income_today_coins{scheme=\"pps\"}", 900e-8),
            ("income_today_coins{scheme=\"pplns\"}", 40e-8),
            ("income_last_day_coins{scheme=\"pps\"}", 100e-8),
            ("income_last_day_coins{scheme=\"pplns\"}", 5e-8),
            ("income_last_day_timestamp_seconds", new_year - 2.0 * 86_400.0),
            hashrate,
            ("income_coins{period=\"7d\"}", 116e-8),
            ("income_coins{period=\"30d\"}", 116e-8),
            ("income_coins{period=\"all\"}", 116e-8),
        ]);
        assert_eq!(shown(&config, before).await, expected, "{offset} before");
        // The year is over. The pool has the last day's final figures, and nothing of the new one yet.
        rows[3] = day(date("2023-12-31"), 1000, 50);
        income.set(rows.clone());
        let mut expected = of([
            ("income_last_day_coins{scheme=\"pps\"}", 1000e-8),
            ("income_last_day_coins{scheme=\"pplns\"}", 50e-8),
            ("income_last_day_timestamp_seconds", new_year - 86_400.0),
            hashrate,
            // The 24th is eight days ago now.
            ("income_coins{period=\"7d\"}", 1165e-8),
            ("income_coins{period=\"30d\"}", 1166e-8),
            ("income_coins{period=\"all\"}", 1166e-8),
        ]);
        assert_eq!(shown(&config, after).await, expected, "{offset} after");
        rows.push(day(date("2024-01-01"), 3, 0));
        income.set(rows);
        expected
            .extend(of([("income_today_coins{scheme=\"pps\"}", 3e-8), ("income_today_coins{scheme=\"pplns\"}", 0.0)]));
        assert_eq!(shown(&config, after).await, expected, "{offset} and the new day's row");
    }
}

/// The difficulty that the compact form of a block's header stands for.
fn difficulty(bits: u32) -> f64 {
    let (exponent, mantissa) = (bits >> 24, bits & 0x00ff_ffff);
    // The target of difficulty 1 is 0xffff * 2^208.
    f64::from(0xffff) / f64::from(mantissa) * 2_f64.powi(208 - 8 * (i32::try_from(exponent).unwrap() - 3))
}

/// Bitcoin's difficulty from the 20th of April to the 4th of May 2023, as every block header of those days has it.
const BITS_OF_THOSE_DAYS: u32 = 0x1705_c739;

/// What a block paid then.
const SUBSIDY_OF_THOSE_DAYS: f64 = 6.25;

/// The table of docs/income.md, reckoned from the published samples.
#[test]
fn audit_of_samples_is_as_documented() {
    let read = |endpoint| harness::sample(endpoint);
    let (main_stat, income) = (read("main_stat"), read("profit_history"));
    let mut anomalies = Anomalies::default();
    let stats = wire::main_stat(&main_stat, &mut anomalies).unwrap();
    let of_main_stat =
        stats.iter().find(|(currency, _)| *currency == Currency::Btc).unwrap().1.network_difficulty.unwrap();
    let rows = wire::profit_history(&income, &mut anomalies).unwrap().rows;
    let difficulty = difficulty(BITS_OF_THOSE_DAYS);
    assert_eq!((difficulty.round(), of_main_stat), (48_712_405_953_118.0, 52_391_178_981_379.0));
    let mut table = String::from(
        "| day | TH/s | expected | pay per share | of expected | both schemes | of expected |\n|---|---|---|---|---|---|---|\n",
    );
    let mut shares = Vec::new();
    for (date, day) in rows.into_iter().flatten() {
        let hashrate = day.hashrate.unwrap().as_f64();
        let expected = hashrate * 86_400.0 * SUBSIDY_OF_THOSE_DAYS / (difficulty * 2_f64.powi(32));
        let (pps, total) = (day.pps.unwrap(), day.total.unwrap());
        assert_eq!(day.pplns.and_then(|pplns| pplns.checked_add(pps)), Some(total));
        shares.push(pps.as_f64() / expected);
        let (of_pps, of_total) = (pps.as_f64() / expected * 100.0, total.as_f64() / expected * 100.0);
        table += &format!(
            "| {date} | {:.1} | {expected:.8} | {pps} | {of_pps:.2} % | {total} | {of_total:.2} % |\n",
            hashrate / 1e12
        );
    }
    assert_eq!(shares.len(), 7);
    // Every day the same 3.52 %, but for the rounding of the amounts to 1e-8 and of the credited shares.
    let within = |share: &f64| (0.9648..0.9649).contains(share);
    assert!(shares.iter().all(within), "{shares:?}");
    let document = include_str!("../../docs/income.md");
    assert!(document.contains(&table), "docs/income.md should have:\n{table}");
    // With the difficulty of the sample of main_stat, which is of August, more than everything would be credited.
    let with_main_stat = shares[0] * of_main_stat / difficulty;
    assert!((1.037..1.038).contains(&with_main_stat), "{with_main_stat}");
}
