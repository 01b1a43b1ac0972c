//! Pushes: what goes live, when, and what stops it.

use super::*;

#[test]
fn a_push_goes_live_when_it_is_finished() {
    let world = World::new();
    let hashes = block_on(world.deployer.get_config_hashes()).unwrap();
    assert_eq!(hashes["moduleHashes"], json!([]));
    assert_eq!(hashes["udfServerVersion"], Json::Null);
    assert!(world.deployment().functions.is_empty());

    let tasks = module("tasks.js", functions(&["list"]));
    let other = module("dir/other.js", functions(&["get"]));
    let started = world.start(json!({"changedModules": [tasks, other]}));
    assert_eq!(
        started["analysis"][""]["functions"]["tasks.js"]["functions"][0]["name"],
        "list"
    );
    assert!(world.deployment().id.is_empty(), "nothing is live yet");
    assert_eq!(world.wait(&started), json!({"type": "complete"}));
    let finished = world.finish(&started).unwrap();
    let diff = &finished["componentDiffs"][""];
    assert_eq!(
        diff["moduleDiff"]["added"],
        json!(["dir/other.js", "tasks.js"])
    );
    assert_eq!(diff["udfConfigDiff"]["next_version"], "1.48.0");
    let first = world.deployment();
    let paths: Vec<_> = first.functions.keys().collect();
    assert_eq!(paths, ["dir/other.js:get", "tasks.js:list"]);
    assert_eq!(first.program.modules.len(), 2);
    assert_eq!(
        first.program.environment_variables["CONVEX_SITE_URL"],
        "http://site"
    );

    // The second push names one module by its hash and removes the other.
    let source = tasks["source"].as_str().unwrap();
    let unchanged =
        json!({"path": "tasks.js", "environment": "isolate", "sha256": module_hash(source, None)});
    let hashes = block_on(world.deployer.get_config_hashes()).unwrap();
    assert_eq!(hashes["moduleHashes"][1]["hash"], unchanged["sha256"]);
    let added = module("added.js", functions(&[]));
    let finished =
        world.push(json!({"changedModules": [added], "unchangedModuleHashes": [unchanged]}));
    let diff = &finished["componentDiffs"][""]["moduleDiff"];
    assert_eq!(
        diff,
        &json!({"added": ["added.js"], "removed": ["dir/other.js"]})
    );
    let second = world.deployment();
    assert_ne!(second.id, first.id);
    assert_ne!(second.program.id, first.program.id);
    assert_eq!(&*second.program.modules["tasks.js"].source, source);
    assert_eq!(
        world.stored_modules(),
        2,
        "sources that no one needs are deleted"
    );

    for (path, environment, hash, code) in [
        ("gone.js", "isolate", "00", "MissingExistingModule"),
        ("tasks.js", "isolate", "00", "ExistingModuleHashConflict"),
    ] {
        let unknown = json!({"path": path, "environment": environment, "sha256": hash});
        let error = world.start_error(json!({"unchangedModuleHashes": [unknown]}));
        assert_eq!((&*error.code, error.class), (code, ErrorClass::Conflict));
        assert!(error.message.starts_with("Hit an error while pushing:\n"));
    }
}

#[test]
fn deployments_survive_reopening_and_are_loaded_once() {
    let world = World::new();
    world.push(json!({"changedModules": [module("a.js", functions(&["f"]))]}));
    let before = world.deployment();
    assert!(Arc::ptr_eq(&before, &world.deployment()));
    let persistence = world.persistence.clone();
    drop(world);
    let world = World::open(persistence);
    let after = world.deployment();
    assert_eq!(after.id, before.id);
    assert_eq!(after.program.id, before.program.id);
    world.set_env("K", Some("v")).unwrap();
    let changed = world.deployment();
    assert_eq!(changed.program.environment_variables["K"], "v");
    assert_ne!(changed.program.id, after.program.id);
}

#[test]
fn a_later_push_replaces_one_that_is_not_finished() {
    let world = World::new();
    let app = |name: &str, field: &str| json!({"changedModules": [module(name, functions(&[]))], "schema": schema("any", &[field], &[])});
    let first = world.start(app("a.js", "a"));
    let second = world.start(app("b.js", "b"));
    assert_eq!(world.wait(&first), json!({"type": "raceDetected"}));
    assert_eq!(world.finish(&first).unwrap_err().code, "RaceDetected");
    assert_eq!(world.wait(&second), json!({"type": "complete"}));
    world.finish(&second).unwrap();
    assert_eq!(world.stored_modules(), 1);
    let expected = [("tasks.on_b".to_owned(), IndexState::Ready, false)];
    assert_eq!(world.indexes(), expected);
    assert_eq!(world.finish(&second).unwrap_err().code, "RaceDetected");
}

