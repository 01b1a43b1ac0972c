//! Transactions with known meaning, through the core's own interface, recorded as they go.
//!
//! An operation is planned by a client (all that is random in it is drawn beforehand, so that running it again after
//! a conflict does the same) and run on the server by a [`Recorder`], which does each step and notes what it saw.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use concave_core::catalog::{Index, IndexState, Table, index_document};
use concave_core::driver::Database;
use concave_core::persistence::{KeyRange, Order};
use concave_core::transaction::{Row, Savepoint, Scan, Transaction};
use concave_core::value::FieldPath;
use concave_core::{DocumentId, Error, Object, Result, Timestamp, Value, key};
use fastrand::Rng;

use crate::history::Step;
use crate::report::Operation;
use crate::settings::Settings;

/// Bank accounts.
pub const ACCOUNTS: &str = "accounts";
/// Money in all accounts together.
pub const MONEY: i64 = 1_000;
/// Lists and numbers that are read by id.
pub const COUNTERS: &str = "counters";
/// Rows with keys that operations insert, move and delete.
const ROWS: &str = "rows";
const QUEUE: &str = "queue";
/// Receipts of what was taken or deleted, so that every transaction that writes leaves a document.
const RECEIPTS: &str = "receipts";
/// Tables that come into being while the world runs are `extra0` and so on.
const EXTRA_TABLES: u8 = 6;
const ALL_KEYS: Range<i64> = i64::MIN..i64::MAX;

/// What every client knows from the start.
#[derive(Clone, Debug, Default)]
pub struct Fixtures {
    /// The accounts.
    pub accounts: Vec<DocumentId>,
    /// The lists and numbers.
    pub counters: Vec<DocumentId>,
}

/// An operation with all its choices made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do.
    pub operation: Operation,
    /// Keys to look at.
    pub keys: Range<i64>,
    /// Where to insert or move.
    pub key: i64,
    /// Most rows to read.
    pub limit: usize,
    /// The table to look at, for operations that leave a choice.
    pub table: String,
    /// Two different fixtures.
    pub pair: (DocumentId, DocumentId),
    /// A list or number.
    pub counter: DocumentId,
    /// All lists.
    pub lists: Vec<DocumentId>,
    /// Money to move.
    pub amount: i64,
    /// Read at this older timestamp.
    pub past: Option<Timestamp>,
    /// A document that this client inserted once.
    pub remembered: Option<(String, DocumentId)>,
}

impl Plan {
    /// Draws an operation for a client that has seen the timestamps `seen` and inserted `remembered`.
    pub fn draw(
        rng: &mut Rng,
        settings: &Settings,
        fixtures: &Fixtures,
        seen: &[Timestamp],
        remembered: &[(String, DocumentId)],
    ) -> Self {
        let mut operation = settings.operation(rng);
        let in_past = match operation {
            Operation::ReadPast => true,
            Operation::Watch => rng.u8(..4) == 0,
            _ => false,
        };
        let past = in_past.then(|| rng.choice(seen).copied()).flatten();
        if operation == Operation::ReadPast && past.is_none() {
            operation = Operation::Audit;
        }
        let first = rng.usize(..fixtures.accounts.len());
        let second = (first + rng.usize(1..fixtures.accounts.len())) % fixtures.accounts.len();
        let start = rng.i64(0..settings.keys);
        let table = match rng.u8(..8) {
            0..3 => ROWS.to_owned(),
            3 => QUEUE.to_owned(),
            4 => ACCOUNTS.to_owned(),
            5 => RECEIPTS.to_owned(),
            _ => extra_table(rng),
        };
        Self {
            operation,
            keys: start..start + rng.i64(1..=settings.keys),
            key: rng.i64(0..settings.keys),
            limit: 1 << rng.u32(..5),
            table: if operation == Operation::CreateTable {
                extra_table(rng)
            } else {
                table
            },
            pair: (fixtures.accounts[first], fixtures.accounts[second]),
            counter: fixtures.counters[rng.usize(..fixtures.counters.len())],
            lists: fixtures.counters.clone(),
            amount: rng.i64(1..50),
            past,
            remembered: rng.choice(remembered).cloned(),
        }
    }

