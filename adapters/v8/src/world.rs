//! A world on V8: an isolate, in which each call gets a context of its own.

use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::{Failure, Program};
use concave_javascript::engine::{
    Argument, Bounds, CallHost, Completion, Ending, Entry, Settled, World, import, thread_time,
};
use concave_javascript::modules::SCHEME;
use concave_javascript::{Columns, HostInputs, SourceMaps};

use crate::host::Host;
use crate::isolate::{Present, enter};
use crate::late::Late;
use crate::modules;
use crate::natives::text;
use crate::process::Snapshots;
use crate::snapshot::Snapshot;
use crate::watchdog::{Abandon, Watched};

/// Garbage on the heap from which on it is collected after a call, bytes.
const GARBAGE_BYTES: usize = 32 << 20;

/// Of a world's isolate.
pub(crate) const ALWAYS: &str = "there is an isolate but while it is replaced";

/// How long an isolate is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    /// Calls.
    pub(crate) calls: u32,
    /// Memory of its heap after garbage was collected, bytes.
    pub(crate) bytes: usize,
}

/// A world. It stays on the thread on which it was made.
pub(crate) struct V8World {
    pub(crate) importing: Bounds,
    pub(crate) lifetime: Lifetime,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) watched: Arc<Watched>,
    /// The module of the last call.
    pub(crate) module: Option<Arc<str>>,
    /// Only in a world for making snapshots.
    pub(crate) late: Option<Late>,
    /// None only while one makes room for the next.
    pub(crate) present: Option<Present>,
}

impl V8World {
    /// A world without a program.
    pub(crate) fn new(
        import_time: Duration,
        lifetime: Lifetime,
        snapshots: Arc<Snapshots>,
    ) -> Self {
        let importing = Bounds::import(import_time);
        Self {
            importing,
            lifetime,
            snapshots,
            watched: Watched::new(),
            module: None,
            late: None,
            present: Some(Present::new(Snapshot::bare(), importing.memory)),
        }
    }

    /// The program and module that calls can begin with at little cost.
    pub(crate) fn ready_for(&self) -> Option<(u64, Arc<str>)> {
        let program = self.present.as_ref()?.snapshot.program?;
        Some((program, self.module.clone()?))
    }

    /// Whether JavaScript was ended in the isolate: it is not used again.
    pub(crate) fn is_spent(&self) -> bool {
        self.present.as_ref().is_none_or(|present| present.is_spent)
    }

    /// Says what is to be done if JavaScript does not end when it should.
    pub(crate) fn set_abandon(&self, abandon: Option<Abandon>) {
        self.watched.set_abandon(abandon);
    }

    pub(crate) fn present(&mut self) -> &mut Present {
        self.present.as_mut().expect(ALWAYS)
    }

    /// Uses another isolate, if the present one will not do.
    fn replace_unless(&mut self, snapshot: Option<&Arc<Snapshot>>, bytes: Option<usize>) {
        let present = self.present();
        let is_right = snapshot.is_none_or(|snapshot| Arc::ptr_eq(snapshot, &present.snapshot))
            && bytes.is_none_or(|bytes| bytes == present.bytes);
        let (is_spent, calls) = (present.is_spent, present.calls);
        let snapshot = snapshot.unwrap_or(&present.snapshot).clone();
        let bytes = bytes.unwrap_or(present.bytes);
        if is_right && !is_spent && calls < self.lifetime.calls {
            return;
        }
        // Isolates of a thread are like a stack: the old one goes before the new one comes.
        self.present = None;
        if is_spent {
            give_memory_back();
        }
        self.present = Some(Present::new(&snapshot, bytes));
    }

