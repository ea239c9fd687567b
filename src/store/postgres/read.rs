//! Reading a topic: one statement, and what its answer means.

use std::num::NonZeroUsize;

use bytestring::ByteString;
use tokio_postgres::Row;

use super::{
    PostgresStore,
    failure::Failure,
    heads::{self, numbers, position},
};
use crate::{
    event::EventName,
    store::{
        Evicted, NewRecord, Page, Position, Read, ReadFrom, Record, RecordKind, StoreError,
        error::{damaged, unavailable},
    },
    topic_name::TopicName,
};

/// Of one page, whatever was asked for.
const MOST_RECORDS: i64 = 16 * 1024;
const MOST_BYTES: i64 = 64 * 1024 * 1024;
/// A log can change between two statements. One that always does is beyond what can be read.
const ATTEMPTS: usize = 16;

pub(super) async fn read(
    store: &PostgresStore,
    topic: &TopicName,
    from: ReadFrom,
    max_bytes: NonZeroUsize,
) -> Result<Read, StoreError> {
    let (epoch, number) = match from {
        ReadFrom::After(position) => {
            let (epoch, offset) = numbers(position);
            (Some(epoch), offset)
        }
        ReadFrom::Oldest => (None, i64::MAX),
        ReadFrom::Newest(events) => (None, heads::number(events)),
    };
    let max_bytes = heads::number(max_bytes.get()).min(MOST_BYTES);
    for _ in 0..ATTEMPTS {
        let seen = store.seen.head(topic);
        let parameters: super::link::Parameters<'_> =
            &[&topic.as_str(), &epoch, &number, &max_bytes, &MOST_RECORDS];
        let rows = store.link.query(&store.link.schema.read, parameters).await;
        let rows = rows.map_err(Failure::of_read)?;
        let [row] = &rows[..] else {
            return Err(damaged("the store has no settings, or several"));
        };
        let view = View::of(row).map_err(|error| Failure::from(error).of_read())?;
        let head = view.head()?;
        let beginning = position(view.epoch, view.births)?;
        let is_behind = |seen: &Position| head.is_behind(*seen) || beginning.is_behind(*seen);
        if let Some(seen) = seen.filter(is_behind) {
            store.renew(topic, seen).await?;
        } else if view.is_crowded {
            store.trim(topic).await?;
        } else {
            store.seen.note(topic, head);
            return match &view.log {
                Some(log) => answer(log, head, from, view.entries),
                None => Ok(Read::absent(head, from)),
            };
        }
    }
    Err(unavailable("the log does not become what it should be"))
}

/// What Postgres holds of a topic at one moment.
struct View {
    epoch: i64,
    births: i64,
    is_crowded: bool,
    log: Option<Log>,
    entries: Entries,
}

struct Log {
    epoch: i64,
    head: i64,
    first: u64,
    uncounted: u64,
    /// Where the page begins, if what was asked for is a place in this log.
    after: Option<u64>,
    from_beginning: bool,
}

#[derive(Default)]
struct Entries {
    offsets: Vec<i64>,
    kinds: Vec<i16>,
    names: Vec<Option<Vec<u8>>>,
    datas: Vec<Vec<u8>>,
    times: Vec<i64>,
}

impl View {
    fn of(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let offset = |name: &str| {
            let offset: Option<i64> = row.try_get(name)?;
            Ok::<_, tokio_postgres::Error>(offset.map(|offset| u64::try_from(offset).unwrap_or(0)))
        };
        let log = match row.try_get("has_log")? {
            true => Some(Log {
                epoch: row.try_get("log_epoch")?,
                head: row.try_get("head")?,
                first: offset("first")?.unwrap_or(0),
                uncounted: offset("uncounted")?.unwrap_or(0),
                after: offset("after")?,
                from_beginning: row.try_get("from_beginning")?,
            }),
            false => None,
        };
        let offsets: Option<Vec<i64>> = row.try_get("offsets")?;
        let entries = match offsets {
            Some(offsets) => Entries {
                offsets,
                kinds: row.try_get("kinds")?,
                names: row.try_get("names")?,
                datas: row.try_get("datas")?,
                times: row.try_get("times")?,
            },
            None => Entries::default(),
        };
        Ok(Self {
            epoch: row.try_get("epoch")?,
            births: row.try_get("births")?,
            is_crowded: row.try_get("is_crowded")?,
            log,
            entries,
        })
    }

    fn head(&self) -> Result<Position, StoreError> {
        match &self.log {
            Some(log) => position(log.epoch, log.head),
            None => position(self.epoch, self.births),
        }
    }
}

fn answer(log: &Log, head: Position, from: ReadFrom, entries: Entries) -> Result<Read, StoreError> {
    let at = |offset| Position::new(head.epoch(), offset);
    if let ReadFrom::After(position) = from
        && !log.from_beginning
    {
        if position.epoch() != head.epoch() {
            return Ok(Read::UnknownEpoch(head));
        }
        if position.offset() > head.offset() {
            return Ok(Read::Ahead(head));
        }
    }
    let after = log.after.unwrap_or(head.offset());
    if after == head.offset() && entries.offsets.is_empty() {
        return Ok(Read::empty(head));
    }
    if after < log.first {
        return Ok(Read::Evicted(Evicted {
            oldest: at(log.first),
            middle: at(log.first + (head.offset() - log.first) / 2),
            missed: (after >= log.uncounted).then(|| log.first - after),
        }));
    }
    let records = entries.records(head.offset())?;
    if records.is_empty() {
        // What stood there was deleted past the functions.
        return Ok(match from {
            ReadFrom::After(_) => Read::Evicted(Evicted {
                oldest: head,
                middle: head,
                missed: None,
            }),
            _ => Read::empty(head),
        });
    }
    let start = match (from, &records[0]) {
        (ReadFrom::After(_), _) => at(after),
        (_, first) => at(first.previous_offset()),
    };
    Ok(Read::Page(Page {
        start,
        records,
        head,
    }))
}

impl Entries {
    fn records(self, head: u64) -> Result<Vec<Record>, StoreError> {
        let texts = self.kinds.into_iter().zip(self.names).zip(self.datas);
        let mut records = Vec::with_capacity(self.offsets.len());
        let places = self.offsets.into_iter().zip(self.times);
        for ((offset, time), ((kind, name), data)) in places.zip(texts) {
            let offset = u64::try_from(offset).ok().filter(|&offset| offset <= head);
            let record = record(kind, name.as_deref(), data);
            match offset.zip(record) {
                Some((offset, record)) => {
                    let time = u64::try_from(time).unwrap_or(0);
                    records.push(Record::new(offset, record).millis(time));
                }
                // What stands before it is as it should be; the next read tells.
                None if !records.is_empty() => break,
                None => {
                    return Err(damaged("a record was inserted past the functions"));
                }
            }
        }
        Ok(records)
    }
}

/// The record, where the row is one of ours.
fn record(kind: i16, name: Option<&[u8]>, data: Vec<u8>) -> Option<NewRecord> {
    let data = ByteString::try_from(data).ok()?;
    let kind = match kind {
        0 => RecordKind::Event,
        1 => RecordKind::Lease,
        2 => RecordKind::End,
        _ => return None,
    };
    Some(match (kind, name) {
        (RecordKind::Event, Some(name)) => {
            let name = EventName::stored(std::str::from_utf8(name).ok()?).ok()?;
            NewRecord::event(Some(name), data)
        }
        (RecordKind::Event, None) => NewRecord::event(None, data),
        (kind, _) => NewRecord::of_kind(kind, data),
    })
}
