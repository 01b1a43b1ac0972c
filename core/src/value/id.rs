//! Document ids and their text form.
//!
//! The text form ("IDv6") is base32 of: the table number as an unsigned LEB128 varint, the internal id, and a
//! two-byte footer, little endian: the Fletcher-16 checksum of what precedes (with sums modulo 256), XOR the version,
//! which is 0. Base32 uses Crockford's alphabet in lower case, most significant bit first, without padding characters.
//! There is exactly one text per id; the decoder refuses all others.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::Error;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Place in the alphabet of each byte; 255 if it has none.
const REVERSE_ALPHABET: [u8; 256] = {
    let mut reverse = [255; 256];
    let mut i = 0;
    while i < ALPHABET.len() {
        reverse[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    reverse
};

/// Table number (5), internal id (16), footer (2).
const MAX_BINARY_LENGTH: usize = 23;
const MIN_TEXT_LENGTH: usize = 31;
const MAX_TEXT_LENGTH: usize = 37;

/// Number of a table within its component; part of every document id. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableNumber(NonZeroU32);

impl TableNumber {
    /// `None` for 0.
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, at least 1.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for TableNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a document id that is unique within a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InternalId(pub [u8; 16]);

impl InternalId {
    /// The smallest.
    pub const MIN: Self = Self([0; 16]);
    /// The largest.
    pub const MAX: Self = Self([255; 16]);

    /// A fresh id: the time in milliseconds since the Unix epoch, then random bytes. Ids that are made together sort
    /// together, which keeps the pages of an index by id that are being written few (random ids cost SQLite five
    /// times the work); eighty random bits keep them from being guessed.
    pub fn generate(millis: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        Self(bytes)
    }
}

/// A document's id as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// The table.
    pub table: TableNumber,
    /// The document within the table.
    pub internal: InternalId,
}

impl DocumentId {
    /// The text form, 31 to 37 characters.
    pub fn encode(&self) -> String {
        let mut binary = [0; MAX_BINARY_LENGTH];
        let mut length = 0;
        let mut number = self.table.get();
        while number >= 0x80 {
            binary[length] = number as u8 | 0x80;
            number >>= 7;
            length += 1;
        }
        binary[length] = number as u8;
        length += 1;
        binary[length..length + 16].copy_from_slice(&self.internal.0);
        length += 16;
        let footer = fletcher16(&binary[..length]).to_le_bytes();
        binary[length..length + 2].copy_from_slice(&footer);
        length += 2;
        encode_base32(&binary[..length])
    }

    /// Reads the text form; `None` unless `text` is exactly what [`Self::encode`] gives for some id.
    pub fn decode(text: &str) -> Option<Self> {
        if !(MIN_TEXT_LENGTH..=MAX_TEXT_LENGTH).contains(&text.len()) {
            return None;
        }
        let mut buffer = [0; MAX_BINARY_LENGTH];
        let binary = decode_base32(text.as_bytes(), &mut buffer)?;
        let (number, number_length) = read_varint(binary)?;
        let rest = &binary[number_length..];
        let internal: [u8; 16] = rest.get(..16)?.try_into().ok()?;
        let id = Self {
            table: TableNumber::new(number)?,
            internal: InternalId(internal),
        };
        // Covers the footer, trailing bytes, padding bits, and varints that are longer than needed.
        (id.encode() == text).then_some(id)
    }
}

impl fmt::Display for DocumentId {
    /// The text form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

impl FromStr for DocumentId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::decode(text).ok_or_else(|| {
            let cut = text.floor_char_boundary(64);
            Error::bad_request(
                "InvalidIdError",
                format!("{:?} is not a document id", &text[..cut]),
            )
        })
    }
}

/// Fletcher's checksum with sums modulo 256.
fn fletcher16(bytes: &[u8]) -> u16 {
    let (mut c0, mut c1) = (0u8, 0u8);
    for &byte in bytes {
        c0 = c0.wrapping_add(byte);
        c1 = c1.wrapping_add(c0);
    }
    u16::from_be_bytes([c1, c0])
}

/// A varint of a `u32` and its length.
fn read_varint(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut number = 0u64;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((u32::try_from(number).ok()?, i + 1));
        }
    }
    None
}

fn encode_base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(MAX_TEXT_LENGTH);
    let (mut bits, mut pending) = (0u32, 0u32);
    for &byte in bytes {
        bits = bits << 8 | u32::from(byte);
        pending += 8;
        while pending >= 5 {
            pending -= 5;
            text.push(char::from(ALPHABET[(bits >> pending & 31) as usize]));
        }
    }
    if pending > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - pending) & 31) as usize]));
    }
    text
}

