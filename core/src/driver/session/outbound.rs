//! What waits for the socket.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use futures_util::{Sink, SinkExt};

use super::Outgoing;

/// Messages are handed over without waiting until so many bytes are: then one flush takes many small ones, and large
/// ones are reported one by one, as signs of life.
const FLUSH_BYTES: usize = 64 << 10;

/// Messages on their way to the socket, in order.
#[derive(Default)]
pub(super) struct Outbound {
    queue: VecDeque<Outgoing>,
    /// What was handed over since the last flush: bytes, text messages, and whether there was anything.
    unflushed_bytes: usize,
    unflushed_texts: usize,
    is_unflushed: bool,
}

impl Outbound {
    pub fn push(&mut self, message: Outgoing) {
        self.queue.push_back(message);
    }

    /// Goes on sending. Gives the number of text messages that the socket has taken, whenever it has taken something;
    /// fails once the socket is gone.
    pub fn poll<T>(&mut self, cx: &mut Context<'_>, socket: &mut T) -> Poll<Result<usize, T::Error>>
    where
        T: Sink<Outgoing> + Unpin,
    {
        while self.unflushed_bytes < FLUSH_BYTES && !self.queue.is_empty() {
            match socket.poll_ready_unpin(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending if self.is_unflushed => break,
                Poll::Pending => return Poll::Pending,
            }
            let Some(message) = self.queue.pop_front() else {
                break;
            };
            assert!(self.unflushed_bytes < FLUSH_BYTES, "memory is bounded");
            if let Outgoing::Text(text) = &message {
                self.unflushed_bytes += text.len();
                self.unflushed_texts += 1;
            }
            self.is_unflushed = true;
            socket.start_send_unpin(message)?;
        }
        if !self.is_unflushed {
            return Poll::Pending;
        }
        assert!(self.unflushed_texts == 0 || self.is_unflushed);
        ready!(socket.poll_flush_unpin(cx))?;
        self.unflushed_bytes = 0;
        self.is_unflushed = false;
        Poll::Ready(Ok(std::mem::take(&mut self.unflushed_texts)))
    }
}
