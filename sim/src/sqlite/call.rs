//! Synchronous code that waits in simulated time.
//!
//! SQLite asks for a page and wants it now; in a world, reading takes time, others go on meanwhile, and the machine may
//! be killed before it comes. So each call into SQLite runs on a stack of its own: where the disk takes time the stack
//! is put aside ([`sleep`]), and the call, which to the world is a future, waits. Interleavings of readers, the writer
//! and checkpoints, and crashes in the middle of them, come from this.
//!
//! A call that is dropped before its end (its machine was killed, or nobody wants the answer) runs on to its end at
//! once, without waiting: the stack holds frames of C, which cannot be unwound. On a killed machine every operation
//! fails without touching the disk, so that this changes nothing.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use concave_core::runtime::Runtime;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::machine::Machine;

/// Bytes of a call's stack. The parser is SQLite's deepest part, and not deep for statements as small as ours.
const STACK_BYTES: usize = 256 << 10;
/// Stacks that a thread keeps for later calls.
const STACKS_KEPT: usize = 16;

/// Why a call goes on.
enum Resume {
    /// It is polled.
    Poll(Waker),
    /// It is dropped, and must come to its end.
    Finish,
}

/// What a call waits for.
enum Wait {
    /// To be woken.
    Wake,
    /// Time.
    Time(Duration),
}

thread_local! {
    /// The machine whose SQLite runs on this thread now.
    static MACHINE: RefCell<Option<Arc<Machine>>> = const { RefCell::new(None) };
    /// How the call that runs on this thread now can wait, if it can.
    static YIELDER: Cell<Option<NonNull<Yielder<Resume, Wait>>>> = const { Cell::new(None) };
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// The machine whose SQLite runs now.
pub(super) fn current_machine() -> Option<Arc<Machine>> {
    MACHINE.with_borrow(Clone::clone)
}

/// Runs `work`, which calls SQLite, on a machine, without waiting.
pub(super) fn on<T>(machine: &Arc<Machine>, work: impl FnOnce() -> T) -> T {
    let _restore = Restore::enter(machine);
    YIELDER.set(None);
    work()
}

/// Waits, if the code that runs now can.
pub(super) fn sleep(duration: Duration) {
    let Some(yielder) = YIELDER.get() else {
        return;
    };
    if duration.is_zero() {
        return;
    }
    // SAFETY: it is set only while the coroutine that owns it runs, which is still here.
    let resume = unsafe { yielder.as_ref() }.suspend(Wait::Time(duration));
    YIELDER.set(match resume {
        Resume::Poll(_) => Some(yielder),
        Resume::Finish => None,
    });
}

/// Which thread this is: no two that live have their variables at the same place.
fn thread() -> usize {
    YIELDER.with(|own| std::ptr::from_ref(own).addr())
}

/// Puts back who ran before.
struct Restore {
    machine: Option<Arc<Machine>>,
    yielder: Option<NonNull<Yielder<Resume, Wait>>>,
}

impl Restore {
    fn enter(machine: &Arc<Machine>) -> Self {
        Self {
            machine: MACHINE.replace(Some(machine.clone())),
            yielder: YIELDER.get(),
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        MACHINE.set(self.machine.take());
        YIELDER.set(self.yielder);
    }
}

/// A future whose polls may wait in the middle.
pub(super) struct Call<T> {
    machine: Arc<Machine>,
    /// Where it was made; see [`thread`].
    thread: usize,
    /// `None` once it has come to its end. Its answer is `None` if it was dropped while it waited to be woken.
    coroutine: Option<Coroutine<Resume, Wait, Option<T>>>,
    sleep: Option<BoxFuture<'static, ()>>,
}

// SAFETY: what is on its stack may not be used by another thread, and is not: `resume` and `drop`, which are all that
// touch it, see to it that they run on the thread that made it. What it is made from and what it answers is `Send`.
unsafe impl<T: Send> Send for Call<T> {}

impl<T: Send + 'static> Call<T> {
    /// A call on a machine, for futures that run SQLite when they are polled.
    pub(super) fn new(
        machine: Arc<Machine>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        let kept = STACKS.with_borrow_mut(Vec::pop);
        let stack = kept.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("memory is left"));
        let coroutine = Coroutine::with_stack(stack, |yielder, mut resume| {
            let mut work = pin!(work);
            loop {
                let Resume::Poll(waker) = resume else {
                    return None;
                };
                YIELDER.set(Some(NonNull::from(yielder)));
                match work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(answer) => return Some(answer),
                    Poll::Pending if YIELDER.get().is_none() => return None,
                    Poll::Pending => resume = yielder.suspend(Wait::Wake),
                }
            }
        });
        Self {
            machine,
            thread: thread(),
            coroutine: Some(coroutine),
            sleep: None,
        }
    }

    /// Runs on to the next wait, or to the end with its answer.
    fn resume(&mut self, resume: Resume) -> Result<Wait, Option<T>> {
        assert_eq!(thread(), self.thread, "worlds keep to a thread");
        let _restore = Restore::enter(&self.machine);
        let coroutine = self.coroutine.as_mut().expect("it has not ended");
        match coroutine.resume(resume) {
            CoroutineResult::Yield(wait) => Ok(wait),
            CoroutineResult::Return(answer) => {
                let ended = self.coroutine.take().expect("it ran just now");
                keep_stack(ended.into_stack());
                Err(answer)
            }
        }
    }
}

fn keep_stack(stack: DefaultStack) {
    STACKS.with_borrow_mut(|stacks| {
        if stacks.len() < STACKS_KEPT {
            stacks.push(stack);
        }
    });
}

impl<T: Send + 'static> Future for Call<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        loop {
            if let Some(sleep) = &mut this.sleep {
                ready!(sleep.poll_unpin(context));
                this.sleep = None;
            }
            match this.resume(Resume::Poll(context.waker().clone())) {
                Ok(Wait::Time(duration)) => this.sleep = Some(this.machine.node.sleep(duration)),
                Ok(Wait::Wake) => return Poll::Pending,
                Err(answer) => {
                    return Poll::Ready(answer.expect("it was not told to finish"));
                }
            }
        }
    }
}

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        let Some(mut coroutine) = self.coroutine.take() else {
            return;
        };
        if thread() != self.thread {
            std::mem::forget(coroutine);
            panic!("a call was dropped on another thread");
        }
        let _restore = Restore::enter(&self.machine);
        if coroutine.started() && !coroutine.done() {
            let end = coroutine.resume(Resume::Finish);
            assert!(
                matches!(end, CoroutineResult::Return(_)),
                "a call that is told to finish does not wait"
            );
        }
        if coroutine.done() {
            keep_stack(coroutine.into_stack());
        } else {
            // It never began.
            drop(coroutine);
        }
    }
}
