//! Checking values against validators, and saying why one does not match.
//!
//! A mismatch borrows what it talks about, so that the members of a union are tried without copying anything;
//! only the one that is reported becomes text. The texts are those Convex users know and clients match on.
//!
//! Cost: every part of the value meets each part of the validator at most once, so the work is at most the product
//! of their sizes. Recursion is as deep as the validator.

use std::fmt;

use super::validator::{ObjectValidator, Validator};
use crate::value::{CREATION_TIME_FIELD, DocumentId, ID_FIELD, is_function_handle};
use crate::{Object, TableNumber, Value};

/// Which tables exist, as far as ids are concerned. Names that begin with `_` are system tables.
pub trait TableNames {
    /// The number that ids of this table carry, if the table exists.
    fn number(&self, name: &str) -> Option<TableNumber>;

    /// The table whose ids carry this number.
    fn name(&self, number: TableNumber) -> Option<&str>;
}

/// A value did not match; displays as the text for the developer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ValidationError {
    text: String,
}

impl Validator {
    /// Checks a value.
    ///
    /// # Errors
    /// The first mismatch: of an object, the declared fields in ascending order of name, then those not declared.
    pub fn check(&self, value: &Value, tables: &dyn TableNames) -> Result<(), ValidationError> {
        report(check(self, Subject::Value(value), tables))
    }

    /// Checks a document against the type of its table, which need not declare `_id` and `_creationTime`.
    pub(super) fn check_document(
        &self,
        document: &Object,
        tables: &dyn TableNames,
    ) -> Result<(), ValidationError> {
        report(check(self, Subject::Document(document), tables))
    }
}

fn report(checked: Result<(), Mismatch<'_>>) -> Result<(), ValidationError> {
    checked.map_err(|mismatch| ValidationError {
        text: mismatch.to_string(),
    })
}

/// What is being checked.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Value(&'a Value),
    /// The name of a field in a record.
    Key(&'a str),
    /// An object that has its system fields without declaring them.
    Document(&'a Object),
}

impl<'a> Subject<'a> {
    fn value(self) -> Option<&'a Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Key(_) | Self::Document(_) => None,
        }
    }

    fn text(self) -> Option<&'a str> {
        match self {
            Self::Value(value) => value.as_str(),
            Self::Key(key) => Some(key),
            Self::Document(_) => None,
        }
    }

    fn object(self) -> Option<&'a Object> {
        match self {
            Self::Value(value) => value.as_object(),
            Self::Key(_) => None,
            Self::Document(document) => Some(document),
        }
    }
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Key(key) => Value::from(*key).fmt(f),
            Self::Document(document) => document.fmt(f),
        }
    }
}

/// Why something does not match, and where in the checked value.
struct Mismatch<'a> {
    /// Steps from the place up to the root.
    steps: Vec<Step<'a>>,
    reason: Reason<'a>,
}

enum Step<'a> {
    Field(&'a str),
    Element(usize),
    Keys,
    Values,
}

enum Reason<'a> {
    /// An id of another table.
    WrongTable {
        id: &'a str,
        found: &'a str,
        wanted: &'a str,
    },
    WrongLiteral(Subject<'a>, &'a Value),
    MissingField(&'a str, &'a Object, &'a ObjectValidator),
    ExtraField(&'a str, &'a Object, &'a ObjectValidator),
    Other(Subject<'a>, &'a Validator),
}

impl<'a> Mismatch<'a> {
    fn new(reason: Reason<'a>) -> Self {
        Self {
            steps: Vec::new(),
            reason,
        }
    }

    /// The same mismatch seen from one level up.
    fn below(mut self, step: Step<'a>) -> Self {
        self.steps.push(step);
        self
    }
}

fn check<'a>(
    validator: &'a Validator,
    subject: Subject<'a>,
    tables: &'a dyn TableNames,
) -> Result<(), Mismatch<'a>> {
    let value = subject.value();
    let matches = match validator {
        Validator::Any => true,
        Validator::Null => matches!(value, Some(Value::Null)),
        Validator::Number => matches!(value, Some(Value::Float64(_))),
        Validator::Bigint => matches!(value, Some(Value::Int64(_) | Value::CommitTs)),
        Validator::Boolean => matches!(value, Some(Value::Boolean(_))),
        Validator::String => subject.text().is_some(),
        Validator::Bytes => matches!(value, Some(Value::Bytes(_))),
        Validator::Literal(literal) => {
            if value == Some(literal) {
                return Ok(());
            }
            return Err(Mismatch::new(Reason::WrongLiteral(subject, literal)));
        }
        Validator::Id(wanted) => match table_of(subject, tables) {
            Some((_, found)) if found == wanted => true,
            Some((id, found)) => {
                return Err(Mismatch::new(Reason::WrongTable { id, found, wanted }));
            }
            None => false,
        },
        Validator::Function(_) => subject.text().is_some_and(is_function_handle),
        Validator::Array(element) => match value {
            Some(Value::Array(elements)) => return check_elements(element, elements, tables),
            _ => false,
        },
        Validator::Object(fields) => match subject.object() {
            Some(object) => {
                let is_document = matches!(subject, Subject::Document(_));
                return check_fields(fields, object, is_document, tables);
            }
            None => false,
        },
        Validator::Record { keys, values } => match value {
            Some(Value::Object(object)) => return check_record(keys, values, object, tables),
            _ => false,
        },
        // The only member's own complaint says more than that nothing matched.
        Validator::Union(members) => match members.as_slice() {
            [member] => return check(member, subject, tables),
            members => members
                .iter()
                .any(|member| check(member, subject, tables).is_ok()),
        },
    };
    if matches {
        Ok(())
    } else {
        Err(Mismatch::new(Reason::Other(subject, validator)))
    }
}

