//! Goal: no JSON, however strange, does more than give an error.
//! Method: take valid queries and put random JSON in random places, so that what is read goes deep before it fails.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index as Choice, select};
use serde_json::{Value as Json, json};

use super::model::{Model, inserts, query};
use super::world::World;
use crate::query::{Expression, Query};

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        select(vec![
            "",
            "a",
            "a.b",
            "notes",
            "notes.by_a",
            "asc",
            "Eq",
            "IndexRange",
            "$",
            "_id"
        ])
        .prop_map(Json::from),
        Just(json!({"$undefined": null})),
        Just(json!({"$integer": "AQAAAAAAAAA="})),
        Just(json!({"$field": "a"})),
    ];
    let name = select(vec![
        "$eq",
        "$add",
        "$div",
        "$mod",
        "$neg",
        "$and",
        "$not",
        "$field",
        "$literal",
        "type",
        "filter",
        "limit",
        "value",
        "fieldPath",
        "range",
        "x",
    ]);
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Json::from),
            btree_map(name.clone().prop_map(String::from), inner, 0..3)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

/// All places in a tree, parents before children.
fn places<'a>(json: &'a mut Json, visit: &mut dyn FnMut(&mut Json)) {
    visit(json);
    match json {
        Json::Array(elements) => elements.iter_mut().for_each(|inner| places(inner, visit)),
        Json::Object(fields) => fields.values_mut().for_each(|inner| places(inner, visit)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_query_is_survived(
        stored in inserts(),
        query in query(),
        changes in vec((any::<Choice>(), json_value()), 0..3),
    ) {
        let mut json = query.query().to_json();
        for (choice, replacement) in changes {
            let mut count = 0;
            places(&mut json, &mut |_| count += 1);
            let (chosen, mut place) = (choice.index(count), 0);
            places(&mut json, &mut |inner| {
                if place == chosen {
                    *inner = replacement.clone();
                }
                place += 1;
            });
        }
        if let Ok(query) = Query::from_json(&json) {
            prop_assert_eq!(Query::from_json(&query.to_json()), Ok(query.clone()));
            let mut world = World::new(4);
            let mut tx = world.begin();
            Model::default().write(&world, &mut tx, &stored);
            world.commit(tx);
            // It may fail; it must not panic.
            let _ = world.collect(&mut world.begin(), &query);
        }
    }

    #[test]
    fn any_json_is_survived(json in json_value()) {
        let _ = Query::from_json(&json);
        if let Ok(expression) = Expression::from_json(&json) {
            let _ = expression.evaluate(&crate::Object::new());
        }
    }
}
