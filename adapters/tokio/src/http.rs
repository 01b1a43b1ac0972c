//! HTTP requests on behalf of actions.
//!
//! Memory is bounded: so many requests are under way, and of responses that are not small, so few are read at a time that
//! all of them fit. The others wait in the network. A response is one text from the beginning, in base64, since that is
//! what the action gets: its bytes are kept in no other form.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use concave_core::driver::{HttpClient, HttpResponse};
use concave_core::limits::Limits;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies of this length, bytes, are read without waiting for others.
const SMALL_BYTES: usize = 256 << 10;

/// [`HttpClient`] over reqwest.
pub struct TokioHttpClient {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    requests: Arc<Semaphore>,
    large_responses: Arc<Semaphore>,
    response_bytes_max: usize,
    patience: Duration,
}

impl TokioHttpClient {
    /// A client with its own pool of connections.
    ///
    /// # Errors
    /// If TLS cannot be set up on this system; the text says why.
    pub fn start(limits: &Limits) -> Result<Arc<Self>, String> {
        // Only fails if a provider is installed already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .user_agent("Convex/1.0")
            .build()
            .map_err(|error| format!("the HTTP client cannot be set up: {error}"))?;
        let semaphore =
            |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Ok(Arc::new(Self {
            shared: Arc::new(Shared {
                client,
                requests: semaphore(limits.fetches),
                large_responses: semaphore(limits.large_fetches),
                response_bytes_max: limits.fetch_response_bytes,
                patience: limits.queue_time,
            }),
        }))
    }
}

impl HttpClient for TokioHttpClient {
    fn fetch(&self, request: String) -> BoxFuture<'static, Result<HttpResponse, String>> {
        let shared = self.shared.clone();
        async move { shared.fetch(request).await }.boxed()
    }
}

/// What an action asks for.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Base64.
    #[serde(borrow, default)]
    body: Option<Cow<'a, str>>,
}

