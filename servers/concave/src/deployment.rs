//! From settings to a running deployment: which adapters, which addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use concave_core::Timestamp;
use concave_core::driver::{Backend, BackendConfig};
use concave_quickjs::{QuickJsEngine, QuickJsOptions};
use concave_sqlite::{SqliteOptions, SqlitePersistence};
use concave_tokio::{TokioHttpClient, TokioRuntime};

use crate::cli::InstanceOptions;
use crate::secret::InstanceSecret;

/// The settings of a deployment with these names and addresses.
pub fn config(
    instance: &InstanceOptions,
    cloud_url: String,
    site_url: String,
    redact: bool,
) -> BackendConfig {
    let secret = instance
        .instance_secret
        .as_ref()
        .unwrap_or(&InstanceSecret::WELL_KNOWN);
    BackendConfig {
        instance_name: instance.instance_name.clone(),
        instance_secret: secret.0,
        cloud_url,
        site_url,
        redact,
    }
}

/// A key for the deployment.
pub fn admin_key(instance: &InstanceOptions) -> String {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let now = Timestamp(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX));
    config(instance, String::new(), String::new(), false)
        .admin_keys()
        .issue(now, false)
}

/// Opens the deployment whose data is at `persistence`.
pub async fn open(persistence: &str, config: BackendConfig) -> Result<Arc<Backend>, String> {
    let options = SqliteOptions::parse_url(persistence).map_err(|error| error.message)?;
    let persistence = SqlitePersistence::open(options).map_err(|error| error.message)?;
    let engine = QuickJsEngine::new(QuickJsOptions::default())
        .map_err(|error| format!("the JavaScript engine cannot start: {error}"))?;
    let http = TokioHttpClient::start()?;
    let runtime = TokioRuntime::current();
    Backend::open(runtime, persistence, engine, http, config)
        .await
        .map_err(|error| error.message)
}

/// The address of a listener as a URL. Listeners on all addresses are reached through this machine's own.
pub fn url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", address.port())
    } else {
        format!("http://{address}")
    }
}
