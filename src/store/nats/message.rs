//! What one message of the stream holds: the records of an append, or of several that waited at the
//! same time, and where they stand in their log.

use std::time::SystemTime;

use async_nats::{HeaderMap, jetstream::message::StreamMessage};
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use crate::{
    event::EventName,
    millis::unix_millis,
    store::{Epoch, NewRecord, Position, RecordKind, StoreError, error::damaged},
};

/// The header that makes a message one of ours.
const HEADER: &str = "Tower-Sse";

/// An offset is the sequence of a message and the index of a record in it, so a message has at most
/// this many records, and a stream 2^48 messages.
const INDEX_BITS: u32 = 16;
pub(super) const MOST_RECORDS: usize = 1 << INDEX_BITS;

/// What ties a message to its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) epoch: Epoch,
    /// The sequence that the topic had for a head before it had this log.
    pub(super) from: u64,
    /// The sequence of the first message of the log; 0 in that message itself.
    pub(super) birth: u64,
    /// The offset before the first record; 0 where the log begins.
    pub(super) previous: u64,
    /// The events, and their bytes, in the log before this message.
    pub(super) events: u64,
    pub(super) bytes: u64,
    /// The topic is gone this many milliseconds after the time of the message.
    pub(super) ends: Option<u64>,
}

/// A message of ours.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) sequence: u64,
    /// When the server has stored it, in milliseconds.
    pub(super) time: u64,
    pub(super) links: Links,
    pub(super) records: Vec<NewRecord>,
}

/// A record where it stands.
pub(super) struct Entry<'a> {
    pub(super) offset: u64,
    pub(super) previous: u64,
    /// The events, and their bytes, in the log before it.
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) time: u64,
    pub(super) record: &'a NewRecord,
}

impl Links {
    fn header(&self, format: &str) -> String {
        let ends = self.ends.map_or("-".to_owned(), |ends| ends.to_string());
        format!(
            "{format} {:x} {} {} {} {} {} {ends}",
            self.epoch.get(),
            self.from,
            self.birth,
            self.previous,
            self.events,
            self.bytes,
        )
    }

    fn parse<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<Self> {
        let epoch = u64::from_str_radix(fields.next()?, 16).ok()?;
        let mut number = || fields.next()?.parse().ok();
        let links = Self {
            epoch: Epoch::new(epoch),
            from: number()?,
            birth: number()?,
            previous: number()?,
            events: number()?,
            bytes: number()?,
            ends: None,
        };
        let ends = match fields.next()? {
            "-" => None,
            ends => Some(ends.parse().ok()?),
        };
        Some(Self { ends, ..links })
    }
}

impl Message {
    /// Reads what stands in the stream.
    ///
    /// # Errors
    ///
    /// When somebody else has published it.
    pub(super) fn parse(message: &StreamMessage) -> Result<Self, StoreError> {
        let time = SystemTime::from(message.time);
        Self::from_parts(
            message.sequence,
            unix_millis(time),
            &message.headers,
            &message.payload,
        )
        .ok_or_else(|| {
            damaged(format!(
                "message {} on {} is none of this store's",
                message.sequence, message.subject
            ))
        })
    }

    fn from_parts(sequence: u64, time: u64, headers: &HeaderMap, payload: &Bytes) -> Option<Self> {
        let mut fields = headers.get(HEADER)?.as_str().split(' ');
        let format = fields.next()?;
        let links = Links::parse(fields)?;
        let records = match format {
            "plain" => vec![NewRecord::event(None, text(payload)?)],
            "packed" => unpacked(payload)?,
            _ => return None,
        };
        Some(Self {
            sequence,
            time,
            links,
            records,
        })
    }

    pub(super) fn head(&self) -> Position {
        Position::new(self.links.epoch, self.head_offset())
    }

    pub(super) fn head_offset(&self) -> u64 {
        match self.records.len() {
            0 => self.links.previous,
            count => offset(self.sequence, count - 1),
        }
    }

    pub(super) fn birth(&self) -> u64 {
        match self.links.birth {
            0 => self.sequence,
            birth => birth,
        }
    }

    /// The events, and their bytes, in the log up to and with this message.
    pub(super) fn totals(&self) -> (u64, u64) {
        totals(&self.links, &self.records)
    }

    pub(super) fn ends_at(&self) -> Option<u64> {
        Some(self.time.saturating_add(self.links.ends?))
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = Entry<'_>> {
        let (mut events, mut bytes) = (self.links.events, self.links.bytes);
        let mut previous = self.links.previous;
        let mut entries = Vec::with_capacity(self.records.len());
        for (index, record) in self.records.iter().enumerate() {
            let offset = offset(self.sequence, index);
            entries.push(Entry {
                offset,
                previous,
                events,
                bytes,
                time: self.time,
                record,
            });
            let (one, size) = counted(record);
            events += one;
            bytes += size;
            previous = offset;
        }
        entries.into_iter()
    }
}

