//! Connections over a real database and the native engine, with clients that check the chain of versions.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::task::Waker;
use std::time::Instant;

use futures_executor::block_on;
use futures_util::future::ready;
use serde_json::{Value as Json, json};

use super::*;
use crate::deploy::{Analysis, DeploymentRecord};
use crate::driver::testing::ThreadRuntime;
use crate::driver::{BackendConfig, HttpClient, HttpResponse, RequestSource};
use crate::engine::native::NativeEngine;
use crate::engine::{Evaluation, Failure, FunctionEngine, FunctionKind, Program};
use crate::persistence::memory::MemoryPersistence;
use crate::sync::server_message::StateModification;
use crate::sync::{ServerMessage, StateVersion};
use crate::timestamp::Timestamp;

/// Longer than anything here takes, shorter than anybody waits.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    backend: Arc<Backend>,
    /// How often `items:list` ran.
    lists: Arc<AtomicUsize>,
    /// How often `items:add` ran.
    adds: Arc<AtomicUsize>,
}

struct NoNetwork;

impl HttpClient for NoNetwork {
    fn fetch(&self, _: String) -> BoxFuture<'static, Result<HttpResponse, String>> {
        ready(Err("There is no network.".to_owned())).boxed()
    }
}

fn scan(table: &str) -> Json {
    json!({"source": {"type": "FullTableScan", "tableName": table, "order": "asc"}, "operators": []})
}

impl World {
    fn new(redact: bool) -> Self {
        Self::with(redact, crate::limits::Limits::default())
    }

    fn with(redact: bool, limits: crate::limits::Limits) -> Self {
        let (lists, adds) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (lists_run, adds_run) = (lists.clone(), adds.clone());
        let engine = NativeEngine::default()
            .function("items:list", FunctionKind::Query, move |ctx, args| {
                lists_run.fetch_add(1, Ordering::Relaxed);
                async move {
                    let table = args["table"].as_str().unwrap_or("items");
                    let rows = ctx.collect(scan(table)).await?;
                    ctx.log("listing");
                    Ok(rows.iter().map(|row| row["n"].clone()).collect())
                }
            })
            .function("items:add", FunctionKind::Mutation, move |ctx, args| {
                adds_run.fetch_add(1, Ordering::Relaxed);
                async move {
                    ctx.log("adding");
                    let table = args["table"].as_str().unwrap_or("items");
                    let insert = json!({"table": table, "value": {"n": args["n"]}});
                    ctx.call("1.0/insert", insert).await?;
                    Ok(args["n"].clone())
                }
            })
            .function(
                "items:refuse",
                FunctionKind::Mutation,
                |ctx, args| async move {
                    ctx.log("secret");
                    ctx.call(
                        "1.0/insert",
                        json!({"table": "items", "value": {"n": -1.0}}),
                    )
                    .await?;
                    Err(Failure {
                        data: Some(args["data"].clone()),
                        ..Failure::new("Uncaught ConvexError: no")
                    })
                },
            )
            .function("items:broken", FunctionKind::Query, |ctx, _| async move {
                let rows = ctx.collect(scan("items")).await?;
                ctx.log("breaking");
                Err(Failure::new(format!("Uncaught Error: {} rows", rows.len())))
            })
            .function(
                "items:addLater",
                FunctionKind::Action,
                |ctx, args| async move {
                    ctx.call("host/sleep", json!({"ms": args["ms"]})).await?;
                    let call = json!({"name": "items:add", "args": {"n": args["n"]}});
                    ctx.call("1.0/actions/mutation", call).await
                },
            );
        Self {
            backend: block_on(open(engine, redact, limits)),
            lists,
            adds,
        }
    }

    fn connect(&self, session: &str) -> Client {
        let client = self.connect_silently();
        client.send(
            json!({"type": "Connect", "sessionId": session, "connectionCount": 0,
            "lastCloseReason": null, "clientTs": 0}),
        );
        client
    }

    fn connect_silently(&self) -> Client {
        self.connect_through(Arc::default())
    }

