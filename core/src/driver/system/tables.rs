//! Which tables and indexes there are, and how large.

use std::sync::Arc;

use futures_util::FutureExt;

use super::arguments::{Arg, PAGINATION};
use super::{Answer, Call, Definition, Problem, mutation, number, query, record};
use crate::catalog::{BY_CREATION_TIME, BY_ID, Index, IndexState, Table};
use crate::persistence::{KeyRange, Order};
use crate::query::is_readable_system_table;
use crate::schedule;
use crate::transaction::Scan;
use crate::value::{CREATION_TIME_FIELD, FieldPath, ID_FIELD, Object, Value};

pub(super) const FUNCTIONS: &[Definition] = &[
    query("_system/cli/tables", &[PAGINATION], |call| {
        call.tables().boxed()
    }),
    query(
        "_system/cli/tableSize",
        &[("tableName", Arg::Text)],
        |call| call.table_size().boxed(),
    ),
    query(
        "_system/frontend/tableSize",
        &[("tableName", Arg::Text)],
        |call| call.table_size().boxed(),
    ),
    query("_system/frontend/tableSize:sizeOfAllTables", &[], |call| {
        call.size_of_all_tables().boxed()
    }),
    query(
        "_system/cli/queryTable",
        &[("tableName", Arg::Text)],
        |call| call.watch_table().boxed(),
    ),
    query("_system/frontend/getTableMapping", &[], |call| {
        call.table_mapping().boxed()
    }),
    query(
        "_system/frontend/indexes",
        &[
            ("tableName", Arg::Optional(&Arg::Text)),
            ("tableNamespace", Arg::Optional(&Arg::Nullable(&Arg::Text))),
        ],
        |call| call.indexes().boxed(),
    ),
    mutation(
        "_system/frontend/createTable",
        &[("table", Arg::Text)],
        |call| call.create_table().boxed(),
    ),
];

/// Most names on a page.
const NAMES_MAX: usize = 1000;

impl Call<'_> {
    /// The user's tables by name. A cursor is the last name of the page before.
    async fn tables(&mut self) -> Answer {
        let options = self.fields("paginationOpts");
        let after = options.get("cursor").and_then(Value::as_str);
        let count = options.get("numItems").and_then(Value::as_f64);
        // Negative, fractional and huge numbers end up as what is nearest.
        let count = (count.unwrap_or_default() as usize).clamp(1, NAMES_MAX);
        let mut names: Vec<_> = self
            .user_tables()
            .iter()
            .map(|table| table.name.clone())
            .filter(|name| after.is_none_or(|after| name.as_str() > after))
            .collect();
        names.sort_unstable();
        let is_done = names.len() <= count;
        names.truncate(count);
        let cursor = names.last().map(String::as_str).or(after).unwrap_or("");
        let cursor = Value::from(cursor);
        let page = names
            .into_iter()
            .map(|name| record([("name", name.into())]))
            .collect();
        Ok(record([
            ("page", Value::Array(page)),
            ("isDone", is_done.into()),
            ("continueCursor", cursor),
        ]))
    }

    fn user_tables(&mut self) -> Vec<Arc<Table>> {
        let tables = self.tx.tables();
        tables
            .into_iter()
            .filter(|table| !table.is_system())
            .collect()
    }

    async fn table_size(&mut self) -> Answer {
        let name = self.text("tableName");
        let table = match name.starts_with('_') && !is_readable_system_table(&name) {
            true => None,
            false => self.tx.table(&name),
        };
        match table {
            Some(table) => Ok(number(self.count(&table).await?)),
            None => Ok(number(0)),
        }
    }

    async fn size_of_all_tables(&mut self) -> Answer {
        let mut count = 0;
        for table in self.user_tables() {
            count += self.count(&table).await?;
        }
        Ok(number(count))
    }

    /// Counts by reading: a table does not know its size.
    async fn count(&mut self, table: &Table) -> Result<usize, Problem> {
        let range = KeyRange::all();
        let mut scan = Scan::new(table.by_id().id, range, Order::Ascending, usize::MAX).uncounted();
        let database = self.functions.database();
        let mut count = 0;
        while database.next_row(self.tx, &mut scan).await?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// A number that is another one after each change of the table.
    async fn watch_table(&mut self) -> Answer {
        let name = self.text("tableName");
        if let Some(table) = self.tx.table(&name) {
            self.tx.depend_on(table.by_id().id, KeyRange::all());
        }
        Ok(Value::Float64(self.tx.snapshot_ts().as_millis_f64()))
    }

    /// Names of tables by the numbers that are in ids. Those of the scheduler are there too: ids of scheduled functions
    /// are stored in documents.
    async fn table_mapping(&mut self) -> Answer {
        let mut mapping = Object::new();
        for table in self.tx.tables() {
            let shown = [schedule::JOBS, schedule::ENTRIES].contains(&table.name.as_str());
            if shown || !table.is_system() {
                // Numbers are no names of fields that users may choose, but tools expect them.
                mapping.insert_unchecked(table.number.to_string(), table.name.as_str());
            }
        }
        Ok(Value::Object(mapping))
    }

    /// The indexes that the user has defined on a table; null if there is no such table.
    async fn indexes(&mut self) -> Answer {
        let name = self.text("tableName");
        let Some(table) = self.tx.table(&name).filter(|table| !table.is_system()) else {
            return Ok(Value::Null);
        };
        let indexes = user_indexes(&table).map(|index| {
            record([
                ("name", index.name.as_str().into()),
                ("fields", Value::Array(index_fields(index))),
                ("staged", index.staged.into()),
                (
                    "backfill",
                    record([("state", backfill_state(index).into())]),
                ),
            ])
        });
        Ok(Value::Array(indexes.collect()))
    }

    async fn create_table(&mut self) -> Answer {
        let name = self.text("table");
        self.tx.ensure_table(&name)?;
        Ok(Value::Null)
    }
}

/// The indexes of a table beside those that every table has.
pub(in crate::driver) fn user_indexes(table: &Table) -> impl Iterator<Item = &Arc<Index>> {
    let built_in = |index: &Index| [BY_ID, BY_CREATION_TIME].contains(&index.name.as_str());
    table.indexes.iter().filter(move |index| !built_in(index))
}

/// The fields of an index as the user has written them: without those that every index ends with.
pub(in crate::driver) fn index_fields(index: &Index) -> Vec<Value> {
    let fields: Vec<_> = index.fields.iter().map(FieldPath::to_string).collect();
    let own = fields.strip_suffix(&[CREATION_TIME_FIELD.to_owned(), ID_FIELD.to_owned()]);
    own.unwrap_or(&fields)
        .iter()
        .map(|field| Value::from(field.as_str()))
        .collect()
}

/// How far an index is, in the words of tools. A staged one that is complete is not in use, so it is not done.
pub(in crate::driver) fn backfill_state(index: &Index) -> &'static str {
    match index.state {
        IndexState::Backfilling => "backfilling",
        IndexState::Backfilled => "backfilled",
        IndexState::Ready if index.staged => "backfilled",
        IndexState::Ready | IndexState::Dropped => "done",
    }
}
