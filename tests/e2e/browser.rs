//! What a person sees in a browser, whoever they are.
//!
//! `PICTURES_DIR=DIR cargo test --features e2e --test e2e browser` leaves a picture of each state of the page there.

use std::fs;

use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::{
    programs::{Demo, Exporter, Pool, http, key, until},
    support::pool::reader,
    webdriver::{Browser, DESK, Look},
};

const PHONE: Look = Look { size: (375, 812), ..DESK };
const DARK: Look = Look { dark: true, ..DESK };
const RUSSIAN: Look = Look { language: "ru-RU,ru;q=0.9,en;q=0.5", ..DESK };

/// An exporter with a configuration of its own, once everything was polled.
async fn exporter(configuration: &str) -> (Exporter, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("btcpool.yml");
    fs::write(&file, configuration).unwrap();
    let exporter = Exporter::start(&["--config.file", file.to_str().unwrap()]).await;
    let (http, url) = (http(), exporter.url("/-/ready"));
    let ready = async || http.get(&url).send().await.is_ok_and(|answer| answer.status() == 200).then_some(());
    until("readiness", ready, || exporter.log()).await;
    (exporter, folder)
}

/// Opens the page, holds it to be in order in every way that a program can judge, and takes its picture.
async fn open(look: Look, exporter: &str, path: &str, name: &str) -> Browser {
    let browser = Browser::start(look).await;
    browser.open(&format!("{exporter}{path}")).await;
    browser.until("return document.readyState === 'complete'").await;
    browser.picture(name).await;
    let elsewhere = browser.requests().await.into_iter().filter(|url| {
        // The browser begins with a page of its own.
        !url.starts_with(exporter) && !url.starts_with("data:") && !url.starts_with("chrome://")
    });
    assert_eq!(elsewhere.collect::<Vec<_>>(), [] as [&str; 0], "{name}");
    assert_eq!(browser.console().await, [] as [&str; 0], "{name}");
    assert_eq!(browser.violations().await, [] as [&str; 0], "{name}");
    // Nothing is wider than the screen, but what is made to be moved.
    assert_eq!(
        browser.run("return document.documentElement.scrollWidth <= window.innerWidth").await,
        true,
        "{name} is wider than its screen"
    );
    browser
}

fn hold<'a>(what: &str, texts: &[String], wanted: impl IntoIterator<Item = &'a str>) {
    for wanted in wanted {
        assert!(texts.iter().any(|text| text.contains(wanted)), "{what}: no {wanted:?} in {texts:#?}");
    }
}

#[tokio::test]
async fn page_lists_a_refused_key_first() {
    let demo = Demo::start().await;
    let browser = open(DESK, &demo.url, "/", "refused").await;
    assert_eq!(browser.texts("h1").await, ["The pool refuses the key of former_client"]);
    let trouble = browser.texts("#troubles article").await;
    assert_eq!(trouble.len(), 1);
    hold(
        "the trouble",
        &trouble,
        ["Key refused auth endpoints: 4, accounts: 1", "Is it the key of this account?", "former_client BTC"],
    );
    let endpoints = browser.texts("#troubles td[data-label=Endpoints]").await;
    assert_eq!(endpoints, ["summary_data, profit_history, payment_history, workers"]);
    // One row for each currency of each account, those with trouble first.
    let farm = reader::twin();
    let accounts = farm.farm().accounts.iter();
    let holdings =
        accounts.flat_map(|account| account.holdings.iter().map(|holding| (&account.name, holding.currency)));
    let mut expected: Vec<_> = holdings.collect();
    expected.sort_by_key(|&(name, currency)| (name != "former_client", name, currency));
    let expected: Vec<_> = expected.iter().map(|(name, currency)| format!("{name} {currency}")).collect();
    let row = "return [...document.querySelectorAll('#rows tbody tr')].map((row) => \
               row.cells[0].firstChild.data + ' ' + row.cells[1].innerText)";
    assert_eq!(browser.run(row).await, json!(expected));
    assert_eq!(browser.texts("#rows tbody tr:first-child td.bad").await, ["fails: auth"; 4]);
    // Figures and their ages, and the sums.
    let garage = browser.texts("#rows tbody tr").await;
    hold("the rows", &garage, ["TH/s", "PH/s"]);
    assert_eq!(browser.texts("#sums tbody th").await.len(), 3);
    hold("the budget", &browser.texts("#budget").await, ["that the budget allows"]);
    browser.close().await;
    // The same on a phone, in the dark, and in Russian.
    open(PHONE, &demo.url, "/", "phone").await.close().await;
    open(DARK, &demo.url, "/", "dark").await.close().await;
    let browser = open(RUSSIAN, &demo.url, "/", "russian").await;
    assert_eq!(browser.texts("h1").await, ["Пул не принимает ключ аккаунта former_client"]);
    assert_eq!(browser.run("return document.documentElement.lang").await, "ru");
    browser.open(&format!("{}/?lang=en", demo.url)).await;
    assert_eq!(browser.texts("h1").await, ["The pool refuses the key of former_client"]);
    browser.close().await;
}

