//! From the pool's JSON to the model: lenient with every field, strict with the shape.
//!
//! A field is a string or a number; null says "unknown"; whatever else is an anomaly, which costs that one value and is
//! counted under the API's own name of the field. Only what the pool's own description names is read.
//!
//! What the pool really sends are strings without escapes, in fields of one order. Lists are read as such first, in one
//! go; where that fails, in whatever way, they are read again by the lenient way, which judges. `cargo bench --bench
//! exposition` measures it.

mod json;
mod worker;

use std::{borrow::Cow, fmt};

use jiff::civil::Date;
use serde_json::value::RawValue;
use smol_str::SmolStr;

use self::json::{Field, Object, known_object, list_rows, object, plain_list};
pub use self::worker::{Worker, Workers};
use crate::{
    config::RejectRateUnit,
    history::{IncomeDay, Payment, PayoutAddress},
    model::{
        CoinStats, Coins, Currency, Endpoint, Hashrate, HashrateWindows, Id, PoolStats, Ratio, Summary, UnixSeconds,
        is_printable_ascii, plays_tricks,
    },
};

/// The longest worker's name that is kept, in characters.
pub const MAX_NAME_CHARACTERS: usize = 128;

const ENVELOPE: [&str; 6] = ["status", "data", "total", "message", "error", "msg"];
const COIN: [&str; 5] = ["miners", "fee", "poolHs", "networkHs", "networkDiff"];
const COINS: [&str; 3] = ["BTC", "BCH", "LTC"];
const SUMMARY: [&str; 6] =
    ["active_workers", "unactive_workers", "hashrate_10min", "hashrate_1hour", "hashrate_24hour", "balance"];
const INCOME: [&str; 5] = ["date", "hashrate", "pps_profit", "pplns_profit", "total_profit"];
const PAYMENT: [&str; 4] = ["payment_id", "amount", "created_time", "address"];

/// Where the identity of a row stands among its names.
const DATE: usize = place(&INCOME, "date");
const PAYMENT_ID: usize = place(&PAYMENT, "payment_id");

/// Where a name stands in a list. To be asked while compiling (`const`), where it costs nothing, and where a name that
/// is not in the list is an error; `cargo check` does not get so far, `cargo build` does.
const fn place(names: &[&str], name: &str) -> usize {
    let mut place = 0;
    while place < names.len() && !is_same(names[place].as_bytes(), name.as_bytes()) {
        place += 1;
    }
    assert!(place < names.len(), "this name is not in the list of names");
    place
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The names that an anomaly of an endpoint's answer can be counted under.
pub fn fields(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    let (rows, total): (&[&[&str]], &[&str]) = match endpoint {
        Endpoint::MainStat => (&[&COINS, &COIN], &[]),
        Endpoint::SummaryData => (&[&SUMMARY], &[]),
        Endpoint::ProfitHistory => (&[&INCOME], &["total"]),
        Endpoint::PaymentHistory => (&[&PAYMENT], &["total"]),
        Endpoint::Workers => (&[&worker::FIELDS], &["total"]),
    };
    rows.iter().flat_map(|names| names.iter()).chain(total).copied()
}

/// What in one answer was not of the documented shape and was left out, by field.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    counts: Vec<(&'static str, u64)>,
    reject_rate_above_one: bool,
}

impl Anomalies {
    fn add(&mut self, field: &'static str) {
        match self.counts.iter_mut().find(|(name, _)| *name == field) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((field, 1)),
        }
    }

    /// How often each field was odd.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.iter().copied()
    }

    /// Whether a reject rate above 1 was seen, which proves that it is told in percent.
    pub const fn reject_rate_above_one(&self) -> bool {
        self.reject_rate_above_one
    }
}

/// Where an answer departs from the documented shape, by its JSON path; never what stood there.
#[derive(Debug, PartialEq, Eq)]
pub struct ShapeError(String);

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ShapeError {
    fn at(path: impl fmt::Display, expected: &str, found: &str) -> Self {
        Self(format!("{path}: expected {expected}, found {found}"))
    }

    fn json(error: &serde_json::Error) -> Self {
        // Our own visitors take every type, so what is left is syntax, and those messages quote nothing.
        Self(format!("it is no valid JSON: {error}"))
    }
}

impl From<ShapeError> for AnswerError {
    fn from(error: ShapeError) -> Self {
        Self::Shape(error)
    }
}

/// A page of a list.
#[derive(Debug)]
pub struct Page<K, T> {
    /// Its rows by identity; `None` for a row whose identity could not be read.
    pub rows: Vec<Option<(K, T)>>,
    /// How many rows the pool says the whole list has.
    pub total: Option<u64>,
    /// What is wrong with its rows when none of them is an object.
    pub without_objects: Option<ShapeError>,
}

impl<K, T> Page<K, T> {
    /// The page as the first one of a list.
    ///
    /// # Errors
    ///
    /// When none of its rows is an object, so that this is another list. On a later page such rows are few among many,
    /// and are skipped.
    pub fn into_first(self) -> Result<Self, AnswerError> {
        match self.without_objects {
            Some(error) => Err(error.into()),
            None => Ok(self),
        }
    }
}

