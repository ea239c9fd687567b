//! Streams that fail: what came before arrives, the body breaks off, and nobody else is disturbed.

use std::{
    collections::BTreeMap,
    io,
    panic::resume_unwind,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;
use tower_sse::{Event, Hub, Sse, SseLayer};

use crate::{
    client::{End, Protocol, Response, soon},
    servers::{Answer, Kind, Seen, Site, Streamed, on},
    whatwg,
};

const SECRET: &str = "password=hunter2";

#[derive(Clone, Debug, Serialize)]
enum Item {
    Text(String),
    /// No JSON, whose keys are texts.
    Map(BTreeMap<(u8, u8), u8>),
    #[serde(rename = "sse.bye")]
    Reserved,
    #[serde(rename = "line\nbreak")]
    Broken,
}

/// How a stream ends.
const FAILURES: [&str; 7] = [
    "/error",
    "/panic",
    "/map",
    "/reserved",
    "/broken",
    "/foreign-error",
    "/foreign-panic",
];

/// That many events of that size, then a failure that is noted.
#[derive(Clone, Debug)]
struct Story {
    count: usize,
    size: usize,
    failed: Arc<AtomicBool>,
}

impl Story {
    fn new(count: usize, size: usize) -> Self {
        Self {
            count,
            size,
            failed: Arc::default(),
        }
    }

    fn texts(&self) -> impl Iterator<Item = String> + use<> {
        let size = self.size;
        (0..self.count).map(move |index| format!("{index} {}", "x".repeat(size)))
    }

    fn expected(&self) -> Vec<whatwg::Event> {
        let events = self.texts();
        let event = |text| ("Text".to_owned(), format!("\"{text}\""), String::new());
        events.map(event).collect()
    }

    fn noted<T, F>(&self, end: F) -> impl Stream<Item = T> + use<T, F>
    where
        F: FnOnce() -> Option<T>,
    {
        let failed = Arc::clone(&self.failed);
        let end = stream::once(async move {
            failed.store(true, Ordering::SeqCst);
            end()
        });
        end.filter_map(std::future::ready)
    }

    fn answer(&self, seen: &Seen) -> Box<dyn Answer> {
        let items = stream::iter(self.texts().map(Item::Text));
        let bytes = stream::iter(self.texts().map(Item::Text))
            .map(|item| Ok(Event::json(&item).unwrap().encode()));
        let foreign = vec![("content-type", "text/event-stream")];
        let map = || Item::Map([((1, 2), 3)].into());
        match &*seen.path {
            "/error" => Box::new(Sse::try_new(items.map(Ok).chain(self.noted(error)))),
            "/panic" => Box::new(Sse::new(items.chain(self.noted(panic)))),
            "/map" => Box::new(Sse::new(items.chain(self.noted(move || Some(map()))))),
            "/reserved" => {
                let reserved = self.noted(|| Some(Ok::<_, io::Error>(Item::Reserved)));
                Box::new(Sse::try_new(items.map(Ok).chain(reserved)))
            }
            "/broken" => Box::new(Sse::new(items.chain(self.noted(|| Some(Item::Broken))))),
            "/clean" => Box::new(Sse::new(items.chain(self.noted(|| None)))),
            "/drop" => Box::new(Sse::new(PanicsOnDrop(Box::pin(items)))),
            "/foreign-error" => Box::new(Streamed {
                headers: foreign,
                stream: bytes.chain(self.noted(error)),
            }),
            "/foreign-panic" => Box::new(Streamed {
                headers: foreign,
                stream: bytes.chain(self.noted(panic)),
            }),
            "/foreign-clean" => Box::new(Streamed {
                headers: foreign,
                stream: bytes,
            }),
            path => panic!("there is no {path}"),
        }
    }
}

fn error<T>() -> Option<io::Result<T>> {
    Some(Err(io::Error::other(SECRET)))
}

/// Unwinds without a message in the output of the tests.
fn panic<T>() -> Option<T> {
    resume_unwind(Box::new(SECRET))
}

struct PanicsOnDrop<S>(Pin<Box<S>>);

impl<S: Stream> Stream for PanicsOnDrop<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<S> Drop for PanicsOnDrop<S> {
    fn drop(&mut self) {
        resume_unwind(Box::new(SECRET));
    }
}

#[track_caller]
fn check_seen(response: &Response, story: &Story) {
    let seen = String::from_utf8_lossy(&response.seen);
    assert!(!seen.contains(SECRET), "{seen}");
    let events = response.parsed().events;
    assert_eq!(events.len(), story.count, "of {} bytes", story.size);
    assert!(events == story.expected());
}

#[tokio::test]
async fn events_before_a_failure_arrive_and_then_the_body_breaks_off() {
    for (count, size) in [(0, 0), (1, 1), (100, 10), (50, 5_000)] {
        let story = Story::new(count, size);
        let told = story.clone();
        let hub = Hub::new();
        let followed = hub.clone();
        let site = Site::new(move |seen| match &*seen.path {
            "/live" => Box::new(Sse::new(followed.subscribe("live", seen.last))),
            _ => told.answer(&seen),
        });
        on(&Kind::ALL, &site.layer(SseLayer::new()), async |server| {
            // Over HTTP/2 all of these share a connection.
            let client = server.client().await;
            let mut live = client.get("/live").await;
            live.events(1).await;
            for path in FAILURES {
                let mut response = client.get(path).await;
                assert_eq!(response.status, 200);
                assert_eq!(response.end().await, End::Broken, "{path}");
                check_seen(&response, &story);
                if server.kind.protocol() == Protocol::Http11 {
                    // Where the end of the connection is the only end, a failure looks like one.
                    let old = server.client_of(Protocol::Http10).await;
                    let mut response = old.get(path).await;
                    assert_eq!(response.end().await, End::Closed, "{path}");
                    check_seen(&response, &story);
                }
            }
            let topic = hub.topic::<str>("live").unwrap();
            topic.publish("still here").await.unwrap();
            let events = live.events(2).await;
            assert_eq!(events[1].1, "\"still here\"");
        })
        .await;
    }
}

#[tokio::test]
async fn stream_that_ends_is_complete() {
    for (count, size) in [(0, 0), (1, 1), (50, 5_000)] {
        let story = Story::new(count, size);
        let told = story.clone();
        let site = Site::new(move |seen| told.answer(&seen));
        on(&Kind::ALL, &site.layer(SseLayer::new()), async |server| {
            let client = server.client().await;
            for path in ["/clean", "/foreign-clean", "/drop"] {
                let mut response = client.get(path).await;
                assert_eq!(response.end().await, End::Complete, "{path}");
                check_seen(&response, &story);
                assert!(response.seen.ends_with(b"\n\n") || count == 0);
            }
        })
        .await;
    }
}

#[tokio::test]
async fn without_a_layer_a_failure_is_the_same() {
    let story = Story::new(3, 1_000);
    let told = story.clone();
    let site = Site::new(move |seen| told.answer(&seen));
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        for path in FAILURES.iter().filter(|path| !path.contains("foreign")) {
            let mut response = client.get(path).await;
            assert_eq!(response.end().await, End::Broken, "{path}");
            check_seen(&response, &story);
        }
    })
    .await;
}

