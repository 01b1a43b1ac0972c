//! Ends JavaScript that has used up its time, or that nobody waits for any longer.
//!
//! Each thread that runs JavaScript has an entry here. One thread looks at all of them every few milliseconds, as long
//! as any is running: it reads the running time of theirs, and has V8 end what is over its deadline.
//!
//! V8 looks for that in all JavaScript, but not in some of its own functions, which can be as long as user code likes:
//! `[].indexOf.call({ length: 2 ** 53 - 1 }, 1)`. Nothing ends those. A thread that stays in one is abandoned: its call has
//! failed, its place is given to another thread, and it runs only when nothing else does. So is a thread on which V8 would
//! end the whole process, for want of memory; that one does not run at all any more.

use std::cell::RefCell;
use std::ffi::c_char;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use concave_javascript::engine::Ending;

use crate::limits::Memory;

/// How often is looked.
const TICK: Duration = Duration::from_millis(5);
/// Running time after the deadline at which a thread is abandoned.
const GRACE: Duration = Duration::from_secs(1);
/// Ticks without anything running after which the watchdog sleeps until it is woken.
const IDLE_TICKS: u32 = 200;

/// What the watchdog knows of a thread.
pub(crate) struct Watched {
    clock: ThreadClock,
    thread: libc::pid_t,
    state: Mutex<State>,
}

/// Lets go of whoever waits for an abandoned thread.
pub(crate) type Abandon = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// Whose JavaScript runs, while it does, and its memory.
    running: Option<(v8::IsolateHandle, Arc<Memory>)>,
    /// Running time of the thread at which the turn is over.
    deadline: Duration,
    cancelled: Arc<AtomicBool>,
    /// Why it was ended.
    ending: Option<Ending>,
    /// Running time of the thread when it was.
    ended_at: Option<Duration>,
    /// What is to be done if the thread is abandoned.
    abandon: Option<Abandon>,
}

impl Watched {
    /// An entry for the calling thread; it lasts until it is dropped, which must happen before the thread ends.
    pub(crate) fn new() -> Arc<Self> {
        let watched = Arc::new(Self {
            clock: ThreadClock::of_this_thread(),
            thread: this_thread(),
            state: Mutex::default(),
        });
        lock(&Watchdog::get().threads).push(Arc::downgrade(&watched));
        OWN.set(Arc::downgrade(&watched));
        watched
    }

    /// Sets the bounds of a turn: running time of this thread, and whether anybody waits.
    pub(crate) fn begin_turn(&self, deadline: Duration, cancelled: Arc<AtomicBool>) {
        let mut state = lock(&self.state);
        *state = State {
            deadline,
            cancelled,
            abandon: state.abandon.take(),
            ..State::default()
        };
    }

    /// Says what is to be done if this thread is abandoned.
    pub(crate) fn set_abandon(&self, abandon: Option<Abandon>) {
        lock(&self.state).abandon = abandon;
    }

    /// JavaScript begins to run.
    pub(crate) fn start(&self, isolate: v8::IsolateHandle, memory: &Arc<Memory>) {
        lock(&self.state).running = Some((isolate, memory.clone()));
        Watchdog::get().wake();
    }

    /// JavaScript has stopped running. Tells why, if the watchdog has ended it; from now on it does not.
    pub(crate) fn stop(&self) -> Option<Ending> {
        let mut state = lock(&self.state);
        state.running = None;
        state.ending.clone()
    }

    /// Ends what is over its bounds; gives whether anything runs.
    fn look(&self) -> bool {
        let mut state = lock(&self.state);
        let Some((isolate, memory)) = &state.running else {
            return false;
        };
        memory.look(isolate);
        let time = self.clock.time();
        let ending = if state.cancelled.load(Ordering::Relaxed) {
            Ending::Cancelled
        } else if time > state.deadline {
            Ending::TimedOut
        } else {
            return true;
        };
        // Again at every tick, in case something in between took the first one for its own.
        isolate.terminate_execution();
        let since = *state.ended_at.get_or_insert(time);
        state.ending.get_or_insert(ending);
        if time <= since + GRACE {
            return true;
        }
        let is_abandoned = abandon(
            state,
            "A function stays in a part of V8 that cannot be ended. Its thread is abandoned; it goes on when the machine \
             has nothing else to do. Restart the server to get rid of it.",
        );
        if is_abandoned {
            run_when_idle(self.thread);
        }
        !is_abandoned
    }
}

