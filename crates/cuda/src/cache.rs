//! Keys and values of generation in pages, and attention of single queries over them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gft_model::device::{Chain, Heads, PAGE, Slot};

use crate::attention::{scale, window};
use crate::backend::Arg::Ptr;
use crate::backend::Trouble;
use crate::device::Cuda;
use crate::launch::{Done, blocks, number, width_class};
use crate::memory::{Memory, Mut, Place, Ref};
use crate::{Precision, uploads};

/// Pages that are allocated together at most.
const TOGETHER: usize = 64;
/// Runs of a chain that one block takes.
const RUNS: usize = 8;
/// Threads of a block.
const THREADS: u32 = 128;

/// Kernels and their shared bytes for heads up to 32, 64, 128 and 256 wide.
const SINGLE: [(&str, u32); 4] = [
    ("cached_attention_f32_32", 12544),
    ("cached_attention_f32_64", 21760),
    ("cached_attention_f32_128", 40192),
    ("cached_attention_f32_256", 77056),
];
const BF16: [(&str, u32); 4] = [
    ("cached_attention_bf16_32", 12544),
    ("cached_attention_bf16_64", 21760),
    ("cached_attention_bf16_128", 40192),
    ("cached_attention_bf16_256", 77056),
];

/// Bytes of a key's or a value's number.
pub(crate) fn bytes(precision: Precision) -> usize {
    if precision == Precision::Bf16 { 2 } else { 4 }
}

/// Keys and values by pages.
pub struct CudaCache {
    layers: usize,
    heads: Heads,
    /// Where each page is.
    pages: Vec<u64>,
    /// The same list on the card.
    table: Option<Memory>,
    /// What the pages lie in.
    slabs: Vec<Memory>,
    /// Every layer of a step asks for the same chains.
    last: Mutex<Chains>,
}

/// Chains as the kernels take them.
#[derive(Default)]
struct Chains {
    of: Vec<Chain>,
    /// Where each chain's runs begin.
    offsets: Vec<u32>,
    /// `(tokens of the chain before it, page, tokens, 0)` of each run.
    runs: Vec<[u32; 4]>,
    /// Blocks that share a chain.
    splits: usize,
}

impl CudaCache {
    pub(crate) fn new(layers: usize, heads: Heads) -> Self {
        CudaCache { layers, heads, pages: Vec::new(), table: None, slabs: Vec::new(), last: Mutex::default() }
    }

    /// Bytes of a page: `[layers, kv_heads, 2, PAGE, dim]`, to the next 16 for the kernels' wide accesses.
    fn page_bytes(&self, precision: Precision) -> usize {
        (bytes(precision) * self.layers * self.heads.kv_heads * 2 * PAGE * self.heads.dim)
            .next_multiple_of(16)
    }

    /// Makes room for pages `0..pages`: a quarter more than there are, so that few requests go to the card, where there is
    /// memory for that.
    pub(crate) fn reserve(&mut self, cuda: &Cuda, pages: usize) -> Done {
        if pages <= self.pages.len() {
            return Ok(());
        }
        let bytes = self.page_bytes(cuda.precision());
        let mut wanted = pages.max(self.pages.len() + self.pages.len() / 4);
        while self.pages.len() < wanted {
            let together = (wanted - self.pages.len()).min(TOGETHER);
            match cuda.scratch(together * bytes).and_then(|slab| Ok((slab.address()?, slab))) {
                Ok((address, slab)) => {
                    self.pages.extend((0..together).map(|page| address + (page * bytes) as u64));
                    self.slabs.push(slab);
                }
                Err(Trouble::Memory { .. }) if wanted > pages => wanted = pages,
                Err(trouble) => return Err(trouble),
            }
        }
        self.table = Some(uploads::upload(cuda.machine(), &uploads::bytes_of(&self.pages))?);
        Ok(())
    }

    fn table(&self) -> Result<u64, Trouble> {
        self.table.as_ref().ok_or_else(|| Trouble::Other("a cache without pages".into()))?.address()
    }

    fn check(&self, pages: impl Iterator<Item = (u32, u32)>, layer: usize) -> Done {
        let (have, layers) = (self.pages.len(), self.layers);
        for (page, tokens) in pages {
            if page as usize >= have || tokens as usize > PAGE || layer >= layers {
                let place = format!("page {page} of {have}, token {tokens}, layer {layer} of {layers}");
                return Err(Trouble::Other(format!("{place}: outside of the cache")));
            }
        }
        Ok(())
    }

