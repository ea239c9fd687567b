//! The hand-over under a scheduler that tries out interleavings of its critical sections.
//!
//! Run with `RUSTFLAGS="--cfg shuttle" cargo test --lib`. A wake-up that is lost shows as a deadlock.

use std::{future::poll_fn, num::NonZeroUsize, task::Poll};

use futures_util::FutureExt;
use shuttle::{
    future::block_on,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{
    feeds::Feeds,
    follow::{Begin, Floor, Follower, Resume, Step},
    reader::{Progress, read_page},
};
use crate::{
    store::{Append, DynStore, MemoryStore, NewRecord, Position},
    sync::Arc,
    topic_name::TopicName,
};

const TOPIC: TopicName = TopicName::from_static("topic");
const PUBLISHERS: u64 = 2;
const EACH: u64 = 3;

/// Two publishers, the reader and three followers. `retained` events stay in the log, `window` in
/// the window.
fn story(retained: usize, window: usize) {
    let retained = NonZeroUsize::new(retained).unwrap();
    let store: Arc<dyn DynStore> = Arc::new(MemoryStore::new().max_events(retained));
    let feeds = Feeds::new(store);
    feeds.set_window_events(NonZeroUsize::new(window).unwrap());
    let start = feeds.store.head_now(&TOPIC).unwrap();
    let end = start.offset() + PUBLISHERS * EACH;
    let following = Arc::new(AtomicUsize::new(3));

    let mut threads = Vec::new();
    for publisher in 0..PUBLISHERS {
        let feeds = Arc::clone(&feeds);
        threads.push(thread::spawn(move || {
            for number in 0..EACH {
                let record = NewRecord::event(None, format!("{publisher}:{number}"));
                let (topic, append) = (TOPIC, Append::new([record]));
                let appended = feeds.store.append(&topic, append).now_or_never();
                let _ = appended.unwrap().unwrap();
                feeds.wake(&topic);
            }
        }));
    }
    {
        let (feeds, following) = (Arc::clone(&feeds), Arc::clone(&following));
        threads.push(thread::spawn(move || read(&feeds, &following)));
    }
    let begins = [
        (Resume::After(start), Begin::Live, None),
        (Resume::Nothing, Begin::Live, Some(start)),
        (Resume::Nothing, Begin::Oldest, None),
    ];
    for (resume, begin, head) in begins {
        let (feeds, following) = (Arc::clone(&feeds), Arc::clone(&following));
        threads.push(thread::spawn(move || {
            let follower = Follower::new(&feeds, &TOPIC, resume, begin, head, Floor::default());
            follow(follower, start, end);
            following.fetch_sub(1, Ordering::SeqCst);
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

/// What the reader's task does, without its clock.
fn read(feeds: &Arc<Feeds>, following: &AtomicUsize) {
    while following.load(Ordering::SeqCst) > 0 {
        let Some(feed) = feeds.pop_queue() else {
            thread::yield_now();
            continue;
        };
        let weak = Arc::downgrade(&feed);
        while block_on(read_page(&weak, &*feeds.store)).unwrap() != Progress::Done {}
        if feed.end_read() {
            feeds.push_queue(&feed);
        }
    }
}

/// Follows to the end of the log and checks every step against the last.
fn follow(mut follower: Follower, start: Position, end: u64) {
    let mut cursor: Option<Position> = None;
    while cursor.is_none_or(|cursor| cursor.offset() < end) {
        // As servers do, it is polled once more where nothing was there.
        let step = poll_fn(|cx| match follower.poll_step(cx, false) {
            Poll::Pending => follower.poll_step(cx, false),
            ready => ready,
        });
        match block_on(step).unwrap() {
            Step::Open(at) => cursor = Some(at),
            Step::Gap(_, at) => {
                assert!(
                    at.offset() > cursor.unwrap_or(start).offset(),
                    "a gap without a loss"
                );
                cursor = Some(at);
            }
            Step::Frames(frames, to, _) => {
                for frame in frames {
                    let id = Position::new(to.epoch(), frame.offset);
                    if let Some(cursor) = cursor {
                        assert_eq!(id.offset(), cursor.offset() + 1);
                    }
                    cursor = Some(id);
                }
                assert_eq!(cursor, Some(to));
            }
            step => panic!("{step:?}"),
        }
    }
}

#[test]
fn a_follower_gets_everything_or_is_told_of_a_gap() {
    for (retained, window) in [(100, 100), (100, 1), (1, 100), (2, 2)] {
        shuttle::check_random(move || story(retained, window), 2_000);
        shuttle::check_pct(move || story(retained, window), 1_000, 3);
    }
}
