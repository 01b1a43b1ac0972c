//! The methods of an open file, as SQLite calls them.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{Ordering, compiler_fence};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::ffi;

use super::machine::{Failure, Machine};
use super::shared::Shared;
use crate::disk::{DiskError, File};

/// What SQLite's own VFS says of every disk.
const SECTOR_BYTES: c_int = 4_096;

/// A file as SQLite holds it.
#[repr(C)]
pub(super) struct OpenFile {
    /// What SQLite knows of it; first, as it demands.
    pub(super) base: ffi::sqlite3_file,
    /// Owned: `close` frees it.
    handle: *mut Handle,
}

/// A file that a connection has open.
pub(super) struct Handle {
    machine: Arc<Machine>,
    path: String,
    file: Mutex<File>,
    shared: Arc<Shared>,
    /// Who this is among those that share.
    id: u64,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

impl OpenFile {
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            base: ffi::sqlite3_file { pMethods: &METHODS },
            handle: Box::into_raw(Box::new(handle)),
        }
    }
}

impl Handle {
    /// Opens a file, and creates it if there is none.
    pub(super) fn open(machine: &Arc<Machine>, path: &str) -> Result<Self, Failure> {
        let file = machine.operate(|disk| disk.open(path))?;
        let shared = machine.shared(path);
        Ok(Self {
            machine: machine.clone(),
            path: path.to_owned(),
            file: Mutex::new(file),
            id: shared.connect(),
            shared,
        })
    }

    fn file(&self) -> File {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.clone()
    }

    /// Changes the file. A handle of the disk is of no use after a failed sync of its file; SQLite's is a file
    /// descriptor, which the kernel goes on writing through, so that a new handle takes the old one's place.
    fn change(&self, change: impl Fn(&File) -> Result<(), DiskError>) -> Result<(), Failure> {
        match self.machine.operate(|_| change(&self.file())) {
            Err(Failure::Disk(DiskError::SyncFailed)) => {
                self.reopen()?;
                self.machine.operate(|_| change(&self.file()))
            }
            result => result,
        }
    }

    fn reopen(&self) -> Result<(), Failure> {
        let file = self.machine.operate(|disk| disk.open(&self.path))?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.disconnect(self.id);
    }
}

/// The handle of a file.
///
/// # Safety
/// `file` is one that `xOpen` made and that is not closed yet.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a Handle {
    // SAFETY: the caller's promise; `xOpen` wrote an `OpenFile` there, with a handle that `close` frees.
    unsafe { &*(*file.cast::<OpenFile>()).handle }
}

/// The code for what became of a change.
fn code(result: Result<(), Failure>, failed: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(Failure::Disk(DiskError::Full)) => ffi::SQLITE_FULL,
        Err(_) => failed,
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, and `xOpen` put a box there.
    drop(unsafe { Box::from_raw((*file.cast::<OpenFile>()).handle) });
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    into: *mut c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls methods of open files, and gives room for `count` bytes, which are made zeros first since
    // they may never have been written to.
    let (handle, into) = unsafe {
        ptr::write_bytes(into.cast::<u8>(), 0, count as usize);
        let into = std::slice::from_raw_parts_mut(into.cast::<u8>(), count as usize);
        (handle(file), into)
    };
    let all = into.len();
    let file = handle.file();
    let result = handle
        .machine
        .operate(|_| file.read_at(offset.cast_unsigned(), into));
    match result {
        Ok(read) if read == all => ffi::SQLITE_OK,
        // What is missing stays zero, as SQLite demands.
        Ok(_) => ffi::SQLITE_IOERR_SHORT_READ,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    count: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite calls methods of open files, and gives `count` bytes.
    let (handle, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), count as usize);
        (handle(file), bytes)
    };
    let result = handle.change(|file| file.write_at(offset.cast_unsigned(), bytes));
    code(result, ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let handle = unsafe { handle(file) };
    let result = handle.change(|file| file.truncate(len.cast_unsigned()));
    code(result, ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let handle = unsafe { handle(file) };
    // It is not tried again: a second sync of a file descriptor would find nothing to do, and say so.
    let result = handle.machine.operate(|_| handle.file().sync());
    code(result, ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, into: *mut i64) -> c_int {
    // SAFETY: SQLite calls methods of open files, and gives a place for the answer.
    let (handle, into) = unsafe { (handle(file), &mut *into) };
    match handle.machine.operate(|_| Ok(handle.file().len())) {
        Ok(len) => {
            *into = len.cast_signed();
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_FSTAT,
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let handle = unsafe { handle(file) };
    if handle.shared.lock(handle.id, level) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_BUSY
    }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let handle = unsafe { handle(file) };
    handle.shared.unlock(handle.id, level);
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(
    file: *mut ffi::sqlite3_file,
    result: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls methods of open files, and gives a place for the answer.
    unsafe { *result = handle(file).shared.is_reserved().into() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(
    _file: *mut ffi::sqlite3_file,
    _operation: c_int,
    _argument: *mut c_void,
) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    SECTOR_BYTES
}

/// That bytes beside a write stay as they are even if the power fails is what SQLite's own VFS says too, and what the
/// disk keeps. Without it SQLite leaves the tail of a commit's last frame unsynced until the next checkpoint.
unsafe extern "C" fn device_characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    into: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls methods of open files, and gives a place for the answer.
    let (handle, into) = unsafe { (handle(file), &mut *into) };
    let (region, bytes) = (region as usize, bytes as usize);
    let mapped = handle.shared.map(handle.id, region, bytes, extend != 0);
    *into = mapped.cast();
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let handle = unsafe { handle(file) };
    let slots = first as usize..(first + count) as usize;
    if handle.shared.lock_slots(handle.id, slots, flags) {
        ffi::SQLITE_OK
    } else {
        ffi::SQLITE_BUSY
    }
}

/// All of a world runs on one thread.
unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    compiler_fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let handle = unsafe { handle(file) };
    handle.shared.unmap(handle.id);
    ffi::SQLITE_OK
}
