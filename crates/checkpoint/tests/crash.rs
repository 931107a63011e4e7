//! A save is disturbed at every one of its file operations: whatever happens, a whole checkpoint is found, old or new.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers stand outside of #[test] functions

mod faults;

use faults::{Fault, Faulty, Forget, Scene, Unsynced, check_survival, folder};
use gft_checkpoint::CheckpointError;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;

/// More operations than any save here does: a loop that gets this far does not end.
const TOO_MANY: usize = 200;

#[test]
fn an_error_at_any_operation_leaves_a_whole_checkpoint() {
    for scene in Scene::ALL {
        let (mut saved, mut failed) = (0, 0);
        for at in 0..TOO_MANY {
            let what = format!("{scene:?}, error at operation {at}");
            let run = folder();
            scene.prepare(run.path());
            let ops = Faulty::new(Fault::Error, at);
            let result = scene.save(run.path(), ops.clone());
            if !ops.reached() {
                assert!(result.is_ok(), "{what}");
                break;
            }
            let error = result.expect_err(&what);
            assert!(
                error.to_string().contains("checkpoint-") || error.to_string().contains("force"),
                "{what}: {error}"
            );
            if let Scene::Again | Scene::Stuck = scene {
                assert!(
                    run.path().join("checkpoint-120").exists(),
                    "{what}: the former one got its name back"
                );
            }
            // The error says which of the two checkpoints is there.
            let new = check_survival(run.path(), &what);
            let is_rotation = matches!(error, CheckpointError::Rotation { .. });
            let is_last_sync = error.to_string().contains("cannot force to the disk");
            assert!(new == is_rotation || is_last_sync, "{what}: {error}");
            *(if new { &mut saved } else { &mut failed }) += 1;
        }
        // 2 folders and 5 files are created, 6 files and 4 folders synced, 1 folder created and renamed.
        assert!(failed >= 19, "{scene:?}: {failed}");
        // Once the new checkpoint is there, an old one is renamed and its 9 entries removed, except where all are kept.
        assert!(saved >= if scene.keeps() == 1 { 10 } else { 1 }, "{scene:?}: {saved}");
        assert!(saved + failed < TOO_MANY);
    }
}

#[test]
fn a_power_loss_at_any_operation_leaves_a_whole_checkpoint() {
    for scene in Scene::ALL {
        for forget in [Forget::Bytes, Forget::Names, Forget::Both, Forget::EarlierNames] {
            for at in 0..=TOO_MANY {
                let what = format!("{scene:?}, {forget:?} forgotten, power lost at operation {at}");
                let run = folder();
                scene.prepare(run.path());
                let ops = Faulty::new(Fault::PowerLoss, at);
                let result = scene.save(run.path(), ops.clone());
                ops.journal.lock().unwrap().forget(forget);
                let new = check_survival(run.path(), &what);
                if !ops.reached() {
                    assert!(result.is_ok() && new, "{what}: saved, and lost");
                    break;
                }
                assert!(at < TOO_MANY);
            }
        }
    }
}

#[test]
fn a_process_that_dies_at_any_operation_leaves_a_whole_checkpoint() {
    for scene in [Scene::Next, Scene::Again] {
        for fault in [Fault::AbortWithin, Fault::AbortAfter] {
            let mut deaths = 0;
            for at in 0..=TOO_MANY {
                let what = format!("{scene:?}, {fault:?} {at}");
                let run = folder();
                scene.prepare(run.path());
                let mut child = Command::new(std::env::current_exe().unwrap());
                child.args(["--exact", "child_that_saves", "--nocapture"]);
                child
                    .env("GFT_TEST_CHILD", format!("{scene:?} {fault:?} {at}"))
                    .env("GFT_TEST_RUN", run.path());
                let output = child.output().unwrap();
                if output.status.success() {
                    assert!(check_survival(run.path(), &what), "{what}: saved, and lost");
                    break;
                }
                assert_eq!(
                    output.status.signal(),
                    Some(6),
                    "{what}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
                check_survival(run.path(), &what);
                deaths += 1;
            }
            assert!((30..TOO_MANY).contains(&deaths), "{scene:?}, {fault:?}: {deaths}");
        }
    }
}

/// The child of the test above; without its environment variable there is nothing to do.
#[test]
fn child_that_saves() {
    let Ok(task) = std::env::var("GFT_TEST_CHILD") else { return };
    let run_dir = std::env::var_os("GFT_TEST_RUN").unwrap();
    // No core files: the deaths are on purpose.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none).unwrap();
    let scene = Scene::ALL.into_iter().find(|scene| task.starts_with(&format!("{scene:?} "))).unwrap();
    let fault = if task.contains("Within") { Fault::AbortWithin } else { Fault::AbortAfter };
    let at = task.rsplit(' ').next().unwrap().parse().unwrap();
    scene.save(std::path::Path::new(&run_dir), Faulty::new(fault, at)).unwrap();
}

#[test]
fn a_save_that_failed_can_be_repeated_by_the_same_process() {
    for scene in Scene::ALL {
        for at in 0..TOO_MANY {
            let run = folder();
            scene.prepare(run.path());
            let ops = Faulty::new(Fault::Error, at);
            let first = scene.save(run.path(), ops.clone());
            assert_eq!(first.is_ok(), !ops.reached());
            let second =
                scene.save(run.path(), Arc::new(Unsynced)).unwrap_or_else(|e| panic!("{scene:?} {at}: {e}"));
            assert!(faults::is_new(&second));
            check_survival(run.path(), &format!("{scene:?} {at}"));
            if first.is_ok() {
                break;
            }
        }
    }
}
