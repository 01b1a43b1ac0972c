//! What the core asks of a JavaScript engine (or of native code that stands in for one).
//!
//! A function call is a coroutine. [`FunctionEngine::start`] gives an [`Execution`]; [`Execution::resume`] runs the
//! code until all of it waits for system calls ([`Turn::Waiting`]) or it has an outcome ([`Turn::Done`]). The engine
//! never sees the database and the database never sees JavaScript: whoever drives the call answers its system
//! calls. Time, randomness and environment variables are inputs of the call, so that running it again with the
//! same inputs and answers gives the same outcome.

#[cfg(any(test, feature = "testing"))]
pub mod native;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::timestamp::Timestamp;

/// Where a module runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// The embedded engine.
    Isolate,
    /// A Node.js process.
    Node,
}

/// One ECMAScript module as pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Path within the bundle, such as `dir/file.js` or `_deps/AB12CD34.js`.
    pub path: String,
    /// Source text.
    pub source: Arc<str>,
    /// Source map (JSON), if any.
    pub source_map: Option<Arc<str>>,
    /// Where it runs.
    pub environment: Environment,
}

/// Everything that determines what a deployment's code does: what an engine loads once and then calls often.
///
/// Engines may keep compiled forms by `id`; two programs with the same id are the same program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Unique per distinct content, never reused in a process.
    pub id: u64,
    /// Modules by path.
    pub modules: BTreeMap<String, Module>,
    /// Environment variables that the code may read, built-in ones included.
    pub environment_variables: BTreeMap<String, String>,
    /// Seed of `Math.random` while modules are imported.
    pub import_seed: [u8; 32],
    /// The clock while modules are imported.
    pub import_time: Timestamp,
}

/// What a function is, hence what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FunctionKind {
    /// Deterministic, read-only.
    Query,
    /// Deterministic, transactional.
    Mutation,
    /// May have side effects.
    Action,
}

/// Bounds of one call. Exceeding one ends that call and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time spent running JavaScript (waiting for system calls does not count).
    pub cpu: Duration,
    /// Bytes of JavaScript heap, array buffers included.
    pub memory: usize,
    /// Bytes of native stack for JavaScript frames.
    pub stack: usize,
}

/// One call of an exported function.
#[derive(Clone, Debug)]
pub struct FunctionCall {
    /// The code.
    pub program: Arc<Program>,
    /// Module path within the program, such as `dir/file.js`.
    pub module: String,
    /// Export name.
    pub export: String,
    /// What it is called as.
    pub kind: FunctionKind,
    /// How many calls wait for this one, being its callers. Engines that bound the number of calls under way must not
    /// let a call wait for its callers.
    pub depth: u32,
    /// JSON array with the one arguments object, in encoded JSON.
    pub args: String,
    /// The clock: frozen in queries and mutations, the starting point in actions.
    pub now: Timestamp,
    /// Seed of all randomness in the call.
    pub seed: [u8; 32],
    /// Bounds.
    pub limits: Limits,
}

/// An asynchronous system call that the code waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// Names the call in the reply; unique within the execution, ascending in issue order.
    pub id: u32,
    /// Operation, such as `1.0/get`, or one of the host operations of [`host_op`].
    pub op: String,
    /// Arguments, JSON text.
    pub args: String,
}

/// Operations of actions that are not database calls: the engine has no clock and no network of its own.
pub mod host_op {
    /// `{"ms":n}` → `null`, after so many milliseconds.
    pub const SLEEP: &str = "host/sleep";
    /// `{"url","method","headers":[[k,v]…],"body":base64|null}` →
    /// `{"status","statusText","headers":[[k,v]…],"body":base64,"url"}`. Redirects are not followed here.
    pub const FETCH: &str = "host/fetch";
}

/// The answer to a system call: JSON text, or an error that the code can catch.
pub type SystemResult = Result<String, SystemError>;

/// The reply to one [`SystemCall`].
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// [`SystemCall::id`].
    pub id: u32,
    /// Its answer.
    pub result: SystemResult,
}

/// An error thrown into user code by a system call.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemError {
    /// Becomes `Error.message`.
    pub message: String,
    /// For a `ConvexError` of a nested call: its data in encoded JSON.
    pub data: Option<Json>,
    /// If set, the code cannot catch it: the call ends with this failure.
    pub fatal: bool,
}

impl SystemError {
    /// An ordinary, catchable error.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            data: None,
            fatal: false,
        }
    }
}

/// Answers the few system calls that JavaScript makes synchronously (`Convex.syscall`). Pure and quick: it only
/// looks at state in memory.
pub trait SyncHost: Send + Sync {
    /// Answers `op` with JSON text.
    fn call(&self, op: &str, args: &str) -> SystemResult;
}

/// Where an execution stands.
#[derive(Clone, Debug)]
pub enum Turn {
    /// All code waits. Holds the system calls issued since the last turn, in order; in an action it may be empty
    /// while earlier ones are still unanswered. For queries and mutations the driver answers all of them before
    /// it resumes; for actions it may resume with any.
    Waiting(Vec<SystemCall>),
    /// The call is over.
    Done(Outcome),
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The returned value in encoded JSON, or why there is none.
    pub result: Result<String, Failure>,
    /// What the code printed, oldest first.
    pub logs: Vec<LogLine>,
    /// Inputs that the code looked at.
    pub observed: Observed,
    /// Time spent in JavaScript.
    pub cpu: Duration,
    /// Largest heap, bytes.
    pub memory: usize,
}

