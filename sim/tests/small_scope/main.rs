//! Goal: every small history that the committer admits is serializable, and none is refused without cause. Method: all
//! histories of three transactions of three operations on three keys, up to symmetries, through the core's
//! `Transaction`, `Scan` and `Committer`; each judged by trying all serial orders. (Most defects show in small scopes:
//! Jackson, *Software Abstractions*, 2006.)
//!
//! A key holds a set of rows. Operations: read one key or a range of keys; add a row without looking; put (look, and
//! leave exactly one new row); delete (look, and leave none). A serial order explains a history if running the same
//! operations one transaction after the other gives every operation what it saw. That search knows neither timestamps
//! nor read sets.
//!
//! # Why so few histories are all of them
//!
//! 1. *Only what a transaction sees and the order of submissions matter.* An open transaction changes nothing outside of
//!    itself, and reads at its snapshot; so moving its steps between its begin and its submission changes no answer.
//!    Snapshots are prefixes of the commits. What is left of an interleaving is the order of submissions, and for each
//!    transaction how many of the earlier submissions its snapshot has. Renaming transactions makes the order 1, 2, 3:
//!    six histories per triple of programs instead of 1,680 interleavings and more, with publications that come late
//!    (a snapshot may have fewer commits than were submitted before it began).
//! 2. *Only footprints matter*: the set of keys read, and for each key what the transaction leaves there, given what
//!    it saw: its own rows beside the others (add), only its own (put), none (delete), or it did not write there. Order
//!    and repetition of operations within a transaction change what it sees of its own rows only, in every serial order
//!    alike. So one program per footprint is enough.
//! 3. *Keys are interchangeable*: footprints are sets of keys. Of triples that a renaming of keys makes equal, one.
//! 4. *Keys that only one transaction touches, or that nobody writes, do not matter*: no answer of another transaction,
//!    and no check, involves them. Leaving them out of all footprints gives a triple that is looked at anyway, if three
//!    operations can have these footprints; if one of them is then empty, the other two are a beginning of triples
//!    whose third only reads.
//!
//! Two more tests check 1 with all interleavings of nine steps, 2 and 3 with any programs on renamed keys.

#![allow(clippy::unwrap_used)]

mod bench;
mod judge;
mod programs;

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::rc::Rc;
use std::time::Instant;

use concave_core::Timestamp;
use concave_core::planted::{Bug, with};
use concave_core::transaction::{ReadSet, Transaction};

use bench::Bench;
use judge::{Judged, Outcome, changed, history, judge, must_be_admitted, visible};
use programs::{
    Footprint, OPS, Op, Program, RENAMINGS, Seen, State, Tags, is_first, matters, programs, tag,
};

#[derive(Debug, Default)]
struct Counts {
    triples: u64,
    histories: u64,
    refused: u64,
}

#[test]
fn every_small_history_that_is_admitted_is_serializable() {
    let begun = Instant::now();
    let counts = search();
    println!(
        "{} footprints of {} programs, {counts:?}, {:.1?}",
        programs().len(),
        OPS.len().pow(3),
        begun.elapsed()
    );
    assert!(counts.histories > 3_000_000 && counts.refused > 1_000_000);
    assert!(counts.refused < counts.histories * 2 / 3);
}

/// The searches find what is wrong with transactions, scans and the committer.
#[test]
fn planted_defects_are_caught() {
    let all = || assert!(search().histories > 0);
    let between = [
        Bug::ScanEndNotRead,
        Bug::GapsNotRead,
        Bug::DescendingNotRead,
        Bug::OldKeyNotEnded,
        Bug::FirstCommitNotValidated,
        Bug::OnlyNewestValidated,
        Bug::EndedKeysNotLogged,
        Bug::OneIndexLogged,
        Bug::TimestampReused,
        Bug::FailedBatchStaysInLog,
    ];
    // Those show in transactions that read what they wrote.
    let within = [
        Bug::OwnDeletesNotSeen,
        Bug::StoredRowNotHidden,
        Bug::DescendingMergedAscending,
    ];
    let missed = |bugs: &[Bug], search: fn()| {
        let caught = |bug: &Bug| catch_unwind(|| with(Some(*bug), search)).is_err();
        let missed = bugs.iter().copied().filter(|bug| !caught(bug));
        missed.collect::<Vec<_>>()
    };
    assert_eq!(missed(&between, all), []);
    assert_eq!(missed(&within, any_programs), []);
}

