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
fn mutations_have_two_minutes() {
    let mut rig = Rig::new();
    rig.call("Mutation", 0);
    rig.pass(Duration::from_millis(119_999));
    rig.feed(Input::Activity);
    assert!(!rig.session.is_closed());
    rig.pass(Duration::from_millis(1));
    rig.messages.clear();
    assert_eq!(
        rig.closed(),
        (None, frame(Some(1011), "InternalServerError"))
    );
}

/// A client that sends more than may wait is not turned away, since it would send all of it again: it waits.
#[test]
fn beyond_a_thousand_mutations_the_client_waits() {
    let mut rig = Rig::new();
    for id in 0..1000 {
        rig.call("Mutation", id);
        assert!(rig.session.is_receptive());
    }
    rig.call("Mutation", 1000);
    assert!(!rig.session.is_receptive());
    // However long it takes, the client is not taken for gone while nothing is read from it.
    for id in 0..10 {
        rig.pass(Duration::from_secs(110));
        rig.effects.clear();
        rig.commit(id, 50);
        assert!(rig.session.is_receptive());
        rig.call("Mutation", 1001 + id);
        assert!(!rig.session.is_receptive());
    }
    rig.effects.clear();
    for id in 10..1011 {
        rig.commit(id, 50);
    }
    let started = rig.effects.iter().filter_map(|effect| match effect {
        Effect::RunMutation(request) => Some(request.request_id),
        _ => None,
    });
    assert_eq!(started.collect::<Vec<_>>(), (11..1011).collect::<Vec<_>>());
    assert!(rig.session.is_receptive());
}

#[test]
fn beyond_a_thousand_actions_the_client_waits() {
    let mut rig = Rig::new();
    for id in 0..1000 {
        rig.call("Action", id);
        assert!(rig.session.is_receptive());
    }
    assert_eq!(rig.effects.len(), 1000);
    rig.call("Action", 1000);
    assert!(!rig.session.is_receptive());
    assert_eq!(rig.effects.len(), 1000);
    finish_action(&mut rig, 7);
    assert!(rig.session.is_receptive());
    let last = rig.effects.iter().rev().find_map(|effect| match effect {
        Effect::RunAction(request) => Some(request.request_id),
        _ => None,
    });
    assert_eq!(last, Some(1000));
}

fn finish_action(rig: &mut Rig, request_id: u32) {
    rig.feed(Input::ActionDone {
        request_id,
        result: Ok(ActionOutcome {
            result: Ok("\"a value of some length\"".into()),
            log_lines: [].into(),
        }),
    });
}

/// One that is gone is noticed: it takes nothing of what is sent to it.
#[test]
fn a_client_that_waits_and_takes_nothing_is_gone() {
    let limits = Limits {
        running_actions: 1,
        ..Limits::default()
    };
    let mut rig = Rig::with(ClientVersion::unknown(), limits);
    rig.call("Action", 0);
    rig.call("Action", 1);
    rig.pass(Duration::from_secs(1000));
    assert!(!rig.session.is_closed());
    rig.takes = false;
    rig.pass(Duration::from_secs(124));
    assert!(!rig.session.is_closed());
    rig.pass(Duration::from_secs(1));
    assert!(rig.session.is_closed());
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
        ..Limits::default()
    };
    let sized = |kind: &str, id: u32, bytes: usize| json!({"type": kind, "requestId": id, "udfPath": "a:b", "args": [{"x": "y".repeat(bytes)}]});
    let mut rig = Rig::with(ClientVersion::unknown(), limits);
    // Behind authentication, one message at a time.
    rig.authenticate(0);
    assert!(rig.session.is_receptive());
    rig.say(sized("Mutation", 0, 60_000));
    assert!(!rig.session.is_receptive());
    rig.feed(Input::AuthDone(Ok(user("ann", None))));
    // The first one runs, and one always fits.
    assert!(rig.session.is_receptive());
    rig.say(sized("Mutation", 1, 60_000));
    assert!(rig.session.is_receptive());
    rig.say(sized("Mutation", 2, 10));
    assert!(!rig.session.is_receptive());
    rig.commit(0, 50);
    assert!(rig.session.is_receptive());
    // Actions count until they begin.
    rig.say(sized("Action", 3, 6000));
    rig.say(sized("Action", 4, 6000));
    assert!(!rig.session.is_receptive());
    rig.feed(Input::ActionBegun { request_id: 3 });
    assert!(rig.session.is_receptive());
    rig.say(sized("Action", 5, 6000));
    assert!(!rig.session.is_receptive());
    finish_action(&mut rig, 4);
    assert!(rig.session.is_receptive());
}

