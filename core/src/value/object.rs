//! Objects: named fields in ascending order of name, and paths to fields.

use std::fmt;
use std::str::FromStr;

use super::Value;
use super::name::is_identifier;
use crate::timestamp::Timestamp;
use crate::{Error, Result};

/// Longest field name, in bytes.
const MAX_FIELD_NAME_LENGTH: usize = 1024;

/// Named fields, ordered by name (bytewise).
///
/// A sorted vector: one allocation, binary search, and the order in which canonical JSON, index keys and the
/// stored form need the fields.
///
/// Invariants: names are strictly ascending, and each passes [`check_field_name`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// An object without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// An object of these fields. Of several with one name the last counts.
    ///
    /// # Errors
    /// `InvalidFieldName`.
    pub fn from_fields<K: Into<String>, V: Into<Value>>(
        fields: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self> {
        let mut all = Vec::new();
        for (name, value) in fields {
            let name = name.into();
            check_field_name(&name)?;
            all.push((name, value.into()));
        }
        Ok(Self::from_valid_fields(all))
    }

    /// An object of fields whose names are known to be valid, in any order. Of several with one name the last counts.
    pub(super) fn from_valid_fields(mut fields: Vec<(String, Value)>) -> Self {
        if !fields.is_sorted_by(|(a, _), (b, _)| a < b) {
            fields.sort_by(|(a, _), (b, _)| a.cmp(b)); // stable: equal names stay in order
            fields.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        Self::from_ascending_fields(fields)
    }

    /// An object of fields whose names are known to be valid and strictly ascending.
    pub(super) fn from_ascending_fields(fields: Vec<(String, Value)>) -> Self {
        debug_assert!(fields.is_sorted_by(|(a, _), (b, _)| a < b));
        debug_assert!(fields.iter().all(|(name, _)| is_field_name(name)));
        Self(fields)
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        // Fields mostly arrive in ascending order.
        match self.0.last() {
            Some((last, _)) if last.as_str() < name => Err(self.0.len()),
            _ => self.0.binary_search_by(|(n, _)| n.as_str().cmp(name)),
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let position = self.position(name).ok()?;
        Some(&self.0[position].1)
    }

    /// The value of a field, to change it in place.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let position = self.position(name).ok()?;
        Some(&mut self.0[position].1)
    }

    /// Whether there is such a field.
    pub fn contains_key(&self, name: &str) -> bool {
        self.position(name).is_ok()
    }

    /// Sets a field and gives its previous value.
    ///
    /// # Errors
    /// `InvalidFieldName`; the object is unchanged then.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        value: impl Into<Value>,
    ) -> Result<Option<Value>> {
        let name = name.into();
        check_field_name(&name)?;
        Ok(self.insert_unchecked(name, value))
    }

    /// Sets a field whose name is known to be valid, such as one written in the source, and gives its previous value.
    pub fn insert_unchecked(
        &mut self,
        name: impl Into<String>,
        value: impl Into<Value>,
    ) -> Option<Value> {
        let (name, value) = (name.into(), value.into());
        debug_assert!(is_field_name(&name), "invalid field name {name:?}");
        match self.position(&name) {
            Ok(position) => Some(std::mem::replace(&mut self.0[position].1, value)),
            Err(position) => {
                self.0.insert(position, (name, value));
                None
            }
        }
    }

    /// Takes a field out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let position = self.position(name).ok()?;
        Some(self.0.remove(position).1)
    }

    /// Fields in ascending order of name.
    pub fn iter(
        &self,
    ) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator + Clone {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of fields for which there is memory.
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Size as [`Value::size`] counts it.
    pub fn size(&self) -> usize {
        let fields = self.0.iter().map(|(n, v)| n.len() + 1 + v.size());
        2 + fields.sum::<usize>()
    }

    /// Whether there is no [`Value::CommitTs`] in it.
    pub fn is_resolved(&self) -> bool {
        self.0.iter().all(|(_, value)| value.is_resolved())
    }

    /// Puts the commit's timestamp in the place of each [`Value::CommitTs`].
    pub fn resolve(&mut self, ts: Timestamp) {
        self.0.iter_mut().for_each(|(_, value)| value.resolve(ts));
    }

    /// Nesting as [`Value::nesting`] counts it; at least 1.
    pub fn nesting(&self) -> usize {
        1 + self.0.iter().map(|(_, v)| v.nesting()).max().unwrap_or(0)
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    /// Fields in ascending order of name.
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

pub(super) fn is_field_name(name: &str) -> bool {
    name.len() <= MAX_FIELD_NAME_LENGTH
        && !name.starts_with('$')
        && name.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Checks the rules for field names of any object: printable ASCII, at most 1024 bytes, not beginning with `$`.
/// The empty name is valid.
///
/// # Errors
/// `InvalidFieldName`.
pub fn check_field_name(name: &str) -> Result<()> {
    if is_field_name(name) {
        return Ok(());
    }
    let (shown, reason) = if name.len() > MAX_FIELD_NAME_LENGTH {
        let cut = name.floor_char_boundary(64);
        (
            &name[..cut],
            format!("is longer than the maximum of {MAX_FIELD_NAME_LENGTH} bytes"),
        )
    } else if name.starts_with('$') {
        (name, "starts with '$', which is reserved".to_owned())
    } else {
        (name, "has characters other than printable ASCII".to_owned())
    };
    Err(Error::bad_request(
        "InvalidFieldName",
        format!("Field name {shown:?} {reason}"),
    ))
}

/// A path to a field, possibly inside nested objects: identifiers joined by `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// Reads `a.b.c`.
    ///
    /// # Errors
    /// `InvalidFieldPath` if a segment is not an identifier.
    pub fn parse(text: &str) -> Result<Self> {
        if text.split('.').all(is_identifier) {
            Ok(Self(text.split('.').map(str::to_owned).collect()))
        } else {
            Err(Error::bad_request(
                "InvalidFieldPath",
                format!("{text:?} is not a field path: identifiers joined by '.'"),
            ))
        }
    }

    /// The names along the path; at least one.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The value at this path; `None` if a field is missing or its parent is not an object.
    pub fn get<'a>(&self, object: &'a Object) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(object.get(first)?, |value, name| {
            value.as_object()?.get(name)
        })
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

impl FromStr for FieldPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::value::arbitrary;

    #[test]
    fn field_names() {
        let longest = "x".repeat(1024);
        for good in ["", "a", "_a", "a$", "a b", "~", longest.as_str()] {
            assert_eq!(check_field_name(good), Ok(()), "{good}");
        }
        let too_long = "é".repeat(600);
        for bad in ["$", "$a", "é", "\u{7f}", "\n", "a\0", too_long.as_str()] {
            let error = check_field_name(bad).expect_err(bad);
            assert_eq!(error.code, "InvalidFieldName");
            assert_eq!(Object::new().insert(bad, 1.0), Err(error.clone()));
            assert_eq!(Object::from_fields([(bad, 1.0)]), Err(error));
        }
    }

    #[test]
    fn paths() {
        let inner = Object::from_fields([("c", 1.0)]).unwrap();
        let object = Object::from_fields([
            ("a", Value::from(inner)),
            ("d", Value::Null),
            ("_id", "x".into()),
        ])
        .unwrap();
        let get = |path: &str| FieldPath::parse(path).unwrap().get(&object).cloned();
        assert_eq!(get("a.c"), Some(1.0.into()));
        assert_eq!(get("d"), Some(Value::Null));
        assert_eq!(get("_id"), Some("x".into()));
        assert_eq!(get("a.x"), None);
        assert_eq!(get("d.c"), None);
        assert_eq!(get("x.c"), None);
        let path: FieldPath = "a.b_2._c".parse().unwrap();
        assert_eq!(path.segments(), ["a", "b_2", "_c"]);
        assert_eq!(path.to_string(), "a.b_2._c");
        for bad in ["", ".", "a.", ".a", "a..b", "a.$b", "a b", "_"] {
            assert_eq!(
                FieldPath::parse(bad).expect_err(bad).code,
                "InvalidFieldPath"
            );
        }
    }

    proptest! {
        /// An object does what a map does, whatever the order of its changes.
        #[test]
        fn behaves_like_a_map(
            fields in vec((arbitrary::field_name(), arbitrary::scalar()), 0..12),
            removed in vec(arbitrary::field_name(), 0..6),
        ) {
            let mut map: BTreeMap<String, Value> = fields.iter().cloned().collect();
            let mut object = Object::new();
            for (name, value) in fields.clone() {
                object.insert(name, value).unwrap();
            }
            prop_assert_eq!(&Object::from_fields(fields).unwrap(), &object);
            for name in removed {
                prop_assert_eq!(object.get(&name), map.get(&name));
                prop_assert_eq!(object.remove(&name), map.remove(&name));
                prop_assert!(!object.contains_key(&name));
            }
            prop_assert_eq!(object.len(), map.len());
            prop_assert!(object.iter().map(|(n, v)| (n.to_owned(), v.clone())).eq(map));
        }
    }
}
