//! Validators: types of values, as `v.…` builders describe them, and their JSON and printed forms.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json, json};

use crate::engine::FunctionKind;
use crate::value::{MAX_IDENTIFIER_LENGTH, MAX_NESTING, is_identifier};
use crate::{Error, Result, Value};

/// How deep validators may nest: as deep as values, and scalars inside. The bound keeps every recursion over a
/// validator within the stack.
pub const MAX_VALIDATOR_DEPTH: usize = MAX_NESTING + 1;

/// A type of values.
///
/// Validators made by [`Validator::from_json`] nest at most [`MAX_VALIDATOR_DEPTH`] levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validator {
    /// Every value.
    Any,
    /// `null`.
    Null,
    /// A double.
    Number,
    /// A 64-bit integer. `v.commitTs()` is one too: an unresolved commit timestamp validates as an integer.
    Bigint,
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// Raw bytes.
    Bytes,
    /// Exactly this string, boolean, integer or finite number.
    Literal(Value),
    /// The id of a document in the table of this name.
    Id(String),
    /// A function handle.
    Function(FunctionSignature),
    /// A list whose elements all match.
    Array(Box<Validator>),
    /// An object with exactly these fields.
    Object(ObjectValidator),
    /// An object with any number of fields.
    Record {
        /// What every field name, taken as a string, must match: strings, ids, and unions of them.
        keys: Box<Validator>,
        /// What the value of every field must match.
        values: Box<Validator>,
    },
    /// Any of these. Nothing matches an empty union.
    Union(Vec<Validator>),
}

/// The fields of an object; others are not allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectValidator {
    /// By name. Names are identifiers.
    pub fields: BTreeMap<String, FieldValidator>,
}

/// One field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValidator {
    /// What its value must match.
    pub validator: Validator,
    /// Whether the field may be missing.
    pub optional: bool,
}

/// What `v.function({fnType, args, returns})` says about the function that a handle names. It is for types and generated
/// code only: a value matches if it is a well-formed handle of whatever function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionSignature {
    /// What it is.
    pub kind: Option<FunctionKind>,
    /// What its arguments match.
    pub args: Option<Box<Validator>>,
    /// What its result matches.
    pub returns: Option<Box<Validator>>,
}

impl Validator {
    /// Reads the JSON form that `exportArgs`, `exportReturns` and schemas contain (npm `convex` 1.49.0).
    /// Unknown keys are ignored.
    ///
    /// # Errors
    /// `InvalidValidator`, naming the place and what is wrong there.
    pub fn from_json(json: &Json) -> Result<Self> {
        parse(json, 1).map_err(|malformed| {
            Error::bad_request("InvalidValidator", format!("Invalid validator{malformed}"))
        })
    }

    /// The JSON form; [`Self::from_json`] reads it back.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Any => json!({"type": "any"}),
            Self::Null => json!({"type": "null"}),
            Self::Number => json!({"type": "number"}),
            Self::Bigint => json!({"type": "bigint"}),
            Self::Boolean => json!({"type": "boolean"}),
            Self::String => json!({"type": "string"}),
            Self::Bytes => json!({"type": "bytes"}),
            Self::Literal(value) => json!({"type": "literal", "value": value.to_json()}),
            Self::Id(table) => json!({"type": "id", "tableName": table}),
            Self::Function(signature) => signature.to_json(),
            Self::Array(element) => json!({"type": "array", "value": element.to_json()}),
            Self::Object(object) => {
                let fields: Map<_, _> = object
                    .fields
                    .iter()
                    .map(|(name, field)| (name.clone(), field.to_json()))
                    .collect();
                json!({"type": "object", "value": fields})
            }
            Self::Record { keys, values } => json!({
                "type": "record",
                "keys": keys.to_json(),
                "values": {"fieldType": values.to_json(), "optional": false},
            }),
            Self::Union(members) => {
                let members: Vec<_> = members.iter().map(Self::to_json).collect();
                json!({"type": "union", "value": members})
            }
        }
    }

    /// Whether this can describe the documents of a table: objects, unions of them, or anything.
    pub(super) fn describes_documents(&self) -> bool {
        match self {
            Self::Any | Self::Object(_) => true,
            Self::Union(members) => members.iter().all(Self::describes_documents),
            _ => false,
        }
    }

    /// Whether values that match may have something at this path of fields.
    pub fn has_field(&self, path: &[String]) -> bool {
        let Some((field, rest)) = path.split_first() else {
            return true;
        };
        match self {
            Self::Any => true,
            Self::Object(object) => object
                .fields
                .get(field)
                .is_some_and(|field| field.validator.has_field(rest)),
            Self::Record { values, .. } => values.has_field(rest),
            Self::Union(members) => members.iter().any(|member| member.has_field(path)),
            _ => false,
        }
    }

    /// Whether this can describe the keys of a record: strings that are not fixed one by one.
    fn describes_record_keys(&self) -> bool {
        match self {
            Self::String | Self::Id(_) | Self::Function(_) => true,
            Self::Union(members) => members.iter().all(Self::describes_record_keys),
            _ => false,
        }
    }
}

