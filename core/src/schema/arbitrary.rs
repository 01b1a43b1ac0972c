//! Generated validators, and values that match them, for the tests of this module.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value as Json;

use super::{
    FieldValidator, FunctionSignature, IndexDefinition, IndexKind, IndexSet, ObjectValidator,
    SchemaDefinition, TableDefinition, TableNames, VECTOR_DIMENSIONS, Validator,
};
use crate::engine::FunctionKind;
use crate::value::FieldPath;
use crate::value::arbitrary::{float64, int64, string};
use crate::{DocumentId, InternalId, Object, TableNumber, Value};

const TABLES: [(&str, u32); 3] = [("users", 10_001), ("posts", 10_002), ("_storage", 700)];

/// Two user tables and a system table.
pub struct TestTables;

impl TableNames for TestTables {
    fn number(&self, name: &str) -> Option<TableNumber> {
        let (_, number) = TABLES.into_iter().find(|(known, _)| *known == name)?;
        TableNumber::new(number)
    }

    fn name(&self, number: TableNumber) -> Option<&str> {
        let (name, _) = TABLES
            .into_iter()
            .find(|(_, known)| *known == number.get())?;
        Some(name)
    }
}

/// An id in one of the [`TestTables`].
pub fn id_in(table: &str, byte: u8) -> DocumentId {
    DocumentId {
        table: TestTables.number(table).unwrap(),
        internal: InternalId([byte; 16]),
    }
}

fn any_id() -> impl Strategy<Value = DocumentId> {
    (any::<Index>(), any::<u8>()).prop_map(|(i, byte)| id_in(i.get(&TABLES).0, byte))
}

/// Names from a small set, so that validators and values share some.
fn field_name() -> impl Strategy<Value = String> {
    "[a-c]{1,2}"
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        int64().prop_map(Value::Int64),
        float64().prop_map(Value::Float64),
        any::<bool>().prop_map(Value::Boolean),
        string().prop_map(Value::String),
        any_id().prop_map(Value::from),
        vec(any::<u8>(), 0..3).prop_map(Value::Bytes),
    ]
}

fn object_of(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(Object::from_fields(fields).unwrap())
}

/// Small values of every type.
pub fn any_value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            btree_map(field_name(), inner, 0..4).prop_map(object_of),
        ]
    })
}

/// Validators of every kind, even such as nothing matches.
pub fn any_validator() -> impl Strategy<Value = Validator> {
    validators(0)
}

/// Validators that some value matches.
pub fn inhabited_validator() -> impl Strategy<Value = Validator> {
    validators(1)
}

fn validators(fewest_members: usize) -> impl Strategy<Value = Validator> {
    let id = any::<Index>().prop_map(|i| Validator::Id(i.get(&TABLES).0.to_owned()));
    let keys = prop_oneof![Just(Validator::String), id.clone()];
    let keys = prop_oneof![keys.clone(), vec(keys, 1..3).prop_map(Validator::Union)];
    let literal = scalar().prop_filter_map("not a literal", |value| match value {
        Value::Null | Value::Bytes(_) => None,
        Value::Float64(number) if !number.is_finite() => None,
        value => Some(Validator::Literal(value)),
    });
    let leaf = prop_oneof![
        Just(Validator::Any),
        Just(Validator::Null),
        Just(Validator::Number),
        Just(Validator::Bigint),
        Just(Validator::Boolean),
        Just(Validator::String),
        Just(Validator::Bytes),
        literal,
        id,
        Just(Validator::Function(FunctionSignature::default())),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let field =
            (inner.clone(), any::<bool>()).prop_map(|(validator, optional)| FieldValidator {
                validator,
                optional,
            });
        prop_oneof![
            inner
                .clone()
                .prop_map(|element| Validator::Array(Box::new(element))),
            btree_map(field_name(), field, 0..4)
                .prop_map(|fields| Validator::Object(ObjectValidator { fields })),
            (keys.clone(), inner.clone()).prop_map(|(keys, values)| Validator::Record {
                keys: Box::new(keys),
                values: Box::new(values),
            }),
            (
                option::of(inner.clone()),
                option::of(inner.clone()),
                any::<bool>()
            )
                .prop_map(|(args, returns, mutation)| Validator::Function(
                    FunctionSignature {
                        kind: mutation.then_some(FunctionKind::Mutation),
                        args: args.map(Box::new),
                        returns: returns.map(Box::new),
                    }
                )),
            vec(inner, fewest_members..4).prop_map(Validator::Union),
        ]
    })
}

