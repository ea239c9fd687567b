//! Reading.
//!
//! All is decided from the last message of the topic, which is of one moment, and from messages before
//! it. Each names the offset before its first record, so a message that was taken away, or did not come,
//! is seen at the next one; and how many events and bytes are before it, so that what is beyond the
//! limits is told to the record without looking at the others.

use super::{
    ATTEMPTS, Core, Limits, Tail,
    failure::Failure,
    message::{self, Entry, Message, sequence_of},
};
use crate::{
    store::{Evicted, Page, Position, Read, ReadFrom, Record, RecordKind, error::unavailable},
    topic_name::TopicName,
};

/// The most messages that are asked for at a time.
const MOST_ASKED: u64 = 512;

pub(super) async fn read(
    core: &Core,
    topic: &TopicName,
    from: ReadFrom,
    max_bytes: usize,
) -> Result<Read, Failure> {
    for _ in 0..ATTEMPTS {
        let last = match core.tail(topic).await? {
            Tail::Absent { head, .. } => return Ok(read_empty(head, from)),
            Tail::Log(message) => message,
        };
        let (events, bytes) = last.totals();
        let view = View {
            core,
            topic,
            now: message::now(),
            limits: core.limits,
            events,
            bytes,
            last,
        };
        if let Some(read) = view.read(from, max_bytes).await? {
            return Ok(read);
        }
    }
    Err(unavailable("the topic changes faster than it is read").into())
}

fn read_empty(head: Position, from: ReadFrom) -> Read {
    match from {
        // One that is ahead of it is of a log that is gone: of another life, too.
        ReadFrom::After(position) if position != head => Read::UnknownEpoch(head),
        _ => Read::empty(head),
    }
}

/// A log up to its last message.
struct View<'a> {
    core: &'a Core,
    topic: &'a TopicName,
    now: u64,
    limits: Limits,
    /// The events, and their bytes, in all of the log.
    events: u64,
    bytes: u64,
    last: Message,
}

/// Where a page begins.
struct Cursor {
    /// The offset before its first record.
    offset: u64,
    /// The events up to there, where that is known.
    events: Option<u64>,
    /// The first message that may have records behind it.
    message: Option<Message>,
}

