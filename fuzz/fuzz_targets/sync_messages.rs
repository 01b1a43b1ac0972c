//! Messages of the sync protocol: what clients send is refused or read the same however it is written, and what the
//! server writes is what a client reads.

#![no_main]

use arbitrary::{Result, Unstructured};
use concave_core::Timestamp;
use concave_core::request_id::RequestId;
use concave_core::sync::client_message::{Call, QuerySetModification};
use concave_core::sync::session::SessionConfig;
use concave_core::sync::{
    ClientMessage, ClientVersion, Committed, Effect, FunctionError, Input, Limits, MutationOutcome,
    Now, ServerMessage, Session,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

fuzz_target!(|bytes: &[u8]| {
    match bytes.split_last() {
        Some((0, rest)) => drop(response(&mut Unstructured::new(rest))),
        _ => drop(std::str::from_utf8(bytes).map(client_message)),
    }
});

fn client_message(text: &str) {
    // For readers of tests and simulations: it must not panic either.
    let _ = serde_json::from_str::<ServerMessage>(text);
    let message = match ClientMessage::parse(text) {
        Ok(message) => message,
        Err(error) => {
            assert_eq!(error.code, "WSMessageInvalidJson");
            return;
        }
    };
    match &message {
        ClientMessage::Mutation(call) | ClientMessage::Action(call) => {
            assert!(serde_json::from_str::<&serde_json::value::RawValue>(&call.args).is_ok());
        }
        ClientMessage::Connect(connect) => assert_eq!(connect.session_id.len(), 36),
        _ => {}
    }
    // What is ignored may be no JSON for others, as it nests too deep.
    let Ok(json) = serde_json::from_str::<Json>(text) else {
        return;
    };
    let again = ClientMessage::parse(&json.to_string()).expect("it says the same");
    assert_eq!(normal(again), normal(message));
}

/// With arguments in canonical form.
fn normal(mut message: ClientMessage) -> ClientMessage {
    let canonical = |args: &mut std::sync::Arc<str>| {
        let json: Json = serde_json::from_str(args).expect("it was JSON");
        *args = json.to_string().into();
    };
    match &mut message {
        ClientMessage::Mutation(Call { args, .. }) | ClientMessage::Action(Call { args, .. }) => {
            canonical(args);
        }
        ClientMessage::ModifyQuerySet(change) => {
            for modification in &mut change.modifications {
                if let QuerySetModification::Add(query) = modification {
                    canonical(&mut query.args);
                }
            }
        }
        _ => {}
    }
    message
}

/// Any outcome of a mutation, through a session, as a client reads it.
fn response(u: &mut Unstructured<'_>) -> Result<()> {
    let now = Now {
        monotonic: std::time::Duration::ZERO,
        wall: Timestamp(5),
    };
    let config = SessionConfig {
        client: ClientVersion::from_header("npm-1.48.0"),
        limits: Limits::default(),
    };
    let mut session = Session::new(config, now);
    let number: u32 = u.arbitrary()?;
    let text = format!(r#"{{"type":"Mutation","requestId":{number},"udfPath":"a:b","args":[]}}"#);
    let latest = Timestamp(9);
    session.handle(now, Input::Text { text, latest });
    let Some(Effect::RunMutation(_)) = session.poll() else {
        panic!("a mutation runs");
    };
    let value = concave_fuzz::value(u)?.to_json_string();
    let json: Json = serde_json::from_str(&value).expect("the JSON of a value");
    let outcome = MutationOutcome {
        result: match u.arbitrary()? {
            true => Ok(Committed {
                value: value.into(),
                ts: Timestamp(u.arbitrary()?),
            }),
            false => Err(FunctionError {
                request_id: RequestId::chosen(u.arbitrary::<&str>()?),
                printed: u.arbitrary()?,
                data: u.arbitrary::<bool>()?.then(|| json.clone()),
            }),
        },
        log_lines: u.arbitrary::<Vec<String>>()?.into(),
    };
    let result = Ok(outcome.clone());
    let request_id = number;
    session.handle(now, Input::MutationDone { request_id, result });
    let Some(Effect::Send(text)) = session.poll() else {
        panic!("a mutation is answered");
    };
    let read: ServerMessage = serde_json::from_str(&text).expect(&text);
    let expected = ServerMessage::MutationResponse {
        request_id,
        success: outcome.result.is_ok(),
        result: match &outcome.result {
            Ok(_) => json,
            Err(error) => Json::from(error.text()),
        },
        ts: outcome.result.as_ref().ok().map(|committed| committed.ts),
        log_lines: outcome.log_lines.to_vec(),
        error_data: outcome.result.err().and_then(|error| error.data),
    };
    assert_eq!(read, expected, "{text}");
    Ok(())
}
