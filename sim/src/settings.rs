//! What a seed draws before the world begins: its size, its mix of operations, its faults.
//!
//! Swarm testing (Groce et al., "Swarm Testing", 2012): each seed leaves some operations and some faults out
//! altogether and gives the others very different rates, since a uniform mix of everything seldom gets deep into
//! anything.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;

use crate::app::Function;
use crate::report::{Fault, Operation};
use crate::sessions::settings::SessionSettings;
use crate::sqlite;

/// Faults of the disk are that much rarer than others, since transactions have about so many operations of the disk.
const DISK_OPERATIONS: f64 = 8.0;

/// The drawn settings of one world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed that all of this and everything after it follows from.
    pub seed: u64,
    /// Concurrent clients.
    pub clients: usize,
    /// Operations that each client runs to an end.
    pub operations: usize,
    /// Weight of each operation; zero leaves it out.
    pub weights: Vec<(Operation, u32)>,
    /// Distinct values of the indexed field: few means many conflicts.
    pub keys: i64,
    /// Longest ordinary disk operation.
    pub disk_latency: Duration,
    /// Longest way between client and server.
    pub network_latency: Duration,
    /// Chance of each fault, at each point where it could happen; zero leaves it out.
    pub faults: Vec<(Fault, f64)>,
    /// Mean time between crashes of the server and between jumps of its clock.
    pub disturbance: Duration,
    /// What clients are.
    pub kind: Kind,
    /// For worlds with sessions.
    pub sessions: SessionSettings,
    /// How the server uses SQLite, if that is its storage.
    pub sqlite: Option<sqlite::Use>,
    /// How soon old versions go, where [`Fault::RetentionRace`] may happen; see [`Self::retention`].
    pub versions: Retention,
    /// What was changed of the drawn settings.
    pub restrictions: Vec<Restriction>,
}

/// How soon old versions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long they are kept.
    pub window: Duration,
    /// How far back snapshots of the past are given out.
    pub recent: Duration,
    /// How long some transactions wait before each of their reads.
    pub pause: Duration,
}

impl Retention {
    /// Draws one in which versions go soon, from numbers of its own.
    fn draw(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed ^ 0x000d_e1e7_e000);
        let mut millis = |most: u32| Duration::from_millis((1 << rng.u32(..most)) - 1);
        Self {
            window: millis(8),
            recent: millis(9),
            pause: millis(6),
        }
    }
}

/// What the clients of a world are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They run transactions in the server.
    Transactions,
    /// They call functions and watch queries over the network.
    Sessions,
}

/// Something less than was drawn: how a failing world is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// So many clients.
    Clients(usize),
    /// So many operations of each client.
    Operations(usize),
    /// Distinct values of the indexed field.
    Keys(i64),
    /// Without this operation.
    WithoutOperation(Operation),
    /// Without this function.
    WithoutFunction(Function),
    /// Without this fault.
    WithoutFault(Fault),
}

impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Restriction::Clients(clients) => write!(f, "clients={clients}"),
            Restriction::Operations(operations) => write!(f, "operations={operations}"),
            Restriction::Keys(keys) => write!(f, "keys={keys}"),
            Restriction::WithoutOperation(operation) => write!(f, "-{operation:?}"),
            Restriction::WithoutFunction(function) => write!(f, "-{function:?}"),
            Restriction::WithoutFault(fault) => write!(f, "-{fault:?}"),
        }
    }
}

impl FromStr for Restriction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown =
            || format!("{text:?} is no restriction: try clients=1, operations=5, keys=2 or -Crash");
        if let Some(name) = text.strip_prefix('-') {
            let is_named = |candidate: &dyn fmt::Debug| format!("{candidate:?}") == name;
            let operation = Operation::ALL
                .into_iter()
                .find(|operation| is_named(operation));
            let function = Function::ALL
                .into_iter()
                .find(|function| is_named(function));
            let fault = Fault::ALL.into_iter().find(|fault| is_named(fault));
            return operation
                .map(Restriction::WithoutOperation)
                .or(function.map(Restriction::WithoutFunction))
                .or(fault.map(Restriction::WithoutFault))
                .ok_or_else(unknown);
        }
        let (name, value) = text.split_once('=').ok_or_else(unknown)?;
        let value: u32 = value.parse().map_err(|_| unknown())?;
        match name {
            "clients" => Ok(Restriction::Clients(value as usize)),
            "operations" => Ok(Restriction::Operations(value as usize)),
            "keys" => Ok(Restriction::Keys(value.max(1).into())),
            _ => Err(unknown()),
        }
    }
}

