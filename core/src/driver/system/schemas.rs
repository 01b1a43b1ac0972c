//! Schemas.

use futures_util::FutureExt;
use serde_json::Value as Json;

use super::{Answer, Call, Definition, number, query, record};
use crate::catalog::SchemaState;
use crate::schema::SchemaDefinition;
use crate::value::{CREATION_TIME_FIELD, Object, Value};

pub(super) const FUNCTIONS: &[Definition] = &[
    query("_system/frontend/getSchemas", &[], |call| {
        call.schemas().boxed()
    }),
    query(
        "_system/frontend/getSchemas:schemaValidationProgress",
        &[],
        |call| call.validation_progress().boxed(),
    ),
];

impl Call<'_> {
    /// The schema in force, and the one that existing documents are being checked against.
    async fn schemas(&mut self) -> Answer {
        let schemas = self.tx.schemas();
        let mut object = Object::new();
        if let Some(active) = &schemas.active {
            object.insert("active", schema_text(&active.definition))?;
        }
        if let Some(next) = &schemas.next
            && !matches!(next.state, SchemaState::Failed { .. })
        {
            object.insert("inProgress", schema_text(&next.definition))?;
        }
        Ok(Value::Object(object))
    }

    /// How many documents have been checked against the schema in progress; null if there is none. That number is not
    /// kept: none until all are.
    async fn validation_progress(&mut self) -> Answer {
        let schemas = self.tx.schemas();
        Ok(match schemas.next.as_ref().map(|next| &next.state) {
            Some(SchemaState::Pending) => {
                record([("numDocsValidated", number(0)), ("totalDocs", Value::Null)])
            }
            _ => Value::Null,
        })
    }
}

/// The schema as JSON text. Tools expect the fields of staged indexes, and of no others, with the creation time that
/// every index has after its own fields.
fn schema_text(schema: &SchemaDefinition) -> String {
    let mut json = schema.to_json();
    let tables = json["tables"].as_array_mut().into_iter().flatten();
    let staged = tables.flat_map(|table| table["stagedDbIndexes"].as_array_mut());
    for index in staged.flatten() {
        if let Some(fields) = index["fields"].as_array_mut() {
            fields.push(Json::from(CREATION_TIME_FIELD));
        }
    }
    json.to_string()
}
