//! Mutations, actions, and what follows their responses.

use super::*;
use crate::request_id::RequestId;

fn failed(data: Option<Json>) -> FunctionError {
    FunctionError {
        request_id: RequestId::from_bytes([1; 8]),
        printed: None,
        data,
    }
}

fn response(rig: &mut Rig) -> (u32, bool) {
    match rig.message() {
        ServerMessage::MutationResponse {
            request_id,
            success,
            ts,
            ..
        } => {
            assert_eq!(success, ts.is_some());
            (request_id, success)
        }
        ServerMessage::ActionResponse {
            request_id,
            success,
            ..
        } => (request_id, success),
        other => panic!("{other:?}"),
    }
}

#[test]
fn mutations_run_one_after_another_in_order() {
    let mut rig = Rig::new();
    rig.connect();
    for id in [5, 3, 9] {
        rig.call("Mutation", id);
    }
    for (id, ts) in [(5, 50), (3, 60), (9, 70)] {
        let request = rig.mutation();
        assert_eq!(request.request_id, id);
        assert_eq!(request.session_id.as_deref(), Some(SESSION_ID));
        assert_eq!((&*request.path, &*request.args), ("m:f", "[{}]"));
        rig.effects
            .retain(|effect| !matches!(effect, Effect::BeginTransition));
        assert!(rig.effects.is_empty(), "one at a time");
        rig.commit(id, ts);
        assert_eq!(response(&mut rig), (id, true));
    }
}

#[test]
fn the_log_id_of_a_request_is_the_one_that_clients_compute() {
    let mut rig = Rig::new();
    rig.connect();
    rig.call("Mutation", 7);
    assert_eq!(
        rig.mutation().log_id().map(|id| id.to_string()).as_deref(),
        Some("cdad1b8c0c141cb2")
    );
}

#[test]
fn without_connect_there_is_no_session() {
    let mut rig = Rig::new();
    rig.call("Mutation", 7);
    let request = rig.mutation();
    assert_eq!(
        (request.session_id.as_deref(), request.log_id()),
        (None, None)
    );
    rig.commit(7, 50);
    response(&mut rig);
    rig.begin(50, &[]);
    assert!(matches!(
        rig.message(),
        ServerMessage::Transition {
            client_clock_skew: None,
            server_ts: None,
            ..
        }
    ));
}

#[test]
fn actions_run_at_once_and_beside_everything() {
    let mut rig = Rig::new();
    rig.call("Mutation", 0);
    rig.call("Action", 1);
    rig.call("Action", 2);
    rig.mutation();
    for id in [1, 2] {
        assert!(matches!(rig.effect(), Effect::RunAction(request) if request.request_id == id));
    }
    for id in [2, 1] {
        rig.feed(Input::ActionDone {
            request_id: id,
            result: Ok(ActionOutcome {
                result: Ok("1.0".into()),
                log_lines: [].into(),
            }),
        });
        assert_eq!(response(&mut rig), (id, true));
    }
    rig.begin(50, &[]);
}

#[test]
fn a_transition_follows_every_response() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    // Failed and committed mutations, and actions.
    for data in [None, Some(json!("full"))] {
        rig.call("Mutation", 1);
        rig.mutation();
        rig.feed(Input::MutationDone {
            request_id: 1,
            result: Ok(MutationOutcome {
                result: Err(failed(data)),
                log_lines: [].into(),
            }),
        });
        assert_eq!(response(&mut rig), (1, false));
        rig.begin(50, &[]);
        assert_eq!(rig.transition(), (version(1, 0, 50), vec![]));
        rig.quiet();
    }
    rig.call("Mutation", 2);
    rig.mutation();
    rig.commit(2, 60);
    assert_eq!(response(&mut rig), (2, true));
    rig.begin(61, &[0]);
    rig.run();
    rig.answer(0, "1.0");
    assert_eq!(
        rig.transition(),
        (version(1, 0, 61), vec![updated(0, json!(1.0))])
    );
    rig.call("Action", 3);
    assert!(matches!(rig.effect(), Effect::RunAction(_)));
    rig.feed(Input::ActionDone {
        request_id: 3,
        result: Ok(ActionOutcome {
            result: Err(failed(None)),
            log_lines: [].into(),
        }),
    });
    assert_eq!(response(&mut rig), (3, false));
    rig.begin(61, &[]);
    assert_eq!(rig.transition(), (version(1, 0, 61), vec![]));
    rig.quiet();
}

