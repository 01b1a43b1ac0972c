//! A disk of bytes: the part of a simulated machine that outlives a crash.
//!
//! # The model
//!
//! A disk holds files by path. Of each file there are the *durable* bytes, and over them a list of *unsynced* writes
//! and truncations, which reads see: the operating system's page cache. [`File::sync`] makes the list durable.
//!
//! Faults that storage must survive:
//! * **Crash.** Each unsynced change is kept, lost or torn, independently of the others, so also out of order. A torn
//!   write keeps some of its sectors of 512 bytes; a single sector is written wholly or not at all. Handles from before
//!   the crash fail from then on.
//! * **Failed sync.** Each unsynced change is kept, lost or torn, and no later sync writes what is missing. Reads may
//!   go on seeing it until the next crash, as they do on Linux, where pages that could not be written are marked
//!   clean. Handles opened before it write and sync no more: open the file anew, and write again what was unsynced.
//! * **Failed write.** Nothing, all, or some sectors of it were written.
//! * **Full disk.** A write beyond the end of the file is cut short at any byte, or is not done at all.
//! * **Failed read**, and failed opening. The next one may succeed.
//! * **Bit flip.** One bit of what a read gives is wrong, as on a bad bus; the next read of it may be right.
//! * **Slow disk.** An operation takes many times as long.
//!
//! Not simulated, since no storage on a single disk survives it: durable bytes that change or vanish, and a sync that
//! lies. Simpler than life: creating and deleting a file is durable at once, and a file that is deleted while it is
//! open lives on for its handles.
//!
//! Operations are synchronous, since SQLite's are. What they cost adds up and is asked for by [`Disk::take_delay`].
//! [`Disk::strike_at`] makes a fault happen at a given operation, so that a test can go through all of them.

mod contents;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;

use self::contents::{Change, Contents, Fates};
use crate::report::{Fault, Report};
use crate::settings::Settings;

/// What a disk writes wholly or not at all.
pub const SECTOR: u64 = 512;
/// How much longer than usual a slow operation takes at most.
const SLOW_FACTOR: u32 = 200;
/// Reads and writes take this fraction of what a sync takes: the page cache answers.
const CACHED_FRACTION: u32 = 10;

/// A disk. Clones are the same one.
#[derive(Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

/// An open file, for one life of the machine. Clones are the same handle.
#[derive(Clone)]
pub struct File {
    disk: Disk,
    /// Which contents; a path that is deleted and created again leads to others.
    inode: u64,
    life: u64,
    /// When it was opened, in the order of everything that matters for poisoned handles.
    opened: u64,
}

/// Why a disk operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// It failed (EIO). A write may have been done in part.
    #[error("the simulated disk failed")]
    Io,
    /// No space is left (ENOSPC). A write may have been cut short.
    #[error("the simulated disk is full")]
    Full,
    /// A sync failed, now or earlier on this handle: what was unsynced may be lost. Open the file anew.
    #[error("the simulated disk could not sync")]
    SyncFailed,
    /// There is no such file.
    #[error("the simulated disk has no such file")]
    Missing,
    /// The machine has crashed since the file was opened.
    #[error("the simulated machine has crashed")]
    Crashed,
}

/// What [`Disk::strike_at`] does to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The machine crashes before it.
    CrashBefore,
    /// The machine crashes while it is under way: a write is torn if it has several sectors, of a sync some is done.
    CrashWithin,
    /// The machine crashes after it, before its caller is told.
    CrashAfter,
    /// It fails, and life goes on.
    Fail,
}

impl Strike {
    /// All of them.
    pub const ALL: [Strike; 4] = [
        Strike::CrashBefore,
        Strike::CrashWithin,
        Strike::CrashAfter,
        Strike::Fail,
    ];
}

struct State {
    rng: Rng,
    latency: Duration,
    /// Faults strike by these chances; `None` while the world is healthy.
    faults: Option<Settings>,
    report: Report,
    paths: BTreeMap<String, u64>,
    inodes: BTreeMap<u64, Contents>,
    last_number: u64,
    /// Counts crashes.
    life: u64,
    /// What the operations since the last question cost.
    delay: Duration,
    /// Writes, truncations and syncs so far.
    operations: u64,
    strike: Option<(u64, Strike)>,
}