/// The kinds of functions by their names in `fnType`.
const KINDS: [(&str, FunctionKind); 3] = [
    ("query", FunctionKind::Query),
    ("mutation", FunctionKind::Mutation),
    ("action", FunctionKind::Action),
];

impl FunctionSignature {
    /// `fnType`.
    fn kind_name(&self) -> Option<&'static str> {
        let kind = self.kind?;
        KINDS
            .into_iter()
            .find_map(|(name, other)| (other == kind).then_some(name))
    }

    fn to_json(&self) -> Json {
        let mut members = Map::new();
        members.insert("type".into(), "function".into());
        if let Some(kind) = self.kind_name() {
            members.insert("fnType".into(), kind.into());
        }
        for (name, part) in [("args", &self.args), ("returns", &self.returns)] {
            if let Some(part) = part {
                members.insert(name.into(), part.to_json());
            }
        }
        Json::Object(members)
    }
}

impl FieldValidator {
    fn to_json(&self) -> Json {
        json!({"fieldType": self.validator.to_json(), "optional": self.optional})
    }
}

/// What is wrong with a validator's JSON, and where. Prints as ` at <place>: <problem>`.
struct Malformed {
    /// Steps from the place of the problem up to the root.
    steps: Vec<String>,
    problem: String,
}

impl Malformed {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            steps: Vec::new(),
            problem: problem.into(),
        }
    }

    /// The same problem seen from one level up.
    fn below(mut self, step: impl Into<String>) -> Self {
        self.steps.push(step.into());
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.steps.is_empty() {
            f.write_str(" at `")?;
            for step in self.steps.iter().rev() {
                f.write_str(step)?;
            }
            f.write_str("`")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Reads a validator that is the `depth`th level, counted from 1.
fn parse(json: &Json, depth: usize) -> Result<Validator, Malformed> {
    if depth > MAX_VALIDATOR_DEPTH {
        return Err(Malformed::new(format!(
            "validators may nest at most {MAX_VALIDATOR_DEPTH} levels"
        )));
    }
    let object = json
        .as_object()
        .ok_or_else(|| Malformed::new("expected an object with a `type`"))?;
    Ok(match text(object, "type")? {
        "any" => Validator::Any,
        "null" => Validator::Null,
        "number" => Validator::Number,
        "bigint" | "commitTs" => Validator::Bigint,
        "boolean" => Validator::Boolean,
        "string" => Validator::String,
        "bytes" => Validator::Bytes,
        "literal" => parse_literal(member(object, "value")?)?,
        "id" => {
            let table = text(object, "tableName")?;
            if !is_identifier(table) {
                return Err(Malformed::new(format!("{table:?} is not a table name")));
            }
            Validator::Id(table.to_owned())
        }
        "array" => {
            let element = parse(member(object, "value")?, depth + 1).map_err(|m| m.below("[]"))?;
            Validator::Array(Box::new(element))
        }
        "function" => Validator::Function(parse_signature(object, depth)?),
        "object" => parse_object(member(object, "value")?, depth)?,
        "record" => parse_record(object, depth)?,
        "union" => {
            let members = member(object, "value")?
                .as_array()
                .ok_or_else(|| Malformed::new("the `value` of a union must be a list"))?;
            let members = members.iter().enumerate().map(|(position, member)| {
                parse(member, depth + 1).map_err(|m| m.below(format!("<member {position}>")))
            });
            Validator::Union(members.collect::<Result<_, _>>()?)
        }
        other => {
            return Err(Malformed::new(format!("unknown validator type {other:?}")));
        }
    })
}

fn parse_literal(json: &Json) -> Result<Validator, Malformed> {
    let value = Value::from_json(json.clone())
        .map_err(|error| Malformed::new(format!("bad literal: {}", error.message)))?;
    match &value {
        Value::String(_) | Value::Boolean(_) | Value::Int64(_) => {}
        Value::Float64(number) if number.is_finite() => {}
        Value::Float64(_) => return Err(Malformed::new("a literal number must be finite")),
        Value::Null | Value::Bytes(_) | Value::Array(_) | Value::Object(_) | Value::CommitTs => {
            return Err(Malformed::new(
                "a literal must be a string, a number, a bigint or a boolean",
            ));
        }
    }
    Ok(Validator::Literal(value))
}

fn parse_signature(
    object: &Map<String, Json>,
    depth: usize,
) -> Result<FunctionSignature, Malformed> {
    let kind = match object.get("fnType") {
        None | Some(Json::Null) => None,
        Some(name) => {
            let kind = KINDS.into_iter().find(|(known, _)| name == known);
            let (_, kind) = kind.ok_or_else(|| {
                Malformed::new(format!("there is no kind of function {name}: `fnType` is \"query\", \"mutation\" or \"action\""))
            })?;
            Some(kind)
        }
    };
    let part = |name: &str| match object.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(json) => {
            let part = parse(json, depth + 1).map_err(|m| m.below(format!(".{name}()")))?;
            Ok(Some(Box::new(part)))
        }
    };
    Ok(FunctionSignature {
        kind,
        args: part("args")?,
        returns: part("returns")?,
    })
}

fn parse_object(json: &Json, depth: usize) -> Result<Validator, Malformed> {
    let members = json
        .as_object()
        .ok_or_else(|| Malformed::new("the `value` of an object must be an object of fields"))?;
    let mut fields = BTreeMap::new();
    for (name, json) in members {
        if !is_identifier(name) {
            return Err(Malformed::new(format!(
                "the field name {name:?} is not an identifier: letters, digits and underscores (not only \
                 underscores), at most {MAX_IDENTIFIER_LENGTH}, not beginning with a digit"
            )));
        }
        let field = parse_field(json, depth).map_err(|m| m.below(format!(".{name}")))?;
        fields.insert(name.clone(), field);
    }
    Ok(Validator::Object(ObjectValidator { fields }))
}

/// Reads `{fieldType, optional}` within a validator at level `depth`.
fn parse_field(json: &Json, depth: usize) -> Result<FieldValidator, Malformed> {
    let object = json
        .as_object()
        .ok_or_else(|| Malformed::new("expected an object with a `fieldType`"))?;
    let optional = match object.get("optional") {
        None => false,
        Some(Json::Bool(optional)) => *optional,
        Some(_) => return Err(Malformed::new("`optional` must be true or false")),
    };
    Ok(FieldValidator {
        validator: parse(member(object, "fieldType")?, depth + 1)?,
        optional,
    })
}

fn parse_record(object: &Map<String, Json>, depth: usize) -> Result<Validator, Malformed> {
    let keys = parse(member(object, "keys")?, depth + 1).map_err(|m| m.below(".keys()"))?;
    if !keys.describes_record_keys() {
        return Err(Malformed::new(format!(
            "the keys of a record must be strings, ids or unions of them, but are `{keys}`"
        ))
        .below(".keys()"));
    }
    let values = parse_field(member(object, "values")?, depth).map_err(|m| m.below(".values()"))?;
    if values.optional {
        return Err(Malformed::new("the values of a record cannot be optional").below(".values()"));
    }
    Ok(Validator::Record {
        keys: Box::new(keys),
        values: Box::new(values.validator),
    })
}

fn member<'a>(object: &'a Map<String, Json>, name: &str) -> Result<&'a Json, Malformed> {
    object
        .get(name)
        .ok_or_else(|| Malformed::new(format!("`{name}` is missing")))
}