/// Runs and judges all small histories.
fn search() -> Counts {
    let programs = programs();
    let all: Vec<_> = programs
        .iter()
        .map(|(footprint, program)| (*footprint, Rc::new(program.clone())))
        .collect();
    let mut counts = Counts::default();
    // What was there at first makes a difference to put and delete only; two keys are enough to see it.
    for present in [[true; 3], [false; 3]] {
        let mut bench = Bench::new(present);
        let initial: State = std::array::from_fn(|key| Tags::from(present[key]) << key);
        let mut known = vec![vec![None; all.len()]; 2];
        for first in &all {
            // What a snapshot with the first commit shows depends on that commit.
            known[1].fill(None);
            for second in &all {
                let thirds: Vec<_> = all
                    .iter()
                    .enumerate()
                    .filter(|(_, third)| {
                        let triple = [first.0, second.0, third.0];
                        let keys = (0..3).filter(|key| triple.iter().any(|f| f.touches(*key)));
                        (initial[0] > 0 || keys.count() < 3)
                            && matters(triple, &programs)
                            && is_first(triple, &programs)
                    })
                    .collect();
                if !thirds.is_empty() {
                    counts.triples += thirds.len() as u64;
                    let pair = [first, second];
                    histories(&mut bench, pair, &thirds, initial, &mut known, &mut counts);
                }
            }
        }
    }
    counts
}

type Class = (Footprint, Rc<Program>);

/// What a program saw and read at a snapshot that it has already run at.
type Known = Option<(Seen, ReadSet)>;

/// All histories of two transactions, each with all third ones. What a third one does at a snapshot that others had
/// before is known then: only the committer's log is asked.
fn histories(
    bench: &mut Bench,
    pair: [&Class; 2],
    thirds: &[(usize, &Class)],
    initial: State,
    known: &mut [Vec<Known>],
    counts: &mut Counts,
) {
    for snapshot in 0..2 {
        bench.restart();
        let mut history = Vec::with_capacity(3);
        let mut published = vec![bench.begins];
        for (class, snapshot) in pair.into_iter().zip([0, snapshot]) {
            let judged = submit(
                bench, &history, class, snapshot, &published, initial, &mut None,
            );
            history.push(judged);
            published.push(bench.publish());
        }
        for snapshot in 0..=2 {
            if snapshot > 0 && published[snapshot] == published[snapshot - 1] {
                // The transaction before was refused or wrote nothing: nothing new to see.
                continue;
            }
            // As early as allowed: only the last transaction is still open.
            bench
                .committer
                .trim_log(published[snapshot], concave_core::commit::Room::NONE);
            for (n, third) in thirds {
                let mut nothing = None;
                let known = match known.get_mut(snapshot) {
                    Some(known) => &mut known[*n],
                    None => &mut nothing,
                };
                let judged = submit(bench, &history, third, snapshot, &published, initial, known);
                bench.take_back();
                counts.histories += 1;
                counts.refused += u64::from(!judged.admitted);
                history.push(judged);
                if let Err(what) = judge(&history, initial) {
                    panic!("{what}, from {initial:?}: {history:#?}");
                }
                history.pop();
            }
        }
    }
}

fn submit(
    bench: &mut Bench,
    history: &[Judged],
    (footprint, program): &Class,
    snapshot: usize,
    published: &[Timestamp],
    initial: State,
    known: &mut Known,
) -> Judged {
    let transaction = history.len();
    let at = published[snapshot];
    let state = visible(history, snapshot, initial);
    let mut judged = Judged {
        changed: changed(program, transaction, state),
        program: program.clone(),
        footprint: *footprint,
        snapshot,
        seen: [0; 3],
        admitted: false,
    };
    if let Some((seen, reads)) = known {
        let log = bench.committer.log();
        judged.seen = *seen;
        judged.admitted = judged.changed == 0 || log.first_conflict(reads, at).is_none();
    } else {
        let (seen, tx) = bench.run(program, transaction, at);
        *known = Some((seen, tx.reads().clone()));
        judged.seen = seen;
        judged.admitted = bench.submit(tx, transaction);
    }
    assert_eq!(
        judged.admitted,
        must_be_admitted(history, &judged),
        "a transaction is refused exactly if what it read was changed: {history:#?}\n{judged:#?}"
    );
    judged
}

/// Runs programs in the order of their submissions at snapshots with so many of the submissions before.
fn reduced(bench: &mut Bench, programs: &[Program; 3], snapshots: [usize; 3]) -> Outcome {
    bench.restart();
    let mut published = vec![bench.begins];
    std::array::from_fn(|n| {
        let (seen, tx) = bench.run(&programs[n], n, published[snapshots[n]]);
        let admitted = bench.submit(tx, n);
        published.push(bench.publish());
        (seen, admitted)
    })
}

/// All orders of three begins, three operations and three submissions, as numbers of transactions.
fn interleavings() -> Vec<[usize; 9]> {
    let mut all = Vec::new();
    let mut steps = [0, 0, 0, 1, 1, 1, 2, 2, 2];
    loop {
        all.push(steps);
        // The next greater arrangement.
        let Some(pivot) = (0..8).rev().find(|n| steps[*n] < steps[n + 1]) else {
            return all;
        };
        let other = (pivot + 1..9).rev().find(|n| steps[*n] > steps[pivot]);
        steps.swap(pivot, other.unwrap());
        steps[pivot + 1..].reverse();
    }
}

