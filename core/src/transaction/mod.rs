//! Transactions: reads at one snapshot, writes buffered, both recorded for validation at commit.
//!
//! A [`Transaction`] is plain data. It never waits: a [`Scan`] says which page it needs and is given it. Everything
//! read goes into the [`ReadSet`]; everything written stays in the [`WriteSet`] and is seen by the transaction's own
//! later reads. Reading the catalog counts as reading: whoever looks up a table depends on its definition, whoever
//! writes to a table depends on its list of indexes.

mod read_set;
mod scan;
mod usage;
mod write_set;

use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use read_set::ReadSet;
pub use scan::{Row, Scan, ScanStep, successor};
pub use usage::{
    BYTES_READ_MAX, BYTES_WRITTEN_MAX, DOCUMENTS_READ_MAX, DOCUMENTS_WRITTEN_MAX,
    FUNCTIONS_SCHEDULED_MAX, RANGES_READ_MAX, SCHEDULED_ARGS_BYTES_MAX, Usage,
};
pub use write_set::{DocumentWrite, Stored, View, WriteSet};

use crate::catalog::{self, Catalog, Index, IndexState, Schemas, Table, well_known};
use crate::commit::{CatalogChange, CommitRequest, PreparedWrite};
use crate::error::{Error, Result};
use crate::key;
use crate::persistence::{IndexId, IndexUpdate, KeyRange};
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::value::{self, DocumentId, InternalId, Object, TableNumber, Value, encode_document};

/// A consistent view of the whole database.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Everything committed at or before this is visible, nothing else.
    pub ts: Timestamp,
    /// Tables and indexes as of `ts`.
    pub catalog: Arc<Catalog>,
    /// While this is held, what can be read at `ts` is not deleted.
    pub pin: Arc<()>,
}

/// A transaction in progress.
#[derive(Debug)]
pub struct Transaction {
    snapshot: Snapshot,
    /// The catalog with this transaction's own changes.
    catalog: Arc<Catalog>,
    reads: ReadSet,
    /// Tables whose definitions and indexes are in `reads`.
    tables: Vec<Arc<Table>>,
    writes: WriteSet,
    /// Writes as they were before each change, newest last: what [`Transaction::rollback`] undoes.
    undo: Vec<Undo>,
    ids: IdGenerator,
    /// `_creationTime` of the next document, milliseconds.
    next_creation_time: f64,
    usage: Usage,
    /// The most that may be used: less than usual within a nested call that was given less.
    limits: Usage,
    /// The largest document written to a user table, and its size.
    largest: Option<(DocumentId, usize)>,
}

#[derive(Debug)]
struct Undo {
    table: Arc<Table>,
    id: InternalId,
    write: Option<DocumentWrite>,
    catalog: Arc<Catalog>,
}

/// A point in a transaction to which it can go back.
#[derive(Clone, Copy, Debug)]
pub struct Savepoint {
    /// Writes so far.
    writes: usize,
    usage: Usage,
    largest: Option<(DocumentId, usize)>,
}

impl Transaction {
    /// Begins at a snapshot. `now` becomes the creation time of inserted documents; `seed` makes their ids.
    pub fn begin(snapshot: Snapshot, now: Timestamp, seed: [u8; 32]) -> Self {
        let begun = now.max(snapshot.ts);
        assert!(
            begun >= snapshot.ts,
            "documents are not older than their world"
        );
        let seed = if planted(Bug::IdsFromSnapshot) {
            [0; 32]
        } else {
            seed
        };
        Self {
            catalog: snapshot.catalog.clone(),
            snapshot,
            reads: ReadSet::default(),
            tables: Vec::new(),
            writes: WriteSet::default(),
            undo: Vec::new(),
            ids: IdGenerator::new(seed, begun),
            next_creation_time: begun.as_millis_f64(),
            usage: Usage::default(),
            limits: Usage::MAX,
            largest: None,
        }
    }

    /// The timestamp that all reads are as of.
    pub fn snapshot_ts(&self) -> Timestamp {
        self.snapshot.ts
    }

    /// The snapshot that all reads are of.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The catalog with this transaction's own changes. Reading it this way records nothing: for checks whose outcome
    /// other reads already depend on.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What has been used of the limits.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The limits in force.
    pub fn limits(&self) -> Usage {
        self.limits
    }

