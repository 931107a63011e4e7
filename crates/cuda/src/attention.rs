//! Attention over a forest of segments, forward and backward.

use gft_model::device::Heads;

use crate::backend::Arg::{self, F32, Ptr, U32};
use crate::backend::Trouble;
use crate::device::Cuda;
use crate::launch::{Done, blocks, grid, number, width_class};
use crate::memory::{Memory, Mut, Place, Ref};
use crate::plan::{CudaPlan, Seen};

/// Threads of a block.
const THREADS: u32 = 256;
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

    pub fn forward(&self, qkv: Ref<'_>, out: Mut<'_>, lse: Mut<'_>) -> Done {
        let Seen { offsets, runs } = &self.plan.chains;
        let mut args = vec![
            Ptr(qkv.at(self.fused())?),
            Ptr(self.plan.query_tiles.address()?),
            Ptr(offsets.address()?),
            Ptr(runs.address()?),
            Ptr(out.at(self.mixed())?),
            Ptr(lse.at(self.statistics())?),
        ];
        args.extend(self.shape()?);
        let (kernel, shared) = FORWARD[width_class(self.heads.dim)?];
        let shape = blocks((self.plan.tiles * self.heads.heads, 1), THREADS, shared)?;
        // SAFETY: rows for each of the plan's tokens, and the plan's own lists.
        unsafe { self.cuda.launch(kernel, shape, &args) }
    }

    pub fn backward(&self, qkv: Ref<'_>, out: Ref<'_>, lse: Ref<'_>, dout: Ref<'_>, dqkv: Mut<'_>) -> Done {
        let Heads { heads, kv_heads, dim } = self.heads;
        let delta = self.cuda.scratch(4 * self.statistics())?;
        let args = [
            Ptr(out.at(self.mixed())?),
            Ptr(dout.at(self.mixed())?),
            Ptr(delta.address()?),
            number(self.plan.tokens)?,
            number(heads)?,
            number(dim)?,
        ];
        // SAFETY: rows for each of the plan's tokens, and a number for each of their heads.
        unsafe { self.cuda.launch("attention_delta", grid(self.plan.tokens, 1)?, &args)? };

        let (dqkv, plan) = (dqkv.at(self.fused())?, self.plan);
        let reads = [
            Ptr(qkv.at(self.fused())?),
            Ptr(dout.at(self.mixed())?),
            Ptr(lse.at(self.statistics())?),
            Ptr(delta.address()?),
        ];
        let class = width_class(dim)?;
        let run = |(kernel, shared): (&'static str, u32), heads, tiles: &Memory, seen: &Seen| {
            let mut args = reads.to_vec();
            args.extend([
                Ptr(tiles.address()?),
                Ptr(seen.offsets.address()?),
                Ptr(seen.runs.address()?),
                Ptr(dqkv),
            ]);
            args.extend(self.shape()?);
            let shape = blocks((plan.tiles * heads, 1), THREADS, shared)?;
            // SAFETY: rows for each of the plan's tokens, and the plan's own lists.
            unsafe { self.cuda.launch(kernel, shape, &args) }
        };
        run(BACKWARD_QUERIES[class], heads, &plan.query_tiles, &plan.chains)?;
        run(BACKWARD_KEYS[class], kv_heads, &plan.key_tiles, &plan.heirs)
    }
}
