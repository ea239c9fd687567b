//! The position that a client comes back with.

use std::{borrow::Cow, fmt};

use bytestring::ByteString;

use crate::event::GapReason;

/// Names of the query parameter, for clients that cannot set a header: a new `EventSource` is one.
const QUERY: [&str; 3] = ["lastEventId", "last_event_id", "lastEventID"];

/// The longest id that is looked at, in bytes. The longest of ours has the positions of 64 topics.
pub(crate) const MAX_LEN: usize = 2048;

/// The last event id that a client sent when it came back.
///
/// Taken from the header `Last-Event-ID`, or else from the query parameter `lastEventId`,
/// `last_event_id` or `lastEventID`. As an extractor, in axum and in actix-web, it never fails: what a
/// client sends is untrusted, and a stream that cannot resume says so in an `sse.gap` event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LastEventId {
    /// The client is new, or sent an empty one.
    #[default]
    Absent,
    /// The text that was sent. Whether it is an id of ours is for whoever made it to say.
    Id(ByteString),
    /// There was one, but it is not UTF-8, longer than 2,048 bytes, has control characters, or there
    /// were several that differ.
    Unusable,
}

/// What became of the position that a client came back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResumeOutcome {
    /// It came without one.
    New,
    /// It gets all that it has missed.
    Resumed,
    /// It does not get all, and is told so.
    Gap(GapReason),
}

impl ResumeOutcome {
    /// Returns the outcome as it stands in metrics: `new`, `resumed` or `gap`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Resumed => "resumed",
            Self::Gap(_) => "gap",
        }
    }
}

impl fmt::Display for ResumeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Gap(reason) => write!(f, " ({reason})"),
            Self::New | Self::Resumed => Ok(()),
        }
    }
}

impl LastEventId {
    /// Finds the id among the values of the header, or else in the query.
    pub(crate) fn find<'a>(header: impl Iterator<Item = &'a [u8]>, query: Option<&'a str>) -> Self {
        let header = Self::of_values(header.map(Cow::Borrowed));
        match (header, query) {
            (Self::Absent, Some(query)) => QUERY
                .iter()
                .map(|name| Self::of_values(parameters(query, name)))
                .find(|id| *id != Self::Absent)
                .unwrap_or_default(),
            (header, _) => header,
        }
    }

    fn of_values<'a>(values: impl Iterator<Item = Cow<'a, [u8]>>) -> Self {
        let mut values = values.filter(|value| !value.is_empty());
        let Some(first) = values.next() else {
            return Self::Absent;
        };
        if values.any(|other| other != first) || first.len() > MAX_LEN {
            return Self::Unusable;
        }
        match str::from_utf8(&first) {
            Ok(id) if !id.contains(char::is_control) => Self::Id(id.into()),
            _ => Self::Unusable,
        }
    }
}

/// The values of a query parameter, decoded.
///
/// Bytes that are not UTF-8 become U+FFFD, which no id of ours has.
pub(crate) fn parameters<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    form_urlencoded::parse(query.as_bytes())
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| match value {
            Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
            Cow::Owned(value) => Cow::Owned(value.into_bytes()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &[&[u8]], query: Option<&str>, expected: &LastEventId) {
        assert_eq!(&LastEventId::find(header.iter().copied(), query), expected);
    }

    #[test]
    fn absent_present_and_unusable_are_told_apart() {
        let id = |text: &str| LastEventId::Id(text.into());
        let long = vec![b'a'; 6 * 1024];
        let (absent, unusable) = (LastEventId::Absent, LastEventId::Unusable);
        check(&[], None, &absent);
        check(&[b""], None, &absent);
        check(&[b"", b""], Some("a=b"), &absent);
        check(&[b"7"], None, &id("7"));
        check(&[b"7"], Some("lastEventId=8"), &id("7"));
        check(&[b""], Some("lastEventId=8"), &id("8"));
        check(
            &["\u{e9}\u{1f980}".as_bytes()],
            None,
            &id("\u{e9}\u{1f980}"),
        );
        check(&[b"7", b"7"], None, &id("7"));
        check(&[b"7", b"8"], None, &unusable);
        check(&[b"\xff"], None, &unusable);
        check(&[b"a\0b"], None, &unusable);
        check(&[&long], None, &unusable);
        check(&[], Some("last_event_id=a%2Db"), &id("a-b"));
        check(&[], Some("lastEventID=1&lastEventID=2"), &unusable);
        check(&[], Some("lastEventId=&last_event_id=3"), &id("3"));
        check(&[], Some("lastEventId=%00"), &unusable);
        check(&[], Some("lastEventId=%ff"), &id("\u{fffd}"));
        check(&[], Some("&&=;%%%"), &absent);
    }
}
