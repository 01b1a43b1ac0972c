//! Evaluating what a push brings, before anything of it is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;

use super::deployer::{Deployer, live, pushing, unchanged_modules};
use super::deployment::{AUTH_CONFIG, environment_variables, load_modules};
use crate::deploy::environment::check_declarations;
use crate::deploy::indexes::check_indexes;
use crate::deploy::{
    Analysis, AnalyzedModule, DeploymentRecord, FunctionDefinition, PushRequest, analysis_inputs,
    auth_failure, auth_providers, check_no_providers, check_runs, defines_functions, module_hash,
    program,
};
use crate::engine::{Evaluation, Failure, Module, Program};
use crate::error::{Error, Result};
use crate::schema::SchemaDefinition;

/// What evaluating a push gives.
pub(super) struct Evaluated {
    pub(super) record: DeploymentRecord,
    /// Sources that are not stored yet, by path.
    pub(super) new_modules: BTreeMap<String, Module>,
    pub(super) schema: Option<SchemaDefinition>,
    /// The user's variables that the code was evaluated with.
    pub(super) environment: BTreeMap<String, String>,
}

impl Deployer {
    pub(super) async fn evaluate(&self, request: &PushRequest) -> Result<Evaluated> {
        let runtime = self.database.runtime();
        let (import_seed, import_time) = (runtime.entropy(), runtime.now());
        let mut tx = self.database.begin();
        let live = live(&mut tx)?.map(|(_, live)| live);
        let environment = environment_variables(&tx.configuration("_environment_variables"))?;
        let records = unchanged_modules(request, live.as_ref())?;
        let mut modules = load_modules(&self.database, &mut tx, &records).await?;
        modules.extend(request.changed.clone());
        let mut all_env = self.built_in_env.clone();
        all_env.extend(environment.clone());
        let make = |modules, env| Arc::new(program(modules, env, import_seed, import_time));
        let alone = |module: &Module, env| {
            make(BTreeMap::from([(module.path.clone(), module.clone())]), env)
        };

        let auth = match modules.remove(AUTH_CONFIG) {
            Some(module) => self.evaluate_auth(alone(&module, all_env.clone())).await?,
            None => Vec::new(),
        };
        check_no_providers(&auth)?;
        let definition = match &request.definition {
            Some(module) => {
                self.evaluate_definition(module, alone(module, all_env.clone()))
                    .await?
            }
            None => Json::Null,
        };
        let schema = match &request.schema {
            Some(module) => Some(
                self.evaluate_schema_module(module, alone(module, BTreeMap::new()))
                    .await?,
            ),
            None => None,
        };
        let (analysis, imports) = self
            .evaluate_functions(make(modules, all_env), live.as_ref())
            .await?;
        let record = DeploymentRecord {
            modules: records,
            analysis,
            imports,
            definition,
            auth,
            udf_server_version: request.udf_server_version.clone(),
            import_seed,
            import_time,
        };
        Ok(Evaluated {
            record,
            new_modules: request.changed.clone(),
            schema,
            environment,
        })
    }

    /// Evaluates the auth configuration, the one module of `program`.
    pub(super) async fn evaluate_auth(&self, program: Arc<Program>) -> Result<Vec<Json>> {
        let evaluation = Evaluation::AuthConfig(AUTH_CONFIG.to_owned());
        let config = self.engine.evaluate(program, evaluation).await;
        auth_providers(config.map_err(|failure| auth_failure(&failure))?)
    }

    async fn evaluate_definition(&self, module: &Module, program: Arc<Program>) -> Result<Json> {
        let evaluation = Evaluation::Definition(module.path.clone());
        let definition = self.engine.evaluate(program, evaluation).await;
        let definition = definition.map_err(|failure| refused("InvalidDefinition", &failure))?;
        let children = definition["childComponents"].as_array();
        if children.is_some_and(|children| !children.is_empty()) {
            return Err(Error::bad_request(
                "InvalidDefinition",
                "This server does not support components yet. Remove them from `convex.config.ts`.",
            ));
        }
        check_declarations(&definition)?;
        Ok(definition)
    }

    /// Evaluates the schema of a push and nothing else of it.
    pub(super) async fn evaluate_schema_only(
        &self,
        request: Json,
    ) -> Result<Option<SchemaDefinition>> {
        let evaluated = async {
            let request = PushRequest::parse(request)?;
            match &request.schema {
                Some(module) => self.evaluate_lone_schema(module).await.map(Some),
                None => Ok(None),
            }
        };
        evaluated.await.map_err(pushing)
    }

