//! Bounds on what requests can make a server hold or do. Each has a name, a default and a knob.
//!
//! Limits that are part of the language apps are written in (the size of a document, how much a transaction reads) are
//! not here: they are constants beside what they bound, because an app relies on them.

use std::fmt;
use std::time::Duration;

/// One limit, as it stands in a table for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name, as in `--limit name=value`.
    pub name: &'static str,
    /// Its value, as it can be given.
    pub value: String,
    /// What it bounds, and what happens beyond it.
    pub text: String,
}

/// Why a setting of a limit is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLimit {
    /// It does not have the form `name=value`.
    #[error("`{0}` is not a limit: write name=value, such as `result_cache=200MiB`")]
    Form(String),
    /// No limit has this name.
    #[error("there is no limit `{0}`: `concave limits` prints all of them")]
    Name(String),
    /// The value has another unit, or is out of range.
    #[error("`{value}` is no value for the limit `{name}`: write it like `{example}`")]
    Value {
        /// The limit.
        name: &'static str,
        /// What was given.
        value: String,
        /// How a value of this limit looks.
        example: String,
    },
    /// With nothing allowed, nothing would work.
    #[error("the limit `{0}` cannot be zero: nothing would be served")]
    Zero(&'static str),
}

/// Limits of what is kept for speed or for people: with zero, nothing is kept.
const MAY_BE_ZERO: [&str; 5] = [
    "result_cache",
    "result_cache_idle",
    "timed_results",
    "function_log",
    "receipt_result",
];

/// A quantity of a limit: how people write it.
trait Quantity: Copy {
    fn parse(text: &str) -> Option<Self>;
    fn print(self) -> String;
    fn is_zero(self) -> bool;
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes(usize);

/// A number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count(usize);

const BYTE_UNITS: [(&str, usize); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("ms", 1),
    ("s", 1000),
];

impl Quantity for Bytes {
    fn parse(text: &str) -> Option<Self> {
        let (digits, shift) = BYTE_UNITS
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
            .unwrap_or((text, 0));
        let number: usize = digits.trim().parse().ok()?;
        number.checked_mul(1 << shift).map(Self)
    }

    fn print(self) -> String {
        let fits = |shift: usize| self.0.trailing_zeros() as usize >= shift;
        let (unit, shift) = BYTE_UNITS
            .into_iter()
            .find(|(_, shift)| self.0 > 0 && fits(*shift))
            .unwrap_or(("B", 0));
        format!("{}{unit}", self.0 >> shift)
    }

    fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Quantity for Count {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn print(self) -> String {
        self.0.to_string()
    }

    fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Quantity for Duration {
    fn parse(text: &str) -> Option<Self> {
        let (digits, unit) = TIME_UNITS
            .iter()
            .find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, *millis)))?;
        let number: u64 = digits.trim().parse().ok()?;
        number.checked_mul(unit).map(Self::from_millis)
    }

    fn print(self) -> String {
        let millis = self.as_millis() as u64;
        let (unit, size) = TIME_UNITS
            .into_iter()
            .filter(|(_, size)| millis > 0 && millis.is_multiple_of(*size))
            .max_by_key(|(_, size)| *size)
            .unwrap_or(("ms", 1));
        format!("{}{unit}", millis / size)
    }

    fn is_zero(self) -> bool {
        Self::is_zero(&self)
    }
}

/// Declares [`Limits`]: a line of documentation, the name, `bytes`, `count` or `time`, and the default.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $unit:tt = $default:expr;)+) => {
        /// The limits of a server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: limits!(@type $unit),)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            /// All limits, in the order in which they are declared.
            pub fn table(&self) -> Vec<Limit> {
                vec![$(Limit {
                    name: stringify!($name),
                    value: limits!(@wrap $unit, self.$name).print(),
                    text: [$($doc),+].map(str::trim).join(" "),
                }),+]
            }

            fn set(&mut self, name: &str, value: &str) -> Result<(), BadLimit> {
                match name {
                    $(stringify!($name) => {
                        let Some(parsed) = <limits!(@quantity $unit)>::parse(value) else {
                            return Err(BadLimit::Value {
                                name: stringify!($name),
                                value: value.to_owned(),
                                example: limits!(@wrap $unit, Self::default().$name).print(),
                            });
                        };
                        if parsed.is_zero() && !MAY_BE_ZERO.contains(&stringify!($name)) {
                            return Err(BadLimit::Zero(stringify!($name)));
                        }
                        self.$name = limits!(@unwrap $unit, parsed);
                    })+
                    other => return Err(BadLimit::Name(other.to_owned())),
                }
                Ok(())
            }
        }
    };
    (@type bytes) => { usize };
    (@type count) => { usize };
    (@type time) => { Duration };
    (@quantity bytes) => { Bytes };
    (@quantity count) => { Count };
    (@quantity time) => { Duration };
    (@wrap bytes, $value:expr) => { Bytes($value) };
    (@wrap count, $value:expr) => { Count($value) };
    (@wrap time, $value:expr) => { $value };
    (@unwrap time, $value:expr) => { $value };
    (@unwrap $unit:tt, $value:expr) => { $value.0 };
}

