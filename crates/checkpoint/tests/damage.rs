//! Disks that are full and disks that forget: errors that name the file, and earlier checkpoints that still load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers stand outside of #[test] functions

mod faults;

use faults::{keep_last, write};
use gft_checkpoint::{
    CheckpointError, Checkpoints, Disk, FileOps, MANIFEST_FILE, RetentionPolicy, free_bytes, require_free,
};
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

fn all_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all_files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Numbers that look random: the multiplier of Knuth's MMIX generator, high bits.
fn draw(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) as usize) % below
}

#[test]
fn every_flipped_bit_is_refused_and_its_file_named() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
    checkpoints.save(100, |dir| write(&Disk, dir, "old.")).unwrap();
    let path = checkpoints.save(120, |dir| write(&Disk, dir, "new!")).unwrap();
    let files: Vec<PathBuf> =
        all_files(&path).into_iter().filter(|file| fs::metadata(file).unwrap().len() > 0).collect();
    let mut state = 20;
    let mut hit = std::collections::BTreeSet::new();
    for trial in 0..256 {
        let file = &files[draw(&mut state, files.len())];
        let good = fs::read(file).unwrap();
        let mut bad = good.clone();
        let byte = draw(&mut state, bad.len());
        bad[byte] ^= 1 << draw(&mut state, 8);
        fs::write(file, &bad).unwrap();

        match checkpoints.verify(&path) {
            Err(CheckpointError::Damaged { path: named, .. }) => assert_eq!(&named, file, "trial {trial}"),
            other => panic!("trial {trial}, {} byte {byte}: {other:?}", file.display()),
        }
        let found = checkpoints.latest().unwrap().unwrap();
        assert_eq!((found.step, found.refused.len()), (100, 1));
        assert!(found.refused[0].error.to_string().contains(&file.display().to_string()));
        fs::write(file, &good).unwrap();
        hit.insert(file.clone());
    }
    assert_eq!(hit.len(), files.len(), "every file, the manifest among them, was hit");
    assert_eq!(checkpoints.latest().unwrap().unwrap().step, 120);
}

