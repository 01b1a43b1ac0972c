//! How much memory JSON takes once it is parsed.

/// What a value takes in the array or the map that holds it, which is up to twice as large as what is in it.
const VALUE_BYTES: usize = 64;
/// What an array takes beside that: room for four values, however few there are.
const ARRAY_BYTES: usize = 64;
/// What an object takes beside that: a node of a B-tree has room for eleven fields, however few there are.
const OBJECT_BYTES: usize = 640;
/// What a name takes beside its value and its text, in a node that may be half empty.
const NAME_BYTES: usize = 96;
/// What a text takes beside its characters.
const TEXT_BYTES: usize = 24;

/// Memory that `text`, which should be JSON, takes as a [`serde_json::Value`], in bytes: never much less than it really
/// is, and some times as much for what is rare. One look at each byte; nothing is allocated.
///
/// Empty arrays are the worst: three characters become a hundred bytes. So it is this that has to be bounded, and not
/// the length of the text, before anything is parsed.
pub fn json_memory(text: &[u8]) -> usize {
    let mut bytes = VALUE_BYTES;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        bytes += match byte {
            b'[' => ARRAY_BYTES + VALUE_BYTES,
            b'{' => OBJECT_BYTES + VALUE_BYTES,
            b',' => VALUE_BYTES,
            b':' => NAME_BYTES,
            b'"' => {
                let length = text_length(&text[at..]);
                at += length + 1;
                TEXT_BYTES + length
            }
            _ => 0,
        };
    }
    bytes
}

/// Bytes until the quote that ends a text.
fn text_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    /// What a value really takes, by the sizes of the standard library's collections.
    fn real(value: &Json) -> usize {
        const SLOT: usize = size_of::<Json>();
        SLOT + match value {
            Json::Array(items) => {
                let unused = items.capacity() - items.len();
                unused * SLOT + items.iter().map(real).sum::<usize>()
            }
            Json::Object(fields) => {
                // Nodes are at least five elevenths full, except the only one.
                let nodes = fields.len().div_ceil(5);
                let node = 11 * (SLOT + size_of::<String>()) + 16;
                let values = fields.values().map(|value| real(value) - SLOT);
                nodes * node + values.chain(fields.keys().map(String::len)).sum::<usize>()
            }
            Json::String(text) => text.capacity(),
            _ => 0,
        }
    }

    #[test]
    fn what_is_worst_is_seen() {
        let empty = format!("[{}[]]", "[],".repeat(1_000_000));
        assert!(json_memory(empty.as_bytes()) > 100_000_000);
        let text = json!(["x".repeat(1_000_000)]).to_string();
        assert!(json_memory(text.as_bytes()) < 1_001_000);
        assert!(
            json_memory(br#""[[[[[[\"[[[[[""#) < 200,
            "only what is outside of texts counts"
        );
        for broken in ["", "\"", "\"\\", "]]]]", "{"] {
            json_memory(broken.as_bytes());
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<i32>().prop_map(|n| json!(n)),
            ".{0,40}".prop_map(|text| json!(text)),
        ];
        leaf.prop_recursive(6, 400, 12, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..12).prop_map(Json::Array),
                prop::collection::btree_map(".{0,8}", inner, 0..30)
                    .prop_map(|fields| json!(fields)),
            ]
        })
    }

    proptest! {
        #[test]
        fn memory_is_not_underestimated(value in any_json()) {
            let text = value.to_string();
            let parsed: Json = serde_json::from_str(&text).unwrap();
            prop_assert!(json_memory(text.as_bytes()) >= real(&parsed));
        }

        #[test]
        fn no_text_is_too_strange(text: Vec<u8>) {
            json_memory(&text);
        }
    }
}
