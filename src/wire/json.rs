//! JSON objects with fields of known names, and lists of them: read without copying, whatever order they come in.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Anomalies, ENVELOPE, ShapeError};

/// The most rows that a page may have: the largest `limit` of a request.
const MAX_ROWS: usize = 10_000;

/// The value of a field.
pub enum Field<'a> {
    Missing,
    Null,
    /// A string's contents, or a number as it is written.
    Text(Cow<'a, str>),
    /// A truth, a list or an object.
    Other,
}

/// A field as it came.
#[derive(Clone, Copy, Debug)]
enum Raw<'a> {
    /// The contents of a string that has no escapes.
    Plain(&'a str),
    /// Any JSON.
    Json(&'a str),
}

/// The fields of a JSON object that have known names.
#[derive(Debug)]
pub struct Object<'a, const N: usize> {
    names: &'static [&'static str; N],
    fields: [Option<Raw<'a>>; N],
}

impl<'a, const N: usize> Object<'a, N> {
    /// The JSON of a field, where it was read as that.
    pub fn raw(&self, index: usize) -> Option<&'a str> {
        match self.fields[index]? {
            Raw::Json(raw) => Some(raw),
            Raw::Plain(_) => None,
        }
    }

    pub fn has_any(&self) -> bool {
        self.fields.iter().any(Option::is_some)
    }

    pub fn field(&self, index: usize) -> Field<'a> {
        let raw = match self.fields[index] {
            None => return Field::Missing,
            Some(Raw::Plain(text)) => return Field::Text(Cow::Borrowed(text)),
            Some(Raw::Json(raw)) => raw,
        };
        match raw.as_bytes() {
            [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Field::Text(Cow::Borrowed(&raw[1..raw.len() - 1])),
            [b'"', ..] => Field::Text(Cow::Owned(unescape(raw))),
            [b'n', ..] => Field::Null,
            [b't' | b'f' | b'[' | b'{', ..] => Field::Other,
            _ => Field::Text(Cow::Borrowed(raw)),
        }
    }

    /// A field's value; `None` and counted when it is missing or cannot be read, `None` when it is null.
    pub fn read<T>(&self, index: usize, anomalies: &mut Anomalies, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
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
    pub fn identity<T>(
        &self,
        index: usize,
        anomalies: &mut Anomalies,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
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

pub fn object<'a, const N: usize>(
    raw: &'a str,
    names: &'static [&'static str; N],
    path: &str,
) -> Result<Object<'a, N>, ShapeError> {
    if !raw.starts_with('{') {
        return Err(ShapeError::at(path, "an object", kind(raw)));
    }
    let mut json = serde_json::Deserializer::from_str(raw);
    let object = ObjectSeed { names, plain: false }.deserialize(&mut json).map_err(|error| ShapeError::json(&error))?;
    json.end().map_err(|error| ShapeError::json(&error))?;
    object.map_err(|kind| ShapeError::at(path, "an object", kind))
}

/// An object of which at least one field has a known name.
pub fn known_object<'a, const N: usize>(
    raw: &'a str,
    names: &'static [&'static str; N],
    path: &str,
) -> Result<Object<'a, N>, ShapeError> {
    let object = object(raw, names, path)?;
    if object.has_any() { Ok(object) } else { Err(ShapeError::at(path, "at least one known field", "none")) }
}

/// The rows of a list.
#[derive(Debug)]
pub struct ListRows<'a, const N: usize> {
    /// `None` for a row that is no object.
    pub objects: Vec<Option<Object<'a, N>>>,
    /// What stands in the first row that is no object: its index and its kind.
    odd: Option<(usize, &'static str)>,
    is_too_long: bool,
}

impl<'a, const N: usize> ListRows<'a, N> {
    const fn new() -> Self {
        Self { objects: Vec::new(), odd: None, is_too_long: false }
    }

    /// Adds a row: an object, or the kind of what stands there instead.
    fn push(&mut self, row: Result<Object<'a, N>, &'static str>) {
        if self.objects.len() == MAX_ROWS {
            self.is_too_long = true;
            return;
        }
        if let Err(kind) = row {
            self.odd.get_or_insert((self.objects.len(), kind));
        }
        self.objects.push(row.ok());
    }

    /// The rows, unless there are too many.
    fn checked(self) -> Result<Self, ShapeError> {
        if self.is_too_long {
            return Err(ShapeError(format!("data: more than {MAX_ROWS} rows on one page")));
        }
        Ok(self)
    }

    /// The first row that is no object as an error, when no row is an object.
    pub fn without_objects(&self) -> Option<ShapeError> {
        let (index, kind) = self.odd.filter(|_| self.objects.iter().all(Option::is_none))?;
        Some(ShapeError::at(format_args!("data[{index}]"), "an object", kind))
    }
}

