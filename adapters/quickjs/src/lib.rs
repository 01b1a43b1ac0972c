//! Runs functions on QuickJS.
//!
//! Each call sees a pristine world. A world is a JavaScript runtime whose whole heap lies in one arena at a fixed address
//! (`arena`, `heap`). Once the prelude has run and a module of the program is imported, the heap is kept as an image
//! (`world`); every call starts from it. So nothing that JavaScript owns may lie outside of the arena: native functions
//! (`natives`) are plain C functions, which find the state of the call (`host`) through the runtime.
//!
//! A world goes from thread to thread with its place: there are threads (`workers`) that run JavaScript, as many at a time
//! as there are cores, those for queries and mutations apart from those for actions and evaluations, which may take long.
//! A call that uses up its time or memory is left by a jump that its code cannot notice (`guard`, `watchdog`).

mod arena;
mod callers;
mod concurrency;
mod guard;
mod heap;
mod host;
mod js;
mod modules;
mod natives;
mod pagemap;
mod place;
mod watchdog;
mod workers;
mod world;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::FunctionEngine;
use concave_javascript::engine::{Engine, EngineOptions};

use crate::place::QuickJsPlace;
use crate::workers::Workers;

/// How much of the machine the engine may use.
#[derive(Clone, Copy, Debug)]
pub struct QuickJsOptions {
    /// Threads for queries and mutations. There are more, one for each slot at most, while calls use their processor for
    /// long.
    pub transaction_threads: usize,
    /// The same for actions, and for evaluating modules at push time.
    pub action_threads: usize,
    /// Calls at a time.
    pub engine: EngineOptions,
    /// Bytes of heap images that each slot keeps, so that calls of different modules start quickly.
    pub image_bytes_per_slot: usize,
    /// JavaScript's time for importing a module, and for examining it at push time.
    pub import_time: Duration,
}

impl Default for QuickJsOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            transaction_threads: threads,
            action_threads: threads,
            engine: EngineOptions::default(),
            image_bytes_per_slot: 16 << 20,
            import_time: Duration::from_secs(4),
        }
    }
}

/// Starts the engine's threads. Worlds are made when they are first needed.
///
/// # Errors
/// If the system refuses a thread.
///
/// # Panics
/// If a number of threads or slots is zero.
pub fn start(options: QuickJsOptions) -> io::Result<Arc<dyn FunctionEngine>> {
    assert!(options.transaction_threads > 0 && options.action_threads > 0);
    let places = |name: &str, threads: usize, slots: usize| {
        let workers = Arc::new(Workers::start(name, threads, slots)?);
        let make = move || {
            QuickJsPlace::new(
                workers.clone(),
                options.image_bytes_per_slot,
                options.import_time,
            )
        };
        io::Result::Ok(Box::new(make))
    };
    Ok(Arc::new(Engine::new(
        options.engine,
        places(
            "quickjs",
            options.transaction_threads,
            options.engine.transaction_slots,
        )?,
        places(
            "quickjs-action",
            options.action_threads,
            options.engine.action_slots,
        )?,
    )))
}
