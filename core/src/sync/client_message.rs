//! What clients say.
//!
//! Parsing is tolerant: unknown fields are ignored, old clients may leave out what they do not know. Arguments stay
//! the text they came in, since whoever runs the function parses them anyway.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Expected, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::{QueryId, RequestNumber};
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;

/// Most changes of a query set in one message: more than twice as many as there may be queries.
const MODIFICATIONS_MAX: usize = 50_000;
/// Longest message with credentials, bytes.
const CREDENTIALS_BYTES_MAX: usize = 1 << 20;

/// One message from a client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    /// Introduces the client; usually the first message.
    Connect(Connect),
    /// Changes which queries the client watches.
    ModifyQuerySet(ModifyQuerySet),
    /// Asks for a mutation.
    Mutation(Call),
    /// Asks for an action.
    Action(Call),
    /// Changes who the client is.
    Authenticate(Authenticate),
    /// Telemetry, ignored whatever it holds.
    Event,
}

/// See [`ClientMessage::Connect`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    /// A UUID; together with request numbers it makes mutations idempotent.
    pub session_id: String,
    /// How often this client has connected before.
    #[serde(default)]
    pub connection_count: u32,
    /// Why its last connection ended; diagnostic only.
    #[serde(default)]
    pub last_close_reason: Option<String>,
    /// The newest timestamp that the client has seen.
    #[serde(default)]
    pub max_observed_timestamp: Option<Timestamp>,
    /// The client's clock, milliseconds since the Unix epoch. Possibly far off and possibly fractional.
    #[serde(default)]
    pub client_ts: Option<f64>,
}

/// See [`ClientMessage::ModifyQuerySet`].
#[derive(Clone, Debug, PartialEq)]
pub struct ModifyQuerySet {
    /// The version that this changes.
    pub base_version: u32,
    /// The version that results, above `base_version`.
    pub new_version: u32,
    /// What changes, in order.
    pub modifications: Vec<QuerySetModification>,
}

/// One change of a query set.
#[derive(Clone, Debug, PartialEq)]
pub enum QuerySetModification {
    /// Watch a query.
    Add(AddQuery),
    /// Watch it no longer.
    Remove(QueryId),
}

/// A query to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct AddQuery {
    /// The client's name for it.
    pub query_id: QueryId,
    /// Function path, such as `chat:list`.
    pub udf_path: String,
    /// JSON array of arguments, encoded JSON.
    pub args: Arc<str>,
    /// What an earlier run of the same query returned as its journal.
    pub journal: Option<String>,
    /// Component that holds the function; `None` for the app itself.
    pub component_path: Option<String>,
}

/// A mutation or an action to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The client's number for it.
    pub request_id: RequestNumber,
    /// Function path, such as `chat:send`.
    pub udf_path: String,
    /// JSON array of arguments, encoded JSON.
    pub args: Arc<str>,
    /// Component that holds the function; `None` for the app itself.
    pub component_path: Option<String>,
}

/// See [`ClientMessage::Authenticate`].
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticate {
    /// How many of these came before on this connection.
    pub base_version: u32,
    /// Who the client claims to be.
    pub token: AuthenticationToken,
}

/// Credentials as sent, unverified.
#[derive(Clone, PartialEq)]
pub enum AuthenticationToken {
    /// A JSON Web Token.
    User(String),
    /// An admin key, and the identity to act as, as sent.
    Admin(String, Option<Json>),
    /// Nobody.
    None,
}

impl std::fmt::Debug for AuthenticationToken {
    /// Without the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AuthenticationToken::User(_) => "User(..)",
            AuthenticationToken::Admin(..) => "Admin(..)",
            AuthenticationToken::None => "None",
        })
    }
}

