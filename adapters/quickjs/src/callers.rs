//! Who waits for a promise job: the async functions above it, so that stacks show them as V8's do.
//!
//! QuickJS ends a stack where the job begins. Before each job this module therefore finds who awaits, directly or by way
//! of other promises, what the job is going to settle, and puts their frames under the job's, below a mark
//! ([`ASYNC_MARK`]). The rules are V8's: a promise is followed as long as it is pending and exactly one reaction
//! waits for it; `then`, `Promise.all` and the like, and async generators are passed through.
//!
//! The engine has no interface for this, so the structures here repeat those of the version that Cargo.toml pins. Before
//! they are used, [`Layout::find`] tries all of them on examples; if one does not hold, stacks just end with the job, and
//! a test fails.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::{offset_of, zeroed};
use std::ptr::null_mut;
use std::sync::OnceLock;

use rquickjs_sys as qjs;

use crate::natives::Native;

/// Callers that are looked for: as many frames as a stack has.
const CALLERS_MAX: usize = 10;
/// Promises that are passed through on the way.
const STEPS_MAX: usize = 64;
/// Elements of the functions behind `Promise.all`, and which of them settles its promise.
const ALL_ELEMENTS: u8 = 5;
const ALL_SETTLES: usize = 3;

/// A doubly linked list's head, or a member's link.
#[repr(C)]
struct List {
    previous: *mut List,
    next: *mut List,
}

/// A promise job: capability (two functions), handler, whether it is a rejection, value.
#[repr(C)]
struct Job {
    link: List,
    context: *mut qjs::JSContext,
    function: *const c_void,
    count: c_int,
    arguments: [qjs::JSValue; 0],
}

const REACTION_ARGUMENTS: c_int = 5;
const REACTION_HANDLER: usize = 2;

#[repr(C)]
struct Promise {
    state: c_int,
    /// Of fulfillment and of rejection.
    reactions: [List; 2],
    is_handled: bool,
    result: qjs::JSValue,
}

#[repr(C)]
struct Reaction {
    link: List,
    /// What settles the promise that `then` gave, unless it is an `await`.
    capability: [qjs::JSValue; 2],
    handler: qjs::JSValue,
}

/// A function that settles a promise.
#[repr(C)]
struct Resolve {
    promise: qjs::JSValue,
    shared: *mut c_void,
}

