//! What clients say.
//!
//! Parsing is tolerant: unknown fields are ignored, old clients may leave out what they do not know. Arguments stay
//! the text they came in, since whoever runs the function parses them anyway.
//!
//! Refused is only what breaks the protocol itself, because clients do not come back from that. What is wrong within
//! one request, such as a path that is no text or arguments that nest too deep, is handed on as [`UNREADABLE`] or as it
//! came, and that request fails.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Expected, SeqAccess, Visitor};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::io::request_bytes;
use super::{QueryId, RequestNumber};
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;
use crate::value::well_formed_json;

/// In place of a text that is missing or is none: no path, journal or component is called so.
pub const UNREADABLE: &str = "\u{fffd}";

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

/// See [`ClientMessage::Connect`]. How often the client has connected and why its last connection ended is in the
/// message too, and of no use here.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    /// A UUID; together with request numbers it makes mutations idempotent.
    pub session_id: String,
    /// The newest timestamp that the client has seen.
    pub max_observed_timestamp: Option<Timestamp>,
    /// The client's clock, milliseconds since the Unix epoch. Possibly far off and possibly fractional.
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
    /// Arguments, encoded JSON; an array, unless something is wrong with them.
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
    /// Arguments, encoded JSON; an array, unless something is wrong with them.
    pub args: Arc<str>,
    /// Component that holds the function; `None` for the app itself.
    pub component_path: Option<String>,
}

