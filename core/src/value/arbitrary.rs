//! Generators of values for property tests, in this crate and (feature `testing`) in others.
//!
//! They prefer the values where encodings go wrong: extremes, every kind of NaN, zero bytes, empty names, text
//! beyond the basic plane, and small alphabets so that equal and nearly equal values occur.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{CREATION_TIME_FIELD, DocumentId, ID_FIELD, InternalId, Object, TableNumber, Value};

/// Any 64-bit integer, mostly around the powers of two.
pub fn int64() -> impl Strategy<Value = i64> {
    prop_oneof![
        2 => (0u32..64, -2i64..=2).prop_map(|(bits, offset)| (1i64 << bits).wrapping_add(offset)),
        1 => (0u32..64, -2i64..=2).prop_map(|(bits, offset)| (-1i64 << bits).wrapping_add(offset)),
        1 => any::<i64>(),
    ]
}

/// Any double, by bits: infinities, NaNs with payloads and subnormals included.
pub fn float64() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => select(vec![
            0.0,
            -0.0,
            1.0,
            -1.5,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::MIN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::from_bits(0xfff8_0000_0000_0000),
            f64::from_bits(0x7ff0_0000_0000_0001),
            9_007_199_254_740_993.0,
        ]),
        1 => any::<i32>().prop_map(f64::from),
        2 => any::<u64>().prop_map(f64::from_bits),
    ]
}

/// Short text.
pub fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,3}",
        vec(
            select(vec![
                '\0',
                '\u{1}',
                'a',
                '"',
                '\u{7f}',
                'é',
                '\u{ffff}',
                '\u{1f600}'
            ]),
            0..5
        )
        .prop_map(String::from_iter),
    ]
}

/// Short bytes.
pub fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop_oneof![select(vec![0u8, 1, 0xfe, 0xff]), any::<u8>()],
        0..6,
    )
}

/// A valid field name, possibly empty.
pub fn field_name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,2}", "[ -#%-~][ -~]{0,4}"]
}

/// Any value without contents.
pub fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        int64().prop_map(Value::from),
        float64().prop_map(Value::from),
        string().prop_map(Value::from),
        bytes().prop_map(Value::from),
    ]
}

/// Any value: up to 4 levels of containers, some 30 scalars.
pub fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            object_of(inner).prop_map(Value::from),
        ]
    })
}

/// Any object of up to 4 fields.
pub fn object() -> impl Strategy<Value = Object> {
    object_of(value())
}

fn object_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Object> {
    vec((field_name(), value), 0..4)
        .prop_map(|fields| Object::from_fields(fields).expect("the generated names are valid"))
}

/// Any document id: all lengths of table numbers.
pub fn document_id() -> impl Strategy<Value = DocumentId> {
    (0u32..32, any::<u32>(), any::<[u8; 16]>()).prop_map(|(shift, number, internal)| DocumentId {
        table: TableNumber::new((number >> shift).max(1)).expect("at least 1"),
        internal: InternalId(internal),
    })
}

/// A document: an object without user fields that begin with `_`, with an id of table 10001 and a creation time.
pub fn document() -> impl Strategy<Value = Object> {
    (object(), any::<[u8; 16]>(), 1.0..2e12).prop_map(|(object, internal, time)| {
        let id = DocumentId {
            table: TableNumber::new(10001).expect("not 0"),
            internal: InternalId(internal),
        };
        let system = [
            (ID_FIELD.to_owned(), Value::from(id)),
            (CREATION_TIME_FIELD.to_owned(), Value::from(time)),
        ];
        let user = object
            .into_iter()
            .filter(|(name, _)| !name.starts_with('_'));
        Object::from_fields(user.chain(system)).expect("the names are valid")
    })
}
