//! Runs worlds by hand: see [`HELP`].

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sim::campaign::Campaign;
use sim::settings::Settings;
use sim::{shrink, world};

const HELP: &str = "\
sim soak HOURS [FIRST]     worlds of fresh seeds, from FIRST on (default: from the clock), until the time is over or
                           one of them fails; HOURS may be a fraction
sim trace SEED [WITH]      everything that happens in the world of a seed; WITH is what a report calls SIM_WITH
sim shrink SEED            the smallest failing world that is found from a failing seed";

/// Worlds between two reports of a soak.
const WORLDS_PER_REPORT: u64 = 20_000;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["soak", hours] => number(hours).and_then(|hours| soak(hours, fresh_seed())),
        ["soak", hours, first] => number(hours).and_then(|hours| soak(hours, number(first)?)),
        ["trace", seed] => number(seed).and_then(|seed| trace(seed, "")),
        ["trace", seed, with] => number(seed).and_then(|seed| trace(seed, with)),
        ["shrink", seed] => number(seed).and_then(shrink_seed),
        _ => Err(HELP.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not such a number\n\n{HELP}"))
}

/// A seed that earlier soaks have not begun with.
fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs()) * 1_000_000
}

fn soak(hours: f64, first: u64) -> Result<(), String> {
    let end =
        Instant::now() + Duration::try_from_secs_f64(hours * 3600.0).map_err(|e| e.to_string())?;
    let mut total = Campaign::default();
    let mut next = first;
    while Instant::now() < end {
        let seeds = next..next.saturating_add(WORLDS_PER_REPORT);
        next = seeds.end;
        let campaign = Campaign::run(seeds, |_| Instant::now() >= end);
        total.report.add(&campaign.report);
        total.took += campaign.took;
        println!("{}\n{}\n", total.report, total.speed());
        if let Some(failure) = campaign.failures.into_iter().next() {
            return Err(shrink::shrink(Box::new(failure)).to_string());
        }
    }
    println!("all of the worlds from {first} on ended well");
    Ok(())
}

fn trace(seed: u64, with: &str) -> Result<(), String> {
    let settings = Settings::replay(seed, with)?;
    println!("{settings:#?}");
    let sink = io::BufWriter::new(io::stdout());
    let result = world::run_with(settings, Some(Box::new(sink)));
    let success = result.map_err(|failure| failure.to_string())?;
    writeln!(io::stdout(), "{}\n{}", success.report, success.trace).map_err(|e| e.to_string())
}

fn shrink_seed(seed: u64) -> Result<(), String> {
    match world::run(seed) {
        Ok(_) => Err(format!("seed {seed} does not fail")),
        Err(failure) => {
            println!("{}", shrink::shrink(failure));
            Ok(())
        }
    }
}
