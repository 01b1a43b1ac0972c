//! Connections for reading, which can be given up all at once.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use concave_core::persistence::PersistenceError;
use rusqlite::Connection;

use crate::file::DatabaseFile;

type Result<T> = std::result::Result<T, PersistenceError>;

/// Where a reader keeps its connection: `None` when it has been given up.
type Slot = Arc<Mutex<Option<Connection>>>;

/// One reader.
pub(crate) struct Reader {
    file: Arc<DatabaseFile>,
    slot: Slot,
}

/// The slots of all readers of a file, for the writer.
#[derive(Clone, Default)]
pub(crate) struct Slots(Vec<Slot>);

impl Reader {
    /// Opens so many readers.
    pub(crate) fn open(
        file: &Arc<DatabaseFile>,
        count: usize,
    ) -> rusqlite::Result<(Vec<Self>, Slots)> {
        let slots = (0..count)
            .map(|_| Ok(Arc::new(Mutex::new(Some(file.reader()?)))))
            .collect::<rusqlite::Result<Vec<Slot>>>()?;
        let readers = slots.iter().map(|slot| Self {
            file: Arc::clone(file),
            slot: Arc::clone(slot),
        });
        Ok((readers.collect(), Slots(slots)))
    }

    /// Reads, if what the file says can be relied on.
    pub(crate) fn read<T>(&mut self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let again = || {
            PersistenceError::Unavailable(
                "the disk has failed, and the database is about to be opened anew".into(),
            )
        };
        // Taken by the writer, while it opens the file anew. That is not waited for: in a simulation the writer may be
        // suspended in the middle of it, on the very thread that would wait.
        let mut slot = match self.slot.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(again()),
        };
        if self.file.is_unreliable() {
            return Err(again());
        }
        let connection = match slot.take() {
            Some(connection) => connection,
            None => self.file.reader().map_err(|error| {
                PersistenceError::Unavailable(format!("the database cannot be reopened: {error}"))
            })?,
        };
        let answer = read(slot.insert(connection));
        // Parts of the file may have been lost while it was read.
        match self.file.is_unreliable() {
            true => Err(again()),
            false => answer,
        }
    }
}

impl Slots {
    /// Takes the connections of all readers and closes them. Readers are refused until the answer is dropped.
    ///
    /// # Errors
    /// If one of them is reading.
    pub(crate) fn close_all(&self) -> Result<Vec<MutexGuard<'_, Option<Connection>>>> {
        let mut guards = Vec::new();
        for slot in &self.0 {
            guards.push(match slot.try_lock() {
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    return Err(PersistenceError::Unavailable(
                        "the database is opened anew as soon as nobody reads".into(),
                    ));
                }
            });
        }
        for connection in guards.iter_mut().filter_map(|guard| guard.take()) {
            DatabaseFile::abandon(connection);
        }
        Ok(guards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Synchronous;

    #[test]
    fn readers_do_not_wait_while_the_file_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = DatabaseFile::open(&folder.path().join("a.sqlite3"), Synchronous::Full).unwrap();
        let (mut readers, slots) = Reader::open(&Arc::new(file), 1).unwrap();
        let closed = slots.close_all().unwrap();
        let refused = readers[0].read(|_| Ok(()));
        assert!(matches!(refused, Err(PersistenceError::Unavailable(_))));
        drop(closed);
        readers[0].read(|_| Ok(())).unwrap();
    }
}
