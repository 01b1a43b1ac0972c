//! Deployments: what a push brings, what is live, and how one follows the other.
//!
//! Pure parts only: the shapes of requests and answers (npm `convex` 1.48.0), the documents in which deployments are
//! stored, and what they come to for whoever runs functions. Evaluating code, reading and committing is done by the
//! [driver](crate::driver).

mod analysis;
mod deployment;
mod record;

pub use analysis::{
    AnalyzedFunction, AnalyzedModule, CronSpec, HttpRoute, RoutePattern, Visibility,
};
pub use deployment::{Deployment, FunctionDefinition, program};
pub use record::{
    DeploymentRecord, ModuleRecord, module_document, module_from_document, module_hash,
};
