//! The code of users, in plain tower, in axum and in actix-web.

use std::{collections::BTreeMap, fmt, sync::LazyLock, time::Duration};

use actix_web::{App, HttpServer, web};
use axum::{
    Router,
    extract::{Path, State},
    routing::get,
    serve::ListenerExt,
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tower_sse::{
    Event, EventId, EventName, Grant, Hub, InvalidTopicName, LastEventId, Sse, SseLayer, Start,
    Subscription, TopicName, tune_actix_socket, tune_socket,
};

use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    client::{End, Request, soon},
    servers::{Answer, Kind, Server, Site, listen, on},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Metrics {
    load: f32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Update {
    Metrics(Metrics),
    Alert { level: u8, text: String },
    Moved(u8, u8),
    AllGone,
}

fn updates() -> [Update; 4] {
    let text = "disk\r\n\nis \"full\"".to_owned();
    [
        Update::Metrics(Metrics { load: 0.5 }),
        Update::Alert { level: 3, text },
        Update::Moved(1, 2),
        Update::AllGone,
    ]
}

/// Streams of all kinds, as handlers return them.
mod streams {
    use super::{Event, Sse, Stream, Update, fmt, stream, updates};

    pub(super) fn values() -> Sse<impl Stream<Item = Update>> {
        Sse::new(stream::iter(updates()))
    }

    pub(super) fn results() -> Sse<impl Stream<Item = Result<Event, fmt::Error>>> {
        Sse::try_new(stream::iter([Ok(Event::new("a")), Err(fmt::Error)]))
    }
}

mod of_axum {
    use super::*;

    pub(super) async fn stream(State(hub): State<Hub>, last: LastEventId) -> Sse<Subscription> {
        Sse::new(hub.subscribe("metrics", last))
    }

    pub(super) async fn newest(State(hub): State<Hub>, last: LastEventId) -> Sse<Subscription> {
        Sse::new(hub.subscribe("metrics", last).start(Start::Newest(1)))
    }

    pub(super) async fn named(
        State(hub): State<Hub>,
        Path(topic): Path<String>,
        last: LastEventId,
    ) -> Result<Sse<Subscription>, InvalidTopicName> {
        Ok(Sse::new(hub.subscribe(TopicName::new(topic)?, last)))
    }

    pub(super) async fn values() -> Sse<impl Stream<Item = Update>> {
        streams::values()
    }

    pub(super) async fn results() -> Sse<impl Stream<Item = Result<Event, fmt::Error>>> {
        streams::results()
    }

    pub(super) async fn granted(_: Grant) -> &'static str {
        "granted"
    }

    pub(super) async fn perhaps(grant: Option<Grant>) -> String {
        grant.is_some().to_string()
    }

    pub(super) async fn server(hub: &Hub) -> Server {
        let app = Router::new()
            .route("/api/metrics/stream", get(stream))
            .route("/newest", get(newest))
            .route("/named/{topic}", get(named))
            .route("/values", get(values))
            .route("/results", get(results))
            .route("/granted", get(granted))
            .route("/perhaps", get(perhaps))
            .layer(SseLayer::new())
            .with_state(hub.clone());
        Server::of_axum(listen(), app)
    }
}

mod of_actix {
    use super::*;

    async fn stream(hub: web::Data<Hub>, last: LastEventId) -> Sse<Subscription> {
        Sse::new(hub.subscribe("metrics", last))
    }

    async fn newest(hub: web::Data<Hub>, last: LastEventId) -> Sse<Subscription> {
        Sse::new(hub.subscribe("metrics", last).start(Start::Newest(1)))
    }

    async fn named(
        hub: web::Data<Hub>,
        topic: web::Path<String>,
        last: LastEventId,
    ) -> Result<Sse<Subscription>, InvalidTopicName> {
        Ok(Sse::new(hub.subscribe(TopicName::new(&**topic)?, last)))
    }

    async fn values() -> Sse<impl Stream<Item = Update>> {
        streams::values()
    }

    async fn results() -> Sse<impl Stream<Item = Result<Event, fmt::Error>>> {
        streams::results()
    }

    async fn granted(_: Grant) -> &'static str {
        "granted"
    }

    async fn perhaps(grant: Option<Grant>) -> String {
        grant.is_some().to_string()
    }

    pub(super) async fn server(hub: &Hub) -> Server {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let hub = hub.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(hub.clone()))
                .wrap(SseLayer::new())
                .route("/api/metrics/stream", web::get().to(stream))
                .route("/newest", web::get().to(newest))
                .route("/named/{topic}", web::get().to(named))
                .route("/values", web::get().to(values))
                .route("/results", web::get().to(results))
                .route("/granted", web::get().to(granted))
                .route("/perhaps", web::get().to(perhaps))
        });
        let server = server.workers(2).disable_signals();
        let server = server.listen(listener.into_std().unwrap()).unwrap();
        Server::of_actix(address, server.run())
    }
}

