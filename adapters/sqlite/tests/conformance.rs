//! The storage contract, in both modes of durability.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use concave_core::persistence::{Persistence, conformance};
use concave_sqlite::{SqliteOptions, SqlitePersistence, Synchronous};
use futures_executor::block_on;
use futures_util::FutureExt;
use futures_util::future::ready;

fn conforms(synchronous: Synchronous, readers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    block_on(conformance::run_all(|| {
        made.set(made.get() + 1);
        let mut options = SqliteOptions::new(folder.path().join(format!("{}.db", made.get())));
        options.synchronous = synchronous;
        options.readers = readers;
        let store: Arc<dyn Persistence> = SqlitePersistence::open(options).unwrap();
        ready(store).boxed()
    }));
}

#[test]
fn conforms_with_full_sync() {
    conforms(Synchronous::Full, 4);
}

#[test]
fn conforms_with_normal_sync_and_one_reader() {
    conforms(Synchronous::Normal, 1);
}
