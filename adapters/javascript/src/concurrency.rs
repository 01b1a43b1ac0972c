//! The locks by which threads of an engine share state: those of the standard library, or with the feature `shuttle`
//! models of them, whose every use is a point at which another thread may come in between.

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Mutex, MutexGuard};
