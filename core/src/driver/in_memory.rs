//! What a backend keeps in memory, counted: for those who watch a server, and for tests that nothing is kept for ever.

use super::Backend;

/// What a backend keeps in memory, in numbers.
///
/// When nobody has used it for a while, there are no runs, no turns and no calls, one snapshot, few commits, and a subscription
/// for each result and each loop that waits for a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InMemory {
    /// Commits whose written keys are remembered, to find conflicts.
    pub commits: usize,
    /// What they take, bytes.
    pub commit_bytes: usize,
    /// Snapshots that may be in use.
    pub snapshots: usize,
    /// Read sets that are watched for changes.
    pub subscriptions: usize,
    /// Query results that are kept,
    pub results: usize,
    /// and their size in bytes.
    pub result_bytes: usize,
    /// Queries under way.
    pub runs: usize,
    /// Keys and requests that calls hold or wait for.
    pub turns: usize,
    /// Calls that run, or wait to be run.
    pub calls: usize,
}

impl Backend {
    /// Counts what is kept in memory at this moment.
    pub fn in_memory(&self) -> InMemory {
        let mut counts = InMemory::default();
        self.database().count(&mut counts);
        self.functions().count(&mut counts);
        counts
    }
}
