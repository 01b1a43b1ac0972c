//! Random documents, writes and queries, and what the queries must give.
//!
//! Values come from a small pool of all types, so that equal ones, missing ones and hits of ranges are common.

use std::cmp::Ordering;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index as Choice, select};

use super::world::{INDEXES, TABLE, World};
use crate::persistence::Order;
use crate::query::{BoundOperator, Comparison, Expression, Operator, Query, RangeBound, Source};
use crate::transaction::Transaction;
use crate::value::{DocumentId, FieldPath, Object, Value};

/// A value or nothing, as a field may have.
type Maybe = Option<Value>;

/// The documents of the table, with their system fields.
#[derive(Clone, Debug, Default)]
pub struct Model {
    documents: Vec<(DocumentId, Arc<Object>)>,
}

/// A change of one document.
#[derive(Clone, Debug)]
pub enum Write {
    Insert(Object),
    Replace(Choice, Object),
    Delete(Choice),
}

impl Model {
    /// Makes the same changes to the model and in a transaction.
    pub fn write(&mut self, world: &World, tx: &mut Transaction, writes: &[Write]) {
        let table = tx.table(TABLE).unwrap();
        for write in writes {
            let count = self.documents.len();
            match write {
                Write::Insert(fields) => {
                    let id = tx.insert(&table, fields.clone()).unwrap();
                    // Id and creation time are not for the model to invent.
                    self.documents.push((id, world.get(tx, id).document));
                }
                _ if count == 0 => {}
                Write::Replace(choice, fields) => {
                    let (id, present) = &mut self.documents[choice.index(count)];
                    let row = world.get(tx, *id);
                    let mut fields = fields.clone();
                    for name in ["_id", "_creationTime"] {
                        fields
                            .insert(name, present.get(name).unwrap().clone())
                            .unwrap();
                    }
                    tx.replace(*id, &row, fields.clone()).unwrap();
                    *present = Arc::new(fields);
                }
                Write::Delete(choice) => {
                    let (id, _) = self.documents.remove(choice.index(count));
                    let row = world.get(tx, id);
                    tx.delete(id, &row).unwrap();
                }
            }
        }
    }

    /// The result of a query, and how many rows it reads if a limit ends it.
    pub fn answer(&self, query: &ModelQuery) -> (Vec<Arc<Object>>, Option<usize>) {
        let key = |document: &Object| query.key(document);
        let documents = self.documents.iter().map(|(_, document)| document);
        let mut rows: Vec<_> = documents
            .filter(|document| query.in_range(&key(document)))
            .collect();
        rows.sort_by_key(|document| key(document));
        if query.order == Order::Descending {
            rows.reverse();
        }
        let mut left: Vec<_> = query.stages.iter().map(Stage::allowance).collect();
        if left.contains(&0) {
            return (Vec::new(), Some(0));
        }
        let mut result = Vec::new();
        for (read, document) in rows.into_iter().enumerate() {
            let passes = query
                .stages
                .iter()
                .zip(&mut left)
                .all(|(stage, left)| match stage {
                    Stage::Filter(predicate) => predicate.holds(document),
                    Stage::Limit(_) => {
                        *left -= 1;
                        true
                    }
                });
            if passes {
                result.push(document.clone());
            }
            if left.contains(&0) {
                return (result, Some(read + 1));
            }
        }
        (result, None)
    }
}

const BY_ID: usize = INDEXES.len();
const FULL_SCAN: usize = INDEXES.len() + 1;
const BY_CREATION_TIME: usize = INDEXES.len() + 2;

/// A query of which every part is easy to evaluate.
#[derive(Clone, Debug)]
pub struct ModelQuery {
    /// Place in [`INDEXES`], or one of the constants above.
    index: usize,
    order: Order,
    /// Values of the first fields of the index.
    equal: Vec<Maybe>,
    /// Bounds of the field after them: whether equality is excluded, and the value.
    lower: Option<(bool, Maybe)>,
    upper: Option<(bool, Maybe)>,
    /// Whether the bounds are written in the opposite order.
    backwards: bool,
    stages: Vec<Stage>,
}

#[derive(Clone, Debug)]
enum Stage {
    Filter(Predicate),
    Limit(usize),
}

impl Stage {
    fn allowance(&self) -> usize {
        match self {
            Stage::Filter(_) => usize::MAX,
            Stage::Limit(limit) => *limit,
        }
    }
}

/// A filter that cannot fail.
#[derive(Clone, Debug)]
enum Predicate {
    Compare(Comparison, FieldPath, Maybe),
    All(Vec<Predicate>),
    Any(Vec<Predicate>),
    Not(Box<Predicate>),
}

