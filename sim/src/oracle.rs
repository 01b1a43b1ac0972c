//! The judge. A database with many versions fixes the order of its commits, so there is nothing to search for: replay
//! them in that order and compare every read. (The idea is FoundationDB's: "A precise test oracle for FoundationDB
//! simulation workloads".)
//!
//! Checked:
//! * serializable: every committed transaction saw exactly what the model holds just before its timestamp;
//! * snapshots: every attempt, whatever became of it, saw exactly the model at its snapshot;
//! * durable and atomic: every acknowledged commit is in the log with all its writes and nothing else; one of unknown
//!   outcome is there wholly or not at all; whatever was refused is not there;
//! * strict in real time: a snapshot covers everything that was acknowledged or seen before it was taken;
//! * timestamps of the log strictly increase, and every revision names the one before it;
//! * subscriptions: what was read is the same for as long as they say;
//! * indexes are what recomputing them from the documents gives, at the end and at timestamps in between;
//! * the money in all accounts is constant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use concave_core::catalog::{Catalog, IndexState, well_known};
use concave_core::persistence::{IndexRead, KeyRange, Order, Persistence, Revision};
use concave_core::value::decode_document;
use concave_core::{DocumentId, Object, Timestamp, Value};

use crate::archive::{self, Archive};
use crate::history::{Attempt, Claim, Outcome};
use crate::model::{Model, Written};
use crate::report::Report;
use crate::workload::{ACCOUNTS, MONEY};

/// Timestamps at which the indexes are compared, besides the last one.
const INDEX_CHECKS: usize = 3;

/// Judges a world by its storage, which must be healthy.
///
/// # Errors
/// What is wrong.
pub async fn check(
    attempts: &[Attempt],
    archive: &Archive,
    storage: &dyn Persistence,
    report: &mut Report,
) -> Result<(), String> {
    let log = Log::read(storage, archive).await?;
    let committed = attribute(attempts, &log, report)?;
    real_time(attempts, &committed)?;
    replay(attempts, &log, &committed, report)?;
    all_indexes(&log, archive, INDEX_CHECKS, storage).await
}

/// Checks what is left once every old version up to a timestamp has gone: of each document the newest version as of
/// then, if it is not a tombstone, and all that came later; nothing else; and indexes that lead to it.
///
/// # Errors
/// What is wrong.
pub async fn check_kept(
    through: Timestamp,
    archive: &Archive,
    storage: &dyn Persistence,
) -> Result<(), String> {
    let stored = read_log(storage).await?;
    let mut newest = BTreeMap::new();
    let whole = archive.complete(stored.clone())?;
    for revision in whole.iter().filter(|revision| revision.ts <= through) {
        newest.insert((revision.table, revision.id), revision.ts);
    }
    let stays = |revision: &&Revision| {
        let is_newest = newest.get(&(revision.table, revision.id)) == Some(&revision.ts);
        revision.ts > through || (is_newest && revision.document.is_some())
    };
    let expected: Vec<_> = whole.iter().filter(stays).map(archive::name).collect();
    let mut found: Vec<_> = stored.iter().map(archive::name).collect();
    found.sort();
    if let Some(missing) = expected.iter().find(|name| !found.contains(name)) {
        return Err(format!(
            "a version has gone that may still be read: {missing:?}"
        ));
    }
    if let Some(extra) = found.iter().find(|name| !expected.contains(name)) {
        return Err(format!(
            "a version was superseded and is still there: {extra:?}"
        ));
    }
    let log = Log::new(whole)?;
    all_indexes(&log, archive, 1, storage).await
}

/// One commit in the log.
pub(crate) struct Commit {
    pub ts: Timestamp,
    pub revisions: Vec<(Revision, Option<Arc<Object>>)>,
    /// The catalog after it.
    pub catalog: Arc<Catalog>,
}

/// The log of a database.
pub(crate) struct Log {
    pub commits: Vec<Commit>,
}

