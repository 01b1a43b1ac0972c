//! A reliable byte stream over packets: sequence numbers, acknowledgements, retransmission, windows.
//!
//! What TCP gives, without its refinements. A sender goes back to the oldest unacknowledged byte when nothing has been
//! acknowledged for a while, and gives the connection up when that has happened too often. A receiver holds no more
//! than its window; when its program does not read, the window closes, then the sender's buffer fills, and then its
//! program has to wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use concave_core::runtime::Runtime;
use futures_util::future::{Either, select};

use super::{ConnectionId, Sizes};
use crate::executor::Node;

/// Wait for an acknowledgement before the first retransmission,
const RETRANSMIT_FIRST: Duration = Duration::from_millis(200);
/// and before the last ones.
const RETRANSMIT_LAST: Duration = Duration::from_secs(5);
/// Retransmissions without any answer after which the other side is taken for gone. New data begins the wait for the
/// next one anew: whoever keeps talking is long in noticing that nobody listens, as with TCP and its quarter of an hour.
const RETRANSMISSIONS_MAX: u32 = 12;

/// What a packet says.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    /// Place of the payload in the stream.
    pub at: u64,
    /// Bytes of the stream.
    pub payload: Vec<u8>,
    /// The stream ends after the payload.
    pub is_last: bool,
    /// The payload ends within a message.
    pub ends_inside_message: bool,
    /// Everything before this was received.
    pub acknowledged: u64,
    /// Bytes before this may be sent.
    pub window_end: u64,
    /// The first packet of the side that begins the connection.
    pub opens: bool,
    /// An answer is asked for, whatever this packet has.
    pub probes: bool,
    /// There is no such connection.
    pub reset: bool,
}

impl Segment {
    /// Says that there is no such connection.
    pub fn reset() -> Self {
        Self {
            reset: true,
            ..Self::default()
        }
    }
}

/// One side of a connection, held by its machine.
pub struct Endpoint {
    connection: ConnectionId,
    sizes: Sizes,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    // What is sent.
    /// Bytes not acknowledged, sent or not.
    outgoing: VecDeque<u8>,
    /// Place of the first of them.
    acknowledged: u64,
    /// Place of the next byte to send.
    next: u64,
    /// Places at which messages end.
    message_ends: BTreeSet<u64>,
    window_end: u64,
    /// The program has closed the connection: the stream ends after what is there.
    is_closed: bool,
    /// The end was sent, or is to be sent again.
    end_sent: bool,
    end_acknowledged: bool,
    /// This side began the connection and has not heard of the other.
    opens: bool,
    opening_sent: bool,
    probe_due: bool,
    retransmissions: u32,

    // What is received.
    /// Bytes in order that the program has not read.
    incoming: VecDeque<u8>,
    /// Place of the next byte in order.
    expected: u64,
    /// What came too early.
    early: BTreeMap<u64, Vec<u8>>,
    /// Where the other side's stream ends, once known.
    end: Option<u64>,
    acknowledgement_due: bool,
    /// The window was closed when it was told last.
    told_closed: bool,

    is_broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    pump: Option<Waker>,
    /// There is something for the pump to do.
    changed: bool,
}

impl Endpoint {
    /// One side of a new connection; `opens` for the side that begins it.
    pub fn new(sizes: Sizes, connection: ConnectionId, opens: bool) -> Self {
        let state = State {
            opens,
            changed: true,
            ..State::default()
        };
        Self {
            connection,
            sizes,
            state: Mutex::new(state),
        }
    }

