//! Looking after a deployment: keys, environment variables, logs, addresses.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use concave_core::Error;
use concave_core::driver::Backend;
use concave_core::identity::Identity;
use concave_core::request_id::RequestId;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::access::{Admin, Writer};
use crate::body::{JsonBody, ok_json};
use crate::error::{ApiError, ApiResult};
use crate::functions::bad_query;

type Shared = State<Arc<Backend>>;

/// What the holder of a read-only key may do. A full key has no list.
const READ_ONLY_OPERATIONS: [&str; 9] = [
    "ViewEnvironmentVariables",
    "ViewLogs",
    "ViewMetrics",
    "ViewIntegrations",
    "ViewData",
    "ViewBackups",
    "ActAsUser",
    "RunInternalQueries",
    "RunTestQuery",
];

pub fn routes() -> Router<Arc<Backend>> {
    Router::new()
        .route("/api/check_admin_key", get(check_admin_key))
        .route("/api/v1/get_canonical_urls", get(canonical_urls))
        .route(
            "/api/update_environment_variables",
            post(update_environment),
        )
        .route(
            "/api/v1/update_environment_variables",
            post(update_environment),
        )
        .route("/api/list_environment_variables", get(list_environment))
        .route("/api/v1/list_environment_variables", get(list_environment))
        .route("/api/stream_function_logs", get(stream_logs))
        .route("/api/stream_udf_execution", get(stream_logs))
        .route("/api/app_metrics/stream_function_logs", get(stream_logs))
        .route("/api/app_metrics/stream_udf_execution", get(stream_logs))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyRights {
    success: bool,
    /// Empty for all.
    allowed_ops: &'static [&'static str],
    is_read_only: bool,
}

async fn check_admin_key(Admin { caller, .. }: Admin) -> ApiResult {
    let is_read_only = matches!(
        caller.identity,
        Identity::Admin {
            read_only: true,
            ..
        }
    );
    Ok(ok_json(&KeyRights {
        success: true,
        allowed_ops: if is_read_only {
            &READ_ONLY_OPERATIONS
        } else {
            &[]
        },
        is_read_only,
    }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CanonicalUrls<'a> {
    convex_cloud_url: &'a str,
    convex_site_url: &'a str,
}

async fn canonical_urls(State(backend): Shared, _: Admin) -> ApiResult {
    let config = backend.config();
    Ok(ok_json(&CanonicalUrls {
        convex_cloud_url: &config.cloud_url,
        convex_site_url: &config.site_url,
    }))
}

async fn update_environment(
    State(backend): Shared,
    _: Writer,
    JsonBody(changes, _held): JsonBody<Json>,
) -> ApiResult {
    backend.update_environment_variables(changes).await?;
    Ok(StatusCode::OK.into_response())
}

async fn list_environment(State(backend): Shared, _: Admin) -> ApiResult {
    Ok(ok_json(&backend.list_environment_variables()?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogPosition {
    /// Of the last answer; 0 for all that is kept.
    #[serde(default)]
    cursor: f64,
    /// With `client_request_counter`: only what this request of a WebSocket session ran.
    session_id: Option<String>,
    client_request_counter: Option<u32>,
}

/// Answers once there are entries, or after a minute without.
async fn stream_logs(
    State(backend): Shared,
    Admin { requester, .. }: Admin,
    position: Result<Query<LogPosition>, QueryRejection>,
) -> ApiResult {
    let Query(position) = position.map_err(bad_query)?;
    let structured = requester.wants_structured_logs();
    let mut entries = futures_util::select! {
        entries = Box::pin(backend.stream_function_logs(position.cursor, structured)).fuse() => entries?,
        () = backend.database().stopping().fuse() => return Err(shutting_down()),
    };
    if let LogPosition {
        session_id: Some(session),
        client_request_counter: Some(number),
        ..
    } = position
    {
        let wanted = RequestId::of_session(&session, number).to_string();
        if let Some(entries) = entries["entries"].as_array_mut() {
            entries.retain(|entry| entry["requestId"] == wanted.as_str());
        }
    }
    Ok(ok_json(&entries))
}

fn shutting_down() -> ApiError {
    Error::overloaded("ShuttingDown", "The server is shutting down.").into()
}
