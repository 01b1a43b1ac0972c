//! Many worlds, side by side on real threads; each of them runs on one.

use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Report;
use crate::world::{self, Failure};

/// Real time after which a world is taken to hang. It takes some milliseconds.
const HANG: Duration = Duration::from_secs(120);

/// How often is looked for that.
const LOOK: Duration = Duration::from_millis(10);

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
    ///
    /// A world whose thread waits for something that never comes cannot be ended: that ends the process, after its seed
    /// was told.
    pub fn run(seeds: Range<u64>, until: impl Fn(&Report) -> bool + Sync) -> Self {
        let begun = Instant::now();
        let next = AtomicU64::new(seeds.start);
        let campaign = Mutex::new(Self::default());
        let work = |running: &Mutex<Option<(u64, Instant)>>| {
            while !until(&lock(&campaign).report) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                *lock(running) = Some((seed, Instant::now()));
                let result = world::run(seed);
                *lock(running) = None;
                let mut campaign = lock(&campaign);
                match result {
                    Ok(success) => campaign.report.add(&success.report),
                    Err(failure) => campaign.failures.push(*failure),
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..threads).map(|_| Mutex::default()).collect();
        thread::scope(|scope| {
            let work = &work;
            let workers: Vec<_> = running
                .iter()
                .map(|running| scope.spawn(|| work(running)))
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                thread::sleep(LOOK);
                running.iter().for_each(end_if_it_hangs);
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

fn end_if_it_hangs(running: &Mutex<Option<(u64, Instant)>>) {
    let Some((seed, since)) = *lock(running) else {
        return;
    };
    if since.elapsed() > HANG {
        eprintln!(
            "\nseed {seed}: the world hangs\nreplay: SIM_SEED={seed} cargo test -p sim --test seeds"
        );
        process::exit(1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
