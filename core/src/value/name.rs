//! Names: identifiers, tables, indexes, exports, environment variables, and paths of functions.

use std::fmt;
use std::str::FromStr;

use super::DocumentId;
use crate::{Error, Result};

/// Longest identifier, in bytes.
pub const MAX_IDENTIFIER_LENGTH: usize = 64;

/// Indexes that every table has.
const RESERVED_INDEX_NAMES: [&str; 2] = ["by_id", "by_creation_time"];

/// Whether `name` is an identifier: `[A-Za-z_][A-Za-z0-9_]*`, at most 64 bytes, not only underscores.
pub fn is_identifier(name: &str) -> bool {
    name.len() <= MAX_IDENTIFIER_LENGTH
        && is_environment_variable_name(name)
        && name.bytes().any(|byte| byte != b'_')
}

/// Whether `name` is `[A-Za-z_][A-Za-z0-9_]*`.
pub fn is_environment_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn check_identifier(name: &str, what: &str, code: &'static str) -> Result<()> {
    if is_identifier(name) {
        return Ok(());
    }
    Err(Error::bad_request(
        code,
        format!(
            "Invalid {what} {name:?}: it must start with a letter or underscore, have only letters, digits and \
             underscores (not only underscores), and at most {MAX_IDENTIFIER_LENGTH} characters"
        ),
    ))
}

/// Checks the name of a user's table.
///
/// # Errors
/// `InvalidTableName`; `TableNameReserved` for names of system tables, which start with `_`.
pub fn check_table_name(name: &str) -> Result<()> {
    check_identifier(name, "table name", "InvalidTableName")?;
    if name.starts_with('_') {
        return Err(Error::bad_request(
            "TableNameReserved",
            format!("Table name {name:?} is reserved: it starts with an underscore"),
        ));
    }
    Ok(())
}

/// Checks the name of a user's index.
///
/// # Errors
/// `InvalidIndexName`; `IndexNameReserved` for `by_id`, `by_creation_time` and names that start with `_`.
pub fn check_index_name(name: &str) -> Result<()> {
    check_identifier(name, "index name", "InvalidIndexName")?;
    if name.starts_with('_') || RESERVED_INDEX_NAMES.contains(&name) {
        return Err(Error::bad_request(
            "IndexNameReserved",
            format!("Index name {name:?} is reserved"),
        ));
    }
    Ok(())
}

/// Checks the name of an exported function.
///
/// # Errors
/// `BadConvexFunctionIdentifier`.
pub fn check_export_name(name: &str) -> Result<()> {
    check_identifier(name, "function name", FUNCTION_PATH_ERROR)
}

/// Checks the name of an environment variable.
///
/// # Errors
/// `EnvironmentVariableNameInvalid`; `EnvironmentVariableNameTooLong` above 256 bytes.
pub fn check_environment_variable_name(name: &str) -> Result<()> {
    const MAX_LENGTH: usize = 256;
    if name.len() > MAX_LENGTH {
        return Err(Error::bad_request(
            "EnvironmentVariableNameTooLong",
            format!("The name of an environment variable has at most {MAX_LENGTH} characters"),
        ));
    }
    if !is_environment_variable_name(name) {
        return Err(Error::bad_request(
            "EnvironmentVariableNameInvalid",
            format!(
                "Environment variable name {name:?} must start with a letter or underscore and have only letters, \
                 digits and underscores"
            ),
        ));
    }
    Ok(())
}

/// Longest path of a function, in bytes.
pub const MAX_FUNCTION_PATH_LENGTH: usize = 1024;

const FUNCTION_PATH_ERROR: &str = "BadConvexFunctionIdentifier";
const DEFAULT_EXPORT: &str = "default";
const EXTENSION: &str = ".js";

/// Names an exported function of a module, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionPath {
    /// Module path with its extension: `dir/file.js`.
    pub module: String,
    /// Name of the export.
    pub export: String,
}

impl FunctionPath {
    /// Reads `dir/file.js:export`; without `.js` or without `:export` (then `default`) just as well. The last `:`
    /// splits.
    ///
    /// # Errors
    /// `BadConvexFunctionIdentifier`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_FUNCTION_PATH_LENGTH {
            let message = format!(
                "Invalid function path: it has {} characters, and the longest has {MAX_FUNCTION_PATH_LENGTH}",
                text.len()
            );
            return Err(Error::bad_request(FUNCTION_PATH_ERROR, message));
        }
        let (module, export) = text.rsplit_once(':').unwrap_or((text, DEFAULT_EXPORT));
        check_export_name(export)?;
        Ok(Self {
            module: canonical_module(module)?,
            export: export.to_owned(),
        })
    }

    /// `dir/file.js:export`: for storing and comparing.
    pub fn canonical(&self) -> String {
        format!("{}:{}", self.module, self.export)
    }

    /// `dir/file:export`, or `dir/file` for the default export: what clients are shown.
    pub fn stripped(&self) -> String {
        let module = self.module.strip_suffix(EXTENSION).unwrap_or(&self.module);
        if self.export == DEFAULT_EXPORT {
            module.to_owned()
        } else {
            format!("{module}:{}", self.export)
        }
    }

    /// The handle of the function: text that names it, for arguments and documents.
    pub fn handle(&self) -> String {
        format!("{HANDLE_SCHEME};{}", self.canonical())
    }

    /// The function that a handle names which [`Self::handle`] gave.
    ///
    /// # Errors
    /// `InvalidFunctionHandle` for any other text.
    pub fn from_handle(text: &str) -> Result<Self> {
        let path = text
            .strip_prefix(HANDLE_SCHEME)
            .and_then(|path| path.strip_prefix(';'));
        path.and_then(|path| Self::parse(path).ok()).ok_or_else(|| {
            Error::bad_request(
                "InvalidFunctionHandle",
                format!("Invalid function handle {text:?}"),
            )
        })
    }
}

