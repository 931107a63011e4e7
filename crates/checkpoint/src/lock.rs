//! The run lock: two runs never write the same folder.

use crate::process::Process;
use crate::{CheckpointError, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Name of the lock file in a run folder.
pub const LOCK_FILE: &str = "run.lock";

/// The right to write into a run folder, until dropped.
///
/// An advisory lock of the operating system (`flock`): it ends with the process however that ends, so no lock is ever
/// left behind. The file stays and names its last holder; its presence means nothing.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    file: File,
}

impl RunLock {
    /// Takes the lock of `run_dir`, creating the folder and the lock file where missing. Does not wait.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`] with the holder; [`CheckpointError::Io`] also where the file system has no locks.
    pub fn acquire(run_dir: &Path) -> Result<Self> {
        fs::create_dir_all(run_dir).map_err(CheckpointError::io(run_dir, "create the run folder"))?;
        let path = run_dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(CheckpointError::io(&path, "open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "another process".to_owned() };
                return Err(CheckpointError::Locked { path, holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(CheckpointError::Io { path, action: "lock", source });
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "process {}{}", Process::current(), host()))
            .map_err(CheckpointError::io(&path, "write"))?;
        Ok(Self { path, file })
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Closing would do, but not at once where another thread is just starting a process, which shares the open file
        // until it runs its own program.
        let _ = self.file.unlock();
    }
}

fn host() -> String {
    let system = rustix::system::uname();
    format!(" on {}", system.nodename().to_string_lossy())
}