#[test]
fn a_transition_below_the_commit_is_followed_by_another() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.feed(Input::Invalidated);
    rig.begin(55, &[0]);
    rig.run();
    rig.call("Mutation", 1);
    rig.mutation();
    rig.commit(1, 60);
    assert_eq!(response(&mut rig), (1, true));
    rig.answer(0, "1.0");
    assert_eq!(rig.transition().0, version(1, 0, 55));
    rig.begin(60, &[]);
    assert_eq!(rig.transition(), (version(1, 0, 60), vec![]));
    rig.quiet();
}

#[test]
fn a_driver_that_begins_below_the_commit_is_noticed() {
    let mut rig = Rig::new();
    rig.call("Mutation", 1);
    rig.mutation();
    rig.commit(1, 60);
    rig.begin(59, &[]);
    assert_eq!(rig.closed().1, frame(Some(1011), "InternalServerError"));
}

#[test]
fn a_transition_waits_for_the_response_to_a_mutation_that_it_may_hold() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.call("Mutation", 1);
    rig.mutation();
    // The commit is visible before its outcome arrives.
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0]);
    rig.run();
    rig.answer(0, "1.0");
    rig.pass(Duration::from_millis(99));
    rig.quiet();
    rig.commit(1, 60);
    assert_eq!(response(&mut rig), (1, true));
    assert_eq!(rig.transition().0, version(1, 0, 60));
    rig.quiet();
}

#[test]
fn a_transition_does_not_wait_for_long() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.call("Mutation", 1);
    rig.mutation();
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0]);
    rig.run();
    rig.answer(0, "1.0");
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.transition().0, version(1, 0, 60));
    rig.commit(1, 60);
    assert_eq!(response(&mut rig), (1, true));
    rig.begin(60, &[]);
    assert_eq!(rig.transition(), (version(1, 0, 60), vec![]));
}

#[test]
fn a_transition_does_not_wait_for_a_mutation_that_started_later() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0]);
    rig.run();
    rig.call("Mutation", 1);
    rig.mutation();
    rig.answer(0, "1.0");
    assert_eq!(rig.transition().0, version(1, 0, 60));
}

#[test]
fn failures_to_run_end_the_connection_by_their_class() {
    for (error, message, code, reason) in [
        (
            Error::internal("bug"),
            false,
            Some(1011),
            "InternalServerError",
        ),
        (
            Error::overloaded("TooManyWritesInTimePeriod", "wait"),
            false,
            Some(1013),
            "TooManyWritesInTimePeriod",
        ),
        (Error::bad_request("BadPath", "no"), true, None, ""),
    ] {
        let mut rig = Rig::new();
        rig.call("Mutation", 1);
        rig.call("Mutation", 2);
        rig.mutation();
        rig.feed(Input::MutationDone {
            request_id: 1,
            result: Err(error),
        });
        let (last, close) = rig.closed();
        assert_eq!(
            matches!(last, Some(ServerMessage::FatalError { .. })),
            message
        );
        assert_eq!(close, frame(code, reason));
    }
}

#[test]
fn clock_skew_is_told_with_the_server_time() {
    for (client_ms, skew) in [
        (json!(1_795_219_660_903i64), -3),
        (json!(1_795_219_660_907.9), 1),
        (json!(0), -1_795_219_660_906),
        (json!(1e300), i64::MAX - 1_795_219_660_906),
    ] {
        let mut rig = Rig::new();
        rig.say(json!({"type": "Connect", "sessionId": SESSION_ID, "clientTs": client_ms}));
        rig.modify(0, json!([]));
        rig.begin(50, &[]);
        let ServerMessage::Transition {
            client_clock_skew,
            server_ts,
            ..
        } = rig.message()
        else {
            panic!()
        };
        assert_eq!((client_clock_skew, server_ts), (Some(skew), Some(EPOCH_NS)));
    }
}

#[test]
fn a_client_from_the_future_is_turned_away() {
    let connect = json!({"type": "Connect", "sessionId": SESSION_ID,
        "maxObservedTimestamp": Timestamp(101).to_wire()});
    let mut rig = Rig::new();
    rig.say_at(connect.clone(), Timestamp(101));
    rig.quiet();
    let mut rig = Rig::new();
    rig.say_at(connect, Timestamp(100));
    assert_eq!(
        rig.closed(),
        (None, frame(Some(1011), "InternalServerError"))
    );
}

#[test]
fn a_second_introduction_is_refused() {
    let mut rig = Rig::new();
    rig.connect();
    rig.connect();
    assert!(matches!(
        rig.closed().0,
        Some(ServerMessage::FatalError { .. })
    ));
}
