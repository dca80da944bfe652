//! Typed access to the merged layers: keys are taken from their section, and what is left is unknown.
//!
//! A key's name, type, rule and error are one line:
//!
//! ```ignore
//! page_size: api.take("page_size").integer(1..=Api::LARGEST_PAGE),
//! ```
//!
//! Reading does not stop at a fault. The fault is recorded, the value is `None`, and [`Reader::finish`] returns all
//! faults in the order of the file.

use std::{cell::RefCell, collections::BTreeMap, fmt, ops::RangeInclusive, path::PathBuf, time::Duration};

use figment::{
    Figment, Profile, Provider as _,
    value::{Dict, Value},
};

use super::{
    ConfigError, is_in_quotes,
    layer::{KeyPath, Layer, Place, may_be_key, shown_key, shown_path},
    units,
    unknown::{meant, misnamed, unknown_key, unknown_section},
};

/// What to say of a value with quotes of its own, as an env file may leave them.
pub(crate) const IN_QUOTES: &str = "the value itself is in quotes; remove them";

/// The error for a list where a section is expected.
const LIST_FOR_KEYS: &str = "expected keys with values, found a list";

/// Builds a struct from fields that are each an `Option`: `None` if one of them is. All are evaluated first, so that
/// each records its faults.
macro_rules! all {
    ($type:ident { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        $($(let $field = $value;)?)*
        match ($($field,)*) {
            ($(Some($field),)*) => Some($type { $($field),* }),
            _ => None,
        }
    }};
}
pub(crate) use all;

/// Reads merged layers, and collects the faults.
pub(crate) struct Reader<'a> {
    layers: &'a [Layer],
    faults: RefCell<Vec<ConfigError>>,
}

impl<'a> Reader<'a> {
    /// Reads what the layers hold. `faults` were found before.
    pub const fn new(layers: &'a [Layer], faults: Vec<ConfigError>) -> Self {
        Self { layers, faults: RefCell::new(faults) }
    }

    /// The merged layers as one section. Its keys may be unknown to the caller.
    pub fn root(&self) -> Section<'_> {
        let merged = self.layers.iter().fold(Figment::new(), |figment, layer| figment.merge(layer));
        // A layer hands over its values and cannot fail.
        let values = merged.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default)).unwrap_or_default();
        Section { reader: self, path: KeyPath::new(), values, known: Vec::new() }
    }

    /// The result, or everything that is wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, ConfigError> {
        match ConfigError::all(self.faults.into_inner()) {
            Some(error) => Err(error),
            None => value.ok_or_else(|| ConfigError::new("configuration", "is not valid")),
        }
    }

    /// Records a fault.
    pub fn record(&self, fault: ConfigError) {
        self.faults.borrow_mut().push(fault);
    }

    /// The place of a key, or of one under it (a variable's name is the whole path), in the latest layer that has one;
    /// or else of the nearest key above it.
    pub fn place<Key: AsRef<str>>(&self, path: &[Key]) -> Place {
        let path: KeyPath = path.iter().map(|key| key.as_ref().to_owned()).collect();
        let latest = || self.layers.iter().enumerate().rev();
        let at = latest().find_map(|(number, layer)| {
            let place = layer.place(&path).or_else(|| layer.place_under(&path));
            place.map(|place| place.clone().in_layer(number))
        });
        let above = |length: usize| {
            latest()
                .find_map(|(number, layer)| layer.place(&path[..length]).map(|place| place.clone().in_layer(number)))
        };
        at.or_else(|| (0..path.len()).rev().find_map(above)).unwrap_or_else(|| Place::from("configuration"))
    }

    /// What is wrong with a key, at its place.
    pub fn error<Key: AsRef<str>>(&self, path: &[Key], message: impl fmt::Display) -> ConfigError {
        let place = self.place(path);
        // A flag says by itself which key it stands for.
        if place.text.starts_with("--") {
            return ConfigError::new(place, message.to_string());
        }
        ConfigError::new(place, format!("{}: {message}", shown_path(path)))
    }

    /// As [`Reader::error`], for a last key that may have to be shown as something else.
    pub fn error_as<Key: AsRef<str>>(&self, path: &[Key], last: &str, message: impl fmt::Display) -> ConfigError {
        let above = &path[..path.len().saturating_sub(1)];
        let shown: Vec<&str> = above.iter().map(AsRef::as_ref).chain([last]).collect();
        ConfigError::new(self.place(path), format!("{}: {message}", shown_path(&shown)))
    }

    /// Records what is wrong with a key. Always `None`, in place of its value.
    pub fn fault<Key: AsRef<str>, T>(&self, path: &[Key], message: impl fmt::Display) -> Option<T> {
        self.record(self.error(path, message));
        None
    }

    /// Parses one text, or records what was expected of it.
    pub fn parse<Key: AsRef<str>, T>(
        &self,
        path: &[Key],
        text: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        parse(text.trim()).or_else(|| {
            let secret = path.first().is_some_and(|top| top.as_ref() == "accounts") && may_be_key(text, 4);
            let shown = if secret { "the value (not shown: it may be a key)".to_owned() } else { format!("{text:?}") };
            self.fault(path, format!("{shown} is not {expected}{}", quotes_hint(text.trim())))
        })
    }

    /// Whether a variable that sets this key, or one under it, could not be read.
    fn is_unread(&self, path: &[String]) -> bool {
        self.layers.iter().any(|layer| layer.unread().iter().any(|unread| unread.starts_with(path)))
    }
}

