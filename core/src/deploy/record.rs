//! The documents in which deployments and their modules are stored.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::analysis::{Analysis, AnalyzedModule, CronSpec};
use crate::engine::{Environment, Module};
use crate::error::{Error, Result};
use crate::timestamp::Timestamp;
use crate::value::{DocumentId, Object, Value};

/// All that a deployment consists of, but for the sources of its modules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentRecord {
    /// All modules, by path.
    pub modules: BTreeMap<String, ModuleRecord>,
    /// What function modules export, by path.
    pub analysis: BTreeMap<String, AnalyzedModule>,
    /// What the analysis was made from.
    #[serde(default)]
    pub imports: Analysis,
    /// What `convex.config.js` says; null if there was none.
    pub definition: Json,
    /// Who issues the tokens of users: `{applicationID, domain}` or `{type: "customJwt", …}` each.
    pub auth: Vec<Json>,
    /// Version of the npm package `convex` that pushed.
    pub udf_server_version: String,
    /// Seed of `Math.random` while modules are imported.
    #[serde(with = "base64_bytes")]
    pub import_seed: [u8; 32],
    /// The clock while modules are imported.
    pub import_time: Timestamp,
}

/// Where a module's source is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRecord {
    /// Where it runs.
    pub environment: Environment,
    /// See [`module_hash`].
    pub hash: String,
    /// Id of the document in `_modules` that holds the source.
    pub document: String,
}

impl ModuleRecord {
    /// The id of the document that holds the source.
    ///
    /// # Errors
    /// If the record is damaged.
    pub fn document_id(&self) -> Result<DocumentId> {
        DocumentId::decode(&self.document).ok_or_else(|| damaged("a module's id is not an id"))
    }
}

const CONTENT: &str = "content";

impl DeploymentRecord {
    /// The document's fields.
    pub fn to_document(&self) -> Object {
        let text = serde_json::to_string(self).expect("records are plain data with text keys");
        let mut document = Object::new();
        document.insert_unchecked(CONTENT, text);
        document
    }

    /// The jobs that run by the clock.
    pub fn crons(&self) -> impl Iterator<Item = &CronSpec> {
        let modules = self.analysis.values();
        modules.flat_map(|module| module.cron_specs.iter().flatten())
    }

    /// Reads a document that [`Self::to_document`] made; other fields may have been added to it.
    ///
    /// # Errors
    /// If it has another form.
    pub fn from_document(document: &Object) -> Result<Self> {
        let text = document.get(CONTENT).and_then(Value::as_str);
        let text = text.ok_or_else(|| damaged("a deployment has no content"))?;
        serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))
    }
}

/// The hash by which the command-line client knows a module: SHA-256 in hexadecimal over the source followed by the
/// source map.
pub fn module_hash(source: &str, source_map: Option<&str>) -> String {
    let hash = Sha256::new()
        .chain_update(source)
        .chain_update(source_map.unwrap_or_default())
        .finalize();
    let mut text = String::with_capacity(64);
    for byte in hash {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
    }
    text
}

/// The `_modules` document of a module. Such documents are never changed, only deleted when no deployment needs them.
pub fn module_document(module: &Module) -> Object {
    let mut document = Object::new();
    document.insert_unchecked("path", module.path.as_str());
    document.insert_unchecked("source", &*module.source);
    document.insert_unchecked("sourceMap", module.source_map.as_deref());
    document
}

/// The module of a `_modules` document.
///
/// # Errors
/// If the document has another form.
pub fn module_from_document(
    path: &str,
    environment: Environment,
    document: &Object,
) -> Result<Module> {
    let text = |field| document.get(field).and_then(Value::as_str);
    let source = text("source").ok_or_else(|| damaged("a module has no source"))?;
    Ok(Module {
        path: path.to_owned(),
        source: Arc::from(source),
        source_map: text("sourceMap").map(Arc::from),
        environment,
    })
}

fn damaged(what: &str) -> Error {
    Error::internal(format!("A stored deployment is damaged: {what}."))
}

/// Thirty-two bytes as base64 text.
mod base64_bytes {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| serde::de::Error::custom("not base64 of thirty-two bytes"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_command_line() {
        // `printf 'export {};{}' | sha256sum`
        let expected = "768dcee6c954c399558347d237589dd13fe32c8c41611e4be74bd313d2800f10";
        assert_eq!(module_hash("export {};", Some("{}")), expected);
        assert_eq!(module_hash("export {};{}", None), expected);
    }

    #[test]
    fn records_survive_being_stored() {
        let module = json!({"functions": [{"name": "list", "pos": null, "udfType": "Query",
            "visibility": {"kind": "internal"}, "args": "{\"type\":\"any\"}", "returns": null}],
            "httpRoutes": null, "cronSpecs": [{"identifier": "c", "spec": {"args": [{"$integer": "AQAAAAAAAAA="}]}}],
            "sourceMapped": null});
        let record = DeploymentRecord {
            modules: BTreeMap::from([(
                "a.js".to_owned(),
                ModuleRecord {
                    environment: Environment::Isolate,
                    hash: module_hash("x", None),
                    document: "d".to_owned(),
                },
            )]),
            analysis: BTreeMap::from([(
                "a.js".to_owned(),
                serde_json::from_value(module.clone()).unwrap(),
            )]),
            imports: Analysis {
                inputs: "i".to_owned(),
                modules: BTreeMap::from([("a.js".to_owned(), ["_deps/b.js".to_owned()].into())]),
            },
            definition: Json::Null,
            auth: vec![json!({"domain": "d", "applicationID": "a"})],
            udf_server_version: "1.48.0".to_owned(),
            import_seed: [7; 32],
            import_time: Timestamp(5),
        };
        let document = record.to_document();
        assert_eq!(DeploymentRecord::from_document(&document).unwrap(), record);
        assert_eq!(
            serde_json::to_value(&record.analysis["a.js"]).unwrap(),
            module
        );
        assert!(DeploymentRecord::from_document(&Object::new()).is_err());
    }
}
