//! From the indexes that schemas define to those that tables have.
//!
//! A schema in force has all its indexes; those that are not staged are complete. A push creates what its schema adds
//! beside them, and finishing it drops what the new schema does not define. An index is what the schema defines if
//! it has its name and its fields; so while a definition changes, two indexes have one name.

use crate::catalog::{BY_CREATION_TIME, BY_ID, Index};
use crate::error::{Error, Result};
use crate::schema::{IndexDefinition, IndexKind, IndexName, IndexSet, SchemaDefinition};
use crate::value::{CREATION_TIME_FIELD, FieldPath, ID_FIELD};

/// The fields of the key of a database index; `None` for other kinds.
pub fn key_fields(definition: &IndexDefinition) -> Option<Vec<FieldPath>> {
    let IndexKind::Database { fields } = &definition.kind else {
        return None;
    };
    let system = [CREATION_TIME_FIELD, ID_FIELD]
        .map(|field| FieldPath::parse(field).expect("system fields are valid paths"));
    Some(fields.iter().cloned().chain(system).collect())
}

/// The definition in `set` that an index of `table` realises, if any.
pub fn definition_of<'s>(
    set: &'s IndexSet,
    table: &str,
    index: &Index,
) -> Option<&'s IndexDefinition> {
    let name = IndexName {
        table: table.to_owned(),
        index: index.name.clone(),
    };
    set.get(&name)
        .filter(|definition| key_fields(definition).as_ref() == Some(&index.fields))
}

/// Whether users defined an index, as opposed to those that every table has.
pub fn is_user_index(index: &Index) -> bool {
    index.name != BY_ID && index.name != BY_CREATION_TIME
}

/// Refuses indexes on which queries could not run, and indexes over fields that no document of their table can have.
///
/// # Errors
/// `InvalidSchema`, naming the index, and the field.
pub fn check_indexes(schema: &SchemaDefinition) -> Result<()> {
    for (name, definition) in schema.indexes() {
        let document_type = schema
            .tables
            .get(&name.table)
            .and_then(|table| table.document_type.as_ref());
        let known = |field: &&FieldPath| {
            document_type.is_none_or(|documents| documents.has_field(field.segments()))
        };
        if let Some(field) = definition
            .kind
            .fields()
            .into_iter()
            .find(|field| !known(field))
        {
            return Err(Error::bad_request(
                "InvalidSchema",
                format!(
                    "The index `{name}` is over the field `{field}`, which documents of the table `{}` do not have.",
                    name.table
                ),
            ));
        }
        let kind = match definition.kind {
            IndexKind::Database { .. } => continue,
            IndexKind::Text { .. } => "text search",
            IndexKind::Vector { .. } => "vector",
        };
        return Err(Error::bad_request(
            "InvalidSchema",
            format!(
                "This server does not support {kind} indexes yet. Remove `{name}` from the schema."
            ),
        ));
    }
    Ok(())
}

