//! What counts, and that it is given back on every way out.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, StreamExt, stream};
use http::Request;
use tokio::task::yield_now;
use tower_sse::{Denial, Event, Grant, Limit, RequestView, Sse, SseLayer, StatusCode};

use super::{Alive, SECOND, bye};
use crate::{
    client::{self, End},
    servers::{Answer, Kind, Local, Site, Whole, on},
    whatwg,
};

fn request(path: &str) -> Request<()> {
    let request = Request::get(path).header("accept", "text/event-stream");
    request.body(()).unwrap()
}

/// Grants by the path: to a subject, to nobody, or not.
async fn by_path(request: RequestView) -> Result<Grant, Denial> {
    yield_now().await;
    match request.path() {
        "/refused" => Err(Denial::refuse(StatusCode::FORBIDDEN, "no")),
        "/undecided" => Err(Denial::undecided("down")),
        path => Ok(Grant::new().subject(path)),
    }
}

fn is_busy(text: &str) -> bool {
    let events = whatwg::parse(text.as_bytes()).events;
    events.len() == 1 && bye(&events) == "busy"
}

#[tokio::test]
async fn who_is_beyond_a_limit_is_asked_to_come_back() {
    let alive = Alive::default();
    let total = Limit::total(2);
    // Actix notices that a client has gone when it writes.
    let layer = SseLayer::new().heartbeat(Duration::from_millis(50));
    let site = alive.site(false).layer(layer.limit(total.clone()));
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        let accept = |request: client::Request| request.header("accept", "text/event-stream");
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut response = client.send(accept(client::Request::get("/"))).await;
            response.events(1).await;
            open.push(response);
        }
        assert_eq!((total.open(), alive.count()), (2, 2));
        let mut named = client.send(accept(client::Request::get("/"))).await;
        assert_eq!(named.status, 200);
        assert_eq!(named.header("cache-control"), Some("no-store"));
        assert_eq!(named.end().await, End::Complete);
        assert!(is_busy(named.text()) && named.text().contains("retry: "));
        let other = client.get("/").await;
        assert_eq!(other.status, 503);
        assert!(other.header("retry-after").is_some());
        assert_eq!(alive.count(), 2, "the handler did not run");

        drop(open);
        drop(client);
        let gone = async {
            while total.open() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        client::soon(gone).await;
    })
    .await;
}

#[tokio::test]
async fn each_subject_and_each_key_has_its_own_count() {
    let limits = [
        Limit::per_subject(1),
        Limit::per_key(2, |request| Some(request.query_param("key")?.into_owned())),
    ];
    for kind in Kind::FRAMEWORKS {
        let layer = SseLayer::new().authorize(by_path);
        let layer = limits.iter().cloned().fold(layer, SseLayer::limit);
        let site = Alive::default().site(false).layer(layer);
        let is_open = async |path: &str| {
            let mut body = site.call(kind, request(path)).await;
            let is_open = body.bytes().await == ":\n";
            (is_open, body)
        };
        let (first, alice) = is_open("/alice?key=1").await;
        let (second, _bob) = is_open("/bob?key=1").await;
        assert!(first && second);
        assert!(!is_open("/alice?key=2").await.0, "one stream for alice");
        assert!(!is_open("/carol?key=1").await.0, "two streams for key 1");
        assert_eq!(limits.each_ref().map(Limit::open), [2, 2]);
        let (without, _dave) = is_open("/dave").await;
        assert!(without, "who has no key is not limited by it");
        drop(alice);
        assert!(is_open("/alice?key=1").await.0);
    }
    assert_eq!(limits.each_ref().map(Limit::open), [0, 0]);
}

#[tokio::test]
async fn a_head_and_a_preflight_do_not_count() {
    let limit = Limit::total(0);
    let site = Alive::default()
        .site(false)
        .layer(SseLayer::new().limit(limit));
    on(&Kind::ALL, &site, async |server| {
        for method in ["HEAD", "OPTIONS"] {
            let client = server.client().await;
            let response = client.send(client::Request::new(method, "/")).await;
            assert_ne!(response.status, 503, "{method}");
        }
        assert_eq!(server.get("/").await.status, 503);
    })
    .await;
}

