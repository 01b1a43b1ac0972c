//! A bounded number of places, lent to calls.
//!
//! A call keeps its place from its first turn to its last, also while it waits for system calls, one of which may be a
//! nested call that needs a place too. So that callers never keep their callees waiting, every depth of nesting has
//! slots of its own: a call only ever waits for calls of its depth, which wait for deeper ones at most. Within a depth
//! calls are served in the order of their arrival. Places are made by whoever gets a slot without one.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use futures_channel::oneshot;

use super::seat::Place;
use crate::concurrency::{Mutex, MutexGuard};

/// Depths told apart; deeper calls share the last. Greater than the depth that the core allows.
const DEPTHS: usize = 16;

/// What is lent: in production, a [`Place`].
pub(crate) trait Reusable {
    /// Ends what the borrower did with it.
    fn release(&mut self);
}

impl<P: Place> Reusable for P {
    fn release(&mut self) {
        Place::release(self);
    }
}

/// The slots.
pub(crate) struct Slots<P: Reusable> {
    state: Mutex<State<P>>,
    /// Slots of each depth, and places kept while idle.
    bound: usize,
}

struct State<P: Reusable> {
    /// Most recently used last, each with the period of its last use.
    idle: Vec<(P, u64)>,
    /// Counts periods; see [`Slots::rest`].
    period: u64,
    depths: [Depth<P>; DEPTHS],
}

struct Depth<P: Reusable> {
    /// Slots lent.
    lent: usize,
    queue: VecDeque<oneshot::Sender<Lease<P>>>,
}

/// A slot, with its place unless that has yet to be made. Gives both back when dropped.
pub(crate) struct Lease<P: Reusable> {
    slots: Arc<Slots<P>>,
    depth: usize,
    pub(crate) place: Option<P>,
}

impl<P: Reusable> Slots<P> {
    pub(crate) fn new(bound: usize) -> Arc<Self> {
        assert!(bound > 0, "a class of calls needs a slot");
        let depth = |_| Depth {
            lent: 0,
            queue: VecDeque::new(),
        };
        Arc::new(Self {
            state: Mutex::new(State {
                idle: Vec::new(),
                period: 0,
                depths: std::array::from_fn(depth),
            }),
            bound,
        })
    }

    fn state(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A slot for a call, at best with a place that `suits` it. None if the engine ends meanwhile.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        depth: u32,
        suits: impl Fn(&P) -> bool,
    ) -> Option<Lease<P>> {
        let depth = (depth as usize).min(DEPTHS - 1);
        let receiver = {
            let mut state = self.state();
            if state.depths[depth].lent < self.bound {
                state.depths[depth].lent += 1;
                let suited = state.idle.iter().rposition(|(place, _)| suits(place));
                let place = match suited {
                    Some(index) => Some(state.idle.remove(index).0),
                    // As long as there may be more places, one of its own: so modules spread over them.
                    None if state.places() < self.bound => None,
                    None => state.idle.pop().map(|(place, _)| place),
                };
                return Some(self.slot(depth, place));
            }
            let (sender, receiver) = oneshot::channel();
            state.depths[depth].queue.push_back(sender);
            receiver
        };
        receiver.await.ok()
    }

    /// Ends a period. Places that were not used in so many periods, this one included, go.
    pub(crate) fn rest(&self, periods: u64) {
        let gone: Vec<_> = {
            let mut state = self.state();
            state.period += 1;
            let oldest = state.period.saturating_sub(periods);
            let old = state.idle.partition_point(|(_, used)| *used < oldest);
            state.idle.drain(..old).collect()
        };
        // Outside of the lock: that takes time.
        drop(gone);
    }

    fn slot(self: &Arc<Self>, depth: usize, place: Option<P>) -> Lease<P> {
        Lease {
            slots: self.clone(),
            depth,
            place,
        }
    }
}

impl<P: Reusable> State<P> {
    /// Places that exist or are being made, at most.
    fn places(&self) -> usize {
        self.idle.len() + self.depths.iter().map(|depth| depth.lent).sum::<usize>()
    }
}

