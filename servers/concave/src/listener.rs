//! Connections: how many there may be, and for how long one may say nothing.
//!
//! hyper cuts slow heads of requests. Bodies and WebSockets have times of their own (`concave_http`, `concave_ws`).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::middleware::AddExtension;
use axum::{Extension, Router};
use concave_core::driver::{Holding, Holdings};
use concave_core::limits::Limits;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep, timeout};
use tower::Layer;

/// Descriptors that are left for the database, for requests of functions, and for the rest of the program.
const OTHER_DESCRIPTORS: usize = 256;
/// The buffers of each connection, bytes, which heads of requests must fit into: what a connection takes at once, before
/// others have their turn.
const BUFFER_BYTES: usize = 64 << 10;
/// Pause after a connection could not be accepted for want of something, so that it is not tried without end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The same complaint is not logged again so soon.
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);
/// How long a client that is still sending may take to read why it is not listened to: closing a connection with unread
/// data in it would destroy what it has not received yet.
const LINGER_TIME: Duration = Duration::from_secs(5);

/// Takes connections, and serves `router` on them, until `stopped` says so. Then those that do nothing are closed, and
/// the others once they have answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    gate: Arc<Gate>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = over(&mut stopped) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(pass) = gate.enter(peer) {
                    let connection = Connection::new(stream, pass, &gate);
                    let limits = gate.limits;
                    tokio::spawn(converse(
                        connection,
                        // Functions are told where their request comes from. Around the router, not around each route:
                        // it is done for every connection.
                        Extension(ConnectInfo(peer)).layer(router.clone()),
                        limits,
                        stopped.clone(),
                    ));
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                gate.complain(|| format!("connections cannot be accepted: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether a connection went before it was accepted, which says nothing about the next one.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn converse(
    connection: Connection,
    router: AddExtension<Router, ConnectInfo<SocketAddr>>,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(router))
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = over(&mut stopped) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Completes once the server stops.
async fn over(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: then too, it is over.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Lets connections in, up to a number.
pub struct Gate {
    limits: Limits,
    connections_max: usize,
    holdings: Arc<Holdings>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: usize,
    by_address: BTreeMap<IpAddr, usize>,
    complained: Option<Instant>,
}

impl Gate {
    /// Raises the process's limit of descriptors as far as it goes, and fits the number of connections to it.
    pub fn new(limits: Limits, holdings: Arc<Holdings>) -> Arc<Self> {
        let descriptors = raise_descriptors();
        let connections_max = limits
            .connections
            .min(descriptors - descriptors.min(OTHER_DESCRIPTORS).min(descriptors / 2));
        if connections_max < limits.connections {
            tracing::warn!(
                "the system gives this process {descriptors} descriptors: it serves {connections_max} connections at once instead of {}. Raise the hard limit (`ulimit -Hn`) or set the limit `connections`",
                limits.connections
            );
        }
        Arc::new(Self {
            limits,
            connections_max,
            holdings,
            state: Mutex::default(),
        })
    }

    /// A pass for one more connection; none if there are too many.
    fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Pass> {
        let address = peer.ip().to_canonical();
        let counted = !is_near(address);
        let mut state = self.lock();
        let of_address = match counted {
            true => state.by_address.get(&address).copied().unwrap_or_default(),
            false => 0,
        };
        let full = if state.connections >= self.connections_max {
            Some(("connections", self.connections_max))
        } else if of_address >= self.limits.connections_per_address {
            Some(("connections_per_address", of_address))
        } else {
            None
        };
        if let Some((limit, number)) = full {
            drop(state);
            self.complain(|| {
                format!(
                    "a connection from {address} is refused: there are {number} already, as many as the limit `{limit}` allows"
                )
            });
            return None;
        }
        state.connections += 1;
        if counted {
            *state.by_address.entry(address).or_default() += 1;
        }
        Some(Pass {
            gate: self.clone(),
            address: counted.then_some(address),
        })
    }

    /// Logs something that may be so many times in a second.
    fn complain(&self, what: impl FnOnce() -> String) {
        let mut state = self.lock();
        let now = Instant::now();
        let lately = state
            .complained
            .is_some_and(|before| now < before + COMPLAINT_PERIOD);
        if !lately {
            state.complained = Some(now);
            drop(state);
            tracing::warn!("{}", what());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an address is of this machine or of a private network: proxies, which speak for many clients, have such.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// Raises the limit of open descriptors to what the process may have. Gives what it has then.
fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let number =
        |limit: Option<u64>| limit.map_or(usize::MAX, |n| n.try_into().unwrap_or(usize::MAX));
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => number(limit.maximum),
        Err(error) => {
            tracing::warn!("the limit of open descriptors cannot be raised: {error}");
            number(limit.current)
        }
    }
}

/// Counts one connection for as long as it is there.
struct Pass {
    gate: Arc<Gate>,
    /// If it counts for its address.
    address: Option<IpAddr>,
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        state.connections -= 1;
        if let Some(address) = self.address
            && let Some(connections) = state.by_address.get_mut(&address)
        {
            *connections -= 1;
            if *connections == 0 {
                state.by_address.remove(&address);
            }
        }
    }
}

/// A client's connection. It breaks when the client takes nothing of what is written for too long, or when it holds the
/// most and all connections together hold too much.
struct Connection {
    /// There until it is dropped.
    stream: Option<TcpStream>,
    /// The client has closed its side.
    has_ended: bool,
    write_time: Duration,
    /// Since something waits to be written.
    late: Option<Pin<Box<Sleep>>>,
    /// What waits to be written.
    holding: Holding,
    /// There until it is dropped.
    pass: Option<Pass>,
}

impl Connection {
    fn new(stream: TcpStream, pass: Pass, gate: &Gate) -> Self {
        // Answers are small: they must not wait to be sent together.
        drop(stream.set_nodelay(true));
        Self {
            stream: Some(stream),
            has_ended: false,
            write_time: gate.limits.write_time,
            late: None,
            holding: gate.holdings.enter(),
            pass: Some(pass),
        }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("it is there until the end"))
    }

    /// Passes on what came of writing so many bytes, unless they wait for too long or are too many.
    fn in_time(
        &mut self,
        cx: &mut Context<'_>,
        bytes: usize,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let left = match &written {
            Poll::Ready(Ok(written)) => bytes - written,
            Poll::Ready(Err(_)) => 0,
            Poll::Pending => bytes,
        };
        self.holding.set(left);
        if written.is_ready() {
            self.late = None;
            return written;
        }
        if self.holding.poll_end(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let write_time = self.write_time;
        let late = self.late.get_or_insert_with(|| Box::pin(sleep(write_time)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(self.stream().poll_read(cx, buf));
        self.has_ended |= read.is_err() || buf.filled().len() == before;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.in_time(cx, bytes.len(), written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, slices);
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.in_time(cx, bytes, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        let pass = self.pass.take();
        if self.has_ended || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        tokio::spawn(async move {
            let mut rest = vec![0; 16 << 10];
            let part = async {
                drop(stream.shutdown().await);
                while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
            };
            drop(timeout(LINGER_TIME, part).await);
            drop(pass);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(connections: usize, connections_per_address: usize) -> Arc<Gate> {
        let limits = Limits {
            connections,
            connections_per_address,
            ..Limits::default()
        };
        Gate::new(limits, Holdings::new(limits.connection_bytes))
    }

    fn enter(gate: &Arc<Gate>, address: &str) -> Option<Pass> {
        gate.enter(SocketAddr::new(address.parse().unwrap(), 1))
    }

    #[test]
    fn so_many_connections_and_no_more() {
        let gate = gate(3, 2);
        let first = enter(&gate, "198.51.100.1").unwrap();
        let second = enter(&gate, "::ffff:198.51.100.1").unwrap();
        assert!(enter(&gate, "198.51.100.1").is_none(), "from one address");
        let third = enter(&gate, "198.51.100.2").unwrap();
        assert!(enter(&gate, "198.51.100.3").is_none(), "in all");
        drop(second);
        let fourth = enter(&gate, "198.51.100.1").unwrap();
        drop((first, third, fourth));
        let state = gate.lock();
        assert_eq!(state.connections, 0);
        assert!(state.by_address.is_empty());
    }

    #[test]
    fn proxies_nearby_speak_for_many() {
        let gate = gate(10, 1);
        for address in ["127.0.0.1", "10.0.0.1", "172.17.0.1", "::1", "fd00::1"] {
            let first = enter(&gate, address);
            assert!(
                first.is_some() && enter(&gate, address).is_some(),
                "{address}"
            );
        }
    }

    #[test]
    fn descriptors_are_raised() {
        let gate = gate(1_000, 1_000);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert!(gate.connections_max > 0);
    }
}
