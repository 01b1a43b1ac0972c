//! The stored form of documents.
//!
//! ```text
//! format (1 byte, now 1) | CRC-32 of the rest (4, little endian) | flags (1) | payload
//! ```
//!
//! Flag bit 0 says that the payload is compressed: its plain length (4, little endian), then an LZ4 block. The plain
//! payload is the object, each value a tag byte and its contents:
//!
//! | tag | value | contents |
//! |---|---|---|
//! | 0 | null | |
//! | 1, 2 | false, true | |
//! | 3 | Int64 | zigzag varint |
//! | 4 | Float64 | 8 bytes, little endian |
//! | 5, 6 | String, Bytes | length (varint), bytes |
//! | 7 | Array | count (varint), values |
//! | 8 | Object | count (varint), then per field, names ascending: name length (varint), name, value |
//!
//! Varints are unsigned LEB128.
//!
//! There is one stored form per document and compressor version, every value round-trips bit by bit (NaN payloads
//! included), and decoding is total: damage gives an error, and memory is bounded by a multiple of the input.

use super::object::is_field_name;
use super::{MAX_NESTING, Object, Value};
use crate::{Error, ErrorClass};

const FORMAT: u8 = 1;
const COMPRESSED: u8 = 1;
/// Format and checksum; what follows is under the checksum.
const PREFIX_LENGTH: usize = 5;
const HEADER_LENGTH: usize = PREFIX_LENGTH + 1;

/// Payloads below this many bytes are not worth compressing.
const COMPRESS_FROM: usize = 1024;
/// Payloads above this many bytes are not compressed, so that a compressed one never expands to more.
const COMPRESS_UP_TO: usize = 64 << 20;
/// One byte of an LZ4 block gives at most this many.
const LZ4_MAX_RATIO: usize = 255;

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT64: u8 = 3;
const FLOAT64: u8 = 4;
const STRING: u8 = 5;
const BYTES: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

/// Why bytes are not a stored document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too short for a header.
    #[error("a stored document has at least {HEADER_LENGTH} bytes, found {0}")]
    TooShort(usize),
    /// Written by a newer version, or damaged.
    #[error("unknown format {0} of a stored document")]
    UnknownFormat(u8),
    /// Damaged.
    #[error("checksum mismatch: stored {stored:#010x}, computed {computed:#010x}")]
    Checksum {
        /// What the bytes say.
        stored: u32,
        /// What it should be.
        computed: u32,
    },
    /// The checksum holds, yet the contents make no sense. The text says what.
    #[error("malformed document: {0}")]
    Malformed(&'static str),
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Error::new(ErrorClass::Internal, "StorageCorrupt", error.to_string())
    }
}

/// The stored form of a document.
pub fn encode_document(document: &Object) -> Vec<u8> {
    debug_assert!(
        document.nesting() <= MAX_NESTING,
        "it could not be read back"
    );
    let mut stored = Vec::with_capacity(HEADER_LENGTH + document.size());
    stored.push(FORMAT);
    stored.extend([0; HEADER_LENGTH - 1]);
    write_fields(document, &mut stored);
    let plain = &stored[HEADER_LENGTH..];
    if (COMPRESS_FROM..=COMPRESS_UP_TO).contains(&plain.len()) {
        let block = lz4_flex::block::compress_prepend_size(plain);
        if block.len() < plain.len() {
            stored.truncate(HEADER_LENGTH);
            stored.extend(block);
            stored[PREFIX_LENGTH] = COMPRESSED;
        }
    }
    let checksum = crc32fast::hash(&stored[PREFIX_LENGTH..]);
    stored[1..PREFIX_LENGTH].copy_from_slice(&checksum.to_le_bytes());
    stored
}

