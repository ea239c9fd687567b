//! Records to events and their blocks.

use std::{fmt::Write, time::SystemTime};

use bytes::Bytes;
use bytestring::ByteString;

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
pub(super) struct Frame {
    pub(super) offset: u64,
    pub(super) appended_at: Option<SystemTime>,
    name: Option<EventName>,
    data: ByteString,
    block: ByteString,
    /// The length of the block without its id.
    body_len: usize,
}

impl Frame {
    pub(super) fn new(epoch: Epoch, record: &Record) -> Self {
        let content = record.content();
        let mut frame = Self {
            offset: record.offset(),
            appended_at: record.appended_at(),
            name: None,
            data: ByteString::new(),
            block: ByteString::new(),
            body_len: 0,
        };
        if content.kind() != RecordKind::Event {
            return frame;
        }
        let id = Position::new(epoch, record.offset()).to_string();
        let mut block = Vec::new();
        block_of(content, &id).write(&mut block);
        frame.body_len = block.len() - ID_LINE.len() - id.len();
        // Only data with line breaks needs more than was reserved.
        block.shrink_to_fit();
        // All parts are UTF-8, so nothing is lost here.
        frame.block = String::from_utf8(block).unwrap_or_default().into();
        frame.name = content.name().cloned();
        frame.data = data_in(&frame.block, content);
        frame
    }

    /// The block of the event; empty for a record that is not an event.
    pub(super) fn block(&self) -> &Bytes {
        self.block.as_bytes()
    }

    /// Appends the block with another id.
    pub(super) fn write_with_id(&self, out: &mut Vec<u8>, id: &str) {
        out.extend_from_slice(&self.block()[..self.body_len]);
        out.extend_from_slice(b"id: ");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b"\n\n");
    }

    pub(super) fn is_event(&self) -> bool {
        !self.block.is_empty()
    }

    pub(super) fn event(&self, topic: &TopicName, id: ByteString) -> Event {
        Event::from_parts(self.name.clone(), self.data.clone())
            .of_topic(topic.clone())
            .id_text(id)
    }
}

/// The data as a part of the block, so that it is kept once; a copy where it has line breaks.
fn data_in(block: &ByteString, content: &NewRecord) -> ByteString {
    let start = "data: ".len()
        + content
            .name()
            .map_or(0, |name| "event: \n".len() + name.as_str().len());
    match block.get(start..start + content.data().len()) {
        Some(data) if data == &**content.data() => block.slice_ref(data),
        _ => content.data().clone(),
    }
}

/// Appends the blocks of those of `records` that are events.
pub(super) fn write_blocks<'a>(
    out: &mut Vec<u8>,
    epoch: Epoch,
    records: impl IntoIterator<Item = &'a Record>,
) {
    let mut id = String::new();
    for record in records {
        if record.content().kind() == RecordKind::Event {
            id.clear();
            // Writing to a `String` does not fail.
            let _ = write!(id, "{}", Position::new(epoch, record.offset()));
            block_of(record.content(), &id).write(out);
        }
    }
}

fn block_of<'a>(content: &'a NewRecord, id: &'a str) -> Block<'a> {
    Block {
        name: content.name().map(EventName::as_str),
        data: content.data(),
        id: Some(id),
        ..Block::default()
    }
}
