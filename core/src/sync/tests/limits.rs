//! Liveness, bounds, and the end.

use super::*;

#[test]
fn quiet_connections_are_kept_alive() {
    let mut rig = Rig::new();
    rig.pass(Duration::from_millis(4999));
    rig.quiet();
    for second in 5..60 {
        rig.pass(Duration::from_secs(second) - rig.now);
        if second % 5 == 0 {
            assert!(matches!(rig.effect(), Effect::Ping));
        }
        if second % 15 == 0 {
            assert_eq!(rig.message(), ServerMessage::Ping);
        }
        rig.quiet();
    }
}

#[test]
fn messages_put_off_the_ping_message() {
    let mut rig = Rig::new();
    rig.pass(Duration::from_secs(14));
    rig.modify(0, json!([]));
    rig.effects.retain(|effect| !matches!(effect, Effect::Ping));
    rig.begin(50, &[]);
    rig.transition();
    rig.pass(Duration::from_millis(14_999));
    assert_eq!(rig.messages.len(), 0);
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.message(), ServerMessage::Ping);
}

#[test]
fn no_pings_pile_up_behind_a_message_that_the_socket_does_not_take() {
    let mut rig = Rig::new();
    rig.takes = false;
    rig.modify(0, json!([]));
    rig.begin(50, &[]);
    rig.transition();
    for _ in 0..100 {
        rig.pass(Duration::from_secs(100));
        rig.feed(Input::Activity);
    }
    rig.quiet();
    rig.take_one();
    assert!(matches!(rig.effect(), Effect::Ping));
    rig.pass(Duration::from_secs(15));
    assert_eq!(rig.message(), ServerMessage::Ping);
}

#[test]
fn silent_clients_are_dropped() {
    let mut rig = Rig::new();
    rig.pass(Duration::from_secs(100));
    rig.feed(Input::Activity);
    rig.pass(Duration::from_secs(100));
    rig.say(json!({"type": "Event"}));
    // What the server sends is no sign of life: the machine's buffers take it even if nobody is there.
    rig.pass(Duration::from_millis(119_999));
    assert!(!rig.session.is_closed());
    rig.pass(Duration::from_millis(1));
    assert!(rig.session.is_closed());
    let last = rig.effects.pop_back();
    assert!(
        matches!(last, Some(Effect::Close(close)) if close == frame(Some(1000), "InactiveClient"))
    );
}

#[test]
fn clients_that_receive_slowly_are_not_dropped() {
    let mut rig = Rig::new();
    rig.takes = false;
    for _ in 0..5 {
        rig.pass(Duration::from_secs(100));
        assert!(rig.untaken > 0, "pings wait");
        rig.take_one();
    }
    rig.pass(Duration::from_millis(119_999));
    assert!(!rig.session.is_closed());
    rig.pass(Duration::from_millis(1));
    assert!(rig.session.is_closed());
}

#[test]
fn mutations_have_a_minute() {
    let mut rig = Rig::new();
    rig.call("Mutation", 0);
    rig.pass(Duration::from_millis(59_999));
    assert!(!rig.session.is_closed());
    rig.pass(Duration::from_millis(1));
    rig.messages.clear();
    assert_eq!(
        rig.closed(),
        (None, frame(Some(1011), "InternalServerError"))
    );
}

#[test]
fn a_thousand_mutations_may_be_pending() {
    let mut rig = Rig::new();
    for id in 0..1000 {
        rig.call("Mutation", id);
    }
    assert!(!rig.session.is_closed());
    rig.commit(0, 50);
    rig.call("Mutation", 1000);
    assert!(!rig.session.is_closed());
    rig.call("Mutation", 1001);
    rig.messages.clear();
    assert_eq!(
        rig.closed(),
        (None, frame(Some(1013), "TooManyConcurrentMutations"))
    );
}

#[test]
fn a_thousand_actions_may_run() {
    let mut rig = Rig::new();
    for id in 0..1000 {
        rig.call("Action", id);
    }
    assert!(!rig.session.is_closed());
    rig.call("Action", 1000);
    assert_eq!(
        rig.closed().1,
        frame(Some(1013), "TooManyInflightActionsForSingleClient")
    );
}