/// A native function with data.
#[repr(C)]
struct DataFunction {
    function: *const c_void,
    length: u8,
    count: u8,
    magic: u16,
    data: [qjs::JSValue; 0],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct StackFrame {
    previous: *mut StackFrame,
    function: qjs::JSValue,
    arguments: *mut qjs::JSValue,
    variables: *mut qjs::JSValue,
    references: *mut c_void,
    position: *mut u8,
    reference_count: u16,
    argument_count: u16,
    is_strict: bool,
    is_constructor: bool,
    stack: *mut qjs::JSValue,
    owner: *mut c_void,
}

#[repr(C)]
struct Suspended {
    this: qjs::JSValue,
    argument_count: c_int,
    throws: bool,
    frame: StackFrame,
}

/// An async function under way.
#[repr(C)]
struct AsyncFunction {
    link: List,
    capability: [qjs::JSValue; 2],
    is_active: bool,
    state: Suspended,
}

#[repr(C)]
struct AsyncGenerator {
    object: *mut c_void,
    stage: c_int,
    state: Suspended,
    requests: List,
}

/// A call of an async generator's `next`, `return` or `throw`.
#[repr(C)]
struct Request {
    link: List,
    completion: c_int,
    value: qjs::JSValue,
    promise: qjs::JSValue,
    capability: [qjs::JSValue; 2],
}

/// Where in a runtime the fields are, and the numbers of classes.
#[derive(Clone, Copy, Debug)]
struct Layout {
    current_frame: usize,
    jobs: usize,
    promise: qjs::JSClassID,
    resolve: qjs::JSClassID,
    /// What goes on with an async function after an `await`: with a value, and with an exception.
    awaiting: [qjs::JSClassID; 2],
    data_function: qjs::JSClassID,
    async_generator: qjs::JSClassID,
}

/// Runs the next promise job, as `JS_ExecutePendingJob` does, with the frames of its callers under it. `mark` is a
/// function named [`ASYNC_MARK`](concave_javascript::ASYNC_MARK).
///
/// # Safety
/// `runtime` has a context and runs nothing. `context` is valid. If the job is left by a jump, the heap must be restored.
pub(crate) unsafe fn execute_job(
    runtime: *mut qjs::JSRuntime,
    mark: qjs::JSValue,
    context: *mut *mut qjs::JSContext,
) -> c_int {
    // SAFETY: the layout holds for runtimes of this library. The frames outlive the job, and count a reference on their
    // functions, so that what they point to does too.
    unsafe {
        let Some(layout) = Layout::get() else {
            return qjs::JS_ExecutePendingJob(runtime, context);
        };
        let mut frames: [StackFrame; CALLERS_MAX + 1] = zeroed();
        let count = layout.callers_of_next_job(runtime, &mut frames[1..]);
        if count == 0 {
            return qjs::JS_ExecutePendingJob(runtime, context);
        }
        frames[0].function = mark;
        for index in 1..=count {
            qjs::JS_DupValueRT(runtime, frames[index].function);
            frames[index - 1].previous = &raw mut frames[index];
        }
        let current = layout.current_frame(runtime);
        let before = *current;
        frames[count].previous = before;
        *current = &raw mut frames[0];
        let result = qjs::JS_ExecutePendingJob(runtime, context);
        *current = before;
        for frame in &frames[1..=count] {
            qjs::JS_FreeValueRT(runtime, frame.function);
        }
        result
    }
}

impl Layout {
    fn get() -> Option<&'static Self> {
        static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();
        // SAFETY: needs nothing.
        LAYOUT.get_or_init(|| unsafe { Self::find() }).as_ref()
    }

    /// # Safety
    /// A runtime of this layout.
    unsafe fn current_frame(&self, runtime: *mut qjs::JSRuntime) -> *mut *mut StackFrame {
        // SAFETY: by the contract.
        unsafe { runtime.byte_add(self.current_frame).cast() }
    }

    /// Fills in the frames of those who wait for the next job, innermost first, without links. Gives their number.
    ///
    /// # Safety
    /// A runtime of this layout.
    unsafe fn callers_of_next_job(
        &self,
        runtime: *mut qjs::JSRuntime,
        frames: &mut [StackFrame],
    ) -> usize {
        // SAFETY: lists are circular, hence never null; a job has as many arguments as it says.
        unsafe {
            let jobs: *mut List = runtime.byte_add(self.jobs).cast();
            let job: *mut Job = (*jobs).next.cast();
            if job.cast() == jobs || (*job).count != REACTION_ARGUMENTS {
                return 0;
            }
            let arguments = (&raw const (*job).arguments).cast::<qjs::JSValue>();
            let handler = *arguments.add(REACTION_HANDLER);
            // The function that goes on with it is on the stack itself.
            let mut next = match self.waiting(handler) {
                Some((_, promise)) => promise,
                None => self.settled_by(*arguments),
            };
            let mut count = 0;
            for _ in 0..STEPS_MAX {
                let Some(promise) = next.filter(|_| count < frames.len()) else {
                    break;
                };
                let Some(reaction) = only_reaction(promise) else {
                    break;
                };
                let handler = (*reaction).handler;
                next = if let Some((frame, promise)) = self.waiting(handler) {
                    frames[count] = StackFrame {
                        function: frame.function,
                        position: frame.position,
                        ..zeroed()
                    };
                    count += 1;
                    promise
                } else {
                    self.settled_by(handler)
                        .or_else(|| self.settled_by_all(handler))
                        .or_else(|| self.settled_by((*reaction).capability[0]))
                };
            }
            count
        }
    }

