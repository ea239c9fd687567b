//! Values to bytes, beside the peers.

#![allow(clippy::unwrap_used)]

#[path = "common/metrics.rs"]
mod metrics;

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_web::{Responder, body::MessageBody, test::TestRequest};
use actix_web_lab::sse as lab;
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    response::{IntoResponse, sse as axum_sse},
};
use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use futures_util::{
    FutureExt,
    stream::{self, Stream},
};
use metrics::{METRICS, Metrics};
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;
use tower_sse::{Decoder, Event, EventId, Sse, SseLayer};

fn main() {
    divan::Divan::default()
        .sample_count(2000)
        .max_time(Duration::from_secs(1))
        .config_with_args()
        .main();
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Update {
    Metrics(Metrics),
}

static UPDATE: Update = Update::Metrics(METRICS);
const NAME: &str = "metrics";
const ID: &str = "01jd2t7q-48213";

/// Heartbeats have timers.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());

/// One event with a name and an id, made of a value, each in a frame of its own.
mod event {
    use super::*;

    fn tower_sse() -> Event {
        let id = EventId::new(black_box(ID)).unwrap();
        Event::json(black_box(&UPDATE)).unwrap().id(id)
    }

    fn axum() -> axum_sse::Event {
        let event = axum_sse::Event::default().event(NAME).id(black_box(ID));
        event.json_data(black_box(&METRICS)).unwrap()
    }

    fn actix_web_lab() -> lab::Data {
        let event = lab::Data::new_json(black_box(&METRICS)).unwrap();
        event.event(NAME).id(black_box(ID))
    }

    #[divan::bench(name = "serde_json alone")]
    fn serde_json_alone() -> String {
        serde_json::to_string(black_box(&METRICS)).unwrap()
    }

    #[divan::bench(name = "encode: tower-sse")]
    fn encode_tower_sse(bencher: Bencher) {
        encode(bencher, || tower_sse().encode());
    }

    #[divan::bench(name = "encode: sse-stream")]
    fn encode_sse_stream(bencher: Bencher) {
        encode(bencher, || {
            let json = serde_json::to_string(black_box(&METRICS)).unwrap();
            let event = sse_stream::Sse::default().event(NAME).data(json);
            event.id(black_box(ID)).encode().unwrap()
        });
    }

    #[divan::bench(name = "axum: tower-sse")]
    fn axum_tower_sse(bencher: Bencher) {
        in_axum(bencher, 1, ID, |source| Sse::new(source.of(tower_sse)));
    }

    #[divan::bench(name = "axum: axum")]
    fn axum_axum(bencher: Bencher) {
        in_axum(bencher, 1, ID, |source| {
            axum_sse::Sse::new(source.of(|| Ok::<_, Infallible>(axum())))
        });
    }

    #[divan::bench(name = "actix: tower-sse")]
    fn actix_tower_sse(bencher: Bencher) {
        in_actix(bencher, 1, ID, |source| Sse::new(source.of(tower_sse)));
    }

    #[divan::bench(name = "actix: actix-web-lab")]
    fn actix_actix_web_lab(bencher: Bencher) {
        in_actix(bencher, 1, ID, |source| {
            lab::Sse::from_infallible_stream(source.of(|| actix_web_lab().into()))
        });
    }
}

/// A stream of values, named and without ids, as it comes: one at a time and in bursts of 50.
mod values {
    use super::*;

    fn axum() -> Result<axum_sse::Event, Infallible> {
        let event = axum_sse::Event::default().event(NAME);
        Ok(event.json_data(black_box(&METRICS)).unwrap())
    }

    fn actix_web_lab() -> lab::Event {
        let event = lab::Data::new_json(black_box(&METRICS)).unwrap();
        event.event(NAME).into()
    }

    #[divan::bench(name = "axum: tower-sse", args = [1, 50])]
    fn axum_tower_sse(bencher: Bencher, at_once: usize) {
        in_axum(bencher, at_once, "", |source| {
            Sse::new(source.of(|| black_box(&UPDATE)))
        });
    }

    #[divan::bench(name = "axum: axum", args = [1, 50])]
    fn axum_axum(bencher: Bencher, at_once: usize) {
        in_axum(bencher, at_once, "", |source| {
            axum_sse::Sse::new(source.of(axum))
        });
    }

    #[divan::bench(name = "axum with heartbeat: tower-sse", args = [1, 50])]
    fn heartbeat_tower_sse(bencher: Bencher, at_once: usize) {
        in_axum(bencher, at_once, "", |source| {
            let handler = || async { Sse::new(source.of(|| black_box(&UPDATE))) };
            let app = Router::new().fallback(handler).layer(SseLayer::new());
            let response = app
                .oneshot(Request::new(Body::empty()))
                .now_or_never()
                .unwrap();
            response.unwrap()
        });
    }

    #[divan::bench(name = "axum with heartbeat: axum", args = [1, 50])]
    fn heartbeat_axum(bencher: Bencher, at_once: usize) {
        in_axum(bencher, at_once, "", |source| {
            axum_sse::Sse::new(source.of(axum)).keep_alive(axum_sse::KeepAlive::default())
        });
    }

    #[divan::bench(name = "actix: tower-sse", args = [1, 50])]
    fn actix_tower_sse(bencher: Bencher, at_once: usize) {
        in_actix(bencher, at_once, "", |source| {
            Sse::new(source.of(|| black_box(&UPDATE)))
        });
    }

    #[divan::bench(name = "actix: actix-web-lab", args = [1, 50])]
    fn actix_actix_web_lab(bencher: Bencher, at_once: usize) {
        in_actix(bencher, at_once, "", |source| {
            lab::Sse::from_infallible_stream(source.of(actix_web_lab))
        });
    }
}

/// 64 KiB of text, split into its lines.
mod split {
    use super::*;

    #[derive(Clone, Copy)]
    struct LineLength(usize);

    impl fmt::Display for LineLength {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self(usize::MAX) => f.write_str("one line"),
                Self(length) => write!(f, "{length} B lines"),
            }
        }
    }

    const LENGTHS: [LineLength; 3] = [LineLength(usize::MAX), LineLength(80), LineLength(8)];

    fn split<T>(bencher: Bencher, length: LineLength, encode: impl Fn(String) -> T + Sync) {
        let text: String = (1..=64 * 1024)
            .map(|at| if at % length.0 == 0 { '\n' } else { 'x' })
            .collect();
        bencher
            .counter(BytesCount::of_str(&text))
            .with_inputs(|| text.clone())
            .bench_values(encode);
    }

    #[divan::bench(name = "tower-sse", args = LENGTHS)]
    fn tower_sse(bencher: Bencher, length: LineLength) {
        split(bencher, length, |text| Event::new(text).encode());
    }

    #[divan::bench(name = "axum", args = LENGTHS)]
    fn axum(bencher: Bencher, length: LineLength) {
        split(bencher, length, |text| {
            axum_sse::Event::default().data(text)
        });
    }

    #[divan::bench(name = "sse-stream", args = LENGTHS)]
    fn sse_stream(bencher: Bencher, length: LineLength) {
        split(bencher, length, |text| {
            sse_stream::Sse::default().data(text).encode().unwrap()
        });
    }
}