    fn connect_through(&self, jam: Arc<Jam>) -> Client {
        let (to_server, from_client) = mpsc::unbounded();
        let (to_client, from_server) = channel();
        let socket = Pipe {
            from_client,
            to_client,
            jam,
        };
        let served = serve(
            self.backend.clone(),
            ClientVersion::unknown(),
            AdminAccess::Allowed,
            RequestSource::default(),
            socket,
        );
        self.backend.database().runtime().spawn(served.boxed());
        Client {
            to_server: Some(to_server),
            from_server,
            deadline: Instant::now() + PATIENCE,
            version: StateVersion::default(),
            logs: BTreeMap::new(),
            results: BTreeMap::new(),
            responses: BTreeMap::new(),
        }
    }
}

async fn open(engine: NativeEngine, redact: bool, limits: crate::limits::Limits) -> Arc<Backend> {
    let program = Arc::new(Program {
        id: 1,
        modules: engine
            .modules()
            .into_iter()
            .map(|module| (module.path.clone(), module))
            .collect(),
        environment_variables: BTreeMap::new(),
        import_seed: [0; 32],
        import_time: Timestamp(1),
    });
    let paths = program.modules.keys().cloned().collect();
    let analysis = engine.evaluate(program, Evaluation::Functions(paths)).await;
    let record = DeploymentRecord {
        imports: Analysis::default(),
        modules: BTreeMap::new(),
        analysis: serde_json::from_value(analysis.unwrap()["modules"].take()).unwrap(),
        definition: Json::Null,
        auth: Vec::new(),
        udf_server_version: "1.48.0".to_owned(),
        import_seed: [0; 32],
        import_time: Timestamp(1),
    };
    let config = BackendConfig {
        instance_name: "test".to_owned(),
        instance_secret: [7; 32],
        cloud_url: "http://localhost:3210".to_owned(),
        site_url: "http://localhost:3211".to_owned(),
        admin_origins: Vec::new(),
        redact,
        retention: None,
        limits,
    };
    let backend = Backend::open(
        ThreadRuntime::handle(),
        Arc::new(MemoryPersistence::default()),
        Arc::new(engine),
        Arc::new(NoNetwork),
        config,
    );
    let backend = backend.await.unwrap();
    let mut tx = backend.database().begin();
    tx.insert_system("_deployments", record.to_document())
        .unwrap();
    backend.database().commit(tx).await.unwrap();
    backend
}

struct Pipe {
    from_client: mpsc::UnboundedReceiver<Incoming>,
    to_client: Sender<Outgoing>,
    jam: Arc<Jam>,
}

/// A network that takes nothing while it is jammed.
#[derive(Default)]
struct Jam(Mutex<(bool, Option<Waker>)>);

impl Jam {
    fn set(&self, jammed: bool) {
        let mut state = self.0.lock().unwrap();
        state.0 = jammed;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if state.0 {
            state.1 = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Stream for Pipe {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        self.from_client.poll_next_unpin(cx)
    }
}

impl Sink<Outgoing> for Pipe {
    type Error = std::sync::mpsc::SendError<Outgoing>;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Outgoing) -> Result<(), Self::Error> {
        self.to_client.send(message)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.jam.poll(cx).map(Ok)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }
}

/// A client that follows the chain of versions.
struct Client {
    to_server: Option<mpsc::UnboundedSender<Incoming>>,
    from_server: Receiver<Outgoing>,
    /// When its test has failed.
    deadline: Instant,
    version: StateVersion,
    /// What queries printed.
    logs: BTreeMap<QueryId, Vec<String>>,
    /// Results by query; of a failed one, its text.
    results: BTreeMap<QueryId, Result<Json, String>>,
    responses: BTreeMap<u32, ServerMessage>,
}

impl Client {
    fn send(&self, message: Json) {
        let to_server = self.to_server.as_ref().unwrap();
        to_server
            .unbounded_send(Incoming::Text(message.to_string()))
            .unwrap();
    }

    fn subscribe(&self, base: u32, queries: &[(QueryId, &str, Json)]) {
        let add = |(id, path, args): &(QueryId, &str, Json)| json!({"type": "Add", "queryId": id, "udfPath": path, "args": [args]});
        let added: Vec<_> = queries.iter().map(add).collect();
        self.send(
            json!({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1,
            "modifications": added}),
        );
    }

    fn call(&self, kind: &str, request: u32, path: &str, args: Json) {
        self.send(json!({"type": kind, "requestId": request, "udfPath": path, "args": [args]}));
    }

