//! Pointed cases: each a corner that adapters are likely to get wrong.

use futures_util::future::join_all;

use super::{
    BackfillEntry, INDEX, IndexId, IndexRead, IndexUpdate, KeyRange, KeyVersion, Order, Revision,
    RevisionName, Subject, Superseded, TABLE, TableId, Timestamp, id, revision,
};

pub(super) async fn empty_database(mut subject: Subject) {
    subject.check_max_ts().await;
    subject.check_log(Timestamp::ZERO, 10).await;
    for order in [Order::Ascending, Order::Descending] {
        for at in [0, 1, u64::MAX] {
            subject
                .check_range(INDEX, &KeyRange::all(), order, Timestamp(at), 10)
                .await;
        }
    }
    subject.write(Vec::new()).await;
    subject.backfill(Vec::new()).await;
    subject.check_max_ts().await;
    let log = subject.storage.read_log(Timestamp(u64::MAX), 1).await;
    assert!(log.expect("read_log").exhausted);
}

/// What is named goes, whether or not all of it is there, and nothing else does; also from an index as a whole.
pub(super) async fn delete(mut subject: Subject) {
    const OTHER: IndexId = IndexId(2);
    let name = |ts: u64, n: u16| RevisionName {
        ts: Timestamp(ts),
        table: TABLE,
        id: id(n),
    };
    let version = |index: IndexId, key: &[u8], ts: u64| KeyVersion {
        index,
        key: key.to_vec(),
        ts: Timestamp(ts),
    };
    for ts in 1..=8_u64 {
        let mut written = Vec::new();
        for n in [1, 2] {
            let document = [n as u8, ts as u8];
            let key = [n as u8];
            let mut one = revision(10 * ts, n, Some(&document), &[(&key, true)]);
            one.prev_ts = (ts > 1).then(|| Timestamp(10 * ts - 10));
            one.index_updates.push(IndexUpdate {
                index: OTHER,
                key: vec![n as u8, ts as u8],
                live: true,
            });
            written.push(one);
        }
        subject.write(written).await;
    }
    subject.delete(Superseded::default()).await;
    let superseded = Superseded {
        revisions: vec![name(20, 1), name(10, 1), name(15, 1), name(10, 9)],
        keys: vec![
            version(INDEX, &[1], 10),
            version(INDEX, &[1], 20),
            version(INDEX, &[1], 15),
            version(INDEX, &[9], 10),
            version(OTHER, &[1, 1], 10),
            version(OTHER, &[1, 2], 20),
            version(IndexId(77), &[1], 10),
        ],
    };
    for _ in 0..2 {
        subject.delete(superseded.clone()).await;
        subject.check_index(INDEX, &[1, 100]).await;
        subject.check_index(OTHER, &[2, 100]).await;
        subject.check_log(Timestamp::ZERO, 1).await;
        subject.check_max_ts().await;
    }
    for ts in [80, 90] {
        let refused = Superseded {
            revisions: vec![name(30, 1), name(ts, 1)],
            keys: vec![version(INDEX, &[1], 30)],
        };
        let answer = subject.storage.delete(refused).await;
        assert!(answer.is_err(), "the newest timestamp must stay");
    }
    subject.check_index(INDEX, &[100]).await;
    // 14 keys of the other index are left.
    let mut calls = 0;
    while !subject
        .storage
        .delete_index(OTHER, 4)
        .await
        .expect("delete_index")
    {
        calls += 1;
        assert!(calls < 10, "deleting an index does not end");
    }
    assert!(calls >= 3, "{calls} calls deleted more than was asked for");
    subject.model.delete_index(OTHER);
    assert_eq!(subject.storage.delete_index(OTHER, 4).await, Ok(true));
    subject.check_index(OTHER, &[100]).await;
    subject.check_index(INDEX, &[100]).await;
    subject.check_log(Timestamp::ZERO, 100).await;
    // Life goes on, in the place of what is gone too.
    let mut next = revision(100, 1, Some(b"next"), &[(&[1], true)]);
    next.prev_ts = Some(Timestamp(80));
    subject.write(vec![next]).await;
    subject.check_index(INDEX, &[1]).await;
    subject.check_log(Timestamp::ZERO, 100).await;
    subject.check_max_ts().await;
}

