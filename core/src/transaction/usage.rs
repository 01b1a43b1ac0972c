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

/// What a transaction has used, its nested calls included; or the most that it may use.
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
    /// The most that any transaction may use.
    pub const MAX: Self = Self {
        documents_read: DOCUMENTS_READ_MAX,
        bytes_read: BYTES_READ_MAX,
        ranges_read: RANGES_READ_MAX,
        documents_written: DOCUMENTS_WRITTEN_MAX,
        bytes_written: BYTES_WRITTEN_MAX,
        functions_scheduled: FUNCTIONS_SCHEDULED_MAX,
        scheduled_args_bytes: SCHEDULED_ARGS_BYTES_MAX,
    };

    /// All counts, by the names under which functions know them.
    pub fn by_name(self) -> [(&'static str, usize); 7] {
        [
            ("bytesRead", self.bytes_read),
            ("bytesWritten", self.bytes_written),
            ("databaseQueries", self.ranges_read),
            ("documentsRead", self.documents_read),
            ("documentsWritten", self.documents_written),
            ("functionsScheduled", self.functions_scheduled),
            ("scheduledFunctionArgsBytes", self.scheduled_args_bytes),
        ]
    }

    /// The count of that name, one of those in [`Self::by_name`].
    pub fn get_mut(&mut self, name: &str) -> Option<&mut usize> {
        Some(match name {
            "bytesRead" => &mut self.bytes_read,
            "bytesWritten" => &mut self.bytes_written,
            "databaseQueries" => &mut self.ranges_read,
            "documentsRead" => &mut self.documents_read,
            "documentsWritten" => &mut self.documents_written,
            "functionsScheduled" => &mut self.functions_scheduled,
            "scheduledFunctionArgsBytes" => &mut self.scheduled_args_bytes,
            _ => return None,
        })
    }

    /// The limits of a nested call: for each count named in `more`, so much beyond what is used already, and never
    /// more than the limits of its caller, which are `self`.
    pub(super) fn narrowed(self, used: Self, more: &[(&str, usize)]) -> Self {
        let mut limits = self;
        for (name, more) in more {
            let mut used = used;
            let most = used.get_mut(name).map(|used| used.saturating_add(*more));
            if let Some((limit, most)) = limits.get_mut(name).zip(most) {
                *limit = most.min(*limit);
            }
        }
        let both = limits.by_name().into_iter().zip(self.by_name());
        assert!(
            both.into_iter().all(|((_, new), (_, old))| new <= old),
            "a nested call is given nothing that its caller has not"
        );
        limits
    }

    /// What is used after all writes since `before` were undone. What was read was read.
    pub(super) fn undone(self, before: Self) -> Self {
        assert!(self.documents_written >= before.documents_written);
        assert!(self.functions_scheduled >= before.functions_scheduled);
        Self {
            documents_written: before.documents_written,
            bytes_written: before.bytes_written,
            functions_scheduled: before.functions_scheduled,
            scheduled_args_bytes: before.scheduled_args_bytes,
            ..self
        }
    }

    pub(super) fn count_read(&mut self, bytes: usize, limits: &Self) -> Result<()> {
        self.documents_read += 1;
        self.bytes_read += bytes;
        assert!(self.bytes_read >= bytes, "counts do not wrap");
        check(
            "TooManyDocumentsRead",
            "documents read",
            self.documents_read,
            limits.documents_read,
            READ_HINT,
        )?;
        check(
            "TooManyBytesRead",
            "bytes read",
            self.bytes_read,
            limits.bytes_read,
            READ_HINT,
        )
    }

    /// Counts one more index range.
    ///
    /// # Errors
    /// Code `TooManyReads`.
    pub(super) fn count_range(&mut self, limits: &Self) -> Result<()> {
        self.ranges_read += 1;
        assert!(self.ranges_read > 0, "counts do not wrap");
        check(
            "TooManyReads",
            "index ranges read",
            self.ranges_read,
            limits.ranges_read,
            READ_HINT,
        )
    }

    /// Counts a function that is being scheduled. One that is refused does not count.
    pub(super) fn count_scheduled(&mut self, bytes: usize, limits: &Self) -> Result<()> {
        if self.functions_scheduled >= limits.functions_scheduled {
            return Err(Error::bad_request(
                "TooManyFunctionsScheduled",
                format!(
                    "Too many functions scheduled by this mutation (limit: {})",
                    limits.functions_scheduled
                ),
            ));
        }
        if self.scheduled_args_bytes + bytes > limits.scheduled_args_bytes {
            return Err(Error::bad_request(
                "ScheduledFunctionsArgumentsTooLarge",
                format!(
                    "Too large total size of the arguments of scheduled functions from this mutation \
                     (limit: {} bytes)",
                    limits.scheduled_args_bytes
                ),
            ));
        }
        self.functions_scheduled += 1;
        self.scheduled_args_bytes += bytes;
        Ok(())
    }

    /// Counts a document that is being written. One that is refused does not count.
    pub(super) fn count_write(&mut self, bytes: usize, limits: &Self) -> Result<()> {
        let documents_written = self.documents_written + 1;
        let bytes_written = self.bytes_written + bytes;
        assert!(bytes_written >= bytes, "counts do not wrap");
        check(
            "TooManyWrites",
            "documents written",
            documents_written,
            limits.documents_written,
            WRITE_HINT,
        )?;
        check(
            "TooManyBytesWritten",
            "bytes written",
            bytes_written,
            limits.bytes_written,
            WRITE_HINT,
        )?;
        self.documents_written = documents_written;
        self.bytes_written = bytes_written;
        Ok(())
    }
}

