//! Loading the live deployment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::concurrency::Mutex;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

use super::Database;
use crate::deploy::{Deployment, DeploymentRecord, ModuleRecord, module_from_document};
use crate::engine::Module;
use crate::error::{Error, Result};
use crate::transaction::{Snapshot, Transaction};
use crate::value::{Object, Value};

/// The module that configures authentication. It is stored with the functions, but they cannot import it.
pub(super) const AUTH_CONFIG: &str = "auth.config.js";

/// Deployments that were loaded lately, newest use first. Calls that need one that is being loaded wait for it
/// together.
#[derive(Default)]
pub struct Deployments {
    loaded: Vec<(Key, Loading)>,
}

/// How many deployments are kept: the live one, and those that calls at older snapshots still use.
const DEPLOYMENTS_MAX: usize = 4;

type Loading = Shared<BoxFuture<'static, Result<Arc<Deployment>>>>;

/// The documents that a deployment is made of. (Comparing shared documents compares pointers first.)
#[derive(Clone, PartialEq)]
struct Key {
    live: Option<Arc<Object>>,
    environment: Vec<Arc<Object>>,
}

impl Deployments {
    fn get(&mut self, key: &Key) -> Option<Loading> {
        let place = self.loaded.iter().position(|(other, _)| other == key)?;
        let entry = self.loaded.remove(place);
        let loading = entry.1.clone();
        self.loaded.insert(0, entry);
        Some(loading)
    }

    fn insert(&mut self, key: Key, loading: Loading) {
        self.loaded.insert(0, (key, loading));
        self.loaded.truncate(DEPLOYMENTS_MAX);
    }

    fn forget(&mut self, key: &Key) {
        self.loaded.retain(|(other, _)| other != key);
    }
}

/// The deployment that is live for `tx`, which then depends on it and on the environment variables. Without a push
/// so far it is empty.
///
/// # Errors
/// If storage fails.
pub async fn load_deployment(
    db: &Database,
    tx: &mut Transaction,
    built_in_env: &BTreeMap<String, String>,
    deployments: &Mutex<Deployments>,
) -> Result<Arc<Deployment>> {
    let key = Key {
        live: tx.configuration("_deployments").pop(),
        environment: tx.configuration("_environment_variables"),
    };
    let lock = || {
        deployments
            .lock()
            .expect("no one panics while holding the loaded deployments")
    };
    let loading = {
        let mut deployments = lock();
        deployments.get(&key).unwrap_or_else(|| {
            let loading = load(db.clone(), tx.snapshot(), key.clone(), built_in_env.clone());
            deployments.insert(key.clone(), loading.clone());
            loading
        })
    };
    let result = loading.await;
    if result.is_err() {
        lock().forget(&key);
    }
    result
}

fn load(
    db: Database,
    snapshot: &Snapshot,
    key: Key,
    mut environment: BTreeMap<String, String>,
) -> Loading {
    // Modules are never changed, so the dependency on the live deployment covers them. They are read at the same
    // snapshot, because a newer deployment may have deleted them. It is not held here, where nobody may wait for the
    // result any more: whoever waits holds a snapshot of its own at which the same deployment is live, so that no
    // module has been superseded that is read here.
    let snapshot = Snapshot {
        pin: Arc::default(),
        ..snapshot.clone()
    };
    let load = async move {
        environment.extend(environment_variables(&key.environment)?);
        let Some(live) = key.live else {
            return Ok(Arc::new(Deployment::empty(environment)));
        };
        let mut record = DeploymentRecord::from_document(&live)?;
        record.modules.remove(AUTH_CONFIG);
        let modules = load_modules(&db, &mut db.begin_at(snapshot), &record.modules).await?;
        let id = live.get("_id").and_then(Value::as_str).unwrap_or_default();
        Deployment::new(id.to_owned(), record, modules, environment).map(Arc::new)
    };
    load.boxed().shared()
}

/// Reads the sources of modules.
pub(super) async fn load_modules(
    db: &Database,
    tx: &mut Transaction,
    records: &BTreeMap<String, ModuleRecord>,
) -> Result<BTreeMap<String, Module>> {
    let mut modules = BTreeMap::new();
    for (path, record) in records {
        let row = db.get(tx, record.document_id()?).await?.ok_or_else(|| {
            Error::internal(format!(
                "The source of `{path}` is missing. Push all modules again."
            ))
        })?;
        let module = module_from_document(path, record.environment, &row.document)?;
        modules.insert(path.clone(), module);
    }
    Ok(modules)
}

/// The user's environment variables in their documents, by name.
pub(super) fn environment_variables(documents: &[Arc<Object>]) -> Result<BTreeMap<String, String>> {
    let text = |document: &Object, field| {
        let text = document.get(field).and_then(Value::as_str);
        text.map(str::to_owned)
            .ok_or_else(|| Error::internal("A stored environment variable is damaged."))
    };
    documents
        .iter()
        .map(|document| Ok((text(document, "name")?, text(document, "value")?)))
        .collect()
}
