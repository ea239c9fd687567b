//! Publishers of a topic whose server is killed.

use std::sync::Arc;

use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tower_sse::store::{Appended, EventStore, Page, Position, StoreErrorKind};

use crate::log::{PATIENCE, told, try_append};

type Acknowledged = Vec<(Position, String)>;

pub(crate) struct Publishers {
    publishing: JoinSet<Acknowledged>,
    acknowledged: Arc<Semaphore>,
}

impl Publishers {
    /// So many at once, each until the store fails it. Their texts begin with `of`.
    pub(crate) fn start(store: &Arc<impl EventStore>, count: usize, of: usize) -> Self {
        let acknowledged = Arc::new(Semaphore::new(0));
        let mut publishing = JoinSet::new();
        for publisher in 0..count {
            let (store, told) = (Arc::clone(store), Arc::clone(&acknowledged));
            publishing
                .spawn(async move { publish(&*store, &format!("{of}-{publisher}"), &told).await });
        }
        Self {
            publishing,
            acknowledged,
        }
    }

    /// Waits until they have been told of so many.
    pub(crate) async fn until(&self, acknowledged: u32) {
        let enough = self.acknowledged.acquire_many(acknowledged);
        let enough = timeout(PATIENCE, enough).await;
        let _enough = enough.expect("they are stored in time").unwrap();
    }

    /// Returns what they were told of, once all have failed.
    pub(crate) async fn failed(self) -> Acknowledged {
        let all = timeout(PATIENCE, self.publishing.join_all()).await;
        all.expect("they fail in time").concat()
    }
}

async fn publish(store: &impl EventStore, of: &str, acknowledged: &Semaphore) -> Acknowledged {
    let mut stored = Vec::new();
    for number in 0_u64.. {
        let text = format!("{of}-{number}");
        match try_append(store, &text).await {
            Ok(Appended::Stored(position)) => stored.push((position, text)),
            Ok(conflict) => panic!("{conflict:?}"),
            Err(error) => {
                let kinds = [StoreErrorKind::OutcomeUnknown, StoreErrorKind::Unavailable];
                assert!(kinds.contains(&error.kind()), "{}", told(&error));
                break;
            }
        }
        acknowledged.add_permits(1);
    }
    stored
}

/// Checks that `page`, which is all that can be read, has what is not evicted of `acknowledged`.
pub(crate) fn check_all_is_there(page: &Page, acknowledged: &[(Position, String)]) {
    for (position, text) in acknowledged {
        assert_eq!(position.epoch(), page.head.epoch(), "another life");
        let mut records = page.records.iter();
        let record = records.find(|record| record.offset() == position.offset());
        match record {
            Some(record) => assert_eq!(record.content().data(), text),
            None => assert!(position.offset() <= page.start.offset(), "{position}"),
        }
    }
}
