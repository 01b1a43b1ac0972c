//! What every engine must do, on V8.
#![cfg(feature = "v8")]
#![allow(clippy::unwrap_used)]

use engine::common;
use start::make;

#[path = "../../../javascript/tests/engine/mod.rs"]
mod engine;
mod limits;
mod snapshots;
#[path = "../start/mod.rs"]
mod start;

/// Heaps hold what earlier calls have left, until it is collected.
const MEMORY_IS_EXACT: bool = false;
