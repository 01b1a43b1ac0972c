//! A JavaScript world: a runtime in an arena, and the images from which it starts afresh for every call.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::{Failure, Program};
use concave_javascript::{HostInputs, Phase, SourceMaps, prelude};
use rquickjs_sys as qjs;
use serde_json::Value as Json;

use crate::arena::{Arena, Image};
use crate::guard::Guard;
use crate::heap::{self, Heap};
use crate::host::{self, Ending, Host, thread_time};
use crate::{js, modules, natives, watchdog};

/// Reserved for a world, not used: room for the largest heap and what fragmentation adds to it.
const ARENA_BYTES: usize = 512 << 20;
/// Largest heap that an arena has room for.
const HEAP_BYTES_MAX: usize = ARENA_BYTES / 2;
/// Heap for importing modules.
const IMPORT_BYTES: usize = 64 << 20;
/// Native stack for JavaScript while importing.
const IMPORT_STACK: usize = 512 << 10;
/// Garbage that a call may make before its cycles are first looked for: most calls end before that.
const GARBAGE_BYTES: usize = 8 << 20;
/// Native stack of worker threads.
pub(crate) const THREAD_STACK: usize = 4 << 20;
/// Native stack that JavaScript leaves for what it calls.
const STACK_RESERVE: usize = 1 << 20;
/// Longest message of a failure, bytes.
const MESSAGE_MAX: usize = 64 << 10;

/// The entry points of `js/convex.js`, functions of the base image.
#[derive(Clone, Copy)]
pub(crate) struct Entries {
    pub(crate) invoke: qjs::JSValue,
    pub(crate) functions: qjs::JSValue,
    pub(crate) routes: qjs::JSValue,
    pub(crate) crons: qjs::JSValue,
    pub(crate) schema: qjs::JSValue,
    pub(crate) auth_config: qjs::JSValue,
    pub(crate) definition: qjs::JSValue,
    describe: qjs::JSValue,
    system_error: qjs::JSValue,
}

/// A program's module, imported.
struct Loaded {
    program: u64,
    module: String,
    image: Image,
    namespace: qjs::JSValue,
    /// Value of the world's clock when it was last used.
    used: u64,
}

/// Bounds of what runs next.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// JavaScript's time.
    pub(crate) time: Duration,
    /// JavaScript's heap.
    pub(crate) memory: usize,
    /// JavaScript's native stack.
    pub(crate) stack: usize,
}

impl Bounds {
    /// For importing and examining modules.
    fn import(time: Duration) -> Self {
        Self {
            time,
            memory: IMPORT_BYTES,
            stack: IMPORT_STACK,
        }
    }

    /// How a call fails that ran into one of these bounds, or was ended otherwise.
    pub(crate) fn failure(&self, ending: &Ending) -> Failure {
        Failure::new(match ending {
            Ending::TimedOut => format!(
                "Function execution timed out (maximum duration: {}s)",
                self.time.as_secs_f64()
            ),
            Ending::OutOfMemory => format!(
                "JavaScript execution ran out of memory (maximum memory usage: {} MB)",
                self.memory >> 20
            ),
            Ending::Cancelled => "The call was abandoned by its caller.".to_owned(),
            Ending::Fatal(message) => message.clone(),
        })
    }
}

