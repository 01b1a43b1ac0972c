//! A toy database of counters with all their versions, and a driver that does its work in any order and at any pace
//! that the contract of [`Effect`] allows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::client::Client;
use super::{at, user};
use crate::error::Error;
use crate::identity::Identity;
use crate::request_id::RequestId;
use crate::sync::session::SessionConfig;
use crate::sync::*;
use crate::timestamp::Timestamp;

/// A query: a counter, maybe together with the name of the user.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    pub key: u8,
    pub sees_user: bool,
}

impl Watched {
    pub fn add(&self, id: QueryId) -> Json {
        json!({"type": "Add", "queryId": id, "udfPath": "get", "args": [{"key": self.key, "user": self.sees_user}]})
    }

    fn of(run: &QueryRun) -> Self {
        let args: Json = serde_json::from_str(&run.args).unwrap();
        Self {
            key: args[0]["key"].as_u64().unwrap() as u8,
            sees_user: args[0]["user"].as_bool().unwrap(),
        }
    }
}

#[derive(Debug)]
pub struct Commit {
    pub ts: Timestamp,
    pub value: u64,
    /// On whose behalf.
    pub user: Option<u8>,
    /// The client's connection that ran it, and when it became visible.
    pub connection: u32,
    pub at: Duration,
}

#[derive(Debug, Default)]
pub struct Database {
    pub latest: Timestamp,
    writes: BTreeMap<u8, Vec<Timestamp>>,
    /// Committed mutations by session and request.
    pub commits: BTreeMap<(String, u32), Commit>,
}

impl Database {
    fn value(&self, key: u8, ts: Timestamp) -> u64 {
        let writes = self.writes.get(&key).map_or(&[][..], Vec::as_slice);
        writes.iter().filter(|write| **write <= ts).count() as u64
    }

    fn is_written(&self, key: u8, after: Timestamp, until: Timestamp) -> bool {
        self.value(key, after) != self.value(key, until)
    }

    fn write(&mut self, key: u8) {
        self.latest = Timestamp(self.latest.0 + 10);
        self.writes.entry(key).or_default().push(self.latest);
    }

    /// What a client has to see of a query. Some counts are failures.
    pub fn expected(&self, watched: &Watched, ts: Timestamp, user: Option<u8>) -> Json {
        let value = self.value(watched.key, ts);
        if value % 4 == 2 {
            return json!({"failed": format!("Uncaught Error: {value} is unlucky\n")});
        }
        let user = user.filter(|_| watched.sees_user);
        json!({"n": value / 2, "user": user.map(|user| format!("t|{user}"))})
    }
}

/// Work of the driver, begun or ready to be told.
#[derive(Debug)]
enum Job {
    Begin,
    Query(QueryRun),
    Mutation(CallRequest),
    Action(CallRequest),
    Authenticate(Credential),
    Tell(Input),
    TellQuery(Watched, Timestamp, Input),
}

pub struct World {
    pub now: Duration,
    pub database: Database,
    pub client: Client,
    limits: Limits,
    session: Session,
    jobs: Vec<Job>,
    /// Mutations that outlive their connection.
    orphans: Vec<(CallRequest, u32)>,
    /// Watched read sets: timestamp of the result, and what was read.
    subscriptions: BTreeMap<QueryId, (Timestamp, Watched)>,
    /// Messages of the client that the session does not take yet.
    wire: VecDeque<String>,
    /// Messages that the socket has not taken, with the time they were sent.
    socket: VecDeque<(String, Duration)>,
    is_closing: bool,
    /// How many queries will fail to run.
    pub faults: usize,
    runs: u64,
}

