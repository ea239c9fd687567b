//! Names of topics.

use std::{error::Error, fmt};

use bytestring::ByteString;

/// The name of a topic: 1 to 200 bytes of `A-Z a-z 0-9 - _ . : /`.
///
/// A clone shares the text. A name that a client chose and that is no topic name is best answered
/// with `404`, which [`InvalidTopicName`] does as a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(ByteString);

impl TopicName {
    /// The length of the longest name, in bytes.
    pub const MAX_LEN: usize = 200;

    /// Checks `name` and takes a copy.
    ///
    /// # Errors
    ///
    /// When `name` is empty, too long, or has any other character.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidTopicName> {
        let name = name.as_ref();
        match is_valid(name.as_bytes()) {
            true => Ok(Self(name.into())),
            false => Err(InvalidTopicName),
        }
    }

    /// Makes a name of a literal, without a copy.
    ///
    /// # Panics
    ///
    /// When `name` is not valid; in a `const` the compiler refuses it.
    #[must_use]
    #[track_caller]
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_valid(name.as_bytes()), "not a valid topic name");
        Self(ByteString::from_static(name))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_valid(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !matches!(name[at], b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' | b'/')
        {
            return false;
        }
        at += 1;
    }
    !name.is_empty() && name.len() <= TopicName::MAX_LEN
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// The error of a text that is no [`TopicName`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidTopicName;

impl fmt::Display for InvalidTopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a topic name is 1 to 200 bytes of `A-Z a-z 0-9 - _ . : /`")
    }
}

impl Error for InvalidTopicName {}
