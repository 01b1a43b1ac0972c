//! What V8 adds to contexts only once they exist; see `late.js`.

use std::collections::BTreeSet;

use crate::isolate::{Present, enter};
use crate::modules::run_script;
use crate::natives::text;

const HARMLESS: &str = "the script is ours, and runs in a context without user code";

/// Guards in place of what is missing in contexts of which a snapshot is made.
pub(crate) struct Late {
    /// What they stand for, as JSON.
    paths: String,
    /// Takes them away. None while there are none.
    check: Option<v8::Global<v8::Function>>,
}

impl Late {
    /// For a world for making snapshots, given the properties in an ordinary one.
    pub(crate) fn new(ordinary: &BTreeSet<String>, creator: &mut Present) -> Self {
        let here = properties(creator);
        let paths: Vec<&String> = ordinary.difference(&here).collect();
        Self {
            paths: serde_json::to_string(&paths).expect("texts are JSON"),
            check: None,
        }
    }

    /// Puts guards into the context, which is without user code.
    pub(crate) fn guard(&mut self, present: &mut Present) {
        enter!(let scope, present);
        let functions = functions(scope);
        let guard = function(scope, functions, "guard");
        let paths = text(scope, &self.paths).expect(HARMLESS);
        let this = v8::undefined(scope).into();
        guard.call(scope, this, &[paths.into()]).expect(HARMLESS);
        let check = function(scope, functions, "check");
        self.check = Some(v8::Global::new(scope, check));
    }

    /// Takes the guards away. False if user code has found one of them: it must not be in the snapshot.
    pub(crate) fn take_away(&mut self, present: &mut Present) -> bool {
        let Some(check) = self.check.take() else {
            return true;
        };
        enter!(let scope, present);
        v8::tc_scope!(let scope, scope);
        let check = v8::Local::new(scope, check);
        let this = v8::undefined(scope).into();
        let found = check.call(scope, this, &[]);
        found.is_some_and(|found| found.to_rust_string_lossy(scope).is_empty())
    }
}

/// Paths of all properties of built-in objects in a fresh context.
pub(crate) fn properties(present: &mut Present) -> BTreeSet<String> {
    let bare = present.snapshot.contents.bare.clone();
    present.enter(&bare);
    enter!(let scope, present);
    let functions = functions(scope);
    let list = function(scope, functions, "list");
    let this = v8::undefined(scope).into();
    let list = list.call(scope, this, &[]).expect(HARMLESS);
    serde_json::from_str(&list.to_rust_string_lossy(scope)).expect(HARMLESS)
}

fn functions<'s>(scope: &mut v8::PinScope<'s, '_>) -> v8::Local<'s, v8::Object> {
    let functions = run_script(scope, "late.js", include_str!("late.js")).expect(HARMLESS);
    functions.try_into().expect(HARMLESS)
}

fn function<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    functions: v8::Local<'s, v8::Object>,
    name: &str,
) -> v8::Local<'s, v8::Function> {
    let name = text(scope, name).expect(HARMLESS);
    let function = functions.get(scope, name.into()).expect(HARMLESS);
    function.try_into().expect(HARMLESS)
}
