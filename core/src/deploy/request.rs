//! The request that begins a push.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::engine::{Environment, Module};
use crate::error::{Error, Result};

/// Most modules of a deployment.
pub const MODULES_MAX: usize = 4096;
/// Most bytes of a module with its source map.
pub const MODULE_BYTES_MAX: usize = 31 << 20;

/// A push, checked as far as that is possible without running code.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// Nothing is to become live, whatever follows.
    pub dry_run: bool,
    /// Only to generate code from: changes of indexes are reported but not begun.
    pub for_codegen: bool,
    /// `convex.config.js`.
    pub definition: Option<Module>,
    /// `schema.js`.
    pub schema: Option<Module>,
    /// Modules that are sent along, by path.
    pub changed: BTreeMap<String, Module>,
    /// Modules that are as they were in the live deployment, by path.
    pub unchanged: BTreeMap<String, UnchangedModule>,
    /// Version of the npm package that pushes.
    pub udf_server_version: String,
}

/// A module that the server has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnchangedModule {
    /// Where it runs.
    pub environment: Environment,
    /// See [`super::module_hash`].
    pub hash: String,
}

impl PushRequest {
    /// Reads a request body.
    ///
    /// # Errors
    /// `InvalidConfig` for another shape, `InvalidModules` for bad paths, `InvalidDefinition` or
    /// `InvalidExternalModules` for features that are not supported.
    pub fn parse(body: Json) -> Result<Self> {
        let body: Body = serde_json::from_value(body).map_err(malformed)?;
        let app = body.app_definition;
        // Packages that know nothing of hashes send all modules each time, by another name. A push that has neither would
        // come to nothing and look like a success.
        let Some(changed_modules) = app.changed_modules.or(app.functions) else {
            return Err(Error::bad_request(
                "InvalidConfig",
                "The push is malformed: it has no list of modules. This server knows the pushes of npm `convex` from \
                 1.17 to 1.49.",
            ));
        };
        if let Some(name) = app.dependencies.first().cloned().or_else(|| {
            let component = body.component_definitions.first()?;
            Some(component["definitionPath"].as_str()?.to_owned())
        }) {
            return Err(Error::bad_request(
                "InvalidDefinition",
                format!(
                    "This server does not support components yet, and the app uses `{name}`. Remove it from \
                     `convex.config.ts`."
                ),
            ));
        }
        let modules = changed_modules.len() + app.unchanged_module_hashes.len();
        if modules > MODULES_MAX {
            return Err(too_many(modules));
        }
        let changed = by_path(changed_modules)?;
        let mut unchanged = BTreeMap::new();
        for module in app.unchanged_module_hashes {
            check_module(&module.path, module.environment)?;
            let path = module.path;
            let module = UnchangedModule {
                environment: module.environment,
                hash: module.sha256,
            };
            if changed.contains_key(&path) || unchanged.insert(path.clone(), module).is_some() {
                return Err(sent_twice(&path));
            }
        }
        Ok(Self {
            dry_run: body.dry_run,
            for_codegen: body.for_codegen,
            definition: app.definition.map(ModuleBody::check).transpose()?,
            schema: app.schema.map(ModuleBody::check).transpose()?,
            changed,
            unchanged,
            udf_server_version: app.udf_server_version,
        })
    }

    /// Reads the body of `/api/push_config`, the whole push of npm `convex` up to 1.28 in one request. Its schema has
    /// come before, with `/api/prepare_schema`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_config(body: Json) -> Result<Self> {
        let body: ConfigBody = serde_json::from_value(body).map_err(malformed)?;
        if body.modules.len() > MODULES_MAX {
            return Err(too_many(body.modules.len()));
        }
        if !body.config.auth_info.unwrap_or_default().is_empty() {
            return Err(Error::bad_request(
                "InvalidConfig",
                "This server does not verify tokens of users yet. Remove `authInfo` from `convex.json`.",
            ));
        }
        Ok(Self {
            dry_run: false,
            for_codegen: false,
            definition: None,
            schema: None,
            changed: by_path(body.modules)?,
            unchanged: BTreeMap::new(),
            udf_server_version: body.udf_server_version,
        })
    }

    /// Reads the body of `/api/prepare_schema`: the schema of such a push, and whether it is not to be put in force.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_schema(body: Json) -> Result<(Module, bool)> {
        let body: SchemaBody = serde_json::from_value(body).map_err(malformed)?;
        Ok((body.bundle.check()?, body.dry_run))
    }
}

