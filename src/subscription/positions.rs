//! The positions of several topics as the text of one event id.
//!
//! The text is `~` and, in the alphabet of URLs, base64 of: a byte with the width in bits of the
//! largest epoch, one with that of the largest offset, and for each topic the tag of its name in 24
//! bits, its epoch and its offset, of which the last byte is filled up with zeros. With epochs of 40
//! bits, as the stores of this crate have, 64 topics fit into 1,024 bytes until offsets pass two
//! thousand million. No such id is longer than what is accepted.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    store::{Epoch, Position},
    topic_name::TopicName,
};

/// What such a text begins with, which the text of a [`Position`] never does.
const MARK: char = '~';

const TAG_BITS: u32 = 24;

/// Stands for the name of a topic in an id. Another topic may have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u32);

impl Tag {
    /// FNV-1a, folded. It has to be the same in every process that a client may come back to.
    pub(super) fn of(topic: &TopicName) -> Self {
        let hash = topic.as_str().bytes().fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        Self((hash >> TAG_BITS) ^ (hash & 0x00ff_ffff))
    }
}

/// Writes positions in the order in which they are given.
pub(super) fn encode(positions: impl Iterator<Item = (Tag, Position)> + Clone) -> String {
    let width = |number: u64| u64::BITS - number.leading_zeros();
    let widest = |part: fn(Position) -> u64| {
        let widths = positions.clone().map(|(_, position)| width(part(position)));
        widths.max().unwrap_or(0)
    };
    let epoch_bits = widest(|position| position.epoch().get());
    let offset_bits = widest(Position::offset);

    let mut bits = Writer::default();
    bits.push(u64::from(epoch_bits), 8);
    bits.push(u64::from(offset_bits), 8);
    for (tag, position) in positions {
        bits.push(u64::from(tag.0), TAG_BITS);
        bits.push(position.epoch().get(), epoch_bits);
        bits.push(position.offset(), offset_bits);
    }
    let mut text = String::from(MARK);
    BASE64_URL_SAFE_NO_PAD.encode_string(bits.finish(), &mut text);
    text
}

/// Whether `text` is meant to be one of these.
pub(super) fn is_several(text: &str) -> bool {
    text.starts_with(MARK)
}

/// Reads what [`encode`] has written, and nothing else.
pub(super) fn decode(text: &str) -> Option<Vec<(Tag, Position)>> {
    let bytes = BASE64_URL_SAFE_NO_PAD
        .decode(text.strip_prefix(MARK)?)
        .ok()?;
    let mut bits = Reader {
        bytes: &bytes,
        rest: 0,
        rest_width: 0,
    };
    let mut width = || {
        u32::try_from(bits.take(8)?)
            .ok()
            .filter(|width| *width <= u64::BITS)
    };
    let (epoch_bits, offset_bits) = (width()?, width()?);
    let mut positions = Vec::new();
    while bits.has_more() {
        let tag = Tag(u32::try_from(bits.take(TAG_BITS)?).ok()?);
        let epoch = Epoch::new(bits.take(epoch_bits)?);
        positions.push((tag, Position::new(epoch, bits.take(offset_bits)?)));
    }
    // One text for the same positions: the widths are the least, and what fills up is zero.
    (encode(positions.iter().copied()) == text).then_some(positions)
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// What is not yet a whole byte, in the lowest bits.
    rest: u128,
    rest_width: u32,
}

impl Writer {
    /// Appends a number of that many bits, the highest of them first.
    fn push(&mut self, number: u64, width: u32) {
        self.rest = self.rest << width | u128::from(number);
        self.rest_width += width;
        while let Some(width) = self.rest_width.checked_sub(u8::BITS) {
            let [byte, ..] = (self.rest >> width).to_le_bytes();
            self.bytes.push(byte);
            self.rest &= (1 << width) - 1;
            self.rest_width = width;
        }
    }

    /// Fills the last byte up with zeros.
    fn finish(mut self) -> Vec<u8> {
        if self.rest_width > 0 {
            self.push(0, u8::BITS - self.rest_width);
        }
        self.bytes
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// What was taken of the bytes and not given out, in the lowest bits.
    rest: u128,
    rest_width: u32,
}

impl Reader<'_> {
    /// Whether there is a whole byte more, so that it is not what a byte was filled up with.
    fn has_more(&self) -> bool {
        !self.bytes.is_empty()
    }

    fn take(&mut self, width: u32) -> Option<u64> {
        while self.rest_width < width {
            let (&byte, bytes) = self.bytes.split_first()?;
            self.bytes = bytes;
            self.rest = self.rest << u8::BITS | u128::from(byte);
            self.rest_width += u8::BITS;
        }
        self.rest_width -= width;
        let number = self.rest >> self.rest_width;
        self.rest &= (1 << self.rest_width) - 1;
        u64::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(positions: &[(u32, u64, u64)]) -> String {
        let positions: Vec<_> = positions
            .iter()
            .map(|&(tag, epoch, offset)| (Tag(tag), Position::new(Epoch::new(epoch), offset)))
            .collect();
        let text = encode(positions.iter().copied());
        assert_eq!(decode(&text), Some(positions), "{text}");
        text
    }

    #[test]
    fn text_is_read_back() {
        check(&[]);
        check(&[(0, 0, 0)]);
        check(&[(0x00ff_ffff, u64::MAX, u64::MAX), (1, 2, 3), (1, 2, 3)]);
        for width in 0..64 {
            let number = 1 << width;
            check(&[(7, number, number - 1), (8, number - 1, number)]);
        }
    }

    #[test]
    fn sixty_four_topics_fit_into_a_kibibyte() {
        let usual: Vec<_> = (0..64).map(|tag| (tag, 1 << 39, (1 << 31) - 1)).collect();
        assert!(check(&usual).len() <= 1024);
        let largest = [(0, u64::MAX, u64::MAX); 64];
        assert!(check(&largest).len() <= crate::last_event_id::MAX_LEN);
    }

    #[test]
    fn only_its_own_text_is_read() {
        let text = check(&[(1, 77, 5), (2, 1 << 30, 6)]);
        for end in 0..text.len() {
            assert_eq!(decode(&text[..end]), None, "{}", &text[..end]);
        }
        for added in ["A", "AA", "AAAA", "=", " ", "~"] {
            assert_eq!(decode(&format!("{text}{added}")), None, "{text}{added}");
        }
        for other in ["", "~", "~A", "~____", "~//8", "1-1", "\u{e9}"] {
            assert_eq!(decode(other), None, "{other}");
        }
        // Any change is another position or none.
        for at in 1..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'B' { b'C' } else { b'B' };
            let changed = String::from_utf8_lossy(&bytes);
            assert_ne!(decode(&changed), decode(&text));
        }
    }

    #[test]
    fn tags_stay_what_they_are() {
        let tag = |name| Tag::of(&TopicName::from_static(name));
        assert_eq!(tag("a"), Tag(0x0c_29_2c ^ 0xe4));
        assert_ne!(tag("orders"), tag("orders2"));
    }
}
