//! What becomes of a server that finds a defect in itself.

use std::panic;
use std::process;

/// The exit code of a process that has panicked, as Rust has it.
const EXIT_CODE: i32 = 101;

/// From now on a panic ends the process, on whichever thread it happens: what is left of one could not be trusted, and a
/// server of which only a part still answers is worse than none. A supervisor starts it again; what was acknowledged is
/// in the database.
///
/// No one catches panics on purpose here. Those that come out of callbacks of an engine are caught by its binding only to
/// go on outside of it, and end the process before.
pub fn end_on_panic() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        report(panic);
        eprintln!(
            "error: this is a defect of Concave, which ends therefore. Start it again: what was acknowledged is stored."
        );
        process::exit(EXIT_CODE);
    }));
}

/// For tests, and not there in programs for use: panics in a task once there is a file of the name in
/// `CONCAVE_PANIC_FILE`.
#[cfg(debug_assertions)]
pub fn panic_when_asked() {
    let Some(file) = std::env::var_os("CONCAVE_PANIC_FILE").map(std::path::PathBuf::from) else {
        return;
    };
    tokio::spawn(async move {
        while !file.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("asked to by a test");
    });
}
