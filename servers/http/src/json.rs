//! JSON bodies, with errors that say what is wrong with them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use concave_core::{Error, ErrorClass};
use serde::de::DeserializeOwned;

use crate::ApiError;

/// A body of type `application/json`, possibly compressed with brotli.
pub(crate) struct JsonBody<T>(pub T);

/// Largest body after decompression.
const DECOMPRESSED_BYTES_MAX: u64 = 200 << 20;

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        check_content_type(request.headers())?;
        let compressed = header_is(request.headers(), header::CONTENT_ENCODING.as_str(), "br");
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
                let code = if too_large {
                    "RequestTooLarge"
                } else {
                    "BadJsonBody"
                };
                Error::bad_request(code, rejection.body_text())
            })?;
        let parsed = if compressed {
            serde_json::from_slice(&decompress(&body)?)
        } else {
            serde_json::from_slice(&body)
        };
        match parsed {
            Ok(value) => Ok(Self(value)),
            Err(error) => Err(Error::bad_request(
                "BadJsonBody",
                format!("The body is not valid: {error}"),
            )
            .into()),
        }
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Error> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(Error::bad_request(
        "BadJsonBody",
        "The body must be JSON, sent with `Content-Type: application/json`.",
    ))
}

fn header_is(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers
        .get(name)
        .is_some_and(|given| given.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
}

fn decompress(body: &[u8]) -> Result<Vec<u8>, Error> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let mut reader = brotli::Decompressor::new(body, 64 << 10).take(DECOMPRESSED_BYTES_MAX + 1);
    reader.read_to_end(&mut bytes).map_err(|error| {
        Error::bad_request(
            "BadJsonBody",
            format!("The body is not valid brotli: {error}"),
        )
    })?;
    if bytes.len() as u64 > DECOMPRESSED_BYTES_MAX {
        let message = format!(
            "The body is larger than {} MiB.",
            DECOMPRESSED_BYTES_MAX >> 20
        );
        return Err(Error::new(
            ErrorClass::BadRequest,
            "RequestTooLarge",
            message,
        ));
    }
    Ok(bytes)
}
