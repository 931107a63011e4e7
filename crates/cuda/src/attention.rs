//! Attention over a forest of segments, forward and backward.

use gft_model::device::Heads;

use crate::Precision;
use crate::backend::Arg::{self, F32, Ptr, U32};
use crate::backend::{Number, Trouble};
use crate::casts::{Input, Output};
use crate::device::Cuda;
use crate::launch::{Done, blocks, grid, number, width_class};
use crate::memory::{Memory, Mut, Place, Ref};
use crate::plan::{CudaPlan, Seen, TILE};

/// Threads of a block, and of one whose products are the matrix units'.
const THREADS: u32 = 256;
const BF16_THREADS: u32 = 128;
/// Kernels and their shared bytes for heads up to 32, 64, 128 and 256 wide.
const FORWARD: [(&str, u32); 4] =
    [("attention_32", 35840), ("attention_64", 52224), ("attention_128", 84992), ("attention_256", 71168)];
const BACKWARD_QUERIES: [(&str, u32); 4] = [
    ("attention_backward_queries_32", 32256),
    ("attention_backward_queries_64", 52736),
    ("attention_backward_queries_128", 93696),
    ("attention_backward_queries_256", 85760),
];
const BACKWARD_KEYS: [(&str, u32); 4] = [
    ("attention_backward_keys_32", 32256),
    ("attention_backward_keys_64", 52736),
    ("attention_backward_keys_128", 93696),
    ("attention_backward_keys_256", 85760),
];

/// The same where products are the matrix units', for heads exactly 64 and 128 wide; they read and write bf16.
pub(crate) const BF16_WIDTHS: [usize; 2] = [64, 128];
const BF16_FORWARD: [(&str, u32); 2] = [("attention_bf16_64", 27648), ("attention_bf16_128", 52224)];
const BF16_BACKWARD_QUERIES: [(&str, u32); 2] =
    [("attention_backward_queries_bf16_64", 36864), ("attention_backward_queries_bf16_128", 69632)];
const BF16_BACKWARD_KEYS: [(&str, u32); 2] =
    [("attention_backward_keys_bf16_64", 36864), ("attention_backward_keys_bf16_128", 69632)];

/// A window as kernels take it.
pub(crate) fn window(window: Option<usize>) -> Arg {
    U32(window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX)))
}

/// Factor on the scores.
pub(crate) fn scale(heads: Heads) -> Arg {
    F32(1.0 / (heads.dim as f32).sqrt())
}

pub(crate) struct Attention<'a> {
    pub cuda: &'a Cuda,
    pub plan: &'a CudaPlan,
    pub heads: Heads,
    pub window: Option<usize>,
}

