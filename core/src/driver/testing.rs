//! A world for unit tests of the drivers: real threads, real time.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use futures_channel::oneshot;
use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::runtime::{Runtime, RuntimeHandle};
use crate::timestamp::Timestamp;

/// One thread per task and per sleep: slow, and as simple as can be.
pub(crate) struct ThreadRuntime {
    begun: Instant,
    entropy: AtomicU64,
    /// How far the wall clock is off, in nanoseconds.
    clock_error: AtomicI64,
    /// How many seconds of monotonic time pass in a second.
    speed: AtomicU32,
}

impl ThreadRuntime {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            entropy: AtomicU64::new(1),
            clock_error: AtomicI64::new(0),
            speed: AtomicU32::new(1),
        })
    }

    pub(crate) fn handle() -> RuntimeHandle {
        Self::new()
    }

    /// Sets the wall clock off by so much, from the true time.
    pub(crate) fn set_clock_error(&self, nanos: i64) {
        self.clock_error.store(nanos, Ordering::Relaxed);
    }

    /// Lets sleeps and time limits pass faster. Set before any of them begins.
    pub(crate) fn set_speed(&self, speed: u32) {
        self.speed.store(speed, Ordering::Relaxed);
    }
}

impl Runtime for ThreadRuntime {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let error = self.clock_error.load(Ordering::Relaxed);
        Timestamp((since_epoch.as_nanos() as u64).saturating_add_signed(error))
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed() * self.speed.load(Ordering::Relaxed)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let duration = duration / self.speed.load(Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        // Dropping the future ends the thread.
        let (waiting, dropped) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if dropped.recv_timeout(duration) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = sender.send(());
            }
        });
        receiver.map(move |_| drop(waiting)).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        std::thread::spawn(move || block_on(task));
    }

    fn entropy(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.entropy.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        bytes
    }
}

/// Lets other threads run, in a test that waits for one.
pub fn yield_to_others() {
    std::thread::yield_now();
}
