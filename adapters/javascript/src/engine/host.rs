//! What a world's native functions reach: the state of the present call on Rust's side.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use concave_core::Timestamp;
use concave_core::engine::{Module, Program, SyncHost, SystemCall};

use crate::modules::find;
use crate::text::{HALVES, has_halves};
use crate::{HostError, HostInputs, HostState, HostValue, Phase, SourceMaps};

/// Why a call ends before its code has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It used up its time.
    TimedOut,
    /// It used up its memory.
    OutOfMemory,
    /// Nobody waits for it any longer.
    Cancelled,
    /// An error that user code may not catch.
    Fatal(String),
}

/// The state of a call. `P` is what settles the promise of a system call.
///
/// Values of JavaScript in here mean nothing once the world is entered again, and are forgotten before.
pub struct CallHost<P> {
    /// What the prelude knows of the call.
    pub state: HostState,
    program: Option<Arc<Program>>,
    maps: Arc<SourceMaps>,
    /// Paths of the modules that were loaded since the call, or the import, began.
    loaded: RefCell<BTreeSet<String>>,
    sync: Option<Arc<dyn SyncHost>>,
    /// System calls since the last turn.
    issued: Vec<SystemCall>,
    /// Unanswered system calls.
    pending: BTreeMap<u32, Pending<P>>,
    last_id: u32,
    /// Bytes of unanswered calls, which user code makes us hold outside of its heap.
    pending_bytes: usize,
    pending_bytes_max: usize,
    /// Why the call has to end, if it has to.
    pub ending: Option<Ending>,
    cancelled: Arc<AtomicBool>,
}

/// A system call that has no answer.
struct Pending<P> {
    settle: P,
    op: String,
    bytes: usize,
}

impl<P> Default for CallHost<P> {
    /// A host without a call.
    fn default() -> Self {
        Self {
            state: HostState::new(HostInputs {
                phase: Phase::Import,
                now: Timestamp::ZERO,
                seed: [0; 32],
                env: Arc::default(),
                env_must_exist: false,
                elapsed: None,
            }),
            program: None,
            maps: Arc::default(),
            loaded: RefCell::default(),
            sync: None,
            issued: Vec::new(),
            pending: BTreeMap::new(),
            last_id: 0,
            pending_bytes: 0,
            pending_bytes_max: usize::MAX,
            ending: None,
            cancelled: Arc::default(),
        }
    }
}

impl<P> CallHost<P> {
    /// Lets go of what belongs to the last call.
    pub fn release(&mut self) {
        self.program = None;
        self.sync = None;
        self.issued = Vec::new();
        self.pending = BTreeMap::new();
        self.pending_bytes = 0;
    }

    /// Forgets the last call and begins importing, or a call, with these inputs.
    pub fn reset(&mut self, inputs: HostInputs, program: Arc<Program>, maps: Arc<SourceMaps>) {
        *self = Self {
            state: HostState::new(inputs),
            program: Some(program),
            maps,
            ..Self::default()
        };
    }

    /// What a call has beyond importing: system calls, of which so many bytes may be unanswered, and a caller who may
    /// lose interest.
    pub(crate) fn connect(
        &mut self,
        sync: Arc<dyn SyncHost>,
        pending_bytes_max: usize,
        cancelled: Arc<AtomicBool>,
    ) {
        self.sync = Some(sync);
        self.pending_bytes_max = pending_bytes_max;
        self.cancelled = cancelled;
    }

    /// The module of that full name, to be loaded.
    ///
    /// # Errors
    /// The message of the `Error` to throw.
    pub fn find_module(&self, name: &str) -> Result<&Module, String> {
        let module = find(self.program.as_deref(), name)?;
        self.loaded.borrow_mut().insert(module.path.clone());
        Ok(module)
    }

    /// The paths of the modules that were loaded since the import began.
    pub(crate) fn loaded(&self) -> Vec<String> {
        self.loaded.borrow().iter().cloned().collect()
    }

    /// The program that runs.
    pub fn program(&self) -> Option<&Arc<Program>> {
        self.program.as_ref()
    }

    /// Set when nobody waits for the call any longer.
    pub fn cancelled(&self) -> &Arc<AtomicBool> {
        &self.cancelled
    }

    /// Answers `__host`. A fatal error also ends the call.
    ///
    /// # Errors
    /// What JavaScript is to throw.
    pub fn host_call(&mut self, op: &str, args: &[HostValue]) -> Result<HostValue, HostError> {
        let result = match (op, args) {
            // (stack) -> the stack as functions see it
            ("stack/map", [HostValue::String(stack)]) => {
                Ok(HostValue::String(self.map_stack(stack)))
            }
            _ => self.state.call(op, args),
        };
        self.noted(result)
    }

