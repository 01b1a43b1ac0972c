//! Runs functions on V8.
//!
//! Each call sees a pristine world: a context made from a snapshot (`snapshot`) in which the prelude has run and the
//! module is imported. Those are made in another process (`process`). Contexts live one at a time in isolates that are
//! used for many calls (`world`). An isolate is bound to a thread, so every place has a thread of its own (`place`), which
//! makes the context of the next call when it has nothing else to do.
//!
//! A call that uses up its time is ended by another thread (`watchdog`), one that uses up its memory by V8's own
//! callbacks (`limits`); its isolate is then replaced.
#![cfg(feature = "v8")]

mod code_cache;
mod creator;
mod host;
mod isolate;
mod late;
mod limits;
mod modules;
mod natives;
mod place;
mod process;
mod snapshot;
mod watchdog;
mod world;

use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::FunctionEngine;
use concave_javascript::engine::{Engine, EngineOptions, MakePlace};

use crate::place::V8Place;
use crate::process::Snapshots;
use crate::world::Lifetime;

pub use crate::process::{SnapshotProcess, make_snapshot};

/// How much of the machine the engine may use.
#[derive(Clone, Debug)]
pub struct V8Options {
    /// Calls at a time. Each has a thread.
    pub engine: EngineOptions,
    /// JavaScript's time for importing a module, and for examining it at push time.
    pub import_time: Duration,
    /// Calls after which an isolate is replaced, and its memory goes back to the system.
    pub calls_per_isolate: u32,
    /// Bytes of an isolate's heap at rest from which on it is replaced.
    pub bytes_per_isolate: usize,
    /// What makes snapshots in which modules are imported already. Without it, each call imports its module.
    pub snapshots: Option<SnapshotProcess>,
}

impl Default for V8Options {
    fn default() -> Self {
        Self {
            engine: EngineOptions::default(),
            import_time: Duration::from_secs(4),
            calls_per_isolate: 100_000,
            bytes_per_isolate: 32 << 20,
            snapshots: None,
        }
    }
}

/// Starts the engine. Its threads are started when they are first needed.
///
/// # Panics
/// If a number of slots is zero.
pub fn start(options: V8Options) -> Arc<dyn FunctionEngine> {
    let snapshots = Snapshots::new(options.snapshots, options.import_time);
    let lifetime = Lifetime {
        calls: options.calls_per_isolate,
        bytes: options.bytes_per_isolate,
    };
    let places = |name: &'static str| -> MakePlace<V8Place> {
        let snapshots = snapshots.clone();
        Box::new(move || V8Place::new(name, options.import_time, lifetime, snapshots.clone()))
    };
    Arc::new(Engine::new(
        options.engine,
        places("v8"),
        places("v8-action"),
    ))
}
