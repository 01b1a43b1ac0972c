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
    CommitRequest {
        snapshot: Timestamp(snapshot),
        reads: set,
        writes,
    }
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
                assert!(committer.log().get(Timestamp(11)).is_none());
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
fn a_trimmed_log_refuses_old_snapshots() {
    let mut committer = Committer::new(Timestamp(10));
    committer
        .submit(Timestamp(0), request(10, &[], &[1]), 1)
        .unwrap();
    committer.next_batch().unwrap();
    committer.batch_persisted(Ok(()));
    committer.trim_log(Timestamp(99));
    assert!(committer.log().is_empty());
    let (_, rejection) = committer
        .submit(Timestamp(0), request(10, &[], &[2]), 2)
        .unwrap_err();
    assert_eq!(rejection, Rejection::SnapshotTooOld);
    committer
        .submit(Timestamp(0), request(11, &[], &[2]), 2)
        .unwrap();
}
