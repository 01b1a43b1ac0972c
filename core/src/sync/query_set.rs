//! The queries that a client watches.
//!
//! Two states are kept apart. What the client asked for changes with each message. What is *active* changes only when
//! a transition begins, so that a transition has one query set from beginning to end and the driver is never told
//! about a query that it evaluates at that moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::client_message::{AddQuery, ModifyQuerySet, QuerySetModification};
use super::outcome::{Fingerprint, QueryOutcome};
use super::server_message::Modification;
use super::{Limits, QueryId};
use crate::error::{Error, ErrorKind, Result};
use crate::planted::{Bug, planted};

/// What a query is, for as long as the client watches it.
#[derive(Debug, Default)]
pub(super) struct QuerySpec {
    pub path: Arc<str>,
    pub args: Arc<str>,
    pub component: Option<Arc<str>>,
    journal: Option<Arc<str>>,
    /// The client watched too much already: it is not run, and nothing of it is kept.
    pub is_refused: bool,
}

impl QuerySpec {
    fn bytes(&self) -> usize {
        self.path.len()
            + self.args.len()
            + self.component.as_deref().map_or(0, str::len)
            + self.journal.as_deref().map_or(0, str::len)
    }
}

/// A client that asks for so many times as much as it may is none that could be told so query by query.
const REFUSALS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct ActiveQuery {
    pub spec: Arc<QuerySpec>,
    /// Of the last run, or of the client before the first one.
    pub journal: Option<Arc<str>>,
    /// It has no result that holds at the timestamp of the transition under way.
    is_stale: bool,
    /// The last result, until the client is told.
    untold: Option<Arc<QueryOutcome>>,
    /// The result that the client has.
    told: Option<Fingerprint>,
}

