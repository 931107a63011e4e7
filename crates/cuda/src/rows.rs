//! Elementwise operations, gathers and scatters, sums over rows, norms, rotations, SwiGLU.

use std::ops::Range;
use std::sync::Arc;

use gft_model::device::{HalfFormat, Heads};
use gft_model::random::Stream;

use crate::backend::Arg::{F32, F64, Ptr, U32, U64};
use crate::device::Cuda;
use crate::launch::{Done, each_row, each_row_by_eights, elements, grid, kernel, number};
use crate::memory::{HalfRef, Kept, Memory, Mut, Place, Ref};
use crate::plan::CudaPlan;

/// Rows of one partial sum over rows.
const SUMMED: usize = 64;
/// Rows of one partial sum of the heads' norms.
const SUMMED_HEADS: usize = 16;
/// Columns of a block that sums over rows.
const COLUMNS: usize = 32;

// Launches below are unsafe because a kernel reads and writes where its arguments point. Each takes addresses from
// `Place::at` with the number of elements that the kernel's row in the table asks for, or memory allocated for them.
// Activations are of f32 or of bf16, and one of an operation's views says which: `Kept::of` refuses others that differ.

pub(crate) fn add(cuda: &Cuda, y: Ref<'_>, x: Mut<'_>) -> Done {
    let n = x.range.len();
    let (at, kept) = x.any(n)?;
    let args = [Ptr(at), Ptr(y.at(n)?), U64(n as u64)];
    // SAFETY: `n` elements in both.
    unsafe { cuda.launch(kernel!(kept, "add"), elements(n)?, &args) }
}

pub(crate) fn dropout(cuda: &Cuda, stream: Stream, drop: f64, x: Mut<'_>) -> Done {
    let n = x.range.len();
    let factor = (1.0 / (1.0 - drop)) as f32;
    let args = [Ptr(x.at(n)?), U64(n as u64), U64(stream.key()), F64(drop), F32(factor)];
    // SAFETY: `n` elements.
    unsafe { cuda.launch("dropout", elements(n)?, &args) }
}

pub(crate) fn scale_columns(
    cuda: &Cuda,
    width: usize,
    columns: Range<usize>,
    factor: f32,
    x: Mut<'_>,
) -> Done {
    let rows = x.range.len().checked_div(width).unwrap_or(0);
    let args = [
        Ptr(x.at(rows * width)?),
        number(width)?,
        number(columns.start)?,
        number(columns.end.min(width))?,
        F32(factor),
    ];
    // SAFETY: `rows` rows of `width`, columns within them.
    unsafe { cuda.launch("scale_columns", each_row(rows, columns.len())?, &args) }
}

pub(crate) fn add_bias(cuda: &Cuda, bias: Ref<'_>, x: Mut<'_>) -> Done {
    let width = bias.range.len();
    let rows = x.range.len().checked_div(width).unwrap_or(0);
    let (at, kept) = x.any(rows * width)?;
    let args = [Ptr(at), Ptr(bias.at(width)?), number(width)?];
    // SAFETY: `rows` rows of `width`, and one row.
    unsafe { cuda.launch(kernel!(kept, "add_bias"), each_row(rows, width)?, &args) }
}

pub(crate) fn bias_backward(cuda: &Cuda, dy: Ref<'_>, dbias: Mut<'_>) -> Done {
    let width = dbias.range.len();
    let rows = dy.range.len().checked_div(width).unwrap_or(0);
    let partials = Partials::new(cuda, rows.div_ceil(SUMMED), width, &dbias)?;
    let (at, kept) = dy.any(rows * width)?;
    let args = [Ptr(at), Ptr(partials.memory.address()?), number(rows)?, number(width)?];
    let shape = grid(width.div_ceil(COLUMNS), partials.parts)?;
    // SAFETY: `rows` rows of `width`; a partial sum for each 64 of them.
    unsafe { cuda.launch(kernel!(kept, "column_sums"), shape, &args)? };
    partials.add(cuda)
}

/// Sums over some rows each, which are then added up in order.
struct Partials {
    memory: Memory,
    parts: usize,
    width: usize,
    total: u64,
}

impl Partials {
    /// Room for them, once that of their total has been looked at.
    fn new(
        cuda: &Cuda,
        parts: usize,
        width: usize,
        total: &Mut<'_>,
    ) -> Result<Self, crate::backend::Trouble> {
        let total = total.at(width)?;
        Ok(Partials { memory: cuda.scratch(4 * parts * width)?, parts, width, total })
    }

    fn add(self, cuda: &Cuda) -> Done {
        let args = [Ptr(self.memory.address()?), Ptr(self.total), number(self.parts)?, number(self.width)?];
        // SAFETY: `parts` rows of `width`, and one row.
        unsafe { cuda.launch("add_partials", grid(self.width.div_ceil(COLUMNS), 1)?, &args) }
    }
}

