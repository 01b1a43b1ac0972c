//! Order-preserving index keys.
//!
//! A key is the concatenation of its components' encodings. Keys compared as byte strings are in the order of their
//! components: each component by the total order of values, *missing* before all.
//!
//! | value | bytes |
//! |---|---|
//! | missing, null | `01`, `03` |
//! | Int64 | `08`; or `08` ± k and 1, 2, 4, 8 bytes big endian for k = 1, 2, 3, 4: the fewest that fit |
//! | Float64 | `0d`, 8 bytes big endian: all bits inverted if negative, else the sign bit set |
//! | false, true | `0e`, `0f` |
//! | String, Bytes | `10`, `11`, the bytes with each `00` written `00 ff`, `00` |
//! | Array | `12`, elements, `00` |
//! | Object | `15`, per field in ascending order the name like a string without tag and the value, `00` |
//!
//! No tag is `00` or `ff`, hence a `00` that ends something differs from an escaped one and sorts before any more
//! contents. An empty field name would look like the end of its object; it is written `00 ff`.
//!
//! Beware: bytes that begin alike are not yet components that begin alike. The bytes of `"a"` (`10 61 00`) begin
//! those of `"a\0"` (`10 61 00 ff 00`) too. But only escapes go on with `ff`, so the keys that begin with given
//! components are those from their bytes up to [`after_prefix`].

use crate::planted::{Bug, planted};
use crate::value::{MAX_NESTING, Object, Value};

const END: u8 = 0x00;
const ESCAPE: u8 = 0xff;
const MISSING: u8 = 0x01;
const NULL: u8 = 0x03;
const INT64_MIN_TAG: u8 = 0x04;
const INT64_ZERO: u8 = 0x08;
const INT64_MAX_TAG: u8 = 0x0c;
const FLOAT64: u8 = 0x0d;
const FALSE: u8 = 0x0e;
const TRUE: u8 = 0x0f;
const STRING: u8 = 0x10;
const BYTES: u8 = 0x11;
const ARRAY: u8 = 0x12;
const OBJECT: u8 = 0x15;

/// The key of these components; `None` is a missing field.
pub fn encode_key(components: &[Option<&Value>]) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    for component in components {
        encode_value(*component, &mut key);
    }
    key
}

/// Appends one component to a key; `None` is a missing field.
pub fn encode_value(value: Option<&Value>, key: &mut Vec<u8>) {
    let Some(value) = value else {
        key.push(MISSING);
        return;
    };
    match value {
        Value::Null => key.push(NULL),
        Value::Int64(number) => encode_int64(*number, key),
        Value::CommitTs => encode_int64(i64::MAX, key),
        Value::Float64(number) => {
            key.push(FLOAT64);
            key.extend_from_slice(&float64_to_ordered(*number).to_be_bytes());
        }
        Value::Boolean(false) => key.push(FALSE),
        Value::Boolean(true) => key.push(TRUE),
        Value::String(text) => {
            key.push(STRING);
            encode_bytes(text.as_bytes(), key);
        }
        Value::Bytes(bytes) => {
            key.push(BYTES);
            encode_bytes(bytes, key);
        }
        Value::Array(elements) => {
            key.push(ARRAY);
            for element in elements {
                encode_value(Some(element), key);
            }
            key.push(END);
        }
        Value::Object(object) => {
            key.push(OBJECT);
            for (name, value) in object.iter() {
                if name.is_empty() {
                    key.extend_from_slice(&[END, ESCAPE]);
                } else {
                    encode_bytes(name.as_bytes(), key);
                }
                encode_value(Some(value), key);
            }
            key.push(END);
        }
    }
}

fn encode_int64(number: i64, key: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let (k, width) = if number == 0 {
        (0, 0)
    } else if i8::try_from(number).is_ok() {
        (1, 1)
    } else if i16::try_from(number).is_ok() {
        (2, 2)
    } else if i32::try_from(number).is_ok() {
        (3, 4)
    } else {
        (4, 8)
    };
    key.push(if number < 0 && !planted(Bug::NegativeKeysAbove) {
        INT64_ZERO - k
    } else {
        INT64_ZERO + k
    });
    key.extend_from_slice(&bytes[8 - width..]);
}

