//! The shipped rules and dashboards: they name what there is, every alert is tested and explained, and the Russian
//! dashboards are the English ones in Russian. What the rules do is tested by promtool (`deploy/prometheus/tests`) and by
//! the end-to-end tests.
//!
//! `UPDATE=1 cargo test --test it rules` writes the Russian dashboards anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use btcpool_exporter::collector::{CATALOGUE, Kind};
use serde_json::{Map, Value};

use crate::support::golden;

/// What Prometheus itself has of each target, and of alerts.
const OF_PROMETHEUS: [&str; 5] =
    ["up", "scrape_duration_seconds", "scrape_samples_scraped", "ALERTS", "ALERTS_FOR_STATE"];

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn files(path: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder(path)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn yaml(file: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(file).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every rule that is shipped.
fn rules() -> Vec<Value> {
    let groups =
        files("deploy/prometheus/rules").into_iter().flat_map(|file| yaml(&file)["groups"].as_array().unwrap().clone());
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn alerts() -> BTreeMap<String, Value> {
    let alerts = rules().into_iter().filter_map(|rule| Some((rule["alert"].as_str()?.to_owned(), rule)));
    alerts.collect()
}

/// The series that may be named, and the labels of each; `None`: whatever the rule gives them.
pub fn known() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let mut known = BTreeMap::new();
    for family in CATALOGUE {
        let mut labels: BTreeSet<_> = family.labels.iter().map(|&label| label.to_owned()).collect();
        labels.extend(["job", "instance"].map(str::to_owned));
        if family.name == "btcpool_account_info" {
            labels.extend(["site", "client"].map(str::to_owned));
        }
        if family.kind == Kind::Histogram {
            labels.insert("le".to_owned());
            for part in ["_bucket", "_sum", "_count"] {
                known.insert(format!("{}{part}", family.name), Some(labels.clone()));
            }
            continue;
        }
        known.insert(family.name.to_owned(), Some(labels));
    }
    known.extend(OF_PROMETHEUS.map(|name| (name.to_owned(), None)));
    known.extend(rules().iter().filter_map(|rule| Some((rule["record"].as_str()?.to_owned(), None))));
    known
}

/// What is wrong with the names in an expression.
fn complaints(expr: &str, known: &BTreeMap<String, Option<BTreeSet<String>>>) -> Vec<String> {
    let all_labels: BTreeSet<_> = known
        .values()
        .flatten()
        .flatten()
        .map(String::as_str)
        .chain(["reason", "alertname", "alertstate", "severity", "site", "client"])
        .collect();
    let mut complaints = Vec::new();
    let mut rest = expr;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
            rest = &rest[end..];
            continue;
        }
        // A variable of Grafana's, a number or a duration.
        if first == '$' || first.is_ascii_digit() {
            rest = rest[1..].trim_start_matches(|c| is_name(c) || "{}".contains(c) && first == '$');
            continue;
        }
        if !(first.is_ascii_alphabetic() || first == '_') {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (name, after) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
        rest = after.trim_start();
        let is_series = name.contains(':')
            || name.contains('_') && !rest.starts_with('(')
            || name == "up"
            || name.starts_with("ALERTS");
        if ["by", "on", "without", "ignoring", "group_left", "group_right"].contains(&name) {
            if let Some((labels, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
                let labels = labels.split(',').map(str::trim).filter(|label| !label.is_empty());
                complaints.extend(
                    labels.filter(|label| !all_labels.contains(label)).map(|label| format!("{name} ({label})")),
                );
                rest = after;
            }
        } else if is_series {
            let Some(labels) = known.get(name) else {
                complaints.push(name.to_owned());
                continue;
            };
            if let Some((matchers, after)) = rest.strip_prefix('{').and_then(|rest| matchers(rest)) {
                let unknown = |label: &String| match labels {
                    Some(labels) => !labels.contains(label),
                    None => !all_labels.contains(label.as_str()),
                };
                complaints.extend(matchers.into_iter().filter(unknown).map(|label| format!("{name}{{{label}}}")));
                rest = after;
            }
        }
    }
    complaints
}

/// The names of the labels up to the closing brace, and what comes behind it.
fn matchers(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut quoted, mut name, mut names) = (false, String::new(), Vec::new());
    let mut in_name = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '}' => return Some((names, &text[at + 1..])),
            '=' | '!' | '~' => {
                if in_name {
                    names.push(std::mem::take(&mut name));
                }
                in_name = false;
            }
            ',' => in_name = true,
            c if in_name && !c.is_whitespace() => name.push(c),
            _ => {}
        }
    }
    None
}

