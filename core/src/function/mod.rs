//! Function calls: what a call is allowed to do, how its arguments and results are checked, and how its system calls
//! act on a transaction. Everything here is synchronous; [`crate::driver`] runs it.

mod arguments;
mod call;
mod entry;
mod warnings;
mod write;

use std::time::Duration;

pub use arguments::{Arguments, argument_error};
pub use call::{CallCell, CallState, request_metadata};
pub use entry::{
    Access, canonical_result, check_arguments, find_function, missing_function, single_argument,
    wrong_kind,
};
pub use warnings::{RANGES_READ_WARNING, Spent, warnings};
pub use write::{check_schema, patch};

use crate::engine::{FunctionKind, Limits};

/// Time that a query or mutation may spend in JavaScript.
pub const TRANSACTION_CPU: Duration = Duration::from_secs(1);
/// Time that a query or mutation may take as a whole, database included.
pub const TRANSACTION_TIME: Duration = Duration::from_secs(15);
/// Time that an action may spend in JavaScript.
pub const ACTION_CPU: Duration = Duration::from_secs(60);
/// Time that an action may take as a whole.
pub const ACTION_TIME: Duration = Duration::from_secs(30 * 60);
/// JavaScript heap of one call, bytes.
pub const MEMORY: usize = 64 << 20;
/// Native stack for JavaScript frames, bytes.
pub const STACK: usize = 512 << 10;
/// Arguments and results, bytes.
pub const VALUE_BYTES_MAX: usize = 16 << 20;
/// Depth of `ctx.runQuery` and `ctx.runMutation` within each other.
pub const DEPTH_MAX: u32 = 8;

/// The bounds of a call of that kind.
pub fn limits(kind: FunctionKind) -> Limits {
    let cpu = match kind {
        FunctionKind::Query | FunctionKind::Mutation => TRANSACTION_CPU,
        FunctionKind::Action => ACTION_CPU,
    };
    Limits {
        cpu,
        memory: MEMORY,
        stack: STACK,
    }
}