/// Tables whose documents must be looked at before `next` can follow `active`, in order of name: those with a type
/// that is not the one they have been held to so far.
pub fn tables_to_check(active: Option<&SchemaDefinition>, next: &SchemaDefinition) -> Vec<String> {
    if !next.schema_validation {
        return Vec::new();
    }
    let enforced = |table: &str| {
        let active = active.filter(|active| active.schema_validation)?;
        active.tables.get(table)?.document_type.as_ref()
    };
    let to_check = next.tables.iter().filter(|(name, table)| {
        let document_type = table.document_type.as_ref();
        document_type
            .is_some_and(|new| *new != crate::schema::Validator::Any && enforced(name) != Some(new))
    });
    to_check.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::catalog::IndexState;
    use crate::persistence::{IndexId, TableId};

    fn schema(validation: bool, tables: &[(&str, Json)]) -> SchemaDefinition {
        let tables: Vec<_> = tables
            .iter()
            .map(|(name, document_type)| {
                json!({"tableName": name, "documentType": document_type,
                    "indexes": [{"indexDescriptor": "by_a", "fields": ["a"]}]})
            })
            .collect();
        let json = json!({"tables": tables, "schemaValidation": validation});
        SchemaDefinition::from_json(&json).unwrap()
    }

    #[test]
    fn only_changed_types_are_checked() {
        let object = |field: &str| json!({"type": "object", "value": {field: {"fieldType": {"type": "any"}, "optional": true}}});
        let next = schema(
            true,
            &[
                ("a", object("x")),
                ("b", object("y")),
                ("c", json!({"type": "any"})),
                ("d", Json::Null),
            ],
        );
        let active = schema(true, &[("a", object("x")), ("b", object("x"))]);
        assert_eq!(tables_to_check(Some(&active), &next), ["b"]);
        assert_eq!(tables_to_check(None, &next), ["a", "b"]);
        let unchecked = schema(false, &[("a", object("x"))]);
        assert_eq!(tables_to_check(Some(&unchecked), &next), ["a", "b"]);
        assert!(tables_to_check(Some(&active), &unchecked).is_empty());
    }

    #[test]
    fn an_index_is_known_by_name_and_fields() {
        let set = schema(true, &[("t", Json::Null)]).indexes();
        let definition = set.values().next().unwrap();
        let mut index = Index {
            id: IndexId(9),
            table: TableId(9),
            name: "by_a".to_owned(),
            fields: key_fields(definition).unwrap(),
            state: IndexState::Ready,
            staged: false,
        };
        assert_eq!(definition_of(&set, "t", &index), Some(definition));
        assert_eq!(definition_of(&set, "u", &index), None);
        index.fields.remove(0);
        assert_eq!(definition_of(&set, "t", &index), None);
    }

    #[test]
    fn an_index_over_a_field_that_is_not_there_is_refused() {
        let field = |json: Json| json!({"fieldType": json, "optional": true});
        let author = json!({"type": "object", "value": {"name": field(json!({"type": "string"}))}});
        let by_key =
            json!({"type": "record", "keys": {"type": "string"}, "values": {"fieldType": author}});
        let one = json!({"type": "object", "value": {"author": field(author), "extra": field(json!({"type": "any"})),
            "authors": field(by_key), "list": field(json!({"type": "array", "value": {"type": "any"}}))}});
        let other = json!({"type": "object", "value": {"author": field(json!({"type": "string"})),
            "title": field(json!({"type": "string"}))}});
        let either = json!({"type": "union", "value": [one, other]});
        let check = |list: &str, path: &str, document_type: &Json| {
            let index = match list {
                "searchIndexes" => {
                    json!({"indexDescriptor": "i", "searchField": path, "filterFields": []})
                }
                _ => json!({"indexDescriptor": "i", "fields": ["author", path]}),
            };
            let mut table =
                json!({"tableName": "books", "indexes": [], "documentType": document_type});
            table[list] = json!([index]);
            let json = json!({"tables": [table], "schemaValidation": true});
            check_indexes(&SchemaDefinition::from_json(&json).unwrap())
        };
        for (path, of_one, of_either) in [
            ("title", false, true),
            ("titel", false, false),
            ("author.name", true, true),
            ("author.nam", false, false),
            ("author.name.first", false, false),
            ("extra.whatever", true, true),
            ("authors.anyone.name", true, true),
            ("authors.anyone.age", false, false),
            ("list.first", false, false),
        ] {
            assert_eq!(check("indexes", path, &one).is_ok(), of_one, "{path}");
            assert_eq!(
                check("stagedDbIndexes", path, &either).is_ok(),
                of_either,
                "{path}"
            );
            for unknown in [json!({"type": "any"}), Json::Null] {
                assert_eq!(check("indexes", path, &unknown), Ok(()));
            }
        }
        for list in ["indexes", "searchIndexes"] {
            let error = check(list, "titel", &one).unwrap_err();
            assert_eq!(
                error.message,
                "The index `books.i` is over the field `titel`, which documents of the table `books` do not have."
            );
        }
    }

    #[test]
    fn indexes_that_cannot_be_queried_are_refused() {
        let json = json!({"tables": [{"tableName": "notes", "indexes": [],
            "searchIndexes": [{"indexDescriptor": "find", "searchField": "title", "filterFields": []}]}]});
        let schema = SchemaDefinition::from_json(&json).unwrap();
        let error = check_indexes(&schema).unwrap_err();
        assert!(error.message.contains("`notes.find`"), "{error}");
        let definition = &schema.indexes()[&IndexName {
            table: "notes".to_owned(),
            index: "find".to_owned(),
        }];
        assert_eq!(key_fields(definition), None);
    }
}
