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
        .system("_system/cli/tables:default", pages(100))
        .unwrap();
    assert_eq!(
        tables,
        json!({"page": [{"name": "a"}, {"name": "b"}], "isDone": true, "continueCursor": "b"})
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
        ("_system/cli/exports:getLatest", Json::Null),
    ] {
        assert_eq!(world.system(path, json!({})), Ok(expected), "{path}");
    }
    let import = world.system("_system/cli/queryImport:default", json!({"importId": "i"}));
    assert_eq!(import, Ok(Json::Null));
    let unknown = world.system("_system/cli/nothing", json!({})).unwrap_err();
    assert_eq!(
        unknown,
        "Could not find function for '_system/cli/nothing'. Did you forget to run `npx convex dev` or `npx convex deploy`?"
    );
    let incomplete = world
        .system("_system/cli/tableSize", json!({}))
        .unwrap_err();
    assert!(incomplete.starts_with("ArgumentValidationError: "));
    assert!(incomplete.contains("tableName"));
}

/// `paginationOpts` for a first page.
fn pages(count: u32) -> Json {
    json!({"paginationOpts": {"cursor": null, "numItems": count}})
}

#[test]
fn only_admins_know_system_functions() {
    let world = World::new();
    let functions = world.functions();
    let nobody = CallContext::new(
        Identity::Anonymous,
        RequestId::from_bytes([0; 8]),
        Client::Http(None),
    );
    let snapshot = world.db.snapshot();
    let path = "_system/frontend/getVersion";
    let query = functions.query(&nobody, path, json!({}), None, &snapshot);
    assert_eq!(
        block_on(query).unwrap().result.clone().unwrap_err().message,
        "Could not find public function for '_system/frontend/getVersion'. \
         Did you forget to run `npx convex dev` or `npx convex deploy`?"
    );
    let create = "_system/frontend/createTable";
    let args = json!({"table": "t"});
    let refused = functions.mutation(&nobody, create, args.clone(), None);
    let refused = block_on(refused).unwrap().result.unwrap_err();
    assert!(
        refused
            .message
            .starts_with("Could not find public function")
    );
    assert_eq!(
        world.system(create, args.clone()).unwrap_err(),
        "Trying to execute _system/frontend/createTable.js:default as Query, but it is defined as Mutation."
    );
    let reader = admin(true);
    let refused = functions.mutation(&reader, create, args.clone(), None);
    assert_eq!(block_on(refused).unwrap_err().code, "BadDeployKey");
    let tables = || world.system("_system/cli/tables", pages(9)).unwrap()["page"].clone();
    assert_eq!(tables(), json!([]));
    assert_eq!(world.change(create, args), Ok(Json::Null));
    assert_eq!(tables(), json!([{"name": "t"}]));
    let component = world.system(path, json!({"componentId": "c"}));
    assert!(component.unwrap_err().contains("\"c\""));
    let root = world.system(path, json!({"componentId": null}));
    assert_eq!(root, Ok(Json::Null));
}

#[test]
fn names_of_tables_come_in_pages() {
    let world = World::new();
    for name in ["c", "a", "b"] {
        world.insert(name, &[]);
    }
    let first = world.system("_system/cli/tables", pages(2)).unwrap();
    assert_eq!(first["page"], json!([{"name": "a"}, {"name": "b"}]));
    assert_eq!(first["isDone"], false);
    let rest = json!({"paginationOpts": {"cursor": first["continueCursor"], "numItems": 2}});
    let rest = world.system("_system/cli/tables", rest).unwrap();
    assert_eq!(rest["page"], json!([{"name": "c"}]));
    assert_eq!(rest["isDone"], true);
    let all = world.system("_system/frontend/tableSize:sizeOfAllTables", json!({}));
    assert_eq!(all.unwrap(), 3.0);
}

#[test]
fn schemas_and_indexes_are_shown_as_tools_expect_them() {
    let world = World::new();
    world.push(json!({"schema": schema("number", &["a"], &["b"])}));
    let schemas = world
        .system("_system/frontend/getSchemas", json!({}))
        .unwrap();
    assert_eq!(schemas["inProgress"], Json::Null);
    let active: Json = serde_json::from_str(schemas["active"].as_str().unwrap()).unwrap();
    let table = &active["tables"][0];
    assert_eq!(table["indexes"][0]["fields"], json!(["a"]));
    let staged = &table["stagedDbIndexes"][0]["fields"];
    assert_eq!(*staged, json!(["b", "_creationTime"]));
    let progress = "_system/frontend/getSchemas:schemaValidationProgress";
    assert_eq!(world.system(progress, json!({})), Ok(Json::Null));
    let indexes = |table: &str| {
        let args = json!({"tableName": table, "tableNamespace": null});
        world.system("_system/frontend/indexes", args).unwrap()
    };
    assert_eq!(indexes("none"), Json::Null);
    let index = |name: &str, field: &str, staged: bool, state: &str| json!({"name": name, "fields": [field], "staged": staged, "backfill": {"state": state}});
    // Nobody waits for a staged index.
    while indexes("tasks")[1]["backfill"]["state"] == "backfilling" {
        yield_to_others();
    }
    assert_eq!(
        indexes("tasks"),
        json!([
            index("on_a", "a", false, "done"),
            index("on_b", "b", true, "backfilled")
        ])
    );
}

