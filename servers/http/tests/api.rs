//! The HTTP API against a deployment in memory whose functions are written in Rust.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use concave_core::Timestamp;
use concave_core::driver::{Backend, BackendConfig};
use concave_core::engine::native::NativeEngine;
use concave_core::engine::{Failure, FunctionKind};
use concave_core::persistence::memory::MemoryPersistence;
use concave_tokio::{TokioHttpClient, TokioRuntime};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

/// A deployment, and what to send it.
struct World {
    backend: Arc<Backend>,
    router: Router,
    key: String,
    reader_key: String,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Json {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    /// Asserts that this is an error with that status and code.
    fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        let error = self.json();
        assert_eq!(error["code"], code, "{error}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
}

fn engine() -> NativeEngine {
    NativeEngine::default()
        .function("notes:echo", FunctionKind::Query, async |_, args| Ok(args))
        .function("dir/notes:shout", FunctionKind::Query, async |context, args| {
            context.log("'shouting'");
            Ok(json!(args["text"].as_str().unwrap_or_default().to_uppercase()))
        })
        .function("notes:whoAmI", FunctionKind::Query, async |context, _| {
            context.call("1.0/getUserIdentity", json!({})).await
        })
        .function("notes:count", FunctionKind::Query, async |context, _| {
            let query = json!({"source": {"type": "FullTableScan", "tableName": "notes", "order": null}, "operators": []});
            Ok(json!(context.collect(query).await?.len() as f64))
        })
        .function("notes:add", FunctionKind::Mutation, async |context, args| {
            let insert = json!({"table": "notes", "value": args});
            context.call("1.0/insert", insert).await.map(|_| Json::Null)
        })
        .function("notes:refuse", FunctionKind::Mutation, async |context, _| {
            context.log("'about to fail'");
            Err(Failure {
                message: "Uncaught ConvexError: full".to_owned(),
                data: Some(json!({"size": {"$integer": "KgAAAAAAAAA="}})),
                ..Failure::default()
            })
        })
        .function("notes:act", FunctionKind::Action, async |_, _| Ok(json!("acted")))
}

impl World {
    async fn new() -> Self {
        Self::with_files(None).await
    }

    async fn with_files(files: Option<std::path::PathBuf>) -> Self {
        let config = BackendConfig {
            instance_name: "test".to_owned(),
            instance_secret: [5; 32],
            cloud_url: "http://api.test".to_owned(),
            site_url: "http://site.test".to_owned(),
            admin_origins: Vec::new(),
            redact: false,
            retention: None,
            limits: concave_core::limits::Limits::default(),
        };
        let backend = Backend::open(
            TokioRuntime::current(),
            Arc::new(MemoryPersistence::default()),
            Arc::new(engine()),
            TokioHttpClient::start(&concave_core::limits::Limits::default()).unwrap(),
            config,
        )
        .await
        .unwrap();
        let live = Router::new();
        let world = Self {
            router: concave_http::api_router(backend.clone(), live, files),
            key: backend.admin_keys().issue(Timestamp(0), false),
            reader_key: backend.admin_keys().issue(Timestamp(0), true),
            backend,
        };
        world.push().await;
        world
    }

    /// Deploys the functions as the CLI does, code compressed and the key in headers and bodies.
    async fn push(&self) {
        let modules: Vec<_> = engine()
            .modules()
            .iter()
            .map(|module| json!({"path": module.path, "source": &*module.source, "environment": "isolate"}))
            .collect();
        let request = json!({
            "adminKey": self.key, "dryRun": false, "functions": "convex/", "componentDefinitions": [],
            "nodeDependencies": [],
            "appDefinition": {
                "definition": null, "dependencies": [], "schema": null, "changedModules": modules,
                "unchangedModuleHashes": [], "udfServerVersion": "1.48.0",
            },
        });
        let mut compressed = Vec::new();
        brotli::CompressorWriter::new(&mut compressed, 4096, 5, 22)
            .write_all(request.to_string().as_bytes())
            .unwrap();
        let start = Request::post("/api/deploy2/start_push")
            .header("content-type", "application/json")
            .header("content-encoding", "br")
            .header("authorization", self.authorization())
            .body(Body::from(compressed))
            .unwrap();
        let started = self.send(start).await;
        assert_eq!(started.status, 200, "{}", started.text());
        let started = started.json();
        let wait = json!({"adminKey": self.key, "schemaChange": started["schemaChange"], "timeoutMs": 5000, "dryRun": false});
        let authorization = self.authorization();
        let headers = [("authorization", authorization.as_str())];
        let waited = self
            .post_with("/api/deploy2/wait_for_schema", wait, &headers)
            .await;
        assert_eq!(waited.json(), json!({"type": "complete"}));
        let finish = json!({"adminKey": self.key, "startPush": started, "dryRun": false});
        let finished = self
            .post_with("/api/deploy2/finish_push", finish, &headers)
            .await;
        assert_eq!(finished.status, 200, "{}", finished.text());
        let report = json!({"adminKey": self.key, "spans": []});
        let reported = self
            .post_with("/api/deploy2/report_push_completed", report, &headers)
            .await;
        assert_eq!(reported.json(), Json::Null);
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            bytes: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
        }
    }

    async fn post(&self, path: &str, body: Json) -> Answer {
        self.post_with(path, body, &[]).await
    }

    async fn post_with(&self, path: &str, body: Json, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    fn authorization(&self) -> String {
        format!("Convex {}", self.key)
    }
}

#[tokio::test]
async fn functions_answer_in_the_format_asked_for() {
    let world = World::new().await;
    let args = json!({"big": {"$integer": "KgAAAAAAAAA="}, "n": 1});
    for (format, value) in [
        (
            json!("convex_encoded_json"),
            json!({"big": {"$integer": "KgAAAAAAAAA="}, "n": 1.0}),
        ),
        (json!("json"), json!({"big": "42", "n": 1.0})),
        (Json::Null, json!({"big": "42", "n": 1.0})),
    ] {
        // npm sends the arguments in an array, Python as they are.
        for args in [args.clone(), json!([args])] {
            let call = json!({"path": "notes:echo", "args": args, "format": format});
            let answer = world.post("/api/query", call).await;
            assert_eq!(answer.json(), json!({"status": "success", "value": value}));
        }
    }
    let old = [("convex-client", "npm-1.0.0")];
    let call = json!({"path": "notes:echo", "args": args});
    let answer = world.post_with("/api/query", call.clone(), &old).await;
    assert_eq!(answer.json()["value"]["big"], args["big"]);
    let bad = json!({"path": "notes:add", "args": {}, "format": "xml"});
    world
        .post("/api/mutation", bad)
        .await
        .refused(400, "BadFormat");
    let count = json!({"path": "notes:count", "args": {}});
    assert_eq!(
        world.post("/api/query", count).await.json()["value"],
        0.0,
        "nothing ran"
    );
}

#[tokio::test]
async fn every_kind_of_function_has_its_endpoints() {
    let world = World::new().await;
    let add = json!({"path": "notes:add", "args": {"text": "a"}});
    let added = world.post("/api/mutation", add).await.json();
    assert_eq!(added, json!({"status": "success", "value": null}));
    let act = json!({"path": "notes:act", "args": {}});
    assert_eq!(
        world.post("/api/action", act).await.json()["value"],
        "acted"
    );
    let run = world
        .post("/api/run/dir/notes/shout", json!({"args": {"text": "ho"}}))
        .await;
    assert_eq!(
        run.json(),
        json!({"status": "success", "value": "HO", "logLines": ["[LOG] 'shouting'"]})
    );
    world
        .post("/api/run/notes", json!({"args": {}}))
        .await
        .refused(400, "MissingIdentifier");
    let got = world
        .get(
            "/api/query?path=notes:echo&args=%7B%22a%22%3A%22%C3%A9%22%7D",
            &[],
        )
        .await;
    assert_eq!(got.json()["value"], json!({"a": "é"}));
    world
        .get("/api/query?path=notes:echo&args=%7B", &[])
        .await
        .refused(400, "BadQueryArgs");
    world
        .get("/api/query", &[])
        .await
        .refused(400, "BadQueryArgs");
    // A trailing slash of the deployment's URL.
    let count = json!({"path": "notes:count", "args": {}});
    assert_eq!(world.post("//api/query", count).await.json()["value"], 1.0);
}

#[tokio::test]
async fn queries_see_the_timestamp_they_name() {
    let world = World::new().await;
    let before = world
        .send(Request::post("/api/query_ts").body(Body::empty()).unwrap())
        .await;
    let before = before.json()["ts"].clone();
    let add = json!({"path": "notes:add", "args": {}});
    assert_eq!(
        world.post("/api/mutation", add).await.json()["status"],
        "success"
    );
    let at = json!({"path": "notes:count", "args": {}, "ts": before});
    assert_eq!(
        world.post("/api/query_at_ts", at).await.json()["value"],
        0.0
    );
    let no_time = json!({"path": "notes:count", "args": {}, "ts": "?"});
    world
        .post("/api/query_at_ts", no_time)
        .await
        .refused(400, "BadJsonBody");
    let count = json!({"path": "notes:count", "args": {}});
    let missing = json!({"path": "notes:missing", "args": {}});
    let batch = world
        .post(
            "/api/query_batch",
            json!({"queries": [count, missing, count]}),
        )
        .await
        .json();
    assert_eq!(
        batch["results"][0],
        json!({"status": "success", "value": 1.0})
    );
    assert_eq!(batch["results"][1]["status"], "error");
    assert_eq!(batch["results"][2], batch["results"][0]);
}

#[tokio::test]
async fn failures_of_functions_are_answers() {
    let world = World::new().await;
    let headers = [("convex-request-id", "abc")];
    let refuse = json!({"path": "notes:refuse", "args": {}, "format": "convex_encoded_json"});
    let answer = world.post_with("/api/mutation", refuse, &headers).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({
            "status": "error",
            "errorMessage": "[Request ID: abc] Server Error\nUncaught ConvexError: full\n",
            "errorData": {"size": {"$integer": "KgAAAAAAAAA="}},
            "logLines": ["[LOG] 'about to fail'"],
        })
    );
    for (endpoint, path) in [
        ("query", "notes:missing"),
        ("query", "notes:add"),
        ("mutation", "notes:echo"),
        ("action", "notes:echo"),
    ] {
        let call = json!({"path": path, "args": {}});
        let answer = world.post(&format!("/api/{endpoint}"), call).await;
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        assert_eq!(answer["status"], "error", "{endpoint} {path}");
        assert!(answer.get("errorData").is_none());
    }
    let structured = [("convex-client", "npm-cli-1.48.0")];
    let shout = json!({"path": "dir/notes:shout", "args": {"text": ""}});
    let answer = world
        .post_with("/api/query", shout, &structured)
        .await
        .json();
    assert_eq!(answer["logLines"][0]["messages"], json!(["'shouting'"]));
}

#[tokio::test]
async fn malformed_requests_say_what_is_wrong() {
    let world = World::new().await;
    let post = |content_type: &'static str, body: &'static str| {
        let request = Request::post("/api/query").header("content-type", content_type);
        world.send(request.body(Body::from(body)).unwrap())
    };
    post("text/plain", r#"{"path":"notes:echo","args":{}}"#)
        .await
        .refused(400, "BadJsonBody");
    post("application/json", "{")
        .await
        .refused(400, "BadJsonBody");
    post("application/json", r#"{"args":{}}"#)
        .await
        .refused(400, "BadJsonBody");
    let large = format!("{{\"path\":\"{}\"}}", "x".repeat(17 << 20));
    let request = Request::post("/api/query").header("content-type", "application/json");
    world
        .send(request.body(Body::from(large)).unwrap())
        .await
        .refused(413, "RequestTooLarge");
    let call = json!({"path": "notes:echo", "args": {}});
    for (name, value, status, code) in [
        ("convex-client", "nonsense", 400, "InvalidClientVersion"),
        (
            "convex-client",
            "npm-0.1.0",
            400,
            "ClientVersionUnsupported",
        ),
        ("authorization", "Basic x", 400, "InvalidAdminKey"),
        ("authorization", "Bearer", 400, "InvalidAuthHeader"),
        ("authorization", "Bearer a.b.c", 401, "NoAuthProvider"),
        ("authorization", "Convex test|00", 401, "BadAdminKey"),
    ] {
        let answer = world
            .post_with("/api/query", call.clone(), &[(name, value)])
            .await;
        answer.refused(status, code);
        let deprecated = answer.headers.contains_key("x-convex-deprecation-state");
        assert_eq!(deprecated, code == "ClientVersionUnsupported");
    }
    let component = json!({"path": "notes:echo", "args": {}, "componentPath": "counter"});
    world
        .post("/api/query", component)
        .await
        .refused(400, "InvalidComponentPath");
    world
        .get("/api/nothing/here", &[])
        .await
        .refused(404, "NotFound");
}

#[tokio::test]
async fn admins_have_a_key() {
    let world = World::new().await;
    let call = json!({"path": "notes:whoAmI", "args": {}});
    world
        .post("/api/function", call.clone())
        .await
        .refused(403, "BadDeployKey");
    let authorization = world.authorization();
    let admin = [("authorization", authorization.as_str())];
    let answer = world
        .post_with("/api/function", call.clone(), &admin)
        .await
        .json();
    assert_eq!(answer, json!({"status": "success", "value": null}));

    use base64::Engine as _;
    let user = json!({"issuer": "i", "subject": "s", "name": "Zoe"});
    let user = base64::engine::general_purpose::STANDARD.encode(user.to_string());
    let acting = format!("{authorization}:{user}");
    let answer = world
        .post_with("/api/query", call, &[("authorization", &acting)])
        .await
        .json();
    assert_eq!(answer["value"]["name"], "Zoe");
    assert_eq!(answer["value"]["tokenIdentifier"], "i|s");

    let check = |headers: Vec<(&'static str, String)>| {
        let world = &world;
        async move {
            let headers: Vec<_> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
            world.get("/api/check_admin_key", &headers).await
        }
    };
    check(vec![]).await.refused(403, "BadDeployKey");
    let full = check(vec![("authorization", authorization.clone())])
        .await
        .json();
    assert_eq!(
        full,
        json!({"success": true, "allowedOps": [], "isReadOnly": false})
    );
    let reader = format!("Convex {}", world.reader_key);
    let rights = check(vec![("authorization", reader.clone())]).await.json();
    assert_eq!(rights["isReadOnly"], true);
    assert!(!rights["allowedOps"].as_array().unwrap().is_empty());

    // A read-only key looks, and changes nothing.
    let reader = [("authorization", reader.as_str())];
    let count = json!({"path": "notes:count", "args": {}});
    assert_eq!(
        world.post_with("/api/query", count, &reader).await.json()["value"],
        0.0
    );
    for (path, body) in [
        ("/api/mutation", json!({"path": "notes:add", "args": {}})),
        ("/api/action", json!({"path": "notes:act", "args": {}})),
        ("/api/update_environment_variables", json!({"changes": []})),
        ("/api/deploy2/start_push", json!({})),
    ] {
        world
            .post_with(path, body, &reader)
            .await
            .refused(403, "BadDeployKey");
    }
}

/// The endpoints of the reference that are not here yet, as its command line and its tools call them.
#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let world = World::new().await;
    let authorization = world.authorization();
    let admin = [("authorization", authorization.as_str())];
    for (method, path, feature) in [
        (
            "POST",
            "/api/export/request/zip?includeStorage=false",
            "Export",
        ),
        ("GET", "/api/export/zip/1234", "Export"),
        ("POST", "/api/export/set_expiration/1", "Export"),
        ("POST", "/api/export/cancel/1", "Export"),
        ("POST", "/api/import?tableName=t&format=csv", "Import"),
        ("POST", "/api/import/start_upload", "Import"),
        (
            "POST",
            "/api/import/upload_part?uploadToken=t&partNumber=1",
            "Import",
        ),
        ("POST", "/api/import/finish_upload", "Import"),
        ("POST", "/api/perform_import", "Import"),
        ("POST", "/api/cancel_import", "Import"),
        ("POST", "/api/storage/upload?token=t", "File storage"),
        ("GET", "/api/storage/3b1c", "File storage"),
        ("GET", "/api/list_snapshot", "Streaming export"),
        ("POST", "/api/document_deltas", "Streaming export"),
        ("GET", "/api/json_schemas", "Streaming export"),
        (
            "GET",
            "/api/test_streaming_export_connection",
            "Streaming export",
        ),
        ("GET", "/api/get_table_column_names", "Streaming export"),
        (
            "POST",
            "/api/data_sync_cursor_from_deltas",
            "Streaming export",
        ),
        ("POST", "/api/v1/data/sync", "Streaming export"),
        ("GET", "/api/v1/data/list_active_syncs", "Streaming export"),
        (
            "PUT",
            "/api/streaming_import/clear_tables",
            "Streaming import",
        ),
        ("GET", "/api/app_metrics/udf_rate", "Metrics"),
        ("POST", "/api/update_canonical_url", "canonical URLs"),
        ("POST", "/api/v1/update_canonical_url", "canonical URLs"),
        ("POST", "/api/v1/pause_deployment", "management API"),
        ("GET", "/api/v1/list_log_streams", "management API"),
        ("POST", "/api/actions/query", "Node.js actions"),
        ("POST", "/api/get_config", "before 1.17"),
    ] {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header(admin[0].0, admin[0].1)
            .body(Body::empty())
            .unwrap();
        let answer = world.send(request).await;
        answer.refused(400, "FeatureNotAvailable");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(feature), "{path}: {message}");
        assert!(
            message.ends_with("not available on this server yet."),
            "{message}"
        );
    }
    world
        .get("/api/nope", &admin)
        .await
        .refused(404, "NotFound");
}

#[tokio::test]
async fn older_command_lines_push_in_two_requests() {
    let world = World::new().await;
    let authorization = world.authorization();
    let admin = [("authorization", authorization.as_str())];
    let schema = json!({"tables": [{"tableName": "notes", "indexes": [], "documentType": {"type": "any"}}],
        "schemaValidation": true});
    let bundle =
        json!({"path": "schema.js", "source": schema.to_string(), "environment": "isolate"});
    let prepare = json!({"adminKey": world.key, "bundle": bundle, "dryRun": false});
    let refused = world
        .post("/api/prepare_schema", json!({"bundle": bundle}))
        .await;
    refused.refused(403, "BadDeployKey");
    let prepared = world
        .post_with("/api/prepare_schema", prepare, &admin)
        .await;
    assert_eq!(prepared.status, 200, "{}", prepared.text());
    let id = prepared.json()["schemaId"].clone();
    let path = format!("/api/schema_state/{}", id.as_str().unwrap());
    world.get(&path, &[]).await.refused(403, "BadDeployKey");
    let state = world.get(&path, &admin).await.json();
    assert_eq!(
        state,
        json!({"indexes": [], "schemaState": {"state": "validated"}})
    );

    let module = json!({"path": "notes.js", "source": "", "environment": "isolate"});
    let push = json!({"adminKey": world.key, "config": {"functions": "convex/"}, "modules": [module],
        "nodeDependencies": [], "udfServerVersion": "1.24.8", "schemaId": id});
    let pushed = world.post_with("/api/push_config", push, &admin).await;
    assert_eq!(pushed.status, 200, "{}", pushed.text());
    let call = json!({"path": "dir/notes:shout", "args": {"text": "x"}});
    let gone = world.post("/api/query", call).await.json();
    let text = gone["errorMessage"].as_str().unwrap();
    assert!(
        text.contains(
            "Could not find public function for 'dir/notes:shout'. Did you forget to run `npx convex dev` or \
             `npx convex deploy`?"
        ),
        "{text}"
    );
    let echo = json!({"path": "notes:echo", "args": {"n": 1}});
    assert_eq!(
        world.post("/api/query", echo).await.json()["value"],
        json!({"n": 1.0})
    );
    assert_eq!(
        world.get(&path, &admin).await.json()["schemaState"]["state"],
        "active"
    );
}

#[tokio::test]
async fn environment_variables_are_set_and_listed() {
    let world = World::new().await;
    let authorization = world.authorization();
    let admin = [("authorization", authorization.as_str())];
    let change = json!({"changes": [{"name": "TOKEN", "value": "x"}]});
    world
        .post("/api/update_environment_variables", change.clone())
        .await
        .refused(403, "BadDeployKey");
    let set = world
        .post_with("/api/update_environment_variables", change, &admin)
        .await;
    assert_eq!((set.status, set.text().as_str()), (StatusCode::OK, ""));
    let listed = world
        .get("/api/list_environment_variables", &admin)
        .await
        .json();
    assert_eq!(listed, json!({"environmentVariables": {"TOKEN": "x"}}));
    let urls = world.get("/api/v1/get_canonical_urls", &admin).await.json();
    assert_eq!(
        urls,
        json!({"convexCloudUrl": "http://api.test", "convexSiteUrl": "http://site.test"})
    );
}

#[tokio::test]
async fn logs_are_followed_until_the_server_stops() {
    let world = World::new().await;
    let authorization = world.authorization();
    let key = [("authorization", &*authorization)];
    let shout = json!({"path": "dir/notes:shout", "args": {"text": ""}});
    world.post("/api/query", shout).await;
    world
        .get("/api/stream_function_logs?cursor=0", &[])
        .await
        .refused(403, "BadDeployKey");
    // Query strings are kept in too many places.
    let in_query = world.key.replace('|', "%7C");
    let in_query = format!("/api/stream_function_logs?cursor=0&adminKey={in_query}");
    world.get(&in_query, &[]).await.refused(403, "BadDeployKey");
    let first = world
        .get("/api/stream_function_logs?cursor=0", &key)
        .await
        .json();
    let entries = first["entries"].as_array().unwrap();
    let entry = entries
        .iter()
        .find(|entry| entry["identifier"] == "dir/notes:shout");
    assert_eq!(entry.unwrap()["logLines"], json!(["[LOG] 'shouting'"]));
    let cursor = first["newCursor"].as_f64().unwrap();
    let path = format!("/api/stream_function_logs?cursor={cursor}");
    let backend = world.backend.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        backend.shut_down().await;
    });
    world.get(&path, &key).await.refused(503, "ShuttingDown");
}

