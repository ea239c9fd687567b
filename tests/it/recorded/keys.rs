//! Responses that the application has a name for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::Request;
use tower_sse::{RequestView, Resumable, store::MemoryStore};

use super::{Produced, data, layer, on_each, open_as};
use crate::servers::{Answer, Site, Whole};

fn keyed() -> Resumable {
    Resumable::new(MemoryStore::new()).idempotency_key(|request: &RequestView| {
        let key = str::from_utf8(request.header("idempotency-key")?).ok()?;
        Some(key.to_owned())
    })
}

fn asks(key: &str, subject: &str) -> Request<()> {
    let request = Request::get("/").header("idempotency-key", key);
    request.header("subject", subject).body(()).unwrap()
}

#[tokio::test]
async fn requests_with_one_key_have_one_producer() {
    on_each(async |kind| {
        let produced = Produced::default();
        let site = produced.site(&keyed());
        let mut first = open_as(&site, kind, asks("a", "alice")).await;
        produced.send("0");
        assert_eq!(data(&first.events(2).await), ["0"]);
        // It is sent all from the beginning, with the same ids.
        let mut second = open_as(&site, kind, asks("a", "alice")).await;
        let seen = second.events(1).await;
        assert_eq!(seen[0], first.events(2).await[1]);
        assert_eq!(produced.runs(), 1);
        // Others have others.
        for (key, subject) in [("b", "alice"), ("a", "bob")] {
            let other = open_as(&site, kind, asks(key, subject)).await;
            produced.end();
            assert_eq!(data(&other.rest().await.0), [""; 0]);
        }
        assert_eq!(produced.runs(), 3);
        produced.send("1");
        produced.end();
        for client in [
            first,
            second,
            open_as(&site, kind, asks("a", "alice")).await,
        ] {
            let (events, is_whole) = client.rest().await;
            assert_eq!((data(&events), is_whole), (vec!["0", "1"], true));
        }
        assert_eq!(produced.runs(), 3);
    })
    .await;
}

#[tokio::test]
async fn who_came_for_another_response_is_told_so_before_the_one_that_is_there() {
    on_each(async |kind| {
        let produced = Produced::default();
        let site = produced.site(&keyed().run_again());
        let mut first = open_as(&site, kind, asks("a", "alice")).await;
        produced.send("0");
        first.events(2).await;
        let unknown = format!("r.{}.1-1", "A".repeat(30));
        let request = Request::get("/").header("idempotency-key", "a");
        let request = request.header("last-event-id", unknown).body(()).unwrap();
        let mut again = open_as(&site, kind, request).await;
        let events = again.events(2).await;
        assert_eq!(
            (&*events[0].0, &*events[0].1),
            ("sse.gap", r#"{"reason":"unknown"}"#)
        );
        assert_eq!((data(&events), produced.runs()), (vec!["0"], 1));
        assert_eq!(events[1], first.events(2).await[1]);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_is_lost_before_the_head_finds_its_response() {
    on_each(async |kind| {
        let produced = Produced::default();
        let site = produced.site(&keyed());
        // It asks, and is gone before there is an answer.
        {
            let mut asking = Box::pin(open_as(&site, kind, asks("a", "alice")));
            while produced.runs() == 0 {
                assert!(futures_util::poll!(&mut asking).is_pending());
                tokio::task::yield_now().await;
            }
        }
        produced.send("0");
        let mut again = open_as(&site, kind, asks("a", "alice")).await;
        let events = again.events(1).await;
        assert_eq!((data(&events), produced.runs()), (vec!["0"], 1));
    })
    .await;
}

#[tokio::test]
async fn a_key_is_free_again_where_there_was_no_stream() {
    on_each(async |kind| {
        let produced = Produced::default();
        let asked = Arc::new(AtomicUsize::new(0));
        let (streams, times) = (produced.clone(), Arc::clone(&asked));
        let site = Site::new(move |_| -> Box<dyn Answer> {
            if times.fetch_add(1, Ordering::Relaxed) == 0 {
                return Box::new(Whole {
                    status: 503,
                    headers: vec![("content-type", "text/plain")],
                    body: "later",
                });
            }
            Box::new(crate::servers::Streamed {
                headers: vec![("content-type", "text/event-stream")],
                stream: streams.stream(),
            })
        });
        let site = site.layer(layer().resumable(keyed()));
        let first = open_as(&site, kind, asks("a", "alice")).await;
        assert_eq!(first.body.text().await, "later");
        loop {
            let mut client = open_as(&site, kind, asks("a", "alice")).await;
            if asked.load(Ordering::Relaxed) == 1 {
                // It has come before the key was free, and was told that there is nothing.
                continue;
            }
            produced.send("0");
            assert_eq!(data(&client.events(2).await), ["0"]);
            break;
        }
    })
    .await;
}
