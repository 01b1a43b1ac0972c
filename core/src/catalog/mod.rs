//! The catalog: which tables and indexes exist as of a timestamp, and the small configuration that every call needs.
//!
//! Tables and indexes are described by ordinary documents in the system tables `_tables` and `_indexes`, so they are
//! versioned, transactional and durable like everything else. The same goes for schemas, environment variables and
//! the live deployment. A [`Catalog`] is the view of those documents at one snapshot, kept in memory. It is never
//! edited by hand: [`Catalog::apply`] folds in each committed change, and start-up folds in all live documents.
//!
//! Invariant: a catalog is a function of the live documents of the tables that it describes. (Ids handed out are
//! the exception: they only grow while a process runs.)

mod bootstrap;
mod document;
mod index;
mod schemas;

use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use bootstrap::built_in_indexes;
pub use bootstrap::{
    FIRST_USER_TABLE_NUMBER, SystemTable, bootstrap_revisions, system_table, well_known,
};
pub use document::{dropped_table_document, index_document, table_document};
pub(crate) use document::{object, parse_index};
pub use index::{Index, IndexState};
pub use schemas::{SchemaState, Schemas, StoredSchema, schema_document};

use crate::error::{Error, Result};
use crate::persistence::{IndexId, TableId};
use crate::value::{Object, TableNumber};

/// A table as of a snapshot.
#[derive(Clone, Debug)]
pub struct Table {
    /// Storage name; never reused.
    pub id: TableId,
    /// The number inside document ids.
    pub number: TableNumber,
    /// The name that functions use.
    pub name: String,
    /// All indexes, the built-in ones first; in any state but dropped. A name can occur twice while a push replaces
    /// an index: the one in use comes first.
    pub indexes: Vec<Arc<Index>>,
    /// Whether it has been deleted: then it has no documents, and neither its name nor its number leads to it.
    pub dropped: bool,
}

impl Table {
    /// Whether the table belongs to the system: its name begins with an underscore.
    pub fn is_system(&self) -> bool {
        self.name.starts_with('_')
    }

    /// The index of that name, in any state.
    pub fn index(&self, name: &str) -> Option<&Arc<Index>> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// The index by document id, which every table has.
    pub fn by_id(&self) -> &Arc<Index> {
        self.index(BY_ID).expect("every table has its by_id index")
    }
}

/// Name of the index by document id.
pub const BY_ID: &str = "by_id";
/// Name of the index by creation time.
pub const BY_CREATION_TIME: &str = "by_creation_time";

/// Tables and indexes as of one snapshot. Cloning is cheap enough to do on every change: tables are shared.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    tables: BTreeMap<TableId, Arc<Table>>,
    by_name: BTreeMap<String, TableId>,
    by_number: BTreeMap<TableNumber, TableId>,
    /// Indexes whose table document has not been applied yet.
    orphans: Vec<Arc<Index>>,
    /// Documents of the configuration tables, by their id.
    configuration: BTreeMap<TableId, BTreeMap<String, Arc<Object>>>,
    schemas: Schemas,
    last_index: u32,
    last_table: u32,
    last_number: u32,
}

