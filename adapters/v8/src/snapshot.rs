//! Snapshots: what contexts are made from.
//!
//! A blob holds several contexts. The first has the prelude and nothing else; in the blob of a program there is one more
//! for each of its modules, which is what importing that module leaves behind. Making a context from a blob takes a small
//! part of the time that evaluating the same scripts does.
//!
//! Some things that modules leave behind end the process when a blob is made of them, or only when a context is made from
//! that (an `Intl` formatter, a frozen global object). So blobs of programs are made and tried in a process of their own
//! ([`crate::process`]), while calls import their module themselves.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use concave_core::engine::{Environment, Program};
use concave_javascript::engine::{Bounds, Entry};
use concave_javascript::prelude;
use serde::{Deserialize, Serialize};

use crate::code_cache::CodeCache;
use crate::host::Host;
use crate::isolate::flags;
use crate::modules::run_script;
use crate::natives::{self, text};
use crate::world::V8World;

/// Memory of the isolate that makes a program's blob, bytes.
const CREATOR_BYTES: usize = 512 << 20;

/// Places of a context's parts in a blob.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Context {
    pub(crate) index: usize,
    /// The entry points, each at its index.
    pub(crate) entries: [usize; Entry::ALL.len()],
    /// The namespace of the module that was imported into it.
    pub(crate) namespace: Option<usize>,
    /// All modules that are in it, by full name.
    pub(crate) modules: Vec<(String, usize)>,
}

/// The contexts of a blob.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Contents {
    /// The one without a program.
    pub(crate) bare: Context,
    /// By the path of the module that was imported.
    pub(crate) modules: BTreeMap<String, Context>,
}

/// A blob.
pub(crate) struct Snapshot {
    pub(crate) blob: Arc<[u8]>,
    pub(crate) contents: Contents,
    /// The program's id; none for the blob without a program.
    pub(crate) program: Option<u64>,
    /// Code of modules that are not in the blob.
    pub(crate) code: CodeCache,
}

impl Snapshot {
    /// The blob, for an isolate that keeps the snapshot for as long as it exists.
    ///
    /// # Safety
    /// The snapshot outlives whatever is made of this.
    pub(crate) unsafe fn blob(&self) -> v8::StartupData {
        let bytes: &[u8] = &self.blob;
        // SAFETY: by the contract, nobody uses the bytes after the snapshot is gone.
        let bytes: &'static [u8] = unsafe { std::mem::transmute(bytes) };
        Cow::Borrowed(bytes).into()
    }

    /// The blob with the prelude.
    pub(crate) fn bare() -> &'static Arc<Self> {
        static BARE: OnceLock<Arc<Snapshot>> = OnceLock::new();
        BARE.get_or_init(|| Arc::new(make_bare()))
    }

    /// What a program begins with: the blob with the prelude, and no code yet.
    pub(crate) fn beginning(program: u64) -> Arc<Self> {
        let bare = Self::bare();
        Arc::new(Self {
            blob: bare.blob.clone(),
            contents: bare.contents.clone(),
            program: Some(program),
            code: CodeCache::default(),
        })
    }
}

fn make_bare() -> Snapshot {
    flags();
    let references = natives::external_references();
    let mut creator = v8::Isolate::snapshot_creator(Some(references), None);
    creator.set_slot(Host::default());
    let bare = {
        v8::scope!(let scope, &mut creator);
        let default = v8::Context::new(scope, v8::ContextOptions::default());
        scope.set_default_context(default);
        let context = v8::Context::new(scope, v8::ContextOptions::default());
        let scope = &mut v8::ContextScope::new(scope, context);
        natives::install(scope);
        give_shared_buffer(scope);
        let entries = evaluate_prelude(scope);
        Context {
            index: scope.add_context(context),
            entries: entries.map(|entry| scope.add_context_data(context, entry)),
            namespace: None,
            modules: Vec::new(),
        }
    };
    Snapshot {
        blob: blob(creator),
        contents: Contents {
            bare,
            modules: BTreeMap::new(),
        },
        program: None,
        code: CodeCache::default(),
    }
}

/// Gives `hygiene.js` an object of a class that has no name.
fn give_shared_buffer(scope: &mut v8::PinScope) {
    let global = scope.get_current_context().global(scope);
    let name = text(scope, "__sharedBuffer").expect("names are short");
    let buffer = v8::SharedArrayBuffer::new(scope, 0).expect("no memory is needed");
    global.set(scope, name.into(), buffer.into());
}

/// Evaluates the prelude in the scope's context and takes the entry points that it leaves.
fn evaluate_prelude<'s>(
    scope: &mut v8::PinScope<'s, '_>,
) -> [v8::Local<'s, v8::Function>; Entry::ALL.len()] {
    let hygiene = ("hygiene.js", include_str!("hygiene.js"));
    for (name, source) in [hygiene].iter().chain(prelude()) {
        run_script(scope, name, source)
            .unwrap_or_else(|| panic!("the prelude's script {name} throws"));
    }
    let global = scope.get_current_context().global(scope);
    let holder = text(scope, "__concave").expect("names are short");
    let entries = global
        .get(scope, holder.into())
        .and_then(|entries| v8::Local::<v8::Object>::try_from(entries).ok())
        .expect("the prelude leaves its entry points");
    global.delete(scope, holder.into());
    Entry::ALL.map(|entry| {
        let name = text(scope, entry.name()).expect("names are short");
        let function = entries.get(scope, name.into());
        function
            .and_then(|function| v8::Local::<v8::Function>::try_from(function).ok())
            .unwrap_or_else(|| panic!("{entry:?} is an entry point"))
    })
}

/// Modules that calls can begin in.
pub(crate) fn entry_modules(program: &Program) -> impl Iterator<Item = &str> {
    program.modules.iter().filter_map(|(path, module)| {
        let is_entry = module.environment == Environment::Isolate
            && !path.starts_with("_deps/")
            && !path.starts_with("_componentDeps/");
        is_entry.then_some(path.as_str())
    })
}

/// The blob of a program with those of the `wanted` modules that can be imported.
pub(crate) fn make(
    program: &Arc<Program>,
    wanted: &BTreeSet<String>,
    importing: Bounds,
) -> (Arc<[u8]>, Contents) {
    let mut wanted = wanted.clone();
    loop {
        match try_make(program, &wanted, importing) {
            Ok(made) => return made,
            // Its import had to be ended, which has spoilt the isolate.
            Err(module) => assert!(wanted.remove(&module), "there is one less each time"),
        }
    }
}

fn try_make(
    program: &Arc<Program>,
    wanted: &BTreeSet<String>,
    importing: Bounds,
) -> Result<(Arc<[u8]>, Contents), String> {
    let mut world = V8World::creator(importing, CREATOR_BYTES);
    let bare = world.keep_bare();
    let mut modules = BTreeMap::new();
    for path in wanted {
        let kept = world.keep(program, path);
        if world.is_spent() {
            world.discard();
            return Err(path.clone());
        }
        // A module that cannot be imported says so to each of its calls.
        if let Ok(Some(context)) = kept {
            modules.insert(path.clone(), context);
        }
    }
    Ok((blob(world.into_creator()), Contents { bare, modules }))
}

/// The blob of all contexts that were added. Functions keep the code that was compiled for them.
pub(crate) fn blob(creator: v8::OwnedIsolate) -> Arc<[u8]> {
    let blob = creator.create_blob(v8::FunctionCodeHandling::Keep);
    blob.expect("a default context is set").as_ref().into()
}
