//! Concave's core: the database and its function host as pure state machines.
//!
//! Nothing here opens a file or a socket, reads a clock, draws randomness, blocks or spawns. Machines take
//! inputs together with the time and hand back what they want done; the [`driver`] module moves both, through
//! the traits of [`runtime`], [`persistence`] and [`engine`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod admin_key;
pub mod catalog;
pub mod commit;
mod concurrency;
pub mod deploy;
pub mod driver;
pub mod engine;
pub mod error;
pub mod function;
mod heap;
pub mod identity;
pub mod key;
pub mod limits;
pub mod origin;
pub mod persistence;
pub mod planted;
pub mod query;
pub mod request_id;
pub mod retention;
pub mod runtime;
pub mod schedule;
pub mod schema;
pub mod subscription;
pub mod sync;
pub mod timestamp;
pub mod transaction;
pub mod value;

pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use timestamp::Timestamp;
pub use value::{DocumentId, InternalId, Object, TableNumber, Value};
