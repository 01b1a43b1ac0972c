//! Goal: nothing that any client ever sees contradicts the order of commits, whatever fails and whenever the server
//! crashes. Method: worlds from a few hundred seeds, each judged exactly; see `sim::oracle`.
//!
//! `SIM_SEED=17` runs one seed, `SIM_SEEDS=1000..9000` a range.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use sim::report::Report;
use sim::world;

/// Seeds of an ordinary test run.
const SEEDS: std::ops::Range<u64> = 0..300;
/// From so many worlds on, everything that can happen must have happened.
const ENOUGH: u64 = 200;

#[test]
fn worlds() {
    let seeds = seeds();
    let begun = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let total = Mutex::new(Report::default());
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            match world::run(seed) {
                Ok(success) => total
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(&success.report),
                Err(failure) => failures
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(failure),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let total = total.into_inner().unwrap();
    println!("{total}\n{:.1?} of real time", begun.elapsed());
    let failures = failures.into_inner().unwrap();
    if let Some(first) = failures.first() {
        let seeds: Vec<_> = failures
            .iter()
            .map(|failure| failure.settings.seed)
            .collect();
        panic!("{first}\n{} seeds fail: {seeds:?}", seeds.len());
    }
    if total.worlds >= ENOUGH {
        let zeros = total.zeros();
        assert!(zeros.is_empty(), "these never happened: {zeros:?}");
    }
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
