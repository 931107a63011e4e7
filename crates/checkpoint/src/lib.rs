//! Checkpoints of a run: a folder exists under its final name only when it is complete, and what is loaded is what was saved.
//!
//! ```text
//! run/run.lock                              held by the one process that may write here
//! run/checkpoint-120.partial-<process>/     being written; manifest.json comes last
//! run/checkpoint-120/                       complete: every byte was read back and agrees with its manifest
//! run/checkpoint-120.replaced-<process>/    an older save of the same step, for the moment between two renames
//! run/checkpoint-100.trash-<process>/       being deleted
//! run/checkpoint-140.superseded-<process>/  set aside because the run went back to an earlier step
//! ```
//!
//! [`Checkpoints::save`] lets the caller write any files into the partial folder, forces them to the disk, records name,
//! size and checksum of each in a manifest, reads all of it back, and only then renames the folder and deletes what the
//! [`RetentionPolicy`] no longer wants. [`Checkpoints::latest`] takes the highest step whose manifest verifies and says
//! which ones it refused and why. `<process>` is the process id and, on Linux, its start time: ids are reused.
//!
//! Checksums are XXH3 with 128 bits: the enemy is a flipped bit or a lost write, not a forger, and at more than 10 GB/s
//! on one core (SHA-256 with processor support: below 1 GB/s on the same core) checking a hundred gigabytes twice per save
//! costs seconds. `xxh128sum` computes the same. The manifest's last field is the checksum of all its bytes before it.
//!
//! Every change to the disk passes through [`FileOps`], so that the tests can fail or kill the process at any one of them.

mod clean;
mod discover;
mod error;
mod lock;
mod manifest;
mod name;
mod ops;
mod process;
mod retention;
mod save;
mod space;

pub use clean::Cleaned;
pub use discover::{Found, Refused};
pub use error::CheckpointError;
pub use lock::{LOCK_FILE, RunLock};
pub use manifest::{FileEntry, MANIFEST_FILE, Manifest};
pub use ops::{Disk, FileOps};
pub use retention::RetentionPolicy;
pub use space::{free_bytes, require_free};

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, CheckpointError>;

/// The checkpoints of one run folder.
///
/// Reading ([`latest`](Self::latest), [`verify`](Self::verify), [`list`](Self::list)) needs no lock. Whatever changes the
/// folder takes the run lock on first use and holds it until the value is dropped; call [`lock`](Self::lock) at the start
/// of a run to learn early that another run is writing here. All methods can be called from several threads.
pub struct Checkpoints {
    run_dir: PathBuf,
    policy: RetentionPolicy,
    ops: Arc<dyn FileOps>,
    writer: Mutex<WriterState>,
}

/// What only one thread at a time may use: held for the whole of a save, a clean-up or a deletion.
struct WriterState {
    lock: Option<RunLock>,
    best: Option<u64>,
}

impl Checkpoints {
    /// The checkpoints in `run_dir`, which need not exist yet. Touches nothing.
    pub fn new(run_dir: impl Into<PathBuf>, policy: RetentionPolicy) -> Self {
        Self::with_ops(run_dir, policy, Arc::new(Disk))
    }

    /// As [`new`](Self::new) with other file operations than the disk's own; for tests that inject failures.
    pub fn with_ops(run_dir: impl Into<PathBuf>, policy: RetentionPolicy, ops: Arc<dyn FileOps>) -> Self {
        let best = policy.keep_best;
        Self { run_dir: run_dir.into(), policy, ops, writer: Mutex::new(WriterState { lock: None, best }) }
    }

    /// The run folder.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Where the checkpoint of `step` is or will be: `run_dir/checkpoint-<step>`.
    pub fn path_of(&self, step: u64) -> PathBuf {
        self.run_dir.join(name::checkpoint_name(step))
    }

    /// Takes the run lock now (creating the run folder) and checks the policy.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`] where another process, or another `Checkpoints` of this one, holds it.
    pub fn lock(&self) -> Result<()> {
        self.locked().map(drop)
    }

    /// From now on the checkpoint of `step` is the best one and survives rotation; the former best loses its protection.
    pub fn set_best(&self, step: u64) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).best = Some(step);
    }

    /// The writer's state, with the run lock held.
    fn locked(&self) -> Result<MutexGuard<'_, WriterState>> {
        self.policy.check()?;
        // A panic in a closure given to `save` leaves nothing inconsistent here: the state on disk is the truth.
        let mut state = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if state.lock.is_none() {
            state.lock = Some(RunLock::acquire(&self.run_dir)?);
        }
        Ok(state)
    }
}
