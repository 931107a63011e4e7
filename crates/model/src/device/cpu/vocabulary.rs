//! Statistics of a chunk of logits, and the gradient of the loss with respect to it.
//!
//! With `z = logits / temperature`, `p = softmax(z)` and seeds `s` (log-probability of target `y`), `h` (entropy) and
//! `c` (KL), the gradient with respect to `z_v` is
//! `s (1[v = y] - p_v) - h p_v (log p_v + H) + c (p_v - q_v)` for `KL(q || p)`, with
//! `c p_v (log p_v - log q_v - KL)` in the last place for `KL(p || q)`.

use super::team::Team;
use crate::device::{ChunkSeeds, ChunkStats, ChunkTargets, ChunkWant, KlDirection};
use crate::math;
use crate::vectorized::vectorized;

struct RowStats {
    lse: f32,
    reference_lse: f32,
    entropy: f32,
    kl: f32,
}

/// See [`crate::Device::chunk_stats`].
pub fn stats(
    team: &Team,
    want: ChunkWant,
    targets: ChunkTargets<'_>,
    logits: &[f32],
    reference: Option<&[f32]>,
) -> ChunkStats {
    let rows = targets.rows();
    if rows == 0 {
        return ChunkStats::default();
    }
    let vocab = logits.len() / rows;
    let row_stats: Vec<RowStats> = team.map(rows, |row| {
        let at = row * vocab..(row + 1) * vocab;
        row_stats(want, &logits[at.clone()], reference.map(|reference| &reference[at]))
    });
    let mut stats = ChunkStats::default();
    for (row, r) in row_stats.iter().enumerate() {
        let z = &logits[row * vocab..(row + 1) * vocab];
        for &token in &targets.tokens[targets.offsets[row]..targets.offsets[row + 1]] {
            stats.logprobs.push(z[token as usize] / want.temperature - r.lse);
        }
    }
    stats.lse = row_stats.iter().map(|r| r.lse).collect();
    if want.entropy {
        stats.entropy = row_stats.iter().map(|r| r.entropy).collect();
    }
    if want.kl.is_some() {
        stats.kl = row_stats.iter().map(|r| r.kl).collect();
        stats.reference_lse = row_stats.iter().map(|r| r.reference_lse).collect();
    }
    stats
}

vectorized! {
fn row_stats(want: ChunkWant, z: &[f32], reference: Option<&[f32]>) -> RowStats {
    let inverse = 1.0 / want.temperature;
    let lse = math::log_sum_exp(z, inverse);
    let mut entropy = 0.0f64;
    if want.entropy {
        entropy = -math::sum(z, |_, z| {
            let log_p = z.mul_add(inverse, -lse);
            math::exp(log_p) * log_p
        });
    }
    let (mut kl, mut reference_lse) = (0.0f64, 0.0);
    if let (Some(direction), Some(reference)) = (want.kl, reference) {
        reference_lse = math::log_sum_exp(reference, inverse);
        let reference = &reference[..z.len()];
        kl = math::sum(z, |i, z| {
            let (log_p, log_q) = (z.mul_add(inverse, -lse), reference[i].mul_add(inverse, -reference_lse));
            match direction {
                KlDirection::ReferenceToPolicy => math::exp(log_q) * (log_q - log_p),
                KlDirection::PolicyToReference => math::exp(log_p) * (log_p - log_q),
            }
        });
    }
    RowStats { lse, reference_lse, entropy: entropy as f32, kl: kl as f32 }
}
}

/// See [`crate::Device::chunk_backward`].
pub fn backward(
    team: &Team,
    want: ChunkWant,
    targets: ChunkTargets<'_>,
    stats: &ChunkStats,
    seeds: &ChunkSeeds,
    logits: &mut [f32],
    reference: Option<&[f32]>,
) {
    let rows = targets.rows();
    if rows == 0 {
        return;
    }
    let vocab = logits.len() / rows;
    team.chunks(&mut logits[..rows * vocab], vocab, |row, z| {
        let reference = reference.map(|reference| &reference[row * vocab..(row + 1) * vocab]);
        row_backward(row, want, targets, stats, seeds, z, reference);
    });
}

vectorized! {
fn row_backward(
    row: usize,
    want: ChunkWant,
    targets: ChunkTargets<'_>,
    stats: &ChunkStats,
    seeds: &ChunkSeeds,
    z: &mut [f32],
    reference: Option<&[f32]>,
) {
    let inverse = 1.0 / want.temperature;
    let own = targets.offsets[row]..targets.offsets[row + 1];
    let seed_sum: f32 = seeds.logprobs[own.clone()].iter().sum();
    let lse = stats.lse[row];
    let h = seeds.entropy.get(row).copied().unwrap_or(0.0);
    let c = seeds.kl.get(row).copied().unwrap_or(0.0);
    let plain = -seed_sum * inverse;
    match (want.kl, reference) {
        (Some(direction), Some(reference)) if c != 0.0 => {
            let entropy = if h == 0.0 { 0.0 } else { stats.entropy[row] };
                let kl = stats.kl[row];
            let reference_lse = stats.reference_lse[row];
            for (z, r) in z.iter_mut().zip(reference) {
                let (log_p, log_q) = (z.mul_add(inverse, -lse), r.mul_add(inverse, -reference_lse));
                let p = math::exp(log_p);
                let divergence = match direction {
                    KlDirection::ReferenceToPolicy => p - math::exp(log_q),
                    KlDirection::PolicyToReference => p * (log_p - log_q - kl),
                };
                *z = plain * p + inverse * (c * divergence - h * p * (log_p + entropy));
            }
        }
        _ if h != 0.0 => {
            let entropy = stats.entropy[row];
            for z in z.iter_mut() {
                let log_p = z.mul_add(inverse, -lse);
                let p = math::exp(log_p);
                *z = plain * p - inverse * h * p * (log_p + entropy);
            }
        }
        _ => {
            for z in z.iter_mut() {
                *z = plain * math::exp(z.mul_add(inverse, -lse));
            }
        }
    }
    for (seed, &token) in seeds.logprobs[own.clone()].iter().zip(&targets.tokens[own]) {
        z[token as usize] += seed * inverse;
    }
}
}
