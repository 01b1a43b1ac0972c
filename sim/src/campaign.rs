//! Many worlds, side by side on real threads; each of them runs on one.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Report;
use crate::world::{self, Failure};

/// What many worlds did.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Counts over all that ended well.
    pub report: Report,
    /// Those that did not, in order of their seeds.
    pub failures: Vec<Failure>,
    /// Real time.
    pub took: Duration,
}

impl Campaign {
    /// Runs the worlds of all `seeds`, as many at once as there are cores. Ends early when `until` says so, which is
    /// asked before each world.
    pub fn run(seeds: Range<u64>, until: impl Fn(&Report) -> bool + Sync) -> Self {
        let begun = Instant::now();
        let next = AtomicU64::new(seeds.start);
        let campaign = Mutex::new(Self::default());
        let work = || {
            while !until(&lock(&campaign).report) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let result = world::run(seed);
                let mut campaign = lock(&campaign);
                match result {
                    Ok(success) => campaign.report.add(&success.report),
                    Err(failure) => campaign.failures.push(*failure),
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let mut campaign = campaign
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        campaign
            .failures
            .sort_by_key(|failure| failure.settings.seed);
        campaign.took = begun.elapsed();
        campaign
    }

    /// Simulated time and how much faster than real time it passed.
    pub fn speed(&self) -> String {
        let simulated = self.report.simulated.as_secs_f64();
        let took = self.took.as_secs_f64();
        format!(
            "{simulated:.0} s of simulated time in {took:.1} s: {:.0} times as fast",
            simulated / took
        )
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
