//! SQLite on the simulated disk: the storage contract, and repeatability. What it does under faults is judged by the
//! worlds of `seeds.rs`, half of which have it, and by `crash_points.rs`.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use concave_core::persistence::{Persistence, conformance};
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sim::disk::Disk;
use sim::executor::Executor;
use sim::settings::Settings;
use sim::sqlite::{SqliteSimPersistence, Use};
use sim::world;

#[test]
fn conforms_without_faults() {
    for seed in 0..2 {
        let executor = Executor::new(Rng::with_seed(seed));
        let node = executor.node(0);
        let world = node.clone();
        let with = Use::draw(&mut Rng::with_seed(seed));
        let make = move || -> BoxFuture<'static, Arc<dyn Persistence>> {
            let disk = Disk::new(Rng::with_seed(2), Duration::from_micros(100));
            let opening = SqliteSimPersistence::open(world.clone(), disk, with);
            async move {
                let storage: Arc<dyn Persistence> = Arc::new(opening.await.unwrap());
                storage
            }
            .boxed()
        };
        let limit = Duration::from_secs(3600);
        executor
            .run(&node, limit, async move {
                conformance::run_all(make).await;
            })
            .unwrap();
    }
}

/// SQLite draws its random numbers from one generator per process, which all worlds share.
#[test]
fn a_trace_does_not_depend_on_what_else_uses_sqlite() {
    let seeds: Vec<u64> = (0..)
        .filter(|seed| Settings::draw(*seed).sqlite.is_some())
        .take(6)
        .collect();
    let trace = |seed: &u64| world::run(*seed).unwrap().trace;
    let alone: Vec<_> = seeds.iter().map(trace).collect();
    let beside: Vec<_> = std::thread::scope(|scope| {
        let others = scope.spawn(|| seeds.iter().rev().map(trace).collect::<Vec<_>>());
        let these = seeds.iter().map(trace).collect::<Vec<_>>();
        let mut others = others.join().unwrap();
        others.reverse();
        assert_eq!(these, others);
        these
    });
    assert_eq!(alone, beside);
}
