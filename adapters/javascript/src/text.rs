//! Text encodings behind `TextEncoder` and `TextDecoder`.
//!
//! Decoders in JavaScript keep their own state between chunks (the bytes of an unfinished character), so that they
//! survive in a heap image; see `js/text.js`.

use encoding_rs::{CoderResult, Encoding};

use crate::host::{Args, HostError, HostResult, HostValue, unknown};

/// No character of any encoding takes more bytes.
const CHARACTER_BYTES_MAX: usize = 4;

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
    use super::*;

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
