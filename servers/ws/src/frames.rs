//! What comes from a client, before it is put together to messages (RFC 6455, section 5.2): counted, and long frames cut
//! into short ones.
//!
//! Clients send a message of many megabytes as one frame, for which tungstenite makes room as soon as it has seen the
//! head of it, and keeps that room for as long as the connection lasts. Of short frames it keeps what was sent, once,
//! and gives it away with the message.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use concave_core::driver::intake::{Intake, More, Room};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// Longer frames are cut into pieces of this length, bytes: a multiple of the four bytes of a mask, which therefore
/// begins anew with each piece.
const PIECE_BYTES: u64 = 16 << 10;
/// The buffer of each connection, bytes.
const BUFFER_BYTES: usize = 4 << 10;

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0x0;
/// This opcode and those above are of frames that come between those of a message.
const CONTROL: u8 = 0x8;
const MASKED: u8 = 0x80;

/// A connection, its incoming frames counted and cut.
pub struct Frames<T> {
    io: BufReader<T>,
    intake: Arc<Intake>,
    /// Longer frames are left as they are, to be refused.
    message_bytes_max: u64,
    /// The head of the frame that comes, as far as it is read.
    head: Vec<u8>,
    /// What is left of a frame's payload.
    payload: Payload,
    /// The head of the piece that comes next, not handed on yet.
    ready: Vec<u8>,
    /// A message has begun and not ended.
    is_inside: bool,
    /// Bytes of the message that has begun last.
    bytes: usize,
    room: Room,
    growing: Option<BoxFuture<'static, concave_core::Result<More>>>,
}

#[derive(Default)]
struct Payload {
    /// Bytes left of the frame.
    left: u64,
    /// Bytes left of the piece.
    piece: u64,
    mask: Option<[u8; 4]>,
    /// Whether the message ends with the frame.
    is_final: bool,
    is_control: bool,
}

impl<T: AsyncRead + Unpin> Frames<T> {
    /// The frames on `io`, which take their room from `intake`.
    pub fn new(io: T, intake: Arc<Intake>, message_bytes_max: usize) -> Self {
        Self {
            io: BufReader::with_capacity(BUFFER_BYTES, io),
            message_bytes_max: message_bytes_max as u64,
            head: Vec::new(),
            payload: Payload::default(),
            ready: Vec::new(),
            is_inside: false,
            bytes: 0,
            room: Room::new(&intake),
            growing: None,
            intake,
        }
    }

    /// Whether a part of a message is here whose rest is not.
    pub fn is_unfinished(&self) -> bool {
        self.is_inside || self.payload.left > 0 || !self.head.is_empty()
    }

    /// The room of the message that was completed last.
    pub fn take_room(&mut self) -> Room {
        std::mem::replace(&mut self.room, Room::new(&self.intake))
    }

    /// Takes more of the head of a frame, and begins with its payload once the head is whole.
    fn read_head(&mut self, byte: u8) {
        self.head.push(byte);
        let [first, second, rest @ ..] = self.head.as_slice() else {
            return;
        };
        let (first, second) = (*first, *second);
        let length_bytes = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if second & MASKED == 0 { 0 } else { 4 };
        if rest.len() < length_bytes + mask_bytes {
            return;
        }
        let (length, mask) = rest.split_at(length_bytes);
        let left = match length_bytes {
            0 => u64::from(second & !MASKED),
            _ => length
                .iter()
                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
        };
        let is_control = first & OPCODE >= CONTROL;
        let mask = <[u8; 4]>::try_from(mask).ok();
        if !is_control && !std::mem::replace(&mut self.is_inside, true) {
            self.bytes = 0;
        }
        self.payload = Payload {
            left,
            piece: left,
            mask,
            is_final: first & FINAL != 0,
            is_control,
        };
        self.ready = std::mem::take(&mut self.head);
        if !is_control && left > PIECE_BYTES && left <= self.message_bytes_max {
            self.begin_piece(first & !FINAL);
        }
        self.end_frame();
    }

    /// Begins the next piece of a frame: `first` is the first byte of its head, without the mark of the last frame.
    fn begin_piece(&mut self, first: u8) {
        let Payload {
            left,
            mask,
            is_final,
            ..
        } = self.payload;
        let piece = left.min(PIECE_BYTES);
        self.payload.piece = piece;
        let is_last = piece == left && is_final;
        let length = piece as u16;
        self.ready = vec![
            if is_last { first | FINAL } else { first },
            126 | if mask.is_some() { MASKED } else { 0 },
        ];
        self.ready.extend(length.to_be_bytes());
        self.ready.extend(mask.iter().flatten());
    }

    /// Notes so many bytes of the payload, which are handed on.
    fn pass(&mut self, bytes: usize) {
        let payload = &mut self.payload;
        payload.left -= bytes as u64;
        payload.piece -= bytes as u64;
        if !payload.is_control {
            self.bytes += bytes;
        }
        if payload.piece == 0 && payload.left > 0 {
            self.begin_piece(CONTINUATION);
        }
        self.end_frame();
    }

    fn end_frame(&mut self) {
        let Payload {
            left,
            is_final,
            is_control,
            ..
        } = self.payload;
        if left == 0 && is_final && !is_control {
            self.is_inside = false;
        }
    }

