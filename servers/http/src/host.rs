//! Which names a server on loopback answers to.
//!
//! A page of any site can have its own name resolve to 127.0.0.1 (DNS rebinding). The browser then takes the server for
//! that site, and lets the page read what only programs on this machine should. The header `Host` still says the name.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::HOST;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use concave_core::origin::{host_of, is_loopback};
use concave_core::{Error, ErrorClass};

use crate::error::ApiError;

/// Has a router answer only to `localhost`, loopback addresses and the hosts in `names` (without ports), with 421 to
/// others. What names no host comes from no browser, and is answered.
pub fn only_hosts(router: Router, names: Vec<String>) -> Router {
    router.layer(from_fn_with_state(Arc::new(names), check))
}

async fn check(State(names): State<Arc<Vec<String>>>, request: Request, next: Next) -> Response {
    let of_uri = request.uri().host();
    let of_headers = request.headers().get_all(HOST).iter();
    // What is not text is nobody's name.
    let of_headers = of_headers.map(|host| host_of(host.to_str().unwrap_or("?")));
    for host in of_uri.map(host_of).into_iter().chain(of_headers) {
        let is_known =
            is_loopback(host) || names.iter().any(|name| name.eq_ignore_ascii_case(host));
        if !is_known {
            return refusal(host).into_response();
        }
    }
    next.run(request).await
}

fn refusal(host: &str) -> ApiError {
    let message = format!(
        "This server is for this machine, and does not answer to the name {host:?}. Use localhost, or have the operator \
         allow the name: `--allow-host {host}`."
    );
    ApiError::with_status(
        StatusCode::MISDIRECTED_REQUEST,
        Error::new(ErrorClass::Forbidden, "HostNotAllowed", message),
    )
}
