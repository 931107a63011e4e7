//! What a backend that writes down what it is asked is asked for.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::*;

/// Where a copy takes a while, which begins when somebody else waits for it too.
const SLOW: u64 = 99;

/// Writes down what it is asked.
#[derive(Clone, Default)]
struct Notes {
    log: Arc<Mutex<Vec<String>>>,
    slow: Option<Arc<Barrier>>,
    refuses: bool,
    fails: bool,
}

impl Notes {
    fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn copied(&self, what: &str, address: u64) {
        self.note(format!("{what} {address}"));
        if let Some(slow) = self.slow.as_ref().filter(|_| address == SLOW) {
            slow.wait();
            std::thread::sleep(Duration::from_millis(100));
            self.note(format!("{what} is done"));
        }
    }
}

impl Backend for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn memory(&self) -> Result<(u64, u64), Trouble> {
        Ok((0, 0))
    }

    fn allocate(&self, _: u64) -> Result<u64, Trouble> {
        Ok(1)
    }

    unsafe fn free(&self, address: u64, _: u64) {
        self.note(format!("free {address}"));
    }

    unsafe fn upload(&self, _: &[u8], to: u64) -> Result<(), Trouble> {
        self.copied("upload", to);
        Ok(())
    }

    unsafe fn download(&self, from: u64, _: &mut [u8]) -> Result<(), Trouble> {
        self.copied("download", from);
        Ok(())
    }

    unsafe fn copy(&self, rows: Rows) -> Result<(), Trouble> {
        self.note(format!("copy {}", rows.from));
        Ok(())
    }

    unsafe fn fill(&self, address: u64, _: u8, _: u64) -> Result<(), Trouble> {
        self.note(format!("fill {address}"));
        Ok(())
    }

    unsafe fn launch(&self, kernel: &'static str, _: Launch, _: &[Arg]) -> Result<(), Trouble> {
        self.note(kernel);
        if self.fails { Err(Trouble::Other("said by the test".into())) } else { Ok(()) }
    }

    unsafe fn product(&self, product: Product) -> Result<(), Trouble> {
        self.note(format!("product {}", product.m));
        Ok(())
    }

    unsafe fn capture(&self, commands: &[Command]) -> Result<Option<u64>, Trouble> {
        let Command::Fill { address, .. } = commands[0] else { panic!("{commands:?}") };
        self.note(format!("capture {address}"));
        Ok((!self.refuses).then_some(address))
    }

    unsafe fn replay(&self, graph: u64) -> Result<(), Trouble> {
        self.note(format!("replay {graph}"));
        Ok(())
    }

    unsafe fn forget(&self, graph: u64) {
        self.note(format!("forget {graph}"));
    }
}

/// A step that fills memory at two addresses and is read.
fn step(steps: &Steps, notes: &Notes, address: u64) -> Vec<String> {
    steps.begin().unwrap();
    // SAFETY: no memory is touched.
    unsafe {
        steps.fill(address, 0, 1).unwrap();
        steps.fill(address + 1000, 0, 1).unwrap();
        assert_eq!(notes.take(), [""; 0], "collected");
        steps.download(7, &mut []).unwrap();
    }
    notes.take()
}

#[test]
fn a_step_is_asked_for_once_captured_then_replayed_and_another_is_not_taken_for_it() {
    let notes = Notes::default();
    let steps = Steps::new(Box::new(notes.clone()));
    assert_eq!(step(&steps, &notes, 1), ["fill 1", "fill 1001", "download 7"]);
    assert_eq!(step(&steps, &notes, 1), ["capture 1", "replay 1", "download 7"]);
    assert_eq!(step(&steps, &notes, 1), ["replay 1", "download 7"]);
    assert_eq!(step(&steps, &notes, 2), ["fill 2", "fill 1002", "download 7"]);
    assert_eq!(step(&steps, &notes, 1), ["replay 1", "download 7"]);
    drop(steps);
    assert_eq!(notes.take(), ["forget 1"]);
}

