//! What transactions do: workloads with a meaning, and anything at all.

use std::rc::Rc;

use concave_core::catalog::IndexState;
use concave_core::persistence::Order;
use concave_core::transaction::Row;
use concave_core::{Timestamp, Value};

use super::mix::Operation;
use super::model::{By, Content, Scan, TableNo};
use super::running::{Effect, Running, Space};

/// Positions in [`super::running::TABLES`].
pub const ACCOUNTS: TableNo = 0;
/// Lists by key.
pub const LISTS: TableNo = 1;
/// Numbers that only grow.
pub const COUNTERS: TableNo = 2;
/// Rows of which no two have the same key.
pub const UNIQUE: TableNo = 3;
/// Items, taken in the order of their keys.
pub const QUEUE: TableNo = 4;
/// Rows of any kind.
pub const ROWS: TableNo = 5;
/// Tables from here on come while the loop runs.
pub const EXTRAS: TableNo = 6;
const TABLE_COUNT: TableNo = 8;

/// Money in each account at the beginning.
pub const MONEY: i64 = 100;
/// A list of this length is left for a new one.
pub const LIST_MAX: usize = 12;
/// Tables are not filled beyond about so many documents.
const ROWS_MAX: usize = 40;

type Seen = (Row, Rc<Content>);

impl Running {
    /// Creates and fills the tables that are there from the start.
    pub fn set_up(&mut self, space: &mut Space) {
        for table in ACCOUNTS..EXTRAS {
            self.create(space, table);
        }
        for key in 0..space.fixtures() {
            self.insert(space, ACCOUNTS, key, Value::Int64(MONEY));
            self.insert(space, COUNTERS, key, Value::Int64(0));
        }
        self.steps_left = 0;
    }

    /// Takes the next step.
    pub fn act(&mut self, space: &mut Space) {
        self.steps_left -= 1;
        match self.operation {
            Operation::Transfer => self.transfer(space),
            Operation::Audit => self.audit(space),
            Operation::Append => self.append(space),
            Operation::ReadLists => {
                for _ in 0..space.rng.u8(1..4) {
                    let key = space.list();
                    self.read_list(space, key);
                }
            }
            Operation::Increment => {
                let number = self.fixture(space, COUNTERS);
                let (key, value) = (number.1.key, number.1.number() + 1);
                self.replace(space, COUNTERS, &number, key, Value::Int64(value));
                self.effects.push(Effect::Incremented);
            }
            Operation::InsertUnique => {
                let key = space.key();
                let limit = space.rng.usize(1..3);
                if self.with_key(space, UNIQUE, key, limit).is_empty() {
                    self.insert(space, UNIQUE, key, Value::Null);
                }
            }
            Operation::Enqueue if space.model.docs(QUEUE).len() < ROWS_MAX => {
                let last = self.range(space, QUEUE, Order::Descending, 1);
                let key = last.first().map_or(0, |(_, last)| last.key + 1);
                let item = Value::Int64(i64::from(space.writes) + 1);
                self.insert(space, QUEUE, key, item);
            }
            Operation::Enqueue | Operation::Dequeue => {
                let first = self.range(space, QUEUE, Order::Ascending, 1);
                if let Some(item) = first.first() {
                    self.effects.push(Effect::Dequeued(item.1.number()));
                    self.delete(space, QUEUE, item);
                }
            }
            Operation::DeleteRange => {
                let table = if space.rng.bool() { UNIQUE } else { ROWS };
                for row in &self.some(space, table) {
                    self.delete(space, table, row);
                }
            }
            Operation::MoveKeys => {
                for row in &self.some(space, ROWS) {
                    let key = space.key();
                    self.replace(space, ROWS, row, key, Value::Boolean(true));
                }
                self.insert_row(space, ROWS);
            }
            Operation::Read => {
                for _ in 0..space.rng.u8(1..4) {
                    self.read(space);
                }
            }
            Operation::Mixed => self.mixed(space),
            Operation::CreateTable => self.create_table(space),
            Operation::AddIndex | Operation::FinishIndex | Operation::DropIndex => {
                self.change_index(space);
            }
        }
    }

    fn transfer(&mut self, space: &mut Space) {
        let from = self.fixture(space, ACCOUNTS);
        let to = self.fixture(space, ACCOUNTS);
        let amount = space.rng.i64(1..=MONEY / 2);
        if from.1.doc != to.1.doc && from.1.number() >= amount {
            let less = Value::Int64(from.1.number() - amount);
            self.replace(space, ACCOUNTS, &from, from.1.key, less);
            let more = Value::Int64(to.1.number() + amount);
            self.replace(space, ACCOUNTS, &to, to.1.key, more);
        }
    }

