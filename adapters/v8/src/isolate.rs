//! An isolate, and the context that is in it at the time.
#![allow(unsafe_code)]

use std::sync::{Arc, Once};

use crate::host::{Host, Rejection};
use crate::limits::Memory;
use crate::modules;
use crate::natives::{self, text};
use crate::snapshot::{self, Snapshot};
use crate::watchdog;

/// Frames of a stack, as V8 has it.
const STACK_TRACE_LIMIT: i32 = 10;

/// Makes `scope` one of the context that was entered.
macro_rules! enter {
    (let $scope:ident, $present:expr) => {
        v8::scope!(let $scope, &mut $present.isolate);
        let context = $present.context.as_ref().expect("a context was entered");
        let context = v8::Local::new($scope, context);
        let $scope = &mut v8::ContextScope::new($scope, context);
    };
}
pub(crate) use enter;

/// An isolate and the context in it. In the order in which they must go.
pub(crate) struct Present {
    pub(crate) context: Option<v8::Global<v8::Context>>,
    pub(crate) entries: Vec<v8::Global<v8::Function>>,
    /// The module last loaded.
    pub(crate) loaded: Option<v8::Global<v8::Module>>,
    /// The module for whose next call the context was made, and its namespace.
    pub(crate) prepared: Option<(Arc<str>, v8::Global<v8::Value>)>,
    pub(crate) isolate: v8::OwnedIsolate,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) memory: Arc<Memory>,
    /// Bound of the heap, bytes.
    pub(crate) bytes: usize,
    /// Bytes on the heap when the call began.
    pub(crate) heap_before: usize,
    pub(crate) calls: u32,
    /// Whether JavaScript was ended in it.
    pub(crate) is_spent: bool,
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
    pub(crate) fn new(snapshot: &Arc<Snapshot>, bytes: usize) -> Self {
        flags();
        let memory = Memory::new(bytes);
        // SAFETY: the isolate goes before the snapshot, which is kept beside it.
        let blob = unsafe { snapshot.blob() };
        let params = parameters(&memory, bytes).snapshot_blob(blob);
        let isolate = v8::Isolate::new(params.external_references(natives::external_references()));
        Self::around(isolate, snapshot, memory, bytes)
    }

    /// An isolate of which a snapshot is going to be made.
    pub(crate) fn creator(snapshot: &Arc<Snapshot>, bytes: usize) -> Self {
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
        isolate.set_oom_error_handler(watchdog::out_of_memory);
        isolate.set_slot(Host {
            code: snapshot.code.clone(),
            ..Host::default()
        });
        isolate.set_microtasks_policy(v8::MicrotasksPolicy::Explicit);
        isolate.set_promise_reject_callback(track_rejection);
        isolate.set_prepare_stack_trace_callback(natives::stack);
        isolate.set_host_import_module_dynamically_callback(modules::import_dynamically);
        Self {
            context: None,
            entries: Vec::new(),
            loaded: None,
            prepared: None,
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
    pub(crate) fn enter(&mut self, of: &snapshot::Context) -> Option<v8::Global<v8::Value>> {
        self.leave();
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

    /// Lets go of the context and of all that is in it.
    pub(crate) fn leave(&mut self) {
        self.context = None;
        self.entries.clear();
        self.loaded = None;
        self.prepared = None;
        Host::of(&mut self.isolate).clear();
    }

    pub(crate) fn heap_used(&mut self) -> usize {
        self.isolate.get_heap_statistics().used_heap_size()
    }
}

/// Sets `Error.stackTraceLimit`, or removes it. V8 itself sets it in every context but those of which it makes a
/// snapshot, where errors would have no stack; and it must not be there yet in a context that is made from one.
pub(crate) fn set_stack_trace_limit(scope: &mut v8::PinScope, limit: Option<i32>) {
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
