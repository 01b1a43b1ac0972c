//! Cursors and journals: positions in a query's result, as texts that only this deployment can make and read.
//!
//! A cursor holds an index key, that is, values of documents that its bearer may not be allowed to see, and where
//! it says to read from must not be forged. So it is encrypted and authenticated. It must also be the same text for
//! the same position every time, or results that contain it would never be equal: hence deterministic authenticated
//! encryption without a nonce, AES-SIV (RFC 5297). What such encryption reveals, that two texts mean the same
//! position, is meant to be seen.
//!
//! | part | content |
//! |---|---|
//! | text | base64url without padding of: version byte, sealed part |
//! | sealed part | AES-128-SIV; authenticated beside it: purpose, version byte, deployment name |
//! | plain part | fingerprint of the query (32 bytes), `00` for the end or `01` and an index key |

use std::fmt;
use std::sync::Arc;

use aes_siv::KeyInit;
use aes_siv::siv::Aes128Siv;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::ast::Query;
use super::plan::Plan;
use crate::error::Error;

const VERSION: u8 = 1;
const END: u8 = 0;
const KEY: u8 = 1;

/// Stands for a query together with the order of its rows: sha256 of the canonical query and the index's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a query and its plan.
    pub fn new(query: &Query, plan: &Plan) -> Self {
        let fields: Vec<_> = plan.fields.iter().map(ToString::to_string).collect();
        let text = json!([query.to_json(), fields]).to_string();
        Self(Sha256::digest(text).into())
    }
}

/// How far a query has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Up to and including this index key.
    Key(Vec<u8>),
    /// To the end.
    End,
}

/// A position in the result of one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// How far.
    pub position: Position,
    /// Of which query.
    pub fingerprint: Fingerprint,
}

/// What a run of a query hands to its next run, so that a page keeps its end and grows or shrinks with the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// Where the page ended; `None` if the run read no page.
    pub end_cursor: Option<Cursor>,
}

/// Why a cursor or journal was refused. The text contains `InvalidCursor`, by which clients know to begin again
/// with the first page; so does [`InvalidCursor::data`], for clients that are not shown texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCursor {
    /// Not made by this deployment, or changed since.
    #[error("Failed to parse cursor (InvalidCursor): it was not made by this deployment.")]
    Unreadable,
    /// Made for another query.
    #[error(
        "The cursor belongs to another query, or to an earlier version of it (InvalidCursor). Begin again with the \
         first page."
    )]
    OtherQuery,
}

impl InvalidCursor {
    /// Error data of a system error, as clients look for it.
    pub fn data(self) -> Json {
        json!({"isConvexSystemError": true, "paginationError": "InvalidCursor"})
    }
}

impl From<InvalidCursor> for Error {
    fn from(error: InvalidCursor) -> Self {
        Error::bad_request("InvalidCursor", error.to_string())
    }
}

/// What a sealed text is for; one cannot be passed off as the other.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    Cursor,
    Journal,
}

/// Seals and opens the cursors and journals of one deployment. Cheap to clone.
#[derive(Clone)]
pub struct CursorKey {
    secret: Arc<[u8; 32]>,
    deployment: Arc<str>,
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CursorKey({})", self.deployment)
    }
}

impl CursorKey {
    /// A key from a secret that is used for nothing else; `deployment` is the deployment's name.
    pub fn new(secret: [u8; 32], deployment: &str) -> Self {
        Self {
            secret: Arc::new(secret),
            deployment: deployment.into(),
        }
    }

