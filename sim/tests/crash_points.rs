//! Goal: storage comes out of a crash at any instant with everything that it acknowledged, and with nothing half done.
//! Method: a thousand short histories, struck at every operation of the disk in every way; see `sim::crash_points`.
//!
//! `CRASH_SEED=17` plays one history, `CRASH_SEEDS=0..9000` a range.

use std::ops::Range;
use std::sync::Arc;

use concave_core::persistence::Persistence;
use futures_util::FutureExt;
use sim::crash_points::{Counts, Open, Plan, enumerate};
use sim::storage::SimPersistence;

/// Histories of an ordinary test run.
const SEEDS: Range<u64> = 0..1_000;

#[test]
fn the_log_survives_every_crash() {
    let open: Arc<Open> = Arc::new(|node, disk| {
        async move {
            let storage: Arc<dyn Persistence> = Arc::new(SimPersistence::open(node, disk).await?);
            Ok(storage)
        }
        .boxed()
    });
    let mut total = Counts::default();
    let mut failures = Vec::new();
    for seed in seeds() {
        match enumerate(&Plan::draw(seed), &open) {
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
    assert!(total.recovery_crashes > 0);
}

fn seeds() -> Range<u64> {
    let number = |text: &str| -> u64 { text.trim().parse().expect("seeds are numbers") };
    if let Ok(seed) = std::env::var("CRASH_SEED") {
        let seed = number(&seed);
        return seed..seed + 1;
    }
    let Ok(range) = std::env::var("CRASH_SEEDS") else {
        return SEEDS;
    };
    let (start, end) = range.split_once("..").expect("a range such as 0..1000");
    number(start)..number(end)
}