/// The rows of a list. PHP encodes an array with gaps as an object whose keys are numbers, and at times an empty one as
/// `{}`.
pub fn list_rows<'a, const N: usize>(
    raw: &'a str,
    names: &'static [&'static str; N],
) -> Result<ListRows<'a, N>, ShapeError> {
    let mut json = serde_json::Deserializer::from_str(raw);
    let raw_rows = match raw.as_bytes() {
        [b'[', ..] => json.deserialize_seq(RawRows),
        [b'{', ..] => json.deserialize_map(RawRows),
        _ => return Err(ShapeError::at("data", "a list", kind(raw))),
    };
    let raw_rows = raw_rows.map_err(|error| ShapeError::json(&error))?;
    let raw_rows = raw_rows.ok_or_else(|| ShapeError::at("data", "a list", "an object that is not empty"))?;
    let mut rows = ListRows::new();
    for raw in raw_rows {
        rows.push(if raw.starts_with('{') { Ok(object(raw, names, "data")?) } else { Err(kind(raw)) });
    }
    rows.checked()
}

/// Reads the JSON of each row, of a list or of an object with numbers for keys; `None` for another object. Of too many rows
/// it keeps one more than a page may have.
struct RawRows;

impl<'a> Visitor<'a> for RawRows {
    type Value = Option<Vec<&'a str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        while let Some(raw) = list.next_element::<&'a RawValue>()? {
            if rows.len() <= MAX_ROWS {
                rows.push(raw.get());
            }
        }
        Ok(Some(rows))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rows = Some(Vec::new());
        while let Some(NumberKey(is_number)) = map.next_key()? {
            let raw = map.next_value::<&'a RawValue>()?;
            rows = rows.filter(|_| is_number);
            if let Some(rows) = rows.as_mut().filter(|rows| rows.len() <= MAX_ROWS) {
                rows.push(raw.get());
            }
        }
        Ok(rows)
    }
}

/// Whether a key is a whole number.
struct NumberKey(bool);

impl<'a> serde::Deserialize<'a> for NumberKey {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;

        impl Visitor<'_> for Digits {
            type Value = NumberKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, key: &[u8]) -> Result<NumberKey, E> {
                Ok(NumberKey(!key.is_empty() && key.iter().all(u8::is_ascii_digit)))
            }
        }

        // As bytes: half of a surrogate pair is no text.
        deserializer.deserialize_bytes(Digits)
    }
}

/// A list as the pool really sends it, with its envelope, in one go; `None` for anything else.
pub fn plain_list<'a, const N: usize>(
    text: &'a str,
    names: &'static [&'static str; N],
) -> Option<(Object<'a, 6>, ListRows<'a, N>)> {
    let mut json = serde_json::Deserializer::from_str(text);
    let (envelope, rows) = json.deserialize_map(PlainList(names)).ok()?;
    json.end().ok()?;
    let is_ok = matches!(envelope.field(0), Field::Text(status) if status == "OK");
    rows.filter(|_| is_ok).map(|rows| (envelope, rows))
}

/// Reads an envelope with a list in it.
struct PlainList<const N: usize>(&'static [&'static str; N]);

impl<'a, const N: usize> Visitor<'a> for PlainList<N> {
    type Value = (Object<'a, 6>, Option<ListRows<'a, N>>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Object { names: &ENVELOPE, fields: [None; 6] };
        let mut rows = None;
        while let Some(index) = map.next_key_seed(NameSeed { names: &ENVELOPE, next: 0, plain: true })? {
            match index {
                Some(1) => rows = map.next_value_seed(PlainRows(self.0))?.checked().ok(),
                Some(index) => envelope.fields[index] = Some(Raw::Json(map.next_value::<&'a RawValue>()?.get())),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((envelope, rows))
    }
}

/// Reads the rows of a list; fails with an object that is not plain.
struct PlainRows<const N: usize>(&'static [&'static str; N]);

impl<'a, const N: usize> DeserializeSeed<'a> for PlainRows<N> {
    type Value = ListRows<'a, N>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for PlainRows<N> {
    type Value = ListRows<'a, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut rows = ListRows::new();
        while let Some(row) = list.next_element_seed(ObjectSeed { names: self.0, plain: true })? {
            rows.push(row);
        }
        Ok(rows)
    }
}

/// Reads an object's known fields, or says what stands there instead.
#[derive(Clone, Copy)]
struct ObjectSeed<const N: usize> {
    names: &'static [&'static str; N],
    /// Fails with whatever is no string, or has escapes.
    plain: bool,
}

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
        let mut next = 0;
        while let Some(index) = map.next_key_seed(NameSeed { names: self.names, next, plain: self.plain })? {
            match index {
                Some(index) => {
                    fields[index] = Some(if self.plain {
                        Raw::Plain(map.next_value()?)
                    } else {
                        Raw::Json(map.next_value::<&'a RawValue>()?.get())
                    });
                    next = index + 1;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Ok(Object { names: self.names, fields }))
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
struct NameSeed<const N: usize> {
    names: &'static [&'static str; N],
    /// Which is expected.
    next: usize,
    /// Fails with a key that has escapes which are no text.
    plain: bool,
}

impl<'a, const N: usize> DeserializeSeed<'a> for NameSeed<N> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.plain { deserializer.deserialize_str(self) } else { deserializer.deserialize_bytes(self) }
    }
}

impl<const N: usize> Visitor<'_> for NameSeed<N> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Option<usize>, E> {
        self.visit_bytes(key.as_bytes())
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Option<usize>, E> {
        let is_key = |name: &&str| name.as_bytes() == key;
        let expected = self.names.get(self.next).filter(|name| is_key(name)).map(|_| self.next);
        Ok(expected.or_else(|| self.names.iter().position(is_key)))
    }
}
