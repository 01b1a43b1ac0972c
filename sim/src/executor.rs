//! A deterministic executor: simulated time, seeded order, machines that can be killed.
//!
//! One task runs at a time. Which of those that are ready comes next is drawn from the seed, so that a set of seeds
//! explores interleavings; running takes a little simulated time, and when no task is ready the clock moves to the
//! next timer at once. A [`Node`] is one life of a machine: [`Node::kill`] drops its tasks where they stand, as a
//! crash does.
//!
//! Invariants: time never goes back; futures and wakers are dropped only while the state is not locked, since
//! dropping them may wake others.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use concave_core::Timestamp;
use concave_core::runtime::Runtime;
use fastrand::Rng;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};

/// Wall-clock time at which every simulation begins, nanoseconds since the Unix epoch: early in 2026.
const EPOCH_NS: u64 = 1_770_000_000_000_000_000;
/// Most simulated time that running a task to its next wait takes, in nanoseconds.
const STEP_NS_MAX: u64 = 2_000;
/// Steps after which a world counts as stuck: tasks that only wake each other. Whole worlds take some ten thousand.
const STEPS_MAX: u64 = 3_000_000;
/// Lines of the trace that are kept for reports.
const TRACE_TAIL: usize = 60;

/// Runs tasks; see the module.
pub struct Executor {
    shared: Arc<Shared>,
}

/// One life of a machine. Clones are the same life.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
    id: u64,
    clock: Arc<Mutex<Clock>>,
}

/// The wall clock of a machine, which outlives its lives.
#[derive(Clone, Copy, Default)]
struct Clock {
    /// How far it was ahead of simulated time at `since`, in nanoseconds.
    ahead_ns: i64,
    since: Duration,
    /// How much faster than simulated time it goes from then on.
    drift_ppm: i64,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    now: Duration,
    rng: Rng,
    /// Living machines.
    nodes: BTreeSet<u64>,
    tasks: BTreeMap<u64, Task>,
    ready: Vec<u64>,
    timers: BTreeMap<(Duration, u64), Waker>,
    last_id: u64,
    trace: Trace,
}

struct Task {
    node: u64,
    /// `None` while it runs.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
    queued: bool,
}

/// Everything that happened, as a running hash; the last lines in full.
#[derive(Default)]
struct Trace {
    hash: Sha256,
    tail: std::collections::VecDeque<String>,
    /// Is given everything in full.
    sink: Option<Box<dyn Write + Send>>,
}

/// A world came to a stop: no task can run and no timer is set, or time is up, or it turns in circles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// When.
    pub at: Duration,
}

impl Executor {
    /// An executor whose choices follow from `rng`.
    pub fn new(rng: Rng) -> Self {
        let state = State {
            now: Duration::ZERO,
            rng,
            nodes: BTreeSet::new(),
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            timers: BTreeMap::new(),
            last_id: 0,
            trace: Trace::default(),
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
            }),
        }
    }

    /// A new machine, whose wall clock is ahead by so many nanoseconds.
    pub fn node(&self, clock_ahead_ns: i64) -> Node {
        self.shared.node(Clock::ahead(clock_ahead_ns))
    }

    /// Runs until `main`, a task of `node`, completes.
    ///
    /// # Errors
    /// If nothing can run any more, or `main` takes longer than `limit` or too many steps.
    pub fn run<T: Send + 'static>(
        &self,
        node: &Node,
        limit: Duration,
        main: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Stuck> {
        let output = Arc::new(Mutex::new(None));
        let slot = output.clone();
        node.spawn(Box::pin(async move {
            let value = main.await;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        }));
        let mut steps = 0;
        loop {
            let running = self.shared.step(limit) && steps < STEPS_MAX;
            steps += 1;
            let done = output.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(value) = done {
                return Ok(value);
            }
            if !running {
                let at = self.shared.lock().now;
                return Err(Stuck { at });
            }
        }
    }

    /// The hash of everything that happened so far: equal for two runs of one seed.
    pub fn trace_hash(&self) -> String {
        let hash = self.shared.lock().trace.hash.clone().finalize();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// From now on everything that happens is written to `sink`, a line each.
    pub fn write_trace(&self, sink: Box<dyn Write + Send>) {
        self.shared.lock().trace.sink = Some(sink);
    }

    /// The last things that happened.
    pub fn trace_tail(&self) -> Vec<String> {
        self.shared.lock().trace.tail.iter().cloned().collect()
    }

    /// Leaks all tasks, after a panic: dropping what it left half done could panic again.
    pub fn abandon(&self) {
        std::mem::forget(std::mem::take(&mut self.shared.lock().tasks));
    }

    /// Simulated time since the start.
    pub fn elapsed(&self) -> Duration {
        self.shared.lock().now
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // Tasks hold the shared state and it holds them.
        let tasks = std::mem::take(&mut self.shared.lock().tasks);
        drop(tasks);
    }
}

