//! A world together with the call that it is lent to, and where worlds are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use concave_core::engine::{Evaluation, Failure, FunctionCall, Program, Reply, SyncHost, Turn};
use serde_json::Value as Json;

use super::call::{Call, Progress, Surroundings};
use super::evaluate::evaluate;
use super::over;
use super::world::World;
use crate::SourceMaps;

/// A world, and the call under way in it.
pub struct Seat<W: World> {
    // Before the world: its values go first.
    call: Option<Box<Call<W::Value>>>,
    world: W,
    /// Variables of the program last used, shared by its calls.
    environment: Option<(u64, Arc<BTreeMap<String, String>>)>,
}

impl<W: World> Seat<W> {
    /// A seat without a call.
    pub fn new(world: W) -> Self {
        Self {
            call: None,
            world,
            environment: None,
        }
    }

    /// The world.
    pub fn world(&mut self) -> &mut W {
        &mut self.world
    }

    /// The world, to look at.
    pub fn peek(&self) -> &W {
        &self.world
    }

    /// Whether no call is under way.
    pub fn is_free(&self) -> bool {
        self.call.is_none()
    }

    /// Begins a call and runs its first turn. If another call is under way, that ends.
    pub(crate) fn begin(
        &mut self,
        request: FunctionCall,
        sync: Arc<dyn SyncHost>,
        cancelled: Arc<AtomicBool>,
        maps: &Arc<SourceMaps>,
        real_time: bool,
    ) -> Turn {
        self.call = None;
        let surroundings = Surroundings {
            sync,
            cancelled,
            env: self.variables(&request.program),
            real_time,
        };
        let progress = Call::begin(&mut self.world, request, surroundings, maps);
        self.after(progress)
    }

    /// Runs the next turn of the call under way.
    pub(crate) fn resume(&mut self, replies: &[Reply], maps: &Arc<SourceMaps>) -> Turn {
        let Some(call) = self.call.take() else {
            return over(Failure::new("The call is over or was abandoned."));
        };
        let progress = call.resume(&mut self.world, replies, maps);
        self.after(progress)
    }

    fn after(&mut self, progress: Progress<W::Value>) -> Turn {
        match progress {
            Progress::Waiting(call, turn) => {
                self.call = Some(call);
                turn
            }
            Progress::Done(turn) => turn,
        }
    }

    /// Evaluates modules as they are pushed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn evaluate(
        &mut self,
        program: &Arc<Program>,
        evaluation: &Evaluation,
        maps: &Arc<SourceMaps>,
    ) -> Result<Json, Failure> {
        evaluate(&mut self.world, program, evaluation, maps)
    }

    /// Ends the call, if one is under way, and lets go of what belongs to it.
    pub fn release(&mut self) {
        self.call = None;
        self.world.host().release();
    }

    fn variables(&mut self, program: &Program) -> Arc<BTreeMap<String, String>> {
        match &self.environment {
            Some((id, variables)) if *id == program.id => variables.clone(),
            _ => {
                let variables = Arc::new(program.environment_variables.clone());
                self.environment = Some((program.id, variables.clone()));
                variables
            }
        }
    }
}

/// Where a seat is, and how work gets to it.
pub trait Place: Send + Sized + 'static {
    /// What kind of world is there.
    type World: World;

    /// Runs `work` on the seat, soon and on whatever thread the world wants, and hands the place back through `after`.
    /// The world is made first if need be; if that fails, `work` gets the reason. If the place ends instead, neither
    /// is called.
    fn run<R, Work, After>(self, work: Work, after: After)
    where
        R: Send + 'static,
        Work: FnOnce(Result<&mut Seat<Self::World>, Failure>) -> R + Send + 'static,
        After: FnOnce(Self, R) + Send + 'static;

    /// Whether a call of this module can begin at little cost.
    fn is_ready_for(&self, program: u64, module: &str) -> bool;

    /// Ends the call under way and lets go of what belongs to it, soon.
    fn release(&mut self);
}
