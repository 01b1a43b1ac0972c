//! The HTTP API of a deployment: a thin shell that turns requests into calls of [`Backend`] and results into responses.
//!
//! A deployment has two origins. The *API* origin serves clients, the CLI, and the app's static files
//! ([`api_router`]). The *site* origin serves HTTP actions ([`site_router`]).
//!
//! | file | endpoints |
//! |---|---|
//! | `functions` | run queries, mutations, actions |
//! | `deploy` | push code |
//! | `admin` | environment variables, logs, addresses |
//! | `data` | shapes, indexes, deleting tables, scheduled functions |
//! | `plain` | version, name, echo |
//! | `files` | static files, and all that is not there |
//! | `missing` | which features those belong to that are not there yet |
//!
//! `requester` reads credentials, `access` verifies them, `host` refuses foreign names of this machine, `body` reads and
//! writes JSON, `error` writes errors. There are no decisions here
//! beyond parsing: those belong to the core.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod admin;
mod body;
mod data;
mod deploy;
mod error;
mod files;
mod functions;
mod host;
mod http_actions;
mod missing;
mod plain;
mod requester;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderName, Method, Uri};
use axum::middleware::{Next, from_fn_with_state, map_request};
use axum::response::Response;
use concave_core::driver::Backend;
use concave_core::driver::intake::LONG_BYTES;
use concave_core::runtime::Heavy;
use concave_core::sync::client_version::{DEPRECATION_MESSAGE_HEADER, DEPRECATION_STATE_HEADER};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::files::StaticFiles;
pub use crate::host::only_hosts;

/// What a deployment says is its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long browsers may remember the answer to a preflight request.
const CORS_AGE: Duration = Duration::from_secs(86_400);

/// The router of the API origin.
///
/// `live` are the routes of live connections (`/api/{version}/sync` and `/api/sync`), which other crates serve.
/// `static_files` is a folder to serve at `/`, beside the API.
pub fn api_router(backend: Arc<Backend>, live: Router, static_files: Option<PathBuf>) -> Router {
    let files = StaticFiles::new(static_files);
    let router = Router::new()
        .merge(functions::routes())
        .merge(admin::routes())
        .merge(data::routes())
        .merge(deploy::routes())
        .merge(plain::routes())
        // Extractors of bodies have bounds of their own.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(backend.clone(), long_aside))
        .with_state(backend)
        .merge(live)
        .merge(files.routes())
        .layer(cors())
        // Apps answer for their own routes themselves, preflight requests included.
        .merge(http_actions::routes());
    // Around the router, since it must happen before a route is chosen.
    Router::new()
        .fallback_service(router)
        .layer(map_request(single_leading_slash))
}

/// The router of the site origin.
pub fn site_router() -> Router {
    http_actions::site()
}

/// Any page may call the API with its own credentials: there are no cookies that it could misuse. (Admin keys are taken
/// from few pages: see `concave_core::origin`.)
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::mirror_request())
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::OPTIONS,
            Method::PATCH,
            Method::DELETE,
            Method::PUT,
        ])
        .allow_credentials(true)
        .expose_headers([
            HeaderName::from_static(DEPRECATION_STATE_HEADER),
            HeaderName::from_static(DEPRECATION_MESSAGE_HEADER),
        ])
        .max_age(CORS_AGE)
}

/// Requests with long bodies work long, too, to parse and convert what comes: that must not delay the others.
async fn long_aside(State(backend): State<Arc<Backend>>, request: Request, next: Next) -> Response {
    let upper = request.body().size_hint().upper();
    let is_short = upper.is_some_and(|upper| upper <= LONG_BYTES as u64)
        && !request.headers().contains_key(CONTENT_ENCODING);
    let answer = next.run(request);
    match is_short {
        true => answer.await,
        false => Heavy::new(backend.database().runtime().clone(), answer).await,
    }
}

/// `//api/query` comes from clients whose address ends in a slash.
async fn single_leading_slash(mut request: Request) -> Request {
    let uri = request.uri();
    if uri.path().starts_with("//") {
        let path = uri.path().trim_start_matches('/');
        let query = uri.query().map(|query| format!("?{query}"));
        let target = format!("/{path}{}", query.unwrap_or_default());
        if let Ok(uri) = target.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}