/// Lets go of whoever waits for the thread, and looks at it no longer. False if nobody waits.
///
/// The state is locked since it was looked at: so the thread is not in another call by now.
fn abandon(mut state: MutexGuard<'_, State>, why: &str) -> bool {
    let Some(abandon) = state.abandon.take() else {
        return false;
    };
    state.running = None;
    drop(state);
    tracing::error!("{why}");
    abandon();
    true
}

thread_local! {
    /// The entry of the thread.
    static OWN: RefCell<Weak<Watched>> = RefCell::default();
}

/// Called by V8 before it ends the process because it wants memory that cannot be had: so much for one array, usually,
/// that no limit was looked at first. If a call waits for this thread, it is the thread that comes to an end.
#[allow(unsafe_code)]
pub(crate) unsafe extern "C" fn out_of_memory(_where: *const c_char, _details: &v8::OomDetails) {
    let own = OWN.with_borrow(Weak::upgrade);
    let is_abandoned = own.is_some_and(|own| {
        abandon(
            lock(&own.state),
            "A function wants more memory than V8 can ask for. Its thread is abandoned, and keeps what memory it has. \
             Restart the server to get rid of it.",
        )
    });
    if is_abandoned {
        loop {
            thread::park();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs while a lock is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that looks.
struct Watchdog {
    threads: Mutex<Vec<Weak<Watched>>>,
    is_asleep: AtomicBool,
    /// Set by the thread itself, before it first sleeps.
    thread: OnceLock<Thread>,
}

impl Watchdog {
    /// The process's own, started by whoever asks first.
    fn get() -> &'static Self {
        static WATCHDOG: Watchdog = Watchdog {
            threads: Mutex::new(Vec::new()),
            is_asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
        };
        static STARTED: Once = Once::new();
        STARTED.call_once(|| {
            thread::Builder::new()
                .name("v8-watchdog".to_owned())
                .spawn(|| WATCHDOG.work())
                .expect("a process that can have no thread runs no JavaScript");
        });
        &WATCHDOG
    }

    /// To be called after something has begun to run.
    fn wake(&self) {
        if self.is_asleep.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn work(&self) {
        self.thread.get_or_init(thread::current);
        let mut idle = 0;
        loop {
            thread::sleep(TICK);
            idle = if self.look() { 0 } else { idle + 1 };
            if idle < IDLE_TICKS {
                continue;
            }
            // Whoever starts after this wakes us. Who started before is seen by one more look.
            self.is_asleep.store(true, Ordering::SeqCst);
            if !self.look() {
                thread::park();
            }
            self.is_asleep.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }

    fn look(&self) -> bool {
        let mut is_running = false;
        lock(&self.threads).retain(|watched| match watched.upgrade() {
            Some(watched) => {
                is_running |= watched.look();
                true
            }
            None => false,
        });
        is_running
    }
}

#[allow(unsafe_code)]
fn this_thread() -> libc::pid_t {
    // SAFETY: always succeeds.
    unsafe { libc::gettid() }
}

/// From now on the thread runs only when no other wants to.
#[allow(unsafe_code)]
fn run_when_idle(thread: libc::pid_t) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is valid. Should the system refuse, the thread goes on as before.
    unsafe { libc::sched_setscheduler(thread, libc::SCHED_IDLE, &raw const parameters) };
}

/// The clock of a thread's running time, as other threads may read it.
struct ThreadClock(libc::clockid_t);

impl ThreadClock {
    #[allow(unsafe_code)]
    fn of_this_thread() -> Self {
        let mut clock = 0;
        // SAFETY: the thread exists, and the pointer is valid.
        let result = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        assert_eq!(result, 0, "threads have clocks");
        Self(clock)
    }

    /// Running time; of a thread that is gone, as much as nobody may use.
    #[allow(unsafe_code)]
    fn time(&self) -> Duration {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the pointer is valid; of a thread that is gone the clock is unknown, which is an error.
        let result = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        if result != 0 {
            return Duration::MAX;
        }
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}
