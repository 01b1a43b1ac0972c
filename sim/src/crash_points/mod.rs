//! Every point at which storage can crash or fail, one after the other.
//!
//! Worlds crash at random instants. Here nothing is left to chance: a short history of writes, backfills, deletions
//! and globals is played once to count the disk's operations (writes, truncations, syncs), and then again for each operation and
//! each [`Strike`]: a crash before it, after it, in its middle, or a failure. Storage is opened again, crashing a few
//! times more while it recovers, and must hold exactly what it acknowledged, and of what was under way all or nothing.
//! Then the history goes on to its end, and the machine crashes once more.
//!
//! What storage must hold is what [`MemoryPersistence`] holds when it is given the same: log, newest timestamp, every
//! index at timestamps old and new, globals.

mod plan;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use concave_core::persistence::memory::MemoryPersistence;
use concave_core::persistence::{
    BackfillEntry, IndexId, IndexRead, IndexRow, KeyRange, Order, Persistence, PersistenceError,
    Revision, Superseded,
};
use concave_core::{Error, ErrorClass, Timestamp};
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

pub use self::plan::Plan;
use self::plan::{GLOBALS, INDEXES};
use crate::disk::{Disk, Strike};
use crate::executor::{Executor, Node};

/// Opens storage on a disk, for one life of a machine.
pub type Open =
    dyn Fn(Node, Disk) -> BoxFuture<'static, Result<Arc<dyn Persistence>, Error>> + Send + Sync;

/// Simulated time that one run takes at most.
const LIMIT: Duration = Duration::from_secs(600);
/// Attempts within which an operation succeeds once the single fault has struck.
const ATTEMPTS_MAX: usize = 3;
/// Most crashes during recovery, of which there are any in one run of so many.
const RECOVERY_CRASHES_MAX: u64 = 3;
const RUNS_PER_RECOVERY_CRASH: u64 = 3;
/// One run of so many goes on after the recovery.
const RUNS_PER_SECOND_LIFE: u64 = 4;
/// More keys than any history has in an index.
const KEYS_MAX: usize = 10_000;
/// A crash during recovery hits one of so many operations.
const RECOVERY_OPERATIONS: u64 = 12;

/// Something that is asked of storage.
#[derive(Clone, Debug)]
pub enum Action {
    /// [`Persistence::write`].
    Write(Vec<Revision>),
    /// [`Persistence::backfill`].
    Backfill(Vec<BackfillEntry>),
    /// [`Persistence::set_global`].
    Global(&'static str, Vec<u8>),
    /// [`Persistence::delete`].
    Delete(Superseded),
    /// [`Persistence::delete_index`], of all keys at once.
    DeleteIndex(IndexId),
}

/// What was tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Histories.
    pub histories: u64,
    /// Deletions in all of them.
    pub deletions: u64,
    /// Operations of the disk in all of them.
    pub operations: u64,
    /// Runs with a crash before, within, after an operation, and with a failed one.
    pub runs: [u64; Strike::ALL.len()],
    /// Crashes during recovery.
    pub recovery_crashes: u64,
    /// What was under way in a crash and was there afterwards.
    pub under_way_kept: u64,
    /// What was under way in a crash and was not there afterwards.
    pub under_way_lost: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, within, after, failed] = self.runs;
        write!(
            f,
            "{} histories with {} deletions, of {} operations; crashes before {before}, within {within}, after {after}, failures {failed}; \
             {} crashes in recovery; under way and kept {}, lost {}",
            self.histories,
            self.deletions,
            self.operations,
            self.recovery_crashes,
            self.under_way_kept,
            self.under_way_lost,
        )
    }
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: &Counts) {
        self.histories += other.histories;
        self.deletions += other.deletions;
        self.operations += other.operations;
        for (runs, more) in self.runs.iter_mut().zip(other.runs) {
            *runs += more;
        }
        self.recovery_crashes += other.recovery_crashes;
        self.under_way_kept += other.under_way_kept;
        self.under_way_lost += other.under_way_lost;
    }
}