#[test]
fn unknown_names_are_noticed() {
    let known = known();
    let complaints = |expr: &str| complaints(expr, &known);
    assert_eq!(
        complaints("sum by (account) (btcpool_up{endpoint=~\"a,b}\", job=\"x\"}[5m]) > 2 * 86400"),
        Vec::<String>::new()
    );
    assert_eq!(
        complaints("rate(btcpool_exporter_api_request_duration_seconds_bucket{le=\"1\"}[$__rate_interval])"),
        Vec::<String>::new()
    );
    assert_eq!(complaints("btcpool_upp == 0"), ["btcpool_upp"]);
    assert_eq!(complaints("btcpool_up{worker=\"a\"}"), ["btcpool_up{worker}"]);
    assert_eq!(complaints("sum by (acount) (account_currency:btcpool_hashrate:1h)"), ["by (acount)"]);
    assert_eq!(complaints("account_currency:btcpool_hashrate:2h"), ["account_currency:btcpool_hashrate:2h"]);
    assert_eq!(
        complaints("btcpool_exporter_api_request_duration_seconds"),
        ["btcpool_exporter_api_request_duration_seconds"]
    );
}

#[test]
fn rules_name_what_there_is() {
    let known = known();
    for rule in rules() {
        let expr = rule["expr"].as_str().unwrap();
        assert_eq!(complaints(expr, &known), Vec::<String>::new(), "{rule:#}");
    }
}

#[test]
fn thresholds_are_used_and_defined_once() {
    let rules = rules();
    let exprs: Vec<_> = rules.iter().map(|rule| rule["expr"].as_str().unwrap()).collect();
    let thresholds: Vec<_> = rules
        .iter()
        .filter_map(|rule| rule["record"].as_str().filter(|name| name.starts_with("btcpool:threshold:")))
        .collect();
    assert!(thresholds.len() > 5);
    for name in thresholds {
        assert!(exprs.iter().any(|expr| expr.contains(&format!("scalar({name})"))), "{name} is used nowhere");
    }
}

#[test]
fn every_alert_is_explained() {
    let text = fs::read_to_string(folder("docs/alerts.md")).unwrap();
    let sections: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("### BTCpool")).map(|name| format!("BTCpool{name}")).collect();
    let rows: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| [")?.split_once("](#"))
        .map(|(name, _)| name.to_owned())
        .collect();
    let alerts = alerts();
    let names: BTreeSet<_> = alerts.keys().cloned().collect();
    assert_eq!(sections, names, "the sections of docs/alerts.md");
    assert_eq!(rows, names, "the table of docs/alerts.md");
    for (name, rule) in &alerts {
        let annotation = |annotation: &str| rule["annotations"][annotation].as_str().unwrap_or_default().to_owned();
        let anchor = format!(
            "https://github.com/btcpool-exporter/btcpool-exporter/blob/main/docs/alerts.md#{}",
            name.to_lowercase()
        );
        assert_eq!(annotation("runbook_url"), anchor);
        assert!(!annotation("summary").is_empty() && !annotation("description").is_empty(), "{name}");
        assert!(["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        assert!(rule["for"].is_string(), "{name}");
        let section = text.split_once(&format!("### {name}\n")).unwrap().1;
        let section = section.split("\n### ").next().unwrap();
        for part in ["**What it means.**", "**Look first.**", "**Do.**", "**Silence it.**"] {
            assert!(section.contains(part), "{name}: {part}");
        }
    }
}

#[test]
fn every_alert_is_tested_both_ways() {
    let mut fires = BTreeSet::new();
    let mut is_silent = BTreeSet::new();
    for file in files("deploy/prometheus/tests") {
        for test in yaml(&file)["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().into_iter().flatten() {
                let silent = case["exp_alerts"].as_array().is_none_or(Vec::is_empty);
                let names = if silent { &mut is_silent } else { &mut fires };
                names.insert(case["alertname"].as_str().unwrap().to_owned());
            }
        }
    }
    let names: BTreeSet<_> = alerts().into_keys().collect();
    assert_eq!(fires, names, "alerts with a test in which they fire");
    assert_eq!(is_silent, names, "alerts with a test in which they must not");
}

/// Every string under one of these names, anywhere in a dashboard.
fn strings<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if key == name {
                    found.extend(value.as_str());
                }
                strings(value, name, found);
            }
        }
        Value::Array(array) => array.iter().for_each(|value| strings(value, name, found)),
        _ => {}
    }
}

