//! How function calls ended, in the form in which connections tell it.

use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::engine::Failure;
use crate::heap::piece;
use crate::request_id::RequestId;
use crate::timestamp::Timestamp;

/// A failed function. Not an [`Error`](crate::Error): the connection is fine and the client is told.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionError {
    /// Leads from a report to the log.
    pub request_id: RequestId,
    /// The exception and its stack as [`crate::engine::Failure`] displays it; `None` when errors are hidden from
    /// clients.
    pub printed: Option<String>,
    /// Data of a `ConvexError`, encoded JSON. `Some(null)` is one whose data is null.
    pub data: Option<Json>,
}

impl FunctionError {
    /// What clients are told of a failure. `redacted`: without the text of the exception.
    pub fn new(request_id: RequestId, failure: &Failure, redacted: bool) -> Self {
        Self {
            request_id,
            printed: (!redacted).then(|| failure.to_string()),
            data: failure.data.clone(),
        }
    }

    /// The text that clients get.
    pub fn text(&self) -> String {
        self.request_id.error_text(self.printed.as_deref())
    }
}

/// How a mutation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct MutationOutcome {
    /// What it returned and when it committed, or why it changed nothing.
    pub result: Result<Committed, FunctionError>,
    /// Lines of the form `[LEVEL] text`.
    pub log_lines: Arc<[String]>,
}

/// A mutation that committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The returned value, encoded JSON.
    pub value: Arc<str>,
    /// The commit's timestamp. Of a mutation that wrote nothing, its snapshot; of one that was sent before and had
    /// committed then, the timestamp of that time.
    pub ts: Timestamp,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionOutcome {
    /// The returned value, encoded JSON, or why there is none.
    pub result: Result<Arc<str>, FunctionError>,
    /// Lines of the form `[LEVEL] text`.
    pub log_lines: Arc<[String]>,
}

/// How a query ended, rendered once for however many clients watch it: telling one of them costs a copy of the text.
#[derive(Clone, Debug)]
pub struct QueryOutcome {
    /// The type of the modification that tells it.
    kind: &'static str,
    /// The modification's other members, closing brace included.
    members: Box<str>,
    journal: Option<Arc<str>>,
    fingerprint: Fingerprint,
}

/// Equal for outcomes that a client need not be told apart.
pub(super) type Fingerprint = [u8; 32];

impl QueryOutcome {
    /// A query that returned `value` (encoded JSON). `log_lines` have the form `[LEVEL] text`; `journal` is what the
    /// run gave to be passed to the next run, if anything.
    pub fn success(value: &str, log_lines: &[String], journal: Option<&str>) -> Self {
        let rest = render_rest(log_lines, journal);
        let members = format!(r#""value":{value},{rest}}}"#);
        Self {
            kind: "QueryUpdated",
            fingerprint: fingerprint("QueryUpdated", &members),
            members: members.into(),
            journal: journal.map(Arc::from),
        }
    }

    /// A query that failed. That, too, is a result: it stays until something that the query read changes.
    pub fn failure(error: &FunctionError, log_lines: &[String], journal: Option<&str>) -> Self {
        let rest = render_rest(log_lines, journal);
        let data = match &error.data {
            Some(data) => format!(r#","errorData":{data}"#),
            None => String::new(),
        };
        // Each run has its own request id, so the fingerprint is taken without it.
        let printed = quote(error.printed.as_deref().unwrap_or_default());
        let anonymous = format!(r#""errorMessage":{printed},{rest}{data}}}"#);
        let members = format!(r#""errorMessage":{},{rest}{data}}}"#, quote(&error.text()));
        Self {
            kind: "QueryFailed",
            fingerprint: fingerprint("QueryFailed", &anonymous),
            members: members.into(),
            journal: journal.map(Arc::from),
        }
    }

    /// What it holds in memory, bytes.
    pub(crate) fn heap_bytes(&self) -> usize {
        let journal = self.journal.as_ref().map_or(0, |journal| journal.len());
        piece(self.members.len()) + piece(journal)
    }

    /// What to pass to the next run of the query.
    pub fn journal(&self) -> Option<&Arc<str>> {
        self.journal.as_ref()
    }

    pub(super) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The length of [`kind`](Self::kind) and [`members`](Self::members), to allocate once.
    pub(super) fn rendered_bytes(&self) -> usize {
        self.kind.len() + self.members.len()
    }

    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(super) fn members(&self) -> &str {
        &self.members
    }
}

fn render_rest(log_lines: &[String], journal: Option<&str>) -> String {
    let journal = journal.map_or_else(|| "null".to_owned(), quote);
    format!(r#""logLines":{},"journal":{journal}"#, quote_all(log_lines))
}

fn fingerprint(kind: &str, members: &str) -> Fingerprint {
    let hash = Sha256::new().chain_update(kind).chain_update(members);
    hash.finalize().into()
}

/// `text` as a JSON string.
pub(super) fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("every string has a JSON form")
}

/// `texts` as a JSON array of strings.
pub(super) fn quote_all(texts: &[String]) -> String {
    serde_json::to_string(texts).expect("every list of strings has a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error(id: u8, printed: &str, data: Option<Json>) -> FunctionError {
        FunctionError {
            request_id: RequestId::from_bytes([id; 8]),
            printed: Some(printed.to_owned()),
            data,
        }
    }

    #[test]
    fn fingerprints_tell_apart_what_a_client_can_see() {
        let logs = ["[LOG] 'x'".to_owned()];
        let distinct = [
            QueryOutcome::success("1.0", &[], None),
            QueryOutcome::success("2.0", &[], None),
            QueryOutcome::success("1.0", &logs, None),
            QueryOutcome::success("1.0", &[], Some("j")),
            QueryOutcome::success("1.0", &[], Some("null")),
            QueryOutcome::failure(&error(1, "a", None), &[], None),
            QueryOutcome::failure(&error(1, "b", None), &[], None),
            QueryOutcome::failure(&error(1, "a", Some(json!(null))), &[], None),
            QueryOutcome::failure(&error(1, "a", None), &logs, None),
        ];
        for (i, a) in distinct.iter().enumerate() {
            for b in &distinct[..i] {
                assert_ne!(a.fingerprint(), b.fingerprint());
            }
        }
    }

    #[test]
    fn the_request_id_is_shown_but_does_not_count() {
        let first = QueryOutcome::failure(&error(1, "Uncaught Error: no\n", None), &[], None);
        let second = QueryOutcome::failure(&error(2, "Uncaught Error: no\n", None), &[], None);
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert!(first.members().contains("[Request ID: 0101010101010101]"));
        assert!(second.members().contains("[Request ID: 0202020202020202]"));
    }
}