#[tokio::test]
async fn plain_endpoints_need_no_key() {
    let world = World::new().await;
    assert_eq!(world.get("/instance_name", &[]).await.text(), "test");
    let version = world.get("/version", &[]).await.text();
    assert_eq!(version, concave_http::VERSION);
    assert_eq!(world.get("/instance_version", &[]).await.text(), version);
    assert!(world.get("/", &[]).await.text().contains("Concave"));
    let echo = Request::post("/echo")
        .body(Body::from(vec![0, 255]))
        .unwrap();
    assert_eq!(world.send(echo).await.bytes, [0, 255]);
    let site = concave_http::site_router();
    let hook = Request::get("/hook").body(Body::empty()).unwrap();
    assert_eq!(site.oneshot(hook).await.unwrap().status(), 404);
}

#[tokio::test]
async fn pages_of_other_origins_may_call_the_api_but_apps_answer_for_their_routes() {
    let world = World::new().await;
    let preflight = |path: &str| {
        let request = Request::builder().method(Method::OPTIONS).uri(path);
        let request = request
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "content-type,convex-client",
            );
        world.send(request.body(Body::empty()).unwrap())
    };
    for path in ["/api/query", "/api/unknown", "/version", "/"] {
        let answer = preflight(path).await;
        assert_eq!(answer.status, 200, "{path}");
        let header = |name| answer.headers[name].to_str().unwrap();
        assert_eq!(header("access-control-allow-origin"), "https://app.example");
        assert_eq!(header("access-control-allow-credentials"), "true");
        assert_eq!(
            header("access-control-allow-headers"),
            "content-type,convex-client"
        );
        assert_eq!(header("access-control-max-age"), "86400");
        assert!(header("access-control-allow-methods").contains("PATCH"));
    }
    let action = preflight("/http/hook").await;
    assert_eq!(action.status, 404);
    assert!(!action.headers.contains_key("access-control-allow-origin"));
    let failed = world
        .post_with(
            "/api/query",
            json!({}),
            &[("origin", "https://app.example")],
        )
        .await;
    assert_eq!(
        failed.headers["access-control-allow-origin"],
        "https://app.example"
    );
}

