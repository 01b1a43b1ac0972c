//! The one error type that crosses module borders.
//!
//! An [`Error`] answers three questions: who must act ([`ErrorKind`]), how a protocol shows it
//! ([`ErrorClass`]), and which stable code a program can match on. A failure *of a user's function* (a thrown
//! exception, a failed validator) is not an `Error`: it is an outcome, see [`crate::engine::Failure`].

use std::borrow::Cow;
use std::fmt;

/// Shorthand for results with the core's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who can do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The caller sent something wrong; the same request will fail again.
    User,
    /// The same request may succeed later; nothing was changed.
    Transient,
    /// A defect or an outage on our side.
    Internal,
}

/// How an error is shown by the HTTP and WebSocket protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Malformed or impossible request (HTTP 400).
    BadRequest,
    /// Missing or invalid credentials (401).
    Unauthenticated,
    /// Credentials sent over a live connection were refused (401).
    AuthUpdateFailed,
    /// Valid credentials without the right (403).
    Forbidden,
    /// No such thing (404).
    NotFound,
    /// The request contradicts the present state (409).
    Conflict,
    /// Too many requests from this caller (429).
    RateLimited,
    /// The server has too much to do (503).
    Overloaded,
    /// A transaction lost against concurrent ones more often than it may retry (503).
    OptimisticConcurrencyControl,
    /// The asked-for timestamp is older than what is kept (503).
    OutOfRetention,
    /// The peer is gone (408).
    ClientDisconnect,
    /// An outage outside our code, such as a full disk (500).
    Operational,
    /// A defect (500).
    Internal,
}

impl ErrorClass {
    /// Who must act on errors of this class.
    pub fn kind(self) -> ErrorKind {
        use ErrorClass::*;
        match self {
            BadRequest | Unauthenticated | AuthUpdateFailed | Forbidden | NotFound | Conflict
            | ClientDisconnect => ErrorKind::User,
            RateLimited | Overloaded | OptimisticConcurrencyControl | OutOfRetention => {
                ErrorKind::Transient
            }
            Operational | Internal => ErrorKind::Internal,
        }
    }

    /// The HTTP status code of this class.
    pub fn http_status(self) -> u16 {
        use ErrorClass::*;
        match self {
            BadRequest => 400,
            Unauthenticated | AuthUpdateFailed => 401,
            Forbidden => 403,
            NotFound => 404,
            ClientDisconnect => 408,
            Conflict => 409,
            RateLimited => 429,
            Overloaded | OptimisticConcurrencyControl | OutOfRetention => 503,
            Operational | Internal => 500,
        }
    }
}

/// An error with a class, a stable CamelCase code and a text for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// How protocols show it.
    pub class: ErrorClass,
    /// Stable, CamelCase; programs match on it.
    pub code: Cow<'static, str>,
    /// What happened and what to do, for a person.
    pub message: String,
}

impl Error {
    /// An error of the given class.
    pub fn new(
        class: ErrorClass,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            class,
            code: code.into(),
            message: message.into(),
        }
    }

    /// The caller's fault.
    pub fn bad_request(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::BadRequest, code, message)
    }

    /// Try again later.
    pub fn overloaded(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Overloaded, code, message)
    }

    /// A defect on our side.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Internal, "InternalServerError", message)
    }

    /// An outage on our side.
    pub fn operational(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Operational, "InternalServerError", message)
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        self.class.kind()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}
