//! Queries: run at a snapshot, cached with their read set, shared by everyone who asks the same.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_channel::oneshot;
use serde_json::Value as Json;

use super::cache::{CacheKey, QueryCache};
use super::{CallContext, Ended, Functions, UdfOutcome};
use crate::concurrency::MutexGuard;
use crate::driver::admission::Class;
use crate::driver::in_memory::InMemory;
use crate::driver::subscription::Subscription;
use crate::driver::system::{self, run_system_function};
use crate::engine::{Cause, Failure, FunctionKind, LogLine, Observed};
use crate::error::Result;
use crate::function::{self, Access};
use crate::heap::{Heap, PIECE_BYTES};
use crate::planted::{Bug, planted};
use crate::request_id::RequestId;
use crate::sync::{FunctionError, QueryOutcome};
use crate::timestamp::Timestamp;
use crate::transaction::Snapshot;
use crate::value::{FunctionPath, Value};

/// A query result together with everything that tells whether it still holds.
pub struct LiveQuery {
    /// The returned value, or the failure: that, too, is a result.
    pub result: Result<Value, Failure>,
    /// What it printed.
    pub logs: Vec<LogLine>,
    /// What to run it with next time, so that a page keeps its end.
    pub journal: Option<String>,
    /// The snapshot it ran at.
    pub ts: Timestamp,
    /// Fires when something it read changes.
    pub subscription: Arc<Subscription>,
    /// The request for which it ran first.
    request_id: RequestId,
    /// The result as connections tell it, with and without what is hidden from clients.
    shown: OnceLock<Arc<QueryOutcome>>,
    redacted: OnceLock<Arc<QueryOutcome>>,
    /// When it ran, monotonic.
    pub(super) ran_at: Duration,
    /// Whether it looked at the clock.
    pub(super) timed: bool,
    /// What the ranges take that are watched for it, bytes.
    watched_bytes: usize,
    /// Where the cache has it.
    kept_as: OnceLock<Arc<CacheKey>>,
}

impl LiveQuery {
    /// Whether the query would give the same at `ts`.
    pub fn is_valid_at(&self, ts: Timestamp) -> bool {
        self.ts <= ts && self.subscription.is_valid_at(ts)
    }

    pub(super) fn keep_as(&self, key: &Arc<CacheKey>) {
        // One that is kept already stays where it is.
        let _ = self.kept_as.set(key.clone());
    }

    pub(super) fn kept_as(&self) -> Option<&Arc<CacheKey>> {
        self.kept_as.get()
    }

    fn render(&self, redacted: bool) -> QueryOutcome {
        let logs: Vec<_> = match redacted {
            true => Vec::new(),
            false => self.logs.iter().map(LogLine::to_string).collect(),
        };
        let journal = self.journal.as_deref();
        match &self.result {
            Ok(value) => QueryOutcome::success(&value.to_json_string(), &logs, journal),
            Err(failure) => {
                let error = FunctionError::new(self.request_id.clone(), failure, redacted);
                QueryOutcome::failure(&error, &logs, journal)
            }
        }
    }
}

impl Heap for LiveQuery {
    fn heap_bytes(&self) -> usize {
        let rendered = [&self.shown, &self.redacted].map(|rendered| {
            let outcome = rendered.get();
            outcome.map_or(0, |outcome| {
                outcome.heap_bytes() + size_of::<QueryOutcome>()
            })
        });
        self.result.heap_bytes()
            + self.logs.heap_bytes()
            + self.journal.heap_bytes()
            + self.watched_bytes
            + rendered.iter().sum::<usize>()
            + PIECE_BYTES
    }
}

/// For whom a result is kept.
enum Keep {
    /// For nobody: whoever asks again, runs it again.
    No,
    /// For whoever asks the same.
    Anyone,
    /// For those with the same identity, which it depends on.
    SameIdentity,
}

