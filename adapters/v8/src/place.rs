//! Where a world is: on a thread of its own, because isolates stay on theirs.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use concave_core::engine::Failure;
use concave_javascript::engine::{Place, Seat};

use crate::process::Snapshots;
use crate::world::{Lifetime, V8World};

/// Native stack of the threads: what V8 uses of it is less, the rest is for what it calls.
const THREAD_STACK: usize = 4 << 20;

type Job = Box<dyn FnOnce(&mut Seat<V8World>) + Send>;

/// A thread with a seat. It ends with this handle, after the work that it has.
pub(crate) struct V8Place {
    /// None if the system has refused the thread.
    jobs: Option<mpsc::Sender<Job>>,
    /// The program and module that calls can begin with at little cost.
    ready_for: Option<(u64, Arc<str>)>,
}

impl V8Place {
    /// Starts a thread.
    pub(crate) fn new(
        name: &str,
        import_time: Duration,
        lifetime: Lifetime,
        snapshots: Arc<Snapshots>,
    ) -> Self {
        let (jobs, arriving) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .stack_size(THREAD_STACK)
            .spawn(move || {
                let mut seat = Seat::new(V8World::new(import_time, lifetime, snapshots));
                loop {
                    let job = arriving.try_recv().or_else(|_| {
                        seat.world().prepare();
                        arriving.recv()
                    });
                    match job {
                        Ok(job) => job(&mut seat),
                        Err(mpsc::RecvError) => return,
                    }
                }
            });
        Self {
            jobs: thread.is_ok().then_some(jobs),
            ready_for: None,
        }
    }
}

impl Place for V8Place {
    type World = V8World;

    fn run<R, Work, After>(mut self, work: Work, after: After)
    where
        R: Send + 'static,
        Work: FnOnce(Result<&mut Seat<V8World>, Failure>) -> R + Send + 'static,
        After: FnOnce(Self, R) + Send + 'static,
    {
        let Some(jobs) = self.jobs.clone() else {
            let failure = Failure::of_server("The server has no thread for another call.");
            let result = work(Err(failure));
            return after(self, result);
        };
        let job: Job = Box::new(move |seat| {
            // Whoever takes it calls it, or drops it.
            let after = Arc::new(Mutex::new(Some(after)));
            let take = |after: &Mutex<Option<After>>| {
                after.lock().unwrap_or_else(PoisonError::into_inner).take()
            };
            let abandoned = after.clone();
            seat.world()
                .set_abandon(Some(Box::new(move || drop(take(&abandoned)))));
            let result = work(Ok(&mut *seat));
            seat.world().set_abandon(None);
            self.ready_for = seat.peek().ready_for();
            // If it is gone, so is this place, and its thread ends.
            if let Some(after) = take(&after) {
                after(self, result);
            }
        });
        // If the thread has ended, so has the place.
        drop(jobs.send(job));
    }

    fn is_ready_for(&self, program: u64, module: &str) -> bool {
        let ready_for = self.ready_for.as_ref();
        ready_for.is_some_and(|(of, path)| *of == program && **path == *module)
    }

    fn release(&mut self) {
        if let Some(jobs) = &self.jobs {
            let job: Job = Box::new(|seat| {
                seat.release();
                seat.world().rest();
            });
            drop(jobs.send(job));
        }
    }
}
