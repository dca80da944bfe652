//! The documentation's tables and examples against the code.
//!
//! `UPDATE_DOCS=1 cargo test --test it docs` writes their generated parts anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use btcpool_exporter::{
    collector::CATALOGUE,
    config::{Config, DEFAULTS, Overrides},
};

use crate::rules;

fn read(file: &str) -> String {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The part of a text from a mark to `until`; to the end if that is empty.
fn part<'a>(text: &'a str, mark: &str, until: &str) -> &'a str {
    let rest = text.split_once(mark).unwrap_or_else(|| panic!("{mark} is not there")).1;
    let end = if until.is_empty() { rest.len() } else { rest.find(until).unwrap_or_else(|| panic!("no {until:?}")) };
    rest[..end].trim_matches('\n')
}

/// Compares a generated part of a document with what it should be, or writes it.
fn generated(document: &str, mark: &str, until: &str, expected: &str) {
    let text = read(document);
    let found = part(&text, mark, until);
    let expected = expected.trim_matches('\n');
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let updated = text.replace(found, expected);
        fs::write(format!("{}/{document}", env!("CARGO_MANIFEST_DIR")), updated).unwrap();
    } else {
        assert_eq!(found, expected, "{document} is behind; UPDATE_DOCS=1 writes it");
    }
}

fn metrics_table() -> String {
    let mut table = "| metric | type | labels | what it tells |\n|---|---|---|---|\n".to_owned();
    for family in CATALOGUE {
        let mut labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        if family.name == "btcpool_account_info" {
            labels.push("and the configured ones".to_owned());
        }
        let (name, kind) = (family.name, family.kind.as_str());
        table += &format!("| `{name}` | {kind} | {} | {} |\n", labels.join(", "), family.help);
    }
    table
}

#[test]
fn the_generated_parts_of_documents_are_up_to_date() {
    generated("docs/metrics.md", "<!-- metrics -->", "", &metrics_table());
    generated("docs/configuration.md", "<!-- defaults -->\n\n```yaml\n", "```", DEFAULTS);
}

/// One way only: names may be added freely, so a metric of which nothing is promised yet is no mistake.
#[test]
fn every_promised_metric_is_there_with_its_type_and_labels() {
    let promised: BTreeMap<String, (String, String)> = read("tests/fixtures/promised-metrics.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let [name, kind, labels] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line:?}") };
            (name.to_owned(), (kind.to_owned(), labels.to_owned()))
        })
        .collect();
    let mut there: BTreeMap<_, _> = CATALOGUE
        .iter()
        .map(|family| (family.name.to_owned(), (family.kind.as_str().to_owned(), family.labels.join(","))))
        .collect();
    there.retain(|name, _| promised.contains_key(name));
    assert_eq!(there, promised);
}

#[test]
fn the_readme_s_configuration_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "0a1b2c-3d4e5f\n").unwrap();
    let readme = read("README.md");
    let yaml = part(&readme, "<!-- example: configuration -->\n```yaml", "```")
        .replace("/run/secrets/farm_a", key.to_str().unwrap());
    let config = Config::from_yaml("README.md", &yaml, &Overrides::default()).unwrap();
    let targets: Vec<_> = config.targets().map(|(target, _)| target.to_string()).collect();
    assert_eq!(targets, ["farm_a BTC", "farm_a LTC"]);
}

#[test]
fn the_readme_s_error_is_what_one_gets() {
    let readme = read("README.md");
    let shown = part(&readme, "btcpool-exporter: btcpool.yml:", "\n");
    let yaml = "# my farms\naccounts:\n  farm_a:\n    api_keyfile: /run/secrets/farm_a\n";
    let error = Config::from_yaml("btcpool.yml", yaml, &Overrides::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("btcpool.yml:{shown}"));
}

#[test]
fn every_metric_that_the_readme_names_exists() {
    let readme = read("README.md");
    let known: BTreeSet<_> = CATALOGUE.iter().map(|family| family.name).collect();
    let words = readme.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let unknown: Vec<_> = words.filter(|word| word.starts_with("btcpool_") && !known.contains(word)).collect();
    assert_eq!(unknown, [] as [&str; 0]);
}

/// Words of a text that name metrics, recorded ones included.
fn metrics_named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let words = words.map(|word| word.trim_matches(':'));
    words.filter(|word| word.starts_with("btcpool_") || word.contains(":btcpool_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_the_documents_and_the_tests_of_rules_name_exists() {
    let families = CATALOGUE.iter().map(|family| family.name.to_owned());
    let known: BTreeSet<_> = rules::known().into_keys().chain(families).collect();
    for file in [rules::files("docs"), rules::files("deploy/prometheus/tests")].concat() {
        // Not the pictures.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let named = metrics_named(&text);
        assert_eq!(named.difference(&known).collect::<Vec<_>>(), [] as [&String; 0], "{}", file.display());
    }
    // Each of the rules about income is documented and tested.
    let rules = read("deploy/prometheus/rules/income.yml");
    let recorded = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    let recorded: BTreeSet<_> = recorded.map(str::to_owned).collect();
    assert!(recorded.len() >= 12, "{recorded:?}");
    for text in [read("docs/income.md"), read("deploy/prometheus/tests/income_test.yml")] {
        assert_eq!(recorded.difference(&metrics_named(&text)).collect::<Vec<_>>(), [] as [&String; 0]);
    }
}
