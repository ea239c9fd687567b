//! The store in a file keeps the contract, and what it promises beyond that.

mod copies;
mod damage;
mod groups;
mod killed;

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use tower_sse::{
    TopicName,
    store::{
        Append, Appended, EventStore, FileStore, NewRecord, Position, Read, ReadFrom, RecordKind,
        StoreErrorKind,
        contract::{self, Limits, Subject},
    },
};

use crate::log::{ALL, TOPIC, append, append_each, event, head, stored, told};

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let name = format!("tower-sse-{:016x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("events")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

async fn read(store: &FileStore, from: ReadFrom) -> Read {
    store.read(&TOPIC, from, ALL).await.unwrap()
}

/// The data of a page, whose records follow each other.
async fn texts(store: &FileStore, from: ReadFrom) -> Vec<String> {
    let Read::Page(page) = read(store, from).await else {
        panic!("no page from {from:?}");
    };
    let mut previous = page.start.offset();
    for record in &page.records {
        assert_eq!(record.previous_offset(), previous);
        previous = record.offset();
    }
    assert_eq!(page.end(), page.head);
    let data = |record: &tower_sse::store::Record| record.content().data().to_string();
    page.records.iter().map(data).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

struct File(Directory);

impl File {
    fn path(&self, place: &str) -> PathBuf {
        self.0.0.join(place)
    }
}

impl Subject for File {
    type Store = FileStore;
    type Copy = PathBuf;
    const DURABLE: bool = true;
    const SHARED: bool = false;

    async fn open(&self, place: &str, limits: Limits) -> FileStore {
        let options = FileStore::options()
            .max_events(limits.events)
            .max_bytes(limits.bytes);
        let options = match limits.age {
            Some(age) => options.max_age(age),
            None => options,
        };
        options.open(self.path(place)).unwrap()
    }

    async fn copy(&self, place: &str) -> Option<PathBuf> {
        let copy = self.path(&format!("{place}-copy"));
        fs::copy(self.path(place), &copy).unwrap();
        Some(copy)
    }

    async fn restore(&self, place: &str, copy: PathBuf) {
        fs::copy(copy, self.path(place)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_keeps_the_contract() {
    contract::run(&File(Directory::new())).await.assert_passed();
}

/// The size of the file.
fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn the_file_stays_small_while_events_come_and_go() {
    let directory = Directory::new();
    let store = FileStore::options()
        .max_events(count(1000))
        .open(directory.file())
        .unwrap();
    let batch = || Append::new((0..500).map(|_| event("x".repeat(150))));
    for _ in 0..20 {
        stored(&store, &TOPIC, batch()).await;
    }
    let steady = size(&directory.file());
    for _ in 0..200 {
        stored(&store, &TOPIC, batch()).await;
    }
    let later = size(&directory.file());
    assert!(later <= 2 * steady, "{steady} bytes, then {later}");
    assert_eq!(texts(&store, ReadFrom::Oldest).await.len(), 1000);
}

#[tokio::test]
async fn the_space_of_topics_that_are_gone_is_used_again() {
    let directory = Directory::new();
    let mut sizes = Vec::new();
    let mut number = 0;
    for _ in 0..4 {
        // What is left of them when the store is closed is removed when it is open again.
        let store = FileStore::open(directory.file()).unwrap();
        for _ in 0..20 {
            number += 1;
            let topic = TopicName::new(format!("topic-{number}")).unwrap();
            let batch = Append::new((0..5000).map(|_| event("x".repeat(100))));
            stored(&store, &topic, batch.gone_after(Duration::ZERO)).await;
            let read = store.read(&topic, ReadFrom::Oldest, ALL).await.unwrap();
            assert!(matches!(read, Read::Page(page) if page.records.is_empty()));
        }
        drop(store);
        sizes.push(size(&directory.file()));
    }
    assert!(sizes[3] <= 2 * sizes[0], "{sizes:?}");
}

#[tokio::test]
async fn smaller_limits_hold_from_the_opening_on() {
    let directory = Directory::new();
    let store = FileStore::open(directory.file()).unwrap();
    let positions = append_each(&store, 0..20).await;
    drop(store);
    let options = FileStore::options().max_events(count(5));
    let store = options.open(directory.file()).unwrap();
    assert_eq!(texts(&store, ReadFrom::Oldest).await, numbers(15..20));
    let Read::Evicted(evicted) = read(&store, ReadFrom::After(positions[2])).await else {
        panic!("nothing evicted");
    };
    assert_eq!(evicted.missed, Some(12));
    assert_eq!(evicted.oldest, positions[14]);
    assert_eq!(evicted.middle, positions[16]);
}

#[tokio::test]
async fn the_least_recent_topic_goes_whole_and_its_positions_are_unknown() {
    let directory = Directory::new();
    let options = FileStore::options().max_total_bytes(count(200_000));
    let store = options.open(directory.file()).unwrap();
    let topic = |number: usize| TopicName::new(format!("topic-{number}")).unwrap();
    let batch = || Append::new((0..10).map(|_| event("x".repeat(1000))));
    let mut first = Vec::new();
    for number in 0..40 {
        first.push(stored(&store, &topic(number), batch()).await);
    }
    let mut kept = 0;
    for (number, position) in first.iter().enumerate() {
        let from = ReadFrom::After(Position::new(position.epoch(), 0));
        match store.read(&topic(number), from, ALL).await.unwrap() {
            Read::Page(page) => {
                assert_eq!(page.records.len(), 10);
                kept += 1;
            }
            Read::UnknownEpoch(_) => assert_eq!(kept, 0, "a younger topic has gone"),
            other => panic!("{other:?}"),
        }
    }
    assert!((10..=17).contains(&kept), "{kept} topics");
    drop(store);
    let store = FileStore::open(directory.file()).unwrap();
    let read = store.read(&topic(39), ReadFrom::Oldest, ALL).await.unwrap();
    assert!(matches!(read, Read::Page(page) if page.records.len() == 10));
}

#[tokio::test]
async fn missed_is_told_only_where_offsets_count_events() {
    let directory = Directory::new();
    let options = FileStore::options().max_events(count(3));
    let store = options.open(directory.file()).unwrap();
    let lease = NewRecord::of_kind(RecordKind::Lease, "alive");
    let mut positions = append_each(&store, 0..3).await;
    positions.push(stored(&store, &TOPIC, Append::new([lease])).await);
    positions.extend(append_each(&store, 3..9).await);
    let missed = async |position| match read(&store, ReadFrom::After(position)).await {
        Read::Evicted(evicted) => evicted.missed,
        other => panic!("{other:?}"),
    };
    assert_eq!(missed(positions[2]).await, None);
    assert_eq!(missed(positions[3]).await, Some(3));
    assert_eq!(missed(positions[5]).await, Some(1));
}

#[tokio::test]
async fn an_age_hides_events_also_over_a_reopening() {
    const AGE: Duration = Duration::from_millis(300);
    let directory = Directory::new();
    let options = FileStore::options().max_age(AGE);
    let store = options.clone().open(directory.file()).unwrap();
    let last = append_each(&store, 0..5).await[4];
    while !texts(&store, ReadFrom::Oldest).await.is_empty() {
        tokio::time::sleep(AGE / 10).await;
    }
    drop(store);
    let store = options.open(directory.file()).unwrap();
    assert_eq!(texts(&store, ReadFrom::Oldest).await, numbers(0..0));
    assert_eq!(head(&store).await, last);
}

#[tokio::test]
async fn a_record_beyond_the_limit_of_bytes_is_refused() {
    let directory = Directory::new();
    let options = FileStore::options().max_bytes(count(10));
    let store = options.open(directory.file()).unwrap();
    let refused = store
        .append(&TOPIC, Append::new([event("12345678901")]))
        .await;
    assert_eq!(refused.unwrap_err().kind(), StoreErrorKind::TooLarge);
    append(&store, "1234567890").await;
}
