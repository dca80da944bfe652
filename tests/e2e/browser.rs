//! What a person sees in a browser.

use std::process::Command;

use crate::{
    pool,
    programs::{Demo, run},
};

/// What the browser has made of a page.
fn browse(url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--no-proxy-server", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .env("HOME", profile.path());
    let ended = run(command, "");
    assert!(ended.status.success(), "{}", ended.errors);
    ended.output
}

#[tokio::test]
async fn a_browser_shows_every_account_and_what_fails() {
    let demo = Demo::start().await;
    let page = browse(&format!("{}/", demo.url));
    for account in &pool::twin().farm().accounts {
        for holding in &account.holdings {
            let row = format!("<td>{}</td><td>{}</td>", account.name, holding.currency);
            // Once among the accounts, and once for each of the four endpoints.
            assert_eq!(page.matches(&row).count(), 5, "{row} in {page}");
        }
    }
    assert_eq!(page.matches("<td class=\"bad\">failing</td>").count(), 4, "{page}");
    let refused = page.lines().filter(|line| line.contains("<td>former_client</td>") && line.contains(" ago, auth: "));
    assert_eq!(refused.count(), 4, "{page}");
}

#[tokio::test]
async fn a_browser_shows_the_metrics_and_does_not_download_them() {
    let demo = Demo::start().await;
    let page = browse(&format!("{}/metrics", demo.url));
    for line in [
        "btcpool_up{endpoint=\"main_stat\"} 1",
        "btcpool_up{account=\"former_client\",currency=\"BTC\",endpoint=\"workers\"} 0",
        "worker=\"Гараж-1\"",
        r#"worker="asic \"старый\"""#,
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
}
