//! What a seed draws before the world begins: its size, its mix of operations, its faults.
//!
//! Swarm testing (Groce et al., "Swarm Testing", 2012): each seed leaves some operations and some faults out
//! altogether and gives the others very different rates, since a uniform mix of everything seldom gets deep into
//! anything.

use std::time::Duration;

use fastrand::Rng;

use crate::report::{Fault, Operation};

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
                let rate = 0.1 * 0.02f64.powf(rng.f64());
                (*fault, if rng.bool() { rate } else { 0.0 })
            })
            .collect();
        Self {
            seed,
            clients: rng.usize(1..=6),
            operations: rng.usize(15..=60),
            weights,
            keys: 1 << rng.u32(1..6),
            disk_latency: Duration::from_micros(rng.u64(20..5_000)),
            network_latency: Duration::from_micros(rng.u64(10..20_000)),
            faults,
            disturbance: Duration::from_millis(8 << rng.u32(..7)),
        }
    }

    /// The chance of a fault.
    pub fn chance(&self, fault: Fault) -> f64 {
        self.faults
            .iter()
            .find(|(candidate, _)| *candidate == fault)
            .map_or(0.0, |(_, chance)| *chance)
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