/// Reads the stored form of a document, after verifying its checksum.
///
/// # Errors
/// For all bytes that [`encode_document`] does not give.
pub fn decode_document(stored: &[u8]) -> Result<Object, DecodeError> {
    let Some((&[format, c0, c1, c2, c3], checked)) = stored.split_first_chunk::<PREFIX_LENGTH>()
    else {
        return Err(DecodeError::TooShort(stored.len()));
    };
    if format != FORMAT {
        return Err(DecodeError::UnknownFormat(format));
    }
    let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
    let computed = crc32fast::hash(checked);
    if checksum != computed {
        return Err(DecodeError::Checksum {
            stored: checksum,
            computed,
        });
    }
    match checked.split_first() {
        None => Err(DecodeError::TooShort(stored.len())),
        Some((0, payload)) => decode_payload(payload),
        Some((&COMPRESSED, payload)) => decode_payload(&decompress(payload)?),
        Some(_) => Err(DecodeError::Malformed("unknown flags")),
    }
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let malformed = DecodeError::Malformed("not an LZ4 block of the stated length");
    let Some((length, block)) = payload.split_first_chunk::<4>() else {
        return Err(malformed);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > COMPRESS_UP_TO || length / LZ4_MAX_RATIO > block.len() {
        return Err(malformed);
    }
    match lz4_flex::block::decompress(block, length) {
        Ok(plain) if plain.len() == length => Ok(plain),
        _ => Err(malformed),
    }
}

fn decode_payload(payload: &[u8]) -> Result<Object, DecodeError> {
    let mut reader = Reader(payload);
    let object = reader.object(MAX_NESTING)?;
    if !reader.0.is_empty() {
        return Err(DecodeError::Malformed("bytes after the end"));
    }
    Ok(object)
}

fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn write_fields(object: &Object, out: &mut Vec<u8>) {
    write_varint(object.len() as u64, out);
    for (name, value) in object.iter() {
        write_sized(name.as_bytes(), out);
        write_value(value, out);
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Boolean(false) => out.push(FALSE),
        Value::Boolean(true) => out.push(TRUE),
        Value::Int64(number) => {
            out.push(INT64);
            write_varint((number << 1 ^ number >> 63) as u64, out);
        }
        Value::Float64(number) => {
            out.push(FLOAT64);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::String(text) => {
            out.push(STRING);
            write_sized(text.as_bytes(), out);
        }
        Value::Bytes(bytes) => {
            out.push(BYTES);
            write_sized(bytes, out);
        }
        Value::Array(elements) => {
            out.push(ARRAY);
            write_varint(elements.len() as u64, out);
            for element in elements {
                write_value(element, out);
            }
        }
        Value::Object(object) => {
            out.push(OBJECT);
            write_fields(object, out);
        }
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let Some((head, tail)) = self.0.split_at_checked(length) else {
            return Err(DecodeError::Malformed("ends too early"));
        };
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                break;
            }
            number |= group << shift;
            if byte < 0x80 {
                return if byte == 0 && shift > 0 {
                    Err(DecodeError::Malformed("varint is longer than needed"))
                } else {
                    Ok(number)
                };
            }
        }
        Err(DecodeError::Malformed("varint exceeds 64 bits"))
    }

    /// A count of things that take at least a byte each, hence at most what is left.
    fn count(&mut self) -> Result<usize, DecodeError> {
        match usize::try_from(self.varint()?) {
            Ok(count) if count <= self.0.len() => Ok(count),
            _ => Err(DecodeError::Malformed("ends too early")),
        }
    }

    fn sized(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.count()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.sized()?).map_err(|_| DecodeError::Malformed("text is not UTF-8"))
    }

    fn value(&mut self, levels: usize) -> Result<Value, DecodeError> {
        Ok(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            INT64 => {
                let zigzag = self.varint()?;
                Value::Int64((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
            }
            FLOAT64 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                Value::Float64(f64::from_le_bytes(bytes))
            }
            STRING => Value::String(self.text()?.to_owned()),
            BYTES => Value::Bytes(self.sized()?.to_vec()),
            ARRAY => {
                let levels = inner(levels)?;
                let count = self.count()?;
                let mut elements = Vec::with_capacity(count);
                for _ in 0..count {
                    elements.push(self.value(levels)?);
                }
                Value::Array(elements)
            }
            OBJECT => Value::Object(self.object(levels)?),
            _ => return Err(DecodeError::Malformed("unknown tag")),
        })
    }

    fn object(&mut self, levels: usize) -> Result<Object, DecodeError> {
        let levels = inner(levels)?;
        let count = self.count()?;
        let mut fields = Vec::with_capacity(count);
        let mut previous = None;
        for _ in 0..count {
            let name = self.text()?;
            if !is_field_name(name) || previous >= Some(name) {
                return Err(DecodeError::Malformed(
                    "field names are invalid or unordered",
                ));
            }
            previous = Some(name);
            fields.push((name.to_owned(), self.value(levels)?));
        }
        Ok(Object::from_valid_fields(fields))
    }
}

/// The levels of containers allowed inside a container.
fn inner(levels: usize) -> Result<usize, DecodeError> {
    levels
        .checked_sub(1)
        .ok_or(DecodeError::Malformed("nests too deep"))
}
