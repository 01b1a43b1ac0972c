//! Goal: the simulation notices defects, each of many kinds, and soon. Method: [`Bug`]s in the core are switched on one
//! at a time, and the seeds are counted until a checker or an assertion objects; without the bug the same seed passes.
//!
//! `SIM_PLANTED=full` also counts the seeds of bugs that take hundreds, and lists the different objections that it finds:
//! a bug with one only hangs on one checker. `SIM_PLANTED=OldKeyNotEnded` shows how that bug fails.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use concave_core::persistence::Persistence;
use concave_core::planted::{Bug, with};
use futures_util::FutureExt;
use sim::report::Fault;
use sim::settings::{Kind, Settings};
use sim::storage::SimPersistence;
use sim::{core_loop, crash_points, world};

/// Seeds within which every bug must be caught.
const WORST: u64 = 5_000;
/// Seeds within which half of them must be.
const MEDIAN: u64 = 50;
/// Objections that a full run collects for each bug.
const OBJECTIONS: usize = 5;

/// Bugs that more than a hundred seeds do not show, each with the first seed that does. An ordinary run begins there; a
/// full run begins with the first seed of all, as for every other bug. Whatever changes the worlds of seeds makes these
/// numbers wrong, and the ordinary run slower; a full run tells the new ones.
const RARE: &[(Bug, u64)] = &[
    (Bug::NextSchemaNotChecked, 225),
    (Bug::IndexReadTooEarly, 572),
    (Bug::IndexUsedUnfilled, 868),
    (Bug::RunsSharedAcrossTime, 297),
    (Bug::MutationNotHeldFor, 1373),
    (Bug::QueriesReadNewest, 1157),
    (Bug::ReadBackFailureIgnored, 347),
    (Bug::HeadFailureForgotten, 267),
    (Bug::CanceledStillSchedules, 173),
    (Bug::ActionsNotGivenUp, 305),
    (Bug::FailedMoveIgnored, 570),
];

/// A way to run a seed; the error says what was wrong, on its first line in a few words.
type Level = fn(u64) -> Result<(), String>;

fn transactions(seed: u64) -> Result<(), String> {
    world::run(seed)
        .map(|_| ())
        .map_err(|failure| failure.to_string())
}

/// Whole worlds for defects of functions and sessions: those without sessions pass at once.
fn sessions(seed: u64) -> Result<(), String> {
    match Settings::draw(seed).kind {
        Kind::Transactions => Ok(()),
        Kind::Sessions => transactions(seed),
    }
}

/// Worlds on real SQLite whose log is moved into the file all the time, on a disk that often cannot sync.
fn failing_disk(seed: u64) -> Result<(), String> {
    let mut settings = Settings::draw(seed);
    settings.kind = Kind::Transactions;
    settings.sqlite = Some(sim::sqlite::Use {
        readers: 3,
        wal_pages_max: 8,
        cache_kib: 32,
    });
    for (fault, chance) in &mut settings.faults {
        match fault {
            Fault::SyncFailed => *chance = 0.03,
            Fault::BitFlip => *chance = 0.0,
            _ => {}
        }
    }
    world::run_with(settings, None)
        .map(|_| ())
        .map_err(|failure| failure.to_string())
}

/// The core alone.
fn core_alone(seed: u64) -> Result<(), String> {
    core_loop::run(seed).map(|_| ())
}

