//! Programs that run for us, and their output: line by line behind their name.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use crate::output::say;

/// Starts a program whose output appears behind `name`. It reads nothing, and is the first of a process group, so
/// that Ctrl-C in the terminal does not reach it before we decide.
pub fn spawn(command: &mut Command, name: &'static str) -> std::io::Result<Child> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(relay(stdout, name));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(relay(stderr, name));
    }
    Ok(child)
}

async fn relay(output: impl AsyncRead + Unpin, name: &'static str) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // Bytes, not text: programs print what they like. An error is an end.
    while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line);
        say(format!("{name} | {text}").trim_end());
        line.clear();
    }
}
