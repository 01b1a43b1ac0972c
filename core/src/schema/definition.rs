//! Schemas: the tables of a component, the type of their documents and their indexes.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::check::{TableNames, ValidationError};
use super::index::{IndexDefinition, IndexKind, check_count, malformed};
use super::index_diff::{IndexName, IndexSet};
use super::validator::Validator;
use crate::value::{check_index_name, check_table_name};
use crate::{Error, Object, Result};

/// Most tables of a schema.
pub const MAX_TABLES: usize = 10_000;
/// Most indexes of a table: of all kinds, staged ones included, without those that every table has.
pub const MAX_INDEXES_PER_TABLE: usize = 64;

/// A schema, valid by construction when made by [`SchemaDefinition::from_json`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaDefinition {
    /// By name. Tables that are not listed may exist too, with documents of any shape.
    pub tables: BTreeMap<String, TableDefinition>,
    /// Whether documents must match the types of their tables.
    pub schema_validation: bool,
}

/// A table of a schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDefinition {
    /// By name, of all kinds, without `by_id` and `by_creation_time`, which every table has.
    pub indexes: BTreeMap<String, IndexDefinition>,
    /// What documents must match: an object, a union of objects, or anything.
    pub document_type: Option<Validator>,
}

/// Reads one index of one kind.
type ReadKind = fn(&Map<String, Json>) -> Result<IndexKind>;

/// Where a schema lists its indexes: the member of the table, whether they are staged, and their kind.
const INDEX_LISTS: [(&str, bool, ReadKind); 6] = [
    ("indexes", false, IndexKind::database),
    ("stagedDbIndexes", true, IndexKind::database),
    ("searchIndexes", false, IndexKind::text),
    ("stagedSearchIndexes", true, IndexKind::text),
    ("vectorIndexes", false, IndexKind::vector),
    ("stagedVectorIndexes", true, IndexKind::vector),
];

impl SchemaDefinition {
    /// Reads what the `export()` of a schema module gives (npm `convex` 1.48.0 and older). Staged document types are
    /// ignored: they are never enforced.
    ///
    /// # Errors
    /// `InvalidSchema` for JSON of another shape, `InvalidValidator` for a bad document type, and otherwise the code
    /// of the rule that is broken (such as `EmptyIndex` or `TooManyIndexes`). The text names table and index.
    pub fn from_json(json: &Json) -> Result<Self> {
        let schema = json.as_object().ok_or_else(|| malformed("The schema"))?;
        let list = schema
            .get("tables")
            .and_then(Json::as_array)
            .ok_or_else(|| malformed("The list `tables`"))?;
        check_count("TooManyTables", "tables", list.len(), MAX_TABLES)?;
        let mut tables = BTreeMap::new();
        for json in list {
            let members = json.as_object().ok_or_else(|| malformed("A table"))?;
            let name = text(members, "tableName")?;
            check_table_name(name)?;
            let place = format!("table `{name}`");
            let table = TableDefinition::from_members(members).map_err(|e| within(&place, e))?;
            if tables.insert(name.to_owned(), table).is_some() {
                let message = format!("The schema lists table `{name}` twice");
                return Err(Error::bad_request("InvalidSchema", message));
            }
        }
        let schema_validation = match schema.get("schemaValidation") {
            None | Some(Json::Null) => true,
            Some(Json::Bool(validation)) => *validation,
            Some(_) => return Err(malformed("`schemaValidation`")),
        };
        Ok(Self {
            tables,
            schema_validation,
        })
    }

    /// The form that [`Self::from_json`] reads.
    pub fn to_json(&self) -> Json {
        let tables = self.tables.iter().map(|(name, table)| table.to_json(name));
        json!({
            "tables": tables.collect::<Vec<_>>(),
            "schemaValidation": self.schema_validation,
        })
    }

    /// Checks a document, with its system fields or without, against the type of its table.
    ///
    /// # Errors
    /// Says what does not match. A schema without validation, and a table without type, accept everything.
    pub fn check_document(
        &self,
        table: &str,
        document: &Object,
        tables: &dyn TableNames,
    ) -> Result<(), ValidationError> {
        let definition = self.tables.get(table).filter(|_| self.schema_validation);
        match definition.and_then(|definition| definition.document_type.as_ref()) {
            Some(document_type) => document_type.check_document(document, tables),
            None => Ok(()),
        }
    }

