//! Clients that speak the sync protocol over the simulated network, as the official ones do.
//!
//! [`Client`] is the loop around a [`Protocol`](protocol::Protocol): it connects, acts now and then, answers pings,
//! gives up a connection that has been silent for a minute, and connects again after a pause that doubles. Sometimes
//! it does not read for a while.

pub mod protocol;
pub mod record;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use concave_core::engine::FunctionKind;
use concave_core::runtime::Runtime;
use fastrand::Rng;
use futures_util::FutureExt;
use serde_json::{Value as Json, json};

use crate::app::Function;
use crate::executor::Node;
use crate::network::socket::{Frame, Socket};
use crate::network::{Machine, Network, SERVER};
use crate::report::Fault;
use crate::settings::Settings;
use protocol::Protocol;

/// Silence after which a client gives a connection up.
const INACTIVITY: Duration = Duration::from_secs(60);
/// Pause before the first attempt to connect again,
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// and before the last ones.
const BACKOFF_LAST: Duration = Duration::from_secs(16);

/// How often a client that has done everything looks whether it shall say goodbye.
const IDLE: Duration = Duration::from_secs(1);

/// What a world and one of its clients share. Clones are the same one.
#[derive(Clone)]
pub struct Handle {
    state: Arc<Mutex<Shared>>,
}

/// See [`Handle`].
pub struct Shared {
    /// The client's side of the protocol.
    pub protocol: Protocol,
    /// What the client means to do yet.
    pub left: usize,
    /// No faults strike any more.
    pub is_calm: bool,
    /// The client shall add one to the number: what it sees then is not older than that.
    pub says_goodbye: bool,
}

impl Handle {
    /// What is shared, locked.
    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client.
pub struct Client {
    node: Node,
    network: Network,
    machine: Machine,
    rng: Rng,
    settings: Settings,
    handle: Handle,
    /// When it acts next.
    act_at: Duration,
    backoff: Duration,
}

enum Event {
    Frame(Frame),
    Gone,
    Time,
}

impl Client {
    /// A client on a machine of its own, and the world's handle to it.
    pub fn new(
        node: Node,
        network: Network,
        mut rng: Rng,
        settings: Settings,
        protocol: Protocol,
    ) -> (Self, Handle) {
        let left = settings.operations;
        let handle = Handle {
            state: Arc::new(Mutex::new(Shared {
                protocol,
                left,
                is_calm: false,
                says_goodbye: false,
            })),
        };
        let machine = handle.lock().protocol.client() as Machine + 1;
        let act_at = node.monotonic() + settings.sessions.think.mul_f64(rng.f64());
        let client = Self {
            node,
            network,
            machine,
            rng,
            settings,
            handle: handle.clone(),
            act_at,
            backoff: BACKOFF_FIRST,
        };
        (client, handle)
    }

    /// Lives for ever.
    pub async fn run(mut self) {
        loop {
            let mut socket = self.network.connect(self.machine, &self.node, SERVER);
            let clock_ms = self.node.now().0 / 1_000_000;
            let messages = self.handle.lock().protocol.connect(clock_ms);
            say(&mut socket, &messages);
            self.converse(&mut socket).await;
            drop(socket);
            let pause = self.backoff.mul_f64(0.5 + self.rng.f64());
            self.backoff = (2 * self.backoff).min(BACKOFF_LAST);
            let until = self.node.monotonic() + pause;
            while self.node.monotonic() < until {
                let next = self.act_at.min(until);
                self.node
                    .sleep(next.saturating_sub(self.node.monotonic()))
                    .await;
                // What is asked for meanwhile is said on the next connection.
                self.act();
            }
        }
    }

