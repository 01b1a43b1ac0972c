//! Real sockets: clients of tokio-tungstenite against the router, over storage in memory and native functions.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use concave_core::driver::{Backend, BackendConfig, HttpClient, HttpResponse};
use concave_core::engine::FunctionKind;
use concave_core::engine::native::NativeEngine;
use concave_core::limits::Limits;
use concave_core::persistence::memory::MemoryPersistence;
use concave_core::runtime::Runtime;
use concave_core::timestamp::Timestamp;
use futures_util::future::{BoxFuture, FutureExt, ready};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

const PATIENCE: Duration = Duration::from_secs(20);

struct TokioRuntime {
    begun: Instant,
    entropy: AtomicU64,
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Timestamp(since_epoch.unwrap().as_nanos() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.begun.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn entropy(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.entropy.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        bytes
    }
}

struct NoNetwork;

impl HttpClient for NoNetwork {
    fn fetch(&self, _: String) -> BoxFuture<'static, Result<HttpResponse, String>> {
        ready(Err("There is no network.".to_owned())).boxed()
    }
}

fn engine() -> NativeEngine {
    NativeEngine::default()
        .function("items:list", FunctionKind::Query, |ctx, _| async move {
            let source = json!({"type": "FullTableScan", "tableName": "items", "order": "asc"});
            let rows = ctx.collect(json!({"source": source, "operators": []}));
            Ok(rows.await?.iter().map(|row| row["n"].clone()).collect())
        })
        .function(
            "items:add",
            FunctionKind::Mutation,
            |ctx, args| async move {
                let insert = json!({"table": "items", "value": {"n": args["n"]}});
                ctx.call("1.0/insert", insert).await
            },
        )
        .function("items:long", FunctionKind::Query, |_, args| async move {
            let length = args["length"].as_f64().unwrap_or_default() as usize;
            Ok(json!("é".repeat(length / 2)))
        })
}

/// Starts a server. Gives its address.
async fn start() -> (Arc<Backend>, String) {
    start_with(Limits::default()).await
}

