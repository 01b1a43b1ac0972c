//! Fair turns for transactions that conflict.
//!
//! A transaction that lost against another runs again, but first it queues for what both touched. Those who wait for
//! the same key go one after another, in order of arrival, each only after the one before has committed: under any
//! number of contenders every turn of the queue makes progress, and no one needs to guess a delay.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_channel::oneshot;
use sha2::{Digest, Sha256};

use crate::concurrency::{Mutex, MutexGuard};
use crate::persistence::IndexId;

/// What is contended for: a key of an index, or with an empty key the whole index. A long key is known by its hash, as
/// keys can be as large as documents; those of equal hash would only wait for each other without need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot(IndexId, Vec<u8>);

impl Spot {
    pub(super) fn new(index: IndexId, key: &[u8]) -> Self {
        let known_by = match key.len() {
            0..=64 => key.to_vec(),
            _ => Sha256::digest(key).to_vec(),
        };
        Self(index, known_by)
    }
}

/// Queues by spot.
#[derive(Debug, Default)]
pub(super) struct Contention {
    /// Who waits for each spot that is taken.
    queues: Mutex<BTreeMap<Spot, VecDeque<oneshot::Sender<()>>>>,
}

impl Contention {
    /// Waits for the spot to be free and takes it.
    pub(super) async fn enter(self: &Arc<Self>, spot: Spot) -> Turn {
        let wait = {
            let mut queues = self.lock();
            match queues.get_mut(&spot) {
                None => {
                    queues.insert(spot.clone(), VecDeque::new());
                    None
                }
                Some(queue) => {
                    let (sender, receiver) = oneshot::channel();
                    queue.push_back(sender);
                    Some(receiver)
                }
            }
        };
        // Made before waiting, so that a caller who gives up after being called still passes the spot on.
        let mut turn = Turn {
            contention: self.clone(),
            spot,
            taken: wait.is_none(),
        };
        if let Some(mut wait) = wait {
            let guard = WaitGuard {
                turn: &mut turn,
                wait: &mut wait,
            };
            guard.wait().await;
        }
        turn
    }

    /// How many spots are taken.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Spot, VecDeque<oneshot::Sender<()>>>> {
        self.queues
            .lock()
            .expect("no one panics while holding the queues")
    }
}

/// Marks the turn as taken even if the wait is abandoned between being called and noticing it.
struct WaitGuard<'a> {
    turn: &'a mut Turn,
    wait: &'a mut oneshot::Receiver<()>,
}

impl WaitGuard<'_> {
    async fn wait(self) {
        let called = (&mut *self.wait).await;
        called.expect("a spot is passed on until no one waits");
        self.turn.taken = true;
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        if !self.turn.taken && matches!(self.wait.try_recv(), Ok(Some(()))) {
            self.turn.taken = true;
        }
    }
}

/// A spot that is taken. Dropping it calls the next in the queue.
#[derive(Debug)]
pub(super) struct Turn {
    contention: Arc<Contention>,
    spot: Spot,
    taken: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.taken {
            return;
        }
        let mut queues = self.contention.lock();
        let queue = queues
            .get_mut(&self.spot)
            .expect("a taken spot has a queue");
        loop {
            match queue.pop_front() {
                None => {
                    queues.remove(&self.spot);
                    return;
                }
                Some(next) => {
                    if next.send(()).is_ok() {
                        return;
                    }
                }
            }
        }
    }
}
