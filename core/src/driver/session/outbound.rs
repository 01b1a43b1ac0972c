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
            let message = self.queue.pop_front().expect("the queue is not empty");
            assert!(self.unflushed_bytes < FLUSH_BYTES, "memory is bounded");
            if let Outgoing::Text(text) = &message {
                self.unflushed_bytes += text.len();
                self.unflushed_texts += 1;
            }
            self.is_unflushed = true;
            socket.start_send_unpin(message)?;
        }
        if !self.is_unflushed {
            assert_eq!(self.unflushed_texts, 0);
            return Poll::Pending;
        }
        ready!(socket.poll_flush_unpin(cx))?;
        self.unflushed_bytes = 0;
        self.is_unflushed = false;
        Poll::Ready(Ok(std::mem::take(&mut self.unflushed_texts)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;

    use proptest::prelude::*;

    use super::*;

    /// A socket that goes on only as often as it is allowed to.
    #[derive(Default)]
    struct Valve {
        /// How many messages it takes, and how many flushes it completes, before it makes the sender wait.
        takes: usize,
        flushes: usize,
        taken: Vec<usize>,
        flushed: usize,
    }

    impl Sink<Outgoing> for Valve {
        type Error = Infallible;

        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            match self.takes {
                0 => Poll::Pending,
                _ => Poll::Ready(Ok(())),
            }
        }

        fn start_send(mut self: Pin<&mut Self>, message: Outgoing) -> Result<(), Infallible> {
            self.takes = self.takes.checked_sub(1).expect("it was ready");
            let Outgoing::Text(text) = message else {
                unreachable!("only texts are sent")
            };
            self.taken.push(text.len());
            Ok(())
        }

        fn poll_flush(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Result<(), Infallible>> {
            let Some(left) = self.flushes.checked_sub(1) else {
                return Poll::Pending;
            };
            self.flushes = left;
            self.flushed = self.taken.len();
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            unreachable!("sending does not close")
        }
    }

    proptest! {
        /// However the socket dawdles, messages arrive in order, each is reported once and not before it is flushed,
        /// and little more than a flush takes is handed over.
        #[test]
        fn a_message_is_reported_when_the_socket_has_taken_it(
            lengths in prop::collection::vec(prop_oneof![1usize..100, 1..3 * FLUSH_BYTES], 0..20),
            allowances in prop::collection::vec((0usize..6, 0usize..3), 0..20),
        ) {
            let mut outbound = Outbound::default();
            for length in &lengths {
                outbound.push(Outgoing::Text("x".repeat(*length)));
            }
            let mut socket = Valve::default();
            let mut reported = 0;
            let everything = (usize::MAX, usize::MAX);
            for (takes, flushes) in allowances.into_iter().chain([everything]) {
                (socket.takes, socket.flushes) = (takes, flushes);
                let cx = &mut Context::from_waker(std::task::Waker::noop());
                while let Poll::Ready(sent) = outbound.poll(cx, &mut socket) {
                    let sent = sent.unwrap();
                    prop_assert!(sent > 0);
                    reported += sent;
                }
                prop_assert_eq!(reported, socket.flushed);
                let unflushed = &socket.taken[reported..];
                if let [before @ .., _] = unflushed {
                    prop_assert!(before.iter().sum::<usize>() < FLUSH_BYTES);
                }
            }
            prop_assert_eq!(reported, lengths.len());
            prop_assert_eq!(socket.taken, lengths);
        }
    }
}
