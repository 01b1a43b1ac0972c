//! A world from a seed: build it, disturb it, heal it, judge it.
//!
//! Two phases, after TigerBeetle's simulator. *Safety*: clients work while faults strike; nothing wrong may be seen.
//! *Liveness*: the faults end, and a few transactions must finish. Then the server starts once more from its disk,
//! and the oracle compares its log with everything that anyone saw.

use std::any::Any;
use std::fmt;
use std::io::Write;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use concave_core::planted;
use concave_core::runtime::Runtime;
use concave_core::{ErrorClass, Timestamp};
use fastrand::Rng;
use futures_channel::oneshot;

use crate::disk::{Disk, Strike};
use crate::elle;
use crate::executor::{Executor, Node};
use crate::history::History;
use crate::oracle;
use crate::report::{Ending, Fault, Operation, Report};
use crate::server::{Refusal, Server};
use crate::sessions;
use crate::settings::{Kind, Settings};
use crate::workload::{COUNTERS, Fixtures, Plan};

/// Simulated time within which a world must come to its end.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// Attempts of one operation before a client gives it up, while faults strike.
const ATTEMPTS_MAX: usize = 8;
/// Attempts within which an operation must succeed in a healthy world with one client.
const HEALTHY_ATTEMPTS_MAX: usize = 3;
/// How long a client waits before it looks again for a server that was down.
const RECONNECT: Duration = Duration::from_millis(2);
/// How many quarters of a disk operation a crash waits for an unsynced write.
const UNSYNCED_WAITS: u32 = 100;
/// Furthest that the server's clock jumps at once, in nanoseconds.
const CLOCK_JUMP_NS_MAX: i64 = 120 * 1_000_000_000;
/// How much faster or slower than real time the server's clock goes, in parts of a million.
const CLOCK_DRIFTS_PPM: Range<i64> = -900_000..1_000_000;
/// A crash during recovery hits one of so many operations of the disk.
const RECOVERY_OPERATIONS: u64 = 16;

/// A world that ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// What it did.
    pub report: Report,
    /// Hash of everything that happened, in order.
    pub trace: String,
    /// What happened to its lists, for another judge.
    pub lists: Vec<elle::Entry>,
}

/// A world in which something was wrong, with all that is needed to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was wrong.
    pub what: String,
    /// What the seed drew.
    pub settings: Settings,
    /// What happened last.
    pub trace_tail: Vec<String>,
    /// Counts up to then.
    pub report: Report,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.settings.seed;
        writeln!(f, "seed {seed}: {}", self.what)?;
        writeln!(f, "\n{:#?}\n\n{}\n", self.settings, self.report)?;
        for line in &self.trace_tail {
            writeln!(f, "  {line}")?;
        }
        let what = self.what.lines().next().unwrap_or_default();
        let mut with = self.settings.restrictions_text();
        if !with.is_empty() {
            with = format!("SIM_WITH={with} ");
        }
        write!(
            f,
            "\nseed {seed}: {what}\nreplay: SIM_SEED={seed} {with}cargo test -p sim --test seeds"
        )
    }
}

/// Runs the world of a seed to its end.
///
/// # Errors
/// If anything was wrong: a wrong answer, a lost write, a panic in the core, no end.
pub fn run(seed: u64) -> Result<Success, Box<Failure>> {
    run_with(Settings::draw(seed), None)
}

/// Runs a world with these settings to its end, on a thread of its own: nothing that other worlds have left in
/// thread-local variables is there. `trace` is given every line of the trace.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    settings: Settings,
    trace: Option<Box<dyn Write + Send>>,
) -> Result<Success, Box<Failure>> {
    let thread = thread::Builder::new().name(format!("world {}", settings.seed));
    let bug = planted::active();
    let world = thread.spawn(move || planted::with(bug, || run_here(settings, trace)));
    let world = world.expect("the system has one more thread");
    world.join().expect("panics of the world were caught")
}

fn run_here(
    settings: Settings,
    trace: Option<Box<dyn Write + Send>>,
) -> Result<Success, Box<Failure>> {
    let mut rng = Rng::with_seed(settings.seed ^ 0x00c0_ffee);
    let executor = Executor::new(rng.fork());
    if let Some(trace) = trace {
        executor.write_trace(trace);
    }
    let supervisor = executor.node(0);
    let world = World::new(settings.clone(), supervisor.clone(), rng);
    let report = world.report.clone();
    let disk = world.disk.clone();
    let history = world.history.clone();
    let main = async move { world.live().await };
    let result = catch_unwind(AssertUnwindSafe(|| executor.run(&supervisor, LIMIT, main)));
    let mut report = report
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    report.worlds = 1;
    report.simulated = executor.elapsed();
    report.add(&disk.report());
    let what = match result {
        Ok(Ok(Ok(()))) => {
            return Ok(Success {
                report,
                trace: executor.trace_hash(),
                lists: elle::from_attempts(&history.attempts(), COUNTERS),
            });
        }
        Ok(Ok(Err(what))) => what,
        Ok(Err(stuck)) => format!("nothing moves any more at {:?}", stuck.at),
        Err(panic) => {
            executor.abandon();
            format!("panic: {}", panic_text(&*panic))
        }
    };
    Err(Box::new(Failure {
        what,
        settings,
        trace_tail: executor.trace_tail(),
        report,
    }))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "without a message".into())
}

