//! The past as OpenMetrics: the text, to the letter; that it tells what a scrape of each day told; how the command ends.

use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use btcpool_exporter::{
    Exporter,
    backfill::{Backfill, Terms, Totals},
    clock::Clock,
    collector::{Format, Moment, Scope, View, past::PAST, render},
    config::{Config, Overrides},
    demo::{Farm, SimulatedPool},
    history::{History as _, Income, IncomeDay, Payment, Payments, PayoutAddress, day_start},
    model::{Coins, Hashrate, Id, Target, UnixSeconds},
    server,
};
use jiff::{Timestamp, civil::Date, tz::Offset};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wiremock::{Request, Respond, ResponseTemplate};

use crate::{
    exposition::golden,
    harness::{self, KEY, PATIENCE, Pool, Program, number, program, run},
    parser::{self, series},
};

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn seconds(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second()
}

fn target() -> Target {
    Target { account: "farm".parse().unwrap(), currency: "BTC".parse().unwrap() }
}

fn day(text: &str, pps: i64, pplns: i64) -> IncomeDay {
    let coins = |units| Some(Coins::from_units(units));
    let hashrate = Hashrate::new(1e15 + pps as f64);
    IncomeDay { date: date(text), hashrate, pps: coins(pps), pplns: coins(pplns), total: coins(pps + pplns) }
}

fn income(days: &[IncomeDay]) -> Income {
    let days = days.iter().map(|day| (day.date, day.clone())).collect();
    Income { days, unread: 0, read_on: date("2030-01-01") }
}

fn payments(rows: &[(&str, i64, &str, &str)]) -> Payments {
    let row = |&(id, amount, created, address): &(&str, i64, &str, &str)| {
        let payment = Payment {
            amount: Some(Coins::from_units(amount)),
            created: Some(UnixSeconds(seconds(created))),
            address: Some(PayoutAddress::new(address)),
        };
        (Id::new(id).unwrap(), payment)
    };
    Payments { by_id: rows.iter().map(row).collect(), unread: 0 }
}

/// All that is there, up to the end of a day.
fn terms(to: &str, offset: i8) -> Terms {
    let day_utc_offset = Offset::constant(offset);
    let until = day_start(date(to).tomorrow().unwrap(), day_utc_offset).unwrap();
    Terms { from: None, until, day_utc_offset, step: None, labels: Vec::new() }
}

fn text_of(terms: Terms, histories: &[(Target, Income, Payments)]) -> (String, Totals) {
    let mut backfill = Backfill::new(terms, &std::env::temp_dir()).unwrap();
    for (target, income, payments) in histories {
        backfill.add(target, income.clone(), payments.clone()).unwrap();
    }
    let mut text = Vec::new();
    let totals = backfill.write_to(&mut text).unwrap();
    (String::from_utf8(text).unwrap(), totals)
}

/// The samples of a text, without the lines that announce them.
fn samples(terms: Terms, income: Income, payments: Payments) -> Vec<String> {
    let (text, totals) = text_of(terms, &[(target(), income, payments)]);
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    assert_eq!(totals.samples as usize, samples.len());
    samples
}

/// Those of one series, as values and times.
fn course(samples: &[String], series: &str) -> Vec<String> {
    samples.iter().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).map(str::to_owned).collect()
}

const ALL: &str = "btcpool_account_income_coins{account=\"farm\",currency=\"BTC\",period=\"all\"}";
const WEEK: &str = "btcpool_account_income_coins{account=\"farm\",currency=\"BTC\",period=\"7d\"}";
const PPS: &str = "btcpool_account_income_last_day_coins{account=\"farm\",currency=\"BTC\",scheme=\"pps\"}";
const DAY: &str = "btcpool_account_income_last_day_timestamp_seconds{account=\"farm\",currency=\"BTC\"}";
const COUNT: &str = "btcpool_account_payments{account=\"farm\",currency=\"BTC\"}";
const PAID: &str = "btcpool_account_paid_coins{account=\"farm\",currency=\"BTC\"}";
const LAST: &str = "btcpool_account_last_payment_coins{account=\"farm\",currency=\"BTC\"}";
const CHANGED: &str = "btcpool_account_payout_address_changed{account=\"farm\",currency=\"BTC\"}";