/// Whole bytes only: what is left of the last character is padding.
fn decode_base32<'a>(text: &[u8], buffer: &'a mut [u8; MAX_BINARY_LENGTH]) -> Option<&'a [u8]> {
    let (mut bits, mut pending, mut length) = (0u32, 0u32, 0);
    for &character in text {
        let digit = REVERSE_ALPHABET[usize::from(character)];
        if digit == 255 {
            return None;
        }
        bits = bits << 5 | u32::from(digit);
        pending += 5;
        if pending >= 8 {
            pending -= 8;
            *buffer.get_mut(length)? = (bits >> pending) as u8;
            length += 1;
        }
    }
    Some(&buffer[..length])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::arbitrary;

    fn id(table: u32, internal: [u8; 16]) -> DocumentId {
        DocumentId {
            table: TableNumber::new(table).unwrap(),
            internal: InternalId(internal),
        }
    }

    #[test]
    fn known_ids() {
        let worked = InternalId([
            0x8f, 0x03, 0xc1, 0xd2, 0x5a, 0xb9, 0x4e, 0x77, 0xa0, 0x11, 0x6f, 0xd2, 0x93, 0x4c,
            0x51, 0x2a,
        ]);
        let counting = std::array::from_fn(|i| i as u8);
        let other = [
            0x25, 0x1d, 0xd2, 0xcb, 0x5a, 0x4f, 0x64, 0xcd, 0x5d, 0x7b, 0xd1, 0xf2, 0x6b, 0xdf,
            0x0e, 0x52,
        ];
        for (table, internal, text) in [
            (10003, worked.0, "jd78y0y1t9dbjkkqm08pzmmk9h8jmak6"),
            (1, [0; 16], "0400000000000000000000000000248"),
            (127, [255; 16], "fzzzzzzzzzzzzzzzzzzzzzzzzzzpzsr"),
            (128, [0; 16], "g00g000000000000000000000000108h"),
            (1017, other, "z43ja7ejsdd4ys6dbnxx3wkbvw755zgx"),
            (10001, counting, "j57000820c20a1g7104gm2rc1m70ynr8"),
            (u32::MAX, [255; 16], "zzzzzzrfzzzzzzzzzzzzzzzzzzzzzzzzzzxjj"),
        ] {
            assert_eq!(id(table, internal).encode(), text);
            assert_eq!(DocumentId::decode(text), Some(id(table, internal)));
        }
    }

    #[test]
    fn refuses_other_texts() {
        let good = "j57000820c20a1g7104gm2rc1m70ynr8";
        assert!(DocumentId::decode(good).is_some());
        assert_eq!(DocumentId::decode("j57000820c20a1g7104gm2rc1m70ynr9"), None);
        assert_eq!(DocumentId::decode(&good.to_uppercase()), None);
        assert_eq!(DocumentId::decode(&format!("{good}0")), None);
        assert_eq!(DocumentId::decode(""), None);
        assert_eq!(DocumentId::decode(&"z".repeat(37)), None);
        assert_eq!(DocumentId::decode(&"é".repeat(16)), None);
        // Table number 0, with a correct footer (all sums are 0).
        assert_eq!(DocumentId::decode(&"0".repeat(31)), None);
        // Table number 1 as a two-byte varint, with a correct footer.
        let mut long_varint = vec![0x81, 0x00];
        long_varint.extend([0; 16]);
        long_varint.extend(fletcher16(&long_varint).to_le_bytes());
        assert_eq!(DocumentId::decode(&encode_base32(&long_varint)), None);
    }

    proptest! {
        #[test]
        fn round_trips(id in arbitrary::document_id()) {
            let text = id.encode();
            prop_assert_eq!(DocumentId::decode(&text), Some(id));
            prop_assert_eq!(text.parse::<DocumentId>().unwrap(), id);
        }

        /// Changing any character never gives the same id, and nearly always none.
        #[test]
        fn one_text_per_id(id in arbitrary::document_id(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut text = id.encode().into_bytes();
            let at = at.index(text.len());
            let to = to & 0x7f;
            prop_assume!(text[at] != to);
            text[at] = to;
            prop_assert_ne!(DocumentId::decode(std::str::from_utf8(&text).unwrap()), Some(id));
        }

        #[test]
        fn total_on_any_text(text in "[0-9a-z]{29,39}|.*") {
            if let Some(id) = DocumentId::decode(&text) {
                prop_assert_eq!(id.encode(), text);
            }
        }
    }
}
