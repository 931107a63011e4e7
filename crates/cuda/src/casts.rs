//! Numbers from one format to another, and views in the format that a kernel takes.

use gft_model::device::HalfFormat;

use crate::backend::Arg::{Ptr, U64};
use crate::backend::{Number, Rows, Trouble};
use crate::device::Cuda;
use crate::launch::{Done, each_row, elements, number};
use crate::memory::{Kept, Memory, Mut, Ref};

/// What kernels on matrix units take: addresses that are multiples of so many bytes.
const ALIGNED: u64 = 16;

/// Some rows of f32, dense and rounded to bf16.
pub(crate) fn rounded(
    cuda: &Cuda,
    from: u64,
    (rows, columns): (usize, usize),
    stride: usize,
) -> Result<Memory, Trouble> {
    let n = rows * columns;
    let to = cuda.scratch(2 * n)?;
    let at = Ptr(to.address()?);
    if stride == columns || rows == 1 {
        // SAFETY: callers have looked at the room of `from`; `to` was allocated for as many.
        unsafe { cuda.launch("f32_to_bf16", elements(n)?, &[Ptr(from), at, U64(n as u64)])? };
    } else {
        let args = [Ptr(from), at, number(columns)?, U64(stride as u64)];
        // SAFETY: as above.
        unsafe { cuda.launch("f32_to_bf16_rows", each_row(rows, columns)?, &args)? };
    }
    Ok(to)
}

/// f16 rounded to bf16.
pub(crate) fn f16_rounded(cuda: &Cuda, from: u64, n: usize) -> Result<Memory, Trouble> {
    let to = cuda.scratch(2 * n)?;
    let args = [Ptr(from), Ptr(to.address()?), U64(n as u64)];
    // SAFETY: callers have looked at the room of `from`; `to` was allocated for as many.
    unsafe { cuda.launch("f16_to_bf16", elements(n)?, &args)? };
    Ok(to)
}

/// 16-bit numbers widened to f32, exactly.
pub(crate) fn widen(cuda: &Cuda, from: u64, format: HalfFormat, n: usize, to: u64) -> Done {
    let kernel = match format {
        HalfFormat::Bf16 => "bf16_to_f32",
        HalfFormat::F16 => "f16_to_f32",
    };
    // SAFETY: callers have looked at the room of both.
    unsafe { cuda.launch(kernel, elements(n)?, &[Ptr(from), Ptr(to), U64(n as u64)]) }
}

/// Copies `n` numbers, rounded or widened where the two places keep other ones.
pub(crate) fn convert(
    cuda: &Cuda,
    (from, kept): (u64, Number),
    (to, wanted): (u64, Number),
    n: usize,
) -> Done {
    match (kept, wanted) {
        (Number::F32, Number::Bf16) => {
            // SAFETY: callers have looked at the room of both.
            unsafe { cuda.launch("f32_to_bf16", elements(n)?, &[Ptr(from), Ptr(to), U64(n as u64)]) }
        }
        (Number::Bf16, Number::F32) => widen(cuda, from, HalfFormat::Bf16, n, to),
        _ if n == 0 => Ok(()),
        _ => {
            let bytes = kept.bytes() * n as u64;
            let rows = Rows { rows: 1, bytes, from, from_stride: bytes, to, to_stride: bytes };
            // SAFETY: callers have looked at the room; two buffers do not overlap.
            unsafe { cuda.backend().copy(rows) }
        }
    }
}

/// Whether a kernel that takes these numbers can have them where they lie.
fn fits(at: u64, kept: Number, wanted: Number) -> bool {
    kept == wanted && (wanted == Number::F32 || at.is_multiple_of(ALIGNED))
}

/// Where a kernel reads: a view itself, or its numbers converted in memory of their own.
pub(crate) struct Input {
    pub at: u64,
    _converted: Option<Memory>,
}

impl Input {
    /// The first `n` elements of a view in these numbers; those of bf16 are aligned to 16 bytes.
    pub fn new(cuda: &Cuda, view: &Ref<'_>, wanted: Number, n: usize) -> Result<Self, Trouble> {
        let (at, kept) = view.any(n)?;
        if fits(at, kept, wanted) {
            return Ok(Input { at, _converted: None });
        }
        let memory = cuda.scratch(wanted.bytes() as usize * n)?;
        convert(cuda, (at, kept), (memory.address()?, wanted), n)?;
        Ok(Input { at: memory.address()?, _converted: Some(memory) })
    }
}

/// Where a kernel writes: a view itself, or memory from which its numbers are converted once they are there.
pub(crate) struct Output {
    pub at: u64,
    wanted: Number,
    converted: Option<Memory>,
    to: (u64, Number),
    n: usize,
}

impl Output {
    /// The first `n` elements of a view as [`Input`] has them, with unspecified contents.
    pub fn new(cuda: &Cuda, view: &Mut<'_>, wanted: Number, n: usize) -> Result<Self, Trouble> {
        let to = view.any(n)?;
        if fits(to.0, to.1, wanted) {
            return Ok(Output { at: to.0, wanted, converted: None, to, n });
        }
        let memory = cuda.scratch(wanted.bytes() as usize * n)?;
        Ok(Output { at: memory.address()?, wanted, converted: Some(memory), to, n })
    }

    /// Brings the numbers to the view.
    pub fn finish(self, cuda: &Cuda) -> Done {
        if self.converted.is_none() {
            return Ok(());
        }
        convert(cuda, (self.at, self.wanted), self.to, self.n)
    }
}
