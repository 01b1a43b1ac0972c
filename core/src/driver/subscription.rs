//! Subscriptions: a read set that is watched until a commit touches it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures_channel::mpsc;

use super::database::Inner;
use crate::catalog::well_known;
use crate::commit::WrittenKeys;
use crate::concurrency::{AtomicU64, Mutex};
use crate::planted::{Bug, planted};
use crate::subscription::{SubscriptionId, SubscriptionIndex};
use crate::timestamp::Timestamp;
use crate::transaction::ReadSet;

/// All live subscriptions of a database.
#[derive(Default)]
pub(super) struct Subscriptions {
    index: SubscriptionIndex,
    states: BTreeMap<SubscriptionId, Arc<SubscriptionState>>,
    last: u64,
}

impl Subscriptions {
    pub(super) fn add(
        &mut self,
        reads: &ReadSet,
        missed: Option<Timestamp>,
        database: Weak<Inner>,
    ) -> Subscription {
        self.last += 1;
        let id = SubscriptionId(self.last);
        let newest = self.states.last_key_value();
        assert!(newest.is_none_or(|(newest, _)| *newest < id));
        let state = Arc::new(SubscriptionState {
            invalidated_at: AtomicU64::new(missed.map_or(VALID, |ts| ts.0)),
            watchers: Mutex::default(),
        });
        if missed.is_none() {
            self.index.insert(id, reads.ranges());
            let twice = self.states.insert(id, state.clone());
            assert!(twice.is_none(), "ids are never used again");
        }
        self.check();
        Subscription {
            id,
            state,
            database,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Marks every subscription that a commit touches. It is then done: it leaves the index.
    pub(super) fn invalidate(
        &mut self,
        keys: &WrittenKeys,
        ts: Timestamp,
        fired: &mut Vec<Arc<SubscriptionState>>,
    ) {
        let mut touched = self.index.touched(keys.iter());
        if planted(Bug::CatalogTouchesNothing) {
            let is_catalog =
                |index| [well_known::TABLES_BY_NAME, well_known::INDEXES_BY_TABLE].contains(&index);
            touched = self
                .index
                .touched(keys.iter().filter(|(index, _)| !is_catalog(*index)));
        }
        let reached = match planted(Bug::OneSubscriptionTouched) {
            true => 1,
            false => usize::MAX,
        };
        for id in touched.into_iter().take(reached) {
            let state = self.remove(id).expect("indexed subscriptions have a state");
            if !planted(Bug::ToldNotInvalid) {
                let before = state.invalidated_at.swap(ts.0, Ordering::AcqRel);
                assert_eq!(before, VALID, "a subscription fires once");
                assert_ne!(ts.0, VALID, "time has not ended");
            }
            if !planted(Bug::InvalidNotTold) {
                fired.push(state);
            }
        }
        self.check();
    }

    /// Exactly those that have a state are looked for.
    fn check(&self) {
        assert_eq!(self.index.len(), self.states.len());
    }

    fn remove(&mut self, id: SubscriptionId) -> Option<Arc<SubscriptionState>> {
        let state = self.states.remove(&id)?;
        let indexed = self.index.remove(id);
        assert!(indexed, "a subscription with a state is in the index");
        Some(state)
    }
}

const VALID: u64 = u64::MAX;

pub(super) struct SubscriptionState {
    /// Timestamp of the first commit that touched the read set, or [`VALID`].
    invalidated_at: AtomicU64,
    watchers: Mutex<Vec<Weak<Watcher>>>,
}

impl SubscriptionState {
    /// Tells all watchers, once: a subscription is invalidated only once.
    pub(super) fn notify(&self) {
        assert_ne!(
            self.invalidated_at.load(Ordering::Acquire),
            VALID,
            "only invalid subscriptions fire"
        );
        let watchers = std::mem::take(
            &mut *self
                .watchers
                .lock()
                .expect("no one panics while holding the watchers"),
        );
        for watcher in watchers.iter().filter_map(Weak::upgrade) {
            watcher.notify();
        }
    }
}

/// Who is told, once, that a subscription became invalid. Dropping it is enough to be told no more.
#[derive(Debug)]
pub struct Watcher {
    /// Where the token goes.
    pub sender: mpsc::UnboundedSender<u64>,
    /// Tells the receiver which of its subscriptions it was.
    pub token: u64,
}

impl Watcher {
    fn notify(&self) {
        // A receiver that is gone does not care.
        let _ = self.sender.unbounded_send(self.token);
    }
}

/// Interest in a read set, until it is touched or dropped.
pub struct Subscription {
    id: SubscriptionId,
    state: Arc<SubscriptionState>,
    database: Weak<Inner>,
}

impl Subscription {
    /// The commit that touched the read set, if one has.
    pub fn invalidated_at(&self) -> Option<Timestamp> {
        match self.state.invalidated_at.load(Ordering::Acquire) {
            VALID => None,
            ts => {
                assert!(ts > 0, "a commit has a timestamp");
                Some(Timestamp(ts))
            }
        }
    }

    /// Whether what was read is still the same at `ts`, a published snapshot at or after the one it was read at.
    pub fn is_valid_at(&self, ts: Timestamp) -> bool {
        self.invalidated_at()
            .is_none_or(|invalidated| invalidated > ts)
    }

    /// Has `watcher` told when the subscription becomes invalid; at once if it is already.
    pub fn watch(&self, watcher: &Arc<Watcher>) {
        {
            let mut watchers = self
                .state
                .watchers
                .lock()
                .expect("no one panics while holding the watchers");
            if watchers.len() == watchers.capacity() {
                watchers.retain(|watcher| watcher.strong_count() > 0);
            }
            watchers.push(Arc::downgrade(watcher));
        }
        // Checked after the push, so that an invalidation in between is not missed; being told twice is harmless.
        if self.invalidated_at().is_some() && !planted(Bug::LateWatcherNotTold) {
            self.state.notify();
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(database) = self.database.upgrade() {
            let removed =
                database.with_subscriptions(|subscriptions| subscriptions.remove(self.id));
            // Dropped outside of the lock.
            drop(removed);
        }
    }
}

#[cfg(all(test, feature = "loom"))]
mod interleavings {
    //! Run by `cargo test -p concave-core --features loom --lib interleavings`.

    use loom::thread;

    use super::*;
    use crate::persistence::{IndexId, KeyRange};

    const KEY: (IndexId, u8) = (IndexId(1), 7);

    fn read_set() -> ReadSet {
        let mut reads = ReadSet::default();
        reads.insert(KEY.0, KeyRange::point(vec![KEY.1]));
        reads
    }

    /// Someone begins to watch while a commit comes: whatever the order, they are told, and see that it is so.
    #[test]
    fn a_watcher_is_told_whatever_comes_first() {
        loom::model(|| {
            let mut subscriptions = Subscriptions::default();
            let subscription = subscriptions.add(&read_set(), None, Weak::new());
            let commit = thread::spawn(move || {
                let keys = WrittenKeys::new(vec![(KEY.0, vec![KEY.1])]);
                let mut fired = Vec::new();
                subscriptions.invalidate(&keys, Timestamp(5), &mut fired);
                assert_eq!(fired.len(), 1);
                fired.iter().for_each(|state| state.notify());
            });
            let (sender, mut told) = mpsc::unbounded();
            let watcher = Arc::new(Watcher { sender, token: 3 });
            subscription.watch(&watcher);
            let seen_early = subscription.invalidated_at();
            assert!(seen_early.is_none_or(|ts| ts == Timestamp(5)));
            commit.join().unwrap();
            assert_eq!(subscription.invalidated_at(), Some(Timestamp(5)));
            assert_eq!(told.try_recv().ok(), Some(3), "it was told");
        });
    }

    /// Two watch at once, one of them goes away meanwhile: the other is told.
    #[test]
    fn watchers_do_not_displace_each_other() {
        loom::model(|| {
            let mut subscriptions = Subscriptions::default();
            let subscription = Arc::new(subscriptions.add(&read_set(), None, Weak::new()));
            let other = subscription.clone();
            let passing = thread::spawn(move || {
                let (sender, _) = mpsc::unbounded();
                other.watch(&Arc::new(Watcher { sender, token: 1 }));
            });
            let (sender, mut told) = mpsc::unbounded();
            let watcher = Arc::new(Watcher { sender, token: 2 });
            subscription.watch(&watcher);
            let keys = WrittenKeys::new(vec![(KEY.0, vec![KEY.1])]);
            let mut fired = Vec::new();
            subscriptions.invalidate(&keys, Timestamp(9), &mut fired);
            fired.iter().for_each(|state| state.notify());
            passing.join().unwrap();
            assert_eq!(told.try_recv().ok(), Some(2));
        });
    }
}
