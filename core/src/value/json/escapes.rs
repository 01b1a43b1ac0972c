//! Halves of surrogate pairs in JSON text.
//!
//! JavaScript's strings may hold half of a pair, and `JSON.stringify` then writes it as an escape, such as `"\ud83d"`.
//! No UTF-8 text can hold it, and parsers refuse it.

use std::borrow::Cow;

/// What a lone half becomes: U+FFFD, as wherever else JavaScript's strings become text.
const REPLACEMENT: &str = "\\ufffd";
/// Bytes of an escape such as `\ud83d`.
const ESCAPE: usize = 6;

/// `text`, which is JSON or is meant to be, with U+FFFD in place of each escaped half of a pair without its other half.
/// All other text stays as it is.
pub fn well_formed_json(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut replaced = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(step) = bytes
        .get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\\'))
    {
        at += step;
        match escaped_unit(bytes, at) {
            Some(0xd800..=0xdbff)
                if matches!(escaped_unit(bytes, at + ESCAPE), Some(0xdc00..=0xdfff)) =>
            {
                at += 2 * ESCAPE;
            }
            Some(0xd800..=0xdfff) => {
                replaced.push_str(&text[copied..at]);
                replaced.push_str(REPLACEMENT);
                at += ESCAPE;
                copied = at;
            }
            Some(_) => at += ESCAPE,
            // An escaped backslash is no beginning of an escape.
            None => at += 2,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    replaced.push_str(&text[copied..]);
    Cow::Owned(replaced)
}

/// The UTF-16 unit that is written as `\uXXXX` at `at`.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + ESCAPE)?;
    let digits = escape.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | digit as u16)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lone_halves_are_replaced() {
        for (text, expected) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""a\uDC4Db""#, "a\u{fffd}b"),
            (r#""\ud83d\ud83d\udc4d""#, "\u{fffd}👍"),
            (r#""\udc4d\ud83d""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83d\\udc4d""#, "\u{fffd}\\udc4d"),
            (r#""\ud83dx\udc4d""#, "\u{fffd}x\u{fffd}"),
        ] {
            assert!(serde_json::from_str::<String>(text).is_err(), "{text}");
            let parsed: String = serde_json::from_str(&well_formed_json(text)).unwrap();
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn all_else_stays() {
        for text in [
            "",
            "\\",
            "\\u",
            "\\ud83",
            "\\é\\",
            r#"{"a":["\ud83d\udc4d","\\ud83d","\\\\ud83d","👍","\u00e9\n"]}"#,
        ] {
            assert!(matches!(well_formed_json(text), Cow::Borrowed(same) if same == text));
        }
    }

    proptest! {
        /// Whatever UTF-16 a string holds, its JSON text becomes what JavaScript calls its well-formed form.
        #[test]
        fn strings_become_well_formed(units in prop::collection::vec(prop_oneof![
            any::<u16>(), 0xd7f0u16..0xe010, prop::sample::select(vec![0x5c, 0x75, 0x22, 0x64]),
        ], 0..20)) {
            let mut json = "\"".to_owned();
            for unit in char::decode_utf16(units.iter().copied()) {
                match unit {
                    Ok(char) => {
                        let quoted = serde_json::to_string(&char).unwrap();
                        json.push_str(&quoted[1..quoted.len() - 1]);
                    }
                    Err(half) => json.push_str(&format!("\\u{:04x}", half.unpaired_surrogate())),
                }
            }
            json.push('"');
            let parsed: String = serde_json::from_str(&well_formed_json(&json)).unwrap();
            prop_assert_eq!(parsed, String::from_utf16_lossy(&units));
        }

        #[test]
        fn no_text_panics(text in r#"[\\ud8dc0-9é"]{0,40}"#) {
            let once = well_formed_json(&text).into_owned();
            prop_assert_eq!(well_formed_json(&once), once.as_str());
        }
    }
}
