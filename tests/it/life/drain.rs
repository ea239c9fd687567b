//! A server that stops.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::join_all, stream};
use http::Request;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_sse::{Drain, Event, Hub, Sse, SseLayer, Start, store::MemoryStore};

use super::{Alive, SECOND, bye, read};
use crate::{
    client::{self, End},
    servers::{Kind, Site},
    whatwg,
};

#[tokio::test(start_paused = true)]
async fn streams_end_one_after_the_other_and_none_is_left() {
    const STREAMS: usize = 200;
    for kind in Kind::FRAMEWORKS {
        let (alive, stop) = (Alive::default(), CancellationToken::new());
        let drain = Drain::new(stop.clone()).within(20 * SECOND);
        let drain = drain.retry(5 * SECOND..=9 * SECOND);
        let site = alive.site(false).layer(SseLayer::new().drain(&drain));
        let mut bodies = Vec::new();
        for _ in 0..STREAMS {
            let mut body = site.get(kind).await;
            // Every other one is never asked for again.
            if bodies.len() % 2 == 0 {
                body.bytes().await;
            }
            bodies.push(body);
        }
        assert!(drain.drained().now_or_never().is_none());
        assert_eq!(drain.open(), STREAMS);
        let begin = Instant::now();
        stop.cancel();
        // Asked for or not, a stream is over in its turn.
        for tenth in 1..=10 {
            sleep(2 * SECOND).await;
            let left = STREAMS - STREAMS * tenth / 10;
            assert!(
                alive.count().abs_diff(left) <= 1,
                "{kind:?} {tenth} {}",
                alive.count()
            );
        }
        sleep(SECOND / 100).await;
        assert_eq!((alive.count(), drain.open()), (0, 0));
        drain.drained().await;
        assert!(begin.elapsed() < 21 * SECOND);
        let mut retries = Vec::new();
        for body in bodies {
            let (events, _) = read(body).await;
            assert_eq!(bye(&events), "draining");
            retries.push(events.len());
        }
        assert!(retries.iter().all(|events| *events <= 2));
    }
}

