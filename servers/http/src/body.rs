//! JSON in and out.
//!
//! A body is read only once it is known who sends it, and that they may: extractors of credentials stand before those
//! of bodies, which come last in any case.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use concave_core::driver::Backend;
use concave_core::driver::intake::{Parsed, Room, Share, UNCOUNTED_BYTES};
use concave_core::{Error, ErrorClass, Result};
use futures_util::future::{Either, select};
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

const BROTLI_BUFFER_BYTES: usize = 64 << 10;

/// The body of a request, declared to be JSON, and its part of the memory for all bodies, which is to be held for as long
/// as what was parsed is.
pub struct JsonBody<T>(pub T, pub Option<Share>);

impl<T: DeserializeOwned> FromRequest<Arc<Backend>> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, backend: &Arc<Backend>) -> Result<Self, ApiError> {
        check_json(request.headers())?;
        if encoding(request.headers()).is_some() {
            return Err(ApiError::with_status(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Error::bad_request(
                    "UnsupportedContentEncoding",
                    "This endpoint takes no compressed bodies: leave out the header `Content-Encoding`.",
                ),
            ));
        }
        let limits = &backend.config().limits;
        let incoming = Incoming::new(backend, request, limits.body_bytes)?;
        let (text, _arrived) = incoming.read(limits.body_time, true).await?;
        let Parsed { value, share } = backend.intake().parse("BadJsonBody", &text).await?;
        Ok(Self(value, share))
    }
}

/// The body of a push. It may be compressed with brotli, as the CLI does with code. Only for those who have shown a key.
pub struct PushBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Backend>> for PushBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, backend: &Arc<Backend>) -> Result<Self, ApiError> {
        check_json(request.headers())?;
        let compressed = match encoding(request.headers()) {
            None => false,
            Some(name) if name.as_bytes().eq_ignore_ascii_case(b"br") => true,
            Some(_) => {
                return Err(ApiError::with_status(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Error::bad_request(
                        "UnsupportedContentEncoding",
                        "A push may be compressed with brotli (`br`), and with nothing else.",
                    ),
                ));
            }
        };
        let limits = &backend.config().limits;
        let incoming = Incoming::new(backend, request, limits.push_bytes)?;
        let _alone = match compressed || !incoming.is_small() {
            true => {
                let runtime = backend.database().runtime();
                let pushes = &backend.intake().pushes;
                Some(pushes.take_within(&**runtime, limits.push_time, 1).await?)
            }
            false => None,
        };
        let (mut text, _) = incoming.read(limits.push_time, false).await?;
        if compressed {
            text = decompress(&text, limits.push_bytes)?;
        }
        let value = serde_json::from_slice(&text).map_err(|error| {
            let message = format!("This is not the JSON that it should be: {error}");
            Error::bad_request("BadJsonBody", message)
        })?;
        Ok(Self(value))
    }
}

/// A body that is still to come.
struct Incoming<'a> {
    backend: &'a Backend,
    body: Body,
    bytes_max: usize,
}

impl<'a> Incoming<'a> {
    /// The body of `request`, refused if it says that it is longer than `bytes_max`.
    fn new(backend: &'a Backend, request: Request, bytes_max: usize) -> Result<Self, ApiError> {
        let body = request.into_body();
        if body.size_hint().lower() > bytes_max as u64 {
            return Err(too_large(bytes_max));
        }
        Ok(Self {
            backend,
            body,
            bytes_max,
        })
    }

    /// Whether it says that it is small.
    fn is_small(&self) -> bool {
        let upper = self.body.size_hint().upper();
        upper.is_some_and(|upper| upper <= UNCOUNTED_BYTES as u64)
    }

    /// All of it, within `time`. If it is `counted`, with its part of the memory for all bodies, beyond what is small.
    async fn read(self, time: Duration, counted: bool) -> Result<(Vec<u8>, Room), ApiError> {
        let runtime = self.backend.database().runtime().clone();
        let late = runtime.sleep(time);
        match select(self.collect(counted).boxed(), late).await {
            Either::Left((body, _)) => body,
            Either::Right(((), _)) => Err(Error::new(
                ErrorClass::ClientDisconnect,
                "RequestTimeout",
                format!("The body did not arrive within {time:?}."),
            )
            .into()),
        }
    }

    async fn collect(self, counted: bool) -> Result<(Vec<u8>, Room), ApiError> {
        let length = self.body.size_hint().exact();
        let mut text = Vec::with_capacity(length.unwrap_or_default() as usize);
        let mut room = Room::new(self.backend.intake());
        let mut chunks = self.body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                let message = format!("The body did not arrive: {error}");
                Error::bad_request("BadJsonBody", message)
            })?;
            let bytes = text.len() + chunk.len();
            if bytes > self.bytes_max {
                return Err(too_large(self.bytes_max));
            }
            while counted && !room.holds(bytes) {
                let more = room.more().await?;
                room.grow(more);
            }
            text.extend_from_slice(&chunk);
        }
        Ok((text, room))
    }
}

/// The error of a body that has more bytes than that.
pub fn too_large(bytes_max: usize) -> ApiError {
    let message = format!("The body is too large: the limit is {bytes_max} bytes.");
    Error::bad_request("RequestTooLarge", message).into()
}

fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, ApiError> {
    let mut plain = Vec::new();
    brotli::Decompressor::new(bytes, BROTLI_BUFFER_BYTES)
        .take(bytes_max as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|error| {
            let message = format!("The body is not the brotli it should be: {error}");
            Error::bad_request("BadJsonBody", message)
        })?;
    match plain.len() > bytes_max {
        true => Err(too_large(bytes_max)),
        false => Ok(plain),
    }
}

/// How a body is encoded, if it is.
fn encoding(headers: &HeaderMap) -> Option<&HeaderValue> {
    let encoding = headers.get(CONTENT_ENCODING)?;
    let identity = encoding.as_bytes().eq_ignore_ascii_case(b"identity");
    (!identity).then_some(encoding)
}

fn check_json(headers: &HeaderMap) -> Result<()> {
    match headers.get(CONTENT_TYPE).is_some_and(is_json) {
        true => Ok(()),
        false => Err(Error::bad_request(
            "BadJsonBody",
            "Send the header `Content-Type: application/json` with a JSON body.",
        )),
    }
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