/// Inputs that a call looked at, beyond its arguments and the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The clock.
    pub time: bool,
    /// Randomness.
    pub random: bool,
}

/// A failure of user code: an exception, or a limit it ran into.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// `Uncaught Error: text`.
    pub message: String,
    /// Mapped stack, innermost first.
    pub frames: Vec<Frame>,
    /// Data of a `ConvexError`, encoded JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Json>,
    /// Whether the same call would fail again.
    #[serde(skip)]
    pub cause: Cause,
}

/// What a call failed for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The code: with the same arguments and data it fails again.
    #[default]
    Code,
    /// The code took too long, which on another day it might not have. The caller is told, but it is not remembered.
    Time,
    /// The server, which had no memory, descriptors or threads, or is ending. The call is tried again.
    Server,
}

impl Failure {
    /// A failure for which the code is not to blame.
    pub fn of_server(message: impl Into<String>) -> Self {
        Self {
            cause: Cause::Server,
            ..Self::new(message)
        }
    }

    /// A failure without a stack.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }
}

impl std::fmt::Display for Failure {
    /// The message, a newline, and one line per frame, each ending in a newline.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.message)?;
        for frame in &self.frames {
            writeln!(f, "    at {}", frame.0)?;
        }
        Ok(())
    }
}

/// A stack frame in its printed form without the leading `at`: `name (../convex/file.ts:3:7)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame(pub String);

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    /// `console.debug`.
    Debug,
    /// `console.error`.
    Error,
    /// `console.warn`.
    Warn,
    /// `console.info`.
    Info,
    /// `console.log`.
    Log,
}

/// A line printed by user code, or by the system on its behalf.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Severity.
    pub level: LogLevel,
    /// Arguments, each rendered as by an inspector.
    pub messages: Vec<String>,
    /// Whether the line was cut to the length limit.
    pub is_truncated: bool,
    /// When.
    pub timestamp: Timestamp,
    /// Set on lines that the system wrote: a stable code.
    pub system_code: Option<String>,
}

impl LogLine {
    /// A warning of the system, with its code.
    pub fn system(code: &str, now: Timestamp, text: impl Into<String>) -> Self {
        Self {
            level: LogLevel::Warn,
            messages: vec![text.into()],
            is_truncated: false,
            timestamp: now,
            system_code: Some(code.to_owned()),
        }
    }

    /// Reads back the `[LEVEL] text` form, as one message.
    pub fn parse(text: &str) -> Self {
        let (level, message) = match text
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "))
        {
            Some(("DEBUG", message)) => (LogLevel::Debug, message),
            Some(("ERROR", message)) => (LogLevel::Error, message),
            Some(("WARN", message)) => (LogLevel::Warn, message),
            Some(("INFO", message)) => (LogLevel::Info, message),
            Some(("LOG", message)) => (LogLevel::Log, message),
            _ => (LogLevel::Log, text),
        };
        Self {
            level,
            messages: vec![message.to_owned()],
            is_truncated: false,
            timestamp: Timestamp::ZERO,
            system_code: None,
        }
    }
}

impl std::fmt::Display for LogLine {
    /// `[LEVEL] text`, as clients parse it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let level = match self.level {
            LogLevel::Debug => "DEBUG",
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Log => "LOG",
        };
        write!(f, "[{level}] {}", self.messages.join(" "))?;
        if self.is_truncated {
            f.write_str(" (truncated due to length)")
        } else {
            Ok(())
        }
    }
}

/// What to evaluate at push time.
#[derive(Clone, Debug)]
pub enum Evaluation {
    /// Import each of these modules, by itself, and list what it exports: `{"modules": {"dir/file.js": {"functions":
    /// […], "httpRoutes": …, "cronSpecs": …, "imports": […]}}}`, the `AnalyzedModule` shapes of the deploy API, and the
    /// paths of all modules that were loaded for it.
    Functions(Vec<String>),
    /// Run `schema.js` (the path given) and return the exported schema object.
    Schema(String),
    /// Run the auth configuration module (the path given) and return `{"providers":[…]}`.
    AuthConfig(String),
    /// Run a `convex.config.js` (the path given) and return the object its default export's `export()` gives.
    Definition(String),
}

/// A JavaScript engine, or native code in its place.
pub trait FunctionEngine: Send + Sync + 'static {
    /// Evaluates modules at push time. The failure's text is shown to the developer who pushes.
    fn evaluate(
        &self,
        program: Arc<Program>,
        evaluation: Evaluation,
    ) -> BoxFuture<'static, Result<Json, Failure>>;

    /// Lets go of what has not been used lately. To be called every few seconds.
    fn rest(&self) {}

    /// Begins a call. No code has run yet: the first [`Execution::resume`] (with no replies) runs it.
    fn start(&self, call: FunctionCall, host: Arc<dyn SyncHost>) -> Box<dyn Execution>;
}

/// A call under way. Dropping it ends the call.
pub trait Execution: Send {
    /// Delivers replies and runs until the code waits again or ends. Must not be called after [`Turn::Done`].
    fn resume(&mut self, replies: Vec<Reply>) -> BoxFuture<'_, Turn>;
}
