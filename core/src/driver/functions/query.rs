//! Queries: run at a snapshot, cached with their read set, shared by everyone who asks the same.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_channel::oneshot;
use serde_json::Value as Json;

use super::{CallContext, Ended, Functions, UdfOutcome};
use crate::concurrency::MutexGuard;
use crate::driver::admission::Class;
use crate::driver::in_memory::InMemory;
use crate::driver::subscription::Subscription;
use crate::driver::system::{self, run_system_function};
use crate::engine::{Failure, FunctionKind, LogLine, Observed};
use crate::error::Result;
use crate::function::{self, Access};
use crate::limits::Limits;
use crate::planted::{Bug, planted};
use crate::request_id::RequestId;
use crate::sync::{FunctionError, QueryOutcome};
use crate::timestamp::Timestamp;
use crate::transaction::Snapshot;
use crate::value::{FunctionPath, Object, Value};

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
    ran_at: Duration,
    /// Whether it looked at the clock.
    timed: bool,
    bytes: usize,
}

impl LiveQuery {
    /// Whether the query would give the same at `ts`.
    pub fn is_valid_at(&self, ts: Timestamp) -> bool {
        self.ts <= ts && self.subscription.is_valid_at(ts)
    }

    /// The result in the form in which connections tell it, rendered once for all of them. `redacted`: without log
    /// lines and the texts of exceptions.
    pub fn outcome(&self, redacted: bool) -> &Arc<QueryOutcome> {
        let rendered = if redacted {
            &self.redacted
        } else {
            &self.shown
        };
        rendered.get_or_init(|| Arc::new(self.render(redacted)))
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

/// What determines a result, beside the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CacheKey {
    path: FunctionPath,
    args: Object,
    journal: Option<String>,
    access: Access,
    /// `None` for results that do not depend on it.
    identity: Option<String>,
}

pub(super) struct QueryCache {
    limits: Limits,
    entries: BTreeMap<CacheKey, Entry>,
    /// Keys by the tick of their last use: the first is the next to go.
    by_use: BTreeMap<u64, CacheKey>,
    tick: u64,
    bytes: usize,
    /// Runs under way, by key with identity, and who waits for them.
    running: BTreeMap<(CacheKey, Timestamp), Vec<oneshot::Sender<Arc<LiveQuery>>>>,
}

struct Entry {
    query: Arc<LiveQuery>,
    used: u64,
}

impl QueryCache {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            by_use: BTreeMap::new(),
            tick: 0,
            bytes: 0,
            running: BTreeMap::new(),
        }
    }

    fn get(&mut self, key: &CacheKey, ts: Timestamp, now: Duration) -> Option<Arc<LiveQuery>> {
        if planted(Bug::CacheServesStale) {
            return self.entries.get(key).map(|entry| entry.query.clone());
        }
        if planted(Bug::CacheIgnoresArguments) {
            let mut others = self
                .entries
                .iter()
                .filter(|(other, _)| other.path == key.path);
            let same_time = others.find(|(_, entry)| entry.query.is_valid_at(ts));
            return same_time.map(|(_, entry)| entry.query.clone());
        }
        let entry = self.entries.get_mut(key)?;
        let query = entry.query.clone();
        if query.subscription.invalidated_at().is_some() && !query.is_valid_at(ts) {
            self.remove(key);
            return None;
        }
        let fresh = !query.timed || now.saturating_sub(query.ran_at) < self.limits.timed_results;
        if !query.is_valid_at(ts) || !fresh {
            return None;
        }
        self.tick += 1;
        self.by_use.remove(&entry.used);
        entry.used = self.tick;
        self.by_use.insert(self.tick, key.clone());
        Some(query)
    }

    fn insert(&mut self, key: CacheKey, query: Arc<LiveQuery>) {
        self.remove(&key);
        self.tick += 1;
        self.bytes += query.bytes;
        self.by_use.insert(self.tick, key.clone());
        self.entries.insert(
            key,
            Entry {
                query,
                used: self.tick,
            },
        );
        while self.bytes > self.limits.result_cache {
            let oldest = self.by_use.first_key_value();
            let (_, oldest) = oldest.expect("what is too much is something");
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
        debug_assert_eq!(self.entries.len(), self.by_use.len());
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.query.bytes;
        }
    }
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
        let (query, identity_read) = self.run_query(context, &anyone, snapshot).await?;
        let query = Arc::new(query);
        let key = if identity_read { someone } else { anyone };
        running.finish(key, &query);
        Ok(query)
    }

    async fn run_query(
        &self,
        context: &CallContext,
        key: &CacheKey,
        snapshot: &Snapshot,
    ) -> Result<(LiveQuery, bool)> {
        let database = &self.shared.database;
        let ran_at = database.runtime().monotonic();
        let mut tx = match planted(Bug::QueriesReadNewest) {
            true => database.begin(),
            false => database.begin_at(snapshot.clone()),
        };
        let is_system = system::is_system(&key.path);
        let (tx, outcome, journal, identity_read) = if is_system {
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
            (tx, outcome, ran.journal, false)
        } else {
            let deployment = self.deployment(&mut tx).await?;
            match function::find_function(
                &deployment,
                &key.path,
                Some(FunctionKind::Query),
                context.access,
            ) {
                Err(failure) => (tx, UdfOutcome::failed(failure), None, false),
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
                    (state.tx, outcome, state.journal_out, state.identity_read)
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
        // The result counts twice: it is kept as connections tell it, too.
        let size = 2 * result.as_ref().map_or(256, Value::size)
            + key.args.size()
            + tx.reads().size()
            + 512;
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
            bytes: size,
        };
        Ok((query, identity_read))
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
            bytes: 0,
        })
    }

    pub(in crate::driver) fn count(&self, counts: &mut InMemory) {
        let cache = self.lock_queries();
        counts.results = cache.entries.len();
        counts.result_bytes = cache.bytes;
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
    fn finish(mut self, key: CacheKey, query: &Arc<LiveQuery>) {
        let run = self.run.take().expect("a run finishes once");
        let waiting = {
            let mut cache = self.functions.lock_queries();
            cache.insert(key, query.clone());
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