impl View<'_> {
    fn head(&self) -> Position {
        self.last.head()
    }

    fn at(&self, offset: u64) -> Position {
        Position::new(self.last.links.epoch, offset)
    }

    /// Whether a record is within the limits. As a record stands further on, no limit is further away.
    fn is_retained(&self, events: u64, bytes: u64, time: u64) -> bool {
        let age = self.limits.age;
        self.events.saturating_sub(events) <= self.limits.events
            && self.bytes.saturating_sub(bytes) <= self.limits.bytes
            && age.is_none_or(|age| self.now < time.saturating_add(age))
    }

    fn is_readable(&self, entry: &Entry<'_>) -> bool {
        self.is_retained(entry.events, entry.bytes, entry.time)
    }

    /// Whether it is one of the newest `events` events, or between them.
    fn is_among_newest(&self, entry: &Entry<'_>, events: u64) -> bool {
        let behind = self.events.saturating_sub(entry.events);
        match entry.record.kind() {
            RecordKind::Event => behind <= events,
            _ => behind < events,
        }
    }

    /// `None` where the log has changed under the read.
    async fn read(&self, from: ReadFrom, max_bytes: usize) -> Result<Option<Read>, Failure> {
        let cursor = match from {
            ReadFrom::After(position) => match self.after(position).await? {
                Ok(cursor) => Some(cursor),
                Err(answer) => return Ok(Some(answer)),
            },
            ReadFrom::Oldest => self.first(|entry| self.is_readable(entry)).await?,
            ReadFrom::Newest(0) => Some(self.end()),
            ReadFrom::Newest(events) => {
                let wanted = |entry: &Entry<'_>| {
                    self.is_readable(entry) && self.is_among_newest(entry, events)
                };
                self.first(wanted).await?
            }
        };
        let Some(cursor) = cursor else {
            return Ok(None);
        };
        if cursor.offset == self.head().offset() {
            return Ok(Some(Read::Page(self.page(cursor.offset, Vec::new()))));
        }
        let Some(message) = &cursor.message else {
            return Ok(None);
        };
        let mut before = cursor.offset;
        let next = message.entries().find(|entry| entry.offset > cursor.offset);
        if let Some(entry) = next {
            if entry.previous < cursor.offset {
                // No record ever stood there.
                return Ok(Some(Read::UnknownEpoch(self.head())));
            }
            if entry.previous > cursor.offset || !self.is_readable(&entry) {
                let oldest = self.first(|entry| self.is_readable(entry)).await?;
                let Some(oldest) = oldest else {
                    return Ok(None);
                };
                if oldest.offset > cursor.offset {
                    return self.evicted(&cursor, &oldest).await.map(Some);
                }
                // Not the oldest went, but some that somebody deleted: the record shows the hole.
                before = entry.previous;
            }
        }
        let records = self.records(before, message, max_bytes).await?;
        let page = self.page(cursor.offset, records);
        Ok((!page.records.is_empty()).then_some(Read::Page(page)))
    }

    fn page(&self, offset: u64, records: Vec<Record>) -> Page {
        Page {
            start: self.at(offset),
            records,
            head: self.head(),
        }
    }

    fn end(&self) -> Cursor {
        Cursor {
            offset: self.head().offset(),
            events: Some(self.events),
            message: None,
        }
    }

    /// Finds the place of a position, or says why it has none.
    async fn after(&self, position: Position) -> Result<Result<Cursor, Read>, Failure> {
        let offset = if position.epoch() == self.last.links.epoch {
            position.offset()
        } else if self.is_beginning(position).await? {
            0
        } else {
            return Ok(Err(Read::UnknownEpoch(self.head())));
        };
        if offset > self.head().offset() {
            return Ok(Err(Read::Ahead(self.head())));
        }
        if offset == self.head().offset() {
            return Ok(Ok(self.end()));
        }
        let message = match offset == self.last.links.previous {
            true => Some(self.last.clone()),
            false => self.message_from(sequence_of(offset)).await?,
        };
        // Where a record was the last of its message, the next message is wanted.
        let mut events = (offset == 0).then_some(0);
        let message = match message {
            Some(message) if message.head_offset() == offset => {
                events = Some(message.totals().0);
                self.message_from(message.sequence + 1).await?
            }
            other => other,
        };
        let at = |message: &Message| {
            let next = message.entries().find(|entry| entry.previous == offset);
            next.map(|entry| entry.events)
        };
        Ok(Ok(Cursor {
            offset,
            events: events.or_else(|| message.as_ref().and_then(at)),
            message,
        }))
    }

    /// Whether a position is of the time before the log, with no other log in between.
    async fn is_beginning(&self, position: Position) -> Result<bool, Failure> {
        let before = self.last.links.from..self.last.birth();
        Ok(before.contains(&position.offset())
            && self.core.link.shape().await?.epoch == position.epoch())
    }

    /// The first message of the log from a sequence on, but none behind the last.
    async fn message_from(&self, sequence: u64) -> Result<Option<Message>, Failure> {
        let sequence = sequence.max(self.last.birth());
        if sequence >= self.last.sequence {
            return Ok((sequence == self.last.sequence).then(|| self.last.clone()));
        }
        let next = self.core.link.next(self.topic, sequence).await?;
        Ok(next.filter(|next| next.sequence <= self.last.sequence))
    }

    /// Finds the first record of which `wanted` holds, as it does of all behind it. `None` where a
    /// message has gone meanwhile.
    async fn first(&self, wanted: impl Fn(&Entry<'_>) -> bool) -> Result<Option<Cursor>, Failure> {
        let find = |message: &Message| {
            let found = message.entries().find(&wanted);
            found.map(|entry| (entry.previous, entry.events))
        };
        let (mut low, mut high) = (self.last.birth(), self.last.sequence);
        let mut found: Option<(Message, u64, u64)> = None;
        // The oldest is the likeliest, then those in the middle.
        let mut probe = low;
        while low <= high {
            let Some(message) = self.message_from(probe).await? else {
                return Ok(None);
            };
            // One without a record tells nothing; what follows it does.
            let message = match message.records.is_empty() {
                true => match self.with_records(message).await? {
                    Some(message) => message,
                    None => {
                        if probe <= low {
                            break;
                        }
                        high = probe - 1;
                        probe = low + (high - low) / 2;
                        continue;
                    }
                },
                false => message,
            };
            match find(&message) {
                Some((previous, events)) => {
                    found = Some((message, previous, events));
                    if probe <= low {
                        break;
                    }
                    high = probe - 1;
                }
                None => low = message.sequence + 1,
            }
            probe = low + high.saturating_sub(low) / 2;
        }
        Ok(Some(match found {
            Some((message, offset, events)) => Cursor {
                offset,
                events: Some(events),
                message: Some(message),
            },
            None => self.end(),
        }))
    }

    async fn with_records(&self, mut message: Message) -> Result<Option<Message>, Failure> {
        while message.records.is_empty() {
            match self.message_from(message.sequence + 1).await? {
                Some(next) => message = next,
                None => return Ok(None),
            }
        }
        Ok(Some(message))
    }

    /// The answer for a reader at `cursor`, which is before the oldest record.
    async fn evicted(&self, cursor: &Cursor, oldest: &Cursor) -> Result<Read, Failure> {
        let head = self.head().offset();
        let (low, high) = (sequence_of(oldest.offset), self.last.sequence);
        let middle = match self.message_from(low + (high - low) / 2).await? {
            Some(message) => message.links.previous.clamp(oldest.offset, head),
            None => oldest.offset,
        };
        Ok(Read::Evicted(Evicted {
            oldest: self.at(oldest.offset),
            middle: self.at(middle),
            missed: oldest
                .events
                .zip(cursor.events)
                .and_then(|(events, before)| events.checked_sub(before)),
        }))
    }

    /// Takes records from behind an offset on, as many as follow each other.
    async fn records(
        &self,
        offset: u64,
        first: &Message,
        max_bytes: usize,
    ) -> Result<Vec<Record>, Failure> {
        let mut page = Records {
            end: offset,
            records: Vec::new(),
            bytes: 0,
            max_bytes,
        };
        let mut sequence = first.sequence;
        let mut is_full = page.take(first);
        // A client that is a little behind needs no consumer.
        for _ in 0..2 {
            if is_full || sequence >= self.last.sequence {
                return Ok(page.records);
            }
            let next = match page.end == self.last.links.previous {
                true => Some(self.last.clone()),
                false => self.message_from(sequence + 1).await?,
            };
            let Some(next) = next else {
                return Ok(page.records);
            };
            sequence = next.sequence;
            is_full = page.take(&next);
        }
        if is_full || sequence >= self.last.sequence {
            return Ok(page.records);
        }
        let average = (self.bytes / self.events.max(1)).max(1);
        let wanted = u64::try_from(max_bytes - page.bytes.min(max_bytes)).unwrap_or(u64::MAX);
        let asked = (wanted / average).saturating_add(2).min(MOST_ASKED);
        let asked = usize::try_from(asked).unwrap_or(usize::MAX);
        let last = self.last.sequence;
        let take = |message: Message| page.take(&message);
        let link = &self.core.link;
        link.history(self.topic, sequence + 1, last, asked, take)
            .await?;
        Ok(page.records)
    }
}

/// A page that is being filled.
struct Records {
    end: u64,
    records: Vec<Record>,
    bytes: usize,
    max_bytes: usize,
}

impl Records {
    /// Takes the records of a message. True where no more is to come: the page is full, or the message
    /// does not follow.
    fn take(&mut self, message: &Message) -> bool {
        for entry in message.entries() {
            if entry.offset <= self.end {
                continue;
            }
            let size = entry.record.size();
            let is_full = !self.records.is_empty() && self.bytes + size > self.max_bytes;
            if is_full || entry.previous != self.end {
                return true;
            }
            self.bytes += size;
            self.end = entry.offset;
            let record = Record::new(entry.offset, entry.record.clone()).millis(entry.time);
            self.records.push(record.previous(entry.previous));
        }
        self.bytes >= self.max_bytes
    }
}
