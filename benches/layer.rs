//! What the layer costs on streams that it did not make.

#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, fmt, time::Duration};

use bytes::Bytes;
use divan::{Bencher, black_box, counter::ItemsCount};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    Request, Response,
    body::{Body, Frame},
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, ServiceExt, service_fn};
use tower_sse::{Resumable, SseLayer, store::MemoryStore};

/// What a stream has in all.
const TOTAL: usize = 16 * 1024 * 1024;
const EVENT: &[u8] = b"id: 48213\ndata: {\"at\":1767225600123,\"host\":\"web-3.example.org\",\
    \"cpu\":37.5,\"memory\":4831838208,\"requests\":1234567,\"errors\":17,\"state\":\"degraded\"}\n\n";

fn main() {
    divan::Divan::default()
        .max_time(Duration::from_secs(2))
        .config_with_args()
        .main();
}

/// How the bytes of a stream come.
#[derive(Clone, Copy)]
enum Chunks {
    Event,
    Large,
    /// Of which most end within a line.
    Cut,
}

impl Chunks {
    const ALL: [Self; 3] = [Self::Event, Self::Large, Self::Cut];

    fn bytes(self) -> Bytes {
        match self {
            Self::Event => Bytes::from_static(EVENT),
            Self::Large => EVENT.repeat(64 * 1024 / EVENT.len()).into(),
            Self::Cut => Bytes::from_static(&EVENT[..EVENT.len() / 2]),
        }
    }
}

impl fmt::Display for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event => "an event each",
            Self::Large => "64 KiB of events",
            Self::Cut => "half an event",
        })
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn stream(chunk: &Bytes) -> Response<impl Body<Data = Bytes, Error = Infallible> + use<>> {
    let chunk = chunk.clone();
    let frames = (0..TOTAL / chunk.len()).map(move |_| Ok(Frame::data(chunk.clone())));
    let mut response = Response::new(StreamBody::new(stream::iter(frames)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

async fn read<B: Body<Data: Send, Error: fmt::Debug>>(body: B) {
    let mut body = Box::pin(body);
    while let Some(frame) = body.frame().await {
        drop(black_box(frame.unwrap()));
    }
}

#[divan::bench(args = Chunks::ALL, sample_size = 1)]
fn without(bencher: Bencher, chunks: Chunks) {
    let (runtime, chunk) = (runtime(), chunks.bytes());
    bencher
        .counter(ItemsCount::new(TOTAL / chunks.bytes().len()))
        .with_inputs(|| stream(&chunk).into_body())
        .bench_local_values(|body| runtime.block_on(read(body)));
}

#[divan::bench(args = Chunks::ALL, sample_size = 1)]
fn with_layer(bencher: Bencher, chunks: Chunks) {
    through(bencher, chunks, SseLayer::new);
}

/// The same, with a record in memory. What is cut has no end of an event, so there is nothing to record.
#[divan::bench(args = [Chunks::Event, Chunks::Large], sample_size = 1)]
fn recorded(bencher: Bencher, chunks: Chunks) {
    through(bencher, chunks, || {
        let resumable = Resumable::new(MemoryStore::new()).without_subject();
        SseLayer::new().resumable(resumable)
    });
}

fn through(bencher: Bencher, chunks: Chunks, layer: impl FnOnce() -> SseLayer) {
    let (runtime, chunk) = (runtime(), chunks.bytes());
    let service = layer().layer(service_fn(move |_: Request<()>| {
        let response = stream(&chunk);
        async { Ok::<_, Infallible>(response) }
    }));
    bencher
        .counter(ItemsCount::new(TOTAL / chunks.bytes().len()))
        .with_inputs(|| {
            let response = service.clone().oneshot(Request::new(()));
            runtime.block_on(response).unwrap().into_body()
        })
        .bench_local_values(|body| runtime.block_on(read(body)));
}
