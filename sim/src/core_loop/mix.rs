//! What a seed draws before its loop begins (swarm testing, as in `crate::settings`).

use fastrand::Rng;

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Moves money between two accounts.
    Transfer,
    /// Reads all accounts: their sum is constant.
    Audit,
    /// Reads some lists and appends to some.
    Append,
    /// Reads some lists.
    ReadLists,
    /// Adds one to a number.
    Increment,
    /// Inserts a row if its key is free.
    InsertUnique,
    /// Adds to the end of the queue.
    Enqueue,
    /// Takes what is first in the queue.
    Dequeue,
    /// Deletes some rows of a range.
    DeleteRange,
    /// Gives some rows of a range another key.
    MoveKeys,
    /// Reads ranges and documents.
    Read,
    /// Reads and writes anything, with savepoints, over several turns.
    Mixed,
    /// Creates a table, or finds it there.
    CreateTable,
    /// Begins a new index on a table.
    AddIndex,
    /// Puts a filled index into use.
    FinishIndex,
    /// Drops an index.
    DropIndex,
}

impl Operation {
    /// All of them, in order.
    pub const ALL: [Operation; 16] = {
        use Operation::*;
        [
            Transfer,
            Audit,
            Append,
            ReadLists,
            Increment,
            InsertUnique,
            Enqueue,
            Dequeue,
            DeleteRange,
            MoveKeys,
            Read,
            Mixed,
            CreateTable,
            AddIndex,
            FinishIndex,
            DropIndex,
        ]
    };

    /// Whether it changes the catalog, which makes everything else conflict.
    fn is_rare(self) -> bool {
        use Operation::*;
        matches!(self, CreateTable | AddIndex | FinishIndex | DropIndex)
    }
}

/// The drawn settings of one loop.
#[derive(Clone, Debug)]
pub struct Mix {
    /// Transactions to begin.
    pub transactions: u32,
    /// Weight of each operation.
    pub weights: [u32; Operation::ALL.len()],
    /// Most transactions open at once.
    pub open: usize,
    /// Distinct keys of rows: few means many conflicts.
    pub keys: i64,
    /// Accounts, lists and numbers that are in use at once.
    pub fixtures: usize,
    /// How likely the first key or fixture is taken instead of any: a hot spot.
    pub hot: f64,
    /// Most steps of a mixed transaction.
    pub steps: u32,
    /// Longest filling of a document, in bytes.
    pub padding: usize,
    /// How likely a transaction begins at an older snapshot.
    pub old: f64,
    /// How likely an older snapshot is not protected from trimming.
    pub unpinned: f64,
    /// How likely storage fails, per batch.
    pub storage_fails: f64,
    /// How likely the committer is stopped, per batch.
    pub stops: f64,
    /// How likely a page is short.
    pub short_pages: f64,
    /// How likely a transaction's reads are subscribed to.
    pub subscribes: f64,
    /// How likely a transaction is given up at its end.
    pub gives_up: f64,
    /// Commits that trimming leaves in the log; 0 trims as early as allowed.
    pub keep: usize,
    /// Weights of turns: begin or go on, submit, storage, maintenance.
    pub turns: [u32; 4],
}

impl Mix {
    /// Draws the settings of a loop of so many transactions.
    pub fn draw(rng: &mut Rng, transactions: u32) -> Self {
        let mut weights = [0; Operation::ALL.len()];
        for operation in Operation::ALL {
            let weight = &mut weights[operation as usize];
            if rng.u8(..3) > 0 {
                *weight = match operation {
                    operation if operation.is_rare() => 1,
                    Operation::Audit | Operation::ReadLists | Operation::Read => 2 << rng.u32(..6),
                    _ => 8 << rng.u32(..6),
                };
            }
        }
        if weights.iter().all(|weight| *weight == 0) {
            weights[Operation::Mixed as usize] = 1;
        }
        let mut sometimes = |most: f64| {
            if rng.bool() { rng.f64() * most } else { 0.0 }
        };
        Self {
            transactions,
            weights,
            old: sometimes(0.5),
            unpinned: sometimes(0.3),
            storage_fails: sometimes(0.2),
            stops: sometimes(0.02),
            short_pages: sometimes(0.5),
            subscribes: sometimes(0.4),
            gives_up: sometimes(0.1),
            hot: sometimes(0.6),
            open: 1 << rng.u32(..6),
            keys: 2 << rng.u32(..7),
            fixtures: rng.usize(2..10),
            steps: 1 << rng.u32(1..5),
            padding: if rng.u8(..8) == 0 { 2_000 } else { 20 },
            keep: if rng.u8(..4) == 0 { rng.usize(..64) } else { 0 },
            turns: [32, 4 << rng.u32(..4), 2 << rng.u32(..4), 2],
        }
    }

    /// Draws an operation by weight.
    pub fn operation(&self, rng: &mut Rng) -> Operation {
        Operation::ALL[draw(rng, &self.weights)]
    }

    /// Draws a kind of turn by weight.
    pub fn turn(&self, rng: &mut Rng) -> usize {
        draw(rng, &self.turns)
    }

    /// Draws one of `count` things, the first one more often if there is a hot spot.
    pub fn one_of(&self, rng: &mut Rng, count: usize) -> usize {
        if rng.f64() < self.hot {
            0
        } else {
            rng.usize(..count)
        }
    }
}

/// Draws a position by weight; not all weights are 0.
fn draw(rng: &mut Rng, weights: &[u32]) -> usize {
    let mut ticket = rng.u32(..weights.iter().sum::<u32>());
    for (position, weight) in weights.iter().enumerate() {
        match ticket.checked_sub(*weight) {
            Some(rest) => ticket = rest,
            None => return position,
        }
    }
    unreachable!("the ticket is below the sum of the weights")
}
