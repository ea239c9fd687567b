//! The head of a response, and what goes out before the first event.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::stream;
use tower_sse::{Denial, Grant, RequestView, Sse, SseLayer, StatusCode};

use crate::{
    client::{End, Protocol, Request, Response},
    servers::{Answer, Kind, Seen, Server, Site, Streamed, Whole, on},
};

/// A stream of ours or of somebody else, by the path, that never has an event.
fn silent(seen: Seen) -> Box<dyn Answer> {
    match &*seen.path {
        "/ours" => Box::new(Sse::new(stream::pending::<u32>())),
        _ => Box::new(Streamed {
            headers: vec![("content-type", "text/event-stream")],
            stream: stream::pending(),
        }),
    }
}

#[track_caller]
fn check_head(response: &Response) {
    assert_eq!(response.status, 200);
    for (name, value) in [
        ("content-type", Some("text/event-stream")),
        ("cache-control", Some("no-cache, no-transform")),
        ("x-accel-buffering", Some("no")),
        ("content-length", None),
    ] {
        assert_eq!(response.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn head_and_a_comment_line_come_before_any_event() {
    let bare = Site::new(silent);
    let layered = bare.clone().layer(SseLayer::new());
    let twice = layered.clone().layer(SseLayer::new());
    for (site, layers) in [(bare, 0), (layered, 1), (twice, 2)] {
        on(&Kind::ALL, &site, async |server| {
            for path in ["/ours", "/foreign"] {
                if path == "/foreign" && layers == 0 {
                    continue;
                }
                let mut response = server.get(path).await;
                check_head(&response);
                let http1 = server.kind.protocol() == Protocol::Http11;
                let chunked = http1.then_some("chunked");
                assert_eq!(response.header("transfer-encoding"), chunked);
                // Actix writes its own, and by default it writes none.
                let keeps_alive = layers > 0 && http1 && server.kind != Kind::Actix;
                let keep_alive = keeps_alive.then_some("keep-alive");
                assert_eq!(response.header("connection"), keep_alive);

                response.until(|seen| !seen.is_empty()).await;
                assert_eq!(response.text(), ":\n");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn connection_is_named_on_http_1_1_only() {
    let site = Site::new(silent).layer(SseLayer::new());
    for (version, expected) in [
        (http::Version::HTTP_09, None),
        (http::Version::HTTP_10, None),
        (http::Version::HTTP_11, Some("keep-alive")),
        (http::Version::HTTP_2, None),
        (http::Version::HTTP_3, None),
    ] {
        for kind in [Kind::Tower, Kind::Axum] {
            for path in ["/ours", "/foreign"] {
                let request = http::Request::builder().version(version).uri(path);
                let response = site.call(kind, request.body(()).unwrap()).await;
                assert_eq!(response.header("connection"), expected, "{version:?}");
            }
        }
    }
}

#[tokio::test]
async fn headers_of_the_handler_stay() {
    let site = Site::new(|_| Streamed {
        headers: vec![
            ("content-type", "Text/Event-Stream; charset=utf-8"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "yes"),
            ("content-length", "5"),
            ("access-control-allow-origin", "*"),
        ],
        stream: stream::pending(),
    });
    let site = site.layer(SseLayer::new());
    for kind in Kind::FRAMEWORKS {
        let response = site.get(kind).await;
        for (name, value) in [
            ("content-type", Some("Text/Event-Stream; charset=utf-8")),
            ("cache-control", Some("no-store")),
            ("x-accel-buffering", Some("yes")),
            ("content-length", None),
            ("access-control-allow-origin", Some("*")),
        ] {
            assert_eq!(response.header(name), value, "{name} in {kind:?}");
        }
    }
}

#[tokio::test]
async fn http_1_0_gets_a_body_that_the_connection_ends() {
    let site = Site::new(|_| Sse::new(stream::iter([1, 2])));
    let kinds = [Kind::Tower, Kind::PlainIo, Kind::Axum, Kind::Actix];
    for site in [site.clone(), site.layer(SseLayer::new())] {
        on(&kinds, &site, async |server| {
            let client = server.client_of(Protocol::Http10).await;
            for connection in ["close", "keep-alive"] {
                let request = Request::get("/").header("connection", connection);
                let mut response = client.send(request).await;
                check_head(&response);
                assert_eq!(response.header("transfer-encoding"), None);
                // Hyper promises to keep the connection, to a client that asks, and then does not.
                if connection == "close" {
                    assert_ne!(response.header("connection"), Some("keep-alive"));
                }
                assert_eq!(response.end().await, End::Closed);
                assert_eq!(response.parsed().events.len(), 2);
                assert!(response.text().starts_with(":\n"));
                assert!(response.text().ends_with("data: 2\n\n"));
            }
        })
        .await;
    }
}

#[tokio::test]
async fn head_request_gets_the_head_and_the_stream_is_not_polled() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let site = Site::new(move |seen| -> Box<dyn Answer> {
        let polls = Arc::clone(&counted);
        match &*seen.path {
            "/ours" => Box::new(Sse::new(stream::poll_fn(move |_| {
                polls.fetch_add(1, Ordering::SeqCst);
                Poll::<Option<u32>>::Pending
            }))),
            _ => silent(seen),
        }
    });
    let story = async |server: &Server, path| {
        let request = Request::new("HEAD", path).header("connection", "close");
        let mut response = server.client().await.send(request).await;
        check_head(&response);
        assert_ne!(response.end().await, End::Broken);
        assert_eq!(response.text(), "");
        assert_eq!(polls.load(Ordering::SeqCst), 0);
    };
    let layered = site.clone().layer(SseLayer::new());
    on(&Kind::ALL, &layered, async |server| {
        story(server, "/ours").await;
        story(server, "/foreign").await;
    })
    .await;
    on(&Kind::ALL, &site, async |server| {
        // Over HTTP/2 hyper leaves the body of a HEAD to its services.
        if server.kind != Kind::TowerHttp2 {
            story(server, "/ours").await;
        }
    })
    .await;
}

#[tokio::test]
async fn post_is_answered_like_get() {
    let site = Site::new(|_| Sse::new(stream::iter(["a", "b"]))).layer(SseLayer::new());
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        let request = Request::new("POST", "/").header("content-length", "0");
        let mut response = client.send(request).await;
        check_head(&response);
        assert_eq!(response.end().await, End::Complete);
        assert_eq!(response.parsed().events.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn preflight_passes_without_the_hook() {
    let allowed = Whole {
        status: 204,
        headers: vec![("access-control-allow-headers", "last-event-id")],
        body: "",
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let layer = SseLayer::new()
        .strict_accept()
        .authorize(move |_: RequestView| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Err::<Grant, _>(Denial::refuse(StatusCode::FORBIDDEN, "")) }
        });
    let site = Site::new(move |_| allowed.clone()).layer(layer);
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        asked.store(0, Ordering::SeqCst);
        for (method, status, hooks) in [("OPTIONS", 204, 0), ("GET", 403, 1)] {
            let request = Request::new(method, "/").header("connection", "close");
            let response = client.send(request).await;
            assert_eq!(response.status, status);
            assert_eq!(asked.load(Ordering::SeqCst), hooks, "{method}");
        }
    })
    .await;
}

/// A response as it was received, but for what differs from one to the next.
async fn received(mut response: Response) -> (u16, Vec<(String, String)>, String, End) {
    let end = response.end().await;
    let text = response.text().to_owned();
    let mut headers = response.headers;
    headers.retain(|(name, _)| name != "date");
    headers.sort_unstable();
    (response.status, headers, text, end)
}

#[tokio::test]
async fn every_other_response_passes_as_it_is() {
    let whole = |status, headers: &[_], body| Whole {
        status,
        headers: headers.to_vec(),
        body,
    };
    let json = ("content-type", "application/json");
    let stream = ("content-type", "text/event-stream");
    let cases = [
        whole(200, &[json], r#"{"a":1}"#),
        whole(200, &[], ""),
        whole(200, &[("content-type", "text/event-stream-like")], "data"),
        whole(
            200,
            &[("content-type", "text/plain; text/event-stream")],
            "data",
        ),
        whole(404, &[("x-accel-buffering", "yes")], "not here\n"),
        whole(503, &[("retry-after", "3"), json], "{}"),
        whole(302, &[("location", "/elsewhere")], ""),
        whole(204, &[("cache-control", "no-store")], ""),
        // The end of all reconnecting, from a handler that names the type nevertheless.
        whole(204, &[("cache-control", "no-store"), stream], ""),
    ];
    let handler = {
        let cases = cases.clone();
        move |seen: Seen| -> Box<dyn Answer> {
            match seen.path[1..].parse::<usize>() {
                Ok(case) => Box::new(cases[case].clone()),
                Err(_) => Box::new(Streamed {
                    headers: vec![("content-type", "application/json")],
                    stream: stream::iter([Ok("[1,".into()), Ok("2]".into())]),
                }),
            }
        }
    };
    let bare = Site::new(handler);
    let layered = bare.clone().layer(SseLayer::new()).layer(SseLayer::new());
    let paths = (0..cases.len()).map(|case| format!("/{case}"));
    let paths: Vec<_> = paths.chain(["/streamed".to_owned()]).collect();
    for kind in Kind::ALL {
        let (bare, layered) = (bare.serve(kind).await, layered.serve(kind).await);
        for path in &paths {
            for method in ["GET", "POST", "HEAD"] {
                // Where there is no body to wait for, the end of the connection is waited for.
                let request = Request::new(method, path).header("connection", "close");
                let request = match method {
                    "POST" => request.header("content-length", "0"),
                    _ => request,
                };
                let expected = received(bare.client().await.send(request.clone()).await).await;
                let seen = received(layered.client().await.send(request).await).await;
                assert_eq!(seen, expected, "{method} {path} in {kind:?}");
            }
        }
        bare.stop().await;
        layered.stop().await;
    }
}

#[tokio::test]
async fn heartbeat_of_the_layer_does_not_delay_the_head() {
    // Neither of what the layer adds waits for the other.
    for heartbeat in [Some(Duration::from_nanos(1)), Some(Duration::MAX), None] {
        let site = Site::new(silent).layer(SseLayer::new().heartbeat(heartbeat));
        for kind in Kind::FRAMEWORKS {
            let mut response = site.get(kind).await;
            assert_eq!(response.bytes().await, ":\n");
        }
    }
}
