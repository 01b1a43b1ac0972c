//! The primitives by which the engine's threads share state: those of the standard library, or with the feature `shuttle`
//! models of them, whose every use is a point at which another thread may come in between.

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};
