//! What every engine must do, on QuickJS.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use concave_core::engine::FunctionEngine;
use concave_javascript::engine::EngineOptions;
use concave_quickjs::QuickJsOptions;

use crate::engine::common::Options;

#[path = "../../../javascript/tests/engine/mod.rs"]
mod engine;

/// Heaps are images, restored byte for byte.
const MEMORY_IS_EXACT: bool = true;

/// Starts the engine.
fn make(options: Options) -> Arc<dyn FunctionEngine> {
    concave_quickjs::start(QuickJsOptions {
        transaction_threads: options.threads,
        action_threads: options.threads,
        engine: EngineOptions {
            transaction_slots: options.transaction_slots,
            action_slots: options.action_slots,
            ..EngineOptions::default()
        },
        import_time: options.import_time,
        ..QuickJsOptions::default()
    })
    .unwrap()
}