#[test]
fn backfill_golden() {
    let days = [
        day("2023-12-30", 100_000, 10),
        // A gap, a day that brought as much as the one before it, and the running day.
        day("2024-01-01", 200_000, 20),
        day("2024-01-02", 200_000, 20),
        day("2024-01-03", 1, 1),
    ];
    let paid = [
        ("1", 90_000, "2024-01-01T01:00:00Z", "a"),
        ("2", 90_000, "2024-01-02T01:00:00Z", "a"),
        ("3", 5, "2024-01-02T09:00:00Z", "b"),
        // On the running day.
        ("4", 7, "2024-01-02T23:00:00Z", "b"),
    ];
    let quiet = Target { account: "a \"quiet\" \\ one".parse().unwrap(), currency: "LTC".parse().unwrap() };
    let histories = [
        (quiet, income(&[day("2024-01-01", 5, 0)]), Payments::default()),
        (target(), income(&days), payments(&paid)),
        (Target { currency: "LTC".parse().unwrap(), ..target() }, Income::default(), Payments::default()),
    ];
    let mut terms = terms("2024-01-02", 8);
    terms.labels = vec![("job".to_owned(), "btc\"pool".to_owned())];
    let (text, totals) = text_of(terms, &histories);
    golden("backfill.om.txt", &text);
    assert_eq!(totals, Totals { days: 5, payments: 4, series: 21, samples: 52 });
}

