//! What Redis holds of one topic at one moment.

use bytestring::ByteString;
use redis::{Pipeline, pipe};

use crate::{
    event::EventName,
    store::{
        Epoch, Evicted, NewRecord, Position, Record, RecordKind, StoreError,
        error::damaged,
        redis::{Limits, keys::Keys},
    },
    topic_name::TopicName,
};

/// All of it is of one moment.
pub(super) struct View {
    now: u64,
    /// Of the store: what a topic without a log has for a head.
    pub(super) beginning: Position,
    pub(super) limits: Limits,
    pub(super) log: Option<Log>,
    pub(super) entries: Vec<Entry>,
}

/// The log of a topic, without its entries.
pub(super) struct Log {
    epoch: Epoch,
    /// The head that the topic had before it had this log.
    pub(super) from: Position,
    head: u64,
    /// The offset before the oldest.
    pub(super) first: u64,
    events: u64,
    bytes: u64,
    others: u64,
    holes: u64,
    /// Up to this offset, offsets do not count the events that went.
    uncounted: u64,
    /// The record that jumped ahead last. Behind it offsets count records.
    jumped: u64,
}

/// An entry of a stream.
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) fields: Vec<Vec<u8>>,
}

/// Which entries to look at.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) after: u64,
    pub(super) count: u64,
}

/// Entries of a stream as Redis tells them: ids, and fields with their values.
pub(super) type Entries = Vec<(String, Vec<Vec<u8>>)>;

/// The reply to [`View::request`].
pub(super) type Reply = (
    (u64, u64),
    Vec<Option<String>>,
    Option<u64>,
    Vec<Option<String>>,
    u64,
    Entries,
    Vec<Option<String>>,
);

/// What a reply shows.
pub(super) enum Shown {
    View(View),
    /// The store has no settings yet, or no more.
    Unset,
    /// The log has changed between the commands.
    Torn,
}

const LOG: [&str; 10] = [
    "epoch",
    "from",
    "head",
    "first",
    "events",
    "bytes",
    "others",
    "holes",
    "uncounted",
    "jumped",
];

impl View {
    /// One round trip, and no transaction: a full Redis refuses those, also to readers. That all of it
    /// is of one moment is seen from the log, which is asked for before and after.
    pub(super) fn request(keys: &Keys, topic: &TopicName, range: Range) -> Pipeline {
        let stream = keys.stream(topic);
        let mut pipe = pipe();
        pipe.cmd("TIME");
        pipe.cmd("HMGET")
            .arg(keys.store())
            .arg(&["epoch", "max_events", "max_bytes", "max_age"]);
        pipe.cmd("HGET").arg(keys.births()).arg(Keys::bucket(topic));
        pipe.cmd("HMGET").arg(keys.log(topic)).arg(&LOG);
        pipe.cmd("XLEN").arg(&stream);
        pipe.cmd("XRANGE")
            .arg(&stream)
            .arg(format!("({}-0", range.after))
            .arg("+")
            .arg("COUNT")
            .arg(range.count);
        pipe.cmd("HMGET").arg(keys.log(topic)).arg(&LOG);
        pipe
    }

    /// # Errors
    ///
    /// When it is nothing that the functions have written.
    pub(super) fn parse(reply: Reply, keys: &Keys, topic: &TopicName) -> Result<Shown, StoreError> {
        let ((seconds, micros), store, births, log, length, entries, log_after) = reply;
        if log != log_after {
            return Ok(Shown::Torn);
        }
        let [Some(epoch), Some(events), Some(bytes), age] = store.as_slice() else {
            return Ok(Shown::Unset);
        };
        let store_key = keys.store();
        let limits = Limits {
            events: number(&store_key, events)?,
            bytes: number(&store_key, bytes)?,
            age: match age.as_deref() {
                None | Some("") => None,
                Some(age) => Some(number(&store_key, age)?),
            },
        };
        let log = Log::parse(&keys.log(topic), &log)?;
        if log.is_none() && length > 0 {
            let stream = keys.stream(topic);
            return Err(damaged(format!("{stream} has entries and no log")));
        }
        Ok(Shown::View(Self {
            now: seconds * 1000 + micros / 1000,
            beginning: Position::new(self::epoch(&store_key, epoch)?, births.unwrap_or(0)),
            limits,
            log,
            entries: entries
                .into_iter()
                .map(|(id, fields)| Entry { id, fields })
                .collect(),
        }))
    }

    pub(super) fn head(&self) -> Position {
        self.log.as_ref().map_or(self.beginning, Log::head)
    }

    /// Whether somebody saw what is no longer, so that an older copy was put back.
    pub(super) fn is_behind(&self, seen: Position) -> bool {
        self.beginning.is_behind(seen) || self.head().is_behind(seen)
    }

    /// Whether more is retained than may be read.
    pub(super) fn is_beyond_limits(&self) -> bool {
        let full = |log: &Log| log.events > self.limits.events || log.bytes > self.limits.bytes;
        self.log.as_ref().is_some_and(full) || self.entries.first().is_some_and(|e| self.is_old(e))
    }

