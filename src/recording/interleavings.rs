//! One producer, those who would end its log, and those who listen, under a scheduler that tries out
//! interleavings of their critical sections.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test --lib`. A wake-up that is lost shows as a deadlock.

use std::{future::poll_fn, num::NonZeroUsize, task::Poll, time::Duration};

use futures_util::FutureExt;
use shuttle::{future::block_on, thread};

use super::{
    Leaving, Rules, StoreFailure,
    log::{Log, LogError},
    note::{Note, Outcome},
    production::{Now, Production},
};
use crate::{
    store::{
        Append, Appended, DynStore, MemoryStore, NewRecord, Position, Read, ReadFrom, RecordKind,
    },
    subscription::Feeds,
    sync::Arc,
    topic_name::TopicName,
};

const TOPIC: TopicName = TopicName::from_static("recorded/topic");
const EVENTS: u64 = 3;
const RULES: Rules = Rules {
    lease: Duration::from_secs(10),
    kept_for: Duration::from_secs(600),
    leaving: Leaving::Cancel,
    failing: StoreFailure::GoOn,
    ids: true,
};

fn feeds() -> Arc<Feeds> {
    let store: Arc<dyn DynStore> = Arc::new(MemoryStore::new());
    Feeds::new(store)
}

fn head(feeds: &Feeds) -> Position {
    feeds
        .store
        .head_now(&TOPIC)
        .expect("a store in memory knows")
}

/// All that is in the log.
fn log(feeds: &Feeds) -> Vec<NewRecord> {
    let topic = TOPIC;
    let read = feeds
        .store
        .read(&topic, ReadFrom::Oldest, NonZeroUsize::MAX);
    match read.now_or_never() {
        Some(Ok(Read::Page(page))) => {
            let records = page.records.into_iter();
            records.map(crate::store::Record::into_content).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Appends until it may not, and returns how many events are stored for certain.
fn produce(feeds: &Arc<Feeds>, head: Position) -> Option<(u64, Outcome)> {
    block_on(async {
        let mut log = Log::begin(feeds, TOPIC, Some(head), &RULES).await.ok()??;
        for number in 0..EVENTS {
            let event = NewRecord::event(None, number.to_string());
            match log.append(&[event]).await {
                Ok(_) => {}
                Err(LogError::Ended(outcome)) => return Some((number, outcome)),
                Err(error) => panic!("{error:?}"),
            }
        }
        match log.end(Outcome::Finished).await {
            Ok(outcome) => Some((EVENTS, outcome)),
            Err(error) => panic!("{error:?}"),
        }
    })
}

/// Declares the producer lost, as a listener does that has seen all that there is.
fn declare(feeds: &Feeds) {
    let at = head(feeds);
    let records = log(feeds);
    if records.is_empty() || records.iter().any(|one| one.kind() == RecordKind::End) {
        return;
    }
    let append = Append::new([Outcome::Lost.record()]).while_head(at);
    match feeds.store.append(&{ TOPIC }, append).now_or_never() {
        Some(Ok(Appended::Stored(_) | Appended::Conflict(_))) => {}
        other => panic!("{other:?}"),
    }
}

/// Notes something, as anybody may.
fn note(feeds: &Feeds) {
    let append = Append::new([Note::Listened.record()]);
    let stored = feeds.store.append(&{ TOPIC }, append).now_or_never();
    assert!(matches!(stored, Some(Ok(Appended::Stored(_)))));
}

fn fenced() {
    let feeds = feeds();
    let beginning = head(&feeds);
    let producers: Vec<_> = (0..2)
        .map(|_| {
            let feeds = Arc::clone(&feeds);
            thread::spawn(move || produce(&feeds, beginning))
        })
        .collect();
    let others = [declare as fn(&Feeds), declare, |feeds| {
        // A note would begin the log.
        if !log(feeds).is_empty() {
            note(feeds);
        }
    }];
    let others: Vec<_> = others
        .into_iter()
        .map(|other| {
            let feeds = Arc::clone(&feeds);
            thread::spawn(move || other(&feeds))
        })
        .collect();
    let produced = producers.into_iter().filter_map(|one| one.join().unwrap());
    let produced: Vec<_> = produced.collect();
    others.into_iter().for_each(|other| other.join().unwrap());

    let [(stored, outcome)] = produced[..] else {
        panic!("not one producer: {produced:?}");
    };
    let records = log(&feeds);
    let texts = |kind| {
        let records = records.iter().filter(move |record| record.kind() == kind);
        records.map(|record| record.data().to_string())
    };
    // What its producer was told of is there, in order, and nothing else; and there is one end.
    let expected: Vec<_> = (0..stored).map(|number| number.to_string()).collect();
    assert_eq!(texts(RecordKind::Event).collect::<Vec<_>>(), expected);
    assert_eq!(
        texts(RecordKind::End).collect::<Vec<_>>(),
        [outcome.as_str()]
    );
    let end = records
        .iter()
        .position(|record| record.kind() == RecordKind::End);
    let behind = &records[end.expect("there is one") + 1..];
    assert!(
        behind
            .iter()
            .all(|record| record.kind() == RecordKind::Lease)
    );
}

#[test]
fn there_is_one_producer_and_one_end() {
    shuttle::check_random(fenced, 5_000);
    shuttle::check_pct(fenced, 3_000, 3);
}

/// A listener that reads what passes, until it is told of the end.
fn listen(production: &Arc<Production>) -> usize {
    let seat = production.sit(0);
    let mut read = 0;
    block_on(poll_fn(|cx| {
        loop {
            let look = seat.look(cx);
            match seat.next_passed() {
                Ok(Some((_, events))) => read += events,
                Err(outcome) => {
                    assert_eq!(outcome, Outcome::Finished);
                    return Poll::Ready(());
                }
                Ok(None) if look.now == Now::Lost => return Poll::Ready(()),
                Ok(None) => return Poll::Pending,
            }
        }
    }));
    read
}

fn passing() {
    let production = Production::new(RULES, None);
    // They sit before anything passes.
    let seats: Vec<_> = (0..2).map(|_| production.sit(0)).collect();
    let listeners: Vec<_> = (0..2)
        .map(|_| {
            let production = Arc::clone(&production);
            thread::spawn(move || listen(&production))
        })
        .collect();
    let telling = {
        let production = Arc::clone(&production);
        thread::spawn(move || {
            production.end_record(0);
            for _ in 0..EVENTS {
                production.pass("data: x\n\n".into());
            }
            production.end(Outcome::Finished);
            production.close();
        })
    };
    telling.join().unwrap();
    for listener in listeners {
        assert!(listener.join().unwrap() as u64 <= EVENTS);
    }
    for seat in seats {
        let mut read = 0;
        while let Ok(Some((_, events))) = seat.next_passed() {
            read += events as u64;
        }
        assert_eq!(read, EVENTS);
    }
}

#[test]
fn who_listens_is_told_of_everything() {
    shuttle::check_random(passing, 5_000);
    shuttle::check_pct(passing, 3_000, 3);
}