impl Node {
    /// A machine beside this one.
    pub fn sibling(&self, clock_ahead_ns: i64) -> Node {
        self.shared.node(Clock::ahead(clock_ahead_ns))
    }

    /// Another life of this machine, whose clock it shares.
    pub fn another_life(&self) -> Node {
        self.shared.node(self.clock.clone())
    }

    /// Ends this life: every task of it is dropped where it stands, and new ones do not start.
    pub fn kill(&self) {
        let (dead, living);
        {
            let mut state = self.shared.lock();
            state.nodes.remove(&self.id);
            (dead, living) = std::mem::take(&mut state.tasks)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(_, task)| task.node == self.id);
            state.tasks = living;
            state.ready.retain(|task| !dead.contains_key(task));
        }
        let mut dead = dead.into_values();
        while let Some(task) = dead.next() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(task))) {
                // The others may stumble over the same damage, and a second panic would end the process.
                std::mem::forget(dead);
                resume_unwind(panic);
            }
        }
    }

    /// Whether this life goes on.
    pub fn is_alive(&self) -> bool {
        self.shared.lock().nodes.contains(&self.id)
    }

    /// How many tasks of this life have not ended.
    pub fn tasks(&self) -> usize {
        let state = self.shared.lock();
        state
            .tasks
            .values()
            .filter(|task| task.node == self.id)
            .count()
    }

    /// Moves this machine's wall clock.
    pub fn jump_clock(&self, by_ns: i64) {
        self.clock().ahead_ns += by_ns;
    }

    /// From now on this machine's wall clock goes faster than simulated time, by so many parts of a million; or slower.
    pub fn drift_clock(&self, drift_ppm: i64) {
        assert!(drift_ppm > -1_000_000, "this would stop the clock");
        let now = self.monotonic();
        let mut clock = self.clock();
        *clock = Clock {
            ahead_ns: clock.ahead_ns_at(now),
            since: now,
            drift_ppm,
        };
    }

    fn clock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line to the trace. The time is added here.
    pub fn trace(&self, line: impl AsRef<str>) {
        let mut state = self.shared.lock();
        let line = format!("{:?} {}", state.now, line.as_ref());
        state.trace.line(line);
    }
}

impl Clock {
    fn ahead(ahead_ns: i64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            ahead_ns,
            ..Self::default()
        }))
    }

    fn ahead_ns_at(&self, now: Duration) -> i64 {
        let elapsed_ns = i64::try_from((now - self.since).as_nanos());
        // In microseconds first: drift times nanoseconds would overflow after an hour.
        let drift_ns = elapsed_ns.expect("simulations are short") / 1_000 * self.drift_ppm / 1_000;
        self.ahead_ns + drift_ns
    }
}

impl Runtime for Node {
    fn now(&self) -> Timestamp {
        let now = self.monotonic();
        let ahead_ns = self.clock().ahead_ns_at(now);
        let elapsed = u64::try_from(now.as_nanos()).expect("simulations are short");
        Timestamp((EPOCH_NS + elapsed).saturating_add_signed(ahead_ns))
    }

