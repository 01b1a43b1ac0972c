//! Queries that run once and belong to no deployment (`npx convex run --inline-query`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{CallContext, Ended, Functions, MutationResult};
use crate::deploy::{AnalyzedModule, Deployment, FunctionDefinition, program};
use crate::engine::{Environment, Evaluation, Failure, FunctionKind, Module, Program};
use crate::error::{Error, Result};
use crate::function;
use crate::value::FunctionPath;

/// What an inline query is made of.
#[derive(Clone, Debug)]
pub struct TestQuery {
    /// Path of its module, such as `testQuery.js`. It hides a deployed module of this path.
    pub path: String,
    /// Source of the module; its default export is the query.
    pub source: String,
    /// Arguments.
    pub args: Json,
}

impl Functions {
    /// Runs a query that is not deployed, beside the deployed modules, which it may import. Nothing of it is kept.
    ///
    /// # Errors
    /// `InvalidTestQuery` if the module cannot be imported, `UnsupportedTestQuery` if its default export is no query;
    /// or if storage fails.
    pub(in crate::driver) async fn test_query(
        &self,
        context: &CallContext,
        query: TestQuery,
    ) -> Result<MutationResult> {
        let database = &self.shared.database;
        let begun = database.runtime().monotonic();
        let path = FunctionPath::parse(&query.path)?;
        let mut tx = database.begin();
        let live = self.deployment(&mut tx).await?;
        let mut modules = live.program.modules.clone();
        let module = Module {
            path: path.module.clone(),
            source: query.source.into(),
            source_map: None,
            environment: Environment::Isolate,
        };
        modules.insert(path.module.clone(), module);
        let Program {
            environment_variables,
            import_seed,
            import_time,
            ..
        } = (*live.program).clone();
        let program = program(modules, environment_variables, import_seed, import_time);
        let deployment = Arc::new(Deployment {
            program: Arc::new(program),
            ..(*live).clone()
        });
        let definition = self.examine(&deployment, &path).await?;
        let args = match function::single_argument(&path, query.args) {
            Ok(args) => args,
            Err(failure) => {
                return Ok(MutationResult {
                    result: Err(failure),
                    logs: Vec::new(),
                    ts: tx.snapshot_ts(),
                });
            }
        };
        let ts = tx.snapshot_ts();
        let kind = FunctionKind::Query;
        let state = self.call_state(context, path.clone(), kind, tx, None);
        let (state, outcome) = self.run_udf(&deployment, &definition, args, state).await?;
        debug_assert!(state.tx.is_read_only(), "queries do not write");
        let ended = Ended {
            failure: outcome.result.as_ref().err(),
            logs: &outcome.logs,
            usage: state.tx.usage(),
        };
        self.log_call(context, &path, kind, begun, ended);
        Ok(MutationResult {
            result: outcome.result,
            logs: outcome.logs,
            ts,
        })
    }

    /// What the module says of its default export.
    async fn examine(
        &self,
        deployment: &Deployment,
        path: &FunctionPath,
    ) -> Result<FunctionDefinition> {
        let invalid = |failure: Failure| {
            Error::bad_request("InvalidTestQuery", failure.to_string().trim_end())
        };
        let evaluation = Evaluation::Functions(vec![path.module.clone()]);
        let engine = &self.shared.engine;
        let mut evaluated = engine
            .evaluate(deployment.program.clone(), evaluation)
            .await
            .map_err(invalid)?;
        let modules = evaluated["modules"].take();
        let mut modules: BTreeMap<String, AnalyzedModule> = serde_json::from_value(modules)
            .map_err(|error| {
                Error::internal(format!("An engine's analysis is damaged: {error}"))
            })?;
        let module = modules.remove(&path.module).unwrap_or_default();
        let exported = module
            .functions
            .iter()
            .find(|function| function.name == path.export)
            .filter(|function| function.udf_type == FunctionKind::Query);
        let Some(exported) = exported else {
            return Err(Error::bad_request(
                "UnsupportedTestQuery",
                "The default export of the module must be a query: `export default query({ handler: … })`.",
            ));
        };
        FunctionDefinition::new(&path.module, exported)
    }
}
