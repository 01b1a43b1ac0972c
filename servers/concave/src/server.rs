//! Listening, serving, and stopping in order.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use concave_core::driver::Backend;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{ListenOptions, ServeOptions};
use crate::deployment::{self, url};

/// Requests that run when the server is told to stop get this long.
const STOP_TIME: Duration = Duration::from_secs(10);

/// The two listeners of a deployment.
pub struct Listeners {
    api: TcpListener,
    site: TcpListener,
}

/// Default port of the API; the next one is that of HTTP actions.
const API_PORT: u16 = 3210;

impl Listeners {
    /// Listens where the options say, by default on this machine only. With `search`, the first free pair of ports
    /// from the default ones on is taken.
    pub async fn bind(options: &ListenOptions, search: bool) -> Result<Self, String> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let pairs = if search { 100 } else { 1 };
        let mut failure = String::new();
        for pair in 0..pairs {
            let port = API_PORT + 2 * pair;
            let api = bind(options.listen.unwrap_or(local(port))).await;
            let site = bind(options.site_listen.unwrap_or(local(port + 1))).await;
            match (api, site) {
                (Ok(api), Ok(site)) => return Ok(Self { api, site }),
                (Err(error), _) | (_, Err(error)) => failure = error,
            }
        }
        Err(failure)
    }

    /// Where the API listens.
    pub fn api(&self) -> Result<SocketAddr, String> {
        self.api.local_addr().map_err(|error| error.to_string())
    }

    /// Where HTTP actions listen.
    pub fn site(&self) -> Result<SocketAddr, String> {
        self.site.local_addr().map_err(|error| error.to_string())
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error}. Choose another address with --listen and --site-listen.")
    })
}

/// `concave serve`.
pub async fn serve(options: ServeOptions) -> Result<(), String> {
    if options.instance.instance_secret.is_none() {
        let listen = [options.listen.listen, options.listen.site_listen];
        if let Some(public) = listen
            .into_iter()
            .flatten()
            .find(|address| !address.ip().is_loopback())
        {
            return Err(format!(
                "will not listen on {public} with the well-known secret: anyone could make an admin key. Give \
                 --instance-secret (make one with: openssl rand -hex 32)."
            ));
        }
    }
    if let Some(folder) = options
        .static_files
        .as_ref()
        .filter(|folder| !folder.is_dir())
    {
        return Err(format!("--static: {} is not a folder", folder.display()));
    }
    let listeners = Listeners::bind(&options.listen, false).await?;
    let cloud_url = options.cloud_url.unwrap_or(url(listeners.api()?));
    let site_url = options.site_url.unwrap_or(url(listeners.site()?));
    let config = deployment::config(
        &options.instance,
        cloud_url.clone(),
        site_url.clone(),
        options.redact,
    );
    let backend = deployment::open(&options.persistence, config).await?;
    eprintln!("API: {cloud_url}   HTTP actions: {site_url}");
    run(backend, listeners, options.static_files, stop_signal()).await
}

/// Serves a deployment until `stop` completes, then ends what runs.
pub async fn run(
    backend: Arc<Backend>,
    listeners: Listeners,
    static_files: Option<PathBuf>,
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let live = concave_ws::router(backend.clone());
    let api = concave_http::api_router(backend.clone(), live, static_files);
    let (stopping, _) = watch::channel(false);
    let servers = [
        tokio::spawn(listen(listeners.api, api, stopping.subscribe())),
        tokio::spawn(listen(
            listeners.site,
            concave_http::site_router(),
            stopping.subscribe(),
        )),
    ];
    stop.await;
    // No new connections; live ones are told to go; then the database takes no more writes.
    stopping.send_replace(true);
    let ended = async {
        backend.shut_down().await;
        for server in servers {
            // A server that panicked has ended as well.
            let _ = server.await;
        }
    };
    if tokio::time::timeout(STOP_TIME, ended).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    Ok(())
}

async fn listen(listener: TcpListener, router: Router, mut stopping: watch::Receiver<bool>) {
    use axum::serve::ListenerExt as _;
    let listener = listener.tap_io(|socket| {
        // Small messages go out at once; a socket that cannot do that works nonetheless.
        let _ = socket.set_nodelay(true);
    });
    let stop = async move {
        // An error means that the sender is gone, hence the server too.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    };
    if let Err(error) = axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
    {
        tracing::error!(%error, "a listener failed");
    }
}

/// Completes when the process is asked to stop.
pub async fn stop_signal() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot listen for SIGTERM");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
