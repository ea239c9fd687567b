//! What of a handler's stream is sent on.

use std::time::Duration;

use futures_util::stream;
use tokio::time::sleep;
use tower_sse::{
    Event, EventId, EventName, Hub, LastEventId, Leaving, Resumable, Sse, SseLayer,
    store::MemoryStore,
};

use super::{Produced, SECOND, data, layer, on_each, open};
use crate::{
    servers::{Site, Streamed},
    whatwg,
};

#[tokio::test]
async fn names_data_and_times_are_kept_and_ids_replaced() {
    on_each(async |kind| {
        let produced = Produced::default();
        let site = produced.site(&Resumable::new(MemoryStore::new()));
        let mut first = open(&site, kind, None).await;
        let start = first.events(1).await[0].2.clone();
        // Cut anywhere, with each of the line breaks.
        let bytes = "\u{feff}: hello\revent: note\r\nid: 7\ndata: \u{e9}\u{1f980}\ndata\n\nretry: 1234\ndata:  x \n\nevent: sse.gap\ndata: {}\n\nevent: sse.open\ndata: {}\nid: 8\n\ndata: end\n\ndata: cut off";
        for bytes in bytes.as_bytes().chunks(3) {
            produced.send_bytes(bytes.to_vec());
        }
        produced.end();
        let first = first.rest().await;
        let again = open(&site, kind, Some(&start)).await;
        for (events, is_whole) in [first, again.rest().await] {
            assert!(is_whole);
            let events: Vec<_> = events
                .iter()
                .filter(|(name, ..)| name != "sse.open")
                .collect();
            let texts = events.iter().map(|(name, data, _)| (&**name, &**data));
            let expected = [
                ("note", "\u{e9}\u{1f980}\n"),
                ("message", " x "),
                ("sse.gap", "{}"),
                ("message", "end"),
            ];
            assert_eq!(texts.collect::<Vec<_>>(), expected);
            assert!(events.iter().all(|(.., id)| id.starts_with("r.")));
        }
        let mut again = open(&site, kind, Some(&start)).await;
        again.events(4).await;
        let parsed = whatwg::parse(&again.seen);
        assert_eq!(parsed.retry, Some(Duration::from_millis(1234)), "{kind:?}");
    })
    .await;
}

#[tokio::test]
async fn streams_of_ours_are_recorded_like_any_other() {
    on_each(async |kind| {
        let hub = Hub::new();
        let topic = hub.topic::<u32>("numbers").unwrap();
        let site = Site::new(move |_| Sse::new(hub.subscribe("numbers", LastEventId::Absent)));
        let site = site.layer(layer().resumable(MemoryStore::new()));
        let mut first = open(&site, kind, None).await;
        let start = first.events(1).await[0].2.clone();
        // Where the subscription begins is with what it sends first, which is not sent on.
        while data(&first.now()).is_empty() {
            topic.publish(&1).await.unwrap();
            tokio::task::yield_now().await;
        }
        let sent = first.now();
        assert!(sent[1..].iter().all(|(name, ..)| name == "message"));
        let mut again = open(&site, kind, Some(&start)).await;
        assert_eq!(again.events(1).await[0], sent[1]);
    })
    .await;
    on_each(async |kind| {
        let event = || {
            let event = Event::new("x").name(EventName::from_static("note"));
            event.id(EventId::from_static("7"))
        };
        let site = Site::new(move |_| Sse::new(stream::iter([event()])));
        let site = site.layer(layer().resumable(MemoryStore::new()));
        let (events, is_whole) = open(&site, kind, None).await.rest().await;
        assert!(is_whole);
        assert_eq!((&*events[1].0, &*events[1].1), ("note", "x"));
        assert!(events[1].2.starts_with("r."));
    })
    .await;
}

