//! Tests of the whole session: each rule of the protocol by itself, then everything at once at random.

mod authentication;
mod client;
mod limits;
mod queries;
mod random;
mod requests;
mod world;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::server_message::StateModification;
use super::session::SessionConfig;
use super::*;
use crate::error::Error;
use crate::identity::{Identity, UserIdentity};
use crate::timestamp::Timestamp;

pub(super) const SESSION_ID: &str = "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91";
/// Wall-clock time at monotonic zero.
pub(super) const EPOCH_NS: u64 = 1_795_219_660_906_000_000;

pub(super) fn at(monotonic: Duration) -> Now {
    Now {
        monotonic,
        wall: Timestamp(EPOCH_NS + monotonic.as_nanos() as u64),
    }
}

pub(super) fn user(name: &str, expires: Option<Timestamp>) -> Identity {
    Identity::User {
        attributes: UserIdentity::from_json(json!({"tokenIdentifier": format!("t|{name}")}))
            .unwrap(),
        expires,
    }
}

/// A session under manual control: effects are looked at one by one.
struct Rig {
    session: Session,
    now: Duration,
    /// Effects other than messages.
    effects: VecDeque<Effect>,
    messages: VecDeque<ServerMessage>,
    /// Whether the socket takes messages at once.
    takes: bool,
    untaken: usize,
}

impl Rig {
    fn new() -> Self {
        Self::with(ClientVersion::from_header("npm-1.48.0"), Limits::default())
    }

    fn with(client: ClientVersion, limits: Limits) -> Self {
        let config = SessionConfig { client, limits };
        Self {
            session: Session::new(config, at(Duration::ZERO)),
            now: Duration::ZERO,
            effects: VecDeque::new(),
            messages: VecDeque::new(),
            takes: true,
            untaken: 0,
        }
    }

    fn feed(&mut self, input: Input) {
        self.session.handle(at(self.now), input);
        loop {
            while let Some(effect) = self.session.poll() {
                match effect {
                    Effect::Send(text) => {
                        self.untaken += 1;
                        self.messages
                            .push_back(serde_json::from_str(&text).expect(&text));
                    }
                    other => self.effects.push_back(other),
                }
            }
            if !self.takes || self.untaken == 0 {
                return;
            }
            self.untaken -= 1;
            self.session.handle(at(self.now), Input::Sent);
        }
    }

    fn take_one(&mut self) {
        assert!(self.untaken > 0);
        self.untaken -= 1;
        self.feed(Input::Sent);
    }

    fn say(&mut self, message: Json) {
        self.say_at(message, Timestamp(100));
    }

    fn say_at(&mut self, message: Json, latest: Timestamp) {
        self.feed(Input::Text {
            text: message.to_string(),
            latest,
        });
    }

    /// Lets time pass, firing timers as they come.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.session.next_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a timer of the past");
            self.now = at;
            self.feed(Input::Timeout);
            let next = self.session.next_timeout();
            assert!(next.is_none_or(|next| next > at), "a timer that stays");
        }
        self.now = end;
    }

    fn effect(&mut self) -> Effect {
        self.effects.pop_front().expect("an effect")
    }

    fn message(&mut self) -> ServerMessage {
        self.messages.pop_front().expect("a message")
    }

    fn quiet(&self) {
        assert!(self.effects.is_empty(), "{:?}", self.effects);
        assert!(self.messages.is_empty(), "{:?}", self.messages);
    }

    fn connect(&mut self) {
        self.say(json!({"type": "Connect", "sessionId": SESSION_ID, "connectionCount": 0}));
    }

    fn modify(&mut self, base: u32, modifications: Json) {
        self.say(
            json!({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1,
            "modifications": modifications}),
        );
    }

    fn call(&mut self, kind: &str, request_id: u32) {
        self.say(json!({"type": kind, "requestId": request_id, "udfPath": "m:f", "args": [{}]}));
    }

    fn authenticate(&mut self, base: u32) {
        self.say(json!({"type": "Authenticate", "baseVersion": base, "tokenType": "User", "value": "jwt"}));
    }

    /// Answers a request to begin a transition.
    fn begin(&mut self, ts: u64, invalidated: &[QueryId]) {
        let effect = self.effect();
        assert!(matches!(effect, Effect::BeginTransition), "{effect:?}");
        self.feed(Input::TransitionBegun {
            ts: Timestamp(ts),
            invalidated: invalidated.to_vec(),
        });
    }

    fn run(&mut self) -> QueryRun {
        match self.effect() {
            Effect::RunQuery(run) => run,
            other => panic!("{other:?}"),
        }
    }

    fn mutation(&mut self) -> CallRequest {
        match self.effect() {
            Effect::RunMutation(request) => request,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, query_id: QueryId, value: &str) {
        self.finish(query_id, Ok(QueryOutcome::success(value, &[], None)));
    }

    fn finish(&mut self, query_id: QueryId, result: Result<QueryOutcome, Error>) {
        self.feed(Input::QueryDone {
            query_id,
            result: result.map(Arc::new),
        });
    }

    fn commit(&mut self, request_id: u32, ts: u64) {
        self.feed(Input::MutationDone {
            request_id,
            result: Ok(MutationOutcome {
                result: Ok(Committed {
                    value: "null".into(),
                    ts: Timestamp(ts),
                }),
                log_lines: [].into(),
            }),
        });
    }

    /// Expects a transition; gives its end and modifications.
    fn transition(&mut self) -> (StateVersion, Vec<StateModification>) {
        match self.message() {
            ServerMessage::Transition {
                end_version,
                modifications,
                ..
            } => (end_version, modifications),
            other => panic!("{other:?}"),
        }
    }

    /// Expects the end: the last message, if any, and the frame.
    fn closed(&mut self) -> (Option<ServerMessage>, CloseFrame) {
        assert!(self.session.is_closed());
        assert_eq!(self.session.next_timeout(), None);
        let frame = match self.effects.pop_back().expect("an effect") {
            Effect::Close(frame) => frame,
            other => panic!("{other:?}"),
        };
        let message = self.messages.pop_back();
        let before = self.messages.len() + self.effects.len();
        self.feed(Input::Invalidated);
        self.call("Mutation", 4000);
        assert_eq!(self.messages.len() + self.effects.len(), before);
        (message, frame)
    }

    /// Subscribes query 0 as version 1 and answers it at `ts`.
    fn subscribe(&mut self, ts: u64) {
        self.modify(0, json!([add(0)]));
        self.begin(ts, &[]);
        assert_eq!(self.run().query_id, 0);
        self.answer(0, "0.0");
        self.transition();
        self.quiet();
    }
}

fn add(id: QueryId) -> Json {
    json!({"type": "Add", "queryId": id, "udfPath": "m:q", "args": [{"id": id}]})
}

fn remove(id: QueryId) -> Json {
    json!({"type": "Remove", "queryId": id})
}

fn updated(id: QueryId, value: Json) -> StateModification {
    StateModification::QueryUpdated {
        query_id: id,
        value,
        log_lines: vec![],
        journal: None,
    }
}

fn version(query_set: u32, identity: u32, ts: u64) -> StateVersion {
    StateVersion {
        query_set,
        identity,
        ts: Timestamp(ts),
    }
}

fn frame(code: Option<u16>, reason: &str) -> CloseFrame {
    CloseFrame {
        code,
        reason: reason.to_owned(),
    }
}
