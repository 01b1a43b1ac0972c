//! What the official CLI needs: pushes, environment variables, logs.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use concave_core::Error;
use concave_core::driver::{Backend, Caller};
use concave_core::sync::ClientVersion;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::ApiError;
use crate::caller::{AdminCaller, AnyCaller, check_admin, check_may_write};
use crate::json::JsonBody;

/// Largest push.
const PUSH_BYTES_MAX: usize = 200 << 20;

pub(crate) fn router() -> Router<Arc<Backend>> {
    let logs = || get(stream_function_logs);
    Router::new()
        .route("/api/get_config_hashes", post(get_config_hashes))
        .route("/api/deploy2/start_push", post(start_push))
        .route("/api/deploy2/evaluate_push", post(evaluate_push))
        .route("/api/deploy2/evaluate_schema", post(evaluate_schema))
        .route("/api/deploy2/wait_for_schema", post(wait_for_schema))
        .route("/api/deploy2/finish_push", post(finish_push))
        .route(
            "/api/deploy2/report_push_completed",
            post(report_push_completed),
        )
        .route("/api/v1/get_canonical_urls", get(get_canonical_urls))
        .route(
            "/api/update_environment_variables",
            post(update_environment_variables),
        )
        .route(
            "/api/v1/update_environment_variables",
            post(update_environment_variables),
        )
        .route(
            "/api/list_environment_variables",
            get(list_environment_variables),
        )
        .route(
            "/api/v1/list_environment_variables",
            get(list_environment_variables),
        )
        .route("/api/stream_function_logs", logs())
        .route("/api/stream_udf_execution", logs())
        .route("/api/app_metrics/stream_function_logs", logs())
        .route("/api/app_metrics/stream_udf_execution", logs())
        .layer(DefaultBodyLimit::max(PUSH_BYTES_MAX))
}

type Answer = Result<Json<Value>, ApiError>;

/// Push requests carry the admin key in the body, in the header, or both.
fn authorize(backend: &Backend, caller: &Caller, request: &Value) -> Result<(), ApiError> {
    if caller.identity.is_admin() {
        return Ok(check_may_write(&caller.identity)?);
    }
    match request["adminKey"].as_str() {
        Some(key) => Ok(check_may_write(&backend.admin_keys().verify(key)?)?),
        None => Ok(check_admin(&caller.identity)?),
    }
}

async fn get_config_hashes(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, _): AnyCaller,
    JsonBody(request): JsonBody<Value>,
) -> Answer {
    authorize(&backend, &caller, &request)?;
    Ok(Json(backend.get_config_hashes().await?))
}

async fn start_push(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, _): AnyCaller,
    JsonBody(request): JsonBody<Value>,
) -> Answer {
    authorize(&backend, &caller, &request)?;
    Ok(Json(backend.start_push(request).await?))
}

async fn evaluate_push(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, _): AnyCaller,
    JsonBody(request): JsonBody<Value>,
) -> Answer {
    authorize(&backend, &caller, &request)?;
    Ok(Json(backend.evaluate_push(request).await?))
}

async fn evaluate_schema(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, _): AnyCaller,
    JsonBody(request): JsonBody<Value>,
) -> Answer {
    authorize(&backend, &caller, &request)?;
    Ok(Json(backend.evaluate_schema(request).await?))
}

async fn wait_for_schema(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, _): AnyCaller,
    JsonBody(request): JsonBody<Value>,
) -> Answer {
    authorize(&backend, &caller, &request)?;
    Ok(Json(backend.wait_for_schema(request).await?))
}

async fn finish_push(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, _): AnyCaller,
    JsonBody(request): JsonBody<Value>,
) -> Answer {
    authorize(&backend, &caller, &request)?;
    Ok(Json(backend.finish_push(request).await?))
}

/// Timings of the CLI, which nobody here evaluates.
async fn report_push_completed(
    State(backend): State<Arc<Backend>>,
    AnyCaller(caller, _): AnyCaller,
    JsonBody(request): JsonBody<Value>,
) -> Answer {
    authorize(&backend, &caller, &request)?;
    Ok(Json(Value::Null))
}

async fn get_canonical_urls(State(backend): State<Arc<Backend>>, _: AdminCaller) -> Json<Value> {
    let config = backend.config();
    Json(json!({ "convexCloudUrl": config.cloud_url, "convexSiteUrl": config.site_url }))
}

async fn update_environment_variables(
    State(backend): State<Arc<Backend>>,
    AdminCaller(caller, _): AdminCaller,
    JsonBody(request): JsonBody<Value>,
) -> Answer {
    check_may_write(&caller.identity)?;
    backend.update_environment_variables(request).await?;
    Ok(Json(Value::Null))
}

async fn list_environment_variables(State(backend): State<Arc<Backend>>, _: AdminCaller) -> Answer {
    Ok(Json(backend.list_environment_variables()?))
}

#[derive(Deserialize)]
struct LogParameters {
    /// Where the last answer ended.
    #[serde(default)]
    cursor: f64,
}

async fn stream_function_logs(
    State(backend): State<Arc<Backend>>,
    AdminCaller(_, client): AdminCaller,
    parameters: Result<Query<LogParameters>, QueryRejection>,
) -> Answer {
    let Query(parameters) = parameters.map_err(|rejection| Error::bad_request("BadQueryArgs", rejection.body_text()))?;
    let cursor = parameters.cursor;
    Ok(Json(
        backend
            .stream_function_logs(cursor, wants_structure(&client))
            .await?,
    ))
}

/// The CLI and dashboards get log lines as objects, all others as text.
fn wants_structure(client: &ClientVersion) -> bool {
    matches!(client.name(), "npm-cli" | "dashboard")
}
