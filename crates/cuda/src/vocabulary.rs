//! Statistics of a chunk of logits, and the gradient of the loss with respect to it.

use std::sync::Arc;

use gft_model::device::{ChunkSeeds, ChunkStats, ChunkTargets, ChunkWant, KlDirection};

use crate::backend::Arg::{F32, Ptr, U32};
use crate::backend::{Arg, Number, Trouble};
use crate::device::Cuda;
use crate::launch::{Done, blocks, kernel, number};
use crate::memory::{Kept, Memory, Mut, Place, Ref};
use crate::uploads::bytes_of;

/// Threads of a block.
const THREADS: u32 = 512;

/// A KL divergence as kernels take it.
fn kl(direction: Option<KlDirection>) -> Arg {
    U32(match direction {
        None => 0,
        Some(KlDirection::ReferenceToPolicy) => 1,
        Some(KlDirection::PolicyToReference) => 2,
    })
}

/// A chunk's targets on the card.
struct Targets {
    offsets: Arc<Memory>,
    tokens: Arc<Memory>,
    vocab: usize,
}

impl Targets {
    fn new(cuda: &Cuda, targets: ChunkTargets<'_>, logits: usize) -> Result<Self, Trouble> {
        let vocab = logits.checked_div(targets.rows()).unwrap_or(0);
        let sorted = targets.offsets.is_sorted() && targets.offsets.first() == Some(&0);
        if !sorted || targets.offsets.last() != Some(&targets.tokens.len()) {
            return Err(Trouble::Other("targets that are not those of the rows".into()));
        }
        if let Some(token) = targets.tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(Trouble::Other(format!("token {token} of {vocab}")));
        }
        let offsets: Vec<u32> = targets.offsets.iter().map(|offset| *offset as u32).collect();
        Ok(Targets {
            offsets: cuda.bytes(&bytes_of(&offsets))?,
            tokens: cuda.bytes(&bytes_of(targets.tokens))?,
            vocab,
        })
    }
}

pub(crate) fn stats(
    cuda: &Cuda,
    want: ChunkWant,
    targets: ChunkTargets<'_>,
    logits: Ref<'_>,
    reference: Option<Ref<'_>>,
) -> Result<ChunkStats, Trouble> {
    let (rows, count) = (targets.rows(), targets.tokens.len());
    if rows == 0 {
        return Ok(ChunkStats::default());
    }
    let list = Targets::new(cuda, targets, logits.range.len())?;
    let size = rows * list.vocab;
    let reference = reference.map(|reference| reference.at(size)).transpose()?;
    if want.kl.is_some() && reference.is_none() {
        return Err(Trouble::Other("a KL divergence without a reference".into()));
    }
    // All results lie one after another, to come back together.
    let lengths = [
        rows,
        if want.kl.is_some() { rows } else { 0 },
        count,
        if want.entropy { rows } else { 0 },
        if want.kl.is_some() { rows } else { 0 },
    ];
    let results = cuda.scratch(4 * lengths.iter().sum::<usize>())?;
    let mut next = results.address()?;
    let [lse, reference_lse, logprobs, entropies, kls] = lengths.map(|len| {
        let at = if len == 0 { 0 } else { next };
        next += 4 * len as u64;
        Ptr(at)
    });
    let args = [
        Ptr(logits.at(size)?),
        Ptr(reference.filter(|_| want.kl.is_some()).unwrap_or(0)),
        Ptr(list.offsets.address()?),
        Ptr(list.tokens.address()?),
        number(list.vocab)?,
        F32(want.temperature),
        U32(u32::from(want.entropy)),
        kl(want.kl),
        lse,
        reference_lse,
        logprobs,
        entropies,
        kls,
    ];
    // SAFETY: logits and reference have `rows` rows, targets are within the vocabulary, results have room for what is asked.
    unsafe { cuda.launch("chunk_stats", blocks((rows, 1), THREADS, 0)?, &args)? };
    let mut values = vec![0.0f32; lengths.iter().sum()];
    cuda.download(results.address()?, &mut values)?;
    let mut left = &values[..];
    let mut take = |len: usize| {
        let (first, rest) = left.split_at(len);
        left = rest;
        first.to_vec()
    };
    let [lse, reference_lse, logprobs, entropy, kl] = lengths.map(&mut take);
    Ok(ChunkStats { lse, reference_lse, logprobs, entropy, kl })
}