    /// All indexes of all tables.
    pub fn indexes(&self) -> IndexSet {
        let all = self.tables.iter().flat_map(|(table, definition)| {
            definition.indexes.iter().map(move |(index, definition)| {
                let name = IndexName {
                    table: table.clone(),
                    index: index.clone(),
                };
                (name, definition.clone())
            })
        });
        all.collect()
    }
}

impl TableDefinition {
    fn from_members(members: &Map<String, Json>) -> Result<Self> {
        let mut indexes = BTreeMap::new();
        for (list, staged, read_kind) in INDEX_LISTS {
            let jsons = match members.get(list) {
                None | Some(Json::Null) if list != "indexes" => continue,
                Some(Json::Array(jsons)) => jsons,
                _ => return Err(malformed(&format!("The list `{list}`"))),
            };
            for json in jsons {
                let members = json.as_object().ok_or_else(|| malformed("An index"))?;
                let name = text(members, "indexDescriptor")?;
                check_index_name(name)?;
                let kind = read_kind(members).map_err(|e| within(&format!("index `{name}`"), e))?;
                let definition = IndexDefinition { kind, staged };
                if indexes.insert(name.to_owned(), definition).is_some() {
                    return Err(Error::bad_request(
                        "IndexNamesNotUnique",
                        format!("Two indexes have the name `{name}`"),
                    ));
                }
            }
        }
        check_count(
            "TooManyIndexes",
            "indexes",
            indexes.len(),
            MAX_INDEXES_PER_TABLE,
        )?;
        check_fields_differ(&indexes)?;
        Ok(Self {
            indexes,
            document_type: document_type(members.get("documentType"))?,
        })
    }

    fn to_json(&self, name: &str) -> Json {
        let mut table = Map::new();
        for (list, _, _) in INDEX_LISTS {
            table.insert(list.into(), json!([]));
        }
        for (name, definition) in &self.indexes {
            let mut index = definition.kind.members();
            index.insert("indexDescriptor".into(), json!(name));
            let list = match (&definition.kind, definition.staged) {
                (IndexKind::Database { .. }, false) => "indexes",
                (IndexKind::Database { .. }, true) => "stagedDbIndexes",
                (IndexKind::Text { .. }, false) => "searchIndexes",
                (IndexKind::Text { .. }, true) => "stagedSearchIndexes",
                (IndexKind::Vector { .. }, false) => "vectorIndexes",
                (IndexKind::Vector { .. }, true) => "stagedVectorIndexes",
            };
            let list = table.get_mut(list).and_then(Json::as_array_mut);
            list.expect("every list is there").push(index.into());
        }
        let document_type = self.document_type.as_ref().map(Validator::to_json);
        table.insert("tableName".into(), json!(name));
        table.insert("documentType".into(), json!(document_type));
        Json::Object(table)
    }
}

fn text<'a>(members: &'a Map<String, Json>, name: &str) -> Result<&'a str> {
    members
        .get(name)
        .and_then(Json::as_str)
        .ok_or_else(|| malformed(&format!("`{name}`")))
}

/// The error with a text that begins with the place where it was found.
fn within(place: &str, error: Error) -> Error {
    Error {
        message: format!("{place}: {}", error.message),
        ..error
    }
}

/// Two database indexes over the same fields would be one index stored twice.
fn check_fields_differ(indexes: &BTreeMap<String, IndexDefinition>) -> Result<()> {
    let mut seen = BTreeMap::new();
    for (name, definition) in indexes {
        if let IndexKind::Database { fields } = &definition.kind
            && let Some(other) = seen.insert(fields, name)
        {
            return Err(Error::bad_request(
                "IndexNotUnique",
                format!("The indexes `{other}` and `{name}` have the same fields"),
            ));
        }
    }
    Ok(())
}

