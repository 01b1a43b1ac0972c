//! Goal: storage comes out of a crash at any instant with everything that it acknowledged, and with nothing half done.
//! Method: short histories, struck at the operations of the disk in every way; see `sim::crash_points`.
//!
//! `CRASH_SEED=17` plays one history, `CRASH_SEEDS=0..9000` a range.

use std::ops::Range;
use std::sync::Arc;

use concave_core::persistence::Persistence;
use fastrand::Rng;
use futures_util::FutureExt;
use sim::crash_points::{Counts, Open, Plan, enumerate};
use sim::sqlite::{SqliteSimPersistence, Use};
use sim::storage::SimPersistence;

/// Histories of an ordinary test run: those of the log are played for every point, those of SQLite, which has many more
/// operations, for every fifteenth, beginning with another one in each. `CRASH_EVERY=1` plays all of them.
const SEEDS_OF_LOG: Range<u64> = 0..1_000;
const SEEDS_OF_SQLITE: Range<u64> = 0..300;
const EVERY_OF_SQLITE: usize = 15;

#[test]
fn the_log_survives_every_crash() {
    survives_every_crash(SEEDS_OF_LOG, 1, |_| {
        Arc::new(|node, disk| {
            async move {
                let storage: Arc<dyn Persistence> =
                    Arc::new(SimPersistence::open(node, disk).await?);
                Ok(storage)
            }
            .boxed()
        })
    });
}

#[test]
fn sqlite_survives_every_crash() {
    survives_every_crash(SEEDS_OF_SQLITE, EVERY_OF_SQLITE, |seed| {
        let with = Use::draw(&mut Rng::with_seed(seed));
        Arc::new(move |node, disk| {
            async move {
                let storage = SqliteSimPersistence::open(node, disk, with).await?;
                let storage: Arc<dyn Persistence> = Arc::new(storage);
                Ok(storage)
            }
            .boxed()
        })
    });
}

fn survives_every_crash(seeds: Range<u64>, every: usize, open: impl Fn(u64) -> Arc<Open>) {
    let mut total = Counts::default();
    let mut failures = Vec::new();
    let every = std::env::var("CRASH_EVERY").map_or(every, |every| number(&every) as usize);
    for seed in asked_for().unwrap_or(seeds) {
        match enumerate(&Plan::draw(seed), every, &open(seed)) {
            Ok(counts) => total.add(&counts),
            Err(what) => failures.push((seed, what)),
        }
    }
    println!("{total}");
    if let Some((_, first)) = failures.first() {
        let seeds: Vec<_> = failures.iter().map(|(seed, _)| seed).collect();
        panic!("{first}\n{} histories fail: {seeds:?}", seeds.len());
    }
    assert!(total.under_way_kept > 0 && total.under_way_lost > 0);
    assert!(total.recovery_crashes > 0 && total.deletions > 0);
}

fn asked_for() -> Option<Range<u64>> {
    if let Ok(seed) = std::env::var("CRASH_SEED") {
        let seed = number(&seed);
        return Some(seed..seed + 1);
    }
    let range = std::env::var("CRASH_SEEDS").ok()?;
    let (start, end) = range.split_once("..").expect("a range such as 0..1000");
    Some(number(start)..number(end))
}

fn number(text: &str) -> u64 {
    text.trim().parse().expect("it is a number")
}
