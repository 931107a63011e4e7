//! Paged keys and values, and attention of single queries over them.
//!
//! A page holds [`PAGE`] tokens of every layer: keys transposed (`[dim, PAGE]` a head), so that a query's scores are
//! vectors over tokens, and values by rows. Pages are shared freely between chains: only slots that a chain counts are
//! read.

use std::sync::Arc;

use super::aligned::AlignedVec;
use super::attention::softmax_row;
use super::pool::{CpuBuffer, Pool};
use super::shared::SharedSlice;
use super::team::Team;
use super::tile::{Target, Tile, padded};
use crate::device::{Chain, Heads, PAGE, Slot};
use crate::vectorized::vectorized;

/// Rows whose places are asked for before they are written.
const AHEAD: usize = 2;
/// Floats that are asked for at once at least: 4 MiB, which the system backs by huge pages. Touching fresh memory by 4 KiB cost a
/// twentieth of the benchmarks' decode.
const SLAB: usize = 1 << 20;

/// Keys and values by pages, many of which are one allocation.
pub struct PagedCache {
    slabs: Vec<CpuBuffer>,
    layers: usize,
    heads: Heads,
}

impl PagedCache {
    /// A cache without pages.
    pub fn new(layers: usize, heads: Heads) -> Self {
        Self { slabs: Vec::new(), layers, heads }
    }

    fn wide(&self) -> usize {
        padded(self.heads.dim)
    }

    /// Elements of one head's keys and values in one page.
    fn head_len(&self) -> usize {
        PAGE * (self.heads.dim + self.wide())
    }

    /// Elements of a page.
    fn page_len(&self) -> usize {
        self.layers * self.heads.kv_heads * self.head_len()
    }

    /// Pages of a slab.
    fn slab_pages(&self) -> usize {
        SLAB.div_ceil(self.page_len().max(1))
    }

    /// The slab of a page, and where a head's keys and values in a layer begin there.
    fn place(&self, page: u32, layer: usize, kv: usize) -> (usize, usize) {
        let (page, slab_pages) = (page as usize, self.slab_pages());
        let head = layer * self.heads.kv_heads + kv;
        (page / slab_pages, page % slab_pages * self.page_len() + head * self.head_len())
    }

    /// Keys and values of a head in a layer of a page.
    fn head(&self, page: u32, layer: usize, kv: usize) -> &[f32] {
        let (slab, at) = self.place(page, layer, kv);
        &self.slabs[slab][at..at + self.head_len()]
    }

    /// Makes room for pages `0..pages`.
    pub fn reserve(&mut self, pool: &Arc<Pool>, pages: usize) {
        let (slab_pages, page_len) = (self.slab_pages(), self.page_len());
        while self.slabs.len() * slab_pages < pages {
            self.slabs.push(pool.take(slab_pages * page_len));
        }
    }

    /// Stores keys and values of row `i` at `slots[i]`.
    pub fn store(&mut self, team: &Team, layer: usize, qkv: &[f32], slots: &[Slot]) {
        let Heads { heads, kv_heads, dim } = self.heads;
        let (wide, width) = (self.wide(), self.heads.width());
        let places: Vec<(usize, usize)> = slots.iter().map(|slot| self.place(slot.page, layer, 0)).collect();
        let head_len = self.head_len();
        let slabs: Vec<SharedSlice<'_>> = self.slabs.iter_mut().map(|slab| SharedSlice::new(slab)).collect();
        // A task has the keys of one head, or its values, in all pages: tasks never meet, whatever the slots are.
        team.run(2 * kv_heads, |task| {
            let (kv, values) = (task / 2, task % 2 == 1);
            let column = if values { heads + kv_heads + kv } else { heads + kv } * dim;
            let place = |i: usize| {
                let (slab, at) = *places.get(i)?;
                Some((&slabs[slab], at + kv * head_len, slots[i].offset as usize))
            };
            for (i, row) in qkv.chunks_exact(width).enumerate() {
                // A key is written to as many cache lines as it has elements, all far away.
                if let Some((slab, head, offset)) = place(i + AHEAD).filter(|_| !values) {
                    (0..dim).for_each(|d| slab.fetch(head + d * PAGE + offset));
                }
                let Some((slab, head, offset)) = place(i) else { break };
                let row = &row[column..][..dim];
                // SAFETY: the keys of a head, and its values, lie apart from all others; this task alone has them.
                unsafe {
                    if values {
                        slab.write(head + PAGE * dim + offset * wide, row);
                        continue;
                    }
                    for (d, key) in row.iter().enumerate() {
                        slab.write(head + d * PAGE + offset, std::slice::from_ref(key));
                    }
                }
            }
        });
    }

