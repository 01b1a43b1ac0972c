//! Text that crosses between JavaScript and Rust, and the encodings behind `TextEncoder` and `TextDecoder`.
//!
//! Strings of JavaScript may hold half of a surrogate pair, as `"👍".slice(0, 1)` does; strings of Rust may not. Where one
//! is shown (messages, log lines, stacks, names), such a half becomes U+FFFD: engines see to it for strings
//! ([`from_wtf8`]), and [`without_halves`] for JSON text, in which JavaScript writes a half as an escape. Where one is data
//! (arguments, results, documents), it is an error ([`has_halves`]): no data is changed in silence.
//!
//! Decoders in JavaScript keep their own state between chunks (the bytes of an unfinished character), so that they
//! survive in a heap image; see `js/text.js`.

use std::borrow::Cow;

use encoding_rs::{CoderResult, Encoding};

use crate::host::{Args, HostError, HostResult, HostValue, unknown};

/// No character of any encoding takes more bytes.
const CHARACTER_BYTES_MAX: usize = 4;

/// Text of the bytes in which engines give strings: UTF-8, except that a lone half of a surrogate pair is three bytes of
/// its own. Each such half becomes one U+FFFD.
pub fn from_wtf8(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    loop {
        let error = match std::str::from_utf8(rest) {
            Ok(good) => {
                text.push_str(good);
                return text;
            }
            Err(error) => error,
        };
        let (good, bad) = rest.split_at(error.valid_up_to());
        text.push_str(&String::from_utf8_lossy(good));
        text.push(char::REPLACEMENT_CHARACTER);
        let length = match bad {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] => 3,
            _ => error.error_len().unwrap_or(bad.len()),
        };
        rest = &bad[length..];
    }
}

/// JSON text with U+FFFD for every escape of a lone half of a surrogate pair.
pub(crate) fn without_halves(json: &str) -> Cow<'_, str> {
    let mut whole = String::new();
    let mut copied = 0;
    for at in halves(json) {
        whole.push_str(&json[copied..at]);
        whole.push(char::REPLACEMENT_CHARACTER);
        copied = at + ESCAPE_BYTES;
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    whole.push_str(&json[copied..]);
    Cow::Owned(whole)
}

/// Whether JSON text holds an escape of a lone half of a surrogate pair.
pub(crate) fn has_halves(json: &str) -> bool {
    halves(json).next().is_some()
}

/// What to say of data with halves.
pub(crate) const HALVES: &str = "a string is not well-formed Unicode: it holds half of a surrogate pair, \
     as `\"👍\".slice(0, 1)` does. `toWellFormed()` of a string replaces such halves";

/// Bytes of `\uXXXX`.
const ESCAPE_BYTES: usize = 6;

/// Where the escapes of lone halves are.
fn halves(json: &str) -> impl Iterator<Item = usize> {
    let bytes = json.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let digits = bytes.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    // Most text has none of any kind.
    let mut at = match json.contains("\\u") {
        true => 0,
        false => bytes.len(),
    };
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let here = at;
            if bytes[at] != b'\\' {
                at += 1;
                continue;
            }
            match unit(at) {
                Some(0xd800..=0xdbff) => {
                    if let Some(0xdc00..=0xdfff) = unit(at + ESCAPE_BYTES) {
                        at += 2 * ESCAPE_BYTES;
                        continue;
                    }
                    at += ESCAPE_BYTES;
                    return Some(here);
                }
                Some(0xdc00..=0xdfff) => {
                    at += ESCAPE_BYTES;
                    return Some(here);
                }
                // The escaped character may be a backslash.
                _ => at += 2,
            }
        }
        None
    })
}

pub(crate) fn call(name: &str, args: Args<'_>) -> HostResult {
    match name {
        // (string) -> UTF-8 bytes
        "encode" => Ok(HostValue::Bytes(args.string(0)?.as_bytes().to_vec())),
        // (label) -> canonical name
        "name" => Ok(HostValue::String(
            encoding(args.string(0)?)?.name().to_ascii_lowercase(),
        )),
        // (name, bytes, fatal) -> string
        "decode" => decode(encoding(args.string(0)?)?, args.bytes(1)?, args.bool(2)?)
            .map(HostValue::String)
            .ok_or_else(|| {
                HostError::type_error("The encoded data was not valid for the encoding.")
            }),
        // (name, bytes) -> how many bytes at the end begin a character that is not complete
        "tail" => {
            let tail = unfinished(encoding(args.string(0)?)?, args.bytes(1)?);
            Ok(HostValue::Number(tail as f64))
        }
        _ => Err(unknown(name)),
    }
}

fn encoding(label: &str) -> Result<&'static Encoding, HostError> {
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
        HostError::new(
            "RangeError",
            format!("The encoding label provided ('{label}') is invalid."),
        )
    })
}

