//! Storage in one SQLite file, for one server.
//!
//! One thread writes, a few threads read, each with its own connection; callers get futures that need no
//! particular runtime. The file is in WAL mode, so that reads and the write run side by side. A lock on a sibling
//! `.lock` file keeps a second server out.
//!
//! With the feature `testing` it can be opened on simulated files and without threads, for the simulation.

mod error;
mod file;
mod files;
#[cfg(feature = "testing")]
mod inline;
mod inspect;
mod layout;
mod options;
mod read;
mod reader;
mod store;
mod workers;
mod write;

#[cfg(feature = "testing")]
pub use file::Sizes;
#[cfg(feature = "testing")]
pub use files::{Files, Input};
pub use options::{SqliteOptions, Synchronous};
pub use store::SqlitePersistence;
