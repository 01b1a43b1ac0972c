//! What anybody may send over HTTP, at the edge of each limit.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response};
use concave_core::Timestamp;
use concave_core::driver::intake::json_memory;
use concave_core::driver::{Backend, BackendConfig};
use concave_core::engine::native::NativeEngine;
use concave_core::limits::Limits;
use concave_core::persistence::memory::MemoryPersistence;
use concave_tokio::{TokioHttpClient, TokioRuntime};
use futures_util::{StreamExt, stream};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

const CALLS: [&str; 8] = [
    "/api/query",
    "/api/mutation",
    "/api/action",
    "/api/query_at_ts",
    "/api/query_batch",
    "/api/run/a/b",
    "/api/function",
    "/api/run_test_function",
];
/// What only those with a key may send.
const ADMIN: [&str; 6] = [
    "/api/update_environment_variables",
    "/api/delete_tables",
    "/api/delete_component",
    "/api/cancel_job",
    "/api/cancel_all_jobs",
    "/api/delete_scheduled_functions_table",
];
const PUSHES: [&str; 6] = [
    "/api/get_config_hashes",
    "/api/deploy2/start_push",
    "/api/deploy2/evaluate_push",
    "/api/deploy2/evaluate_schema",
    "/api/deploy2/wait_for_schema",
    "/api/deploy2/finish_push",
];

struct World {
    backend: Arc<Backend>,
    router: Router,
    key: String,
}

