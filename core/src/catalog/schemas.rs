//! Schemas as documents: which one is in force, which one is on its way.
//!
//! A push stores its schema as `pending` while existing documents are checked against it; when all match it becomes
//! `validated`, and finishing the push makes it `active`. A document that does not match makes it `failed`. A newer
//! push replaces a pending or validated schema.

use std::sync::Arc;

use super::damaged;
use super::document::{id_of, object, text};
use crate::error::Result;
use crate::schema::SchemaDefinition;
use crate::value::{Object, Value};

/// Where a schema is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaState {
    /// Existing documents are being checked; new writes are checked too.
    Pending,
    /// All documents match.
    Validated,
    /// In force.
    Active,
    /// A document does not match.
    Failed {
        /// What does not match and why, for the developer.
        error: String,
        /// The table that holds the document.
        table: Option<String>,
    },
}

/// A schema with its state.
#[derive(Clone, Debug)]
pub struct StoredSchema {
    /// Id of its document.
    pub id: String,
    /// Where it is.
    pub state: SchemaState,
    /// The schema.
    pub definition: Arc<SchemaDefinition>,
}

/// All schemas that matter.
#[derive(Clone, Debug, Default)]
pub struct Schemas {
    /// What documents must match.
    pub active: Option<Arc<StoredSchema>>,
    /// What a push wants to put in force: pending, validated or failed.
    pub next: Option<Arc<StoredSchema>>,
}

impl Schemas {
    pub(super) fn from_documents<'a>(
        documents: impl Iterator<Item = &'a Arc<Object>>,
    ) -> Result<Self> {
        let mut schemas = Self::default();
        for document in documents {
            let schema = Arc::new(parse(document)?);
            let place = match schema.state {
                SchemaState::Active => &mut schemas.active,
                _ => &mut schemas.next,
            };
            if place.replace(schema).is_some() {
                return Err(damaged("two schemas are in one state"));
            }
        }
        Ok(schemas)
    }
}

/// The `_schemas` document of a schema, without system fields.
pub fn schema_document(state: &SchemaState, definition: &SchemaDefinition) -> Object {
    let (name, error, table) = match state {
        SchemaState::Pending => ("pending", None, None),
        SchemaState::Validated => ("validated", None, None),
        SchemaState::Active => ("active", None, None),
        SchemaState::Failed { error, table } => ("failed", Some(error), table.as_ref()),
    };
    let text = |text: Option<&String>| text.map_or(Value::Null, |text| Value::from(text.as_str()));
    object([
        ("state", Value::from(name)),
        ("error", text(error)),
        ("table", text(table)),
        (
            "schema",
            Value::from(definition.to_json().to_string().as_str()),
        ),
    ])
}

fn parse(document: &Object) -> Result<StoredSchema> {
    let optional = |field| {
        document
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let state = match text(document, "state")? {
        "pending" => SchemaState::Pending,
        "validated" => SchemaState::Validated,
        "active" => SchemaState::Active,
        "failed" => SchemaState::Failed {
            error: optional("error").unwrap_or_default(),
            table: optional("table"),
        },
        _ => return Err(damaged("a schema has an unknown state")),
    };
    let json = serde_json::from_str(text(document, "schema")?)
        .map_err(|_| damaged("a schema is not JSON"))?;
    let definition = Arc::new(SchemaDefinition::from_json(&json)?);
    Ok(StoredSchema {
        id: id_of(document)?.to_owned(),
        state,
        definition,
    })
}
