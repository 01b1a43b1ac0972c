//! The query description that functions send, and its JSON form.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::expression::Expression;
use super::range::{BoundOperator, RangeBound};
use super::{invalid, maybe_to_json};
use crate::error::{Error, Result};
use crate::persistence::Order;
use crate::value::{FieldPath, Value, is_identifier, maybe_from_json};

/// Most operators of one query.
pub const OPERATORS_MAX: usize = 256;

/// What a function asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Where rows come from, and in which order.
    pub source: Source,
    /// What happens to each row, in this order.
    pub operators: Vec<Operator>,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// All documents of a table by creation time.
    FullTableScan {
        /// The table.
        table: String,
        /// Oldest first or newest first.
        order: Order,
    },
    /// A range of an index.
    IndexRange {
        /// The table.
        table: String,
        /// The index, built-in ones included.
        index: String,
        /// Conditions that all hold for every row; see [`super::key_range`] for which ones go together.
        range: Vec<RangeBound>,
        /// Direction of the index.
        order: Order,
    },
    /// Documents by relevance to a text.
    Search {
        /// The table.
        table: String,
        /// The text index.
        index: String,
        /// What documents must match.
        filters: Vec<SearchFilter>,
    },
}

/// A condition of a text search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchFilter {
    /// The words to look for.
    Search {
        /// Field of the text.
        field: FieldPath,
        /// The words.
        text: String,
    },
    /// Equality of a filter field.
    Eq {
        /// The field.
        field: FieldPath,
        /// Its value; `None` means missing.
        value: Option<Value>,
    },
}

/// What happens to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Only rows for which this is true go on.
    Filter(Expression),
    /// Only so many rows go on, then the query is over.
    Limit(usize),
}

