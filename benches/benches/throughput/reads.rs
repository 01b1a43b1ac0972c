//! Point reads of documents that were read before.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use concave_core::key::encode_key;
use concave_core::value::{decode_document, encode_document};
use concave_core::{DocumentId, Object, Value};

use crate::report::{median, table};
use crate::world::{DURATION, ROUNDS, World};

const DOCUMENTS: usize = 1_000;

pub fn run() {
    let world = World::new();
    let db = &world.database();
    let mut tx = db.begin();
    let messages = tx.ensure_table("messages").unwrap();
    let ids: Vec<DocumentId> = (0..DOCUMENTS)
        .map(|_| tx.insert(&messages, message()).unwrap())
        .collect();
    world.tokio.block_on(db.commit(tx)).unwrap();
    let mut map = BTreeMap::new();
    let read = async {
        let mut spent = 0.0;
        for _ in 0..ROUNDS {
            for id in &ids {
                let mut tx = db.begin();
                let row = db.get(&mut tx, *id).await.unwrap().unwrap();
                map.insert(key(*id), encode_document(&row.document));
            }
        }
        let (mut count, begun) = (0, Instant::now());
        while begun.elapsed() < DURATION {
            for id in &ids {
                let mut tx = db.begin();
                black_box(db.get(&mut tx, *id).await.unwrap().unwrap());
            }
            count += DOCUMENTS;
            spent = begun.elapsed().as_secs_f64();
        }
        spent / count as f64
    };
    let read = world.tokio.block_on(read);
    let floors = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        for _ in 0..100 {
            for id in &ids {
                black_box(decode_document(&map[&key(*id)]).unwrap());
            }
        }
        begun.elapsed().as_secs_f64() / (100 * DOCUMENTS) as f64
    });
    let floor = median(floors.collect());
    table(
        "Transactions that read one document by id, one after another. Floor: a lookup in a BTreeMap and decoding.",
        &["read", "µs", "floor", "times"],
        &[vec![
            "hot document by id".to_owned(),
            format!("{:.2}", read * 1e6),
            format!("{:.2}", floor * 1e6),
            format!("{:.1}", read / floor),
        ]],
    );
}

fn key(id: DocumentId) -> Vec<u8> {
    encode_key(&[Some(&Value::String(id.encode()))])
}

fn message() -> Object {
    Object::from_fields([
        ("author", Value::from("Ada")),
        (
            "body",
            Value::from("The quick brown fox jumps over the lazy dog."),
        ),
        ("likes", Value::from(0.0)),
    ])
    .unwrap()
}
