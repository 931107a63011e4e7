//! The manifest of a checkpoint: name, size and checksum of every file, and a checksum of itself.

use crate::{CheckpointError, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use twox_hash::XxHash3_128;

/// Name of the manifest in a checkpoint folder; written last.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The layout of the manifest that this code writes and reads.
const FORMAT: u32 = 1;

/// The end of the manifest: these bytes, 32 hexadecimal digits of the checksum of everything before, these bytes.
const SEAL_OPEN: &[u8] = b",\n  \"manifest_xxh3_128\": \"";
const SEAL_CLOSE: &[u8] = b"\"\n}\n";

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Layout version of the manifest.
    pub format: u32,
    /// The training step.
    pub step: u64,
    /// Every file except the manifest, sorted by name.
    pub files: Vec<FileEntry>,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path relative to the checkpoint folder, with `/`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// XXH3 checksum with 128 bits, 32 lower-case hexadecimal digits.
    pub xxh3_128: String,
}

impl Manifest {
    /// Describes the files under `dir`.
    pub(crate) fn describe(step: u64, dir: &Path, tree: &Tree) -> Result<Self> {
        let mut files = Vec::with_capacity(tree.files.len());
        for name in &tree.files {
            let (bytes, xxh3_128) = checksum(&dir.join(name), Source::Cache)?;
            files.push(FileEntry { name: name.clone(), bytes, xxh3_128 });
        }
        Ok(Self { format: FORMAT, step, files })
    }

    /// The sum of the files' sizes: what the next checkpoint of the run will need, nearly.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// The manifest's bytes, sealed.
    pub(crate) fn to_bytes(&self, path: &Path) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| damaged(path, error.to_string()))?;
        // Reopen the JSON object, which ends in "\n}", for its last field.
        bytes.truncate(bytes.len().saturating_sub(2));
        let seal = hex(XxHash3_128::oneshot(&bytes));
        bytes.extend_from_slice(SEAL_OPEN);
        bytes.extend_from_slice(seal.as_bytes());
        bytes.extend_from_slice(SEAL_CLOSE);
        Ok(bytes)
    }

    /// The inverse of `to_bytes`; refuses any other bytes.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self> {
        let body = unsealed(bytes)
            .ok_or_else(|| damaged(path, "it does not agree with the checksum at its end".to_owned()))?;
        let object = [body, b"\n}"].concat();
        let manifest: Self = serde_json::from_slice(&object)
            .map_err(|error| damaged(path, format!("not a manifest: {error}")))?;
        if manifest.format != FORMAT {
            let message = format!(
                "manifest format {}, this program reads {FORMAT}: use the version that wrote it",
                manifest.format
            );
            return Err(CheckpointError::File { path: path.to_owned(), message });
        }
        if let Some(file) = manifest.files.iter().find(|file| !is_inside(&file.name)) {
            return Err(damaged(
                path,
                format!("it names {:?}, which is not a file inside the checkpoint", file.name),
            ));
        }
        Ok(manifest)
    }

    /// Reads the manifest of `dir` and every file it names, and compares. Files that it does not name are not looked at:
    /// notes and conversions that were added later do no harm.
    pub(crate) fn verify(dir: &Path, source: Source) -> Result<Self> {
        let path = dir.join(MANIFEST_FILE);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(CheckpointError::NoManifest { path: dir.to_owned() });
            }
            other => other.map_err(CheckpointError::io(&path, "read"))?,
        };
        let manifest = Self::from_bytes(&path, &bytes)?;
        for file in &manifest.files {
            file.verify(&dir.join(&file.name), source)?;
        }
        Ok(manifest)
    }
}

impl FileEntry {
    fn verify(&self, path: &Path, source: Source) -> Result<()> {
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged(path, "the file is missing".to_owned()));
            }
            other => other.map_err(CheckpointError::io(path, "read"))?.len(),
        };
        if found != self.bytes {
            return Err(damaged(path, format!("{found} bytes where the manifest says {}", self.bytes)));
        }
        let (_, checksum) = checksum(path, source)?;
        if checksum != self.xxh3_128 {
            let reason = format!("checksum {checksum} where the manifest says {}", self.xxh3_128);
            return Err(damaged(path, reason));
        }
        Ok(())
    }
}

/// Where bytes are to be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From wherever the system has them.
    Cache,
    /// From the disk, as far as the system can be asked to forget its copy (Linux, after a sync).
    Disk,
}

/// The files and folders under a folder, as names relative to it with `/`.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Sorted.
    pub(crate) files: Vec<String>,
    /// Every folder before those inside it; the folder itself, the empty name, is first.
    pub(crate) folders: Vec<String>,
}

