//! Keys with something around them: quotes, comments and names from an env file, marks from an editor.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use btcpool_exporter::config::{Config, ConfigError, Overrides};
use tempfile::TempDir;

use crate::harness::KEY;

const QUOTES: &str = "the key is in quotes; remove them (docker run --env-file, for one, keeps quotes)";
const COMMENT: &str = "the key is followed by a comment; remove it (in an env file a comment has a line of its own)";
const NAME: &str = "the key begins with a name, as in a line of an env file; write only the key";
const REFERENCE: &str = "the key is a reference to a variable, which nothing replaces here; write the key itself";
const OTHER: &str = "the key has a space, a line break or another character that no key has";

/// What may be around a key, and what is said of it. % stands for the key.
const AROUND: [(&str, &str); 18] = [
    ("\"%\"", QUOTES),
    ("'%'", QUOTES),
    ("`%`", QUOTES),
    ("“%”", QUOTES),
    ("\"%", QUOTES),
    ("%'", QUOTES),
    ("\"%\" # the key of farm", QUOTES),
    ("% # the key of farm", COMMENT),
    ("%\t#farm", COMMENT),
    ("%  ; farm", OTHER),
    ("export %", NAME),
    ("export BTCPOOL__ACCOUNTS__FARM__API_KEY=%", NAME),
    ("export API_KEY=\"%\"", NAME),
    ("BTCPOOL__ACCOUNTS__FARM__API_KEY=%", NAME),
    ("api_key: %", NAME),
    ("${FARM_KEY}", REFERENCE),
    ("$(cat key)", REFERENCE),
    (" %", OTHER),
];

fn load(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Config::load(None, environment, &Overrides::default())
}

