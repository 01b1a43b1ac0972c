//! A transaction in progress: every step is taken in the core and in the model, and compared.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use concave_core::catalog::{Index, IndexState, Table, index_document, well_known};
use concave_core::persistence::{IndexId, KeyRange, Order, TableId};
use concave_core::transaction::{Row, Savepoint, Scan as CoreScan, ScanStep, Transaction, Usage};
use concave_core::value::FieldPath;
use concave_core::{DocumentId, Object, Timestamp, Value, key};
use fastrand::Rng;

use super::mix::{Mix, Operation};
use super::model::{By, Content, Definition, DocNo, Model, Overlay, Scan, Step, TableNo};
use super::report::{Event, Report};
use super::store::Store;

/// Names of the tables that a loop can have.
pub const TABLES: [&str; 8] = [
    "accounts", "lists", "counters", "unique", "queue", "rows", "extra0", "extra1",
];

/// What all transactions of a loop share.
pub struct Space {
    /// All choices come from here.
    pub rng: Rng,
    /// What the seed drew.
    pub mix: Mix,
    /// Counts.
    pub report: Report,
    /// What must be seen.
    pub model: Model,
    /// What is stored.
    pub store: Store,
    /// The last document's number.
    pub docs: DocNo,
    /// The last version's number.
    pub writes: u32,
    /// Keys of the lists in use.
    pub lists: Vec<i64>,
    /// Indexes that have been filled.
    pub filled: BTreeSet<IndexId>,
}

/// A consequence of a transaction that is tallied if it commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A number grew by one.
    Incremented,
    /// An item left the queue.
    Dequeued(i64),
    /// A list, by key, was read.
    ReadList(i64, Vec<i64>),
    /// A list, by key, was appended to.
    Appended(i64, i64),
    /// An index is to be filled.
    AddedIndex(TableNo, IndexId),
}

/// A transaction.
pub struct Running {
    /// Its number in the loop.
    pub number: u32,
    /// What it does.
    pub operation: Operation,
    /// The transaction itself.
    pub tx: Transaction,
    /// Whether the log must reach back to its snapshot.
    pub pinned: bool,
    /// What it wrote.
    pub own: Overlay,
    /// All that it did.
    pub steps: Vec<Step>,
    /// What it read, as far as it was told: what its read set must be.
    pub reads: Vec<(IndexId, KeyRange)>,
    /// What its committing means.
    pub effects: Vec<Effect>,
    /// Steps that it still wants to take.
    pub steps_left: u32,
    savepoints: Vec<(Savepoint, Overlay, Usage)>,
    /// `_creationTime` of its next document.
    created: f64,
    looked_up: BTreeSet<TableNo>,
}

impl Running {
    /// Begins.
    pub fn new(
        number: u32,
        operation: Operation,
        tx: Transaction,
        now: Timestamp,
        pinned: bool,
    ) -> Self {
        Self {
            created: now.max(tx.snapshot_ts()).as_millis_f64(),
            number,
            operation,
            tx,
            pinned,
            own: Overlay::default(),
            steps: Vec::new(),
            reads: Vec::new(),
            effects: Vec::new(),
            steps_left: 1,
            savepoints: Vec::new(),
            looked_up: BTreeSet::new(),
        }
    }

    /// What it reads at.
    pub fn at(&self) -> Timestamp {
        self.tx.snapshot_ts()
    }

    /// Looks up a table.
    pub fn table(&mut self, space: &Space, no: TableNo) -> Option<Arc<Table>> {
        let table = self.tx.table(TABLES[no]);
        let seen = table.as_deref().map(definition);
        let expected = space.model.definition(no, self.at(), &self.own);
        assert_eq!(seen.as_ref(), expected, "indexes of {}", TABLES[no]);
        if self.looked_up.insert(no) || self.own.definitions.contains_key(&no) {
            self.depend(&table, no);
            self.steps.push(Step::Table(no, seen));
        }
        table
    }

    fn depend(&mut self, table: &Option<Arc<Table>>, no: TableNo) {
        self.read_name(TABLES[no]);
        if let Some(table) = table {
            self.read_indexes(table.id);
        }
    }

    fn read_name(&mut self, name: &str) {
        let range = KeyRange::prefix(name_prefix(name));
        self.reads.push((well_known::TABLES_BY_NAME, range));
    }