/// Reads as little as it takes for the stream to fail, so that the rest is in buffers then.
async fn read_slowly(response: &mut Response, failed: &AtomicBool) {
    let mut enough = 0;
    while !failed.load(Ordering::SeqCst) {
        // The server comes as far as it can.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        if failed.load(Ordering::SeqCst) {
            return;
        }
        enough += 20_000;
        while response.seen.len() < enough {
            if response.more().await.is_some() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn events_before_a_failure_arrive_at_a_client_that_stalls() {
    let sizes = [
        (1, 10),
        (40, 5_000),
        (300, 1_000),
        (7, 60_000),
        (2, crate::sizes(300_000, 4_000_000)),
    ];
    for (count, size) in sizes {
        let story = Story::new(count, size);
        let told = story.clone();
        let site = Site::new(move |seen| told.answer(&seen)).layer(SseLayer::new());
        for kind in Kind::ALL {
            let server = site.serve_tight(kind).await;
            let client = server.client().await;
            for path in ["/error", "/panic", "/foreign-error", "/clean"] {
                story.failed.store(false, Ordering::SeqCst);
                let mut response = client.get(path).await;
                soon(read_slowly(&mut response, &story.failed)).await;
                let expected = match path {
                    "/clean" => End::Complete,
                    _ => End::Broken,
                };
                assert_eq!(response.end().await, expected, "{path} {kind:?}");
                check_seen(&response, &story);
            }
            drop(client);
            server.stop().await;
        }
    }
}
