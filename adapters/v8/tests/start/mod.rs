//! Starts the engine for tests.

use std::sync::Arc;

use concave_core::engine::FunctionEngine;
use concave_javascript::engine::EngineOptions;
use concave_v8::{SnapshotProcess, V8Options};

use crate::common::Options;

/// Starts the engine.
pub fn make(options: Options) -> Arc<dyn FunctionEngine> {
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
