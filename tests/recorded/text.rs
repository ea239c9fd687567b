//! What handlers say, and what clients have to read of it.

use crate::whatwg::{self, Event};

/// An event in one of the shapes that others write.
pub(crate) fn block(number: usize) -> String {
    match number % 5 {
        0 => format!("data: token {number}\n\n"),
        1 => format!("event: delta\ndata: {{\"n\":{number}}}\n\n"),
        2 => format!("data: {number} is\ndata:\ndata: of lines\n\n"),
        3 => format!("data: ünïcode ✓ {number}\r\n\r\n"),
        _ => format!(": aside\nid: own-{number}\nretry: 1000\ndata:  {number} \n\n"),
    }
}

/// What the first so many events say.
pub(crate) fn said(count: usize) -> Vec<(String, String)> {
    let blocks: String = (0..count).map(block).collect();
    contents(&whatwg::parse(blocks.as_bytes()).events)
}

/// Types and data of the events that are not ours.
pub(crate) fn contents(events: &[Event]) -> Vec<(String, String)> {
    let contents = events.iter().map(|(name, data, _)| (name, data));
    contents
        .filter(|(name, _)| !name.starts_with("sse."))
        .map(|(name, data)| (name.clone(), data.clone()))
        .collect()
}