#[derive(Clone)]
struct World {
    settings: Settings,
    supervisor: Node,
    disk: Disk,
    server: Server,
    history: History,
    report: Arc<Mutex<Report>>,
    /// Set when the clients are done: the disturbances end.
    calm: Arc<AtomicBool>,
    rng: Rng,
}

impl World {
    fn new(settings: Settings, supervisor: Node, mut rng: Rng) -> Self {
        let disk = Disk::new(rng.fork(), settings.disk_latency);
        let history = History::default();
        Self {
            server: Server::new(
                supervisor.clone(),
                disk.clone(),
                settings.sqlite,
                settings.retention(),
                history.clone(),
            ),
            settings,
            supervisor,
            disk,
            history,
            report: Arc::default(),
            calm: Arc::default(),
            rng,
        }
    }

    async fn live(mut self) -> Result<(), String> {
        if self.settings.kind == Kind::Sessions {
            let sessions = sessions::world::World::new(
                self.settings,
                self.supervisor,
                self.disk,
                self.report,
                &mut self.rng,
            );
            return sessions.live(self.rng).await;
        }
        self.server
            .start()
            .await
            .map_err(|error| format!("a new database does not open: {error}"))?;
        let reply = self
            .server
            .set_up()
            .await
            .map_err(|refusal| format!("the fixtures could not be created: {refusal:?}"))?;
        let fixtures = reply.fixtures.unwrap_or_default();

        self.disk.set_faults(Some(self.settings.clone()));
        let mut done = Vec::new();
        for _ in 0..self.settings.clients {
            let client = Client {
                seen: vec![reply.ts],
                remembered: Vec::new(),
                fixtures: fixtures.clone(),
                rng: self.rng.fork(),
                world: self.clone(),
            };
            done.push(self.spawn(client.work()));
        }
        let disturber = self.clone().disturb(self.rng.fork());
        let disturber = self.spawn(disturber);
        for client in done {
            client.await.map_err(|_| "a client has vanished")?;
        }
        self.calm.store(true, Ordering::Relaxed);
        disturber.await.map_err(|_| "the disturber has vanished")?;

        self.disk.set_faults(None);
        self.finish_in_peace(fixtures).await?;
        self.judge().await
    }