/// Says how many events are due, as a channel would.
#[derive(Clone, Default)]
struct Source(Arc<AtomicUsize>);

impl Source {
    fn of<T: 'static>(
        self,
        make: impl Fn() -> T + Send + Unpin + 'static,
    ) -> impl Stream<Item = T> + Send + Unpin + 'static {
        stream::poll_fn(move |_| match self.0.load(Relaxed) {
            0 => Poll::Pending,
            due => {
                self.0.store(due - 1, Relaxed);
                Poll::Ready(Some(make()))
            }
        })
    }
}

fn encode(bencher: Bencher, encode: impl Fn() -> Bytes + Sync) {
    check(&encode(), 1, ID);
    bencher.bench(|| drop(black_box(encode())));
}

fn in_axum<R: IntoResponse>(
    bencher: Bencher,
    at_once: usize,
    id: &str,
    respond: impl Fn(Source) -> R,
) {
    let _entered = RUNTIME.enter();
    let source = Source::default();
    let mut body = respond(source.clone()).into_response().into_body();
    frames(bencher, at_once, id, source, |cx| {
        let frame = Pin::new(&mut body).poll_frame(cx);
        frame.map(|frame| frame.unwrap().unwrap().into_data().unwrap())
    });
}

fn in_actix<R: Responder>(
    bencher: Bencher,
    at_once: usize,
    id: &str,
    respond: impl Fn(Source) -> R,
) {
    let _entered = RUNTIME.enter();
    let source = Source::default();
    let request = TestRequest::default().to_http_request();
    let mut body = respond(source.clone())
        .respond_to(&request)
        .map_into_boxed_body()
        .into_body();
    frames(bencher, at_once, id, source, |cx| {
        let bytes = Pin::new(&mut body).poll_next(cx);
        bytes.map(|bytes| bytes.unwrap().unwrap())
    });
}

/// Polls a body as a server does, until it has no more, each time that so many events are due.
fn frames(
    bencher: Bencher,
    at_once: usize,
    id: &str,
    source: Source,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Bytes>,
) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut drain = |due, take: &mut dyn FnMut(Bytes)| {
        source.0.store(due, Relaxed);
        while let Poll::Ready(bytes) = poll(&mut cx) {
            take(bytes);
        }
    };
    drain(0, &mut drop);
    let mut sent = Vec::new();
    drain(at_once, &mut |bytes| sent.extend_from_slice(&bytes));
    check(&sent, at_once, id);
    bencher.bench_local(|| drain(at_once, &mut |bytes| drop(black_box(bytes))));
}

/// All contenders write the same events.
fn check(mut bytes: &[u8], events: usize, id: &str) {
    let json = serde_json::to_string(&METRICS).unwrap();
    let mut decoder = Decoder::new();
    for _ in 0..events {
        let event = decoder.decode(&mut bytes).unwrap().unwrap();
        let fields = (event.event_type(), event.data(), event.last_event_id());
        assert_eq!(fields, (NAME, &*json, id));
    }
    assert!(bytes.is_empty());
}