    /// Lowers the limits for a nested call: for each count named, to so much beyond what is used already. Gives the
    /// limits of the caller, for [`Self::set_limits`] to restore.
    pub fn narrow_limits(&mut self, more: &[(&str, usize)]) -> Usage {
        let narrow = self.limits.narrowed(self.usage, more);
        assert!(narrow.ranges_read <= self.limits.ranges_read);
        std::mem::replace(&mut self.limits, narrow)
    }

    /// Puts other limits in force.
    pub fn set_limits(&mut self, limits: Usage) {
        assert!(
            limits.documents_read <= DOCUMENTS_READ_MAX,
            "limits are only ever lowered"
        );
        self.limits = limits;
    }

    /// Begins a transaction that only reads, at the same snapshot and within the same limits. It sees nothing of what
    /// this one writes, and this one does not depend on what it reads, though it pays for it:
    /// [`Self::charge_reads_of`].
    pub fn aside(&self) -> Self {
        let begun = self.snapshot.ts;
        let mut aside = Self::begin(self.snapshot.clone(), begun, [0; 32]);
        aside.usage = self.usage;
        aside.limits = self.limits;
        assert!(aside.is_read_only() && aside.reads.is_empty());
        aside
    }

    /// Counts what a transaction [`Self::aside`] has read.
    pub fn charge_reads_of(&mut self, aside: &Self) {
        assert!(aside.is_read_only(), "it only reads");
        assert!(aside.usage.documents_read >= self.usage.documents_read);
        self.usage = aside.usage.undone(self.usage);
    }

    /// The largest document written to a user table and not undone, and its size.
    pub fn largest_write(&self) -> Option<(DocumentId, usize)> {
        debug_assert!(
            self.largest
                .is_none_or(|(_, size)| size <= self.usage.bytes_written),
            "what is the largest counts"
        );
        self.largest
    }

    /// What has been read so far.
    pub fn reads(&self) -> &ReadSet {
        &self.reads
    }

    /// Depends on a range of an index as a whole, without reading it.
    pub fn depend_on(&mut self, index: IndexId, range: KeyRange) {
        self.reads.insert(index, range);
    }

    /// Whether nothing has been written.
    pub fn is_read_only(&self) -> bool {
        self.writes.is_empty()
    }

    /// Counts one more `get` or query.
    ///
    /// # Errors
    /// Code `TooManyReads`.
    pub fn count_range(&mut self) -> Result<()> {
        self.usage.count_range(&self.limits)
    }

    /// Counts a document that was read.
    ///
    /// # Errors
    /// Codes `TooManyDocumentsRead` and `TooManyBytesRead`.
    pub fn count_read(&mut self, bytes: usize) -> Result<()> {
        self.usage.count_read(bytes, &self.limits)
    }

    /// Counts a function that is being scheduled with arguments of that size.
    ///
    /// # Errors
    /// Codes `TooManyFunctionsScheduled` and `ScheduledFunctionsArgumentsTooLarge`.
    pub fn count_scheduled(&mut self, bytes: usize) -> Result<()> {
        self.usage.count_scheduled(bytes, &self.limits)
    }

    /// The table of that name, as this transaction sees it.
    pub fn table(&mut self, name: &str) -> Option<Arc<Table>> {
        match self.catalog.table(name).cloned() {
            Some(table) => {
                debug_assert_eq!(table.name, name, "the catalog is right about names");
                Some(self.depend_on_table(table))
            }
            None => {
                if !planted(Bug::MissingTableNotRead) {
                    self.reads
                        .insert(well_known::TABLES_BY_NAME, name_range(name));
                }
                None
            }
        }
    }

    /// The table whose documents carry that number.
    pub fn table_by_number(&mut self, number: TableNumber) -> Option<Arc<Table>> {
        // Numbers are never reused and a table keeps its own, so an existing one needs no dependency on other
        // tables; an absent one depends on all of them.
        match self.catalog.table_by_number(number).cloned() {
            Some(table) => {
                assert_eq!(table.number, number, "the catalog is right about numbers");
                Some(self.depend_on_table(table))
            }
            None => {
                self.reads
                    .insert(well_known::TABLES_BY_NAME, KeyRange::all());
                None
            }
        }
    }

    /// All tables, as this transaction sees them.
    pub fn tables(&mut self) -> Vec<Arc<Table>> {
        self.reads
            .insert(well_known::TABLES_BY_NAME, KeyRange::all());
        self.reads
            .insert(well_known::INDEXES_BY_TABLE, KeyRange::all());
        self.catalog.tables().cloned().collect()
    }