/// Written, replaced, deleted, written again; and neighbours on both sides that must not show through.
pub(super) async fn versions_of_a_key(mut subject: Subject) {
    let history: [(u64, Option<&[u8]>, bool); 6] = [
        (10, Some(b"first"), true),
        (20, Some(b"second"), true),
        (30, None, false),
        (40, Some(b"again"), true),
        // The document lives on, but without this key.
        (50, Some(b"elsewhere"), false),
        (60, Some(b"back"), true),
    ];
    subject
        .write(vec![
            revision(5, 1, Some(b"before"), &[(b"a", true)]),
            revision(5, 3, Some(b"after"), &[(b"c", true)]),
        ])
        .await;
    let mut prev_ts = None;
    for (ts, document, live) in history {
        let written = Revision {
            prev_ts,
            ..revision(ts, 2, document, &[(b"b", live)])
        };
        prev_ts = document.map(|_| written.ts);
        subject.write(vec![written]).await;
        subject.check_max_ts().await;
    }
    subject.check_index(INDEX, &[1, 2, 3, 100]).await;
    subject.check_log(Timestamp::ZERO, 1).await;
    let point = KeyRange::point(b"b".to_vec());
    for at in 1..=60 {
        for order in [Order::Ascending, Order::Descending] {
            subject
                .check_range(INDEX, &point, order, Timestamp(at), 1)
                .await;
        }
    }
}

/// Keys with hundreds of versions, among keys that are gone.
pub(super) async fn many_versions_and_tombstones(mut subject: Subject) {
    let mut ts = 0;
    for round in 0..300_u64 {
        ts += 10;
        let document = round.to_be_bytes();
        let mut batch = vec![
            revision(ts, 1, Some(&document), &[(b"hot-1", true)]),
            revision(ts, 2, Some(&document), &[(b"hot-3", true)]),
        ];
        let queued = (1_000 + round).to_be_bytes();
        batch.push(revision(ts, 1_000, Some(&document), &[(&queued, true)]));
        subject.write(batch).await;
        // Like a queue that is worked off: all but the newest key have ended.
        ts += 1;
        if round < 299 {
            subject
                .write(vec![revision(ts, 1_000, None, &[(&queued, false)])])
                .await;
        }
    }
    subject
        .write(vec![
            revision(ts + 1, 3, Some(b"late"), &[(b"hot-2", true)]),
            revision(ts + 1, 4, Some(b"late"), &[(b"hot-4", true)]),
        ])
        .await;
    for at in [1, 10, 11, 20, 21, 1_500, 1_501, ts - 1, ts, ts + 1] {
        for order in [Order::Ascending, Order::Descending] {
            for limit in [1, 2, 4, 5, 50] {
                for range in [KeyRange::all(), KeyRange::prefix(b"hot".to_vec())] {
                    subject
                        .check_range(INDEX, &range, order, Timestamp(at), limit)
                        .await;
                }
            }
        }
    }
}

/// Zero bytes, 0xff bytes and prefixes of each other sort as bytes do, and ranges end where they say.
pub(super) async fn awkward_keys(mut subject: Subject) {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let alphabet = [0x00, 0x01, 0x27, 0x7f, 0x80, 0xff];
    for a in alphabet {
        keys.push(vec![a]);
        for b in alphabet {
            keys.push(vec![a, b]);
            keys.push(vec![a, b, 0x00]);
            keys.push(vec![a, b, 0xff]);
        }
    }
    // Longer than any inline key of a page-based engine.
    keys.push(vec![0xff; 4_000]);
    keys.push([vec![0xff; 4_000], vec![0x00]].concat());
    let batch = keys
        .iter()
        .enumerate()
        .map(|(n, key)| revision(7, n as u16, Some(key), &[(key, true)]))
        .collect();
    subject.write(batch).await;
    let at = Timestamp(7);
    for order in [Order::Ascending, Order::Descending] {
        for limit in [1, 7, 1_000] {
            subject
                .check_range(INDEX, &KeyRange::all(), order, at, limit)
                .await;
        }
        for key in &keys {
            let rows = subject
                .check_range(INDEX, &KeyRange::point(key.clone()), order, at, 10)
                .await;
            assert_eq!(rows.len(), 1);
            subject
                .check_range(INDEX, &KeyRange::prefix(key.clone()), order, at, 3)
                .await;
            for end in [&keys[0], &keys[40], &keys[90]] {
                let range = KeyRange {
                    start: key.clone(),
                    end: Some(end.clone()),
                };
                subject.check_range(INDEX, &range, order, at, 5).await;
            }
        }
    }
}

