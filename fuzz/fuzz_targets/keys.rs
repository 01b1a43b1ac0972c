//! Keys of indexes: the order of keys is the order of what they encode, they can be read back, and whatever else is no
//! key.

#![no_main]

use arbitrary::{Result, Unstructured};
use concave_core::Value;
use concave_core::key::{after_prefix, decode_key, encode_key};
use libfuzzer_sys::fuzz_target;

type Components = Vec<Option<Value>>;

fuzz_target!(|bytes: &[u8]| {
    if let Some(components) = decode_key(bytes) {
        assert_eq!(key(&components), bytes, "there is one key for them");
    }
    let mut u = Unstructured::new(bytes);
    if let (Ok(a), Ok(b)) = (components(&mut u), components(&mut u)) {
        let (key_a, key_b) = (key(&a), key(&b));
        assert_eq!(decode_key(&key_a).as_ref(), Some(&a));
        assert_eq!(key_a.cmp(&key_b), a.cmp(&b), "{a:?} {b:?}");
        for length in 0..=a.len() {
            let prefix = key(&a[..length]);
            let within = prefix <= key_b && key_b < after_prefix(prefix.clone());
            assert_eq!(within, b.starts_with(&a[..length]), "{a:?} {b:?}");
        }
    }
});

fn components(u: &mut Unstructured<'_>) -> Result<Components> {
    (0..u.int_in_range(0..=3)?)
        .map(|_| match u.ratio(1, 8)? {
            true => Ok(None),
            false => concave_fuzz::value(u).map(Some),
        })
        .collect()
}

fn key(components: &[Option<Value>]) -> Vec<u8> {
    let components: Vec<_> = components.iter().map(Option::as_ref).collect();
    encode_key(&components)
}