impl Functions {
    /// The result of a query as of `snapshot`: from the cache, from a run that is under way, or by running it.
    ///
    /// # Errors
    /// If storage fails, the path is malformed, or too many queries run.
    pub async fn query(
        &self,
        context: &CallContext,
        path: &str,
        args: Json,
        journal: Option<String>,
        snapshot: &Snapshot,
    ) -> Result<Arc<LiveQuery>> {
        let path = FunctionPath::parse(path)?;
        let args = match function::single_argument(&path, args) {
            Ok(args) => args,
            Err(failure) => return Ok(self.failed_query(context, failure, snapshot)),
        };
        let journal_max = self.shared.limits.journal;
        if let Some(journal) = &journal
            && journal.len() > journal_max
        {
            let failure = Failure::new(format!(
                "The journal of the query has {} bytes; the limit is {journal_max}. Begin again with the first page.",
                journal.len()
            ));
            return Ok(self.failed_query(context, failure, snapshot));
        }
        let anyone = CacheKey {
            path,
            args,
            journal,
            access: context.access,
            identity: None,
        };
        let someone = CacheKey {
            identity: Some(context.identity.cache_key()),
            ..anyone.clone()
        };
        let mut run = (someone.clone(), snapshot.ts);
        if planted(Bug::RunsSharedAcrossTime) {
            run.1 = Timestamp::ZERO;
        }
        let now = self.shared.database.runtime().monotonic();
        let wait = {
            let mut cache = self.lock_queries();
            let found = cache
                .get(&anyone, snapshot.ts, now)
                .or_else(|| cache.get(&someone, snapshot.ts, now));
            if let Some(query) = found {
                return Ok(query);
            }
            match cache.running.get_mut(&run) {
                Some(waiting) => {
                    let (sender, receiver) = oneshot::channel();
                    waiting.push(sender);
                    Some(receiver)
                }
                None => {
                    cache.running.insert(run.clone(), Vec::new());
                    None
                }
            }
        };
        if let Some(wait) = wait
            && let Ok(query) = wait.await
        {
            return Ok(query);
        }
        // Whoever waits is woken even if this run fails or is dropped: they then run the query themselves.
        let running = Running {
            functions: self,
            run: Some(run),
        };
        let (query, keep) = self.run_query(context, &anyone, snapshot).await?;
        let query = Arc::new(query);
        let key = match keep {
            Keep::No => None,
            Keep::Anyone => Some(anyone),
            Keep::SameIdentity => Some(someone),
        };
        running.finish(key, &query);
        Ok(query)
    }

    /// The result in the form in which connections tell it, rendered once for all of them. `redacted`: without log
    /// lines and the texts of exceptions.
    pub fn outcome(&self, query: &Arc<LiveQuery>, redacted: bool) -> Arc<QueryOutcome> {
        let rendered = match redacted {
            true => &query.redacted,
            false => &query.shown,
        };
        let mut bytes = 0;
        let outcome = rendered.get_or_init(|| {
            let outcome = query.render(redacted);
            bytes = outcome.heap_bytes() + size_of::<QueryOutcome>();
            Arc::new(outcome)
        });
        if bytes > 0 {
            self.lock_queries().grew(query, bytes);
        }
        outcome.clone()
    }

    /// Forgets results that nobody has asked for lately.
    pub(in crate::driver) fn expire_results(&self) {
        let now = self.shared.database.runtime().monotonic();
        self.lock_queries().expire(now);
    }

