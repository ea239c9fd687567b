//! Middleware of actix-web around the layer of this crate, and within it.

use actix_cors::Cors;
use actix_web::{
    App, HttpResponse,
    middleware::{Compress, Logger},
    web,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use log::{LevelFilter, Log, Metadata, Record};
use tokio::sync::mpsc;
use tower_sse::{Event, Hub, Sse};

use super::{PAGE, actix_server, check_cors, guarded, one_event, publish, quiet, services};
use crate::client::{End, Request, soon};

const TARGET: &str = "together";

/// Sends on what is logged for this test.
struct Lines(mpsc::UnboundedSender<String>);

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let _ = self.0.send(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn logger_writes_its_line_when_the_stream_has_ended() {
    let (sender, mut lines) = mpsc::unbounded_channel();
    log::set_boxed_logger(Box::new(Lines(sender))).unwrap();
    log::set_max_level(LevelFilter::Info);
    let hub = Hub::new();
    let [of_around, of_within] = [(); 2].map(|()| hub.clone());
    let logger = || Logger::new("%r %s %b").log_target(TARGET);
    let around = move || {
        let app = App::new().configure(|config| services(config, &of_around));
        app.wrap(quiet()).wrap(logger())
    };
    let within = move || {
        let app = App::new().configure(|config| services(config, &of_within));
        app.wrap(logger()).wrap(quiet())
    };
    for server in [actix_server!(listen, around), actix_server!(listen, within)] {
        let client = server.client().await;
        let mut response = one_event(&hub, &client, Request::get("/ending")).await;
        assert!(lines.try_recv().is_err());
        publish(&hub, "last").await;
        assert_eq!(response.end().await, End::Complete);
        let bytes = response.seen.len();
        let line = format!("GET /ending HTTP/1.1 200 {bytes}");
        assert_eq!(soon(lines.recv()).await, Some(line));
        server.stop().await;
    }
}

#[tokio::test]
async fn page_of_another_origin_may_resume() {
    let hub = Hub::new();
    let [of_around, of_within] = [(); 2].map(|()| hub.clone());
    let cors = || {
        Cors::default()
            .allowed_origin(PAGE)
            .allowed_methods(["GET"])
            .allowed_headers(["authorization", "last-event-id"])
    };
    let around = move || {
        let app = App::new().configure(|config| services(config, &of_around));
        app.wrap(guarded()).wrap(cors())
    };
    let within = move || {
        let app = App::new().configure(|config| services(config, &of_within));
        app.wrap(cors()).wrap(guarded())
    };
    for (server, readable) in [
        (actix_server!(listen, around), true),
        (actix_server!(listen, within), false),
    ] {
        let client = server.client().await;
        assert_eq!(check_cors(&hub, &client).await, readable);
        server.stop().await;
    }
}

/// One event, and then silence.
fn one() -> Sse<impl Stream<Item = Event>> {
    Sse::new(stream::iter([Event::new("first")]).chain(stream::pending()))
}

fn foreign() -> HttpResponse {
    let bytes = Ok::<_, std::io::Error>(Bytes::from_static(b"data: first\n\n"));
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(stream::iter([bytes]).chain(stream::pending()))
}

#[tokio::test]
async fn compression_leaves_streams_alone() {
    let app = || {
        let streams = web::scope("")
            .wrap(quiet())
            .route("/ours", web::get().to(async || one()))
            .route("/foreign", web::get().to(async || foreign()));
        App::new()
            .wrap(Compress::default())
            .route("/bare", web::get().to(async || one()))
            .service(streams)
    };
    let server = actix_server!(listen, app);
    let client = server.client().await;
    for path in ["/ours", "/bare", "/foreign"] {
        let request = Request::get(path).header("accept-encoding", "gzip, deflate, br, zstd");
        let mut response = client.send(request).await;
        let encoding = response.header("content-encoding");
        assert!(matches!(encoding, None | Some("identity")), "{encoding:?}");
        assert_eq!(response.events(1).await[0].1, "first");
    }
    server.stop().await;
}
