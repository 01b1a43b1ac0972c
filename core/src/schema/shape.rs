//! Shapes: what a table's documents look like, found by looking at them.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::check::TableNames;
use crate::value::{DocumentId, Object, Value};

/// Objects with more fields than this are taken for records.
const FIELDS_MAX: usize = 64;
/// Unions of more shapes than this are taken for anything.
const UNION_MAX: usize = 16;

/// What some values look like.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Shape {
    /// There is no value.
    #[default]
    Never,
    /// They are too different to be told.
    Unknown,
    /// Null.
    Null,
    /// Integers.
    Int64,
    /// Doubles; whether some are infinite, not a number, or a negative zero.
    Float64(bool),
    /// Truth values.
    Boolean,
    /// Texts.
    String,
    /// Bytes.
    Bytes,
    /// Ids of documents of the table of this name.
    Id(String),
    /// Lists of these.
    Array(Box<Shape>),
    /// Objects. Fields may be missing in some of them.
    Object(BTreeMap<String, Field>),
    /// Objects with all sorts of fields: what their names are, and what the values.
    Record(Box<Shape>, Box<Shape>),
    /// Any of these, none of which is a union.
    Union(Vec<Shape>),
}

/// A field of objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// What its values look like.
    pub shape: Shape,
    /// Whether it is missing in some of the objects.
    pub optional: bool,
}

impl Shape {
    /// The shape of one value.
    pub fn of(value: &Value, tables: &dyn TableNames) -> Self {
        match value {
            Value::Null => Shape::Null,
            Value::Int64(_) | Value::CommitTs => Shape::Int64,
            Value::Float64(number) => {
                Shape::Float64(!number.is_finite() || (*number == 0.0 && number.is_sign_negative()))
            }
            Value::Boolean(_) => Shape::Boolean,
            Value::String(text) => Shape::of_text(text, tables),
            Value::Bytes(_) => Shape::Bytes,
            Value::Array(elements) => {
                let elements = elements.iter().map(|element| Shape::of(element, tables));
                Shape::Array(Box::new(elements.fold(Shape::Never, Shape::or)))
            }
            Value::Object(object) => Shape::of_object(object, tables),
        }
    }

    /// The shape of one object.
    pub fn of_object(object: &Object, tables: &dyn TableNames) -> Self {
        let fields = object.iter().map(|(name, value)| {
            let field = Field {
                shape: Shape::of(value, tables),
                optional: false,
            };
            (name.to_owned(), field)
        });
        bounded(fields.collect())
    }

    fn of_text(text: &str, tables: &dyn TableNames) -> Self {
        let id = DocumentId::decode(text);
        match id.and_then(|id| tables.name(id.table)) {
            Some(table) => Shape::Id(table.to_owned()),
            None => Shape::String,
        }
    }

    /// The shape of the values of both.
    pub fn or(self, other: Self) -> Self {
        use Shape::*;
        match (self, other) {
            (Never, shape) | (shape, Never) => shape,
            (Unknown, _) | (_, Unknown) => Unknown,
            (Float64(a), Float64(b)) => Float64(a || b),
            (a, b) if a == b => a,
            (String, Id(_)) | (Id(_), String) => String,
            (Array(a), Array(b)) => Array(Box::new(a.or(*b))),
            (Object(a), Object(b)) => merged(a, b),
            (Record(names, values), Object(fields)) | (Object(fields), Record(names, values)) => {
                let (other_names, other_values) = as_record(fields);
                Record(
                    Box::new(names.or(other_names)),
                    Box::new(values.or(other_values)),
                )
            }
            (Record(a, b), Record(c, d)) => Record(Box::new(a.or(*c)), Box::new(b.or(*d))),
            (Union(members), Union(others)) => others.into_iter().fold(Union(members), Shape::or),
            (Union(members), shape) | (shape, Union(members)) => union_with(members, shape),
            (a, b) => Union(vec![a, b]),
        }
    }

