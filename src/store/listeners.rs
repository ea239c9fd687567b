//! Who in this process is told of appends.

use super::{StoreError, Wakes};
use crate::{
    sync::{Arc, Mutex, lock},
    topic_name::TopicName,
};

#[derive(Default)]
pub(super) struct Listeners(Mutex<List>);

#[derive(Default)]
struct List {
    next: u64,
    wakes: Arc<Vec<(u64, Wakes)>>,
}

impl Listeners {
    pub(super) fn wake(&self, topic: &TopicName) {
        // Called without the lock: a waker may do anything.
        let wakes = Arc::clone(&lock(&self.0).wakes);
        for (_, wakes) in wakes.iter() {
            wakes.wake(topic);
        }
    }

    /// Tells `wakes` of all appends until the future is dropped.
    pub(super) async fn watch(&self, wakes: Wakes) -> StoreError {
        let _listening = Listening::new(self, wakes.clone());
        wakes.wake_all();
        std::future::pending().await
    }
}

/// Takes the listener off when the watch is dropped.
struct Listening<'a> {
    listeners: &'a Listeners,
    key: u64,
}

impl<'a> Listening<'a> {
    fn new(listeners: &'a Listeners, wakes: Wakes) -> Self {
        let mut list = lock(&listeners.0);
        let key = list.next;
        list.next += 1;
        Arc::make_mut(&mut list.wakes).push((key, wakes));
        Self { listeners, key }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut list = lock(&self.listeners.0);
        Arc::make_mut(&mut list.wakes).retain(|(key, _)| *key != self.key);
    }
}