/// The path of a key below another.
fn below(path: &[String], key: &str) -> KeyPath {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

/// The end of an error about a value that is in quotes.
pub(crate) fn quotes_hint(text: &str) -> String {
    if is_in_quotes(text) { format!("; {IN_QUOTES}") } else { String::new() }
}

/// A mapping whose keys are known to the code.
pub(crate) struct Section<'r> {
    reader: &'r Reader<'r>,
    path: KeyPath,
    /// What was not taken yet.
    values: Dict,
    /// The keys that were taken, whether they are set or not.
    known: Vec<&'static str>,
}

impl<'r> Section<'r> {
    /// Takes a key.
    pub fn take(&mut self, key: &'static str) -> Entry<'r> {
        self.known.push(key);
        Entry { reader: self.reader, path: self.path_of(key), value: self.values.remove(key) }
    }

    /// The path of a key of this section.
    pub fn path_of(&self, key: &str) -> KeyPath {
        below(&self.path, key)
    }

    /// Records what is wrong with a key of this section. Always `None`.
    pub fn fault<T>(&self, key: &str, message: impl fmt::Display) -> Option<T> {
        self.reader.fault(&self.path_of(key), message)
    }

    /// Records that a key is missing, unless an unknown key was meant for it or a variable of this section is unread.
    pub fn missing<T>(&self, keys: &[&str], message: &str) -> Option<T> {
        let meant_for_it = |key: &String| meant(key, &self.known).is_some_and(|meant| keys.contains(&meant));
        if self.values.keys().any(meant_for_it) || self.reader.is_unread(&self.path) {
            return None;
        }
        self.reader.fault(&self.path, message)
    }

    /// The latest layer that sets a key of this section.
    pub fn layer_of(&self, key: &str) -> Option<usize> {
        let path = self.path_of(key);
        self.reader.layers.iter().rposition(|layer| layer.place(&path).is_some())
    }

    /// Records every key that was not taken.
    pub fn refuse_unknown(self) {
        for key in self.values.keys() {
            let path = self.path_of(key);
            let place = self.reader.place(&path);
            let message = match misnamed(&place.text) {
                Some(meant) => format!("unknown key; {meant}"),
                None if path.len() == 1 => unknown_section(key, &self.known),
                None => unknown_key(key, &self.known),
            };
            self.reader.record(self.reader.error_as(&path, shown_key(key), message));
        }
    }
}

/// A key, with its value if it is set.
pub(crate) struct Entry<'r> {
    reader: &'r Reader<'r>,
    path: KeyPath,
    value: Option<Value>,
}

impl<'r> Entry<'r> {
    /// Whether the key is set.
    pub const fn is_set(&self) -> bool {
        self.value.is_some()
    }

    /// Whether the key has a value.
    pub fn has_value(&self) -> bool {
        !matches!(&self.value, None | Some(Value::Dict(..)))
    }

    /// The default of a key that is not among the defaults.
    pub fn or(mut self, default: &str) -> Self {
        self.value.get_or_insert_with(|| Value::from(default));
        self
    }

    /// A section that is not set is empty.
    pub fn or_empty(mut self) -> Self {
        self.value.get_or_insert_with(|| Value::from(Dict::new()));
        self
    }

    /// A key without a value counts as not set.
    pub fn unless_empty(mut self) -> Self {
        self.value = self.value.filter(|value| !matches!(value, Value::Dict(_, entries) if entries.is_empty()));
        self
    }

    /// Records what is wrong with the key. Always `None`.
    pub fn fault<T>(&self, message: impl fmt::Display) -> Option<T> {
        self.reader.fault(&self.path, message)
    }

    /// The value as it is written, if it is a single one.
    pub fn raw(&self) -> &str {
        self.value.as_ref().and_then(Value::as_str).unwrap_or_default()
    }

    /// Parses the key's own name.
    pub fn parse_key<T>(&self, key: &str, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        self.reader.parse(&self.path, key, expected, parse)
    }

    /// Records that a value is of another type, without the value: it might be a key of the pool.
    fn wrong_type<T>(&self, expected: &str, found: &Value) -> Option<T> {
        if self.reader.layers.iter().any(|layer| layer.is_empty_key(&self.path)) {
            return self.fault("has no value; write one, or remove the key");
        }
        let found = match found {
            Value::Array(..) => "a list",
            Value::Dict(..) => "keys with values",
            _ => "a single value",
        };
        let meant = misnamed(&self.reader.place(&self.path).text).map(|meant| format!("; {meant}")).unwrap_or_default();
        self.fault(format!("expected {expected}, found {found}{meant}"))
    }

