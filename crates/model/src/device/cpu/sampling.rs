//! Drawing tokens from rows of logits: penalty, temperature, filters, in the order of transformers' `generate`.

use std::sync::{Mutex, PoisonError};

use super::team::Team;
use crate::device::{Draw, DrawRow, Sampling};
use crate::math;
use crate::vectorized::vectorized;

/// See [`crate::Device::draw`].
pub fn draw_rows(team: &Team, sampling: &Sampling, rows: &[DrawRow<'_>], logits: &mut [f32]) -> Vec<Draw> {
    let vocab = logits.len().checked_div(rows.len()).unwrap_or(0);
    if vocab == 0 {
        return Vec::new();
    }
    let tasks: Vec<Mutex<(&mut [f32], Option<Draw>)>> =
        logits.chunks_exact_mut(vocab).map(|logits| Mutex::new((logits, None))).collect();
    team.run(rows.len(), |i: usize| {
        let DrawRow { uniform, seen } = rows[i];
        let mut task = tasks[i].lock().unwrap_or_else(PoisonError::into_inner);
        task.1 = Some(sampling.draw(task.0, uniform, seen.into_iter().flatten()));
    });
    let done = tasks.into_iter().map(|task| task.into_inner().unwrap_or_else(PoisonError::into_inner).1);
    done.flatten().collect()
}

impl Sampling {
    /// Draws a token with the uniform random number `u`. `seen` yields the tokens of prompt and completion so far.
    fn draw<'a>(&self, logits: &mut [f32], u: f64, seen: impl Iterator<Item = &'a u32>) -> Draw {
        let model_scale = if self.temperature == 0.0 { 1.0 } else { 1.0 / self.temperature };
        let model_lse = log_sum_exp(logits, model_scale);
        let unpenalised = self.penalise(logits, seen);
        let model = |token: usize, logits: &[f32]| {
            let z = unpenalised.iter().find(|(t, _)| *t as usize == token).map_or(logits[token], |(_, z)| *z);
            z * model_scale - model_lse
        };
        if self.temperature == 0.0 {
            let token = likeliest(logits);
            return Draw { token: token as u32, logprob: model(token, logits), sampling_logprob: 0.0 };
        }
        if self.top_k == 0 && self.top_p == 1.0 && self.min_p == 0.0 {
            let lse = if unpenalised.is_empty() { model_lse } else { log_sum_exp(logits, model_scale) };
            let token = walk(logits, model_scale, lse, u);
            let sampling_logprob = logits[token] * model_scale - lse;
            return Draw { token: token as u32, logprob: model(token, logits), sampling_logprob };
        }
        let kept = self.filter(logits, model_scale);
        let tempered: Vec<f32> = kept.iter().map(|(_, z)| *z).collect();
        let lse = log_sum_exp(&tempered, 1.0);
        let (token, z) = kept[walk(&tempered, 1.0, lse, u)];
        Draw { token, logprob: model(token as usize, logits), sampling_logprob: z - lse }
    }

    /// Applies the repetition penalty and returns what the logits were.
    fn penalise<'a>(&self, logits: &mut [f32], seen: impl Iterator<Item = &'a u32>) -> Vec<(u32, f32)> {
        if self.repetition_penalty == 1.0 {
            return Vec::new();
        }
        let mut tokens: Vec<u32> = seen.copied().collect();
        tokens.sort_unstable();
        tokens.dedup();
        let before: Vec<(u32, f32)> = tokens.iter().map(|&token| (token, logits[token as usize])).collect();
        for &(token, z) in &before {
            let penalty = self.repetition_penalty;
            logits[token as usize] = if z > 0.0 { z / penalty } else { z * penalty };
        }
        before
    }

    /// Tokens that pass the filters with their tempered logits, likeliest first.
    fn filter(&self, logits: &[f32], scale: f32) -> Vec<(u32, f32)> {
        let mut kept: Vec<(u32, f32)> =
            logits.iter().enumerate().map(|(i, z)| (i as u32, z * scale)).collect();
        // Ties go to the lower id, so that the result is one order.
        let likelier = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.top_k > 0 && self.top_k < kept.len() {
            kept.select_nth_unstable_by(self.top_k - 1, likelier);
            kept.truncate(self.top_k);
        }
        kept.sort_unstable_by(likelier);
        if self.top_p < 1.0 {
            let tempered: Vec<f32> = kept.iter().map(|(_, z)| *z).collect();
            let lse = log_sum_exp(&tempered, 1.0);
            let mut sum = 0.0f64;
            let count = kept.iter().take_while(|(_, z)| {
                let before = sum;
                sum += f64::from(z - lse).exp();
                before < f64::from(self.top_p)
            });
            kept.truncate(count.count().max(1));
        }
        if self.min_p > 0.0 {
            let floor = kept[0].1 + self.min_p.ln();
            // Where the likeliest is not a number, it alone is kept.
            let count = kept.iter().take_while(|(_, z)| *z >= floor).count();
            kept.truncate(count.max(1));
        }
        kept
    }
}

