//! Grants that end.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::Request;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};
use tower_sse::{Denial, Grant, RequestView, Revocations, SseLayer, StatusCode};

use super::{Alive, SECOND, bye, read};
use crate::{
    client::{self, End},
    servers::{Kind, Local, Site, on},
};

fn to_path(request: &RequestView) -> Grant {
    Grant::new().subject(request.path().trim_start_matches('/'))
}

async fn call(site: &Site, kind: Kind, path: &str) -> Local {
    let mut body = site.call(kind, Request::get(path).body(()).unwrap()).await;
    assert_eq!(body.bytes().await, ":\n");
    body
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_grant_and_not_before() {
    for kind in Kind::FRAMEWORKS {
        let alive = Alive::default();
        let layer = SseLayer::new().authorize(|request: RequestView| async move {
            Ok(to_path(&request).expires_at(SystemTime::now() + 60 * SECOND))
        });
        let site = alive.site(false).layer(layer.max_age(600 * SECOND));
        let (events, at) = read(call(&site, kind, "/alice").await).await;
        assert_eq!(bye(&events), "expired");
        // The wall clock goes on meanwhile, by what the test takes.
        assert!((50 * SECOND..=61 * SECOND).contains(&at), "{at:?}");
        assert_eq!(alive.count(), 0);
    }
}

/// On real clocks, with the skew of what turns one time into another.
#[tokio::test]
async fn no_byte_comes_after_its_time_and_no_end_before() {
    let expires = Arc::new(Mutex::new(SystemTime::now()));
    let times = Arc::clone(&expires);
    let layer = SseLayer::new().authorize(move |request: RequestView| {
        let at = SystemTime::now() + Duration::from_millis(300);
        *times.lock().unwrap() = at;
        async move { Ok(to_path(&request).expires_at(at)) }
    });
    let site = Alive::default().site(false).layer(layer);
    on(&Kind::ALL, &site, async |server| {
        let mut response = server.get("/alice").await;
        assert_eq!(response.end().await, End::Complete);
        let late = expires
            .lock()
            .unwrap()
            .elapsed()
            .expect("not before its time");
        assert_eq!(bye(&response.parsed().events), "expired");
        eprintln!("{:?}: told {late:?} after its time", server.kind);
        assert!(late < 10 * SECOND);
    })
    .await;
}

#[tokio::test]
async fn what_has_expired_opens_nothing() {
    let alive = Alive::default();
    let layer = SseLayer::new().authorize(|request: RequestView| async move {
        Ok(to_path(&request).expires_at(SystemTime::now()))
    });
    let site = alive.site(false).layer(layer);
    on(&Kind::ALL, &site, async |server| {
        let response = server.get("/").await;
        assert_eq!(response.status, 401);
        assert_eq!(response.header("cache-control"), Some("no-store"));
    })
    .await;
    assert_eq!(alive.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_who_are_meant_are_revoked_at_once() {
    for kind in Kind::FRAMEWORKS {
        let (alive, revocations) = (Alive::default(), Revocations::new());
        let layer = SseLayer::new().authorize(|request: RequestView| async move {
            Ok(to_path(&request)
                .id(request.path())
                .with(request.path().len()))
        });
        let site = alive.site(false).layer(layer.revocations(&revocations));
        let mut bodies = Vec::new();
        for path in ["/alice", "/bob", "/carol", "/alice"] {
            bodies.push(call(&site, kind, path).await);
        }
        assert_eq!(revocations.revoke_subject("nobody"), 0);
        assert_eq!(revocations.revoke_subject("alice"), 2);
        // The one that nobody polls, too.
        sleep(Duration::from_millis(2)).await;
        assert_eq!(alive.count(), 2, "{kind:?}");
        let alice = bodies.pop().unwrap();
        let (events, at) = read(alice).await;
        assert_eq!((bye(&events), at), ("revoked", Duration::ZERO));

        assert_eq!(revocations.revoke_id("/bob"), 1);
        let first = bodies.remove(1);
        assert_eq!(bye(&read(first).await.0), "revoked");
        assert_eq!(
            revocations.revoke_where(|grant| grant.get() == Some(&6_usize)),
            1
        );
        assert_eq!(bye(&read(bodies.remove(1)).await.0), "revoked");
        assert_eq!(alive.count(), 0);
        assert_eq!(revocations.revoke_where(|_| true), 0, "nothing is left");
    }
}

/// A hook may have looked just before.
#[tokio::test(start_paused = true)]
async fn a_grant_that_is_revoked_on_its_way_opens_nothing() {
    for kind in Kind::FRAMEWORKS {
        let (alive, revocations) = (Alive::default(), Revocations::new());
        let (asked, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let hook = (Arc::clone(&asked), Arc::clone(&go));
        let layer = SseLayer::new().authorize(move |request: RequestView| {
            let (asked, go) = hook.clone();
            async move {
                asked.add_permits(1);
                go.acquire().await.unwrap().forget();
                Ok(to_path(&request))
            }
        });
        let site = alive.site(false).layer(layer.revocations(&revocations));
        let (alice, bob, ()) = tokio::join!(
            site.call(kind, Request::get("/alice").body(()).unwrap()),
            site.call(kind, Request::get("/bob").body(()).unwrap()),
            async {
                asked.acquire_many(2).await.unwrap().forget();
                assert_eq!(revocations.revoke_subject("alice"), 0, "none is open");
                go.add_permits(2);
            }
        );
        let (events, at) = read(alice).await;
        assert_eq!(
            (events.len(), bye(&events), at),
            (1, "revoked", Duration::ZERO)
        );
        assert!(timeout(60 * SECOND, read(bob)).await.is_err());
        go.add_permits(1);
        let later = call(&site, kind, "/alice").await;
        assert!(
            timeout(60 * SECOND, read(later)).await.is_err(),
            "the hook decides"
        );
    }
}

#[tokio::test]
async fn who_is_revoked_does_not_come_back() {
    let (revoked, revocations) = (Arc::new(Mutex::new(Vec::new())), Revocations::new());
    let names = Arc::clone(&revoked);
    let layer = SseLayer::new().authorize(move |request: RequestView| {
        let grant = to_path(&request);
        let name = grant.subject_name().unwrap_or_default();
        let is_revoked = names.lock().unwrap().contains(&name.to_owned());
        async move {
            match is_revoked {
                true => Err(Denial::refuse(StatusCode::FORBIDDEN, "gone")),
                false => Ok(grant),
            }
        }
    });
    let alive = Alive::default();
    let site = alive.site(true).layer(layer.revocations(&revocations));
    on(&Kind::ALL, &site, async |server| {
        revoked.lock().unwrap().clear();
        let client = server.client().await;
        let mut response = client.get("/alice").await;
        response.events(1).await;
        revoked.lock().unwrap().push("alice".to_owned());
        let begin = Instant::now();
        assert_eq!(revocations.revoke_subject("alice"), 1);
        assert_eq!(response.end().await, End::Complete);
        eprintln!("{:?}: told after {:?}", server.kind, begin.elapsed());
        assert_eq!(bye(&response.parsed().events), "revoked");
        let again = client::Request::get("/alice").header("last-event-id", "7");
        assert_eq!(client.send(again).await.status, 403);
        assert_eq!(alive.count(), 0);
    })
    .await;
}

/// Answers by the number of times that it was asked.
fn asked_again(
    answer: impl Fn(usize) -> Result<Grant, Denial> + Clone + Send + Sync + 'static,
) -> (SseLayer, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&count);
    let layer = SseLayer::new().authorize(move |_: RequestView| {
        let (time, answer) = (times.fetch_add(1, Ordering::SeqCst), answer.clone());
        async move { answer(time) }
    });
    (layer.authorize_again(10 * SECOND), count)
}

type Story = Box<dyn Fn() -> (SseLayer, Arc<AtomicUsize>)>;

#[tokio::test(start_paused = true)]
async fn the_hook_is_asked_again() {
    let alice = || Grant::new().subject("alice");
    let refuse = || Denial::refuse(StatusCode::FORBIDDEN, "no");
    for kind in Kind::FRAMEWORKS {
        let stories: [(&str, usize, Story); 4] = [
            (
                "revoked",
                3,
                Box::new(move || {
                    asked_again(move |time| if time < 3 { Ok(alice()) } else { Err(refuse()) })
                }),
            ),
            (
                "revoked",
                1,
                Box::new(move || {
                    asked_again(move |time| Ok(Grant::new().subject(["alice", "bob"][time])))
                }),
            ),
            (
                "revoked",
                4,
                Box::new(move || {
                    asked_again(move |time| match time {
                        0 => Ok(alice()),
                        1..4 => Err(Denial::undecided("down")),
                        _ => Err(refuse()),
                    })
                }),
            ),
            // What it says about the end counts from then on.
            (
                "expired",
                2,
                Box::new(move || {
                    asked_again(move |time| {
                        let left = [15, 15, 5][time];
                        Ok(alice().expires_at(SystemTime::now() + left * SECOND))
                    })
                }),
            ),
        ];
        for (reason, times, story) in stories {
            let (layer, count) = story();
            let site = Alive::default().site(false).layer(layer);
            let (events, at) = read(site.get(kind).await).await;
            assert_eq!(bye(&events), reason);
            assert_eq!(count.load(Ordering::SeqCst), times + 1, "{kind:?}");
            let most = u32::try_from(times).unwrap() * 10 * SECOND;
            assert!(
                (most.mul_f64(0.89)..=most + 6 * SECOND).contains(&at),
                "{at:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_does_not_answer_changes_nothing() {
    for kind in Kind::FRAMEWORKS {
        let times = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&times);
        let layer = SseLayer::new().authorize(move |request: RequestView| {
            let is_first = times.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                match is_first {
                    true => Ok(to_path(&request)),
                    false => std::future::pending().await,
                }
            }
        });
        let site = Alive::default()
            .site(false)
            .layer(layer.authorize_again(10 * SECOND));
        let body = read(site.get(kind).await);
        assert!(timeout(105 * SECOND, body).await.is_err());
        assert!(count.load(Ordering::SeqCst) > 5, "it is asked on and on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_changes_nothing() {
    super::quietly();
    for kind in Kind::FRAMEWORKS {
        let (layer, count) = asked_again(|time| match time {
            0 => Ok(Grant::new()),
            _ => panic!("expected"),
        });
        let site = Alive::default().site(false).layer(layer);
        let body = read(site.get(kind).await);
        assert!(timeout(105 * SECOND, body).await.is_err());
        assert!(count.load(Ordering::SeqCst) > 5, "it is asked on and on");
    }
}
