//! What becomes of positions when the file is put back to an older copy.

use futures_util::StreamExt;
use tower_sse::{Event, Hub, LastEventId};

use super::*;

async fn is_told(store: &FileStore, position: Position) -> bool {
    matches!(
        read(store, ReadFrom::After(position)).await,
        Read::UnknownEpoch(_) | Read::Ahead(_)
    )
}

#[tokio::test]
async fn whoever_saw_what_a_restored_copy_lacks_is_told() {
    let directory = Directory::new();
    let (path, copy) = (directory.file(), directory.0.join("copy"));
    let store = FileStore::open(&path).unwrap();
    let kept = append_each(&store, 0..100).await;
    // As a snapshot of the file system does: the store is open, and nothing is under way.
    fs::copy(&path, &copy).unwrap();
    let mut lost = append_each(&store, 100..150).await;
    drop(store);
    let store = FileStore::open(&path).unwrap();
    lost.extend(append_each(&store, 150..170).await);
    drop(store);

    fs::copy(&copy, &path).unwrap();
    let store = FileStore::open(&path).unwrap();
    assert_eq!(head(&store).await, kept[99]);
    for &position in &lost {
        assert!(is_told(&store, position).await, "{position}");
    }
    let conflict = Append::new([event("x")]).while_head(lost[10]);
    let answer = store.append(&TOPIC, conflict).await.unwrap();
    assert_eq!(answer, Appended::Conflict(kept[99]));
    let first = Append::new([event(200)]).while_head(kept[99]);
    let first = stored(&store, &TOPIC, first).await;
    assert_eq!(first.epoch(), kept[99].epoch());
    let last = append_each(&store, 201..260).await[58];
    for &position in &lost {
        assert!(is_told(&store, position).await, "{position}");
    }
    for (number, &position) in (1..).zip(&kept) {
        let expected: Vec<_> = numbers(number..100)
            .into_iter()
            .chain(numbers(200..260))
            .collect();
        assert_eq!(texts(&store, ReadFrom::After(position)).await, expected);
    }
    assert!(texts(&store, ReadFrom::After(last)).await.is_empty());
    assert_eq!(
        texts(&store, ReadFrom::Newest(70)).await,
        [numbers(90..100), numbers(200..260)].concat()
    );
    // Directly before the jumped record was never given out.
    let before = Position::new(first.epoch(), first.offset() - 1);
    assert_eq!(
        read(&store, ReadFrom::After(before)).await,
        Read::UnknownEpoch(last)
    );
}

#[tokio::test]
async fn what_a_jump_hides_is_not_counted_as_missed() {
    let directory = Directory::new();
    let options = || FileStore::options().max_events(count(5));
    let store = options().open(directory.file()).unwrap();
    let mut positions = append_each(&store, 0..10).await;
    drop(store);
    let store = options().open(directory.file()).unwrap();
    positions.extend(append_each(&store, 10..20).await);
    for (number, &position) in (0..).zip(&positions[..14]) {
        let Read::Evicted(evicted) = read(&store, ReadFrom::After(position)).await else {
            panic!("{position} is not evicted");
        };
        assert_eq!(evicted.oldest, positions[14]);
        let counted = number >= 10;
        assert_eq!(evicted.missed, counted.then(|| 14 - number));
    }
}

#[tokio::test]
async fn a_log_that_came_and_went_in_a_lost_life_leaves_no_position() {
    let directory = Directory::new();
    let (path, copy) = (directory.file(), directory.0.join("copy"));
    let store = FileStore::open(&path).unwrap();
    let beginning = head(&store).await;
    drop(store);
    fs::copy(&path, &copy).unwrap();
    // It is gone as soon as it is there.
    let brief = || Append::new([event("brief")]).gone_after(Duration::ZERO);
    let store = FileStore::open(&path).unwrap();
    stored(&store, &TOPIC, brief()).await;
    let lost = head(&store).await;
    assert_ne!(lost, beginning);
    drop(store);

    fs::copy(&copy, &path).unwrap();
    let store = FileStore::open(&path).unwrap();
    assert_eq!(head(&store).await, beginning);
    assert!(is_told(&store, lost).await);
    stored(&store, &TOPIC, brief()).await;
    assert!(is_told(&store, lost).await);
    assert!(is_told(&store, beginning).await);
    append(&store, 1).await;
    assert!(is_told(&store, lost).await);
    assert!(is_told(&store, beginning).await);
}

#[tokio::test]
async fn a_client_resumes_before_the_first_append_after_an_opening() {
    let directory = Directory::new();
    let mut positions = vec![];
    for round in 0..5_u64 {
        let store = FileStore::open(directory.file()).unwrap();
        if let Some(&last) = positions.last() {
            assert_eq!(head(&store).await, last);
            assert_eq!(store.head_now(&TOPIC), Some(last));
        }
        for (number, &position) in (1..).zip(&positions) {
            let rest = texts(&store, ReadFrom::After(position)).await;
            assert_eq!(rest, numbers(number..round * 10));
        }
        positions.extend(append_each(&store, round * 10..round * 10 + 10).await);
    }
    assert!(
        positions
            .windows(2)
            .all(|two| two[0].epoch() == two[1].epoch())
    );
}

/// Their window has the record behind the jump, and lost positions before it.
#[tokio::test]
async fn a_client_that_saw_what_is_lost_is_told_where_others_follow_already() {
    let directory = Directory::new();
    let (path, copy) = (directory.file(), directory.0.join("copy"));
    let store = FileStore::open(&path).unwrap();
    append_each(&store, 0..10).await;
    fs::copy(&path, &copy).unwrap();
    let lost = append_each(&store, 10..15).await;
    drop(store);
    fs::copy(&copy, &path).unwrap();

    let hub = Hub::with_store(FileStore::open(&path).unwrap());
    let mut live = hub.subscribe(&TOPIC, LastEventId::Absent).events();
    assert_eq!(live.next().await.unwrap().event_type(), "sse.open");
    let topic = hub.topic::<Event>(&TOPIC).unwrap();
    topic.publish(&Event::new("new")).await.unwrap();
    assert_eq!(live.next().await.unwrap().data(), "new");
    for position in lost {
        let id = LastEventId::Id(position.to_string().into());
        let mut events = hub.subscribe(&TOPIC, id).events();
        let first = events.next().await.unwrap();
        assert!(first.gap().is_some(), "{position}: {first:?}");
    }
}
