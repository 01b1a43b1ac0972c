//! What a world's native functions reach: the state of the present call on Rust's side.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concave_javascript::engine::{CallHost, Ending, thread_time};
use rquickjs_sys as qjs;

use crate::guard::Guard;

/// How to settle the promise of a system call.
#[derive(Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) resolve: qjs::JSValue,
    pub(crate) reject: qjs::JSValue,
}

/// A promise that was rejected and has no handler yet.
#[derive(Clone, Copy)]
pub(crate) struct Rejection {
    pub(crate) promise: qjs::JSValue,
    pub(crate) reason: qjs::JSValue,
}

/// The state of a call, and how to end it. Values of JavaScript in here are counted references that nobody gives back:
/// when the world is restored they mean nothing, and are forgotten.
pub(crate) struct Host {
    pub(crate) guard: Guard,
    pub(crate) call: CallHost<Pending>,
    pub(crate) rejections: Vec<Rejection>,
    /// Set by the watchdog: the time is up, and more.
    pub(crate) expired: AtomicBool,
    /// Thread time at which the present turn has used up the call's time.
    pub(crate) deadline: Duration,
}

impl Host {
    /// A host without a call.
    pub(crate) fn new() -> Self {
        Self {
            guard: Guard::new(),
            call: CallHost::default(),
            rejections: Vec::new(),
            expired: AtomicBool::new(false),
            deadline: Duration::MAX,
        }
    }

    /// Forgets how the last call ended and what it left in the world.
    pub(crate) fn clear(&mut self) {
        self.call.release();
        self.call.ending = None;
        self.rejections.clear();
        self.expired = AtomicBool::new(false);
        self.deadline = Duration::MAX;
    }

    /// Why the call has to end, if it has to.
    pub(crate) fn ending(&mut self) -> Option<&Ending> {
        if self.expired.load(Ordering::Relaxed) {
            self.call.end(Ending::TimedOut);
        }
        self.call.ending.as_ref()
    }
}

/// The [`Host`] of a runtime.
///
/// # Safety
/// `ctx` belongs to a world, whose runtime's opaque pointer is its host. The caller makes a reference to it only for
/// as long as no JavaScript runs.
pub(crate) unsafe fn of(ctx: *mut qjs::JSContext) -> *mut Host {
    // SAFETY: by the contract.
    unsafe { qjs::JS_GetRuntimeOpaque(qjs::JS_GetRuntime(ctx)).cast() }
}

/// Called by QuickJS every so often while JavaScript runs.
pub(crate) unsafe extern "C" fn interrupt(_: *mut qjs::JSRuntime, opaque: *mut c_void) -> c_int {
    let host = opaque.cast::<Host>();
    // SAFETY: worlds pass their host; no reference to it is alive while JavaScript runs.
    unsafe {
        (*host).guard.enter_host(true);
        let ending = if (*host).call.cancelled().load(Ordering::Relaxed) {
            Some(Ending::Cancelled)
        } else if thread_time() > (*host).deadline {
            Some(Ending::TimedOut)
        } else {
            None
        };
        end(host, ending)
    }
}

/// Called by the heap when it has no memory left.
pub(crate) unsafe fn out_of_memory(argument: *mut c_void) {
    let host = argument.cast::<Host>();
    // SAFETY: as for `interrupt`; the heap is consistent. Functions of ours that call for memory end by themselves.
    unsafe {
        if (*host).guard.can_leave() {
            (*host).guard.enter_host(true);
            end(host, Some(Ending::OutOfMemory));
        } else {
            (*host).call.end(Ending::OutOfMemory);
        }
    }
}

/// The end of a function that JavaScript has called: leaves if the call is to end, for `ending` or whatever has come up.
///
/// # Safety
/// `host` is valid and marked as being in a host function; no frame up to the guard owns anything.
pub(crate) unsafe fn end(host: *mut Host, ending: Option<Ending>) -> c_int {
    // SAFETY: by the contract.
    unsafe {
        if let Some(ending) = ending {
            (*host).call.end(ending);
        }
        let is_over = (*host).ending().is_some();
        (*host).guard.enter_host(false);
        if is_over && (*host).guard.can_leave() {
            Guard::leave(&raw const (*host).guard);
        }
        c_int::from(is_over)
    }
}

/// Called by QuickJS when a promise is rejected without a handler, and when one is added after all.
pub(crate) unsafe extern "C" fn track_rejection(
    ctx: *mut qjs::JSContext,
    promise: qjs::JSValue,
    reason: qjs::JSValue,
    is_handled: bool,
    opaque: *mut c_void,
) {
    // SAFETY: worlds pass their host; nothing here runs JavaScript.
    unsafe {
        let host = opaque.cast::<Host>();
        (*host).guard.enter_host(true);
        let rejections = &mut (*host).rejections;
        if is_handled {
            rejections.retain(|rejection| !crate::js::same_object(rejection.promise, promise));
        } else {
            rejections.push(Rejection {
                promise: qjs::JS_DupValue(ctx, promise),
                reason: qjs::JS_DupValue(ctx, reason),
            });
        }
        end(host, None);
    }
}