    /// All documents of a system table that the catalog keeps in memory (environment variables, schemas, the live
    /// deployment), by id.
    pub fn configuration(&mut self, table: &str) -> Vec<Arc<Object>> {
        let Some(table) = self.table(table) else {
            return Vec::new();
        };
        debug_assert!(
            self.catalog.describes(table.id),
            "only configuration is in memory"
        );
        self.reads.insert(table.by_id().id, KeyRange::all());
        self.catalog.configuration(table.id).cloned().collect()
    }

    /// The schema that documents must match, and the one that is about to replace it.
    pub fn schemas(&mut self) -> Schemas {
        if let Some(table) = self.table("_schemas") {
            self.reads.insert(table.by_id().id, KeyRange::all());
        }
        self.catalog.schemas().clone()
    }

    /// Depends on a table's definition and on its list of indexes.
    fn depend_on_table(&mut self, table: Arc<Table>) -> Arc<Table> {
        if !self.tables.iter().any(|known| Arc::ptr_eq(known, &table)) {
            self.reads
                .insert(well_known::TABLES_BY_NAME, name_range(&table.name));
            let key = key::encode_key(&[Some(&Value::Int64(table.id.0.into()))]);
            if !planted(Bug::TableIndexesNotRead) {
                self.reads
                    .insert(well_known::INDEXES_BY_TABLE, KeyRange::prefix(key));
            }
            self.tables.push(table.clone());
        }
        debug_assert!(self.depends_on_table(&table));
        table
    }

    /// Whether a change of the table's definition or indexes would be noticed.
    fn depends_on_table(&self, table: &Table) -> bool {
        let name = key::encode_key(&[Some(&Value::from(table.name.as_str()))]);
        let id = key::encode_key(&[Some(&Value::Int64(table.id.0.into()))]);
        self.reads.contains(well_known::TABLES_BY_NAME, &name)
            && self.reads.contains(well_known::INDEXES_BY_TABLE, &id)
    }

    /// The table of that name; a user table that is not there is created.
    ///
    /// # Errors
    /// If the name is not a legal table name.
    pub fn ensure_table(&mut self, name: &str) -> Result<Arc<Table>> {
        // Checked first: system tables are there, but not for whoever names a table this way.
        value::check_table_name(name)?;
        if let Some(table) = self.table(name) {
            return Ok(table);
        }
        // Ids are taken from the catalog as a whole, so two transactions that each create a table conflict.
        self.reads
            .insert(well_known::TABLES_BY_NAME, KeyRange::all());
        self.reads
            .insert(well_known::INDEXES_BY_TABLE, KeyRange::all());
        let (id, number) = self.catalog.next_user_table();
        assert!(
            self.catalog.table_by_id(id).is_none(),
            "ids are never used again"
        );
        assert!(self.catalog.table_by_number(number).is_none());
        self.insert_system("_tables", catalog::table_document(id, number, name))?;
        for index in catalog::built_in_indexes(id, self.catalog.next_index(0)) {
            self.insert_system("_indexes", catalog::index_document(&index))?;
        }
        let table = self.table(name).expect("the table was just created");
        assert_eq!((table.id, table.number), (id, number));
        assert!(!table.is_system(), "system tables are not made by name");
        Ok(table)
    }

    /// A fresh storage id for an index. The transaction then inserts its [`catalog::index_document`].
    pub fn allocate_index(&mut self) -> IndexId {
        let taken = match planted(Bug::TakenIdsNotRead) {
            true => KeyRange::point(Vec::new()),
            false => KeyRange::all(),
        };
        self.reads.insert(well_known::INDEXES_BY_TABLE, taken);
        let index = self.catalog.next_index(0);
        assert!(
            self.catalog.table_of_index(index).is_none(),
            "ids are never used again"
        );
        index
    }

    /// Inserts a document into a system table.
    ///
    /// # Errors
    /// If there is no such table, or a limit is exceeded.
    pub fn insert_system(&mut self, table: &str, document: Object) -> Result<DocumentId> {
        let internal = self.ids.next();
        self.insert_system_as(table, internal, document)
    }

