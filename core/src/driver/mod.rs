//! The async drivers: small loops that carry inputs into the core's machines and their wishes out to the world.
//!
//! They hold the world only through `dyn` [`Runtime`](crate::runtime::Runtime),
//! [`Persistence`](crate::persistence::Persistence) and [`FunctionEngine`](crate::engine::FunctionEngine), so the
//! simulator runs the very same code.

mod administration;
mod admission;
mod attempts;
mod backend;
mod backfill;
mod contention;
mod database;
mod deployer;
mod deployment;
mod environment;
mod evaluation;
mod function_log;
mod functions;
mod holdings;
mod in_memory;
pub mod intake;
mod legacy_push;
mod pins;
mod receipts;
mod retention;
mod scheduler;
mod schema_change;
mod schema_evaluation;
mod schema_worker;
mod session;
mod subscription;
mod system;
mod upkeep;
mod validation;

pub use administration::JobSelection;
pub use admission::Client;
pub use backend::{
    Backend, BackendConfig, Caller, FunctionFailure, FunctionResult, HttpClient, HttpResponse,
};
pub use database::{CommitError, Database};
pub use deployer::Deployer;
pub use function_log::{Completion, FunctionLog, log_line_json};
pub use functions::{
    ActionResult, CallContext, FunctionSettings, Functions, LiveQuery, MutationKey, MutationResult,
    RequestSource, TestQuery,
};
pub use holdings::{Holding, Holdings};
pub use in_memory::InMemory;
pub use retention::{RetentionLoop, RetentionStatus};
pub use scheduler::Scheduler;
pub use session::{Incoming, Outgoing, serve};
pub use subscription::{Subscription, Watcher};

#[cfg(test)]
mod deployer_tests;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
#[cfg(test)]
mod retention_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