/// Plays a history once for every point at which it can be struck, or for each `every`th operation, beginning with
/// another one in each history.
///
/// # Errors
/// What is wrong with the first point at which storage does, and which point that is.
pub fn enumerate(plan: &Plan, every: usize, open: &Arc<Open>) -> Result<Counts, String> {
    let is_deletion =
        |action: &&Action| matches!(action, Action::Delete(_) | Action::DeleteIndex(_));
    let mut counts = Counts {
        histories: 1,
        deletions: plan.actions().filter(is_deletion).count() as u64,
        operations: run(plan, None, open)?.operations,
        ..Counts::default()
    };
    let first = plan.seed % every as u64;
    for operation in (first..counts.operations).step_by(every) {
        for (number, strike) in Strike::ALL.into_iter().enumerate() {
            let found = run(plan, Some((operation, strike)), open)?;
            counts.runs[number] += 1;
            counts.recovery_crashes += found.recovery_crashes;
            counts.under_way_kept += found.under_way_kept;
            counts.under_way_lost += found.under_way_lost;
        }
    }
    Ok(counts)
}

/// Plays a history with one strike, or none.
///
/// # Errors
/// What is wrong.
pub fn run(plan: &Plan, strike: Option<(u64, Strike)>, open: &Arc<Open>) -> Result<Counts, String> {
    let mut rng = Rng::with_seed(plan.seed);
    if let Some((operation, strike)) = strike {
        rng = Rng::with_seed(plan.seed ^ (operation << 32) ^ ((strike as u64) << 60));
    }
    let executor = Executor::new(rng.fork());
    let supervisor = executor.node(0);
    let disk = Disk::new(rng.fork(), Duration::ZERO);
    if let Some((operation, strike)) = strike {
        disk.strike_at(operation, strike);
    }
    let run = Run {
        plan: plan.clone(),
        supervisor: supervisor.clone(),
        disk,
        open: open.clone(),
        rng,
        present: Vec::new(),
        under_way: Vec::new(),
        counts: Counts::default(),
    };
    let judged = match executor.run(&supervisor, LIMIT, run.play()) {
        Ok(judged) => judged,
        Err(stuck) => Err(format!("nothing moves any more at {:?}", stuck.at)),
    };
    judged.map_err(|what| {
        let seed = plan.seed;
        format!(
            "history {seed}, {strike:?}: {what}\nreplay: CRASH_SEED={seed} cargo test -p sim --test crash_points"
        )
    })
}

struct Run {
    plan: Plan,
    supervisor: Node,
    disk: Disk,
    open: Arc<Open>,
    rng: Rng,
    /// Actions that storage must hold, by number.
    present: Vec<usize>,
    /// Actions that it may hold or not.
    under_way: Vec<usize>,
    counts: Counts,
}

/// What became of an action.
enum Answer {
    Done,
    /// Nothing was changed.
    Failed,
    /// It happened or not.
    Unknown,
}

impl Run {
    async fn play(mut self) -> Result<Counts, String> {
        self.live().await?;
        self.counts.operations = self.disk.operations();
        let storage = self.recover().await?;
        self.settle(&*storage).await?;
        drop(storage);
        if self.rng.u64(..RUNS_PER_SECOND_LIFE) > 0 {
            return Ok(self.counts);
        }
        // What came out of the crash must be as good as any other database.
        self.disk.crash();
        self.live().await?;
        let expected: Vec<_> = (0..self.plan.actions().count()).collect();
        if self.present != expected {
            return Err(format!("of {expected:?}, it did {:?}", self.present));
        }
        let storage = self.recover().await?;
        self.settle(&*storage).await?;
        Ok(self.counts)
    }

