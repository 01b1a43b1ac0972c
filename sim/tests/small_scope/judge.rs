//! Histories, and the judge: a search over all serial orders, which knows neither timestamps nor read sets.

use std::rc::Rc;

use crate::programs::{Footprint, Op, Program, RENAMINGS, Seen, State, run_alone};

/// A transaction of a history, as far as it is judged.
#[derive(Clone, Debug)]
pub struct Judged {
    pub program: Rc<Program>,
    pub footprint: Footprint,
    /// How many of the submissions before it its snapshot has.
    pub snapshot: usize,
    pub seen: Seen,
    pub admitted: bool,
    /// Keys at which it changed something.
    pub changed: u8,
}

/// What the committer must say: a key that was read has been changed since the snapshot, or has not.
pub fn must_be_admitted(history: &[Judged], next: &Judged) -> bool {
    let since = history[next.snapshot..].iter();
    let changed = since
        .filter(|other| other.admitted)
        .fold(0, |all, other| all | other.changed);
    next.changed == 0 || changed & next.footprint.reads == 0
}

/// Whether running the admitted transactions in this order gives each what it saw.
pub fn explains(history: &[Judged], order: &[usize], initial: State) -> bool {
    let mut state = initial;
    let mut admitted = order.iter().filter(|n| history[**n].admitted);
    admitted.all(|n| run_alone(&history[*n].program, *n, &mut state) == history[*n].seen)
}

/// Judges a history.
pub fn judge(history: &[Judged], initial: State) -> Result<(), &'static str> {
    if !RENAMINGS
        .iter()
        .any(|order| explains(history, order, initial))
    {
        return Err("no serial order explains it");
    }
    // The order of timestamps: what only reads has that of its snapshot.
    let mut order = [0, 1, 2];
    order.sort_by_key(|n| match &history[*n] {
        reader if reader.changed == 0 => (reader.snapshot, 1),
        _ => (n + 1, 0),
    });
    if !explains(history, &order, initial) {
        return Err("the order of timestamps does not explain it");
    }
    Ok(())
}

/// Runs a program alone on what a snapshot has, to know what it changes.
pub fn changed(program: &[Op], transaction: usize, state: State) -> u8 {
    let mut after = state;
    run_alone(program, transaction, &mut after);
    (0..3).fold(0, |all, key| {
        all | u8::from(after[key] != state[key]) << key
    })
}

/// The rows that a snapshot with the first `count` submissions has.
pub fn visible(history: &[Judged], count: usize, initial: State) -> State {
    let mut state = initial;
    for (n, judged) in history[..count].iter().enumerate() {
        if judged.admitted && judged.changed != 0 {
            // What was admitted saw what its place in the order has, so running it there again is what it did.
            run_alone(&judged.program, n, &mut state);
        }
    }
    state
}

/// What became of three transactions, in the order of their submissions.
pub type Outcome = [(Seen, bool); 3];

/// A history that was run, as it is judged.
pub fn history(
    programs: &[Program; 3],
    snapshots: [usize; 3],
    outcome: &Outcome,
    initial: State,
) -> Vec<Judged> {
    let mut history = Vec::new();
    for (n, program) in programs.iter().enumerate() {
        let state = visible(&history, snapshots[n], initial);
        history.push(Judged {
            changed: changed(program, n, state),
            footprint: Footprint::of(program),
            program: Rc::new(program.clone()),
            snapshot: snapshots[n],
            seen: outcome[n].0,
            admitted: outcome[n].1,
        });
    }
    history
}
