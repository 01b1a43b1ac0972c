//! Which tables and indexes a query may read, and how it explains itself.

use serde_json::{Value as Json, json};

use super::world::{TABLE, World, add_index};
use crate::catalog::IndexState;
use crate::error::Result;
use crate::query::{Plan, Query, Visibility};

fn scan(table: &str) -> Query {
    let source = json!({"type": "FullTableScan", "tableName": table, "order": null});
    Query::from_json(&json!({"source": source, "operators": []})).unwrap()
}

fn range(index: &str, bounds: Json) -> Query {
    let source = json!({"type": "IndexRange", "indexName": index, "range": bounds, "order": null});
    Query::from_json(&json!({"source": source, "operators": []})).unwrap()
}

fn resolve(world: &World, query: &Query, visibility: Visibility) -> Result<Plan> {
    Plan::resolve(&mut world.begin(), query, visibility)
}

#[test]
fn unusable_indexes_are_refused() {
    let mut world = World::new(4);
    let mut tx = world.begin();
    add_index(&mut tx, "building", &["x"], IndexState::Backfilling, false);
    add_index(&mut tx, "built", &["y"], IndexState::Backfilled, false);
    add_index(&mut tx, "staged", &["z"], IndexState::Ready, true);
    world.commit(tx);
    let missing = ("IndexNotFoundError", "not found");
    let building = (
        "IndexBackfillingError",
        "is currently backfilling and not available to query yet.",
    );
    let staged = (
        "IndexStagedError",
        "is currently staged and not available to query until it is enabled.",
    );
    for (index, (code, text)) in [
        ("notes.nothing", missing),
        ("absent.by_a", missing),
        ("_storage.by_a", missing),
        ("_tables.by_name", missing),
        ("notes.building", building),
        ("notes.built", building),
        ("notes.staged", staged),
    ] {
        let error = resolve(&world, &range(index, json!([])), Visibility::User).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        let expected = format!("Index {index} {text}");
        assert!(error.message.starts_with(&expected), "{error}");
    }
    let search = json!({"type": "Search", "indexName": "notes.find", "filters": []});
    let search = Query::from_json(&json!({"source": search, "operators": []})).unwrap();
    let error = resolve(&world, &search, Visibility::User).unwrap_err();
    assert_eq!(error.code, "SearchNotSupported");
}

#[test]
fn ranges_are_checked_even_without_a_table() {
    let world = World::new(4);
    let bound = |field| json!([{"type": "Gt", "fieldPath": field, "value": 1}]);
    let resolve = |index, field| resolve(&world, &range(index, bound(field)), Visibility::User);
    for index in ["absent.by_creation_time", "notes.by_creation_time"] {
        resolve(index, "_creationTime").unwrap();
        assert_eq!(resolve(index, "a").unwrap_err().code, "FieldNotInIndex");
        assert_eq!(resolve(index, "_id").unwrap_err().code, "InvalidIndexRange");
    }
    resolve("notes.by_id", "_id").unwrap();
    for field in ["_creationTime", "_id"] {
        let error = resolve("notes.by_a", field).unwrap_err();
        assert_eq!(error.code, "InvalidIndexRange", "{error}");
    }
}

/// Whoever goes on after a row names the whole of its key.
#[test]
fn creation_time_and_id_end_every_index() {
    let world = World::new(4);
    let eq = |field, value| json!({"type": "Eq", "fieldPath": field, "value": value});
    let beyond = |field| json!({"type": "Gt", "fieldPath": field, "value": "j5"});
    for (index, bounds) in [
        ("notes.by_id", json!([beyond("_id")])),
        (
            "notes.by_creation_time",
            json!([eq("_creationTime", json!(1)), beyond("_id")]),
        ),
        (
            "absent.by_creation_time",
            json!([eq("_creationTime", json!(1)), beyond("_id")]),
        ),
        (
            "notes.by_a",
            json!([
                eq("a", json!(1)),
                eq("_creationTime", json!(1)),
                beyond("_id")
            ]),
        ),
        (
            "notes.by_a_bc",
            json!([
                eq("a", json!(1)),
                eq("b.c", json!(1)),
                eq("_creationTime", json!(1)),
                beyond("_id")
            ]),
        ),
    ] {
        resolve(&world, &range(index, bounds), Visibility::User).unwrap();
    }
}

#[test]
fn system_tables_are_hidden_from_user_code() {
    let world = World::new(4);
    let mut tx = world.begin();
    assert!(world.collect(&mut tx, &scan("_tables")).unwrap().is_empty());
    assert!(tx.reads().is_empty(), "what is hidden leaves no trace");
    for table in ["_storage", "_scheduled_functions", "absent"] {
        let mut tx = world.begin();
        assert!(world.collect(&mut tx, &scan(table)).unwrap().is_empty());
        assert!(!tx.reads().is_empty(), "the table may come into being");
    }
    let plan = resolve(&world, &scan("_tables"), Visibility::System).unwrap();
    assert_eq!(
        (plan.index_name.as_str(), plan.index.is_some()),
        ("by_id", true)
    );
}

#[test]
fn each_query_counts_as_one_range() {
    let world = World::new(4);
    let mut tx = world.begin();
    for _ in 0..4096 {
        world.collect(&mut tx, &scan("absent")).unwrap();
    }
    assert_eq!(
        world.collect(&mut tx, &scan("absent")).unwrap_err().code,
        "TooManyReads"
    );
}

#[test]
fn plans_explain_themselves() {
    let world = World::new(4);
    let query = Query::from_json(&json!({
        "source": {
            "type": "IndexRange",
            "indexName": format!("{TABLE}.by_a_bc"),
            "range": [
                {"type": "Eq", "fieldPath": "a", "value": "x"},
                {"type": "Gte", "fieldPath": "b.c", "value": 2},
            ],
            "order": "desc",
        },
        "operators": [{"filter": {"$field": "done"}}, {"limit": 10}],
    }))
    .unwrap();
    let plan = resolve(&world, &query, Visibility::User).unwrap();
    assert_eq!(
        plan.to_string(),
        "read notes.by_a_bc [a, b.c, _creationTime, _id] descending, where a == \"x\" and b.c >= 2.0\n\
         keep rows with done\n\
         stop after 10 rows\n"
    );
    assert_eq!(
        plan.explain(),
        json!({
            "table": "notes",
            "tableExists": true,
            "index": "by_a_bc",
            "indexFields": ["a", "b.c", "_creationTime", "_id"],
            "range": ["a == \"x\"", "b.c >= 2.0"],
            "order": "desc",
            "operators": [{"filter": {"$field": "done"}}, {"limit": 10}],
        })
    );
    let plan = resolve(&world, &scan("absent"), Visibility::User).unwrap();
    assert_eq!(
        plan.to_string(),
        "read absent.by_creation_time [_creationTime, _id] ascending, all of it (there is no such table: no rows)\n"
    );
}
