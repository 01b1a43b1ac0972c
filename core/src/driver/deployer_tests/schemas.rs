//! Schemas and indexes that a push brings.

use super::*;

#[test]
fn documents_decide_whether_a_schema_can_follow() {
    let world = World::new();
    let fields = [("n", Value::Float64(1.0))];
    world.insert("tasks", &fields);
    world.push(json!({"schema": schema("number", &[], &[])}));
    let bad = world.insert("tasks", &[("n", Value::from("x"))]);
    let started = world.start(json!({"schema": schema("boolean", &[], &[])}));
    let failed = world.wait(&started);
    assert_eq!(failed["type"], "failed");
    assert_eq!(failed["tableName"], "tasks");
    let text = failed["error"].as_str().unwrap();
    assert!(
        text.starts_with("Document with ID \"")
            && text.contains("in table \"tasks\" does not match the schema: "),
        "{text}"
    );
    assert_eq!(world.finish(&started).unwrap_err().code, "RaceDetected");
    let active = world
        .db
        .snapshot()
        .catalog
        .schemas()
        .active
        .clone()
        .unwrap();
    assert_eq!(active.state, SchemaState::Active);

    // The same schema again is not checked again: its documents are held to it already.
    let same = world.start(json!({"schema": schema("number", &[], &[])}));
    assert_eq!(same["schemaChange"]["schemaIds"][""], active.id);
    assert_eq!(world.wait(&same)["type"], "complete");
    world.finish(&same).unwrap();

    let mut tx = world.db.begin();
    let row = block_on(world.db.get(&mut tx, bad)).unwrap().unwrap();
    tx.delete(bad, &row).unwrap();
    block_on(world.db.commit(tx)).unwrap();
    let any = world.push(json!({"schema": schema("any", &[], &[])}));
    assert!(any["componentDiffs"][""]["schemaDiff"]["previous_schema"].is_string());
    world.push(json!({}));
    assert!(world.db.snapshot().catalog.schemas().active.is_none());
}

#[test]
fn indexes_follow_the_schema() {
    let world = World::new();
    for n in 0..600 {
        let fields = [("n", Value::Float64(n as f64)), ("a", Value::Int64(n % 7))];
        world.insert("tasks", &fields);
    }
    let started = world.start(json!({"schema": schema("any", &["a"], &["b"])}));
    let diff = &started["schemaChange"]["indexDiffs"][""];
    assert_eq!(diff["added_indexes"].as_array().unwrap().len(), 2);
    assert_eq!(world.wait(&started)["type"], "complete");
    let states = world.indexes();
    assert!(
        states
            .iter()
            .all(|(_, state, _)| *state != IndexState::Ready)
    );
    world.finish(&started).unwrap();
    world.check_indexes("tasks");
    let index = |name: &str, staged| (format!("tasks.on_{name}"), IndexState::Ready, staged);
    assert_eq!(world.indexes()[0], index("a", false));

    // Staged becomes live, live becomes staged, and neither is built again.
    let ids = |world: &World| -> Vec<_> {
        let snapshot = world.db.snapshot();
        let table = snapshot.catalog.table("tasks").unwrap();
        table.indexes.iter().map(|index| index.id).collect()
    };
    let before = ids(&world);
    world.push(json!({"schema": schema("any", &["b"], &["a"])}));
    assert_eq!(world.indexes(), [index("a", true), index("b", false)]);
    assert_eq!(ids(&world), before);

    // Dropped ones are gone for good: their ids are not given again after a restart.
    world.push(json!({}));
    assert_eq!(world.indexes(), []);
    let persistence = world.persistence.clone();
    drop(world);
    let world = World::open(persistence);
    world.push(json!({"schema": schema("any", &["a", "b"], &[])}));
    assert!(ids(&world)[2..].iter().all(|id| !before.contains(id)));
    world.check_indexes("tasks");
}

#[test]
fn work_that_a_push_left_is_resumed_on_opening() {
    let persistence: Arc<MemoryPersistence> = Arc::default();
    let storage: Arc<dyn Persistence> = persistence.clone();
    let db = block_on(Database::open(ThreadRuntime::handle(), storage)).unwrap();
    let mut tx = db.begin();
    let table = tx.ensure_table("tasks").unwrap();
    for n in 0..10 {
        let document = Object::from_fields([("n", Value::Float64(n.into()))]).unwrap();
        tx.insert(&table, document).unwrap();
    }
    block_on(db.commit(tx)).unwrap();
    let source = schema("number", &["n"], &[])["source"].clone();
    let json: Json = serde_json::from_str(source.as_str().unwrap()).unwrap();
    let definition = SchemaDefinition::from_json(&json).unwrap();
    let mut tx = db.begin();
    block_on(schema_change::submit(&db, &mut tx, Some(&definition))).unwrap();
    block_on(schema_change::begin_indexes(
        &db,
        &mut tx,
        Some(&definition),
    ))
    .unwrap();
    block_on(db.commit(tx)).unwrap();
    drop(db);

    let world = World::open(persistence);
    let id = world
        .db
        .snapshot()
        .catalog
        .schemas()
        .next
        .clone()
        .unwrap()
        .id
        .clone();
    let started = json!({"schemaChange": {"schemaIds": {"": id}}});
    assert_eq!(world.wait(&started), json!({"type": "complete"}));
    world.check_indexes("tasks");
}

#[test]
fn a_write_that_contradicts_the_schema_on_its_way_stops_the_push() {
    let world = World::new();
    world.push(json!({"changedModules": [module("a.js", functions(&["f"]))]}));
    let started = world.start(json!({"schema": schema("number", &[], &[])}));
    assert_eq!(world.wait(&started)["type"], "complete");
    let mut tx = world.db.begin();
    let bad = Object::from_fields([("n", "text")]).unwrap();
    let violation = crate::function::check_schema(&mut tx, "tasks", &bad).unwrap();
    let violation = violation.expect("the schema is on its way");
    block_on(schema_change::replace(
        &world.db,
        &mut tx,
        violation.id,
        violation.document,
    ))
    .unwrap();
    block_on(world.db.commit(tx)).unwrap();
    assert_eq!(world.wait(&started)["type"], "failed");
    assert_eq!(world.finish(&started).unwrap_err().code, "RaceDetected");
}

/// Of two pushes that are not finished, the later decides whether an index that both define is staged.
#[test]
fn a_later_push_may_stage_what_an_earlier_one_began() {
    let world = World::new();
    world.start(json!({"schema": schema("any", &["a"], &[])}));
    assert_eq!(world.indexes().len(), 1);
    world.push(json!({"schema": schema("any", &[], &["a"])}));
    let staged = [("tasks.on_a".to_owned(), IndexState::Ready, true)];
    assert_eq!(world.indexes(), staged);
    let schemas = |world: &World| {
        world
            .system("_system/frontend/getSchemas", json!({}))
            .unwrap()
    };
    assert!(schemas(&world)["active"].is_string());
    assert!(schemas(&world)["inProgress"].is_null());
    world.start(json!({"schema": schema("any", &["b"], &[])}));
    assert!(schemas(&world)["inProgress"].is_string());
}
