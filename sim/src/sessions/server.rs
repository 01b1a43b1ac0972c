//! The server of a world with sessions: lives of a `Backend` on one disk, and the connections to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concave_core::driver::{
    Backend, BackendConfig, Caller, Client, HttpClient, HttpResponse, InMemory, RequestSource,
    serve,
};
use concave_core::engine::native::NativeEngine;
use concave_core::limits::Limits;
use concave_core::origin::AdminAccess;
use concave_core::persistence::Persistence;
use concave_core::runtime::Runtime;
use concave_core::sync::ClientVersion;
use concave_core::{Error, Timestamp, Value, identity::Identity};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, ready, select};
use serde_json::{Value as Json, json};

use super::schedule::ClockJumps;
use crate::app::faults::{EngineFaults, FaultyEngine};
use crate::app::{deploy, engine};
use crate::archive::{Archive, Archiving, Readers};
use crate::disk::Disk;
use crate::executor::Node;
use crate::network::{Network, SERVER};
use crate::server::{FAR_NS, delete_all_old, open_storage};
use crate::settings::Retention;
use crate::sqlite;

/// How long records of requests are kept: longer than any client of a world stays away.
pub const RECEIPTS: Duration = Duration::from_secs(60 * 60);
/// How long a server that is told to stop may take to.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The server. Clones are the same one.
#[derive(Clone)]
pub struct Server {
    supervisor: Node,
    disk: Disk,
    /// How it uses SQLite, if that is its storage.
    sqlite: Option<sqlite::Use>,
    /// How soon old versions go, if they do.
    retention: Option<Retention>,
    archive: Archive,
    network: Network,
    engine: NativeEngine,
    faults: EngineFaults,
    life: Arc<Mutex<Option<Life>>>,
    /// How far the wall clock of the machine is ahead; outlives crashes.
    clock_ahead_ns: Arc<Mutex<i64>>,
    /// When it was set, and by how much.
    clock_jumps: Arc<Mutex<ClockJumps>>,
}

#[derive(Clone)]
struct Life {
    node: Node,
    backend: Arc<Backend>,
    storage: Arc<dyn Persistence>,
    /// Connections that are served.
    connections: Arc<AtomicUsize>,
}

struct NoNetwork;

impl HttpClient for NoNetwork {
    fn fetch(&self, _: String) -> BoxFuture<'static, Result<HttpResponse, String>> {
        ready(Err("There is no network.".to_owned())).boxed()
    }
}

impl Server {
    /// A server that does not run yet.
    pub fn new(
        supervisor: Node,
        disk: Disk,
        sqlite: Option<sqlite::Use>,
        retention: Option<Retention>,
        network: Network,
        faults: EngineFaults,
    ) -> Self {
        Self {
            supervisor,
            disk,
            sqlite,
            retention,
            archive: Archive::default(),
            network,
            engine: engine(),
            faults,
            life: Arc::default(),
            clock_ahead_ns: Arc::default(),
            clock_jumps: Arc::default(),
        }
    }

    /// Begins a life: opens the deployment on the disk and accepts connections.
    ///
    /// # Errors
    /// If storage fails; it may be tried again.
    pub async fn start(&self) -> Result<(), Error> {
        self.start_with(self.retention, RECEIPTS).await
    }

