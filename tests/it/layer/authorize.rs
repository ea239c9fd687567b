//! Nothing before the hook agrees.

use std::{
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use futures_util::{FutureExt, stream};
use http::{HeaderName, HeaderValue};
use tokio::sync::Semaphore;
use tower_sse::{Denial, Grant, LastEventId, RequestView, Sse, SseLayer, StatusCode};

use crate::{
    client::{End, Protocol, Request},
    servers::{Kind, Seen, Site, on},
};

const SECRET: &str = "db.internal:5432 refused";

#[derive(Debug)]
struct Unreachable;

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SECRET)
    }
}

impl Error for Unreachable {}

#[derive(Clone, Debug, PartialEq)]
struct Role(&'static str);

/// Decides by token, as a hook would that asks a database.
async fn decide(request: RequestView) -> Result<Grant, Denial> {
    tokio::task::yield_now().await;
    let token = match request.bearer_token() {
        Some(token) => token.to_owned(),
        None => request
            .query_param("token")
            .unwrap_or_default()
            .into_owned(),
    };
    match &*token {
        "alice" => Ok(Grant::new()
            .subject("alice")
            .id("jti-1")
            .expires_at(UNIX_EPOCH + Duration::from_millis(4_102_444_800_123))
            .with(Role("reader"))
            .with(7_u8)),
        "nobody" => Ok(Grant::new()),
        "late" => Err(Denial::undecided(SECRET)),
        "down" => Err(Unreachable.into()),
        _ => Err(
            Denial::refuse(StatusCode::UNAUTHORIZED, "a token is needed\n").header(
                HeaderName::from_static("www-authenticate"),
                HeaderValue::from_static("Bearer"),
            ),
        ),
    }
}

/// A site that says what it was granted, and how often its handler has run.
fn granted(layer: SseLayer) -> (Site, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let site = Site::new(move |seen: Seen| {
        counted.fetch_add(1, Ordering::SeqCst);
        let grant = seen.grant.expect("the hook has granted it");
        let text = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            grant.subject_name(),
            grant.id_text(),
            grant
                .expiry()
                .map(|at| at.duration_since(UNIX_EPOCH).unwrap().as_millis()),
            grant.get::<Role>(),
            grant.get::<u8>(),
            grant.get::<u16>(),
        );
        Sse::new(stream::iter([tower_sse::Event::new(text)]))
    });
    (site.layer(layer), runs)
}

