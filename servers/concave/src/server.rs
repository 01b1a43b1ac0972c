//! A running deployment: the parts put together, on two listeners.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use concave_core::driver::Backend;
use concave_core::limits::Limits;
use concave_core::origin::{authority_of, host_of};
use concave_http::only_hosts;
use concave_sqlite::SqlitePersistence;
use concave_tokio::{TokioHttpClient, TokioRuntime};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cli::AccessOptions;
use crate::engine::EngineKind;
use crate::instance::Instance;
use crate::listener::{self, Gate};
use crate::problem::Problem;

/// The two addresses of a deployment, taken.
pub struct Listeners {
    pub api: TcpListener,
    pub site: TcpListener,
}

/// What a deployment is to be.
pub struct ServerOptions {
    pub persistence: Arc<SqlitePersistence>,
    pub instance: Instance,
    /// Where clients reach the API, if not at the listener's address.
    pub cloud_url: Option<String>,
    /// Where clients reach HTTP actions, if not at the listener's address.
    pub site_url: Option<String>,
    pub static_files: Option<PathBuf>,
    pub access: AccessOptions,
    pub limits: Limits,
    pub engine: EngineKind,
}

/// A deployment that is open but not yet served.
pub struct Server {
    backend: Arc<Backend>,
    listeners: Listeners,
    api: Router,
    site: Router,
}

/// Takes an address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|error| {
        let problem = Problem::new(format!("cannot listen on {address}: {error}"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                problem.hint("Another program uses this port, perhaps another concave. Choose a port with --listen and --site-listen.")
            }
            _ => problem,
        }
    })
}

impl Server {
    /// Opens the database and starts the function engine.
    pub async fn open(listeners: Listeners, options: ServerOptions) -> Result<Self, Problem> {
        if let Some(folder) = options.static_files.as_ref().filter(|path| !path.is_dir()) {
            return Err(Problem::new(format!(
                "the folder of static files, {}, does not exist",
                folder.display()
            )));
        }
        let cloud_url = match options.cloud_url {
            Some(url) => url,
            None => local_url(&listeners.api)?,
        };
        let site_url = match options.site_url {
            Some(url) => url,
            None => local_url(&listeners.site)?,
        };
        let local = [is_local(&listeners.api)?, is_local(&listeners.site)?];
        let access = options.access;
        let redact = access.redact.unwrap_or(local != [true, true]);
        let mut hosts = access.hosts;
        hosts.extend([&cloud_url, &site_url].map(|url| host_of(authority_of(url)).to_owned()));
        let config = options.instance.config(
            cloud_url,
            site_url,
            access.admin_origins,
            redact,
            options.limits,
        );
        let engine = options.engine.start(&options.limits)?;
        let http = TokioHttpClient::start(&options.limits).map_err(Problem::new)?;
        let world = TokioRuntime::current();
        let backend = Backend::open(world, options.persistence, engine, http, config).await?;
        let live = concave_ws::router(backend.clone());
        let api = concave_http::api_router(backend.clone(), live, options.static_files);
        let guard = |router, is_local| match is_local {
            true => only_hosts(router, hosts.clone()),
            // Which names a machine has on a network is not known here.
            false => router,
        };
        Ok(Self {
            api: guard(api, local[0]),
            site: guard(concave_http::site_router(), local[1]),
            backend,
            listeners,
        })
    }

    /// The deployment.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// A line on who sees the texts of functions' errors, for the operator.
    pub fn who_sees_errors(&self) -> &'static str {
        match self.backend.config().redact {
            true => {
                "texts of functions' errors and log lines are for admins only (--redact=false shows them to everybody)"
            }
            false => {
                "texts of functions' errors and log lines are shown to every client (--redact hides them from strangers)"
            }
        }
    }

    /// Serves until `stop` completes. Then, within [`Limits::shutdown_time`]: accepts nothing new, tells live connections
    /// to go elsewhere, lets what runs end, and gives the database up.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Problem> {
        let Self {
            backend,
            listeners,
            api,
            site,
        } = self;
        let limits = backend.config().limits;
        let gate = Gate::new(limits, backend.holdings().clone());
        let (stopping, _) = watch::channel(false);
        let mut serving = JoinSet::new();
        for (listener, router) in [(listeners.api, api), (listeners.site, site)] {
            let stopped = stopping.subscribe();
            serving.spawn(listener::serve(listener, router, gate.clone(), stopped));
        }
        #[cfg(debug_assertions)]
        crate::defect::panic_when_asked();
        stop.await;
        stopping.send_replace(true);
        while serving.join_next().await.is_some() {}
        backend.say_goodbye();
        let part = limits.shutdown_time / 2;
        drop(timeout(part, parted(&backend)).await);
        // Whoever is not done by then gets an error.
        backend.shut_down().await;
        drop(timeout(part / 2, parted(&backend)).await);
        Ok(())
    }
}

/// Waits until nothing serves a client any more: whatever does holds the backend.
async fn parted(backend: &Arc<Backend>) {
    while Arc::strong_count(backend) > 1 {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Whether only this machine can connect to a listener.
fn is_local(listener: &TcpListener) -> Result<bool, Problem> {
    Ok(address(listener)?.ip().is_loopback())
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Problem> {
    listener
        .local_addr()
        .map_err(|error| Problem::new(format!("a listener has no address: {error}")))
}

/// The address of a listener for clients on this machine.
fn local_url(listener: &TcpListener) -> Result<String, Problem> {
    let mut address = address(listener)?;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    Ok(format!("http://{address}"))
}
