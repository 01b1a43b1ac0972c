//! What a world with sessions draws besides.

use std::time::Duration;

use fastrand::Rng;

use crate::app::Function;
use crate::network::Sizes;

/// What a world with sessions draws besides.
#[derive(Clone, Debug)]
pub struct SessionSettings {
    /// Weight of each function; zero leaves it out.
    pub weights: Vec<(Function, u32)>,
    /// Mean time between two things that a client does.
    pub think: Duration,
    /// Longest time that a function computes between two system calls.
    pub pace: Duration,
    /// What the network allows a connection.
    pub sizes: Sizes,
    /// Mean time between pushes.
    pub pushes: Duration,
}

impl SessionSettings {
    /// Draws them.
    pub fn draw(rng: &mut Rng) -> Self {
        // A generator beside the other one: what that draws after it stays as it is.
        let mut of_jobs = Rng::with_seed(rng.clone().u64(..));
        let weights = Function::ALL.iter().map(|function| {
            let rng = match function.is_of_jobs() {
                true => &mut of_jobs,
                false => &mut *rng,
            };
            let weight = if rng.u8(..4) == 0 {
                0
            } else {
                1 << rng.u32(..5)
            };
            (*function, weight)
        });
        Self {
            weights: weights.collect(),
            think: Duration::from_millis(10 << rng.u32(..6)),
            pace: Duration::from_micros(100 << rng.u32(..8)),
            sizes: Sizes {
                segment: 64 << rng.u32(..5),
                send_buffer: 256 << rng.u32(..7),
                window: 256 << rng.u32(..7),
            },
            pushes: Duration::from_millis(50 << rng.u32(..6)),
        }
    }

    /// Draws a function by weight.
    pub fn function(&self, rng: &mut Rng) -> Function {
        draw(rng, &self.weights).unwrap_or(Function::Increment)
    }
}

/// Draws by weight; `None` if all are zero.
fn draw<T: Copy>(rng: &mut Rng, weights: &[(T, u32)]) -> Option<T> {
    let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
    let mut ticket = rng.u32(..total.max(1));
    for (choice, weight) in weights {
        match ticket.checked_sub(*weight) {
            Some(rest) => ticket = rest,
            None => return Some(*choice),
        }
    }
    None
}
