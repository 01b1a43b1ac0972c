//! Objects: named fields in ascending order of name.

use std::collections::BTreeMap;

use super::Value;

/// Named fields, ordered by name (bytewise).
#[derive(Clone, Debug, Default)]
pub struct Object(BTreeMap<String, Value>);