pub(crate) fn embed_backward(cuda: &Cuda, plan: &CudaPlan, dy: Ref<'_>, dtable: Mut<'_>) -> Done {
    let width = dy.range.len().checked_div(plan.tokens).unwrap_or(0);
    let tokens = &plan.by_token;
    let args = [
        Ptr(dy.at(plan.tokens * width)?),
        Ptr(tokens.order.address()?),
        Ptr(tokens.starts.address()?),
        Ptr(tokens.ids.address()?),
        Ptr(dtable.at((tokens.largest as usize + 1) * width)?),
        number(width)?,
    ];
    // SAFETY: a row for each token, lists made by the plan, and a table that has the largest token's row.
    unsafe { cuda.launch("embed_backward", each_row(tokens.distinct, width)?, &args) }
}

/// Rows on the card, after a look at whether the table has them.
fn rows_of(cuda: &Cuda, rows: &[u32], table_rows: usize) -> Result<Arc<Memory>, crate::backend::Trouble> {
    if let Some(row) = rows.iter().find(|row| **row as usize >= table_rows) {
        return Err(crate::backend::Trouble::Other(format!("row {row} of {table_rows}")));
    }
    cuda.list(rows)
}

pub(crate) fn gather(cuda: &Cuda, x: Ref<'_>, rows: &[u32], width: usize, out: Mut<'_>) -> Done {
    let table = x.range.len().checked_div(width).unwrap_or(0);
    let list = rows_of(cuda, rows, table)?;
    let args =
        [Ptr(x.at(table * width)?), Ptr(list.address()?), Ptr(out.at(rows.len() * width)?), number(width)?];
    // SAFETY: rows that the table has, and room for each.
    unsafe { cuda.launch("gather_rows", each_row(rows.len(), width)?, &args) }
}

pub(crate) fn gather_half(cuda: &Cuda, x: HalfRef<'_>, rows: &[u32], width: usize, out: Mut<'_>) -> Done {
    let table = x.range.len().checked_div(width).unwrap_or(0);
    let list = rows_of(cuda, rows, table)?;
    let args =
        [Ptr(x.at(table * width)?), Ptr(list.address()?), Ptr(out.at(rows.len() * width)?), number(width)?];
    let kernel = match x.buffer.format {
        HalfFormat::Bf16 => "gather_bf16",
        HalfFormat::F16 => "gather_f16",
    };
    // SAFETY: rows that the table has, and room for each.
    unsafe { cuda.launch(kernel, each_row(rows.len(), width)?, &args) }
}

pub(crate) fn scatter(cuda: &Cuda, x: Ref<'_>, rows: &[u32], width: usize, out: Mut<'_>) -> Done {
    let table = out.range.len().checked_div(width).unwrap_or(0);
    let list = rows_of(cuda, rows, table)?;
    let args =
        [Ptr(x.at(rows.len() * width)?), Ptr(list.address()?), Ptr(out.at(table * width)?), number(width)?];
    // SAFETY: a row for each, and rows that `out` has.
    unsafe { cuda.launch("scatter_rows", each_row(rows.len(), width)?, &args) }
}

pub(crate) fn rms_norm(cuda: &Cuda, x: Ref<'_>, weight: Ref<'_>, eps: f32, y: Mut<'_>, inv: Mut<'_>) -> Done {
    let (rows, width) = (inv.range.len(), weight.range.len());
    let (to, kept) = y.any(rows * width)?;
    let args = [
        Ptr(x.at(rows * width)?),
        Ptr(weight.at(width)?),
        Ptr(to),
        Ptr(inv.at(rows)?),
        number(width)?,
        F32(eps),
    ];
    // SAFETY: `rows` rows of `width` in `x` and `y`, one row of weights, a number for each row.
    unsafe { cuda.launch(kernel!(kept, "rms_norm"), grid(rows, 1)?, &args) }
}

#[allow(clippy::too_many_arguments)]
pub(crate) fn rms_norm_backward(
    cuda: &Cuda,
    x: Ref<'_>,
    weight: Ref<'_>,
    inv: Ref<'_>,
    dy: Ref<'_>,
    dx: Mut<'_>,
    dweight: Mut<'_>,
) -> Done {
    let (rows, width) = (inv.range.len(), weight.range.len());
    let partials = Partials::new(cuda, rows.div_ceil(SUMMED), width, &dweight)?;
    let (dy, kept) = dy.any(rows * width)?;
    let (x, inv, dy) = (Ptr(x.at(rows * width)?), Ptr(inv.at(rows)?), Ptr(dy));
    let args = [x, Ptr(weight.at(width)?), inv, dy, Ptr(dx.at(rows * width)?), number(width)?];
    // SAFETY: `rows` rows of `width` in `x`, `dy` and `dx`, one row of weights, a number for each row.
    unsafe { cuda.launch(kernel!(kept, "rms_norm_backward_input"), grid(rows, 1)?, &args)? };
    let args = [x, inv, dy, Ptr(partials.memory.address()?), number(rows)?, number(width)?];
    let shape = grid(width.div_ceil(COLUMNS), partials.parts)?;
    // SAFETY: as above, and a partial sum for each 64 rows.
    unsafe { cuda.launch(kernel!(kept, "rms_norm_backward_weight"), shape, &args)? };
    partials.add(cuda)
}

/// Rows of a fused projection.
fn fused_rows(heads: Heads, len: usize) -> usize {
    len.checked_div(heads.width()).unwrap_or(0)
}

