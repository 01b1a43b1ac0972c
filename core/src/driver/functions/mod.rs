//! Running functions: the loops that carry turns between the engine and a transaction.

mod action;
mod cache;
mod host;
mod mutation;
mod nested;
mod query;
mod scheduled;
mod scheduling;
mod syscalls;
mod test_query;
#[cfg(test)]
mod tests;
mod udf;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

pub use action::ActionResult;
pub use mutation::{MutationKey, MutationResult};
pub use query::LiveQuery;
pub use test_query::TestQuery;
pub(crate) use udf::UdfOutcome;

use super::admission::{Admission, Client, Permit};
use super::backend::HttpClient;
use super::contention::{Contention, Turn};
use super::database::Database;
use super::deployment::{Deployments, load_deployment};
use super::function_log::{Completion, FunctionLog};
use crate::concurrency::Mutex;
use crate::deploy::Deployment;
use crate::engine::{Failure, FunctionEngine, FunctionKind, LogLine};
use crate::error::{Error, ErrorKind, Result};
use crate::function::Access;
use crate::identity::Identity;
use crate::limits::Limits;
use crate::query::CursorKey;
use crate::request_id::RequestId;
use crate::transaction::{Transaction, Usage};
use crate::value::{DocumentId, FunctionPath};
use cache::QueryCache;

/// About how much memory arguments take.
fn bytes_of(args: &Json) -> usize {
    size_of::<Json>()
        + match args {
            Json::String(text) => text.len(),
            Json::Array(list) => list.iter().map(bytes_of).sum(),
            Json::Object(fields) => fields
                .iter()
                .map(|(name, value)| 2 * size_of::<String>() + name.len() + bytes_of(value))
                .sum(),
            _ => 0,
        }
}

/// Where a request comes from, as functions are told. What no client asked for comes from nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestSource {
    /// The client's IP address.
    pub ip: Option<String>,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
}

impl RequestSource {
    /// The source of a request that came from the address `peer`, with these headers. A proxy on this machine
    /// (`peer_is_local`) names its client in `X-Forwarded-For`: the last address there is the one that it saw itself.
    pub fn new(
        peer: Option<String>,
        peer_is_local: bool,
        forwarded_for: Option<&str>,
        user_agent: Option<&str>,
    ) -> Self {
        let forwarded = forwarded_for
            .filter(|_| peer_is_local)
            .and_then(|list| list.rsplit(',').next())
            .map(str::trim)
            .filter(|address| !address.is_empty() && address.len() <= ADDRESS_BYTES_MAX);
        let user_agent = user_agent.map(|agent| {
            let end = agent.floor_char_boundary(USER_AGENT_BYTES_MAX);
            agent[..end].to_owned()
        });
        Self {
            ip: forwarded.map(str::to_owned).or(peer),
            user_agent,
        }
    }
}

/// Longest text that is taken for an address, bytes.
const ADDRESS_BYTES_MAX: usize = 64;
/// So much of a `User-Agent` is kept for as long as the connection, bytes.
const USER_AGENT_BYTES_MAX: usize = 1024;

/// Who calls a function, and what the call is part of.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Whose identity functions see.
    pub identity: Arc<Identity>,
    /// Which functions may be called.
    pub access: Access,
    /// Names the request.
    pub request_id: RequestId,
    /// Whose share of the places for calls is used.
    pub client: Client,
    /// Where the request comes from.
    pub source: Arc<RequestSource>,
    /// How deep actions are nested in actions.
    pub depth: u32,
    /// The scheduled function that the call runs, or that called it.
    pub scheduled: Option<DocumentId>,
}

impl CallContext {
    /// A call from outside.
    pub fn new(identity: impl Into<Arc<Identity>>, request_id: RequestId, client: Client) -> Self {
        let identity = identity.into();
        let access = if identity.is_admin() {
            Access::Internal
        } else {
            Access::Public
        };
        Self {
            identity,
            access,
            request_id,
            client,
            source: Arc::default(),
            depth: 0,
            scheduled: None,
        }
    }

    /// The same, with a source.
    pub fn with_source(self, source: Arc<RequestSource>) -> Self {
        Self { source, ..self }
    }
}

/// A mutation or an action that may run now.
pub(super) struct Admitted {
    permit: Permit,
    /// Of a mutation that can be sent again: no other run of the same request is under way.
    alone: Option<Turn>,
}