    /// If the handler goes on with an async function or generator: its frame, and the promise that it is going to settle.
    ///
    /// # Safety
    /// A value of a runtime of this layout.
    unsafe fn waiting(
        &self,
        handler: qjs::JSValue,
    ) -> Option<(StackFrame, Option<*const Promise>)> {
        // SAFETY: objects of these classes have these structures.
        unsafe {
            for class in self.awaiting {
                let function = qjs::JS_GetOpaque(handler, class).cast::<AsyncFunction>();
                if !function.is_null() {
                    let promise = self.settled_by((*function).capability[0]);
                    return (*function)
                        .is_active
                        .then_some(((*function).state.frame, promise));
                }
            }
            let data = self.data(handler, 1)?;
            let generator = qjs::JS_GetOpaque(*data, self.async_generator).cast::<AsyncGenerator>();
            if generator.is_null() {
                return None;
            }
            let requests = &raw mut (*generator).requests;
            let request = (*requests).next.cast::<Request>();
            if request.cast() == requests {
                return None;
            }
            let promise = qjs::JS_GetOpaque((*request).promise, self.promise)
                .cast::<Promise>()
                .cast_const();
            Some((
                (*generator).state.frame,
                (!promise.is_null()).then_some(promise),
            ))
        }
    }

    /// The promise that a function settles.
    ///
    /// # Safety
    /// A value of a runtime of this layout.
    unsafe fn settled_by(&self, function: qjs::JSValue) -> Option<*const Promise> {
        // SAFETY: as above.
        unsafe {
            let resolve = qjs::JS_GetOpaque(function, self.resolve).cast::<Resolve>();
            if resolve.is_null() {
                return None;
            }
            let promise = qjs::JS_GetOpaque((*resolve).promise, self.promise).cast::<Promise>();
            (!promise.is_null()).then_some(promise.cast_const())
        }
    }

    /// The promise of `Promise.all` (or one of its kind) that waits for the promise with this handler.
    ///
    /// # Safety
    /// A value of a runtime of this layout.
    unsafe fn settled_by_all(&self, handler: qjs::JSValue) -> Option<*const Promise> {
        // SAFETY: as above.
        unsafe {
            let data = self.data(handler, ALL_ELEMENTS)?;
            self.settled_by(*data.add(ALL_SETTLES))
        }
    }

    /// The data of a native function that has so much.
    ///
    /// # Safety
    /// A value of a runtime of this layout.
    unsafe fn data(&self, function: qjs::JSValue, count: u8) -> Option<*const qjs::JSValue> {
        // SAFETY: as above.
        unsafe {
            let function = qjs::JS_GetOpaque(function, self.data_function).cast::<DataFunction>();
            if function.is_null() || (*function).count != count {
                return None;
            }
            Some((&raw const (*function).data).cast())
        }
    }
}

/// What waits for a pending promise, if that is one thing.
///
/// # Safety
/// A promise.
unsafe fn only_reaction(promise: *const Promise) -> Option<*const Reaction> {
    // SAFETY: lists are circular; settled promises have none.
    unsafe {
        let list = &raw const (*promise).reactions[0];
        let first = (*list).next.cast_const();
        let is_one = first != list && (*first).next.cast_const() == list;
        is_one.then_some(first.cast())
    }
}

// --- Finding the layout ------------------------------------------------------------------------------------------------

/// What the examples need: everything lives in the global object of a context of its own.
struct Examples {
    runtime: *mut qjs::JSRuntime,
    context: *mut qjs::JSContext,
}

impl Drop for Examples {
    fn drop(&mut self) {
        // SAFETY: made by `Layout::find`, which has given back all values.
        unsafe {
            qjs::JS_FreeContext(self.context);
            qjs::JS_FreeRuntime(self.runtime);
        }
    }
}

