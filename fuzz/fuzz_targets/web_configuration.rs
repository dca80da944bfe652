//! Any text as the web configuration file: valid, or an error that shows no key and no hash. No file is touched.

#![no_main]

use std::path::Path;

use btcpool_exporter::server::web_config::WebConfig;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// What must be seen nowhere.
const CANARY: &str = "CANARY0a1b2cc6d7e8";

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match read(&text) {
        Ok(config) => check(&config),
        Err(error) => assert!(!error.contains("no valid YAML") || !error.contains("CANARY"), "{error}"),
    }

    // Well-formed, with the canary wherever a secret belongs: a JSON text is a YAML text, too.
    if let Ok(mut json) = serde_json::from_str::<Value>(&text) {
        if text.contains("CANARY") {
            return;
        }
        if let Some(entry) = json.pointer_mut("/tls_server_config/key") {
            taint(entry);
        }
        if let Some(Value::Object(users)) = json.pointer_mut("/basic_auth_users") {
            users.values_mut().for_each(taint);
        }
        let text = json.to_string();
        match read(&text) {
            Ok(config) => {
                check(&config);
                assert!(!format!("{config:?}").contains("CANARY"), "{text}");
            }
            Err(error) => assert!(!error.contains("CANARY"), "{text}\n{error}"),
        }
    }
});

fn read(text: &str) -> Result<WebConfig, String> {
    WebConfig::from_yaml("web.yml", text, Path::new("/nowhere")).map_err(|error| error.to_string())
}

/// What a valid one holds.
fn check(config: &WebConfig) {
    if let Some(tls) = &config.tls {
        assert!(!tls.versions.is_empty() && !tls.kx_groups.is_empty(), "{config:?}");
        assert!(tls.cipher_suites.iter().any(|suite| tls.versions.contains(&suite.version())), "{config:?}");
        // Go needs this to be so, and so does whoever builds a server of it.
        assert!(
            rustls::ServerConfig::builder_with_provider(tls.provider().into())
                .with_protocol_versions(&tls.versions)
                .is_ok(),
            "{config:?}"
        );
    }
    assert!(config.rate_limit.is_none_or(|limit| !limit.interval.is_zero()), "{config:?}");
    assert!(config.users.values().all(|hash| (4..=31).contains(&hash.cost())), "{config:?}");
    assert!(config.headers.iter().all(|(_, value)| !value.is_empty()), "{config:?}");
}

fn taint(value: &mut Value) {
    match value {
        Value::Object(entries) => entries.values_mut().for_each(taint),
        Value::Array(items) => items.iter_mut().for_each(taint),
        // At both ends, so that the text still begins as it did, or ends as it did.
        Value::String(text) if text.len() % 2 == 0 => text.push_str(CANARY),
        Value::String(text) => text.insert_str(0, CANARY),
        other => *other = Value::from(CANARY),
    }
}
