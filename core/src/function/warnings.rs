//! What a function is told when a call of it came near a limit: the next one may not be so lucky.

use std::time::Duration;

use super::VALUE_BYTES_MAX;
use crate::engine::{FunctionKind, LogLine};
use crate::timestamp::Timestamp;
use crate::transaction::Usage;
use crate::value::{DocumentId, MAX_DOCUMENT_SIZE};

/// Index ranges from which on there is a warning; all else is warned of at four fifths of its limit.
pub const RANGES_READ_WARNING: usize = 3072;

/// What a call used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// What its transaction counts.
    pub usage: Usage,
    /// The largest document that it wrote, and its size in bytes.
    pub largest_write: Option<(DocumentId, usize)>,
    /// Bytes of its arguments.
    pub args: usize,
    /// Bytes of its result, if it has one.
    pub result: Option<usize>,
    /// Time in JavaScript.
    pub cpu: Duration,
}

/// One warning for each limit that a query or mutation came near. Those that it ran into have an error of their own.
pub fn warnings(kind: FunctionKind, spent: Spent, now: Timestamp) -> Vec<LogLine> {
    let (used, max) = (spent.usage, Usage::MAX);
    let read = " Consider to read less at once: use an index with a narrower range, `.take(n)` or pagination.";
    let mut lines = Vec::new();
    let mut warn = |code, what: &str, used: usize, from: usize, max: usize, unit, hint| {
        if (from..=max).contains(&used) {
            let text = format!("{what} (actual: {used}{unit}, limit: {max}{unit}).{hint}");
            lines.push(LogLine::system(code, now, text));
        }
    };
    let near = |max: usize| max - max / 5;
    let mut of_limit = |code, what: &str, used, max, unit, hint| {
        warn(code, what, used, near(max), max, unit, hint);
    };
    of_limit(
        "TooLargeFunctionArguments",
        "Large size of the function arguments",
        spent.args,
        VALUE_BYTES_MAX,
        " bytes",
        "",
    );
    of_limit(
        "TooManyDocumentsRead",
        "Many documents read in a single function execution",
        used.documents_read,
        max.documents_read,
        "",
        read,
    );
    of_limit(
        "TooManyBytesRead",
        "Many bytes read in a single function execution",
        used.bytes_read,
        max.bytes_read,
        " bytes",
        read,
    );
    of_limit(
        "TooManyWrites",
        "Many writes in a single function execution",
        used.documents_written,
        max.documents_written,
        "",
        "",
    );
    of_limit(
        "TooManyBytesWritten",
        "Many bytes written in a single function execution",
        used.bytes_written,
        max.bytes_written,
        " bytes",
        "",
    );
    of_limit(
        "TooManyFunctionsScheduled",
        "Many functions scheduled by this mutation",
        used.functions_scheduled,
        max.functions_scheduled,
        "",
        "",
    );
    of_limit(
        "ScheduledFunctionsArgumentsTooLarge",
        "Large total size of the arguments of scheduled functions from this mutation",
        used.scheduled_args_bytes,
        max.scheduled_args_bytes,
        " bytes",
        "",
    );
    if let Some((id, size)) = spent.largest_write {
        let what = format!("Large document written with ID \"{id}\"");
        of_limit(
            "ValueTooLargeError",
            &what,
            size,
            MAX_DOCUMENT_SIZE,
            " bytes",
            "",
        );
    }
    of_limit(
        "TooLargeFunctionResult",
        "Large size of the function return value",
        spent.result.unwrap_or(0),
        VALUE_BYTES_MAX,
        " bytes",
        "",
    );
    warn(
        "TooManyReads",
        "Many index ranges read in a single function execution",
        used.ranges_read,
        RANGES_READ_WARNING,
        max.ranges_read,
        "",
        read,
    );
    let most = super::limits(kind).cpu;
    if (most * 4 / 5..=most).contains(&spent.cpu) {
        let text = format!(
            "Function execution took a long time (actual: {}ms, limit: {}ms).",
            spent.cpu.as_millis(),
            most.as_millis()
        );
        lines.push(LogLine::system("UserTimeout", now, text));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{InternalId, TableNumber};

    fn codes(spent: Spent) -> Vec<String> {
        let lines = warnings(FunctionKind::Mutation, spent, Timestamp(1));
        let codes = lines.into_iter().map(|line| line.system_code.unwrap());
        codes.collect()
    }

    /// Nothing just below four fifths, one warning from there up to the limit, and nothing beyond.
    fn assert_edges(code: &str, from: usize, max: usize, spend: impl Fn(usize) -> Spent) {
        for (used, expected) in [
            (from - 1, vec![]),
            (from, vec![code]),
            (max, vec![code]),
            (max + 1, vec![]),
        ] {
            assert_eq!(codes(spend(used)), expected, "{used} of {max}");
        }
    }

    #[test]
    fn each_limit_is_warned_of_near_it_and_no_other() {
        for (name, code) in [
            ("bytesRead", "TooManyBytesRead"),
            ("bytesWritten", "TooManyBytesWritten"),
            ("databaseQueries", "TooManyReads"),
            ("documentsRead", "TooManyDocumentsRead"),
            ("documentsWritten", "TooManyWrites"),
            ("functionsScheduled", "TooManyFunctionsScheduled"),
            (
                "scheduledFunctionArgsBytes",
                "ScheduledFunctionsArgumentsTooLarge",
            ),
        ] {
            let max = *Usage::MAX.clone().get_mut(name).unwrap();
            let from = match name {
                "databaseQueries" => 3072,
                _ => (max * 4).div_ceil(5),
            };
            assert_edges(code, from, max, |used| {
                let mut spent = Spent::default();
                *spent.usage.get_mut(name).unwrap() = used;
                spent
            });
        }
        let from = (VALUE_BYTES_MAX * 4).div_ceil(5);
        assert_edges("TooLargeFunctionArguments", from, VALUE_BYTES_MAX, |args| {
            Spent {
                args,
                ..Spent::default()
            }
        });
        assert_edges("TooLargeFunctionResult", from, VALUE_BYTES_MAX, |result| {
            Spent {
                result: Some(result),
                ..Spent::default()
            }
        });
        let id = DocumentId {
            table: TableNumber::new(10_001).unwrap(),
            internal: InternalId([0; 16]),
        };
        let from = (MAX_DOCUMENT_SIZE * 4).div_ceil(5);
        assert_edges("ValueTooLargeError", from, MAX_DOCUMENT_SIZE, |size| {
            Spent {
                largest_write: Some((id, size)),
                ..Spent::default()
            }
        });
        assert_edges("UserTimeout", 800, 1000, |ms| Spent {
            cpu: Duration::from_millis(ms as u64),
            ..Spent::default()
        });
    }
}
