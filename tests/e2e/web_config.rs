//! The web configuration, read by us and by `promtool check web-config`: of every file the two think the same, but for
//! those that say otherwise in their first lines.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use btcpool_exporter::server::Web;

use crate::{programs::run, support::web_files};

/// Keys that the promtool of Prometheus 2 does not know yet.
const NEW_KEYS: [&str; 5] = ["cert:", "key:", "client_ca:", "client_allowed_sans:", "rate_limit:"];

fn ours(file: &Path) -> bool {
    Web::load(Some(file)).is_ok()
}

fn theirs(promtool: &Path, file: &Path) -> bool {
    let mut command = Command::new(promtool);
    command.args(["check", "web-config"]).arg(file);
    let ended = run(command, "");
    // Anything else is no verdict.
    let verdict = format!("{}{}", ended.output, ended.errors);
    assert!(verdict.contains(if ended.status.success() { "SUCCESS" } else { "FAILED" }), "{verdict}");
    ended.status.success()
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is what one wants to see of this test")]
fn promtool_agrees_on_every_file() {
    let prometheus_3 = std::env::var_os("PROMETHEUS3_BIN").map(PathBuf::from);
    let promtool_3 = prometheus_3.map(|program| program.with_file_name("promtool")).filter(|program| program.is_file());
    let Some(promtool_3) = promtool_3 else {
        panic!("PROMETHEUS3_BIN does not name a Prometheus 3 that has its promtool beside it; tests/run does that");
    };
    let directory = web_files::prepare();
    let word = |accepted: bool| if accepted { "accepts" } else { "refuses" };
    let mut table = format!("{:<42} {:<10} {:<10} {:<10}\n", "file", "promtool 2", "promtool 3", "ours");
    let mut wrong = Vec::new();
    for kind in ["good", "broken"] {
        for name in web_files::names(kind) {
            let file = directory.path().join(kind).join(&name);
            let text = fs::read_to_string(&file).unwrap();
            let said = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
            let ours = ours(&file);
            let three = word(theirs(&promtool_3, &file));
            let two = word(theirs(Path::new("promtool"), &file));
            let too_new = text.lines().any(|line| NEW_KEYS.iter().any(|key| line.trim_start().starts_with(key)));
            let differs = said("# promtool: ");
            let expected = differs.clone().unwrap_or_else(|| word(ours).to_owned());
            let expected_of_two = said("# promtool 2: ").unwrap_or_else(|| expected.clone());
            let note = match &differs {
                Some(_) => "stricter on purpose",
                None => "",
            };
            let shown_two = if too_new { "too old" } else { two };
            let _ = writeln!(
                table,
                "{:<42} {shown_two:<10} {three:<10} {:<10} {note}",
                format!("{kind}/{name}"),
                word(ours)
            );
            if (ours != (kind == "good")) || three != expected || (!too_new && two != expected_of_two) {
                wrong.push(name);
            }
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{wrong:?}\n{table}");
}
