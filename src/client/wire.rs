//! From the pool's JSON to the model: lenient with every field, strict with the shape.
//!
//! A field is a string or a number; null says "unknown"; whatever else is an anomaly, which costs that one value and is
//! counted under the API's own name of the field. Only what the pool's own description names is read.

use std::{borrow::Cow, fmt};

use jiff::civil::Date;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::FetchError;
use crate::{
    config::RejectRateUnit,
    history::{IncomeDay, Payment, PayoutAddress},
    model::{
        CoinStats, Coins, Currency, Endpoint, Hashrate, HashrateWindows, Id, PoolStats, Ratio, Summary, UnixSeconds,
        Worker, is_direction_mark,
    },
};

/// The longest worker's name that is kept, in characters.
pub const MAX_NAME_CHARACTERS: usize = 128;

/// The most rows that a page may have: as many as can be asked for at once.
const MAX_ROWS: usize = 10_000;

const ENVELOPE: [&str; 6] = ["status", "data", "total", "message", "error", "msg"];
const COIN: [&str; 5] = ["miners", "fee", "poolHs", "networkHs", "networkDiff"];
const COINS: [&str; 3] = ["BTC", "BCH", "LTC"];
const SUMMARY: [&str; 6] =
    ["active_workers", "unactive_workers", "hashrate_10min", "hashrate_1hour", "hashrate_24hour", "balance"];
const INCOME: [&str; 5] = ["date", "hashrate", "pps_profit", "pplns_profit", "total_profit"];
const PAYMENT: [&str; 4] = ["payment_id", "amount", "created_time", "address"];
const WORKER: [&str; 8] = [
    "worker_id",
    "worker_name",
    "hashrate_10min",
    "hashrate_1hour",
    "hashrate_24hour",
    "reject_rate",
    "last_active",
    "worker_status",
];

/// The names that an anomaly of an endpoint's answer can be counted under.
pub fn fields(endpoint: Endpoint) -> impl Iterator<Item = &'static str> {
    let (rows, total): (&[&[&str]], &[&str]) = match endpoint {
        Endpoint::MainStat => (&[&COINS, &COIN], &[]),
        Endpoint::SummaryData => (&[&SUMMARY], &[]),
        Endpoint::ProfitHistory => (&[&INCOME], &["total"]),
        Endpoint::PaymentHistory => (&[&PAYMENT], &["total"]),
        Endpoint::Workers => (&[&WORKER], &["total"]),
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

impl ShapeError {
    fn at(path: impl fmt::Display, expected: &str, found: &str) -> Self {
        Self(format!("{path}: expected {expected}, found {found}"))
    }

    fn json(error: &serde_json::Error) -> Self {
        // Our own visitors take every type, so what is left is syntax, and those messages quote nothing.
        Self(format!("it is no valid JSON: {error}"))
    }
}

/// Why an answer's text is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError {
    /// No JSON at all; what it looks like.
    NotJson(&'static str),
    /// JSON, but not the documented shape.
    Shape(ShapeError),
    /// `status` is not `OK`; the pool's words, raw.
    Api(String),
}

impl OpenError {
    /// The client's error; `clean` makes the pool's words fit to be shown.
    pub fn into_fetch_error(self, clean: impl FnOnce(&str) -> String) -> FetchError {
        match self {
            Self::NotJson(looks) => FetchError::NotJson(looks),
            Self::Shape(ShapeError(text)) => FetchError::Decode(text),
            Self::Api(words) => FetchError::Api(clean(&words)),
        }
    }
}

/// An opened envelope whose status is `OK`.
#[derive(Debug)]
pub struct Answer<'a>(Object<'a, 6>);

impl<'a> Answer<'a> {
    /// The JSON text of `data`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn data(&self) -> Result<&'a str, ShapeError> {
        self.0.raw(1).ok_or_else(|| ShapeError::at("data", "a value", "nothing"))
    }

    /// How many rows the whole list has.
    pub fn total(&self, anomalies: &mut Anomalies) -> Option<u64> {
        self.0.read(2, anomalies, count)
    }
}

