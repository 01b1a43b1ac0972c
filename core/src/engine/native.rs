//! Functions written in Rust, behind the same trait as those in JavaScript: for tests, simulations and benches, where
//! the database is the subject and JavaScript would only cost time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::{Value as Json, json};

use super::{
    Environment, Evaluation, Execution, Failure, FunctionCall, FunctionEngine, FunctionKind,
    LogLevel, LogLine, Module, Observed, Outcome, Program, Reply, SyncHost, SystemCall,
    SystemError, SystemResult, Turn,
};
use crate::timestamp::Timestamp;

type Body =
    Arc<dyn Fn(NativeContext, Json) -> BoxFuture<'static, Result<Json, Failure>> + Send + Sync>;

/// An engine whose functions are registered Rust closures.
#[derive(Clone, Default)]
pub struct NativeEngine {
    functions: BTreeMap<String, (FunctionKind, Body)>,
}

impl NativeEngine {
    /// Registers a public function under a path such as `counters:increment`. It gets the arguments object in
    /// encoded JSON and gives the result in encoded JSON.
    pub fn function<F, R>(mut self, path: &str, kind: FunctionKind, body: F) -> Self
    where
        F: Fn(NativeContext, Json) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Json, Failure>> + Send + 'static,
    {
        let body: Body = Arc::new(move |context, args| body(context, args).boxed());
        self.functions.insert(path.to_owned(), (kind, body));
        self
    }

    /// Modules by which these functions can be pushed; [`FunctionEngine::evaluate`] lists what is in them.
    pub fn modules(&self) -> Vec<Module> {
        let mut modules: Vec<Module> = Vec::new();
        for path in self.functions.keys() {
            let path = module_path(path);
            if modules.last().is_none_or(|last| last.path != path) {
                modules.push(Module {
                    source: format!("// {path} is native.").into(),
                    path,
                    source_map: None,
                    environment: Environment::Isolate,
                });
            }
        }
        modules
    }
}

fn module_path(path: &str) -> String {
    format!("{}.js", path.split(':').next().unwrap_or_default())
}

impl FunctionEngine for NativeEngine {
    fn evaluate(
        &self,
        program: Arc<Program>,
        evaluation: Evaluation,
    ) -> BoxFuture<'static, Result<Json, Failure>> {
        let result = match evaluation {
            Evaluation::Functions(paths) => {
                let mut modules = serde_json::Map::new();
                for path in &paths {
                    let functions: Vec<_> = self
                        .functions
                        .iter()
                        .filter(|(name, _)| module_path(name) == *path)
                        .map(|(name, (kind, _))| {
                            json!({
                                "name": name.rsplit(':').next(), "pos": null, "udfType": kind,
                                "visibility": {"kind": "public"}, "args": null, "returns": null,
                            })
                        })
                        .collect();
                    let module = json!({
                        "functions": functions, "httpRoutes": null, "cronSpecs": null, "sourceMapped": null,
                        "imports": [path],
                    });
                    modules.insert(path.clone(), module);
                }
                Ok(json!({ "modules": modules }))
            }
            // A schema's source is its JSON.
            Evaluation::Schema(path) => {
                match program.modules.get(&path).map(|module| &module.source) {
                    Some(source) => serde_json::from_str(source)
                        .map_err(|error| Failure::new(error.to_string())),
                    None => Err(Failure::new(format!("There is no module {path}."))),
                }
            }
            Evaluation::AuthConfig(_) => Ok(json!({ "providers": [] })),
            Evaluation::Definition(_) => Ok(json!({
                "definitionType": {"type": "app"}, "childComponents": [], "httpMounts": {},
                "exports": {"type": "branch", "branch": []},
            })),
        };
        ready(result).boxed()
    }

    fn start(&self, call: FunctionCall, host: Arc<dyn SyncHost>) -> Box<dyn Execution> {
        let path = format!("{}:{}", call.module.trim_end_matches(".js"), call.export);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            now: call.now,
            kind: call.kind,
        });
        let context = NativeContext {
            shared: shared.clone(),
            host,
        };
        let args = serde_json::from_str::<Json>(&call.args).map(|mut args| args[0].take());
        let future = match (self.functions.get(&path), args) {
            (Some((_, body)), Ok(args)) => body(context, args),
            (None, _) => ready(Err(Failure::new(format!(
                "There is no native function {path}."
            ))))
            .boxed(),
            (_, Err(error)) => ready(Err(Failure::new(error.to_string()))).boxed(),
        };
        Box::new(NativeExecution { future, shared })
    }
}

#[derive(Default)]
struct State {
    last: u32,
    issued: Vec<SystemCall>,
    replies: BTreeMap<u32, SystemResult>,
    logs: Vec<LogLine>,
}

