//! Which records of committed requests have grown old.
//!
//! A mutation that a client sends with a number leaves a record, by which it is recognised when it is sent again. After
//! some time no client sends it again, and the record goes. Records are found in the log, in which everything stands by
//! age: whoever reads it from where he was before meets each record once, when it has become old, and needs no index
//! that every mutation would have to write to.

use crate::persistence::{LogPage, TableId};
use crate::timestamp::Timestamp;
use crate::value::InternalId;

/// A page of the log, looked through for old records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Old {
    /// The records, and when they were written.
    pub records: Vec<(InternalId, Timestamp)>,
    /// Everything at or before this has been looked through.
    pub through: Timestamp,
    /// There may be more that is old.
    pub more: bool,
}

impl Old {
    /// What of `page`, which follows `after` in the log, was written to `table` at or before `horizon`.
    pub fn find(page: &LogPage, table: TableId, after: Timestamp, horizon: Timestamp) -> Self {
        let old = page
            .revisions
            .partition_point(|revision| revision.ts <= horizon);
        let (old, rest) = page.revisions.split_at(old);
        let records = old
            .iter()
            .filter(|revision| revision.table == table && revision.document.is_some())
            .map(|revision| (revision.id, revision.ts));
        let through = old.last().map_or(after, |last| last.ts);
        assert!(through >= after);
        Self {
            records: records.collect(),
            through,
            more: rest.is_empty() && !page.exhausted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::Revision;

    const RECORDS: TableId = TableId(7);

    fn page(revisions: &[(u64, u32, bool)], exhausted: bool) -> LogPage {
        let revision = |&(ts, table, is_live): &(u64, u32, bool)| Revision {
            ts: Timestamp(ts),
            table: TableId(table),
            id: InternalId([ts as u8; 16]),
            prev_ts: None,
            document: is_live.then(Vec::new),
            index_updates: Vec::new(),
        };
        LogPage {
            revisions: revisions.iter().map(revision).collect(),
            exhausted,
        }
    }

    #[test]
    fn records_are_old_at_the_horizon_and_not_before() {
        let log = [(5, 7, true), (6, 8, true), (7, 7, false), (9, 7, true)];
        let found = |horizon, exhausted| {
            let page = page(&log, exhausted);
            let old = Old::find(&page, RECORDS, Timestamp(4), Timestamp(horizon));
            let records = old.records.iter().map(|(_, ts)| ts.0);
            (records.collect::<Vec<_>>(), old.through.0, old.more)
        };
        assert_eq!(found(4, false), (vec![], 4, false));
        assert_eq!(found(5, false), (vec![5], 5, false));
        assert_eq!(found(8, false), (vec![5], 7, false));
        assert_eq!(found(9, false), (vec![5, 9], 9, true));
        assert_eq!(found(9, true), (vec![5, 9], 9, false));
        let nothing = Old::find(&page(&[], true), RECORDS, Timestamp(4), Timestamp(9));
        assert_eq!((nothing.through.0, nothing.more), (4, false));
    }
}
