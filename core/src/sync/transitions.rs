//! The making of transitions.
//!
//! One transition is under way at a time: the driver chooses a timestamp and says what it invalidates, the stale
//! queries are evaluated at exactly that timestamp, and all that changed goes into one message. Whatever happens
//! meanwhile is for the next transition. When the client does not keep up, none begins: states in between are skipped.

use std::sync::Arc;
use std::time::Duration;

use super::io::{Effect, Now, QueryRun};
use super::outbox::Kind;
use super::query_set::is_transient;
use super::server_message::{self, StateVersion};
use super::session::Session;
use super::{FunctionError, Limits, QueryId, QueryOutcome, chunk};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::planted::{Bug, planted};
use crate::request_id::RequestId;
use crate::timestamp::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Transitions {
    /// The client's view once it has received everything sent.
    version: StateVersion,
    phase: Phase,
    /// The driver has told that some query's result no longer holds.
    is_invalidated: bool,
    /// Responses were sent that no transition has covered; it needs at least this timestamp.
    owed: Option<Timestamp>,
    /// On whose behalf the active queries were evaluated.
    identity: Arc<Identity>,
    retry: Option<Retry>,
    /// Attempts that failed in a row.
    failures: u32,
    /// Counts transitions sent in chunks.
    chunked: u64,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// The driver chooses a timestamp, at least `floor`.
    Beginning { floor: Timestamp },
    /// Stale queries are evaluated.
    Evaluating(Attempt),
    /// Waits for the outcome of a mutation, until the given time.
    Holding(Attempt, Duration),
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    end: StateVersion,
    /// How many queries are evaluated.
    evaluated: usize,
    /// The mutation that ran when the timestamp was chosen: it may have committed within the transition.
    mutation: Option<u64>,
}

/// A pause after a transient error.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Duration,
    /// Versions of query set and identity that failed; others need not wait.
    versions: (u32, u32),
}

impl Transitions {
    /// The driver has told that some query's result no longer holds.
    pub fn invalidated(&mut self) {
        self.is_invalidated = true;
    }

    /// A response was sent that a transition at `ts` or later has to follow.
    pub fn owe(&mut self, ts: Timestamp) {
        if !planted(Bug::ResponseNotCovered) {
            self.owed = self.owed.max(Some(ts));
        }
        assert!(self.owed >= Some(ts));
    }
}

impl Session {
    /// Takes the timestamp of a transition.
    pub(super) fn transition_begun(
        &mut self,
        now: Now,
        ts: Timestamp,
        invalidated: Vec<QueryId>,
    ) -> Result<()> {
        let Phase::Beginning { floor } = self.transitions.phase else {
            return Err(Error::internal("no transition was to begin"));
        };
        if ts < floor {
            return Err(Error::internal(format!(
                "the client has seen {floor:?}, a transition to {ts:?} would go back"
            )));
        }
        self.identity.check_current(now.wall)?;
        for id in self.queries.activate() {
            self.outbox.push(Effect::Unsubscribe(id));
        }
        assert!(
            ts >= self.transitions.version.ts,
            "the client never goes back"
        );
        self.queries.invalidate(invalidated);
        if !self.identity.is_equivalent(&self.transitions.identity) {
            self.queries.invalidate_all();
        }
        self.transitions.identity = Arc::clone(&self.identity);
        self.transitions.phase = Phase::Evaluating(Attempt {
            end: StateVersion {
                query_set: self.queries.version(),
                identity: self.identity_version,
                ts,
            },
            evaluated: self.queries.start_evaluation(),
            mutation: self.requests.running_mutation().map(|m| m.serial),
        });
        Ok(())
    }

