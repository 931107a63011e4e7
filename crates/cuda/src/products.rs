//! Matrix products in the device's precision, with weights of 32 or 16 bits and activations of f32 or bf16, and those of
//! generation, which are of f32 and have a fixed number of rows.

use std::sync::Arc;

use gft_model::device::{HalfFormat, MatMul, Strides};

use crate::Precision;
use crate::backend::Arg::{Ptr, U64};
use crate::backend::{Number, Product, Rows, Trouble};
use crate::casts::{f16_rounded, rounded, widen};
use crate::device::Cuda;
use crate::launch::{Done, elements};
use crate::memory::{HalfRef, Kept, Memory, Mut, Place, Ref};

/// Elements of a 16-bit matrix that are widened to f32 at a time: 64 MiB.
pub(crate) const WIDENED: usize = 1 << 24;

/// Where a matrix may begin among kept weights, in elements: matrix units take operands aligned to 16 bytes.
const KEPT_ALIGNED: usize = 8;

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

/// How an operand is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Single,
    Half(HalfFormat),
}

impl From<Number> for Kind {
    fn from(number: Number) -> Self {
        match number {
            Number::F32 => Kind::Single,
            Number::Bf16 => Kind::Half(HalfFormat::Bf16),
        }
    }
}

/// An operand, wherever it lies.
#[derive(Clone, Copy)]
struct Operand {
    address: u64,
    kind: Kind,
}

impl From<(u64, Number)> for Operand {
    fn from((address, number): (u64, Number)) -> Self {
        Operand { address, kind: number.into() }
    }
}

/// Elements from the first of a matrix to its last.
fn span(rows: usize, columns: usize, stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * stride + columns }
}

/// Rows and columns of the operands as they are stored.
fn stored(op: &MatMul) -> ((usize, usize), (usize, usize)) {
    let a = if op.transpose_a { (op.k, op.m) } else { (op.m, op.k) };
    let b = if op.transpose_b { (op.n, op.k) } else { (op.k, op.n) };
    (a, b)
}

pub(crate) fn matmul(
    cuda: &Cuda,
    op: MatMul,
    strides: Strides,
    a: Ref<'_>,
    b: Ref<'_>,
    out: Mut<'_>,
) -> Done {
    let (_, (rows, columns)) = stored(&op);
    let b = b.any(span(rows, columns, strides.b))?;
    multiply(cuda, op, strides, a, b.into(), out)
}

/// A product with weights, which are rounded once after each update where products round their operands.
pub(crate) fn matmul_weight(cuda: &Cuda, op: MatMul, a: Ref<'_>, b: Ref<'_>, out: Mut<'_>) -> Done {
    b.at(op.n * op.k)?;
    let Some((memory, at)) = kept(cuda, &b)? else { return matmul(cuda, op, op.dense(), a, b, out) };
    let b = Operand { address: memory.address()? + at, kind: Kind::Half(HalfFormat::Bf16) };
    multiply(cuda, op, op.dense(), a, b, out)
}

/// The kept bf16 numbers of a view of weights, and at which of their bytes it begins; `None` where products are of f32, or
/// it cannot be read where it lies, or there is no memory to keep them in.
fn kept(cuda: &Cuda, weight: &Ref<'_>) -> Result<Option<(Arc<Memory>, u64)>, Trouble> {
    if cuda.precision() != Precision::Bf16 || !weight.range.start.is_multiple_of(KEPT_ALIGNED) {
        return Ok(None);
    }
    let n = weight.buffer.len;
    let round = |from, to| {
        let args = [Ptr(from), Ptr(to), U64(n as u64)];
        // SAFETY: the buffer, and memory for as many numbers of 16 bits.
        unsafe { cuda.launch("f32_to_bf16", elements(n)?, &args) }
    };
    let memory = weight.buffer.rounded(round)?;
    Ok(memory.map(|memory| (memory, 2 * weight.range.start as u64)))
}