    fn monotonic(&self) -> Duration {
        self.shared.lock().now
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let deadline = self.shared.lock().now + duration;
        Box::pin(Sleep {
            shared: self.shared.clone(),
            deadline,
            timer: None,
        })
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let mut state = self.shared.lock();
        if !state.nodes.contains(&self.id) {
            drop(state);
            drop(task);
            return;
        }
        let id = state.fresh_id();
        let waker = Waker::from(Arc::new(TaskWaker {
            shared: Arc::downgrade(&self.shared),
            task: id,
        }));
        let task = Task {
            node: self.id,
            future: Some(task),
            waker,
            queued: true,
        };
        state.tasks.insert(id, task);
        state.ready.push(id);
    }

    fn entropy(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.shared.lock().rng.fill(&mut bytes);
        bytes
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a task ends the run and is reported; what is left is only dropped.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(self: &Arc<Self>, clock: Arc<Mutex<Clock>>) -> Node {
        let mut state = self.lock();
        let id = state.fresh_id();
        state.nodes.insert(id);
        Node {
            shared: self.clone(),
            id,
            clock,
        }
    }

    /// Runs one ready task to its next wait, or moves time to the next timer. `false` if neither is possible
    /// before `limit`.
    fn step(&self, limit: Duration) -> bool {
        let mut state = self.lock();
        if state.now >= limit {
            return false;
        }
        let state_ref = &mut *state;
        let idle = state_ref.ready.is_empty();
        let timer = state_ref.timers.first_entry();
        if let Some(timer) = timer
            && (idle || timer.key().0 <= state_ref.now)
        {
            let ((deadline, _), waker) = timer.remove_entry();
            state_ref.now = state_ref.now.max(deadline);
            drop(state);
            waker.wake();
            return true;
        }
        if idle {
            return false;
        }
        let count = state.ready.len();
        let chosen = state.rng.usize(..count);
        let id = state.ready.swap_remove(chosen);
        let step = state.rng.u64(1..=STEP_NS_MAX);
        state.now += Duration::from_nanos(step);
        let now = state.now;
        state.trace.step(now, id);
        let task = state.tasks.get_mut(&id).expect("ready tasks exist");
        task.queued = false;
        let mut future = task.future.take().expect("ready tasks do not run");
        let waker = task.waker.clone();
        drop(state);

        let mut context = Context::from_waker(&waker);
        let poll = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        let poll = match poll {
            Ok(poll) => poll,
            Err(panic) => {
                // What a panic left half done may panic again when it is dropped, which would end the process.
                std::mem::forget(future);
                resume_unwind(panic)
            }
        };
        let mut state = self.lock();
        let ended = match (poll, state.tasks.get_mut(&id)) {
            (Poll::Pending, Some(task)) => {
                task.future = Some(future);
                return true;
            }
            // It was killed while it ran, or is done.
            (_, _) => state.tasks.remove(&id),
        };
        if ended.as_ref().is_some_and(|task| task.queued) {
            state.ready.retain(|ready| *ready != id);
        }
        drop(state);
        drop(ended);
        true
    }
}

impl State {
    fn fresh_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Trace {
    fn step(&mut self, now: Duration, task: u64) {
        self.hash.update(now.as_nanos().to_le_bytes());
        self.hash.update(task.to_le_bytes());
        self.write(format_args!("{now:?} task {task}"));
    }

    fn line(&mut self, line: String) {
        self.hash.update(line.as_bytes());
        self.write(format_args!("{line}"));
        if self.tail.len() == TRACE_TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    fn write(&mut self, line: fmt::Arguments<'_>) {
        if let Some(sink) = &mut self.sink {
            writeln!(sink, "{line}").expect("the trace can be written");
        }
    }
}

struct TaskWaker {
    shared: Weak<Shared>,
    task: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let mut state = shared.lock();
        if let Some(task) = state.tasks.get_mut(&self.task)
            && !task.queued
        {
            task.queued = true;
            state.ready.push(self.task);
        }
    }
}

struct Sleep {
    shared: Arc<Shared>,
    deadline: Duration,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        if state.now >= this.deadline {
            return Poll::Ready(());
        }
        let timer = match this.timer {
            Some(timer) => timer,
            None => *this.timer.insert(state.fresh_id()),
        };
        let old = state
            .timers
            .insert((this.deadline, timer), context.waker().clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let waker = self.shared.lock().timers.remove(&(self.deadline, timer));
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_channel::{mpsc, oneshot};
    use futures_util::StreamExt;

    use super::*;

    fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        seed: u64,
        main: impl FnOnce(Node) -> F,
    ) -> (Result<T, Stuck>, String) {
        let executor = Executor::new(Rng::with_seed(seed));
        let node = executor.node(0);
        let result = executor.run(&node, Duration::from_secs(3600), main(node.clone()));
        (result, executor.trace_hash())
    }

