//! Judges a history of list-append with the checker `adya`: `judge MODEL < HISTORY`.
//!
//! The history has one operation per line, as the crate's documentation describes them. The answer, in JSON, has
//! `valid` (`true`, `false` or `"unknown"`) and the anomalies that were found, with explanations.

use std::io::Read;

use adya::{History, Opts, Workload, check};
use anyhow::Context;

fn main() -> anyhow::Result<()> {
    let model = std::env::args().nth(1).context("usage: judge MODEL")?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let history = History::from_json(&text)?;
    let opts = Opts {
        models: vec![model],
        ..Opts::default()
    };
    let report = check(&history, Workload::ListAppend, &opts);
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