    /// Runs a task beside this one; the receiver is told when it is done.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.supervisor.spawn(Box::pin(async move {
            task.await;
            // The receiver may have given up the whole world.
            let _ = sender.send(());
        }));
        receiver
    }

    fn count(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Crashes the server, replaces it and moves its clock now and then, until the clients are done. Leaves one running.
    async fn disturb(self, mut rng: Rng) {
        let kinds = [
            Fault::Crash,
            Fault::ProcessKilled,
            Fault::TwoWriters,
            Fault::ClockForward,
            Fault::ClockBack,
            Fault::ClockDrift,
        ];
        while !self.calm.load(Ordering::Relaxed) {
            let pause = self.settings.disturbance.mul_f64(2.0 * rng.f64());
            self.supervisor.sleep(pause).await;
            let fault = kinds[rng.usize(..kinds.len())];
            if self.settings.chance(fault) == 0.0 {
                continue;
            }
            // SQLite keeps a second server out, and its connections do not end without closing.
            let of_servers = matches!(fault, Fault::ProcessKilled | Fault::TwoWriters);
            if of_servers && self.settings.sqlite.is_some() {
                continue;
            }
            self.count(|report| report.strike(fault));
            match fault {
                Fault::ClockForward => self.server.jump_clock(rng.i64(0..CLOCK_JUMP_NS_MAX)),
                Fault::ClockBack => self.server.jump_clock(-rng.i64(0..CLOCK_JUMP_NS_MAX)),
                Fault::ClockDrift => self.server.drift_clock(rng.i64(CLOCK_DRIFTS_PPM)),
                Fault::TwoWriters => self.take_over(&mut rng).await,
                _ => self.restart(&mut rng, fault == Fault::Crash).await,
            }
        }
    }

    async fn restart(&self, rng: &mut Rng, is_crash: bool) {
        // Half of all crashes wait for a moment in which there is something to lose.
        for _ in 0..rng.u32(0..2) * UNSYNCED_WAITS {
            if self.disk.has_unsynced() {
                break;
            }
            self.supervisor.sleep(self.settings.disk_latency / 4).await;
        }
        self.stop(is_crash);
        let down = Duration::from_millis(rng.u64(..100));
        self.supervisor.sleep(down).await;
        while !self.start(rng).await {
            // What could not start is started again, on a machine that may crash meanwhile. A life of SQLite only ends so.
            if rng.bool() || self.settings.sqlite.is_some() {
                self.server.crash();
            }
        }
    }

    /// A second server starts while the first one runs, and goes on for a while.
    async fn take_over(&self, rng: &mut Rng) {
        while !self.start(rng).await {}
        let together = Duration::from_millis(rng.u64(..100));
        self.supervisor.sleep(together).await;
        self.server.retire();
    }

    /// Starts a server, unless a fault is in the way.
    async fn start(&self, rng: &mut Rng) -> bool {
        if self.settings.chance(Fault::CrashLoop) > 0.0 && rng.u8(..4) == 0 {
            let strikes = [Strike::CrashBefore, Strike::CrashWithin, Strike::CrashAfter];
            let strike = strikes[rng.usize(..strikes.len())];
            let operation = self.disk.operations() + rng.u64(..RECOVERY_OPERATIONS);
            self.disk.strike_at(operation, strike);
        }
        let crashes = self.disk.crashes();
        let started = self.server.start().await;
        self.disk.forget_strike();
        let Err(error) = started else {
            return true;
        };
        // Storage may fail, but what it holds must always open.
        assert_ne!(error.class, ErrorClass::Internal, "{error}");
        assert_ne!(error.code, "DatabaseDamaged", "{error}");
        self.count(|report| report.strike(Fault::StartFailed));
        if self.disk.crashes() > crashes {
            self.count(|report| report.strike(Fault::CrashLoop));
            self.stop(true);
        }
        false
    }

    /// Ends the server's life, with the machine's or alone.
    fn stop(&self, is_crash: bool) {
        let life = self.server.report();
        self.count(|report| report.add(&life));
        match is_crash {
            true => self.server.crash(),
            false => self.server.kill(),
        }
    }

    /// Liveness: with all faults healed, transactions finish.
    async fn finish_in_peace(&mut self, fixtures: Fixtures) -> Result<(), String> {
        for operation in [Operation::Transfer, Operation::Increment, Operation::Audit] {
            let mut plan = Plan::draw(&mut self.rng, &self.settings, &fixtures, &[], &[]);
            plan.operation = operation;
            plan.past = None;
            let mut attempts = 0;
            while let Err(refusal) = self.server.attempt(plan.clone()).await {
                attempts += 1;
                if attempts == HEALTHY_ATTEMPTS_MAX {
                    return Err(format!(
                        "{operation:?} fails in a healthy world: {refusal:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Starts once more from the disk and compares what is there with what was seen.
    async fn judge(&self) -> Result<(), String> {
        self.stop(true);
        self.server
            .start_still()
            .await
            .map_err(|error| format!("the database does not open again: {error}"))?;
        let storage = self.server.storage().ok_or("the server is down")?;
        let archive = self.server.archive();
        let mut report = Report::default();
        let attempts = self.history.attempts();
        let verdict = oracle::check(&attempts, archive, &*storage, &mut report).await;
        self.count(|total| total.add(&report));
        verdict?;
        if self.settings.retention().is_some() {
            let through = self.server.delete_all_old().await?;
            oracle::check_kept(through, archive, &*storage).await?;
        }
        self.count(|total| total.add(&archive.report()));
        Ok(())
    }
}

struct Client {
    world: World,
    fixtures: Fixtures,
    rng: Rng,
    /// Timestamps that it was told.
    seen: Vec<Timestamp>,
    /// Documents that it inserted.
    remembered: Vec<(String, concave_core::DocumentId)>,
}

impl Client {
    async fn work(mut self) {
        for _ in 0..self.world.settings.operations {
            let plan = Plan::draw(
                &mut self.rng,
                &self.world.settings,
                &self.fixtures,
                &self.seen,
                &self.remembered,
            );
            for _ in 0..ATTEMPTS_MAX {
                let ending = self.attempt(plan.clone()).await;
                self.world
                    .count(|report| report.count(plan.operation, ending));
                // What became of a lost one is unknown: running it again could do it twice.
                let forgotten = plan.past.is_some_and(|past| !self.seen.contains(&past));
                if matches!(ending, Ending::Done | Ending::Lost) || forgotten {
                    break;
                }
            }
        }
    }

    async fn attempt(&mut self, plan: Plan) -> Ending {
        self.travel().await;
        while !self.world.server.is_up() {
            self.world.supervisor.sleep(RECONNECT).await;
        }
        let past = plan.past;
        let result = self.world.server.attempt(plan).await;
        self.travel().await;
        let lost = self.rng.f64() < self.world.settings.chance(Fault::ReplyLost);
        match result {
            Ok(_) if lost => {
                self.world.count(|report| report.strike(Fault::ReplyLost));
                Ending::Lost
            }
            Ok(reply) => {
                self.seen.push(reply.ts);
                self.remembered.extend(reply.inserted);
                Ending::Done
            }
            Err(Refusal::Conflict) => Ending::Conflict,
            Err(Refusal::Failed(error)) => {
                if error.class == ErrorClass::OutOfRetention {
                    self.seen.retain(|ts| Some(*ts) != past);
                }
                Ending::Failed
            }
            Err(Refusal::Lost) => Ending::Lost,
        }
    }

    /// The way from or to the server.
    async fn travel(&mut self) {
        let latency = self.world.settings.network_latency.mul_f64(self.rng.f64());
        self.world.supervisor.sleep(latency).await;
    }
}
