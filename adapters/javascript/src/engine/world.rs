//! What an engine provides: a world in which JavaScript runs, with few and small operations. All that Convex means by
//! calling a function is made of them, in the same way for every engine.

use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::{Cause, Failure, Program, SystemError};
use serde_json::Value as Json;

use super::host::{CallHost, Ending};
use crate::text::{HALVES, has_halves, without_halves};
use crate::{Columns, HostInputs, SourceMaps};

/// Longest message of a failure, bytes.
const MESSAGE_MAX: usize = 64 << 10;
/// Heap for importing modules.
const IMPORT_BYTES: usize = 64 << 20;
/// Native stack for JavaScript while importing.
const IMPORT_STACK: usize = 512 << 10;

/// The functions by which programs are called and examined; see `js/convex.js`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Calls an exported function.
    Invoke,
    /// Lists a module's functions.
    Functions,
    /// Lists the routes of `http.js`.
    Routes,
    /// Lists the jobs of `crons.js`.
    Crons,
    /// Gives the exported schema.
    Schema,
    /// Gives the exported auth configuration.
    AuthConfig,
    /// Gives the exported definition of an app or component.
    Definition,
    /// Describes what was thrown.
    Describe,
    /// Makes the exception for a failed system call.
    SystemError,
}

impl Entry {
    /// All of them, each at the index `entry as usize`.
    pub const ALL: [Entry; 9] = [
        Entry::Invoke,
        Entry::Functions,
        Entry::Routes,
        Entry::Crons,
        Entry::Schema,
        Entry::AuthConfig,
        Entry::Definition,
        Entry::Describe,
        Entry::SystemError,
    ];

    /// Its name in `__concave`.
    pub fn name(self) -> &'static str {
        match self {
            Entry::Invoke => "invoke",
            Entry::Functions => "functions",
            Entry::Routes => "routes",
            Entry::Crons => "crons",
            Entry::Schema => "schema",
            Entry::AuthConfig => "authConfig",
            Entry::Definition => "definition",
            Entry::Describe => "describe",
            Entry::SystemError => "systemError",
        }
    }
}

/// Bounds of what runs next.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// JavaScript's time.
    pub time: Duration,
    /// JavaScript's heap, bytes.
    pub memory: usize,
    /// JavaScript's native stack, bytes.
    pub stack: usize,
}

impl Bounds {
    /// For importing and examining modules.
    pub fn import(time: Duration) -> Self {
        Self {
            time,
            memory: IMPORT_BYTES,
            stack: IMPORT_STACK,
        }
    }

    /// How a call fails that ran into one of these bounds, or was ended otherwise.
    pub fn failure(&self, ending: &Ending) -> Failure {
        let message = match ending {
            Ending::TimedOut => format!(
                "Function execution timed out (maximum duration: {}s)",
                self.time.as_secs_f64()
            ),
            Ending::OutOfMemory => format!(
                "JavaScript execution ran out of memory (maximum memory usage: {} MB)",
                self.memory >> 20
            ),
            Ending::Cancelled => "The call was abandoned by its caller.".to_owned(),
            Ending::Fatal(message) => message.clone(),
        };
        Failure {
            cause: match ending {
                Ending::TimedOut | Ending::Cancelled => Cause::Time,
                Ending::OutOfMemory | Ending::Fatal(_) => Cause::Code,
            },
            ..Failure::new(message)
        }
    }
}

/// The state of a promise.
pub enum Settled<V> {
    /// Not settled.
    Pending,
    /// With this value.
    Fulfilled(V),
    /// For this reason.
    Rejected(V),
}