/// Values that match an [`inhabited_validator`].
pub fn matching(validator: &Validator) -> BoxedStrategy<Value> {
    match validator {
        Validator::Any => any_value().boxed(),
        Validator::Null => Just(Value::Null).boxed(),
        Validator::Number => float64().prop_map(Value::Float64).boxed(),
        Validator::Bigint => int64().prop_map(Value::Int64).boxed(),
        Validator::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        Validator::String => "[ -~]{0,4}".prop_map(Value::String).boxed(),
        Validator::Bytes => vec(any::<u8>(), 0..3).prop_map(Value::Bytes).boxed(),
        Validator::Literal(value) => Just(value.clone()).boxed(),
        Validator::Id(table) => {
            let table = table.clone();
            any::<u8>()
                .prop_map(move |byte| id_in(&table, byte).into())
                .boxed()
        }
        Validator::Function(_) => "[a-z]{1,4}"
            .prop_map(|name| format!("function://;a.js:{name}").into())
            .boxed(),
        Validator::Array(element) => vec(matching(element), 0..3).prop_map(Value::Array).boxed(),
        Validator::Object(object) => {
            let fields: Vec<_> = object
                .fields
                .iter()
                .map(|(name, field)| {
                    let value = matching(&field.validator);
                    let value = match field.optional {
                        true => option::of(value).boxed(),
                        false => value.prop_map(Some).boxed(),
                    };
                    (Just(name.clone()), value)
                })
                .collect();
            fields
                .prop_map(|fields| {
                    let present = fields.into_iter();
                    object_of(present.filter_map(|(name, value)| Some((name, value?))))
                })
                .boxed()
        }
        Validator::Record { keys, values } => {
            let key = matching(keys).prop_filter_map("a field name", |key| {
                let name = key.as_str()?.to_owned();
                (!name.starts_with('$')).then_some(name)
            });
            btree_map(key, matching(values), 0..3)
                .prop_map(object_of)
                .boxed()
        }
        Validator::Union(members) => {
            assert!(!members.is_empty(), "nothing matches an empty union");
            proptest::strategy::Union::new(members.iter().map(matching)).boxed()
        }
    }
}

/// The value with one part replaced, a field or element added, or one taken away.
pub fn mutated(value: &Value) -> impl Strategy<Value = Value> + use<> {
    let value = value.clone();
    (
        vec(any::<Index>(), 0..4),
        any::<Index>(),
        any_value(),
        field_name(),
    )
        .prop_map(move |(path, action, part, name)| {
            let mut value = value.clone();
            mutate(&mut value, &path, action.index(3), part, name);
            value
        })
}

fn mutate(value: &mut Value, path: &[Index], action: usize, part: Value, name: String) {
    match (value, path) {
        (Value::Array(elements), [step, rest @ ..]) if !elements.is_empty() => {
            let i = step.index(elements.len());
            match (rest, action) {
                ([], 0) => drop(elements.remove(i)),
                ([], 1) => elements.insert(i, part),
                _ => mutate(&mut elements[i], rest, action, part, name),
            }
        }
        (Value::Object(object), [step, rest @ ..]) if !object.is_empty() => {
            let i = step.index(object.len());
            let chosen = object.iter().nth(i).unwrap().0.to_owned();
            match (rest, action) {
                ([], 0) => drop(object.remove(&chosen)),
                ([], 1) => drop(object.insert(name, part).unwrap()),
                _ => mutate(object.get_mut(&chosen).unwrap(), rest, action, part, name),
            }
        }
        (value, _) => *value = part,
    }
}

