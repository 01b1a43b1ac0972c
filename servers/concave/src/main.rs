//! The `concave` command: reads options, puts the parts together, and stops them in order.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod admin_key;
mod cli;
mod defect;
mod dev;
mod engine;
mod instance;
mod listener;
mod output;
mod problem;
mod serve;
mod server;
mod signals;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::problem::Problem;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long tasks may take to end after everything else has.
const LAST_TASKS_TIME: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    #[cfg(feature = "v8")]
    if std::env::args().nth(1).as_deref() == Some(engine::SNAPSHOT) {
        return match concave_v8::make_snapshot() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Problem> {
    let filter = EnvFilter::builder()
        .with_env_var("CONCAVE_LOG")
        .with_default_directive(tracing_subscriber::filter::LevelFilter::WARN.into())
        .from_env()
        .map_err(|error| {
            Problem::new(format!("CONCAVE_LOG cannot be understood: {error}")).hint(
                "Use a level such as `info`, or levels of parts such as `warn,concave_core=debug`.",
            )
        })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match command {
        Command::Dev(options) => on_threads(dev::run(options)),
        Command::Serve(options) => on_threads(serve::run(options)),
        Command::AdminKey(options) => admin_key::run(&options),
        Command::Limits(options) => {
            output::say(options.limits()?);
            Ok(())
        }
    }
}

/// Runs a server to its end.
fn on_threads(server: impl Future<Output = Result<(), Problem>>) -> Result<(), Problem> {
    defect::end_on_panic();
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Problem::new(format!("threads do not start: {error}")))?;
    let result = runtime.block_on(server);
    // Ends what still holds the database, so that it is closed in good order.
    runtime.shutdown_timeout(LAST_TASKS_TIME);
    result
}