    fn audit(&mut self, space: &mut Space) {
        let order = order(space);
        let accounts = self.range(space, ACCOUNTS, order, usize::MAX);
        let money: i64 = accounts.iter().map(|(_, account)| account.number()).sum();
        assert_eq!(money, MONEY * space.fixtures(), "money is only moved");
    }

    fn append(&mut self, space: &mut Space) {
        for _ in 0..space.rng.u8(0..3) {
            let key = space.list();
            self.read_list(space, key);
        }
        for _ in 0..space.rng.u8(1..3) {
            let key = space.list();
            let (list, mut elements) = self.read_list(space, key);
            let element = i64::from(space.writes) + 1;
            elements.push(element);
            let value = Value::Array(elements.into_iter().map(Value::Int64).collect());
            match list {
                Some(list) => self.replace(space, LISTS, &list, key, value),
                None => {
                    self.insert(space, LISTS, key, value);
                }
            }
            self.effects.push(Effect::Appended(key, element));
        }
    }

    fn read_list(&mut self, space: &mut Space, key: i64) -> (Option<Seen>, Vec<i64>) {
        let list = self.with_key(space, LISTS, key, 2).pop();
        let elements = list
            .as_ref()
            .map_or_else(Vec::new, |(_, list)| elements(list));
        self.effects.push(Effect::ReadList(key, elements.clone()));
        (list, elements)
    }

    fn mixed(&mut self, space: &mut Space) {
        let table = space.rng.usize(ROWS..TABLE_COUNT);
        match space.rng.u8(..13) {
            12 => self.change_while_reading(space, table),
            0..3 => self.read(space),
            3 => self.get_any(space),
            4..6 => self.insert_row(space, table),
            6..8 => {
                if let Some(row) = self.some(space, table).first() {
                    let key = if space.rng.bool() {
                        row.1.key
                    } else {
                        space.key()
                    };
                    self.replace(space, table, row, key, Value::Null);
                }
            }
            8..10 => {
                if let Some(row) = self.some(space, table).pop() {
                    self.delete(space, table, &row);
                }
            }
            10 => self.savepoint(),
            _ => self.roll_back(space),
        }
    }

    /// Changes rows of a range while it is read, so that they would come up again or not at all if that were seen.
    fn change_while_reading(&mut self, space: &mut Space, table: TableNo) {
        let scan = some_keys(space, table);
        self.scan_beside(space, scan, |this, space, row| match space.rng.u8(..4) {
            0 => this.insert_row(space, table),
            1 => this.delete(space, table, row),
            2 => {
                let key = space.key();
                this.replace(space, table, row, key, Value::Null);
            }
            _ => {}
        });
    }

    fn insert_row(&mut self, space: &mut Space, table: TableNo) {
        if self.table(space, table).is_some() && space.model.docs(table).len() < ROWS_MAX {
            let key = space.key();
            self.insert(space, table, key, Value::Null);
        }
    }

    fn create_table(&mut self, space: &mut Space) {
        let table = space.rng.usize(EXTRAS..TABLE_COUNT);
        if self.table(space, table).is_none() {
            if space.rng.bool() {
                self.savepoint();
                self.create(space, table);
                self.insert_row(space, table);
                self.roll_back(space);
                assert!(self.table(space, table).is_none());
            }
            self.create(space, table);
        }
        self.insert_row(space, table);
        self.some(space, table);
    }

    fn change_index(&mut self, space: &mut Space) {
        let table = space.rng.usize(UNIQUE..TABLE_COUNT);
        let Some(found) = self.table(space, table) else {
            return;
        };
        let index = found.index(By::Group.name());
        let state = index.map(|index| index.state);
        match (self.operation, index) {
            (Operation::AddIndex, None) => {
                let id = self.add_index(&found, table);
                self.effects.push(Effect::AddedIndex(table, id));
            }
            (Operation::FinishIndex, Some(index))
                if state == Some(IndexState::Backfilling) && space.filled.contains(&index.id) =>
            {
                self.set_index(space, &found, table, IndexState::Ready);
            }
            (Operation::DropIndex, Some(_)) => {
                self.set_index(space, &found, table, IndexState::Dropped);
            }
            _ => {}
        }
    }

