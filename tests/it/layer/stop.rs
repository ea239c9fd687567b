//! A client is told to stay away for good.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use actix_web::{HttpRequest, HttpResponse, Responder};
use axum::response::{IntoResponse, Response as AxumResponse};
use futures_util::stream::{self, Iter};
use http::{HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use tower_sse::{
    Denial, Grant, RequestView, Sse, SseLayer, StatusCode, Stop, Subscription, TopicName,
};

use crate::{
    client::{End, Request},
    servers::{Answer, BoxError, Kind, Seen, Server, Site, on},
};

type Numbers = Sse<Iter<std::ops::Range<u32>>>;

/// What a handler returns that may stop a client.
struct Stopping(Result<Numbers, Stop>);

impl Answer for Stopping {
    fn tower(self: Box<Self>) -> Response<UnsyncBoxBody<bytes::Bytes, BoxError>> {
        match self.0 {
            Ok(stream) => Box::new(stream).tower(),
            Err(stop) => stop
                .into_http_response::<Empty<_>>()
                .map(|body| body.map_err(Into::into).boxed_unsync()),
        }
    }

    fn axum(self: Box<Self>) -> AxumResponse {
        self.0.into_response()
    }

    fn actix(self: Box<Self>, request: &HttpRequest) -> HttpResponse {
        let response = self.0.respond_to(request);
        response.map_into_boxed_body()
    }
}

/// The same without a `Result` around it.
struct Always;

impl Answer for Always {
    fn tower(self: Box<Self>) -> Response<UnsyncBoxBody<bytes::Bytes, BoxError>> {
        Box::new(Stopping(Err(Stop))).tower()
    }

    fn axum(self: Box<Self>) -> AxumResponse {
        Stop.into_response()
    }

    fn actix(self: Box<Self>, request: &HttpRequest) -> HttpResponse {
        Stop.respond_to(request)
    }
}

async fn is_stopped(server: &Server, request: Request) {
    let client = server.client().await;
    // Whatever comes before the end of the connection is too much.
    let request = request.header("connection", "close");
    let mut response = client.send(request).await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("content-type"), None);
    assert_eq!(response.header("transfer-encoding"), None);
    // Over HTTP/2 axum's router gives every empty body a length.
    let length = (server.kind == Kind::AxumHttp2).then_some("0");
    assert_eq!(response.header("content-length"), length);
    assert_ne!(response.end().await, End::Broken);
    assert_eq!(response.text(), "");
}

#[tokio::test]
async fn handler_stops_a_client() {
    let plain = Site::new(|seen: Seen| -> Box<dyn Answer> {
        match &*seen.path {
            "/always" => Box::new(Always),
            "/stop" => Box::new(Stopping(Err(Stop))),
            _ => Box::new(Stopping(Ok(Sse::new(stream::iter(0..2))))),
        }
    });
    for site in [plain.clone(), plain.layer(SseLayer::new())] {
        on(&Kind::ALL, &site, async |server| {
            let client = server.client().await;
            is_stopped(server, Request::get("/stop")).await;
            is_stopped(server, Request::get("/always")).await;
            assert_eq!(client.get("/").await.events(2).await.len(), 2);
        })
        .await;
    }
}

#[tokio::test]
async fn hook_stops_a_client_and_the_handler_does_not_run() {
    let layer = SseLayer::new().authorize(|request: RequestView| async move {
        match request.path() {
            "/stop" => Err(Denial::stop()),
            "/question-mark" => Err(Stop)?,
            "/by-hand" => Err(Denial::refuse(StatusCode::NO_CONTENT, "not sent")),
            _ => Ok(Grant::new()),
        }
    });
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let site = Site::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Sse::new(stream::iter(0..2))
    });
    on(&Kind::ALL, &site.layer(layer), async |server| {
        runs.store(0, Ordering::SeqCst);
        let client = server.client().await;
        for path in ["/stop", "/question-mark", "/by-hand"] {
            for accept in ["text/event-stream", "*/*"] {
                let request = Request::get(path).header("accept", accept);
                is_stopped(server, request).await;
            }
        }
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        assert_eq!(client.get("/").await.events(2).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn stop_may_carry_headers() {
    let layer = SseLayer::new().authorize(|_: RequestView| async {
        let name = HeaderName::from_static("access-control-allow-origin");
        let denial = Denial::stop().header(name, HeaderValue::from_static("*"));
        Err::<Grant, _>(denial)
    });
    let site = two_numbers().layer(layer);
    on(&Kind::ALL, &site, async |server| {
        let response = server.get("/").await;
        assert_eq!(response.status, 204);
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    })
    .await;
}

#[tokio::test]
async fn question_mark_refuses_what_the_client_has_done_wrong() {
    let layer = SseLayer::new().authorize(|request: RequestView| async move {
        let path = &request.path()[1..];
        if path == "many" {
            let hub = tower_sse::Hub::new();
            let _ = hub.subscribe_many(Vec::<TopicName>::new(), request.last_event_id())?;
        }
        if path == "fails" {
            Err(std::io::Error::other("secret"))?;
        }
        TopicName::new(path)?;
        Ok(Grant::new())
    });
    let site = two_numbers().layer(layer);
    on(&Kind::ALL, &site, async |server| {
        let client = server.client().await;
        for (path, status) in [
            ("/a", 200),
            ("/a%20b", 404),
            ("/many", 400),
            ("/fails", 503),
        ] {
            let mut response = client.get(path).await;
            assert_eq!(response.status, status, "{path}");
            assert_eq!(response.end().await, End::Complete);
            assert!(!response.text().contains("secret"));
        }
    })
    .await;
}

fn two_numbers() -> Site {
    Site::new(|_| Sse::new(stream::iter(0..2)))
}

// Both compile as handlers do.
#[allow(dead_code)]
fn axum_handler() -> axum::Router {
    async fn follow() -> Result<Sse<Subscription>, Stop> {
        Err(Stop)
    }
    axum::Router::new().route("/", axum::routing::get(follow))
}

#[allow(dead_code)]
fn actix_handler() -> actix_web::Route {
    async fn follow() -> Result<Sse<Subscription>, Stop> {
        Err(Stop)
    }
    actix_web::web::get().to(follow)
}
