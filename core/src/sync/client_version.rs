//! Which client is at the other end, as far as it says.

use std::fmt;

use semver::Version;

use crate::error::{Error, Result};

/// Header of the response to an unsupported client, with the value `Unsupported`.
pub const DEPRECATION_STATE_HEADER: &str = "x-convex-deprecation-state";
/// Header of the response to an unsupported client, with a text for a person.
pub const DEPRECATION_MESSAGE_HEADER: &str = "x-convex-deprecation-message";

/// The newest versions that are refused, by client name.
const UNSUPPORTED: [(&str, Version); 4] = [
    ("npm", Version::new(0, 19, 1)),
    ("python", Version::new(0, 0, 2)),
    ("python-convex", Version::new(0, 0, 2)),
    ("rust", Version::new(0, 0, 1)),
];

/// The first npm release that assembles `TransitionChunk` messages. Other clients treat them as protocol errors.
const NPM_CHUNKS: Version = Version::new(1, 28, 0);

/// The name and version of a client, such as `npm-1.48.0`. Unknown names are as welcome as known ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientVersion {
    name: String,
    version: Option<Version>,
}

impl ClientVersion {
    /// A client that does not say what it is.
    pub fn unknown() -> Self {
        Self {
            name: "unknown".to_owned(),
            version: None,
        }
    }

    /// Reads the path segment of `/api/{version}/sync`, which only the npm client sends.
    pub fn from_path(segment: &str) -> Result<Self> {
        let version = Version::parse(segment).map_err(|error| {
            Error::bad_request(
                "InvalidClientVersion",
                format!("`{segment}` is not a client version: {error}"),
            )
        })?;
        Ok(Self {
            name: "npm".to_owned(),
            version: Some(version),
        })
    }

    /// Reads a `Convex-Client` header, `name-version`. Of several ways to split it, the longest version wins, since
    /// names and pre-release versions contain dashes too.
    pub fn from_header(value: &str) -> Self {
        value
            .match_indices('-')
            .find_map(|(dash, _)| {
                Some(Self {
                    name: value[..dash].to_owned(),
                    version: Some(Version::parse(&value[dash + 1..]).ok()?),
                })
            })
            .unwrap_or_else(|| Self {
                name: value.to_owned(),
                version: None,
            })
    }

    /// What a connection's path and header say together; the path counts more.
    pub fn negotiate(path_segment: Option<&str>, header: Option<&str>) -> Result<Self> {
        match (path_segment, header) {
            (Some(segment), _) => Self::from_path(segment),
            (None, Some(header)) => Ok(Self::from_header(header)),
            (None, None) => Ok(Self::unknown()),
        }
    }

    /// The client's name, such as `npm`, `rust`, `python` or `npm-cli`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client's version, if it gave one.
    pub fn version(&self) -> Option<&Version> {
        self.version.as_ref()
    }

    /// Fails with `ClientVersionUnsupported` for releases that are too old to work.
    pub fn check_supported(&self) -> Result<()> {
        let refused = UNSUPPORTED.iter().any(|(name, newest)| {
            self.name == *name && self.version.as_ref().is_some_and(|v| v <= newest)
        });
        if refused {
            return Err(Error::bad_request(
                "ClientVersionUnsupported",
                format!("the client {self} is no longer supported; upgrade it"),
            ));
        }
        Ok(())
    }

    /// Whether the client understands `TransitionChunk`.
    pub fn assembles_chunks(&self) -> bool {
        self.name == "npm" && self.version.as_ref().is_some_and(|v| *v >= NPM_CHUNKS)
    }
}

impl fmt::Display for ClientVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}-{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_split_at_the_longest_version() {
        for (header, name, version) in [
            ("rust-0.10.4", "rust", Some("0.10.4")),
            ("python-convex-0.5.0", "python-convex", Some("0.5.0")),
            ("streaming-import-0.1.0", "streaming-import", Some("0.1.0")),
            ("npm-1.29.0-alpha.1", "npm", Some("1.29.0-alpha.1")),
            ("npm-cli-1.48.0+b-2", "npm-cli", Some("1.48.0+b-2")),
            ("something", "something", None),
            ("a-b-c", "a-b-c", None),
            ("", "", None),
        ] {
            let client = ClientVersion::from_header(header);
            assert_eq!(client.name(), name, "{header}");
            let expected = version.map(|v| Version::parse(v).unwrap());
            assert_eq!(client.version(), expected.as_ref(), "{header}");
            assert_eq!(client.to_string(), header);
            assert_eq!(client.check_supported(), Ok(()));
        }
    }

    #[test]
    fn paths_carry_npm_versions() {
        let client = ClientVersion::negotiate(Some("1.48.0"), Some("rust-0.10.4")).unwrap();
        assert_eq!(client.to_string(), "npm-1.48.0");
        for bad in ["", "latest", "1.48", "v1.48.0"] {
            let error = ClientVersion::from_path(bad).unwrap_err();
            assert_eq!(error.code, "InvalidClientVersion");
        }
        assert_eq!(
            ClientVersion::negotiate(None, None),
            Ok(ClientVersion::unknown())
        );
    }

    #[test]
    fn ancient_clients_are_refused() {
        for (header, supported) in [
            ("npm-0.19.1", false),
            ("npm-0.19.2", true),
            ("python-0.0.2", false),
            ("python-0.0.3", true),
            ("rust-0.0.1", false),
            ("rust-0.0.2", true),
            ("swift-0.0.0", true),
        ] {
            let result = ClientVersion::from_header(header).check_supported();
            assert_eq!(result.is_ok(), supported, "{header}");
            if let Err(error) = result {
                assert_eq!(error.code, "ClientVersionUnsupported");
            }
        }
    }

    #[test]
    fn only_new_npm_clients_get_chunks() {
        for (header, chunks) in [
            ("npm-1.28.0", true),
            ("npm-1.48.0", true),
            ("npm-1.27.9", false),
            ("npm-1.28.0-alpha.1", false),
            ("npm-cli-1.48.0", false),
            ("rust-1.30.0", false),
            ("npm", false),
        ] {
            let client = ClientVersion::from_header(header);
            assert_eq!(client.assembles_chunks(), chunks, "{header}");
        }
    }
}
