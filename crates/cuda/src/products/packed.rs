//! Products of generation, which are of f32 and have a fixed number of rows.

use std::sync::Arc;

use gft_model::device::{HalfFormat, MatMul};

use super::{Kind, Operand, Target, kept, multiply_at, span};
use crate::Precision;
use crate::backend::{Number, Rows, Trouble};
use crate::casts::{f16_rounded, rounded};
use crate::device::Cuda;
use crate::launch::Done;
use crate::memory::{HalfRef, Memory, Mut, Place, Ref};

/// Alignment beyond which cuBLASLt does not look.
const ALIGNED: u64 = 256;

/// A weight matrix arranged for generation.
pub struct CudaPacked {
    n: usize,
    k: usize,
    /// What the weight lies in: its own memory, or that of the policy, which does not change while it is borrowed.
    memory: Arc<Memory>,
    /// Bytes from the beginning of the memory.
    at: u64,
    kind: Kind,
}

pub(crate) fn pack(cuda: &Cuda, weight: Ref<'_>, n: usize, k: usize) -> Result<CudaPacked, Trouble> {
    let from = weight.at(n * k)?;
    if let Some((memory, at)) = kept(cuda, &weight)? {
        return Ok(CudaPacked { n, k, memory, at, kind: Kind::Half(HalfFormat::Bf16) });
    }
    if cuda.precision() == Precision::Bf16 {
        let memory = Arc::new(rounded(cuda, from, (n, k), k)?);
        return Ok(CudaPacked { n, k, memory, at: 0, kind: Kind::Half(HalfFormat::Bf16) });
    }
    let memory = Arc::clone(&weight.buffer.memory);
    Ok(CudaPacked { n, k, memory, at: 4 * weight.range.start as u64, kind: Kind::Single })
}

pub(crate) fn pack_half(cuda: &Cuda, weight: HalfRef<'_>, n: usize, k: usize) -> Result<CudaPacked, Trouble> {
    let from = weight.at(n * k)?;
    let format = weight.buffer.format;
    if cuda.precision() == Precision::Bf16 && format == HalfFormat::F16 {
        let memory = Arc::new(f16_rounded(cuda, from, n * k)?);
        return Ok(CudaPacked { n, k, memory, at: 0, kind: Kind::Half(HalfFormat::Bf16) });
    }
    let memory = Arc::clone(&weight.buffer.memory);
    Ok(CudaPacked { n, k, memory, at: 2 * weight.range.start as u64, kind: Kind::Half(format) })
}

impl CudaPacked {
    /// What stands for a weight once a device has failed.
    pub(crate) fn nowhere(cuda: &Cuda, n: usize, k: usize) -> Self {
        CudaPacked { n, k, memory: Arc::new(Memory::nowhere(cuda.machine())), at: 0, kind: Kind::Single }
    }

    /// `out [rows, n] (+)= x [rows, k] weight^T`.
    pub(crate) fn apply(
        &self,
        cuda: &Cuda,
        rows: usize,
        apart: Option<(usize, usize)>,
        accumulate: bool,
        x: Ref<'_>,
        out: Mut<'_>,
    ) -> Done {
        let (x_stride, out_stride) = apart.unwrap_or((self.k, self.n));
        let (x, out) = (x.at(span(rows, self.k, x_stride))?, out.at(span(rows, self.n, out_stride))?);
        let addend = accumulate.then_some(out);
        self.apply_at(cuda, rows, (x, x_stride), (Target { out, number: Number::F32, addend }, out_stride))
    }

    /// `out [rows, n] = onto [rows, n] + x [rows, k] weight^T`.
    pub(crate) fn apply_onto(
        &self,
        cuda: &Cuda,
        rows: usize,
        x: Ref<'_>,
        onto: Ref<'_>,
        out: Mut<'_>,
    ) -> Done {
        let (out, addend) = (out.at(rows * self.n)?, Some(onto.at(rows * self.n)?));
        let target = Target { out, number: Number::F32, addend };
        self.apply_at(cuda, rows, (x.at(rows * self.k)?, self.k), (target, self.n))
    }

    /// Which kernel cuBLASLt takes, and so the order of additions, depends on the number of rows. All products here have
    /// the same number, the last ones filled up with zeros: a row's result is then that of the row alone.
    fn apply_at(
        &self,
        cuda: &Cuda,
        rows: usize,
        (x, x_stride): (u64, usize),
        (target, out_stride): (Target, usize),
    ) -> Done {
        let weight = Operand { address: self.memory.address()? + self.at, kind: self.kind };
        let fixed = cuda.backend().fixed_rows();
        let op = MatMul {
            m: fixed,
            n: self.n,
            k: self.k,
            transpose_a: false,
            transpose_b: true,
            accumulate: target.addend.is_some(),
        };
        let (full_x, full_out) = (cuda.scratch(4 * fixed * self.k)?, cuda.scratch(4 * fixed * self.n)?);
        let (full_x, full_out) = (full_x.address()?, full_out.address()?);
        let full = Target { out: full_out, number: Number::F32, addend: target.addend.map(|_| full_out) };
        let single = |address: u64| Operand { address, kind: Kind::Single };
        for first in (0..rows).step_by(fixed) {
            let len = fixed.min(rows - first);
            let copy = |from, from_stride, to, to_stride, width| {
                let [bytes, from_stride, to_stride] =
                    [width, from_stride, to_stride].map(|elements: usize| 4 * elements as u64);
                let rows = Rows { rows: len as u64, bytes, from, from_stride, to, to_stride };
                // SAFETY: rows of `x`, of the target and of scratch memory of `fixed` rows.
                unsafe { cuda.backend().copy(rows) }
            };
            let (x, target) = (x + 4 * (first * x_stride) as u64, target.from(first * out_stride));
            let dense = x_stride == self.k && out_stride == self.n;
            let all = [x, target.out, target.addend.unwrap_or(target.out)];
            // As aligned as scratch memory is, so that the kernel is the same.
            if len == fixed && dense && all.iter().all(|at| at.is_multiple_of(ALIGNED)) {
                multiply_at(cuda, op, op.dense(), single(x), weight, target)?;
                continue;
            }
            copy(x, x_stride, full_x, self.k, self.k)?;
            cuda.clear(full_x + 4 * (len * self.k) as u64, 4 * (fixed - len) * self.k)?;
            if let Some(addend) = target.addend {
                copy(addend, out_stride, full_out, self.n, self.n)?;
            }
            multiply_at(cuda, op, op.dense(), single(full_x), weight, full)?;
            copy(full_out, self.n, target.out, out_stride, self.n)?;
        }
        Ok(())
    }
}