    /// What holds between any two steps.
    pub(super) fn check_transitions(&self) {
        let Transitions { version, phase, .. } = &self.transitions;
        assert!(version.query_set <= self.queries.version());
        assert!(version.identity <= self.identity_version);
        assert!(
            self.outbox.unsent_transitions() <= self.config.limits.unsent_transitions,
            "a slow client is not sent more"
        );
        let evaluating = self.queries.is_evaluating();
        match phase {
            Phase::Idle => assert!(!evaluating),
            Phase::Beginning { floor } => {
                assert!(!evaluating);
                assert!(*floor >= version.ts, "the client never goes back");
            }
            Phase::Evaluating(attempt) => {
                assert!(evaluating, "a transition that is evaluated moves on");
                assert!(attempt.end.ts >= version.ts);
                assert!(attempt.end.query_set <= self.queries.version());
                assert!(attempt.end.identity <= self.identity_version);
            }
            Phase::Holding(attempt, _) => {
                assert!(!evaluating);
                assert!(attempt.end.ts >= version.ts);
                assert!(attempt.mutation.is_some(), "it waits for a mutation");
            }
        }
        assert!(
            self.transitions.retry.is_none() || matches!(phase, Phase::Idle),
            "a pause is over when a transition begins"
        );
    }

    /// Moves on as far as possible.
    pub(super) fn advance_transition(&mut self, now: Now) -> Result<()> {
        if let Phase::Evaluating(attempt) = self.transitions.phase {
            self.evaluate(&attempt)?;
            if !self.queries.is_evaluating() {
                self.evaluated(now, attempt)?;
            }
        }
        if let Phase::Holding(attempt, until) = self.transitions.phase
            && (now.monotonic >= until || !self.may_commit_within(&attempt))
        {
            self.send_transition(now, attempt);
        }
        if matches!(self.transitions.phase, Phase::Idle)
            && self.transition_is_due()
            && self.transition_may_begin(now)
        {
            self.transitions.is_invalidated = false;
            self.transitions.retry = None;
            let floor = self.transitions.version.ts;
            self.transitions.phase = Phase::Beginning {
                floor: self.transitions.owed.map_or(floor, |ts| ts.max(floor)),
            };
            self.outbox.push(Effect::BeginTransition);
        }
        Ok(())
    }

    /// When [`advance_transition`](Self::advance_transition) can move on by time alone.
    pub(super) fn transition_timeout(&self) -> Option<Duration> {
        match (&self.transitions.phase, self.transitions.retry) {
            (Phase::Holding(_, until), _) => Some(*until),
            (Phase::Idle, Some(retry)) if self.client_keeps_up() => Some(retry.at),
            _ => None,
        }
    }

    fn versions(&self) -> (u32, u32) {
        (self.queries.version(), self.identity_version)
    }

    fn transition_is_due(&self) -> bool {
        let StateVersion {
            query_set,
            identity,
            ..
        } = self.transitions.version;
        self.transitions.is_invalidated
            || self.transitions.owed.is_some()
            || self.versions() != (query_set, identity)
    }

    fn transition_may_begin(&self, now: Now) -> bool {
        let pauses = self
            .transitions
            .retry
            .is_some_and(|retry| now.monotonic < retry.at && self.versions() == retry.versions);
        !pauses && self.client_keeps_up()
    }

    fn client_keeps_up(&self) -> bool {
        let limits = &self.config.limits;
        self.outbox.unsent_transitions() < limits.unsent_transitions
            && self.outbox.unsent_transition_bytes() <= limits.unsent_transition_bytes
    }

    fn evaluate(&mut self, attempt: &Attempt) -> Result<()> {
        let concurrency = self.config.limits.running_queries;
        assert!(concurrency > 0, "some query can run");
        assert!(attempt.end.ts >= self.transitions.version.ts);
        while let Some((query_id, query)) = self.queries.next_run(concurrency) {
            if query.spec.is_refused {
                let Limits {
                    queries,
                    query_bytes,
                    ..
                } = self.config.limits;
                let outcome = failed_query(
                    self.session_id().cloned(),
                    query_id,
                    &format!(
                        "TooManyQueries: this client watches too much. One connection has at most {queries} queries, \
                         with {query_bytes} bytes of arguments."
                    ),
                );
                self.query_done(query_id, Ok(Arc::new(outcome)))?;
                continue;
            }
            self.outbox.push(Effect::RunQuery(QueryRun {
                query_id,
                ts: attempt.end.ts,
                path: Arc::clone(&query.spec.path),
                args: Arc::clone(&query.spec.args),
                component: query.spec.component.clone(),
                journal: query.journal.clone(),
                identity: Arc::clone(&self.transitions.identity),
            }));
        }
        Ok(())
    }

