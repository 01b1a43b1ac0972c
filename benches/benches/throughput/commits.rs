//! Durable commits of native transactions that write one document each, by number of committers.

use std::sync::Arc;

use concave_core::driver::{CommitError, Database};
use concave_core::{DocumentId, Object, Value};

use crate::floor;
use crate::report::{count, median, table};
use crate::world::{ROUNDS, World, middle, path};

pub fn run() {
    let mut rows = Vec::new();
    for tasks in [64, 256, 1024] {
        rows.push(measure(
            "insert",
            tasks,
            |_, _| Vec::new(),
            |db, _, _| insert(db),
        ));
    }
    for tasks in [64, 256, 1024] {
        rows.push(measure(
            "read, modify, write a document of one's own",
            tasks,
            |world, db| counters(world, db, tasks),
            |db, ids, task| increment(db, ids[task]),
        ));
    }
    table(
        "Durable transactions of one document with two index entries (SQLite, full sync). Floor: plain rusqlite \
         writing the same rows in the same batches.",
        &[
            "transaction",
            "in flight",
            "per second",
            "mean batch",
            "CPU µs",
            "floor",
            "CPU µs",
            "ratio",
        ],
        &rows,
    );
}

fn measure<F: Future<Output = ()> + Send>(
    name: &str,
    tasks: usize,
    set_up: impl Fn(&World, &Database) -> Vec<DocumentId>,
    work: impl Fn(Database, Arc<Vec<DocumentId>>, usize) -> F + Copy + Send + 'static,
) -> Vec<String> {
    let (mut rates, mut floors, mut batch_sizes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let world = World::new();
        let db = world.database();
        let ids = Arc::new(set_up(&world, &db));
        world.tokio.block_on(insert(db.clone()));
        let skip = world.store.writes();
        rates.push(world.load(tasks, move |task| work(db.clone(), ids.clone(), task)));
        batch_sizes.push(world.store.mean_batch(skip));
        let (folder, batches) = world.close();
        floors.push(floor::replay(&path(&folder), &batches, skip));
    }
    let (rate, floor) = (middle(&rates), middle(&floors));
    vec![
        name.to_owned(),
        tasks.to_string(),
        count(rate.per_second),
        count(median(batch_sizes)),
        format!("{:.1}", rate.cpu_micros),
        count(floor.per_second),
        format!("{:.1}", floor.cpu_micros),
        format!("{:.2}", rate.per_second / floor.per_second),
    ]
}

async fn insert(db: Database) {
    let mut tx = db.begin();
    let table = tx.ensure_table("messages").unwrap();
    let document = Object::from_fields([
        ("author", Value::from("Ada")),
        (
            "body",
            Value::from("The quick brown fox jumps over the lazy dog."),
        ),
        ("likes", Value::from(0.0)),
    ])
    .unwrap();
    tx.insert(&table, document).unwrap();
    db.commit(tx).await.unwrap();
}

/// Adds one to a counter, trying again until no one was faster.
async fn increment(db: Database, id: DocumentId) {
    loop {
        let mut tx = db.begin();
        let row = db.get(&mut tx, id).await.unwrap().unwrap();
        let mut document = Object::clone(&row.document);
        let value = document.get("value").and_then(Value::as_f64).unwrap();
        document.insert("value", Value::from(value + 1.0)).unwrap();
        tx.replace(id, &row, document).unwrap();
        match db.commit(tx).await {
            Ok(_) => return,
            Err(CommitError::Conflict { .. }) => {}
            Err(CommitError::Failed(error)) => panic!("{error}"),
        }
    }
}

fn counters(world: &World, db: &Database, count: usize) -> Vec<DocumentId> {
    let mut tx = db.begin();
    let table = tx.ensure_table("counters").unwrap();
    let ids = (0..count)
        .map(|_| {
            let document = Object::from_fields([("value", 0.0)]).unwrap();
            tx.insert(&table, document).unwrap()
        })
        .collect();
    world.tokio.block_on(db.commit(tx)).unwrap();
    ids
}
