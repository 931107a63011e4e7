//! File operations that fail, die or lose power at the k-th one, and the run folders they are tried on.
#![allow(dead_code, reason = "each test file uses a part")]

use gft_checkpoint::{Checkpoints, Disk, FileOps, MANIFEST_FILE, RetentionPolicy};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What happens at operation k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails without effect; later ones work.
    Error,
    /// The process aborts in the middle of it (a write is half done).
    AbortWithin,
    /// The process aborts right after it.
    AbortAfter,
    /// It and all later ones fail without effect; what was not synced can then be taken away again.
    PowerLoss,
}

/// Counts operations from 0 and disturbs number `at`.
pub struct Faulty {
    pub fault: Fault,
    pub at: usize,
    pub count: AtomicUsize,
    pub journal: Mutex<Journal>,
}

impl Faulty {
    pub fn new(fault: Fault, at: usize) -> Arc<Self> {
        Arc::new(Self { fault, at, count: AtomicUsize::new(0), journal: Mutex::default() })
    }

    /// Whether the fault was reached.
    pub fn reached(&self) -> bool {
        self.count.load(Ordering::SeqCst) > self.at
    }

    fn operation(
        &self,
        half: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<()>,
        note: impl FnOnce(&mut Journal),
    ) -> io::Result<()> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let here = number == self.at;
        match self.fault {
            Fault::Error if here => Err(io::Error::other("injected")),
            Fault::PowerLoss if number >= self.at => Err(io::Error::other("no power")),
            Fault::AbortWithin if here => {
                let _ = half();
                std::process::abort();
            }
            fault => {
                let result = whole();
                if fault == Fault::AbortAfter && here {
                    std::process::abort();
                }
                note(&mut self.journal.lock().unwrap());
                result
            }
        }
    }
}

/// The disk without waiting for it: no test here can see whether a sync really happened, only (in the journal) whether it
/// was asked for at the right moment; a thousand saves with real ones would take a minute.
pub struct Unsynced;

impl FileOps for Unsynced {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Disk.create_dir(path)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        Disk.write_new(path, bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path).map(drop)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::read_dir(path).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        Disk.remove_dir(path)
    }
}

fn nothing() -> io::Result<()> {
    Ok(())
}

impl FileOps for Faulty {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(
            nothing,
            || Unsynced.create_dir(path),
            |j| j.changes.push(Change::Created(path.into())),
        )
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let note = |j: &mut Journal| {
            j.unsynced.insert(path.into());
            j.changes.push(Change::Created(path.into()));
        };
        self.operation(
            || Unsynced.write_new(path, &bytes[..bytes.len() / 2]),
            || Unsynced.write_new(path, bytes),
            note,
        )
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.operation(
            nothing,
            || Unsynced.sync_file(path),
            |j| {
                j.unsynced.remove(path);
            },
        )
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(
            nothing,
            || Unsynced.sync_dir(path),
            |j| j.changes.retain(|c| c.place().parent() != Some(path)),
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(nothing, || Unsynced.rename(from, to), |j| j.rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operation(
            nothing,
            || Unsynced.remove_file(path),
            |j| {
                j.unsynced.remove(path);
            },
        )
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.operation(nothing, || Unsynced.remove_dir(path), |_| {})
    }
}

/// What a disk may forget when the power fails.
#[derive(Default)]
pub struct Journal {
    /// Files whose bytes were not forced to the disk.
    unsynced: BTreeSet<PathBuf>,
    /// Changes of folders whose entries were not forced to the disk, oldest first, under their present names.
    changes: Vec<Change>,
}

enum Change {
    Created(PathBuf),
    Renamed { from: PathBuf, to: PathBuf },
}

impl Change {
    fn place(&self) -> &Path {
        match self {
            Self::Created(path) | Self::Renamed { to: path, .. } => path,
        }
    }
}

/// What a disk forgets of the changes that it may forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forget {
    /// Half of the bytes of unsynced files.
    Bytes,
    /// New names, but no bytes.
    Names,
    Both,
    /// New names except the last one: disks need not keep the order.
    EarlierNames,
}

