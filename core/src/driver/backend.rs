//! Everything that a server shell offers, behind one handle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::deployment::environment_variables;
use super::holdings::Holdings;
use super::intake::Intake;
use super::receipts::Receipts;
use super::system;
use super::upkeep::Upkeep;
use super::{
    CallContext, Client, Database, Deployer, FunctionLog, FunctionSettings, Functions,
    RequestSource, RetentionLoop, Scheduler, TestQuery,
};
use crate::admin_key::AdminKeys;
use crate::engine::{Failure, FunctionEngine, FunctionKind, LogLine};
use crate::error::{Error, ErrorClass, Result};
use crate::identity::Identity;
use crate::limits::Limits;
use crate::origin::AdminAccess;
use crate::persistence::Persistence;
use crate::query::CursorKey;
use crate::request_id::RequestId;
use crate::runtime::RuntimeHandle;
use crate::sync::Credential;
use crate::timestamp::Timestamp;
use crate::transaction::Snapshot;
use crate::value::{FunctionPath, Value};

/// Settings of a deployment.
#[derive(Clone, Debug)]
pub struct BackendConfig {
    /// The deployment's name: the part of an admin key before the bar.
    pub instance_name: String,
    /// Thirty-two secret bytes from which admin keys, cursors and upload URLs are made.
    pub instance_secret: [u8; 32],
    /// Origin of the API, as functions see it in `CONVEX_CLOUD_URL`.
    pub cloud_url: String,
    /// Origin of HTTP actions, as functions see it in `CONVEX_SITE_URL`.
    pub site_url: String,
    /// Origins of web pages from which admin keys are taken, besides the deployment's own and this machine's.
    pub admin_origins: Vec<String>,
    /// Hide error texts and log lines of functions from clients that are not admins.
    pub redact: bool,
    /// For how long superseded versions of documents are kept, at least; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// Bounds on what clients can make the server hold or do.
    pub limits: Limits,
}

impl BackendConfig {
    /// Issues and verifies the deployment's admin keys.
    pub fn admin_keys(&self) -> AdminKeys {
        AdminKeys::new(&self.instance_name, self.derive_secret("admin keys"))
    }

    /// A secret for one purpose, from which neither the instance secret nor any other purpose's can be found.
    pub fn derive_secret(&self, purpose: &str) -> [u8; 32] {
        Sha256::new()
            .chain_update(self.instance_secret)
            .chain_update(purpose)
            .finalize()
            .into()
    }
}

/// Who calls, and as what the call is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The verified identity.
    pub identity: Identity,
    /// Names the request in errors and logs.
    pub request_id: RequestId,
    /// Whose share of the places for calls it uses.
    pub client: Client,
    /// Where the request comes from.
    pub source: Arc<RequestSource>,
}

impl Caller {
    fn context(&self) -> CallContext {
        CallContext::new(self.identity.clone(), self.request_id.clone(), self.client)
            .with_source(self.source.clone())
    }
}

/// How a function call ended, for a client.
#[derive(Clone, Debug)]
pub struct FunctionResult {
    /// The value, or the failure with its text as clients see it.
    pub result: Result<Value, FunctionFailure>,
    /// What it printed; empty if hidden from this caller.
    pub log_lines: Vec<LogLine>,
    /// Queries: the snapshot. Mutations: the commit.
    pub ts: Timestamp,
}

/// A failure of user code as clients see it.
#[derive(Clone, Debug)]
pub struct FunctionFailure {
    /// `[Request ID: …] Server Error` and, if not hidden, the printed exception.
    pub text: String,
    /// Data of a `ConvexError`.
    pub data: Option<Value>,
}

/// Performs HTTP requests for actions.
pub trait HttpClient: Send + Sync + 'static {
    /// Performs one request, JSON text, without following redirects. Shapes: [`crate::engine::host_op::FETCH`].
    fn fetch(
        &self,
        request: String,
    ) -> futures_util::future::BoxFuture<'static, Result<HttpResponse, String>>;
}

/// The response to an HTTP request.
pub struct HttpResponse {
    /// JSON text.
    pub json: String,
    /// What bounds the memory of responses, given back when this is dropped: once the action has the response.
    pub room: Box<dyn Send + Sync>,
}

