//! What callers rely on: the order of things in a save, rotation, replacement, the lock, cleaning up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers stand outside of #[test] functions

mod faults;

use faults::{is_new, keep_last, write};
use gft_checkpoint::{CheckpointError, Checkpoints, Cleaned, Disk, LOCK_FILE, RetentionPolicy, RunLock};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn save(checkpoints: &Checkpoints, step: u64) -> PathBuf {
    checkpoints.save(step, |dir| write(&Disk, dir, "old.")).unwrap()
}

fn steps(checkpoints: &Checkpoints) -> Vec<u64> {
    checkpoints.list().unwrap().into_iter().collect()
}

#[test]
fn files_are_written_aside_and_described() {
    let run = tempfile::tempdir().unwrap();
    let run_dir = run.path().join("runs/first");
    let checkpoints = Checkpoints::new(&run_dir, RetentionPolicy::default());
    let path = checkpoints
        .save(120, |dir| {
            let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(name.starts_with(&format!("checkpoint-120.partial-{}", std::process::id())), "{name}");
            assert!(!checkpoints.path_of(120).exists());
            write(&Disk, dir, "new!")
        })
        .unwrap();
    assert_eq!(path, run_dir.join("checkpoint-120"));
    assert!(is_new(&path));
    let found = checkpoints.latest().unwrap().unwrap();
    assert_eq!((found.step, &found.path), (120, &path));
    let mut expected: Vec<(String, u64)> =
        faults::files("new!").iter().map(|(name, bytes)| ((*name).to_owned(), bytes.len() as u64)).collect();
    expected.sort();
    let described: Vec<_> = found.manifest.files.iter().map(|file| (file.name.clone(), file.bytes)).collect();
    assert_eq!(described, expected);
}

#[test]
fn a_closure_that_fails_leaves_nothing() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(run.path(), keep_last(1));
    save(&checkpoints, 100);
    let error = checkpoints
        .save(120, |dir| {
            write(&Disk, dir, "new!").unwrap();
            Err("the optimizer would not be written")
        })
        .unwrap_err();
    assert!(matches!(error, CheckpointError::Write { .. }));
    assert!(error.to_string().contains("the optimizer would not"), "{error}");

    type Written = fn(&Path) -> std::io::Result<()>;
    let refused: [(&str, Written); 4] = [
        ("no file was written", |_| Ok(())),
        ("no file was written", |dir| fs::create_dir(dir.join("state"))),
        ("manifest.json", |dir| fs::write(dir.join("manifest.json"), "{}")),
        ("files and folders only", |dir| std::os::unix::fs::symlink("/etc/hostname", dir.join("link"))),
    ];
    for (says, written) in refused {
        let error = checkpoints.save(120, written).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    assert_eq!(steps(&checkpoints), [100]);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 2, "the lock and the old checkpoint");
}

#[test]
fn rotation_keeps_last_every_and_best() {
    let run = tempfile::tempdir().unwrap();
    let policy = RetentionPolicy { keep_last: Some(2), keep_every: Some(50), keep_best: Some(20) };
    let checkpoints = Checkpoints::new(run.path(), policy);
    for step in (10..=70).step_by(10) {
        save(&checkpoints, step);
    }
    assert_eq!(steps(&checkpoints), [20, 50, 60, 70]);
    checkpoints.set_best(60);
    save(&checkpoints, 80);
    assert_eq!(steps(&checkpoints), [50, 60, 70, 80]);
    save(&checkpoints, 90);
    assert_eq!(steps(&checkpoints), [50, 60, 80, 90]);
    drop(checkpoints);
    let zero = Checkpoints::new(run.path(), keep_last(0));
    assert!(matches!(zero.lock(), Err(CheckpointError::Policy(_))));
    assert!(matches!(zero.save(100, |_| Ok::<(), String>(())), Err(CheckpointError::Policy(_))));
}

#[test]
fn a_step_saved_again_is_replaced() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
    let path = save(&checkpoints, 120);
    fs::write(path.join("notes.txt"), "of the old one").unwrap();
    let again = checkpoints
        .save(120, |dir| {
            assert!(!is_new(&path), "the old one is there until the new one is complete");
            write(&Disk, dir, "new!")
        })
        .unwrap();
    assert_eq!(again, path);
    assert!(is_new(&path) && !path.join("notes.txt").exists());
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 2);
}

#[test]
fn going_back_sets_later_checkpoints_aside() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(run.path(), keep_last(5));
    for step in [100, 120, 140] {
        save(&checkpoints, step);
    }
    let aside = checkpoints.set_aside_after(100).unwrap();
    assert_eq!(aside.len(), 2);
    assert_eq!(checkpoints.latest().unwrap().unwrap().step, 100);
    assert_eq!(checkpoints.clean().unwrap(), Cleaned::default());
    assert!(aside.iter().all(|path| checkpoints.verify(path).is_ok()));
    assert!(checkpoints.set_aside_after(100).unwrap().is_empty());
}

