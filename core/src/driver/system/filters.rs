//! Filters of pages of documents, as dashboards send them: base64 of JSON.
//!
//! A filter becomes a query: its index clauses the range, all others conditions on rows. The type of a value is a
//! condition like any other, since values of one type lie together in the order of all values. Only whether a string is an
//! id is not one; that is looked at once the page has been read, which then may have fewer documents than asked for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::documents::UNDEFINED;
use super::record;
use crate::catalog::{BY_CREATION_TIME, BY_ID, Table};
use crate::persistence::Order;
use crate::query::{BoundOperator, Comparison, Expression, Operator, Query, RangeBound, Source};
use crate::value::{
    CREATION_TIME_FIELD, DocumentId, FieldPath, ID_FIELD, Object, Value, maybe_from_json,
};

/// What a dashboard wants to see of a table.
#[derive(Default, Deserialize)]
pub(super) struct Filters {
    clauses: Vec<Clause>,
    order: Option<Direction>,
    index: Option<IndexFilter>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Asc,
    Desc,
}

/// A condition on a field.
#[derive(Clone, Deserialize, Serialize)]
struct Clause {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    op: Op,
    #[serde(default)]
    value: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum Op {
    Eq,
    Neq,
    Gt,
    Gte,
    Lt,
    Lte,
    AnyOf,
    NoneOf,
    #[serde(rename = "type")]
    Type,
    #[serde(rename = "notype")]
    NoType,
}

/// Which index to read, and how much of it.
#[derive(Deserialize)]
struct IndexFilter {
    name: String,
    #[serde(default)]
    search: Option<String>,
    clauses: Vec<Json>,
}

/// Conditions on the fields of an index, in their order.
#[derive(Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
enum IndexClause {
    IndexEq {
        enabled: bool,
        #[serde(default)]
        value: Json,
    },
    IndexRange {
        enabled: bool,
        lower_op: Option<BoundName>,
        #[serde(default)]
        lower_value: Json,
        upper_op: Option<BoundName>,
        #[serde(default)]
        upper_value: Json,
    },
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BoundName {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// A filter as a query.
pub(super) enum Parsed {
    /// The query, and what is to be looked at in its rows besides.
    Query(Query, Vec<IsId>),
    /// The clauses that make no sense, each with the reason, as the items of a page.
    Invalid(Vec<Value>),
}

/// Whether a field is an id, or is not.
pub(super) struct IsId {
    field: FieldPath,
    wanted: bool,
}

impl IsId {
    pub(super) fn holds(&self, document: &Object) -> bool {
        let text = self.field.get(document).and_then(Value::as_str);
        text.is_some_and(|text| DocumentId::decode(text).is_some()) == self.wanted
    }
}

impl Filters {
    /// Reads what dashboards send.
    ///
    /// # Errors
    /// If it is not that, with a text for the caller.
    pub(super) fn decode(text: &str) -> Result<Self, String> {
        let bytes = STANDARD.decode(text);
        let bytes = bytes.map_err(|error| format!("The filters are not base64: {error}"))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| format!("The filters are not what they should be: {error}"))
    }

    /// The query for a table, which may not be there.
    pub(super) fn query(&self, name: &str, table: Option<&Table>) -> Parsed {
        let mut invalid = Vec::new();
        let mut by_hand = Vec::new();
        let mut conditions = Vec::new();
        for clause in &self.clauses {
            if clause.enabled == Some(false) {
                continue;
            }
            match clause.condition(&mut by_hand) {
                Ok(condition) => conditions.extend(condition),
                Err(error) => {
                    let clause = serde_json::to_value(clause).unwrap_or_default();
                    invalid.push(error_item(&error, &clause));
                }
            }
        }
        let source = match self.source(name, table) {
            Ok(source) => source,
            Err((error, clause)) => {
                invalid.push(error_item(&error, &clause));
                return Parsed::Invalid(invalid);
            }
        };
        if !invalid.is_empty() {
            return Parsed::Invalid(invalid);
        }
        let operators = match conditions.is_empty() {
            true => Vec::new(),
            false => vec![Operator::Filter(Expression::And(conditions))],
        };
        Parsed::Query(Query { source, operators }, by_hand)
    }

    fn source(&self, name: &str, table: Option<&Table>) -> Result<Source, (String, Json)> {
        let order = match self.order {
            Some(Direction::Asc) => Order::Ascending,
            Some(Direction::Desc) | None => Order::Descending,
        };
        let Some(filter) = &self.index else {
            let table = name.to_owned();
            return Ok(Source::FullTableScan { table, order });
        };
        if filter.search.is_some() {
            let message = "Text search is not available on this server yet.".to_owned();
            return Err((message, Json::Null));
        }
        let fields = filter.fields(table).ok_or_else(|| {
            let message = format!("Index {name}.{} not found.", filter.name);
            (message, Json::Null)
        })?;
        let mut range = Vec::new();
        let mut fields = fields.into_iter();
        for json in &filter.clauses {
            let clause = IndexClause::deserialize(json)
                .map_err(|error| (error.to_string(), json.clone()))?;
            // What follows a clause that is switched off cannot be used.
            if !clause.is_enabled() {
                break;
            }
            let field = fields.next();
            let bounds = match field {
                None => Err("The index has no more fields.".to_owned()),
                Some(field) => clause.bounds(&field),
            };
            range.extend(bounds.map_err(|error| (error, json.clone()))?);
        }
        Ok(Source::IndexRange {
            table: name.to_owned(),
            index: filter.name.clone(),
            range,
            order,
        })
    }
}

impl IndexFilter {
    fn fields(&self, table: Option<&Table>) -> Option<Vec<FieldPath>> {
        if let Some(index) = table.and_then(|table| table.index(&self.name)) {
            return Some(index.fields.clone());
        }
        let field = match self.name.as_str() {
            BY_ID => ID_FIELD,
            BY_CREATION_TIME => CREATION_TIME_FIELD,
            _ => return None,
        };
        FieldPath::parse(field).ok().map(|field| vec![field])
    }
}

impl IndexClause {
    fn is_enabled(&self) -> bool {
        match self {
            Self::IndexEq { enabled, .. } | Self::IndexRange { enabled, .. } => *enabled,
        }
    }