#[tokio::test]
async fn same_handlers_run_in_axum_and_in_actix() {
    for actix in [false, true] {
        let hub = Hub::new();
        let server = match actix {
            false => of_axum::server(&hub).await,
            true => of_actix::server(&hub).await,
        };
        eprintln!("on {:?}", server.kind);
        let client = server.client().await;
        let topic = hub.topic::<Update>("metrics").unwrap();

        let mut live = client.get("/api/metrics/stream").await;
        assert_eq!(live.header("x-accel-buffering"), Some("no"));
        assert_eq!(live.events(1).await[0].0, "sse.open");
        let mut ids: Vec<EventId> = Vec::new();
        for update in &updates() {
            ids.push(topic.publish(update).await.unwrap());
        }
        let events = live.events(5).await;
        let expected = expected(|index| ids[index].as_str().to_owned());
        assert_eq!(events[1..], expected);

        let resumed = Request::get("/api/metrics/stream").header("last-event-id", ids[1].as_str());
        let mut resumed = client.send(resumed).await;
        assert_eq!(resumed.events(2).await, expected[2..]);
        let newest = client.get("/newest").await.events(1).await;
        assert_eq!(newest, expected[3..]);
        let named = format!("/named/metrics?lastEventId={}", ids[2].as_str());
        assert_eq!(client.get(&named).await.events(1).await, expected[3..]);
        for bad in ["a*b", &"x".repeat(201)] {
            let response = client.get(&format!("/named/{bad}")).await;
            assert_eq!(response.status, 404);
            assert_eq!(response.header("cache-control"), Some("no-store"));
        }

        let mut values = client.get("/values").await;
        assert_eq!(values.end().await, End::Complete);
        assert_eq!(values.parsed().events, self::expected(|_| String::new()));
        let mut results = client.get("/results").await;
        assert_eq!(results.end().await, End::Broken);
        assert_eq!(results.parsed().events.len(), 1);

        // A grant that nobody gives is a mistake of the service, not of the client.
        let mut granted = client.get("/granted").await;
        assert_eq!((granted.status, granted.end().await), (500, End::Complete));
        assert_eq!(granted.text(), "");
        let mut perhaps = client.get("/perhaps").await;
        assert_eq!(perhaps.end().await, End::Complete);
        assert_eq!(perhaps.text(), "false");

        drop((live, resumed));
        server.stop().await;
    }
}

