//! Queries: their description, what index range they come to, and their execution as resumable machines.
//!
//! * [`Query`] is what a function asks for, parsed and bounded, not yet looked up anywhere.
//! * [`Plan`] is the query resolved against a transaction: one index, one range of its keys. It can explain itself.
//! * [`QueryStream`] hands out rows one at a time; [`PageQuery`] collects a page that a [`Cursor`] continues.
//!
//! The machines never wait: they answer with the page of the index that they need, and are supplied with it. They
//! read through [`crate::transaction::Scan`], so a transaction depends on the part of the range that was consumed and
//! on nothing beyond it, and sees its own writes.

mod ast;
mod cursor;
mod expression;
mod page;
mod plan;
mod range;
mod stream;

pub use ast::{OPERATORS_MAX, Operator, Query, SearchFilter, Source};
pub use cursor::{Cursor, CursorKey, Fingerprint, InvalidCursor, Journal, Position};
pub use expression::{Arithmetic, Comparison, EXPRESSION_DEPTH_MAX, Expression};
pub use page::{PAGE_SIZE_MAX, Page, PageError, PageQuery, PageRequest, PageStatus, PageStep};
pub use plan::{Plan, Visibility, is_readable_system_table};
pub use range::{BoundOperator, RangeBound, key_range};
pub use stream::{QueryStep, QueryStream};

use serde_json::Value as Json;

use crate::error::Error;
use crate::value::Value;

/// A query that is not what clients send.
fn invalid(reason: impl std::fmt::Display) -> Error {
    Error::bad_request("InvalidQuery", format!("Invalid query: {reason}"))
}

/// The JSON form of a value that may be missing.
fn maybe_to_json(value: Option<&Value>) -> Json {
    match value {
        Some(value) => value.to_json(),
        None => serde_json::json!({"$undefined": null}),
    }
}

/// How a value that may be missing is shown to people; long ones are cut.
fn show(value: Option<&Value>) -> String {
    const SHOWN_MAX: usize = 200;
    let mut text = value.map_or_else(|| "undefined".to_owned(), Value::to_string);
    if text.len() > SHOWN_MAX {
        text.truncate(text.floor_char_boundary(SHOWN_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
