//! Checkpoint folders: one exists under its final name only when it is complete.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Which checkpoints are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The last so many; 0 for all.
    pub keep_last: usize,
}

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    run: PathBuf,
    policy: Policy,
}

impl Checkpoints {
    /// Those under `run`.
    pub fn new(run: &Path, policy: Policy) -> Self {
        Self { run: run.to_path_buf(), policy }
    }

    /// Saves a checkpoint: `write` puts all files into the folder it is given.
    ///
    /// # Errors
    /// What `write` returns, and files that cannot be synced or renamed.
    pub fn save(&self, step: u64, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let partial = self.run.join(format!("checkpoint-{step}.partial-{}", std::process::id()));
        let last = self.run.join(format!("checkpoint-{step}"));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(Error::io(&partial, "remove"))?;
        }
        fs::create_dir_all(&partial).map_err(Error::io(&partial, "create"))?;
        let written = write(&partial);
        if let Err(error) = written {
            // The error is what matters; a partial folder is never taken for a checkpoint.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        for entry in fs::read_dir(&partial).map_err(Error::io(&partial, "read"))? {
            let path = entry.map_err(Error::io(&partial, "read"))?.path();
            File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io(&path, "sync"))?;
        }
        File::open(&partial).and_then(|dir| dir.sync_all()).map_err(Error::io(&partial, "sync"))?;
        if last.exists() {
            fs::remove_dir_all(&last).map_err(Error::io(&last, "replace"))?;
        }
        fs::rename(&partial, &last).map_err(Error::io(&last, "rename"))?;
        File::open(&self.run).and_then(|dir| dir.sync_all()).map_err(Error::io(&self.run, "sync"))?;
        self.rotate()?;
        Ok(last)
    }

    fn all(&self) -> Vec<(u64, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.run) else { return Vec::new() };
        let mut found: Vec<(u64, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let step = path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?;
                Some((step, path))
            })
            .collect();
        found.sort();
        found
    }

    /// The highest checkpoint that verifies.
    pub fn latest(&self) -> Option<PathBuf> {
        self.all().into_iter().rev().map(|(_, path)| path).find(|path| self.verify(path).is_ok())
    }

    /// Whether a checkpoint is complete.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn verify(&self, path: &Path) -> Result<()> {
        let state = path.join(crate::state::FILE);
        File::open(&state).map(|_| ()).map_err(Error::io(&state, "read"))
    }

    fn rotate(&self) -> Result<()> {
        let all = self.all();
        if self.policy.keep_last == 0 || all.len() <= self.policy.keep_last {
            return Ok(());
        }
        for (_, path) in &all[..all.len() - self.policy.keep_last] {
            fs::remove_dir_all(path).map_err(Error::io(path, "remove"))?;
        }
        Ok(())
    }
}
