//! Asking: every answer that the cache lacks.

use std::sync::atomic::{AtomicBool, Ordering};

use gft_data::{Dataset, EncodeOptions, Encoder};
use gft_model::device::Device;
use gft_model::generate::Sampling;
use gft_model::{ModelFolder, Policy};
use gft_report::Progress;
use gft_rollout::teacher::{
    AskEnded, Budget, Cache, Census, LocalTeacher, Question, Tally, TeacherError, ask, draw,
};

use super::panel::{Means, Voice};
use crate::device::{DeviceArgs, Work};
use crate::failure::Failure;
use crate::terminal::Verbosity;
use crate::{model_path, prompts};

/// Sequences that a folder's model computes together.
const BATCH: usize = 64;

/// What asking needs beside who is asked.
pub struct Filling<'a> {
    pub data: &'a Dataset,
    pub cache: &'a Cache,
    pub budget: &'a Budget,
    pub stop: &'a AtomicBool,
    pub device: DeviceArgs,
    pub verbosity: Verbosity,
}

impl Filling<'_> {
    /// Asks one respondent for what its census says is missing.
    ///
    /// # Errors
    /// As [`ask`] and [`draw`].
    pub fn fill(&self, voice: &Voice, census: &Census) -> Result<(Tally, AskEnded), Failure> {
        if census.missing == 0 {
            return Ok((Tally::default(), AskEnded::Whole));
        }
        let lacking = &census.lacking;
        let total = lacking.len() as u64;
        let question = |at: u64| -> Result<_, TeacherError> {
            let Some(&index) = usize::try_from(at).ok().and_then(|at| lacking.get(at)) else {
                return Ok(None);
            };
            Ok(voice.who.question(&self.data.row(index)?))
        };
        let mut progress = Progress::new(
            match voice.means {
                Means::Endpoint(_) => "asking",
                Means::Folder(..) => "drawing",
            },
            self.verbosity.quiet,
        );
        let (mut told, mut troubled) = (false, false);
        let mut tell = |tally: &Tally| {
            if let (Means::Endpoint(endpoint), false) = (&voice.means, troubled)
                && let Some(why) = endpoint.first_trouble()
            {
                troubled = true;
                progress.clear();
                self.verbosity.note(&format!("{}: {}: {why}; tried again", voice.who.name, endpoint.url()));
            }
            progress.count(tally.prompts, total);
            if self.stop.load(Ordering::Relaxed) && !told {
                told = true;
                progress.clear();
                self.verbosity.note("stopping: requests under way are waited for; Ctrl-C again ends at once");
            }
        };
        let stop = || self.stop.load(Ordering::Relaxed);
        let n = voice.who.n;
        match &voice.means {
            Means::Endpoint(endpoint) => {
                Ok(ask(endpoint, self.cache, self.budget, n, total, question, &mut tell, &stop)?)
            }
            Means::Folder(path, distribution) => {
                let folder = model_path::open(path)?;
                let options = EncodeOptions {
                    max_prompt_tokens: Some(folder.architecture().max_positions.saturating_sub(1)),
                    ..EncodeOptions::default()
                };
                let encoder = Encoder::new(prompts::tokenizer(folder.tokenizer_dir())?, options)?;
                let drawing = Drawing {
                    folder: &folder,
                    encoder: &encoder,
                    distribution,
                    cache: self.cache,
                    n,
                    total,
                    question,
                    tell: &mut tell,
                    stop: &stop,
                };
                Ok((self.device.run(self.verbosity, drawing)?, AskEnded::Whole))
            }
        }
    }
}

/// Drawing the answers of a model folder.
struct Drawing<'a, Q> {
    folder: &'a ModelFolder,
    encoder: &'a Encoder,
    distribution: &'a Sampling,
    cache: &'a Cache,
    n: usize,
    total: u64,
    question: Q,
    tell: &'a mut dyn FnMut(&Tally),
    stop: &'a dyn Fn() -> bool,
}

impl<Q: Fn(u64) -> Result<Option<Question>, TeacherError>> Work for Drawing<'_, Q> {
    type Output = Tally;

    fn on<D: Device + Clone>(self, device: D) -> Result<Tally, Failure> {
        let policy: Policy<D> = self.folder.load_frozen(device)?;
        let teacher = LocalTeacher {
            policy: &policy,
            encoder: self.encoder,
            distribution: self.distribution.clone(),
            max_batch: BATCH,
        };
        Ok(draw(&teacher, self.cache, self.n, self.total, self.question, self.tell, self.stop)?)
    }
}
