//! Texts that travel through clients and come back: ids, timestamps, cursors, journals, admin keys, identities. One
//! text per meaning, and none of the sealed ones can be made or changed by who has not the secret.

#![no_main]

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use concave_core::admin_key::AdminKeys;
use concave_core::identity::UserIdentity;
use concave_core::query::{Cursor, CursorKey, Fingerprint, Journal, Position};
use concave_core::value::FunctionPath;
use concave_core::{DocumentId, InternalId, TableNumber, Timestamp};
use libfuzzer_sys::fuzz_target;

static CURSORS: LazyLock<CursorKey> = LazyLock::new(|| CursorKey::new([7; 32], "otter"));
static ADMIN: LazyLock<AdminKeys> = LazyLock::new(|| AdminKeys::new("otter", [5; 32]));

fuzz_target!(|bytes: &[u8]| {
    let Some((&mode, rest)) = bytes.split_first() else {
        return;
    };
    match mode % 4 {
        0 => texts(rest),
        1 => drop(ids(&mut Unstructured::new(rest))),
        2 => drop(cursors(&mut Unstructured::new(rest))),
        _ => drop(admin_keys(&mut Unstructured::new(rest))),
    }
});

/// Arbitrary text as each of them.
fn texts(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let id = DocumentId::decode(text);
    assert_eq!(text.parse().ok(), id);
    if let Some(id) = id {
        assert_eq!(id.encode(), text, "one text per id");
    }
    if let Some(ts) = Timestamp::from_wire(text) {
        assert_eq!(ts.to_wire(), text, "one text per timestamp");
    }
    if let Ok(path) = FunctionPath::parse(text) {
        assert_eq!(FunctionPath::parse(&path.canonical()).as_ref(), Ok(&path));
        // What is shown of `auth.config.js` cannot be called; neither can what is in it.
        if path.module.matches('.').count() == 1 {
            assert_eq!(FunctionPath::parse(&path.stripped()).as_ref(), Ok(&path));
        }
    }
    assert!(CURSORS.open_cursor(text).is_err(), "a forged cursor");
    assert!(
        CURSORS.open_journal(Some(text)).is_err(),
        "a forged journal"
    );
    assert!(ADMIN.verify(text).is_err(), "a forged admin key");
    if let Ok(json) = serde_json::from_str(text)
        && let Ok(user) = UserIdentity::from_json(json)
    {
        assert_eq!(UserIdentity::from_json(user.to_json()), Ok(user));
    }
}

/// Puts another character into a text of ASCII.
fn change(u: &mut Unstructured<'_>, text: &str) -> Result<Option<String>> {
    let mut changed = text.as_bytes().to_vec();
    let at = u.choose_index(changed.len())?;
    changed[at] = u.int_in_range(0..=127)?;
    let changed = String::from_utf8(changed).expect("ASCII");
    Ok((changed != text).then_some(changed))
}

fn ids(u: &mut Unstructured<'_>) -> Result<()> {
    let Some(table) = TableNumber::new(u.arbitrary::<u32>()? >> u.int_in_range(0..=31)?) else {
        return Ok(());
    };
    let internal = InternalId(u.arbitrary()?);
    let id = DocumentId { table, internal };
    let text = id.encode();
    assert_eq!(DocumentId::decode(&text), Some(id));
    if let Some(changed) = change(u, &text)? {
        assert_ne!(DocumentId::decode(&changed), Some(id));
    }
    let ts = Timestamp(u.arbitrary()?);
    assert_eq!(Timestamp::from_wire(&ts.to_wire()), Some(ts));
    if let Some(changed) = change(u, &ts.to_wire())? {
        assert_ne!(Timestamp::from_wire(&changed), Some(ts));
    }
    Ok(())
}

fn cursors(u: &mut Unstructured<'_>) -> Result<()> {
    let fingerprint = Fingerprint(u.arbitrary()?);
    let position = match u.arbitrary::<Option<&[u8]>>()? {
        Some(key) => Position::Key(key.to_vec()),
        None => Position::End,
    };
    let cursor = Cursor {
        position,
        fingerprint,
    };
    let text = CURSORS.seal_cursor(&cursor);
    assert_eq!(CURSORS.open_cursor(&text).as_ref(), Ok(&cursor));
    if let Some(changed) = change(u, &text)? {
        assert!(CURSORS.open_cursor(&changed).is_err());
    }
    assert!(CURSORS.open_journal(Some(&text)).is_err());
    let journal = Journal {
        end_cursor: Some(cursor),
    };
    let sealed = CURSORS.seal_journal(&journal).expect("it has a cursor");
    assert_eq!(CURSORS.open_journal(Some(&sealed)), Ok(journal));
    assert!(CURSORS.open_cursor(&sealed).is_err());
    Ok(())
}

fn admin_keys(u: &mut Unstructured<'_>) -> Result<()> {
    let read_only = u.arbitrary()?;
    let key = ADMIN.issue(Timestamp(u.arbitrary()?), read_only);
    let identity = ADMIN.verify(&key).expect("it was just issued");
    assert_eq!(identity.check_may_write().is_err(), read_only);
    if let Some(changed) = change(u, &key)? {
        assert!(ADMIN.verify(&changed).is_err(), "{changed}");
    }
    Ok(())
}
