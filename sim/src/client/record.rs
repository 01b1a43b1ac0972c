//! What clients asked for and what they were told: what the judge judges.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use concave_core::sync::QueryId;
use concave_core::{Timestamp, Value};
use serde_json::Value as Json;

use crate::app::Function;

/// A query that a client watches.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// The function.
    pub function: Function,
    /// Its arguments.
    pub args: Json,
    /// For pages: which series of pages of this client, and which page of it.
    pub page: Option<(u32, usize)>,
}

/// A query's result as a client sees it: of a failed one, its text.
pub type Shown = Result<Json, String>;

/// All that a client sees at once.
#[derive(Clone, Debug)]
pub struct View {
    /// The client.
    pub client: usize,
    /// What it is the state of.
    pub ts: Timestamp,
    /// The results.
    pub results: Vec<(QueryId, Arc<Watched>, Arc<Shown>)>,
}

/// What a client knows of a call of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing.
    Unknown,
    /// It came back: the value, and for mutations the commit.
    Returned(Value, Option<Timestamp>),
    /// It failed: nothing of it may be there.
    Failed(String),
}

/// A mutation or an action.
#[derive(Clone, Debug)]
pub struct Call {
    /// The function.
    pub function: Function,
    /// Its arguments.
    pub args: Json,
    /// The newest timestamp that any client had seen when it was sent first.
    pub floor: Option<Timestamp>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Everything of a world. Clones share it.
#[derive(Clone, Default)]
pub struct Record {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    observed: Timestamp,
    calls: BTreeMap<String, Call>,
    views: Vec<View>,
}

impl Record {
    /// Somebody has seen a timestamp.
    pub fn observe(&self, ts: Timestamp) {
        let mut state = self.lock();
        state.observed = state.observed.max(ts);
    }

    /// The newest timestamp that anybody has seen.
    pub fn observed(&self) -> Timestamp {
        self.lock().observed
    }

    /// A client means to make a call.
    pub fn call(&self, token: &str, function: Function, args: Json) {
        let call = Call {
            function,
            args,
            floor: None,
            outcome: Outcome::Unknown,
        };
        let twice = self.lock().calls.insert(token.to_owned(), call);
        assert!(twice.is_none(), "tokens are unique");
    }

    /// The call is sent.
    pub fn sent(&self, token: &str) {
        let mut state = self.lock();
        let observed = state.observed;
        let call = state.calls.get_mut(token).expect("calls are noted");
        call.floor.get_or_insert(observed);
    }

    /// The client was told what became of a call.
    pub fn ended(&self, token: &str, outcome: Outcome) {
        let mut state = self.lock();
        let call = state.calls.get_mut(token).expect("calls are noted");
        match &call.outcome {
            Outcome::Unknown => call.outcome = outcome,
            before => assert_eq!(*before, outcome, "{token} is told to have ended twice"),
        }
    }

    /// How many mutations are known to have committed.
    pub fn commits(&self) -> usize {
        let state = self.lock();
        let calls = state.calls.values();
        calls
            .filter(|call| matches!(call.outcome, Outcome::Returned(..)))
            .count()
    }

    /// A client sees this.
    pub fn view(&self, view: View) {
        self.lock().views.push(view);
    }

    /// A copy of all calls, by token.
    pub fn calls(&self) -> BTreeMap<String, Call> {
        self.lock().calls.clone()
    }

    /// A copy of all views, in the order in which they were seen.
    pub fn views(&self) -> Vec<View> {
        self.lock().views.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