/// Ways in and out of a stream, some of which end before there is one.
fn site(alive: &Alive, limits: &[Limit; 3]) -> Site {
    let alive = alive.clone();
    let site = Site::new(move |seen| -> Box<dyn Answer> {
        let one = stream::iter([Ok(Event::new("x"))]);
        let one = one.chain(stream::poll_fn({
            let path = seen.path.clone();
            move |_| match &*path {
                "/ends" => None::<Result<_, String>>.into(),
                "/fails" => Some(Err("failed".to_owned())).into(),
                "/panics-later" => panic!("expected"),
                _ => std::task::Poll::Pending,
            }
        }));
        match &*seen.path {
            "/panics" => panic!("expected"),
            "/error" | "/plain" => Box::new(Whole {
                status: if seen.path == "/error" { 500 } else { 200 },
                headers: vec![],
                body: "",
            }),
            _ => Box::new(Sse::try_new(alive.keep(one))),
        }
    });
    let layer = SseLayer::new().authorize(by_path).max_age(SECOND);
    site.layer(limits.iter().cloned().fold(layer, SseLayer::limit))
}

const PATHS: [&str; 9] = [
    "/ends",
    "/fails",
    "/panics-later",
    "/panics",
    "/error",
    "/plain",
    "/refused",
    "/undecided",
    "/stays",
];

/// Opens, polls, ends and drops at random; nothing may be left, and nobody refused for ever.
async fn drift(kind: Kind, operations: usize) {
    let alive = Alive::default();
    let limits = [
        Limit::total(20),
        Limit::per_subject(8),
        Limit::per_key(15, |request| Some(request.path().len().to_string())),
    ];
    let site = site(&alive, &limits);
    let mut random = fastrand::Rng::with_seed(7);
    let mut open: Vec<Local> = Vec::new();
    let mut seen = [0; 3];
    for _ in 0..operations {
        match random.u8(..100) {
            0..45 => {
                let path = PATHS[random.usize(..PATHS.len())];
                let opened = AssertUnwindSafe(site.call(kind, request(path)));
                match opened.catch_unwind().await {
                    Ok(body) => open.push(body),
                    Err(_) => assert_eq!(path, "/panics"),
                }
                seen[0] += 1;
            }
            // A request that is given up on its way.
            45..50 => {
                let call = site.call(kind, request("/stays"));
                futures_util::pin_mut!(call);
                let _ = futures_util::poll!(call);
                seen[1] += 1;
            }
            50..90 if !open.is_empty() => {
                let at = random.usize(..open.len());
                if let Some(None | Some(Err(()))) = open[at].next().now_or_never() {
                    drop(open.swap_remove(at));
                }
            }
            90..99 if !open.is_empty() => drop(open.swap_remove(random.usize(..open.len()))),
            99 => {
                tokio::time::advance(Duration::from_millis(random.u64(..1_500))).await;
                seen[2] += 1;
            }
            _ => {}
        }
        assert!(limits[0].open() <= 20 && limits[1].open() <= 20);
    }
    assert!(seen.iter().all(|count| *count > 0));
    drop(open);
    assert_eq!(limits.each_ref().map(Limit::open), [0; 3], "{kind:?}");
    assert_eq!(alive.count(), 0, "{kind:?}");
}

fn operations() -> usize {
    match std::env::var_os("TOWER_SSE_LONG") {
        Some(_) => 1_000_000,
        None => 30_000,
    }
}

#[tokio::test(start_paused = true)]
async fn counts_do_not_drift_in_tower() {
    super::quietly();
    drift(Kind::Tower, operations() / 3).await;
}

#[tokio::test(start_paused = true)]
async fn counts_do_not_drift_in_axum() {
    super::quietly();
    drift(Kind::Axum, operations() / 3).await;
}

#[tokio::test(start_paused = true)]
async fn counts_do_not_drift_in_actix() {
    super::quietly();
    drift(Kind::Actix, operations() / 3).await;
}
