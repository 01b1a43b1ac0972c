//! How tools read and change documents.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn add(world: &World, table: &str, documents: Json) -> Result<Json, Failure> {
    let args = json!({"table": table, "documents": documents});
    world.change("_system/frontend/addDocument", args)
}

fn scan(world: &World, table: &str) -> Vec<Json> {
    let args = json!({"table": table, "limit": 100});
    let documents = world.system("_system/frontend/listTableScan", args);
    documents.unwrap().as_array().unwrap().clone()
}

fn succeeded(result: Result<Json, Failure>) {
    assert_eq!(result, Ok(json!({"success": true})));
}

/// The text that a tool shows for a failure.
fn told(result: Result<Json, Failure>) -> String {
    let failure = result.unwrap_err();
    let data = failure.data.expect("a ConvexError");
    let data = data.as_str().expect("with a text").to_owned();
    assert_eq!(failure.message, format!("Uncaught ConvexError: {data}"));
    data
}

#[test]
fn documents_are_added_all_or_none() {
    let world = World::new();
    world.push(json!({"schema": schema("number", &[], &[])}));
    succeeded(add(&world, "tasks", json!([{"n": 1.0}, {"n": 2.0}])));
    let newest = scan(&world, "tasks");
    assert_eq!(
        (&newest[0]["n"], &newest[1]["n"]),
        (&json!(2.0), &json!(1.0))
    );
    // Tables that no schema knows come into being.
    succeeded(add(&world, "others", json!([{"a": "b"}])));
    let text = told(add(&world, "tasks", json!([{"n": 3.0}, {"n": "four"}])));
    assert!(text.contains("does not match the schema"), "{text}");
    assert_eq!(scan(&world, "tasks").len(), 2);
    for (table, documents) in [
        ("others", json!([{"_id": "x"}])),
        ("others", json!([1.0])),
        ("_storage", json!([{}])),
        ("not a name", json!([{}])),
    ] {
        assert!(!told(add(&world, table, documents)).is_empty());
    }
    assert_eq!(scan(&world, "others").len(), 1);
    let many = |count| Json::Array(vec![json!({}); count]);
    let error = "Can’t import more than 4096 documents at once.";
    let refused = json!({"success": false, "error": error});
    assert_eq!(add(&world, "others", many(4097)), Ok(refused));
    succeeded(add(&world, "others", many(4096)));
}

#[test]
fn documents_are_found_replaced_patched_and_deleted() {
    let world = World::new();
    let first = world.insert("t", &[("n", Value::Float64(1.0))]).encode();
    let second = world.insert("t", &[("n", Value::Float64(2.0))]).encode();
    let get = |id: &str| {
        let args = json!({"id": id});
        world.system("_system/frontend/getById", args).unwrap()
    };
    assert_eq!(get(&first)["n"], 1.0);
    assert_eq!(get("nonsense"), Json::Null);
    let place = |id: &str, table: &str| json!({"id": id, "tableName": table});
    let ids = json!({"ids": [place(&first, "t"), place(&second, "other")]});
    let list = world.system("_system/frontend/listById", ids).unwrap();
    assert_eq!((&list[0]["n"], &list[1]), (&json!(1.0), &Json::Null));

    let missing = json!({"success": false, "error": "Document does not exist."});
    let replace = |id: &str, document: Json| {
        let args = json!({"id": id, "document": document});
        world.change("_system/frontend/replaceDocument", args)
    };
    succeeded(replace(&first, json!({"m": 3.0})));
    assert_eq!(
        (&get(&first)["m"], &get(&first)["n"]),
        (&json!(3.0), &Json::Null)
    );
    assert_eq!(replace("nonsense", json!({})), Ok(missing.clone()));
    let changed = told(replace(&first, json!({"_creationTime": 1.0})));
    assert!(changed.contains("_creationTime"), "{changed}");

    let patch = |fields: Json, ids: Option<Json>| {
        let mut args = json!({"table": "t", "fields": fields});
        if let Some(ids) = ids {
            args["ids"] = ids;
        }
        world.change("_system/frontend/patchDocumentsFields", args)
    };
    succeeded(patch(json!({"p": 1.0}), Some(json!([first]))));
    assert_eq!(
        (&get(&first)["p"], &get(&second)["p"]),
        (&json!(1.0), &Json::Null)
    );
    const UNDEFINED: &str = concat!(
        "__CONVEX_PLACEHOLDER_undefined_I23atX0jcndVbFgXoQZffsih7eAqktCyFjgUuAeNBtfr3ySOljPSPSEOPFgprkdBO3zXNiGEJxmJ5ZF",
        "Pc5C5qKesG80QRPvlJe8vgSxAt9feLTwxTg4PHfVwUaTEJU67FDwldWmTxp1guMPwxQ2jOuhEryTBf3mQ",
    );
    succeeded(patch(json!({"q": 2.0, "p": UNDEFINED}), None));
    for id in [&first, &second] {
        assert_eq!((&get(id)["q"], &get(id)["p"]), (&json!(2.0), &Json::Null));
    }
    let unknown = patch(json!({}), Some(json!(["nonsense"])));
    assert_eq!(told(unknown), "Document does not exist.");

    let delete = |ids: &[&str]| {
        let places: Vec<_> = ids.iter().map(|id| place(id, "t")).collect();
        let args = json!({"toDelete": places});
        world.change("_system/frontend/deleteDocuments", args)
    };
    assert_eq!(delete(&[&first, "nonsense"]), Ok(missing));
    assert_eq!(get(&first)["q"], 2.0, "all or none");
    succeeded(delete(&[&first, &second]));
    assert!(scan(&world, "t").is_empty());
}

