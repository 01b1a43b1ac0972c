//! How long a job waits after the server failed to run it. Failures of the job's function are no reason to wait: they
//! finish the job.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(2 * 60 * 60);

/// The wait after the `failures`-th failure in a row, counted from 1. `random` spreads jobs that failed together
/// over the second half of it.
pub fn backoff(failures: u32, random: u8) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    full / 2 + full / 2 * u32::from(random) / u32::from(u8::MAX)
}
