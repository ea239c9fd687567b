//! Together with what people put around a service: an event arrives while the stream stays silent
//! behind it, and what is around still does its part.
//!
//! There are no heartbeats while an event is waited for, since they would push out one that somebody
//! holds back.

mod actix;
mod compressed;
mod http2;
mod nginx;
mod tower_http;

use actix_web::web;
use axum::{Router, extract::State, routing::get};
use futures_util::{Stream, StreamExt};
use tower_sse::{
    Denial, Event, Grant, Hub, LastEventId, RequestView, Sse, SseLayer, StatusCode, Subscription,
};

use crate::{
    client::{Client, Request, Response},
    servers::{Server, listen},
};

const PAGE: &str = "https://page.example";

/// A layer without a heartbeat.
fn quiet() -> SseLayer {
    SseLayer::new().heartbeat(None)
}

/// A quiet layer that lets nobody in without a token.
fn guarded() -> SseLayer {
    quiet().authorize(async |request: RequestView| match request.bearer_token() {
        Some("alice") => Ok(Grant::new()),
        _ => Err(Denial::refuse(StatusCode::UNAUTHORIZED, "who?")),
    })
}

fn endless(hub: &Hub, last: LastEventId) -> Sse<Subscription> {
    Sse::new(hub.subscribe("news", last))
}

/// `sse.open` and two events.
fn ending(hub: &Hub, last: LastEventId) -> Sse<impl Stream<Item = Event> + use<>> {
    Sse::new(hub.subscribe("news", last).events().take(3))
}

/// One event, and then a panic.
fn panicking(hub: &Hub, last: LastEventId) -> Sse<impl Stream<Item = Event> + use<>> {
    let events = hub.subscribe("news", last).events().enumerate();
    Sse::new(events.map(|(at, event)| match at {
        0 | 1 => event,
        // Without a message in the output of the tests.
        _ => std::panic::resume_unwind(Box::new("at the third")),
    }))
}

fn routes(hub: &Hub) -> Router {
    Router::new()
        .route(
            "/endless",
            get(async |State(hub): State<Hub>, last| endless(&hub, last)),
        )
        .route(
            "/ending",
            get(async |State(hub): State<Hub>, last| ending(&hub, last)),
        )
        .route(
            "/panicking",
            get(async |State(hub): State<Hub>, last| panicking(&hub, last)),
        )
        .with_state(hub.clone())
}

fn services(config: &mut web::ServiceConfig, hub: &Hub) {
    config
        .app_data(web::Data::new(hub.clone()))
        .route(
            "/endless",
            web::get().to(async |hub: web::Data<Hub>, last| endless(&hub, last)),
        )
        .route(
            "/ending",
            web::get().to(async |hub: web::Data<Hub>, last| ending(&hub, last)),
        )
        .route(
            "/panicking",
            web::get().to(async |hub: web::Data<Hub>, last| panicking(&hub, last)),
        );
}

/// Starts an application of actix with one worker.
macro_rules! actix_server {
    ($listen:ident, $app:expr) => {{
        let listener = $crate::servers::listen();
        let address = listener.local_addr().unwrap();
        let server = actix_web::HttpServer::new($app)
            .workers(1)
            .disable_signals();
        let server = server.$listen(listener.into_std().unwrap()).unwrap();
        $crate::servers::Server::of_actix(address, server.run())
    }};
}
use actix_server;

/// The routes in axum with something around the layer of this crate, and with it within that.
async fn in_axum(
    hub: &Hub,
    layer: &SseLayer,
    other: impl Fn(Router) -> Router,
    mut story: impl AsyncFnMut(Server),
) {
    let around = other(routes(hub).layer(layer.clone()));
    let within = other(routes(hub)).layer(layer.clone());
    for app in [around, within] {
        story(Server::of_axum(listen(), app)).await;
    }
}

async fn publish(hub: &Hub, text: &str) {
    hub.topic("news").unwrap().publish(text).await.unwrap();
}

/// Opens a stream, publishes one event and reads it.
async fn one_event(hub: &Hub, client: &Client, request: Request) -> Response {
    let mut response = client.send(request).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.events(1).await[0].0, "sse.open");
    publish(hub, "first").await;
    assert_eq!(response.events(2).await[1].1, r#""first""#);
    response
}

/// What a page of another origin does that resumes by `fetch`, with a token that it may send. Returns
/// whether it may read a refusal.
async fn check_cors(hub: &Hub, client: &Client) -> bool {
    let from_page = |method| Request::new(method, "/endless").header("origin", PAGE);
    let preflight = from_page("OPTIONS")
        .header("access-control-request-method", "GET")
        .header(
            "access-control-request-headers",
            "authorization,last-event-id",
        );
    let response = client.send(preflight).await;
    assert!(matches!(response.status, 200 | 204), "{}", response.status);
    assert_eq!(response.header("access-control-allow-origin"), Some(PAGE));
    let allowed = response.header("access-control-allow-headers").unwrap();
    let allowed: Vec<_> = allowed.split(',').map(|name| name.trim()).collect();
    assert!(allowed.contains(&"last-event-id"), "{allowed:?}");

    let refused = client.send(from_page("GET")).await;
    assert_eq!(refused.status, 401);
    let readable = refused.header("access-control-allow-origin") == Some(PAGE);

    let resumed = from_page("GET")
        .header("authorization", "Bearer alice")
        .header("last-event-id", "1-1");
    let mut response = client.send(resumed).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-origin"), Some(PAGE));
    // The id came through: it is of no log that there is.
    assert_eq!(response.events(1).await[0].0, "sse.gap");
    publish(hub, "first").await;
    assert_eq!(response.events(2).await[1].1, r#""first""#);
    readable
}
