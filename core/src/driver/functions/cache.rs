//! Results of queries that are kept for whoever asks the same next.
//!
//! Everything that is kept for a result is counted, whatever it is: key, arguments, journal, value or error data, log
//! lines, the forms in which connections tell it, and the ranges that are watched. So a bound on bytes is a bound on
//! memory. What was not asked for the longest goes first, and goes by itself after some idle time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::oneshot;

use super::query::LiveQuery;
use crate::function::Access;
use crate::heap::{Heap, PIECE_BYTES};
use crate::limits::Limits;
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::value::{FunctionPath, Object};

/// What determines a result, beside the database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CacheKey {
    pub(super) path: FunctionPath,
    pub(super) args: Object,
    pub(super) journal: Option<String>,
    pub(super) access: Access,
    /// `None` for results that do not depend on it.
    pub(super) identity: Option<String>,
}

impl Heap for CacheKey {
    fn heap_bytes(&self) -> usize {
        self.path.heap_bytes()
            + self.args.heap_bytes()
            + self.journal.heap_bytes()
            + self.identity.heap_bytes()
    }
}

/// Who waits for a run.
pub(super) type Waiting = Vec<oneshot::Sender<Arc<LiveQuery>>>;

/// Invariants: `by_use` holds exactly the keys of `entries`, each at its entry's tick; `bytes` is their sum.
pub(super) struct QueryCache {
    bytes_max: usize,
    idle_max: Duration,
    timed_max: Duration,
    entries: BTreeMap<Arc<CacheKey>, Entry>,
    /// Keys by the tick of their last use: the first is the next to go.
    by_use: BTreeMap<u64, Arc<CacheKey>>,
    tick: u64,
    bytes: usize,
    /// Runs under way, by key with identity, and who waits for them.
    pub(super) running: BTreeMap<(CacheKey, Timestamp), Waiting>,
}

struct Entry {
    query: Arc<LiveQuery>,
    /// The tick of its last use, and when that was, monotonic.
    used: (u64, Duration),
    bytes: usize,
}

/// What an entry takes beside the content of its parts. Nodes of B-trees are at least half full.
const ENTRY_BYTES: usize = 2 * size_of::<(Arc<CacheKey>, Entry)>()
    + 2 * size_of::<(u64, Arc<CacheKey>)>()
    + size_of::<CacheKey>()
    + size_of::<LiveQuery>()
    + 4 * PIECE_BYTES;

impl QueryCache {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            bytes_max: limits.result_cache,
            idle_max: limits.result_cache_idle,
            timed_max: limits.timed_results,
            entries: BTreeMap::new(),
            by_use: BTreeMap::new(),
            tick: 0,
            bytes: 0,
            running: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(
        &mut self,
        key: &CacheKey,
        ts: Timestamp,
        now: Duration,
    ) -> Option<Arc<LiveQuery>> {
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
        let fresh = !query.timed || now.saturating_sub(query.ran_at) < self.timed_max;
        if !query.is_valid_at(ts) || !fresh {
            return None;
        }
        self.tick += 1;
        let before = std::mem::replace(&mut entry.used, (self.tick, now));
        let shared = self.by_use.remove(&before.0);
        let shared = shared.expect("every entry has a tick");
        self.by_use.insert(self.tick, shared);
        Some(query)
    }

    /// Keeps a result, unless it alone would take more than a quarter of the room.
    pub(super) fn insert(&mut self, key: CacheKey, query: Arc<LiveQuery>, now: Duration) {
        self.remove(&key);
        let bytes = ENTRY_BYTES + key.heap_bytes() + query.heap_bytes();
        if bytes > self.bytes_max / 4 {
            return;
        }
        self.tick += 1;
        self.bytes += bytes;
        let key = Arc::new(key);
        query.keep_as(&key);
        self.by_use.insert(self.tick, key.clone());
        let used = (self.tick, now);
        self.entries.insert(key, Entry { query, used, bytes });
        self.make_room();
        self.check();
    }

    /// Notes that more is kept for a result than when it was inserted, if it is kept at all.
    pub(super) fn grew(&mut self, query: &Arc<LiveQuery>, bytes: usize) {
        let entry = query.kept_as().and_then(|key| self.entries.get_mut(key));
        if let Some(entry) = entry
            && Arc::ptr_eq(&entry.query, query)
        {
            entry.bytes += bytes;
            self.bytes += bytes;
            self.make_room();
        }
    }

    /// Forgets what was not asked for since some time, and what does not hold any more.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some((_, key)) = self.by_use.first_key_value() {
            let entry = self.entries.get(key).expect("a tick belongs to an entry");
            if now.saturating_sub(entry.used.1) < self.idle_max {
                break;
            }
            let key = key.clone();
            self.remove(&key);
        }
        let is_over = |entry: &Entry| entry.query.subscription.invalidated_at().is_some();
        let over = self.entries.iter().filter(|(_, entry)| is_over(entry));
        let over: Vec<_> = over.map(|(key, _)| key.clone()).collect();
        for key in over {
            self.remove(&key);
        }
        self.check();
    }

    fn make_room(&mut self) {
        while self.bytes > self.bytes_max {
            let oldest = self.by_use.first_key_value();
            let (_, oldest) = oldest.expect("what is too much is something");
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used.0);
            self.bytes -= entry.bytes;
        }
    }

    fn check(&self) {
        debug_assert_eq!(self.entries.len(), self.by_use.len());
        assert!(self.bytes <= self.bytes_max);
        assert!(!self.entries.is_empty() || self.bytes == 0);
    }
}