limits! {
    /// Results of queries that are kept to be given again, with all that is kept for them. The ones that were not asked
    /// for the longest go first.
    result_cache: bytes = 100 << 20;
    /// How long a result is kept that nobody asks for.
    result_cache_idle: time = Duration::from_secs(5 * 60);
    /// How long the result of a query that looked at the clock is given to others who ask.
    timed_results: time = Duration::from_secs(17);
    /// Connections at once, or fewer if the system gives fewer descriptors. More are closed as soon as they are opened.
    connections: count = 10_000;
    /// Connections at once from one address, other than those of this machine and of private networks, where proxies are.
    connections_per_address: count = 1_000;
    /// Until the head of an HTTP request must be there: for the next one, too, on a connection that is kept.
    header_time: time = Duration::from_secs(30);
    /// Until the first message must have come on a WebSocket.
    connect_time: time = Duration::from_secs(30);
    /// Until the body of a request or a WebSocket message must be there, from its beginning. Later is answered with
    /// `RequestTimeout`, or the connection is closed.
    body_time: time = Duration::from_secs(60);
    /// Until the body of a push must be there.
    push_time: time = Duration::from_secs(300);
    /// Until a client must take some of the answer that it has asked for over HTTP.
    write_time: time = Duration::from_secs(60);
    /// The body of an ordinary request. Larger ones are refused with `RequestTooLarge`.
    body_bytes: bytes = (16 << 20) + 2000;
    /// The body of a push, before and after decompression.
    push_bytes: bytes = 200 << 20;
    /// The body of a request to `/echo`.
    echo_bytes: bytes = 128 << 20;
    /// A message of a client on a WebSocket. On a larger one the connection is closed.
    message_bytes: bytes = 64 << 20;
    /// All bodies and messages of all clients that are arriving, each without its first 16 KiB. Those for which there is
    /// no room wait.
    arriving_bytes: bytes = 128 << 20;
    /// Memory, estimated, that the JSON of one request takes once it is parsed. Larger is refused with `JsonTooLarge`.
    json_bytes: bytes = 96 << 20;
    /// The same for all requests at once, until the functions have taken over what they are called with. Those for which
    /// there is no room wait.
    parsed_bytes: bytes = 192 << 20;
    /// How long requests wait for room before they are told to come back: `TooManyConcurrentRequests`.
    intake_time: time = Duration::from_secs(5);
    /// How long a server may take to stop. What runs gets half of it to end.
    shutdown_time: time = Duration::from_millis(2500);
    /// What a client hands back of an earlier run of a paginated query, so that its page keeps its end.
    journal: bytes = 2 << 20;
    /// Function calls that are kept for `npx convex logs`, with what they printed. The oldest make room.
    function_log: bytes = 8 << 20;
    /// Reads at older timestamps are served this far back, as far as the log of recent writes reaches.
    past_reads: time = Duration::from_secs(40);
    /// The log of recent writes, by which conflicts are found. Transactions that are older than what is left of it run
    /// again.
    write_log: bytes = 32 << 20;
    /// Commits in the log of recent writes.
    write_log_commits: count = 100_000;
    /// How far the log of recent writes goes back at most.
    write_log_time: time = Duration::from_secs(120);
    /// Transactions that wait for the disk. More are refused, and their clients try again.
    commit_queue: bytes = 64 << 20;
    /// How long it is remembered that a mutation has committed, so that it does not run again when its client sends it
    /// again.
    receipts: time = Duration::from_secs(14 * 24 * 60 * 60);
    /// The result of a mutation, as JSON with its log lines, that is remembered for a client that sends it again. Log
    /// lines that do not fit are left out; instead of a larger result the client is told that it has committed.
    receipt_result: bytes = 256 << 10;
    /// Queries in one `/api/query_batch` request. Larger batches are refused.
    batch_queries: count = 1000;
    /// Documents of each table that are looked at to tell what its documents look like (`/api/shapes2`), the newest ones.
    shape_documents: count = 10_000;
    /// Queries that run at a time. One client gets half of them at most, further ones wait; so for the next two.
    concurrent_queries: count = 16;
    /// Mutations that run at a time.
    concurrent_mutations: count = 16;
    /// Actions that run at a time, however long they sleep; as many again for those that actions call.
    concurrent_actions: count = 64;
    /// Fetches that one action has under way; further ones wait. As many again for calls of other functions.
    action_operations: count = 8;
    /// Fetches of all actions that are under way; further ones wait.
    fetches: count = 512;
    /// The body of the response to a fetch. With a larger one, the fetch fails.
    fetch_response_bytes: bytes = 20 << 20;
    /// Responses beyond 256 KiB that are read at a time; further ones wait.
    large_fetches: count = 6;
    /// How long a function waits to be run. Then it fails, and can be called again.
    queue_time: time = Duration::from_secs(30);
    /// Arguments of the functions that wait to be run, of one client. Calls beyond fail.
    queued_bytes_per_client: bytes = 32 << 20;
    /// Arguments of all functions that wait to be run. Calls beyond fail.
    queued_bytes: bytes = 128 << 20;
    /// Mutations of one WebSocket that run or wait. Beyond, nothing is read from it until some are done.
    session_mutations: count = 1000;
    /// Actions of one WebSocket that run or wait. Beyond, nothing is read from it until some are done.
    session_actions: count = 1000;
    /// Mutations and actions of one WebSocket that wait. Beyond, nothing is read from it until some are done.
    session_waiting_bytes: bytes = 16 << 20;
    /// Queries that one WebSocket watches. Those beyond fail.
    session_queries: count = 16_384;
    /// Arguments, paths and journals of the queries that one WebSocket watches. Queries beyond fail.
    session_query_bytes: bytes = 16 << 20;
    /// Results that are sent over a WebSocket in one step. The results beyond become failures.
    transition_bytes: bytes = 64 << 20;
    /// Responses that a client has not read yet. Beyond, its connection is closed.
    unread_response_bytes: bytes = 64 << 20;
    /// What all connections hold at once: the queries that they watch, what waits to be run, and what their clients have
    /// not read. Beyond, the connection that holds the most is closed.
    connection_bytes: bytes = 192 << 20;
}

