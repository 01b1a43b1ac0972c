//! The sync protocol on WebSockets: a thin shell around the core's [session driver](concave_core::driver::serve).
//!
//! axum routes the requests. The WebSocket itself is made here, on the upgraded connection, because axum's own cannot
//! send one message in several frames, and the Rust and Python clients refuse frames above 16 MiB.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod frames;
mod handshake;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use axum::response::Response;
use axum::routing::get;
use concave_core::driver::{Backend, RequestSource, serve};
use concave_core::error::Error;
use concave_core::origin::AdminAccess;
use concave_core::sync::ClientVersion;
use futures_util::FutureExt;
use hyper::upgrade::OnUpgrade;
use socket::Socket;

/// The routes on which clients open their WebSockets: `/api/sync` and, for the npm client, `/api/{version}/sync`. A
/// second slash in front comes from deployment URLs that end in one.
pub fn router(backend: Arc<Backend>) -> Router {
    Router::new()
        .route("/api/sync", get(sync))
        .route("//api/sync", get(sync))
        .route("/api/{version}/sync", get(sync_of_version))
        .route("//api/{version}/sync", get(sync_of_version))
        .with_state(backend)
}

async fn sync(State(backend): State<Arc<Backend>>, request: Request) -> Response {
    accept(backend, None, request).unwrap_or_else(handshake::refusal)
}

async fn sync_of_version(
    State(backend): State<Arc<Backend>>,
    Path(version): Path<String>,
    request: Request,
) -> Response {
    accept(backend, Some(&version), request).unwrap_or_else(handshake::refusal)
}

/// Answers the handshake and leaves the connection to a task of its own.
fn accept(
    backend: Arc<Backend>,
    version: Option<&str>,
    mut request: Request,
) -> Result<Response, Error> {
    let header = request.headers().get("convex-client");
    let header = header.and_then(|value| value.to_str().ok());
    let client = ClientVersion::negotiate(version, header)?;
    client.check_supported()?;
    let access = access(&backend, request.headers());
    let source = source(&request);
    let response = handshake::switching_protocols(request.headers())?;
    let upgrade = request
        .extensions_mut()
        .remove::<OnUpgrade>()
        .ok_or_else(|| handshake::not_a_websocket("the connection cannot be upgraded"))?;
    let runtime = backend.database().runtime().clone();
    let connection = async move {
        // Otherwise the client left before the upgrade was done.
        if let Ok(upgraded) = upgrade.await {
            let socket = Socket::new(&backend, upgraded).await;
            serve(backend, client, access, source, socket).await;
        }
    };
    runtime.spawn(connection.boxed());
    Ok(response)
}

/// Where the connection comes from, as functions are told.
fn source(request: &Request) -> RequestSource {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let header = |name| {
        let value = request.headers().get(name);
        value.and_then(|value: &HeaderValue| value.to_str().ok())
    };
    RequestSource::new(
        peer.map(|peer| peer.ip().to_canonical().to_string()),
        peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()),
        header("x-forwarded-for"),
        header("user-agent"),
    )
}

/// Whether admin keys are taken on this connection: browsers say which page opens it.
fn access(backend: &Backend, headers: &HeaderMap) -> AdminAccess {
    // What is not text is no origin that anybody allowed.
    let header = |name: HeaderName| {
        headers
            .get(name)
            .map(|text| text.to_str().unwrap_or("null"))
    };
    backend.admin_access(header(ORIGIN), header(HOST))
}
