//! Places in a log, and their text.

use std::{error::Error, fmt, str::FromStr};

use smol_str::{SmolStr, format_smolstr};

use crate::event::EventId;

/// Tells the lives of a log apart.
///
/// A log that is begun again, or that went backwards, has another epoch, so that a position of its
/// earlier life is never taken for one of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// Makes an epoch of a number that the store has chosen, at random or by its engine's identity.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    #[cfg(any(feature = "file", feature = "nats"))]
    pub(super) fn random() -> Self {
        // 40 bits keep the ids short.
        Self(fastrand::u64(..1 << 40))
    }
}

/// A place in the log of one topic: directly after the record that has this offset.
///
/// As text, and as the id of an event, it is the epoch in lower-case hexadecimal, a `-`, and the
/// offset in decimal, neither with leading zeros: `9f2c61d0a4b3-42`. To everyone but the store that
/// made it, a position is opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    epoch: Epoch,
    offset: u64,
}

impl Position {
    /// Makes the position behind the record at `offset`.
    #[must_use]
    pub const fn new(epoch: Epoch, offset: u64) -> Self {
        Self { epoch, offset }
    }

    /// The life of the log that the position belongs to.
    #[must_use]
    pub const fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The offset of the record before this position.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// The text, which needs no allocation where epoch and offset are of the usual sizes.
    pub(crate) fn to_text(self) -> SmolStr {
        format_smolstr!("{self}")
    }

    /// Whether more was `seen` of this life than there is, so that an older copy was put back.
    #[cfg(any(feature = "nats", feature = "postgres", feature = "redis"))]
    pub(super) fn is_behind(self, seen: Self) -> bool {
        self.epoch == seen.epoch && self.offset < seen.offset
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch.0, self.offset)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let parse = || {
            let (epoch, offset) = text.split_once('-')?;
            let canonical = |digits: &str| digits == "0" || !digits.starts_with(['0', '+']);
            if !canonical(epoch) || !canonical(offset) || epoch.contains(|c: char| c.is_uppercase())
            {
                return None;
            }
            let epoch = u64::from_str_radix(epoch, 16).ok()?;
            Some(Self::new(Epoch(epoch), offset.parse().ok()?))
        };
        parse().ok_or(InvalidPosition)
    }
}

impl From<Position> for EventId {
    fn from(position: Position) -> Self {
        // Hexadecimal digits, a `-` and decimal digits: at most 37 visible characters.
        Self::from_visible(position.to_text())
    }
}

/// The error of a text that is no [`Position`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidPosition;

impl fmt::Display for InvalidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the text of a position")
    }
}

impl Error for InvalidPosition {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_parsed_back_and_only_in_its_own_form() {
        for (epoch, offset) in [
            (0, 0),
            (1, 10),
            (0x9f2c_61d0_a4b3, 42),
            (u64::MAX, u64::MAX),
        ] {
            let position = Position::new(Epoch(epoch), offset);
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        let refused = [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-1-1",
            "01-1",
            "1-01",
            "1-+1",
            "+1-1",
            "A-1",
            "g-1",
            "1-a",
            " 1-1",
            "1-1 ",
            "1--1",
            "1-18446744073709551616",
            "10000000000000000-1",
            "\u{661}-1",
            "1-\u{661}",
        ];
        for text in refused {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
    }
}
