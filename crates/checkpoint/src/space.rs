//! Free space on the disk, asked before it is needed.

use crate::{CheckpointError, Result};
use std::io;
use std::path::Path;

/// Bytes that this user can still write to the disk of `path`; where `path` does not exist yet, of the nearest folder
/// above it that does.
///
/// # Errors
/// [`CheckpointError::Io`] where the system does not tell.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let full = std::path::absolute(path).map_err(CheckpointError::io(path, "find"))?;
    for folder in full.ancestors() {
        match rustix::fs::statvfs(folder) {
            Ok(stat) => return Ok(stat.f_bavail.saturating_mul(stat.f_frsize)),
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(CheckpointError::io(folder, "ask for the free space of")(error.into())),
        }
    }
    Err(CheckpointError::io(path, "ask for the free space of")(io::ErrorKind::NotFound.into()))
}

/// Fails where the disk of `path` has fewer than `bytes` free. A preflight: another program may take the space later.
///
/// # Errors
/// [`CheckpointError::NoSpace`] with both numbers; [`CheckpointError::Io`].
pub fn require_free(path: &Path, bytes: u64) -> Result<()> {
    let free = free_bytes(path)?;
    if free < bytes {
        return Err(CheckpointError::NoSpace { path: path.to_owned(), needed: bytes, free });
    }
    Ok(())
}
