//! Reading an index range: pages from storage merged with the transaction's own writes.
//!
//! A scan is one pass over what was there at its first step, the transaction's own writes until then included. Writes
//! that come later, while the scan is under way, neither add rows to it nor take any away.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Transaction;
use super::write_set::{Stored, View};
use crate::error::{Error, Result};
use crate::persistence::{IndexId, IndexPage, IndexRead, KeyRange, Order};
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::value::{Object, decode_document};

/// Most rows fetched from storage at once.
const PAGE_ROWS_MAX: usize = 512;

/// A range read in progress. Ask [`Scan::next`] for rows; when it answers [`ScanStep::Read`], fetch that page and
/// hand it to [`Scan::supply`].
///
/// The read set of the transaction grows exactly as far as rows were handed out: a scan that stops after the first
/// row depends on the range up to that row only.
#[derive(Debug)]
pub struct Scan {
    index: IndexId,
    /// What has not been handed out yet.
    rest: KeyRange,
    order: Order,
    /// The transaction's own writes as of the first step; `None` before.
    own: Option<View>,
    /// Rows from storage inside `rest`, next one first.
    fetched: VecDeque<(Vec<u8>, Stored)>,
    /// Whether storage holds nothing in `rest` beyond `fetched`.
    exhausted: bool,
    /// What storage has not been asked for yet.
    unfetched: KeyRange,
    page_rows: usize,
    /// System reads do not count towards a function's limits.
    counted: bool,
}

/// What a scan needs or has found.
#[derive(Debug)]
pub enum ScanStep {
    /// Fetch this page, supply it, ask again.
    Read(IndexRead),
    /// The next row.
    Row(Row),
    /// There are no more rows.
    Done,
}

/// A document found by a scan.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its key in the scanned index.
    pub key: Vec<u8>,
    /// When it was committed; `None` if the transaction itself wrote it.
    pub ts: Option<Timestamp>,
    /// Its content.
    pub document: Arc<Object>,
}

impl Scan {
    /// A scan of `range`. `expected_rows` sizes the first page: 1 for `first()`, `n` for `take(n)`.
    pub fn new(index: IndexId, range: KeyRange, order: Order, expected_rows: usize) -> Self {
        Self {
            index,
            exhausted: range.is_empty(),
            unfetched: range.clone(),
            rest: range,
            order,
            own: None,
            fetched: VecDeque::new(),
            page_rows: expected_rows.clamp(1, PAGE_ROWS_MAX),
            counted: true,
        }
    }

    /// The same scan, not counted towards the limits of user functions.
    pub fn uncounted(mut self) -> Self {
        self.counted = false;
        self
    }

    /// The part of the range that has not been handed out.
    pub fn rest(&self) -> &KeyRange {
        &self.rest
    }

    /// The next row, or what is needed to know it.
    ///
    /// # Errors
    /// When a read limit of the transaction is exceeded.
    pub fn next(&mut self, tx: &mut Transaction) -> Result<ScanStep> {
        loop {
            debug_assert!(
                self.fetched
                    .front()
                    .is_none_or(|(key, _)| self.rest.contains(key)),
                "rows wait inside of the rest"
            );
            if self.own.is_none() || planted(Bug::LaterWritesSeen) {
                self.own = Some(tx.writes.view(self.index));
            }
            let own = self
                .own
                .as_ref()
                .and_then(|own| own.first(&self.rest, self.order));
            if self.fetched.is_empty() && !self.exhausted {
                return Ok(ScanStep::Read(IndexRead {
                    index: self.index,
                    range: self.unfetched.clone(),
                    order: self.order,
                    at: tx.snapshot_ts(),
                    limit: self.page_rows,
                }));
            }
            let stored_first = match (&own, self.fetched.front()) {
                (None, None) => {
                    let rest = std::mem::replace(&mut self.rest, empty());
                    if !planted(Bug::ScanEndNotRead) {
                        tx.reads.insert(self.index, rest);
                    }
                    return Ok(ScanStep::Done);
                }
                (None, Some(_)) => true,
                (Some(_), None) => false,
                (Some((own, _)), Some((stored, _))) => match self.order {
                    Order::Descending if !planted(Bug::DescendingMergedAscending) => stored > own,
                    _ => stored < own,
                },
            };
            let row = if stored_first {
                let (key, stored) = self.fetched.pop_front().expect("the front was just seen");
                Some(Row {
                    key,
                    ts: Some(stored.ts),
                    document: stored.document,
                })
            } else {
                let (key, content) = own.expect("one of the two is there");
                let row = content.map(|document| Row {
                    key: key.clone(),
                    ts: None,
                    document: document.clone(),
                });
                let key = key.clone();
                // Own writes hide what storage has under the same key.
                if self
                    .fetched
                    .front()
                    .is_some_and(|(stored, _)| *stored == key)
                    && !planted(Bug::StoredRowNotHidden)
                {
                    self.fetched.pop_front();
                }
                if row.is_none() {
                    self.advance(tx, &key);
                }
                row
            };
            if let Some(row) = row {
                self.advance(tx, &row.key);
                if self.counted {
                    tx.count_read(row.document.size())?;
                }
                return Ok(ScanStep::Row(row));
            }
        }
    }