#[test]
fn whatever_cannot_wait_comes_after_what_was_collected() {
    let notes = Notes::default();
    let steps = Steps::new(Box::new(notes.clone()));
    let rows = Rows { rows: 1, bytes: 1, from: 5, from_stride: 1, to: 6, to_stride: 1 };
    // SAFETY: no memory is touched.
    unsafe {
        steps.begin().unwrap();
        steps.copy(rows).unwrap();
        steps.upload_before(&[1], 9).unwrap();
        steps.upload(&[1], 8).unwrap();
        steps.copy(rows).unwrap();
        assert_eq!(notes.take(), ["upload 9", "copy 5", "upload 8", "copy 5"]);
        steps.begin().unwrap();
        steps.fill(2, 0, 1).unwrap();
        steps.free(3, 1);
        assert_eq!(notes.take(), ["fill 2", "free 3"]);
        steps.begin().unwrap();
        steps.fill(4, 0, 1).unwrap();
        // A step that begins before the last was read.
        steps.begin().unwrap();
        assert_eq!(notes.take(), ["fill 4"]);
    }
}

/// What one thread's copy and another's step, which has come once and becomes a graph now, ask for.
fn beside(copy: impl FnOnce(&Steps) + Send) -> Vec<String> {
    let notes = Notes { slow: Some(Arc::new(Barrier::new(2))), ..Notes::default() };
    let steps = Steps::new(Box::new(notes.clone()));
    step(&steps, &notes, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&steps));
        notes.slow.as_ref().unwrap().wait();
        // SAFETY: no memory is touched.
        unsafe {
            steps.begin().unwrap();
            steps.fill(1, 0, 1).unwrap();
            steps.fill(1001, 0, 1).unwrap();
            steps.download(7, &mut []).unwrap();
        }
    });
    notes.take()
}

#[test]
fn no_copy_of_another_thread_meets_a_capture() {
    // SAFETY: no memory is touched.
    unsafe {
        let download = beside(|steps| steps.download(SLOW, &mut []).unwrap());
        assert_eq!(download, ["download 99", "download is done", "capture 1", "replay 1", "download 7"]);
        for log in [
            beside(|steps| steps.upload(&[1], SLOW).unwrap()),
            beside(|steps| steps.upload_before(&[1], SLOW).unwrap()),
        ] {
            assert_eq!(log, ["upload 99", "upload is done", "capture 1", "replay 1", "download 7"]);
        }
    }
}

#[test]
fn a_failure_that_memory_given_back_brings_out_is_told_to_the_next_reader() {
    let notes = Notes { fails: true, ..Notes::default() };
    let steps = Steps::new(Box::new(notes));
    // SAFETY: no memory is touched.
    unsafe {
        steps.begin().unwrap();
        steps.launch("kernel", Launch { grid: [1; 3], block: [1; 3], shared: 0 }, &[]).unwrap();
        steps.free(3, 1);
        assert!(steps.download(7, &mut []).is_err(), "lost");
        assert!(steps.download(7, &mut []).is_ok(), "told twice");
    }
}

#[test]
fn no_more_graphs_are_kept_than_said_and_the_one_used_longest_ago_goes() {
    let notes = Notes::default();
    let steps = Steps::new(Box::new(notes.clone()));
    for address in 0..KEPT as u64 {
        step(&steps, &notes, address);
        step(&steps, &notes, address);
    }
    assert_eq!(step(&steps, &notes, 0), ["replay 0", "download 7"]);
    step(&steps, &notes, 500);
    assert_eq!(step(&steps, &notes, 500), ["capture 500", "forget 1", "replay 500", "download 7"]);
    assert_eq!(step(&steps, &notes, 0), ["replay 0", "download 7"]);
}

#[test]
fn a_machine_that_refuses_is_not_asked_again() {
    let notes = Notes { refuses: true, ..Notes::default() };
    let steps = Steps::new(Box::new(notes.clone()));
    step(&steps, &notes, 1);
    assert_eq!(step(&steps, &notes, 1), ["capture 1", "fill 1", "fill 1001", "download 7"]);
    steps.begin().unwrap();
    assert!(!steps.collecting(), "nothing is gained by collecting");
}