/// If the subject is the id of a document in a table that exists: the id, and the table's name.
fn table_of<'a>(subject: Subject<'a>, tables: &'a dyn TableNames) -> Option<(&'a str, &'a str)> {
    let text = subject.text()?;
    let id = DocumentId::decode(text)?;
    Some((text, tables.name(id.table)?))
}

fn check_elements<'a>(
    validator: &'a Validator,
    elements: &'a [Value],
    tables: &'a dyn TableNames,
) -> Result<(), Mismatch<'a>> {
    elements.iter().enumerate().try_for_each(|(i, element)| {
        check(validator, Subject::Value(element), tables).map_err(|m| m.below(Step::Element(i)))
    })
}

fn check_fields<'a>(
    validator: &'a ObjectValidator,
    object: &'a Object,
    is_document: bool,
    tables: &'a dyn TableNames,
) -> Result<(), Mismatch<'a>> {
    for (name, field) in &validator.fields {
        match object.get(name) {
            Some(value) => check(&field.validator, Subject::Value(value), tables)
                .map_err(|m| m.below(Step::Field(name)))?,
            None if field.optional => {}
            None => {
                return Err(Mismatch::new(Reason::MissingField(name, object, validator)));
            }
        }
    }
    let implicit = |name: &str| is_document && [ID_FIELD, CREATION_TIME_FIELD].contains(&name);
    match object
        .iter()
        .find(|(name, _)| !validator.fields.contains_key(*name) && !implicit(name))
    {
        Some((name, _)) => Err(Mismatch::new(Reason::ExtraField(name, object, validator))),
        None => Ok(()),
    }
}

fn check_record<'a>(
    keys: &'a Validator,
    values: &'a Validator,
    object: &'a Object,
    tables: &'a dyn TableNames,
) -> Result<(), Mismatch<'a>> {
    for (name, value) in object.iter() {
        check(keys, Subject::Key(name), tables).map_err(|m| m.below(Step::Keys))?;
        check(values, Subject::Value(value), tables).map_err(|m| m.below(Step::Values))?;
    }
    Ok(())
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = Path(&self.steps);
        match &self.reason {
            Reason::WrongTable { id, found, wanted } => {
                write!(f, "Found ID \"{id}\" from ")?;
                // The names of system tables are not for users.
                if found.starts_with('_') {
                    f.write_str("a system table")?;
                } else {
                    write!(f, "table `{found}`")?;
                }
                write!(
                    f,
                    ", which does not match the table name in validator `v.id(\"{wanted}\")`.{path}"
                )
            }
            Reason::WrongLiteral(subject, literal) => write!(
                f,
                "`{subject}` does not match literal validator `v.literal({literal})`.{path}"
            ),
            Reason::MissingField(name, object, validator) => write!(
                f,
                "Object is missing the required field `{name}`. Consider wrapping the field validator in \
                 `v.optional(...)` if this is expected.\n{path}\nObject: {object}\nValidator: {validator}"
            ),
            Reason::ExtraField(name, object, validator) => write!(
                f,
                "Object contains extra field `{name}` that is not in the validator.\n{path}\n\
                 Object: {object}\nValidator: {validator}"
            ),
            Reason::Other(subject, validator) => write!(
                f,
                "Value does not match validator.\n{path}\nValue: {subject}\nValidator: {validator}"
            ),
        }
    }
}