    /// A stack as functions see it.
    pub fn map_stack(&self, stack: &str) -> String {
        match &self.program {
            Some(program) => self.maps.text(program, stack),
            None => String::new(),
        }
    }

    /// Answers `__syncHost`. A fatal error also ends the call.
    ///
    /// # Errors
    /// What JavaScript is to throw.
    pub fn sync_call(&mut self, op: &str, args: &str) -> Result<String, HostError> {
        let result = self.check(op, args).and_then(|()| {
            let sync = self.sync.as_ref().ok_or_else(|| at_import(op))?;
            sync.call(op, args).map_err(|error| HostError {
                name: "Error",
                message: error.message,
                fatal: error.fatal,
            })
        });
        self.noted(result)
    }

    /// Takes what `__asyncHost` asks for, and `pending` for its answer. `None` ends the call: it has asked for too much
    /// at once.
    ///
    /// # Errors
    /// What JavaScript is to throw.
    pub fn async_call(
        &mut self,
        op: String,
        args: String,
        pending: P,
    ) -> Result<Option<()>, HostError> {
        self.check(&op, &args)?;
        let bytes = 2 * op.len() + args.len() + size_of::<SystemCall>() + 64;
        self.pending_bytes = self.pending_bytes.saturating_add(bytes);
        if self.pending_bytes > self.pending_bytes_max {
            self.ending = Some(Ending::OutOfMemory);
            return Ok(None);
        }
        self.last_id += 1;
        let unanswered = Pending {
            settle: pending,
            op: op.clone(),
            bytes,
        };
        self.pending.insert(self.last_id, unanswered);
        self.issued.push(SystemCall {
            id: self.last_id,
            op,
            args,
        });
        Ok(Some(()))
    }

    fn noted<T>(&mut self, result: Result<T, HostError>) -> Result<T, HostError> {
        if let Err(error) = &result
            && error.fatal
        {
            self.end(Ending::Fatal(error.message.clone()));
        }
        result
    }

    /// Has the call end, unless it has to already.
    pub fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// System calls belong to running functions, and their arguments are data.
    fn check(&self, op: &str, args: &str) -> Result<(), HostError> {
        if self.state.phase() == Phase::Import {
            return Err(at_import(op));
        }
        if has_halves(args) {
            return Err(HostError {
                name: "TypeError",
                message: format!("Invalid arguments of {}: {HALVES}.", short(op)),
                fatal: false,
            });
        }
        Ok(())
    }

    /// Hands out the calls issued since the last time.
    pub(crate) fn take_issued(&mut self) -> Vec<SystemCall> {
        std::mem::take(&mut self.issued)
    }

    pub(crate) fn has_issued(&self) -> bool {
        !self.issued.is_empty()
    }

    /// Operations that have no answer yet, as users know them.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &str> {
        self.pending.values().map(|call| known_as(&call.op))
    }

    /// What settles the promise of a system call, once.
    pub(crate) fn answered(&mut self, id: u32) -> Option<P> {
        let call = self.pending.remove(&id)?;
        self.pending_bytes = self.pending_bytes.saturating_sub(call.bytes);
        Some(call.settle)
    }
}

/// What users call an operation of npm `convex`.
fn known_as(op: &str) -> &str {
    match short(op) {
        "get" => "ctx.db.get",
        "insert" => "ctx.db.insert",
        "shallowMerge" => "ctx.db.patch",
        "replace" => "ctx.db.replace",
        "remove" => "ctx.db.delete",
        "queryStreamNext" | "queryPage" | "count" => "ctx.db.query",
        "actions/query" => "ctx.runQuery",
        "actions/mutation" => "ctx.runMutation",
        "runUdf" => "ctx.runQuery or ctx.runMutation",
        "actions/action" => "ctx.runAction",
        "schedule" | "actions/schedule" => "ctx.scheduler",
        "cancel_job" | "actions/cancel_job" => "ctx.scheduler.cancel",
        "getUserIdentity" => "ctx.auth.getUserIdentity",
        other => other,
    }
}

/// An operation's name without the version.
fn short(op: &str) -> &str {
    op.strip_prefix("1.0/").unwrap_or(op)
}

fn at_import(op: &str) -> HostError {
    const DATABASE: [&str; 13] = [
        "get",
        "insert",
        "shallowMerge",
        "replace",
        "remove",
        "queryStream",
        "queryStreamNext",
        "queryCleanup",
        "queryPage",
        "count",
        "db/normalizeId",
        "search",
        "vectorSearch",
    ];
    let name = short(op);
    HostError {
        name: "Error",
        message: if DATABASE.contains(&name) {
            "Can't use database at import time".to_owned()
        } else {
            format!("{name} unsupported at import time")
        },
        fatal: false,
    }
}