    /// Attention of each row's query over its chain.
    pub fn attention(
        &self,
        team: &Team,
        layer: usize,
        window: Option<usize>,
        chains: &[Chain],
        qkv: &[f32],
        out: &mut [f32],
    ) {
        let width = self.heads.width();
        let out = SharedSlice::new(out);
        team.run(chains.len() * self.heads.kv_heads, |task| {
            let (row, kv) = (task / self.heads.kv_heads, task % self.heads.kv_heads);
            let qkv = &qkv[row * width..(row + 1) * width];
            let later = task + team.threads();
            let then = chains.get(later / self.heads.kv_heads).and_then(|chain| chain.runs.first());
            let then = then.map_or(&[][..], |&(page, _)| self.head(page, layer, later % self.heads.kv_heads));
            attend(self, layer, window, &chains[row], qkv, (row, kv), then, &out);
        });
    }
}

vectorized! {
    /// The query heads of one row that share the keys of head `kv`. A cache is read once a token and comes from far away:
    /// what is used next is asked for while a page is used, and at the end what this thread is likely to begin `then`.
    fn attend(
        cache: &PagedCache,
        layer: usize,
        window: Option<usize>,
        chain: &Chain,
        qkv: &[f32],
        at: (usize, usize),
        then: &[f32],
        out: &SharedSlice<'_>,
    ) {
        let Heads { heads, kv_heads, dim } = cache.heads;
        let (row, kv) = at;
        let (group, wide, total) = (heads / kv_heads, cache.wide(), chain.len());
        let first = window.map_or(0, |window| total.saturating_sub(window));
        let scale = 1.0 / (dim as f32).sqrt();
        let q: Vec<f32> = qkv[kv * group * dim..][..group * dim].iter().map(|x| x * scale).collect();
        let stride = total + PAGE;
        let mut scores = AlignedVec::zeros(group * stride);
        let mut column = 0;
        for (i, &(page, len)) in chain.runs.iter().enumerate() {
            if column + len as usize > first {
                let next = match chain.runs.get(i + 1) {
                    Some(&(page, _)) => &cache.head(page, layer, kv)[..PAGE * dim],
                    None => &cache.head(chain.runs[0].0, layer, kv)[PAGE * dim..],
                };
                Tile {
                    m: group,
                    n: padded(len as usize),
                    k: dim,
                    a: &q,
                    a_rows: dim,
                    a_cols: 1,
                    b: cache.head(page, layer, kv),
                    b_rows: PAGE,
                    c: Target::from(&mut scores[column..]),
                    c_rows: stride,
                    accumulate: false,
                    next,
                }
                .run();
            }
            column += len as usize;
        }
        let mut sums = vec![0.0f32; group];
        for (scores, sum) in scores.chunks_exact_mut(stride).zip(&mut sums) {
            (_, *sum) = softmax_row(scores, first..total);
        }
        let mut result = AlignedVec::zeros(group * wide);
        let mut column = 0;
        for (i, &(page, len)) in chain.runs.iter().enumerate() {
            if column + len as usize <= first {
                column += len as usize;
                continue;
            }
            let next = match chain.runs.get(i + 1) {
                Some(&(page, len)) => &cache.head(page, layer, kv)[PAGE * dim..][..len as usize * wide],
                None => &then[..then.len().min(PAGE * dim)],
            };
            Tile {
                m: group,
                n: wide,
                k: len as usize,
                a: &scores[column..],
                a_rows: stride,
                a_cols: 1,
                b: &cache.head(page, layer, kv)[PAGE * dim..],
                b_rows: wide,
                c: Target::from(&mut result[..]),
                c_rows: wide,
                accumulate: true,
                next,
            }
            .run();
            column += len as usize;
        }
        for (i, (head, sum)) in result.chunks_exact_mut(wide).zip(&sums).enumerate() {
            let scale = 1.0 / sum;
            head.iter_mut().for_each(|x| *x *= scale);
            // SAFETY: the columns of these heads in this row belong to this task alone.
            unsafe { out.write((row * heads + kv * group + i) * dim, &head[..dim]) };
        }
    }
}
