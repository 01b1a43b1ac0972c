//! What SQLite's errors mean for storage.

use concave_core::persistence::PersistenceError;
use rusqlite::ffi::{SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_SHORT_READ};
use rusqlite::{Error, ErrorCode};

/// Classifies an error of a read, or of a write before its commit: in either case nothing was written.
pub(crate) fn classify(error: Error) -> PersistenceError {
    let text = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            PersistenceError::Corrupt(text)
        }
        Some(ErrorCode::SystemIoFailure) => match error.sqlite_extended_error_code() {
            Some(SQLITE_IOERR_SHORT_READ | SQLITE_IOERR_CORRUPTFS) => {
                PersistenceError::Corrupt(text)
            }
            _ => PersistenceError::Unavailable(text),
        },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            PersistenceError::Unavailable(text)
        }
        Some(ErrorCode::DiskFull) => PersistenceError::Full(text),
        // Of the machine: memory, or descriptors for files.
        Some(ErrorCode::OutOfMemory | ErrorCode::CannotOpen) => PersistenceError::Unavailable(text),
        Some(_) => PersistenceError::Other(text),
        // Not from SQLite but from reading its answer: a column of the wrong type or out of range.
        None => PersistenceError::Corrupt(text),
    }
}

/// Classifies an error of a commit itself.
pub(crate) fn classify_commit(error: Error) -> PersistenceError {
    match error.sqlite_error_code() {
        // Without space the commit's last frame was not written; when busy, nothing was.
        Some(ErrorCode::DiskFull) => PersistenceError::Full(error.to_string()),
        Some(ErrorCode::DatabaseBusy) => PersistenceError::Unavailable(error.to_string()),
        _ => PersistenceError::Unknown(error.to_string()),
    }
}