    /// The next message or close frame.
    fn next(&mut self) -> Outgoing {
        loop {
            let patience = self.deadline.saturating_duration_since(Instant::now());
            match self.from_server.recv_timeout(patience) {
                Ok(Outgoing::Ping) => {}
                Ok(message) => return message,
                Err(RecvTimeoutError::Timeout) => panic!("what was waited for did not come"),
                Err(RecvTimeoutError::Disconnected) => panic!("the server went away"),
            }
        }
    }

    /// Takes one message.
    fn step(&mut self) {
        let Outgoing::Text(text) = self.next() else {
            panic!("the connection was closed")
        };
        match serde_json::from_str(&text).unwrap() {
            ServerMessage::Transition {
                start_version,
                end_version,
                modifications,
                ..
            } => {
                assert_eq!(start_version, self.version, "the chain is unbroken");
                assert!(start_version.ts <= end_version.ts);
                self.version = end_version;
                for modification in modifications {
                    self.apply(modification);
                }
            }
            ServerMessage::Ping => {}
            response @ (ServerMessage::MutationResponse { request_id, .. }
            | ServerMessage::ActionResponse { request_id, .. }) => {
                let before = self.responses.insert(request_id, response);
                assert!(before.is_none(), "each request has one response");
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn apply(&mut self, modification: StateModification) {
        match modification {
            StateModification::QueryUpdated {
                query_id,
                value,
                log_lines,
                ..
            } => {
                self.logs.insert(query_id, log_lines);
                self.results.insert(query_id, Ok(value));
            }
            StateModification::QueryFailed {
                query_id,
                error_message,
                log_lines,
                ..
            } => {
                self.logs.insert(query_id, log_lines);
                self.results.insert(query_id, Err(error_message));
            }
            StateModification::QueryRemoved { query_id } => {
                assert!(self.results.remove(&query_id).is_some());
            }
        }
    }

    fn until(&mut self, mut condition: impl FnMut(&Self) -> bool) {
        while !condition(self) {
            self.step();
        }
    }

    fn value(&self, query: QueryId) -> Option<&Json> {
        self.results.get(&query)?.as_ref().ok()
    }

    fn count(&self, query: QueryId) -> usize {
        self.value(query)
            .and_then(Json::as_array)
            .map_or(0, Vec::len)
    }

    /// Waits for a response and, as the npm client does, for the transition that covers it.
    fn settle(&mut self, request: u32) -> (bool, Json, Option<Timestamp>) {
        self.until(|client| client.responses.contains_key(&request));
        let (success, result, ts) = match &self.responses[&request] {
            ServerMessage::MutationResponse {
                success,
                result,
                ts,
                ..
            } => (*success, result.clone(), *ts),
            ServerMessage::ActionResponse {
                success, result, ..
            } => (*success, result.clone(), None),
            _ => unreachable!("only responses are kept"),
        };
        if let Some(ts) = ts {
            self.until(|client| client.version.ts >= ts);
        }
        (success, result, ts)
    }

    /// The text of the last message, if any, and the close frame.
    fn closed(&mut self) -> (Option<ServerMessage>, CloseFrame) {
        let mut last = None;
        loop {
            match self.next() {
                Outgoing::Text(text) => last = Some(serde_json::from_str(&text).unwrap()),
                Outgoing::Close(frame) => return (last, frame),
                Outgoing::Ping => unreachable!("next skips them"),
            }
        }
    }
}

const SESSION: &str = "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91";
const OTHER_SESSION: &str = "3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e92";

#[test]
fn one_writes_and_the_other_sees() {
    let world = World::new(false);
    let mut reader = world.connect(SESSION);
    let mut writer = world.connect(OTHER_SESSION);
    reader.subscribe(0, &[(0, "items:list", json!({}))]);
    reader.until(|client| client.value(0).is_some());
    assert_eq!(reader.value(0), Some(&json!([])));
    assert_eq!(reader.logs[&0], ["[LOG] listing"]);
    writer.call("Mutation", 0, "items:add", json!({"n": 1.0}));
    let (success, result, ts) = writer.settle(0);
    assert_eq!((success, result), (true, json!(1.0)));
    reader.until(|client| client.count(0) > 0);
    assert_eq!(reader.value(0), Some(&json!([1.0])));
    assert!(reader.version.ts >= ts.unwrap());

    // What is watched no longer is told no more.
    reader.send(
        json!({"type": "ModifyQuerySet", "baseVersion": 1, "newVersion": 2,
        "modifications": [{"type": "Remove", "queryId": 0}]}),
    );
    reader.until(|client| client.version.query_set == 2);
    assert!(reader.results.is_empty());
    writer.call("Mutation", 1, "items:add", json!({"n": 2.0}));
    writer.settle(1);
    reader.subscribe(2, &[(1, "items:list", json!({}))]);
    reader.until(|client| client.version.query_set == 3);
    assert_eq!(reader.value(1), Some(&json!([1.0, 2.0])));
    assert_eq!(reader.results.len(), 1);
}

#[test]
fn a_settled_mutation_is_in_the_clients_view() {
    let world = World::new(false);
    let mut client = world.connect(SESSION);
    client.subscribe(
        0,
        &[(0, "items:list", json!({})), (1, "items:broken", json!({}))],
    );
    for n in 0..20 {
        client.call("Mutation", n, "items:add", json!({"n": f64::from(n)}));
    }
    for n in 0..20 {
        let (success, ..) = client.settle(n);
        assert!(success);
        assert!(client.count(0) > n as usize, "{n} is seen");
        let failure = client.results[&1].as_ref().unwrap_err();
        let count = client.count(0);
        assert!(
            failure.contains(&format!("{count} rows")),
            "both at one timestamp: {failure}"
        );
    }
    // One that fails changes nothing.
    client.call(
        "Mutation",
        20,
        "items:refuse",
        json!({"data": {"code": 1.0}}),
    );
    let (success, text, ts) = client.settle(20);
    assert!(!success && ts.is_none());
    let id = crate::request_id::RequestId::of_session(SESSION, 20);
    assert_eq!(
        text,
        format!("[Request ID: {id}] Server Error\nUncaught ConvexError: no\n")
    );
    let ServerMessage::MutationResponse {
        error_data,
        log_lines,
        ..
    } = &client.responses[&20]
    else {
        panic!()
    };
    assert_eq!(error_data, &Some(json!({"code": 1.0})));
    assert_eq!(log_lines, &["[LOG] secret"]);
    assert_eq!(client.count(0), 20);
}

#[test]
fn a_mutation_sent_again_runs_once() {
    let world = World::new(false);
    let mut first = world.connect(SESSION);
    first.call("Mutation", 0, "items:add", json!({"n": 5.0}));
    let (_, result, ts) = first.settle(0);
    drop(first);
    let mut again = world.connect(SESSION);
    again.subscribe(0, &[(0, "items:list", json!({}))]);
    again.call("Mutation", 0, "items:add", json!({"n": 5.0}));
    assert_eq!(again.settle(0), (true, result, ts));
    let ServerMessage::MutationResponse { log_lines, .. } = &again.responses[&0] else {
        panic!()
    };
    assert_eq!(log_lines, &["[LOG] adding"]);
    assert_eq!(again.value(0), Some(&json!([5.0])));
    assert_eq!(world.adds.load(Ordering::Relaxed), 1);

    // Without a session, nothing tells that it is the same one.
    for _ in 0..2 {
        let mut nobody = world.connect_silently();
        nobody.call("Mutation", 0, "items:add", json!({"n": 6.0}));
        assert!(nobody.settle(0).0);
    }
    assert_eq!(world.adds.load(Ordering::Relaxed), 3);
}

#[test]
fn calls_end_though_their_client_is_gone() {
    let world = World::new(false);
    let mut watcher = world.connect(SESSION);
    watcher.subscribe(0, &[(0, "items:list", json!({}))]);
    watcher.until(|client| client.value(0).is_some());
    let mut caller = world.connect(OTHER_SESSION);
    caller.call("Mutation", 0, "items:add", json!({"n": 1.0}));
    caller.call("Action", 1, "items:addLater", json!({"n": 2.0, "ms": 50.0}));
    // All of the socket is gone, at once.
    caller.to_server = None;
    drop(caller);
    watcher.until(|client| client.count(0) == 2);

    let mut patient = world.connect(OTHER_SESSION);
    patient.call("Action", 2, "items:addLater", json!({"n": 3.0, "ms": 1.0}));
    assert_eq!(patient.settle(2), (true, json!(3.0), None));
    watcher.until(|client| client.count(0) == 3);
}

#[test]
fn storms_of_writes_become_few_consistent_views() {
    const WRITERS: u32 = 4;
    const WRITES: u32 = 40;
    let world = World::new(false);
    let mut readers: Vec<_> = (0..8)
        .map(|n| world.connect(&format!("3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b70{n:02}")))
        .collect();
    for reader in &readers {
        // The same query twice, another one with the same rows, and one that nobody touches.
        reader.subscribe(
            0,
            &[
                (0, "items:list", json!({})),
                (1, "items:list", json!({})),
                (2, "items:broken", json!({})),
                (3, "items:list", json!({"table": "others"})),
            ],
        );
    }
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| world.connect(&format!("3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b71{n:02}")))
        .collect();
    for request in 0..WRITES {
        for writer in &writers {
            writer.call("Mutation", request, "items:add", json!({"n": 0.0}));
        }
    }
    let all = (WRITERS * WRITES) as usize;
    let mut transitions = 0;
    for reader in &mut readers {
        let mut seen = 0;
        while seen < all {
            let before = reader.version;
            reader.step();
            if reader.version == before {
                continue;
            }
            transitions += 1;
            let count = reader.count(0);
            assert!(count >= seen, "results never go back");
            seen = count;
            if reader.version.query_set == 1 {
                assert_eq!(reader.value(1), reader.value(0));
                let failure = reader.results[&2].as_ref().unwrap_err();
                assert!(failure.contains(&format!("{count} rows")), "{failure}");
                assert_eq!(reader.value(3), Some(&json!([])));
            }
        }
    }
    for mut writer in writers {
        for request in 0..WRITES {
            assert!(writer.settle(request).0);
        }
    }
    // At one timestamp a query runs once, however many watch it.
    let lists = world.lists.load(Ordering::Relaxed);
    assert!(
        lists <= all + 2 && lists <= 2 * transitions,
        "{lists} runs for {all} commits and {transitions} transitions"
    );
}

#[test]
fn a_slow_client_gets_fewer_and_larger_steps() {
    const WRITES: u32 = 60;
    let world = World::new(false);
    let jam = Arc::new(Jam::default());
    let mut slow = world.connect_through(jam.clone());
    slow.subscribe(0, &[(0, "items:list", json!({}))]);
    slow.until(|client| client.value(0).is_some());
    jam.set(true);
    let mut writer = world.connect(SESSION);
    for request in 0..WRITES {
        writer.call("Mutation", request, "items:add", json!({"n": 0.0}));
        writer.settle(request);
    }
    jam.set(false);
    let mut transitions = 0;
    slow.until(|client| {
        client.count(0) == WRITES as usize || {
            transitions += 1;
            false
        }
    });
    assert!(
        transitions <= 4,
        "{transitions} transitions for a client that took none"
    );
}

#[test]
fn what_is_hidden_stays_hidden() {
    let world = World::new(true);
    let mut client = world.connect(SESSION);
    client.subscribe(
        0,
        &[(0, "items:broken", json!({})), (1, "items:list", json!({}))],
    );
    client.call("Mutation", 0, "items:refuse", json!({"data": "full"}));
    client.settle(0);
    client.until(|client| client.results.contains_key(&0));
    let ServerMessage::MutationResponse {
        result,
        log_lines,
        error_data,
        ..
    } = &client.responses[&0]
    else {
        panic!()
    };
    assert!(result.as_str().unwrap().ends_with("] Server Error"));
    assert_eq!(log_lines, &[] as &[String]);
    assert_eq!(error_data, &Some(json!("full")));
    let text = client.results[&0].as_ref().unwrap_err();
    assert!(text.ends_with("] Server Error"), "{text}");
    assert_eq!(client.value(1), Some(&json!([])));
    assert!(client.logs.values().all(Vec::is_empty), "{:?}", client.logs);
}

#[test]
fn identities_change_in_order() {
    let world = World::new(false);
    let mut client = world.connect(SESSION);
    client.subscribe(0, &[(0, "items:list", json!({}))]);
    client.send(json!({"type": "Authenticate", "baseVersion": 0, "tokenType": "None"}));
    client.until(|client| client.version.identity == 1 && client.value(0).is_some());

    // Credentials that are refused end the connection; what was sent after them is not processed.
    client
        .send(json!({"type": "Authenticate", "baseVersion": 1, "tokenType": "User", "value": "x"}));
    client.call("Mutation", 0, "items:add", json!({"n": 1.0}));
    let (last, frame) = client.closed();
    let Some(ServerMessage::AuthError {
        base_version,
        auth_update_attempted,
        ..
    }) = last
    else {
        panic!("{last:?}")
    };
    assert_eq!((base_version, auth_update_attempted), (1, true));
    assert_eq!(frame.code, None);
    assert_eq!(world.adds.load(Ordering::Relaxed), 0);
}

#[test]
fn defective_clients_and_shutdown_end_in_a_close_frame() {
    let world = World::new(false);
    let mut broken = world.connect(SESSION);
    broken.send(json!({"type": "Oops"}));
    let (last, frame) = broken.closed();
    assert!(matches!(last, Some(ServerMessage::FatalError { .. })));
    assert_eq!(frame.code, None);

    let mut idle = world.connect(OTHER_SESSION);
    block_on(world.backend.shut_down());
    let (_, frame) = idle.closed();
    assert_eq!((frame.code, &*frame.reason), (Some(1001), "ServerShutdown"));
}

/// What is wrong with one request concerns that request: the connection, and all others on it, live on.
#[test]
fn a_malformed_request_fails_alone() {
    let world = World::new(false);
    let mut client = world.connect(SESSION);
    client.subscribe(0, &[(0, "items:list", json!({}))]);
    client.until(|client| client.value(0).is_some());
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let long = "n".repeat(1025);
    let payloads = [
        (
            format!(r#""udfPath":"items:add","args":[{{"n":{}}}]"#, deep(130)),
            "recursion",
        ),
        (
            format!(r#""udfPath":"items:add","args":[{{"n":{}}}]"#, deep(70)),
            "nests deeper",
        ),
        (
            format!(r#""udfPath":"items:add","args":[{{"{long}":1}}]"#),
            "longer than",
        ),
        (
            format!(r#""udfPath":"{long}:add","args":[{{}}]"#),
            "BadConvexFunctionIdentifier",
        ),
        (
            r#""udfPath":7,"args":[{}]"#.to_owned(),
            "BadConvexFunctionIdentifier",
        ),
        (r#""args":[{}]"#.to_owned(), "BadConvexFunctionIdentifier"),
        (
            r#""udfPath":"items:none","args":[{}]"#.to_owned(),
            "Could not find",
        ),
        (r#""udfPath":"items:add""#.to_owned(), "Invalid arguments"),
        (
            r#""udfPath":"items:add","args":[1e999]"#.to_owned(),
            "number out of range",
        ),
        (
            r#""udfPath":"items:add","args":[{"n":{"$integer":"x"}}]"#.to_owned(),
            "Invalid arguments",
        ),
        (
            r#""udfPath":"items:add","args":[{}],"componentPath":"c"#.to_owned() + "\"",
            "ComponentAccessDenied",
        ),
    ];
    let raw = |client: &Client, text: String| {
        let to_server = client.to_server.as_ref().unwrap();
        to_server.unbounded_send(Incoming::Text(text)).unwrap();
    };
    let mut request = 0;
    for (payload, part) in &payloads {
        for (kind, path) in [("Mutation", "items:add"), ("Action", "items:addLater")] {
            let payload = payload.replace("items:add", path);
            raw(
                &client,
                format!(r#"{{"type":"{kind}","requestId":{request},{payload}}}"#),
            );
            let (success, text, _) = client.settle(request);
            let text = text.as_str().unwrap();
            assert!(
                !success && text.contains(part),
                "{kind} {}: {text}",
                &payload[..payload.len().min(100)]
            );
            request += 1;
        }
        let query = request;
        let payload = payload.replace("items:add", "items:list");
        let base = client.version.query_set;
        raw(
            &client,
            format!(
                r#"{{"type":"ModifyQuerySet","baseVersion":{base},"newVersion":{},"modifications":[{{"type":"Add","queryId":{query},{payload}}}]}}"#,
                base + 1
            ),
        );
        client.until(|client| client.results.contains_key(&query));
        let text = client.results[&query].as_ref().unwrap_err();
        assert!(text.contains(part), "query: {text}");
    }
    // Half an emoji is a character like any other that cannot be read.
    raw(
        &client,
        format!(
            r#"{{"type":"Mutation","requestId":{request},"udfPath":"items:add","args":[{{"n":"\ud83d"}}]}}"#
        ),
    );
    assert_eq!(client.settle(request).1, json!("\u{fffd}"));
    assert_eq!(client.value(0), Some(&json!(["\u{fffd}"])));
}

/// Sockets are read as fast as what they bring is done: nobody is turned away for sending much.
#[test]
fn thousands_of_mutations_at_once_are_done_in_order() {
    const MUTATIONS: u32 = 3000;
    let world = World::new(false);
    let mut client = world.connect(SESSION);
    client.deadline += PATIENCE;
    for n in 0..MUTATIONS {
        client.call(
            "Mutation",
            n,
            "items:add",
            json!({"n": n, "table": "others"}),
        );
    }
    client.subscribe(0, &[(0, "items:list", json!({}))]);
    for n in 0..MUTATIONS {
        assert!(client.settle(n).0);
    }
    assert_eq!(world.adds.load(Ordering::Relaxed), MUTATIONS as usize);
    client.until(|client| client.value(0).is_some());
}

#[test]
fn a_client_leaves_room_for_others_and_takes_its_waiting_calls_along() {
    let limits = crate::limits::Limits {
        concurrent_actions: 4,
        ..Default::default()
    };
    let world = World::with(false, limits);
    let busy = world.connect(SESSION);
    for request in 0..50 {
        let args = json!({"n": f64::from(request), "ms": 300.0});
        busy.call("Action", request, "items:addLater", args);
    }
    let mut other = world.connect(OTHER_SESSION);
    let begun = Instant::now();
    while world.backend.in_memory().calls < 50 {
        std::thread::sleep(Duration::from_millis(1));
    }
    other.call(
        "Action",
        0,
        "items:addLater",
        json!({"n": 100.0, "ms": 1.0}),
    );
    assert!(other.settle(0).0);
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "it did not wait for the others"
    );
    drop(busy);
    // What had begun ends; what waited does not begin.
    while world.backend.in_memory().calls > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let adds = world.adds.load(Ordering::Relaxed);
    assert!(adds < 30, "{adds} ran");
}

#[test]
fn what_cannot_be_run_for_long_fails_and_leaves_the_connection() {
    let limits = crate::limits::Limits {
        concurrent_actions: 1,
        queue_time: Duration::from_millis(50),
        ..Default::default()
    };
    let world = World::with(false, limits);
    let mut client = world.connect(SESSION);
    client.call(
        "Action",
        0,
        "items:addLater",
        json!({"n": 1.0, "ms": 400.0}),
    );
    client.call("Action", 1, "items:addLater", json!({"n": 2.0, "ms": 1.0}));
    let (success, text, _) = client.settle(1);
    let text = text.as_str().unwrap();
    assert!(
        !success && text.contains("TooManyConcurrentRequests"),
        "{text}"
    );
    assert!(client.settle(0).0);
}

#[test]
fn functions_of_components_are_told_to_be_missing() {
    let world = World::new(false);
    let mut client = world.connect(SESSION);
    let keys = world.backend.admin_keys();
    let key = keys.issue(Timestamp(1_000_000_000_000_000_000), false);
    client.send(
        json!({"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": key}),
    );
    for (request, kind, path) in [
        (0, "Mutation", "items:add"),
        (1, "Action", "items:addLater"),
    ] {
        client.send(
            json!({"type": kind, "requestId": request, "udfPath": path, "componentPath": "counter",
            "args": [{"n": 1.0, "ms": 1.0}]}),
        );
        let (success, text, _) = client.settle(request);
        assert!(!success);
        assert!(
            text.as_str()
                .unwrap()
                .contains("Components are not available"),
            "{text}"
        );
    }
    assert_eq!(world.adds.load(Ordering::Relaxed), 0);
}