impl ClientMessage {
    /// Parses one text message. Fails with the bad-request code `WSMessageInvalidJson`.
    pub fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Tag<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
        }
        let tag: Tag<'_> = serde_json::from_str(text).map_err(invalid)?;
        Ok(match &*tag.kind {
            "Connect" => Self::Connect(body::<Connect>(text)?.checked()?),
            "ModifyQuerySet" => Self::ModifyQuerySet(body::<RawModifyQuerySet>(text)?.checked()?),
            "Mutation" => Self::Mutation(body::<RawCall>(text)?.checked()?),
            "Action" => Self::Action(body::<RawCall>(text)?.checked()?),
            "Authenticate" if text.len() > CREDENTIALS_BYTES_MAX => {
                return Err(invalid(format_args!(
                    "credentials of more than {CREDENTIALS_BYTES_MAX} bytes"
                )));
            }
            "Authenticate" => Self::Authenticate(body::<RawAuthenticate>(text)?.checked()?),
            "Event" => Self::Event,
            other => return Err(invalid(format_args!("unknown message type `{other}`"))),
        })
    }
}

fn invalid(reason: impl std::fmt::Display) -> Error {
    Error::bad_request(
        "WSMessageInvalidJson",
        format!("not a message of the sync protocol: {reason}"),
    )
}

fn body<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(invalid)
}

