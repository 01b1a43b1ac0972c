//! HTTP requests on behalf of actions.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use concave_core::driver::HttpClient;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url, redirect};
use serde_json::{Value as Json, json};

/// Largest response body, bytes: it has to fit into the heap of the action that asked for it.
const BODY_BYTES_MAX: usize = 20 << 20;

/// [`HttpClient`] over reqwest.
pub struct TokioHttpClient {
    client: Client,
}

impl TokioHttpClient {
    /// A client with its own pool of connections.
    ///
    /// # Errors
    /// If TLS cannot be set up on this system; the text says why.
    pub fn start() -> Result<Arc<Self>, String> {
        // Only fails if a provider is installed already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .user_agent("Convex/1.0")
            .build()
            .map_err(|error| format!("the HTTP client cannot be set up: {error}"))?;
        Ok(Arc::new(Self { client }))
    }
}

impl HttpClient for TokioHttpClient {
    fn fetch(&self, request: Json) -> BoxFuture<'static, Result<Json, String>> {
        let client = self.client.clone();
        async move { fetch(client, request).await }.boxed()
    }
}

async fn fetch(client: Client, request: Json) -> Result<Json, String> {
    let text = |field: &str| {
        request[field]
            .as_str()
            .ok_or_else(|| format!("fetch: `{field}` is missing"))
    };
    let url = Url::parse(text("url")?).map_err(|error| format!("fetch: invalid URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "fetch: the scheme `{}` is not supported",
            url.scheme()
        ));
    }
    let method = Method::from_bytes(text("method")?.as_bytes())
        .map_err(|_| "fetch: invalid method".to_owned())?;
    let mut headers = HeaderMap::new();
    for pair in request["headers"].as_array().into_iter().flatten() {
        let header = |at: usize| pair[at].as_str().unwrap_or_default();
        let name = HeaderName::from_bytes(header(0).as_bytes())
            .map_err(|error| format!("fetch: {error}"))?;
        let value = HeaderValue::from_str(header(1)).map_err(|error| format!("fetch: {error}"))?;
        headers.append(name, value);
    }
    let mut call = client.request(method, url.clone()).headers(headers);
    if let Some(body) = request["body"].as_str() {
        call = call.body(
            STANDARD
                .decode(body)
                .map_err(|error| format!("fetch: invalid body: {error}"))?,
        );
    }
    let mut response = call.send().await.map_err(|error| cause(&error))?;
    let status = response.status();
    let headers: Vec<_> = response
        .headers()
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(format!(
                "fetch: the response is larger than {} MiB",
                BODY_BYTES_MAX >> 20
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(json!({
        "status": status.as_u16(),
        "statusText": status.canonical_reason().unwrap_or_default(),
        "headers": headers,
        "body": STANDARD.encode(body),
        "url": url.as_str(),
    }))
}

/// The innermost cause: "connection refused" rather than "error sending request".
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("fetch failed: {cause}")
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn requests_arrive_and_answers_return() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"ping") {
                socket.read_buf(&mut seen).await.unwrap();
            }
            socket
                .write_all(b"HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 4\r\n\r\npong")
                .await
                .unwrap();
            String::from_utf8(seen).unwrap()
        });
        let client = TokioHttpClient::start().unwrap();
        let url = format!("http://{address}/a?b");
        let request = json!({
            "url": url, "method": "POST", "headers": [["x-test", "1"]], "body": STANDARD.encode("ping"),
        });
        let response = client.fetch(request).await.unwrap();
        assert_eq!(response["status"], 302, "redirects are not followed");
        assert_eq!(response["body"], STANDARD.encode("pong"));
        let seen = server.await.unwrap();
        assert!(
            seen.starts_with("POST /a?b HTTP/1.1\r\n") && seen.contains("x-test: 1\r\n"),
            "{seen}"
        );
    }

    #[tokio::test]
    async fn failures_are_texts() {
        let client = TokioHttpClient::start().unwrap();
        for (url, part) in [
            ("http://127.0.0.1:1/", "refused"),
            ("file:///etc/passwd", "scheme"),
            ("x", "URL"),
        ] {
            let error = client
                .fetch(json!({"url": url, "method": "GET", "headers": []}))
                .await
                .unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