async fn start_with(limits: Limits) -> (Arc<Backend>, String) {
    let runtime = Arc::new(TokioRuntime {
        begun: Instant::now(),
        entropy: AtomicU64::new(1),
    });
    let config = BackendConfig {
        instance_name: "test".to_owned(),
        instance_secret: [7; 32],
        cloud_url: "http://localhost:3210".to_owned(),
        site_url: "http://localhost:3211".to_owned(),
        admin_origins: Vec::new(),
        redact: false,
        retention: None,
        limits,
    };
    let engine = engine();
    let functions = engine.modules().into_iter();
    let functions: Vec<_> = functions
        .map(|module| {
            json!({"path": module.path, "source": &*module.source, "sourceMap": null,
                "environment": "isolate"})
        })
        .collect();
    let persistence = Arc::new(MemoryPersistence::default());
    let backend = Backend::open(
        runtime,
        persistence,
        Arc::new(engine),
        Arc::new(NoNetwork),
        config,
    );
    let backend = backend.await.unwrap();
    let push = json!({
        "adminKey": "", "dryRun": false, "functions": "convex/", "appDefinition": {
            "definition": null, "dependencies": [], "schema": null, "changedModules": functions,
            "unchangedModuleHashes": [], "udfServerVersion": "1.48.0",
        }, "componentDefinitions": [], "nodeDependencies": [],
    });
    let started = backend.start_push(push).await.unwrap();
    let finish = json!({"adminKey": "", "startPush": started, "dryRun": false});
    backend.finish_push(finish).await.unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = concave_ws::router(backend.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (backend, address)
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(address: &str, path: &str) -> Self {
        Self::connect_from(None, address, path).await
    }

    /// As a browser does for a page of this origin.
    async fn connect_from(origin: Option<&str>, address: &str, path: &str) -> Self {
        // The frame limit is that of the server's frames, and below that of the Rust client.
        let config = WebSocketConfig::default().max_frame_size(Some(1 << 20));
        let mut request = format!("ws://{address}{path}")
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("convex-client", "rust-0.10.4".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        let connected = connect_async_with_config(request, Some(config), true).await;
        Self(connected.unwrap().0)
    }

    async fn send(&mut self, message: Json) {
        let text = message.to_string();
        self.0.send(Message::Text(text.into())).await.unwrap();
    }

    async fn connect_message(&mut self) {
        self.send(
            json!({"type": "Connect", "sessionId": "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91",
            "connectionCount": 0, "lastCloseReason": "InitialConnect", "clientTs": 0}),
        )
        .await;
    }

    async fn subscribe(&mut self, path: &str, args: Json) {
        let add = json!({"type": "Add", "queryId": 0, "udfPath": path, "args": [args]});
        self.send(
            json!({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1,
            "modifications": [add]}),
        )
        .await;
    }

    /// The next frame other than a ping; `None` at the end.
    async fn next(&mut self) -> Option<Result<Message, Error>> {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await;
            match message.expect("the server says something") {
                Some(Ok(Message::Ping(_))) => {}
                message => return message,
            }
        }
    }

    async fn receive(&mut self) -> Json {
        match self.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Waits for a transition with a result.
    async fn result(&mut self) -> Json {
        loop {
            let mut message = self.receive().await;
            if message["type"] == "Transition" && message["modifications"][0].is_object() {
                return message["modifications"][0]["value"].take();
            }
        }
    }
}

#[tokio::test]
async fn every_path_leads_to_the_same_data() {
    let (_backend, address) = start().await;
    let mut count = 0;
    for path in [
        "/api/sync",
        "//api/sync",
        "/api/1.48.0/sync",
        "//api/1.29.0-alpha.1/sync",
    ] {
        let mut client = Client::connect(&address, path).await;
        client.connect_message().await;
        client.subscribe("items:list", json!({})).await;
        assert_eq!(
            client.result().await.as_array().unwrap().len(),
            count,
            "{path}"
        );
        client
            .send(
                json!({"type": "Mutation", "requestId": count, "udfPath": "items:add",
                "args": [{"n": 1.5}]}),
            )
            .await;
        let response = client.receive().await;
        assert_eq!(response["type"], "MutationResponse");
        assert_eq!(response["success"], true, "{response}");
        let rows = client.result().await;
        count += 1;
        assert_eq!(rows, json!(vec![1.5; count]), "{path}");
        client.0.close(None).await.unwrap();
        assert!(matches!(
            client.next().await,
            Some(Ok(Message::Close(None)))
        ));
        assert!(client.next().await.is_none());
    }
}

#[tokio::test]
async fn long_messages_go_out_in_frames_that_clients_take() {
    let (_backend, address) = start().await;
    let mut client = Client::connect(&address, "/api/sync").await;
    client.connect_message().await;
    let length = 5_000_002.0;
    client
        .subscribe("items:long", json!({"length": length}))
        .await;
    let value = client.result().await;
    assert_eq!(value.as_str().unwrap().len() as f64, length);
}

#[tokio::test]
async fn long_messages_come_in_up_to_the_limit() {
    let (_backend, address) = start().await;
    let mut client = Client::connect(&address, "/api/sync").await;
    let event = |bytes| {
        let padding = "x".repeat(bytes);
        json!({"type": "Event", "eventType": "Padding", "event": padding})
    };
    client.send(event(20 << 20)).await;
    client.subscribe("items:list", json!({})).await;
    assert_eq!(client.result().await, json!([]));
    // The server does not wait until it has all of it, and says why.
    let text = event(64 << 20).to_string();
    let (mut sender, mut receiver) = client.0.split();
    tokio::spawn(async move { drop(sender.send(Message::Text(text.into())).await) });
    let refused = async {
        while let Some(Ok(message)) = receiver.next().await {
            if message
                .to_text()
                .is_ok_and(|text| text.contains("FatalError"))
            {
                return message.to_text().unwrap().contains("67108864 bytes");
            }
        }
        false
    };
    assert!(timeout(PATIENCE, refused).await.unwrap());
}

#[tokio::test]
async fn defects_and_shutdown_are_told_before_the_close_frame() {
    let (backend, address) = start().await;
    let mut client = Client::connect(&address, "/api/sync").await;
    client.0.send(Message::Text("{".into())).await.unwrap();
    // What still comes then does not spoil the farewell.
    client.0.send(Message::Text("{".into())).await.unwrap();
    assert_eq!(client.receive().await["type"], "FatalError");
    assert!(matches!(
        client.next().await,
        Some(Ok(Message::Close(None)))
    ));
    assert!(client.next().await.is_none());

    let mut client = Client::connect(&address, "/api/sync").await;
    client.subscribe("items:list", json!({})).await;
    client.result().await;
    backend.shut_down().await;
    let Some(Ok(Message::Close(Some(frame)))) = client.next().await else {
        panic!("no close frame")
    };
    assert_eq!(u16::from(frame.code), 1001);
    assert_eq!(frame.reason.as_str(), "ServerShutdown");
}

#[tokio::test]
async fn admin_keys_are_not_taken_from_foreign_pages() {
    let (backend, address) = start().await;
    let now = backend.database().runtime().now();
    let key = backend.admin_keys().issue(now, false);
    let own = format!("http://{address}");
    for (origin, is_taken) in [
        (None, true),
        (Some("http://localhost:5173"), true),
        (Some(&*own), true),
        (Some("https://evil.example"), false),
        (Some("null"), false),
    ] {
        let mut client = Client::connect_from(origin, &address, "/api/sync").await;
        client.connect_message().await;
        client
            .send(
                json!({"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": key}),
            )
            .await;
        client.subscribe("items:list", json!({})).await;
        if is_taken {
            client.result().await;
            continue;
        }
        let refusal = client.receive().await;
        assert_eq!(refusal["type"], "AuthError", "{refusal}");
        let text = refusal["error"].as_str().unwrap();
        assert!(text.contains("--allow-admin-origin"), "{text}");

        // Without a key the page is served as anybody is.
        let mut client = Client::connect_from(origin, &address, "/api/sync").await;
        client.connect_message().await;
        client.subscribe("items:list", json!({})).await;
        client.result().await;
    }
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let limits = Limits {
        connect_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let (_backend, address) = start_with(limits).await;
    let mut silent = Client::connect(&address, "/api/sync").await;
    let mut other = Client::connect(&address, "/api/sync").await;
    other.connect_message().await;
    assert!(!matches!(silent.next().await, Some(Ok(_))));
    // The other one may be silent for longer.
    other.subscribe("items:list", json!({})).await;
    assert_eq!(other.result().await, json!([]));
}

#[tokio::test]
async fn a_message_that_does_not_end_is_not_waited_for() {
    let limits = Limits {
        body_time: Duration::from_millis(300),
        ..Limits::default()
    };
    let (backend, address) = start_with(limits).await;
    let mut client = Client::connect(&address, "/api/sync").await;
    client.connect_message().await;
    let begun = Frame::message(vec![b' '; 1 << 20], OpCode::Data(Data::Text), false);
    client.0.send(Message::Frame(begun)).await.unwrap();
    client
        .0
        .send(Message::Ping(Default::default()))
        .await
        .unwrap();
    while let Some(Ok(message)) = client.next().await {
        assert!(matches!(message, Message::Pong(_)), "{message:?}");
    }
    // Its room is there for others again.
    while backend.intake().arriving.free() < limits.arriving_bytes {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn messages_that_would_take_too_much_memory_are_not_parsed() {
    let arguments = |arrays: usize| format!(r#"[{{"n":[[]{}]}}]"#, ",[]".repeat(arrays - 1));
    let limits = Limits {
        json_bytes: concave_core::driver::intake::json_memory(arguments(8000).as_bytes()),
        ..Limits::default()
    };
    let (_backend, address) = start_with(limits).await;
    for (arrays, taken) in [(8000, true), (8001, false)] {
        let mut client = Client::connect(&address, "/api/sync").await;
        client.connect_message().await;
        let arguments = arguments(arrays);
        let call = format!(
            r#"{{"type":"Mutation","requestId":0,"udfPath":"items:add","args":{arguments}}}"#
        );
        client.0.send(Message::Text(call.into())).await.unwrap();
        let answer = client.receive().await;
        assert_eq!(answer["success"] == true, taken, "{answer}");
        let is_told = answer.to_string().contains("bytes of memory");
        assert_eq!(is_told, !taken, "{answer}");
    }
}

async fn plain(address: &str, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close{headers}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn unfit_requests_are_refused() {
    let (_backend, address) = start().await;
    for (path, headers, code) in [
        ("/api/latest/sync", "", "InvalidClientVersion"),
        ("/api/0.19.1/sync", "", "ClientVersionUnsupported"),
        (
            "/api/sync",
            "\r\nConvex-Client: python-0.0.2",
            "ClientVersionUnsupported",
        ),
        ("/api/sync", "", "InvalidWebSocketHandshake"),
        (
            "/api/1.48.0/sync",
            "\r\nConnection: Upgrade\r\nUpgrade: websocket",
            "InvalidWebSocketHandshake",
        ),
    ] {
        let response = plain(&address, path, headers).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
        let code_member = format!("\"code\":\"{code}\"");
        assert!(response.contains(&code_member), "{response}");
        assert_eq!(
            response.contains("x-convex-deprecation-state: Unsupported"),
            code == "ClientVersionUnsupported",
            "{response}"
        );
    }
}
