//! What a client is answered that comes back.

use std::{cell::Cell, time::Duration};

use http::Request;
use tokio::time::sleep;
use tower_sse::{Leaving, Resumable, SseLayer, store::MemoryStore};

use super::{Produced, SECOND, UNKNOWN, data, layer, on_each, open, open_as, reason};
use crate::{
    client::{self, End},
    servers::{Kind, Server, Site, on},
};

async fn come_back(server: &Server, id: &str) -> client::Response {
    let request = client::Request::get("/").header("last-event-id", id);
    server.client().await.send(request).await
}

#[tokio::test]
async fn a_client_that_comes_back_gets_the_rest_of_the_same_response() {
    let produced = Produced::default();
    let site = produced.site(&Resumable::new(MemoryStore::new()));
    let runs = Cell::new(0);
    on(&Kind::ALL, &site, async |server| {
        let mut first = server.get("/").await;
        let open = first.events(1).await.remove(0);
        assert_eq!((&*open.0, &*open.1), ("sse.open", "{}"));
        produced.send("0");
        produced.send("1");
        let events = first.events(3).await;
        assert_eq!(data(&events), ["0", "1"]);
        drop(first);
        // From its beginning, from the middle, and from the end so far.
        let mut clients = Vec::new();
        let places = [
            (&open.2, &["0", "1"][..]),
            (&events[1].2, &["1"]),
            (&events[2].2, &[]),
        ];
        for (id, expected) in places {
            let mut again = come_back(server, id).await;
            let came = again.events(expected.len()).await;
            assert_eq!(data(&came), expected);
            clients.push((again, expected.len()));
        }
        produced.send("2");
        for (again, before) in &mut clients {
            let came = again.events(*before + 1).await;
            assert_eq!(came.last().unwrap().1, "2");
        }
        produced.end();
        for (again, before) in &mut clients {
            assert_eq!(again.end().await, End::Complete);
            assert_eq!(again.parsed().events.len(), *before + 1);
        }
        // After the end, the rest is still there; and then there is nothing left.
        let mut late = come_back(server, &events[1].2).await;
        assert_eq!(late.end().await, End::Complete);
        let rest = late.parsed().events;
        assert_eq!(data(&rest), ["1", "2"]);
        let over = come_back(server, &rest[1].2).await;
        let cached = over.header("cache-control");
        assert_eq!((over.status, cached), (204, Some("no-store")));
        runs.set(runs.get() + 1);
        assert_eq!((produced.runs(), produced.alive()), (runs.get(), 0));
    })
    .await;
}

