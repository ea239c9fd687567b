//! Reading a topic: which requests it takes, and what their replies mean.

use std::num::NonZeroUsize;

use redis::cmd;

use super::{
    RedisStore,
    link::Request,
    view::{Entries, Entry, Log, Range, Reply, Shown, View},
};
use crate::{
    store::{
        Page, Position, Read, ReadFrom, Record, RecordKind, StoreError,
        error::{damaged, unavailable},
    },
    topic_name::TopicName,
};

/// Until the size of the events of a topic is known.
const FIRST_ENTRIES: u64 = 64;
/// Of one request, so that no answer takes long to make.
const MOST_ENTRIES: u64 = 4096;
/// Of one request for the newest events where offsets do not count them.
const MOST_COUNTED: u64 = 512;
/// A log can change between two requests. One that always does is beyond what can be read.
const ATTEMPTS: usize = 16;

/// Where the records are to come from.
#[derive(Clone, Copy)]
enum Start {
    After(Position),
    /// After this offset, or where the oldest is that is left behind it.
    Oldest(u64),
    Newest(u64),
}

/// What a view means for a reader.
enum Answer {
    Done(Read),
    /// Begins with the first entry of the view.
    Records(Position),
    /// The view does not show what is asked for.
    Again(Start),
    Count(u64),
}

pub(super) async fn read(
    store: &RedisStore,
    topic: &TopicName,
    from: ReadFrom,
    max_bytes: NonZeroUsize,
) -> Result<Read, StoreError> {
    let mut start = match from {
        ReadFrom::After(position) => Start::After(position),
        ReadFrom::Oldest => Start::Oldest(0),
        ReadFrom::Newest(events) => Start::Newest(events),
    };
    let average = store.seen.extra(topic);
    let mut count = average.map_or(FIRST_ENTRIES, |average| {
        entries_in(max_bytes.get(), average)
    });
    for _ in 0..ATTEMPTS {
        let range = match start {
            Start::After(position) => Range {
                after: position.offset(),
                count,
            },
            Start::Oldest(after) => Range { after, count },
            Start::Newest(_) => Range { after: 0, count: 0 },
        };
        let view = view(store, topic, range).await?;
        let Some(log) = &view.log else {
            return Ok(Read::absent(view.head(), from));
        };
        count = entries_in(max_bytes.get(), log.average());
        match answer(log, &view.entries, start) {
            Answer::Done(read) => return Ok(read),
            Answer::Again(other) => start = other,
            Answer::Count(events) => {
                start = Start::Oldest(before_newest(store, topic, log, events).await?);
            }
            Answer::Records(start) => {
                let page = page(store, topic, view, start, max_bytes.get()).await?;
                return Ok(Read::Page(page));
            }
        }
    }
    Err(unavailable(
        "the log has changed too often while it was read",
    ))
}

/// Looks at the topic, after putting right what is not as it should be.
async fn view(store: &RedisStore, topic: &TopicName, range: Range) -> Result<View, StoreError> {
    let keys = &store.keys;
    for _ in 0..ATTEMPTS {
        let seen = store.seen.head(topic);
        let request = View::request(keys, topic, range);
        let reply: Result<Reply, _> = store.link.send(Request::Pipeline(&request)).await;
        let reply = reply.map_err(|failure| failure.of_read())?;
        let view = match View::parse(reply, keys, topic)? {
            Shown::View(view) => view,
            Shown::Torn => continue,
            Shown::Unset => {
                store.restore_limits().await?;
                continue;
            }
        };
        if let Some(seen) = seen.filter(|seen| view.is_behind(*seen)) {
            store.renew(topic, seen).await?;
        } else if view.is_beyond_limits() {
            store.trim(topic).await?;
        } else {
            store.seen.note(topic, view.head());
            if let Some(log) = &view.log {
                store.seen.keep(topic, Some(log.average()));
            }
            return Ok(view);
        }
    }
    Err(unavailable("the log does not become what it should be"))
}

