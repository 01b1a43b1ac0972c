//! The documents that describe tables and indexes, and reading them back.

use super::{Index, IndexState, Table, damaged};
use crate::error::Result;
use crate::persistence::{IndexId, TableId};
use crate::value::{FieldPath, Object, TableNumber, Value};

/// The `_tables` document of a table, without system fields.
pub fn table_document(id: TableId, number: TableNumber, name: &str) -> Object {
    object([
        ("tableId", Value::Int64(id.0.into())),
        ("number", Value::Int64(number.get().into())),
        ("name", Value::from(name)),
    ])
}

/// The `_indexes` document of an index, without system fields.
pub fn index_document(index: &Index) -> Object {
    let fields = index
        .fields
        .iter()
        .map(|field| Value::String(field.to_string()))
        .collect();
    let state = match index.state {
        IndexState::Backfilling => "backfilling",
        IndexState::Backfilled => "backfilled",
        IndexState::Ready => "ready",
        IndexState::Dropped => "dropped",
    };
    object([
        ("indexId", Value::Int64(index.id.0.into())),
        ("tableId", Value::Int64(index.table.0.into())),
        ("name", Value::from(index.name.as_str())),
        ("fields", Value::Array(fields)),
        ("state", Value::from(state)),
        ("staged", Value::Boolean(index.staged)),
    ])
}

/// The `_tables` document of a table that has been deleted. It stays: ids and numbers are never given again, and what is
/// left of the table's documents can be told to be its own.
pub fn dropped_table_document(table: &Table) -> Object {
    let mut document = table_document(table.id, table.number, &table.name);
    document.insert_unchecked("dropped", true);
    document
}

pub(super) fn parse_table(document: &Object) -> Result<Table> {
    Ok(Table {
        id: TableId(number(document, "tableId")?),
        number: TableNumber::new(number(document, "number")?)
            .ok_or_else(|| damaged("a table has number 0"))?,
        name: text(document, "name")?.to_owned(),
        indexes: Vec::new(),
        dropped: matches!(document.get("dropped"), Some(Value::Boolean(true))),
    })
}

pub(crate) fn parse_index(document: &Object) -> Result<Index> {
    let fields = document
        .get("fields")
        .and_then(Value::as_array)
        .ok_or_else(|| damaged("an index has no fields"))?
        .iter()
        .map(|field| field.as_str().and_then(|path| FieldPath::parse(path).ok()))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| damaged("an index field is not a path"))?;
    let state = match text(document, "state")? {
        "backfilling" => IndexState::Backfilling,
        "backfilled" => IndexState::Backfilled,
        "ready" => IndexState::Ready,
        "dropped" => IndexState::Dropped,
        _ => return Err(damaged("an index has an unknown state")),
    };
    Ok(Index {
        id: IndexId(number(document, "indexId")?),
        table: TableId(number(document, "tableId")?),
        name: text(document, "name")?.to_owned(),
        fields,
        state,
        staged: matches!(document.get("staged"), Some(Value::Boolean(true))),
    })
}

/// The id of a stored document.
pub(super) fn id_of(document: &Object) -> Result<&str> {
    text(document, "_id")
}

/// Builds an object from fields whose names are known to be valid.
pub(crate) fn object<const N: usize>(fields: [(&str, Value); N]) -> Object {
    let mut object = Object::new();
    for (name, value) in fields {
        object
            .insert(name, value)
            .expect("system documents use valid field names");
    }
    object
}

fn number(document: &Object, field: &str) -> Result<u32> {
    document
        .get(field)
        .and_then(Value::as_i64)
        .and_then(|number| u32::try_from(number).ok())
        .ok_or_else(|| damaged(&format!("the field {field} is not a number")))
}

pub(super) fn text<'a>(document: &'a Object, field: &str) -> Result<&'a str> {
    document
        .get(field)
        .and_then(Value::as_str)
        .ok_or_else(|| damaged(&format!("the field {field} is not text")))
}