/// Indexes and tables with neighbouring and extreme names do not see each other.
pub(super) async fn separate_indexes(mut subject: Subject) {
    let indexes = [0, 1, 2, 255, 256, u32::MAX - 1, u32::MAX].map(IndexId);
    for (n, index) in indexes.into_iter().enumerate() {
        let mut written = revision(n as u64 + 1, n as u16, Some(b"document"), &[]);
        written.table = TableId(index.0);
        for key in [&[0x00][..], &[0xff, n as u8]] {
            written.index_updates.push(IndexUpdate {
                index,
                key: key.to_vec(),
                live: true,
            });
        }
        subject.write(vec![written]).await;
    }
    for index in indexes {
        subject.check_index(index, &[1, 10]).await;
    }
    subject.check_index(IndexId(3), &[1]).await;
    subject.check_log(Timestamp::ZERO, 2).await;
}

/// Whatever the page size, the log comes in commit order and no timestamp is split.
pub(super) async fn log_pages(mut subject: Subject) {
    let mut n = 0;
    for (ts, count) in [(10, 1), (11, 5), (20, 3), (21, 1), (35, 17), (36, 1)] {
        let mut batch = Vec::new();
        for _ in 0..count {
            n += 1;
            // Ids descend, so that an adapter that sorts by them is found out.
            let mut written = revision(ts, 1_000 - n, Some(&n.to_be_bytes()), &[]);
            written.prev_ts = n.is_multiple_of(3).then_some(Timestamp(u64::from(n) / 3));
            if n.is_multiple_of(4) {
                written.document = None;
            }
            batch.push(written);
        }
        subject.write(batch).await;
        subject.check_max_ts().await;
    }
    // One batch may hold several timestamps.
    subject
        .write(vec![
            revision(40, 1, Some(b"a"), &[(b"a", true)]),
            revision(41, 1, Some(b"b"), &[(b"a", false), (b"b", true)]),
            revision(41, 2, Some(b"c"), &[(b"c", true)]),
            revision(50, 1, None, &[(b"b", false)]),
        ])
        .await;
    subject.check_index(INDEX, &[1, 10]).await;
    for after in 0..=51 {
        for limit in [1, 2, 3, 5, 8, 17, 1_000] {
            subject.check_log(Timestamp(after), limit).await;
        }
    }
}

/// Documents of no bytes, of a mebibyte and more, in one batch and over many pages.
pub(super) async fn large_documents(mut subject: Subject) {
    let sizes = [0, 1, 1 << 20, (1 << 20) + 4_097, 3 << 20, 0, 100_000];
    let batch = sizes
        .iter()
        .enumerate()
        .map(|(n, &size)| {
            let document: Vec<u8> = (0..size).map(|i| (i * 31 + n) as u8).collect();
            revision(9, n as u16, Some(&document), &[(&[n as u8], true)])
        })
        .collect();
    subject.write(batch).await;
    for ts in 10..20 {
        let document = vec![ts as u8; 1 << 20];
        subject
            .write(vec![revision(ts, 0, Some(&document), &[(&[0], true)])])
            .await;
    }
    for order in [Order::Ascending, Order::Descending] {
        for (at, limit) in [(9, 1), (9, 100), (15, 3), (19, 100)] {
            subject
                .check_range(INDEX, &KeyRange::all(), order, Timestamp(at), limit)
                .await;
        }
    }
    subject.check_log(Timestamp::ZERO, 1).await;
    subject.check_log(Timestamp::ZERO, 1_000).await;
}

