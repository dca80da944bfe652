//! The documentation's tables and examples against the code, and its links. Its commands are run by the end-to-end
//! tests.
//!
//! `UPDATE=1 cargo test --test it docs` writes their generated parts anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use btcpool_exporter::{
    cli::Cli,
    collector::CATALOGUE,
    config::{Config, DEFAULTS, Overrides},
    demand::Demand,
    model::Reason,
    server::page::{reasons::Explanation, words::Language},
    store::Store,
};
use clap::CommandFactory as _;
use url::Url;

use crate::{rules, support::golden};

fn read(file: &str) -> String {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
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

/// The reasons as the status page explains them.
fn reasons_table() -> String {
    let mut table = "| `reason` | what it means | what to do |\n|---|---|---|\n".to_owned();
    for reason in Reason::ALL {
        let Explanation { meaning, advice, .. } = Language::English.explain(reason);
        table += &format!("| `{}` | {meaning} | {advice} |\n", reason.as_str());
    }
    table
}

#[test]
fn generated_parts_are_current() {
    golden::check_part("docs/metrics.md", "<!-- metrics -->", "", &metrics_table());
    golden::check_part("docs/failures.md", "<!-- reasons -->", "\n## ", &reasons_table());
    golden::check_part("docs/configuration.md", "<!-- defaults -->\n\n```yaml\n", "```", DEFAULTS);
}

/// One way only: names may be added freely, so a metric of which nothing is promised yet is no mistake.
#[test]
fn promised_metrics_keep_type_and_labels() {
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
fn readme_configuration_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "0a1b2c-3d4e5f\n").unwrap();
    let readme = read("README.md");
    let yaml = golden::part(&readme, "<!-- example: configuration -->\n```yaml", "```")
        .replace("/run/secrets/farm_a", key.to_str().unwrap());
    let config = Config::from_yaml("README.md", &yaml, &Overrides::default()).unwrap();
    let targets: Vec<_> = config.targets().map(|(target, _)| target.to_string()).collect();
    assert_eq!(targets, ["farm_a BTC", "farm_a LTC"]);
}

#[test]
fn readme_error_is_real() {
    let readme = read("README.md");
    let shown = golden::part(&readme, "btcpool-exporter: btcpool.yml:", "\n");
    let yaml = "# my farms\naccounts:\n  farm_a:\n    api_keyfile: /run/secrets/farm_a\n";
    let error = Config::from_yaml("btcpool.yml", yaml, &Overrides::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("btcpool.yml:{shown}"));
}

#[test]
fn documented_warning_is_the_programs() {
    let accounts: String = (0..200).map(|n| format!("  a{n}: {{ api_key: k{n} }}\n")).collect();
    let config = Config::from_yaml("test", &format!("accounts:\n{accounts}"), &Overrides::default()).unwrap();
    let warning = Demand::of(&config, &Store::new(&config)).complaint(&config).unwrap();
    let page = read("docs/troubleshooting.md");
    let quoted = golden::part(&page, "The warning, of `check` and in the log:\n\n```text\n", "\n```");
    assert_eq!(quoted, warning);
}

