//! Where the database is and how it is run.

use std::path::PathBuf;

use concave_core::{Error, Result};
use percent_encoding::percent_decode_str;

/// Reader threads unless said otherwise.
const READERS_DEFAULT: usize = 4;
/// More reader threads than this cannot help.
pub(crate) const READERS_MAX: usize = 64;

/// How URLs of databases begin that have a server of their own.
const SERVERS: [&str; 4] = ["postgres://", "postgresql://", "mysql://", "mariadb://"];

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// When the disk has it: acknowledged writes survive a loss of power.
    #[default]
    Full,
    /// When the operating system has it: acknowledged writes survive a crash of the server, but the newest may be
    /// lost with the power. The database stays consistent either way.
    Normal,
}

/// How to open a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The database file. It is created, with its folder, if it does not exist.
    pub path: PathBuf,
    /// When a write counts as durable.
    pub synchronous: Synchronous,
    /// Reader threads, 1 to 64.
    pub readers: usize,
}

impl SqliteOptions {
    /// The defaults for a database at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            synchronous: Synchronous::default(),
            readers: READERS_DEFAULT,
        }
    }

    /// Reads a URL such as `sqlite:///absolute/path.sqlite3` or `sqlite://relative/path?synchronous=normal`.
    ///
    /// The path is percent-decoded. Parameters: `synchronous` (`full`, `normal`) and `readers` (1 to 64).
    ///
    /// # Errors
    /// `BadPersistenceUrl`, with a text that says what is wrong.
    pub fn parse_url(url: &str) -> Result<Self> {
        let bad = |what: &str| {
            Error::bad_request(
                "BadPersistenceUrl",
                format!(
                    "{url:?} {what}. A database is named like sqlite:///absolute/path.sqlite3 or \
                     sqlite://relative/path.sqlite3, with ?synchronous=normal or &readers=8 if need be."
                ),
            )
        };
        if SERVERS.iter().any(|scheme| url.starts_with(scheme)) {
            return Err(bad(
                "names a database server, and PostgreSQL and MySQL are not supported yet",
            ));
        }
        let rest = url
            .strip_prefix("sqlite://")
            .ok_or_else(|| bad("does not begin with sqlite://"))?;
        let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| bad("has a path that is not UTF-8"))?;
        if path.is_empty() {
            return Err(bad("has no path"));
        }
        if path.ends_with('/') {
            return Err(bad("names a folder, not a file"));
        }
        if path.contains('\0') {
            return Err(bad("has a zero byte in its path"));
        }
        let mut options = Self::new(path.as_ref());
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some(("synchronous", "full")) => options.synchronous = Synchronous::Full,
                Some(("synchronous", "normal")) => options.synchronous = Synchronous::Normal,
                Some(("synchronous", _)) => {
                    return Err(bad("has a value of synchronous that is not full or normal"));
                }
                Some(("readers", count)) => {
                    options.readers = count
                        .parse()
                        .ok()
                        .filter(|count| (1..=READERS_MAX).contains(count))
                        .ok_or_else(|| bad("has a number of readers that is not from 1 to 64"))?;
                }
                _ => return Err(bad(&format!("has an unknown parameter {parameter:?}"))),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn urls_name_files_and_settings() {
        let absolute = SqliteOptions::parse_url("sqlite:///var/lib/a%20b.db").unwrap();
        assert_eq!(absolute, SqliteOptions::new("/var/lib/a b.db"));
        assert_eq!(absolute.synchronous, Synchronous::Full);
        assert_eq!(absolute.readers, 4);
        let relative =
            SqliteOptions::parse_url("sqlite://data/x.db?synchronous=normal&readers=9").unwrap();
        assert_eq!(relative.path, Path::new("data/x.db"));
        assert_eq!(relative.synchronous, Synchronous::Normal);
        assert_eq!(relative.readers, 9);
    }

    #[test]
    fn bad_urls_say_why() {
        for (url, why) in [
            ("postgres://x", "are not supported yet"),
            ("mysql://x/y", "are not supported yet"),
            ("data.sqlite3", "does not begin with sqlite://"),
            ("sqlite:/x", "does not begin with sqlite://"),
            ("sqlite://", "has no path"),
            ("sqlite:///x/", "names a folder"),
            ("sqlite:///%ff", "not UTF-8"),
            ("sqlite:///a%00b", "zero byte"),
            ("sqlite:///x?synchronous=off", "not full or normal"),
            ("sqlite:///x?readers=0", "not from 1 to 64"),
            ("sqlite:///x?readers=many", "not from 1 to 64"),
            ("sqlite:///x?sync=full", "unknown parameter \"sync=full\""),
        ] {
            let error = SqliteOptions::parse_url(url).unwrap_err();
            assert_eq!(error.code, "BadPersistenceUrl");
            assert!(error.message.contains(why), "{url}: {}", error.message);
        }
    }
}