    fn read_indexes(&mut self, table: TableId) {
        let range = KeyRange::prefix(table_prefix(table));
        self.reads.push((well_known::INDEXES_BY_TABLE, range));
    }

    fn read_system_table(&mut self, name: &str, id: TableId) {
        self.read_name(name);
        self.read_indexes(id);
    }

    /// Reads a range; gives the rows with their versions. Nothing if there is no such table or index.
    pub fn scan(&mut self, space: &mut Space, scan: Scan) -> Vec<(Row, Rc<Content>)> {
        self.scan_beside(space, scan, |_, _, _| {})
    }

    /// Reads a range and does something after each row. What it writes does not change what is read.
    pub fn scan_beside(
        &mut self,
        space: &mut Space,
        scan: Scan,
        mut after: impl FnMut(&mut Self, &mut Space, &(Row, Rc<Content>)),
    ) -> Vec<(Row, Rc<Content>)> {
        let Some(table) = self.table(space, scan.table) else {
            return Vec::new();
        };
        let Some(index) = table
            .index(scan.by.name())
            .filter(|index| index.is_readable())
        else {
            return Vec::new();
        };
        let expected = space.model.scan(&scan, self.at(), &self.own);
        let bound = |value| key::encode_key(&[Some(&Value::Int64(value))]);
        let range = match &scan.bounds {
            None => KeyRange::all(),
            Some(bounds) => KeyRange {
                start: bound(bounds.start),
                end: Some(bound(bounds.end)),
            },
        };
        let range = match &scan.beyond {
            None => range,
            Some(last) => range.beyond(&last.index_key(scan.by), scan.order),
        };
        let seen = expected.iter().map(|(_, content)| content.write);
        self.steps.push(Step::Scan(scan.clone(), seen.collect()));
        let mut core = CoreScan::new(index.id, range.clone(), scan.order, scan.limit);
        let mut rows = Vec::with_capacity(expected.len());
        let mut ended = false;
        while rows.len() < scan.limit && !ended {
            match self.next(space, &mut core) {
                None => ended = true,
                Some(row) => {
                    let (ts, content) = expected.get(rows.len()).expect("no row too many");
                    compare(&row, *ts, content, scan.by);
                    let row = (row, content.clone());
                    after(self, space, &row);
                    rows.push(row);
                }
            }
        }
        assert_eq!(rows.len(), expected.len(), "no row is missing: {scan:?}");
        let consumed = match rows.last() {
            Some((row, _)) if !ended => {
                space.report.count(Event::Limited);
                match scan.order {
                    Order::Ascending => KeyRange {
                        start: range.start,
                        end: Some([&row.key[..], &[0]].concat()),
                    },
                    Order::Descending => KeyRange {
                        start: row.key.clone(),
                        end: range.end,
                    },
                }
            }
            _ => range,
        };
        self.reads.push((index.id, consumed));
        space.report.count(match scan.order {
            Order::Ascending => Event::Forward,
            Order::Descending => Event::Backward,
        });
        rows
    }

    /// Feeds a scan until it gives a row.
    fn next(&mut self, space: &mut Space, scan: &mut CoreScan) -> Option<Row> {
        loop {
            match scan.next(&mut self.tx).expect("no limit is exceeded") {
                ScanStep::Row(row) => {
                    space.report.count(Event::Row);
                    return Some(row);
                }
                ScanStep::Done => return None,
                ScanStep::Read(mut read) => {
                    assert_eq!(read.at, self.at(), "all reads are at the snapshot");
                    if space.rng.f64() < space.mix.short_pages {
                        space.report.count(Event::ShortPage);
                        read.limit = space.rng.usize(1..=read.limit.min(3));
                    }
                    let mut page = space.store.read(&read);
                    if !page.rows.is_empty() && space.rng.f64() < space.mix.short_pages {
                        page.exhausted = false;
                    }
                    scan.supply(page).expect("stored documents are sound");
                }
            }
        }
    }

