//! The database as simple as it can be, with versions: documents by number, read by looking at all of them.
//!
//! It knows what the order of an index is, not how the core keeps it. Index keys are made here from the fields that
//! the loop's indexes are defined to have, so that keys that the core forgets, or adds, show.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use concave_core::catalog::IndexState;
use concave_core::persistence::{IndexId, Order};
use concave_core::{DocumentId, Object, Timestamp, Value, key};

/// Position of a table among those that a loop can have.
pub type TableNo = usize;
/// Names a document over all tables; never reused.
pub type DocNo = u32;

/// The indexes that a table has or can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// `by_id`.
    Id,
    /// `by_creation_time`.
    Creation,
    /// `by_key`.
    Key,
    /// `by_group`, which comes and goes.
    Group,
}

impl By {
    /// All of them.
    pub const ALL: [By; 4] = [By::Id, By::Creation, By::Key, By::Group];

    /// The index's name.
    pub fn name(self) -> &'static str {
        match self {
            By::Id => "by_id",
            By::Creation => "by_creation_time",
            By::Key => "by_key",
            By::Group => "by_group",
        }
    }

    /// The fields of its keys.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            By::Id => &["_id"],
            By::Creation => &["_creationTime", "_id"],
            By::Key => &["key", "_creationTime", "_id"],
            By::Group => &["group", "key", "_creationTime", "_id"],
        }
    }
}

/// A table's indexes, those dropped left out, by id.
pub type Definition = Vec<(IndexId, By, IndexState)>;

/// One version of a document.
#[derive(Debug)]
pub struct Content {
    /// The document.
    pub doc: DocNo,
    /// Names this version, over all documents; never reused.
    pub write: u32,
    /// Its id.
    pub id: DocumentId,
    /// Its id as text.
    pub text: String,
    /// When it was created.
    pub created: f64,
    /// The field `key`.
    pub key: i64,
    /// The field `group`.
    pub group: i64,
    /// Everything, system fields included.
    pub document: Arc<Object>,
}

impl Content {
    /// Its key in an index.
    pub fn index_key(&self, by: By) -> Vec<u8> {
        let fields = by.fields().iter().map(|name| self.document.get(name));
        key::encode_key(&fields.collect::<Vec<_>>())
    }

    /// The order of an index, by value.
    fn compare(&self, other: &Self, by: By) -> Ordering {
        let time = || self.created.total_cmp(&other.created);
        let id = || self.text.cmp(&other.text);
        let key = || self.key.cmp(&other.key);
        match by {
            By::Id => id(),
            By::Creation => time().then_with(id),
            By::Key => key().then_with(time).then_with(id),
            By::Group => {
                let group = self.group.cmp(&other.group);
                group.then_with(key).then_with(time).then_with(id)
            }
        }
    }

    fn is_within(&self, by: By, bounds: &Option<Range<i64>>) -> bool {
        let field = match by {
            By::Id | By::Creation => return true,
            By::Key => self.key,
            By::Group => self.group,
        };
        bounds.as_ref().is_none_or(|bounds| bounds.contains(&field))
    }

    /// The field `value` as a number.
    pub fn number(&self) -> i64 {
        let number = self.document.get("value").and_then(Value::as_i64);
        number.expect("the value is a number")
    }
}

/// A document with its versions, oldest first; `None` where it is deleted.
#[derive(Debug)]
pub struct Doc {
    /// Its number.
    pub number: DocNo,
    /// Its id.
    pub id: DocumentId,
    versions: Vec<(Timestamp, Option<Rc<Content>>)>,
}

impl Doc {
    /// What it is at a timestamp, and since when.
    pub fn at(&self, ts: Timestamp) -> Option<(Timestamp, &Rc<Content>)> {
        let version = self.versions.iter().rev().find(|(at, _)| *at <= ts);
        version.and_then(|(at, content)| Some((*at, content.as_ref()?)))
    }
}

/// What a transaction has written.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Documents by table and number.
    pub documents: BTreeMap<(TableNo, DocNo), Option<Rc<Content>>>,
    /// Tables created and changed.
    pub definitions: BTreeMap<TableNo, Definition>,
    /// Beginnings of the keys that this changes in the catalog's indexes.
    pub system: BTreeSet<(IndexId, Vec<u8>)>,
}

/// A row found: when it was committed (`None`: by the transaction itself), and the version.
pub type Found = (Option<Timestamp>, Rc<Content>);

/// A read of a range.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table.
    pub table: TableNo,
    /// The index.
    pub by: By,
    /// Values of the index's first field; everything if `None`.
    pub bounds: Option<Range<i64>>,
    /// From which end.
    pub order: Order,
    /// Only what comes after this one in that order: the next page.
    pub beyond: Option<Rc<Content>>,
    /// At most so many rows.
    pub limit: usize,
}

/// All tables, with versions.
#[derive(Debug, Default)]
pub struct Model {
    tables: Vec<Table>,
}

#[derive(Debug, Default)]
struct Table {
    definitions: Vec<(Timestamp, Definition)>,
    docs: Vec<Doc>,
}

impl Model {
    /// No tables yet, and room for `count`.
    pub fn new(count: usize) -> Self {
        Self {
            tables: std::iter::repeat_with(Table::default).take(count).collect(),
        }
    }

