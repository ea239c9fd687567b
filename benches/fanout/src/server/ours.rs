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

/// Where the updates go.
pub(super) fn sink(hub: &Hub) -> impl Sink + Send + 'static {
    Publisher {
        updates: topic(hub, TOPIC),
        others: Vec::new(),
        hub: hub.clone(),
    }
}

struct Publisher {
    updates: Topic<Update>,
    others: Vec<Topic<Update>>,
    hub: Hub,
}

impl Sink for Publisher {
    async fn publish(&mut self, update: &Update) {
        publish(&self.updates, update).await;
    }

    async fn publish_elsewhere(&mut self, events: u64, topics: usize) {
        for number in self.others.len()..topics {
            self.others
                .push(topic(&self.hub, &format!("other-{number}")));
        }
        for (_, topic) in (0..events).zip(self.others[..topics].iter().cycle()) {
            publish(topic, &Update::now(0)).await;
        }
    }
}

fn topic(hub: &Hub, name: &str) -> Topic<Update> {
    hub.topic(name).expect("a topic can have this name")
}

async fn publish(topic: &Topic<Update>, update: &Update) {
    topic
        .publish(update)
        .await
        .expect("memory takes every event");
}
