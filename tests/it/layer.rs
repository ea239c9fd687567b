//! What the layer adds to a stream, and what it decides before there is one.

mod authorize;
mod heartbeat;
mod stop;
#[cfg(feature = "tickets")]
mod tickets;
mod tokens;
mod topics;

use std::{
    collections::HashSet,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, routing::get};
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use tower::{Layer, Service, ServiceExt};
use tower_sse::{Denial, Event, EventName, Grant, RequestView, Sse, SseLayer, StatusCode};

use crate::{
    client::End,
    servers::{Answer, Kind, Site, Streamed, on},
};

/// The reconnection times of a body, each of which must stand in the block of an event.
#[track_caller]
fn retries(body: &str) -> Vec<u64> {
    let mut retries = Vec::new();
    for block in body.split("\n\n") {
        let mut lines = block.lines();
        let retry = lines.find_map(|line| line.strip_prefix("retry: "));
        if let Some(retry) = retry {
            assert!(block.contains("data"), "{body}");
            retries.push(retry.parse().unwrap());
        }
    }
    assert_eq!(retries.len(), body.matches("retry").count(), "{body}");
    retries
}

fn two_events(foreign: bool) -> Site {
    Site::new(move |_| -> Box<dyn Answer> {
        match foreign {
            false => Box::new(Sse::new(stream::iter([Event::new("a"), Event::new("b")]))),
            true => Box::new(Streamed {
                headers: vec![("content-type", "text/event-stream")],
                stream: stream::iter([Ok(": hi\n\ndata: a\n\n".into()), Ok("data:b\n\n".into())]),
            }),
        }
    })
}