/// A new index is filled with old revisions while writes already maintain it.
pub(super) async fn backfill(mut subject: Subject) {
    let late = IndexId(7);
    let key = |n: u16| vec![b'k', n as u8];
    let entry = |ts: u64, n: u16| BackfillEntry {
        index: late,
        key: key(n),
        ts: Timestamp(ts),
        table: TABLE,
        id: id(n),
    };
    let update = |n: u16, live| IndexUpdate {
        index: late,
        key: key(n),
        live,
    };
    // Documents 0 to 9 are older than the index; two share each timestamp.
    for pair in 0..5 {
        let ts = 10 + u64::from(pair);
        subject
            .write(vec![
                revision(ts, 2 * pair, Some(&[pair as u8]), &[]),
                revision(ts, 2 * pair + 1, Some(&[pair as u8 + 100]), &[]),
            ])
            .await;
    }
    subject.backfill(vec![entry(10, 1), entry(11, 2)]).await;
    // Now 0 is deleted, 1 is replaced, 2 loses its key, 10 is new. Then what was there before gets its keys.
    let mut writes = vec![
        revision(30, 0, None, &[]),
        revision(30, 1, Some(b"replaced"), &[]),
        revision(30, 2, Some(b"moved"), &[]),
        revision(30, 10, Some(b"new"), &[]),
    ];
    for (written, live) in writes.iter_mut().zip([false, true, false, true]) {
        let n = u16::from_be_bytes([written.id.0[0], written.id.0[1]]);
        written.index_updates.push(update(n, live));
    }
    let entries: Vec<_> = (0..10).map(|n| entry(10 + u64::from(n / 2), n)).collect();
    subject.model.write(&writes);
    subject.model.backfill(&entries);
    let (write, fill) = futures_util::join!(
        subject.storage.write(writes),
        subject.storage.backfill(entries.clone())
    );
    write.expect("write");
    fill.expect("backfill");
    subject.check_index(late, &[1, 3, 100]).await;
    // Again, and over versions that writes made: nothing changes.
    subject.backfill(entries).await;
    subject
        .backfill(vec![entry(30, 1), entry(30, 2), entry(30, 10)])
        .await;
    subject.check_index(late, &[1, 100]).await;
    subject.check_log(Timestamp::ZERO, 3).await;
    subject.check_max_ts().await;
}

/// Reads at a durable timestamp give the same, whatever is being written meanwhile.
pub(super) async fn reads_beside_writes(mut subject: Subject) {
    let keys: Vec<[u8; 2]> = (0..100_u16).map(u16::to_be_bytes).collect();
    let batch = |ts: u64| -> Vec<Revision> {
        keys.iter()
            .enumerate()
            .map(|(n, key)| {
                let live = ts == 1 || !(n as u64 + ts).is_multiple_of(3);
                let document = ts.to_be_bytes();
                revision(ts, n as u16, live.then_some(&document), &[(key, live)])
            })
            .collect()
    };
    subject.write(batch(1)).await;
    for ts in 2..20 {
        let at = Timestamp(ts - 1);
        let read = |order, limit| IndexRead {
            index: INDEX,
            range: KeyRange::all(),
            order,
            at,
            limit,
        };
        let write = subject.storage.write(batch(ts));
        let reads = join_all((0..8).map(|n| {
            let order = [Order::Ascending, Order::Descending][n % 2];
            subject.storage.read_index(read(order, 30 + n))
        }));
        let (written, pages) = futures_util::join!(write, reads);
        written.expect("write");
        let expected = [Order::Ascending, Order::Descending]
            .map(|order| subject.model.rows(INDEX, &KeyRange::all(), order, at));
        for (n, page) in pages.into_iter().enumerate() {
            let page = page.expect("read_index");
            assert!(!page.rows.is_empty() && expected[n % 2].starts_with(&page.rows));
        }
        subject.model.write(&batch(ts));
        subject
            .check_range(INDEX, &KeyRange::all(), Order::Ascending, at, 1_000)
            .await;
        subject.check_max_ts().await;
    }
    subject.check_log(Timestamp(10), 250).await;
}

pub(super) async fn globals(subject: Subject) {
    let storage = &subject.storage;
    let large: Vec<u8> = (0..100_000).map(|i| i as u8).collect();
    assert_eq!(storage.get_global("name").await, Ok(None));
    for value in [b"first".to_vec(), b"second".to_vec(), Vec::new(), large] {
        storage
            .set_global("name", value.clone())
            .await
            .expect("set_global");
        assert_eq!(storage.get_global("name").await, Ok(Some(value)));
        assert_eq!(storage.get_global("Name").await, Ok(None));
    }
    storage
        .set_global("other", vec![0, 0xff])
        .await
        .expect("set_global");
    assert_eq!(storage.get_global("other").await, Ok(Some(vec![0, 0xff])));
    assert_eq!(
        storage.get_global("name").await.map(|v| v.map(|v| v.len())),
        Ok(Some(100_000))
    );
    subject.check_max_ts().await;
}