    /// Runs `body`, which may run JavaScript, in the context.
    ///
    /// # Errors
    /// Why the call had to end.
    fn run<R>(
        &mut self,
        body: impl FnOnce(&mut v8::PinScope, &[v8::Global<v8::Function>]) -> Option<R>,
    ) -> Result<Result<R, v8::Global<v8::Value>>, Ending> {
        let present = self.present.as_mut().expect(ALWAYS);
        if let Some(ending) = &Host::of(&mut present.isolate).call.ending {
            return Err(ending.clone());
        }
        self.watched
            .start(present.isolate.thread_safe_handle(), &present.memory);
        let result = {
            enter!(let scope, present);
            v8::tc_scope!(let scope, scope);
            match body(scope, &present.entries) {
                Some(value) => Ok(value),
                None => {
                    let thrown = scope.exception();
                    let thrown = thrown.unwrap_or_else(|| v8::undefined(scope).into());
                    Err(v8::Global::new(scope, thrown))
                }
            }
        };
        let stopped = self.watched.stop();
        let call = &mut Host::of(&mut present.isolate).call;
        if present.memory.is_exhausted() {
            call.end(Ending::OutOfMemory);
        }
        if let Some(ending) = stopped {
            call.end(ending);
        }
        match &call.ending {
            Some(ending) => {
                present.is_spent = true;
                Err(ending.clone())
            }
            None => Ok(result),
        }
    }

    /// Lets go of what a call has left.
    pub(crate) fn rest(&mut self) {
        let bytes_max = self.lifetime.bytes;
        let present = self.present();
        present.leave();
        if !present.is_spent && present.heap_used() > GARBAGE_BYTES {
            present.isolate.low_memory_notification();
            let statistics = present.isolate.get_heap_statistics();
            present.is_spent = statistics.total_physical_size() > bytes_max;
        }
    }

    /// Makes the context for the next call, which is likely one of the same module. To be called when nothing else is to
    /// be done.
    pub(crate) fn prepare(&mut self) {
        let Some(module) = self.module.clone() else {
            return;
        };
        if self.present().context.is_some() {
            return;
        }
        self.replace_unless(None, None);
        if let Some(namespace) = self.context_of(&module) {
            self.present().prepared = Some((module, namespace));
        }
    }

    /// Begins a context in which the module is imported, if the snapshot has one; gives the module's namespace.
    fn context_of(&mut self, module: &str) -> Option<v8::Global<v8::Value>> {
        let present = self.present();
        if let Some((prepared, namespace)) = present.prepared.take()
            && *prepared == *module
        {
            return Some(namespace);
        }
        let snapshot = present.snapshot.clone();
        present.enter(snapshot.contents.modules.get(module)?)
    }

    /// Keeps the code of the modules that were imported, for calls to come.
    fn keep_code(&mut self, snapshot: &Snapshot) {
        let present = self.present();
        let modules = Host::of(&mut present.isolate).modules.clone();
        enter!(let scope, present);
        for (name, module) in modules {
            if snapshot.code.get(&name).is_some() {
                continue;
            }
            let module = v8::Local::new(scope, module);
            let script = module.get_unbound_module_script(scope);
            if let Some(code) = script.create_code_cache() {
                snapshot.code.put(&name, &code);
            }
        }
    }
}

