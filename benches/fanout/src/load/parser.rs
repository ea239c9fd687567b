//! The response of one client, as it comes: HTTP's chunks, the lines in them, and the updates.

use hdrhistogram::Histogram;
use memchr::{memchr, memmem};

/// What was found in the responses of all clients.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) reads: u64,
    pub(crate) bytes: u64,
    /// Events that were missing, came twice or out of order, and responses that made no sense.
    pub(crate) errors: u64,
    /// Nanoseconds from publishing to reading.
    pub(crate) latency: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        // 1 us to 2 min, to a hundredth, which is small enough for the processor's cache.
        let latency = Histogram::new_with_bounds(1_000, 120_000_000_000, 2);
        Self {
            events: 0,
            reads: 0,
            bytes: 0,
            errors: 0,
            latency: latency.expect("the bounds make sense"),
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.events, self.reads, self.bytes, self.errors) = (0, 0, 0, 0);
        self.latency.reset();
    }
}

/// Where the response of a client is.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    /// The beginning of what is not complete: the head, or a line.
    partial: Vec<u8>,
    /// The update of the event that is not complete.
    update: Option<(u64, u64)>,
    /// The number of the last update.
    last: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    /// What was read of the size of a chunk.
    Size(usize),
    /// How much of the chunk is to come.
    Chunk(usize),
    Broken,
}

impl Parser {
    /// A client that is to get what comes after `last`.
    pub(crate) fn new(last: u64) -> Self {
        Self {
            state: State::Head,
            partial: Vec::new(),
            update: None,
            last,
        }
    }

    /// Whether the head is complete.
    pub(crate) fn has_head(&self) -> bool {
        !matches!(self.state, State::Head)
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Takes what was read at `now`.
    pub(crate) fn read(&mut self, mut bytes: &[u8], now: u64, tally: &mut Tally) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.read_head(bytes),
                State::Size(size) => self.read_size(size, bytes),
                State::Chunk(left) => {
                    let (chunk, rest) = bytes.split_at(left.min(bytes.len()));
                    self.read_lines(chunk, now, tally);
                    self.state = match left - chunk.len() {
                        0 => State::Size(0),
                        left => State::Chunk(left),
                    };
                    rest
                }
                State::Broken => {
                    tally.errors += 1;
                    return;
                }
            };
        }
    }

    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let before = self.partial.len();
        self.partial.extend_from_slice(bytes);
        let Some(end) = memmem::find(&self.partial, b"\r\n\r\n") else {
            return &[];
        };
        let head = self.partial[..end].to_ascii_lowercase();
        let is_stream = head.starts_with(b"http/1.1 200")
            && memmem::find(&head, b"\r\ntransfer-encoding: chunked").is_some();
        self.partial.clear();
        self.state = if is_stream {
            State::Size(0)
        } else {
            State::Broken
        };
        &bytes[end + 4 - before..]
    }

    /// Reads the line with the size of a chunk, and the empty line before it.
    fn read_size<'a>(&mut self, mut size: usize, bytes: &'a [u8]) -> &'a [u8] {
        for (at, byte) in bytes.iter().enumerate() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                b'\r' => continue,
                b'\n' if size == 0 => continue,
                b'\n' => {
                    self.state = State::Chunk(size);
                    return &bytes[at + 1..];
                }
                _ => {
                    self.state = State::Broken;
                    return &bytes[at..];
                }
            };
            size = size * 16 + usize::from(digit);
        }
        self.state = State::Size(size);
        &[]
    }

    fn read_lines(&mut self, mut bytes: &[u8], now: u64, tally: &mut Tally) {
        while let Some(end) = memchr(b'\n', bytes) {
            if self.partial.is_empty() {
                self.read_line(&bytes[..end], now, tally);
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(&bytes[..end]);
                self.read_line(&line, now, tally);
                line.clear();
                self.partial = line;
            }
            bytes = &bytes[end + 1..];
        }
        self.partial.extend_from_slice(bytes);
    }

    fn read_line(&mut self, line: &[u8], now: u64, tally: &mut Tally) {
        if line.is_empty() {
            if let Some((seq, at)) = self.update.take() {
                // As many as are missing before it, or itself where it came before.
                tally.errors += seq.checked_sub(self.last + 1).unwrap_or(1);
                self.last = self.last.max(seq);
                tally.events += 1;
                tally.latency.saturating_record(now.saturating_sub(at));
            }
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.update = update(data.strip_prefix(b" ").unwrap_or(data));
        } else if line.starts_with(b"event: sse.gap") || line.starts_with(b"event: sse.bye") {
            tally.errors += 1;
        }
    }
}