fn text<'a>(object: &'a Map<String, Json>, name: &str) -> Result<&'a str, Malformed> {
    member(object, name)?
        .as_str()
        .ok_or_else(|| Malformed::new(format!("`{name}` must be a string")))
}

/// Builder syntax: `v.object({a: v.optional(v.float64())})`.
impl fmt::Display for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("v.any()"),
            Self::Null => f.write_str("v.null()"),
            Self::Number => f.write_str("v.float64()"),
            Self::Bigint => f.write_str("v.int64()"),
            Self::Boolean => f.write_str("v.boolean()"),
            Self::String => f.write_str("v.string()"),
            Self::Bytes => f.write_str("v.bytes()"),
            Self::Literal(value) => write!(f, "v.literal({value})"),
            Self::Id(table) => write!(f, "v.id(\"{table}\")"),
            Self::Function(signature) => signature.fmt(f),
            Self::Array(element) => write!(f, "v.array({element})"),
            Self::Object(object) => object.fmt(f),
            Self::Record { keys, values } => write!(f, "v.record({keys}, {values})"),
            Self::Union(members) => {
                f.write_str("v.union(")?;
                for (position, member) in members.iter().enumerate() {
                    let separator = if position == 0 { "" } else { ", " };
                    write!(f, "{separator}{member}")?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for ObjectValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v.object({")?;
        for (position, (name, field)) in self.fields.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{name}: {field}")?;
        }
        f.write_str("})")
    }
}

impl fmt::Display for FunctionSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind_name().map(|kind| format!("fnType: \"{kind}\""));
        let args = self.args.as_ref().map(|args| format!("args: {args}"));
        let returns = self.returns.as_ref().map(|part| format!("returns: {part}"));
        let parts: Vec<_> = [kind, args, returns].into_iter().flatten().collect();
        match parts.as_slice() {
            [] => f.write_str("v.function()"),
            parts => write!(f, "v.function({{{}}})", parts.join(", ")),
        }
    }
}

