//! What evaluating modules says about them: the `AnalyzedModule` of the deploy API.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::engine::FunctionKind;

/// What a module exports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalyzedModule {
    /// Its functions, in order of their place in the source.
    #[serde(default)]
    pub functions: Vec<AnalyzedFunction>,
    /// The routes of `http.js`.
    #[serde(default)]
    pub http_routes: Option<Vec<HttpRoute>>,
    /// The jobs of `crons.js`.
    #[serde(default)]
    pub cron_specs: Option<Vec<CronSpec>>,
    /// Positions in the original source; opaque.
    #[serde(default)]
    pub source_mapped: Option<Json>,
}

/// An exported function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnalyzedFunction {
    /// Name of the export.
    pub name: String,
    /// Where it is in the source; opaque.
    #[serde(default)]
    pub pos: Option<Json>,
    /// What it may do.
    pub udf_type: FunctionKind,
    /// Who may call it.
    #[serde(default)]
    pub visibility: Option<Visibility>,
    /// Validator of its arguments, as JSON text.
    #[serde(default)]
    pub args: Option<String>,
    /// Validator of its result, as JSON text.
    #[serde(default)]
    pub returns: Option<String>,
}

/// Who may call a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Visibility {
    /// Everyone.
    Public,
    /// Other functions and admins.
    Internal,
}

/// A route of an HTTP router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpRoute {
    /// What it answers.
    pub route: RoutePattern,
    /// Where it is in the source; opaque.
    #[serde(default)]
    pub pos: Option<Json>,
}

/// A path, or with a trailing `*` all paths that begin so, and a method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoutePattern {
    /// Path, beginning with a slash.
    pub path: String,
    /// Upper-case method.
    pub method: String,
}

/// A job that runs by the clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CronSpec {
    /// Its name.
    pub identifier: String,
    /// What runs and when: `name` (the function), `args`, `schedule`.
    pub spec: Json,
}
