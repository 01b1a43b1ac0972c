//! Calling functions.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use axum::routing::{get, post};
use concave_core::driver::intake::{Parsed, Share};
use concave_core::driver::{Backend, FunctionFailure, FunctionResult, TestQuery, log_line_json};
use concave_core::sync::ClientVersion;
use concave_core::value::JsonFormat;
use concave_core::{Error, Timestamp, Value};
use percent_encoding::percent_decode_str;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::{RawValue, to_raw_value};

use crate::access::{Admin, Anyone};
use crate::body::{JsonBody, ok_json};
use crate::error::{ApiError, ApiResult};
use crate::requester::Requester;

type Shared = State<Arc<Backend>>;

pub fn routes() -> Router<Arc<Backend>> {
    Router::new()
        .route("/api/query", get(query_by_get).post(query))
        .route("/api/mutation", post(mutation))
        .route("/api/action", post(action))
        .route("/api/query_ts", post(query_ts))
        .route("/api/query_at_ts", post(query_at_ts))
        .route("/api/query_batch", post(query_batch))
        .route("/api/function", post(function))
        .route("/api/run/{*path}", post(run))
        .route("/api/run_test_function", post(run_test_function))
}

/// A call as clients send it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    path: String,
    /// The arguments object, or an array that holds it.
    #[serde(default = "no_args")]
    args: Json,
    format: Option<String>,
    component_path: Option<String>,
}

fn no_args() -> Json {
    Json::Object(serde_json::Map::new())
}

impl Call {
    /// Functions of components are not there for these endpoints.
    fn check_component(&self) -> Result<(), Error> {
        check_component(self.component_path.as_deref())
    }
}

/// Only the app itself is there, no component.
pub fn check_component(component: Option<&str>) -> Result<(), Error> {
    match component {
        None | Some("") => Ok(()),
        Some(component) => Err(Error::bad_request(
            "InvalidComponentPath",
            format!("There is no component `{component}`: components are not available yet."),
        )),
    }
}

async fn query(
    State(backend): Shared,
    Anyone { requester, caller }: Anyone,
    JsonBody(call, _held): JsonBody<Call>,
) -> ApiResult {
    let answer = Answer::new(&requester, call.format.as_deref())?;
    call.check_component()?;
    let result = backend.query(&caller, &call.path, call.args, None).await?;
    Ok(answer.respond(&result))
}

#[derive(Deserialize)]
struct CallByGet {
    path: String,
    args: Option<String>,
    format: Option<String>,
}

async fn query_by_get(
    State(backend): Shared,
    Anyone { requester, caller }: Anyone,
    call: Result<Query<CallByGet>, QueryRejection>,
) -> ApiResult {
    let Query(call) = call.map_err(bad_query)?;
    let answer = Answer::new(&requester, call.format.as_deref())?;
    let (args, _held) = match &call.args {
        None => (no_args(), None),
        Some(args) => args_of_query(&backend, args).await?,
    };
    let result = backend.query(&caller, &call.path, args, None).await?;
    Ok(answer.respond(&result))
}

async fn args_of_query(backend: &Backend, args: &str) -> Result<(Json, Option<Share>), Error> {
    let Parsed { value, share } = backend
        .intake()
        .parse("BadQueryArgs", args.as_bytes())
        .await?;
    Ok((value, share))
}

/// The error for a query string that cannot be read.
pub fn bad_query(rejection: QueryRejection) -> ApiError {
    Error::bad_request("BadQueryArgs", rejection.body_text()).into()
}

async fn mutation(
    State(backend): Shared,
    Anyone { requester, caller }: Anyone,
    JsonBody(call, _held): JsonBody<Call>,
) -> ApiResult {
    let answer = Answer::new(&requester, call.format.as_deref())?;
    call.check_component()?;
    let result = backend.mutation(&caller, &call.path, call.args).await?;
    Ok(answer.respond(&result))
}

async fn action(
    State(backend): Shared,
    Anyone { requester, caller }: Anyone,
    JsonBody(call, held): JsonBody<Call>,
) -> ApiResult {
    let answer = Answer::new(&requester, call.format.as_deref())?;
    call.check_component()?;
    // Actions take long, and keep their arguments in a form of their own.
    drop(held);
    let result = backend.action(&caller, &call.path, call.args).await?;
    Ok(answer.respond(&result))
}

