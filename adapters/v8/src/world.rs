//! A world on V8: an isolate, in which each call gets a context of its own.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::Once;
use std::time::Duration;

use concave_core::engine::{Failure, Program};
use concave_javascript::engine::{
    Argument, Bounds, CallHost, Completion, Ending, Entry, Settled, World, import, thread_time,
};
use concave_javascript::modules::SCHEME;
use concave_javascript::{HostInputs, SourceMaps};

use crate::host::{Host, Rejection};
use crate::limits::Memory;
use crate::modules;
use crate::natives::{self, text};
use crate::process::Snapshots;
use crate::snapshot::{self, Contents, Snapshot};
use crate::watchdog::{Abandon, Watched};

/// Garbage on the heap from which on it is collected after a call, bytes.
const GARBAGE_BYTES: usize = 32 << 20;

/// Frames of a stack, as V8 has it.
const STACK_TRACE_LIMIT: i32 = 10;
/// Of a world's isolate.
const ALWAYS: &str = "there is an isolate but while it is replaced";

/// Makes `scope` one of the context that was entered.
macro_rules! enter {
    (let $scope:ident, $present:expr) => {
        v8::scope!(let $scope, &mut $present.isolate);
        let context = $present.context.as_ref().expect("a context was entered");
        let context = v8::Local::new($scope, context);
        let $scope = &mut v8::ContextScope::new($scope, context);
    };
}

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
    importing: Bounds,
    lifetime: Lifetime,
    snapshots: Arc<Snapshots>,
    watched: Arc<Watched>,
    /// None only while one makes room for the next.
    present: Option<Present>,
}

/// An isolate and the context in it. In the order in which they must go.
struct Present {
    context: Option<v8::Global<v8::Context>>,
    entries: Vec<v8::Global<v8::Function>>,
    /// The module last loaded.
    loaded: Option<v8::Global<v8::Module>>,
    isolate: v8::OwnedIsolate,
    snapshot: Arc<Snapshot>,
    memory: Arc<Memory>,
    /// Bound of the heap, bytes.
    bytes: usize,
    /// Bytes on the heap when the call began.
    heap_before: usize,
    calls: u32,
    /// Whether JavaScript was ended in it.
    is_spent: bool,
    /// Whether it is for making a snapshot.
    is_creator: bool,
}

/// Sets V8 up, once per process.
pub(crate) fn flags() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        v8::V8::set_flags_from_string(concat!(
            // Otherwise loops whose inner loop is counted do not notice that they are to end.
            "--no-turboshaft-loop-unrolling",
            // All isolates of a process share the read-only part of their heap. So snapshots leave it as it is, or one
            // that another process has made could not be used.
            " --no-extensible-ro-snapshot",
            // Modules compile while somebody waits for it.
            " --no-wasm-async-compilation",
            // Functions get as much of native stack as the threads leave.
            " --stack-size=984",
            // It tells the time.
            " --no-harmony-temporal",
            // Nobody is there to share with.
            " --enable-sharedarraybuffer-per-context",
            // As much as the heap: 64 MB.
            " --wasm-max-mem-pages=1024",
            // So that buffers that can be resized can be in snapshots.
            " --no-track-array-buffer-views",
        ));
        v8::icu::set_default_locale("en-US");
        let platform = v8::new_default_platform(0, false).make_shared();
        v8::V8::initialize_platform(platform);
        v8::V8::initialize();
    });
}

impl Present {
    /// An isolate with so many bytes of memory.
    fn new(snapshot: &Arc<Snapshot>, bytes: usize) -> Self {
        flags();
        let memory = Memory::new(bytes);
        // SAFETY: the isolate goes before the snapshot, which is kept beside it.
        let blob = unsafe { snapshot.blob() };
        let params = parameters(&memory, bytes).snapshot_blob(blob);
        let isolate = v8::Isolate::new(params.external_references(natives::external_references()));
        Self::around(isolate, snapshot, memory, bytes)
    }

    /// An isolate of which a snapshot is going to be made.
    fn creator(snapshot: &Arc<Snapshot>, bytes: usize) -> Self {
        flags();
        let memory = Memory::new(bytes);
        // SAFETY: as above.
        let blob = unsafe { snapshot.blob() };
        let isolate = v8::Isolate::snapshot_creator_from_existing_snapshot(
            blob,
            Some(natives::external_references()),
            Some(parameters(&memory, bytes)),
        );
        Self {
            is_creator: true,
            ..Self::around(isolate, snapshot, memory, bytes)
        }
    }