#[tokio::test]
async fn grant_reaches_the_handler() {
    let (site, runs) = granted(SseLayer::new().authorize(decide));
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        for (request, data) in [
            (
                Request::get("/").header("authorization", "bearer alice"),
                r#"Some("alice") Some("jti-1") Some(4102444800123) Some(Role("reader")) Some(7) None"#,
            ),
            (
                Request::get("/?token=alice"),
                r#"Some("alice") Some("jti-1") Some(4102444800123) Some(Role("reader")) Some(7) None"#,
            ),
            (Request::get("/?token=nobody"), "None None None None None None"),
        ] {
            runs.store(0, Ordering::SeqCst);
            let mut response = client.send(request).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.events(1).await[0].1, data);
            assert_eq!(runs.load(Ordering::SeqCst), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn refusal_is_sent_as_it_was_given_and_the_handler_does_not_run() {
    let (site, runs) = granted(SseLayer::new().authorize(decide));
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        for accept in ["text/event-stream", "*/*"] {
            let request = Request::get("/?token=mallory").header("accept", accept);
            let mut response = client.send(request).await;
            assert_eq!(response.status, 401);
            assert_eq!(response.header("www-authenticate"), Some("Bearer"));
            assert_eq!(response.header("cache-control"), Some("no-store"));
            assert_eq!(response.header("content-length"), Some("18"));
            assert_eq!(response.end().await, End::Complete);
            assert_eq!(response.text(), "a token is needed\n");
        }
        assert_eq!(runs.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[tokio::test]
async fn undecided_asks_to_come_back_and_does_not_say_why() {
    let layer = SseLayer::new().authorize(decide);
    let retry = Duration::from_secs(5)..=Duration::from_secs(6);
    let (site, runs) = granted(layer.retry(retry.clone()));
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        for token in ["late", "down"] {
            for (accept, stream) in [
                (Some("text/event-stream"), true),
                (Some("application/json, Text/Event-Stream;q=0.5"), true),
                (Some("*/*"), false),
                (Some("application/json, text/event-stream;q=0"), false),
                (None, false),
            ] {
                let mut request = Request::get(format!("/?token={token}"));
                if let Some(accept) = accept {
                    request = request.header("accept", accept);
                }
                let mut response = client.send(request).await;
                assert_eq!(response.end().await, End::Complete);
                assert_eq!(response.header("cache-control"), Some("no-store"));
                if stream {
                    assert_eq!(response.status, 200);
                    assert_eq!(response.header("content-type"), Some("text/event-stream"));
                    let parsed = response.parsed();
                    let bye = (
                        "sse.bye".into(),
                        r#"{"reason":"busy"}"#.into(),
                        String::new(),
                    );
                    assert_eq!(parsed.events, [bye]);
                    assert!(retry.contains(&parsed.retry.unwrap()), "{parsed:?}");
                } else {
                    assert_eq!(response.status, 503, "{accept:?}");
                    let after = response.header("retry-after").unwrap();
                    assert!(["5", "6"].contains(&after), "{after}");
                }
                assert!(!response.text().contains(SECRET));
                let headers = format!("{:?}", response.headers);
                assert!(!headers.contains(SECRET), "{headers}");
            }
        }
        assert_eq!(runs.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[tokio::test]
async fn hook_may_take_its_time_while_others_go_on() {
    let asked = Arc::new(Semaphore::new(0));
    let answer = Arc::new(Semaphore::new(0));
    let (asks, answers) = (Arc::clone(&asked), Arc::clone(&answer));
    let layer = SseLayer::new().authorize(move |request: RequestView| {
        let (asks, answers) = (Arc::clone(&asks), Arc::clone(&answers));
        async move {
            if request.path() == "/slow" {
                asks.add_permits(1);
                answers.acquire().await?.forget();
            }
            Ok(Grant::new())
        }
    });
    let (site, runs) = granted(layer);
    on(&Kind::ALL, &site, async |server| {
        runs.store(0, Ordering::SeqCst);
        let client = server.client().await;
        let mut slow = Box::pin(client.get("/slow"));
        let asked = tokio::select! {
            _ = &mut slow => panic!("the hook has not answered"),
            asked = asked.acquire() => asked.unwrap(),
        };
        asked.forget();
        assert_eq!(client.get("/fast").await.events(1).await.len(), 1);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(slow.as_mut().now_or_never().is_none());
        answer.add_permits(1);
        assert_eq!(slow.await.events(1).await.len(), 1);
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    })
    .await;
}

#[tokio::test]
async fn hook_sees_the_same_request_everywhere() {
    let view = |request: RequestView| {
        let texts = [
            request.method().to_owned(),
            request.path().to_owned(),
            format!("{:?}", request.query()),
            format!("{:?}", request.header("X-Bytes").map(<[u8]>::to_vec)),
            format!("{:?}", request.header("x-none")),
            format!("{:?}", request.bearer_token()),
            format!("{:?} {:?}", request.cookie("b"), request.cookie("c")),
            format!("{:?}", request.query_param("q")),
            format!(
                "{}",
                request.last_event_id() == LastEventId::Id("7-8".into())
            ),
            // Neither headers nor queries are for logs.
            format!("{}", format!("{request:?}").contains("secret")),
        ];
        async move { Err::<Grant, _>(Denial::refuse(StatusCode::IM_A_TEAPOT, texts.join("\n"))) }
    };
    let (site, _) = granted(SseLayer::new().authorize(view));
    on(&Kind::ALL, &site, async |server| {
        let request = Request::new("POST", "/a%20b/c?q=x%26+y&token=secret")
            .header("x-bytes", b"\xffz")
            .header("authorization", "Bearer secret")
            .header("cookie", "a=1; b=\"secret\"")
            .header("cookie", "c=3=4")
            .header("content-length", "0")
            .header("last-event-id", "7-8");
        let mut response = server.client().await.send(request).await;
        assert_eq!(response.status, 418);
        assert_eq!(response.end().await, End::Complete);
        let expected = [
            "POST",
            "/a%20b/c",
            r#"Some("q=x%26+y&token=secret")"#,
            "Some([255, 122])",
            "None",
            r#"Some("secret")"#,
            r#"Some("secret") Some("3=4")"#,
            r#"Some("x& y")"#,
            "true",
            "false",
        ];
        assert_eq!(response.text().lines().collect::<Vec<_>>(), expected);
    })
    .await;
}

#[tokio::test]
async fn strict_accept_refuses_only_what_is_ruled_out() {
    let (site, runs) = granted(SseLayer::new().strict_accept().authorize(decide));
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        for (accept, status) in [
            (None, 200),
            (Some(""), 200),
            (Some("text/event-stream"), 200),
            (Some("*/*;q=0.1"), 200),
            (Some("application/json, text/*"), 200),
            (Some("application/json"), 406),
            (Some("*/*, text/event-stream;q=0"), 406),
        ] {
            runs.store(0, Ordering::SeqCst);
            let mut request = Request::get("/?token=nobody");
            if let Some(accept) = accept {
                request = request.header("accept", accept);
            }
            let mut response = client.send(request).await;
            assert_eq!(response.status, status, "{accept:?}");
            assert_eq!(response.end().await, End::Complete);
            let ran = usize::from(status == 200);
            assert_eq!(runs.load(Ordering::SeqCst), ran, "{accept:?}");
        }
    })
    .await;
    // Without it the header is not looked at.
    let (site, _) = granted(SseLayer::new().authorize(decide));
    on(&Kind::ALL, &site, async |server| {
        let request = Request::get("/?token=nobody").header("accept", "application/json");
        assert_eq!(server.client().await.send(request).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn two_hooks_both_decide() {
    let all = SseLayer::new().authorize(|_: RequestView| async { Ok(Grant::new().subject("all")) });
    let some = SseLayer::new().authorize(decide);
    let (site, runs) = granted(some);
    on(&Kind::ALL, &site.layer(all), async |server| {
        runs.store(0, Ordering::SeqCst);
        let client = server.client().await;
        assert_eq!(client.get("/?token=mallory").await.status, 401);
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        // What the inner layer says in the place of a stream is decorated once at most.
        let request = Request::get("/?token=late").header("accept", "text/event-stream");
        let mut response = client.send(request).await;
        assert_eq!(response.end().await, End::Complete);
        assert_eq!(response.parsed().events.len(), 1);
        assert_eq!(response.text().matches("retry").count(), 1);

        let mut response = client.get("/?token=alice").await;
        assert!(
            response.events(1).await[0]
                .1
                .starts_with(r#"Some("alice")"#)
        );
    })
    .await;
}

#[tokio::test]
async fn head_request_is_decided_like_get() {
    let (site, runs) = granted(SseLayer::new().authorize(decide));
    on(&Kind::ALL, &site, async |server| {
        runs.store(0, Ordering::SeqCst);
        for (token, status) in [("alice", 200), ("mallory", 401), ("late", 503)] {
            let request = Request::new("HEAD", format!("/?token={token}"));
            let client = match server.kind.protocol() {
                Protocol::Http2 => server.client().await,
                // So that the connection ends the response.
                _ => server.client_of(Protocol::Http10).await,
            };
            let mut response = client.send(request).await;
            assert_eq!(response.status, status);
            assert_ne!(response.end().await, End::Broken);
            assert_eq!(response.text(), "");
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    })
    .await;
}