#[derive(Serialize)]
struct LatestTimestamp {
    ts: Timestamp,
}

async fn query_ts(State(backend): Shared, _: Anyone) -> Response {
    let ts = backend.database().snapshot().ts;
    ok_json(&LatestTimestamp { ts })
}

#[derive(Deserialize)]
struct CallAt {
    ts: Timestamp,
    #[serde(flatten)]
    call: Call,
}

async fn query_at_ts(
    State(backend): Shared,
    Anyone { requester, caller }: Anyone,
    JsonBody(CallAt { ts, call }, _held): JsonBody<CallAt>,
) -> ApiResult {
    let answer = Answer::new(&requester, call.format.as_deref())?;
    call.check_component()?;
    let result = backend
        .query(&caller, &call.path, call.args, Some(ts))
        .await?;
    Ok(answer.respond(&result))
}

#[derive(Deserialize)]
struct Batch {
    queries: Vec<Call>,
}

#[derive(Serialize)]
struct BatchResults<'a> {
    results: Vec<CallResponse<'a>>,
}

async fn query_batch(
    State(backend): Shared,
    Anyone { requester, caller }: Anyone,
    JsonBody(Batch { queries }, _held): JsonBody<Batch>,
) -> ApiResult {
    let most = backend.config().limits.batch_queries;
    if queries.len() > most {
        let message = format!("A batch has at most {most} queries.");
        return Err(Error::bad_request("BadJsonBody", message).into());
    }
    let mut answers = Vec::with_capacity(queries.len());
    for call in &queries {
        answers.push(Answer::new(&requester, call.format.as_deref())?);
        call.check_component()?;
    }
    let calls = queries.into_iter().map(|call| (call.path, call.args));
    let results = backend.query_batch(&caller, calls.collect()).await?;
    let results = answers
        .iter()
        .zip(&results)
        .map(|(answer, result)| answer.response(result))
        .collect();
    Ok(ok_json(&BatchResults { results }))
}

/// A function of any kind, for admins.
async fn function(
    State(backend): Shared,
    Admin { requester, caller }: Admin,
    JsonBody(call, _held): JsonBody<Call>,
) -> ApiResult {
    let answer = Answer::new(&requester, call.format.as_deref())?;
    call.check_component()?;
    let result = backend.function(&caller, &call.path, call.args).await?;
    Ok(answer.respond(&result))
}

#[derive(Deserialize)]
struct RunCall {
    #[serde(default = "no_args")]
    args: Json,
    format: Option<String>,
}

/// A function of any kind, named by the URL.
async fn run(
    State(backend): Shared,
    Anyone { requester, caller }: Anyone,
    uri: Uri,
    JsonBody(call, _held): JsonBody<RunCall>,
) -> ApiResult {
    let format = call.format.as_deref().unwrap_or("json");
    let answer = Answer::new(&requester, Some(format))?;
    let path = run_path(uri.path())?;
    let result = backend.function(&caller, &path, call.args).await?;
    Ok(answer.respond(&result))
}

/// `dir/module:export` from `/api/run/dir/module/export`.
fn run_path(path: &str) -> Result<String, Error> {
    let path = path.strip_prefix("/api/run/").unwrap_or_default();
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| Error::bad_request("BadPathArgs", "The path of the function is not UTF-8."))?;
    match path.rsplit_once('/') {
        Some((module, export)) if !module.is_empty() && !export.is_empty() => {
            Ok(format!("{module}:{export}"))
        }
        _ => Err(Error::bad_request(
            "MissingIdentifier",
            "Name a function like /api/run/messages/list.",
        )),
    }
}

/// A query that belongs to no deployment.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TestCall {
    bundle: TestBundle,
    #[serde(default = "no_args")]
    args: Json,
    format: Option<String>,
    component_id: Option<String>,
}

#[derive(Deserialize)]
struct TestBundle {
    path: String,
    source: String,
}

