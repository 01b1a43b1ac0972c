//! What the person at the terminal reads.

use std::fmt::Display;
use std::io::Write;

/// Prints a line. Unlike `println!`, it does not mind that the terminal is gone: the server must stop in order then, too.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
