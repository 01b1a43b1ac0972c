//! Throughput of whole paths, each beside a floor measured in the same run: what the parts alone could do.
//!
//! `cargo bench -p concave-benches` prints Markdown tables. Words after `--` choose sections, as in
//! `cargo bench -p concave-benches -- commits`.

#![allow(clippy::unwrap_used)] // A bench that cannot go on may say so as it likes.

mod commits;
mod floor;
mod functions;
mod reads;
mod report;
mod world;

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let sections: [(&str, fn()); 3] = [
        ("commits", commits::run),
        ("reads", reads::run),
        ("functions", functions::run),
    ];
    for (name, run) in sections {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            run();
        }
    }
}