/// What the log says of how a call ended.
struct Ended<'a> {
    failure: Option<&'a Failure>,
    logs: &'a [LogLine],
    usage: Usage,
}

/// Runs functions of the live deployment. Clones share everything.
#[derive(Clone)]
pub struct Functions {
    shared: Arc<Shared>,
}

struct Shared {
    database: Database,
    engine: Arc<dyn FunctionEngine>,
    http: Arc<dyn HttpClient>,
    cursor_key: Arc<CursorKey>,
    instance_name: String,
    built_in_env: BTreeMap<String, String>,
    log: Arc<FunctionLog>,
    deployments: Mutex<Deployments>,
    limits: Limits,
    admission: Arc<Admission>,
    contention: Arc<Contention>,
    /// Requests under way, so that none runs twice at the same time.
    requests: Arc<Contention>,
    queries: Mutex<QueryCache>,
}

/// What functions need to know of their deployment.
pub struct FunctionSettings {
    /// Seals the cursors of paginated queries.
    pub cursor_key: CursorKey,
    /// The deployment's name.
    pub instance_name: String,
    /// Environment variables that the server sets.
    pub built_in_env: BTreeMap<String, String>,
    /// Bounds on what clients can make the server hold or do.
    pub limits: Limits,
}

impl Functions {
    /// A runner for the functions deployed in `database`.
    pub fn new(
        database: Database,
        engine: Arc<dyn FunctionEngine>,
        http: Arc<dyn HttpClient>,
        log: Arc<FunctionLog>,
        settings: FunctionSettings,
    ) -> Self {
        let FunctionSettings {
            cursor_key,
            instance_name,
            built_in_env,
            limits,
        } = settings;
        let admission = Admission::new(database.runtime().clone(), limits);
        Self {
            shared: Arc::new(Shared {
                database,
                engine,
                http,
                cursor_key: Arc::new(cursor_key),
                instance_name,
                built_in_env,
                log,
                deployments: Mutex::default(),
                limits,
                admission,
                contention: Arc::default(),
                requests: Arc::default(),
                queries: Mutex::new(QueryCache::new(&limits)),
            }),
        }
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.shared.database
    }

    /// A client of the sync protocol that is none of those before.
    pub(super) fn new_session(&self) -> Client {
        self.shared.admission.new_session()
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<dyn FunctionEngine> {
        &self.shared.engine
    }

    /// Environment variables that the server sets.
    pub(super) fn built_in_env(&self) -> &BTreeMap<String, String> {
        &self.shared.built_in_env
    }

    /// The key that cursors are sealed with.
    pub(super) fn cursor_key(&self) -> &CursorKey {
        &self.shared.cursor_key
    }

    /// Tells those who follow the logs of a defect that kept a function from being run.
    pub(super) fn report(&self, path: &str, error: &Error) {
        if error.kind() == ErrorKind::Internal {
            let text = format!("The function {path} could not be run: {error}");
            self.shared.log.warn(&text);
        }
    }

    /// Shows a call that is over to those who follow the logs.
    fn log_call(
        &self,
        context: &CallContext,
        path: &FunctionPath,
        kind: FunctionKind,
        begun: Duration,
        ended: Ended<'_>,
    ) {
        let runtime = self.shared.database.runtime();
        let id = runtime.entropy();
        self.shared.log.append(Completion {
            udf_type: match kind {
                FunctionKind::Query => "Query",
                FunctionKind::Mutation => "Mutation",
                FunctionKind::Action => "Action",
            },
            identifier: path.stripped(),
            log_lines: ended.logs.to_vec(),
            caller: match (context.depth, context.scheduled) {
                (0, None) => "Unknown",
                (0, Some(_)) => "Scheduler",
                _ => "Action",
            },
            cached: false,
            execution_time: runtime.monotonic().saturating_sub(begun),
            error: ended.failure.map(Failure::to_string),
            request_id: context.request_id.to_string(),
            execution_id: RequestId::from_bytes(std::array::from_fn(|i| id[i])).to_string(),
            usage: ended.usage,
        });
    }

    /// The live deployment as `tx` sees it.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn deployment(&self, tx: &mut Transaction) -> Result<Arc<Deployment>> {
        let shared = &self.shared;
        load_deployment(
            &shared.database,
            tx,
            &shared.built_in_env,
            &shared.deployments,
        )
        .await
    }
}
