//! Endpoints that need no credentials.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use concave_core::driver::Backend;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Limited};

use crate::VERSION;
use crate::body::too_large;

pub fn routes() -> Router<Arc<Backend>> {
    Router::new()
        .route("/version", get(version))
        .route("/instance_version", get(version))
        .route("/instance_name", get(instance_name))
        .route("/echo", post(echo))
        // Telemetry of the npm client.
        .route("/api/debug_event", post(async || ""))
}

async fn version() -> &'static str {
    VERSION
}

async fn instance_name(State(backend): State<Arc<Backend>>) -> String {
    backend.config().instance_name.clone()
}

/// For the CLI's network test. What comes goes out again at once: nothing is kept.
async fn echo(State(backend): State<Arc<Backend>>, request: Request) -> Response {
    let limits = &backend.config().limits;
    let body = request.into_body();
    if body.size_hint().lower() > limits.echo_bytes as u64 {
        return too_large(limits.echo_bytes).into_response();
    }
    let late = backend.database().runtime().sleep(limits.body_time);
    let body = Limited::new(body, limits.echo_bytes).into_data_stream();
    let octets = HeaderValue::from_static("application/octet-stream");
    (
        [(CONTENT_TYPE, octets)],
        Body::from_stream(body.take_until(late)),
    )
        .into_response()
}
