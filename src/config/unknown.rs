//! What was meant by a key that nobody knows.

use super::{
    DEFAULTS,
    layer::{ENV_PREFIX, KeyPath, Layer},
};

/// The sections of the configuration.
pub const SECTIONS: [&str; 7] = ["api", "polling", "accounts", "coins", "shard", "web", "log"];

/// The sections of the web configuration, which is another file.
pub const WEB_SECTIONS: [&str; 4] = ["tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"];

/// What is said of an account.
const ACCOUNT_KEYS: [&str; 6] = ["api_key", "api_key_file", "currencies", "labels", "expected_hashrate", "workers"];

/// What to say of a key that nobody knows.
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    match meant(key, known) {
        Some(meant) => format!("unknown key; did you mean {meant}? Known here: {}", known.join(", ")),
        None => format!("unknown key. Known here: {}", known.join(", ")),
    }
}

/// The known key that was meant, perhaps: one but for a slip of the finger or of the shift key; or the shortest that is
/// the key with something more or less; or the nearest by spelling.
pub fn meant<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let key = key.to_ascii_lowercase();
    let key = key.as_str();
    let distances = known.iter().map(|&candidate| (strsim::damerau_levenshtein(key, candidate), candidate));
    let nearest = distances.min().filter(|&(distance, candidate)| distance <= candidate.len().max(key.len()) / 2);
    let slip = nearest.filter(|&(distance, _)| distance <= 2.min(key.len() / 3));
    // A short word is in many a long one by chance.
    let longer = |candidate: &str| key.len() >= 3 && candidate.contains(key);
    let shorter = |candidate: &str| candidate.len() * 5 >= key.len() * 2 && key.contains(candidate);
    let alike =
        || known.iter().copied().filter(|known| longer(known) || shorter(known)).min_by_key(|known| known.len());
    slip.map(|(_, slip)| slip).or_else(alike).or(nearest.map(|(_, nearest)| nearest))
}

/// What to say of a key at the top of a file, where it may have come to from elsewhere.
pub fn unknown_section(key: &str, known: &[&str]) -> String {
    let at_home = if !known.contains(&"api") {
        SECTIONS.contains(&key).then(|| "it belongs to the exporter's configuration (--config.file)".to_owned())
    } else if WEB_SECTIONS.contains(&key) {
        Some("it belongs to the web configuration, the file that --web.config.file names".to_owned())
    } else if ACCOUNT_KEYS.contains(&key) {
        Some("it belongs under an account's name under accounts".to_owned())
    } else {
        let section = known_paths().into_iter().find(|path| path.get(1).is_some_and(|known| known == key));
        section.map(|path| format!("it belongs under {}", path[0]))
    };
    match at_home {
        Some(at_home) => format!("unknown key here; {at_home}. Known here: {}", known.join(", ")),
        None => unknown_key(key, known),
    }
}

/// Which variable was meant by one whose parts are joined by too few underscores, or by too many.
pub fn misnamed(variable: &str) -> Option<String> {
    let flat = variable.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase().replace("__", "_");
    let is_flat = |path: &&KeyPath| path.join("_").eq_ignore_ascii_case(&flat);
    let path = known_paths().iter().find(is_flat).cloned().or_else(|| {
        let of_account = flat.strip_prefix("accounts_")?;
        let keys = ["api_key_file", "api_key", "currencies", "workers__enabled", "workers__max"];
        keys.into_iter().find_map(|key| {
            let name = of_account.strip_suffix(&key.replace("__", "_"))?.strip_suffix('_')?;
            Some(vec!["accounts".to_owned(), name.to_owned(), key.to_owned()])
        })
    })?;
    let meant = format!("{ENV_PREFIX}{}", path.join("__").to_ascii_uppercase());
    (!meant.eq_ignore_ascii_case(variable)).then(|| format!("did you mean {meant}? Keys are joined by two underscores"))
}

/// The path of each key that has a default, and of each section.
fn known_paths() -> Vec<KeyPath> {
    Layer::yaml("defaults", DEFAULTS).map(|defaults| defaults.paths().cloned().collect()).unwrap_or_default()
}
