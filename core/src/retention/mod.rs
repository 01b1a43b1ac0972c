//! What old versions may go.
//!
//! A revision that another one has replaced is read only by those who read at a timestamp before the newer one. So
//! there is a *horizon*: nobody reads at timestamps before it, and whatever was replaced at or before it may go. This
//! machine says where the horizon is, and what goes.
//!
//! There is one notion of what may still be read: the timestamp up to which the log of recent writes was forgotten
//! ([`WriteLog::begins_after`](crate::commit::WriteLog::begins_after)), or the oldest snapshot that is in use, be it by
//! a transaction, a reader of the past or a page of an index's backfill, since each of them pins its snapshot; whichever
//! is older. It never decreases, since no snapshot older than the log is handed out (`OutOfRetention`). The window only
//! ever keeps more than that. After a restart, the oldest snapshot is the newest commit, which is later than any horizon before.
//!
//! Where an older document was replaced, its revision goes, and the versions of index keys that led to it; where the
//! newer one has another key, or is a tombstone, the end of the older key goes too. The tombstone itself goes with what
//! it replaced. All of that is deleted in one step, so that what is found after a crash is either whole or gone.
//!
//! The keys are computed from the documents with the definitions of *all* indexes that the table ever had, as their
//! documents are never deleted: naming a version that an index never had does no harm. A dropped index loses all its
//! keys once the horizon has passed its end; its document stays, so that its id is not used again.

pub mod receipts;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::catalog::{Index, IndexState, parse_index, well_known};
use crate::error::Result;
use crate::persistence::{
    IndexId, KeyVersion, LogPage, Revision, RevisionName, Superseded, TableId,
};
use crate::planted::{Bug, planted};
use crate::timestamp::Timestamp;
use crate::value::{Object, decode_document};

/// For how long superseded versions are kept, if nothing else is asked for. Snapshots of the past are promised for some
/// 40 seconds; the rest is for clocks that jump. One window serves the log and the indexes: keys lead to revisions of
/// the log, and nothing reads older revisions by any other way.
pub const WINDOW: Duration = Duration::from_secs(4 * 60);

/// How far old versions may go, and have gone.
///
/// Invariants: `done <= horizon`; neither decreases; the horizon is at or before the oldest timestamp that may still
/// be read, and before the newest commit.
#[derive(Debug)]
pub struct Retention {
    window: Duration,
    done: Timestamp,
    horizon: Timestamp,
}

impl Retention {
    /// Goes on after everything that was replaced at or before `done` has gone.
    pub fn new(window: Duration, done: Timestamp) -> Self {
        Self {
            window,
            done,
            horizon: done,
        }
    }

    /// Everything that was replaced at or before this has gone.
    pub fn done(&self) -> Timestamp {
        self.done
    }

    /// Whatever was replaced at or before this may go.
    pub fn horizon(&self) -> Timestamp {
        self.horizon
    }

    /// Moves the horizon, once all that could go has gone; `true` if there is something to do then. `oldest` is the
    /// oldest timestamp that may still be read, `newest` a durable commit.
    pub fn advance(&mut self, now: Timestamp, oldest: Timestamp, newest: Timestamp) -> bool {
        assert!(self.done == self.horizon, "one pass at a time");
        assert!(oldest <= newest, "the newest commit can be read");
        assert!(
            self.horizon <= oldest,
            "nothing that may be read was cut off before"
        );
        let window = u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX);
        // The newest commit stays whole: storage goes on from it.
        let before_newest = Timestamp(newest.0.saturating_sub(1));
        let horizon = Timestamp(now.0.saturating_sub(window))
            .min(oldest)
            .min(before_newest);
        // A clock that jumps back does not bring anything back.
        self.horizon = self.horizon.max(horizon);
        self.done < self.horizon
    }

    /// Gives a pass up; what is not done is done by the next one.
    pub fn give_up(&mut self) {
        self.horizon = self.done;
    }

    /// The revisions up to the horizon of the log's page after [`Self::done`], and how far that is.
    pub fn take(&self, page: LogPage) -> (Vec<Revision>, Timestamp) {
        let mut revisions = page.revisions;
        let last = revisions.last().map(|last| last.ts);
        let mut inside = revisions.partition_point(|revision| revision.ts <= self.horizon);
        if planted(Bug::OneVersionTooMany) {
            inside = revisions.len().min(inside + 1);
        }
        revisions.truncate(inside);
        let through = match last {
            Some(last) if !page.exhausted && last < self.horizon => last,
            _ => self.horizon,
        };
        (revisions, through)
    }

    /// What [`Self::take`] gave is done.
    pub fn finish(&mut self, through: Timestamp) {
        assert!(self.done < through && through <= self.horizon);
        self.done = through;
    }
}