#[test]
fn an_action_id_is_not_used_twice_at_once() {
    let mut rig = Rig::new();
    rig.call("Action", 0);
    rig.effects.clear();
    rig.call("Action", 0);
    assert!(matches!(
        rig.closed().0,
        Some(ServerMessage::FatalError { .. })
    ));
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    let limits = Limits {
        pending_bytes: 10_000,
        query_bytes: 10_000,
        queries: 50,
        ..Limits::default()
    };
    let large = |id: u32| json!({"type": "Mutation", "requestId": id, "udfPath": "a:b", "args": [{"x": "y".repeat(6000)}]});
    let huge = json!({"type": "Mutation", "requestId": 9, "udfPath": "a:b", "args": [{"x": "y".repeat(60_000)}]});
    let rig = || Rig::with(ClientVersion::unknown(), limits.clone());

    // Messages behind authentication: one always fits.
    let mut waiting = rig();
    waiting.authenticate(0);
    waiting.say(huge.clone());
    assert!(!waiting.session.is_closed());
    waiting.say(large(1));
    assert_eq!(
        waiting.closed().1,
        frame(Some(1013), "TooManyPendingMessages")
    );

    // Mutations behind a mutation.
    let mut waiting = rig();
    waiting.say(huge.clone());
    waiting.say(huge);
    assert!(!waiting.session.is_closed());
    waiting.say(large(1));
    assert_eq!(
        waiting.closed().1,
        frame(Some(1013), "TooManyConcurrentMutations")
    );

    // Queries, by number and by size; removed ones do not count.
    let mut watching = rig();
    let all: Vec<Json> = (0..50).map(add).collect();
    watching.modify(0, json!(all));
    for version in 1..100 {
        watching.modify(version, json!([remove(7), add(7)]));
    }
    watching.session.queries.check_accounting();
    assert!(!watching.session.is_closed());
    watching.modify(100, json!([add(50)]));
    assert_eq!(watching.closed().1, frame(Some(1013), "TooManyQueries"));
    let mut watching = rig();
    let mut query = add(0);
    query["journal"] = json!("j".repeat(10_001));
    watching.modify(0, json!([query]));
    assert_eq!(watching.closed().1, frame(Some(1013), "TooManyQueries"));
}

#[test]
fn a_client_that_does_not_read_gets_no_further_mutations_run() {
    let limits = Limits {
        unsent_response_bytes_soft: 1000,
        unsent_response_bytes_hard: 3000,
        ..Limits::default()
    };
    let mut rig = Rig::with(ClientVersion::unknown(), limits);
    rig.takes = false;
    for id in 0..100 {
        rig.call("Mutation", id);
    }
    let mut run = 0;
    while rig
        .effects
        .iter()
        .any(|e| matches!(e, Effect::RunMutation(_)))
    {
        rig.effects.clear();
        rig.commit(run, 50);
        run += 1;
    }
    assert!(run < 20, "{run} ran");
    while rig.untaken > 0 {
        rig.take_one();
    }
    assert!(
        rig.effects
            .iter()
            .any(|e| matches!(e, Effect::RunMutation(_)))
    );

    // Actions run already: beyond a hard limit the connection ends.
    for id in 200..300 {
        rig.call("Action", id);
    }
    for id in 200..300 {
        if rig.session.is_closed() {
            break;
        }
        rig.feed(Input::ActionDone {
            request_id: id,
            result: Ok(ActionOutcome {
                result: Ok("\"a value of some length\"".into()),
                log_lines: [].into(),
            }),
        });
    }
    rig.messages.clear();
    assert_eq!(rig.closed().1, frame(Some(1013), "ClientTooSlow"));
}

#[test]
fn events_make_no_difference() {
    let mut rig = Rig::new();
    rig.say(json!({"type": "Event", "eventType": "NetworkRecoveryReconnect", "event": {"timeSavedMs": 5}}));
    rig.quiet();
}

#[test]
fn shutting_down_closes_without_an_error() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.call("Mutation", 0);
    rig.authenticate(0);
    rig.feed(Input::AuthDone(Ok(user("ann", None))));
    rig.effects.clear();
    rig.feed(Input::Shutdown);
    assert_eq!(rig.closed(), (None, frame(Some(1001), "ServerShutdown")));
}

#[test]
fn a_closing_session_still_sends_what_it_said_before() {
    let mut rig = Rig::new();
    rig.takes = false;
    rig.call("Mutation", 0);
    // Fed without polling in between: the response waits in the session.
    let now = at(rig.now);
    rig.session.handle(
        now,
        Input::MutationDone {
            request_id: 0,
            result: Ok(MutationOutcome {
                result: Ok(Committed {
                    value: "null".into(),
                    ts: Timestamp(50),
                }),
                log_lines: [].into(),
            }),
        },
    );
    rig.effects.clear();
    rig.feed(Input::Text {
        text: "nonsense".into(),
        latest: Timestamp(50),
    });
    assert!(matches!(
        rig.message(),
        ServerMessage::MutationResponse { request_id: 0, .. }
    ));
    assert!(matches!(rig.message(), ServerMessage::FatalError { .. }));
    assert!(matches!(rig.effect(), Effect::Close(_)));
    assert!(rig.effects.is_empty());
}