    /// Reads a document by id.
    pub fn get(
        &mut self,
        space: &mut Space,
        no: TableNo,
        doc: DocNo,
        id: DocumentId,
    ) -> Option<(Row, Rc<Content>)> {
        let table = self.tx.table_by_number(id.table);
        let expected = space.model.get(no, doc, self.at(), &self.own);
        let write = expected.as_ref().map(|(_, content)| content.write);
        self.steps.push(Step::Get(no, doc, write));
        let present = space.model.definition(no, self.at(), &self.own).is_some();
        assert_eq!(table.is_some(), present, "table {}", TABLES[no]);
        let Some(table) = table else {
            self.reads
                .push((well_known::TABLES_BY_NAME, KeyRange::all()));
            space.report.count(Event::Absence);
            return None;
        };
        self.depend(&Some(table.clone()), no);
        let key = key::encode_key(&[Some(&Value::String(id.encode()))]);
        let range = KeyRange::point(key);
        self.reads.push((table.by_id().id, range.clone()));
        let mut scan = CoreScan::new(table.by_id().id, range, Order::Ascending, 1);
        let row = self.next(space, &mut scan);
        assert_eq!(row.is_some(), expected.is_some(), "document {id}");
        let Some((row, (ts, content))) = row.zip(expected) else {
            space.report.count(Event::Absence);
            return None;
        };
        compare(&row, ts, &content, By::Id);
        Some((row, content))
    }

    /// Inserts a document, into a table that is there.
    pub fn insert(&mut self, space: &mut Space, no: TableNo, key: i64, value: Value) -> DocumentId {
        let table = self.table(space, no).expect("the table is there");
        let group = space.rng.i64(0..4);
        let mut document = space.document(key, group, value);
        let id = self
            .tx
            .insert(&table, document.clone())
            .expect("it is within all limits");
        assert_eq!(id.table, table.number);
        let created = self.count_created(1);
        document.insert_unchecked("_id", Value::String(id.encode()));
        document.insert_unchecked("_creationTime", Value::Float64(created));
        space.docs += 1;
        let doc = space.docs;
        self.put(space, no, doc, id, created, document);
        space.report.count(Event::Insert);
        id
    }

    /// Replaces a row that was just read.
    pub fn replace(
        &mut self,
        space: &mut Space,
        no: TableNo,
        (row, old): &(Row, Rc<Content>),
        key: i64,
        value: Value,
    ) {
        let group = space.rng.i64(0..4);
        let mut document = space.document(key, group, value);
        let written = self.tx.replace(old.id, row, document.clone());
        let written = written.expect("it is within all limits");
        document.insert_unchecked("_id", Value::String(old.text.clone()));
        document.insert_unchecked("_creationTime", Value::Float64(old.created));
        assert_eq!(*written, document, "what was written");
        self.put(space, no, old.doc, old.id, old.created, document);
        space.report.count(Event::Replace);
    }

    fn put(
        &mut self,
        space: &Space,
        no: TableNo,
        doc: DocNo,
        id: DocumentId,
        created: f64,
        document: Object,
    ) {
        let number = |field| document.get(field).and_then(Value::as_i64);
        let content = Rc::new(Content {
            doc,
            write: space.writes,
            id,
            text: id.encode(),
            created,
            key: number("key").expect("every document has a key"),
            group: number("group").expect("every document has a group"),
            document: Arc::new(document),
        });
        let entry = (no, doc);
        self.own.documents.insert(entry, Some(content.clone()));
        self.steps.push(Step::Put(no, content));
    }

    /// Deletes a row that was just read.
    pub fn delete(&mut self, space: &mut Space, no: TableNo, (row, old): &(Row, Rc<Content>)) {
        self.tx
            .delete(old.id, row)
            .expect("it is within all limits");
        self.own.documents.insert((no, old.doc), None);
        self.steps.push(Step::Delete(no, old.doc));
        space.report.count(Event::Delete);
    }

    /// Creates a table with an index by key.
    pub fn create(&mut self, space: &Space, no: TableNo) {
        assert!(self.table(space, no).is_none());
        let table = self.tx.ensure_table(TABLES[no]).expect("the name is legal");
        self.read_all_definitions();
        self.read_system_table("_tables", well_known::TABLES);
        self.read_system_table("_indexes", well_known::INDEXES);
        self.depend(&Some(table.clone()), no);
        self.count_created(1 + table.indexes.len());
        self.own.touch_table(TABLES[no], table.id);
        let mut indexes = definition(&table);
        let kinds: Vec<_> = indexes.iter().map(|(_, by, state)| (*by, *state)).collect();
        let ready = IndexState::Ready;
        assert_eq!(kinds, [(By::Id, ready), (By::Creation, ready)]);
        let id = self.insert_index(table.id, By::Key, ready);
        indexes.push((id, By::Key, ready));
        self.define(no, indexes);
    }

