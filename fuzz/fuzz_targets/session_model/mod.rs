//! Database, driver and client around one session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use concave_core::identity::{Identity, UserIdentity};
use concave_core::request_id::RequestId;
use concave_core::sync::chunk::ChunkAssembler;
use concave_core::sync::server_message::StateModification;
use concave_core::sync::session::SessionConfig;
use concave_core::sync::{
    ActionOutcome, CallRequest, ClientVersion, Committed, Credential, Effect, FunctionError, Input,
    Limits, MutationOutcome, Now, QueryId, QueryOutcome, QueryRun, ServerMessage, Session,
    StateVersion,
};
use concave_core::{Error, Timestamp};
use serde_json::{Value as Json, json};

const SESSION_ID: &str = "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91";
const KEYS: usize = 4;
/// Names that the client gives to queries.
const QUERY_IDS: u32 = 5;

/// What the socket takes after so long is a sign of life.
const ROOM_MADE: Duration = Duration::from_secs(1);

/// How something that the session asked for ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As it should.
    Good,
    /// A mutation commits and is answered later; otherwise as [`Answer::Good`].
    Begin,
    /// It could not be run, for now.
    Transient,
    /// It could not be run.
    Fault,
}

/// What the session has asked for.
enum Job {
    Begin,
    Query(QueryRun),
    Mutation(CallRequest, Option<(Timestamp, Duration)>),
    Action(CallRequest),
    Authenticate(Credential),
}

type User = Option<u8>;

/// A query of the client's.
#[derive(Clone, Copy)]
struct Query {
    /// The counter that it shows.
    key: usize,
    /// Tells it from others of the same id.
    serial: u32,
    /// The client watched as much as it may already: it shows that, and is not run.
    is_refused: bool,
}

/// A mutation that was sent and not answered.
struct Awaited {
    number: u32,
    user: User,
    /// When it committed.
    commit: Option<(Timestamp, Duration)>,
}

pub struct Model {
    session: Session,
    limits: Limits,
    now: Duration,

    // The database.
    latest: Timestamp,
    /// When each counter was raised.
    writes: [Vec<Timestamp>; KEYS],

    // The driver.
    jobs: Vec<Job>,
    /// Results that are watched: counter, and since when the result holds.
    watched: BTreeMap<QueryId, (usize, Timestamp)>,
    begun: Option<Timestamp>,
    /// Messages that the socket has not taken.
    unsent: usize,
    /// Since when there are any, or since the socket took the one before.
    waiting: Duration,

    // The client.
    /// What each version of the query set watches.
    sets: BTreeMap<u32, BTreeMap<QueryId, Query>>,
    next_query: u32,
    /// Who the client is by each identity version.
    users: Vec<User>,
    connected: bool,
    next_request: u32,
    awaited: VecDeque<Awaited>,
    actions: BTreeSet<u32>,
    version: StateVersion,
    view: BTreeMap<QueryId, u64>,
    /// Which queries the view shows.
    serials: BTreeMap<QueryId, u32>,
    owed: Option<Timestamp>,
    assembler: ChunkAssembler,
    /// Something has been said or answered that ends the connection.
    must_end: bool,
    /// The last sign of life of the client.
    heard: Duration,
    /// When the mutation that runs began.
    mutating: Duration,
    /// A last message was received.
    over: bool,
    closed: bool,
}

impl Model {
    pub fn new() -> Self {
        let limits = Limits {
            pending_mutations: 6,
            running_actions: 3,
            queries: 4,
            running_queries: 2,
            chunk_bytes: 300,
            unsent_response_bytes_soft: 300,
            unsent_response_bytes_hard: 4000,
            retry_backoff: (Duration::from_millis(500), Duration::from_secs(8)),
            ..Limits::default()
        };
        let config = SessionConfig {
            client: ClientVersion::from_header("npm-1.48.0"),
            limits: limits.clone(),
        };
        let now = Duration::from_secs(1);
        Self {
            session: Session::new(config, at(now)),
            limits,
            now,
            latest: Timestamp(10),
            writes: Default::default(),
            jobs: Vec::new(),
            watched: BTreeMap::new(),
            begun: None,
            unsent: 0,
            waiting: now,
            sets: BTreeMap::from([(0, BTreeMap::new())]),
            next_query: 0,
            users: vec![None],
            connected: false,
            next_request: 0,
            awaited: VecDeque::new(),
            actions: BTreeSet::new(),
            version: StateVersion::default(),
            view: BTreeMap::new(),
            serials: BTreeMap::new(),
            owed: None,
            assembler: ChunkAssembler::default(),
            must_end: false,
            heard: now,
            mutating: now,
            over: false,
            closed: false,
        }
    }

