//! What can go wrong with checkpoints, each case naming the path and saying what to do.

use crate::Refused;
use std::error::Error;
use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

/// An error of saving, finding or deleting checkpoints.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The closure given to `save` failed; nothing was saved, earlier checkpoints are untouched.
    #[error("{}: the checkpoint's files could not be written: {source}", path.display())]
    Write {
        /// The partial folder, removed again.
        path: PathBuf,
        /// The closure's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file of a checkpoint is missing or not what the manifest says.
    #[error("{}: damaged: {reason}; restore it from a copy or use an earlier checkpoint", path.display())]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A folder without a manifest.
    #[error("{}: no manifest.json: not a checkpoint of this program, or copied incompletely", path.display())]
    NoManifest {
        /// The folder.
        path: PathBuf,
    },
    /// Something that cannot be part of a checkpoint.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// There are checkpoints, but none can be trusted.
    #[error("{}: none of the {} checkpoints found can be used{}\nrestore one from a copy, or start anew in another folder", run_dir.display(), refused.len(), lines(refused))]
    NoneValid {
        /// The run folder.
        run_dir: PathBuf,
        /// Each checkpoint and why it was refused, highest step first.
        refused: Vec<Refused>,
    },
    /// Less space on the disk than needed.
    #[error("{}: {} free, {} needed: free some space, keep fewer checkpoints or choose another folder", path.display(), bytes_text(*free), bytes_text(*needed))]
    NoSpace {
        /// The folder asked about.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes available to this user.
        free: u64,
    },
    /// Another run writes into the folder.
    #[error("{}: in use by {holder}: wait for that run to end or choose another folder", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// A retention policy that cannot be meant.
    #[error("{0}")]
    Policy(String),
    /// The new checkpoint is saved and verified, but old ones could not be deleted.
    #[error("{} is saved, but an old checkpoint could not be deleted: {source}", saved.display())]
    Rotation {
        /// The new checkpoint.
        saved: PathBuf,
        /// Why the deletion failed.
        source: Box<CheckpointError>,
    },
}

impl CheckpointError {
    /// For `map_err`: an I/O error on `path` while trying to `action`.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}

fn lines(refused: &[Refused]) -> String {
    let mut text = String::new();
    for refusal in refused {
        // Writing into a String cannot fail.
        let _ = write!(text, "\n  {}", refusal.error);
    }
    text
}

/// A number of bytes for people: three digits and a decimal unit.
fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::bytes_text;

    #[test]
    fn bytes_have_three_digits_and_a_unit() {
        let cases = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.00 kB"),
            (9_994, "9.99 kB"),
            (9_995, "10.0 kB"),
            (99_960, "100 kB"),
            (999_400, "999 kB"),
            (999_500, "1.00 MB"),
            (5_000_000_000, "5.00 GB"),
            (1_234_000_000_000_000, "1234 TB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(bytes_text(bytes), text, "{bytes}");
        }
    }
}
