//! What connections to one database file share in a machine's memory: locks, and the index of the write-ahead log.
//!
//! The rules of the locks are those of SQLite's documentation of `xLock` and `xShmLock`. Everything here is memory of
//! one process, and is gone when the machine dies.

use std::ffi::c_int;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

/// Slots of `xShmLock`.
const SLOTS: usize = ffi::SQLITE_SHM_NLOCK as usize;

/// Locks and shared memory of one file.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_id: u64,
    /// Level of the file lock of each connection that holds one.
    levels: Vec<(u64, c_int)>,
    slots: [Slot; SLOTS],
    /// Connections that have mapped the shared memory.
    mappers: Vec<u64>,
    regions: Vec<Region>,
}

/// Who holds a slot: many may share it, or one has it alone.
#[derive(Default)]
struct Slot {
    sharers: Vec<u64>,
    owner: Option<u64>,
}

/// A piece of shared memory, which stays where it is as long as somebody has it mapped.
struct Region(Box<[u64]>);

impl Shared {
    /// A number for a new connection.
    pub(super) fn connect(&self) -> u64 {
        let mut state = self.state();
        state.last_id += 1;
        state.last_id
    }

    /// Forgets a connection.
    pub(super) fn disconnect(&self, id: u64) {
        self.unlock(id, ffi::SQLITE_LOCK_NONE);
        self.unmap(id);
    }

    /// Raises the file lock of a connection. `false` if others are in the way.
    pub(super) fn lock(&self, id: u64, level: c_int) -> bool {
        let mut state = self.state();
        let held = state.level(id);
        if held >= level {
            return true;
        }
        let others = |at_least: c_int| {
            let mut levels = state.levels.iter();
            levels.any(|(other, level)| *other != id && *level >= at_least)
        };
        if level == ffi::SQLITE_LOCK_SHARED {
            // Whoever is about to write alone lets no new readers in.
            if others(ffi::SQLITE_LOCK_PENDING) {
                return false;
            }
        } else if others(ffi::SQLITE_LOCK_RESERVED) {
            return false;
        } else if level == ffi::SQLITE_LOCK_EXCLUSIVE && others(ffi::SQLITE_LOCK_SHARED) {
            state.set_level(id, ffi::SQLITE_LOCK_PENDING);
            return false;
        }
        state.set_level(id, level);
        true
    }

    /// Lowers the file lock of a connection.
    pub(super) fn unlock(&self, id: u64, level: c_int) {
        let mut state = self.state();
        if state.level(id) > level {
            state.set_level(id, level);
        }
    }

    /// Whether anybody holds at least the reserved lock.
    pub(super) fn is_reserved(&self) -> bool {
        let state = self.state();
        let mut levels = state.levels.iter();
        levels.any(|(_, level)| *level >= ffi::SQLITE_LOCK_RESERVED)
    }

    /// The shared memory's region of a number, of `bytes` bytes; null if it does not exist and shall not be created.
    pub(super) fn map(&self, id: u64, region: usize, bytes: usize, create: bool) -> *mut u64 {
        let mut state = self.state();
        if !state.mappers.contains(&id) {
            state.mappers.push(id);
        }
        while create && state.regions.len() <= region {
            let words = vec![0; bytes.div_ceil(size_of::<u64>())];
            state.regions.push(Region(words.into_boxed_slice()));
        }
        let region = state.regions.get_mut(region);
        region.map_or(std::ptr::null_mut(), |region| region.0.as_mut_ptr())
    }

    /// Lets go of the shared memory and its locks.
    pub(super) fn unmap(&self, id: u64) {
        let mut state = self.state();
        for slot in &mut state.slots {
            slot.release(id);
        }
        state.mappers.retain(|mapper| *mapper != id);
        if state.mappers.is_empty() {
            state.regions.clear();
        }
    }

    /// Takes or gives back slots, as the flags of `xShmLock` say. `false` if others are in the way.
    pub(super) fn lock_slots(&self, id: u64, slots: std::ops::Range<usize>, flags: c_int) -> bool {
        let mut state = self.state();
        let slots = &mut state.slots[slots];
        let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            slots.iter_mut().for_each(|slot| slot.release(id));
            return true;
        }
        let free = slots.iter().all(|slot| {
            let owned = slot.owner.is_some_and(|owner| owner != id);
            !owned && (!exclusive || slot.sharers.iter().all(|sharer| *sharer == id))
        });
        if free {
            for slot in slots {
                if exclusive {
                    slot.owner = Some(id);
                } else if !slot.sharers.contains(&id) {
                    slot.sharers.push(id);
                }
            }
        }
        free
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn level(&self, id: u64) -> c_int {
        let mut levels = self.levels.iter();
        levels
            .find(|(holder, _)| *holder == id)
            .map_or(ffi::SQLITE_LOCK_NONE, |(_, level)| *level)
    }

    fn set_level(&mut self, id: u64, level: c_int) {
        self.levels.retain(|(holder, _)| *holder != id);
        if level > ffi::SQLITE_LOCK_NONE {
            self.levels.push((id, level));
        }
    }
}

impl Slot {
    fn release(&mut self, id: u64) {
        self.sharers.retain(|sharer| *sharer != id);
        if self.owner == Some(id) {
            self.owner = None;
        }
    }
}
