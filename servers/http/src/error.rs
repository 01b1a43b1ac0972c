//! Errors as responses: `{"code","message"}` with a status.

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use concave_core::sync::client_version::{DEPRECATION_MESSAGE_HEADER, DEPRECATION_STATE_HEADER};
use concave_core::{Error, ErrorKind};
use serde::Serialize;

use crate::body::json_response;

/// What handlers fail with.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    error: Error,
}

/// The result of a handler.
pub type ApiResult<T = Response> = Result<T, ApiError>;

impl ApiError {
    /// An error with a status that no class of errors has.
    pub fn with_status(status: StatusCode, error: Error) -> Self {
        Self { status, error }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match &*error.code {
            "RequestTooLarge" | "JsonTooLarge" => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::from_u16(error.class.http_status())
                .expect("classes of errors have HTTP statuses"),
        };
        Self { status, error }
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, error } = self;
        let mut message = error.message.as_str();
        if error.kind() == ErrorKind::Internal {
            // For the operator, not for the caller.
            tracing::error!(%error, "a request failed");
            message = "Your request couldn't be completed. Try again later.";
        }
        let code = &*error.code;
        let mut response = json_response(status, &ErrorBody { code, message });
        if error.kind() == ErrorKind::Transient {
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if code == "ClientVersionUnsupported" {
            let headers = response.headers_mut();
            headers.insert(
                DEPRECATION_STATE_HEADER,
                HeaderValue::from_static("Unsupported"),
            );
            if let Ok(message) = HeaderValue::from_str(message) {
                headers.insert(DEPRECATION_MESSAGE_HEADER, message);
            }
        }
        response
    }
}
