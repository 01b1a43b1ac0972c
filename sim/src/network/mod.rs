//! The network between machines: what is sent may be lost, delayed, overtaken or doubled, links may be cut.
//!
//! [`Network`] carries packets. On it, [`stream`] is a reliable byte stream with bounded windows, as TCP is, and
//! [`socket`] puts messages into it, in the form in which the server's session driver takes them. So everything that
//! a connection can do to a session follows from what happened to packets: a connection that one side believes in
//! while the other has forgotten it, one that breaks in the middle of a message, one whose reader has stopped reading.

pub mod socket;
pub mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use concave_core::runtime::Runtime;
use fastrand::Rng;
use futures_channel::mpsc;

use crate::executor::Node;
use crate::report::{Fault, Report};
use crate::settings::Settings;
use socket::Socket;
use stream::{Endpoint, Segment};

/// A machine's address.
pub type Machine = u32;

/// Names a connection, as two addresses and two ports would.
pub type ConnectionId = u64;

/// How much longer than usual a delayed packet takes at most, as a multiple of the usual latency.
const DELAY_FACTOR: u32 = 60;

/// What the network allows one connection: sizes in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Largest payload of a packet.
    pub segment: usize,
    /// What the sender's machine holds at most.
    pub send_buffer: usize,
    /// What the receiver's machine holds at most.
    pub window: usize,
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Network {
    supervisor: Node,
    sizes: Sizes,
    state: Arc<Mutex<State>>,
}

struct State {
    rng: Rng,
    latency: Duration,
    /// Faults strike by these chances; `None` while the network is healthy.
    faults: Option<Settings>,
    report: Report,
    /// Directions that are cut.
    cut: BTreeSet<(Machine, Machine)>,
    /// Connections whose packets vanish.
    vanished: BTreeSet<ConnectionId>,
    /// When the last packet of a direction arrives that no later one overtakes.
    last_arrival: BTreeMap<(Machine, Machine), Duration>,
    endpoints: BTreeMap<(Machine, ConnectionId), Arc<Endpoint>>,
    /// Machines that accept connections.
    listeners: BTreeMap<Machine, Listener>,
    last_connection: ConnectionId,
}

#[derive(Clone)]
struct Listener {
    node: Node,
    accepted: mpsc::UnboundedSender<Socket>,
}

/// A segment on its way.
#[derive(Clone, Debug)]
struct Packet {
    from: Machine,
    to: Machine,
    connection: ConnectionId,
    segment: Segment,
    /// The connection breaks right after this arrives.
    then_reset: bool,
}

