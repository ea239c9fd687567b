//! Ends that come by themselves, on a clock that moves when there is nothing else to do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, poll, stream};
use tokio::time::{advance, sleep, timeout};
use tower_sse::{
    Event, Hub, LastEventId, Limit, Sse, SseLayer, Start,
    store::{
        Epoch, Evicted, MemoryStore, NewRecord, Page, Position, Read, ReadFrom, Record, RecordKind,
        StoreError,
    },
};

use super::{Alive, SECOND, bye, read};
use crate::{
    altered::{Altered, Asked, Reads},
    servers::{Kind, Site, Streamed},
};

#[tokio::test(start_paused = true)]
async fn a_stream_gets_no_older_than_it_may() {
    for foreign in [false, true] {
        for kind in Kind::FRAMEWORKS {
            let alive = Alive::default();
            let site = alive.site(foreign);
            let site = site.layer(SseLayer::new().max_age(600 * SECOND));
            let mut ends = Vec::new();
            for _ in 0..8 {
                let (events, at) = read(site.get(kind).await).await;
                assert_eq!(events.len(), 2, "{kind:?} {events:?}");
                assert_eq!(bye(&events), "max-age");
                assert!((540 * SECOND..=601 * SECOND).contains(&at), "{at:?}");
                ends.push(at);
            }
            ends.dedup();
            assert!(ends.len() > 1, "not all at the same age");
            assert_eq!(alive.count(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_poll_at_the_end_brings_the_end() {
    for kind in Kind::FRAMEWORKS {
        let site = Site::new(|_| Sse::new(stream::repeat_with(|| Event::new("x"))));
        let site = site.layer(SseLayer::new().heartbeat(None).max_age(60 * SECOND));
        let mut body = site.get(kind).await;
        assert_eq!(body.bytes().await, ":\n");
        assert!(body.bytes().await.ends_with(b"data: x\n\n"));
        // Without a chance for any task between this and the next poll.
        let late = advance(60 * SECOND);
        futures_util::pin_mut!(late);
        while poll!(late.as_mut()).is_pending() {}
        let Poll::Ready(Some(Ok(bytes))) = poll!(Box::pin(body.next())) else {
            panic!("{kind:?}: nothing is waited for");
        };
        assert!(bytes.starts_with(b"event: sse.bye"), "{kind:?} {bytes:?}");
        assert!(body.next().await.is_none());
    }
}

/// A body whose server stops asking for more is what hyper makes of a client that takes nothing.
#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_given_back() {
    for foreign in [false, true] {
        for polls in 0..3 {
            for kind in Kind::FRAMEWORKS {
                let (alive, limit) = (Alive::default(), Limit::total(1));
                let site = alive.site(foreign);
                let site = site.layer(SseLayer::new().limit(limit.clone()));
                let mut body = site.get(kind).await;
                for _ in 0..polls {
                    body.bytes().await;
                }
                sleep(29 * SECOND).await;
                assert_eq!((alive.count(), limit.open()), (1, 1));
                sleep(2 * SECOND).await;
                assert_eq!((alive.count(), limit.open()), (0, 0), "{kind:?} {polls}");
                let (events, at) = read(body).await;
                assert_eq!(bye(&events), "stalled");
                assert_eq!(at, Duration::ZERO);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_everything_does_not_stall() {
    for kind in Kind::FRAMEWORKS {
        for heartbeat in [None, Some(SECOND), Some(100 * SECOND)] {
            let site = Alive::default().site(false);
            let layer = SseLayer::new().heartbeat(heartbeat);
            let site = site.layer(layer.write_stall(3 * SECOND));
            let all = read(site.get(kind).await);
            assert!(timeout(1_000 * SECOND, all).await.is_err(), "{heartbeat:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_nothing_is_too_slow() {
    let alive = Alive::default();
    let site = alive.site(false).layer(SseLayer::new().write_stall(None));
    let mut body = site.get(Kind::Axum).await;
    sleep(100_000 * SECOND).await;
    assert_eq!(body.bytes().await, ":\n");
    assert_eq!(alive.count(), 1);
}

/// The blank line of ours would complete what was begun.
#[tokio::test(start_paused = true)]
async fn an_event_that_is_cut_off_is_not_completed() {
    let whole = [
        "data: x\n\n",
        "data: x\r\r",
        "data: x\r\n\r\n",
        ": x\n\n",
        "\n",
    ];
    let cut = [
        "data: x\n",
        "data: x\n\ndata",
        "id: 3\n",
        "data: x\n\nid\r",
        "data: x\n\r\nd\r\n",
    ];
    let all = whole.map(|text| (text, true)).into_iter();
    for (text, speaks) in all.chain(cut.map(|text| (text, false))) {
        // In one piece, and byte by byte.
        for pieces in [1, text.len()] {
            let piece = text.len() / pieces;
            let site = Site::new(move |_| {
                let bytes = text.as_bytes().chunks(piece);
                let bytes = bytes.map(|bytes| Ok(Bytes::from_static(bytes)));
                Streamed {
                    headers: vec![("content-type", "text/event-stream")],
                    stream: stream::iter(bytes).chain(stream::pending()),
                }
            });
            let site = site.layer(SseLayer::new().max_age(10 * SECOND));
            for kind in Kind::FRAMEWORKS {
                let (events, _) = read(site.get(kind).await).await;
                let spoke = events.iter().any(|event| event.0 == "sse.bye");
                assert_eq!(spoke, speaks, "{kind:?} {text:?} {events:?}");
                let datas = events.iter().filter(|event| event.1 == "x").count();
                assert!(datas <= text.matches("data: x").count());
                assert!(events.iter().all(|event| !event.1.is_empty()), "{events:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_keeps_its_place() {
    let hub = Hub::new();
    let topic = hub.topic::<u32>("numbers").unwrap();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(topic.publish(&number).await.unwrap());
    }
    for kind in Kind::FRAMEWORKS {
        let hub = hub.clone();
        let site = Site::new(move |seen| {
            Sse::new(hub.subscribe("numbers", seen.last).start(Start::Newest(3)))
        });
        let site = site.layer(SseLayer::new().max_age(10 * SECOND));
        let (events, _) = read(site.get(kind).await).await;
        assert_eq!(events.len(), 4);
        assert_eq!(bye(&events), "max-age");
        assert_eq!(events[3].2, ids[4].as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn the_outer_layer_adds_its_end() {
    let hub = Hub::new();
    for kind in Kind::FRAMEWORKS {
        let hub = hub.clone();
        let limits = [Limit::total(1), Limit::total(1)];
        let site = Site::new(move |_| Sse::new(hub.subscribe("a", LastEventId::Absent)));
        let inner = SseLayer::new().heartbeat(SECOND).limit(limits[0].clone());
        let outer = SseLayer::new().heartbeat(None).limit(limits[1].clone());
        let site = site.layer(inner).layer(outer.max_age(10 * SECOND));
        let mut body = site.get(kind).await;
        assert_eq!(limits.each_ref().map(Limit::open), [1, 1]);
        let first = [body.bytes().await, body.bytes().await, body.bytes().await];
        assert!(first[1].starts_with(b"retry: "), "{first:?}");
        assert_eq!((&*first[0], &*first[2]), (&b":\n"[..], &b":\n"[..]));
        let (events, _) = read(body).await;
        assert_eq!(bye(&events), "max-age");
        assert_eq!(limits.each_ref().map(Limit::open), [0, 0]);
    }
}

/// Nothing can be added to what is encoded.
#[tokio::test(start_paused = true)]
async fn an_encoded_stream_has_an_end_and_nothing_else() {
    for kind in Kind::FRAMEWORKS {
        let (alive, limit) = (Alive::default(), Limit::total(1));
        let streams = alive.clone();
        let site = Site::new(move |_| {
            let bytes = stream::iter([Ok(Bytes::from_static(b"\x1f\x8b"))]);
            Streamed {
                headers: vec![
                    ("content-type", "text/event-stream"),
                    ("content-encoding", "gzip"),
                ],
                stream: streams.keep(bytes.chain(stream::pending())),
            }
        });
        let layer = SseLayer::new().max_age(100 * SECOND);
        let site = site.layer(layer.limit(limit.clone()));
        let mut body = site.get(kind).await;
        assert_eq!(body.bytes().await, b"\x1f\x8b"[..]);
        assert_eq!(limit.open(), 1);
        assert!(body.next().await.is_none(), "a clean end");
        assert_eq!((alive.count(), limit.open()), (0, 0));
    }
}

/// Tests and workers have runtimes that end before their bodies do.
#[test]
fn an_end_comes_on_another_runtime() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let alive = Alive::default();
    let site = alive
        .site(false)
        .layer(SseLayer::new().max_age(20 * SECOND));
    let first = runtime();
    let body = first.block_on(async {
        let mut body = site.get(Kind::Axum).await;
        body.bytes().await;
        body.bytes().await;
        assert!(body.next().now_or_never().is_none());
        body
    });
    drop(first);
    runtime().block_on(async {
        sleep(100 * SECOND).await;
        let (events, _) = read(body).await;
        assert_eq!(bye(&events), "max-age");
        assert_eq!(alive.count(), 0);
    });
}

/// Answers so often with what is known already, then so often with a record that is no event, and then
/// that what follows is gone.
struct Tiring {
    known: usize,
    silent: usize,
    answers: AtomicUsize,
}

const LIFE: Epoch = Epoch::new(7);
const AFTER_GAP: Position = Position::new(LIFE, 1_000);

impl Tiring {
    fn found_gap(&self) -> bool {
        self.answers.load(Ordering::SeqCst) > self.known + self.silent
    }
}

impl Reads for Tiring {
    async fn read(&self, asked: Asked<'_>) -> Result<Read, StoreError> {
        // The reader of the hub asks for the log that there is.
        let start = match asked.from {
            ReadFrom::After(start) if start.epoch() == LIFE => start,
            _ => return asked.answer().await,
        };
        let answer = self.answers.fetch_add(1, Ordering::SeqCst);
        if answer >= self.known + self.silent {
            return Ok(Read::Evicted(Evicted {
                oldest: AFTER_GAP,
                middle: AFTER_GAP,
                missed: None,
            }));
        }
        let offset = start.offset() + u64::from(answer >= self.known);
        let lease = NewRecord::of_kind(RecordKind::Lease, "");
        Ok(Read::Page(Page {
            start,
            records: vec![Record::new(offset, lease).previous(start.offset())],
            head: AFTER_GAP,
        }))
    }
}

/// Who reads for long lets others run, wherever it is; its stream may end then.
#[tokio::test(start_paused = true)]
async fn who_was_not_told_of_a_gap_keeps_its_place() {
    let mut untold = 0;
    for (known, silent) in (0..4).flat_map(|known| (0..10).map(move |silent| (known, silent))) {
        let answers = AtomicUsize::new(0);
        let tiring = Tiring {
            known,
            silent,
            answers,
        };
        let store = Altered::new(MemoryStore::new(), tiring);
        let tiring = Arc::clone(&store.reads);
        let hub = Hub::with_store(store);
        let site = Site::new(move |_| {
            let last = Position::new(LIFE, 1).to_string();
            Sse::new(hub.subscribe("topic", LastEventId::Id(last.into())))
        });
        let site = site.layer(SseLayer::new().max_age(10 * SECOND));
        let mut body = site.get(Kind::Axum).await;
        body.bytes().await;
        let polled = body.next().now_or_never();
        let found_gap = tiring.found_gap();
        sleep(20 * SECOND).await;
        let (events, _) = read(body).await;
        assert_eq!(bye(&events), "max-age");
        let id = &events.last().unwrap().2;
        if polled.is_none() && found_gap {
            untold += 1;
        }
        let is_told = polled.is_some();
        let is_behind = *id == AFTER_GAP.to_string();
        assert_eq!(is_behind, is_told, "{known} {silent} {id}");
    }
    assert!(untold > 0, "a poll ends where a gap was found");
}
