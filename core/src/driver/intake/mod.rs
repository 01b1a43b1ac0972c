//! What strangers send: how much of it is held at once, and what may become of it.
//!
//! Bytes are counted as they arrive, and again, by the memory they will take, before they are parsed. Both are bounded
//! for all clients together; who finds no room waits a little and is then told to come back. The two are apart so that
//! what has arrived is worked off, whoever else is sending.

mod budget;
mod json;

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use serde::de::DeserializeOwned;

pub use budget::{Budget, Share, Take};
pub use json::json_memory;

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::runtime::RuntimeHandle;
use crate::value::well_formed_json;

/// Texts and bodies up to this length, bytes, are not counted: a connection costs as much in any case.
pub const UNCOUNTED_BYTES: usize = 16 << 10;
/// Room for what arrives is taken in steps of so many bytes.
const STEP_BYTES: usize = 256 << 10;
/// What is longer than this, bytes, is parsed where it does not delay others.
pub const LONG_BYTES: usize = 64 << 10;

/// What is on its way into a server.
pub struct Intake {
    /// Bodies and messages as they arrive: their bytes.
    pub arriving: Budget,
    /// One at a time may go on arriving though there is no room. Otherwise many that have all begun would wait for each
    /// other.
    first: Budget,
    /// Pushes, one at a time: they are large, and only those with a key make them.
    pub pushes: Budget,
    /// What is parsed: its memory, estimated.
    parsed: Budget,
    limits: Limits,
    runtime: RuntimeHandle,
}

/// What was parsed, and the room that it takes, which is given back when this is dropped.
#[derive(Debug)]
pub struct Parsed<T> {
    /// The value.
    pub value: T,
    /// Its part of the memory for all; none if it is small.
    pub share: Option<Share>,
}

impl Intake {
    /// What `limits` allow.
    pub fn new(runtime: RuntimeHandle, limits: Limits) -> Self {
        Self {
            arriving: Budget::new(limits.arriving_bytes),
            first: Budget::new(1),
            pushes: Budget::new(1),
            parsed: Budget::new(limits.parsed_bytes),
            limits,
            runtime,
        }
    }

    /// Parses JSON that somebody sent. `code` is the code of the error if it is none.
    ///
    /// # Errors
    /// `JsonTooLarge` beyond [`Limits::json_bytes`]; overloaded if there is no room for it; or if it is not the JSON that
    /// it should be.
    pub async fn parse<T: DeserializeOwned>(
        &self,
        code: &'static str,
        text: &[u8],
    ) -> Result<Parsed<T>> {
        if text.len() <= UNCOUNTED_BYTES {
            let value = read(code, text)?;
            return Ok(Parsed { value, share: None });
        }
        let mut bytes = 0;
        self.aside(text, &mut || bytes = json_memory(text));
        if bytes > self.limits.json_bytes {
            return Err(Error::bad_request(
                "JsonTooLarge",
                format!(
                    "This JSON would take {bytes} bytes of memory; the limit is {}. Send it in parts, or with fewer and larger values.",
                    self.limits.json_bytes
                ),
            ));
        }
        let patience = self.limits.intake_time;
        let share = self
            .parsed
            .take_within(&*self.runtime, patience, bytes)
            .await?;
        let mut value = None;
        self.aside(text, &mut || value = Some(read(code, text)));
        let value = value.expect("work that is done aside is done")?;
        Ok(Parsed {
            value,
            share: Some(share),
        })
    }

    /// Does work that takes as long as `text` is.
    fn aside(&self, text: &[u8], work: &mut dyn FnMut()) {
        match text.len() > LONG_BYTES {
            true => self.runtime.heavy(work),
            false => work(),
        }
    }
}

/// The room of one body or message while it arrives.
pub struct Room {
    intake: Arc<Intake>,
    share: Option<Share>,
    first: Option<Share>,
}

/// More room, for [`Room::grow`].
pub enum More {
    /// So many bytes.
    Bytes(Share),
    /// Whatever is to come.
    First(Share),
}

impl Room {
    /// Room for what is small.
    pub fn new(intake: &Arc<Intake>) -> Self {
        Self {
            intake: intake.clone(),
            share: None,
            first: None,
        }
    }