    /// Evaluates a schema that comes without a push.
    pub(super) async fn evaluate_lone_schema(&self, module: &Module) -> Result<SchemaDefinition> {
        let runtime = self.database.runtime();
        let modules = BTreeMap::from([(module.path.clone(), module.clone())]);
        let program = program(modules, BTreeMap::new(), runtime.entropy(), runtime.now());
        self.evaluate_schema_module(module, Arc::new(program)).await
    }

    async fn evaluate_schema_module(
        &self,
        module: &Module,
        program: Arc<Program>,
    ) -> Result<SchemaDefinition> {
        let evaluation = Evaluation::Schema(module.path.clone());
        let schema = self.engine.evaluate(program, evaluation).await;
        let schema = schema.map_err(|failure| refused("InvalidSchema", &failure))?;
        check_no_staged_types(&schema)?;
        let schema = SchemaDefinition::from_json(&schema)?;
        check_indexes(&schema)?;
        Ok(schema)
    }

    /// What the modules of `program` export, and what each of them imports. A module that is as it was in the live
    /// deployment, with all that it imports and with the same environment variables, is not evaluated again.
    async fn evaluate_functions(
        &self,
        program: Arc<Program>,
        live: Option<&DeploymentRecord>,
    ) -> Result<(BTreeMap<String, AnalyzedModule>, Analysis)> {
        let inputs = analysis_inputs(&program.environment_variables);
        let known = live.filter(|live| live.imports.inputs == inputs);
        let is_as_it_was = |path: &String| {
            let now = program.modules.get(path);
            let before = known.and_then(|live| live.modules.get(path));
            now.zip(before).is_some_and(|(now, before)| {
                now.environment == before.environment
                    && module_hash(&now.source, now.source_map.as_deref()) == before.hash
            })
        };
        let as_they_were: BTreeSet<&String> = program
            .modules
            .keys()
            .filter(|path| is_as_it_was(path))
            .collect();
        let mut analysis = BTreeMap::new();
        let mut imports = BTreeMap::new();
        let mut to_evaluate = Vec::new();
        for path in program
            .modules
            .keys()
            .filter(|path| defines_functions(path))
        {
            let before = known.and_then(|live| {
                let imports = live.imports.modules.get(path)?;
                let same = as_they_were.contains(path)
                    && imports.iter().all(|import| as_they_were.contains(import));
                same.then_some((live.analysis.get(path)?, imports))
            });
            match before {
                Some((module, of_module)) => {
                    analysis.insert(path.clone(), module.clone());
                    imports.insert(path.clone(), of_module.clone());
                }
                None => to_evaluate.push(path.clone()),
            }
        }
        if !to_evaluate.is_empty() {
            let evaluation = Evaluation::Functions(to_evaluate);
            let evaluated = self.engine.evaluate(program.clone(), evaluation).await;
            let mut evaluated = evaluated.map_err(|failure| refused("InvalidModules", &failure))?;
            let evaluated: BTreeMap<String, EvaluatedModule> =
                serde_json::from_value(evaluated["modules"].take()).map_err(|error| {
                    Error::internal(format!(
                        "The engine's analysis of modules is malformed: {error}"
                    ))
                })?;
            for (path, evaluated) in evaluated {
                analysis.insert(path.clone(), evaluated.module);
                imports.insert(path, evaluated.imports);
            }
        }
        check_functions(&analysis)?;
        check_runs(&analysis)?;
        let imports = Analysis {
            inputs,
            modules: imports,
        };
        Ok((analysis, imports))
    }
}

/// What an engine says of a module.
#[derive(Deserialize)]
struct EvaluatedModule {
    #[serde(flatten)]
    module: AnalyzedModule,
    #[serde(default)]
    imports: BTreeSet<String>,
}

/// Checks names and validators of functions.
fn check_functions(analysis: &BTreeMap<String, AnalyzedModule>) -> Result<()> {
    for (module, analyzed) in analysis {
        for function in &analyzed.functions {
            FunctionDefinition::new(module, function)
                .map_err(|error| Error::bad_request("InvalidModules", error.message))?;
        }
    }
    Ok(())
}

/// Refuses validators that are to be tried on documents without being enforced: nobody would try them.
fn check_no_staged_types(schema: &Json) -> Result<()> {
    let tables = schema["tables"].as_array().into_iter().flatten();
    let mut staged = tables.filter(|table| !table["stagedDocumentType"].is_null());
    match staged.next() {
        None => Ok(()),
        Some(table) => Err(Error::bad_request(
            "InvalidSchema",
            format!(
                "This server does not support staged validators yet. Remove `.staged()` from the table `{}`.",
                table["tableName"].as_str().unwrap_or_default()
            ),
        )),
    }
}

/// The error for code that could not be evaluated.
fn refused(code: &'static str, failure: &Failure) -> Error {
    Error::bad_request(code, failure.to_string().trim_end())
}