    /// Takes a fetched page.
    ///
    /// # Errors
    /// If a stored document is damaged.
    pub fn supply(&mut self, page: IndexPage) -> Result<()> {
        assert!(self.fetched.is_empty(), "a page was asked for");
        assert!(!self.exhausted);
        assert!(
            !self.unfetched.is_empty(),
            "there is nothing to ask for in an empty range"
        );
        debug_assert!(
            page.rows
                .iter()
                .all(|row| self.unfetched.contains(&row.key)),
            "storage gives what was asked for"
        );
        debug_assert!(page.rows.is_sorted_by(|a, b| match self.order {
            Order::Ascending => a.key < b.key,
            Order::Descending => a.key > b.key,
        }));
        if let Some(last) = page.rows.last() {
            match self.order {
                Order::Ascending => self.unfetched.start = successor(&last.key),
                Order::Descending => self.unfetched.end = Some(last.key.clone()),
            }
        } else {
            assert!(page.exhausted, "a page without rows ends the range");
        }
        // Storage need not know that the last possible key was the last one.
        self.exhausted = page.exhausted || self.unfetched.is_empty();
        for row in page.rows {
            let document = decode_document(&row.document).map_err(|error| {
                Error::internal(format!(
                    "A stored document is damaged ({error}). Restore it from a backup."
                ))
            })?;
            self.fetched.push_back((
                row.key,
                Stored {
                    ts: row.ts,
                    document: Arc::new(document),
                },
            ));
        }
        self.page_rows = (self.page_rows * 2).min(PAGE_ROWS_MAX);
        assert!(self.page_rows > 0);
        assert!(self.page_rows <= PAGE_ROWS_MAX);
        Ok(())
    }

    /// Records the range up to and including `key` as read, and leaves the rest.
    fn advance(&mut self, tx: &mut Transaction, key: &[u8]) {
        assert!(self.rest.contains(key), "nothing is handed out twice");
        let mut consumed = match self.order {
            Order::Ascending => {
                let next = successor(key);
                KeyRange {
                    start: std::mem::replace(&mut self.rest.start, next.clone()),
                    end: Some(next),
                }
            }
            Order::Descending => KeyRange {
                start: key.to_vec(),
                end: self.rest.end.replace(key.to_vec()),
            },
        };
        debug_assert!(consumed.contains(key), "a row that is seen is depended on");
        debug_assert!(!self.rest.contains(key), "it is handed out once");
        if planted(Bug::GapsNotRead) {
            consumed = KeyRange::point(key.to_vec());
        }
        if !(planted(Bug::DescendingNotRead) && self.order == Order::Descending) {
            tx.reads.insert(self.index, consumed);
        }
    }
}

/// The smallest key above `key`.
pub fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    debug_assert!(next.as_slice() > key);
    next
}

fn empty() -> KeyRange {
    KeyRange {
        start: Vec::new(),
        end: Some(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::IndexRow;
    use crate::transaction::Snapshot;
    use crate::value::encode_document;

    /// Storage may say that there could be more after the only key of a point. There cannot, and it is not asked.
    #[test]
    fn a_range_that_is_used_up_is_not_read_on() {
        for order in [Order::Ascending, Order::Descending] {
            let snapshot = Snapshot {
                ts: Timestamp(1),
                catalog: Arc::default(),
                pin: Arc::new(()),
            };
            let mut tx = Transaction::begin(snapshot, Timestamp(1), [0; 32]);
            let mut scan = Scan::new(IndexId(9), KeyRange::point(vec![7]), order, 1);
            assert!(matches!(scan.next(&mut tx).unwrap(), ScanStep::Read(_)));
            let row = IndexRow {
                key: vec![7],
                ts: Timestamp(1),
                document: encode_document(&Object::new()),
            };
            let page = IndexPage {
                rows: vec![row],
                exhausted: false,
            };
            scan.supply(page).unwrap();
            assert!(matches!(scan.next(&mut tx).unwrap(), ScanStep::Row(_)));
            assert!(matches!(scan.next(&mut tx).unwrap(), ScanStep::Done));
        }
    }
}