#[test]
fn only_snapshots_and_the_order_of_submissions_matter() {
    let ops = [Op::Read(0, 1), Op::Add(0), Op::Put(1), Op::Delete(0)];
    let initial: State = [1, 2, 4];
    let mut bench = Bench::new([true; 3]);
    let mut expected = BTreeMap::new();
    let interleavings = interleavings();
    assert_eq!(interleavings.len(), 1_680);
    let mut count = 0;
    for triple in 0..64 {
        let drawn = [triple & 3, triple >> 2 & 3, triple >> 4];
        for steps in &interleavings {
            // Transactions by the order of their submissions: their last steps.
            let last = |transaction| steps.iter().rposition(|step| *step == transaction);
            let mut names = [0, 1, 2];
            names.sort_by_key(|transaction| last(*transaction));
            let place = |step: usize| names.iter().position(|name| *name == step).unwrap();
            let programs = names.map(|name| vec![ops[drawn[name]]]);
            bench.restart();
            let mut open: [Option<Transaction>; 3] = [None, None, None];
            let mut done = [0; 3];
            let mut submitted = 0;
            let mut snapshots = [0; 3];
            let mut outcome: Outcome = Default::default();
            for n in steps.iter().map(|step| place(*step)) {
                match done[n] {
                    0 => {
                        open[n] = Some(bench.begin(bench.committer.durable(), n));
                        snapshots[n] = submitted;
                    }
                    1 => {
                        let tx = open[n].as_mut().unwrap();
                        outcome[n].0[0] = bench.step(tx, programs[n][0], tag(n, 0));
                    }
                    _ => {
                        outcome[n].1 = bench.submit(open[n].take().unwrap(), n);
                        bench.publish();
                        submitted += 1;
                    }
                }
                done[n] += 1;
            }
            let key = (names.map(|name| drawn[name]), snapshots);
            let expected = expected
                .entry(key)
                .or_insert_with(|| reduced(&mut bench, &programs, snapshots));
            assert_eq!(outcome, *expected, "{programs:?} as {steps:?}");
            let history = history(&programs, snapshots, &outcome, initial);
            judge(&history, initial).unwrap_or_else(|what| panic!("{what}: {history:#?}"));
            count += 1;
        }
    }
    assert_eq!(expected.len(), 64 * 6);
    println!("{count} interleavings are {} histories", expected.len());
}

#[test]
fn only_footprints_up_to_names_of_keys_matter() {
    any_programs();
}

/// Compares histories of any programs with those of one program per footprint, and judges them.
fn any_programs() {
    let rng = &mut fastrand::Rng::with_seed(11);
    let known = programs();
    let initial: State = [1, 2, 4];
    let mut bench = Bench::new([true; 3]);
    let mut renamed_ones = 0;
    for _ in 0..20_000 {
        let drawn: [Program; 3] =
            std::array::from_fn(|_| (0..3).map(|_| OPS[rng.usize(..OPS.len())]).collect());
        let snapshots = [0, rng.usize(..2), rng.usize(..3)];
        let names = RENAMINGS[rng.usize(..6)];
        let footprints = drawn.each_ref().map(|program| Footprint::of(program));
        let renamed = footprints.map(|footprint| known.get(&footprint.rename(names)).cloned());
        let [Some(a), Some(b), Some(c)] = renamed else {
            continue;
        };
        renamed_ones += 1;
        let outcome = reduced(&mut bench, &drawn, snapshots);
        let other = reduced(&mut bench, &[a, b, c], snapshots);
        let admitted = |outcome: &Outcome| outcome.map(|(_, admitted)| admitted);
        assert_eq!(
            admitted(&outcome),
            admitted(&other),
            "{drawn:?} {snapshots:?}"
        );
        let history = history(&drawn, snapshots, &outcome, initial);
        judge(&history, initial).unwrap_or_else(|what| panic!("{what}: {history:#?}"));
    }
    assert!(renamed_ones > 5_000);
    println!("{renamed_ones} histories of any programs are like those of one per footprint");
}

/// A checker that accepts everything would pass all of the above.
#[test]
fn wrong_histories_are_refused() {
    let initial: State = [1, 2, 4];
    let skew = [
        vec![Op::Read(0, 1), Op::Put(0)],
        vec![Op::Read(0, 1), Op::Put(1)],
        vec![],
    ];
    // Two that both saw what was there first, and changed what the other had read.
    let outcome = [([3, 1, 0], true), ([3, 2, 0], true), ([0; 3], true)];
    let wrong = history(&skew, [0; 3], &outcome, initial);
    assert_eq!(judge(&wrong, initial), Err("no serial order explains it"));
    let outcome = [outcome[0], ([3, 2, 0], false), outcome[2]];
    let refused = history(&skew, [0; 3], &outcome, initial);
    assert_eq!(judge(&refused, initial), Ok(()));
    // Explained by an order, but not by that of the timestamps: the second did not see the first.
    let late = [vec![Op::Put(0)], vec![Op::Read(0, 0), Op::Add(1)], vec![]];
    let outcome = [([1, 0, 0], true), ([1, 0, 0], true), ([0; 3], true)];
    let wrong = history(&late, [0; 3], &outcome, initial);
    let what = "the order of timestamps does not explain it";
    assert_eq!(judge(&wrong, initial), Err(what));
}