impl Disk {
    /// An empty disk without faults, on which an operation takes at most `latency`.
    pub fn new(rng: Rng, latency: Duration) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                rng,
                latency,
                faults: None,
                report: Report::default(),
                paths: BTreeMap::new(),
                inodes: BTreeMap::new(),
                last_number: 0,
                life: 0,
                delay: Duration::ZERO,
                operations: 0,
                strike: None,
            })),
        }
    }

    /// From now on faults strike as `settings` say; `None` heals the disk.
    pub fn set_faults(&self, settings: Option<Settings>) {
        self.lock().faults = settings;
    }

    /// The machine crashes: what was not synced is kept, lost or torn, and handles fail from now on.
    pub fn crash(&self) {
        self.lock().crash();
    }

    /// Whether a crash could lose something now.
    pub fn has_unsynced(&self) -> bool {
        self.lock().inodes.values().any(Contents::has_unsynced)
    }

    /// Faults that struck so far.
    pub fn report(&self) -> Report {
        self.lock().report.clone()
    }

    /// Opens a file, and creates it if there is none.
    ///
    /// # Errors
    /// If the fault strikes.
    pub fn open(&self, path: &str) -> Result<File, DiskError> {
        let mut state = self.lock();
        state.spend(CACHED_FRACTION);
        if state.strikes(Fault::OpenFailed) {
            return Err(DiskError::Io);
        }
        let opened = state.fresh_number();
        let inode = match state.paths.get(path) {
            Some(inode) => *inode,
            None => {
                state.paths.insert(path.to_owned(), opened);
                state.inodes.insert(opened, Contents::default());
                opened
            }
        };
        Ok(File {
            disk: self.clone(),
            inode,
            life: state.life,
            opened,
        })
    }

    /// Whether there is a file of that path.
    pub fn exists(&self, path: &str) -> bool {
        self.lock().paths.contains_key(path)
    }

    /// Deletes a file. Handles of it go on working on what nobody else sees.
    ///
    /// # Errors
    /// [`DiskError::Missing`] if there is none.
    pub fn delete(&self, path: &str) -> Result<(), DiskError> {
        let mut state = self.lock();
        state.spend(CACHED_FRACTION);
        let deleted = state.paths.remove(path);
        deleted.map(|_| ()).ok_or(DiskError::Missing)
    }

    /// Gives a file another path, in place of what was there. Durable at once, as one.
    ///
    /// # Errors
    /// [`DiskError::Missing`] if there is none.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.lock();
        state.spend(CACHED_FRACTION);
        let inode = state.paths.remove(from).ok_or(DiskError::Missing)?;
        state.paths.insert(to.to_owned(), inode);
        Ok(())
    }

    /// What the operations since the last call cost. Whoever can wait, waits that long.
    pub fn take_delay(&self) -> Duration {
        std::mem::take(&mut self.lock().delay)
    }

    /// Writes, truncations and syncs that were begun so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Crashes so far.
    pub fn crashes(&self) -> u64 {
        self.lock().life
    }

    /// Makes a fault happen at that operation (the first one is number 0), once.
    pub fn strike_at(&self, operation: u64, strike: Strike) {
        self.lock().strike = Some((operation, strike));
    }

    /// Takes [`Self::strike_at`] back, if it has not happened.
    pub fn forget_strike(&self) {
        self.lock().strike = None;
    }

    /// Whether `fault`, which is not one of the disk's own, strikes now; for storage.
    pub fn strikes(&self, fault: Fault) -> bool {
        self.lock().strikes(fault)
    }

    /// Something random, for storage.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.lock().rng)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    /// Reads bytes from `offset` on; fewer than asked for only at the end of the file.
    ///
    /// # Errors
    /// If the fault strikes, or after a crash.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize, DiskError> {
        let mut state = self.lock()?;
        state.spend(CACHED_FRACTION);
        if state.strikes(Fault::ReadFailed) {
            return Err(DiskError::Io);
        }
        let read = state.contents(self.inode).read_at(offset, into);
        if read > 0 && state.strikes(Fault::BitFlip) {
            let bit = state.rng.usize(..read * 8);
            into[bit / 8] ^= 1 << (bit % 8);
        }
        Ok(read)
    }

    /// Writes bytes at `offset`. A gap between the end of the file and `offset` becomes zeros.
    ///
    /// # Errors
    /// If a fault strikes (some of it may be written then), or after a crash or a failed sync.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut state = self.lock()?;
        state.spend(CACHED_FRACTION);
        let change = Change::Write(offset, bytes.to_vec());
        state.change(self, change)
    }

    /// Makes the file that long: what is beyond is gone, what is missing becomes zeros.
    ///
    /// # Errors
    /// If a fault strikes (it may be done then), or after a crash or a failed sync.
    pub fn truncate(&self, len: u64) -> Result<(), DiskError> {
        let mut state = self.lock()?;
        state.spend(CACHED_FRACTION);
        state.change(self, Change::Truncate(len))
    }

    /// How many bytes it has; zero after a crash.
    pub fn len(&self) -> u64 {
        self.lock()
            .map_or(0, |mut state| state.contents(self.inode).len())
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes everything written to the file so far durable, through whichever handle it came.
    ///
    /// # Errors
    /// If a fault strikes (see the module for what that means), or after a crash or a failed sync.
    pub fn sync(&self) -> Result<(), DiskError> {
        let mut state = self.lock()?;
        state.spend(1);
        let strike = state.begin(self)?;
        if strike == Some(Strike::Fail) || state.strikes(Fault::SyncFailed) {
            state.fail_sync(self.inode);
            return Err(DiskError::SyncFailed);
        }
        if strike == Some(Strike::CrashWithin) {
            return Err(state.crash());
        }
        state.contents(self.inode).sync();
        if strike == Some(Strike::CrashAfter) {
            return Err(state.crash());
        }
        Ok(())
    }

    fn lock(&self) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.disk.lock();
        if state.life == self.life {
            Ok(state)
        } else {
            Err(DiskError::Crashed)
        }
    }
}

