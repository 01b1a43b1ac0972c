//! The app that is deployed in worlds with sessions: functions with known meaning, each with a twin on a model.
//!
//! [`functions`] are what the server runs; [`twin`] says what each of them does to the database and gives back, by
//! looking at all documents. Every mutation writes a receipt with the token that its client chose for it, its path and
//! its arguments, so that a commit in the log tells by itself what it should have done.

pub mod deploy;
pub mod faults;
mod functions;
mod jobs;
pub mod twin;

use concave_core::Value;
use concave_core::engine::FunctionKind;
use fastrand::Rng;
use serde_json::{Value as Json, json};

pub use functions::engine;

/// Bank accounts that are there from the start, and what each of them holds.
pub const ACCOUNTS: u32 = 4;
/// See [`ACCOUNTS`].
pub const BALANCE: f64 = 50.0;
/// Lists that clients append to.
const LISTS: u32 = 3;
/// Of so many of the newest jobs one is canceled.
pub const CANCELABLE: usize = 4;
/// What is scheduled by what was scheduled last.
pub const LAST_CHILD: &str = "lists:append";
/// What clients have scheduled. Some of them schedule in their turn.
const CHILDREN: [Function; 7] = [
    Function::Append,
    Function::Refuse,
    Function::Relay,
    Function::ScheduleAndRefuse,
    Function::ScheduleNested,
    Function::ScheduleFromAction,
    Function::Cancel,
];

/// What clients call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// Appends to a list, which it creates if it is not there.
    Append,
    /// Moves money between two accounts; the sum is constant.
    Transfer,
    /// Inserts a row if a range of the index holds none.
    InsertUnique,
    /// Moves rows of a range to another key.
    MoveRows,
    /// Deletes rows of a range.
    ClearRows,
    /// Adds to a queue.
    Push,
    /// Takes the first from a queue.
    Pop,
    /// Adds one to the number that everybody adds to.
    Increment,
    /// Writes, and then throws.
    Refuse,
    /// Calls two mutations within its transaction, of which one throws.
    Nest,
    /// Inserts a row that the strict schema forbids.
    Break,
    /// Schedules a function, which may schedule another one.
    Schedule,
    /// Schedules in two mutations within its transaction, of which one throws.
    ScheduleNested,
    /// Schedules, and then throws.
    ScheduleAndRefuse,
    /// Cancels one of the newest scheduled functions.
    Cancel,
    /// An action: calls queries and mutations one after another.
    Relay,
    /// An action: schedules, by itself or by a mutation.
    ScheduleFromAction,
    /// Reads a list.
    List,
    /// Reads all accounts.
    Audit,
    /// Reads a range of rows.
    Rows,
    /// Reads rows by an index that comes and goes.
    RowsByValue,
    /// Reads the beginning of the queue.
    Queue,
    /// Reads the number.
    Counter,
    /// Reads a page of rows.
    Page,
    /// Looks for a receipt.
    Has,
    /// Reads a table from end to end.
    Count,
    /// Reads in which state all scheduled functions are.
    Jobs,
}

impl Function {
    /// All of them.
    pub const ALL: [Function; 27] = [
        Function::Append,
        Function::Transfer,
        Function::InsertUnique,
        Function::MoveRows,
        Function::ClearRows,
        Function::Push,
        Function::Pop,
        Function::Increment,
        Function::Refuse,
        Function::Nest,
        Function::Break,
        Function::Schedule,
        Function::ScheduleNested,
        Function::ScheduleAndRefuse,
        Function::Cancel,
        Function::Relay,
        Function::ScheduleFromAction,
        Function::List,
        Function::Audit,
        Function::Rows,
        Function::RowsByValue,
        Function::Queue,
        Function::Counter,
        Function::Page,
        Function::Has,
        Function::Count,
        Function::Jobs,
    ];

