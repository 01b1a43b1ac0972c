//! Values, objects and ids: what documents, arguments and results are made of.
//!
//! Owns the data model: which values exist, how they are ordered, sized, bounded and printed, and their JSON and
//! stored forms. Knows nothing of tables, schemas or transactions.

mod codec;
mod document;
mod id;
mod json;
mod name;
mod object;
mod print;

#[cfg(any(test, feature = "testing"))]
pub mod arbitrary;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::timestamp::Timestamp;
use crate::{Error, Result};

pub use codec::{DecodeError, decode_document, encode_document};
pub use document::{
    CREATION_TIME_FIELD, ID_FIELD, MAX_DOCUMENT_NESTING, MAX_DOCUMENT_SIZE, document_limits,
};
pub use id::{DocumentId, InternalId, TableNumber};
pub use json::{JsonFormat, maybe_from_json, patch_from_json, well_formed_json};
pub use name::{
    FunctionPath, MAX_FUNCTION_PATH_LENGTH, MAX_IDENTIFIER_LENGTH, check_environment_variable_name,
    check_export_name, check_index_name, check_table_name, is_environment_variable_name,
    is_function_handle, is_identifier,
};
pub use object::{FieldPath, Object, check_field_name};

/// Largest size of any value, in bytes as [`Value::size`] counts them.
pub const MAX_VALUE_SIZE: usize = 32 << 20;
/// Deepest nesting of any value, as [`Value::nesting`] counts it.
pub const MAX_NESTING: usize = 64;
/// Most elements of an array.
pub const MAX_ARRAY_LENGTH: usize = 8192;
/// Most fields of an object.
pub const MAX_FIELDS: usize = 1024;

/// Any value that a document, an argument or a result can hold.
///
/// Totally ordered. By type: null, Int64, Float64, false, true, String, Bytes, Array, Object. Within a type:
/// numbers by value, doubles in IEEE 754 `totalOrder` (so -0 < 0, and each NaN has its place), strings by UTF-8
/// bytes, bytes and arrays lexicographically, objects as the sequence of their (name, value) pairs. Equality is
/// that of the order: `Int64(1)` is not `Float64(1.0)`, and a NaN equals itself.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// A 64-bit signed integer (`bigint`).
    Int64(i64),
    /// A double (`number`).
    Float64(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// Unicode text.
    String(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
    /// Named fields.
    Object(Object),
    /// The timestamp at which the transaction is going to commit, which only the commit tells: [`Value::resolve`]
    /// puts it in. It is in documents that are not committed yet and in values on their way between the functions of a
    /// mutation, nowhere else. Until then it is equal to the greatest Int64.
    CommitTs,
}

/// A document shared between readers.
pub type SharedObject = Arc<Object>;

impl Value {
    /// The type's name, as validators print it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Int64(_) => "int64",
            Value::Float64(_) => "float64",
            Value::Boolean(_) => "boolean",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::CommitTs => "commitTs",
        }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is a double.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float64(number) => Some(*number),
            _ => None,
        }
    }

    /// The number, if this is a 64-bit integer.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int64(number) => Some(*number),
            _ => None,
        }
    }

    /// The truth value, if this is a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The bytes, if these are raw bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements, if this is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The fields, if this is an object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The size that limits and quotas count, in bytes. Independent of any encoding.
    pub fn size(&self) -> usize {
        match self {
            Value::Null | Value::Boolean(_) => 1,
            Value::Int64(_) | Value::Float64(_) | Value::CommitTs => 9,
            Value::String(text) => text.len() + 2,
            Value::Bytes(bytes) => bytes.len() + 2,
            Value::Array(elements) => 2 + elements.iter().map(Value::size).sum::<usize>(),
            Value::Object(object) => object.size(),
        }
    }

    /// How deep containers nest: 0 for scalars, 1 for `[]` and `{}`, and one more for each level.
    pub fn nesting(&self) -> usize {
        match self {
            Value::Array(elements) => 1 + elements.iter().map(Value::nesting).max().unwrap_or(0),
            Value::Object(object) => object.nesting(),
            _ => 0,
        }
    }

    /// Whether there is no [`Value::CommitTs`] in it.
    pub fn is_resolved(&self) -> bool {
        match self {
            Value::CommitTs => false,
            Value::Array(elements) => elements.iter().all(Value::is_resolved),
            Value::Object(object) => object.is_resolved(),
            _ => true,
        }
    }

    /// Puts the commit's timestamp in the place of each [`Value::CommitTs`].
    pub fn resolve(&mut self, ts: Timestamp) {
        match self {
            Value::CommitTs => {
                *self = Value::Int64(i64::try_from(ts.0).expect("timestamps stay below 2^63"));
            }
            Value::Array(elements) => {
                elements.iter_mut().for_each(|element| element.resolve(ts));
            }
            Value::Object(object) => object.resolve(ts),
            _ => {}
        }
    }

    /// Checks the limits that hold for every value, wherever it is used.
    ///
    /// # Errors
    /// `ValueTooLargeError`, `TooNestedError`, `ArrayTooLong` or `TooManyFieldsError`.
    pub fn check_limits(&self) -> Result<()> {
        self.check_shape(MAX_NESTING, &too_nested)?;
        check_size(self.size())
    }

    /// Checks lengths, and that containers nest at most `levels` deep.
    fn check_shape(&self, levels: usize, too_nested: &dyn Fn() -> Error) -> Result<()> {
        match self {
            Value::Array(elements) => {
                check_array_length(elements.len())?;
                let levels = levels.checked_sub(1).ok_or_else(too_nested)?;
                elements
                    .iter()
                    .try_for_each(|value| value.check_shape(levels, too_nested))
            }
            Value::Object(object) => {
                check_field_count(object.len())?;
                let levels = levels.checked_sub(1).ok_or_else(too_nested)?;
                object
                    .iter()
                    .try_for_each(|(_, value)| value.check_shape(levels, too_nested))
            }
            _ => Ok(()),
        }
    }

    /// Place of the type in the total order.
    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Int64(_) | Value::CommitTs => 1,
            Value::Float64(_) => 2,
            Value::Boolean(_) => 3,
            Value::String(_) => 4,
            Value::Bytes(_) => 5,
            Value::Array(_) => 6,
            Value::Object(_) => 7,
        }
    }
}

