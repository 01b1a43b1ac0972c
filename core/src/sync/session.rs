//! The machine that serves one connection.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::client_message::{Authenticate, AuthenticationToken, Call, ClientMessage, Connect};
use super::close::{CloseFrame, farewell};
use super::io::{CallRequest, Credential, Effect, Input, Now};
use super::liveness::{Due, Liveness};
use super::outbox::{Kind, Outbox};
use super::outcome::{ActionOutcome, MutationOutcome};
use super::query_set::{QuerySet, base_version_mismatch};
use super::requests::Requests;
use super::server_message;
use super::transitions::Transitions;
use super::{ClientVersion, Limits, RequestNumber};
use crate::error::{Error, ErrorClass, Result};
use crate::identity::{Identity, UserIdentity};
use crate::timestamp::Timestamp;

/// What a session needs to know from the start.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// The client, as far as the handshake told.
    pub client: ClientVersion,
    /// Bounds and periods.
    pub limits: Limits,
}

/// The server's side of one connection. See the [module](super) for what it guarantees.
///
/// The driver calls [`handle`](Self::handle) for whatever happens, then [`poll`](Self::poll) until it is empty, and
/// calls back no later than [`next_timeout`](Self::next_timeout).
#[derive(Debug)]
pub struct Session {
    pub(super) config: SessionConfig,
    /// From `Connect`, if there was one.
    session_id: Option<Arc<str>>,
    /// How far the client's clock is ahead, milliseconds.
    pub(super) clock_skew: Option<i64>,
    /// The database's latest timestamp, as told with the client's messages.
    latest: Timestamp,
    /// In force for what the client sends now.
    pub(super) identity: Arc<Identity>,
    /// How many `Authenticate` messages led to `identity`.
    pub(super) identity_version: u32,
    /// Credentials are being verified, and messages wait.
    is_authenticating: bool,
    /// Messages that wait for credentials, or for room.
    inbox: VecDeque<String>,
    /// The first message that waits, once it is known to need room.
    blocked: Option<ClientMessage>,
    pub(super) requests: Requests,
    pub(super) queries: QuerySet,
    pub(super) transitions: Transitions,
    pub(super) outbox: Outbox,
    liveness: Liveness,
    is_closed: bool,
}

impl Session {
    /// A session for a connection that has just been accepted.
    pub fn new(config: SessionConfig, now: Now) -> Self {
        Self {
            config,
            session_id: None,
            clock_skew: None,
            latest: Timestamp::ZERO,
            identity: Arc::default(),
            identity_version: 0,
            is_authenticating: false,
            inbox: VecDeque::new(),
            blocked: None,
            requests: Requests::default(),
            queries: QuerySet::default(),
            transitions: Transitions::default(),
            outbox: Outbox::default(),
            liveness: Liveness::new(now.monotonic),
            is_closed: false,
        }
    }