/// Has the allocator give to the system what V8 has freed. It returns the pages of heaps by itself, but `Intl` and
/// compilers allocate elsewhere.
#[allow(unsafe_code)]
fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, on any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl World for V8World {
    type Value = v8::Global<v8::Value>;
    type Pending = v8::Global<v8::PromiseResolver>;
    const COLUMNS: Columns = Columns::Utf16;

    fn host(&mut self) -> &mut CallHost<Self::Pending> {
        let present = self.present();
        &mut Host::of(&mut present.isolate).call
    }

    fn importing(&self) -> Bounds {
        self.importing
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.replace_unless(None, None);
        let bare = self.present().snapshot.contents.bare.clone();
        let present = self.present.as_mut().expect(ALWAYS);
        present.enter(&bare);
        if let Some(late) = &mut self.late {
            late.guard(present);
        }
        Ok(())
    }

    fn enter(
        &mut self,
        program: &Arc<Program>,
        module: &str,
        bounds: Bounds,
        maps: &Arc<SourceMaps>,
    ) -> Result<Self::Value, Failure> {
        let snapshot = self.snapshots.of(program);
        self.replace_unless(Some(&snapshot), Some(bounds.memory));
        if self.module.as_deref() != Some(module) {
            self.module = Some(module.into());
        }
        let namespace = match self.context_of(module) {
            Some(namespace) => namespace,
            None => {
                let namespace = import(self, HostInputs::import(program), program, module, maps)?;
                self.keep_code(&snapshot);
                namespace
            }
        };
        let present = self.present();
        present.calls += 1;
        present.memory.reset_peak();
        present.heap_before = present.heap_used();
        Ok(namespace)
    }

    fn begin_turn(&mut self, time: Duration) {
        let deadline = thread_time().saturating_add(time);
        let cancelled = self.host().cancelled().clone();
        self.watched.begin_turn(deadline, cancelled);
    }

    fn load(&mut self, module: &str) -> Result<Completion<Self::Value>, Ending> {
        let name = format!("{SCHEME}{module}");
        let loaded = self.run(|scope, _| {
            let (module, promise) = modules::load(scope, &name)?;
            Some((
                v8::Global::new(scope, module),
                v8::Global::new(scope, promise),
            ))
        })?;
        Ok(loaded.map(|(module, promise)| {
            self.present().loaded = Some(module);
            promise
        }))
    }

    fn loaded(&mut self, _value: Self::Value) -> Self::Value {
        let present = self.present();
        let module = present.loaded.clone().expect("a module was loaded");
        enter!(let scope, present);
        let module = v8::Local::new(scope, module);
        v8::Global::new(scope, module.get_module_namespace())
    }

    fn call(
        &mut self,
        entry: Entry,
        args: &[Argument<'_, Self::Value>],
    ) -> Result<Completion<Self::Value>, Ending> {
        self.run(|scope, entries| {
            let function = v8::Local::new(scope, &entries[entry as usize]);
            let mut values = Vec::with_capacity(args.len());
            for arg in args {
                values.push(match arg {
                    Argument::Value(value) => v8::Local::new(scope, *value),
                    Argument::Text(value) => text(scope, value)?.into(),
                });
            }
            let this = v8::undefined(scope).into();
            let value = function.call(scope, this, &values)?;
            Some(v8::Global::new(scope, value))
        })
    }

    fn settle(
        &mut self,
        pending: Self::Pending,
        result: Result<&str, Self::Value>,
    ) -> Result<(), Ending> {
        let settled = self.run(|scope, _| {
            let resolver = v8::Local::new(scope, pending);
            match result {
                Ok(value) => {
                    let value = text(scope, value)?;
                    resolver.resolve(scope, value.into())
                }
                Err(reason) => {
                    let reason = v8::Local::new(scope, reason);
                    resolver.reject(scope, reason)
                }
            }
        })?;
        // Only text that is too long for a string.
        settled.map(drop).map_err(|_| Ending::OutOfMemory)
    }

    fn drain(&mut self) -> Result<(), Ending> {
        self.run(|scope, _| {
            scope.perform_microtask_checkpoint();
            Some(())
        })
        .map(drop)
    }

    fn settled(&mut self, promise: &Self::Value) -> Settled<Self::Value> {
        let present = self.present();
        enter!(let scope, present);
        let value = v8::Local::new(scope, promise);
        let Ok(promise) = v8::Local::<v8::Promise>::try_from(value) else {
            return Settled::Fulfilled(v8::Global::new(scope, value));
        };
        match promise.state() {
            v8::PromiseState::Pending => Settled::Pending,
            v8::PromiseState::Fulfilled => {
                let value = promise.result(scope);
                Settled::Fulfilled(v8::Global::new(scope, value))
            }
            v8::PromiseState::Rejected => {
                let value = promise.result(scope);
                Settled::Rejected(v8::Global::new(scope, value))
            }
        }
    }

    fn unhandled_rejection(&mut self, except: Option<&Self::Value>) -> Option<Self::Value> {
        let present = self.present();
        v8::scope!(let scope, &mut present.isolate);
        let except = except.map(|main| v8::Local::new(scope, main));
        let rejections = &Host::of(scope).rejections;
        rejections
            .iter()
            .find(|rejection| {
                !except
                    .and_then(|main| v8::Local::<v8::Promise>::try_from(main).ok())
                    .is_some_and(|main| rejection.promise == main)
            })
            .map(|rejection| rejection.reason.clone())
    }

    fn text(&mut self, value: &Self::Value) -> Option<String> {
        let present = self.present();
        enter!(let scope, present);
        let value = v8::Local::new(scope, value);
        value.is_string().then(|| value.to_rust_string_lossy(scope))
    }

    fn memory_max(&mut self) -> usize {
        let present = self.present();
        let heap = present.heap_used().saturating_sub(present.heap_before);
        heap + present.memory.buffers_peak()
    }
}