impl State {
    fn contents(&mut self, inode: u64) -> &mut Contents {
        self.inodes
            .get_mut(&inode)
            .expect("contents live as long as handles of this life")
    }

    /// Counts an operation and says what is to happen to it. A crash before it is done here.
    fn begin(&mut self, file: &File) -> Result<Option<Strike>, DiskError> {
        if self.contents(file.inode).is_poisoned(file.opened) {
            return Err(DiskError::SyncFailed);
        }
        let number = self.operations;
        self.operations += 1;
        let strike = self.strike.take_if(|(at, _)| *at == number);
        match strike.map(|(_, strike)| strike) {
            Some(Strike::CrashBefore) => Err(self.crash()),
            strike => Ok(strike),
        }
    }

    fn change(&mut self, file: &File, change: Change) -> Result<(), DiskError> {
        let strike = self.begin(file)?;
        if strike == Some(Strike::Fail) || self.strikes(Fault::WriteFailed) {
            self.change_in_part(file.inode, Fates::independent(true), change);
            return Err(DiskError::Io);
        }
        if let Change::Write(offset, bytes) = &change
            && offset + bytes.len() as u64 > self.contents(file.inode).len()
            && self.strikes(Fault::DiskFull)
        {
            let fits = self.rng.usize(..bytes.len());
            let part = Change::Write(*offset, bytes[..fits].to_vec());
            self.contents(file.inode).change(part);
            return Err(DiskError::Full);
        }
        if strike == Some(Strike::CrashWithin) {
            // Others may be kept or lost; this one has neither reached the disk wholly nor not begun, if it can.
            self.change_in_part(file.inode, Fates::torn(), change);
            return Err(self.crash());
        }
        self.contents(file.inode).change(change);
        if strike == Some(Strike::CrashAfter) {
            return Err(self.crash());
        }
        Ok(())
    }

    fn change_in_part(&mut self, inode: u64, fates: Fates, change: Change) {
        for part in fates.draw(&mut self.rng, change).survivors {
            self.contents(inode).change(part);
        }
    }

    /// Crashes, and gives the error that says so.
    fn crash(&mut self) -> DiskError {
        self.life += 1;
        let named: Vec<u64> = self.paths.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
        let fates = self.fates();
        let (mut kept, mut lost) = (0, 0);
        for contents in self.inodes.values_mut() {
            let survived = contents.settle(&fates, &mut self.rng);
            contents.forget_cache();
            kept += survived.kept;
            lost += survived.lost;
            self.report.strikes(Fault::TornWrite, survived.torn);
            self.report
                .strikes(Fault::Reordered, u64::from(survived.reordered));
        }
        self.report.strikes(Fault::UnsyncedKept, kept);
        self.report.strikes(Fault::UnsyncedLost, lost);
        DiskError::Crashed
    }

    fn fail_sync(&mut self, inode: u64) {
        let fates = self.fates();
        let forgets_cache = !self.enabled(Fault::SyncForgotten) || self.rng.bool();
        let now = self.fresh_number();
        let contents = self
            .inodes
            .get_mut(&inode)
            .expect("contents live as long as handles of this life");
        let survived = contents.settle(&fates, &mut self.rng);
        contents.poison(now);
        if forgets_cache {
            contents.forget_cache();
        } else if survived.lost + survived.torn > 0 {
            self.report.strike(Fault::SyncForgotten);
        }
    }

    /// How unsynced changes fare this time: all alike, or each as it is drawn.
    fn fates(&mut self) -> Fates {
        match self.rng.u8(..6) {
            0 => Fates::all_kept(),
            1 => Fates::all_lost(),
            _ if self.enabled(Fault::Reordered) => {
                Fates::independent(self.enabled(Fault::TornWrite))
            }
            _ => Fates::prefix(self.enabled(Fault::TornWrite)),
        }
    }

    /// Whether this world has such a fault at all. A healthy disk crashes in every way.
    fn enabled(&self, fault: Fault) -> bool {
        let settings = self.faults.as_ref();
        settings.is_none_or(|settings| settings.chance(fault) > 0.0)
    }

    fn strikes(&mut self, fault: Fault) -> bool {
        let Some(settings) = &self.faults else {
            return false;
        };
        let strikes = self.rng.f64() < settings.chance(fault);
        if strikes {
            self.report.strike(fault);
        }
        strikes
    }

    /// Adds what an operation costs.
    fn spend(&mut self, fraction: u32) {
        let mut cost = self.latency.mul_f64(self.rng.f64()) / fraction;
        if self.strikes(Fault::SlowDisk) {
            cost *= self.rng.u32(2..=SLOW_FACTOR);
        }
        self.delay += cost;
    }

    fn fresh_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

#[cfg(test)]
mod tests;
