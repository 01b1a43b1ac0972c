//! Which engine runs functions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use concave_core::engine::FunctionEngine;
use concave_core::limits::Limits;
use concave_quickjs::QuickJsOptions;

use crate::problem::Problem;

/// The command by which this program makes a snapshot of functions; see `concave_v8::make_snapshot`.
#[cfg(feature = "v8")]
pub const SNAPSHOT: &str = "v8-snapshot";

/// An engine that can be asked for. The default is the fastest that this program has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    #[cfg_attr(not(feature = "v8"), default)]
    QuickJs,
    #[cfg(feature = "v8")]
    #[default]
    V8,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QuickJs => "quickjs",
            #[cfg(feature = "v8")]
            Self::V8 => "v8",
        })
    }
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "quickjs" => Ok(Self::QuickJs),
            #[cfg(feature = "v8")]
            "v8" => Ok(Self::V8),
            #[cfg(not(feature = "v8"))]
            "v8" => Err(
                "this program is built without V8. Build it with `cargo build --release --features v8`, or use quickjs"
                    .to_owned(),
            ),
            _ => Err("the engines are quickjs and v8".to_owned()),
        }
    }
}

impl EngineKind {
    /// Starts the engine, with a place for each call that may run.
    pub fn start(self, limits: &Limits) -> Result<Arc<dyn FunctionEngine>, Problem> {
        let transactions = limits.concurrent_queries.max(1) + limits.concurrent_mutations.max(1);
        let actions = limits.concurrent_actions.max(1);
        match self {
            Self::QuickJs => {
                let mut options = QuickJsOptions::default();
                options.engine.transaction_slots = transactions;
                options.engine.action_slots = actions;
                concave_quickjs::start(options).map_err(|error| {
                    Problem::new(format!("the function engine does not start: {error}"))
                })
            }
            #[cfg(feature = "v8")]
            Self::V8 => {
                // This very program, even if its file has been replaced by another version. Where there is no such
                // path, calls take a little longer.
                let snapshots = concave_v8::SnapshotProcess {
                    executable: "/proc/self/exe".into(),
                    args: vec![SNAPSHOT.to_owned()],
                    is_awaited: false,
                };
                let mut options = concave_v8::V8Options {
                    snapshots: Some(snapshots),
                    ..concave_v8::V8Options::default()
                };
                options.engine.transaction_slots = transactions;
                options.engine.action_slots = actions;
                Ok(concave_v8::start(options))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_names() {
        let default = EngineKind::default();
        assert_eq!(default.to_string().parse(), Ok(default));
        assert_eq!("quickjs".parse(), Ok(EngineKind::QuickJs));
        assert_eq!("v8".parse::<EngineKind>().is_ok(), cfg!(feature = "v8"));
        let refusal = "spidermonkey".parse::<EngineKind>().unwrap_err();
        assert_eq!(refusal, "the engines are quickjs and v8");
    }
}
