//! A server that nobody uses any more: it lets go of what it kept in memory for those who have left.

use std::time::Duration;

use concave_core::driver::InMemory;
use concave_core::runtime::Runtime;

use super::server::{RECEIPTS, Server};
use crate::executor::Node;

/// Within this time a server notices that clients have vanished, and ends what it did for them.
const NOTICED: Duration = Duration::from_secs(300);
/// Commits are remembered at least for so long: see [`InMemory::commits`].
const REMEMBERED: Duration = Duration::from_secs(45);
/// Commits that may be remembered at rest: those that are made here, and what the server does on its own after them.
const COMMITS_MAX: usize = 4;
/// Subscriptions beside those of query results: of the scheduler, and of a schema change that waits.
const LOOPS_MAX: usize = 2;
/// How often is looked.
const LOOK: Duration = Duration::from_secs(5);

/// Checks a server whose clients have all gone. `tasks`: how many it had before the first one came.
///
/// # Errors
/// What it still keeps.
pub async fn check(server: &Server, tasks: usize, supervisor: &Node) -> Result<(), String> {
    let deadline = supervisor.monotonic() + NOTICED;
    loop {
        let (connections, running) = (server.connections(), server.tasks());
        if connections == 0 && running <= tasks {
            break;
        }
        if supervisor.monotonic() > deadline {
            return Err(format!(
                "{NOTICED:?} after all clients have left, the server serves {connections} connections with {running} \
                 tasks; it began with {tasks}"
            ));
        }
        supervisor.sleep(LOOK).await;
    }
    // What is old by the clock goes when something is written.
    server.correct_clock();
    supervisor.sleep(REMEMBERED).await;
    server.set_variable("REST", "now").await?;
    let kept = server.in_memory();
    let InMemory {
        commits,
        commit_bytes: _,
        snapshots,
        subscriptions,
        results,
        result_bytes: _,
        runs,
        turns,
        calls,
    } = kept;
    let is_little = commits <= COMMITS_MAX
        && snapshots <= COMMITS_MAX
        && subscriptions <= results + LOOPS_MAX
        && runs == 0
        && turns == 0
        && calls == 0;
    if !is_little {
        return Err(format!("at rest, the server keeps {kept:?}"));
    }
    records_go(server, supervisor).await
}

/// Records of requests go from storage when their clients do not come back.
async fn records_go(server: &Server, supervisor: &Node) -> Result<(), String> {
    let ahead = i64::try_from((RECEIPTS + RECEIPTS / 8).as_nanos());
    server.jump_clock(ahead.map_err(|error| error.to_string())?);
    let deadline = supervisor.monotonic() + RECEIPTS / 8;
    loop {
        match server.records().await? {
            0 => return Ok(()),
            left if supervisor.monotonic() > deadline => {
                return Err(format!("{left} records of requests do not go"));
            }
            _ => supervisor.sleep(LOOK).await,
        }
    }
}