impl Predicate {
    fn holds(&self, document: &Object) -> bool {
        match self {
            Predicate::Compare(comparison, field, value) => {
                let ordering = field.get(document).cmp(&value.as_ref());
                match comparison {
                    Comparison::Eq => ordering == Ordering::Equal,
                    Comparison::Neq => ordering != Ordering::Equal,
                    Comparison::Lt => ordering == Ordering::Less,
                    Comparison::Lte => ordering != Ordering::Greater,
                    Comparison::Gt => ordering == Ordering::Greater,
                    Comparison::Gte => ordering != Ordering::Less,
                }
            }
            Predicate::All(parts) => parts.iter().all(|part| part.holds(document)),
            Predicate::Any(parts) => parts.iter().any(|part| part.holds(document)),
            Predicate::Not(part) => !part.holds(document),
        }
    }

    fn expression(&self) -> Expression {
        let all = |parts: &[Predicate]| parts.iter().map(Predicate::expression).collect();
        match self {
            Predicate::Compare(comparison, field, value) => Expression::Compare(
                *comparison,
                Box::new([
                    Expression::Field(field.clone()),
                    Expression::Literal(value.clone()),
                ]),
            ),
            Predicate::All(parts) => Expression::And(all(parts)),
            Predicate::Any(parts) => Expression::Or(all(parts)),
            Predicate::Not(part) => Expression::Not(Box::new(part.expression())),
        }
    }
}

impl ModelQuery {
    /// All documents, oldest first.
    pub fn full_scan() -> Self {
        Self {
            index: FULL_SCAN,
            order: Order::Ascending,
            equal: Vec::new(),
            lower: None,
            upper: None,
            backwards: false,
            stages: Vec::new(),
        }
    }

    pub fn index_name(&self) -> &'static str {
        match self.index {
            BY_ID => "by_id",
            FULL_SCAN | BY_CREATION_TIME => "by_creation_time",
            index => INDEXES[index].0,
        }
    }

    /// The fields of the index that can be bounded.
    fn fields(&self) -> Vec<FieldPath> {
        let names: &[&str] = match self.index {
            BY_ID => &["_id"],
            FULL_SCAN | BY_CREATION_TIME => &["_creationTime", "_id"],
            index => &[INDEXES[index].1, &["_creationTime", "_id"]].concat(),
        };
        let path = |name: &&str| FieldPath::parse(name).unwrap();
        names.iter().map(path).collect()
    }

    /// What a document is sorted by.
    fn key(&self, document: &Object) -> Vec<Maybe> {
        let fields = self.fields().into_iter();
        fields.map(|field| field.get(document).cloned()).collect()
    }

    fn in_range(&self, key: &[Maybe]) -> bool {
        let (equal, rest) = key.split_at(self.equal.len());
        equal == self.equal
            && self
                .lower
                .as_ref()
                .is_none_or(|(strict, value)| rest[0] > *value || (!strict && rest[0] == *value))
            && self
                .upper
                .as_ref()
                .is_none_or(|(strict, value)| rest[0] < *value || (!strict && rest[0] == *value))
    }

    /// The rows that the query reads if nothing ends it.
    pub fn without_stages(self) -> Self {
        Self {
            stages: Vec::new(),
            ..self
        }
    }

    /// The query, by way of its JSON form.
    pub fn query(&self) -> Query {
        let fields = self.fields();
        let mut range: Vec<_> = fields
            .iter()
            .zip(&self.equal)
            .map(|(field, value)| RangeBound {
                operator: BoundOperator::Eq,
                field: field.clone(),
                value: value.clone(),
            })
            .collect();
        let operators = [
            (&self.lower, BoundOperator::Gt, BoundOperator::Gte),
            (&self.upper, BoundOperator::Lt, BoundOperator::Lte),
        ];
        for (bound, strict, loose) in operators {
            range.extend(bound.as_ref().map(|(is_strict, value)| RangeBound {
                operator: if *is_strict { strict } else { loose },
                field: fields[self.equal.len()].clone(),
                value: value.clone(),
            }));
        }
        if self.backwards {
            range.reverse();
        }
        let source = match self.index {
            FULL_SCAN => Source::FullTableScan {
                table: TABLE.into(),
                order: self.order,
            },
            _ => Source::IndexRange {
                table: TABLE.into(),
                index: self.index_name().into(),
                range,
                order: self.order,
            },
        };
        let operators = self.stages.iter().map(|stage| match stage {
            Stage::Filter(predicate) => Operator::Filter(predicate.expression()),
            Stage::Limit(limit) => Operator::Limit(*limit),
        });
        let query = Query {
            source,
            operators: operators.collect(),
        };
        let text = query.to_json().to_string();
        let read = Query::from_json(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(read, query);
        read
    }
}

fn value() -> impl Strategy<Value = Value> {
    select(vec![
        Value::Null,
        Value::Int64(0),
        Value::Int64(1),
        Value::Float64(0.0),
        Value::Float64(1.0),
        Value::Boolean(true),
        Value::from(""),
        Value::from("x"),
        Value::from("x\0"),
        Value::Bytes(vec![0]),
        Value::Array(vec![Value::Null]),
        Value::Object(Object::new()),
    ])
}

