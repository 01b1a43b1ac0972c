//! Storage in one SQLite file, for one server.
//!
//! One thread writes, a few threads read, each with its own connection; callers get futures that need no
//! particular runtime. The file is in WAL mode, so that reads and the write run side by side. A lock on a sibling
//! `.lock` file keeps a second server out.

mod error;
mod file;
mod inspect;
mod layout;
mod options;
mod read;
mod store;
mod workers;
mod write;

pub use options::{SqliteOptions, Synchronous};
pub use store::SqlitePersistence;
