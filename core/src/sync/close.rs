//! How a connection ends: which error becomes which last message and close frame.

use super::server_message;
use crate::error::{Error, ErrorClass};

/// The WebSocket close frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// Status code; `None` for a frame without code and reason, which the client sees as 1005.
    pub code: Option<u16>,
    /// A CamelCase code of at most 123 bytes, on which clients choose their back-off; empty without a status code.
    pub reason: String,
}

/// Normal closure.
const NORMAL: u16 = 1000;
/// The server goes away.
const GOING_AWAY: u16 = 1001;
/// The server had an internal error.
const INTERNAL_ERROR: u16 = 1011;
/// Try again later.
const TRY_AGAIN_LATER: u16 = 1013;

/// Longest reason that fits into a close frame.
const REASON_BYTES_MAX: usize = 123;

impl CloseFrame {
    /// For a server that stops.
    pub(super) fn going_away() -> Self {
        Self::with(GOING_AWAY, "ServerShutdown")
    }

    fn empty() -> Self {
        Self {
            code: None,
            reason: String::new(),
        }
    }

    fn with(code: u16, reason: &str) -> Self {
        Self {
            code: Some(code),
            reason: reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned(),
        }
    }
}

/// The last message, if any, and the close frame for a connection that ends with `error`. `identity_version` is the
/// one that an `AuthError` names.
pub(super) fn farewell(error: &Error, identity_version: u32) -> (Option<String>, CloseFrame) {
    use ErrorClass::*;
    let fatal = || Some(server_message::fatal_error(&error.message));
    let auth = |attempted| {
        Some(server_message::auth_error(
            &error.message,
            identity_version,
            attempted,
        ))
    };
    match error.class {
        BadRequest | Conflict => (fatal(), CloseFrame::empty()),
        Unauthenticated => (auth(false), CloseFrame::empty()),
        AuthUpdateFailed => (auth(true), CloseFrame::empty()),
        Forbidden => (fatal(), CloseFrame::with(NORMAL, &error.code)),
        NotFound | ClientDisconnect => (None, CloseFrame::with(NORMAL, &error.code)),
        RateLimited | Overloaded | OptimisticConcurrencyControl | OutOfRetention => {
            (None, CloseFrame::with(TRY_AGAIN_LATER, &error.code))
        }
        // Clients choose their back-off by this reason, so the error's own code does not appear.
        Operational | Internal => (
            None,
            CloseFrame::with(INTERNAL_ERROR, "InternalServerError"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_message_and_frame() {
        use ErrorClass::*;
        for (class, message, code, reason) in [
            (BadRequest, "FatalError", None, ""),
            (Conflict, "FatalError", None, ""),
            (Unauthenticated, "\"authUpdateAttempted\":false", None, ""),
            (AuthUpdateFailed, "\"authUpdateAttempted\":true", None, ""),
            (Forbidden, "FatalError", Some(1000), "SomeCode"),
            (NotFound, "", Some(1000), "SomeCode"),
            (ClientDisconnect, "", Some(1000), "SomeCode"),
            (RateLimited, "", Some(1013), "SomeCode"),
            (Overloaded, "", Some(1013), "SomeCode"),
            (OptimisticConcurrencyControl, "", Some(1013), "SomeCode"),
            (OutOfRetention, "", Some(1013), "SomeCode"),
            (Operational, "", Some(1011), "InternalServerError"),
            (Internal, "", Some(1011), "InternalServerError"),
        ] {
            let (text, frame) = farewell(&Error::new(class, "SomeCode", "because"), 5);
            assert_eq!(text.is_some(), !message.is_empty(), "{class:?}");
            if let Some(text) = text {
                assert!(text.contains(message) && text.contains("because"), "{text}");
                assert_eq!(
                    text.contains("AuthError"),
                    text.contains("\"baseVersion\":5")
                );
            }
            assert_eq!((frame.code, &*frame.reason), (code, reason), "{class:?}");
        }
    }

    #[test]
    fn reasons_fit_into_a_frame() {
        let code = format!("a{}", "é".repeat(100));
        let (_, frame) = farewell(&Error::overloaded(code, ""), 0);
        assert_eq!(frame.reason.len(), 123);
    }
}
