//! One call in a world: its turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use concave_core::engine::{
    Failure, FunctionCall, FunctionKind, LogLevel, LogLine, Outcome, Reply, SyncHost, Turn,
};
use concave_javascript::{HostInputs, SourceMaps};
use rquickjs_sys as qjs;

use crate::host::{Ending, thread_time};
use crate::world::{Argument, Bounds, Settled, World, qjs_is_exception};

/// A call that has begun.
pub(crate) struct Call {
    request: FunctionCall,
    bounds: Bounds,
    /// The promise of the result.
    promise: qjs::JSValue,
    /// Time spent in JavaScript.
    cpu: Duration,
}

// SAFETY: the promise is a value of the world, which goes from thread to thread together with its call.
#[allow(unsafe_code)]
unsafe impl Send for Call {}

/// What a turn leads to.
pub(crate) enum Progress {
    /// The call goes on after replies.
    Waiting(Box<Call>, Turn),
    /// It is over.
    Done(Turn),
}

impl Call {
    /// Enters the module's world, calls the function and runs until it waits.
    pub(crate) fn begin(
        world: &mut World,
        request: FunctionCall,
        sync: Arc<dyn SyncHost>,
        cancelled: Arc<std::sync::atomic::AtomicBool>,
        maps: &SourceMaps,
        real_time: bool,
    ) -> Progress {
        let begun = Instant::now();
        let bounds = Bounds {
            time: request.limits.cpu,
            memory: request.limits.memory,
            stack: request.limits.stack,
        };
        let call = Box::new(Call {
            request,
            bounds,
            promise: qjs::JS_UNDEFINED,
            cpu: Duration::ZERO,
        });
        let namespace = match world.enter(&call.request.program, &call.request.module, maps) {
            Ok(namespace) => namespace,
            Err(failure) => return call.end(world, Err(failure)),
        };
        let inputs = HostInputs {
            phase: call.request.kind.into(),
            now: call.request.now,
            seed: call.request.seed,
            env: world.environment(&call.request.program),
            env_must_exist: false,
            elapsed: real_time.then(|| Box::new(move || begun.elapsed()) as _),
        };
        let host = world.host();
        host.reset(inputs, call.request.program.clone());
        host.set_issued_bytes_max(bounds.memory);
        host.sync = Some(sync);
        host.cancelled = cancelled;
        world.bound(bounds);
        call.turn(world, maps, |call, world| {
            let args = [
                Argument::Value(namespace),
                Argument::Text(&call.request.export),
                Argument::Text(kind_name(call.request.kind)),
                Argument::Text(&call.request.args),
            ];
            call.promise = world.call(world.entries().invoke, &args)?;
            Ok(())
        })
    }

    /// Delivers replies and runs until the function waits again.
    pub(crate) fn resume(
        self: Box<Self>,
        world: &mut World,
        replies: &[Reply],
        maps: &SourceMaps,
    ) -> Progress {
        self.turn(world, maps, |_, world| {
            for reply in replies {
                let Some((pending, _)) = world.host().pending.remove(&reply.id) else {
                    continue;
                };
                let data;
                let result = match &reply.result {
                    Ok(text) => Ok(text.as_str()),
                    Err(error) if error.fatal => {
                        return Err(Ending::Fatal(error.message.clone()));
                    }
                    Err(error) => {
                        data = error.data.as_ref().map(ToString::to_string);
                        Err((error.message.as_str(), data.as_deref()))
                    }
                };
                world.settle(pending, result)?;
            }
            Ok(())
        })
    }

    fn turn(
        mut self: Box<Self>,
        world: &mut World,
        maps: &SourceMaps,
        start: impl FnOnce(&mut Call, &mut World) -> Result<(), Ending>,
    ) -> Progress {
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
    fn state(&mut self, world: &mut World, maps: &SourceMaps) -> Option<Result<String, Failure>> {
        let program = self.request.program.clone();
        if qjs_is_exception(self.promise) {
            return Some(Err(world.take_exception(&program, maps, self.bounds)));
        }
        if let Some(reason) = world.unhandled_rejection(Some(self.promise)) {
            return Some(Err(world.describe(reason, &program, maps, self.bounds)));
        }
        match world.settled(self.promise) {
            Settled::Rejected(reason) => {
                Some(Err(world.describe(reason, &program, maps, self.bounds)))
            }
            // What a transaction has asked for is done even if nobody awaits it.
            Settled::Fulfilled(_) if self.is_transaction() && !world.host().issued.is_empty() => {
                None
            }
            Settled::Fulfilled(value) => Some(world.text(value).ok_or_else(|| {
                Failure::new(
                    "Uncaught TypeError: The function returned something that is not JSON text.",
                )
            })),
            Settled::Pending if world.host().pending.is_empty() => {
                Some(Err(Failure::new("Returned promise will never resolve")))
            }
            Settled::Pending => None,
        }
    }

    fn is_transaction(&self) -> bool {
        self.request.kind != FunctionKind::Action
    }

    fn end(self: Box<Self>, world: &mut World, result: Result<String, Failure>) -> Progress {
        let host = world.host();
        let mut logs = host.state.take_logs();
        let observed = host.state.observed();
        if result.is_ok() && !host.pending.is_empty() {
            let mut names: Vec<&str> = host.pending.values().map(|(_, op)| op.as_str()).collect();
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
            memory: world.memory_max(),
        }))
    }
}

fn kind_name(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Query => "Query",
        FunctionKind::Mutation => "Mutation",
        FunctionKind::Action => "Action",
    }
}
