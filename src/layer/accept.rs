//! What a client says that it accepts.

/// Whether the client asks for event streams by name.
pub(super) fn names_event_stream(accept: Option<&[u8]>) -> bool {
    quality(accept, "text/event-stream").is_some_and(|quality| quality > 0.0)
}

/// Whether an event stream is acceptable; everything is to a client that does not say.
///
/// The most specific range counts (RFC 9110, 12.5.1).
pub(super) fn allows_event_stream(accept: Option<&[u8]>) -> bool {
    if accept.is_none_or(<[u8]>::is_empty) {
        return true;
    }
    let ranges = ["text/event-stream", "text/*", "*/*"];
    let mut qualities = ranges.iter().filter_map(|range| quality(accept, range));
    qualities.next().is_some_and(|quality| quality > 0.0)
}

/// The highest quality that a range is given.
fn quality(accept: Option<&[u8]>, range: &str) -> Option<f32> {
    let accept = str::from_utf8(accept?).ok()?;
    let qualities = accept.split(',').filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case(range) {
            return None;
        }
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        Some(quality.map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0)))
    });
    qualities.reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_range_decides() {
        let cases: [(Option<&str>, bool, bool); 10] = [
            (None, true, false),
            (Some(""), true, false),
            (Some("text/event-stream"), true, true),
            (Some("Text/Event-Stream;q=0.5, */*;q=0"), true, true),
            (Some("application/json, text/event-stream"), true, true),
            (Some("*/*"), true, false),
            (Some("text/*"), true, false),
            (Some("*/*, text/event-stream;q=0"), false, false),
            (Some("application/json"), false, false),
            (Some("text/html, */*; q=0.0"), false, false),
        ];
        for (accept, allowed, named) in cases {
            let bytes = accept.map(str::as_bytes);
            assert_eq!(allows_event_stream(bytes), allowed, "{accept:?}");
            assert_eq!(names_event_stream(bytes), named, "{accept:?}");
        }
    }
}