impl World {
    async fn new(limits: Limits) -> Self {
        let config = BackendConfig {
            instance_name: "test".to_owned(),
            instance_secret: [5; 32],
            cloud_url: "http://api.test".to_owned(),
            site_url: "http://site.test".to_owned(),
            admin_origins: Vec::new(),
            redact: false,
            retention: None,
            limits,
        };
        let backend = Backend::open(
            TokioRuntime::current(),
            Arc::new(MemoryPersistence::default()),
            Arc::new(NativeEngine::default()),
            TokioHttpClient::start(&Limits::default()).unwrap(),
            config,
        );
        let backend = backend.await.unwrap();
        Self {
            router: concave_http::api_router(backend.clone(), Router::new(), None),
            key: backend.admin_keys().issue(Timestamp(0), false),
            backend,
        }
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Body) -> Response<Body> {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Posts, and gives the status and the code of the error; the code is empty if there is none.
    async fn code(&self, path: &str, headers: &[(&str, &str)], body: Body) -> (u16, String) {
        let answer = self.post(path, headers, body).await;
        let status = answer.status().as_u16();
        let retry = answer.headers().contains_key("retry-after");
        assert_eq!(retry, status == 503, "who is to come back is told when");
        let text = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let json: Json = serde_json::from_slice(&text).unwrap_or_default();
        let code = json["code"].as_str().unwrap_or_default();
        (status, code.to_owned())
    }
}

/// A body of unknown length that nobody may read.
fn untouchable() -> Body {
    Body::from_stream(stream::once(async {
        panic!("the body is read");
        #[expect(unreachable_code, reason = "it has a type")]
        Ok::<Bytes, std::io::Error>(Bytes::new())
    }))
}

/// A body of `bytes` spaces and then nothing, without an end.
fn endless(bytes: usize) -> Body {
    let begun =
        stream::once(async move { Ok::<_, std::io::Error>(Bytes::from(vec![b' '; bytes])) });
    Body::from_stream(begun.chain(stream::pending()))
}

fn call(arrays: usize) -> String {
    format!(
        r#"{{"path":"a:b","args":[{{"x":[[]{}]}}]}}"#,
        ",[]".repeat(arrays - 1)
    )
}

fn compressed(text: &str) -> Body {
    let mut bytes = Vec::new();
    brotli::CompressorWriter::new(&mut bytes, 4096, 5, 22)
        .write_all(text.as_bytes())
        .unwrap();
    bytes.into()
}

#[tokio::test]
async fn a_key_comes_before_a_body() {
    let world = World::new(Limits::default()).await;
    for path in PUSHES.iter().chain(&CALLS[6..]).chain(&ADMIN) {
        let refused = world.code(path, &[], untouchable()).await;
        assert_eq!(refused, (403, "BadDeployKey".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_bad_key_is_refused_wherever_keys_are_taken() {
    let world = World::new(Limits::default()).await;
    let reads = [
        "/api/query?path=a",
        "/api/check_admin_key",
        "/api/v1/get_canonical_urls",
        "/api/list_environment_variables",
        "/api/stream_function_logs?cursor=0",
        "/api/shapes2",
        "/api/get_indexes",
        "/api/v1/deployment_info",
    ];
    for (scheme, code) in [
        ("Convex test|01", "BadAdminKey"),
        ("Bearer x", "NoAuthProvider"),
    ] {
        let headers = [("authorization", scheme)];
        let posts = CALLS.iter().chain(&PUSHES).chain(&ADMIN);
        let posts = posts.chain(&["/api/query_ts"]);
        for path in posts {
            let refused = world.code(path, &headers, untouchable()).await;
            assert_eq!(refused, (401, code.to_owned()), "{path}");
        }
        for path in reads {
            let request = Request::get(path).header("authorization", scheme);
            let request = request.body(Body::empty()).unwrap();
            let answer = world.router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
        }
    }
}

#[tokio::test]
async fn only_pushes_are_decompressed_and_only_up_to_their_limit() {
    let limits = Limits {
        push_bytes: 100_000,
        ..Limits::default()
    };
    let world = World::new(limits).await;
    let authorization = format!("Convex {}", world.key);
    let headers = [
        ("content-encoding", "br"),
        ("authorization", &authorization),
    ];
    for path in CALLS {
        let (status, code) = world.code(path, &headers, untouchable()).await;
        assert_eq!(
            (status, code.as_str()),
            (415, "UnsupportedContentEncoding"),
            "{path}"
        );
    }
    let hashes = "/api/get_config_hashes";
    let padded = |bytes: usize| format!("{{}}{}", " ".repeat(bytes - 2));
    for (bytes, expected) in [(100_000, (200, "")), (100_001, (413, "RequestTooLarge"))] {
        let (status, code) = world
            .code(hashes, &headers, compressed(&padded(bytes)))
            .await;
        assert_eq!((status, code.as_str()), expected);
        let (status, code) = world
            .code(hashes, &headers[1..], padded(bytes).into())
            .await;
        assert_eq!((status, code.as_str()), expected);
    }
    let gzip = [("content-encoding", "gzip"), headers[1]];
    assert_eq!(world.code(hashes, &gzip, untouchable()).await.0, 415);
}

#[tokio::test]
async fn bodies_have_a_length() {
    let limits = Limits {
        body_bytes: 50_000,
        ..Limits::default()
    };
    let world = World::new(limits).await;
    let padded = |bytes: usize| format!("{}{}", call(1), " ".repeat(bytes - call(1).len()));
    for path in ["/api/query", "/api/mutation", "/api/action"] {
        assert_eq!(
            world.code(path, &[], padded(50_000).into()).await,
            (200, String::new())
        );
        let refused = (413, "RequestTooLarge".to_owned());
        assert_eq!(world.code(path, &[], padded(50_001).into()).await, refused);
        // Of unknown length: it is noticed while it comes.
        assert_eq!(world.code(path, &[], endless(50_001)).await, refused);
    }
}

#[tokio::test]
async fn json_is_bounded_by_what_it_becomes() {
    let limits = Limits {
        json_bytes: json_memory(call(8000).as_bytes()),
        ..Limits::default()
    };
    let world = World::new(limits).await;
    for path in ["/api/query", "/api/mutation", "/api/action"] {
        assert_eq!(
            world.code(path, &[], call(8000).into()).await,
            (200, String::new())
        );
        let (status, code) = world.code(path, &[], call(8001).into()).await;
        assert_eq!((status, code.as_str()), (413, "JsonTooLarge"));
    }
}

#[tokio::test]
async fn bodies_have_a_time() {
    let limits = Limits {
        body_time: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = World::new(limits).await;
    for bytes in [0, 1 << 20] {
        let (status, code) = world.code("/api/query", &[], endless(bytes)).await;
        assert_eq!((status, code.as_str()), (408, "RequestTimeout"));
    }
    assert_eq!(
        world.backend.intake().arriving.free(),
        limits.arriving_bytes
    );
}

#[tokio::test]
async fn bodies_share_a_room() {
    let limits = Limits {
        arriving_bytes: 1 << 20,
        intake_time: Duration::from_millis(100),
        body_time: Duration::from_secs(3),
        ..Limits::default()
    };
    let world = World::new(limits).await;
    // One takes all the room, and goes on without; the other one has to wait.
    let hog = async {
        let hog = || world.code("/api/query", &[], endless(2 << 20));
        tokio::join!(hog(), hog())
    };
    let others = async {
        while world.backend.intake().arriving.free() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let large = format!("{}{}", call(1), " ".repeat(100_000));
        let refused = world.code("/api/query", &[], large.into()).await;
        assert_eq!(refused, (503, "TooManyConcurrentRequests".to_owned()));
        let small = world.code("/api/query", &[], call(1).into()).await;
        assert_eq!(small, (200, String::new()), "small ones need no room");
    };
    let (hog, ()) = tokio::join!(hog, others);
    let mut hogs = [hog.0.0, hog.1.0];
    hogs.sort_unstable();
    assert_eq!(hogs, [408, 503]);
    let large = format!("{}{}", call(1), " ".repeat(100_000));
    assert_eq!(world.code("/api/query", &[], large.into()).await.0, 200);
}

#[tokio::test]
async fn an_echo_is_not_kept() {
    let limits = Limits {
        echo_bytes: 1 << 20,
        body_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let world = World::new(limits).await;
    let answer = world.post("/echo", &[], endless(1000)).await;
    let mut body = answer.into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    assert_eq!(first.len(), 1000, "it comes back before the end is there");
    assert!(
        body.next().await.is_none(),
        "and no longer than bodies may take"
    );
    for (bytes, status) in [(1 << 20, 200), ((1 << 20) + 1, 413)] {
        let answer = world.post("/echo", &[], vec![0; bytes].into()).await;
        assert_eq!(answer.status(), status);
    }
    let endless = world.post("/echo", &[], endless((1 << 20) + 1)).await;
    assert!(to_bytes(endless.into_body(), usize::MAX).await.is_err());
}

#[tokio::test]
async fn links_do_not_lead_out_of_the_folder_of_files() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("public");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::create_dir_all(root.path().join("outside")).unwrap();
    std::fs::write(root.path().join("outside/index.html"), "secret").unwrap();
    std::fs::write(folder.join(".env"), "secret").unwrap();
    std::fs::write(folder.join("page.html"), "public").unwrap();
    for (target, link) in [
        ("../outside/index.html", "file.html"),
        ("../outside", "folder"),
        ("/etc/passwd", "absolute"),
        (".env", "hidden"),
        ("../../outside/index.html", "sub/index.html"),
        ("page.html", "inside.html"),
    ] {
        std::os::unix::fs::symlink(target, folder.join(link)).unwrap();
    }
    let linked = root.path().join("linked");
    std::os::unix::fs::symlink(&folder, &linked).unwrap();
    let world = World::new(Limits::default()).await;
    for folder in [folder, linked] {
        let router = concave_http::api_router(world.backend.clone(), Router::new(), Some(folder));
        for (path, status) in [
            ("/page.html", 200),
            ("/inside.html", 200),
            ("/file.html", 404),
            ("/folder/index.html", 404),
            ("/folder/", 404),
            ("/folder", 404),
            ("/absolute", 404),
            ("/hidden", 404),
            ("/sub/", 404),
            ("/sub/index.html", 404),
            ("/.env", 404),
        ] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
        }
    }
}

#[tokio::test]
async fn wrong_bodies_have_a_code() {
    let world = World::new(Limits::default()).await;
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in ["", "{", "[]", r#"{"path":1}"#, &nested] {
        let refused = world.code("/api/query", &[], body.to_owned().into()).await;
        assert_eq!(refused, (400, "BadJsonBody".to_owned()));
    }
    let args = json!({"path": "a:b"});
    assert_eq!(
        world
            .code("/api/query", &[], args.to_string().into())
            .await
            .0,
        200
    );
}