#[test]
fn dry_runs_and_generating_code_change_nothing_live() {
    let world = World::new();
    world.push(json!({"changedModules": [module("a.js", functions(&[]))], "schema": schema("any", &["a"], &[])}));
    let before = world.deployment();
    for flag in ["dryRun", "forCodegen"] {
        let mut app = json!({"changedModules": [module("b.js", functions(&[]))], "schema": schema("any", &["b"], &[])});
        app[flag] = json!(true);
        let started = world.start(app);
        let diff = &started["schemaChange"]["indexDiffs"][""];
        assert_eq!(diff["added_indexes"][0]["name"], "tasks.on_b");
        let wait =
            json!({"schemaChange": started["schemaChange"], "timeoutMs": 5000, "dryRun": true});
        let answer = block_on(world.deployer.wait_for_schema(wait)).unwrap();
        assert_eq!(answer["type"], "complete");
        let finish = json!({"startPush": started, "dryRun": true});
        let finished = block_on(world.deployer.finish_push(finish)).unwrap();
        assert_eq!(
            finished["componentDiffs"][""]["moduleDiff"]["added"],
            json!([])
        );
        let expected = [("tasks.on_a".to_owned(), IndexState::Ready, false)];
        assert_eq!(world.indexes(), expected);
    }
    assert_eq!(world.deployment().id, before.id);
}

