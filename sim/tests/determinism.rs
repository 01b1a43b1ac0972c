//! Goal: a seed is a full description of a run. Method: run some seeds twice, on threads of their own (hash maps of the
//! standard library are seeded anew each time, so their order would show), and compare the hashes of everything that
//! happened.

use std::thread;

use sim::world;

#[test]
fn a_seed_always_gives_the_same_trace() {
    let mut traces = std::collections::BTreeSet::new();
    for seed in [1, 2, 3] {
        let run = move || world::run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        let first = thread::spawn(run).join().unwrap();
        let second = thread::spawn(run).join().unwrap();
        assert_eq!(first, second, "seed {seed} gave two different runs");
        traces.insert(first.trace);
    }
    assert_eq!(traces.len(), 3, "different seeds give different runs");
}
