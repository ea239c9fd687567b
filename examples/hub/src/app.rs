//! The site.

use std::{error::Error, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, RawQuery, State,
        rejection::{BytesRejection, PathRejection},
    },
    response::IntoResponse,
    routing::get,
};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tower_sse::{
    Event, Hub, LastEventId, Sse, StatusCode, Subscription, TopicName,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    store::EventStore,
};

use crate::{
    Settings,
    body::{MAX_BODY_BYTES, read_event},
    follow::Wish,
    refusal::Refusal,
    tally::Tally,
};

/// What the handlers share.
#[derive(Clone)]
struct Site {
    hub: Hub,
    tally: Arc<Tally>,
}

/// Makes the site over `store`, whose streams end when `stopping` is cancelled.
pub fn app(store: impl EventStore, settings: &Settings, stopping: &CancellationToken) -> Router {
    let store = Arc::new(store);
    let site = Site {
        hub: Hub::with_store(Arc::clone(&store)),
        tally: Arc::new(Tally::new()),
    };
    let stats = get(stats).with_state((Arc::clone(&site.tally), store));
    Router::new()
        .route("/topics/{*topic}", get(follow_one).post(publish))
        .route("/topics", get(follow_several))
        .with_state(site)
        .route("/stats", stats)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        // On all routes, so that one hook asks for the token everywhere.
        .layer(settings.policy().drain(stopping.clone()))
}

/// The answer to a `POST`.
#[derive(Serialize)]
struct Published {
    id: String,
}

async fn publish(
    State(site): State<Site>,
    topic: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, Refusal> {
    let topic = site.hub.topic::<Event>(named(topic)?)?;
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::body_too_large(),
        status => Refusal::new(status, rejection.body_text()),
    })?;
    let event = read_event(&body)?;
    site.tally.used(topic.name());
    let id = topic.publish(&event).await.inspect_err(|error| {
        let topic = topic.name().as_str();
        tracing::warn!(topic, error = error as &dyn Error, "not published");
    })?;
    let id = id.as_str().to_owned();
    json_line(StatusCode::CREATED, Published { id })
}

async fn follow_one(
    State(site): State<Site>,
    topic: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    last: LastEventId,
) -> Result<Sse<impl Stream<Item = Event>>, Refusal> {
    let topic = TopicName::new(named(topic)?)?;
    let wish = Wish::read(query.as_deref())?;
    site.tally.used(&topic);
    let subscription = site.hub.subscribe(&topic, last);
    Ok(site.counted(subscription.start(wish.start)))
}

async fn follow_several(
    State(site): State<Site>,
    RawQuery(query): RawQuery,
    last: LastEventId,
) -> Result<Sse<impl Stream<Item = Event>>, Refusal> {
    let wish = Wish::read(query.as_deref())?;
    let subscription = site.hub.subscribe_many(&wish.topics, last)?;
    wish.topics.iter().for_each(|topic| site.tally.used(topic));
    Ok(site.counted(subscription.start(wish.start)))
}

impl Site {
    /// Counts the connection for as long as it lives, and the gaps that are sent on it.
    fn counted(&self, subscription: Subscription) -> Sse<impl Stream<Item = Event> + use<>> {
        let connected = self.tally.connected();
        Sse::new(subscription.events().inspect(move |event| {
            if let Some(gap) = event.gap() {
                connected.tally().gap(gap.reason());
            }
        }))
    }
}

fn named(topic: Result<Path<String>, PathRejection>) -> Result<String, Refusal> {
    match topic {
        Ok(Path(name)) => Ok(name),
        Err(rejection) => Err(Refusal::new(rejection.status(), rejection.body_text())),
    }
}

async fn stats<S: EventStore>(
    State((tally, store)): State<(Arc<Tally>, Arc<S>)>,
) -> Result<impl IntoResponse, Refusal> {
    let stats = tally.stats(&*store).await.map_err(|error| {
        tracing::warn!(error = &error as &dyn Error, "positions could not be read");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer")
    })?;
    json_line(StatusCode::OK, stats)
}

/// With a line break at the end, for those who read it in a shell.
fn json_line(status: StatusCode, value: impl Serialize) -> Result<impl IntoResponse, Refusal> {
    let mut line = serde_json::to_string(&value)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    line.push('\n');
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((status, headers, line))
}

async fn no_such_path() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there are /topics/NAME, /topics?topic=NAME and /stats",
    )
}

async fn no_such_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "topics take GET and POST, all else takes GET",
    )
}
