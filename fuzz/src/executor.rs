//! Runs a whole deployment on the thread of the fuzzer: tasks are polled in turns, time passes only when nothing else
//! can happen, and a future that waits for ever is a finding.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use concave_core::Timestamp;
use concave_core::runtime::Runtime;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, poll_fn};

/// When the world begins, nanoseconds since the Unix epoch.
const BEGINNING: u64 = 1_795_219_660_000_000_000;

/// A clock, tasks and entropy.
#[derive(Default)]
pub struct Executor {
    tasks: Mutex<Vec<Task>>,
    timers: Arc<Mutex<Timers>>,
    entropy: AtomicU64,
}

/// A spawned future; `None` while it is polled.
type Task = (Arc<Woken>, Option<BoxFuture<'static, ()>>);

#[derive(Default)]
struct Timers {
    now: Duration,
    /// Who waits for a time; the number tells apart who waits for the same.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    count: u64,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Executor {
    /// Runs `main` to its end, and what was spawned as far as it gets meanwhile.
    ///
    /// # Panics
    /// If everything waits and no timer is set.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = Box::pin(main);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        loop {
            let mut idle = true;
            if woken.0.swap(false, Ordering::Relaxed) {
                idle = false;
                if let Poll::Ready(result) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return result;
                }
            }
            idle &= !self.poll_tasks();
            if idle {
                self.pass_time();
            }
        }
    }

    /// Drops all tasks: they hold the executor, and it them.
    pub fn stop(&self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        drop(tasks);
        lock(&self.timers).sleepers.clear();
    }

    /// Polls every task that was woken; whether there was one.
    fn poll_tasks(&self) -> bool {
        let mut polled = false;
        let mut at = 0;
        loop {
            let taken = {
                let mut tasks = lock(&self.tasks);
                let Some((woken, task)) = tasks.get_mut(at) else {
                    break;
                };
                if woken.0.swap(false, Ordering::Relaxed) {
                    task.take().map(|task| (woken.clone(), task))
                } else {
                    None
                }
            };
            let Some((woken, mut task)) = taken else {
                at += 1;
                continue;
            };
            polled = true;
            let waker = Waker::from(woken);
            let done = task
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready();
            let mut tasks = lock(&self.tasks);
            if done {
                // What is swapped in is looked at next.
                tasks.swap_remove(at);
            } else {
                tasks[at].1 = Some(task);
                at += 1;
            }
        }
        polled
    }

    fn pass_time(&self) {
        let mut timers = lock(&self.timers);
        let ((at, _), waker) = timers
            .sleepers
            .pop_first()
            .expect("something waits for ever");
        timers.now = timers.now.max(at);
        drop(timers);
        waker.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no panic is survived")
}

impl Runtime for Executor {
    fn now(&self) -> Timestamp {
        Timestamp(BEGINNING + self.monotonic().as_nanos() as u64)
    }

    fn monotonic(&self) -> Duration {
        lock(&self.timers).now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let timers = self.timers.clone();
        let key = {
            let mut timers = lock(&timers);
            timers.count += 1;
            (timers.now + duration, timers.count)
        };
        poll_fn(move |context| {
            let mut timers = lock(&timers);
            if timers.now >= key.0 {
                timers.sleepers.remove(&key);
                return Poll::Ready(());
            }
            timers.sleepers.insert(key, context.waker().clone());
            Poll::Pending
        })
        .boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        lock(&self.tasks).push((woken, Some(task)));
    }

    fn entropy(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.entropy.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        bytes
    }
}
