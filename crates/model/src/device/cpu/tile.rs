//! Small matrix products on blocks that lie in cache, without packing: the inner loops of attention.
//!
//! `c[i, :] (+)= sum_p a[i, p] * b[p, :]` with `a` of any strides and the rows of `b` and `c` contiguous. A register
//! tile holds a few rows and vectors of `c`; each step of the sum broadcasts elements of `a` against vectors of `b`.
//! Every element of `c` is one chain of fused multiply-adds over `p` in order, whatever the tiling.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::shared::SharedSlice;

/// Row lengths of `b` and `c` that take part are multiples of this: the widest vector.
pub const LANES: usize = 16;

/// Rounds a row length up to [`LANES`].
pub fn padded(len: usize) -> usize {
    len.div_ceil(LANES) * LANES
}

/// A small product; see the module.
pub struct Tile<'a> {
    /// Rows of `c`.
    pub m: usize,
    /// Columns of `c`, a multiple of [`LANES`].
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Left operand: element `(i, p)` at `i * a_rows + p * a_cols`.
    pub a: &'a [f32],
    /// Distance of its rows.
    pub a_rows: usize,
    /// Distance of its columns.
    pub a_cols: usize,
    /// Right operand.
    pub b: &'a [f32],
    /// Distance of its rows.
    pub b_rows: usize,
    /// Result.
    pub c: Target<'a>,
    /// Distance of its rows.
    pub c_rows: usize,
    /// Adds to `c` instead of overwriting it.
    pub accumulate: bool,
    /// What is multiplied next: brought nearer meanwhile. Empty for nothing.
    pub next: &'a [f32],
}

/// Where a product goes: memory whose rows nobody else touches meanwhile.
pub struct Target<'a> {
    start: *mut f32,
    len: usize,
    exclusive: PhantomData<&'a mut [f32]>,
}

impl<'a> From<&'a mut [f32]> for Target<'a> {
    fn from(slice: &'a mut [f32]) -> Self {
        Target { start: slice.as_mut_ptr(), len: slice.len(), exclusive: PhantomData }
    }
}

impl<'a> Target<'a> {
    /// The elements of a shared slice from `at` on.
    ///
    /// # Safety
    /// No other task may touch the columns of the rows that the product writes.
    pub unsafe fn shared(slice: &'a SharedSlice<'_>, at: usize) -> Self {
        let rest = slice.after(at);
        Target { start: rest.as_mut_ptr(), len: rest.len(), exclusive: PhantomData }
    }
}

impl Tile<'_> {
    /// Computes the product.
    ///
    /// # Panics
    /// When a slice is shorter than its shape.
    pub fn run(self) {
        if self.m == 0 || self.n == 0 {
            return;
        }
        let last = |rows: usize, row: usize, width: usize| (rows - 1) * row + width;
        assert!(self.n.is_multiple_of(LANES), "width {} is not padded", self.n);
        assert!(self.c.len >= last(self.m, self.c_rows, self.n), "c is too short");
        if self.k > 0 {
            assert!(self.a.len() > (self.m - 1) * self.a_rows + (self.k - 1) * self.a_cols, "a is too short");
            assert!(self.b.len() >= last(self.k, self.b_rows, self.n), "b is too short");
        }
        Arch::new().dispatch(self);
    }
}

impl WithSimd for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // 24 accumulators fit the 32 registers of AVX-512, 12 the 16 of AVX2. Few rows are wider there: two vectors of
        // each would wait for the sum before.
        if S::F32_LANES >= 16 {
            sweep::<S, 6, 4>(simd, self)
        } else if self.m <= 3 {
            sweep::<S, 3, 4>(simd, self)
        } else {
            sweep::<S, 6, 2>(simd, self)
        }
    }
}

#[inline(always)]
fn sweep<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, t: Tile<'_>) {
    let vectors = t.n / S::F32_LANES;
    let mut ahead = Ahead { at: t.next.as_ptr(), lines: 0 };
    // Requests are spread over the sweep: in a burst they would wait for each other.
    let lines = t.next.len() / LANES;
    let sweeps = vectors.div_ceil(VECTORS);
    let mut v = 0;
    while v < vectors {
        let width = VECTORS.min(vectors - v);
        let mut i = 0;
        while i < t.m {
            // Shares as even as they can be: a last tile of one or two rows would waste its loads.
            let left = t.m - i;
            let rows = left.div_ceil(left.div_ceil(ROWS));
            ahead.lines = (lines * rows).div_ceil(t.m * sweeps).min(2 * t.k);
            let block = Block {
                k: t.k,
                // SAFETY: `i < m`, `v * F32_LANES < n`, and `run` asserted that the slices hold their shapes.
                a: unsafe { t.a.as_ptr().add(if t.k > 0 { i * t.a_rows } else { 0 }) },
                a_rows: t.a_rows,
                a_cols: t.a_cols,
                b: unsafe { t.b.as_ptr().add(if t.k > 0 { v * S::F32_LANES } else { 0 }) },
                b_rows: t.b_rows,
                c: unsafe { t.c.start.add(i * t.c_rows + v * S::F32_LANES) },
                c_rows: t.c_rows,
                accumulate: t.accumulate,
                ahead,
            };
            ahead.skip(ahead.lines);
            // SAFETY: the block of `rows` rows and `width` vectors at (i, v) lies inside of the shapes.
            unsafe {
                match width {
                    4 => block.rows::<S, 4>(simd, rows),
                    3 => block.rows::<S, 3>(simd, rows),
                    2 => block.rows::<S, 2>(simd, rows),
                    _ => block.rows::<S, 1>(simd, rows),
                }
            }
            i += rows;
        }
        v += width;
    }
}

