//! Names of single requests, printed in front of every error text so that a user's report leads to the log.

use std::fmt;

use sha2::{Digest, Sha256};

/// Names one request from a client: sixteen lower-case hexadecimal digits, unless the caller of the HTTP API chose
/// a name of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(String);

impl RequestId {
    /// The name of a request on a WebSocket: the start of a hash of the session and the client's request number,
    /// so that a client can compute it too.
    pub fn of_session(session_id: &str, request_number: u32) -> Self {
        let hash = Sha256::digest(format!("{session_id}|{request_number}"));
        Self::from_bytes(std::array::from_fn(|i| hash[i]))
    }

    /// A name from eight bytes, usually of entropy.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(format!("{:016x}", u64::from_be_bytes(bytes)))
    }

    /// A name that the client chose.
    pub fn chosen(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The text that clients get for a failed function. `printed` is the exception with its stack, as
    /// [`crate::engine::Failure`] displays it; it is left out when errors are hidden from clients.
    pub fn error_text(&self, printed: Option<&str>) -> String {
        match printed {
            Some(printed) => format!("[Request ID: {self}] Server Error\n{printed}"),
            None => format!("[Request ID: {self}] Server Error"),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_request_has_the_name_that_clients_compute() {
        let id = RequestId::of_session("3f8e0c1a-7b52-4d0e-9a41-5c0f2d6b7e91", 7);
        assert_eq!(id.to_string(), "cdad1b8c0c141cb2");
    }

    #[test]
    fn error_texts_show_or_hide_the_exception() {
        let id = RequestId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(
            id.error_text(None),
            "[Request ID: 0001020304050607] Server Error"
        );
        assert_eq!(
            id.error_text(Some("Uncaught Error: no\n    at f (a.ts:1:1)\n")),
            "[Request ID: 0001020304050607] Server Error\nUncaught Error: no\n    at f (a.ts:1:1)\n"
        );
    }
}
