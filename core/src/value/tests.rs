//! Order, sizes and limits of values.

use std::collections::hash_map::DefaultHasher;

use proptest::prelude::*;

use super::*;

fn object(fields: &[(&str, Value)]) -> Value {
    Object::from_fields(fields.iter().cloned()).unwrap().into()
}

#[test]
fn types_and_values_are_ordered() {
    let negative_nan = f64::from_bits(0xfff8 << 48);
    let nan = f64::from_bits(0x7ff8 << 48);
    let ascending = [
        Value::Null,
        Value::Int64(i64::MIN),
        Value::Int64(5),
        Value::Int64(i64::MAX),
        Value::Float64(negative_nan),
        Value::Float64(f64::NEG_INFINITY),
        Value::Float64(-1.5),
        Value::Float64(-0.0),
        Value::Float64(0.0),
        Value::Float64(1.5),
        Value::Float64(f64::INFINITY),
        Value::Float64(nan),
        Value::Boolean(false),
        Value::Boolean(true),
        "".into(),
        "a".into(),
        "a\0".into(),
        "\u{ffff}".into(),
        "\u{1f600}".into(), // below U+FFFF in UTF-16
        vec![0u8; 0].into(),
        vec![0u8].into(),
        vec![0u8, 0].into(),
        vec![1u8].into(),
        vec![Value::Null; 0].into(),
        vec![Value::Null].into(),
        vec![Value::Null, Value::Null].into(),
        vec![Value::Int64(1)].into(),
        object(&[]),
        object(&[("", Value::Null)]),
        object(&[("a", Value::Null)]),
        object(&[("a", Value::Null), ("b", Value::Null)]),
        object(&[("a", Value::Int64(1))]),
        object(&[("aa", Value::Null)]),
    ];
    for (i, a) in ascending.iter().enumerate() {
        for (j, b) in ascending.iter().enumerate() {
            assert_eq!(a.cmp(b), i.cmp(&j), "{a} and {b}");
        }
    }
    assert!(None < Some(Value::Null), "missing comes first");
}

#[test]
fn sizes() {
    for (value, size) in [
        (Value::Null, 1),
        (true.into(), 1),
        (1i64.into(), 9),
        (1.0.into(), 9),
        ("é".into(), 4),
        (vec![1u8, 2, 3].into(), 5),
        (vec![Value::Null, 1.0.into()].into(), 12),
        (object(&[]), 2),
        (object(&[("a", 1.0.into()), ("b", "xy".into())]), 19),
    ] {
        assert_eq!(value.size(), size, "{value}");
    }
    let id = DocumentId {
        table: TableNumber::new(10001).unwrap(),
        internal: InternalId::MIN,
    };
    let system_fields = object(&[(ID_FIELD, id.into()), (CREATION_TIME_FIELD, 1.0.into())]);
    assert_eq!(system_fields.size(), 2 + 38 + 23);
}

#[test]
fn limits() {
    let code = |value: Value| {
        value
            .check_limits()
            .err()
            .map(|error| error.code.into_owned())
    };
    let nested = |levels| {
        (0..levels).fold(Value::Null, |inner, level| match level % 2 {
            0 => Value::Array(vec![inner]),
            _ => object(&[("a", inner)]),
        })
    };
    assert_eq!(nested(0).nesting(), 0);
    assert_eq!(object(&[]).nesting(), 1);
    assert_eq!(nested(64).nesting(), 64);
    assert_eq!(code(nested(64)), None);
    assert_eq!(code(nested(65)), Some("TooNestedError".into()));

    assert_eq!(code("x".repeat(MAX_VALUE_SIZE - 2).into()), None);
    assert_eq!(
        code("x".repeat(MAX_VALUE_SIZE - 1).into()),
        Some("ValueTooLargeError".into())
    );
    assert_eq!(code(vec![Value::Null; 8192].into()), None);
    assert_eq!(
        code(vec![Value::Null; 8193].into()),
        Some("ArrayTooLong".into())
    );
    let wide = |count: usize| {
        Value::from(Object::from_fields((0..count).map(|i| (i.to_string(), 1.0))).unwrap())
    };
    assert_eq!(code(wide(1024)), None);
    assert_eq!(code(wide(1025)), Some("TooManyFieldsError".into()));
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

proptest! {
    #[test]
    fn order_is_total(a in arbitrary::value(), b in arbitrary::value(), c in arbitrary::value()) {
        prop_assert_eq!(a.cmp(&a.clone()), Ordering::Equal);
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        let mut sorted = [a, b, c];
        sorted.sort();
        prop_assert!(sorted[0] <= sorted[2]);
    }

    #[test]
    fn equal_values_hash_alike(a in arbitrary::scalar(), b in arbitrary::scalar()) {
        prop_assert_eq!(hash(&a), hash(&a.clone()));
        prop_assert_eq!(a == b, a.to_json_string() == b.to_json_string());
        if a == b {
            prop_assert_eq!(hash(&a), hash(&b));
        }
    }
}

/// Until it is resolved, a commit's timestamp is as the greatest Int64, and only functions may write it.
#[test]
fn a_commit_timestamp_is_unresolved_until_the_commit() {
    let text = r#"{"at":{"$commitTs":null},"list":[{"$commitTs":null},1.0]}"#;
    let mut value = Value::from_unresolved_str(text).unwrap();
    assert_eq!(value.to_json_string(), text);
    assert!(!value.is_resolved());
    let greatest = Value::Int64(i64::MAX);
    assert_eq!(Value::CommitTs, greatest);
    assert!(Value::CommitTs > Value::Int64(i64::MAX - 1) && Value::CommitTs < Value::Float64(0.0));
    assert_eq!(Value::CommitTs.size(), greatest.size());
    assert_eq!(
        crate::key::encode_key(&[Some(&Value::CommitTs)]),
        crate::key::encode_key(&[Some(&greatest)])
    );
    value.resolve(Timestamp(7));
    assert!(value.is_resolved());
    let resolved = r#"{"at":{"$integer":"BwAAAAAAAAA="},"list":[{"$integer":"BwAAAAAAAAA="},1.0]}"#;
    assert_eq!(value.to_json_string(), resolved);
    for refused in [text, r#"{"$commitTs":1}"#, r#"{"$commitTs":null,"a":1}"#] {
        let error = Value::from_json_str(refused).unwrap_err();
        assert_eq!(error.code, "InvalidConvexValue", "{error}");
    }
    for refused in [r#"{"$commitTs":1}"#, r#"{"$commitTs":null,"a":1}"#] {
        assert!(Value::from_unresolved_str(refused).is_err(), "{refused}");
    }
}
