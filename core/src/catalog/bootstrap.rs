//! The first documents of a database: its system tables.
//!
//! The catalog's own tables have fixed ids, so that start-up can read them before there is a catalog. All other
//! system tables are found by name. A build that knows more system tables than the database has adds the missing
//! ones when it opens the database.

use std::sync::Arc;

use super::{BY_CREATION_TIME, BY_ID, Catalog, Index, IndexState, index_document, table_document};
use crate::error::Result;
use crate::persistence::{IndexId, IndexUpdate, Revision, TableId};
use crate::schedule;
use crate::timestamp::Timestamp;
use crate::value::{
    CREATION_TIME_FIELD, DocumentId, FieldPath, InternalId, Object, TableNumber, Value,
    encode_document,
};

/// User tables are numbered from here; below are system tables.
pub const FIRST_USER_TABLE_NUMBER: u32 = 10_001;

/// Ids that are the same in every database.
pub mod well_known {
    use crate::persistence::{IndexId, TableId};

    /// `_tables`.
    pub const TABLES: TableId = TableId(1);
    /// `_indexes`.
    pub const INDEXES: TableId = TableId(2);
    /// `_tables.by_id`.
    pub const TABLES_BY_ID: IndexId = IndexId(1);
    /// `_indexes.by_id`.
    pub const INDEXES_BY_ID: IndexId = IndexId(2);
    /// `_tables.by_name`: reading a table's definition, or its absence, depends on a point of this index.
    pub const TABLES_BY_NAME: IndexId = IndexId(3);
    /// `_indexes.by_table`: reading a table's indexes depends on a prefix of this index.
    pub const INDEXES_BY_TABLE: IndexId = IndexId(4);

    /// Whether the table is one of those that describe tables and indexes.
    pub fn is_fixed(table: TableId) -> bool {
        table == TABLES || table == INDEXES
    }
}

/// A table that every database has. Its number and ids follow from its place in [`SYSTEM_TABLES`].
#[derive(Debug)]
pub struct SystemTable {
    /// Name, beginning with an underscore.
    pub name: &'static str,
    /// Indexes beside `by_id`: name and fields.
    pub indexes: &'static [(&'static str, &'static [&'static str])],
    /// Whether all its documents are kept in memory, as part of the catalog. For small tables only.
    pub in_catalog: bool,
}

/// Every system table. Append only: a table's place determines its number.
const SYSTEM_TABLES: &[SystemTable] = &[
    SystemTable {
        name: "_tables",
        indexes: &[("by_name", &["name"])],
        in_catalog: true,
    },
    SystemTable {
        name: "_indexes",
        indexes: &[("by_table", &["tableId"])],
        in_catalog: true,
    },
    // Schemas that are in force, being validated, or have failed.
    SystemTable {
        name: "_schemas",
        indexes: &[],
        in_catalog: true,
    },
    // One document: the live deployment. Every function call depends on it.
    SystemTable {
        name: "_deployments",
        indexes: &[],
        in_catalog: true,
    },
    SystemTable {
        name: "_environment_variables",
        indexes: &[],
        in_catalog: true,
    },
    // Sources of the modules of the live deployment and of the push under way, which name them by id.
    SystemTable {
        name: "_modules",
        indexes: &[],
        in_catalog: false,
    },
    // Results of mutations by session and request, so that a resent mutation is not run twice. The document id is
    // derived from both, which makes `by_id` the only index needed.
    SystemTable {
        name: "_session_requests",
        indexes: &[],
        in_catalog: false,
    },
    // At most one document: the deployment that a push has brought and that is not live yet.
    SystemTable {
        name: "_pushes",
        indexes: &[],
        in_catalog: false,
    },
    // Scheduled functions as functions see them.
    SystemTable {
        name: schedule::JOBS,
        indexes: &[(BY_CREATION_TIME, &[CREATION_TIME_FIELD])],
        in_catalog: false,
    },
    // What the scheduler does with each of them next. Jobs that are due at one time go in order of creation.
    SystemTable {
        name: schedule::ENTRIES,
        indexes: &[(
            schedule::ENTRIES_BY_DUE,
            &["step", "due", CREATION_TIME_FIELD],
        )],
        in_catalog: false,
    },
];

/// The definition of a system table.
pub fn system_table(name: &str) -> Option<&'static SystemTable> {
    SYSTEM_TABLES.iter().find(|table| table.name == name)
}

