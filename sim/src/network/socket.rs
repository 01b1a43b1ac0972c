//! Messages on a byte stream, as a WebSocket has them: texts, pings, pongs, and a close frame.
//!
//! The server's side is what [`concave_core::driver::serve`] takes. It also watches how much the server has handed
//! over that the network has not taken, which must stay within the session's limits whatever its client does.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use concave_core::driver::{Incoming, Outgoing};
use concave_core::sync::{CloseFrame, Limits};
use futures_util::{Sink, Stream};

use super::ConnectionId;
use super::stream::{Broken, Endpoint};

/// Bytes before the payload: the kind, and the payload's length.
const HEAD: usize = 5;
/// Most pings that wait for a client that reads nothing: one every five seconds for two minutes, and some to spare.
const PINGS_MAX: usize = 40;
/// Most responses that wait: clients of these worlds never have more requests under way.
pub const RESPONSES_MAX: usize = 40;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text.
    Text(String),
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
    /// Nothing comes after it.
    Close(CloseFrame),
}

/// One side of a connection, as its program holds it. Dropping it closes it.
pub struct Socket {
    endpoint: Arc<Endpoint>,
    /// What is left of messages that were handed over, and how many bytes each has left.
    outgoing: VecDeque<u8>,
    lengths: VecDeque<usize>,
    waiting: Waiting,
    /// The beginning of a message.
    incoming: Vec<u8>,
    is_ended: bool,
}

/// What was handed over since the network had last taken everything.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    transitions: usize,
    responses: usize,
    pings: usize,
    others: usize,
}

impl Socket {
    /// The program's side of an endpoint.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            outgoing: VecDeque::new(),
            lengths: VecDeque::new(),
            waiting: Waiting::default(),
            incoming: Vec::new(),
            is_ended: false,
        }
    }

    /// Which connection.
    pub fn connection(&self) -> ConnectionId {
        self.endpoint.connection()
    }

    /// Hands a message over. It goes out when [`poll_drain`](Self::poll_drain) is polled.
    pub fn push(&mut self, frame: &Frame) {
        let (kind, payload) = match frame {
            Frame::Text(text) => (0, text.clone().into_bytes()),
            Frame::Ping => (1, Vec::new()),
            Frame::Pong => (2, Vec::new()),
            Frame::Close(CloseFrame { code, reason }) => {
                let mut payload = code
                    .map(|code| code.to_be_bytes().to_vec())
                    .unwrap_or_default();
                payload.extend(reason.as_bytes());
                (3, payload)
            }
        };
        let length = u32::try_from(payload.len()).expect("messages are small");
        self.outgoing.push_back(kind);
        self.outgoing.extend(length.to_be_bytes());
        self.outgoing.extend(&payload);
        self.lengths.push_back(HEAD + payload.len());
    }

    /// Ready when the network has taken everything.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while let Some(length) = self.lengths.front_mut() {
            let message = &self.outgoing.make_contiguous()[..*length];
            let count = ready!(self.endpoint.poll_write(cx, message, true))?;
            self.outgoing.drain(..count);
            *length -= count;
            if *length == 0 {
                self.lengths.pop_front();
            }
        }
        self.waiting = Waiting::default();
        Poll::Ready(Ok(()))
    }

    /// The next message; `None` at the end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        loop {
            if self.is_ended {
                return Poll::Ready(None);
            }
            if let Some(frame) = self.decode() {
                return Poll::Ready(Some(frame));
            }
            match ready!(self.endpoint.poll_read(cx)) {
                Ok(bytes) if !bytes.is_empty() => self.incoming.extend(bytes),
                _ => self.is_ended = true,
            }
        }
    }

    fn decode(&mut self) -> Option<Frame> {
        let head = self.incoming.get(..HEAD)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let end = HEAD + usize::try_from(length).expect("messages are small");
        let payload = self.incoming.get(HEAD..end)?;
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).expect("texts arrive as they were sent")
        };
        let frame = match head[0] {
            0 => Frame::Text(text(payload)),
            1 => Frame::Ping,
            2 => Frame::Pong,
            3 => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                let reason = payload.get(2..).map(text).unwrap_or_default();
                Frame::Close(CloseFrame { code, reason })
            }
            kind => panic!("a message of kind {kind} was not sent"),
        };
        self.incoming.drain(..end);
        Some(frame)
    }

    /// Counts what the server hands over, and checks that it is within the limits.
    fn watch(&mut self, message: &Outgoing) {
        let waiting = &mut self.waiting;
        match message {
            Outgoing::Ping => waiting.pings += 1,
            Outgoing::Close(_) => waiting.others += 1,
            Outgoing::Text(text) if text.starts_with(r#"{"type":"Transition""#) => {
                waiting.transitions += 1;
            }
            Outgoing::Text(text) if text.contains(r#"Response","requestId""#) => {
                waiting.responses += 1;
            }
            Outgoing::Text(_) => waiting.others += 1,
        }
        let limits = Limits::default();
        assert!(
            waiting.transitions <= limits.unsent_transitions
                && waiting.responses <= RESPONSES_MAX
                && waiting.pings <= PINGS_MAX
                && waiting.others <= 2,
            "the server keeps too much for a client that does not read: {waiting:?}"
        );
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.endpoint.close();
    }
}

impl Stream for Socket {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        Poll::Ready(match ready!(self.poll_frame(cx)) {
            Some(Frame::Text(text)) => Some(Incoming::Text(text)),
            Some(Frame::Ping | Frame::Pong) => Some(Incoming::Activity),
            Some(Frame::Close(_)) | None => None,
        })
    }
}

impl Sink<Outgoing> for Socket {
    type Error = Broken;

    /// Always ready: so everything that the server would keep comes here, and is counted.
    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Outgoing) -> Result<(), Broken> {
        self.watch(&message);
        self.push(&match message {
            Outgoing::Text(text) => Frame::Text(text),
            Outgoing::Ping => Frame::Ping,
            Outgoing::Close(frame) => Frame::Close(frame),
        });
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_drain(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.poll_flush(cx)
    }
}