    /// Runs the operation in the recorder's transaction.
    ///
    /// # Errors
    /// If storage fails or the core refuses.
    pub async fn run(&self, tx: &mut Recorder) -> Result<()> {
        let keys = self.keys.clone();
        let ascending = Order::Ascending;
        match self.operation {
            Operation::Transfer => self.transfer(tx).await?,
            Operation::Audit => {
                tx.scan(ACCOUNTS, ALL_KEYS, ascending, usize::MAX).await?;
            }
            Operation::InsertUnique => {
                if tx.scan(ROWS, keys, ascending, 1).await?.is_empty() {
                    tx.insert(ROWS, self.key_inside(), Value::Null).await?;
                }
            }
            Operation::Append => {
                // Some lists are read and some of them appended to, as bits of the plan's numbers say.
                for (n, list) in self.lists.iter().enumerate() {
                    if *list != self.counter && self.amount >> n & 1 == 0 {
                        tx.fixture(COUNTERS, *list).await?;
                    } else if *list == self.counter || self.limit >> n & 1 == 1 {
                        tx.append(*list).await?;
                    }
                }
            }
            Operation::Increment => {
                let row = tx.fixture(COUNTERS, self.counter).await?;
                let key = number(&row, "key")?;
                let value = row.document.get("value").cloned().unwrap_or(Value::Null);
                tx.replace(COUNTERS, &row, Some(key + 1), value)?;
            }
            Operation::Enqueue => {
                tx.insert(QUEUE, self.key, Value::Int64(self.amount))
                    .await?;
            }
            Operation::Dequeue => {
                let rows = tx.scan(QUEUE, ALL_KEYS, ascending, 1).await?;
                if let Some(row) = rows.first() {
                    tx.delete(QUEUE, row)?;
                    tx.insert(RECEIPTS, number(row, "by")?, Value::Null).await?;
                }
            }
            Operation::DeleteRange => {
                let rows = tx.scan(ROWS, keys, ascending, self.limit).await?;
                for row in &rows {
                    tx.delete(ROWS, row)?;
                }
                if !rows.is_empty() {
                    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
                    tx.insert(RECEIPTS, self.key, Value::Int64(count)).await?;
                }
            }
            Operation::MoveKey => {
                let rows = tx.scan(ROWS, keys, Order::Descending, 2).await?;
                for row in &rows {
                    tx.replace(ROWS, row, Some(self.key), Value::Boolean(true))?;
                }
            }
            Operation::ScanForward | Operation::Watch => {
                tx.scan(&self.table, keys, ascending, self.limit).await?;
                self.revisit(tx).await?;
            }
            Operation::ScanBackward => {
                let order = Order::Descending;
                tx.scan(&self.table, keys, order, self.limit).await?;
            }
            Operation::RollBack => self.roll_back(tx).await?,
            Operation::CreateTable => {
                tx.create(&self.table)?;
                tx.insert(&self.table, self.key, Value::Null).await?;
                tx.scan(&self.table, keys, ascending, self.limit).await?;
            }
            Operation::ReadPast => {
                tx.scan(&self.table, keys, ascending, self.limit).await?;
                tx.scan(ACCOUNTS, ALL_KEYS, ascending, usize::MAX).await?;
            }
        }
        Ok(())
    }

    async fn transfer(&self, tx: &mut Recorder) -> Result<()> {
        let from = tx.fixture(ACCOUNTS, self.pair.0).await?;
        let to = tx.fixture(ACCOUNTS, self.pair.1).await?;
        let (rich, poor) = (number(&from, "value")?, number(&to, "value")?);
        if rich >= self.amount {
            tx.replace(ACCOUNTS, &from, None, Value::Int64(rich - self.amount))?;
            tx.replace(ACCOUNTS, &to, None, Value::Int64(poor + self.amount))?;
        }
        Ok(())
    }

