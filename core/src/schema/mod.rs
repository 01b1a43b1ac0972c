//! What data may look like: validators, table and index definitions, and how a new schema differs from the old.
//!
//! Everything here is plain data and checks on it. Where a check must know which table a document id belongs to,
//! the caller lends a [`TableNames`]; nothing here reads tables or builds indexes.

#[cfg(test)]
mod arbitrary;
mod check;
mod definition;
mod index;
mod index_diff;
mod shape;
mod validator;

pub use check::{TableNames, ValidationError};
pub use definition::{MAX_INDEXES_PER_TABLE, MAX_TABLES, SchemaDefinition, TableDefinition};
pub use index::{
    IndexDefinition, IndexKind, MAX_FILTER_FIELDS, MAX_INDEX_FIELDS, VECTOR_DIMENSIONS,
};
pub use index_diff::{IndexDiff, IndexName, IndexSet};
pub use shape::{Field, Shape};
pub use validator::{
    FieldValidator, FunctionSignature, MAX_VALIDATOR_DEPTH, ObjectValidator, Validator,
};
