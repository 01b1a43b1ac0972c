//! What connections make the server hold, for all of them together.
//!
//! Each connection has bounds of its own. They are wide, so that any client can have large results, and many clients at
//! them at once would take more memory than there is: clients that watch queries with large arguments, or do not read
//! what they have asked for. So connections say what they hold, and when that is too much in sum, the one that holds the
//! most has to end. Whoever holds little is never chosen as long as others hold more.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use crate::concurrency::{Mutex, MutexGuard};

/// What a connection holds is said in steps of so many bytes, so that nothing is to be said of ordinary ones.
const STEP_BYTES: usize = 16 << 10;

/// What all connections hold.
pub struct Holdings {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    bytes: usize,
    holders: BTreeMap<u64, Holder>,
    next: u64,
}

struct Holder {
    bytes: usize,
    end: oneshot::Sender<()>,
}

impl Holdings {
    /// For connections that hold so many bytes in sum.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            state: Mutex::default(),
        })
    }

    /// A connection, which holds nothing yet.
    pub fn enter(self: &Arc<Self>) -> Holding {
        let (end, ended) = oneshot::channel();
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.holders.insert(number, Holder { bytes: 0, end });
        Holding {
            holdings: self.clone(),
            number,
            bytes: 0,
            ended,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics with the lock held")
    }
}

/// What one connection holds, until it is dropped.
pub struct Holding {
    holdings: Arc<Holdings>,
    number: u64,
    bytes: usize,
    ended: oneshot::Receiver<()>,
}

impl Holding {
    /// Completes when the connection has to end. Not to be called again then.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.ended).poll(cx).map(drop)
    }

    /// Says how much it is now.
    pub fn set(&mut self, bytes: usize) {
        let bytes = bytes - bytes % STEP_BYTES;
        if bytes == self.bytes {
            return;
        }
        self.bytes = bytes;
        let mut state = self.holdings.state();
        // Otherwise it has been told to end.
        if let Some(holder) = state.holders.get_mut(&self.number) {
            let before = std::mem::replace(&mut holder.bytes, bytes);
            state.bytes = state.bytes - before + bytes;
        }
        while state.bytes > self.holdings.bytes_max {
            let most = state.holders.iter().max_by_key(|(_, holder)| holder.bytes);
            let Some(number) = most.map(|(number, _)| *number) else {
                break;
            };
            state.end(number);
        }
    }
}

impl State {
    /// Tells a connection to end. What it holds counts no longer.
    fn end(&mut self, number: u64) {
        if let Some(holder) = self.holders.remove(&number) {
            assert!(self.bytes >= holder.bytes, "it was counted");
            self.bytes -= holder.bytes;
            // An error means that it has ended.
            let _ = holder.end.send(());
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.holdings.state().end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    const KIB: usize = 1 << 10;

    fn must_end(holding: &mut Holding) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        holding.poll_end(&mut cx).is_ready()
    }

    #[test]
    fn who_holds_the_most_has_to_end() {
        let holdings = Holdings::new(100 * KIB);
        let (mut small, mut large) = (holdings.enter(), holdings.enter());
        small.set(20 * KIB);
        large.set(80 * KIB);
        assert!(!must_end(&mut large), "as much as there may be");
        small.set(40 * KIB);
        assert!(must_end(&mut large) && !must_end(&mut small));
        // It is slow to end, and counts no longer.
        large.set(90 * KIB);
        assert!(!must_end(&mut small));
        small.set(120 * KIB);
        assert!(must_end(&mut small), "it is the only one");
    }

    proptest! {
        #[test]
        fn the_sum_is_bounded_and_counted(changes in proptest::collection::vec((0..6usize, 0..200usize), 1..80)) {
            let holdings = Holdings::new(300 * KIB);
            let mut holders: Vec<_> = (0..6).map(|_| holdings.enter()).collect();
            for (index, size) in changes {
                if size < 20 {
                    holders[index] = holdings.enter();
                } else {
                    holders[index].set(size * KIB);
                }
                let state = holdings.state();
                prop_assert!(state.bytes <= 300 * KIB);
                let sum: usize = state.holders.values().map(|holder| holder.bytes).sum();
                prop_assert_eq!(state.bytes, sum);
            }
            drop(holders);
            let state = holdings.state();
            prop_assert_eq!((state.bytes, state.holders.len()), (0, 0));
        }
    }
}