/// The indexes whose keys go one by one.
#[derive(Debug, Default)]
pub struct Indexes {
    of_table: BTreeMap<TableId, Vec<Index>>,
}

impl Indexes {
    /// Takes an index's document, at or after the horizon, and the time of its last change. Indexes that were dropped
    /// at or before the horizon go as a whole.
    ///
    /// # Errors
    /// If it is not the document of an index.
    pub fn add(&mut self, document: &Object, changed: Timestamp, horizon: Timestamp) -> Result<()> {
        let index = parse_index(document)?;
        if index.state != IndexState::Dropped || changed > horizon {
            self.of_table.entry(index.table).or_default().push(index);
        }
        Ok(())
    }

    /// What goes because of a revision at or before the horizon; `old` is the document that it replaced, unless that
    /// has gone already.
    ///
    /// # Errors
    /// If the revision's document is damaged.
    pub fn superseded_by(&self, new: &Revision, old: Option<&Object>) -> Result<Superseded> {
        let mut superseded = Superseded::default();
        let name = |ts| RevisionName {
            ts,
            table: new.table,
            id: new.id,
        };
        let is_left = new.document.is_none() && planted(Bug::TombstoneGoesFirst);
        if let (Some(prev_ts), Some(old), false) = (new.prev_ts, old, is_left) {
            assert!(prev_ts < new.ts, "what is replaced was there before");
            let document = new.document.as_deref().map(decode_document).transpose()?;
            superseded.revisions.push(name(prev_ts));
            for index in self.of_table.get(&new.table).into_iter().flatten() {
                let key = index.key(old);
                let ends = document.as_ref().is_none_or(|new| index.key(new) != key);
                if ends || planted(Bug::SameKeyGoes) {
                    superseded.keys.push(KeyVersion {
                        index: index.id,
                        key: key.clone(),
                        ts: new.ts,
                    });
                }
                if ends && planted(Bug::KeyBeginningStays) {
                    continue;
                }
                superseded.keys.push(KeyVersion {
                    index: index.id,
                    key,
                    ts: prev_ts,
                });
            }
        }
        if new.document.is_none() {
            superseded.revisions.push(name(new.ts));
        }
        Ok(superseded)
    }
}

/// The index that a revision at or before the horizon has dropped: all its keys go.
///
/// # Errors
/// If the revision's document is damaged.
pub fn dropped_index(revision: &Revision) -> Result<Option<IndexId>> {
    let Some(document) = &revision.document else {
        return Ok(None);
    };
    if revision.table != well_known::INDEXES {
        return Ok(None);
    }
    let index = parse_index(&decode_document(document)?)?;
    Ok((index.state == IndexState::Dropped).then_some(index.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_horizon_keeps_what_may_be_read() {
        let horizon = |now: u64, oldest, newest| {
            let mut retention = Retention::new(Duration::from_nanos(10), Timestamp(5));
            let more = retention.advance(Timestamp(now), Timestamp(oldest), Timestamp(newest));
            assert_eq!(more, retention.horizon() > Timestamp(5));
            retention.horizon().0
        };
        assert_eq!(horizon(100, 95, 98), 90, "the window");
        assert_eq!(horizon(100, 80, 98), 80, "the oldest reader");
        assert_eq!(horizon(200, 98, 98), 97, "the newest commit");
        assert_eq!(horizon(3, 98, 98), 5, "a clock that is behind");
    }

    #[test]
    #[should_panic(expected = "nothing that may be read was cut off before")]
    fn a_reader_behind_the_horizon_is_a_defect() {
        let mut retention = Retention::new(Duration::ZERO, Timestamp(5));
        retention.advance(Timestamp(100), Timestamp(4), Timestamp(98));
    }
}
