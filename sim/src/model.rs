//! The database as simple as it can be: documents by table and id, queries by looking at all of them.
//!
//! Nothing here knows of index keys, timestamps of reads, or encodings, so that a defect there cannot be shared.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use concave_core::persistence::Order;
use concave_core::{Object, Timestamp, Value};

use crate::history::Step;
use crate::report::Report;

/// A document and when it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The commit; [`Timestamp::ZERO`] while it is being replayed.
    pub ts: Timestamp,
    /// The content.
    pub document: Arc<Object>,
}

/// Documents by id.
type Documents = BTreeMap<String, Stored>;

/// The database at one timestamp.
#[derive(Clone, Debug, Default)]
pub struct Model {
    tables: BTreeMap<String, Documents>,
}

/// What a replayed transaction wrote: table, id, and the document before.
pub type Written = BTreeMap<(String, String), Option<Stored>>;

enum Undo {
    Table(String),
    Document(String, String, Option<Stored>),
}

impl Model {
    /// Replays a transaction, comparing everything that it read, and leaves the model as it was.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&mut self, steps: &[Step], report: &mut Report) -> Result<(), String> {
        let (undo, result) = self.replay(steps, report);
        self.undo(undo);
        result
    }

    /// Replays a transaction that committed at `ts`, comparing everything that it read, and gives what it wrote.
    ///
    /// # Errors
    /// What differs.
    pub fn commit(
        &mut self,
        ts: Timestamp,
        steps: &[Step],
        report: &mut Report,
    ) -> Result<Written, String> {
        let (undo, result) = self.replay(steps, report);
        result?;
        let mut written = Written::new();
        for entry in undo {
            if let Undo::Document(table, id, before) = entry {
                // The first entry of a document tells what was there before the transaction.
                written.entry((table, id)).or_insert(before);
            }
        }
        // Inserted and deleted again: never written.
        written.retain(|(table, id), before| before.is_some() || self.get(table, id).is_some());
        for (table, id) in written.keys() {
            let stored = self.tables.get_mut(table).and_then(|rows| rows.get_mut(id));
            if let Some(stored) = stored {
                stored.ts = ts;
            }
        }
        Ok(written)
    }

    /// A document.
    pub fn get(&self, table: &str, id: &str) -> Option<&Stored> {
        self.tables.get(table)?.get(id)
    }

    /// All documents of a table.
    pub fn documents(&self, table: &str) -> impl Iterator<Item = &Stored> {
        self.tables
            .get(table)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// Names of all tables.
    pub fn tables(&self) -> BTreeSet<&str> {
        self.tables.keys().map(String::as_str).collect()
    }

    fn scan(&self, table: &str, keys: &Range<i64>, order: Order, limit: usize) -> Vec<Arc<Object>> {
        let mut found: Vec<_> = self
            .documents(table)
            .map(|stored| &stored.document)
            .filter(|document| keys.contains(&key(document)))
            .cloned()
            .collect();
        let time = |document: &Object| document.get("_creationTime").and_then(Value::as_f64);
        let id = |document: &Object| {
            document
                .get("_id")
                .and_then(Value::as_str)
                .map(String::from)
        };
        found.sort_by(|a, b| {
            key(a)
                .cmp(&key(b))
                .then_with(|| time(a).partial_cmp(&time(b)).expect("times are numbers"))
                .then_with(|| id(a).cmp(&id(b)))
        });
        if order == Order::Descending {
            found.reverse();
        }
        found.truncate(limit);
        found
    }

    /// Replays as far as what was read agrees.
    fn replay(&mut self, steps: &[Step], report: &mut Report) -> (Vec<Undo>, Result<(), String>) {
        let mut undo = Vec::new();
        let mut savepoints = Vec::new();
        for (position, step) in steps.iter().enumerate() {
            if let Err(difference) = self.step(step, &mut undo, &mut savepoints, report) {
                return (undo, Err(format!("step {position}: {difference}")));
            }
        }
        (undo, Ok(()))
    }

    fn step(
        &mut self,
        step: &Step,
        undo: &mut Vec<Undo>,
        savepoints: &mut Vec<usize>,
        report: &mut Report,
    ) -> Result<(), String> {
        match step {
            Step::Table { name, present } => {
                if self.tables.contains_key(name) != *present {
                    return Err(format!("table {name} was seen as present: {present}"));
                }
                report.absences_checked += u64::from(!present);
            }
            Step::Scan {
                table,
                keys,
                order,
                limit,
                rows,
            } => {
                let expected = self.scan(table, keys, *order, *limit);
                if *rows != expected {
                    return Err(format!(
                        "{table} {keys:?} {order:?} limit {limit} gave\n{}\ninstead of\n{}",
                        list(rows),
                        list(&expected)
                    ));
                }
                report.rows_checked += rows.len() as u64;
                report.absences_checked += u64::from(rows.len() < *limit);
            }
            Step::Get { table, id, found } => {
                let expected = self.get(table, id).map(|stored| &stored.document);
                if found.as_ref() != expected {
                    return Err(format!("{id} was {found:?} instead of {expected:?}"));
                }
                report.rows_checked += u64::from(found.is_some());
                report.absences_checked += u64::from(found.is_none());
            }
            Step::Create { table } => {
                let old = self.tables.insert(table.clone(), Documents::new());
                if old.is_some() {
                    return Err(format!("table {table} was created twice"));
                }
                undo.push(Undo::Table(table.clone()));
            }
            Step::Put { table, document } => {
                let id = document
                    .get("_id")
                    .and_then(Value::as_str)
                    .ok_or("a document without id was written")?;
                self.set(table, id, Some(document.clone()), undo)?;
            }
            Step::Delete { table, id } => self.set(table, id, None, undo)?,
            Step::Savepoint => savepoints.push(undo.len()),
            Step::RollBack => {
                let savepoint = savepoints.pop().ok_or("rolled back to nowhere")?;
                let undone = undo.split_off(savepoint);
                self.undo(undone);
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        table: &str,
        id: &str,
        document: Option<Arc<Object>>,
        undo: &mut Vec<Undo>,
    ) -> Result<(), String> {
        let documents = self
            .tables
            .get_mut(table)
            .ok_or_else(|| format!("table {table} was written and is not there"))?;
        let before = match document {
            Some(document) => documents.insert(
                id.to_owned(),
                Stored {
                    ts: Timestamp::ZERO,
                    document,
                },
            ),
            None => documents.remove(id),
        };
        undo.push(Undo::Document(table.to_owned(), id.to_owned(), before));
        Ok(())
    }

    fn undo(&mut self, undo: Vec<Undo>) {
        for entry in undo.into_iter().rev() {
            match entry {
                Undo::Table(name) => {
                    self.tables.remove(&name);
                }
                Undo::Document(table, id, before) => {
                    let documents = self.tables.entry(table).or_default();
                    match before {
                        Some(before) => documents.insert(id, before),
                        None => documents.remove(&id),
                    };
                }
            }
        }
    }
}

/// The indexed field of a document.
fn key(document: &Object) -> i64 {
    document
        .get("key")
        .and_then(Value::as_i64)
        .expect("all documents of the workload have a key")
}

fn list(rows: &[Arc<Object>]) -> String {
    let lines: Vec<_> = rows.iter().map(|row| format!("  {row:?}")).collect();
    lines.join("\n")
}
