//! Running functions over HTTP.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use concave_core::driver::{Backend, FunctionResult};
use concave_core::sync::ClientVersion;
use concave_core::value::JsonFormat;
use concave_core::{Error, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ApiError;
use crate::caller::{AdminCaller, AnyCaller};
use crate::json::JsonBody;

pub(crate) fn router() -> Router<Arc<Backend>> {
    Router::new()
        .route("/api/query", post(query).get(get_query))
        .route("/api/mutation", post(mutation))
        .route("/api/action", post(action))
        .route("/api/function", post(function))
        .route("/api/query_ts", post(query_ts))
        .route("/api/query_at_ts", post(query_at_ts))
        .route("/api/query_batch", post(query_batch))
        .route("/api/run_test_function", post(run_test_function))
        .route("/api/run/{*function}", post(run))
        .route("/api/check_admin_key", get(check_admin_key))
}

/// What all function endpoints take.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    path: String,
    #[serde(default = "no_arguments")]
    args: Value,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    component_path: Option<String>,
    #[serde(default)]
    ts: Option<String>,
}

fn no_arguments() -> Value {
    Value::Object(Map::new())
}

type Answer = Result<Response, ApiError>;

async fn query(
    State(backend): State<Arc<Backend>>,
    caller: AnyCaller,
    JsonBody(call): JsonBody<Call>,
) -> Answer {
    let AnyCaller(caller, client) = caller;
    let format = format(call.format.as_deref(), &client)?;
    let result = backend.query(&caller, &call.path, call.args, None).await?;
    Ok(Json(function_json(result, format)).into_response())
}

/// Query-string form of [`Call`].
#[derive(Deserialize)]
struct CallParameters {
    path: String,
    #[serde(default)]
    args: Option<String>,
    #[serde(default)]
    format: Option<String>,
}

async fn get_query(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, client): AnyCaller,
    parameters: Result<Query<CallParameters>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(call) = parameters
        .map_err(|rejection| Error::bad_request("BadQueryArgs", rejection.body_text()))?;
    let format = format(call.format.as_deref(), &client)?;
    let args = match call.args {
        None => no_arguments(),
        Some(text) => serde_json::from_str(&text).map_err(|error| {
            Error::bad_request("BadQueryArgs", format!("`args` is not JSON: {error}"))
        })?,
    };
    let result = backend.query(&caller, &call.path, args, None).await?;
    Ok(Json(function_json(result, format)).into_response())
}

async fn mutation(
    State(backend): State<Arc<Backend>>,
    caller: AnyCaller,
    JsonBody(call): JsonBody<Call>,
) -> Answer {
    let AnyCaller(caller, client) = caller;
    let format = format(call.format.as_deref(), &client)?;
    let result = backend.mutation(&caller, &call.path, call.args).await?;
    Ok(Json(function_json(result, format)).into_response())
}

async fn action(
    State(backend): State<Arc<Backend>>,
    caller: AnyCaller,
    JsonBody(call): JsonBody<Call>,
) -> Answer {
    let AnyCaller(caller, client) = caller;
    let format = format(call.format.as_deref(), &client)?;
    let result = backend.action(&caller, &call.path, call.args).await?;
    Ok(Json(function_json(result, format)).into_response())
}

async fn function(
    State(backend): State<Arc<Backend>>,
    caller: AdminCaller,
    JsonBody(call): JsonBody<Call>,
) -> Answer {
    let AdminCaller(caller, client) = caller;
    let format = format(call.format.as_deref(), &client)?;
    if call.component_path.is_some_and(|path| !path.is_empty()) {
        let message = "This server does not support components yet; leave out the component path.";
        return Err(Error::bad_request("InvalidComponentPath", message).into());
    }
    let result = backend.function(&caller, &call.path, call.args).await?;
    Ok(Json(function_json(result, format)).into_response())
}

async fn query_ts(State(backend): State<Arc<Backend>>) -> Json<Value> {
    Json(json!({ "ts": backend.database().snapshot().ts }))
}