    /// One life of a machine: does what is not done yet, to the end or to a crash.
    async fn live(&mut self) -> Result<(), String> {
        let crashes = self.disk.crashes();
        let node = self.supervisor.sibling(0);
        let mut attempts = 0;
        let storage = loop {
            match (self.open)(node.clone(), self.disk.clone()).await {
                Ok(storage) => break storage,
                Err(_) if self.disk.crashes() > crashes => return Ok(()),
                Err(error) => {
                    attempts += 1;
                    if error.class == ErrorClass::Internal || attempts == ATTEMPTS_MAX {
                        return Err(format!("it does not open: {error}"));
                    }
                }
            }
        };
        let steps = self.plan.steps.clone();
        let mut number = 0;
        for step in steps {
            let numbers: Vec<_> = (number..number + step.len()).collect();
            number += step.len();
            for _ in 0..ATTEMPTS_MAX {
                let missing = numbers.iter().filter(|n| !self.present.contains(n));
                let missing: Vec<_> = missing.copied().collect();
                let actions = missing.iter().map(|n| &step[n - numbers[0]]);
                let answers = join_all(actions.map(|action| submit(&*storage, action))).await;
                let mut failed = false;
                for (number, answer) in missing.into_iter().zip(answers) {
                    match answer {
                        Ok(Answer::Done) => self.present.push(number),
                        _ if self.disk.crashes() > crashes => self.under_way.push(number),
                        Ok(Answer::Unknown) => self.under_way.push(number),
                        Ok(Answer::Failed) => failed = true,
                        Err(error) => return Err(format!("storage fails: {error}")),
                    }
                }
                self.present.sort_unstable();
                if self.disk.crashes() > crashes {
                    node.kill();
                    return Ok(());
                }
                let mut unsettled = Vec::new();
                if !self.under_way.is_empty() {
                    failed = true;
                    unsettled = self.read_back(&*storage).await?;
                }
                // Half of the lives end with the failure: what failed, or was not there when the log was read back,
                // must not come back.
                if failed && self.rng.bool() {
                    self.under_way = unsettled;
                    node.kill();
                    self.disk.crash();
                    return Ok(());
                }
            }
            if !numbers.iter().all(|n| self.present.contains(n)) {
                return Err(format!("a healthy disk does not store {numbers:?}"));
            }
        }
        self.check(&*storage, &self.present).await?;
        node.kill();
        self.disk.crash();
        Ok(())
    }

    /// As the core does when the outcome of a write is unknown. Gives the others of unknown outcome, which may be done
    /// again.
    async fn read_back(&mut self, storage: &dyn Persistence) -> Result<Vec<usize>, String> {
        let max_ts = storage.max_ts().await;
        let max_ts = match max_ts {
            Ok(max_ts) => max_ts,
            Err(_) => storage.max_ts().await.map_err(|error| error.to_string())?,
        };
        let mut unsettled = Vec::new();
        for number in std::mem::take(&mut self.under_way) {
            match self.plan.actions().nth(number) {
                Some(Action::Write(revisions)) => {
                    if revisions.last().is_some_and(|last| last.ts <= max_ts) {
                        self.present.push(number);
                    }
                }
                _ => unsettled.push(number),
            }
        }
        self.present.sort_unstable();
        Ok(unsettled)
    }

    /// Opens storage after a crash, with a few more crashes on the way.
    async fn recover(&mut self) -> Result<Arc<dyn Persistence>, String> {
        let crashes = match self.rng.u64(..RUNS_PER_RECOVERY_CRASH) {
            0 => self.rng.u64(1..=RECOVERY_CRASHES_MAX),
            _ => 0,
        };
        for _ in 0..crashes {
            let operation = self.disk.operations() + self.rng.u64(..RECOVERY_OPERATIONS);
            let strikes = [Strike::CrashBefore, Strike::CrashWithin, Strike::CrashAfter];
            let strike = strikes[self.rng.usize(..strikes.len())];
            self.disk.strike_at(operation, strike);
            let crashes = self.disk.crashes();
            let node = self.supervisor.sibling(0);
            let opened = (self.open)(node.clone(), self.disk.clone()).await;
            node.kill();
            match opened {
                Ok(_) => self.disk.crash(),
                Err(_) if self.disk.crashes() > crashes => self.counts.recovery_crashes += 1,
                Err(error) => return Err(format!("it does not open after a crash: {error}")),
            }
            self.disk.forget_strike();
        }
        let node = self.supervisor.sibling(0);
        let opened = (self.open)(node, self.disk.clone()).await;
        opened.map_err(|error| format!("it does not open after a crash: {error}"))
    }

    /// Finds out which of the actions that were under way have happened; there must be an answer.
    async fn settle(&mut self, storage: &dyn Persistence) -> Result<(), String> {
        let under_way = std::mem::take(&mut self.under_way);
        let mut problems = Vec::new();
        for kept in 0..1 << under_way.len() {
            let is_kept = |n: &usize| kept & (1 << n) != 0;
            let mut candidate = self.present.clone();
            candidate.extend((0..under_way.len()).filter(is_kept).map(|n| under_way[n]));
            candidate.sort_unstable();
            match self.check(storage, &candidate).await {
                Ok(()) => {
                    let kept = (candidate.len() - self.present.len()) as u64;
                    self.counts.under_way_kept += kept;
                    self.counts.under_way_lost += under_way.len() as u64 - kept;
                    self.present = candidate;
                    return Ok(());
                }
                Err(problem) => problems.push(format!("if it held {candidate:?}: {problem}")),
            }
        }
        Err(problems.join("\n"))
    }

