//! The report of a stream that is over.

use std::{
    cell::Cell,
    io,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::SystemTime,
};

use actix_web::{App, web};
use futures_util::{StreamExt, stream};
use http::Request;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower_sse::{
    Closed, Drain, EndReason, GapReason, Grant, Hub, Limit, RequestView, ResumeOutcome,
    Revocations, SlowClient, Sse, SseLayer, Start, store::MemoryStore,
};

use super::{Reports, SECOND, events, read};
use crate::{
    faulty::{Fault, FaultyStore},
    servers::{Answer, Kind, Local, Site, Streamed},
};

/// Ways to the end of a stream that has sent three events.
#[derive(Clone, Copy, Debug)]
enum Way {
    Complete,
    Failed,
    Panicked,
    Dropped,
    Stalled,
    MaxAge,
    Expired,
    Revoked,
    Draining,
}

impl Way {
    const ALL: [Self; 9] = [
        Self::Complete,
        Self::Failed,
        Self::Panicked,
        Self::Dropped,
        Self::Stalled,
        Self::MaxAge,
        Self::Expired,
        Self::Revoked,
        Self::Draining,
    ];

    const fn reason(self) -> EndReason {
        match self {
            Self::Complete => EndReason::Complete,
            Self::Failed | Self::Panicked => EndReason::Failed,
            Self::Dropped => EndReason::Disconnected,
            Self::Stalled => EndReason::Stalled,
            Self::MaxAge => EndReason::MaxAge,
            Self::Expired => EndReason::Expired,
            Self::Revoked => EndReason::Revoked,
            Self::Draining => EndReason::Draining,
        }
    }

