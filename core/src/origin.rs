//! Where requests come from, as far as browsers tell: which names mean this machine, and from which pages admin keys are
//! taken.
//!
//! An admin key is never sent by a browser of its own accord, as a cookie is. But a page that got hold of one (pasted into
//! a form, left in a log) should not be able to use it from wherever it is served. Programs other than browsers send no
//! `Origin`, and are not concerned.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::error::{Error, ErrorClass, Result};

/// The host in `host`, `host:port`, `[v6]` or `[v6]:port`, without its port and brackets.
pub fn host_of(authority: &str) -> &str {
    let end = match authority.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(bracket) => bracket + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return authority;
    }
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Whether a host, as [`host_of`] gives it, means this machine and nothing else, whatever name servers say: `localhost`,
/// 127.0.0.0/8 and ::1.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback())
        || host
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What stands between `scheme://` and the path of a URL.
pub fn authority_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// Whether admin keys are taken from the place that a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAccess {
    /// They are.
    Allowed,
    /// They are not: it is a page of this other origin.
    Refused {
        /// As the browser names it.
        origin: String,
    },
}

impl AdminAccess {
    /// The access of a request with these headers `Origin` and `Host`. Admin keys are taken from programs that are no
    /// browsers, and from pages of this machine, of the deployment itself (`own`: its URLs) and of the origins that the
    /// operator has `allowed`.
    pub fn of_request(
        origin: Option<&str>,
        host: Option<&str>,
        own: &[&str],
        allowed: &[String],
    ) -> Self {
        let Some(origin) = origin else {
            return Self::Allowed;
        };
        let authority = authority_of(origin);
        let is_url = origin.starts_with("http://") || origin.starts_with("https://");
        let is_same = |other: &str| origin.eq_ignore_ascii_case(other);
        let is_allowed = is_url
            && (is_loopback(host_of(authority))
                || host.is_some_and(|host| authority.eq_ignore_ascii_case(host))
                || own.iter().any(|url| is_same(url))
                || allowed.iter().any(|other| is_same(other)));
        match is_allowed {
            true => Self::Allowed,
            false => Self::Refused {
                origin: origin.to_owned(),
            },
        }
    }

    /// Fails unless admin keys are taken.
    ///
    /// # Errors
    /// Forbidden: `AdminOriginNotAllowed`.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Allowed => Ok(()),
            Self::Refused { origin } => Err(Error::new(
                ErrorClass::Forbidden,
                "AdminOriginNotAllowed",
                format!(
                    "Admin keys are not taken from pages of {origin}. The operator can allow it: start the server with \
                     `--allow-admin-origin {origin}`."
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_from_authorities() {
        for (authority, host) in [
            ("localhost:3210", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]:3210", "::1"),
            ("[::1]", "::1"),
            ("a.example:x", "a.example:x"),
            ("[::1].evil.example", "[::1].evil.example"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host);
        }
        assert_eq!(authority_of("https://a.example:1/b?c"), "a.example:1");
        assert_eq!(authority_of("https://a.example"), "a.example");
    }

    #[test]
    fn names_of_this_machine_are_few() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.8.7", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "128.0.0.1",
            "0.0.0.0",
            "127.1",
            "::2",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn admin_keys_are_taken_from_programs_and_known_pages() {
        let own = ["https://api.example", "http://10.0.0.1:3211"];
        let allowed = ["https://dashboard.example".to_owned()];
        let access = |origin, host| AdminAccess::of_request(origin, host, &own, &allowed);
        for (origin, host) in [
            (None, Some("api.example")),
            (Some("http://localhost:5173"), Some("api.example")),
            (Some("http://[::1]:6791"), None),
            (Some("https://api.example"), None),
            (Some("http://10.0.0.1:3211"), None),
            (Some("https://dashboard.example"), Some("api.example")),
            (Some("http://10.0.0.1:3210"), Some("10.0.0.1:3210")),
        ] {
            assert!(access(origin, host).check().is_ok(), "{origin:?} {host:?}");
        }
        for origin in [
            "null",
            "https://evil.example",
            "https://dashboard.example.evil.example",
            "http://dashboard.example",
            "https://api.example:8443",
            "http://localhost.evil.example",
            "file://localhost",
            "",
        ] {
            let error = access(Some(origin), Some("api.example"))
                .check()
                .unwrap_err();
            assert_eq!(
                (error.class, &*error.code),
                (ErrorClass::Forbidden, "AdminOriginNotAllowed"),
                "{origin}"
            );
        }
    }
}