#[tokio::test]
async fn without_ids_a_stream_keeps_its_shape() {
    on_each(async |kind| {
        let produced = Produced::default();
        let site = produced.site(&Resumable::new(MemoryStore::new()).without_ids());
        let client = open(&site, kind, None).await;
        produced.send(r#"{"choices":[]}"#);
        produced.send("[DONE]");
        produced.end();
        let text = client.body.text().await;
        let lines = text.lines().filter(|line| !line.starts_with("retry: "));
        let expected = [":", r#"data: {"choices":[]}"#, "", "data: [DONE]", ""];
        assert_eq!(lines.collect::<Vec<_>>(), expected, "{kind:?}");
        // One that fails breaks off, without a word.
        let client = open(&site, kind, None).await;
        produced.send("0");
        produced.fail();
        let (events, is_whole) = client.rest().await;
        assert_eq!(
            (data(&events), events.len(), is_whole),
            (vec!["0"], 1, false)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_ids_an_abandoned_stream_does_not_look_whole() {
    on_each(async |kind| {
        let produced = Produced::default();
        let resumable = Resumable::new(MemoryStore::new()).leaving(Leaving::Cancel);
        let resumable = resumable
            .without_ids()
            .idempotency_key(|_| Some("1".into()));
        let site = produced.site(&resumable);
        let mut first = open(&site, kind, None).await;
        produced.send("0");
        assert_eq!(data(&first.events(1).await), ["0"]);
        drop(first);
        sleep(SECOND).await;
        assert_eq!(produced.alive(), 0);
        let (events, is_whole) = open(&site, kind, None).await.rest().await;
        assert_eq!(
            (data(&events), events.len(), is_whole),
            (vec!["0"], 1, false)
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_ids_who_is_sent_away_is_told_nothing() {
    on_each(async |kind| {
        let produced = Produced::default();
        let resumable = Resumable::new(MemoryStore::new()).without_ids();
        let layer = layer().resumable(resumable).max_age(SECOND);
        let site = produced.handler().layer(layer);
        let client = open(&site, kind, None).await;
        produced.send("0");
        let (events, is_whole) = client.rest().await;
        assert_eq!(
            (data(&events), events.len(), is_whole),
            (vec!["0"], 1, false)
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_compressed_is_not_recorded() {
    on_each(async |kind| {
        let site = Site::new(|_| Streamed {
            headers: vec![
                ("content-type", "text/event-stream"),
                ("content-encoding", "gzip"),
            ],
            stream: stream::iter([Ok("not really".into())]),
        });
        let site = site.layer(layer().resumable(MemoryStore::new()));
        let client = open(&site, kind, None).await;
        assert_eq!(client.body.text().await, "not really");
    })
    .await;
}

#[tokio::test]
async fn other_responses_pass() {
    on_each(async |kind| {
        let site = Site::new(|_| crate::servers::Whole {
            status: 200,
            headers: vec![("content-type", "text/plain")],
            body: "text",
        });
        let site = site.layer(layer().resumable(MemoryStore::new()));
        assert_eq!(open(&site, kind, None).await.body.text().await, "text");
    })
    .await;
}

#[tokio::test]
async fn a_response_is_recorded_once_where_two_layers_would() {
    on_each(async |kind| {
        let produced = Produced::default();
        let site = produced.site(&Resumable::new(MemoryStore::new()));
        let outer = Resumable::new(MemoryStore::new()).without_subject();
        let site = site.layer(SseLayer::new().resumable(outer));
        let mut first = open(&site, kind, None).await;
        produced.send("0");
        let events = first.events(2).await;
        assert_eq!(
            events
                .iter()
                .filter(|(name, ..)| name == "sse.open")
                .count(),
            1
        );
        produced.end();
        assert_eq!(data(&first.rest().await.0), ["0"]);
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_too_large_fails_the_response() {
    let produced = Produced::default();
    let site = produced.site(&Resumable::new(MemoryStore::new()));
    on_each(async |kind| {
        let client = open(&site, kind, None).await;
        produced.send("0");
        produced.send(&"x".repeat(1024 * 1024 + 1));
        let (events, is_whole) = client.rest().await;
        assert_eq!((data(&events), is_whole), (vec!["0"], false));
        assert_eq!(super::reason(&events).1, r#"{"reason":"failed"}"#);
    })
    .await;
}
