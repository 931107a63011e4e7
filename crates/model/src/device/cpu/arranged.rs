//! Weights arranged for generation, in as many bytes as they have: in tiles where the processor has a matrix unit, in panels for
//! vectors otherwise.

use std::sync::Arc;

#[cfg(target_arch = "x86_64")]
use super::super::HalfFormat;
use super::half::HalfSlice;
use super::packed::Packed;
use super::pool::Pool;
use super::team::Team;
#[cfg(target_arch = "x86_64")]
use super::{
    amx::{self, TiledWeight},
    operand::Elements,
};

/// Elements of an f32 weight that is kept in tiles at most. A few rows of a larger one, which comes from memory, are multiplied 1.15
/// times as fast by vectors (16 or 32 rows 0.87 times); those of models with hidden sizes up to some 500 stay in caches.
#[cfg(target_arch = "x86_64")]
const TILED_UP_TO: usize = 1 << 20;

/// A weight `[n, k]` that is multiplied at each token. A row's result is bit-equal whatever other rows are computed beside it
/// and on whatever number of threads.
pub enum Arranged {
    /// For vectors.
    Panels(Packed),
    /// For a matrix unit.
    #[cfg(target_arch = "x86_64")]
    Tiles(TiledWeight),
}

impl Arranged {
    /// Arranges `weight [n, k]`.
    pub fn new(team: &Team, pool: &Arc<Pool>, weight: &[f32], n: usize, k: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if amx::available() && n * k <= TILED_UP_TO {
            return Self::Tiles(TiledWeight::new(team, pool, Elements::Single(weight), n, k));
        }
        Self::Panels(Packed::new(team, pool, weight, n, k))
    }

    /// Arranges `weight [n, k]` of 16 bits, in as many bytes.
    pub fn of_half(team: &Team, pool: &Arc<Pool>, weight: HalfSlice<'_>, n: usize, k: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if amx::available() && weight.format == HalfFormat::Bf16 {
            return Self::Tiles(TiledWeight::new(team, pool, Elements::Bf16(weight.bits), n, k));
        }
        Self::Panels(Packed::of_half(team, weight, n, k))
    }

    /// `out [rows, n] (+)= x [rows, k] weight^T`, the rows of `x` and of `out` so far `apart`, or dense.
    #[allow(clippy::too_many_arguments)]
    pub fn apply(
        &self,
        team: &Team,
        pool: &Arc<Pool>,
        rows: usize,
        apart: Option<(usize, usize)>,
        accumulate: bool,
        x: &[f32],
        out: &mut [f32],
    ) {
        match self {
            Self::Panels(panels) => panels.apply(team, rows, apart, accumulate, x, out),
            #[cfg(target_arch = "x86_64")]
            Self::Tiles(tiles) => tiles.apply(team, pool, rows, apart, accumulate, x, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::HalfFormat;

    fn value(i: usize) -> f32 {
        ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0
    }

    /// The product of all rows is right, and equal to those of rows alone and of few, on any number of threads.
    fn assert_product(arrange: &dyn Fn(&Team) -> Arranged, wide: &[f32], rows: usize, n: usize, k: usize) {
        let x: Vec<f32> = (0..rows * k).map(|i| value(i + 5)).collect();
        let mut first: Option<Vec<f32>> = None;
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let team = pool.install(Team::current);
            let weight = arrange(&team);
            let mut out = vec![0.5f32; rows * n];
            weight.apply(&team, &Arc::default(), rows, None, true, &x, &mut out);
            for count in [1, 7, 17] {
                for start in (0..rows).step_by(count) {
                    let few = count.min(rows - start);
                    let mut part = vec![0.5f32; few * n];
                    let x = &x[start * k..(start + few) * k];
                    weight.apply(&team, &Arc::default(), few, None, true, x, &mut part);
                    assert_eq!(part, out[start * n..(start + few) * n], "rows {start} on of {rows}, {few}");
                }
            }
            assert_eq!(&out, first.get_or_insert_with(|| out.clone()), "on {threads} threads");
        }
        let out = first.unwrap();
        for i in 0..rows {
            for j in 0..n {
                let exact: f64 = (0..k).map(|p| f64::from(x[i * k + p]) * f64::from(wide[j * k + p])).sum();
                // 700 terms of at most 1 with partial sums of about 30: 700 * 30 * 2^-24.
                assert!(
                    (f64::from(out[i * n + j]) - exact - 0.5).abs() < 1.3e-3,
                    "{i},{j} of {rows} x {n} x {k}"
                );
            }
        }
    }

    #[test]
    fn a_row_is_right_and_does_not_depend_on_the_others() {
        for (rows, n, k) in [(1, 64, 16), (5, 100, 33), (40, 130, 700), (270, 33, 40)] {
            let single: Vec<f32> = (0..n * k).map(value).collect();
            assert_product(&|team| Arranged::new(team, &Arc::default(), &single, n, k), &single, rows, n, k);
            let panels = |team: &Team| Arranged::Panels(Packed::new(team, &Arc::default(), &single, n, k));
            assert_product(&panels, &single, rows, n, k);
            for format in [HalfFormat::Bf16, HalfFormat::F16] {
                let bits: Vec<u16> = match format {
                    HalfFormat::Bf16 => single.iter().map(|x| half::bf16::from_f32(*x).to_bits()).collect(),
                    HalfFormat::F16 => single.iter().map(|x| half::f16::from_f32(*x).to_bits()).collect(),
                };
                let weight = HalfSlice { format, bits: &bits };
                let mut wide = vec![0.0; n * k];
                weight.widen(&mut wide);
                assert_product(
                    &|team| Arranged::of_half(team, &Arc::default(), weight, n, k),
                    &wide,
                    rows,
                    n,
                    k,
                );
                let panels = |team: &Team| Arranged::Panels(Packed::of_half(team, weight, n, k));
                assert_product(&panels, &wide, rows, n, k);
            }
        }
    }

    #[test]
    fn rows_may_lie_apart() {
        let (rows, n, k) = (35, 70, 50);
        let weight: Vec<f32> = (0..n * k).map(value).collect();
        let x: Vec<f32> = (0..rows * k).map(|i| value(i + 5)).collect();
        let mut spread = vec![f32::NAN; rows * (k + 3)];
        for (to, from) in spread.chunks_exact_mut(k + 3).zip(x.chunks_exact(k)) {
            to[..k].copy_from_slice(from);
        }
        let (team, pool) = (Team::current(), Arc::default());
        let weight = Arranged::new(&team, &pool, &weight, n, k);
        let (mut dense, mut apart) = (vec![f32::NAN; rows * n], vec![7.0; rows * (n + 2)]);
        weight.apply(&team, &pool, rows, None, false, &x, &mut dense);
        weight.apply(&team, &pool, rows, Some((k + 3, n + 2)), false, &spread, &mut apart);
        for (apart, dense) in apart.chunks_exact(n + 2).zip(dense.chunks_exact(n)) {
            assert_eq!((&apart[..n], &apart[n..]), (dense, &[7.0, 7.0][..]));
        }
    }
}