#[tokio::test]
async fn files_are_served_beside_the_api() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("public");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(root.path().join("secret.txt"), "secret").unwrap();
    for (name, text) in [
        ("index.html", "<h1>hi</h1>"),
        ("sub/a.js", "1;"),
        (".env", "SECRET=1"),
        ("version", "no"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let world = World::with_files(Some(folder)).await;
    let page = world.get("/", &[]).await;
    assert_eq!(page.text(), "<h1>hi</h1>");
    assert_eq!(page.headers["content-type"], "text/html");
    assert_eq!(page.headers["cache-control"], "no-cache");
    let script = world.get("/sub/a.js", &[]).await;
    assert_eq!(script.headers["content-type"], "text/javascript");
    let modified = page.headers["last-modified"].to_str().unwrap();
    let again = world.get("/", &[("if-modified-since", modified)]).await;
    assert_eq!(again.status, 304);
    for hidden in [
        "/.env",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/missing.js",
    ] {
        assert_eq!(world.get(hidden, &[]).await.status, 404, "{hidden}");
    }
    assert_eq!(
        world.get("/version", &[]).await.text(),
        concave_http::VERSION
    );
    world
        .get("/api/missing", &[])
        .await
        .refused(404, "NotFound");
}

#[tokio::test]
async fn admin_keys_are_not_taken_from_foreign_pages() {
    let world = World::new().await;
    let authorization = world.authorization();
    let acting = format!("{authorization}:eyJ0b2tlbklkZW50aWZpZXIiOiJpfHMifQ==");
    let count = json!({"path": "notes:count", "args": {}});
    for (origin, is_taken) in [
        ("https://evil.example", false),
        ("null", false),
        ("http://api.test.evil.example", false),
        ("http://localhost:6791", true),
        ("http://api.test", true),
        ("http://site.test", true),
        // The name by which the page's browser knows this server.
        ("http://10.1.2.3:3210", true),
    ] {
        let headers = |key| {
            let host = ("host", "10.1.2.3:3210");
            [("origin", origin), host, ("authorization", key)]
        };
        for key in [&*authorization, &*acting] {
            let headers = headers(key);
            let answers = [
                world.get("/api/check_admin_key", &headers).await,
                world.post_with("/api/query", count.clone(), &headers).await,
            ];
            for answer in answers {
                match is_taken {
                    true => assert_eq!(answer.status, 200, "{origin}"),
                    false => answer.refused(403, "AdminOriginNotAllowed"),
                }
            }
        }
        let push = json!({"adminKey": world.key});
        let from = headers(&authorization);
        let hashes = world.post_with("/api/get_config_hashes", push, &from).await;
        // The page sees why.
        assert_eq!(hashes.headers["access-control-allow-origin"], origin);
        if !is_taken {
            hashes.refused(403, "AdminOriginNotAllowed");
        }
        // Without a key it is served as anybody is.
        let anonymous = world
            .post_with("/api/query", count.clone(), &headers("")[..2])
            .await;
        assert_eq!(anonymous.json()["value"], 0.0);
    }
}

#[tokio::test]
async fn on_loopback_only_known_names_are_answered() {
    let world = World::new().await;
    let allowed = vec!["my.test".to_owned(), "api.example".to_owned()];
    let router = concave_http::only_hosts(world.router.clone(), allowed);
    let get = async |uri: &str, host: Option<&str>| {
        let mut request = Request::get(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    for host in [
        "localhost:3210",
        "LocalHost",
        "127.0.0.1:3210",
        "127.8.8.8",
        "[::1]:3210",
        "my.test:1",
        "API.example",
    ] {
        assert_eq!(get("/version", Some(host)).await.0, 200, "{host}");
    }
    // Health checks that know nothing of names.
    assert_eq!(get("/version", None).await.0, 200);
    for host in [
        "evil.example:3210",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "0.0.0.0:3210",
        "192.168.0.1",
        "",
    ] {
        for path in ["/version", "/api/query", "/api/sync", "/http/x", "/"] {
            let (status, text) = get(path, Some(host)).await;
            assert_eq!(status, 421, "{host}");
            assert!(
                text.contains("HostNotAllowed") && text.contains("--allow-host"),
                "{text}"
            );
        }
    }
    let absolute = get("http://evil.example/version", Some("localhost")).await;
    assert_eq!(absolute.0, 421);
}
