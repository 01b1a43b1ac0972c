//! A WebSocket in the form in which the session driver takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use concave_core::driver::intake::Room;
use concave_core::driver::{Backend, Incoming, Outgoing};
use concave_core::limits::Limits;
use concave_core::runtime::RuntimeHandle;
use concave_core::sync::OUTBOUND_FRAME_BYTES_MAX;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::frames::Frames;

/// Longer messages are sent in frames of this size, bytes: each frame that the network takes is a sign of life, so a
/// slow client is not mistaken for a dead one as long as it takes this much within the time allowed for silence.
const FRAME_BYTES: usize = 1 << 20;
const _: () = assert!(FRAME_BYTES <= OUTBOUND_FRAME_BYTES_MAX);

/// Read and write buffers of each connection, bytes. Small: there may be many thousand connections, nearly all idle.
const BUFFER_BYTES: usize = 4 << 10;

/// A WebSocket, server's side.
pub struct Socket {
    inner: WebSocketStream<Frames<TokioIo<Upgraded>>>,
    runtime: RuntimeHandle,
    limits: Limits,
    /// When it is too late for the first message, or for the rest of a later one; `None` if none has begun.
    late: Option<BoxFuture<'static, ()>>,
    /// Nothing can be read any more.
    is_broken: bool,
    /// Room for the message that was handed on last, until the next one is asked for.
    _room: Option<Room>,
    /// What is left of a long message.
    rest: Bytes,
    /// The first frame of `rest` was sent.
    is_continued: bool,
    /// A frame of a long message is on its way.
    is_flushing: bool,
    /// The network took a frame of a long message, which is yet to be told.
    has_progressed: bool,
}

impl Socket {
    /// The WebSocket on a connection whose handshake is done.
    pub async fn new(backend: &Backend, upgraded: Upgraded) -> Self {
        let runtime = backend.database().runtime().clone();
        let limits = backend.config().limits;
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_message_size(Some(limits.message_bytes))
            .max_frame_size(Some(limits.message_bytes));
        let io = TokioIo::new(upgraded);
        let frames = Frames::new(io, backend.intake().clone(), limits.message_bytes);
        Self {
            inner: WebSocketStream::from_raw_socket(frames, Role::Server, Some(config)).await,
            late: Some(runtime.sleep(limits.connect_time)),
            runtime,
            limits,
            is_broken: false,
            _room: None,
            rest: Bytes::new(),
            is_continued: false,
            is_flushing: false,
            has_progressed: false,
        }
    }

    /// Sends what is left of a long message, one frame at a time.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if self.is_flushing {
                ready!(self.inner.poll_flush_unpin(cx))?;
                self.is_flushing = false;
                self.has_progressed = true;
            }
            if self.rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.inner.poll_ready_unpin(cx))?;
            let payload = self.rest.split_to(self.rest.len().min(FRAME_BYTES));
            let opcode = if self.is_continued {
                Data::Continue
            } else {
                Data::Text
            };
            self.is_continued = !self.rest.is_empty();
            let frame = Frame::message(payload, OpCode::Data(opcode), self.rest.is_empty());
            self.inner.start_send_unpin(Message::Frame(frame))?;
            self.is_flushing = true;
        }
    }
}

impl Socket {
    /// A message has come, whole.
    fn is_complete(&mut self) {
        self.late = None;
        self._room = Some(self.inner.get_mut().take_room());
    }

    /// Ends the connection if what has begun does not go on.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        if self.late.is_none() && self.inner.get_ref().is_unfinished() {
            self.late = Some(self.runtime.sleep(self.limits.body_time));
        }
        if let Some(late) = &mut self.late {
            ready!(late.poll_unpin(cx));
            tracing::info!("a WebSocket is closed: a message that was due did not come");
            return Poll::Ready(None);
        }
        Poll::Pending
    }
}

/// The error of a message that has more bytes than that: the client is told, since it would only send it again.
fn too_large(bytes_max: usize) -> concave_core::Error {
    let message = format!("The message is too large: the limit is {bytes_max} bytes.");
    concave_core::Error::bad_request("MessageTooLarge", message)
}

impl Stream for Socket {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        if std::mem::take(&mut self.has_progressed) {
            return Poll::Ready(Some(Incoming::Activity));
        }
        if self.is_broken {
            return Poll::Ready(None);
        }
        self._room = None;
        loop {
            let Poll::Ready(message) = self.inner.poll_next_unpin(cx) else {
                return self.poll_late(cx);
            };
            return Poll::Ready(match message {
                Some(Ok(Message::Text(text))) => {
                    self.is_complete();
                    Some(Incoming::Text(text.to_string()))
                }
                // The protocol is text. Bytes are read as text, and refused as such if they are not.
                Some(Ok(Message::Binary(bytes))) => {
                    self.is_complete();
                    Some(Incoming::Text(String::from_utf8_lossy(&bytes).into_owned()))
                }
                // The stream ends once the answer, which is sent by itself, is out.
                Some(Ok(Message::Close(_))) => continue,
                Some(Ok(_)) => Some(Incoming::Activity),
                Some(Err(Error::Capacity(_))) => {
                    // What follows is not told apart any more.
                    self.is_broken = true;
                    Some(Incoming::Refused(too_large(self.limits.message_bytes)))
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "a WebSocket broke");
                    None
                }
                None => None,
            });
        }
    }
}

impl Sink<Outgoing> for Socket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_rest(cx))?;
        self.inner.poll_ready_unpin(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Outgoing) -> Result<(), Error> {
        let message = match message {
            Outgoing::Text(text) if text.len() > FRAME_BYTES => {
                debug_assert!(self.rest.is_empty() && !self.is_continued);
                self.rest = text.into();
                return Ok(());
            }
            Outgoing::Text(text) => Message::Text(text.into()),
            Outgoing::Ping => Message::Ping(Bytes::new()),
            Outgoing::Close(frame) => Message::Close(frame.code.map(|code| CloseFrame {
                code: code.into(),
                reason: frame.reason.into(),
            })),
        };
        self.inner.start_send_unpin(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_rest(cx))?;
        self.inner.poll_flush_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_rest(cx))?;
        self.inner.poll_close_unpin(cx)
    }
}
