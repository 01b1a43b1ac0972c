//! The world in production: Tokio's clock and tasks, the system's entropy, and HTTP for actions.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod http;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use concave_core::Timestamp;
use concave_core::runtime::{Runtime, RuntimeHandle};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::runtime::{Handle, RuntimeFlavor};

pub use http::TokioHttpClient;

/// [`Runtime`] on a Tokio runtime.
pub struct TokioRuntime {
    tokio: Handle,
    begun: Instant,
}

impl TokioRuntime {
    /// The world of the Tokio runtime that the caller runs in.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn current() -> RuntimeHandle {
        Arc::new(Self {
            tokio: Handle::current(),
            begun: Instant::now(),
        })
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        // The timer is registered at the first poll, which may happen on a thread outside of Tokio.
        let tokio = self.tokio.clone();
        async move {
            let sleep = {
                let _inside = tokio.enter();
                tokio::time::sleep(duration)
            };
            sleep.await;
        }
        .boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.tokio.spawn(task);
    }

    fn heavy(&self, work: &mut dyn FnMut()) {
        // Hands the other tasks of this thread to another one. A runtime with a single thread has none.
        let current = Handle::try_current().map(|tokio| tokio.runtime_flavor());
        match current {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
            _ => work(),
        }
    }

    fn entropy(&self) -> [u8; 32] {
        // Each transaction asks for it, and asking the system each time would take a tenth of its time.
        thread_local! {
            static GENERATOR: RefCell<ChaCha12Rng> = {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).expect("the system gives entropy");
                RefCell::new(ChaCha12Rng::from_seed(seed))
            };
        }
        let mut bytes = [0; 32];
        GENERATOR.with_borrow_mut(|generator| generator.fill_bytes(&mut bytes));
        bytes
    }
}