#[tokio::test]
async fn whatever_is_not_there_is_answered_with_the_same_bytes() {
    let produced = Produced::default();
    let resumable = Resumable::new(MemoryStore::new());
    let site = produced.site(&resumable);
    let runs = Cell::new(0);
    on(
        &[Kind::Tower, Kind::Axum, Kind::AxumHttp2, Kind::Actix],
        &site,
        async |server| {
            let mut first = server.get("/chat").await;
            produced.send("0");
            let id = &first.events(2).await[1].2;
            runs.set(runs.get() + 1);
            let (name, at) = id.rsplit_once('.').unwrap();
            let (epoch, offset) = at.split_once('-').unwrap();
            let ahead = offset.parse::<u64>().unwrap() + 5;
            // Of another life of the log, as after the store was wiped.
            let wiped = format!("{name}.{epoch}1-{offset}");
            let ahead = format!("{name}.{epoch}-{ahead}");
            let forged = id.replacen(|c: char| c.is_ascii_digit(), "A", 1);
            let forged = if forged == *id {
                id.replacen('r', "s", 2)
            } else {
                forged
            };
            let cases = [
                ("alice", "/chat", &*wiped),
                ("alice", "/chat", &*ahead),
                ("alice", "/chat", &*forged),
                ("bob", "/chat", id),
                ("alice", "/other", id),
                ("", "/chat", id),
            ];
            let mut answers = Vec::new();
            for (subject, path, id) in cases {
                for method in ["GET", "POST"] {
                    if method == "POST" && server.kind == Kind::Tower {
                        continue;
                    }
                    let request = client::Request::new(method, path)
                        .header("subject", subject)
                        .header("last-event-id", id);
                    let mut answer = server.client().await.send(request).await;
                    assert_eq!((answer.status, answer.end().await), (200, End::Complete));
                    assert_eq!(answer.text(), UNKNOWN, "{subject} {path} {id}");
                    // The second may have passed.
                    answer.headers.retain(|(name, _)| name != "date");
                    answers.push(answer.headers);
                }
            }
            assert!(
                answers.iter().all(|headers| *headers == answers[0]),
                "{answers:?}"
            );
            let over = client::Request::get("/other").header("last-event-id", "r.ended");
            assert_eq!(server.client().await.send(over).await.status, 204);
            assert_eq!(produced.runs(), runs.get());
            // It is still there for whom it is.
            produced.send("1");
            let request = client::Request::get(format!("/chat?lastEventId={id}"));
            let mut again = server.client().await.send(request).await;
            assert_eq!(data(&again.events(1).await), ["1"]);
            produced.end();
            first.end().await;
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_record_expires_after_its_end_and_not_before() {
    on_each(async |kind| {
        let produced = Produced::default();
        let resumable = Resumable::new(MemoryStore::new()).kept_for(100 * SECOND);
        let site = produced.site(&resumable.leaving(Leaving::Continue(Duration::MAX)));
        let mut first = open(&site, kind, None).await;
        produced.send("0");
        let id = first.events(2).await[1].2.clone();
        drop(first);
        // However long it takes.
        sleep(1000 * SECOND).await;
        produced.send("1");
        produced.end();
        let again = open(&site, kind, Some(&id)).await;
        assert_eq!(data(&again.rest().await.0), ["1"]);
        sleep(99 * SECOND).await;
        let late = open(&site, kind, Some(&id)).await;
        assert_eq!(data(&late.rest().await.0), ["1"]);
        sleep(2 * SECOND).await;
        let late = open(&site, kind, Some(&id)).await;
        assert_eq!(late.body.text().await, UNKNOWN);
    })
    .await;
}

#[tokio::test]
async fn a_route_may_run_again_for_a_client_whose_response_is_unknown() {
    on_each(async |kind| {
        let produced = Produced::default();
        let store = std::sync::Arc::new(MemoryStore::new());
        let elsewhere = produced.site(&Resumable::new(MemoryStore::new()));
        let site = produced.site(&Resumable::new(store).run_again());
        let mut before = open(&elsewhere, kind, None).await;
        let id = before.events(1).await[0].2.clone();
        let mut again = open(&site, kind, Some(&id)).await;
        produced.send("0");
        let events = again.events(2).await;
        assert_eq!(&events[0].0, "sse.gap");
        assert_eq!(&events[0].1, r#"{"reason":"unknown"}"#);
        assert_eq!((data(&events), produced.runs()), (vec!["0"], 2));
        // The gap is told once: its id is the beginning of the new response.
        let mut third = open(&site, kind, Some(&events[0].2)).await;
        let third = third.events(1).await;
        assert_eq!((data(&third), produced.runs()), (vec!["0"], 2));
        assert_eq!(third[0], events[1]);
        // What has come to its end does not run again.
        produced.end();
        let (rest, is_whole) = again.rest().await;
        assert!(is_whole);
        let server = site.serve(kind).await;
        let over = come_back(&server, &rest[1].2).await;
        assert_eq!((over.status, produced.runs()), (204, 2));
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_response_that_has_failed_is_told_to_be_so_once() {
    on_each(async |kind| {
        let produced = Produced::default();
        let site = produced.site(&Resumable::new(MemoryStore::new()));
        let mut first = open(&site, kind, None).await;
        produced.send("0");
        let id = first.events(2).await[1].2.clone();
        produced.send("1");
        produced.fail();
        for client in [first, open(&site, kind, Some(&id)).await] {
            let (events, is_whole) = client.rest().await;
            assert!(!is_whole, "{kind:?}");
            assert_eq!(events[events.len() - 2].1, "1");
            assert_eq!(reason(&events), ("sse.bye", r#"{"reason":"failed"}"#));
        }
        // With nothing but that left.
        let (events, _) = open(&site, kind, Some(&id)).await.rest().await;
        let (events, _) = open(&site, kind, Some(&events[0].2)).await.rest().await;
        assert_eq!(reason(&events), ("sse.bye", r#"{"reason":"failed"}"#));
        assert_eq!((events.len(), produced.runs()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_response_is_stopped_by_its_subject() {
    on_each(async |kind| {
        let produced = Produced::default();
        let resumable = Resumable::new(MemoryStore::new());
        let site = produced.site(&resumable);
        let mut first = open(&site, kind, None).await;
        produced.send("0");
        let id = first.events(2).await[1].2.clone();
        for (id, subject) in [
            (&*id, Some("bob")),
            (&id, None),
            ("r.ended", Some("alice")),
            ("7", Some("alice")),
        ] {
            assert!(!resumable.stop(id, subject).await.unwrap());
        }
        assert_eq!(produced.alive(), 1);
        assert!(resumable.stop(&id, Some("alice")).await.unwrap());
        let (events, is_whole) = first.rest().await;
        assert_eq!(reason(&events), ("sse.bye", r#"{"reason":"cancelled"}"#));
        assert!(is_whole);
        assert_eq!(produced.alive(), 0);
        let (again, is_whole) = open(&site, kind, Some(&id)).await.rest().await;
        assert!(is_whole);
        assert_eq!(again, events[2..]);
        assert!(!resumable.stop(&id, Some("alice")).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn ids_of_others_reach_the_handler() {
    on_each(async |kind| {
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let log = std::sync::Arc::clone(&seen);
        let site = Site::new(move |request| {
            log.lock().unwrap().push(format!("{:?}", request.last));
            tower_sse::Sse::new(futures_util::stream::iter([1]))
        });
        let site = site.layer(layer().resumable(MemoryStore::new()));
        for id in ["7", "9f2c-42", "r.7", "r."] {
            let (events, _) = open(&site, kind, Some(id)).await.rest().await;
            assert_eq!(data(&events), ["1"]);
            let last = seen.lock().unwrap().pop().unwrap();
            assert!(last.contains(id), "{last}");
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_subject_a_response_is_recorded_only_if_that_is_said() {
    on_each(async |kind| {
        let produced = Produced::default();
        let handler = produced.handler();
        let plain = handler
            .clone()
            .layer(SseLayer::new().resumable(MemoryStore::new()));
        let mut client = open(&plain, kind, None).await;
        produced.send("0");
        assert_eq!(client.events(1).await[0].2, "");
        let resumable = Resumable::new(MemoryStore::new()).without_subject();
        let site = handler.layer(SseLayer::new().resumable(resumable));
        let mut client = open(&site, kind, None).await;
        produced.send("0");
        let id = client.events(2).await[0].2.clone();
        let mut again = open(&site, kind, Some(&id)).await;
        assert_eq!(data(&again.events(1).await), ["0"]);
    })
    .await;
}

#[tokio::test]
async fn a_head_alone_is_not_recorded() {
    for kind in [Kind::Tower, Kind::Axum] {
        let produced = Produced::default();
        let resumable = Resumable::new(MemoryStore::new());
        let site = produced.site(&resumable);
        let request = Request::head("/").body(()).unwrap();
        let client = open_as(&site, kind, request).await;
        assert_eq!(
            client.body.header("content-type"),
            Some("text/event-stream")
        );
        assert_eq!(client.body.text().await, "");
        assert_eq!(produced.alive(), 0);
        assert!(format!("{resumable:?}").contains("Resumable"));
    }
}
