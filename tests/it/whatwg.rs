//! The parser of the HTML standard, word for word and without a thought for speed: the oracle.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

use std::time::Duration;

/// Type, data and last event id.
pub(crate) type Event = (String, String, String);

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) events: Vec<Event>,
    pub(crate) last_event_id: String,
    pub(crate) retry: Option<Duration>,
}

pub(crate) fn parse(stream: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut data = String::new();
    let mut event_type = String::new();
    let mut last_event_id = String::new();

    for line in lines(&utf8_decode(stream)) {
        if line.is_empty() {
            parsed.last_event_id = last_event_id.clone();
            if data.is_empty() {
                event_type.clear();
                continue;
            }
            if data.ends_with('\n') {
                data.pop();
            }
            if event_type.is_empty() {
                event_type.push_str("message");
            }
            parsed
                .events
                .push((event_type, data, parsed.last_event_id.clone()));
            data = String::new();
            event_type = String::new();
        } else if line.starts_with(':') {
            continue;
        } else {
            let (field, value) = match line.find(':') {
                Some(colon) => (&line[..colon], &line[colon + 1..]),
                None => (&line[..], ""),
            };
            let value = match value.starts_with(' ') {
                true => &value[1..],
                false => value,
            };
            match field {
                "event" => event_type = value.to_owned(),
                "data" => {
                    data.push_str(value);
                    data.push('\n');
                }
                "id" if !value.contains('\0') => last_event_id = value.to_owned(),
                "retry" if !value.is_empty() && value.chars().all(|c| c.is_ascii_digit()) => {
                    let millis = value.parse().unwrap_or(u64::MAX);
                    parsed.retry = Some(Duration::from_millis(millis));
                }
                _ => {}
            }
        }
    }
    parsed
}

fn utf8_decode(stream: &[u8]) -> String {
    let text = String::from_utf8_lossy(stream).into_owned();
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// The lines that are ended by CRLF, a single LF or a single CR; what follows the last end is
/// pending data, which the standard has discarded.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                if chars.peek() == Some(&'\n') {
                    chars.next();
                }
                lines.push(std::mem::take(&mut line));
            }
            '\n' => lines.push(std::mem::take(&mut line)),
            c => line.push(c),
        }
    }
    lines
}
