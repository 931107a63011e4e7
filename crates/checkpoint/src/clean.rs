//! Removing what processes that died have left behind.

use crate::discover::verify_step;
use crate::manifest::Source;
use crate::name::{Name, State};
use crate::process::Process;
use crate::{Checkpoints, Result};
use std::path::PathBuf;

/// What a clean-up did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Folders removed.
    pub removed: Vec<PathBuf>,
    /// Checkpoints that got back their final name: their replacement never came.
    pub restored: Vec<PathBuf>,
    /// Folders left alone: their process lives, or they are the only good copy of their step.
    pub kept: Vec<PathBuf>,
}

impl Checkpoints {
    /// Removes partial and trash folders of processes that are dead, and ends replacements that were interrupted.
    /// A folder of a live process is never touched; a process that merely has a dead one's id is told apart by its start
    /// time (Linux), and the run lock tells this process from an earlier one with its id.
    ///
    /// # Errors
    /// [`crate::CheckpointError::Locked`] while another run writes here; [`crate::CheckpointError::Io`].
    pub fn clean(&self) -> Result<Cleaned> {
        let _state = self.locked()?;
        let mut cleaned = Cleaned::default();
        let mut entries = self.entries()?;
        entries.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        for (name, path) in entries {
            let Name::Passing(step, state, process) = name else { continue };
            if process.is_alive_elsewhere() {
                cleaned.kept.push(path);
                continue;
            }
            match state {
                State::Partial | State::Trash => {
                    self.remove_tree(&path)?;
                    cleaned.removed.push(path);
                }
                State::Replaced => self.settle(step, path, &mut cleaned)?,
                State::Superseded => {}
            }
        }
        Ok(cleaned)
    }

    /// Ends an interrupted replacement of `step`, whose former checkpoint is at `replaced`.
    fn settle(&self, step: u64, replaced: PathBuf, cleaned: &mut Cleaned) -> Result<()> {
        let path = self.path_of(step);
        if !path.exists() {
            self.rename(&replaced, &path)?;
            self.sync_dir(&self.run_dir)?;
            cleaned.restored.push(path);
        } else if verify_step(&path, step, Source::Cache).is_ok() {
            self.discard(&replaced, step, Process::current())?;
            cleaned.removed.push(replaced);
        } else {
            cleaned.kept.push(replaced);
        }
        Ok(())
    }
}
