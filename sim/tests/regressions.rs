//! Seeds that once found a defect. A change of the generators gives a seed another meaning; the defect's own unit test
//! stays then, and the line here goes.

use sim::world;

const SEEDS: &[(u64, &str)] = &[
    (2, "a snapshot of the past saw tables created after it"),
    (3, "a snapshot of the past saw tables created after it"),
    (
        1_795_270_139_006_917,
        "a reader waited for the writer, which opened the file anew",
    ),
];

#[test]
fn defects_of_the_past_stay_away() {
    for (seed, defect) in SEEDS {
        if let Err(failure) = world::run(*seed) {
            panic!("{failure}\nonce: {defect}");
        }
    }
}
