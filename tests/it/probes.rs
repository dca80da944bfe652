//! `/-/healthy` and `/-/ready` have no rate limit, but passwords that are tried on them have one.

use std::fs;

use crate::harness::{self, Pool, Running};

#[tokio::test]
async fn rate_limit_spares_probes() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.yml");
    let users = "basic_auth_users: { alice: $2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe }\n";
    // Without users, and with a user whose password is "a".
    for (more, password, stranger) in [("", None, [200, 200]), (users, Some("a"), [401, 401])] {
        fs::write(&file, format!("rate_limit: {{ interval: 1h, burst: 1 }}\n{more}")).unwrap();
        let running = Running::builder(harness::config(&pool.base_url(), "")).web_file(&file).start().await;
        let client = harness::http();
        let status = async |path: &str, password: Option<&str>| {
            let request = client.get(format!("{}{path}", running.url));
            let request = if password.is_some() { request.basic_auth("alice", password) } else { request };
            request.send().await.unwrap().status().as_u16()
        };
        let begin = std::time::Instant::now();
        while status("/-/ready", password).await != 200 {
            assert!(begin.elapsed() < harness::PATIENCE, "it never became ready");
        }
        // Probes take no token, so that the only one is left.
        assert_eq!([status("/-/healthy", None).await, status("/-/ready", None).await], stranger);
        assert_eq!([status("/", password).await, status("/", password).await], [200, 429]);
        for _ in 0..3 {
            assert_eq!([status("/-/healthy", password).await, status("/-/ready", password).await], [200, 200]);
            assert_eq!([status("/-/healthy", None).await, status("/-/ready", None).await], stranger);
        }
        for path in ["/metrics", "/sd", "/-/reload", "/-/", "/-/healthy/", "//-/healthy", "/nowhere"] {
            assert_eq!(status(path, password).await, 429, "{path}");
        }
        // A wrong password is verified as often as the rate limit allows; its only token went to the right one above.
        if password.is_some() {
            assert_eq!([status("/-/healthy", Some("b")).await, status("/-/ready", Some("c")).await], [429, 429]);
            assert_eq!(status("/-/healthy", password).await, 200);
        }
        running.stop().await.unwrap();
    }
}
