//! What the tests do in a page.

use std::{
    env, fs,
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use fantoccini::{Client, Locator, wd::WebDriverCompatibleCommand};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::time::sleep;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The page that the browser shows.
#[derive(Debug)]
pub struct Page(Client);

impl Page {
    pub(crate) fn new(client: Client) -> Self {
        Self(client)
    }

    /// Goes to an address.
    pub async fn open(&self, url: &str) {
        self.0.goto(url).await.unwrap();
    }

    /// The value of an expression in the page.
    pub async fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression};");
        self.0.execute(&script, Vec::new()).await.unwrap()
    }

    /// Waits until an expression is true in the page.
    pub async fn until(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.value(&format!("!!({expression})")).await != json!(true) {
            if Instant::now() > deadline {
                let text = self.value("document.body.innerText").await;
                panic!("not in time: {expression}\n{}", text.as_str().unwrap());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks on what a selector finds.
    pub async fn click(&self, css: &str) {
        self.0
            .find(Locator::Css(css))
            .await
            .unwrap()
            .click()
            .await
            .unwrap();
    }

    /// Replaces what a field holds and submits its form.
    pub async fn submit(&self, css: &str, text: &str) {
        let field = self.0.find(Locator::Css(css)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(&format!("{text}\u{e007}")).await.unwrap();
    }

    /// What the browser complained about since the last call.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.chromium("se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().unwrap().iter();
        let entries = entries.filter(|entry| entry["level"] != "INFO" && entry["level"] != "DEBUG");
        entries.map(|entry| entry["message"].to_string()).collect()
    }

    /// Saves what the whole page looks like, if `SCREENSHOTS` names a folder.
    pub async fn save_screenshots(&self, name: &str) {
        let Some(folder) = env::var_os("SCREENSHOTS").map(PathBuf::from) else {
            return;
        };
        fs::create_dir_all(&folder).unwrap();
        for (look, scheme, width) in [
            ("light", "light", 1280),
            ("dark", "dark", 1280),
            ("phone", "light", 390),
            ("phone-dark", "dark", 390),
        ] {
            let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
            self.devtools("Emulation.setEmulatedMedia", json!({ "features": scheme }))
                .await;
            // Twice, since the height follows from the width.
            for _ in 0..2 {
                let height = self
                    .value("Math.max(840, document.documentElement.offsetHeight)")
                    .await;
                let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
                self.devtools("Emulation.setDeviceMetricsOverride", size)
                    .await;
            }
            self.0
                .execute_async(
                    "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))",
                    Vec::new(),
                )
                .await
                .unwrap();
            let image = self.0.screenshot().await.unwrap();
            fs::write(folder.join(format!("{name}-{look}.png")), image).unwrap();
        }
    }

    async fn devtools(&self, method: &str, parameters: Value) {
        let body = json!({ "cmd": method, "params": parameters });
        self.chromium("goog/cdp/execute", body).await;
    }

    async fn chromium(&self, path: &'static str, body: Value) -> Value {
        self.0.issue_cmd(Chromium { path, body }).await.unwrap()
    }
}

/// A command that only chromedriver knows.
#[derive(Debug)]
struct Chromium {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Chromium {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        let session = session.expect("a session is open");
        base.join(&format!("session/{session}/{}", self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
