//! Bytes to events, beside the peers.

#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};
use eventsource_stream::EventStream;
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, Stream},
};
use sse_stream::SseByteStream;
use tower_sse::{Decoder, Event, EventId, EventName};

fn main() {
    divan::Divan::default()
        .sample_count(2000)
        .max_time(Duration::from_secs(1))
        .config_with_args()
        .main();
}

const EVENTS: usize = 1000;
const CHUNKS: [usize; 2] = [64 * 1024, 1024];
const JSON: &str = r#"{"at":1767225600123,"host":"web-3.example.org","cpu":37.5,"memory":4831838208,"requests":1234567,"errors":17,"state":"degraded","users":["ada","bob"]}"#;

#[divan::bench(name = "tower-sse", args = CHUNKS)]
fn tower_sse(bencher: Bencher, chunk: usize) {
    decode(bencher, chunk, |chunks| {
        let mut decoder = Decoder::new();
        let mut events = 0;
        for chunk in chunks {
            let mut rest = &chunk[..];
            while let Some(event) = decoder.decode(&mut rest).unwrap() {
                assert_eq!(black_box(event).data().len(), JSON.len());
                events += 1;
            }
        }
        events
    });
}

#[divan::bench(name = "sse-stream", args = CHUNKS)]
fn sse_stream(bencher: Bencher, chunk: usize) {
    decode(bencher, chunk, |chunks| {
        let events = SseByteStream::new(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)));
        count(events.map(|event| event.unwrap().data.unwrap()))
    });
}

#[divan::bench(name = "eventsource-stream", args = CHUNKS)]
fn eventsource_stream(bencher: Bencher, chunk: usize) {
    decode(bencher, chunk, |chunks| {
        let events = EventStream::new(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)));
        count(events.map(|event| event.unwrap().data))
    });
}

fn decode(bencher: Bencher, chunk: usize, decode: impl Fn(Vec<Bytes>) -> usize + Sync) {
    let stream: Vec<u8> = (0..EVENTS)
        .flat_map(|at| {
            let event = Event::new(JSON).name(EventName::from_static("metrics"));
            let id = EventId::new(&format!("01jd2t7q-{at}")).unwrap();
            event.id(id).encode()
        })
        .collect();
    let stream = Bytes::from(stream);
    bencher
        .counter(BytesCount::of_slice(&stream))
        .with_inputs(|| {
            let starts = (0..stream.len()).step_by(chunk);
            starts
                .map(|at| stream.slice(at..stream.len().min(at + chunk)))
                .collect()
        })
        .bench_values(|chunks| assert_eq!(decode(chunks), EVENTS));
}

fn count(events: impl Stream<Item = String>) -> usize {
    let lengths = events.map(|data| assert_eq!(black_box(data).len(), JSON.len()));
    lengths.count().now_or_never().unwrap()
}