pub(crate) fn matmul_half(cuda: &Cuda, op: MatMul, a: Ref<'_>, b: HalfRef<'_>, out: Mut<'_>) -> Done {
    let b = Operand { address: b.at(op.n * op.k)?, kind: Kind::Half(b.buffer.format) };
    multiply(cuda, op, op.dense(), a, b, out)
}

/// Any product, once the right operand is known to be large enough.
fn multiply(cuda: &Cuda, op: MatMul, strides: Strides, a: Ref<'_>, b: Operand, out: Mut<'_>) -> Done {
    let ((rows, columns), _) = stored(&op);
    let a = a.any(span(rows, columns, strides.a))?;
    let out = out.any(span(op.m, op.n, strides.out))?;
    multiply_at(cuda, op, strides, a.into(), b, out)
}

/// A product of operands at addresses, into numbers of either type.
fn multiply_at(
    cuda: &Cuda,
    op: MatMul,
    strides: Strides,
    a: Operand,
    b: Operand,
    out: (u64, Number),
) -> Done {
    if op.m == 0 || op.n == 0 {
        return Ok(());
    }
    if op.k == 0 {
        return if op.accumulate { Ok(()) } else { clear(cuda, op, strides.out, out) };
    }
    match (cuda.precision(), a.kind, b.kind) {
        (Precision::F32, Kind::Single, Kind::Single) => {
            product(cuda, op, strides, Number::F32, (a.address, b.address), out)
        }
        (Precision::F32, Kind::Single, Kind::Half(format)) => {
            widened(cuda, op, strides, a.address, (b.address, format), out)
        }
        (Precision::F32, Kind::Half(_), _) => {
            Err(Trouble::Other("a left operand of 16 bits in products of f32".into()))
        }
        (Precision::Bf16, ..) => {
            let (a_size, b_size) = stored(&op);
            let (a, b) = (in_bf16(cuda, a, a_size, strides.a)?, in_bf16(cuda, b, b_size, strides.b)?);
            let strides = Strides { a: a.stride, b: b.stride, out: strides.out };
            product(cuda, op, strides, Number::Bf16, (a.address, b.address), out)
        }
    }
}

/// An operand of a product of bf16.
struct InBf16 {
    address: u64,
    stride: usize,
    _rounded: Option<Memory>,
}

/// An operand where it lies if it is of bf16, else rounded and dense.
fn in_bf16(
    cuda: &Cuda,
    operand: Operand,
    (rows, columns): (usize, usize),
    stride: usize,
) -> Result<InBf16, Trouble> {
    let rounded = match operand.kind {
        Kind::Half(HalfFormat::Bf16) => {
            return Ok(InBf16 { address: operand.address, stride, _rounded: None });
        }
        Kind::Half(HalfFormat::F16) => f16_rounded(cuda, operand.address, rows * columns)?,
        Kind::Single => rounded(cuda, operand.address, (rows, columns), stride)?,
    };
    Ok(InBf16 { address: rounded.address()?, stride: columns, _rounded: Some(rounded) })
}

fn product(
    cuda: &Cuda,
    op: MatMul,
    strides: Strides,
    operands: Number,
    (a, b): (u64, u64),
    (out, result): (u64, Number),
) -> Done {
    let MatMul { m, n, k, transpose_a, transpose_b, accumulate } = op;
    let [m, n, k] = [m, n, k].map(|size| size as u64);
    let [a_stride, b_stride, out_stride] = [strides.a, strides.b, strides.out].map(|stride| stride as u64);
    let product = Product {
        m,
        n,
        k,
        operands,
        a,
        a_stride,
        transpose_a,
        b,
        b_stride,
        transpose_b,
        result,
        out,
        out_stride,
        accumulate,
    };
    // SAFETY: callers have looked at the room of all three, or allocated it.
    unsafe { cuda.backend().product(product) }
}

