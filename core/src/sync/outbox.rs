//! Effects on their way to the driver, and messages on their way to the client.

use std::collections::VecDeque;

use super::io::Effect;

/// What a message counts as until the socket has taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The whole transition, or its last chunk.
    Transition,
    /// Any chunk but the last.
    Chunk,
    Response,
    Other,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    effects: VecDeque<Effect>,
    /// Messages that the socket has not taken, oldest first.
    unsent: VecDeque<(Kind, usize)>,
    unsent_transitions: usize,
    /// Chunks included.
    unsent_transition_bytes: usize,
    unsent_response_bytes: usize,
}

impl Outbox {
    pub fn push(&mut self, effect: Effect) {
        assert!(!matches!(effect, Effect::Send(_)), "messages are counted");
        self.effects.push_back(effect);
    }

    pub fn send(&mut self, kind: Kind, text: String) {
        self.unsent.push_back((kind, text.len()));
        match kind {
            Kind::Transition => {
                self.unsent_transitions += 1;
                self.unsent_transition_bytes += text.len();
            }
            Kind::Chunk => self.unsent_transition_bytes += text.len(),
            Kind::Response => self.unsent_response_bytes += text.len(),
            Kind::Other => {}
        }
        self.effects.push_back(Effect::Send(text));
        self.check();
    }

    /// The socket has taken the oldest message.
    pub fn sent(&mut self) {
        match self.unsent.pop_front() {
            Some((kind @ (Kind::Transition | Kind::Chunk), bytes)) => {
                assert!(self.unsent_transition_bytes >= bytes, "it was counted");
                self.unsent_transition_bytes -= bytes;
                if kind == Kind::Transition {
                    assert!(self.unsent_transitions > 0, "it was counted");
                    self.unsent_transitions -= 1;
                }
            }
            Some((Kind::Response, bytes)) => {
                assert!(self.unsent_response_bytes >= bytes, "it was counted");
                self.unsent_response_bytes -= bytes;
            }
            Some((Kind::Other, _)) => {}
            None => debug_assert!(false, "more messages were taken than sent"),
        }
        self.check();
    }

    /// The counts are those of what is unsent.
    fn check(&self) {
        assert!(self.unsent_transitions <= self.unsent.len());
        if self.unsent.is_empty() {
            assert_eq!(self.unsent_response_bytes, 0);
            assert_eq!(self.unsent_transition_bytes, 0);
        }
        debug_assert_eq!(
            self.unsent_transitions,
            self.unsent
                .iter()
                .filter(|(kind, _)| *kind == Kind::Transition)
                .count()
        );
    }

    pub fn pop(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() {
            assert!(self.effects.is_empty());
        }
        effect
    }

    /// Whether the socket has taken everything.
    pub fn is_drained(&self) -> bool {
        self.unsent.is_empty()
    }

    pub fn unsent_transitions(&self) -> usize {
        self.unsent_transitions
    }

    pub fn unsent_transition_bytes(&self) -> usize {
        self.unsent_transition_bytes
    }

    /// Bytes of all messages that the socket has not taken, apart from small ones.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_transition_bytes + self.unsent_response_bytes
    }

    pub fn unsent_response_bytes(&self) -> usize {
        self.unsent_response_bytes
    }

    /// Drops all effects but messages: the session is over.
    pub fn retain_messages(&mut self) {
        self.effects
            .retain(|effect| matches!(effect, Effect::Send(_)));
        assert!(
            self.effects.len() <= self.unsent.len(),
            "what is sent was counted"
        );
    }
}
