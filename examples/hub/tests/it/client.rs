//! A client over HTTP.

use std::collections::VecDeque;

use reqwest::{Client as Http, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower_sse::{DecodedEvent, Decoder};

use crate::hub::{Hub, PATIENCE};

/// An open stream.
pub(crate) struct Client {
    response: Response,
    decoder: Decoder,
    ready: VecDeque<DecodedEvent>,
}

impl Client {
    pub(crate) async fn open(request: RequestBuilder) -> Self {
        let response = answer(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self::of(response)
    }

    pub(crate) fn of(response: Response) -> Self {
        Self {
            response,
            decoder: Decoder::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next event, `None` where the stream has ended in whatever way.
    pub(crate) async fn read(&mut self) -> Option<DecodedEvent> {
        while self.ready.is_empty() {
            let chunk = self.response.chunk().await.ok()??;
            let mut chunk = &chunk[..];
            while let Some(event) = self.decoder.decode(&mut chunk).unwrap() {
                self.ready.push_back(event);
            }
        }
        self.ready.pop_front()
    }

    pub(crate) async fn next(&mut self) -> DecodedEvent {
        let event = timeout(PATIENCE, self.read()).await;
        event
            .expect("an event in time")
            .expect("the stream does not end")
    }

    /// The next event, which has to be of this type.
    pub(crate) async fn expect(&mut self, event_type: &str) -> DecodedEvent {
        let event = self.next().await;
        assert_eq!(event.event_type(), event_type, "{event:?}");
        event
    }
}

/// A client with connections of its own.
pub(crate) fn http() -> Http {
    Http::builder().no_proxy().build().unwrap()
}

pub(crate) fn get(hub: &Hub, path: &str) -> RequestBuilder {
    http().get(hub.url(path))
}

pub(crate) fn post(hub: &Hub, path: &str, body: impl Into<String>) -> RequestBuilder {
    http().post(hub.url(path)).body(body.into())
}

pub(crate) async fn answer(request: RequestBuilder) -> Response {
    let response = timeout(PATIENCE, request.send()).await;
    response.expect("an answer in time").unwrap()
}

/// Publishes, and returns the id.
pub(crate) async fn publish(hub: &Hub, topic: &str, name: &str, data: &str) -> String {
    let body = json!({ "event": name, "data": data }).to_string();
    let response = answer(post(hub, &format!("/topics/{topic}"), body)).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let answer = value(response).await;
    answer["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn stats(hub: &Hub) -> Value {
    let response = answer(get(hub, "/stats")).await;
    assert_eq!(response.status(), StatusCode::OK);
    value(response).await
}

pub(crate) async fn value(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// Checks that an answer is this status with one line.
pub(crate) async fn line(response: Response, status: u16, says: &str) {
    assert_eq!(response.status().as_u16(), status, "{says}");
    let content_type = response.headers()["content-type"].to_str().unwrap();
    assert_eq!(content_type, "text/plain; charset=utf-8", "{says}");
    let text = response.text().await.unwrap();
    let line = text.strip_suffix('\n').unwrap_or(&text);
    assert!(!line.contains(char::is_control), "{text:?}");
    assert!(text.ends_with('\n') && line.contains(says), "{text:?}");
}