impl Examples {
    /// The value of a script, which a global keeps alive.
    ///
    /// # Safety
    /// A C string.
    unsafe fn value(&self, script: &std::ffi::CStr) -> Option<qjs::JSValue> {
        // SAFETY: the context is ours.
        unsafe {
            let value = qjs::JS_Eval(
                self.context,
                script.as_ptr(),
                script.to_bytes().len() as u64,
                c"example".as_ptr(),
                qjs::JS_EVAL_TYPE_GLOBAL as i32,
            );
            qjs::JS_FreeValue(self.context, value);
            (!qjs::JS_IsException(value)).then_some(value)
        }
    }
}

unsafe extern "C" fn example_interrupt(_: *mut qjs::JSRuntime, _: *mut c_void) -> c_int {
    0
}

/// Gives whether the word at its second argument points to the frame of this call, whose function is the first.
unsafe extern "C" fn is_current_frame(
    context: *mut qjs::JSContext,
    _this: qjs::JSValue,
    _count: c_int,
    arguments: *mut qjs::JSValue,
) -> qjs::JSValue {
    // SAFETY: the examples pass a function and an offset.
    unsafe {
        let runtime = qjs::JS_GetRuntime(context);
        let mut offset = 0;
        if qjs::JS_ToInt32(context, &raw mut offset, *arguments.add(1)) < 0 {
            return qjs::JS_EXCEPTION;
        }
        let frame: *mut StackFrame = *runtime.byte_add(offset as usize).cast();
        let is_it = !frame.is_null() && crate::js::same_object((*frame).function, *arguments);
        if is_it { qjs::JS_TRUE } else { qjs::JS_FALSE }
    }
}

