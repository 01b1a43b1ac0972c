//! The judge of worlds with sessions: replays the log on a model, commit by commit, and compares.
//!
//! Checked, beside what clients assert themselves:
//! * every commit of a function is exactly what its twin does to the model just before it, and came back as such;
//! * every result in every view of a client is the model's at the view's timestamp, and every row of a range is in
//!   exactly one of the pages over it;
//! * exactly once: each token's receipt is in the log at most once; there if its mutation came back, at that
//!   timestamp; not there if it failed; and never before the mutation was sent;
//! * nothing was ever shown as of a timestamp that is not in the log;
//! * an active schema holds for all documents, and an index is used only when it is complete;
//! * indexes are what recomputing them from the documents gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use concave_core::persistence::Persistence;
use concave_core::{DocumentId, Object, Timestamp, Value};

use super::pages::Pages;
use crate::app::faults::ENGINE_FAILED;
use crate::app::twin::{State, Write, text, without_system_fields};
use crate::app::{Function, value};
use crate::archive::Archive;
use crate::client::record::{Call, Outcome, Record, View, Watched};
use crate::oracle::{Commit, Log, all_indexes};
use crate::report::Report;

/// Timestamps at which the indexes are compared, besides the last one.
const INDEX_CHECKS: usize = 2;

/// Judges a world by its storage, which must be healthy. `began`: the commit after which clients came.
///
/// # Errors
/// What is wrong.
pub async fn check(
    record: &Record,
    began: Timestamp,
    archive: &Archive,
    storage: &dyn Persistence,
    report: &mut Report,
) -> Result<(), String> {
    let log = Log::read(storage, archive).await?;
    let mut views = record.views();
    // Those of one client stay in the order in which it saw them.
    views.sort_by_key(|view| view.ts);
    let mut judge = Judge {
        calls: record.calls(),
        began,
        state: State::default(),
        receipts: BTreeMap::new(),
        pages: Pages::default(),
        memo: BTreeMap::new(),
        report,
    };
    let mut views = views.iter().peekable();
    for (position, commit) in log.commits.iter().enumerate() {
        judge.commit(commit)?;
        let next = log.commits.get(position + 1);
        judge.memo.clear();
        while let Some(view) = views.next_if(|view| next.is_none_or(|next| view.ts < next.ts)) {
            if view.ts != commit.ts {
                return Err(format!(
                    "client {} was shown the state of {}, which is not in the log",
                    view.client, view.ts.0
                ));
            }
            judge.view(view, commit)?;
        }
    }
    judge.all_accounted_for()?;
    all_indexes(&log, archive, INDEX_CHECKS, storage).await
}

struct Judge<'a> {
    calls: BTreeMap<String, Call>,
    began: Timestamp,
    state: State,
    /// Commits by the token in their receipts.
    receipts: BTreeMap<String, Timestamp>,
    pages: Pages,
    /// Results at the present timestamp.
    memo: BTreeMap<(Function, String), Value>,
    report: &'a mut Report,
}