    /// The cursor as text.
    pub fn seal_cursor(&self, cursor: &Cursor) -> String {
        self.seal(Purpose::Cursor, cursor)
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// [`InvalidCursor::Unreadable`].
    pub fn open_cursor(&self, text: &str) -> Result<Cursor, InvalidCursor> {
        self.open(Purpose::Cursor, text)
    }

    /// The journal as text; `None` if it says nothing.
    pub fn seal_journal(&self, journal: &Journal) -> Option<String> {
        let cursor = journal.end_cursor.as_ref()?;
        Some(self.seal(Purpose::Journal, cursor))
    }

    /// Reads a journal; `None` is the journal that says nothing.
    ///
    /// # Errors
    /// [`InvalidCursor::Unreadable`].
    pub fn open_journal(&self, text: Option<&str>) -> Result<Journal, InvalidCursor> {
        let end_cursor = text
            .map(|text| self.open(Purpose::Journal, text))
            .transpose()?;
        Ok(Journal { end_cursor })
    }

    fn seal(&self, purpose: Purpose, cursor: &Cursor) -> String {
        let mut plain = cursor.fingerprint.0.to_vec();
        match &cursor.position {
            Position::End => plain.push(END),
            Position::Key(key) => {
                plain.push(KEY);
                plain.extend_from_slice(key);
            }
        }
        let sealed = self
            .cipher()
            .encrypt(self.context(purpose), &plain)
            .expect("three headers are within the limit of the cipher");
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&sealed);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn open(&self, purpose: Purpose, text: &str) -> Result<Cursor, InvalidCursor> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| InvalidCursor::Unreadable)?;
        let Some((&VERSION, sealed)) = bytes.split_first() else {
            return Err(InvalidCursor::Unreadable);
        };
        let plain = self
            .cipher()
            .decrypt(self.context(purpose), sealed)
            .map_err(|_| InvalidCursor::Unreadable)?;
        let (fingerprint, position) = plain.split_first_chunk().ok_or(InvalidCursor::Unreadable)?;
        let position = match position {
            [END] => Position::End,
            [KEY, key @ ..] => Position::Key(key.to_vec()),
            _ => return Err(InvalidCursor::Unreadable),
        };
        Ok(Cursor {
            position,
            fingerprint: Fingerprint(*fingerprint),
        })
    }

    fn cipher(&self) -> Aes128Siv {
        Aes128Siv::new((&*self.secret).into())
    }

    /// What is authenticated beside the content.
    fn context(&self, purpose: Purpose) -> [&[u8]; 3] {
        let purpose: &[u8] = match purpose {
            Purpose::Cursor => b"cursor",
            Purpose::Journal => b"journal",
        };
        [purpose, &[VERSION], self.deployment.as_bytes()]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> CursorKey {
        CursorKey::new([7; 32], "happy-otter-1")
    }

    fn cursor() -> impl Strategy<Value = Cursor> {
        let position = prop_oneof![
            1 => Just(Position::End),
            4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Position::Key),
        ];
        (position, any::<[u8; 32]>()).prop_map(|(position, fingerprint)| Cursor {
            position,
            fingerprint: Fingerprint(fingerprint),
        })
    }

    proptest! {
        #[test]
        fn only_whoever_sealed_a_cursor_opens_it(cursor in cursor()) {
            let text = key().seal_cursor(&cursor);
            prop_assert_eq!(&key().seal_cursor(&cursor), &text, "deterministic");
            prop_assert_eq!(key().open_cursor(&text), Ok(cursor.clone()));
            for other in [CursorKey::new([8; 32], "happy-otter-1"), CursorKey::new([7; 32], "happy-otter-2")] {
                prop_assert_eq!(other.open_cursor(&text), Err(InvalidCursor::Unreadable));
            }
            let journal = Journal { end_cursor: Some(cursor) };
            let sealed = key().seal_journal(&journal).unwrap();
            prop_assert_eq!(key().open_journal(Some(&sealed)), Ok(journal));
            prop_assert_eq!(key().open_cursor(&sealed), Err(InvalidCursor::Unreadable));
            prop_assert_eq!(key().open_journal(Some(&text)), Err(InvalidCursor::Unreadable));
        }

        #[test]
        fn changed_cursors_are_refused(cursor in cursor(), place in any::<prop::sample::Index>(), flip in 1u8..=255) {
            let mut bytes = URL_SAFE_NO_PAD.decode(key().seal_cursor(&cursor)).unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            prop_assert_eq!(key().open_cursor(&URL_SAFE_NO_PAD.encode(&bytes)), Err(InvalidCursor::Unreadable));
            bytes.truncate(place);
            prop_assert_eq!(key().open_cursor(&URL_SAFE_NO_PAD.encode(&bytes)), Err(InvalidCursor::Unreadable));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(key().open_cursor(&text), Err(InvalidCursor::Unreadable));
            prop_assert_eq!(key().open_cursor(&URL_SAFE_NO_PAD.encode(&bytes)), Err(InvalidCursor::Unreadable));
        }
    }

    /// Clients keep cursors over updates of the server.
    #[test]
    fn the_form_of_cursors_is_settled() {
        let cursor = Cursor {
            position: Position::Key(vec![0x10, b'a', 0]),
            fingerprint: Fingerprint([1; 32]),
        };
        let text = "AaGvUY1I71IVw3qnS1TsO_Rro-7sEIRQX6-D-KRobtCwg0uCyxjkHF6DVzZioRKPg_X1E5w";
        assert_eq!(key().seal_cursor(&cursor), text);
    }

    #[test]
    fn an_empty_journal_is_no_text() {
        assert_eq!(key().seal_journal(&Journal::default()), None);
        assert_eq!(key().open_journal(None), Ok(Journal::default()));
    }

    #[test]
    fn errors_are_recognised_by_clients() {
        for error in [InvalidCursor::Unreadable, InvalidCursor::OtherQuery] {
            assert!(error.to_string().contains("InvalidCursor"));
            assert_eq!(Error::from(error).code, "InvalidCursor");
        }
    }
}
