//! The HTTP side of opening a WebSocket (RFC 6455, section 4.2).

use axum::Json;
use axum::body::Body;
use axum::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use concave_core::error::Error;
use concave_core::sync::client_version::{DEPRECATION_MESSAGE_HEADER, DEPRECATION_STATE_HEADER};
use serde_json::json;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The answer to a request to open a WebSocket.
///
/// # Errors
/// `InvalidWebSocketHandshake` if it is not one.
pub fn switching_protocols(headers: &HeaderMap) -> Result<Response<Body>, Error> {
    if !has_token(headers, UPGRADE, "websocket") || !has_token(headers, CONNECTION, "upgrade") {
        return Err(not_a_websocket("this path only serves WebSockets"));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(not_a_websocket("the version of WebSockets must be 13"));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return Err(not_a_websocket("the WebSocket key is missing"));
    };
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|error| Error::internal(error.to_string()))?;
    let headers = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The error of a request that does not ask for a WebSocket as it should.
pub fn not_a_websocket(message: &str) -> Error {
    Error::bad_request("InvalidWebSocketHandshake", message)
}

/// The answer to a client that is turned away. One that is too old is told so in headers, which clients print.
pub fn refusal(error: Error) -> Response<Body> {
    let status = StatusCode::from_u16(error.class.http_status())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = Json(json!({"code": error.code, "message": error.message}));
    let mut response = (status, body).into_response();
    if error.code == "ClientVersionUnsupported" {
        let headers = response.headers_mut();
        headers.insert(
            HeaderName::from_static(DEPRECATION_STATE_HEADER),
            HeaderValue::from_static("Unsupported"),
        );
        // The text names the client's version, which is printable.
        if let Ok(message) = HeaderValue::try_from(error.message) {
            headers.insert(HeaderName::from_static(DEPRECATION_MESSAGE_HEADER), message);
        }
    }
    response
}

/// Whether a header's comma-separated list contains `token`.
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}