impl Judge<'_> {
    fn commit(&mut self, commit: &Commit) -> Result<(), String> {
        let mut changes = Vec::new();
        for (revision, document) in &commit.revisions {
            let Some(table) = commit.user_table(revision)? else {
                continue;
            };
            let number = commit
                .catalog
                .table(table)
                .ok_or("a table has vanished")?
                .number;
            let id = DocumentId {
                table: number,
                internal: revision.id,
            };
            changes.push((table, id.encode(), document));
        }
        if !changes.is_empty() && commit.ts > self.began {
            let blame = |what: String| format!("the commit at {}: {what}", commit.ts.0);
            self.effect(commit.ts, &changes).map_err(blame)?;
        }
        for (table, id, document) in changes {
            self.state.set(table, id, document.clone());
        }
        self.schema_holds(commit)
    }

    /// Compares a function's commit with what its twin does.
    fn effect(&mut self, ts: Timestamp, changes: &[Change<'_>]) -> Result<(), String> {
        let mut receipts = changes.iter().filter(|(table, ..)| *table == "receipts");
        let receipt = match (receipts.next(), receipts.next()) {
            (Some((_, _, Some(receipt))), None) => receipt,
            _ => return Err(format!("it is not one mutation: {changes:?}")),
        };
        let token = text(receipt, "token");
        let path = text(receipt, "path");
        let function = Function::ALL
            .into_iter()
            .find(|function| function.path() == path);
        let function = function.ok_or("its function is unknown")?;
        let blame = |what: String| format!("{token} {function:?}: {what}");
        let args = receipt.get("args").and_then(Value::as_object);
        let args = args.ok_or("it has no arguments")?;
        if let Some(before) = self.receipts.insert(token.clone(), ts) {
            return Err(blame(format!("it ran before, at {}", before.0)));
        }
        let (writes, result) = self
            .state
            .mutation(function, args)
            .map_err(|why| blame(format!("it must fail: {why}")))?;
        self.compare(writes, changes).map_err(blame)?;
        let sent_as = token.split('/').next().unwrap_or_default();
        let call = self
            .calls
            .get(sent_as)
            .ok_or_else(|| blame("nobody sent it".into()))?;
        let floor = call.floor.ok_or_else(|| blame("it was not sent".into()))?;
        if ts <= floor {
            return Err(blame(format!("{} had been seen when it was sent", floor.0)));
        }
        self.report.effects += 1;
        if sent_as != token {
            return Ok(());
        }
        if (call.function, value(&call.args)) != (function, args.clone().into()) {
            return Err(blame(format!("it is not what was sent: {call:?}")));
        }
        match &call.outcome {
            Outcome::Unknown => Err(blame("it was never answered".into())),
            Outcome::Failed(text) => Err(blame(format!("it was told to have failed: {text}"))),
            Outcome::Returned(value, told) if (value, *told) != (&result, Some(ts)) => Err(blame(
                format!("it gave {result:?}, and was told to give {value:?} at {told:?}"),
            )),
            Outcome::Returned(..) => Ok(()),
        }
    }

    fn compare(&self, writes: Vec<Write>, changes: &[Change<'_>]) -> Result<(), String> {
        let mut missing = writes;
        for (table, id, document) in changes {
            let is_new = self.state.get(table, id).is_none();
            let found = missing.iter().position(|write| match (write, document) {
                (Write::Insert(name, content), Some(document)) => {
                    is_new && name == table && *content == without_system_fields(document)
                }
                (Write::Update(name, updated, content), Some(document)) => {
                    name == table && updated == id && *content == without_system_fields(document)
                }
                (Write::Delete(name, deleted), None) => name == table && deleted == id,
                _ => false,
            });
            let Some(found) = found else {
                return Err(format!(
                    "{table} {id} became {document:?}, instead of {missing:?}"
                ));
            };
            missing.swap_remove(found);
        }
        match missing.first() {
            Some(missing) => Err(format!("{missing:?} is not in the log")),
            None => Ok(()),
        }
    }

    /// What the active schema forbids is not there.
    fn schema_holds(&self, commit: &Commit) -> Result<(), String> {
        let Some(active) = &commit.catalog.schemas().active else {
            return Ok(());
        };
        let sample = [
            ("key", 0.0.into()),
            ("value", "text".into()),
            ("by", "".into()),
        ];
        let sample: Object =
            Object::from_fields::<_, Value>(sample).map_err(|error| error.to_string())?;
        let is_strict = active
            .definition
            .check_document("rows", &sample, &*commit.catalog)
            .is_err();
        let breaks = |row: &&&Arc<Object>| row.get("value").and_then(Value::as_f64).is_none();
        let rows = self.state.by("rows", "key");
        match rows.iter().find(breaks) {
            Some(row) if is_strict => Err(format!(
                "at {} the schema does not allow {row:?}",
                commit.ts.0
            )),
            _ => Ok(()),
        }
    }

    fn view(&mut self, view: &View, commit: &Commit) -> Result<(), String> {
        let blame = |what: String| format!("client {} at {}: {what}", view.client, view.ts.0);
        for (id, watched, shown) in &view.results {
            let function = watched.function;
            let blame =
                |what: String| blame(format!("query {id}, {function:?} {}: {what}", watched.args));
            match &**shown {
                Err(text) if text.contains(ENGINE_FAILED) => {}
                Err(text) => {
                    let is_missing =
                        function == Function::RowsByValue && !by_value_is_there(commit);
                    if !is_missing {
                        return Err(blame(format!("it failed: {text}")));
                    }
                }
                Ok(_) if function == Function::Page => {}
                Ok(shown) => {
                    let expected = self.expected(watched);
                    if value(shown) != *expected {
                        return Err(blame(format!(
                            "it is shown {shown}, instead of {expected:?}"
                        )));
                    }
                    if function == Function::RowsByValue {
                        if !by_value_is_there(commit) {
                            return Err(blame("its index is not there".into()));
                        }
                        self.report.fleeting_index_reads += 1;
                    }
                    self.report.results_checked += 1;
                }
            }
        }
        self.pages
            .check(view, &self.state, self.report)
            .map_err(blame)
    }

    fn expected(&mut self, watched: &Watched) -> &Value {
        let key = (watched.function, watched.args.to_string());
        self.memo.entry(key).or_insert_with(|| {
            let args = value(&watched.args);
            let args = args.as_object().expect("arguments are objects");
            self.state.query(watched.function, args)
        })
    }

    /// Whatever was told to have happened has happened.
    fn all_accounted_for(&self) -> Result<(), String> {
        for (token, call) in &self.calls {
            let Outcome::Returned(_, ts) = &call.outcome else {
                continue;
            };
            let tokens = match call.function {
                Function::Relay => vec![format!("{token}/1"), format!("{token}/2")],
                _ => vec![token.clone()],
            };
            let commits: Vec<_> = tokens
                .iter()
                .map(|token| self.receipts.get(token))
                .collect();
            if commits.contains(&None) {
                return Err(format!(
                    "{token} {:?} came back at {ts:?} and is lost",
                    call.function
                ));
            }
            if !commits.is_sorted() {
                return Err(format!(
                    "{token}: the second mutation came before the first"
                ));
            }
        }
        Ok(())
    }
}

/// A table, an id, and the document after the commit.
type Change<'a> = (&'a str, String, &'a Option<Arc<Object>>);

fn by_value_is_there(commit: &Commit) -> bool {
    let rows = commit.catalog.table("rows");
    let index = rows.and_then(|rows| rows.index("by_value"));
    index.is_some_and(|index| index.is_readable())
}
