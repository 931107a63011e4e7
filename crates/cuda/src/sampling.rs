//! Tokens drawn from logits on the card: a token and two numbers of each row come back.

use std::sync::Arc;

use gft_model::device::{Draw, DrawRow, Sampling};

use crate::backend::Arg::{F32, Ptr, U32, U64};
use crate::backend::Trouble;
use crate::device::Cuda;
use crate::launch::{blocks, count, number};
use crate::memory::{Memory, Mut, Place};
use crate::uploads::bytes_of;

/// Threads of a block.
const THREADS: u32 = 512;
/// Shared bytes of a block: sums of the 2048 values of a digit.
const SHARED: u32 = 2048 * 8;
/// Tokens of a vocabulary at most: two digits.
const MOST_TOKENS: usize = 1 << 22;
/// One, in the units in which kernels sum probabilities.
const ONE: f64 = (1u64 << 62) as f64;

/// What a device that has failed draws: no number.
pub(crate) const NONE: Draw = Draw { token: 0, logprob: f32::NAN, sampling_logprob: f32::NAN };

/// The tokens that the penalty is for, on the card, and room for their logits.
struct Seen {
    offsets: Arc<Memory>,
    tokens: Arc<Memory>,
    before: Memory,
}

impl Seen {
    fn new(cuda: &Cuda, rows: &[DrawRow<'_>], vocab: usize) -> Result<Self, Trouble> {
        let (mut offsets, mut tokens) = (vec![0], Vec::new());
        for row in rows {
            row.seen.iter().for_each(|seen| tokens.extend_from_slice(seen));
            offsets.push(count(tokens.len())?);
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(Trouble::Other(format!("token {token} of {vocab}")));
        }
        Ok(Seen {
            offsets: cuda.bytes(&bytes_of(&offsets))?,
            before: cuda.scratch(4 * tokens.len())?,
            tokens: cuda.bytes(&bytes_of(&tokens))?,
        })
    }
}

/// See [`gft_model::Device::draw`].
pub(crate) fn draw(
    cuda: &Cuda,
    sampling: &Sampling,
    rows: &[DrawRow<'_>],
    logits: Mut<'_>,
) -> Result<Vec<Draw>, Trouble> {
    let vocab = logits.range.len().checked_div(rows.len()).unwrap_or(0);
    if vocab == 0 {
        return Ok(Vec::new());
    }
    if vocab > MOST_TOKENS {
        return Err(Trouble::Other(format!("{vocab} tokens; the kernels draw from up to {MOST_TOKENS}")));
    }
    let uniforms: Vec<u64> = rows.iter().map(|row| (row.uniform * ONE) as u64).collect();
    let uniforms = cuda.bytes(&bytes_of(&uniforms))?;
    let penalised = sampling.repetition_penalty != 1.0;
    let seen = if penalised { Some(Seen::new(cuda, rows, vocab)?) } else { None };
    let at = |part: fn(&Seen) -> &Memory| seen.as_ref().map_or(Ok(0), |seen| part(seen).address()).map(Ptr);
    // Tokens, then two log-probabilities of each, to come back together.
    let results = cuda.scratch(12 * rows.len())?;
    let tokens_at = results.address()?;
    let greedy = sampling.temperature == 0.0;
    let args = [
        Ptr(logits.at(rows.len() * vocab)?),
        Ptr(uniforms.address()?),
        at(|seen| &seen.offsets)?,
        at(|seen| &seen.tokens)?,
        at(|seen| &seen.before)?,
        number(vocab)?,
        F32(if greedy { 1.0 } else { 1.0 / sampling.temperature }),
        U32(u32::from(greedy)),
        // A number that no vocabulary has keeps all.
        U32(u32::try_from(sampling.top_k).unwrap_or(u32::MAX)),
        U64(if sampling.top_p < 1.0 { (f64::from(sampling.top_p) * ONE).ceil() as u64 } else { 0 }),
        F32(sampling.min_p.ln()),
        F32(sampling.repetition_penalty),
        Ptr(tokens_at),
        Ptr(tokens_at + 4 * rows.len() as u64),
    ];
    // SAFETY: logits, random numbers, lists and results have `rows` rows; tokens seen are within the vocabulary.
    unsafe { cuda.launch("draw", blocks((rows.len(), 1), THREADS, SHARED)?, &args)? };
    let mut bytes = vec![0u8; 12 * rows.len()];
    cuda.download_bytes(results.address()?, &mut bytes)?;
    let (words, _) = bytes.as_chunks::<4>();
    let (tokens, logprobs) = words.split_at(rows.len());
    let draws = tokens.iter().zip(logprobs.as_chunks::<2>().0).map(|(token, [model, sampling])| Draw {
        token: u32::from_ne_bytes(*token),
        logprob: f32::from_ne_bytes(*model),
        sampling_logprob: f32::from_ne_bytes(*sampling),
    });
    Ok(draws.collect())
}
