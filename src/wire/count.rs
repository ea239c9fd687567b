//! How many events there are in bytes that are passed on unchanged.

use memchr::memchr2;

const DATA: &[u8] = b"data";

/// Counts the events of a foreign stream, cut anywhere, with a few bytes of state: blocks with data
/// that have come to their blank line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EventCounter {
    line: Line,
    has_data: bool,
}

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug, Default)]
enum Line {
    #[default]
    Start,
    /// Directly after a CR.
    AfterCr,
    /// In what may be the name `data`, of which this much has come.
    Name(u8),
    /// Where nothing but the end of the line matters.
    Rest,
}

impl EventCounter {
    /// Returns how many events end in `chunk`.
    pub(crate) fn count(&mut self, chunk: &[u8]) -> usize {
        let mut events = 0;
        let mut rest = chunk;
        loop {
            if matches!(self.line, Line::Rest) {
                let Some(end) = memchr2(b'\r', b'\n', rest) else {
                    return events;
                };
                rest = &rest[end..];
            }
            let Some((&byte, behind)) = rest.split_first() else {
                return events;
            };
            rest = behind;
            events += usize::from(self.step(byte));
        }
    }

    /// Whether an event ends with this byte.
    fn step(&mut self, byte: u8) -> bool {
        let line = self.line;
        let is_break = matches!(byte, b'\r' | b'\n');
        self.line = match (line, byte) {
            (_, b'\r') => Line::AfterCr,
            (_, b'\n') => Line::Start,
            (Line::Start | Line::AfterCr, byte) if byte == DATA[0] => Line::Name(1),
            (Line::Name(len), byte) if DATA.get(usize::from(len)) == Some(&byte) => {
                Line::Name(len + 1)
            }
            _ => Line::Rest,
        };
        match line {
            // The second half of a line break.
            Line::AfterCr if byte == b'\n' => false,
            Line::Start | Line::AfterCr if is_break => std::mem::take(&mut self.has_data),
            Line::Name(len) if usize::from(len) == DATA.len() && (is_break || byte == b':') => {
                self.has_data = true;
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Decoder;

    /// As many as a client reads, wherever the bytes are cut.
    #[track_caller]
    fn check(text: &str, expected: usize) {
        let mut decoder = Decoder::new();
        let input = &mut text.as_bytes();
        let read = std::iter::from_fn(|| decoder.decode(input).expect("events are small"));
        assert_eq!(read.count(), expected, "{text:?} as a client reads it");
        for cut in 0..=text.len() {
            let mut counter = EventCounter::default();
            let (before, behind) = text.as_bytes().split_at(cut);
            let counted = counter.count(before) + counter.count(behind);
            assert_eq!(counted, expected, "{text:?} cut at {cut}");
        }
        let mut counter = EventCounter::default();
        let bytes = text.as_bytes().chunks(1);
        assert_eq!(
            bytes.map(|byte| counter.count(byte)).sum::<usize>(),
            expected
        );
    }

    #[test]
    fn events_are_counted_as_clients_read_them() {
        check("", 0);
        check(":\n", 0);
        check(":\n\n", 0);
        check("\n\n\n", 0);
        check("data: a\n\n", 1);
        check("data: a\ndata: b\n\n", 1);
        check("data\n\n", 1);
        check("data\r\r", 1);
        check("data:\r\n\r\n", 1);
        check("data: a\r\rdata: b\r\r", 2);
        check("data: a\n\ndata: b\r\n\r\ndata: c\r\r", 3);
        check("event: a\nid: 1\n\n", 0);
        check("event: a\nid: 1\ndata: x\n\n\n\n", 1);
        check("dat: a\n\ndatab: a\n\n data: a\n\n", 0);
        check("data: a\n", 0);
        check("data: data: a\n:data: b\n\n", 1);
        check("dadata: a\n\nd\n\nda\ndata\n\n", 1);
    }
}
