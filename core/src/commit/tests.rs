use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;
use crate::persistence::{IndexId, KeyRange};

const INDEX: IndexId = IndexId(9);

fn request(snapshot: u64, reads: &[u8], writes: &[u8]) -> CommitRequest {
    let mut set = ReadSet::default();
    for key in reads {
        set.insert(INDEX, KeyRange::point(vec![*key]));
    }
    let writes = writes
        .iter()
        .map(|key| PreparedWrite {
            table: TableId(9),
            id: InternalId([*key; 16]),
            prev_ts: None,
            document: Some(vec![*key]),
            index_updates: vec![IndexUpdate {
                index: INDEX,
                key: vec![*key],
                live: true,
            }],
            catalog_change: None,
        })
        .collect();
    CommitRequest::new(Timestamp(snapshot), set, writes)
}

fn published(outcome: BatchOutcome<u32>) -> Vec<(u64, u32)> {
    match outcome {
        BatchOutcome::Published(commits) => commits
            .iter()
            .map(|commit| (commit.ts.0, commit.ticket))
            .collect(),
        other => panic!("not published: {other:?}"),
    }
}

#[test]
fn conflicts_with_commits_that_are_still_on_their_way_to_disk() {
    let mut committer = Committer::new(Timestamp(10));
    committer
        .submit(Timestamp(0), request(10, &[1], &[1]), 1)
        .unwrap();
    let (_, rejection) = committer
        .submit(Timestamp(0), request(10, &[1], &[1]), 2)
        .unwrap_err();
    assert_eq!(
        rejection,
        Rejection::Conflict(Conflict {
            with: Timestamp(11),
            index: INDEX,
            key: vec![1]
        })
    );
    committer
        .submit(Timestamp(0), request(10, &[2], &[2]), 3)
        .unwrap();
    assert_eq!(committer.next_batch().unwrap().len(), 2);
    assert_eq!(
        published(committer.batch_persisted(Ok(()))),
        [(11, 1), (12, 3)]
    );
    committer
        .submit(Timestamp(100), request(12, &[1], &[1]), 4)
        .unwrap();
    assert_eq!(
        committer.durable(),
        Timestamp(12),
        "nothing is published before it is durable"
    );
}

#[test]
fn the_next_batch_fills_while_one_is_in_flight() {
    let mut committer = Committer::new(Timestamp(10));
    committer
        .submit(Timestamp(20), request(10, &[], &[1]), 1)
        .unwrap();
    assert!(committer.next_batch().is_some());
    committer
        .submit(Timestamp(5), request(10, &[], &[2]), 2)
        .unwrap();
    committer
        .submit(Timestamp(5), request(10, &[], &[3]), 3)
        .unwrap();
    assert!(committer.next_batch().is_none());
    assert_eq!(published(committer.batch_persisted(Ok(()))), [(20, 1)]);
    assert_eq!(committer.next_batch().unwrap().len(), 2);
    assert_eq!(
        published(committer.batch_persisted(Ok(()))),
        [(21, 2), (22, 3)]
    );
}

#[test]
fn no_more_wait_for_the_disk_than_there_is_room_for() {
    let mut committer = Committer::new(Timestamp(10));
    let submit = |committer: &mut Committer<u32>, ticket| {
        committer.submit(Timestamp(20), request(10, &[], &[1]), ticket)
    };
    let room = u32::try_from(PENDING_COMMITS_MAX).unwrap();
    for ticket in 0..room {
        submit(&mut committer, ticket).unwrap();
    }
    let refused = submit(&mut committer, room).unwrap_err();
    assert_eq!(refused, (room, Rejection::Overloaded));
    let batch = committer.next_batch().unwrap();
    assert_eq!(batch.len(), PENDING_COMMITS_MAX);
    let last = submit(&mut committer, room).unwrap();
    committer.batch_persisted(Ok(()));
    assert_eq!(committer.next_batch().unwrap().len(), 1);
    assert_eq!(
        published(committer.batch_persisted(Ok(()))),
        [(last.0, room)]
    );
}

#[test]
fn an_unknown_outcome_is_settled_by_reading_back() {
    for (newest, survives) in [(11, true), (10, false)] {
        let mut committer = Committer::new(Timestamp(10));
        committer
            .submit(Timestamp(0), request(10, &[], &[1]), 1)
            .unwrap();
        committer.next_batch().unwrap();
        committer
            .submit(Timestamp(0), request(10, &[], &[2]), 2)
            .unwrap();
        let outcome = committer.batch_persisted(Err(PersistenceError::Unknown("timeout".into())));
        assert!(matches!(
            outcome,
            BatchOutcome::ReadBack {
                after: Timestamp(10)
            }
        ));
        assert!(
            committer.next_batch().is_none(),
            "nothing is written while the outcome is unknown"
        );
        match committer.batch_resolved(Timestamp(newest)) {
            BatchOutcome::Published(_) => assert!(survives),
            BatchOutcome::Failed(tickets, error) => {
                assert!(!survives);
                assert_eq!(tickets, [1]);
                assert_eq!(error.kind(), crate::ErrorKind::Transient);
                assert_eq!(committer.log().len(), 1, "the failed commit is forgotten");
            }
            other => panic!("{other:?}"),
        }
        assert!(committer.next_batch().is_some());
    }
}

#[test]
fn losing_the_lease_stops_all_writes() {
    let mut committer = Committer::new(Timestamp(10));
    committer
        .submit(Timestamp(0), request(10, &[], &[1]), 1)
        .unwrap();
    committer.next_batch().unwrap();
    committer
        .submit(Timestamp(0), request(10, &[], &[2]), 2)
        .unwrap();
    match committer.batch_persisted(Err(PersistenceError::LeaseLost("b".into()))) {
        BatchOutcome::Failed(tickets, _) => assert_eq!(tickets, [1, 2]),
        other => panic!("{other:?}"),
    }
    let (_, rejection) = committer
        .submit(Timestamp(0), request(10, &[], &[3]), 3)
        .unwrap_err();
    assert!(matches!(rejection, Rejection::Halted(_)));
}