fn check_size(size: usize) -> Result<()> {
    check_size_within(size, MAX_VALUE_SIZE)
}

/// Checks a size against a limit of whole MiB.
fn check_size_within(size: usize, most: usize) -> Result<()> {
    if size <= most {
        return Ok(());
    }
    let mebibytes = size as f64 / f64::from(1 << 20);
    Err(Error::bad_request(
        "ValueTooLargeError",
        format!(
            "Value is too large ({mebibytes:.2} MiB > maximum size {} MiB)",
            most >> 20
        ),
    ))
}

fn check_array_length(length: usize) -> Result<()> {
    if length <= MAX_ARRAY_LENGTH {
        return Ok(());
    }
    Err(Error::bad_request(
        "ArrayTooLong",
        format!("Array has more elements ({length}) than the maximum of {MAX_ARRAY_LENGTH}"),
    ))
}

fn check_field_count(count: usize) -> Result<()> {
    if count <= MAX_FIELDS {
        return Ok(());
    }
    Err(Error::bad_request(
        "TooManyFieldsError",
        format!("Object has more fields ({count}) than the maximum of {MAX_FIELDS}"),
    ))
}

fn too_nested() -> Error {
    Error::bad_request(
        "TooNestedError",
        format!("Value nests deeper than the maximum of {MAX_NESTING} levels"),
    )
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Int64(a), Value::Int64(b)) => a.cmp(b),
            (Value::Int64(a), Value::CommitTs) => a.cmp(&i64::MAX),
            (Value::CommitTs, Value::Int64(b)) => i64::MAX.cmp(b),
            (Value::Float64(a), Value::Float64(b)) => a.total_cmp(b),
            (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
            // Rust compares strings by their UTF-8 bytes.
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Array(a), Value::Array(b)) => a.cmp(b),
            (Value::Object(a), Value::Object(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Value::Null => {}
            Value::Int64(number) => number.hash(state),
            Value::CommitTs => i64::MAX.hash(state),
            // Two doubles are equal in totalOrder exactly if their bits are.
            Value::Float64(number) => number.to_bits().hash(state),
            Value::Boolean(truth) => truth.hash(state),
            Value::String(text) => text.hash(state),
            Value::Bytes(bytes) => bytes.hash(state),
            Value::Array(elements) => elements.hash(state),
            Value::Object(object) => object.hash(state),
        }
    }
}

macro_rules! from {
    ($($type:ty => |$name:ident| $value:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($name: $type) -> Self {
                $value
            }
        }
    )*};
}

from! {
    bool => |truth| Value::Boolean(truth);
    i64 => |number| Value::Int64(number);
    f64 => |number| Value::Float64(number);
    &str => |text| Value::String(text.to_owned());
    String => |text| Value::String(text);
    Vec<u8> => |bytes| Value::Bytes(bytes);
    &[u8] => |bytes| Value::Bytes(bytes.to_vec());
    Vec<Value> => |elements| Value::Array(elements);
    Object => |object| Value::Object(object);
    DocumentId => |id| Value::String(id.encode());
}

/// `None` becomes null.
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(option: Option<T>) -> Self {
        option.map_or(Value::Null, Into::into)
    }
}

#[cfg(test)]
mod tests;
