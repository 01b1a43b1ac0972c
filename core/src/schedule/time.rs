//! The time that a function is scheduled for.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::timestamp::Timestamp;

/// Furthest that a function may be scheduled from now, into the past as well.
const DISTANCE_MAX: Duration = Duration::from_secs(5 * 366 * 24 * 60 * 60);

/// A point in time with the precision of JavaScript's clock and more: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScheduledTime(u64);

impl ScheduledTime {
    /// Reads the seconds since the Unix epoch that npm `convex` sends. Rounding to microseconds undoes what its division
    /// by a thousand did to whole milliseconds.
    ///
    /// # Errors
    /// `InvalidScheduledFunctionDelay` if it is no time, or lies more than five years from `now`.
    pub fn from_seconds(seconds: f64, now: Timestamp) -> Result<Self> {
        let refuse = |message| Error::bad_request("InvalidScheduledFunctionDelay", message);
        let time = Duration::try_from_secs_f64(seconds)
            .map_err(|error| refuse(format!("{seconds} is not a time in seconds: {error}")))?;
        let now = Duration::from_nanos(now.0);
        let side = if time > now { "future" } else { "past" };
        if time.abs_diff(now) > DISTANCE_MAX {
            return Err(refuse(format!(
                "UnixTimestamp({time:?}) is more than 5 years in the {side}"
            )));
        }
        Ok(Self((seconds * 1e6).round() as u64))
    }

    /// Milliseconds since the Unix epoch, as functions see it.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }

    /// When the job is due by the wall clock, which says `wall`: at that time, but not before now, so that what was
    /// scheduled for the past queues behind what is due already.
    ///
    /// The clock of functions, which says `now`, is ahead of a wall clock that was set back, by hours perhaps, until that
    /// has caught up. It is their clock that delays are counted from, so the job is then due as much earlier.
    pub fn due(self, now: Timestamp, wall: Timestamp) -> Timestamp {
        let ahead = now.0.saturating_sub(wall.0);
        let requested = self.0.saturating_mul(1000).saturating_sub(ahead);
        Timestamp(requested).max(wall)
    }
}
