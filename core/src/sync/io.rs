//! What goes into a session and what comes out of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::close::CloseFrame;
use super::outcome::{ActionOutcome, MutationOutcome, QueryOutcome};
use super::{QueryId, RequestNumber};
use crate::error::Error;
use crate::identity::{Identity, UserIdentity};
use crate::request_id::RequestId;
use crate::timestamp::Timestamp;

/// The time of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since some fixed instant; never decreases. Timers go by it.
    pub monotonic: Duration,
    /// Of the wall clock; may jump. Shown to clients, and compared with the expiry of tokens.
    pub wall: Timestamp,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The client sent a text message. While the session is not [receptive](super::Session::is_receptive), none is
    /// taken from the socket.
    Text {
        /// The message.
        text: String,
        /// The database's latest timestamp, to notice a client that has seen a future unknown here.
        latest: Timestamp,
    },
    /// The client sent something else, or the socket took a part of a message.
    Activity,
    /// The client sent what the socket could not take: the session ends with this error.
    Refused(Error),
    /// The time that [`next_timeout`](super::Session::next_timeout) named has come.
    Timeout,
    /// The socket has taken the oldest [`Effect::Send`] that was not reported yet.
    Sent,
    /// Answers [`Effect::Authenticate`].
    AuthDone(Result<Identity, Error>),
    /// A commit touched what a query of this session read. Which one is told in
    /// [`TransitionBegun`](Input::TransitionBegun); until the next [`Effect::BeginTransition`], telling once is
    /// enough. It may arrive late, but not never.
    Invalidated,
    /// Answers [`Effect::BeginTransition`].
    TransitionBegun {
        /// The database's latest timestamp at some time since the effect was handed out: not below that of any
        /// transition, or of any mutation outcome that was fed before.
        ts: Timestamp,
        /// Queries whose last result no longer holds at `ts`; it may name more. A result of any other query that was delivered by
        /// [`QueryDone`](Input::QueryDone) and not unsubscribed since then is the result at `ts`, too.
        invalidated: Vec<QueryId>,
    },
    /// Answers [`Effect::RunQuery`].
    QueryDone {
        /// Which query.
        query_id: QueryId,
        /// What it gave at the timestamp asked for. From then on the driver watches what it read. An error is not
        /// the function's failure but an inability to run it.
        result: Result<Arc<QueryOutcome>, Error>,
    },
    /// Answers [`Effect::RunMutation`].
    MutationDone {
        /// Which mutation.
        request_id: RequestNumber,
        /// How it ended; an error is not the function's failure but an inability to run it.
        result: Result<MutationOutcome, Error>,
    },
    /// The arguments of an action wait no longer: it has begun.
    ActionBegun {
        /// Which action.
        request_id: RequestNumber,
    },
    /// Answers [`Effect::RunAction`].
    ActionDone {
        /// Which action.
        request_id: RequestNumber,
        /// How it ended; an error is not the function's failure but an inability to run it.
        result: Result<ActionOutcome, Error>,
    },
    /// The server stops.
    Shutdown,
}

/// Something to do.
///
/// Each request is answered by exactly one input, except after [`Close`](Effect::Close), when nothing is expected
/// any more.
#[derive(Debug)]
pub enum Effect {
    /// Send one text message. Once the socket has taken it, feed [`Input::Sent`].
    Send(String),
    /// Send a WebSocket ping frame.
    Ping,
    /// Verify credentials. No further message of the client is processed until [`Input::AuthDone`].
    Authenticate(Credential),
    /// Choose the timestamp of a transition: the latest one, together with the queries that it invalidates, in one
    /// look at the database. Answered by [`Input::TransitionBegun`].
    BeginTransition,
    /// Evaluate a query. Answered by [`Input::QueryDone`].
    RunQuery(QueryRun),
    /// Stop watching what a query read; its last result is of no further interest. It may have none.
    Unsubscribe(QueryId),
    /// Run a mutation, or find the outcome of an earlier run of the same one: the session and the request number
    /// name it. At most one runs at a time. Answered by [`Input::MutationDone`].
    RunMutation(CallRequest),
    /// Run an action. Answered by [`Input::ActionDone`], before which [`Input::ActionBegun`] may tell that it has begun.
    RunAction(CallRequest),
    /// Once everything is sent, send this close frame and drop the session. Queries that run for it, and mutations and
    /// actions that have not begun, may be stopped; a mutation that has begun may complete, since the client will ask
    /// for it again.
    Close(CloseFrame),
}

/// Credentials to verify.
#[derive(Clone, PartialEq)]
pub enum Credential {
    /// A JSON Web Token.
    User(String),
    /// An admin key.
    Admin {
        /// The key.
        key: String,
        /// The user whose identity functions shall see.
        acting_as: Option<UserIdentity>,
    },
}

impl fmt::Debug for Credential {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::User(_) => f.write_str("User(..)"),
            Credential::Admin { acting_as, .. } => f
                .debug_struct("Admin")
                .field("acting_as", acting_as)
                .finish_non_exhaustive(),
        }
    }
}

/// A query to evaluate.
#[derive(Clone, Debug)]
pub struct QueryRun {
    /// Which query of the session.
    pub query_id: QueryId,
    /// The snapshot to evaluate it at.
    pub ts: Timestamp,
    /// Function path as the client sent it.
    pub path: Arc<str>,
    /// Arguments, encoded JSON; an array, unless something is wrong with them.
    pub args: Arc<str>,
    /// Component that holds the function; `None` for the app itself.
    pub component: Option<Arc<str>>,
    /// What the last run returned as its journal.
    pub journal: Option<Arc<str>>,
    /// On whose behalf.
    pub identity: Arc<Identity>,
}

/// A mutation or an action to run.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// The client's number for it.
    pub request_id: RequestNumber,
    /// The client's session, a UUID in lower case; `None` if the client did not introduce itself.
    pub session_id: Option<Arc<str>>,
    /// Function path as the client sent it.
    pub path: String,
    /// Arguments, encoded JSON; an array, unless something is wrong with them.
    pub args: Arc<str>,
    /// Component that holds the function; `None` for the app itself.
    pub component: Option<String>,
    /// On whose behalf.
    pub identity: Arc<Identity>,
}

impl CallRequest {
    /// The name of the request in logs and error texts; `None` if the client did not introduce itself.
    pub fn log_id(&self) -> Option<RequestId> {
        let session_id = self.session_id.as_deref()?;
        Some(RequestId::of_session(session_id, self.request_id))
    }

    /// What it keeps in memory until it begins, about.
    pub fn bytes(&self) -> usize {
        request_bytes(&self.path, &self.args, self.component.as_deref())
    }
}

/// What a request costs beside its texts, bytes.
const REQUEST_OVERHEAD_BYTES: usize = 256;

/// What a request keeps in memory until it begins, about.
pub(super) fn request_bytes(path: &str, args: &str, component: Option<&str>) -> usize {
    path.len() + args.len() + component.map_or(0, str::len) + REQUEST_OVERHEAD_BYTES
}