#[test]
fn losing_the_lease_while_an_outcome_is_unknown_leaves_it_unknown() {
    let mut committer = Committer::new(Timestamp(10));
    for ticket in [1, 2] {
        committer
            .submit(Timestamp(0), request(10, &[], &[ticket]), ticket)
            .unwrap();
        committer.next_batch();
    }
    let outcome = committer.batch_persisted(Err(PersistenceError::Unknown("b".into())));
    assert!(matches!(outcome, BatchOutcome::ReadBack { .. }));
    match committer.batch_abandoned(PersistenceError::LeaseLost("b".into())) {
        BatchOutcome::Failed(tickets, error) => {
            assert_eq!(tickets, [1, 2]);
            assert_eq!(error.code, "StorageOutcomeUnknown");
        }
        other => panic!("{other:?}"),
    }
    let (_, rejection) = committer
        .submit(Timestamp(0), request(10, &[], &[3]), 3)
        .unwrap_err();
    assert!(matches!(rejection, Rejection::Halted(error) if error.code == "LeaseLost"));
}

#[test]
fn no_more_bytes_wait_for_the_disk_than_there_is_room_for() {
    let size = request(10, &[], &[1]).bytes;
    for (room, fit) in [(3 * size, 3), (3 * size - 1, 2), (0, 1)] {
        let mut committer = Committer::new(Timestamp(10)).with_room(room);
        let mut submit =
            |ticket: u8| committer.submit(Timestamp(0), request(10, &[], &[ticket]), ticket);
        for ticket in 0..fit {
            submit(ticket).unwrap();
        }
        assert_eq!(submit(fit).unwrap_err(), (fit, Rejection::Overloaded));
        assert_eq!(committer.next_batch().unwrap().len(), usize::from(fit));
        committer
            .submit(Timestamp(0), request(10, &[], &[fit]), fit)
            .unwrap();
    }
}

#[test]
fn a_trimmed_log_refuses_old_snapshots() {
    let mut committer = Committer::new(Timestamp(10));
    committer
        .submit(Timestamp(0), request(10, &[], &[1]), 1)
        .unwrap();
    committer.next_batch().unwrap();
    committer.batch_persisted(Ok(()));
    committer.trim_log(Timestamp(99), Room::NONE);
    assert!(committer.log().is_empty());
    let (_, rejection) = committer
        .submit(Timestamp(0), request(10, &[], &[2]), 2)
        .unwrap_err();
    assert_eq!(rejection, Rejection::SnapshotTooOld);
    committer
        .submit(Timestamp(0), request(11, &[], &[2]), 2)
        .unwrap();
}

proptest! {
    /// The log says of any read set what looking at all commits one by one would say.
    #[test]
    fn the_log_finds_the_first_conflict(
        commits in vec((1u64..4, btree_set((0u32..3, 0u8..6), 1..4)), 0..24),
        failed in (0usize..24, 0usize..4),
        trimmed in (0u64..60, 0usize..24, 0usize..24),
        reads in vec((0u32..3, 0u8..6, 0u8..3), 0..4),
        after in 0u64..60,
    ) {
        let mut log = WriteLog::new(Timestamp::ZERO);
        let mut model = Vec::new();
        let mut ts = 0;
        for (step, keys) in commits {
            ts += step;
            let keys: Vec<_> = keys
                .into_iter()
                .map(|(index, key)| (IndexId(index), vec![key]))
                .collect();
            log.append(Timestamp(ts), Arc::new(WrittenKeys::new(keys.clone())));
            model.push((Timestamp(ts), keys));
        }
        let failed = failed.0.min(model.len())..(failed.0 + failed.1).min(model.len());
        let failed: Vec<_> = model.drain(failed).collect();
        if let (Some(first), Some(last)) = (failed.first(), failed.last()) {
            log.remove(first.0..=last.0);
        }
        // So much as the newest `trimmed.2` take.
        let bytes_of = |commits: &[(Timestamp, Vec<_>)]| -> usize {
            let all = commits.iter().map(|(_, keys)| WrittenKeys::new(keys.clone()).heap_bytes());
            all.sum()
        };
        prop_assert_eq!(log.bytes(), bytes_of(&model));
        let fit = trimmed.2.min(model.len());
        let bytes = bytes_of(&model[model.len() - fit..]);
        log.trim(Timestamp(trimmed.0), Room { commits: trimmed.1, bytes });
        let old = model.partition_point(|(ts, _)| ts.0 <= trimmed.0);
        let old = old.min(model.len().saturating_sub(trimmed.1.min(fit)));
        let begins_after = model.drain(..old).next_back().map_or(Timestamp::ZERO, |(ts, _)| ts);
        prop_assert_eq!(log.begins_after(), begins_after);
        prop_assert_eq!(log.len(), model.len());
        prop_assert_eq!(log.bytes(), bytes_of(&model));

        let mut set = ReadSet::default();
        for (index, start, length) in reads {
            let range = KeyRange { start: vec![start], end: Some(vec![start + length]) };
            set.insert(IndexId(index), range);
        }
        let after = Timestamp(after).max(begins_after);
        let expected = model.iter().filter(|(ts, _)| *ts > after).find_map(|(ts, keys)| {
            let (index, key) = keys.iter().find(|(index, key)| set.contains(*index, key))?;
            Some(Conflict { with: *ts, index: *index, key: key.clone() })
        });
        prop_assert_eq!(log.first_conflict(&set, after), expected);
    }
}
