//! Running functions: the loops that carry turns between the engine and a transaction.

mod action;
mod host;
mod mutation;
mod query;
mod syscalls;
mod udf;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub use action::ActionResult;
pub use mutation::{MutationKey, MutationResult};
pub use query::LiveQuery;
pub(crate) use udf::UdfOutcome;

use super::backend::HttpClient;
use super::contention::Contention;
use super::database::Database;
use super::deployment::{Deployments, load_deployment};
use crate::deploy::Deployment;
use crate::engine::FunctionEngine;
use crate::error::Result;
use crate::function::Access;
use crate::identity::Identity;
use crate::query::CursorKey;
use crate::request_id::RequestId;
use crate::transaction::Transaction;
use query::QueryCache;

/// Who calls a function, and what the call is part of.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Whose identity functions see.
    pub identity: Arc<Identity>,
    /// Which functions may be called.
    pub access: Access,
    /// Names the request.
    pub request_id: RequestId,
    /// How deep actions are nested in actions.
    pub depth: u32,
}

impl CallContext {
    /// A call from outside.
    pub fn new(identity: impl Into<Arc<Identity>>, request_id: RequestId) -> Self {
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
            depth: 0,
        }
    }
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
    deployments: Mutex<Deployments>,
    contention: Arc<Contention>,
    queries: Mutex<QueryCache>,
}

impl Functions {
    /// A runner for the functions deployed in `database`.
    pub fn new(
        database: Database,
        engine: Arc<dyn FunctionEngine>,
        http: Arc<dyn HttpClient>,
        cursor_key: CursorKey,
        instance_name: String,
        built_in_env: BTreeMap<String, String>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                database,
                engine,
                http,
                cursor_key: Arc::new(cursor_key),
                instance_name,
                built_in_env,
                deployments: Mutex::default(),
                contention: Arc::default(),
                queries: Mutex::default(),
            }),
        }
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.shared.database
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<dyn FunctionEngine> {
        &self.shared.engine
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