/// Checks modules and names them by their paths.
fn by_path(modules: Vec<ModuleBody>) -> Result<BTreeMap<String, Module>> {
    let mut checked = BTreeMap::new();
    for module in modules {
        let module = module.check()?;
        if let Some(twice) = checked.insert(module.path.clone(), module) {
            return Err(sent_twice(&twice.path));
        }
    }
    Ok(checked)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigBody {
    config: Config,
    modules: Vec<ModuleBody>,
    udf_server_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auth_info: Option<Vec<Json>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaBody {
    bundle: ModuleBody,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    for_codegen: bool,
    app_definition: AppDefinition,
    #[serde(default)]
    component_definitions: Vec<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AppDefinition {
    #[serde(default)]
    definition: Option<ModuleBody>,
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    schema: Option<ModuleBody>,
    /// What npm `convex` sends from 1.31.3 on.
    #[serde(default)]
    changed_modules: Option<Vec<ModuleBody>>,
    /// What it sent before.
    #[serde(default)]
    functions: Option<Vec<ModuleBody>>,
    #[serde(default)]
    unchanged_module_hashes: Vec<UnchangedBody>,
    udf_server_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModuleBody {
    path: String,
    source: String,
    #[serde(default)]
    source_map: Option<String>,
    environment: Environment,
}

#[derive(Deserialize)]
struct UnchangedBody {
    path: String,
    environment: Environment,
    sha256: String,
}

impl ModuleBody {
    fn check(self) -> Result<Module> {
        check_module(&self.path, self.environment)?;
        let size = self.source.len() + self.source_map.as_ref().map_or(0, String::len);
        if size > MODULE_BYTES_MAX {
            return Err(invalid_modules(format!(
                "`{}` has {size} bytes with its source map, but the maximum is {MODULE_BYTES_MAX}",
                self.path
            )));
        }
        Ok(Module {
            path: self.path,
            source: self.source.into(),
            source_map: self.source_map.map(Into::into),
            environment: self.environment,
        })
    }
}

fn check_module(path: &str, environment: Environment) -> Result<()> {
    let mut components = path.split('/');
    let legal = components.all(|component| !matches!(component, "" | "." | ".."));
    if !(legal && path.ends_with(".js") && path.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(invalid_modules(format!(
            "{path:?} is not the path of a module"
        )));
    }
    if environment == Environment::Node {
        return Err(Error::bad_request(
            "InvalidExternalModules",
            format!(
                "This server does not run Node.js actions yet. Remove \"use node\" from `{path}`."
            ),
        ));
    }
    Ok(())
}

fn malformed(error: serde_json::Error) -> Error {
    Error::bad_request("InvalidConfig", format!("The push is malformed: {error}"))
}

fn too_many(modules: usize) -> Error {
    invalid_modules(format!(
        "The app has {modules} modules, but the maximum is {MODULES_MAX}"
    ))
}

fn invalid_modules(message: String) -> Error {
    Error::bad_request("InvalidModules", message)
}

fn sent_twice(path: &str) -> Error {
    invalid_modules(format!("`{path}` was sent twice"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(app: Json) -> Json {
        let mut body = json!({"adminKey": "k", "dryRun": false, "functions": "convex/", "appDefinition": {
            "definition": null, "dependencies": [], "schema": null, "changedModules": [],
            "unchangedModuleHashes": [], "udfServerVersion": "1.48.0"}, "componentDefinitions": []});
        for (name, value) in app.as_object().unwrap() {
            body["appDefinition"][name] = value.clone();
        }
        body
    }

    fn module(path: &str, environment: &str) -> Json {
        json!({"path": path, "source": "x", "sourceMap": "{}", "environment": environment})
    }

    #[test]
    fn reads_what_the_command_line_sends() {
        let request = PushRequest::parse(body(json!({
            "definition": module("convex.config.js", "isolate"),
            "schema": module("schema.js", "isolate"),
            "changedModules": [module("dir/a.js", "isolate"), module("_deps/AB12CD34.js", "isolate")],
            "unchangedModuleHashes": [{"path": "http.js", "environment": "isolate", "sha256": "ab"}],
        })))
        .unwrap();
        assert_eq!(
            request.changed.keys().collect::<Vec<_>>(),
            ["_deps/AB12CD34.js", "dir/a.js"]
        );
        assert_eq!(request.unchanged["http.js"].hash, "ab");
        assert_eq!(request.schema.unwrap().path, "schema.js");
        assert_eq!(request.udf_server_version, "1.48.0");
    }

    #[test]
    fn reads_what_older_command_lines_send() {
        let a = module("a.js", "isolate");
        let mut whole = body(json!({"functions": [a]}));
        let app = whole["appDefinition"].as_object_mut().unwrap();
        app.remove("changedModules");
        app.remove("unchangedModuleHashes");
        let request = PushRequest::parse(whole.clone()).unwrap();
        assert_eq!(request.changed.keys().collect::<Vec<_>>(), ["a.js"]);
        whole["appDefinition"]["functions"].take();
        let error = PushRequest::parse(whole).unwrap_err();
        assert!(error.message.contains("no list of modules"), "{error}");

        let config = json!({"adminKey": "k", "config": {"functions": "convex/"}, "modules": [a],
            "nodeDependencies": [], "udfServerVersion": "1.24.8", "schemaId": "s"});
        let request = PushRequest::parse_config(config.clone()).unwrap();
        assert_eq!(request.changed.keys().collect::<Vec<_>>(), ["a.js"]);
        assert_eq!(request.udf_server_version, "1.24.8");
        let mut with_auth = config.clone();
        with_auth["config"]["authInfo"] = json!([{"domain": "d", "applicationID": "a"}]);
        let mut node = config.clone();
        node["modules"][0]["environment"] = json!("node");
        let mut twice = config;
        twice["modules"] = json!([a, a]);
        for (config, code) in [
            (with_auth, "InvalidConfig"),
            (node, "InvalidExternalModules"),
            (twice, "InvalidModules"),
            (json!({}), "InvalidConfig"),
        ] {
            assert_eq!(PushRequest::parse_config(config).unwrap_err().code, code);
        }
        let schema =
            json!({"bundle": module("schema.js", "isolate"), "adminKey": "k", "dryRun": true});
        let (schema, dry_run) = PushRequest::parse_schema(schema).unwrap();
        assert_eq!((schema.path.as_str(), dry_run), ("schema.js", true));
    }

    #[test]
    fn refuses_what_cannot_be_served() {
        let mut components = body(json!({}));
        components["componentDefinitions"] = json!([{"definitionPath": "rateCounter"}]);
        let a = module("a.js", "isolate");
        let unchanged = json!([{"path": "a.js", "environment": "isolate", "sha256": "ab"}]);
        let twice = [unchanged[0].clone(), unchanged[0].clone()];
        let mut large = a.clone();
        large["sourceMap"] = "x".repeat(MODULE_BYTES_MAX).into();
        let many: Vec<_> = (0..=MODULES_MAX)
            .map(|n| json!({"path": format!("m{n}.js"), "environment": "isolate", "sha256": "ab"}))
            .collect();
        for (body, code) in [
            (json!({}), "InvalidConfig"),
            (
                body(json!({"unchangedModuleHashes": twice})),
                "InvalidModules",
            ),
            (
                body(json!({"unchangedModuleHashes": many})),
                "InvalidModules",
            ),
            (body(json!({"changedModules": [large]})), "InvalidModules"),
            (
                body(json!({"changedModules": [module("ä.js", "isolate")]})),
                "InvalidModules",
            ),
            (components, "InvalidDefinition"),
            (
                body(json!({"dependencies": ["rateCounter"]})),
                "InvalidDefinition",
            ),
            (
                body(json!({"changedModules": [module("a.js", "node")]})),
                "InvalidExternalModules",
            ),
            (
                body(json!({"changedModules": [module("a.js", "moon")]})),
                "InvalidConfig",
            ),
            (body(json!({"changedModules": [a, a]})), "InvalidModules"),
            (
                body(json!({"changedModules": [a], "unchangedModuleHashes": unchanged})),
                "InvalidModules",
            ),
            (
                body(json!({"changedModules": [module("../a.js", "isolate")]})),
                "InvalidModules",
            ),
            (
                body(json!({"changedModules": [module("/a.js", "isolate")]})),
                "InvalidModules",
            ),
            (
                body(json!({"changedModules": [module("a.ts", "isolate")]})),
                "InvalidModules",
            ),
        ] {
            let error = PushRequest::parse(body.clone()).expect_err("it is refused");
            assert_eq!(error.code, code, "{:.1000}", body.to_string());
        }
        let most = PushRequest::parse(body(json!({"unchangedModuleHashes": many[1..]})));
        assert_eq!(most.unwrap().unchanged.len(), MODULES_MAX);
    }
}