/// The simulator's own storage, crashed at every operation of a short history.
fn crashes(seed: u64) -> Result<(), String> {
    let open: Arc<crash_points::Open> = Arc::new(|node, disk| {
        async move {
            let storage = SimPersistence::open(node, disk).await?;
            Ok(Arc::new(storage) as Arc<dyn Persistence>)
        }
        .boxed()
    });
    let run = || crash_points::enumerate(&crash_points::Plan::draw(seed), 1, &open).map(|_| ());
    panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// Where a bug is looked for: in whole worlds, unless another level is meant for it.
fn level(bug: Bug) -> (&'static str, Level) {
    use Bug::*;
    match bug {
        TakenIdsNotRead
        | LaterWritesSeen
        | RollbackKeepsUsage
        | RollbackKeepsCatalog
        | SecondWriteForgetsBefore
        | CreationTimesRepeat
        | UnfilledNotMaintained
        | TrimmedOneTooFar
        | TrimNotNoted
        | HaltedAccepts
        | FailedBatchStaysInLog => ("loop", core_alone),
        LeaseIgnored => ("world", transactions),
        FailedMoveIgnored => ("disk", failing_disk),
        SyncSkipped | FailedAppendNotUndone | ChecksumIgnored => ("crash", crashes),
        _ if bug >= UpperBoundIncluded || is_of_pushes(bug) => ("world", sessions),
        _ => ("world", transactions),
    }
}

/// Whether it is a defect of index filling or schemas.
fn is_of_pushes(bug: Bug) -> bool {
    (Bug::LastBackfillPageLost..=Bug::SchemaActiveUnvalidated).contains(&bug)
}

/// How a bug was caught.
struct Caught {
    /// Seeds that it took, counted from the first of all.
    seeds: u64,
    objection: String,
    /// All different objections, in a full run.
    objections: BTreeMap<String, usize>,
    time: Duration,
}

/// Runs seeds with a bug until one fails.
fn hunt(bug: Bug, full: bool) -> Option<Caught> {
    let begun = Instant::now();
    let (_, run) = level(bug);
    let known = RARE.iter().find(|(rare, _)| *rare == bug && !full);
    let mut caught = (known.map_or(0, |(_, seed)| *seed)..WORST).filter_map(|seed| {
        let objection = with(Some(bug), || run(seed)).err()?;
        Some((seed, objection))
    });
    let (seed, objection) = caught.next()?;
    if let Err(objection) = with(None, || run(seed)) {
        panic!("seed {seed} fails without a bug: {objection}");
    }
    let mut objections = BTreeMap::from([(gist(&objection), 1)]);
    if full {
        for (_, objection) in caught.take(OBJECTIONS - 1) {
            *objections.entry(gist(&objection)).or_default() += 1;
        }
    }
    Some(Caught {
        seeds: seed + 1,
        objection: gist(&objection),
        objections,
        time: begun.elapsed(),
    })
}

/// What an objection has in common with others of its kind: its first line without numbers and names.
fn gist(objection: &str) -> String {
    let line = objection.lines().next().unwrap_or_default();
    let line = line.split_once(": ").map_or(line, |(_, what)| what);
    let mut gist = String::new();
    for word in line.split_whitespace().take(18) {
        if word.contains(|c: char| c.is_ascii_digit()) {
            gist.push_str("… ");
        } else {
            gist.push_str(word);
            gist.push(' ');
        }
    }
    gist.trim_end().chars().take(110).collect()
}

#[test]
fn every_planted_bug_is_caught() {
    // Panics in worlds are caught and expected here.
    panic::set_hook(Box::new(|_| {}));
    let choice = std::env::var("SIM_PLANTED").unwrap_or_default();
    let full = choice == "full";
    let chosen = |bug: &Bug| match choice.as_str() {
        "" | "full" => true,
        name => format!("{bug:?}") == name,
    };
    let bugs: Vec<_> = Bug::ALL.iter().copied().filter(chosen).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let begun = Instant::now();
    let work = || {
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let caught = hunt(*bug, full);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.insert(*bug, caught);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let all_done = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().all(|thread| thread.join().is_ok())
    });
    let _ = panic::take_hook();
    assert!(all_done, "a bug's seed fails without the bug");
    let results = results.into_inner().unwrap();
    for (bug, caught) in &results {
        let name = format!("{bug:?}");
        match caught {
            None => println!("{name:<28} {:>6}", "never"),
            Some(caught) => {
                let Caught {
                    seeds, objection, ..
                } = caught;
                let millis = caught.time.as_millis();
                println!(
                    "{name:<28} {:<6} {seeds:>6} {millis:>6} ms  {objection}",
                    level(*bug).0
                );
                if full {
                    for (objection, count) in &caught.objections {
                        println!("{count:>40}× {objection}");
                    }
                }
            }
        }
    }
    let missed: Vec<_> = results
        .iter()
        .filter(|(_, caught)| caught.is_none())
        .map(|(bug, _)| bug)
        .collect();
    let mut seeds: Vec<_> = results.values().flatten().map(|c| c.seeds).collect();
    seeds.sort_unstable();
    let median = seeds.get(seeds.len() / 2).copied().unwrap_or_default();
    println!(
        "{} bugs, {} missed; median {median} seeds, worst {}; {:.1?}",
        results.len(),
        missed.len(),
        seeds.last().copied().unwrap_or_default(),
        begun.elapsed()
    );
    assert!(missed.is_empty(), "not caught: {missed:?}");
    assert!(
        median <= MEDIAN,
        "half of the bugs take longer than {median} seeds"
    );
}
