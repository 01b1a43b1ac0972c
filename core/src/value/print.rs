//! How values are shown to people, in the texts of validation errors: `{a: [1.0, "x"], b: 5}`.

use std::fmt;

use super::name::is_environment_variable_name;
use super::{Object, Value};

impl fmt::Display for Value {
    /// Integers bare, doubles always with a fraction or exponent (`1.0`, `-0.0`, `NaN`, `inf`), strings quoted and
    /// escaped, bytes like a string with a leading `b`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Int64(number) => write!(f, "{number}"),
            Value::Float64(number) => write!(f, "{number:?}"),
            Value::Boolean(truth) => write!(f, "{truth}"),
            Value::String(text) => write!(f, "{text:?}"),
            Value::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
            Value::Array(elements) => {
                f.write_str("[")?;
                for (i, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Value::Object(object) => object.fmt(f),
            Value::CommitTs => f.write_str("[unresolved commit timestamp]"),
        }
    }
}

impl fmt::Display for Object {
    /// `{a: 1.0, b: "x"}`, ascending; names that are not JavaScript-like words are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            if is_environment_variable_name(name) {
                write!(f, "{name}: {value}")?;
            } else {
                write!(f, "{name:?}: {value}")?;
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_forms() {
        for (value, shown) in [
            (Value::Null, "null"),
            (Value::Int64(5), "5"),
            (Value::Float64(1.0), "1.0"),
            (Value::Float64(-0.0), "-0.0"),
            (Value::Float64(0.1), "0.1"),
            (Value::Float64(f64::NAN), "NaN"),
            (Value::Float64(f64::INFINITY), "inf"),
            (Value::Float64(f64::NEG_INFINITY), "-inf"),
            (Value::Boolean(true), "true"),
            (Value::from("a\"b\n"), r#""a\"b\n""#),
            (Value::from(b"a\0".as_slice()), r#"b"a\x00""#),
            (
                Value::Array(vec![Value::Float64(1.0), Value::from("x")]),
                r#"[1.0, "x"]"#,
            ),
            (
                Value::Object(
                    Object::from_fields([
                        ("b", Value::from("x")),
                        ("a", 1.0.into()),
                        ("-", Value::Null),
                    ])
                    .unwrap(),
                ),
                r#"{"-": null, a: 1.0, b: "x"}"#,
            ),
            (Value::Object(Object::new()), "{}"),
        ] {
            assert_eq!(value.to_string(), shown);
        }
    }
}