#[test]
fn code_that_cannot_be_served_is_refused() {
    let world = World::new();
    let crons = json!({"cronSpecs": [
        {"identifier": "tidy", "spec": {"name": "jobs:tidy"}}, {"identifier": "more", "spec": {"name": "jobs:tidy"}}]});
    let routes = json!({"httpRoutes": [{"route": {"path": "/hook", "method": "POST"}}]});
    let auth = json!({"providers": [{"domain": "https://a.example", "applicationID": "a"}]});
    let number = json!({"envVars": [["KEY", {"type": "value", "value": "{\"type\":\"number\"}"}]]});
    let child = json!({"childComponents": [{"name": "counter"}]});
    let search = json!({"tables": [{"tableName": "t", "indexes": [],
        "searchIndexes": [{"indexDescriptor": "find", "searchField": "a", "filterFields": []}]}]});
    let staged = json!({"tables": [{"tableName": "t", "indexes": [], "documentType": {"type": "any"},
        "stagedDocumentType": {"type": "object", "value": {}}}]});
    let broken = json!({"path": "a.js", "source": "}", "environment": "isolate"});
    for (app, code, text) in [
        (
            json!({"changedModules": [broken]}),
            "InvalidModules",
            "Failed to analyze a.js",
        ),
        (
            json!({"changedModules": [module("a.js", functions(&["a-b"]))]}),
            "InvalidModules",
            "a-b",
        ),
        (
            json!({"changedModules": [module("crons.js", crons)]}),
            "InvalidModules",
            "cron jobs yet. Remove them from `crons.ts`: `tidy`, `more`.",
        ),
        (
            json!({"changedModules": [module("http.js", routes)]}),
            "InvalidModules",
            "HTTP actions yet. Remove the routes from `http.ts`: `POST /hook`.",
        ),
        (
            json!({"changedModules": [module("auth.config.js", auth)]}),
            "InvalidAuthConfig",
            "`https://a.example`",
        ),
        (
            json!({"definition": module("convex.config.js", number)}),
            "InvalidEnvVarDeclaration",
            "`v.float64()`",
        ),
        (
            json!({"schema": schema("any", &["typo"], &[])}),
            "InvalidSchema",
            "over the field `typo`",
        ),
        (
            json!({"schema": module("schema.js", staged)}),
            "InvalidSchema",
            "Remove `.staged()` from the table `t`.",
        ),
        (
            json!({"changedModules": null}),
            "InvalidConfig",
            "no list of modules",
        ),
        (
            json!({"definition": module("convex.config.js", child)}),
            "InvalidDefinition",
            "components",
        ),
        (
            json!({"schema": module("schema.js", search)}),
            "InvalidSchema",
            "`t.find`",
        ),
    ] {
        let error = world.start_error(app);
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    assert!(world.deployment().functions.is_empty());
    // Files that hold nothing of what is not there yet are no reason to refuse.
    let empty = json!({"cronSpecs": [], "httpRoutes": []});
    let no_providers = json!({"providers": []});
    world.push(json!({"changedModules": [
        module("crons.js", empty.clone()), module("http.js", empty), module("auth.config.js", no_providers)]}));
    let required =
        json!({"envVars": [["KEY", {"type": "value", "value": "{\"type\":\"string\"}"}]]});
    let app = json!({"definition": module("convex.config.js", required)});
    let started = world.start(app.clone());
    let error = world.finish(&started).unwrap_err();
    assert_eq!(error.code, "MissingEnvironmentVariables");
    world.set_env("KEY", Some("v")).unwrap();
    world.push(app);
    let error = world.set_env("KEY", None).unwrap_err();
    assert_eq!(error.code, "RequiredEnvironmentVariable");
}

#[test]
fn a_push_is_summarised_before_it_is_made() {
    let world = World::new();
    for n in 0..3 {
        world.insert("tasks", &[("n", Value::Float64(n.into()))]);
    }
    let evaluate = |app: Json| {
        let answer = world.deployer.evaluate_schema(request(app));
        block_on(answer).unwrap()["componentSchemaEvaluations"][""].clone()
    };
    let app = json!({"schema": schema("number", &["a"], &[])});
    let first = evaluate(app.clone());
    let table = &first["tables"][0];
    assert_eq!(
        (&table["outcome"], &table["numDocs"]),
        (&json!("mustWalk"), &json!(3))
    );
    let index = &first["indexes"][0];
    assert_eq!(index["name"], "tasks.on_a");
    assert_eq!(
        (&index["change"], &index["numDocs"]),
        (&json!("added"), &json!(3))
    );
    assert!(
        world.db.snapshot().catalog.schemas().next.is_none(),
        "nothing is stored"
    );

    world.push(app.clone());
    let same = evaluate(app);
    assert_eq!(same["tables"][0]["outcome"], "supersetOfEnforced");
    assert_eq!(same["indexes"][0]["change"], "identical");
    let gone = evaluate(json!({}));
    assert_eq!(gone["indexes"][0]["change"], "dropped");
    let mut unchecked = json!({"tables": [
        {"tableName": "tasks", "indexes": [], "documentType": {"type": "any"}},
        {"tableName": "none", "indexes": [{"indexDescriptor": "on_a", "fields": ["a"]}], "documentType": null}]});
    for validation in [true, false] {
        unchecked["schemaValidation"] = json!(validation);
        let other = evaluate(json!({"schema": module("schema.js", unchecked.clone())}));
        for table in other["tables"].as_array().unwrap() {
            assert_eq!(table["outcome"], "notValidated", "{table}");
        }
        let indexes = other["indexes"].as_array().unwrap();
        let added = indexes
            .iter()
            .find(|index| index["change"] == "added")
            .unwrap();
        assert_eq!(added["numDocs"], 0, "the table is not there yet");
    }
    let planned = block_on(world.deployer.evaluate_push(request(json!({})))).unwrap();
    let removed = &planned["schemaChange"]["indexDiffs"][""]["removed_indexes"];
    assert_eq!(removed[0]["name"], "tasks.on_a");
}

#[test]
fn of_pushes_finished_at_once_one_wins() {
    let world = World::new();
    let started = world.start(json!({"changedModules": [module("a.js", functions(&["f"]))]}));
    let finish = || {
        let request = json!({"startPush": started, "dryRun": false});
        world.deployer.finish_push(request)
    };
    let (a, b) = block_on(join(finish(), finish()));
    let errors: Vec<_> = [a, b].into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert!(matches!(
        &*errors[0].code,
        "RaceDetected" | "ConcurrentPush"
    ));
    assert_eq!(world.deployment().functions.len(), 1);
}

/// Generating code for a push asks for no indexes to be built, so it cannot go live.
#[test]
fn a_push_for_generating_code_cannot_be_finished() {
    let world = World::new();
    let app = json!({"schema": schema("any", &["a"], &[]), "forCodegen": true});
    let started = world.start(app);
    assert_eq!(world.wait(&started), json!({"type": "raceDetected"}));
    let error = world.finish(&started).unwrap_err();
    assert_eq!(error.code, "RaceDetected");
    assert!(error.message.contains("`tasks.on_a`"), "{error}");
    let malformed = json!({"schemaChange": {"schemaIds": {"": 5}}});
    let answer = block_on(world.deployer.wait_for_schema(malformed));
    assert_eq!(answer.unwrap_err().code, "InvalidConfig");
}