#[test]
fn readme_metrics_exist() {
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
fn documented_metrics_exist() {
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

/// The fenced blocks of a document, each with what it says it is; and the document without them.
fn fenced(document: &str) -> (Vec<(String, String)>, String) {
    let (mut blocks, mut prose) = (Vec::<(String, String)>::new(), String::new());
    // How many backticks the open block began with.
    let mut open = None;
    for line in document.lines() {
        let kind = line.trim().trim_start_matches('`');
        let fence = line.trim().len() - kind.len();
        match (open, blocks.last_mut()) {
            (Some(opening), _) if fence >= opening && kind.is_empty() => open = None,
            (Some(_), Some((_, text))) => *text += &format!("{line}\n"),
            _ if fence >= 3 && !kind.contains('`') => {
                open = Some(fence);
                blocks.push((kind.trim().to_owned(), String::new()));
            }
            _ => prose += &format!("{line}\n"),
        }
    }
    (blocks, prose)
}

/// A paragraph without what is marked as code.
fn without_code(paragraph: &str) -> String {
    let (mut text, mut rest) = (String::new(), paragraph);
    while let Some(at) = rest.find('`') {
        text += &rest[..at];
        let code = rest[at..].trim_start_matches('`');
        let marks = &rest[at..rest.len() - code.len()];
        rest = code.split_once(marks).map_or(code, |(_, after)| after);
    }
    text + rest
}

/// Where the links and the pictures of a text lead to.
fn links(prose: &str) -> Vec<String> {
    let mut links = Vec::new();
    for paragraph in prose.split("\n\n") {
        let text = without_code(paragraph);
        let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let bare = text.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
        let bare = bare.filter(|(target, _)| target.starts_with("http"));
        let named = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
        let named = named.map(|(_, target)| (target, ""));
        // What follows the target is a title.
        let target = |(target, _): (&str, &str)| target.split_whitespace().next().unwrap_or_default().to_owned();
        links.extend(inline.chain(bare).chain(named).map(target));
    }
    links
}

/// The anchors that GitHub gives to the headings of a text.
fn anchors(prose: &str) -> BTreeSet<String> {
    let mut counts = BTreeMap::<String, usize>::new();
    let mut anchors = BTreeSet::new();
    for line in prose.lines() {
        let title = line.trim_start_matches('#');
        let Some(title) = title.strip_prefix(' ').filter(|_| line.starts_with('#')) else { continue };
        // Of a link, its text.
        let mut parts = title.split("](");
        let mut text = parts.next().unwrap_or_default().to_owned();
        text.extend(parts.filter_map(|part| part.split_once(')')).map(|(_, after)| after));
        let text = text.trim().to_lowercase();
        let kept = text.chars().filter(|&c| c.is_alphanumeric() || " -_".contains(c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = counts.entry(anchor.clone()).or_default();
        anchors.insert(if *count == 0 { anchor } else { format!("{anchor}-{count}") });
        *count += 1;
    }
    anchors
}

/// What is wrong with a link of a document, if something is. Nothing is fetched.
fn complaint(document: &Path, link: &str) -> Option<String> {
    let base = Url::from_file_path(document).unwrap();
    let url = match base.join(link) {
        Ok(_) if link.is_empty() => return Some("leads nowhere".to_owned()),
        Ok(url) if ["http", "https", "mailto"].contains(&url.scheme()) => return None,
        Ok(url) if url.scheme() == "file" => url,
        Ok(url) => return Some(format!("{} is no scheme of pages", url.scheme())),
        Err(error) => return Some(error.to_string()),
    };
    let Some(file) = url.to_file_path().ok().and_then(|file| file.canonicalize().ok()) else {
        return Some("there is no such file".to_owned());
    };
    if !file.starts_with(Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap()) {
        return Some("is outside of the repository".to_owned());
    }
    let fragment = url.fragment()?;
    if file.extension().is_none_or(|extension| extension != "md") {
        return None;
    }
    let anchors = anchors(&fenced(&fs::read_to_string(&file).unwrap()).1);
    // Both as a browser writes them.
    let is_it = |anchor: &String| base.join(&format!("#{anchor}")).is_ok_and(|url| url.fragment() == Some(fragment));
    (!anchors.iter().any(is_it)).then(|| format!("there is no such heading; there are {anchors:?}"))
}

/// Every document, in whatever language.
fn documents() -> Vec<PathBuf> {
    let mut files = rules::files("");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["docs", "deploy", "fuzz", "tests"].map(|name| repository.join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if !entry.file_type().unwrap().is_dir() {
                files.push(entry.path());
            } else if entry.file_name().to_str() != Some("target") {
                folders.push(entry.path());
            }
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    files
}

#[test]
fn links_lead_somewhere() {
    let (mut pages, mut files, mut headings) = (0, 0, 0);
    let mut wrong = Vec::new();
    for document in documents() {
        for link in links(&fenced(&fs::read_to_string(&document).unwrap()).1) {
            let kind = if link.starts_with("http") {
                &mut pages
            } else if link.contains('#') {
                &mut headings
            } else {
                &mut files
            };
            *kind += 1;
            let complaint = complaint(&document, &link);
            wrong.extend(complaint.map(|complaint| format!("{}: {link}: {complaint}", document.display())));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(pages > 5 && files > 30 && headings > 20, "{pages} pages, {files} files, {headings} headings");
}

#[test]
fn broken_link_is_noticed() {
    let document = "# A [b](c), d!\n\n```sh\n# [no](link)\n```\n## a b d\n\n### Ключ `x_1` отклонён?\n\n\
                    [a](b \"c\") `[no](link)` ``[no](`link)`` ![\nd](e#f) <http://g/> <h>\n\n[i]: j\n";
    let (blocks, prose) = fenced(document);
    assert_eq!(blocks, [("sh".to_owned(), "# [no](link)\n".to_owned())]);
    assert_eq!(anchors(&prose), BTreeSet::from(["a-b-d", "a-b-d-1", "ключ-x_1-отклонён"].map(str::to_owned)));
    assert_eq!(links(&prose), ["c", "b", "e#f", "http://g/", "j"]);

    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    for good in ["docs/alerts.md#btcpoolapidown", "#try-it", "docs", "https://example.org/#x"] {
        assert_eq!(complaint(&readme, good), None, "{good}");
    }
    for bad in ["", "docs/none.md", "docs/alerts.md#none", "#none", "../..", "/README.md", "https://[", "ftp://a.org"] {
        assert!(complaint(&readme, bad).is_some(), "{bad:?}");
    }
}

#[test]
fn readme_is_short_and_matches_russian() {
    let readme = read("README.md");
    assert!(readme.lines().count() < 250, "README.md has {} lines", readme.lines().count());
    let shown = |document: &str| {
        let mut blocks = fenced(document).0;
        blocks.retain(|(kind, _)| ["sh", "yaml", "text"].contains(&kind.as_str()));
        blocks
    };
    let blocks = shown(&readme);
    assert!(blocks.len() > 5, "{blocks:?}");
    assert_eq!(shown(&read("README.ru.md")), blocks, "README.ru.md shows something else");
}

#[test]
fn version_is_the_same_everywhere() {
    const FILES: [&str; 11] = [
        "README.md",
        "README.ru.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "Dockerfile",
        "deploy/compose/compose.base.yml",
        "deploy/debian/changelog",
        "deploy/helm/btcpool-exporter/Chart.yaml",
        "deploy/kubernetes/base/deployment.yaml",
        "deploy/kubernetes/components/shards/statefulset.yaml",
        "tests/deploy/package",
    ];
    let version = env!("CARGO_PKG_VERSION");
    let behind: Vec<_> = FILES.into_iter().filter(|file| !read(file).contains(version)).collect();
    assert_eq!(behind, [] as [&str; 0], "these do not name {version}");
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = read("Cargo.toml");
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    let (dependencies, _) = dependencies.split_once("\n[features]").unwrap();
    let lines: Vec<_> = dependencies.lines().filter(|line| line.contains(" = ")).collect();
    assert!(lines.len() > 40, "{lines:#?}");
    let bare: Vec<_> = lines.iter().filter(|line| !line.contains(" # ")).collect();
    assert_eq!(bare, [] as [&&str; 0], "say why in a comment behind it");
}

#[test]
fn documents_name_exactly_the_flags() {
    let command = Cli::command();
    let commands = [&command].into_iter().chain(command.get_subcommands());
    let flags = commands.flat_map(|command| command.get_arguments()).filter_map(|flag| flag.get_long());
    let known: BTreeSet<_> = flags.map(|flag| format!("--{flag}")).collect();
    let mut named = BTreeSet::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c)));
        let words: Vec<_> =
            words.map(|word| word.trim_end_matches('.')).filter(|word| word.starts_with("--")).collect();
        // Other programs have flags, too: only what is spelt as ours are must be one of them.
        let own = |word: &&&str| ["--web.", "--config.", "--log."].iter().any(|section| word.starts_with(section));
        let strangers: Vec<_> = words.iter().filter(own).filter(|word| !known.contains(**word)).collect();
        assert_eq!(strangers, [] as [&&str; 0], "{}", document.display());
        named.extend(words.into_iter().map(str::to_owned));
    }
    assert_eq!(known.difference(&named).collect::<Vec<_>>(), [] as [&String; 0], "no document names them");
}
