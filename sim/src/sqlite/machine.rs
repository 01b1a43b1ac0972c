//! One life of a machine, as SQLite sees it: its disk, its clock, its memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use concave_sqlite::{Files, Input};

use super::call;
use super::shared::Shared;
use super::vfs;
use crate::disk::{Disk, DiskError, File};
use crate::executor::Node;

/// One life of a machine.
pub(super) struct Machine {
    pub(super) node: Node,
    pub(super) disk: Disk,
    /// Crashes of the disk before this life.
    crashes: u64,
    /// What connections to the same file share, by the file's name. Memory: it ends with the life.
    shared: Mutex<BTreeMap<String, Weak<Shared>>>,
}

/// Why an operation on a file failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The machine was killed: nothing happens any more.
    Dead,
    /// The disk says so.
    Disk(DiskError),
}

impl Machine {
    pub(super) fn new(node: Node, disk: Disk) -> Arc<Self> {
        Arc::new(Self {
            node,
            crashes: disk.crashes(),
            disk,
            shared: Mutex::default(),
        })
    }

    /// Does something to the disk, and waits as long as that takes. The machine may die meanwhile.
    pub(super) fn operate<T>(
        &self,
        operation: impl FnOnce(&Disk) -> Result<T, DiskError>,
    ) -> Result<T, Failure> {
        self.check_alive()?;
        let result = operation(&self.disk);
        let delay = self.disk.take_delay();
        // What a failed sync loses is lost when its caller is told, not before: nobody could tell others in time.
        if !matches!(result, Err(DiskError::SyncFailed)) {
            call::sleep(delay);
        }
        self.check_alive()?;
        result.map_err(Failure::Disk)
    }

    /// The machine dies with its node, or by a crash that the disk was told to make.
    fn check_alive(&self) -> Result<(), Failure> {
        if self.node.is_alive() && self.disk.crashes() == self.crashes {
            Ok(())
        } else {
            Err(Failure::Dead)
        }
    }

    /// Whether there is such a file.
    pub(super) fn exists(&self, path: &str) -> Result<bool, Failure> {
        self.operate(|disk| Ok(disk.exists(path)))
    }

    /// What the connections to a file share.
    pub(super) fn shared(&self, path: &str) -> Arc<Shared> {
        let mut all = self.lock();
        if let Some(shared) = all.get(path).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = Arc::new(Shared::default());
        all.insert(path.to_owned(), Arc::downgrade(&shared));
        shared
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Weak<Shared>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Dead => io::Error::other("the machine is dead"),
            Failure::Disk(error) => io::Error::other(format!("{error:?}")),
        }
    }
}

/// The files of a machine.
#[derive(Debug)]
pub(super) struct MachineFiles(pub(super) Arc<Machine>);

impl Files for MachineFiles {
    fn vfs(&self) -> Option<&str> {
        Some(vfs::NAME)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.exists(name(path))?)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Input>> {
        let path = name(path);
        if !self.0.exists(path)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.0.operate(|disk| disk.open(path))?;
        Ok(Box::new(Reader {
            machine: self.0.clone(),
            file,
            at: 0,
        }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = name(path);
        if !self.0.exists(path)? {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.0.operate(|disk| disk.delete(path))?)
    }

    fn place(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (name(from), name(to));
        let file = self.0.operate(|disk| disk.open(from))?;
        self.0.operate(|_| file.sync())?;
        Ok(self.0.operate(|disk| disk.rename(from, to))?)
    }
}

fn name(path: &Path) -> &str {
    path.to_str()
        .expect("simulated files have names in Unicode")
}

/// A file that is read from its beginning on.
struct Reader {
    machine: Arc<Machine>,
    file: File,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self
            .machine
            .operate(|_| self.file.read_at(self.at, buffer))?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.file.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
