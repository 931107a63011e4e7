//! Keeps records as problems end, and shows how far it is.

use gft_eval::{Record, Result, RunOptions, Store, Watch};

use crate::interrupt;
use gft_report::Progress;

/// Listens to an evaluation.
pub struct Watcher<'a> {
    store: &'a mut Store,
    progress: Progress,
    /// Problems and samples of this call.
    problems: usize,
    samples: usize,
    /// Length that a sample is expected to have before any has ended.
    guess: usize,
    done: usize,
    tokens: usize,
    tokens_of_done: usize,
    right: f64,
}

impl<'a> Watcher<'a> {
    /// Begins with nothing done of `problems`.
    pub fn new(store: &'a mut Store, problems: usize, options: &RunOptions, quiet: bool) -> Self {
        Self {
            store,
            progress: Progress::new("eval", quiet),
            problems,
            samples: options.samples,
            guess: options.max_new_tokens,
            done: 0,
            tokens: 0,
            tokens_of_done: 0,
            right: 0.0,
        }
    }
}

impl Watch for Watcher<'_> {
    fn token(&mut self) -> bool {
        self.tokens += 1;
        let expected = match self.done {
            0 => (self.guess * self.samples) as f64,
            done => self.tokens_of_done as f64 / done as f64,
        };
        let fraction = (self.tokens as f64 / (expected * self.problems as f64)).min(0.99);
        let (done, problems, right) = (self.done, self.problems, self.right);
        self.progress.update(fraction, self.tokens, || {
            let right = if done > 0 { 100.0 * right / done as f64 } else { 0.0 };
            format!("{done}/{problems} problems | {right:.1} % right so far")
        });
        interrupt::asked()
    }

    fn problem(&mut self, record: Record) -> Result<()> {
        self.done += 1;
        self.tokens_of_done += record.samples.iter().map(|sample| sample.tokens).sum::<usize>();
        self.right += record.mean().unwrap_or(0.0);
        self.store.push(record)
    }
}
