//! How often a transaction of the system itself is tried.

use super::CommitError;
use crate::error::{Error, Result};

/// Counts the attempts at a transaction that loses against others.
pub(super) struct Attempts(u32);

/// Most attempts. Such transactions touch what changes rarely, so losing often means that something is wrong.
const ATTEMPTS_MAX: u32 = 32;

impl Attempts {
    pub(super) fn new() -> Self {
        Self(0)
    }

    /// Notes that an attempt failed; `Ok` if the transaction should run again.
    ///
    /// # Errors
    /// The failure, or `exhausted` after too many conflicts.
    pub(super) fn again(&mut self, failed: CommitError, exhausted: fn() -> Error) -> Result<()> {
        self.0 += 1;
        match failed {
            CommitError::Failed(error) => Err(error),
            CommitError::Conflict { .. } if self.0 >= ATTEMPTS_MAX => Err(exhausted()),
            CommitError::Conflict { .. } => Ok(()),
        }
    }
}