    // ---- What the client does.

    pub fn say(&mut self, text: String) {
        let latest = self.latest;
        self.feed(Input::Text { text, latest });
    }

    pub fn say_invalid(&mut self, text: String) {
        self.must_end = true;
        self.say(text);
        assert!(
            self.closed || !self.session.is_receptive(),
            "nothing is forgiven"
        );
    }

    /// Of the query set and the identity, as sent.
    pub fn versions(&self) -> (u32, u32) {
        let set = *self.sets.keys().next_back().expect("never empty");
        (set, self.users.len() as u32 - 1)
    }

    /// Watches and leaves queries.
    pub fn modify(&mut self, changes: &[u8]) {
        let (base, _) = self.versions();
        let mut set = self.sets[&base].clone();
        let mut modifications = Vec::new();
        for change in changes {
            let id = u32::from(*change) % QUERY_IDS;
            let key = usize::from(*change / 8) % KEYS;
            if set.remove(&id).is_some() {
                modifications.push(json!({"type": "Remove", "queryId": id}));
            } else {
                let serial = self.next_query;
                self.next_query += 1;
                let is_refused = set.len() >= self.limits.queries;
                let query = Query {
                    key,
                    serial,
                    is_refused,
                };
                set.insert(id, query);
                modifications.push(
                    json!({"type": "Add", "queryId": id, "udfPath": "q", "args": [key],
                    "journal": (change % 2 == 0).then_some("j")}),
                );
            }
        }
        let version = base + 1 + u32::from(changes.len() == 2);
        self.sets.insert(version, set);
        let message = json!({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": version,
            "modifications": modifications});
        self.say(message.to_string());
    }

    pub fn mutate(&mut self, key: u8) {
        let number = self.next_request;
        self.next_request += 1;
        self.awaited.push_back(Awaited {
            number,
            user: *self.users.last().expect("never empty"),
            commit: None,
        });
        // It may have to wait; that depends on how many have been processed.
        let message =
            json!({"type": "Mutation", "requestId": number, "udfPath": "m", "args": [key]});
        self.say(message.to_string());
    }

    pub fn act(&mut self) {
        let number = self.next_request;
        self.next_request += 1;
        self.actions.insert(number);
        let message = json!({"type": "Action", "requestId": number, "udfPath": "a", "args": []});
        self.say(message.to_string());
    }

    pub fn authenticate(&mut self, user: u8) {
        let (_, base) = self.versions();
        let user = Some(user % 3).filter(|user| *user > 0);
        self.users.push(user);
        let message = match user {
            Some(user) => {
                json!({"type": "Authenticate", "baseVersion": base, "tokenType": "User", "value": user.to_string()})
            }
            None => json!({"type": "Authenticate", "baseVersion": base, "tokenType": "None"}),
        };
        self.say(message.to_string());
    }

    pub fn connect(&mut self) {
        let again = std::mem::replace(&mut self.connected, true);
        let message = json!({"type": "Connect", "sessionId": SESSION_ID, "connectionCount": 0, "clientTs": 5});
        if again {
            self.say_invalid(message.to_string());
        } else {
            self.say(message.to_string());
        }
    }

    // ---- What happens elsewhere.

    /// Somebody else raises a counter.
    pub fn write(&mut self, key: u8) {
        let key = usize::from(key) % KEYS;
        self.commit(key);
        if self.watched.values().any(|(watched, _)| *watched == key) {
            self.feed(Input::Invalidated);
        }
    }

    fn commit(&mut self, key: usize) -> Timestamp {
        self.latest = Timestamp(self.latest.0 + 10);
        self.writes[key].push(self.latest);
        self.latest
    }

    fn count(&self, key: usize, ts: Timestamp) -> u64 {
        self.writes[key]
            .iter()
            .filter(|write| **write <= ts)
            .count() as u64
    }

    /// What a query shows.
    fn shown(&self, key: usize, ts: Timestamp, user: User) -> u64 {
        self.count(key, ts) * 10 + u64::from(user.unwrap_or(0))
    }

    /// What the client sees of a query set.
    fn expected(
        &self,
        set: &BTreeMap<QueryId, Query>,
        ts: Timestamp,
        user: User,
    ) -> BTreeMap<QueryId, u64> {
        set.iter()
            .filter(|(_, query)| !query.is_refused)
            .map(|(id, query)| (*id, self.shown(query.key, ts, user)))
            .collect()
    }

