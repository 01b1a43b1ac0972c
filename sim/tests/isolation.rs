//! A simulated world knows no clock, randomness, thread, file or socket but its own. Method: what is linked into it and
//! what its source names are looked at.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that tell time, draw randomness, start threads or talk to the system by themselves.
const FORBIDDEN_CRATES: &[&str] = &[
    "async-io",
    "async-std",
    "coarsetime",
    "crossbeam-channel",
    "crossbeam-utils",
    "getrandom",
    "instant",
    "mio",
    "num_cpus",
    "polling",
    "quanta",
    "rand",
    "rayon",
    "smol",
    "socket2",
    "threadpool",
    "tokio",
    "web-time",
];

/// Property tests, which no world runs, draw randomness by these.
const ONLY_FOR_TESTS: &[&str] = &["proptest", "tempfile"];

/// What the source of a world must not name: the system, and collections whose order differs from run to run.
const FORBIDDEN_NAMES: &[&str] = &[
    "std::thread",
    "thread::",
    "Instant",
    "SystemTime",
    "std::fs",
    "std::net",
    "HashMap",
    "HashSet",
    "RandomState",
    "thread_rng",
    "getrandom",
];

/// What is around the worlds: it starts them on threads, takes the real time, and prints.
const AROUND: &[&str] = &["campaign.rs", "main.rs", "world.rs"];

fn sim() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn links_nothing_that_reaches_the_system_by_itself() {
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--package",
        "sim",
        "--edges",
        "normal,no-proc-macro",
    ])
    .args(["--prefix", "none", "--format", "{p}", "--offline"]);
    for name in ONLY_FOR_TESTS {
        tree.args(["--prune", name]);
    }
    let output = tree.current_dir(sim()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let linked: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(linked.contains(&"concave-core"), "the list was read");
    for name in FORBIDDEN_CRATES {
        assert!(
            !linked.contains(name),
            "{name} is linked into the simulation: cargo tree -p sim -i {name}"
        );
    }
}

#[test]
fn names_nothing_that_differs_from_run_to_run() {
    let mut files = Vec::new();
    collect(&sim().join("src"), &mut files);
    assert!(files.len() > 10, "the source was found");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // Tests come last in a file.
        let code = text.split("\nmod tests").next().unwrap();
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or_default();
            for name in FORBIDDEN_NAMES {
                assert!(
                    !line.contains(name),
                    "{}:{}: {name}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_around = AROUND
            .iter()
            .any(|name| path == sim().join("src").join(name));
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_around {
            files.push(path);
        }
    }
}
