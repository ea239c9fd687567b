//! Fields to bytes.

use std::time::Duration;

/// A comment line without text: the heartbeat, and the first bytes of a stream.
///
/// It has no blank line behind it, so that no client takes it for an event, and it may stand at the
/// start of any line.
pub(crate) const COMMENT_LINE: &[u8] = b":\n";

/// The fields of one event, as they stand in its block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Block<'a> {
    pub(crate) comment: Option<&'a str>,
    pub(crate) retry: Option<Duration>,
    /// Must be free of line breaks.
    pub(crate) name: Option<&'a str>,
    pub(crate) data: &'a str,
    /// Must be free of line breaks; empty resets the client's last event id.
    pub(crate) id: Option<&'a str>,
}

impl Block<'_> {
    /// Appends the block, ended by its blank line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.len_hint());
        if let Some(comment) = self.comment {
            write_lines(out, b":", comment);
        }
        if let Some(retry) = self.retry {
            write_retry(out, retry);
        }
        if let Some(name) = self.name {
            write_line(out, b"event:", name);
        }
        write_lines(out, b"data:", self.data);
        // After the data: one popular client commits an id as soon as it reads the line.
        if let Some(id) = self.id {
            write_line(out, b"id:", id);
        }
        out.push(b'\n');
    }

    /// The exact length of a block whose texts have no line breaks and whose `retry` is absent.
    pub(crate) fn len_hint(&self) -> usize {
        let field = |name: usize, value: Option<&str>| value.map_or(0, |v| name + v.len() + 2);
        field(1, self.comment)
            + field(6, self.name)
            + field(5, Some(self.data))
            + field(3, self.id)
            + 1
    }
}

/// Returns the line that sets the client's reconnection time.
pub(crate) fn retry_line(retry: Duration) -> Vec<u8> {
    let mut line = Vec::with_capacity(16);
    write_retry(&mut line, retry);
    line
}

/// Whole milliseconds, at least one (zero makes clients reconnect in a busy loop) and at most
/// `i32::MAX` (some clients fail on more).
fn write_retry(out: &mut Vec<u8>, retry: Duration) {
    let millis = retry.as_millis().clamp(1, i32::MAX as u128);
    write_line(out, b"retry:", &millis.to_string());
}

/// Writes `text` line by line; LF, CR and CRLF are one break each.
fn write_lines(out: &mut Vec<u8>, field: &[u8], text: &str) {
    let mut rest = text;
    while let Some(end) = memchr::memchr2(b'\r', b'\n', rest.as_bytes()) {
        write_line(out, field, &rest[..end]);
        let crlf = rest.as_bytes()[end..].starts_with(b"\r\n");
        rest = &rest[end + if crlf { 2 } else { 1 }..];
    }
    write_line(out, field, rest);
}

fn write_line(out: &mut Vec<u8>, field: &[u8], value: &str) {
    out.extend_from_slice(field);
    // A client takes one space away, so a value that starts with one keeps it.
    if !value.is_empty() {
        out.push(b' ');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'\n');
}
