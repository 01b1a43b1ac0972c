//! A bounded number of worlds, lent to calls.
//!
//! A call keeps its world from its first turn to its last, also while it waits for system calls. Calls beyond the bound
//! wait in order of arrival. A call that waits may wait for a nested one, which needs a world too: so when all worlds
//! are lent to calls that wait, the next call gets an additional one, which is given up at its end. Worlds are made by
//! whoever gets a place without one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

use crate::world::World;

/// The worlds.
pub(crate) struct Slots {
    state: Mutex<State>,
    bound: usize,
}

struct State {
    /// Most recently used last.
    idle: Vec<World>,
    /// Places lent.
    lent: usize,
    /// Those of them whose call waits for system calls.
    waiting: usize,
    queue: VecDeque<oneshot::Sender<Lease>>,
}

/// A place, with its world unless that has yet to be made. Gives both back when dropped.
pub(crate) struct Lease {
    slots: Arc<Slots>,
    pub(crate) world: Option<World>,
    is_waiting: bool,
}

impl Slots {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        assert!(bound > 0, "a class of calls needs a slot");
        Arc::new(Self {
            state: Mutex::new(State {
                idle: Vec::new(),
                lent: 0,
                waiting: 0,
                queue: VecDeque::new(),
            }),
            bound,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a call, at best with a world that `suits` it.
    pub(crate) async fn lease(self: &Arc<Self>, suits: impl Fn(&World) -> bool) -> Option<Lease> {
        let receiver = {
            let mut state = self.state();
            if state.lent < self.bound || state.lent == state.waiting {
                state.lent += 1;
                let suited = state.idle.iter().rposition(suits);
                let world = match suited {
                    Some(index) => Some(state.idle.remove(index)),
                    None if state.lent + state.idle.len() > self.bound => state.idle.pop(),
                    None => None,
                };
                return Some(self.place(world));
            }
            let (sender, receiver) = oneshot::channel();
            state.queue.push_back(sender);
            receiver
        };
        receiver.await.ok()
    }

    fn place(self: &Arc<Self>, world: Option<World>) -> Lease {
        Lease {
            slots: self.clone(),
            world,
            is_waiting: false,
        }
    }

    /// Lets queued calls have what places there are.
    fn serve(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            if state.lent >= self.bound && state.lent > state.waiting {
                return;
            }
            let Some(next) = state.queue.pop_front() else {
                return;
            };
            state.lent += 1;
            let world = state.idle.pop();
            drop(state);
            // If the caller is gone, the lease comes back and is dropped here.
            drop(next.send(self.place(world)));
        }
    }
}

impl Lease {
    /// Says that the call waits for system calls, or runs again.
    pub(crate) fn set_waiting(&mut self, is_waiting: bool) {
        if self.is_waiting == is_waiting {
            return;
        }
        self.is_waiting = is_waiting;
        let mut state = self.slots.state();
        if is_waiting {
            state.waiting += 1;
            drop(state);
            self.slots.serve();
        } else {
            state.waiting -= 1;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.lent -= 1;
        state.waiting -= usize::from(self.is_waiting);
        if let Some(world) = self.world.take()
            && state.lent + state.idle.len() < self.slots.bound
        {
            state.idle.push(world);
        }
        drop(state);
        self.slots.serve();
    }
}
