//! What functions may not do, and what they are told.

use super::*;
use crate::value::{DocumentId, InternalId, TableNumber};

/// Makes the system call that its arguments describe.
async fn make(context: NativeContext, args: Json) -> Result<Json, Failure> {
    let text = |name: &str| args[name].as_str().unwrap().to_owned();
    let call_args = serde_json::from_str(&text("args")).unwrap();
    context.call(&text("op"), call_args).await
}

struct World {
    backend: Arc<Backend>,
    /// A document in the table `things`.
    id: String,
}

impl World {
    fn new() -> Self {
        let engine = NativeEngine::default()
            .function("calls:mutation", FunctionKind::Mutation, make)
            .function("calls:query", FunctionKind::Query, make);
        let mut world = Self {
            backend: deploy(engine),
            id: String::new(),
        };
        let inserted = world.make(
            "mutation",
            "1.0/insert",
            json!({"table": "things", "value": {"n": 1.0}}),
        );
        let inserted = inserted.unwrap().to_json();
        world.id = inserted["_id"].as_str().unwrap().to_owned();
        world
    }

    fn make(&self, kind: &str, op: &str, args: Json) -> Result<crate::Value, Failure> {
        let args = json!({"op": op, "args": args.to_string()});
        let path = format!("calls:{kind}");
        let done = match kind {
            "query" => block_on(self.backend.query(&anyone(), &path, args, None)),
            _ => block_on(self.backend.mutation(&anyone(), &path, args)),
        };
        done.unwrap()
            .result
            .map_err(|failure| Failure::new(failure.text))
    }
}

#[test]
fn functions_are_told_what_they_may_not_do() {
    let world = World::new();
    let id = world.id.as_str();
    let nested = |more: Json| {
        let mut args = json!({"udfType": "query", "args": {}});
        args.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        args
    };
    let value = json!({"n": 2.0});
    let elsewhere = id_elsewhere();
    let cases = [
        (
            "query",
            "1.0/insert",
            json!({"table": "things", "value": value}),
            "not available in queries",
        ),
        (
            "query",
            "1.0/remove",
            json!({"id": id}),
            "not available in queries",
        ),
        (
            "mutation",
            "1.0/insert",
            json!({"table": "things", "value": {"_id": "x"}}),
            "set by the database",
        ),
        (
            "mutation",
            "1.0/insert",
            json!({"table": "things", "value": {"_creationTime": 1.0}}),
            "set by the database",
        ),
        (
            "mutation",
            "1.0/insert",
            json!({"table": "no table", "value": value}),
            "table",
        ),
        (
            "mutation",
            "1.0/insert",
            json!({"table": "_scheduled_functions", "value": value}),
            "read-only",
        ),
        (
            "mutation",
            "1.0/insert",
            json!({"table": "_tables", "value": value}),
            "_tables",
        ),
        (
            "mutation",
            "1.0/insert",
            json!({"table": "_deployments", "value": value}),
            "_deployments",
        ),
        (
            "mutation",
            "1.0/insert",
            json!({"table": "things"}),
            "value",
        ),
        ("mutation", "1.0/insert", json!({"value": value}), "table"),
        (
            "mutation",
            "1.0/replace",
            json!({"id": id, "value": {"_id": "other"}}),
            "set by the database",
        ),
        (
            "mutation",
            "1.0/replace",
            json!({"id": id, "value": {"_creationTime": 1.0}}),
            "set by the database",
        ),
        (
            "mutation",
            "1.0/shallowMerge",
            json!({"id": id, "value": {"_id": {"$undefined": null}}}),
            "cannot be removed",
        ),
        (
            "mutation",
            "1.0/shallowMerge",
            json!({"id": "no id", "value": {}}),
            "id",
        ),
        (
            "mutation",
            "1.0/remove",
            json!({"id": id, "table": "others"}),
            "Id<\"others\">",
        ),
        (
            "mutation",
            "1.0/get",
            json!({"id": id, "isSystem": true}),
            "db.system",
        ),
        ("mutation", "1.0/get", json!({"id": 5}), "id"),
        (
            "query",
            "1.0/queryStreamNext",
            json!({"queryId": 99}),
            "in-progress query not found",
        ),
        (
            "query",
            "1.0/queryStreamNext",
            json!({"queryId": -1}),
            "queryId",
        ),
        (
            "query",
            "1.0/queryStreamNext",
            json!({"queryId": 0.5}),
            "queryId",
        ),
        (
            "mutation",
            "1.0/remove",
            json!({"id": elsewhere}),
            "no table of this deployment",
        ),
        (
            "query",
            "1.0/queryPage",
            json!({"query": scan("things"), "cursor": null, "pageSize": 1e10}),
            "pageSize",
        ),
        (
            "query",
            "1.0/schedule",
            json!({"name": "calls:mutation", "ts": 0.0, "args": {}}),
            "not available in queries",
        ),
        (
            "query",
            "1.0/cancel_job",
            json!({"id": id}),
            "not available in queries",
        ),
        (
            "mutation",
            "1.0/shallowMerge",
            json!({"id": id, "value": {"_creationTime": {"$undefined": null}}}),
            "cannot be removed",
        ),
        (
            "query",
            "1.0/getRequestMetadata",
            json!({}),
            "not available in queries",
        ),
        ("query", "1.0/storageGetUrl", json!({}), "storage"),
        ("query", "1.0/nonsense", json!({}), "nonsense"),
        (
            "query",
            "1.0/runUdf",
            nested(json!({"udfType": "mutation", "name": "calls:mutation"})),
            "from a Query",
        ),
        (
            "query",
            "1.0/runUdf",
            nested(json!({"udfType": "action", "name": "calls:query"})),
            "cannot be called here",
        ),
        ("query", "1.0/runUdf", nested(json!({})), "name"),
        (
            "query",
            "1.0/runUdf",
            nested(json!({"name": "calls:missing"})),
            "calls:missing",
        ),
        (
            "query",
            "1.0/runUdf",
            nested(json!({"functionHandle": "calls:query"})),
            "Invalid function handle",
        ),
        (
            "query",
            "1.0/runUdf",
            nested(json!({"reference": "_reference/childComponent/x"})),
            "components",
        ),
    ];
    for (kind, op, args, expected) in cases {
        let failure = world.make(kind, op, args.clone());
        let failure = failure.expect_err(&format!("{op} {args} is refused"));
        let told = failure.message.to_lowercase();
        assert!(
            told.contains(&expected.to_lowercase()),
            "{op} {args}: {failure}"
        );
    }
}

