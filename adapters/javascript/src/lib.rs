//! The engine-neutral half of Concave's JavaScript engines: what calling a function means ([`engine`]), which modules
//! there are ([`modules`]), and the web platform that user code sees.
//!
//! The platform comes in two pieces. The [`prelude`] is JavaScript: scripts that an engine evaluates once, in order, before it
//! loads a program; they define `console`, `Date`, `URL`, `fetch` and the rest. [`HostState`] is Rust: what those
//! scripts call for everything that is not JavaScript's business (time, randomness, log lines) or that Rust does
//! better (URL parsing, text decoding, cryptography). One prelude serves many calls: all state that a call builds up
//! lives in its `HostState` or in JavaScript objects, never in both, so that a heap image taken after the prelude
//! (and after the import of a program) can be used again with a new `HostState`.
//!
//! # What an engine provides
//!
//! Functions on the global object, present before the first prelude script runs. The last script deletes them; scripts
//! keep them in their closures.
//!
//! | function | does |
//! |---|---|
//! | `__host(op, ...args)` | calls [`HostState::call`]. Arguments and result are [`HostValue`]s. A [`HostError`] is thrown as the built-in error class of its name, otherwise as an `Error` with that `name`; a fatal one ends the call and cannot be caught |
//! | `__asyncHost(op, argsJson)` | issues an asynchronous system call; gives a promise of the answer's JSON text |
//! | `__syncHost(op, argsJson)` | makes a synchronous system call; gives the answer's JSON text |
//! | `__position(function)` | gives where a function's code begins, `[file, line, column]` counted from 1, or null; missing where functions have the properties `fileName`, `lineNumber` and `columnNumber` |
//!
//! After the last script the engine takes the entry points to programs from the global `__concave` and deletes it;
//! see `js/convex.js`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod concurrency;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod console;
mod crypto;
pub mod engine;
mod form;
mod host;
pub mod modules;
mod prelude;
mod source;
mod stack;
mod text;
mod url;

pub use host::{Elapsed, HostError, HostInputs, HostState, HostValue, Phase};
pub use prelude::prelude;
pub use source::Columns;
pub use stack::{ASYNC_MARK, Position, SourceMaps};
pub use text::from_wtf8;