impl fmt::Display for FieldValidator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.optional {
            true => write!(f, "v.optional({})", self.validator),
            false => self.validator.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::arbitrary::{any_json, any_validator};

    fn error(json: Json) -> String {
        let error = Validator::from_json(&json).unwrap_err();
        assert_eq!(error.code, "InvalidValidator");
        error.message
    }

    #[test]
    fn every_builder_has_its_json_and_its_print() {
        let json = json!({"type": "object", "value": {
            "a": {"fieldType": {"type": "number"}, "optional": true},
            "b": {"fieldType": {"type": "union", "value": [
                {"type": "literal", "value": "x"}, {"type": "literal", "value": 2.0}, {"type": "null"},
            ]}, "optional": false},
            "c": {"fieldType": {"type": "array", "value": {"type": "id", "tableName": "_storage"}}, "optional": false},
            "d": {"fieldType": {"type": "record", "keys": {"type": "string"},
                "values": {"fieldType": {"type": "bigint"}, "optional": false}}, "optional": false},
            "e": {"fieldType": {"type": "boolean"}, "optional": false},
            "f": {"fieldType": {"type": "bytes"}, "optional": false},
            "g": {"fieldType": {"type": "any"}, "optional": false},
            "h": {"fieldType": {"type": "union", "value": []}, "optional": false},
            "i": {"fieldType": {"type": "object", "value": {}}, "optional": false},
        }});
        let validator = Validator::from_json(&json).unwrap();
        assert_eq!(validator.to_json(), json);
        assert_eq!(
            validator.to_string(),
            "v.object({a: v.optional(v.float64()), b: v.union(v.literal(\"x\"), v.literal(2.0), v.null()), \
             c: v.array(v.id(\"_storage\")), d: v.record(v.string(), v.int64()), e: v.boolean(), \
             f: v.bytes(), g: v.any(), h: v.union(), i: v.object({})})"
        );
    }

