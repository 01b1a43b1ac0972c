//! What the fuzz targets share: values made from bytes, so that mutations of the bytes are mutations of the value.

pub mod database;
pub mod executor;

use arbitrary::{Result, Unstructured};
use concave_core::{Object, Value};

/// Containers within containers that [`value`] makes.
const DEPTH: u32 = 4;

/// Any value; small alphabets, so that equal and nearly equal ones are common.
pub fn value(u: &mut Unstructured<'_>) -> Result<Value> {
    nested(u, DEPTH)
}

fn nested(u: &mut Unstructured<'_>, depth: u32) -> Result<Value> {
    let kinds = if depth == 0 { 7 } else { 9 };
    Ok(match u.int_in_range(0..=kinds - 1)? {
        0 => Value::Null,
        1 => Value::from(u.arbitrary::<bool>()?),
        // Near the powers of two, where encodings change their length.
        2 => Value::from((1i64 << u.int_in_range(0..=63)?).wrapping_add(u.int_in_range(-2..=2)?)),
        3 => Value::from(u.arbitrary::<i64>()?),
        4 => Value::from(f64::from_bits(u.arbitrary()?)),
        5 => Value::from(u.arbitrary::<&str>()?),
        6 => Value::Bytes(u.arbitrary::<&[u8]>()?.to_vec()),
        7 => {
            let length = u.int_in_range(0..=4)?;
            let elements = (0..length).map(|_| nested(u, depth - 1));
            Value::Array(elements.collect::<Result<_>>()?)
        }
        _ => Value::Object(fields(u, depth - 1)?),
    })
}

/// Any object.
pub fn object(u: &mut Unstructured<'_>) -> Result<Object> {
    fields(u, DEPTH)
}

fn fields(u: &mut Unstructured<'_>, depth: u32) -> Result<Object> {
    const NAMES: [&str; 8] = ["", "a", "aa", "b", "_id", "_creationTime", "~", " x"];
    let mut object = Object::new();
    for _ in 0..u.int_in_range(0..=4)? {
        let name = *u.choose(&NAMES)?;
        let value = nested(u, depth)?;
        object.insert(name, value).expect("the names are valid");
    }
    Ok(object)
}