    /// Reads something.
    fn read(&mut self, space: &mut Space) {
        if space.rng.u8(..4) == 0 {
            self.get_any(space);
            return;
        }
        let table = space.rng.usize(..TABLE_COUNT);
        let by = match space.rng.u8(..8) {
            0 => By::Id,
            1 => By::Creation,
            2..4 => By::Group,
            _ => By::Key,
        };
        let bounds = match by {
            By::Key if space.rng.u8(..4) > 0 => Some(space.keys()),
            By::Group if space.rng.bool() => {
                let group = space.rng.i64(0..4);
                Some(group..group + space.rng.i64(1..3))
            }
            _ => None,
        };
        let limit = match space.rng.u8(..8) {
            0 => usize::MAX,
            n => usize::from(n),
        };
        let order = order(space);
        let beyond = match bounds {
            None if space.rng.bool() => space.any(table),
            _ => None,
        };
        let scan = Scan {
            table,
            by,
            bounds,
            order,
            beyond,
            limit,
        };
        let rows = self.scan(space, scan);
        // What was found is found again by its id.
        if let Some((_, content)) = rows.first()
            && space.rng.u8(..4) == 0
        {
            self.get(space, table, content.doc, content.id);
        }
    }

    /// Reads a document that is there, or was.
    fn get_any(&mut self, space: &mut Space) {
        let table = space.rng.usize(..TABLE_COUNT);
        let own = self.own.documents.range((table, 0)..(table + 1, 0));
        let own = own.filter_map(|((_, doc), content)| Some((*doc, content.as_ref()?.id)));
        let docs = space.model.docs(table).iter();
        let docs = docs.map(|doc| (doc.number, doc.id)).chain(own);
        let docs: Vec<_> = docs.collect();
        if !docs.is_empty() {
            let (doc, id) = docs[space.rng.usize(..docs.len())];
            self.get(space, table, doc, id);
        }
    }

    /// Some rows of a range of keys.
    fn some(&mut self, space: &mut Space, table: TableNo) -> Vec<Seen> {
        let mut scan = some_keys(space, table);
        scan.limit = 1 << space.rng.u32(..4);
        self.scan(space, scan)
    }

    fn range(
        &mut self,
        space: &mut Space,
        table: TableNo,
        order: Order,
        limit: usize,
    ) -> Vec<Seen> {
        let scan = Scan {
            table,
            by: By::Key,
            bounds: None,
            order,
            beyond: None,
            limit,
        };
        self.scan(space, scan)
    }

    fn with_key(&mut self, space: &mut Space, table: TableNo, key: i64, limit: usize) -> Vec<Seen> {
        let scan = Scan {
            table,
            by: By::Key,
            bounds: Some(key..key + 1),
            order: Order::Ascending,
            beyond: None,
            limit,
        };
        self.scan(space, scan)
    }

    /// One of the documents that are always there, found in one way or the other.
    fn fixture(&mut self, space: &mut Space, table: TableNo) -> Seen {
        let position = space.mix.one_of(&mut space.rng, space.mix.fixtures);
        let found = if space.rng.bool() {
            let key = i64::try_from(position).expect("fixtures are few");
            self.with_key(space, table, key, 1).pop()
        } else {
            let doc = &space.model.docs(table)[position];
            let (number, id) = (doc.number, doc.id);
            self.get(space, table, number, id)
        };
        found.expect("fixtures are always there")
    }
}

impl Space {
    /// Accounts and numbers.
    pub fn fixtures(&self) -> i64 {
        i64::try_from(self.mix.fixtures).expect("fixtures are few")
    }

    /// A document of a table, as of now.
    fn any(&mut self, table: TableNo) -> Option<Rc<Content>> {
        let newest = Timestamp(u64::MAX);
        let docs = self.model.docs(table).iter();
        let present = docs.filter_map(|doc| Some(doc.at(newest)?.1.clone()));
        let present: Vec<_> = present.collect();
        self.rng.choice(&present).cloned()
    }

    /// The key of a list in use.
    fn list(&mut self) -> i64 {
        let slot = self.mix.one_of(&mut self.rng, self.mix.fixtures);
        self.lists[slot]
    }
}

/// The elements of a list.
pub fn elements(list: &Content) -> Vec<i64> {
    let elements = list.document.get("value").and_then(Value::as_array);
    let elements = elements.expect("the value of a list is a list").iter();
    elements
        .map(|element| element.as_i64().expect("elements are numbers"))
        .collect()
}

/// All rows of a range of keys.
fn some_keys(space: &mut Space, table: TableNo) -> Scan {
    Scan {
        table,
        by: By::Key,
        bounds: Some(space.keys()),
        order: order(space),
        beyond: None,
        limit: usize::MAX,
    }
}

fn order(space: &mut Space) -> Order {
    if space.rng.bool() {
        Order::Ascending
    } else {
        Order::Descending
    }
}
