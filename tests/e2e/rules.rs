//! The recording rules, by promtool's own tests of them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    programs::run,
    scraping::{prometheus, prometheus_3},
};

/// The promtool that belongs to a Prometheus.
pub fn promtool(prometheus: &Path) -> PathBuf {
    prometheus.with_file_name("promtool")
}

fn promtool_succeeds(arguments: &[&str], file: &str) {
    for program in [prometheus(), prometheus_3()] {
        let mut command = Command::new(promtool(&program));
        command.args(arguments).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus").join(file));
        let ended = run(command, "");
        assert!(ended.status.success(), "{}: {}{}", program.display(), ended.output, ended.errors);
        assert!(ended.output.contains("SUCCESS"), "{}: {}", program.display(), ended.output);
    }
}

#[test]
fn promtool_takes_the_rules() {
    promtool_succeeds(&["check", "rules"], "rules/income.yml");
}

#[test]
fn the_rules_do_what_their_tests_say() {
    promtool_succeeds(&["test", "rules"], "tests/income_test.yml");
}