    async fn roll_back(&self, tx: &mut Recorder) -> Result<()> {
        let order = if self.amount % 2 == 0 {
            Order::Ascending
        } else {
            Order::Descending
        };
        let keys = || self.keys.clone();
        tx.insert(ROWS, self.key_inside(), Value::Null).await?;
        let rows = tx.scan(ROWS, keys(), order, self.limit).await?;
        let savepoint = tx.savepoint();
        if let Some(row) = rows.first() {
            tx.delete(ROWS, row)?;
        }
        if let Some(row) = rows.get(1) {
            tx.replace(ROWS, row, Some(self.key), Value::Null)?;
        }
        tx.insert(ROWS, self.key, Value::Boolean(false)).await?;
        tx.scan(ROWS, keys(), order, self.limit).await?;
        tx.roll_back(savepoint);
        tx.scan(ROWS, keys(), order, self.limit).await?;
        Ok(())
    }

    async fn revisit(&self, tx: &mut Recorder) -> Result<()> {
        if let Some((table, id)) = &self.remembered {
            tx.get(table, *id).await?;
        }
        Ok(())
    }

    /// A key that the range read before covers.
    fn key_inside(&self) -> i64 {
        self.keys.start
    }
}

fn extra_table(rng: &mut Rng) -> String {
    format!("extra{}", rng.u8(..EXTRA_TABLES))
}

/// Creates and fills the tables that are there from the start.
///
/// # Errors
/// If storage fails.
pub async fn set_up(tx: &mut Recorder) -> Result<Fixtures> {
    let mut fixtures = Fixtures::default();
    for table in [ACCOUNTS, COUNTERS, ROWS, QUEUE, RECEIPTS] {
        tx.create(table)?;
    }
    for n in 0..5 {
        let id = tx.insert(ACCOUNTS, n, Value::Int64(MONEY / 5)).await?;
        fixtures.accounts.push(id);
    }
    for _ in 0..3 {
        let id = tx.insert(COUNTERS, 0, Value::Array(Vec::new())).await?;
        fixtures.counters.push(id);
    }
    Ok(fixtures)
}

/// A transaction that notes each of its steps.
pub struct Recorder {
    db: Database,
    /// The transaction.
    pub tx: Transaction,
    /// What it did so far.
    pub steps: Vec<Step>,
    /// What it inserted so far.
    pub inserted: Vec<(String, DocumentId)>,
    /// Number of the attempt; every document it writes carries it.
    number: i64,
    /// How long it waits before each read.
    pause: Duration,
}

impl Recorder {
    /// Notes the steps of `tx`.
    pub fn new(db: Database, tx: Transaction, attempt: usize) -> Self {
        Self {
            db,
            tx,
            steps: Vec::new(),
            inserted: Vec::new(),
            number: i64::try_from(attempt).expect("attempts are few"),
            pause: Duration::ZERO,
        }
    }