#[derive(Deserialize)]
struct QueryJson {
    source: SourceJson,
    operators: Vec<Json>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum SourceJson {
    FullTableScan {
        table_name: String,
        order: Option<OrderJson>,
    },
    IndexRange {
        index_name: String,
        range: Vec<BoundJson>,
        order: Option<OrderJson>,
    },
    Search {
        index_name: String,
        filters: Vec<SearchFilterJson>,
    },
}

#[derive(Deserialize)]
enum OrderJson {
    #[serde(rename = "asc")]
    Ascending,
    #[serde(rename = "desc")]
    Descending,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BoundJson {
    #[serde(rename = "type")]
    operator: BoundOperator,
    field_path: String,
    value: Json,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
enum SearchFilterJson {
    Search { field_path: String, value: String },
    Eq { field_path: String, value: Json },
}

impl Query {
    /// Reads the form that functions send.
    ///
    /// # Errors
    /// `InvalidQuery`, `InvalidTableName`, `InvalidFieldPath`, or what is wrong with a value in it.
    pub fn from_json(json: &Json) -> Result<Self> {
        let QueryJson { source, operators } = QueryJson::deserialize(json).map_err(invalid)?;
        if operators.len() > OPERATORS_MAX {
            return Err(invalid(format_args!(
                "it has {} operators, the maximum is {OPERATORS_MAX}",
                operators.len()
            )));
        }
        Ok(Self {
            source: source.parse()?,
            operators: operators
                .iter()
                .map(Operator::from_json)
                .collect::<Result<_>>()?,
        })
    }

    /// The canonical JSON form: equal queries have equal texts.
    pub fn to_json(&self) -> Json {
        let operators: Vec<_> = self.operators.iter().map(Operator::to_json).collect();
        json!({"source": self.source.to_json(), "operators": operators})
    }
}

impl SourceJson {
    fn parse(self) -> Result<Source> {
        Ok(match self {
            SourceJson::FullTableScan { table_name, order } => Source::FullTableScan {
                table: check_table(table_name)?,
                order: direction(order),
            },
            SourceJson::IndexRange {
                index_name,
                range,
                order,
            } => {
                let (table, index) = split_index_name(&index_name)?;
                Source::IndexRange {
                    table,
                    index,
                    range: range
                        .into_iter()
                        .map(BoundJson::parse)
                        .collect::<Result<_>>()?,
                    order: direction(order),
                }
            }
            SourceJson::Search {
                index_name,
                filters,
            } => {
                let (table, index) = split_index_name(&index_name)?;
                Source::Search {
                    table,
                    index,
                    filters: filters
                        .into_iter()
                        .map(SearchFilterJson::parse)
                        .collect::<Result<_>>()?,
                }
            }
        })
    }
}

impl Source {
    fn to_json(&self) -> Json {
        match self {
            Source::FullTableScan { table, order } => {
                json!({"type": "FullTableScan", "tableName": table, "order": order_name(*order)})
            }
            Source::IndexRange {
                table,
                index,
                range,
                order,
            } => json!({
                "type": "IndexRange",
                "indexName": format!("{table}.{index}"),
                "range": range.iter().map(bound_to_json).collect::<Vec<_>>(),
                "order": order_name(*order),
            }),
            Source::Search {
                table,
                index,
                filters,
            } => json!({
                "type": "Search",
                "indexName": format!("{table}.{index}"),
                "filters": filters.iter().map(SearchFilter::to_json).collect::<Vec<_>>(),
            }),
        }
    }
}

impl BoundJson {
    fn parse(self) -> Result<RangeBound> {
        Ok(RangeBound {
            operator: self.operator,
            field: FieldPath::parse(&self.field_path)?,
            value: maybe_from_json(self.value)?,
        })
    }
}

fn bound_to_json(bound: &RangeBound) -> Json {
    json!({
        "type": bound.operator,
        "fieldPath": bound.field.to_string(),
        "value": maybe_to_json(bound.value.as_ref()),
    })
}

impl SearchFilterJson {
    fn parse(self) -> Result<SearchFilter> {
        Ok(match self {
            SearchFilterJson::Search { field_path, value } => SearchFilter::Search {
                field: FieldPath::parse(&field_path)?,
                text: value,
            },
            SearchFilterJson::Eq { field_path, value } => SearchFilter::Eq {
                field: FieldPath::parse(&field_path)?,
                value: maybe_from_json(value)?,
            },
        })
    }
}

impl SearchFilter {
    fn to_json(&self) -> Json {
        match self {
            SearchFilter::Search { field, text } => {
                json!({"type": "Search", "fieldPath": field.to_string(), "value": text})
            }
            SearchFilter::Eq { field, value } => json!({
                "type": "Eq",
                "fieldPath": field.to_string(),
                "value": maybe_to_json(value.as_ref()),
            }),
        }
    }
}

impl Operator {
    fn from_json(json: &Json) -> Result<Self> {
        let unknown = || invalid("an operator is {\"filter\": …} or {\"limit\": …}");
        let fields = json
            .as_object()
            .filter(|fields| fields.len() == 1)
            .ok_or_else(unknown)?;
        if let Some(filter) = fields.get("filter") {
            Expression::from_json(filter).map(Operator::Filter)
        } else if let Some(limit) = fields.get("limit") {
            let limit = whole_number(limit)
                .ok_or_else(|| invalid("a limit is a whole number, 0 or more"))?;
            Ok(Operator::Limit(limit))
        } else {
            Err(unknown())
        }
    }

    /// The form that [`Query::from_json`] reads.
    pub(super) fn to_json(&self) -> Json {
        match self {
            Operator::Filter(expression) => json!({"filter": expression.to_json()}),
            Operator::Limit(limit) => json!({"limit": limit}),
        }
    }
}

/// A whole number, however JSON spells it; what is too large for the machine is as good as no limit.
fn whole_number(json: &Json) -> Option<usize> {
    if let Some(number) = json.as_u64() {
        return Some(usize::try_from(number).unwrap_or(usize::MAX));
    }
    let number = json.as_f64()?;
    // The conversion saturates.
    (number >= 0.0 && number.fract() == 0.0).then_some(number as usize)
}

fn direction(order: Option<OrderJson>) -> Order {
    match order {
        None | Some(OrderJson::Ascending) => Order::Ascending,
        Some(OrderJson::Descending) => Order::Descending,
    }
}

/// How an order is written in JSON.
pub(super) fn order_name(order: Order) -> &'static str {
    match order {
        Order::Ascending => "asc",
        Order::Descending => "desc",
    }
}

fn check_table(name: String) -> Result<String> {
    if is_identifier(&name) {
        return Ok(name);
    }
    Err(Error::bad_request(
        "InvalidTableName",
        format!("{name:?} is not a table name."),
    ))
}

fn split_index_name(name: &str) -> Result<(String, String)> {
    let (table, index) = name
        .split_once('.')
        .ok_or_else(|| invalid(format_args!("{name:?} does not name a table and its index")))?;
    Ok((check_table(table.to_owned())?, index.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_default_to_ascending_and_limits_may_be_doubles() {
        let query = Query::from_json(&json!({
            "source": {"type": "FullTableScan", "tableName": "notes", "order": null},
            "operators": [{"limit": 3.0}, {"limit": 1e300}],
        }))
        .unwrap();
        assert_eq!(
            query,
            Query {
                source: Source::FullTableScan {
                    table: "notes".into(),
                    order: Order::Ascending
                },
                operators: vec![Operator::Limit(3), Operator::Limit(usize::MAX)],
            }
        );
    }

    #[test]
    fn search_is_read() {
        let json = json!({
            "source": {"type": "Search", "indexName": "notes.find", "filters": [
                {"type": "Search", "fieldPath": "title", "value": "two words"},
                {"type": "Eq", "fieldPath": "owner", "value": {"$undefined": null}},
            ]},
            "operators": [],
        });
        assert_eq!(Query::from_json(&json).unwrap().to_json(), json);
    }

    #[test]
    fn refusals_say_why() {
        let scan = json!({"type": "FullTableScan", "tableName": "notes", "order": "asc"});
        let with = |operators: Json| json!({"source": scan, "operators": operators});
        for (query, code, part) in [
            (json!(null), "InvalidQuery", "null"),
            (json!({"operators": []}), "InvalidQuery", "source"),
            (with(json!([{}])), "InvalidQuery", "operator"),
            (with(json!([{"skip": 1}])), "InvalidQuery", "operator"),
            (with(json!([{"limit": -1}])), "InvalidQuery", "limit"),
            (with(json!([{"limit": 1.5}])), "InvalidQuery", "limit"),
            (
                with(json!(vec![json!({"limit": 1}); 257])),
                "InvalidQuery",
                "256",
            ),
            (
                json!({"source": {"type": "Other"}, "operators": []}),
                "InvalidQuery",
                "Other",
            ),
            (
                json!({"source": {"type": "FullTableScan", "tableName": "a-b", "order": null}, "operators": []}),
                "InvalidTableName",
                "a-b",
            ),
            (
                json!({"source": {"type": "IndexRange", "indexName": "notes", "range": [], "order": null}, "operators": []}),
                "InvalidQuery",
                "notes",
            ),
            (
                json!({"source": {"type": "IndexRange", "indexName": "notes.by_a", "range": [
                    {"type": "Eq", "fieldPath": "a b", "value": 1}], "order": null}, "operators": []}),
                "InvalidFieldPath",
                "a b",
            ),
        ] {
            let error = Query::from_json(&query).expect_err(part);
            assert_eq!(error.code, code, "{error}");
            assert!(error.message.contains(part), "{error}");
        }
    }
}
