//! The store in memory keeps the contract.

use tower_sse::store::{
    MemoryStore,
    contract::{self, Limits, Subject},
};

struct Memory;

impl Subject for Memory {
    type Store = MemoryStore;
    type Copy = ();
    const DURABLE: bool = false;
    const SHARED: bool = false;

    async fn open(&self, _place: &str, limits: Limits) -> MemoryStore {
        let store = MemoryStore::new()
            .max_events(limits.events)
            .max_bytes(limits.bytes);
        match limits.age {
            Some(age) => store.max_age(age),
            None => store,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn memory_keeps_the_contract() {
    contract::run(&Memory).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract_on_many_threads() {
    contract::run(&Memory).await.assert_passed();
}
