//! Stored documents: bytes are an error or a document that is stored as these bytes, and damage is noticed.

#![no_main]

use arbitrary::Unstructured;
use concave_core::value::{DecodeError, decode_document, encode_document};
use libfuzzer_sys::fuzz_target;

/// Format, checksum, flags.
const HEADER: usize = 6;
/// Shorter payloads are not compressed, hence have one stored form.
const COMPRESS_FROM: usize = 1024;

fuzz_target!(|bytes: &[u8]| {
    let Some((&mode, bytes)) = bytes.split_first() else {
        return;
    };
    match mode % 3 {
        0 => arbitrary_contents(bytes),
        1 => written(bytes),
        _ => drop(decode_document(bytes)),
    }
});

/// Flags and payload under a checksum that holds: mutations would not find one.
fn arbitrary_contents(contents: &[u8]) {
    let mut stored = vec![1];
    stored.extend(crc32fast::hash(contents).to_le_bytes());
    stored.extend_from_slice(contents);
    match decode_document(&stored) {
        Ok(document) => {
            let again = encode_document(&document);
            assert_eq!(decode_document(&again).as_ref(), Ok(&document));
            if contents[0] == 0 && contents.len() <= COMPRESS_FROM {
                assert_eq!(again, stored, "there is one stored form");
            }
        }
        Err(DecodeError::Malformed(_) | DecodeError::TooShort(_)) => {}
        Err(other) => panic!("format and checksum are right: {other}"),
    }
}

fn written(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    let (Ok(bit), Ok(repeat), Ok(mut document)) = (
        u.arbitrary::<u32>(),
        u.int_in_range(0..=3),
        concave_fuzz::object(&mut u),
    ) else {
        return;
    };
    if repeat == 3 {
        // Long enough to be compressed.
        let text = format!("{document:?}").repeat(40);
        document.insert("text", text).expect("a valid name");
    }
    let mut stored = encode_document(&document);
    assert!(stored.len() > HEADER);
    assert_eq!(decode_document(&stored).as_ref(), Ok(&document));
    let bit = bit as usize % (stored.len() * 8);
    stored[bit / 8] ^= 1 << (bit % 8);
    match decode_document(&stored) {
        Err(DecodeError::Checksum { .. } | DecodeError::UnknownFormat(_)) => {}
        other => panic!("a flipped bit goes unnoticed: {other:?}"),
    }
}