/// Decodes a whole input. Byte order marks are the caller's business.
fn decode(encoding: &'static Encoding, bytes: &[u8], fatal: bool) -> Option<String> {
    if fatal {
        encoding
            .decode_without_bom_handling_and_without_replacement(bytes)
            .map(|text| text.into_owned())
    } else {
        Some(encoding.decode_without_bom_handling(bytes).0.into_owned())
    }
}

/// Length of the unfinished character at the end of the input.
///
/// A decoder that is told "more may come" keeps exactly those bytes to itself: it is the shortest tail without
/// which a decoder that is told "this is all" produces the same text.
fn unfinished(encoding: &'static Encoding, bytes: &[u8]) -> usize {
    // Only the last few bytes matter, but where characters begin is known for certain only from the start.
    let open = decode_part(encoding, bytes, false);
    (0..CHARACTER_BYTES_MAX.min(bytes.len() + 1))
        .find(|tail| decode_part(encoding, &bytes[..bytes.len() - tail], true) == open)
        .unwrap_or(0)
}

fn decode_part(encoding: &'static Encoding, bytes: &[u8], last: bool) -> String {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let capacity = decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(0);
    let mut text = String::with_capacity(capacity);
    let (result, _, _) = decoder.decode_to_string(bytes, &mut text, last);
    debug_assert_eq!(result, CoderResult::InputEmpty);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lone_halves_in_json_are_found_and_replaced() {
        for (json, expected) in [
            (r#""a""#, r#""a""#),
            (r#""\ud83d""#, "\"\u{fffd}\""),
            (r#""\uDC4D\uD83D""#, "\"\u{fffd}\u{fffd}\""),
            (r#""\ud83d\udc4d""#, r#""\ud83d\udc4d""#),
            (r#""\ud83d\ud83d\udc4dx""#, "\"\u{fffd}\\ud83d\\udc4dx\""),
            // A backslash and some letters.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, "\"\\\\\u{fffd}\""),
            (r#""\u00e9 \ud8""#, r#""\u00e9 \ud8""#),
            ("\\", "\\"),
        ] {
            assert_eq!(without_halves(json), expected, "{json}");
            assert_eq!(has_halves(json), json != expected, "{json}");
        }
    }

    #[test]
    fn halves_of_engines_become_one_replacement_each() {
        assert_eq!(from_wtf8("a👍é".as_bytes()), "a👍é");
        assert_eq!(from_wtf8(b"a\xed\xa0\xbdb"), "a\u{fffd}b");
        assert_eq!(
            from_wtf8(b"\xed\xb1\x8d\xed\xa0\xbd\xf0\x9f\x91\x8d\xc3\xa9"),
            "\u{fffd}\u{fffd}👍é"
        );
        assert_eq!(from_wtf8(b"\xed\x95\x9c"), "한");
    }

    proptest! {
        /// Any UTF-16 as JavaScript writes it in JSON is read as `String::from_utf16_lossy` reads it.
        #[test]
        fn any_utf16_is_read(units in proptest::collection::vec(
            prop_oneof![0xd7f0u16..0xe010, 0x20u16..0x7f, any::<u16>()], 0..40,
        )) {
            let json: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let read: String = serde_json::from_str(&without_halves(&format!("\"{json}\""))).unwrap();
            prop_assert_eq!(&read, &String::from_utf16_lossy(&units));
            let wtf8: Vec<u8> = char::decode_utf16(units.iter().copied())
                .flat_map(|unit| match unit {
                    Ok(char) => char.to_string().into_bytes(),
                    Err(half) => {
                        let unit = half.unpaired_surrogate();
                        vec![0xed, 0x80 | (unit >> 6 & 0x3f) as u8, 0x80 | (unit & 0x3f) as u8]
                    }
                })
                .collect();
            prop_assert_eq!(from_wtf8(&wtf8), read);
        }
    }

    #[test]
    fn the_unfinished_character_is_found() {
        let utf8 = encoding_rs::UTF_8;
        assert_eq!(unfinished(utf8, b""), 0);
        assert_eq!(unfinished(utf8, b"abc"), 0);
        assert_eq!(unfinished(utf8, "aé".as_bytes()), 0);
        assert_eq!(unfinished(utf8, b"a\xc3"), 1);
        assert_eq!(unfinished(utf8, b"a\xf0\x9f\x98"), 3);
        // Not the beginning of anything: an error, not a beginning.
        assert_eq!(unfinished(utf8, b"a\xff"), 0);
        assert_eq!(unfinished(encoding_rs::UTF_16LE, b"a\0b"), 1);
        assert_eq!(unfinished(encoding_rs::UTF_16LE, b"\x3d\xd8"), 2);
        assert_eq!(unfinished(encoding_rs::UTF_16LE, b"\x3d\xd8\x00"), 3);
        assert_eq!(unfinished(encoding_rs::SHIFT_JIS, b"\x82"), 1);
        assert_eq!(unfinished(encoding_rs::WINDOWS_1252, b"\xff"), 0);
    }
}
