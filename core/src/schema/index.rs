//! Definitions of indexes: what they cover, the rules for them, and their JSON forms.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value as Json, json};

use crate::value::{CREATION_TIME_FIELD, FieldPath, ID_FIELD};
use crate::{Error, Result};

/// Most fields of a database index, without the creation time that ends every one.
pub const MAX_INDEX_FIELDS: usize = 16;
/// Most filter fields of a text or vector index.
pub const MAX_FILTER_FIELDS: usize = 16;
/// How many numbers an indexed vector may have.
pub const VECTOR_DIMENSIONS: RangeInclusive<u32> = 2..=4096;

/// An index as a schema defines it; its table and name are kept beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexDefinition {
    /// What is indexed, and how.
    pub kind: IndexKind,
    /// A staged index is filled but not used: it becomes queryable when a later schema has it unstaged.
    pub staged: bool,
}

/// What is indexed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// Documents in the order of some fields.
    Database {
        /// 1 to [`MAX_INDEX_FIELDS`] different fields. The creation time and the id follow without being listed.
        fields: Vec<FieldPath>,
    },
    /// Documents by the words in a text.
    Text {
        /// The text.
        search_field: FieldPath,
        /// What searches can be narrowed by.
        filter_fields: BTreeSet<FieldPath>,
    },
    /// Documents by the nearness of a vector.
    Vector {
        /// The vector: a list of numbers.
        vector_field: FieldPath,
        /// How many numbers; within [`VECTOR_DIMENSIONS`].
        dimensions: u32,
        /// What searches can be narrowed by.
        filter_fields: BTreeSet<FieldPath>,
    },
}

impl IndexDefinition {
    /// The form `{"type": "database", "fields": […]}`, with `"staged": true` if staged. Types `search` and `vector`
    /// have the members that schemas use.
    pub fn to_json(&self) -> Json {
        let mut members = self.kind.members();
        members.insert("type".into(), self.kind.type_name().into());
        if self.staged {
            members.insert("staged".into(), true.into());
        }
        Json::Object(members)
    }

    /// Reads what [`Self::to_json`] gives.
    ///
    /// # Errors
    /// `InvalidSchema` for another shape, or the code of the rule that is broken.
    pub fn from_json(json: &Json) -> Result<Self> {
        let members = json.as_object().ok_or_else(|| malformed("an index"))?;
        let kind = match members.get("type").and_then(Json::as_str) {
            Some("database") => IndexKind::database(members)?,
            Some("search") => IndexKind::text(members)?,
            Some("vector") => IndexKind::vector(members)?,
            _ => return Err(malformed("the type of an index")),
        };
        let staged = match members.get("staged") {
            None => false,
            Some(Json::Bool(staged)) => *staged,
            Some(_) => return Err(malformed("`staged`")),
        };
        Ok(Self { kind, staged })
    }
}

impl IndexKind {
    /// All fields that are indexed, those that only narrow searches included.
    pub fn fields(&self) -> Vec<&FieldPath> {
        match self {
            Self::Database { fields } => fields.iter().collect(),
            Self::Text {
                search_field: field,
                filter_fields,
            }
            | Self::Vector {
                vector_field: field,
                filter_fields,
                ..
            } => std::iter::once(field).chain(filter_fields).collect(),
        }
    }

    /// Reads a member of `indexes` in a schema.
    pub(super) fn database(members: &Map<String, Json>) -> Result<Self> {
        let fields = paths(members, "fields")?;
        if fields.is_empty() {
            return Err(Error::bad_request(
                "EmptyIndex",
                "An index needs at least one field",
            ));
        }
        check_count(
            "IndexTooManyFields",
            "fields",
            fields.len(),
            MAX_INDEX_FIELDS,
        )?;
        distinct("FieldsNotUniqueWithinIndex", &fields)?;
        Ok(Self::Database { fields })
    }

    /// Reads a member of `searchIndexes` in a schema.
    pub(super) fn text(members: &Map<String, Json>) -> Result<Self> {
        Ok(Self::Text {
            search_field: path(members.get("searchField"), "searchField")?,
            filter_fields: filter_fields(members, "SearchIndexFieldNotUnique")?,
        })
    }