const DASHBOARDS: [&str; 5] = ["account", "exporter", "fleet", "income", "pool"];

fn dashboard(language: &str, name: &str) -> Value {
    let file = folder(&format!("grafana/dashboards/{language}/{name}.json"));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn dashboards_name_what_there_is() {
    let known = known();
    for (language, name) in ["en", "ru"].into_iter().flat_map(|language| DASHBOARDS.map(|name| (language, name))) {
        let dashboard = dashboard(language, name);
        let suffix = if language == "en" { "" } else { "-ru" };
        assert_eq!(dashboard["uid"], format!("btcpool-{name}{suffix}"));
        assert_eq!(dashboard["id"], Value::Null);
        assert_eq!(dashboard["tags"], serde_json::json!(["btcpool", language]), "{name}");
        assert!(dashboard["schemaVersion"].as_i64().unwrap() >= 39 && dashboard.get("__inputs").is_none(), "{name}");
        let mut exprs = Vec::new();
        strings(&dashboard, "expr", &mut exprs);
        assert!(exprs.len() >= 5, "{name}");
        for expr in exprs {
            assert_eq!(complaints(expr, &known), Vec::<String>::new(), "{name}: {expr}");
        }
        let mut sources = Vec::new();
        strings(&dashboard["panels"], "uid", &mut sources);
        sources.retain(|&uid| uid != "${datasource}" && uid != "-- Grafana --" && uid != "-- Dashboard --");
        assert_eq!(sources, Vec::<&str>::new(), "{name}: a data source that is not the variable's");
    }
    let shipped = |language| files(&format!("grafana/dashboards/{language}")).len();
    assert_eq!((shipped("en"), shipped("ru")), (DASHBOARDS.len(), DASHBOARDS.len()));
}

/// From English to another language.
struct Translation {
    same: BTreeSet<String>,
    table: BTreeMap<String, String>,
    used: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl Translation {
    fn read(language: &str) -> Self {
        let text = fs::read_to_string(folder(&format!("grafana/translations/{language}.json"))).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        let same = serde_json::from_value(file["same"].clone()).unwrap();
        let table = serde_json::from_value(file["translations"].clone()).unwrap();
        Self { same, table, used: BTreeSet::new(), missing: BTreeSet::new() }
    }

    fn text(&mut self, text: &str, must: bool) -> String {
        if let Some(translated) = self.table.get(text) {
            self.used.insert(text.to_owned());
            return translated.clone();
        }
        if self.same.contains(text) {
            self.used.insert(text.to_owned());
        } else if must && has_words(text) {
            self.missing.insert(text.to_owned());
        }
        text.to_owned()
    }

    fn object(&mut self, object: &Map<String, Value>) -> Map<String, Value> {
        const TEXTS: [&str; 7] = ["title", "description", "label", "content", "legendFormat", "text", "displayName"];
        let is_by_name = object.get("id").is_some_and(|id| id == "byName");
        let is_text = object.get("id").is_some_and(|id| id == "displayName")
            || object.get("id").is_some_and(|id| id == "unit")
                && object["value"]
                    .as_str()
                    .is_some_and(|unit| unit.starts_with("suffix:") || unit.starts_with("prefix:"));
        let each = |(key, value): (&String, &Value)| {
            let value = match value {
                Value::String(text) if TEXTS.contains(&key.as_str()) => self.text(text, true).into(),
                Value::String(text) if key == "options" && is_by_name => self.text(text, false).into(),
                Value::String(text) if key == "value" && is_text => self.text(text, true).into(),
                Value::String(text) if key == "url" => in_language(text).into(),
                Value::Object(names) if key == "renameByName" => {
                    let each =
                        |(name, to): (&String, &Value)| (name.clone(), self.text(to.as_str().unwrap(), true).into());
                    Value::Object(names.iter().map(each).collect())
                }
                other => self.value(other),
            };
            (key.clone(), value)
        };
        object.iter().map(each).collect()
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(object) => Value::Object(self.object(object)),
            Value::Array(array) => Value::Array(array.iter().map(|value| self.value(value)).collect()),
            other => other.clone(),
        }
    }

    fn dashboard(&mut self, english: &Value) -> Value {
        let mut translated = self.value(english);
        translated["uid"] = format!("{}-ru", english["uid"].as_str().unwrap()).into();
        let tags = [("btcpool", "btcpool"), ("en", "ru")];
        let tag = |tag: &Value| {
            tags.iter().find(|(english, _)| tag == english).map_or_else(|| tag.clone(), |(_, tag)| (*tag).into())
        };
        let translate = |tags: &mut Value| {
            let Some(list) = tags.as_array_mut() else { return };
            list.iter_mut().for_each(|each| *each = tag(each));
        };
        translate(&mut translated["tags"]);
        translated["links"].as_array_mut().into_iter().flatten().for_each(|link| translate(&mut link["tags"]));
        translated
    }
}

/// Whether there is a word in a text, apart from variables.
fn has_words(text: &str) -> bool {
    let mut rest = text;
    loop {
        let Some(at) = rest.find(|c: char| c.is_alphabetic() || c == '$' || c == '{') else { return false };
        rest = &rest[at..];
        let skipped = if rest.starts_with("{{") {
            rest.find("}}").map(|end| end + 2)
        } else if rest.starts_with("${") {
            rest.find('}').map(|end| end + 1)
        } else if let Some(name) = rest.strip_prefix('$') {
            Some(1 + name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len()))
        } else if rest.starts_with('{') {
            Some(1)
        } else {
            return true;
        };
        let Some(skipped) = skipped else { return true };
        rest = &rest[skipped..];
    }
}

/// A link to one of our dashboards, to the one in Russian.
fn in_language(url: &str) -> String {
    let Some((before, after)) = url.split_once("/d/btcpool-") else { return url.to_owned() };
    let end = after.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(after.len());
    format!("{before}/d/btcpool-{}-ru{}", &after[..end], &after[end..])
}

#[test]
fn russian_dashboards_are_translations() {
    let mut russian = Translation::read("ru");
    for name in DASHBOARDS {
        let english = dashboard("en", name);
        let expected = russian.dashboard(&english);
        if golden::updating() {
            let text = serde_json::to_string_pretty(&expected).unwrap() + "\n";
            fs::write(folder(&format!("grafana/dashboards/ru/{name}.json")), text).unwrap();
        }
        assert!(dashboard("ru", name) == expected, "{name}: UPDATE=1 updates it");
    }
    assert_eq!(russian.missing, BTreeSet::new(), "not translated");
    let all: BTreeSet<_> = russian.table.keys().chain(&russian.same).cloned().collect();
    let unused: Vec<_> = all.difference(&russian.used).collect();
    assert_eq!(unused, Vec::<&String>::new(), "translations that nothing uses");
}