    fn answer(self) -> Box<dyn Answer> {
        let three = events(3).take(3);
        match self {
            Self::Complete => Box::new(Sse::new(three)),
            Self::Failed => {
                let failure = stream::once(async { Err(io::Error::other("gone")) });
                Box::new(Sse::try_new(three.map(Ok).chain(failure)))
            }
            Self::Panicked => Box::new(Sse::new(
                three.chain(stream::once(async { panic!("on purpose") })),
            )),
            _ => Box::new(Sse::new(events(3))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_is_reported_once_with_what_was_sent() {
    for way in Way::ALL {
        for kind in Kind::FRAMEWORKS {
            let (reports, revocations) = (Reports::default(), Revocations::new());
            let stop = CancellationToken::new();
            let layer = reports
                .layer()
                .revocations(&revocations)
                .drain(stop.clone());
            let layer = layer.max_age(match way {
                Way::MaxAge => Some(20 * SECOND),
                _ => None,
            });
            let layer = layer.authorize(move |_: RequestView| async move {
                let expiry = SystemTime::now() + 20 * SECOND;
                let grant = Grant::new().subject("alice");
                Ok(match way {
                    Way::Expired => grant.expires_at(expiry),
                    _ => grant,
                })
            });
            let site = Site::new(move |_| way.answer()).layer(layer);
            let request = Request::get("/a/b?token=secret").body(()).unwrap();
            let mut response = site.call(kind, request).await;
            let mut bytes = 0;
            match way {
                Way::Stalled => {
                    // What is not asked for is not taken.
                    bytes += u64::try_from(response.bytes().await.len()).unwrap();
                    bytes += u64::try_from(response.bytes().await.len()).unwrap();
                }
                _ => bytes += read(&mut response).await,
            }
            let ends_by_itself = matches!(way, Way::Complete | Way::Failed | Way::Panicked);
            assert_eq!(reports.0.lock().unwrap().is_empty(), !ends_by_itself);
            match way {
                Way::Dropped => drop(response),
                Way::Revoked => assert_eq!(revocations.revoke_subject("alice"), 1),
                Way::Draining => stop.cancel(),
                _ => {}
            }
            sleep(100 * SECOND).await;
            let closed = reports.one();
            assert_eq!(closed.reason(), way.reason(), "{way:?} {kind:?}");
            assert_eq!(closed.events(), 3, "{way:?} {kind:?}");
            match way {
                // Its body goes on until all is written.
                Way::Failed | Way::Panicked => assert!(closed.bytes() <= bytes),
                _ => assert_eq!(closed.bytes(), bytes, "{way:?} {kind:?}"),
            }
            assert_eq!(closed.route(), "/a/b");
            assert_eq!(closed.grant().unwrap().subject_name(), Some("alice"));
            assert_eq!(closed.resume(), None);
            let at_end = [Way::MaxAge, Way::Expired].map(Way::reason);
            if at_end.contains(&closed.reason()) {
                let seconds = 17 * SECOND..=21 * SECOND;
                assert!(seconds.contains(&closed.duration()), "{closed:?}");
            }
        }
    }
}

#[tokio::test]
async fn hook_that_panics_harms_nothing() {
    for kind in Kind::FRAMEWORKS {
        let limit = Limit::total(1);
        let layer = SseLayer::new()
            .limit(limit.clone())
            .on_close(|_| panic!("on purpose"));
        let site = Site::new(|_| Sse::new(events(1).take(1))).layer(layer);
        for _ in 0..3 {
            let text = site.get(kind).await.text().await;
            assert!(text.contains("data: 0"), "{text}");
            assert_eq!(limit.open(), 0);
        }
        let response = site.get(kind).await;
        assert_eq!(limit.open(), 1);
        drop(response);
        assert_eq!(limit.open(), 0);
    }
}

thread_local! {
    static OTHER: Cell<Option<Local>> = const { Cell::new(None) };
}

/// What a hook may want to do, of which nothing may wait for the stream that is over, nor for another.
#[tokio::test(start_paused = true)]
async fn hook_may_use_all_that_there_is_and_comes_before_the_drain_is_done() {
    for kind in Kind::FRAMEWORKS {
        let (limit, revocations) = (Limit::total(9), Revocations::new());
        let stop = CancellationToken::new();
        let drain = Drain::new(stop.clone());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let layer = {
            let (limit, revocations, drain) = (limit.clone(), revocations.clone(), drain.clone());
            let seen = Arc::clone(&seen);
            SseLayer::new()
                .limit(limit.clone())
                .revocations(&revocations)
                .drain(&drain)
                .authorize(|_: RequestView| async { Ok(Grant::new().subject("alice")) })
                .on_close(move |closed| {
                    revocations.revoke_subject("alice");
                    OTHER.take();
                    let still = (limit.open(), drain.open());
                    seen.lock().unwrap().push((closed.reason(), still));
                })
        };
        let site = Site::new(|_| Sse::new(events(1))).layer(layer);
        let mut first = site.get(kind).await;
        read(&mut first).await;
        OTHER.set(Some(site.get(kind).await));
        stop.cancel();
        drain.drained().await;
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert_eq!(seen.len(), 2, "{seen:?}");
        // That it is over is told before it stops to count.
        assert!(
            seen.iter()
                .all(|(_, (limit, drain))| *limit > 0 && *drain > 0)
        );
        assert_eq!((limit.open(), drain.open()), (0, 0), "{kind:?}");
    }
}

/// Who holds a lock of its own that the hook wants, and lets go of the stream meanwhile, waits for
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hook_runs_under_no_lock_of_the_stream() {
    for kind in [Kind::Tower, Kind::Axum] {
        let own = Arc::new(Mutex::new(()));
        let (called, is_called) = mpsc::channel();
        let layer = {
            let own = Arc::clone(&own);
            let hook = move |_: &Closed| {
                called.send(()).unwrap();
                drop(own.lock().unwrap());
            };
            SseLayer::new().max_age(SECOND / 20).on_close(hook)
        };
        let site = Site::new(|_| Sse::new(events(1))).layer(layer);
        let Some(body) = site.get(kind).await.into_http() else {
            panic!("{kind:?} has another body");
        };
        let held = own.lock().unwrap();
        let (gone, is_gone) = mpsc::channel();
        is_called.recv_timeout(60 * SECOND).unwrap();
        std::thread::spawn(move || {
            drop(body);
            gone.send(()).unwrap();
        });
        let in_time = is_gone.recv_timeout(60 * SECOND);
        drop(held);
        assert!(in_time.is_ok(), "{kind:?}");
    }
}

#[tokio::test]
async fn each_layer_reports_with_its_own_grant() {
    let (inner, outer) = (Reports::default(), Reports::default());
    let grant = |subject| {
        move |_: RequestView| async move { Ok::<_, tower_sse::Denial>(Grant::new().subject(subject)) }
    };
    let site = Site::new(|_| Sse::new(events(2).take(2)))
        .layer(inner.layer().name("in").authorize(grant("bob")))
        .layer(outer.layer().name("out").authorize(grant("alice")));
    for kind in Kind::FRAMEWORKS {
        site.get(kind).await.text().await;
        for (reports, name, subject) in [(&inner, "in", "bob"), (&outer, "out", "alice")] {
            let closed = reports.one();
            assert_eq!((closed.route(), closed.events()), (name, 2));
            assert_eq!(closed.grant().unwrap().subject_name(), Some(subject));
        }
    }
}

#[tokio::test]
async fn events_of_others_are_counted_however_they_are_cut() {
    let body = "\u{feff}data: a\n\n: c\n\nid: 1\n\nevent: x\r\ndata: b\r\n\r\ndata: c\rdata: d\r\r";
    for size in [1, 2, 7, 1000] {
        for (encoding, events) in [("identity", 3), ("gzip", 0)] {
            let reports = Reports::default();
            let site = Site::new(move |_| Streamed {
                headers: vec![
                    ("content-type", "text/event-stream"),
                    ("content-encoding", encoding),
                ],
                stream: stream::iter(body.as_bytes().chunks(size).map(|piece| Ok(piece.into()))),
            });
            let site = site.layer(reports.layer());
            for kind in Kind::FRAMEWORKS {
                let text = site.get(kind).await.text().await;
                let closed = reports.one();
                assert_eq!(closed.events(), events, "{size} {kind:?}");
                assert_eq!(closed.bytes(), u64::try_from(text.len()).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn what_becomes_of_a_last_event_id_is_reported() {
    let few = NonZeroUsize::new(4).unwrap();
    let hub = Hub::with_store(MemoryStore::new().max_events(few));
    let topic = hub.topic::<u32>("topic").unwrap();
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(topic.publish(&number).await.unwrap().to_string());
    }
    hub.topic::<u32>("other")
        .unwrap()
        .publish(&0)
        .await
        .unwrap();
    let gap = |reason| Some(ResumeOutcome::Gap(reason));
    let (resumed, new) = (Some(ResumeOutcome::Resumed), Some(ResumeOutcome::New));
    for (last, start, outcome, events) in [
        (None, Start::Live, new, 0),
        (None, Start::All, new, 4),
        (None, Start::Newest(2), new, 2),
        (Some(&*ids[9]), Start::All, resumed, 0),
        (Some(&*ids[8]), Start::Live, resumed, 1),
        (Some(&*ids[6]), Start::Live, resumed, 3),
        (Some(&*ids[1]), Start::Live, gap(GapReason::Evicted), 4),
        (Some("nonsense"), Start::All, gap(GapReason::Unknown), 4),
        (
            Some("0123456789ab-7"),
            Start::Live,
            gap(GapReason::Unknown),
            0,
        ),
    ] {
        for (filtered, several) in [(false, false), (true, false), (false, true)] {
            let reports = Reports::default();
            let (hub, start) = (hub.clone(), start.clone());
            let site = Site::new(move |seen| {
                let subscription = match several {
                    false => hub.subscribe("topic", seen.last),
                    true => hub.subscribe_many(["topic"], seen.last).unwrap(),
                };
                let subscription = subscription.start(start.clone());
                Sse::new(match filtered {
                    false => subscription,
                    true => subscription.filter(|_| true),
                })
            });
            let site = site.layer(reports.layer());
            for kind in Kind::FRAMEWORKS {
                let mut request = Request::get("/");
                if let Some(last) = last {
                    request = request.header("last-event-id", last);
                }
                let mut response = site.call(kind, request.body(()).unwrap()).await;
                // The hub's reader is a task of its own.
                for _ in 0..3 {
                    read(&mut response).await;
                }
                drop(response);
                let closed = reports.one();
                let about = format!("{last:?} {kind:?} {filtered} {several}");
                assert_eq!(closed.resume(), outcome, "{about}");
                assert_eq!(closed.events(), events, "{about}");
            }
        }
    }
}

#[tokio::test]
async fn with_several_topics_a_gap_in_one_is_one() {
    let few = NonZeroUsize::new(4).unwrap();
    let hub = Hub::with_store(MemoryStore::new().max_events(few));
    for name in ["a", "b"] {
        hub.topic::<u32>(name).unwrap().publish(&0).await.unwrap();
    }
    let reports = Reports::default();
    let site = {
        let hub = hub.clone();
        Site::new(move |seen| Sse::new(hub.subscribe_many(["a", "b"], seen.last).unwrap()))
    };
    let site = site.layer(reports.layer());
    let mut last = None;
    for (published, outcome) in [
        (0, ResumeOutcome::New),
        (3, ResumeOutcome::Resumed),
        (9, ResumeOutcome::Gap(GapReason::Evicted)),
    ] {
        for number in 0..published {
            hub.topic::<u32>("b")
                .unwrap()
                .publish(&number)
                .await
                .unwrap();
        }
        let mut request = Request::get("/");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let mut response = site.call(Kind::Tower, request.body(()).unwrap()).await;
        let mut text = Vec::new();
        while let Ok(piece) = tokio::time::timeout(SECOND / 2, response.bytes()).await {
            text.extend_from_slice(&piece);
        }
        drop(response);
        let parsed = crate::whatwg::parse(&text);
        last = parsed.events.last().map(|event| event.2.clone());
        assert_eq!(reports.one().resume(), Some(outcome));
    }
}

#[tokio::test]
async fn route_is_the_pattern_in_actix() {
    async fn answer() -> Sse<impl futures_util::Stream<Item = tower_sse::Event>> {
        Sse::new(events(1).take(1))
    }
    let reports = Reports::default();
    let app = App::new()
        .wrap(reports.layer())
        .route("/users/{user}/events", web::get().to(answer))
        .default_service(web::to(answer));
    let app = actix_web::test::init_service(app).await;
    let long = format!("/{}", "a".repeat(500));
    for (path, route) in [
        (
            "/users/alice/events?token=secret",
            "/users/{user}/events".to_owned(),
        ),
        ("/else?token=secret", "/else".to_owned()),
        (&*long, format!("{}…", &long[..128])),
    ] {
        let request = actix_web::test::TestRequest::with_uri(path).to_request();
        let response = actix_web::test::call_service(&app, request).await;
        actix_web::test::read_body(response).await;
        assert_eq!(reports.one().route(), route);
    }
}

#[tokio::test]
async fn answer_that_is_no_stream_is_not_reported() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let layer = SseLayer::new().on_close(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let whole = crate::servers::Whole {
        status: 200,
        headers: vec![("content-type", "text/plain")],
        body: "data: a\n\n",
    };
    let site = Site::new(move |_| whole.clone()).layer(layer.clone());
    let streams = Site::new(|_| Sse::new(events(1))).layer(layer);
    for kind in Kind::FRAMEWORKS {
        site.get(kind).await.text().await;
        if kind != Kind::Actix {
            let head = Request::head("/").body(()).unwrap();
            assert_eq!(streams.call(kind, head).await.text().await, "");
        }
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

/// Its layer has no time to add what it has before the stream is over.
#[tokio::test]
async fn stream_that_comes_too_late_is_reported_by_all_layers() {
    let (inner, outer) = (Reports::default(), Reports::default());
    let stop = CancellationToken::new();
    let site = Site::new(|_| Sse::new(events(3)))
        .layer(inner.layer().drain(stop.clone()))
        .layer(outer.layer());
    stop.cancel();
    for kind in Kind::FRAMEWORKS {
        let text = site.get(kind).await.text().await;
        assert!(text.contains(r#"{"reason":"draining"}"#), "{text}");
        for reports in [&inner, &outer] {
            let closed = reports.one();
            assert_eq!((closed.reason(), closed.events()), (EndReason::Draining, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_subscription_ends_for_is_reported() {
    for kind in Kind::FRAMEWORKS {
        let (reports, store) = (Reports::default(), FaultyStore::new(MemoryStore::new()));
        let hub = Hub::with_store(store.clone())
            .unavailable_after(10 * SECOND)
            .window(NonZeroUsize::new(4).unwrap())
            .slow_clients(|_| SlowClient::Disconnect);
        let topic = hub.topic::<u32>("topic").unwrap();
        let site = Site::new({
            let hub = hub.clone();
            move |seen| Sse::new(hub.subscribe("topic", seen.last).start(Start::All))
        });
        let site = site.layer(reports.layer());

        let mut slow = site.get(kind).await;
        slow.bytes().await;
        slow.bytes().await;
        for number in 0..20 {
            topic.publish(&number).await.unwrap();
            sleep(SECOND / 10).await;
        }
        while slow.next().await.is_some() {}
        assert_eq!(reports.one().reason(), EndReason::Lagged, "{kind:?}");

        store.set(Fault::Fails);
        let mut late = site.get(kind).await;
        while late.next().await.is_some() {}
        assert_eq!(reports.one().reason(), EndReason::Unavailable, "{kind:?}");
    }
}
