//! Compiled code of modules that no snapshot holds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Code by the module's full name, shared by all worlds of a program.
#[derive(Clone, Default)]
pub(crate) struct CodeCache(Arc<Mutex<BTreeMap<String, Arc<[u8]>>>>);

impl CodeCache {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<[u8]>> {
        self.lock().get(name).cloned()
    }

    pub(crate) fn put(&self, name: &str, code: &[u8]) {
        self.lock().insert(name.to_owned(), code.into());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        // Nothing that can panic runs while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