/// All revisions that storage has, which must be in order.
async fn read_log(storage: &dyn Persistence) -> Result<Vec<Revision>, String> {
    let mut revisions: Vec<Revision> = Vec::new();
    let mut after = Timestamp::ZERO;
    loop {
        let page = storage
            .read_log(after, 64)
            .await
            .map_err(|error| error.to_string())?;
        for revision in page.revisions {
            if revision.ts < after {
                return Err(format!(
                    "{} comes after {} in the log",
                    revision.ts.0, after.0
                ));
            }
            after = revision.ts;
            revisions.push(revision);
        }
        if page.exhausted {
            return Ok(revisions);
        }
    }
}

impl Log {
    /// Reads what storage has, and adds what was deleted from it.
    pub async fn read(storage: &dyn Persistence, archive: &Archive) -> Result<Self, String> {
        Self::new(archive.complete(read_log(storage).await?)?)
    }

    fn new(revisions: Vec<Revision>) -> Result<Self, String> {
        let mut commits: Vec<Commit> = Vec::new();
        for revision in revisions {
            let document = match &revision.document {
                Some(stored) => Some(Arc::new(
                    decode_document(stored).map_err(|error| error.to_string())?,
                )),
                None => None,
            };
            match commits.last_mut() {
                Some(last) if last.ts == revision.ts => {
                    last.revisions.push((revision, document));
                }
                _ => commits.push(Commit {
                    ts: revision.ts,
                    revisions: vec![(revision, document)],
                    catalog: Arc::default(),
                }),
            }
        }
        let mut log = Self { commits };
        log.catalogs()?;
        if log.commits.is_empty() {
            return Err("the log is empty".into());
        }
        Ok(log)
    }

    /// Folds the documents that describe tables and indexes into a catalog per commit.
    fn catalogs(&mut self) -> Result<(), String> {
        let mut catalog = Arc::new(Catalog::default());
        let mut described: BTreeMap<(u32, [u8; 16]), Arc<Object>> = BTreeMap::new();
        for commit in &mut self.commits {
            // Tables come before what is in them, and of two schemas that change places, the one that goes.
            let mut changes: Vec<_> = commit.revisions.iter().collect();
            let rank = |table| match table {
                well_known::TABLES => 0,
                well_known::INDEXES => 1,
                _ => 2,
            };
            changes.sort_by_key(|(revision, new)| (rank(revision.table), new.is_some()));
            for (revision, document) in changes {
                if !catalog.describes(revision.table) {
                    continue;
                }
                let id = (revision.table.0, revision.id.0);
                let old = match document {
                    Some(document) => described.insert(id, document.clone()),
                    None => described.remove(&id),
                };
                Arc::make_mut(&mut catalog)
                    .apply(revision.table, old.as_ref(), document.as_ref())
                    .map_err(|error| error.to_string())?;
            }
            commit.catalog = catalog.clone();
        }
        Ok(())
    }
}

impl Commit {
    /// The name of a revision's table, unless it is one of the system's.
    pub fn user_table(&self, revision: &Revision) -> Result<Option<&str>, String> {
        let table = self
            .catalog
            .table_by_id(revision.table)
            .ok_or("a revision belongs to no table")?;
        Ok((!table.is_system()).then_some(table.name.as_str()))
    }

    /// The attempt that its documents name. `None` for the system's own commits.
    fn author(&self) -> Result<Option<usize>, String> {
        let mut author = None;
        for (revision, document) in &self.revisions {
            if self.user_table(revision)?.is_none() {
                continue;
            }
            let Some(document) = document else { continue };
            let by = document
                .get("by")
                .and_then(Value::as_i64)
                .and_then(|by| usize::try_from(by).ok())
                .ok_or("a document names no author")?;
            if author.replace(by).is_some_and(|other| other != by) {
                return Err(format!(
                    "two transactions share the timestamp {}",
                    self.ts.0
                ));
            }
        }
        Ok(author)
    }
}

