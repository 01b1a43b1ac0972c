//! Resolving a query against the tables and indexes that a transaction sees.

use std::fmt;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::ast::{Operator, Query, Source, order_name};
use super::range::{RangeBound, key_range};
use crate::catalog::{BY_CREATION_TIME, BY_ID, Index, Table};
use crate::error::{Error, Result};
use crate::persistence::{IndexId, KeyRange, Order};
use crate::schedule;
use crate::transaction::Transaction;
use crate::value::{CREATION_TIME_FIELD, FieldPath, ID_FIELD};

/// Whether user code may read that system table.
pub fn is_readable_system_table(name: &str) -> bool {
    ["_storage", schedule::JOBS].contains(&name)
}

/// Whose query it is: decides which tables there are for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// User code: other system tables than `_storage` and `_scheduled_functions` are as if they did not exist.
    User,
    /// The system's own functions: all tables.
    System,
}

/// How a query is going to be answered: by reading one range of one index.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The table.
    pub table: String,
    /// The index within the table.
    pub index_name: String,
    /// The index's fields, the trailing creation time and id included.
    pub fields: Vec<FieldPath>,
    /// The index in storage; `None` if there is no such table, so that there is nothing to read.
    pub index: Option<IndexId>,
    /// The conditions that `range` comes from.
    pub bounds: Vec<RangeBound>,
    /// Keys to read.
    pub range: KeyRange,
    /// From which end.
    pub order: Order,
    /// What happens to each row.
    pub operators: Vec<Operator>,
}

impl Plan {
    /// Looks up the table and the index, which the transaction thereby depends on. No documents are read.
    ///
    /// # Errors
    /// `IndexNotFoundError`, `IndexBackfillingError`, `IndexStagedError`, `SearchNotSupported`, and those of
    /// [`key_range`].
    pub fn resolve(tx: &mut Transaction, query: &Query, visibility: Visibility) -> Result<Self> {
        let (table_name, index_name, bounds, order) = match &query.source {
            Source::FullTableScan { table, order } => (table, BY_CREATION_TIME, &[][..], *order),
            Source::IndexRange {
                table,
                index,
                range,
                order,
            } => (table, index.as_str(), range.as_slice(), *order),
            Source::Search { table, index, .. } => {
                return Err(Error::bad_request(
                    "SearchNotSupported",
                    format!(
                        "Text search is not supported yet; the index {table}.{index} cannot be read."
                    ),
                ));
            }
        };
        let (index_name, index, fields) = match visible_table(tx, table_name, visibility) {
            Some(table) => {
                let index = readable_index(&table, index_name, &query.source)?;
                (index.name.clone(), Some(index.id), index.fields.clone())
            }
            None => {
                let fields = built_in_fields(index_name)
                    .ok_or_else(|| index_not_found(table_name, index_name))?;
                (index_name.to_owned(), None, fields)
            }
        };
        let range = key_range(&format!("{table_name}.{index_name}"), &fields, bounds)?;
        Ok(Self {
            table: table_name.clone(),
            index_name,
            fields,
            index,
            bounds: bounds.to_vec(),
            range,
            order,
            operators: query.operators.clone(),
        })
    }

    /// What is going to be read and done, as JSON for tools. [`fmt::Display`] says the same to people.
    pub fn explain(&self) -> Json {
        let fields: Vec<_> = self.fields.iter().map(FieldPath::to_string).collect();
        let range: Vec<_> = self.bounds.iter().map(RangeBound::to_string).collect();
        let operators: Vec<_> = self.operators.iter().map(Operator::to_json).collect();
        json!({
            "table": self.table,
            "tableExists": self.index.is_some(),
            "index": self.index_name,
            "indexFields": fields,
            "range": range,
            "order": order_name(self.order),
            "operators": operators,
        })
    }
}

impl fmt::Display for Plan {
    /// One line for the index and one for each operator.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self.fields.iter().map(FieldPath::to_string).collect();
        let bounds: Vec<_> = self.bounds.iter().map(RangeBound::to_string).collect();
        writeln!(
            f,
            "read {}.{} [{}] {}, {}{}",
            self.table,
            self.index_name,
            fields.join(", "),
            match self.order {
                Order::Ascending => "ascending",
                Order::Descending => "descending",
            },
            match bounds.as_slice() {
                [] => "all of it".to_owned(),
                bounds => format!("where {}", bounds.join(" and ")),
            },
            match self.index {
                Some(_) => "",
                None => " (there is no such table: no rows)",
            },
        )?;
        for operator in &self.operators {
            match operator {
                Operator::Filter(expression) => writeln!(f, "keep rows with {expression}")?,
                Operator::Limit(limit) => writeln!(f, "stop after {limit} rows")?,
            }
        }
        Ok(())
    }
}

/// The table as far as such a query may see it.
fn visible_table(tx: &mut Transaction, name: &str, visibility: Visibility) -> Option<Arc<Table>> {
    let hidden = name.starts_with('_') && !is_readable_system_table(name);
    match visibility {
        Visibility::User if hidden => None,
        Visibility::User | Visibility::System => tx.table(name),
    }
}

fn readable_index<'a>(table: &'a Table, name: &str, source: &Source) -> Result<&'a Arc<Index>> {
    let index = match (table.index(name), source) {
        (Some(index), _) => index,
        // Some system tables are not indexed by creation time; any order that is always the same will do.
        (None, Source::FullTableScan { .. }) => table.by_id(),
        (None, _) => return Err(index_not_found(&table.name, name)),
    };
    if index.is_readable() {
        return Ok(index);
    }
    let name = format!("{}.{name}", table.name);
    Err(if index.staged {
        Error::bad_request(
            "IndexStagedError",
            format!(
                "Index {name} is currently staged and not available to query until it is enabled."
            ),
        )
    } else {
        Error::bad_request(
            "IndexBackfillingError",
            format!("Index {name} is currently backfilling and not available to query yet."),
        )
    })
}

/// The fields of the indexes that every user table has or will have.
fn built_in_fields(index: &str) -> Option<Vec<FieldPath>> {
    let names: &[&str] = match index {
        BY_ID => &[ID_FIELD],
        BY_CREATION_TIME => &[CREATION_TIME_FIELD, ID_FIELD],
        _ => return None,
    };
    let path = |name: &&str| FieldPath::parse(name).expect("system fields are identifiers");
    Some(names.iter().map(path).collect())
}

fn index_not_found(table: &str, index: &str) -> Error {
    Error::bad_request(
        "IndexNotFoundError",
        format!("Index {table}.{index} not found."),
    )
}