/// Whatever moment of the past is looked at: what was written for it is what a scrape showed.
#[tokio::test(flavor = "multi_thread")]
async fn backfill_equals_a_scrape_at_the_time() {
    // It begins on the third of March 2025 at noon with the pool, so that a year's end is on the books.
    let now = Clock::simulated("2025-03-03T04:00:00Z".parse().unwrap(), 0.0);
    let keys = [("east", 3), ("west", 1)].map(|(name, machines)| (name.to_owned(), format!("key-{name}"), machines));
    let farm = || {
        let mut farm = Farm::of(11, now.now(), keys.clone());
        farm.days = 140;
        farm
    };
    let shown = async |at: &str| {
        let clock = Clock::simulated(at.parse().unwrap(), 0.0);
        let pool = SimulatedPool::of(farm(), clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = pool.base_url(listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(server::serve(listener, pool.router(), shutdown.clone()));
        let config = Config::from_yaml("test", &pool.configuration(&base_url, 1.0), &Overrides::default()).unwrap();
        let exporter = Exporter::new(config, clock).unwrap();
        exporter.poller.once().await;
        let mut histories = Vec::new();
        for (target, account) in exporter.config.targets() {
            let (income, payments) = exporter.poller.histories(&target, &account.key).await.unwrap();
            histories.push((target, income, payments));
        }
        let at = Moment { wall: clock.now(), monotonic: Instant::now() };
        let view = View::take(&exporter.config, &exporter.store, &exporter.telemetry, &Scope::All, at);
        let text = render(view, Format::Classic).unwrap();
        shutdown.cancel();
        serving.await.unwrap();
        let mut shown = series(&parser::parse(&text, Format::Classic).unwrap());
        shown.retain(|name, _| PAST.iter().any(|(family, _)| name.starts_with(&format!("{family}{{"))));
        (shown, histories)
    };
    let (_, histories) = shown("2025-03-03T04:00:00Z").await;
    let (text, totals) = text_of(terms("2025-03-02", 8), &histories);
    assert_eq!(totals.days, 2 * 140, "a row for each day and today's, and one gap, for each of two accounts");
    let mut courses = BTreeMap::<&str, Vec<(i64, f64)>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [at, value, series] = line.rsplitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        courses.entry(series).or_default().push((at.parse().unwrap(), value.parse().unwrap()));
    }
    for at in [
        // A second after midnight, when the day is final. The first day of the books, and the days behind it; the gap and its end; a year's end; now and then.
        "2024-10-14T16:00:01Z",
        "2024-10-15T15:59:59Z",
        "2024-10-15T16:00:01Z",
        "2024-10-21T16:00:01Z",
        "2024-12-15T20:00:00Z",
        "2024-12-16T16:00:01Z",
        "2024-12-17T16:00:01Z",
        "2024-12-31T15:59:59Z",
        "2024-12-31T16:00:01Z",
        "2025-01-12T01:02:03Z",
        "2025-02-20T23:59:00Z",
        "2025-03-02T16:00:01Z",
    ] {
        let moment = seconds(at);
        let written: BTreeMap<_, _> = (courses.iter())
            .filter_map(|(series, course)| {
                let last = course.iter().rfind(|(time, _)| *time <= moment)?;
                Some(((*series).to_owned(), last.1))
            })
            .collect();
        assert_eq!(written, shown(at).await.0, "at {at}");
    }
}

#[test]
fn day_ends_at_the_pools_midnight() {
    // The end of a year and of a leap year's February, as pools at three offsets have it.
    for (offset, midnight) in [(8, "2023-12-31T16:00:00Z"), (5, "2023-12-31T19:00:00Z"), (0, "2024-01-01T00:00:00Z")] {
        let days = [day("2023-12-30", 3, 0), day("2023-12-31", 5, 0), day("2024-01-01", 7, 0)];
        let samples = samples(terms("2024-01-01", offset), income(&days), Payments::default());
        let midnight = seconds(midnight);
        let [before, after] = [midnight - 86_400, midnight + 86_400];
        assert_eq!(
            course(&samples, PPS),
            [format!("0.00000003 {before}"), format!("0.00000005 {midnight}"), format!("0.00000007 {after}")]
        );
        assert_eq!(
            course(&samples, DAY),
            [format!("{} {before}", before - 86_400), format!("{before} {midnight}"), format!("{midnight} {after}"),]
        );
        let begin = before - 86_400;
        assert_eq!(
            course(&samples, ALL),
            [
                format!("0 {begin}"),
                format!("0.00000003 {before}"),
                format!("0.00000008 {midnight}"),
                format!("0.00000015 {after}"),
            ]
        );
    }
}

#[test]
fn from_and_to_keep_the_sums() {
    let days: Vec<_> = (1..=20).map(|n| day(&format!("2024-05-{n:02}"), n, 0)).collect();
    let paid = [("1", 10, "2024-05-02T00:00:00Z", "a"), ("2", 20, "2024-05-12T00:00:00Z", "a")];
    let mut terms = terms("2024-05-13", 0);
    terms.from = Some(date("2024-05-11"));
    let samples = samples(terms, income(&days), payments(&paid));
    let at = |n: i64| seconds("2024-05-11T00:00:00Z") + n * 86_400;
    let all = [(55, 0), (66, 1), (78, 2), (91, 3)].map(|(sum, n)| format!("0.000000{sum} {}", at(n)));
    assert_eq!(course(&samples, ALL), all);
    let week = [("49", 0), ("56", 1), ("63", 2), ("7", 3)].map(|(sum, n)| format!("0.000000{sum} {}", at(n)));
    assert_eq!(course(&samples, WEEK), week);
    assert_eq!(course(&samples, PAID), [format!("0.0000001 {}", at(0)), format!("0.0000003 {}", at(1))]);
    assert_eq!(samples.iter().filter(|line| line.starts_with("btcpool_account_income_last_day_coins")).count(), 8);
}

#[test]
fn values_repeat_at_each_step() {
    let mut terms = terms("2024-05-02", 8);
    terms.step = Some(Duration::from_secs(5 * 3600));
    let paid = [("1", 10, "2024-05-01T03:30:00Z", "a")];
    let samples = samples(terms, income(&[day("2024-05-01", 4, 0)]), payments(&paid));
    let hours = |hours: &[i64]| -> Vec<i64> {
        // In half hours since midnight; the first whole multiple of five hours since 1970 is two hours behind it.
        hours.iter().map(|hour| seconds("2024-04-30T16:00:00Z") + hour * 1800).collect()
    };
    let times = |series| -> Vec<i64> {
        course(&samples, series).iter().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    };
    assert_eq!(times(PPS), hours(&[48, 54, 64, 74, 84, 94]));
    assert_eq!(times(COUNT), hours(&[0, 4, 14, 23, 24, 34, 44, 54, 64, 74, 84, 94]));
    assert_eq!(course(&samples, COUNT)[..4].iter().map(|line| &line[..1]).collect::<String>(), "0001");
}

#[test]
fn unknown_values_are_not_written() {
    let mut days = vec![day("2024-05-01", 1, 0), day("2024-05-02", 2, 0), day("2024-05-03", 4, 0)];
    for n in 4..=12 {
        days.push(day(&format!("2024-05-{n:02}"), 8, 0));
    }
    (days[1].pps, days[1].total) = (None, None);
    let at = |n: i64| seconds("2024-05-01T00:00:00Z") + n * 86_400;
    let mut hourly = terms("2024-05-11", 0);
    hourly.step = Some(Duration::from_secs(12 * 3600));
    for (terms, step) in [(terms("2024-05-11", 0), false), (hourly, true)] {
        let samples = samples(terms, income(&days), Payments::default());
        let times = |series| -> Vec<String> {
            course(&samples, series).iter().map(|line| line.rsplit_once(' ').unwrap().1.to_owned()).collect()
        };
        // Nothing is repeated into the days on which it was not known.
        if step {
            assert_eq!(times(ALL), [at(0), at(0) + 43_200, at(1), at(1) + 43_200].map(|at| at.to_string()));
            assert_eq!(times(PPS)[..3], [at(1), at(1) + 43_200, at(3)].map(|at| at.to_string()));
        } else {
            // All time's sum is never known again; the week's is when the day is a week ago.
            assert_eq!(course(&samples, ALL), [format!("0 {}", at(0)), format!("0.00000001 {}", at(1))]);
            assert_eq!(
                course(&samples, WEEK),
                [
                    format!("0 {}", at(0)),
                    format!("0.00000001 {}", at(1)),
                    format!("0.00000052 {}", at(9)),
                    format!("0.00000056 {}", at(10)),
                ]
            );
            let days = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(|n| at(n).to_string());
            assert_eq!(times(PPS), days);
        }
    }

    // A payment of an unknown time may have been any of them, and so may one of an unknown id.
    let mut without_time = payments(&[("1", 10, "2024-05-02T00:00:00Z", "a"), ("2", 10, "2024-05-03T00:00:00Z", "a")]);
    without_time.by_id.values_mut().next().unwrap().created = None;
    let unread = Payments { unread: 1, ..payments(&[("2", 10, "2024-05-03T00:00:00Z", "a")]) };
    for payments in [without_time, unread] {
        let samples = samples(terms("2024-05-11", 0), Income::default(), payments);
        let of_payments = |line: &&String| ["_pa", "_last_payment"].iter().any(|part| line.contains(part));
        assert_eq!((samples.len(), samples.iter().find(of_payments)), (3, None), "{samples:?}");
    }
    // Of an unknown amount: counted, and the sum is not known from then on.
    let mut paid = payments(&[("1", 10, "2024-05-02T00:00:00Z", "a"), ("2", 10, "2024-05-03T00:00:00Z", "b")]);
    paid.by_id.values_mut().next_back().unwrap().amount = None;
    let samples = samples(terms("2024-05-11", 0), Income::default(), paid);
    assert_eq!(course(&samples, COUNT), [format!("1 {}", at(1)), format!("2 {}", at(2))]);
    assert_eq!(course(&samples, PAID), [format!("0.0000001 {}", at(1))]);
    assert_eq!(course(&samples, LAST), [format!("0.0000001 {}", at(1))]);
    assert_eq!(course(&samples, CHANGED), [format!("1 {}", at(2))]);
}

#[test]
fn payouts_of_one_second_are_one_moment() {
    let rows = [
        ("1", 10, "2024-05-02T10:00:00Z", "a"),
        ("2", 20, "2024-05-03T10:00:00Z", "a"),
        ("3", 30, "2024-05-03T10:00:00Z", "b"),
    ];
    let samples = samples(terms("2024-05-11", 0), Income::default(), payments(&rows));
    let [begin, first, second] = ["2024-05-02T00:00:00Z", "2024-05-02T10:00:00Z", "2024-05-03T10:00:00Z"].map(seconds);
    assert_eq!(course(&samples, COUNT), [format!("0 {begin}"), format!("1 {first}"), format!("3 {second}")]);
    assert_eq!(course(&samples, LAST), [format!("0.0000001 {first}"), format!("0.0000005 {second}")]);
    assert_eq!(course(&samples, CHANGED), [format!("1 {second}")]);
}

/// Each payout has one sample, so that samples can be summed.
#[test]
fn a_payout_in_parts_is_told_with_its_last_part() {
    let rows = [
        ("1", 10, "2024-05-02T10:00:00Z", "a"),
        ("2", 20, "2024-05-02T10:09:00Z", "b"),
        ("3", 30, "2024-05-02T10:18:00Z", "a"),
        ("4", 40, "2024-05-03T10:00:00Z", "a"),
        ("5", 50, "2024-05-11T23:59:00Z", "a"),
        ("6", 60, "2024-05-12T00:01:00Z", "a"),
    ];
    let samples = samples(terms("2024-05-11", 0), Income::default(), payments(&rows));
    let [first, second, third] = ["2024-05-02T10:18:00Z", "2024-05-03T10:00:00Z", "2024-05-11T23:59:00Z"].map(seconds);
    let expected = [format!("0.0000006 {first}"), format!("0.0000004 {second}"), format!("0.0000005 {third}")];
    assert_eq!(course(&samples, LAST), expected);
}

/// Ids are not promised to be in the order of time, nor are rows.
#[test]
fn newest_two_payouts_by_time() {
    let rows = [
        ("3", 10, "2024-05-01T10:00:00Z", "a"),
        ("1", 20, "2024-05-02T10:00:00Z", "a"),
        ("2", 30, "2024-05-03T10:00:00Z", "b"),
        ("9", 40, "2024-04-30T10:00:00Z", "c"),
    ];
    // Whichever is there: of the two newest, the addresses differ with the third of May only.
    for (rows, newest, changed) in [
        (&rows[..], 30, Some(true)),
        (&rows[..2], 20, Some(false)),
        (&rows[..1], 10, None),
        (&rows[2..], 30, Some(true)),
    ] {
        let payments = payments(rows);
        let last = payments.last().and_then(|payout| payout.amount());
        assert_eq!((last, payments.address_changed()), (Some(Coins::from_units(newest)), changed), "{rows:?}");
    }
    // The one before the newest is neither the first nor the last by id.
    let rows = [
        ("1", 1, "2024-05-03T10:00:00Z", "a"),
        ("2", 1, "2024-05-02T10:00:00Z", "a"),
        ("3", 1, "2024-05-01T10:00:00Z", "b"),
    ];
    assert_eq!(payments(&rows).address_changed(), Some(false));
}

#[test]
fn empty_history_is_a_file_without_families() {
    let histories = [(target(), Income::default(), Payments::default())];
    assert_eq!(text_of(terms("2024-05-11", 0), &histories), ("# EOF\n".to_owned(), Totals::default()));
    // Days and no payout: of the payouts only that there were none.
    let (text, _) =
        text_of(terms("2024-05-01", 0), &[(target(), income(&[day("2024-05-01", 1, 1)]), Payments::default())]);
    let announced: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let first = PAST.iter().take(6).map(|(name, _)| format!("{name} gauge"));
    assert!(announced.iter().copied().eq(first), "{announced:?}");
}

#[test]
fn row_before_genesis_does_not_stretch_time() {
    let days = [day("0001-01-01", 1, 0), day("2009-01-04", 2, 0)];
    let samples = samples(terms("2009-01-04", 0), income(&days), Payments::default());
    let begin = seconds("2009-01-03T00:00:00Z");
    assert_eq!(course(&samples, ALL), [format!("0.00000001 {begin}"), format!("0.00000003 {}", begin + 2 * 86_400)]);
}

#[test]
fn backfilled_families_are_catalogue_gauges() {
    use btcpool_exporter::collector::{CATALOGUE, Kind, past};
    let named: Vec<_> = past::families().map(|(_, family, _)| (family.name, family.kind)).collect();
    assert_eq!(named, PAST.map(|(name, _)| (name, Kind::Gauge)));
    let place = |name| CATALOGUE.iter().position(|family| family.name == name);
    assert!(PAST.iter().map(|(name, _)| place(*name)).is_sorted());
}

/// Answers the histories of so many days and payments, in pages; everything else is a 404.
struct Books {
    days: i64,
    payments: i64,
}

impl Respond for Books {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let first = date("2024-01-01");
        let rows: Vec<_> = match harness::query(request, "method").as_deref() {
            Some("profit_history") => (0..self.days)
                .map(|n| {
                    let date = first.checked_add(jiff::Span::new().days(n)).unwrap();
                    serde_json::json!({"date": date.to_string(), "hashrate": "1e15", "pps_profit": "0.00000002",
                        "pplns_profit": "0.00000001", "total_profit": "0.00000003"})
                })
                .collect(),
            Some("payment_history") => (0..self.payments)
                .map(|n| {
                    serde_json::json!({"payment_id": n.to_string(), "amount": "0.5", "address": "an-address",
                        "tx": "a-transaction", "created_time": (1_704_500_000 + n * 100_000).to_string()})
                })
                .collect(),
            _ => return ResponseTemplate::new(404),
        };
        let page: Vec<_> = rows.iter().skip(number(request, "offset")).take(number(request, "limit")).collect();
        ResponseTemplate::new(200).set_body_json(serde_json::json!({"status": "OK", "data": page, "total": rows.len()}))
    }
}