    /// Whether there is room for `bytes` in all.
    pub fn holds(&self, bytes: usize) -> bool {
        let counted = self.share.as_ref().map_or(0, Share::bytes);
        self.first.is_some() || bytes <= UNCOUNTED_BYTES + counted
    }

    /// Waits for more.
    ///
    /// # Errors
    /// Overloaded: `TooManyConcurrentRequests`.
    pub fn more(&self) -> impl Future<Output = Result<More>> + Send + use<> {
        let intake = self.intake.clone();
        async move {
            let patience = intake.limits.intake_time;
            let bytes = intake
                .arriving
                .take_within(&*intake.runtime, patience, STEP_BYTES);
            match select(pin!(bytes), intake.first.take(1)).await {
                Either::Left((bytes, _)) => Ok(More::Bytes(bytes?)),
                Either::Right((first, _)) => Ok(More::First(first)),
            }
        }
    }

    /// Has more room from now on.
    pub fn grow(&mut self, more: More) {
        match (more, &mut self.share) {
            (More::First(first), _) => self.first = Some(first),
            (More::Bytes(more), Some(share)) => share.absorb(more),
            (More::Bytes(more), None) => self.share = Some(more),
        }
    }
}

fn read<T: DeserializeOwned>(code: &'static str, text: &[u8]) -> Result<T> {
    // Halves of surrogate pairs, which JavaScript's strings may hold, become U+FFFD.
    let parsed = match std::str::from_utf8(text) {
        Ok(text) => serde_json::from_str(&well_formed_json(text)),
        Err(_) => serde_json::from_slice(text),
    };
    parsed.map_err(|error| {
        Error::bad_request(
            code,
            format!("This is not the JSON that it should be: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_executor::block_on;
    use serde_json::Value as Json;

    use super::*;
    use crate::driver::testing::ThreadRuntime;

    fn intake(json_bytes: usize, parsed_bytes: usize) -> Intake {
        let limits = Limits {
            json_bytes,
            parsed_bytes,
            intake_time: Duration::from_millis(20),
            ..Limits::default()
        };
        Intake::new(ThreadRuntime::handle(), limits)
    }

    #[test]
    fn json_is_bounded_by_the_memory_it_will_take() {
        let text = format!("[{}[]]", "[],".repeat(UNCOUNTED_BYTES));
        let bytes = json_memory(text.as_bytes());
        let parse = |intake: &Intake| block_on(intake.parse::<Json>("Bad", text.as_bytes()));
        let error = parse(&intake(bytes - 1, usize::MAX)).unwrap_err();
        assert_eq!(error.code, "JsonTooLarge");
        let exact = intake(bytes, bytes);
        let first = parse(&exact).unwrap();
        assert_eq!(parse(&exact).unwrap_err().code, "TooManyConcurrentRequests");
        drop(first);
        assert!(parse(&exact).is_ok());
    }

    #[test]
    fn one_at_a_time_goes_on_though_there_is_no_room() {
        let limits = Limits {
            arriving_bytes: STEP_BYTES,
            intake_time: Duration::from_millis(20),
            ..Limits::default()
        };
        let intake = Arc::new(Intake::new(ThreadRuntime::handle(), limits));
        let mut rooms = [(); 3].map(|()| Room::new(&intake));
        let mut grow = |at: usize| {
            let room: &mut Room = &mut rooms[at];
            let more = block_on(room.more())?;
            room.grow(more);
            Ok::<_, Error>(room.holds(usize::MAX))
        };
        assert_eq!(grow(0), Ok(false));
        assert_eq!(grow(1), Ok(true));
        assert_eq!(grow(2).unwrap_err().code, "TooManyConcurrentRequests");
        assert_eq!(grow(0).unwrap_err().code, "TooManyConcurrentRequests");
        rooms[1] = Room::new(&intake);
        assert!(matches!(block_on(rooms[2].more()), Ok(More::First(_))));
    }

    #[test]
    fn what_is_wrong_has_the_code_asked_for() {
        for text in ["[", &format!("[{}", "1,".repeat(UNCOUNTED_BYTES))] {
            let error = block_on(intake(1 << 30, 1 << 30).parse::<Json>("Bad", text.as_bytes()));
            assert_eq!(error.unwrap_err().code, "Bad");
        }
    }
}