#[test]
fn one_writer_at_a_time_and_any_number_of_readers() {
    let run = tempfile::tempdir().unwrap();
    let first = Checkpoints::new(run.path(), RetentionPolicy::default());
    let second = Checkpoints::new(run.path(), RetentionPolicy::default());
    save(&first, 100);
    let refused = second.save(120, |dir| write(&Disk, dir, "new!")).unwrap_err();
    assert!(matches!(refused, CheckpointError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    assert!(matches!(second.lock(), Err(CheckpointError::Locked { .. })));
    assert!(matches!(second.clean(), Err(CheckpointError::Locked { .. })));
    assert!(matches!(second.set_aside_after(0), Err(CheckpointError::Locked { .. })));
    assert_eq!(second.latest().unwrap().unwrap().step, 100);
    drop(first);
    save(&second, 120);
    assert!(second.clean().is_ok());
}

/// Takes the lock and keeps it until its input ends.
#[test]
fn child_that_holds_the_lock() {
    let Some(run_dir) = std::env::var_os("GFT_TEST_LOCK") else { return };
    let _lock = RunLock::acquire(Path::new(&run_dir)).unwrap();
    println!("locked");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn the_lock_of_another_process_ends_with_it() {
    let run = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_the_lock", "--nocapture"])
        .env("GFT_TEST_LOCK", run.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("locked")));
    let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
    let error = checkpoints.lock().unwrap_err().to_string();
    assert!(error.contains(&format!("process {}", child.id())) && error.contains(LOCK_FILE), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    checkpoints.lock().unwrap();
}

#[test]
fn cleaning_removes_what_the_dead_left_and_nothing_of_the_living() {
    let run = tempfile::tempdir().unwrap();
    let mut alive = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let (own, alive_id, dead_id) = (std::process::id(), alive.id(), dead.id());
    let make = |name: String| {
        let path = run.path().join(name);
        fs::create_dir_all(path.join("state")).unwrap();
        fs::write(path.join("state/optimizer.safetensors"), "half").unwrap();
        path
    };
    let mut kept = vec![
        make(format!("checkpoint-1.partial-{alive_id}")),
        make(format!("checkpoint-1.trash-{alive_id}")),
    ];
    let mut removed = vec![
        make(format!("checkpoint-1.partial-{dead_id}")),
        make(format!("checkpoint-2.trash-{dead_id}-77")),
        // Of an earlier process with this one's id, and of one in another boot.
        make(format!("checkpoint-1.partial-{own}")),
        make(format!("checkpoint-1.partial-{own}-1")),
    ];
    if cfg!(target_os = "linux") {
        // The id lives, but the process that wrote this is gone: it started in another tick.
        removed.push(make(format!("checkpoint-1.partial-{alive_id}-1")));
    }
    let foreign = [
        make("checkpoint-1.partial-x".into()),
        make("checkpoint-best".into()),
        make("notes.partial-1".into()),
    ];

    let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
    assert!(checkpoints.latest().unwrap().is_none());
    let cleaned = checkpoints.clean().unwrap();
    alive.kill().unwrap();
    alive.wait().unwrap();
    kept.sort();
    removed.sort();
    assert_eq!(cleaned, Cleaned { removed: removed.clone(), restored: vec![], kept: kept.clone() });
    assert!(removed.iter().all(|path| !path.exists()));
    assert!(kept.iter().chain(&foreign).all(|path| path.join("state/optimizer.safetensors").exists()));
    // Its process has ended.
    assert_eq!(checkpoints.clean().unwrap().removed, kept);
}

#[test]
fn an_interrupted_replacement_is_found_and_ended() {
    let run = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(run.path(), RetentionPolicy::default());
    let path = save(&checkpoints, 120);
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let replaced = run.path().join(format!("checkpoint-120.replaced-{}", dead.id()));
    fs::rename(&path, &replaced).unwrap();
    let found = checkpoints.latest().unwrap().unwrap();
    assert_eq!((found.step, found.path), (120, replaced.clone()));
    assert_eq!(checkpoints.clean().unwrap().restored, std::slice::from_ref(&path));

    // Next to a damaged successor it is the only good copy.
    fs::rename(&path, &replaced).unwrap();
    save(&checkpoints, 100);
    fs::create_dir(&path).unwrap();
    assert_eq!(checkpoints.clean().unwrap().kept, std::slice::from_ref(&replaced));
    let found = checkpoints.latest().unwrap().unwrap();
    assert_eq!((found.step, &found.path, found.refused.len()), (120, &replaced, 1));

    // Saving the step anew ends both.
    assert_eq!(checkpoints.save(120, |dir| write(&Disk, dir, "new!")).unwrap(), path);
    assert!(is_new(&path) && !replaced.exists());
}

#[test]
fn a_link_to_another_disk_is_unlinked_and_not_emptied() {
    let run = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(run.path(), keep_last(1));
    let path = save(&checkpoints, 100);
    let elsewhere = other.path().join("kept");
    let copied = Command::new("cp").arg("-r").arg(&path).arg(&elsewhere).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(&path).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(checkpoints.latest().unwrap().unwrap().step, 100);
    save(&checkpoints, 120);
    assert_eq!(steps(&checkpoints), [120]);
    assert_eq!(checkpoints.verify(&elsewhere).unwrap().step, 100);
}
