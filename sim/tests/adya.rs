//! Goal: a second opinion. Method: histories of list-append, from the core's loop and from whole worlds with all faults,
//! go to the checker `adya`, which shares nothing with ours: it infers dependencies from what was read, and looks for
//! cycles. Wrong histories, made by hand or by changing a good one, must be refused.

#![allow(clippy::unwrap_used)]

use adya::history::{Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{History, Opts, Report, Valid, Workload, check};
use sim::elle::{Entry, Kind, Micro};
use sim::report::Operation;
use sim::settings::{self, Settings};
use sim::{core_loop, world};

const LOOPS: u64 = 60;
const WORLDS: u64 = 60;

fn judge(entries: &[Entry], model: &str) -> Report {
    let mut interner = Interner::default();
    let mut ops = Vec::new();
    // What is asked for is written where a transaction begins.
    for (index, entry) in entries.iter().enumerate() {
        let parts = match entry.kind {
            Kind::Invoke => {
                let end = entries[index + 1..].iter();
                let end = end.clone().find(|other| other.process == entry.process);
                end.map_or(&[][..], |end| &end.parts)
            }
            _ => &entry.parts,
        };
        let mut id = |number: &i64| interner.intern(Scalar::Int(*number));
        let value = parts.iter().map(|part| match part {
            Micro::Append(list, element) => Mop::Append {
                key: id(list),
                value: id(element),
            },
            Micro::Read(list, elements) => Mop::Read {
                key: id(list),
                value: match entry.kind {
                    Kind::Ok => ReadValue::List(elements.iter().map(&mut id).collect()),
                    _ => ReadValue::Nil,
                },
            },
        });
        ops.push(Op {
            index: index as u64,
            kind: match entry.kind {
                Kind::Invoke => OpType::Invoke,
                Kind::Ok => OpType::Ok,
                Kind::Fail => OpType::Fail,
                Kind::Info => OpType::Info,
            },
            process: Some(entry.process),
            value: value.collect(),
            time: None,
        });
    }
    let opts = Opts {
        models: vec![model.into()],
        ..Opts::default()
    };
    check(
        &History::from_ops(ops, interner),
        Workload::ListAppend,
        &opts,
    )
}

fn accept(entries: &[Entry], of: &str) {
    let report = judge(entries, "strict-serializable");
    let found = &report.anomalies;
    assert_eq!(report.valid, Valid::True, "{of}: {found:#?}");
}

#[test]
fn loops_are_strictly_serializable() {
    let (mut transactions, mut done) = (0, 0);
    for seed in 0..LOOPS {
        let history = core_loop::run_lists(seed).unwrap_or_else(|failure| panic!("{failure}"));
        accept(&history, &format!("the lists of loop {seed}"));
        let count = |kind| history.iter().filter(|entry| entry.kind == kind).count();
        transactions += count(Kind::Invoke);
        done += count(Kind::Ok);
    }
    println!(
        "{transactions} transactions in {LOOPS} loops, {done} of them with an effect or an answer"
    );
    assert!(done > 15_000);
}

#[test]
fn worlds_are_strictly_serializable() {
    let (mut done, mut unknown) = (0, 0);
    for seed in 0..WORLDS {
        let mut settings = Settings::draw(seed);
        settings.kind = settings::Kind::Transactions;
        // Appending above all, and enough else to get in its way.
        for (operation, weight) in &mut settings.weights {
            *weight = match operation {
                Operation::Append => 20,
                Operation::Increment | Operation::Transfer => 1,
                _ => 0,
            };
        }
        let success = world::run_with(settings, None).unwrap_or_else(|failure| panic!("{failure}"));
        accept(&success.lists, &format!("the lists of world {seed}"));
        let count = |kind| {
            success
                .lists
                .iter()
                .filter(|entry| entry.kind == kind)
                .count()
        };
        done += count(Kind::Ok);
        unknown += count(Kind::Info);
    }
    println!("{done} transactions in {WORLDS} worlds, and {unknown} of which nobody knows");
    assert!(done > 2_000 && unknown > 0);
}

/// Transactions one after the other, or, in a group, beside each other.
fn made(groups: &[&[(Kind, &[Micro])]]) -> Vec<Entry> {
    let mut history = Vec::new();
    let mut first = 0;
    for group in groups {
        let numbers = first..;
        let entry = |(process, kind, parts): (i64, Kind, &[Micro])| Entry {
            process,
            kind,
            parts: parts.to_vec(),
        };
        let begun = numbers
            .clone()
            .zip(*group)
            .map(|(n, _)| (n, Kind::Invoke, &[][..]));
        history.extend(begun.map(entry));
        let ended = numbers
            .zip(*group)
            .map(|(n, (kind, parts))| (n, *kind, *parts));
        history.extend(ended.map(entry));
        first += group.len() as i64;
    }
    history
}

#[test]
fn wrong_histories_are_refused() {
    use Kind::{Fail, Ok};
    let r = |list, elements: &[i64]| Micro::Read(list, elements.to_vec());
    let a = Micro::Append;
    let model = "strict-serializable";

    // One after the other, each seeing the one before: nothing wrong.
    let fine = made(&[
        &[(Ok, &[r(1, &[]), a(1, 1)])],
        &[(Ok, &[r(1, &[1]), a(1, 2)])],
        &[(Ok, &[r(1, &[1, 2])])],
    ]);
    assert_eq!(judge(&fine, model).valid, Valid::True);

    let lost_update = made(&[
        &[(Ok, &[r(1, &[]), a(1, 1)]), (Ok, &[r(1, &[]), a(1, 2)])],
        &[(Ok, &[r(1, &[1, 2])])],
    ]);
    let write_skew = made(&[
        &[
            (Ok, &[r(1, &[]), r(2, &[]), a(1, 1)]),
            (Ok, &[r(1, &[]), r(2, &[]), a(2, 2)]),
        ],
        &[(Ok, &[r(1, &[1]), r(2, &[2])])],
    ]);
    let read_skew = made(&[&[
        (Ok, &[a(1, 1), a(2, 2)]),
        (Ok, &[r(1, &[]), r(2, &[2])]),
        (Ok, &[r(1, &[1]), r(2, &[2])]),
    ]]);
    let aborted_read = made(&[&[(Fail, &[a(1, 1)])], &[(Ok, &[r(1, &[1])])]]);
    let stale_read = made(&[
        &[(Ok, &[a(1, 1)])],
        &[(Ok, &[r(1, &[])])],
        &[(Ok, &[r(1, &[1])])],
    ]);
    for (name, history) in [
        ("lost update", &lost_update),
        ("write skew", &write_skew),
        ("read skew", &read_skew),
        ("aborted read", &aborted_read),
        ("stale read", &stale_read),
    ] {
        let report = judge(history, model);
        println!("{name}: {:?}", report.anomaly_types);
        assert_eq!(report.valid, Valid::False, "{name}");
    }
    // Only real time is against the stale read.
    assert_eq!(judge(&stale_read, "serializable").valid, Valid::True);
    assert_eq!(judge(&write_skew, "snapshot-isolation").valid, Valid::True);
}

/// Good histories in which one answer is changed: the last element of a read list is missing.
#[test]
fn changed_histories_are_refused() {
    let mut refused = 0;
    for seed in 0..20 {
        let mut history = core_loop::run_lists(seed).unwrap_or_else(|failure| panic!("{failure}"));
        // Of a transaction that also appended to that list: it must have seen all that was there.
        let changed = history.iter_mut().rev().find_map(|entry| {
            let parts = entry.parts.clone();
            let appends = |list: i64| {
                let mut parts = parts.iter();
                parts.any(|part| matches!(part, Micro::Append(of, _) if *of == list))
            };
            let read = entry.parts.iter_mut().find_map(|part| match part {
                Micro::Read(list, elements) if !elements.is_empty() && appends(*list) => {
                    Some(elements)
                }
                _ => None,
            });
            read.filter(|_| entry.kind == Kind::Ok)?.pop()
        });
        if changed.is_some() {
            assert_eq!(
                judge(&history, "serializable").valid,
                Valid::False,
                "loop {seed}"
            );
            refused += 1;
        }
    }
    assert!(refused > 10);
}