    /// Which connection.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Takes as much of a message's bytes as the send buffer has room for, and gives their number. `ends`: the last
    /// of `bytes` is the last of the message.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        ends: bool,
    ) -> Poll<Result<usize, Broken>> {
        let mut state = self.lock();
        if state.is_broken {
            return Poll::Ready(Err(Broken));
        }
        let room = self.sizes.send_buffer - state.outgoing.len().min(self.sizes.send_buffer);
        let count = room.min(bytes.len());
        if count == 0 && !bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.outgoing.extend(&bytes[..count]);
        if ends && count == bytes.len() {
            let end = state.acknowledged + state.outgoing.len() as u64;
            state.message_ends.insert(end);
        }
        let wakers = state.change();
        drop(state);
        wake(wakers);
        Poll::Ready(Ok(count))
    }

    /// Gives what was received; nothing at the stream's end.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Broken>> {
        let mut state = self.lock();
        if state.is_broken {
            return Poll::Ready(Err(Broken));
        }
        if state.incoming.is_empty() {
            if state.end == Some(state.expected) {
                return Poll::Ready(Ok(Vec::new()));
            }
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let bytes = std::mem::take(&mut state.incoming).into();
        let mut wakers = Vec::new();
        if state.told_closed {
            state.acknowledgement_due = true;
            wakers = state.change();
        }
        drop(state);
        wake(wakers);
        Poll::Ready(Ok(bytes))
    }

    /// The program writes no more, and reads no more.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let wakers = state.change();
        drop(state);
        wake(wakers);
    }

    /// The connection is broken from now on.
    pub fn break_off(&self) {
        let mut state = self.lock();
        state.is_broken = true;
        let mut wakers = state.change();
        wakers.extend(state.reader.take());
        wakers.extend(state.writer.take());
        drop(state);
        wake(wakers);
    }

    /// Takes a packet of the other side.
    pub fn receive(&self, segment: Segment) {
        if segment.reset {
            return self.break_off();
        }
        let mut state = self.lock();
        let mut wakers = state.take(segment, self.sizes.window);
        wakers.extend(state.change());
        drop(state);
        wake(wakers);
    }

    /// Sends what there is to send, again and again, until the connection is over.
    pub async fn pump(&self, node: &Node, send: impl Fn(Segment)) {
        loop {
            loop {
                let segment = self.lock().next_segment(self.sizes);
                let Some(segment) = segment else { break };
                send(segment);
            }
            let Some(wait) = self.lock().wait() else {
                return;
            };
            let changed = poll_fn(|cx| self.lock().poll_changed(cx));
            match wait {
                None => changed.await,
                Some(wait) => {
                    if let Either::Right(_) = select(changed, node.sleep(wait)).await {
                        let given_up = self.lock().retransmit();
                        if given_up {
                            self.break_off();
                        }
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The pump has something to do.
    fn change(&mut self) -> Vec<Waker> {
        self.changed = true;
        self.pump.take().into_iter().collect()
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.changed) {
            return Poll::Ready(());
        }
        self.pump = Some(cx.waker().clone());
        Poll::Pending
    }

    fn take(&mut self, segment: Segment, window: usize) -> Vec<Waker> {
        let mut wakers = Vec::new();
        self.retransmissions = 0;
        if !segment.opens {
            self.opens = false;
        }
        self.window_end = self.window_end.max(segment.window_end);
        let sent_end = self.acknowledged + self.outgoing.len() as u64;
        if segment.acknowledged > sent_end {
            self.end_acknowledged = true;
        }
        let acknowledged = segment.acknowledged.min(sent_end);
        if acknowledged > self.acknowledged {
            let count =
                usize::try_from(acknowledged - self.acknowledged).expect("buffers are small");
            self.outgoing.drain(..count);
            self.acknowledged = acknowledged;
            self.next = self.next.max(acknowledged);
            self.message_ends = self.message_ends.split_off(&(acknowledged + 1));
            wakers.extend(self.writer.take());
        }
        if segment.is_last {
            self.end = Some(segment.at + segment.payload.len() as u64);
        }
        self.acknowledgement_due |=
            !segment.payload.is_empty() || segment.is_last || segment.opens || segment.probes;
        let room = (window - self.incoming.len().min(window)) as u64;
        let end = segment.at + segment.payload.len() as u64;
        if end > self.expected && end <= self.expected + room {
            self.early.insert(segment.at, segment.payload);
        }
        while let Some(entry) = self.early.first_entry()
            && *entry.key() <= self.expected
        {
            let (at, payload) = entry.remove_entry();
            let known = usize::try_from(self.expected - at).expect("payloads are small");
            if let Some(news) = payload.get(known..) {
                self.expected += news.len() as u64;
                self.incoming.extend(news);
            }
        }
        if self.is_closed {
            // Nobody reads it.
            self.incoming.clear();
        }
        if !self.incoming.is_empty() || self.end == Some(self.expected) {
            wakers.extend(self.reader.take());
        }
        wakers
    }

    fn next_segment(&mut self, sizes: Sizes) -> Option<Segment> {
        if self.is_broken {
            return None;
        }
        let end = self.acknowledged + self.outgoing.len() as u64;
        // Nothing is sent before the other side is there.
        let sendable = if self.opens {
            self.next
        } else {
            end.min(self.window_end)
        };
        let count = sendable.saturating_sub(self.next);
        let count = usize::try_from(count)
            .expect("buffers are small")
            .min(sizes.segment);
        let is_last =
            self.is_closed && !self.opens && self.next + count as u64 == end && !self.end_sent;
        let opening = self.opens && !self.opening_sent;
        if count == 0 && !is_last && !opening && !self.acknowledgement_due && !self.probe_due {
            return None;
        }
        let skip = usize::try_from(self.next - self.acknowledged).expect("buffers are small");
        let payload: Vec<u8> = self
            .outgoing
            .iter()
            .skip(skip)
            .take(count)
            .copied()
            .collect();
        let at = self.next;
        self.next += count as u64;
        self.end_sent |= is_last;
        self.opening_sent |= opening;
        self.acknowledgement_due = false;
        let probes = std::mem::take(&mut self.probe_due);
        let room = sizes.window - self.incoming.len().min(sizes.window);
        self.told_closed = room < sizes.segment.min(sizes.window);
        let at_end = self.end == Some(self.expected);
        Some(Segment {
            at,
            ends_inside_message: count > 0 && !self.message_ends.contains(&self.next),
            payload,
            is_last,
            acknowledged: self.expected + u64::from(at_end),
            window_end: self.expected + room as u64,
            opens: self.opens,
            probes,
            reset: false,
        })
    }

    /// How long to wait for a change: `None` if the connection is over, `Some(None)` if nothing is outstanding.
    fn wait(&self) -> Option<Option<Duration>> {
        if self.is_broken || (self.is_closed && self.end_acknowledged) {
            return None;
        }
        let outstanding =
            self.opens || !self.outgoing.is_empty() || (self.is_closed && !self.end_acknowledged);
        let wait = RETRANSMIT_FIRST * (1 << self.retransmissions.min(6));
        Some(outstanding.then_some(wait.min(RETRANSMIT_LAST)))
    }

    /// Nothing was heard for too long: goes back to what was acknowledged. `true` if that has been too often.
    fn retransmit(&mut self) -> bool {
        self.retransmissions += 1;
        self.next = self.acknowledged;
        self.end_sent = false;
        self.opening_sent = false;
        // If the window is closed, there may be nothing to send again; the other side shall tell when it opens.
        self.probe_due = !self.opens;
        self.retransmissions > RETRANSMISSIONS_MAX
    }
}

/// The connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

fn wake(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}
