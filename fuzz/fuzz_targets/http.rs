//! The HTTP API with a deployment behind it: whatever is sent gets an answer of the documented form, nobody changes or
//! sees what takes an admin key without one, and functions return what they were given.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, Uri};
use concave_core::driver::{Backend, BackendConfig, HttpClient, HttpResponse};
use concave_core::engine::FunctionKind;
use concave_core::engine::native::NativeEngine;
use concave_core::persistence::memory::MemoryPersistence;
use concave_core::{Timestamp, Value};
use concave_fuzz::executor::Executor;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value as Json, json};
use tower::ServiceExt;

/// Where requests go. Those of the second list need an admin key.
const OPEN: [&str; 11] = [
    "/api/query",
    "/api/mutation",
    "/api/action",
    "/api/query_batch",
    "/api/query_at_ts",
    "/api/query_ts",
    "/api/run/notes/echo",
    "/version",
    "/instance_name",
    "/api/echo",
    "//api/query",
];
const ADMIN: [&str; 17] = [
    "/api/function",
    "/api/run_test_function",
    "/api/get_config_hashes",
    "/api/prepare_schema",
    "/api/schema_state/x",
    "/api/push_config",
    "/api/export/request/zip",
    "/api/deploy2/start_push",
    "/api/deploy2/evaluate_push",
    "/api/deploy2/evaluate_schema",
    "/api/deploy2/wait_for_schema",
    "/api/deploy2/finish_push",
    "/api/deploy2/report_push_completed",
    "/api/update_environment_variables",
    "/api/list_environment_variables",
    "/api/check_admin_key",
    "/api/stream_function_logs?cursor=0",
];
const CLIENTS: [Option<&str>; 5] = [
    None,
    Some("npm-1.48.0"),
    Some("npm-cli-1.48.0"),
    Some("python-0.4.0"),
    Some("npm-0.0.1"),
];

struct World {
    executor: Arc<Executor>,
    router: Router,
    key: String,
    reader_key: String,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new(World::new());
}

fuzz_target!(|bytes: &[u8]| {
    let _ = WORLD.with_borrow_mut(|world| {
        let u = &mut Unstructured::new(bytes);
        let changed = world.send(u)?;
        // Every input begins with the same deployment.
        if changed {
            world.executor.stop();
            *world = World::new();
        }
        Ok::<_, arbitrary::Error>(())
    });
});

impl World {
    fn new() -> Self {
        let executor = Arc::new(Executor::default());
        let engine = NativeEngine::default()
            .function("notes:echo", FunctionKind::Query, async |_, args| Ok(args))
            .function("notes:noop", FunctionKind::Mutation, async |_, args| {
                Ok(args)
            })
            .function("notes:act", FunctionKind::Action, async |_, args| Ok(args));
        let modules: Vec<_> = engine
            .modules()
            .iter()
            .map(|module| json!({"path": module.path, "source": &*module.source, "environment": "isolate"}))
            .collect();
        let config = BackendConfig {
            instance_name: "fuzz".to_owned(),
            instance_secret: [5; 32],
            cloud_url: "http://api.test".to_owned(),
            site_url: "http://site.test".to_owned(),
            admin_origins: Vec::new(),
            redact: false,
            retention: None,
            limits: concave_core::limits::Limits::default(),
        };
        let backend = Backend::open(
            executor.clone(),
            Arc::new(MemoryPersistence::default()),
            Arc::new(engine),
            Arc::new(NoHttp),
            config,
        );
        let backend = executor.run(backend).expect("memory is whole");
        executor.run(async {
            let request =
                json!({"appDefinition": {"changedModules": modules, "udfServerVersion": "1.48.0"}});
            let started = backend.start_push(request).await.expect("a good push");
            let finish = json!({"startPush": started, "dryRun": false});
            backend.finish_push(finish).await.expect("a good push");
        });
        Self {
            router: concave_http::api_router(backend.clone(), Router::new(), None),
            key: backend.admin_keys().issue(Timestamp(0), false),
            reader_key: backend.admin_keys().issue(Timestamp(0), true),
            executor,
        }
    }