    fn around(
        mut isolate: v8::OwnedIsolate,
        snapshot: &Arc<Snapshot>,
        memory: Arc<Memory>,
        bytes: usize,
    ) -> Self {
        memory.watch(&mut isolate);
        isolate.set_slot(Host {
            code: snapshot.code.clone(),
            ..Host::default()
        });
        isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
        isolate.set_promise_reject_callback(track_rejection);
        isolate.set_host_import_module_dynamically_callback(modules::import_dynamically);
        Self {
            context: None,
            entries: Vec::new(),
            loaded: None,
            isolate,
            snapshot: snapshot.clone(),
            memory,
            bytes,
            heap_before: 0,
            calls: 0,
            is_spent: false,
            is_creator: false,
        }
    }

    /// Begins a fresh context from the snapshot; gives the namespace that it has.
    fn enter(&mut self, of: &snapshot::Context) -> Option<v8::Global<v8::Value>> {
        self.context = None;
        self.entries.clear();
        self.loaded = None;
        Host::of(&mut self.isolate).clear();
        Host::of(&mut self.isolate)
            .kept_modules
            .clone_from(&of.modules);
        v8::scope!(let scope, &mut self.isolate);
        let context = v8::Context::from_snapshot(scope, of.index, v8::ContextOptions::default())
            .expect("the snapshot has the context");
        self.context = Some(v8::Global::new(scope, context));
        let scope = &mut v8::ContextScope::new(scope, context);
        if self.is_creator {
            set_stack_trace_limit(scope, Some(STACK_TRACE_LIMIT));
        }
        for index in of.entries {
            let entry = scope
                .get_context_data_from_snapshot_once::<v8::Function>(index)
                .expect("contexts have entry points");
            self.entries.push(v8::Global::new(scope, entry));
        }
        of.namespace.map(|index| {
            let namespace = scope
                .get_context_data_from_snapshot_once::<v8::Value>(index)
                .expect("contexts of modules have namespaces");
            v8::Global::new(scope, namespace)
        })
    }

    fn heap_used(&mut self) -> usize {
        self.isolate.get_heap_statistics().used_heap_size()
    }
}

/// Sets `Error.stackTraceLimit`, or removes it. V8 itself sets it in every context but those of which it makes a
/// snapshot, where errors would have no stack; and it must not be there yet in a context that is made from one.
fn set_stack_trace_limit(scope: &mut v8::PinScope, limit: Option<i32>) {
    let global = scope.get_current_context().global(scope);
    let keys = (text(scope, "Error"), text(scope, "stackTraceLimit"));
    let (Some(error), Some(key)) = keys else {
        return;
    };
    let Some(error) = global.get(scope, error.into()) else {
        return;
    };
    let Ok(error) = v8::Local::<v8::Object>::try_from(error) else {
        return;
    };
    match limit {
        Some(limit) => {
            let limit = v8::Integer::new(scope, limit);
            error.set(scope, key.into(), limit.into());
        }
        None => {
            error.delete(scope, key.into());
        }
    }
}

fn parameters(memory: &Arc<Memory>, bytes: usize) -> v8::CreateParams {
    v8::CreateParams::default()
        .heap_limits(0, bytes)
        .array_buffer_allocator(memory.allocator())
        .allow_atomics_wait(false)
}