    #[test]
    fn signatures_of_functions_are_carried_through() {
        let any = json!({"type": "function"});
        let validator = Validator::from_json(&any).unwrap();
        assert_eq!(validator.to_json(), any);
        assert_eq!(validator.to_string(), "v.function()");
        let full = json!({"type": "function", "fnType": "mutation",
            "args": {"type": "object", "value": {"n": {"fieldType": {"type": "number"}, "optional": false}}},
            "returns": {"type": "null"}});
        let validator = Validator::from_json(&full).unwrap();
        assert_eq!(validator.to_json(), full);
        assert_eq!(
            validator.to_string(),
            "v.function({fnType: \"mutation\", args: v.object({n: v.float64()}), returns: v.null()})"
        );
        assert!(
            error(json!({"type": "function", "fnType": "cron"}))
                .contains("no kind of function \"cron\"")
        );
        let inner = json!({"type": "function", "args": {"type": "oops"}});
        assert!(error(inner).contains("at `.args()`"));
    }

    #[test]
    fn commit_timestamps_are_integers() {
        let validator = Validator::from_json(&json!({"type": "commitTs"})).unwrap();
        assert_eq!(validator, Validator::Bigint);
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(
            error(json!(3)),
            "Invalid validator: expected an object with a `type`"
        );
        assert_eq!(
            error(json!({"type": "set"})),
            "Invalid validator: unknown validator type \"set\""
        );
        let nested = json!({"type": "object", "value": {"a": {"fieldType":
            {"type": "array", "value": {"type": "union", "value": [{"type": "any"}, {"type": "id"}]}}}}});
        assert_eq!(
            error(nested),
            "Invalid validator at `.a[]<member 1>`: `tableName` is missing"
        );
        let literal_keys = json!({"type": "record", "keys": {"type": "literal", "value": "x"},
            "values": {"fieldType": {"type": "any"}, "optional": false}});
        assert!(error(literal_keys).starts_with("Invalid validator at `.keys()`: "));
        let optional_values = json!({"type": "record", "keys": {"type": "string"},
            "values": {"fieldType": {"type": "any"}, "optional": true}});
        assert!(error(optional_values).contains("cannot be optional"));
        assert!(error(json!({"type": "id", "tableName": "a-b"})).contains("not a table name"));
        let bad_name = json!({"type": "object", "value": {"a b": {"fieldType": {"type": "any"}}}});
        assert!(error(bad_name).contains("not an identifier"));
    }

    #[test]
    fn literals_are_finite_scalars() {
        for value in [
            json!(null),
            json!([]),
            json!({}),
            json!({"$bytes": ""}),
            json!({"$float": "AAAAAAAA+H8="}),
            json!({"$float": "AAAAAAAA8H8="}),
            json!({"$set": []}),
        ] {
            error(json!({"type": "literal", "value": value}));
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |levels: usize| {
            (1..levels).fold(
                json!({"type": "any"}),
                |inner, _| json!({"type": "array", "value": inner}),
            )
        };
        Validator::from_json(&nest(MAX_VALIDATOR_DEPTH)).unwrap();
        assert!(error(nest(MAX_VALIDATOR_DEPTH + 1)).contains("at most 65 levels"));
    }

    proptest! {
        #[test]
        fn json_round_trips(validator in any_validator()) {
            prop_assert_eq!(Validator::from_json(&validator.to_json()).unwrap(), validator);
        }

        #[test]
        fn hostile_json_is_an_error_or_a_validator(json in any_json()) {
            if let Ok(validator) = Validator::from_json(&json) {
                prop_assert_eq!(Validator::from_json(&validator.to_json()).unwrap(), validator);
            }
        }
    }
}
