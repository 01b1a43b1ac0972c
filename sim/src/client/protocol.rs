//! What a client knows, says and believes, by the rules of the official one; stricter wherever the protocol is.
//!
//! Whatever the server must never do is asserted at once. What its messages say about the database is noted in the
//! [`Record`], for the judge, who knows what the database held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use concave_core::Timestamp;
use concave_core::engine::FunctionKind;
use concave_core::sync::server_message::StateModification;
use concave_core::sync::{QueryId, ServerMessage, StateVersion};
use serde_json::{Value as Json, json};

use super::record::{Outcome, Record, Shown, View, Watched};
use crate::app::faults::ENGINE_FAILED;
use crate::app::{Function, value};
use crate::report::{Ending, Report};

/// Most pages of one series.
const PAGES_MAX: usize = 3;

/// A mutation that is not settled.
#[derive(Debug)]
struct Unsettled {
    token: String,
    function: Function,
    args: Json,
    /// The connection on which it was sent first.
    first_sent: Option<u32>,
    /// When it committed: it settles at a transition to that.
    answered: Option<Timestamp>,
}

/// An action that has no answer.
#[derive(Debug)]
struct Acting {
    token: String,
    function: Function,
    args: Json,
    is_sent: bool,
}

/// The client's side of the protocol.
pub struct Protocol {
    client: usize,
    record: Record,
    /// What ended how.
    pub report: Report,
    connections: u32,
    next_query: QueryId,
    next_request: u32,
    next_series: u32,
    watched: BTreeMap<QueryId, Arc<Watched>>,
    journals: BTreeMap<QueryId, String>,
    mutations: BTreeMap<u32, Unsettled>,
    actions: BTreeMap<u32, Acting>,
    max_observed: Timestamp,

    // State of one connection.
    version: StateVersion,
    /// What had been seen before the connection began.
    seen_before: Timestamp,
    view: BTreeMap<QueryId, (Arc<Shown>, Vec<String>)>,
    /// Query sets by version, and what the transition that covers each must cover.
    query_sets: BTreeMap<u32, (BTreeMap<QueryId, Arc<Watched>>, Timestamp)>,
    awaited: VecDeque<u32>,
    owed_transition: bool,
}

impl Protocol {
    /// A client that has never been connected.
    pub fn new(client: usize, record: Record) -> Self {
        Self {
            client,
            record,
            report: Report::default(),
            connections: 0,
            next_query: 0,
            next_request: 0,
            next_series: 0,
            watched: BTreeMap::new(),
            journals: BTreeMap::new(),
            mutations: BTreeMap::new(),
            actions: BTreeMap::new(),
            max_observed: Timestamp::ZERO,
            version: StateVersion::default(),
            seen_before: Timestamp::ZERO,
            view: BTreeMap::new(),
            query_sets: BTreeMap::new(),
            awaited: VecDeque::new(),
            owed_transition: false,
        }
    }

    /// Which client.
    pub fn client(&self) -> usize {
        self.client
    }

    /// What is said first on a new connection.
    pub fn connect(&mut self, clock_ms: u64) -> Vec<Json> {
        self.version = StateVersion::default();
        self.seen_before = self.max_observed;
        self.view.clear();
        self.query_sets = BTreeMap::from([(0, (BTreeMap::new(), Timestamp::ZERO))]);
        self.awaited.clear();
        self.owed_transition = false;
        let mut connect = json!({
            "type": "Connect", "sessionId": format!("00000000-0000-4000-8000-{:012}", self.client),
            "connectionCount": self.connections, "lastCloseReason": "InitialConnect", "clientTs": clock_ms,
        });
        if self.max_observed > Timestamp::ZERO {
            connect["maxObservedTimestamp"] = json!(self.max_observed);
        }
        self.connections += 1;
        let adds = self.watched.iter().map(|(id, watched)| {
            let journal = self.journals.get(id).map(String::as_str);
            add(*id, watched, journal)
        });
        let adds: Vec<_> = adds.collect();
        let mut messages = vec![connect, self.modify(adds)];
        for (id, mutation) in &mut self.mutations {
            mutation.answered = None;
            mutation.first_sent.get_or_insert(self.connections);
            self.record.sent(&mutation.token);
            self.awaited.push_back(*id);
            messages.push(request("Mutation", *id, mutation.function, &mutation.args));
        }
        // What became of an action that was sent is unknown for good.
        let lost = self.actions.extract_if(.., |_, action| action.is_sent);
        for (_, action) in lost {
            self.report.call(action.function, Ending::Lost);
        }
        for (id, action) in &mut self.actions {
            action.is_sent = true;
            self.record.sent(&action.token);
            messages.push(request("Action", *id, action.function, &action.args));
        }
        messages
    }