/// A disk that says it has everything and has not.
struct Liar(&'static str);

impl FileOps for Liar {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        Disk.create_dir(path)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        Disk.write_new(path, bytes)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        if path.ends_with(self.0) {
            let mut bytes = fs::read(path)?;
            bytes[5] ^= 1;
            fs::write(path, bytes)?;
        }
        Disk.sync_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Disk.sync_dir(path)
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

#[test]
fn what_the_disk_did_not_take_is_noticed_before_the_old_checkpoint_is_deleted() {
    for file in ["model.safetensors", "data_state.json", MANIFEST_FILE] {
        let run = tempfile::tempdir().unwrap();
        Checkpoints::new(run.path(), keep_last(1)).save(100, |dir| write(&Disk, dir, "old.")).unwrap();
        let checkpoints = Checkpoints::with_ops(run.path(), keep_last(1), Arc::new(Liar(file)));
        let error = checkpoints.save(120, |dir| write(&Disk, dir, "new!")).unwrap_err();
        assert!(matches!(&error, CheckpointError::Damaged { path, .. } if path.ends_with(file)), "{error}");
        assert_eq!(checkpoints.latest().unwrap().unwrap().step, 100);
        assert!(!checkpoints.path_of(120).exists());
    }
}

#[test]
fn missing_shortened_lengthened_and_foreign_files() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
    let path = checkpoints.save(120, |dir| write(&Disk, dir, "new!")).unwrap();
    let names =
        |error: CheckpointError, file: &Path| error.to_string().starts_with(&format!("{}: ", file.display()));
    for file in all_files(&path) {
        let good = fs::read(&file).unwrap();
        let mut longer = good.clone();
        longer.push(0);
        fs::write(&file, longer).unwrap();
        assert!(names(checkpoints.verify(&path).unwrap_err(), &file), "{}", file.display());
        if !good.is_empty() {
            fs::write(&file, &good[..good.len() - 1]).unwrap();
            assert!(names(checkpoints.verify(&path).unwrap_err(), &file), "{}", file.display());
        }
        fs::remove_file(&file).unwrap();
        let named = if file.ends_with(MANIFEST_FILE) { &path } else { &file };
        assert!(names(checkpoints.verify(&path).unwrap_err(), named), "{}", file.display());
        fs::write(&file, good).unwrap();
    }
    fs::write(path.join("notes.txt"), "mine").unwrap();
    assert_eq!(checkpoints.verify(&path).unwrap().files.len(), 5);

    // A copy under another step's name is refused there, and good elsewhere.
    fs::rename(&path, run.path().join("checkpoint-500")).unwrap();
    let error = checkpoints.latest().unwrap_err().to_string();
    assert!(error.contains("checkpoint-500") && error.contains("step 120"), "{error}");
    fs::rename(run.path().join("checkpoint-500"), run.path().join("my-model")).unwrap();
    assert_eq!(checkpoints.verify(&run.path().join("my-model")).unwrap().step, 120);
    assert!(checkpoints.latest().unwrap().is_none());
}

#[test]
fn where_all_are_damaged_it_is_an_error_and_not_a_fresh_start() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
    assert!(checkpoints.latest().unwrap().is_none());
    for step in [100, 120] {
        let path = checkpoints.save(step, |dir| write(&Disk, dir, "old.")).unwrap();
        fs::write(path.join("model.safetensors"), "").unwrap();
    }
    fs::create_dir(run.path().join("checkpoint-140")).unwrap();
    match checkpoints.latest() {
        Err(CheckpointError::NoneValid { refused, .. }) => {
            assert_eq!(refused.iter().map(|r| r.step).collect::<Vec<_>>(), [140, 120, 100]);
        }
        other => panic!("{other:?}"),
    }
    let error = checkpoints.latest().unwrap_err().to_string();
    for part in [
        "checkpoint-140: no manifest.json",
        "checkpoint-120/model.safetensors: damaged",
        "checkpoint-100/model",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

/// Runs `child_with_little_space` with files limited to `limit` bytes; where `survive`, the signal that comes with the
/// limit is ignored (an ignored signal stays ignored in the child), as on a full disk, where there is none.
fn save_with_limit(run_dir: &Path, limit: u64, shape: &str, survive: bool) -> Output {
    let script = if survive { "trap '' XFSZ; exec \"$@\"" } else { "exec \"$@\"" };
    let mut child = Command::new("sh");
    child.args(["-c", script, "sh"]).arg(std::env::current_exe().unwrap());
    child.args(["--exact", "child_with_little_space", "--nocapture", "--test-threads=1"]);
    child.env("GFT_TEST_LIMIT", limit.to_string()).env("GFT_TEST_SHAPE", shape).env("GFT_TEST_RUN", run_dir);
    child.output().unwrap()
}

/// One file that is larger than the manifest, or many that are smaller.
fn shape(name: &str) -> Vec<(String, Vec<u8>)> {
    match name {
        "large" => vec![("a.json".into(), vec![7; 600]), ("model.safetensors".into(), vec![8; 70_000])],
        _ => (0..30).map(|k| (format!("part-{k}"), vec![k; 900])).collect(),
    }
}

#[test]
fn child_with_little_space() {
    let Ok(limit) = std::env::var("GFT_TEST_LIMIT") else { return };
    let limit = Some(limit.parse().unwrap());
    use rustix::process::{Resource, Rlimit, setrlimit};
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).unwrap();
    setrlimit(Resource::Fsize, Rlimit { current: limit, maximum: limit }).unwrap();
    let checkpoints = Checkpoints::new(std::env::var_os("GFT_TEST_RUN").unwrap(), keep_last(1));
    let files = shape(&std::env::var("GFT_TEST_SHAPE").unwrap());
    let saved = checkpoints.save(120, |dir| {
        files.iter().try_for_each(|(name, bytes)| {
            let path = dir.join(name);
            let written = fs::File::create(&path).and_then(|mut file| file.write_all(bytes));
            written.map_err(|error| format!("{}: {error}", path.display()))
        })
    });
    match saved {
        Ok(path) => println!("saved {}", path.display()),
        Err(error) => println!("failed {error}"),
    }
}

#[test]
fn a_full_disk_is_an_error_with_the_path_and_the_previous_checkpoint_loads() {
    // Where writing stops: the lock file, the first file, in the large one (at a page, near its end), the manifest.
    let large = [0, 1, 400, 599, 4096, 50_000, 69_999].map(|limit| (limit, "large"));
    let small = [500, 899, 900, 2000].map(|limit| (limit, "small"));
    for (limit, shape_name) in large.into_iter().chain(small) {
        let run = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
        checkpoints.save(100, |dir| write(&Disk, dir, "old.")).unwrap();
        drop(checkpoints);

        let output = save_with_limit(run.path(), limit, shape_name, true);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said =
            said.lines().find(|line| line.contains("failed ") || line.contains("saved ")).unwrap_or(&said);
        assert!(said.contains(&format!("failed {}", run.path().display())), "{limit} {shape_name}: {said}");
        assert!(said.contains("File too large"), "{limit} {shape_name}: {said}");
        let blamed = match (limit, shape_name) {
            (..30, _) => "run.lock",
            (..600, "large") => "a.json",
            (_, "large") => "model.safetensors",
            (..900, _) => "part-0",
            _ => MANIFEST_FILE,
        };
        assert!(said.contains(blamed), "{limit} {shape_name}: {said}");

        let names: Vec<_> = fs::read_dir(run.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(
            names.len(),
            2,
            "{limit} {shape_name}: {names:?}: the lock and the previous checkpoint only"
        );
        let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
        assert_eq!(checkpoints.latest().unwrap().unwrap().step, 100, "{limit} {shape_name}");

        // The same, but the signal kills the process in the middle of the write.
        let output = save_with_limit(run.path(), limit, shape_name, false);
        assert_eq!(output.status.signal(), Some(25), "{limit} {shape_name}: {output:?}");
        assert_eq!(checkpoints.latest().unwrap().unwrap().step, 100, "{limit} {shape_name}");
        assert!(checkpoints.clean().unwrap().kept.is_empty());
        assert_eq!(checkpoints.save(120, |dir| write(&Disk, dir, "new!")).unwrap(), checkpoints.path_of(120));
    }
    // Without the limit the child does save: it is the limit that is tested.
    for shape_name in ["large", "small"] {
        let run = tempfile::tempdir().unwrap();
        let output = save_with_limit(run.path(), 1 << 20, shape_name, true);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("saved "), "{said}");
        let found = Checkpoints::new(run.path(), RetentionPolicy::default()).latest().unwrap().unwrap();
        assert_eq!(
            found.manifest.total_bytes(),
            shape(shape_name).iter().map(|(_, b)| b.len() as u64).sum::<u64>()
        );
    }
}

#[test]
fn free_space_is_asked_of_the_nearest_folder_that_exists() {
    let run = tempfile::tempdir().unwrap();
    let later = run.path().join("not/yet/there");
    let free = free_bytes(&later).unwrap();
    assert!(free > 0);
    require_free(&later, 1).unwrap();
    let error = require_free(&later, u64::MAX).unwrap_err();
    assert!(matches!(error, CheckpointError::NoSpace { needed: u64::MAX, .. }));
    let text = error.to_string();
    assert!(text.contains("not/yet/there") && text.contains("18446744 TB needed"), "{text}");
}
