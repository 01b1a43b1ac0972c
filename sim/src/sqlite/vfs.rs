//! The virtual file system through which SQLite reaches a simulated machine.
//!
//! One VFS is registered for the process and never removed; it holds no state. Which machine is meant is known to the
//! thread that calls SQLite ([`call::current_machine`]) when a file is opened, deleted or looked for, and to the file
//! from then on. So worlds on other threads, and several machines on one, do not meet.
//!
//! SQLite's own generator of random numbers is one per process, and is seeded through the VFS that is the default, so
//! not this one: worlds share it. It decides the salts of write-ahead logs and the nonces of rollback journals, that
//! is, numbers whose only use is to differ from those of earlier generations of the same file. Bytes on the disk differ
//! from run to run by them and by the checksums over them; what happens does not. `sim/tests/sqlite.rs` checks that.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Arc, Once};
use std::time::Duration;

use concave_core::runtime::Runtime;
use rusqlite::ffi;

use super::call;
use super::io::{self, Handle};
use super::machine::{Failure, Machine};
use crate::disk::DiskError;

/// Its name.
pub(super) const NAME: &str = "simulated";
const NAME_C: &CStr = c"simulated";
/// Longest name of a file, with the zero at the end.
const PATH_BYTES_MAX: usize = 256;
/// What SQLite counts time in: milliseconds since noon of 24 November 4714 BC, here of the Unix epoch.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;
const NS_PER_MS: u64 = 1_000_000;
const MS_PER_DAY: f64 = 86_400_000.0;

/// Makes the VFS known to SQLite.
pub(super) fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: size_of::<io::OpenFile>() as c_int,
            mxPathname: PATH_BYTES_MAX as c_int,
            pNext: ptr::null_mut(),
            zName: NAME_C.as_ptr(),
            pAppData: ptr::null_mut(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: None,
            xCurrentTimeInt64: Some(current_time_ms),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: it is whole, and lives as long as the process.
        let result = unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        assert_eq!(result, ffi::SQLITE_OK, "SQLite is out of memory");
    });
}

/// Runs `work` with the current machine; `otherwise` without one, or after its death.
fn on_machine(failed: c_int, work: impl FnOnce(&Arc<Machine>) -> Result<c_int, Failure>) -> c_int {
    let Some(machine) = call::current_machine() else {
        return failed;
    };
    match work(&machine) {
        Ok(code) => code,
        Err(Failure::Disk(DiskError::Full)) => ffi::SQLITE_FULL,
        Err(_) => failed,
    }
}

/// A name that SQLite gives. All are made from ours, which are in Unicode.
///
/// # Safety
/// `name` is a string of C.
unsafe fn text<'a>(name: *const c_char) -> &'a str {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().expect("names are made from ours")
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let file = file.cast::<io::OpenFile>();
    // SAFETY: SQLite gives `szOsFile` bytes for the file, aligned for anything. No methods: nothing to close.
    unsafe { (*file).base.pMethods = ptr::null() };
    if name.is_null() {
        // Temporary files: none of our statements needs one.
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: SQLite gives strings of C.
    let path = unsafe { text(name) };
    on_machine(ffi::SQLITE_CANTOPEN, |machine| {
        if flags & ffi::SQLITE_OPEN_CREATE == 0 && !machine.exists(path)? {
            return Ok(ffi::SQLITE_CANTOPEN);
        }
        let handle = Handle::open(machine, path)?;
        // SAFETY: as above. `out_flags` may be null, else points to a number.
        unsafe {
            file.write(io::OpenFile::new(handle));
            if !out_flags.is_null() {
                *out_flags = flags;
            }
        }
        Ok(ffi::SQLITE_OK)
    })
}

unsafe extern "C" fn delete(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _sync_folder: c_int,
) -> c_int {
    // SAFETY: SQLite gives strings of C.
    let path = unsafe { text(name) };
    on_machine(ffi::SQLITE_IOERR_DELETE, |machine| {
        match machine.operate(|disk| disk.delete(path)) {
            Err(Failure::Disk(DiskError::Missing)) => Ok(ffi::SQLITE_IOERR_DELETE_NOENT),
            result => result.map(|()| ffi::SQLITE_OK),
        }
    })
}

unsafe extern "C" fn access(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives strings of C.
    let path = unsafe { text(name) };
    on_machine(ffi::SQLITE_IOERR_ACCESS, |machine| {
        let mut there = machine.exists(path)?;
        if there && flags == ffi::SQLITE_ACCESS_EXISTS {
            // As in SQLite's own VFS, an empty journal is none.
            there = !machine.operate(|disk| disk.open(path))?.is_empty();
        }
        // SAFETY: SQLite gives a place for the answer.
        unsafe { *result = there.into() };
        Ok(ffi::SQLITE_OK)
    })
}

unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    into: *mut c_char,
) -> c_int {
    // SAFETY: SQLite gives strings of C.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if name.len() > room as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: there is room for so many bytes, elsewhere.
    unsafe { ptr::copy_nonoverlapping(name.as_ptr(), into.cast(), name.len()) };
    ffi::SQLITE_OK
}

/// Only the default VFS is asked; see the module.
unsafe extern "C" fn randomness(
    _vfs: *mut ffi::sqlite3_vfs,
    count: c_int,
    into: *mut c_char,
) -> c_int {
    // SAFETY: there is room for so many bytes.
    unsafe { ptr::write_bytes(into.cast::<c_void>().cast::<u8>(), 0, count as usize) };
    count
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    call::sleep(Duration::from_micros(microseconds.unsigned_abs().into()));
    microseconds
}

fn now_ms() -> i64 {
    let now = call::current_machine().map_or(0, |machine| machine.node.now().0);
    UNIX_EPOCH_JULIAN_MS + (now / NS_PER_MS).cast_signed()
}

unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, into: *mut f64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *into = now_ms() as f64 / MS_PER_DAY };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_ms(_vfs: *mut ffi::sqlite3_vfs, into: *mut i64) -> c_int {
    // SAFETY: SQLite gives a place for the answer.
    unsafe { *into = now_ms() };
    ffi::SQLITE_OK
}