    /// Takes the result of a query.
    pub(super) fn query_done(
        &mut self,
        query_id: QueryId,
        result: Result<Arc<QueryOutcome>>,
    ) -> Result<()> {
        let bytes_max = self.config.limits.transition_bytes;
        let session_id = self.session_id().cloned();
        let too_large = || {
            failed_query(
                session_id,
                query_id,
                &format!(
                    "TooLargeTransition: the results of this client's queries are too large to be sent together: \
                     they have at most {bytes_max} bytes. Watch fewer queries, or smaller results."
                ),
            )
        };
        self.queries
            .finish_run(query_id, result, bytes_max, too_large)
    }

    fn evaluated(&mut self, now: Now, attempt: Attempt) -> Result<()> {
        assert!(!self.queries.is_evaluating(), "all results are in");
        if let Some(error) = self.queries.take_fault() {
            if !is_transient(&error) {
                return Err(error);
            }
            let (first, longest) = self.config.limits.retry_backoff;
            let factor = 1 << self.transitions.failures.min(30);
            self.transitions.failures += 1;
            assert!(self.transitions.retry.is_none(), "one pause at a time");
            self.transitions.retry = Some(Retry {
                at: now.monotonic + first.saturating_mul(factor).min(longest),
                versions: (attempt.end.query_set, attempt.end.identity),
            });
            self.transitions.is_invalidated = true;
            self.transitions.phase = Phase::Idle;
            return Ok(());
        }
        self.transitions.failures = 0;
        if self.may_commit_within(&attempt) {
            let until = now.monotonic + self.config.limits.mutation_hold;
            self.transitions.phase = Phase::Holding(attempt, until);
        } else {
            self.send_transition(now, attempt);
        }
        Ok(())
    }

    /// Whether a mutation runs that may have committed before the transition's timestamp was chosen. One that
    /// started later commits later.
    fn may_commit_within(&self, attempt: &Attempt) -> bool {
        let running = self.requests.running_mutation();
        let is_running = running.map(|m| m.serial) == attempt.mutation;
        attempt.mutation.is_some() && is_running && !planted(Bug::MutationNotHeldFor)
    }

    fn send_transition(&mut self, now: Now, attempt: Attempt) {
        self.transitions.phase = Phase::Idle;
        let start = self.transitions.version;
        let end = attempt.end;
        assert!(start.ts <= end.ts, "time goes back: {start:?} to {end:?}");
        assert!(start.query_set <= end.query_set, "{start:?} to {end:?}");
        assert!(start.identity <= end.identity, "{start:?} to {end:?}");
        let modifications = self.queries.tell();
        let only_time_moved = modifications.is_empty()
            && attempt.evaluated == 0
            && (start.query_set, start.identity) == (end.query_set, end.identity);
        if only_time_moved && self.transitions.owed.is_none() {
            return;
        }
        let clock = self.clock_skew.map(|skew| (skew, now.wall));
        let text = server_message::transition(start, end, &modifications, clock);
        let chunk_bytes = self.config.limits.chunk_bytes;
        if text.len() > chunk_bytes && self.config.client.assembles_chunks() {
            let id = format!("t-{}", self.transitions.chunked);
            self.transitions.chunked += 1;
            let mut chunks = chunk::split(&text, chunk_bytes, &id);
            let last = chunks.pop().expect("a transition is not empty");
            assert!(!chunks.is_empty(), "it did not fit into one");
            for chunk in chunks {
                self.send(now, Kind::Chunk, chunk);
            }
            self.send(now, Kind::Transition, last);
        } else {
            self.send(now, Kind::Transition, text);
        }
        if !planted(Bug::VersionNotAdvanced) {
            self.transitions.version = end;
        }
        if self.transitions.owed.is_some_and(|ts| ts <= end.ts) {
            self.transitions.owed = None;
        }
    }
}

/// The outcome of a query that the session does not run, or cannot tell.
fn failed_query(session_id: Option<Arc<str>>, query_id: QueryId, why: &str) -> QueryOutcome {
    let error = FunctionError {
        request_id: RequestId::of_session(session_id.as_deref().unwrap_or(""), query_id),
        printed: Some(format!("{why}\n")),
        data: None,
    };
    QueryOutcome::failure(&error, &[], None)
}
