//! What native functions of V8 reach: a slot of the isolate that runs them.

use std::collections::BTreeMap;

use concave_javascript::engine::CallHost;

use crate::code_cache::CodeCache;

/// A promise that was rejected and has no handler yet.
pub(crate) struct Rejection {
    pub(crate) promise: v8::Global<v8::Promise>,
    pub(crate) reason: v8::Global<v8::Value>,
}

/// The state of a call, and of the context it runs in.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) call: CallHost<v8::Global<v8::PromiseResolver>>,
    pub(crate) rejections: Vec<Rejection>,
    /// Modules of the context by full name.
    pub(crate) modules: BTreeMap<String, v8::Global<v8::Module>>,
    /// Modules that the context was made with: full names, and where the snapshot has them.
    pub(crate) kept_modules: Vec<(String, usize)>,
    /// Whether code of the program makes the stack of an error at the moment.
    pub(crate) is_preparing_stack: bool,
    /// Compiled code of the program's modules, by full name.
    pub(crate) code: CodeCache,
}

impl Host {
    /// Forgets the context.
    pub(crate) fn clear(&mut self) {
        self.call.release();
        self.call.ending = None;
        self.rejections.clear();
        self.modules.clear();
        self.kept_modules.clear();
        self.is_preparing_stack = false;
    }

    /// The host of an isolate.
    pub(crate) fn of(isolate: &mut v8::Isolate) -> &mut Self {
        isolate
            .get_slot_mut()
            .expect("isolates are given a host as they are made")
    }
}
