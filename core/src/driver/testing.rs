//! A world for unit tests of the drivers: real threads, real time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
}

impl ThreadRuntime {
    pub(crate) fn handle() -> RuntimeHandle {
        Arc::new(Self {
            begun: Instant::now(),
            entropy: AtomicU64::new(1),
        })
    }
}

impl Runtime for ThreadRuntime {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        Timestamp(since_epoch.as_nanos() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || {
            std::thread::sleep(duration);
            let _ = sender.send(());
        });
        receiver.map(|_| ()).boxed()
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
