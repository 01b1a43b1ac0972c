//! The checks around a call: may this caller call it, are the arguments right, is the result a value.

use serde_json::Value as Json;

use super::VALUE_BYTES_MAX;
use crate::deploy::{Deployment, FunctionDefinition, Visibility};
use crate::engine::{Failure, FunctionKind};
use crate::schema::{TableNames, Validator};
use crate::value::{FunctionPath, Object, Value};

/// Which functions a caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Public ones.
    Public,
    /// Internal ones too: admins, and functions that call functions.
    Internal,
}

/// The function at `path`, to be called as `kind` (`None`: as whatever it is).
///
/// # Errors
/// One text for what is missing and what is hidden, so that callers cannot probe for internal functions.
pub fn find_function<'d>(
    deployment: &'d Deployment,
    path: &FunctionPath,
    kind: Option<FunctionKind>,
    access: Access,
) -> Result<&'d FunctionDefinition, Failure> {
    let function = deployment.functions.get(&path.canonical());
    let visible = function.filter(|function| match access {
        Access::Public => function.visibility == Some(Visibility::Public),
        Access::Internal => true,
    });
    let Some(function) = visible else {
        return Err(missing_function(path, access));
    };
    match kind {
        Some(kind) if kind != function.kind => Err(wrong_kind(path, kind, function.kind)),
        _ => Ok(function),
    }
}

/// How a call of a function fails that is not there for the caller. Tools look for this text.
pub fn missing_function(path: &FunctionPath, access: Access) -> Failure {
    let function = match access {
        Access::Public => "public function",
        Access::Internal => "function",
    };
    Failure::new(format!(
        "Could not find {function} for '{}'. Did you forget to run `npx convex dev` or `npx convex deploy`?",
        path.stripped()
    ))
}

/// How a call of a function fails that is of another kind.
pub fn wrong_kind(path: &FunctionPath, called: FunctionKind, defined: FunctionKind) -> Failure {
    Failure::new(format!(
        "Trying to execute {} as {called:?}, but it is defined as {defined:?}.",
        path.canonical()
    ))
}

/// The one arguments object from what a client sends: the object itself or an array that holds it.
///
/// # Errors
/// If it is anything else.
pub fn single_argument(path: &FunctionPath, args: Json) -> Result<Object, Failure> {
    let invalid = |cause: &str| {
        Failure::new(format!(
            "Invalid arguments for {}: {cause}",
            path.canonical()
        ))
    };
    let args = match args {
        Json::Array(mut list) if list.len() == 1 => list.remove(0),
        Json::Array(list) if list.is_empty() => Json::Object(serde_json::Map::new()),
        Json::Array(_) => return Err(invalid("functions take one argument, an object")),
        other => other,
    };
    match Value::from_json(args) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(invalid(&format!(
            "functions take an object, got {}",
            other.type_name()
        ))),
        Err(error) => Err(invalid(&error.message)),
    }
}

/// Checks arguments against the function's validator and the size limit.
///
/// # Errors
/// `ArgumentValidationError: …`.
pub fn check_arguments(
    function: &FunctionDefinition,
    args: &Object,
    tables: &dyn TableNames,
) -> Result<(), Failure> {
    let size = args.size();
    if size > VALUE_BYTES_MAX {
        return Err(Failure::new(format!(
            "Arguments for {} are too large (actual: {}, limit: {}).",
            function.path.canonical(),
            mebibytes(size),
            mebibytes(VALUE_BYTES_MAX)
        )));
    }
    if function.args == Validator::Any {
        return Ok(());
    }
    function
        .args
        .check(&Value::Object(args.clone()), tables)
        .map_err(|error| Failure::new(format!("ArgumentValidationError: {error}")))
}

/// Reads what a function returned and checks it. `unresolved`: whether there may be a commit's timestamp in it, because
/// it was called by a mutation or is one.
///
/// # Errors
/// If it is not a value, too large, or not what the function says it returns.
pub fn canonical_result(
    function: &FunctionDefinition,
    json: &str,
    tables: &dyn TableNames,
    unresolved: bool,
) -> Result<Value, Failure> {
    let path = || function.path.canonical();
    let invalid =
        |cause: &str| Failure::new(format!("Function {} return value invalid: {cause}", path()));
    let value = Value::from_unresolved_str(json).map_err(|error| invalid(&error.message))?;
    if !unresolved && !value.is_resolved() {
        return Err(invalid(match function.kind {
            FunctionKind::Query => "queries cannot return an unresolved placeholder value.",
            _ => "only mutations can return an unresolved placeholder value.",
        }));
    }
    let size = value.size();
    if size > VALUE_BYTES_MAX {
        return Err(Failure::new(format!(
            "Function {} return value is too large (actual: {}, limit: {}).",
            path(),
            mebibytes(size),
            mebibytes(VALUE_BYTES_MAX)
        )));
    }
    if let Some(returns) = &function.returns {
        returns
            .check(&value, tables)
            .map_err(|error| Failure::new(format!("ReturnsValidationError: {error}")))?;
    }
    Ok(value)
}

fn mebibytes(bytes: usize) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