    /// Stores keys and values of row `i` of `qkv` at `slots[i]`.
    pub(crate) fn store(&self, cuda: &Cuda, layer: usize, qkv: Ref<'_>, slots: &[Slot]) -> Done {
        self.check(slots.iter().map(|slot| (slot.page, slot.offset + 1)), layer)?;
        let Heads { heads, kv_heads, dim } = self.heads;
        let list: Vec<u32> = slots.iter().flat_map(|slot| [slot.page, slot.offset]).collect();
        let list = cuda.list(&list)?;
        let args = [
            Ptr(self.table()?),
            Ptr(list.address()?),
            Ptr(qkv.at(slots.len() * self.heads.width())?),
            number(layer)?,
            number(heads)?,
            number(kv_heads)?,
            number(dim)?,
        ];
        let kernel = if cuda.precision() == Precision::Bf16 { "store_bf16" } else { "store_f32" };
        // SAFETY: slots of pages that there are, and a row for each.
        unsafe { cuda.launch(kernel, blocks((slots.len(), 1), THREADS, 0)?, &args) }
    }

    /// Chains as the kernels take them, looked at and arranged once a step. Their bytes are compared on their way to the card as
    /// those of all lists.
    fn chains(&self, chains: &[Chain]) -> Result<MutexGuard<'_, Chains>, Trouble> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.of != chains {
            self.check(chains.iter().flat_map(|chain| chain.runs.iter().copied()), 0)?;
            *last = Chains::new(chains)?;
        }
        Ok(last)
    }

    /// Attention of the query in row `i` of `qkv` over `chains[i]`.
    pub(crate) fn attention(
        &self,
        cuda: &Cuda,
        layer: usize,
        window_of: Option<usize>,
        chains: &[Chain],
        qkv: Ref<'_>,
        out: Mut<'_>,
    ) -> Done {
        if layer >= self.layers {
            return Err(Trouble::Other(format!("layer {layer} of {}: outside of the cache", self.layers)));
        }
        let Heads { heads, kv_heads, dim } = self.heads;
        let rows = chains.len();
        let chains = self.chains(chains)?;
        let splits = chains.splits;
        let (offsets, runs) = (cuda.list(&chains.offsets)?, cuda.list(chains.runs.as_flattened())?);
        let partial = match splits {
            1 => None,
            _ => Some(cuda.scratch(4 * rows * heads * splits * (dim + 2))?),
        };
        let partial_at = partial.as_ref().map_or(Ok(0), Memory::address)?;
        let out = out.at(rows * heads * dim)?;
        let args = [
            Ptr(self.table()?),
            Ptr(offsets.address()?),
            Ptr(runs.address()?),
            Ptr(qkv.at(rows * self.heads.width())?),
            Ptr(out),
            Ptr(partial_at),
            number(layer)?,
            number(heads)?,
            number(kv_heads)?,
            number(dim)?,
            window(window_of),
            scale(self.heads),
        ];
        let class = width_class(dim)?;
        let (kernel, shared) = if cuda.precision() == Precision::Bf16 { BF16[class] } else { SINGLE[class] };
        let shape = blocks((rows * kv_heads, splits), THREADS, shared)?;
        // SAFETY: runs of pages that there are, a row for each chain, scratch for each split of each head.
        unsafe { cuda.launch(kernel, shape, &args)? };
        if partial.is_none() {
            return Ok(());
        }
        let args = [
            Ptr(offsets.address()?),
            Ptr(partial_at),
            Ptr(out),
            number(heads)?,
            number(dim)?,
            number(splits)?,
        ];
        let shape = blocks((rows * heads, 1), THREADS, 0)?;
        // SAFETY: as above.
        unsafe { cuda.launch("cached_attention_combine", shape, &args) }
    }
}

impl Chains {
    fn new(chains: &[Chain]) -> Result<Self, Trouble> {
        let (mut offsets, mut runs) = (vec![0], Vec::new());
        for chain in chains {
            let mut before = 0;
            for &(page, tokens) in &chain.runs {
                runs.push([before, page, tokens, 0]);
                before += tokens;
            }
            offsets.push(crate::launch::count(runs.len())?);
        }
        let splits = chains.iter().map(|chain| chain.runs.len()).max().unwrap_or(0).div_ceil(RUNS).max(1);
        Ok(Chains { of: chains.to_vec(), offsets, runs, splits })
    }
}