    /// Sends a request; gives whether it may have changed something.
    fn send(&mut self, u: &mut Unstructured<'_>) -> Result<bool> {
        let what = usize::from(u.arbitrary::<u8>()?);
        let options: u8 = u.arbitrary()?;
        let admin_only = what
            .checked_sub(OPEN.len())
            .and_then(|at| ADMIN.get(at))
            .is_some();
        let path = match OPEN.iter().chain(&ADMIN).nth(what) {
            Some(path) => (*path).to_owned(),
            None => u.arbitrary::<&str>()?.to_owned(),
        };
        let Ok(uri) = path.parse::<Uri>() else {
            return Ok(false);
        };
        let method = if options & 1 == 0 {
            Method::POST
        } else {
            Method::GET
        };
        let mut request = Request::builder().method(method.clone()).uri(uri);
        request = request.header("content-type", "application/json");
        if let Some(client) = CLIENTS[usize::from(options >> 1 & 7) % CLIENTS.len()] {
            request = request.header("convex-client", client);
        }
        let credential = options >> 4 & 3;
        let key = match credential {
            1 => Some(format!("Convex {}", self.key)),
            2 => Some(format!("Convex {}", self.reader_key)),
            3 => Some(u.arbitrary::<&str>()?.to_owned()),
            _ => None,
        };
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        let compressed = options & 0x40 != 0;
        if compressed {
            request = request.header("content-encoding", "br");
        }
        let body = u.bytes(u.len())?;
        // A header may have been refused.
        let Ok(request) = request.body(Body::from(body.to_vec())) else {
            return Ok(false);
        };
        let router = self.router.clone();
        let (status, bytes) = self.executor.run(async {
            let response = router.oneshot(request).await.expect("it always answers");
            let status = response.status();
            let bytes = to_bytes(response.into_body(), usize::MAX).await;
            (status, bytes.expect("it is in memory"))
        });
        let trusted = matches!(credential, 1 | 2);
        self.check(&path, status, &bytes, admin_only && !trusted);
        if !compressed && method == Method::POST && status.is_success() {
            check_call(&path, body, &bytes);
        }
        Ok(credential == 1 && admin_only && status.is_success())
    }

    fn check(&self, path: &str, status: StatusCode, bytes: &[u8], refused: bool) {
        let text = String::from_utf8_lossy(bytes);
        // Timestamps of long ago cannot be read at; anything else would be the server's own fault.
        let fault = status.is_server_error() && !text.contains("\"OutOfRetention\"");
        assert!(!fault, "{path}: {status} {text}");
        assert!(!(refused && status.is_success()), "{path} is for admins");
        if status.is_client_error() && path.starts_with("/api/") && !bytes.is_empty() {
            let error: Json = serde_json::from_slice(bytes).expect("errors are JSON");
            assert!(
                error["code"].is_string() && error["message"].is_string(),
                "{error}"
            );
        }
    }
}

/// A call gives its arguments back, or says what is wrong with it.
fn check_call(path: &str, body: &[u8], bytes: &[u8]) {
    let called = matches!(path, "/api/query" | "/api/mutation" | "/api/action");
    if !called {
        return;
    }
    let answer: Json = serde_json::from_slice(bytes).expect("answers are JSON");
    if answer["status"] != "success" {
        assert_eq!(answer["status"], "error");
        assert!(answer["errorMessage"].is_string());
        return;
    }
    // Members that nobody reads may hold what is not even text.
    let Ok(call) = serde_json::from_slice::<Json>(body) else {
        return;
    };
    if call["format"] == "convex_encoded_json" {
        let mut args = call["args"].clone();
        if args.is_array() {
            args = args[0].take();
        }
        if args.is_null() {
            args = json!({});
        }
        let args = Value::from_json(args).expect("it was read");
        assert_eq!(Value::from_json(answer["value"].clone()), Ok(args));
    }
}

/// The functions make no requests.
struct NoHttp;

impl HttpClient for NoHttp {
    fn fetch(&self, _: String) -> BoxFuture<'static, std::result::Result<HttpResponse, String>> {
        ready(Err("there is no network".to_owned())).boxed()
    }
}
