//! Layers of tower-http around the layer of this crate, and within it.

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderName, Response, header},
    routing::get,
};
use tokio::{sync::mpsc, time::sleep};
use tower_http::{
    catch_panic::CatchPanicLayer, cors::CorsLayer, timeout::TimeoutLayer, trace::TraceLayer,
};
use tower_sse::{Hub, StatusCode};
use tracing::Span;

use super::{PAGE, check_cors, guarded, in_axum, one_event, publish, quiet};
use crate::client::{End, Request, soon};

#[tokio::test]
async fn page_of_another_origin_may_resume() {
    let hub = Hub::new();
    let cors = CorsLayer::new()
        .allow_origin([PAGE.parse().unwrap()])
        .allow_headers([
            header::AUTHORIZATION,
            HeaderName::from_static("last-event-id"),
        ]);
    let allowing = |app: Router| app.layer(cors.clone());
    let mut readable = Vec::new();
    in_axum(&hub, &guarded(), allowing, async |server| {
        readable.push(check_cors(&hub, &server.client().await).await);
        server.stop().await;
    })
    .await;
    assert_eq!(readable, [true, false]);
}

/// Reads a trace up to the entry that has this in it.
async fn traced(trace: &mut mpsc::UnboundedReceiver<String>, wanted: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        seen.push(soon(trace.recv()).await.unwrap());
        if seen.last().unwrap().contains(wanted) {
            return seen;
        }
    }
}

#[tokio::test]
async fn trace_of_a_stream_has_its_head_its_events_and_its_end() {
    let hub = Hub::new();
    let (sender, mut trace) = mpsc::unbounded_channel();
    let [head, chunk, end] = [(); 3].map(|()| sender.clone());
    let layer = TraceLayer::new_for_http()
        .on_response(move |response: &Response<_>, _: Duration, _: &Span| {
            head.send(response.status().to_string()).unwrap();
        })
        .on_body_chunk(move |bytes: &Bytes, _: Duration, _: &Span| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            chunk.send(text).unwrap();
        })
        .on_eos(move |_: Option<&HeaderMap>, _: Duration, _: &Span| {
            end.send("end".to_owned()).unwrap();
        });
    let tracing = |app: Router| app.layer(layer.clone());
    in_axum(&hub, &quiet(), tracing, async |server| {
        let client = server.client().await;
        for (path, end) in [("/ending", End::Complete), ("/panicking", End::Broken)] {
            let mut response = one_event(&hub, &client, Request::get(path)).await;
            assert_eq!(traced(&mut trace, "first").await[0], "200 OK");
            publish(&hub, "last").await;
            assert_eq!(response.end().await, end);
            let mut rest = Vec::new();
            while let Ok(entry) = trace.try_recv() {
                rest.push(entry);
            }
            let ended = rest.iter().any(|entry| entry == "end");
            assert_eq!(ended, end == End::Complete, "{path}: {rest:?}");
        }
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn time_for_a_response_is_not_that_of_its_stream() {
    const LIMIT: Duration = Duration::from_millis(100);
    let hub = Hub::new();
    let late = StatusCode::GATEWAY_TIMEOUT;
    let limited = |app: Router| {
        app.route("/never", get(async || std::future::pending::<()>().await))
            .layer(TimeoutLayer::with_status_code(late, LIMIT))
    };
    in_axum(&hub, &quiet(), limited, async |server| {
        let client = server.client().await;
        assert_eq!(client.get("/never").await.status, late);
        // A machine may be so busy that even this one comes too late.
        let mut response = loop {
            let response = client.get("/endless").await;
            if response.status == 200 {
                break response;
            }
        };
        response.events(1).await;
        // The limit is one of real time.
        sleep(3 * LIMIT).await;
        publish(&hub, "first").await;
        assert_eq!(response.events(2).await[1].1, r#""first""#);
        drop(response);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn panic_of_a_handler_is_a_500_and_that_of_a_stream_its_own() {
    async fn panics() -> &'static str {
        // Without a message in the output of the tests.
        std::panic::resume_unwind(Box::new("in the handler"))
    }
    let hub = Hub::new();
    let caught = |app: Router| {
        app.route("/panics", get(panics))
            .layer(CatchPanicLayer::new())
    };
    in_axum(&hub, &quiet(), caught, async |server| {
        let client = server.client().await;
        let mut neighbour = one_event(&hub, &client, Request::get("/endless")).await;
        assert_eq!(client.get("/panics").await.status, 500);
        let mut broken = one_event(&hub, &client, Request::get("/panicking")).await;
        publish(&hub, "last").await;
        assert_eq!(broken.end().await, End::Broken);
        assert_eq!(broken.parsed().events.len(), 2);
        assert_eq!(neighbour.events(4).await[3].1, r#""last""#);
        drop(neighbour);
        server.stop().await;
    })
    .await;
}
