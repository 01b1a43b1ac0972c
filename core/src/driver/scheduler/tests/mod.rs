//! Scheduled functions through the whole backend, over storage in memory that can fail and be cut off.

mod administration;
mod cancel;
mod faults;
mod rules;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::{Value as Json, json};

use crate::driver::testing::ThreadRuntime;
use crate::driver::{
    Backend, BackendConfig, Caller, Client, FunctionResult, HttpClient, HttpResponse,
};
use crate::engine::native::{NativeContext, NativeEngine};
use crate::engine::{Failure, FunctionKind, host_op};
use crate::identity::Identity;
use crate::persistence::memory::MemoryPersistence;
use crate::persistence::{
    BackfillEntry, IndexId, IndexPage, IndexRead, LogPage, Persistence, PersistenceError, Revision,
    Superseded,
};
use crate::request_id::RequestId;
use crate::schedule::{ENTRIES, JOBS, RETENTION};
use crate::timestamp::Timestamp;

struct NoHttp;

impl HttpClient for NoHttp {
    fn fetch(&self, _: String) -> BoxFuture<'static, Result<HttpResponse, String>> {
        async { Err("there is no network here".to_owned()) }.boxed()
    }
}

/// Storage as one process sees it: after some writes it fails, or fails from then on as if the process were dead.
struct Cut {
    storage: Arc<MemoryPersistence>,
    /// Writes until it fails.
    writes_left: AtomicI64,
    /// How many writes fail then.
    failures: i64,
}

impl Cut {
    fn new(storage: &Arc<MemoryPersistence>, writes: i64, failures: i64) -> Arc<Self> {
        Arc::new(Self {
            storage: storage.clone(),
            writes_left: AtomicI64::new(writes),
            failures,
        })
    }

    fn never(storage: &Arc<MemoryPersistence>) -> Arc<Self> {
        Self::new(storage, i64::MAX, 0)
    }

    /// The process dies.
    fn now(&self) {
        self.writes_left.store(i64::MIN / 2, Ordering::Relaxed);
    }
}

impl Persistence for Cut {
    fn write(&self, revisions: Vec<Revision>) -> BoxFuture<'static, Result<(), PersistenceError>> {
        let left = self.writes_left.fetch_sub(1, Ordering::Relaxed);
        if left <= 0 && left > -self.failures {
            return ready(Err(PersistenceError::Unavailable("cut".into()))).boxed();
        }
        if left < i64::MIN / 4 {
            return ready(Err(PersistenceError::LeaseLost("dead".into()))).boxed();
        }
        self.storage.write(revisions)
    }

    fn backfill(
        &self,
        entries: Vec<BackfillEntry>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.storage.backfill(entries)
    }

    fn delete(&self, superseded: Superseded) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.storage.delete(superseded)
    }

    fn delete_index(
        &self,
        index: IndexId,
        limit: usize,
    ) -> BoxFuture<'static, Result<bool, PersistenceError>> {
        self.storage.delete_index(index, limit)
    }

    fn read_index(
        &self,
        read: IndexRead,
    ) -> BoxFuture<'static, Result<IndexPage, PersistenceError>> {
        self.storage.read_index(read)
    }

    fn read_log(
        &self,
        after: Timestamp,
        limit: usize,
    ) -> BoxFuture<'static, Result<LogPage, PersistenceError>> {
        self.storage.read_log(after, limit)
    }

    fn max_ts(&self) -> BoxFuture<'static, Result<Timestamp, PersistenceError>> {
        self.storage.max_ts()
    }

    fn get_global(
        &self,
        name: &'static str,
    ) -> BoxFuture<'static, Result<Option<Vec<u8>>, PersistenceError>> {
        self.storage.get_global(name)
    }

    fn set_global(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> BoxFuture<'static, Result<(), PersistenceError>> {
        self.storage.set_global(name, value)
    }
}

/// A process: a backend on its own view of storage.
struct Process {
    backend: Arc<Backend>,
    storage: Arc<Cut>,
    runtime: Arc<ThreadRuntime>,
}

