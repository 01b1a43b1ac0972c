//! Goal: a stream gives what the model gives, and depends on exactly what it consumed.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::model::{Model, inserts, query, writes};
use super::world::{TABLE, World, ranges_read};
use crate::persistence::{KeyRange, Order};
use crate::query::{Plan, Query, QueryStep, QueryStream, Visibility};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Method: commit some documents, change some in the transaction itself, query, compare.
    #[test]
    fn gives_what_the_model_gives(
        page_rows in 1usize..6,
        stored in inserts(),
        own in writes(),
        query in query(),
    ) {
        let mut world = World::new(page_rows);
        let mut model = Model::default();
        let mut tx = world.begin();
        model.write(&world, &mut tx, &stored);
        world.commit(tx);
        let mut tx = world.begin();
        model.write(&world, &mut tx, &own);

        let rows = world.collect(&mut tx, &query.query()).unwrap();
        prop_assert_eq!(rows, model.answer(&query).0);
    }

    /// Method: the range that was read ends at the last row that the model consumes. Hence a `first()` does not
    /// depend on what comes after its row, and a limit of 0 depends on nothing.
    #[test]
    fn depends_on_what_it_consumed(page_rows in 1usize..6, stored in inserts(), query in query()) {
        let mut world = World::new(page_rows);
        let mut model = Model::default();
        let mut tx = world.begin();
        model.write(&world, &mut tx, &stored);
        world.commit(tx);

        let mut tx = world.begin();
        let plan = Plan::resolve(&mut tx, &query.query(), Visibility::User).unwrap();
        world.collect(&mut tx, &query.query()).unwrap();

        let index = world.index(query.index_name());
        let consumed = match model.answer(&query).1 {
            None => plan.range,
            Some(0) => KeyRange { end: Some(Vec::new()), ..KeyRange::all() },
            Some(rows) => {
                let read = model.answer(&query.clone().without_stages()).0;
                let last = index.key(&read[rows - 1]);
                match plan.order {
                    Order::Ascending => KeyRange { end: KeyRange::point(last).end, ..plan.range },
                    Order::Descending => KeyRange { start: last, ..plan.range },
                }
            }
        };
        let expected = if consumed.is_empty() { vec![] } else { vec![consumed] };
        prop_assert_eq!(ranges_read(&tx, index.id), expected);
    }

    /// Method: change data after a query ran; if it then gives something else, the writes touched what it read.
    #[test]
    fn changes_of_the_result_are_in_the_read_set(
        page_rows in 1usize..6,
        stored in inserts(),
        later in writes(),
        query in query(),
    ) {
        let mut world = World::new(page_rows);
        let mut model = Model::default();
        let mut tx = world.begin();
        model.write(&world, &mut tx, &stored);
        world.commit(tx);
        let mut before = world.begin();
        let rows_before = world.collect(&mut before, &query.query()).unwrap();

        let mut tx = world.begin();
        model.write(&world, &mut tx, &later);
        let written = world.commit(tx);
        let rows_after = world.collect(&mut world.begin(), &query.query()).unwrap();
        prop_assert_eq!(&rows_after, &model.answer(&query).0);
        if rows_before != rows_after {
            let touched = written.iter().any(|(index, key)| before.reads().contains(*index, key));
            prop_assert!(touched, "{:?}", before.reads());
        }
    }
}

/// Reading more than is wanted costs; reading row by row costs more.
#[test]
fn first_reads_are_as_large_as_the_result() {
    let world = World::new(512);
    let first_read = |operators: Json| {
        let source = json!({"type": "FullTableScan", "tableName": TABLE, "order": null});
        let query = Query::from_json(&json!({"source": source, "operators": operators})).unwrap();
        let mut tx = world.begin();
        let mut stream = QueryStream::open(&mut tx, &query, Visibility::User).unwrap();
        match stream.next(&mut tx).unwrap() {
            QueryStep::Read(read) => read.limit,
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(first_read(json!([{"limit": 1}])), 1);
    assert_eq!(first_read(json!([{"limit": 20}, {"limit": 10}])), 10);
    assert!(first_read(json!([{"filter": {"$and": []}}, {"limit": 1}])) > 1);
    assert!(first_read(json!([])) > 1);
}