/// `Path: .a[2].b`; nothing at the root.
struct Path<'a>(&'a [Step<'a>]);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() {
            f.write_str("Path: ")?;
        }
        self.0.iter().rev().try_for_each(|step| match step {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Element(position) => write!(f, "[{position}]"),
            Step::Keys => f.write_str(".keys()"),
            Step::Values => f.write_str(".values()"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::schema::arbitrary::{
        TestTables, any_validator, any_value, id_in, inhabited_validator, matching, mutated,
    };

    fn validator(json: serde_json::Value) -> Validator {
        Validator::from_json(&json).unwrap()
    }

    fn error(validator: &Validator, value: impl Into<Value>) -> String {
        let error = validator.check(&value.into(), &TestTables).unwrap_err();
        error.to_string()
    }

    fn object<V: Into<Value>>(fields: impl IntoIterator<Item = (&'static str, V)>) -> Value {
        Value::Object(Object::from_fields(fields).unwrap())
    }

    #[test]
    fn ids() {
        let users = Validator::Id("users".into());
        let id = |table: &str| id_in(table, 7);
        for wanted in ["users", "posts", "_storage"] {
            for found in ["users", "posts", "_storage"] {
                let checked = Validator::Id(wanted.into()).check(&id(found).into(), &TestTables);
                assert_eq!(checked.is_ok(), wanted == found);
            }
        }
        assert_eq!(
            error(&users, id("posts")),
            format!(
                "Found ID \"{}\" from table `posts`, which does not match the table name in validator \
                 `v.id(\"users\")`.",
                id("posts").encode()
            )
        );
        assert_eq!(
            error(
                &Validator::Array(Box::new(users.clone())),
                vec![Value::from(id("_storage"))]
            ),
            format!(
                "Found ID \"{}\" from a system table, which does not match the table name in validator \
                 `v.id(\"users\")`.Path: [0]",
                id("_storage").encode()
            )
        );
        assert_eq!(
            error(&users, "nobody"),
            "Value does not match validator.\n\nValue: \"nobody\"\nValidator: v.id(\"users\")"
        );
        let gone = DocumentId {
            table: TableNumber::new(99).unwrap(),
            ..id("users")
        };
        assert!(error(&users, gone).starts_with("Value does not match validator."));
    }

    #[test]
    fn literals_match_type_and_value() {
        let one = Validator::Literal(Value::Float64(1.0));
        one.check(&Value::Float64(1.0), &TestTables).unwrap();
        assert_eq!(
            error(&one, Value::Int64(1)),
            "`1` does not match literal validator `v.literal(1.0)`."
        );
        assert_eq!(
            error(&Validator::Literal("x".into()), "y"),
            "`\"y\"` does not match literal validator `v.literal(\"x\")`."
        );
    }

    #[test]
    fn objects() {
        let nested = validator(json!({"type": "object", "value": {"a": {"fieldType":
            {"type": "array", "value": {"type": "object", "value":
                {"b": {"fieldType": {"type": "string"}, "optional": false},
                 "c": {"fieldType": {"type": "number"}, "optional": true}}}}, "optional": false}}}));
        let with = |element: Value| object([("a", vec![element])]);
        let inner = "v.object({b: v.string(), c: v.optional(v.float64())})";
        nested
            .check(&with(object([("b", "x")])), &TestTables)
            .unwrap();
        assert_eq!(
            error(&nested, object::<Value>([])),
            format!(
                "Object is missing the required field `a`. Consider wrapping the field validator in \
                 `v.optional(...)` if this is expected.\n\nObject: {{}}\nValidator: v.object({{a: v.array({inner})}})"
            )
        );
        assert_eq!(
            error(&nested, with(object([("c", 1.0)]))),
            format!(
                "Object is missing the required field `b`. Consider wrapping the field validator in \
                 `v.optional(...)` if this is expected.\nPath: .a[0]\nObject: {{c: 1.0}}\nValidator: {inner}"
            )
        );
        assert_eq!(
            error(&nested, with(object([("b", "x"), ("d", "y")]))),
            format!(
                "Object contains extra field `d` that is not in the validator.\nPath: .a[0]\n\
                 Object: {{b: \"x\", d: \"y\"}}\nValidator: {inner}"
            )
        );
        assert_eq!(
            error(&nested, with(object([("b", 1.0)]))),
            "Value does not match validator.\nPath: .a[0].b\nValue: 1.0\nValidator: v.string()"
        );
    }

    #[test]
    fn records() {
        let record = |keys| Validator::Record {
            keys: Box::new(keys),
            values: Box::new(Validator::Number),
        };
        let by_user = record(Validator::Id("users".into()));
        assert_eq!(
            error(&by_user, object([("me", 1.0)])),
            "Value does not match validator.\nPath: .keys()\nValue: \"me\"\nValidator: v.id(\"users\")"
        );
        assert_eq!(
            error(&record(Validator::String), object([("me", "x")])),
            "Value does not match validator.\nPath: .values()\nValue: \"x\"\nValidator: v.float64()"
        );
    }

    #[test]
    fn unions() {
        let single = Validator::Union(vec![Validator::Literal(true.into())]);
        assert_eq!(
            error(&single, false),
            "`false` does not match literal validator `v.literal(true)`."
        );
        let nullable = Validator::Union(vec![Validator::String, Validator::Null]);
        assert_eq!(
            error(&nullable, 1.0),
            "Value does not match validator.\n\nValue: 1.0\nValidator: v.union(v.string(), v.null())"
        );
        assert!(error(&Validator::Union(vec![]), Value::Null).ends_with("Validator: v.union()"));
    }

    #[test]
    fn documents_have_system_fields_without_declaring_them() {
        let document_type = Validator::Union(vec![
            validator(json!({"type": "object", "value": {"n": {"fieldType": {"type": "number"}}}})),
            validator(json!({"type": "object", "value": {}})),
        ]);
        let stored = |name: &str| {
            let mut document = Object::from_fields([("_creationTime", 5.0), (name, 1.0)]).unwrap();
            document.insert("_id", id_in("users", 1)).unwrap();
            document
        };
        document_type
            .check_document(&stored("n"), &TestTables)
            .unwrap();
        document_type
            .check_document(&stored("m"), &TestTables)
            .unwrap_err();
        document_type
            .check_document(&stored("_mine"), &TestTables)
            .unwrap_err();
        // Only the document itself has them, not the objects inside.
        document_type
            .check(&Value::Object(stored("n")), &TestTables)
            .unwrap_err();
    }

    /// What it means to match, said once more as directly as possible.
    fn model(validator: &Validator, value: &Value) -> bool {
        match (validator, value) {
            (Validator::Any, _)
            | (Validator::Null, Value::Null)
            | (Validator::Number, Value::Float64(_))
            | (Validator::Bigint, Value::Int64(_))
            | (Validator::Boolean, Value::Boolean(_))
            | (Validator::String, Value::String(_))
            | (Validator::Bytes, Value::Bytes(_)) => true,
            (Validator::Literal(literal), value) => literal == value,
            (Validator::Function(_), Value::String(text)) => is_function_handle(text),
            (Validator::Id(table), Value::String(text)) => DocumentId::decode(text)
                .is_some_and(|id| TestTables.number(table) == Some(id.table)),
            (Validator::Array(element), Value::Array(elements)) => {
                elements.iter().all(|value| model(element, value))
            }
            (Validator::Object(object), Value::Object(value)) => {
                let declared = object.fields.iter().all(|(name, field)| {
                    value
                        .get(name)
                        .map_or(field.optional, |value| model(&field.validator, value))
                });
                declared
                    && value
                        .iter()
                        .all(|(name, _)| object.fields.contains_key(name))
            }
            (Validator::Record { keys, values }, Value::Object(object)) => object
                .iter()
                .all(|(name, value)| model(keys, &name.into()) && model(values, value)),
            (Validator::Union(members), value) => members.iter().any(|m| model(m, value)),
            _ => false,
        }
    }

    fn agrees_with_model(validator: &Validator, value: &Value) -> Result<(), TestCaseError> {
        let checked = validator.check(value, &TestTables);
        prop_assert_eq!(
            checked.is_ok(),
            model(validator, value),
            "{} {}",
            validator,
            value
        );
        if let Err(error) = checked {
            let text = error.to_string();
            let openings = ["Value does not match", "Object ", "Found ID ", "`"];
            prop_assert!(
                openings.iter().any(|start| text.starts_with(start)),
                "{}",
                text
            );
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_the_model_on_unrelated_values(validator in any_validator(), value in any_value()) {
            agrees_with_model(&validator, &value)?;
        }

        #[test]
        fn generated_values_match_and_mutants_follow_the_model(
            (validator, value, mutant) in inhabited_validator().prop_flat_map(|validator| {
                let value = matching(&validator);
                (Just(validator), value).prop_flat_map(|(validator, value)| {
                    let mutant = mutated(&value);
                    (Just(validator), Just(value), mutant)
                })
            })
        ) {
            prop_assert_eq!(validator.check(&value, &TestTables), Ok(()));
            agrees_with_model(&validator, &mutant)?;
        }
    }
}
