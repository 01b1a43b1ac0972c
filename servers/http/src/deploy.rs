//! Pushing code, as the official CLI does it. The key is in the headers: bodies, which have it too, are large.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use concave_core::driver::Backend;
use serde_json::Value as Json;

use crate::access::{Admin, Writer};
use crate::body::{PushBody, ok_json};
use crate::error::ApiResult;

type Shared = State<Arc<Backend>>;

pub fn routes() -> Router<Arc<Backend>> {
    Router::new()
        .route("/api/get_config_hashes", post(get_config_hashes))
        .route("/api/prepare_schema", post(prepare_schema))
        .route("/api/schema_state/{id}", get(schema_state))
        .route("/api/push_config", post(push_config))
        .route("/api/deploy2/start_push", post(start_push))
        .route("/api/deploy2/evaluate_push", post(evaluate_push))
        .route("/api/deploy2/evaluate_schema", post(evaluate_schema))
        .route("/api/deploy2/wait_for_schema", post(wait_for_schema))
        .route("/api/deploy2/finish_push", post(finish_push))
        .route("/api/deploy2/report_push_completed", post(report_completed))
}

async fn get_config_hashes(
    State(backend): Shared,
    _: Admin,
    PushBody(_): PushBody<Json>,
) -> ApiResult {
    Ok(ok_json(&backend.get_config_hashes().await?))
}

async fn prepare_schema(
    State(backend): Shared,
    _: Writer,
    PushBody(request): PushBody<Json>,
) -> ApiResult {
    Ok(ok_json(&backend.prepare_schema(request).await?))
}

async fn schema_state(State(backend): Shared, _: Admin, Path(id): Path<String>) -> ApiResult {
    Ok(ok_json(&backend.schema_state(&id)?))
}

async fn push_config(
    State(backend): Shared,
    _: Writer,
    PushBody(request): PushBody<Json>,
) -> ApiResult {
    Ok(ok_json(&backend.push_config(request).await?))
}

async fn start_push(
    State(backend): Shared,
    _: Writer,
    PushBody(request): PushBody<Json>,
) -> ApiResult {
    Ok(ok_json(&backend.start_push(request).await?))
}

async fn evaluate_push(
    State(backend): Shared,
    _: Writer,
    PushBody(request): PushBody<Json>,
) -> ApiResult {
    Ok(ok_json(&backend.evaluate_push(request).await?))
}

async fn evaluate_schema(
    State(backend): Shared,
    _: Writer,
    PushBody(request): PushBody<Json>,
) -> ApiResult {
    Ok(ok_json(&backend.evaluate_schema(request).await?))
}

async fn wait_for_schema(
    State(backend): Shared,
    _: Writer,
    PushBody(request): PushBody<Json>,
) -> ApiResult {
    Ok(ok_json(&backend.wait_for_schema(request).await?))
}

async fn finish_push(
    State(backend): Shared,
    _: Writer,
    PushBody(request): PushBody<Json>,
) -> ApiResult {
    Ok(ok_json(&backend.finish_push(request).await?))
}

/// How long the CLI took. Nobody asks for it.
async fn report_completed(_: Admin, PushBody(_): PushBody<Json>) -> ApiResult<Response> {
    Ok(ok_json(&Json::Null))
}