/// Logits whose probabilities are summed at once when drawing.
const BLOCK: usize = 512;

vectorized! {
    /// Index of the first largest logit.
    fn likeliest(logits: &[f32]) -> usize {
        let max = math::max(logits);
        logits.iter().position(|z| *z == max).unwrap_or(0)
    }

    fn log_sum_exp(logits: &[f32], scale: f32) -> f32 {
        math::log_sum_exp(logits, scale)
    }

    fn probability(logits: &[f32], scale: f32, lse: f32) -> f64 {
        math::sum(logits, |_, z| math::exp(z * scale - lse))
    }
}

/// Index at which the running sum of probabilities `e^(scale z - lse)` passes `u`; the last with any probability if
/// rounding loses it.
fn walk(logits: &[f32], scale: f32, lse: f32, u: f64) -> usize {
    let mut sum = 0.0f64;
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let of_block = probability(block, scale, lse);
        if sum + of_block > u {
            let mut within = sum;
            for (i, z) in block.iter().enumerate() {
                within += f64::from(math::exp(z * scale - lse));
                if within > u {
                    return index * BLOCK + i;
                }
            }
        }
        sum += of_block;
    }
    logits.iter().rposition(|z| math::exp(z * scale - lse) > 0.0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, -1.0];

    fn tokens(sampling: &Sampling) -> Vec<f64> {
        let mut counts = vec![0.0; 4];
        for i in 0..10_000 {
            let draw = sampling.draw(&mut LOGITS.clone(), (f64::from(i) + 0.5) / 10_000.0, [].iter());
            counts[draw.token as usize] += 1e-4;
        }
        counts
    }

    #[test]
    fn frequencies_are_the_softmax() {
        for temperature in [0.5f32, 1.0, 2.0] {
            let weights: Vec<f64> = LOGITS.iter().map(|z| f64::from(z / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            let found = tokens(&Sampling { temperature, ..Sampling::default() });
            for (weight, found) in weights.iter().zip(found) {
                assert!((weight / total - found).abs() < 2e-4); // u steps by 1e-4
            }
        }
    }

    #[test]
    fn filters_keep_what_they_say_and_renormalise() {
        // Probabilities are .0871, .6439, .2369, .0321.
        let base = Sampling::default();
        let kept = |sampling: &Sampling| -> Vec<usize> {
            tokens(sampling).iter().enumerate().filter(|(_, p)| **p > 0.0).map(|(i, _)| i).collect()
        };
        assert_eq!(kept(&Sampling { top_k: 2, ..base.clone() }), [1, 2]);
        assert_eq!(kept(&Sampling { top_p: 0.6, ..base.clone() }), [1]);
        assert_eq!(kept(&Sampling { top_p: 0.7, ..base.clone() }), [1, 2]);
        assert_eq!(kept(&Sampling { min_p: 0.2, ..base.clone() }), [1, 2]);
        assert_eq!(kept(&Sampling { min_p: 0.1, ..base.clone() }), [0, 1, 2]);
        let draw = Sampling { top_k: 2, ..base }.draw(&mut LOGITS.clone(), 0.99, [].iter());
        let exact = |z: f64, of: &[f64]| z - of.iter().map(|z| z.exp()).sum::<f64>().ln();
        assert_eq!(draw.token, 2);
        assert!((f64::from(draw.logprob) - exact(1.0, &[0.0, 2.0, 1.0, -1.0])).abs() < 1e-6);
        assert!((f64::from(draw.sampling_logprob) - exact(1.0, &[2.0, 1.0])).abs() < 1e-6);
    }

    #[test]
    fn a_row_without_a_distribution_gives_nan_through_every_filter() {
        let base = Sampling::default();
        for sampling in [
            Sampling { top_p: 0.5, ..base.clone() },
            Sampling { min_p: 0.5, ..base.clone() },
            Sampling { top_k: 1, min_p: 1.0, ..base },
        ] {
            for wrong in [f32::NAN, f32::INFINITY] {
                let draw = sampling.draw(&mut [0.0, wrong, 1.0], 0.5, [].iter());
                assert!(draw.token == 1 && draw.logprob.is_nan() && draw.sampling_logprob.is_nan());
            }
        }
    }

    #[test]
    fn the_penalty_changes_the_draw_and_not_the_model() {
        let sampling = Sampling { temperature: 0.0, repetition_penalty: 3.0, ..Sampling::default() };
        let draw = sampling.draw(&mut LOGITS.clone(), 0.0, [1, 1].iter());
        assert_eq!(draw.token, 2);
        let plain = Sampling::greedy().draw(&mut LOGITS.clone(), 0.0, [].iter());
        assert_eq!(plain.token, 1);
        let lse = LOGITS.iter().map(|z| f64::from(*z).exp()).sum::<f64>().ln();
        assert!((f64::from(draw.logprob) - (1.0 - lse)).abs() < 1e-6);
    }
}