/// Opens the envelope.
///
/// # Errors
///
/// When the text is no JSON, no envelope, or reports an error.
pub fn open(text: &str) -> Result<Answer<'_>, OpenError> {
    // PHP files saved with a byte-order mark send it before everything else.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text).trim_ascii_start();
    if !text.starts_with(['{', '[', '"']) && serde_json::from_str::<&RawValue>(text).is_err() {
        return Err(OpenError::NotJson(match text.as_bytes() {
            [] => "empty",
            [b'<', ..] => "an HTML or XML page",
            _ => "something else",
        }));
    }
    let envelope = object(text, &ENVELOPE, "the answer").map_err(OpenError::Shape)?;
    let status = match envelope.field(0) {
        Field::Text(status) if status == "OK" => return Ok(Answer(envelope)),
        Field::Text(status) => Some(status),
        Field::Other => Some(Cow::Borrowed(envelope.raw(0).unwrap_or_default())),
        Field::Missing | Field::Null => None,
    };
    let words = [3, 4, 5, 1].into_iter().find_map(|index| match envelope.field(index) {
        Field::Text(words) if !words.is_empty() => Some(words),
        _ => None,
    });
    Err(match (status, words) {
        (Some(status), Some(words)) => OpenError::Api(format!("status {status}: {words}")),
        (Some(status), None) => OpenError::Api(format!("status {status}, without a message")),
        (None, Some(words)) => OpenError::Api(format!("no status: {words}")),
        (None, None) => OpenError::Shape(ShapeError::at("status", "a string", "none")),
    })
}

