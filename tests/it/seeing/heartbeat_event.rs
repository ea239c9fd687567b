//! Heartbeats that a page can see.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::timeout;
use tower_sse::{Hub, Sse, SseLayer};

use super::{Reports, SECOND, events};
use crate::{
    servers::{Answer, Kind, Local, Site, Streamed},
    whatwg,
};

const HEARTBEAT: &str = "event: sse.heartbeat\ndata: {}\n\n";

async fn all(response: &mut Local, seconds: u32) -> Vec<Bytes> {
    let mut seen = Vec::new();
    let read = async {
        while let Some(Ok(piece)) = response.next().await {
            seen.push(piece);
        }
    };
    assert!(timeout(seconds * SECOND + SECOND / 2, read).await.is_err());
    seen
}

#[tokio::test(start_paused = true)]
async fn heartbeat_is_an_event_only_where_it_is_asked_for() {
    for (asked, expected) in [(false, ":\n"), (true, HEARTBEAT)] {
        let layer = match asked {
            false => SseLayer::new(),
            true => SseLayer::new().heartbeat_event(),
        };
        let site = Site::new(|_| Sse::new(events(0))).layer(layer);
        for kind in Kind::FRAMEWORKS {
            let seen = all(&mut site.get(kind).await, 45).await;
            assert_eq!(seen, [":\n", expected, expected, expected], "{kind:?}");
        }
    }
}

/// The bytes that a stream of others stands still after, and whether an event may follow them.
#[tokio::test(start_paused = true)]
async fn heartbeat_breaks_no_event_of_others() {
    for (before, behind, beat) in [
        ("", "data: a\n\n", Some(HEARTBEAT)),
        ("data: a\n\n", "data: b\n\n", Some(HEARTBEAT)),
        ("data: a\r\n\r\n", "data: b\n\n", Some(HEARTBEAT)),
        ("data: a\n", "data: b\n\n", Some(":\n")),
        ("event: a\n", "data: b\n\n", Some(":\n")),
        (": comment\n", "data: b\n\n", Some(":\n")),
        ("data: a", "b\n\n", None),
        // The line feed may still come.
        ("data: a\r\n\r", "\ndata: b\n\n", None),
    ] {
        let site = Site::new(move |_| -> Box<dyn Answer> {
            let late = stream::once(async move {
                tokio::time::sleep(20 * SECOND).await;
                Ok(Bytes::from_static(behind.as_bytes()))
            });
            let first = stream::iter([Ok(before.into())]);
            Box::new(Streamed {
                headers: vec![("content-type", "text/event-stream")],
                stream: first.chain(late).chain(stream::pending()),
            })
        });
        let site = site.layer(SseLayer::new().heartbeat_event());
        for kind in Kind::FRAMEWORKS {
            let seen = all(&mut site.get(kind).await, 21).await.concat();
            let text = str::from_utf8(&seen).unwrap();
            let beats = text.matches(HEARTBEAT).count();
            assert_eq!(beats, usize::from(beat == Some(HEARTBEAT)), "{text:?}");
            // Behind the comment that each stream begins with.
            let comments = text[2..].matches(":\n").count();
            assert_eq!(comments > 0, beat == Some(":\n"), "{before:?} {text:?}");
            let theirs = whatwg::parse(format!("{before}{behind}").as_bytes()).events;
            let mut all = whatwg::parse(&seen).events;
            all.retain(|event| event.0 != "sse.heartbeat");
            assert_eq!(all, theirs, "{text:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeat_moves_no_position_and_counts_as_no_event() {
    let hub = Hub::new();
    let topic = hub.topic("topic").unwrap();
    let id = topic.publish(&1).await.unwrap();
    let reports = Reports::default();
    let site = {
        let hub = hub.clone();
        Site::new(move |seen| {
            Sse::new(
                hub.subscribe("topic", seen.last)
                    .start(tower_sse::Start::All),
            )
        })
    };
    let site = site.layer(reports.layer().heartbeat_event());
    for kind in Kind::FRAMEWORKS {
        let mut response = site.get(kind).await;
        let seen = all(&mut response, 40).await.concat();
        let events = whatwg::parse(&seen).events;
        let names: Vec<_> = events.iter().map(|event| &*event.0).collect();
        assert_eq!(names, ["message", "sse.heartbeat", "sse.heartbeat"]);
        assert!(events.iter().all(|event| event.2 == id.to_string()));
        drop(response);
        assert_eq!(reports.one().events(), 1);
    }
}
