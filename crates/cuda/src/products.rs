//! Matrix products in the device's precision, with weights of 32 or 16 bits and activations of f32 or bf16.

mod packed;

use std::sync::Arc;

use gft_model::device::{HalfFormat, MatMul, Strides};

use crate::Precision;
use crate::backend::Arg::{Ptr, U64};
use crate::backend::{Number, Product, Rows, Trouble};
use crate::casts::{f16_rounded, rounded, widen};
use crate::device::Cuda;
use crate::launch::{Done, elements};
use crate::memory::{HalfRef, Kept, Memory, Mut, Place, Ref};
pub use packed::CudaPacked;
pub(crate) use packed::{pack, pack_half};

/// Elements of a 16-bit matrix that are widened to f32 at a time: 64 MiB.
pub(crate) const WIDENED: usize = 1 << 24;

/// Where a matrix may begin among kept weights, in elements: matrix units take operands aligned to 16 bytes.
const KEPT_ALIGNED: usize = 8;

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

/// Where a product goes, and where what is added to it lies, laid out as the product: there too, or apart from it.
#[derive(Clone, Copy)]
struct Target {
    out: u64,
    number: Number,
    addend: Option<u64>,
}

impl Target {
    /// From some of its elements on.
    fn from(self, first: usize) -> Self {
        let bytes = self.number.bytes() * first as u64;
        Target { out: self.out + bytes, addend: self.addend.map(|at| at + bytes), ..self }
    }

    /// The same, added to what is there.
    fn more(self) -> Self {
        Target { addend: Some(self.out), ..self }
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
    multiply(cuda, op, strides, a, b.into(), None, out)
}

/// A product with weights, which are rounded once after each update where products round their operands; added to `onto`
/// where that is given.
pub(crate) fn matmul_weight(
    cuda: &Cuda,
    op: MatMul,
    a: Ref<'_>,
    b: Ref<'_>,
    onto: Option<Ref<'_>>,
    out: Mut<'_>,
) -> Done {
    let single = b.at(op.n * op.k)?;
    let kept = kept(cuda, &b)?;
    let b = match &kept {
        Some((memory, at)) => Operand { address: memory.address()? + at, kind: Kind::Half(HalfFormat::Bf16) },
        None => Operand { address: single, kind: Kind::Single },
    };
    multiply(cuda, op, op.dense(), a, b, onto, out)
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

pub(crate) fn matmul_half(
    cuda: &Cuda,
    op: MatMul,
    a: Ref<'_>,
    b: HalfRef<'_>,
    onto: Option<Ref<'_>>,
    out: Mut<'_>,
) -> Done {
    let b = Operand { address: b.at(op.n * op.k)?, kind: Kind::Half(b.buffer.format) };
    multiply(cuda, op, op.dense(), a, b, onto, out)
}

/// Any product, once the right operand is known to be large enough.
fn multiply(
    cuda: &Cuda,
    op: MatMul,
    strides: Strides,
    a: Ref<'_>,
    b: Operand,
    onto: Option<Ref<'_>>,
    out: Mut<'_>,
) -> Done {
    let ((rows, columns), _) = stored(&op);
    let a = a.any(span(rows, columns, strides.a))?;
    let elements = span(op.m, op.n, strides.out);
    let (out, number) = out.any(elements)?;
    let addend = match onto {
        Some(onto) => Some(onto.of(number, elements)?),
        None => op.accumulate.then_some(out),
    };
    multiply_at(cuda, op, strides, a.into(), b, Target { out, number, addend })
}

/// A product of operands at addresses, into numbers of either type.
fn multiply_at(cuda: &Cuda, op: MatMul, strides: Strides, a: Operand, b: Operand, out: Target) -> Done {
    if op.m == 0 || op.n == 0 {
        return Ok(());
    }
    if op.k == 0 {
        return without_terms(cuda, op, strides.out, out);
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
    Target { out, number: result, addend }: Target,
) -> Done {
    let MatMul { m, n, k, transpose_a, transpose_b, .. } = op;
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
        addend,
    };
    // SAFETY: callers have looked at the room of all matrices, or allocated it.
    unsafe { cuda.backend().product(product) }
}

/// A product that has no terms: what is added, or zeros.
fn without_terms(cuda: &Cuda, op: MatMul, stride: usize, target: Target) -> Done {
    let bytes = target.number.bytes();
    match target.addend {
        Some(addend) if addend == target.out => Ok(()),
        Some(from) => {
            let (rows, apart) = (op.m as u64, bytes * stride as u64);
            let (bytes, to) = (bytes * op.n as u64, target.out);
            let rows = Rows { rows, bytes, from, from_stride: apart, to, to_stride: apart };
            // SAFETY: callers have looked at the room of both, which are of two buffers.
            unsafe { cuda.backend().copy(rows) }
        }
        None => {
            (0..op.m).try_for_each(|row| cuda.clear(target.from(row * stride).out, bytes as usize * op.n))
        }
    }
}

/// A product with 16-bit weights in f32: some of the weight's rows at a time are widened and multiplied.
fn widened(
    cuda: &Cuda,
    op: MatMul,
    strides: Strides,
    a: u64,
    (b, format): (u64, HalfFormat),
    out: Target,
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
            product(cuda, MatMul { n: len, ..op }, strides, Number::F32, (a, wide), out.from(first))
        } else {
            // Rows of the weight are terms of the sums.
            let at = if op.transpose_a { first * strides.a } else { first };
            let out = if first > 0 { out.more() } else { out };
            product(cuda, MatMul { k: len, ..op }, strides, Number::F32, (a + 4 * at as u64, wide), out)
        };
        part?;
    }
    Ok(())
}
