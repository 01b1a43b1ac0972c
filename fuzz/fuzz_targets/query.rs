//! Queries as functions send them, run against a few documents: the result, whole and page by page, is what picking and
//! sorting all documents gives.

#![no_main]

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use concave_core::persistence::Order;
use concave_core::query::{
    BoundOperator, Comparison, CursorKey, Expression, Journal, Operator, PageQuery, PageRequest,
    PageStep, Plan, Query, QueryStep, QueryStream, RangeBound, Source, Visibility,
};
use concave_core::value::FieldPath;
use concave_core::{Object, Result, Value};
use concave_fuzz::database::{Database, TABLE};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// Made once: queries change nothing.
static DATABASE: LazyLock<Database> = LazyLock::new(|| {
    let documents = [
        json!({"a": 0, "b": {"c": 1}}),
        json!({"a": 0, "b": {"c": {"$integer": "AQAAAAAAAAA="}}}),
        json!({"a": 1, "b": {}}),
        json!({"a": "x"}),
        json!({"a": "x", "b": {"c": "x\u{0}"}}),
        json!({"a": null, "b": [true]}),
        json!({"b": {"c": {"$bytes": "AA=="}}}),
        json!({"a": {"$float": "AAAAAAAA+H8="}, "b": false}),
    ];
    let documents = documents.map(|json| serde_json::from_value(json).expect("an object"));
    Database::new(documents.into())
});
static CURSORS: LazyLock<CursorKey> = LazyLock::new(|| CursorKey::new([3; 32], "fuzz"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice(bytes) else {
        return;
    };
    let Ok(query) = Query::from_json(&json) else {
        return;
    };
    assert_eq!(Query::from_json(&query.to_json()).as_ref(), Ok(&query));
    let mut tx = DATABASE.begin();
    let Ok(plan) = Plan::resolve(&mut tx, &query, Visibility::User) else {
        assert!(collect(&query).is_err());
        return;
    };
    let _ = (plan.explain(), plan.to_string());
    let result = collect(&query);
    match (&result, &naive(&query, &plan)) {
        (Ok(rows), Ok(expected)) => assert_eq!(rows, expected, "{json}"),
        (Err(_), Err(_)) => {}
        (result, expected) => panic!("{result:?} instead of {expected:?} for {json}"),
    }
    let limited = query
        .operators
        .iter()
        .any(|operator| matches!(operator, Operator::Limit(_)));
    if let (Ok(rows), false) = (result, limited) {
        assert_eq!(page_by_page(&query), rows, "{json}");
    }
});

type Rows = Vec<Arc<Object>>;

fn collect(query: &Query) -> Result<Rows> {
    let mut tx = DATABASE.begin();
    let mut stream = QueryStream::open(&mut tx, query, Visibility::User)?;
    let mut rows = Vec::new();
    loop {
        match stream.next(&mut tx)? {
            QueryStep::Row(row) => rows.push(row),
            QueryStep::Read(read) => stream.supply(DATABASE.read(read))?,
            QueryStep::Done => return Ok(rows),
        }
    }
}

/// Three rows at a time, each page also once more by its journal.
fn page_by_page(query: &Query) -> Rows {
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let request = PageRequest {
            cursor,
            page_size: 3,
            ..PageRequest::default()
        };
        let page = page(query, &request, &Journal::default());
        let again = self::page(query, &request, &page.journal);
        assert_eq!(page, again, "a page is the same by its journal");
        rows.extend(page.page);
        if page.is_done {
            return rows;
        }
        cursor = Some(page.continue_cursor);
    }
}

fn page(query: &Query, request: &PageRequest, journal: &Journal) -> concave_core::query::Page {
    let mut tx = DATABASE.begin();
    let request = request.clone();
    let mut page = PageQuery::open(&mut tx, query, Visibility::User, request, journal, &CURSORS)
        .expect("the plan was good");
    loop {
        match page.next(&mut tx).expect("no row fails") {
            PageStep::Read(read) => page.supply(DATABASE.read(read)).expect("asked for"),
            PageStep::Done(page) => return page,
        }
    }
}

/// The result by looking at all documents.
fn naive(query: &Query, plan: &Plan) -> Result<Rows> {
    let (table, bounds, order) = match &query.source {
        Source::FullTableScan { table, order } => (table, &[][..], *order),
        Source::IndexRange {
            table,
            range,
            order,
            ..
        } => (table, range.as_slice(), *order),
        Source::Search { .. } => unreachable!("no plan for it"),
    };
    if table != TABLE {
        return Ok(Vec::new());
    }
    let mut rows = DATABASE.documents.clone();
    rows.retain(|row| bounds.iter().all(|bound| satisfies(row, bound)));
    let key = |row: &Object| -> Vec<Option<Value>> {
        let fields = plan.fields.iter();
        fields.map(|field| field.get(row).cloned()).collect()
    };
    rows.sort_by_key(|row| key(row));
    if order == Order::Descending {
        rows.reverse();
    }
    let mut left: Vec<usize> = query
        .operators
        .iter()
        .map(|operator| match operator {
            Operator::Limit(limit) => *limit,
            Operator::Filter(_) => usize::MAX,
        })
        .collect();
    let mut result = Vec::new();
    for row in rows {
        if left.contains(&0) {
            break;
        }
        let mut passes = true;
        for (operator, left) in query.operators.iter().zip(&mut left) {
            match operator {
                Operator::Filter(filter) => passes = holds(filter, &row)?,
                Operator::Limit(_) => *left -= 1,
            }
            if !passes {
                break;
            }
        }
        if passes {
            result.push(row);
        }
    }
    Ok(result)
}

fn satisfies(row: &Object, bound: &RangeBound) -> bool {
    let order = field(row, &bound.field).cmp(&bound.value.as_ref());
    match bound.operator {
        BoundOperator::Eq => order == Ordering::Equal,
        BoundOperator::Gt => order == Ordering::Greater,
        BoundOperator::Gte => order != Ordering::Less,
        BoundOperator::Lt => order == Ordering::Less,
        BoundOperator::Lte => order != Ordering::Greater,
    }
}

fn field<'r>(row: &'r Object, path: &FieldPath) -> Option<&'r Value> {
    path.segments().iter().enumerate().try_fold(
        None,
        |found: Option<&'r Value>, (depth, name)| match (depth, found) {
            (0, _) => Some(row.get(name)),
            (_, Some(Value::Object(object))) => Some(object.get(name)),
            _ => None,
        },
    )?
}

/// A second opinion on comparisons and logic; arithmetic is left to the expression.
fn holds(filter: &Expression, row: &Object) -> Result<bool> {
    let simple = |side: &Expression| match side {
        Expression::Field(path) => Some(field(row, path).cloned()),
        Expression::Literal(value) => Some(value.clone()),
        _ => None,
    };
    match filter {
        Expression::Not(inner) => Ok(!holds(inner, row)?),
        Expression::And(parts) => {
            for part in parts {
                if !holds(part, row)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Expression::Or(parts) => {
            for part in parts {
                if holds(part, row)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Expression::Compare(comparison, sides) => match (simple(&sides[0]), simple(&sides[1])) {
            (Some(left), Some(right)) => {
                let order = left.cmp(&right);
                Ok(match comparison {
                    Comparison::Eq => order.is_eq(),
                    Comparison::Neq => order.is_ne(),
                    Comparison::Lt => order.is_lt(),
                    Comparison::Lte => order.is_le(),
                    Comparison::Gt => order.is_gt(),
                    Comparison::Gte => order.is_ge(),
                })
            }
            _ => filter.evaluate_boolean(row),
        },
        _ => filter.evaluate_boolean(row),
    }
}