impl Connect {
    fn checked(self) -> Result<Self> {
        let id = self.session_id.as_bytes();
        let is_uuid = id.len() == 36
            && id.iter().enumerate().all(|(i, byte)| match i {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        if !is_uuid {
            return Err(invalid("`sessionId` is not a UUID"));
        }
        Ok(Self {
            session_id: self.session_id.to_ascii_lowercase(),
            ..self
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawModifyQuerySet {
    base_version: u32,
    new_version: u32,
    #[serde(deserialize_with = "modifications")]
    modifications: Vec<RawModification>,
}

impl RawModifyQuerySet {
    fn checked(self) -> Result<ModifyQuerySet> {
        Ok(ModifyQuerySet {
            base_version: self.base_version,
            new_version: self.new_version,
            modifications: self
                .modifications
                .into_iter()
                .map(RawModification::checked)
                .collect::<Result<_>>()?,
        })
    }
}

/// At most [`MODIFICATIONS_MAX`], noticed before all of them are in memory.
fn modifications<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<RawModification>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<RawModification>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MODIFICATIONS_MAX} modifications")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut modifications = Vec::new();
            while let Some(modification) = list.next_element()? {
                if modifications.len() == MODIFICATIONS_MAX {
                    return Err(A::Error::custom(format_args!(
                        "not {}",
                        &self as &dyn Expected
                    )));
                }
                modifications.push(modification);
            }
            Ok(modifications)
        }
    }
    from.deserialize_seq(Few)
}

/// Flat, because serde cannot keep raw JSON inside a tagged enum.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawModification {
    #[serde(rename = "type")]
    kind: String,
    query_id: QueryId,
    udf_path: Option<String>,
    args: Option<Box<RawValue>>,
    #[serde(default)]
    journal: Option<String>,
    #[serde(default)]
    component_path: Option<String>,
}

impl RawModification {
    fn checked(self) -> Result<QuerySetModification> {
        match &*self.kind {
            "Add" => Ok(QuerySetModification::Add(AddQuery {
                query_id: self.query_id,
                udf_path: self
                    .udf_path
                    .ok_or_else(|| invalid("`Add` without `udfPath`"))?,
                args: checked_args(&self.args.ok_or_else(|| invalid("`Add` without `args`"))?)?,
                journal: self.journal,
                component_path: checked_component(self.component_path),
            })),
            "Remove" => Ok(QuerySetModification::Remove(self.query_id)),
            other => Err(invalid(format_args!("unknown modification `{other}`"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawCall {
    request_id: RequestNumber,
    udf_path: String,
    args: Box<RawValue>,
    #[serde(default)]
    component_path: Option<String>,
}

impl RawCall {
    fn checked(self) -> Result<Call> {
        Ok(Call {
            request_id: self.request_id,
            udf_path: self.udf_path,
            args: checked_args(&self.args)?,
            component_path: checked_component(self.component_path),
        })
    }
}

fn checked_args(args: &RawValue) -> Result<Arc<str>> {
    if !args.get().starts_with('[') {
        return Err(invalid("`args` is not an array"));
    }
    Ok(args.get().into())
}

/// The empty path is the app itself.
fn checked_component(path: Option<String>) -> Option<String> {
    path.filter(|path| !path.is_empty())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthenticate {
    base_version: u32,
    token_type: String,
    #[serde(default)]
    value: Option<String>,
    /// The name that the npm client uses.
    #[serde(default)]
    impersonating: Option<Json>,
    /// The name that the Rust and Python clients use.
    #[serde(default, rename = "acting_as")]
    acting_as: Option<Json>,
}

impl RawAuthenticate {
    fn checked(self) -> Result<Authenticate> {
        let value =
            |value: Option<String>| value.ok_or_else(|| invalid("`Authenticate` without `value`"));
        let token = match &*self.token_type {
            "User" => AuthenticationToken::User(value(self.value)?),
            "Admin" => AuthenticationToken::Admin(
                value(self.value)?,
                self.impersonating.or(self.acting_as),
            ),
            "None" => AuthenticationToken::None,
            other => return Err(invalid(format_args!("unknown token type `{other}`"))),
        };
        Ok(Authenticate {
            base_version: self.base_version,
            token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(text: &str) -> ClientMessage {
        ClientMessage::parse(text).unwrap()
    }

    #[test]
    fn connect() {
        let full = r#"{"type":"Connect","sessionId":"3F8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91","connectionCount":2,"lastCloseReason":"InternalServerError","maxObservedTimestamp":"6AMAAAAAAAA=","clientTs":1795219701622,"new":[{}]}"#;
        let ClientMessage::Connect(connect) = parse(full) else {
            panic!()
        };
        assert_eq!(connect.session_id, "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91");
        assert_eq!(connect.connection_count, 2);
        assert_eq!(connect.max_observed_timestamp, Some(Timestamp(1000)));
        assert_eq!(connect.client_ts, Some(1795219701622.0));
        let least = r#"{"sessionId":"3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91","type":"Connect"}"#;
        let ClientMessage::Connect(connect) = parse(least) else {
            panic!()
        };
        assert_eq!(connect.max_observed_timestamp, None);
        assert_eq!(connect.client_ts, None);
    }

    #[test]
    fn modify_query_set() {
        let message = parse(
            r#"{"type":"ModifyQuerySet","baseVersion":1,"newVersion":2,"modifications":[
                {"type":"Add","queryId":3,"udfPath":"chat:list","args":[{"room":"a","after":{"$integer":"KgAAAAAAAAA="}}],"journal":null,"componentPath":""},
                {"type":"Add","queryId":4,"udfPath":"a:b","args":[1, {}],"journal":"j","componentPath":"c/d"},
                {"type":"Remove","queryId":1}]}"#,
        );
        assert_eq!(
            message,
            ClientMessage::ModifyQuerySet(ModifyQuerySet {
                base_version: 1,
                new_version: 2,
                modifications: vec![
                    QuerySetModification::Add(AddQuery {
                        query_id: 3,
                        udf_path: "chat:list".into(),
                        args: r#"[{"room":"a","after":{"$integer":"KgAAAAAAAAA="}}]"#.into(),
                        journal: None,
                        component_path: None,
                    }),
                    QuerySetModification::Add(AddQuery {
                        query_id: 4,
                        udf_path: "a:b".into(),
                        args: "[1, {}]".into(),
                        journal: Some("j".into()),
                        component_path: Some("c/d".into()),
                    }),
                    QuerySetModification::Remove(1),
                ],
            })
        );
    }

    #[test]
    fn calls() {
        let call = |request_id, path: &str| Call {
            request_id,
            udf_path: path.into(),
            args: "[{}]".into(),
            component_path: None,
        };
        assert_eq!(
            parse(r#"{"type":"Mutation","requestId":7,"udfPath":"chat:send","args":[{}]}"#),
            ClientMessage::Mutation(call(7, "chat:send"))
        );
        assert_eq!(
            parse(
                r#"{"type":"Action","requestId":8,"udfPath":"a","args":[{}],"componentPath":null}"#
            ),
            ClientMessage::Action(call(8, "a"))
        );
    }

    #[test]
    fn authenticate_with_either_name_of_the_acting_identity() {
        let token = |text: &str| match parse(text) {
            ClientMessage::Authenticate(authenticate) => authenticate.token,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            token(r#"{"type":"Authenticate","baseVersion":0,"tokenType":"User","value":"ey"}"#),
            AuthenticationToken::User("ey".into())
        );
        for key in ["impersonating", "acting_as"] {
            let text = json!({"type": "Authenticate", "baseVersion": 1, "tokenType": "Admin", "value": "k", key: {"subject": "u"}});
            assert_eq!(
                token(&text.to_string()),
                AuthenticationToken::Admin("k".into(), Some(json!({"subject": "u"})))
            );
        }
        assert_eq!(
            token(r#"{"type":"Authenticate","baseVersion":2,"tokenType":"None"}"#),
            AuthenticationToken::None
        );
    }

    #[test]
    fn events_are_ignored_whatever_they_hold() {
        for text in [
            r#"{"type":"Event","eventType":"ClientConnect","event":[{"name":"webSocketOpen","startTime":249.6}]}"#,
            r#"{"type":"Event","eventType":"Tomorrow","event":null}"#,
            r#"{"type":"Event"}"#,
        ] {
            assert_eq!(parse(text), ClientMessage::Event);
        }
    }

    #[test]
    fn malformed_messages_have_a_code() {
        let deep = format!(
            r#"{{"type":"Authenticate","baseVersion":0,"tokenType":"Admin","value":"k","acting_as":{}}}"#,
            "[".repeat(100_000)
        );
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"Nonsense"}"#,
            r#"{"type":"Connect"}"#,
            r#"{"type":"Connect","sessionId":"me"}"#,
            r#"{"type":"Connect","sessionId":"3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e9x"}"#,
            r#"{"type":"Mutation","requestId":-1,"udfPath":"a","args":[{}]}"#,
            r#"{"type":"Mutation","requestId":4294967296,"udfPath":"a","args":[{}]}"#,
            r#"{"type":"Mutation","requestId":1,"udfPath":"a","args":{}}"#,
            r#"{"type":"Mutation","requestId":1,"args":[{}]}"#,
            r#"{"type":"Authenticate","baseVersion":0,"tokenType":"Robot","value":"x"}"#,
            r#"{"type":"Authenticate","baseVersion":0,"tokenType":"User"}"#,
            r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"Move","queryId":1}]}"#,
            r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"Add","queryId":1}]}"#,
            &deep,
        ] {
            let error = ClientMessage::parse(text).expect_err(&text[..text.len().min(100)]);
            assert_eq!(error.code, "WSMessageInvalidJson");
        }
    }

    #[test]
    fn messages_are_bounded_beside_their_arguments() {
        let modify = |count: usize| {
            let removals = vec![r#"{"type":"Remove","queryId":1}"#; count].join(",");
            let text = format!(
                r#"{{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{removals}]}}"#
            );
            ClientMessage::parse(&text)
        };
        assert!(modify(MODIFICATIONS_MAX).is_ok());
        let error = modify(MODIFICATIONS_MAX + 1).unwrap_err();
        assert!(error.message.contains("at most 50000"), "{error}");
        let authenticate = |bytes: usize| {
            let text = r#"{"type":"Authenticate","baseVersion":0,"tokenType":"None"}"#;
            ClientMessage::parse(&format!("{text}{}", " ".repeat(bytes - text.len())))
        };
        assert!(authenticate(CREDENTIALS_BYTES_MAX).is_ok());
        assert!(authenticate(CREDENTIALS_BYTES_MAX + 1).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[\{\}\[\]":,a-zA-Z0-9\\u. ]{0,80}"#) {
            let _ = ClientMessage::parse(&text);
        }
    }
}
