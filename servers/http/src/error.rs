//! Errors as clients read them: a status, and `{"code", "message"}`.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use concave_core::{Error, ErrorKind};
use serde_json::json;

/// An error that ends a request.
#[derive(Debug)]
pub struct ApiError {
    error: Error,
}

impl ApiError {
    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Error::new(concave_core::ErrorClass::NotFound, "NotFound", message).into()
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self { error }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Error {
            class,
            code,
            message,
        } = self.error;
        let status =
            StatusCode::from_u16(class.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = if class.kind() == ErrorKind::Internal {
            // Our own troubles go to our log; they may tell more than a client should know.
            tracing::error!(%code, %message, "a request failed");
            "Your request couldn't be completed. Try again later.".to_owned()
        } else {
            message
        };
        (
            status,
            axum::Json(json!({ "code": code, "message": message })),
        )
            .into_response()
    }
}
