//! Any text as the configuration file, and any lines `NAME=VALUE` as the environment: valid, or an error that shows no
//! key of the pool.

#![no_main]

use btcpool_exporter::config::{Config, Overrides};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// A key that must be seen nowhere.
const CANARY: &str = "0a1b2cCANARYc6d7e8";

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = Config::from_yaml("fuzz.yml", &text, &Overrides::default()) {
        // A broken file may quote the values of other keys, and a canary that stands in one of those.
        let error = error.to_string();
        assert!(!error.contains("no valid YAML") || !error.contains(CANARY), "{error}");
    }

    // Well-formed, with the canary wherever a key belongs: a JSON text is a YAML text, too.
    if let Ok(mut json) = serde_json::from_str::<Value>(&text) {
        if !text.contains("CANARY") && hide(&mut json) {
            let text = json.to_string();
            match Config::from_yaml("fuzz.yml", &text, &Overrides::default()) {
                Ok(config) => assert!(!format!("{config:?}").contains("CANARY"), "{text}"),
                Err(error) => assert!(!error.to_string().contains("CANARY"), "{text}\n{error}"),
            }
        }
    }

    let mut environment = Vec::new();
    for (name, value) in text.lines().take(64).filter_map(|line| line.split_once('=')) {
        if !text.contains("CANARY") {
            let is_key = name.to_ascii_uppercase().ends_with("__API_KEY");
            let value = if is_key { format!("{value}{CANARY}") } else { value.to_owned() };
            environment.push((name.to_owned(), value));
        }
    }
    if environment.is_empty() {
        return;
    }
    match Config::load(None, environment, &Overrides::default()) {
        Ok(config) => assert!(!format!("{config:?}").contains("CANARY")),
        Err(error) => assert!(!error.to_string().contains("CANARY"), "{text}\n{error}"),
    }
});

/// Puts the canary into every text under a key of the pool; whether there was one.
fn hide(value: &mut Value) -> bool {
    match value {
        Value::Object(entries) => entries.iter_mut().fold(false, |hidden, (key, value)| {
            let here = key == "api_key" && {
                taint(value);
                true
            };
            (here || hide(value)) | hidden
        }),
        Value::Array(items) => items.iter_mut().fold(false, |hidden, item| hide(item) | hidden),
        _ => false,
    }
}

fn taint(value: &mut Value) {
    match value {
        Value::Object(entries) => entries.values_mut().for_each(taint),
        Value::Array(items) => items.iter_mut().for_each(taint),
        Value::String(text) => text.push_str(CANARY),
        other => *other = Value::from(CANARY),
    }
}
