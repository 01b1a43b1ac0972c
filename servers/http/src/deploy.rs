//! Pushing code, as the official CLI does it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::post;
use concave_core::driver::{Backend, Caller};
use serde_json::Value as Json;

use crate::body::{JsonBody, PUSH_BYTES_MAX, ok_json};
use crate::error::ApiResult;
use crate::requester::Requester;

type Shared = State<Arc<Backend>>;

pub fn routes() -> Router<Arc<Backend>> {
    Router::new()
        .route("/api/get_config_hashes", post(get_config_hashes))
        .route("/api/deploy2/start_push", post(start_push))
        .route("/api/deploy2/evaluate_push", post(evaluate_push))
        .route("/api/deploy2/evaluate_schema", post(evaluate_schema))
        .route("/api/deploy2/wait_for_schema", post(wait_for_schema))
        .route("/api/deploy2/finish_push", post(finish_push))
        .route("/api/deploy2/report_push_completed", post(report_completed))
        .layer(DefaultBodyLimit::max(PUSH_BYTES_MAX))
}

/// The admin key of these requests may be in the body.
async fn admin(backend: &Backend, requester: &Requester, request: &Json) -> ApiResult<Caller> {
    Ok(requester
        .admin(backend, request["adminKey"].as_str())
        .await?)
}

/// As [`admin`], with a key that allows to change things.
async fn deployer(backend: &Backend, requester: &Requester, request: &Json) -> ApiResult<()> {
    let caller = admin(backend, requester, request).await?;
    Ok(caller.identity.check_may_write()?)
}

async fn get_config_hashes(
    State(backend): Shared,
    requester: Requester,
    JsonBody(request): JsonBody<Json>,
) -> ApiResult {
    admin(&backend, &requester, &request).await?;
    Ok(ok_json(&backend.get_config_hashes().await?))
}

async fn start_push(
    State(backend): Shared,
    requester: Requester,
    JsonBody(request): JsonBody<Json>,
) -> ApiResult {
    deployer(&backend, &requester, &request).await?;
    Ok(ok_json(&backend.start_push(request).await?))
}

async fn evaluate_push(
    State(backend): Shared,
    requester: Requester,
    JsonBody(request): JsonBody<Json>,
) -> ApiResult {
    deployer(&backend, &requester, &request).await?;
    Ok(ok_json(&backend.evaluate_push(request).await?))
}

async fn evaluate_schema(
    State(backend): Shared,
    requester: Requester,
    JsonBody(request): JsonBody<Json>,
) -> ApiResult {
    deployer(&backend, &requester, &request).await?;
    Ok(ok_json(&backend.evaluate_schema(request).await?))
}

async fn wait_for_schema(
    State(backend): Shared,
    requester: Requester,
    JsonBody(request): JsonBody<Json>,
) -> ApiResult {
    deployer(&backend, &requester, &request).await?;
    Ok(ok_json(&backend.wait_for_schema(request).await?))
}

async fn finish_push(
    State(backend): Shared,
    requester: Requester,
    JsonBody(request): JsonBody<Json>,
) -> ApiResult {
    deployer(&backend, &requester, &request).await?;
    Ok(ok_json(&backend.finish_push(request).await?))
}

/// How long the CLI took. Nobody asks for it.
async fn report_completed(
    State(backend): Shared,
    requester: Requester,
    JsonBody(request): JsonBody<Json>,
) -> ApiResult<Response> {
    admin(&backend, &requester, &request).await?;
    Ok(ok_json(&Json::Null))
}
