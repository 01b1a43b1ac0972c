//! What the committed transactions of a loop mean together: counters, the queue, and lists, which an independent
//! checker can judge as well (see `crate::elle`).

use std::collections::{BTreeMap, BTreeSet};

use concave_core::Timestamp;
use concave_core::persistence::Order;

use super::mix::Operation;
use super::model::{By, Model, Overlay, Scan};
use super::operations::{ACCOUNTS, COUNTERS, LISTS, MONEY, UNIQUE, elements};
use super::running::Effect;
use crate::elle::{Entry, Kind, Micro};

/// Sums over all committed transactions.
#[derive(Debug, Default)]
pub struct Tally {
    incremented: i64,
    dequeued: BTreeSet<i64>,
    lists: BTreeMap<i64, Vec<i64>>,
    digest: u64,
    history: Vec<Entry>,
}

impl Tally {
    /// Adds a commit, in their order.
    pub fn committed(&mut self, ts: Timestamp, effects: Vec<Effect>) {
        self.digest = (self.digest.rotate_left(5) ^ ts.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for effect in effects {
            match effect {
                Effect::Incremented => self.incremented += 1,
                Effect::Dequeued(item) => {
                    assert!(self.dequeued.insert(item), "{item} left the queue twice");
                }
                Effect::Appended(list, element) => {
                    self.lists.entry(list).or_default().push(element);
                }
                Effect::ReadList(list, seen) => {
                    let known = self.lists.get(&list).map_or(&[][..], Vec::as_slice);
                    assert_eq!(seen, known, "list {list}");
                }
                Effect::AddedIndex(..) => {}
            }
        }
    }

    /// Notes what happened to a transaction, if lists are what it is about.
    pub fn note(&mut self, process: u32, operation: Operation, kind: Kind, effects: &[Effect]) {
        if !matches!(operation, Operation::Append | Operation::ReadLists) {
            return;
        }
        let parts = effects.iter().filter_map(|effect| match effect {
            Effect::ReadList(list, elements) => Some(Micro::Read(*list, elements.clone())),
            Effect::Appended(list, element) => Some(Micro::Append(*list, *element)),
            _ => None,
        });
        self.history.push(Entry {
            process: process.into(),
            kind,
            parts: parts.collect(),
        });
    }

    /// What was noted, in order.
    pub fn history(self) -> Vec<Entry> {
        self.history
    }

    /// A hash of everything that was committed, in order.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Compares with what the database holds in the end.
    pub fn check_end(&self, model: &Model, at: Timestamp) {
        let all = |table| {
            let scan = Scan {
                table,
                by: By::Key,
                bounds: None,
                order: Order::Ascending,
                beyond: None,
                limit: usize::MAX,
            };
            let found = model.scan(&scan, at, &Overlay::default());
            found.into_iter().map(|(_, content)| content)
        };
        let sum = |table| all(table).map(|content| content.number()).sum::<i64>();
        assert_eq!(sum(COUNTERS), self.incremented, "all increments count");
        let accounts = i64::try_from(all(ACCOUNTS).count()).expect("accounts are few");
        assert_eq!(sum(ACCOUNTS), accounts * MONEY, "money is only moved");
        let lists: BTreeMap<_, _> = all(LISTS).map(|list| (list.key, elements(&list))).collect();
        assert_eq!(lists, self.lists, "lists hold what was appended, in order");
        let keys: Vec<_> = all(UNIQUE).map(|row| row.key).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "keys are unique: {keys:?}");
    }
}