fn expected(id: impl Fn(usize) -> String) -> Vec<(String, String, String)> {
    let texts = [
        ("metrics", r#"{"load":0.5}"#),
        ("alert", r#"{"level":3,"text":"disk\r\n\nis \"full\""}"#),
        ("moved", "[1,2]"),
        ("allGone", "null"),
    ];
    let events = texts.iter().enumerate();
    let events =
        events.map(|(index, (name, data))| ((*name).to_owned(), (*data).to_owned(), id(index)));
    events.collect()
}

static EVENTS: LazyLock<[Event; 3]> = LazyLock::new(|| {
    [
        Event::new("two\r\nlines").name(EventName::from_static("note")),
        Event::new("").id(EventId::from_static("7")),
        Event::new("after").comment("not seen"),
    ]
});

#[tokio::test]
async fn values_of_all_kinds_are_events_on_every_server() {
    let by_hand = [
        ("note", "two\nlines", ""),
        ("message", "", "7"),
        ("message", "after", "7"),
    ];
    let message = |data: &'static str| ("message", data, "");
    type Make = fn() -> Box<dyn Answer>;
    let cases: [(Make, Vec<_>); 8] = [
        (
            || Box::new(Sse::new(stream::iter([1, 2]))),
            vec![message("1"), message("2")],
        ),
        (
            || Box::new(Sse::new(stream::iter(["a\nb", ""]))),
            vec![message(r#""a\nb""#), message(r#""""#)],
        ),
        (
            || Box::new(Sse::new(stream::iter([BTreeMap::from([("k", [1.5])])]))),
            vec![message(r#"{"k":[1.5]}"#)],
        ),
        (
            || Box::new(Sse::new(stream::iter([None, Some(Update::AllGone)]))),
            vec![message("null"), ("allGone", "null", "")],
        ),
        (
            || Box::new(Sse::new(stream::iter(EVENTS.clone()))),
            by_hand.to_vec(),
        ),
        (
            || Box::new(Sse::new(stream::iter(&*EVENTS))),
            by_hand.to_vec(),
        ),
        (
            || {
                let events = EVENTS.iter().map(Ok::<_, fmt::Error>);
                Box::new(Sse::try_new(stream::iter(events)))
            },
            by_hand.to_vec(),
        ),
        (
            || Box::new(Sse::try_new(stream::iter([Ok::<_, &str>(1)]))),
            vec![message("1")],
        ),
    ];
    let make = cases.clone().map(|(make, _)| make);
    let site = Site::new(move |seen| make[seen.path[1..].parse::<usize>().unwrap()]());
    for site in [site.clone(), site.layer(SseLayer::new())] {
        on(&Kind::ALL, &site, async |server| {
            let client = server.client().await;
            for (index, (_, expected)) in cases.iter().enumerate() {
                let mut response = client.get(&format!("/{index}")).await;
                assert_eq!(response.end().await, End::Complete);
                let events = response.parsed().events;
                let events: Vec<_> = events
                    .iter()
                    .map(|(name, data, id)| (&**name, &**data, &**id))
                    .collect();
                assert_eq!(&events, expected);
            }
        })
        .await;
    }
}

/// The options that matter for events.
fn options(socket: &TcpStream) -> (bool, Option<Duration>) {
    let timeout = SockRef::from(socket).tcp_user_timeout().unwrap();
    (socket.nodelay().unwrap(), timeout)
}

#[tokio::test]
async fn sockets_are_tuned_in_one_line() {
    let (seen, mut tuned) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let of_axum = seen.clone();
    let listener = listener.tap_io(move |socket| {
        tune_socket(socket);
        of_axum.send(options(socket)).unwrap();
    });
    let serving = tokio::spawn(axum::serve(listener, Router::new()).into_future());
    let server = HttpServer::new(App::new).on_connect(move |socket, data| {
        tune_actix_socket(socket, data);
        // Of another type, it is left alone.
        tune_actix_socket(&"no socket", data);
        seen.send(options(socket.downcast_ref().unwrap())).unwrap();
    });
    let server = server.workers(1).disable_signals();
    let server = server.bind("127.0.0.1:0").unwrap();
    let addresses = [address, server.addrs()[0]];
    let server = server.run();
    let handle = server.handle();
    let running = tokio::spawn(server);
    for address in addresses {
        let _connection = TcpStream::connect(address).await.unwrap();
        let timeout = cfg!(target_os = "linux").then_some(Duration::from_secs(30));
        assert_eq!(soon(tuned.recv()).await, Some((true, timeout)));
    }
    handle.stop(false).await;
    running.await.unwrap().unwrap();
    serving.abort();
}