    /// Waits until there is room for more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.room.holds(self.bytes) {
            let growing = self.growing.get_or_insert_with(|| self.room.more().boxed());
            let more = ready!(growing.poll_unpin(cx));
            self.growing = None;
            self.room
                .grow(more.map_err(|error| io::Error::other(error.message))?);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Frames<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            if !this.ready.is_empty() {
                let bytes = this.ready.len().min(buf.remaining());
                buf.put_slice(&this.ready[..bytes]);
                this.ready.drain(..bytes);
                continue;
            }
            let has_read = buf.filled().len() > before;
            if this.payload.left > 0 && !this.payload.is_control {
                match this.poll_room(cx) {
                    Poll::Ready(room) => room?,
                    Poll::Pending if has_read => break,
                    Poll::Pending => return Poll::Pending,
                }
            }
            let incoming = match Pin::new(&mut this.io).poll_fill_buf(cx) {
                Poll::Ready(incoming) => incoming?,
                Poll::Pending if has_read => break,
                Poll::Pending => return Poll::Pending,
            };
            let Some(first) = incoming.first().copied() else {
                break; // The end.
            };
            let bytes = match this.payload.piece {
                0 => {
                    this.read_head(first);
                    1
                }
                piece => {
                    let bytes = incoming.len().min(buf.remaining());
                    let bytes = bytes.min(usize::try_from(piece).unwrap_or(usize::MAX));
                    buf.put_slice(&incoming[..bytes]);
                    this.pass(bytes);
                    bytes
                }
            };
            Pin::new(&mut this.io).consume(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Frames<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use concave_core::limits::Limits;
    use concave_tokio::TokioRuntime;
    use futures_util::StreamExt;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

    use super::*;

    const ROOM: usize = 1 << 20;

    fn intake() -> Arc<Intake> {
        let limits = Limits {
            arriving_bytes: ROOM,
            intake_time: Duration::from_millis(50),
            ..Limits::default()
        };
        Arc::new(Intake::new(TokioRuntime::current(), limits))
    }

    /// The bytes of a client's frame.
    fn written(mut frame: Frame) -> Vec<u8> {
        frame.header_mut().mask = Some([1, 2, 3, 250]);
        let mut bytes = Vec::new();
        frame.format(&mut bytes).unwrap();
        bytes
    }

    /// A text in frames of these lengths, with a ping after each.
    fn message(text: &str, lengths: &[usize]) -> Vec<u8> {
        let mut rest = text.as_bytes();
        let mut bytes = Vec::new();
        for (at, length) in lengths.iter().enumerate() {
            let piece = rest.split_off(..(*length).min(rest.len())).unwrap();
            let data = if at == 0 { Data::Text } else { Data::Continue };
            let frame = Frame::message(piece.to_vec(), OpCode::Data(data), false);
            bytes.extend(written(frame));
            bytes.extend(written(Frame::ping("?")));
        }
        let data = match lengths.is_empty() {
            true => Data::Text,
            false => Data::Continue,
        };
        bytes.extend(written(Frame::message(
            rest.to_vec(),
            OpCode::Data(data),
            true,
        )));
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However messages are framed, and however their bytes arrive, they are the same messages.
        #[test]
        fn messages_survive_being_cut(
            messages in prop::collection::vec(
                (0usize..120_000, prop::collection::vec(0usize..50_000, 0..4)), 1..5),
            chunks in prop::collection::vec(1usize..40_000, 1..20),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let texts: Vec<String> = messages.iter().enumerate()
                    .map(|(at, (length, _))| format!("{at}é").repeat(length / 3))
                    .collect();
                let bytes: Vec<u8> = messages.iter().zip(&texts)
                    .flat_map(|((_, lengths), text)| message(text, lengths))
                    .collect();
                let (mut client, server) = tokio::io::duplex(30_000);
                let sending = async move {
                    let mut rest = bytes.as_slice();
                    for chunk in chunks.into_iter().cycle() {
                        let Some(piece) = rest.split_off(..chunk.min(rest.len())) else { break };
                        if piece.is_empty() || client.write_all(piece).await.is_err() { break }
                    }
                    client
                };
                let intake = intake();
                let receiving = async {
                    let frames = Frames::new(server, intake.clone(), 64 << 20);
                    let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES);
                    let mut socket = WebSocketStream::from_raw_socket(frames, Role::Server, Some(config)).await;
                    let mut received = Vec::new();
                    while received.len() < texts.len() {
                        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                            received.push(text.to_string());
                            drop(socket.get_mut().take_room());
                        }
                    }
                    assert!(!socket.get_ref().is_unfinished());
                    received
                };
                let (client, received) = tokio::join!(sending, receiving);
                drop(client);
                assert_eq!(received, texts);
                assert_eq!(intake.arriving.free(), ROOM);
            });
        }
    }

    #[tokio::test]
    async fn what_arrives_takes_room_and_waits_for_it() {
        let intake = intake();
        let (mut client, server) = tokio::io::duplex(4 << 20);
        let mut frames = Frames::new(server, intake.clone(), 64 << 20);
        let text = "x".repeat(ROOM);
        client.write_all(&message(&text, &[])).await.unwrap();
        let others = intake.arriving.take(ROOM / 2).await;
        let other = Room::new(&intake);
        let all = intake.arriving.take(ROOM / 2).await;
        assert!(matches!(other.more().await, Ok(More::First(_))));
        let first = other.more().await.unwrap();
        drop(all);
        let mut read = vec![0; 4096];
        let mut buf = ReadBuf::new(&mut read);
        let error = loop {
            buf.clear();
            let step = std::future::poll_fn(|cx| Pin::new(&mut frames).poll_read(cx, &mut buf));
            if let Err(error) = step.await {
                break error;
            }
        };
        assert!(error.to_string().contains("too many"), "{error}");
        assert!(frames.is_unfinished());
        assert_eq!(intake.arriving.free(), 0, "it took all that was left");
        drop(first);
        drop(frames);
        drop(others);
        assert_eq!(intake.arriving.free(), ROOM);
    }
}
