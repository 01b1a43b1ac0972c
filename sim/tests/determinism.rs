//! Goal: a seed is a full description of a run. Method: run some seeds in two processes (hash maps of the standard
//! library are seeded anew in each, memory lies elsewhere, so any use of either would show) and compare everything
//! that happened, byte for byte.

use std::process::Command;

/// Everything that happens in the world of a seed.
fn trace(seed: u64) -> Vec<u8> {
    let sim = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["trace", &seed.to_string()])
        .output();
    let output = sim.expect("the program starts");
    assert!(
        output.status.success(),
        "seed {seed}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn a_seed_gives_the_same_trace_in_every_process() {
    let traces = [1, 2, 3].map(|seed| {
        let (first, second) = (trace(seed), trace(seed));
        assert!(first.len() > 10_000, "something happens");
        if first != second {
            let lines = |trace: &[u8]| -> Vec<String> {
                let text = String::from_utf8_lossy(trace);
                text.lines().map(str::to_owned).collect()
            };
            let (first, second) = (lines(&first), lines(&second));
            let different = first.iter().zip(&second).position(|(a, b)| a != b);
            let at = different.unwrap_or(first.len().min(second.len()));
            panic!(
                "two runs of seed {seed} part at line {at}:\n{:?}\n{:?}\nreplay: cargo run -p sim -- trace {seed}",
                first.get(at),
                second.get(at)
            );
        }
        first
    });
    assert!(
        traces[0] != traces[1] && traces[1] != traces[2],
        "different seeds give different runs"
    );
}
