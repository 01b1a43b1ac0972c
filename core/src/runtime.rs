//! The world as the drivers see it: time, tasks and entropy.
//!
//! Production implements it on Tokio, the simulator on its own deterministic executor. The trait is
//! object-safe so that drivers and shells hold an `Arc<dyn Runtime>` and stay free of type parameters.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::timestamp::Timestamp;

/// A shared handle to the world.
pub type RuntimeHandle = Arc<dyn Runtime>;

/// Time, tasks and entropy.
pub trait Runtime: Send + Sync + 'static {
    /// Wall-clock time, nanoseconds since the Unix epoch. May jump in either direction.
    fn now(&self) -> Timestamp;

    /// Time since some fixed instant; never decreases.
    fn monotonic(&self) -> Duration;

    /// Completes after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs a task beside the caller until it completes. Tasks end themselves, usually when a channel closes.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// Thirty-two bytes of fresh entropy.
    fn entropy(&self) -> [u8; 32];

    /// Does work that takes milliseconds or more, so that other tasks go on meanwhile where there are threads for that.
    /// It is done when this returns.
    fn heavy(&self, work: &mut dyn FnMut()) {
        work();
    }
}

/// A future each of whose steps may take milliseconds or more; see [`Runtime::heavy`].
pub struct Heavy<F> {
    runtime: RuntimeHandle,
    future: Pin<Box<F>>,
}

impl<F: Future> Heavy<F> {
    /// `future`, which works long.
    pub fn new(runtime: RuntimeHandle, future: F) -> Self {
        Self {
            runtime,
            future: Box::pin(future),
        }
    }
}

impl<F: Future> Future for Heavy<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { runtime, future } = self.get_mut();
        let mut step = Poll::Pending;
        runtime.heavy(&mut || step = future.as_mut().poll(cx));
        step
    }
}
