//! What an append promises.

use std::sync::Arc;

use futures_util::{FutureExt, future::join_all};
use tokio::task::JoinSet;

use super::{
    Subject,
    check::{
        ALL, Broken, PASSED, Place, TOPIC, Verdict, append, ensure, ensure_eq, event, head, limits,
        numbers, page, stored, texts,
    },
};
use crate::{
    event::EventName,
    store::{
        Append, Appended, EventStore, NewRecord, Position, ReadFrom, RecordKind, StoreErrorKind,
    },
};

pub(super) async fn what_was_appended_is_read_back<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    let long = "0123456789abcdef".repeat(4096);
    let texts = [
        "",
        " ",
        "text",
        "two\nlines",
        "\r\n\r\n",
        "\0 and \u{7f}",
        "{\"json\":[1,2.5,null]}",
        "\u{e9} \u{4e16} \u{1f980} \u{feff} \u{2028}",
        &long,
    ];
    let names = [
        None,
        EventName::new("update").ok(),
        EventName::new("\u{e9}t\u{e9} 1").ok(),
    ];
    let events = texts.iter().flat_map(|text| {
        names
            .iter()
            .map(|name| NewRecord::event(name.clone(), *text))
    });
    let others = [RecordKind::Lease, RecordKind::End]
        .map(|kind| NewRecord::of_kind(kind, "{\"state\":\"finished\"}"));
    let records: Vec<NewRecord> = events.chain(others).collect();
    let last = stored(&store, &TOPIC, Append::new(records.clone())).await?;
    let page = page(&store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    let read: Vec<NewRecord> = page
        .records
        .iter()
        .map(|record| record.content().clone())
        .collect();
    ensure_eq!(
        read.len(),
        records.len(),
        "the number of records has changed"
    );
    for (read, appended) in read.iter().zip(&records) {
        ensure_eq!(read, appended, "a record has changed");
    }
    ensure_eq!(
        page.end(),
        last,
        "an append returns the position of its last record"
    );
    PASSED
}

pub(super) async fn what_was_acknowledged_is_there<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    let mut before = head(&store, &TOPIC).await?;
    for number in 0..50 {
        let position = append(&store, [number]).await?;
        ensure_eq!(
            head(&store, &TOPIC).await?,
            position,
            "the head after an append"
        );
        let page = page(&store, &TOPIC, ReadFrom::After(before), ALL).await?;
        ensure_eq!(
            page.records.len(),
            1,
            "records behind the head before an append"
        );
        ensure_eq!(page.end(), position, "the place of the record");
        ensure!(
            number == 0 || position.epoch() == before.epoch(),
            "the epoch has changed from {before} to {position}"
        );
        before = position;
    }
    PASSED
}

pub(super) async fn no_records_are_no_append<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    let beginning = head(&store, &TOPIC).await?;
    stored(&store, &TOPIC, Append::new([])).await?;
    ensure_eq!(
        head(&store, &TOPIC).await?,
        beginning,
        "an append of nothing has made a log"
    );
    let position = append(&store, [1, 2]).await?;
    let answer = stored(&store, &TOPIC, Append::new([])).await?;
    ensure_eq!(answer, position, "an append of nothing returns the head");
    ensure_eq!(
        head(&store, &TOPIC).await?,
        position,
        "an append of nothing has moved the head"
    );
    PASSED
}

pub(super) async fn a_record_beyond_the_limit_is_refused<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open_with(limits(100, 1000)).await;
    let position = append(&store, [1]).await?;
    let fits = event("x".repeat(900));
    let large = event("x".repeat(1001));
    for records in [vec![large.clone()], vec![fits, large]] {
        match store.append(&TOPIC, Append::new(records)).await {
            Err(error) => ensure_eq!(
                error.kind(),
                StoreErrorKind::TooLarge,
                "the kind of the error for a record beyond the limit"
            ),
            Ok(answer) => {
                return Err(Broken(format!(
                    "a record beyond the limit is answered {answer:?}"
                )));
            }
        }
        ensure_eq!(
            head(&store, &TOPIC).await?,
            position,
            "a refused append has moved the head"
        );
    }
    ensure_eq!(
        texts(&store, &TOPIC, ReadFrom::Oldest).await?,
        numbers([1]),
        "what is retained"
    );
    PASSED
}

