//! Query sets and transitions.

use super::*;
use crate::request_id::RequestId;

#[test]
fn an_empty_query_set_is_confirmed_by_an_empty_transition() {
    let mut rig = Rig::new();
    rig.connect();
    rig.quiet();
    rig.modify(0, json!([]));
    rig.begin(50, &[]);
    assert_eq!(rig.transition(), (version(1, 0, 50), vec![]));
    rig.quiet();
}

#[test]
fn queries_of_a_transition_run_at_its_timestamp() {
    let mut rig = Rig::new();
    rig.modify(0, json!([add(1), add(2)]));
    rig.begin(50, &[]);
    let runs = [rig.run(), rig.run()];
    assert!(runs.iter().all(|run| run.ts == Timestamp(50)));
    assert_eq!(&*runs[0].path, "m:q");
    assert_eq!(&*runs[0].args, r#"[{"id":1}]"#);
    rig.answer(2, "2.0");
    rig.quiet();
    rig.answer(1, r#"{"a":[1.0]}"#);
    let expected = vec![updated(1, json!({"a": [1.0]})), updated(2, json!(2.0))];
    assert_eq!(rig.transition(), (version(1, 0, 50), expected));
    rig.quiet();
}

#[test]
fn an_invalidated_query_runs_again_and_others_do_not() {
    let mut rig = Rig::new();
    rig.modify(0, json!([add(1), add(2)]));
    rig.begin(50, &[]);
    rig.answer(1, "1.0");
    rig.answer(2, "2.0");
    rig.effects.clear();
    rig.transition();
    rig.feed(Input::Invalidated);
    rig.begin(60, &[2, 77]);
    assert_eq!(rig.run().query_id, 2);
    // While a transition is under way, the next one waits.
    rig.feed(Input::Invalidated);
    rig.quiet();
    rig.answer(2, "3.0");
    assert_eq!(
        rig.transition(),
        (version(1, 0, 60), vec![updated(2, json!(3.0))])
    );
    rig.begin(61, &[1, 2]);
    assert_eq!((rig.run().query_id, rig.run().query_id), (1, 2));
}

#[test]
fn results_that_the_client_has_are_not_sent_again_but_the_transition_is() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0]);
    rig.run();
    rig.answer(0, "0.0");
    assert_eq!(rig.transition(), (version(1, 0, 60), vec![]));

    // Errors are compared without their request id.
    for (ts, id, expected) in [(70, 1, 1), (80, 2, 0)] {
        rig.feed(Input::Invalidated);
        rig.begin(ts, &[0]);
        rig.run();
        let error = FunctionError {
            request_id: RequestId::from_bytes([id; 8]),
            printed: Some("Uncaught Error: no\n".into()),
            data: None,
        };
        rig.finish(0, Ok(QueryOutcome::failure(&error, &[], None)));
        let (end, modifications) = rig.transition();
        assert_eq!(end, version(1, 0, ts));
        assert_eq!(modifications.len(), expected);
    }
    rig.quiet();
}

#[test]
fn a_needless_invalidation_is_not_passed_on() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.feed(Input::Invalidated);
    rig.begin(60, &[]);
    rig.quiet();
    // The chain of versions goes on from what was sent.
    rig.feed(Input::Invalidated);
    rig.begin(70, &[0]);
    rig.run();
    rig.answer(0, "1.0");
    match rig.message() {
        ServerMessage::Transition { start_version, .. } => {
            assert_eq!(start_version, version(1, 0, 50));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_during_a_transition_belong_to_the_next() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0]);
    rig.run();
    rig.modify(1, json!([remove(0), add(1)]));
    rig.modify(2, json!([add(2)]));
    rig.quiet();
    rig.answer(0, "1.0");
    assert_eq!(
        rig.transition(),
        (version(1, 0, 60), vec![updated(0, json!(1.0))])
    );
    rig.begin(60, &[0]);
    assert!(matches!(rig.effect(), Effect::Unsubscribe(0)));
    rig.effects.clear();
    rig.answer(1, "1.0");
    rig.answer(2, "2.0");
    let removed = StateModification::QueryRemoved { query_id: 0 };
    let expected = vec![updated(1, json!(1.0)), updated(2, json!(2.0)), removed];
    assert_eq!(rig.transition(), (version(3, 0, 60), expected));
    rig.quiet();
}

#[test]
fn a_query_that_comes_and_goes_unseen_leaves_no_trace() {
    let mut rig = Rig::new();
    rig.modify(0, json!([add(0), remove(0)]));
    rig.begin(50, &[]);
    assert_eq!(rig.transition(), (version(1, 0, 50), vec![]));
    rig.quiet();
}

#[test]
fn an_id_used_anew_gets_the_new_result() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.modify(1, json!([remove(0), add(0)]));
    rig.begin(50, &[]);
    assert!(matches!(rig.effect(), Effect::Unsubscribe(0)));
    rig.run();
    rig.answer(0, "0.0");
    assert_eq!(
        rig.transition(),
        (version(2, 0, 50), vec![updated(0, json!(0.0))])
    );
}