impl Attention<'_> {
    fn fused(&self) -> usize {
        self.plan.tokens * self.heads.width()
    }

    fn mixed(&self) -> usize {
        self.plan.tokens * self.heads.heads * self.heads.dim
    }

    fn statistics(&self) -> usize {
        self.plan.tokens * self.heads.heads
    }

    /// The last arguments of each kernel.
    fn shape(&self) -> Result<[Arg; 6], Trouble> {
        let Heads { heads, kv_heads, dim } = self.heads;
        Ok([
            number(self.plan.tokens)?,
            number(heads)?,
            number(kv_heads)?,
            number(dim)?,
            window(self.window),
            scale(self.heads),
        ])
    }

    /// Which of the kernels on matrix units serves these heads, where the device rounds operands.
    fn matrix_units(&self) -> Option<usize> {
        let rounds = self.cuda.precision() == Precision::Bf16;
        BF16_WIDTHS.iter().position(|width| rounds && *width == self.heads.dim)
    }

    /// The numbers that the kernels of these heads read and write, but for statistics; others are converted.
    fn number(&self) -> Number {
        if self.matrix_units().is_some() { Number::Bf16 } else { Number::F32 }
    }

    fn input(&self, view: &Ref<'_>, len: usize) -> Result<Input, Trouble> {
        Input::new(self.cuda, view, self.number(), len)
    }

    fn output(&self, view: &Mut<'_>, len: usize) -> Result<Output, Trouble> {
        Output::new(self.cuda, view, self.number(), len)
    }

    /// The kernel, its shared bytes and its threads: the matrix units' where they serve, else the one for all widths.
    fn kernel(
        &self,
        bf16: [(&'static str, u32); 2],
        single: [(&'static str, u32); 4],
    ) -> Result<(&'static str, u32, u32), Trouble> {
        let ((kernel, shared), threads) = match self.matrix_units() {
            Some(index) => (bf16[index], BF16_THREADS),
            None => (single[width_class(self.heads.dim)?], THREADS),
        };
        Ok((kernel, shared, threads))
    }

    pub fn forward(&self, qkv: Ref<'_>, out: Mut<'_>, lse: Mut<'_>) -> Done {
        let qkv = self.input(&qkv, self.fused())?;
        let out = self.output(&out, self.mixed())?;
        let Seen { offsets, runs } = &self.plan.chains;
        let mut args = vec![
            Ptr(qkv.at),
            Ptr(self.plan.query_tiles.address()?),
            Ptr(offsets.address()?),
            Ptr(runs.address()?),
            Ptr(out.at),
            Ptr(lse.at(self.statistics())?),
        ];
        args.extend(self.shape()?);
        self.run(self.kernel(BF16_FORWARD, FORWARD)?, self.plan.tiles * self.heads.heads, &args)?;
        out.finish(self.cuda)
    }

    /// `sum_d out dout` of each head, `[heads, T]`.
    fn delta(&self, out: &Ref<'_>, dout: &Input) -> Result<Memory, Trouble> {
        let Heads { heads, dim, .. } = self.heads;
        let out = self.input(out, self.mixed())?;
        let delta = self.cuda.scratch(4 * self.statistics())?;
        let args = [
            Ptr(out.at),
            Ptr(dout.at),
            Ptr(delta.address()?),
            number(self.plan.tokens)?,
            number(heads)?,
            number(dim)?,
        ];
        let kernel = if self.matrix_units().is_some() { "attention_delta_bf16" } else { "attention_delta" };
        // SAFETY: rows for each of the plan's tokens, and a number for each of their heads.
        unsafe { self.cuda.launch(kernel, grid(self.plan.tokens, 1)?, &args)? };
        Ok(delta)
    }

    pub fn backward(&self, qkv: Ref<'_>, out: Ref<'_>, lse: Ref<'_>, dout: Ref<'_>, dqkv: Mut<'_>) -> Done {
        let dout = self.input(&dout, self.mixed())?;
        let delta = self.delta(&out, &dout)?;
        let qkv = self.input(&qkv, self.fused())?;
        let dqkv = self.output(&dqkv, self.fused())?;
        let Heads { heads, kv_heads, .. } = self.heads;
        let plan = self.plan;
        let reads = [Ptr(qkv.at), Ptr(dout.at), Ptr(lse.at(self.statistics())?), Ptr(delta.address()?)];
        let args = |tiles: &Memory, seen: &Seen| -> Result<Vec<Arg>, Trouble> {
            let lists = [Ptr(tiles.address()?), Ptr(seen.offsets.address()?), Ptr(seen.runs.address()?)];
            Ok([&reads[..], &lists, &[Ptr(dqkv.at)], &self.shape()?].concat())
        };
        let of_queries = args(&plan.query_tiles, &plan.chains)?;
        self.run(self.kernel(BF16_BACKWARD_QUERIES, BACKWARD_QUERIES)?, plan.tiles * heads, &of_queries)?;
        let of_keys = self.kernel(BF16_BACKWARD_KEYS, BACKWARD_KEYS)?;
        if self.matrix_units().is_none() {
            self.run(of_keys, plan.tiles * kv_heads, &args(&plan.key_tiles, &plan.heirs)?)?;
        } else {
            let sums = self.room_of_parts()?;
            let mut args = args(&plan.key_parts.entries, &plan.heirs)?;
            args.push(Ptr(sums.address()?));
            self.run(of_keys, plan.key_parts.count * kv_heads, &args)?;
            self.add_parts(&sums, dqkv.at)?;
        }
        dqkv.finish(self.cuda)
    }

    fn run(&self, (kernel, shared, threads): (&'static str, u32, u32), count: usize, args: &[Arg]) -> Done {
        // SAFETY: rows for each of the plan's tokens, and the plan's own lists, with sums for all its parts.
        unsafe { self.cuda.launch(kernel, blocks((count, 1), threads, shared)?, args) }
    }

    /// Room for the sums of parts: keys and values of a tile for each.
    fn room_of_parts(&self) -> Result<Memory, Trouble> {
        let Heads { kv_heads, dim, .. } = self.heads;
        self.cuda.scratch(4 * self.plan.key_parts.places * kv_heads * 2 * TILE * dim)
    }

    /// Adds the sums of the tiles that several blocks have shared.
    fn add_parts(&self, sums: &Memory, dqkv: u64) -> Done {
        let (Heads { heads, kv_heads, dim }, parts) = (self.heads, &self.plan.key_parts);
        let args = [
            Ptr(sums.address()?),
            Ptr(parts.shared.address()?),
            Ptr(dqkv),
            number(heads)?,
            number(kv_heads)?,
            number(dim)?,
        ];
        // SAFETY: sums that have been made, of tiles of the plan.
        unsafe { self.cuda.launch("add_key_parts", grid(parts.tiles * kv_heads, 1)?, &args) }
    }
}