/// Finds the commit of each attempt, and checks that nothing is missing and nothing is there that should not be.
fn attribute(
    attempts: &[Attempt],
    log: &Log,
    report: &mut Report,
) -> Result<BTreeMap<usize, Timestamp>, String> {
    let mut committed = BTreeMap::new();
    for commit in &log.commits {
        let Some(author) = commit.author()? else {
            continue;
        };
        let attempt = attempts.get(author).ok_or("an author does not exist")?;
        let fits = match attempt.outcome {
            Outcome::Committed(ts) => ts == commit.ts,
            Outcome::Submitted => true,
            Outcome::Running | Outcome::ReadOnly | Outcome::Refused => false,
        };
        if !fits {
            return Err(format!(
                "the log has #{author} at {}, which was told {:?}",
                commit.ts.0, attempt.outcome
            ));
        }
        if committed.insert(author, commit.ts).is_some() {
            return Err(format!("#{author} is in the log twice"));
        }
    }
    for (number, attempt) in attempts.iter().enumerate() {
        let present = committed.contains_key(&number);
        match attempt.outcome {
            Outcome::Committed(ts) if !present => {
                return Err(format!("#{number}, acknowledged at {}, is lost", ts.0));
            }
            Outcome::Submitted if present => report.unknown_present += 1,
            Outcome::Submitted => report.unknown_absent += 1,
            _ => {}
        }
    }
    Ok(committed)
}

/// A snapshot covers everything whose end was known before it was taken. That goes for two servers at once too: storage
/// refuses the older one's reads, so that it has nothing stale to show. What it can still tell from memory is which
/// tables there were, so that attempts count which saw more than that.
fn real_time(attempts: &[Attempt], committed: &BTreeMap<usize, Timestamp>) -> Result<(), String> {
    let mut ends: Vec<(Duration, Timestamp, usize)> = Vec::new();
    for (number, attempt) in attempts.iter().enumerate() {
        if let Some(ended) = attempt.ended {
            // Whoever read at a snapshot has seen it, committed or not.
            let ts = committed.get(&number).copied().unwrap_or(attempt.snapshot);
            ends.push((ended, ts, number));
        }
    }
    ends.sort();
    let mut newest_by_end = Vec::with_capacity(ends.len());
    let mut newest = (Timestamp::ZERO, 0);
    for (_, ts, number) in &ends {
        newest = newest.max((*ts, *number));
        newest_by_end.push(newest);
    }
    for (number, attempt) in attempts.iter().enumerate() {
        if !attempt.newest || !attempt.has_read() {
            continue;
        }
        let before = ends.partition_point(|(ended, _, _)| *ended < attempt.began);
        let Some((ts, other)) = before.checked_sub(1).map(|last| newest_by_end[last]) else {
            continue;
        };
        if attempt.snapshot < ts {
            return Err(format!(
                "#{number} began after #{other} had ended at {} and read at {}",
                ts.0, attempt.snapshot.0
            ));
        }
    }
    Ok(())
}

/// What happens at a timestamp, in order: claims about the time before it, its commit, reads at it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    ClaimBefore(usize),
    Commit(usize),
    SnapshotOf(usize),
    ClaimAt(usize),
}

fn replay(
    attempts: &[Attempt],
    log: &Log,
    committed: &BTreeMap<usize, Timestamp>,
    report: &mut Report,
) -> Result<(), String> {
    let mut moments: Vec<(Timestamp, Moment)> = Vec::new();
    for (number, attempt) in attempts.iter().enumerate() {
        moments.push((attempt.snapshot, Moment::SnapshotOf(number)));
        moments.extend(attempt.claims.iter().map(|claim| match claim {
            Claim::At(ts) => (*ts, Moment::ClaimAt(number)),
            Claim::Before(ts) => (*ts, Moment::ClaimBefore(number)),
        }));
    }
    moments.extend(
        committed
            .iter()
            .map(|(number, ts)| (*ts, Moment::Commit(*number))),
    );
    moments.sort();
    let mut model = Model::default();
    let by_ts: BTreeMap<_, _> = log
        .commits
        .iter()
        .map(|commit| (commit.ts, commit))
        .collect();
    for (ts, moment) in moments {
        let (number, role) = match moment {
            Moment::ClaimBefore(number) => (number, "when its subscription was about to fire"),
            Moment::ClaimAt(number) => (number, "while its subscription was valid"),
            Moment::SnapshotOf(number) => (number, "at its snapshot"),
            Moment::Commit(number) => (number, "at its commit"),
        };
        let attempt = &attempts[number];
        let blame =
            |what: String| format!("#{number} {:?}, {role} {}: {what}", attempt.operation, ts.0);
        match moment {
            Moment::Commit(_) => {
                let written = model.commit(ts, &attempt.steps, report).map_err(blame)?;
                let commit = by_ts.get(&ts).ok_or("a commit is not in the log")?;
                whole(&model, &written, commit).map_err(blame)?;
                report.commits += 1;
            }
            Moment::SnapshotOf(_) => model.check(&attempt.steps, report).map_err(blame)?,
            Moment::ClaimBefore(_) | Moment::ClaimAt(_) => {
                model.check(&attempt.steps, report).map_err(blame)?;
                report.claims_checked += 1;
            }
        }
    }
    Ok(())
}