    /// The function of a path.
    pub fn of_path(path: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|function| function.path() == path)
    }

    /// Whether it is about scheduled functions.
    pub fn is_of_jobs(self) -> bool {
        use Function::*;
        matches!(
            self,
            Schedule | ScheduleNested | ScheduleAndRefuse | Cancel | ScheduleFromAction | Jobs
        )
    }

    /// The path by which it is called.
    pub fn path(self) -> &'static str {
        match self {
            Function::Append => "lists:append",
            Function::Transfer => "bank:transfer",
            Function::InsertUnique => "rows:insertUnique",
            Function::MoveRows => "rows:move",
            Function::ClearRows => "rows:clear",
            Function::Push => "queue:push",
            Function::Pop => "queue:pop",
            Function::Increment => "counter:increment",
            Function::Refuse => "lists:refuse",
            Function::Nest => "lists:nest",
            Function::Break => "rows:break",
            Function::Schedule => "jobs:schedule",
            Function::ScheduleNested => "jobs:nest",
            Function::ScheduleAndRefuse => "jobs:refuse",
            Function::Cancel => "jobs:cancel",
            Function::Relay => "actions:relay",
            Function::ScheduleFromAction => "actions:schedule",
            Function::List => "lists:get",
            Function::Audit => "bank:audit",
            Function::Rows => "rows:range",
            Function::RowsByValue => "rows:byValue",
            Function::Queue => "queue:first",
            Function::Counter => "counter:get",
            Function::Page => "rows:page",
            Function::Has => "receipts:has",
            Function::Count => "receipts:count",
            Function::Jobs => "jobs:list",
        }
    }

    /// What it may do.
    pub fn kind(self) -> FunctionKind {
        match self {
            Function::Relay | Function::ScheduleFromAction => FunctionKind::Action,
            _ if self < Function::Relay => FunctionKind::Mutation,
            _ => FunctionKind::Query,
        }
    }

    /// Draws arguments. `token` names the call, `keys` is the number of keys of rows.
    pub fn arguments(self, rng: &mut Rng, token: &str, keys: i64) -> Json {
        let keys = u32::try_from(keys).unwrap_or(2).max(2);
        let from = rng.u32(..keys);
        let to = from + rng.u32(1..=keys);
        let (from, to) = (f64::from(from), f64::from(to));
        let list = format!("l{}", rng.u32(..LISTS));
        let key = f64::from(rng.u32(..keys));
        let value = f64::from(rng.u32(..4));
        let order = if rng.bool() { "asc" } else { "desc" };
        let limit = f64::from(rng.u32(1..8));
        let account = rng.u32(..ACCOUNTS);
        let other = (account + rng.u32(1..ACCOUNTS)) % ACCOUNTS;
        match self {
            Function::Append | Function::Refuse | Function::Nest | Function::Relay => {
                json!({ "token": token, "list": list })
            }
            Function::Transfer => json!({
                "token": token, "from": f64::from(account), "to": f64::from(other), "amount": key + 1.0,
            }),
            Function::InsertUnique => {
                json!({ "token": token, "from": from, "to": to, "value": value })
            }
            Function::MoveRows => json!({ "token": token, "from": from, "to": to, "key": key }),
            Function::ClearRows => {
                json!({ "token": token, "from": from, "to": to, "limit": limit })
            }
            Function::Push => json!({ "token": token, "priority": value }),
            Function::Pop | Function::Increment => json!({ "token": token }),
            Function::Break => json!({ "token": token, "key": key }),
            Function::Schedule
            | Function::ScheduleNested
            | Function::ScheduleAndRefuse
            | Function::ScheduleFromAction => {
                let after = match rng.u8(..4) {
                    0 => 0.0,
                    1 => -f64::from(rng.u32(..10_000)),
                    2 => f64::from(rng.u32(..300)),
                    _ => f64::from(rng.u32(..5_000)),
                };
                let child = CHILDREN[rng.usize(..CHILDREN.len())].path();
                json!({
                    "token": token, "list": list, "after": after, "left": f64::from(rng.u32(..3)),
                    "child": child, "via": rng.bool(), "cancel": rng.u8(..4) == 0,
                })
            }
            Function::Cancel => json!({ "token": token, "nth": f64::from(rng.u32(..3)) }),
            Function::List => json!({ "list": list }),
            Function::Audit | Function::Counter | Function::Count | Function::Jobs => json!({}),
            Function::Rows => json!({ "from": from, "to": to, "order": order, "limit": limit }),
            Function::RowsByValue => json!({ "value": value }),
            Function::Queue => json!({ "limit": limit }),
            Function::Page => json!({ "cursor": null, "limit": limit }),
            Function::Has => json!({ "token": token }),
        }
    }
}

/// Arguments or a result as a value, so that two spellings of one number are equal.
pub fn value(json: &Json) -> Value {
    Value::from_json(json.clone()).unwrap_or_else(|error| panic!("{json} is no value: {error}"))
}
