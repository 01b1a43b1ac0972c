//! Documents: objects that are stored in a table.

use super::{Object, check_field_count};
use crate::{Error, Result};

/// Name of the system field that holds the document's id.
pub const ID_FIELD: &str = "_id";
/// Name of the system field that holds the time of creation, in milliseconds since the Unix epoch.
pub const CREATION_TIME_FIELD: &str = "_creationTime";

/// Largest size of a document with its system fields, in bytes as [`Object::size`] counts them.
pub const MAX_DOCUMENT_SIZE: usize = 1 << 20;
/// Deepest nesting of a document; the document itself is the first level.
pub const MAX_DOCUMENT_NESTING: usize = 16;

/// Checks what a document of a user's table must satisfy beyond being an object.
///
/// # Errors
/// `ValueTooLargeError`; `InvalidDocumentError` if it nests too deep; `InvalidFieldName` for a top-level field that
/// begins with `_` and is not a system field; `ArrayTooLong`, `TooManyFieldsError`.
pub fn document_limits(document: &Object) -> Result<()> {
    check_field_count(document.len())?;
    for (name, value) in document.iter() {
        if name.starts_with('_') && name != ID_FIELD && name != CREATION_TIME_FIELD {
            return Err(Error::bad_request(
                "InvalidFieldName",
                format!("Field name {name:?} starts with '_', which is reserved for system fields"),
            ));
        }
        value.check_shape(MAX_DOCUMENT_NESTING - 1, &|| {
            Error::bad_request(
                "InvalidDocumentError",
                format!(
                    "The document nests deeper than the maximum of {MAX_DOCUMENT_NESTING} levels"
                ),
            )
        })?;
    }
    super::check_size_within(document.size(), MAX_DOCUMENT_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn code(name: &str, value: Value) -> Option<String> {
        let document = Object::from_fields([(name, value)]).unwrap();
        document_limits(&document)
            .err()
            .map(|error| error.code.into_owned())
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]))
    }

    #[test]
    fn limits() {
        assert_eq!(code("_id", "x".into()), None);
        assert_eq!(code("_creationTime", 1.0.into()), None);
        assert_eq!(code("_x", Value::Null), Some("InvalidFieldName".into()));
        let inner = Object::from_fields([("_x", 1.0)]).unwrap();
        assert_eq!(code("x", inner.into()), None);

        assert_eq!(code("x", nested(15)), None);
        assert_eq!(code("x", nested(16)), Some("InvalidDocumentError".into()));

        // 2 for the object, 2 for the field's name, 2 for the string.
        assert_eq!(code("x", "y".repeat(MAX_DOCUMENT_SIZE - 6).into()), None);
        assert_eq!(
            code("x", "y".repeat(MAX_DOCUMENT_SIZE - 5).into()),
            Some("ValueTooLargeError".into())
        );
        assert_eq!(
            code("x", vec![Value::Null; 8193].into()),
            Some("ArrayTooLong".into())
        );
    }
}
