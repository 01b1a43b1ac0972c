//! Which modules a program may import, and by what names.

use std::sync::LazyLock;

use concave_core::engine::{Environment, Module, Program};

use crate::Phase;

/// Modules that every program can import.
static BUILT_IN: LazyLock<[Module; 1]> = LazyLock::new(|| {
    [Module {
        path: "_system/repl/wrappers.js".to_owned(),
        source: include_str!("../js/modules/repl_wrappers.js").into(),
        source_map: None,
        environment: Environment::Isolate,
    }]
});

/// Modules are named by this prefix and their path.
pub const SCHEME: &str = "convex:/";

/// Resolves the specifier of an import in the module `base`. Both `base` and the result are full names such as
/// `convex:/dir/file.js`.
///
/// # Errors
/// The message of the `TypeError` to throw.
pub fn resolve(phase: Phase, base: &str, specifier: &str) -> Result<String, String> {
    match phase {
        Phase::Query | Phase::Mutation => {
            Err("Dynamic import isn't supported in queries and mutations.".to_owned())
        }
        Phase::Import | Phase::Action => resolve_name(base, specifier),
    }
}

/// The module of that full name.
///
/// # Errors
/// The message of the `Error` to throw.
pub(crate) fn find<'a>(program: Option<&'a Program>, name: &str) -> Result<&'a Module, String> {
    let path = name.strip_prefix(SCHEME).unwrap_or(name);
    let pushed = program.and_then(|program| program.modules.get(path));
    match pushed.or_else(|| BUILT_IN.iter().find(|module| module.path == path)) {
        None => Err(format!(
            "Couldn't find the module \"{path}\": it was not pushed. Did you forget to push your code? \
             Run `npx convex dev` or `npx convex deploy`."
        )),
        Some(module) if module.environment != Environment::Isolate => Err(format!(
            "\"{path}\" runs in Node.js (\"use node\") and can't be imported in this runtime."
        )),
        Some(module) => Ok(module),
    }
}

/// Resolves a specifier as a URL relative to the importing module.
fn resolve_name(base: &str, specifier: &str) -> Result<String, String> {
    let refuse = |why: &str| {
        Err(format!(
            "Could not resolve the import of \"{specifier}\" in {}: {why}",
            base.strip_prefix(SCHEME).unwrap_or(base)
        ))
    };
    let path = if let Some(path) = specifier.strip_prefix(SCHEME) {
        if path.starts_with('/') {
            return refuse("the URL names a host");
        }
        path.to_owned()
    } else if specifier.starts_with("./") || specifier.starts_with("../") {
        let directory = base.strip_prefix(SCHEME).unwrap_or(base);
        let directory = directory
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        format!("{directory}/{specifier}")
    } else if let Some(path) = specifier.strip_prefix('/') {
        path.to_owned()
    } else if specifier.contains(':') {
        return refuse("only modules of the deployment can be imported");
    } else {
        return refuse("packages must be part of the bundle. Did you mean a relative path?");
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("{SCHEME}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::resolve_name;

    #[test]
    fn specifiers_are_relative_urls() {
        let resolve = |specifier| resolve_name("convex:/a/b.js", specifier);
        assert_eq!(resolve("./c.js").unwrap(), "convex:/a/c.js");
        assert_eq!(resolve("../_deps/X.js").unwrap(), "convex:/_deps/X.js");
        assert_eq!(resolve("../../../c.js").unwrap(), "convex:/c.js");
        assert_eq!(resolve("/c.js").unwrap(), "convex:/c.js");
        assert_eq!(resolve("convex:/d//./e.js").unwrap(), "convex:/d/e.js");
        for bad in [
            "lodash",
            "node:fs",
            "https://x.y/z.js",
            "convex://host/a.js",
            "",
        ] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }
}
