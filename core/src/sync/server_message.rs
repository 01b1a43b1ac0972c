//! What the server says.
//!
//! Messages are written as text directly, because results are encoded JSON already and may be large: they are copied
//! into place, never parsed. [`ServerMessage`] is the reading side, for clients in simulations and tests.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::outcome::{
    ActionOutcome, FunctionError, MutationOutcome, QueryOutcome, quote, quote_all,
};
use super::{QueryId, RequestNumber};
use crate::timestamp::Timestamp;

/// What a client's view of its queries corresponds to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StateVersion {
    /// Version of the query set.
    pub query_set: u32,
    /// Version of the identity.
    pub identity: u32,
    /// The snapshot that all results belong to.
    pub ts: Timestamp,
}

/// A change of one query's result within a transition, to be written.
#[derive(Clone, Debug)]
pub(super) enum Modification {
    Result(QueryId, Arc<QueryOutcome>),
    Removed(QueryId),
}

/// The message without members that keeps clients from giving up on a quiet connection.
pub(super) const PING: &str = r#"{"type":"Ping"}"#;

/// Writes a `Transition`. `clock` is the client's clock skew (ms) and the server's time (ns): clients need both or
/// neither.
pub(super) fn transition(
    start: StateVersion,
    end: StateVersion,
    modifications: &[Modification],
    clock: Option<(i64, Timestamp)>,
) -> String {
    let bytes: usize = modifications
        .iter()
        .map(|modification| match modification {
            Modification::Result(_, outcome) => outcome.rendered_bytes() + 40,
            Modification::Removed(_) => 50,
        })
        .sum();
    let mut text = String::with_capacity(bytes + 320);
    text.push_str(r#"{"type":"Transition","startVersion":"#);
    text.push_str(&render_version(start));
    text.push_str(r#","endVersion":"#);
    text.push_str(&render_version(end));
    text.push_str(r#","modifications":["#);
    for (i, modification) in modifications.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        match modification {
            Modification::Result(id, outcome) => {
                let kind = outcome.kind();
                text.push_str(&format!(r#"{{"type":"{kind}","queryId":{id},"#));
                text.push_str(outcome.members());
            }
            Modification::Removed(id) => {
                text.push_str(&format!(r#"{{"type":"QueryRemoved","queryId":{id}}}"#));
            }
        }
    }
    text.push(']');
    if let Some((skew, now)) = clock {
        text.push_str(&format!(
            r#","clientClockSkew":{skew},"serverTs":{}"#,
            now.0
        ));
    }
    text.push('}');
    text
}

fn render_version(version: StateVersion) -> String {
    format!(
        r#"{{"querySet":{},"identity":{},"ts":"{}"}}"#,
        version.query_set,
        version.identity,
        version.ts.to_wire()
    )
}

/// Writes a `MutationResponse`.
pub(super) fn mutation_response(request: RequestNumber, outcome: &MutationOutcome) -> String {
    let (result, ts) = match &outcome.result {
        Ok(committed) => (
            Ok(&*committed.value),
            format!(r#","ts":"{}""#, committed.ts.to_wire()),
        ),
        Err(error) => (Err(error), r#","ts":null"#.to_owned()),
    };
    response("MutationResponse", request, result, &ts, &outcome.log_lines)
}

/// Writes an `ActionResponse`.
pub(super) fn action_response(request: RequestNumber, outcome: &ActionOutcome) -> String {
    let result = outcome.result.as_ref().map(|value| &**value);
    response("ActionResponse", request, result, "", &outcome.log_lines)
}

fn response(
    kind: &str,
    request: RequestNumber,
    result: Result<&str, &FunctionError>,
    ts: &str,
    log_lines: &[String],
) -> String {
    let log_lines = quote_all(log_lines);
    let head = format!(r#"{{"type":"{kind}","requestId":{request},"success""#);
    match result {
        Ok(value) => format!(r#"{head}:true,"result":{value}{ts},"logLines":{log_lines}}}"#),
        Err(error) => {
            let data = match &error.data {
                Some(data) => format!(r#","errorData":{data}"#),
                None => String::new(),
            };
            let text = quote(&error.text());
            format!(r#"{head}:false,"result":{text}{ts},"logLines":{log_lines}{data}}}"#)
        }
    }
}

/// Writes an `AuthError`. `base_version` is the identity version before the attempt that failed, or the present one
/// if it was no attempt (`attempted` is false) but the identity in force that turned out to be invalid.
pub(super) fn auth_error(error: &str, base_version: u32, attempted: bool) -> String {
    format!(
        r#"{{"type":"AuthError","error":{},"baseVersion":{base_version},"authUpdateAttempted":{attempted}}}"#,
        quote(error)
    )
}

/// Writes a `FatalError`, after which the npm client never connects again: for defects of clients only.
pub(super) fn fatal_error(error: &str) -> String {
    format!(r#"{{"type":"FatalError","error":{}}}"#, quote(error))
}

/// One message from the server, as a client reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum ServerMessage {
    /// Takes the client's view of all its queries from one version to another.
    Transition {
        /// The view that it applies to.
        start_version: StateVersion,
        /// The view that results.
        end_version: StateVersion,
        /// Results that differ between the two.
        modifications: Vec<StateModification>,
        /// How far the client's clock is ahead, milliseconds.
        client_clock_skew: Option<i64>,
        /// When it was sent, nanoseconds since the Unix epoch.
        server_ts: Option<u64>,
    },
    /// A piece of a large transition's text.
    TransitionChunk {
        /// The piece.
        chunk: String,
        /// Its place, from 0.
        part_number: u32,
        /// How many pieces there are.
        total_parts: u32,
        /// Which transition it is a piece of.
        transition_id: String,
    },
    /// A mutation ended.
    MutationResponse {
        /// Which one.
        request_id: RequestNumber,
        /// Whether it committed.
        success: bool,
        /// The value, or a text.
        result: Json,
        /// When it committed.
        ts: Option<Timestamp>,
        /// What it printed.
        log_lines: Vec<String>,
        /// Data of a `ConvexError`: `Some(null)` when that is null.
        #[serde(default, deserialize_with = "present")]
        error_data: Option<Json>,
    },
    /// An action ended.
    ActionResponse {
        /// Which one.
        request_id: RequestNumber,
        /// Whether it returned.
        success: bool,
        /// The value, or a text.
        result: Json,
        /// What it printed.
        log_lines: Vec<String>,
        /// Data of a `ConvexError`: `Some(null)` when that is null.
        #[serde(default, deserialize_with = "present")]
        error_data: Option<Json>,
    },
    /// Credentials are refused; the connection ends.
    AuthError {
        /// Why.
        error: String,
        /// The identity version that they would have replaced.
        base_version: u32,
        /// Whether it answers an `Authenticate`.
        auth_update_attempted: bool,
    },
    /// The client is defective; the connection ends for good.
    FatalError {
        /// Why.
        error: String,
    },
    /// A sign of life.
    Ping,
}

/// A change of one query's result within a transition, as a client reads it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum StateModification {
    /// It returned a value.
    QueryUpdated {
        /// Which query.
        query_id: QueryId,
        /// The value, encoded JSON.
        value: Json,
        /// What it printed.
        log_lines: Vec<String>,
        /// What to send along when subscribing again.
        journal: Option<String>,
    },
    /// It failed.
    QueryFailed {
        /// Which query.
        query_id: QueryId,
        /// A text.
        error_message: String,
        /// What it printed.
        log_lines: Vec<String>,
        /// What to send along when subscribing again.
        journal: Option<String>,
        /// Data of a `ConvexError`: `Some(null)` when that is null.
        #[serde(default, deserialize_with = "present")]
        error_data: Option<Json>,
    },
    /// It is watched no longer.
    QueryRemoved {
        /// Which query.
        query_id: QueryId,
    },
}

/// Tells a null member from a missing one.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_id::RequestId;
    use serde_json::json;

    fn parsed(text: &str) -> Json {
        serde_json::from_str(text).unwrap()
    }

    fn convex_error(data: Option<Json>) -> FunctionError {
        FunctionError {
            request_id: RequestId::chosen("5e1c0d9a7b3f2446"),
            printed: Some("Uncaught ConvexError: closed\n".into()),
            data,
        }
    }

    #[test]
    fn transition_has_the_documented_form() {
        let start = StateVersion {
            query_set: 1,
            identity: 0,
            ts: Timestamp(1000),
        };
        let end = StateVersion {
            query_set: 2,
            identity: 0,
            ts: Timestamp(1795219660906000000),
        };
        let updated = QueryOutcome::success(
            r#"{"items":["x"],"n":2.0}"#,
            &["[LOG] 'listing'".into()],
            None,
        );
        let failed = QueryOutcome::failure(
            &convex_error(Some(json!({"code": "CLOSED"}))),
            &[],
            Some("j\""),
        );
        let modifications = [
            Modification::Result(3, Arc::new(updated)),
            Modification::Result(4, Arc::new(failed)),
            Modification::Removed(1),
        ];
        let clock = Some((-3, Timestamp(1795219660906000000)));
        let text = transition(start, end, &modifications, clock);
        assert_eq!(
            parsed(&text),
            json!({"type":"Transition",
             "startVersion":{"querySet":1,"identity":0,"ts":"6AMAAAAAAAA="},
             "endVersion":{"querySet":2,"identity":0,"ts":"gG4ZJsXm6Rg="},
             "modifications":[
              {"type":"QueryUpdated","queryId":3,"value":{"items":["x"],"n":2.0},"logLines":["[LOG] 'listing'"],"journal":null},
              {"type":"QueryFailed","queryId":4,"errorMessage":"[Request ID: 5e1c0d9a7b3f2446] Server Error\nUncaught ConvexError: closed\n","logLines":[],"journal":"j\"","errorData":{"code":"CLOSED"}},
              {"type":"QueryRemoved","queryId":1}],
             "clientClockSkew":-3,"serverTs":1795219660906000000u64})
        );
        assert!(text.contains(r#""n":2.0"#), "raw text is copied: {text}");
    }

    #[test]
    fn clock_fields_are_left_out_together() {
        let version = StateVersion::default();
        let text = transition(version, version, &[], None);
        assert_eq!(
            text,
            r#"{"type":"Transition","startVersion":{"querySet":0,"identity":0,"ts":"AAAAAAAAAAA="},"endVersion":{"querySet":0,"identity":0,"ts":"AAAAAAAAAAA="},"modifications":[]}"#
        );
    }

    #[test]
    fn responses_have_the_documented_form() {
        let success = MutationOutcome {
            result: Ok(super::super::Committed {
                value: "null".into(),
                ts: Timestamp(1795219660906000000),
            }),
            log_lines: [].into(),
        };
        assert_eq!(
            parsed(&mutation_response(7, &success)),
            json!({"type":"MutationResponse","requestId":7,"success":true,"result":null,"ts":"gG4ZJsXm6Rg=","logLines":[]})
        );
        let failure = MutationOutcome {
            result: Err(convex_error(Some(json!("room is full")))),
            log_lines: ["[WARN] 'full'".to_owned()].into(),
        };
        assert_eq!(
            parsed(&mutation_response(9, &failure)),
            json!({"type":"MutationResponse","requestId":9,"success":false,"result":"[Request ID: 5e1c0d9a7b3f2446] Server Error\nUncaught ConvexError: closed\n","ts":null,"logLines":["[WARN] 'full'"],"errorData":"room is full"})
        );
        let action = ActionOutcome {
            result: Ok(r#"{"summary":"ok"}"#.into()),
            log_lines: [].into(),
        };
        assert_eq!(
            parsed(&action_response(8, &action)),
            json!({"type":"ActionResponse","requestId":8,"success":true,"result":{"summary":"ok"},"logLines":[]})
        );
    }

    #[test]
    fn error_data_is_present_exactly_for_convex_errors() {
        for (data, key) in [(None, false), (Some(Json::Null), true)] {
            let outcome = ActionOutcome {
                result: Err(convex_error(data.clone())),
                log_lines: [].into(),
            };
            let text = action_response(1, &outcome);
            assert_eq!(parsed(&text).get("errorData").is_some(), key);
            let ServerMessage::ActionResponse { error_data, .. } =
                serde_json::from_str(&text).unwrap()
            else {
                panic!()
            };
            assert_eq!(error_data, data);
        }
    }

    #[test]
    fn errors_and_ping_have_the_documented_form() {
        assert_eq!(
            auth_error("token \"expired\"", 0, true),
            r#"{"type":"AuthError","error":"token \"expired\"","baseVersion":0,"authUpdateAttempted":true}"#
        );
        assert_eq!(
            fatal_error("base version 4 does not match 3"),
            r#"{"type":"FatalError","error":"base version 4 does not match 3"}"#
        );
        assert_eq!(
            serde_json::from_str::<ServerMessage>(PING).unwrap(),
            ServerMessage::Ping
        );
    }
}
