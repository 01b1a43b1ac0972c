//! JSON in and out.

use std::io::Read;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use concave_core::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Largest body of a push, bytes, before and after decompression: all code of an app with its source maps.
pub const PUSH_BYTES_MAX: usize = 200 << 20;
const BROTLI_BUFFER_BYTES: usize = 64 << 10;

/// The body of a request, declared to be JSON. It may be compressed with brotli, as the CLI does with code.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bad = |message: String| Error::bad_request("BadJsonBody", message);
        let content_type = request.headers().get(CONTENT_TYPE);
        if !content_type.is_some_and(is_json) {
            let message = "Send the header `Content-Type: application/json` with a JSON body.";
            return Err(bad(message.to_owned()).into());
        }
        let encoding = request.headers().get(CONTENT_ENCODING);
        let compressed =
            encoding.is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"br"));
        let mut bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                let status = rejection.status();
                let text = rejection.body_text();
                let code = match status {
                    StatusCode::PAYLOAD_TOO_LARGE => "RequestTooLarge",
                    _ => "BadJsonBody",
                };
                ApiError::with_status(status, Error::bad_request(code, text))
            })?;
        if compressed {
            bytes = decompress(&bytes)?.into();
        }
        let body = serde_json::from_slice(&bytes)
            .map_err(|error| bad(format!("The body is not the JSON it should be: {error}")))?;
        Ok(Self(body))
    }
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, ApiError> {
    let mut plain = Vec::new();
    brotli::Decompressor::new(bytes, BROTLI_BUFFER_BYTES)
        .take(PUSH_BYTES_MAX as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| {
            let message = format!("The body is not the brotli it should be: {error}");
            Error::bad_request("BadJsonBody", message)
        })?;
    if plain.len() > PUSH_BYTES_MAX {
        return Err(ApiError::with_status(
            StatusCode::PAYLOAD_TOO_LARGE,
            Error::bad_request("RequestTooLarge", "The body is too large."),
        ));
    }
    Ok(plain)
}

/// `application/json`, or any `application/…+json`.
fn is_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence
        .strip_prefix("application/")
        .is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

/// A response of JSON.
pub fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => {
            let json = HeaderValue::from_static("application/json");
            (status, [(CONTENT_TYPE, json)], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a response cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A successful response of JSON.
pub fn ok_json(body: &impl Serialize) -> Response {
    json_response(StatusCode::OK, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_known_by_its_content_type() {
        for (content_type, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("text/json", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let value = HeaderValue::from_static(content_type);
            assert_eq!(is_json(&value), json, "{content_type}");
        }
    }
}
