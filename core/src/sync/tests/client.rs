//! A client that follows the rules of the npm client and is stricter wherever the protocol is: it knows what the
//! database holds at each timestamp, and compares all that it is told with that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::world::{Database, Watched};
use crate::sync::chunk::ChunkAssembler;
use crate::sync::server_message::StateModification;
use crate::sync::{Limits, QueryId, ServerMessage, StateVersion};
use crate::timestamp::Timestamp;

/// A mutation that is not settled.
#[derive(Debug)]
pub struct Unsettled {
    pub message: Json,
    /// Who the client was whenever it was sent.
    users: BTreeSet<Option<u8>>,
    /// Settles at a transition to this timestamp.
    answered: Option<Timestamp>,
}

#[derive(Debug)]
pub struct Client {
    pub session_id: String,
    pub connections: u32,
    next_query: QueryId,
    next_request: u32,
    pub watched: BTreeMap<QueryId, Watched>,
    journals: BTreeMap<QueryId, String>,
    pub user: Option<u8>,
    max_observed: Option<Timestamp>,
    pub mutations: BTreeMap<u32, Unsettled>,
    pub actions: BTreeSet<u32>,
    /// Whether this connection may end in these messages.
    pub expects_fatal: bool,
    pub expects_auth_error: bool,

    // State of one connection.
    version: StateVersion,
    assembler: ChunkAssembler,
    view: BTreeMap<QueryId, Json>,
    query_sets: BTreeMap<u32, BTreeMap<QueryId, Watched>>,
    identities: Vec<Option<u8>>,
    awaited: VecDeque<u32>,
    owed_transition: bool,
}

impl Client {
    pub fn new() -> Self {
        Self {
            session_id: super::SESSION_ID.to_owned(),
            connections: 0,
            next_query: 0,
            next_request: 0,
            watched: BTreeMap::new(),
            journals: BTreeMap::new(),
            user: None,
            max_observed: None,
            mutations: BTreeMap::new(),
            actions: BTreeSet::new(),
            expects_fatal: false,
            expects_auth_error: false,
            version: StateVersion::default(),
            assembler: ChunkAssembler::default(),
            view: BTreeMap::new(),
            query_sets: BTreeMap::new(),
            identities: Vec::new(),
            awaited: VecDeque::new(),
            owed_transition: false,
        }
    }

    /// What it says first on a new connection.
    pub fn connect(&mut self) -> Vec<Json> {
        self.version = StateVersion::default();
        self.assembler = ChunkAssembler::default();
        self.view.clear();
        self.query_sets = BTreeMap::from([(0, BTreeMap::new())]);
        self.identities = vec![None];
        self.awaited.clear();
        self.actions.clear();
        self.owed_transition = false;
        self.expects_fatal = false;
        self.expects_auth_error = self.user.is_some_and(|user| user >= 100);
        let mut messages = vec![
            json!({"type": "Connect", "sessionId": self.session_id, "connectionCount": self.connections,
            "lastCloseReason": "InitialConnect", "clientTs": 0,
            "maxObservedTimestamp": self.max_observed}),
        ];
        if self.max_observed.is_none() {
            messages[0]
                .as_object_mut()
                .unwrap()
                .remove("maxObservedTimestamp");
        }
        self.connections += 1;
        messages.extend(self.user.map(|user| self.authenticate(Some(user))));
        let adds = self.watched.iter().map(|(id, watched)| {
            let mut add = watched.add(*id);
            if let Some(journal) = self.journals.get(id) {
                add["journal"] = json!(journal);
            }
            add
        });
        let adds: Vec<Json> = adds.collect();
        messages.push(self.modify(adds));
        for (id, mutation) in &mut self.mutations {
            mutation.answered = None;
            mutation.users.insert(self.user);
            self.awaited.push_back(*id);
            messages.push(mutation.message.clone());
        }
        messages
    }

    fn modify(&mut self, modifications: Vec<Json>) -> Json {
        let base = *self.query_sets.keys().next_back().unwrap();
        self.query_sets.insert(base + 1, self.watched.clone());
        json!({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1, "modifications": modifications})
    }

    pub fn watch(&mut self, watched: Watched) -> Json {
        let id = self.next_query;
        self.next_query += 1;
        self.watched.insert(id, watched);
        let add = watched.add(id);
        self.modify(vec![add])
    }

    pub fn unwatch(&mut self, which: usize) -> Option<Json> {
        let id = *self.watched.keys().nth(which % self.watched.len().max(1))?;
        self.watched.remove(&id);
        self.journals.remove(&id);
        Some(self.modify(vec![json!({"type": "Remove", "queryId": id})]))
    }

    pub fn authenticate(&mut self, user: Option<u8>) -> Json {
        let base = self.identities.len() - 1;
        self.user = user;
        self.identities.push(user);
        match user {
            Some(user) => {
                json!({"type": "Authenticate", "baseVersion": base, "tokenType": "User", "value": user.to_string()})
            }
            None => json!({"type": "Authenticate", "baseVersion": base, "tokenType": "None"}),
        }
    }

    pub fn mutate(&mut self, path: &str, key: u8) -> Json {
        let id = self.next_request;
        self.next_request += 1;
        let message =
            json!({"type": "Mutation", "requestId": id, "udfPath": path, "args": [{"key": key}]});
        let unsettled = Unsettled {
            message: message.clone(),
            users: BTreeSet::from([self.user]),
            answered: None,
        };
        self.mutations.insert(id, unsettled);
        self.awaited.push_back(id);
        message
    }

    pub fn act(&mut self) -> Json {
        let id = self.next_request;
        self.next_request += 1;
        self.actions.insert(id);
        json!({"type": "Action", "requestId": id, "udfPath": "act", "args": [{}]})
    }