    async fn run_query(
        &self,
        context: &CallContext,
        key: &CacheKey,
        snapshot: &Snapshot,
    ) -> Result<(LiveQuery, Keep)> {
        let database = &self.shared.database;
        let ran_at = database.runtime().monotonic();
        let mut tx = match planted(Bug::QueriesReadNewest) {
            true => database.begin(),
            false => database.begin_at(snapshot.clone()),
        };
        let is_system = system::is_system(&key.path);
        let (tx, outcome, journal, keep) = if is_system {
            let ran = run_system_function(
                self,
                context,
                &mut tx,
                &key.path,
                FunctionKind::Query,
                key.args.clone(),
                key.journal.clone(),
            )
            .await?;
            let outcome = UdfOutcome::silent(ran.result);
            let keep = match context.access {
                Access::Internal => Keep::Anyone,
                Access::Public => Keep::No,
            };
            (tx, outcome, ran.journal, keep)
        } else {
            let deployment = self.deployment(&mut tx).await?;
            match function::find_function(
                &deployment,
                &key.path,
                Some(FunctionKind::Query),
                context.access,
            ) {
                // Whoever asks for what is not there is told at little cost, and there is no end of what is not there.
                Err(failure) => (tx, UdfOutcome::failed(failure), None, Keep::No),
                Ok(function) => {
                    let path = function.path.clone();
                    let bytes = key.args.size();
                    let _permit = self
                        .shared
                        .admission
                        .admit(Class::Query, context.client, bytes)
                        .await?;
                    let state = self.call_state(
                        context,
                        path,
                        FunctionKind::Query,
                        tx,
                        key.journal.clone(),
                    );
                    let (state, outcome) = self
                        .run_udf(&deployment, function, key.args.clone(), state)
                        .await?;
                    debug_assert!(state.tx.is_read_only(), "queries do not write");
                    let failure = outcome.result.as_ref().err();
                    let keep = match failure.map(|failure| failure.cause) {
                        Some(Cause::Time | Cause::Server) => Keep::No,
                        _ if state.identity_read => Keep::SameIdentity,
                        _ => Keep::Anyone,
                    };
                    (state.tx, outcome, state.journal_out, keep)
                }
            }
        };
        let UdfOutcome {
            result,
            logs,
            observed: Observed { time, .. },
            ..
        } = outcome;
        // A run that failed before it came to its page leaves the page's end where it was: the next run must not put
        // it elsewhere, since the page after it begins there.
        let journal = match &result {
            Err(_) => journal.or_else(|| key.journal.clone()),
            Ok(_) => journal,
        };
        if !is_system {
            let ended = Ended {
                failure: result.as_ref().err(),
                logs: &logs,
                usage: tx.usage(),
            };
            self.log_call(context, &key.path, FunctionKind::Query, ran_at, ended);
        }
        let query = LiveQuery {
            result,
            logs,
            journal,
            ts: snapshot.ts,
            subscription: Arc::new(database.subscribe(tx.reads(), snapshot)),
            request_id: context.request_id.clone(),
            shown: OnceLock::new(),
            redacted: OnceLock::new(),
            ran_at,
            timed: time,
            watched_bytes: tx.reads().watched_bytes(),
            kept_as: OnceLock::new(),
        };
        Ok((query, keep))
    }

    /// A query that failed before it read anything.
    pub(in crate::driver) fn failed_query(
        &self,
        context: &CallContext,
        failure: Failure,
        snapshot: &Snapshot,
    ) -> Arc<LiveQuery> {
        let database = &self.shared.database;
        Arc::new(LiveQuery {
            result: Err(failure),
            logs: Vec::new(),
            journal: None,
            ts: snapshot.ts,
            subscription: Arc::new(
                database.subscribe(&crate::transaction::ReadSet::default(), snapshot),
            ),
            request_id: context.request_id.clone(),
            shown: OnceLock::new(),
            redacted: OnceLock::new(),
            ran_at: database.runtime().monotonic(),
            timed: false,
            watched_bytes: 0,
            kept_as: OnceLock::new(),
        })
    }

    pub(in crate::driver) fn count(&self, counts: &mut InMemory) {
        let cache = self.lock_queries();
        counts.results = cache.len();
        counts.result_bytes = cache.bytes();
        counts.runs = cache.running.len();
        counts.calls = self.shared.admission.len();
        counts.turns = self.shared.contention.len() + self.shared.requests.len();
    }

    fn lock_queries(&self) -> MutexGuard<'_, QueryCache> {
        self.shared
            .queries
            .lock()
            .expect("no one panics while holding the query cache")
    }
}

/// A run that others may wait for.
struct Running<'a> {
    functions: &'a Functions,
    run: Option<(CacheKey, Timestamp)>,
}

impl Running<'_> {
    fn finish(mut self, key: Option<CacheKey>, query: &Arc<LiveQuery>) {
        let run = self.run.take().expect("a run finishes once");
        let now = self.functions.shared.database.runtime().monotonic();
        let waiting = {
            let mut cache = self.functions.lock_queries();
            if let Some(key) = key {
                cache.insert(key, query.clone(), now);
            }
            cache.running.remove(&run)
        };
        for waiter in waiting.into_iter().flatten() {
            // One that went away does not care.
            let _ = waiter.send(query.clone());
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.functions.lock_queries().running.remove(&run);
        }
    }
}