impl Call {
    /// What it keeps in memory until it begins, about.
    pub(super) fn bytes(&self) -> usize {
        request_bytes(&self.udf_path, &self.args, self.component_path.as_deref())
    }
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
    /// Parses one text message. Halves of surrogate pairs become U+FFFD.
    ///
    /// # Errors
    /// The bad-request code `WSMessageInvalidJson`.
    pub fn parse(text: &str) -> Result<Self> {
        let text = &*well_formed_json(text);
        #[derive(Deserialize)]
        struct Tag<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
        }
        let tag: Tag<'_> = serde_json::from_str(text).map_err(invalid)?;
        Ok(match &*tag.kind {
            "Connect" => Self::Connect(body::<RawConnect>(text)?.checked()?),
            "ModifyQuerySet" => Self::ModifyQuerySet(body::<RawModifyQuerySet>(text)?.checked()?),
            "Mutation" => Self::Mutation(body::<RawCall>(text)?.into()),
            "Action" => Self::Action(body::<RawCall>(text)?.into()),
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

/// Anything: what it is, is looked at only where it is needed.
type Raw = Option<Box<RawValue>>;

/// The text, or [`UNREADABLE`] if it is missing or something else.
fn text(raw: Raw) -> String {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .unwrap_or_else(|| UNREADABLE.to_owned())
}

/// The text, if it is there.
fn optional_text(raw: Raw) -> Option<String> {
    raw.is_some().then(|| text(raw))
}

/// The empty path is the app itself.
fn component(raw: Raw) -> Option<String> {
    optional_text(raw).filter(|path| !path.is_empty())
}

/// Without arguments, null, which no function takes.
fn args(raw: Raw) -> Arc<str> {
    raw.map_or_else(|| "null".into(), |raw| raw.get().into())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConnect {
    session_id: String,
    #[serde(default)]
    max_observed_timestamp: Option<Timestamp>,
    client_ts: Raw,
}

impl RawConnect {
    fn checked(self) -> Result<Connect> {
        let id = self.session_id.as_bytes();
        let is_uuid = id.len() == 36
            && id.iter().enumerate().all(|(i, byte)| match i {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        if !is_uuid {
            return Err(invalid("`sessionId` is not a UUID"));
        }
        let client_ts = self.client_ts.as_deref().map(RawValue::get);
        Ok(Connect {
            session_id: self.session_id.to_ascii_lowercase(),
            max_observed_timestamp: self.max_observed_timestamp,
            client_ts: client_ts.and_then(|number| serde_json::from_str(number).ok()),
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
    udf_path: Raw,
    args: Raw,
    journal: Raw,
    component_path: Raw,
}

impl RawModification {
    fn checked(self) -> Result<QuerySetModification> {
        match &*self.kind {
            "Add" => Ok(QuerySetModification::Add(AddQuery {
                query_id: self.query_id,
                udf_path: text(self.udf_path),
                args: args(self.args),
                journal: optional_text(self.journal),
                component_path: component(self.component_path),
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
    udf_path: Raw,
    args: Raw,
    component_path: Raw,
}

impl From<RawCall> for Call {
    fn from(raw: RawCall) -> Self {
        Self {
            request_id: raw.request_id,
            udf_path: text(raw.udf_path),
            args: args(raw.args),
            component_path: component(raw.component_path),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAuthenticate {
    base_version: u32,
    token_type: String,
    value: Raw,
    /// The name that the npm client uses.
    impersonating: Raw,
    /// The name that the Rust and Python clients use.
    #[serde(rename = "acting_as")]
    acting_as: Raw,
}

impl RawAuthenticate {
    fn checked(self) -> Result<Authenticate> {
        // Null is no identity to act as, and is refused together with the key.
        let identity = |raw: Box<RawValue>| serde_json::from_str(raw.get()).unwrap_or(Json::Null);
        let token = match &*self.token_type {
            "User" => AuthenticationToken::User(text(self.value)),
            "Admin" => AuthenticationToken::Admin(
                text(self.value),
                self.impersonating.or(self.acting_as).map(identity),
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
            r#"{"type":"Mutation","udfPath":"a","args":[{}]}"#,
            r#"{"type":"Mutation","requestId":1,"udfPath":"a","args":[{]}"#,
            r#"{"type":"Authenticate","baseVersion":0,"tokenType":"Robot","value":"x"}"#,
            r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"Move","queryId":1}]}"#,
            r#"{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{"type":"Add"}]}"#,
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

    /// What is wrong within one request is left to that request.
    #[test]
    fn payloads_are_handed_on_whatever_they_hold() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for (payload, path, args, component) in [
            (r#""udfPath":"a","args":{}"#, "a", "{}", None),
            (r#""udfPath":"a""#, "a", "null", None),
            (r#""args":[{}]"#, UNREADABLE, "[{}]", None),
            (
                r#""udfPath":7,"args":[{}],"componentPath":[]"#,
                UNREADABLE,
                "[{}]",
                Some(UNREADABLE),
            ),
            (
                r#""udfPath":"\ud83d","args":["\udc4d"],"extra":"\ud83d""#,
                "\u{fffd}",
                r#"["\ufffd"]"#,
                None,
            ),
            (&format!(r#""udfPath":"a","args":{deep}"#), "a", &deep, None),
        ] {
            let call = Call {
                request_id: 5,
                udf_path: path.into(),
                args: args.into(),
                component_path: component.map(str::to_owned),
            };
            let text = format!(r#"{{"type":"Mutation","requestId":5,{payload}}}"#);
            assert_eq!(parse(&text), ClientMessage::Mutation(call));
            let text = format!(
                r#"{{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":[{{"type":"Add","queryId":5,{payload},"journal":7}}]}}"#
            );
            let add = AddQuery {
                query_id: 5,
                udf_path: path.into(),
                args: args.into(),
                journal: Some(UNREADABLE.into()),
                component_path: component.map(str::to_owned),
            };
            let ClientMessage::ModifyQuerySet(message) = parse(&text) else {
                panic!()
            };
            assert_eq!(message.modifications, [QuerySetModification::Add(add)]);
        }
        // What is wrong with credentials is for the refusal of credentials.
        for (fields, token) in [
            (
                r#""tokenType":"User""#,
                AuthenticationToken::User(UNREADABLE.into()),
            ),
            (
                r#""tokenType":"User","value":[]"#,
                AuthenticationToken::User(UNREADABLE.into()),
            ),
            (
                &format!(r#""tokenType":"Admin","value":"k","acting_as":{deep}"#),
                AuthenticationToken::Admin("k".into(), Some(Json::Null)),
            ),
        ] {
            let text = format!(r#"{{"type":"Authenticate","baseVersion":0,{fields}}}"#);
            let base_version = 0;
            let expected = Authenticate {
                base_version,
                token,
            };
            assert_eq!(parse(&text), ClientMessage::Authenticate(expected));
        }
        // What is only telemetry does not matter.
        let text = r#"{"type":"Connect","sessionId":"3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91","connectionCount":-1,
            "lastCloseReason":"\ud83d","clientTs":1e999}"#;
        let ClientMessage::Connect(connect) = parse(text) else {
            panic!()
        };
        assert_eq!(connect.client_ts, None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r#"[\{\}\[\]":,a-zA-Z0-9\\u. ]{0,80}"#) {
            let _ = ClientMessage::parse(&text);
        }
    }
}
