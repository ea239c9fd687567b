//! Event names.

use std::{error::Error, fmt};

use bytestring::ByteString;

/// The name of an event, which a client sees as the event's type.
///
/// Any text without line breaks that does not begin with `sse.`, the prefix of the events that this
/// crate sends of its own. `error` and `open` are allowed since APIs in use send them, but for those
/// an `EventSource` also runs its `onerror` and `onopen` handlers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventName(ByteString);

impl EventName {
    /// The prefix that is kept for control events.
    pub(crate) const RESERVED: &'static str = "sse.";

    /// Checks `name` and takes a copy.
    ///
    /// # Errors
    ///
    /// When `name` is empty (a client would read `message`), has a CR or LF, or begins with `sse.`.
    pub fn new(name: &str) -> Result<Self, InvalidEventName> {
        match is_valid(name.as_bytes()) {
            true => Ok(Self(name.into())),
            false => Err(InvalidEventName),
        }
    }

    /// Makes a name of a literal, without a copy.
    ///
    /// ```
    /// # use tower_sse::EventName;
    /// const ALERT: EventName = EventName::from_static("alert");
    /// ```
    ///
    /// ```compile_fail
    /// # use tower_sse::EventName;
    /// const FORGED: EventName = EventName::from_static("alert\ndata: forged");
    /// ```
    ///
    /// # Panics
    ///
    /// When `name` is not valid; in a `const` the compiler refuses it.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_valid(name.as_bytes()), "not a valid event name");
        Self(ByteString::from_static(name))
    }

    /// Checks a literal, without a copy.
    pub(crate) fn try_from_static(name: &'static str) -> Result<Self, InvalidEventName> {
        match is_valid(name.as_bytes()) {
            true => Ok(Self(ByteString::from_static(name))),
            false => Err(InvalidEventName),
        }
    }

    /// Copies the name into a buffer of its own size.
    pub(crate) fn to_owned_name(&self) -> Self {
        Self(ByteString::from(&*self.0))
    }

    /// A name of ours.
    pub(crate) const fn reserved(name: &'static str) -> Self {
        Self(ByteString::from_static(name))
    }

    /// A name that somebody else has sent, of a block that was read: it has no line break.
    pub(crate) fn of_others(name: String) -> Self {
        debug_assert!(!name.contains(['\r', '\n']), "a line has no line break");
        Self(name.into())
    }

    /// Checks a name that a store has kept, which may be one of ours that was recorded.
    #[cfg(any(
        feature = "file",
        feature = "nats",
        feature = "postgres",
        feature = "redis"
    ))]
    pub(crate) fn stored(name: &str) -> Result<Self, InvalidEventName> {
        match name.strip_prefix(Self::RESERVED) {
            Some(rest) if !rest.contains(['\r', '\n']) => Ok(Self(name.into())),
            _ => Self::new(name),
        }
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_valid(name: &[u8]) -> bool {
    if name.is_empty() {
        return false;
    }
    let reserved = EventName::RESERVED.as_bytes();
    let mut prefix = 0;
    let mut at = 0;
    while at < name.len() {
        if matches!(name[at], b'\r' | b'\n') {
            return false;
        }
        if prefix == at && prefix < reserved.len() && name[at] == reserved[prefix] {
            prefix += 1;
        }
        at += 1;
    }
    prefix < reserved.len()
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of a text that is no [`EventName`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidEventName;

impl fmt::Display for InvalidEventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event name is not empty, has no line break, and does not begin with `sse.`")
    }
}

impl Error for InvalidEventName {}
