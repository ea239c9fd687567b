//! What others do to the stream.

use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use futures_util::TryStreamExt;
use tokio::time::timeout;
use tower_sse::{
    TopicName,
    store::{Append, EventStore, NatsStore, Read, ReadFrom, StoreErrorKind, Wakes},
};

use super::*;

const OTHER: TopicName = TopicName::from_static("other");

struct Site {
    server: Server,
    store: NatsStore,
    jetstream: jetstream::Context,
}

impl Site {
    async fn start() -> Option<Self> {
        let server = Server::start(&[])?;
        let client = async_nats::connect(server.url()).await.unwrap();
        Some(Self {
            store: server.connect().await,
            jetstream: jetstream::new(client),
            server,
        })
    }

    async fn stream(&self) -> Stream {
        self.jetstream.get_stream("tower-sse").await.unwrap()
    }

    async fn publish(&self, subject: &'static str, data: &'static str) -> u64 {
        let sent = self.jetstream.publish(subject, data.into()).await.unwrap();
        sent.await.unwrap().sequence
    }
}

#[tokio::test]
async fn what_is_published_past_the_store_is_reported_until_it_is_deleted() {
    let Some(site) = Site::start().await else {
        return;
    };
    let store = &site.store;
    let beginning = store.heads(&[TOPIC]).await.unwrap()[0];
    let positions = append_each(store, 0..3).await;
    let foreign = site.publish("tower-sse.topic", "foreign").await;
    // Also by a store that knows what was last.
    for store in [store, &site.server.connect().await] {
        for _ in 0..2 {
            let error = try_append(store, "refused").await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Damaged);
        }
        let error = after(store, positions[0]).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged);
    }
    let _ = store
        .append(&OTHER, Append::new([event("other")]))
        .await
        .unwrap();
    site.stream().await.delete_message(foreign).await.unwrap();
    // nats-server 2.9 then has no last message of the subject, and the log begins anew.
    append(store, 3).await;
    let expected: &[&str] = match after(store, positions[2]).await.unwrap() {
        Read::UnknownEpoch(_) => &["3"],
        _ => &["0", "1", "2", "3"],
    };
    assert_eq!(all(store).await, expected);
    let answer = after(store, beginning).await.unwrap();
    let is_told = matches!(answer, Read::UnknownEpoch(_));
    assert_eq!(is_told, expected.len() == 1, "{answer:?}");
}

#[tokio::test]
async fn a_message_that_was_deleted_is_a_gap() {
    let Some(site) = Site::start().await else {
        return;
    };
    let store = &site.store;
    let positions = append_each(store, 0..10).await;
    let sequence = positions[4].offset() >> 16;
    site.stream().await.delete_message(sequence).await.unwrap();
    assert_eq!(
        texts(&page(store, ReadFrom::Oldest).await),
        ["0", "1", "2", "3"]
    );
    let rest = page(store, ReadFrom::After(positions[3])).await;
    assert_eq!(rest.start, positions[3]);
    assert_eq!(rest.records[0].previous_offset(), positions[4].offset());
    assert_eq!(texts(&rest), ["5", "6", "7", "8", "9"]);
    // The last one: whoever saw it is told, and nobody else.
    let sequence = positions[9].offset() >> 16;
    site.stream().await.delete_message(sequence).await.unwrap();
    let answer = after(store, positions[9]).await.unwrap();
    assert!(matches!(answer, Read::UnknownEpoch(_)), "{answer:?}");
    append(store, "new").await;
    let answer = after(store, positions[9]).await.unwrap();
    assert!(matches!(answer, Read::UnknownEpoch(_)), "{answer:?}");
}

