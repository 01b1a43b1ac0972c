//! SQLite on the simulated disk: the storage contract, crashes in mid flight, repeatability.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use concave_core::persistence::{Persistence, conformance};
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sim::disk::Disk;
use sim::executor::Executor;
use sim::sqlite::{SqliteSimPersistence, Use};

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
