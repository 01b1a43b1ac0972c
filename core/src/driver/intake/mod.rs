//! What strangers send: how much of it is held at once, and what may become of it.
//!
//! Bytes are counted as they arrive, and again, by the memory they will take, before they are parsed. Both are bounded
//! for all clients together; who finds no room waits a little and is then told to come back. The two are apart so that
//! what has arrived is worked off, whoever else is sending.

mod budget;
mod json;

use serde::de::DeserializeOwned;

pub use budget::{Budget, Share, Take};
pub use json::json_memory;

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::runtime::RuntimeHandle;

/// Texts and bodies up to this length, bytes, are not counted: a connection costs as much in any case.
pub const UNCOUNTED_BYTES: usize = 16 << 10;
/// What is longer than this, bytes, is parsed where it does not delay others.
pub const LONG_BYTES: usize = 64 << 10;

/// What is on its way into a server.
pub struct Intake {
    /// Bodies and messages as they arrive: their bytes.
    pub arriving: Budget,
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
            pushes: Budget::new(1),
            parsed: Budget::new(limits.parsed_bytes),
            limits,
            runtime,
        }
    }

    /// Waits for room for `bytes` more that arrive.
    ///
    /// # Errors
    /// Overloaded: `TooManyConcurrentRequests`.
    pub async fn arrive(&self, bytes: usize) -> Result<Share> {
        self.take(&self.arriving, bytes).await
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
        let share = self.take(&self.parsed, bytes).await?;
        let mut value = None;
        self.aside(text, &mut || value = Some(read(code, text)));
        let value = value.expect("work that is done aside is done")?;
        Ok(Parsed {
            value,
            share: Some(share),
        })
    }

    async fn take(&self, budget: &Budget, bytes: usize) -> Result<Share> {
        let patience = self.limits.intake_time;
        budget.take_within(&*self.runtime, patience, bytes).await
    }

    /// Does work that takes as long as `text` is.
    fn aside(&self, text: &[u8], work: &mut dyn FnMut()) {
        match text.len() > LONG_BYTES {
            true => self.runtime.heavy(work),
            false => work(),
        }
    }
}

fn read<T: DeserializeOwned>(code: &'static str, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| {
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
    fn what_is_wrong_has_the_code_asked_for() {
        for text in ["[", &format!("[{}", "1,".repeat(UNCOUNTED_BYTES))] {
            let error = block_on(intake(1 << 30, 1 << 30).parse::<Json>("Bad", text.as_bytes()));
            assert_eq!(error.unwrap_err().code, "Bad");
        }
    }
}
