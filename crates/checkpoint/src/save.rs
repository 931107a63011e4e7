//! Saving: write aside, force to disk, read back, rename; only then delete.

use crate::discover::verify_step;
use crate::manifest::{Source, Tree};
use crate::name::{Name, State};
use crate::process::Process;
use crate::{CheckpointError, Checkpoints, MANIFEST_FILE, Manifest, Result};
use std::error::Error;
use std::path::{Path, PathBuf};

impl Checkpoints {
    /// Saves the checkpoint of `step`: `write` puts any files and folders into the folder it is given; they need not be
    /// synced. Returns the final folder once all its bytes have been read back from the disk and are right, and old
    /// checkpoints that the policy does not want are deleted.
    ///
    /// A step that exists already is replaced, by the same rules: the old folder keeps its name until the new one is
    /// complete, and is deleted after that. (The same step is saved twice where a signal follows a scheduled save, or where
    /// a run was resumed because this very checkpoint was damaged; the later one is what the run continues from.)
    ///
    /// # Errors
    /// On [`CheckpointError::Rotation`] the checkpoint is saved. On any other error every earlier checkpoint is in place
    /// and the partial folder is removed where the disk lets it. (Should the very last step fail, forcing the new name to
    /// the disk, the new checkpoint is there already, whole, but may be gone after a power loss.)
    pub fn save<E>(
        &self,
        step: u64,
        write: impl FnOnce(&Path) -> std::result::Result<(), E>,
    ) -> Result<PathBuf>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let state = self.locked()?;
        let process = Process::current();
        let partial = self.run_dir.join(State::Partial.name(step, process));
        let written =
            self.write_partial(step, &partial, write).and_then(|()| self.take_name(step, &partial, process));
        if let Err(error) = written {
            // The error that matters is the first one; what cannot be removed now is left to `clean`.
            let _ = self.remove_tree(&partial);
            return Err(error);
        }
        let saved = self.path_of(step);
        match self.remove_old(step, state.best, process) {
            Ok(()) => Ok(saved),
            Err(source) => Err(CheckpointError::Rotation { saved, source: Box::new(source) }),
        }
    }

    /// Fills the partial folder, forces it to the disk and reads it back.
    fn write_partial<E>(
        &self,
        step: u64,
        partial: &Path,
        write: impl FnOnce(&Path) -> std::result::Result<(), E>,
    ) -> Result<()>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.remove_tree(partial)?;
        self.ops.create_dir(partial).map_err(CheckpointError::io(partial, "create"))?;
        write(partial)
            .map_err(|source| CheckpointError::Write { path: partial.to_owned(), source: source.into() })?;
        let tree = Tree::read(partial)?;
        let manifest_path = partial.join(MANIFEST_FILE);
        if tree.files.is_empty() || tree.files.iter().any(|name| name == MANIFEST_FILE) {
            let message = if tree.files.is_empty() {
                "no file was written: a checkpoint cannot be empty"
            } else {
                "manifest.json is this crate's to write"
            };
            return Err(CheckpointError::File { path: partial.to_owned(), message: message.to_owned() });
        }
        let manifest = Manifest::describe(step, partial, &tree)?;
        for name in &tree.files {
            self.sync_file(&partial.join(name))?;
        }
        let bytes = manifest.to_bytes(&manifest_path)?;
        self.ops.write_new(&manifest_path, &bytes).map_err(CheckpointError::io(&manifest_path, "write"))?;
        self.sync_file(&manifest_path)?;
        for name in tree.folders.iter().rev() {
            self.sync_dir(&partial.join(name))?;
        }
        verify_step(partial, step, Source::Disk).map(drop)
    }

    /// Gives the complete partial folder its final name.
    fn take_name(&self, step: u64, partial: &Path, process: Process) -> Result<()> {
        let path = self.path_of(step);
        if !path.exists() {
            self.rename(partial, &path)?;
            return self.sync_dir(&self.run_dir);
        }
        let replaced = self.run_dir.join(State::Replaced.name(step, process));
        if replaced.exists() {
            // An earlier save of this step got as far as here and failed: of the two old folders keep one that is good.
            if verify_step(&path, step, Source::Cache).is_err() {
                self.discard(&path, step, process)?;
                self.rename(partial, &path)?;
                return self.sync_dir(&self.run_dir);
            }
            self.discard(&replaced, step, process)?;
        }
        self.rename(&path, &replaced)?;
        if let Err(error) = self.rename(partial, &path) {
            // Back under its name; if that fails too, `latest` finds it where it is.
            let _ = self.rename(&replaced, &path);
            return Err(error);
        }
        self.sync_dir(&self.run_dir)
    }

    /// Deletes what a replacement and the policy leave over. The new checkpoint is verified and on the disk.
    fn remove_old(&self, saved: u64, best: Option<u64>, process: Process) -> Result<()> {
        for (name, path) in self.entries()? {
            if let Name::Passing(step, State::Replaced, owner) = name
                && step == saved
                && !owner.is_alive_elsewhere()
            {
                self.discard(&path, step, process)?;
            }
        }
        for step in self.policy.superfluous(&self.list()?, saved, best) {
            self.discard(&self.path_of(step), step, process)?;
        }
        Ok(())
    }

    /// Deletes a checkpoint: first its name, in one step and for good, then its files.
    pub(crate) fn discard(&self, path: &Path, step: u64, process: Process) -> Result<()> {
        let trash = self.run_dir.join(State::Trash.name(step, process));
        self.remove_tree(&trash)?;
        self.rename(path, &trash)?;
        self.sync_dir(&self.run_dir)?;
        self.remove_tree(&trash)
    }

    /// Renames every checkpoint of a step above `step` so that [`latest`](Self::latest) no longer sees it, and returns the
    /// new paths: for a run that goes on from an earlier checkpoint on purpose. Deletes nothing, now or later.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`], [`CheckpointError::Io`].
    pub fn set_aside_after(&self, step: u64) -> Result<Vec<PathBuf>> {
        let _state = self.locked()?;
        let mut renamed = Vec::new();
        for (name, path) in self.entries()? {
            let (Name::Final(later) | Name::Passing(later, State::Replaced, _)) = name else { continue };
            if later > step {
                let aside = self.run_dir.join(State::Superseded.name(later, Process::current()));
                self.rename(&path, &aside)?;
                renamed.push(aside);
            }
        }
        self.sync_dir(&self.run_dir)?;
        renamed.sort_unstable();
        Ok(renamed)
    }

    /// Removes a folder and what is in it; of a link only the link. One that does not exist is fine.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<()> {
        use std::io::ErrorKind::NotFound;
        if path.is_symlink() {
            return self.ops.remove_file(path).map_err(CheckpointError::io(path, "remove"));
        }
        let entries = match std::fs::read_dir(path) {
            Err(error) if error.kind() == NotFound => return Ok(()),
            other => other.map_err(CheckpointError::io(path, "list"))?,
        };
        for entry in entries {
            let entry = entry.map_err(CheckpointError::io(path, "list"))?;
            let inner = entry.path();
            let kind = entry.file_type().map_err(CheckpointError::io(&inner, "read the type of"))?;
            if kind.is_dir() {
                self.remove_tree(&inner)?;
            } else {
                self.ops.remove_file(&inner).map_err(CheckpointError::io(&inner, "remove"))?;
            }
        }
        self.ops.remove_dir(path).map_err(CheckpointError::io(path, "remove"))
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.ops.rename(from, to).map_err(CheckpointError::io(from, "rename"))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        self.ops.sync_file(path).map_err(CheckpointError::io(path, "force to the disk"))
    }

    pub(crate) fn sync_dir(&self, path: &Path) -> Result<()> {
        self.ops.sync_dir(path).map_err(CheckpointError::io(path, "force to the disk"))
    }
}