    /// The order in which three tasks that are ready at once run.
    fn order(seed: u64) -> (Vec<u32>, String) {
        let (result, hash) = run(seed, |node| async move {
            let (sender, receiver) = mpsc::unbounded();
            for n in 0..3 {
                let sender = sender.clone();
                node.spawn(Box::pin(async move { sender.unbounded_send(n).unwrap() }));
            }
            drop(sender);
            receiver.collect::<Vec<_>>().await
        });
        (result.unwrap(), hash)
    }

    #[test]
    fn order_follows_from_the_seed() {
        let orders: BTreeSet<_> = (0..50).map(|seed| order(seed).0).collect();
        assert_eq!(orders.len(), 6, "every order comes up");
        assert_eq!(order(7), order(7));
    }

    #[test]
    fn sleeping_takes_simulated_time_only() {
        let (result, _) = run(1, |node| async move {
            let before = node.monotonic();
            node.sleep(Duration::from_secs(1800)).await;
            node.monotonic() - before
        });
        let slept = result.unwrap();
        assert!(slept >= Duration::from_secs(1800) && slept < Duration::from_secs(1801));
    }

    #[test]
    fn clocks_jump_and_drift_over_lives() {
        let (result, _) = run(1, |node| async move {
            let machine = node.sibling(5);
            let begun = machine.now();
            machine.drift_clock(500_000);
            node.sleep(Duration::from_secs(2)).await;
            machine.drift_clock(-250_000);
            machine.jump_clock(7);
            machine.kill();
            let life = machine.another_life();
            node.sleep(Duration::from_secs(2)).await;
            (begun, life.now(), node.monotonic())
        });
        let (begun, now, elapsed) = result.unwrap();
        let expected = 4_500_000_000 + 5 + 7;
        let slack = 2 * u64::try_from(elapsed.as_nanos() - 4_000_000_000).unwrap() + 2_000;
        assert!(begun.0 < EPOCH_NS + 5 + slack);
        assert!(now.0.abs_diff(EPOCH_NS + expected) < slack, "{now:?}");
    }

    #[test]
    fn a_killed_machine_answers_nobody() {
        let (result, _) = run(1, |node| async move {
            let server = node.sibling(5);
            let (sender, receiver) = oneshot::channel();
            let clock = server.clone();
            server.spawn(Box::pin(async move {
                clock.sleep(Duration::from_secs(1)).await;
                let _ = sender.send(());
            }));
            node.sleep(Duration::from_millis(500)).await;
            server.kill();
            let answer = receiver.await;
            server.spawn(Box::pin(async { panic!("the dead do not start") }));
            node.sleep(Duration::from_secs(2)).await;
            answer
        });
        assert_eq!(result.unwrap(), Err(oneshot::Canceled));
    }

    #[test]
    fn a_world_that_waits_for_nothing_is_stuck() {
        let (result, _) = run(1, |_| futures_util::future::pending::<()>());
        assert!(result.is_err());
        let (result, _) = run(1, |node| async move {
            node.sleep(Duration::from_secs(7200)).await;
            node.sleep(Duration::from_secs(1)).await;
        });
        assert!(result.is_err());
    }
}
