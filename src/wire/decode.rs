//! Bytes to events, by the clause "interpreting an event stream".

use std::{borrow::Cow, error::Error, fmt, mem, time::Duration};

use memchr::{memchr, memchr2};

/// Turns the bytes of an event stream, split anywhere, into events.
///
/// It follows the [HTML standard], so it reads what a browser reads. One decoder reads one stream.
/// Bytes that are not UTF-8 become U+FFFD, the same ones as if the stream was decoded as a whole.
/// An event is complete with its blank line, even where that ends in a lone CR; what follows the
/// last blank line of a stream is never returned.
///
/// [HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
///
/// # Examples
///
/// ```
/// use tower_sse::Decoder;
///
/// let mut decoder = Decoder::new();
/// let mut events = Vec::new();
/// for mut chunk in [&b"event: tick\nda"[..], b"ta: 1\nid: 7\n\ndata: 2\n\ndata: 3\n"] {
///     while let Some(event) = decoder.decode(&mut chunk)? {
///         events.push(event);
///     }
/// }
///
/// let [first, second] = &events[..] else { panic!("two blank lines, two events") };
/// assert_eq!((first.event_type(), first.data(), first.last_event_id()), ("tick", "1", "7"));
/// assert_eq!((second.event_type(), second.data(), second.last_event_id()), ("message", "2", "7"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Decoder {
    max_event_bytes: usize,
    in_first_line: bool,
    after_cr: bool,
    line: Vec<u8>,
    block: Block,
    last_event_id: String,
    retry: Option<Duration>,
    failed: bool,
}

impl Decoder {
    /// Starts at the beginning of a stream, with events of up to 1 MiB.
    pub fn new() -> Self {
        Self {
            max_event_bytes: 1024 * 1024,
            in_first_line: true,
            after_cr: false,
            line: Vec::new(),
            block: Block::default(),
            last_event_id: String::new(),
            retry: None,
            failed: false,
        }
    }

    /// Limits the size of an event: its `data`, `event`, `id` and `retry` lines, with one byte for
    /// each break between them.
    ///
    /// Comments and unknown fields do not count: a stream may have any number of them, of any
    /// length. Whatever comes in, the decoder holds no more than a small multiple of the limit.
    pub fn max_event_bytes(mut self, max: usize) -> Self {
        self.max_event_bytes = max;
        self
    }

