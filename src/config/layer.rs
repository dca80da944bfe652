//! Where a configuration comes from: YAML text and environment variables, as figment providers.
//!
//! Every scalar stays text until the field it belongs to parses it, so that a key made of digits keeps its leading
//! zeros, whatever layer it comes from, and every value remembers its place, so that an error can name it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MessageFormatter as _, NonFiniteFloatPolicy, Spanned, UserMessageFormatter};

use super::{ConfigError, sources::Sources};

/// What the names of our environment variables begin with. Two underscores nest; Kubernetes injects variables that
/// begin with a service's name and one underscore, and those must not be read.
pub const ENV_PREFIX: &str = "BTCPOOL__";

/// A key and the keys it lies under, from the top.
pub type KeyPath = Vec<String>;

/// The location of a value. The order is that of the layers, and within a file that of its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The number of the layer.
    layer: usize,
    line: u64,
    column: u64,
    /// How it is shown: file, line and column; a variable; a flag.
    pub text: String,
}

impl Place {
    fn in_file(name: &str, location: &Location) -> Self {
        let (line, column) = (location.line(), location.column());
        Self { layer: 0, line, column, text: format!("{name}:{line}:{column}") }
    }

    /// The same place in the layer of that number.
    pub fn in_layer(mut self, number: usize) -> Self {
        self.layer = number;
        self
    }
}

impl From<&str> for Place {
    fn from(text: &str) -> Self {
        Self { layer: 0, line: 0, column: 0, text: text.to_owned() }
    }
}

/// One layer of configuration: values, and where each stands.
pub struct Layer {
    name: String,
    values: Dict,
    places: BTreeMap<KeyPath, Place>,
    /// Keys that stand there without a value.
    empty: BTreeSet<KeyPath>,
    /// Keys whose value is written in quotes, and so is text to YAML whatever it looks like.
    quoted: BTreeSet<KeyPath>,
    /// What is wrong with variables that set nothing therefore.
    faults: Vec<ConfigError>,
    /// What those variables would have set.
    unread: Vec<KeyPath>,
}

impl Layer {
    /// A layer that sets nothing yet.
    pub fn new(name: &str) -> Self {
        let (places, empty, quoted) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let (values, faults, unread) = (Dict::new(), Vec::new(), Vec::new());
        Self { name: name.to_owned(), values, places, empty, quoted, faults, unread }
    }