#[tokio::test]
async fn page_shows_health_and_lost_exporter() {
    let pool = Pool::start(&[("hall_1", 30), ("hall_2", 12)]);
    let accounts = ["hall_1", "hall_2"].map(|name| format!("  {name}: {{ api_key: \"{}\" }}\n", key(name)));
    let configuration = format!("{}accounts:\n{}", pool.configuration(), accounts.concat());
    let (mut exporter, _folder) = exporter(&configuration).await;
    let browser = open(DESK, &exporter.url(""), "/", "healthy").await;
    assert_eq!(browser.texts("h1").await, ["All is well: the pool answers everything that is asked"]);
    assert_eq!(browser.texts("#troubles p").await, ["None."]);
    hold("the summary", &browser.texts("#sums").await, ["Accounts: 2. Workers in the pool's lists: 42."]);
    // The script takes what is new, and leaves alone what a person is at.
    const TAB: &str = "\u{E004}";
    browser.keys(TAB).await;
    assert_eq!(browser.run("return document.activeElement.className").await, "skip");
    browser.run("document.getElementById('q').focus()").await;
    browser.keys("hall_2").await;
    browser.run("document.querySelector('#settings details').open = true").await;
    browser.run("document.getElementById('as-of').textContent = 'long ago'").await;
    const REFRESH: &str = "document.dispatchEvent(new Event('visibilitychange'))";
    browser.run(REFRESH).await;
    browser.until("return document.getElementById('as-of').innerText.startsWith('As of')").await;
    let kept = "const q = document.getElementById('q'); \
                return [q.value, q === document.activeElement, document.querySelector('#settings details').open]";
    assert_eq!(browser.run(kept).await, json!(["hall_2", true, true]));
    // The filter works by the keyboard, and without the script.
    const ENTER: &str = "\u{E007}";
    browser.keys(ENTER).await;
    browser.until("return location.search === '?q=hall_2'").await;
    browser.until("return document.querySelectorAll('#rows tbody tr').length === 1").await;
    hold("the row", &browser.texts("#rows tbody tr").await, ["hall_2"]);
    assert_eq!(browser.run("return document.getElementById('lost').hidden").await, true);
    // An answer that is no page is told from none at all.
    browser.run("history.replaceState(null, '', '/nowhere')").await;
    browser.run(REFRESH).await;
    browser.until("return !document.getElementById('lost').hidden").await;
    let refused = "This page could not be refreshed. What you see is old. (HTTP 404)";
    assert_eq!(browser.texts("#lost").await, [refused]);
    browser.run("history.replaceState(null, '', '/')").await;
    browser.run(REFRESH).await;
    browser.until("return document.getElementById('lost').hidden").await;
    exporter.kill();
    browser.run(REFRESH).await;
    browser.until("return !document.getElementById('lost').hidden").await;
    assert_eq!(browser.texts("#lost").await, ["The exporter does not answer any more. What you see is old."]);
    browser.picture("gone").await;
    browser.close().await;
}

#[tokio::test]
async fn page_of_a_down_pool_says_what_to_do() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (exporter, _folder) = exporter(&format!(
        "api: {{ base_url: \"http://127.0.0.1:{port}/api\", requests_per_second: 1000 }}\n\
         accounts:\n  farm_a: {{ api_key: 0a1b2c-3d4e5f }}\n  farm_b: {{ api_key: 607182-93a4b5 }}\n"
    ))
    .await;
    let browser = open(DESK, &exporter.url(""), "/", "down").await;
    assert_eq!(browser.texts("h1").await, ["The pool does not answer: 9 endpoints fail"]);
    hold(
        "the trouble",
        &browser.texts("#troubles article").await,
        ["No connection connect", "the whole pool", "never"],
    );
    browser.close().await;
}

