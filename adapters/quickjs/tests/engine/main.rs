//! The engine as its drivers use it: calls of bundled functions, hostile code, isolation, push-time evaluation.
#![allow(clippy::unwrap_used)]

mod common;
mod conformance;
mod evaluate;
mod functions;
mod hostile;
mod isolation;
