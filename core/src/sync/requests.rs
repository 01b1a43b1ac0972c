//! The mutations and actions of a connection.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::io::CallRequest;
use super::{Limits, RequestNumber};
use crate::error::{Error, Result};
use crate::planted::{Bug, planted};

/// The mutation that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningMutation {
    pub request_id: RequestNumber,
    /// When it has run for too long.
    pub deadline: Duration,
    /// Counts the mutations of the connection.
    pub serial: u64,
}

#[derive(Debug, Default)]
pub(super) struct Requests {
    running: Option<RunningMutation>,
    waiting: VecDeque<CallRequest>,
    waiting_bytes: usize,
    mutations_started: u64,
    actions: BTreeSet<RequestNumber>,
}

impl Requests {
    /// Queues a mutation behind the earlier ones.
    pub fn push_mutation(&mut self, request: CallRequest, limits: &Limits) -> Result<()> {
        let count = self.waiting.len() + usize::from(self.running.is_some()) + 1;
        let bytes = self.waiting_bytes + request.bytes();
        // A single request always fits: its message was accepted.
        if count > limits.pending_mutations
            || (bytes > limits.pending_bytes && !self.waiting.is_empty())
        {
            return Err(Error::overloaded(
                "TooManyConcurrentMutations",
                format!(
                    "{count} mutations of {bytes} bytes are pending; the limits are {} and {}",
                    limits.pending_mutations, limits.pending_bytes
                ),
            ));
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(request);
        assert!(
            self.waiting.len() <= limits.pending_mutations,
            "the queue is bounded"
        );
        self.check();
        Ok(())
    }

    /// What holds between any two steps.
    fn check(&self) {
        if self.waiting.is_empty() {
            assert_eq!(self.waiting_bytes, 0);
        }
        let running = self.running.as_ref();
        assert!(
            running.is_none_or(|running| running.serial == self.mutations_started),
            "mutations run one after the other"
        );
        debug_assert_eq!(
            self.waiting_bytes,
            self.waiting.iter().map(CallRequest::bytes).sum::<usize>()
        );
    }

    /// Whether nothing runs or waits.
    pub fn is_empty(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty() && self.actions.is_empty()
    }

    /// The next mutation, if none runs.
    pub fn start_mutation(&mut self, deadline: Duration) -> Option<CallRequest> {
        if self.running.is_some() && !planted(Bug::MutationsSideBySide) {
            return None;
        }
        let request = self.waiting.pop_front()?;
        assert!(self.waiting_bytes >= request.bytes(), "it was counted");
        self.waiting_bytes -= request.bytes();
        self.mutations_started += 1;
        self.running = Some(RunningMutation {
            request_id: request.request_id,
            deadline,
            serial: self.mutations_started,
        });
        self.check();
        Some(request)
    }

    /// The mutation that runs.
    pub fn running_mutation(&self) -> Option<&RunningMutation> {
        self.running.as_ref()
    }

    /// The mutation that runs has ended. Fails if it is another one.
    pub fn finish_mutation(&mut self, request_id: RequestNumber) -> Result<()> {
        match self.running.take() {
            Some(running) if running.request_id == request_id => {
                self.check();
                Ok(())
            }
            _ => Err(Error::internal(format!(
                "an outcome of mutation {request_id}, which does not run"
            ))),
        }
    }

    /// An action starts.
    pub fn start_action(&mut self, request_id: RequestNumber, limits: &Limits) -> Result<()> {
        if self.actions.len() >= limits.running_actions {
            return Err(Error::overloaded(
                "TooManyInflightActionsForSingleClient",
                format!("{} actions run already", limits.running_actions),
            ));
        }
        if !self.actions.insert(request_id) {
            return Err(Error::bad_request(
                "DuplicateRequestId",
                format!("an action with request id {request_id} runs already"),
            ));
        }
        assert!(
            self.actions.len() <= limits.running_actions,
            "actions are bounded"
        );
        Ok(())
    }

    /// An action has ended. Fails if it does not run.
    pub fn finish_action(&mut self, request_id: RequestNumber) -> Result<()> {
        if self.actions.remove(&request_id) {
            debug_assert!(!self.actions.contains(&request_id));
            return Ok(());
        }
        Err(Error::internal(format!(
            "an outcome of action {request_id}, which does not run"
        )))
    }
}