#[derive(Clone, Copy)]
struct Block {
    k: usize,
    a: *const f32,
    a_rows: usize,
    a_cols: usize,
    b: *const f32,
    b_rows: usize,
    c: *mut f32,
    c_rows: usize,
    accumulate: bool,
    ahead: Ahead,
}

/// Walks over what comes next, a cache line at each term of the first sums, and asks for it.
#[derive(Clone, Copy)]
struct Ahead {
    at: *const f32,
    lines: usize,
}

impl Ahead {
    #[inline(always)]
    fn skip(&mut self, lines: usize) {
        self.at = self.at.wrapping_add(lines * LANES);
    }

    /// Asks for a line. Past the end this is a wasted request and nothing worse: a prefetch reads nothing.
    #[inline(always)]
    fn fetch(&mut self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch may be given any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.at.cast()) };
        }
        self.skip(1);
    }
}

impl Block {
    /// Computes `rows` rows, at most 6, of `N` vectors.
    ///
    /// # Safety
    /// As [`Block::run`] with `M = rows`.
    #[inline(always)]
    unsafe fn rows<S: Simd, const N: usize>(self, simd: S, rows: usize) {
        // SAFETY: by the caller's promise.
        unsafe {
            match rows {
                6 => self.run::<S, 6, N>(simd),
                5 => self.run::<S, 5, N>(simd),
                4 => self.run::<S, 4, N>(simd),
                3 => self.run::<S, 3, N>(simd),
                2 => self.run::<S, 2, N>(simd),
                _ => self.run::<S, 1, N>(simd),
            }
        }
    }

    /// Computes `M` rows and `N` vectors.
    ///
    /// # Safety
    /// `M` rows of `a` and `c`, and `N` vectors of each of the `k` rows of `b` must be readable, those of `c` writable.
    #[inline(always)]
    unsafe fn run<S: Simd, const M: usize, const N: usize>(mut self, simd: S) {
        let lanes = S::F32_LANES;
        let zero = simd.splat_f32s(0.0);
        let mut sums = [[zero; N]; M];
        // SAFETY: by the caller's promise; vectors are read and written unaligned.
        unsafe {
            if self.accumulate {
                for (i, row) in sums.iter_mut().enumerate() {
                    for (j, sum) in row.iter_mut().enumerate() {
                        *sum = self.c.add(i * self.c_rows + j * lanes).cast::<S::f32s>().read_unaligned();
                    }
                }
            }
            for p in 0..self.k {
                let b = self.b.add(p * self.b_rows);
                if p < self.ahead.lines {
                    self.ahead.fetch();
                    if self.ahead.lines > self.k {
                        self.ahead.fetch();
                    }
                }
                let mut vectors = [zero; N];
                for (j, vector) in vectors.iter_mut().enumerate() {
                    *vector = b.add(j * lanes).cast::<S::f32s>().read_unaligned();
                }
                for (i, row) in sums.iter_mut().enumerate() {
                    let a = simd.splat_f32s(*self.a.add(i * self.a_rows + p * self.a_cols));
                    for (j, sum) in row.iter_mut().enumerate() {
                        *sum = simd.mul_add_f32s(a, vectors[j], *sum);
                    }
                }
            }
            for (i, row) in sums.iter().enumerate() {
                for (j, sum) in row.iter().enumerate() {
                    self.c.add(i * self.c_rows + j * lanes).cast::<S::f32s>().write_unaligned(*sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_definition_for_every_remainder() {
        for m in [1, 2, 5, 6, 7, 13] {
            for n in [16, 32, 48, 64, 80, 128] {
                for (k, accumulate, transposed) in
                    [(0, false, false), (1, true, false), (17, false, true), (33, true, true)]
                {
                    let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
                    let a: Vec<f32> = (0..m * k.max(1)).map(value).collect();
                    let b: Vec<f32> = (0..k * (n + 3)).map(|i| value(i + 77)).collect();
                    let mut c: Vec<f32> = (0..m * (n + 5)).map(|i| value(i + 991)).collect();
                    let before = c.clone();
                    let (a_rows, a_cols) = if transposed { (1, m) } else { (k, 1) };
                    Tile {
                        m,
                        n,
                        k,
                        a: &a,
                        a_rows,
                        a_cols,
                        b: &b,
                        b_rows: n + 3,
                        c: Target::from(&mut c[..]),
                        c_rows: n + 5,
                        accumulate,
                        next: &[],
                    }
                    .run();
                    for i in 0..m {
                        for j in 0..n + 5 {
                            let at = i * (n + 5) + j;
                            if at >= before.len() || j >= n {
                                assert_eq!(c[at], before[at], "wrote outside");
                                continue;
                            }
                            let start = if accumulate { f64::from(before[at]) } else { 0.0 };
                            let exact = (0..k).fold(start, |sum, p| {
                                sum + f64::from(a[i * a_rows + p * a_cols]) * f64::from(b[p * (n + 3) + j])
                            });
                            // 34 terms of at most 1: 34 * 2^-24 is 2e-6.
                            assert!((f64::from(c[at]) - exact).abs() < 4e-6, "{m} {n} {k} at {i},{j}");
                        }
                    }
                }
            }
        }
    }
}
