//! Runs functions on QuickJS.
//!
//! Each call sees a pristine world. A world is a JavaScript runtime whose whole heap lies in one arena at a fixed address
//! (`arena`, `heap`). Once the prelude has run and a module of the program is imported, the heap is kept as an image
//! (`world`); every call starts from it. So nothing that JavaScript owns may lie outside of the arena: native functions
//! (`natives`) are plain C functions, which find the state of the call (`host`) through the runtime.
//!
//! A call (`call`) is lent a world (`slots`) from its first turn to its last, and runs turn by turn on a few threads
//! (`workers`), queries and mutations apart from actions and evaluations, which may take long. A call that uses up its
//! time or memory is left by a jump that its code cannot notice (`guard`, `watchdog`).

mod arena;
mod call;
mod concurrency;
mod evaluate;
mod guard;
mod heap;
mod host;
mod js;
mod modules;
mod natives;
mod pagemap;
mod slots;
mod watchdog;
mod workers;
mod world;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concave_core::engine::{
    Evaluation, Execution, Failure, FunctionCall, FunctionEngine, FunctionKind, Observed, Outcome,
    Program, Reply, SyncHost, Turn,
};
use concave_javascript::SourceMaps;
use futures_channel::oneshot;
use futures_util::future::{BoxFuture, FutureExt};
use serde_json::Value as Json;

use crate::call::{Call, Progress};
use crate::slots::{Lease, Slots};
use crate::workers::Workers;
use crate::world::{World, no_memory};

/// How much of the machine the engine may use.
#[derive(Clone, Copy, Debug)]
pub struct QuickJsOptions {
    /// Threads for queries and mutations.
    pub transaction_threads: usize,
    /// Threads for actions, and for evaluating modules at push time.
    pub action_threads: usize,
    /// Queries and mutations under way at the same time, at each depth of nesting; more wait.
    pub transaction_slots: usize,
    /// Actions under way at the same time, at each depth of nesting; more wait.
    pub action_slots: usize,
    /// Bytes of heap images that each slot keeps, so that calls of different modules start quickly.
    pub image_bytes_per_slot: usize,
    /// JavaScript's time for importing a module, and for examining it at push time.
    pub import_time: Duration,
    /// Whether time passes during a call. If not, calls are reproducible to the last timestamp of a log line.
    pub real_time: bool,
}

impl Default for QuickJsOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            transaction_threads: threads,
            action_threads: threads,
            transaction_slots: 32,
            action_slots: 64,
            image_bytes_per_slot: 16 << 20,
            import_time: Duration::from_secs(4),
            real_time: true,
        }
    }
}

/// Calls of one sort: where they run, and how many at a time.
struct Class {
    workers: Workers,
    slots: Arc<Slots>,
}

struct Shared {
    transactions: Class,
    actions: Class,
    maps: SourceMaps,
    options: QuickJsOptions,
}

/// The engine.
pub struct QuickJsEngine {
    shared: Arc<Shared>,
}

impl QuickJsEngine {
    /// Starts the engine's threads. Worlds are made when they are first needed.
    ///
    /// # Errors
    /// If the system refuses a thread.
    ///
    /// # Panics
    /// If a number of threads or slots is zero.
    pub fn new(options: QuickJsOptions) -> io::Result<Arc<Self>> {
        assert!(options.transaction_threads > 0 && options.action_threads > 0);
        Ok(Arc::new(Self {
            shared: Arc::new(Shared {
                transactions: Class {
                    workers: Workers::start("quickjs", options.transaction_threads)?,
                    slots: Slots::new(options.transaction_slots),
                },
                actions: Class {
                    workers: Workers::start("quickjs-action", options.action_threads)?,
                    slots: Slots::new(options.action_slots),
                },
                maps: SourceMaps::default(),
                options,
            }),
        }))
    }
}

