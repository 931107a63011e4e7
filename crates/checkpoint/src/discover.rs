//! Finding checkpoints: which are there, which can be trusted.

use crate::manifest::Source;
use crate::name::{Name, State};
use crate::{CheckpointError, Checkpoints, Manifest, Result};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint that verified.
#[derive(Debug)]
pub struct Found {
    /// The training step.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    /// What it holds; every file was compared with it.
    pub manifest: Manifest,
    /// Checkpoints of higher steps that could not be trusted. To be shown to the user.
    pub refused: Vec<Refused>,
}

/// A checkpoint that cannot be trusted.
#[derive(Debug)]
pub struct Refused {
    /// The training step in its name.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
    /// Why: names the damaged file.
    pub error: CheckpointError,
}

impl Checkpoints {
    /// The checkpoint with the highest step whose manifest and files verify; `None` where the folder has none at all.
    /// Reads the whole checkpoint.
    ///
    /// A step whose save was interrupted between its two renames is found under its passing name; [`clean`](Self::clean)
    /// gives it back the final one.
    ///
    /// # Errors
    /// [`CheckpointError::NoneValid`] where there are checkpoints but all are refused: starting anew instead must be the
    /// user's decision.
    pub fn latest(&self) -> Result<Option<Found>> {
        let mut candidates: Vec<(u64, bool, PathBuf)> = Vec::new();
        for (name, path) in self.entries()? {
            match name {
                Name::Final(step) => candidates.push((step, true, path)),
                Name::Passing(step, State::Replaced, _) => candidates.push((step, false, path)),
                Name::Passing(..) => {}
            }
        }
        candidates.sort_unstable();
        let mut refused = Vec::new();
        for (step, _, path) in candidates.into_iter().rev() {
            match verify_step(&path, step, Source::Cache) {
                Ok(manifest) => return Ok(Some(Found { step, path, manifest, refused })),
                Err(error) => refused.push(Refused { step, path, error }),
            }
        }
        if refused.is_empty() {
            return Ok(None);
        }
        Err(CheckpointError::NoneValid { run_dir: self.run_dir.clone(), refused })
    }

    /// Compares a checkpoint folder, wherever it is, with its manifest. Reads all of it.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] naming the file, which may be the manifest; [`CheckpointError::NoManifest`].
    pub fn verify(&self, path: &Path) -> Result<Manifest> {
        Manifest::verify(path, Source::Cache)
    }

    /// Steps that have a folder under a final name, verified or not, ascending.
    pub fn list(&self) -> Result<BTreeSet<u64>> {
        let entries = self.entries()?;
        Ok(entries
            .iter()
            .filter_map(|(name, _)| if let Name::Final(step) = name { Some(*step) } else { None })
            .collect())
    }

    /// Every folder in the run folder whose name is ours, in no order. A run folder that does not exist has nothing.
    pub(crate) fn entries(&self) -> Result<Vec<(Name, PathBuf)>> {
        let listing = match fs::read_dir(&self.run_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(CheckpointError::io(&self.run_dir, "list"))?,
        };
        let mut found = Vec::new();
        for entry in listing {
            let entry = entry.map_err(CheckpointError::io(&self.run_dir, "list"))?;
            if let Some(name) = entry.file_name().to_str().and_then(Name::parse)
                && entry.path().is_dir()
            {
                found.push((name, entry.path()));
            }
        }
        Ok(found)
    }
}

/// Verifies a checkpoint of the run folder, whose name says `step`.
pub(crate) fn verify_step(path: &Path, step: u64, source: Source) -> Result<Manifest> {
    let manifest = Manifest::verify(path, source)?;
    if manifest.step != step {
        let message = format!("its manifest says step {}: the folder was renamed", manifest.step);
        return Err(CheckpointError::File { path: path.to_owned(), message });
    }
    Ok(manifest)
}
