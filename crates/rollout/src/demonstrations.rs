//! The rollouts that a row brings with it.

use gft_data::{Completion, Encode, EncodedCompletion, Encoder, Row};
use gft_objective::Source;

use crate::{Composition, Ended, Error, Rollout};

/// What becomes of a demonstration that is longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongDemonstrations {
    /// It is left out of its group and counted: a cut solution teaches to stop nowhere.
    #[default]
    Drop,
    /// Its beginning is kept; it is graded whole (TRL's `truncation_mode = "keep_start"`).
    KeepStart,
}

/// Demonstrations of a row that were left out, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Without any text.
    pub empty: usize,
    /// Longer than the limit.
    pub too_long: usize,
}

/// A row's prompt and demonstrations as tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Demonstrations {
    /// Token ids of the prompt, `[P]`.
    pub prompt: Vec<u32>,
    /// Experts, then teachers, as many as the composition wants and the row has.
    pub rollouts: Vec<Rollout>,
    /// Those that were left out.
    pub lost: Lost,
    /// Of how many experts, and of how many teachers, they are taken.
    pub of: (usize, usize),
}

/// Encodes a row's prompt and the demonstrations that a group of `composition` takes from it.
///
/// Where a row has more completions of a source than are wanted, the first epoch begins at a place that depends on the
/// row's number `index`, so that no place in the lists is left out of a single epoch, and each other one where the one
/// before it ended.
///
/// # Errors
/// As [`Encoder::row`].
pub fn demonstrations(
    encoder: &Encoder,
    row: &Row,
    composition: Composition,
    index: u64,
    epoch: u64,
    long: LongDemonstrations,
) -> Result<Encode<Demonstrations>, Error> {
    let encoded = if composition.experts + composition.teachers == 0 {
        encoder.prompt(row)?.map_prompt()
    } else {
        match encoder.row(row)? {
            Encode::Kept(row) => Encode::Kept((row.prompt.ids, row.expert, row.teachers)),
            Encode::PromptTooLong { tokens, limit } => Encode::PromptTooLong { tokens, limit },
        }
    };
    let (prompt, experts, teachers) = match encoded {
        Encode::Kept(parts) => parts,
        Encode::PromptTooLong { tokens, limit } => return Ok(Encode::PromptTooLong { tokens, limit }),
    };
    let (mut lost, mut of) = (Lost::default(), (0, 0));
    let mut rollouts = Vec::with_capacity(composition.size());
    let sources = [
        (Source::Expert, &row.expert, experts, composition.experts),
        (Source::Teacher, &row.teachers, teachers, composition.teachers),
    ];
    // What the group does not want is not lost.
    for (source, completions, encoded, wanted) in sources.into_iter().filter(|(.., wanted)| *wanted > 0) {
        let usable = usable(source, completions, encoded, long, &mut lost);
        let len = usable.len();
        let visit = index.wrapping_add(epoch);
        let start = if len > wanted { (visit.wrapping_mul(wanted as u64) % len as u64) as usize } else { 0 };
        *if source == Source::Expert { &mut of.0 } else { &mut of.1 } = len;
        rollouts.extend((0..wanted.min(len)).filter_map(|k| usable.get((start + k) % len).cloned()));
    }
    Ok(Encode::Kept(Demonstrations { prompt, rollouts, lost, of }))
}

/// Ids of a prompt, of the expert's and of the teachers' completions.
type Parts = (Vec<u32>, Vec<EncodedCompletion>, Vec<EncodedCompletion>);

/// The prompt alone, for groups without demonstrations.
trait MapPrompt {
    fn map_prompt(self) -> Encode<Parts>;
}

impl MapPrompt for Encode<gft_data::EncodedPrompt> {
    fn map_prompt(self) -> Encode<Parts> {
        match self {
            Encode::Kept(prompt) => Encode::Kept((prompt.ids, Vec::new(), Vec::new())),
            Encode::PromptTooLong { tokens, limit } => Encode::PromptTooLong { tokens, limit },
        }
    }
}

fn usable(
    source: Source,
    completions: &[Completion],
    encoded: Vec<EncodedCompletion>,
    long: LongDemonstrations,
    lost: &mut Lost,
) -> Vec<Rollout> {
    let mut usable = Vec::with_capacity(encoded.len());
    for (completion, encoded) in completions.iter().zip(encoded) {
        if completion.content.trim().is_empty() && completion.messages.is_empty() {
            lost.empty += 1;
        } else if encoded.truncated && long == LongDemonstrations::Drop {
            lost.too_long += 1;
        } else {
            usable.push(Rollout {
                source,
                tokens: encoded.ids,
                supervised: encoded.supervised,
                text: completion.content.clone(),
                ended: if encoded.truncated { Ended::Truncated } else { Ended::Stop },
                logprobs: None,
                given_reward: completion.reward,
                author: completion.model.clone(),
                policy_version: 0,
            });
        }
    }
    usable
}