fn document_type(json: Option<&Json>) -> Result<Option<Validator>> {
    let json = match json {
        None | Some(Json::Null) => return Ok(None),
        Some(json) => json,
    };
    let validator = Validator::from_json(json)?;
    if !validator.describes_documents() {
        return Err(Error::bad_request(
            "InvalidSchema",
            format!("Documents are objects: their type cannot be `{validator}`"),
        ));
    }
    Ok(Some(validator))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Value;
    use crate::schema::arbitrary::{TestTables, any_json, any_schema};

    fn notes() -> Json {
        json!({"tables": [{"tableName": "notes",
            "indexes": [{"indexDescriptor": "by_rank", "fields": ["rank", "owner.name"]}],
            "stagedDbIndexes": [{"indexDescriptor": "later", "fields": ["title"]}],
            "searchIndexes": [{"indexDescriptor": "find", "searchField": "title", "filterFields": ["owner"]}],
            "stagedSearchIndexes": [],
            "vectorIndexes": [
                {"indexDescriptor": "near", "vectorField": "vec", "dimensions": 4, "filterFields": []}],
            "stagedVectorIndexes": [],
            "documentType": {"type": "object", "value":
                {"rank": {"fieldType": {"type": "number"}, "optional": false}}}}],
         "schemaValidation": true})
    }

    /// The code of the error for a schema with one table `t`.
    fn code(table: Json) -> String {
        let mut members = json!({"tableName": "t", "indexes": []});
        for (name, value) in table.as_object().unwrap() {
            members[name] = value.clone();
        }
        let error = SchemaDefinition::from_json(&json!({"tables": [members]})).unwrap_err();
        error.code.into_owned()
    }

    fn index(name: &str, fields: &[&str]) -> Json {
        json!({"indexDescriptor": name, "fields": fields})
    }

    fn numbered(prefix: &str, count: usize) -> Vec<String> {
        (0..count).map(|i| format!("{prefix}{i}")).collect()
    }

    #[test]
    fn reads_and_prints_the_export() {
        let schema = SchemaDefinition::from_json(&notes()).unwrap();
        assert_eq!(schema.to_json(), notes());
        let names: Vec<_> = schema.indexes().keys().map(IndexName::to_string).collect();
        assert_eq!(
            names,
            ["notes.by_rank", "notes.find", "notes.later", "notes.near"]
        );
    }

    #[test]
    fn reads_older_shapes() {
        let old = json!({"tables": [{"tableName": "t", "indexes": [], "searchIndexes": null,
            "vectorIndexes": [{"indexDescriptor": "near", "vectorField": "v", "dimension": 8.0}],
            "documentType": null, "stagedDocumentType": {"type": "object", "value": {}}}]});
        let schema = SchemaDefinition::from_json(&old).unwrap();
        assert!(schema.schema_validation);
        let table = &schema.tables["t"];
        assert_eq!(table.document_type, None);
        let kind = &table.indexes["near"].kind;
        assert!(matches!(kind, IndexKind::Vector { dimensions: 8, .. }));
    }

    #[test]
    fn every_rule_has_its_code() {
        for (fields, expected) in [
            (&[][..], "EmptyIndex"),
            (&["a", "a"], "FieldsNotUniqueWithinIndex"),
            (&["_id"], "IndexFieldsContainId"),
            (&["a", "_creationTime"], "IndexFieldsContainCreationTime"),
            (&["_a.b"], "IndexFieldNameReserved"),
            (&["a..b"], "InvalidIndexField"),
            (&["a-b"], "InvalidIndexField"),
        ] {
            assert_eq!(code(json!({"indexes": [index("i", fields)]})), expected);
        }
        for (name, expected) in [
            ("by_id", "IndexNameReserved"),
            ("by_creation_time", "IndexNameReserved"),
            ("_i", "IndexNameReserved"),
            ("a b", "InvalidIndexName"),
        ] {
            assert_eq!(code(json!({"indexes": [index(name, &["a"])]})), expected);
        }
        assert_eq!(
            code(json!({"indexes": [index("i", &["a"])], "stagedDbIndexes": [index("j", &["a"])]})),
            "IndexNotUnique"
        );
        let search = |name: &str, filters: Vec<String>| json!({"indexDescriptor": name, "searchField": "a", "filterFields": filters});
        let vector = |dimensions: f64, filters: &[&str]| json!({"indexDescriptor": "v", "vectorField": "a", "dimensions": dimensions, "filterFields": filters});
        let twice = vec!["b".to_owned(), "b".to_owned()];
        for (table, expected) in [
            (
                json!({"indexes": [index("i", &["a"])], "searchIndexes": [search("i", vec![])]}),
                "IndexNamesNotUnique",
            ),
            (
                json!({"searchIndexes": [search("s", twice)]}),
                "SearchIndexFieldNotUnique",
            ),
            (
                json!({"searchIndexes": [search("s", numbered("f", 17))]}),
                "IndexTooManyFilterFields",
            ),
            (
                json!({"vectorIndexes": [vector(4.0, &["b", "b"])]}),
                "VectorIndexFieldNotUnique",
            ),
            (
                json!({"vectorIndexes": [vector(1.0, &[])]}),
                "InvalidVectorDimensionError",
            ),
            (
                json!({"vectorIndexes": [vector(4097.0, &[])]}),
                "InvalidVectorDimensionError",
            ),
            (
                json!({"vectorIndexes": [vector(2.5, &[])]}),
                "InvalidVectorDimensionError",
            ),
            (json!({"documentType": {"type": "string"}}), "InvalidSchema"),
            (
                json!({"documentType": {"type": "oops"}}),
                "InvalidValidator",
            ),
            (json!({"indexes": null}), "InvalidSchema"),
            (json!({"tableName": "a b"}), "InvalidTableName"),
            (json!({"tableName": "_t"}), "TableNameReserved"),
        ] {
            assert_eq!(code(table.clone()), expected, "{table}");
        }
        let names = numbered("f", MAX_INDEXES_PER_TABLE + 1);
        let fields: Vec<_> = names.iter().map(String::as_str).collect();
        let indexes: Vec<_> = fields.iter().map(|name| index(name, &[name])).collect();
        assert_eq!(code(json!({"indexes": indexes})), "TooManyIndexes");
        assert_eq!(
            code(json!({"indexes": [index("i", &fields[..17])]})),
            "IndexTooManyFields"
        );
        let table = |name: &str| json!({"tableName": name, "indexes": []});
        let names = numbered("t", MAX_TABLES + 1);
        let tables: Vec<_> = names.iter().map(|name| table(name)).collect();
        for (tables, expected) in [
            (tables, "TooManyTables"),
            (vec![table("t"), table("t")], "InvalidSchema"),
        ] {
            let error = SchemaDefinition::from_json(&json!({"tables": tables})).unwrap_err();
            assert_eq!(error.code, expected);
        }
    }

    #[test]
    fn errors_name_table_and_index() {
        let json = json!({"tables": [{"tableName": "t", "indexes": [index("i", &["_id"])]}]});
        let error = SchemaDefinition::from_json(&json).unwrap_err();
        assert!(
            error
                .message
                .starts_with("table `t`: index `i`: The field `_id`"),
            "{error}"
        );
    }

    #[test]
    fn documents_are_checked_where_the_schema_says_so() {
        let mut schema = SchemaDefinition::from_json(&notes()).unwrap();
        let good = Object::from_fields([("_id", Value::from("x")), ("rank", 1.0.into())]).unwrap();
        let bad = Object::from_fields([("rank", "first")]).unwrap();
        let check = |schema: &SchemaDefinition, table: &str, document| {
            schema
                .check_document(table, document, &TestTables)
                .map_err(|error| error.to_string())
        };
        assert_eq!(check(&schema, "notes", &good), Ok(()));
        assert_eq!(
            check(&schema, "notes", &bad).unwrap_err(),
            "Value does not match validator.\nPath: .rank\nValue: \"first\"\nValidator: v.float64()"
        );
        assert_eq!(check(&schema, "elsewhere", &bad), Ok(()));
        schema.schema_validation = false;
        assert_eq!(check(&schema, "notes", &bad), Ok(()));
    }

    proptest! {
        #[test]
        fn json_round_trips(schema in any_schema()) {
            prop_assert_eq!(SchemaDefinition::from_json(&schema.to_json()).unwrap(), schema);
        }

        #[test]
        fn hostile_json_is_an_error_or_a_schema(json in any_json()) {
            for json in [json.clone(), json!({"tables": [json]}), json!({"tables": [
                {"tableName": "t", "indexes": [], "vectorIndexes": [json.clone()]}]})] {
                if let Ok(schema) = SchemaDefinition::from_json(&json) {
                    prop_assert_eq!(SchemaDefinition::from_json(&schema.to_json()).unwrap(), schema);
                }
            }
        }
    }
}
