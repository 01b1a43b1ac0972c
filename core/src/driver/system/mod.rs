//! System functions: the queries and mutations under `_system/` with which tools (the CLI, dashboards, test graders) look
//! at a deployment and mend its data. Arguments and results have the shapes that these tools know (npm `convex` 1.49).
//!
//! Only admins may call them; for everybody else they do not exist. They are called as functions of the app are, so
//! queries are live and mutations are transactions.
//!
//! | file | about |
//! |---|---|
//! | `tables` | which tables and indexes there are, and how large |
//! | `documents` | reading and changing documents |
//! | `pages`, `filters` | pages of documents |
//! | `schemas` | schemas |
//! | `modules` | deployed functions |
//! | `jobs` | scheduled functions |
//! | `deployment` | addresses, environment variables, states; and what an instance without some feature says of it |
//! | `arguments` | what arguments must match |

mod arguments;
mod deployment;
mod documents;
mod filters;
mod jobs;
mod modules;
mod pages;
mod schemas;
mod tables;

pub(super) use tables::{backfill_state, index_fields, user_indexes};

use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use self::arguments::{Arg, object_validator};
use super::functions::{CallContext, Functions};
use crate::catalog::object;
use crate::engine::{Failure, FunctionKind};
use crate::error::{ErrorKind, Result};
use crate::function::{Access, missing_function, wrong_kind};
use crate::transaction::Transaction;
use crate::value::{FunctionPath, Object, Value};

/// A system function.
pub(super) struct Definition {
    /// Its path as tools write it, without `:default`.
    name: &'static str,
    /// Query or mutation.
    pub(super) kind: FunctionKind,
    /// Its arguments beside `componentId`, which all take.
    args: &'static [(&'static str, Arg)],
    run: Run,
}

type Run = for<'c, 'd> fn(&'c mut Call<'d>) -> BoxFuture<'c, Answer>;
type Answer = Result<Value, Problem>;

const fn query(name: &'static str, args: &'static [(&'static str, Arg)], run: Run) -> Definition {
    Definition {
        name,
        kind: FunctionKind::Query,
        args,
        run,
    }
}

const fn mutation(
    name: &'static str,
    args: &'static [(&'static str, Arg)],
    run: Run,
) -> Definition {
    Definition {
        name,
        kind: FunctionKind::Mutation,
        args,
        run,
    }
}

/// All of them, by topic.
const TOPICS: [&[Definition]; 7] = [
    tables::FUNCTIONS,
    documents::FUNCTIONS,
    pages::FUNCTIONS,
    schemas::FUNCTIONS,
    modules::FUNCTIONS,
    jobs::FUNCTIONS,
    deployment::FUNCTIONS,
];

/// Whether the path is one of a system function, there or not.
pub(super) fn is_system(path: &FunctionPath) -> bool {
    path.module.starts_with("_system/")
}

/// The system function at a path.
pub(super) fn find(path: &FunctionPath) -> Option<&'static Definition> {
    let name = path.stripped();
    TOPICS
        .iter()
        .flat_map(|topic| topic.iter())
        .find(|definition| definition.name == name)
}

/// How a system function ended.
pub(super) struct SystemOutcome {
    /// The value, or the failure.
    pub(super) result: Result<Value, Failure>,
    /// What keeps the end of a page where it is when the query runs again.
    pub(super) journal: Option<String>,
}

/// Runs a system function in `tx`, called as a function of that kind. If it fails, what it has written is to be thrown
/// away.
///
/// # Errors
/// If storage fails; what is wrong with the call is a [`Failure`].
pub(super) async fn run_system_function(
    functions: &Functions,
    context: &CallContext,
    tx: &mut Transaction,
    path: &FunctionPath,
    kind: FunctionKind,
    args: Object,
    journal: Option<String>,
) -> Result<SystemOutcome> {
    let found = find(path).filter(|_| context.access == Access::Internal);
    let checked = match found {
        None => Err(missing_function(path, context.access)),
        Some(found) if found.kind != kind => Err(wrong_kind(path, kind, found.kind)),
        Some(found) => check_arguments(found, &args, tx).map(|()| found),
    };
    let found = match checked {
        Ok(found) => found,
        Err(failure) => {
            return Ok(SystemOutcome {
                result: Err(failure),
                journal,
            });
        }
    };
    let mut call = Call {
        functions,
        tx,
        args,
        journal,
    };
    let result = match (found.run)(&mut call).await {
        Ok(value) => Ok(value),
        Err(Problem::Failure(failure)) => Err(failure),
        Err(Problem::Error(error)) => return Err(error),
    };
    Ok(SystemOutcome {
        result,
        journal: call.journal,
    })
}

