//! What tower-sse's servers have in common.

use std::num::NonZeroUsize;

use tower_sse::{Hub, LastEventId, Sse, Start, Subscription, Topic, store::MemoryStore};

use crate::{control::Sink, update::Update};

const TOPIC: &str = "updates";
/// More than an event takes.
const EVENT_BYTES: usize = 1024;

/// Makes a hub that keeps as many events as the peers' channels do.
pub(super) fn hub(history: NonZeroUsize) -> Hub {
    let bytes = history.saturating_mul(const { NonZeroUsize::new(EVENT_BYTES).expect("not zero") });
    let store = MemoryStore::new().max_events(history).max_bytes(bytes);
    Hub::with_store(store)
}

/// Follows the updates: all that are kept if `query` asks for them, or else from now on.
pub(super) fn follow(hub: &Hub, query: Option<&str>, last: LastEventId) -> Sse<Subscription> {
    let start = match query {
        Some("all") => Start::All,
        _ => Start::Live,
    };
    Sse::new(hub.subscribe(TOPIC, last).start(start))
}

pub(super) fn sink(hub: &Hub) -> impl Sink + Send + 'static {
    hub.topic::<Update>(TOPIC)
        .expect("a topic can have this name")
}

impl Sink for Topic<Update> {
    async fn publish(&mut self, update: &Update) {
        let published = Topic::publish(self, update).await;
        published.expect("memory takes every event");
    }
}
