//! The suite catches what is wrong with a store.

use tower_sse::store::contract;

use crate::naive::Naive;

macro_rules! mistakes {
    ($($mistake:ident: $($case:literal)+;)*) => {
        /// What a store does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Mistake {
            None,
            $($mistake,)*
        }

        /// Each mistake with cases that have to catch it.
        const MISTAKES: &[(Mistake, &[&str])] = &[
            $((Mistake::$mistake, &[$($case),+]),)*
        ];
    };
}

mistakes! {
    NamesLost: "append::what_was_appended_is_read_back";
    LineBreaksChanged: "append::what_was_appended_is_read_back";
    TextTrimmed: "append::what_was_appended_is_read_back";
    KindsForgotten: "append::what_was_appended_is_read_back" "read::kinds_keep_their_place";
    StoredLater: "append::what_was_acknowledged_is_there";
    FirstPositionReturned: "append::what_was_appended_is_read_back";
    BatchTornApart: "append::an_append_that_is_dropped_is_whole_or_not_at_all" "append::concurrent_batches_stay_together";
    NothingMakesALog: "append::no_records_are_no_append";
    LargeRecordsTaken: "append::a_record_beyond_the_limit_is_refused";
    LargeIsUnavailable: "append::a_record_beyond_the_limit_is_refused";
    BatchPartlyRefused: "append::a_record_beyond_the_limit_is_refused";
    ConditionIgnored: "append::a_condition_holds_or_nothing_is_stored" "append::of_those_who_race_one_wins";
    ConditionLooked: "append::of_those_who_race_one_wins" "several::a_condition_holds_over_stores";
    ConflictStores: "append::a_condition_holds_or_nothing_is_stored";
    ConflictEchoes: "append::a_condition_holds_or_nothing_is_stored";

    TopicsWithoutCase: "position::topics_are_apart";
    TopicsEscapedAlike: "position::topics_are_apart";
    TopicsCutShort: "position::topics_are_apart";
    BeginningOfEachRead: "position::reading_stores_nothing";
    BeginningForgotten: "position::a_topic_without_a_log_has_a_beginning";
    BeginningForEver: "life::a_position_before_a_log_that_is_gone_is_unknown";
    EpochUnread: "position::a_position_of_another_life_is_unknown";
    EpochOfTheTopic: "life::a_topic_that_is_gone_reads_as_unknown";
    AheadIsEmpty: "position::a_position_beyond_the_head_is_ahead";
    AheadIsUnknown: "position::a_position_beyond_the_head_is_ahead";

    PositionIncluded: "read::a_read_goes_on_behind_every_position";
    NextSkipped: "read::a_read_goes_on_behind_every_position";
    PagesUnbounded: "read::a_page_is_bounded_in_bytes";
    LargeRecordsUnread: "read::a_page_is_bounded_in_bytes";
    NewestCountsAll: "read::the_newest_are_counted_in_events";
    KindsHidden: "read::kinds_keep_their_place";
    TimesBackwards: "read::a_record_tells_when_it_was_appended";
    TimesInSeconds: "read::a_record_tells_when_it_was_appended";
    HeadsSorted: "read::heads_come_in_the_order_of_the_topics";
    HeadsOnceATopic: "read::heads_come_in_the_order_of_the_topics";
    LogScanned: "read::one_behind_is_no_more_work_in_a_large_log";

    OneEventTooMany: "retention::events_beyond_the_number_are_evicted";
    OneEventTooFew: "retention::events_beyond_the_number_are_evicted";
    BytesIgnored: "retention::events_beyond_the_bytes_are_evicted";
    AgeIgnored: "retention::events_past_their_age_are_evicted";
    AgeOnAppendOnly: "retention::events_past_their_age_are_evicted";
    HeadGoesWithEvents: "retention::events_past_their_age_are_evicted";
    KindsCounted: "retention::other_kinds_do_not_count";
    EvictedFromOldest: "retention::events_beyond_the_number_are_evicted" "retention::a_page_has_no_hole_while_events_are_evicted";
    EvictedFromNow: "retention::events_beyond_the_number_are_evicted";
    HeadIsAGap: "retention::events_beyond_the_number_are_evicted";
    MiddleBeforeOldest: "retention::events_beyond_the_number_are_evicted";
    MissedMiscounted: "retention::events_beyond_the_number_are_evicted";
    EventsSaidForBytes: "retention::a_log_retains_what_the_store_says";
    NoLimitSaid: "retention::a_log_retains_what_the_store_says";

    EndIgnored: "life::a_topic_that_is_gone_reads_as_unknown";
    EndNotTakenBack: "life::a_later_append_takes_the_end_back";
    EndOnlyWithEvents: "life::an_end_can_be_set_without_an_event";

    NobodyWoken: "wakes::a_watcher_is_told" "several::a_store_wakes_the_watchers_of_another";
    OneWatcherWoken: "wakes::watchers_come_and_go";
    BeginningUntold: "wakes::a_watcher_is_told";
    WatchEnds: "wakes::a_watcher_is_told";

    OutageAcknowledged: "delivery::an_outage_is_no_gap";
    OutageIsUnknown: "delivery::an_outage_is_no_gap";

    EpochOfEachOpening: "reopen::a_client_resumes_before_the_first_append";
    HeadUnknownBeforeAppend: "reopen::a_client_resumes_before_the_first_append";
    BeginningOfEachOpening: "reopen::the_beginning_of_a_topic_outlives_the_store";
    EndForgottenByOpening: "reopen::an_end_of_life_outlives_the_store";

    LostFutureForgotten: "copies::positions_of_a_lost_future_are_told";
    ReaderForgetful: "copies::a_reader_notices_what_was_put_back";
}

#[tokio::test(start_paused = true)]
async fn a_naive_store_keeps_the_contract() {
    let report = contract::run(&Naive::new(Mistake::None)).await;
    report.assert_passed();
    assert_eq!(report.skipped().count(), 0, "{report}");
}

#[tokio::test(start_paused = true)]
async fn each_mistake_is_caught() {
    let mut missed = String::new();
    for (mistake, cases) in MISTAKES {
        let report = contract::run(&Naive::new(*mistake)).await;
        let failed: Vec<&str> = report.failed().collect();
        for case in cases.iter().filter(|case| !failed.contains(case)) {
            missed += &format!("{mistake:?} is not caught by {case}, but by {failed:?}\n");
        }
    }
    assert!(missed.is_empty(), "\n{missed}");
}
