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
mod tests;
