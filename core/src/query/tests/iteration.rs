//! Goal: a query is one pass over what was there at its first step, whatever the transaction writes meanwhile.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index as Choice;
use serde_json::json;

use super::model::{Model, ModelQuery, Write, inserts, unlimited_query, writes};
use super::world::{TABLE, World, ranges_read};
use crate::persistence::{KeyRange, Order};
use crate::query::{Plan, Query, QueryStep, QueryStream, Visibility};
use crate::transaction::{ReadSet, Transaction};
use crate::value::Object;

/// What a transaction does next.
#[derive(Clone, Debug)]
enum Step {
    Open(ModelQuery),
    /// Takes so many rows of one of the queries.
    Next(Choice, usize),
    Write(Vec<Write>),
    Savepoint,
    RollBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => unlimited_query().prop_map(|query| Step::Open(query.without_stages())),
        6 => (any::<Choice>(), 1usize..4).prop_map(|(choice, rows)| Step::Next(choice, rows)),
        4 => writes().prop_map(Step::Write),
        1 => Just(Step::Savepoint),
        1 => Just(Step::RollBack),
    ];
    vec(step, 0..40)
}

/// A query under way.
struct Pass {
    query: ModelQuery,
    stream: QueryStream,
    /// All that it is to give, from its first step on.
    expected: Option<Vec<Arc<Object>>>,
    given: usize,
    is_done: bool,
}

impl Pass {
    fn next(&mut self, world: &World, tx: &mut Transaction, model: &Model) {
        let expected = self
            .expected
            .get_or_insert_with(|| model.answer(&self.query).0);
        let row = loop {
            match self.stream.next(tx).unwrap() {
                QueryStep::Read(read) => self.stream.supply(world.read(read)).unwrap(),
                QueryStep::Row(row) => break Some(row),
                QueryStep::Done => break None,
            }
        };
        assert_eq!(row.as_ref(), expected.get(self.given), "{:?}", self.query);
        match row {
            Some(_) => self.given += 1,
            None => self.is_done = true,
        }
    }

    /// The keys that it has consumed.
    fn consumed(&self, world: &World) -> KeyRange {
        let plan =
            Plan::resolve(&mut world.begin(), &self.query.query(), Visibility::User).unwrap();
        if self.is_done {
            return plan.range;
        }
        let Some(last) = self.given.checked_sub(1) else {
            return KeyRange {
                end: Some(Vec::new()),
                ..KeyRange::all()
            };
        };
        let last = &self.expected.as_ref().unwrap()[last];
        let last = world.index(self.query.index_name()).key(last);
        match plan.order {
            Order::Ascending => KeyRange {
                end: KeyRange::point(last).end,
                ..plan.range
            },
            Order::Descending => KeyRange {
                start: last,
                ..plan.range
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Method: several queries take turns with writes and with writes that are undone. The model notes a query's
    /// answer when it takes its first row, and what it gives is compared with that; in the end, what the transaction
    /// depends on is exactly what was consumed.
    #[test]
    fn is_one_pass_over_what_was_there(
        page_rows in 1usize..6,
        stored in inserts(),
        steps in steps(),
    ) {
        let mut world = World::new(page_rows);
        let mut model = Model::default();
        let mut tx = world.begin();
        model.write(&world, &mut tx, &stored);
        world.commit(tx);

        let mut tx = world.begin();
        let mut passes: Vec<Pass> = Vec::new();
        let mut over = Vec::new();
        let mut savepoints = Vec::new();
        for step in steps {
            match step {
                Step::Open(query) => {
                    let stream = QueryStream::open(&mut tx, &query.query(), Visibility::User).unwrap();
                    passes.push(Pass { query, stream, expected: None, given: 0, is_done: false });
                }
                Step::Next(choice, rows) if !passes.is_empty() => {
                    let pass = choice.index(passes.len());
                    for _ in 0..rows {
                        passes[pass].next(&world, &mut tx, &model);
                    }
                }
                Step::Next(..) => {}
                Step::Write(writes) => model.write(&world, &mut tx, &writes),
                Step::Savepoint => savepoints.push((tx.savepoint(), tx.usage(), model.clone(), passes.len())),
                // As with a nested call that fails: its queries end with it.
                Step::RollBack => {
                    if let Some((savepoint, before, earlier, count)) = savepoints.pop() {
                        let used = tx.usage();
                        tx.rollback(savepoint);
                        model = earlier;
                        over.extend(passes.drain(count..));
                        let after = tx.usage();
                        prop_assert_eq!(after.documents_written, before.documents_written);
                        prop_assert_eq!(after.bytes_written, before.bytes_written);
                        prop_assert_eq!(after.documents_read, used.documents_read);
                        prop_assert_eq!(after.ranges_read, used.ranges_read);
                    }
                }
            }
        }
        over.extend(passes);
        for name in ["by_creation_time", "by_a", "by_a_bc"] {
            let index = world.index(name).id;
            let mut expected = ReadSet::default();
            for pass in over.iter().filter(|pass| pass.query.index_name() == name) {
                expected.insert(index, pass.consumed(&world));
            }
            let expected: Vec<_> = expected.ranges().map(|(_, range)| range).collect();
            prop_assert_eq!(ranges_read(&tx, index), expected, "{}", name);
        }
    }
}

/// A step that begins a query on a table that is only made after the query was opened.
#[test]
fn a_table_may_come_into_being_before_the_first_step() {
    let world = World::new(4);
    let source = json!({"type": "FullTableScan", "tableName": "later", "order": null});
    let query = Query::from_json(&json!({"source": source, "operators": []})).unwrap();
    let mut tx = world.begin();
    let mut opened = QueryStream::open(&mut tx, &query, Visibility::User).unwrap();
    let mut begun = QueryStream::open(&mut tx, &query, Visibility::User).unwrap();
    assert!(matches!(begun.next(&mut tx).unwrap(), QueryStep::Done));
    let table = tx.ensure_table("later").unwrap();
    tx.insert(&table, Object::new()).unwrap();
    assert!(matches!(begun.next(&mut tx).unwrap(), QueryStep::Done));
    let mut rows = 0;
    loop {
        match opened.next(&mut tx).unwrap() {
            QueryStep::Read(read) => opened.supply(world.read(read)).unwrap(),
            QueryStep::Row(_) => rows += 1,
            QueryStep::Done => break,
        }
    }
    assert_eq!(rows, 1);
    assert_eq!(tx.usage().ranges_read, 2, "what is opened once counts once");
    assert_ne!(TABLE, "later");
}
