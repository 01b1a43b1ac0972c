//! Engines as their drivers use them: calls of bundled functions, hostile code, isolation, push-time evaluation. Every
//! engine's tests include this module, beside a function `make` that starts the engine.

pub mod common;
mod conformance;
mod evaluate;
mod functions;
mod halves;
pub mod hostile;
mod isolation;
mod package;
mod rules;
mod stacks;