async fn query_at_ts(
    State(backend): State<Arc<Backend>>,
    caller: AnyCaller,
    JsonBody(call): JsonBody<Call>,
) -> Answer {
    let AnyCaller(caller, client) = caller;
    let format = format(call.format.as_deref(), &client)?;
    let ts = call
        .ts
        .as_deref()
        .and_then(Timestamp::from_wire)
        .ok_or_else(|| {
            Error::bad_request(
                "BadTimestamp",
                "`ts` must be a timestamp as /api/query_ts gives it.",
            )
        })?;
    let result = backend
        .query(&caller, &call.path, call.args, Some(ts))
        .await?;
    Ok(Json(function_json(result, format)).into_response())
}

#[derive(Deserialize)]
struct Batch {
    queries: Vec<Call>,
}

async fn query_batch(
    State(backend): State<Arc<Backend>>,
    caller: AnyCaller,
    JsonBody(batch): JsonBody<Batch>,
) -> Answer {
    let AnyCaller(caller, client) = caller;
    let formats: Vec<_> = batch
        .queries
        .iter()
        .map(|call| format(call.format.as_deref(), &client))
        .collect::<Result<_, _>>()?;
    let queries = batch
        .queries
        .into_iter()
        .map(|call| (call.path, call.args))
        .collect();
    let results = backend.query_batch(&caller, queries).await?;
    let results: Vec<_> = results
        .into_iter()
        .zip(formats)
        .map(|(result, format)| function_json(result, format))
        .collect();
    Ok(Json(json!({ "results": results })).into_response())
}

#[derive(Deserialize)]
struct Run {
    #[serde(default = "no_arguments")]
    args: Value,
    #[serde(default)]
    format: Option<String>,
}

async fn run(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, _): AnyCaller,
    Path(function): Path<String>,
    JsonBody(call): JsonBody<Run>,
) -> Answer {
    let format = match call.format.as_deref() {
        None => JsonFormat::Clean,
        Some(name) => parse_format(name)?,
    };
    let (module, export) = function.rsplit_once('/').ok_or_else(|| {
        Error::bad_request(
            "MissingIdentifier",
            "The path must name a module and an export: /api/run/module/export.",
        )
    })?;
    let path = format!("{module}:{export}");
    let result = backend.function(&caller, &path, call.args).await?;
    Ok(Json(function_json(result, format)).into_response())
}

async fn run_test_function(_: AdminCaller) -> ApiError {
    let message =
        "This server does not run inline queries yet. Put the query into a file and deploy it.";
    Error::bad_request("UnsupportedTestQuery", message).into()
}

async fn check_admin_key(AdminCaller(caller, _): AdminCaller) -> Json<Value> {
    let read_only = crate::caller::check_may_write(&caller.identity).is_err();
    Json(json!({ "success": true, "allowedOps": [], "isReadOnly": read_only }))
}

/// The format asked for, or what the client expects if it does not ask.
fn format(name: Option<&str>, client: &ClientVersion) -> Result<JsonFormat, Error> {
    match name {
        Some(name) => parse_format(name),
        None => Ok(if expects_encoded(client) {
            JsonFormat::Encoded
        } else {
            JsonFormat::Clean
        }),
    }
}

fn parse_format(name: &str) -> Result<JsonFormat, Error> {
    JsonFormat::parse(name).ok_or_else(|| {
        Error::bad_request(
            "BadFormat",
            format!("There is no format `{name}`. Use `json` or `convex_encoded_json`."),
        )
    })
}

/// Clients of old that do not name a format get the encoded one.
fn expects_encoded(client: &ClientVersion) -> bool {
    let older_than = |(major, minor, patch): (u64, u64, u64)| {
        client.version().is_some_and(|version| {
            (version.major, version.minor, version.patch) < (major, minor, patch)
        })
    };
    match client.name() {
        "python" | "python-convex" => older_than((0, 5, 0)),
        name if name.starts_with("npm") || name == "actions" => older_than((1, 4, 1)),
        _ => false,
    }
}

fn function_json(result: FunctionResult, format: JsonFormat) -> Value {
    let mut answer = match result.result {
        Ok(value) => json!({ "status": "success", "value": value.format_json(format) }),
        Err(failure) => {
            let mut answer = json!({ "status": "error", "errorMessage": failure.text });
            if let Some(data) = failure.data {
                answer["errorData"] = data.format_json(format);
            }
            answer
        }
    };
    if !result.log_lines.is_empty() {
        answer["logLines"] = result.log_lines.iter().map(ToString::to_string).collect();
    }
    answer
}