    /// Like [`Self::start`], for a judge: nothing is deleted.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_still(&self) -> Result<(), Error> {
        self.start_with(None, Duration::MAX).await
    }

    async fn start_with(
        &self,
        retention: Option<Retention>,
        receipts: Duration,
    ) -> Result<(), Error> {
        let ahead = *lock(&self.clock_ahead_ns);
        let node = self.supervisor.sibling(ahead);
        let engine = FaultyEngine::new(self.engine.clone(), node.clone(), self.faults.clone());
        let config = BackendConfig {
            instance_name: "sim".to_owned(),
            instance_secret: [7; 32],
            cloud_url: "http://localhost:3210".to_owned(),
            site_url: "http://localhost:3211".to_owned(),
            admin_origins: Vec::new(),
            redact: false,
            retention: retention.map(|retention| retention.window),
            limits: Limits {
                receipts,
                ..Limits::default()
            },
        };
        let opened = async {
            let storage = open_storage(node.clone(), self.disk.clone(), self.sqlite).await?;
            // Who reads at which snapshot is known to the server alone.
            let storage = Archiving::new(storage, self.archive.clone(), Readers::default());
            let storage: Arc<dyn Persistence> = Arc::new(storage);
            let (runtime, engine) = (Arc::new(node.clone()), Arc::new(engine));
            let http = Arc::new(NoNetwork);
            let backend = Backend::open(runtime, storage.clone(), engine, http, config).await?;
            Ok((backend, storage))
        };
        match opened.await {
            Ok((backend, storage)) => {
                node.trace(format!(
                    "server: open at {}",
                    backend.database().snapshot().ts.0
                ));
                let life = Life {
                    node,
                    backend,
                    storage,
                    connections: Arc::default(),
                };
                life.accept(&self.network);
                *lock(&self.life) = Some(life);
                Ok(())
            }
            Err(error) => {
                node.kill();
                self.disk.crash();
                Err(error)
            }
        }
    }

    /// The storage of the present life.
    pub fn storage(&self) -> Option<Arc<dyn Persistence>> {
        let life = lock(&self.life);
        life.as_ref().map(|life| life.storage.clone())
    }

    /// What was deleted.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Lets a database that nobody uses lose all old versions, and gives the timestamp up to which they have gone.
    ///
    /// # Errors
    /// If they do not go.
    pub async fn delete_all_old(&self) -> Result<Timestamp, String> {
        self.jump_clock(FAR_NS);
        delete_all_old(self.backend().database()).await
    }

    /// Ends the present life at this instant.
    pub fn crash(&self) {
        let life = lock(&self.life).take();
        if let Some(life) = life {
            life.node.trace("server: crash");
            life.node.kill();
            self.network.crash(SERVER);
            self.disk.crash();
        }
    }

    /// Ends the present life in order, or at least soon.
    pub async fn stop(&self) {
        let life = lock(&self.life).clone();
        if let Some(life) = life {
            life.node.trace("server: stops");
            let stopped = life.backend.shut_down().boxed();
            select(stopped, self.supervisor.sleep(SHUTDOWN)).await;
        }
        self.crash();
    }

    /// Moves the machine's clock.
    pub fn jump_clock(&self, by_ns: i64) {
        *lock(&self.clock_ahead_ns) += by_ns;
        lock(&self.clock_jumps).push((self.supervisor.monotonic(), by_ns));
        if let Some(life) = &*lock(&self.life) {
            life.node
                .trace(format!("server: clock jumps by {by_ns} ns"));
            life.node.jump_clock(by_ns);
        }
    }

    /// Puts the machine's clock forward to what the newest commit says, if it is behind.
    pub fn correct_clock(&self) {
        let now = self.backend().database().runtime().now();
        let behind = self.newest().0.saturating_sub(now.0);
        self.jump_clock(i64::try_from(behind).expect("clocks differ by minutes"));
    }

    /// When the machine's clock was moved, and by how much.
    pub fn clock_jumps(&self) -> ClockJumps {
        lock(&self.clock_jumps).clone()
    }

    /// What the machine's clock shows.
    ///
    /// # Panics
    /// If it does not run.
    pub fn wall(&self) -> Timestamp {
        let life = lock(&self.life);
        life.as_ref().expect("the server runs").node.now()
    }

    /// The newest snapshot.
    ///
    /// # Panics
    /// If it does not run.
    pub fn newest(&self) -> Timestamp {
        self.backend().database().snapshot().ts
    }

    /// How many connections are served.
    pub fn connections(&self) -> usize {
        let life = lock(&self.life);
        let connections = life.as_ref().map(|life| life.connections.clone());
        connections.map_or(0, |connections| connections.load(Ordering::Relaxed))
    }

    /// Tasks of the present life.
    pub fn tasks(&self) -> usize {
        let life = lock(&self.life);
        life.as_ref().map_or(0, |life| life.node.tasks())
    }

    /// What it keeps in memory.
    pub fn in_memory(&self) -> InMemory {
        self.backend().in_memory()
    }

    /// How many records of requests there are.
    ///
    /// # Errors
    /// If storage fails.
    pub async fn records(&self) -> Result<usize, String> {
        let backend = self.backend();
        let db = backend.database();
        let mut tx = db.begin();
        let rows = db.list_system(&mut tx, "_session_requests", "by_id", &[]);
        rows.await
            .map(|rows| rows.len())
            .map_err(|error| error.to_string())
    }

    /// What a query gives now, asked without a session.
    pub async fn query(&self, path: &str, args: Json) -> Result<Json, String> {
        let backend = self.backend();
        let caller = caller(&backend);
        let result = backend.query(&caller, path, json!([args]), None).await;
        match result.map_err(|error| error.to_string())?.result {
            Ok(value) => Ok(value.to_json()),
            Err(failure) => Err(failure.text),
        }
    }

    /// Runs a mutation without a session. Gives its result and its commit.
    pub async fn mutation(&self, path: &str, args: Json) -> Result<(Value, Timestamp), String> {
        let backend = self.backend();
        let caller = caller(&backend);
        let result = backend.mutation(&caller, path, json!([args])).await;
        let result = result.map_err(|error| error.to_string())?;
        let value = result.result.map_err(|failure| failure.text)?;
        Ok((value, result.ts))
    }

    /// Sets an environment variable, which no function looks at.
    pub async fn set_variable(&self, name: &str, value: &str) -> Result<(), String> {
        let change = json!({ "changes": [{ "name": name, "value": value }] });
        let changed = self.backend().update_environment_variables(change).await;
        changed.map_err(|error| error.to_string())
    }

    /// Pushes the app in the server's present life. `None` if it ends before the push does, or there is none.
    pub async fn push(&self, variant: deploy::Variant) -> Option<Result<deploy::Pushed, Error>> {
        let life = lock(&self.life).clone()?;
        let (sender, receiver) = futures_channel::oneshot::channel();
        let engine = self.engine.clone();
        life.node.clone().spawn(Box::pin(async move {
            let pushed = deploy::push(&life.backend, &engine, variant).await;
            // Nobody waits any more when the world is over.
            let _ = sender.send(pushed);
        }));
        receiver.await.ok()
    }

    fn backend(&self) -> Arc<Backend> {
        let life = lock(&self.life);
        life.as_ref().expect("the server runs").backend.clone()
    }
}

impl Life {
    fn accept(&self, network: &Network) {
        let mut accepted = network.listen(SERVER, self.node.clone());
        let life = self.clone();
        let client = ClientVersion::from_path("1.48.0").expect("it is a version");
        self.node.spawn(Box::pin(async move {
            while let Some(socket) = accepted.next().await {
                life.connections.fetch_add(1, Ordering::Relaxed);
                let connections = life.connections.clone();
                let served = serve(
                    life.backend.clone(),
                    client.clone(),
                    AdminAccess::Allowed,
                    RequestSource::default(),
                    socket,
                );
                life.node.spawn(Box::pin(async move {
                    served.await;
                    connections.fetch_sub(1, Ordering::Relaxed);
                }));
            }
        }));
    }
}

fn caller(backend: &Backend) -> Caller {
    Caller {
        identity: Identity::Anonymous,
        request_id: backend.new_request_id(),
        client: Client::Http(None),
        source: Arc::default(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
