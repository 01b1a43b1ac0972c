//! What a push does to the indexes of a component.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value as Json, json};

use super::index::IndexDefinition;
use crate::value::CREATION_TIME_FIELD;

/// Names an index of a user's table. Displays as `table.index`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexName {
    /// The table.
    pub table: String,
    /// The index within the table.
    pub index: String,
}

impl fmt::Display for IndexName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.index)
    }
}

/// The indexes that users defined in a component.
pub type IndexSet = BTreeMap<IndexName, IndexDefinition>;

/// The steps from the indexes that exist to those that are wanted. Every index that exists or is wanted is in
/// exactly one set, except that one whose definition changes is both removed (as it was) and added (as it will be).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexDiff {
    /// To be created and filled.
    pub added: IndexSet,
    /// To be dropped.
    pub removed: IndexSet,
    /// Staged until now, from now on used by queries.
    pub enabled: IndexSet,
    /// Kept up to date, but from now on staged.
    pub disabled: IndexSet,
    /// Left as they are.
    pub identical: IndexSet,
}

impl IndexDiff {
    /// Compares by table and name.
    pub fn between(existing: &IndexSet, wanted: &IndexSet) -> Self {
        let mut diff = Self::default();
        for (name, old) in existing {
            if wanted.get(name).is_none_or(|new| new.kind != old.kind) {
                diff.removed.insert(name.clone(), old.clone());
            }
        }
        for (name, new) in wanted {
            let old = existing.get(name).filter(|old| old.kind == new.kind);
            let set = match old.map(|old| (old.staged, new.staged)) {
                None => &mut diff.added,
                Some((true, false)) => &mut diff.enabled,
                Some((false, true)) => &mut diff.disabled,
                Some(_) => &mut diff.identical,
            };
            set.insert(name.clone(), new.clone());
        }
        diff
    }

    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        [&self.added, &self.removed, &self.enabled, &self.disabled]
            .iter()
            .all(|set| set.is_empty())
    }

    /// The form that the deploy API answers with.
    pub fn to_json(&self) -> Json {
        let list = |set: &IndexSet| -> Vec<Json> {
            let entries = set.iter();
            entries
                .map(|(name, index)| entry_json(name, index))
                .collect()
        };
        json!({
            "added_indexes": list(&self.added),
            "removed_indexes": list(&self.removed),
            "enabled_indexes": list(&self.enabled),
            "disabled_indexes": list(&self.disabled),
        })
    }
}

/// An index with its full name, and with the creation time that ends the fields of a database index.
fn entry_json(name: &IndexName, index: &IndexDefinition) -> Json {
    let mut json = index.to_json();
    if let Some(Json::Array(fields)) = json.get_mut("fields") {
        fields.push(json!(CREATION_TIME_FIELD));
    }
    json["name"] = json!(name.to_string());
    json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::SchemaDefinition;
    use crate::schema::arbitrary::any_index_set;

    fn indexes(live: Json, staged: Json) -> IndexSet {
        let table = json!({"tableName": "tasks", "indexes": live, "stagedDbIndexes": staged});
        let schema = SchemaDefinition::from_json(&json!({"tables": [table]})).unwrap();
        schema.indexes()
    }

    fn index(name: &str, field: &str) -> Json {
        json!({"indexDescriptor": name, "fields": [field]})
    }

    #[test]
    fn prints_what_the_command_line_shows() {
        let before = indexes(
            json!([
                index("changed", "a"),
                index("gone", "b"),
                index("paused", "c"),
                index("same", "d")
            ]),
            json!([index("ready", "e")]),
        );
        let after = indexes(
            json!([
                index("changed", "f"),
                index("new", "g"),
                index("ready", "e"),
                index("same", "d")
            ]),
            json!([index("paused", "c")]),
        );
        let diff = IndexDiff::between(&before, &after);
        let entry = |name: &str, field: &str| json!({"name": format!("tasks.{name}"), "type": "database", "fields": [field, "_creationTime"]});
        let mut paused = entry("paused", "c");
        paused["staged"] = json!(true);
        assert_eq!(
            diff.to_json(),
            json!({
                "added_indexes": [entry("changed", "f"), entry("new", "g")],
                "removed_indexes": [entry("changed", "a"), entry("gone", "b")],
                "enabled_indexes": [entry("ready", "e")],
                "disabled_indexes": [paused],
            })
        );
        let same: Vec<_> = diff.identical.keys().map(IndexName::to_string).collect();
        assert_eq!(same, ["tasks.same"]);
    }

    proptest! {
        #[test]
        fn applying_the_diff_gives_what_is_wanted(existing in any_index_set(), wanted in any_index_set()) {
            let diff = IndexDiff::between(&existing, &wanted);
            prop_assert_eq!(diff.is_empty(), existing == wanted);
            let mut indexes = existing;
            for (name, old) in &diff.removed {
                prop_assert_eq!(indexes.remove(name), Some(old.clone()));
            }
            for (name, new) in &diff.added {
                prop_assert_eq!(indexes.insert(name.clone(), new.clone()), None);
            }
            for (set, staged) in [(&diff.enabled, false), (&diff.disabled, true)] {
                for name in set.keys() {
                    let index = indexes.get_mut(name).unwrap();
                    prop_assert_eq!(index.staged, !staged);
                    index.staged = staged;
                }
            }
            for (name, index) in &diff.identical {
                prop_assert_eq!(indexes.get(name), Some(index));
            }
            prop_assert_eq!(indexes, wanted);
        }

        #[test]
        fn definitions_round_trip(indexes in any_index_set()) {
            for index in indexes.values() {
                prop_assert_eq!(&IndexDefinition::from_json(&index.to_json()).unwrap(), index);
            }
        }
    }
}