#[test]
fn defective_query_set_changes_are_fatal() {
    let change = |base: u32, new: u32, modifications: Json| json!({"type": "ModifyQuerySet", "baseVersion": base, "newVersion": new, "modifications": modifications});
    for bad in [
        change(0, 2, json!([])),
        change(2, 3, json!([])),
        change(1, 1, json!([])),
        change(1, 2, json!([add(0)])),
        change(1, 2, json!([add(5), add(5)])),
        change(1, 2, json!([remove(5)])),
        change(1, 2, json!([remove(0), remove(0)])),
        json!({"type": "Nonsense"}),
    ] {
        let mut rig = Rig::new();
        rig.subscribe(50);
        rig.say(bad.clone());
        let (message, close) = rig.closed();
        assert!(
            matches!(message, Some(ServerMessage::FatalError { .. })),
            "{bad}"
        );
        assert_eq!(close, frame(None, ""));
    }
    let mut rig = Rig::new();
    rig.modify(4, json!([]));
    let expected = ServerMessage::FatalError {
        error: "base version 4 does not match 0".into(),
    };
    assert_eq!(rig.closed().0, Some(expected));
}

#[test]
fn journals_are_fed_back() {
    let mut rig = Rig::new();
    let mut subscription = add(0);
    subscription["journal"] = json!("from before");
    rig.modify(0, json!([subscription]));
    rig.begin(50, &[]);
    assert_eq!(rig.run().journal.as_deref(), Some("from before"));
    rig.finish(0, Ok(QueryOutcome::success("1.0", &[], Some("page 1"))));
    let (_, modifications) = rig.transition();
    assert!(
        matches!(&modifications[..], [StateModification::QueryUpdated { journal: Some(journal), .. }] if journal == "page 1")
    );
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0]);
    assert_eq!(rig.run().journal.as_deref(), Some("page 1"));
    rig.answer(0, "1.0");
    // The same value with another journal is news.
    assert_eq!(rig.transition().1, vec![updated(0, json!(1.0))]);
}

#[test]
fn transient_errors_are_tried_again_later_and_later() {
    let mut rig = Rig::new();
    rig.modify(0, json!([add(0), add(1)]));
    let mut ts = 50;
    for pause_ms in [500, 1000, 2000] {
        rig.begin(ts, &[]);
        while let Some(Effect::RunQuery(run)) = rig.effects.pop_front() {
            assert_eq!(run.ts, Timestamp(ts));
            match run.query_id {
                0 => rig.finish(0, Err(Error::overloaded("Busy", ""))),
                id => rig.answer(id, "1.0"),
            }
        }
        rig.pass(Duration::from_millis(pause_ms - 1));
        rig.quiet();
        rig.pass(Duration::from_millis(1));
        ts += 1;
    }
    // What succeeded before and still holds need not run again.
    rig.begin(ts, &[]);
    assert_eq!(rig.run().query_id, 0);
    rig.answer(0, "0.0");
    let expected = vec![updated(0, json!(0.0)), updated(1, json!(1.0))];
    assert_eq!(rig.transition(), (version(1, 0, ts), expected));
    rig.quiet();

    // After a success, the pauses are short again.
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0]);
    rig.run();
    rig.finish(0, Err(Error::operational("disk")));
    rig.quiet();
    // A change of the query set does not wait for the pause.
    rig.modify(1, json!([remove(0)]));
    rig.begin(61, &[0]);
    assert!(matches!(rig.effect(), Effect::Unsubscribe(0)));
    let removed = StateModification::QueryRemoved { query_id: 0 };
    assert_eq!(rig.transition(), (version(2, 0, 61), vec![removed]));
    assert_eq!(rig.effects.len(), 0);
}

#[test]
fn an_invalidated_query_that_could_not_run_is_not_forgotten() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0]);
    rig.run();
    rig.finish(0, Err(Error::overloaded("Busy", "")));
    rig.pass(Duration::from_millis(500));
    rig.begin(60, &[]);
    rig.run();
    rig.answer(0, "1.0");
    let expected = vec![updated(0, json!(1.0))];
    assert_eq!(rig.transition(), (version(1, 0, 60), expected));
    rig.quiet();
}

#[test]
fn the_longest_pause_is_ten_minutes() {
    let mut rig = Rig::new();
    rig.modify(0, json!([add(0)]));
    for round in 0..40 {
        rig.effects
            .retain(|effect| matches!(effect, Effect::BeginTransition));
        rig.begin(50, &[]);
        rig.run();
        rig.finish(0, Err(Error::overloaded("Busy", "")));
        let pause = Duration::from_millis(500)
            .saturating_mul(1 << round.min(20))
            .min(Duration::from_secs(600));
        let mut left = pause;
        while left > Duration::from_millis(1) {
            assert!(rig.effects.iter().all(|e| matches!(e, Effect::Ping)));
            let step = left.min(Duration::from_secs(60)) - Duration::from_millis(1);
            let step = step.max(Duration::from_millis(1));
            rig.pass(step);
            rig.feed(Input::Activity);
            left -= step;
        }
        rig.pass(left);
    }
}

