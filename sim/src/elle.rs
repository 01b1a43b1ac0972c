//! Histories of list-append, for a checker that is not ours.
//!
//! Transactions read lists and append to them; every element is appended once. From nothing but what clients asked and
//! were answered, and when, the order of all writes can be inferred, and with it cycles that no serial order has
//! (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations", 2020). The checker is
//! the crate `adya`, see `tests/adya.rs`.

use std::collections::BTreeMap;

use concave_core::Value;

use crate::history::{Attempt, Outcome, Step};

/// A part of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Micro {
    /// It read a list.
    Read(i64, Vec<i64>),
    /// It appended an element to a list.
    Append(i64, i64),
}

/// Something that happened to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It began.
    Invoke,
    /// It ended well.
    Ok,
    /// It ended without any effect.
    Fail,
    /// Nobody knows whether it had an effect.
    Info,
}

/// An entry of a history. Each transaction is a process of its own, so that order follows from time alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The transaction.
    pub process: i64,
    /// What happened.
    pub kind: Kind,
    /// What it did, as far as it is known when it has ended.
    pub parts: Vec<Micro>,
}

/// The history of the lists in a table, from attempts that read at the newest snapshot, in order of time.
pub fn from_attempts(attempts: &[Attempt], lists: &str) -> Vec<Entry> {
    let mut names = BTreeMap::new();
    let mut moments = Vec::new();
    for (number, attempt) in attempts.iter().enumerate() {
        let parts = parts(&attempt.steps, lists, &mut names);
        // What died before it asked to commit has left no steps, and has no effect.
        if parts.is_empty() || !attempt.newest {
            continue;
        }
        let kind = match attempt.outcome {
            Outcome::Committed(_) | Outcome::ReadOnly => Kind::Ok,
            Outcome::Refused => Kind::Fail,
            Outcome::Running | Outcome::Submitted => Kind::Info,
        };
        // What ends when another begins is beside it.
        moments.push((attempt.began, false, number, Kind::Invoke, Vec::new()));
        if let Some(ended) = attempt.ended {
            moments.push((ended, true, number, kind, parts));
        } else {
            // Unknown for ever, and known to have been asked for.
            moments.push((attempt.began, true, number, Kind::Info, parts));
        }
    }
    moments.sort_by_key(|(at, ends, number, ..)| (*at, *ends, *number));
    let entry = |(_, _, number, kind, parts)| Entry {
        process: i64::try_from(number).expect("attempts are few"),
        kind,
        parts,
    };
    moments.into_iter().map(entry).collect()
}

/// Reads and appends among a transaction's steps.
fn parts(steps: &[Step], lists: &str, names: &mut BTreeMap<String, i64>) -> Vec<Micro> {
    let mut name = |id: &str| {
        let next = i64::try_from(names.len()).expect("lists are few");
        *names.entry(id.to_owned()).or_insert(next)
    };
    let mut lengths = BTreeMap::new();
    let mut parts = Vec::new();
    for step in steps {
        match step {
            Step::Get { table, id, found } if table == lists => {
                let value = found.as_ref().and_then(|document| document.get("value"));
                let elements = elements(value);
                lengths.insert(name(id), elements.len());
                parts.push(Micro::Read(name(id), elements));
            }
            Step::Put { table, document } if table == lists => {
                let id = document.get("_id").and_then(Value::as_str);
                let list = name(id.unwrap_or_default());
                let elements = elements(document.get("value"));
                let known = lengths.insert(list, elements.len()).unwrap_or_default();
                parts.extend(
                    elements[known..]
                        .iter()
                        .map(|new| Micro::Append(list, *new)),
                );
            }
            _ => {}
        }
    }
    parts
}

fn elements(list: Option<&Value>) -> Vec<i64> {
    let elements = list.and_then(Value::as_array).unwrap_or_default();
    elements.iter().filter_map(Value::as_i64).collect()
}
