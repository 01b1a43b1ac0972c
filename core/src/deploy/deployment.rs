//! A deployment as those see it who run its functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::analysis::{AnalyzedFunction, HttpRoute, Visibility};
use super::record::DeploymentRecord;
use crate::engine::{FunctionKind, Module, Program};
use crate::error::{Error, Result};
use crate::schema::Validator;
use crate::timestamp::Timestamp;
use crate::value::FunctionPath;

/// A live deployment, ready to be called.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Changes with every push; empty before the first.
    pub id: String,
    /// Its code, with the environment variables.
    pub program: Arc<Program>,
    /// What can be called, by canonical path (`dir/file.js:name`).
    pub functions: BTreeMap<String, FunctionDefinition>,
    /// The routes of its HTTP router.
    pub http_routes: Vec<HttpRoute>,
    /// Who issues the tokens of its users; see [`DeploymentRecord::auth`].
    pub auth: Vec<Json>,
    /// Version of the npm package `convex` that its functions were bundled with.
    pub package_version: semver::Version,
}

/// A function that can be called.
#[derive(Clone, Debug)]
pub struct FunctionDefinition {
    /// Where it is.
    pub path: FunctionPath,
    /// What it may do.
    pub kind: FunctionKind,
    /// Who may call it; `None` for functions of old packages that do not say.
    pub visibility: Option<Visibility>,
    /// What its arguments must match.
    pub args: Validator,
    /// What its result must match.
    pub returns: Option<Validator>,
}

impl Deployment {
    /// What there is before the first push: nothing to call.
    pub fn empty(environment_variables: BTreeMap<String, String>) -> Self {
        let program = program(
            BTreeMap::new(),
            environment_variables,
            [0; 32],
            Timestamp::ZERO,
        );
        Self {
            id: String::new(),
            program: Arc::new(program),
            functions: BTreeMap::new(),
            http_routes: Vec::new(),
            auth: Vec::new(),
            package_version: semver::Version::new(0, 0, 0),
        }
    }

    /// The deployment of a record. `modules` are those that functions may import, by path.
    ///
    /// # Errors
    /// If the record's analysis names impossible functions; pushes do not let that happen.
    pub fn new(
        id: String,
        record: DeploymentRecord,
        modules: BTreeMap<String, Module>,
        environment_variables: BTreeMap<String, String>,
    ) -> Result<Self> {
        let mut functions = BTreeMap::new();
        let mut http_routes = Vec::new();
        for (module, analyzed) in record.analysis {
            for function in &analyzed.functions {
                let function = FunctionDefinition::new(&module, function)?;
                functions.insert(function.path.canonical(), function);
            }
            http_routes.extend(analyzed.http_routes.into_iter().flatten());
        }
        let program = program(
            modules,
            environment_variables,
            record.import_seed,
            record.import_time,
        );
        Ok(Self {
            id,
            program: Arc::new(program),
            functions,
            http_routes,
            auth: record.auth,
            // What cannot be read is as old as can be.
            package_version: semver::Version::parse(&record.udf_server_version)
                .unwrap_or(semver::Version::new(0, 0, 0)),
        })
    }
}

impl FunctionDefinition {
    /// The definition of an analysed export.
    ///
    /// # Errors
    /// `BadConvexFunctionIdentifier` or `InvalidValidator`; the text names the function.
    pub fn new(module: &str, function: &AnalyzedFunction) -> Result<Self> {
        let name = format!("{module}:{}", function.name);
        let path = FunctionPath::parse(&name)?;
        let validator = |text: &Option<String>, what: &str| -> Result<_> {
            match text.as_deref() {
                None | Some("null") => Ok(None),
                Some(text) => {
                    let invalid = |reason: &dyn std::fmt::Display| {
                        let message =
                            format!("The {what} of `{name}` has no usable validator: {reason}");
                        Error::bad_request("InvalidValidator", message)
                    };
                    let json = serde_json::from_str(text).map_err(|error| invalid(&error))?;
                    let validator =
                        Validator::from_json(&json).map_err(|error| invalid(&error.message))?;
                    Ok(Some(validator))
                }
            }
        };
        let args = validator(&function.args, "argument")?.unwrap_or(Validator::Any);
        if !matches!(args, Validator::Any | Validator::Object(_)) {
            return Err(Error::bad_request(
                "InvalidValidator",
                format!(
                    "The arguments of `{name}` must be validated as an object, not as `{args}`"
                ),
            ));
        }
        Ok(Self {
            path,
            kind: function.udf_type,
            visibility: function.visibility,
            args,
            returns: validator(&function.returns, "result")?,
        })
    }
}