/// A running deployment.
pub struct Backend {
    functions: Functions,
    /// Runs what is scheduled for as long as this is here.
    _scheduler: Scheduler,
    /// Deletes old versions for as long as this is here.
    _retention: Option<RetentionLoop>,
    /// Deletes records of requests that nobody sends again, for as long as this is here.
    _receipts: Receipts,
    /// Lets go of what is old in memory for as long as this is here.
    _upkeep: Upkeep,
    deployer: Deployer,
    intake: Arc<Intake>,
    holdings: Arc<Holdings>,
    log: Arc<FunctionLog>,
    admin_keys: AdminKeys,
    config: BackendConfig,
}

impl Backend {
    /// Opens the deployment stored in `persistence`.
    ///
    /// # Errors
    /// If storage fails or is damaged.
    pub async fn open(
        runtime: RuntimeHandle,
        persistence: Arc<dyn Persistence>,
        engine: Arc<dyn FunctionEngine>,
        http: Arc<dyn HttpClient>,
        config: BackendConfig,
    ) -> Result<Arc<Self>> {
        let database = Database::open_with(runtime, persistence, config.limits).await?;
        let cursor_key = CursorKey::new(config.derive_secret("cursors"), &config.instance_name);
        let built_in_env = [
            ("CONVEX_CLOUD_URL", &config.cloud_url),
            ("CONVEX_SITE_URL", &config.site_url),
        ];
        let built_in_env: BTreeMap<_, _> = built_in_env
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .into();
        let log = Arc::new(FunctionLog::new(
            database.runtime().clone(),
            config.limits.function_log,
        ));
        let deployer = Deployer::open(database.clone(), engine.clone(), built_in_env.clone());
        let functions = Functions::new(
            database,
            engine,
            http,
            log.clone(),
            FunctionSettings {
                cursor_key,
                instance_name: config.instance_name.clone(),
                built_in_env,
                limits: config.limits,
            },
        );
        Ok(Arc::new(Self {
            _scheduler: Scheduler::start(&functions),
            _upkeep: Upkeep::start(&functions),
            _receipts: Receipts::start(functions.database(), config.limits.receipts),
            _retention: config
                .retention
                .map(|window| RetentionLoop::start(functions.database(), window)),
            intake: Arc::new(Intake::new(
                functions.database().runtime().clone(),
                config.limits,
            )),
            holdings: Holdings::new(config.limits.connection_bytes),
            functions,
            deployer,
            log,
            admin_keys: config.admin_keys(),
            config,
        }))
    }

    /// The settings.
    pub fn config(&self) -> &BackendConfig {
        &self.config
    }

    /// Room for what clients send.
    pub fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// What connections hold.
    pub fn holdings(&self) -> &Arc<Holdings> {
        &self.holdings
    }

    /// The database.
    pub fn database(&self) -> &Database {
        self.functions.database()
    }

    /// The runner of functions.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Runs a query at the newest snapshot, or at `at`.
    ///
    /// # Errors
    /// If storage fails, the path is malformed or the timestamp is out of range.
    pub async fn query(
        &self,
        caller: &Caller,
        path: &str,
        args: Json,
        at: Option<Timestamp>,
    ) -> Result<FunctionResult> {
        let snapshot = match at {
            Some(ts) => self.database().snapshot_at(ts).await?,
            None => self.database().snapshot(),
        };
        self.query_at(caller, path, args, &snapshot).await
    }