    /// Takes something that happened. After [`Effect::Close`] nothing makes a difference any more.
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.is_closed {
            return;
        }
        if matches!(input, Input::Shutdown) {
            return self.close(None, CloseFrame::going_away());
        }
        let result = self
            .take(now, input)
            .and_then(|()| self.process_inbox(now))
            .and_then(|()| self.start_mutation(now))
            // It leaves room.
            .and_then(|()| self.process_inbox(now))
            .and_then(|()| self.advance_transition(now))
            .and_then(|()| self.check_timers(now));
        if let Err(error) = result {
            let (message, frame) = farewell(&error, self.identity_version);
            self.close(message, frame);
        }
        self.check(now);
    }

    /// What holds between any two steps.
    fn check(&self, now: Now) {
        if self.is_closed {
            assert!(self.is_receptive(), "nothing is kept for the dead");
            assert!(self.requests.is_empty());
            assert!(self.queries.is_empty());
            return;
        }
        if self.is_authenticating {
            assert!(self.blocked.is_none(), "it is not known who sent it");
        } else if !self.inbox.is_empty() {
            assert!(self.blocked.is_some(), "messages wait for a reason");
        }
        let Limits {
            unsent_response_bytes_hard,
            ..
        } = self.config.limits;
        assert!(self.outbox.unsent_response_bytes() <= unsent_response_bytes_hard);
        let running = self.requests.running_mutation();
        assert!(running.is_none_or(|running| running.deadline > now.monotonic));
        self.check_transitions();
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Effect> {
        self.outbox.pop()
    }

    /// When to feed [`Input::Timeout`] at the latest; `None` once the session is over.
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.is_closed {
            return None;
        }
        let liveness = self
            .liveness
            .next_timeout(self.outbox.is_drained(), &self.config.limits);
        let mutation = self.requests.running_mutation().map(|m| m.deadline);
        let transition = self.transition_timeout();
        let timers = [mutation, transition].into_iter().flatten();
        let next = timers.chain([liveness]).min();
        assert!(next.is_some(), "a session that is not over has a timer");
        next
    }

    /// Whether messages of the client are taken. While one waits, for its turn or for room, the driver leaves the next
    /// ones in the socket: so a client that sends more than can be done is slowed down, and not turned away.
    pub fn is_receptive(&self) -> bool {
        self.inbox.is_empty() && self.blocked.is_none()
    }

    /// What it keeps in memory for its client, about: queries, what waits to be run, and what the client has not taken.
    pub fn held_bytes(&self) -> usize {
        self.queries.held_bytes() + self.requests.waiting_bytes() + self.outbox.unsent_bytes()
    }

    /// Whether [`Effect::Close`] was handed out or waits to be.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The client's session, once it has introduced itself.
    pub fn session_id(&self) -> Option<&Arc<str>> {
        self.session_id.as_ref()
    }

    fn take(&mut self, now: Now, input: Input) -> Result<()> {
        match input {
            Input::Text { text, latest } => {
                self.liveness.heard(now.monotonic);
                self.latest = self.latest.max(latest);
                self.inbox.push_back(text);
            }
            Input::Activity => self.liveness.heard(now.monotonic),
            Input::Refused(error) => return Err(error),
            Input::Timeout => {}
            Input::Sent => {
                self.outbox.sent();
                let is_drained = self.outbox.is_drained();
                self.liveness.taken(now.monotonic, is_drained);
            }
            Input::AuthDone(result) => self.authenticated(result)?,
            Input::Invalidated => self.transitions.invalidated(),
            Input::TransitionBegun { ts, invalidated } => {
                self.transition_begun(now, ts, invalidated)?;
            }
            Input::QueryDone { query_id, result } => self.query_done(query_id, result)?,
            Input::MutationDone { request_id, result } => {
                self.mutation_done(now, request_id, result)?;
            }
            Input::ActionBegun { request_id } => self.requests.action_begun(request_id),
            Input::ActionDone { request_id, result } => {
                self.action_done(now, request_id, result)?;
            }
            Input::Shutdown => unreachable!("ends the session before"),
        }
        Ok(())
    }

    /// Processes the client's messages in order, as long as it is known who the client is and there is room.
    fn process_inbox(&mut self, now: Now) -> Result<()> {
        while !self.is_authenticating
            && let Some(message) = self.next_message()?
        {
            match message {
                ClientMessage::Connect(message) => self.connect(now, message)?,
                ClientMessage::ModifyQuerySet(message) => {
                    self.queries.modify(message, &self.config.limits)?;
                }
                ClientMessage::Mutation(call) => {
                    if !self.has_room_for_mutation(&call) {
                        self.blocked = Some(ClientMessage::Mutation(call));
                        return Ok(());
                    }
                    let request = self.call_request(call);
                    self.requests.push_mutation(request);
                }
                ClientMessage::Action(call) => {
                    if !self.has_room_for_action(&call) {
                        self.blocked = Some(ClientMessage::Action(call));
                        return Ok(());
                    }
                    let request = self.call_request(call);
                    request.identity.check_current(now.wall)?;
                    self.requests.start_action(&request)?;
                    self.outbox.push(Effect::RunAction(request));
                }
                ClientMessage::Authenticate(message) => self.authenticate(message)?,
                ClientMessage::Event => {}
            }
        }
        Ok(())
    }

    fn next_message(&mut self) -> Result<Option<ClientMessage>> {
        if let Some(message) = self.blocked.take() {
            return Ok(Some(message));
        }
        let text = self.inbox.pop_front();
        text.map(|text| ClientMessage::parse(&text)).transpose()
    }

    fn has_room_for_mutation(&self, call: &Call) -> bool {
        self.requests
            .has_room_for_mutation(call, &self.config.limits)
    }

    /// Actions begin at once, so a client that does not take their responses gets no more of them run.
    fn has_room_for_action(&self, call: &Call) -> bool {
        self.client_takes_responses()
            && self.requests.has_room_for_action(call, &self.config.limits)
    }

    fn client_takes_responses(&self) -> bool {
        self.outbox.unsent_response_bytes() <= self.config.limits.unsent_response_bytes_soft
    }

    fn connect(&mut self, now: Now, message: Connect) -> Result<()> {
        if self.session_id.is_some() {
            return Err(Error::bad_request(
                "DuplicateConnect",
                "the client has introduced itself before",
            ));
        }
        if let Some(observed) = message.max_observed_timestamp
            && observed > self.latest
        {
            return Err(Error::internal(format!(
                "the client has seen {observed:?}, the database is at {:?}",
                self.latest
            )));
        }
        assert!(self.session_id.is_none());
        assert!(self.clock_skew.is_none());
        self.session_id = Some(message.session_id.into());
        self.clock_skew = message.client_ts.map(|client_ms| {
            let now_ms = now.wall.0 / 1_000_000;
            (client_ms.floor() as i64).saturating_sub_unsigned(now_ms)
        });
        Ok(())
    }

    fn call_request(&self, call: Call) -> CallRequest {
        CallRequest {
            request_id: call.request_id,
            session_id: self.session_id.clone(),
            path: call.udf_path,
            args: call.args,
            component: call.component_path,
            identity: Arc::clone(&self.identity),
        }
    }

    fn authenticate(&mut self, message: Authenticate) -> Result<()> {
        if message.base_version != self.identity_version {
            return Err(base_version_mismatch(
                message.base_version,
                self.identity_version,
            ));
        }
        let credential = match message.token {
            AuthenticationToken::None => return self.become_identity(Identity::Anonymous),
            AuthenticationToken::User(token) => Credential::User(token),
            AuthenticationToken::Admin(key, acting_as) => Credential::Admin {
                key,
                acting_as: acting_as
                    .map(UserIdentity::from_json)
                    .transpose()
                    .map_err(auth_update_failed)?,
            },
        };
        assert!(
            !self.is_authenticating,
            "messages wait while credentials are verified"
        );
        self.is_authenticating = true;
        self.outbox.push(Effect::Authenticate(credential));
        Ok(())
    }

    fn authenticated(&mut self, result: Result<Identity>) -> Result<()> {
        if !self.is_authenticating {
            return Err(Error::internal("no credentials were being verified"));
        }
        let identity = result.map_err(auth_update_failed)?;
        self.is_authenticating = false;
        self.become_identity(identity)
    }

    fn become_identity(&mut self, identity: Identity) -> Result<()> {
        assert!(!self.is_authenticating, "it is known who it is");
        self.identity_version = self.identity_version.checked_add(1).ok_or_else(|| {
            Error::bad_request("TooManyAuthentications", "identity versions are used up")
        })?;
        self.identity = Arc::new(identity);
        Ok(())
    }

    /// Starts the next mutation once the earlier ones are done and the client takes the responses.
    fn start_mutation(&mut self, now: Now) -> Result<()> {
        if !self.client_takes_responses() {
            return Ok(());
        }
        let deadline = now.monotonic + self.config.limits.mutation_run;
        assert!(deadline > now.monotonic, "a mutation has some time");
        if let Some(request) = self.requests.start_mutation(deadline) {
            assert!(self.requests.running_mutation().is_some());
            request.identity.check_current(now.wall)?;
            self.outbox.push(Effect::RunMutation(request));
        }
        Ok(())
    }

    fn mutation_done(
        &mut self,
        now: Now,
        request_id: RequestNumber,
        result: Result<MutationOutcome>,
    ) -> Result<()> {
        self.requests.finish_mutation(request_id)?;
        assert!(
            self.requests.running_mutation().is_none(),
            "mutations run one after the other"
        );
        let outcome = result?;
        let text = server_message::mutation_response(request_id, &outcome);
        // Clients settle some failed mutations, too, only at the next transition.
        let ts = outcome.result.map_or(Timestamp::ZERO, |done| done.ts);
        self.respond(now, text, ts)
    }

    fn action_done(
        &mut self,
        now: Now,
        request_id: RequestNumber,
        result: Result<ActionOutcome>,
    ) -> Result<()> {
        self.requests.finish_action(request_id)?;
        let text = server_message::action_response(request_id, &result?);
        self.respond(now, text, Timestamp::ZERO)
    }

    fn respond(&mut self, now: Now, text: String, ts: Timestamp) -> Result<()> {
        self.send(now, Kind::Response, text);
        self.transitions.owe(ts);
        assert!(!self.outbox.is_drained(), "a response is on its way");
        let unsent = self.outbox.unsent_response_bytes();
        let limit = self.config.limits.unsent_response_bytes_hard;
        if unsent > limit {
            return Err(Error::overloaded(
                "ClientTooSlow",
                format!("{unsent} bytes of responses wait for the client; the limit is {limit}"),
            ));
        }
        Ok(())
    }

    pub(super) fn send(&mut self, now: Now, kind: Kind, text: String) {
        self.outbox.send(kind, text);
        self.liveness.waits(now.monotonic);
        self.liveness.spoke(now.monotonic);
    }

    fn check_timers(&mut self, now: Now) -> Result<()> {
        if let Some(mutation) = self.requests.running_mutation()
            && now.monotonic >= mutation.deadline
        {
            return Err(Error::operational(format!(
                "mutation {} ran for longer than {:?}",
                mutation.request_id, self.config.limits.mutation_run
            )));
        }
        // What is not taken from the socket is no silence of the client; what the socket does not take is.
        if !self.is_receptive() && self.outbox.is_drained() {
            self.liveness.heard(now.monotonic);
        }
        let limits = &self.config.limits;
        while let Some(due) = self
            .liveness
            .poll(now.monotonic, self.outbox.is_drained(), limits)
        {
            match due {
                Due::Silence => return Err(Liveness::silence_error(limits)),
                Due::PingFrame => self.outbox.push(Effect::Ping),
                Due::PingMessage => {
                    self.outbox
                        .send(Kind::Other, server_message::PING.to_owned());
                    self.liveness.waits(now.monotonic);
                }
            }
        }
        Ok(())
    }

    /// Ends the session; what it held is released.
    fn close(&mut self, message: Option<String>, frame: CloseFrame) {
        assert!(!self.is_closed, "a session ends once");
        self.is_closed = true;
        self.outbox.retain_messages();
        if let Some(text) = message {
            self.outbox.send(Kind::Other, text);
        }
        self.outbox.push(Effect::Close(frame));
        self.inbox = VecDeque::new();
        self.blocked = None;
        self.requests = Requests::default();
        self.queries = QuerySet::default();
        self.transitions = Transitions::default();
    }
}

/// The caller's fault in credentials is told as such, so that clients fetch new ones. An outage on the way to
/// verifying them is not: with that, they shall try the same ones again.
fn auth_update_failed(error: Error) -> Error {
    use ErrorClass::*;
    match error.class {
        BadRequest | Unauthenticated | Forbidden => Error {
            class: AuthUpdateFailed,
            ..error
        },
        _ => error,
    }
}
