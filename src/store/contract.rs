//! The contract of a store, as a suite that any store can be put through.
//!
//! Whoever writes an [`EventStore`] implements [`Subject`] for it, in a test, and has it run:
//!
//! ```
//! use tower_sse::store::{MemoryStore, contract::{self, Limits, Subject}};
//!
//! struct Memory;
//!
//! impl Subject for Memory {
//!     type Store = MemoryStore;
//!     type Copy = ();
//!     const DURABLE: bool = false;
//!     const SHARED: bool = false;
//!
//!     async fn open(&self, _place: &str, limits: Limits) -> MemoryStore {
//!         let store = MemoryStore::new().max_events(limits.events).max_bytes(limits.bytes);
//!         match limits.age {
//!             Some(age) => store.max_age(age),
//!             None => store,
//!         }
//!     }
//! #   fn large_log(&self) -> u64 { 5_000 }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! contract::run(&Memory).await.assert_passed();
//! # });
//! ```
//!
//! The suite appends and reads through the trait only, and takes no more than the trait promises. It
//! waits for what takes time, such as an event that gets too old, so it takes one to two minutes on a
//! real clock and no time on a paused one.

mod append;
mod check;
mod copies;
mod delivery;
mod life;
mod position;
mod read;
mod reopen;
mod report;
mod retention;
mod several;
mod wakes;

use std::{num::NonZeroUsize, time::Duration};

use super::EventStore;
use check::Place;
pub use report::Report;

/// What a store is to retain in a case of the suite.
///
/// A store whose limits are for all topics together takes them as such: cases about limits have one
/// topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many events a topic retains at most.
    pub events: NonZeroUsize,
    /// How many bytes of names and data a topic retains at most.
    pub bytes: NonZeroUsize,
    /// The age from which an event is no longer read.
    pub age: Option<Duration>,
}

/// A kind of store, with all that the suite has to know of it.
pub trait Subject: Send + Sync {
    /// The store.
    type Store: EventStore;
    /// A copy of the logs of one place.
    type Copy: Send;

    /// Whether logs outlive the store that was opened over them.
    const DURABLE: bool;

    /// Whether several stores can be open over the same logs at a time, as in several processes.
    const SHARED: bool;

    /// Whether [`EventStore::watch`] tells of appends, or leaves them all to be found.
    const WATCHES: bool = true;

    /// Opens a store over the logs that are kept in `place`; there are none in a place that was not
    /// opened before.
    ///
    /// A place is a short name of `a-z`, `0-9` and `-`. Where stores are [`SHARED`](Self::SHARED), the
    /// suite opens several over one place, otherwise it [closes](Self::close) one before it opens the
    /// next.
    fn open(&self, place: &str, limits: Limits) -> impl Future<Output = Self::Store> + Send;

    /// Closes a store, so that its place can be opened again.
    fn close(&self, store: Self::Store) -> impl Future<Output = ()> + Send {
        async { drop(store) }
    }

    /// Copies the logs of a place, as a backup does. `None` where that cannot be.
    ///
    /// Where stores are not [`SHARED`](Self::SHARED), none is open over the place.
    fn copy(&self, place: &str) -> impl Future<Output = Option<Self::Copy>> + Send {
        let _ = place;
        async { None }
    }

    /// Puts the logs of a place back to what they were.
    ///
    /// Where stores are [`SHARED`](Self::SHARED), some are open over the place.
    fn restore(&self, place: &str, copy: Self::Copy) -> impl Future<Output = ()> + Send {
        let _ = (place, copy);
        async {}
    }

    /// How much work reads have made the engine do so far, in any unit that grows with it, such as
    /// bytes read. `None` where nobody counts.
    fn work(&self) -> impl Future<Output = Option<u64>> + Send {
        async { None }
    }

    /// How many events are in the log that is read one behind its end. The limits of that case are
    /// above it.
    fn large_log(&self) -> u64 {
        1_000_000
    }

    /// Makes the engine unreachable for all stores until [`heal`](Self::heal). False where that
    /// cannot be.
    fn cut(&self) -> impl Future<Output = bool> + Send {
        async { false }
    }

    /// Makes the engine reachable again.
    fn heal(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// Puts stores of this kind through all cases, one after the other, each in a place of its own.
///
/// Has to run within a Tokio runtime with a clock.
pub async fn run<S: Subject>(subject: &S) -> Report {
    let mut report = Report::default();
    macro_rules! cases {
        ($($room:ident: $($case:ident)*;)*) => {
            $($(
                let place = Place::new(subject, stringify!($case));
                let name = concat!(stringify!($room), "::", stringify!($case));
                report.case(name, $room::$case(&place)).await;
            )*)*
        };
    }
    cases! {
        append:
            what_was_appended_is_read_back
            what_was_acknowledged_is_there
            no_records_are_no_append
            a_record_beyond_the_limit_is_refused
            concurrent_batches_stay_together
            an_append_that_is_dropped_is_whole_or_not_at_all
            a_condition_holds_or_nothing_is_stored
            of_those_who_race_one_wins;
        position:
            topics_are_apart
            offsets_tell_events_of_one_moment_apart
            a_topic_without_a_log_has_a_beginning
            reading_stores_nothing
            a_position_of_another_life_is_unknown
            a_position_beyond_the_head_is_ahead;
        read:
            a_read_goes_on_behind_every_position
            a_page_is_bounded_in_bytes
            the_newest_are_counted_in_events
            kinds_keep_their_place
            a_record_tells_when_it_was_appended
            heads_come_in_the_order_of_the_topics
            one_behind_is_no_more_work_in_a_large_log;
        retention:
            events_beyond_the_number_are_evicted
            events_beyond_the_bytes_are_evicted
            events_past_their_age_are_evicted
            other_kinds_do_not_count
            a_batch_may_be_larger_than_the_log
            a_log_retains_what_the_store_says
            a_page_has_no_hole_while_events_are_evicted;
        life:
            a_topic_that_is_gone_reads_as_unknown
            a_later_append_takes_the_end_back
            an_end_can_be_set_without_an_event
            a_position_before_a_log_that_is_gone_is_unknown;
        wakes:
            a_watcher_is_told
            watchers_come_and_go;
        delivery:
            nothing_is_missing_where_wakes_are_lost
            nothing_is_doubled_where_wakes_are
            an_outage_is_no_gap;
        reopen:
            a_client_resumes_before_the_first_append
            limits_hold_over_a_reopening
            the_beginning_of_a_topic_outlives_the_store
            an_end_of_life_outlives_the_store;
        copies:
            positions_of_a_lost_future_are_told
            a_reader_notices_what_was_put_back;
        several:
            stores_append_to_one_log
            one_store_reads_what_another_has_appended
            a_condition_holds_over_stores
            a_store_wakes_the_watchers_of_another;
    }
    report
}