    /// Runs several queries at one snapshot.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn query_batch(
        &self,
        caller: &Caller,
        queries: Vec<(String, Json)>,
    ) -> Result<Vec<FunctionResult>> {
        let snapshot = self.database().snapshot();
        let mut results = Vec::with_capacity(queries.len());
        for (path, args) in queries {
            results.push(self.query_at(caller, &path, args, &snapshot).await?);
        }
        Ok(results)
    }

    async fn query_at(
        &self,
        caller: &Caller,
        path: &str,
        args: Json,
        snapshot: &Snapshot,
    ) -> Result<FunctionResult> {
        let context = caller.context();
        let query = self
            .functions
            .query(&context, path, args, None, snapshot)
            .await?;
        Ok(self.result(
            caller,
            query.result.clone(),
            query.logs.clone(),
            snapshot.ts,
        ))
    }

    /// Runs a mutation.
    ///
    /// # Errors
    /// If storage fails or the path is malformed.
    pub async fn mutation(
        &self,
        caller: &Caller,
        path: &str,
        args: Json,
    ) -> Result<FunctionResult> {
        let mutation = self
            .functions
            .mutation(&caller.context(), path, args, None)
            .await?;
        Ok(self.result(caller, mutation.result, mutation.logs, mutation.ts))
    }

    /// Runs an action.
    ///
    /// # Errors
    /// If storage fails or the path is malformed.
    pub async fn action(&self, caller: &Caller, path: &str, args: Json) -> Result<FunctionResult> {
        let action = self.functions.action(&caller.context(), path, args).await?;
        Ok(self.result(
            caller,
            action.result,
            action.logs,
            self.database().snapshot().ts,
        ))
    }

    /// Runs a function of whatever kind it is (`/api/function`, `/api/run`).
    ///
    /// # Errors
    /// If storage fails or the path is malformed.
    pub async fn function(
        &self,
        caller: &Caller,
        path: &str,
        args: Json,
    ) -> Result<FunctionResult> {
        let parsed = FunctionPath::parse(path)?;
        let kind = match system::find(&parsed) {
            Some(system) => Some(system.kind),
            None => {
                let mut tx = self.database().begin();
                let deployment = self.functions.deployment(&mut tx).await?;
                let function = deployment.functions.get(&parsed.canonical());
                function.map(|function| function.kind)
            }
        };
        match kind {
            // A missing function fails as a query does.
            Some(FunctionKind::Query) | None => self.query(caller, path, args, None).await,
            Some(FunctionKind::Mutation) => self.mutation(caller, path, args).await,
            Some(FunctionKind::Action) => self.action(caller, path, args).await,
        }
    }

    /// Runs a query that is not deployed (`/api/run_test_function`).
    ///
    /// # Errors
    /// `InvalidTestQuery` if its module cannot be imported, `UnsupportedTestQuery` if it is no query; or if storage
    /// fails.
    pub async fn test_query(&self, caller: &Caller, query: TestQuery) -> Result<FunctionResult> {
        let ended = self.functions.test_query(&caller.context(), query).await?;
        Ok(self.result(caller, ended.result, ended.logs, ended.ts))
    }

    /// What of a call's outcome this caller may see.
    fn result(
        &self,
        caller: &Caller,
        result: Result<Value, Failure>,
        logs: Vec<LogLine>,
        ts: Timestamp,
    ) -> FunctionResult {
        let hidden = self.hides_from(&caller.identity);
        let result = result.map_err(|failure| FunctionFailure {
            text: caller
                .request_id
                .error_text((!hidden).then(|| failure.to_string()).as_deref()),
            data: failure.data.and_then(|data| Value::from_json(data).ok()),
        });
        FunctionResult {
            result,
            log_lines: if hidden { Vec::new() } else { logs },
            ts,
        }
    }

    /// Whether error texts and log lines are hidden from this caller.
    pub fn hides_from(&self, identity: &Identity) -> bool {
        self.config.redact && !identity.is_admin()
    }

    /// Issues and verifies the deployment's admin keys.
    pub fn admin_keys(&self) -> &AdminKeys {
        &self.admin_keys
    }

    /// Whether admin keys are taken from where a request comes from, by its headers `Origin` and `Host`.
    pub fn admin_access(&self, origin: Option<&str>, host: Option<&str>) -> AdminAccess {
        let own = [&*self.config.cloud_url, &*self.config.site_url];
        AdminAccess::of_request(origin, host, &own, &self.config.admin_origins)
    }

    /// Verifies credentials that came from a place with this access.
    ///
    /// # Errors
    /// Forbidden: `AdminOriginNotAllowed`. Unauthenticated: `BadAdminKey`, or `NoAuthProvider` for users' tokens, since there are no providers of user
    /// identities yet.
    pub async fn authenticate(
        &self,
        credential: Credential,
        access: &AdminAccess,
    ) -> Result<Identity> {
        match credential {
            Credential::User(_) => Err(Error::new(
                ErrorClass::Unauthenticated,
                "NoAuthProvider",
                "This server does not verify user tokens yet. Leave out the token.",
            )),
            Credential::Admin { key, acting_as } => {
                access.check()?;
                let mut identity = self.admin_keys.verify(&key)?;
                if let Identity::Admin {
                    acting_as: user, ..
                } = &mut identity
                {
                    *user = acting_as;
                }
                Ok(identity)
            }
        }
    }

    /// A name for a request that comes without one.
    pub fn new_request_id(&self) -> RequestId {
        let entropy = self.database().runtime().entropy();
        RequestId::from_bytes(std::array::from_fn(|at| entropy[at]))
    }

    /// `/api/get_config_hashes`.
    pub async fn get_config_hashes(&self) -> Result<Json> {
        self.deployer.get_config_hashes().await
    }

    /// `/api/deploy2/start_push`, body parsed as JSON.
    pub async fn start_push(&self, request: Json) -> Result<Json> {
        self.deployer.start_push(request).await
    }

    /// `/api/deploy2/evaluate_push`.
    pub async fn evaluate_push(&self, request: Json) -> Result<Json> {
        self.deployer.evaluate_push(request).await
    }

    /// `/api/deploy2/evaluate_schema`.
    ///
    /// # Errors
    /// As [`Deployer::evaluate_schema`].
    pub async fn evaluate_schema(&self, request: Json) -> Result<Json> {
        self.deployer.evaluate_schema(request).await
    }

    /// `/api/deploy2/wait_for_schema`: answers at a terminal state or after the request's timeout.
    pub async fn wait_for_schema(&self, request: Json) -> Result<Json> {
        self.deployer.wait_for_schema(request).await
    }

    /// `/api/deploy2/finish_push`.
    pub async fn finish_push(&self, request: Json) -> Result<Json> {
        self.deployer.finish_push(request).await
    }

    /// `/api/prepare_schema`: the schema of a push by npm `convex` up to 1.28.
    ///
    /// # Errors
    /// As [`Deployer::prepare_schema`].
    pub async fn prepare_schema(&self, request: Json) -> Result<Json> {
        self.deployer.prepare_schema(request).await
    }

    /// `/api/schema_state/{id}`: how far a prepared schema is.
    ///
    /// # Errors
    /// As [`Deployer::schema_state`].
    pub fn schema_state(&self, id: &str) -> Result<Json> {
        self.deployer.schema_state(id)
    }

    /// `/api/push_config`: the code of a push by npm `convex` up to 1.28.
    ///
    /// # Errors
    /// As [`Deployer::push_config`].
    pub async fn push_config(&self, request: Json) -> Result<Json> {
        self.deployer.push_config(request).await
    }

    /// `/api/update_environment_variables`: `{"changes":[{"name","value"|null}]}`.
    pub async fn update_environment_variables(&self, request: Json) -> Result<()> {
        self.deployer.update_environment_variables(request).await
    }

    /// `/api/list_environment_variables`: `{"environmentVariables": {name: value}}`, without the built-in ones.
    ///
    /// # Errors
    /// If the stored variables are damaged.
    pub fn list_environment_variables(&self) -> Result<Json> {
        let mut tx = self.database().begin();
        let documents = tx.configuration("_environment_variables");
        let variables = environment_variables(&documents)?;
        Ok(serde_json::json!({ "environmentVariables": variables }))
    }

    /// `/api/stream_function_logs`: entries after `cursor`, waiting up to a minute for one. `structured` gives log
    /// lines as objects.
    pub async fn stream_function_logs(&self, cursor: f64, structured: bool) -> Result<Json> {
        Ok(self.log.read(cursor, structured).await)
    }

    /// Lets go of all that wait for news: live connections are told to go elsewhere, and no scheduled function starts.
    /// What runs goes on.
    pub fn say_goodbye(&self) {
        self.database().say_goodbye();
    }

    /// Refuses new writes and waits for those under way.
    pub async fn shut_down(&self) {
        self.database().shut_down().await;
    }
}