fn answer(log: &Log, entries: &[Entry], start: Start) -> Answer {
    let head = log.head();
    // Those that stand in the log, and were not deleted past the functions. One that was added past
    // them is met as damage further on.
    let first = entries.first().map(Entry::previous);
    match start {
        Start::After(position) if position == log.from => Answer::Again(Start::After(log.at(0))),
        Start::After(position) if position.epoch() != head.epoch() => {
            Answer::Done(Read::UnknownEpoch(head))
        }
        Start::After(position) if position.offset() > head.offset() => {
            Answer::Done(Read::Ahead(head))
        }
        // What was added past the functions is met as damage.
        Start::After(position) if position == head && first.is_none() => {
            Answer::Done(Read::empty(head))
        }
        Start::After(position) if position.offset() < log.first => {
            Answer::Done(Read::Evicted(log.evicted(position.offset())))
        }
        Start::After(position) => match first {
            // It never was a position of this log: what follows it has jumped over it.
            Some(Some(previous)) if previous < position.offset() => {
                Answer::Done(Read::UnknownEpoch(head))
            }
            Some(_) => Answer::Records(position),
            None => Answer::Done(Read::Evicted(log.evicted_to_head())),
        },
        Start::Oldest(after) => match first {
            // The first may have gone since its place was found.
            Some(previous) => Answer::Records(log.at(previous.unwrap_or(after).max(after))),
            None => Answer::Done(Read::empty(head)),
        },
        Start::Newest(events) => match log.newest(events) {
            Some(after) => Answer::Again(Start::Oldest(after)),
            None => Answer::Count(events),
        },
    }
}

/// About how many entries have so many bytes.
fn entries_in(bytes: usize, average: u64) -> u64 {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    (bytes / average).saturating_add(1).min(MOST_ENTRIES)
}

/// Finds the offset before the newest `events` events.
async fn before_newest(
    store: &RedisStore,
    topic: &TopicName,
    log: &Log,
    events: u64,
) -> Result<u64, StoreError> {
    let mut below = log.head().offset().saturating_add(1);
    let mut wanted = events;
    loop {
        let count = wanted.saturating_add(16).min(MOST_COUNTED);
        let mut request = cmd("XREVRANGE");
        request
            .arg(store.keys.stream(topic))
            .arg(format!("({below}-0"))
            .arg("-")
            .arg("COUNT")
            .arg(count);
        let reply = store.link.send::<Entries>(Request::Cmd(&request)).await;
        let entries = reply.map_err(|failure| failure.of_read())?;
        let ended = u64::try_from(entries.len()).unwrap_or(u64::MAX) < count;
        for (id, fields) in entries {
            let entry = Entry { id, fields };
            let Some(offset) = entry.offset() else {
                return Err(foreign(store, topic, &entry));
            };
            below = offset;
            if entry.kind() == Some(RecordKind::Event) {
                wanted -= 1;
            }
            if wanted == 0 {
                return Ok(entry.previous().unwrap_or(log.first));
            }
        }
        if ended {
            return Ok(log.first);
        }
    }
}

/// Makes a page of the entries of `view`, and of further ones where those are too few.
async fn page(
    store: &RedisStore,
    topic: &TopicName,
    mut view: View,
    start: Position,
    max_bytes: usize,
) -> Result<Page, StoreError> {
    let mut records: Vec<Record> = Vec::new();
    let mut bytes = 0;
    let mut head = view.head();
    loop {
        for entry in std::mem::take(&mut view.entries) {
            let record = entry
                .record()
                .filter(|record| record.offset() <= head.offset());
            let Some(record) = record else {
                // What stands before it is as it should be; the next read tells.
                return match records.is_empty() {
                    true => Err(foreign(store, topic, &entry)),
                    false => Ok(Page {
                        start,
                        records,
                        head,
                    }),
                };
            };
            bytes += record.size();
            if bytes > max_bytes && !records.is_empty() {
                return Ok(Page {
                    start,
                    records,
                    head,
                });
            }
            records.push(record);
        }
        let last = records.last().map_or(start.offset(), Record::offset);
        if last >= head.offset() || bytes >= max_bytes {
            break;
        }
        let count = match &view.log {
            Some(log) => entries_in(max_bytes - bytes, log.average()),
            None => break,
        };
        let after = Range { after: last, count };
        view = self::view(store, topic, after).await?;
        let previous = view.entries.first().and_then(Entry::previous);
        // It may have been begun anew, or evicted up to here.
        if view.head().epoch() != head.epoch() || previous != Some(last) {
            break;
        }
        head = view.head();
    }
    Ok(Page {
        start,
        records,
        head,
    })
}

fn foreign(store: &RedisStore, topic: &TopicName, entry: &Entry) -> StoreError {
    let stream = store.keys.stream(topic);
    damaged(format!(
        "entry {} of {stream} was added past tower_sse_append",
        entry.id
    ))
}
