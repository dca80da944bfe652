//! The table of faults in `docs/failures.md`, against the catalogue.
//!
//! `UPDATE=1 cargo test --test faults docs` writes it anew.

use crate::support::{
    catalogue::{ALL, CATALOGUE, Entry, Expect, Scope},
    golden,
};

/// Where a fault is tried.
fn place(entry: &Entry) -> String {
    match entry.scope {
        Scope::Pool => "the pool".to_owned(),
        _ if entry.at == ALL => "any endpoint".to_owned(),
        _ => entry.at.join(", "),
    }
}

/// The table: what the pool does, and what is seen.
pub fn table() -> String {
    let mut lines = vec![
        "| the pool | at | `btcpool_up` | `reason` | request's `reason`, `code` | else |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for entry in CATALOGUE {
        let (up, reason, request, more) = match &entry.expect {
            Expect::Fails { reason, request, code } => {
                let request = if request.is_empty() { "–" } else { request };
                let more = match entry.scope {
                    Scope::Pause => "everybody waits",
                    Scope::LongPause => "everybody waits, for `api.retry_after_max` at most",
                    Scope::Slot | Scope::Pool => "",
                };
                ("0", format!("`{reason}`"), format!("`{request}`, `{code}`").replace("`–`", "–"), more.to_owned())
            }
            Expect::Shows { seen, fields, .. } => {
                let mut named: Vec<_> = entry.at.iter().flat_map(|endpoint| fields(endpoint)).copied().collect();
                named.sort_unstable();
                named.dedup();
                let counted = match named.len() {
                    0 => String::new(),
                    1..4 => format!("; anomaly: `{}`", named.join("`, `")),
                    _ => "; anomalies: the fields' names".to_owned(),
                };
                ("1", String::new(), String::new(), format!("{seen}{counted}"))
            }
        };
        lines.push(format!("| {} | {} | {up} | {reason} | {request} | {more} |", entry.does, place(entry)));
    }
    lines.join("\n")
}

#[test]
fn readmes_count_the_faults() {
    let rows = CATALOGUE.len();
    for (file, words) in [("README.md", format!("each of {rows} faults")), ("README.ru.md", format!("из {rows}\n"))] {
        let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.contains(&words), "{file} does not say {words:?}");
    }
}

#[test]
fn faults_table_is_current() {
    golden::check_part("docs/failures.md", "<!-- faults -->", "<!-- end of faults -->", &table());
}