fn key_file(folder: &TempDir, content: impl AsRef<[u8]>) -> String {
    let path = folder.path().join("key");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn quotes_and_comments_around_a_key_are_refused() {
    let folder = TempDir::new().unwrap();
    let (variable, of_file) = ("BTCPOOL__ACCOUNTS__FARM__API_KEY", "BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE");
    for (around, message) in AROUND {
        for end in ["", "\r", "\n", "\r\n"] {
            let text = around.replace('%', KEY) + end;
            let error = load(&[(variable, &text)]).unwrap_err().to_string();
            assert_eq!(error, format!("{variable}: accounts.farm.api_key: {message}"), "{text:?}");
            let file = key_file(&folder, &text);
            let error = load(&[(of_file, &file)]).unwrap_err().to_string();
            assert_eq!(error, format!("{of_file}: accounts.farm.api_key_file: {file}: {message}"), "{text:?}");
        }
    }
}

#[test]
fn line_ends_behind_a_key_are_removed() {
    for end in ["", "\r", "\n", "\r\n"] {
        let config = load(&[("BTCPOOL__ACCOUNTS__FARM__API_KEY", &format!("{KEY}{end}"))]).unwrap();
        assert_eq!(config.accounts.values().next().unwrap().key.expose(), KEY);
    }
}

#[test]
fn keys_may_hold_the_same_characters_inside() {
    for key in ["a\"b'c", "a=b==", "a:b", "a#b", "$abc", "api_key", "export"] {
        let config = load(&[("BTCPOOL__ACCOUNTS__FARM__API_KEY", key)]).unwrap();
        assert_eq!(config.accounts.values().next().unwrap().key.expose(), key);
    }
}

#[test]
fn a_byte_order_mark_is_removed() {
    let folder = TempDir::new().unwrap();
    let load = |content: &[u8]| load(&[("BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", &key_file(&folder, content))]);
    let config = load(format!("\u{FEFF}{KEY}\r\n").as_bytes()).unwrap();
    assert_eq!(config.accounts.values().next().unwrap().key.expose(), KEY);
    let error = load("\u{FEFF}\r\n".as_bytes()).unwrap_err().to_string();
    assert!(error.ends_with("/key: the key is empty"), "{error}");
    // PowerShell 5 writes UTF-16.
    for (mark, encode) in [([0xFF, 0xFE], u16::to_le_bytes as fn(u16) -> [u8; 2]), ([0xFE, 0xFF], u16::to_be_bytes)] {
        let text: Vec<u8> = mark.into_iter().chain(KEY.encode_utf16().flat_map(encode)).collect();
        let error = load(&text).unwrap_err().to_string();
        assert!(error.ends_with("/key is UTF-16 text; save it as UTF-8 (in PowerShell: -Encoding ascii)"), "{error}");
    }
}

#[test]
fn a_name_with_export_is_refused() {
    let before = "the variable's name must begin with BTCPOOL__; remove what is before it (an env file's \"export\", a space, \
                  a byte-order mark)";
    for name in ["export BTCPOOL__API__TIMEOUT", " BTCPOOL__API__TIMEOUT", "\u{FEFF}BTCPOOL__API__TIMEOUT"] {
        let error = load(&[(name, "1s")]).unwrap_err().to_string();
        assert_eq!(error, format!("BTCPOOL__API__TIMEOUT: {before}"));
    }
}

#[test]
fn quotes_around_other_values_are_named() {
    let quotes = "the value itself is in quotes; remove them";
    for (name, value, expected) in [
        (
            "BTCPOOL__API__TIMEOUT",
            "\"30s\"",
            "api.timeout: \"\\\"30s\\\"\" is not a duration such as 15s, 5m or 1h30m; ",
        ),
        (
            "BTCPOOL__API__BASE_URL",
            "\"https://pool.example/api\"",
            "api.base_url: is not a URL such as https://btcpool.kz/ru/api; ",
        ),
        ("BTCPOOL__WEB__MAX_REQUESTS", "'1'", "web.max_requests: \"'1'\" is not a whole number from 0 to 1000000; "),
        ("BTCPOOL__WEB__ENABLE_LIFECYCLE", "\"true\"", "web.enable_lifecycle: \"\\\"true\\\"\" is not true or false; "),
        ("BTCPOOL__WEB__CONFIG_FILE", "\"/etc/web.yml\"", "web.config_file: "),
        ("BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", "\"/run/secrets/farm\"", "accounts.farm.api_key_file: "),
    ] {
        let error = load(&[(name, value)]).unwrap_err().to_string();
        assert_eq!(error, format!("{name}: {expected}{quotes}"));
    }
    // A list in quotes comes apart.
    let list = [("BTCPOOL__ACCOUNTS__FARM__API_KEY", KEY), ("BTCPOOL__ACCOUNTS__FARM__CURRENCIES", "\"BTC,LTC\"")];
    let place = "BTCPOOL__ACCOUNTS__FARM__CURRENCIES: accounts.farm.currencies";
    let expected = ["\"\\\"BTC\"", "\"LTC\\\"\""]
        .map(|text| format!("{place}: {text} is not a currency of the pool: BTC, BCH or LTC; {quotes}"));
    assert_eq!(load(&list).unwrap_err().to_string(), expected.join("\n"));
    let label = [("BTCPOOL__ACCOUNTS__FARM__API_KEY", KEY), ("BTCPOOL__ACCOUNTS__FARM__LABELS__SITE", "\"Ekibastuz\"")];
    let config = load(&label).unwrap();
    assert_eq!(config.accounts.values().next().unwrap().labels["site"], "\"Ekibastuz\"");
    assert_eq!(config.warnings, [format!("accounts.farm.labels.site: {quotes}, unless they belong to the label")]);
}

#[test]
fn missing_credentials_of_systemd_are_explained() {
    let hint = "; systemd did not provide the file: the service is not running, its LoadCredential= does not name the file, or \
                LoadCredential= was switched off, as in LXC (docs/systemd.md, \"In an LXC container\")";
    let missing = "cannot be read: No such file or directory (os error 2)";
    for (file, hint) in [
        ("/run/credentials/btcpool-exporter.service/keys_farm", hint),
        ("/run/credentialsx/keys_farm", ""),
        ("/run/secrets/farm", ""),
    ] {
        assert!(!Path::new(file).exists());
        let error = load(&[("BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE", file)]).unwrap_err().to_string();
        let place = "BTCPOOL__ACCOUNTS__FARM__API_KEY_FILE: accounts.farm.api_key_file";
        assert_eq!(error, format!("{place}: {file} {missing}{hint}"));
    }
}