impl<P: Reusable> Drop for Lease<P> {
    fn drop(&mut self) {
        let mut place = self.place.take();
        if let Some(place) = &mut place {
            place.release();
        }
        let next = {
            let mut state = self.slots.state();
            let depth = &mut state.depths[self.depth];
            // Callers that are gone need no slot.
            while depth
                .queue
                .front()
                .is_some_and(oneshot::Sender::is_canceled)
            {
                depth.queue.pop_front();
            }
            let Some(next) = depth.queue.pop_front() else {
                depth.lent -= 1;
                if let Some(place) = place
                    && state.idle.len() < self.slots.bound
                {
                    let period = state.period;
                    state.idle.push((place, period));
                }
                return;
            };
            next
        };
        // If the caller has gone since, the lease comes back and serves the next one as it is dropped here.
        drop(next.send(self.slots.slot(self.depth, place)));
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;

    struct Thing {
        _alive: Arc<()>,
    }

    impl Reusable for Thing {
        fn release(&mut self) {}
    }

    #[test]
    fn places_go_that_were_not_used_for_some_periods() {
        let (slots, things) = (Slots::new(8), Arc::new(()));
        let alive = || Arc::strong_count(&things) - 1;
        let lease = || block_on(slots.lease(0, |_| false)).unwrap();
        let mut leases: Vec<_> = (0..8).map(|_| lease()).collect();
        for lease in &mut leases {
            assert!(lease.place.is_none(), "there may be more places");
            lease.place = Some(Thing {
                _alive: things.clone(),
            });
        }
        let used = leases.split_off(6);
        drop(leases);
        slots.rest(3);
        slots.rest(3);
        assert_eq!(alive(), 8);
        slots.rest(3);
        assert_eq!(alive(), 8, "in the first of three periods they were used");
        // The last used is used again, and stays longer.
        drop(used);
        slots.rest(3);
        assert_eq!(alive(), 2);
        for left in [2, 2, 0] {
            slots.rest(3);
            assert_eq!(alive(), left);
        }
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod interleavings {
    //! Run by `cargo test -p concave-javascript --features shuttle --lib interleavings`.

    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{Either, select};
    use shuttle::future::{block_on, spawn, yield_now};

    use super::*;

    struct Dummy(Arc<AtomicUsize>);

    impl Reusable for Dummy {
        fn release(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const BOUND: usize = 2;

    /// Callers come, wait, use a place, and some go away while they wait: places are neither lost nor lent twice.
    #[test]
    fn places_are_lent_once_and_come_back() {
        let test = || {
            block_on(async {
                let slots = Slots::<Dummy>::new(BOUND);
                let (lent, released) =
                    (Arc::new(AtomicUsize::new(0)), Arc::<AtomicUsize>::default());
                let call = |patience: usize| {
                    let (slots, lent, released) = (slots.clone(), lent.clone(), released.clone());
                    spawn(async move {
                        let give_up = async {
                            for _ in 0..patience {
                                yield_now().await;
                            }
                        };
                        let lease = slots.lease(0, |_| true);
                        let mut lease = match select(Box::pin(lease), Box::pin(give_up)).await {
                            Either::Left((lease, _)) => lease.unwrap(),
                            Either::Right(_) => return,
                        };
                        let now = lent.fetch_add(1, Ordering::Relaxed) + 1;
                        assert!(now <= BOUND, "more places are lent than there are");
                        lease.place.get_or_insert_with(|| Dummy(released));
                        yield_now().await;
                        lent.fetch_sub(1, Ordering::Relaxed);
                    })
                };
                let calls = [call(1_000), call(1_000), call(1), call(1_000), call(2)];
                for call in calls {
                    call.await.unwrap();
                }
                let state = slots.state();
                assert_eq!(state.depths[0].lent, 0, "all places came back");
                assert!(
                    state.depths[0]
                        .queue
                        .iter()
                        .all(oneshot::Sender::is_canceled)
                );
                assert!(!state.idle.is_empty() && state.idle.len() <= BOUND);
                assert!(released.load(Ordering::Relaxed) >= 3);
            });
        };
        shuttle::check_random(test, 1_000);
        shuttle::check_pct(test, 1_000, 3);
    }
}