impl Journal {
    fn rename(&mut self, from: &Path, to: &Path) {
        self.moved(from, to);
        self.changes.push(Change::Renamed { from: from.into(), to: to.into() });
    }

    /// Keeps the paths noted so far up to date.
    fn moved(&mut self, from: &Path, to: &Path) {
        let moved = |path: &Path| match path.strip_prefix(from) {
            Ok(rest) if rest.as_os_str().is_empty() => to.to_owned(),
            Ok(rest) => to.join(rest),
            Err(_) => path.to_owned(),
        };
        self.unsynced = self.unsynced.iter().map(|path| moved(path)).collect();
        for change in &mut self.changes {
            match change {
                Change::Created(path) => *path = moved(path),
                // Where it came from is a name that is free now.
                Change::Renamed { to, .. } => *to = moved(to),
            }
        }
    }

    /// Takes away what was not forced to the disk.
    pub fn forget(&mut self, what: Forget) {
        if what == Forget::Bytes || what == Forget::Both {
            for path in self.unsynced.iter().filter(|path| path.exists()) {
                let length = fs::metadata(path).unwrap().len();
                fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length / 2).unwrap();
            }
        }
        if what == Forget::Bytes {
            return;
        }
        if what == Forget::EarlierNames
            && let Some(last) = self.changes.pop()
        {
            // What had that name on the way there has it no more.
            self.changes.retain(|change| change.place() != last.place());
        }
        while let Some(change) = self.changes.pop() {
            match change {
                Change::Created(path) if path.is_dir() => fs::remove_dir_all(path).unwrap(),
                Change::Created(path) if path.exists() => fs::remove_file(path).unwrap(),
                Change::Renamed { from, to } if to.exists() && !from.exists() => {
                    fs::rename(&to, &from).unwrap();
                    self.moved(&to, &from);
                }
                _ => {}
            }
        }
    }
}

/// The files of a checkpoint whose every byte tells of `tag`.
pub fn files(tag: &str) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("config.json", format!("{{\"tag\": \"{tag}\"}}").into_bytes()),
        ("model.safetensors", tag.repeat(2000).into_bytes()),
        ("state/optimizer.safetensors", tag.repeat(3000).into_bytes()),
        ("state/order/data_state.json", tag.repeat(7).into_bytes()),
        ("empty", Vec::new()),
    ]
}

/// Writes them through `ops`.
pub fn write(ops: &dyn FileOps, dir: &Path, tag: &str) -> io::Result<()> {
    for folder in ["state", "state/order"] {
        ops.create_dir(&dir.join(folder))?;
    }
    files(tag).iter().try_for_each(|(name, bytes)| ops.write_new(&dir.join(name), bytes))
}

/// A folder for a run, in memory where the system has such a place: hundreds of saves do not wait for a disk.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn keep_last(keep: usize) -> RetentionPolicy {
    RetentionPolicy { keep_last: Some(keep), ..RetentionPolicy::default() }
}

/// A run folder before a save, and that save.
#[derive(Clone, Copy, Debug)]
pub enum Scene {
    /// 100 exists; 120 is saved and 100 deleted.
    Next,
    /// 120 exists and is saved anew.
    Again,
    /// 100 is good, 120 damaged; 120 is saved anew and 100 deleted.
    Damaged,
    /// 80 and 100 exist and this process left a partial folder of 120; 120 is saved.
    Leftover,
    /// 100 exists; 120 is saved and nothing is deleted.
    Kept,
    /// 120 exists, and this process left its damaged predecessor between two renames; 120 is saved anew.
    Stuck,
}

impl Scene {
    pub const ALL: [Self; 6] =
        [Self::Next, Self::Again, Self::Damaged, Self::Leftover, Self::Kept, Self::Stuck];
    pub const SAVED: u64 = 120;