#[tokio::test]
async fn page_is_readable_with_500_accounts() {
    let names: Vec<_> = (1..=500).map(|number| format!("client_{number:03}")).collect();
    let accounts: Vec<_> = names.iter().map(|name| (name.as_str(), 3)).collect();
    let pool = Pool::start(&accounts);
    let accounts = names.iter().map(|name| {
        // Every fiftieth has a key that is not its own.
        let key = if name.ends_with("50") || name.ends_with("00") { "0a1b2c".to_owned() } else { key(name) };
        format!("  {name}: {{ api_key: \"{key}\", labels: {{ site: site_{} }} }}\n", &name[7..9])
    });
    let configuration = format!("{}accounts:\n{}", pool.configuration(), accounts.collect::<String>());
    let (exporter, _folder) = exporter(&configuration).await;
    let browser = open(DESK, &exporter.url(""), "/", "five-hundred").await;
    assert_eq!(browser.texts("h1").await, ["The pool refuses the keys of 10 accounts"]);
    assert_eq!(browser.texts("#rows > p").await, ["Rows 1 to 100 of 500, those with trouble first."]);
    assert_eq!(browser.texts("#rows tbody tr td.bad").await.len(), 40);
    assert_eq!(browser.texts("#rows nav *").await, ["1", "2", "3", "4", "5"]);
    browser.run("document.getElementById('page-5').click()").await;
    browser.until("return location.search === '?page=5'").await;
    browser.until("return document.readyState === 'complete'").await;
    assert_eq!(browser.texts("#rows > p").await, ["Rows 401 to 500 of 500, those with trouble first."]);
    browser.open(&exporter.url("/?q=SITE_07&trouble=1")).await;
    assert_eq!(browser.texts("#rows > p").await, ["Nothing found among 500 rows."]);
    browser.open(&exporter.url("/?q=site_05")).await;
    assert_eq!(browser.texts("#rows > p").await, ["Rows 1 to 10 of 10 found among 500, those with trouble first."]);
    browser.close().await;
    open(PHONE, &exporter.url(""), "/", "five-hundred-phone").await.close().await;
}

#[tokio::test]
async fn hostile_names_are_only_text() {
    const HOSTILE: &str = "<img src=x onerror=\"document.title='taken'\">";
    let server = MockServer::start().await;
    let message = json!({ "status": "ERROR", "message": format!("{HOSTILE}<script>document.title='taken'</script>") });
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(message)).mount(&server).await;
    let configuration = json!({
        "api": { "base_url": server.uri(), "requests_per_second": 1000 },
        "accounts": { HOSTILE: { "api_key": "0a1b2c-3d4e5f", "labels": { "site": "</style></th><script>alert(1)" } } },
    });
    let (exporter, _folder) = exporter(&configuration.to_string()).await;
    let query = "/?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E&lang=%3Cscript%3E";
    for path in ["/", query] {
        let browser = open(DESK, &exporter.url(""), path, "hostile").await;
        // Its own script and no other; no picture at all.
        assert_eq!(browser.run("return [document.scripts.length, document.images.length]").await, json!([1, 0]));
        assert_ne!(browser.run("return document.title").await, "taken");
        hold("the trouble", &browser.texts("#troubles").await, [HOSTILE, "<script>document.title='taken'</script>"]);
        let rows = browser.texts("#rows tbody th").await;
        match path {
            "/" => assert_eq!(rows, [format!("{HOSTILE}\nsite=</style></th><script>alert(1)")]),
            _ => {
                let typed = browser.run("return document.getElementById('q').value").await;
                assert_eq!((rows.len(), typed), (0, json!("\"><script>alert(1)</script>")));
            }
        }
        browser.close().await;
    }
}

#[tokio::test]
async fn browser_displays_the_metrics() {
    let demo = Demo::start().await;
    let browser = Browser::start(DESK).await;
    browser.open(&format!("{}/metrics", demo.url)).await;
    let page = browser.texts("body").await.concat();
    for line in [
        "btcpool_up{endpoint=\"main_stat\"} 1",
        "btcpool_up{account=\"former_client\",currency=\"BTC\",endpoint=\"workers\"} 0",
        "worker=\"Гараж-1\"",
        r#"worker="asic \"старый\"""#,
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    browser.close().await;
}