    /// Inserts a document with a chosen id into a system table. The caller has read that the id is free.
    ///
    /// # Errors
    /// As [`Self::insert_system`].
    pub fn insert_system_as(
        &mut self,
        table: &str,
        id: InternalId,
        document: Object,
    ) -> Result<DocumentId> {
        let table = self
            .table(table)
            .ok_or_else(|| Error::internal(format!("The system table {table} is missing.")))?;
        assert!(table.is_system(), "user tables are written to by insert");
        self.insert_as(&table, id, document)
    }

    /// Inserts a new document. Its `_id` and `_creationTime` are made here.
    ///
    /// # Errors
    /// If the document breaks a limit.
    pub fn insert(&mut self, table: &Table, document: Object) -> Result<DocumentId> {
        let internal = self.ids.next();
        self.insert_as(table, internal, document)
    }

    fn insert_as(
        &mut self,
        table: &Table,
        internal: InternalId,
        mut document: Object,
    ) -> Result<DocumentId> {
        let id = DocumentId {
            table: table.number,
            internal,
        };
        assert!(
            self.writes.get(table.id, internal).is_none(),
            "a new document has a new id"
        );
        for field in ["_id", "_creationTime"] {
            if document.contains_key(field) {
                return Err(system_field(field));
            }
        }
        document.insert("_id", Value::String(id.encode()))?;
        document.insert("_creationTime", Value::Float64(self.next_creation_time))?;
        let next = self.next_creation_time.next_up();
        assert!(
            next > self.next_creation_time,
            "creation times tell the order of insertion"
        );
        if !planted(Bug::CreationTimesRepeat) {
            self.next_creation_time = next;
        }
        self.write(id, None, Some(document))?;
        Ok(id)
    }

    /// Replaces the content of a document that was read as `row`. `_id` and `_creationTime` stay; if `document` has
    /// them they must be the same.
    ///
    /// # Errors
    /// If the document breaks a limit or changes a system field.
    pub fn replace(
        &mut self,
        id: DocumentId,
        row: &Row,
        mut document: Object,
    ) -> Result<Arc<Object>> {
        for field in ["_id", "_creationTime"] {
            let present = row
                .document
                .get(field)
                .expect("stored documents have their system fields");
            match document.get(field) {
                Some(given) if given != present => return Err(system_field(field)),
                _ => document.insert(field, present.clone())?,
            };
        }
        debug_assert!(is_of(row, id), "the row is the document's");
        self.write(id, stored(row), Some(document))?;
        let table = self
            .catalog
            .table_by_number(id.table)
            .expect("the write found the table")
            .id;
        let write = self
            .writes
            .get(table, id.internal)
            .expect("the write is pending");
        debug_assert!(
            write
                .before
                .as_ref()
                .is_none_or(|before| { before.document.get("_id") == row.document.get("_id") })
        );
        Ok(write.after.clone().expect("the write was not a deletion"))
    }