    /// Entries are as old as they stand in order: where the first is not too old, none is.
    fn is_old(&self, entry: &Entry) -> bool {
        let (Some(age), Some(time)) = (self.limits.age, entry.time()) else {
            return false;
        };
        time.saturating_add(age) <= self.now
    }
}

impl Log {
    fn parse(key: &str, fields: &[Option<String>]) -> Result<Option<Self>, StoreError> {
        let [epoch, from, numbers @ ..] = fields else {
            return Err(damaged(format!("{key} is no log")));
        };
        let Some(epoch) = epoch else {
            return Ok(None);
        };
        let mut numbers = numbers.iter().map(|field| match field {
            Some(field) => number(key, field),
            None => Err(damaged(format!("{key} is no log"))),
        });
        let mut next = || {
            let none = || Err(damaged(format!("{key} is no log")));
            numbers.next().unwrap_or_else(none)
        };
        let from = from.as_deref().unwrap_or_default().parse();
        Ok(Some(Self {
            epoch: self::epoch(key, epoch)?,
            from: from.map_err(|_| damaged(format!("{key} is no log: from")))?,
            head: next()?,
            first: next()?,
            events: next()?,
            bytes: next()?,
            others: next()?,
            holes: next()?,
            uncounted: next()?,
            jumped: next()?,
        }))
    }

    pub(super) fn head(&self) -> Position {
        self.at(self.head)
    }

    pub(super) fn at(&self, offset: u64) -> Position {
        Position::new(self.epoch, offset)
    }

    /// The answer for a reader at `offset`, behind which something went.
    pub(super) fn evicted(&self, offset: u64) -> Evicted {
        let records = (self.head - self.first).saturating_sub(self.holes);
        Evicted {
            oldest: self.at(self.first),
            middle: self.at((self.head - records.div_ceil(2)).max(self.jumped)),
            missed: (offset >= self.uncounted).then(|| self.first - offset),
        }
    }

    /// The same where nothing is left behind it.
    pub(super) fn evicted_to_head(&self) -> Evicted {
        Evicted {
            oldest: self.head(),
            middle: self.head(),
            missed: None,
        }
    }

    /// The offset before the newest `events` events, where counting offsets tells.
    pub(super) fn newest(&self, events: u64) -> Option<u64> {
        if events == 0 {
            return Some(self.head);
        }
        let is_plain = self.others == 0 && self.holes == 0;
        is_plain.then(|| self.head.saturating_sub(events).max(self.first))
    }

    /// The bytes of an average event.
    pub(super) fn average(&self) -> u64 {
        (self.bytes / self.events.max(1)).max(1)
    }
}

impl Entry {
    /// The offset, where the id has the form of ours.
    pub(super) fn offset(&self) -> Option<u64> {
        self.id.strip_suffix("-0")?.parse().ok()
    }

    /// The offset of the record before it, retained or not.
    pub(super) fn previous(&self) -> Option<u64> {
        match self.field("previous") {
            Some(offset) => std::str::from_utf8(offset).ok()?.parse().ok(),
            None => self.offset()?.checked_sub(1),
        }
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        let mut pairs = self.fields.chunks_exact(2);
        let pair = pairs.find(|pair| pair[0] == name.as_bytes())?;
        Some(&pair[1])
    }

    fn time(&self) -> Option<u64> {
        std::str::from_utf8(self.field("time")?).ok()?.parse().ok()
    }

    pub(super) fn kind(&self) -> Option<RecordKind> {
        match self.field("kind") {
            None => Some(RecordKind::Event),
            Some(b"lease") => Some(RecordKind::Lease),
            Some(b"end") => Some(RecordKind::End),
            Some(_) => None,
        }
    }

    /// The record, where the entry is one of ours.
    pub(super) fn record(&self) -> Option<Record> {
        let text = |bytes: &[u8]| ByteString::try_from(bytes).ok();
        let data = text(self.field("data")?)?;
        let record = match self.kind()? {
            RecordKind::Event => {
                let name = match self.field("name") {
                    Some(name) => Some(EventName::stored(std::str::from_utf8(name).ok()?).ok()?),
                    None => None,
                };
                NewRecord::event(name, data)
            }
            kind => NewRecord::of_kind(kind, data),
        };
        let record = Record::new(self.offset()?, record).millis(self.time()?);
        Some(record.previous(self.previous()?))
    }
}

fn number(key: &str, text: &str) -> Result<u64, StoreError> {
    text.parse()
        .map_err(|_| damaged(format!("{key} has {text:?} for a number")))
}

fn epoch(key: &str, text: &str) -> Result<Epoch, StoreError> {
    u64::from_str_radix(text, 16)
        .map(Epoch::new)
        .map_err(|_| damaged(format!("{key} has {text:?} for an epoch")))
}
