//! Grids and arguments of launches, by the rules of `kernels/README.md`.

use crate::backend::{Arg, Launch, Trouble};

/// A kernel that is made for more than one kind of numbers, by its name without them.
macro_rules! kernel {
    ($number:expr, $name:literal) => {
        match $number {
            $crate::backend::Number::F32 => concat!($name, "_f32"),
            $crate::backend::Number::Bf16 => concat!($name, "_bf16"),
        }
    };
}
pub(crate) use kernel;

/// What an operation gives.
pub(crate) type Done = Result<(), Trouble>;

/// Threads of a block of most kernels.
const THREADS: u32 = 256;
/// Elements of a row that one block works on.
const ROW_ELEMENTS: usize = 1024;
/// Blocks of an elementwise kernel at most.
const MOST_BLOCKS: usize = 16384;

/// A count as kernels take it.
pub(crate) fn count(value: usize) -> Result<u32, Trouble> {
    u32::try_from(value).map_err(|_| Trouble::Other(format!("{value} is more than a kernel counts to")))
}

/// An argument that is a count.
pub(crate) fn number(value: usize) -> Result<Arg, Trouble> {
    Ok(Arg::U32(count(value)?))
}

/// So many blocks of a number of threads along x and y, and their shared memory.
pub(crate) fn blocks(grid: (usize, usize), threads: u32, shared: u32) -> Result<Launch, Trouble> {
    Ok(Launch { grid: [count(grid.0)?, count(grid.1)?, 1], block: [threads, 1, 1], shared })
}

/// Blocks of 256 threads along x and y.
pub(crate) fn grid(x: usize, y: usize) -> Result<Launch, Trouble> {
    blocks((x, y), THREADS, 0)
}

/// For `n` elements.
pub(crate) fn elements(n: usize) -> Result<Launch, Trouble> {
    grid(n.div_ceil(ROW_ELEMENTS).min(MOST_BLOCKS), 1)
}

/// For rows of `width` elements.
pub(crate) fn each_row(rows: usize, width: usize) -> Result<Launch, Trouble> {
    grid(rows, width.div_ceil(ROW_ELEMENTS))
}

/// The same where a thread has eight elements.
pub(crate) fn each_row_by_eights(rows: usize, width: usize) -> Result<Launch, Trouble> {
    grid(rows, width.div_ceil(2 * ROW_ELEMENTS))
}

/// Which of the kernels made for several widths of heads serves this one, as an index into [`WIDTHS`].
pub(crate) fn width_class(dim: usize) -> Result<usize, Trouble> {
    let refused = || Trouble::Other(format!("heads of width {dim}; the kernels take even widths up to 256"));
    if !dim.is_multiple_of(2) {
        return Err(refused());
    }
    WIDTHS.iter().position(|width| *width >= dim).ok_or_else(refused)
}

/// Widths of heads that kernels are made for.
pub(crate) const WIDTHS: [usize; 4] = [32, 64, 128, 256];