#[tokio::test]
async fn a_log_that_was_removed_begins_anew() {
    for how in ["stream", "purged", "subject"] {
        let Some(site) = Site::start().await else {
            return;
        };
        let store = &site.store;
        let _ = store
            .append(&OTHER, Append::new([event("other")]))
            .await
            .unwrap();
        let mut old = append_each(store, 0..5).await;
        let stream = site.stream().await;
        match how {
            "stream" => drop(site.jetstream.delete_stream("tower-sse").await.unwrap()),
            "purged" => drop(stream.purge().await.unwrap()),
            _ => drop(stream.purge().filter("tower-sse.topic").await.unwrap()),
        }
        let head = store.heads(&[TOPIC]).await.unwrap()[0];
        for position in &old {
            let answer = after(store, *position).await.unwrap();
            assert_eq!(answer, Read::UnknownEpoch(head), "{how}");
        }
        let new = append_each(store, 5..10).await;
        assert!(new.iter().all(|position| !old.contains(position)), "{how}");
        let read = page(store, ReadFrom::After(head)).await;
        assert_eq!(texts(&read), ["5", "6", "7", "8", "9"], "{how}");
        old.retain(|position| position.epoch() == new[0].epoch());
        assert_eq!(old, [], "{how}");
    }
}

#[tokio::test]
async fn a_stream_that_went_round_tells_what_is_gone() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let small = std::num::NonZeroUsize::new(64 * 1024).unwrap();
    let options = NatsStore::options().max_total_bytes(small);
    let store = server.connect_with(options).await;
    let beginning = store.heads(&[TOPIC]).await.unwrap()[0];
    let other = store.append(&OTHER, Append::new([event("other")])).await;
    let mut positions = Vec::new();
    for number in 0..200 {
        positions.push(append(&store, format!("{number:01000}")).await);
    }
    let read = page(&store, ReadFrom::Oldest).await;
    let kept = read.records.len();
    assert!((20..70).contains(&kept), "{kept} are kept");
    let first_kept = 200 - kept;
    for (number, position) in positions.iter().enumerate() {
        match after(&store, *position).await.unwrap() {
            Read::Page(page) => {
                assert!(number + 1 >= first_kept, "{number}");
                assert_eq!(page.records.len(), 199 - number);
            }
            Read::Evicted(evicted) => {
                assert!(number + 1 < first_kept, "{number}");
                assert_eq!(evicted.oldest, read.start);
            }
            other => panic!("{other:?}"),
        }
    }
    let answer = after(&store, beginning).await.unwrap();
    assert!(matches!(answer, Read::Evicted(_)), "{answer:?}");
    // It went whole, and is told to be gone.
    let tower_sse::store::Appended::Stored(other) = other.unwrap() else {
        panic!("no condition was asked");
    };
    for position in [other, beginning] {
        let answer = store.read(&OTHER, ReadFrom::After(position), ALL).await;
        assert!(matches!(answer.unwrap(), Read::UnknownEpoch(_)));
    }
}

#[tokio::test]
async fn topics_are_words_that_match_nothing_else() {
    let Some(site) = Site::start().await else {
        return;
    };
    let names = ["a.b", "a", "b", "a.b.c", "a:b", "a/b", ".", "..", "a..b"];
    for name in names {
        let topic = TopicName::new(name).unwrap();
        let append = Append::new([event(name)]);
        let _ = site.store.append(&topic, append).await.unwrap();
    }
    assert_eq!(site.stream().await.cached_info().state.subjects_count, 9);
    for name in names {
        let topic = TopicName::new(name).unwrap();
        let read = site
            .store
            .read(&topic, ReadFrom::Oldest, ALL)
            .await
            .unwrap();
        let Read::Page(page) = read else {
            panic!("{read:?}");
        };
        assert_eq!(texts(&page), [name]);
    }
    for name in ["a.*", "a.>", "*", ">", "", "a b", "a\tb"] {
        let options = NatsStore::options().stream(name);
        let error = options.connect(&site.server.url()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_watch_whose_consumer_is_deleted_goes_on_or_ends() {
    let Some(site) = Site::start().await else {
        return;
    };
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let wakes = Wakes::new(move |topic| drop(told.send(topic.cloned())));
    let watch = site.store.watch(wakes);
    let deleted = async {
        assert_eq!(tells.recv().await, Some(None));
        let stream = site.stream().await;
        let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
        assert_eq!(names.len(), 1, "{names:?}");
        site.stream()
            .await
            .delete_consumer(&names[0])
            .await
            .unwrap();
        append(&site.store, 1).await;
        // It is missed with its heartbeats.
        assert_eq!(tells.recv().await, Some(Some(TOPIC)));
    };
    let either = async {
        tokio::select! {
            () = deleted => {}
            error = watch => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
        }
    };
    timeout(Duration::from_secs(60), either).await.unwrap();
}