pub(crate) fn head_norm(cuda: &Cuda, heads: Heads, weights: Ref<'_>, eps: f32, qkv: Mut<'_>) -> Done {
    let rows = fused_rows(heads, qkv.range.len());
    let (at, kept) = qkv.any(rows * heads.width())?;
    let args = [
        Ptr(at),
        Ptr(weights.at(2 * heads.dim)?),
        number(heads.heads)?,
        number(heads.kv_heads)?,
        number(heads.dim)?,
        F32(eps),
    ];
    // SAFETY: `rows` rows of fused projections, two rows of weights.
    unsafe { cuda.launch(kernel!(kept, "head_norm"), grid(rows, 1)?, &args) }
}

pub(crate) fn head_norm_backward(
    cuda: &Cuda,
    heads: Heads,
    raw: Ref<'_>,
    weights: Ref<'_>,
    eps: f32,
    dqkv: Mut<'_>,
    dweights: Mut<'_>,
) -> Done {
    let rows = fused_rows(heads, dqkv.range.len());
    let partials = Partials::new(cuda, rows.div_ceil(SUMMED_HEADS), 2 * heads.dim, &dweights)?;
    let (at, kept) = dqkv.any(rows * heads.width())?;
    let args = [
        Ptr(raw.of(kept, rows * heads.width())?),
        Ptr(weights.at(2 * heads.dim)?),
        Ptr(at),
        Ptr(partials.memory.address()?),
        number(rows)?,
        number(heads.heads)?,
        number(heads.kv_heads)?,
        number(heads.dim)?,
        F32(eps),
    ];
    // SAFETY: `rows` rows of fused projections in both, two rows of weights, a partial sum for each 16 rows.
    unsafe { cuda.launch(kernel!(kept, "head_norm_backward"), grid(partials.parts, 1)?, &args)? };
    partials.add(cuda)
}

/// Rotates by tables that lie on the card, `[rows, dim / 2]` each.
pub(crate) fn rotate(
    cuda: &Cuda,
    (cos, sin): (&Memory, &Memory),
    rows: usize,
    heads: Heads,
    inverse: bool,
    qkv: Mut<'_>,
) -> Done {
    let (at, kept) = qkv.any(rows * heads.width())?;
    let args = [
        Ptr(at),
        Ptr(cos.address()?),
        Ptr(sin.address()?),
        U32(crate::launch::count(heads.heads)?),
        number(heads.kv_heads)?,
        number(heads.dim)?,
        F32(if inverse { -1.0 } else { 1.0 }),
    ];
    // SAFETY: `rows` rows of fused projections; the caller's tables have as many.
    unsafe { cuda.launch(kernel!(kept, "rotate"), grid(rows, 1)?, &args) }
}

pub(crate) fn rotate_batch(cuda: &Cuda, plan: &CudaPlan, heads: Heads, inverse: bool, qkv: Mut<'_>) -> Done {
    if plan.rotations != heads.dim / 2 {
        let (rotations, dim) = (plan.rotations, heads.dim);
        return Err(crate::backend::Trouble::Other(format!("rotations of {rotations} for heads of {dim}")));
    }
    rotate(cuda, (&plan.cos, &plan.sin), plan.tokens, heads, inverse, qkv)
}

pub(crate) fn rotate_rows(cuda: &Cuda, heads: Heads, cos: &[f32], sin: &[f32], qkv: Mut<'_>) -> Done {
    let rows = fused_rows(heads, qkv.range.len());
    if cos.len() < rows * heads.dim / 2 || sin.len() < rows * heads.dim / 2 {
        return Err(crate::backend::Trouble::Other(format!("rotations of fewer than {rows} rows")));
    }
    let (cos, sin) = (cuda.list(cos)?, cuda.list(sin)?);
    rotate(cuda, (&cos, &sin), rows, heads, false, qkv)
}

pub(crate) fn swiglu(cuda: &Cuda, ffn: usize, gate_up: Ref<'_>, act: Mut<'_>) -> Done {
    let rows = act.range.len().checked_div(ffn).unwrap_or(0);
    let (to, kept) = act.any(rows * ffn)?;
    let args = [Ptr(gate_up.of(kept, rows * 2 * ffn)?), Ptr(to), number(ffn)?];
    // SAFETY: `rows` rows of `2 ffn` and of `ffn`.
    unsafe { cuda.launch(kernel!(kept, "swiglu"), each_row_by_eights(rows, ffn)?, &args) }
}

pub(crate) fn swiglu_backward(cuda: &Cuda, ffn: usize, act: Mut<'_>, gate_up: Mut<'_>) -> Done {
    let rows = act.range.len().checked_div(ffn).unwrap_or(0);
    let (to, kept) = gate_up.any(rows * 2 * ffn)?;
    let args = [Ptr(act.of(kept, rows * ffn)?), Ptr(to), number(ffn)?];
    // SAFETY: `rows` rows of `ffn` and of `2 ffn`.
    unsafe { cuda.launch(kernel!(kept, "swiglu_backward"), each_row_by_eights(rows, ffn)?, &args) }
}