    /// A single value, if there is one.
    pub fn optional(self) -> Option<Option<String>> {
        match self.value {
            None => Some(None),
            Some(Value::String(_, text)) => Some(Some(text)),
            Some(ref other) => self.wrong_type("a single value", other),
        }
    }

    /// A single value.
    pub fn text(self) -> Option<String> {
        if self.value.is_none() {
            return self.fault("is missing");
        }
        self.optional().flatten()
    }

    /// A single value, with a rule that says by itself what is wrong.
    pub fn check<T, E: fmt::Display>(self, check: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let (reader, path) = (self.reader, self.path.clone());
        check(&self.text()?).map_or_else(|error| reader.fault(&path, error), Some)
    }

    /// A single value that is parsed, or is "not `expected`".
    pub fn parse<T>(self, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let (reader, path) = (self.reader, self.path.clone());
        reader.parse(&path, &self.text()?, expected, parse)
    }

    /// A whole number.
    pub fn integer(self, range: RangeInclusive<usize>) -> Option<usize> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.parse(&expected, |text| text.parse().ok().filter(|n| range.contains(n)))
    }

    /// True or false.
    pub fn truth(self) -> Option<bool> {
        self.parse("true or false", |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    /// One of a few words, in any case.
    pub fn word<T: Copy>(self, expected: &str, words: &[(&str, T)]) -> Option<T> {
        self.parse(expected, |text| {
            words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word)).map(|&(_, value)| value)
        })
    }

    /// A duration within bounds; `outside` is said of one beyond them.
    pub fn duration(self, range: RangeInclusive<Duration>, outside: &str) -> Option<Duration> {
        let (reader, path) = (self.reader, self.path.clone());
        let duration = self.parse("a duration such as 15s, 5m or 1h30m", units::duration)?;
        if range.contains(&duration) { Some(duration) } else { reader.fault(&path, outside) }
    }

    /// The path of a file.
    pub fn path(self) -> Option<PathBuf> {
        self.check(|text| if is_in_quotes(text) { Err(IN_QUOTES) } else { Ok(PathBuf::from(text)) })
    }

    /// A list of single values, if the key is set.
    pub fn list(self) -> Option<Option<Vec<String>>> {
        let items = match self.value {
            None => return Some(None),
            Some(Value::Array(_, items)) => items,
            Some(ref other) => return self.wrong_type("a list", other),
        };
        let texts: Vec<_> = (items.into_iter().enumerate())
            .map(|(index, item)| {
                let path = below(&self.path, &index.to_string());
                Entry { reader: self.reader, path, value: Some(item) }.text()
            })
            .collect();
        texts.into_iter().collect::<Option<_>>().map(Some)
    }

    /// A list of values, which a variable of the environment may write with commas. It is not empty, or `empty` is said
    /// of it.
    pub fn list_of<T>(mut self, expected: &str, empty: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        if let Some(Value::String(_, text)) = &self.value {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            self.value = Some(items.map(Value::from).collect::<Vec<_>>().into());
        }
        let (reader, path) = (self.reader, self.path.clone());
        let texts = self.list()?.unwrap_or_default();
        if texts.is_empty() {
            return reader.fault(&path, empty);
        }
        let values: Vec<_> = texts.iter().map(|text| reader.parse(&path, text, expected, &parse)).collect();
        values.into_iter().collect()
    }

    /// A section whose keys `read` takes. Those that it leaves are unknown.
    pub fn section<T>(self, read: impl FnOnce(&mut Section<'r>) -> Option<T>) -> Option<T> {
        let (reader, path) = (self.reader, self.path.clone());
        let mut section = Section { reader, path, values: self.mapping(LIST_FOR_KEYS)?, known: Vec::new() };
        let value = read(&mut section);
        section.refuse_unknown();
        value
    }

    /// A mapping from names to values, each of which `read` reads.
    pub fn map<K: Ord, V>(self, read: impl FnMut(&str, Self) -> Option<(K, V)>) -> Option<BTreeMap<K, V>> {
        self.map_or(LIST_FOR_KEYS, read)
    }

    /// As [`Entry::map`]; `list` is the error for a list in its place.
    pub fn map_or<K: Ord, V>(
        self,
        list: &str,
        mut read: impl FnMut(&str, Self) -> Option<(K, V)>,
    ) -> Option<BTreeMap<K, V>> {
        let (reader, path) = (self.reader, self.path.clone());
        let entries: Vec<_> = (self.mapping(list)?.into_iter())
            .map(|(key, value)| {
                let path = below(&path, &key);
                read(&key, Entry { reader, path, value: Some(value) })
            })
            .collect();
        entries.into_iter().collect()
    }

    /// Keys with values. In no layer there may be anything else, even if a later layer replaces it.
    fn mapping(self, list: &str) -> Option<Dict> {
        let is_list = |layer: &Layer| matches!(layer.value_at(&self.path), Some(Value::Array(..)));
        match self.value {
            _ if self.reader.layers.iter().any(is_list) => self.fault(list),
            Some(Value::Dict(_, entries)) => Some(entries),
            None => self.fault("is missing"),
            Some(ref other) => self.wrong_type("keys with values", other),
        }
    }
}