/// Reads the number and the time of an update.
fn update(json: &[u8]) -> Option<(u64, u64)> {
    let (seq, rest) = number(json.strip_prefix(br#"{"seq":"#)?);
    let (at, _) = number(rest.strip_prefix(br#","at":"#)?);
    Some((seq, at))
}

fn number(bytes: &[u8]) -> (u64, &[u8]) {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte.wrapping_sub(b'0') {
            digit @ 0..=9 => number = number * 10 + u64::from(digit),
            _ => return (number, &bytes[at..]),
        }
    }
    (number, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
        Transfer-Encoding: chunked\r\n\r\n";

    /// Checks how many events are found and how many are wrong, however the bytes are cut.
    #[track_caller]
    fn check(events: &[&str], expected: (u64, u64, u64)) {
        let mut bytes = HEAD.to_owned();
        for event in events {
            bytes += &format!("{:X}\r\n{event}\r\n", event.len());
        }
        for piece in 1..bytes.len() {
            let (mut parser, mut tally) = (Parser::new(0), Tally::new());
            for bytes in bytes.as_bytes().chunks(piece) {
                parser.read(bytes, 7_000, &mut tally);
            }
            assert_eq!(
                (tally.events, tally.errors, parser.last()),
                expected,
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn what_is_missing_or_comes_twice_is_found() {
        let event = |seq| format!("id: {seq}\ndata: {{\"seq\":{seq},\"at\":5000,\"more\":1}}\n\n");
        let (one, two, three) = (event(1), event(2), event(3));
        check(&[], (0, 0, 0));
        check(&[&one, &two, &three], (3, 0, 3));
        check(&[&(one.clone() + &two), &three], (3, 0, 3));
        check(
            &[&one[..9], &one[9..], ":\n\n", "retry: 9\n\n", &two],
            (2, 0, 2),
        );
        check(&["event: sse.open\ndata: {}\n\n", &one], (1, 0, 1));
        check(&["data:{\"seq\":1,\"at\":5}\n\n"], (1, 0, 1));
        check(&[&one, &three], (2, 1, 3));
        check(&[&one, &one, &two], (3, 1, 2));
        check(&[&two, &one], (2, 2, 2));
        check(&["event: sse.gap\ndata: {}\n\n", &one], (1, 1, 1));
        check(&["data: {\"seq\":1,\"at\":5}\n"], (0, 0, 0));
    }

    #[test]
    fn latency_is_from_publishing_to_reading() {
        let (mut parser, mut tally) = (Parser::new(6), Tally::new());
        let event = "data: {\"seq\":7,\"at\":5000}\n\n";
        let bytes = format!("{HEAD}{:x}\r\n{event}\r\n", event.len());
        parser.read(bytes.as_bytes(), 25_000, &mut tally);
        assert!(tally.latency.equivalent(tally.latency.max(), 20_000));
    }

    #[test]
    fn other_responses_are_wrong() {
        let (mut parser, mut tally) = (Parser::new(0), Tally::new());
        parser.read(b"HTTP/1.1 404 Not Found\r\n\r\nno", 0, &mut tally);
        assert_eq!(tally.errors, 1);
    }
}