    /// Compares storage with what it must hold.
    async fn check(&self, storage: &dyn Persistence, present: &[usize]) -> Result<(), String> {
        let model = MemoryPersistence::new();
        for (number, action) in self.plan.actions().enumerate() {
            if present.contains(&number) {
                submit(&model, action)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
        compare(storage, &model)
            .await
            .map_err(|problem| match problem {
                Problem::Differs(what) => what,
                Problem::Fails(error) => format!("it cannot be read: {error}"),
            })
    }
}

async fn submit(storage: &dyn Persistence, action: &Action) -> Result<Answer, PersistenceError> {
    let done = match action.clone() {
        Action::Write(revisions) => storage.write(revisions),
        Action::Backfill(entries) => storage.backfill(entries),
        Action::Global(name, value) => storage.set_global(name, value),
        Action::Delete(superseded) => storage.delete(superseded),
        Action::DeleteIndex(index) => {
            let emptied = storage.delete_index(index, KEYS_MAX);
            async move {
                assert!(emptied.await?, "all keys were to go");
                Ok(())
            }
            .boxed()
        }
    };
    match done.await {
        Ok(()) => Ok(Answer::Done),
        Err(PersistenceError::Unknown(_)) => Ok(Answer::Unknown),
        Err(
            PersistenceError::Unavailable(_)
            | PersistenceError::Full(_)
            | PersistenceError::Other(_),
        ) => Ok(Answer::Failed),
        Err(error) => Err(error),
    }
}

enum Problem {
    Differs(String),
    Fails(PersistenceError),
}

impl From<PersistenceError> for Problem {
    fn from(error: PersistenceError) -> Self {
        Problem::Fails(error)
    }
}

fn same<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), Problem> {
    if found == expected {
        return Ok(());
    }
    let mut text = format!("{what} is {found:?} instead of {expected:?}");
    text.truncate(text.floor_char_boundary(1000));
    Err(Problem::Differs(text))
}

async fn compare(storage: &dyn Persistence, model: &dyn Persistence) -> Result<(), Problem> {
    let max_ts = model.max_ts().await?;
    same("the newest timestamp", &storage.max_ts().await?, &max_ts)?;
    let log = read_log(storage, 2).await?;
    same("the log", &log, &read_log(model, usize::MAX).await?)?;
    let middle = log
        .get(log.len() / 2)
        .map_or(max_ts, |revision| revision.ts);
    for index in INDEXES {
        for (at, order, limit) in [
            (max_ts, Order::Ascending, 100),
            (max_ts, Order::Descending, 2),
            (middle, Order::Ascending, 3),
        ] {
            let found = read_index(storage, index, at, order, limit).await?;
            let expected = read_index(model, index, at, order, usize::MAX).await?;
            same(&format!("{index:?} at {}", at.0), &found, &expected)?;
        }
    }
    for name in GLOBALS {
        let expected = model.get_global(name).await?;
        same(name, &storage.get_global(name).await?, &expected)?;
    }
    Ok(())
}

async fn read_log(
    storage: &dyn Persistence,
    limit: usize,
) -> Result<Vec<Revision>, PersistenceError> {
    let mut revisions: Vec<Revision> = Vec::new();
    loop {
        let after = revisions.last().map_or(Timestamp::ZERO, |last| last.ts);
        let page = storage.read_log(after, limit).await?;
        revisions.extend(page.revisions);
        if page.exhausted {
            return Ok(revisions);
        }
    }
}

async fn read_index(
    storage: &dyn Persistence,
    index: IndexId,
    at: Timestamp,
    order: Order,
    limit: usize,
) -> Result<Vec<IndexRow>, PersistenceError> {
    let mut rows: Vec<IndexRow> = Vec::new();
    let mut range = KeyRange::all();
    loop {
        let page = storage
            .read_index(IndexRead {
                index,
                range: range.clone(),
                order,
                at,
                limit,
            })
            .await?;
        rows.extend(page.rows);
        match rows.last() {
            Some(last) if !page.exhausted => range = range.beyond(&last.key, order),
            _ => return Ok(rows),
        }
    }
}
