//! Signs of life, in both directions.

use std::time::Duration;

use super::Limits;
use crate::error::{Error, ErrorClass};
use crate::planted::{Bug, planted};

/// What the socket takes after so long must have found room at the other end. What it takes sooner may have gone into a
/// buffer of this machine, of which a client that is gone knows nothing.
pub(super) const ROOM_MADE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Liveness {
    /// The last sign of life of the client.
    heard: Duration,
    /// When the last message was sent, or taken by the socket.
    spoke: Duration,
    /// When the last ping frame was sent.
    pinged: Duration,
    /// Since when messages wait for the socket, or since it took the one before them; `None` if none waits.
    waiting: Option<Duration>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A WebSocket ping frame.
    PingFrame,
    /// A `Ping` message.
    PingMessage,
    /// The client is gone.
    Silence,
}

impl Liveness {
    pub fn new(now: Duration) -> Self {
        Self {
            heard: now,
            spoke: now,
            pinged: now,
            waiting: None,
        }
    }

    pub fn heard(&mut self, now: Duration) {
        assert!(now >= self.heard, "time does not go back");
        self.heard = now;
    }

    pub fn spoke(&mut self, now: Duration) {
        assert!(now >= self.spoke, "time does not go back");
        self.spoke = now;
    }

    /// A message waits for the socket.
    pub fn waits(&mut self, now: Duration) {
        assert!(self.waiting.is_none_or(|since| since <= now));
        self.waiting.get_or_insert(now);
    }

    /// The socket has taken a message. `is_drained`: it was the last one.
    pub fn taken(&mut self, now: Duration, is_drained: bool) {
        let has_waited = self.waiting.is_some_and(|since| now >= since + ROOM_MADE);
        if has_waited || planted(Bug::TakenIsHeard) {
            self.heard(now);
        }
        self.waiting = (!is_drained).then_some(now);
        self.spoke(now);
    }

    /// The next thing that is due, if `now` it is. `is_drained`: behind messages that the socket has not taken, a
    /// ping would be of no use, and they would pile up.
    pub fn poll(&mut self, now: Duration, is_drained: bool, limits: &Limits) -> Option<Due> {
        assert!(now >= self.heard, "time does not go back");
        assert!(now >= self.spoke);
        assert!(now >= self.pinged);
        if now >= self.heard + limits.client_silence {
            return Some(Due::Silence);
        }
        if !is_drained {
            return None;
        }
        if now >= self.spoke + limits.ping_message_silence {
            self.spoke = now;
            assert!(limits.ping_message_silence < limits.client_silence);
            return Some(Due::PingMessage);
        }
        if now >= self.pinged + limits.ping_frame_period {
            self.pinged = now;
            return Some(Due::PingFrame);
        }
        None
    }

    /// When something will be due.
    pub fn next_timeout(&self, is_drained: bool, limits: &Limits) -> Duration {
        let silence = self.heard + limits.client_silence;
        if !is_drained {
            return silence;
        }
        let next = silence
            .min(self.spoke + limits.ping_message_silence)
            .min(self.pinged + limits.ping_frame_period);
        assert!(next <= silence, "a client that is gone is noticed in time");
        next
    }

    /// The error of a client that is gone.
    pub fn silence_error(limits: &Limits) -> Error {
        Error::new(
            ErrorClass::ClientDisconnect,
            "InactiveClient",
            format!("no sign of life for {:?}", limits.client_silence),
        )
    }
}