fn check_arguments(
    definition: &Definition,
    args: &Object,
    tx: &Transaction,
) -> Result<(), Failure> {
    let component = ("componentId", Arg::Optional(&Arg::Nullable(&Arg::Text)));
    let validator = object_validator(definition.args.iter().chain([&component]));
    validator
        .check(&Value::Object(args.clone()), tx.catalog())
        .map_err(|error| Failure::new(format!("ArgumentValidationError: {error}")))?;
    match args.get("componentId").and_then(Value::as_str) {
        None => Ok(()),
        Some(id) => Err(Failure::new(format!(
            "There is no component with the ID \"{id}\": components are not available on this server yet."
        ))),
    }
}

/// A failure of the function, or an error of the system.
enum Problem {
    Failure(Failure),
    Error(crate::Error),
}

impl From<crate::Error> for Problem {
    fn from(error: crate::Error) -> Self {
        match error.kind() {
            ErrorKind::User => fails(format!("Uncaught Error: {}", error.message)),
            _ => Problem::Error(error),
        }
    }
}

fn fails(message: impl Into<String>) -> Problem {
    Problem::Failure(Failure::new(message))
}

/// The failure as which tools show a text to their users: a `ConvexError` with the text as its data.
fn convex_error(message: &str) -> Problem {
    Problem::Failure(Failure {
        message: format!("Uncaught ConvexError: {message}"),
        data: Some(Json::from(message)),
        ..Failure::default()
    })
}

/// Has what is the caller's fault shown as a `ConvexError`.
fn shown(problem: Problem) -> Problem {
    match problem {
        Problem::Failure(failure) if failure.data.is_none() => {
            let message = failure.message.trim_start_matches("Uncaught Error: ");
            convex_error(message)
        }
        other => other,
    }
}

/// An object whose names of fields are known to be valid.
fn record<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(object(fields))
}

fn number(count: usize) -> Value {
    Value::Float64(count as f64)
}

/// `{success: true}`.
fn success() -> Value {
    record([("success", true.into())])
}

/// `{success: false, error}`.
fn refusal(error: &str) -> Value {
    record([("success", false.into()), ("error", error.into())])
}

/// A call under way. Its arguments match what the function says of them.
struct Call<'a> {
    functions: &'a Functions,
    tx: &'a mut Transaction,
    args: Object,
    /// That of the previous run at first, that of this run at the end.
    journal: Option<String>,
}

impl Call<'_> {
    /// The text of an argument that must be one; empty if an optional one is missing.
    fn text(&self, name: &str) -> String {
        self.optional_text(name).unwrap_or_default()
    }

    fn optional_text(&self, name: &str) -> Option<String> {
        self.args
            .get(name)
            .and_then(Value::as_str)
            .map(str::to_owned)
    }

    /// The elements of an argument that must be an array; none if an optional one is missing.
    fn list(&mut self, name: &str) -> Vec<Value> {
        match self.args.remove(name) {
            Some(Value::Array(elements)) => elements,
            _ => Vec::new(),
        }
    }

    /// The fields of an argument that must be an object.
    fn fields(&mut self, name: &str) -> Object {
        match self.args.remove(name) {
            Some(Value::Object(fields)) => fields,
            _ => Object::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_function_has_a_path_of_its_own() {
        let all: Vec<_> = TOPICS.iter().flat_map(|topic| topic.iter()).collect();
        let names: BTreeSet<_> = all.iter().map(|definition| definition.name).collect();
        assert_eq!(names.len(), all.len());
        for name in names {
            let path = FunctionPath::parse(name).unwrap();
            assert!(is_system(&path), "{name}");
            assert_eq!(
                find(&path).unwrap().name,
                name,
                "the path is in stripped form"
            );
        }
    }
}
