//! What a transaction has written and not yet committed, as documents and as index entries.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::catalog::Table;
use crate::persistence::{IndexId, KeyRange, Order, TableId};
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::value::{InternalId, Object};

/// A document as committed.
#[derive(Clone, Debug)]
pub struct Stored {
    /// When this revision was committed.
    pub ts: Timestamp,
    /// Its content.
    pub document: Arc<Object>,
}

/// A document before and after the transaction.
#[derive(Clone, Debug)]
pub struct DocumentWrite {
    /// As of the snapshot; `None` if it did not exist.
    pub before: Option<Stored>,
    /// As the transaction leaves it; `None` if it is deleted.
    pub after: Option<Arc<Object>>,
}

/// Uncommitted writes.
///
/// Invariant: `overlay` is exactly what the index entries of `documents` give: the old key of a document leads to
/// `None`, its present key to its present content.
#[derive(Clone, Debug, Default)]
pub struct WriteSet {
    documents: BTreeMap<(TableId, InternalId), DocumentWrite>,
    overlay: BTreeMap<IndexId, Entries>,
}

/// Pending entries of one index: a key leads to the document that is there, or to `None` if what the snapshot has
/// there is gone. Persistent: a clone costs nothing and does not change, a write costs the logarithm of what there is.
type Entries = RedBlackTreeMapSync<Vec<u8>, Option<Arc<Object>>>;

/// The pending entries of one index at some moment; what is written later does not change it.
#[derive(Clone, Debug)]
pub struct View(Option<Entries>);

impl WriteSet {
    /// The pending write of a document.
    pub fn get(&self, table: TableId, id: InternalId) -> Option<&DocumentWrite> {
        let write = self.documents.get(&(table, id));
        debug_assert!(write.is_none_or(|write| write.before.is_some() || write.after.is_some()));
        write
    }

    /// All pending writes.
    pub fn iter(&self) -> impl Iterator<Item = (TableId, InternalId, &DocumentWrite)> {
        self.documents
            .iter()
            .map(|((table, id), write)| (*table, *id, write))
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Number of documents written.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Replaces the pending write of a document (`None`: as if it had never been written), keeping the overlay in
    /// step, and returns the one before.
    pub fn set(
        &mut self,
        table: &Table,
        id: InternalId,
        write: Option<DocumentWrite>,
    ) -> Option<DocumentWrite> {
        assert!(
            write
                .as_ref()
                .is_none_or(|write| write.before.is_some() || write.after.is_some()),
            "a write has a before or an after"
        );
        let old = self.documents.remove(&(table.id, id));
        for index in &table.indexes {
            let overlay = self.overlay.entry(index.id).or_default();
            for content in old.iter().flat_map(|old| {
                old.before
                    .as_ref()
                    .map(|stored| &stored.document)
                    .into_iter()
                    .chain(&old.after)
            }) {
                overlay.remove_mut(&index.key(content));
            }
            if let Some(write) = &write {
                if let Some(before) = &write.before
                    && !planted(Bug::OwnDeletesNotSeen)
                {
                    let key = index.key(&before.document);
                    assert!(!overlay.contains_key(&key), "a key belongs to one document");
                    overlay.insert_mut(key, None);
                }
                if let Some(after) = &write.after {
                    let key = index.key(after);
                    assert!(
                        overlay.get(&key).is_none_or(Option::is_none),
                        "a key belongs to one document"
                    );
                    overlay.insert_mut(key, Some(after.clone()));
                }
            }
        }
        if let Some(write) = write {
            let twice = self.documents.insert((table.id, id), write);
            assert!(twice.is_none(), "the old write was taken out");
        }
        old
    }

    /// The pending entries of an index as they are now.
    pub fn view(&self, index: IndexId) -> View {
        View(self.overlay.get(&index).cloned())
    }
}

impl View {
    /// The first entry within a range, in the given order.
    pub fn first(
        &self,
        range: &KeyRange,
        order: Order,
    ) -> Option<(&Vec<u8>, Option<&Arc<Object>>)> {
        if range.is_empty() {
            return None;
        }
        let end = range
            .end
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = self
            .0
            .as_ref()?
            .range::<[u8], _>((Bound::Included(range.start.as_slice()), end));
        let (key, content) = match order {
            Order::Ascending => entries.next(),
            Order::Descending => entries.next_back(),
        }?;
        debug_assert!(range.contains(key));
        Some((key, content.as_ref()))
    }
}