    /// Reads YAML text. `name` stands for it in errors.
    ///
    /// # Errors
    ///
    /// When the text is no YAML, or its top is not a mapping.
    pub fn yaml(name: &str, text: &str) -> Result<Self, ConfigError> {
        // A key may look like a number that is too large for one, such as 1e999.
        let options =
            serde_saphyr::options! { with_snippet: false, non_finite_float_policy: NonFiniteFloatPolicy::PassThrough };
        let tree: Spanned<Node> =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax_error(name, text, &error))?;
        let mut layer = Self::new(name);
        match layer.value(text, tree, &mut Vec::new()) {
            Value::Dict(_, values) => layer.values = values,
            _ => return Err(ConfigError::new(name, "expected keys, each with a colon and a value behind it")),
        }
        Ok(layer)
    }

    /// Reads a YAML file.
    ///
    /// # Errors
    ///
    /// As [`Layer::yaml`], and when the file cannot be read.
    pub fn file(path: &Path, sources: &mut Sources) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::new(name.as_str(), format!("the configuration file cannot be read: {error}"))
        })?;
        sources.add(path, text.as_bytes());
        Self::yaml(&name, &text)
    }

    /// Takes the variables whose names begin with [`ENV_PREFIX`]. A variable is invalid if its name is not a key path, if
    /// another variable sets the same key, or if its value is not valid YAML.
    pub fn environment(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut layer = Self::new("environment");
        let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| name.contains(ENV_PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            if let Err((path, fault)) = layer.variable(&name, text) {
                layer.faults.push(fault);
                layer.unread.push(path);
            }
        }
        layer
    }

    /// Sets what a variable says, or returns what is wrong with it.
    fn variable(&mut self, name: &str, text: String) -> Result<(), (KeyPath, ConfigError)> {
        let Some(keys) = name.strip_prefix(ENV_PREFIX) else {
            let Some(meant) = without_env_file_syntax(name) else { return Ok(()) };
            let message = "the variable's name must begin with BTCPOOL__; remove what is before it (an env file's \
                           \"export\", a space, a byte-order mark)";
            let fault = ConfigError::new(shown_variable(meant).as_str(), message);
            return Err((key_path(meant.strip_prefix(ENV_PREFIX).unwrap_or(meant)), fault));
        };
        let place = shown_variable(name);
        let mut path = key_path(keys);
        if path.iter().any(String::is_empty) {
            let message = "the variable's name has an empty part; keys are joined by \"__\"";
            return Err((path, ConfigError::new(place.as_str(), message)));
        }
        // Coins are spelled in capitals in the file, and variables' names do not tell case.
        match path.as_mut_slice() {
            [top, coin, ..] if top == "coins" => coin.make_ascii_uppercase(),
            [_, _, key, coin] if key == "expected_hashrate" => coin.make_ascii_uppercase(),
            _ => {}
        }
        // A key of the pool, or a label, is taken to the letter; elsewhere lists and maps may be written as YAML does in one line.
        let bracketed = |open, close| text.starts_with(open) && text.ends_with(close);
        let is_text = match path.as_slice() {
            [_, _, labels, _] if labels == "labels" => true,
            [.., key] => key.starts_with("api_key"),
            [] => false,
        };
        let value = if !is_text && (bracketed('[', ']') || bracketed('{', '}')) {
            match Self::yaml("", &format!("value: {text}")) {
                Ok(inner) => inner.values.get("value").cloned().unwrap_or_else(|| Value::from("")),
                // Line and column would be those of our own text.
                Err(error) => return Err((path, error.placed(|_| Place::from(place.as_str())))),
            }
        } else {
            Value::from(text)
        };
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        self.set(&keys, &place, value).map_err(|fault| (path, fault))
    }

    /// Sets a key, which stands at `place`.
    pub fn set(&mut self, path: &[&str], place: &str, value: Value) -> Result<(), ConfigError> {
        let path: KeyPath = path.iter().map(|&key| key.to_owned()).collect();
        if !insert(&mut self.values, &path, value) {
            return Err(ConfigError::new(place, "another variable sets this key already, or one above or under it"));
        }
        self.places.insert(path, Place::from(place));
        Ok(())
    }

    /// What is wrong with variables, if this is the layer of that number.
    pub fn faults(&self, number: usize) -> impl Iterator<Item = ConfigError> {
        self.faults.iter().map(move |fault| fault.clone().placed(|place| place.in_layer(number)))
    }

    /// The paths of variables that could not be read.
    pub fn unread(&self) -> &[KeyPath] {
        &self.unread
    }

    /// What the layer sets at a path.
    pub fn value_at(&self, path: &[String]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.values.get(first)?, |value, key| match value {
            Value::Dict(_, entries) => entries.get(key),
            _ => None,
        })
    }

    /// The place of a key, if this layer sets it.
    pub fn place(&self, path: &[String]) -> Option<&Place> {
        self.places.get(path)
    }

    /// The place of the first key under another, if this layer sets one.
    pub fn place_under(&self, path: &[String]) -> Option<&Place> {
        let (under, place) = self.places.range(path.to_vec()..).next()?;
        under.starts_with(path).then_some(place)
    }

    /// Whether a key stands there without a value.
    pub fn is_empty_key(&self, path: &[String]) -> bool {
        self.empty.contains(path)
    }

    /// Whether a key's value is written in quotes.
    pub fn is_quoted(&self, path: &[&str]) -> bool {
        let path: KeyPath = path.iter().map(|&key| key.to_owned()).collect();
        self.quoted.contains(&path)
    }

    /// The paths of all keys that the layer sets, and of those above them.
    pub fn paths(&self) -> impl Iterator<Item = &KeyPath> {
        self.places.keys()
    }

    /// What the layer sets, to change.
    pub const fn values_mut(&mut self) -> &mut Dict {
        &mut self.values
    }

    /// Turns a parsed node into a value and notes its place. A key without a value becomes an empty mapping, which is
    /// right for a section and refused for anything else.
    fn value(&mut self, text: &str, node: Spanned<Node>, path: &mut KeyPath) -> Value {
        self.places.entry(path.clone()).or_insert_with(|| Place::in_file(&self.name, &node.referenced));
        match node.value {
            Node::Empty => {
                self.empty.insert(path.clone());
                Value::from(Dict::new())
            }
            Node::Text(scalar) => {
                if source(text, &node.defined).is_some_and(|scalar| scalar.starts_with(['"', '\''])) {
                    self.quoted.insert(path.clone());
                }
                Value::from(scalar)
            }
            Node::Plain(fallback) => Value::from(source(text, &node.defined).unwrap_or(&fallback)),
            Node::List(items) => {
                let mut values = Vec::new();
                for (index, item) in items.into_iter().enumerate() {
                    path.push(index.to_string());
                    values.push(self.value(text, item, path));
                    path.pop();
                }
                Value::from(values)
            }
            Node::Map(entries) => {
                let mut values = Dict::new();
                for (key, node) in entries {
                    path.push(key.value.clone());
                    self.places.insert(path.clone(), Place::in_file(&self.name, &key.referenced));
                    let value = self.value(text, node, path);
                    values.insert(key.value, value);
                    path.pop();
                }
                Value::from(values)
            }
        }
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// The keys that a variable's name stands for, without its prefix.
fn key_path(keys: &str) -> KeyPath {
    keys.split("__").map(str::to_ascii_lowercase).collect()
}

/// The name that was meant, where a program took more of an env file's line for the name.
fn without_env_file_syntax(name: &str) -> Option<&str> {
    let name = name.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
    let name = name.strip_prefix("export").map_or(name, str::trim_start);
    name.starts_with(ENV_PREFIX).then_some(name)
}

/// Puts a value at the end of a path of dictionaries; whether there was room.
fn insert(values: &mut Dict, path: &[String], value: Value) -> bool {
    match path {
        [] => false,
        [key] => values.insert(key.clone(), value).is_none(),
        [key, rest @ ..] => match values.entry(key.clone()).or_insert_with(|| Value::from(Dict::new())) {
            Value::Dict(_, inner) => insert(inner, rest, value),
            _ => false,
        },
    }
}

/// The text of a scalar as it stands in the file.
fn source<'a>(text: &'a str, location: &Location) -> Option<&'a str> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    text.get(start..start.checked_add(length)?)
}