impl Layout {
    /// Tries everything on examples. None if something is not where it should be.
    ///
    /// # Safety
    /// None needed: what is looked at before it is known is within the memory of the runtime.
    unsafe fn find() -> Option<Self> {
        // SAFETY: a runtime and a context of our own; what is read is checked before it is relied on.
        unsafe {
            let runtime = qjs::JS_NewRuntime();
            if runtime.is_null() {
                return None;
            }
            let context = qjs::JS_NewContext(runtime);
            if context.is_null() {
                qjs::JS_FreeRuntime(runtime);
                return None;
            }
            let examples = Examples { runtime, context };

            // The fields of a runtime lie around the handlers that it was given.
            qjs::JS_SetInterruptHandler(runtime, Some(example_interrupt), runtime.cast());
            let word = size_of::<usize>();
            let words = libc::malloc_usable_size(runtime.cast()) / word;
            let at = |index: usize| *runtime.cast::<usize>().add(index);
            let handler = (1..words.saturating_sub(8)).find(|&index| {
                at(index) == example_interrupt as *const () as usize
                    && at(index + 1) == runtime as usize
            })?;
            let (current_frame, jobs) = ((handler - 1) * word, (handler + 7) * word);
            let global = qjs::JS_GetGlobalObject(context);
            let function: Native = is_current_frame;
            let function = qjs::JS_NewCFunction2(
                context,
                Some(function),
                c"isCurrentFrame".as_ptr(),
                2,
                qjs::JSCFunctionEnum_JS_CFUNC_generic,
                0,
            );
            qjs::JS_SetPropertyStr(context, global, c"isCurrentFrame".as_ptr(), function);
            let offset = qjs::JS_NewFloat64(current_frame as f64);
            qjs::JS_SetPropertyStr(context, global, c"offset".as_ptr(), offset);
            qjs::JS_FreeValue(context, global);
            let is_frame = examples.value(c"isCurrentFrame(isCurrentFrame, offset)")?;
            if !qjs::JS_VALUE_GET_BOOL(is_frame) {
                return None;
            }

            let plain = examples.value(c"globalThis.r = Promise.withResolvers(), r.promise")?;
            let resolve = examples.value(c"r.resolve")?;
            let data = examples.value(
                c"globalThis.p = new Promise(() => {}), globalThis.all = Promise.all([p]), p",
            )?;
            let all = examples.value(c"all")?;
            let generator = examples.value(
                c"globalThis.g = (async function* () { await new Promise(() => {}) })(), globalThis.n = g.next(), g",
            )?;
            let promise_class = qjs::JS_GetClassID(plain);
            let element = only_reaction(
                qjs::JS_GetOpaque(data, promise_class)
                    .cast::<Promise>()
                    .cast_const(),
            )?;
            let mut layout = Self {
                current_frame,
                jobs,
                promise: promise_class,
                resolve: qjs::JS_GetClassID(resolve),
                awaiting: [qjs::JSClassID::MAX; 2],
                data_function: qjs::JS_GetClassID((*element).handler),
                async_generator: qjs::JS_GetClassID(generator),
            };
            let promise = |value| {
                let promise = qjs::JS_GetOpaque(value, promise_class).cast::<Promise>();
                (!promise.is_null()).then_some(promise.cast_const())
            };
            if layout.settled_by(resolve) != promise(plain)
                || layout.settled_by_all((*element).handler) != promise(all)
            {
                return None;
            }

            // An async function that waits for one promise and is going to settle another.
            let awaited = examples.value(
                c"globalThis.q = new Promise(() => {}), globalThis.f = async () => { await q }, globalThis.d = f(), q",
            )?;
            let (awaiter, due) = (examples.value(c"f")?, examples.value(c"d")?);
            let reaction = only_reaction(promise(awaited)?)?;
            let on_rejection = (*promise(awaited)?).reactions[1].next.cast::<Reaction>();
            let handlers = [(*reaction).handler, (*on_rejection).handler];
            layout.awaiting = handlers.map(|handler| qjs::JS_GetClassID(handler));
            for handler in handlers {
                let (frame, settles) = layout.waiting(handler)?;
                if !crate::js::same_object(frame.function, awaiter) || settles != promise(due) {
                    return None;
                }
            }
            let awaited = examples.value(
                c"globalThis.i = new Promise(() => {}), globalThis.h = async function* () { await i }, globalThis.m = h().next(), i",
            )?;
            let (function, due) = (examples.value(c"h")?, examples.value(c"m")?);
            let reaction = only_reaction(promise(awaited)?)?;
            let (frame, settles) = layout.waiting((*reaction).handler)?;
            if !crate::js::same_object(frame.function, function) || settles != promise(due) {
                return None;
            }

            // A job that goes on with an async function for which another waits.
            let caller = examples.value(
                c"globalThis.k = async () => { await f2() }, globalThis.f2 = async () => { await null }, k(), k",
            )?;
            let mut frames: [StackFrame; 2] = zeroed();
            let count = layout.callers_of_next_job(runtime, &mut frames);
            let is_found = count == 1
                && crate::js::same_object(frames[0].function, caller)
                && !frames[0].position.is_null();
            let mut any = null_mut();
            while qjs::JS_ExecutePendingJob(runtime, &raw mut any) > 0 {}
            is_found.then_some(layout)
        }
    }
}

/// Where the fields that are relied on are, as the version of the library that is pinned has them on machines of 64 bits.
const _: () = {
    assert!(offset_of!(Job, arguments) == 40);
    assert!(offset_of!(Promise, reactions) == 8);
    assert!(offset_of!(Reaction, handler) == 48);
    assert!(offset_of!(StackFrame, position) == 48);
    assert!(offset_of!(AsyncFunction, state) == 56);
    assert!(offset_of!(DataFunction, data) == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when the library's structures have changed: bring those above up to date.
    #[test]
    fn the_structures_are_those_of_the_library() {
        assert!(Layout::get().is_some());
    }
}
