//! A world with sessions: built, disturbed, healed, judged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use concave_core::runtime::Runtime;
use concave_core::{ErrorClass, Timestamp};
use fastrand::Rng;
use futures_channel::oneshot;
use serde_json::{Value as Json, json};

use super::judge::{self, Noted};
use super::rest;
use super::server::Server;
use crate::app::deploy::{Pushed, Variant};
use crate::app::faults::{ENGINE_FAILED, EngineFaults};
use crate::app::{Function, LAST_CHILD};
use crate::client::protocol::Protocol;
use crate::client::record::{Outcome, Record, View};
use crate::client::{Client, Handle};
use crate::disk::Disk;
use crate::executor::Node;
use crate::network::{Machine, Network, SERVER};
use crate::oracle;
use crate::report::{Fault, Report};
use crate::settings::Settings;

/// How much rarer than in worlds without a network disturbances are: connecting takes time.
const CALMER: u32 = 16;
/// Furthest that the server's clock jumps at once, in nanoseconds.
const CLOCK_JUMP_NS_MAX: i64 = 120 * 1_000_000_000;
/// Longest that a way through the network is cut.
const CUT_MAX: Duration = Duration::from_secs(8);
/// Simulated time after the last fault within which all calls end and all clients see the newest state.
const RECOVERY: Duration = Duration::from_secs(400);
/// Simulated time within which a scheduled function is run after it is due, if nothing else happens.
const PROMPT: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A world with sessions.
#[derive(Clone)]
pub struct World {
    settings: Settings,
    supervisor: Node,
    disk: Disk,
    network: Network,
    engine_faults: EngineFaults,
    server: Server,
    record: Record,
    clients: Arc<Mutex<Vec<Handle>>>,
    report: Arc<Mutex<Report>>,
    /// Set when the disturbances are to end.
    calm: Arc<AtomicBool>,
}

impl World {
    /// A world of `settings` on `disk`. What happens in it is counted in `report`.
    pub fn new(
        settings: Settings,
        supervisor: Node,
        disk: Disk,
        report: Arc<Mutex<Report>>,
        rng: &mut Rng,
    ) -> Self {
        let network = Network::new(
            supervisor.clone(),
            rng.fork(),
            settings.network_latency,
            settings.sessions.sizes,
        );
        let engine_faults = EngineFaults::new(rng.fork(), settings.sessions.pace);
        Self {
            server: Server::new(
                supervisor.clone(),
                disk.clone(),
                settings.sqlite,
                settings.retention(),
                network.clone(),
                engine_faults.clone(),
            ),
            settings,
            supervisor,
            disk,
            network,
            engine_faults,
            record: Record::default(),
            clients: Arc::default(),
            report,
            calm: Arc::default(),
        }
    }

