//! The loop that runs scheduled functions: carries out the wishes of a [`Queue`] over the database.
//!
//! Everything it waits for (jobs, reads, removals) is a future in one set, so that nothing holds up anything else and
//! dropping the loop drops all of it. Whatever is under way then is found in storage by the next process: mutations
//! still wait to be run, actions are marked as in progress, which is as good as failed.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::future::{BoxFuture, Either, FutureExt, pending, select};
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::functions::Functions;
use super::subscription::{Subscription, Watcher};
use super::{CommitError, Database};
use crate::error::{Error, Result};
use crate::persistence::Order;
use crate::planted::{Bug, planted};
use crate::schedule::{ENTRIES, ENTRIES_BY_DUE, Entry, HEAD_ROWS, Queue, Step, Wish, step_prefix};
use crate::transaction::{Scan, Transaction};
use crate::value::InternalId;

/// How many jobs are removed in one transaction. Few, because their arguments are read, which may be large.
const REMOVED_AT_ONCE: usize = 16;

/// Runs the scheduled functions of a database until it is dropped or the database is shut down.
pub struct Scheduler {
    /// Dropping it ends the loop.
    _running: oneshot::Sender<()>,
}

impl Scheduler {
    /// Begins to run what is due. A database has at most one scheduler: it takes actions that are in progress when it
    /// begins for those of a process that has ended.
    pub fn start(functions: &Functions) -> Self {
        let (running, dropped) = oneshot::channel::<()>();
        let functions = functions.clone();
        let runtime = functions.database().runtime().clone();
        runtime.spawn(Box::pin(async move {
            let stopping = functions.database().stopping();
            let ended = select(dropped, stopping);
            select(ended, run(functions).boxed()).await;
        }));
        Self { _running: running }
    }
}

/// Something that was waited for.
enum Event {
    /// A job's run is over.
    Ended(InternalId),
    /// The head was read, and is watched from then on.
    Head(Result<(Vec<Entry>, Subscription)>),
    /// Old jobs were removed; there may be more.
    Removed(Result<bool>),
}

async fn run(functions: Functions) {
    let database = functions.database();
    let runtime = database.runtime();
    if !planted(Bug::ActionsNotGivenUp) {
        give_up_actions(&functions).await;
    }
    let mut queue = Queue::default();
    let mut under_way: FuturesUnordered<BoxFuture<'_, Event>> = FuturesUnordered::new();
    let (sender, mut changes) = mpsc::unbounded();
    let watcher = Arc::new(Watcher { sender, token: 0 });
    let mut _watched = None;
    loop {
        for wish in queue.turn(runtime.now(), runtime.monotonic()) {
            under_way.push(match wish {
                Wish::ReadHead => {
                    _watched = None;
                    read_head(database).map(Event::Head).boxed()
                }
                Wish::Run(job) => {
                    let functions = &functions;
                    async move {
                        functions.run_job(job).await;
                        Event::Ended(job)
                    }
                    .boxed()
                }
                Wish::Remove => remove_expired(&functions).map(Event::Removed).boxed(),
            });
        }
        let timer = match queue.next_timeout(runtime.now(), runtime.monotonic()) {
            Some(wait) => runtime.sleep(wait),
            None => pending().boxed(),
        };
        // An empty set would be over at once.
        let event = async {
            match under_way.next().await {
                Some(event) => event,
                None => pending().await,
            }
        };
        match select(event.boxed(), select(changes.next(), timer)).await {
            Either::Left((event, _)) => match event {
                Event::Ended(job) => queue.ended(job),
                Event::Head(Ok((entries, subscription))) => {
                    queue.head_read(Some(entries), runtime.monotonic());
                    if !planted(Bug::HeadNotWatched) {
                        subscription.watch(&watcher);
                    }
                    _watched = Some(subscription);
                }
                Event::Head(Err(_)) => queue.head_read(None, runtime.monotonic()),
                Event::Removed(more) => queue.removed(more.ok(), runtime.monotonic()),
            },
            // A subscription that is no longer watched may have fired just before; then there is only more to read.
            Either::Right((Either::Left(_), _)) => queue.head_changed(),
            Either::Right((Either::Right(((), _)), _)) => {}
        }
    }
}

/// The first entries of jobs that are to be run, in order of their due time.
async fn read_head(database: &Database) -> Result<(Vec<Entry>, Subscription)> {
    let mut tx = database.begin();
    let entries = first_entries(database, &mut tx, Step::Run, HEAD_ROWS).await?;
    let subscription = database.subscribe(tx.reads(), tx.snapshot());
    Ok((entries, subscription))
}

/// Marks actions that were in progress when the last process ended as failed.
async fn give_up_actions(functions: &Functions) {
    let mut failures = 0;
    loop {
        match try_give_up_actions(functions).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => functions.wait_for_storage(&mut failures).await,
        }
    }
}

/// Marks some of them; `true` if there may be more.
async fn try_give_up_actions(functions: &Functions) -> Result<bool> {
    let database = functions.database();
    let mut tx = database.begin();
    let entries = first_entries(database, &mut tx, Step::Running, HEAD_ROWS).await?;
    drop(tx);
    for entry in &entries {
        functions.give_up_action(entry.id).await?;
    }
    Ok(!entries.is_empty())
}

/// Removes some jobs that were finished long ago; `true` if there may be more.
async fn remove_expired(functions: &Functions) -> Result<bool> {
    let database = functions.database();
    let now = functions.now();
    let mut tx = database.begin();
    let mut entries = first_entries(database, &mut tx, Step::Remove, REMOVED_AT_ONCE).await?;
    entries.retain(|entry| entry.due <= now);
    for entry in &entries {
        if let Some(found) = functions.find_job(&mut tx, entry.id).await? {
            found.remove(&mut tx)?;
        }
    }
    match database.commit(tx).await {
        Ok(_) => Ok(entries.len() == REMOVED_AT_ONCE),
        Err(CommitError::Conflict { .. }) => Ok(true),
        Err(CommitError::Failed(error)) => Err(error),
    }
}

async fn first_entries(
    database: &Database,
    tx: &mut Transaction,
    step: Step,
    limit: usize,
) -> Result<Vec<Entry>> {
    let missing = || Error::internal("The queue of scheduled functions is missing.");
    let table = tx.table(ENTRIES).ok_or_else(missing)?;
    let index = table.index(ENTRIES_BY_DUE).ok_or_else(missing)?.id;
    let mut scan = Scan::new(index, step_prefix(step), Order::Ascending, limit).uncounted();
    let mut entries = Vec::with_capacity(limit);
    while entries.len() < limit
        && let Some(row) = database.next_row(tx, &mut scan).await?
    {
        entries.push(Entry::from_document(&row.document)?);
    }
    Ok(entries)
}