/// Why an answer's text is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// No JSON at all; what it looks like.
    NotJson(&'static str),
    /// JSON, but not the documented shape.
    Shape(ShapeError),
    /// `status` is not `OK`; the pool's words, raw.
    Api(String),
}

/// Opens the envelope: its fields, if its status is `OK`.
fn open(text: &str) -> Result<Object<'_, 6>, AnswerError> {
    // PHP files saved with a byte-order mark send it before everything else.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text).trim_ascii_start();
    if !text.starts_with(['{', '[', '"']) && serde_json::from_str::<&RawValue>(text).is_err() {
        return Err(AnswerError::NotJson(match text.as_bytes() {
            [] => "empty",
            [b'<', ..] => "an HTML or XML page",
            _ => "something else",
        }));
    }
    let envelope = object(text, &ENVELOPE, "the answer").map_err(AnswerError::Shape)?;
    let status = match envelope.field(0) {
        Field::Text(status) if status == "OK" => return Ok(envelope),
        Field::Text(status) => Some(status),
        Field::Other => Some(Cow::Borrowed(envelope.raw(0).unwrap_or_default())),
        Field::Missing | Field::Null => None,
    };
    let words = [3, 4, 5, 1].into_iter().find_map(|index| match envelope.field(index) {
        Field::Text(words) if !words.is_empty() => Some(words),
        _ => None,
    });
    Err(match (status, words) {
        (Some(status), Some(words)) => AnswerError::Api(format!("status {status}: {words}")),
        (Some(status), None) => AnswerError::Api(format!("status {status}, without a message")),
        (None, Some(words)) => AnswerError::Api(format!("no status: {words}")),
        (None, None) => AnswerError::Shape(ShapeError::at("status", "a string", "none")),
    })
}

/// The JSON of `data`.
fn data<'a>(envelope: &Object<'a, 6>) -> Result<&'a str, ShapeError> {
    envelope.raw(1).ok_or_else(|| ShapeError::at("data", "a value", "nothing"))
}

/// The answer to `main_stat`.
///
/// # Errors
///
/// When the text is no answer or reports an error, when `data` is no object, or holds no known field.
pub fn main_stat(text: &str, anomalies: &mut Anomalies) -> Result<PoolStats, AnswerError> {
    let coins = known_object(data(&open(text)?)?, &COINS, "data")?;
    let mut stats = Vec::new();
    let mut known = false;
    for (index, currency) in Currency::ALL.into_iter().enumerate() {
        let path = format!("data.{currency}");
        match coins.raw(index).map(|raw| (raw, object(raw, &COIN, &path))) {
            Some((_, Ok(coin))) => {
                known |= coin.has_any();
                stats.push((currency, coin_stats(&coin, anomalies)));
            }
            Some(("null", _)) => {}
            Some(_) | None => anomalies.add(COINS[index]),
        }
    }
    if known { Ok(stats) } else { Err(ShapeError::at("data", "at least one known field of a coin", "none").into()) }
}

fn coin_stats(coin: &Object<'_, 5>, anomalies: &mut Anomalies) -> CoinStats {
    CoinStats {
        miners: coin.read(0, anomalies, count),
        fee: coin.read(1, anomalies, |text| Ratio::new(figure(text)? / 100.0)),
        pool_hashrate: coin.read(2, anomalies, hashrate),
        network_hashrate: coin.read(3, anomalies, hashrate),
        network_difficulty: coin.read(4, anomalies, figure),
    }
}

/// The answer to `summary_data`.
///
/// # Errors
///
/// As [`main_stat`].
pub fn summary_data(text: &str, anomalies: &mut Anomalies) -> Result<Summary, AnswerError> {
    let data = known_object(data(&open(text)?)?, &SUMMARY, "data")?;
    Ok(Summary {
        active_workers: data.read(0, anomalies, count),
        inactive_workers: data.read(1, anomalies, count),
        hashrate: windows(&data, 2, anomalies),
        balance: data.read(5, anomalies, coins),
    })
}

/// A page of `profit_history`, by day.
///
/// # Errors
///
/// When the text is no answer or reports an error, or when `data` is no list.
pub fn profit_history(text: &str, anomalies: &mut Anomalies) -> Result<Page<Date, IncomeDay>, AnswerError> {
    list(text, &INCOME, DATE, anomalies, |row, anomalies| {
        let date = row.identity(DATE, anomalies, date);
        let day = |date| IncomeDay {
            date,
            hashrate: row.read(1, anomalies, hashrate),
            pps: row.read(2, anomalies, coins),
            pplns: row.read(3, anomalies, coins),
            total: row.read(4, anomalies, coins),
        };
        date.map(day).map(|day| (day.date, day))
    })
}