    /// Deletes a document that was read as `row`.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn delete(&mut self, id: DocumentId, row: &Row) -> Result<()> {
        debug_assert!(is_of(row, id), "the row is the document's");
        self.write(id, stored(row), None)
    }

    fn write(
        &mut self,
        id: DocumentId,
        before: Option<Stored>,
        after: Option<Object>,
    ) -> Result<()> {
        let table = self.table_by_number(id.table).ok_or_else(|| {
            Error::internal(format!("Document {id} was written without its table."))
        })?;
        assert!(
            before
                .as_ref()
                .is_none_or(|before| before.ts <= self.snapshot.ts),
            "what is written over was seen in the snapshot"
        );
        let size = after.as_ref().map_or(0, Object::size);
        assert_eq!(size > 0, after.is_some(), "documents have some size");
        if let Some(document) = &after {
            if table.is_system() {
                Value::Object(document.clone()).check_limits()?;
            } else {
                value::document_limits(document)?;
            }
        }
        if !table.is_system() {
            self.usage.count_write(size, &self.limits)?;
            if self.largest.is_none_or(|(_, largest)| size > largest) {
                self.largest = Some((id, size));
            }
        }
        let catalog = self.catalog.clone();
        let after = after.map(Arc::new);
        let pending = self.writes.get(table.id, id.internal);
        if self.catalog.describes(table.id) {
            let old = match pending {
                Some(pending) => pending.after.as_ref(),
                None => before.as_ref().map(|stored| &stored.document),
            };
            Arc::make_mut(&mut self.catalog).apply(table.id, old, after.as_ref())?;
        }
        // What was there at the snapshot is known from the first write of a document.
        let before = match pending {
            Some(pending) if !planted(Bug::SecondWriteForgetsBefore) => pending.before.clone(),
            _ => before,
        };
        debug_assert!(self.depends_on_table(&table), "writers know the indexes");
        // A document inserted and deleted again leaves no trace.
        let write =
            (before.is_some() || after.is_some()).then_some(DocumentWrite { before, after });
        let write = self.writes.set(&table, id.internal, write);
        self.undo.push(Undo {
            table,
            id: id.internal,
            write,
            catalog,
        });
        self.check();
        Ok(())
    }

    /// What holds between any two steps.
    fn check(&self) {
        assert!(
            self.writes.len() <= self.undo.len(),
            "every write can be undone"
        );
        assert!(
            !self.undo.is_empty() || Arc::ptr_eq(&self.catalog, &self.snapshot.catalog),
            "without writes the catalog is the snapshot's"
        );
        assert!(
            self.tables.is_empty() || !self.reads.is_empty(),
            "looking up a table is reading"
        );
        let exists = |table| self.catalog.table_by_id(table).is_some();
        debug_assert!(self.writes.iter().all(|(table, ..)| exists(table)));
        debug_assert!(self.writes.iter().all(|(_, _, write)| {
            let before = write.before.as_ref();
            before.is_none_or(|before| before.ts <= self.snapshot.ts)
        }));
    }

    /// A point to roll back to.
    pub fn savepoint(&self) -> Savepoint {
        assert!(self.undo.len() >= self.writes.len());
        Savepoint {
            writes: self.undo.len(),
            usage: self.usage,
            largest: self.largest,
        }
    }

    /// Undoes all writes since `savepoint`: they count no more. What was read stays read: the decision to roll back may
    /// depend on it.
    pub fn rollback(&mut self, savepoint: Savepoint) {
        assert!(
            savepoint.writes <= self.undo.len(),
            "the savepoint is this transaction's, and was not rolled back"
        );
        let kept = savepoint.writes + usize::from(planted(Bug::RollbackKeepsOneWrite));
        if planted(Bug::RollbackForgetsReads) {
            self.reads = ReadSet::default();
        }
        while self.undo.len() > kept {
            let undo = self.undo.pop().expect("the length was just checked");
            self.writes.set(&undo.table, undo.id, undo.write);
            if !planted(Bug::RollbackKeepsCatalog) {
                self.catalog = undo.catalog;
            }
        }
        if !planted(Bug::RollbackKeepsUsage) {
            self.usage = self.usage.undone(savepoint.usage);
            self.largest = savepoint.largest;
        }
        self.check();
    }

    /// Ends the transaction: the read set alone if it wrote nothing, or the request to commit.
    pub fn finish(self) -> Finished {
        self.check();
        let reads = self.reads;
        if self.writes.is_empty() {
            return Finished::ReadOnly(reads);
        }
        let catalog = self.catalog;
        let mut unresolved = Vec::new();
        let writes = self
            .writes
            .iter()
            .enumerate()
            .map(|(place, (table, id, write))| {
                let definition = catalog.table_by_id(table).expect("written tables exist");
                let index_updates = all_index_updates(definition, write);
                let after = write.after.as_ref();
                if after.is_some_and(|document| !document.is_resolved()) {
                    let table = definition.clone();
                    let write = write.clone();
                    unresolved.push((place, UnresolvedWrite { table, write }));
                }
                PreparedWrite {
                    table,
                    id,
                    prev_ts: write.before.as_ref().map(|stored| stored.ts),
                    document: write
                        .after
                        .as_ref()
                        .map(|document| encode_document(document)),
                    index_updates,
                    catalog_change: catalog.describes(table).then(|| CatalogChange {
                        table,
                        old: write.before.as_ref().map(|stored| stored.document.clone()),
                        new: write.after.clone(),
                    }),
                }
            })
            .collect();
        let request = CommitRequest::new(self.snapshot.ts, reads, writes);
        Finished::Writes(request.with_unresolved(unresolved))
    }
}

/// How a transaction ended.
#[derive(Debug)]
pub enum Finished {
    /// It wrote nothing: it is serialised at its snapshot, nothing is left to do.
    ReadOnly(ReadSet),
    /// Its writes are to be committed.
    Writes(CommitRequest),
}