/// Statistics of a device that has failed: NaN, never a number.
pub(crate) fn none(want: ChunkWant, targets: ChunkTargets<'_>) -> ChunkStats {
    let nan = |len: usize, wanted: bool| if wanted { vec![f32::NAN; len] } else { Vec::new() };
    let (rows, kl) = (targets.rows(), want.kl.is_some());
    ChunkStats {
        lse: nan(rows, true),
        reference_lse: nan(rows, kl),
        logprobs: nan(targets.tokens.len(), true),
        entropy: nan(rows, want.entropy),
        kl: nan(rows, kl),
    }
}

/// Into `apart`, or in the logits' place.
#[allow(clippy::too_many_arguments)]
pub(crate) fn backward(
    cuda: &Cuda,
    want: ChunkWant,
    targets: ChunkTargets<'_>,
    stats: &ChunkStats,
    seeds: &ChunkSeeds,
    logits: Mut<'_>,
    reference: Option<Ref<'_>>,
    apart: Option<Mut<'_>>,
) -> Done {
    let (rows, count) = (targets.rows(), targets.tokens.len());
    if rows == 0 {
        return Ok(());
    }
    let list = Targets::new(cuda, targets, logits.range.len())?;
    let size = rows * list.vocab;
    let reference = reference.map(|reference| reference.at(size)).transpose()?;
    // Numbers for each row, or none at all; kept until the launch.
    let mut lists = Vec::new();
    let mut put = |what: &str, list: &[f32], len: usize| -> Result<Arg, Trouble> {
        if list.is_empty() && len > 0 {
            return Ok(Ptr(0));
        }
        if list.len() != len {
            return Err(Trouble::Other(format!("{} {what} for {len}", list.len())));
        }
        let memory = cuda.bytes(&bytes_of(list))?;
        let at = Ptr(memory.address()?);
        lists.push(memory);
        Ok(at)
    };
    let kl_wanted = want.kl.is_some() && !seeds.kl.is_empty();
    if stats.lse.len() != rows
        || (!seeds.entropy.is_empty() && stats.entropy.len() != rows)
        || (kl_wanted && (reference.is_none() || stats.kl.len() != rows || stats.reference_lse.len() != rows))
    {
        return Err(Trouble::Other("seeds of statistics that were not computed".into()));
    }
    let in_place = logits.at(size)?;
    let (out, kept) = apart.map_or(Ok((in_place, Number::F32)), |apart| apart.any(size))?;
    let args = [
        Ptr(out),
        Ptr(in_place),
        Ptr(reference.filter(|_| kl_wanted).unwrap_or(0)),
        Ptr(list.offsets.address()?),
        Ptr(list.tokens.address()?),
        number(list.vocab)?,
        F32(want.temperature),
        kl(want.kl.filter(|_| kl_wanted)),
        put("log-sum-exps", &stats.lse, rows)?,
        put("log-sum-exps of the reference", &stats.reference_lse, rows)?,
        put("entropies", &stats.entropy, rows)?,
        put("divergences", &stats.kl, rows)?,
        put("seeds of log-probabilities", &seeds.logprobs, count)?,
        put("seeds of entropies", &seeds.entropy, rows)?,
        if kl_wanted { put("seeds of divergences", &seeds.kl, rows)? } else { Ptr(0) },
    ];
    // SAFETY: logits and reference have `rows` rows, targets are within the vocabulary, each list is as long as it must be.
    unsafe { cuda.launch(kernel!(kept, "chunk_backward"), blocks((rows, 1), THREADS, 0)?, &args) }
}