const HANDLE_SCHEME: &str = "function://";

/// Whether `text` has the form of a function handle: one that this server makes, or one of the kind
/// `function://<id>#<path>` that documents from other servers may hold.
pub fn is_function_handle(text: &str) -> bool {
    if FunctionPath::from_handle(text).is_ok() {
        return true;
    }
    let id = text
        .strip_prefix(HANDLE_SCHEME)
        .and_then(|rest| rest.split('#').next());
    id.is_some_and(|id| DocumentId::decode(id).is_some())
}

/// Checks a module path and gives it its extension.
fn canonical_module(path: &str) -> Result<String> {
    let bad = |reason: &str| {
        Error::bad_request(
            FUNCTION_PATH_ERROR,
            format!("Invalid module path {path:?}: {reason}"),
        )
    };
    let file = path.rsplit('/').next().unwrap_or(path);
    let path = match file.rsplit_once('.') {
        None => format!("{path}{EXTENSION}"),
        Some((_, "js")) => path.to_owned(),
        Some(_) => return Err(bad("the extension of a module is 'js', or absent")),
    };
    for component in path.split('/') {
        if component.len() > MAX_IDENTIFIER_LENGTH {
            return Err(bad("a component is longer than 64 characters"));
        }
        if !component
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
        {
            return Err(bad(
                "components have only letters, digits, underscores and periods",
            ));
        }
        // The extension alone does not make a name.
        let stem = component.strip_suffix(EXTENSION).unwrap_or(component);
        if !stem.bytes().any(|b| b.is_ascii_alphanumeric()) {
            return Err(bad("each component needs a letter or digit"));
        }
    }
    Ok(path)
}

impl fmt::Display for FunctionPath {
    /// The canonical form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.export)
    }
}

impl FromStr for FunctionPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_a_longest() {
        let path = |length: usize| {
            let folders = "f".repeat(MAX_IDENTIFIER_LENGTH) + "/";
            let folders = folders.repeat(MAX_FUNCTION_PATH_LENGTH / folders.len() - 1);
            let name = "m".repeat(length - folders.len() - ":export".len());
            let (first, second) = name.split_at(name.len() / 2);
            format!("{folders}{first}/{}:export", &second[1..])
        };
        let longest = path(MAX_FUNCTION_PATH_LENGTH);
        assert_eq!(longest.len(), MAX_FUNCTION_PATH_LENGTH);
        FunctionPath::parse(&longest).unwrap();
        let error = FunctionPath::parse(&path(MAX_FUNCTION_PATH_LENGTH + 1)).unwrap_err();
        assert!(error.message.contains("1025 characters"), "{error}");
        assert!(error.message.len() < 200, "it is not said back");
    }

    #[test]
    fn identifiers() {
        let longest = "a".repeat(64);
        for good in ["a", "_a", "A9_", "__1", longest.as_str()] {
            assert!(is_identifier(good), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in ["", "_", "___", "9a", "a-b", "é", "a b", too_long.as_str()] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }

    #[test]
    fn reserved_names() {
        let code = |result: Result<()>| result.map_err(|error| error.code.into_owned());
        assert_eq!(code(check_table_name("users")), Ok(()));
        assert_eq!(
            code(check_table_name("_users")),
            Err("TableNameReserved".into())
        );
        assert_eq!(code(check_table_name("9")), Err("InvalidTableName".into()));
        assert_eq!(code(check_index_name("by_name")), Ok(()));
        for name in ["by_id", "by_creation_time", "_mine"] {
            assert_eq!(
                code(check_index_name(name)),
                Err("IndexNameReserved".into())
            );
        }
        assert_eq!(
            code(check_index_name("a.b")),
            Err("InvalidIndexName".into())
        );
        assert_eq!(code(check_environment_variable_name("_")), Ok(()));
        assert_eq!(
            code(check_environment_variable_name("A-B")),
            Err("EnvironmentVariableNameInvalid".into())
        );
        assert_eq!(
            code(check_environment_variable_name(&"A".repeat(257))),
            Err("EnvironmentVariableNameTooLong".into())
        );
    }

    #[test]
    fn function_paths() {
        for (text, canonical, stripped) in [
            ("dir/file:fn", "dir/file.js:fn", "dir/file:fn"),
            ("dir/file.js:fn", "dir/file.js:fn", "dir/file:fn"),
            ("dir/file", "dir/file.js:default", "dir/file"),
            ("dir/file:default", "dir/file.js:default", "dir/file"),
            (
                "_system/cli:list",
                "_system/cli.js:list",
                "_system/cli:list",
            ),
        ] {
            let path = FunctionPath::parse(text).unwrap();
            assert_eq!(path.canonical(), canonical);
            assert_eq!(path.to_string(), canonical);
            assert_eq!(path.stripped(), stripped);
            assert_eq!(FunctionPath::parse(stripped).unwrap(), path);
        }
        assert_eq!(FunctionPath::parse("a.b.js:c").unwrap().stripped(), "a.b:c");
        let long = format!("{}:f", "a".repeat(62)); // 65 with its extension
        for bad in [
            "", ":f", "a:", "a:9", "a:_", "a:b:c", "/a:f", "a/:f", "a//b:f", "../a:f", "./a:f",
            "a.ts:f", "a b:f", "é:f", "___:f", ".js:f", "a:f.js", &long,
        ] {
            let error = FunctionPath::parse(bad).expect_err(bad);
            assert_eq!(error.code, "BadConvexFunctionIdentifier");
        }
    }
}
