//! An engine is made of worlds: what one offers is a [`World`], and the rest is here, the same for every engine.
//!
//! A call ([`call`]) is lent a place ([`slots`]) from its first turn to its last; in the place is a [`Seat`], which is a
//! world and the call under way in it. Where worlds are and on which threads they run is the business of each engine's
//! [`Place`].

mod call;
mod evaluate;
mod host;
mod seat;
mod slots;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use concave_core::engine::{
    Cause, Evaluation, Execution, Failure, FunctionCall, FunctionEngine, FunctionKind, Observed,
    Outcome, Program, Reply, SyncHost, Turn,
};
use futures_channel::oneshot;
use futures_util::future::{BoxFuture, FutureExt};
use serde_json::Value as Json;

use self::slots::{Lease, Slots};
use crate::SourceMaps;

pub use host::{CallHost, Ending};
pub use seat::{Place, Seat};
pub use world::{Argument, Bounds, Completion, Entry, Settled, World, import};

/// A place that was not used for so many periods of [`FunctionEngine::rest`], which are some seconds long, goes.
const IDLE_PERIODS: u64 = 6;

/// Makes the places of a class of calls.
pub type MakePlace<P> = Box<dyn Fn() -> P + Send + Sync>;

/// Calls of one sort: where they run, and how many at a time.
struct Class<P: Place> {
    slots: Arc<Slots<P>>,
    make: MakePlace<P>,
}

struct Shared<P: Place> {
    transactions: Class<P>,
    actions: Class<P>,
    maps: Arc<SourceMaps>,
    real_time: bool,
}

/// How many calls an engine runs at a time.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// Queries and mutations under way at the same time, at each depth of nesting; more wait.
    pub transaction_slots: usize,
    /// Actions under way at the same time, at each depth of nesting; more wait.
    pub action_slots: usize,
    /// Whether time passes during a call. If not, calls are reproducible to the last timestamp of a log line.
    pub real_time: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            transaction_slots: 32,
            action_slots: 64,
            real_time: true,
        }
    }
}

/// An engine on some kind of place.
pub struct Engine<P: Place> {
    shared: Arc<Shared<P>>,
}

impl<P: Place> Engine<P> {
    /// An engine with places for transactions, and others for actions and for evaluating modules at push time, which
    /// may take long.
    ///
    /// # Panics
    /// If a number of slots is zero.
    pub fn new(
        options: EngineOptions,
        transaction_place: MakePlace<P>,
        action_place: MakePlace<P>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                transactions: Class {
                    slots: Slots::new(options.transaction_slots),
                    make: transaction_place,
                },
                actions: Class {
                    slots: Slots::new(options.action_slots),
                    make: action_place,
                },
                maps: Arc::new(SourceMaps::new(P::World::COLUMNS)),
                real_time: options.real_time,
            }),
        }
    }
}

impl<P: Place> FunctionEngine for Engine<P> {
    fn evaluate(
        &self,
        program: Arc<Program>,
        evaluation: Evaluation,
    ) -> BoxFuture<'static, Result<Json, Failure>> {
        let shared = self.shared.clone();
        async move {
            let (sender, receiver) = oneshot::channel();
            // A world of its own, which is then thrown away.
            let place = (shared.actions.make)();
            place.run(
                move |seat| {
                    seat.and_then(|seat| seat.evaluate(&program, &evaluation, &shared.maps))
                },
                // If nobody waits for it any longer, that is all right.
                move |_, result| drop(sender.send(result)),
            );
            receiver.await.unwrap_or_else(|_| Err(stopped()))
        }
        .boxed()
    }

    fn rest(&self) {
        self.shared.transactions.slots.rest(IDLE_PERIODS);
        self.shared.actions.slots.rest(IDLE_PERIODS);
    }

    fn start(&self, call: FunctionCall, host: Arc<dyn SyncHost>) -> Box<dyn Execution> {
        Box::new(EngineExecution {
            shared: self.shared.clone(),
            cancelled: Arc::default(),
            stage: Stage::New(Box::new((call, host))),
        })
    }
}

/// A call under way.
struct EngineExecution<P: Place> {
    shared: Arc<Shared<P>>,
    cancelled: Arc<AtomicBool>,
    stage: Stage<P>,
}

enum Stage<P: Place> {
    New(Box<(FunctionCall, Arc<dyn SyncHost>)>),
    Waiting(Lease<P>),
    /// Running, or over.
    Away,
}

impl<P: Place> Execution for EngineExecution<P> {
    fn resume(&mut self, replies: Vec<Reply>) -> BoxFuture<'_, Turn> {
        async move {
            let shared = self.shared.clone();
            let ran = match std::mem::replace(&mut self.stage, Stage::Away) {
                Stage::New(new) => {
                    let (request, host) = *new;
                    let class = match request.kind {
                        FunctionKind::Query | FunctionKind::Mutation => &shared.transactions,
                        FunctionKind::Action => &shared.actions,
                    };
                    let (depth, id) = (request.depth, request.program.id);
                    let suits = |place: &P| place.is_ready_for(id, &request.module);
                    let Some(mut lease) = class.slots.lease(depth, suits).await else {
                        return over(stopped());
                    };
                    lease.place.get_or_insert_with(&class.make);
                    let cancelled = self.cancelled.clone();
                    run(lease, move |seat| {
                        seat.begin(request, host, cancelled, &shared.maps, shared.real_time)
                    })
                }
                Stage::Waiting(lease) => {
                    run(lease, move |seat| seat.resume(&replies, &shared.maps))
                }
                Stage::Away => return over(Failure::new("The call is over or was abandoned.")),
            };
            match ran.await {
                Ok((lease, turn)) => {
                    if matches!(turn, Turn::Waiting(_)) {
                        self.stage = Stage::Waiting(lease);
                    }
                    turn
                }
                Err(oneshot::Canceled) => over(lost()),
            }
        }
        .boxed()
    }
}

impl<P: Place> Drop for EngineExecution<P> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Runs a turn where the lease's place is. The lease travels along: if nobody waits for the turn any longer, it is given
/// back when the turn ends, not before.
fn run<P: Place>(
    mut lease: Lease<P>,
    turn: impl FnOnce(&mut Seat<P::World>) -> Turn + Send + 'static,
) -> oneshot::Receiver<(Lease<P>, Turn)> {
    let (sender, receiver) = oneshot::channel();
    if let Some(place) = lease.place.take() {
        place.run(
            |seat| seat.map_or_else(over, turn),
            move |place, turn| {
                lease.place = Some(place);
                drop(sender.send((lease, turn)));
            },
        );
    }
    receiver
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
    Failure::of_server("The server is shutting down.")
}

fn lost() -> Failure {
    let message = "The function was ended: it did not stop when its time was up, or the server is shutting down.";
    Failure {
        cause: Cause::Time,
        ..Failure::new(message)
    }
}

/// Time that the calling thread has spent running.
#[allow(unsafe_code)]
pub fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is valid; the clock exists on every Linux.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "threads have clocks");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
