//! A grant is for the topics that it names.

use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse, Responder};
use axum::response::{IntoResponse, Response as AxumResponse};
use http::Response;
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use tower_sse::{
    Denial, Event, Grant, Hub, LastEventId, NotBefore, RequestView, Sse, SseLayer, Start,
    StatusCode, Subscription, TopicDenied, TopicName,
};

use crate::{
    client::{End, Request},
    servers::{Answer, BoxError, Kind, Seen, Site, on},
};

fn name(name: &'static str) -> TopicName {
    TopicName::from_static(name)
}

fn subscribe(hub: &Hub, topics: &[&'static str]) -> Subscription {
    match topics {
        [topic] => hub.subscribe(*topic, LastEventId::Absent),
        topics => hub
            .subscribe_many(topics.iter().copied(), LastEventId::Absent)
            .unwrap(),
    }
}

#[tokio::test]
async fn all_topics_of_a_subscription_have_to_be_granted() {
    let hub = Hub::new();
    let none: [&'static str; 0] = [];
    let grants = [
        Grant::new(),
        Grant::new().topics(["a", "b"]),
        Grant::new().topics(["a"]).topics([name("c")]),
        Grant::new().topics(none),
        Grant::new().topics_where(|topic| topic.as_str().starts_with('b')),
        Grant::new()
            .topics(["a"])
            .topics_where(|topic| topic.as_str() == "b")
            .topics_where(|topic| topic.as_str() == "c"),
    ];
    let denied = |topics: &[&'static str]| {
        grants.each_ref().map(|grant| {
            let admitted = grant.admit(subscribe(&hub, topics));
            admitted.err().map(|denied| denied.topic().to_string())
        })
    };
    let of = |topics: [&str; 6]| topics.map(|topic| (!topic.is_empty()).then(|| topic.to_owned()));
    assert_eq!(denied(&["a"]), of(["", "", "", "a", "a", ""]));
    assert_eq!(denied(&["b"]), of(["", "", "b", "b", "", ""]));
    assert_eq!(denied(&["b", "a"]), of(["", "", "b", "a", "a", ""]));
    assert_eq!(denied(&["a", "c"]), of(["", "c", "", "a", "a", ""]));
    assert_eq!(denied(&["c", "a", "b"]), of(["", "c", "b", "a", "a", ""]));
    // A name is granted, and not what begins like it.
    assert_eq!(denied(&["ab"]), of(["", "ab", "ab", "ab", "ab", "ab"]));
    assert_eq!(denied(&["A"]), of(["", "A", "A", "A", "A", "A"]));
}

#[tokio::test]
async fn topics_of_a_subscription_are_named_once() {
    let hub = Hub::new();
    for (topics, expected) in [(&["b"][..], &["b"][..]), (&["b", "a", "b"], &["a", "b"])] {
        let subscription = subscribe(&hub, topics).filter(|_| true);
        let followed: Vec<_> = subscription.topics().map(TopicName::as_str).collect();
        assert_eq!(followed, expected);
    }
}

struct Admitted(Result<Sse<Subscription>, TopicDenied>);

impl Answer for Admitted {
    fn tower(self: Box<Self>) -> Response<UnsyncBoxBody<bytes::Bytes, BoxError>> {
        match self.0 {
            Ok(stream) => Box::new(stream).tower(),
            Err(_) => {
                let body = Empty::new().map_err(|never| match never {});
                let mut response = Response::new(body.boxed_unsync());
                *response.status_mut() = StatusCode::FORBIDDEN;
                response
            }
        }
    }

    fn axum(self: Box<Self>) -> AxumResponse {
        self.0.into_response()
    }

    fn actix(self: Box<Self>, request: &HttpRequest) -> HttpResponse {
        self.0.respond_to(request).map_into_boxed_body()
    }
}

#[tokio::test]
async fn topic_that_is_not_granted_is_not_replayed() {
    let hub = Hub::new();
    for topic in ["user/alice", "user/bob"] {
        let topic = hub.topic::<Event>(name(topic)).unwrap();
        topic.publish(&Event::new("history")).await.unwrap();
    }
    let layer = SseLayer::new().authorize(|request: RequestView| async move {
        let user = request.query_param("user").unwrap_or_default();
        let topic = TopicName::new(format!("user/{user}"))?;
        if request.path() == "/asks" {
            let followed = Hub::new().subscribe(&topic, LastEventId::Absent);
            let _ = Grant::new().topics(["news"]).admit(followed)?;
        }
        Ok::<_, Denial>(Grant::new().topics([topic]))
    });
    let site = Site::new(move |seen: Seen| {
        let topic = TopicName::new(&seen.path[1..]).unwrap();
        let followed = hub.subscribe(topic, seen.last).start(Start::All);
        Admitted(seen.grant.unwrap().admit(followed).map(Sse::new))
    });
    on(&Kind::ALL, &site.layer(layer), async |server| {
        let client = server.client().await;
        assert_eq!(client.get("/asks?user=alice").await.status, 403);
        let mut response = client.get("/user/alice?user=alice").await;
        assert_eq!(response.events(1).await[0].1, "history");
        for request in [
            Request::get("/user/bob?user=alice"),
            Request::get("/user/alice?user=bob"),
            Request::get("/user/bob?user=alice").header("last-event-id", "1-0"),
        ] {
            let mut response = client.send(request).await;
            assert_eq!(response.status, 403);
            assert_eq!(response.end().await, End::Complete);
            assert_eq!(response.text(), "");
            // In plain tower it is made by hand above.
            if !matches!(server.kind, Kind::Tower | Kind::PlainIo | Kind::TowerHttp2) {
                assert_eq!(response.header("cache-control"), Some("no-store"));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_from_before_a_moment_of_the_grant_is_replayed() {
    let hub = Hub::new();
    let topic = hub.topic::<String>("a").unwrap();
    let mut ids = Vec::new();
    for text in ["first", "second", "third"] {
        ids.push(topic.publish(&text.to_owned()).await.unwrap());
    }
    let first = ids[0].to_string();
    let grant = Grant::new()
        .topics(["a"])
        .not_before(NotBefore::Time(SystemTime::UNIX_EPOCH))
        .not_before(NotBefore::Id(ids[1].clone()));
    let layer = SseLayer::new().authorize(move |_: RequestView| {
        let grant = grant.clone();
        async move { Ok(grant) }
    });
    let site = Site::new(move |seen: Seen| {
        let followed = hub.subscribe("a", seen.last).start(Start::All);
        Admitted(seen.grant.unwrap().admit(followed).map(Sse::new))
    });
    on(&Kind::ALL, &site.layer(layer), async |server| {
        let client = server.client().await;
        for request in [
            Request::get("/"),
            Request::get("/").header("last-event-id", &first),
            Request::get(format!("/?lastEventId={first}")),
        ] {
            let mut response = client.send(request).await;
            assert_eq!(response.events(1).await[0].1, "\"third\"");
        }
    })
    .await;
}
