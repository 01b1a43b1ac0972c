//! A JavaScript world: a runtime in an arena, and the images from which it starts afresh for every call.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::{Failure, Program};
use concave_javascript::engine::{
    Argument, Bounds, CallHost, Completion, Ending, Entry, Settled, import, thread_time,
};
use concave_javascript::modules::SCHEME;
use concave_javascript::{Columns, HostInputs, SourceMaps, prelude};
use rquickjs_sys as qjs;

use crate::arena::{Arena, Image};
use crate::guard::Guard;
use crate::heap::{self, Heap};
use crate::host::{self, Host, Pending};
use crate::{callers, js, modules, natives, watchdog};

/// Reserved for a world, not used: room for the largest heap and what fragmentation adds to it.
const ARENA_BYTES: usize = 512 << 20;
/// Largest heap that an arena has room for.
const HEAP_BYTES_MAX: usize = ARENA_BYTES / 2;
/// Garbage that a call may make before its cycles are first looked for: most calls end before that.
const GARBAGE_BYTES: usize = 8 << 20;
/// When the images of all worlds together take more, a world keeps only that of the module it has imported last.
const IMAGE_BYTES_OF_ALL_MAX: usize = 256 << 20;
/// Native stack of worker threads.
pub(crate) const THREAD_STACK: usize = 4 << 20;
/// Native stack that JavaScript leaves for what it calls.
const STACK_RESERVE: usize = 1 << 20;

/// A program's module, imported.
struct Loaded {
    program: u64,
    module: String,
    image: Image,
    namespace: qjs::JSValue,
    /// Value of the world's clock when it was last used.
    used: u64,
}

/// A world. Used by one thread at a time, not always the same one.
///
/// Values of JavaScript are counted references that are never given back: see [`Host`].
pub(crate) struct World {
    arena: Arena,
    /// Owned; a pointer, because native functions reach it too.
    host: *mut Host,
    runtime: *mut qjs::JSRuntime,
    context: *mut qjs::JSContext,
    /// The entry points, each at its index.
    entries: [qjs::JSValue; Entry::ALL.len()],
    /// Marks in stacks where those begin who wait.
    async_mark: qjs::JSValue,
    base: Image,
    loaded: Vec<Loaded>,
    images_bytes_max: usize,
    /// Bounds of importing and examining modules.
    importing: Bounds,
    clock: u64,
}

// SAFETY: the arena and the host belong to the world; QuickJS has no state elsewhere and is told of a new thread's stack
// at every turn.
unsafe impl Send for World {}

impl World {
    /// A world with the prelude and no program. Keeps images of up to `images_bytes_max` bytes, and gives modules
    /// `import_time` of JavaScript's time when they are imported.
    ///
    /// # Errors
    /// If the system has no memory for it.
    pub(crate) fn new(images_bytes_max: usize, import_time: Duration) -> io::Result<Self> {
        let importing = Bounds::import(import_time);
        let host = Box::into_raw(Box::new(Host::new()));
        let arena = match Arena::reserve(ARENA_BYTES, host::out_of_memory, host.cast()) {
            Ok(arena) => arena,
            Err(error) => {
                // SAFETY: made above and not shared.
                drop(unsafe { Box::from_raw(host) });
                return Err(error);
            }
        };
        let functions = qjs::JSMallocFunctions {
            js_calloc: Some(heap::calloc),
            js_malloc: Some(heap::malloc),
            js_free: Some(heap::free),
            js_realloc: Some(heap::realloc),
            js_malloc_usable_size: Some(heap::usable_size),
        };
        // SAFETY: the functions implement C's contracts over the heap. An arena of this size has room for a runtime
        // and a context, so neither is null. The host lives as long as the world.
        unsafe {
            let runtime = qjs::JS_NewRuntime2(&raw const functions, arena.heap().cast());
            assert!(!runtime.is_null(), "an empty arena has room for a runtime");
            qjs::JS_SetRuntimeOpaque(runtime, host.cast());
            qjs::JS_SetInterruptHandler(runtime, Some(host::interrupt), host.cast());
            qjs::JS_SetHostPromiseRejectionTracker(
                runtime,
                Some(host::track_rejection),
                host.cast(),
            );
            qjs::JS_SetModuleLoaderFunc(
                runtime,
                Some(modules::normalize),
                Some(modules::load),
                host.cast(),
            );
            qjs::JS_SetCanBlock(runtime, false);
            qjs::JS_SetMaxStackSize(runtime, importing.stack as u64);
            let context = qjs::JS_NewContext(runtime);
            assert!(!context.is_null(), "an empty arena has room for a context");
            assert!(
                natives::install(context),
                "an empty arena has room for functions"
            );
            let async_mark = natives::async_mark(context);
            assert!(
                !qjs::JS_IsException(async_mark),
                "an empty arena has room for functions"
            );
            let entries = evaluate_prelude(context);
            qjs::JS_RunGC(runtime);
            let base = match arena.image() {
                Ok(base) => base,
                Err(error) => {
                    drop(Box::from_raw(host));
                    return Err(error);
                }
            };
            Ok(Self {
                base,
                arena,
                host,
                runtime,
                context,
                entries,
                async_mark,
                loaded: Vec::new(),
                images_bytes_max,
                importing,
                clock: 0,
            })
        }
    }