    /// Goes on until the connection ends.
    async fn converse(&mut self, socket: &mut Socket) {
        let mut heard_at = self.node.monotonic();
        // When it reads again, and whether it has just begun to.
        let mut deaf_until = Duration::ZERO;
        let mut was_deaf = false;
        loop {
            let now = self.node.monotonic();
            let is_deaf = now < deaf_until;
            let silent_at = heard_at.max(deaf_until) + INACTIVITY;
            let mut next = self.act_at.min(silent_at);
            if is_deaf {
                next = next.min(deaf_until);
            }
            let mut timer = self.node.sleep(next.saturating_sub(now));
            let mut is_prompt = true;
            let event = poll_fn(|cx| {
                if let Poll::Ready(Err(_)) = socket.poll_drain(cx) {
                    return Poll::Ready(Event::Gone);
                }
                if !is_deaf && let Poll::Ready(frame) = socket.poll_frame(cx) {
                    return Poll::Ready(frame.map_or(Event::Gone, Event::Frame));
                }
                is_prompt = false;
                timer.poll_unpin(cx).map(|()| Event::Time)
            })
            .await;
            if was_deaf && !is_deaf {
                was_deaf = false;
                if is_prompt && matches!(event, Event::Frame(_)) {
                    self.handle.lock().protocol.report.strike(Fault::SlowReader);
                }
            }
            match event {
                Event::Gone | Event::Frame(Frame::Close(_)) => return,
                Event::Frame(Frame::Ping) => socket.push(&Frame::Pong),
                Event::Frame(Frame::Pong) => {}
                Event::Frame(Frame::Text(text)) => {
                    heard_at = self.node.monotonic();
                    let answers = {
                        let mut shared = self.handle.lock();
                        let answers = shared.protocol.receive(&text);
                        if shared.protocol.is_settled() {
                            self.backoff = BACKOFF_FIRST;
                        }
                        answers
                    };
                    say(socket, &answers);
                }
                Event::Time if self.node.monotonic() >= silent_at => return,
                Event::Time => {
                    let Some(messages) = self.act_on(true) else {
                        continue;
                    };
                    say(socket, &messages);
                    let is_calm = self.handle.lock().is_calm;
                    if !is_calm && self.rng.f64() < self.settings.chance(Fault::SlowReader) {
                        // Mostly a moment, sometimes longer than the server waits.
                        let longest = if self.rng.u8(..8) == 0 { 200.0 } else { 3.0 };
                        let pause = Duration::from_secs_f64(longest * self.rng.f64());
                        deaf_until = self.node.monotonic() + pause;
                        was_deaf = true;
                    }
                }
            }
        }
    }

    fn act(&mut self) {
        self.act_on(false);
    }

    /// Does something if it is time to. Gives what is to be said.
    fn act_on(&mut self, is_connected: bool) -> Option<Vec<Json>> {
        let now = self.node.monotonic();
        if now < self.act_at {
            return None;
        }
        let mut shared = self.handle.lock();
        if shared.left == 0 {
            self.act_at = now + IDLE;
            if !std::mem::take(&mut shared.says_goodbye) {
                return None;
            }
            let goodbye = Function::Increment;
            let args = json!({ "token": shared.protocol.new_token() });
            return Some(vec![shared.protocol.call(goodbye, args, is_connected)]);
        }
        shared.left -= 1;
        self.act_at = now + self.settings.sessions.think.mul_f64(2.0 * self.rng.f64());
        let sessions = &self.settings.sessions;
        let protocol = &mut shared.protocol;
        if self.rng.u8(..8) == 0 {
            return protocol
                .unwatch(self.rng.usize(..1000))
                .map(|message| vec![message]);
        }
        let function = sessions.function(&mut self.rng);
        let token = match function {
            // Of a call that was made, by whomever.
            Function::Has => format!("c{}-{}", self.rng.usize(..3), self.rng.u32(..8)),
            _ => protocol.new_token(),
        };
        let args = function.arguments(&mut self.rng, &token, self.settings.keys);
        let message = match function.kind() {
            FunctionKind::Query => protocol.watch(function, args),
            _ => protocol.call(function, args, is_connected),
        };
        Some(vec![message])
    }
}

fn say(socket: &mut Socket, messages: &[Json]) {
    for message in messages {
        socket.push(&Frame::Text(message.to_string()));
    }
}
