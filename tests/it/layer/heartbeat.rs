//! Signs of life, on a clock that moves when there is nothing else to do.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};
use tower_sse::{Event, Sse, SseLayer};

use crate::servers::{Kind, Local, Site, Streamed};

const SECOND: Duration = Duration::from_secs(1);

/// An event after each of these times, counted from the one before, then silence.
fn after(seconds: &'static [u64]) -> impl Stream<Item = Bytes> + Send {
    stream::iter(seconds)
        .then(|seconds| async {
            sleep(SECOND * u32::try_from(*seconds).unwrap()).await;
            Bytes::from_static(b"data: x\n\n")
        })
        .chain(stream::pending())
}

fn sites(seconds: &'static [u64]) -> [Site; 2] {
    [
        Site::new(move |_| Sse::new(after(seconds).map(|_| Event::new("x")))),
        Site::new(move |_| Streamed {
            headers: vec![("content-type", "text/event-stream")],
            stream: after(seconds).map(Ok),
        }),
    ]
}

/// What came when, in whole seconds since the beginning, up to the time given.
async fn story(response: &mut Local, seconds: u64) -> Vec<(u64, Bytes)> {
    let begin = Instant::now();
    let end = Duration::from_millis(seconds * 1000 + 500);
    let mut seen = Vec::new();
    while let Ok(bytes) = timeout(end - begin.elapsed(), response.bytes()).await {
        let at = begin.elapsed();
        // A timer of tokio's is as much as a millisecond late.
        assert!(at.subsec_millis() <= 2, "{at:?}");
        seen.push((at.as_secs(), bytes));
    }
    seen
}

/// Checks when the heartbeats come; `retry` is off the table here, so events are as they were.
async fn check(layer: SseLayer, events: &'static [u64], beats: &[u64], until: u64) {
    for site in sites(events) {
        let site = site.layer(layer.clone());
        for kind in Kind::FRAMEWORKS {
            let mut response = site.get(kind).await;
            assert_eq!(response.bytes().await, ":\n");
            let mut expected: Vec<_> = beats.iter().map(|at| (*at, true)).collect();
            let mut at = 0;
            for seconds in events {
                at += seconds;
                expected.push((at, false));
            }
            expected.sort_unstable();
            let seen = story(&mut response, until).await;
            let seen: Vec<_> = seen
                .iter()
                .map(|(at, bytes)| (*at, bytes == ":\n"))
                .collect();
            assert_eq!(seen, expected, "{kind:?} {layer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeat_comes_after_silence_and_only_then() {
    let layer = SseLayer::new;
    check(layer(), &[], &[15, 30, 45, 60], 60).await;
    check(layer(), &[10, 10, 14, 14], &[63, 78], 80).await;
    check(layer(), &[1], &[16, 31], 45).await;
    check(layer(), &[20, 20, 40], &[15, 35, 55, 70, 95], 100).await;
    check(layer().heartbeat(5 * SECOND), &[3, 3], &[11, 16], 20).await;
    check(layer().heartbeat(None), &[100], &[], 10_000).await;
    check(layer().heartbeat(Duration::MAX), &[100], &[], 10_000).await;
    let days = Duration::from_secs(86_400 * 365 * 1000);
    check(layer().heartbeat(days), &[100], &[], 10_000).await;
}

#[tokio::test(start_paused = true)]
async fn heartbeat_of_no_time_neither_panics_nor_spins() {
    for heartbeat in [Duration::ZERO, Duration::from_nanos(1)] {
        for site in sites(&[1]) {
            let site = site.layer(SseLayer::new().heartbeat(heartbeat));
            for kind in Kind::FRAMEWORKS {
                let mut response = site.get(kind).await;
                let begin = Instant::now();
                let mut beats: u32 = 0;
                while response.bytes().await == ":\n" {
                    beats += 1;
                }
                // The event is not kept out, and the clock had to move for each.
                assert_eq!(begin.elapsed().as_secs(), 1);
                assert!((2..=1_002).contains(&beats), "{beats}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stalled_client_is_not_owed_the_heartbeats_of_its_silence() {
    for site in sites(&[]) {
        let site = site.layer(SseLayer::new());
        for kind in Kind::FRAMEWORKS {
            let mut response = site.get(kind).await;
            assert_eq!(response.bytes().await, ":\n");
            // Polled once, so that the timer runs while nobody reads.
            assert!(timeout(SECOND, response.bytes()).await.is_err());
            sleep(100 * SECOND).await;
            let seen = story(&mut response, 40).await;
            let at: Vec<_> = seen.iter().map(|(at, _)| *at).collect();
            assert_eq!(at, [0, 15, 30], "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn inner_layer_has_its_way() {
    for site in sites(&[]) {
        let site = site.layer(SseLayer::new().heartbeat(5 * SECOND));
        let site = site.layer(SseLayer::new().heartbeat(3 * SECOND));
        for kind in Kind::FRAMEWORKS {
            let mut response = site.get(kind).await;
            let seen = story(&mut response, 11).await;
            let at: Vec<_> = seen.iter().map(|(at, _)| *at).collect();
            assert_eq!(at, [0, 5, 10], "{kind:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stream_without_a_layer_has_no_heartbeat() {
    let [site, _] = sites(&[100]);
    for kind in Kind::FRAMEWORKS {
        let mut response = site.get(kind).await;
        let seen = story(&mut response, 10_000).await;
        assert_eq!(seen, [(0, ":\n".into()), (100, "data: x\n\n".into())]);
    }
}
