//! What the command-line client pushes: the request, schemas, validators, indexes, environment variables, token
//! issuers, and what evaluating modules says about them (cron jobs included, of which the spec is not read yet). Each
//! is refused, or written so that it is read back the same.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use concave_core::catalog::Catalog;
use concave_core::deploy::environment::{
    change_environment, check_declared_environment, parse_environment_changes,
};
use concave_core::deploy::{AnalyzedModule, DeploymentRecord, PushRequest, auth_providers};
use concave_core::schema::{IndexDefinition, IndexDiff, IndexSet, SchemaDefinition, Validator};
use concave_core::value::{Object, Value};
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;

/// Without tables.
static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::default);

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, text)) = bytes.split_first() else {
        return;
    };
    if kind == b'r' {
        // A stored deployment, which is text within a document.
        record(&String::from_utf8_lossy(text));
    } else if let Ok(json) = serde_json::from_slice(text) {
        match kind {
            b'p' => drop(PushRequest::parse(json)),
            b's' => schema(&json),
            b'v' => validator(&json),
            b'i' => index(&json),
            b'e' => environment(json),
            b'a' => providers(json),
            b'm' => module(json),
            _ => {}
        }
    }
});

fn schema(json: &Json) {
    let Ok(schema) = SchemaDefinition::from_json(json) else {
        return;
    };
    let again = SchemaDefinition::from_json(&schema.to_json());
    assert_eq!(again.as_ref(), Ok(&schema));
    let (none, all) = (IndexSet::new(), schema.indexes());
    assert!(IndexDiff::between(&all, &all).is_empty());
    assert_eq!(IndexDiff::between(&none, &all).is_empty(), all.is_empty());
    assert_eq!(IndexDiff::between(&all, &none).is_empty(), all.is_empty());
    for table in schema.tables.keys() {
        let _ = schema.check_document(table, &Object::new(), &*CATALOG);
    }
}

/// `{"validator": …, "value": …}`: a validator, and a value to check with it.
fn validator(json: &Json) {
    let Ok(validator) = Validator::from_json(&json["validator"]) else {
        return;
    };
    assert_eq!(
        Validator::from_json(&validator.to_json()).as_ref(),
        Ok(&validator)
    );
    let Ok(value) = Value::from_json(json["value"].clone()) else {
        return;
    };
    let matches = validator.check(&value, &*CATALOG).is_ok();
    if let Validator::Literal(literal) = &validator {
        assert_eq!(matches, *literal == value);
    }
    // The same by a detour.
    let element = Validator::Array(Box::new(validator.clone()));
    let list = Value::Array(vec![value.clone(), value.clone()]);
    assert_eq!(element.check(&list, &*CATALOG).is_ok(), matches);
    let union = Validator::Union(vec![Validator::Union(vec![]), validator]);
    assert_eq!(union.check(&value, &*CATALOG).is_ok(), matches);
}

fn index(json: &Json) {
    if let Ok(index) = IndexDefinition::from_json(json) {
        assert_eq!(IndexDefinition::from_json(&index.to_json()), Ok(index));
    }
}

/// A change of variables, and an app's declarations beside it.
fn environment(json: Json) {
    let mut variables = BTreeMap::from([("PRESENT".to_owned(), "1".to_owned())]);
    let _ = check_declared_environment(&json["definition"], &variables, &*CATALOG);
    let Ok(changes) = parse_environment_changes(json) else {
        return;
    };
    let before = variables.clone();
    match change_environment(&mut variables, changes.clone()) {
        Ok(()) => assert!(
            changes
                .iter()
                .all(|change| variables.get(&change.name) == change.value.as_ref())
        ),
        Err(_) => assert_eq!(variables, before, "all or nothing"),
    }
}

fn providers(json: Json) {
    if let Ok(providers) = auth_providers(json) {
        let again = auth_providers(serde_json::json!({"providers": providers}));
        assert_eq!(again, Ok(providers));
    }
}

fn module(json: Json) {
    if let Ok(module) = serde_json::from_value::<AnalyzedModule>(json) {
        let json = serde_json::to_value(&module).expect("plain data");
        assert_eq!(serde_json::from_value(json).ok(), Some(module));
    }
}

fn record(text: &str) {
    let document = Object::from_fields([("content", text)]).expect("a valid name");
    if let Ok(record) = DeploymentRecord::from_document(&document) {
        let again = DeploymentRecord::from_document(&record.to_document());
        assert_eq!(again.as_ref(), Ok(&record));
        for module in record.modules.values() {
            let _ = module.document_id();
        }
        assert!(record.crons().count() <= text.len());
    }
}
