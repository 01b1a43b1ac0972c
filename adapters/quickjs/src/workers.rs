//! Threads that run JavaScript, in the order in which work arrives.
//!
//! As many jobs run at a time as there are cores: more would only take each other's time. But JavaScript cannot be
//! interrupted and resumed, and a job that runs for long must not keep others waiting. So one that has run for
//! [`PATIENCE`] counts no longer, another job begins beside it, and the system shares the cores among them. While jobs
//! wait, one idle thread keeps watch for that moment.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::concurrency::{Condvar, Mutex, MutexGuard, thread};
use crate::world::THREAD_STACK;

/// How long a job may keep others waiting. Ordinary turns of functions take a tenth of it.
const PATIENCE: Duration = Duration::from_millis(10);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// When the jobs that run began.
    running: Vec<Instant>,
    threads: usize,
    /// Threads that wait to be notified.
    idle: usize,
    /// A thread waits for the moment at which a running job counts no longer.
    is_watched: bool,
    is_closed: bool,
}

struct Shared {
    name: String,
    /// Jobs that run at a time, not counting those that have run for `patience`.
    jobs_max: usize,
    threads_max: usize,
    patience: Duration,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

/// The threads. They end with their handle, after the work that they have begun.
pub(crate) struct Workers {
    shared: Arc<Shared>,
}

impl Workers {
    /// Starts threads for `jobs` at a time; there will be more, up to `threads`, when jobs run for long.
    ///
    /// # Errors
    /// If the system refuses one.
    pub(crate) fn start(name: &str, jobs: usize, threads: usize) -> io::Result<Self> {
        Self::with_patience(name, jobs, threads, PATIENCE)
    }

    fn with_patience(
        name: &str,
        jobs_max: usize,
        threads: usize,
        patience: Duration,
    ) -> io::Result<Self> {
        let workers = Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                jobs_max,
                threads_max: threads.max(jobs_max),
                patience,
                queue: Mutex::default(),
                arrived: Condvar::default(),
            }),
        };
        for _ in 0..jobs_max {
            let mut queue = workers.shared.queue();
            workers.shared.add_thread(&mut queue)?;
        }
        Ok(workers)
    }

    /// Runs `job` on one of the threads, soon.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.queue();
        queue.jobs.push_back(Box::new(job));
        self.shared.call(queue);
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

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs while the lock is held.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a thread look at the jobs that wait.
    fn call(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if queue.idle > 0 || queue.is_watched {
            drop(queue);
            self.arrived.notify_one();
        } else if queue.threads < self.threads_max {
            // Without it, the threads that there are look at the jobs once they have done theirs.
            let _ = self.add_thread(&mut queue);
        }
    }

    fn add_thread(self: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        let shared = self.clone();
        thread::Builder::new()
            .name(format!("{}-{}", self.name, queue.threads))
            .stack_size(THREAD_STACK)
            .spawn(move || shared.work())?;
        queue.threads += 1;
        Ok(())
    }

    fn work(self: Arc<Self>) {
        let mut queue = self.queue();
        while let Some((job, mut taken)) = self.next(queue) {
            let begun = Instant::now();
            taken.running.push(begun);
            if taken.jobs.is_empty() {
                drop(taken);
            } else {
                self.call(taken);
            }
            job();
            queue = self.queue();
            let own = queue.running.iter().position(|other| *other == begun);
            let own = own.expect("it runs until it is taken out here");
            queue.running.swap_remove(own);
        }
    }

    /// The next job, once it may begin; none if there will be none.
    fn next<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
    ) -> Option<(Job, MutexGuard<'a, Queue>)> {
        loop {
            if queue.is_closed {
                return None;
            }
            if !queue.jobs.is_empty() {
                let Some(pause) = self.pause(&queue) else {
                    let job = queue.jobs.pop_front().expect("looked at above");
                    return Some((job, queue));
                };
                if !queue.is_watched {
                    queue.is_watched = true;
                    let waited = self.arrived.wait_timeout(queue, pause);
                    queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                    queue.is_watched = false;
                    continue;
                }
            }
            queue.idle += 1;
            let waited = self.arrived.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    /// How long it takes until another job may begin, even if none of those that run ends; none if it may now.
    fn pause(&self, queue: &Queue) -> Option<Duration> {
        let left = queue
            .running
            .iter()
            .map(|begun| self.patience.saturating_sub(begun.elapsed()));
        let counting = left.filter(|left| !left.is_zero());
        if counting.clone().count() < self.jobs_max {
            return None;
        }
        counting.min()
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn jobs_that_run_for_long_do_not_keep_others_waiting() {
        let workers = Workers::start("test", 2, 6).unwrap();
        let (done, all_done) = mpsc::channel();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..5).map(|_| mpsc::channel::<()>()).unzip();
        for receiver in receivers {
            let done = done.clone();
            // Ends when the sixth job has run.
            workers.run(move || done.send(receiver.recv().is_err()).unwrap());
        }
        workers.run(move || drop(senders));
        let ended: Vec<_> = all_done.iter().take(5).collect();
        assert_eq!(ended, [true; 5]);
        assert!(workers.shared.queue().threads <= 6);
    }

    #[test]
    fn as_many_jobs_run_as_may_until_they_have_run_for_long() {
        let workers = Workers::with_patience("test", 2, 6, Duration::from_secs(3600)).unwrap();
        let (begin, begun) = mpsc::channel();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel::<()>()).unzip();
        for (n, receiver) in receivers.into_iter().enumerate() {
            let begin = begin.clone();
            workers.run(move || {
                begin.send(n).unwrap();
                receiver.recv().unwrap_err();
            });
        }
        let mut first: Vec<_> = begun.iter().take(2).collect();
        first.sort_unstable();
        assert_eq!(first, [0, 1]);
        assert!(begun.recv_timeout(Duration::from_millis(50)).is_err());
        drop(senders);
        assert_eq!(begun.recv(), Ok(2));
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
            let hour = Duration::from_secs(3600);
            let workers = Arc::new(Workers::with_patience("test", 2, 3, hour).unwrap());
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