/// `main_stat`.
///
/// # Errors
///
/// When `data` is no object, or holds no known field.
pub fn main_stat(answer: &Answer<'_>, anomalies: &mut Anomalies) -> Result<PoolStats, ShapeError> {
    let coins = known_object(answer.data()?, &COINS, "data")?;
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
    if known { Ok(stats) } else { Err(ShapeError::at("data", "at least one known field of a coin", "none")) }
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

/// `summary_data`.
///
/// # Errors
///
/// When `data` is no object, or holds no known field.
pub fn summary_data(answer: &Answer<'_>, anomalies: &mut Anomalies) -> Result<Summary, ShapeError> {
    let data = known_object(answer.data()?, &SUMMARY, "data")?;
    Ok(Summary {
        active_workers: data.read(0, anomalies, count),
        inactive_workers: data.read(1, anomalies, count),
        hashrate: windows(&data, 2, anomalies),
        balance: data.read(5, anomalies, coins),
    })
}

/// The rows of `profit_history`, by day.
///
/// # Errors
///
/// When `data` is no list of objects.
pub fn profit_history(data: &str, anomalies: &mut Anomalies) -> Result<Vec<Option<(Date, IncomeDay)>>, ShapeError> {
    rows(data, &INCOME, |row| {
        let date = row.identity(0, anomalies, date);
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

/// The rows of `payment_history`, by id.
///
/// # Errors
///
/// When `data` is no list of objects.
pub fn payment_history(data: &str, anomalies: &mut Anomalies) -> Result<Vec<Option<(Id, Payment)>>, ShapeError> {
    rows(data, &PAYMENT, |row| {
        let id = row.identity(0, anomalies, Id::new)?;
        let amount = row.read(1, anomalies, coins);
        let created = row.read(2, anomalies, time);
        let address = row.read(3, anomalies, |text| (!text.is_empty()).then(|| PayoutAddress::new(text)));
        Some((id, Payment { amount, created, address }))
    })
}

/// The rows of `workers`, by id.
///
/// # Errors
///
/// When `data` is no list of objects.
pub fn workers(
    data: &str,
    unit: RejectRateUnit,
    anomalies: &mut Anomalies,
) -> Result<Vec<Option<(Id, Worker)>>, ShapeError> {
    rows(data, &WORKER, |row| {
        let id = row.identity(0, anomalies, Id::new)?;
        let name = row.read(1, anomalies, |text| Some(printable(text)));
        let mut above_one = false;
        let reject_ratio = row.read(5, anomalies, |text| {
            let rate = figure(text)?;
            above_one = rate > 1.0;
            Ratio::new(match unit {
                RejectRateUnit::Ratio => rate,
                RejectRateUnit::Percent => rate / 100.0,
            })
        });
        anomalies.reject_rate_above_one |= above_one;
        let worker = Worker {
            id: id.clone(),
            name: name.unwrap_or_default(),
            hashrate: windows(row, 2, anomalies),
            reject_ratio,
            // PHP's word for "never" is 0.
            last_active: row
                .read(6, anomalies, |text| if text.trim() == "0" { Some(None) } else { time(text).map(Some) })
                .flatten(),
            active: row.read(7, anomalies, status),
        };
        Some((id, worker))
    })
}

/// Three fields beside each other, from the shortest window to the longest.
fn windows<const N: usize>(object: &Object<'_, N>, first: usize, anomalies: &mut Anomalies) -> HashrateWindows {
    HashrateWindows {
        ten_minutes: object.read(first, anomalies, hashrate),
        one_hour: object.read(first + 1, anomalies, hashrate),
        day: object.read(first + 2, anomalies, hashrate),
    }
}

/// A finite number that is not negative; nothing that the pool tells can be.
fn figure(text: &str) -> Option<f64> {
    let text = text.trim();
    // Rust reads "inf" and "nan" as numbers, too.
    let begins = text.trim_start_matches('+').starts_with(|c: char| c.is_ascii_digit() || c == '.');
    text.parse().ok().filter(|&number: &f64| begins && number.is_finite())
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

fn coins(text: &str) -> Option<Coins> {
    figure(text)?;
    Coins::parse(text.trim())
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
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "active" | "online" => Some(true),
        "0" | "unactive" | "inactive" | "offline" | "dead" => Some(false),
        _ => None,
    }
}

/// A name that miners chose, fit for a label: what could break a line or turn its direction becomes U+FFFD.
pub fn printable(text: &str) -> Box<str> {
    let safe = |c: char| if c.is_control() || is_direction_mark(c) { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(MAX_NAME_CHARACTERS).map(safe).collect::<String>().into()
}

/// What stands in a field.
enum Field<'a> {
    Missing,
    Null,
    /// A string's contents, or a number as it is written.
    Text(Cow<'a, str>),
    /// A truth, a list or an object.
    Other,
}

/// The fields of a JSON object that have known names, as raw text.
#[derive(Debug)]
struct Object<'a, const N: usize> {
    names: &'static [&'static str; N],
    fields: [Option<&'a RawValue>; N],
}

impl<'a, const N: usize> Object<'a, N> {
    fn raw(&self, index: usize) -> Option<&'a str> {
        self.fields[index].map(RawValue::get)
    }

    fn has_any(&self) -> bool {
        self.fields.iter().any(Option::is_some)
    }

    fn field(&self, index: usize) -> Field<'a> {
        let Some(raw) = self.raw(index) else { return Field::Missing };
        match raw.as_bytes() {
            [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Field::Text(Cow::Borrowed(&raw[1..raw.len() - 1])),
            [b'"', ..] => Field::Text(Cow::Owned(unescape(raw))),
            [b'n', ..] => Field::Null,
            [b't' | b'f' | b'[' | b'{', ..] => Field::Other,
            _ => Field::Text(Cow::Borrowed(raw)),
        }
    }

    /// A field's value; `None` and counted when it is missing or cannot be read, `None` when it is null.
    fn read<T>(&self, index: usize, anomalies: &mut Anomalies, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = match self.field(index) {
            Field::Null => return None,
            Field::Text(text) => parse(&text),
            Field::Missing | Field::Other => None,
        };
        if value.is_none() {
            anomalies.add(self.names[index]);
        }
        value
    }

    /// As `read`, but null is no answer to who a row is.
    fn identity<T>(&self, index: usize, anomalies: &mut Anomalies, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        if matches!(self.field(index), Field::Null) {
            anomalies.add(self.names[index]);
            return None;
        }
        self.read(index, anomalies, parse)
    }
}

/// A JSON string's contents; a half of a surrogate pair, which JSON can write and text cannot hold, becomes U+FFFD.
fn unescape(raw: &str) -> String {
    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }

    // The parser has been over this text: it is a string. Were it not, nothing of it would be shown.
    serde_json::Deserializer::from_str(raw).deserialize_bytes(Bytes).unwrap_or_default()
}

/// What kind of JSON value a text begins.
fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        None => "nothing",
        Some(b'"') => "a string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(_) => "a number",
    }
}

