//! Threads that each own a piece of state and work off one bounded queue.
//!
//! With the feature `testing`, a pool without threads stands in for them: see [`Inline`].

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use concave_core::persistence::PersistenceError;
use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

#[cfg(feature = "testing")]
use crate::inline::Inline;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// What the threads do, hence what becomes of work whose caller is gone or gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Without a caller it is skipped; without an answer it can be asked again.
    Read,
    /// Without a caller it is done all the same; without an answer its outcome is unknown.
    Write,
}

/// A pool of threads. Dropping it finishes the queued work and ends them.
pub(crate) struct Workers<S> {
    duty: Duty,
    /// `None` once the pool is being dropped.
    queue: Option<SyncSender<Job<S>>>,
    threads: Vec<JoinHandle<()>>,
    /// Does the work in place of the threads.
    #[cfg(feature = "testing")]
    inline: Option<Arc<Inline<S>>>,
}

impl<S: Send + 'static> Workers<S> {
    /// Starts a thread per state. At most `waiting_max` pieces of work wait.
    pub(crate) fn start(
        name: &str,
        duty: Duty,
        states: Vec<S>,
        waiting_max: usize,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel::<Job<S>>(waiting_max);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut workers = Self {
            duty,
            queue: Some(sender),
            threads: Vec::new(),
            #[cfg(feature = "testing")]
            inline: None,
        };
        for state in states {
            let receiver = Arc::clone(&receiver);
            let thread = thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || work_off(state, &receiver))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// A pool without threads, for simulations: work is done on the thread that polls its future, when it polls it
    /// first, as long as one of the states is free.
    #[cfg(feature = "testing")]
    pub(crate) fn inline(duty: Duty, states: Vec<S>) -> Self {
        Self {
            duty,
            queue: None,
            threads: Vec::new(),
            inline: Some(Arc::new(Inline::new(states))),
        }
    }

    /// Queues `work` at once; the future is its answer.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T, PersistenceError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, PersistenceError>> {
        #[cfg(feature = "testing")]
        if let Some(inline) = &self.inline {
            return Arc::clone(inline).run(work).boxed();
        }
        let duty = self.duty;
        let (reply, answer) = oneshot::channel();
        let job: Job<S> = Box::new(move |state| {
            if duty == Duty::Write || !reply.is_canceled() {
                // An error means that nobody waits any more.
                let _ = reply.send(work(state));
            }
        });
        let queue = self.queue.as_ref().expect("it is there until the drop");
        let refused = match queue.try_send(job) {
            Ok(()) => {
                return answer
                    .map(move |answer| answer.unwrap_or_else(|_| Err(unanswered(duty))))
                    .boxed();
            }
            Err(TrySendError::Full(_)) => "too many requests to the database wait already",
            Err(TrySendError::Disconnected(_)) => "the database's threads have ended",
        };
        ready(Err(PersistenceError::Unavailable(refused.into()))).boxed()
    }
}

fn unanswered(duty: Duty) -> PersistenceError {
    let text = "the thread that worked on it has ended".to_owned();
    match duty {
        Duty::Read => PersistenceError::Unavailable(text),
        Duty::Write => PersistenceError::Unknown(text),
    }
}

fn work_off<S>(mut state: S, queue: &Mutex<Receiver<Job<S>>>) {
    loop {
        // The lock is held while waiting: one thread waits for work, the others wait for the lock.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(&mut state),
            // The pool is gone and the queue is empty.
            Err(_) => return,
        }
    }
}

impl<S> Drop for Workers<S> {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;

    #[test]
    fn queued_writes_are_done_before_the_drop_ends() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let workers = Workers::start("test", Duty::Write, vec![Arc::clone(&done)], 1_000).unwrap();
        for n in 0..100 {
            drop(workers.submit(move |done| {
                done.lock().unwrap().push(n);
                Ok(())
            }));
        }
        drop(workers);
        assert_eq!(*done.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_queue_is_bounded() {
        let (open, gate) = sync_channel::<()>(0);
        let workers = Workers::start("test", Duty::Read, vec![gate], 1).unwrap();
        let first = workers.submit(|gate| {
            gate.recv().unwrap();
            Ok(())
        });
        // One is being worked on or waits, one more may wait; of three more at least one is refused.
        let more: Vec<_> = (0..3).map(|_| workers.submit(|_| Ok(()))).collect();
        open.send(()).unwrap();
        block_on(first).unwrap();
        let refused = more
            .into_iter()
            .filter_map(|answer| block_on(answer).err())
            .collect::<Vec<_>>();
        assert!(!refused.is_empty());
        assert!(
            refused
                .iter()
                .all(|error| matches!(error, PersistenceError::Unavailable(_)))
        );
    }
}