const FIRST_SYSTEM_TABLE_NUMBER: u32 = 512;

/// Revisions that create those system tables that `catalog` lacks, all at `ts`; empty if it has them all. For an
/// empty database, pass an empty catalog.
///
/// # Errors
/// If the catalog contradicts the ids that a system table needs.
pub fn bootstrap_revisions(catalog: &Catalog, ts: Timestamp) -> Result<Vec<Revision>> {
    missing_revisions(SYSTEM_TABLES, catalog, ts)
}

fn missing_revisions(
    system_tables: &[SystemTable],
    catalog: &Catalog,
    ts: Timestamp,
) -> Result<Vec<Revision>> {
    let mut documents: Vec<(TableId, Object)> = Vec::new();
    let mut grown = catalog.clone();
    // Fixed ids come first; later tables take the next free ones.
    for (place, definition) in system_tables.iter().enumerate() {
        if catalog.table(definition.name).is_some() {
            continue;
        }
        let place = u32::try_from(place).expect("there are few system tables");
        let table = match definition.name {
            "_tables" => well_known::TABLES,
            "_indexes" => well_known::INDEXES,
            _ => grown
                .next_user_table()
                .0
                .max(TableId(well_known::INDEXES.0 + 1)),
        };
        let number = TableNumber::new(FIRST_SYSTEM_TABLE_NUMBER + place)
            .expect("numbers of system tables are not 0");
        let document = table_document(table, number, definition.name);
        grown.apply(well_known::TABLES, None, Some(&Arc::new(document.clone())))?;
        documents.push((well_known::TABLES, document));
        let by_id: (&str, &[&str]) = (BY_ID, &[]);
        for (name, fields) in std::iter::once(by_id).chain(definition.indexes.iter().copied()) {
            let id = match (definition.name, name) {
                ("_tables", BY_ID) => well_known::TABLES_BY_ID,
                ("_tables", _) => well_known::TABLES_BY_NAME,
                ("_indexes", BY_ID) => well_known::INDEXES_BY_ID,
                ("_indexes", _) => well_known::INDEXES_BY_TABLE,
                _ => grown
                    .next_index(0)
                    .max(IndexId(well_known::INDEXES_BY_TABLE.0 + 1)),
            };
            let fields = fields
                .iter()
                .map(|field| path(field))
                .chain([path("_id")])
                .collect();
            let index = Index {
                id,
                table,
                name: name.into(),
                fields,
                state: IndexState::Ready,
                staged: false,
            };
            let document = index_document(&index);
            grown.apply(well_known::INDEXES, None, Some(&Arc::new(document.clone())))?;
            documents.push((well_known::INDEXES, document));
        }
    }
    documents
        .into_iter()
        .map(|(table, document)| revision(&grown, table, document, ts))
        .collect()
}

/// The built-in indexes of a new user table, beginning with the given id.
pub(crate) fn built_in_indexes(table: TableId, first: IndexId) -> [Index; 2] {
    let index = |id, name: &str, fields: &[&str]| Index {
        id,
        table,
        name: name.into(),
        fields: fields.iter().map(|field| path(field)).collect(),
        state: IndexState::Ready,
        staged: false,
    };
    [
        index(first, BY_ID, &["_id"]),
        index(
            IndexId(first.0 + 1),
            BY_CREATION_TIME,
            &["_creationTime", "_id"],
        ),
    ]
}

/// A revision outside any transaction; its document's id is derived from what it describes.
fn revision(
    catalog: &Catalog,
    table: TableId,
    mut document: Object,
    ts: Timestamp,
) -> Result<Revision> {
    let described = document
        .get("indexId")
        .or(document.get("tableId"))
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&described.to_be_bytes());
    let internal = InternalId(bytes);
    let definition = catalog
        .table_by_id(table)
        .expect("the catalog's own tables were just applied");
    let id = DocumentId {
        table: definition.number,
        internal,
    };
    document.insert("_id", Value::String(id.encode()))?;
    document.insert("_creationTime", Value::Float64(ts.as_millis_f64()))?;
    let index_updates = definition
        .indexes
        .iter()
        .map(|index| IndexUpdate {
            index: index.id,
            key: index.key(&document),
            live: true,
        })
        .collect();
    Ok(Revision {
        ts,
        table,
        id: internal,
        prev_ts: None,
        document: Some(encode_document(&document)),
        index_updates,
    })
}