impl World {
    pub fn new(limits: Limits) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            database: Database::default(),
            client: Client::new(),
            session: session(&limits, Duration::ZERO),
            limits,
            jobs: Vec::new(),
            orphans: Vec::new(),
            subscriptions: BTreeMap::new(),
            wire: VecDeque::new(),
            socket: VecDeque::new(),
            is_closing: false,
            faults: 0,
            runs: 0,
        };
        world.database.write(0);
        world.reconnect();
        world
    }

    /// The connection is lost, with all that was on its way.
    pub fn reconnect(&mut self) {
        self.socket.clear();
        self.wire.clear();
        self.subscriptions.clear();
        self.is_closing = false;
        for job in std::mem::take(&mut self.jobs) {
            if let Job::Mutation(request) = job {
                self.orphans.push((request, self.client.connections));
            }
        }
        self.session = session(&self.limits, self.now);
        for message in self.client.connect() {
            self.say(message.to_string());
        }
    }

    pub fn say(&mut self, text: String) {
        self.wire.push_back(text);
        self.read();
    }

    /// The session takes what it can of the client's messages.
    fn read(&mut self) {
        while self.session.is_receptive()
            && let Some(text) = self.wire.pop_front()
        {
            let latest = self.database.latest;
            self.take_input(Input::Text { text, latest });
        }
    }

    fn feed(&mut self, input: Input) {
        self.take_input(input);
        self.read();
    }

    fn take_input(&mut self, input: Input) {
        self.session.handle(at(self.now), input);
        self.session.queries.check_accounting();
        while let Some(effect) = self.session.poll() {
            assert!(!self.is_closing, "nothing after the end");
            match effect {
                Effect::Send(text) => self.socket.push_back((text, self.now)),
                Effect::Ping => {}
                Effect::Authenticate(credential) => self.jobs.push(Job::Authenticate(credential)),
                Effect::BeginTransition => self.jobs.push(Job::Begin),
                Effect::RunQuery(run) => self.jobs.push(Job::Query(run)),
                Effect::Unsubscribe(id) => {
                    self.subscriptions.remove(&id);
                }
                Effect::RunMutation(request) => {
                    let running = self.jobs.iter().any(|job| {
                        matches!(
                            job,
                            Job::Mutation(_) | Job::Tell(Input::MutationDone { .. })
                        )
                    });
                    assert!(!running, "one mutation at a time");
                    self.jobs.push(Job::Mutation(request));
                }
                Effect::RunAction(request) => self.jobs.push(Job::Action(request)),
                Effect::Close(_) => self.is_closing = true,
            }
        }
        let unsent = self
            .socket
            .iter()
            .filter(|(text, _)| text.starts_with(r#"{"type":"Transition","#))
            .count();
        assert!(unsent <= self.limits.unsent_transitions);
    }

    /// The socket takes a message and the client receives it. Once all is sent, a closing connection ends.
    pub fn take(&mut self) {
        if let Some((text, sent)) = self.socket.pop_front() {
            self.client
                .receive(&text, sent, &self.database, &self.limits);
            if !self.is_closing {
                self.feed(Input::Sent);
            }
        }
        if self.is_closing && self.socket.is_empty() {
            self.reconnect();
        }
    }

    /// Someone writes.
    pub fn write(&mut self, key: u8) {
        self.database.write(key);
        self.notify(key);
    }

    fn notify(&mut self, key: u8) {
        if self.subscriptions.values().any(|(_, w)| w.key == key) {
            self.jobs.push(Job::Tell(Input::Invalidated));
        }
    }

    pub fn has_work(&self) -> bool {
        !self.jobs.is_empty() || !self.orphans.is_empty() || !self.socket.is_empty()
    }

    /// Does one piece of work, or tells the result of one.
    pub fn work(&mut self, which: usize) {
        if !self.orphans.is_empty() && which.is_multiple_of(4) {
            let (request, connection) = self.orphans.remove(0);
            self.mutate(&request, connection);
            return;
        }
        if self.jobs.is_empty() {
            return;
        }
        match self.jobs.remove(which % self.jobs.len()) {
            Job::Begin => {
                let ts = self.database.latest;
                let touched = self.subscriptions.iter().filter(|(_, (since, watched))| {
                    self.database.is_written(watched.key, *since, ts)
                });
                let invalidated = touched.map(|(id, _)| *id).collect();
                self.jobs
                    .push(Job::Tell(Input::TransitionBegun { ts, invalidated }));
            }
            Job::Query(run) => {
                let watched = Watched::of(&run);
                let input = Input::QueryDone {
                    query_id: run.query_id,
                    result: self.query(&run, &watched).map(Arc::new),
                };
                self.jobs.push(Job::TellQuery(watched, run.ts, input));
            }
            Job::Mutation(request) => {
                let outcome = self.mutate(&request, self.client.connections);
                self.jobs.push(Job::Tell(Input::MutationDone {
                    request_id: request.request_id,
                    result: Ok(outcome),
                }));
            }
            Job::Action(request) => {
                let request_id = request.request_id;
                self.jobs.push(Job::Tell(Input::ActionBegun { request_id }));
                self.jobs.push(Job::Tell(Input::ActionDone {
                    request_id,
                    result: Ok(ActionOutcome {
                        result: Ok("null".into()),
                        log_lines: [].into(),
                    }),
                }));
            }
            Job::Authenticate(credential) => {
                let Credential::User(token) = credential else {
                    panic!("only users sign in")
                };
                let result = match token.parse::<u8>() {
                    Ok(name) if name < 100 => Ok(user(&token, None)),
                    _ => Err(Error::bad_request("InvalidAuthHeader", "bad token")),
                };
                self.jobs.push(Job::Tell(Input::AuthDone(result)));
            }
            Job::Tell(input) => self.feed(input),
            Job::TellQuery(watched, ts, input) => {
                if let Input::QueryDone {
                    query_id,
                    result: Ok(_),
                } = &input
                {
                    self.subscriptions.insert(*query_id, (ts, watched));
                    if self
                        .database
                        .is_written(watched.key, ts, self.database.latest)
                    {
                        self.jobs.push(Job::Tell(Input::Invalidated));
                    }
                }
                self.feed(input);
            }
        }
    }

    fn query(&mut self, run: &QueryRun, watched: &Watched) -> Result<QueryOutcome, Error> {
        self.runs += 1;
        let journal = format!("journal {}", watched.key);
        if let Some(given) = &run.journal {
            assert_eq!(**given, journal);
        }
        if self.faults > 0 {
            self.faults -= 1;
            return Err(Error::overloaded("Busy", ""));
        }
        let value = self
            .database
            .expected(watched, run.ts, user_of(&run.identity));
        Ok(match value.get("failed") {
            None => QueryOutcome::success(&value.to_string(), &[], Some(&journal)),
            Some(text) => {
                let error = FunctionError {
                    request_id: RequestId::from_bytes(self.runs.to_be_bytes()),
                    printed: text.as_str().map(str::to_owned),
                    data: None,
                };
                QueryOutcome::failure(&error, &[], Some(&journal))
            }
        })
    }

    fn mutate(&mut self, request: &CallRequest, connection: u32) -> MutationOutcome {
        let args: Json = serde_json::from_str(&request.args).unwrap();
        let key = args[0]["key"].as_u64().unwrap() as u8;
        let name = (
            request.session_id.as_deref().unwrap().to_owned(),
            request.request_id,
        );
        let result = match &*request.path {
            "increment" | "read" => {
                if !self.database.commits.contains_key(&name) {
                    if request.path == "increment" {
                        self.write(key);
                    }
                    let commit = Commit {
                        ts: self.database.latest,
                        value: self.database.value(key, self.database.latest),
                        user: user_of(&request.identity),
                        // One that writes nothing may belong to a transition that was sent before.
                        connection: if request.path == "read" {
                            u32::MAX
                        } else {
                            connection
                        },
                        at: self.now,
                    };
                    self.database.commits.insert(name.clone(), commit);
                }
                let commit = &self.database.commits[&name];
                Ok(Committed {
                    value: commit.value.to_string().into(),
                    ts: commit.ts,
                })
            }
            path => Err(FunctionError {
                request_id: request.log_id().unwrap(),
                printed: None,
                data: (path == "convexError").then(|| json!("full")),
            }),
        };
        MutationOutcome {
            result,
            log_lines: ["[LOG] 'mutating'".to_owned()].into(),
        }
    }

    /// Lets time pass while the client is alive, firing timers as they come.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
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
        self.feed(Input::Activity);
    }

    /// Works and waits until nothing is left to do, then compares everything.
    pub fn settle(&mut self) {
        self.faults = 0;
        // Longer than the longest pause after failures.
        for _ in 0..35 {
            let mut left = 100_000;
            while self.has_work() || self.is_closing {
                self.work(left);
                self.take();
                left -= 1;
                assert!(left > 0, "no end of work");
            }
            self.pass(Duration::from_secs(20));
        }
        self.client.check_settled(&self.database);
    }
}

fn user_of(identity: &Identity) -> Option<u8> {
    let identifier = identity.user()?.token_identifier();
    Some(identifier.trim_start_matches("t|").parse().unwrap())
}

fn session(limits: &Limits, now: Duration) -> Session {
    let config = SessionConfig {
        client: ClientVersion::from_header("npm-1.48.0"),
        limits: limits.clone(),
    };
    Session::new(config, at(now))
}
