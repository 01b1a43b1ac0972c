//! Identities and their changes.

use super::*;
use crate::error::ErrorClass;

#[test]
fn messages_after_authenticate_wait_for_it() {
    let mut rig = Rig::new();
    rig.call("Mutation", 0);
    rig.authenticate(0);
    rig.call("Mutation", 1);
    rig.call("Action", 2);
    rig.modify(0, json!([add(0)]));
    assert_eq!(*rig.mutation().identity, Identity::Anonymous);
    assert!(
        matches!(rig.effect(), Effect::Authenticate(Credential::User(token)) if token == "jwt")
    );
    rig.quiet();
    rig.commit(0, 50);
    rig.message();
    // The identity in force is still the old one for transitions.
    rig.begin(50, &[]);
    assert_eq!(rig.transition().0, version(0, 0, 50));
    rig.quiet();
    let ann = user("ann", None);
    rig.feed(Input::AuthDone(Ok(ann.clone())));
    assert!(matches!(rig.effect(), Effect::RunAction(request) if *request.identity == ann));
    assert_eq!(*rig.mutation().identity, ann);
    rig.begin(51, &[]);
    assert_eq!(*rig.run().identity, ann);
    rig.answer(0, "1.0");
    // The mutation is still running.
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.transition().0, version(1, 1, 51));
}

#[test]
fn a_waiting_mutation_keeps_the_identity_it_arrived_under() {
    let mut rig = Rig::new();
    rig.call("Mutation", 0);
    rig.call("Mutation", 1);
    rig.authenticate(0);
    rig.feed(Input::AuthDone(Ok(user("ann", None))));
    rig.mutation();
    rig.effects.clear();
    rig.commit(0, 50);
    assert_eq!(*rig.mutation().identity, Identity::Anonymous);
}

#[test]
fn identity_changes_are_confirmed_and_run_all_queries_again() {
    let mut rig = Rig::new();
    rig.subscribe(50);
    rig.authenticate(0);
    rig.effect();
    rig.feed(Input::AuthDone(Ok(user("ann", None))));
    rig.begin(50, &[]);
    let run = rig.run();
    assert_eq!(*run.identity, user("ann", None));
    rig.answer(0, "7.0");
    assert_eq!(
        rig.transition(),
        (version(1, 1, 50), vec![updated(0, json!(7.0))])
    );
    // A fresh token of the same user: confirmed, and results hold.
    rig.authenticate(1);
    rig.effect();
    rig.feed(Input::AuthDone(Ok(user("ann", Some(Timestamp(u64::MAX))))));
    rig.begin(50, &[]);
    assert_eq!(rig.transition(), (version(1, 2, 50), vec![]));
    // Signing out needs no verification.
    rig.say(json!({"type": "Authenticate", "baseVersion": 2, "tokenType": "None"}));
    rig.begin(50, &[]);
    assert_eq!(*rig.run().identity, Identity::Anonymous);
    rig.answer(0, "7.0");
    assert_eq!(rig.transition(), (version(1, 3, 50), vec![]));
    rig.quiet();
}

#[test]
fn a_change_during_a_transition_is_for_the_next() {
    let mut rig = Rig::new();
    rig.modify(0, json!([add(0)]));
    rig.begin(50, &[]);
    assert_eq!(*rig.run().identity, Identity::Anonymous);
    rig.authenticate(0);
    rig.effect();
    rig.feed(Input::AuthDone(Ok(user("ann", None))));
    rig.answer(0, "1.0");
    assert_eq!(rig.transition().0, version(1, 0, 50));
    rig.begin(50, &[]);
    assert_eq!(*rig.run().identity, user("ann", None));
}

#[test]
fn wrong_base_versions_are_fatal() {
    let mut rig = Rig::new();
    rig.authenticate(1);
    let expected = ServerMessage::FatalError {
        error: "base version 1 does not match 0".into(),
    };
    assert_eq!(rig.closed(), (Some(expected), frame(None, "")));
}

#[test]
fn refused_credentials_end_the_connection_with_their_own_base_version() {
    for class in [
        ErrorClass::Unauthenticated,
        ErrorClass::Forbidden,
        ErrorClass::BadRequest,
    ] {
        let mut rig = Rig::new();
        rig.say(json!({"type": "Authenticate", "baseVersion": 0, "tokenType": "None"}));
        rig.authenticate(1);
        rig.call("Mutation", 0);
        rig.effects.clear();
        rig.feed(Input::AuthDone(Err(Error::new(class, "X", "no"))));
        let expected = ServerMessage::AuthError {
            error: "no".into(),
            base_version: 1,
            auth_update_attempted: true,
        };
        assert_eq!(rig.closed(), (Some(expected), frame(None, "")));
    }
}

#[test]
fn outages_while_verifying_are_not_the_clients_fault() {
    for (error, code, reason) in [
        (
            Error::overloaded("AuthProviderDiscoveryFailed", ""),
            1013,
            "AuthProviderDiscoveryFailed",
        ),
        (Error::operational(""), 1011, "InternalServerError"),
    ] {
        let mut rig = Rig::new();
        rig.authenticate(0);
        rig.effect();
        rig.feed(Input::AuthDone(Err(error)));
        assert_eq!(rig.closed(), (None, frame(Some(code), reason)));
    }
}

#[test]
fn admins_may_act_as_users() {
    for key in ["impersonating", "acting_as"] {
        let mut rig = Rig::new();
        rig.say(
            json!({"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": "k",
            key: {"issuer": "i", "subject": "s", "role": "x"}}),
        );
        match rig.effect() {
            Effect::Authenticate(Credential::Admin {
                key,
                acting_as: Some(user),
            }) => assert_eq!((&*key, user.token_identifier()), ("k", "i|s")),
            other => panic!("{other:?}"),
        }
        let mut rig = Rig::new();
        rig.say(
            json!({"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": "k",
            key: {"issuer": "i"}}),
        );
        assert!(matches!(
            rig.closed().0,
            Some(ServerMessage::AuthError {
                auth_update_attempted: true,
                base_version: 0,
                ..
            })
        ));
    }
}

#[test]
fn expiry_is_noticed_when_there_is_work() {
    let expiry = Timestamp(EPOCH_NS + 10_000_000_000);
    let signed_in = || {
        let mut rig = Rig::new();
        rig.authenticate(0);
        rig.effect();
        rig.feed(Input::AuthDone(Ok(user("ann", Some(expiry)))));
        rig.begin(50, &[]);
        rig.transition();
        rig.pass(Duration::from_secs(9));
        rig.effects.clear();
        rig
    };
    let expired = |mut rig: Rig| {
        let (message, close) = rig.closed();
        assert!(matches!(
            message,
            Some(ServerMessage::AuthError {
                auth_update_attempted: false,
                base_version: 1,
                ..
            })
        ));
        assert_eq!(close, frame(None, ""));
    };
    let mut rig = signed_in();
    rig.call("Mutation", 0);
    rig.mutation();
    rig.pass(Duration::from_secs(3));
    assert!(!rig.session.is_closed(), "no work, no check");

    let mut rig = signed_in();
    rig.pass(Duration::from_secs(1));
    rig.call("Mutation", 0);
    expired(rig);

    let mut rig = signed_in();
    rig.pass(Duration::from_secs(1));
    rig.call("Action", 0);
    expired(rig);

    let mut rig = signed_in();
    rig.pass(Duration::from_secs(1));
    rig.effects.clear();
    rig.modify(0, json!([add(0)]));
    rig.begin(50, &[]);
    expired(rig);
}
