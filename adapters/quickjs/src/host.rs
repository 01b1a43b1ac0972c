//! What a world's native functions reach: the state of the present call on Rust's side.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concave_core::engine::{Program, SyncHost, SystemCall};
use concave_javascript::{HostInputs, HostState, Phase};
use rquickjs_sys as qjs;

use crate::guard::Guard;

/// Why a call ends before its code has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It used up its time.
    TimedOut,
    /// It used up its memory.
    OutOfMemory,
    /// Nobody waits for it any longer.
    Cancelled,
    /// An error that user code may not catch.
    Fatal(String),
}

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

/// The state of a call. Values of JavaScript in here are counted references that nobody gives back: when the world is
/// restored they mean nothing, and are forgotten.
pub(crate) struct Host {
    pub(crate) guard: Guard,
    pub(crate) state: HostState,
    pub(crate) program: Option<Arc<Program>>,
    pub(crate) sync: Option<Arc<dyn SyncHost>>,
    /// System calls since the last turn.
    pub(crate) issued: Vec<SystemCall>,
    /// Unanswered system calls, with their operations' names.
    pub(crate) pending: BTreeMap<u32, (Pending, String)>,
    last_id: u32,
    /// Bytes of issued calls, which user code makes us hold outside of its heap.
    issued_bytes: usize,
    issued_bytes_max: usize,
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) ending: Option<Ending>,
    /// Set by the watchdog: the time is up, and more.
    pub(crate) expired: AtomicBool,
    /// Thread time at which the present turn has used up the call's time.
    pub(crate) deadline: Duration,
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Host {
    /// A host without a call.
    pub(crate) fn new() -> Self {
        Self {
            guard: Guard::new(),
            state: HostState::new(HostInputs {
                phase: Phase::Import,
                now: concave_core::Timestamp::ZERO,
                seed: [0; 32],
                env: Arc::default(),
                env_must_exist: false,
                elapsed: None,
            }),
            program: None,
            sync: None,
            issued: Vec::new(),
            pending: BTreeMap::new(),
            last_id: 0,
            issued_bytes: 0,
            issued_bytes_max: usize::MAX,
            rejections: Vec::new(),
            ending: None,
            expired: AtomicBool::new(false),
            deadline: Duration::MAX,
            cancelled: Arc::default(),
        }
    }

    /// Lets go of what belongs to the last call.
    pub(crate) fn release(&mut self) {
        self.program = None;
        self.sync = None;
        self.issued = Vec::new();
        self.pending = BTreeMap::new();
        self.rejections = Vec::new();
    }

    /// Forgets the last call and begins one with these inputs.
    pub(crate) fn reset(&mut self, inputs: HostInputs, program: Arc<Program>) {
        self.release();
        self.state = HostState::new(inputs);
        self.program = Some(program);
        self.last_id = 0;
        self.issued_bytes = 0;
        self.issued_bytes_max = usize::MAX;
        self.ending = None;
        self.expired = AtomicBool::new(false);
        self.deadline = Duration::MAX;
        self.cancelled = Arc::default();
    }

    /// Bounds the bytes of issued system calls.
    pub(crate) fn set_issued_bytes_max(&mut self, bytes: usize) {
        self.issued_bytes_max = bytes;
    }

    /// Takes a system call; `None` ends the call, which has too many under way.
    pub(crate) fn issue(&mut self, op: String, args: String, pending: Pending) -> Option<u32> {
        self.issued_bytes = self
            .issued_bytes
            .saturating_add(2 * op.len() + args.len() + size_of::<SystemCall>() + 64);
        if self.issued_bytes > self.issued_bytes_max {
            self.ending = Some(Ending::OutOfMemory);
            return None;
        }
        self.last_id += 1;
        self.pending.insert(self.last_id, (pending, op.clone()));
        self.issued.push(SystemCall {
            id: self.last_id,
            op,
            args,
        });
        Some(self.last_id)
    }

    /// Why the call has to end, if it has to.
    pub(crate) fn ending(&mut self) -> Option<&Ending> {
        if self.ending.is_none() && self.expired.load(Ordering::Relaxed) {
            self.ending = Some(Ending::TimedOut);
        }
        self.ending.as_ref()
    }

    /// Hands out the calls issued since the last time.
    pub(crate) fn take_issued(&mut self) -> Vec<SystemCall> {
        self.issued_bytes = 0;
        std::mem::take(&mut self.issued)
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

/// Time that the calling thread has spent running.
pub(crate) fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid; the clock exists on every Linux.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "threads have clocks");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Called by QuickJS every so often while JavaScript runs.
pub(crate) unsafe extern "C" fn interrupt(_: *mut qjs::JSRuntime, opaque: *mut c_void) -> c_int {
    let host = opaque.cast::<Host>();
    // SAFETY: worlds pass their host; no reference to it is alive while JavaScript runs.
    unsafe {
        (*host).guard.enter_host(true);
        let ending = if (*host).cancelled.load(Ordering::Relaxed) {
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
        } else if (*host).ending.is_none() {
            (*host).ending = Some(Ending::OutOfMemory);
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
        if (*host).ending.is_none() {
            (*host).ending = ending;
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