/// An argument of a JavaScript function.
#[derive(Clone, Copy)]
pub enum Argument<'a, V> {
    /// A value of the world.
    Value(&'a V),
    /// A string.
    Text(&'a str),
}

/// What a function returned, or what it threw.
pub type Completion<V> = Result<V, V>;

/// A JavaScript world with the prelude. Used by one thread at a time, for one call at a time.
///
/// Whatever may run user code fails with the [`Ending`] if the call has to end; the world must then be entered again
/// before anything else runs.
pub trait World: Sized + 'static {
    /// A value of JavaScript. It means nothing once the world is entered again.
    type Value: Clone;
    /// What settles the promise of a system call.
    type Pending;
    /// What columns in stacks and positions are counted in.
    const COLUMNS: Columns;

    /// The state on Rust's side.
    fn host(&mut self) -> &mut CallHost<Self::Pending>;

    /// The bounds of importing and examining modules.
    fn importing(&self) -> Bounds;

    /// Makes the world what it was after the prelude, without a program and with the bounds of importing.
    ///
    /// # Errors
    /// If the system has no memory for it.
    fn clear(&mut self) -> Result<(), Failure>;

    /// Makes the world what it is right after [`import`] of a module for a call, with the bounds of that call, and
    /// gives the module's namespace.
    ///
    /// # Errors
    /// Why the import fails.
    fn enter(
        &mut self,
        program: &Arc<Program>,
        module: &str,
        bounds: Bounds,
        maps: &Arc<SourceMaps>,
    ) -> Result<Self::Value, Failure>;

    /// To be called before JavaScript runs on this thread, with the time that it may take.
    fn begin_turn(&mut self, time: Duration);

    /// Begins to load and evaluate a module of the program; gives a promise that is settled when that is done.
    ///
    /// # Errors
    /// Why the call had to end.
    fn load(&mut self, module: &str) -> Result<Completion<Self::Value>, Ending>;

    /// The namespace of the module last loaded, given what the promise was fulfilled with.
    fn loaded(&mut self, value: Self::Value) -> Self::Value;

    /// Calls an entry point.
    ///
    /// # Errors
    /// Why the call had to end.
    fn call(
        &mut self,
        entry: Entry,
        args: &[Argument<'_, Self::Value>],
    ) -> Result<Completion<Self::Value>, Ending>;

    /// Fulfills the promise of a system call with text, or rejects it.
    ///
    /// # Errors
    /// Why the call had to end.
    fn settle(
        &mut self,
        pending: Self::Pending,
        result: Result<&str, Self::Value>,
    ) -> Result<(), Ending>;

    /// Runs promise jobs until none is left.
    ///
    /// # Errors
    /// Why the call had to end.
    fn drain(&mut self) -> Result<(), Ending>;

    /// How a promise stands; any other value stands for itself.
    fn settled(&mut self, promise: &Self::Value) -> Settled<Self::Value>;

    /// Why the first rejected promise without a handler, other than `except`, was rejected.
    fn unhandled_rejection(&mut self, except: Option<&Self::Value>) -> Option<Self::Value>;

    /// The text of a string; nothing of other values, or if there is no memory for it.
    fn text(&mut self, value: &Self::Value) -> Option<String>;

    /// Largest heap of the present call, bytes.
    fn memory_max(&mut self) -> usize;
}

/// Imports a module into a world without a program; gives its namespace.
///
/// # Errors
/// Why the import fails.
pub fn import<W: World>(
    world: &mut W,
    inputs: HostInputs,
    program: &Arc<Program>,
    module: &str,
    maps: &Arc<SourceMaps>,
) -> Result<W::Value, Failure> {
    world.clear()?;
    world.host().reset(inputs, program.clone(), maps.clone());
    let bounds = world.importing();
    world.begin_turn(bounds.time);
    let loaded = world
        .load(module)
        .and_then(|loaded| world.drain().map(|()| loaded))
        .map_err(|ending| bounds.failure(&ending))?;
    let promise = match loaded {
        Ok(promise) => promise,
        Err(thrown) => return Err(describe(world, &thrown, program, maps, bounds)),
    };
    match world.settled(&promise) {
        Settled::Fulfilled(value) => match world.unhandled_rejection(None) {
            Some(reason) => Err(describe(world, &reason, program, maps, bounds)),
            None => Ok(world.loaded(value)),
        },
        Settled::Rejected(reason) => Err(describe(world, &reason, program, maps, bounds)),
        Settled::Pending => Err(Failure::new(format!(
            "The module {module} awaits something at its top level: top-level awaits are unsupported."
        ))),
    }
}

/// Calls an entry point that returns text, while modules are examined.
///
/// # Errors
/// What it throws, or why it had to end.
pub(crate) fn call_for_text<W: World>(
    world: &mut W,
    entry: Entry,
    args: &[Argument<'_, W::Value>],
    program: &Program,
    maps: &Arc<SourceMaps>,
) -> Result<String, Failure> {
    let bounds = world.importing();
    match world
        .call(entry, args)
        .map_err(|ending| bounds.failure(&ending))?
    {
        Ok(value) => match world.text(&value) {
            Some(text) if has_halves(&text) => Err(Failure::new(format!(
                "The exported definition is invalid: {HALVES}."
            ))),
            Some(text) => Ok(text),
            None => Err(Failure::new("The exported definition is not JSON text.")),
        },
        Err(thrown) => Err(describe(world, &thrown, program, maps, bounds)),
    }
}

/// Rejects the promise of a system call.
///
/// # Errors
/// Why the call had to end.
pub(crate) fn reject<W: World>(
    world: &mut W,
    pending: W::Pending,
    error: &SystemError,
) -> Result<(), Ending> {
    if error.fatal {
        return Err(Ending::Fatal(error.message.clone()));
    }
    let data = error.data.as_ref().map(ToString::to_string);
    let mut args = vec![Argument::Text(error.message.as_str())];
    args.extend(data.as_deref().map(Argument::Text));
    // Making the error can itself throw, for want of stack; then that is the reason.
    let (Ok(reason) | Err(reason)) = world.call(Entry::SystemError, &args)?;
    world.settle(pending, Err(reason))
}

/// Describes what was thrown.
pub(crate) fn describe<W: World>(
    world: &mut W,
    thrown: &W::Value,
    program: &Program,
    maps: &Arc<SourceMaps>,
    bounds: Bounds,
) -> Failure {
    let described = match world.call(Entry::Describe, &[Argument::Value(thrown)]) {
        Ok(Ok(value)) => world.text(&value),
        Ok(Err(_)) => None,
        Err(ending) => return bounds.failure(&ending),
    };
    let described: Option<Json> =
        described.and_then(|text| serde_json::from_str(&without_halves(&text)).ok());
    let Some(described) = described else {
        // Only a lack of stack or memory keeps the description from succeeding.
        return Failure::new("Uncaught RangeError: Maximum call stack size exceeded");
    };
    let text = |field: &str| described[field].as_str();
    let mut message = text("message").unwrap_or("Uncaught Error").to_owned();
    // Only errors of the engine's own have a class and a message that says nothing else.
    if let (Some(class), Some(own)) = (text("class"), text("own"))
        && let Some(better) = maps.message(program, own, text("stack").unwrap_or(""))
    {
        message = format!("Uncaught {class}: {better}");
    }
    let mut failure = Failure::new(&message[..message.floor_char_boundary(MESSAGE_MAX)]);
    let constructors: Vec<&str> = described["constructors"]
        .as_array()
        .map(|names| names.iter().filter_map(Json::as_str).collect())
        .unwrap_or_default();
    failure.frames = maps.frames(program, text("stack").unwrap_or(""), &constructors);
    if let Some(data) = text("data") {
        let decoded = serde_json::from_str(&without_halves(data))
            .map_err(|error| error.to_string())
            .and_then(|data: Json| {
                concave_core::Value::from_json(data.clone())
                    .map(|_| data)
                    .map_err(|error| error.message)
            });
        match decoded {
            Ok(data) => failure.data = Some(data),
            Err(why) => failure.message = format!("ConvexError with invalid data: {why}"),
        }
    }
    failure
}