/// A page of `payment_history`, by id.
///
/// # Errors
///
/// As [`profit_history`].
pub fn payment_history(text: &str, anomalies: &mut Anomalies) -> Result<Page<Id, Payment>, AnswerError> {
    list(text, &PAYMENT, PAYMENT_ID, anomalies, |row, anomalies| {
        let id = row.identity(PAYMENT_ID, anomalies, Id::new)?;
        let amount = row.read(1, anomalies, coins);
        let created = row.read(2, anomalies, time);
        let address = row.read(3, anomalies, |text| (!text.is_empty()).then(|| PayoutAddress::new(text)));
        Some((id, Payment { amount, created, address }))
    })
}

/// A page of `workers`, by id.
///
/// # Errors
///
/// As [`profit_history`].
pub fn workers(text: &str, unit: RejectRateUnit, anomalies: &mut Anomalies) -> Result<Page<Id, Worker>, AnswerError> {
    list(text, &worker::FIELDS, worker::ID, anomalies, |row, anomalies| worker::read(row, unit, anomalies))
}

/// Three fields beside each other, from the shortest window to the longest.
fn windows<const N: usize>(object: &Object<'_, N>, first: usize, anomalies: &mut Anomalies) -> HashrateWindows {
    HashrateWindows {
        ten_minutes: object.read(first, anomalies, hashrate),
        one_hour: object.read(first + 1, anomalies, hashrate),
        day: object.read(first + 2, anomalies, hashrate),
    }
}

/// A finite number that is not negative; negative zero is 0. What may be below zero needs another reader.
fn figure(text: &str) -> Option<f64> {
    let text = text.trim();
    match text.strip_prefix('-') {
        // PHP writes what rounds to nothing from below as "-0.00000000".
        Some(magnitude) => {
            let digits = magnitude.split(['e', 'E']).next().unwrap_or_default();
            let is_zero = digits.bytes().all(|byte| matches!(byte, b'0' | b'.'));
            magnitude_of(magnitude).filter(|_| is_zero)
        }
        None => magnitude_of(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// A finite number without a sign.
fn magnitude_of(text: &str) -> Option<f64> {
    // Rust reads "inf" and "nan" as numbers, too.
    let begins = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|number: &f64| begins && number.is_finite())
}

fn hashrate(text: &str) -> Option<Hashrate> {
    figure(text).and_then(Hashrate::new)
}

fn count(text: &str) -> Option<u64> {
    // The largest integer that a float, and so a sample, holds exactly.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let number = figure(text).filter(|number| number.fract() == 0.0 && *number <= LARGEST)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, not negative, below 2^53")]
    Some(number as u64)
}

/// An amount. Pools book corrections as negative ones.
fn coins(text: &str) -> Option<Coins> {
    let text = text.trim();
    magnitude_of(text.strip_prefix(['-', '+']).unwrap_or(text))?;
    Coins::parse(text)
}

/// Unix seconds. A figure past the year 9999 is refused: it is in milliseconds, or nonsense.
fn time(text: &str) -> Option<UnixSeconds> {
    const YEAR_10000: i64 = 253_402_300_800;
    let seconds = i64::try_from(count(text)?).ok()?;
    (1..YEAR_10000).contains(&seconds).then_some(UnixSeconds(seconds))
}

fn date(text: &str) -> Option<Date> {
    // A time of day behind the date would be midnight.
    let date = text.get(..10)?;
    let rest = &text[10..];
    (rest.is_empty() || rest.starts_with([' ', 'T'])).then(|| Date::strptime("%Y-%m-%d", date).ok()).flatten()
}

/// `worker_status`: the documented digits, and the words of the pool's upstream and of its newer back end.
fn status(text: &str) -> Option<bool> {
    let text = text.trim();
    let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is_one_of(&["1", "active", "online"]) {
        Some(true)
    } else {
        is_one_of(&["0", "unactive", "inactive", "offline", "dead"]).then_some(false)
    }
}

/// A name that miners chose, fit for a label: what could break a line or turn its direction becomes U+FFFD.
pub fn printable(text: &str) -> SmolStr {
    if text.len() <= MAX_NAME_CHARACTERS && is_printable_ascii(text) {
        return text.into();
    }
    let safe = |c: char| if plays_tricks(c) { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(MAX_NAME_CHARACTERS).map(safe).collect()
}

/// A page of a list, each of its objects read by `row`. A row that is no object is left out, and counted under the name of
/// the identity.
fn list<'a, K, T, const N: usize>(
    text: &'a str,
    names: &'static [&'static str; N],
    identity: usize,
    anomalies: &mut Anomalies,
    row: impl Fn(&Object<'a, N>, &mut Anomalies) -> Option<(K, T)>,
) -> Result<Page<K, T>, AnswerError> {
    let (envelope, list) = match plain_list(text, names) {
        Some(list) => list,
        None => {
            let envelope = open(text)?;
            let list = list_rows(data(&envelope)?, names)?;
            (envelope, list)
        }
    };
    let without_objects = list.without_objects();
    let read = |object: &Option<Object<'a, N>>| match object {
        Some(object) => row(object, anomalies),
        None => {
            anomalies.add(names[identity]);
            None
        }
    };
    let rows = list.objects.iter().map(read).collect();
    Ok(Page { rows, total: envelope.read(2, anomalies, count), without_objects })
}
