//! The prelude's scripts and how they are put together.
//!
//! Each file in `js/` is one function expression that takes the internal namespace `web` and returns what it exports
//! (see `js/core.js`). *Eager* parts are compiled and run before the heap image is taken. *Lazy* parts are kept out
//! of the image: their source is asked for and compiled when one of their globals is first used. A part belongs
//! among the eager ones if many functions use it, or if it must act on built-in objects before user code runs.

/// An eager part as a classic script.
macro_rules! eager {
    ($name:literal) => {
        (
            concat!($name, ".js"),
            concat!(
                "__web.define(\"",
                $name,
                "\", ",
                include_str!(concat!("../js/", $name, ".js")),
                ")"
            ),
        )
    };
}

/// A lazy part: its name and its source.
macro_rules! lazy {
    ($name:literal) => {
        ($name, include_str!(concat!("../js/", $name, ".js")))
    };
}

const SCRIPTS: &[(&str, &str)] = &[
    ("core.js", include_str!("../js/core.js")),
    eager!("errors"),
    eager!("inspect"),
    eager!("console"),
    eager!("process"),
    eager!("time"),
    eager!("locale"),
    eager!("random"),
    eager!("weak"),
    eager!("convex"),
    ("globals.js", include_str!("../js/globals.js")),
];

const LAZY: &[(&str, &str)] = &[
    lazy!("async_context"),
    lazy!("blob"),
    lazy!("body"),
    lazy!("clone"),
    lazy!("events"),
    lazy!("fetch"),
    lazy!("form_data"),
    lazy!("headers"),
    lazy!("performance"),
    ("streams", STREAMS),
    lazy!("subtle"),
    lazy!("text"),
    lazy!("text_streams"),
    lazy!("url"),
];

/// The vendored script assigns to `exports`, in the manner of CommonJS.
const STREAMS: &str = concat!(
    "(function () { const exports = {}, module = { exports };\n",
    include_str!("../js/vendor/web_streams.js"),
    "\nreturn exports; })"
);

/// The scripts to evaluate, in order, in the global scope of a fresh world: file name and source.
///
/// Sources hold no engine-specific syntax and run in strict mode.
pub fn prelude() -> &'static [(&'static str, &'static str)] {
    SCRIPTS
}

/// Source of a part that is compiled on first use.
pub(crate) fn lazy_source(name: &str) -> Option<&'static str> {
    LAZY.iter()
        .find(|(part, _)| *part == name)
        .map(|(_, source)| *source)
}
