//! What stands in for threads in a simulation: work is done by whoever polls for it.

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use concave_core::persistence::PersistenceError;
use futures_util::future::poll_fn;

/// States, each of which does one piece of work at a time.
///
/// A simulation may suspend the work in the middle, on a stack of its own; others then find its state taken and wait.
pub(crate) struct Inline<S> {
    pool: Mutex<Pool<S>>,
}

struct Pool<S> {
    free: Vec<S>,
    waiting: Vec<Waker>,
}

impl<S> Inline<S> {
    pub(crate) fn new(free: Vec<S>) -> Self {
        let waiting = Vec::new();
        Self {
            pool: Mutex::new(Pool { free, waiting }),
        }
    }

    /// Waits for a free state and does `work` with it.
    pub(crate) async fn run<T>(
        self: Arc<Self>,
        work: impl FnOnce(&mut S) -> Result<T, PersistenceError>,
    ) -> Result<T, PersistenceError> {
        let mut state = poll_fn(|context| self.take(context)).await;
        let answer = work(&mut state);
        let waiting = {
            let mut pool = self.lock();
            pool.free.push(state);
            std::mem::take(&mut pool.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
        answer
    }

    fn take(&self, context: &Context<'_>) -> Poll<S> {
        let mut pool = self.lock();
        let free = pool.free.pop();
        if free.is_none() {
            pool.waiting.push(context.waker().clone());
        }
        free.map_or(Poll::Pending, Poll::Ready)
    }

    fn lock(&self) -> MutexGuard<'_, Pool<S>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