impl Process {
    fn start(engine: &NativeEngine, storage: Arc<Cut>) -> Self {
        let config = BackendConfig {
            instance_name: "test".into(),
            instance_secret: [7; 32],
            cloud_url: "http://127.0.0.1:3210".into(),
            site_url: "http://127.0.0.1:3211".into(),
            admin_origins: Vec::new(),
            redact: false,
            retention: None,
            limits: crate::limits::Limits::default(),
        };
        let runtime = ThreadRuntime::new();
        let backend = Backend::open(
            runtime.clone(),
            storage.clone(),
            Arc::new(engine.clone()),
            Arc::new(NoHttp),
            config,
        );
        Self {
            backend: block_on(backend).unwrap(),
            storage,
            runtime,
        }
    }

    /// A process on new storage, with these functions deployed.
    fn new(engine: &NativeEngine) -> Self {
        let process = Self::start(engine, Cut::never(&Arc::default()));
        process.push(engine);
        process
    }

    fn push(&self, engine: &NativeEngine) {
        self.push_with(engine, "1.48.0");
    }

    /// Pushes as that version of the npm package does.
    fn push_with(&self, engine: &NativeEngine, version: &str) {
        let modules: Vec<_> = engine
            .modules()
            .iter()
            .map(|module| json!({"path": module.path, "source": &*module.source, "environment": "isolate"}))
            .collect();
        let push = json!({
            "adminKey": "", "dryRun": false, "functions": "convex/",
            "appDefinition": {
                "definition": null, "dependencies": [], "schema": null, "changedModules": modules,
                "unchangedModuleHashes": [], "udfServerVersion": version,
            },
            "componentDefinitions": [], "nodeDependencies": [],
        });
        let started = block_on(self.backend.start_push(push)).unwrap();
        let finish = json!({"adminKey": "", "startPush": started, "dryRun": false});
        block_on(self.backend.finish_push(finish)).unwrap();
    }

    /// The true time in milliseconds, as functions see it.
    fn millis(&self) -> f64 {
        use crate::runtime::Runtime;
        self.runtime.now().as_millis_f64()
    }

    /// Ends the process as a power cut would; gives what it has stored.
    fn kill(self) -> Arc<MemoryPersistence> {
        self.storage.now();
        self.storage.storage.clone()
    }

    fn mutation(&self, path: &str, args: Json) -> crate::Result<FunctionResult> {
        block_on(self.backend.mutation(&anyone(), path, args))
    }

    fn ok(&self, path: &str, args: Json) -> Json {
        let result = self.mutation(path, args).unwrap().result;
        result
            .unwrap_or_else(|failure| panic!("{}", failure.text))
            .to_json()
    }

    fn error(&self, path: &str, args: Json) -> String {
        self.mutation(path, args).unwrap().result.unwrap_err().text
    }

    fn action(&self, path: &str, args: Json) -> Json {
        let result = block_on(self.backend.action(&anyone(), path, args));
        result
            .unwrap()
            .result
            .unwrap_or_else(|failure| panic!("{}", failure.text))
            .to_json()
    }

    fn query(&self, path: &str, args: Json) -> Json {
        let result = block_on(self.backend.query(&anyone(), path, args, None));
        result
            .unwrap()
            .result
            .unwrap_or_else(|failure| panic!("{}", failure.text))
            .to_json()
    }

    fn notes(&self) -> Vec<String> {
        let rows = self.query("jobs:notes", json!({}));
        let text = |row: &Json| row["text"].as_str().unwrap().to_owned();
        rows.as_array().unwrap().iter().map(text).collect()
    }

    fn job(&self, id: &Json) -> Json {
        self.query("jobs:job", json!({ "id": id }))
    }

    /// The job once it is finished.
    fn finished(&self, id: &Json) -> Json {
        until("the job is finished", || {
            let job = self.job(id);
            let kind = job["state"]["kind"].as_str().unwrap();
            (!["pending", "inProgress"].contains(&kind)).then_some(job)
        })
    }

    /// How many documents a system table has.
    fn count(&self, table: &str) -> usize {
        let database = self.backend.database();
        let mut tx = database.begin();
        block_on(database.list_system(&mut tx, table, "by_id", &[]))
            .unwrap()
            .len()
    }
}

