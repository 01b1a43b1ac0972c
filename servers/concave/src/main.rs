//! The binary: command line, configuration, wiring. Nothing else.

mod cli;
mod deployment;
mod dev;
mod secret;
mod server;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("CONCAVE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let result = match cli.command {
        Command::AdminKey(options) => {
            println!("{}", deployment::admin_key(&options));
            Ok(())
        }
        Command::Serve(options) => run(server::serve(options)),
        Command::Dev(options) => run(dev::dev(options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("concave: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command on Tokio. Its error is one readable text.
fn run(command: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let result = runtime.block_on(command);
    // Whatever still runs (a client that does not go away) must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
