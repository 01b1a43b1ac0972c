//! Where a world is: on whichever worker runs its turn, and otherwise nowhere in particular.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::Failure;
use concave_javascript::engine::{Place, Seat};

use crate::workers::Workers;
use crate::world::{World, no_memory};

/// A seat that goes from worker to worker.
pub(crate) struct QuickJsPlace {
    workers: Arc<Workers>,
    /// Made by the first run.
    seat: Option<Seat<World>>,
    image_bytes: usize,
    import_time: Duration,
}

// SAFETY: all that a seat's values point to belongs to its world, which may go to another thread; they go together.
unsafe impl Send for QuickJsPlace {}

impl QuickJsPlace {
    /// A place whose world keeps images of so many bytes and gives modules so much time when they are imported.
    pub(crate) fn new(workers: Arc<Workers>, image_bytes: usize, import_time: Duration) -> Self {
        Self {
            workers,
            seat: None,
            image_bytes,
            import_time,
        }
    }

    fn seat(&mut self) -> Result<&mut Seat<World>, Failure> {
        match &mut self.seat {
            Some(seat) => Ok(seat),
            empty => {
                let world = World::new(self.image_bytes, self.import_time).map_err(no_memory)?;
                Ok(empty.insert(Seat::new(world)))
            }
        }
    }
}

impl Place for QuickJsPlace {
    type World = World;

    fn run<R, Work, After>(mut self, work: Work, after: After)
    where
        R: Send + 'static,
        Work: FnOnce(Result<&mut Seat<World>, Failure>) -> R + Send + 'static,
        After: FnOnce(Self, R) + Send + 'static,
    {
        let workers = self.workers.clone();
        workers.run(move || {
            let result = work(self.seat());
            if let Some(seat) = &mut self.seat
                && seat.is_free()
            {
                seat.world().trim();
            }
            after(self, result);
        });
    }

    fn is_ready_for(&self, program: u64, module: &str) -> bool {
        let seat = self.seat.as_ref();
        seat.is_some_and(|seat| seat.peek().is_ready_for(program, module))
    }

    fn release(&mut self) {
        if let Some(seat) = &mut self.seat {
            let is_abandoned = !seat.is_free();
            seat.release();
            if is_abandoned {
                seat.world().trim();
            }
        }
    }
}