impl FunctionEngine for QuickJsEngine {
    fn evaluate(
        &self,
        program: Arc<Program>,
        evaluation: Evaluation,
    ) -> BoxFuture<'static, Result<Json, Failure>> {
        let shared = self.shared.clone();
        async move {
            let (sender, receiver) = oneshot::channel();
            let worker = shared.clone();
            shared.actions.workers.run(move || {
                let result = World::new(0, worker.options.import_time)
                    .map_err(no_memory)
                    .and_then(|mut world| {
                        evaluate::evaluate(&mut world, &program, &evaluation, &worker.maps)
                    });
                // If nobody waits for it any longer, that is all right.
                drop(sender.send(result));
            });
            receiver.await.unwrap_or_else(|_| Err(stopped()))
        }
        .boxed()
    }

    fn start(&self, call: FunctionCall, host: Arc<dyn SyncHost>) -> Box<dyn Execution> {
        Box::new(QuickJsExecution {
            shared: self.shared.clone(),
            kind: call.kind,
            cancelled: Arc::default(),
            stage: Stage::New(Box::new((call, host))),
        })
    }
}

/// A call under way.
struct QuickJsExecution {
    shared: Arc<Shared>,
    kind: FunctionKind,
    cancelled: Arc<AtomicBool>,
    stage: Stage,
}

enum Stage {
    New(Box<(FunctionCall, Arc<dyn SyncHost>)>),
    Waiting(Box<(Lease, Box<Call>)>),
    /// Running on a worker, or over.
    Away,
}

impl Execution for QuickJsExecution {
    fn resume(&mut self, replies: Vec<Reply>) -> BoxFuture<'_, Turn> {
        async move {
            let class = match self.kind {
                FunctionKind::Query | FunctionKind::Mutation => &self.shared.transactions,
                FunctionKind::Action => &self.shared.actions,
            };
            let (sender, receiver) = oneshot::channel();
            let shared = self.shared.clone();
            match std::mem::replace(&mut self.stage, Stage::Away) {
                Stage::New(new) => {
                    let (request, host) = *new;
                    let id = request.program.id;
                    let lease = class
                        .slots
                        .lease(request.depth, |world| world.has_image(id, &request.module))
                        .await;
                    let Some(lease) = lease else {
                        return over(stopped());
                    };
                    let cancelled = self.cancelled.clone();
                    class.workers.run(move || {
                        let done = begin(&shared, lease, request, host, cancelled);
                        drop(sender.send(done));
                    });
                }
                Stage::Waiting(waiting) => {
                    let (lease, call) = *waiting;
                    class.workers.run(move || {
                        let done = resume(&shared, lease, call, &replies);
                        drop(sender.send(done));
                    });
                }
                Stage::Away => return over(Failure::new("The call is over or was abandoned.")),
            }
            match receiver.await {
                Ok((stage, turn)) => {
                    self.stage = stage;
                    turn
                }
                Err(_) => over(stopped()),
            }
        }
        .boxed()
    }
}

impl Drop for QuickJsExecution {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

fn begin(
    shared: &Shared,
    mut lease: Lease,
    request: FunctionCall,
    host: Arc<dyn SyncHost>,
    cancelled: Arc<AtomicBool>,
) -> (Stage, Turn) {
    if lease.world.is_none() {
        match World::new(
            shared.options.image_bytes_per_slot,
            shared.options.import_time,
        ) {
            Ok(world) => lease.world = Some(world),
            Err(error) => return (Stage::Away, over(no_memory(error))),
        }
    }
    let Some(world) = lease.world.as_mut() else {
        return (Stage::Away, over(stopped()));
    };
    let progress = Call::begin(
        world,
        request,
        host,
        cancelled,
        &shared.maps,
        shared.options.real_time,
    );
    after(lease, progress)
}

fn resume(shared: &Shared, mut lease: Lease, call: Box<Call>, replies: &[Reply]) -> (Stage, Turn) {
    let Some(world) = lease.world.as_mut() else {
        return (Stage::Away, over(stopped()));
    };
    let progress = call.resume(world, replies, &shared.maps);
    after(lease, progress)
}

/// Keeps the world if the call goes on, and gives it back otherwise.
fn after(lease: Lease, progress: Progress) -> (Stage, Turn) {
    match progress {
        Progress::Waiting(call, turn) => (Stage::Waiting(Box::new((lease, call))), turn),
        Progress::Done(turn) => (Stage::Away, turn),
    }
}

fn over(failure: Failure) -> Turn {
    Turn::Done(Outcome {
        result: Err(failure),
        logs: Vec::new(),
        observed: Observed::default(),
        cpu: Duration::ZERO,
        memory: 0,
    })
}

fn stopped() -> Failure {
    Failure::new("The server is shutting down.")
}
