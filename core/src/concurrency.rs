//! The primitives by which threads share state.
//!
//! They are those of the standard library, except in tests of interleavings: with the feature `loom` or `shuttle` they
//! are models of themselves, whose every use is a point at which another thread may come in between. Loom tries all
//! orders, weak memory included; shuttle tries many, of much larger programs. Channels count as one step each.

#[cfg(feature = "loom")]
mod primitives {
    pub(crate) use loom::sync::atomic::AtomicU64;
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

#[cfg(all(feature = "shuttle", not(feature = "loom")))]
mod primitives {
    pub(crate) use shuttle::sync::atomic::AtomicU64;
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
}

#[cfg(not(any(feature = "loom", feature = "shuttle")))]
mod primitives {
    pub(crate) use std::sync::atomic::AtomicU64;
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

pub(crate) use primitives::{AtomicU64, Mutex, MutexGuard};
