//! A way out of JavaScript that no JavaScript can stop.
//!
//! When a call has used up its time or memory, its execution is left by a jump from wherever it is: user code gets no
//! chance to catch it, and QuickJS need not cope with running out of memory half-way. That is sound because all that
//! the abandoned C frames owned lies in the arena, which is restored from its image before anything uses it again.
//!
//! The rule that makes it sound for Rust: between [`Guard::run`] and a place that may jump there are only frames
//! without destructors. A body is `Copy`, so it owns nothing. Functions of ours that JavaScript calls mark themselves
//! with [`Guard::enter_host`]; while they run nothing jumps, and they look for a pending end once their values
//! are dropped. The heap's functions need no mark: they touch nothing but the arena.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering, compiler_fence};

unsafe extern "C" {
    fn concave_guard_run(
        body: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
        way_out: *mut *mut c_void,
    ) -> c_int;
    fn concave_guard_leave(way_out: *mut c_void) -> !;
}

/// The body was left by a jump.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left;

/// Where to jump to. Atomic because signal handlers look at it; only one thread at a time does.
pub(crate) struct Guard {
    way_out: AtomicPtr<c_void>,
    in_host: AtomicBool,
}

impl Guard {
    pub(crate) const fn new() -> Self {
        Self {
            way_out: AtomicPtr::new(null_mut()),
            in_host: AtomicBool::new(false),
        }
    }

    /// Runs `body`, from which [`Guard::leave`] comes back here.
    ///
    /// # Safety
    /// `guard` is valid throughout. Frames between here and a call of `leave` own nothing. If the body was left, the
    /// JavaScript heap must be restored before it is used again.
    pub(crate) unsafe fn run<T: Copy, F: FnOnce() -> T + Copy>(
        guard: *const Guard,
        body: F,
    ) -> Result<T, Left> {
        struct Body<T, F> {
            run: F,
            result: MaybeUninit<T>,
        }
        unsafe extern "C" fn call<T: Copy, F: FnOnce() -> T + Copy>(argument: *mut c_void) {
            let body = argument.cast::<Body<T, F>>();
            // SAFETY: `run` passes a `Body` of these types.
            unsafe { (*body).result = MaybeUninit::new(((*body).run)()) };
        }
        let mut body = Body {
            run: body,
            result: MaybeUninit::uninit(),
        };
        // SAFETY: the jump buffer is valid while the body runs, and forgotten afterwards.
        unsafe {
            debug_assert!(
                (*guard).way_out.load(Ordering::Relaxed).is_null(),
                "guards do not nest"
            );
            let left = concave_guard_run(
                call::<T, F>,
                (&raw mut body).cast(),
                (*guard).way_out.as_ptr(),
            );
            (*guard).in_host.store(false, Ordering::Relaxed);
            if left == 0 {
                Ok(body.result.assume_init())
            } else {
                Err(Left)
            }
        }
    }

    /// Whether [`Guard::leave`] may be called now.
    pub(crate) fn can_leave(&self) -> bool {
        !self.way_out.load(Ordering::Relaxed).is_null() && !self.in_host.load(Ordering::Relaxed)
    }

    /// Marks the beginning (true) or end (false) of a function of ours that JavaScript calls.
    pub(crate) fn enter_host(&self, inside: bool) {
        // The compiler may move nothing across that a handler must not interrupt.
        compiler_fence(Ordering::SeqCst);
        self.in_host.store(inside, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Ends the running body.
    ///
    /// # Safety
    /// [`Guard::can_leave`], and no frame up to [`Guard::run`] owns anything.
    pub(crate) unsafe fn leave(guard: *const Guard) -> ! {
        // SAFETY: by the contract the body is running.
        unsafe { concave_guard_leave((*guard).way_out.load(Ordering::Relaxed)) }
    }
}
