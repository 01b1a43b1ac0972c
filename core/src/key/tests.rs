//! Keys order, delimit and round-trip like the values they stand for.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::persistence::KeyRange;
use crate::value::arbitrary;

fn object(fields: &[(&str, Value)]) -> Value {
    Object::from_fields(fields.iter().cloned()).unwrap().into()
}

/// Published samples, in ascending order.
fn samples() -> Vec<(Option<Value>, &'static str)> {
    vec![
        (None, "01"),
        (Some(Value::Null), "03"),
        (Some(Value::Int64(-70000)), "05fffeee90"),
        (Some(Value::Int64(-300)), "06fed4"),
        (Some(Value::Int64(-1)), "07ff"),
        (Some(Value::Int64(0)), "08"),
        (Some(Value::Int64(1)), "0901"),
        (Some(Value::Int64(128)), "0a0080"),
        (Some(Value::Float64(-1.5)), "0d4007ffffffffffff"),
        (Some(Value::Float64(-0.0)), "0d7fffffffffffffff"),
        (Some(Value::Float64(0.0)), "0d8000000000000000"),
        (Some(Value::Float64(1.5)), "0dbff8000000000000"),
        (Some(Value::Boolean(false)), "0e"),
        (Some(Value::Boolean(true)), "0f"),
        (Some("a".into()), "106100"),
        (Some("a\0".into()), "106100ff00"),
        (Some(b"".as_slice().into()), "1100"),
        (Some(Value::Array(vec![Value::Int64(1)])), "12090100"),
        (Some(object(&[])), "1500"),
        (Some(object(&[("", Value::Null)])), "1500ff0300"),
        (Some(object(&[("a", Value::Int64(1))])), "156100090100"),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn samples_have_their_published_bytes_and_order() {
    let samples = samples();
    for (value, bytes) in &samples {
        let key = encode_key(&[value.as_ref()]);
        assert_eq!(hex(&key), *bytes);
        assert_eq!(decode_key(&key), Some(vec![value.clone()]));
    }
    assert!(samples.is_sorted_by(|(a, _), (b, _)| a < b));
    assert!(samples.is_sorted_by(|(_, a), (_, b)| a < b));
}

#[test]
fn refuses_other_bytes() {
    for bytes in [
        &[0x00][..],
        &[0x02],
        &[0xff],
        &[0x09],                               // ends too early
        &[0x0a, 0x00, 0x01],                   // 1 in two bytes
        &[0x09, 0xff],                         // negative under a positive tag
        &[0x09, 0x00],                         // 0 with a byte
        &[0x10, 0x61],                         // no end
        &[0x10, 0x80, 0x00],                   // not UTF-8
        &[0x12, 0x03],                         // no end
        &[0x12, 0x01, 0x00],                   // missing inside an array
        &[0x15, 0x24, 0x00, 0x03, 0x00],       // a field named "$"
        &[0x15, 0x61, 0, 3, 0x61, 0, 3, 0],    // the same field twice
        &[0x15, 0x62, 0, 3, 0x61, 0, 3, 0],    // fields descend
        &[0x15, 0x61, 0, 3, 0x00, 0xff, 3, 0], // the empty name comes last
    ] {
        assert_eq!(decode_key(bytes), None, "{bytes:02x?}");
    }
    assert_eq!(decode_key(&[ARRAY; 1_000_000]), None);
    assert_eq!(decode_key(&[]), Some(vec![]));
}

#[test]
fn escapes_do_not_fall_into_prefix_ranges() {
    let a = KeyRange::prefix(encode_key(&[Some(&"a".into())]));
    assert!(a.contains(&encode_key(&[Some(&"a".into())])));
    assert!(a.contains(&encode_key(&[Some(&"a".into()), None])));
    assert!(a.contains(&encode_key(&[Some(&"a".into()), Some(&object(&[]))])));
    assert!(!a.contains(&encode_key(&[Some(&"a\0".into())])));
}

fn components() -> impl Strategy<Value = Vec<Option<Value>>> {
    vec(proptest::option::weighted(0.9, arbitrary::value()), 0..4)
}

fn key(components: &[Option<Value>]) -> Vec<u8> {
    encode_key(&components.iter().map(Option::as_ref).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn keys_order_as_values(a in components(), b in components()) {
        prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b), "{:02x?} {:02x?}", key(&a), key(&b));
    }

    #[test]
    fn scalars_order_as_values(a in arbitrary::scalar(), b in arbitrary::scalar()) {
        prop_assert_eq!(encode_key(&[Some(&a)]).cmp(&encode_key(&[Some(&b)])), a.cmp(&b));
    }

    #[test]
    fn keys_round_trip(components in components()) {
        prop_assert_eq!(decode_key(&key(&components)), Some(components));
    }

    /// A range of keys with a prefix holds exactly those with the same first components.
    #[test]
    fn prefixes_are_ranges(a in components(), b in components(), share in any::<prop::sample::Index>()) {
        let shared = &a[..share.index(a.len() + 1)];
        let longer = [shared, &b].concat();
        let range = KeyRange::prefix(key(shared));
        prop_assert!(range.contains(&key(&longer)));
        prop_assert_eq!(range.contains(&key(&b)), b.starts_with(shared));
    }

    /// Whatever decodes is what encodes to the same bytes.
    #[test]
    fn decoding_is_total_and_strict(bytes in prop_oneof![
        vec(any::<u8>(), 0..24),
        vec(proptest::sample::select(vec![0, 1, 3, 8, 9, 0x10, 0x11, 0x12, 0x15, 0x61, 0xff]), 0..16),
    ]) {
        if let Some(components) = decode_key(&bytes) {
            prop_assert_eq!(key(&components), bytes);
        }
    }

    #[test]
    fn decoding_damaged_keys_is_strict(
        components in components(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let good = key(&[&[None], components.as_slice()].concat());
        let mut bytes = good.clone();
        bytes[at.index(good.len())] ^= flip;
        if let Some(decoded) = decode_key(&bytes) {
            prop_assert_eq!(key(&decoded), bytes);
        }
    }
}
