//! Goal: no schedule of clients, database and driver leads a session to break the protocol. Method: random steps of
//! all of them, a client that checks everything it receives, and a driver that answers in any order.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::world::{Watched, World};
use crate::sync::Limits;

#[derive(Clone, Debug)]
enum Step {
    Watch(u8, bool),
    Unwatch(usize),
    Mutate(&'static str, u8),
    Act,
    SignIn(u8),
    SignInBadly,
    SignOut,
    Write(u8),
    Work(usize),
    Take,
    Pass(u64),
    Fail(usize),
    Reconnect,
    Event,
    Garble(&'static str),
}

fn step() -> impl Strategy<Value = Step> {
    let path = prop_oneof![
        5 => Just("increment"),
        1 => Just("read"),
        1 => Just("throw"),
        1 => Just("convexError"),
    ];
    let garbage = prop_oneof![
        Just("{\"type\":\"Mutation\"}"),
        Just("garbage"),
        Just(
            "{\"type\":\"ModifyQuerySet\",\"baseVersion\":77,\"newVersion\":78,\"modifications\":[]}"
        ),
        Just("{\"type\":\"Authenticate\",\"baseVersion\":77,\"tokenType\":\"None\"}"),
    ];
    prop_oneof![
        8 => (0u8..5, any::<bool>()).prop_map(|(key, sees)| Step::Watch(key, sees)),
        4 => any::<usize>().prop_map(Step::Unwatch),
        8 => (path, 0u8..5).prop_map(|(path, key)| Step::Mutate(path, key)),
        2 => Just(Step::Act),
        2 => (0u8..3).prop_map(Step::SignIn),
        1 => Just(Step::SignOut),
        1 => Just(Step::SignInBadly),
        6 => (0u8..5).prop_map(Step::Write),
        50 => any::<usize>().prop_map(Step::Work),
        20 => Just(Step::Take),
        5 => prop_oneof![0u64..50, Just(100), 0u64..2000].prop_map(Step::Pass),
        2 => (1usize..4).prop_map(Step::Fail),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Event),
        1 => garbage.prop_map(Step::Garble),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let few = || prop_oneof![1usize..4, Just(1000)];
    (
        (1usize..4, 1usize..4, few(), few()),
        prop_oneof![Just(300), Just(5_000_000)],
        prop_oneof![Just(500), Just(1 << 20)],
    )
        .prop_map(
            |(
                (unsent_transitions, running_queries, pending_mutations, running_actions),
                chunk_bytes,
                pending_bytes,
            )| Limits {
                unsent_transitions,
                unsent_transition_bytes: 2 * chunk_bytes,
                running_queries,
                pending_mutations,
                running_actions,
                pending_bytes,
                chunk_bytes,
                ..Limits::default()
            },
        )
}

fn perform(world: &mut World, step: Step) {
    let message = match step {
        Step::Watch(key, sees_user) => Some(world.client.watch(Watched { key, sees_user })),
        Step::Unwatch(which) => world.client.unwatch(which),
        Step::Mutate(path, key) => Some(world.client.mutate(path, key)),
        Step::Act => Some(world.client.act()),
        Step::SignIn(user) => Some(world.client.authenticate(Some(user))),
        Step::SignInBadly => {
            world.client.expects_auth_error = true;
            Some(world.client.authenticate(Some(200)))
        }
        Step::SignOut => Some(world.client.authenticate(None)),
        Step::Event => Some(json!({"type": "Event", "eventType": "x"})),
        Step::Garble(text) => {
            world.client.expects_fatal = true;
            return world.say(text.to_owned());
        }
        Step::Write(key) => return world.write(key),
        Step::Work(which) => return world.work(which),
        Step::Take => return world.take(),
        Step::Pass(ms) => return world.pass(Duration::from_millis(ms)),
        Step::Fail(queries) => {
            world.faults += queries;
            None
        }
        Step::Reconnect => return world.reconnect(),
    };
    if let Some(message) = message {
        world.say(message.to_string());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_keeps_the_rules(limits in limits(), steps in prop::collection::vec(step(), 0..250)) {
        let mut world = World::new(limits);
        for step in steps {
            perform(&mut world, step);
        }
        world.settle();
    }
}