/// A connection that was closed for too many queries would be opened again with as many.
#[test]
fn queries_beyond_the_limits_fail_one_by_one() {
    let limits = Limits {
        query_bytes: 10_000,
        queries: 50,
        ..Limits::default()
    };
    let watch = |queries: Vec<Json>, expected: &[(u32, bool)]| {
        let mut rig = Rig::with(ClientVersion::unknown(), limits.clone());
        rig.modify(0, json!(queries));
        rig.begin(50, &[]);
        while let Some(effect) = rig.effects.pop_front() {
            let Effect::RunQuery(run) = effect else {
                panic!("{effect:?}")
            };
            rig.answer(run.query_id, "1.0");
        }
        rig.session.queries.check_accounting();
        let (_, modifications) = rig.transition();
        let told: Vec<_> = modifications
            .iter()
            .map(|modification| match modification {
                StateModification::QueryUpdated { query_id, .. } => (*query_id, true),
                StateModification::QueryFailed {
                    query_id,
                    error_message,
                    ..
                } => {
                    assert!(error_message.contains("TooManyQueries"), "{error_message}");
                    (*query_id, false)
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, expected);
        rig
    };
    // By number.
    let expected: Vec<_> = (0..60).map(|id| (id, id < 50)).collect();
    let mut rig = watch((0..60).map(add).collect(), &expected);
    // Without one of the others, a new one runs; those that failed do not.
    rig.modify(1, json!([remove(7), remove(55), add(60)]));
    rig.begin(60, &[]);
    rig.session.queries.check_accounting();
    assert!(matches!(rig.effect(), Effect::Unsubscribe(7)));
    rig.effects.clear();
    rig.transition();
    assert!(!rig.session.is_closed());
    // By size; one always fits.
    let sized = |id, bytes: usize| {
        let mut query = add(id);
        query["journal"] = json!("j".repeat(bytes));
        query
    };
    watch(
        vec![sized(0, 9000), sized(1, 1000), add(2)],
        &[(0, true), (1, false), (2, true)],
    );
    watch(vec![sized(0, 20_000), add(1)], &[(0, true), (1, false)]);
    // No client of ours asks for many times as much.
    let mut rig = Rig::with(ClientVersion::unknown(), limits.clone());
    rig.modify(0, json!((0..200).map(add).collect::<Vec<_>>()));
    assert!(!rig.session.is_closed());
    rig.modify(1, json!([add(200)]));
    assert!(matches!(
        rig.closed().0,
        Some(ServerMessage::FatalError { .. })
    ));
}

#[test]
fn results_that_are_too_large_together_become_failures() {
    let limits = Limits {
        transition_bytes: 10_000,
        ..Limits::default()
    };
    let mut rig = Rig::with(ClientVersion::unknown(), limits);
    rig.modify(0, json!([add(0), add(1), add(2), add(3)]));
    rig.begin(50, &[]);
    let large = |letter: &str| json!(letter.repeat(9000)).to_string();
    for id in 0..4 {
        assert_eq!(rig.run().query_id, id);
        rig.answer(
            id,
            &if id == 3 {
                "1.0".to_owned()
            } else {
                large("a")
            },
        );
    }
    let (_, told) = rig.transition();
    let is_failure = |modification: &StateModification| matches!(modification, StateModification::QueryFailed { error_message, .. } if error_message.contains("TooLargeTransition"));
    let failures: Vec<_> = told.iter().map(is_failure).collect();
    assert_eq!(failures, [false, true, true, false]);
    // What the client has already is not told again, and so not too large.
    rig.feed(Input::Invalidated);
    rig.begin(60, &[0, 1]);
    for (id, letter) in [(0, "a"), (1, "b")] {
        assert_eq!(rig.run().query_id, id);
        rig.answer(id, &large(letter));
    }
    let (_, told) = rig.transition();
    assert!(matches!(
        &told[..],
        [StateModification::QueryUpdated { query_id: 1, .. }]
    ));
    // One always fits.
    rig.feed(Input::Invalidated);
    rig.begin(70, &[1]);
    rig.run();
    rig.answer(1, &json!("c".repeat(20_000)).to_string());
    let (_, told) = rig.transition();
    assert!(matches!(
        &told[..],
        [StateModification::QueryUpdated { query_id: 1, .. }]
    ));
}

#[test]
fn a_slow_client_is_sent_no_large_transition_after_a_large_one() {
    let limits = Limits {
        unsent_transition_bytes: 5000,
        ..Limits::default()
    };
    let mut rig = Rig::with(ClientVersion::unknown(), limits);
    rig.takes = false;
    rig.modify(0, json!([add(0)]));
    rig.begin(50, &[]);
    rig.run();
    rig.answer(0, &json!("a".repeat(9000)).to_string());
    rig.transition();
    rig.feed(Input::Invalidated);
    rig.quiet();
    rig.take_one();
    rig.begin(60, &[0]);
}

#[test]
fn a_client_that_does_not_read_gets_no_further_mutations_run() {
    let limits = Limits {
        unsent_response_bytes_soft: 1000,
        unsent_response_bytes_hard: 3000,
        ..Limits::default()
    };
    let mut rig = Rig::with(ClientVersion::unknown(), limits.clone());
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

    // No further actions run either.
    let actions = |rig: &Rig| {
        let started = rig.effects.iter();
        started
            .filter(|effect| matches!(effect, Effect::RunAction(_)))
            .count()
    };
    let mut rig = Rig::with(ClientVersion::unknown(), limits.clone());
    rig.takes = false;
    for id in 0..100 {
        rig.call("Action", id);
        if !rig.session.is_receptive() {
            break;
        }
        finish_action(&mut rig, id);
    }
    assert!(!rig.session.is_closed() && actions(&rig) < 20);
    rig.effects.clear();
    while rig.untaken > 0 {
        rig.take_one();
    }
    assert_eq!(actions(&rig), 1);

    // Those that run already do: beyond a hard limit the connection ends.
    let mut rig = Rig::with(ClientVersion::unknown(), limits);
    rig.takes = false;
    for id in 0..100 {
        rig.call("Action", id);
    }
    for id in 0..100 {
        if rig.session.is_closed() {
            break;
        }
        finish_action(&mut rig, id);
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
