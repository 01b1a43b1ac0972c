//! The async drivers: small loops that carry inputs into the core's machines and their wishes out to the world.
//!
//! They hold the world only through `dyn` [`Runtime`](crate::runtime::Runtime),
//! [`Persistence`](crate::persistence::Persistence) and [`FunctionEngine`](crate::engine::FunctionEngine), so the
//! simulator runs the very same code.

mod backend;
mod contention;
mod database;
mod deployment;
mod functions;
mod subscription;
mod system_functions;

pub use backend::{Backend, BackendConfig, Caller, FunctionFailure, FunctionResult, HttpClient};
pub use database::{CommitError, Database};
pub use functions::{ActionResult, CallContext, Functions, LiveQuery, MutationKey, MutationResult};
pub use subscription::{Subscription, Watcher};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
