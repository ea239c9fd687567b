//! The dashboard in a browser.

use browser::{Page, browse};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::service::{Framework, Service};

const VIEWER: &str = "viewer+secret";
const SETTINGS: [(&str, &str); 3] = [
    ("METRICS_INTERVAL_MS", "200"),
    ("METRICS_TOKEN", VIEWER),
    ("METRICS_OTHER_TOKEN", "other-secret"),
];

const OPEN: &str = "document.querySelector('#state').dataset.state === 'open'";
const FIGURES: &str =
    "[...document.querySelectorAll('.number')].map((number) => number.textContent).join()";
const OFFSETS: &str = "metrics.samples.map(({ id }) => Number(id.split('-').pop()))";

pub(crate) async fn dropped_connection_resumes_without_a_hole(framework: Framework) {
    let service = Service::start(framework, &SETTINGS);
    browse(async move |page: Page| {
        let token = VIEWER.replace('+', "%2B");
        page.open(&service.url(&format!("/?kept=1&access_token={token}")))
            .await;
        page.until(OPEN).await;
        assert_eq!(page.value("location.href").await, service.url("/?kept=1"));

        page.until("metrics.samples.length >= 5").await;
        for figure in ["cpuUsage", "memoryUsage", "requestsPerSecond"] {
            let text = format!("document.querySelector('[data-testid={figure}]').textContent");
            page.until(&format!("{text} !== '' && Number.isFinite(Number({text}))"))
                .await;
        }
        let before = page.value(FIGURES).await;
        page.click("#traffic").await;
        page.until(&format!("{FIGURES} !== {before}")).await;
        let requests =
            "Number(document.querySelector('[data-testid=requestsPerSecond]').textContent)";
        page.until(&format!("{requests} > 0")).await;

        page.click("#action").await;
        page.until("document.querySelector('#state').dataset.state === 'closed'")
            .await;
        let held = page.value("metrics.samples.length").await.as_u64().unwrap();
        page.until("document.querySelector('#count-resumes').textContent === '1'")
            .await;
        page.until(&format!("metrics.samples.length >= {held} + 15"))
            .await;

        assert_contiguous(&page).await;
        assert_eq!(text(&page, "#count-gaps").await, "0");
        let counted = text(&page, "#count-events").await;
        assert!(counted.parse::<u64>().unwrap() >= held + 15, "{counted}");
        assert!(
            text(&page, "#journal")
                .await
                .contains("missed samples filled in")
        );
        let same_id =
            "document.querySelector('#last-event-id').textContent === metrics.samples.at(-1).id";
        page.until(same_id).await;
        assert_eq!(page.complaints().await, Vec::<String>::new());

        page.save_screenshots(framework.name()).await;
        assert!(!service.log().contains("secret"), "{}", service.log());
    })
    .await;
}

pub(crate) async fn refused_page_asks_for_a_token(framework: Framework) {
    let service = Service::start(framework, &SETTINGS);
    browse(async move |page: Page| {
        page.open(&service.url("/")).await;
        let refused = "document.querySelector('#refused')";
        page.until(&format!(
            "!{refused}.hidden && {refused}.innerText.includes('asks for a token')"
        ))
        .await;
        assert_eq!(page.value("document.activeElement.id").await, "token");
        page.save_screenshots(&format!("{}-refused", framework.name()))
            .await;

        page.submit("#token", "wrong").await;
        page.until(&format!("{refused}.innerText.includes('not accepted')"))
            .await;
        page.submit("#token", "other-secret").await;
        page.until(&format!("{refused}.innerText.includes('may not view')"))
            .await;
        page.submit("#token", VIEWER).await;
        page.until(OPEN).await;
        page.until(&format!("{refused}.hidden && metrics.samples.length >= 3"))
            .await;
        assert_eq!(page.value("location.href").await, service.url("/"));
        assert_eq!(
            page.value("document.querySelector('#token').value").await,
            ""
        );
    })
    .await;
}

pub(crate) async fn restarted_service_shows_as_a_gap(framework: Framework) {
    let settings = [("METRICS_INTERVAL_MS", "200")];
    let service = Service::start(framework, &settings);
    browse(async move |page: Page| {
        page.open(&service.url("/")).await;
        page.until("metrics.samples.length >= 2").await;
        let port = service.port().to_string();
        drop(service);
        page.until("document.querySelector('#state').dataset.state === 'retrying'")
            .await;

        let _service = Service::start(framework, &[settings[0], ("PORT", &port)]);
        page.until(OPEN).await;
        page.until("document.querySelector('#count-gaps').textContent === '1'")
            .await;
        assert_eq!(text(&page, "#count-resumes").await, "1");
        let held = page.value("metrics.samples.length").await.as_u64().unwrap();
        page.until(&format!("metrics.samples.length >= {held} + 3"))
            .await;
    })
    .await;
}

/// No sample is missing, doubled or out of order, by their ids and by their own clock.
async fn assert_contiguous(page: &Page) {
    let offsets = page.value(OFFSETS).await;
    let offsets: Vec<u64> = serde_json::from_value(offsets).unwrap();
    let expected: Vec<u64> = (offsets[0]..).take(offsets.len()).collect();
    assert_eq!(offsets, expected);

    let times = page
        .value("metrics.samples.map(({ timestamp }) => timestamp)")
        .await;
    let times: Vec<Timestamp> = serde_json::from_value(times).unwrap();
    assert!(
        times.is_sorted_by(|earlier, later| earlier < later),
        "{times:?}"
    );
}

async fn text(page: &Page, css: &str) -> String {
    let value = page
        .value(&format!(
            "document.querySelector({}).textContent",
            json!(css)
        ))
        .await;
    let Value::String(text) = value else {
        panic!("{css}: {value}");
    };
    text
}
