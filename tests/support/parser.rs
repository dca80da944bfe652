//! A strict reader of both exposition formats, written from their specifications and not from the code under test.
//!
//! Stricter than Prometheus: every family must be announced once, with help and type, before its samples, and all of
//! its samples must stand together; no series may come twice.

use std::collections::{BTreeMap, BTreeSet};

pub use btcpool_exporter::collector::Format;

#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    pub name: String,
    pub kind: String,
    pub help: String,
    pub unit: Option<String>,
    pub samples: Vec<Sample>,
}

type Labels = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

impl Sample {
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The series as one would write it, labels sorted, values unescaped.
    pub fn series(&self) -> String {
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        if labels.is_empty() { self.name.clone() } else { format!("{}{{{}}}", self.name, labels.join(",")) }
    }
}

/// Every series and its value.
pub fn series(families: &[Family]) -> BTreeMap<String, f64> {
    families.iter().flat_map(|family| &family.samples).map(|sample| (sample.series(), sample.value)).collect()
}

/// Reads a whole exposition, or says which line breaks which rule.
pub fn parse(text: &str, format: Format) -> Result<Vec<Family>, String> {
    let mut families: Vec<Family> = Vec::new();
    let mut names = BTreeSet::new();
    let mut seen = BTreeSet::new();
    if !text.ends_with('\n') {
        return Err("the text does not end with a line break".to_owned());
    }
    let mut ended = false;
    for (number, line) in (1..).zip(text.split_terminator('\n')) {
        let fail = |message: &str| Err(format!("line {number}: {message}: {line:?}"));
        if ended {
            return fail("something follows # EOF");
        }
        if line == "# EOF" && format == Format::OpenMetrics {
            ended = true;
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = rest.split_once(' ') else { return fail("HELP without text") };
            if !is_name(name, true) || !names.insert(name.to_owned()) {
                return fail("a family's name is bad, or comes twice");
            }
            families.push(Family {
                name: name.to_owned(),
                kind: String::new(),
                help: help.to_owned(),
                unit: None,
                samples: Vec::new(),
            });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return fail("TYPE without a type") };
            match families.last_mut() {
                Some(family) if family.name == name && family.kind.is_empty() && family.samples.is_empty() => {
                    family.kind = kind.to_owned();
                }
                _ => return fail("TYPE is not behind its HELP"),
            }
            if !["gauge", "counter", "histogram"].contains(&kind) {
                return fail("a type that this exporter does not use");
            }
        } else if let Some(rest) = line.strip_prefix("# UNIT ").filter(|_| format == Format::OpenMetrics) {
            let Some((name, unit)) = rest.split_once(' ') else { return fail("UNIT without a unit") };
            match families.last_mut() {
                Some(family) if family.name == name && family.samples.is_empty() && family.unit.is_none() => {
                    family.unit = Some(unit.to_owned());
                }
                _ => return fail("UNIT is not behind its TYPE"),
            }
            if !name.ends_with(&format!("_{unit}")) {
                return fail("the name does not end with the unit");
            }
        } else if line.starts_with('#') || line.is_empty() {
            return fail("a comment or an empty line");
        } else {
            let sample = match sample(line) {
                Ok(sample) => sample,
                Err(message) => return fail(&message),
            };
            let Some(family) = families.last_mut().filter(|family| !family.kind.is_empty()) else {
                return fail("a sample before its family's TYPE");
            };
            let suffixes: &[&str] = match (family.kind.as_str(), format) {
                ("histogram", _) => &["_bucket", "_sum", "_count"],
                ("counter", Format::OpenMetrics) => &["_total"],
                _ => &[""],
            };
            if !suffixes.iter().any(|suffix| sample.name == format!("{}{suffix}", family.name)) {
                return fail("a sample outside its family");
            }
            if family.kind == "counter" && !sample.name.ends_with("_total") {
                return fail("a counter without _total");
            }
            if family.kind != "gauge" && (sample.value.is_nan() || sample.value < 0.0) {
                return fail("a count below zero");
            }
            if !seen.insert(sample.series()) {
                return fail("a series comes twice");
            }
            family.samples.push(sample);
        }
    }
    if format == Format::OpenMetrics && !ended {
        return Err("no # EOF at the end".to_owned());
    }
    for family in &families {
        if family.samples.is_empty() {
            return Err(format!("{} has no samples", family.name));
        }
        if family.kind == "histogram" {
            histogram(family)?;
        }
    }
    Ok(families)
}

/// Buckets must grow, end at +Inf, and agree with the count.
fn histogram(family: &Family) -> Result<(), String> {
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let bound = match sample.label("le") {
            Some("+Inf") => f64::INFINITY,
            Some(bound) => number(bound)?,
            None => return Err(format!("{} has a bucket without le", family.name)),
        };
        let labels = sample.labels.iter().filter(|(name, _)| name != "le").cloned().collect();
        series.entry(labels).or_default().push((bound, sample.value));
    }
    for (labels, buckets) in series {
        let count = family
            .samples
            .iter()
            .find(|sample| sample.name.ends_with("_count") && sample.labels == labels)
            .ok_or_else(|| format!("{} has buckets without a count", family.name))?;
        let growing = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        if !growing || buckets.last() != Some(&(f64::INFINITY, count.value)) {
            return Err(format!("{} has buckets that do not add up: {buckets:?}", family.name));
        }
    }
    Ok(())
}