    /// Lives from the first start to the verdict.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn live(self, mut rng: Rng) -> Result<(), String> {
        let verdict = self.run(&mut rng).await;
        // What was counted elsewhere, however it ended.
        for handle in &*lock(&self.clients) {
            let counted = handle.lock().protocol.report.clone();
            self.count(|report| report.add(&counted));
        }
        self.count(|report| report.add(&self.network.report()));
        self.count(|report| report.add(&self.engine_faults.report()));
        verdict
    }

    async fn run(&self, rng: &mut Rng) -> Result<(), String> {
        let opened = self.server.start().await;
        opened.map_err(|error| format!("a new deployment does not open: {error}"))?;
        let pushed = self.server.push(Variant::default()).await;
        if !matches!(pushed, Some(Ok(Pushed::Live))) {
            return Err(format!("the app could not be deployed: {pushed:?}"));
        }
        self.server.mutation("setup:fill", json!({})).await?;
        let began = self.server.newest();
        self.record.observe(began);
        let tasks = self.server.tasks();

        self.set_faults(Some(&self.settings));
        let mut machines = Vec::new();
        for n in 0..self.settings.clients {
            let node = self
                .supervisor
                .sibling(rng.i64(-1_000_000_000..1_000_000_000));
            let protocol = Protocol::new(n, self.record.clone());
            let network = self.network.clone();
            let settings = self.settings.clone();
            let (client, handle) =
                Client::new(node.clone(), network, rng.fork(), settings, protocol);
            lock(&self.clients).push(handle);
            node.spawn(Box::pin(client.run()));
            machines.push(node);
        }
        let disturber = self.spawn(self.clone().disturb(rng.fork()));
        let network_disturber = self.spawn(self.clone().disturb_network(rng.fork()));
        let pusher = self.spawn(self.clone().push_now_and_then(rng.fork()));
        while self.each(|shared| shared.left > 0).contains(&true) {
            self.supervisor.sleep(LOOK).await;
        }
        self.supervisor.sleep(self.settings.sessions.think).await;

        self.calm.store(true, Ordering::Relaxed);
        for task in [disturber, network_disturber, pusher] {
            task.await.map_err(|_| "a disturber has vanished")?;
        }
        self.set_faults(None);
        self.each(|shared| shared.is_calm = true);
        self.recover().await?;
        machines.iter().for_each(Node::kill);
        rest::check(&self.server, tasks, &self.supervisor).await?;
        self.judge(began).await
    }

    fn set_faults(&self, settings: Option<&Settings>) {
        self.disk.set_faults(settings.cloned());
        self.network.set_faults(settings.cloned());
        self.engine_faults.set(settings.cloned());
    }

    fn each<T>(&self, look: impl Fn(&mut crate::client::Shared) -> T) -> Vec<T> {
        let clients = lock(&self.clients);
        clients
            .iter()
            .map(|client| look(&mut client.lock()))
            .collect()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.supervisor.spawn(Box::pin(async move {
            task.await;
            // The receiver may have given up the whole world.
            let _ = sender.send(());
        }));
        receiver
    }

    fn count(&self, change: impl FnOnce(&mut Report)) {
        change(&mut lock(&self.report));
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Crashes the server and moves its clock now and then. Leaves it running.
    async fn disturb(self, mut rng: Rng) {
        let kinds = [Fault::Crash, Fault::ClockForward, Fault::ClockBack];
        while !self.is_calm() {
            let pause = self.settings.disturbance.mul_f64(2.0 * rng.f64());
            self.supervisor.sleep(pause * CALMER).await;
            let fault = kinds[rng.usize(..kinds.len())];
            if self.settings.chance(fault) == 0.0 {
                continue;
            }
            match fault {
                Fault::ClockForward => self.server.jump_clock(rng.i64(0..CLOCK_JUMP_NS_MAX)),
                Fault::ClockBack => self.server.jump_clock(-rng.i64(0..CLOCK_JUMP_NS_MAX)),
                _ => self.restart(&mut rng).await,
            }
            self.count(|report| report.strike(fault));
        }
    }

    async fn restart(&self, rng: &mut Rng) {
        match rng.u8(..4) {
            0 => self.server.stop().await,
            _ => self.server.crash(),
        }
        loop {
            let down = Duration::from_millis(1 << rng.u32(..12));
            self.supervisor.sleep(down).await;
            let Err(error) = self.server.start().await else {
                return;
            };
            // Storage may fail, but what it holds must always open.
            assert_ne!(error.class, ErrorClass::Internal, "{error}");
            assert_ne!(error.code, "DatabaseDamaged", "{error}");
            self.count(|report| report.strike(Fault::StartFailed));
        }
    }

    /// Cuts ways between machines, and lets connections vanish.
    async fn disturb_network(self, mut rng: Rng) {
        while !self.is_calm() {
            let pause = self.settings.disturbance.mul_f64(2.0 * rng.f64());
            self.supervisor.sleep(pause * CALMER).await;
            let machine = rng.u32(1..=self.settings.clients as Machine);
            if self.settings.chance(Fault::HalfOpen) > 0.0 && rng.bool() {
                self.network.vanish(machine);
            } else if self.settings.chance(Fault::Partition) > 0.0 {
                let ways = match rng.u8(..3) {
                    0 => vec![(machine, SERVER)],
                    1 => vec![(SERVER, machine)],
                    _ => vec![(machine, SERVER), (SERVER, machine)],
                };
                for (from, to) in &ways {
                    self.network.set_cut(*from, *to, true);
                }
                self.supervisor
                    .sleep(CUT_MAX.mul_f64(rng.f64().powi(3)))
                    .await;
                for (from, to) in ways {
                    self.network.set_cut(from, to, false);
                }
            }
        }
    }

    /// Pushes the app with another schema now and then.
    async fn push_now_and_then(self, mut rng: Rng) {
        let mut live = Variant::default();
        while !self.is_calm() {
            let pause = self.settings.sessions.pushes.mul_f64(2.0 * rng.f64());
            self.supervisor.sleep(pause).await;
            let variant = Variant::draw(&mut rng);
            let racing = if variant.strict != live.strict {
                Fault::SchemaChangeRacing
            } else {
                Fault::BackfillRacing
            };
            if self.settings.chance(racing) == 0.0 {
                continue;
            }
            let before = self.record.commits();
            match self.server.push(variant).await {
                Some(Ok(Pushed::Live)) => {
                    let raced = self.record.commits() > before;
                    let fills = (variant.by_value && !live.by_value)
                        || (variant.by_writer && !live.by_writer);
                    if raced && variant.strict != live.strict {
                        self.count(|report| report.strike(Fault::SchemaChangeRacing));
                    }
                    if raced && fills {
                        self.count(|report| report.strike(Fault::BackfillRacing));
                    }
                    live = variant;
                }
                Some(Ok(Pushed::Refused)) => self.count(|report| report.pushes_refused += 1),
                Some(Err(error)) => assert_ne!(error.class, ErrorClass::Internal, "{error}"),
                None => {}
            }
        }
    }

    /// Liveness: all that clients have begun ends, what was scheduled is run, and each of them sees the newest state.
    async fn recover(&self) -> Result<(), String> {
        let deadline = self.supervisor.monotonic() + RECOVERY;
        let mut has_caught_up = false;
        let mut is_prompt = false;
        loop {
            let mut late = Vec::new();
            let unsettled = self.each(|shared| unsettled(shared));
            for (client, unsettled) in unsettled.into_iter().enumerate() {
                late.extend(unsettled.map(|what| format!("client {client} waits for {what}")));
            }
            // It may share a run of the query that began in times of faults, and has failed.
            let jobs = self.unfinished_jobs().await.unwrap_or_else(|what| {
                late.push(format!("the scheduled functions cannot be read: {what}"));
                Vec::new()
            });
            self.set_clock_to_last(&jobs);
            late.extend(jobs.iter().map(|job| format!("{job} is to be run")));
            if late.is_empty() && !is_prompt {
                is_prompt = true;
                self.jobs_start_promptly().await?;
                continue;
            }
            if late.is_empty() && !has_caught_up {
                late = self.behind().await;
            }
            if late.is_empty() && has_caught_up {
                break;
            }
            if late.is_empty() {
                // Whether pages are up to date only the judge can tell. So each client shows by a mutation of its
                // own, which changes no pages, that it sees everything before that.
                has_caught_up = true;
                self.each(|shared| shared.says_goodbye = true);
                continue;
            }
            if self.supervisor.monotonic() > deadline {
                return Err(format!(
                    "{RECOVERY:?} after the last fault, {}",
                    late.join("; ")
                ));
            }
            self.supervisor.sleep(LOOK).await;
        }
        // One client's last mutation may be on its way to another.
        let mut late = self.behind().await;
        while !late.is_empty() {
            if self.supervisor.monotonic() > deadline {
                return Err(format!("in the end, {}", late.join("; ")));
            }
            self.supervisor.sleep(LOOK).await;
            late = self.behind().await;
        }
        // The judge has the last word on what they see.
        let ts = self.server.newest();
        for (client, results) in self
            .each(|shared| shared.protocol.results())
            .into_iter()
            .enumerate()
        {
            self.record.view(View {
                client,
                ts,
                results,
            });
        }
        Ok(())
    }

    /// The scheduled functions that are not finished: tokens, states, and when they are to run.
    async fn unfinished_jobs(&self) -> Result<Vec<Json>, String> {
        let jobs = self.server.query("jobs:unfinished", json!({})).await?;
        Ok(jobs.as_array().cloned().unwrap_or_default())
    }

    /// Puts the server's clock right: what was scheduled before it was set back waits until it has caught up.
    fn set_clock_to_last(&self, jobs: &[Json]) {
        let times = jobs.iter().filter_map(|job| job[2].as_f64());
        let last = times.fold(0.0, f64::max);
        let ahead_ms = last - self.server.wall().as_millis_f64();
        if ahead_ms > PROMPT.as_millis() as f64 {
            self.server.jump_clock((ahead_ms * 1e6) as i64);
        }
    }

    /// While nothing else happens, a function that is scheduled while a later one waits is run when it is due.
    async fn jobs_start_promptly(&self) -> Result<(), String> {
        let far = PROMPT * 20;
        self.schedule("w-far", far).await?;
        // The scheduler knows what it waits for.
        self.supervisor.sleep(LOOK * 2).await;
        let near = LOOK * 2;
        self.schedule("w-near", near).await?;
        let deadline = self.supervisor.monotonic() + near + PROMPT;
        loop {
            let jobs = self.unfinished_jobs().await?;
            if !jobs.iter().any(|job| job[0] == "w-near/s") {
                return Ok(());
            }
            if self.supervisor.monotonic() > deadline {
                return Err(format!(
                    "{PROMPT:?} after it was due, of {jobs:?}, w-near/s is to be run"
                ));
            }
            self.supervisor.sleep(LOOK).await;
        }
    }

    /// Schedules a mutation, as clients do.
    async fn schedule(&self, token: &str, after: Duration) -> Result<(), String> {
        let args = json!({
            "token": token, "list": "l0", "after": after.as_millis() as f64, "left": 0.0, "child": LAST_CHILD,
            "via": false, "cancel": false,
        });
        let function = Function::Schedule;
        self.record.call(token, function, args.clone());
        self.record.sent(token);
        let (value, ts) = self.server.mutation(function.path(), args).await?;
        self.record.ended(token, Outcome::Returned(value, Some(ts)));
        Ok(())
    }

    /// Results that clients have and that are not those of the newest state.
    async fn behind(&self) -> Vec<String> {
        let mut behind = Vec::new();
        for (client, results) in self
            .each(|shared| shared.protocol.results())
            .into_iter()
            .enumerate()
        {
            for (id, watched, shown) in results {
                if watched.page.is_some() {
                    continue;
                }
                let now = self
                    .server
                    .query(watched.function.path(), watched.args.clone())
                    .await;
                let has_failed = |result: &Result<_, String>| {
                    result
                        .as_ref()
                        .err()
                        .is_some_and(|text| text.contains(ENGINE_FAILED))
                };
                let is_same = match (&*shown, &now) {
                    (Ok(shown), Ok(now)) => shown == now,
                    // The judge knows whether it had to fail.
                    (Err(_), Err(_)) => true,
                    // It stays so until something that it read changes.
                    (shown, now) => has_failed(shown) || has_failed(now),
                };
                if !is_same {
                    behind.push(format!(
                        "client {client} sees {shown:?} as {:?} {}, query {id}, which is {now:?}",
                        watched.function, watched.args
                    ));
                }
            }
        }
        behind
    }

    /// Starts once more from the disk and compares what is there with what was seen.
    async fn judge(&self, began: Timestamp) -> Result<(), String> {
        self.server.crash();
        let started = self.server.start_still().await;
        started.map_err(|error| format!("the deployment does not open again: {error}"))?;
        let storage = self.server.storage().ok_or("the server is down")?;
        let archive = self.server.archive();
        let noted = Noted {
            began,
            starts: self.engine_faults.starts(),
            clock_jumps: self.server.clock_jumps(),
        };
        let mut report = Report::default();
        let verdict = judge::check(&self.record, &noted, archive, &*storage, &mut report).await;
        self.count(|total| total.add(&report));
        verdict?;
        if self.settings.retention().is_some() {
            let through = self.server.delete_all_old().await?;
            oracle::check_kept(through, archive, &*storage).await?;
        }
        self.count(|total| total.add(&archive.report()));
        Ok(())
    }
}

fn unsettled(shared: &crate::client::Shared) -> Option<String> {
    let is_settled = shared.protocol.is_settled() && !shared.says_goodbye;
    (!is_settled).then(|| shared.protocol.unsettled())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