    /// A table's indexes; `None` if there is no such table.
    pub fn definition<'a>(
        &'a self,
        table: TableNo,
        at: Timestamp,
        own: &'a Overlay,
    ) -> Option<&'a Definition> {
        own.definitions.get(&table).or_else(|| {
            let versions = self.tables[table].definitions.iter().rev();
            versions
                .into_iter()
                .find(|(ts, _)| *ts <= at)
                .map(|(_, definition)| definition)
        })
    }

    /// A document.
    pub fn get(&self, table: TableNo, doc: DocNo, at: Timestamp, own: &Overlay) -> Option<Found> {
        if let Some(own) = own.documents.get(&(table, doc)) {
            return own.clone().map(|content| (None, content));
        }
        let (ts, content) = self.doc(table, doc)?.at(at)?;
        Some((Some(ts), content.clone()))
    }

    /// The rows of a range.
    pub fn scan(&self, scan: &Scan, at: Timestamp, own: &Overlay) -> Vec<Found> {
        let mut found = Vec::new();
        let compare = |a: &Content, b: &Content| match scan.order {
            Order::Ascending => a.compare(b, scan.by),
            Order::Descending => b.compare(a, scan.by),
        };
        let within = |content: &Content| {
            let last = scan.beyond.as_ref();
            content.is_within(scan.by, &scan.bounds)
                && last.is_none_or(|last| compare(content, last).is_gt())
        };
        for doc in &self.tables[scan.table].docs {
            if let Some((ts, content)) = doc.at(at)
                && within(content)
                && !own.documents.contains_key(&(scan.table, doc.number))
            {
                found.push((Some(ts), content.clone()));
            }
        }
        let own = own.documents.range((scan.table, 0)..(scan.table + 1, 0));
        for content in own.filter_map(|(_, content)| content.as_ref()) {
            if within(content) {
                found.push((None, content.clone()));
            }
        }
        found.sort_unstable_by(|(_, a), (_, b)| compare(a, b));
        found.truncate(scan.limit);
        found
    }

    /// All documents of a table that are remembered, deleted ones included, oldest first.
    pub fn docs(&self, table: TableNo) -> &[Doc] {
        &self.tables[table].docs
    }

    /// Makes writes visible from `ts` on.
    pub fn commit(&mut self, ts: Timestamp, writes: &Overlay) {
        for (table, definition) in &writes.definitions {
            let definitions = &mut self.tables[*table].definitions;
            definitions.push((ts, definition.clone()));
        }
        for ((table, number), content) in &writes.documents {
            let docs = &mut self.tables[*table].docs;
            match docs.binary_search_by_key(number, |doc| doc.number) {
                Ok(position) => docs[position].versions.push((ts, content.clone())),
                Err(position) => {
                    // Inserted and deleted again: it never was.
                    let Some(content) = content else { continue };
                    let doc = Doc {
                        number: *number,
                        id: content.id,
                        versions: vec![(ts, Some(content.clone()))],
                    };
                    docs.insert(position, doc);
                }
            }
        }
    }

    /// Forgets what nobody who reads at `oldest` or later sees.
    pub fn prune(&mut self, oldest: Timestamp) {
        for table in &mut self.tables {
            table.docs.retain_mut(|doc| {
                let seen = doc.versions.iter().rposition(|(ts, _)| *ts <= oldest);
                if let Some(seen) = seen {
                    let ended = doc.versions[seen].1.is_none();
                    doc.versions.drain(..seen + usize::from(ended));
                }
                !doc.versions.is_empty()
            });
        }
    }

    fn doc(&self, table: TableNo, number: DocNo) -> Option<&Doc> {
        let docs = &self.tables[table].docs;
        let position = docs.binary_search_by_key(&number, |doc| doc.number).ok()?;
        Some(&docs[position])
    }
}

/// One thing that a transaction did, as far as replaying it needs it.
#[derive(Debug)]
pub enum Step {
    /// It looked up a table and saw these indexes.
    Table(TableNo, Option<Definition>),
    /// It read a range and saw these versions.
    Scan(Scan, Vec<u32>),
    /// It read a document and saw this version.
    Get(TableNo, DocNo, Option<u32>),
    /// It inserted or replaced a document.
    Put(TableNo, Rc<Content>),
    /// It deleted a document.
    Delete(TableNo, DocNo),
    /// It created or changed a table.
    Define(TableNo, Definition),
    /// It marked a point to go back to.
    Savepoint,
    /// It went back to the last such point.
    RollBack,
}

/// Does again, at `at`, what a transaction did, and compares everything it saw.
pub fn replay(steps: &[Step], model: &Model, at: Timestamp) -> Result<(), String> {
    let mut own = Overlay::default();
    let mut savepoints = Vec::new();
    for (position, step) in steps.iter().enumerate() {
        let same = match step {
            Step::Table(table, seen) => model.definition(*table, at, &own) == seen.as_ref(),
            Step::Scan(scan, seen) => {
                let found = model.scan(scan, at, &own);
                let found = found.iter().map(|(_, content)| &content.write);
                found.eq(seen)
            }
            Step::Get(table, doc, seen) => {
                let found = model.get(*table, *doc, at, &own);
                found.map(|(_, content)| content.write) == *seen
            }
            Step::Put(table, content) => {
                let entry = (*table, content.doc);
                own.documents.insert(entry, Some(content.clone()));
                true
            }
            Step::Delete(table, doc) => {
                own.documents.insert((*table, *doc), None);
                true
            }
            Step::Define(table, definition) => {
                own.definitions.insert(*table, definition.clone());
                true
            }
            Step::Savepoint => {
                savepoints.push(own.clone());
                true
            }
            Step::RollBack => {
                own = savepoints.pop().expect("there was a savepoint");
                true
            }
        };
        if !same {
            return Err(format!(
                "step {position}, {step:?}, sees something else at {}",
                at.0
            ));
        }
    }
    Ok(())
}
