//! A bounded number of worlds, lent to calls.
//!
//! A call keeps its world from its first turn to its last, also while it waits for system calls, one of which may be a
//! nested call that needs a world too. So that callers never keep their callees waiting, every depth of nesting has
//! places of its own: a call only ever waits for calls of its depth, which wait for deeper ones at most. Within a depth
//! calls are served in the order of their arrival. Worlds are made by whoever gets a place without one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

use crate::world::World;

/// Depths told apart; deeper calls share the last. Greater than the depth that the core allows.
const DEPTHS: usize = 16;

/// The worlds.
pub(crate) struct Slots {
    state: Mutex<State>,
    /// Places of each depth, and worlds kept while idle.
    bound: usize,
}

#[derive(Default)]
struct State {
    /// Most recently used last.
    idle: Vec<World>,
    depths: [Depth; DEPTHS],
}

#[derive(Default)]
struct Depth {
    /// Places lent.
    lent: usize,
    queue: VecDeque<oneshot::Sender<Lease>>,
}

/// A place, with its world unless that has yet to be made. Gives both back when dropped.
pub(crate) struct Lease {
    slots: Arc<Slots>,
    depth: usize,
    pub(crate) world: Option<World>,
}

impl Slots {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        assert!(bound > 0, "a class of calls needs a slot");
        Arc::new(Self {
            state: Mutex::default(),
            bound,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a call, at best with a world that `suits` it. None if the engine ends meanwhile.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        depth: u32,
        suits: impl Fn(&World) -> bool,
    ) -> Option<Lease> {
        let depth = (depth as usize).min(DEPTHS - 1);
        let receiver = {
            let mut state = self.state();
            if state.depths[depth].lent < self.bound {
                state.depths[depth].lent += 1;
                let suited = state.idle.iter().rposition(suits);
                let world = match suited {
                    Some(index) => Some(state.idle.remove(index)),
                    // As long as there may be more worlds, one of its own: so modules spread over them.
                    None if state.worlds() < self.bound => None,
                    None => state.idle.pop(),
                };
                return Some(self.place(depth, world));
            }
            let (sender, receiver) = oneshot::channel();
            state.depths[depth].queue.push_back(sender);
            receiver
        };
        receiver.await.ok()
    }

    fn place(self: &Arc<Self>, depth: usize, world: Option<World>) -> Lease {
        Lease {
            slots: self.clone(),
            depth,
            world,
        }
    }
}

impl State {
    /// Worlds that exist or are being made, at most.
    fn worlds(&self) -> usize {
        self.idle.len() + self.depths.iter().map(|depth| depth.lent).sum::<usize>()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut world = self.world.take();
        if let Some(world) = &mut world {
            world.host().release();
        }
        let next = {
            let mut state = self.slots.state();
            let depth = &mut state.depths[self.depth];
            // Callers that are gone need no place.
            while depth
                .queue
                .front()
                .is_some_and(oneshot::Sender::is_canceled)
            {
                depth.queue.pop_front();
            }
            let Some(next) = depth.queue.pop_front() else {
                depth.lent -= 1;
                if state.idle.len() < self.slots.bound {
                    state.idle.extend(world);
                }
                return;
            };
            next
        };
        // If the caller has gone since, the lease comes back and serves the next one as it is dropped here.
        drop(next.send(self.slots.place(self.depth, world)));
    }
}
