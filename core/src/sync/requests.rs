//! The mutations and actions of a connection.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::time::Duration;

use super::client_message::Call;
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
    /// Bytes of the mutations that wait, and of the actions that have not begun.
    waiting_bytes: usize,
    mutations_started: u64,
    /// Actions that have no outcome, with their bytes until they begin.
    actions: BTreeMap<RequestNumber, usize>,
}

impl Requests {
    /// Whether another mutation can be queued.
    pub fn has_room_for_mutation(&self, call: &Call, limits: &Limits) -> bool {
        let count = self.waiting.len() + usize::from(self.running.is_some());
        count < limits.pending_mutations && self.has_room_for(call, limits)
    }

    /// Whether another action can be started.
    pub fn has_room_for_action(&self, call: &Call, limits: &Limits) -> bool {
        self.actions.len() < limits.running_actions && self.has_room_for(call, limits)
    }

    /// A single request always fits: its message was accepted.
    fn has_room_for(&self, call: &Call, limits: &Limits) -> bool {
        self.waiting_bytes == 0 || self.waiting_bytes + call.bytes() <= limits.pending_bytes
    }

    /// Queues a mutation behind the earlier ones.
    pub fn push_mutation(&mut self, request: CallRequest) {
        self.waiting_bytes += request.bytes();
        self.waiting.push_back(request);
        self.check();
    }

    /// What holds between any two steps.
    fn check(&self) {
        let running = self.running.as_ref();
        assert!(
            running.is_none_or(|running| running.serial == self.mutations_started),
            "mutations run one after the other"
        );
        debug_assert_eq!(
            self.waiting_bytes,
            self.waiting.iter().map(CallRequest::bytes).sum::<usize>()
                + self.actions.values().sum::<usize>()
        );
    }

    /// Bytes of what waits to be run.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
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
    ///
    /// # Errors
    /// If another one has its number.
    pub fn start_action(&mut self, request: &CallRequest) -> Result<()> {
        match self.actions.entry(request.request_id) {
            Entry::Occupied(_) => Err(Error::bad_request(
                "DuplicateRequestId",
                format!(
                    "an action with request id {} runs already",
                    request.request_id
                ),
            )),
            Entry::Vacant(entry) => {
                self.waiting_bytes += *entry.insert(request.bytes());
                self.check();
                Ok(())
            }
        }
    }

    /// An action has begun: its arguments wait no longer.
    pub fn action_begun(&mut self, request_id: RequestNumber) {
        if let Some(bytes) = self.actions.get_mut(&request_id) {
            self.waiting_bytes -= std::mem::take(bytes);
        }
        self.check();
    }

    /// An action has ended. Fails if it does not run.
    pub fn finish_action(&mut self, request_id: RequestNumber) -> Result<()> {
        let Some(bytes) = self.actions.remove(&request_id) else {
            return Err(Error::internal(format!(
                "an outcome of action {request_id}, which does not run"
            )));
        };
        self.waiting_bytes -= bytes;
        self.check();
        Ok(())
    }
}
