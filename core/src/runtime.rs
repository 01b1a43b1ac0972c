//! The world as the drivers see it: time, tasks and entropy.
//!
//! Production implements it on Tokio, the simulator on its own deterministic executor. The trait is
//! object-safe so that drivers and shells hold an `Arc<dyn Runtime>` and stay free of type parameters.

use std::sync::Arc;
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
}
