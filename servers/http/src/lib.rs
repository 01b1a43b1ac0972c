//! The HTTP API of a deployment: bytes in, one call of [`Backend`], bytes out.
//!
//! | file | endpoints |
//! |---|---|
//! | `functions` | run queries, mutations, actions |
//! | `deploy` | what the CLI needs: pushes, environment variables, logs |
//! | `plain` | version, name, echo |
//!
//! `caller` reads credentials, `error` writes errors, `json` reads bodies. There are no decisions here beyond
//! parsing: those belong to the core.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod caller;
mod deploy;
mod error;
mod functions;
mod json;
mod plain;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, StatusCode};
use concave_core::driver::Backend;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::services::ServeDir;

pub use error::ApiError;

/// What a deployment speaks as its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Largest body of a function call: 16 MiB of arguments and what surrounds them.
const CALL_BYTES_MAX: usize = (16 << 20) + 2000;

/// The router of the API origin. `live` answers WebSocket connections; `static_folder` is served at `/`.
pub fn api_router(backend: Arc<Backend>, live: Router, static_folder: Option<PathBuf>) -> Router {
    let api = Router::new()
        .merge(functions::router())
        .merge(plain::router())
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX))
        .merge(deploy::router())
        .route("/api/{*rest}", axum::routing::any(no_such_endpoint))
        .with_state(backend)
        .layer(cors());
    let router = Router::new()
        .merge(live)
        .merge(api)
        .route("/http", axum::routing::any(no_http_actions))
        .route("/http/{*rest}", axum::routing::any(no_http_actions));
    match static_folder {
        Some(folder) => router.fallback_service(ServeDir::new(folder)),
        None => router.route("/", axum::routing::get(plain::banner)),
    }
}

/// The router of the site origin, which belongs to HTTP actions.
pub fn site_router() -> Router {
    Router::new().fallback(no_http_actions)
}

async fn no_http_actions() -> (StatusCode, &'static str) {
    (
        StatusCode::NOT_FOUND,
        "This server does not run HTTP actions yet.\n",
    )
}

async fn no_such_endpoint(method: Method, uri: axum::http::Uri) -> ApiError {
    ApiError::not_found(format!("There is no endpoint {method} {}.", uri.path()))
}

/// Any web page may call the API: what it may do is decided by the credentials it sends along.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::OPTIONS,
            Method::PATCH,
            Method::DELETE,
            Method::PUT,
        ])
        .expose_headers([
            HeaderName::from_static("x-convex-deprecation-state"),
            HeaderName::from_static("x-convex-deprecation-message"),
        ])
        .max_age(Duration::from_secs(86_400))
}