    /// Time passes; timers go off.
    pub fn pass(&mut self, tenths: u8) {
        let end = self.now + Duration::from_millis(100) * u32::from(tenths);
        while let Some(at) = self.session.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.feed(Input::Timeout);
            let next = self.session.next_timeout();
            assert!(
                next.is_none_or(|next| next > self.now),
                "a timer that stays"
            );
        }
        self.now = end;
    }

    /// The socket takes a message.
    pub fn take(&mut self) {
        if self.unsent > 0 {
            self.unsent -= 1;
            if self.now >= self.waiting + ROOM_MADE {
                self.heard = self.now;
            }
            self.waiting = self.now;
            self.feed(Input::Sent);
        }
    }

    /// Ends something that the session asked for.
    pub fn answer(&mut self, which: u8, answer: Answer) {
        if self.jobs.is_empty() {
            return;
        }
        let which = usize::from(which) % self.jobs.len();
        if let (Job::Mutation(request, commit @ None), Answer::Begin) =
            (&mut self.jobs[which], answer)
        {
            let key = key_of(&request.args);
            let ts = Timestamp(self.latest.0 + 10);
            *commit = Some((ts, self.now));
            self.awaited[0].commit = *commit;
            self.write(key);
            return;
        }
        let job = self.jobs.remove(which);
        let error = || match answer {
            Answer::Transient => Some(Error::overloaded("Busy", "later")),
            Answer::Fault => Some(Error::internal("never")),
            Answer::Good | Answer::Begin => None,
        };
        match job {
            Job::Begin => self.begin(),
            Job::Query(run) => {
                let key = usize::from(key_of(&run.args)) % KEYS;
                let result = match error() {
                    Some(error) => {
                        self.must_end |= answer == Answer::Fault;
                        Err(error)
                    }
                    None => {
                        self.watched.insert(run.query_id, (key, run.ts));
                        Ok(Arc::new(self.outcome(key, &run)))
                    }
                };
                let query_id = run.query_id;
                self.feed(Input::QueryDone { query_id, result });
                // The write came while it ran.
                if self.count(key, run.ts) != self.count(key, self.latest) {
                    self.feed(Input::Invalidated);
                }
            }
            Job::Mutation(request, commit) => {
                let request_id = request.request_id;
                let key = key_of(&request.args);
                if let (None, Some(error)) = (commit, error()) {
                    self.must_end = true;
                    let result = Err(error);
                    return self.feed(Input::MutationDone { request_id, result });
                }
                let result = if commit.is_none() && key % 8 == 7 {
                    Err(failure())
                } else {
                    let ts = match commit {
                        Some((ts, _)) => ts,
                        None => {
                            let ts = Timestamp(self.latest.0 + 10);
                            self.awaited[0].commit = Some((ts, self.now));
                            self.write(key);
                            ts
                        }
                    };
                    let value = Arc::from(r#"{"$integer":"AQAAAAAAAAA="}"#);
                    Ok(Committed { value, ts })
                };
                let result = Ok(MutationOutcome {
                    result,
                    log_lines: Arc::new([]),
                });
                self.feed(Input::MutationDone { request_id, result });
            }
            Job::Action(request) => {
                let result = match error() {
                    Some(error) => {
                        self.must_end = true;
                        Err(error)
                    }
                    None => Ok(ActionOutcome {
                        result: if request.request_id % 2 == 0 {
                            Ok("null".into())
                        } else {
                            Err(failure())
                        },
                        log_lines: Arc::new(["[LOG] 'x'".to_owned()]),
                    }),
                };
                let request_id = request.request_id;
                self.feed(Input::ActionDone { request_id, result });
            }
            Job::Authenticate(credential) => {
                let Credential::User(token) = credential else {
                    panic!("the client sends tokens of users");
                };
                let result = match error() {
                    Some(error) => {
                        self.must_end = true;
                        Err(error)
                    }
                    None => Ok(identity(&token)),
                };
                self.feed(Input::AuthDone(result));
            }
        }
    }

    fn begin(&mut self) {
        let ts = self.latest;
        let stale =
            |(key, since): (usize, Timestamp)| self.count(key, since) != self.count(key, ts);
        let invalidated = self
            .watched
            .iter()
            .filter(|(_, watched)| stale(**watched))
            .map(|(id, _)| *id)
            .collect();
        self.begun = Some(ts);
        self.feed(Input::TransitionBegun { ts, invalidated });
    }

    fn outcome(&self, key: usize, run: &QueryRun) -> QueryOutcome {
        let user = user_of(&run.identity);
        let shown = self.shown(key, run.ts, user);
        if shown % 4 == 3 {
            let error = FunctionError {
                request_id: RequestId::chosen("r"),
                printed: None,
                data: Some(json!(shown)),
            };
            QueryOutcome::failure(&error, &[], None)
        } else {
            QueryOutcome::success(
                &shown.to_string(),
                &["[LOG] 'x'".to_owned()],
                Some("journal"),
            )
        }
    }

    // ---- What the session does.

    pub fn feed(&mut self, input: Input) {
        match input {
            Input::Shutdown => self.must_end = true,
            Input::Text { .. } | Input::Activity => self.heard = self.now,
            _ => {}
        }
        self.session.handle(at(self.now), input);
        // Between any two inputs: pings, what is asked for, responses and one transition, in pieces.
        let mut left = 64;
        while let Some(effect) = self.session.poll() {
            assert!(left > 0, "no end of effects");
            left -= 1;
            assert!(!self.closed, "nothing after the end");
            self.take_effect(effect);
        }
        assert_eq!(self.session.is_closed(), self.closed);
        assert_eq!(self.session.next_timeout().is_none(), self.closed);
    }

    fn is_authenticating(&self) -> bool {
        self.jobs
            .iter()
            .any(|job| matches!(job, Job::Authenticate(_)))
    }

    fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send(text) => {
                if self.unsent == 0 {
                    self.waiting = self.now;
                }
                self.unsent += 1;
                assert!(!self.over, "nothing after the last message: {text}");
                let message = serde_json::from_str(&text).expect(&text);
                if let Some(message) = self.assembler.push(message).expect("chunks in sequence") {
                    self.receive(message);
                }
            }
            Effect::Ping => {}
            Effect::Authenticate(credential) => {
                assert!(!self.is_authenticating(), "one at a time");
                self.jobs.push(Job::Authenticate(credential));
            }
            Effect::BeginTransition => {
                let busy = |job: &Job| matches!(job, Job::Begin | Job::Query(_));
                assert!(!self.jobs.iter().any(busy), "one transition at a time");
                self.jobs.push(Job::Begin);
            }
            Effect::RunQuery(run) => {
                assert_eq!(Some(run.ts), self.begun, "all at one timestamp");
                assert_ne!(&*run.path, "", "what is refused is not run");
                let running = self.jobs.iter().filter_map(|job| match job {
                    Job::Query(run) => Some(run.query_id),
                    _ => None,
                });
                let running: Vec<_> = running.collect();
                assert!(running.len() < self.limits.running_queries);
                assert!(!running.contains(&run.query_id));
                self.jobs.push(Job::Query(run));
            }
            Effect::Unsubscribe(id) => {
                self.watched.remove(&id);
            }
            Effect::RunMutation(request) => {
                let running = |job: &Job| matches!(job, Job::Mutation(..));
                assert!(!self.jobs.iter().any(running), "one mutation at a time");
                let first = &self.awaited[0];
                assert_eq!(request.request_id, first.number, "in order");
                assert_eq!(user_of(&request.identity), first.user, "as who sent it");
                self.mutating = self.now;
                self.jobs.push(Job::Mutation(request, None));
            }
            Effect::RunAction(request) => {
                assert!(self.actions.contains(&request.request_id));
                self.jobs.push(Job::Action(request));
            }
            Effect::Close(frame) => {
                assert!(
                    frame.reason.len() <= 123 && (frame.code.is_some() || frame.reason.is_empty())
                );
                assert!(self.may_end(), "for no reason: {frame:?}");
                self.closed = true;
                self.jobs.clear();
            }
        }
    }

    /// Whether there is a reason to close the connection.
    fn may_end(&self) -> bool {
        let mutates = self.jobs.iter().any(|job| matches!(job, Job::Mutation(..)));
        self.must_end
            || self.now >= self.heard + self.limits.client_silence
            || (mutates && self.now >= self.mutating + self.limits.mutation_run)
    }

    fn receive(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Transition {
                start_version,
                end_version,
                modifications,
                client_clock_skew,
                server_ts,
            } => {
                assert_eq!(start_version, self.version, "the chain of versions");
                assert_eq!(client_clock_skew.is_some(), server_ts.is_some());
                self.transition(end_version, modifications);
            }
            ServerMessage::MutationResponse {
                request_id,
                success,
                ts,
                ..
            } => {
                let first = self.awaited.pop_front().expect("somebody waits");
                assert_eq!(request_id, first.number, "in order, once");
                assert_eq!(ts, first.commit.map(|(ts, _)| ts));
                assert_eq!(success, ts.is_some());
                self.owed = self.owed.max(Some(ts.unwrap_or_default()));
            }
            ServerMessage::ActionResponse { request_id, .. } => {
                assert!(self.actions.remove(&request_id), "one response");
                self.owed = self.owed.max(Some(Timestamp::ZERO));
            }
            ServerMessage::AuthError { base_version, .. } => {
                assert!((base_version as usize) < self.users.len());
                self.over = true;
            }
            ServerMessage::FatalError { .. } => self.over = true,
            ServerMessage::Ping => {}
            ServerMessage::TransitionChunk { .. } => unreachable!("assembled"),
        }
    }

    fn transition(&mut self, end: StateVersion, modifications: Vec<StateModification>) {
        let start = self.version;
        assert_eq!(Some(end.ts), self.begun);
        assert!(end.ts >= start.ts && end.identity >= start.identity);
        assert!(end.query_set >= start.query_set);
        for awaited in &self.awaited {
            if let Some((ts, committed)) = awaited.commit
                && ts <= end.ts
            {
                let late = self.now >= committed + self.limits.mutation_hold;
                assert!(late, "a commit is shown before its response");
            }
        }
        self.sets.retain(|version, _| *version >= end.query_set);
        let set = self
            .sets
            .get(&end.query_set)
            .expect("a version that was sent");
        let mut told = BTreeSet::new();
        for modification in modifications {
            let (id, shown) = match modification {
                StateModification::QueryUpdated {
                    query_id, value, ..
                } => (query_id, value.as_u64()),
                StateModification::QueryFailed {
                    query_id,
                    error_data,
                    ..
                } => (query_id, error_data.and_then(|data| data.as_u64())),
                StateModification::QueryRemoved { query_id } => (query_id, None),
            };
            assert!(told.insert(id), "one modification per query");
            let old = match shown {
                Some(shown) => self.view.insert(id, shown),
                None => self.view.remove(&id),
            };
            let serial = set.get(&id).map(|query| query.serial);
            let same = serial == self.serials.get(&id).copied();
            assert!(!same || old != shown, "news is new");
        }
        self.version = end;
        self.serials = set.iter().map(|(id, query)| (*id, query.serial)).collect();
        let user = self.users[end.identity as usize];
        assert_eq!(self.view, self.expected(set, end.ts, user), "at {end:?}");
        if self.owed.is_some_and(|ts| ts <= end.ts) {
            self.owed = None;
        }
    }

    /// Does all that is left to do; then either the connection has ended or the client has all that it asked for.
    pub fn settle(&mut self) {
        for _ in 0..3 {
            for _ in 0..200 {
                if self.closed || (self.jobs.is_empty() && self.unsent == 0) {
                    break;
                }
                self.take();
                self.answer(0, Answer::Good);
            }
            // Longer than pauses after failures, shorter than the patience with silent clients.
            self.feed(Input::Activity);
            self.pass(90);
        }
        if self.closed {
            assert!(self.session.poll().is_none(), "nothing after the end");
            return;
        }
        assert!(!self.must_end, "the connection should have ended");
        assert!(self.jobs.is_empty());
        assert!(self.awaited.is_empty() && self.actions.is_empty());
        assert_eq!(self.owed, None);
        assert_eq!(
            (self.version.query_set, self.version.identity),
            self.versions()
        );
        let (set, _) = self.versions();
        let user = *self.users.last().expect("never empty");
        let expected = self.expected(&self.sets[&set], self.latest, user);
        assert_eq!(self.view, expected, "the latest");
    }
}

fn at(monotonic: Duration) -> Now {
    Now {
        monotonic,
        wall: Timestamp(1_000_000_000 + monotonic.as_nanos() as u64),
    }
}

fn key_of(args: &str) -> u8 {
    let args: Json = serde_json::from_str(args).expect("as sent");
    args[0].as_u64().expect("as sent") as u8
}

fn identity(token: &str) -> Identity {
    let json = json!({ "tokenIdentifier": token });
    Identity::User {
        attributes: UserIdentity::from_json(json).expect("well-formed"),
        expires: None,
    }
}

fn user_of(identity: &Identity) -> User {
    let user = identity.user()?.token_identifier();
    Some(user.parse().expect("a number"))
}

fn failure() -> FunctionError {
    FunctionError {
        request_id: RequestId::chosen("r"),
        printed: Some("Uncaught Error: no\n".to_owned()),
        data: None,
    }
}
