//! Limits of one transaction and how much of them is used.

use crate::error::{Error, Result};

/// Most documents that one transaction may read, filtered-out ones included.
pub const DOCUMENTS_READ_MAX: usize = 32_000;
/// Most bytes that one transaction may read.
pub const BYTES_READ_MAX: usize = 16 << 20;
/// Most index ranges (gets and queries) that one transaction may read.
pub const RANGES_READ_MAX: usize = 4096;
/// Most documents that one transaction may write.
pub const DOCUMENTS_WRITTEN_MAX: usize = 16_000;
/// Most bytes that one transaction may write.
pub const BYTES_WRITTEN_MAX: usize = 16 << 20;
/// Most functions that one transaction may schedule.
pub const FUNCTIONS_SCHEDULED_MAX: usize = 1000;
/// Most bytes of arguments of functions that one transaction may schedule.
pub const SCHEDULED_ARGS_BYTES_MAX: usize = 16 << 20;

/// What a transaction has used, its nested calls included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Documents read.
    pub documents_read: usize,
    /// Their sizes added up.
    pub bytes_read: usize,
    /// Index ranges opened.
    pub ranges_read: usize,
    /// Documents written; writing one twice counts twice.
    pub documents_written: usize,
    /// Their sizes added up.
    pub bytes_written: usize,
    /// Functions scheduled.
    pub functions_scheduled: usize,
    /// Sizes of their arguments added up.
    pub scheduled_args_bytes: usize,
}

impl Usage {
    pub(super) fn count_read(&mut self, bytes: usize) -> Result<()> {
        self.documents_read += 1;
        self.bytes_read += bytes;
        assert!(self.bytes_read >= bytes, "counts do not wrap");
        check(
            "TooManyDocumentsRead",
            "documents read",
            self.documents_read,
            DOCUMENTS_READ_MAX,
            READ_HINT,
        )?;
        check(
            "TooManyBytesRead",
            "bytes read",
            self.bytes_read,
            BYTES_READ_MAX,
            READ_HINT,
        )
    }

    /// Counts one more index range.
    ///
    /// # Errors
    /// Code `TooManyReads`.
    pub fn count_range(&mut self) -> Result<()> {
        self.ranges_read += 1;
        assert!(self.ranges_read > 0, "counts do not wrap");
        check(
            "TooManyReads",
            "index ranges read",
            self.ranges_read,
            RANGES_READ_MAX,
            READ_HINT,
        )
    }

    pub(super) fn count_scheduled(&mut self, bytes: usize) -> Result<()> {
        if self.functions_scheduled >= FUNCTIONS_SCHEDULED_MAX {
            return Err(Error::bad_request(
                "TooManyFunctionsScheduled",
                format!(
                    "Too many functions scheduled by this mutation (limit: {FUNCTIONS_SCHEDULED_MAX})"
                ),
            ));
        }
        if self.scheduled_args_bytes + bytes > SCHEDULED_ARGS_BYTES_MAX {
            return Err(Error::bad_request(
                "ScheduledFunctionsArgumentsTooLarge",
                format!(
                    "Too large total size of the arguments of scheduled functions from this mutation \
                     (limit: {SCHEDULED_ARGS_BYTES_MAX} bytes)"
                ),
            ));
        }
        self.functions_scheduled += 1;
        self.scheduled_args_bytes += bytes;
        Ok(())
    }

    pub(super) fn count_write(&mut self, bytes: usize) -> Result<()> {
        self.documents_written += 1;
        self.bytes_written += bytes;
        assert!(self.bytes_written >= bytes, "counts do not wrap");
        check(
            "TooManyWrites",
            "documents written",
            self.documents_written,
            DOCUMENTS_WRITTEN_MAX,
            WRITE_HINT,
        )?;
        check(
            "TooManyBytesWritten",
            "bytes written",
            self.bytes_written,
            BYTES_WRITTEN_MAX,
            WRITE_HINT,
        )
    }
}

const READ_HINT: &str =
    "Read less at once: use an index with a narrower range, `.take(n)` or pagination.";
const WRITE_HINT: &str = "Split the work over several mutations.";

fn check(code: &'static str, what: &str, used: usize, limit: usize, hint: &str) -> Result<()> {
    assert!(limit > 0);
    assert!(!hint.is_empty(), "there is a way to obey");
    if used <= limit {
        return Ok(());
    }
    Err(Error::bad_request(
        code,
        format!("Too many {what} in a single function execution (limit: {limit}). {hint}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scheduled_is_bounded_in_number_and_size() {
        let mut usage = Usage::default();
        usage.count_scheduled(SCHEDULED_ARGS_BYTES_MAX - 1).unwrap();
        usage.count_scheduled(1).unwrap();
        let error = usage.count_scheduled(1).unwrap_err();
        assert_eq!(error.code, "ScheduledFunctionsArgumentsTooLarge");
        for _ in 2..FUNCTIONS_SCHEDULED_MAX {
            usage.count_scheduled(0).unwrap();
        }
        let error = usage.count_scheduled(0).unwrap_err();
        assert_eq!(error.code, "TooManyFunctionsScheduled");
    }
}
