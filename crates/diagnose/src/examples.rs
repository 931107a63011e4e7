//! Rows as SFT sees them: a prompt, the expert's tokens, and their probabilities under the model.

use gft_data::{Dataset, Encode, Encoder, Row};
use gft_model::device::Device;
use gft_model::policy::Want;
use gft_model::{Batch, Policy};

use crate::error::{Error, Result};

/// A demonstration as tokens.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its row.
    pub row: Row,
    /// Tokens of the prompt, `[P]`.
    pub prompt: Vec<u32>,
    /// Tokens of the expert's completion, `[R]`.
    pub tokens: Vec<u32>,
    /// Which of them are learned, `[R]`.
    pub supervised: Vec<bool>,
}

/// Demonstrations of a data set, and what became of the other rows.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// Those that are used.
    pub used: Vec<Example>,
    /// Rows without a demonstration.
    pub without: usize,
    /// Rows that are longer than the model takes.
    pub too_long: usize,
}

/// Tokens of one pass.
const TOKENS: usize = 4096;

impl Examples {
    /// The first `count` demonstrations of a data set, as training encodes them.
    ///
    /// # Errors
    /// Rows that cannot be read; none with a demonstration.
    pub fn read(data: &Dataset, encoder: &Encoder, positions: usize, count: usize) -> Result<Examples> {
        let mut examples = Examples::default();
        for row in data.iter() {
            if examples.used.len() >= count {
                break;
            }
            let row = row?;
            let Encode::Kept(encoded) = encoder.row(&row)? else {
                examples.too_long += 1;
                continue;
            };
            let Some(expert) = encoded.expert.into_iter().next() else {
                examples.without += 1;
                continue;
            };
            if encoded.prompt.ids.is_empty() || encoded.prompt.ids.len() + expert.ids.len() > positions {
                examples.too_long += 1;
                continue;
            }
            examples.used.push(Example {
                row,
                prompt: encoded.prompt.ids,
                tokens: expert.ids,
                supervised: expert.supervised,
            });
        }
        if examples.used.is_empty() {
            return Err(Error::NoDemonstrations { rows: examples.without + examples.too_long });
        }
        Ok(examples)
    }

    /// Log-probability of each learned token of each demonstration, `None` where a token is not learned. `stop` is asked
    /// at every pass.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; what the engine refuses.
    pub fn logprobs<D: Device>(
        &self,
        policy: &Policy<D>,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Vec<Option<f64>>>> {
        let mut found = Vec::with_capacity(self.used.len());
        let mut at = 0;
        while at < self.used.len() {
            if stop() {
                return Err(Error::Interrupted);
            }
            let mut batch = Batch::new();
            let mut ranges = Vec::new();
            while let Some(example) = self.used.get(at) {
                let len = example.prompt.len() + example.tokens.len();
                if !batch.is_empty() && batch.len() + len > TOKENS {
                    break;
                }
                let (prompt, _) = batch.push(None, &example.prompt, |_| false)?;
                let (_, range) = batch.push(Some(prompt), &example.tokens, |i| example.supervised[i])?;
                ranges.push((at, range));
                at += 1;
            }
            let stats = policy.token_stats(&batch, &Want::default())?;
            for (index, range) in ranges {
                let mut values = stats.logprobs[range].iter().map(|x| f64::from(*x));
                let learned = self.used[index].supervised.iter();
                found.push(learned.map(|learned| if *learned { values.next() } else { None }).collect());
            }
        }
        Ok(found)
    }
}
