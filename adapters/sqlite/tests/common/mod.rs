//! Transactions of a known shape: [`DOCUMENTS`] documents each, one key per document.

use concave_core::Timestamp;
use concave_core::persistence::{
    IndexId, IndexRead, IndexUpdate, KeyRange, Order, Persistence, Revision, TableId,
};
use concave_core::value::InternalId;
use futures_executor::block_on;

pub const DOCUMENTS: u8 = 5;

pub fn transaction(ts: u64, document_bytes: usize) -> Vec<Revision> {
    (0..DOCUMENTS)
        .map(|n| {
            let mut id = [n; 16];
            id[..8].copy_from_slice(&ts.to_be_bytes());
            Revision {
                ts: Timestamp(ts),
                table: TableId(1),
                id: InternalId(id),
                prev_ts: None,
                document: Some(vec![ts as u8; document_bytes]),
                index_updates: vec![IndexUpdate {
                    index: IndexId(1),
                    key: id.to_vec(),
                    live: true,
                }],
            }
        })
        .collect()
}

/// The timestamps in the log, after checking that each transaction is there as a whole, with its keys.
pub fn whole_transactions(store: &dyn Persistence) -> Vec<u64> {
    let mut timestamps = Vec::new();
    let mut after = Timestamp::ZERO;
    loop {
        let page = block_on(store.read_log(after, 100)).unwrap();
        for written in page.revisions.chunk_by(|a, b| a.ts == b.ts) {
            after = written[0].ts;
            assert_eq!(written.len(), usize::from(DOCUMENTS), "half of {after:?}");
            timestamps.push(after.0);
        }
        if page.exhausted {
            break;
        }
    }
    let (mut keys, mut range) = (0, KeyRange::all());
    loop {
        let read = IndexRead {
            index: IndexId(1),
            range: range.clone(),
            order: Order::Ascending,
            at: after,
            limit: 100,
        };
        let page = block_on(store.read_index(read)).unwrap();
        keys += page.rows.len();
        match page.rows.last() {
            Some(last) if !page.exhausted => range = range.beyond(&last.key, Order::Ascending),
            _ => break,
        }
    }
    assert_eq!(keys, timestamps.len() * usize::from(DOCUMENTS));
    assert_eq!(block_on(store.max_ts()), Ok(after));
    timestamps
}