    /// Begins a new index of a table that is there and does not have it.
    pub fn add_index(&mut self, table: &Table, no: TableNo) -> IndexId {
        let mut indexes = definition(table);
        let id = self.insert_index(table.id, By::Group, IndexState::Backfilling);
        indexes.push((id, By::Group, IndexState::Backfilling));
        self.define(no, indexes);
        id
    }

    fn insert_index(&mut self, table: TableId, by: By, state: IndexState) -> IndexId {
        let fields = by.fields().iter().map(|name| FieldPath::parse(name));
        let index = Index {
            id: self.tx.allocate_index(),
            table,
            name: by.name().into(),
            fields: fields
                .collect::<Result<_, _>>()
                .expect("fields have legal names"),
            state,
            staged: false,
        };
        let inserted = self.tx.insert_system("_indexes", index_document(&index));
        inserted.expect("it is within all limits");
        self.count_created(1);
        self.reads
            .push((well_known::INDEXES_BY_TABLE, KeyRange::all()));
        self.read_system_table("_indexes", well_known::INDEXES);
        self.own.touch_indexes(table);
        index.id
    }

    /// Gives an index another state.
    pub fn set_index(&mut self, space: &mut Space, table: &Table, no: TableNo, state: IndexState) {
        let index = table.index(By::Group.name()).expect("the index is there");
        let range = KeyRange::prefix(table_prefix(table.id));
        let mut scan =
            CoreScan::new(well_known::INDEXES_BY_TABLE, range, Order::Ascending, 8).uncounted();
        let id = Some(&Value::Int64(index.id.0.into()));
        let mut found = None;
        let mut seen = 0;
        while let Some(row) = self.next(space, &mut scan) {
            seen += 1;
            if row.document.get("indexId") == id {
                found = Some(row);
            }
        }
        assert!(seen >= table.indexes.len(), "every index has its document");
        let row = found.expect("the index has its document");
        let text = row.document.get("_id").and_then(Value::as_str);
        let id = text
            .and_then(DocumentId::decode)
            .expect("documents have ids");
        let changed = Index {
            state,
            ..Index::clone(index)
        };
        let written = self.tx.replace(id, &row, index_document(&changed));
        written.expect("it is within all limits");
        self.read_system_table("_indexes", well_known::INDEXES);
        self.own.touch_indexes(table.id);
        let mut indexes = definition(table);
        indexes.retain(|(id, _, _)| *id != index.id);
        if state != IndexState::Dropped {
            indexes.push((index.id, By::Group, state));
            indexes.sort_by_key(|(id, _, _)| *id);
        }
        self.define(no, indexes);
    }

    fn define(&mut self, no: TableNo, definition: Definition) {
        self.own.definitions.insert(no, definition.clone());
        self.steps.push(Step::Define(no, definition));
    }

    fn read_all_definitions(&mut self) {
        self.reads
            .push((well_known::TABLES_BY_NAME, KeyRange::all()));
        self.reads
            .push((well_known::INDEXES_BY_TABLE, KeyRange::all()));
    }

    /// Creation times that were given; the first of them.
    fn count_created(&mut self, count: usize) -> f64 {
        let first = self.created;
        for _ in 0..count {
            self.created = self.created.next_up();
        }
        first
    }

    /// Marks a point to go back to.
    pub fn savepoint(&mut self) {
        let own = self.own.clone();
        self.savepoints
            .push((self.tx.savepoint(), own, self.tx.usage()));
        self.steps.push(Step::Savepoint);
    }

    /// Goes back to the last such point, if there is one.
    pub fn roll_back(&mut self, space: &mut Space) {
        if let Some((savepoint, own, before)) = self.savepoints.pop() {
            let used = self.tx.usage();
            self.tx.rollback(savepoint);
            self.own = own;
            let after = self.tx.usage();
            let written = |usage: Usage| (usage.documents_written, usage.bytes_written);
            assert_eq!(
                written(after),
                written(before),
                "what is undone does not count"
            );
            assert_eq!(after.documents_read, used.documents_read);
            self.steps.push(Step::RollBack);
            space.report.count(Event::RollBack);
        }
    }