/// Called by V8 when a promise is rejected without a handler, and when one is added after all.
extern "C" fn track_rejection(message: v8::PromiseRejectMessage) {
    v8::callback_scope!(unsafe scope, &message);
    let promise = message.get_promise();
    match message.get_event() {
        v8::PromiseRejectEvent::PromiseRejectWithNoHandler => {
            let reason = message
                .get_value()
                .unwrap_or_else(|| v8::undefined(scope).into());
            let rejection = Rejection {
                promise: v8::Global::new(scope, promise),
                reason: v8::Global::new(scope, reason),
            };
            Host::of(scope).rejections.push(rejection);
        }
        v8::PromiseRejectEvent::PromiseHandlerAddedAfterReject => {
            let rejections = &mut Host::of(scope).rejections;
            rejections.retain(|rejection| rejection.promise != promise);
        }
        v8::PromiseRejectEvent::PromiseRejectAfterResolved
        | v8::PromiseRejectEvent::PromiseResolveAfterResolved => {}
    }
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
            present: Some(Present::new(Snapshot::bare(), importing.memory)),
        }
    }

    /// A world whose contexts a snapshot can be made of.
    pub(crate) fn creator(importing: Bounds, bytes: usize) -> Self {
        Self {
            importing,
            lifetime: Lifetime {
                calls: u32::MAX,
                bytes: usize::MAX,
            },
            snapshots: Snapshots::new(None, importing.time),
            watched: Watched::new(),
            present: Some(Present::creator(Snapshot::bare(), bytes)),
        }
    }

    /// The program that calls can begin with at little cost.
    pub(crate) fn program(&self) -> Option<u64> {
        self.present.as_ref()?.snapshot.program
    }

    /// Whether JavaScript was ended in the isolate: it is not used again.
    pub(crate) fn is_spent(&self) -> bool {
        self.present.as_ref().is_none_or(|present| present.is_spent)
    }

    /// Says what is to be done if JavaScript does not end when it should.
    pub(crate) fn set_abandon(&self, abandon: Option<Abandon>) {
        self.watched.set_abandon(abandon);
    }

    fn present(&mut self) -> &mut Present {
        self.present.as_mut().expect(ALWAYS)
    }

    /// Adds a context without a program to the snapshot, as the first.
    pub(crate) fn keep_bare(&mut self) -> snapshot::Context {
        let bare = Snapshot::bare().contents.bare.clone();
        self.present().enter(&bare);
        {
            v8::scope!(let scope, &mut self.present().isolate);
            let default = v8::Context::new(scope, v8::ContextOptions::default());
            scope.set_default_context(default);
        }
        self.keep_context(None)
    }

    /// Adds the context, into which a module was imported, to the snapshot.
    pub(crate) fn keep(&mut self, namespace: &v8::Global<v8::Value>) -> snapshot::Context {
        self.keep_context(Some(namespace))
    }

    fn keep_context(&mut self, namespace: Option<&v8::Global<v8::Value>>) -> snapshot::Context {
        let present = self.present();
        let modules = std::mem::take(&mut Host::of(&mut present.isolate).modules);
        enter!(let scope, present);
        let context = scope.get_current_context();
        set_stack_trace_limit(scope, None);
        let mut entries = [0; Entry::ALL.len()];
        for (index, entry) in entries.iter_mut().zip(&present.entries) {
            let entry = v8::Local::new(scope, entry);
            *index = scope.add_context_data(context, entry);
        }
        snapshot::Context {
            index: scope.add_context(context),
            entries,
            namespace: namespace.map(|namespace| {
                let namespace = v8::Local::new(scope, namespace);
                scope.add_context_data(context, namespace)
            }),
            modules: modules
                .into_iter()
                .map(|(name, module)| {
                    let module = v8::Local::new(scope, module);
                    (name, scope.add_context_data(context, module))
                })
                .collect(),
        }
    }

    /// The isolate, without anything that refers into it.
    pub(crate) fn into_creator(self) -> v8::OwnedIsolate {
        let Present {
            context,
            entries,
            loaded,
            mut isolate,
            ..
        } = self.present.expect(ALWAYS);
        drop((context, entries, loaded));
        Host::of(&mut isolate).clear();
        isolate
    }

    /// Gives up making a snapshot.
    pub(crate) fn discard(self) {
        let isolate = self.into_creator();
        isolate.cancel_terminate_execution();
        // An isolate of this sort does not go without.
        drop(snapshot::blob(isolate));
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
        self.watched.start(present.isolate.thread_safe_handle());
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
        present.context = None;
        present.entries.clear();
        present.loaded = None;
        Host::of(&mut present.isolate).clear();
        if !present.is_spent && present.heap_used() > GARBAGE_BYTES {
            present.isolate.low_memory_notification();
            let statistics = present.isolate.get_heap_statistics();
            present.is_spent = statistics.total_physical_size() > bytes_max;
        }
    }
}

impl World for V8World {
    type Value = v8::Global<v8::Value>;
    type Pending = v8::Global<v8::PromiseResolver>;

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
        self.present().enter(&bare);
        Ok(())
    }

    fn enter(
        &mut self,
        program: &Arc<Program>,
        module: &str,
        bounds: Bounds,
        maps: &SourceMaps,
    ) -> Result<Self::Value, Failure> {
        let snapshot = self.snapshots.of(program);
        self.replace_unless(Some(&snapshot), Some(bounds.memory));
        let context = snapshot.contents.modules.get(module);
        let namespace = match context.and_then(|context| self.present().enter(context)) {
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

impl V8World {
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

/// Makes each context of a blob once, as calls do.
pub(crate) fn try_out(blob: &Arc<[u8]>, contents: &Contents) {
    let snapshot = Arc::new(Snapshot {
        blob: blob.clone(),
        contents: contents.clone(),
        program: None,
        code: Default::default(),
    });
    let mut present = Present::new(&snapshot, Bounds::import(Duration::ZERO).memory);
    for context in contents.modules.values() {
        present.enter(context);
    }
    present.context = None;
    present.entries.clear();
    // Collecting garbage looks at all that there is.
    present.isolate.low_memory_notification();
}
