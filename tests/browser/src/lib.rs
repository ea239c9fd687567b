//! Chromium for tests, through chromedriver.

#![allow(clippy::unwrap_used)]

mod page;

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

pub use page::Page;

/// Runs `test` in a fresh browser. Without one it says so and passes, but fails where `CI` is set.
///
/// # Panics
///
/// When `test` does.
pub async fn browse<F>(test: impl FnOnce(Page) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let browser = on_path(&[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ]);
    let (Some(browser), Some(driver)) = (browser, on_path(&["chromedriver"])) else {
        let missing = "no page was tried: chromium or chromedriver is missing";
        assert!(env::var_os("CI").is_none(), "{missing}");
        // `eprintln!` would be captured.
        let line = format!("skipped: {missing}\n");
        return io::stderr().write_all(line.as_bytes()).unwrap();
    };
    let driver = Driver::start(&driver);
    let profile = tempfile::tempdir().unwrap();
    let client = driver.session(&browser, profile.path()).await;
    let page = Page::new(client.clone());
    // In a task of its own, so that the browser ends after a panic too.
    let result = tokio::spawn(test(page)).await;
    let closed = client.close().await;
    if let Err(error) = result {
        resume_unwind(error.into_panic());
    }
    closed.unwrap();
}

fn on_path(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut places =
        env::split_paths(&path).flat_map(|place| names.iter().map(move |name| place.join(name)));
    places.find(|place| place.is_file())
}

struct Driver {
    child: Child,
    url: String,
    // It must be able to write.
    _stdout: BufReader<ChildStdout>,
}

impl Driver {
    fn start(program: &Path) -> Self {
        let mut command = Command::new(program);
        command
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let port = stdout
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse::<u16>().ok()
            });
        let port = port.expect("chromedriver says its port");
        Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            _stdout: stdout,
        }
    }

    async fn session(&self, browser: &Path, profile: &Path) -> Client {
        let profile = format!("--user-data-dir={}", profile.display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &profile,
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "binary": browser, "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        ClientBuilder::new(HttpConnector::new())
            .capabilities(serde_json::from_value(capabilities).unwrap())
            .connect(&self.url)
            .await
            .unwrap()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
