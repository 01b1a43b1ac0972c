//! Generated keys and ranges, few and short enough that they are often equal, nested or adjacent.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::persistence::KeyRange;

/// A key of at most three bytes, each an extreme or in the middle.
pub fn any_key() -> impl Strategy<Value = Vec<u8>> {
    vec(select(vec![0u8, 1, 2, 0xfe, 0xff]), 0..4)
}

/// A range of any kind, empty ones included.
pub fn any_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        1 => Just(KeyRange::all()),
        2 => any_key().prop_map(KeyRange::point),
        2 => any_key().prop_map(KeyRange::prefix),
        4 => (any_key(), option::weighted(0.8, any_key())).prop_map(|(start, end)| KeyRange { start, end }),
    ]
}