/// What a message is published as.
pub(super) fn encode(links: &Links, records: &[NewRecord]) -> (HeaderMap, Bytes) {
    let (format, payload) = match records {
        // As anybody would publish it, so that other tools show it.
        [event] if event.kind() == RecordKind::Event && event.name().is_none() => {
            ("plain", event.data().as_bytes().clone())
        }
        records => ("packed", packed(records)),
    };
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, links.header(format));
    (headers, payload)
}

pub(super) fn totals(links: &Links, records: &[NewRecord]) -> (u64, u64) {
    let before = (links.events, links.bytes);
    records.iter().fold(before, |(events, bytes), record| {
        let (one, size) = counted(record);
        (events + one, bytes + size)
    })
}

/// How much a record adds to what is counted.
fn counted(record: &NewRecord) -> (u64, u64) {
    match record.kind() {
        RecordKind::Event => (1, u64::try_from(record.size()).unwrap_or(u64::MAX)),
        _ => (0, 0),
    }
}

pub(super) fn offset(sequence: u64, index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    (sequence << INDEX_BITS) | index
}

pub(super) fn sequence_of(offset: u64) -> u64 {
    offset >> INDEX_BITS
}

pub(super) fn now() -> u64 {
    unix_millis(SystemTime::now())
}

pub(super) fn packed_size(records: &[NewRecord]) -> usize {
    records.iter().map(|record| record.size() + 9).sum()
}

/// Each record as its kind, the lengths of its name and its data, and these.
fn packed(records: &[NewRecord]) -> Bytes {
    let mut payload = BytesMut::with_capacity(packed_size(records));
    let length = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
    for record in records {
        let name = record.name().map_or("", |name| name.as_str());
        payload.put_u8(match record.kind() {
            RecordKind::Event => b'e',
            RecordKind::Lease => b'l',
            RecordKind::End => b'x',
        });
        payload.put_u32(length(name));
        payload.put_u32(length(record.data()));
        payload.put_slice(name.as_bytes());
        payload.put_slice(record.data().as_bytes());
    }
    payload.freeze()
}

fn unpacked(payload: &Bytes) -> Option<Vec<NewRecord>> {
    let mut rest = payload.clone();
    let mut take = |length: usize| (length <= rest.len()).then(|| rest.split_to(length));
    let mut records = Vec::new();
    while let Some(kind) = take(1) {
        let mut length = || {
            let bytes = <[u8; 4]>::try_from(&take(4)?[..]).ok()?;
            usize::try_from(u32::from_be_bytes(bytes)).ok()
        };
        let (name, data) = (length()?, length()?);
        let (name, data) = (take(name)?, text(&take(data)?)?);
        records.push(match kind[0] {
            b'e' if name.is_empty() => NewRecord::event(None, data),
            b'e' => NewRecord::event(Some(EventName::stored(&text(&name)?).ok()?), data),
            b'l' => NewRecord::of_kind(RecordKind::Lease, data),
            b'x' => NewRecord::of_kind(RecordKind::End, data),
            _ => return None,
        });
    }
    (records.len() <= MOST_RECORDS).then_some(records)
}

fn text(bytes: &Bytes) -> Option<ByteString> {
    ByteString::try_from(bytes.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let name = EventName::new("\u{e9}t\u{e9} 1").ok();
        let long = "x".repeat(70_000);
        let cases = [
            vec![],
            vec![NewRecord::event(None, "")],
            vec![NewRecord::event(None, "a\r\n\0b")],
            vec![NewRecord::event(name.clone(), "a")],
            vec![NewRecord::of_kind(RecordKind::Lease, "a")],
            vec![
                NewRecord::event(name, ""),
                NewRecord::event(None, long),
                NewRecord::of_kind(RecordKind::End, "{}"),
            ],
        ];
        for (ends, records) in [None, Some(0), Some(u64::MAX)]
            .into_iter()
            .cycle()
            .zip(cases)
        {
            let links = Links {
                epoch: Epoch::new(0x9f2c),
                from: 1,
                birth: 2,
                previous: 3,
                events: 4,
                bytes: 5,
                ends,
            };
            let (headers, payload) = encode(&links, &records);
            let read = Message::from_parts(7, 8, &headers, &payload).map(|m| (m.links, m.records));
            assert_eq!(read, Some((links, records)));
        }
    }

    #[test]
    fn what_others_publish_is_not_read() {
        let links = "packed 9f2c 1 2 3 4 5 -";
        let payloads: [&[u8]; 5] = [
            b"e",
            b"e\0\0\0\0\0\0\0\x05x",
            b"q\0\0\0\0\0\0\0\0",
            &[0xff; 9],
            b"text",
        ];
        for payload in payloads {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, links);
            let payload = Bytes::copy_from_slice(payload);
            assert!(Message::from_parts(1, 1, &headers, &payload).is_none());
        }
        for header in [
            "",
            "plain",
            "plain x",
            "other 9f2c 1 2 3 4 5 -",
            "plain 9f2c 1 2 3 4 5",
            "plain 9f2c 1 2 3 4 -1 -",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, header);
            assert!(
                Message::from_parts(1, 1, &headers, &Bytes::new()).is_none(),
                "{header}"
            );
        }
        assert!(Message::from_parts(1, 1, &HeaderMap::new(), &Bytes::new()).is_none());
    }
}