fn object<'a, const N: usize>(
    raw: &'a str,
    names: &'static [&'static str; N],
    path: &str,
) -> Result<Object<'a, N>, ShapeError> {
    if !raw.starts_with('{') {
        return Err(ShapeError::at(path, "an object", kind(raw)));
    }
    let mut json = serde_json::Deserializer::from_str(raw);
    let object = ObjectSeed(names).deserialize(&mut json).map_err(|error| ShapeError::json(&error))?;
    json.end().map_err(|error| ShapeError::json(&error))?;
    object.map_err(|kind| ShapeError::at(path, "an object", kind))
}

/// An object of which at least one field has a known name.
fn known_object<'a, const N: usize>(
    raw: &'a str,
    names: &'static [&'static str; N],
    path: &str,
) -> Result<Object<'a, N>, ShapeError> {
    let object = object(raw, names, path)?;
    if object.has_any() { Ok(object) } else { Err(ShapeError::at(path, "at least one known field", "none")) }
}

/// A list of objects, each read by `row`. PHP writes an empty list as `{}` at times.
fn rows<'a, T, const N: usize>(
    raw: &'a str,
    names: &'static [&'static str; N],
    row: impl FnMut(&Object<'a, N>) -> T,
) -> Result<Vec<T>, ShapeError> {
    struct Rows<F, const N: usize>(&'static [&'static str; N], F);

    impl<'a, T, F: FnMut(&Object<'a, N>) -> T, const N: usize> Visitor<'a> for Rows<F, N> {
        type Value = Result<Vec<T>, ShapeError>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'a>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut rows = Vec::new();
            let mut wrong = None;
            while let Some(object) = list.next_element_seed(ObjectSeed(self.0))? {
                match object {
                    Ok(_) if rows.len() == MAX_ROWS => {
                        wrong = Some(ShapeError(format!("data: more than {MAX_ROWS} rows on one page")));
                    }
                    Ok(object) => rows.push((self.1)(&object)),
                    Err(kind) if wrong.is_none() => {
                        wrong = Some(ShapeError::at(format_args!("data[{}]", rows.len()), "an object", kind));
                    }
                    Err(_) => {}
                }
            }
            Ok(wrong.map_or(Ok(rows), Err))
        }
    }

    match raw.as_bytes() {
        [b'[', ..] => {}
        [b'{', inner @ .., b'}'] if inner.trim_ascii().is_empty() => return Ok(Vec::new()),
        [b'{', ..] => return Err(ShapeError::at("data", "a list", "an object that is not empty")),
        _ => return Err(ShapeError::at("data", "a list", kind(raw))),
    }
    let mut json = serde_json::Deserializer::from_str(raw);
    json.deserialize_seq(Rows(names, row)).map_err(|error| ShapeError::json(&error))?
}

/// Reads an object's known fields, or says what stands there instead.
struct ObjectSeed<const N: usize>(&'static [&'static str; N]);

impl<'a, const N: usize> DeserializeSeed<'a> for ObjectSeed<N> {
    type Value = Result<Object<'a, N>, &'static str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for ObjectSeed<N> {
    type Value = Result<Object<'a, N>, &'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = [None; N];
        while let Some(index) = map.next_key_seed(NameSeed(self.0))? {
            match index {
                Some(index) => fields[index] = Some(map.next_value::<&'a RawValue>()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Ok(Object { names: self.0, fields }))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err("a list"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err("null"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err("true or false"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Err("a number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Err("a string"))
    }
}

/// Finds a key among the known names.
struct NameSeed<const N: usize>(&'static [&'static str; N]);

impl<'a, const N: usize> DeserializeSeed<'a> for NameSeed<N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<const N: usize> Visitor<'_> for NameSeed<N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|name| name.as_bytes() == key))
    }
}
