//! HTTP actions: routes that the app itself defines. On the site origin they are at the root, on the API origin under
//! `/http`.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;

/// On the API origin.
pub fn routes() -> Router {
    Router::new()
        .route("/http", any(not_available))
        .route("/http/{*path}", any(not_available))
}

/// On the site origin.
pub fn site() -> Router {
    Router::new().fallback(not_available)
}

async fn not_available() -> (StatusCode, &'static str) {
    (
        StatusCode::NOT_FOUND,
        "HTTP actions are not available on this server yet.\n",
    )
}