/// Bits whose unsigned order is IEEE 754 totalOrder of the doubles.
fn float64_to_ordered(number: f64) -> u64 {
    let bits = number.to_bits();
    if number.is_sign_negative() != planted(Bug::FloatKeysReversed) {
        !bits
    } else {
        bits | 1 << 63
    }
}

fn float64_from_ordered(ordered: u64) -> f64 {
    f64::from_bits(if ordered >> 63 == 1 {
        ordered & !(1 << 63)
    } else {
        !ordered
    })
}

fn encode_bytes(bytes: &[u8], key: &mut Vec<u8>) {
    let mut runs = bytes.split(|&byte| byte == END);
    key.extend_from_slice(runs.next().unwrap_or_default());
    for run in runs {
        key.extend_from_slice(&[END, ESCAPE]);
        key.extend_from_slice(run);
    }
    key.push(END);
}

/// The end of the keys that begin with the components that `prefix` encodes: greater than all of them, and at most
/// the next other key.
pub fn after_prefix(mut prefix: Vec<u8>) -> Vec<u8> {
    prefix.push(ESCAPE);
    prefix
}

/// The components of a key; `None` for bytes that [`encode_key`] does not give.
pub fn decode_key(key: &[u8]) -> Option<Vec<Option<Value>>> {
    let mut reader = Reader(key);
    let mut components = Vec::new();
    while !reader.0.is_empty() {
        components.push(if reader.skip(MISSING) {
            None
        } else {
            Some(reader.value(MAX_NESTING)?)
        });
    }
    Some(components)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// Passes over the next byte if it is this one.
    fn skip(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// Reads a value with at most `levels` levels of containers.
    fn value(&mut self, levels: usize) -> Option<Value> {
        Some(match self.byte()? {
            NULL => Value::Null,
            tag @ INT64_MIN_TAG..=INT64_MAX_TAG => Value::Int64(self.int64(tag)?),
            FLOAT64 => Value::Float64(float64_from_ordered(u64::from_be_bytes(self.array()?))),
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            STRING => Value::String(String::from_utf8(self.bytes()?).ok()?),
            BYTES => Value::Bytes(self.bytes()?),
            ARRAY => {
                let levels = levels.checked_sub(1)?;
                let mut elements = Vec::new();
                while !self.skip(END) {
                    elements.push(self.value(levels)?);
                }
                Value::Array(elements)
            }
            OBJECT => Value::Object(self.object(levels.checked_sub(1)?)?),
            _ => return None,
        })
    }

    fn int64(&mut self, tag: u8) -> Option<i64> {
        let number = match tag.abs_diff(INT64_ZERO) {
            0 => 0,
            1 => i64::from(i8::from_be_bytes(self.array()?)),
            2 => i64::from(i16::from_be_bytes(self.array()?)),
            3 => i64::from(i32::from_be_bytes(self.array()?)),
            _ => i64::from_be_bytes(self.array()?),
        };
        // Only the shortest form counts, and the sign must agree with the tag.
        let mut canonical = Vec::with_capacity(9);
        encode_int64(number, &mut canonical);
        (canonical[0] == tag).then_some(number)
    }

    /// Unescapes up to the end mark.
    fn bytes(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let end = self.0.iter().position(|&byte| byte == END)?;
            bytes.extend_from_slice(&self.0[..end]);
            self.0 = &self.0[end + 1..];
            if !self.skip(ESCAPE) {
                return Some(bytes);
            }
            bytes.push(END);
        }
    }

    fn object(&mut self, levels: usize) -> Option<Object> {
        let mut object = Object::new();
        let mut previous: Option<String> = None;
        loop {
            let name = if self.0.starts_with(&[END, ESCAPE]) {
                self.0 = &self.0[2..];
                String::new()
            } else if self.skip(END) {
                return Some(object);
            } else {
                String::from_utf8(self.bytes()?).ok()?
            };
            if previous.as_ref() >= Some(&name) {
                return None;
            }
            let value = self.value(levels)?;
            object.insert(name.clone(), value).ok()?;
            previous = Some(name);
        }
    }
}

#[cfg(test)]
mod tests;