    /// Gives back memory that the last call has used: the world is entered again before anything else runs.
    pub(crate) fn trim(&mut self) {
        // What is not given back now is when the world is entered.
        drop(self.arena.trim(self.base.len()));
    }

    /// The state on Rust's side. Valid while no JavaScript runs.
    fn own(&mut self) -> &mut Host {
        // SAFETY: the world owns it, and is borrowed.
        unsafe { &mut *self.host }
    }

    /// Whether it can be entered for this module at little cost.
    pub(crate) fn is_ready_for(&self, program: u64, module: &str) -> bool {
        self.loaded
            .iter()
            .any(|loaded| loaded.program == program && loaded.module == module)
    }

    /// Sets the bounds of memory and stack.
    fn bound(&mut self, bounds: Bounds) {
        let stack = bounds.stack.min(THREAD_STACK - STACK_RESERVE);
        // SAFETY: no JavaScript runs.
        unsafe {
            let heap: *mut Heap = self.arena.heap();
            (*heap).set_limit(bounds.memory.min(HEAP_BYTES_MAX));
            qjs::JS_SetMaxStackSize(self.runtime, stack as u64);
            qjs::JS_SetGCThreshold(self.runtime, ((*heap).live() + GARBAGE_BYTES) as u64);
        }
    }

    /// Runs `body`, which may run JavaScript.
    ///
    /// # Errors
    /// Why the call had to end. The world must then be entered again before anything else runs.
    fn run<T: Copy>(&mut self, body: impl FnOnce() -> T + Copy) -> Result<T, Ending> {
        if let Some(ending) = self.own().ending() {
            return Err(ending.clone());
        }
        watchdog::watch(self.host);
        // SAFETY: bodies own nothing. A world that was left stays ended until it is restored.
        let result = unsafe { Guard::run(&raw const (*self.host).guard, body) };
        watchdog::watch(std::ptr::null_mut());
        match (result, self.own().ending()) {
            (Ok(value), None) => Ok(value),
            (_, Some(ending)) => Err(ending.clone()),
            (Err(_), None) => unreachable!("whoever leaves says why"),
        }
    }

    /// Keeps the world as it is, for further calls of the module that was just imported.
    fn keep(&mut self, program: u64, module: &str, namespace: qjs::JSValue) -> Result<(), Failure> {
        // SAFETY: no JavaScript runs.
        unsafe { qjs::JS_RunGC(self.runtime) };
        let image = self.arena.image().map_err(no_memory)?;
        let own = |loaded: &[Loaded]| loaded.iter().map(|one| one.image.len()).sum::<usize>();
        while !self.loaded.is_empty()
            && (own(&self.loaded) + image.len() > self.images_bytes_max
                || Image::bytes_of_all() > IMAGE_BYTES_OF_ALL_MAX)
        {
            let oldest = (0..self.loaded.len())
                .min_by_key(|index| self.loaded[*index].used)
                .unwrap_or(0);
            self.loaded.swap_remove(oldest);
        }
        self.loaded.push(Loaded {
            program,
            module: module.to_owned(),
            image,
            namespace,
            used: self.clock,
        });
        Ok(())
    }

