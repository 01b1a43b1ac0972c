//! The app's static files, and what is not there.

use std::fs::Metadata;
use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use concave_core::{Error, ErrorClass};
use percent_encoding::percent_decode_str;
use tower::ServiceExt;
use tower_http::services::ServeDir;

use crate::error::ApiError;
use crate::missing::missing_feature;

const BANNER: &str = "This is a Concave deployment. Point a Convex client at this address.\n";

/// A folder of files, if there is one.
#[derive(Clone)]
pub struct StaticFiles {
    folder: Option<Folder>,
}

#[derive(Clone)]
struct Folder {
    files: ServeDir,
    /// Where it is, links followed.
    path: PathBuf,
}

impl Folder {
    fn new(path: PathBuf) -> Self {
        Self {
            files: ServeDir::new(&path),
            // If it is not there now, it is empty.
            path: path.canonicalize().unwrap_or(path),
        }
    }

    /// Whether what is served at `path` is in the folder, and public, wherever links lead. What is not there is not.
    async fn holds(&self, path: &str) -> bool {
        let path = percent_decode_str(path).decode_utf8_lossy();
        let mut target = self.path.join(path.trim_start_matches('/'));
        let mut found = tokio::fs::metadata(&target).await;
        if found.as_ref().is_ok_and(Metadata::is_dir) {
            target.push("index.html");
            found = tokio::fs::metadata(&target).await;
        }
        // Pipes and devices have no end.
        if !found.is_ok_and(|found| found.is_file()) {
            return false;
        }
        let Ok(target) = tokio::fs::canonicalize(target).await else {
            return false;
        };
        target
            .strip_prefix(&self.path)
            .is_ok_and(|inside| !is_hidden(&inside.to_string_lossy()))
    }
}

impl StaticFiles {
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder: folder.map(Folder::new),
        }
    }

    /// Everything that no other route serves.
    pub fn routes(self) -> Router {
        let root = self.clone();
        Router::new()
            .route("/", any(move |request| root.root(request)))
            .fallback(move |request| self.serve(request))
    }

    /// `index.html`, or a greeting if there is none.
    async fn root(self, request: Request) -> Response {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        match self.file(request).await {
            Some(response) => response,
            None if is_read => BANNER.into_response(),
            None => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        }
    }

    async fn serve(self, request: Request) -> Response {
        let path = request.uri().path();
        if path == "/api" || path.starts_with("/api/") {
            return unknown_endpoint(request.method(), request.uri());
        }
        let missing = (StatusCode::NOT_FOUND, "Not found.\n");
        let file = self.file(request).await;
        file.unwrap_or_else(|| missing.into_response())
    }

    /// The response for a file; `None` if there is none.
    async fn file(self, request: Request) -> Option<Response> {
        let folder = self.folder?;
        let path = request.uri().path();
        if is_hidden(path) || !folder.holds(path).await {
            return None;
        }
        let Ok(response) = folder.files.oneshot(request).await;
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        let mut response = response.map(Body::new);
        let headers = response.headers_mut();
        // Files change while one develops: browsers keep them, but ask whether they are still the same.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Some(response)
    }
}

/// Whether a path leads to a file that begins with a dot, `.well-known` excepted: such files are seldom meant to be
/// public.
fn is_hidden(path: &str) -> bool {
    let path = percent_decode_str(path).decode_utf8_lossy();
    path.split('/')
        .any(|name| name.starts_with('.') && name != ".well-known")
}

fn unknown_endpoint(method: &Method, uri: &Uri) -> Response {
    let error = match missing_feature(uri.path()) {
        // Clients take 404 for a server that is still starting, and try again for half a minute.
        Some(feature) => Error::bad_request(
            "FeatureNotAvailable",
            format!("{feature} not available on this server yet."),
        ),
        None => Error::new(
            ErrorClass::NotFound,
            "NotFound",
            format!("There is no endpoint {method} {}.", uri.path()),
        ),
    };
    ApiError::from(error).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_files_are_hidden() {
        for (path, hidden) in [
            ("/index.html", false),
            ("/.well-known/a.txt", false),
            ("/.env", true),
            ("/a/%2Egit/config", true),
            ("/a/../b", true),
            ("/a.b/c", false),
        ] {
            assert_eq!(is_hidden(path), hidden, "{path}");
        }
    }
}