    pub fn prepare(self, run_dir: &Path) {
        let checkpoints = Checkpoints::with_ops(run_dir, RetentionPolicy::default(), Arc::new(Unsynced));
        let steps: &[u64] = match self {
            Self::Next | Self::Kept => &[100],
            Self::Again | Self::Stuck => &[120],
            Self::Damaged => &[100, 120],
            Self::Leftover => &[80, 100],
        };
        for &step in steps {
            checkpoints.save(step, |dir| write(&Disk, dir, "old.")).unwrap();
        }
        if let Self::Damaged = self {
            fs::write(run_dir.join("checkpoint-120/config.json"), "{}").unwrap();
        }
        let mut partial = PathBuf::new();
        let refused = checkpoints.save(Self::SAVED, |dir| {
            partial = dir.to_owned();
            Err("only its name is wanted")
        });
        assert!(refused.is_err() && !partial.exists());
        let left = match self {
            Self::Leftover => partial,
            Self::Stuck => partial.to_str().unwrap().replace(".partial-", ".replaced-").into(),
            _ => return,
        };
        fs::create_dir_all(left.join("state")).unwrap();
        fs::write(left.join("state/optimizer.safetensors"), "mix").unwrap();
    }

    /// How many checkpoints the save keeps.
    pub fn keeps(self) -> usize {
        if let Self::Kept = self { 2 } else { 1 }
    }

    /// Does the save.
    pub fn save(self, run_dir: &Path, ops: Arc<dyn FileOps>) -> gft_checkpoint::Result<PathBuf> {
        let checkpoints = Checkpoints::with_ops(run_dir, keep_last(self.keeps()), ops.clone());
        checkpoints.save(Self::SAVED, |dir| write(ops.as_ref(), dir, "new!"))
    }
}

/// Whether a checkpoint is the new one; panics if it is neither wholly the old nor wholly the new one.
pub fn is_new(path: &Path) -> bool {
    let has = |tag: &str| files(tag).iter().all(|(name, bytes)| &fs::read(path.join(name)).unwrap() == bytes);
    assert!(has("old.") != has("new!"), "{}: a mixture", path.display());
    has("new!")
}

/// After any fault: a checkpoint is found, it is whole, names are right, and the run can go on. Returns whether it is new.
pub fn check_survival(run_dir: &Path, what: &str) -> bool {
    let checkpoints = Checkpoints::with_ops(run_dir, keep_last(1), Arc::new(Unsynced));
    let found = checkpoints.latest().unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = found.unwrap_or_else(|| panic!("{what}: no checkpoint"));
    let new = is_new(&found.path);
    assert!(!new || found.step == Scene::SAVED, "{what}");
    assert_eq!(new, is_new_step(&checkpoints), "{what}");

    checkpoints.clean().unwrap_or_else(|e| panic!("{what}: {e}"));
    let again = checkpoints.latest().unwrap().unwrap();
    assert_eq!(
        (again.step, is_new(&again.path)),
        (found.step, new),
        "{what}: cleaning changed what is found"
    );
    assert_eq!(again.path, checkpoints.path_of(found.step), "{what}");
    let names: Vec<String> =
        fs::read_dir(run_dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let strays: Vec<&String> = names.iter().filter(|n| n.contains('.') && *n != "run.lock").collect();
    assert!(strays.is_empty(), "{what}: {strays:?}");

    let next = checkpoints
        .save(Scene::SAVED, |dir| write(&Disk, dir, "new!"))
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(is_new(&next), "{what}");
    assert_eq!(
        checkpoints.list().unwrap().into_iter().collect::<Vec<_>>(),
        [Scene::SAVED],
        "{what}: rotation"
    );
    new
}

/// Whether the folder `checkpoint-120`, if there is one that is complete, is the new one. A manifest under the final name
/// is there only with all its files.
fn is_new_step(checkpoints: &Checkpoints) -> bool {
    let path = checkpoints.path_of(Scene::SAVED);
    if !path.exists() {
        return false;
    }
    assert!(path.join(MANIFEST_FILE).exists(), "{}: under its final name without a manifest", path.display());
    checkpoints.verify(&path).is_ok() && is_new(&path)
}