#[tokio::test(start_paused = true)]
async fn clients_are_told_to_come_back_at_different_times() {
    for kind in Kind::FRAMEWORKS {
        let stop = CancellationToken::new();
        let drain = Drain::new(stop.clone()).retry(5 * SECOND..=9 * SECOND);
        let site = Alive::default()
            .site(false)
            .layer(SseLayer::new().drain(&drain));
        let bodies = join_all((0..20).map(|_| site.get(kind))).await;
        stop.cancel();
        let mut retries = Vec::new();
        for mut body in bodies {
            let mut seen = Vec::new();
            while let Some(bytes) = body.next().await {
                seen.extend_from_slice(&bytes.unwrap());
            }
            retries.extend(whatwg::parse(&seen).retry);
        }
        assert_eq!(retries.len(), 20);
        let range = 5 * SECOND..=9 * SECOND;
        assert!(
            retries.iter().all(|retry| range.contains(retry)),
            "{retries:?}"
        );
        retries.dedup();
        assert!(retries.len() > 10, "{retries:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_may_finish_until_the_deadline() {
    for kind in Kind::FRAMEWORKS {
        let stop = CancellationToken::new();
        let drain = Drain::new(stop.clone())
            .letting_finish()
            .within(10 * SECOND);
        let site = Site::new(|seen| {
            let seconds = if seen.path == "/short" { 5 } else { 50 };
            let last = stream::once(async move {
                sleep(seconds * SECOND).await;
                Event::new("last")
            });
            Sse::new(last)
        });
        let site = site.layer(SseLayer::new().drain(&drain));
        let call = |path| site.call(kind, Request::get(path).body(()).unwrap());
        let (short, long) = (call("/short").await, call("/long").await);
        let short = read(short);
        let begin = Instant::now();
        stop.cancel();
        let ((short, at), (long, until)) = futures_util::join!(short, read(long));
        assert_eq!((short.len(), &*short[0].1, at.as_secs()), (1, "last", 5));
        assert_eq!((bye(&long), until.as_secs()), ("draining", 10));
        drain.drained().await;
        assert_eq!(begin.elapsed().as_secs(), 10);
    }
}

#[tokio::test]
async fn who_comes_too_late_is_asked_to_come_back() {
    for kind in Kind::ALL {
        let (stop, calls) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&calls);
        let site = Site::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Sse::new(
                stream::repeat_with(|| Event::new("x"))
                    .take(3)
                    .chain(stream::pending()),
            )
        });
        let site = site.layer(SseLayer::new().drain(stop.clone()));
        let server = site.serve(kind).await;
        stop.cancel();
        let client = server.client().await;
        let named = client::Request::get("/").header("accept", "text/event-stream");
        let mut named = client.send(named).await;
        assert_eq!((named.status, named.end().await), (200, End::Complete));
        assert_eq!(bye(&named.parsed().events), "draining");
        assert!(named.parsed().retry.is_some());
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        // It may be no stream at all that somebody else wants.
        let mut other = client.get("/").await;
        assert_eq!(other.end().await, End::Complete);
        assert_eq!(bye(&other.parsed().events), "draining");
        server.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_server_goes_on() {
    let stops = [CancellationToken::new(), CancellationToken::new()];
    let alive = Alive::default();
    let sites = stops
        .each_ref()
        .map(|stop| alive.site(false).layer(SseLayer::new().drain(stop.clone())));
    let first = read(sites[0].get(Kind::Axum).await);
    let second = read(sites[1].get(Kind::Axum).await);
    stops[0].cancel();
    assert_eq!(bye(&first.await.0), "draining");
    assert!(timeout(600 * SECOND, second).await.is_err());
    let third = read(sites[1].get(Kind::Axum).await);
    assert!(timeout(600 * SECOND, third).await.is_err());
}

/// A drain whose token is cancelled from a thread without a runtime, before or after.
#[tokio::test]
async fn the_token_may_be_cancelled_anywhere() {
    let stop = CancellationToken::new();
    let drain = Drain::new(stop.clone()).within(Duration::from_millis(20));
    let site = Alive::default()
        .site(false)
        .layer(SseLayer::new().drain(&drain));
    let body = site.get(Kind::Axum).await;
    std::thread::spawn(move || stop.cancel()).join().unwrap();
    assert_eq!(bye(&client::soon(read(body)).await.0), "draining");
    client::soon(drain.drained()).await;

    let late = CancellationToken::new();
    late.cancel();
    let drain = Drain::new(late);
    let site = Alive::default()
        .site(false)
        .layer(SseLayer::new().drain(&drain));
    let body = site.get(Kind::Axum).await;
    assert_eq!(bye(&client::soon(read(body)).await.0), "draining");
    client::soon(drain.drained()).await;
}

/// Drains one server under load and lets its clients go on at another, which has the same hub.
///
/// The long run has 5,000 connections, the size of a deploy.
#[tokio::test]
async fn nothing_is_lost_across_a_drain() {
    let clients = match std::env::var_os("TOWER_SSE_LONG") {
        Some(_) => 5_000,
        None => 200,
    };
    // As many deliveries a second, whatever the number.
    let pause = Duration::from_millis(clients / 40);
    let clients = usize::try_from(clients).unwrap();
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let time = 2 * SECOND;
    for kind in [Kind::Axum, Kind::Actix] {
        // Nothing is evicted before it is read.
        let store = MemoryStore::new().max_events(NonZeroUsize::new(100_000).unwrap());
        let hub = Hub::with_store(store.max_bytes(NonZeroUsize::new(1 << 26).unwrap()));
        let topic = hub.topic::<u64>("numbers").unwrap();
        topic.publish(&0).await.unwrap();
        let site = |stop: &CancellationToken| {
            let hub = hub.clone();
            let drain = Drain::new(stop.clone()).within(time);
            let site = Site::new(move |seen| {
                Sse::new(hub.subscribe("numbers", seen.last).start(Start::All))
            });
            site.layer(SseLayer::new().drain(drain))
        };
        let (stop, go_on) = (CancellationToken::new(), CancellationToken::new());
        let (old, new) = (
            site(&stop).serve(kind).await,
            site(&go_on).serve(kind).await,
        );
        let publisher = tokio::spawn(async move {
            for number in 1.. {
                topic.publish(&number).await.unwrap();
                sleep(pause).await;
            }
        });
        let begun = Arc::new(tokio::sync::Semaphore::new(0));
        let cancelled = Arc::new(std::sync::OnceLock::<Instant>::new());
        let watch = |_| {
            let (begun, cancelled) = (Arc::clone(&begun), Arc::clone(&cancelled));
            let (old, new) = (old.client(), new.client());
            async move {
                let mut response = old.await.get("/").await;
                response.events(1).await;
                begun.add_permits(1);
                assert_eq!(long(response.end()).await, End::Complete);
                let ended = cancelled.get().expect("not before").elapsed();
                let mut events = response.parsed().events;
                assert_eq!(bye(&events), "draining");
                let last = events.pop().unwrap().2;
                drop(response);
                let again = client::Request::get("/").header("last-event-id", last);
                let mut response = new.await.send(again).await;
                assert_eq!(response.status, 200, "{:?}", response.headers);
                events.extend(response.events(20).await);
                let numbers: Vec<u64> = events
                    .iter()
                    .map(|event| event.1.parse().unwrap())
                    .collect();
                let expected: Vec<u64> = (0..).take(numbers.len()).collect();
                assert_eq!(numbers, expected);
                ended
            }
        };
        let cancel = async {
            long(begun.acquire_many(u32::try_from(clients).unwrap()))
                .await
                .unwrap()
                .forget();
            cancelled.set(Instant::now()).unwrap();
            stop.cancel();
        };
        let (mut ends, ()) = futures_util::join!(join_all((0..clients).map(watch)), cancel);
        publisher.abort();
        ends.sort_unstable();
        // How long it takes until all are told is the machine's; that none is told early is ours.
        let middle = ends[clients / 2];
        eprintln!(
            "{kind:?}: ended after {:?} to {:?}, half by {middle:?}",
            ends[0],
            ends[clients - 1]
        );
        for (place, end) in ends.iter().enumerate() {
            let planned = time.mul_f64(place as f64 / clients as f64);
            assert!(
                *end + Duration::from_millis(5) >= planned,
                "{place}: {end:?} {planned:?}"
            );
        }
        old.stop().await;
        go_on.cancel();
        new.stop().await;
    }
}

async fn long<F: Future>(future: F) -> F::Output {
    timeout(120 * SECOND, future)
        .await
        .expect("it comes to an end")
}
