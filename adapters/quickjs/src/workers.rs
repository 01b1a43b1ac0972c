//! A few threads that run JavaScript, in the order in which work arrives.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use crate::concurrency::{Condvar, Mutex, MutexGuard, thread};
use crate::world::THREAD_STACK;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs while the lock is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads. They end with their handle, after the work that they have begun.
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

impl Workers {
    /// Starts threads.
    ///
    /// # Errors
    /// If the system refuses one.
    pub(crate) fn start(name: &str, count: usize) -> io::Result<Self> {
        let workers = Self {
            shared: Arc::default(),
        };
        for index in 0..count {
            let shared = workers.shared.clone();
            thread::Builder::new()
                .name(format!("{name}-{index}"))
                .stack_size(THREAD_STACK)
                .spawn(move || work(&shared))?;
        }
        Ok(workers)
    }

    /// Runs `job` on one of the threads, soon.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.shared.queue().jobs.push_back(Box::new(job));
        self.shared.arrived.notify_one();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.is_closed = true;
        queue.jobs.clear();
        drop(queue);
        self.shared.arrived.notify_all();
    }
}

fn work(shared: &Shared) {
    loop {
        let mut queue = shared.queue();
        let job = loop {
            if let Some(job) = queue.jobs.pop_front() {
                break job;
            }
            if queue.is_closed {
                return;
            }
            queue = shared
                .arrived
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(queue);
        job();
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod interleavings {
    //! Run by `cargo test -p concave-quickjs --features shuttle --lib interleavings`.

    use super::*;

    /// Work that arrives while threads fall asleep is done all the same.
    #[test]
    fn no_work_is_overlooked() {
        let test = || {
            let workers = Arc::new(Workers::start("test", 2).unwrap());
            let (sender, done) = shuttle::sync::mpsc::channel();
            let others = workers.clone();
            let other_sender = sender.clone();
            let other = thread::spawn(move || {
                others.run(move || other_sender.send(1).unwrap());
            });
            for n in [2, 3] {
                let sender = sender.clone();
                workers.run(move || sender.send(n).unwrap());
            }
            let mut all: Vec<i32> = (0..3).map(|_| done.recv().unwrap()).collect();
            all.sort();
            assert_eq!(all, [1, 2, 3]);
            other.join().unwrap();
        };
        shuttle::check_random(test, 1_000);
        shuttle::check_pct(test, 1_000, 3);
    }
}
