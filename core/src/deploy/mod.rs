//! Deployments: what a push brings, what is live, and how one follows the other.
//!
//! Pure parts only: the shapes of requests and answers (npm `convex` 1.48.0), the documents in which deployments are
//! stored, and what they come to for whoever runs functions. Evaluating code, reading and committing is done by the
//! [driver](crate::driver).

mod analysis;
mod auth;
mod deployment;
pub mod environment;
pub mod indexes;
mod record;
mod request;
pub mod response;

pub use analysis::{
    Analysis, AnalyzedFunction, AnalyzedModule, CronSpec, HttpRoute, RoutePattern, Visibility,
    analysis_inputs, check_runs, defines_functions,
};
pub use auth::{auth_failure, auth_providers, check_no_providers};
pub use deployment::{Deployment, FunctionDefinition, program};
pub use record::{
    DeploymentRecord, ModuleRecord, module_document, module_from_document, module_hash,
};
pub use request::{MODULE_BYTES_MAX, MODULES_MAX, PushRequest, UnchangedModule};