    /// Calls a function.
    ///
    /// # Errors
    /// As for [`World::run`].
    fn call_function(
        &mut self,
        function: qjs::JSValue,
        args: &[Argument<'_, qjs::JSValue>],
    ) -> Result<Completion<qjs::JSValue>, Ending> {
        let context = self.context;
        let value = self.run(move || {
            const ARGUMENTS_MAX: usize = 4;
            let mut values = [qjs::JS_UNDEFINED; ARGUMENTS_MAX];
            assert!(args.len() <= ARGUMENTS_MAX);
            // SAFETY: the function and its arguments are values of this context.
            unsafe {
                for (value, arg) in values.iter_mut().zip(args) {
                    *value = match arg {
                        Argument::Value(value) => **value,
                        Argument::Text(text) => js::from_text(context, text),
                    };
                }
                qjs::JS_Call(
                    context,
                    function,
                    qjs::JS_UNDEFINED,
                    args.len() as i32,
                    values.as_mut_ptr(),
                )
            }
        })?;
        Ok(self.completion(value))
    }

    /// What a value stands for that a function of QuickJS gave.
    fn completion(&mut self, value: qjs::JSValue) -> Completion<qjs::JSValue> {
        // SAFETY: the context is ours.
        unsafe {
            if qjs::JS_IsException(value) {
                Err(qjs::JS_GetException(self.context))
            } else {
                Ok(value)
            }
        }
    }
}

impl concave_javascript::engine::World for World {
    type Value = qjs::JSValue;
    type Pending = Pending;
    const COLUMNS: Columns = Columns::Bytes;

    fn host(&mut self) -> &mut CallHost<Pending> {
        &mut self.own().call
    }

    fn importing(&self) -> Bounds {
        self.importing
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.own().clear();
        self.arena.restore(&self.base).map_err(no_memory)?;
        self.bound(self.importing);
        Ok(())
    }

    fn enter(
        &mut self,
        program: &Arc<Program>,
        module: &str,
        bounds: Bounds,
        maps: &Arc<SourceMaps>,
    ) -> Result<qjs::JSValue, Failure> {
        self.clock += 1;
        let loaded = self
            .loaded
            .iter_mut()
            .find(|loaded| loaded.program == program.id && loaded.module == module);
        let namespace = match loaded {
            Some(loaded) => {
                loaded.used = self.clock;
                self.arena.restore(&loaded.image).map_err(no_memory)?;
                loaded.namespace
            }
            None => {
                let inputs = HostInputs::import(program);
                let namespace = import(self, inputs, program, module, maps)?;
                self.keep(program.id, module, namespace)?;
                namespace
            }
        };
        self.own().clear();
        self.bound(bounds);
        Ok(namespace)
    }

    fn begin_turn(&mut self, time: Duration) {
        let deadline = thread_time().saturating_add(time);
        self.own().deadline = deadline;
        watchdog::arm(deadline);
        // SAFETY: no JavaScript runs.
        unsafe { qjs::JS_UpdateStackTop(self.runtime) };
    }

    fn load(&mut self, module: &str) -> Result<Completion<qjs::JSValue>, Ending> {
        let Ok(name) = CString::new(format!("{SCHEME}{module}")) else {
            return Err(Ending::Fatal("A module path holds a null byte.".to_owned()));
        };
        let name = name.as_c_str();
        let context = self.context;
        let promise = self.run(move || {
            // SAFETY: the names are C strings.
            unsafe { qjs::JS_LoadModule(context, c"convex:/".as_ptr(), name.as_ptr()) }
        })?;
        Ok(self.completion(promise))
    }

    fn loaded(&mut self, namespace: qjs::JSValue) -> qjs::JSValue {
        namespace
    }