/// A folder with the configuration of two accounts at a pool, and a place for the output.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn at(base_url: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let yaml = format!(
            "api: {{ base_url: \"{base_url}\", requests_per_second: 1000, page_size: 50, timeout: 60s }}\n\
             accounts:\n  farm: {{ api_key: {KEY} }}\n  gone: {{ api_key: {KEY}x, currencies: [BTC, LTC] }}\n"
        );
        fs::write(folder.path().join("config.yml"), yaml).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, more: &[&str]) -> std::process::Command {
        program(&[&["backfill", "--config.file", &self.path("config.yml")], more].concat())
    }

    async fn run(&self, more: &[&str]) -> (Option<i32>, String, String) {
        let command = self.command(more);
        tokio::task::spawn_blocking(|| run(command)).await.unwrap()
    }

    /// Every file of the folder.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_to_file_equals_standard_output() {
    let pool = Pool::start().await;
    for endpoint in ["profit_history", "payment_history"] {
        pool.responds(endpoint, Books { days: 120, payments: 70 }).await;
    }
    let desk = Desk::at(&pool.base_url());
    let output = desk.path("past.om");
    let arguments = ["--to", "2024-04-20", "--account", "farm", "--output", &output];
    let (code, nothing, errors) = desk.run(&arguments).await;
    assert_eq!((code, nothing.as_str()), (Some(0), ""), "{errors}");
    let lines: Vec<_> = errors.lines().collect();
    let said = format!("{output}: 879 samples of 13 series, from 120 days and 70 payouts; 5 requests in ");
    assert!(lines.len() == 2 && lines[1].starts_with(&said), "{errors}");
    assert_eq!(lines[0], "1/1 farm BTC: 120 days, 70 payouts");
    let requests = pool.requests("profit_history").await.len() + pool.requests("payment_history").await.len();
    assert_eq!(requests, 5);
    assert_eq!(desk.files(), ["config.yml", "past.om"]);
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&output), mode(&desk.path("config.yml")), "the umask alone says who may read it");

    let text = fs::read_to_string(&output).unwrap();
    assert!(text.ends_with("\n# EOF\n"));
    for secret in [KEY, "an-address", "a-transaction"] {
        assert!(!text.contains(secret) && !errors.contains(secret), "{secret}");
    }
    // Over what is there, through a link, and to standard output: the same bytes.
    let link = desk.path("link.om");
    std::os::unix::fs::symlink(&output, &link).unwrap();
    for (place, standard) in [(&output[..], false), (&link, false), ("-", true)] {
        let arguments = ["--to", "2024-04-20", "--account=farm", "--output", place];
        let (code, printed, errors) = desk.run(&arguments).await;
        assert_eq!(code, Some(0), "{errors}");
        assert_eq!(printed, if standard { &text[..] } else { "" });
        assert_eq!(fs::read_to_string(&output).unwrap(), text);
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // Every target, in order; without --output it is standard output.
    let (code, printed, errors) = desk.run(&["--to", "2024-04-20"]).await;
    assert_eq!(code, Some(0), "{errors}");
    let progress: Vec<_> = errors.lines().take(3).filter_map(|line| line.split_once(':')).map(|(of, _)| of).collect();
    assert_eq!(progress, ["1/3 farm BTC", "2/3 gone BTC", "3/3 gone LTC"]);
    let of_farm: String = (printed.split_inclusive('\n'))
        .filter(|line| line.starts_with('#') || line.contains("account=\"farm\""))
        .collect();
    assert_eq!(of_farm, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_account_is_named_and_nothing_written() {
    let pool = Pool::start().await;
    for endpoint in ["profit_history", "payment_history"] {
        pool.responds_to(KEY, endpoint, Books { days: 12, payments: 7 }).await;
        pool.responds_to(&format!("{KEY}x"), endpoint, ResponseTemplate::new(401)).await;
    }
    let desk = Desk::at(&pool.base_url());
    let output = desk.path("past.om");
    fs::write(&output, "what was there\n").unwrap();
    let (code, printed, errors) = desk.run(&["--output", &output]).await;
    let why = "the pool refused the key (HTTP 401); is it the key of this account, and is this IP address allowed to \
               use it? To leave the account out, name the others with --account; check --probe tries every key.";
    let mut lines = errors.lines().rev();
    let last = lines.next().unwrap();
    let named = ["profit_history", "payment_history"]
        .map(|of| format!("btcpool-exporter: gone BTC: nothing was written, because {of} failed: {why}"));
    assert!((code, printed.as_str()) == (Some(1), "") && named.iter().any(|line| line == last), "{errors}");
    assert_eq!(lines.next().unwrap(), "1/3 farm BTC: 12 days, 7 payouts");
    assert_eq!(desk.files(), ["config.yml", "past.om"]);
    assert_eq!(fs::read_to_string(&output).unwrap(), "what was there\n");
    // A refused key is not asked about again and again.
    assert!(pool.requests("profit_history").await.len() <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_failures_are_retried() {
    let pool = Pool::start().await;
    let failing = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = failing.clone();
    pool.responds("profit_history", move |request: &Request| {
        match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            // The second page fails, and then the first one.
            1 | 2 => ResponseTemplate::new(502),
            _ => Books { days: 60, payments: 0 }.respond(request),
        }
    })
    .await;
    pool.responds("payment_history", Books { days: 0, payments: 0 }).await;
    let desk = Desk::at(&pool.base_url());
    let (code, printed, errors) = desk.run(&["--account", "farm", "--to", "2024-02-29"]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(printed.contains(&format!("{ALL} 0.0000018 {}\n", seconds("2024-02-28T16:00:00Z") + 86_400)), "{printed}");
    let again: Vec<_> = errors.lines().filter(|line| line.contains("trying again after a pause")).collect();
    assert!(
        again.len() == 2 && again[0].contains("reason=incomplete") && again[1].contains("reason=http_5xx"),
        "{errors}"
    );
    assert!(again.iter().all(|line| line.contains(" account=farm currency=BTC endpoint=profit_history ")), "{errors}");
    // Each pause is longer than the one before.
    assert!(again[0].ends_with(" seconds=1") && again[1].ends_with(" seconds=4"), "{errors}");
    assert_eq!(failing.load(std::sync::atomic::Ordering::SeqCst), 5);
}

/// The first connection, under a deadline.
fn accept(listener: &std::net::TcpListener) -> std::net::TcpStream {
    listener.set_nonblocking(true).unwrap();
    let begin = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => return stream,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "nobody asks: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn signal_leaves_no_file() {
    for signal in ["TERM", "INT"] {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let desk = Desk::at(&format!("http://{}/ru/api", silent.local_addr().unwrap()));
        let output = desk.path("past.om");
        let mut backfill = Program::start(desk.command(&["--output", &output]));
        // It has asked, so it is reading; what is put aside has no name.
        let _asked = accept(&silent);
        assert_eq!(desk.files(), ["config.yml"]);
        backfill.signal(signal);
        let (code, took) = backfill.end();
        assert_eq!(code, Some(1), "{}", backfill.log());
        assert!(took < Duration::from_secs(10), "{took:?}");
        let said = format!("btcpool-exporter: stopped by SIG{signal} before the end\n");
        assert!(backfill.log().ends_with(&said), "{}", backfill.log());
        assert_eq!(desk.files(), ["config.yml"]);
    }
}

#[test]
fn bad_usage_is_refused_before_requests() {
    // Nobody listens there.
    let desk = Desk::at("http://127.0.0.1:9/ru/api");
    let folder = desk.folder.path().to_str().unwrap();
    let nowhere = desk.path("no/such/folder/past.om");
    let socket = desk.path("socket");
    let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let missing =
        format!("--output: no file can be made in {folder}/no/such/folder: No such file or directory (os error 2)");
    let not_free = "names a label that is not free";
    for (arguments, expected) in [
        (&["--to", "2999-01-01"][..], "--to 2999-01-01 is yet to come; with the pool it is "),
        (
            &["--from", "2024-05-02", "--to", "2024-05-01"],
            "--from 2024-05-02 is later than 2024-05-01, the last day that is written (--to)\n",
        ),
        (&["--from", "2999-01-01"], "--from 2999-01-01 is later than "),
        (&["--account", "frm"], "--account \"frm\" is not configured here; known: farm, gone\n"),
        (&["--step", "5"], "--step \"5\" is not a duration of whole seconds from 1s to 24h, such as 5m\n"),
        (&["--step", "500ms"], "--step \"500ms\" is not a duration of whole seconds from 1s to 24h, such as 5m\n"),
        (&["--step", "25h"], "--step \"25h\" is not a duration of whole seconds from 1s to 24h, such as 5m\n"),
        (&["--label", "job"], "--label \"job\" is not of the form NAME=VALUE\n"),
        (
            &["--label", "1x=2"],
            "--label \"1x=2\" does not begin with a label's name: letters, digits and _, no digit first\n",
        ),
        (&["--label", "account=x"], &format!("--label \"account=x\" {not_free}\n")),
        (&["--label", "period=x"], &format!("--label \"period=x\" {not_free}\n")),
        (&["--label", "__name__=x"], &format!("--label \"__name__=x\" {not_free}\n")),
        (&["--label", "job=a", "--label", "job=b"], "--label job is given twice\n"),
        (
            &["--output", &socket],
            &format!("--output {socket}: exists and is not a regular file; use - for standard output\n"),
        ),
        (
            &["--output", folder],
            &format!("--output {folder}: exists and is not a regular file; use - for standard output\n"),
        ),
        (&["--output", &nowhere], &missing),
    ] {
        let (code, output, errors) = run(desk.command(arguments));
        let expected = format!("btcpool-exporter: {expected}");
        assert!((code, output.as_str()) == (Some(2), "") && errors.starts_with(&expected), "{expected}\n{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    let (code, _, errors) = run(desk.command(&["--to", "yesterday"]));
    assert_eq!(code, Some(2));
    assert!(errors.starts_with("error: invalid value 'yesterday' for '--to <DATE>'"), "{errors}");
    let (code, output, errors) = run(program(&["backfill"]));
    let expected = "btcpool-exporter: no account is configured; name a file that has accounts with --config.file, or set \
                    BTCPOOL__ACCOUNTS__...\n";
    assert_eq!((code, output.as_str(), errors.as_str()), (Some(2), "", expected));
    let mut elsewhere = program(&["backfill"]);
    elsewhere.envs([("BTCPOOL__ACCOUNTS__FARM__API_KEY", "k"), ("BTCPOOL__SHARD", "{index: 0, count: 100000}")]);
    let (code, output, errors) = run(elsewhere);
    let expected = "btcpool-exporter: none of the 1 accounts falls to shard 0 of 100000\n";
    assert_eq!((code, output.as_str(), errors.as_str()), (Some(2), "", expected));
    assert_eq!(desk.files(), ["config.yml", "socket"]);
}

/// As the poller sets it: days of the day of reading are not final.
#[test]
fn running_day_is_not_written() {
    let mut income = income(&[day("2024-05-01", 1, 0), day("2024-05-02", 2, 0)]);
    income.read_on(date("2024-05-02"));
    let samples = samples(terms("2024-05-02", 0), income, Payments::default());
    assert_eq!(course(&samples, PPS), [format!("0.00000001 {}", seconds("2024-05-02T00:00:00Z"))]);
}
