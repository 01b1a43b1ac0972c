//! A WebSocket in the form in which the session driver takes it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use concave_core::driver::{Incoming, Outgoing};
use concave_core::sync::{INBOUND_MESSAGE_BYTES_MAX, OUTBOUND_FRAME_BYTES_MAX};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Longer messages are sent in frames of this size, bytes: each frame that the network takes is a sign of life, so a
/// slow client is not mistaken for a dead one as long as it takes this much within the time allowed for silence.
const FRAME_BYTES: usize = 1 << 20;
const _: () = assert!(FRAME_BYTES <= OUTBOUND_FRAME_BYTES_MAX);

/// Read and write buffers of each connection, bytes. Small: there may be many thousand connections, nearly all idle.
const BUFFER_BYTES: usize = 8 << 10;

/// A WebSocket, server's side.
pub struct Socket {
    inner: WebSocketStream<TokioIo<Upgraded>>,
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
    pub async fn new(upgraded: Upgraded) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_message_size(Some(INBOUND_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(INBOUND_MESSAGE_BYTES_MAX));
        let io = TokioIo::new(upgraded);
        Self {
            inner: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
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

impl Stream for Socket {
    type Item = Incoming;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        if std::mem::take(&mut self.has_progressed) {
            return Poll::Ready(Some(Incoming::Activity));
        }
        loop {
            return Poll::Ready(match ready!(self.inner.poll_next_unpin(cx)) {
                Some(Ok(Message::Text(text))) => Some(Incoming::Text(text.to_string())),
                // The protocol is text. Bytes are read as text, and refused as such if they are not.
                Some(Ok(Message::Binary(bytes))) => {
                    Some(Incoming::Text(String::from_utf8_lossy(&bytes).into_owned()))
                }
                // The stream ends once the answer, which is sent by itself, is out.
                Some(Ok(Message::Close(_))) => continue,
                Some(Ok(_)) => Some(Incoming::Activity),
                Some(Err(_)) | None => None,
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