#[tokio::test]
async fn reconnection_time_comes_once_with_the_first_event_and_differs() {
    for foreign in [false, true] {
        let site = two_events(foreign).layer(SseLayer::new());
        on(&Kind::ALL, &site, async |server| {
            let client = server.client().await;
            let mut seen = HashSet::new();
            for _ in 0..8 {
                let mut response = client.get("/").await;
                assert_eq!(response.end().await, End::Complete);
                let retry = retries(response.text());
                assert_eq!(retry.len(), 1, "{}", response.text());
                assert!((2000..=4000).contains(&retry[0]), "{retry:?}");
                let first = response.text().find("\n\ndata").unwrap();
                let last = response.text().rfind("\n\ndata").unwrap();
                let at = response.text().find("retry").unwrap();
                assert!(if foreign { first < at } else { true } && at < last);
                seen.insert(retry[0]);
            }
            assert!(seen.len() > 1, "{seen:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn reconnection_time_stays_in_its_range_and_is_never_zero() {
    let millis = Duration::from_millis;
    for (range, lowest, highest) in [
        (Duration::ZERO..=Duration::ZERO, 1, 1),
        (Duration::ZERO..=Duration::from_nanos(1), 1, 1),
        (millis(1234)..=millis(1234), 1234, 1234),
        (millis(10)..=millis(12), 10, 12),
        // The end before the start.
        (millis(12)..=millis(10), 12, 12),
        (Duration::MAX..=Duration::MAX, 86_400_000, u64::MAX),
        (Duration::ZERO..=Duration::MAX, 1, u64::MAX),
    ] {
        for foreign in [false, true] {
            let site = two_events(foreign).layer(SseLayer::new().retry(range.clone()));
            for kind in Kind::FRAMEWORKS {
                for _ in 0..20 {
                    let body = site.get(kind).await.text().await;
                    let [retry] = retries(&body)[..] else {
                        panic!("{body}");
                    };
                    assert!((lowest..=highest).contains(&retry), "{retry} {range:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn reconnection_time_of_the_handler_wins() {
    let own = |text: &str| Event::new(text).retry(Duration::from_secs(9));
    let events = [
        vec![own("a"), Event::new("b")],
        vec![own("a").comment("c\nd").name(EventName::from_static("n"))],
        vec![Event::new("a"), own("b")],
        vec![Event::new("a"), Event::new("b"), own("c"), Event::new("d")],
    ];
    for events in events {
        let ours = events.clone();
        let ours = Site::new(move |_| Sse::new(stream::iter(ours.clone())));
        let foreign = Site::new(move |_| {
            let bytes = events.iter().map(|event| Ok(event.encode()));
            Streamed {
                headers: vec![("content-type", "text/event-stream")],
                stream: stream::iter(bytes.collect::<Vec<_>>()),
            }
        });
        for site in [ours, foreign] {
            let site = site.layer(SseLayer::new());
            for kind in Kind::FRAMEWORKS {
                let body = site.get(kind).await.text().await;
                let retry = crate::whatwg::parse(body.as_bytes()).retry;
                assert_eq!(retry, Some(Duration::from_secs(9)), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn two_layers_decorate_once() {
    let inner = SseLayer::new().retry(Duration::from_secs(1)..=Duration::from_secs(1));
    let outer = SseLayer::new().retry(Duration::from_secs(2)..=Duration::from_secs(2));
    for foreign in [false, true] {
        let site = two_events(foreign).layer(inner.clone());
        for kind in Kind::FRAMEWORKS {
            let once = site.get(kind).await.text().await;
            assert_eq!(retries(&once), [1000], "{once}");
            let twice = site.clone().layer(outer.clone());
            assert_eq!(twice.get(kind).await.text().await, once, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn encoded_stream_gets_headers_only() {
    // The bytes matter to nobody but the client.
    let body = "data: a\n\n\r\r\u{feff}";
    for (encoding, untouched) in [("gzip", true), ("BR", true), ("Identity", false)] {
        let site = Site::new(move |_| Streamed {
            headers: vec![
                ("content-type", "text/event-stream"),
                ("content-encoding", encoding),
            ],
            stream: stream::iter([Ok(body.into())]),
        });
        let site = site.layer(SseLayer::new().heartbeat(Duration::from_nanos(1)));
        on(&Kind::ALL, &site, async |server| {
            let mut response = server.get("/").await;
            assert_eq!(response.header("content-encoding"), Some(encoding));
            assert_eq!(response.header("x-accel-buffering"), Some("no"));
            assert_eq!(response.end().await, End::Complete);
            assert_eq!(response.text() == body, untouched, "{encoding}");
        })
        .await;
    }
}

#[tokio::test]
async fn layer_and_route_layer_differ_where_there_is_no_route() {
    async fn events() -> Sse<impl futures_util::Stream<Item = u32>> {
        Sse::new(stream::iter([1]))
    }
    let refusing = SseLayer::new().authorize(|_: RequestView| async {
        Err::<Grant, _>(Denial::refuse(StatusCode::UNAUTHORIZED, "who?"))
    });
    let routes = || Router::new().route("/events", get(events));
    for (app, events, elsewhere) in [
        (routes().layer(SseLayer::new()), 200, 404),
        (routes().route_layer(SseLayer::new()), 200, 404),
        (routes().layer(refusing.clone()), 401, 401),
        (routes().route_layer(refusing), 401, 404),
    ] {
        for (path, status) in [("/events", events), ("/elsewhere", elsewhere)] {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            if status == 200 {
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let body = str::from_utf8(&body).unwrap();
                assert_eq!(retries(body).len(), 1);
            }
        }
    }
}

/// A service that must be polled ready before each call, as Tower has it. A clone is not ready.
#[derive(Debug, Default)]
struct Careful {
    ready: bool,
}

impl Clone for Careful {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Careful {
    type Response = Response<Empty<bytes::Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        assert!(self.ready, "a service was called that was not ready");
        self.ready = false;
        ready(Ok(Response::new(Empty::new())))
    }
}

#[tokio::test]
async fn service_that_was_polled_ready_is_the_one_that_is_called() {
    let plain = SseLayer::new();
    let asking = plain.clone().authorize(|_: RequestView| async {
        tokio::task::yield_now().await;
        Ok(Grant::new())
    });
    for layer in [plain, asking] {
        let mut service = layer.layer(layer.layer(Careful::default()));
        for _ in 0..3 {
            let called = service.ready().await.unwrap().call(Request::new(()));
            assert_eq!(called.await.unwrap().status(), 200);
        }
        // Two at the same time, of which the second was polled ready after the first was called.
        let first = service.ready().await.unwrap().call(Request::new(()));
        let second = service.ready().await.unwrap().call(Request::new(()));
        let (second, first) = (second.await, first.await);
        assert!(second.is_ok() && first.is_ok());
    }
}

#[tokio::test]
async fn events_of_many_pieces_are_joined_and_read_back_to_the_byte() {
    let texts = [
        "",
        "a",
        " a",
        "\n",
        "a\r\nb",
        "ü\u{feff}\u{2028}\0",
        "data: x",
        ":",
        "id: 7",
    ];
    let texts: Vec<String> = (0..crate::sizes(5_000, 200_000))
        .map(|index| format!("{index}{}", texts[index % texts.len()]))
        .collect();
    let expected: Vec<_> = texts
        .iter()
        .map(|text| {
            let data = text.replace("\r\n", "\n");
            ("message".to_owned(), data, String::new())
        })
        .collect();
    let site = Site::new(move |_| {
        let texts = texts.clone();
        // Ready and pending by turns, so that some are joined.
        let events = stream::iter(texts)
            .enumerate()
            .then(|(index, text)| async move {
                if index % 100 == 99 {
                    tokio::task::yield_now().await;
                }
                Event::new(text)
            });
        Sse::new(events)
    });
    on(&Kind::ALL, &site.layer(SseLayer::new()), async |server| {
        let mut response = server.get("/").await;
        assert_eq!(response.end().await, End::Complete);
        assert!(response.parsed().events == expected);
    })
    .await;
}
