//! What other programs read in the exposition.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Instant,
};

use btcpool_exporter::collector::CATALOGUE;
use serde::Deserialize;

use crate::{
    assert_same,
    programs::{CLASSIC, Demo, Format, OPEN_METRICS, PATIENCE, run},
};

#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    let demo = Demo::start().await;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]);
    let ended = run(command, &demo.scrape(CLASSIC).await);
    assert_eq!((ended.status.code(), ended.output.as_str(), ended.errors.as_str()), (Some(0), "", ""));
}

/// A sample, as the Python client library understood it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Sample {
    r#type: String,
    name: String,
    labels: BTreeMap<String, String>,
    value: String,
}

/// Reads an exposition with the Python client library, which must understand every line.
fn parse(format: Format, text: &str) -> Vec<Sample> {
    // Debian's own Python, whose packages include the library, whatever else comes first in PATH.
    let mut command = Command::new("/usr/bin/python3");
    command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/samples.py"), format.name]);
    let ended = run(command, text);
    assert!(ended.status.success(), "the {} format: {}", format.name, ended.errors);
    let mut samples: Vec<Sample> = serde_json::from_str(&ended.output).unwrap();
    samples.sort();
    assert_eq!(samples.len(), sample_lines(text), "samples and lines of the {} format", format.name);
    samples
}

pub fn sample_lines(exposition: &str) -> usize {
    exposition.lines().filter(|line| !line.starts_with('#')).count()
}

/// Without the values that change from scrape to scrape though nothing was polled.
fn steady(samples: &[Sample]) -> Vec<Sample> {
    let mut samples = samples.to_vec();
    for sample in samples.iter_mut().filter(|sample| sample.name.starts_with("process_")) {
        sample.value.clear();
    }
    samples
}

#[tokio::test]
async fn strict_parsers_read_both_formats_alike() {
    let demo = Demo::start().await;
    let begin = Instant::now();
    let (classic, open_metrics) = loop {
        // The exporter's own counters go on: when the same is told before and after, then in between, too.
        let before = parse(CLASSIC, &demo.scrape(CLASSIC).await);
        let open_metrics = demo.scrape(OPEN_METRICS).await;
        let after = parse(CLASSIC, &demo.scrape(CLASSIC).await);
        if steady(&before) == steady(&after) {
            break (after, parse(OPEN_METRICS, &open_metrics));
        }
        assert!(begin.elapsed() < PATIENCE, "no two scrapes are alike");
    };
    assert!(classic.len() > 2000, "only {} samples", classic.len());
    assert_same("the classic format by OpenMetrics", steady(&classic), steady(&open_metrics));
    let garage: BTreeSet<_> = (classic.iter())
        .filter(|sample| sample.name == "btcpool_worker_active" && sample.labels["account"] == "garage")
        .map(|sample| sample.labels["worker"].as_str())
        .collect();
    assert_eq!(garage, BTreeSet::from(["Гараж-1", "Гараж-2", "asic \"старый\""]));
}

#[tokio::test]
async fn families_are_exactly_the_catalogue() {
    let demo = Demo::start().await;
    let classic = demo.scrape(CLASSIC).await;
    let types = classic.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    // The demo has no certificate.
    let shown = CATALOGUE.iter().filter(|family| !family.name.contains("certificate"));
    let catalogue = shown.map(|family| (family.name, family.kind.as_str()));
    assert_same("the families", types, catalogue);
}
