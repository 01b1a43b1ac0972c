//! Goal: nothing that any client ever sees contradicts the order of commits, whatever fails and whenever the server
//! crashes. Method: worlds from many seeds, each judged exactly; see `sim::oracle`.
//!
//! `SIM_SEED=17` runs one seed, with `SIM_WITH=clients=1,-Crash` restricted as a report says; `SIM_SEEDS=1000..9000`
//! runs a range.

use std::ops::Range;

use sim::campaign::Campaign;
use sim::settings::Settings;
use sim::{shrink, world};

/// Seeds of an ordinary test run.
const SEEDS: Range<u64> = 0..2_000;
/// From so many worlds on, everything that can happen must have happened.
const ENOUGH: u64 = 1_000;

#[test]
fn worlds() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        return one(number(&seed));
    }
    let campaign = Campaign::run(seeds(), |_| false);
    println!("{}\n{}", campaign.report, campaign.speed());
    let failing: Vec<_> = campaign
        .failures
        .iter()
        .map(|failure| failure.settings.seed)
        .collect();
    if let Some(first) = campaign.failures.into_iter().next() {
        let smallest = shrink::shrink(Box::new(first.clone()));
        panic!(
            "{first}\n\nas small as it gets:\n{smallest}\n\n{} seeds fail: {failing:?}",
            failing.len()
        );
    }
    if campaign.report.worlds >= ENOUGH {
        let zeros = campaign.report.zeros();
        assert!(zeros.is_empty(), "these never happened: {zeros:?}");
    }
}

fn one(seed: u64) {
    let with = std::env::var("SIM_WITH").unwrap_or_default();
    let settings = Settings::replay(seed, &with).expect("SIM_WITH is what a report says");
    match world::run_with(settings, None) {
        Ok(success) => println!("{}", success.report),
        Err(failure) => panic!("{failure}"),
    }
}

fn seeds() -> Range<u64> {
    let Ok(range) = std::env::var("SIM_SEEDS") else {
        return SEEDS;
    };
    let (start, end) = range
        .split_once("..")
        .expect("SIM_SEEDS is a range such as 0..1000");
    number(start)..number(end)
}

fn number(text: &str) -> u64 {
    text.trim().parse().expect("seeds are numbers")
}