async fn run_test_function(
    State(backend): Shared,
    Admin { requester, caller }: Admin,
    JsonBody(call, _held): JsonBody<TestCall>,
) -> ApiResult {
    let answer = Answer::new(&requester, call.format.as_deref())?;
    check_component(call.component_id.as_deref())?;
    let TestBundle { path, source } = call.bundle;
    let args = call.args;
    let query = TestQuery { path, source, args };
    let result = backend.test_query(&caller, query).await?;
    Ok(answer.respond(&result))
}

/// How a client wants to have results.
struct Answer {
    format: JsonFormat,
    structured_logs: bool,
}

/// A result as clients get it.
#[derive(Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum CallResponse<'a> {
    #[serde(rename_all = "camelCase")]
    Success {
        value: Box<RawValue>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        log_lines: Vec<Json>,
    },
    #[serde(rename_all = "camelCase")]
    Error {
        error_message: &'a str,
        /// Clients take a null for data of an error, so there is none if there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        error_data: Option<Box<RawValue>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        log_lines: Vec<Json>,
    },
}

impl Answer {
    /// Checked before anything runs: a bad format must not be told after a mutation has committed.
    fn new(requester: &Requester, format: Option<&str>) -> Result<Self, Error> {
        let format = match format {
            None => default_format(&requester.client),
            Some(name) => JsonFormat::parse(name).ok_or_else(|| {
                Error::bad_request(
                    "BadFormat",
                    format!("The format `{name}` is unknown: use `json` or `convex_encoded_json`."),
                )
            })?,
        };
        Ok(Self {
            format,
            structured_logs: requester.wants_structured_logs(),
        })
    }

    fn response<'a>(&self, result: &'a FunctionResult) -> CallResponse<'a> {
        let lines = result.log_lines.iter();
        let log_lines = lines.map(|line| log_line_json(line, self.structured_logs));
        let log_lines = log_lines.collect();
        match &result.result {
            Ok(value) => CallResponse::Success {
                value: self.json(value),
                log_lines,
            },
            Err(FunctionFailure { text, data }) => CallResponse::Error {
                error_message: text,
                error_data: data.as_ref().map(|data| self.json(data)),
                log_lines,
            },
        }
    }

    fn respond(&self, result: &FunctionResult) -> Response {
        // Status 200 for failures of functions too: clients take other statuses for failures of the server.
        ok_json(&self.response(result))
    }

    fn json(&self, value: &Value) -> Box<RawValue> {
        let raw = match self.format {
            JsonFormat::Encoded => RawValue::from_string(value.to_json_string()),
            format => to_raw_value(&value.format_json(format)),
        };
        raw.expect("the JSON of a value is JSON")
    }
}

/// Old clients expect what they once got without asking.
fn default_format(client: &ClientVersion) -> JsonFormat {
    let older_than = |version| client.version().is_some_and(|own| *own < version);
    let encoded = match client.name() {
        "python" => older_than(Version::new(0, 5, 0)),
        name if name.starts_with("npm") || name == "actions" => older_than(Version::new(1, 4, 1)),
        _ => false,
    };
    if encoded {
        JsonFormat::Encoded
    } else {
        JsonFormat::Clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_get_the_encoded_form() {
        for (client, format) in [
            ("npm-1.4.0", JsonFormat::Encoded),
            ("npm-cli-1.0.0", JsonFormat::Encoded),
            ("actions-1.4.0", JsonFormat::Encoded),
            ("npm-1.4.1", JsonFormat::Clean),
            ("python-0.4.9", JsonFormat::Encoded),
            ("python-0.5.0", JsonFormat::Clean),
            ("rust-0.0.9", JsonFormat::Clean),
        ] {
            let client = ClientVersion::from_header(client);
            assert_eq!(default_format(&client), format, "{client}");
        }
        assert_eq!(default_format(&ClientVersion::unknown()), JsonFormat::Clean);
    }

    #[test]
    fn the_last_segment_is_the_export() {
        assert_eq!(run_path("/api/run/a/b/c").unwrap(), "a/b:c");
        assert_eq!(run_path("/api/run/a%2Eb/c").unwrap(), "a.b:c");
        for bad in ["/api/run/a", "/api/run/a/", "/api/run//a"] {
            assert_eq!(run_path(bad).unwrap_err().code, "MissingIdentifier");
        }
        assert_eq!(run_path("/api/run/%ff/a").unwrap_err().code, "BadPathArgs");
    }
}
