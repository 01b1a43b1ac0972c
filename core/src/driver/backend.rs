//! Everything that a server shell offers, behind one handle.

use std::sync::Arc;

use serde_json::Value as Json;

use super::Database;
use crate::engine::{FunctionEngine, LogLine};
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::persistence::Persistence;
use crate::request_id::RequestId;
use crate::runtime::RuntimeHandle;
use crate::timestamp::Timestamp;
use crate::value::Value;

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
    /// Hide error texts and log lines of functions from clients that are not admins.
    pub redact: bool,
}

/// Who calls, and as what the call is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The verified identity.
    pub identity: Identity,
    /// Names the request in errors and logs.
    pub request_id: RequestId,
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
    /// Performs one request, without following redirects. Shapes: [`crate::engine::host_op::FETCH`].
    fn fetch(
        &self,
        request: Json,
    ) -> futures_util::future::BoxFuture<'static, Result<Json, String>>;
}

/// A running deployment.
pub struct Backend {
    database: Database,
    engine: Arc<dyn FunctionEngine>,
    http: Arc<dyn HttpClient>,
    config: BackendConfig,
}

#[allow(unused_variables)]
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
        let database = Database::open(runtime, persistence).await?;
        Ok(Arc::new(Self {
            database,
            engine,
            http,
            config,
        }))
    }

    /// The settings.
    pub fn config(&self) -> &BackendConfig {
        &self.config
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Runs a query at the newest snapshot, or at `at`.
    pub async fn query(
        &self,
        caller: &Caller,
        path: &str,
        args: Json,
        at: Option<Timestamp>,
    ) -> Result<FunctionResult> {
        Err(Error::internal("not built"))
    }

    /// Runs several queries at one snapshot.
    pub async fn query_batch(
        &self,
        caller: &Caller,
        queries: Vec<(String, Json)>,
    ) -> Result<Vec<FunctionResult>> {
        Err(Error::internal("not built"))
    }

    /// Runs a mutation.
    pub async fn mutation(
        &self,
        caller: &Caller,
        path: &str,
        args: Json,
    ) -> Result<FunctionResult> {
        Err(Error::internal("not built"))
    }

    /// Runs an action.
    pub async fn action(&self, caller: &Caller, path: &str, args: Json) -> Result<FunctionResult> {
        Err(Error::internal("not built"))
    }

    /// Runs a function of whatever kind it is (`/api/function`, `/api/run`).
    pub async fn function(
        &self,
        caller: &Caller,
        path: &str,
        args: Json,
    ) -> Result<FunctionResult> {
        Err(Error::internal("not built"))
    }

    /// Runs a pushed-on-the-fly query module (`/api/run_test_function`); body as the deploy API has it.
    pub async fn run_test_function(
        &self,
        caller: &Caller,
        request: Json,
    ) -> Result<FunctionResult> {
        Err(Error::internal("not built"))
    }

    /// `/api/get_config_hashes`.
    pub async fn get_config_hashes(&self) -> Result<Json> {
        Err(Error::internal("not built"))
    }

    /// `/api/deploy2/start_push`, body parsed as JSON.
    pub async fn start_push(&self, request: Json) -> Result<Json> {
        Err(Error::internal("not built"))
    }

    /// `/api/deploy2/evaluate_push`.
    pub async fn evaluate_push(&self, request: Json) -> Result<Json> {
        Err(Error::internal("not built"))
    }

    /// `/api/deploy2/wait_for_schema`: answers at a terminal state or after the request's timeout.
    pub async fn wait_for_schema(&self, request: Json) -> Result<Json> {
        Err(Error::internal("not built"))
    }

    /// `/api/deploy2/finish_push`.
    pub async fn finish_push(&self, request: Json) -> Result<Json> {
        Err(Error::internal("not built"))
    }

    /// `/api/update_environment_variables`: `{"changes":[{"name","value"|null}]}`.
    pub async fn update_environment_variables(&self, request: Json) -> Result<()> {
        Err(Error::internal("not built"))
    }

    /// `/api/stream_function_logs`: entries after `cursor`, waiting up to a minute for one. `structured` gives log
    /// lines as objects.
    pub async fn stream_function_logs(&self, cursor: f64, structured: bool) -> Result<Json> {
        Err(Error::internal("not built"))
    }

    /// Refuses new writes and waits for those under way.
    pub async fn shut_down(&self) {
        self.database.shut_down().await;
    }
}