    fn call(
        &mut self,
        entry: Entry,
        args: &[Argument<'_, qjs::JSValue>],
    ) -> Result<Completion<qjs::JSValue>, Ending> {
        self.call_function(self.entries[entry as usize], args)
    }

    fn settle(
        &mut self,
        pending: Pending,
        result: Result<&str, qjs::JSValue>,
    ) -> Result<(), Ending> {
        // Neither function throws anything that somebody should hear of.
        match result {
            Ok(text) => self.call_function(pending.resolve, &[Argument::Text(text)]),
            Err(reason) => self.call_function(pending.reject, &[Argument::Value(&reason)]),
        }
        .map(drop)
    }

    fn drain(&mut self) -> Result<(), Ending> {
        let (runtime, host, mark) = (self.runtime, self.host, self.async_mark);
        self.run(move || {
            let mut context = std::ptr::null_mut();
            // SAFETY: the runtime is ours. A job's exception has nobody to go to.
            unsafe {
                loop {
                    match callers::execute_job(runtime, mark, &raw mut context) {
                        0 => break,
                        result if result < 0 => {
                            qjs::JS_FreeValue(context, qjs::JS_GetException(context));
                        }
                        _ => {}
                    }
                    if (*host).call.ending.is_some() {
                        break;
                    }
                }
            }
        })
    }

    fn settled(&mut self, promise: &qjs::JSValue) -> Settled<qjs::JSValue> {
        // SAFETY: a value of this context; other values than promises are what they resolve to.
        unsafe {
            match qjs::JS_PromiseState(self.context, *promise) {
                qjs::JSPromiseStateEnum_JS_PROMISE_PENDING => Settled::Pending,
                qjs::JSPromiseStateEnum_JS_PROMISE_FULFILLED => {
                    Settled::Fulfilled(qjs::JS_PromiseResult(self.context, *promise))
                }
                qjs::JSPromiseStateEnum_JS_PROMISE_REJECTED => {
                    Settled::Rejected(qjs::JS_PromiseResult(self.context, *promise))
                }
                _ => Settled::Fulfilled(*promise),
            }
        }
    }

    fn unhandled_rejection(&mut self, except: Option<&qjs::JSValue>) -> Option<qjs::JSValue> {
        self.own()
            .rejections
            .iter()
            .find(|rejection| !except.is_some_and(|main| js::same_object(*main, rejection.promise)))
            .map(|rejection| rejection.reason)
    }

    fn text(&mut self, value: &qjs::JSValue) -> Option<String> {
        // SAFETY: a value of this context. Without a running guard a lack of memory gives none.
        unsafe { js::to_text(self.context, *value) }
    }

    fn memory_max(&mut self) -> usize {
        // SAFETY: the heap lives as long as the arena.
        unsafe { (*self.arena.heap()).live_max() }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The runtime is not freed: all that it holds lies in the arena.
        // SAFETY: made by `new`; no JavaScript runs any longer.
        drop(unsafe { Box::from_raw(self.host) });
    }
}

/// How a call fails if the system has no memory for its world.
pub(crate) fn no_memory(error: io::Error) -> Failure {
    Failure::of_server(format!(
        "The server has no memory for another call: {error}"
    ))
}

/// Evaluates the prelude and takes the entry points that it leaves.
///
/// # Safety
/// `context` is a fresh one with the native functions.
unsafe fn evaluate_prelude(context: *mut qjs::JSContext) -> [qjs::JSValue; Entry::ALL.len()] {
    // SAFETY: sources are followed by a null byte; scripts are ours, and known to run.
    unsafe {
        for (name, source) in prelude() {
            let name_c = CString::new(*name).expect("script names are plain");
            let source = CString::new(*source).expect("scripts are plain text");
            let value = qjs::JS_Eval(
                context,
                source.as_ptr(),
                source.as_bytes().len() as u64,
                name_c.as_ptr(),
                qjs::JS_EVAL_TYPE_GLOBAL as i32,
            );
            if qjs::JS_IsException(value) {
                let error = qjs::JS_GetException(context);
                let text = js::to_text(context, qjs::JS_ToString(context, error));
                panic!("the prelude's script {name} throws: {text:?}");
            }
            qjs::JS_FreeValue(context, value);
        }
        let global = qjs::JS_GetGlobalObject(context);
        let holder = qjs::JS_GetPropertyStr(context, global, c"__concave".as_ptr());
        let entries = Entry::ALL.map(|entry| {
            let name = CString::new(entry.name()).expect("names are plain");
            let function = qjs::JS_GetPropertyStr(context, holder, name.as_ptr());
            assert!(
                qjs::JS_IsFunction(context, function),
                "{name:?} is an entry point"
            );
            function
        });
        let atom = qjs::JS_NewAtom(context, c"__concave".as_ptr());
        assert_eq!(qjs::JS_DeleteProperty(context, global, atom, 0), 1);
        qjs::JS_FreeAtom(context, atom);
        qjs::JS_FreeValue(context, holder);
        qjs::JS_FreeValue(context, global);
        entries
    }
}
