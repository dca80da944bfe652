//! Tells the program what it was built of: the compiler's version and the source's revision.

use std::{env, process::Command};

fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = output(&rustc, &["--version"]).and_then(|line| line.split(' ').nth(1).map(str::to_owned));
    println!("cargo::rustc-env=BTCPOOL_EXPORTER_RUSTC={}", version.unwrap_or_else(|| "unknown".to_owned()));

    // A build without the repository (an image, a package) names the revision itself.
    println!("cargo::rerun-if-env-changed=SOURCE_REVISION");
    let revision = env::var("SOURCE_REVISION").ok().or_else(|| output("git", &["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=BTCPOOL_EXPORTER_REVISION={}", revision.unwrap_or_else(|| "unknown".to_owned()));
    for path in ["build.rs", ".git/HEAD", ".git/refs/heads"] {
        if std::path::Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}
