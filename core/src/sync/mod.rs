//! The Convex sync protocol: its messages, and the machine that serves one WebSocket connection.
//!
//! A [`Session`] is fed the client's messages, the results of what it asked for, and the time; it hands out
//! [`Effect`]s. It knows neither the database nor functions: its driver evaluates queries at the timestamps agreed
//! on, runs mutations and actions, verifies credentials, and watches read sets for the session.
//!
//! What clients rely on, and what the session guarantees given a driver that keeps to the contract of [`Effect`]:
//!
//! - Transitions form an unbroken chain of versions whose timestamps never decrease.
//! - After a transition, the client's view of all its queries is their result at one timestamp, under one identity.
//! - Each mutation and action gets exactly one response; mutations run and respond in the order of arrival, each
//!   under the identity that was in force when it arrived.
//! - After each response comes a transition whose timestamp covers the commit. No transition that covers it comes
//!   before, unless the response is very late ([`Limits::mutation_hold`]).
//! - Memory is bounded by [`Limits`], whatever the client does, if the driver takes nothing from the socket while the
//!   session is not [receptive](Session::is_receptive): a client that asks for more than can be done at once waits.
//! - What is wrong with one request fails that request. The connection ends only where the protocol is broken, and in
//!   no way that a client would bring about again by connecting and sending what it has not had an answer to.

pub mod chunk;
pub mod client_message;
pub mod client_version;
pub mod close;
mod io;
mod liveness;
mod outbox;
pub mod outcome;
mod query_set;
mod requests;
pub mod server_message;
pub mod session;
#[cfg(test)]
mod tests;
mod transitions;

use std::time::Duration;

pub use client_message::ClientMessage;
pub use client_version::ClientVersion;
pub use close::CloseFrame;
pub use io::{CallRequest, Credential, Effect, Input, Now, QueryRun};
pub use outcome::{ActionOutcome, Committed, FunctionError, MutationOutcome, QueryOutcome};
pub use server_message::{ServerMessage, StateVersion};
pub use session::Session;

/// A client's name for one of its queries, unique within the connection's query set.
pub type QueryId = u32;

/// A client's number for one of its mutations or actions.
pub type RequestNumber = u32;

/// Largest frame that the Rust and Python clients accept, bytes: shells split larger messages into continuation
/// frames.
pub const OUTBOUND_FRAME_BYTES_MAX: usize = 16 << 20;

/// Bounds and periods of a session.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Silence of the client, pongs included, after which it is dropped.
    pub client_silence: Duration,
    /// Period of WebSocket ping frames. The Rust and Python clients give up after 30 s without a frame.
    pub ping_frame_period: Duration,
    /// Silence after which a `Ping` message is sent. Browsers see no ping frames and give up after 60 s.
    pub ping_message_silence: Duration,
    /// Longest run of a mutation, after which the connection fails; the client sends the mutation again. The driver has
    /// an outcome before, unless it hangs.
    pub mutation_run: Duration,
    /// How long a transition waits for the outcome of a mutation that may have committed within it. Too short, and
    /// optimistic updates flicker; too long, and a slow mutation delays what others changed.
    pub mutation_hold: Duration,
    /// Mutations that run or wait, beyond which the client waits.
    pub pending_mutations: usize,
    /// Actions that run or wait, beyond which the client waits.
    pub running_actions: usize,
    /// Queries that a client watches; more fail.
    pub queries: usize,
    /// Bytes of arguments, paths and journals of the queries that a client watches; queries beyond fail.
    pub query_bytes: usize,
    /// Queries evaluated at once.
    pub running_queries: usize,
    /// Bytes of mutations and actions that have not begun, beyond which the client waits. One always fits.
    pub pending_bytes: usize,
    /// Bytes of results in one transition; the results beyond become failures. One always fits.
    pub transition_bytes: usize,
    /// Transitions not yet written to the socket, beyond which none is computed.
    pub unsent_transitions: usize,
    /// Bytes of transitions not yet written to the socket, beyond which none is computed.
    pub unsent_transition_bytes: usize,
    /// Bytes of responses not yet written to the socket, beyond which no further mutation starts.
    pub unsent_response_bytes_soft: usize,
    /// Bytes of responses not yet written to the socket, beyond which the connection fails.
    pub unsent_response_bytes_hard: usize,
    /// Largest piece of a transition, for clients that assemble pieces.
    pub chunk_bytes: usize,
    /// First and longest pause before subscribed queries are evaluated again after a transient error.
    pub retry_backoff: (Duration, Duration),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client_silence: Duration::from_secs(120),
            ping_frame_period: Duration::from_secs(5),
            ping_message_silence: Duration::from_secs(15),
            mutation_run: Duration::from_secs(120),
            mutation_hold: Duration::from_millis(100),
            pending_mutations: 1000,
            running_actions: 1000,
            queries: 16_384,
            query_bytes: 16 << 20,
            running_queries: 20,
            pending_bytes: 16 << 20,
            transition_bytes: 64 << 20,
            unsent_transitions: 2,
            unsent_transition_bytes: 8 << 20,
            unsent_response_bytes_soft: 8 << 20,
            unsent_response_bytes_hard: 64 << 20,
            chunk_bytes: 5_000_000,
            retry_backoff: (Duration::from_millis(500), Duration::from_secs(600)),
        }
    }
}

impl From<&crate::limits::Limits> for Limits {
    fn from(limits: &crate::limits::Limits) -> Self {
        Self {
            // Without a place nothing would ever move.
            pending_mutations: limits.session_mutations.max(1),
            running_actions: limits.session_actions.max(1),
            queries: limits.session_queries,
            query_bytes: limits.session_query_bytes,
            pending_bytes: limits.session_waiting_bytes,
            transition_bytes: limits.transition_bytes,
            unsent_response_bytes_hard: limits.unread_response_bytes,
            ..Self::default()
        }
    }
}