impl Settings {
    /// Draws a world.
    pub fn draw(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let weights = Operation::ALL
            .iter()
            .map(|operation| {
                let weight = if rng.u8(..3) == 0 {
                    0
                } else {
                    1 << rng.u32(..7)
                };
                (*operation, weight)
            })
            .collect();
        let faults = Fault::ALL
            .iter()
            .map(|fault| {
                // From one in ten to one in a few hundred.
                let mut rate = 0.1 * 0.02f64.powf(rng.f64());
                if fault.is_of_disk() {
                    rate /= DISK_OPERATIONS;
                }
                (*fault, if rng.bool() { rate } else { 0.0 })
            })
            .collect();
        let mut settings = Self {
            seed,
            clients: rng.usize(1..=6),
            operations: rng.usize(15..=60),
            weights,
            keys: 1 << rng.u32(1..6),
            disk_latency: Duration::from_micros(rng.u64(20..5_000)),
            network_latency: Duration::from_micros(rng.u64(10..20_000)),
            faults,
            disturbance: Duration::from_millis(8 << rng.u32(..7)),
            kind: Kind::Transactions,
            sessions: SessionSettings::draw(rng),
            sqlite: None,
            versions: Retention::draw(seed),
            restrictions: Vec::new(),
        };
        if rng.bool() {
            settings.sqlite = Some(sqlite::Use::draw(rng));
            // It has no checksums of pages, so that it cannot do its duty then; see `sqlite`.
            settings.set_chance(Fault::BitFlip, 0.0);
        }
        if rng.u8(..4) == 0 {
            settings.kind = Kind::Sessions;
            settings.clients = rng.usize(1..=4);
            settings.operations = rng.usize(6..=20);
        }
        settings
    }

    /// The same world with less in it.
    pub fn restrict(mut self, restriction: Restriction) -> Self {
        match restriction {
            Restriction::Clients(clients) => self.clients = clients,
            Restriction::Operations(operations) => self.operations = operations,
            Restriction::Keys(keys) => self.keys = keys,
            Restriction::WithoutOperation(operation) => {
                let weights = self.weights.iter_mut();
                weights
                    .filter(|(candidate, _)| *candidate == operation)
                    .for_each(|(_, weight)| *weight = 0);
            }
            Restriction::WithoutFunction(function) => {
                let weights = self.sessions.weights.iter_mut();
                weights
                    .filter(|(candidate, _)| *candidate == function)
                    .for_each(|(_, weight)| *weight = 0);
            }
            Restriction::WithoutFault(fault) => self.set_chance(fault, 0.0),
        }
        let kind = std::mem::discriminant(&restriction);
        let is_number = matches!(
            restriction,
            Restriction::Clients(_) | Restriction::Operations(_) | Restriction::Keys(_)
        );
        self.restrictions
            .retain(|old| !is_number || std::mem::discriminant(old) != kind);
        self.restrictions.push(restriction);
        self
    }

    /// The settings that `SIM_SEED` and `SIM_WITH` name in a report: the world of a seed, restricted.
    ///
    /// # Errors
    /// If a restriction is not understood.
    pub fn replay(seed: u64, restrictions: &str) -> Result<Self, String> {
        let words = restrictions.split(',').map(str::trim);
        words
            .filter(|word| !word.is_empty())
            .try_fold(Self::draw(seed), |settings, word| {
                Ok(settings.restrict(word.parse()?))
            })
    }

    /// The restrictions, as [`Self::replay`] reads them.
    pub fn restrictions_text(&self) -> String {
        let words: Vec<_> = self
            .restrictions
            .iter()
            .map(Restriction::to_string)
            .collect();
        words.join(",")
    }

    /// The chance of a fault.
    pub fn chance(&self, fault: Fault) -> f64 {
        self.faults
            .iter()
            .find(|(candidate, _)| *candidate == fault)
            .map_or(0.0, |(_, chance)| *chance)
    }

    /// How soon old versions go, if they do.
    pub fn retention(&self) -> Option<Retention> {
        (self.chance(Fault::RetentionRace) > 0.0).then_some(self.versions)
    }

    fn set_chance(&mut self, fault: Fault, chance: f64) {
        for (candidate, old) in &mut self.faults {
            if *candidate == fault {
                *old = chance;
            }
        }
    }

    /// Draws an operation by weight.
    pub fn operation(&self, rng: &mut Rng) -> Operation {
        let total: u32 = self.weights.iter().map(|(_, weight)| weight).sum();
        if total == 0 {
            return Operation::ALL[rng.usize(..Operation::ALL.len())];
        }
        let mut ticket = rng.u32(..total);
        for (operation, weight) in &self.weights {
            match ticket.checked_sub(*weight) {
                Some(rest) => ticket = rest,
                None => return *operation,
            }
        }
        unreachable!("the ticket is below the sum of the weights")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restrictions_are_read_as_they_are_written() {
        let settings = Settings::draw(1)
            .restrict(Restriction::Clients(4))
            .restrict(Restriction::Clients(2))
            .restrict(Restriction::Operations(7))
            .restrict(Restriction::Keys(1))
            .restrict(Restriction::WithoutFault(Fault::Crash))
            .restrict(Restriction::WithoutOperation(Operation::Append));
        let text = settings.restrictions_text();
        assert_eq!(text, "clients=2,operations=7,keys=1,-Crash,-Append");
        let again = Settings::replay(1, &text).unwrap();
        assert_eq!(format!("{settings:?}"), format!("{again:?}"));
        assert_eq!((again.clients, again.operations, again.keys), (2, 7, 1));
        assert_eq!(again.chance(Fault::Crash), 0.0);
        for wrong in ["clients", "clients=x", "-Crush", "size=3"] {
            assert!(Settings::replay(1, wrong).is_err(), "{wrong}");
        }
    }
}
