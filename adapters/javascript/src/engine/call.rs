//! One call in a world: its turns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use concave_core::engine::{
    Failure, FunctionCall, FunctionKind, LogLevel, LogLine, Outcome, Reply, SyncHost, Turn,
};

use super::host::Ending;
use super::thread_time;
use super::world::{Argument, Bounds, Completion, Entry, Settled, World, describe, reject};
use crate::text::{HALVES, has_halves};
use crate::{HostInputs, SourceMaps};

/// A call that has begun.
pub(crate) struct Call<V> {
    request: FunctionCall,
    bounds: Bounds,
    /// The promise of the result, or what was thrown instead of it.
    promise: Completion<V>,
    /// Time spent in JavaScript.
    cpu: Duration,
}

/// What a call starts from, beside the request.
pub(crate) struct Surroundings {
    pub(crate) sync: Arc<dyn SyncHost>,
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Environment variables.
    pub(crate) env: Arc<BTreeMap<String, String>>,
    /// Whether time passes during the call.
    pub(crate) real_time: bool,
}

/// What a turn leads to.
pub(crate) enum Progress<V> {
    /// The call goes on after replies.
    Waiting(Box<Call<V>>, Turn),
    /// It is over.
    Done(Turn),
}

impl<V: Clone> Call<V> {
    /// Enters the module's world, calls the function and runs until it waits.
    pub(crate) fn begin<W: World<Value = V>>(
        world: &mut W,
        request: FunctionCall,
        surroundings: Surroundings,
        maps: &Arc<SourceMaps>,
    ) -> Progress<V> {
        let begun = Instant::now();
        let bounds = Bounds {
            time: request.limits.cpu,
            memory: request.limits.memory,
            stack: request.limits.stack,
        };
        let namespace = match world.enter(&request.program, &request.module, bounds, maps) {
            Ok(namespace) => namespace,
            Err(failure) => return over(failure),
        };
        let inputs = HostInputs {
            phase: request.kind.into(),
            now: request.now,
            seed: request.seed,
            env: surroundings.env,
            env_must_exist: false,
            elapsed: surroundings
                .real_time
                .then(|| Box::new(move || begun.elapsed()) as _),
        };
        let host = world.host();
        host.reset(inputs, request.program.clone(), maps.clone());
        host.connect(surroundings.sync, bounds.memory, surroundings.cancelled);
        let call = Box::new(Call {
            // Replaced by the first turn.
            promise: Ok(namespace.clone()),
            request,
            bounds,
            cpu: Duration::ZERO,
        });
        call.turn(world, maps, |call, world| {
            let args = [
                Argument::Value(&namespace),
                Argument::Text(&call.request.export),
                Argument::Text(kind_name(call.request.kind)),
                Argument::Text(&call.request.args),
            ];
            call.promise = world.call(Entry::Invoke, &args)?;
            Ok(())
        })
    }

    /// Delivers replies and runs until the function waits again.
    pub(crate) fn resume<W: World<Value = V>>(
        self: Box<Self>,
        world: &mut W,
        replies: &[Reply],
        maps: &Arc<SourceMaps>,
    ) -> Progress<V> {
        self.turn(world, maps, |_, world| {
            for reply in replies {
                let Some(pending) = world.host().answered(reply.id) else {
                    continue;
                };
                match &reply.result {
                    Ok(text) => world.settle(pending, Ok(text))?,
                    Err(error) => reject(world, pending, error)?,
                }
            }
            Ok(())
        })
    }

    fn turn<W: World<Value = V>>(
        mut self: Box<Self>,
        world: &mut W,
        maps: &Arc<SourceMaps>,
        start: impl FnOnce(&mut Self, &mut W) -> Result<(), Ending>,
    ) -> Progress<V> {
        let begun = thread_time();
        world.begin_turn(self.bounds.time.saturating_sub(self.cpu));
        let ran = start(&mut self, world).and_then(|()| world.drain());
        let state = match ran {
            Err(ending) => Some(Err(self.bounds.failure(&ending))),
            Ok(()) => self.state(world, maps),
        };
        self.cpu += thread_time().saturating_sub(begun);
        match state {
            Some(result) => self.end(world, result),
            None => {
                let turn = Turn::Waiting(world.host().take_issued());
                Progress::Waiting(self, turn)
            }
        }
    }

    /// The result, unless the call waits.
    fn state<W: World<Value = V>>(
        &self,
        world: &mut W,
        maps: &Arc<SourceMaps>,
    ) -> Option<Result<String, Failure>> {
        let describe = |world: &mut W, thrown: &V| {
            Some(Err(describe(
                world,
                thrown,
                &self.request.program,
                maps,
                self.bounds,
            )))
        };
        let promise = match &self.promise {
            Ok(promise) => promise,
            Err(thrown) => return describe(world, thrown),
        };
        if let Some(reason) = world.unhandled_rejection(Some(promise)) {
            return describe(world, &reason);
        }
        match world.settled(promise) {
            Settled::Rejected(reason) => describe(world, &reason),
            // What a transaction has asked for is done even if nobody awaits it.
            Settled::Fulfilled(_) if self.is_transaction() && world.host().has_issued() => None,
            Settled::Fulfilled(value) => Some(match world.text(&value) {
                Some(text) if has_halves(&text) => Err(Failure::new(format!(
                    "Function {}:{} return value invalid: {HALVES}.",
                    self.request.module, self.request.export
                ))),
                Some(text) => Ok(text),
                None => Err(Failure::new(
                    "Uncaught TypeError: The function returned something that is not JSON text.",
                )),
            }),
            Settled::Pending if world.host().pending().next().is_none() => {
                Some(Err(Failure::new("Returned promise will never resolve")))
            }
            Settled::Pending => None,
        }
    }

    fn is_transaction(&self) -> bool {
        self.request.kind != FunctionKind::Action
    }

    fn end<W: World>(&self, world: &mut W, result: Result<String, Failure>) -> Progress<V> {
        let memory = world.memory_max();
        let host = world.host();
        let mut logs = host.state.take_logs();
        let observed = host.state.observed();
        let mut names: Vec<&str> = host.pending().collect();
        if result.is_ok() && !names.is_empty() {
            names.sort_unstable();
            logs.push(LogLine {
                level: LogLevel::Warn,
                messages: vec![format!(
                    "{} unawaited operation(s): [{}]. Async operations should be awaited or they might not run.",
                    names.len(),
                    names.join(", ")
                )],
                is_truncated: false,
                timestamp: self.request.now,
                system_code: None,
            });
        }
        Progress::Done(Turn::Done(Outcome {
            result,
            logs,
            observed,
            cpu: self.cpu,
            memory,
        }))
    }
}

/// The end of a call none of whose code has run.
fn over<V>(failure: Failure) -> Progress<V> {
    Progress::Done(super::over(failure))
}

fn kind_name(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Query => "Query",
        FunctionKind::Mutation => "Mutation",
        FunctionKind::Action => "Action",
    }
}
