//! axum, with tower-sse and with what it has itself.

use std::{convert::Infallible, io, num::NonZeroUsize, sync::Arc};

use axum::{
    BoxError, Router,
    body::Body,
    extract::{RawQuery, State},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{MethodRouter, get},
    serve::ListenerExt,
};
use futures_util::{Stream, StreamExt};
use tokio::{net::TcpListener, sync::broadcast};
use tokio_stream::wrappers::BroadcastStream;
use tower_sse::{Hub, LastEventId, SseLayer, Subscription};

use super::{
    hyper::{HEADERS, Silence},
    ours,
};
use crate::{
    control::{self, Sink},
    update::Update,
};

/// Who keeps a stream alive while it has no events.
#[derive(Clone, Copy)]
pub(super) enum Heartbeat {
    Axum,
    Layer,
}

pub(super) async fn ours(listener: TcpListener, history: NonZeroUsize) -> io::Result<()> {
    async fn stream(
        State(hub): State<Hub>,
        RawQuery(query): RawQuery,
        last: LastEventId,
    ) -> tower_sse::Sse<Subscription> {
        ours::follow(&hub, query.as_deref(), last)
    }

    let hub = ours::hub(history);
    tokio::spawn(control::publish(control::commands(), ours::sink(&hub)));
    let app = Router::new().route("/", get(stream)).with_state(hub);
    serve(listener, app.layer(SseLayer::new())).await
}

/// What axum's own example does, with a value for each event.
pub(super) async fn json(
    listener: TcpListener,
    history: NonZeroUsize,
    heartbeat: Heartbeat,
) -> io::Result<()> {
    let sender = broadcast::Sender::<Update>::new(history.get());
    let updates = sender.clone();
    let handler = move || async move {
        let events = received(&updates).map(|update| {
            let event = Event::default().id(update.seq.to_string());
            event.json_data(update)
        });
        kept_alive(events, heartbeat)
    };
    tokio::spawn(control::publish(control::commands(), sender));
    serve(listener, routed(get(handler), heartbeat)).await
}

/// The same where each event is serialised once.
pub(super) async fn shared(
    listener: TcpListener,
    history: NonZeroUsize,
    heartbeat: Heartbeat,
) -> io::Result<()> {
    let sender = broadcast::Sender::<Serialised>::new(history.get());
    let updates = sender.clone();
    let handler = move || async move {
        let events = received(&updates).map(|(id, json)| {
            let event = Event::default().id(id).data(json);
            Ok::<_, Infallible>(event)
        });
        kept_alive(events, heartbeat)
    };
    tokio::spawn(control::publish(control::commands(), sender));
    serve(listener, routed(get(handler), heartbeat)).await
}

pub(super) async fn empty(listener: TcpListener) -> io::Result<()> {
    tokio::spawn(control::publish(control::commands(), ()));
    let handler = || async { (HEADERS, Body::new(Silence::default())) };
    serve(listener, Router::new().route("/", get(handler))).await
}

/// The JSON of an event, with its id.
type Serialised = (Arc<str>, Arc<str>);

impl Sink for broadcast::Sender<Update> {
    async fn publish(&mut self, update: &Update) {
        // It fails where nobody listens.
        drop(self.send(*update));
    }
}

impl Sink for broadcast::Sender<Serialised> {
    async fn publish(&mut self, update: &Update) {
        let json = serde_json::to_string(update).expect("an update is JSON");
        drop(self.send((update.seq.to_string().into(), json.into())));
    }
}

/// What is sent from now on. A client that is too far behind misses events, which it then reports.
fn received<T: Clone + Send + 'static>(
    sender: &broadcast::Sender<T>,
) -> impl Stream<Item = T> + Send + use<T> {
    BroadcastStream::new(sender.subscribe()).filter_map(async |received| received.ok())
}

fn kept_alive<S, E>(events: S, heartbeat: Heartbeat) -> Response
where
    S: Stream<Item = Result<Event, E>> + Send + 'static,
    E: Into<BoxError>,
{
    let sse = Sse::new(events);
    match heartbeat {
        Heartbeat::Axum => sse.keep_alive(KeepAlive::default()).into_response(),
        Heartbeat::Layer => sse.into_response(),
    }
}

fn routed(route: MethodRouter, heartbeat: Heartbeat) -> Router {
    let app = Router::new().route("/", route);
    match heartbeat {
        Heartbeat::Axum => app,
        Heartbeat::Layer => app.layer(SseLayer::new()),
    }
}

async fn serve(listener: TcpListener, app: Router) -> io::Result<()> {
    let listener = listener.tap_io(|socket| {
        socket
            .set_nodelay(true)
            .expect("a new socket takes options");
    });
    // Without it the routes are copied for every connection.
    axum::serve(listener, app.into_make_service()).await
}
