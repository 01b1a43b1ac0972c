//! Index definitions and the keys they give to documents.

use crate::key;
use crate::persistence::{IndexId, TableId};
use crate::planted::{Bug, planted};
use crate::value::{FieldPath, Object};

/// Where an index is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Every write maintains it, older documents are being added; it cannot be read yet.
    Backfilling,
    /// Complete, and waiting for the push that created it to finish; it cannot be read yet.
    Backfilled,
    /// In use.
    Ready,
    /// Gone: no table has it. Its document stays, so that its id, under which storage may still hold keys, is not
    /// given to another index.
    Dropped,
}

/// A B-tree index over documents of one table.
#[derive(Clone, Debug)]
pub struct Index {
    /// Storage name; never reused.
    pub id: IndexId,
    /// The table.
    pub table: TableId,
    /// Name, unique within the table.
    pub name: String,
    /// Fields of the key, in order, the trailing `_creationTime` and `_id` included.
    pub fields: Vec<FieldPath>,
    /// Where it is in its life.
    pub state: IndexState,
    /// Staged indexes are complete but not readable until a push enables them.
    pub staged: bool,
}

impl Index {
    /// The key under which this index files a document.
    pub fn key(&self, document: &Object) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        for field in &self.fields {
            key::encode_value(field.get(document), &mut key);
        }
        key
    }

    /// Whether functions may read it.
    pub fn is_readable(&self) -> bool {
        let is_ready = self.state == IndexState::Ready || planted(Bug::IndexReadTooEarly);
        is_ready && !self.staged
    }
}