/// A value for a user's field, and what stands in its place for a creation time and for an id.
#[derive(Clone, Debug)]
struct Operand {
    value: Maybe,
    time: Value,
    id: Value,
}

impl Operand {
    fn fitting(self, field: &FieldPath) -> Maybe {
        match field.to_string().as_str() {
            "_creationTime" => Some(self.time),
            "_id" => Some(self.id),
            _ => self.value,
        }
    }
}

fn operand() -> impl Strategy<Value = Operand> {
    // Documents to begin with are created at 2 ms, later ones at 3 ms, each a little after the one before.
    let time = (select(vec![2f64, 3.0]), 0u64..24)
        .prop_map(|(base, after)| Value::Float64(f64::from_bits(base.to_bits() + after)));
    // Ids of the first user tables lie between these.
    let id = select(vec!["j5", "j9", "jd", "jh", "jn", "js", "jx", "k1"]).prop_map(Value::from);
    (maybe(), time, id).prop_map(|(value, time, id)| Operand { value, time, id })
}

fn maybe() -> impl Strategy<Value = Maybe> {
    // The first values are the likeliest, so that equal keys are common.
    prop_oneof![
        1 => Just(None),
        2 => select(vec![Value::Int64(0), Value::Int64(1), Value::from("x")]).prop_map(Some),
        1 => value().prop_map(Some),
    ]
}

fn document() -> impl Strategy<Value = Object> {
    let inner = |value: Maybe| {
        let fields = value.map(|value| ("c", value));
        Value::Object(Object::from_fields(fields).unwrap())
    };
    let b = prop_oneof![1 => maybe(), 4 => maybe().prop_map(move |value| Some(inner(value)))];
    (maybe(), b, 0i64..1000).prop_map(|(a, b, mark)| {
        let fields = [("a", a), ("b", b), ("mark", Some(Value::Int64(mark)))];
        let present = fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Object::from_fields(present).unwrap()
    })
}

/// Documents to begin with.
pub fn inserts() -> impl Strategy<Value = Vec<Write>> {
    vec(document().prop_map(Write::Insert), 0..24)
}

/// Changes of all kinds.
pub fn writes() -> impl Strategy<Value = Vec<Write>> {
    let write = prop_oneof![
        document().prop_map(Write::Insert),
        (any::<Choice>(), document()).prop_map(|(choice, fields)| Write::Replace(choice, fields)),
        any::<Choice>().prop_map(Write::Delete),
    ];
    vec(write, 0..8)
}

fn predicate() -> impl Strategy<Value = Predicate> {
    let comparison = select(vec![
        Comparison::Eq,
        Comparison::Neq,
        Comparison::Lt,
        Comparison::Lte,
        Comparison::Gt,
        Comparison::Gte,
    ]);
    let field = select(vec!["a", "b", "b.c"]).prop_map(|name| FieldPath::parse(name).unwrap());
    let leaf = (comparison, field, maybe())
        .prop_map(|(comparison, field, value)| Predicate::Compare(comparison, field, value));
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Predicate::All),
            vec(inner.clone(), 0..3).prop_map(Predicate::Any),
            inner.prop_map(|part| Predicate::Not(Box::new(part))),
        ]
    })
}

fn query_with(stage: impl Strategy<Value = Stage>) -> impl Strategy<Value = ModelQuery> {
    let bound = || option::weighted(0.4, (any::<bool>(), operand()));
    // Many equalities leave few documents.
    let equalities = prop_oneof![4 => Just(0usize), 4 => Just(1), 2 => Just(2), 1 => 3..5usize]
        .prop_flat_map(|count| vec(operand(), count));
    (
        0..=BY_CREATION_TIME,
        select(vec![Order::Ascending, Order::Descending]),
        equalities,
        (bound(), bound()),
        any::<bool>(),
        vec(stage, 0..4),
    )
        .prop_map(|(index, order, equal, (lower, upper), backwards, stages)| {
            let mut query = ModelQuery {
                index,
                order,
                equal: Vec::new(),
                lower: None,
                upper: None,
                backwards,
                stages,
            };
            let fields = match index {
                FULL_SCAN => Vec::new(),
                _ => query.fields(),
            };
            // Only what the index has room for.
            query.equal = equal
                .into_iter()
                .zip(&fields)
                .map(|(operand, field)| operand.fitting(field))
                .collect();
            if let Some(field) = fields.get(query.equal.len()) {
                let fit = |(strict, operand): (bool, Operand)| (strict, operand.fitting(field));
                query.lower = lower.map(fit);
                query.upper = upper.map(fit);
            }
            query
        })
}

/// Queries with filters and limits.
pub fn query() -> impl Strategy<Value = ModelQuery> {
    query_with(prop_oneof![
        predicate().prop_map(Stage::Filter),
        (0usize..6).prop_map(Stage::Limit),
    ])
}

/// Queries with filters.
pub fn unlimited_query() -> impl Strategy<Value = ModelQuery> {
    query_with(predicate().prop_map(Stage::Filter))
}
