//! The data of a deployment as a whole: shapes, indexes, deleting tables, scheduled functions.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use concave_core::Error;
use concave_core::driver::{Backend, JobSelection};
use concave_core::value::FunctionPath;
use serde::Deserialize;
use serde_json::json;

use crate::access::{Admin, Writer};
use crate::body::{JsonBody, ok_json};
use crate::error::ApiResult;
use crate::functions::check_component;

type Shared = State<Arc<Backend>>;

pub fn routes() -> Router<Arc<Backend>> {
    Router::new()
        .route("/api/shapes2", get(shapes))
        .route("/api/get_indexes", get(indexes))
        .route("/api/delete_tables", post(delete_tables))
        .route("/api/delete_component", post(delete_component))
        .route("/api/cancel_job", post(cancel_job))
        .route("/api/cancel_all_jobs", post(cancel_all_jobs))
        .route(
            "/api/delete_scheduled_functions_table",
            post(delete_scheduled_functions),
        )
        .route("/api/v1/deployment_info", get(deployment_info))
}

/// Which component is meant. There is none but the app itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    component_id: Option<String>,
    component_path: Option<String>,
}

impl Component {
    fn check(&self) -> Result<(), Error> {
        check_component(self.component_id.as_deref())?;
        check_component(self.component_path.as_deref())
    }
}

fn done() -> Response {
    StatusCode::OK.into_response()
}

async fn shapes(State(backend): Shared, _: Admin) -> ApiResult {
    Ok(ok_json(&backend.shapes().await?))
}

async fn indexes(State(backend): Shared, _: Admin) -> ApiResult {
    Ok(ok_json(&backend.indexes()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tables {
    table_names: Vec<String>,
    #[serde(flatten)]
    component: Component,
}

async fn delete_tables(
    State(backend): Shared,
    _: Writer,
    JsonBody(tables, _held): JsonBody<Tables>,
) -> ApiResult {
    tables.component.check()?;
    backend.delete_tables(&tables.table_names).await?;
    Ok(done())
}

async fn delete_component(_: Writer, JsonBody(component, _held): JsonBody<Component>) -> ApiResult {
    component.check()?;
    let message = "The app itself cannot be deleted.";
    Err(Error::bad_request("InvalidComponentId", message).into())
}

#[derive(Deserialize)]
struct Job {
    id: String,
    #[serde(flatten)]
    component: Component,
}

async fn cancel_job(
    State(backend): Shared,
    _: Writer,
    JsonBody(job, _held): JsonBody<Job>,
) -> ApiResult {
    job.component.check()?;
    backend.cancel_job(&job.id).await?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Jobs {
    udf_path: Option<String>,
    /// Nanoseconds, the first one included and the last one not.
    start_next_ts: Option<u64>,
    end_next_ts: Option<u64>,
    #[serde(flatten)]
    component: Component,
}

async fn cancel_all_jobs(
    State(backend): Shared,
    _: Writer,
    JsonBody(jobs, _held): JsonBody<Jobs>,
) -> ApiResult {
    jobs.component.check()?;
    let function = jobs.udf_path.as_deref().map(FunctionPath::parse);
    let selection = JobSelection {
        function: function.transpose()?,
        from: jobs.start_next_ts,
        before: jobs.end_next_ts,
    };
    backend.cancel_jobs(&selection).await?;
    Ok(done())
}

async fn delete_scheduled_functions(
    State(backend): Shared,
    _: Writer,
    JsonBody(component, _held): JsonBody<Component>,
) -> ApiResult {
    component.check()?;
    backend.delete_jobs().await?;
    Ok(done())
}

async fn deployment_info(_: Admin) -> ApiResult {
    Ok(ok_json(&json!({ "kind": "selfHosted" })))
}
