//! A real browser, driven as W3C's WebDriver has it.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    programs::{Program, http_builder, printed, until},
    support::program::command,
};

/// How the browser is set up.
#[derive(Clone, Copy)]
pub struct Look {
    pub language: &'static str,
    /// Width and height of what it shows, in CSS pixels.
    pub size: (u32, u32),
    pub dark: bool,
}

/// A desk's screen, in English, by day.
pub const DESK: Look = Look { language: "en-GB,en;q=0.9", size: (1280, 900), dark: false };

/// A browser with one page.
pub struct Browser {
    session: String,
    http: reqwest::Client,
    _driver: Program,
    _profile: TempDir,
}

impl Browser {
    pub async fn start(look: Look) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = command("chromedriver");
        command.arg("--port=0").env("HOME", profile.path());
        let mut driver = Program::start(command);
        let port = printed(&mut driver, "started successfully on port ").await;
        let port = port.trim_end_matches('.');
        let http = http_builder().timeout(Duration::from_secs(60)).build().unwrap();
        let (width, height) = look.size;
        let data = format!("--user-data-dir={}", profile.path().join("data").display());
        let size = format!("--window-size={width},{height}");
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {
                "binary": "/usr/bin/chromium",
                "prefs": { "intl.accept_languages": look.language },
                "args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic",
                    "--no-first-run", "--disable-background-networking", "--disable-component-update",
                    "--disable-sync", "--no-proxy-server", data, size,
                ],
            },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        }}});
        let mut browser = Self { session: String::new(), http, _driver: driver, _profile: profile };
        let answer = browser.call("POST", &format!("http://127.0.0.1:{port}/session"), capabilities).await;
        browser.session = format!("http://127.0.0.1:{port}/session/{}", answer["sessionId"].as_str().unwrap());
        // The window has a frame: what the page is shown in is to be as large as was asked for.
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        browser.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if look.dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        browser.cdp("Emulation.setEmulatedMedia", features).await;
        let headers = json!({ "headers": { "Accept-Language": look.language } });
        browser.cdp("Network.enable", json!({})).await;
        browser.cdp("Network.setExtraHTTPHeaders", headers).await;
        browser
    }

    async fn call(&self, method: &str, url: &str, body: Value) -> Value {
        let request = match method {
            "GET" => self.http.get(url),
            "DELETE" => self.http.delete(url),
            _ => self.http.post(url).header("content-type", "application/json").body(body.to_string()),
        };
        let response = request.send().await.unwrap();
        let status = response.status();
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert!(status.is_success(), "{method} {url}: {answer}");
        answer["value"].clone()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", &format!("{}{path}", self.session), body).await
    }

    /// A command of the browser's own protocol.
    pub async fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// Runs a function's body on the page; promises are waited for.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Runs it again and again until it gives something that is true.
    pub async fn until(&self, script: &str) {
        let seen = async || self.run(script).await.as_bool().unwrap_or_default().then_some(());
        until(script, seen, || "").await;
    }

    /// The text of the elements that a selector finds, as a person sees it.
    pub async fn texts(&self, selector: &str) -> Vec<String> {
        let found = format!("return [...document.querySelectorAll({})].map((e) => e.innerText)", json!(selector));
        serde_json::from_value(self.run(&found).await).unwrap()
    }

    /// Presses keys, as WebDriver writes them.
    pub async fn keys(&self, keys: &str) {
        let presses =
            keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let presses: Vec<_> = presses.collect();
        self.post("/actions", json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": presses }] })).await;
    }

    /// What the page and the browser had to complain of.
    pub async fn console(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        entries.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }

    /// Every address that was asked for since the last time.
    pub async fn requests(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "performance" })).await;
        let events = entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| -> Value { serde_json::from_str(entry["message"].as_str().unwrap()).unwrap() });
        let sent = events.filter(|event| event["message"]["method"] == "Network.requestWillBeSent");
        sent.map(|event| event["message"]["params"]["request"]["url"].as_str().unwrap().to_owned()).collect()
    }

    /// What axe-core finds against the page: a line for each violation.
    pub async fn violations(&self) -> Vec<String> {
        self.run(&format!("{};", include_str!("axe/axe.min.js"))).await;
        let found = self.run("return axe.run(document).then((result) => result.violations)").await;
        let violation = |violation: &Value| {
            let nodes = violation["nodes"].as_array().unwrap().iter().map(|node| node["html"].to_string());
            format!("{}: {}: {}", violation["id"], violation["help"], nodes.collect::<Vec<_>>().join(" "))
        };
        found.as_array().unwrap().iter().map(violation).collect()
    }

    /// Draws the whole page into a file of the folder that `PICTURES_DIR` names, if it names one.
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("PICTURES_DIR") else { return };
        let parameters = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.cdp("Page.captureScreenshot", parameters).await;
        let bytes = base64(picture["data"].as_str().unwrap());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(std::path::Path::new(&folder).join(name).with_extension("png"), bytes).unwrap();
    }

    /// Ends it.
    pub async fn close(self) {
        self.call("DELETE", &self.session, Value::Null).await;
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.decode(text).unwrap()
}