struct Shared {
    state: Mutex<State>,
    now: Timestamp,
    kind: FunctionKind,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no one panics while holding a native call's state")
    }
}

/// What a native function can do: make system calls and print.
#[derive(Clone)]
pub struct NativeContext {
    shared: Arc<Shared>,
    host: Arc<dyn SyncHost>,
}

impl NativeContext {
    /// Makes an asynchronous system call.
    pub async fn call(&self, op: &str, args: Json) -> Result<Json, Failure> {
        let id = {
            let mut state = self.shared.lock();
            state.last += 1;
            let id = state.last;
            state.issued.push(SystemCall {
                id,
                op: op.to_owned(),
                args: args.to_string(),
            });
            id
        };
        parse(
            WaitForReply {
                shared: &self.shared,
                id,
            }
            .await,
        )
    }

    /// Makes a synchronous system call.
    pub fn call_sync(&self, op: &str, args: Json) -> Result<Json, Failure> {
        parse(self.host.call(op, &args.to_string()))
    }

    /// All rows of a query, described as npm `convex` describes it.
    pub async fn collect(&self, query: Json) -> Result<Vec<Json>, Failure> {
        let opened = self.call_sync(
            "1.0/queryStream",
            json!({ "query": query, "version": "1.48.0" }),
        )?;
        let mut rows = Vec::new();
        loop {
            let mut next = self.call("1.0/queryStreamNext", opened.clone()).await?;
            if next["done"] == true {
                return Ok(rows);
            }
            rows.push(next["value"].take());
        }
    }

    /// The clock as it was when the function began.
    pub fn now(&self) -> Timestamp {
        self.shared.now
    }

    /// Schedules a function to run after `delay`, as `ctx.scheduler` does; gives the id of its record. In a mutation or
    /// an action.
    pub async fn schedule(
        &self,
        delay: Duration,
        function: &str,
        args: Json,
    ) -> Result<String, Failure> {
        let seconds = self.now().as_millis_f64() / 1e3 + delay.as_secs_f64();
        let args = json!({"name": function, "ts": seconds, "args": args, "version": "1.48.0"});
        let id = self.call(&self.scheduler_op("schedule"), args).await?;
        id.as_str()
            .map(str::to_owned)
            .ok_or_else(|| Failure::new("The id of a scheduled function is not text."))
    }

    /// Cancels a scheduled function by its id.
    pub async fn cancel(&self, id: &str) -> Result<(), Failure> {
        let op = self.scheduler_op("cancel_job");
        self.call(&op, json!({ "id": id })).await.map(|_| ())
    }

    fn scheduler_op(&self, name: &str) -> String {
        match self.shared.kind {
            FunctionKind::Action => format!("1.0/actions/{name}"),
            FunctionKind::Query | FunctionKind::Mutation => format!("1.0/{name}"),
        }
    }

    /// Prints a line.
    pub fn log(&self, text: &str) {
        self.shared.lock().logs.push(LogLine {
            level: LogLevel::Log,
            messages: vec![text.to_owned()],
            is_truncated: false,
            timestamp: self.shared.now,
            system_code: None,
        });
    }
}

fn parse(result: SystemResult) -> Result<Json, Failure> {
    let text = result.map_err(|SystemError { message, data, .. }| Failure {
        message,
        data,
        ..Failure::default()
    })?;
    serde_json::from_str(&text).map_err(|error| Failure::new(error.to_string()))
}

struct WaitForReply<'a> {
    shared: &'a Shared,
    id: u32,
}

impl Future for WaitForReply<'_> {
    type Output = SystemResult;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<SystemResult> {
        // No waker is needed: the execution polls after it has delivered replies, and never otherwise.
        match self.shared.lock().replies.remove(&self.id) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

struct NativeExecution {
    future: BoxFuture<'static, Result<Json, Failure>>,
    shared: Arc<Shared>,
}

impl Execution for NativeExecution {
    fn resume(&mut self, replies: Vec<Reply>) -> BoxFuture<'_, Turn> {
        self.shared
            .lock()
            .replies
            .extend(replies.into_iter().map(|reply| (reply.id, reply.result)));
        let polled = self
            .future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        let mut state = self.shared.lock();
        let turn = match polled {
            Poll::Pending => Turn::Waiting(std::mem::take(&mut state.issued)),
            Poll::Ready(result) => Turn::Done(Outcome {
                result: result.map(|json| json.to_string()),
                logs: std::mem::take(&mut state.logs),
                observed: Observed::default(),
                cpu: Duration::ZERO,
                memory: 0,
            }),
        };
        ready(turn).boxed()
    }
}
