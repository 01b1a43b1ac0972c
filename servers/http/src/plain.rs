//! Endpoints that need no credentials and run nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use concave_core::driver::Backend;

use crate::VERSION;

/// Largest body that `/echo` gives back.
const ECHO_BYTES_MAX: usize = 128 << 20;

pub(crate) fn router() -> Router<Arc<Backend>> {
    Router::new()
        .route("/version", get(async || VERSION))
        .route("/instance_version", get(async || VERSION))
        .route("/instance_name", get(instance_name))
        .route(
            "/echo",
            post(async |body: Bytes| body).layer(DefaultBodyLimit::max(ECHO_BYTES_MAX)),
        )
        // Telemetry of the npm client.
        .route("/api/debug_event", post(async || ""))
}

pub(crate) async fn banner() -> &'static str {
    "This is a Concave deployment: a backend for Convex apps. The API is under /api.\n"
}

async fn instance_name(State(backend): State<Arc<Backend>>) -> String {
    backend.config().instance_name.clone()
}
