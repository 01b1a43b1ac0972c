//! Bytes that strangers may make a server hold at once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::{Either, select};

use crate::concurrency::{Mutex, MutexGuard};
use crate::error::{Error, Result};
use crate::runtime::Runtime;

/// An amount of bytes that many share. Who finds too little left waits, in the order of arrival.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    ready: oneshot::Sender<Share>,
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Share {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(total: usize) -> Self {
        let state = State {
            free: total,
            waiting: VecDeque::new(),
        };
        Self {
            shared: Arc::new(Shared {
                total,
                state: Mutex::new(state),
            }),
        }
    }

    /// Waits until there are `bytes` left, and takes them. More than the budget has is as much as it has: whoever asks
    /// for that gets it when nobody else holds anything.
    pub fn take(&self, bytes: usize) -> Take {
        let bytes = bytes.min(self.shared.total);
        let mut state = self.shared.lock();
        state.serve(&self.shared);
        let taken = if state.waiting.is_empty() && bytes <= state.free {
            state.free -= bytes;
            Taken::Share(Share::new(&self.shared, bytes))
        } else {
            let (ready, share) = oneshot::channel();
            state.waiting.push_back(Waiting { bytes, ready });
            Taken::Later(share)
        };
        drop(state);
        Take {
            shared: self.shared.clone(),
            taken,
        }
    }

    /// As [`Self::take`], within `patience`.
    ///
    /// # Errors
    /// Overloaded: `TooManyConcurrentRequests`.
    pub async fn take_within(
        &self,
        runtime: &dyn Runtime,
        patience: Duration,
        bytes: usize,
    ) -> Result<Share> {
        let take = match self.take(bytes).now_or_later() {
            Ok(share) => return Ok(share),
            Err(take) => take,
        };
        match select(take, runtime.sleep(patience)).await {
            Either::Left((share, _)) => Ok(share),
            Either::Right(((), _)) => Err(Error::overloaded(
                "TooManyConcurrentRequests",
                "The server has too many large requests at once. Try again in a moment.",
            )),
        }
    }

    /// Bytes that nobody holds.
    pub fn free(&self) -> usize {
        self.shared.lock().free
    }
}

/// Waits for a [`Share`]. Who drops it waits no longer.
#[derive(Debug)]
#[must_use]
pub struct Take {
    shared: Arc<Shared>,
    taken: Taken,
}

#[derive(Debug)]
enum Taken {
    Share(Share),
    Later(oneshot::Receiver<Share>),
    Over,
}

impl Take {
    /// The share, if it is there at once.
    fn now_or_later(mut self) -> Result<Share, Self> {
        match std::mem::replace(&mut self.taken, Taken::Over) {
            Taken::Share(share) => Ok(share),
            later => {
                self.taken = later;
                Err(self)
            }
        }
    }
}

impl Future for Take {
    type Output = Share;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Share> {
        let share = match std::mem::replace(&mut self.taken, Taken::Over) {
            Taken::Share(share) => share,
            Taken::Later(mut later) => match later.poll_unpin(cx) {
                Poll::Ready(share) => share.expect("who waits is served"),
                Poll::Pending => {
                    self.taken = Taken::Later(later);
                    return Poll::Pending;
                }
            },
            Taken::Over => unreachable!("polled after it was done"),
        };
        Poll::Ready(share)
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        if matches!(self.taken, Taken::Later(_)) {
            // Others may have waited for this one to be served first.
            self.taken = Taken::Over;
            self.shared.lock().serve(&self.shared);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no one panics while holding a budget's state")
    }
}

impl State {
    /// Gives those who wait what there is, in order.
    fn serve(&mut self, shared: &Arc<Shared>) {
        while let Some(next) = self.waiting.front()
            && (next.bytes <= self.free || next.ready.is_canceled())
        {
            let next = self.waiting.pop_front().expect("it was there");
            match next.ready.send(Share::new(shared, next.bytes)) {
                Ok(()) => self.free -= next.bytes,
                // Gone: nothing was taken, and nothing is given back.
                Err(mut share) => share.bytes = 0,
            }
        }
    }
}

impl Share {
    fn new(shared: &Arc<Shared>, bytes: usize) -> Self {
        Self {
            shared: shared.clone(),
            bytes,
        }
    }

    /// How much it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes another part of the same budget in.
    pub fn absorb(&mut self, mut other: Share) {
        debug_assert!(Arc::ptr_eq(&self.shared, &other.shared));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        if back == 0 {
            return;
        }
        let mut state = self.shared.lock();
        state.free += back;
        assert!(state.free <= self.shared.total, "what was taken comes back");
        state.serve(&self.shared);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use futures_executor::block_on;
    use proptest::prelude::*;

    use super::*;
    use crate::driver::testing::ThreadRuntime;

    #[test]
    fn who_waits_is_served_in_order() {
        let budget = Budget::new(100);
        let first = block_on(budget.take(60));
        let mut large = budget.take(50);
        let mut small = budget.take(10);
        assert!((&mut large).now_or_never().is_none());
        assert!((&mut small).now_or_never().is_none(), "it came later");
        drop(first);
        let large = (&mut large).now_or_never().unwrap();
        let small = (&mut small).now_or_never().unwrap();
        assert_eq!((large.bytes(), small.bytes(), budget.free()), (50, 10, 40));
        let huge = budget.take(90);
        let mut other = budget.take(20);
        assert!((&mut other).now_or_never().is_none());
        drop(huge);
        let other = (&mut other).now_or_never();
        assert!(other.is_some(), "it waits for nobody");
    }

    #[test]
    fn patience_ends() {
        let runtime = ThreadRuntime::new();
        let budget = Budget::new(10);
        let take = |bytes| budget.take_within(&*runtime, Duration::from_millis(20), bytes);
        let all = block_on(take(1000)).unwrap();
        assert_eq!((all.bytes(), budget.free()), (10, 0));
        let error = block_on(take(1)).unwrap_err();
        assert_eq!(error.code, "TooManyConcurrentRequests");
        drop(all);
        assert_eq!(block_on(take(1)).unwrap().bytes(), 1);
        assert_eq!(budget.free(), 10, "those who gave up hold nothing");
    }

    proptest! {
        /// Whatever is taken, given up, waited for and given back: what is held is never more than there is, and in the
        /// end everything is free again.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0usize..4, 0usize..120), 0..60)) {
            let budget = Budget::new(100);
            let mut waiting = Vec::new();
            let mut held: Vec<Share> = Vec::new();
            for (step, bytes) in steps {
                match step {
                    0 => waiting.push(budget.take(bytes)),
                    1 if !held.is_empty() => drop(held.remove(bytes % held.len())),
                    2 if !waiting.is_empty() => drop(waiting.remove(bytes % waiting.len())),
                    3 if !held.is_empty() => {
                        let at = bytes % held.len();
                        held[at].shrink(bytes);
                    }
                    _ => {}
                }
                let cx = &mut Context::from_waker(Waker::noop());
                waiting.retain_mut(|take| match take.poll_unpin(cx) {
                    Poll::Ready(share) => { held.push(share); false }
                    Poll::Pending => true,
                });
                let sum: usize = held.iter().map(Share::bytes).sum();
                prop_assert!(sum + budget.free() <= 100);
                if waiting.is_empty() {
                    prop_assert_eq!(sum + budget.free(), 100);
                }
            }
            drop(waiting);
            drop(held);
            prop_assert_eq!(budget.free(), 100);
        }
    }
}
