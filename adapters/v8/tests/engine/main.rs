//! What every engine must do, on V8.
#![cfg(feature = "v8")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use concave_core::engine::FunctionEngine;
use concave_javascript::engine::EngineOptions;
use concave_v8::{SnapshotProcess, V8Options};

use crate::engine::common::Options;

#[path = "../../../javascript/tests/engine/mod.rs"]
mod engine;
mod memory;
mod snapshots;

/// Heaps hold what earlier calls have left, until it is collected.
const MEMORY_IS_EXACT: bool = false;

/// Starts the engine.
fn make(options: Options) -> Arc<dyn FunctionEngine> {
    concave_v8::start(V8Options {
        engine: EngineOptions {
            transaction_slots: options.transaction_slots,
            action_slots: options.action_slots,
            ..EngineOptions::default()
        },
        import_time: options.import_time,
        snapshots: Some(SnapshotProcess {
            executable: env!("CARGO_BIN_EXE_v8-snapshot").into(),
            args: Vec::new(),
            is_awaited: true,
        }),
        ..V8Options::default()
    })
}
