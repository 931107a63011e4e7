//! The file operations that change the disk, as a trait: tests replace it to fail, or to die, at any one of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// Everything by which this crate changes the disk, except the lock file. Reading is not here: it leaves no trace.
pub trait FileOps: Send + Sync {
    /// Creates one folder; its parent exists, itself not.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a file that does not exist with these bytes.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Forces a file's bytes to the disk.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Forces a folder's entries (which names exist in it) to the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a folder within its parent; nothing has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes one file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes one empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
}

/// The real disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl FileOps for Disk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).open(path)?.write_all(bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match File::open(path)?.sync_all() {
            // Some network file systems know no fsync of a folder: their entries are written through.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }
}
