//! Steps that are asked for again and again, each as one graph.
//!
//! A step of generation is some forty commands a layer, and each takes the driver a few microseconds. So the commands of a
//! step are collected until something is read, and compared with those of steps before: the same commands, with the same
//! arguments and addresses, are a graph, which is launched at once. Nothing else decides: whatever changed, a larger cache,
//! other settings of the draw, memory elsewhere, shows in the commands, and then they are asked for one by one. A graph is
//! made when a step's commands come for the second time in a row.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::backend::{Arg, Backend, Command, Launch, Product, Rows, Trouble};

/// Graphs that are kept: for as many numbers of rows as a batch goes through when sequences end one by one.
pub(crate) const KEPT: usize = 32;

/// A backend whose repeated steps are graphs.
pub(crate) struct Steps {
    inner: Box<dyn Backend>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    collecting: bool,
    commands: Vec<Command>,
    /// The commands of the step before, where they were no graph.
    before: Vec<Command>,
    /// Commands and their graphs; those used last are the last.
    graphs: VecDeque<(Vec<Command>, u64)>,
    /// The backend has refused to make one.
    refused: bool,
    /// What went wrong when there was nobody to tell.
    trouble: Option<Trouble>,
}

impl Steps {
    pub fn new(inner: Box<dyn Backend>) -> Self {
        Steps { inner, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects commands from here to the next read.
    pub fn begin(&self) -> Result<(), Trouble> {
        let mut state = self.flushed()?;
        state.collecting = !state.refused;
        Ok(())
    }

    /// Whether commands are collected.
    pub fn collecting(&self) -> bool {
        self.lock().collecting
    }

    /// Asks for what was collected, and collects no more.
    pub fn flush(&self) -> Result<(), Trouble> {
        self.flushed().map(drop)
    }

    /// The same, and the state: as long as it is locked no other thread asks for anything, so that nothing comes into a capture
    /// that did not belong there. A copy that a capture meets would end it.
    fn flushed(&self) -> Result<MutexGuard<'_, State>, Trouble> {
        let mut state = self.lock();
        self.ask_for_collected(&mut state)?;
        Ok(state)
    }

    fn ask_for_collected(&self, state: &mut State) -> Result<(), Trouble> {
        state.collecting = false;
        if let Some(trouble) = state.trouble.take() {
            state.commands.clear();
            return Err(trouble);
        }
        let commands = std::mem::take(&mut state.commands);
        if commands.is_empty() {
            return Ok(());
        }
        let known = state.graphs.iter().position(|(earlier, _)| *earlier == commands);
        if let Some(kept) = known.and_then(|at| state.graphs.remove(at)) {
            let graph = kept.1;
            state.graphs.push_back(kept);
            // SAFETY: each command was asked for with its caller's promise, which holds until the next command that is not
            // collected: memory is neither given back nor written by the host before this.
            return unsafe { self.inner.replay(graph) };
        }
        if state.before == commands && !state.refused {
            // SAFETY: as above.
            match unsafe { self.inner.capture(&commands)? } {
                Some(graph) => {
                    if state.graphs.len() == KEPT
                        && let Some((_, oldest)) = state.graphs.pop_front()
                    {
                        // SAFETY: it is known no more.
                        unsafe { self.inner.forget(oldest) };
                    }
                    state.graphs.push_back((commands, graph));
                    // SAFETY: as above.
                    return unsafe { self.inner.replay(graph) };
                }
                None => state.refused = true,
            }
        }
        // SAFETY: as above.
        let done = commands.iter().try_for_each(|command| unsafe { self.inner.command(command) });
        state.before = commands;
        done
    }

    /// Collects a command, or asks for it at once.
    ///
    /// # Safety
    /// That of the command's own function.
    unsafe fn ask(&self, command: Command) -> Result<(), Trouble> {
        let mut state = self.lock();
        if state.collecting {
            state.commands.push(command);
            return Ok(());
        }
        // The state stays locked, as in `flushed`.
        // SAFETY: the caller's.
        unsafe { self.inner.command(&command) }
    }

    /// [`Backend::upload`] to where no collected command reads or writes; it may go before them.
    ///
    /// # Safety
    /// As there, and none does.
    pub unsafe fn upload_before(&self, source: &[u8], to: u64) -> Result<(), Trouble> {
        let _state = self.lock();
        // SAFETY: the caller's.
        unsafe { self.inner.upload(source, to) }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: nothing is asked for any more.
        state.graphs.drain(..).for_each(|(_, graph)| unsafe { self.inner.forget(graph) });
    }
}

impl Backend for Steps {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn pools(&self) -> bool {
        self.inner.pools()
    }

    fn fixed_rows(&self) -> usize {
        self.inner.fixed_rows()
    }

    fn memory(&self) -> Result<(u64, u64), Trouble> {
        self.inner.memory()
    }

    fn libraries(&self) -> u64 {
        self.inner.libraries()
    }

    fn allocate(&self, bytes: u64) -> Result<u64, Trouble> {
        self.inner.allocate(bytes)
    }

    unsafe fn free(&self, address: u64, bytes: u64) {
        let mut state = self.lock();
        if let Err(trouble) = self.ask_for_collected(&mut state) {
            state.trouble = Some(trouble);
        }
        // SAFETY: the caller's; what was collected has been asked for.
        unsafe { self.inner.free(address, bytes) };
    }

    unsafe fn upload(&self, source: &[u8], to: u64) -> Result<(), Trouble> {
        let _state = self.flushed()?;
        // SAFETY: the caller's.
        unsafe { self.inner.upload(source, to) }
    }

    unsafe fn download(&self, from: u64, target: &mut [u8]) -> Result<(), Trouble> {
        let _state = self.flushed()?;
        // SAFETY: the caller's.
        unsafe { self.inner.download(from, target) }
    }

    unsafe fn copy(&self, rows: Rows) -> Result<(), Trouble> {
        // SAFETY: the caller's.
        unsafe { self.ask(Command::Copy(rows)) }
    }

    unsafe fn fill(&self, address: u64, value: u8, bytes: u64) -> Result<(), Trouble> {
        // SAFETY: the caller's.
        unsafe { self.ask(Command::Fill { address, value, bytes }) }
    }

    unsafe fn launch(&self, kernel: &'static str, shape: Launch, args: &[Arg]) -> Result<(), Trouble> {
        // As `ask`, without a list of arguments where none is kept.
        let mut state = self.lock();
        if state.collecting {
            state.commands.push(Command::Launch { kernel, shape, args: args.into() });
            return Ok(());
        }
        // SAFETY: the caller's.
        unsafe { self.inner.launch(kernel, shape, args) }
    }

    unsafe fn product(&self, product: Product) -> Result<(), Trouble> {
        // SAFETY: the caller's.
        unsafe { self.ask(Command::Product(product)) }
    }
}

#[cfg(test)]
mod tests {
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
}