    /// Takes a message that the server sent at `sent`.
    pub fn receive(&mut self, text: &str, sent: Duration, database: &Database, limits: &Limits) {
        let message = serde_json::from_str(text).expect(text);
        let Some(message) = self.assembler.push(message).expect("chunks in sequence") else {
            return;
        };
        match message {
            ServerMessage::Transition {
                start_version,
                end_version,
                modifications,
                client_clock_skew,
                server_ts,
            } => {
                assert_eq!(start_version, self.version, "the chain of versions");
                assert!(client_clock_skew.is_some() && server_ts.is_some());
                self.transition(end_version, modifications, database);
                self.check_response_came_first(end_version.ts, sent, database, limits);
            }
            ServerMessage::MutationResponse {
                request_id,
                success,
                result,
                ts,
                log_lines,
                error_data,
            } => {
                assert_eq!(self.awaited.pop_front(), Some(request_id), "in order, once");
                assert_eq!(log_lines, ["[LOG] 'mutating'"]);
                self.owed_transition = true;
                let mutation = self.mutations.get_mut(&request_id).unwrap();
                if success {
                    let commit = &database.commits[&(self.session_id.clone(), request_id)];
                    assert_eq!(ts, Some(commit.ts), "the original timestamp");
                    assert_eq!(result, json!(commit.value));
                    assert!(mutation.users.contains(&commit.user));
                    mutation.answered = ts;
                    self.max_observed = self.max_observed.max(ts);
                } else {
                    assert_eq!(ts, None);
                    assert_eq!(
                        mutation.message["udfPath"] == "convexError",
                        error_data.is_some()
                    );
                    self.mutations.remove(&request_id);
                }
            }
            ServerMessage::ActionResponse { request_id, .. } => {
                assert!(self.actions.remove(&request_id), "one response");
                self.owed_transition = true;
            }
            ServerMessage::FatalError { .. } => assert!(self.expects_fatal),
            ServerMessage::AuthError {
                base_version,
                auth_update_attempted,
                ..
            } => {
                assert!(self.expects_auth_error && auth_update_attempted);
                assert!(base_version as usize + 1 < self.identities.len());
                self.user = None;
            }
            ServerMessage::Ping => {}
            ServerMessage::TransitionChunk { .. } => unreachable!("assembled"),
        }
    }

    fn transition(
        &mut self,
        end: StateVersion,
        modifications: Vec<StateModification>,
        database: &Database,
    ) {
        let start = self.version;
        assert!(end.ts >= start.ts && end.ts <= database.latest);
        assert!(end.query_set >= start.query_set && end.identity >= start.identity);
        let mut seen = BTreeSet::new();
        for modification in modifications {
            let (id, value, journal) = match modification {
                StateModification::QueryUpdated {
                    query_id,
                    value,
                    journal,
                    ..
                } => (query_id, Some(value), journal),
                StateModification::QueryFailed {
                    query_id,
                    error_message,
                    journal,
                    ..
                } => {
                    let (id, text) = error_message.split_once("] Server Error\n").unwrap();
                    assert!(id.starts_with("[Request ID: "));
                    (query_id, Some(json!({ "failed": text })), journal)
                }
                StateModification::QueryRemoved { query_id } => (query_id, None, None),
            };
            assert!(seen.insert(id), "one modification per query");
            match journal {
                Some(journal) if self.watched.contains_key(&id) => {
                    self.journals.insert(id, journal);
                }
                _ => {}
            }
            let old = match value {
                Some(value) => self
                    .view
                    .insert(id, value.clone())
                    .filter(|old| *old == value),
                None => None,
            };
            assert_eq!(old, None, "news is new");
            if !self.query_sets[&end.query_set].contains_key(&id) {
                self.view.remove(&id);
            }
        }
        self.version = end;
        self.max_observed = self.max_observed.max(Some(end.ts));
        self.query_sets
            .retain(|version, _| *version >= end.query_set);
        self.check_view(end.ts, database);
        self.mutations
            .retain(|_, mutation| mutation.answered.is_none_or(|ts| ts > end.ts));
        self.owed_transition = false;
    }

    /// The view is exactly the results of the query set at the timestamp, under the identity.
    pub fn check_view(&self, ts: Timestamp, database: &Database) {
        let user = self.identities[self.version.identity as usize];
        let expected: BTreeMap<QueryId, Json> = self.query_sets[&self.version.query_set]
            .iter()
            .map(|(id, watched)| (*id, database.expected(watched, ts, user)))
            .collect();
        assert_eq!(self.view, expected, "at {:?}", self.version);
    }

    /// No transition shows a commit of this connection before its response, unless the outcome was very late.
    fn check_response_came_first(
        &self,
        ts: Timestamp,
        sent: Duration,
        database: &Database,
        limits: &Limits,
    ) {
        for id in &self.awaited {
            let commit = database.commits.get(&(self.session_id.clone(), *id));
            if let Some(commit) = commit
                && commit.connection == self.connections
                && commit.ts <= ts
            {
                assert!(sent >= commit.at + limits.mutation_hold, "{id} {commit:?}");
            }
        }
    }

    /// After everything has come to rest.
    pub fn check_settled(&self, database: &Database) {
        assert!(self.mutations.is_empty(), "{:?}", self.mutations);
        assert!(self.actions.is_empty(), "{:?}", self.actions);
        assert!(!self.owed_transition);
        assert_eq!(self.version.identity as usize, self.identities.len() - 1);
        assert_eq!(self.query_sets.len(), 1, "the last query set is confirmed");
        self.check_view(database.latest, database);
    }
}
