//! The rules, by promtool's own tests of them; the example of a configuration for Alertmanager, by amtool.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    past::rule_files,
    programs::{run, run_long},
    scraping::{prometheus, prometheus_3},
};

/// The promtool that belongs to a Prometheus.
pub fn promtool(prometheus: &Path) -> PathBuf {
    prometheus.with_file_name("promtool")
}

/// Runs a promtool over files, all of which it must find good.
fn promtool_succeeds(program: &Path, arguments: &[&str], files: &[PathBuf]) {
    let mut command = Command::new(promtool(program));
    command.args(arguments).args(files);
    let ended = run_long(command);
    assert!(ended.status.success(), "{}: {}{}", program.display(), ended.output, ended.errors);
    assert_eq!(ended.output.matches("SUCCESS").count(), files.len(), "{}: {}", program.display(), ended.output);
}

fn test_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/tests");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn promtool_accepts_the_rules() {
    for program in [prometheus(), prometheus_3()] {
        promtool_succeeds(&program, &["check", "rules"], &rule_files());
    }
}

#[test]
fn promtool_accepts_the_example() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/prometheus.yml");
    for program in [prometheus(), prometheus_3()] {
        let mut command = Command::new(promtool(&program));
        command.args(["check", "config"]).arg(&file);
        let ended = run(command, "");
        assert!(ended.status.success(), "{}: {}{}", program.display(), ended.output, ended.errors);
    }
}

/// One file after the other: each takes up to half a minute.
#[test]
fn rule_tests_pass() {
    for file in test_files() {
        promtool_succeeds(&prometheus(), &["test", "rules"], &[file]);
    }
}

/// The week is left to the other one: it takes longest, and the end-to-end week is looked at besides.
#[test]
fn rule_tests_pass_in_prometheus_3() {
    for file in test_files().into_iter().filter(|file| !file.ends_with("healthy_week_test.yml")) {
        promtool_succeeds(&prometheus_3(), &["test", "rules"], &[file]);
    }
}

#[test]
fn amtool_accepts_the_example() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alertmanager/alertmanager.yml");
    let mut command = Command::new("amtool");
    command.arg("check-config").arg(file);
    let ended = run(command, "");
    assert!(ended.status.success(), "{}{}", ended.output, ended.errors);
    assert!(ended.output.contains("SUCCESS"), "{}", ended.output);
}
