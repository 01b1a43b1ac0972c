//! Makes a failing world smaller: fewer clients, operations, kinds of operations and kinds of faults, as long as it
//! still fails. What is left names what the failure needs.
//!
//! Greedy, as in delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): a
//! restriction is kept if the world fails with it, in whichever way. A world without something draws other random
//! numbers from there on, so one that needs a rare coincidence shrinks less than one that fails always.

use crate::report::{Fault, Operation};
use crate::settings::{Kind, Restriction, Settings};
use crate::world::{self, Failure};

/// Worlds that are tried at most.
const ATTEMPTS_MAX: usize = 300;

/// The smallest failing world that is found from this one.
pub fn shrink(failure: Box<Failure>) -> Box<Failure> {
    shrink_by(failure, |settings| {
        world::run_with(settings.clone(), None).err()
    })
}

fn shrink_by(
    mut smallest: Box<Failure>,
    mut fails: impl FnMut(&Settings) -> Option<Box<Failure>>,
) -> Box<Failure> {
    let mut attempts = 0;
    loop {
        let mut shrunk = false;
        for restriction in candidates(&smallest.settings) {
            if attempts == ATTEMPTS_MAX {
                return smallest;
            }
            attempts += 1;
            let settings = smallest.settings.clone().restrict(restriction);
            if let Some(failure) = fails(&settings) {
                smallest = failure;
                shrunk = true;
                // Numbers are halved again at once; what is named is gone.
                if is_number(restriction) {
                    break;
                }
            }
        }
        if !shrunk {
            return smallest;
        }
    }
}

fn is_number(restriction: Restriction) -> bool {
    !matches!(
        restriction,
        Restriction::WithoutFault(_)
            | Restriction::WithoutOperation(_)
            | Restriction::WithoutFunction(_)
    )
}

/// What could be left out, the largest pieces first.
fn candidates(settings: &Settings) -> Vec<Restriction> {
    let mut candidates = Vec::new();
    for clients in [settings.clients / 2, settings.clients.saturating_sub(1)] {
        if clients > 0 && clients < settings.clients {
            candidates.push(Restriction::Clients(clients));
        }
    }
    for operations in [settings.operations / 2, settings.operations * 9 / 10] {
        if operations > 0 && operations < settings.operations {
            candidates.push(Restriction::Operations(operations));
        }
    }
    if settings.keys > 1 {
        candidates.push(Restriction::Keys(settings.keys / 2));
    }
    let drawn: Vec<Operation> = settings
        .weights
        .iter()
        .filter(|(_, weight)| *weight > 0)
        .map(|(operation, _)| *operation)
        .collect();
    // Without any, all would be drawn.
    if settings.kind == Kind::Transactions && drawn.len() > 1 {
        candidates.extend(drawn.into_iter().map(Restriction::WithoutOperation));
    }
    let functions = settings.sessions.weights.iter();
    let functions: Vec<_> = functions.filter(|(_, weight)| *weight > 0).collect();
    if settings.kind == Kind::Sessions && functions.len() > 1 {
        let functions = functions.into_iter().map(|(function, _)| *function);
        candidates.extend(functions.map(Restriction::WithoutFunction));
    }
    let faults = Fault::ALL.into_iter();
    let faults = faults.filter(|fault| settings.chance(*fault) > 0.0);
    candidates.extend(faults.map(Restriction::WithoutFault));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn what_the_failure_does_not_need_is_left_out() {
        let drawn = (0..100)
            .map(Settings::draw)
            .find(|settings| {
                settings.kind == Kind::Transactions
                    && settings.clients > 3
                    && settings.chance(Fault::Crash) > 0.0
                    && has(settings, Operation::Append)
            })
            .unwrap();
        let fail = |settings: &Settings| {
            let fails = settings.clients >= 2
                && settings.operations >= 11
                && settings.chance(Fault::Crash) > 0.0
                && has(settings, Operation::Append);
            fails.then(|| {
                Box::new(Failure {
                    what: "planned".into(),
                    settings: settings.clone(),
                    trace_tail: Vec::new(),
                    report: Report::default(),
                })
            })
        };
        let smallest = shrink_by(fail(&drawn).unwrap(), fail).settings;
        assert_eq!(smallest.clients, 2);
        assert_eq!(smallest.keys, 1);
        assert!((11..14).contains(&smallest.operations));
        let faults = Fault::ALL.into_iter();
        let faults: Vec<_> = faults.filter(|f| smallest.chance(*f) > 0.0).collect();
        assert_eq!(faults, [Fault::Crash]);
        let operations = Operation::ALL.into_iter();
        let operations: Vec<_> = operations.filter(|o| has(&smallest, *o)).collect();
        assert_eq!(operations, [Operation::Append]);
        let replayed = Settings::replay(smallest.seed, &smallest.restrictions_text()).unwrap();
        assert!(fail(&replayed).is_some(), "the report replays it");
    }

    fn has(settings: &Settings, operation: Operation) -> bool {
        !settings.weights.contains(&(operation, 0))
    }
}