/// Zeros `out` where a product has no terms.
fn clear(cuda: &Cuda, op: MatMul, stride: usize, (out, number): (u64, Number)) -> Done {
    let bytes = number.bytes();
    (0..op.m).try_for_each(|row| cuda.clear(out + bytes * (row * stride) as u64, bytes as usize * op.n))
}

/// A product with 16-bit weights in f32: some of the weight's rows at a time are widened and multiplied.
fn widened(
    cuda: &Cuda,
    op: MatMul,
    strides: Strides,
    a: u64,
    (b, format): (u64, HalfFormat),
    (out, number): (u64, Number),
) -> Done {
    let (_, (rows, columns)) = stored(&op);
    let together = (cuda.widened_at_once(WIDENED) / columns).clamp(1, rows);
    let wide = cuda.scratch(4 * together * columns)?;
    let wide = wide.address()?;
    for first in (0..rows).step_by(together) {
        let len = together.min(rows - first);
        widen(cuda, b + 2 * (first * columns) as u64, format, len * columns, wide)?;
        let part = if op.transpose_b {
            // Rows of the weight are columns of the result.
            let to = out + number.bytes() * first as u64;
            product(cuda, MatMul { n: len, ..op }, strides, Number::F32, (a, wide), (to, number))
        } else {
            // Rows of the weight are terms of the sums.
            let at = if op.transpose_a { first * strides.a } else { first };
            let op = MatMul { k: len, accumulate: op.accumulate || first > 0, ..op };
            product(cuda, op, strides, Number::F32, (a + 4 * at as u64, wide), (out, number))
        };
        part?;
    }
    Ok(())
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
    ///
    /// Which kernel cuBLASLt takes, and so the order of additions, depends on the number of rows. All products here have
    /// the same number, the last ones filled up with zeros: a row's result is then that of the row alone.
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
        let weight = Operand { address: self.memory.address()? + self.at, kind: self.kind };
        let fixed = cuda.backend().fixed_rows();
        let op = MatMul { m: fixed, n: self.n, k: self.k, transpose_a: false, transpose_b: true, accumulate };
        let (full_x, full_out) = (cuda.scratch(4 * fixed * self.k)?, cuda.scratch(4 * fixed * self.n)?);
        let (full_x, full_out) = (full_x.address()?, full_out.address()?);
        let bytes = |elements: usize| 4 * elements as u64;
        let single = |address: u64| (address, Number::F32);
        for first in (0..rows).step_by(fixed) {
            let len = fixed.min(rows - first);
            let copy = |(from, from_stride): (u64, usize), (to, to_stride): (u64, usize), width: usize| {
                let rows = Rows {
                    rows: len as u64,
                    bytes: bytes(width),
                    from,
                    from_stride: bytes(from_stride),
                    to,
                    to_stride: bytes(to_stride),
                };
                // SAFETY: rows of `x`, of `out` and of scratch memory of `fixed` rows.
                unsafe { cuda.backend().copy(rows) }
            };
            let (x, out) = (x + bytes(first * x_stride), out + bytes(first * out_stride));
            let dense = x_stride == self.k && out_stride == self.n;
            // As aligned as scratch memory is, so that the kernel is the same.
            if len == fixed && dense && x.is_multiple_of(ALIGNED) && out.is_multiple_of(ALIGNED) {
                multiply_at(cuda, op, op.dense(), single(x).into(), weight, single(out))?;
                continue;
            }
            copy((x, x_stride), (full_x, self.k), self.k)?;
            cuda.clear(full_x + bytes(len * self.k), 4 * (fixed - len) * self.k)?;
            if accumulate {
                copy((out, out_stride), (full_out, self.n), self.n)?;
            }
            multiply_at(cuda, op, op.dense(), single(full_x).into(), weight, single(full_out))?;
            copy((full_out, self.n), (out, out_stride), self.n)?;
        }
        Ok(())
    }
}
