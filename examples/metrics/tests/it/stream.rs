//! What the stream carries.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

use crate::{
    client::{Block, Client, STREAM, answer, get},
    service::{Framework, PATIENCE, Service},
};

const FAST: (&str, &str) = ("METRICS_INTERVAL_MS", "200");

pub(crate) async fn newest_sample_comes_first_and_at_once(framework: Framework) {
    // The next sample is an hour away.
    let service = Service::start(framework, &[("METRICS_INTERVAL_MS", "3600000")]);
    let mut client = Client::connect(&service).await;
    assert_eq!(client.header("content-type"), "text/event-stream");

    let Block { event, data, id } = client.next().await;
    assert_eq!(event, "metrics");
    assert!(!id.is_empty());
    let mut fields: Vec<_> = data.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        ["cpuUsage", "memoryUsage", "requestsPerSecond", "timestamp"]
    );
    let number = |field: &str| data[field].as_f64().expect("a number");
    assert!((0.0..=100.0).contains(&number("cpuUsage")), "{data}");
    assert!((0.0..=100.0).contains(&number("memoryUsage")), "{data}");
    assert!(number("memoryUsage") > 0.0, "{data}");
    assert_eq!(number("requestsPerSecond"), 0.0);
    let timestamp: Timestamp = data["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(timestamp.duration_until(Timestamp::now()) < SignedDuration::from_mins(1));
}

pub(crate) async fn new_client_gets_no_older_sample(framework: Framework) {
    let service = Service::start(framework, &[FAST]);
    let mut watcher = Client::connect(&service).await;
    let first = watcher.next().await;
    let seen = watcher
        .find(|block| block.offset() >= first.offset() + 3)
        .await;

    let newest = Client::connect(&service).await.next().await;
    assert_eq!(newest.event, "metrics");
    assert!(
        newest.offset() >= seen.offset(),
        "{newest:?} after {seen:?}"
    );
}

pub(crate) async fn client_that_comes_back_gets_all_it_missed(framework: Framework) {
    let service = Service::start(framework, &[FAST]);
    let mut watcher = Client::connect(&service).await;
    let last = Client::connect(&service).await.next().await;

    let mut missed = Vec::new();
    while missed.len() < 4 {
        let block = watcher.next().await;
        if block.offset() > last.offset() {
            missed.push(block);
        }
    }

    let by_header = get(&service, STREAM).header("last-event-id", &last.id);
    let by_query = get(&service, &format!("{STREAM}?lastEventId={}", last.id));
    // A browser that reconnects sends the header; the query still holds an older id.
    let by_both = get(&service, &format!("{STREAM}?lastEventId={}", missed[0].id))
        .header("last-event-id", &last.id);
    for request in [by_header, by_query, by_both] {
        let mut client = Client::open(request).await;
        for expected in &missed {
            assert_eq!(client.next().await, *expected);
        }
        let next = client.next().await;
        assert_eq!(next.offset(), last.offset() + 5, "{next:?}");
    }
}

pub(crate) async fn requests_are_counted(framework: Framework) {
    let service = Service::start(framework, &[FAST]);
    let mut client = Client::connect(&service).await;
    let rate = |block: &Block| block.data["requestsPerSecond"].as_f64().unwrap();
    let time = |block: &Block| {
        let text = block.data["timestamp"].as_str().unwrap();
        text.parse::<Timestamp>().unwrap()
    };
    // The request of this client itself.
    client.find(|block| rate(block) > 0.0).await;
    let mut before = client.find(|block| rate(block) == 0.0).await;

    for _ in 0..20 {
        answer(get(&service, "/")).await;
    }
    let mut counted = 0.0;
    let deadline = Instant::now() + PATIENCE;
    while counted < 19.5 && Instant::now() < deadline {
        let block = client.next().await;
        counted += rate(&block) * time(&before).duration_until(time(&block)).as_secs_f64();
        before = block;
    }
    assert!((19.5..20.5).contains(&counted), "{counted}");
}
