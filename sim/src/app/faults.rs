//! An engine that fails its calls, as engines do: under the call, at any of its turns.
//!
//! Whatever the call had written must be gone with it. What fails is drawn per call; so is how long it computes
//! between two system calls, which is what lets calls overtake each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concave_core::Timestamp;
use concave_core::engine::native::NativeEngine;
use concave_core::engine::{
    Evaluation, Execution, Failure, FunctionCall, FunctionEngine, FunctionKind, Observed, Outcome,
    Program, Reply, SyncHost, Turn,
};
use concave_core::runtime::Runtime;
use fastrand::Rng;
use futures_util::future::{BoxFuture, FutureExt};
use serde_json::Value as Json;

use crate::executor::Node;
use crate::report::{Fault, Report};
use crate::settings::Settings;

/// Part of the text of failures that an engine's own fault caused.
pub const ENGINE_FAILED: &str = "the engine failed";

/// Turns within which a fault strikes; most calls have about as many.
const TURNS: u32 = 5;
/// Longer than any transaction may take.
const TOO_LONG: Duration = Duration::from_secs(100);

/// What outlives the lives of a server: chances and counts. Clones share it.
#[derive(Clone)]
pub struct EngineFaults {
    state: Arc<Mutex<State>>,
}

struct State {
    rng: Rng,
    settings: Option<Settings>,
    report: Report,
    /// Longest time that a turn takes.
    pace: Duration,
    starts: Vec<Start>,
}

/// A call of a mutation or an action that the engine was given, whatever became of it.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its token.
    pub token: String,
    /// What its clock showed.
    pub now: Timestamp,
    /// When that was.
    pub at: Duration,
    /// What the clock of the machine showed.
    pub wall: Timestamp,
}

impl EngineFaults {
    /// No faults yet; a turn takes up to `pace`.
    pub fn new(rng: Rng, pace: Duration) -> Self {
        let state = State {
            rng,
            settings: None,
            report: Report::default(),
            pace,
            starts: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// From now on calls fail as `settings` say; `None` for no faults.
    pub fn set(&self, settings: Option<Settings>) {
        self.lock().settings = settings;
    }

    /// Faults that struck so far.
    pub fn report(&self) -> Report {
        self.lock().report.clone()
    }

    /// All calls of mutations and actions, in the order in which they began.
    pub fn starts(&self) -> Vec<Start> {
        self.lock().starts.clone()
    }

    fn note(&self, call: &FunctionCall, node: &Node) {
        let args: Json = serde_json::from_str(&call.args).unwrap_or_default();
        let Some(token) = args[0]["token"].as_str() else {
            return;
        };
        let start = Start {
            token: token.to_owned(),
            now: call.now,
            at: node.monotonic(),
            wall: node.now(),
        };
        self.lock().starts.push(start);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What will happen to a call, and at which of its turns.
    fn draw(&self, kind: FunctionKind) -> Option<(Fault, u32)> {
        let state = &mut *self.lock();
        let settings = state.settings.as_ref()?;
        let faults = [
            Fault::FunctionKilled,
            Fault::FunctionOutOfMemory,
            Fault::FunctionTimedOut,
        ];
        let rng = &mut state.rng;
        let fault = faults
            .into_iter()
            .find(|fault| rng.f64() < settings.chance(*fault))?;
        if fault == Fault::FunctionTimedOut && kind == FunctionKind::Action {
            // Actions have half an hour.
            return None;
        }
        Some((fault, rng.u32(..TURNS)))
    }

    fn pause(&self) -> Option<Duration> {
        let state = &mut *self.lock();
        (state.rng.u8(..4) == 0).then(|| state.pace.mul_f64(state.rng.f64()))
    }
}

/// The engine of one life of a server.
pub struct FaultyEngine {
    inner: NativeEngine,
    node: Node,
    faults: EngineFaults,
}

impl FaultyEngine {
    /// Puts faults over an engine.
    pub fn new(inner: NativeEngine, node: Node, faults: EngineFaults) -> Self {
        Self {
            inner,
            node,
            faults,
        }
    }
}

impl FunctionEngine for FaultyEngine {
    fn evaluate(
        &self,
        program: Arc<Program>,
        evaluation: Evaluation,
    ) -> BoxFuture<'static, Result<Json, Failure>> {
        self.inner.evaluate(program, evaluation)
    }

    fn start(&self, call: FunctionCall, host: Arc<dyn SyncHost>) -> Box<dyn Execution> {
        if call.kind != FunctionKind::Query {
            self.faults.note(&call, &self.node);
        }
        Box::new(FaultyExecution {
            fate: self.faults.draw(call.kind),
            inner: self.inner.start(call, host),
            turns: 0,
            node: self.node.clone(),
            faults: self.faults.clone(),
        })
    }
}

struct FaultyExecution {
    inner: Box<dyn Execution>,
    fate: Option<(Fault, u32)>,
    turns: u32,
    node: Node,
    faults: EngineFaults,
}

impl Execution for FaultyExecution {
    fn resume(&mut self, replies: Vec<Reply>) -> BoxFuture<'_, Turn> {
        async move {
            if let Some(pause) = self.faults.pause() {
                self.node.sleep(pause).await;
            }
            let turn = self.turns;
            self.turns += 1;
            match self.fate {
                Some((fault, at)) if at == turn => {
                    self.faults.lock().report.strike(fault);
                    if fault == Fault::FunctionTimedOut {
                        self.node.sleep(TOO_LONG).await;
                    }
                    Turn::Done(Outcome {
                        result: Err(Failure::new(format!("{ENGINE_FAILED}: {fault:?}"))),
                        logs: Vec::new(),
                        observed: Observed::default(),
                        cpu: Duration::ZERO,
                        memory: 0,
                    })
                }
                _ => self.inner.resume(replies).await,
            }
        }
        .boxed()
    }
}