    /// The form that tools know (`/api/shapes2`).
    pub fn to_json(&self) -> Json {
        match self {
            Shape::Never => json!({"type": "Never"}),
            Shape::Unknown => json!({"type": "Unknown"}),
            Shape::Null => json!({"type": "Null"}),
            Shape::Int64 => json!({"type": "Int64"}),
            Shape::Float64(special) => {
                json!({"type": "Float64", "float64Range": {"hasSpecialValues": special}})
            }
            Shape::Boolean => json!({"type": "Boolean"}),
            Shape::String => json!({"type": "String"}),
            Shape::Bytes => json!({"type": "Bytes"}),
            Shape::Id(table) => json!({"type": "Id", "tableName": table}),
            Shape::Array(element) => json!({"type": "Array", "shape": element.to_json()}),
            Shape::Object(fields) => {
                let fields = fields.iter().map(|(name, field)| {
                    json!({"fieldName": name, "optional": field.optional, "shape": field.shape.to_json()})
                });
                json!({"type": "Object", "fields": fields.collect::<Vec<_>>()})
            }
            Shape::Record(names, values) => {
                json!({"type": "Record", "keyShape": names.to_json(),
                    "valueShape": {"optional": false, "shape": values.to_json()}})
            }
            Shape::Union(members) => {
                let members: Vec<_> = members.iter().map(Shape::to_json).collect();
                json!({"type": "Union", "shapes": members})
            }
        }
    }

    /// Whether two shapes go together into one that is no union.
    fn joins(&self, other: &Self) -> bool {
        use Shape::*;
        matches!(
            (self, other),
            (Float64(_), Float64(_))
                | (String, Id(_))
                | (Id(_), String)
                | (Array(_), Array(_))
                | (Object(_) | Record(..), Object(_) | Record(..))
        ) || self == other
    }
}

fn union_with(mut members: Vec<Shape>, shape: Shape) -> Shape {
    if shape == Shape::String {
        members.retain(|member| !matches!(member, Shape::Id(_)));
    }
    match members.iter_mut().find(|member| member.joins(&shape)) {
        Some(member) => *member = std::mem::take(member).or(shape),
        None => members.push(shape),
    }
    match members.len() {
        1 => members.remove(0),
        count if count > UNION_MAX => Shape::Unknown,
        _ => Shape::Union(members),
    }
}

fn merged(mut fields: BTreeMap<String, Field>, others: BTreeMap<String, Field>) -> Shape {
    for (name, field) in &mut fields {
        field.optional |= !others.contains_key(name);
    }
    for (name, other) in others {
        match fields.get_mut(&name) {
            Some(field) => {
                field.shape = std::mem::take(&mut field.shape).or(other.shape);
                field.optional |= other.optional;
            }
            None => {
                let optional = true;
                fields.insert(name, Field { optional, ..other });
            }
        }
    }
    bounded(fields)
}

fn bounded(fields: BTreeMap<String, Field>) -> Shape {
    if fields.len() <= FIELDS_MAX {
        return Shape::Object(fields);
    }
    let (names, values) = as_record(fields);
    Shape::Record(Box::new(names), Box::new(values))
}

fn as_record(fields: BTreeMap<String, Field>) -> (Shape, Shape) {
    let values = fields.into_values().map(|field| field.shape);
    (Shape::String, values.fold(Shape::Never, Shape::or))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::arbitrary::TestTables;

    fn shape(values: Json) -> Json {
        let values = values.as_array().unwrap().iter();
        let shapes =
            values.map(|json| Shape::of(&Value::from_json(json.clone()).unwrap(), &TestTables));
        shapes.fold(Shape::Never, Shape::or).to_json()
    }

    #[test]
    fn objects_are_one_with_optional_fields() {
        let float = json!({"type": "Float64", "float64Range": {"hasSpecialValues": false}});
        let text = json!({"type": "String"});
        let field = |name: &str, optional: bool, shape: &Json| json!({"fieldName": name, "optional": optional, "shape": shape});
        let union = json!({"type": "Union", "shapes": [float, text]});
        assert_eq!(
            shape(json!([{"a": 1.0, "b": 1.0}, {"a": "x", "c": "y"}])),
            json!({"type": "Object", "fields": [field("a", false, &union), field("b", true, &float), field("c", true, &text)]})
        );
        assert_eq!(shape(json!([])), json!({"type": "Never"}));
        assert_eq!(
            shape(json!([[1.0], []])),
            json!({"type": "Array", "shape": float})
        );
    }

    #[test]
    fn what_is_too_various_is_summed_up() {
        let fields: serde_json::Map<_, _> =
            (0..65).map(|n| (format!("f{n}"), json!(true))).collect();
        let boolean = json!({"type": "Boolean"});
        assert_eq!(
            shape(json!([fields, {"g": null}])),
            json!({"type": "Record", "keyShape": {"type": "String"}, "valueShape":
                {"optional": false, "shape": {"type": "Union", "shapes": [boolean, {"type": "Null"}]}}})
        );
        let special = json!([{"$float": "AAAAAAAA+H8="}, 1.0]);
        assert_eq!(shape(special)["float64Range"]["hasSpecialValues"], true);
    }
}