    fn modify(&mut self, modifications: Vec<Json>) -> Json {
        let base = self
            .query_sets
            .keys()
            .next_back()
            .copied()
            .unwrap_or_default();
        let set = (self.watched.clone(), self.record.observed());
        self.query_sets.insert(base + 1, set);
        json!({
            "type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1,
            "modifications": modifications,
        })
    }

    /// Watches a query. Gives what is to be said if there is a connection.
    pub fn watch(&mut self, function: Function, args: Json) -> Json {
        let page = (function == Function::Page).then(|| {
            self.next_series += 1;
            (self.next_series, 0)
        });
        self.watch_page(Watched {
            function,
            args,
            page,
        })
    }

    fn watch_page(&mut self, watched: Watched) -> Json {
        let id = self.next_query;
        self.next_query += 1;
        let message = add(id, &watched, None);
        self.watched.insert(id, Arc::new(watched));
        self.modify(vec![message])
    }

    /// Watches one of the queries no longer, and no page after it.
    pub fn unwatch(&mut self, which: usize) -> Option<Json> {
        let (id, watched) = self.watched.iter().nth(which % self.watched.len().max(1))?;
        let (id, page) = (*id, watched.page);
        let gone: Vec<_> = self
            .watched
            .iter()
            .filter(|(other, watched)| {
                let follows =
                    |(series, n)| page.is_some_and(|(own, first)| own == series && n > first);
                **other == id || watched.page.is_some_and(follows)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &gone {
            self.watched.remove(id);
            self.journals.remove(id);
        }
        let removes = gone
            .iter()
            .map(|id| json!({ "type": "Remove", "queryId": id }));
        let removes = removes.collect();
        Some(self.modify(removes))
    }

    /// A name that no other call of the world has.
    pub fn new_token(&self) -> String {
        format!("c{}-{}", self.client, self.next_request)
    }

    /// Calls a mutation or an action. Gives what is to be said if there is a connection.
    pub fn call(&mut self, function: Function, args: Json, is_connected: bool) -> Json {
        let token = self.new_token();
        let id = self.next_request;
        self.next_request += 1;
        self.record.call(&token, function, args.clone());
        if is_connected {
            self.record.sent(&token);
        }
        if function.kind() == FunctionKind::Action {
            let action = Acting {
                token,
                function,
                args: args.clone(),
                is_sent: is_connected,
            };
            self.actions.insert(id, action);
            return request("Action", id, function, &args);
        }
        let mutation = Unsettled {
            token,
            function,
            args: args.clone(),
            first_sent: is_connected.then_some(self.connections),
            answered: None,
        };
        self.mutations.insert(id, mutation);
        if is_connected {
            self.awaited.push_back(id);
        }
        request("Mutation", id, function, &args)
    }

    /// Whether every call has ended and every query has a result.
    pub fn is_settled(&self) -> bool {
        self.mutations.is_empty()
            && self.actions.is_empty()
            && !self.owed_transition
            && self.query_sets.len() == 1
            && self.version.query_set > 0
    }

    /// What is not settled, for a person.
    pub fn unsettled(&self) -> String {
        format!(
            "mutations {:?}, actions {:?}, transition owed: {}, query sets {:?} at {:?}",
            self.mutations,
            self.actions,
            self.owed_transition,
            self.query_sets.keys(),
            self.version
        )
    }

    /// What is seen now.
    pub fn results(&self) -> Vec<(QueryId, Arc<Watched>, Arc<Shown>)> {
        let shown = self.view.iter().filter_map(|(id, (shown, _))| {
            let (set, _) = self.query_sets.get(&self.version.query_set)?;
            Some((*id, set.get(id)?.clone(), shown.clone()))
        });
        shown.collect()
    }

    /// Takes a message. Gives what is to be answered.
    pub fn receive(&mut self, text: &str) -> Vec<Json> {
        let message = serde_json::from_str(text).expect("servers send what clients understand");
        match message {
            ServerMessage::Transition {
                start_version,
                end_version,
                modifications,
                client_clock_skew,
                server_ts,
            } => {
                assert_eq!(
                    start_version, self.version,
                    "the chain of versions is broken"
                );
                assert!(client_clock_skew.is_some() && server_ts.is_some());
                return self.transition(end_version, modifications);
            }
            ServerMessage::MutationResponse {
                request_id,
                success,
                result,
                ts,
                error_data,
                ..
            } => self.mutation_response(request_id, success, result, ts, error_data),
            ServerMessage::ActionResponse {
                request_id,
                success,
                result,
                ..
            } => self.action_response(request_id, success, &result),
            ServerMessage::Ping => {}
            other => panic!("the server has no reason to say {other:?}"),
        }
        Vec::new()
    }

    fn mutation_response(
        &mut self,
        id: u32,
        success: bool,
        result: Json,
        ts: Option<Timestamp>,
        data: Option<Json>,
    ) {
        assert_eq!(
            self.awaited.pop_front(),
            Some(id),
            "responses come once and in order"
        );
        self.owed_transition = true;
        let mutation = self.mutations.get_mut(&id).expect("it is awaited");
        let (token, function) = (mutation.token.clone(), mutation.function);
        if success {
            let ts = ts.expect("a mutation that succeeded has a timestamp");
            assert!(
                mutation.first_sent != Some(self.connections) || self.version.ts < ts,
                "{token}: its commit at {} was shown at {} before its response",
                ts.0,
                self.version.ts.0
            );
            mutation.answered = Some(ts);
            self.observe(ts);
            let outcome = Outcome::Returned(value(&result), Some(ts));
            self.record.ended(&token, outcome);
            return;
        }
        assert_eq!(ts, None);
        let text = result.as_str().expect("failures have a text");
        let is_expected = text.contains(ENGINE_FAILED)
            || match function {
                Function::Refuse | Function::ScheduleAndRefuse => {
                    assert_eq!(data, Some(json!(token)), "the data of the error");
                    text.contains("Uncaught ConvexError: refused")
                }
                Function::Break => text.contains("does not match the schema"),
                _ => false,
            };
        assert!(is_expected, "{token} {function:?} failed: {text}");
        self.mutations.remove(&id);
        self.record.ended(&token, Outcome::Failed(text.to_owned()));
        self.report.call(function, Ending::Failed);
    }

    fn action_response(&mut self, id: u32, success: bool, result: &Json) {
        let action = self
            .actions
            .remove(&id)
            .expect("an action has one response");
        self.owed_transition = true;
        if success {
            let outcome = Outcome::Returned(value(result), None);
            self.record.ended(&action.token, outcome);
            self.report.call(action.function, Ending::Done);
            return;
        }
        let text = result.as_str().expect("failures have a text");
        for lie in ["seen before it happened", "not seen after it happened"] {
            assert!(!text.contains(lie), "{}: {text}", action.token);
        }
        // Its mutations may have committed or not: an action is no transaction.
        self.report.call(action.function, Ending::Failed);
    }

    fn observe(&mut self, ts: Timestamp) {
        self.max_observed = self.max_observed.max(ts);
        self.record.observe(ts);
    }

    fn transition(
        &mut self,
        end: StateVersion,
        modifications: Vec<StateModification>,
    ) -> Vec<Json> {
        let start = self.version;
        let client = self.client;
        assert!(
            end.ts >= start.ts && end.query_set >= start.query_set && end.identity == 0,
            "client {client}: a transition goes back from {start:?} to {end:?}"
        );
        assert!(
            end.ts >= self.seen_before,
            "client {client}: it has seen {}, and is shown {} on its next connection",
            self.seen_before.0,
            end.ts.0
        );
        let mut seen = BTreeSet::new();
        for modification in modifications {
            let (id, news, logs, journal) = match modification {
                StateModification::QueryUpdated {
                    query_id,
                    value,
                    log_lines,
                    journal,
                } => (query_id, Some(Ok(value)), log_lines, journal),
                StateModification::QueryFailed {
                    query_id,
                    error_message,
                    log_lines,
                    journal,
                    ..
                } => (query_id, Some(Err(error_message)), log_lines, journal),
                StateModification::QueryRemoved { query_id } => (query_id, None, Vec::new(), None),
            };
            assert!(
                seen.insert(id),
                "client {client}: query {id} is modified twice"
            );
            self.modify_view(id, news, logs, journal);
        }
        self.version = end;
        let covered = self.query_sets.iter();
        let floors = covered
            .filter(|(version, _)| start.query_set < **version && **version <= end.query_set);
        for (version, (_, floor)) in floors {
            assert!(
                end.ts >= *floor,
                "client {client}: query set {version} was sent when {} had been seen, and is shown as of {}",
                floor.0,
                end.ts.0
            );
        }
        self.query_sets
            .retain(|version, _| *version >= end.query_set);
        let (set, _) = &self.query_sets[&end.query_set];
        let (shown, expected) = (self.view.keys(), set.keys());
        assert!(
            shown.clone().eq(expected.clone()),
            "client {client}: it is shown {shown:?} and watches {expected:?}"
        );
        self.owed_transition = false;
        self.observe(end.ts);
        let settled = self.mutations.extract_if(.., |_, mutation| {
            mutation.answered.is_some_and(|ts| ts <= end.ts)
        });
        for (_, mutation) in settled {
            self.report.call(mutation.function, Ending::Done);
        }
        self.record.view(View {
            client,
            ts: end.ts,
            results: self.results(),
        });
        self.next_pages(&seen)
    }

    fn modify_view(
        &mut self,
        id: QueryId,
        news: Option<Shown>,
        logs: Vec<String>,
        journal: Option<String>,
    ) {
        let client = self.client;
        let Some(news) = news else {
            assert!(
                self.view.remove(&id).is_some(),
                "client {client}: {id} was not there"
            );
            assert!(
                !self.watched.contains_key(&id),
                "client {client}: {id} is watched"
            );
            return;
        };
        if let Some(watched) = self.watched.get(&id) {
            let ending = if news.is_ok() {
                Ending::Done
            } else {
                Ending::Failed
            };
            self.report.call(watched.function, ending);
            match journal {
                Some(journal) => self.journals.insert(id, journal),
                None => self.journals.remove(&id),
            };
        }
        let news = (Arc::new(news), logs);
        let old = self.view.insert(id, news.clone());
        if let Some(old) = old
            && news.0.is_ok()
        {
            assert_ne!(old, news, "client {client}: {id} is told without being new");
        }
    }

    /// Goes on to the pages that follow those that have just come.
    fn next_pages(&mut self, seen: &BTreeSet<QueryId>) -> Vec<Json> {
        let mut next = Vec::new();
        for id in seen {
            let Some(watched) = self.watched.get(id) else {
                continue;
            };
            let Some((series, n)) = watched.page else {
                continue;
            };
            let follows = |other: &Arc<Watched>| other.page == Some((series, n + 1));
            let Some((shown, _)) = self.view.get(id) else {
                continue;
            };
            let Ok(page) = &**shown else { continue };
            if n + 1 == PAGES_MAX || page["isDone"] == true || self.watched.values().any(follows) {
                continue;
            }
            let mut args = watched.args.clone();
            args["cursor"] = page["continueCursor"].clone();
            next.push(Watched {
                function: Function::Page,
                args,
                page: Some((series, n + 1)),
            });
        }
        next.into_iter()
            .map(|watched| self.watch_page(watched))
            .collect()
    }
}

fn add(id: QueryId, watched: &Watched, journal: Option<&str>) -> Json {
    let mut add = json!({
        "type": "Add", "queryId": id, "udfPath": watched.function.path(), "args": [watched.args],
    });
    if let Some(journal) = journal {
        add["journal"] = json!(journal);
    }
    add
}

fn request(kind: &str, id: u32, function: Function, args: &Json) -> Json {
    json!({ "type": kind, "requestId": id, "udfPath": function.path(), "args": [args] })
}
