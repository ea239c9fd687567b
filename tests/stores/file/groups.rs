//! Many publishers share a commit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use tower_sse::store::Wakes;

use super::*;

#[tokio::test]
async fn many_publishers_need_few_commits() {
    const ROUNDS: usize = 50;
    const PUBLISHERS: usize = 64;
    let directory = Directory::new();
    let store = Arc::new(FileStore::open(directory.file()).unwrap());
    // A commit wakes a topic once.
    let commits = Arc::new(AtomicUsize::new(0));
    let wakes = Wakes::new({
        let commits = Arc::clone(&commits);
        move |topic| {
            commits.fetch_add(usize::from(topic.is_some()), Ordering::SeqCst);
        }
    });
    let watching = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.watch(wakes).await }
    });
    tokio::task::yield_now().await;
    for _ in 0..ROUNDS {
        join_all((0..PUBLISHERS).map(|number| append(&store, number))).await;
    }
    watching.abort();
    let commits = commits.load(Ordering::SeqCst);
    assert!(commits >= ROUNDS);
    assert!(commits <= ROUNDS * PUBLISHERS / 4, "{commits} commits");
    let read = texts(&store, ReadFrom::Oldest).await;
    assert_eq!(read.len(), ROUNDS * PUBLISHERS);
}
