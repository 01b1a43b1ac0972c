//! The pure core alone, in a plain seeded loop: no runtime, no tasks, nothing that waits.
//!
//! [`run`] turns a seed into many open transactions whose steps, submissions, batches, failures, trims and
//! subscriptions come in random order, and turns the core's cranks as `concave_core::driver` does. Without futures
//! and a simulated disk this does tens of thousands of transactions in a second, each of them judged:
//!
//! * every row and every absence is what the [`model`] has at the snapshot, with the transaction's own writes;
//! * every read set is what was consumed, as computed here from what was asked and answered;
//! * a transaction is refused exactly if a commit after its snapshot wrote a key that it read, found by comparing all
//!   keys with all ranges; so nothing conflicts falsely, and the conflict named is the first one;
//! * every commit, replayed at its place in the order of commits, sees the same again: serializable;
//! * subscriptions fire exactly when a commit touches what was read, and what has not fired reads the same;
//! * commits are published in order, whole batches at once, with timestamps at or after the clock; failed ones leave
//!   nothing behind;
//! * the log is trimmed as far as asked and never beyond what a held snapshot needs;
//! * the catalog and every index are, in the end, what the documents give;
//! * the workloads' own meaning: money is only moved, lists keep their order, items leave the queue once.
//!
//! The checks are assertions; a seed that fails panics, and [`run`] says how to see it again.

mod mix;
mod model;
mod operations;
mod report;
mod running;
mod store;
mod tally;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;

pub use mix::{Mix, Operation};
pub use report::{Event, Report};
use tally::Tally;
use world::World;

use crate::elle::Entry;

/// Transactions of an ordinary loop.
pub const TRANSACTIONS: u32 = 1_000;

/// Runs the loop of a seed and judges everything in it.
///
/// # Errors
/// What was wrong, and how to see it again.
pub fn run(seed: u64) -> Result<Report, String> {
    let mut rng = Rng::with_seed(seed);
    let mix = Mix::draw(&mut rng, TRANSACTIONS);
    run_with(seed, mix, rng).map(|(report, _)| report)
}

/// Like [`run`], with lists only and at the newest snapshots; gives what happened to them, for another judge.
///
/// # Errors
/// As [`run`].
pub fn run_lists(seed: u64) -> Result<Vec<Entry>, String> {
    let mut rng = Rng::with_seed(seed);
    let mut mix = Mix::draw(&mut rng, TRANSACTIONS);
    mix.weights = [0; Operation::ALL.len()];
    mix.weights[Operation::Append as usize] = 2;
    mix.weights[Operation::ReadLists as usize] = 1;
    mix.old = 0.0;
    run_with(seed, mix, rng).map(|(_, tally)| tally.history())
}

fn run_with(seed: u64, mix: Mix, rng: Rng) -> Result<(Report, Tally), String> {
    let description = format!("{mix:?}");
    let run = || {
        let mut world = World::new(mix, rng);
        world.run();
        world.end()
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        format!(
            "seed {seed}: {text}\n{description}\n\
             replay: SIM_SEED={seed} cargo test -p sim --test core_loop"
        )
    })
}
