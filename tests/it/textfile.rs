//! `once --output FILE`, for node_exporter's textfile collector.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use tempfile::TempDir;
use wiremock::ResponseTemplate;

use crate::{
    harness::{Pool, Program, program, run},
    parser::{self, Format},
};

const OLD: &str = "what was there\n";

/// A folder that the exporter writes into, and nothing else.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        fs::write(folder.file(), OLD).unwrap();
        fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o600)).unwrap();
        folder
    }

    fn file(&self) -> String {
        self.0.path().join("btcpool.prom").to_str().unwrap().to_owned()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// `once --output` with the strictest umask, which a hardened unit has.
fn once(base_url: &str, output: &str) -> Command {
    let inner = program(&["once", "--output", output]);
    let mut outer = Command::new("sh");
    outer.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            None => outer.env_remove(name),
            Some(value) => outer.env(name, value),
        };
    }
    outer.env("BTCPOOL__API__BASE_URL", base_url);
    outer.env("BTCPOOL__ACCOUNTS__FARM__API_KEY", "good");
    outer
}

async fn run_beside(command: Command) -> (Option<i32>, String, String) {
    tokio::task::spawn_blocking(|| run(command)).await.unwrap()
}

/// The names of the series in a file.
fn series(file: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    parser::series(&parser::parse(&text, Format::Classic).unwrap()).into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn once_output_replaces_the_file() {
    let (pool, folder) = (Pool::start().await, Folder::new());
    pool.answers_samples().await;
    let (file, link) = (folder.file(), folder.0.path().join("link.prom"));
    symlink("btcpool.prom", &link).unwrap();
    for place in [file.as_str(), link.to_str().unwrap()] {
        let (code, printed, errors) = run_beside(once(&pool.base_url(), place)).await;
        assert_eq!((code, printed.as_str()), (Some(0), ""), "{errors}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(folder.names(), ["btcpool.prom", "link.prom"]);
        let (_, printed, _) = run_beside(once(&pool.base_url(), "-")).await;
        let printed = parser::series(&parser::parse(&printed, Format::Classic).unwrap());
        assert_eq!(series(&file), printed.into_keys().collect::<Vec<_>>());
        fs::write(&file, OLD).unwrap();
    }
    assert!(link.is_symlink());
}

#[tokio::test(flavor = "multi_thread")]
async fn once_output_holds_what_succeeded() {
    let (pool, folder) = (Pool::start().await, Folder::new());
    pool.responds("summary_data", ResponseTemplate::new(500)).await;
    pool.answers_samples().await;
    let (code, printed, errors) = run_beside(once(&pool.base_url(), &folder.file())).await;
    assert_eq!((code, printed.as_str()), (Some(1), ""));
    assert!(errors.ends_with("btcpool-exporter: 1 of 5 polls failed: farm BTC summary_data (http_5xx)\n"), "{errors}");
    let series = series(&folder.file());
    assert!(series.iter().any(|name| name.starts_with("btcpool_worker_active")), "{series:?}");
    assert!(!series.iter().any(|name| name.starts_with("btcpool_account_balance_coins")), "{series:?}");
}

/// The old file stays until the new one is complete, and stays if that never happens.
#[test]
fn a_signal_leaves_the_old_output() {
    let (listener, folder) = (TcpListener::bind("127.0.0.1:0").unwrap(), Folder::new());
    let base_url = format!("http://{}/ru/api", listener.local_addr().unwrap());
    let mut once = Program::start(once(&base_url, &folder.file()));
    let _stalled = listener.accept().unwrap();
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), OLD);
    once.signal("TERM");
    assert_eq!(once.end().0, Some(1));
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), OLD);
    assert_eq!(folder.names(), ["btcpool.prom"]);
}

#[test]
fn unusable_outputs_are_refused_before_polling() {
    let folder = Folder::new();
    let path = folder.0.path().display();
    for (output, expected) in [
        (format!("{path}/no/file.prom"), {
            format!("--output: no file can be made in {path}/no: No such file or directory (os error 2)")
        }),
        (path.to_string(), format!("--output {path}: exists and is not a regular file; use - for standard output")),
        (
            "/dev/null".to_owned(),
            "--output /dev/null: exists and is not a regular file; use - for standard output".to_owned(),
        ),
    ] {
        let (code, printed, errors) = run(once("http://127.0.0.1:1/ru/api", &output));
        assert_eq!((code, printed.as_str()), (Some(2), ""));
        let last = errors.lines().last().unwrap_or_default();
        // The rest is tempfile's: the name that it tried.
        assert!(last.starts_with(&format!("btcpool-exporter: {expected}")), "{errors}");
    }
    assert!(Path::new("/dev/null").exists());
    assert_eq!(folder.names(), ["btcpool.prom"]);
}
