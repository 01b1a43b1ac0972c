//! Endpoints that need no credentials.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use concave_core::driver::Backend;

use crate::VERSION;

/// Largest body that is echoed, bytes.
const ECHO_BYTES_MAX: usize = 128 << 20;

pub fn routes() -> Router<Arc<Backend>> {
    Router::new()
        .route("/version", get(version))
        .route("/instance_version", get(version))
        .route("/instance_name", get(instance_name))
        .route(
            "/echo",
            post(echo).layer(DefaultBodyLimit::max(ECHO_BYTES_MAX)),
        )
        // Telemetry of the npm client.
        .route("/api/debug_event", post(async || ""))
}

async fn version() -> &'static str {
    VERSION
}

async fn instance_name(State(backend): State<Arc<Backend>>) -> String {
    backend.config().instance_name.clone()
}

/// For the CLI's network test.
async fn echo(body: Bytes) -> Bytes {
    body
}
