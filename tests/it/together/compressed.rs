//! The compression of tower-http, where it leaves event streams alone and where it is told not to.

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use axum::{Router, routing::get};
use futures_util::{FutureExt, Stream, stream};
use std::fmt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tower_http::compression::{CompressionLayer, predicate::SizeAbove};
use tower_sse::{Event, Hub, Sse};

use super::{in_axum, one_event, publish, quiet};
use crate::{
    client::{End, Request},
    whatwg,
};

const ENCODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// All that can be read of a body whose end is still to come.
fn decoded(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut decoder: Box<dyn AsyncRead + Unpin + '_> = match encoding {
        "gzip" => Box::new(GzipDecoder::new(bytes)),
        "br" => Box::new(BrotliDecoder::new(bytes)),
        "zstd" => Box::new(ZstdDecoder::new(bytes)),
        other => panic!("{other}"),
    };
    let mut decoded = Vec::new();
    // An error is the end of what has come so far.
    while let Some(Ok(1..)) = decoder.read_buf(&mut decoded).now_or_never() {}
    decoded
}

#[tokio::test]
async fn streams_are_left_alone_by_default() {
    for encoding in ENCODINGS {
        let hub = Hub::new();
        let compressed = |app: Router| app.layer(CompressionLayer::new());
        in_axum(&hub, &quiet(), compressed, async |server| {
            let request = Request::get("/endless").header("accept-encoding", encoding);
            let client = server.client().await;
            let response = one_event(&hub, &client, request).await;
            assert_eq!(response.header("content-encoding"), None);
            drop(response);
            server.stop().await;
        })
        .await;
    }
}

#[tokio::test]
async fn compressed_event_arrives_while_the_stream_is_silent() {
    for encoding in ENCODINGS {
        let hub = Hub::new();
        let all = CompressionLayer::new().compress_when(SizeAbove::default());
        let compressed = |app: Router| app.layer(all.clone());
        in_axum(&hub, &quiet(), compressed, async |server| {
            let request = Request::get("/endless").header("accept-encoding", encoding);
            let mut response = server.client().await.send(request).await;
            assert_eq!(response.header("content-encoding"), Some(encoding));
            let data = [r#"{}"#, r#""first""#, r#""second""#];
            for count in 1..=data.len() {
                let events = |seen: &[u8]| whatwg::parse(&decoded(encoding, seen)).events;
                response.until(|seen| events(seen).len() >= count).await;
                let events = events(&response.seen);
                let read: Vec<_> = events.iter().map(|event| &*event.1).collect();
                assert_eq!(read, data[..count], "{encoding}");
                publish(&hub, ["first", "second", "third"][count - 1]).await;
            }
            drop(response);
            server.stop().await;
        })
        .await;
    }
}

#[tokio::test]
async fn compressed_events_before_a_failure_arrive() {
    async fn failing() -> Sse<impl Stream<Item = Result<Event, fmt::Error>>> {
        let events = [Ok(Event::new("a")), Ok(Event::new("b")), Err(fmt::Error)];
        Sse::try_new(stream::iter(events))
    }
    for encoding in ENCODINGS {
        let all = CompressionLayer::new().compress_when(SizeAbove::default());
        let compressed = |app: Router| app.route("/failing", get(failing)).layer(all.clone());
        in_axum(&Hub::new(), &quiet(), compressed, async |server| {
            let request = Request::get("/failing").header("accept-encoding", encoding);
            let mut response = server.client().await.send(request).await;
            assert_eq!(response.end().await, End::Broken);
            let events = whatwg::parse(&decoded(encoding, &response.seen)).events;
            let read: Vec<_> = events.iter().map(|event| &*event.1).collect();
            assert_eq!(read, ["a", "b"], "{encoding}");
            server.stop().await;
        })
        .await;
    }
}