/// A program of the given content. Its id is the start of a SHA-256 hash over all of it, so that equal programs are
/// recognised as such, and others (but for a chance of 2⁻⁶⁴ per pair) are not.
pub fn program(
    modules: BTreeMap<String, Module>,
    environment_variables: BTreeMap<String, String>,
    import_seed: [u8; 32],
    import_time: Timestamp,
) -> Program {
    let mut hash = Sha256::new();
    // Each text is preceded by its length, so that different contents never give the same bytes.
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    for module in modules.values() {
        add(&module.path);
        add(&module.source);
        add(module.source_map.as_deref().unwrap_or_default());
        add(&format!("{:?}", module.environment));
    }
    add("environment variables");
    for (name, value) in &environment_variables {
        add(name);
        add(value);
    }
    hash.update(import_seed);
    hash.update(import_time.0.to_le_bytes());
    let hash = hash.finalize();
    let start = std::array::from_fn(|i| hash[i]);
    Program {
        id: u64::from_le_bytes(start),
        modules,
        environment_variables,
        import_seed,
        import_time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Environment;

    fn module(path: &str, source: &str) -> (String, Module) {
        let module = Module {
            path: path.to_owned(),
            source: source.into(),
            source_map: None,
            environment: Environment::Isolate,
        };
        (path.to_owned(), module)
    }

    #[test]
    fn programs_are_named_by_their_content() {
        let id = |modules: &[(&str, &str)], env: &[(&str, &str)], time| {
            let modules = modules
                .iter()
                .map(|(path, source)| module(path, source))
                .collect();
            let env = env
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect();
            program(modules, env, [0; 32], Timestamp(time)).id
        };
        let same = id(&[("a.js", "1")], &[("K", "v")], 1);
        assert_eq!(same, id(&[("a.js", "1")], &[("K", "v")], 1));
        for other in [
            id(&[("a.js", "2")], &[("K", "v")], 1),
            id(&[("b.js", "1")], &[("K", "v")], 1),
            id(&[("a.js", "1")], &[("K", "w")], 1),
            id(&[("a.js", "1")], &[("Kv", "")], 1),
            id(&[("a.js", "1")], &[], 1),
            id(&[("a.js", "1")], &[("K", "v")], 2),
            id(&[("a.js", "1"), ("b.js", "")], &[("K", "v")], 1),
        ] {
            assert_ne!(same, other);
        }
    }

    #[test]
    fn arguments_are_objects_or_anything() {
        let function = |args: Option<&str>, returns: Option<&str>| AnalyzedFunction {
            name: "f".to_owned(),
            pos: None,
            udf_type: FunctionKind::Query,
            visibility: None,
            args: args.map(str::to_owned),
            returns: returns.map(str::to_owned),
        };
        let define = |args, returns| FunctionDefinition::new("m.js", &function(args, returns));
        let plain = define(None, Some("null")).unwrap();
        assert_eq!(plain.args, Validator::Any);
        assert_eq!(plain.returns, None);
        assert_eq!(plain.path.canonical(), "m.js:f");
        let strict = define(
            Some(r#"{"type":"object","value":{}}"#),
            Some(r#"{"type":"null"}"#),
        )
        .unwrap();
        assert!(matches!(strict.args, Validator::Object(_)));
        assert_eq!(strict.returns, Some(Validator::Null));
        for bad in [r#"{"type":"string"}"#, r#"{"type":"oops"}"#, "{"] {
            let error = define(Some(bad), None).unwrap_err();
            assert!(error.message.contains("m.js:f"), "{error}");
        }
    }
}