    /// Index keys that committing it begins or ends, ascending. Those of the catalog's indexes stand for themselves by
    /// their beginnings.
    pub fn written(&self, model: &Model) -> Vec<(IndexId, Vec<u8>)> {
        let mut keys: Vec<_> = self.own.system.iter().cloned().collect();
        let nothing = Overlay::default();
        for ((table, doc), after) in &self.own.documents {
            let before = model.get(*table, *doc, self.at(), &nothing);
            let before = before.map(|(_, content)| content);
            let definition = model.definition(*table, self.at(), &self.own);
            for content in before.iter().chain(after) {
                for (index, by, _) in definition.expect("written tables exist") {
                    keys.push((*index, content.index_key(*by)));
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Compares the core's read set with what was read.
    pub fn check_reads(&self) {
        let core: Vec<_> = self.tx.reads().ranges().collect();
        let expected = union(self.reads.clone());
        assert_eq!(core, expected, "the read set is what was read");
    }
}

impl Space {
    fn document(&mut self, key: i64, group: i64, value: Value) -> Object {
        self.writes += 1;
        let padding = "p".repeat(self.rng.usize(..=self.mix.padding));
        let mut document = Object::new();
        document.insert_unchecked("group", Value::Int64(group));
        document.insert_unchecked("key", Value::Int64(key));
        document.insert_unchecked("padding", Value::String(padding));
        document.insert_unchecked("value", value);
        document.insert_unchecked("write", Value::Int64(self.writes.into()));
        document
    }

    /// A key of a row; half of them are negative.
    pub fn key(&mut self) -> i64 {
        let keys = usize::try_from(self.mix.keys).expect("keys are counted from 1");
        let key = self.mix.one_of(&mut self.rng, keys);
        i64::try_from(key).expect("keys are few") - self.mix.keys / 2
    }

    /// Some keys in a row.
    pub fn keys(&mut self) -> Range<i64> {
        let start = self.key();
        start..start + 1 + self.rng.i64(0..=self.mix.keys)
    }
}

impl Overlay {
    fn touch_table(&mut self, name: &str, table: TableId) {
        self.system
            .insert((well_known::TABLES_BY_NAME, name_prefix(name)));
        self.touch_indexes(table);
    }

    fn touch_indexes(&mut self, table: TableId) {
        self.system
            .insert((well_known::INDEXES_BY_TABLE, table_prefix(table)));
    }
}

/// What the model knows of a table.
fn definition(table: &Table) -> Definition {
    let by = |name: &str| By::ALL.into_iter().find(|by| by.name() == name);
    let indexes = table.indexes.iter().map(|index| {
        let by = by(&index.name).expect("indexes have the names that they were given");
        let fields = index.fields.iter().map(ToString::to_string);
        assert!(fields.eq(by.fields().iter().map(|field| (*field).to_owned())));
        (index.id, by, index.state)
    });
    indexes.collect()
}

fn name_prefix(name: &str) -> Vec<u8> {
    key::encode_key(&[Some(&Value::from(name))])
}

fn table_prefix(table: TableId) -> Vec<u8> {
    key::encode_key(&[Some(&Value::Int64(table.0.into()))])
}

fn compare(row: &Row, ts: Option<Timestamp>, content: &Content, by: By) {
    assert_eq!(row.document, content.document, "the row by {by:?}");
    assert_eq!(row.ts, ts, "when {} was committed", content.text);
    assert_eq!(row.key, content.index_key(by), "key of {}", content.text);
}

/// The same ranges, ascending, without overlaps and seams.
pub fn union(mut ranges: Vec<(IndexId, KeyRange)>) -> Vec<(IndexId, KeyRange)> {
    ranges.retain(|(_, range)| !range.is_empty());
    ranges.sort_unstable();
    let mut union: Vec<(IndexId, KeyRange)> = Vec::with_capacity(ranges.len());
    for (index, range) in ranges {
        match union.last_mut() {
            Some((last_index, last))
                if *last_index == index
                    && last.end.as_ref().is_none_or(|end| *end >= range.start) =>
            {
                let longer = match (&last.end, &range.end) {
                    (Some(end), Some(other)) => other > end,
                    (last, other) => last.is_some() && other.is_none(),
                };
                if longer {
                    last.end = range.end;
                }
            }
            _ => union.push((index, range)),
        }
    }
    union
}
