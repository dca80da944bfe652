//! HTTP: negotiation, narrowing, discovery, health, limits.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, http::Request};
use base64::Engine as _;
use btcpool_exporter::{
    Exporter,
    client::health::{self, Whose},
    clock::Clock,
    collector::Format,
    config::Config,
    server::{self, App},
};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, VARY};
use tower::ServiceExt as _;
use wiremock::ResponseTemplate;

use crate::{
    harness::{self, KEY, Pool, Running},
    parser,
};

fn two_accounts() -> String {
    format!(
        "accounts:\n  farm_a: {{ api_key: {KEY}, labels: {{ site: Ekibastuz }} }}\n  гараж & co: {{ api_key: {KEY} }}\n"
    )
}

async fn running(pool: &Pool, more: &str) -> Running {
    pool.answers_samples().await;
    Running::start_ready(harness::config(&pool.base_url(), more)).await
}

#[tokio::test]
async fn format_and_encoding_are_negotiated() {
    let pool = Pool::start().await;
    let running = running(&pool, &two_accounts()).await;
    let client = reqwest::Client::builder().no_gzip().build().unwrap();
    let metrics = format!("{}/metrics", running.url);
    for (accept, format) in [
        ("*/*", Format::Classic),
        ("text/plain;version=0.0.4", Format::Classic),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Format::OpenMetrics),
    ] {
        let response = client.get(&metrics).header(ACCEPT, accept).send().await.unwrap();
        let expected = match format {
            Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        };
        assert_eq!(response.headers()[CONTENT_TYPE], expected);
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        parser::parse(&response.text().await.unwrap(), format).unwrap();
    }
    let response = client.get(&metrics).header(ACCEPT_ENCODING, "gzip").send().await.unwrap();
    assert_eq!(response.headers()[CONTENT_ENCODING], "gzip");
    assert_eq!(response.headers()[VARY], "accept, accept-encoding");
    let mut text = String::new();
    let packed = response.bytes().await.unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).unwrap();
    assert!(packed.len() * 4 < text.len());
    parser::parse(&text, Format::Classic).unwrap();

    for path in ["/metrics", "/", "/-/healthy", "/-/ready", "/sd"] {
        let response = client.head(format!("{}{path}", running.url)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.headers().contains_key(CONTENT_LENGTH) || ["/", "/sd"].contains(&path), "{path}");
        let response = client.post(format!("{}{path}", running.url)).send().await.unwrap();
        assert_eq!(response.status(), 405, "{path}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn account_parameter_narrows_the_exposition() {
    let pool = Pool::start().await;
    let running = running(&pool, &two_accounts()).await;
    let accounts = |text: &str| -> std::collections::BTreeSet<Option<String>> {
        let families = parser::parse(text, Format::Classic).unwrap();
        let samples = families.iter().flat_map(|family| &family.samples);
        samples.map(|sample| sample.label("account").map(str::to_owned)).collect()
    };
    let names = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect();
    let (status, one) = running.get("/metrics?account=farm_a").await;
    assert_eq!((status, accounts(&one)), (200, names(&["farm_a"])));
    let (status, other) = running.get("/metrics?account=%D0%B3%D0%B0%D1%80%D0%B0%D0%B6+%26%20co").await;
    assert_eq!((status, accounts(&other)), (200, names(&["гараж & co"])));
    let both = "/metrics?account=farm_a&x=y&account=%D0%B3%D0%B0%D1%80%D0%B0%D0%B6+%26%20co&account=farm_a";
    let (status, both) = running.get(both).await;
    assert_eq!((status, accounts(&both)), (200, names(&["farm_a", "гараж & co"])));
    let unknown =
        "No account of this name is configured here, or it belongs to another shard; / lists those that are.\n";
    for query in ["account=nobody", "account=farm_a&account=nobody", "account=", "account=%3Cscript%3E", "account=%FF"]
    {
        assert_eq!(running.get(&format!("/metrics?{query}")).await, (404, unknown.to_owned()), "{query}");
    }
    let (status, whole) = running.get("/metrics?other=1").await;
    assert_eq!((status, accounts(&whole).contains(&None)), (200, true));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn discovery_uses_the_requested_address() {
    let pool = Pool::start().await;
    let running = running(&pool, &two_accounts()).await;
    let client = reqwest::Client::new();
    let sd = format!("{}/sd", running.url);
    let response = client.get(&sd).header(HOST, "exporter.example:10058").send().await.unwrap();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let found: serde_json::Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    let expected = serde_json::json!([
        {"targets": ["exporter.example:10058"], "labels": {"__param_account": "farm_a",
            "__meta_btcpool_account": "farm_a", "__meta_btcpool_label_site": "Ekibastuz"}},
        {"targets": ["exporter.example:10058"], "labels": {"__param_account": "гараж & co",
            "__meta_btcpool_account": "гараж & co"}},
    ]);
    assert_eq!(found, expected);
    let response = client.get(&sd).header(HOST, "a\"<b>").send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!((status, response.text().await.unwrap().contains('<')), (400, false));
    running.stop().await.unwrap();
}

/// HTTP/2 has the address in the request itself, and no Host header.
#[tokio::test]
async fn discovery_works_over_http_2_too() {
    let exporter = Exporter::new(harness::config("http://127.0.0.1:1", &two_accounts()), Clock::system()).unwrap();
    let Exporter { config, store, telemetry, clock, poller, .. } = exporter;
    let app = App::new(config, store, telemetry, clock, poller.budget().clone(), None);
    let router = server::router(Arc::new(app));
    let request = Request::get("https://exporter.example:10058/sd").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let found: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let targets: Vec<_> = found.as_array().unwrap().iter().map(|entry| &entry["targets"]).collect();
    assert_eq!(targets, [&serde_json::json!(["exporter.example:10058"]); 2]);
}

#[tokio::test]
async fn ready_after_the_first_polls() {
    let pool = Pool::start().await;
    pool.responds("main_stat", ResponseTemplate::new(500).set_delay(Duration::from_secs(2))).await;
    let running = Running::start(harness::config(&pool.base_url(), &harness::one_account())).await;
    assert_eq!(running.get("/-/healthy").await, (200, "healthy\n".to_owned()));
    assert_eq!(running.get("/-/ready").await, (503, "Not everything was polled once yet.\n".to_owned()));
    // A scrape does not wait for the pool, and what is not known yet is absent.
    let seen = parser::series(&running.scrape().await);
    assert!(!seen.contains_key("btcpool_up{endpoint=\"main_stat\"}"));
    assert_eq!(seen["btcpool_exporter_polls_total{endpoint=\"main_stat\"}"], 0.0);
    // A pool that fails throughout makes it no less ready: the exporter is what tells of it.
    running.until("/-/ready", |status, body| (status, body) == (200, "ready\n")).await;
    assert_eq!(running.get("/-/healthy").await.0, 200);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn responses_are_hardened_and_echo_nothing() {
    let pool = Pool::start().await;
    let running = running(&pool, &two_accounts()).await;
    for path in
        ["/", "/?q=<evil>", "/metrics", "/sd", "/-/ready", "/nowhere/%3Cevil%3E?<evil>", "/metrics?account=<evil>"]
    {
        let response = reqwest::get(format!("{}{path}", running.url)).await.unwrap();
        let headers = response.headers().clone();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none';"), "{path}");
        assert!(!response.text().await.unwrap().contains("<evil"), "{path}");
    }
    let (status, body) = running.get("/nowhere").await;
    assert_eq!((status, body.as_str()), (404, "There is nothing here; / shows what there is.\n"));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn page_shows_slots_and_escapes_names() {
    let pool = Pool::start().await;
    pool.responds(
        "summary_data",
        ResponseTemplate::new(200).set_body_string(r#"{"status":"ERROR","message":"<img src=x onerror=alert(1)>"}"#),
    )
    .await;
    for endpoint in ["main_stat", "profit_history", "payment_history", "workers"] {
        pool.answers(endpoint, harness::sample(endpoint)).await;
    }
    let accounts = format!("accounts: {{ \"<b>farm</b>\": {{ api_key: {KEY} }} }}");
    let running = Running::start_ready(harness::config(&pool.base_url(), &accounts)).await;
    let (_, page) = running.get("/").await;
    assert!(page.contains("&#60;b&#62;farm&#60;/b&#62;: 1 of its 4 endpoints fails</h1>"), "{page}");
    for hostile in ["<img", "<b>", KEY] {
        assert!(!page.contains(hostile), "{hostile} in {page}");
    }
    // Its own script is the only one, and the policy names it.
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert!(page.contains("the pool reports an error: status ERROR: &#60;img src=x onerror=alert(1)&#62;"), "{page}");
    let response = reqwest::get(format!("{}/", running.url)).await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let hash = |text: &str| {
        base64::prelude::BASE64_STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()))
    };
    let page = response.text().await.unwrap();
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let (_, rest) = page.split_once(&format!("<{tag}>")).unwrap();
        let (text, _) = rest.split_once(&format!("</{tag}>")).unwrap();
        assert!(policy.contains(&format!("{directive} 'sha256-{}'", hash(text))), "{policy}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn scrapes_over_the_limit_are_refused() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let yaml = format!("api: {{ base_url: {} }}\nweb: {{ max_requests: 1 }}\n{}", pool.base_url(), two_accounts());
    let running = Running::start_ready(Config::from_yaml("test", &yaml, &Default::default()).unwrap()).await;
    // Many at once: whoever finds the only place taken is told so, and nobody gets anything else. One account's
    // exposition is written for each scrape.
    let scrapes = (0..200).map(|_| running.get("/metrics?account=farm_a"));
    let statuses: Vec<_> =
        futures_util::future::join_all(scrapes).await.into_iter().map(|(status, _)| status).collect();
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(statuses.contains(&503), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert_eq!(running.get("/-/healthy").await.0, 200);
    assert_eq!(running.get("/metrics").await.0, 200);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn telemetry_path_is_configurable() {
    let pool = Pool::start().await;
    pool.answers_samples().await;
    let yaml = format!("api: {{ base_url: {} }}\nweb: {{ telemetry_path: /probe/btcpool }}", pool.base_url());
    let running = Running::start_ready(Config::from_yaml("test", &yaml, &Default::default()).unwrap()).await;
    assert_eq!(running.get("/metrics").await.0, 404);
    assert_eq!(running.get("/probe/btcpool").await.0, 200);
    assert!(running.get("/").await.1.contains("href=\"/probe/btcpool\""));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn health_reports_what_is_wrong() {
    let pool = Pool::start().await;
    let running = running(&pool, "").await;
    let ask = |path: &str| health::ask(format!("{}{path}", running.url).parse().unwrap(), Whose::Any);
    assert_eq!(ask("/-/healthy").await, Ok(()));
    assert_eq!(ask("/nowhere").await, Err("it answered HTTP 404".to_owned()));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn process_metrics_are_exported() {
    let pool = Pool::start().await;
    let running = running(&pool, "").await;
    let families = running.scrape().await;
    let own = families.iter().filter(|family| family.name.starts_with("process_"));
    let told: Vec<_> =
        own.map(|family| (&*family.name, family.samples.iter().all(|sample| sample.value > 0.0))).collect();
    let expected = [
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
        "process_cpu_seconds_total",
    ];
    // Of the processor's time a young process may have used none that is counted.
    assert_eq!(told.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected);
    assert!(told[..6].iter().all(|(_, positive)| *positive), "{told:?}");
    assert!(families.iter().all(|family| !family.samples.is_empty()));
    running.stop().await.unwrap();
}
