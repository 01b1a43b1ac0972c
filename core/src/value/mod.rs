//! Values, objects and ids: what documents, arguments and results are made of.

mod id;
mod object;

use std::sync::Arc;

pub use id::{DocumentId, InternalId, TableNumber};
pub use object::Object;

/// Any value that a document, an argument or a result can hold.
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
}

/// A document shared between readers.
pub type SharedObject = Arc<Object>;
