//! Records to events and their blocks.

use std::time::SystemTime;

use bytes::Bytes;
use bytestring::ByteString;
use smol_str::SmolStr;

use crate::{
    event::{Event, EventName},
    store::{Epoch, NewRecord, Position, Record, RecordKind},
    topic_name::TopicName,
    wire::Block,
};

/// What ends a block beside the id itself.
const ID_LINE: &str = "id: \n\n";

/// A record as it is sent: its block is made once per process and shared by all clients.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) offset: u64,
    pub(super) appended_at: Option<SystemTime>,
    name: Option<EventName>,
    block: ByteString,
    /// The length of the block without its id.
    body_len: usize,
    kind: RecordKind,
    /// The data where it has line breaks, or is no event's, and so is not a part of the block.
    apart: Option<ByteString>,
}

impl Frame {
    pub(super) fn new(epoch: Epoch, record: &Record) -> Self {
        let content = record.content();
        let mut frame = Self {
            offset: record.offset(),
            appended_at: record.appended_at(),
            name: None,
            block: ByteString::new(),
            body_len: 0,
            kind: content.kind(),
            apart: None,
        };
        if content.kind() != RecordKind::Event {
            frame.apart = Some(content.data().clone());
            return frame;
        }
        let id = Position::new(epoch, record.offset()).to_text();
        let mut block = Vec::new();
        block_of(content, &id).write(&mut block);
        frame.body_len = block.len() - ID_LINE.len() - id.len();
        // Only data with line breaks needs more than was reserved.
        block.shrink_to_fit();
        // All parts are UTF-8, so nothing is lost here.
        frame.block = String::from_utf8(block).unwrap_or_default().into();
        frame.name = content.name().cloned();
        if frame.data_in_block() != &**content.data() {
            frame.apart = Some(content.data().clone());
        }
        frame
    }

    /// The block of the event; empty for a record that is not an event.
    pub(super) fn block(&self) -> &Bytes {
        self.block.as_bytes()
    }

    /// Appends the block with another id.
    pub(crate) fn write_with_id(&self, out: &mut Vec<u8>, id: &str) {
        out.extend_from_slice(&self.block()[..self.body_len]);
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\n\n");
    }

    /// Appends the block without an id.
    pub(crate) fn write_without_id(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.block()[..self.body_len]);
        out.push(b'\n');
    }

    pub(crate) const fn kind(&self) -> RecordKind {
        self.kind
    }

    /// What a record says that is not an event.
    pub(crate) fn note(&self) -> &str {
        self.apart.as_deref().unwrap_or_default()
    }

    pub(super) fn is_event(&self) -> bool {
        !self.block.is_empty()
    }

    pub(super) fn event(&self, topic: &TopicName, id: SmolStr) -> Event {
        let data = match &self.apart {
            Some(data) => data.clone(),
            None => self.block.slice_ref(self.data_in_block()),
        };
        Event::from_parts(self.name.clone(), data)
            .of_topic(topic.clone())
            .id_text(id)
    }

    /// What stands between the first `data: ` and the end of the line before the id: the data, where
    /// it is one line.
    fn data_in_block(&self) -> &str {
        let name = self.name.as_ref().map(EventName::as_str);
        let start = "data: ".len() + name.map_or(0, |name| "event: \n".len() + name.len());
        let end = self.body_len.saturating_sub("\n".len());
        self.block.get(start..end).unwrap_or_default()
    }
}

/// Appends the blocks of those of `records` that are events, and returns how many are.
pub(super) fn write_blocks<'a>(
    out: &mut Vec<u8>,
    epoch: Epoch,
    records: impl IntoIterator<Item = &'a Record>,
) -> usize {
    let mut events = 0;
    for record in records {
        if record.content().kind() == RecordKind::Event {
            let id = Position::new(epoch, record.offset()).to_text();
            block_of(record.content(), &id).write(out);
            events += 1;
        }
    }
    events
}

fn block_of<'a>(content: &'a NewRecord, id: &'a str) -> Block<'a> {
    Block {
        name: content.name().map(EventName::as_str),
        data: content.data(),
        id: Some(id),
        ..Block::default()
    }
}