fn any_index() -> impl Strategy<Value = IndexDefinition> {
    let field = proptest::sample::select(vec!["a", "b", "a.c", "d"])
        .prop_map(|text| FieldPath::parse(text).unwrap());
    let filter_fields = btree_set(field.clone(), 0..3);
    let kind = prop_oneof![
        btree_set(field.clone(), 1..4)
            .prop_map(|fields| fields.into_iter().collect())
            .prop_shuffle()
            .prop_map(|fields| IndexKind::Database { fields }),
        (field.clone(), filter_fields.clone()).prop_map(|(search_field, filter_fields)| {
            IndexKind::Text {
                search_field,
                filter_fields,
            }
        }),
        (field, VECTOR_DIMENSIONS, filter_fields).prop_map(
            |(vector_field, dimensions, filter_fields)| IndexKind::Vector {
                vector_field,
                dimensions,
                filter_fields,
            }
        ),
    ];
    (kind, any::<bool>()).prop_map(|(kind, staged)| IndexDefinition { kind, staged })
}

/// Schemas that pass all rules.
pub fn any_schema() -> impl Strategy<Value = SchemaDefinition> {
    let indexes = btree_map("[a-c]", any_index(), 0..4).prop_map(|mut indexes| {
        // No two database indexes may have the same fields.
        let mut seen = Vec::new();
        indexes.retain(|_, index: &mut IndexDefinition| {
            let is_new = !seen.contains(&index.kind);
            seen.push(index.kind.clone());
            is_new
        });
        indexes
    });
    let object = btree_map(field_name(), any_validator(), 0..3).prop_map(|fields| {
        let fields = fields.into_iter().map(|(name, validator)| {
            let optional = name.len() == 1;
            (
                name,
                FieldValidator {
                    validator,
                    optional,
                },
            )
        });
        Validator::Object(ObjectValidator {
            fields: fields.collect(),
        })
    });
    let object = object.boxed();
    let document_type = prop_oneof![
        Just(Validator::Any),
        object.clone(),
        vec(object, 0..3).prop_map(Validator::Union),
    ];
    let table =
        (indexes, option::of(document_type)).prop_map(|(indexes, document_type)| TableDefinition {
            indexes,
            document_type,
        });
    (btree_map("[s-u]", table, 0..3), any::<bool>()).prop_map(|(tables, schema_validation)| {
        SchemaDefinition {
            tables,
            schema_validation,
        }
    })
}

/// The indexes of a valid schema.
pub fn any_index_set() -> impl Strategy<Value = IndexSet> {
    any_schema().prop_map(|schema| schema.indexes())
}

/// JSON that resembles validators and schemas just enough to get past the first checks.
pub fn any_json() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        proptest::sample::select(vec![
            "any", "literal", "id", "array", "object", "record", "union", "string", "number",
            "commitTs", "users", "_storage", "a.b", "_id", "by_id",
        ])
        .prop_map(str::to_owned),
        ".{0,4}",
    ];
    let key = prop_oneof![
        8 => proptest::sample::select(vec![
            "type", "value", "tableName", "fieldType", "optional", "keys", "values", "$integer",
            "tables", "indexes", "indexDescriptor", "fields", "searchIndexes", "searchField",
            "filterFields", "vectorIndexes", "vectorField", "dimensions", "documentType",
        ])
        .prop_map(str::to_owned),
        1 => ".{0,3}",
    ];
    let leaf = prop_oneof![
        4 => text.prop_map(Json::String),
        1 => Just(Json::Null),
        1 => any::<bool>().prop_map(Json::Bool),
        1 => any::<f64>().prop_map(Json::from),
        1 => any::<i64>().prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(Json::Array),
            3 => btree_map(key.clone(), inner, 0..5)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}