impl ActiveQuery {
    /// Bytes of a result that is news to the client.
    fn untold_bytes(&self) -> usize {
        match &self.untold {
            Some(outcome) if self.told.as_ref() != Some(outcome.fingerprint()) => {
                outcome.rendered_bytes()
            }
            _ => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct QuerySet {
    /// The version that the client's last message led to.
    version: u32,
    active: BTreeMap<QueryId, ActiveQuery>,
    /// What the client asked for since the last transition began: a query, or none, for each id that changed.
    changes: BTreeMap<QueryId, Option<Arc<QuerySpec>>>,
    /// Queries that were removed and of which the client still has a result.
    removed: BTreeSet<QueryId>,
    /// Number and bytes of the queries that the client asked for.
    count: usize,
    bytes: usize,
    /// Bytes of the results that the client has not been told.
    untold_bytes: usize,
    /// Evaluation, while a transition is under way.
    waiting: VecDeque<QueryId>,
    running: BTreeSet<QueryId>,
    /// Why evaluation cannot succeed; the first fault that lasts wins over transient ones.
    fault: Option<Error>,
}

impl QuerySet {
    /// The version that the client's last message led to.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Takes a message of the client's. After an error, the session is over.
    pub fn modify(&mut self, message: ModifyQuerySet, limits: &Limits) -> Result<()> {
        if message.base_version != self.version {
            return Err(base_version_mismatch(message.base_version, self.version));
        }
        if message.new_version <= message.base_version {
            return Err(Error::bad_request(
                "InvalidQuerySetVersion",
                format!(
                    "new version {} is not above base version {}",
                    message.new_version, message.base_version
                ),
            ));
        }
        for modification in message.modifications {
            match modification {
                QuerySetModification::Add(query) => self.add(query, limits)?,
                QuerySetModification::Remove(id) => self.remove(id)?,
            }
        }
        assert!(message.new_version > self.version, "versions go up");
        self.version = message.new_version;
        self.check();
        Ok(())
    }

    fn wanted(&self, id: QueryId) -> Option<&Arc<QuerySpec>> {
        match self.changes.get(&id) {
            Some(change) => change.as_ref(),
            None => self.active.get(&id).map(|query| &query.spec),
        }
    }

    fn add(&mut self, query: AddQuery, limits: &Limits) -> Result<()> {
        if self.wanted(query.query_id).is_some() {
            return Err(Error::bad_request(
                "DuplicateQueryId",
                format!("query {} is already in the query set", query.query_id),
            ));
        }
        if self.count >= limits.queries.saturating_mul(REFUSALS_MAX) {
            return Err(Error::bad_request(
                "TooManyQueries",
                format!("{} queries are watched", self.count),
            ));
        }
        let mut spec = QuerySpec {
            path: query.udf_path.into(),
            args: query.args,
            component: query.component_path.map(Arc::from),
            journal: query.journal.map(Arc::from),
            is_refused: false,
        };
        // One always fits: its message was accepted.
        let is_too_large = self.bytes > 0 && self.bytes + spec.bytes() > limits.query_bytes;
        if self.count >= limits.queries || is_too_large {
            spec = QuerySpec {
                is_refused: true,
                ..QuerySpec::default()
            };
        }
        self.count += 1;
        self.bytes += spec.bytes();
        assert!(self.bytes >= spec.bytes());
        self.changes.insert(query.query_id, Some(Arc::new(spec)));
        Ok(())
    }

    fn remove(&mut self, id: QueryId) -> Result<()> {
        let Some(spec) = self.wanted(id) else {
            return Err(Error::bad_request(
                "UnknownQueryId",
                format!("query {id} is not in the query set"),
            ));
        };
        let bytes = spec.bytes();
        assert!(self.count > 0, "it was counted");
        assert!(self.bytes >= bytes);
        self.bytes -= bytes;
        self.count -= 1;
        if self.active.contains_key(&id) {
            self.changes.insert(id, None);
        } else {
            let added = self.changes.remove(&id);
            assert!(added.is_some(), "it was wanted, and is not active");
        }
        assert!(self.wanted(id).is_none());
        Ok(())
    }

    /// Begins a transition: what the client asked for becomes active. Gives the queries that ceased to be.
    pub fn activate(&mut self) -> Vec<QueryId> {
        assert!(
            !self.is_evaluating(),
            "a transition has one query set from beginning to end"
        );
        let mut unsubscribed = Vec::new();
        for (id, change) in std::mem::take(&mut self.changes) {
            if let Some(old) = self.active.remove(&id) {
                self.untold_bytes -= old.untold_bytes();
                unsubscribed.push(id);
                if old.told.is_some() && !planted(Bug::RemovalNotTold) {
                    self.removed.insert(id);
                }
            }
            if let Some(spec) = change {
                let query = ActiveQuery {
                    journal: spec.journal.clone(),
                    spec,
                    is_stale: true,
                    untold: None,
                    told: None,
                };
                let twice = self.active.insert(id, query);
                assert!(twice.is_none(), "the old one was taken out");
            }
        }
        assert_eq!(self.active.len(), self.count, "what is wanted is active");
        self.check();
        unsubscribed
    }

    /// Results of these queries no longer hold.
    pub fn invalidate(&mut self, ids: impl IntoIterator<Item = QueryId>) {
        assert!(
            !self.is_evaluating(),
            "before the evaluation, not during it"
        );
        let kept = usize::from(planted(Bug::OneInvalidatedQueryKept));
        for id in ids.into_iter().skip(kept) {
            if let Some(query) = self.active.get_mut(&id) {
                query.is_stale = true;
            }
        }
    }

    /// No result holds any longer.
    pub fn invalidate_all(&mut self) {
        assert!(
            !self.is_evaluating(),
            "before the evaluation, not during it"
        );
        self.active
            .values_mut()
            .for_each(|query| query.is_stale = true);
    }

    /// Starts evaluating what is stale. Gives the number of queries to evaluate.
    pub fn start_evaluation(&mut self) -> usize {
        assert!(!self.is_evaluating());
        assert!(self.fault.is_none());
        let stale = self.active.iter().filter(|(_, query)| query.is_stale);
        self.waiting = stale.map(|(id, _)| *id).collect();
        self.check();
        self.waiting.len()
    }

    /// The next query to evaluate, if there is one and fewer than `concurrency` are being evaluated.
    pub fn next_run(&mut self, concurrency: usize) -> Option<(QueryId, &ActiveQuery)> {
        if self.running.len() >= concurrency {
            return None;
        }
        let id = self.waiting.pop_front()?;
        let started = self.running.insert(id);
        assert!(started, "a query runs once in a transition");
        assert!(self.running.len() <= concurrency);
        Some((id, &self.active[&id]))
    }

    /// Takes a result. Whatever is too large to be sent together with the others, by `bytes_max`, becomes what
    /// `too_large` gives. Fails if the query is not being evaluated.
    pub fn finish_run(
        &mut self,
        id: QueryId,
        result: Result<Arc<QueryOutcome>>,
        bytes_max: usize,
        too_large: impl FnOnce() -> QueryOutcome,
    ) -> Result<()> {
        if !self.running.remove(&id) {
            return Err(Error::internal(format!(
                "a result for query {id}, which is not being evaluated"
            )));
        }
        match result {
            Ok(mut outcome) => {
                let query = self
                    .active
                    .get_mut(&id)
                    .expect("queries stay active while a transition is under way");
                assert!(query.is_stale, "a result that holds is not computed again");
                if !planted(Bug::JournalForgotten) {
                    query.journal = outcome.journal().cloned();
                }
                self.untold_bytes -= query.untold_bytes();
                let bytes = self.untold_bytes + outcome.rendered_bytes();
                if self.untold_bytes > 0
                    && bytes > bytes_max
                    && query.told.as_ref() != Some(outcome.fingerprint())
                {
                    outcome = Arc::new(too_large());
                }
                query.untold = Some(outcome);
                query.is_stale = false;
                self.untold_bytes += query.untold_bytes();
            }
            Err(error) => {
                self.waiting.clear();
                if self.fault.as_ref().is_none_or(is_transient) {
                    self.fault = Some(error);
                }
            }
        }
        self.check();
        Ok(())
    }

    /// What holds between any two steps.
    fn check(&self) {
        assert!(self.count <= self.active.len() + self.changes.len());
        if self.count == 0 {
            assert_eq!(self.bytes, 0);
        }
        debug_assert_eq!(
            self.untold_bytes,
            self.active
                .values()
                .map(ActiveQuery::untold_bytes)
                .sum::<usize>()
        );
        assert!(
            self.waiting.len() + self.running.len() <= self.active.len(),
            "what is evaluated is active"
        );
        if self.fault.is_some() {
            assert!(self.waiting.is_empty(), "after a fault nothing is started");
        }
        let mut running = self.running.iter();
        debug_assert!(running.clone().all(|id| self.active.contains_key(id)));
        debug_assert!(running.all(|id| !self.waiting.contains(id)));
    }

    /// Bytes of the queries that the client asked for, and of the results that it has not been told.
    pub fn held_bytes(&self) -> usize {
        self.bytes + self.untold_bytes
    }

    /// Whether the client watches nothing, and is owed nothing.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.changes.is_empty() && self.removed.is_empty()
    }

    /// Whether queries are being evaluated or wait for it.
    pub fn is_evaluating(&self) -> bool {
        !self.waiting.is_empty() || !self.running.is_empty()
    }

    /// Why the evaluation that ended has to be tried again or given up, if it has.
    pub fn take_fault(&mut self) -> Option<Error> {
        assert!(!self.is_evaluating());
        self.fault.take()
    }

    /// Ends a transition: all that the client has to be told, at most one modification per query. Results that the
    /// client has already are left out.
    pub fn tell(&mut self) -> Vec<Modification> {
        assert!(!self.is_evaluating());
        assert!(self.fault.is_none());
        let mut modifications = Vec::new();
        self.untold_bytes = 0;
        for (id, query) in &mut self.active {
            assert!(!query.is_stale, "every result holds at the timestamp");
            let Some(outcome) = query.untold.take() else {
                continue;
            };
            let is_kept = query.told.is_some() && planted(Bug::ChangedResultNotTold);
            if query.told.as_ref() != Some(outcome.fingerprint()) && !is_kept {
                query.told = Some(*outcome.fingerprint());
                modifications.push(Modification::Result(*id, outcome));
            }
        }
        let removed = std::mem::take(&mut self.removed).into_iter();
        modifications.extend(
            removed
                .filter(|id| !self.active.contains_key(id))
                .map(Modification::Removed),
        );
        assert!(self.removed.is_empty());
        debug_assert!(self.active.values().all(|query| query.told.is_some()));
        modifications
    }

    #[cfg(test)]
    pub fn check_accounting(&self) {
        let ids: BTreeSet<_> = self.active.keys().chain(self.changes.keys()).collect();
        let wanted: Vec<_> = ids.into_iter().filter_map(|id| self.wanted(*id)).collect();
        assert_eq!(self.count, wanted.len());
        assert_eq!(self.bytes, wanted.iter().map(|s| s.bytes()).sum::<usize>());
    }
}

/// Whether a later attempt may succeed without anybody's doing: then it is tried again instead of being shown.
pub(super) fn is_transient(error: &Error) -> bool {
    error.kind() == ErrorKind::Transient || error.class == crate::ErrorClass::Operational
}

/// The error of a client that lost count.
pub(super) fn base_version_mismatch(sent: u32, expected: u32) -> Error {
    Error::bad_request(
        "BaseVersionMismatch",
        format!("base version {sent} does not match {expected}"),
    )
}