impl Limits {
    /// Sets the limit that `setting` names: `name=value`.
    ///
    /// # Errors
    /// If there is no such limit, or the value is none of its kind.
    pub fn apply(&mut self, setting: &str) -> Result<(), BadLimit> {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| BadLimit::Form(setting.to_owned()))?;
        self.set(name.trim(), value.trim())
    }
}

impl fmt::Display for Limits {
    /// A table for `docs/limits.md` and `concave limits`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| limit | value | what it bounds |\n|---|---|---|")?;
        for Limit { name, value, text } in self.table() {
            writeln!(f, "| `{name}` | {value} | {text} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_limit_is_set_by_what_it_prints() {
        for limit in Limits::default().table() {
            let mut limits = Limits::default();
            limits
                .apply(&format!("{}={}", limit.name, limit.value))
                .unwrap();
            assert_eq!(limits, Limits::default(), "{}", limit.name);
            assert!(!limit.text.contains('|'), "{}", limit.name);
        }
    }

    #[test]
    fn wrong_settings_are_refused() {
        let refused = |setting: &str| Limits::default().apply(setting).unwrap_err();
        assert!(matches!(refused("result_cache"), BadLimit::Form(_)));
        assert!(matches!(refused("nothing=1"), BadLimit::Name(_)));
        for value in ["", "x", "-1", "1.5MiB", "1s", "99999999999999GiB"] {
            let error = refused(&format!("result_cache={value}"));
            assert!(matches!(error, BadLimit::Value { .. }), "{value}");
        }
        for (setting, name) in [
            ("connections=0", "connections"),
            ("body_bytes=0KiB", "body_bytes"),
            ("queue_time=0s", "queue_time"),
        ] {
            assert_eq!(refused(setting), BadLimit::Zero(name));
        }
    }

    #[test]
    fn caches_can_be_switched_off() {
        let mut limits = Limits::default();
        for name in MAY_BE_ZERO {
            let unit = if name.contains("idle") || name.contains("timed") {
                "s"
            } else {
                ""
            };
            limits.apply(&format!("{name}=0{unit}")).unwrap();
        }
        assert_eq!((limits.result_cache, limits.function_log), (0, 0));
    }

    #[test]
    fn the_guide_lists_every_limit() {
        let guide = include_str!("../../docs/limits.md");
        let table = Limits::default().to_string();
        assert!(
            guide.contains(&table),
            "docs/limits.md needs this table:\n{table}"
        );
    }

    proptest! {
        #[test]
        fn quantities_survive_printing(number: usize, millis: u64) {
            prop_assert_eq!(Bytes::parse(&Bytes(number).print()), Some(Bytes(number)));
            prop_assert_eq!(Count::parse(&Count(number).print()), Some(Count(number)));
            let time = Duration::from_millis(millis);
            prop_assert_eq!(<Duration as Quantity>::parse(&time.print()), Some(time));
        }
    }
}
