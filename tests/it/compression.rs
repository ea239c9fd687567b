//! Compression outside of the layer holds no event back.

use actix_web::{App, HttpResponse, HttpServer, middleware::Compress, web};
use axum::{Router, routing::get};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tower_http::compression::CompressionLayer;
use tower_sse::{Event, Sse, SseLayer};

use crate::{
    client::Request,
    servers::{Server, listen},
};

/// One event, and then silence.
fn quiet() -> impl futures_util::Stream<Item = Event> + Send + 'static {
    stream::iter([Event::new("first")]).chain(stream::pending())
}

fn foreign() -> HttpResponse {
    let bytes = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(
        b"data: first\n\n",
    ))]);
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(bytes.chain(stream::pending()))
}

async fn check(server: Server, path: &str) {
    let request = Request::get(path).header("accept-encoding", "gzip, deflate, br, zstd");
    let mut response = server.client().await.send(request).await;
    assert!(matches!(
        response.header("content-encoding"),
        None | Some("identity")
    ));
    assert_eq!(response.events(1).await[0].1, "first");
    drop(response);
    server.stop().await;
}

#[tokio::test]
async fn an_event_arrives_through_the_compression_of_axum() {
    let app = Router::new()
        .route("/", get(async || Sse::new(quiet())))
        .layer(SseLayer::new())
        .layer(CompressionLayer::new());
    check(Server::of_axum(listen(), app), "/").await;
}

#[tokio::test]
async fn an_event_arrives_through_the_compression_of_actix() {
    for path in ["/ours", "/bare", "/foreign"] {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let server = HttpServer::new(|| {
            let streams = web::scope("")
                .wrap(SseLayer::new())
                .route("/ours", web::get().to(async || Sse::new(quiet())))
                .route("/foreign", web::get().to(async || foreign()));
            App::new()
                .wrap(Compress::default())
                .route("/bare", web::get().to(async || Sse::new(quiet())))
                .service(streams)
        });
        let server = server.workers(1).disable_signals();
        let server = server.listen(listener.into_std().unwrap()).unwrap().run();
        check(Server::of_actix(address, server), path).await;
    }
}
