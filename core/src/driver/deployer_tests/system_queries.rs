//! What the system queries show of a deployment.

use super::*;

#[test]
fn system_queries_show_tables_and_their_documents() {
    let world = World::new();
    let page = |cursor: Json, count: u32| json!({"table": "b", "order": "desc", "paginationOpts": {"cursor": cursor, "numItems": count}});
    let empty = world
        .system("_system/cli/tableData", page(Json::Null, 2))
        .unwrap();
    assert_eq!(empty["page"], json!([]));
    assert_eq!(empty["isDone"], true);
    world.insert("b", &[("n", Value::Float64(1.0))]);
    let last = world.insert("b", &[("n", Value::Float64(2.0))]);
    world.insert("a", &[]);
    let tables = world
        .system("_system/cli/tables:default", json!({}))
        .unwrap();
    assert_eq!(
        tables,
        json!({"page": [{"name": "a"}, {"name": "b"}], "isDone": true, "continueCursor": "end"})
    );
    let first = world
        .system("_system/cli/tableData", page(Json::Null, 1))
        .unwrap();
    assert_eq!(first["page"][0]["n"], 2.0);
    assert_eq!(first["isDone"], false);
    let cursor = first["continueCursor"].clone();
    let second = world
        .system("_system/cli/tableData", page(cursor, 5))
        .unwrap();
    assert_eq!(second["page"].as_array().unwrap().len(), 1);
    assert_eq!(second["isDone"], true);
    let size = |table: &str| world.system("_system/cli/tableSize", json!({"tableName": table}));
    assert_eq!(size("b").unwrap(), 2.0);
    assert_eq!(size("none").unwrap(), 0.0);

    // The number of a table changes with each write to it.
    let number = || {
        let args = json!({"tableName": "b"});
        world.system("_system/cli/queryTable", args).unwrap()
    };
    let before = number();
    let mut tx = world.db.begin();
    let row = block_on(world.db.get(&mut tx, last)).unwrap().unwrap();
    tx.replace(last, &row, Object::new()).unwrap();
    block_on(world.db.commit(tx)).unwrap();
    assert_ne!(number(), before);
}

#[test]
fn system_queries_show_configuration_and_functions() {
    let world = World::new();
    world.set_env("B", Some("2")).unwrap();
    world.set_env("A", Some("1")).unwrap();
    let list = world
        .system("_system/cli/queryEnvironmentVariables", json!({}))
        .unwrap();
    let names: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|v| &v["name"])
        .collect();
    assert_eq!(names, ["A", "B"]);
    let get = |name: &str| {
        let path = "_system/cli/queryEnvironmentVariables:get";
        world.system(path, json!({"name": name})).unwrap()
    };
    assert_eq!(get("B"), json!({"name": "B", "value": "2"}));
    assert_eq!(get("C"), Json::Null);
    world.push(json!({"changedModules": [module("tasks.js", functions(&["list"]))]}));
    let spec = world
        .system("_system/cli/modules:apiSpec", json!({}))
        .unwrap();
    assert_eq!(
        spec,
        json!([{"identifier": "tasks.js:list", "functionType": "Query", "visibility": {"kind": "public"},
            "args": {"type": "object", "value": {}}, "returns": {"type": "any"}}])
    );
    let url = world.system("_system/cli/convexUrl:cloudUrl", json!({}));
    assert_eq!(url.unwrap(), "http://cloud");
    for (path, expected) in [
        ("_system/frontend/components:list", json!([])),
        ("_system/cli/queryImport:list", json!([])),
        ("_system/cli/queryImport:default", Json::Null),
        ("_system/cli/exports:getLatest", Json::Null),
    ] {
        assert_eq!(world.system(path, json!({})), Ok(expected), "{path}");
    }
    let unknown = world.system("_system/cli/nothing", json!({})).unwrap_err();
    assert!(unknown.contains("_system/cli/nothing"));
    let incomplete = world
        .system("_system/cli/tableSize", json!({}))
        .unwrap_err();
    assert!(incomplete.contains("tableName"));
}