#[test]
fn modules_are_shown_with_their_functions() {
    let world = World::new();
    let list = "_system/frontend/modules:list";
    assert_eq!(world.system(list, json!({})), Ok(json!([])));
    world.push(json!({"changedModules": [module("tasks.js", functions(&["list"]))]}));
    let tasks = json!([["tasks.js", {"functions":
        [{"name": "list", "udfType": "Query", "visibility": {"kind": "public"}}], "sourcePackageId": ""}]]);
    assert_eq!(world.system(list, json!({})), Ok(tasks.clone()));
    let all = world.system("_system/frontend/modules:listForAllComponents", json!({}));
    assert_eq!(all.unwrap(), json!([[null, tasks]]));
    let validator = |function: &str| {
        let args = json!({"function": function});
        world.system("_system/frontend/modules:argsValidator", args)
    };
    let object = json!(r#"{"type":"object","value":{}}"#);
    assert_eq!(validator("tasks:list"), Ok(object));
    assert_eq!(validator("tasks:none"), Ok(Json::Null));
    let version = world.system("_system/frontend/getVersion", json!({}));
    assert_eq!(version, Ok(json!("1.48.0")));
}

#[test]
fn what_an_instance_lacks_is_empty() {
    let world = World::new();
    let page = json!({"page": [], "isDone": true, "continueCursor": ""});
    let state = json!({"system": "none", "usage_limit": "none", "user": "none"});
    let from = json!({"fromTimestamp": 0.0});
    for (path, args, expected) in [
        ("backendState:backendState", json!({}), state),
        ("convexCloudUrl", json!({}), json!("http://cloud")),
        ("deploymentEvents:lastPushEvent", json!({}), Json::Null),
        (
            "deploymentState:deploymentState",
            json!({}),
            json!({"state": "running"}),
        ),
        ("fileStorageV2:fileMetadata", pages(5), page),
        (
            "fileStorageV2:getFile",
            json!({"storageId": "x"}),
            Json::Null,
        ),
        ("fileStorageV2:numFiles", json!({}), json!(0.0)),
        ("latestExport", json!({}), Json::Null),
        ("latestExport:latestCloudExport", json!({}), Json::Null),
        ("listAuthProviders", json!({}), json!([])),
        ("listConfiguredSinks", json!({}), json!([])),
        ("listCronJobs", json!({}), json!([])),
        ("listCronJobRuns", json!({}), json!([])),
        ("listDeploymentEventsFromTime", from, json!([])),
        ("node:version", json!({}), Json::Null),
        ("snapshotImport:list", json!({}), json!([])),
    ] {
        let path = format!("_system/frontend/{path}");
        assert_eq!(world.system(&path, args), Ok(expected), "{path}");
    }
    let url = "_system/frontend/fileStorageV2:generateUploadUrl";
    let refused = world.change(url, json!({})).unwrap_err();
    assert!(refused.message.contains("File storage is not available"));
    // As functions see it.
    let path = "_system/cli/queryEnvironmentVariables:get";
    let url = world.system(path, json!({"name": "CONVEX_CLOUD_URL"}));
    assert_eq!(url.unwrap()["value"], "http://cloud");
}

/// A page that is shown live grows and shrinks with its documents instead of sliding over the table.
#[test]
fn pages_keep_their_ends() {
    let world = World::new();
    for n in 0..4 {
        world.insert("t", &[("n", Value::Float64(f64::from(n)))]);
    }
    let functions = world.functions();
    let run = |journal: Option<String>| {
        let args = json!({"table": "t", "filters": null, "paginationOpts": {"cursor": null, "numItems": 2}});
        let path = "_system/frontend/paginatedTableDocuments";
        let snapshot = world.db.snapshot();
        let context = admin(true);
        let query = functions.query(&context, path, args, journal, &snapshot);
        let query = block_on(query).unwrap();
        let page = query.result.clone().unwrap().to_json();
        let numbers = page["page"].as_array().unwrap().iter();
        let numbers: Vec<_> = numbers.map(|row| row["n"].as_f64().unwrap()).collect();
        (numbers, query.journal.clone())
    };
    let (numbers, journal) = run(None);
    assert_eq!(numbers, [3.0, 2.0]);
    world.insert("t", &[("n", Value::Float64(4.0))]);
    assert_eq!(run(journal).0, [4.0, 3.0, 2.0]);
}
