//! What evaluating modules says about them: the `AnalyzedModule` of the deploy API.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::engine::FunctionKind;
use crate::error::{Error, Result};

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

/// What an analysis was made from: it holds for a module as long as this, its source and those of its imports stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// See [`analysis_inputs`].
    pub inputs: String,
    /// Of each module that was evaluated, all modules that this has loaded, itself included.
    pub modules: BTreeMap<String, BTreeSet<String>>,
}

/// To be raised when engines say something new about a module that is as it was.
const ANALYSIS_VERSION: u32 = 1;

/// Names all that is the same for all modules in an analysis: how it is made, and the environment variables.
pub fn analysis_inputs(environment_variables: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new().chain_update(ANALYSIS_VERSION.to_le_bytes());
    // Each text is preceded by its length, so that different contents never give the same bytes.
    for text in environment_variables
        .iter()
        .flat_map(|(name, value)| [name, value])
    {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    STANDARD.encode(hash.finalize())
}

/// Whether a module of a push may define functions: others are evaluated in ways of their own, or only imported.
pub fn defines_functions(path: &str) -> bool {
    const OTHERS: [&str; 3] = ["schema.js", "auth.config.js", "convex.config.js"];
    !(path.starts_with("_deps/") || path.starts_with("_componentDeps/") || OTHERS.contains(&path))
}

/// Refuses what would be deployed and never run.
///
/// # Errors
/// `InvalidModules`, naming it.
pub fn check_runs(analysis: &BTreeMap<String, AnalyzedModule>) -> Result<()> {
    let modules = || analysis.values();
    let crons = modules().flat_map(|module| module.cron_specs.iter().flatten());
    let crons: Vec<_> = crons.map(|cron| format!("`{}`", cron.identifier)).collect();
    if !crons.is_empty() {
        return Err(Error::bad_request(
            "InvalidModules",
            format!(
                "This server does not run cron jobs yet. Remove them from `crons.ts`: {}.",
                crons.join(", ")
            ),
        ));
    }
    let routes = modules().flat_map(|module| module.http_routes.iter().flatten());
    let routes: Vec<_> = routes
        .map(|HttpRoute { route, .. }| format!("`{} {}`", route.method, route.path))
        .collect();
    if !routes.is_empty() {
        return Err(Error::bad_request(
            "InvalidModules",
            format!(
                "This server does not serve HTTP actions yet. Remove the routes from `http.ts`: {}.",
                routes.join(", ")
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_analysis_depends_on_each_variable() {
        let inputs = |variables: &[(&str, &str)]| {
            let variables = variables.iter();
            analysis_inputs(
                &variables
                    .map(|(name, value)| (name.to_string(), value.to_string()))
                    .collect(),
            )
        };
        let one = inputs(&[("A", "bc")]);
        assert_eq!(one, inputs(&[("A", "bc")]));
        for other in [
            inputs(&[]),
            inputs(&[("Ab", "c")]),
            inputs(&[("A", "b"), ("c", "")]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn some_modules_define_no_functions() {
        for (path, defines) in [
            ("a.js", true),
            ("dir/schema.js", true),
            ("crons.js", true),
            ("http.js", true),
            ("schema.js", false),
            ("auth.config.js", false),
            ("_deps/AB12.js", false),
        ] {
            assert_eq!(defines_functions(path), defines, "{path}");
        }
    }
}