/// The log has what a transaction wrote, all of it, and nothing else; and money is only moved.
fn whole(model: &Model, written: &Written, commit: &Commit) -> Result<(), String> {
    let mut missing = written.clone();
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
        let id = id.encode();
        let before = missing
            .remove(&(table.to_owned(), id.clone()))
            .ok_or_else(|| format!("{table} {id} is in the log and was not written"))?;
        if revision.prev_ts != before.as_ref().map(|stored| stored.ts) {
            return Err(format!(
                "{table} {id} follows {before:?} and says {:?}",
                revision.prev_ts
            ));
        }
        let expected = model.get(table, &id).map(|stored| &stored.document);
        if document.as_ref() != expected {
            return Err(format!(
                "{table} {id} is in the log as {document:?} instead of {expected:?}"
            ));
        }
    }
    if let Some((table, id)) = missing.into_keys().next() {
        return Err(format!("{table} {id} was written and is not in the log"));
    }
    if written.keys().any(|(table, _)| table == ACCOUNTS) {
        let money: i64 = model
            .documents(ACCOUNTS)
            .filter_map(|stored| stored.document.get("value").and_then(Value::as_i64))
            .sum();
        if money != MONEY {
            return Err(format!("all accounts together hold {money}"));
        }
    }
    Ok(())
}

/// Compares every index at the last commit, and at so many others that nothing was deleted of.
pub(crate) async fn all_indexes(
    log: &Log,
    archive: &Archive,
    others: usize,
    storage: &dyn Persistence,
) -> Result<(), String> {
    let bound = archive.bound();
    let first = log.commits.partition_point(|commit| commit.ts < bound);
    let last = log.commits.len() - 1;
    for n in 0..=others {
        indexes(log, first + (last - first) * n / others, storage).await?;
    }
    Ok(())
}

/// Compares every index, as of one commit, with what its definition gives for the documents of that time.
async fn indexes(log: &Log, position: usize, storage: &dyn Persistence) -> Result<(), String> {
    let at = &log.commits[position];
    let mut documents = BTreeMap::new();
    for commit in &log.commits[..=position] {
        for (revision, document) in &commit.revisions {
            let id = (revision.table, revision.id);
            match document {
                Some(document) => documents.insert(id, (revision.ts, document.clone())),
                None => documents.remove(&id),
            };
        }
    }
    for table in at.catalog.tables() {
        let complete = table.indexes.iter();
        for index in complete.filter(|index| index.state == IndexState::Ready) {
            let mut expected: Vec<_> = documents
                .iter()
                .filter(|((owner, _), _)| *owner == table.id)
                .map(|(_, (ts, document))| (index.key(document), *ts, document.clone()))
                .collect();
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            let mut found = Vec::new();
            let mut range = KeyRange::all();
            loop {
                let read = IndexRead {
                    index: index.id,
                    range: range.clone(),
                    order: Order::Ascending,
                    at: at.ts,
                    limit: 100,
                };
                let page = storage
                    .read_index(read)
                    .await
                    .map_err(|error| error.to_string())?;
                for row in page.rows {
                    let document =
                        decode_document(&row.document).map_err(|error| error.to_string())?;
                    range = range.beyond(&row.key, Order::Ascending);
                    found.push((row.key, row.ts, Arc::new(document)));
                }
                if page.exhausted {
                    break;
                }
            }
            if found != expected {
                return Err(format!(
                    "index {}.{} at {} is not what its documents give:\n{found:#?}\ninstead of\n{expected:#?}",
                    table.name, index.name, at.ts.0
                ));
            }
        }
    }
    Ok(())
}