pub(super) async fn concurrent_batches_stay_together<S: Subject>(place: &Place<'_, S>) -> Verdict {
    const BATCH: u64 = 3;
    let store = Arc::new(place.open().await);
    let mut publishers = JoinSet::new();
    for publisher in 0..8 {
        let store = Arc::clone(&store);
        publishers.spawn(async move {
            let mut positions = Vec::new();
            for number in 0..40 {
                let first = publisher * 1000 + number * BATCH;
                positions.push((append(&*store, first..first + BATCH).await?, first));
            }
            Ok::<_, Broken>(positions)
        });
    }
    let mut acknowledged = Vec::new();
    for positions in publishers.join_all().await {
        let positions = positions?;
        let grows = positions.is_sorted_by(|(one, _), (next, _)| one.offset() < next.offset());
        ensure!(grows, "appends of one publisher are out of order");
        acknowledged.extend(positions);
    }
    let read = texts(&*store, &TOPIC, ReadFrom::Oldest).await?;
    ensure_eq!(read.len(), 8 * 40 * 3, "the number of events");
    let page = page(&*store, &TOPIC, ReadFrom::Oldest, ALL).await?;
    for (position, first) in acknowledged {
        let at = page
            .records
            .iter()
            .position(|record| record.offset() == position.offset());
        let batch = at.and_then(|at| page.records.get(at.checked_sub(2)?..=at));
        let batch: Option<Vec<String>> = batch.map(|records| {
            records
                .iter()
                .map(|record| record.content().data().to_string())
                .collect()
        });
        ensure_eq!(
            batch,
            Some(numbers(first..first + BATCH)),
            "what stands before {position}"
        );
    }
    drop(store);
    PASSED
}

pub(super) async fn an_append_that_is_dropped_is_whole_or_not_at_all<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    for number in 0..30 {
        let first = number * 10;
        let mut dropped = Box::pin(append(&store, first..first + 3));
        // As far as it comes in a few polls.
        for _ in 0..number % 4 {
            if (&mut dropped).now_or_never().is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(dropped);
        append(&store, [first + 9]).await?;
    }
    let read = texts(&store, &TOPIC, ReadFrom::Oldest).await?;
    let mut rest = &read[..];
    while let [first, ..] = rest {
        let number: u64 = first.parse().unwrap_or_default();
        let run = if number % 10 == 9 { 1 } else { 3 };
        ensure!(
            rest.get(..run) == Some(&numbers(number..number + run as u64)),
            "a part of an append was stored: {read:?}"
        );
        rest = &rest[run..];
    }
    let acknowledged = read.iter().filter(|text| text.ends_with('9')).count();
    ensure_eq!(
        acknowledged,
        30,
        "acknowledged events among those that were dropped"
    );
    PASSED
}

async fn try_while<E: EventStore>(
    store: &E,
    position: Position,
    data: u64,
) -> Result<Appended, Broken> {
    let append = Append::new([event(data)]).while_head(position);
    Ok(store.append(&TOPIC, append).await?)
}

pub(super) async fn a_condition_holds_or_nothing_is_stored<S: Subject>(
    place: &Place<'_, S>,
) -> Verdict {
    let store = place.open().await;
    let beginning = head(&store, &TOPIC).await?;
    let elsewhere = Position::new(beginning.epoch(), beginning.offset() + 1);
    let answer = try_while(&store, elsewhere, 0).await?;
    ensure_eq!(
        answer,
        Appended::Conflict(beginning),
        "a condition on a topic without a log"
    );
    let Appended::Stored(one) = try_while(&store, beginning, 1).await? else {
        return Err(Broken(
            "the head of a topic without a log is no condition".to_owned(),
        ));
    };
    let two = append(&store, [2]).await?;
    for stale in [beginning, elsewhere, one] {
        // The answer to the first is the head, whatever `stale` is called in this life.
        if stale == two {
            continue;
        }
        let answer = try_while(&store, stale, 3).await?;
        ensure_eq!(
            answer,
            Appended::Conflict(two),
            "the head is {two}, appending while {stale}"
        );
    }
    let renewed = Append::new([]).while_head(one);
    let answer = store.append(&TOPIC, renewed).await?;
    ensure_eq!(
        answer,
        Appended::Conflict(two),
        "an append of nothing, while {one}"
    );
    let Appended::Stored(_) = try_while(&store, two, 3).await? else {
        return Err(Broken(format!("{two} is the head and was refused")));
    };
    ensure_eq!(
        texts(&store, &TOPIC, ReadFrom::Oldest).await?,
        numbers(1..4),
        "what is stored"
    );
    PASSED
}

pub(super) async fn of_those_who_race_one_wins<S: Subject>(place: &Place<'_, S>) -> Verdict {
    let store = place.open().await;
    let mut seen = head(&store, &TOPIC).await?;
    for round in 0..10 {
        let racers = (0..16).map(|racer| try_while(&store, seen, round * 100 + racer));
        let mut winners = Vec::new();
        let mut told = Vec::new();
        for answer in join_all(racers).await {
            match answer? {
                Appended::Stored(position) => winners.push(position),
                Appended::Conflict(head) => told.push(head),
            }
        }
        ensure_eq!(winners.len(), 1, "winners of a race");
        ensure!(
            told.iter().all(|head| *head == winners[0]),
            "losers are told {told:?}"
        );
        seen = winners[0];
    }
    ensure_eq!(
        texts(&store, &TOPIC, ReadFrom::Oldest).await?.len(),
        10,
        "events of 10 races"
    );
    PASSED
}
