//! Teachers that are model folders on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use gft_data::{Encode, Encoder, Message, Prompt, Row};
use gft_model::Policy;
use gft_model::device::Device;
use gft_model::generate::Sampling as Distribution;
use sha2::{Digest, Sha256};

use super::{Answer, Cache, Failed, Question, Tally, TeacherError, Usage};
use crate::{Ended, Group, OwnOptions, sample};

/// Prompts whose answers are drawn together, and kept together.
const TOGETHER: u64 = 16;

/// A model folder as a teacher.
pub struct LocalTeacher<'a, D: Device> {
    /// Its weights.
    pub policy: &'a Policy<D>,
    /// Its tokenizer and template, with the limits of the model.
    pub encoder: &'a Encoder,
    /// How tokens are drawn; what a [`Question`] leaves open is in it.
    pub distribution: Distribution,
    /// Sequences that are computed together.
    pub max_batch: usize,
}

/// What identifies a folder as a teacher: its path, the name, size and time of change of its files, of its base's where it
/// is an adapter (else `base` is the folder itself), and the parts of the distribution that no [`Question`] says. Training
/// into the same folder makes another teacher of it, and so does another template or another way to draw.
///
/// # Errors
/// A folder that cannot be read.
pub fn place(folder: &Path, base: &Path, distribution: &Distribution) -> Result<String, TeacherError> {
    let absolute = |path: &Path| path.canonicalize().map_err(io(path));
    let (folder, base) = (absolute(folder)?, absolute(base)?);
    let mut hasher = Sha256::new();
    identify(&folder, &mut hasher)?;
    if base != folder {
        hasher.update(format!("{}\n", base.display()));
        identify(&base, &mut hasher)?;
    }
    hasher.update(format!("{distribution:?}"));
    let hash: String = hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}#{hash}", folder.display()))
}

/// What is made of a failure to read a path.
fn io(path: &Path) -> impl FnOnce(std::io::Error) -> TeacherError {
    let path = path.to_path_buf();
    move |source| TeacherError::Io { path, action: "read", source }
}

/// Adds the name, size and time of change of a folder's files that decide what a model says.
fn identify(folder: &Path, hasher: &mut Sha256) -> Result<(), TeacherError> {
    let entries = fs::read_dir(folder).map_err(io(folder))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let counts = ["safetensors", "json", "jinja"];
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| counts.iter().any(|c| e == *c))) {
        let about = file.metadata().map_err(io(file))?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed = changed.unwrap_or_default().as_nanos();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        hasher.update(format!("{name} {} {changed}\n", about.len()));
    }
    Ok(())
}

/// As [`super::ask`], from a model on this machine. Sample `k` of a prompt depends on the seed, the prompt's tokens and
/// `k` alone.
///
/// # Errors
/// A question that cannot be read, a model that fails, a cache that cannot be written;
/// [`TeacherError::Interrupted`] when `stop` said so.
pub fn draw<D: Device>(
    teacher: &LocalTeacher<'_, D>,
    cache: &Cache,
    n: usize,
    prompts: u64,
    question: impl Fn(u64) -> Result<Option<Question>, TeacherError>,
    progress: &mut dyn FnMut(&Tally),
    stop: &dyn Fn() -> bool,
) -> Result<Tally, TeacherError> {
    let mut tally = Tally::default();
    for start in (0..prompts).step_by(TOGETHER as usize) {
        let mut lacking = Vec::new();
        for index in start..(start + TOGETHER).min(prompts) {
            tally.prompts += 1;
            let Some(question) = question(index)? else { continue };
            if (0..n).all(|k| cache.has(&question, k)) {
                tally.cached += n as u64;
                tally.complete += 1;
            } else {
                lacking.push((index, question));
            }
        }
        teacher.fill(cache, n, lacking, &mut tally, stop)?;
        progress(&tally);
        if stop() {
            return Err(TeacherError::Interrupted);
        }
    }
    Ok(tally)
}

impl<D: Device> LocalTeacher<'_, D> {
    fn fill(
        &self,
        cache: &Cache,
        n: usize,
        lacking: Vec<(u64, Question)>,
        tally: &mut Tally,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), TeacherError> {
        let (mut groups, mut questions) = (Vec::new(), Vec::new());
        for (index, question) in lacking {
            match self.group(index, &question)? {
                Ok(group) => {
                    groups.push(group);
                    questions.push(question);
                }
                Err(why) => {
                    tally.failed += 1;
                    if tally.failures.len() < 10 {
                        tally.failures.push(Failed { index, why });
                    }
                }
            }
        }
        let Some(first) = questions.first() else { return Ok(()) };
        let sampling = &first.sampling;
        let mut distribution = self.distribution.clone();
        distribution.temperature = sampling.temperature.map_or(distribution.temperature, |t| t as f32);
        distribution.top_p = sampling.top_p.map_or(distribution.top_p, |p| p as f32);
        let options = OwnOptions {
            samples: n,
            sampling: distribution,
            max_new_tokens: sampling.max_tokens as usize,
            max_batch: self.max_batch,
            seed: sampling.seed.unwrap_or_default(),
            step: 0,
            policy_version: 0,
        };
        sample(self.policy, self.encoder, &options, &mut groups, stop).map_err(|error| match error {
            crate::Error::Interrupted => TeacherError::Interrupted,
            other => TeacherError::Rollout(Box::new(other)),
        })?;
        for (group, question) in groups.into_iter().zip(&questions) {
            tally.complete += 1;
            for (k, rollout) in group.rollouts.into_iter().enumerate() {
                let usage = Usage {
                    prompt_tokens: group.prompt.len() as u64,
                    completion_tokens: rollout.tokens.len() as u64,
                };
                let reason = if rollout.ended == Ended::Stop { "stop" } else { "length" };
                let mut content = rollout.text;
                let end = question.sampling.stop.iter().filter_map(|stop| content.find(stop.as_str())).min();
                if let Some(end) = end {
                    content.truncate(end);
                }
                let finish_reason = Some(if end.is_some() { "stop".into() } else { reason.into() });
                let answer = Answer { content, reasoning: None, finish_reason, usage: Some(usage), of: 1 };
                cache.put(question, k, &answer)?;
                tally.answered += 1;
            }
        }
        Ok(())
    }

    /// A group without rollouts, its place in the random streams given by its tokens; or why there is none.
    fn group(&self, index: u64, question: &Question) -> Result<Result<Group, String>, TeacherError> {
        let row = as_row(&question.messages);
        let prompt = match self.encoder.prompt(&row)? {
            Encode::Kept(prompt) => prompt.ids,
            Encode::PromptTooLong { tokens, limit } => {
                return Ok(Err(format!("the prompt has {tokens} tokens, the model takes {limit}")));
            }
        };
        let mut hasher = Sha256::new();
        prompt.iter().for_each(|id| hasher.update(id.to_le_bytes()));
        let position = hasher.finalize().iter().take(8).fold(0, |n, &byte| n << 8 | u64::from(byte));
        Ok(Ok(Group { position, index, row, prompt, rollouts: Vec::new() }))
    }
}

fn as_row(messages: &[Message]) -> Row {
    // One user message alone is a question, so that a model without template gets it plainly, as in training.
    let prompt = match messages {
        [only] if only.role() == "user" && only.0.len() == 2 && only.content().is_some() => {
            Prompt::Question(only.content().unwrap_or_default().to_owned())
        }
        _ => Prompt::Messages(messages.to_vec()),
    };
    Row::of(prompt)
}
