//! Worlds of which snapshots are made, and the trial of what was made.

use std::sync::Arc;
use std::time::Duration;

use concave_core::engine::{Failure, Program};
use concave_javascript::HostInputs;
use concave_javascript::engine::{Bounds, Entry, import};

use crate::host::Host;
use crate::isolate::{Present, enter, set_stack_trace_limit};
use crate::late::{self, Late};
use crate::process::Snapshots;
use crate::snapshot::{self, Contents, Snapshot};
use crate::watchdog::Watched;
use crate::world::{ALWAYS, Lifetime, V8World};

impl V8World {
    /// A world whose contexts a snapshot can be made of.
    pub(crate) fn creator(importing: Bounds, bytes: usize) -> Self {
        // Isolates of a thread are like a stack: this one has gone before the next one comes.
        let ordinary = late::properties(&mut Present::new(Snapshot::bare(), bytes));
        let mut present = Present::creator(Snapshot::bare(), bytes);
        Self {
            importing,
            lifetime: Lifetime {
                calls: u32::MAX,
                bytes: usize::MAX,
            },
            snapshots: Snapshots::new(None, importing.time),
            watched: Watched::new(),
            module: None,
            late: Some(Late::new(&ordinary, &mut present)),
            present: Some(present),
        }
    }

    /// Adds a context without a program to the snapshot, as the first.
    pub(crate) fn keep_bare(&mut self) -> snapshot::Context {
        let bare = Snapshot::bare().contents.bare.clone();
        self.present().enter(&bare);
        {
            v8::scope!(let scope, &mut self.present().isolate);
            let default = v8::Context::new(scope, v8::ContextOptions::default());
            scope.set_default_context(default);
        }
        self.keep_context(None)
    }

    /// Imports a module, and adds the context to the snapshot; none if it must not be in one.
    ///
    /// # Errors
    /// Why the import fails.
    pub(crate) fn keep(
        &mut self,
        program: &Arc<Program>,
        module: &str,
    ) -> Result<Option<snapshot::Context>, Failure> {
        let inputs = HostInputs::import(program);
        let namespace = import(self, inputs, program, module, &Arc::default())?;
        let late = self.late.as_mut().expect("creators have guards");
        let is_untouched = late.take_away(self.present.as_mut().expect(ALWAYS));
        Ok(is_untouched.then(|| self.keep_context(Some(&namespace))))
    }

    fn keep_context(&mut self, namespace: Option<&v8::Global<v8::Value>>) -> snapshot::Context {
        let present = self.present();
        let modules = std::mem::take(&mut Host::of(&mut present.isolate).modules);
        enter!(let scope, present);
        let context = scope.get_current_context();
        set_stack_trace_limit(scope, None);
        let mut entries = [0; Entry::ALL.len()];
        for (index, entry) in entries.iter_mut().zip(&present.entries) {
            let entry = v8::Local::new(scope, entry);
            *index = scope.add_context_data(context, entry);
        }
        snapshot::Context {
            index: scope.add_context(context),
            entries,
            namespace: namespace.map(|namespace| {
                let namespace = v8::Local::new(scope, namespace);
                scope.add_context_data(context, namespace)
            }),
            modules: modules
                .into_iter()
                .map(|(name, module)| {
                    let module = v8::Local::new(scope, module);
                    (name, scope.add_context_data(context, module))
                })
                .collect(),
        }
    }

    /// The isolate, without anything that refers into it.
    pub(crate) fn into_creator(self) -> v8::OwnedIsolate {
        drop(self.late);
        let mut present = self.present.expect(ALWAYS);
        present.leave();
        present.isolate
    }

    /// Gives up making a snapshot.
    pub(crate) fn discard(self) {
        let isolate = self.into_creator();
        isolate.cancel_terminate_execution();
        // An isolate of this sort does not go without.
        drop(snapshot::blob(isolate));
    }
}

/// Makes each context of a blob once, as calls do.
pub(crate) fn try_out(blob: &Arc<[u8]>, contents: &Contents) {
    let snapshot = Arc::new(Snapshot {
        blob: blob.clone(),
        contents: contents.clone(),
        program: None,
        code: Default::default(),
    });
    let mut present = Present::new(&snapshot, Bounds::import(Duration::ZERO).memory);
    for context in contents.modules.values() {
        present.enter(context);
    }
    present.leave();
    // Collecting garbage looks at all that there is.
    present.isolate.low_memory_notification();
}