impl Network {
    /// A network without faults, on which a packet takes up to `latency`.
    pub fn new(supervisor: Node, rng: Rng, latency: Duration, sizes: Sizes) -> Self {
        let state = State {
            rng,
            latency,
            faults: None,
            report: Report::default(),
            cut: BTreeSet::new(),
            vanished: BTreeSet::new(),
            last_arrival: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            listeners: BTreeMap::new(),
            last_connection: 0,
        };
        Self {
            supervisor,
            sizes,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// From now on faults strike as `settings` say; `None` heals the network, connections that vanished excepted:
    /// whoever had forgotten them still does not know them.
    pub fn set_faults(&self, settings: Option<Settings>) {
        let mut state = self.lock();
        if settings.is_none() {
            state.cut.clear();
        }
        state.faults = settings;
    }

    /// Faults that struck so far.
    pub fn report(&self) -> Report {
        self.lock().report.clone()
    }

    /// What connections are allowed.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Cuts or mends one direction.
    pub fn set_cut(&self, from: Machine, to: Machine, cut: bool) {
        let mut state = self.lock();
        match cut {
            true => state.cut.insert((from, to)),
            false => state.cut.remove(&(from, to)),
        };
    }

    /// Lets all further packets of some connection that `machine` has vanish, as if a router between had forgotten
    /// it: both sides believe that it goes on. `false` if there is none.
    pub fn vanish(&self, machine: Machine) -> bool {
        let mut state = self.lock();
        let connection = state
            .endpoints
            .keys()
            .find(|(owner, connection)| *owner == machine && !state.vanished.contains(connection))
            .map(|(_, connection)| *connection);
        let Some(connection) = connection else {
            return false;
        };
        state.vanished.insert(connection);
        true
    }

    /// `machine`, in its present life, accepts connections. The receiver gets them.
    pub fn listen(&self, machine: Machine, node: Node) -> mpsc::UnboundedReceiver<Socket> {
        let (accepted, receiver) = mpsc::unbounded();
        self.lock()
            .listeners
            .insert(machine, Listener { node, accepted });
        receiver
    }

    /// The machine stops at this instant. It tells nobody.
    pub fn crash(&self, machine: Machine) {
        let mut state = self.lock();
        state.listeners.remove(&machine);
        let mut dead = Vec::new();
        state.endpoints.retain(|(owner, _), endpoint| {
            let keep = *owner != machine;
            if !keep {
                dead.push(endpoint.clone());
            }
            keep
        });
        drop(state);
    }

    /// Begins a connection from a program of `node` on machine `from`. What is written is sent once the other side
    /// has answered.
    pub fn connect(&self, from: Machine, node: &Node, to: Machine) -> Socket {
        let connection = {
            let mut state = self.lock();
            state.last_connection += 1;
            state.last_connection
        };
        let endpoint = self.add_endpoint(node, from, to, connection, true);
        Socket::new(endpoint)
    }

    fn add_endpoint(
        &self,
        node: &Node,
        local: Machine,
        remote: Machine,
        connection: ConnectionId,
        opens: bool,
    ) -> Arc<Endpoint> {
        let endpoint = Arc::new(Endpoint::new(self.sizes, connection, opens));
        self.lock()
            .endpoints
            .insert((local, connection), endpoint.clone());
        let network = self.clone();
        let pump = endpoint.clone();
        let timer = node.clone();
        node.spawn(Box::pin(async move {
            pump.pump(&timer, |segment| {
                network.send(local, remote, connection, segment);
            })
            .await;
            network.lock().endpoints.remove(&(local, connection));
        }));
        endpoint
    }

    /// Sends a segment, whatever becomes of it.
    fn send(&self, from: Machine, to: Machine, connection: ConnectionId, segment: Segment) {
        let now = self.supervisor.monotonic();
        let mut arrivals = Vec::new();
        let mut then_reset = false;
        {
            let mut state = self.lock();
            if state.cut.contains(&(from, to)) {
                state.report.strike(Fault::Partition);
                return;
            }
            if state.vanished.contains(&connection) {
                state.report.strike(Fault::HalfOpen);
                return;
            }
            if state.strikes(Fault::PacketLost) {
                return;
            }
            let mut latency = state.latency.mul_f64(state.rng.f64());
            if state.strikes(Fault::PacketDelayed) {
                latency += state.latency * state.rng.u32(2..=DELAY_FACTOR);
            }
            let earliest = state.last_arrival.get(&(from, to)).copied();
            if earliest.is_some() && state.strikes(Fault::PacketReordered) {
                // Later ones do not wait for it.
                arrivals.push(now + latency + state.latency);
            } else {
                let arrival = (now + latency).max(earliest.unwrap_or_default());
                state.last_arrival.insert((from, to), arrival);
                arrivals.push(arrival);
            }
            if state.strikes(Fault::PacketDoubled) {
                let again = state.latency.mul_f64(3.0 * state.rng.f64());
                arrivals.push(now + again);
            }
            if segment.ends_inside_message {
                then_reset = state.strikes(Fault::ResetInMessage);
            }
        }
        for arrival in arrivals {
            let network = self.clone();
            let packet = Packet {
                from,
                to,
                connection,
                segment: segment.clone(),
                then_reset: std::mem::take(&mut then_reset),
            };
            let flight = self.supervisor.sleep(arrival.saturating_sub(now));
            self.supervisor.spawn(Box::pin(async move {
                flight.await;
                network.deliver(packet);
            }));
        }
    }

    fn deliver(&self, packet: Packet) {
        let Packet {
            from,
            to,
            connection,
            segment,
            then_reset,
        } = packet;
        let (endpoint, listener) = {
            let state = self.lock();
            (
                state.endpoints.get(&(to, connection)).cloned(),
                state.listeners.get(&to).cloned(),
            )
        };
        if let Some(endpoint) = endpoint {
            endpoint.receive(segment);
            if then_reset {
                endpoint.break_off();
                self.send(to, from, connection, Segment::reset());
            }
            return;
        }
        if segment.reset {
            return;
        }
        match listener {
            Some(Listener { node, accepted }) if segment.opens => {
                let endpoint = self.add_endpoint(&node, to, from, connection, false);
                endpoint.receive(segment);
                // Nobody listens any more: the socket is dropped, which closes it.
                let _ = accepted.unbounded_send(Socket::new(endpoint));
            }
            // A machine that is there and does not know the connection says so.
            Some(_) => self.send(to, from, connection, Segment::reset()),
            // Clients' machines are always there; a server that is down says nothing.
            None if to != SERVER => self.send(to, from, connection, Segment::reset()),
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address of the server.
pub const SERVER: Machine = 0;

impl State {
    fn strikes(&mut self, fault: Fault) -> bool {
        let Some(settings) = &self.faults else {
            return false;
        };
        let strikes = self.rng.f64() < settings.chance(fault);
        if strikes {
            self.report.strike(fault);
        }
        strikes
    }
}
