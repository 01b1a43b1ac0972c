//! Goal: the core by itself does what it promises, in more interleavings than whole worlds have time for. Method: loops
//! from a few thousand seeds, each transaction judged exactly; see `sim::core_loop`.
//!
//! `SIM_SEED=17` runs one seed, `SIM_SEEDS=1000..9000` a range.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use std::{panic, thread};

use concave_core::planted::{Bug, with};
use sim::core_loop::{self, Report};

/// Seeds of an ordinary test run.
const SEEDS: std::ops::Range<u64> = 0..2_100;
/// From so many loops on, everything that can happen must have happened.
const ENOUGH: u64 = 500;
/// What the seeds of an ordinary test run amount to.
const TRANSACTIONS_MIN: u64 = 2_000_000;

#[test]
fn loops() {
    let seeds = seeds();
    let begun = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Report::default());
    let failures = Mutex::new(Vec::new());
    let work = || {
        let mut sum = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match core_loop::run(seed) {
                Ok(report) => sum.add(&report),
                Err(failure) => lock(&failures).push((seed, failure)),
            }
        }
        lock(&total).add(&sum);
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().unwrap();
    let elapsed = begun.elapsed();
    let rate = total.transactions() as f64 / elapsed.as_secs_f64();
    println!("{total}\n{elapsed:.1?} of real time on {threads} threads, {rate:.0} transactions/s");
    let failures = failures.into_inner().unwrap();
    if let Some((_, first)) = failures.first() {
        let seeds: Vec<_> = failures.iter().map(|(seed, _)| seed).collect();
        panic!(
            "{first}\n{} of {} seeds fail: {seeds:?}",
            seeds.len(),
            total.loops
        );
    }
    if total.loops >= ENOUGH {
        let zeros = total.zeros();
        assert!(zeros.is_empty(), "these never happened: {zeros:?}");
    }
    if seeds == SEEDS {
        assert!(
            total.transactions() >= TRANSACTIONS_MIN,
            "too few transactions"
        );
    }
}

#[test]
fn a_seed_always_gives_the_same_loop() {
    let mut digests = std::collections::BTreeSet::new();
    for seed in 0..5 {
        let run = move || core_loop::run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        let first = thread::spawn(run).join().unwrap();
        let second = thread::spawn(run).join().unwrap();
        assert_eq!(first, second, "seed {seed} gave two different loops");
        digests.insert(first.digest);
    }
    assert_eq!(digests.len(), 5, "different seeds give different loops");
}

/// Seeds within which each of [`PLANTED`] must be caught.
const CAUGHT_WITHIN: u64 = 50;
/// Defects in the core itself. Those that are planted in drivers do not show here.
const PLANTED: &[Bug] = &[
    Bug::ScanEndNotRead,
    Bug::GapsNotRead,
    Bug::DescendingNotRead,
    Bug::PointsNotRead,
    Bug::MissingTableNotRead,
    Bug::RollbackForgetsReads,
    Bug::OwnDeletesNotSeen,
    Bug::StoredRowNotHidden,
    Bug::DescendingMergedAscending,
    Bug::LaterWritesSeen,
    Bug::RollbackKeepsOneWrite,
    Bug::RollbackKeepsUsage,
    Bug::OldKeyNotEnded,
    Bug::SameKeyNotRenewed,
    Bug::LastIndexNotMaintained,
    Bug::NegativeKeysAbove,
    Bug::FloatKeysReversed,
    Bug::PendingNotValidated,
    Bug::FirstCommitNotValidated,
    Bug::OnlyNewestValidated,
    Bug::EndedKeysNotLogged,
    Bug::OneIndexLogged,
    Bug::TimestampReused,
    Bug::BatchReversed,
    Bug::UnknownTakenAsFailed,
    Bug::UnknownTakenAsDone,
    Bug::FailedBatchStaysInLog,
    Bug::RangeStartNotTouched,
    Bug::SubtreeEndNotUpdated,
    Bug::RemovalLosesSubtree,
    Bug::IdsFromSnapshot,
];

#[test]
fn planted_defects_are_caught() {
    // Panics are how a loop objects.
    panic::set_hook(Box::new(|_| {}));
    let next = AtomicU64::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        let next = || usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
        while let Some(bug) = PLANTED.get(next()) {
            let caught = (0..CAUGHT_WITHIN).find_map(|seed| {
                let objection = with(Some(*bug), || core_loop::run(seed)).err()?;
                Some((seed + 1, objection))
            });
            lock(&results).push((*bug, caught));
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let _ = panic::take_hook();
    let mut results = results.into_inner().unwrap();
    results.sort();
    for (bug, caught) in &results {
        let name = format!("{bug:?}");
        match caught {
            Some((seeds, objection)) => {
                let line = objection.lines().next().unwrap_or_default();
                println!("{name:<26}{seeds:>6} seeds  {line:.90}");
            }
            None => println!("{name:<26} never"),
        }
    }
    let missed: Vec<_> = results
        .iter()
        .filter(|(_, caught)| caught.is_none())
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
    assert_eq!(results.len(), PLANTED.len());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seeds() -> std::ops::Range<u64> {
    let number = |text: &str| -> u64 { text.trim().parse().expect("seeds are numbers") };
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let seed = number(&seed);
        return seed..seed + 1;
    }
    if let Ok(range) = std::env::var("SIM_SEEDS") {
        let (start, end) = range
            .split_once("..")
            .expect("SIM_SEEDS is a range such as 0..1000");
        return number(start)..number(end);
    }
    SEEDS
}