    /// Reads from `input` until an event is complete, leaving the rest in `input`.
    ///
    /// `Ok(None)` means that all of `input` was read. Between events the decoder holds no more than
    /// the last event id.
    ///
    /// # Errors
    ///
    /// When an event is larger than the limit, as soon as that is certain. The decoder has lost its
    /// place then, and every later call returns the error again.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<DecodedEvent>, EventTooLarge> {
        if self.failed {
            return Err(self.too_large());
        }
        let event = self.next_event(input);
        if event.is_err() {
            self.failed = true;
            self.line = Vec::new();
            self.block = Block::default();
        }
        event
    }

    /// Returns the last event id, which a client sends as `Last-Event-ID` when it reconnects.
    ///
    /// The blank line of a block with an `id` sets it, with or without `data`. It is empty before.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Returns the reconnection time, if the stream has set one.
    ///
    /// It is in force from the end of the `retry` line on, without a blank line. More than
    /// `u64::MAX` milliseconds are read as that many.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn next_event(&mut self, input: &mut &[u8]) -> Result<Option<DecodedEvent>, EventTooLarge> {
        while !input.is_empty() {
            if mem::take(&mut self.after_cr) && input.starts_with(b"\n") {
                *input = &input[1..];
                continue;
            }
            let Some(end) = memchr2(b'\r', b'\n', input) else {
                self.carry(mem::take(input))?;
                break;
            };
            let (rest_of_line, rest) = input.split_at(end);
            self.after_cr = rest.starts_with(b"\r");
            *input = &rest[1..];
            if let Some(event) = self.end_line(rest_of_line)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn carry(&mut self, piece: &[u8]) -> Result<(), EventTooLarge> {
        let left = self.bytes_left();
        // A line with more than that is ignored, or too large, and this much of it tells which.
        let room = left
            .saturating_add(LONGEST_START)
            .saturating_sub(self.line.len());
        self.line
            .extend_from_slice(piece.get(..room).unwrap_or(piece));

        let line = match self.in_first_line {
            true => without_bom(&self.line),
            false => &self.line,
        };
        if starts_field(line) && line.len() > left {
            return Err(self.too_large());
        }
        Ok(())
    }

    fn end_line(&mut self, rest_of_line: &[u8]) -> Result<Option<DecodedEvent>, EventTooLarge> {
        if self.line.is_empty() {
            return self.whole_line(rest_of_line);
        }
        self.carry(rest_of_line)?;
        let line = mem::take(&mut self.line);
        self.whole_line(&line)
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<Option<DecodedEvent>, EventTooLarge> {
        let line = match mem::take(&mut self.in_first_line) {
            true => without_bom(line),
            false => line,
        };
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (name, value) = split_field(line);
        if !FIELDS.contains(&name) {
            return Ok(None);
        }
        if line.len() > self.bytes_left() {
            return Err(self.too_large());
        }
        self.block.size = self.block.size.saturating_add(line.len() + 1);

        // A break or a colon ends a broken UTF-8 sequence, so values can be decoded one by one.
        let text = || String::from_utf8_lossy(value);
        match name {
            b"data" => self.block.push_data(text()),
            b"event" => self.block.event_type = text().into_owned(),
            b"id" if !value.contains(&0) => self.block.id = Some(text().into_owned()),
            b"retry" => self.retry = parse_millis(value).or(self.retry),
            _ => {}
        }
        Ok(None)
    }

    fn bytes_left(&self) -> usize {
        self.max_event_bytes.saturating_sub(self.block.size)
    }

    fn too_large(&self) -> EventTooLarge {
        EventTooLarge {
            max: self.max_event_bytes,
        }
    }

    fn dispatch(&mut self) -> Option<DecodedEvent> {
        let block = mem::take(&mut self.block);
        // The id counts even where there is no data and so no event.
        if let Some(id) = block.id {
            self.last_event_id = id;
        }
        let event_type = match block.event_type {
            unnamed if unnamed.is_empty() => "message".to_owned(),
            named => named,
        };
        Some(DecodedEvent {
            event_type,
            data: block.data?,
            last_event_id: self.last_event_id.clone(),
        })
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// An event as a client that follows the WHATWG algorithm reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedEvent {
    event_type: String,
    data: String,
    last_event_id: String,
}

impl DecodedEvent {
    /// Returns the event's type, `message` if the stream gives none.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// Returns the type and the data.
    pub(crate) fn into_parts(self) -> (String, String) {
        (self.event_type, self.data)
    }

    /// Returns the data, its lines joined by LF.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Returns the last event id, that of an earlier event where this one has none; empty at first.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }
}

/// The error of an event that is larger than [`Decoder::max_event_bytes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTooLarge {
    max: usize,
}

impl fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event is larger than {} bytes", self.max)
    }
}

impl Error for EventTooLarge {}

const BOM: &[u8] = "\u{feff}".as_bytes();
const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];
const LONGEST_START: usize = BOM.len() + "retry:".len();

/// The fields since the last blank line.
#[derive(Debug, Default)]
struct Block {
    size: usize,
    event_type: String,
    data: Option<String>,
    id: Option<String>,
}

impl Block {
    fn push_data(&mut self, line: Cow<'_, str>) {
        match &mut self.data {
            Some(data) => {
                data.push('\n');
                data.push_str(&line);
            }
            None => self.data = Some(line.into_owned()),
        }
    }
}

fn without_bom(line: &[u8]) -> &[u8] {
    line.strip_prefix(BOM).unwrap_or(line)
}

fn starts_field(line: &[u8]) -> bool {
    FIELDS.iter().any(|field| {
        let rest = line.strip_prefix(*field);
        rest.is_some_and(|rest| rest.starts_with(b":"))
    })
}

fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b':', line) {
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
        None => (line, b""),
    }
}

fn parse_millis(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |millis: u64, digit: &u8| {
        millis
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    };
    Some(Duration::from_millis(value.iter().fold(0, add)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_are_ascii_digits_and_saturate() {
        #[track_caller]
        fn check(value: &str, expected: Option<u64>) {
            assert_eq!(
                parse_millis(value.as_bytes()),
                expected.map(Duration::from_millis),
                "{value:?}"
            );
        }
        check("0", Some(0));
        check("0012", Some(12));
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551616", Some(u64::MAX));
        check("99999999999999999999999999999999999999999", Some(u64::MAX));
        for bad in ["", " 1", "1 ", "+1", "-1", "1.5", "1s", "0x1", "٣"] {
            check(bad, None);
        }
    }
}