impl Catalog {
    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(self.by_name.get(name)?)
    }

    /// The table whose documents carry that number.
    pub fn table_by_number(&self, number: TableNumber) -> Option<&Arc<Table>> {
        self.tables.get(self.by_number.get(&number)?)
    }

    /// The table of that storage id, dropped or not.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// All tables in order of creation, but for those that are dropped.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values().filter(|table| !table.dropped)
    }

    /// Ids for a new user table.
    pub fn next_user_table(&self) -> (TableId, TableNumber) {
        let number = self.last_number.max(FIRST_USER_TABLE_NUMBER - 1) + 1;
        (
            TableId(self.last_table + 1),
            TableNumber::new(number).expect("numbers of user tables are not 0"),
        )
    }

    /// The `n`-th id for a new index, from 0.
    pub fn next_index(&self, n: u32) -> IndexId {
        IndexId(self.last_index + 1 + n)
    }

    /// The table that an index belongs to.
    pub fn table_of_index(&self, index: IndexId) -> Option<&Arc<Table>> {
        self.tables
            .values()
            .find(|table| table.indexes.iter().any(|candidate| candidate.id == index))
    }

    /// Live documents of a configuration table, by id.
    pub fn configuration(&self, table: TableId) -> impl Iterator<Item = &Arc<Object>> {
        self.configuration
            .get(&table)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// The schemas in force and on their way.
    pub fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// Whether changes of this table's documents change the catalog.
    pub fn describes(&self, table: TableId) -> bool {
        well_known::is_fixed(table)
            || self
                .tables
                .get(&table)
                .and_then(|table| system_table(&table.name))
                .is_some_and(|definition| definition.in_catalog)
    }

    /// Folds in a change of a document.
    ///
    /// # Errors
    /// If a document does not have the form that its table calls for.
    pub fn apply(
        &mut self,
        table: TableId,
        old: Option<&Arc<Object>>,
        new: Option<&Arc<Object>>,
    ) -> Result<()> {
        debug_assert!(self.describes(table));
        if table == well_known::TABLES {
            let old = old.map(|old| document::parse_table(old)).transpose()?;
            let new = new.map(|new| document::parse_table(new)).transpose()?;
            self.apply_table(old, new)
        } else if table == well_known::INDEXES {
            let old = old.map(|old| parse_index(old)).transpose()?;
            let new = new.map(|new| parse_index(new)).transpose()?;
            self.apply_index(old, new)
        } else {
            let documents = self.configuration.entry(table).or_default();
            if let Some(old) = old {
                documents.remove(document::id_of(old)?);
            }
            if let Some(new) = new {
                documents.insert(document::id_of(new)?.to_owned(), new.clone());
            }
            if self
                .tables
                .get(&table)
                .is_some_and(|table| table.name == "_schemas")
            {
                self.schemas = Schemas::from_documents(self.configuration(table))?;
            }
            Ok(())
        }
    }

    fn apply_table(&mut self, old: Option<Table>, new: Option<Table>) -> Result<()> {
        let mut indexes = Vec::new();
        if let Some(old) = old {
            let removed = self
                .tables
                .remove(&old.id)
                .ok_or_else(|| damaged("a table that is not there was changed"))?;
            if !removed.dropped {
                self.by_name.remove(&old.name);
                self.by_number.remove(&old.number);
            }
            indexes = removed.indexes.clone();
        }
        if let Some(mut new) = new {
            self.last_table = self.last_table.max(new.id.0);
            if new.number.get() >= FIRST_USER_TABLE_NUMBER {
                self.last_number = self.last_number.max(new.number.get());
            }
            let (adopted, orphans): (Vec<_>, Vec<_>) = std::mem::take(&mut self.orphans)
                .into_iter()
                .partition(|index| index.table == new.id);
            self.orphans = orphans;
            indexes.extend(adopted);
            indexes.sort_by_key(|index| index.id);
            new.indexes = indexes;
            if !new.dropped {
                if self.by_name.insert(new.name.clone(), new.id).is_some() {
                    return Err(damaged("two tables have one name"));
                }
                if self.by_number.insert(new.number, new.id).is_some() {
                    return Err(damaged("two tables have one number"));
                }
            }
            self.tables.insert(new.id, Arc::new(new));
        }
        Ok(())
    }

    fn apply_index(&mut self, old: Option<Index>, new: Option<Index>) -> Result<()> {
        if let Some(old) = &old {
            if let Some(table) = self.tables.get_mut(&old.table) {
                Arc::make_mut(table)
                    .indexes
                    .retain(|index| index.id != old.id);
            }
            self.orphans.retain(|index| index.id != old.id);
        }
        if let Some(new) = new {
            self.last_index = self.last_index.max(new.id.0);
            if new.state == IndexState::Dropped {
                return Ok(());
            }
            let new = Arc::new(new);
            match self.tables.get_mut(&new.table) {
                Some(table) => {
                    let table = Arc::make_mut(table);
                    table.indexes.push(new);
                    table.indexes.sort_by_key(|index| index.id);
                }
                None => self.orphans.push(new),
            }
        }
        Ok(())
    }
}

fn damaged(what: &str) -> Error {
    Error::internal(format!("The database's catalog is damaged: {what}."))
}
