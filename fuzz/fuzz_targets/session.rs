//! One connection of the sync protocol, whatever its client says, whatever comes of what it asks for, and in whichever
//! order. The other side is checked by a model: a few counters with all their versions, and a client that knows what it
//! must see of them at each timestamp.

#![no_main]

mod session_model;

use arbitrary::{Result, Unstructured};
use concave_core::sync::{ClientMessage, Input};
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use session_model::{Answer, Model};

/// Longer sequences find no more, and cost more.
const STEPS_MAX: usize = 48;

fuzz_target!(|bytes: &[u8]| {
    let mut u = Unstructured::new(bytes);
    let mut model = Model::new();
    for _ in 0..STEPS_MAX {
        if u.is_empty() || step(&mut model, &mut u).is_err() {
            break;
        }
    }
    model.settle();
});

fn step(model: &mut Model, u: &mut Unstructured<'_>) -> Result<()> {
    match u.int_in_range(0..=31u8)? {
        0..=3 => {
            let changes: Vec<u8> = (0..u.int_in_range(0..=2)?)
                .map(|_| u.arbitrary())
                .collect::<Result<_>>()?;
            model.modify(&changes);
        }
        4..=6 => model.mutate(u.arbitrary()?),
        7 => model.act(),
        8..=9 => model.authenticate(u.arbitrary()?),
        10 => model.connect(),
        11 => model.say(r#"{"type":"Event","eventType":"x"}"#.to_owned()),
        12 => invalid(model, u)?,
        13..=16 => model.write(u.arbitrary()?),
        17..=25 => {
            let answer = match u.int_in_range(0..=15)? {
                0 => Answer::Transient,
                1 => Answer::Fault,
                2 => Answer::Begin,
                _ => Answer::Good,
            };
            model.answer(u.arbitrary()?, answer);
        }
        26..=28 => model.take(),
        29 => model.pass(u.arbitrary()?),
        30 => model.feed(Input::Activity),
        _ => {
            if u.ratio(1, 16)? {
                model.feed(Input::Shutdown);
            }
        }
    }
    Ok(())
}

/// Something that no client may send.
fn invalid(model: &mut Model, u: &mut Unstructured<'_>) -> Result<()> {
    let (set, identity) = model.versions();
    let text = match u.int_in_range(0..=7)? {
        0 => {
            let text: &str = u.arbitrary()?;
            if ClientMessage::parse(text).is_ok() {
                return Ok(());
            }
            text.to_owned()
        }
        1 => json!({"type": "ModifyQuerySet", "baseVersion": set + 1, "newVersion": set + 2, "modifications": []}).to_string(),
        2 => json!({"type": "ModifyQuerySet", "baseVersion": set, "newVersion": set, "modifications": []}).to_string(),
        3 => json!({"type": "ModifyQuerySet", "baseVersion": set, "newVersion": set + 1, "modifications": [
            {"type": "Remove", "queryId": 77}]}).to_string(),
        4 => {
            let add = json!({"type": "Add", "queryId": 77, "udfPath": "q", "args": [0]});
            json!({"type": "ModifyQuerySet", "baseVersion": set, "newVersion": set + 1, "modifications": [add, add]})
                .to_string()
        }
        5 => json!({"type": "Authenticate", "baseVersion": identity + 1, "tokenType": "None"}).to_string(),
        6 => json!({"type": "Mutation", "requestId": -1, "udfPath": "m", "args": [0]}).to_string(),
        _ => json!({"type": "Connect", "sessionId": "me"}).to_string(),
    };
    model.say_invalid(text);
    Ok(())
}