fn anyone() -> Caller {
    Caller {
        identity: Identity::Anonymous,
        request_id: RequestId::from_bytes([0; 8]),
        client: Client::Http(None),
        source: Arc::default(),
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{what}: not within 20 s"
        );
        thread::sleep(Duration::from_millis(2));
    }
}

fn scan(table: &str) -> Json {
    json!({ "source": {"type": "FullTableScan", "tableName": table, "order": null}, "operators": [] })
}

async fn write_note(context: NativeContext, args: Json) -> Result<Json, Failure> {
    let note = json!({"table": "notes", "value": {"text": args["text"]}});
    context.call("1.0/insert", note).await
}

/// Schedules `function` with `args` after `delay` milliseconds.
async fn schedule(context: NativeContext, args: Json) -> Result<Json, Failure> {
    let delay = Duration::from_secs_f64(args["delay"].as_f64().unwrap_or_default() / 1e3);
    let function = args["function"].as_str().unwrap();
    let id = context
        .schedule(delay, function, args["args"].clone())
        .await?;
    Ok(json!(id))
}

async fn get_job(context: &NativeContext, id: &Json) -> Result<Json, Failure> {
    let get = json!({"id": id, "isSystem": true, "version": "1.48.0"});
    context.call("1.0/get", get).await
}

/// Functions that most tests need.
fn engine() -> NativeEngine {
    NativeEngine::default()
        .function("jobs:note", FunctionKind::Mutation, write_note)
        .function("jobs:schedule", FunctionKind::Mutation, schedule)
        .function("jobs:scheduleFromAction", FunctionKind::Action, schedule)
        .function(
            "jobs:cancel",
            FunctionKind::Mutation,
            async |context, args: Json| {
                context.cancel(args["id"].as_str().unwrap()).await?;
                Ok(Json::Null)
            },
        )
        .function(
            "jobs:throws",
            FunctionKind::Mutation,
            async |context, args: Json| {
                write_note(context.clone(), args.clone()).await?;
                schedule(context, json!({"function": "jobs:note", "args": args})).await?;
                Err(Failure::new("Uncaught Error: on purpose"))
            },
        )
        .function(
            "raw:call",
            FunctionKind::Mutation,
            async |context, args: Json| {
                context
                    .call(args["op"].as_str().unwrap(), args["args"].clone())
                    .await
            },
        )
        .function("jobs:notes", FunctionKind::Query, async |context, _| {
            context.collect(scan("notes")).await.map(Json::from)
        })
        .function(
            "jobs:job",
            FunctionKind::Query,
            async |context, args: Json| get_job(&context, &args["id"]).await,
        )
        .function("jobs:all", FunctionKind::Query, async |context, _| {
            context.collect(scan(JOBS)).await.map(Json::from)
        })
}

fn note(text: &str) -> Json {
    json!({"function": "jobs:note", "args": {"text": text}})
}

/// An action that writes `begun`, waits until `gate` is 1, schedules a note and counts its runs.
fn with_slow_action(
    engine: NativeEngine,
    gate: &Arc<AtomicU32>,
    runs: &Arc<AtomicU32>,
) -> NativeEngine {
    let (gate, runs) = (gate.clone(), runs.clone());
    engine.function(
        "jobs:slow",
        FunctionKind::Action,
        move |context: NativeContext, _| {
            let (gate, runs) = (gate.clone(), runs.clone());
            async move {
                runs.fetch_add(1, Ordering::SeqCst);
                while gate.load(Ordering::SeqCst) == 0 {
                    context.call(host_op::SLEEP, json!({"ms": 5})).await?;
                }
                let call = json!({"name": "jobs:note", "args": {"text": "from the action"}});
                context.call("1.0/actions/mutation", call).await?;
                let id = context
                    .schedule(Duration::ZERO, "jobs:note", json!({"text": "child"}))
                    .await?;
                let child = context
                    .call(
                        "1.0/actions/query",
                        json!({"name": "jobs:job", "args": {"id": id}}),
                    )
                    .await?;
                let text = child["state"]["kind"].as_str().unwrap();
                let call = json!({"name": "jobs:note", "args": {"text": text}});
                context.call("1.0/actions/mutation", call).await
            }
        },
    )
}
