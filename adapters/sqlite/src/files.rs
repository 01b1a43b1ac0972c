//! The file system under the database, as far as the adapter uses it beside SQLite.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A file that is open for reading.
pub trait Input: Read + Seek {}

impl<T: Read + Seek> Input for T {}

/// A file system. In production it is the operating system's; a simulation brings another.
pub trait Files: fmt::Debug + Send + Sync + 'static {
    /// The name of SQLite's VFS over these files; `None` stands for SQLite's own.
    fn vfs(&self) -> Option<&str>;

    /// Whether there is such a file.
    ///
    /// # Errors
    /// If it cannot be found out.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// If that fails; `NotFound` if it does not exist.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Input>>;

    /// Removes a file.
    ///
    /// # Errors
    /// If that fails; `NotFound` if it does not exist.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a file durable and gives it another name in the same folder, durably and at once: after a crash it has
    /// the one name or the other. Only its owner can read it then.
    ///
    /// # Errors
    /// If that fails.
    fn place(&self, from: &Path, to: &Path) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Debug)]
pub(crate) struct SystemFiles;

impl Files for SystemFiles {
    fn vfs(&self) -> Option<&str> {
        None
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Input>> {
        Ok(Box::new(io::BufReader::new(File::open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn place(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = File::open(from)?;
        // SQLite makes its other files like this one.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.sync_all()?;
        fs::rename(from, to)?;
        sync_folder(to.parent().unwrap_or(Path::new("/")))
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
