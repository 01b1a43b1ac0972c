//! Ends JavaScript that stays inside a native function of the engine.
//!
//! QuickJS looks at the clock when it calls functions and jumps backwards, but not in its own loops, and some of those
//! are as long as user code likes: `[].indexOf.call({ length: 2 ** 53 - 1 }, 1)`. So each thread has a timer of its own
//! running time, which goes off some time after the deadline of the turn; its signal handler leaves by the guard.
//!
//! Leaving at any instruction is sound where leaving is sound at all (see [`crate::guard`]), but for one thing: the
//! C library's locks. What QuickJS calls there takes none, apart from local time, whose calls are short: a loop of them
//! is one that QuickJS itself ends, before the timer does.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::Ordering;
use std::time::Duration;

use concave_javascript::engine::thread_time;

use crate::guard::Guard;
use crate::host::Host;

/// How long after the deadline the timer goes off.
const GRACE: Duration = Duration::from_millis(250);
/// Nobody else in the process makes use of this signal.
const SIGNAL: c_int = libc::SIGVTALRM;

thread_local! {
    /// The host whose JavaScript this thread runs.
    static RUNNING: Cell<*mut Host> = const { Cell::new(null_mut()) };
    static TIMER: RefCell<Option<Timer>> = const { RefCell::new(None) };
}

/// Says whose JavaScript this thread runs from now on; null for none's.
pub(crate) fn watch(host: *mut Host) {
    RUNNING.set(host);
}

/// Sets this thread's timer for a turn that ends at `deadline` of the thread's time.
///
/// Where the system has no such timers, native loops are not ended.
pub(crate) fn arm(deadline: Duration) {
    TIMER.with_borrow_mut(|timer| {
        if timer.is_none() {
            *timer = Timer::create();
        }
        if let Some(timer) = timer {
            timer.set(deadline.saturating_sub(thread_time()).saturating_add(GRACE));
        }
    });
}

/// A timer of the running time of the thread that made it.
struct Timer(libc::timer_t);

impl Timer {
    fn create() -> Option<Self> {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: the handler does what a handler may: it looks at its thread's variables and may jump.
            unsafe {
                let mut action: libc::sigaction = zeroed();
                action.sa_sigaction = expired as *const () as usize;
                action.sa_flags = libc::SA_NODEFER | libc::SA_RESTART;
                libc::sigaction(SIGNAL, &raw const action, null_mut());
            }
        });
        // SAFETY: plain system calls with valid pointers.
        unsafe {
            let mut event: libc::sigevent = zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = SIGNAL;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer = zeroed();
            let result = libc::timer_create(
                libc::CLOCK_THREAD_CPUTIME_ID,
                &raw mut event,
                &raw mut timer,
            );
            (result == 0).then_some(Self(timer))
        }
    }

    fn set(&self, time: Duration) {
        // A hundred years is longer than any turn.
        let seconds = time.as_secs().min(100 * 366 * 86400);
        // SAFETY: the timer is ours.
        unsafe {
            let mut spec: libc::itimerspec = zeroed();
            spec.it_value.tv_sec = seconds as i64;
            spec.it_value.tv_nsec = i64::from(time.subsec_nanos());
            // Again and again, in case the first signal comes while a function of ours runs.
            spec.it_interval.tv_nsec = GRACE.as_nanos() as i64;
            libc::timer_settime(self.0, 0, &raw const spec, null_mut());
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is ours.
        unsafe { libc::timer_delete(self.0) };
    }
}

extern "C" fn expired(_: c_int) {
    let host = RUNNING.get();
    if host.is_null() {
        return;
    }
    // SAFETY: whoever says that a host runs keeps it until it says otherwise. Only atomic fields are looked at, since
    // this may interrupt any code of the thread.
    unsafe {
        (*host).expired.store(true, Ordering::Relaxed);
        if (*host).guard.can_leave() {
            Guard::leave(&raw const (*host).guard);
        }
    }
}