impl Shared {
    async fn fetch(&self, request: String) -> Result<HttpResponse, String> {
        let place = self.wait_for(&self.requests).await?;
        let (url, call) = self.read(&request)?;
        drop(request);
        let response = call.send().await.map_err(|error| cause(&error))?;
        let status = response.status();
        let headers: Vec<_> = response
            .headers()
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        let mut json = json!({
            "status": status.as_u16(),
            "statusText": status.canonical_reason().unwrap_or_default(),
            "headers": headers,
            "url": url.as_str(),
        })
        .to_string();
        assert_eq!(json.pop(), Some('}'), "it is an object");
        json.push_str(r#","body":""#);
        let room = self.read_body(response, &mut json).await?;
        json.push_str(r#""}"#);
        Ok(HttpResponse {
            json,
            room: Box::new((place, room)),
        })
    }

    fn read(&self, request: &str) -> Result<(Url, RequestBuilder), String> {
        let request: Request<'_> =
            serde_json::from_str(request).map_err(|error| format!("fetch: {error}"))?;
        let url =
            Url::parse(&request.url).map_err(|error| format!("fetch: invalid URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "fetch: the scheme `{}` is not supported",
                url.scheme()
            ));
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| "fetch: invalid method".to_owned())?;
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| format!("fetch: {error}"))?;
            let value = HeaderValue::from_str(value).map_err(|error| format!("fetch: {error}"))?;
            headers.append(name, value);
        }
        let mut call = self.client.request(method, url.clone()).headers(headers);
        if let Some(body) = request.body {
            call = call.body(
                STANDARD
                    .decode(&*body)
                    .map_err(|error| format!("fetch: invalid body: {error}"))?,
            );
        }
        Ok((url, call))
    }

    /// Appends the body to `text`, in base64. Gives what holds the room for it, if it is large.
    async fn read_body(
        &self,
        mut response: Response,
        text: &mut String,
    ) -> Result<Option<OwnedSemaphorePermit>, String> {
        let max = self.response_bytes_max;
        let too_large = || {
            format!(
                "fetch: the response is larger than {} bytes, which is the most that one fetch takes",
                max
            )
        };
        let announced = response.content_length().unwrap_or_default();
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > max {
            return Err(too_large());
        }
        let mut room = None;
        if announced > SMALL_BYTES {
            room = Some(self.wait_for(&self.large_responses).await?);
        }
        text.reserve_exact(announced.div_ceil(3) * 4 + 2);
        let mut length = 0;
        // Base64 is made of three bytes at a time.
        let mut rest = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| cause(&error))? {
            length += chunk.len();
            if length > max {
                return Err(too_large());
            }
            if length > SMALL_BYTES && room.is_none() {
                room = Some(self.wait_for(&self.large_responses).await?);
            }
            let missing = (3 - rest.len()) % 3;
            let (head, chunk) = chunk.split_at(missing.min(chunk.len()));
            rest.extend_from_slice(head);
            let whole = chunk.len() / 3 * 3;
            if rest.len() == 3 {
                STANDARD.encode_string(&rest, text);
                rest.clear();
            }
            STANDARD.encode_string(&chunk[..whole], text);
            rest.extend_from_slice(&chunk[whole..]);
        }
        STANDARD.encode_string(&rest, text);
        Ok(room)
    }

    async fn wait_for(&self, semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, String> {
        match tokio::time::timeout(self.patience, semaphore.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(format!(
                "fetch failed: for {:?} too many others were under way, or their responses were too large. Try again \
                 later.",
                self.patience
            )),
        }
    }
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::Value as Json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn client(limits: &Limits) -> Arc<TokioHttpClient> {
        TokioHttpClient::start(limits).unwrap()
    }

    fn get(url: &str) -> String {
        json!({"url": url, "method": "GET", "headers": []}).to_string()
    }

    fn parsed(response: &HttpResponse) -> Json {
        serde_json::from_str(&response.json).unwrap()
    }

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
        let url = format!("http://{address}/a?b");
        let request = json!({
            "url": url, "method": "POST", "headers": [["x-test", "1"]], "body": STANDARD.encode("ping"),
        });
        let response = client(&Limits::default()).fetch(request.to_string());
        let response = parsed(&response.await.unwrap());
        assert_eq!(response["status"], 302, "redirects are not followed");
        assert_eq!(response["body"], STANDARD.encode("pong"));
        assert_eq!(response["url"], url);
        let seen = server.await.unwrap();
        assert!(
            seen.starts_with("POST /a?b HTTP/1.1\r\n") && seen.contains("x-test: 1\r\n"),
            "{seen}"
        );
    }

    #[tokio::test]
    async fn failures_are_texts() {
        let client = client(&Limits::default());
        for (url, part) in [
            ("http://127.0.0.1:1/", "refused"),
            ("file:///etc/passwd", "scheme"),
            ("x", "URL"),
        ] {
            let error = client.fetch(get(url)).await.err().unwrap();
            assert!(error.contains(part), "{error}");
        }
        let error = client.fetch(r#"{"url":"\ud83d"}"#.to_owned()).await;
        assert!(error.err().unwrap().starts_with("fetch: "));
    }

    /// A server that answers `/n` with a body of n bytes, in uneven chunks without a length, or with one for `/=n`.
    /// Counts the requests that it has seen.
    async fn bodies() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(AtomicUsize::new(0));
        let counter = seen.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let seen = counter.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        socket.read_buf(&mut head).await.unwrap();
                    }
                    seen.fetch_add(1, Ordering::Relaxed);
                    let head = String::from_utf8(head).unwrap();
                    let path = head.split(' ').nth(1).unwrap();
                    let length: usize = path.trim_start_matches(['/', '=']).parse().unwrap();
                    let framing = match path.starts_with("/=") {
                        true => format!("content-length: {length}\r\n"),
                        false => String::new(),
                    };
                    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{framing}\r\n");
                    socket.write_all(head.as_bytes()).await.unwrap();
                    for chunk in body(length).chunks(10_007) {
                        // The client may have seen enough.
                        if socket.write_all(chunk).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (url, seen)
    }

    fn body(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * at / 7) as u8).collect()
    }

    #[tokio::test]
    async fn bodies_arrive_whole_up_to_the_limit() {
        let (url, _) = bodies().await;
        let max = SMALL_BYTES + 1000;
        let client = client(&Limits {
            fetch_response_bytes: max,
            ..Limits::default()
        });
        for length in [
            0,
            1,
            2,
            3,
            10_007,
            100_000,
            SMALL_BYTES,
            SMALL_BYTES + 1,
            max,
        ] {
            for path in [format!("{url}/{length}"), format!("{url}/={length}")] {
                let response = client.fetch(get(&path)).await.unwrap();
                let encoded = parsed(&response)["body"].as_str().unwrap().to_owned();
                assert!(STANDARD.decode(encoded).unwrap() == body(length), "{path}");
            }
        }
        for path in [format!("{url}/{}", max + 1), format!("{url}/={}", max + 1)] {
            let error = client.fetch(get(&path)).await.err().unwrap();
            assert!(error.contains("larger than"), "{error}");
        }
    }

    #[tokio::test]
    async fn large_responses_wait_for_each_other_and_small_ones_for_nobody() {
        let (url, _) = bodies().await;
        let client = client(&Limits {
            large_fetches: 1,
            queue_time: Duration::from_millis(200),
            ..Limits::default()
        });
        for large in [
            format!("{url}/{}", SMALL_BYTES + 1),
            format!("{url}/={}", SMALL_BYTES + 1),
        ] {
            let held = client.fetch(get(&large)).await.unwrap();
            let small = client.fetch(get(&format!("{url}/{SMALL_BYTES}"))).await;
            assert!(small.is_ok());
            let error = client.fetch(get(&large)).await.err().unwrap();
            assert!(error.contains("too many others"), "{error}");
            drop(held);
            assert!(client.fetch(get(&large)).await.is_ok());
        }
    }

    #[tokio::test]
    async fn requests_beyond_the_limit_wait() {
        let (url, seen) = bodies().await;
        let client = client(&Limits {
            fetches: 2,
            ..Limits::default()
        });
        let first = client.fetch(get(&format!("{url}/1"))).await.unwrap();
        let _second = client.fetch(get(&format!("{url}/1"))).await.unwrap();
        let third = tokio::spawn(client.fetch(get(&format!("{url}/1"))));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(seen.load(Ordering::Relaxed), 2);
        drop(first);
        assert!(third.await.unwrap().is_ok());
        assert_eq!(seen.load(Ordering::Relaxed), 3);
    }
}