const READ_HINT: &str =
    "Read less at once: use an index with a narrower range, `.take(n)` or pagination.";
const WRITE_HINT: &str = "Split the work over several mutations.";

fn check(code: &'static str, what: &str, used: usize, limit: usize, hint: &str) -> Result<()> {
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
        let mut count = |bytes| usage.count_scheduled(bytes, &Usage::MAX);
        count(SCHEDULED_ARGS_BYTES_MAX - 1).unwrap();
        count(1).unwrap();
        let error = count(1).unwrap_err();
        assert_eq!(error.code, "ScheduledFunctionsArgumentsTooLarge");
        for _ in 2..FUNCTIONS_SCHEDULED_MAX {
            count(0).unwrap();
        }
        let error = count(0).unwrap_err();
        assert_eq!(error.code, "TooManyFunctionsScheduled");
    }

    #[test]
    fn what_is_refused_is_not_written() {
        let mut usage = Usage::default();
        usage.count_write(BYTES_WRITTEN_MAX, &Usage::MAX).unwrap();
        let full = usage;
        let error = usage.count_write(1, &Usage::MAX).unwrap_err();
        assert_eq!(error.code, "TooManyBytesWritten");
        assert_eq!(usage, full);
        for _ in 1..DOCUMENTS_WRITTEN_MAX {
            usage.count_write(0, &Usage::MAX).unwrap();
        }
        let error = usage.count_write(0, &Usage::MAX).unwrap_err();
        assert_eq!(error.code, "TooManyWrites");
    }

    /// Every count has a name, and is found by it.
    #[test]
    fn names_lead_to_counts() {
        for (name, limit) in Usage::MAX.by_name() {
            let mut limits = Usage::MAX;
            assert_eq!(limits.get_mut(name).copied(), Some(limit), "{name}");
            let narrow = Usage::MAX.narrowed(Usage::default(), &[(name, 3)]);
            for (other, limit) in narrow.by_name() {
                let mut whole = Usage::MAX;
                let whole = *whole.get_mut(other).unwrap();
                assert_eq!(limit, if other == name { 3 } else { whole });
            }
        }
        assert!(Usage::default().get_mut("filesRead").is_none());
    }

    #[test]
    fn a_nested_limit_counts_from_what_is_used_and_never_widens() {
        let used = Usage {
            documents_read: 100,
            ..Usage::default()
        };
        let outer = Usage::MAX.narrowed(used, &[("documentsRead", 50)]);
        assert_eq!(outer.documents_read, 150);
        let inner = outer.narrowed(used, &[("documentsRead", usize::MAX)]);
        assert_eq!(inner, outer);
    }
}