/// The state of a promise.
pub(crate) enum Settled {
    Pending,
    Fulfilled(qjs::JSValue),
    Rejected(qjs::JSValue),
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
    entries: Entries,
    base: Image,
    loaded: Vec<Loaded>,
    images_bytes_max: usize,
    /// Bounds of importing and examining modules.
    importing: Bounds,
    clock: u64,
    /// Variables of the program last used, shared by its calls.
    environment: Option<(u64, Arc<BTreeMap<String, String>>)>,
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
            qjs::JS_SetMaxStackSize(runtime, IMPORT_STACK as u64);
            let context = qjs::JS_NewContext(runtime);
            assert!(!context.is_null(), "an empty arena has room for a context");
            assert!(
                natives::install(context),
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
                loaded: Vec::new(),
                images_bytes_max,
                importing: Bounds::import(import_time),
                clock: 0,
                environment: None,
            })
        }
    }

    /// The entry points.
    pub(crate) fn entries(&self) -> Entries {
        self.entries
    }

    /// The state on Rust's side. Valid while no JavaScript runs.
    pub(crate) fn host(&mut self) -> &mut Host {
        // SAFETY: the world owns it, and is borrowed.
        unsafe { &mut *self.host }
    }

    /// Largest heap of the present call.
    pub(crate) fn memory_max(&self) -> usize {
        // SAFETY: the heap lives as long as the arena.
        unsafe { (*self.arena.heap()).live_max() }
    }

    /// Whether a call of this module starts from an image.
    pub(crate) fn has_image(&self, program: u64, module: &str) -> bool {
        self.loaded
            .iter()
            .any(|loaded| loaded.program == program && loaded.module == module)
    }

    /// The variables of a program, to be shared by its calls.
    pub(crate) fn environment(&mut self, program: &Program) -> Arc<BTreeMap<String, String>> {
        match &self.environment {
            Some((id, environment)) if *id == program.id => environment.clone(),
            _ => {
                let environment = Arc::new(program.environment_variables.clone());
                self.environment = Some((program.id, environment.clone()));
                environment
            }
        }
    }

    /// Makes the world what it is right after importing a module, and gives the module's namespace.
    ///
    /// # Errors
    /// Why the import fails.
    pub(crate) fn enter(
        &mut self,
        program: &Arc<Program>,
        module: &str,
        maps: &SourceMaps,
    ) -> Result<qjs::JSValue, Failure> {
        self.clock += 1;
        if let Some(loaded) = self
            .loaded
            .iter_mut()
            .find(|loaded| loaded.program == program.id && loaded.module == module)
        {
            loaded.used = self.clock;
            self.arena.restore(&loaded.image).map_err(no_memory)?;
            return Ok(loaded.namespace);
        }
        let inputs = HostInputs {
            phase: Phase::Import,
            now: program.import_time,
            seed: program.import_seed,
            env: self.environment(program),
            env_must_exist: false,
            elapsed: None,
        };
        let namespace = self.import(inputs, program, module, maps)?;
        // SAFETY: no JavaScript runs.
        unsafe { qjs::JS_RunGC(self.runtime) };
        let image = self.arena.image().map_err(no_memory)?;
        while !self.loaded.is_empty()
            && self
                .loaded
                .iter()
                .map(|loaded| loaded.image.len())
                .sum::<usize>()
                + image.len()
                > self.images_bytes_max
        {
            let oldest = (0..self.loaded.len())
                .min_by_key(|index| self.loaded[*index].used)
                .unwrap_or(0);
            self.loaded.swap_remove(oldest);
        }
        self.loaded.push(Loaded {
            program: program.id,
            module: module.to_owned(),
            image,
            namespace,
            used: self.clock,
        });
        Ok(namespace)
    }

    /// Imports a module into a world without a program.
    ///
    /// # Errors
    /// Why the import fails.
    pub(crate) fn import(
        &mut self,
        inputs: HostInputs,
        program: &Arc<Program>,
        module: &str,
        maps: &SourceMaps,
    ) -> Result<qjs::JSValue, Failure> {
        self.arena.restore(&self.base).map_err(no_memory)?;
        self.host().reset(inputs, program.clone());
        self.bound(self.importing);
        self.begin_turn(self.importing.time);
        let name = CString::new(format!("{}{module}", modules::SCHEME))
            .map_err(|_| Failure::new("A module path holds a null byte."))?;
        let name = name.as_c_str();
        let context = self.context;
        let promise = self
            .run(move || {
                // SAFETY: the names are C strings.
                unsafe { qjs::JS_LoadModule(context, c"convex:/".as_ptr(), name.as_ptr()) }
            })
            .and_then(|promise| self.drain().map(|()| promise))
            .map_err(|ending| self.importing.failure(&ending))?;
        if qjs_is_exception(promise) {
            return Err(self.take_exception(program, maps, self.importing));
        }
        match self.settled(promise) {
            Settled::Fulfilled(namespace) => match self.unhandled_rejection(None) {
                Some(reason) => Err(self.describe(reason, program, maps, self.importing)),
                None => Ok(namespace),
            },
            Settled::Rejected(reason) => Err(self.describe(reason, program, maps, self.importing)),
            Settled::Pending => Err(Failure::new(format!(
                "The module {module} awaits something at its top level: top-level awaits are unsupported."
            ))),
        }
    }

    /// Sets the bounds of memory and stack.
    pub(crate) fn bound(&mut self, bounds: Bounds) {
        let stack = bounds.stack.min(THREAD_STACK - STACK_RESERVE);
        // SAFETY: no JavaScript runs.
        unsafe {
            let heap: *mut Heap = self.arena.heap();
            (*heap).set_limit(bounds.memory.min(HEAP_BYTES_MAX));
            qjs::JS_SetMaxStackSize(self.runtime, stack as u64);
            qjs::JS_SetGCThreshold(self.runtime, ((*heap).live() + GARBAGE_BYTES) as u64);
        }
    }

    /// To be called before JavaScript runs on this thread, with the time that it may take.
    pub(crate) fn begin_turn(&mut self, time: Duration) {
        let deadline = thread_time().saturating_add(time);
        self.host().deadline = deadline;
        watchdog::arm(deadline);
        // SAFETY: no JavaScript runs.
        unsafe { qjs::JS_UpdateStackTop(self.runtime) };
    }

    /// Runs `body`, which may run JavaScript.
    ///
    /// # Errors
    /// Why the call had to end. The world must then be entered again before anything else runs.
    pub(crate) fn run<T: Copy>(&mut self, body: impl FnOnce() -> T + Copy) -> Result<T, Ending> {
        if let Some(ending) = self.host().ending() {
            return Err(ending.clone());
        }
        watchdog::watch(self.host);
        // SAFETY: bodies own nothing. A world that was left stays ended until it is restored.
        let result = unsafe { Guard::run(&raw const (*self.host).guard, body) };
        watchdog::watch(std::ptr::null_mut());
        match (result, self.host().ending()) {
            (Ok(value), None) => Ok(value),
            (_, Some(ending)) => Err(ending.clone()),
            (Err(_), None) => unreachable!("whoever leaves says why"),
        }
    }

    /// Runs promise jobs until none is left.
    ///
    /// # Errors
    /// As for [`World::run`].
    pub(crate) fn drain(&mut self) -> Result<(), Ending> {
        let (runtime, host) = (self.runtime, self.host);
        self.run(move || {
            let mut context = std::ptr::null_mut();
            // SAFETY: the runtime is ours. A job's exception has nobody to go to.
            unsafe {
                loop {
                    match qjs::JS_ExecutePendingJob(runtime, &raw mut context) {
                        0 => break,
                        result if result < 0 => {
                            qjs::JS_FreeValue(context, qjs::JS_GetException(context));
                        }
                        _ => {}
                    }
                    if (*host).ending.is_some() {
                        break;
                    }
                }
            }
        })
    }

    /// Calls a function; an exception stays pending.
    ///
    /// # Errors
    /// As for [`World::run`].
    pub(crate) fn call(
        &mut self,
        function: qjs::JSValue,
        args: &[Argument<'_>],
    ) -> Result<qjs::JSValue, Ending> {
        let context = self.context;
        self.run(move || {
            const ARGUMENTS_MAX: usize = 4;
            let mut values = [qjs::JS_UNDEFINED; ARGUMENTS_MAX];
            assert!(args.len() <= ARGUMENTS_MAX);
            // SAFETY: the function and its arguments are values of this context.
            unsafe {
                for (value, arg) in values.iter_mut().zip(args) {
                    *value = match arg {
                        Argument::Value(value) => *value,
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
        })
    }

    /// Calls a function that returns text.
    ///
    /// # Errors
    /// What it throws, or why it had to end.
    pub(crate) fn call_for_text(
        &mut self,
        function: qjs::JSValue,
        args: &[Argument<'_>],
        program: &Program,
        maps: &SourceMaps,
    ) -> Result<String, Failure> {
        let value = self
            .call(function, args)
            .map_err(|ending| self.importing.failure(&ending))?;
        if qjs_is_exception(value) {
            return Err(self.take_exception(program, maps, self.importing));
        }
        self.text(value)
            .ok_or_else(|| Failure::new("The exported definition is not JSON text."))
    }

    /// The text of a string.
    pub(crate) fn text(&mut self, value: qjs::JSValue) -> Option<String> {
        // SAFETY: a value of this context. Without a running guard a lack of memory gives none.
        unsafe { js::to_text(self.context, value) }
    }

    /// How a promise stands.
    pub(crate) fn settled(&self, promise: qjs::JSValue) -> Settled {
        // SAFETY: a value of this context; other values than promises are what they resolve to.
        unsafe {
            match qjs::JS_PromiseState(self.context, promise) {
                qjs::JSPromiseStateEnum_JS_PROMISE_PENDING => Settled::Pending,
                qjs::JSPromiseStateEnum_JS_PROMISE_FULFILLED => {
                    Settled::Fulfilled(qjs::JS_PromiseResult(self.context, promise))
                }
                qjs::JSPromiseStateEnum_JS_PROMISE_REJECTED => {
                    Settled::Rejected(qjs::JS_PromiseResult(self.context, promise))
                }
                _ => Settled::Fulfilled(promise),
            }
        }
    }

    /// Why the first rejected promise without a handler, other than `except`, was rejected.
    pub(crate) fn unhandled_rejection(
        &mut self,
        except: Option<qjs::JSValue>,
    ) -> Option<qjs::JSValue> {
        self.host()
            .rejections
            .iter()
            .find(|rejection| !except.is_some_and(|main| js::same_object(main, rejection.promise)))
            .map(|rejection| rejection.reason)
    }

    /// Settles the promise of a system call.
    ///
    /// # Errors
    /// As for [`World::run`].
    pub(crate) fn settle(
        &mut self,
        pending: host::Pending,
        result: Result<&str, (&str, Option<&str>)>,
    ) -> Result<(), Ending> {
        match result {
            Ok(text) => {
                self.call(pending.resolve, &[Argument::Text(text)])?;
            }
            Err((message, data)) => {
                let make = self.entries.system_error;
                let mut args = vec![Argument::Text(message)];
                args.extend(data.map(Argument::Text));
                let error = self.call(make, &args)?;
                self.call(pending.reject, &[Argument::Value(error)])?;
            }
        }
        Ok(())
    }

    /// Describes the pending exception.
    pub(crate) fn take_exception(
        &mut self,
        program: &Program,
        maps: &SourceMaps,
        bounds: Bounds,
    ) -> Failure {
        // SAFETY: the context is ours.
        let thrown = unsafe { qjs::JS_GetException(self.context) };
        self.describe(thrown, program, maps, bounds)
    }

    /// Describes what was thrown.
    pub(crate) fn describe(
        &mut self,
        thrown: qjs::JSValue,
        program: &Program,
        maps: &SourceMaps,
        bounds: Bounds,
    ) -> Failure {
        let described = match self.call(self.entries.describe, &[Argument::Value(thrown)]) {
            Ok(value) => self.text(value),
            Err(ending) => return bounds.failure(&ending),
        };
        let described: Option<Json> = described.and_then(|text| serde_json::from_str(&text).ok());
        let Some(described) = described else {
            // Only a lack of stack or memory keeps the description from succeeding.
            return Failure::new("Uncaught RangeError: Maximum call stack size exceeded");
        };
        let text = |field: &str| described[field].as_str();
        let mut failure = Failure::new(cut(
            text("message").unwrap_or("Uncaught Error"),
            MESSAGE_MAX,
        ));
        failure.frames = maps.frames(program, text("stack").unwrap_or(""));
        if let Some(data) = text("data") {
            let decoded = serde_json::from_str(data)
                .map_err(|error| error.to_string())
                .and_then(|data: Json| {
                    concave_core::Value::from_json(data.clone())
                        .map(|_| data)
                        .map_err(|error| error.message)
                });
            match decoded {
                Ok(data) => failure.data = Some(data),
                Err(why) => {
                    failure.message = format!("ConvexError with invalid data: {why}");
                }
            }
        }
        failure
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The runtime is not freed: all that it holds lies in the arena.
        // SAFETY: made by `new`; no JavaScript runs any longer.
        drop(unsafe { Box::from_raw(self.host) });
    }
}

/// An argument of a JavaScript function.
#[derive(Clone, Copy)]
pub(crate) enum Argument<'a> {
    Value(qjs::JSValue),
    Text(&'a str),
}

pub(crate) fn qjs_is_exception(value: qjs::JSValue) -> bool {
    // SAFETY: looks at the value itself.
    unsafe { qjs::JS_IsException(value) }
}

/// How a call fails if the system has no memory for its world.
pub(crate) fn no_memory(error: io::Error) -> Failure {
    Failure::new(format!(
        "The server has no memory for another call: {error}"
    ))
}

/// The longest prefix of at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Evaluates the prelude and takes the entry points that it leaves.
///
/// # Safety
/// `context` is a fresh one with the native functions.
unsafe fn evaluate_prelude(context: *mut qjs::JSContext) -> Entries {
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
        let entry = |name: &CStr| {
            let function = qjs::JS_GetPropertyStr(context, holder, name.as_ptr());
            assert!(
                qjs::JS_IsFunction(context, function),
                "{name:?} is an entry point"
            );
            function
        };
        let entries = Entries {
            invoke: entry(c"invoke"),
            functions: entry(c"functions"),
            routes: entry(c"routes"),
            crons: entry(c"crons"),
            schema: entry(c"schema"),
            auth_config: entry(c"authConfig"),
            definition: entry(c"definition"),
            describe: entry(c"describe"),
            system_error: entry(c"systemError"),
        };
        let atom = qjs::JS_NewAtom(context, c"__concave".as_ptr());
        assert_eq!(qjs::JS_DeleteProperty(context, global, atom, 0), 1);
        qjs::JS_FreeAtom(context, atom);
        qjs::JS_FreeValue(context, holder);
        qjs::JS_FreeValue(context, global);
        entries
    }
}
