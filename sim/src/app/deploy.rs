//! Pushing the app, with schemas that differ in what they index and in what they forbid.

use std::time::Duration;

use concave_core::driver::Backend;
use concave_core::engine::native::NativeEngine;
use concave_core::{Error, ErrorClass};
use fastrand::Rng;
use serde_json::{Value as Json, json};

/// What differs between two pushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Whether rows have an index by value.
    pub by_value: bool,
    /// Whether rows have an index that no function uses.
    pub by_writer: bool,
    /// Whether values of rows must be numbers.
    pub strict: bool,
}

impl Variant {
    /// Draws one.
    pub fn draw(rng: &mut Rng) -> Self {
        Self {
            by_value: rng.bool(),
            by_writer: rng.bool(),
            strict: rng.bool(),
        }
    }

    fn schema(self) -> Json {
        let index =
            |name: &str, fields: &[&str]| json!({ "indexDescriptor": name, "fields": fields });
        let any = json!({ "type": "any" });
        let table = |name: &str, document: &Json, indexes: &[Json]| json!({ "tableName": name, "indexes": indexes, "documentType": document });
        let mut of_rows = vec![index("by_key", &["key"])];
        if self.by_value {
            of_rows.push(index("by_value", &["value"]));
        }
        if self.by_writer {
            of_rows.push(index("by_writer", &["by", "value"]));
        }
        let number = json!({ "fieldType": { "type": "number" }, "optional": false });
        let string = json!({ "fieldType": { "type": "string" }, "optional": false });
        let row = match self.strict {
            true => json!({
                "type": "object", "value": { "key": number, "value": number, "by": string },
            }),
            false => any.clone(),
        };
        let tables = [
            table("accounts", &any, &[index("by_number", &["number"])]),
            table("lists", &any, &[index("by_name", &["name"])]),
            table("numbers", &any, &[]),
            table("queue", &any, &[index("by_priority", &["priority"])]),
            table("receipts", &any, &[index("by_token", &["token"])]),
            table("rows", &row, &of_rows),
        ];
        json!({ "tables": tables, "schemaValidation": true })
    }

    fn request(self, engine: &NativeEngine) -> Json {
        let modules: Vec<_> = engine
            .modules()
            .iter()
            .map(|module| json!({ "path": module.path, "source": &*module.source, "environment": "isolate" }))
            .collect();
        let schema = json!({
            "path": "schema.js", "source": self.schema().to_string(), "environment": "isolate",
        });
        json!({
            "dryRun": false, "functions": "convex/", "componentDefinitions": [],
            "appDefinition": {
                "definition": null, "dependencies": [], "schema": schema, "changedModules": modules,
                "unchangedModuleHashes": [], "udfServerVersion": "1.48.0",
            },
        })
    }
}

/// How a push ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is live.
    Live,
    /// A document does not match the schema.
    Refused,
}

/// Pushes the app, as the command line does.
///
/// # Errors
/// If the server fails on the way.
pub async fn push(
    backend: &Backend,
    engine: &NativeEngine,
    variant: Variant,
) -> Result<Pushed, Error> {
    let started = backend.start_push(variant.request(engine)).await?;
    let wait = Duration::from_secs(5).as_millis();
    let wait = json!({ "schemaChange": started["schemaChange"], "timeoutMs": wait as u64 });
    loop {
        let progress = backend.wait_for_schema(wait.clone()).await?;
        match progress["type"].as_str() {
            Some("inProgress") => {}
            Some("complete") => break,
            Some("failed") => return Ok(Pushed::Refused),
            _ => {
                return Err(Error::new(
                    ErrorClass::Conflict,
                    "Raced",
                    progress.to_string(),
                ));
            }
        }
    }
    let finish = json!({ "startPush": started, "dryRun": false, "message": null });
    backend.finish_push(finish).await?;
    Ok(Pushed::Live)
}