impl Tree {
    /// # Errors
    /// [`CheckpointError::File`] for what a manifest cannot describe: links, devices, names that are not UTF-8.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let mut tree = Self { files: Vec::new(), folders: vec![String::new()] };
        let mut next = 0;
        while let Some(folder) = tree.folders.get(next).cloned() {
            next += 1;
            let path = dir.join(&folder);
            for entry in fs::read_dir(&path).map_err(CheckpointError::io(&path, "list"))? {
                let entry = entry.map_err(CheckpointError::io(&path, "list"))?;
                let kind =
                    entry.file_type().map_err(CheckpointError::io(&entry.path(), "read the type of"))?;
                let refused =
                    |message: &str| CheckpointError::File { path: entry.path(), message: message.to_owned() };
                let file_name = entry.file_name();
                let name =
                    file_name.to_str().ok_or_else(|| refused("a checkpoint's file names must be UTF-8"))?;
                let name = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                if kind.is_dir() {
                    tree.folders.push(name);
                } else if kind.is_file() {
                    tree.files.push(name);
                } else {
                    return Err(refused(
                        "a checkpoint holds files and folders only: copy what the link points to",
                    ));
                }
            }
        }
        tree.files.sort_unstable();
        Ok(tree)
    }
}

/// Size and checksum of a file.
fn checksum(path: &Path, source: Source) -> Result<(u64, String)> {
    const CHUNK: usize = 1 << 20;
    let mut file = File::open(path).map_err(CheckpointError::io(path, "open"))?;
    if source == Source::Disk {
        forget_cached(&file);
    }
    let mut hash = XxHash3_128::new();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let read = match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, hex(hash.finish_128()))),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CheckpointError::io(path, "read")(error)),
        };
        hash.write(chunk.get(..read).unwrap_or_default());
        bytes += read as u64;
    }
}

/// Asks the system to drop its copy of a synced file, so that the next read comes from the disk. Advice: a system that
/// does not follow it only makes the check weaker.
fn forget_cached(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// The bytes before the seal, if the seal is whole and agrees with them.
fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_suffix(SEAL_CLOSE)?;
    let (rest, seal) = rest.split_at_checked(rest.len().checked_sub(32)?)?;
    let body = rest.strip_suffix(SEAL_OPEN)?;
    (hex(XxHash3_128::oneshot(body)).as_bytes() == seal).then_some(body)
}

/// Whether `name` leads to something strictly inside the folder that it is relative to.
fn is_inside(name: &str) -> bool {
    let path = PathBuf::from(name);
    !name.is_empty()
        && name != MANIFEST_FILE
        && path.components().all(|part| matches!(part, Component::Normal(_)))
}

fn hex(value: u128) -> String {
    format!("{value:032x}")
}

fn damaged(path: &Path, reason: String) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let file = |name: &str| FileEntry { name: name.into(), bytes: 3, xxh3_128: hex(7) };
        Manifest { format: FORMAT, step: 120, files: vec![file("a.json"), file("b/c.bin")] }
    }

    #[test]
    fn bytes_are_json_and_come_back() {
        let bytes = manifest().to_bytes(Path::new("m")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["step"], 120);
        assert_eq!(json["manifest_xxh3_128"].as_str().unwrap().len(), 32);
        assert_eq!(Manifest::from_bytes(Path::new("m"), &bytes).unwrap(), manifest());
    }

    #[test]
    fn every_flipped_bit_every_truncation_and_every_addition_is_refused() {
        let bytes = manifest().to_bytes(Path::new("m")).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::from_bytes(Path::new("m"), &flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Manifest::from_bytes(Path::new("m"), &bytes[..length]).is_err(), "length {length}");
        }
        assert!(Manifest::from_bytes(Path::new("m"), &[&bytes[..], b"\n"].concat()).is_err());
    }

    #[test]
    fn names_that_lead_elsewhere_and_other_formats_are_refused() {
        for name in ["../x", "/etc/passwd", "a/../../x", "", ".", MANIFEST_FILE] {
            let mut manifest = manifest();
            manifest.files[0].name = name.into();
            let bytes = manifest.to_bytes(Path::new("m")).unwrap();
            let error = Manifest::from_bytes(Path::new("m"), &bytes).unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        let other = Manifest { format: 2, ..manifest() };
        let bytes = other.to_bytes(Path::new("m")).unwrap();
        let error = Manifest::from_bytes(Path::new("m"), &bytes).unwrap_err().to_string();
        assert!(error.contains("format 2"), "{error}");
    }

    #[test]
    fn the_checksum_is_xxh3_128() {
        // Of the empty input with seed 0: the value published with the algorithm's specification.
        assert_eq!(hex(XxHash3_128::oneshot(b"")), "99aa06d3014798d86001c324468d497f");
    }
}
