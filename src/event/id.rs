//! Event ids.

use std::{error::Error, fmt};

use smol_str::SmolStr;

/// An event id: 1 to 128 visible ASCII characters, the only ids that every client sends back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(SmolStr);

impl EventId {
    /// The length of the longest id.
    pub const MAX_LEN: usize = 128;

    /// Checks `id` and takes a copy, which needs no allocation up to 23 bytes.
    ///
    /// # Errors
    ///
    /// When `id` is empty, too long, or holds anything but visible ASCII.
    pub fn new(id: &str) -> Result<Self, InvalidEventId> {
        match is_valid(id.as_bytes()) {
            true => Ok(Self(id.into())),
            false => Err(InvalidEventId),
        }
    }

    /// Makes an id of a literal, without a copy.
    ///
    /// ```compile_fail
    /// # use tower_sse::EventId;
    /// const SPACED: EventId = EventId::from_static("1 2");
    /// ```
    ///
    /// # Panics
    ///
    /// When `id` is not valid; in a `const` the compiler refuses it.
    #[must_use]
    pub const fn from_static(id: &'static str) -> Self {
        assert!(is_valid(id.as_bytes()), "not a valid event id");
        Self(SmolStr::new_static(id))
    }

    /// Makes an id of text that is known to be valid.
    pub(crate) fn from_visible(id: SmolStr) -> Self {
        debug_assert!(is_valid(id.as_bytes()));
        Self(id)
    }

    /// Returns the text without a copy.
    pub(crate) fn into_text(self) -> SmolStr {
        self.0
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_valid(id: &[u8]) -> bool {
    // HTTP trims outer spaces on the way back, and some clients never reconnect with other bytes.
    let mut at = 0;
    while at < id.len() {
        if !id[at].is_ascii_graphic() {
            return false;
        }
        at += 1;
    }
    !id.is_empty() && id.len() <= EventId::MAX_LEN
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of a text that is no [`EventId`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidEventId;

impl fmt::Display for InvalidEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event id is 1 to 128 visible ascii characters")
    }
}

impl Error for InvalidEventId {}