#[test]
fn lasting_errors_end_the_connection() {
    let mut rig = Rig::new();
    rig.modify(0, json!([add(0), add(1)]));
    rig.begin(50, &[]);
    rig.finish(0, Err(Error::overloaded("Busy", "")));
    rig.finish(1, Err(Error::bad_request("BadPath", "no such path")));
    let (message, close) = rig.closed();
    assert!(matches!(message, Some(ServerMessage::FatalError { .. })));
    assert_eq!(close, frame(None, ""));
}

#[test]
fn at_most_twenty_queries_run_at_once() {
    let mut rig = Rig::new();
    let all: Vec<Json> = (0..50).map(add).collect();
    rig.modify(0, json!(all));
    rig.begin(50, &[]);
    assert_eq!(rig.effects.len(), 20);
    let mut done = 0;
    while let Some(Effect::RunQuery(run)) = rig.effects.pop_front() {
        rig.answer(run.query_id, "1.0");
        done += 1;
        assert_eq!(rig.effects.len(), 20.min(50 - done));
    }
    assert_eq!(rig.transition().1.len(), 50);
}

#[test]
fn a_client_that_does_not_keep_up_skips_states() {
    let mut rig = Rig::new();
    rig.takes = false;
    rig.modify(0, json!([]));
    rig.begin(50, &[]);
    rig.modify(1, json!([]));
    rig.begin(51, &[]);
    for base in 2..10 {
        rig.modify(base, json!([]));
    }
    assert!(rig.effects.is_empty(), "two transitions wait");
    rig.take_one();
    rig.begin(60, &[]);
    let ends: Vec<_> = (0..3).map(|_| rig.transition().0).collect();
    assert_eq!(
        ends,
        [version(1, 0, 50), version(2, 0, 51), version(10, 0, 60)]
    );
    rig.take_one();
    rig.take_one();
    rig.quiet();
}

#[test]
fn large_transitions_are_cut_for_clients_that_can_assemble_them() {
    let limits = Limits {
        chunk_bytes: 1000,
        ..Limits::default()
    };
    let value = json!("ü".repeat(5000));
    for (client, chunked) in [("npm-1.48.0", true), ("rust-0.10.4", false)] {
        let mut rig = Rig::with(ClientVersion::from_header(client), limits.clone());
        rig.takes = false;
        rig.modify(0, json!([add(0)]));
        rig.begin(50, &[]);
        rig.run();
        rig.answer(0, &value.to_string());
        assert_eq!(rig.messages.len() > 10, chunked);
        let mut assembler = chunk::ChunkAssembler::default();
        let mut transitions = vec![];
        while let Some(message) = rig.messages.pop_front() {
            transitions.extend(assembler.push(message).unwrap());
        }
        let [ServerMessage::Transition { modifications, .. }] = &transitions[..] else {
            panic!("{transitions:?}")
        };
        assert_eq!(*modifications, [updated(0, value.clone())]);
        // All pieces together are one transition in the account of what is unsent.
        rig.modify(1, json!([]));
        rig.begin(51, &[]);
        rig.modify(2, json!([]));
        assert!(rig.effects.is_empty());
        while rig.untaken > 1 {
            rig.take_one();
        }
        rig.begin(52, &[]);
    }
}

#[test]
fn defects_of_the_driver_end_the_connection_and_nothing_else() {
    let begun = |ts| Input::TransitionBegun {
        ts: Timestamp(ts),
        invalidated: vec![],
    };
    let mut rig = Rig::new();
    rig.feed(begun(50));
    assert_eq!(rig.closed().1, frame(Some(1011), "InternalServerError"));

    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.answer(0, "1.0");
    assert_eq!(rig.closed().1, frame(Some(1011), "InternalServerError"));

    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.feed(Input::Invalidated);
    rig.effects.clear();
    rig.feed(begun(49));
    assert_eq!(rig.closed().1, frame(Some(1011), "InternalServerError"));

    // Outcomes of what does not run, while something else does.
    for outcome in [
        |rig: &mut Rig| rig.commit(2, 50),
        |rig: &mut Rig| {
            rig.feed(Input::ActionDone {
                request_id: 2,
                result: Err(Error::internal("")),
            })
        },
    ] {
        let mut rig = Rig::new();
        rig.call("Mutation", 1);
        rig.call("Action", 3);
        rig.effects.clear();
        outcome(&mut rig);
        assert_eq!(rig.closed().1, frame(Some(1011), "InternalServerError"));
    }

    let mut rig = Rig::new();
    rig.commit(1, 50);
    assert_eq!(rig.closed().1, frame(Some(1011), "InternalServerError"));

    let mut rig = Rig::new();
    rig.feed(Input::AuthDone(Ok(Identity::System)));
    assert_eq!(rig.closed().1, frame(Some(1011), "InternalServerError"));
}