fn path(field: &str) -> FieldPath {
    FieldPath::parse(field).expect("built-in field names are valid")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::catalog::{SchemaState, schema_document};
    use crate::schema::SchemaDefinition;
    use crate::value::{TableNumber, decode_document};

    fn apply(catalog: &mut Catalog, revisions: &[Revision]) {
        for revision in revisions {
            let document = decode_document(revision.document.as_ref().unwrap()).unwrap();
            let document = Some(Arc::new(document));
            catalog
                .apply(revision.table, None, document.as_ref())
                .unwrap();
        }
    }

    /// A database of any older build gets the tables that it lacks, under ids that it does not use.
    #[test]
    fn older_databases_get_the_missing_tables() {
        // No database has only one of the two tables that describe tables and indexes.
        for known in (0..SYSTEM_TABLES.len()).filter(|known| *known != 1) {
            let mut catalog = Catalog::default();
            let old = &SYSTEM_TABLES[..known];
            let ts = Timestamp(1_000_000);
            let revisions = missing_revisions(old, &catalog, ts).unwrap();
            apply(&mut catalog, &revisions);
            if known >= 2 {
                let (id, number) = catalog.next_user_table();
                let table = table_document(id, number, "users");
                let by = built_in_indexes(id, catalog.next_index(0));
                let mut revisions =
                    vec![revision(&catalog, well_known::TABLES, table, ts).unwrap()];
                revisions.extend(by.iter().map(|index| {
                    revision(&catalog, well_known::INDEXES, index_document(index), ts).unwrap()
                }));
                apply(&mut catalog, &revisions);
            }
            let before = catalog.clone();
            let new = bootstrap_revisions(&catalog, ts.next()).unwrap();
            apply(&mut catalog, &new);
            let ids: BTreeSet<_> = catalog
                .tables()
                .flat_map(|table| table.indexes.iter().map(|index| index.id))
                .collect();
            let indexes = catalog.tables().map(|table| table.indexes.len());
            assert_eq!(ids.len(), indexes.sum::<usize>(), "no id is used twice");
            for (place, definition) in SYSTEM_TABLES.iter().enumerate() {
                let table = catalog.table(definition.name).unwrap();
                assert_eq!(table.number.get(), FIRST_SYSTEM_TABLE_NUMBER + place as u32);
                assert_eq!(table.indexes.len(), 1 + definition.indexes.len());
                let same = before.table(definition.name).map(|table| table.id);
                assert!(same.is_none_or(|id| id == table.id), "what was there stays");
            }
            assert_eq!(catalog.table("users").is_some(), known >= 2);
            let again = bootstrap_revisions(&catalog, ts.next().next()).unwrap();
            assert!(again.is_empty(), "nothing is missing any more");
        }
    }

    #[test]
    fn documents_that_contradict_each_other_are_refused() {
        let mut catalog = Catalog::default();
        let ts = Timestamp(1_000_000);
        let revisions = bootstrap_revisions(&catalog, ts).unwrap();
        apply(&mut catalog, &revisions);
        let (id, number) = catalog.next_user_table();
        let next = TableId(id.0 + 1);
        let next_number = TableNumber::new(number.get() + 1).unwrap();
        let schemas = catalog.table("_schemas").unwrap().id;
        let schema = |id: &str| {
            let empty = SchemaDefinition::from_json(&json!({"tables": []})).unwrap();
            let mut document = schema_document(&SchemaState::Active, &empty);
            document.insert_unchecked("_id", id);
            document
        };
        let (a, b) = (schema("a"), schema("b"));
        for (table, first, second, text) in [
            (
                well_known::TABLES,
                table_document(id, number, "users"),
                table_document(next, next_number, "users"),
                "two tables have one name",
            ),
            (
                well_known::TABLES,
                table_document(id, number, "users"),
                table_document(next, number, "others"),
                "two tables have one number",
            ),
            (schemas, a, b, "two schemas are in one state"),
        ] {
            let mut catalog = catalog.clone();
            let mut apply = |new: Object| catalog.apply(table, None, Some(&Arc::new(new)));
            apply(first).unwrap();
            let error = apply(second).unwrap_err();
            assert!(error.message.contains(text), "{error}");
        }
    }
}