#[test]
fn a_table_is_cleared_page_by_page() {
    let world = World::new();
    let clear = |cursor: &Json| {
        let args = json!({"tableName": "t", "cursor": cursor});
        let page = world.change("_system/frontend/clearTablePage", args);
        let page = page.unwrap();
        let has_more = page["hasMore"].as_bool().unwrap();
        (
            page["deleted"].as_f64().unwrap(),
            has_more,
            page["continueCursor"].clone(),
        )
    };
    assert_eq!(clear(&Json::Null).0, 0.0);
    for count in [4000, 1] {
        succeeded(add(
            &world,
            "t",
            Json::Array(vec![json!({"a": 1.0}); count]),
        ));
    }
    let (deleted, has_more, cursor) = clear(&Json::Null);
    assert_eq!((deleted, has_more), (4000.0, true));
    assert_eq!(scan(&world, "t").len(), 1);
    let (deleted, has_more, _) = clear(&cursor);
    assert_eq!((deleted, has_more), (1.0, false));
    // Large documents are fewer at a time.
    for _ in 0..5 {
        succeeded(add(&world, "t", json!([{"a": "x".repeat(900_000)}])));
    }
    let (deleted, has_more, _) = clear(&Json::Null);
    assert_eq!((deleted, has_more), (4.0, true));
    let system = json!({"tableName": "_tables", "cursor": null});
    let system = world.change("_system/frontend/clearTablePage", system);
    assert!(system.unwrap_err().message.contains("read-only"));
}

#[test]
fn pages_of_documents_can_be_filtered() {
    let world = World::new();
    world.push(json!({"schema": schema("number", &["a"], &[])}));
    let a = |n: u32| {
        if n.is_multiple_of(2) {
            json!("even")
        } else {
            json!(f64::from(n))
        }
    };
    let documents = (0..6).map(|n| json!({"n": f64::from(n), "a": a(n)}));
    succeeded(add(&world, "tasks", documents.collect()));
    let page = |filters: Option<Json>, cursor: Json, count: u32| {
        let filters = filters.map(|filters| STANDARD.encode(filters.to_string()));
        let args = json!({"table": "tasks", "filters": filters,
            "paginationOpts": {"cursor": cursor, "numItems": count}});
        let path = "_system/frontend/paginatedTableDocuments";
        world.system(path, args).unwrap()
    };
    let numbers = |filters: Json| -> Vec<f64> {
        let page = page(Some(filters), Json::Null, 100);
        assert_eq!(page["isDone"], true);
        let documents = page["page"].as_array().unwrap();
        let numbers = documents.iter().map(|document| document["n"].as_f64());
        numbers.map(Option::unwrap).collect()
    };
    let all = page(None, Json::Null, 4);
    assert_eq!(all["page"][0]["n"], 5.0, "newest first");
    assert_eq!(all["isDone"], false);
    let rest = page(None, all["continueCursor"].clone(), 4);
    assert_eq!(rest["page"].as_array().unwrap().len(), 2);
    let clause = |op: &str, field: &str, value: Json| json!({"id": "c", "op": op, "field": field, "value": value});
    let large = json!({"clauses": [clause("gte", "n", json!(4.0))]});
    assert_eq!(numbers(large), [5.0, 4.0]);
    let text = json!({"clauses": [clause("type", "a", json!("string"))], "order": "asc"});
    assert_eq!(numbers(text), [0.0, 2.0, 4.0]);
    let mut off = clause("eq", "n", json!(4.0));
    off["enabled"] = json!(false);
    assert_eq!(numbers(json!({"clauses": [off]})).len(), 6);
    let index = |clauses: Json| {
        let index = json!({"name": "on_a", "clauses": clauses});
        numbers(json!({"clauses": [], "order": "asc", "index": index}))
    };
    let even = |enabled: bool| json!([{"type": "indexEq", "enabled": enabled, "value": "even"}]);
    assert_eq!(index(even(true)), [0.0, 2.0, 4.0]);
    assert_eq!(index(even(false)).len(), 6);
    let range = json!([{"type": "indexRange", "enabled": true, "lowerOp": "gt", "lowerValue": 1.0,
        "upperOp": "lte", "upperValue": 5.0}]);
    assert_eq!(index(range), [3.0, 5.0]);

    let bad = clause("anyOf", "n", json!(1.0));
    let invalid = page(Some(json!({"clauses": [bad]})), Json::Null, 5);
    assert_eq!(
        (&invalid["isDone"], &invalid["continueCursor"]),
        (&json!(true), &json!(""))
    );
    assert_eq!(invalid["page"][0]["filter"], bad);
    assert!(invalid["page"][0]["error"].is_string());
}