    fn bounds(&self, field: &FieldPath) -> Result<Vec<RangeBound>, String> {
        let bound = |operator, json: &Json| {
            Ok::<_, String>(RangeBound {
                operator,
                field: field.clone(),
                value: value(json)?,
            })
        };
        match self {
            Self::IndexEq { value, .. } => Ok(vec![bound(BoundOperator::Eq, value)?]),
            Self::IndexRange {
                lower_op,
                lower_value,
                upper_op,
                upper_value,
                ..
            } => [(lower_op, lower_value), (upper_op, upper_value)]
                .into_iter()
                .filter_map(|(name, value)| Some((name.as_ref()?, value)))
                .map(|(name, value)| {
                    let operator = match name {
                        BoundName::Gt => BoundOperator::Gt,
                        BoundName::Gte => BoundOperator::Gte,
                        BoundName::Lt => BoundOperator::Lt,
                        BoundName::Lte => BoundOperator::Lte,
                    };
                    bound(operator, value)
                })
                .collect(),
        }
    }
}

impl Clause {
    /// The condition, unless it has to be looked at by hand.
    fn condition(&self, by_hand: &mut Vec<IsId>) -> Result<Option<Expression>, String> {
        let field = self.field.as_deref().unwrap_or_default();
        let field = FieldPath::parse(field).map_err(|error| error.message)?;
        let this = || Expression::Field(field.clone());
        let compare = |comparison| Ok(Some(compared(comparison, this(), value(&self.value)?)));
        match self.op {
            Op::Eq => compare(Comparison::Eq),
            Op::Neq => compare(Comparison::Neq),
            Op::Gt => compare(Comparison::Gt),
            Op::Gte => compare(Comparison::Gte),
            Op::Lt => compare(Comparison::Lt),
            Op::Lte => compare(Comparison::Lte),
            Op::AnyOf | Op::NoneOf => {
                let list = self.value.as_array().ok_or("The value must be a list.")?;
                let equal = list
                    .iter()
                    .map(|json| Ok(compared(Comparison::Eq, this(), value(json)?)))
                    .collect::<Result<_, String>>()?;
                let any = Expression::Or(equal);
                Ok(Some(match self.op {
                    Op::NoneOf => Expression::Not(Box::new(any)),
                    _ => any,
                }))
            }
            Op::Type | Op::NoType => {
                let wanted = matches!(self.op, Op::Type);
                let name = self.value.as_str().unwrap_or_default();
                if name == "id" {
                    by_hand.push(IsId { field, wanted });
                    return Ok(None);
                }
                let is = is_of_type(name, this)
                    .ok_or_else(|| format!("There is no type \"{name}\"."))?;
                Ok(Some(match wanted {
                    true => is,
                    false => Expression::Not(Box::new(is)),
                }))
            }
        }
    }
}

/// Whether a value is of the type of that name: where values of that type begin and end in the order of all values.
fn is_of_type(name: &str, this: impl Fn() -> Expression) -> Option<Expression> {
    use Comparison::{Gte, Lt};
    let starts = |name| -> Option<Option<Value>> {
        Some(match name {
            "unset" => None,
            "null" => Some(Value::Null),
            "bigint" => Some(Value::Int64(i64::MIN)),
            // The least double in the order of all values.
            "number" => Some(Value::Float64(f64::from_bits(u64::MAX))),
            "boolean" => Some(Value::Boolean(false)),
            "string" => Some(Value::String(String::new())),
            "bytes" => Some(Value::Bytes(Vec::new())),
            "array" => Some(Value::Array(Vec::new())),
            "object" => Some(Value::Object(Object::new())),
            _ => return None,
        })
    };
    const IN_ORDER: [&str; 9] = [
        "unset", "null", "bigint", "number", "boolean", "string", "bytes", "array", "object",
    ];
    let at = IN_ORDER.iter().position(|candidate| *candidate == name)?;
    let mut both = vec![compared(Gte, this(), starts(name)?)];
    if let Some(next) = IN_ORDER.get(at + 1) {
        both.push(compared(Lt, this(), starts(next)?));
    }
    Some(Expression::And(both))
}

fn compared(comparison: Comparison, left: Expression, right: Option<Value>) -> Expression {
    Expression::Compare(comparison, Box::new([left, Expression::Literal(right)]))
}

/// A value, or the missing one.
fn value(json: &Json) -> Result<Option<Value>, String> {
    match json.as_str() {
        Some(UNDEFINED) => Ok(None),
        _ => maybe_from_json(json.clone()).map_err(|error| error.message),
    }
}

/// What a page has in the place of documents if a clause makes no sense.
fn error_item(error: &str, clause: &Json) -> Value {
    // What cannot be a value is told as text.
    let clause = Value::from_json(clause.clone()).unwrap_or_else(|_| clause.to_string().into());
    record([("error", error.into()), ("filter", clause)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::value::arbitrary;

    fn holds(op: &str, of: Json, document: &Object) -> bool {
        let text = STANDARD
            .encode(json!({"clauses": [{"field": "f", "op": op, "value": of}]}).to_string());
        let Parsed::Query(query, by_hand) = Filters::decode(&text).unwrap().query("t", None) else {
            panic!("{op} {of} is a filter");
        };
        let by_query = query.operators.iter().all(|operator| match operator {
            Operator::Filter(filter) => filter.evaluate_boolean(document).unwrap(),
            Operator::Limit(_) => false,
        });
        by_query && by_hand.iter().all(|condition| condition.holds(document))
    }

    fn type_of(value: Option<&Value>) -> &'static str {
        match value {
            None => "unset",
            Some(Value::Null) => "null",
            Some(Value::Int64(_) | Value::CommitTs) => "bigint",
            Some(Value::Float64(_)) => "number",
            Some(Value::Boolean(_)) => "boolean",
            Some(Value::String(_)) => "string",
            Some(Value::Bytes(_)) => "bytes",
            Some(Value::Array(_)) => "array",
            Some(Value::Object(_)) => "object",
        }
    }

    proptest! {
        #[test]
        fn each_value_is_of_one_type(value in proptest::option::of(arbitrary::value())) {
            let mut document = Object::new();
            if let Some(value) = &value {
                document.insert("f", value.clone()).unwrap();
            }
            for name in ["unset", "null", "bigint", "number", "boolean", "string", "bytes", "array", "object"] {
                let is = type_of(value.as_ref()) == name;
                prop_assert_eq!(holds("type", json!(name), &document), is, "{}", name);
                prop_assert_eq!(holds("notype", json!(name), &document), !is, "{}", name);
            }
        }
    }

    #[test]
    fn clauses_compare_fields() {
        let one = Object::from_fields([("f", 1.0)]).unwrap();
        let none = Object::new();
        for (op, value, of_one, of_none) in [
            ("eq", json!(1.0), true, false),
            ("neq", json!(1.0), false, true),
            ("gt", json!(0.0), true, false),
            ("gte", json!(1.0), true, false),
            ("lt", json!(1.0), false, true),
            ("lte", json!(1.0), true, true),
            ("eq", json!(UNDEFINED), false, true),
            ("anyOf", json!([1.0, "a"]), true, false),
            ("noneOf", json!([1.0, "a"]), false, true),
            ("anyOf", json!([UNDEFINED]), false, true),
        ] {
            assert_eq!(holds(op, value.clone(), &one), of_one, "{op} {value}");
            assert_eq!(holds(op, value.clone(), &none), of_none, "{op} {value}");
        }
        let id = DocumentId {
            table: crate::value::TableNumber::new(10_001).unwrap(),
            internal: crate::value::InternalId([7; 16]),
        };
        let id = Object::from_fields([("f", id)]).unwrap();
        assert!(holds("type", json!("id"), &id) && !holds("notype", json!("id"), &id));
        assert!(!holds("type", json!("id"), &one) && holds("notype", json!("id"), &one));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let decode = |json: Json| Filters::decode(&STANDARD.encode(json.to_string()));
        for bad in [
            json!({}),
            json!({"clauses": [{"op": "like"}]}),
            json!({"clauses": [], "order": "up"}),
        ] {
            assert!(decode(bad.clone()).is_err(), "{bad}");
        }
        assert!(Filters::decode("{}").is_err());
        for bad in [
            json!([{"field": "f", "op": "eq", "value": {"$what": 1}}]),
            json!([{"field": "f", "op": "anyOf", "value": 1}]),
            json!([{"field": "f", "op": "type", "value": "date"}]),
            json!([{"op": "eq", "value": 1}]),
        ] {
            let filters = decode(json!({"clauses": bad})).unwrap();
            let Parsed::Invalid(errors) = filters.query("t", None) else {
                panic!("{bad} is refused");
            };
            assert_eq!(errors.len(), 1);
        }
    }
}