/// The parser's word on what is wrong, unless the line might hold a key, of which nothing may be shown.
fn syntax_error(name: &str, text: &str, error: &serde_saphyr::Error) -> ConfigError {
    let error = error.without_snippet();
    // The library's longer texts repeat the place, and speak to programmers.
    let message = UserMessageFormatter.format_message(error);
    let message = message.lines().next().unwrap_or_default();
    let Some(location) = error.location() else {
        return ConfigError::new(name, format!("no valid YAML: {message}"));
    };
    let place = Place::in_file(name, &location);
    if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
        let key = shown_key(key);
        return ConfigError::new(place, format!("{key}: this key is set a second time here; remove one of them"));
    }
    let line = usize::try_from(location.line()).ok().and_then(|n| text.lines().nth(n.saturating_sub(1)));
    if line.is_none_or(may_hold_secret) {
        return ConfigError::new(place, "no valid YAML (what is wrong is not shown: the line may hold a key)");
    }
    ConfigError::new(place, format!("no valid YAML: {message}"))
}

/// Whether a line looks as if it held the pool's key, a password's hash, or a part of a private key: the words of such
/// a key are long.
fn may_hold_secret(line: &str) -> bool {
    line.contains("key") || line.contains('$') || line.split_whitespace().any(|word| word.len() >= 40)
}

/// A key of the file, as it may be shown: a secret may stand in its place by mistake. None of our keys has a digit, or
/// is long; secrets are, or have many.
pub fn shown_key(key: &str) -> &str {
    let digits = key.chars().filter(char::is_ascii_digit).count();
    if digits >= 4 || key.len() >= 64 || key.contains('$') { "(not shown)" } else { key }
}

/// Whether a text, or a word of it, may be a key of the pool: as long, of the same characters, and with as many digits
/// at the least.
pub fn may_be_key(text: &str, digits: usize) -> bool {
    let foreign = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let has_digits = |word: &str| word.bytes().filter(u8::is_ascii_digit).count() >= digits;
    text.split(foreign).any(|word| word.len() >= 20 && has_digits(word))
}

/// A path as it may be shown: a key of the pool may stand where an account's name belongs, or under it.
pub fn shown_path<Key: AsRef<str>>(path: &[Key]) -> String {
    let of_accounts = path.first().is_some_and(|top| top.as_ref() == "accounts");
    let shown = |(depth, key)| match depth {
        // A name may well have a number in it.
        1 if of_accounts && may_be_key(key, 8) => "(not shown)",
        2.. if of_accounts && may_be_key(key, 4) => "(not shown)",
        _ => key,
    };
    path.iter().map(AsRef::as_ref).enumerate().map(shown).collect::<Vec<_>>().join(".")
}

/// The name of a variable as it may be shown, for the same reason.
pub fn shown_variable(name: &str) -> String {
    let shown = |part| if may_be_key(part, 8) { "(not shown)" } else { part };
    name.split("__").map(shown).collect::<Vec<_>>().join("__")
}

/// Any YAML, untyped.
enum Node {
    Empty,
    /// A quoted or plain string.
    Text(String),
    /// A plain scalar that YAML takes for a number or a truth; what YAML makes of it.
    Plain(String),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Node::Plain(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text(value.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Empty)
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Empty)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut map = Vec::new();
                while let Some(entry) = entries.next_entry()? {
                    map.push(entry);
                }
                Ok(Node::Map(map))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}