    /// Reads a member of `vectorIndexes` in a schema. Old packages write `dimension`.
    pub(super) fn vector(members: &Map<String, Json>) -> Result<Self> {
        let json = members.get("dimensions").or(members.get("dimension"));
        let number = json
            .and_then(Json::as_f64)
            .ok_or_else(|| malformed("`dimensions`"))?;
        let dimensions = VECTOR_DIMENSIONS
            .into_iter()
            .find(|dimensions| f64::from(*dimensions) == number)
            .ok_or_else(|| {
                let (fewest, most) = (VECTOR_DIMENSIONS.start(), VECTOR_DIMENSIONS.end());
                Error::bad_request(
                    "InvalidVectorDimensionError",
                    format!(
                        "A vector has a whole number of dimensions from {fewest} to {most}, not {number}"
                    ),
                )
            })?;
        Ok(Self::Vector {
            vector_field: path(members.get("vectorField"), "vectorField")?,
            dimensions,
            filter_fields: filter_fields(members, "VectorIndexFieldNotUnique")?,
        })
    }

    /// The members that say what is indexed, with the names that schemas use.
    pub(super) fn members(&self) -> Map<String, Json> {
        let members = match self {
            Self::Database { fields } => vec![("fields", json!(texts(fields)))],
            Self::Text {
                search_field,
                filter_fields,
            } => vec![
                ("searchField", json!(search_field.to_string())),
                ("filterFields", json!(texts(filter_fields))),
            ],
            Self::Vector {
                vector_field,
                dimensions,
                filter_fields,
            } => vec![
                ("vectorField", json!(vector_field.to_string())),
                ("dimensions", json!(dimensions)),
                ("filterFields", json!(texts(filter_fields))),
            ],
        };
        let members = members.into_iter();
        members
            .map(|(name, json)| (name.to_owned(), json))
            .collect()
    }

    fn type_name(&self) -> &'static str {
        match self {
            Self::Database { .. } => "database",
            Self::Text { .. } => "search",
            Self::Vector { .. } => "vector",
        }
    }
}

/// The error for JSON of another shape than schemas have.
pub(super) fn malformed(what: &str) -> Error {
    Error::bad_request(
        "InvalidSchema",
        format!("{what} is missing or has the wrong shape"),
    )
}

/// Checks a count against a limit, and names both.
pub(super) fn check_count(
    code: &'static str,
    what: &str,
    count: usize,
    limit: usize,
) -> Result<()> {
    if count <= limit {
        return Ok(());
    }
    Err(Error::bad_request(
        code,
        format!("There are {count} {what}, but the maximum is {limit}"),
    ))
}

fn texts<'a>(paths: impl IntoIterator<Item = &'a FieldPath>) -> Vec<String> {
    paths.into_iter().map(FieldPath::to_string).collect()
}

fn filter_fields(members: &Map<String, Json>, code: &'static str) -> Result<BTreeSet<FieldPath>> {
    let fields = match members.get("filterFields") {
        None | Some(Json::Null) => Vec::new(),
        Some(_) => paths(members, "filterFields")?,
    };
    check_count(
        "IndexTooManyFilterFields",
        "filter fields",
        fields.len(),
        MAX_FILTER_FIELDS,
    )?;
    distinct(code, &fields)
}

/// The fields as a set, if they are all different.
fn distinct(code: &'static str, fields: &[FieldPath]) -> Result<BTreeSet<FieldPath>> {
    let mut seen = BTreeSet::new();
    for field in fields {
        if !seen.insert(field.clone()) {
            return Err(Error::bad_request(
                code,
                format!("The field `{field}` is listed twice"),
            ));
        }
    }
    Ok(seen)
}

fn paths(members: &Map<String, Json>, name: &str) -> Result<Vec<FieldPath>> {
    let list = members.get(name).and_then(Json::as_array);
    let list = list.ok_or_else(|| malformed(&format!("`{name}`")))?;
    list.iter().map(|json| path(Some(json), name)).collect()
}

/// Reads a field that users may index: one of theirs, not one of the system's.
fn path(json: Option<&Json>, what: &str) -> Result<FieldPath> {
    let text = json
        .and_then(Json::as_str)
        .ok_or_else(|| malformed(&format!("`{what}`")))?;
    let path = FieldPath::parse(text)
        .map_err(|error| Error::bad_request("InvalidIndexField", error.message))?;
    let (code, why) = match path.segments().first().map(String::as_str) {
        Some(ID_FIELD) => (
            "IndexFieldsContainId",
            "every index ends in it without listing it",
        ),
        Some(CREATION_TIME_FIELD) => (
            "IndexFieldsContainCreationTime",
            "every index has it after the listed fields without listing it",
        ),
        Some(first) if first.starts_with('_') => (
            "IndexFieldNameReserved",
            "names that begin with an underscore are reserved",
        ),
        _ => return Ok(path),
    };
    Err(Error::bad_request(
        code,
        format!("The field `{path}` cannot be indexed: {why}"),
    ))
}