fn is_name(text: &str, colons: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (colons && c == ':');
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

fn number(text: &str) -> Result<f64, String> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    text.parse().ok().filter(|_| plain && !text.is_empty()).ok_or_else(|| format!("no number: {text:?}"))
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let name = &line[..end];
    if !is_name(name, true) {
        return Err("a bad metric name".to_owned());
    }
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut rest = &line[end..];
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("a label without a value")?;
            if !is_name(label, false) || labels.iter().any(|(known, _)| known == label) {
                return Err(format!("a bad label name, or twice the same: {label:?}"));
            }
            let mut value = String::new();
            let mut characters = after.char_indices();
            let closed = loop {
                match characters.next().ok_or("a label's value is not closed")? {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match characters.next().ok_or("a value ends in a backslash")?.1 {
                        'n' => '\n',
                        '"' => '"',
                        '\\' => '\\',
                        other => return Err(format!("an unknown escape: \\{other}")),
                    }),
                    (_, other) => value.push(other),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[closed + 1..];
            match rest.as_bytes().first() {
                Some(b',') => rest = &rest[1..],
                Some(b'}') => {
                    rest = &rest[1..];
                    break;
                }
                _ => return Err("labels are not closed".to_owned()),
            }
        }
    }
    let value = number(rest.strip_prefix(' ').ok_or("no value")?)?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

#[test]
fn valid_text_is_parsed() {
    let text = "# HELP a_seconds Help: with \"quotes\"\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\n\
                a_seconds{x=\"q\\\"b\\\\n\\n\",y=\"\"} 1.5e3\na_seconds{x=\"2\"} -1\n\
                # HELP c Counts\n# TYPE c counter\nc_total 7\n# EOF\n";
    let families = parse(text, Format::OpenMetrics).unwrap();
    let expected = BTreeMap::from([
        ("a_seconds{x=\"q\\\"b\\\\n\\n\",y=\"\"}".to_owned(), 1500.0),
        ("a_seconds{x=\"2\"}".to_owned(), -1.0),
        ("c_total".to_owned(), 7.0),
    ]);
    assert_eq!(series(&families), expected);
}

#[test]
fn broken_rules_are_reported() {
    let head = "# HELP a Help\n# TYPE a gauge\n";
    let count = "# HELP a Help\n# TYPE a counter\n";
    let buckets = "# HELP h Help\n# TYPE h histogram\n";
    for (format, text, rule) in [
        (Format::Classic, format!("{head}a 1"), "does not end with a line break"),
        (Format::Classic, "a 1\n".to_owned(), "before its family's TYPE"),
        (Format::Classic, format!("{head}a 1\na 1\n"), "comes twice"),
        (Format::Classic, format!("{head}a 1\n{head}a 2\n"), "comes twice"),
        (Format::Classic, format!("{head}b 1\n"), "outside its family"),
        (Format::Classic, head.to_owned(), "has no samples"),
        (Format::Classic, format!("{head}a{{x=\"1\",x=\"2\"}} 1\n"), "twice the same"),
        (Format::Classic, format!("{head}a{{x=\"1}} 1\n"), "not closed"),
        (Format::Classic, format!("{head}a{{x=\"\\t\"}} 1\n"), "unknown escape"),
        (Format::Classic, format!("{head}a{{x=\"1\"}}\n"), "no value"),
        (Format::Classic, format!("{head}a inf\n"), "no number"),
        (Format::Classic, format!("{head}a 1\n# EOF\n"), "a comment"),
        (Format::Classic, format!("{count}a 1\n"), "without _total"),
        (Format::Classic, format!("{buckets}h_bucket{{le=\"+Inf\"}} 2\nh_count 3\nh_sum 1\n"), "do not add up"),
        (Format::Classic, format!("{buckets}h_bucket{{le=\"1\"}} 2\nh_count 2\nh_sum 1\n"), "do not add up"),
        (Format::OpenMetrics, format!("{head}a 1\n"), "no # EOF"),
        (Format::OpenMetrics, format!("{head}a 1\n# EOF\na 2\n"), "follows # EOF"),
        (Format::OpenMetrics, format!("{count}a 1\n# EOF\n"), "outside its family"),
        (Format::OpenMetrics, format!("{count}a_total -1\n# EOF\n"), "below zero"),
        (Format::OpenMetrics, "# HELP a Help\n# TYPE a gauge\n# UNIT a s\na 1\n# EOF\n".to_owned(), "the unit"),
    ] {
        let error = parse(&text, format).expect_err(rule);
        assert!(error.contains(rule), "{text:?}: {error}");
    }
}
