//! Where lines start in bytes that are passed on unchanged.

use bytes::{Buf, Bytes};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Follows a foreign event stream with a few bytes of state and without a copy.
///
/// Tells where a line of ours may be put in: only where a line of theirs starts. After a CR that is
/// unknown until the next byte has come, which may be the LF of the same line break.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineScanner {
    line: Line,
    /// How much of a byte order mark the stream began with; `None` once that is settled.
    bom: Option<usize>,
    begun: bool,
    data_line_ended: bool,
    retry_seen: bool,
    /// Whether something came since the last blank line.
    in_block: bool,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug, Default)]
enum Line {
    #[default]
    Start,
    /// Directly after a CR.
    AfterCr,
    /// In the name of a field, of which this much has matched.
    Name(Field, usize),
    /// Behind the name.
    Value(Field),
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Data,
    Retry,
    Other,
}

impl Field {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Data => b"data",
            Self::Retry => b"retry",
            Self::Other => b"",
        }
    }
}

impl LineScanner {
    /// Whether a line of ours may follow the bytes seen so far.
    pub(crate) fn at_line_start(&self) -> bool {
        matches!(self.line, Line::Start)
    }

    /// Whether an event of ours may follow the bytes seen so far, if none of theirs does.
    ///
    /// Not where one of theirs was cut off: its blank line would be the end of it, too.
    pub(crate) fn is_between_events(&self) -> bool {
        !self.in_block && matches!(self.line, Line::Start | Line::AfterCr)
    }

    /// Whether the stream itself has set the reconnection time.
    pub(crate) fn retry_seen(&self) -> bool {
        self.retry_seen
    }

    /// Takes a leading byte order mark away, also one that is split over chunks.
    ///
    /// A comment of ours stands before the stream, so that clients would no longer drop the mark.
    /// Returns what was held back and turned out not to be one: it goes before `chunk`.
    pub(crate) fn strip_bom(&mut self, chunk: &mut Bytes) -> &'static [u8] {
        if self.begun {
            return &[];
        }
        let mut matched = self.bom.unwrap_or(0);
        while matched < BOM.len() && chunk.first() == Some(&BOM[matched]) {
            chunk.advance(1);
            matched += 1;
        }
        if matched < BOM.len() && chunk.is_empty() {
            self.bom = Some(matched);
            return &[];
        }
        self.begun = true;
        if matched == BOM.len() {
            &[]
        } else {
            &BOM[..matched]
        }
    }

    /// Follows `chunk` up to the first place inside the block of an event where a line of ours may
    /// stand, and returns the length up to there; `None` if there is no such place in it.
    pub(crate) fn follow_to_event(&mut self, chunk: &[u8]) -> Option<usize> {
        for (at, &byte) in chunk.iter().enumerate() {
            // Before the step, since only the byte behind a CR tells where the line starts.
            let starts_line = match self.line {
                Line::Start => true,
                Line::AfterCr => byte != b'\n',
                Line::Name(..) | Line::Value(_) => false,
            };
            if self.data_line_ended && starts_line {
                self.line = Line::Start;
                return Some(at);
            }
            self.step(byte);
        }
        (self.data_line_ended && self.at_line_start()).then_some(chunk.len())
    }

    /// Follows `chunk` where nothing but its end matters any more.
    pub(crate) fn follow(&mut self, chunk: &[u8]) {
        // As long as two line breaks may be.
        let end = match chunk.last_chunk::<4>() {
            Some(end) if chunk.len() > end.len() => {
                self.line = Line::Value(Field::Other);
                self.in_block = true;
                end
            }
            _ => chunk,
        };
        for &byte in end {
            self.step(byte);
        }
    }

    fn step(&mut self, byte: u8) {
        match (self.line, byte) {
            // The second half of a line break.
            (Line::AfterCr, b'\n') => {}
            (Line::Start | Line::AfterCr, b'\r' | b'\n') => self.in_block = false,
            _ => self.in_block = true,
        }
        self.line = match (self.line, byte) {
            (Line::AfterCr, b'\n') => Line::Start,
            (line, b'\r' | b'\n') => {
                self.end_line(line);
                if byte == b'\r' {
                    Line::AfterCr
                } else {
                    Line::Start
                }
            }
            (Line::Start | Line::AfterCr, b'd') => Line::Name(Field::Data, 1),
            (Line::Start | Line::AfterCr, b'r') => Line::Name(Field::Retry, 1),
            (Line::Name(field, len), b':') if len == field.name().len() => Line::Value(field),
            (Line::Name(field, len), byte) if field.name().get(len) == Some(&byte) => {
                Line::Name(field, len + 1)
            }
            (Line::Value(field), _) => Line::Value(field),
            _ => Line::Value(Field::Other),
        };
    }

    fn end_line(&mut self, line: Line) {
        match line {
            Line::Name(field, len) if len < field.name().len() => {}
            Line::Name(Field::Data, _) | Line::Value(Field::Data) => self.data_line_ended = true,
            Line::Name(Field::Retry, _) | Line::Value(Field::Retry) => self.retry_seen = true,
            _ => {}
        }
    }
}
