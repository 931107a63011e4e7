//! Commands captured from the stream as one graph.

use cudarc::driver::result as cu;
use cudarc::driver::sys;

use super::{Driver, said};
use crate::backend::{Backend, Command, Trouble};

impl Driver {
    /// A graph of commands; `None` where the driver makes none of them.
    ///
    /// # Safety
    /// That of each command, whenever the graph is launched.
    pub(super) unsafe fn captured(&self, commands: &[Command]) -> Result<Option<u64>, Trouble> {
        if !self.graphs {
            return Ok(None);
        }
        self.here()?;
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as this. Until the capture ends, work is collected and not run.
        unsafe {
            if cu::stream::begin_capture(self.stream, mode).is_err() {
                return Ok(None);
            }
            let asked = commands.iter().try_for_each(|command| self.command(command));
            // A capture that has failed ends here as well, without a graph.
            let Ok(graph) = cu::stream::end_capture(self.stream) else { return Ok(None) };
            if graph.is_null() {
                return Ok(None);
            }
            let made = match asked {
                Ok(()) => cu::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)).ok(),
                Err(_) => None,
            };
            let _ = cu::graph::destroy(graph);
            Ok(made.map(|graph| graph as u64))
        }
    }

    /// Launches a graph.
    ///
    /// # Safety
    /// It came from [`Driver::captured`], and its commands may be run now.
    pub(super) unsafe fn launched(&self, graph: u64) -> Result<(), Trouble> {
        self.here()?;
        // SAFETY: the caller's.
        unsafe { cu::graph::launch(graph as sys::CUgraphExec, self.stream) }.map_err(said("cuGraphLaunch"))
    }

    /// Gives a graph back when it has run.
    ///
    /// # Safety
    /// It came from [`Driver::captured`] and is used no more.
    pub(super) unsafe fn forgotten(&self, graph: u64) {
        // SAFETY: the caller's. Errors are those of earlier work, which its own reader is told.
        unsafe {
            let _ = self.here().is_ok()
                && cu::stream::synchronize(self.stream).is_ok()
                && cu::graph::exec_destroy(graph as sys::CUgraphExec).is_ok();
        }
    }
}