    /// Waits so long before each read.
    pub fn slowed_down(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    async fn pause(&self) {
        if !self.pause.is_zero() {
            self.db.runtime().sleep(self.pause).await;
        }
    }

    fn table(&mut self, name: &str) -> Option<Arc<Table>> {
        let table = self.tx.table(name);
        self.steps.push(Step::Table {
            name: name.to_owned(),
            present: table.is_some(),
        });
        table
    }

    fn existing(&mut self, name: &str) -> Result<Arc<Table>> {
        self.table(name)
            .ok_or_else(|| Error::internal(format!("The table {name} has vanished.")))
    }

    fn create(&mut self, name: &str) -> Result<()> {
        if self.table(name).is_some() {
            return Ok(());
        }
        let table = self.tx.ensure_table(name)?;
        let fields = ["key", "_creationTime", "_id"];
        let index = Index {
            id: self.tx.allocate_index(),
            table: table.id,
            name: "by_key".into(),
            fields: fields
                .iter()
                .map(|field| FieldPath::parse(field))
                .collect::<Result<_>>()?,
            state: IndexState::Ready,
            staged: false,
        };
        self.tx.insert_system("_indexes", index_document(&index))?;
        self.steps.push(Step::Create {
            table: name.to_owned(),
        });
        Ok(())
    }

    async fn scan(
        &mut self,
        name: &str,
        keys: Range<i64>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Row>> {
        let Some(table) = self.table(name) else {
            return Ok(Vec::new());
        };
        let index = table
            .index("by_key")
            .ok_or_else(|| Error::internal("The index by_key has vanished."))?;
        let bound = |key| key::encode_key(&[Some(&Value::Int64(key))]);
        let range = KeyRange {
            start: bound(keys.start),
            end: Some(bound(keys.end)),
        };
        let mut scan = Scan::new(index.id, range, order, limit);
        self.pause().await;
        let mut rows = Vec::new();
        while rows.len() < limit
            && let Some(row) = self.db.next_row(&mut self.tx, &mut scan).await?
        {
            rows.push(row);
        }
        self.steps.push(Step::Scan {
            table: name.to_owned(),
            keys,
            order,
            limit,
            rows: rows.iter().map(|row| row.document.clone()).collect(),
        });
        Ok(rows)
    }

    async fn get(&mut self, table: &str, id: DocumentId) -> Result<Option<Row>> {
        self.pause().await;
        let row = self.db.get(&mut self.tx, id).await?;
        self.steps.push(Step::Get {
            table: table.to_owned(),
            id: id.encode(),
            found: row.as_ref().map(|row| row.document.clone()),
        });
        Ok(row)
    }

    /// A document that is never deleted.
    async fn fixture(&mut self, table: &str, id: DocumentId) -> Result<Row> {
        let row = self.get(table, id).await?;
        row.ok_or_else(|| Error::internal(format!("The document {id} has vanished.")))
    }

    async fn insert(&mut self, name: &str, key: i64, value: Value) -> Result<DocumentId> {
        let table = self.existing(name)?;
        let document = Object::from_fields([
            ("by", Value::Int64(self.number)),
            ("key", Value::Int64(key)),
            ("value", value),
        ])?;
        let id = self.tx.insert(&table, document)?;
        // Its system fields are known only by reading it back.
        let row = self.db.get(&mut self.tx, id).await?;
        let row = row.ok_or_else(|| Error::internal("An own insert is not seen."))?;
        self.steps.push(Step::Put {
            table: name.to_owned(),
            document: row.document,
        });
        self.inserted.push((name.to_owned(), id));
        Ok(id)
    }

    /// Appends its number to a list.
    async fn append(&mut self, list: DocumentId) -> Result<()> {
        let row = self.fixture(COUNTERS, list).await?;
        let elements = row.document.get("value").and_then(Value::as_array);
        let mut elements = elements.unwrap_or_default().to_vec();
        elements.push(Value::Int64(self.number));
        self.replace(COUNTERS, &row, None, Value::Array(elements))
    }

    /// Replaces the value and, if given, the key.
    fn replace(&mut self, table: &str, row: &Row, key: Option<i64>, value: Value) -> Result<()> {
        let mut document = (*row.document).clone();
        document.insert("by", Value::Int64(self.number))?;
        document.insert("value", value)?;
        if let Some(key) = key {
            document.insert("key", Value::Int64(key))?;
        }
        let document = self.tx.replace(id_of(row)?, row, document)?;
        self.steps.push(Step::Put {
            table: table.to_owned(),
            document,
        });
        Ok(())
    }

    fn delete(&mut self, table: &str, row: &Row) -> Result<()> {
        let id = id_of(row)?;
        self.tx.delete(id, row)?;
        self.steps.push(Step::Delete {
            table: table.to_owned(),
            id: id.encode(),
        });
        Ok(())
    }

    fn savepoint(&mut self) -> Savepoint {
        self.steps.push(Step::Savepoint);
        self.tx.savepoint()
    }

    fn roll_back(&mut self, savepoint: Savepoint) {
        self.steps.push(Step::RollBack);
        self.tx.rollback(savepoint);
    }
}

fn id_of(row: &Row) -> Result<DocumentId> {
    row.document
        .get("_id")
        .and_then(Value::as_str)
        .and_then(DocumentId::decode)
        .ok_or_else(|| Error::internal("A document has no id."))
}

fn number(row: &Row, field: &str) -> Result<i64> {
    row.document
        .get(field)
        .and_then(Value::as_i64)
        .ok_or_else(|| Error::internal(format!("A document has no number {field}.")))
}