/// A write of a document that holds the timestamp of its own commit.
#[derive(Debug)]
pub struct UnresolvedWrite {
    table: Arc<Table>,
    write: DocumentWrite,
}

impl UnresolvedWrite {
    /// The stored form of the document and the changes of indexes, now that the timestamp is known.
    pub fn at(mut self, ts: Timestamp) -> (Option<Vec<u8>>, Vec<IndexUpdate>) {
        let document = self.write.after.as_mut();
        let document = Arc::make_mut(document.expect("only what is written holds a timestamp"));
        document.resolve(ts);
        debug_assert!(document.is_resolved());
        let stored = encode_document(document);
        (Some(stored), all_index_updates(&self.table, &self.write))
    }
}

/// The changes that a write makes to all indexes of its table.
fn all_index_updates(table: &Table, write: &DocumentWrite) -> Vec<IndexUpdate> {
    let maintained = table.indexes.iter();
    let updates: Vec<_> = maintained
        .filter(|index| !is_neglected(table, index))
        .flat_map(|index| index_updates(index, write))
        .collect();
    assert!(
        updates.len() <= 2 * table.indexes.len(),
        "an index loses one key and gains one"
    );
    assert!(
        write.after.is_none() || !updates.is_empty(),
        "every document can be found by its id"
    );
    updates
}

/// The changes that a write makes to one index: at most the end of the old key and the new key.
fn index_updates(
    index: &Index,
    write: &DocumentWrite,
) -> impl Iterator<Item = IndexUpdate> + use<> {
    let old = write
        .before
        .as_ref()
        .map(|stored| index.key(&stored.document));
    let new = write.after.as_ref().map(|document| index.key(document));
    if old.is_none() {
        assert!(new.is_some(), "a write has a before or an after");
    }
    let is_same = new.is_some() && new == old;
    let old = old.filter(|_| !is_same && !planted(Bug::OldKeyNotEnded));
    let new = new.filter(|_| !(is_same && planted(Bug::SameKeyNotRenewed)));
    debug_assert!(old.as_ref().is_none_or(|old| Some(old) != new.as_ref()));
    let index = index.id;
    let update = move |key, live| IndexUpdate { index, key, live };
    let ended = old.map(move |key| update(key, false));
    let begun = new.map(move |key| update(key, true));
    ended.into_iter().chain(begun)
}

/// Whether a planted defect keeps writes from an index.
fn is_neglected(table: &Table, index: &Arc<Index>) -> bool {
    let is_last = table
        .indexes
        .last()
        .is_some_and(|last| Arc::ptr_eq(last, index));
    let is_unfilled = index.state == IndexState::Backfilling;
    (is_last && planted(Bug::LastIndexNotMaintained))
        || (is_unfilled && planted(Bug::UnfilledNotMaintained))
}

/// Where `_tables.by_name` has the definition of a table, if there is one.
fn name_range(name: &str) -> KeyRange {
    KeyRange::prefix(key::encode_key(&[Some(&Value::from(name))]))
}

/// Whether the row is a revision of that document.
fn is_of(row: &Row, id: DocumentId) -> bool {
    row.document.get("_id") == Some(&Value::String(id.encode()))
}

fn stored(row: &Row) -> Option<Stored> {
    row.ts.map(|ts| Stored {
        ts,
        document: row.document.clone(),
    })
}

fn system_field(field: &str) -> Error {
    let code = if field == "_id" {
        "InvalidIdError"
    } else {
        "InvalidCreationTimeError"
    };
    Error::bad_request(
        code,
        format!(
            "The field `{field}` is set by the database and cannot be changed. Leave it out of the document."
        ),
    )
}

/// Ids from a seed: the time, and ten bytes of SHA-256 over seed and counter.
#[derive(Debug)]
struct IdGenerator {
    seed: [u8; 32],
    count: u64,
    millis: u64,
}

impl IdGenerator {
    fn new(seed: [u8; 32], now: Timestamp) -> Self {
        Self {
            seed,
            count: 0,
            millis: now.0 / 1_000_000,
        }
    }

    fn next(&mut self) -> InternalId {
        let hash = Sha256::new()
            .chain_update(self.seed)
            .chain_update(self.count.to_le_bytes())
            .finalize();
        self.count += 1;
        assert!(self.count > 0, "no hash is used twice");
        let mut random = [0; 10];
        random.copy_from_slice(&hash[..10]);
        InternalId::generate(self.millis, random)
    }
}