/// A well-formed id of a table that is not there.
fn id_elsewhere() -> String {
    let id = DocumentId {
        table: TableNumber::new(60_000).unwrap(),
        internal: InternalId([7; 16]),
    };
    id.encode()
}

#[test]
fn what_is_not_there_is_null() {
    let world = World::new();
    let tables = world.backend.database().snapshot().catalog.clone();
    let hidden = DocumentId {
        table: tables.table("_tables").unwrap().number,
        internal: InternalId([7; 16]),
    };
    for (args, found) in [
        (json!({"id": world.id}), true),
        (json!({"id": world.id, "table": "things"}), true),
        (json!({"id": id_elsewhere()}), false),
        // The database's own tables do not exist for functions.
        (json!({"id": hidden.encode(), "isSystem": true}), false),
    ] {
        let row = world.make("query", "1.0/get", args.clone()).unwrap();
        assert_eq!(row != crate::Value::Null, found, "{args}");
    }
    let remove = json!({"id": world.id, "table": "things"});
    world.make("mutation", "1.0/remove", remove).unwrap();
    let get = json!({"id": world.id});
    assert_eq!(world.make("query", "1.0/get", get), Ok(crate::Value::Null));
}

#[test]
fn a_function_has_one_page() {
    async fn pages(context: NativeContext, _: Json) -> Result<Json, Failure> {
        let page = json!({"query": scan("things"), "cursor": null, "pageSize": 1});
        context.call("1.0/queryPage", page.clone()).await?;
        context.call("1.0/queryPage", page).await
    }
    let backend = deploy(NativeEngine::default().function("two:pages", FunctionKind::Query, pages));
    let done = block_on(backend.query(&anyone(), "two:pages", json!({}), None)).unwrap();
    let text = done.result.unwrap_err().text;
    assert!(text.contains("multiple paginated queries"), "{text}");
}

#[test]
fn functions_can_be_named_in_three_ways() {
    let world = World::new();
    let get = json!({"op": "1.0/get", "args": json!({"id": world.id}).to_string()});
    for address in [
        json!({"name": "calls:query"}),
        json!({"functionHandle": "function://;calls.js:query"}),
        json!({"reference": "_reference/function/calls:query"}),
    ] {
        let mut args = json!({"udfType": "query", "args": get});
        args.as_object_mut()
            .unwrap()
            .extend(address.as_object().unwrap().clone());
        let found = world.make("query", "1.0/runUdf", args).unwrap().to_json();
        assert_eq!(found["n"], json!(1.0), "{address}");
    }
}

#[test]
fn recursion_ends() {
    async fn deeper(context: NativeContext, _: Json) -> Result<Json, Failure> {
        let args = json!({"udfType": "query", "name": "deep:deeper", "args": {}});
        context.call("1.0/runUdf", args).await
    }
    async fn act_deeper(context: NativeContext, _: Json) -> Result<Json, Failure> {
        let args = json!({"name": "deep:actDeeper", "args": {}});
        context.call("1.0/actions/action", args).await
    }
    let engine = NativeEngine::default()
        .function("deep:deeper", FunctionKind::Query, deeper)
        .function("deep:actDeeper", FunctionKind::Action, act_deeper);
    let backend = deploy(engine);
    let query = block_on(backend.query(&anyone(), "deep:deeper", json!({}), None)).unwrap();
    let action = block_on(backend.action(&anyone(), "deep:actDeeper", json!({}))).unwrap();
    for done in [query, action] {
        let text = done.result.unwrap_err().text;
        assert!(text.contains("nested too deeply"), "{text}");
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let engine = NativeEngine::default()
        .function("large:take", FunctionKind::Mutation, async |_, _| {
            Ok(json!(null))
        })
        .function("large:give", FunctionKind::Mutation, async |_, _| {
            Ok(json!("x".repeat(17 << 20)))
        });
    let backend = deploy(engine);
    let text = "x".repeat(17 << 20);
    for (path, args) in [
        ("large:take", json!({"text": text})),
        ("large:give", json!({})),
    ] {
        let done = block_on(backend.mutation(&anyone(), path, args)).unwrap();
        let failure = done.result.unwrap_err();
        assert!(failure.text.contains("too large"), "{}", failure.text);
    }
    let wrong = block_on(backend.mutation(&anyone(), "large:take", json!([1, 2]))).unwrap();
    assert!(wrong.result.is_err());
    let none = block_on(backend.mutation(&anyone(), "large:take", json!([]))).unwrap();
    assert!(none.result.is_ok(), "no argument is an empty one");
}
